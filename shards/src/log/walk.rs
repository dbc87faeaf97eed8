//! The one way through a log that was written, for recovery and for the inspector.
//!
//! A walk goes through the segments in order and takes every batch that continues the one before
//! it: right place, next sequence, matching chain, every frame intact. Where it stops, what lies
//! behind decides:
//!
//! | next segment's header | later batch calls the missing sequence durable | verdict |
//! |---|---|---|
//! | continues the chain | – | a full segment: walk on |
//! | anything else, or none | no | **end**: what is there was never acknowledged |
//! | anything else, or none | yes | **damage**: acknowledged sequences cannot be read |
//!
//! "Later batch" is any batch header of this store, shard and place that verifies, in the rest of
//! the segment or in a later one. Writes in flight may reach the disk in any order, so intact
//! batches behind a hole are no proof of damage; only their durable sequence is.
//!
//! A walk changes nothing. Memory is bounded by one window, however long the log is.

use std::io;

use thiserror::Error;

use super::LogIdentity;
use super::recovery::RecoveryError;
use crate::arena::Region;
use crate::format::{
    BatchError, BatchHeader, BatchView, HeaderError, SEGMENT_HEADER_BYTES, SegmentHeader,
};
use crate::io::Io;
use crate::limits::{BATCH_BYTES_MAX, SECTOR_BYTES};

/// What is read at once.
const WINDOW_BYTES: usize = 8 << 20;

const _: () = assert!(BATCH_BYTES_MAX <= WINDOW_BYTES);

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
}

/// What lies behind the end of a walk: the last column of the table above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing but zeros.
    Clean,
    Torn(TornTail),
    /// Acknowledged sequences that cannot be read.
    Damage {
        first: u64,
        last: u64,
    },
}

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

/// See the top of the file.
#[derive(Debug)]
pub struct Walk<'a, I> {
    io: &'a mut I,
    identity: LogIdentity,
    window: Window,
    /// Number and size of each segment file, numbered from 1 without gaps.
    segments: Vec<(u64, u64)>,
    at: Reached,
    obstacle: Obstacle,
}

impl<'a, I: Io> Walk<'a, I> {
    /// Begins before the first segment.
    pub fn new(io: &'a mut I, identity: LogIdentity) -> Result<Self, RecoveryError> {
        let segments = list(io)?;
        let region = Region::new(WINDOW_BYTES)?;
        let window = Window { region, segment: 0, from: 0, bytes: 0 };
        Ok(Self { io, identity, window, segments, at: Reached::START, obstacle: Obstacle::NoBatch })
    }

    pub fn reached(&self) -> &Reached {
        &self.at
    }

    /// Number and size of each segment file, also of those that the walk does not reach.
    pub fn segments(&self) -> &[(u64, u64)] {
        &self.segments
    }

    /// Why there was no further batch when [`next`](Self::next) last answered `None`.
    pub fn obstacle(&self) -> &Obstacle {
        &self.obstacle
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
        self.segments = list(self.io)?;
        self.window.bytes = 0;
        Ok(())
    }

    /// The next segment or batch; `None` at the end of what continues.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Found<'_>>, RecoveryError> {
        if self.at.segment > 0 {
            match self.continuing_batch()? {
                Ok(header) => return self.take(header).map(|batch| Some(Found::Batch(batch))),
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

    fn file(&self, segment: u64) -> Option<(u64, u64)> {
        let nth = usize::try_from(segment).ok()?.checked_sub(1)?;
        self.segments.get(nth).copied()
    }

    /// The header of a segment; `None` when there is no such segment or it was never used.
    pub fn header(&mut self, segment: u64) -> Result<Option<SegmentHeader>, RecoveryError> {
        let Some(file) = self.file(segment) else { return Ok(None) };
        if file.1 < (SEGMENT_HEADER_BYTES + SECTOR_BYTES) as u64 {
            return Ok(None);
        }
        let block = self.window.get(self.io, file, 0, SEGMENT_HEADER_BYTES)?;
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

    /// The header of the next batch of the segment, whose frames all verify.
    fn continuing_batch(&mut self) -> Result<Result<BatchHeader, Obstacle>, RecoveryError> {
        let LogIdentity { store_id, shard, .. } = self.identity;
        let Reached { segment, offset, next_sequence, chain, .. } = self.at;
        let Some(file) = self.file(segment).filter(|file| offset + SECTOR_BYTES as u64 <= file.1)
        else {
            return Ok(Err(Obstacle::Full));
        };
        let head = self.window.get(self.io, file, offset, SECTOR_BYTES)?;
        let Some(header) = BatchHeader::decode(head, &store_id) else {
            return Ok(Err(Obstacle::NoBatch));
        };
        let continues = (header.shard, header.segment, header.offset) == (shard, segment, offset)
            && header.first_sequence == next_sequence
            && header.chain_before == chain;
        if !continues {
            return Ok(Err(Obstacle::Elsewhere));
        }
        let bytes = self.window.get(self.io, file, offset, padded(&header))?;
        Ok(BatchView::verify(header, bytes).map(|_| header).map_err(Obstacle::from))
    }

    /// Moves behind a batch that continues.
    fn take(&mut self, header: BatchHeader) -> Result<BatchView<'_>, RecoveryError> {
        let Reached { segment, offset, .. } = self.at;
        let file = self.file(segment).expect("the batch was read from it");
        let bytes = padded(&header);
        self.at.next_sequence += u64::from(header.frames);
        self.at.chain = header.chain_after;
        self.at.offset += bytes as u64;
        self.at.frames += u64::from(header.frames);
        self.at.bytes += bytes as u64;
        let bytes = self.window.get(self.io, file, offset, bytes)?;
        Ok(BatchView::trusted(bytes, &self.identity.store_id))
    }

    /// Judges what lies behind the end of the walk.
    pub fn judge(&mut self) -> Result<Verdict, RecoveryError> {
        let Reached { segment, offset, next_sequence, .. } = self.at;
        let mut durable = 0;
        let mut bytes = 0;
        for file in self.segments.clone() {
            if file.0 < segment {
                continue;
            }
            let from = if file.0 == segment { offset } else { 0 };
            let behind = self.look_behind(file, from)?;
            durable = durable.max(behind.durable);
            bytes += behind.dirty_bytes;
        }
        Ok(if durable >= next_sequence {
            Verdict::Damage { first: next_sequence, last: durable }
        } else if bytes > 0 {
            Verdict::Torn(TornTail { segment, offset, bytes })
        } else {
            Verdict::Clean
        })
    }

    /// What is in a segment from a place on: how far its last byte that is not zero is, and the
    /// highest sequence that a batch there calls durable.
    fn look_behind(&mut self, file: (u64, u64), from: u64) -> io::Result<Behind> {
        let (segment, size) = file;
        let mut behind = Behind { durable: 0, dirty_bytes: 0 };
        let mut offset = from;
        while offset + SECTOR_BYTES as u64 <= size {
            let sector = self.window.get(self.io, file, offset, SECTOR_BYTES)?;
            if let Some(last) = sector.iter().rposition(|&byte| byte != 0) {
                behind.dirty_bytes = offset - from + last as u64 + 1;
            }
            let header = BatchHeader::decode(sector, &self.identity.store_id);
            let here = (self.identity.shard, segment, offset);
            if let Some(header) = header.filter(|h| (h.shard, h.segment, h.offset) == here) {
                behind.durable = behind.durable.max(header.durable_sequence);
            }
            offset += SECTOR_BYTES as u64;
        }
        Ok(behind)
    }
}

struct Behind {
    durable: u64,
    dirty_bytes: u64,
}

fn padded(header: &BatchHeader) -> usize {
    header.bytes.next_multiple_of(SECTOR_BYTES)
}

/// The segment files with their sizes in whole sectors, which is how they are read.
fn list<I: Io>(io: &mut I) -> Result<Vec<(u64, u64)>, RecoveryError> {
    let mut segments = io.segments()?;
    for (nth, (segment, size)) in segments.iter_mut().enumerate() {
        let expected = nth as u64 + 1;
        if *segment != expected {
            return Err(RecoveryError::Missing { segment: expected });
        }
        *size -= *size % SECTOR_BYTES as u64;
    }
    Ok(segments)
}

/// A view into a segment that is read piece by piece.
#[derive(Debug)]
struct Window {
    region: Region,
    segment: u64,
    from: u64,
    bytes: usize,
}

impl Window {
    /// The bytes at a place, up to `bytes` of them, fewer at the end of the segment.
    fn get<I: Io>(
        &mut self,
        io: &mut I,
        (segment, size): (u64, u64),
        offset: u64,
        bytes: usize,
    ) -> io::Result<&[u8]> {
        let bytes = usize::try_from(size - offset).map_or(bytes, |left| left.min(bytes));
        let inside = self.segment == segment
            && self.from <= offset
            && offset + bytes as u64 <= self.from + self.bytes as u64;
        if !inside {
            let left = usize::try_from(size - offset).unwrap_or(WINDOW_BYTES);
            self.bytes = left.min(WINDOW_BYTES);
            self.segment = segment;
            self.from = offset;
            io.read(segment, offset, &mut self.region, self.bytes)?;
        }
        let at = usize::try_from(offset - self.from).expect("inside the window");
        Ok(&self.region[at..at + bytes])
    }
}
