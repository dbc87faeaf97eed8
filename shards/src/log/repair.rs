//! Going on behind damage: where the log continues, and what to put in between.
//!
//! [`Walk::mend`] is asked when a walk has ended at damage. It looks for the next place that can be
//! trusted, a batch header in the same segment, or the header or a batch of a later one, and has
//! the stretch up to there [mended](super::mend) in memory. The walk then goes on through the
//! mended bytes as through any others. One call mends one stretch or one segment header; the caller
//! asks until the walk ends without damage.

use super::mend::{Beyond, Stretch, mend};
use super::recovery::RecoveryError;
use super::walk::{Reached, Walk, is_zero, padded};
use crate::format::{
    BATCH_HEADER_BYTES, BatchHeader, FrameScan, Gap, GapReason, SEGMENT_HEADER_BYTES, SegmentHeader,
};
use crate::io::Io;
use crate::limits::SECTOR_BYTES;

/// A place from which the log can be read again.
#[derive(Debug, Clone, Copy)]
struct Foothold {
    segment: u64,
    /// Where its first trusted batch begins; a segment whose header is trusted begins there.
    offset: u64,
    beyond: Beyond,
}

impl<I: Io> Walk<'_, I> {
    /// Mends the damage at the end of the walk in memory. `durable` is the last sequence that must
    /// have been there.
    pub fn mend(&mut self, durable: u64) -> Result<(), RecoveryError> {
        let Reached { segment, offset, next_sequence, chain, .. } = *self.reached();
        let header = self.batch_header_at(segment, offset)?;
        let behind = offset + header.map_or(SECTOR_BYTES as u64, |h| padded(&h) as u64);
        let has_room = segment > 0 && offset + SECTOR_BYTES as u64 <= self.size(segment);
        if has_room && let Some(here) = self.foothold_in(segment, behind)? {
            return self.mend_stretch(here.offset, true, Some(here.beyond));
        }
        let later = self.foothold_behind(segment)?;
        let end = self.size(segment);
        let Some(later) = later else {
            let beyond = Beyond { sequence: durable + 1, chain: None };
            return match has_room {
                true => self.mend_stretch(end, false, Some(beyond)),
                false => self.mend_header(segment + 1),
            };
        };
        let first = SEGMENT_HEADER_BYTES as u64;
        let follows = later.segment == segment + 1 && later.offset == first;
        let continues = later.beyond == Beyond { sequence: next_sequence, chain: Some(chain) };
        if !has_room || follows && continues {
            return self.mend_header(segment + 1);
        }
        if follows {
            return self.mend_stretch(end, false, Some(later.beyond));
        }
        // What is lost may have been here or in the segments that follow. What verifies here is
        // kept, and the gap goes into the last segment before the foothold.
        match self.is_empty_from(segment, offset)? {
            true => self.mend_header(segment + 1),
            false => self.mend_stretch(end, false, None),
        }
    }

    /// Puts a gap in the place of a frame of the last batch that verifies and cannot be applied.
    pub fn skip(&mut self, sequence: u64) -> Result<(), RecoveryError> {
        let (segment, offset) = (self.reached().segment, self.last_batch());
        let store_id = self.identity().store_id;
        let header = self.batch_header_at(segment, offset)?.expect("it was read a moment ago");
        self.hold(segment)?;
        let bytes = self.held(segment);
        let from = usize::try_from(offset).expect("inside memory");
        let mut at = from + BATCH_HEADER_BYTES;
        let frames = bytes[at..from + header.bytes].to_vec();
        let BatchHeader { first_sequence, chain_before, .. } = header;
        let mut scan =
            FrameScan { rest: &frames, sequence: first_sequence, chain: chain_before, store_id };
        while let Ok(frame) = scan.next() {
            if frame.sequence == sequence {
                let gap = Gap { through: sequence, reason: GapReason::Skipped };
                gap.write(&mut bytes[at..at + frame.bytes], sequence, frame.chain, &store_id);
                return Ok(());
            }
            at += frame.bytes;
        }
        unreachable!("the frame was read from this batch a moment ago")
    }

    fn mend_stretch(
        &mut self,
        to: u64,
        has_batch_behind: bool,
        beyond: Option<Beyond>,
    ) -> Result<(), RecoveryError> {
        let identity = self.identity();
        let Reached { segment, offset, next_sequence, chain, .. } = *self.reached();
        self.hold(segment)?;
        let bytes = self.held(segment);
        let narrow = |at: u64| usize::try_from(at).expect("inside memory");
        let stretch = Stretch {
            store_id: &identity.store_id,
            shard: identity.shard,
            segment,
            from: narrow(offset),
            to: narrow(to),
            sequence: next_sequence,
            chain,
            has_batch_behind,
        };
        let losses = mend(bytes, &stretch, beyond)
            .map_err(|_| RecoveryError::Unmendable { segment, offset })?;
        self.lose(losses);
        Ok(())
    }

    /// Gives a segment the header that continues the log.
    fn mend_header(&mut self, segment: u64) -> Result<(), RecoveryError> {
        let identity = self.identity();
        let Reached { next_sequence, chain, .. } = *self.reached();
        let header = SegmentHeader {
            store_id: identity.store_id,
            shard: identity.shard,
            segment,
            segment_bytes: identity.segment_bytes,
            first_sequence: next_sequence,
            activated_at_us: 0,
            chain,
        };
        let encoded = header.encode();
        self.hold(segment)?;
        let bytes = self.held(segment);
        if bytes[..SEGMENT_HEADER_BYTES] == encoded {
            return Err(RecoveryError::Unmendable { segment, offset: 0 });
        }
        bytes[..SEGMENT_HEADER_BYTES].copy_from_slice(&encoded);
        Ok(())
    }

    /// Takes a segment into memory, as long as a segment should be.
    pub(super) fn hold(&mut self, segment: u64) -> Result<(), RecoveryError> {
        if self.holds(segment) {
            return Ok(());
        }
        let size = self.size(segment);
        let bytes = usize::try_from(self.identity().segment_bytes.max(size));
        let mut bytes = vec![0; bytes.expect("a segment fits into memory")];
        for (nth, chunk) in bytes.chunks_mut(SECTOR_BYTES).enumerate() {
            let got = self.get(segment, (nth * SECTOR_BYTES) as u64, chunk.len())?;
            chunk[..got.len()].copy_from_slice(got);
        }
        self.put_held(segment, bytes);
        Ok(())
    }

    /// The header of the batch that begins at a place, if one does.
    fn batch_header_at(
        &mut self,
        segment: u64,
        offset: u64,
    ) -> Result<Option<BatchHeader>, RecoveryError> {
        let identity = self.identity();
        let here = (identity.shard, segment, offset);
        let sector = self.get(segment, offset, SECTOR_BYTES)?;
        let header = BatchHeader::decode(sector, &identity.store_id);
        Ok(header.filter(|header| (header.shard, header.segment, header.offset) == here))
    }

    /// The first batch of a segment, from a place on, that begins at or behind the next sequence.
    fn foothold_in(&mut self, segment: u64, from: u64) -> Result<Option<Foothold>, RecoveryError> {
        let next_sequence = self.reached().next_sequence;
        let mut offset = from;
        while offset + SECTOR_BYTES as u64 <= self.size(segment) {
            let header = self.batch_header_at(segment, offset)?;
            if let Some(header) = header.filter(|header| header.first_sequence >= next_sequence) {
                let sequence = header.first_sequence;
                let beyond = Beyond { sequence, chain: Some(header.chain_before) };
                return Ok(Some(Foothold { segment, offset, beyond }));
            }
            offset += SECTOR_BYTES as u64;
        }
        Ok(None)
    }

    /// The first place behind a segment from which the log can be read again.
    fn foothold_behind(&mut self, segment: u64) -> Result<Option<Foothold>, RecoveryError> {
        let first = SEGMENT_HEADER_BYTES as u64;
        for segment in segment + 1..=self.last_segment() {
            let next_sequence = self.reached().next_sequence;
            if let Some(header) = self.header(segment)?
                && header.first_sequence >= next_sequence
            {
                let sequence = header.first_sequence;
                let beyond = Beyond { sequence, chain: Some(header.chain) };
                return Ok(Some(Foothold { segment, offset: first, beyond }));
            }
            if let Some(found) = self.foothold_in(segment, first)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn is_empty_from(&mut self, segment: u64, from: u64) -> Result<bool, RecoveryError> {
        let mut offset = from;
        while offset + SECTOR_BYTES as u64 <= self.size(segment) {
            if !is_zero(self.get(segment, offset, SECTOR_BYTES)?) {
                return Ok(false);
            }
            offset += SECTOR_BYTES as u64;
        }
        Ok(true)
    }
}
