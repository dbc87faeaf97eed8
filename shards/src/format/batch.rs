//! Batches and frames: what one write and one flush make durable.
//!
//! A batch is a header and the frames behind it, padded with zeros to a whole number of sectors. A
//! frame is one acknowledged operation. Checksums are chained: the crc of a frame is seeded with
//! the crc of the frame before it, across batches and segments, so a frame can neither be lost,
//! repeated nor moved unnoticed. The batch header repeats the chain value before and after its
//! frames and has a checksum of its own, so a batch behind a damaged one can still be verified.
//!
//! The header also carries the *durable sequence*: the last sequence that had been acknowledged
//! when the batch was sealed. It tells a torn tail from damage. Whatever a later batch calls
//! durable must be there; what no later batch calls durable was not acknowledged and may be cut.

use zerocopy::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use thiserror::Error;

use super::StoreId;
use super::gap::Gap;
use crate::limits::{BATCH_BYTES_MAX, FRAME_BYTES_MAX};

pub const BATCH_HEADER_BYTES: usize = size_of::<BatchBlock>();
pub const FRAME_HEADER_BYTES: usize = size_of::<FrameBlock>();
const BATCH_MAGIC: [u8; 4] = *b"EGB1";
/// Frames begin at multiples of this.
const FRAME_ALIGN: usize = 8;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct BatchBlock {
    magic: [u8; 4],
    bytes: U32,
    first_sequence: U64,
    frames: U32,
    chain_before: U32,
    durable_sequence: U64,
    segment: U64,
    offset: U64,
    shard: U32,
    chain_after: U32,
    zero: U32,
    crc: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct FrameBlock {
    pub(super) bytes: U32,
    pub(super) crc: U32,
    pub(super) sequence: U64,
    recorded_at_us: I64,
    happened_at_us: I64,
    operation: U16,
    zero_a: U16,
    writer_uid: U32,
    payload_bytes: U32,
    zero_b: U32,
}

const _: () = assert!(BATCH_HEADER_BYTES == 64);
const _: () = assert!(FRAME_HEADER_BYTES == 48);

/// What a frame's payload means. But for gaps the log does not look; the shard does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Operation {
    SpaceCreate = 1,
    SpaceDrop = 2,
    Store = 3,
    Forget = 4,
    Erase = 5,
    /// Where frames were: the one operation that the log itself understands.
    Gap = 6,
    Link = 7,
    Unlink = 8,
    Reinforce = 9,
    /// Episodes that answers told.
    Recalled = 10,
    Supersede = 11,
    /// Episodes whose time is over.
    Lapse = 12,
}

impl Operation {
    pub fn from_u16(value: u16) -> Option<Self> {
        Some(match value {
            1 => Self::SpaceCreate,
            2 => Self::SpaceDrop,
            3 => Self::Store,
            4 => Self::Forget,
            5 => Self::Erase,
            6 => Self::Gap,
            7 => Self::Link,
            8 => Self::Unlink,
            9 => Self::Reinforce,
            10 => Self::Recalled,
            11 => Self::Supersede,
            12 => Self::Lapse,
            _ => return None,
        })
    }
}

/// The header of a batch, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Header and frames, without the padding to a whole sector.
    pub bytes: usize,
    pub first_sequence: u64,
    pub frames: u32,
    pub chain_before: u32,
    pub chain_after: u32,
    pub durable_sequence: u64,
    pub segment: u64,
    pub offset: u64,
    pub shard: u32,
}

impl BatchHeader {
    /// Reads a header; `None` when these bytes are not one of this store that verifies.
    pub fn decode(bytes: &[u8], store_id: &StoreId) -> Option<Self> {
        let (block, _) = BatchBlock::ref_from_prefix(bytes).ok()?;
        let crc = header_crc(block, store_id);
        let bytes = block.bytes.get() as usize;
        let sound = block.magic == BATCH_MAGIC
            && block.crc.get() == crc
            && (BATCH_HEADER_BYTES..=BATCH_BYTES_MAX).contains(&bytes);
        sound.then(|| Self {
            bytes,
            first_sequence: block.first_sequence.get(),
            frames: block.frames.get(),
            chain_before: block.chain_before.get(),
            chain_after: block.chain_after.get(),
            durable_sequence: block.durable_sequence.get(),
            segment: block.segment.get(),
            offset: block.offset.get(),
            shard: block.shard.get(),
        })
    }

    pub(crate) fn encode(&self, store_id: &StoreId) -> [u8; BATCH_HEADER_BYTES] {
        let mut block = BatchBlock {
            magic: BATCH_MAGIC,
            bytes: u32::try_from(self.bytes).expect("a batch is at most BATCH_BYTES_MAX").into(),
            first_sequence: self.first_sequence.into(),
            frames: self.frames.into(),
            chain_before: self.chain_before.into(),
            durable_sequence: self.durable_sequence.into(),
            segment: self.segment.into(),
            offset: self.offset.into(),
            shard: self.shard.into(),
            chain_after: self.chain_after.into(),
            zero: 0.into(),
            crc: 0.into(),
        };
        block.crc = header_crc(&block, store_id).into();
        zerocopy::transmute!(block)
    }
}

/// What the log is told about a frame beside its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead {
    pub operation: u16,
    pub recorded_at_us: i64,
    pub happened_at_us: i64,
    pub writer_uid: u32,
}

/// A verified frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    pub sequence: u64,
    pub head: FrameHead,
    pub payload: &'a [u8],
}

/// Bytes that a frame with this payload takes.
fn frame_bytes(payload_bytes: usize) -> usize {
    (FRAME_HEADER_BYTES + payload_bytes).next_multiple_of(FRAME_ALIGN)
}

/// Seeded with the store's random id, so that nobody can plant a header inside a text.
fn header_crc(block: &BatchBlock, store_id: &StoreId) -> u32 {
    let seed = crc32c::crc32c(store_id);
    crc32c::crc32c_append(seed, &block.as_bytes()[..BATCH_HEADER_BYTES - 4])
}

fn frame_crc(chain: u32, frame: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(chain, &frame[..4]), &frame[8..])
}

/// Fills a buffer with frames and seals it with a header.
#[derive(Debug)]
pub struct BatchBuilder {
    bytes: usize,
    frames: u32,
    first_sequence: u64,
    chain_before: u32,
    chain: u32,
}

impl BatchBuilder {
    pub fn new(first_sequence: u64, chain: u32) -> Self {
        Self { bytes: BATCH_HEADER_BYTES, frames: 0, first_sequence, chain_before: chain, chain }
    }

    pub fn first_sequence(&self) -> u64 {
        self.first_sequence
    }

    pub fn frames(&self) -> u32 {
        self.frames
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The chain value behind the last frame.
    pub fn chain(&self) -> u32 {
        self.chain
    }

    /// The sequence the next frame gets.
    pub fn next_sequence(&self) -> u64 {
        self.first_sequence + u64::from(self.frames)
    }

    /// Whether a frame with this payload still fits.
    pub fn fits(&self, payload_bytes: usize) -> bool {
        self.bytes + frame_bytes(payload_bytes) <= BATCH_BYTES_MAX
    }

    /// Appends a frame whose payload `fill` writes.
    ///
    /// # Panics
    /// When the frame does not fit; ask [`fits`](Self::fits) first.
    pub fn push(
        &mut self,
        buffer: &mut [u8],
        head: &FrameHead,
        payload_bytes: usize,
        fill: impl FnOnce(&mut [u8]),
    ) {
        assert!(self.fits(payload_bytes), "the caller asks before it appends");
        let bytes = frame_bytes(payload_bytes);
        let frame = &mut buffer[self.bytes..self.bytes + bytes];
        let block = FrameBlock {
            bytes: u32::try_from(bytes).expect("bounded by BATCH_BYTES_MAX").into(),
            crc: 0.into(),
            sequence: self.next_sequence().into(),
            recorded_at_us: head.recorded_at_us.into(),
            happened_at_us: head.happened_at_us.into(),
            operation: head.operation.into(),
            zero_a: 0.into(),
            writer_uid: head.writer_uid.into(),
            payload_bytes: u32::try_from(payload_bytes).expect("bounded by BATCH_BYTES_MAX").into(),
            zero_b: 0.into(),
        };
        frame[..FRAME_HEADER_BYTES].copy_from_slice(block.as_bytes());
        let (payload, padding) = frame[FRAME_HEADER_BYTES..].split_at_mut(payload_bytes);
        fill(payload);
        padding.fill(0);
        self.chain = frame_crc(self.chain, frame);
        frame[4..8].copy_from_slice(&self.chain.to_le_bytes());
        self.bytes += bytes;
        self.frames += 1;
    }

    /// Writes the header and the padding; answers the bytes to write to disk.
    pub fn seal(&self, buffer: &mut [u8], place: &BatchPlace) -> usize {
        let header = BatchHeader {
            bytes: self.bytes,
            first_sequence: self.first_sequence,
            frames: self.frames,
            chain_before: self.chain_before,
            chain_after: self.chain,
            durable_sequence: place.durable_sequence,
            segment: place.segment,
            offset: place.offset,
            shard: place.shard,
        };
        buffer[..BATCH_HEADER_BYTES].copy_from_slice(&header.encode(&place.store_id));
        let padded = self.bytes.next_multiple_of(crate::limits::SECTOR_BYTES);
        buffer[self.bytes..padded].fill(0);
        padded
    }
}

/// Where a batch goes, known when it is sealed.
#[derive(Debug, Clone, Copy)]
pub struct BatchPlace {
    pub store_id: StoreId,
    pub shard: u32,
    pub segment: u64,
    pub offset: u64,
    pub durable_sequence: u64,
}

/// What is wrong with the frames of a batch whose header verifies.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BatchError {
    #[error("the batch is cut off: {got} of its {wanted} bytes are there")]
    Short { got: usize, wanted: usize },
    #[error("the frame of sequence {sequence} fails its checksum")]
    Checksum { sequence: u64 },
    #[error("the frame expected at sequence {sequence} is malformed: {what}")]
    Malformed { sequence: u64, what: &'static str },
}

/// One frame on its way through [`FrameScan`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct ScannedFrame {
    pub(crate) sequence: u64,
    /// The first sequence behind it.
    pub(crate) next_sequence: u64,
    pub(crate) bytes: usize,
    /// What its `crc` field says: the chain value that the next frame continues.
    pub(crate) chain: u32,
    /// Whether its bytes are what was written.
    pub(crate) verifies: bool,
}

/// Goes from frame to frame of a batch as far as their lengths and sequences make sense, and says
/// of each whether it verifies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameScan<'a> {
    pub(crate) rest: &'a [u8],
    pub(crate) sequence: u64,
    pub(crate) chain: u32,
    pub(crate) store_id: StoreId,
}

impl FrameScan<'_> {
    pub(crate) fn next(&mut self) -> Result<ScannedFrame, BatchError> {
        let sequence = self.sequence;
        let malformed = |what| BatchError::Malformed { sequence, what };
        let (block, _) = FrameBlock::ref_from_prefix(self.rest)
            .map_err(|_| malformed("its header is cut off"))?;
        let bytes = block.bytes.get() as usize;
        if bytes > self.rest.len() || bytes > FRAME_BYTES_MAX + FRAME_ALIGN {
            return Err(malformed("it is longer than its batch or the bound"));
        }
        if bytes != frame_bytes(block.payload_bytes.get() as usize) {
            return Err(malformed("its lengths disagree"));
        }
        if block.sequence.get() != sequence {
            return Err(malformed("it carries another sequence"));
        }
        let (frame, rest) = self.rest.split_at(bytes);
        let chain = block.crc.get();
        let (through, verifies) = match block.operation.get() == Operation::Gap as u16 {
            true => match Gap::verify(frame, &self.store_id) {
                Some(gap) if gap.through >= sequence => (gap.through, true),
                _ => (sequence, false),
            },
            false => (sequence, frame_crc(self.chain, frame) == chain),
        };
        let next_sequence = through.checked_add(1).ok_or_else(|| malformed("it never ends"))?;
        (self.rest, self.sequence, self.chain) = (rest, next_sequence, chain);
        Ok(ScannedFrame { sequence, next_sequence, bytes, chain, verifies })
    }
}

/// A batch in memory whose header and every frame verify.
#[derive(Debug, Clone, Copy)]
pub struct BatchView<'a> {
    header: BatchHeader,
    next_sequence: u64,
    frames: &'a [u8],
}

impl<'a> BatchView<'a> {
    /// Verifies every frame of the batch that begins `bytes`.
    pub fn verify(
        header: BatchHeader,
        bytes: &'a [u8],
        store_id: &StoreId,
    ) -> Result<Self, BatchError> {
        if bytes.len() < header.bytes {
            return Err(BatchError::Short { got: bytes.len(), wanted: header.bytes });
        }
        let frames = &bytes[BATCH_HEADER_BYTES..header.bytes];
        let (sequence, chain) = (header.first_sequence, header.chain_before);
        let mut scan = FrameScan { rest: frames, sequence, chain, store_id: *store_id };
        for _ in 0..header.frames {
            let frame = scan.next()?;
            if !frame.verifies {
                return Err(BatchError::Checksum { sequence: frame.sequence });
            }
        }
        let FrameScan { rest, sequence, chain, .. } = scan;
        if !rest.is_empty() || chain != header.chain_after {
            return Err(BatchError::Malformed { sequence, what: "the batch ends elsewhere" });
        }
        Ok(Self { header, next_sequence: sequence, frames })
    }

    /// A batch that this process built or verified and has not let anyone change since: not
    /// verified again.
    pub fn trusted(bytes: &'a [u8], store_id: &StoreId) -> Self {
        let header =
            BatchHeader::decode(bytes, store_id).expect("sealed or verified by this process");
        let next_sequence = header.first_sequence + u64::from(header.frames);
        Self { header, next_sequence, frames: &bytes[BATCH_HEADER_BYTES..header.bytes] }
    }

    /// A batch that was verified a moment ago.
    pub(crate) fn verified(header: BatchHeader, next_sequence: u64, bytes: &'a [u8]) -> Self {
        Self { header, next_sequence, frames: &bytes[BATCH_HEADER_BYTES..header.bytes] }
    }

    /// The sequence that the next batch begins with.
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    pub fn frames(&self) -> Frames<'a> {
        Frames { rest: self.frames }
    }
}

/// The frames of a verified batch, in order.
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    rest: &'a [u8],
}

impl Frames<'_> {
    /// Bytes of the frames that have not come yet.
    pub fn left(&self) -> usize {
        self.rest.len()
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    fn next(&mut self) -> Option<Frame<'a>> {
        let (block, _) = FrameBlock::ref_from_prefix(self.rest).ok()?;
        let payload_bytes = block.payload_bytes.get() as usize;
        let frame = Frame {
            sequence: block.sequence.get(),
            head: FrameHead {
                operation: block.operation.get(),
                recorded_at_us: block.recorded_at_us.get(),
                happened_at_us: block.happened_at_us.get(),
                writer_uid: block.writer_uid.get(),
            },
            payload: &self.rest[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + payload_bytes],
        };
        self.rest = &self.rest[block.bytes.get() as usize..];
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: StoreId = [9; 16];
    const PLACE: BatchPlace =
        BatchPlace { store_id: ID, shard: 1, segment: 2, offset: 8192, durable_sequence: 6 };

    fn build(payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut buffer = vec![0xaa; BATCH_BYTES_MAX];
        let mut builder = BatchBuilder::new(7, 0x1234);
        for (nth, payload) in payloads.iter().enumerate() {
            let head = FrameHead {
                operation: Operation::Store as u16,
                recorded_at_us: nth as i64,
                happened_at_us: -1,
                writer_uid: 3,
            };
            builder.push(&mut buffer, &head, payload.len(), |out| out.copy_from_slice(payload));
        }
        let bytes = builder.seal(&mut buffer, &PLACE);
        buffer.truncate(bytes);
        buffer
    }

    proptest! {
        #[test]
        fn frames_come_back_in_order(
            payloads in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 0..300), 1..20),
        ) {
            let bytes = build(&payloads);
            prop_assert_eq!(bytes.len() % crate::limits::SECTOR_BYTES, 0);
            let header = BatchHeader::decode(&bytes, &ID).unwrap();
            prop_assert_eq!(header.durable_sequence, PLACE.durable_sequence);
            let view = BatchView::verify(header, &bytes, &ID).unwrap();
            let read: Vec<_> = view.frames().map(|f| (f.sequence, f.payload.to_vec())).collect();
            let wanted: Vec<_> = payloads
                .iter()
                .enumerate()
                .map(|(nth, payload)| (7 + nth as u64, payload.clone()))
                .collect();
            prop_assert_eq!(read, wanted);
        }
    }

    #[test]
    fn every_flipped_bit_of_a_batch_is_noticed() {
        let good = build(&[b"one".to_vec(), b"twenty-two".to_vec()]);
        let bytes = BatchHeader::decode(&good, &ID).unwrap().bytes;
        for bit in 0..bytes * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let verified =
                BatchHeader::decode(&bad, &ID).map(|h| BatchView::verify(h, &bad, &ID).is_ok());
            assert_ne!(verified, Some(true), "bit {bit}");
        }
    }

    #[test]
    fn a_batch_of_another_store_is_not_one() {
        assert_eq!(BatchHeader::decode(&build(&[vec![1]]), &[8; 16]), None);
    }

    #[test]
    fn a_batch_that_is_cut_off_is_refused() {
        let bytes = build(&[vec![5; 9000]]);
        let header = BatchHeader::decode(&bytes, &ID).unwrap();
        let cut = &bytes[..8192];
        assert!(matches!(BatchView::verify(header, cut, &ID), Err(BatchError::Short { .. })));
    }
}
