//! The kernels in NEON: a row's partial sums are sixteen registers of 4.
#![allow(unsafe_code)]

use core::arch::aarch64::{
    float32x4_t, vadd_f32, vaddq_f32, vdupq_n_f32, vfmaq_f32, vget_high_f32, vget_lane_f32,
    vget_low_f32, vld1q_f32, vsubq_f32,
};

use super::norm;
use super::vector::{Dot, L2, Vector, scan};

impl Vector for float32x4_t {
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller vouches for NEON.
        unsafe { vdupq_n_f32(0.0) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller vouches for NEON and for 4 readable floats.
        unsafe { vld1q_f32(from) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller vouches for NEON.
        unsafe { vaddq_f32(self, other) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the caller vouches for NEON.
        unsafe { vsubq_f32(self, other) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
        // SAFETY: the caller vouches for NEON.
        unsafe { vfmaq_f32(sum, self, factor) }
    }

    #[inline(always)]
    unsafe fn fold(self) -> f32 {
        // SAFETY: the caller vouches for NEON.
        unsafe {
            let two = vadd_f32(vget_low_f32(self), vget_high_f32(self));
            vget_lane_f32::<0>(two) + vget_lane_f32::<1>(two)
        }
    }
}

/// # Safety
///
/// As [`scan`], with NEON.
#[target_feature(enable = "neon")]
pub(super) unsafe fn dot(query: &[f32], rows: &[f32], out: &mut [f32]) {
    // SAFETY: NEON is enabled here; the caller vouches for the lengths.
    unsafe { scan::<float32x4_t, Dot, 16>(query, rows, out) }
}

/// # Safety
///
/// As [`scan`], with NEON.
#[target_feature(enable = "neon")]
pub(super) unsafe fn l2(query: &[f32], rows: &[f32], out: &mut [f32]) {
    // SAFETY: NEON is enabled here; the caller vouches for the lengths.
    unsafe { scan::<float32x4_t, L2, 16>(query, rows, out) }
}

/// [`norm::square_sum`]; NEON is part of the aarch64 baseline.
pub(super) fn square_sum(le_bytes: &[u8]) -> f64 {
    norm::square_sum(le_bytes)
}
