//! What is looked for: vectors checked against their space, and the one that stands for several.

use std::sync::Arc;

use bytes::Bytes;

use crate::episode::{Metric, Refusal, SpaceSettings};
use crate::kernels::kernels;
use crate::limits::{NORM_MAX, NORM_MIN};

/// Checks an embedding against its space; its Euclidean norm.
pub fn check_vector(settings: &SpaceSettings, vector: &[u8]) -> Result<f32, Refusal> {
    let expected = settings.dimensions as usize;
    if !vector.len().is_multiple_of(4) {
        return Err(Refusal::BadVector(format!(
            "a vector is a blob of little-endian f32, {} bytes are not a multiple of 4",
            vector.len()
        )));
    }
    if vector.len() / 4 != expected {
        return Err(Refusal::Dimension { expected, got: vector.len() / 4 });
    }
    let norm = kernels().validate(vector).map_err(|at| Refusal::BadVector(at.to_string()))?;
    if norm > f64::from(NORM_MAX) {
        return Err(Refusal::BadVector(format!(
            "the vector's norm is {norm:e}, the bound is {NORM_MAX:e}; scale it"
        )));
    }
    if settings.metric == Metric::Cosine && norm < f64::from(NORM_MIN) {
        return Err(Refusal::BadVector(format!(
            "the vector's norm is {norm:e}; under the cosine metric it must be at least \
             {NORM_MIN:e}, because a zero vector has no direction"
        )));
    }
    #[allow(clippy::cast_possible_truncation)]
    Ok(norm as f32)
}

/// Prepares a cue: the mean of the given vectors, each taken at unit length under cosine, where the
/// mean is brought to unit length again.
pub fn cue(settings: &SpaceSettings, vectors: &[Bytes]) -> Result<Arc<[f32]>, Refusal> {
    let mut sum = vec![0.0_f64; settings.dimensions as usize];
    let unit = settings.metric == Metric::Cosine;
    for vector in vectors {
        let norm = check_vector(settings, vector)?;
        let weight = if unit { 1.0 / f64::from(norm) } else { 1.0 };
        for (sum, le) in sum.iter_mut().zip(vector.chunks_exact(4)) {
            *sum += weight * f64::from(f32::from_le_bytes([le[0], le[1], le[2], le[3]]));
        }
    }
    let scale = if unit {
        let norm = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
        // Opposite unit vectors cancel up to rounding; what is left is no direction.
        if norm < 1e-6 * vectors.len() as f64 {
            return Err(Refusal::BadVector(
                "the cues cancel each other: their mean has no direction".into(),
            ));
        }
        1.0 / norm
    } else {
        1.0 / vectors.len() as f64
    };
    #[allow(clippy::cast_possible_truncation)]
    Ok(sum.iter().map(|x| (x * scale) as f32).collect())
}
