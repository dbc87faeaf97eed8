//! The kernels in plain Rust: the oracle of the tests, and the fallback where the CPU has neither
//! AVX2 with FMA nor NEON. `f32::mul_add` rounds once on every machine; without an instruction for
//! it the compiler calls the C library, which costs nanoseconds per step.

use super::SUMS;

pub(super) fn dot(query: &[f32], rows: &[f32], out: &mut [f32]) {
    scan(query, rows, out, |row, query, sum| row.mul_add(query, sum));
}

pub(super) fn l2(query: &[f32], rows: &[f32], out: &mut [f32]) {
    scan(query, rows, out, |row, query, sum| {
        let difference = row - query;
        difference.mul_add(difference, sum)
    });
}

#[inline(always)]
fn scan(query: &[f32], rows: &[f32], out: &mut [f32], step: impl Fn(f32, f32, f32) -> f32) {
    for (row, score) in rows.chunks_exact(query.len()).zip(out) {
        let mut sums = [0.0; SUMS];
        for (row, query) in row.chunks(SUMS).zip(query.chunks(SUMS)) {
            for ((sum, &row), &query) in sums.iter_mut().zip(row).zip(query) {
                *sum = step(row, query, *sum);
            }
        }
        *score = fold(sums);
    }
}

fn fold(mut sums: [f32; SUMS]) -> f32 {
    let mut width = SUMS / 2;
    while width > 0 {
        for nth in 0..width {
            sums[nth] += sums[nth + width];
        }
        width /= 2;
    }
    sums[0]
}
