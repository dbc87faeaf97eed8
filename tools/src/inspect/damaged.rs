//! A shard's log, read as far as it can be, whatever became of it.
//!
//! Damage is mended in memory by the engine's own walk, so that what verifies behind it is read
//! too; what is lost there comes as gaps. Where even the walk cannot go on, reading begins again at
//! the next segment whose header verifies.

use std::fmt;

use engram_shards::format::{Frame, Gap, GapReason, LogPlace, Operation};
use engram_shards::log::{Found, LogIdentity, RecoveryError, TornTail, Verdict, Walk};
use serde::{Serialize, Serializer};

use super::covered::{Covered, first_place};
use super::directory::Directory;
use super::read_only::ReadOnlyIo;
use crate::render::grouped;

/// Sequences of which nothing can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Lost {
    pub(super) first: u64,
    pub(super) last: u64,
    #[serde(serialize_with = "reason")]
    pub(super) reason: GapReason,
}

fn reason<S: Serializer>(reason: &GapReason, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name(*reason))
}

fn name(reason: GapReason) -> &'static str {
    match reason {
        GapReason::Erased => "erased",
        GapReason::Lost => "lost",
        GapReason::Skipped => "skipped",
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = name(self.reason);
        if self.first == self.last {
            return write!(f, "sequence {} ({reason})", grouped(self.first));
        }
        write!(f, "sequences {} to {} ({reason})", grouped(self.first), grouped(self.last))
    }
}

/// What became of a shard's log.
#[derive(Debug, Default, Serialize)]
pub(super) struct Reading {
    /// The last sequence that is in columns files, which are not read here; 0 without any.
    pub(super) consolidated_through: u64,
    /// The first sequence that the log is read from.
    pub(super) first_sequence: u64,
    pub(super) frames: u64,
    /// 0 while nothing was read or is known to have been there.
    pub(super) last_sequence: u64,
    pub(super) lost: Vec<Lost>,
    /// Bytes at the end that were never acknowledged.
    pub(super) torn_bytes: u64,
    /// Sectors that the disk does not give, each as often as it was asked for.
    pub(super) unreadable_sectors: u64,
    /// What else is wrong, in words.
    pub(super) problems: Vec<String>,
}

impl Reading {
    /// What is in columns files is not lost with the log.
    fn lose(&mut self, lost: Lost) {
        let first = lost.first.max(self.consolidated_through + 1);
        self.last_sequence = lost.last;
        if first <= lost.last {
            self.lost.push(Lost { first, ..lost });
        }
    }

    fn take(&mut self, frame: &Frame<'_>, each: &mut dyn FnMut(&Frame<'_>)) {
        if frame.sequence <= self.last_sequence {
            return;
        }
        if frame.head.operation != Operation::Gap as u16 {
            self.frames += 1;
            self.last_sequence = frame.sequence;
            each(frame);
        } else if let Ok(Gap { through, reason }) = Gap::decode(frame) {
            self.lose(Lost { first: frame.sequence, last: through, reason });
        }
    }
}

/// Gives every frame that can be read to `each`, in order.
pub(super) fn read(directory: &Directory, shard: u32, each: &mut dyn FnMut(&Frame<'_>)) -> Reading {
    let mut io = directory.io(shard).tolerant();
    let identity = directory.identity(shard);
    let covered = Covered::read(&mut io, &identity);
    let place = first_place(&mut io, &identity).unwrap_or(covered.place);
    let mut reading = Reading {
        consolidated_through: covered.through_sequence(),
        first_sequence: place.through_sequence + 1,
        ..Reading::default()
    };
    reading.problems.extend(covered.problem);
    if place.through_sequence > 0 {
        let (first, last) = (1, place.through_sequence);
        reading.lose(Lost { first, last, reason: GapReason::Lost });
    }
    let mut from = None;
    loop {
        match read_on(&mut io, (identity, &place), from, &mut reading, each) {
            Ok(None) => break,
            Ok(Some(segment)) => from = Some(segment),
            Err(error) => {
                reading.problems.push(error.to_string());
                break;
            }
        }
    }
    reading.unreadable_sectors = io.unreadable_sectors();
    reading
}

/// Reads to the end of the log, or to where nothing goes on; then the segment to begin again at.
fn read_on(
    io: &mut ReadOnlyIo,
    (identity, place): (LogIdentity, &LogPlace),
    from: Option<u64>,
    reading: &mut Reading,
    each: &mut dyn FnMut(&Frame<'_>),
) -> Result<Option<u64>, RecoveryError> {
    let mut walk = Walk::new(io, identity, place)?;
    if let Some(segment) = from {
        walk.skip_to(segment)?;
        let last = walk.reached().next_sequence - 1;
        let first = reading.last_sequence + 1;
        if first <= last {
            reading.lose(Lost { first, last, reason: GapReason::Lost });
        }
    }
    let Err(error) = follow(&mut walk, reading, each) else { return Ok(None) };
    reading.problems.push(error.to_string());
    let behind = walk.reached().segment.max(from.unwrap_or(0)) + 1;
    for segment in behind..=walk.last_segment() {
        let header = walk.header(segment).ok().flatten();
        if header.is_some_and(|header| header.first_sequence > reading.last_sequence) {
            return Ok(Some(segment));
        }
    }
    Ok(None)
}

fn follow(
    walk: &mut Walk<'_, ReadOnlyIo>,
    reading: &mut Reading,
    each: &mut dyn FnMut(&Frame<'_>),
) -> Result<(), RecoveryError> {
    loop {
        while let Some(found) = walk.next()? {
            let Found::Batch(batch) = found else { continue };
            batch.frames().for_each(|frame| reading.take(&frame, each));
        }
        match walk.judge()? {
            Verdict::Clean => return Ok(()),
            Verdict::Torn(TornTail { bytes, .. }) => {
                reading.torn_bytes = bytes;
                return Ok(());
            }
            Verdict::Damage { last, .. } => walk.mend(last)?,
        }
    }
}
