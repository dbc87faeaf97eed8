//! The seam through which time and disk enter the engine.
//!
//! The log talks to its folder through [`Io`] and to nothing else, so the same engine runs on
//! io_uring in the daemon ([`UringIo`]) and on a disk of plain memory in tests ([`MemoryIo`]),
//! where every write can be lost, cut or refused.
//!
//! Memory comes from there too: whoever touches a page that has no memory yet is stopped until the
//! kernel, or a hypervisor below it, has found some, so an [`Io`] has it touched elsewhere
//! ([`Io::bring_in`]); and it takes apart what the kernel would take long to ([`Io::let_go`]).
//!
//! What happens while a shard serves is asynchronous: the log submits, goes on, and asks for
//! completions. Cutting, removing and replacing happen in recovery only, before anything is served,
//! and block.
//!
//! Beside the segments of the log there are files that are written once: columns and state files
//! ([`FileId`]). One is made, takes its bytes in [`Piece`]s from front to back, and is sealed: from
//! then on it survives a power loss, can be mapped, and never changes. A file that was not sealed
//! is of no value, and after a crash any part of it may be there. Two small files have slots that
//! are written over and over: the anchors and the manifest ([`SlotFile`]).

mod folder;
mod memory;
mod random;
#[cfg(feature = "simulation")]
pub mod simulated;
mod uring;

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::arena::{Mapped, Region, Stretch};
use crate::format::{FileId, SLOTS};
use crate::limits::SECTOR_BYTES;

pub use folder::LogFolder;
pub use memory::{MemoryDisk, MemoryIo, WriteFault};
pub use random::Random;
pub use uring::{Clock, UringIo, UringSettings};

/// A batch buffer. Whoever owns it may touch it; while a write is under way the [`Io`] does.
#[derive(Debug)]
pub struct Buffer {
    pub region: Region,
    /// Position among the buffers given to [`Io::register`].
    pub index: u16,
}

/// A write of whole sectors followed by a flush.
#[derive(Debug)]
pub struct BatchWrite {
    /// Names the write in its completions.
    pub batch: u64,
    pub segment: u64,
    /// Where in the segment; a multiple of the sector.
    pub offset: u64,
    pub buffer: Buffer,
    /// The part of the buffer to write.
    pub from: usize,
    pub bytes: usize,
}

/// A transfer of whole sectors between a segment and memory.
#[derive(Debug)]
pub struct Transfer {
    /// Names the transfer in its completion.
    pub ticket: u64,
    pub segment: u64,
    /// Where in the segment; a multiple of the sector.
    pub offset: u64,
    pub region: Region,
    /// The part of the region to fill or to write.
    pub from: usize,
    pub bytes: usize,
}

/// The most that is written to a columns or state file at once, and the length of every piece but
/// the last: the kernel keeps such a piece in one huge page.
pub const PIECE_BYTES: usize = 2 << 20;

/// The next bytes of a file that is being made.
#[derive(Debug)]
pub struct Piece {
    pub file: FileId,
    /// Where in the file: behind the piece before, a multiple of [`PIECE_BYTES`].
    pub offset: u64,
    pub region: Region,
    /// The part of the region to write: whole sectors, and less than [`PIECE_BYTES`] only at the
    /// end of the file.
    pub from: usize,
    pub bytes: usize,
}

/// What memory is brought in for. The numbers are the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A chunk of the arena.
    Chunk(u32),
    /// A consolidation builds with it.
    Consolidation(u64),
}

/// The files of [`SLOTS`] sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotFile {
    Anchors,
    Manifest,
}

/// What became of a columns, state or log file.
#[derive(Debug)]
pub enum FileEvent {
    /// The file exists and has no bytes yet.
    Created { file: FileId, result: io::Result<()> },
    /// The piece is in the file and with the disk, yet nothing is flushed. A short write is an
    /// error.
    Written { piece: Piece, result: io::Result<()> },
    /// The file and its name survive a power loss.
    Sealed { file: FileId, result: io::Result<()> },
    /// The file is gone and will not come back after a power loss.
    Removed { file: FileId, result: io::Result<()> },
}

/// A folder to be made, anywhere, and what goes into it of this one. Whoever asks sees to it that
/// what is named here stays as it is until the copy is made.
#[derive(Debug)]
pub struct FolderCopy {
    /// Its parent exists, and it does not.
    pub into: PathBuf,
    /// Files that are sealed, with their sizes: the same file under a second name where that can
    /// be, and otherwise a copy.
    pub sealed: Vec<(FileId, u64)>,
    /// Segments of the log, always copied, because a log is written to in place; behind what is
    /// copied there are zeros.
    pub segments: Vec<SegmentCopy>,
    /// Bytes of each segment.
    pub segment_bytes: u64,
    /// Files of slots, made anew.
    pub slots: Vec<(SlotFile, Box<[u8; SLOT_FILE_BYTES]>)>,
}

/// The part of a segment that is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentCopy {
    pub segment: u64,
    /// From its beginning; whole sectors.
    pub bytes: u64,
}

/// What a copy of a folder is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files with a second name, and their bytes.
    pub files_linked: u64,
    pub bytes_linked: u64,
    /// Files that were copied, and the bytes that were written for them.
    pub files_copied: u64,
    pub bytes_copied: u64,
}

/// What became of something that was submitted.
#[derive(Debug)]
pub enum Completion {
    /// A segment file exists, is zeroed from end to end, and both it and its folder are flushed.
    Prepared {
        segment: u64,
        result: io::Result<()>,
    },
    /// The write ended. A short write is an error.
    Written {
        batch: u64,
        buffer: Buffer,
        result: io::Result<()>,
    },
    /// The flush that followed the write ended; if the write failed, so did this.
    Flushed {
        batch: u64,
        result: io::Result<()>,
    },
    /// The region holds what the segment holds. A short read is an error.
    Read {
        transfer: Transfer,
        result: io::Result<()>,
    },
    /// The segment holds what the region holds, flushed.
    Overwritten {
        transfer: Transfer,
        result: io::Result<()>,
    },
    /// The block is in its slot, flushed.
    SlotWritten {
        file: SlotFile,
        result: io::Result<()>,
    },
    File(FileEvent),
    /// There is memory behind what was to be brought in; if that failed, it comes when it is used.
    BroughtIn {
        purpose: Purpose,
        result: io::Result<()>,
    },
    /// The copy is complete and flushed, with its folder. Whether the folder's own name is, is for
    /// its parent to say. After an error anything may be in it.
    Copied {
        result: io::Result<Copied>,
    },
}

/// What is said about an [`Io`] where the daemon tells about itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IoFacts {
    /// Files bypass the page cache.
    pub is_direct: bool,
    /// Writes come from memory that the kernel knows.
    pub has_registered_buffers: bool,
}

/// Time and one shard's log folder.
#[auto_impl::auto_impl(Box)]
pub trait Io: fmt::Debug {
    fn facts(&self) -> IoFacts;

    /// Microseconds since 1970-01-01 UTC.
    fn wall_us(&self) -> i64;

    /// A clock that never goes back, for durations.
    fn monotonic_ns(&self) -> u64;

    /// Tells which buffers will be written from, before the first write.
    fn register(&mut self, buffers: &[Buffer]);

    /// Starts to make a segment file of `bytes`.
    fn prepare(&mut self, segment: u64, bytes: u64);

    /// Starts a write and its flush. Writes may overtake each other.
    fn write(&mut self, write: BatchWrite);

    /// The next completion, if one has arrived; never blocks.
    fn complete(&mut self) -> Option<Completion>;

    /// Blocks until a completion may have arrived. Only when something is under way.
    fn wait(&mut self) -> io::Result<()>;

    /// The segment files in the folder, in ascending order, with their sizes.
    fn segments(&mut self) -> io::Result<Vec<(u64, u64)>>;

    /// Starts to fill a region from a segment. The sectors lie inside the file.
    fn read(&mut self, transfer: Transfer);

    /// Starts to write over sectors that are in use, and to flush them.
    fn overwrite(&mut self, transfer: Transfer);

    /// What a file of slots holds, up to more than it should; `None` when there is no such file.
    fn slots(&mut self, file: SlotFile) -> io::Result<Option<Vec<u8>>>;

    /// Makes a file of slots anew: [`SLOTS`] sectors of zeros, flushed with the folder.
    fn make_slots(&mut self, file: SlotFile) -> io::Result<()>;

    /// Starts to write one slot and to flush it; one at a time for each file.
    fn write_slot(&mut self, file: SlotFile, slot: usize, block: &[u8; SECTOR_BYTES]);

    /// The columns and state files in the folder, in ascending order, with their sizes.
    fn files(&mut self) -> io::Result<Vec<(FileId, u64)>>;

    /// Starts to make a file, which must not exist.
    fn create_file(&mut self, file: FileId);

    /// Starts to write the next piece of a file that was made here. Pieces of one file end in any
    /// order; whoever writes has no more than a few of them under way.
    fn write_file(&mut self, piece: Piece);

    /// Starts to flush a file whose pieces have all ended, and its folder. Nothing is written to it
    /// after that.
    fn seal_file(&mut self, file: FileId);

    /// Starts to remove a file, be it being made, sealed, mapped, or a segment of the log that
    /// nothing is under way to. What is mapped stays readable.
    fn remove_file(&mut self, file: FileId);

    /// Starts to make a copy of what is in the folder; one at a time.
    fn copy_folder(&mut self, copy: FolderCopy);

    /// Starts to bring memory in. It is there for its owner to use meanwhile, and may cease to be.
    fn bring_in(&mut self, purpose: Purpose, stretch: Stretch);

    /// Lets a file in memory go that nobody looks at any more, and of which nothing is mapped: what
    /// the kernel still has to do when the file was removed takes no time of this thread.
    fn let_go(&mut self, mapped: Mapped);

    /// Shows a sealed file in memory.
    fn map_file(&mut self, file: FileId) -> io::Result<Mapped>;

    /// Free bytes of the file system that the folder is on.
    fn free_bytes(&mut self) -> io::Result<u64>;

    /// Flushes what was written to a segment, by whichever process.
    fn flush(&mut self, segment: u64) -> io::Result<()>;

    /// Overwrites a segment with zeros from `offset` to its end and flushes it.
    fn erase_from(&mut self, segment: u64, offset: u64) -> io::Result<()>;

    /// Puts other bytes in the place of a segment, all at once or not at all, also across a power
    /// loss. The file that was there, if there was one, stays in the folder's quarantine; its name.
    fn replace(&mut self, segment: u64, bytes: &[u8]) -> io::Result<Option<String>>;

    /// Removes a file and flushes the folder.
    fn remove(&mut self, file: FileId) -> io::Result<()>;
}

/// Bytes of a file of slots.
pub const SLOT_FILE_BYTES: usize = SLOTS * SECTOR_BYTES;

/// A transfer of less than was asked is a failure: it is not tried again.
fn whole(transferred: usize, bytes: usize) -> io::Result<()> {
    if transferred == bytes {
        return Ok(());
    }
    let text = format!("{transferred} of {bytes} bytes were transferred");
    Err(io::Error::new(io::ErrorKind::WriteZero, text))
}
