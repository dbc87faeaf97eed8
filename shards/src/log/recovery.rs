//! Reading a log back: replay what verifies, cut a torn tail, refuse damage.
//!
//! Recovery walks the segments in order and applies every batch that continues the one before it:
//! right place, next sequence, matching chain, every frame intact. Where the walk stops, what lies
//! behind decides:
//!
//! | next segment's header | later batch calls the missing sequence durable | verdict |
//! |---|---|---|
//! | continues the chain | – | a full segment: walk on |
//! | anything else, or none | no | **end**: cut what is there, it was never acknowledged |
//! | anything else, or none | yes | **damage**: refuse, and name what is lost |
//!
//! "Later batch" is any batch header of this store, shard and place that verifies, in the rest of
//! the segment or in a later one. Writes in flight may reach the disk in any order, so intact
//! batches behind a hole are no proof of damage; only their durable sequence is.
//!
//! Cutting writes zeros over the rest of the segment and flushes before anything new is written, so
//! that no leftover can ever be taken for a later batch.

use std::io;

use thiserror::Error;

use super::{Log, LogIdentity, LogSettings};
use crate::arena::Region;
use crate::format::{
    BatchHeader, BatchView, Frame, HeaderError, SEGMENT_HEADER_BYTES, SegmentHeader,
};
use crate::io::{Completion, Io};
use crate::limits::{BATCH_BYTES_MAX, SECTOR_BYTES};

/// What is read at once.
const WINDOW_BYTES: usize = 8 << 20;

const _: () = assert!(BATCH_BYTES_MAX <= WINDOW_BYTES);

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
    pub torn_tail: Option<TornTail>,
}

/// Bytes behind the last acknowledged batch that were cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TornTail {
    pub segment: u64,
    pub offset: u64,
    /// From there to the last byte that was not zero, later segments included.
    pub bytes: u64,
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
    /// Replays the log into `visit` and opens it for writing.
    pub fn open(
        mut io: I,
        identity: LogIdentity,
        settings: LogSettings,
        visit: Visitor<'_>,
    ) -> Result<(Self, Recovered), RecoveryError> {
        let mut recovered = Walk::new(&mut io, identity)?.run(visit)?;
        if recovered.segment == 0 {
            prepare_first(&mut io, identity)?;
            recovered.segment = 1;
        }
        let log = Self::new(io, identity, settings, &recovered)?;
        Ok((log, recovered))
    }
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

/// A view into a segment that is read piece by piece.
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

struct Walk<'a, I> {
    io: &'a mut I,
    identity: LogIdentity,
    window: Window,
    /// Number and size of each segment file.
    segments: Vec<(u64, u64)>,
    at: Recovered,
}

impl<'a, I: Io> Walk<'a, I> {
    fn new(io: &'a mut I, identity: LogIdentity) -> Result<Self, RecoveryError> {
        let segments = io.segments()?;
        for (nth, &(segment, _)) in segments.iter().enumerate() {
            let expected = nth as u64 + 1;
            if segment != expected {
                return Err(RecoveryError::Missing { segment: expected });
            }
        }
        let region = Region::new(WINDOW_BYTES)?;
        let window = Window { region, segment: 0, from: 0, bytes: 0 };
        let at = Recovered {
            segment: 0,
            offset: 0,
            next_sequence: 1,
            chain: 0,
            segments: 0,
            frames: 0,
            bytes: 0,
            torn_tail: None,
        };
        Ok(Self { io, identity, window, segments, at })
    }

    fn run(mut self, visit: Visitor<'_>) -> Result<Recovered, RecoveryError> {
        for nth in 0..self.segments.len() {
            let file = self.segments[nth];
            if !self.enter(file)? {
                break;
            }
            while self.step(file, visit)? {}
        }
        self.finish()
    }

    /// Reads a segment's header; whether it continues the log.
    fn enter(&mut self, file: (u64, u64)) -> Result<bool, RecoveryError> {
        let (segment, size) = file;
        if size < (SEGMENT_HEADER_BYTES + SECTOR_BYTES) as u64 {
            return Ok(false);
        }
        let block = self.window.get(self.io, file, 0, SEGMENT_HEADER_BYTES)?;
        let block = block.first_chunk().expect("the file is larger than its header");
        let refuse = |error| RecoveryError::Header { segment, error };
        let header = match SegmentHeader::decode(block) {
            Ok(header) => header,
            Err(error @ HeaderError::Version { .. }) => return Err(refuse(error)),
            Err(_) => return Ok(false),
        };
        let LogIdentity { store_id, shard, .. } = self.identity;
        header.check_place(&store_id, shard, segment).map_err(refuse)?;
        let continues =
            header.first_sequence == self.at.next_sequence && header.chain == self.at.chain;
        if continues {
            self.at.segment = segment;
            self.at.offset = SEGMENT_HEADER_BYTES as u64;
            self.at.segments += 1;
        }
        Ok(continues)
    }

    /// Applies the next batch of the segment; whether there was one.
    fn step(&mut self, file: (u64, u64), visit: Visitor<'_>) -> Result<bool, RecoveryError> {
        let (segment, size) = file;
        let offset = self.at.offset;
        if offset + SECTOR_BYTES as u64 > size {
            return Ok(false);
        }
        let head = self.window.get(self.io, file, offset, SECTOR_BYTES)?;
        let Some(header) = BatchHeader::decode(head, &self.identity.store_id) else {
            return Ok(false);
        };
        let continues = (header.shard, header.segment, header.offset)
            == (self.identity.shard, segment, offset)
            && header.first_sequence == self.at.next_sequence
            && header.chain_before == self.at.chain;
        if !continues {
            return Ok(false);
        }
        let padded = header.bytes.next_multiple_of(SECTOR_BYTES);
        let bytes = self.window.get(self.io, file, offset, padded)?;
        let Ok(batch) = BatchView::verify(header, bytes) else {
            return Ok(false);
        };
        for frame in batch.frames() {
            let sequence = frame.sequence;
            visit(frame).map_err(|reason| RecoveryError::Apply { sequence, reason })?;
        }
        self.at.next_sequence += u64::from(header.frames);
        self.at.chain = header.chain_after;
        self.at.offset += padded as u64;
        self.at.frames += u64::from(header.frames);
        self.at.bytes += padded as u64;
        Ok(true)
    }

    /// Judges what lies behind the end of the walk and cuts it.
    fn finish(mut self) -> Result<Recovered, RecoveryError> {
        let (segment, offset) = (self.at.segment, self.at.offset);
        let mut durable = 0;
        let mut torn_bytes = 0;
        let mut tail_is_dirty = false;
        for file in self.segments.clone() {
            if file.0 < segment {
                continue;
            }
            let from = if file.0 == segment { offset } else { 0 };
            let behind = self.look_behind(file, from)?;
            durable = durable.max(behind.durable);
            torn_bytes += behind.dirty_bytes;
            tail_is_dirty |= file.0 == segment && behind.dirty_bytes > 0;
        }
        if durable >= self.at.next_sequence {
            let (first, last) = (self.at.next_sequence, durable);
            // Without any readable segment the first one is at fault.
            let segment = segment.max(1);
            return Err(RecoveryError::Damage { segment, offset, first, last });
        }
        if tail_is_dirty {
            self.io.erase_from(segment, offset)?;
        }
        for &(number, _) in self.segments.iter().rev() {
            if number > segment {
                self.io.remove(number)?;
            }
        }
        if torn_bytes > 0 {
            self.at.torn_tail = Some(TornTail { segment, offset, bytes: torn_bytes });
        }
        Ok(self.at)
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
