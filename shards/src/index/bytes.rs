//! Rotated vectors in biased bytes: one scale for each row, a quarter of the memory of f32.
//!
//! The graph is built on these and walked with them. The error of an inner product of two unit
//! vectors is about 3 × 10⁻⁴, a tenth of what tells neighbours apart; the last word belongs to the
//! f32 rows.

use super::cue::{BIAS, Cue};
use super::simd::index_kernels;

/// What goes with a row's bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ByteRow {
    /// A coordinate is `(byte - 128) * step`.
    pub step: f32,
    pub norm_squared: f32,
}

/// Writes a rotated vector as biased bytes.
pub fn quantize(rotated: &[f32], bytes: &mut [u8]) -> ByteRow {
    let largest = rotated.iter().fold(f32::MIN_POSITIVE, |max, value| max.max(value.abs()));
    let inverse = f32::from(i8::MAX) / largest;
    let mut square_sum = 0_u32;
    for (byte, value) in bytes.iter_mut().zip(rotated) {
        #[allow(clippy::cast_possible_truncation)]
        let level = (value * inverse).round_ties_even() as i8;
        *byte = level.cast_unsigned() ^ BIAS;
        square_sum += u32::from(level.unsigned_abs()) * u32::from(level.unsigned_abs());
    }
    let step = largest / f32::from(i8::MAX);
    #[allow(clippy::cast_precision_loss)]
    let norm_squared = square_sum as f32 * step * step;
    ByteRow { step, norm_squared }
}

/// The squared distance of a query from a row of bytes.
#[inline]
pub fn distance(cue: &Cue, bytes: &[u8], row: ByteRow) -> f32 {
    let product = index_kernels().dot(bytes, &cue.bytes) - cue.bias;
    #[allow(clippy::cast_precision_loss)]
    let product = product as f32 * cue.byte_step * row.step;
    cue.norm_squared + row.norm_squared - 2.0 * product
}
