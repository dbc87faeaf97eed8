//! Rotated vectors in biased bytes: one scale for each row, a quarter of the memory of f32.
//!
//! The graph is built on these and walked with them. The error of an inner product of two unit
//! vectors is about 3 × 10⁻⁴, a tenth of what tells neighbours apart; the last word belongs to the
//! f32 rows.

use zerocopy::FromBytes;

use super::cue::{BIAS, Cue};
use super::simd::index_kernels;

/// What goes with a row's bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ByteRow {
    /// A coordinate is `(byte - 128) * step`.
    pub step: f32,
    pub norm_squared: f32,
}

/// Writes a rotated vector as biased bytes; what goes with them, and the sum of the bytes without
/// their bias.
pub fn quantize(rotated: &[f32], bytes: &mut [u8]) -> (ByteRow, i32) {
    let largest = index_kernels().largest(rotated).max(f32::MIN_POSITIVE);
    let scale = f32::from(i8::MAX) / largest;
    let sums = index_kernels().round_bytes(rotated, scale, signed(bytes));
    bytes.iter_mut().for_each(|byte| *byte ^= BIAS);
    let step = largest / f32::from(i8::MAX);
    #[allow(clippy::cast_precision_loss)]
    let norm_squared = sums.squares as f32 * step * step;
    (ByteRow { step, norm_squared }, sums.sum)
}

/// The same bytes as signed ones.
fn signed(bytes: &mut [u8]) -> &mut [i8] {
    <[i8]>::mut_from_bytes(bytes).expect("bytes have no alignment")
}

/// The squared distance of a query from a row of bytes.
#[inline]
pub fn distance(cue: &Cue, bytes: &[u8], row: ByteRow) -> f32 {
    let product = index_kernels().dot(bytes, &cue.bytes) - cue.bias;
    #[allow(clippy::cast_precision_loss)]
    let product = product as f32 * cue.byte_step * row.step;
    cue.norm_squared + row.norm_squared - 2.0 * product
}
