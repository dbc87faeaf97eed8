//! What a push has come to: scores, the best of them, where all mass is, and by which way it came.

use std::cmp::Ordering;

use super::operator::Operator;
use super::push::{Ledger, Work};
use super::state::{Amounts, NONE, State};
use super::workspace::{Lent, Workspace};

/// The end of a push.
#[derive(Debug)]
pub struct Activations<S: State> {
    operator: Operator,
    work: Work,
    ledger: Ledger,
    at: Lent<S>,
}

/// One link on the way from a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub source: u32,
    pub target: u32,
    pub kind: u16,
}

impl<S: State> Activations<S> {
    pub(super) fn new(operator: Operator, work: Work, ledger: Ledger, at: Lent<S>) -> Self {
        Self { operator, work, ledger, at }
    }

    pub fn work(&self) -> Work {
        self.work
    }

    /// Nodes that mass came to, in the order in which it did. Remote ones may be among them.
    pub fn touched(&self) -> &[u32] {
        &self.at.touched
    }

    /// The activation, and of the residual what the node would keep.
    pub fn score(&self, node: u32) -> f32 {
        self.at.states().get(node as usize).map_or(0.0, |state| self.score_of(state.amounts()))
    }

    #[inline]
    fn score_of(&self, amounts: Amounts) -> f32 {
        amounts.activation() + (1.0 - self.operator.settings().decay) * amounts.residual()
    }

    /// The best by score, the lower node first where scores are equal; see [`best_of`].
    pub fn best(&self, count: usize, wanted: impl Fn(u32) -> bool, best: &mut Vec<(u32, f32)>) {
        let states = self.at.states();
        let score = |node: &u32| (*node, self.score_of(states[*node as usize].amounts()));
        best_of(best, count, self.touched().iter().map(score), wanted, |a, b| a.cmp(&b));
    }

    /// Where all mass is.
    pub fn ledger(&self) -> Ledger {
        let mut ledger = self.ledger;
        let states = self.at.states();
        for &node in self.touched() {
            let amounts = states[node as usize].amounts();
            ledger.activation += f64::from(amounts.activation());
            ledger.residual += f64::from(amounts.residual());
        }
        ledger
    }

    /// What the scores together may lack of the exact answer, where mass only divides, if what was
    /// handed over counts elsewhere.
    pub fn missing_max(&self) -> f64 {
        let (states, decay) = (self.at.states(), f64::from(self.operator.settings().decay));
        let residual = |node: &u32| f64::from(states[*node as usize].amounts().residual());
        let waiting = self.ledger.residual + self.touched().iter().map(residual).sum::<f64>();
        decay * waiting + self.ledger.cut_off
    }

    /// The strongest way from a seed to a node, as its links in order: back from the node by the
    /// link that brought most at once, and from there by the one that had brought most until then.
    /// Empty for a seed that got most from outside, and for a node that mass never came to. `None`
    /// if the push noted no ways.
    pub fn path(&self, node: u32) -> Option<Vec<Step>> {
        self.at.path(node)
    }

    /// Gives the workspace back.
    pub fn into_workspace(self) -> Lent<S> {
        self.at
    }
}

/// The best by score, at most `count` of those that are wanted; `equals` says which of two with the
/// same score is first. `best` is emptied first.
pub fn best_of(
    best: &mut Vec<(u32, f32)>,
    count: usize,
    scores: impl Iterator<Item = (u32, f32)>,
    wanted: impl Fn(u32) -> bool,
    equals: impl Fn(u32, u32) -> Ordering,
) {
    best.clear();
    if count == 0 {
        return;
    }
    let better =
        |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then_with(|| equals(a.0, b.0));
    // What is below the bound can't be among the best.
    let mut bound = f32::MIN_POSITIVE;
    for (node, score) in scores {
        if score < bound || !wanted(node) {
            continue;
        }
        best.push((node, score));
        if best.len() == 4 * count {
            best.select_nth_unstable_by(count - 1, better);
            best.truncate(count);
            bound = best[count - 1].1;
        }
    }
    if best.len() > count {
        best.select_nth_unstable_by(count - 1, better);
        best.truncate(count);
    }
    best.sort_unstable_by(better);
}

impl<S: State> Workspace<S> {
    /// See [`Activations::path`].
    pub(super) fn path(&self, node: u32) -> Option<Vec<Step>> {
        if !S::TRACED {
            return None;
        }
        let mut steps = Vec::new();
        let state = match self.states().get(node as usize) {
            Some(state) if state.amounts().is_touched() => state,
            _ => return Some(steps),
        };
        let (mut target, mut arrival) = (node, state.arrival());
        while arrival != NONE {
            let by = self.arrivals[arrival as usize];
            steps.push(Step { source: by.source, target, kind: by.kind });
            (target, arrival) = (by.source, by.before);
        }
        steps.reverse();
        Some(steps)
    }
}
