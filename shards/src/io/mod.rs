//! The seam through which time and disk enter the engine.
//!
//! The log talks to its folder through [`Io`] and to nothing else, so the same engine runs on
//! io_uring in the daemon ([`UringIo`]) and on a disk of plain memory in tests ([`MemoryIo`]),
//! where every write can be lost, cut or refused.
//!
//! What happens while a shard serves is asynchronous: the log submits, goes on, and asks for
//! completions. Cutting, removing and replacing happen in recovery only, before anything is served,
//! and block.

mod folder;
mod memory;
#[cfg(feature = "simulation")]
mod random;
mod uring;

use std::fmt;
use std::io;

use crate::arena::Region;
use crate::limits::SECTOR_BYTES;

pub use folder::LogFolder;
pub use memory::{MemoryDisk, MemoryIo, WriteFault};
#[cfg(feature = "simulation")]
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

/// What became of something that was submitted.
#[derive(Debug)]
pub enum Completion {
    /// A segment file exists, is zeroed from end to end, and both it and its folder are flushed.
    Prepared { segment: u64, result: io::Result<()> },
    /// The write ended. A short write is an error.
    Written { batch: u64, buffer: Buffer, result: io::Result<()> },
    /// The flush that followed the write ended; if the write failed, so did this.
    Flushed { batch: u64, result: io::Result<()> },
    /// The region holds what the segment holds. A short read is an error.
    Read { transfer: Transfer, result: io::Result<()> },
    /// The segment holds what the region holds, flushed.
    Overwritten { transfer: Transfer, result: io::Result<()> },
    /// The anchor is in its slot, flushed.
    Anchored { result: io::Result<()> },
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

    /// What the file of anchors holds, whatever its size; `None` when there is no such file.
    fn anchors(&mut self) -> io::Result<Option<Vec<u8>>>;

    /// Makes the file of anchors anew: [`ANCHOR_SLOTS`] sectors of zeros, flushed with the folder.
    fn make_anchors(&mut self) -> io::Result<()>;

    /// Starts to write one slot of the file of anchors and to flush it; one at a time.
    fn write_anchor(&mut self, slot: usize, anchor: &[u8; SECTOR_BYTES]);

    /// Free bytes of the file system that the folder is on.
    fn free_bytes(&mut self) -> io::Result<u64>;

    /// Flushes what was written to a segment, by whichever process.
    fn flush(&mut self, segment: u64) -> io::Result<()>;

    /// Overwrites a segment with zeros from `offset` to its end and flushes it.
    fn erase_from(&mut self, segment: u64, offset: u64) -> io::Result<()>;

    /// Puts other bytes in the place of a segment, all at once or not at all, also across a power
    /// loss. The file that was there, if there was one, stays in the folder's quarantine; its name.
    fn replace(&mut self, segment: u64, bytes: &[u8]) -> io::Result<Option<String>>;

    /// Removes a segment file and flushes the folder.
    fn remove(&mut self, segment: u64) -> io::Result<()>;
}

/// Slots of the file of anchors, written in turn.
pub const ANCHOR_SLOTS: usize = 2;
