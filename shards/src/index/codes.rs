//! Codes of one, two or four bits per dimension, interleaved so that 32 rows are scanned at once.
//!
//! A rotated vector `x` is rounded to the nearest of 2ᴮ levels per coordinate, evenly spaced and
//! symmetric about zero; with one bit that leaves its signs. With `c` the levels as odd integers,
//! `<q, x>` is estimated as `<q, c> |x|² / <x, c>`. For one bit this is RaBitQ (Gao and Long,
//! SIGMOD 2024), unbiased under a random rotation, for more its extension (Gao et al., SIGMOD
//! 2025). A vector may also be described by its difference `r` from a centre `v` that stands nearer
//! to it than the origin: its distance is then
//! `|q - v|² + |r|² - 2 |r|² / <r, c> (<q, c> - <v, c>)`.
//!
//! Bits of equal weight form a *plane*. A plane holds 16 bytes for every four dimensions. Byte *b*
//! has the four bits of row *b* in its low half and those of row *b* + 16 in its high half: the
//! order in which a shuffle looks 16 rows up in a table of 16 entries. So one kernel and one set of
//! tables serve codes of any width: the sums over the planes are added with their weights.
//!
//! A block has the planes, lightest first, then 32 addends and 32 factors, f32: what makes a
//! distance of a row's sum.

#[cfg(test)]
mod tests;

use zerocopy::FromBytes;

use crate::episode::CodeBits;
use crate::limits::DIMENSIONS_MAX;

use super::cue::Cue;
use super::simd::{
    CODE_ROWS, Estimating, Levels, Norms, TABLE_DIMENSIONS, TABLE_ENTRIES, index_kernels,
};

/// Signs of 64 coordinates, lowest bit first.
pub type SignWord = u64;

/// Words of signs of the longest vectors.
const SIGN_WORDS_MAX: usize = (DIMENSIONS_MAX + 1).div_ceil(SignWord::BITS as usize);

const FACTORS_BYTES: usize = 2 * CODE_ROWS * size_of::<f32>();

/// Bytes of a plane of 32 rows with so many rotated coordinates.
pub fn plane_bytes(padded: usize) -> usize {
    padded / TABLE_DIMENSIONS * TABLE_ENTRIES
}

/// Writes the signs of row `nth` into a plane whose bits for that row are clear.
///
/// # Panics
/// When `nth` is not below 32 or the plane is of another length than the signs.
pub fn put_signs(signs: &[SignWord], nth: usize, plane: &mut [u8]) {
    const GROUPS: usize = SignWord::BITS as usize / TABLE_DIMENSIONS;
    assert!(nth < CODE_ROWS, "a block has {CODE_ROWS} rows, got row {nth}");
    assert_eq!(plane.len(), signs.len() * GROUPS * TABLE_ENTRIES, "bytes of a plane");
    let (byte, shift) = (nth % TABLE_ENTRIES, nth / TABLE_ENTRIES * TABLE_DIMENSIONS);
    for (word, groups) in signs.iter().zip(plane.chunks_exact_mut(GROUPS * TABLE_ENTRIES)) {
        let mut word = *word;
        for group in groups.chunks_exact_mut(TABLE_ENTRIES) {
            group[byte] |= ((word & 15) as u8) << shift;
            word >>= TABLE_DIMENSIONS;
        }
    }
}

/// What an estimate is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Estimand {
    /// The squared Euclidean distance.
    SquaredDistance,
    /// The inner product, negative, so that less is nearer.
    InnerProduct,
}

/// The shape of codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodeLayout {
    pub padded: usize,
    pub bits: CodeBits,
    pub estimand: Estimand,
}

impl CodeLayout {
    pub fn block_bytes(self) -> usize {
        self.planes_bytes() + FACTORS_BYTES
    }

    fn planes_bytes(self) -> usize {
        plane_bytes(self.padded) * self.bits as usize
    }

    /// Writes the code of a rotated vector as row `nth` of a block that has no row there.
    ///
    /// # Panics
    /// When the lengths do not fit or there is no such row.
    pub fn put(self, rotated: &[f32], nth: usize, block: &mut [u8]) {
        self.put_code(rotated, None, nth, block);
    }

    /// Writes the code of the difference of a rotated vector from `centre`. Estimates begin at the
    /// centre's own.
    ///
    /// # Panics
    /// When the lengths do not fit or there is no such row.
    pub fn put_difference(self, difference: &[f32], centre: &[f32], nth: usize, block: &mut [u8]) {
        self.put_code(difference, Some(centre), nth, block);
    }

    fn put_code(self, vector: &[f32], centre: Option<&[f32]>, nth: usize, block: &mut [u8]) {
        assert_eq!((vector.len(), block.len()), (self.padded, self.block_bytes()));
        let (planes, factors) = block.split_at_mut(self.planes_bytes());
        let words = self.padded / SignWord::BITS as usize;
        let mut code = [0; SIGN_WORDS_MAX * CodeBits::Four as usize];
        let code = &mut code[..words * self.bits as usize];
        let Norms { squares, absolute } = index_kernels().signs(vector, &mut code[..words]);
        let levels = match (self.bits, centre) {
            (CodeBits::One, None) => Levels { along: absolute, beside: 0.0 },
            (_, centre) => {
                let scale = self.level_scale(squares);
                index_kernels().levels(vector, centre.unwrap_or(vector), scale, code)
            }
        };
        let each = code.chunks_exact(words).zip(planes.chunks_exact_mut(plane_bytes(self.padded)));
        each.for_each(|(signs, plane)| put_signs(signs, nth, plane));
        let inverse = if levels.along > 0.0 { squares / levels.along } else { 0.0 };
        let beside = if centre.is_some() { levels.beside } else { 0.0 };
        let (addend, factor) = match self.estimand {
            Estimand::SquaredDistance => (squares + 2.0 * inverse * beside, -2.0 * inverse),
            Estimand::InnerProduct => (0.0, -inverse),
        };
        let factors =
            <[f32; 2 * CODE_ROWS]>::mut_from_bytes(factors).expect("blocks are aligned to floats");
        (factors[nth], factors[nth + CODE_ROWS]) = (addend, factor);
    }

    /// What coordinates are multiplied with so that a step between levels is one. The step is the
    /// one that loses least of normally distributed coordinates (Max, 1960).
    fn level_scale(self, squares: f32) -> f32 {
        let step = match self.bits {
            CodeBits::One => return 1.0,
            CodeBits::Two => 0.9957,
            CodeBits::Four => 0.3352,
        };
        #[allow(clippy::cast_precision_loss)]
        let deviation = (squares / self.padded as f32).sqrt().max(f32::MIN_POSITIVE);
        1.0 / (step * deviation)
    }

    /// Estimates the 32 rows of a block, from the estimate of what they are differences from; bit
    /// *i* of the result says whether row *i* lies below the bound. Rows that were never put
    /// estimate something or other.
    #[inline]
    pub fn estimate(
        self,
        cue: &Cue,
        block: &[u8],
        origin: f32,
        bound: f32,
        estimates: &mut [f32; CODE_ROWS],
    ) -> u32 {
        let (planes, factors) = block.split_at(self.planes_bytes());
        let mut sums = [0; CODE_ROWS];
        let mut planes = planes.chunks_exact(plane_bytes(self.padded));
        index_kernels().scan_block(planes.next().expect("a bit"), &cue.tables, &mut sums);
        for (weight, plane) in (1..).zip(planes) {
            let mut heavier = [0; CODE_ROWS];
            index_kernels().scan_block(plane, &cue.tables, &mut heavier);
            sums.iter_mut().zip(heavier).for_each(|(sum, more)| *sum += more << weight);
        }
        #[allow(clippy::cast_precision_loss)]
        let top = ((1 << self.bits as usize) - 1) as f32;
        let estimating = Estimating {
            factors: <_>::ref_from_bytes(factors).expect("blocks are aligned to floats"),
            scale: 1.0,
            step: cue.table_step,
            base: cue.table_base * top,
            origin,
            bound,
        };
        index_kernels().estimate(&estimating, &sums, estimates)
    }
}

/// Blocks of codes, one behind the other.
#[derive(Debug, Clone, Copy)]
pub struct FlatCodes<'a> {
    pub layout: CodeLayout,
    pub blocks: &'a [u8],
}

impl FlatCodes<'_> {
    /// Estimates the 32 rows of a block; see [`CodeLayout::estimate`].
    #[inline]
    pub fn estimate(
        &self,
        cue: &Cue,
        block: usize,
        bound: f32,
        estimates: &mut [f32; CODE_ROWS],
    ) -> u32 {
        let bytes = self.layout.block_bytes();
        let origin = match self.layout.estimand {
            Estimand::SquaredDistance => cue.norm_squared,
            Estimand::InnerProduct => 0.0,
        };
        let block = &self.blocks[block * bytes..][..bytes];
        self.layout.estimate(cue, block, origin, bound, estimates)
    }
}
