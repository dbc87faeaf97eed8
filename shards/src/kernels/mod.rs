//! The exact-scan kernels: dot products and squared distances of a query with 64 rows at a time.
//!
//! # Layout
//!
//! Rows live in blocks of [`BLOCK_ROWS`] = 64, dimension-major ("PDX", after Kuffo, Krippner and
//! Boncz, SIGMOD 2025): component `d` of row `r` stands at `block[d * 64 + r]`. One dimension of a
//! block is 256 bytes, so a block that starts on a cache line keeps every vector load inside one.
//! Alignment is for speed only: the kernels are sound on any slice.
//!
//! The kernel keeps the 64 running sums in registers and broadcasts one component of the query per
//! step. Compared with row-major scans there is no horizontal sum per row, no tail for odd
//! dimensions, and the sums of different rows are independent, so their latencies overlap without
//! splitting any row's sum.
//!
//! # The score does not depend on the machine
//!
//! Each row's sum is *one* chain of fused multiply-adds over d = 0, 1, …, rounded once per step:
//!
//! ```text
//! dot  sum ← fma(block[d, r], query[d], sum)
//! l2   sum ← fma(x, x, sum)   with x = block[d, r] - query[d], rounded
//! ```
//!
//! IEEE 754 defines every one of these roundings, so AVX-512, AVX2 with FMA, NEON and the scalar
//! oracle return the same bits, denormals and infinities included; only the payload of a NaN may
//! differ. This holds under the default floating-point environment (round to nearest, denormals
//! kept), which Rust requires anyway. The rejected option, several partial sums per row, would
//! gain nothing here: 64 independent rows already fill the pipeline.
//!
//! There is no software prefetch: a scan is one long stream, which the CPU prefetches by itself.
//! On Zen 4, prefetching 512 bytes to 8 KiB ahead into L1 left the 92 to 96 ns per row of 768 in
//! DRAM as they were and cost up to 4 % in cache; into L2 it cost 20 % in cache and more in DRAM.
//!
//! # How the files divide
//!
//! `vector` holds the algorithm once, over a trait of five vector operations; `avx512`, `avx2`
//! and `neon` are that trait in one instruction set each; `scalar` states the same result in plain
//! Rust and is the oracle of the tests; `dispatch` chooses once. `block` moves rows in and out of
//! the layout, `norm` checks and measures a client's vector.

mod block;
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

pub use crate::limits::BLOCK_ROWS;
pub use block::{get_row, put_column, transpose};
pub use dispatch::{Kernels, kernels};
pub use norm::NonFinite;
