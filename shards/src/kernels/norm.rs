//! The check of a vector as a client sends it, and its Euclidean norm, in one pass.
//!
//! The norm is summed in f64. The square of an f32 is exact there (48 significant bits of 53, and
//! its exponent is far from both ends), so a fused and an unfused multiply-add round alike; with
//! the order of the additions fixed, sixteen lanes and then the lanes in order, every machine gets
//! the same bits however the compiler vectorises the loop. A sum of finite squares cannot overflow
//! (the largest is below 2²⁵⁶), so the sum is finite exactly when every component is: the check
//! costs nothing.

use thiserror::Error;

/// Partial sums of the norm.
const LANES: usize = 16;
const GROUP_BYTES: usize = LANES * size_of::<f32>();

/// A component of a vector that is infinite or not a number.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[error("component {index} is {value}; every component must be a finite number")]
pub struct NonFinite {
    /// The first such component, from 0.
    pub index: usize,
    pub value: f32,
}

/// The sum of the squares of a little-endian f32 blob; not finite when a component is not.
#[inline(always)]
pub(super) fn square_sum(le_bytes: &[u8]) -> f64 {
    let mut sums = [0.0; LANES];
    let mut groups = le_bytes.chunks_exact(GROUP_BYTES);
    for group in &mut groups {
        add_squares(&mut sums, group);
    }
    add_squares(&mut sums, groups.remainder());
    sums.into_iter().fold(0.0, |sum, lane| sum + lane)
}

/// Adds the square of component `i` of up to `LANES` components to lane `i`.
#[inline(always)]
fn add_squares(sums: &mut [f64; LANES], le_bytes: &[u8]) {
    for (sum, component) in sums.iter_mut().zip(le_bytes.chunks_exact(size_of::<f32>())) {
        let component = f64::from(decode(component));
        *sum += component * component;
    }
}

/// The norm from a square sum, or the first component that made it infinite or NaN.
pub(super) fn finish(square_sum: f64, le_bytes: &[u8]) -> Result<f64, NonFinite> {
    if square_sum.is_finite() {
        return Ok(square_sum.sqrt());
    }
    let components = le_bytes.chunks_exact(size_of::<f32>()).map(decode);
    let (index, value) = components
        .enumerate()
        .find(|(_, value)| !value.is_finite())
        .expect("a sum of finite squares is finite");
    Err(NonFinite { index, value })
}

#[inline(always)]
fn decode(le_bytes: &[u8]) -> f32 {
    f32::from_le_bytes([le_bytes[0], le_bytes[1], le_bytes[2], le_bytes[3]])
}
