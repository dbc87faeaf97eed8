//! The kernels in plain Rust: the oracle of the tests, and the fallback where the CPU has neither
//! AVX2 with FMA nor NEON. `f32::mul_add` rounds once on every machine; without an instruction for
//! it the compiler calls the C library, which costs nanoseconds per step.

use super::BLOCK_ROWS;

pub(super) fn dot(block: &[f32], query: &[f32], out: &mut [f32; BLOCK_ROWS]) {
    out.fill(0.0);
    for (rows, &component) in block.chunks_exact(BLOCK_ROWS).zip(query) {
        for (sum, &row) in out.iter_mut().zip(rows) {
            *sum = row.mul_add(component, *sum);
        }
    }
}

pub(super) fn l2(block: &[f32], query: &[f32], out: &mut [f32; BLOCK_ROWS]) {
    out.fill(0.0);
    for (rows, &component) in block.chunks_exact(BLOCK_ROWS).zip(query) {
        for (sum, &row) in out.iter_mut().zip(rows) {
            let difference = row - component;
            *sum = difference.mul_add(difference, *sum);
        }
    }
}
