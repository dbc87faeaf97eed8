//! The kernels in AVX2 with FMA: eight registers of 8 rows.
#![allow(unsafe_code)]

use core::arch::x86_64::{
    __m256, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_storeu_ps, _mm256_sub_ps,
};

use super::vector::{Dot, L2, Vector, scan};
use super::{BLOCK_ROWS, norm};

impl Vector for __m256 {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller vouches for AVX.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller vouches for AVX and for 8 readable floats.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller vouches for AVX and for 8 writable floats.
        unsafe { _mm256_storeu_ps(to, self) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the caller vouches for AVX.
        unsafe { _mm256_sub_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
        // SAFETY: the caller vouches for FMA.
        unsafe { _mm256_fmadd_ps(self, factor, sum) }
    }
}

/// # Safety
///
/// As [`scan`], with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn dot(block: &[f32], query: &[f32], out: &mut [f32; BLOCK_ROWS]) {
    // SAFETY: AVX2 and FMA are enabled here; the caller vouches for the lengths.
    unsafe { scan::<__m256, Dot, 8>(block, query, out) }
}

/// # Safety
///
/// As [`scan`], with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn l2(block: &[f32], query: &[f32], out: &mut [f32; BLOCK_ROWS]) {
    // SAFETY: AVX2 and FMA are enabled here; the caller vouches for the lengths.
    unsafe { scan::<__m256, L2, 8>(block, query, out) }
}

/// [`norm::square_sum`], compiled for AVX2.
#[target_feature(enable = "avx2,fma")]
pub(super) fn square_sum(le_bytes: &[u8]) -> f64 {
    norm::square_sum(le_bytes)
}
