//! The kernels in AVX2 with FMA: a row's partial sums are eight registers of 8.
#![allow(unsafe_code)]

use core::arch::x86_64::{
    __m256, _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_movehl_ps, _mm_shuffle_ps, _mm256_add_ps,
    _mm256_castps256_ps128, _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_setzero_ps, _mm256_sub_ps,
};

use super::norm;
use super::vector::{Dot, L2, Vector, scan};

impl Vector for __m256 {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller vouches for AVX.
        unsafe { _mm256_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller vouches for AVX and for 8 readable floats.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller vouches for AVX.
        unsafe { _mm256_add_ps(self, other) }
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

    #[inline(always)]
    unsafe fn fold(self) -> f32 {
        // SAFETY: the caller vouches for AVX.
        unsafe {
            let upper = _mm256_extractf128_ps::<1>(self);
            let four = _mm_add_ps(_mm256_castps256_ps128(self), upper);
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
        }
    }
}

/// # Safety
///
/// As [`scan`], with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn dot(query: &[f32], rows: &[f32], out: &mut [f32]) {
    // SAFETY: AVX2 and FMA are enabled here; the caller vouches for the lengths.
    unsafe { scan::<__m256, Dot, 8>(query, rows, out) }
}

/// # Safety
///
/// As [`scan`], with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn l2(query: &[f32], rows: &[f32], out: &mut [f32]) {
    // SAFETY: AVX2 and FMA are enabled here; the caller vouches for the lengths.
    unsafe { scan::<__m256, L2, 8>(query, rows, out) }
}

/// [`norm::square_sum`], compiled for AVX2.
#[target_feature(enable = "avx2,fma")]
pub(super) fn square_sum(le_bytes: &[u8]) -> f64 {
    norm::square_sum(le_bytes)
}
