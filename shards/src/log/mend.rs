//! Mending a damaged stretch of a segment: what verifies stays, the rest becomes gaps.
//!
//! This works on bytes in memory and decides nothing; [`Walk`](super::Walk) finds the stretch and
//! what lies beyond it, recovery decides whether the result is written. Three things are trusted,
//! because a checksum seeded with the store's id covers them or leads up to them: the chain up to
//! the stretch, the header of a batch that verifies, and where the log goes on beyond. So
//!
//! * a batch whose header is lost is read frame by frame as long as the chain holds;
//! * a batch whose header verifies keeps every frame that verifies against the frame before it, as
//!   long as lengths and sequences lead to the end that the header gives;
//! * nothing is ever looked for at other places: a text may contain bytes that look like a frame.

use super::walk::Loss;
use crate::format::{
    BATCH_HEADER_BYTES, BatchHeader, FrameScan, GAP_FRAME_BYTES, Gap, GapReason, ScannedFrame,
    StoreId,
};
use crate::limits::{BATCH_BYTES_MAX, SECTOR_BYTES};

/// Where the log goes on: the next sequence and the chain value in front of it. Without one nothing
/// follows, and any will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Beyond {
    pub(super) sequence: u64,
    pub(super) chain: Option<u32>,
}

/// A stretch of a segment to mend, and how far the log got before it.
#[derive(Debug)]
pub(super) struct Stretch<'a> {
    pub(super) store_id: &'a StoreId,
    pub(super) shard: u32,
    pub(super) segment: u64,
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) sequence: u64,
    pub(super) chain: u32,
    /// Whether a batch stands at `to`: then the stretch must lead up to it.
    pub(super) has_batch_behind: bool,
}

/// There is no room in the stretch for what must stand there. Only contradicting files lead here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unmendable;

/// Rewrites a stretch of the segment in `bytes`. With `beyond`, everything up to it that is not
/// found is lost.
pub(super) fn mend(
    bytes: &mut [u8],
    stretch: &Stretch<'_>,
    beyond: Option<Beyond>,
) -> Result<Vec<Loss>, Unmendable> {
    let old = bytes[stretch.from..stretch.to].to_vec();
    bytes[stretch.from..stretch.to].fill(0);
    let mut writer = Writer {
        bytes,
        stretch,
        at: stretch.from,
        sequence: stretch.sequence,
        chain: stretch.chain,
        losses: Vec::new(),
    };
    let limit = beyond.filter(|beyond| beyond.chain.is_some()).map_or(u64::MAX, |b| b.sequence);
    let mut place = 0;
    while place < old.len() && writer.sequence < limit {
        let found = salvage(&old[place..], &writer, stretch.from + place, limit);
        if found.frames.is_empty() && found.beyond.is_none() {
            break;
        }
        place += found.padded;
        writer.put(found.frames, found.beyond)?;
    }
    if let Some(beyond) = beyond {
        if writer.sequence < beyond.sequence {
            writer.put(Vec::new(), Some(beyond))?;
        }
        if beyond.chain.is_some_and(|chain| (writer.sequence, writer.chain) != (limit, chain)) {
            return Err(Unmendable);
        }
    }
    writer.fill();
    Ok(writer.losses)
}

/// A frame that stays, or the gap that takes its place.
enum Piece<'a> {
    Kept { bytes: &'a [u8], next_sequence: u64, chain: u32 },
    Lost { bytes: usize, sequence: u64, chain: u32 },
}

/// What can be told about one batch.
struct Salvaged<'a> {
    frames: Vec<Piece<'a>>,
    /// Where its header says that the log goes on behind it, if not all of it is in `frames`.
    beyond: Option<Beyond>,
    /// Where the next batch would begin.
    padded: usize,
}

fn salvage<'a>(old: &'a [u8], writer: &Writer<'_, '_>, offset: usize, limit: u64) -> Salvaged<'a> {
    let Stretch { store_id, shard, segment, .. } = *writer.stretch;
    let here = (shard, segment, offset as u64, writer.sequence, writer.chain);
    let header = BatchHeader::decode(old, store_id).filter(|header| {
        let BatchHeader { shard, segment, offset, first_sequence, chain_before, .. } = *header;
        (shard, segment, offset, first_sequence, chain_before) == here && header.bytes <= old.len()
    });
    let end = header.map_or(old.len().min(BATCH_BYTES_MAX), |header| header.bytes);
    let mut scan = FrameScan {
        rest: old.get(BATCH_HEADER_BYTES..end).unwrap_or_default(),
        sequence: writer.sequence,
        chain: writer.chain,
        store_id: *store_id,
    };
    let mut frames = Vec::new();
    let (mut sound, mut used) = (0, BATCH_HEADER_BYTES);
    while scan.sequence < limit {
        let rest = scan.rest;
        let Ok(frame) = scan.next() else { break };
        // Without a header nothing says where a frame that fails ends.
        if !frame.verifies && header.is_none() {
            break;
        }
        let ScannedFrame { sequence, next_sequence, bytes, chain, verifies } = frame;
        used += bytes;
        frames.push(match verifies {
            true => Piece::Kept { bytes: &rest[..bytes], next_sequence, chain },
            false => Piece::Lost { bytes, sequence, chain },
        });
        if verifies && sound + 1 == frames.len() {
            sound = frames.len();
        }
    }
    let Some(header) = header else {
        // The frames end in the zeros in front of the next batch, or in damage.
        return Salvaged { frames, beyond: None, padded: used.next_multiple_of(SECTOR_BYTES) };
    };
    let padded = end.next_multiple_of(SECTOR_BYTES);
    if scan.rest.is_empty() && frames.len() == header.frames as usize {
        if let Some(Piece::Lost { chain, .. }) = frames.last_mut() {
            *chain = header.chain_after;
        }
        return Salvaged { frames, beyond: None, padded };
    }
    // Lengths that lead nowhere make everything behind the first sound frames doubtful.
    frames.truncate(sound);
    let sequence = (header.first_sequence + u64::from(header.frames)).min(limit);
    let beyond = Some(Beyond { sequence, chain: Some(header.chain_after) });
    Salvaged { frames, beyond, padded }
}

struct Writer<'a, 'b> {
    bytes: &'a mut [u8],
    stretch: &'a Stretch<'b>,
    at: usize,
    sequence: u64,
    chain: u32,
    losses: Vec<Loss>,
}

impl Writer<'_, '_> {
    /// Writes a batch of these frames, and of a gap behind them that leads to `beyond`.
    fn put(&mut self, frames: Vec<Piece<'_>>, beyond: Option<Beyond>) -> Result<(), Unmendable> {
        let (first_sequence, chain_before) = (self.sequence, self.chain);
        let mut count = frames.len();
        let mut end = self.at + BATCH_HEADER_BYTES;
        for frame in frames {
            let from = end;
            match frame {
                Piece::Kept { bytes, next_sequence, chain } => {
                    end += bytes.len();
                    let room = self.bytes.get_mut(from..end).ok_or(Unmendable)?;
                    room.copy_from_slice(bytes);
                    (self.sequence, self.chain) = (next_sequence, chain);
                }
                Piece::Lost { bytes, sequence, chain } => {
                    end += bytes;
                    let beyond = Beyond { sequence: sequence + 1, chain: Some(chain) };
                    self.put_gap(from, end, beyond)?;
                }
            }
        }
        if let Some(beyond) = beyond.filter(|beyond| beyond.sequence > self.sequence) {
            count += 1;
            end += GAP_FRAME_BYTES;
            self.put_gap(end - GAP_FRAME_BYTES, end, beyond)?;
        }
        let padded = end.next_multiple_of(SECTOR_BYTES);
        if padded > self.stretch.to || end - self.at > BATCH_BYTES_MAX {
            return Err(Unmendable);
        }
        self.seal(first_sequence, chain_before, end - self.at, count);
        self.at = padded;
        Ok(())
    }

    fn put_gap(&mut self, from: usize, end: usize, beyond: Beyond) -> Result<(), Unmendable> {
        let (first, last) = (self.sequence, beyond.sequence - 1);
        let chain = beyond.chain.unwrap_or(self.chain);
        let gap = Gap { through: last, reason: GapReason::Lost };
        let room = self.bytes.get_mut(from..end).ok_or(Unmendable)?;
        gap.write(room, first, chain, self.stretch.store_id);
        let segment = self.stretch.segment;
        self.losses.push(Loss { segment, offset: from as u64, first, last });
        (self.sequence, self.chain) = (beyond.sequence, chain);
        Ok(())
    }

    /// Writes the header of a batch of `count` frames at the present place.
    fn seal(&mut self, first_sequence: u64, chain_before: u32, bytes: usize, count: usize) {
        let header = BatchHeader {
            bytes,
            first_sequence,
            frames: u32::try_from(count).expect("a batch has fewer frames than bytes"),
            chain_before,
            chain_after: self.chain,
            durable_sequence: first_sequence - 1,
            segment: self.stretch.segment,
            offset: self.at as u64,
            shard: self.stretch.shard,
        };
        let room = &mut self.bytes[self.at..self.at + BATCH_HEADER_BYTES];
        room.copy_from_slice(&header.encode(self.stretch.store_id));
    }

    /// Leads up to the batch behind the stretch with batches of no frames, a sector each.
    fn fill(&mut self) {
        while self.stretch.has_batch_behind && self.at < self.stretch.to {
            self.seal(self.sequence, self.chain, BATCH_HEADER_BYTES, 0);
            self.at += SECTOR_BYTES;
        }
    }
}
