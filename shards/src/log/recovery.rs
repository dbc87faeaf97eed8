//! Opening a log: replay what verifies, cut a torn tail, refuse damage.
//!
//! [`Walk`] finds what there is and judges what lies behind its end; recovery acts on the verdict.
//! Cutting writes zeros over the rest of the segment and flushes before anything new is written, so
//! that no leftover can ever be taken for a later batch.
//!
//! A log that is opened read-only is replayed and judged in the same way; then nothing is cut,
//! flushed, removed or prepared, and every append is refused with the reason that was given.

use std::io;
use std::sync::Arc;

use thiserror::Error;

use super::walk::{Found, Reached, TornTail, Verdict, Walk};
use super::{Log, LogIdentity, LogSettings, RecoveryProgress};
use crate::format::{Frame, HeaderError};
use crate::io::{Completion, Io};

/// What the operator decided about the replay of a log.
#[derive(Debug, Clone, Default)]
pub struct RecoverySettings {
    /// Go on without acknowledged sequences that cannot be read.
    pub accept_loss: bool,
    /// Sequences that are not applied although they verify.
    pub skip_sequences: Vec<u64>,
    /// Change nothing on disk and refuse every write, for this reason.
    pub read_only: Option<String>,
    /// Raised while the log is replayed.
    pub progress: Arc<RecoveryProgress>,
}

/// Where a log continues and what replaying it found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    pub segment: u64,
    pub offset: u64,
    pub next_sequence: u64,
    pub chain: u32,
    pub segments: u64,
    pub frames: u64,
    pub bytes: u64,
    /// What was cut, or left where it is when the log is opened read-only.
    pub torn_tail: Option<TornTail>,
}

/// Why a log was not opened.
#[derive(Debug, Error)]
pub enum RecoveryError {
    #[error("the log folder cannot be read or written: {0}")]
    Io(#[from] io::Error),
    #[error("log segment {segment} is not readable: {error}")]
    Header { segment: u64, error: HeaderError },
    #[error("log segment {segment} is missing; restore it or the whole store from a copy")]
    Missing { segment: u64 },
    #[error(
        "log segment {segment} is damaged at byte {offset}: the acknowledged sequences {first} to \
         {last} cannot be read; restore the store from a copy"
    )]
    Damage { segment: u64, offset: u64, first: u64, last: u64 },
    #[error("sequence {sequence} cannot be applied: {reason}")]
    Apply { sequence: u64, reason: String },
}

/// A frame's consumer; an error stops recovery.
pub type Visitor<'a> = &'a mut dyn FnMut(Frame<'_>) -> Result<(), String>;

impl<I: Io> Log<I> {
    /// As [`open_with`](Self::open_with), with nothing decided about the replay.
    pub fn open(
        io: I,
        identity: LogIdentity,
        settings: LogSettings,
        visit: Visitor<'_>,
    ) -> Result<(Self, Recovered), RecoveryError> {
        Self::open_with(io, identity, settings, &RecoverySettings::default(), visit)
    }

    /// Replays the log into `visit` and opens it for writing, unless it is to be read only.
    pub fn open_with(
        mut io: I,
        identity: LogIdentity,
        settings: LogSettings,
        recovery: &RecoverySettings,
        visit: Visitor<'_>,
    ) -> Result<(Self, Recovered), RecoveryError> {
        let mut recovered = replay(&mut io, identity, recovery, visit)?;
        let read_only = recovery.read_only.clone();
        if recovered.segment == 0 && read_only.is_none() {
            prepare_first(&mut io, identity)?;
            recovered.segment = 1;
        }
        let log = Self::new(io, identity, settings, &recovered, read_only)?;
        Ok((log, recovered))
    }
}

fn replay<I: Io>(
    io: &mut I,
    identity: LogIdentity,
    recovery: &RecoverySettings,
    visit: Visitor<'_>,
) -> Result<Recovered, RecoveryError> {
    let mut walk = Walk::new(io, identity)?;
    recovery.progress.begin(walk.segments().iter().map(|(_, bytes)| bytes).sum());
    if walk.segments().is_empty() && !identity.may_be_empty {
        return Err(RecoveryError::Missing { segment: 1 });
    }
    while let Some(found) = walk.next()? {
        let Found::Batch(batch) = found else { continue };
        for frame in batch.frames() {
            let sequence = frame.sequence;
            visit(frame).map_err(|reason| RecoveryError::Apply { sequence, reason })?;
        }
        let header = batch.header();
        recovery.progress.advance(header.bytes as u64, header.frames.into());
    }
    let verdict = walk.judge()?;
    let Reached { segment, offset, next_sequence, chain, segments, frames, bytes } =
        *walk.reached();
    let written: Vec<_> = walk.segments().iter().copied().filter(|(n, _)| *n <= segment).collect();
    let later: Vec<u64> =
        walk.segments().iter().map(|(number, _)| *number).filter(|n| *n > segment).collect();
    let torn_tail = match verdict {
        Verdict::Clean => None,
        Verdict::Torn(torn) => Some(torn),
        Verdict::Damage { first, last } => {
            // Without any readable segment the first one is at fault.
            let segment = segment.max(1);
            return Err(RecoveryError::Damage { segment, offset, first, last });
        }
    };
    let recovered =
        Recovered { segment, offset, next_sequence, chain, segments, frames, bytes, torn_tail };
    if recovery.read_only.is_some() {
        return Ok(recovered);
    }
    if recovered.torn_tail.is_some() && segment > 0 {
        io.erase_from(segment, offset)?;
    }
    // What a killed process wrote and did not flush is read here all the same. It counts as durable
    // from now on, so it must be.
    for (number, _) in written.into_iter().rev().take(2) {
        io.flush(number)?;
    }
    for number in later.into_iter().rev() {
        io.remove(number)?;
    }
    Ok(recovered)
}

fn prepare_first<I: Io>(io: &mut I, identity: LogIdentity) -> io::Result<()> {
    io.prepare(1, identity.segment_bytes);
    loop {
        match io.complete() {
            Some(Completion::Prepared { result, .. }) => return result,
            Some(other) => unreachable!("nothing else is under way: {other:?}"),
            None => io.wait()?,
        }
    }
}
