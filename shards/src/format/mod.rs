//! Bytes on disk: the one place that knows them, shared by the engine and the inspector.
//!
//! `shards/FORMAT.md` is the same layout in prose. Everything here is pure: no file is opened, no
//! clock is read. All integers are little-endian; all structures are multiples of eight bytes and
//! have no padding that is not named, so that every byte on disk is defined and checksummed.

mod anchor;
mod batch;
pub mod columns;
mod erase;
mod file;
mod gap;
mod lapse;
mod link;
mod manifest;
mod payload;
mod segment;
mod slots;
mod state;
mod store;
mod strength;
mod supersede;

pub use anchor::Anchor;
pub use batch::{
    BATCH_HEADER_BYTES, BatchBuilder, BatchError, BatchHeader, BatchPlace, BatchView,
    FRAME_HEADER_BYTES, Frame, FrameHead, Frames, Operation,
};
pub(crate) use batch::{FrameScan, ScannedFrame};
pub use erase::{ERASED_MAX, ErasePayload};
pub use file::{FileId, FileKind, segment_file_name, segment_from_file_name};
pub use gap::{GAP_FRAME_BYTES, Gap, GapReason, rewrite_as_gap};
pub use lapse::{ExpiryBlock, LAPSED_MAX, LapsePayload, encode_lapse, lapse_bytes};
pub use link::{
    LinkPayload, LinkRecords, UnlinkPayload, encode_link, encode_unlink, link_bytes, unlink_bytes,
};
pub(crate) use link::{link_record, link_record_bytes};
pub use manifest::{COLUMNS_FILES_MAX, LogPlace, Manifest, NamedColumns, NamedState};
pub use payload::{
    ForgetPayload, PayloadError, SpacePayload, StoreFacts, StorePayload, StoreSizes, encode_forget,
    encode_space, encode_store, forget_bytes, space_bytes, store_sizes,
};
pub use segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
pub use slots::{SLOTS, SlotBlock, SlotState, Slots};
pub use state::{
    KeyEntry, RowLinks, RowSuperseded, STATE_ENTRIES_MAX, SectionCalibration, SpaceStrengths,
    StateError, StateHeader, StateReader, StateRecord, StateWriter, Tombstones,
};
pub use store::{STORE_HEADER_BYTES, StoreHeader, StoreId, shard_folder_name};
pub use strength::{
    RECALLED_MAX, RecalledPayload, ReinforcePayload, encode_recalled, encode_reinforce,
    recalled_bytes, reinforce_bytes,
};
pub use supersede::{SupersedePayload, SupersededBlock, encode_supersede, supersede_bytes};

use thiserror::Error;

/// The version of everything in this folder. A store of another version is refused.
pub const FORMAT_VERSION: u32 = 1;

/// Why a header block was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HeaderError {
    #[error("it does not begin with the magic bytes of {0}")]
    Magic(&'static str),
    #[error(
        "it has format version {got}; this build reads version {FORMAT_VERSION}: start the build \
         that wrote it, or export there and import here"
    )]
    Version { got: u32 },
    #[error("its checksum does not match its bytes")]
    Checksum,
    #[error("it holds {what} {got}, expected {expected}")]
    Mismatch { what: &'static str, got: String, expected: String },
}

/// Where every header block has its version: behind the magic bytes.
const VERSION_AT: usize = 8;

/// The checksum of a header block: crc32c of all but the last four bytes, which hold it.
fn block_crc(block: &[u8]) -> u32 {
    crc32c::crc32c(&block[..block.len() - 4])
}

/// Whether a header belongs where it was found.
fn same<T: PartialEq + std::fmt::Debug>(
    what: &'static str,
    got: &T,
    expected: &T,
) -> Result<(), HeaderError> {
    if got == expected {
        return Ok(());
    }
    let (got, expected) = (format!("{got:?}"), format!("{expected:?}"));
    Err(HeaderError::Mismatch { what, got, expected })
}

/// The checks that every header block shares. The version is judged before the checksum, because a
/// later version may checksum differently and deserves to be named.
fn check_block(
    block: &[u8],
    magic: &[u8; 8],
    name: &'static str,
    version: u32,
) -> Result<(), HeaderError> {
    if &block[..8] != magic {
        return Err(HeaderError::Magic(name));
    }
    let (_, stored) = block.split_last_chunk::<4>().expect("a block is longer than its checksum");
    let stored = u32::from_le_bytes(*stored);
    if version != FORMAT_VERSION {
        // A damaged version number is damage, not another version.
        let mut own = block.to_vec();
        own[VERSION_AT..VERSION_AT + 4].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        return Err(match stored == block_crc(&own) {
            true => HeaderError::Checksum,
            false => HeaderError::Version { got: version },
        });
    }
    if stored != block_crc(block) {
        return Err(HeaderError::Checksum);
    }
    Ok(())
}
