//! The scan of one block, written once for every instruction set.
//!
//! Everything here is `#[inline(always)]`: the bodies must end up inside the caller that enables
//! the instruction set (`#[target_feature]`), where the intrinsics become single instructions.
#![allow(unsafe_code)]

use super::BLOCK_ROWS;

/// A register of `f32` lanes of one instruction set.
///
/// # Safety
///
/// Every operation requires that the CPU has the instruction set of the implementing type.
/// `load` reads and `store` writes `LANES` floats, at any alignment.
pub(super) trait Vector: Copy {
    const LANES: usize;

    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    unsafe fn sub(self, other: Self) -> Self;
    /// `self * factor + sum`, rounded once.
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self;
}

/// One step of a row's sum: what a component of a row and of the query add to it.
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

/// Writes the sum of each row of `block` over all components of `query`, in order, to `out`.
///
/// # Safety
///
/// The CPU has the instruction set of `V`, and `block` holds `BLOCK_ROWS` floats for each
/// component of `query`.
#[inline(always)]
pub(super) unsafe fn scan<V: Vector, S: Step, const REGISTERS: usize>(
    block: &[f32],
    query: &[f32],
    out: &mut [f32; BLOCK_ROWS],
) {
    const { assert!(REGISTERS * V::LANES == BLOCK_ROWS) };
    // SAFETY: the caller vouches for the instruction set. Step `d` loads the 64 floats from
    // `d * 64` on, which `block` holds; the stores cover the 64 floats of `out`.
    unsafe {
        let mut sums = [V::splat(0.0); REGISTERS];
        let mut rows = block.as_ptr();
        for &component in query {
            let component = V::splat(component);
            for (register, sum) in sums.iter_mut().enumerate() {
                *sum = S::step(V::load(rows.add(register * V::LANES)), component, *sum);
            }
            rows = rows.add(BLOCK_ROWS);
        }
        for (register, sum) in sums.into_iter().enumerate() {
            sum.store(out.as_mut_ptr().add(register * V::LANES));
        }
    }
}
