//! Streaming a columns file.

use zerocopy::IntoBytes;

use super::directory::{ColumnBlock, DirectoryHead, HeaderPage, SectionBlock};
use super::{COLUMN_BLOCK_BYTES, ColumnKind, ColumnsIdentity, ColumnsPlace};
use crate::episode::SpaceNumber;
use crate::format::block_crc;
use crate::limits::SECTOR_BYTES;

/// Turns columns into the bytes of a file, from front to back. What it makes is appended to a
/// buffer that the caller empties into the file whenever it likes.
#[derive(Debug)]
pub struct ColumnsWriter {
    identity: ColumnsIdentity,
    /// Bytes of the file so far.
    at: u64,
    sections: Vec<SectionBlock>,
    columns: Vec<ColumnBlock>,
    /// Checksums of the blocks of all columns.
    crcs: Vec<u32>,
    open: Option<OpenColumn>,
}

#[derive(Debug)]
struct OpenColumn {
    kind: ColumnKind,
    offset: u64,
    first_crc: usize,
    crc: u32,
    /// Bytes of the last block so far.
    block_bytes: usize,
}

impl ColumnsWriter {
    /// Begins a file with its header page.
    pub fn new(identity: ColumnsIdentity, out: &mut Vec<u8>) -> Self {
        let header = HeaderPage::new(&identity);
        out.extend_from_slice(header.as_bytes());
        let at = header.as_bytes().len() as u64;
        let (sections, columns, crcs) = (Vec::new(), Vec::new(), Vec::new());
        Self { identity, at, sections, columns, crcs, open: None }
    }

    /// Bytes of the file so far.
    pub fn file_bytes(&self) -> u64 {
        self.at
    }

    /// Begins a section; the columns that follow belong to it.
    pub fn begin_section(&mut self, space: SpaceNumber, dimensions: u32, rows: u32) {
        self.end_column();
        self.sections.push(SectionBlock {
            space: space.0.into(),
            dimensions: dimensions.into(),
            rows: rows.into(),
            columns: 0.into(),
        });
    }

    /// Begins a column of the section.
    ///
    /// # Panics
    /// Before the first section.
    pub fn begin_column(&mut self, kind: ColumnKind, out: &mut Vec<u8>) {
        self.end_column();
        let section = self.sections.last_mut().expect("a column belongs to a section");
        section.columns = (section.columns.get() + 1).into();
        let offset = self.at.next_multiple_of(kind.alignment());
        self.pad(offset, out);
        let first_crc = self.crcs.len();
        self.open = Some(OpenColumn { kind, offset, first_crc, crc: 0, block_bytes: 0 });
    }

    fn pad(&mut self, to: u64, out: &mut Vec<u8>) {
        let zeros = usize::try_from(to - self.at).expect("an alignment is small");
        out.resize(out.len() + zeros, 0);
        self.at = to;
    }

    /// Continues the column.
    ///
    /// # Panics
    /// Outside a column.
    pub fn put(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let open = self.open.as_mut().expect("bytes belong to a column");
        let mut left = bytes;
        while !left.is_empty() {
            let room = COLUMN_BLOCK_BYTES - open.block_bytes;
            let (part, rest) = left.split_at(left.len().min(room));
            open.crc = crc32c::crc32c_append(open.crc, part);
            open.block_bytes += part.len();
            if open.block_bytes == COLUMN_BLOCK_BYTES {
                self.crcs.push(open.crc);
                (open.crc, open.block_bytes) = (0, 0);
            }
            left = rest;
        }
        self.at += bytes.len() as u64;
        out.extend_from_slice(bytes);
    }

    fn end_column(&mut self) {
        let Some(open) = self.open.take() else { return };
        if open.block_bytes > 0 {
            self.crcs.push(open.crc);
        }
        let blocks = u32::try_from(self.crcs.len() - open.first_crc).expect("a disk is smaller");
        self.columns.push(ColumnBlock {
            kind: (open.kind as u32).into(),
            blocks: blocks.into(),
            offset: open.offset.into(),
            bytes: (self.at - open.offset).into(),
            zero: 0.into(),
        });
    }

    /// Ends the file with its directory; where that stands.
    pub fn finish(mut self, out: &mut Vec<u8>) -> ColumnsPlace {
        self.end_column();
        let offset = self.at.next_multiple_of(SECTOR_BYTES as u64);
        self.pad(offset, out);
        let bytes = DirectoryHead::directory_bytes(
            self.sections.len(),
            self.columns.len(),
            self.crcs.len(),
        );
        let count = |length: usize| u32::try_from(length).expect("a disk is smaller");
        let counts =
            [count(self.sections.len()), count(self.columns.len()), count(self.crcs.len())];
        let mut directory = Vec::with_capacity(bytes);
        let head = DirectoryHead::new(&self.identity, bytes as u64, counts);
        directory.extend_from_slice(head.as_bytes());
        directory.extend_from_slice(self.sections.as_bytes());
        directory.extend_from_slice(self.columns.as_bytes());
        directory.extend_from_slice(self.crcs.as_bytes());
        directory.resize(bytes, 0);
        let crc = block_crc(&directory);
        directory[bytes - 4..].copy_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&directory);
        let directory_bytes = bytes as u64;
        ColumnsPlace { directory_offset: offset, directory_bytes, directory_crc: crc }
    }
}
