//! The anchor: how far a log was durable when it was last noted.
//!
//! A log alone cannot prove that its end is there: what a later batch calls durable must exist, but
//! nothing follows the last batch. The anchor is that later word. It stands in a small file of two
//! [slots](super::Slots) which are written in turn, so a torn write costs the newest anchor and
//! never both.

use zerocopy::little_endian::{I64, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{FORMAT_VERSION, HeaderError, SlotBlock, StoreId};
use crate::limits::SECTOR_BYTES;

const MAGIC: [u8; 8] = *b"ENGRAMAN";

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    magic: [u8; 8],
    version: U32,
    shard: U32,
    store_id: StoreId,
    /// Counts the anchors that were written; the highest is the newest.
    number: U64,
    durable_sequence: U64,
    segment: U64,
    offset: U64,
    written_at_us: I64,
    zero: [u8; 4020],
    crc: U32,
}

const _: () = assert!(size_of::<Block>() == SECTOR_BYTES);

/// See the top of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    pub store_id: StoreId,
    pub shard: u32,
    pub number: u64,
    /// Everything up to here is on disk.
    pub durable_sequence: u64,
    /// Where the durable part of the log ended.
    pub segment: u64,
    pub offset: u64,
    pub written_at_us: i64,
}

impl Anchor {
    pub fn encode(&self) -> [u8; SECTOR_BYTES] {
        let mut block = Block {
            magic: MAGIC,
            version: FORMAT_VERSION.into(),
            shard: self.shard.into(),
            store_id: self.store_id,
            number: self.number.into(),
            durable_sequence: self.durable_sequence.into(),
            segment: self.segment.into(),
            offset: self.offset.into(),
            written_at_us: self.written_at_us.into(),
            zero: [0; 4020],
            crc: 0.into(),
        };
        block.crc = super::block_crc(block.as_bytes()).into();
        zerocopy::transmute!(block)
    }
}

impl SlotBlock for Anchor {
    fn decode(bytes: &[u8; SECTOR_BYTES]) -> Result<Self, HeaderError> {
        let block: &Block = zerocopy::transmute_ref!(bytes);
        super::check_block(bytes, &MAGIC, "an anchor of an Engram log", block.version.get())?;
        Ok(Self {
            store_id: block.store_id,
            shard: block.shard.get(),
            number: block.number.get(),
            durable_sequence: block.durable_sequence.get(),
            segment: block.segment.get(),
            offset: block.offset.get(),
            written_at_us: block.written_at_us.get(),
        })
    }

    fn number(&self) -> u64 {
        self.number
    }

    fn place(&self) -> (StoreId, u32) {
        (self.store_id, self.shard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_what_it_encoded_and_notices_every_flipped_bit() {
        let anchor = Anchor {
            store_id: [3; 16],
            shard: 1,
            number: 4,
            durable_sequence: 99,
            segment: 2,
            offset: 8192,
            written_at_us: -5,
        };
        let good = anchor.encode();
        assert_eq!(Anchor::decode(&good), Ok(anchor));
        for bit in 0..good.len() * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Anchor::decode(&bad).is_err(), "bit {bit}");
        }
    }
}
