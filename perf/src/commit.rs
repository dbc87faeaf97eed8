//! What the disk gives a log: whole commits written and flushed (`fdatasync`) on a bare ring.
//!
//! This is the engine's commit path without the engine: direct I/O into a file that was written
//! with zeros before (an unwritten extent would cost a journal update per flush), a registered file
//! and registered buffers, several commits in flight. A commit is done when its flush is done.
//! Commits are as large as the log's: a batch header, the records, padding to a whole sector. The
//! same bytes are written again and again unless a [`Framing`] makes them anew for each commit.
#![allow(unsafe_code)]

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use io_uring::{IoUring, opcode, squeue, types};
use memmap2::MmapMut;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use tempfile::NamedTempFile;
use thiserror::Error;

use crate::frames::{Frames, Framing, batch_bytes};
use crate::random::Random;

/// Bytes of one record: an embedding of 768 components, a short text, the frame around them.
pub const RECORD_BYTES: usize = 3328;
pub const RECORDS_PER_COMMIT_MAX: usize = 256;
pub const COMMITS_IN_FLIGHT_MAX: usize = 8;

/// Bytes of the file the commits go to, front to back and again.
const FILE_BYTES: u64 = 256 << 20;
/// Longer commits are counted as this long.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
const ZEROING_CHUNK_BYTES: usize = 1 << 20;
const COMMIT_BYTES_MAX: usize = batch_bytes(RECORDS_PER_COMMIT_MAX);

// The buffers double as the zeros that the file is first written with.
const _: () = assert!(COMMIT_BYTES_MAX * COMMITS_IN_FLIGHT_MAX >= ZEROING_CHUNK_BYTES);
const _: () = assert!(FILE_BYTES.is_multiple_of(ZEROING_CHUNK_BYTES as u64));

#[derive(Debug, Error)]
pub enum CommitProbeError {
    #[error(
        "cannot prepare a file of {FILE_BYTES} bytes in {dir}: {source}; name a directory on \
             a local disk with room for it"
    )]
    File { dir: PathBuf, source: io::Error },
    #[error(
        "cannot open a file for direct I/O in {dir}: {source}; name a directory on a local \
             disk (tmpfs and some network file systems refuse direct I/O)"
    )]
    Direct { dir: PathBuf, source: io::Error },
    #[error(
        "cannot set up an io_uring: {0}; allow it with sysctl kernel.io_uring_disabled=0, or \
             in the container's seccomp profile"
    )]
    Ring(io::Error),
    #[error("the ring does not progress: {0}")]
    Wait(io::Error),
    #[error("a write of {expected} bytes failed: {source}")]
    Write { expected: usize, source: io::Error },
    #[error("a write of {expected} bytes stopped after {written}; is the disk full?")]
    ShortWrite { expected: usize, written: usize },
    #[error("fdatasync failed: {0}")]
    Flush(io::Error),
}

/// The figures of one size of commit at one depth.
#[derive(Debug, Clone, Serialize)]
pub struct CommitFigures {
    pub records_per_commit: usize,
    pub bytes_per_commit: usize,
    pub commits_in_flight: usize,
    pub commits_per_s: f64,
    pub records_per_s: f64,
    /// Megabytes (10⁶) written per second, padding included.
    pub mb_per_s: f64,
    pub commit_latency_us_p50: f64,
    pub commit_latency_us_p99: f64,
    /// Processor time for making the bytes of one commit; 0 when they are not made anew.
    pub framing_us_per_commit: f64,
}

/// How much a commit holds and how many are under way at once.
#[derive(Debug, Clone, Copy)]
pub struct CommitLoad {
    /// 1 to [`RECORDS_PER_COMMIT_MAX`].
    pub records_per_commit: usize,
    /// 1 to [`COMMITS_IN_FLIGHT_MAX`].
    pub commits_in_flight: usize,
}

/// The loads that the engine's commit path is compared with.
pub fn reference_loads() -> impl Iterator<Item = CommitLoad> {
    [8, 64, 256].into_iter().flat_map(|records_per_commit| {
        [1, 2, 4].map(|commits_in_flight| CommitLoad { records_per_commit, commits_in_flight })
    })
}

/// A file and a ring to commit with.
pub struct CommitProbe {
    ring: IoUring,
    /// One place of `COMMIT_BYTES_MAX` for each commit in flight.
    buffers: MmapMut,
    buffers_registered: bool,
    frames: Frames,
    /// Where in the file the next commit goes.
    offset: u64,
    _file: File,
    _path: NamedTempFile,
}

impl fmt::Debug for CommitProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommitProbe")
            .field("path", &self._path.path())
            .field("buffers_registered", &self.buffers_registered)
            .finish_non_exhaustive()
    }
}

impl CommitProbe {
    /// Writes a file of zeros into `dir`, deleted when the probe goes, and sets the ring up.
    pub fn new(dir: &Path) -> Result<Self, CommitProbeError> {
        let file_error = |source| CommitProbeError::File { dir: dir.to_owned(), source };
        let mut buffers =
            MmapMut::map_anon(COMMIT_BYTES_MAX * COMMITS_IN_FLIGHT_MAX).map_err(file_error)?;
        let path = NamedTempFile::new_in(dir).map_err(file_error)?;
        let file = OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_DIRECT)
            .open(path.path())
            .map_err(|source| CommitProbeError::Direct { dir: dir.to_owned(), source })?;
        for offset in (0..FILE_BYTES).step_by(ZEROING_CHUNK_BYTES) {
            file.write_all_at(&buffers[..ZEROING_CHUNK_BYTES], offset).map_err(file_error)?;
        }
        file.sync_all().map_err(file_error)?;
        // A disk that recognises zeros or repetition must not have it easier than with real data.
        Random::default().fill_bytes(&mut buffers);

        let ring =
            IoUring::new(2 * COMMITS_IN_FLIGHT_MAX as u32).map_err(CommitProbeError::Ring)?;
        ring.submitter().register_files(&[file.as_raw_fd()]).map_err(CommitProbeError::Ring)?;
        let slice = libc::iovec { iov_base: buffers.as_mut_ptr().cast(), iov_len: buffers.len() };
        // SAFETY: the kernel pins the pages of the map until the ring closes, and `buffers` drops
        // after `ring`; a slot is written to only while no commit of it is under way.
        let buffers_registered = unsafe { ring.submitter().register_buffers(&[slice]) }.is_ok();
        Ok(Self {
            ring,
            buffers,
            buffers_registered,
            frames: Frames::default(),
            offset: 0,
            _file: file,
            _path: path,
        })
    }

    /// Whether the kernel took the buffers for good; without room under `RLIMIT_MEMLOCK` it maps
    /// them anew for each write.
    pub fn buffers_registered(&self) -> bool {
        self.buffers_registered
    }

    /// Commits for `duration` with `load` and waits for the last flush.
    ///
    /// # Panics
    ///
    /// When a member of `load` is out of bounds.
    pub fn run(
        &mut self,
        load: CommitLoad,
        duration: Duration,
    ) -> Result<CommitFigures, CommitProbeError> {
        self.run_framed(load, None, duration)
    }

    /// As [`run`](Self::run), and makes the bytes of each commit right before it is written.
    ///
    /// # Panics
    ///
    /// When a member of `load` is out of bounds.
    pub fn run_framed(
        &mut self,
        load: CommitLoad,
        framing: Option<Framing>,
        duration: Duration,
    ) -> Result<CommitFigures, CommitProbeError> {
        let CommitLoad { records_per_commit, commits_in_flight } = load;
        assert!((1..=RECORDS_PER_COMMIT_MAX).contains(&records_per_commit));
        assert!((1..=COMMITS_IN_FLIGHT_MAX).contains(&commits_in_flight));
        let bytes = batch_bytes(records_per_commit);

        let start = Instant::now();
        let mut latencies_ns = Histogram::<u64>::new_with_bounds(1, LATENCY_NS_MAX, 3)
            .expect("the bounds and three digits are valid");
        let mut submitted_at = vec![start; commits_in_flight];
        let mut framing_time = Duration::ZERO;
        for (slot, submitted_at) in submitted_at.iter_mut().enumerate() {
            framing_time += self.make(slot, framing, records_per_commit);
            *submitted_at = Instant::now();
            self.push(slot, bytes);
        }
        let mut under_way = commits_in_flight;
        while under_way > 0 {
            self.wait()?;
            while let Some(slot) = self.next_flushed(bytes)? {
                latencies_ns.saturating_record(submitted_at[slot].elapsed().as_nanos() as u64);
                if start.elapsed() < duration {
                    framing_time += self.make(slot, framing, records_per_commit);
                    submitted_at[slot] = Instant::now();
                    self.push(slot, bytes);
                } else {
                    under_way -= 1;
                }
            }
        }
        let commits = latencies_ns.len() as f64;
        let commits_per_s = commits / start.elapsed().as_secs_f64();
        let latency_us = |quantile| latencies_ns.value_at_quantile(quantile) as f64 / 1e3;
        Ok(CommitFigures {
            records_per_commit,
            bytes_per_commit: bytes,
            commits_in_flight,
            commits_per_s,
            records_per_s: commits_per_s * records_per_commit as f64,
            mb_per_s: commits_per_s * bytes as f64 / 1e6,
            commit_latency_us_p50: latency_us(0.50),
            commit_latency_us_p99: latency_us(0.99),
            framing_us_per_commit: framing_time.as_secs_f64() * 1e6 / commits,
        })
    }

    /// Makes the bytes of a slot with no commit under way; the processor time that took.
    fn make(&mut self, slot: usize, framing: Option<Framing>, records: usize) -> Duration {
        let Some(framing) = framing else { return Duration::ZERO };
        let start = processor_time();
        let buffer = &mut self.buffers[slot * COMMIT_BYTES_MAX..][..COMMIT_BYTES_MAX];
        self.frames.make(framing, buffer, records);
        processor_time() - start
    }

    /// Queues the write of `slot`'s buffer and the flush linked to it.
    fn push(&mut self, slot: usize, bytes: usize) {
        if self.offset + bytes as u64 > FILE_BYTES {
            self.offset = 0;
        }
        let file = types::Fixed(0);
        let buffer = self.buffers[slot * COMMIT_BYTES_MAX..][..bytes].as_ptr();
        let write = if self.buffers_registered {
            opcode::WriteFixed::new(file, buffer, bytes as u32, 0).offset(self.offset).build()
        } else {
            opcode::Write::new(file, buffer, bytes as u32).offset(self.offset).build()
        };
        let write = write.flags(squeue::Flags::IO_LINK).user_data(Event::Write(slot).encode());
        let flush = opcode::Fsync::new(file)
            .flags(types::FsyncFlags::DATASYNC)
            .build()
            .user_data(Event::Flush(slot).encode());
        // SAFETY: the buffer lives in `buffers`, which outlives the ring; the slot is written to
        // again only when its flush, and so its write, has ended.
        unsafe { self.ring.submission().push_multiple(&[write, flush]) }
            .expect("the ring has two entries for each commit in flight");
        self.offset += bytes as u64;
    }

    /// Submits what is queued and waits for a completion.
    fn wait(&mut self) -> Result<(), CommitProbeError> {
        loop {
            match self.ring.submit_and_wait(1) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(CommitProbeError::Wait(error)),
            }
        }
    }

    /// The slot of the next commit whose flush is done, if one is; checks the writes on the way.
    fn next_flushed(&mut self, bytes: usize) -> Result<Option<usize>, CommitProbeError> {
        for completion in self.ring.completion() {
            let result = completion.result();
            let outcome = match result {
                0.. => Ok(result as usize),
                errno => Err(io::Error::from_raw_os_error(-errno)),
            };
            match (Event::decode(completion.user_data()), outcome) {
                (Event::Write(_), Ok(written)) if written == bytes => {}
                (Event::Write(_), Ok(written)) => {
                    return Err(CommitProbeError::ShortWrite { expected: bytes, written });
                }
                (Event::Write(_), Err(source)) => {
                    return Err(CommitProbeError::Write { expected: bytes, source });
                }
                (Event::Flush(slot), Ok(_)) => return Ok(Some(slot)),
                (Event::Flush(_), Err(source)) => return Err(CommitProbeError::Flush(source)),
            }
        }
        Ok(None)
    }
}

/// What the calling thread has used.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// What a completion stands for, carried through the ring as its user data.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Event {
    Write(usize),
    Flush(usize),
}

impl Event {
    fn encode(self) -> u64 {
        match self {
            Self::Write(slot) => (slot as u64) << 1,
            Self::Flush(slot) => (slot as u64) << 1 | 1,
        }
    }

    fn decode(user_data: u64) -> Self {
        let slot = (user_data >> 1) as usize;
        if user_data & 1 == 0 { Self::Write(slot) } else { Self::Flush(slot) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_fill_whole_sectors() {
        assert_eq!(batch_bytes(1), 4096);
        assert_eq!(batch_bytes(8), 28_672);
        assert_eq!(batch_bytes(64), 217_088);
        assert_eq!(batch_bytes(256), 856_064);
    }

    #[test]
    fn events_survive_the_ring() {
        for event in [Event::Write(0), Event::Flush(0), Event::Write(7), Event::Flush(7)] {
            assert_eq!(Event::decode(event.encode()), event);
        }
    }

    #[test]
    fn a_directory_that_does_not_exist_is_named() {
        let error = CommitProbe::new(Path::new("/no/such/directory")).expect_err("no directory");
        assert!(error.to_string().contains("/no/such/directory"), "{error}");
    }
}
