//! The kernels in AVX-512: four registers of 16 rows.
#![allow(unsafe_code)]

use core::arch::x86_64::{
    __m512, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_storeu_ps, _mm512_sub_ps,
};

use super::vector::{Dot, L2, Vector, scan};
use super::{BLOCK_ROWS, norm};

impl Vector for __m512 {
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller vouches for AVX-512F.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller vouches for AVX-512F and for 16 readable floats.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller vouches for AVX-512F and for 16 writable floats.
        unsafe { _mm512_storeu_ps(to, self) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the caller vouches for AVX-512F.
        unsafe { _mm512_sub_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
        // SAFETY: the caller vouches for AVX-512F.
        unsafe { _mm512_fmadd_ps(self, factor, sum) }
    }
}

/// # Safety
///
/// As [`scan`], with AVX-512F.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn dot(block: &[f32], query: &[f32], out: &mut [f32; BLOCK_ROWS]) {
    // SAFETY: AVX-512F is enabled here; the caller vouches for the lengths.
    unsafe { scan::<__m512, Dot, 4>(block, query, out) }
}

/// # Safety
///
/// As [`scan`], with AVX-512F.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn l2(block: &[f32], query: &[f32], out: &mut [f32; BLOCK_ROWS]) {
    // SAFETY: AVX-512F is enabled here; the caller vouches for the lengths.
    unsafe { scan::<__m512, L2, 4>(block, query, out) }
}

/// [`norm::square_sum`], compiled for AVX-512.
#[target_feature(enable = "avx512f")]
pub(super) fn square_sum(le_bytes: &[u8]) -> f64 {
    norm::square_sum(le_bytes)
}
