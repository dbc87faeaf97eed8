//! What a shard measures about itself: counters and latency histograms, written by its thread alone
//! and copied out on request.

use engram_lanes::inbox::RANKS;
use engram_shards::spread::predictor::is_within;
use hdrhistogram::Histogram;

/// Latencies are recorded in nanoseconds, up to ten minutes, to two digits: more would take ten
/// times the memory, and as much longer to copy it out.
const LATENCY_NS_MAX: u64 = 600_000_000_000;

/// A latency histogram.
#[derive(Debug, Clone)]
pub struct Latency(Histogram<u64>);

impl Default for Latency {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, LATENCY_NS_MAX, 2).expect("the bounds are constants"))
    }
}

impl Latency {
    pub fn record(&mut self, ns: u64) {
        self.0.saturating_record(ns);
    }

    pub fn record_many(&mut self, ns: u64, times: u64) {
        self.0.saturating_record_n(ns, times);
    }

    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Bytes of memory behind it.
    fn bytes(&self) -> usize {
        self.0.distinct_values() * size_of::<u64>()
    }

    /// In microseconds.
    pub fn quantile_us(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// How many took at most so long, for each of these ascending times, as exact as the cells are:
    /// one that begins before a time counts to it.
    pub fn count_up_to<const N: usize>(&self, ends_ns: &[u64; N]) -> [u64; N] {
        let (mut counts, mut nth, mut sum) = ([0; N], 0, 0);
        for cell in self.0.iter_recorded() {
            while nth < N && self.0.lowest_equivalent(cell.value_iterated_to()) > ends_ns[nth] {
                counts[nth] = sum;
                nth += 1;
            }
            sum += cell.count_at_value();
        }
        counts[nth..].fill(sum);
        counts
    }

    /// Of all together, as exact as the cells are.
    pub fn sum_seconds(&self) -> f64 {
        self.0.mean() * self.0.len() as f64 / 1e9
    }

    /// In microseconds.
    pub fn max_us(&self) -> f64 {
        self.0.max() as f64 / 1000.0
    }
}

/// The cells of one shard.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// From when a request was read off its socket to when its owner began with it.
    pub queue_wait: Latency,
    /// From a frame's batch being opened to its durability, once per frame.
    pub commit: Latency,
    /// Of the commit: waiting for the ring, writing, flushing; once per batch.
    pub commit_wait: Latency,
    pub commit_write: Latency,
    pub commit_flush: Latency,
    /// From the request to the shard's own result.
    pub recall: Latency,
    /// From an exchange of a spread being asked for to its result.
    pub spread: Latency,
    pub spreading: Spreading,
    /// A unit of the work that nobody waits for: what a request may find the thread busy with.
    pub work: Latency,
    pub commands: u64,
    pub stores: u64,
    /// Links that were made or removed.
    pub links: u64,
    pub recalls: u64,
    pub spreads: u64,
    pub reads: u64,
    pub connections_opened: u64,
    pub connections_open: u64,
    pub protocol_errors: u64,
    /// Observe streams, and what came over them.
    pub streams_open: u64,
    pub observations: u64,
    /// Watches that were ended by the daemon, and episodes that were sent to any.
    pub watches_cut: u64,
    pub episodes_pushed: u64,
    /// Episodes that were replayed, and links that replays have written.
    pub dream_replays: u64,
    pub dream_links: u64,
    /// Episodes whose gist was looked after, gists that came of it, and links made or removed.
    pub gist_looks: u64,
    pub gists_made: u64,
    pub gist_links: u64,
    /// Refusals by code, in the order of [`REFUSAL_CODES`].
    pub refusals: [u64; REFUSAL_CODES.len()],
    /// In the order of [`Rank::ALL`].
    pub lanes: [Lane; RANKS],
}

/// What a shard knows of one of its lanes.
#[derive(Debug, Clone, Default)]
pub struct Lane {
    /// As the queue wait, of what came through this lane.
    pub wait: Latency,
    /// Units of the lane that were taken at most.
    pub depth_max: u32,
    /// Requests from this shard's connections that found a lane full, be it here or elsewhere.
    pub refused: u64,
}

/// What spreads came to on a shard.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spreading {
    pub edges: u64,
    /// Nodes that mass came to: so many edges were the first to lead to theirs, and found its state
    /// in no nearer cache than the last spread left it in.
    pub nodes: u64,
    /// Nodes that passed mass on, and those whose targets were asked for ahead.
    pub turns: u64,
    pub turns_ahead: u64,
    /// Slices, and the edges that they visited and might have visited.
    pub slices: u64,
    pub slice_edges: u64,
    pub slice_edges_max: u64,
    /// Times that were predicted, those that were so within a fifth, and by how many per cent they
    /// were off together.
    pub predictions: u64,
    pub predictions_within: u64,
    pub predictions_off_percent: u64,
}

impl Spreading {
    pub fn note_work(&mut self, edges: u64, nodes: u64, turns: u64, turns_ahead: u64) {
        self.add(&Self { edges, nodes, turns, turns_ahead, ..Self::default() });
    }

    pub fn note_slice(&mut self, edges: u64, edges_max: u64) {
        self.slices += 1;
        self.slice_edges += edges;
        self.slice_edges_max += edges_max;
    }

    pub fn note_prediction(&mut self, predicted_ns: u64, elapsed_ns: u64) {
        self.predictions += 1;
        self.predictions_within += u64::from(is_within(predicted_ns, elapsed_ns));
        self.predictions_off_percent += 100 * predicted_ns.abs_diff(elapsed_ns) / elapsed_ns.max(1);
    }

    pub fn add(&mut self, other: &Self) {
        for (own, other) in [
            (&mut self.edges, other.edges),
            (&mut self.nodes, other.nodes),
            (&mut self.turns, other.turns),
            (&mut self.turns_ahead, other.turns_ahead),
            (&mut self.slices, other.slices),
            (&mut self.slice_edges, other.slice_edges),
            (&mut self.slice_edges_max, other.slice_edges_max),
            (&mut self.predictions, other.predictions),
            (&mut self.predictions_within, other.predictions_within),
            (&mut self.predictions_off_percent, other.predictions_off_percent),
        ] {
            *own += other;
        }
    }
}

/// The codes a refusal can have.
pub const REFUSAL_CODES: [&str; 11] = [
    "BUSY",
    "NOSPACE",
    "NOEPISODE",
    "DIM",
    "BADVEC",
    "TOOBIG",
    "READONLY",
    "SYNTAX",
    "CORRUPT",
    "NOPERM",
    "SNAPSHOT",
];

impl Metrics {
    pub fn count_refusal(&mut self, code: &str) {
        if let Some(nth) = REFUSAL_CODES.iter().position(|known| *known == code) {
            self.refusals[nth] += 1;
        }
    }

    /// Begins anew; what is open stays so.
    pub fn reset(&mut self) {
        let Self { connections_open, streams_open, .. } = *self;
        *self = Self { connections_open, streams_open, ..Self::default() };
    }

    /// The latencies by the names they have everywhere.
    pub fn latencies(&self) -> [(&'static str, &Latency); 11] {
        let [high, normal, low] = &self.lanes;
        [
            ("queue_wait", &self.queue_wait),
            ("wait_high", &high.wait),
            ("wait_normal", &normal.wait),
            ("wait_low", &low.wait),
            ("commit", &self.commit),
            ("commit_wait", &self.commit_wait),
            ("commit_write", &self.commit_write),
            ("commit_flush", &self.commit_flush),
            ("recall", &self.recall),
            ("spread", &self.spread),
            ("work", &self.work),
        ]
    }

    /// Bytes of memory behind the cells.
    pub fn bytes(&self) -> usize {
        self.latencies().into_iter().map(|(_, latency)| latency.bytes()).sum()
    }

    /// Adds another shard's cells.
    pub fn add(&mut self, other: &Self) {
        for (own, other) in [
            (&mut self.queue_wait, &other.queue_wait),
            (&mut self.commit, &other.commit),
            (&mut self.commit_wait, &other.commit_wait),
            (&mut self.commit_write, &other.commit_write),
            (&mut self.commit_flush, &other.commit_flush),
            (&mut self.recall, &other.recall),
            (&mut self.spread, &other.spread),
            (&mut self.work, &other.work),
        ] {
            own.add(other);
        }
        self.spreading.add(&other.spreading);
        for (own, other) in [
            (&mut self.commands, other.commands),
            (&mut self.stores, other.stores),
            (&mut self.links, other.links),
            (&mut self.recalls, other.recalls),
            (&mut self.spreads, other.spreads),
            (&mut self.reads, other.reads),
            (&mut self.connections_opened, other.connections_opened),
            (&mut self.connections_open, other.connections_open),
            (&mut self.protocol_errors, other.protocol_errors),
            (&mut self.streams_open, other.streams_open),
            (&mut self.observations, other.observations),
            (&mut self.watches_cut, other.watches_cut),
            (&mut self.episodes_pushed, other.episodes_pushed),
            (&mut self.dream_replays, other.dream_replays),
            (&mut self.dream_links, other.dream_links),
            (&mut self.gist_looks, other.gist_looks),
            (&mut self.gists_made, other.gists_made),
            (&mut self.gist_links, other.gist_links),
        ] {
            *own += other;
        }
        for (own, other) in self.lanes.iter_mut().zip(&other.lanes) {
            own.wait.add(&other.wait);
            own.depth_max = own.depth_max.max(other.depth_max);
            own.refused += other.refused;
        }
        for (own, other) in self.refusals.iter_mut().zip(other.refusals) {
            *own += other;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engram_shards::episode::Refusal;

    #[test]
    fn every_code_of_a_refusal_is_counted() {
        let mut metrics = Metrics::default();
        let busy = Refusal::Busy { what: "x", retry_after_ms: 1 };
        metrics.count_refusal(busy.code());
        metrics.count_refusal(Refusal::Corrupt(String::new()).code());
        assert_eq!((metrics.refusals[0], metrics.refusals[8]), (1, 1));
    }

    #[test]
    fn cells_become_buckets() {
        let mut latency = Latency::default();
        for (ns, times) in [(500, 2), (1_000, 3), (1_500, 5), (1_000_000_000, 1)] {
            latency.record_many(ns, times);
        }
        assert_eq!(latency.count_up_to(&[100, 500, 1_000, 2_000, 3_000]), [0, 2, 5, 10, 10]);
        assert_eq!(latency.count_up_to(&[2_000_000_000]), [11]);
        assert!((latency.sum_seconds() - 1.000_011_5).abs() < 0.01);
        assert_eq!(Latency::default().count_up_to(&[1]), [0]);
    }

    #[test]
    fn shards_add_up() {
        let (mut a, mut b) = (Metrics::default(), Metrics::default());
        a.recall.record(1000);
        b.recall.record_many(3000, 3);
        b.stores = 2;
        a.add(&b);
        assert_eq!((a.recall.count(), a.stores), (4, 2));
        a.connections_open = 3;
        a.reset();
        assert_eq!((a.recall.count(), a.stores, a.connections_open), (0, 0, 3));
        a.add(&b);
        assert!((a.recall.quantile_us(0.01) - 3.0).abs() < 0.03);
    }
}
