//! The one way through a log that was written, for recovery and for the inspector.
//!
//! A walk begins before the first segment, or at the place from which the log is needed, and takes
//! every batch that continues the one before it: right place, next sequence, matching chain, every
//! frame intact. It never looks before that place. Where it stops, what lies behind decides:
//!
//! | next segment's header | later batch calls the missing sequence durable | verdict |
//! |---|---|---|
//! | continues the chain | – | a full segment: walk on |
//! | anything else, or none | no | **end**: what is there was never acknowledged |
//! | anything else, or none | yes | **damage**: acknowledged sequences cannot be read |
//!
//! "Later batch" is any batch header of this store, shard and place that verifies, in the rest of
//! the segment or in a later one; the anchor counts as one. Writes in flight may reach the disk in
//! any order, so intact batches behind a hole are no proof of damage; only their durable sequence
//! is. There is one more proof. A segment was all zeros before it was written, and a disk writes
//! [`ATOM_BYTES`] at once or not at all: a batch that fails although none of it is missing was not
//! torn, it was damaged, even if nothing later says that it had been durable.
//!
//! A walk changes nothing on disk. Damage can be mended in memory ([`Walk::mend`]), and the walk
//! goes on behind it. Memory is bounded by the reads ahead and the segments that were mended.

use std::collections::BTreeMap;
use std::io;

use thiserror::Error;

use super::LogIdentity;
use super::read_ahead::{ReadAhead, size_of_segment};
use super::recovery::RecoveryError;
use super::verdict::{Ending, Evidence};
use crate::format::{
    Anchor, BatchError, BatchHeader, BatchView, HeaderError, LogPlace, SEGMENT_HEADER_BYTES,
    SegmentHeader, SlotState, Slots,
};
use crate::io::{Io, SlotFile};
use crate::limits::SECTOR_BYTES;

/// Segments in a row that may be missing; beyond that the folder is not a log.
const MISSING_MAX: usize = 1024;

/// What a walk comes across, in order.
#[derive(Debug)]
pub enum Found<'a> {
    /// A segment that continues the log.
    Segment(SegmentHeader),
    /// The next batch; every frame in it verifies.
    Batch(BatchView<'a>),
}

/// How far a walk has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// 0 before the first segment.
    pub segment: u64,
    /// Where the next batch would begin.
    pub offset: u64,
    pub next_sequence: u64,
    /// The checksum of the last frame, which the next one continues.
    pub chain: u32,
    /// What this walk went through.
    pub segments: u64,
    pub frames: u64,
    pub bytes: u64,
}

impl Reached {
    /// Before the first segment of any log.
    pub const START: Self = Self {
        segment: 0,
        offset: 0,
        next_sequence: 1,
        chain: 0,
        segments: 0,
        frames: 0,
        bytes: 0,
    };

    /// At a place from which the log is needed.
    fn at(place: &LogPlace) -> Self {
        let LogPlace { through_sequence, chain, segment, offset } = *place;
        match through_sequence {
            0 => Self::START,
            through => Self { segment, offset, next_sequence: through + 1, chain, ..Self::START },
        }
    }
}

/// What lies behind the end of a walk: the last column of the table above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing but zeros.
    Clean,
    Torn(TornTail),
    /// Sequences that cannot be read though they were acknowledged, or may have been.
    Damage {
        first: u64,
        last: u64,
    },
}

/// Sequences that are not in the log any more: what stands there now is a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    pub segment: u64,
    /// Where in the segment the gap stands.
    pub offset: u64,
    pub first: u64,
    pub last: u64,
}

/// What the file of anchors is worth. Without one, that nothing is missing at the end of the log
/// cannot be proven.
pub type AnchorState = SlotState<Anchor>;

/// Bytes behind the last acknowledged batch that were never acknowledged themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TornTail {
    pub segment: u64,
    pub offset: u64,
    /// From there to the last byte that is not zero, later segments included.
    pub bytes: u64,
}

/// Why a walk found no further batch in its segment.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Obstacle {
    #[error("the segment is full")]
    Full,
    #[error("no batch begins there")]
    NoBatch,
    #[error("the batch there continues another one")]
    Elsewhere,
    #[error(transparent)]
    Batch(#[from] BatchError),
}

/// What a disk writes at once or not at all.
const ATOM_BYTES: usize = 512;

/// See the top of the file.
#[derive(Debug)]
pub struct Walk<'a, I: Io> {
    io: &'a mut I,
    identity: LogIdentity,
    ahead: ReadAhead,
    first_segment: u64,
    /// Number and size of each segment file from the first that is needed, numbered without gaps;
    /// a file that is missing has no bytes.
    segments: Vec<(u64, u64)>,
    missing: Vec<u64>,
    anchor: AnchorState,
    /// Segments that were mended: what they should hold.
    mended: BTreeMap<u64, Vec<u8>>,
    losses: Vec<Loss>,
    at: Reached,
    /// Where the last batch begins, which is in `at.segment`.
    last_batch: u64,
    obstacle: Obstacle,
}

impl<'a, I: Io> Walk<'a, I> {
    /// Begins at a place from which the log is needed.
    pub fn new(
        io: &'a mut I,
        identity: LogIdentity,
        place: &LogPlace,
    ) -> Result<Self, RecoveryError> {
        let at = Reached::at(place);
        let first_segment = at.segment.max(1);
        let (mut segments, mut missing) = list(io, first_segment)?;
        if segments.is_empty() && at.segment > 0 {
            segments.push((first_segment, 0));
            missing.push(first_segment);
        }
        let anchor = read_anchors(io, &identity)?;
        Ok(Self {
            io,
            identity,
            ahead: ReadAhead::default(),
            first_segment,
            segments,
            missing,
            anchor,
            mended: BTreeMap::new(),
            losses: Vec::new(),
            at,
            last_batch: 0,
            obstacle: Obstacle::NoBatch,
        })
    }

    pub fn reached(&self) -> &Reached {
        &self.at
    }

    /// Number and size of each segment file from the first that is needed, also of those that the
    /// walk does not reach; a missing one has no bytes.
    pub fn segments(&self) -> &[(u64, u64)] {
        &self.segments
    }

    /// The segments whose files are missing.
    pub fn missing(&self) -> &[u64] {
        &self.missing
    }

    pub fn anchor(&self) -> &AnchorState {
        &self.anchor
    }

    /// What was mended so far has lost.
    pub fn losses(&self) -> &[Loss] {
        &self.losses
    }

    /// Ends the walk; the segments that were mended, and what they should hold.
    pub fn into_mended(mut self) -> BTreeMap<u64, Vec<u8>> {
        std::mem::take(&mut self.mended)
    }

    /// Why there was no further batch when [`next`](Self::next) last answered `None`.
    pub fn obstacle(&self) -> &Obstacle {
        &self.obstacle
    }

    /// The number of the last segment file.
    pub fn last_segment(&self) -> u64 {
        self.segments.last().map_or(0, |(last, _)| *last)
    }

    /// Goes to just before a later segment, trusting its header for all that came before.
    pub fn skip_to(&mut self, segment: u64) -> Result<(), RecoveryError> {
        let header = self.header(segment)?.ok_or(RecoveryError::Missing { segment })?;
        let SegmentHeader { first_sequence, chain, .. } = header;
        self.at.segment = segment - 1;
        // No batch begins behind the end of the segment before.
        self.at.offset = u64::MAX - SECTOR_BYTES as u64;
        (self.at.next_sequence, self.at.chain) = (first_sequence, chain);
        Ok(())
    }

    /// Forgets what was read and lists the segments again. A walk through a log that is being
    /// written may go on after it.
    pub fn refresh(&mut self) -> Result<(), RecoveryError> {
        self.ahead.forget(self.io);
        (self.segments, self.missing) = list(self.io, self.first_segment)?;
        self.anchor = read_anchors(self.io, &self.identity)?;
        Ok(())
    }

    /// The next segment or batch; `None` at the end of what continues.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Found<'_>>, RecoveryError> {
        if self.at.segment > 0 {
            match self.continuing_batch()? {
                Ok((header, next)) => {
                    return self.take(header, next).map(|batch| Some(Found::Batch(batch)));
                }
                Err(obstacle) => self.obstacle = obstacle,
            }
        }
        let segment = self.at.segment + 1;
        let Reached { next_sequence, chain, .. } = self.at;
        let continues = |header: &SegmentHeader| {
            header.first_sequence == next_sequence && header.chain == chain
        };
        let Some(header) = self.header(segment)?.filter(continues) else { return Ok(None) };
        self.at.segment = segment;
        self.at.offset = SEGMENT_HEADER_BYTES as u64;
        self.at.segments += 1;
        Ok(Some(Found::Segment(header)))
    }

    pub(super) fn identity(&self) -> LogIdentity {
        self.identity
    }

    /// Where the last batch of the walk begins, in the segment it has reached.
    pub(super) fn last_batch(&self) -> u64 {
        self.last_batch
    }

    pub(super) fn holds(&self, segment: u64) -> bool {
        self.mended.contains_key(&segment)
    }

    pub(super) fn put_held(&mut self, segment: u64, bytes: Vec<u8>) {
        self.mended.insert(segment, bytes);
    }

    /// A segment that is held in memory, to be mended.
    pub(super) fn held(&mut self, segment: u64) -> &mut [u8] {
        self.mended.get_mut(&segment).expect("held before it is mended")
    }

    pub(super) fn lose(&mut self, losses: Vec<Loss>) {
        self.losses.extend(losses);
    }

    /// The size of a segment; a missing one has no bytes.
    pub(super) fn size(&self, segment: u64) -> u64 {
        if let Some(bytes) = self.mended.get(&segment) {
            return bytes.len() as u64;
        }
        size_of_segment(&self.segments, segment)
    }

    /// The bytes at a place, up to `bytes` of them, fewer at the end of the segment.
    pub(super) fn get(&mut self, segment: u64, offset: u64, bytes: usize) -> io::Result<&[u8]> {
        match self.mended.get(&segment) {
            Some(mended) => {
                let from = usize::try_from(offset).map_or(mended.len(), |at| at.min(mended.len()));
                Ok(&mended[from..mended.len().min(from + bytes)])
            }
            None => self.ahead.get(self.io, &self.segments, segment, offset, bytes),
        }
    }

    /// The header of a segment; `None` when there is no such segment or it was never used.
    pub fn header(&mut self, segment: u64) -> Result<Option<SegmentHeader>, RecoveryError> {
        if self.size(segment) < (SEGMENT_HEADER_BYTES + SECTOR_BYTES) as u64 {
            return Ok(None);
        }
        let block = self.get(segment, 0, SEGMENT_HEADER_BYTES)?;
        let block = block.first_chunk().expect("the file is larger than its header");
        let refuse = |error| RecoveryError::Header { segment, error };
        let header = match SegmentHeader::decode(block) {
            Ok(header) => header,
            Err(error @ HeaderError::Version { .. }) => return Err(refuse(error)),
            Err(_) => return Ok(None),
        };
        let LogIdentity { store_id, shard, .. } = self.identity;
        header.check_place(&store_id, shard, segment).map_err(refuse)?;
        Ok(Some(header))
    }

    /// The header of the next batch of the segment, whose frames all verify, and the sequence that
    /// the batch behind it begins with.
    #[allow(clippy::type_complexity)]
    fn continuing_batch(&mut self) -> Result<Result<(BatchHeader, u64), Obstacle>, RecoveryError> {
        let LogIdentity { store_id, shard, .. } = self.identity;
        let Reached { segment, offset, next_sequence, chain, .. } = self.at;
        if offset.saturating_add(SECTOR_BYTES as u64) > self.size(segment) {
            return Ok(Err(Obstacle::Full));
        }
        let head = self.get(segment, offset, SECTOR_BYTES)?;
        let Some(header) = BatchHeader::decode(head, &store_id) else {
            return Ok(Err(Obstacle::NoBatch));
        };
        let continues = (header.shard, header.segment, header.offset) == (shard, segment, offset)
            && header.first_sequence == next_sequence
            && header.chain_before == chain;
        if !continues {
            return Ok(Err(Obstacle::Elsewhere));
        }
        let bytes = self.get(segment, offset, padded(&header))?;
        let verified = BatchView::verify(header, bytes, &store_id);
        Ok(verified.map(|batch| (header, batch.next_sequence())).map_err(Obstacle::from))
    }

    /// Moves behind a batch that continues.
    fn take(&mut self, header: BatchHeader, next: u64) -> Result<BatchView<'_>, RecoveryError> {
        let Reached { segment, offset, .. } = self.at;
        let bytes = padded(&header);
        self.at.next_sequence = next;
        self.at.chain = header.chain_after;
        self.at.offset += bytes as u64;
        self.at.frames += u64::from(header.frames);
        self.at.bytes += bytes as u64;
        self.last_batch = offset;
        let bytes = self.get(segment, offset, bytes)?;
        Ok(BatchView::verified(header, next, bytes))
    }

    /// Judges what lies behind the end of the walk.
    pub fn judge(&mut self) -> Result<Verdict, RecoveryError> {
        let Reached { segment, offset, next_sequence, .. } = self.at;
        let mut durable = self.anchor.newest().map_or(0, |anchor| anchor.durable_sequence);
        let mut bytes = 0;
        for (number, size) in self.segments.clone() {
            if number < segment {
                continue;
            }
            let from = if number == segment { offset } else { 0 };
            let behind = self.look_behind((number, size), from)?;
            durable = durable.max(behind.durable);
            bytes += behind.dirty_bytes;
        }
        let whole = if bytes > 0 { self.damaged_not_torn()? } else { None };
        let evidence = Evidence {
            is_called_durable: durable >= next_sequence,
            is_whole_and_fails: whole.is_some(),
            is_dirty: bytes > 0,
        };
        Ok(match evidence.ending() {
            Ending::Clean => Verdict::Clean,
            Ending::Torn => Verdict::Torn(TornTail { segment, offset, bytes }),
            Ending::Damage => {
                let last = durable.max(whole.unwrap_or(0));
                Verdict::Damage { first: next_sequence, last }
            }
        })
    }

    /// Whether the batch at the end of the walk was damaged rather than torn: the last sequence
    /// that it holds, as far as that can be told.
    fn damaged_not_torn(&mut self) -> io::Result<Option<u64>> {
        let LogIdentity { store_id, shard, .. } = self.identity;
        let Reached { segment, offset, next_sequence, chain, .. } = self.at;
        if segment == 0 {
            return Ok(None);
        }
        let head = self.get(segment, offset, SECTOR_BYTES)?;
        let Some(header) = BatchHeader::decode(head, &store_id) else {
            let is_there = head.first_chunk::<ATOM_BYTES>().is_some_and(|atom| !is_zero(atom));
            return Ok(is_there.then_some(next_sequence));
        };
        let continues = (header.shard, header.segment, header.offset) == (shard, segment, offset)
            && (header.first_sequence, header.chain_before) == (next_sequence, chain);
        if !continues {
            return Ok(None);
        }
        let bytes = self.get(segment, offset, header.bytes)?;
        let is_whole = bytes.len() == header.bytes && !bytes.chunks(ATOM_BYTES).any(is_zero);
        Ok(is_whole.then(|| header.first_sequence + u64::from(header.frames.max(1)) - 1))
    }

    /// What is in a segment from a place on: how far its last byte that is not zero is, and the
    /// highest sequence that a batch there calls durable.
    fn look_behind(&mut self, (segment, size): (u64, u64), from: u64) -> io::Result<Behind> {
        let LogIdentity { store_id, shard, .. } = self.identity;
        let mut behind = Behind { durable: 0, dirty_bytes: 0 };
        let mut offset = from;
        while offset + SECTOR_BYTES as u64 <= size {
            let sector = self.get(segment, offset, SECTOR_BYTES)?;
            if !is_zero(sector) {
                let last = sector.iter().rposition(|&byte| byte != 0).unwrap_or(0);
                behind.dirty_bytes = offset - from + last as u64 + 1;
                let header = BatchHeader::decode(sector, &store_id);
                let here = (shard, segment, offset);
                if let Some(header) = header.filter(|h| (h.shard, h.segment, h.offset) == here) {
                    behind.durable = behind.durable.max(header.durable_sequence);
                }
            }
            offset += SECTOR_BYTES as u64;
        }
        Ok(behind)
    }
}

impl<I: Io> Drop for Walk<'_, I> {
    /// Whoever uses the disk next must not meet the reads of this walk.
    fn drop(&mut self) {
        self.ahead.forget(self.io);
    }
}

struct Behind {
    durable: u64,
    dirty_bytes: u64,
}

pub(super) fn padded(header: &BatchHeader) -> usize {
    header.bytes.next_multiple_of(SECTOR_BYTES)
}

pub(super) fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(256).all(|chunk| chunk.iter().fold(0, |all, &byte| all | byte) == 0)
}

/// The segment files from one on with their sizes in whole sectors, which is how they are read, and
/// the numbers of those that are missing.
#[allow(clippy::type_complexity)]
fn list<I: Io>(io: &mut I, first: u64) -> Result<(Vec<(u64, u64)>, Vec<u64>), RecoveryError> {
    let mut segments = Vec::new();
    let mut missing = Vec::new();
    for (segment, size) in io.segments()?.into_iter().filter(|(segment, _)| *segment >= first) {
        while first + (segments.len() as u64) < segment {
            missing.push(first + segments.len() as u64);
            segments.push((first + segments.len() as u64, 0));
            if missing.len() > MISSING_MAX {
                return Err(RecoveryError::Missing { segment: missing[0] });
            }
        }
        segments.push((segment, size - size % SECTOR_BYTES as u64));
    }
    Ok((segments, missing))
}

fn read_anchors<I: Io>(io: &mut I, identity: &LogIdentity) -> io::Result<AnchorState> {
    let bytes = io.slots(SlotFile::Anchors)?;
    Ok(Slots::read(bytes.as_deref(), &identity.store_id, identity.shard).state)
}
