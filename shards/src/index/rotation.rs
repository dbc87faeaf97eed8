//! A random rotation that costs less than reading a vector from memory.
//!
//! One-bit codes are unbiased only if the coordinates of a vector carry its energy evenly, whatever
//! the embedding model did; a random orthogonal matrix sees to that. Instead of a matrix this is a
//! few rounds of random signs and Walsh–Hadamard transforms (Ailon and Chazelle, "Fast
//! Johnson–Lindenstrauss", 2006). A transform wants a power of two, so when the dimensions are
//! none, the rounds go in turn over the largest power of two from the front and from the back; the
//! two overlap in the middle.
//!
//! The signs follow from the number of dimensions alone, so nothing about a rotation is stored:
//! codes written by one version of a shard are read by any other.

use super::simd::{DIMENSIONS_STEP, index_kernels};

/// Rounds when one transform covers all dimensions, and when two overlap.
const ROUNDS: [usize; 2] = [2, 4];

/// A fixed rotation of vectors of one length.
#[derive(Debug)]
pub struct Rotation {
    dimensions: usize,
    /// Length of a transform.
    power: usize,
    /// The sign bits of each round.
    signs: Vec<Vec<u32>>,
    /// What brings a vector back to its length after all rounds.
    scale: f32,
}

impl Rotation {
    pub fn new(dimensions: usize) -> Self {
        let padded = dimensions.next_multiple_of(DIMENSIONS_STEP);
        let power = 1 << padded.ilog2();
        let rounds = ROUNDS[usize::from(power != padded)];
        let mut state = 0x9e37_79b9_7f4a_7c15 ^ padded as u64;
        let mut sign = || (split_mix(&mut state) & 1 << 31) as u32;
        let signs = (0..rounds).map(|_| (0..padded).map(|_| sign()).collect()).collect();
        // Every coordinate is scaled by each transform that covers it; see `rotate`.
        #[allow(clippy::cast_precision_loss)]
        let scale = 1.0 / (power as f32).sqrt();
        Self { dimensions, power, signs, scale }
    }

    /// Coordinates of a rotated vector: the dimensions, rounded up.
    pub fn padded(&self) -> usize {
        self.signs[0].len()
    }

    /// Writes the rotated `vector`, multiplied with `scale`, to `out`.
    ///
    /// # Panics
    /// When `vector` has not the dimensions of the rotation or `out` has not
    /// [`padded`](Self::padded) coordinates.
    pub fn rotate(&self, vector: &[f32], scale: f32, out: &mut [f32]) {
        assert_eq!(vector.len(), self.dimensions, "coordinates of a vector");
        assert_eq!(out.len(), self.padded(), "coordinates of a rotated vector");
        let (front, padding) = out.split_at_mut(vector.len());
        front.iter_mut().zip(vector).for_each(|(out, &value)| *out = value * scale);
        padding.fill(0.0);
        for (round, signs) in self.signs.iter().enumerate() {
            for (value, sign) in out.iter_mut().zip(signs) {
                *value = f32::from_bits(value.to_bits() ^ sign);
            }
            let from = if round % 2 == 0 { 0 } else { out.len() - self.power };
            let covered = &mut out[from..from + self.power];
            index_kernels().hadamard(covered);
            covered.iter_mut().for_each(|value| *value *= self.scale);
        }
    }
}

/// The next number of the SplitMix64 sequence (Steele, Lea and Flood, 2014).
pub(super) fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    }

    fn random(len: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        (0..len).map(|_| (split_mix(&mut state) >> 40) as f32 / 8_388_608.0 - 1.0).collect()
    }

    #[test]
    fn inner_products_stay() {
        for dimensions in [1, 3, 64, 65, 100, 128, 384, 768, 1024, 1536, 4096] {
            let rotation = Rotation::new(dimensions);
            let (a, b) = (random(dimensions, 1), random(dimensions, 2));
            let mut rotated = [vec![0.0; rotation.padded()], vec![0.0; rotation.padded()]];
            rotation.rotate(&a, 1.0, &mut rotated[0]);
            rotation.rotate(&b, 0.5, &mut rotated[1]);
            let bound = 1e-5 * (dot(&a, &a) * dot(&b, &b)).sqrt();
            let difference = dot(&rotated[0], &rotated[1]) - 0.5 * dot(&a, &b);
            assert!(difference.abs() < bound, "{dimensions}: {difference}");
        }
    }

    #[test]
    fn a_single_coordinate_is_spread() {
        for dimensions in [64, 192, 384, 768, 1024, 1536] {
            let rotation = Rotation::new(dimensions);
            for axis in [0, dimensions / 2, dimensions - 1] {
                let mut vector = vec![0.0; dimensions];
                vector[axis] = 1.0;
                let mut rotated = vec![0.0; rotation.padded()];
                rotation.rotate(&vector, 1.0, &mut rotated);
                let largest = rotated.iter().fold(0.0_f32, |max, value| max.max(value.abs()));
                let even = 1.0 / (dimensions as f32).sqrt();
                assert!(largest < 8.0 * even, "{dimensions}, {axis}: {largest} of {even}");
            }
        }
    }
}
