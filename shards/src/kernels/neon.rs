//! The kernels in NEON: sixteen registers of 4 rows.
#![allow(unsafe_code)]

use core::arch::aarch64::{float32x4_t, vdupq_n_f32, vfmaq_f32, vld1q_f32, vst1q_f32, vsubq_f32};

use super::vector::{Dot, L2, Vector, scan};
use super::{BLOCK_ROWS, norm};

impl Vector for float32x4_t {
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller vouches for NEON.
        unsafe { vdupq_n_f32(value) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller vouches for NEON and for 4 readable floats.
        unsafe { vld1q_f32(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller vouches for NEON and for 4 writable floats.
        unsafe { vst1q_f32(to, self) }
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
}

/// # Safety
///
/// As [`scan`], with NEON.
#[target_feature(enable = "neon")]
pub(super) unsafe fn dot(block: &[f32], query: &[f32], out: &mut [f32; BLOCK_ROWS]) {
    // SAFETY: NEON is enabled here; the caller vouches for the lengths.
    unsafe { scan::<float32x4_t, Dot, 16>(block, query, out) }
}

/// # Safety
///
/// As [`scan`], with NEON.
#[target_feature(enable = "neon")]
pub(super) unsafe fn l2(block: &[f32], query: &[f32], out: &mut [f32; BLOCK_ROWS]) {
    // SAFETY: NEON is enabled here; the caller vouches for the lengths.
    unsafe { scan::<float32x4_t, L2, 16>(block, query, out) }
}

/// [`norm::square_sum`]; NEON is part of the aarch64 baseline.
pub(super) fn square_sum(le_bytes: &[u8]) -> f64 {
    norm::square_sum(le_bytes)
}
