//! How good answers are, and how sure that is.
//!
//! For one question, whose evidence is a set of turns and whose answer is a list of `k` at most:
//!
//! ```text
//! recall@k = turns of the evidence among the first k / turns of the evidence
//! all@k    = 1 if recall@k is 1, else 0
//! MRR      = 1 / rank of the first turn of the evidence; 0 if none is among the first k
//! ```
//!
//! (Voorhees 1999 for the reciprocal rank.) A measure of several questions is the mean of theirs.
//! Its 95 % interval is that of the percentile bootstrap (Efron and Tibshirani 1993, "An
//! Introduction to the Bootstrap", chapter 13): questions are drawn with replacement, as many as
//! there are, and of the means of all such resamples the outer 2.5 % on either side are cut off.
//! Two ways of answering are compared question by question, with the same resamples for both
//! (Sakai 2006, "Evaluating Evaluation Metrics based on the Bootstrap").

use serde::Serialize;

/// What is cut off on either side.
const TAIL: f64 = 0.025;

/// See the top of the file.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Measures {
    pub(super) recall: f64,
    pub(super) all: f64,
    pub(super) reciprocal_rank: f64,
}

impl Measures {
    /// Of an answer, best first, to a question with this evidence.
    pub(super) fn of(answer: &[usize], evidence: &[usize], k: usize) -> Self {
        let ranks = ranks(answer, evidence, k);
        let found = ranks.iter().flatten().count();
        let first = ranks.iter().flatten().min();
        Self {
            recall: found as f64 / evidence.len().max(1) as f64,
            all: f64::from(u8::from(found == evidence.len())),
            reciprocal_rank: first.map_or(0.0, |rank| 1.0 / *rank as f64),
        }
    }
}

/// The rank, from 1, of each turn of the evidence that is among the first k.
pub(super) fn ranks(answer: &[usize], evidence: &[usize], k: usize) -> Vec<Option<usize>> {
    let rank = |turn: &usize| answer.iter().take(k).position(|own| own == turn).map(|at| at + 1);
    evidence.iter().map(rank).collect()
}

/// A mean and its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Estimate {
    pub(super) mean: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// How resamples are drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bootstrap {
    pub(super) resamples: usize,
    pub(super) seed: u64,
}

impl Bootstrap {
    /// Of series that have a value for each question, the same questions in all: every resample is
    /// one of all series.
    ///
    /// # Panics
    /// When the series differ in length or are empty.
    pub(super) fn estimates(self, series: &[Vec<f64>]) -> Vec<Estimate> {
        let Some(questions) = series.first().map(Vec::len) else { return Vec::new() };
        assert!(questions > 0 && series.iter().all(|own| own.len() == questions));
        let mut random = fastrand::Rng::with_seed(self.seed);
        let mut means: Vec<Vec<f64>> = vec![Vec::with_capacity(self.resamples); series.len()];
        let mut drawn = vec![0; questions];
        for _ in 0..self.resamples {
            drawn.iter_mut().for_each(|place| *place = random.usize(..questions));
            for (own, means) in series.iter().zip(&mut means) {
                let sum: f64 = drawn.iter().map(|question| own[*question]).sum();
                means.push(sum / questions as f64);
            }
        }
        let estimate = |(own, mut means): (&Vec<f64>, Vec<f64>)| {
            means.sort_unstable_by(f64::total_cmp);
            let (low, high) = bounds(&means);
            Estimate { mean: own.iter().sum::<f64>() / questions as f64, low, high }
        };
        series.iter().zip(means).map(estimate).collect()
    }
}

impl Bootstrap {
    /// Of statistics that are of all questions at once, and `None` where there is nothing to tell:
    /// what they are, and the intervals of what they are of resamples.
    pub(super) fn of_statistics(
        self,
        own: &[Option<f64>],
        questions: usize,
        of: impl Fn(&[usize]) -> Vec<Option<f64>>,
    ) -> Vec<Option<Estimate>> {
        let mut random = fastrand::Rng::with_seed(self.seed);
        let mut all: Vec<Vec<f64>> = vec![Vec::with_capacity(self.resamples); own.len()];
        let mut drawn = vec![0; questions];
        for _ in 0..self.resamples {
            drawn.iter_mut().for_each(|place| *place = random.usize(..questions));
            let told = of(&drawn).into_iter();
            all.iter_mut().zip(told).for_each(|(all, told)| all.extend(told));
        }
        let estimate = |(mean, mut all): (&Option<f64>, Vec<f64>)| {
            let mean = (*mean)?;
            all.sort_unstable_by(f64::total_cmp);
            let (low, high) = if all.is_empty() { (mean, mean) } else { bounds(&all) };
            Some(Estimate { mean, low, high })
        };
        own.iter().zip(all).map(estimate).collect()
    }
}

/// What is left of ascending values when the tails are cut off.
fn bounds(ascending: &[f64]) -> (f64, f64) {
    let cut = (ascending.len() as f64 * TAIL).floor() as usize;
    (ascending[cut], ascending[ascending.len() - 1 - cut])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_are_those_of_the_first_k() {
        type Case<'a> = (&'a [usize], &'a [usize], usize, (f64, f64, f64));
        let cases: [Case<'_>; 6] = [
            (&[5, 3, 9], &[3], 3, (1.0, 1.0, 0.5)),
            (&[5, 3, 9], &[9, 1], 3, (0.5, 0.0, 1.0 / 3.0)),
            (&[5, 3, 9], &[9, 1], 2, (0.0, 0.0, 0.0)),
            (&[1, 2, 3, 4], &[4, 2], 4, (1.0, 1.0, 0.5)),
            (&[1, 2, 3, 4], &[4, 2, 1, 7], 3, (0.5, 0.0, 1.0)),
            (&[], &[4], 10, (0.0, 0.0, 0.0)),
        ];
        for (answer, evidence, k, (recall, all, reciprocal_rank)) in cases {
            let measures = Measures::of(answer, evidence, k);
            assert_eq!(measures, Measures { recall, all, reciprocal_rank }, "{answer:?}");
        }
        assert_eq!(ranks(&[5, 3, 9], &[9, 1, 5], 3), [Some(3), None, Some(1)]);
    }

    #[test]
    fn the_tails_are_cut_off() {
        let ascending: Vec<f64> = (0..2_000).map(f64::from).collect();
        assert_eq!(bounds(&ascending), (50.0, 1_949.0));
        assert_eq!(bounds(&[1.0]), (1.0, 1.0));
    }

    #[test]
    fn an_interval_is_as_wide_as_the_mean_is_unsure() {
        let bootstrap = Bootstrap { resamples: 2_000, seed: 7 };
        // A hundred questions, half of them answered: the mean has a standard error of .05, so the
        // interval is about .5 ± 1.96 · .05 = .402 to .598, in steps of .01.
        let half: Vec<f64> = (0..100).map(|n| f64::from(n % 2)).collect();
        let [estimate] = bootstrap.estimates(std::slice::from_ref(&half))[..] else { panic!() };
        assert_eq!(estimate.mean, 0.5);
        assert!((estimate.low - 0.402).abs() < 0.015, "{estimate:?}");
        assert!((estimate.high - 0.598).abs() < 0.015, "{estimate:?}");
        let same = bootstrap.estimates(std::slice::from_ref(&half));
        assert_eq!(same, [estimate], "the same seed gives the same interval");
        let other = Bootstrap { seed: 8, ..bootstrap };
        let sure = other.estimates(&[vec![1.0; 9]]);
        assert_eq!(sure, [Estimate { mean: 1.0, low: 1.0, high: 1.0 }]);
    }

    #[test]
    fn all_series_share_their_resamples() {
        let bootstrap = Bootstrap { resamples: 200, seed: 1 };
        let one: Vec<f64> = (0..50).map(|n| f64::from(n * n % 7)).collect();
        let other: Vec<f64> = one.iter().map(|value| value + 2.0).collect();
        let difference: Vec<f64> = other.iter().zip(&one).map(|(a, b)| a - b).collect();
        let [a, b, pairs] = bootstrap.estimates(&[one, other, difference])[..] else { panic!() };
        assert!(((b.low - a.low) - 2.0).abs() < 1e-12 && ((b.high - a.high) - 2.0).abs() < 1e-12);
        assert_eq!(pairs, Estimate { mean: 2.0, low: 2.0, high: 2.0 });
        assert!(bootstrap.estimates(&[]).is_empty());
    }
}
