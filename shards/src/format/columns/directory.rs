//! The header page and the directory: encoding them, and the one place that checks them.

use std::ops::Range;

use zerocopy::little_endian::{I64, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{
    COLUMN_BLOCK_BYTES, COLUMNS_HEADER_BYTES, ColumnKind, ColumnsError, ColumnsIdentity,
    ColumnsPlace,
};
use crate::episode::SpaceNumber;
use crate::format::{FORMAT_VERSION, HeaderError, StoreId, block_crc, check_block};
use crate::limits::{DIMENSIONS_MAX, SECTOR_BYTES, SPACES_MAX};

const HEADER_MAGIC: [u8; 8] = *b"ENGRAMCO";
const DIRECTORY_MAGIC: [u8; 8] = *b"ENGRAMCD";

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct HeaderPage {
    magic: [u8; 8],
    version: U32,
    shard: U32,
    store_id: StoreId,
    number: U64,
    through: U64,
    created_at_us: I64,
    zero: [u8; COLUMNS_HEADER_BYTES - 60],
    crc: U32,
}

const _: () = assert!(size_of::<HeaderPage>() == COLUMNS_HEADER_BYTES);

impl HeaderPage {
    pub(super) fn new(identity: &ColumnsIdentity) -> Self {
        let mut page = Self {
            magic: HEADER_MAGIC,
            version: FORMAT_VERSION.into(),
            shard: identity.shard.into(),
            store_id: identity.store_id,
            number: identity.number.into(),
            through: identity.through.into(),
            created_at_us: identity.created_at_us.into(),
            zero: [0; COLUMNS_HEADER_BYTES - 60],
            crc: 0.into(),
        };
        page.crc = block_crc(page.as_bytes()).into();
        page
    }

    fn identity(&self) -> ColumnsIdentity {
        ColumnsIdentity {
            store_id: self.store_id,
            shard: self.shard.get(),
            number: self.number.get(),
            through: self.through.get(),
            created_at_us: self.created_at_us.get(),
        }
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct DirectoryHead {
    magic: [u8; 8],
    version: U32,
    shard: U32,
    store_id: StoreId,
    number: U64,
    bytes: U64,
    sections: U32,
    columns: U32,
    blocks: U32,
    zero: U32,
}

#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct SectionBlock {
    pub(super) space: U32,
    pub(super) dimensions: U32,
    pub(super) rows: U32,
    pub(super) columns: U32,
}

#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct ColumnBlock {
    pub(super) kind: U32,
    pub(super) blocks: U32,
    pub(super) offset: U64,
    pub(super) bytes: U64,
    pub(super) zero: U64,
}

const _: () = assert!(size_of::<DirectoryHead>() == 64);
const _: () = assert!(size_of::<SectionBlock>() == 16 && size_of::<ColumnBlock>() == 32);

impl DirectoryHead {
    pub(super) fn new(identity: &ColumnsIdentity, bytes: u64, counts: [u32; 3]) -> Self {
        let [sections, columns, blocks] = counts;
        Self {
            magic: DIRECTORY_MAGIC,
            version: FORMAT_VERSION.into(),
            shard: identity.shard.into(),
            store_id: identity.store_id,
            number: identity.number.into(),
            bytes: bytes.into(),
            sections: sections.into(),
            columns: columns.into(),
            blocks: blocks.into(),
            zero: 0.into(),
        }
    }

    /// Bytes of a directory, the checksum in its last four included: whole sectors.
    pub(super) fn directory_bytes(sections: usize, columns: usize, blocks: usize) -> usize {
        let bytes = size_of::<Self>()
            + sections * size_of::<SectionBlock>()
            + columns * size_of::<ColumnBlock>()
            + blocks * size_of::<u32>();
        (bytes + size_of::<u32>()).next_multiple_of(SECTOR_BYTES)
    }
}

/// A column: where it is in the file, and what its blocks check to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnEntry {
    pub kind: ColumnKind,
    pub range: Range<usize>,
    pub crcs: Vec<u32>,
}

impl ColumnEntry {
    /// Whether a block of the column checks; `None` behind the last one.
    pub fn checks(&self, file: &[u8], nth: usize) -> Option<bool> {
        let block = file[self.range.clone()].chunks(COLUMN_BLOCK_BYTES).nth(nth)?;
        Some(self.crcs.get(nth) == Some(&crc32c::crc32c(block)))
    }

    /// The blocks of the column, by number, that do not check.
    pub fn damaged_blocks(&self, file: &[u8]) -> Vec<usize> {
        let blocks = file[self.range.clone()].chunks(COLUMN_BLOCK_BYTES).zip(&self.crcs);
        let damaged = blocks.enumerate().filter(|(_, (block, crc))| crc32c::crc32c(block) != **crc);
        damaged.map(|(nth, _)| nth).collect()
    }
}

/// The columns of one memory space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SectionEntry {
    pub space: SpaceNumber,
    pub dimensions: u32,
    pub rows: u32,
    /// In the order of the file; each kind at most once, the required ones exactly once.
    pub columns: Vec<ColumnEntry>,
}

impl SectionEntry {
    pub fn column(&self, kind: ColumnKind) -> Option<&ColumnEntry> {
        self.columns.iter().find(|column| column.kind == kind)
    }
}

/// What is in a columns file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnsDirectory {
    pub identity: ColumnsIdentity,
    pub sections: Vec<SectionEntry>,
}

impl ColumnsDirectory {
    /// Reads the directory of a file. Every range in the result lies inside the file and has the
    /// length that its kind and rows ask for.
    pub fn decode(
        file: &[u8],
        place: &ColumnsPlace,
        (store_id, shard, number): (StoreId, u32, u64),
    ) -> Result<Self, ColumnsError> {
        let malformed = ColumnsError::Malformed;
        let file_bytes = place.directory_offset.checked_add(place.directory_bytes);
        if file_bytes != Some(file.len() as u64) {
            let expected = file_bytes.unwrap_or(u64::MAX);
            return Err(ColumnsError::Size { expected, got: file.len() as u64 });
        }
        let (header, _) = HeaderPage::ref_from_prefix(file)
            .map_err(|_| malformed("the file is shorter than its header"))?;
        check_block(header.as_bytes(), &HEADER_MAGIC, "a columns file", header.version.get())
            .map_err(ColumnsError::Header)?;
        let identity = header.identity();
        check_whose(
            (identity.store_id, identity.shard, identity.number),
            (store_id, shard, number),
        )
        .map_err(ColumnsError::Header)?;
        let directory_at = usize::try_from(place.directory_offset).expect("inside the file");
        let directory = &file[directory_at..];
        let (head, rest) = DirectoryHead::ref_from_prefix(directory)
            .map_err(|_| malformed("it is shorter than its head"))?;
        check_block(directory, &DIRECTORY_MAGIC, "a directory of columns", head.version.get())
            .map_err(ColumnsError::Directory)?;
        let own = (head.store_id, head.shard.get(), head.number.get());
        check_whose(own, (store_id, shard, number)).map_err(ColumnsError::Directory)?;
        if block_crc(directory) != place.directory_crc {
            return Err(malformed("it is not the one that the manifest names"));
        }
        let counts = [head.sections.get(), head.columns.get(), head.blocks.get()];
        let [sections, columns, blocks] = counts.map(|count| count as usize);
        let bytes = DirectoryHead::directory_bytes(sections, columns, blocks);
        if bytes != directory.len() || head.bytes.get() != bytes as u64 || sections > SPACES_MAX {
            return Err(malformed("its parts do not add up to its length"));
        }
        let parts = <[SectionBlock]>::ref_from_prefix_with_elems(rest, sections).ok();
        let parts = parts.and_then(|(sections, rest)| {
            let (columns, rest) =
                <[ColumnBlock]>::ref_from_prefix_with_elems(rest, columns).ok()?;
            let (crcs, _) = <[U32]>::ref_from_prefix_with_elems(rest, blocks).ok()?;
            Some(Unread { columns, crcs, end: COLUMNS_HEADER_BYTES, directory_at, sections })
        });
        let sections = parts.expect("the length was just checked").sections()?;
        Ok(Self { identity, sections })
    }
}

fn check_whose(got: (StoreId, u32, u64), expected: (StoreId, u32, u64)) -> Result<(), HeaderError> {
    let mismatch =
        |what, got: String, expected: String| Err(HeaderError::Mismatch { what, got, expected });
    if got.0 != expected.0 {
        return mismatch("store id", format!("{:?}", got.0), format!("{:?}", expected.0));
    }
    if got.1 != expected.1 {
        return mismatch("shard", got.1.to_string(), expected.1.to_string());
    }
    if got.2 != expected.2 {
        return mismatch("file number", got.2.to_string(), expected.2.to_string());
    }
    Ok(())
}

/// What is left of a directory while it is read.
struct Unread<'a> {
    sections: &'a [SectionBlock],
    columns: &'a [ColumnBlock],
    crcs: &'a [U32],
    /// Where the last column ended: columns come in the order of the file.
    end: usize,
    directory_at: usize,
}

impl Unread<'_> {
    fn sections(mut self) -> Result<Vec<SectionEntry>, ColumnsError> {
        let sections = self.sections.iter().map(|block| self.section(block));
        let sections = sections.collect::<Result<Vec<_>, _>>()?;
        if !self.columns.is_empty() || !self.crcs.is_empty() {
            return Err(ColumnsError::Malformed("columns or checksums belong to no section"));
        }
        Ok(sections)
    }

    fn section(&mut self, block: &SectionBlock) -> Result<SectionEntry, ColumnsError> {
        let malformed = |what| Err(ColumnsError::Malformed(what));
        let space = SpaceNumber(block.space.get());
        let (dimensions, rows) = (block.dimensions.get(), block.rows.get());
        if !(1..=DIMENSIONS_MAX).contains(&(dimensions as usize)) {
            return malformed("the dimensions of a section are out of bounds");
        }
        let Some((own, rest)) = self.columns.split_at_checked(block.columns.get() as usize) else {
            return malformed("a section has more columns than there are");
        };
        self.columns = rest;
        let mut columns: Vec<ColumnEntry> = Vec::with_capacity(own.len());
        for block in own {
            let column = self.column(block, space, dimensions, rows)?;
            if columns.iter().any(|other| other.kind == column.kind) {
                let what = "it is there twice";
                return Err(ColumnsError::Column { space, kind: column.kind, what });
            }
            columns.push(column);
        }
        let entry = SectionEntry { space, dimensions, rows, columns };
        let mut required = ColumnKind::ALL.into_iter().filter(|kind| kind.is_required());
        match required.find(|kind| entry.column(*kind).is_none()) {
            Some(kind) => Err(ColumnsError::Missing { space, kind }),
            None => Ok(entry),
        }
    }

    fn column(
        &mut self,
        block: &ColumnBlock,
        space: SpaceNumber,
        dimensions: u32,
        rows: u32,
    ) -> Result<ColumnEntry, ColumnsError> {
        let kind = ColumnKind::from_u32(block.kind.get())
            .ok_or(ColumnsError::Malformed("a column of a kind that this build does not know"))?;
        let malformed = |what| Err(ColumnsError::Column { space, kind, what });
        let (offset, bytes) = (block.offset.get(), block.bytes.get());
        if kind.bytes_expected(rows, dimensions).is_some_and(|expected| expected != bytes) {
            return malformed("its length does not fit its rows");
        }
        let end = offset.checked_add(bytes).filter(|end| *end <= self.directory_at as u64);
        let Some(end) = end.filter(|_| offset >= self.end as u64) else {
            return malformed("it does not lie between the columns before and behind it");
        };
        if !offset.is_multiple_of(kind.alignment()) {
            return malformed("it is not aligned");
        }
        if u64::from(block.blocks.get()) != bytes.div_ceil(COLUMN_BLOCK_BYTES as u64) {
            return malformed("it has another number of blocks than of checksums");
        }
        let Some((crcs, rest)) = self.crcs.split_at_checked(block.blocks.get() as usize) else {
            return malformed("it has more blocks than there are checksums");
        };
        self.crcs = rest;
        let inside = |at: u64| usize::try_from(at).expect("inside the file");
        self.end = inside(end);
        let crcs = crcs.iter().map(|crc| crc.get()).collect();
        Ok(ColumnEntry { kind, range: inside(offset)..inside(end), crcs })
    }
}
