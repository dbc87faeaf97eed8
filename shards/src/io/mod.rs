//! The seam through which time and disk enter the engine.
//!
//! The log talks to its folder through [`Io`] and to nothing else, so the same engine runs on
//! io_uring in the daemon ([`UringIo`]) and on a disk of plain memory in tests ([`MemoryIo`]),
//! where every write can be lost, cut or refused.
//!
//! Writing is asynchronous: the log submits, goes on, and asks for completions. Reading and cutting
//! happen in recovery only, before anything is served, and block.

mod memory;
#[cfg(feature = "simulation")]
mod random;
#[cfg(feature = "simulation")]
pub mod simulated;
mod uring;

use std::fmt;
use std::io;

use crate::arena::Region;

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

/// What became of something that was submitted.
#[derive(Debug)]
pub enum Completion {
    /// A segment file exists, is zeroed from end to end, and both it and its folder are flushed.
    Prepared { segment: u64, result: io::Result<()> },
    /// The write ended. A short write is an error.
    Written { batch: u64, buffer: Buffer, result: io::Result<()> },
    /// The flush that followed the write ended; if the write failed, so did this.
    Flushed { batch: u64, result: io::Result<()> },
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

    /// Fills `buffer` from a segment; offset and length are whole sectors inside the file.
    fn read(
        &mut self,
        segment: u64,
        offset: u64,
        buffer: &mut Region,
        bytes: usize,
    ) -> io::Result<()>;

    /// Flushes what was written to a segment, by whichever process.
    fn flush(&mut self, segment: u64) -> io::Result<()>;

    /// Overwrites a segment with zeros from `offset` to its end and flushes it.
    fn erase_from(&mut self, segment: u64, offset: u64) -> io::Result<()>;

    /// Removes a segment file and flushes the folder.
    fn remove(&mut self, segment: u64) -> io::Result<()>;
}

/// A transfer of less than was asked is a failure: it is not tried again.
fn whole(transferred: usize, bytes: usize) -> io::Result<()> {
    if transferred == bytes {
        return Ok(());
    }
    let text = format!("{transferred} of {bytes} bytes were transferred");
    Err(io::Error::new(io::ErrorKind::WriteZero, text))
}

/// So that the same engine can be built once for every disk it may run on.
impl<I: Io + ?Sized> Io for Box<I> {
    fn facts(&self) -> IoFacts {
        (**self).facts()
    }

    fn wall_us(&self) -> i64 {
        (**self).wall_us()
    }

    fn monotonic_ns(&self) -> u64 {
        (**self).monotonic_ns()
    }

    fn register(&mut self, buffers: &[Buffer]) {
        (**self).register(buffers);
    }

    fn prepare(&mut self, segment: u64, bytes: u64) {
        (**self).prepare(segment, bytes);
    }

    fn write(&mut self, write: BatchWrite) {
        (**self).write(write);
    }

    fn complete(&mut self) -> Option<Completion> {
        (**self).complete()
    }

    fn wait(&mut self) -> io::Result<()> {
        (**self).wait()
    }

    fn segments(&mut self) -> io::Result<Vec<(u64, u64)>> {
        (**self).segments()
    }

    fn read(
        &mut self,
        segment: u64,
        offset: u64,
        buffer: &mut Region,
        bytes: usize,
    ) -> io::Result<()> {
        (**self).read(segment, offset, buffer, bytes)
    }

    fn flush(&mut self, segment: u64) -> io::Result<()> {
        (**self).flush(segment)
    }

    fn erase_from(&mut self, segment: u64, offset: u64) -> io::Result<()> {
        (**self).erase_from(segment, offset)
    }

    fn remove(&mut self, segment: u64) -> io::Result<()> {
        (**self).remove(segment)
    }
}
