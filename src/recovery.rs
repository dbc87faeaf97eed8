//! How far the start has come, and how it went: what `INFO` and the service manager are told.
//!
//! The shards raise the counters while they replay their logs; the supervisor says when one is done
//! and when all are. Everybody else only looks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use engram_shards::io::Clock;
use engram_shards::log::{Recovered, RecoveryProgress};

use crate::config::ByteCount;

/// See the top of the file.
#[derive(Debug)]
pub struct Recovery {
    clock: Clock,
    began_ns: u64,
    shards: Vec<Arc<RecoveryProgress>>,
    shards_done: AtomicUsize,
    read_only_reason: Option<String>,
    outcome: OnceLock<Outcome>,
}

/// How a recovery went that is over.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Outcome {
    seconds: f64,
    bytes: u64,
    frames: u64,
    torn_tail_bytes: u64,
    lost_sequences: u64,
    mended_segments: usize,
}

/// How far a recovery is.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Reached {
    seconds: f64,
    bytes_total: u64,
    bytes: u64,
    frames: u64,
}

impl Reached {
    /// 0 while nobody knows how much there is.
    fn percent(&self) -> u64 {
        (self.bytes * 100).checked_div(self.bytes_total).unwrap_or(0).min(100)
    }

    /// How much longer it takes when it goes on like this; `None` before anything is done.
    fn eta_seconds(&self) -> Option<f64> {
        let left = self.bytes_total.saturating_sub(self.bytes);
        (self.bytes > 0).then(|| self.seconds * left as f64 / self.bytes as f64)
    }
}

impl Recovery {
    /// Of a start that begins now. The reason says why it will take no writes, if it will not.
    pub fn new(shards: usize, read_only_reason: Option<String>, clock: Clock) -> Self {
        Self {
            clock,
            began_ns: (clock.monotonic_ns)(),
            shards: (0..shards).map(|_| Arc::default()).collect(),
            shards_done: AtomicUsize::new(0),
            read_only_reason,
            outcome: OnceLock::new(),
        }
    }

    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// What the shard raises while it replays.
    pub fn progress(&self, shard: usize) -> Arc<RecoveryProgress> {
        Arc::clone(&self.shards[shard])
    }

    /// Why this daemon takes no writes, whatever its disks say.
    pub fn read_only_reason(&self) -> Option<&str> {
        self.read_only_reason.as_deref()
    }

    /// A shard has replayed its log.
    pub fn shard_is_done(&self, shard: usize) {
        self.shards[shard].complete();
        self.shards_done.fetch_add(1, Ordering::Relaxed);
    }

    /// All shards serve.
    pub fn finish<'a>(&self, shards: impl Iterator<Item = &'a Recovered>) {
        let mut outcome = Outcome { seconds: self.seconds(), ..Outcome::default() };
        for recovered in shards {
            outcome.bytes += recovered.bytes;
            outcome.frames += recovered.frames;
            outcome.lost_sequences += recovered.lost_sequences();
            outcome.mended_segments += recovered.mended.len();
            outcome.torn_tail_bytes += recovered.torn_tail.map_or(0, |torn| torn.bytes);
        }
        self.outcome.set(outcome).expect("a start is finished once");
    }

    /// Whether the shards serve.
    pub fn is_over(&self) -> bool {
        self.outcome.get().is_some()
    }

    /// Since the start began.
    pub fn seconds(&self) -> f64 {
        (self.clock.monotonic_ns)().saturating_sub(self.began_ns) as f64 / 1e9
    }

    fn reached(&self) -> Reached {
        let sum = |of: fn(&RecoveryProgress) -> u64| self.shards.iter().map(|each| of(each)).sum();
        Reached {
            seconds: self.seconds(),
            bytes_total: sum(RecoveryProgress::bytes_total),
            bytes: sum(RecoveryProgress::bytes_done),
            frames: sum(RecoveryProgress::frames_done),
        }
    }

    /// One line for people while the logs are replayed.
    pub fn status(&self) -> String {
        let reached = self.reached();
        let (done, all) = (self.shards_done.load(Ordering::Relaxed), self.shards());
        let (percent, total) = (reached.percent(), ByteCount(reached.bytes_total).rounded());
        format!("replaying the logs: {percent} % of {total}, {done} of {all} shards are done")
    }

    /// The section of `INFO`.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let Some(outcome) = self.outcome.get() else { return self.facts_of_loading() };
        vec![
            ("loading", "0".into()),
            ("recovery_shards", self.shards().to_string()),
            ("recovery_bytes", outcome.bytes.to_string()),
            ("recovery_frames", outcome.frames.to_string()),
            ("recovery_torn_tail_bytes", outcome.torn_tail_bytes.to_string()),
            ("recovery_lost_sequences", outcome.lost_sequences.to_string()),
            ("recovery_mended_segments", outcome.mended_segments.to_string()),
            ("recovery_seconds", format!("{:.3}", outcome.seconds)),
        ]
    }

    fn facts_of_loading(&self) -> Vec<(&'static str, String)> {
        let reached = self.reached();
        let mut facts = vec![
            ("loading", "1".into()),
            ("recovery_shards", self.shards().to_string()),
            ("recovery_shards_done", self.shards_done.load(Ordering::Relaxed).to_string()),
            ("recovery_bytes_total", reached.bytes_total.to_string()),
            ("recovery_bytes", reached.bytes.to_string()),
            ("recovery_frames", reached.frames.to_string()),
            ("recovery_percent", reached.percent().to_string()),
            ("recovery_seconds", format!("{:.3}", reached.seconds)),
        ];
        if let Some(eta_seconds) = reached.eta_seconds() {
            facts.push(("recovery_eta_seconds", format!("{eta_seconds:.3}")));
        }
        facts
    }
}

#[cfg(test)]
mod tests {
    use engram_shards::format::LogPlace;
    use engram_shards::log::{AnchorState, Loss, TornTail};

    use super::*;

    const CLOCK: Clock = Clock { wall_us: || 0, monotonic_ns: || 0 };

    fn fact(recovery: &Recovery, name: &str) -> Option<String> {
        recovery.facts().into_iter().find(|(have, _)| *have == name).map(|(_, value)| value)
    }

    #[test]
    fn progress_is_summed_and_ends_at_what_was_found() {
        let recovery = Recovery::new(2, None, CLOCK);
        assert_eq!(fact(&recovery, "recovery_percent").unwrap(), "0");
        assert_eq!(fact(&recovery, "recovery_eta_seconds"), None);
        recovery.progress(0).begin(3 << 20);
        recovery.progress(1).begin(1 << 20);
        recovery.progress(0).advance(1 << 20, 7);
        assert_eq!(fact(&recovery, "recovery_percent").unwrap(), "25");
        recovery.shard_is_done(1);
        let status = "replaying the logs: 50 % of 4 MiB, 1 of 2 shards are done";
        assert_eq!(recovery.status(), status);
        assert_eq!(fact(&recovery, "loading").unwrap(), "1");
        assert_eq!(fact(&recovery, "recovery_frames").unwrap(), "7");
        recovery.shard_is_done(0);
        assert_eq!(fact(&recovery, "recovery_percent").unwrap(), "100");

        let torn_tail = Some(TornTail { segment: 1, offset: 8192, bytes: 40 });
        let shard = Recovered {
            start: LogPlace::BEGINNING,
            segment: 1,
            offset: 8192,
            next_sequence: 8,
            chain: 0,
            segments: 1,
            frames: 7,
            bytes: 4096,
            torn_tail,
            losses: vec![Loss { segment: 1, offset: 4160, first: 3, last: 4 }],
            skipped: Vec::new(),
            mended: vec![(1, Some("quarantine/log-0000000001.seg.1".into()))],
            anchor: AnchorState::Missing,
            short_segment: None,
            is_manifest_damaged: false,
            removed: Vec::new(),
        };
        recovery.finish([&shard, &Recovered { torn_tail: None, ..shard.clone() }].into_iter());
        for (name, value) in [
            ("loading", "0"),
            ("recovery_frames", "14"),
            ("recovery_bytes", "8192"),
            ("recovery_torn_tail_bytes", "40"),
            ("recovery_lost_sequences", "4"),
            ("recovery_mended_segments", "2"),
        ] {
            assert_eq!(fact(&recovery, name).unwrap(), value, "{name}");
        }
        assert_eq!(fact(&recovery, "recovery_percent"), None);
    }

    #[test]
    fn what_is_left_takes_as_long_as_what_was_done() {
        let reached = Reached { seconds: 2.0, bytes_total: 300, bytes: 100, frames: 1 };
        assert_eq!((reached.percent(), reached.eta_seconds()), (33, Some(4.0)));
        let beyond = Reached { bytes: 301, ..reached };
        assert_eq!((beyond.percent(), beyond.eta_seconds()), (100, Some(0.0)));
    }
}
