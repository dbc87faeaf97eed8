//! The vectors that are stored and asked for: real ones from a file, or seeded random ones.

use std::path::Path;

use fastrand::Rng;

use crate::error::ToolError;
use crate::npy::NpyReader;
use crate::vectors::normalize;

/// Vectors of a pool. Together they are larger than the caches, as the vectors of real clients are.
pub(super) const POOL_VECTORS: usize = 4096;
/// Random vectors come in this many clusters: embeddings are never spread evenly.
const CLUSTERS: usize = 64;
/// Length of the random part relative to a cluster's centre. Neighbours inside of a cluster then
/// have a cosine of about .6, as embeddings of one topic have.
const SPREAD: f32 = 0.8;

/// Unit vectors of one dimension.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) vectors: Vec<Vec<f32>>,
}

impl Pool {
    /// Rows of a `.npy` file, spread evenly over it, scaled to unit length.
    pub(super) fn read(path: &Path) -> Result<Self, ToolError> {
        let file = NpyReader::open(path)?;
        let rows = file.rows();
        if rows == 0 {
            return Err(ToolError::format(path, "no rows; a pool of vectors needs at least one"));
        }
        let count = rows.min(POOL_VECTORS as u64);
        let vectors: Result<Vec<Vec<f32>>, ToolError> = (0..count)
            .map(|at| {
                let mut vector = file.row(at * rows / count)?;
                normalize(&mut vector);
                Ok(vector)
            })
            .collect();
        Ok(Self { vectors: vectors? })
    }

    /// Random unit vectors in clusters; the same seed gives the same pool.
    pub(super) fn random(dimensions: usize, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let centres: Vec<Vec<f32>> =
            (0..CLUSTERS).map(|_| direction(&mut rng, dimensions)).collect();
        let vectors = (0..POOL_VECTORS)
            .map(|_| {
                let centre = &centres[rng.usize(..CLUSTERS)];
                let offset = direction(&mut rng, dimensions);
                let mut vector: Vec<f32> =
                    centre.iter().zip(&offset).map(|(c, o)| c + SPREAD * o).collect();
                normalize(&mut vector);
                vector
            })
            .collect();
        Self { vectors }
    }

    pub(super) fn dimensions(&self) -> usize {
        self.vectors[0].len()
    }
}

/// A unit vector. The sum of four uniform numbers is close enough to a normal one that no direction
/// is preferred visibly.
fn direction(rng: &mut Rng, dimensions: usize) -> Vec<f32> {
    let mut vector: Vec<f32> =
        (0..dimensions).map(|_| (0..4).map(|_| rng.f32() - 0.5).sum()).collect();
    normalize(&mut vector);
    vector
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_vectors_are_seeded_unit_and_clustered() {
        let pool = Pool::random(96, 7);
        assert_eq!(pool.vectors.len(), POOL_VECTORS);
        assert_eq!(pool.vectors, Pool::random(96, 7).vectors);
        assert_ne!(pool.vectors, Pool::random(96, 8).vectors);
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
        let cosines: Vec<f32> =
            pool.vectors[1..1000].iter().map(|vector| dot(&pool.vectors[0], vector)).collect();
        let near = cosines.iter().filter(|cosine| **cosine > 0.4).count();
        assert!((4..60).contains(&near), "{near} neighbours of about 16 in the cluster");
        assert!((dot(&pool.vectors[0], &pool.vectors[0]) - 1.0).abs() < 1e-5);
    }
}
