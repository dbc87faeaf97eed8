//! The engine's own log under the load of the commit probe.
//!
//! As many writers as the load has records under way store one record each and, when it is
//! durable, the next: a closed loop. What they store goes through the engine's whole commit path,
//! frames, checksums, segments and all, into a folder that is deleted afterwards. Segments are
//! zeroed ahead of their use beside the commits, as in the daemon, so every byte goes to the disk
//! twice; the commit probe writes over one file that was zeroed before.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use engram_shards::format::{FileId, Frame, FrameHead, Operation};
use engram_shards::io::{Io as _, UringIo, UringSettings};
use engram_shards::log::{
    AppendError, Appending, Log, LogEvent, LogIdentity, LogSettings, RecoveryError,
    RecoverySettings, StageTimes,
};
use engramd::clock::CLOCK;
use hdrhistogram::Histogram;
use serde::Serialize;
use tempfile::TempDir;
use thiserror::Error;

use crate::commit::CommitLoad;
use crate::frames::PAYLOAD_BYTES;
use crate::random::Random;

/// As the daemon makes them when nobody says otherwise.
const SEGMENT_BYTES: u64 = 64 << 20;
/// Longer commits are counted as this long.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

#[derive(Debug, Error)]
pub enum EngineLogError {
    #[error("cannot set up a log in {dir}: {source}; name a directory on a local disk")]
    Setup { dir: PathBuf, source: io::Error },
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    #[error("the log does not progress: {0}")]
    Wait(io::Error),
    #[error("{0}")]
    Failed(String),
}

/// Whether records share flushes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupCommit {
    On,
    /// Every record is a batch of its own.
    Off,
}

/// What a log did under a load.
#[derive(Debug, Clone, Serialize)]
pub struct EngineLogFigures {
    pub records_per_s: f64,
    pub records_per_flush: f64,
    /// Of the flushes that one for each record would have been, in [0, 1].
    pub flushes_saved: f64,
    /// From a batch being handed to the disk to its durability.
    pub commit_latency_us_p50: f64,
    pub commit_latency_us_p99: f64,
}

/// A log with nobody else on it.
#[derive(Debug)]
pub struct EngineLog {
    log: Log<UringIo>,
    load: CommitLoad,
    payload: Vec<u8>,
    /// Records that writers want to store and the log had no room for.
    waiting: usize,
    trimmed: u64,
    _folder: TempDir,
}

/// What one run counts.
struct Books {
    records: u64,
    flushes: u64,
    latencies_ns: Histogram<u64>,
}

impl EngineLog {
    /// Makes an empty log in a new folder under `dir`.
    pub fn new(
        dir: &Path,
        load: CommitLoad,
        group_commit: GroupCommit,
    ) -> Result<Self, EngineLogError> {
        let setup = |source| EngineLogError::Setup { dir: dir.to_owned(), source };
        let folder = TempDir::new_in(dir).map_err(setup)?;
        let settings = UringSettings {
            folder: folder.path().to_owned(),
            worker_cpus: Vec::new(),
            clock: CLOCK,
        };
        let io = UringIo::new(&settings).map_err(setup)?;
        let identity = LogIdentity {
            store_id: [1; 16],
            shard: 0,
            segment_bytes: SEGMENT_BYTES,
            may_be_empty: true,
        };
        let settings = LogSettings {
            in_flight_max: load.commits_in_flight,
            linger_us: 0,
            frames_max: if group_commit == GroupCommit::Off { 1 } else { 0 },
        };
        let mut ignore = |_: Frame<'_>| Ok(());
        let recovery = RecoverySettings::default();
        let (log, _) = Log::open(io, identity, settings, &recovery, &mut ignore)?;
        let mut payload = vec![0; PAYLOAD_BYTES];
        Random::default().fill_bytes(&mut payload);
        Ok(Self { log, load, payload, waiting: 0, trimmed: 0, _folder: folder })
    }

    /// Keeps the writers busy for `duration` and waits for the last flush.
    pub fn run(&mut self, duration: Duration) -> Result<EngineLogFigures, EngineLogError> {
        let mut books = Books {
            records: 0,
            flushes: 0,
            latencies_ns: Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3)
                .expect("the bounds and three digits are valid"),
        };
        let start = Instant::now();
        self.waiting = self.load.records_per_commit * self.load.commits_in_flight;
        self.feed()?;
        let mut is_over = false;
        while !self.log.is_idle() {
            self.log.pump();
            self.log.wait().map_err(EngineLogError::Wait)?;
            while let Some(event) = self.log.poll() {
                match event {
                    LogEvent::Apply(batch) => self.log.recycle(batch),
                    LogEvent::Durable { frames, times, .. } => {
                        books.count(frames, &times);
                        self.waiting += frames as usize;
                        is_over |= start.elapsed() >= duration;
                        if !is_over {
                            self.feed()?;
                        }
                    }
                    LogEvent::Read { .. }
                    | LogEvent::Overwritten { .. }
                    | LogEvent::ManifestWritten { .. }
                    | LogEvent::Released { .. }
                    | LogEvent::Copied { .. }
                    | LogEvent::BroughtIn { .. }
                    | LogEvent::File(_) => {
                        unreachable!("nothing is erased, consolidated or copied")
                    }
                    LogEvent::Refused { reason, .. } | LogEvent::Failed { reason } => {
                        return Err(EngineLogError::Failed(reason));
                    }
                }
            }
        }
        Ok(books.close(start.elapsed()))
    }

    /// Appends what waits, group by group, as requests come in rounds.
    fn feed(&mut self) -> Result<(), EngineLogError> {
        let head = FrameHead {
            operation: Operation::Store as u16,
            recorded_at_us: 0,
            happened_at_us: 0,
            writer_uid: 0,
        };
        while self.waiting > 0 {
            for _ in 0..self.load.records_per_commit.min(self.waiting) {
                let fill = |out: &mut [u8]| out.copy_from_slice(&self.payload);
                match self.log.append(&head, PAYLOAD_BYTES, Appending::default(), fill) {
                    Ok(_) => self.waiting -= 1,
                    Err(AppendError::Busy) => {
                        self.log.pump();
                        return Ok(());
                    }
                    Err(AppendError::ReadOnly(reason)) => {
                        return Err(EngineLogError::Failed(reason));
                    }
                }
            }
            self.log.pump();
        }
        Ok(())
    }

    /// Removes the segments that are full. Not to be timed: it waits for the folder's flush.
    pub fn trim(&mut self) -> Result<(), EngineLogError> {
        while self.trimmed + 1 < self.log.position().0 {
            self.trimmed += 1;
            self.log.io_mut().remove(FileId::log(self.trimmed)).map_err(EngineLogError::Wait)?;
        }
        Ok(())
    }
}

impl Books {
    fn count(&mut self, frames: u32, times: &StageTimes) {
        self.records += u64::from(frames);
        self.flushes += 1;
        self.latencies_ns.saturating_record(times.durable_ns - times.submitted_ns);
    }

    fn close(&self, elapsed: Duration) -> EngineLogFigures {
        let latency_us = |quantile| self.latencies_ns.value_at_quantile(quantile) as f64 / 1e3;
        let records = self.records as f64;
        EngineLogFigures {
            records_per_s: records / elapsed.as_secs_f64(),
            records_per_flush: records / self.flushes as f64,
            flushes_saved: 1.0 - self.flushes as f64 / records,
            commit_latency_us_p50: latency_us(0.50),
            commit_latency_us_p99: latency_us(0.99),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOAD: CommitLoad = CommitLoad { records_per_commit: 8, commits_in_flight: 2 };

    fn run(group_commit: GroupCommit) -> EngineLogFigures {
        let dir = tempfile::tempdir().unwrap();
        let mut log = EngineLog::new(dir.path(), LOAD, group_commit).unwrap();
        log.run(Duration::from_millis(50)).unwrap()
    }

    #[test]
    fn group_commit_shares_flushes_and_without_it_each_record_has_its_own() {
        let on = run(GroupCommit::On);
        assert!(on.records_per_s > 0.0 && on.records_per_flush >= 8.0, "{on:?}");
        assert!(on.flushes_saved >= 0.875, "{on:?}");
        let off = run(GroupCommit::Off);
        assert_eq!((off.records_per_flush, off.flushes_saved), (1.0, 0.0));
    }

    #[test]
    fn full_segments_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let load = CommitLoad { records_per_commit: 256, commits_in_flight: 2 };
        let mut log = EngineLog::new(dir.path(), load, GroupCommit::On).unwrap();
        while log.log.position().0 < 3 {
            log.run(Duration::from_millis(20)).unwrap();
        }
        log.trim().unwrap();
        let segments = log.log.io_mut().segments().unwrap();
        assert!(segments[0].0 >= 3, "{segments:?}");
    }
}
