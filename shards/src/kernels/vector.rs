//! The scan of rows, written once for every instruction set.
//!
//! Everything here is `#[inline(always)]`: the bodies must end up inside the caller that enables
//! the instruction set (`#[target_feature]`), where the intrinsics become single instructions.
#![allow(unsafe_code)]

use super::{ROW_FLOATS_STEP, SUMS};

/// A register of `f32` lanes of one instruction set.
///
/// # Safety
///
/// Every operation requires that the CPU has the instruction set of the implementing type.
/// `load` reads `LANES` floats, at any alignment.
pub(super) trait Vector: Copy {
    const LANES: usize;

    unsafe fn zero() -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    /// `self * factor + sum`, rounded once.
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self;
    /// The sum of the lanes: the upper half is added to the lower one until one lane is left.
    unsafe fn fold(self) -> f32;
}

/// One step of a partial sum: what a component of a row and of the query add to it.
pub(super) trait Step {
    /// # Safety
    ///
    /// The CPU has the instruction set of `V`.
    unsafe fn step<V: Vector>(row: V, query: V, sum: V) -> V;
}

/// The inner product.
pub(super) struct Dot;

impl Step for Dot {
    #[inline(always)]
    unsafe fn step<V: Vector>(row: V, query: V, sum: V) -> V {
        // SAFETY: the caller vouches for the instruction set.
        unsafe { row.mul_add(query, sum) }
    }
}

/// The squared Euclidean distance.
pub(super) struct L2;

impl Step for L2 {
    #[inline(always)]
    unsafe fn step<V: Vector>(row: V, query: V, sum: V) -> V {
        // SAFETY: the caller vouches for the instruction set.
        unsafe {
            let difference = row.sub(query);
            difference.mul_add(difference, sum)
        }
    }
}

/// Writes the score of each row of `rows` to `out`. `REGISTERS` hold the partial sums of a row.
///
/// # Safety
///
/// The CPU has the instruction set of `V`, `query` holds a multiple of [`ROW_FLOATS_STEP`] floats,
/// and `rows` holds as many for each float of `out`.
#[inline(always)]
pub(super) unsafe fn scan<V: Vector, S: Step, const REGISTERS: usize>(
    query: &[f32],
    rows: &[f32],
    out: &mut [f32],
) {
    const { assert!(REGISTERS * V::LANES == SUMS && ROW_FLOATS_STEP.is_multiple_of(V::LANES)) };
    let stride = query.len();
    let rest = stride % SUMS;
    let mut row = rows.as_ptr();
    for score in out {
        // SAFETY: the caller vouches for the instruction set and for `stride` floats from `row` on;
        // every load is of `V::LANES` floats inside the row and the query, as that divides `rest`.
        unsafe {
            let mut sums = [V::zero(); REGISTERS];
            let mut at = 0;
            while at < stride - rest {
                for (register, sum) in sums.iter_mut().enumerate() {
                    let at = at + register * V::LANES;
                    *sum = S::step(V::load(row.add(at)), V::load(query.as_ptr().add(at)), *sum);
                }
                at += SUMS;
            }
            for (register, sum) in sums.iter_mut().enumerate() {
                if register * V::LANES >= rest {
                    break;
                }
                let at = at + register * V::LANES;
                *sum = S::step(V::load(row.add(at)), V::load(query.as_ptr().add(at)), *sum);
            }
            *score = fold(sums);
            row = row.add(stride);
        }
    }
}

/// The pairwise tree over the partial sums of one row: registers first, then lanes.
///
/// # Safety
///
/// The CPU has the instruction set of `V`.
#[inline(always)]
unsafe fn fold<V: Vector, const REGISTERS: usize>(mut sums: [V; REGISTERS]) -> f32 {
    const { assert!(REGISTERS.is_power_of_two()) };
    let mut width = REGISTERS / 2;
    while width > 0 {
        for nth in 0..width {
            // SAFETY: the caller vouches for the instruction set.
            sums[nth] = unsafe { sums[nth].add(sums[nth + width]) };
        }
        width /= 2;
    }
    // SAFETY: as above.
    unsafe { sums[0].fold() }
}
