//! Pattern completion: what a partial or noisy embedding would be if it were whole, by what is
//! remembered.
//!
//! The retrieval of a modern Hopfield network (Ramsauer et al., "Hopfield networks is all you
//! need", 2020). With the episodes that a recall finds as stored patterns *xᵢ* and a cue *ξ*, a
//! round is
//!
//! ```text
//! wᵢ = exp(β · sim(xᵢ, ξ)) / Σⱼ exp(β · sim(xⱼ, ξ))
//! ξ' = Σᵢ wᵢ xᵢ                         at unit length under cosine
//! ```
//!
//! and rounds go on until ξ' is ξ, or nearly. With a large β the pattern that is most similar is
//! what comes out; with a small one, the mean of those that are alike. That similarities other than
//! the inner product do as well: Millidge et al., "Universal Hopfield networks", 2022.
//!
//! In the first round similarities are those over the dimensions that are known. Left at zero, the
//! others would favour patterns that happen to have most of their length in the known ones.

use std::sync::Arc;

use bytes::Bytes;

use crate::episode::{Metric, Refusal, SpaceSettings};
use crate::recall::cue;

/// β unless it is given. On 60,000 embeddings of WordNet, 32 to 128 complete equally well; with 16
/// what comes out begins to be a mean.
pub const BETA_DEFAULT: f32 = 64.0;
/// How far a round may move what it completes for that to count as settled.
const SETTLED_DISTANCE: f64 = 1e-4;

/// A cue of which some dimensions are not known.
#[derive(Debug, Clone)]
pub struct PartialCue {
    metric: Metric,
    /// Zero where it is not known.
    vector: Arc<[f32]>,
    is_known: Vec<bool>,
}

impl PartialCue {
    /// Checks a vector; what it has in these ranges, from and to including, does not count.
    pub fn new(
        settings: &SpaceSettings,
        vector: &[u8],
        unknown: &[(usize, usize)],
    ) -> Result<Self, Refusal> {
        let dimensions = settings.dimensions as usize;
        let mut is_known = vec![true; dimensions];
        for (first, last) in unknown {
            let Some(range) = is_known.get_mut(*first..=*last) else {
                return Err(Refusal::Syntax(format!(
                    "UNKNOWN names dimensions 0 to {} here, got {last}",
                    dimensions - 1
                )));
            };
            range.fill(false);
        }
        if !is_known.contains(&true) {
            return Err(Refusal::Syntax("UNKNOWN leaves no dimension that is known".into()));
        }
        let mut masked = vector.to_vec();
        // One that has another length is refused below.
        for (own, is_known) in masked.chunks_exact_mut(size_of::<f32>()).zip(&is_known) {
            if !is_known {
                own.fill(0);
            }
        }
        let vector = cue(settings, &[masked.into()])?;
        Ok(Self { metric: settings.metric, vector, is_known })
    }

    /// What to recall by in the first round.
    pub fn vector(&self) -> Arc<[f32]> {
        Arc::clone(&self.vector)
    }

    /// How similar a stored vector is in the dimensions that are known.
    pub fn similarity(&self, stored: &[u8]) -> f64 {
        let (mut dot, mut own, mut other, mut distance) = (0.0, 0.0, 0.0, 0.0);
        let pairs = self.vector.iter().zip(components(stored)).zip(&self.is_known);
        for ((a, b), _) in pairs.filter(|(_, is_known)| **is_known) {
            let (a, b) = (f64::from(*a), f64::from(b));
            dot += a * b;
            own += a * a;
            other += b * b;
            distance += (a - b) * (a - b);
        }
        match self.metric {
            Metric::Cosine if other > 0.0 => dot / (own * other).sqrt(),
            Metric::Cosine => 0.0,
            Metric::Dot => dot,
            Metric::L2 => 1.0 / (1.0 + distance.sqrt()),
        }
    }

    /// What patterns come to with these weights.
    pub fn mean<'a>(&self, patterns: impl Iterator<Item = (f64, &'a [u8])>) -> Arc<[f32]> {
        let mut sum = vec![0.0; self.vector.len()];
        let is_unit = self.metric == Metric::Cosine;
        for (weight, pattern) in patterns {
            let norm = components(pattern).map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            let scale = if is_unit { weight / norm } else { weight };
            for (sum, component) in sum.iter_mut().zip(components(pattern)) {
                *sum += scale * f64::from(component);
            }
        }
        let norm = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
        // Those that cancel each other leave no direction; then it stays as it is.
        let scale = if is_unit && norm > 0.0 { 1.0 / norm } else { 1.0 };
        #[allow(clippy::cast_possible_truncation)]
        sum.iter().map(|x| (x * scale) as f32).collect()
    }
}

/// The components of a vector as it is stored: the reverse of [`blob`].
pub fn components(blob: &[u8]) -> impl Iterator<Item = f32> + '_ {
    let component = |le: &[u8]| f32::from_le_bytes([le[0], le[1], le[2], le[3]]);
    blob.chunks_exact(size_of::<f32>()).map(component)
}

/// The weights of patterns that are so similar.
pub fn softmax(beta: f32, similarities: &[f64]) -> Vec<f64> {
    let most = similarities.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let raised = similarities.iter().map(|own| (f64::from(beta) * (own - most)).exp());
    let raised: Vec<f64> = raised.collect();
    let total: f64 = raised.iter().sum();
    raised.into_iter().map(|own| own / total).collect()
}

/// Whether a round that has led from one vector to the other has changed nothing that matters.
pub fn is_settled(before: &[f32], after: &[f32]) -> bool {
    let squares = before.iter().zip(after).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
    let length = after.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    squares.sum::<f64>().sqrt() <= SETTLED_DISTANCE * length
}

/// Little-endian f32, as vectors are stored and answered.
pub fn blob(vector: &[f32]) -> Bytes {
    vector.iter().flat_map(|component| component.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(metric: Metric) -> SpaceSettings {
        SpaceSettings { metric, ..SpaceSettings::usual("notes", 4) }
    }

    fn partial(metric: Metric, vector: &[f32], unknown: &[(usize, usize)]) -> PartialCue {
        PartialCue::new(&settings(metric), &blob(vector), unknown).unwrap()
    }

    #[test]
    fn what_is_unknown_counts_nothing() {
        for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
            let one = partial(metric, &[3.0, 4.0, 9.0, -9.0], &[(2, 3)]);
            let other = partial(metric, &[3.0, 4.0, 0.0, 7.0], &[(3, 3), (2, 2)]);
            assert_eq!(one.vector(), other.vector());
            let [near, far] = [[3.0, 4.0, 5.0, 5.0], [4.0, -3.0, 5.0, 5.0]].map(|of| blob(&of));
            assert_eq!(one.similarity(&near), other.similarity(&near));
            assert!(one.similarity(&near) > one.similarity(&far), "{metric:?}");
        }
        // However long the rest of a pattern is.
        let cue = partial(Metric::Cosine, &[3.0, 4.0, 0.0, 0.0], &[(2, 3)]);
        assert!((cue.similarity(&blob(&[0.3, 0.4, 50.0, 0.0])) - 1.0).abs() < 1e-6);
        assert_eq!(cue.similarity(&blob(&[0.0, 0.0, 1.0, 1.0])), 0.0);
    }

    #[test]
    fn what_cannot_be_completed_is_refused() {
        let refused = |vector: &[f32], unknown: &[(usize, usize)]| {
            let cue = PartialCue::new(&settings(Metric::Cosine), &blob(vector), unknown);
            cue.unwrap_err().to_string()
        };
        assert!(refused(&[1.0; 4], &[(0, 3)]).contains("leaves no dimension"));
        assert!(refused(&[1.0; 4], &[(2, 4)]).contains("0 to 3 here, got 4"));
        assert!(refused(&[1.0; 3], &[(0, 0)]).contains("4 dimensions"));
        assert!(refused(&[0.0, 0.0, 0.0, 1.0], &[(3, 3)]).contains("zero vector"));
        assert!(refused(&[f32::NAN, 1.0, 1.0, 1.0], &[]).contains("component 0"));
    }

    #[test]
    fn a_round_moves_towards_what_is_most_similar_and_then_stays() {
        let cue = partial(Metric::Cosine, &[1.0, 0.2, 0.0, 0.0], &[(2, 3)]);
        let patterns = [[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]].map(|of| blob(&of));
        let similarities = patterns.each_ref().map(|pattern| cue.similarity(pattern));
        for (beta, is_sharp) in [(1.0, false), (64.0, true)] {
            let weights = softmax(beta, &similarities);
            assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            let mean = cue.mean(weights.iter().copied().zip(patterns.iter().map(|of| &of[..])));
            let length: f32 = mean.iter().map(|x| x * x).sum();
            assert!((length - 1.0).abs() < 1e-6);
            let unit = 0.5_f32.sqrt();
            assert_eq!(is_settled(&[unit, 0.0, unit, 0.0], &mean), is_sharp, "{mean:?}");
            assert!(is_settled(&mean, &mean) && !is_settled(&cue.vector(), &mean));
        }
    }

    #[test]
    fn weights_bear_any_similarities() {
        assert_eq!(softmax(1e4, &[1e30, -1e30]), [1.0, 0.0]);
        assert_eq!(softmax(0.0, &[5.0, -5.0]), [0.5, 0.5]);
    }
}
