//! The first block of a log segment.
//!
//! A segment file is made ahead of its use: allocated, written with zeros from end to end and
//! flushed. Its header is written together with its first batch, so a segment whose first block is
//! all zeros was prepared and never used.

use zerocopy::little_endian::{I64, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{FORMAT_VERSION, HeaderError, StoreId};

/// The header's block; batches follow it.
pub const SEGMENT_HEADER_BYTES: usize = 4096;
const MAGIC: [u8; 8] = *b"ENGRAMLG";

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    magic: [u8; 8],
    version: U32,
    shard: U32,
    store_id: StoreId,
    segment: U64,
    segment_bytes: U64,
    first_sequence: U64,
    activated_at_us: I64,
    chain: U32,
    zero: [u8; 4024],
    crc: U32,
}

const _: () = assert!(size_of::<Block>() == SEGMENT_HEADER_BYTES);

/// What a segment says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    pub store_id: StoreId,
    pub shard: u32,
    /// Numbered from 1 without gaps.
    pub segment: u64,
    pub segment_bytes: u64,
    /// Sequence of the segment's first frame.
    pub first_sequence: u64,
    pub activated_at_us: i64,
    /// The checksum of the last frame of the segment before, which the first frame here continues.
    pub chain: u32,
}

impl SegmentHeader {
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut block = Block {
            magic: MAGIC,
            version: FORMAT_VERSION.into(),
            shard: self.shard.into(),
            store_id: self.store_id,
            segment: self.segment.into(),
            segment_bytes: self.segment_bytes.into(),
            first_sequence: self.first_sequence.into(),
            activated_at_us: self.activated_at_us.into(),
            chain: self.chain.into(),
            zero: [0; 4024],
            crc: 0.into(),
        };
        block.crc = super::block_crc(block.as_bytes()).into();
        zerocopy::transmute!(block)
    }

    pub fn decode(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> Result<Self, HeaderError> {
        let block: &Block = zerocopy::transmute_ref!(bytes);
        super::check_block(bytes, &MAGIC, "an Engram log segment", block.version.get())?;
        Ok(Self {
            store_id: block.store_id,
            shard: block.shard.get(),
            segment: block.segment.get(),
            segment_bytes: block.segment_bytes.get(),
            first_sequence: block.first_sequence.get(),
            activated_at_us: block.activated_at_us.get(),
            chain: block.chain.get(),
        })
    }

    /// Whether this header belongs where it was found.
    pub fn check_place(
        &self,
        store_id: &StoreId,
        shard: u32,
        segment: u64,
    ) -> Result<(), HeaderError> {
        super::same("store id", &self.store_id, store_id)?;
        super::same("shard", &self.shard, &shard)?;
        super::same("segment", &self.segment, &segment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SegmentHeader = SegmentHeader {
        store_id: [3; 16],
        shard: 1,
        segment: 12,
        segment_bytes: 4 << 20,
        first_sequence: 99,
        activated_at_us: 5,
        chain: 0xdead_beef,
    };

    #[test]
    fn decodes_what_it_encoded() {
        assert_eq!(SegmentHeader::decode(&HEADER.encode()), Ok(HEADER));
    }

    #[test]
    fn a_segment_of_another_place_is_refused() {
        assert_eq!(HEADER.check_place(&[3; 16], 1, 12), Ok(()));
        assert!(HEADER.check_place(&[4; 16], 1, 12).is_err());
        assert!(HEADER.check_place(&[3; 16], 0, 12).is_err());
        assert!(HEADER.check_place(&[3; 16], 1, 13).is_err());
    }
}
