//! How the vectors of a space become points that the index compares by Euclidean distance.
//!
//! | Metric | Point of a row `x` | Point of a query `q` |
//! |---|---|---|
//! | cosine | `x / |x|` | `q / |q|` |
//! | L2 | `x / M` | `q / M` |
//! | dot | `(x / M, √(1 - |x|² / M²))` | `(q / |q|, 0)` |
//!
//! with `M` the largest norm of the rows. The last line turns largest inner products into smallest
//! distances (Bachrach et al., RecSys 2014). Points are rotated; they are of length one at most, so
//! that nothing over- or underflows, whatever the client's units are.
//!
//! Rows that arrive one by one have no largest norm yet. Their codes are made of the plain vectors
//! ([`Projection::streaming`]) and estimate the distance, under `dot` the inner product, directly.

use super::codes::Estimand;
use super::cue::Cue;
use super::rotation::Rotation;
use crate::episode::Metric;

/// See the top of the file.
#[derive(Debug)]
pub struct Projection {
    metric: Metric,
    dimensions: usize,
    rotation: Rotation,
    /// 1 / M; 1 where nothing is scaled.
    scale: f32,
    is_streaming: bool,
}

/// What two projections share when their points are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProjectionKey {
    padded: usize,
    is_lifted: bool,
    scale_bits: u32,
}

impl Projection {
    /// For rows whose largest norm is known.
    pub fn new(metric: Metric, dimensions: usize, norm_max: f32) -> Self {
        let scale = match metric {
            Metric::Cosine => 1.0,
            Metric::L2 | Metric::Dot => 1.0 / norm_max.max(f32::MIN_POSITIVE),
        };
        let lifted = dimensions + usize::from(metric == Metric::Dot);
        Self { metric, dimensions, rotation: Rotation::new(lifted), scale, is_streaming: false }
    }

    /// For rows that arrive one by one.
    pub fn streaming(metric: Metric, dimensions: usize) -> Self {
        let rotation = Rotation::new(dimensions);
        Self { metric, dimensions, rotation, scale: 1.0, is_streaming: true }
    }

    /// Queries that were prepared for one projection serve every other with the same key.
    pub fn key(&self) -> ProjectionKey {
        ProjectionKey {
            padded: self.padded(),
            is_lifted: self.metric == Metric::Dot && !self.is_streaming,
            scale_bits: self.scale.to_bits(),
        }
    }

    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// Coordinates of a point.
    pub fn padded(&self) -> usize {
        self.rotation.padded()
    }

    /// What codes of the points estimate.
    pub fn estimand(&self) -> Estimand {
        match self.metric {
            Metric::Dot if self.is_streaming => Estimand::InnerProduct,
            _ => Estimand::SquaredDistance,
        }
    }

    /// Writes the point of a row. `scale` is the row's own: one over its norm under cosine.
    ///
    /// # Panics
    /// When the lengths do not fit.
    pub fn row(&self, vector: &[f32], scale: f32, out: &mut [f32]) {
        let vector = &vector[..self.dimensions];
        match self.metric {
            Metric::Cosine => self.rotation.rotate(vector, scale, out),
            Metric::Dot if !self.is_streaming => {
                let scaled = vector.iter().map(|value| value * self.scale);
                let mut lifted: Vec<f32> = scaled.collect();
                let squares: f32 = lifted.iter().map(|value| value * value).sum();
                lifted.push((1.0 - squares).max(0.0).sqrt());
                self.rotation.rotate(&lifted, 1.0, out);
            }
            Metric::L2 | Metric::Dot => self.rotation.rotate(vector, self.scale, out),
        }
    }

    /// Prepares the point of a query. Under cosine its length is one already.
    pub fn cue(&self, query: &[f32], cue: &mut Cue) {
        let query = &query[..self.dimensions];
        if self.metric == Metric::Dot && !self.is_streaming {
            let norm = query.iter().map(|value| value * value).sum::<f32>().sqrt();
            let mut lifted = query.to_vec();
            lifted.push(0.0);
            cue.prepare(&self.rotation, &lifted, 1.0 / norm.max(f32::MIN_POSITIVE));
        } else {
            cue.prepare(&self.rotation, query, self.scale);
        }
    }
}
