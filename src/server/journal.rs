//! How long commands take, on one shard's thread: a histogram for each, those that were slow, and
//! a sample of all.
//!
//! A command is timed from when it was read off its socket until its reply is ready, by the thread
//! that has its connection. In between, the shards that it asks say how long it waited in their
//! lanes. What is left went into work or, for a write, into waiting for the log:
//!
//! ```text
//! read ──── queued_us ────► its shard begins ──── worked_us or log_us ────► reply is ready
//! ```
//!
//! A command may ask several shards; then it is the longest of its waits that is told. Observations
//! and what a watch sends have no reply, and are not here.
//!
//! What of its arguments a slow command may show is copied when it comes, into a fixed place: at
//! its end they are gone, and to keep them would keep what was read with them. So a command costs
//! that copy of at most 112 bytes, one look at the clock, one cell of a histogram and a comparison;
//! nothing is allocated unless it was slow, or is the first of its kind. Of a slow one the words of
//! the protocol stay, and nothing of what was said in it: no erasure would reach it here.

mod shown;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use engram_shards::io::Clock;

pub use self::shown::Shown;
use super::client::Client;
use crate::metrics::Latency;

/// What is kept of commands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JournalSettings {
    /// Commands that took at least so long are logged.
    pub slow_ns: u64,
    /// So many of them; none are with 0.
    pub slow_entries_max: usize,
    /// One of so many commands is traced; none are with 0.
    pub trace_sample: u64,
}

/// A command under way.
#[derive(Debug, Clone)]
pub(super) struct Timed {
    /// As it is written in full.
    command: &'static str,
    at_ns: u64,
    queued_us: u32,
    is_sampled: bool,
    shown: Shown,
}

impl Timed {
    /// A shard has told how long the command waited in its lane.
    pub(super) fn waited(&mut self, queued_us: u32) {
        self.queued_us = self.queued_us.max(queued_us);
    }
}

/// Where the time of a command went, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    pub total_us: u64,
    pub queued_us: u64,
    pub worked_us: u64,
    /// Until the log had it.
    pub log_us: u64,
}

impl Spent {
    fn new(total_us: u64, queued_us: u64, is_write: bool) -> Self {
        let queued_us = queued_us.min(total_us);
        let rest_us = total_us - queued_us;
        let (worked_us, log_us) = if is_write { (0, rest_us) } else { (rest_us, 0) };
        Self { total_us, queued_us, worked_us, log_us }
    }
}

/// A command that was slow.
#[derive(Debug, Clone)]
pub struct Slow {
    /// No other has it, on any shard, until the daemon ends.
    pub id: u64,
    /// When its reply was ready, in microseconds since 1970-01-01 UTC.
    pub at_us: i64,
    pub command: &'static str,
    /// Its words without their content.
    pub words: Vec<String>,
    pub spent: Spent,
    pub connection: u64,
    pub client_name: String,
    pub uid: u32,
}

/// See the top of the file.
#[derive(Debug)]
pub(super) struct Journal {
    shard: usize,
    shards: usize,
    clock: Clock,
    settings: JournalSettings,
    /// The newest last.
    slow: RefCell<VecDeque<Slow>>,
    /// That were logged, those included that have made room.
    slow_count: Cell<u64>,
    /// In the order in which they came first. Few have many commands, and those are in front.
    latencies: RefCell<Vec<(&'static str, Latency)>>,
    /// Commands until the next one that is traced.
    until_sample: Cell<u64>,
}

impl Journal {
    pub(super) fn new(
        (shard, shards): (usize, usize),
        clock: Clock,
        settings: JournalSettings,
    ) -> Self {
        Self {
            shard,
            shards,
            clock,
            settings,
            slow: RefCell::default(),
            slow_count: Cell::default(),
            latencies: RefCell::default(),
            until_sample: Cell::new(settings.trace_sample),
        }
    }

    /// A command begins.
    pub(super) fn begin(&self, command: &'static str, shown: Shown, at_ns: u64) -> Timed {
        Timed { command, at_ns, queued_us: 0, is_sampled: self.is_sampled(), shown }
    }

    fn is_sampled(&self) -> bool {
        match self.until_sample.get() {
            0 => false,
            1 => {
                self.until_sample.set(self.settings.trace_sample);
                true
            }
            more => {
                self.until_sample.set(more - 1);
                false
            }
        }
    }

    /// The reply of a command is ready.
    pub(super) fn end(&self, timed: Timed, is_write: bool, client: &Client) {
        let elapsed_ns = (self.clock.monotonic_ns)().saturating_sub(timed.at_ns);
        self.record(timed.command, elapsed_ns);
        if timed.is_sampled {
            self.trace(
                &timed,
                Spent::new(elapsed_ns / 1000, timed.queued_us.into(), is_write),
                client,
            );
        }
        if elapsed_ns >= self.settings.slow_ns && self.settings.slow_entries_max > 0 {
            self.log(timed, elapsed_ns, is_write, client);
        }
    }

    fn record(&self, command: &'static str, elapsed_ns: u64) {
        let mut latencies = self.latencies.borrow_mut();
        // A command has one name, in one place.
        match latencies.iter_mut().find(|(known, _)| std::ptr::eq(*known, command)) {
            Some((_, latency)) => latency.record(elapsed_ns),
            None => {
                let mut latency = Latency::default();
                latency.record(elapsed_ns);
                latencies.push((command, latency));
            }
        }
    }

    fn trace(&self, timed: &Timed, spent: Spent, client: &Client) {
        let span = tracing::info_span!(
            "request",
            command = timed.command,
            shard = self.shard,
            connection = client.peer.connection,
        );
        let Spent { total_us, queued_us, worked_us, log_us } = spent;
        span.in_scope(|| tracing::info!(total_us, queued_us, worked_us, log_us, "answered"));
    }

    #[cold]
    fn log(&self, timed: Timed, elapsed_ns: u64, is_write: bool, client: &Client) {
        let Timed { command, queued_us, shown, .. } = timed;
        let mut slow = self.slow.borrow_mut();
        while slow.len() >= self.settings.slow_entries_max {
            slow.pop_front();
        }
        let count = self.slow_count.get();
        self.slow_count.set(count + 1);
        slow.push_back(Slow {
            id: count * self.shards as u64 + self.shard as u64,
            at_us: (self.clock.wall_us)(),
            command,
            words: shown.words(command),
            spent: Spent::new(elapsed_ns / 1000, queued_us.into(), is_write),
            connection: client.peer.connection,
            client_name: client.name(),
            uid: client.peer.uid,
        });
    }

    /// The newest slow commands, at most so many, the newest first.
    pub(super) fn slowest(&self, count: usize) -> Vec<Slow> {
        self.slow.borrow().iter().rev().take(count).cloned().collect()
    }

    pub(super) fn slow_len(&self) -> usize {
        self.slow.borrow().len()
    }

    pub(super) fn forget_slow(&self) {
        self.slow.borrow_mut().clear();
    }

    /// The histograms of these commands, or of all.
    pub(super) fn latencies(&self, names: &[String]) -> Vec<(String, Latency)> {
        let latencies = self.latencies.borrow();
        let wanted = latencies.iter().filter(|(name, _)| is_wanted(name, names));
        wanted.map(|(name, latency)| (name.to_ascii_lowercase(), latency.clone())).collect()
    }

    /// Begins the histograms of these commands anew, or of all: their names.
    pub(super) fn reset_latencies(&self, names: &[String]) -> Vec<String> {
        let mut latencies = self.latencies.borrow_mut();
        let gone = latencies.extract_if(.., |(name, _)| is_wanted(name, names));
        gone.map(|(name, _)| name.to_ascii_lowercase()).collect()
    }
}

/// Whether a name is one of these, or there are none.
pub(super) fn is_wanted(name: &str, names: &[String]) -> bool {
    names.is_empty() || names.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::server::Peer;

    fn journal(settings: JournalSettings) -> Journal {
        let clock = Clock { monotonic_ns: || 5_000_000, wall_us: || 77 };
        Journal::new((1, 4), clock, settings)
    }

    fn client() -> Client {
        Client::new(Peer { connection: 9, uid: 3, gid: 3, pid: 1 })
    }

    /// A command that has taken so long by now.
    fn end(journal: &Journal, name: &'static str, elapsed_us: u64, is_write: bool) {
        let shown = Shown::of(&[Bytes::from_static(name.as_bytes())]);
        let mut timed = journal.begin(name, shown, 5_000_000 - elapsed_us * 1000);
        timed.waited(20);
        timed.waited(10);
        journal.end(timed, is_write, &client());
    }

    #[test]
    fn the_newest_of_those_that_were_slow_are_kept() {
        let settings = JournalSettings { slow_ns: 100_000, slow_entries_max: 3, trace_sample: 0 };
        let journal = journal(settings);
        end(&journal, "EG.GET", 99, false);
        assert_eq!(journal.slow_len(), 0);
        (100..105).for_each(|elapsed_us| end(&journal, "EG.STORE", elapsed_us, true));
        let slow = journal.slowest(2);
        assert_eq!(slow.iter().map(|slow| slow.id).collect::<Vec<_>>(), [17, 13]);
        let spent = Spent { total_us: 104, queued_us: 20, worked_us: 0, log_us: 84 };
        assert_eq!((slow[0].spent, slow[0].at_us, slow[0].uid), (spent, 77, 3));
        assert_eq!((journal.slowest(9).len(), journal.slow_len()), (3, 3));
        journal.forget_slow();
        end(&journal, "EG.GET", 15, false);
        end(&journal, "EG.GET", 115, false);
        let slow = journal.slowest(9);
        assert_eq!((slow.len(), slow[0].id), (1, 21), "numbers go on");
        let spent = Spent { total_us: 115, queued_us: 20, worked_us: 95, log_us: 0 };
        assert_eq!(slow[0].spent, spent);
        assert_eq!(Spent::new(7, 20, true).queued_us, 7, "clocks of two threads may differ");
    }

    #[test]
    fn no_room_means_no_log_and_every_command_has_its_histogram() {
        let settings = JournalSettings { slow_ns: 0, slow_entries_max: 0, trace_sample: 0 };
        let journal = journal(settings);
        for _ in 0..3 {
            end(&journal, "EG.GET", 500, false);
            end(&journal, "EG.STORE", 700, true);
        }
        assert_eq!(journal.slow_len(), 0);
        let told = journal.latencies(&[]);
        let counts: Vec<_> = told.iter().map(|(name, it)| (name.as_str(), it.count())).collect();
        assert_eq!(counts, [("eg.get", 3), ("eg.store", 3)]);
        assert_eq!(journal.latencies(&["eg.store".into(), "ping".into()]).len(), 1);
        assert_eq!(journal.reset_latencies(&["eg.get".into()]), ["eg.get"]);
        assert_eq!(journal.latencies(&[]).len(), 1);
        assert_eq!(journal.reset_latencies(&[]), ["eg.store"]);
    }

    #[test]
    fn one_of_so_many_is_sampled() {
        for (trace_sample, expected) in [(0, 0), (1, 12), (5, 2), (12, 1), (13, 0)] {
            let journal = journal(JournalSettings { trace_sample, ..Default::default() });
            let sampled = (0..12).filter(|_| journal.is_sampled()).count();
            assert_eq!(sampled, expected, "one of {trace_sample}");
        }
    }
}
