//! `engram.store`: one block that makes a folder a data directory.

use zerocopy::little_endian::{I64, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{FORMAT_VERSION, HeaderError};

/// The whole file.
pub const STORE_HEADER_BYTES: usize = 4096;
const MAGIC: [u8; 8] = *b"ENGRAMST";

/// Random bytes given at creation and repeated in every segment, so that files of two stores cannot
/// be mixed up unnoticed.
pub type StoreId = [u8; 16];

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    magic: [u8; 8],
    version: U32,
    shards: U32,
    store_id: StoreId,
    created_at_us: I64,
    segment_bytes: U64,
    has_logs: U32,
    zero: [u8; 4040],
    crc: U32,
}

const _: () = assert!(size_of::<Block>() == STORE_HEADER_BYTES);

/// What a data directory was created with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreHeader {
    pub store_id: StoreId,
    pub shards: u32,
    pub created_at_us: i64,
    /// Size of each log segment.
    pub segment_bytes: u64,
    /// Whether every shard's log has been begun: from then on a log that is missing was lost.
    pub has_logs: bool,
}

impl StoreHeader {
    pub fn encode(&self) -> [u8; STORE_HEADER_BYTES] {
        let mut block = Block {
            magic: MAGIC,
            version: FORMAT_VERSION.into(),
            shards: self.shards.into(),
            store_id: self.store_id,
            created_at_us: self.created_at_us.into(),
            segment_bytes: self.segment_bytes.into(),
            has_logs: u32::from(self.has_logs).into(),
            zero: [0; 4040],
            crc: 0.into(),
        };
        block.crc = super::block_crc(block.as_bytes()).into();
        zerocopy::transmute!(block)
    }

    pub fn decode(bytes: &[u8; STORE_HEADER_BYTES]) -> Result<Self, HeaderError> {
        let block: &Block = zerocopy::transmute_ref!(bytes);
        super::check_block(bytes, &MAGIC, "an Engram store", block.version.get())?;
        Ok(Self {
            store_id: block.store_id,
            shards: block.shards.get(),
            created_at_us: block.created_at_us.get(),
            segment_bytes: block.segment_bytes.get(),
            has_logs: block.has_logs.get() != 0,
        })
    }
}

/// The folder of one shard inside the data directory.
pub fn shard_folder_name(shard: u32) -> String {
    format!("shard-{shard:03}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: StoreHeader = StoreHeader {
        store_id: [7; 16],
        shards: 2,
        created_at_us: -5,
        segment_bytes: 64 << 20,
        has_logs: true,
    };

    #[test]
    fn decodes_what_it_encoded() {
        assert_eq!(StoreHeader::decode(&HEADER.encode()), Ok(HEADER));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = HEADER.encode();
        for bit in 0..good.len() * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(StoreHeader::decode(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn another_version_is_named_before_the_checksum_is_judged() {
        let mut bytes = HEADER.encode();
        bytes[8] = 9;
        assert_eq!(StoreHeader::decode(&bytes), Err(HeaderError::Checksum), "it is damaged");
        // A later version has other contents, and who knows which checksum.
        bytes[100] = 1;
        assert_eq!(StoreHeader::decode(&bytes), Err(HeaderError::Version { got: 9 }));
    }
}
