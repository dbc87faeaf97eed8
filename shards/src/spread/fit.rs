//! Learning what things cost from what they cost together.
//!
//! Something is seen that is the sum of a few amounts, each times a cost: nanoseconds are so many
//! edges and nodes, each at so much. The amounts are known, the costs are learned, one sample at a
//! time and in constant memory.
//!
//! **Logarithms.** What is seen scatters by a share of itself: a push of 40 µs is off by
//! microseconds, one of 1 µs by dozens of nanoseconds. And a cost is positive. So the filter knows
//! the logarithms of the costs and compares logarithms. The derivative of the logarithm of the sum
//! by that of a cost is the share that this cost has in the sum: between 0 and 1, and one whole all
//! together. So no sample has more leverage than another, however large it is, and no cost becomes
//! negative or, within its bounds, anything but a number.
//!
//! **The filter** is Kalman's, extended to this model in the usual way: the costs walk about at
//! random, what is seen scatters. It is the same recursion as that of recursive least squares; the
//! difference is how the past is forgotten. Dividing the covariance by a factor below 1 makes it
//! grow without end in directions that no sample says anything about ("windup"; surveyed by Shin
//! and Lee, arXiv 2004.03910, 2020), and that is the rule here: a space where all pushes use up the
//! same number of edges says nothing about what one without any costs. Here a small share of the
//! covariance is replaced by that of the beginning, at each sample. So it is bounded by the
//! beginning's, it stays positive, and whatever is not heard of for long is as uncertain as it was
//! at first. Salgado, Goodwin and Middleton ("Modified least squares algorithm incorporating
//! exponential resetting and forgetting", 1988) do this to its inverse.
//!
//! **A thread that was not running** gives one sample that is fifty times too long. What a sample
//! is off by counts only up to [`CLIP`] of the standard deviations that the filter expects (Huber,
//! 1964), and the scatter itself is learned from deviations clipped in the same way.
//!
//! **A change** of everything looks the same at first: a sample that is far off, and the clipping
//! would make it a slow one to follow. But samples that are off because of the machine are few, and
//! after a change nearly all are. So each that is off by more than [`SURPRISE`] standard deviations
//! counts one up, each other one down, and at [`ALARM`] the covariance is put back to the
//! beginning's: the next few samples decide. (Gustafsson, "Adaptive filtering and change
//! detection", 2000, is about such alarms; counting needs no idea of how large a change is. A run
//! to one side was tried, and misses a change of the graph, after which pushes are off to both
//! sides.)
//!
//! **Tried**, on the times of 16,000 pushes over eight workloads
//! (`perf/src/spread_predictions.rs`), which came one after the other and then by turns of 500; the
//! share of predictions within a fifth in the worst of the workloads that can be predicted so well
//! at all, and after a turn:
//!
//! | | Worst | Pushes 50 to 200 | After 200 |
//! |---|---|---|---|
//! | this filter | .96 | .96 | .97 |
//! | without the alarm | .95 | .83 | .88 |
//! | normalised least mean squares of logarithms, gain .2 | .94 | .91 | .95 |
//! | the same, gain .05 | .85 | .89 | .91 |
//! | least squares of relative errors, divided by .98 | .77 | .07 | .10 |
//! | the same, errors clipped | .96 | .53 | .55 |
//!
//! The last two is what winding up looks like. The filter's constants hardly matter: five times
//! more or less forgetting, and half the clip, change the first column by .002.

/// What a sample is off by counts up to so many standard deviations.
const CLIP: f64 = 2.0;
/// A sample is a surprise if it is off by more standard deviations than this.
const SURPRISE: f64 = 3.0;
/// How many more surprises than others mean a change.
const ALARM: u32 = 4;
/// The variance of the logarithm of a cost that nothing is known about but its first guess.
const VARIANCE_FIRST: f64 = 1.0;
/// The share of the first covariance that comes back with each sample. With a scatter of a tenth a
/// sample then counts for about 7 %.
const FORGOTTEN: f64 = 5e-5;
/// The scatter of what is seen, as a standard deviation of the logarithm: at first, and its bounds.
const SCATTER_FIRST: f64 = 0.1;
const SCATTER_MIN: f64 = 0.03;
/// The least that surprises count from.
const SCATTER_USUAL: f64 = 0.05;
const SCATTER_MAX: f64 = 0.6;
/// How much one sample says about the scatter.
const SCATTER_GAIN: f64 = 0.02;
/// How far a cost may go from its first guess, as a logarithm: a thousandfold.
const LOG_RANGE: f64 = 6.9;

/// The costs of `N` amounts.
#[derive(Debug, Clone)]
pub(super) struct Fit<const N: usize> {
    logs_first: [f64; N],
    logs: [f64; N],
    /// What the logarithms stand for.
    costs: [f64; N],
    covariance: [[f64; N]; N],
    /// The variance of what is seen.
    scatter: f64,
    /// How many more surprises there were than others.
    surprises: u32,
    changes: u64,
}

impl<const N: usize> Fit<N> {
    /// With first guesses, all of them above 0.
    pub fn new(costs: [f64; N]) -> Self {
        let logs = costs.map(f64::ln);
        Self {
            logs_first: logs,
            logs,
            costs,
            covariance: first_covariance(),
            scatter: SCATTER_FIRST * SCATTER_FIRST,
            surprises: 0,
            changes: 0,
        }
    }

    pub fn costs(&self) -> &[f64; N] {
        &self.costs
    }

    /// The sum that these amounts come to, all of which are 0 or more.
    pub fn sum(&self, amounts: &[f64; N]) -> f64 {
        self.costs.iter().zip(amounts).map(|(cost, amount)| cost * amount).sum()
    }

    /// How often everything was found to have changed.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Takes note of a sum that was seen, of these amounts and something that costs what it is.
    /// What was expected and what was seen count as 1 at least.
    pub fn note(&mut self, amounts: &[f64; N], fixed: f64, seen: f64) {
        let expected = (fixed + self.sum(amounts)).max(1.0);
        let off_by = (seen.max(1.0) / expected).ln();
        let mut shares = [0.0; N];
        for (at, share) in shares.iter_mut().enumerate() {
            *share = self.costs[at] * amounts[at] / expected;
        }
        self.watch(off_by);
        self.learn(&shares, off_by);
    }

    /// Begins anew when everything has changed.
    fn watch(&mut self, off_by: f64) {
        let usual = self.scatter.sqrt().max(SCATTER_USUAL);
        self.surprises = match off_by.abs() > SURPRISE * usual {
            true => self.surprises + 1,
            false => self.surprises.saturating_sub(1),
        };
        if self.surprises == ALARM {
            self.surprises = 0;
            self.covariance = first_covariance();
            self.changes += 1;
        }
    }

    fn learn(&mut self, shares: &[f64; N], off_by: f64) {
        let along: [f64; N] = std::array::from_fn(|row| dot(&self.covariance[row], shares));
        let expected = dot(&along, shares) + self.scatter;
        let clip = CLIP * expected.sqrt();
        let counts = off_by.clamp(-clip, clip);
        for (row, gain) in along.iter().enumerate() {
            let log = self.logs[row] + gain / expected * counts;
            let first = self.logs_first[row];
            self.logs[row] = log.clamp(first - LOG_RANGE, first + LOG_RANGE);
            self.costs[row] = self.logs[row].exp();
        }
        let first: [[f64; N]; N] = first_covariance();
        for row in 0..N {
            for column in 0..N {
                let now = self.covariance[row][column] - along[row] * along[column] / expected;
                self.covariance[row][column] = now + FORGOTTEN * (first[row][column] - now);
            }
        }
        let clip = (CLIP * self.scatter.sqrt()).max(SCATTER_MIN);
        let deviation = off_by.clamp(-clip, clip);
        let scatter = self.scatter + SCATTER_GAIN * (deviation * deviation - self.scatter);
        self.scatter = scatter.clamp(SCATTER_MIN * SCATTER_MIN, SCATTER_MAX * SCATTER_MAX);
    }
}

#[cfg(test)]
impl<const N: usize> Fit<N> {
    /// Panics unless every number is one, costs are positive and the covariance is within that of
    /// the beginning.
    pub fn check(&self) {
        assert!(self.costs.iter().all(|cost| cost.is_normal() && *cost > 0.0), "{self:?}");
        assert!(self.scatter.is_normal(), "{self:?}");
        for (at, row) in self.covariance.iter().enumerate() {
            let bound = VARIANCE_FIRST * 1.000_001;
            assert!((0.0..=bound).contains(&row[at]), "{self:?}");
            assert!(row.iter().all(|value| value.abs() <= bound), "{self:?}");
        }
    }
}

fn first_covariance<const N: usize>() -> [[f64; N]; N] {
    let mut covariance = [[0.0; N]; N];
    for (at, row) in covariance.iter_mut().enumerate() {
        row[at] = VARIANCE_FIRST;
    }
    covariance
}

fn dot<const N: usize>(a: &[f64; N], b: &[f64; N]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two amounts that differ from sample to sample.
    fn amounts(nth: usize) -> [f64; 2] {
        [1.0 + (nth % 7) as f64, 100.0 + 50.0 * (nth % 5) as f64]
    }

    fn teach(fit: &mut Fit<2>, costs: [f64; 2], samples: usize) {
        for nth in 0..samples {
            let [a, b] = amounts(nth);
            fit.note(&[a, b], 10.0, 10.0 + costs[0] * a + costs[1] * b);
        }
    }

    fn is_near(fit: &Fit<2>, costs: [f64; 2]) -> bool {
        fit.costs().iter().zip(costs).all(|(fitted, cost)| (fitted / cost - 1.0).abs() < 0.02)
    }

    #[test]
    fn the_costs_are_found_and_found_again() {
        let mut fit = Fit::new([1.0, 1.0]);
        for costs in [[90.0, 2.0], [300.0, 11.0], [500.0, 2.5]] {
            teach(&mut fit, costs, 400);
            assert!(is_near(&fit, costs), "{costs:?}: {fit:?}");
        }
    }

    #[test]
    fn what_nothing_is_heard_of_stays_and_becomes_uncertain_but_no_more_than_at_first() {
        let mut fit = Fit::new([1.0, 1.0]);
        teach(&mut fit, [90.0, 2.0], 400);
        let before = fit.costs()[0];
        for _ in 0..1_000_000 {
            fit.note(&[0.0, 300.0], 10.0, 610.0);
        }
        fit.check();
        assert!((fit.costs()[0] / before - 1.0).abs() < 0.05);
        assert!(fit.covariance[0][0] > 0.9 * VARIANCE_FIRST);
        teach(&mut fit, [40.0, 2.0], 400);
        assert!(is_near(&fit, [40.0, 2.0]), "{fit:?}");
    }

    #[test]
    fn one_sample_that_is_far_off_moves_little_and_many_are_a_change() {
        let mut fit = Fit::new([50.0, 1.0]);
        teach(&mut fit, [90.0, 2.0], 200);
        let sum = fit.sum(&[4.0, 200.0]);
        fit.note(&[4.0, 200.0], 0.0, 50.0 * sum);
        assert!((fit.sum(&[4.0, 200.0]) / sum - 1.0).abs() < 0.02);
        assert_eq!(fit.changes(), 0);
        for _ in 1..20 {
            fit.note(&[4.0, 200.0], 0.0, 50.0 * sum);
        }
        assert!(fit.changes() > 0);
        assert!((fit.sum(&[4.0, 200.0]) / sum / 50.0 - 1.0).abs() < 0.1, "{fit:?}");
    }
}
