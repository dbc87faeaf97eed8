//! The kernels of the index, chosen once for the CPU.
//!
//! | Kernel | Does | Used by |
//! |---|---|---|
//! | `hadamard` | fast Walsh–Hadamard transform in place | rotation |
//! | `scan_block` | sums a query's table over the codes of 32 rows (FastScan) | tail, graph |
//! | `estimate` | makes distances of such sums and says which are below a bound | tail, graph |
//! | `widen` | makes f32 of the f16 factors of a page | graph |
//! | `largest`, `round_bytes`, `fill_tables` | prepare a query; quantize a row | cues, build |
//! | `signs` | the signs and norms of a rotated row | tail |
//! | `levels` | a rotated row in levels of a few bits | tail, sections |
//! | `relate` | the difference of two rows of bytes: signs and norms | build |
//! | `dot` | inner product of biased bytes with signed bytes | graph search, routing, pruning |
//! | `dot_strip` | the same for 4 rows with many | bulk build |
//! | `combine` | makes distances of such products | bulk build |
//!
//! Every instruction set returns the same bits: sums are of integers, and the few operations on
//! floats come in one fixed order, each rounded by itself. `scalar` is the
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
type Estimate = unsafe fn(&Estimating<'_>, &[u32; CODE_ROWS], &mut [f32; CODE_ROWS]) -> u32;
type DotBytes = unsafe fn(&[u8], &[i8]) -> i32;
type DotStrip = unsafe fn(&[u8], &[u8], &mut [i32]);
type Largest = unsafe fn(&[f32]) -> f32;
type RoundBytes = unsafe fn(&[f32], f32, &mut [i8]) -> ByteSums;
type FillTables = unsafe fn(&[f32], f32, &mut [u8]);
type Widen = unsafe fn(&[u8; 4 * CODE_ROWS], &mut [f32; 2 * CODE_ROWS]);
type Relate = unsafe fn(BytesOf<'_>, BytesOf<'_>, &mut [u64]) -> Relation;
type Signs = unsafe fn(&[f32], &mut [u64]) -> Norms;
type RoundLevels = unsafe fn(&[f32], &[f32], f32, &mut [u64]) -> Levels;
type Combine = unsafe fn(&Combining<'_>, &[i32], &mut [f32]);

/// What turns the sums of a block into distances.
#[derive(Debug, Clone, Copy)]
pub struct Estimating<'a> {
    /// 32 addends, then 32 factors.
    pub factors: &'a [f32; 2 * CODE_ROWS],
    /// What both are multiplied with.
    pub scale: f32,
    /// The inner product of the query with a row of signs is `sum * step + base`.
    pub step: f32,
    pub base: f32,
    /// What every distance has in common.
    pub origin: f32,
    /// What is of interest lies below.
    pub bound: f32,
}

/// Rotated coordinates in bytes: a coordinate is `(byte - 128) * step`.
#[derive(Debug, Clone, Copy)]
pub struct BytesOf<'a> {
    pub bytes: &'a [u8],
    pub step: f32,
}

/// Sums over the bytes of a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ByteSums {
    pub sum: i32,
    pub squares: u32,
}

/// Norms of a row.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Norms {
    /// The squared Euclidean norm.
    pub squares: f32,
    /// The sum of absolute values.
    pub absolute: f32,
}

/// Inner products with a row's levels.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Levels {
    /// Of the row itself.
    pub along: f32,
    /// Of another one.
    pub beside: f32,
}

/// How one row differs from another, `own`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Relation {
    /// Squared Euclidean norm of the difference.
    pub squares: f32,
    /// Sum of its absolute values.
    pub absolute: f32,
    /// Inner product of `own` with the signs of the difference.
    pub along: f32,
}

/// What makes squared distances of inner products of bytes: `norm + norms[i] - 2 * step * steps[i]
/// * (products[i] - 128 * sums[i])`.
#[derive(Debug, Clone, Copy)]
pub struct Combining<'a> {
    pub step: f32,
    pub norm: f32,
    pub steps: &'a [f32],
    pub norms: &'a [f32],
    /// Sums of the bytes of the rows on the right, 128 taken off each.
    pub sums: &'a [i32],
}

/// The kernels of one instruction set.
#[derive(Debug)]
pub struct IndexKernels {
    name: &'static str,
    /// Whether this CPU has it. An `IndexKernels` leaves this module only if it has: that makes
    /// the calls through the pointers below sound.
    supported: fn() -> bool,
    hadamard: Hadamard,
    scan_block: ScanBlock,
    estimate: Estimate,
    dot: DotBytes,
    dot_strip: DotStrip,
    largest: Largest,
    round_bytes: RoundBytes,
    fill_tables: FillTables,
    widen: Widen,
    signs: Signs,
    levels: RoundLevels,
    relate: Relate,
    combine: Combine,
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
        estimate: avx512::estimate,
        dot: avx512::dot,
        dot_strip: avx512::dot_strip,
        largest: avx512::largest,
        round_bytes: avx512::round_bytes,
        fill_tables: avx512::fill_tables,
        widen: avx512::widen,
        signs: avx512::signs,
        levels: avx512::levels,
        relate: avx512::relate,
        combine: avx512::combine,
    },
    #[cfg(target_arch = "x86_64")]
    IndexKernels {
        name: "avx2",
        supported: || is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c"),
        hadamard: avx2::hadamard,
        scan_block: avx2::scan_block,
        estimate: avx2::estimate,
        dot: avx2::dot,
        dot_strip: avx2::dot_strip,
        largest: avx2::largest,
        round_bytes: avx2::round_bytes,
        fill_tables: avx2::fill_tables,
        widen: avx2::widen,
        signs: avx2::signs,
        levels: avx2::levels,
        relate: avx2::relate,
        combine: avx2::combine,
    },
    #[cfg(target_arch = "aarch64")]
    IndexKernels {
        name: "neon",
        supported: || std::arch::is_aarch64_feature_detected!("neon"),
        hadamard: neon::hadamard,
        scan_block: neon::scan_block,
        estimate: neon::estimate,
        dot: neon::dot,
        dot_strip: neon::dot_strip,
        largest: neon::largest,
        round_bytes: neon::round_bytes,
        fill_tables: neon::fill_tables,
        widen: neon::widen,
        signs: neon::signs,
        levels: neon::levels,
        relate: neon::relate,
        combine: neon::combine,
    },
    IndexKernels {
        name: "scalar",
        supported: || true,
        hadamard: scalar::hadamard,
        scan_block: scalar::scan_block,
        estimate: scalar::estimate,
        dot: scalar::dot,
        dot_strip: scalar::dot_strip,
        largest: scalar::largest,
        round_bytes: scalar::round_bytes,
        fill_tables: scalar::fill_tables,
        widen: scalar::widen,
        signs: scalar::signs,
        levels: scalar::levels,
        relate: scalar::relate,
        combine: scalar::combine,
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

    /// `distances[i] = origin + (addends[i] + factors[i] * (sums[i] * step + base)) * scale`; bit
    /// *i* of the result says whether that is below the bound.
    #[inline]
    pub fn estimate(
        &self,
        estimating: &Estimating<'_>,
        sums: &[u32; CODE_ROWS],
        distances: &mut [f32; CODE_ROWS],
    ) -> u32 {
        // SAFETY: the CPU supports the instruction set (see `supported`).
        unsafe { (self.estimate)(estimating, sums, distances) }
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

    /// The inner products of the four rows of `left`, taken as they are, with each row of `right`,
    /// 128 taken off its bytes: those of the first row of `left` first.
    ///
    /// # Panics
    /// When `left` is no multiple of four times 64 bytes, `right` not a multiple of it, or there
    /// are not as many products.
    #[inline]
    pub fn dot_strip(&self, left: &[u8], right: &[u8], products: &mut [i32]) {
        let fits = left.len().is_multiple_of(TILE * DIMENSIONS_STEP)
            && right.len().is_multiple_of(left.len())
            && products.len() * left.len() == right.len() * TILE * TILE;
        let (left_bytes, right_bytes, count) = (left.len(), right.len(), products.len());
        assert!(fits, "{left_bytes} bytes against {right_bytes} do not make {count} products");
        // SAFETY: the CPU supports the instruction set (see `supported`); lengths were checked.
        unsafe { (self.dot_strip)(left, right, products) }
    }

    /// The squared distances of one row from others, of their inner products as
    /// [`dot_strip`](Self::dot_strip) makes them.
    ///
    /// # Panics
    /// When the lengths differ.
    #[inline]
    pub fn combine(&self, with: &Combining<'_>, products: &[i32], distances: &mut [f32]) {
        let lengths = [with.steps, with.norms].map(<[f32]>::len);
        let sums = with.sums.len();
        assert_eq!([lengths[0], lengths[1], sums, products.len()], [distances.len(); 4]);
        // SAFETY: the CPU supports the instruction set (see `supported`); lengths were checked.
        unsafe { (self.combine)(with, products, distances) }
    }

    /// The largest absolute value.
    ///
    /// # Panics
    /// When the length is no multiple of 64.
    #[inline]
    pub fn largest(&self, values: &[f32]) -> f32 {
        assert!(values.len().is_multiple_of(DIMENSIONS_STEP), "{} values", values.len());
        // SAFETY: the CPU supports the instruction set (see `supported`); the length was checked.
        unsafe { (self.largest)(values) }
    }

    /// Writes `values * scale`, rounded to the nearest; the products lie within ±127.
    ///
    /// # Panics
    /// When the lengths differ or are no multiple of 64.
    #[inline]
    pub fn round_bytes(&self, values: &[f32], scale: f32, bytes: &mut [i8]) -> ByteSums {
        let count = values.len();
        assert!(count == bytes.len() && count.is_multiple_of(DIMENSIONS_STEP), "{count} values");
        // SAFETY: the CPU supports the instruction set (see `supported`); lengths were checked.
        unsafe { (self.round_bytes)(values, scale, bytes) }
    }

    /// Fills the table of every four values: entry *i* is the sum of the values whose bit is set in
    /// *i*, less the smallest such sum, times `scale`, rounded; it lies within
    /// 0..=[`TABLE_ENTRY_MAX`].
    ///
    /// # Panics
    /// When the number of values is no multiple of 64 or `tables` has not 16 bytes for each four.
    #[inline]
    pub fn fill_tables(&self, values: &[f32], scale: f32, tables: &mut [u8]) {
        let count = values.len();
        let fits = tables.len() * TABLE_DIMENSIONS == count * TABLE_ENTRIES;
        assert!(fits && count.is_multiple_of(DIMENSIONS_STEP), "{count} values");
        // SAFETY: the CPU supports the instruction set (see `supported`); lengths were checked.
        unsafe { (self.fill_tables)(values, scale, tables) }
    }

    /// Makes f32 of 64 little-endian f16.
    #[inline]
    pub fn widen(&self, halves: &[u8; 4 * CODE_ROWS], wide: &mut [f32; 2 * CODE_ROWS]) {
        // SAFETY: the CPU supports the instruction set (see `supported`).
        unsafe { (self.widen)(halves, wide) }
    }

    /// Writes the signs of `values`, lowest bit first, a set bit for a value that is not negative.
    ///
    /// # Panics
    /// When there is not a word of signs for every 64 values.
    #[inline]
    pub fn signs(&self, values: &[f32], signs: &mut [u64]) -> Norms {
        assert_eq!(values.len(), signs.len() * DIMENSIONS_STEP, "values");
        // SAFETY: the CPU supports the instruction set (see `supported`); lengths were checked.
        unsafe { (self.signs)(values, signs) }
    }

    /// Rounds `values * scale` to the nearest of evenly spaced levels, read as the odd numbers
    /// about zero, and writes those in bits: planes of equal weight, the lightest first, each with
    /// a word for every 64 values, lowest bit first. The number of planes is that of bits.
    ///
    /// # Panics
    /// When there are not as many `others` as values, or no whole number of planes up to eight.
    #[inline]
    pub fn levels(&self, values: &[f32], others: &[f32], scale: f32, planes: &mut [u64]) -> Levels {
        let (count, words) = (values.len(), values.len() / DIMENSIONS_STEP);
        let fits = count == others.len()
            && count.is_multiple_of(DIMENSIONS_STEP)
            && planes.len().is_multiple_of(words)
            && (1..=8).contains(&(planes.len() / words));
        assert!(fits, "{count} and {} values, {} words", others.len(), planes.len());
        // SAFETY: the CPU supports the instruction set (see `supported`); lengths were checked.
        unsafe { (self.levels)(values, others, scale, planes) }
    }

    /// Compares `other` with `own`; the signs of the difference go to `signs`, lowest bit first, a
    /// set bit for a difference that is not negative.
    ///
    /// # Panics
    /// When the lengths differ or there is not a word of signs for every 64 bytes.
    #[inline]
    pub fn relate(&self, own: BytesOf<'_>, other: BytesOf<'_>, signs: &mut [u64]) -> Relation {
        let count = own.bytes.len();
        let fits = count == other.bytes.len() && count == signs.len() * DIMENSIONS_STEP;
        assert!(fits, "{count} and {} bytes, {} words", other.bytes.len(), signs.len());
        // SAFETY: the CPU supports the instruction set (see `supported`); lengths were checked.
        unsafe { (self.relate)(own, other, signs) }
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
