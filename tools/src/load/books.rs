//! The books of a connection: which request a reply belongs to, and what it adds to the figures.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use hdrhistogram::Histogram;

use super::payload::{ID_BYTES, write_id};
use super::scan::Event;
use super::workload::Operation;
use crate::acked_log::AckedLog;
use crate::error::ToolError;

/// Histograms hold latencies up to this; longer ones count as this long.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;

/// What all connections of a run share.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) start: Instant,
    /// Requests meant for a time before this are not measured.
    pub(super) warm_ns: u64,
    /// No request is sent from here on.
    pub(super) stop_ns: u64,
    /// Closed loop: see [`Measured::record`].
    pub(super) expected_interval_ns: Option<u64>,
    /// Episodes per store.
    pub(super) batch: usize,
    pub(super) acked_log: Option<AckedLog>,
    /// Requests answered and refused so far, for the live line.
    pub(super) answered: AtomicU64,
    pub(super) refused: AtomicU64,
}

impl Run {
    pub(super) fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn is_measured(&self, ns: u64) -> bool {
        (self.warm_ns..self.stop_ns).contains(&ns)
    }
}

/// What a connection saw. Everything but `errors`, `unanswered` and `unsent` is of the measured
/// time.
#[derive(Debug)]
pub(super) struct Measured {
    /// Nanoseconds, one for each of [`Operation::ALL`].
    pub(super) latencies: [Histogram<u64>; 2],
    /// Requests answered without an error while measuring, one count for each of
    /// [`Operation::ALL`].
    pub(super) answered: [u64; 2],
    pub(super) episodes_stored: u64,
    pub(super) hits: u64,
    pub(super) sent_bytes: u64,
    pub(super) received_bytes: u64,
    /// By code; refused items of a batch count one each.
    pub(super) errors: BTreeMap<String, u64>,
    /// Requests without a reply when the run was over or the connection broke.
    pub(super) unanswered: u64,
    /// Open loop: requests that were due and never sent.
    pub(super) unsent: u64,
}

impl Measured {
    pub(super) fn new() -> Self {
        let histogram =
            || Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("the bounds are valid");
        Self {
            latencies: [histogram(), histogram()],
            answered: [0; 2],
            episodes_stored: 0,
            hits: 0,
            sent_bytes: 0,
            received_bytes: 0,
            errors: BTreeMap::new(),
            unanswered: 0,
            unsent: 0,
        }
    }

    /// Adds what another connection saw.
    pub(super) fn add(&mut self, other: &Self) {
        for (all, one) in self.latencies.iter_mut().zip(&other.latencies) {
            all.add(one).expect("all histograms have the same bounds");
        }
        for (all, one) in self.answered.iter_mut().zip(&other.answered) {
            *all += one;
        }
        self.episodes_stored += other.episodes_stored;
        self.hits += other.hits;
        self.sent_bytes += other.sent_bytes;
        self.received_bytes += other.received_bytes;
        self.unanswered += other.unanswered;
        self.unsent += other.unsent;
        for (code, count) in &other.errors {
            *self.errors.entry(code.clone()).or_default() += count;
        }
    }

    /// Records a latency. With an expected interval, a closed loop's long latency also counts for
    /// the requests that would have been sent meanwhile: latency − interval, − 2 intervals, …
    fn record(&mut self, operation: Operation, latency_ns: u64, expected_ns: Option<u64>) {
        let latency_ns = latency_ns.clamp(1, LATENCY_NS_MAX);
        self.latencies[operation as usize]
            .record_correct(latency_ns, expected_ns.unwrap_or(0))
            .expect("the latency is within the bounds");
    }

    fn count_error(&mut self, line: &[u8]) {
        let code = line.split(|byte| *byte == b' ').next().unwrap_or_default();
        let code = String::from_utf8_lossy(code).into_owned();
        *self.errors.entry(code).or_default() += 1;
    }
}

/// A request without its reply.
#[derive(Debug)]
struct Pending {
    operation: Operation,
    /// When it was meant to be sent.
    intended_ns: u64,
}

/// Replies come in the order of the requests, so that the oldest pending one is answered next.
#[derive(Debug)]
pub(super) struct Books<'a> {
    run: &'a Run,
    pending: VecDeque<Pending>,
    /// Ids of the pending stores' episodes.
    pending_ids: VecDeque<u64>,
    /// Items seen of the reply that is being read.
    items_seen: usize,
    /// Ids acknowledged since the last flush, as lines.
    acked: Vec<u8>,
    measured: Measured,
}

impl<'a> Books<'a> {
    pub(super) fn new(run: &'a Run) -> Self {
        Self {
            run,
            pending: VecDeque::with_capacity(1024),
            pending_ids: VecDeque::with_capacity(1024),
            items_seen: 0,
            acked: Vec::new(),
            measured: Measured::new(),
        }
    }

    /// Requests without a reply.
    pub(super) fn outstanding(&self) -> usize {
        self.pending.len()
    }

    /// The next request will store an episode with this id.
    pub(super) fn expect_id(&mut self, id: u64) {
        self.pending_ids.push_back(id);
    }

    pub(super) fn expect(&mut self, operation: Operation, intended_ns: u64) {
        self.pending.push_back(Pending { operation, intended_ns });
    }

    pub(super) fn add_sent(&mut self, bytes: usize, now_ns: u64) {
        if self.run.is_measured(now_ns) {
            self.measured.sent_bytes += bytes as u64;
        }
    }

    pub(super) fn add_received(&mut self, bytes: usize, now_ns: u64) {
        if self.run.is_measured(now_ns) {
            self.measured.received_bytes += bytes as u64;
        }
    }

    /// Books one event, read at `now_ns`, to the oldest pending request.
    pub(super) fn settle(&mut self, event: &Event<'_>, now_ns: u64) {
        let Some(Pending { operation, intended_ns }) = self.pending.front() else { return };
        let (operation, intended_ns) = (*operation, *intended_ns);
        match event {
            Event::Item { error } => {
                self.items_seen += 1;
                if operation == Operation::Store && self.run.batch > 1 {
                    self.settle_episode(*error, now_ns);
                } else if operation == Operation::Recall && self.run.is_measured(now_ns) {
                    self.measured.hits += 1;
                }
            }
            Event::Reply { error } => {
                self.pending.pop_front();
                if operation == Operation::Store {
                    let is_batch = self.run.batch > 1;
                    let seen = if is_batch { self.items_seen } else { 0 };
                    for _ in seen..self.run.batch {
                        self.settle_episode(*error, now_ns);
                    }
                } else if let Some(line) = error {
                    self.measured.count_error(line);
                }
                self.items_seen = 0;
                self.settle_request(operation, intended_ns, now_ns, error.is_some());
            }
        }
    }

    fn settle_request(
        &mut self,
        operation: Operation,
        intended_ns: u64,
        now_ns: u64,
        is_refused: bool,
    ) {
        if is_refused {
            self.run.refused.fetch_add(1, Relaxed);
            return;
        }
        self.run.answered.fetch_add(1, Relaxed);
        if intended_ns >= self.run.warm_ns {
            let latency_ns = now_ns.saturating_sub(intended_ns);
            self.measured.record(operation, latency_ns, self.run.expected_interval_ns);
        }
        if self.run.is_measured(now_ns) {
            self.measured.answered[operation as usize] += 1;
        }
    }

    /// Books the oldest pending episode as acknowledged or refused.
    fn settle_episode(&mut self, error: Option<&[u8]>, now_ns: u64) {
        let Some(number) = self.pending_ids.pop_front() else { return };
        if let Some(line) = error {
            self.measured.count_error(line);
            return;
        }
        if self.run.is_measured(now_ns) {
            self.measured.episodes_stored += 1;
        }
        if self.run.acked_log.is_some() {
            let mut line = [b'\n'; ID_BYTES + 1];
            write_id(&mut line, number);
            self.acked.extend_from_slice(&line);
        }
    }

    /// Writes the acknowledged ids to the log.
    pub(super) fn flush_acked(&mut self) -> Result<(), ToolError> {
        if let Some(log) = &self.run.acked_log
            && !self.acked.is_empty()
        {
            log.append(&self.acked)?;
            self.acked.clear();
        }
        Ok(())
    }

    /// The figures; what is still pending stays unanswered.
    pub(super) fn close(mut self) -> Measured {
        self.measured.unanswered = self.pending.len() as u64;
        self.measured
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(batch: usize, acked_log: Option<AckedLog>) -> Run {
        Run {
            start: Instant::now(),
            warm_ns: 100,
            stop_ns: 1000,
            expected_interval_ns: None,
            batch,
            acked_log,
            answered: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    #[test]
    fn latency_counts_from_the_intended_time_and_not_before_the_warm_up_ends() {
        let run = run(1, None);
        let mut books = Books::new(&run);
        for (intended_ns, answered_ns) in [(50, 120), (150, 190), (990, 1500)] {
            books.expect_id(1);
            books.expect(Operation::Store, intended_ns);
            books.settle(&Event::Reply { error: None }, answered_ns);
        }
        let measured = books.close();
        let latencies = &measured.latencies[Operation::Store as usize];
        assert_eq!((latencies.len(), latencies.min(), latencies.max()), (2, 40, 510));
        // The first two replies came within the measured time, the last behind its end.
        assert_eq!((measured.answered[0], measured.episodes_stored), (2, 2));
    }

    #[test]
    fn items_of_a_batch_are_acknowledged_or_refused_one_by_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("acked");
        let run = run(3, Some(AckedLog::open(&path, false).unwrap()));
        let mut books = Books::new(&run);
        for id in 0..6 {
            books.expect_id(id);
        }
        books.expect(Operation::Store, 200);
        books.expect(Operation::Store, 200);
        for error in [None, Some(b"DIM no".as_slice()), None] {
            books.settle(&Event::Item { error }, 300);
        }
        books.settle(&Event::Reply { error: None }, 300);
        books.settle(&Event::Reply { error: Some(b"BUSY retry in 5 ms") }, 300);
        books.flush_acked().unwrap();
        let measured = books.close();
        let errors: Vec<(&str, u64)> =
            measured.errors.iter().map(|(code, count)| (code.as_str(), *count)).collect();
        assert_eq!(errors, [("BUSY", 3), ("DIM", 1)]);
        assert_eq!((measured.answered[0], measured.episodes_stored), (1, 2));
        let log = std::fs::read_to_string(&path).unwrap();
        assert_eq!(log, "load-000000000000\nload-000000000002\n");
    }

    #[test]
    fn an_expected_interval_fills_in_the_requests_that_a_stall_held_back() {
        let mut measured = Measured::new();
        measured.record(Operation::Recall, 1000, Some(300));
        let latencies = &measured.latencies[Operation::Recall as usize];
        // 1000, 700 and 400.
        assert_eq!((latencies.len(), latencies.min()), (3, 400));
    }
}
