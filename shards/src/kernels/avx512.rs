//! The kernels in AVX-512: a row's partial sums are four registers of 16.
#![allow(unsafe_code)]

use core::arch::x86_64::{
    __m512, _mm256_add_ps, _mm256_castpd_ps, _mm512_add_ps, _mm512_castps_pd,
    _mm512_castps512_ps256, _mm512_extractf64x4_pd, _mm512_fmadd_ps, _mm512_loadu_ps,
    _mm512_setzero_ps, _mm512_sub_ps,
};

use super::norm;
use super::vector::{Dot, L2, Vector, scan};

impl Vector for __m512 {
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller vouches for AVX-512F.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller vouches for AVX-512F and for 16 readable floats.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller vouches for AVX-512F.
        unsafe { _mm512_add_ps(self, other) }
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

    #[inline(always)]
    unsafe fn fold(self) -> f32 {
        // SAFETY: the caller vouches for AVX-512F, which comes with AVX.
        unsafe {
            let upper = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(self)));
            _mm256_add_ps(_mm512_castps512_ps256(self), upper).fold()
        }
    }
}

/// # Safety
///
/// As [`scan`], with AVX-512F.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn dot(query: &[f32], rows: &[f32], out: &mut [f32]) {
    // SAFETY: AVX-512F is enabled here; the caller vouches for the lengths.
    unsafe { scan::<__m512, Dot, 4>(query, rows, out) }
}

/// # Safety
///
/// As [`scan`], with AVX-512F.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn l2(query: &[f32], rows: &[f32], out: &mut [f32]) {
    // SAFETY: AVX-512F is enabled here; the caller vouches for the lengths.
    unsafe { scan::<__m512, L2, 4>(query, rows, out) }
}

/// [`norm::square_sum`], compiled for AVX-512.
#[target_feature(enable = "avx512f")]
pub(super) fn square_sum(le_bytes: &[u8]) -> f64 {
    norm::square_sum(le_bytes)
}
