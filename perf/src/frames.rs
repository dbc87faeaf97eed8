//! The frames of a batch, built as the log builds them and, for comparison, only copied.
//!
//! The engine has no switch that turns checksums off and must not have one, so what they cost is
//! measured from outside. [`Frames::build`] is the log's own path: `BatchBuilder` writes a header
//! and the payload and continues the chain of checksums over both. [`Frames::copy`] puts the same
//! header bytes and the same payload in the same places and leaves the checksum at zero. The
//! difference is the checksum, in the state of the caches that the log computes it in: right behind
//! the copy.

use engram_shards::format::{
    BATCH_HEADER_BYTES, BatchBuilder, BatchPlace, FRAME_HEADER_BYTES, FrameHead, Operation,
};
use engram_shards::limits::SECTOR_BYTES;

use crate::commit::RECORD_BYTES;
use crate::random::Random;

/// A frame with this payload is one record of the commit probe.
pub const PAYLOAD_BYTES: usize = RECORD_BYTES - FRAME_HEADER_BYTES;

const HEAD: FrameHead = FrameHead {
    operation: Operation::Store as u16,
    recorded_at_us: 1,
    happened_at_us: 1,
    writer_uid: 0,
};
const PLACE: BatchPlace =
    BatchPlace { store_id: [7; 16], shard: 0, segment: 1, offset: 4096, durable_sequence: 0 };

/// How the bytes of a batch come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Header and payload, no checksum.
    Copied,
    /// As the log does it.
    Checksummed,
}

/// Bytes of a sealed batch of this many records, padding included.
pub const fn batch_bytes(records: usize) -> usize {
    (BATCH_HEADER_BYTES + records * RECORD_BYTES).next_multiple_of(SECTOR_BYTES)
}

/// Something to put into frames, one batch after the other.
#[derive(Debug)]
pub struct Frames {
    payload: Vec<u8>,
    /// A frame's header as `BatchBuilder` writes it.
    header: [u8; FRAME_HEADER_BYTES],
    next_sequence: u64,
    chain: u32,
}

impl Default for Frames {
    fn default() -> Self {
        let mut payload = vec![0; PAYLOAD_BYTES];
        Random::default().fill_bytes(&mut payload);
        let mut frames =
            Self { payload, header: [0; FRAME_HEADER_BYTES], next_sequence: 1, chain: 0 };
        let mut batch = vec![0; batch_bytes(1)];
        frames.build(&mut batch, 1);
        frames.header.copy_from_slice(&batch[BATCH_HEADER_BYTES..][..FRAME_HEADER_BYTES]);
        // Where the checksum is.
        frames.header[4..8].fill(0);
        frames
    }
}

impl Frames {
    /// Makes a batch of `records` at the front of `buffer`; answers its bytes.
    pub fn make(&mut self, framing: Framing, buffer: &mut [u8], records: usize) -> usize {
        match framing {
            Framing::Copied => self.copy(buffer, records),
            Framing::Checksummed => self.build(buffer, records),
        }
    }

    fn build(&mut self, buffer: &mut [u8], records: usize) -> usize {
        let mut batch = BatchBuilder::new(self.next_sequence, self.chain);
        for _ in 0..records {
            let fill = |out: &mut [u8]| out.copy_from_slice(&self.payload);
            batch.push(buffer, &HEAD, PAYLOAD_BYTES, fill);
        }
        (self.next_sequence, self.chain) = (batch.next_sequence(), batch.chain());
        batch.seal(buffer, &PLACE)
    }

    fn copy(&mut self, buffer: &mut [u8], records: usize) -> usize {
        let bytes = batch_bytes(records);
        let (header, rest) = buffer[..bytes].split_at_mut(BATCH_HEADER_BYTES);
        header.fill(0);
        let (frames, padding) = rest.split_at_mut(records * RECORD_BYTES);
        for frame in frames.chunks_exact_mut(RECORD_BYTES) {
            frame[..FRAME_HEADER_BYTES].copy_from_slice(&self.header);
            frame[8..16].copy_from_slice(&self.next_sequence.to_le_bytes());
            frame[FRAME_HEADER_BYTES..].copy_from_slice(&self.payload);
            self.next_sequence += 1;
        }
        padding.fill(0);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engram_shards::format::{BatchHeader, BatchView};

    #[test]
    fn built_batches_verify_one_behind_the_other() {
        let mut frames = Frames::default();
        let mut buffer = vec![1; batch_bytes(3)];
        for _ in 0..2 {
            assert_eq!(frames.make(Framing::Checksummed, &mut buffer, 3), buffer.len());
            let header = BatchHeader::decode(&buffer, &PLACE.store_id).unwrap();
            let view = BatchView::verify(header, &buffer, &PLACE.store_id).unwrap();
            assert!(view.frames().all(|frame| frame.payload == frames.payload));
        }
    }

    #[test]
    fn copied_batches_differ_from_built_ones_in_the_checksums_only() {
        let (mut copying, mut building) = (Frames::default(), Frames::default());
        let [mut copied, mut built] = [vec![1; batch_bytes(3)], vec![2; batch_bytes(3)]];
        let bytes = copying.make(Framing::Copied, &mut copied, 3);
        assert_eq!(bytes, building.make(Framing::Checksummed, &mut built, 3));
        for frame in built[BATCH_HEADER_BYTES..].chunks_exact_mut(RECORD_BYTES) {
            frame[4..8].fill(0);
        }
        assert_eq!(copied[BATCH_HEADER_BYTES..], built[BATCH_HEADER_BYTES..]);
    }
}
