//! What is sent: the mix of operations and the ids.

use super::payload::ID_NUMBER_MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Store,
    Recall,
}

impl Operation {
    pub(super) const ALL: [Self; 2] = [Self::Store, Self::Recall];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Recall => "recall",
        }
    }
}

/// The requests of a run, the same for every connection.
#[derive(Debug, Clone)]
pub(super) struct Workload {
    pub(super) space: String,
    pub(super) seed: u64,
    pub(super) connections: usize,
    /// Episodes per store; more than one are sent as `EG.MSTORE`.
    pub(super) batch: usize,
    /// Share of recalls among the requests, in [0, 1].
    pub(super) recall_share: f64,
    pub(super) text_bytes: usize,
    /// `disk` or `os`; the daemon's default when not given.
    pub(super) durability: Option<String>,
    pub(super) k: usize,
}

impl Workload {
    /// Requests that a connection encodes ahead: its share of the pool, at least enough to send
    /// many at once, and enough that the rarer operation is among them.
    pub(super) fn ring_requests(&self, pool_vectors: usize) -> usize {
        let rarer_share = self.recall_share.min(1.0 - self.recall_share);
        let to_mix = if rarer_share > 0.0 { (1.0 / rarer_share).ceil() as usize } else { 1 };
        let to_send = if self.batch > 1 { 8 } else { 128 };
        (pool_vectors / (self.batch * self.connections)).max(to_send).max(to_mix)
    }

    /// `count` operations in the workload's proportion, unmixed.
    pub(super) fn operations(&self, count: usize) -> Vec<Operation> {
        let recalls = (count as f64 * self.recall_share).round() as usize;
        let kind = |at| if at < recalls { Operation::Recall } else { Operation::Store };
        (0..count).map(kind).collect()
    }
}

/// Numbers of the ids that a connection stores.
#[derive(Debug, Clone)]
pub(super) enum Ids {
    /// Each number once, over all connections.
    Sequential { next: u64, step: u64 },
    /// Drawn evenly from as many numbers: ids repeat, episodes are replaced.
    Uniform { rng: fastrand::Rng, count: u64 },
}

impl Ids {
    pub(super) fn sequential(first: u64, connections: usize, index: usize) -> Self {
        Self::Sequential { next: first + index as u64, step: connections as u64 }
    }

    pub(super) fn uniform(count: u64, seed: u64, index: usize) -> Self {
        Self::Uniform { rng: fastrand::Rng::with_seed(seed.wrapping_add(index as u64)), count }
    }

    pub(super) fn next(&mut self) -> u64 {
        match self {
            Self::Sequential { next, step } => {
                let number = *next;
                *next = (*next + *step) % ID_NUMBER_MAX;
                number
            }
            Self::Uniform { rng, count } => rng.u64(..*count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rarer_operation_is_never_rounded_away() {
        for (recall_share, batch) in [(0.001, 64), (0.3, 16), (0.999, 1), (0.0, 1), (1.0, 4)] {
            let workload = Workload {
                space: "s".into(),
                seed: 1,
                connections: 8,
                batch,
                recall_share,
                text_bytes: 0,
                durability: None,
                k: 1,
            };
            let operations = workload.operations(workload.ring_requests(4096));
            let recalls = operations.iter().filter(|o| **o == Operation::Recall).count();
            let share = recalls as f64 / operations.len() as f64;
            let tolerance = 0.5 / operations.len() as f64;
            assert!((share - recall_share).abs() <= tolerance, "{share} for {recall_share}");
            assert_eq!(recalls == 0, recall_share == 0.0);
            assert_eq!(recalls == operations.len(), recall_share == 1.0);
        }
    }

    #[test]
    fn connections_share_the_sequence() {
        let mut numbers: Vec<u64> = (0..3)
            .flat_map(|index| {
                let mut ids = Ids::sequential(10, 3, index);
                [ids.next(), ids.next()]
            })
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [10, 11, 12, 13, 14, 15]);
    }

    #[test]
    fn uniform_ids_are_seeded_and_bounded() {
        let draw = |seed, index| {
            let mut ids = Ids::uniform(100, seed, index);
            (0..50).map(|_| ids.next()).collect::<Vec<_>>()
        };
        assert!(draw(1, 0).iter().all(|number| *number < 100));
        assert_eq!(draw(1, 0), draw(1, 0));
        assert_ne!(draw(1, 0), draw(1, 1));
    }
}
