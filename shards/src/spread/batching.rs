//! How many edges a push visits before its shard looks at everything else.
//!
//! A push goes in stretches. A longer one is cheaper for each edge: beginning one costs something,
//! and what it asks the caches for ahead has not come yet. A shorter one holds up less: whatever
//! comes to the shard meanwhile waits until it ends. So a stretch shall take a certain time, and
//! the question is how many edges that is. It depends on the machine, on the graph and on how much
//! of it the caches hold, and it changes.
//!
//! **The first guess** comes from what the machine says about itself, before anything was measured:
//! the geometric mean of three sizes, each of which would be right if nothing else counted.
//!
//! | Size | Edges | Because |
//! |---|---|---|
//! | [`Guess::cache`] | L2 / bytes of an edge | a stretch evicts no line of its own |
//! | [`Guess::bandwidth`] | bandwidth · target / bytes of an edge | memory delivers no more |
//! | [`Guess::processor`] | restart / (2 % · time of an edge) | restarts cost the core 2 % |
//!
//! Neither the number of cores nor the size of a vector is among them: a shard has one thread, and
//! a push reads no vector. A size that nothing is known about is left out, and each is held within
//! the bounds, so that one wild number moves the mean by no more than the bounds allow.
//!
//! **Then it is measured.** What adapts a limit to times that scatter has three well-known faults:
//! it follows single samples, it swings around the aim, or it never rests. What is done here about
//! each was learned from controllers that others run:
//!
//! - Decisions are made once for [`WINDOW`] stretches, from their median. Netflix's
//!   concurrency-limits also collects a window first, and bounds what one may say (gradient ½ to
//!   1); its mean needs the bound, a median of sixteen is not moved by seven.
//! - A decision goes half the way to where the window points, and at most to the double or the
//!   half. The same library smooths by a fifth; a half is enough, as what is measured is the cost
//!   of an edge, which hardly depends on the decision. There is no delay in the loop, and so
//!   nothing to overshoot.
//! - Within [`DEAD_BAND`] nothing is done, and outside of it only when two windows in a row point
//!   to the same side. Hellerstein, Morrison and Eilebrecht ("Applying control theory in the real
//!   world", 2009) tell of the thread pool of .NET that noise made it wander until a change had to
//!   be significant. A median of sixteen scatters by a third of what a stretch does; with a fifth
//!   of noise it leaves the band once in thirty windows, and twice to the same side once in two
//!   thousand.
//! - A stretch with few edges says nothing (they: "don't grow the limit if we are app limited"), as
//!   its time is mostly that of beginning.
//!
//! From a guess that is eight times wrong the size comes into the band in 96 stretches; see the
//! tests. Rejected: increasing by a step and halving at trouble, as TCP does. It is made for a
//! limit that can only be found by exceeding it, and swings for ever; here the aim is known.

#[cfg(test)]
mod tests;

/// The least and the most edges of a stretch. The least is about what a push has asked for ahead;
/// the most takes a millisecond where everything is cold.
pub const EDGES_MIN: u64 = 64;
pub const EDGES_MAX: u64 = 65_536;
/// How long a stretch shall take unless told otherwise, in nanoseconds.
pub const TARGET_NS: u64 = 50_000;
/// Stretches that a decision is made from.
pub const WINDOW: usize = 16;
/// By how much, as a logarithm, the size may be off before anything is done: 15 %.
pub const DEAD_BAND: f64 = 0.14;
/// The share of the way that one decision goes, and the most as a logarithm: the double.
const DAMPING: f64 = 0.5;
const STEP_MAX: f64 = std::f64::consts::LN_2;

/// Bytes of the lines that an edge brings in: that of its target's state, its own eight bytes, and
/// its share of the head and of the end of a list, at six links for a node.
const BYTES_PER_EDGE: f64 = 96.0;
/// Nanoseconds of an edge whose lines are in the caches, and of beginning a stretch until the
/// first lines that it asked for have come.
const WARM_NS_PER_EDGE: f64 = 4.0;
const RESTART_NS: f64 = 400.0;
/// The share of a stretch that beginning it may take.
const RESTART_SHARE: f64 = 0.02;

/// What is known about the machine; 0 for what is not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Machine {
    /// The second-level cache of the shard's core.
    pub l2_bytes: u64,
    /// What memory delivers to that core when all shards are at work.
    pub memory_bytes_per_second: u64,
}

/// Edges of a stretch, each size as if nothing else counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guess {
    pub cache: Option<f64>,
    pub bandwidth: Option<f64>,
    pub processor: f64,
}

impl Guess {
    pub fn new(machine: Machine, target_ns: u64) -> Self {
        let known = |size: u64| (size > 0).then_some(size as f64);
        let delivers = |bytes: f64| bytes * target_ns as f64 * 1e-9 / BYTES_PER_EDGE;
        Self {
            cache: known(machine.l2_bytes).map(|bytes| bytes / BYTES_PER_EDGE),
            bandwidth: known(machine.memory_bytes_per_second).map(delivers),
            processor: RESTART_NS / (RESTART_SHARE * WARM_NS_PER_EDGE),
        }
    }

    /// The geometric mean of what is known, within the bounds.
    pub fn edges(&self) -> u64 {
        let sizes = [self.cache, self.bandwidth, Some(self.processor)].into_iter().flatten();
        let logs = sizes.map(|size| within_bounds(size).ln());
        let (count, sum) = logs.fold((0.0, 0.0), |(count, sum), log| (count + 1.0, sum + log));
        whole(f64::exp(sum / count))
    }
}

fn within_bounds(edges: f64) -> f64 {
    edges.clamp(EDGES_MIN as f64, EDGES_MAX as f64)
}

fn whole(edges: f64) -> u64 {
    within_bounds(edges).round() as u64
}

/// To which side the last window pointed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Within,
    More,
    Fewer,
}

/// The size of a stretch, and what it is adapted from. The same stretches give the same sizes.
#[derive(Debug, Clone)]
pub struct Batcher {
    target_ns: f64,
    edges: u64,
    /// Nanoseconds for each edge of the stretches since the last decision.
    costs: [f64; WINDOW],
    costs_count: usize,
    side: Side,
    changes: u64,
}

impl Batcher {
    pub fn new(machine: Machine, target_ns: u64) -> Self {
        Self {
            target_ns: target_ns as f64,
            edges: Guess::new(machine, target_ns).edges(),
            costs: [0.0; WINDOW],
            costs_count: 0,
            side: Side::Within,
            changes: 0,
        }
    }

    /// Edges that the next stretch may visit.
    pub fn edges(&self) -> u64 {
        self.edges
    }

    /// How often the size was changed.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Takes note of a stretch: how many edges it visited, and how long that took.
    pub fn note(&mut self, edges: u64, elapsed_ns: u64) {
        if edges < EDGES_MIN {
            return;
        }
        self.costs[self.costs_count] = elapsed_ns.max(1) as f64 / edges as f64;
        self.costs_count += 1;
        if self.costs_count == WINDOW {
            self.decide();
            self.costs_count = 0;
        }
    }

    fn decide(&mut self) {
        let (_, median, _) = self.costs.select_nth_unstable_by(WINDOW / 2, f64::total_cmp);
        let aim = within_bounds(self.target_ns / *median);
        let away = (aim / self.edges as f64).ln();
        let side = match away {
            away if away > DEAD_BAND => Side::More,
            away if away < -DEAD_BAND => Side::Fewer,
            _ => Side::Within,
        };
        if side != Side::Within && side == self.side {
            let step = (DAMPING * away).clamp(-STEP_MAX, STEP_MAX);
            self.edges = whole(self.edges as f64 * step.exp());
            self.changes += 1;
        }
        self.side = side;
    }
}
