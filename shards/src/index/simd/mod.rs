//! The kernels of the index, chosen once for the CPU.
//!
//! | Kernel | Does | Used by |
//! |---|---|---|
//! | `hadamard` | fast Walsh–Hadamard transform in place | rotation |
//! | `scan_block` | sums a query's table over the codes of 32 rows (FastScan) | tail, graph |
//! | `dot` | inner product of biased bytes with signed bytes | graph search, routing, pruning |
//! | `dot_tile` | the same for 4 × 4 rows | bulk build |
//!
//! All of them but `hadamard` are integer arithmetic, so every instruction set returns the same
//! numbers; `hadamard` adds and subtracts in one fixed order and does so too. `scalar` is the
//! oracle that the tests compare with.
//!
//! FastScan is due to André, Kermarrec and Le Scouarnec (VLDB 2015); scanning one-bit codes with it
//! to RaBitQ (Gao and Long, SIGMOD 2024) and SymphonyQG (Gou et al., SIGMOD 2025).
#![allow(unsafe_code)]

mod scalar;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;

#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use crate::limits::DIMENSIONS_MAX;

/// Rows of a block of codes.
pub const CODE_ROWS: usize = 32;
/// Dimensions that one table of a query covers.
pub const TABLE_DIMENSIONS: usize = 4;
/// Entries of such a table: one for every subset of its dimensions.
pub const TABLE_ENTRIES: usize = 1 << TABLE_DIMENSIONS;
/// The largest entry: four of them are added in a byte before they are widened.
pub const TABLE_ENTRY_MAX: u8 = u8::MAX / 4;
/// Every length of the index is a multiple of this.
pub const DIMENSIONS_STEP: usize = 64;
/// Bytes of the tables of a query at most: the sums of one row over all of them, as one 128-bit
/// part of a register sees them, fit into 16 bits.
pub const TABLES_BYTES_MAX: usize = u16::MAX as usize / TABLE_ENTRY_MAX as usize * TABLE_ENTRIES;

// One dimension more than a space can have, rounded up, still fits.
const _: () = assert!(
    (DIMENSIONS_MAX + 1).next_multiple_of(DIMENSIONS_STEP) / TABLE_DIMENSIONS * TABLE_ENTRIES
        <= TABLES_BYTES_MAX
);

/// Rows on each side of a tile.
pub const TILE: usize = 4;

type Hadamard = unsafe fn(&mut [f32]);
type ScanBlock = unsafe fn(&[u8], &[u8], &mut [u32; CODE_ROWS]);
type DotBytes = unsafe fn(&[u8], &[i8]) -> i32;
type DotTile = unsafe fn(&[u8], &[u8], &mut [[i32; TILE]; TILE]);

/// The kernels of one instruction set.
#[derive(Debug)]
pub struct IndexKernels {
    name: &'static str,
    /// Whether this CPU has it. An `IndexKernels` leaves this module only if it has: that makes
    /// the calls through the pointers below sound.
    supported: fn() -> bool,
    hadamard: Hadamard,
    scan_block: ScanBlock,
    dot: DotBytes,
    dot_tile: DotTile,
}

/// Every instruction set this build knows, the fastest first.
static CANDIDATES: &[IndexKernels] = &[
    #[cfg(target_arch = "x86_64")]
    IndexKernels {
        name: "avx512",
        supported: || {
            is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vnni")
        },
        hadamard: avx512::hadamard,
        scan_block: avx512::scan_block,
        dot: avx512::dot,
        dot_tile: avx512::dot_tile,
    },
    #[cfg(target_arch = "x86_64")]
    IndexKernels {
        name: "avx2",
        supported: || is_x86_feature_detected!("avx2"),
        hadamard: avx2::hadamard,
        scan_block: avx2::scan_block,
        dot: avx2::dot,
        dot_tile: avx2::dot_tile,
    },
    #[cfg(target_arch = "aarch64")]
    IndexKernels {
        name: "neon",
        supported: || std::arch::is_aarch64_feature_detected!("neon"),
        hadamard: neon::hadamard,
        scan_block: neon::scan_block,
        dot: neon::dot,
        dot_tile: neon::dot_tile,
    },
    IndexKernels {
        name: "scalar",
        supported: || true,
        hadamard: scalar::hadamard,
        scan_block: scalar::scan_block,
        dot: scalar::dot,
        dot_tile: scalar::dot_tile,
    },
];

/// The fastest kernels this CPU supports.
pub fn index_kernels() -> &'static IndexKernels {
    static FASTEST: LazyLock<&IndexKernels> =
        LazyLock::new(|| IndexKernels::all_supported().next().expect("scalar is always supported"));
    &FASTEST
}

impl IndexKernels {
    /// The kernels of every instruction set this CPU supports, the fastest first and `scalar`
    /// last: for tests and benchmarks.
    pub fn all_supported() -> impl Iterator<Item = &'static IndexKernels> {
        CANDIDATES.iter().filter(|kernels| (kernels.supported)())
    }

    /// The instruction set: `avx512`, `avx2`, `neon` or `scalar`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The Walsh–Hadamard transform of `values`, in place and not scaled: applied twice it
    /// multiplies by the length.
    ///
    /// # Panics
    /// When the length is not a power of two of at least 64.
    #[inline]
    pub fn hadamard(&self, values: &mut [f32]) {
        assert!(
            values.len().is_power_of_two() && values.len() >= DIMENSIONS_STEP,
            "a transform is of a power of two of at least {DIMENSIONS_STEP}, got {}",
            values.len()
        );
        // SAFETY: the CPU supports the instruction set (see `supported`); the length was checked.
        unsafe { (self.hadamard)(values) }
    }

    /// For each of 32 rows the sum of the table entries that its code selects. `codes` and
    /// `tables` hold 16 bytes for every four dimensions: byte `b` of a group has the bits of row
    /// `b` in its low half and of row `b + 16` in its high half.
    ///
    /// # Panics
    /// When the lengths differ, are no multiple of 256 or above [`TABLES_BYTES_MAX`]. Debug builds
    /// also when an entry is above [`TABLE_ENTRY_MAX`].
    #[inline]
    pub fn scan_block(&self, codes: &[u8], tables: &[u8], sums: &mut [u32; CODE_ROWS]) {
        const STEP: usize = DIMENSIONS_STEP / TABLE_DIMENSIONS * TABLE_ENTRIES;
        let bytes = codes.len();
        assert!(
            bytes == tables.len() && bytes.is_multiple_of(STEP) && bytes <= TABLES_BYTES_MAX,
            "codes and tables have the same multiple of {STEP} bytes, at most {TABLES_BYTES_MAX}, \
             got {bytes} and {}",
            tables.len()
        );
        debug_assert!(tables.iter().all(|&entry| entry <= TABLE_ENTRY_MAX));
        // SAFETY: the CPU supports the instruction set (see `supported`); lengths were checked.
        unsafe { (self.scan_block)(codes, tables, sums) }
    }

    /// The inner product of `row`, whose bytes stand 128 above their values, taken as they are,
    /// with `query`.
    ///
    /// # Panics
    /// When the lengths differ or are no multiple of 64.
    #[inline]
    pub fn dot(&self, row: &[u8], query: &[i8]) -> i32 {
        assert!(
            row.len() == query.len() && row.len().is_multiple_of(DIMENSIONS_STEP),
            "both sides have the same multiple of {DIMENSIONS_STEP} bytes, got {} and {}",
            row.len(),
            query.len()
        );
        // SAFETY: the CPU supports the instruction set (see `supported`); lengths were checked.
        unsafe { (self.dot)(row, query) }
    }

    /// `products[i][j]` is the inner product of row `i` of `left`, taken as it is, with row `j` of
    /// `right`, 128 taken off each of its bytes. Both hold four rows, one behind the other.
    ///
    /// # Panics
    /// When the lengths differ or are no multiple of four times 64.
    #[inline]
    pub fn dot_tile(&self, left: &[u8], right: &[u8], products: &mut [[i32; TILE]; TILE]) {
        assert!(
            left.len() == right.len() && left.len().is_multiple_of(TILE * DIMENSIONS_STEP),
            "both sides have {TILE} rows of the same multiple of {DIMENSIONS_STEP} bytes, got {} \
             and {} bytes",
            left.len(),
            right.len()
        );
        // SAFETY: the CPU supports the instruction set (see `supported`); lengths were checked.
        unsafe { (self.dot_tile)(left, right, products) }
    }
}

/// Asks the caches for the lines of `bytes`, into the second level: one-kilobyte records and larger
/// arrive 1.7 times faster there than into the first on the machines measured.
#[inline]
pub fn prefetch(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    for line in bytes.chunks(64) {
        use core::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a prefetch of any address is sound.
        unsafe { _mm_prefetch(line.as_ptr().cast(), _MM_HINT_T1) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes;
}
