//! Opening a log: replay what verifies, cut a torn tail, refuse damage or mend it.
//!
//! [`Walk`] finds what there is and judges what lies behind its end; recovery acts on the verdict:
//!
//! | verdict | what is lost | allowed | done |
//! |---|---|---|---|
//! | clean | – | – | go on there |
//! | torn | nothing that was acknowledged | – | cut, go on there |
//! | damage | nothing: only headers | – | mend, go on |
//! | damage | frames that a later erase names | – | mend, go on |
//! | damage | other frames | no | **refuse**, name every sequence, change nothing |
//! | damage | other frames | `accept_loss` | mend, name every sequence, go on |
//! | a segment is missing | nothing that is known of | no | **refuse** |
//! | a segment is missing | nothing that is known of | `accept_loss` | go on |
//!
//! What is lost can only be behind the place from which the log is needed
//! ([`Basis`]); nothing before it is looked at.
//!
//! Nothing is written before the whole log has been read and allowed. Mending replaces a segment at
//! once and keeps the damaged file in the quarantine. Cutting writes zeros over the rest of the
//! segment and flushes before anything new is written, so that no leftover can ever be taken for a
//! later batch.

use std::fmt;
use std::io;
use std::sync::Arc;

use thiserror::Error;

use super::basis::Basis;
use super::verdict::{Decision, Findings};
use super::walk::{AnchorState, Found, Loss, Reached, TornTail, Verdict, Walk};
use super::{Log, LogIdentity, LogSettings, RecoveryProgress};
use crate::arena::Region;
use crate::format::{FileId, Frame, HeaderError, LogPlace, Manifest, SLOTS, SlotState};
use crate::io::{Completion, Io, SlotFile, Transfer};
use crate::limits::SECTOR_BYTES;

/// What the operator allows recovery to do.
#[derive(Debug, Clone, Default)]
pub struct RecoverySettings {
    /// Go on without acknowledged sequences that cannot be read.
    pub accept_loss: bool,
    /// Frames that verify, cannot be applied, and may be left out.
    pub skip_sequences: Vec<u64>,
    /// Why nothing may be written, now or later. The log serves what it can read.
    pub read_only: Option<String>,
    /// Raised while the log is replayed.
    pub progress: Arc<RecoveryProgress>,
}

/// Where a log continues and what replaying it found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// From where on the log was needed.
    pub start: LogPlace,
    pub segment: u64,
    pub offset: u64,
    pub next_sequence: u64,
    pub chain: u32,
    pub segments: u64,
    pub frames: u64,
    pub bytes: u64,
    /// What was cut, or left where it is when nothing may be written.
    pub torn_tail: Option<TornTail>,
    /// What was given up, with permission, and what an erase had begun to remove.
    pub losses: Vec<Loss>,
    /// Frames that were left out: the operator said so, or they cannot be applied without what was
    /// given up.
    pub skipped: Vec<u64>,
    /// Segments that were replaced, and the names under which the damaged files are kept.
    pub mended: Vec<(u64, Option<String>)>,
    pub anchor: AnchorState,
    /// The segment in which the log ends, if its file is shorter than it was made.
    pub short_segment: Option<u64>,
    /// Not all of the manifest's file was what was written; what counts of it was there.
    pub is_manifest_damaged: bool,
    /// Leftovers that were removed: files that the manifest does not name, segments of the log that
    /// are not needed any more.
    pub removed: Vec<FileId>,
}

impl Recovered {
    /// What the operator should know, in words; nothing when the log was as it was left.
    pub fn findings(&self, is_read_only: bool) -> Vec<String> {
        let mut findings = Vec::new();
        if let Some(TornTail { segment, offset, bytes }) = self.torn_tail {
            let verb = if is_read_only { "left" } else { "cut" };
            findings.push(format!(
                "{verb} a torn tail of {bytes} bytes at byte {offset} of segment {segment}: writes \
                 that were under way"
            ));
        }
        let lost = self.losses.iter().map(|loss| {
            let lost = Losses(std::slice::from_ref(loss));
            format!("{lost} could not be read and is not there any more")
        });
        findings.extend(lost);
        if !self.skipped.is_empty() {
            findings.push(format!("sequences that were left out: {:?}", self.skipped));
        }
        findings.extend(self.mended.iter().map(|(segment, kept)| match kept {
            Some(name) => format!("segment {segment} was mended; as it was found it is in {name}"),
            None => format!("segment {segment} was missing and was made anew"),
        }));
        if let Some(segment) = self.short_segment {
            findings.push(format!(
                "segment {segment} is shorter than it was made; it is not written any more"
            ));
        }
        if self.is_manifest_damaged {
            findings.push(
                "the manifest's file is damaged; what counts of it could be read, or the log has \
                 all that it could say"
                    .into(),
            );
        }
        if let Some(file) = self.removed.first() {
            findings.push(format!(
                "removed {} files that are of no use any more, {file} first: a consolidation was \
                 cut short",
                self.removed.len()
            ));
        }
        // A log that was never written has no anchor yet.
        match self.anchor {
            AnchorState::Missing | AnchorState::Blank if self.frames > 0 => findings.push(
                "the file of anchors is missing; that nothing is missing at the end of the log \
                 cannot be proven this time"
                    .into(),
            ),
            AnchorState::Damaged(_) => findings.push(
                "the file of anchors is damaged and was made anew; that nothing is missing at the \
                 end of the log cannot be proven this time"
                    .into(),
            ),
            AnchorState::Missing | AnchorState::Blank | AnchorState::Sound(_) => {}
        }
        findings
    }

    /// How many sequences were given up.
    pub fn lost_sequences(&self) -> u64 {
        self.losses.iter().map(|loss| loss.last - loss.first + 1).sum::<u64>()
            + self.skipped.len() as u64
    }
}

/// Why a log was not opened.
#[derive(Debug, Error)]
pub enum RecoveryError {
    #[error("the log folder cannot be read or written: {0}")]
    Io(#[from] io::Error),
    #[error("log segment {segment} is not readable: {error}")]
    Header { segment: u64, error: HeaderError },
    #[error(
        "log segment {segment} is missing, and nothing says whether it held anything; restore it \
         or the whole store from a copy, or start once with --accept-loss"
    )]
    Missing { segment: u64 },
    #[error(
        "{file}, which the manifest names, {problem}; restore that file or the whole store from a \
         copy, 'engram inspect salvage' reads what the log still has"
    )]
    File { file: FileId, problem: String },
    #[error(
        "the manifest {}, and {files} files are there that cannot be put together without it; \
         restore the file 'manifest' or the whole store from a copy, 'engram inspect salvage' reads \
         what the log still has",
        if *is_missing { "is missing" } else { "cannot be read" }
    )]
    Manifest { is_missing: bool, files: usize },
    #[error(
        "the log is damaged{}: {} cannot be read{}; restore the store from a copy, or start once \
         with --accept-loss to go on without them (the damaged segments are kept in quarantine)",
        match missing.as_slice() {
            [] => String::new(),
            [segment] => format!(", segment {segment} is missing"),
            more => format!(", segments {more:?} are missing"),
        },
        Losses(losses),
        match orphans.len() {
            0 => String::new(),
            count => format!(", and {count} frames cannot be applied without them"),
        }
    )]
    Damage { losses: Vec<Loss>, orphans: Vec<u64>, missing: Vec<u64> },
    #[error(
        "log segment {segment} is damaged at byte {offset} and contradicts its neighbours; restore \
         the store from a copy, 'engram inspect salvage' reads what is left"
    )]
    Unmendable { segment: u64, offset: u64 },
    #[error(
        "sequence {sequence} cannot be applied: {reason}; if this version of engramd should be \
         able to, start once with --skip-sequence {shard}:{sequence} to leave it out"
    )]
    Apply { shard: u32, sequence: u64, reason: String },
}

/// What is written again at once.
const AGAIN_BYTES: usize = 1 << 20;
/// Losses named so far; the rest is counted.
const LOSSES_NAMED: usize = 16;

/// Losses in words: `sequences 5 to 7 (segment 1, byte 8192)`.
#[derive(Debug)]
pub struct Losses<'a>(pub &'a [Loss]);

impl fmt::Display for Losses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, loss) in self.0.iter().take(LOSSES_NAMED).enumerate() {
            let Loss { segment, offset, first, last } = loss;
            f.write_str(if nth == 0 { "" } else { ", " })?;
            match first == last {
                true => write!(f, "sequence {first}")?,
                false => write!(f, "sequences {first} to {last}")?,
            }
            write!(f, " (segment {segment}, byte {offset})")?;
        }
        match self.0.len().saturating_sub(LOSSES_NAMED) {
            0 => Ok(()),
            more => write!(f, " and {more} more places"),
        }
    }
}

/// Who takes the frames of a log that is being replayed.
pub trait Replay {
    /// Applies a frame; an error says why it cannot be.
    fn apply(&mut self, frame: Frame<'_>) -> Result<(), String>;

    /// Whether a frame that was applied named this sequence as erased.
    fn is_erased(&self, sequence: u64) -> bool;
}

/// A consumer to whom all frames are alike.
impl<F: FnMut(Frame<'_>) -> Result<(), String>> Replay for F {
    fn apply(&mut self, frame: Frame<'_>) -> Result<(), String> {
        self(frame)
    }

    fn is_erased(&self, _sequence: u64) -> bool {
        false
    }
}

impl<I: Io> Log<I> {
    /// Replays the log behind what its manifest covers and opens it for writing.
    pub fn open(
        mut io: I,
        identity: LogIdentity,
        settings: LogSettings,
        recovery: &RecoverySettings,
        replay: &mut dyn Replay,
    ) -> Result<(Self, Recovered), RecoveryError> {
        let basis = Basis::read(&mut io, &identity)?;
        Self::open_on(&basis, io, identity, settings, recovery, replay)
    }

    /// The same on a basis that was read before, and whose files the caller has made use of.
    pub fn open_on(
        basis: &Basis,
        mut io: I,
        identity: LogIdentity,
        settings: LogSettings,
        recovery: &RecoverySettings,
        replay: &mut dyn Replay,
    ) -> Result<(Self, Recovered), RecoveryError> {
        let mut recovered = recover(&mut io, identity, recovery, basis, replay)?;
        let is_writable = recovery.read_only.is_none();
        if is_writable {
            settle(&mut io, basis, &mut recovered)?;
        }
        if recovered.segment == 0 {
            let first = (1, identity.segment_bytes);
            if is_writable && !io.segments()?.contains(&first) {
                prepare_first(&mut io, identity)?;
            }
            recovered.segment = 1;
        }
        let log = Self::new(io, identity, settings, &recovered, recovery.read_only.clone())?;
        Ok((log, recovered))
    }
}

fn recover<I: Io>(
    io: &mut I,
    identity: LogIdentity,
    settings: &RecoverySettings,
    basis: &Basis,
    replay: &mut dyn Replay,
) -> Result<Recovered, RecoveryError> {
    let start = basis.place();
    let mut walk = Walk::new(io, identity, &start)?;
    if walk.segments().is_empty() && !identity.may_be_empty {
        return Err(RecoveryError::Missing { segment: 1 });
    }
    if walk.reached().segment > 0 && walk.size(start.segment) == 0 {
        // Should the start be allowed, the log goes on where it was to go on.
        walk.hold(start.segment)?;
    }
    settings.progress.begin(walk.segments().iter().map(|(_, bytes)| bytes).sum());
    let mut skipped = Vec::new();
    let torn_tail = loop {
        follow(&mut walk, settings, replay, &mut skipped)?;
        match walk.judge()? {
            Verdict::Clean => break None,
            Verdict::Torn(torn) => break Some(torn),
            Verdict::Damage { last, .. } => walk.mend(last)?,
        }
    };
    let losses = walk.losses().to_vec();
    let is_erased = |loss: &Loss| (loss.first..=loss.last).all(|s| replay.is_erased(s));
    let findings = Findings {
        is_lossy: !losses.iter().all(is_erased),
        is_segment_missing: losses.is_empty() && !walk.missing().is_empty(),
        may_lose: settings.accept_loss,
        may_write: settings.read_only.is_none(),
    };
    let decision = findings.decision();
    match decision {
        Decision::GoOn | Decision::GoOnUnchanged => {}
        Decision::RefuseDamage => {
            let missing = walk.missing().to_vec();
            return Err(RecoveryError::Damage { losses, orphans: skipped, missing });
        }
        Decision::RefuseMissing => {
            return Err(RecoveryError::Missing { segment: walk.missing()[0] });
        }
    }
    let Reached { segment, offset, next_sequence, chain, segments, frames, bytes } =
        *walk.reached();
    let is_short = walk.size(segment) < identity.segment_bytes;
    // Also those that were missing and will be made anew: the log may go on in one of them.
    let numbers = walk.segments().iter().map(|(number, _)| *number);
    let sizes = numbers.map(|number| (number, walk.size(number)));
    let files: Vec<_> = sizes.filter(|(_, size)| *size > 0).collect();
    let mut recovered = Recovered {
        start,
        segment,
        // A segment that was cut short is not written any more.
        offset: if is_short && segment > 0 { identity.segment_bytes } else { offset },
        next_sequence,
        chain,
        segments,
        frames,
        bytes,
        torn_tail,
        losses,
        skipped,
        mended: Vec::new(),
        anchor: *walk.anchor(),
        short_segment: (is_short && segment > 0).then_some(segment),
        is_manifest_damaged: matches!(basis.manifest, SlotState::Damaged(_)),
        removed: Vec::new(),
    };
    let mended = walk.into_mended();
    if decision == Decision::GoOnUnchanged {
        return Ok(recovered);
    }
    for (segment, bytes) in mended {
        let kept = io.replace(segment, &bytes)?;
        recovered.mended.push((segment, kept));
    }
    if torn_tail.is_some() && segment > 0 {
        io.erase_from(segment, offset)?;
    }
    let written = files.into_iter().filter(|(number, _)| *number <= segment);
    make_durable(io, written, &recovered)?;
    // Also the empty file of a segment whose making was cut short: it would be in the way.
    let segments = io.segments()?;
    for &(number, size) in segments.iter().rev().filter(|(number, _)| *number > segment) {
        // A log without any segment looks like one that was lost: the first one stays.
        match segment == 0 && (number, size) == (1, identity.segment_bytes) {
            true => io.erase_from(number, 0)?,
            false => io.remove(FileId::log(number))?,
        }
    }
    Ok(recovered)
}

/// Makes the files beside the log what they should be: of use, and able to be written.
fn settle<I: Io>(io: &mut I, basis: &Basis, recovered: &mut Recovered) -> io::Result<()> {
    if recovered.anchor.newest().is_none() || matches!(recovered.anchor, AnchorState::Damaged(_)) {
        io.make_slots(SlotFile::Anchors)?;
    }
    match (basis.manifest.newest(), basis.only_slot) {
        (Some(manifest), Some(slot)) => {
            // A killed process wrote it, and it must be durable before what it does not name goes;
            // or the other slot was damaged. The same bytes cannot tear, and the other slot keeps
            // what was true before until they are flushed.
            rewrite(io, &manifest, slot)?;
            rewrite(io, &manifest, (slot + 1) % SLOTS)?;
        }
        (Some(_), None) => {}
        (None, _) if basis.manifest == SlotState::Blank => {}
        (None, _) => io.make_slots(SlotFile::Manifest)?,
    }
    let leftover = io.segments()?.into_iter().map(|(segment, _)| FileId::log(segment));
    let leftover = leftover.filter(|file| file.number < recovered.start.segment);
    for file in basis.unnamed.iter().copied().chain(leftover) {
        io.remove(file)?;
        recovered.removed.push(file);
    }
    Ok(())
}

/// Writes a manifest that counts into a slot.
fn rewrite<I: Io>(io: &mut I, manifest: &Manifest, slot: usize) -> io::Result<()> {
    let block: [u8; SECTOR_BYTES] = manifest.encode();
    io.write_slot(SlotFile::Manifest, slot, &block);
    loop {
        match io.complete() {
            Some(Completion::SlotWritten { result, .. }) => return result,
            Some(other) => unreachable!("nothing else is under way: {other:?}"),
            None => io.wait()?,
        }
    }
}

/// What a killed process wrote and did not flush is read by the next one all the same. It counts as
/// durable from now on, so it must be. The anchor vouches for what lies before it, and so does the
/// manifest.
///
/// With a page cache in between, a flush is not enough: after one that failed the kernel may call
/// pages clean that never reached the disk. So they are written again.
fn make_durable<I: Io>(
    io: &mut I,
    written: impl Iterator<Item = (u64, u64)>,
    recovered: &Recovered,
) -> io::Result<()> {
    let start = (recovered.start.segment.max(1), recovered.start.offset);
    let (first, proven) = match recovered.anchor.newest() {
        Some(anchor) if anchor.segment <= recovered.segment => {
            (anchor.segment, anchor.offset).max(start)
        }
        _ => start,
    };
    for (number, size) in written.filter(|(number, _)| *number >= first) {
        if !io.facts().is_direct {
            write_again(io, number, if number == first { proven } else { 0 }, size)?;
        }
        io.flush(number)?;
    }
    Ok(())
}

/// Writes a part of a segment over itself.
fn write_again<I: Io>(io: &mut I, segment: u64, from: u64, to: u64) -> io::Result<()> {
    let mut region = Region::new(AGAIN_BYTES)?;
    let mut offset = from;
    while offset < to {
        let bytes = usize::try_from(to - offset).map_or(AGAIN_BYTES, |left| left.min(AGAIN_BYTES));
        io.read(Transfer { ticket: 0, segment, offset, region, from: 0, bytes });
        let transfer = transferred(io)?;
        io.overwrite(transfer);
        region = transferred(io)?.region;
        offset += bytes as u64;
    }
    Ok(())
}

/// Waits for the one transfer that is under way.
fn transferred<I: Io>(io: &mut I) -> io::Result<Transfer> {
    loop {
        match io.complete() {
            Some(
                Completion::Read { transfer, result }
                | Completion::Overwritten { transfer, result },
            ) => return result.map(|()| transfer),
            Some(other) => unreachable!("nothing else is under way: {other:?}"),
            None => io.wait()?,
        }
    }
}

/// Replays what continues, up to the next obstacle.
fn follow<I: Io>(
    walk: &mut Walk<'_, I>,
    settings: &RecoverySettings,
    replay: &mut dyn Replay,
    skipped: &mut Vec<u64>,
) -> Result<(), RecoveryError> {
    let shard = walk.identity().shard;
    // What went missing on the way is all behind the walk: it mends when it has come to an end.
    let has_losses = !walk.losses().is_empty();
    while let Some(found) = walk.next()? {
        let Found::Batch(batch) = found else { continue };
        let before = skipped.len();
        let header = batch.header();
        settings.progress.advance(header.bytes as u64, header.frames.into());
        for frame in batch.frames() {
            let sequence = frame.sequence;
            if let Err(reason) = replay.apply(frame) {
                if !has_losses && !settings.skip_sequences.contains(&sequence) {
                    return Err(RecoveryError::Apply { shard, sequence, reason });
                }
                skipped.push(sequence);
            }
        }
        for &sequence in &skipped[before..] {
            walk.skip(sequence)?;
        }
    }
    Ok(())
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
