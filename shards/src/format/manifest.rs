//! The manifest: which files make up a shard, and from where on its log is needed.
//!
//! Consolidation moves what the log says into columns files. The manifest is the one place that
//! says so: it is written when every file that it names is flushed, and only when it is durable are
//! older files and the log up to [`LogPlace::through_sequence`] let go. It stands in a file of two
//! slots like the anchors, and every manifest is written to both, one after the other: the other
//! slot keeps the old one until the first is safe, and then a sector that rots costs nothing.

use zerocopy::little_endian::{I64, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{FORMAT_VERSION, FileId, HeaderError, SlotBlock, StoreId};
use crate::limits::SECTOR_BYTES;

const MAGIC: [u8; 8] = *b"ENGRAMMF";
/// Columns files that a manifest can name.
pub const COLUMNS_FILES_MAX: usize = 8;

/// A place between two frames of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPlace {
    /// The last sequence before it; 0 before the first.
    pub through_sequence: u64,
    /// The checksum of the last frame, which the next one continues.
    pub chain: u32,
    /// Where the last batch before it ends. The next one begins there, or in the next segment.
    pub segment: u64,
    pub offset: u64,
}

impl LogPlace {
    /// Before the first segment.
    pub const BEGINNING: Self = Self { through_sequence: 0, chain: 0, segment: 0, offset: 0 };
}

/// The state file that belongs to a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedState {
    pub number: u64,
    pub bytes: u64,
    /// See [`StateWriter`](super::StateWriter).
    pub crc: u32,
}

/// A columns file that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NamedColumns {
    pub number: u64,
    pub bytes: u64,
    pub directory_offset: u64,
    pub directory_bytes: u64,
    pub directory_crc: u32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct ColumnsBlock {
    number: U64,
    bytes: U64,
    directory_offset: U64,
    directory_bytes: U64,
    directory_crc: U32,
    zero: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    magic: [u8; 8],
    version: U32,
    shard: U32,
    store_id: StoreId,
    number: U64,
    through_sequence: U64,
    segment: U64,
    offset: U64,
    chain: U32,
    columns_files: U32,
    next_file: U64,
    state_number: U64,
    state_bytes: U64,
    state_crc: U32,
    zero_a: U32,
    written_at_us: I64,
    columns: [ColumnsBlock; COLUMNS_FILES_MAX],
    zero: [u8; 3660],
    crc: U32,
}

const _: () = assert!(size_of::<Block>() == SECTOR_BYTES);

/// See the top of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    pub store_id: StoreId,
    pub shard: u32,
    /// Counts the manifests that were written, from 1; the highest is the newest.
    pub number: u64,
    /// The files have everything up to here; the log is needed from here on.
    pub place: LogPlace,
    /// What the next columns or state file will be numbered.
    pub next_file: u64,
    pub state: NamedState,
    /// At most [`COLUMNS_FILES_MAX`].
    pub columns: Vec<NamedColumns>,
    pub written_at_us: i64,
}

impl Manifest {
    /// Every file that it names, with its size.
    pub fn files(&self) -> impl Iterator<Item = (FileId, u64)> + '_ {
        let columns = self.columns.iter();
        let columns = columns.map(|file| (FileId::columns(file.number), file.bytes));
        std::iter::once((FileId::state(self.state.number), self.state.bytes)).chain(columns)
    }

    /// # Panics
    /// When it names more than [`COLUMNS_FILES_MAX`] columns files.
    pub fn encode(&self) -> [u8; SECTOR_BYTES] {
        let mut columns = [NamedColumns::default(); COLUMNS_FILES_MAX];
        columns[..self.columns.len()].copy_from_slice(&self.columns);
        let LogPlace { through_sequence, chain, segment, offset } = self.place;
        let NamedState { number, bytes, crc } = self.state;
        let mut block = Block {
            magic: MAGIC,
            version: FORMAT_VERSION.into(),
            shard: self.shard.into(),
            store_id: self.store_id,
            number: self.number.into(),
            through_sequence: through_sequence.into(),
            segment: segment.into(),
            offset: offset.into(),
            chain: chain.into(),
            columns_files: (self.columns.len() as u32).into(),
            next_file: self.next_file.into(),
            state_number: number.into(),
            state_bytes: bytes.into(),
            state_crc: crc.into(),
            zero_a: 0.into(),
            written_at_us: self.written_at_us.into(),
            columns: columns.map(ColumnsBlock::of),
            zero: [0; 3660],
            crc: 0.into(),
        };
        block.crc = super::block_crc(block.as_bytes()).into();
        zerocopy::transmute!(block)
    }
}

impl ColumnsBlock {
    fn of(file: NamedColumns) -> Self {
        Self {
            number: file.number.into(),
            bytes: file.bytes.into(),
            directory_offset: file.directory_offset.into(),
            directory_bytes: file.directory_bytes.into(),
            directory_crc: file.directory_crc.into(),
            zero: 0.into(),
        }
    }

    fn named(&self) -> NamedColumns {
        NamedColumns {
            number: self.number.get(),
            bytes: self.bytes.get(),
            directory_offset: self.directory_offset.get(),
            directory_bytes: self.directory_bytes.get(),
            directory_crc: self.directory_crc.get(),
        }
    }
}

impl SlotBlock for Manifest {
    fn decode(bytes: &[u8; SECTOR_BYTES]) -> Result<Self, HeaderError> {
        let block: &Block = zerocopy::transmute_ref!(bytes);
        super::check_block(bytes, &MAGIC, "a manifest of an Engram shard", block.version.get())?;
        let columns_files = block.columns_files.get() as usize;
        if columns_files > COLUMNS_FILES_MAX {
            return Err(HeaderError::Mismatch {
                what: "a number of columns files",
                got: columns_files.to_string(),
                expected: format!("at most {COLUMNS_FILES_MAX}"),
            });
        }
        Ok(Self {
            store_id: block.store_id,
            shard: block.shard.get(),
            number: block.number.get(),
            place: LogPlace {
                through_sequence: block.through_sequence.get(),
                chain: block.chain.get(),
                segment: block.segment.get(),
                offset: block.offset.get(),
            },
            next_file: block.next_file.get(),
            state: NamedState {
                number: block.state_number.get(),
                bytes: block.state_bytes.get(),
                crc: block.state_crc.get(),
            },
            columns: block.columns[..columns_files].iter().map(ColumnsBlock::named).collect(),
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

    fn manifest(columns: u64) -> Manifest {
        let place = LogPlace { through_sequence: 99, chain: 7, segment: 3, offset: 8192 };
        let file = |number| NamedColumns {
            number,
            bytes: 1 << 21,
            directory_offset: 1 << 20,
            directory_bytes: 300,
            directory_crc: 0xdead_beef,
        };
        Manifest {
            store_id: [3; 16],
            shard: 1,
            number: 4,
            place,
            next_file: 11,
            state: NamedState { number: 10, bytes: 8192, crc: 5 },
            columns: (1..=columns).map(file).collect(),
            written_at_us: -5,
        }
    }

    #[test]
    fn decodes_what_it_encoded_and_notices_every_flipped_bit() {
        for columns in [0, 1, COLUMNS_FILES_MAX as u64] {
            let manifest = manifest(columns);
            let good = manifest.encode();
            assert_eq!(Manifest::decode(&good), Ok(manifest.clone()));
            assert_eq!(manifest.files().count() as u64, columns + 1);
            for bit in 0..good.len() * 8 {
                let mut bad = good;
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(Manifest::decode(&bad).is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn a_count_that_no_build_writes_is_refused() {
        let mut bytes = manifest(1).encode();
        bytes[68] = COLUMNS_FILES_MAX as u8 + 1;
        let crc = crc32c::crc32c(&bytes[..SECTOR_BYTES - 4]);
        bytes[SECTOR_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        assert!(matches!(Manifest::decode(&bytes), Err(HeaderError::Mismatch { .. })));
    }
}
