//! A query as the index sees it: rotated, in bytes, and as tables for the code scan.

use super::rotation::Rotation;
use super::simd::{TABLE_DIMENSIONS, TABLE_ENTRIES, TABLE_ENTRY_MAX, index_kernels};

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

impl Cue {
    /// Prepares a query of the index space, reusing the memory of the former one.
    pub fn prepare(&mut self, rotation: &Rotation, vector: &[f32], scale: f32) {
        self.rotated.resize(rotation.padded(), 0.0);
        rotation.rotate(vector, scale, &mut self.rotated);
        self.fill_bytes();
        self.fill_tables();
    }

    /// Prepares a query that is rotated already.
    pub fn of_rotated(&mut self, rotated: &[f32]) {
        self.of_point(rotated);
        self.fill_tables();
    }

    /// Prepares what byte distances from a rotated point take, and nothing else.
    pub fn of_point(&mut self, rotated: &[f32]) {
        self.rotated.clear();
        self.rotated.extend_from_slice(rotated);
        self.fill_bytes();
    }

    fn fill_bytes(&mut self) {
        let kernels = index_kernels();
        let largest = kernels.largest(&self.rotated).max(f32::MIN_POSITIVE);
        self.bytes.resize(self.rotated.len(), 0);
        let sums =
            kernels.round_bytes(&self.rotated, f32::from(i8::MAX) / largest, &mut self.bytes);
        self.byte_step = largest / f32::from(i8::MAX);
        self.bias = i32::from(BIAS) * sums.sum;
        #[allow(clippy::cast_precision_loss)]
        let squares = sums.squares as f32;
        self.norm_squared = squares * self.byte_step * self.byte_step;
    }

    /// All tables share one step, so that sums over tables mean something; each has its own base.
    fn fill_tables(&mut self) {
        let groups = self.rotated.chunks_exact(TABLE_DIMENSIONS);
        let mut widest = f32::MIN_POSITIVE;
        let mut totals = [[0.0_f32; TABLE_DIMENSIONS]; 3];
        for group in groups {
            let mut width = 0.0;
            for (nth, &value) in group.iter().enumerate() {
                width += value.abs();
                totals[0][nth] += value;
                totals[1][nth] += value.min(0.0);
                totals[2][nth] += value * value;
            }
            widest = if width > widest { width } else { widest };
        }
        let [sum, lowest, squares] = totals.map(|lanes| lanes.iter().sum::<f32>());
        self.tables.resize(self.rotated.len() / TABLE_DIMENSIONS * TABLE_ENTRIES, 0);
        let entry_max = f32::from(TABLE_ENTRY_MAX);
        index_kernels().fill_tables(&self.rotated, entry_max / widest, &mut self.tables);
        self.table_step = 2.0 * widest / entry_max;
        self.table_base = 2.0 * lowest - sum;
        self.norm_squared = squares;
    }
}

/// What stands for 0 in a biased byte.
pub(super) const BIAS: u8 = 128;
