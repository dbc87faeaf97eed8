//! The exact kernels: dot products and squared distances of a query with rows.
//!
//! # Layout
//!
//! A row is its components one behind the other, padded with zeros to a multiple of
//! [`ROW_FLOATS_STEP`] = 16 floats, a cache line, and begins on one. The query is padded alike, so
//! no kernel has a tail of single floats; a zero adds nothing. Rows stand one behind the other: a
//! scan is one long stream, and a single row can be read, copied or scored by itself. Alignment is
//! for speed only: the kernels are sound on any slice.
//!
//! # The score does not depend on the machine
//!
//! A row has [`SUMS`] = 64 partial sums. Sum `l` is *one* chain of fused multiply-adds over the
//! components d = l, l + 64, l + 128, …, rounded once per step:
//!
//! ```text
//! dot  sum[l] ← fma(row[d], query[d], sum[l])
//! l2   sum[l] ← fma(x, x, sum[l])   with x = row[d] - query[d], rounded
//! ```
//!
//! Then the upper half of the sums is added to the lower half, 32 + 32, 16 + 16, …, until one is
//! left. IEEE 754 defines every one of these roundings, so AVX-512, AVX2 with FMA, NEON and the
//! scalar oracle return the same bits, denormals and infinities included, for a row by itself as
//! for one among many; only the payload of a NaN may differ. This holds under the default
//! floating-point environment (round to nearest, denormals kept), which Rust requires anyway.
//!
//! Sixty-four sums are four registers of AVX-512, eight of AVX2, sixteen of NEON: enough to hide
//! the latency of the multiply-add on each. Rejected: sums as wide as one register (other bits on
//! every machine); rows dimension-major in blocks of 64 (Kuffo, Krippner and Boncz, SIGMOD 2025),
//! which need no reduction per row but make of one row a gather from a line for each component:
//! whoever reranks what an index found reads single rows, and whoever stores writes them. Rejected
//! too: four rows side by side, so that each load of the query serves all. In cache that saves 3 of
//! 29 ns per row of 768 on Zen 4; from memory four streams instead of one take twice as long, with
//! and without software prefetch.
//!
//! # How the files divide
//!
//! `vector` holds the algorithm once, over a trait of seven vector operations; `avx512`, `avx2`
//! and `neon` are that trait in one instruction set each; `scalar` states the same result in plain
//! Rust and is the oracle of the tests; `dispatch` chooses once. `norm` checks and measures a
//! client's vector.

mod dispatch;
mod norm;
mod scalar;
mod vector;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;

#[cfg(test)]
mod tests;

use crate::episode::Metric;

pub use crate::limits::ROW_FLOATS_STEP;
pub use dispatch::{Kernels, kernels};
pub use norm::NonFinite;

/// Partial sums of a row's score.
const SUMS: usize = 64;

const _: () = assert!(SUMS.is_multiple_of(ROW_FLOATS_STEP));

/// Floats from the begin of one row of `dimensions` components to that of the next.
pub const fn row_floats(dimensions: usize) -> usize {
    dimensions.next_multiple_of(ROW_FLOATS_STEP)
}

/// What rows are ordered by, the nearest first: larger is nearer. `scale`, one over a row's norm,
/// is only asked for under cosine; the query's length is one then.
#[inline]
pub fn key(metric: Metric, query: &[f32], row: &[f32], scale: impl FnOnce() -> f32) -> f32 {
    match metric {
        Metric::Cosine => kernels().dot(query, row) * scale(),
        Metric::Dot => kernels().dot(query, row),
        Metric::L2 => -kernels().l2(query, row),
    }
}

/// A query as the kernels take it: padded with zeros to the length of a row.
pub fn padded(query: &[f32]) -> Vec<f32> {
    let mut padded = query.to_vec();
    padded.resize(row_floats(query.len()), 0.0);
    padded
}
