//! A query as the index sees it: rotated, in bytes, and as tables for the code scan.

use super::rotation::Rotation;
use super::simd::{TABLE_DIMENSIONS, TABLE_ENTRIES, TABLE_ENTRY_MAX};

/// A query prepared for estimates. A row's code is a bit per dimension, read as a sign: +1 or -1.
#[derive(Debug, Default)]
pub struct Cue {
    pub(super) rotated: Vec<f32>,
    /// Sixteen entries for every four dimensions; see `scan_block`.
    pub(super) tables: Vec<u8>,
    /// The inner product with a row of signs is `sum of entries * table_step + table_base`.
    pub(super) table_step: f32,
    pub(super) table_base: f32,
    /// The rotated query in signed bytes, to be multiplied with `byte_step`.
    pub(super) bytes: Vec<i8>,
    pub(super) byte_step: f32,
    /// What the bias of a row's bytes adds to its product with `bytes`.
    pub(super) bias: i32,
    pub(super) norm_squared: f32,
}

/// What stands 0 in a biased byte.
pub(super) const BIAS: u8 = 128;

impl Cue {
    /// Prepares a query of the index space, reusing the memory of the former one.
    pub fn prepare(&mut self, rotation: &Rotation, vector: &[f32], scale: f32) {
        self.rotated.resize(rotation.padded(), 0.0);
        rotation.rotate(vector, scale, &mut self.rotated);
        self.norm_squared = self.rotated.iter().map(|value| value * value).sum();
        self.fill_tables();
        self.fill_bytes();
    }

    /// The 16 sums of a table: bit *t* of the entry's number says whether coordinate *t* counts.
    fn subset_sums(group: &[f32]) -> [f32; TABLE_ENTRIES] {
        let mut sums = [0.0; TABLE_ENTRIES];
        for (bit, &value) in group.iter().enumerate() {
            let (known, new) = sums.split_at_mut(1 << bit);
            new.iter_mut().zip(known).for_each(|(new, known)| *new = *known + value);
        }
        sums
    }

    /// All tables share one step, so that sums over tables mean something; each has its own base.
    fn fill_tables(&mut self) {
        let groups = || self.rotated.chunks_exact(TABLE_DIMENSIONS);
        let width = |group: &[f32]| group.iter().map(|value| value.abs()).sum::<f32>();
        let widest = groups().map(width).fold(f32::MIN_POSITIVE, f32::max);
        let step = widest / f32::from(TABLE_ENTRY_MAX);
        let inverse = f32::from(TABLE_ENTRY_MAX) / widest;
        let mut base = 0.0;
        self.tables.clear();
        for group in groups() {
            let lowest: f32 = group.iter().map(|value| value.min(0.0)).sum();
            base += lowest;
            let entries = Self::subset_sums(group);
            // Rounds to the nearest; the entries lie in 0..=TABLE_ENTRY_MAX.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            self.tables.extend(entries.map(|entry| ((entry - lowest) * inverse + 0.5) as u8));
        }
        let sum: f32 = self.rotated.iter().sum();
        self.table_step = 2.0 * step;
        self.table_base = 2.0 * base - sum;
    }

    fn fill_bytes(&mut self) {
        let largest =
            self.rotated.iter().fold(f32::MIN_POSITIVE, |max, value| max.max(value.abs()));
        self.byte_step = largest / f32::from(i8::MAX);
        let inverse = f32::from(i8::MAX) / largest;
        self.bytes.clear();
        #[allow(clippy::cast_possible_truncation)]
        self.bytes
            .extend(self.rotated.iter().map(|value| (value * inverse).round_ties_even() as i8));
        let sum: i32 = self.bytes.iter().map(|&byte| i32::from(byte)).sum();
        self.bias = i32::from(BIAS) * sum;
    }
}
