//! How long a push will take, before it runs.
//!
//! A shard that is to answer by a deadline has to know what it can afford. So from what is known of
//! a push ([`Known`]) its edges are predicted, from its edges its time, and from a deadline how
//! many edges it may visit.
//!
//! **Two steps.** What a push visits belongs to the links, what that costs to the machine and to
//! what its caches hold. One is learned from the edges that were visited, the other from the time
//! that it took for them, so that a graph that changes does not blur what an edge costs, nor a
//! machine that slows down what lies behind a link. Both are sums of a few amounts times costs that
//! are learned (`fit.rs`):
//!
//! ```text
//! edges = min(edges_max, certain + Σ beyond[k] · s[k])
//! time  = base + edges · a + asked · b
//! ```
//!
//! Rejected: a cost for each seed and for each turn as well. Their numbers say no more than the
//! edges and the nodes that are asked; of 2,000 pushes none more was predicted within a fifth.
//!
//! The first guesses of the costs were measured on one machine, and are taken to be off by an
//! e-fold either way. A push is taken to be off by a tenth, so after a few nothing is left of them.
//!
//! **Pushes that were cut off** show only that there were more edges than the budget. They correct
//! a prediction that was below it, and leave the others alone (Tobin, "Estimation of relationships
//! for limited dependent variables", 1958, has the reason: taking the budget for the number would
//! draw every prediction towards it).
//!
//! **A deadline is to be kept**, so its budget is not what the push is expected to manage by then.
//! By how much the times of one push in twenty exceed what their edges were expected to cost is
//! followed (by a step up for each that does, and one nineteenth as far down for each that does
//! not; Tierney, "A space-efficient recursive procedure for estimating a quantile of an unknown
//! distribution", 1983), and the deadline is divided by it. That edges were predicted wrongly does
//! not matter there: a budget is kept.
//!
//! A predictor is for one memory space on one shard: links and what the caches hold of them differ.
//! It keeps no samples. What they say is in the costs and in how certain those are, less than a
//! kilobyte, and nothing is ever fitted again from the beginning.

use super::fit::Fit;
use super::outlook::{KNOTS, Known};
use super::push::Work;

#[cfg(test)]
mod tests;

/// What is predicted of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prediction {
    pub ns: u64,
    pub edges: u64,
}

/// How predictions turned out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accuracy {
    /// Pushes that were predicted.
    pub pushes: u64,
    /// Of those, how many were predicted well enough, see [`is_within`].
    pub within: u64,
    /// How often everything was found to have changed.
    pub changes: u64,
}

/// How far off a prediction may be, as a share of what came.
pub const TOLERANCE: f64 = 0.2;
/// Nanoseconds of any push, of an edge, and of a node that is asked, on a Zen 4 with 100,000 nodes.
const COSTS_FIRST: [f64; 3] = [700.0, 10.0, 8.0];
/// Edges for each threshold of mass that goes on, at each knot: between those of a power-law graph
/// and of the relations of WordNet.
const SHARES_FIRST: [f64; KNOTS] = [0.2; KNOTS];
/// Pushes of which a deadline may be missed, and how fast that is followed.
const LATE_SHARE: f64 = 0.05;
const LATE_GAIN: f64 = 0.05;
/// By how much times exceed what was expected, as a logarithm: at first, and the most.
const LATE_FIRST: f64 = 0.4;
const LATE_MAX: f64 = 2.0;

/// Predicts pushes and learns from them.
#[derive(Debug, Clone)]
pub struct Predictor {
    time: Fit<3>,
    reach: Fit<KNOTS>,
    /// The logarithm of how many times longer than expected all but a few pushes take at most.
    late: f64,
    accuracy: Accuracy,
}

const _: () = assert!(size_of::<Predictor>() < 1024);

impl Default for Predictor {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether a prediction was good enough.
pub fn is_within(predicted_ns: u64, elapsed_ns: u64) -> bool {
    predicted_ns.abs_diff(elapsed_ns) as f64 <= TOLERANCE * elapsed_ns as f64
}

impl Predictor {
    pub fn new() -> Self {
        Self {
            time: Fit::new(COSTS_FIRST),
            reach: Fit::new(SHARES_FIRST),
            late: LATE_FIRST,
            accuracy: Accuracy::default(),
        }
    }

    pub fn accuracy(&self) -> Accuracy {
        Accuracy { changes: self.time.changes() + self.reach.changes(), ..self.accuracy }
    }

    pub fn predict(&self, known: &Known) -> Prediction {
        let edges = self.reach_of(known).min(known.edges_max as f64);
        let ns = self.time.sum(&amounts(known, edges)).max(1.0);
        Prediction { ns: ns.round() as u64, edges: (edges.round() as u64).min(known.edges_max) }
    }

    /// How many edges it would visit without a budget.
    fn reach_of(&self, known: &Known) -> f64 {
        known.certain + self.reach.sum(&known.beyond)
    }

    /// The largest budget with which a push ends by its deadline, unless it is one of the slowest;
    /// 0 if not even its seeds can be looked at. At most as many as were asked for.
    pub fn edges_within(&self, known: &Known, deadline_ns: u64) -> u64 {
        let [base, per_edge, per_asked] = *self.time.costs();
        let expected_ns = deadline_ns as f64 / self.late.exp();
        let near_ns = expected_ns - base - per_asked * known.asked;
        let far_ns = near_ns - per_edge * known.certain - per_asked * known.asked_next;
        let near = (near_ns / per_edge).min(known.certain);
        let far = (far_ns / (per_edge + per_asked)).max(0.0);
        // A negative number becomes 0.
        ((near + far) as u64).min(known.edges_max)
    }

    /// Takes note of a push that has ended: what it did, and how long it took. What was predicted
    /// of it, for whoever keeps the errors.
    pub fn note(&mut self, known: &Known, work: &Work, elapsed_ns: u64) -> Prediction {
        let predicted = self.predict(known);
        self.accuracy.pushes += 1;
        self.accuracy.within += u64::from(is_within(predicted.ns, elapsed_ns));
        let edges = work.edges as f64;
        if !work.was_spent || self.reach_of(known) < edges {
            self.reach.note(&known.beyond, known.certain, edges);
        }
        let amounts = amounts(known, edges);
        let elapsed_ns = elapsed_ns as f64;
        let is_late = elapsed_ns > self.time.sum(&amounts) * self.late.exp();
        let step = if is_late { 1.0 - LATE_SHARE } else { -LATE_SHARE };
        self.late = (self.late + LATE_GAIN * step).clamp(0.0, LATE_MAX);
        self.time.note(&amounts, 0.0, elapsed_ns);
        predicted
    }
}

#[cfg(test)]
impl Predictor {
    fn check(&self) {
        self.time.check();
        self.reach.check();
        assert!((0.0..=LATE_MAX).contains(&self.late));
    }
}

fn amounts(known: &Known, edges: f64) -> [f64; 3] {
    [1.0, edges, known.asked_with(edges)]
}
