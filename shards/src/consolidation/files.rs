//! Streaming a file that is written once: in whole pieces, a few of them under way.

use std::collections::VecDeque;
use std::io;

use super::Advanced;
use crate::arena::Region;
use crate::format::FileId;
use crate::io::{FileEvent, Io, PIECE_BYTES, Piece};
use crate::limits::SECTOR_BYTES;

/// Pieces with the disk at once.
const UNDER_WAY_MAX: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    New,
    Creating,
    Open,
    Sealing,
    Sealed,
}

/// See the top of the file.
#[derive(Debug)]
pub(super) struct FileWriter {
    file: FileId,
    life: Life,
    /// Where the next piece goes.
    offset: u64,
    /// The piece that is being filled, and how far.
    filling: Option<Region>,
    filled: usize,
    /// Pieces that wait for the disk. What is put at once may fill some: a column that begins on a
    /// huge page has up to a piece of zeros in front, and a body may have thousands of links.
    full: VecDeque<Region>,
    free: Vec<Region>,
    under_way: usize,
}

impl FileWriter {
    /// Writes from these regions of a piece each, and makes more if need be.
    pub(super) fn new(file: FileId, free: Vec<Region>) -> Self {
        Self {
            file,
            life: Life::New,
            offset: 0,
            filling: None,
            filled: 0,
            full: VecDeque::new(),
            free,
            under_way: 0,
        }
    }

    /// The regions that the disk does not have.
    pub(super) fn take_regions(&mut self) -> impl Iterator<Item = Region> {
        let held = self.filling.take().into_iter().chain(self.full.drain(..));
        held.chain(self.free.drain(..))
    }

    pub(super) fn file(&self) -> FileId {
        self.file
    }

    /// Bytes handed to the disk.
    pub(super) fn bytes(&self) -> u64 {
        self.offset
    }

    /// Whether the disk knows of the file.
    pub(super) fn has_begun(&self) -> bool {
        self.life != Life::New
    }

    /// Operations that the disk has not ended.
    pub(super) fn under_way(&self) -> usize {
        self.under_way + usize::from(matches!(self.life, Life::Creating | Life::Sealing))
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.life == Life::Sealed
    }

    /// Whether more bytes may be put: no piece waits for the disk.
    pub(super) fn has_room(&self) -> bool {
        self.full.is_empty()
    }

    /// Adds bytes: no more than a few pieces at a time, and only while there is room.
    pub(super) fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        assert!(self.has_room() || bytes.is_empty(), "bytes are put while there is room");
        while !bytes.is_empty() {
            if self.filling.is_none() {
                let region = self.free.pop().map_or_else(|| Region::new(PIECE_BYTES), Ok)?;
                self.filling = Some(region);
            }
            let region = self.filling.as_mut().expect("just made sure");
            let (now, later) = bytes.split_at(bytes.len().min(PIECE_BYTES - self.filled));
            region[self.filled..self.filled + now.len()].copy_from_slice(now);
            self.filled += now.len();
            bytes = later;
            if self.filled == PIECE_BYTES {
                self.full.extend(self.filling.take());
                self.filled = 0;
            }
        }
        Ok(())
    }

    /// Hands to the disk what it may have; with the end, also the last piece and the flush. A file
    /// of which there is nothing yet is not made.
    pub(super) fn pump<I: Io>(&mut self, io: &mut I, is_end: bool) -> io::Result<Advanced> {
        match self.life {
            Life::New if self.full.is_empty() && self.filling.is_none() => {
                return Ok(Advanced::Worked);
            }
            Life::New => {
                io.create_file(self.file);
                self.life = Life::Creating;
                return Ok(Advanced::Worked);
            }
            Life::Creating | Life::Sealing => return Ok(Advanced::Waits),
            Life::Sealed => return Ok(Advanced::Worked),
            Life::Open => {}
        }
        if self.under_way == UNDER_WAY_MAX {
            return Ok(Advanced::Waits);
        }
        if let Some(region) = self.full.pop_front() {
            self.submit(io, region, PIECE_BYTES);
            return Ok(Advanced::Worked);
        }
        if !is_end {
            return Ok(Advanced::Worked);
        }
        if let Some(mut region) = self.filling.take() {
            let bytes = self.filled.next_multiple_of(SECTOR_BYTES);
            region[self.filled..bytes].fill(0);
            self.filled = 0;
            self.submit(io, region, bytes);
            return Ok(Advanced::Worked);
        }
        if self.under_way > 0 {
            return Ok(Advanced::Waits);
        }
        io.seal_file(self.file);
        self.life = Life::Sealing;
        Ok(Advanced::Waits)
    }

    fn submit<I: Io>(&mut self, io: &mut I, region: Region, bytes: usize) {
        io.write_file(Piece { file: self.file, offset: self.offset, region, from: 0, bytes });
        self.offset += bytes as u64;
        self.under_way += 1;
    }

    /// Takes what became of it.
    pub(super) fn take(&mut self, event: FileEvent) -> io::Result<()> {
        match event {
            FileEvent::Created { file, result } if file == self.file => {
                self.life = Life::Open;
                result
            }
            FileEvent::Written { piece, result } if piece.file == self.file => {
                self.under_way -= 1;
                self.free.push(piece.region);
                result
            }
            FileEvent::Sealed { file, result } if file == self.file => {
                self.life = Life::Sealed;
                result
            }
            _ => Ok(()),
        }
    }
}
