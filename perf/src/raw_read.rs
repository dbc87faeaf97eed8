//! The rate at which the disk gives files at all, with nothing done to the bytes.
//!
//! Each thread has a ring of its own and keeps a fixed number of reads in flight, past the page
//! cache, into registered buffers that were touched before; the threads take the files piece by
//! piece from one list, so none of them waits for another at the end. Which size and depth is
//! fastest differs between disks, so [`plans`] has a few to choose from.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use engram_shards::limits::SECTOR_BYTES;
use io_uring::{IoUring, opcode, types};
use memmap2::{Advice, MmapMut};
use serde::Serialize;
use thiserror::Error;

use crate::recovery_store::LogFile;

#[derive(Debug, Error)]
pub enum RawReadError {
    #[error("cannot open {path} for direct I/O: {source}; it must be on a local disk")]
    Open { path: PathBuf, source: io::Error },
    #[error(
        "cannot set up a ring to read with: {0}; allow it with sysctl kernel.io_uring_disabled=0"
    )]
    Ring(io::Error),
    #[error("a read of {expected} bytes failed: {source}")]
    Read { expected: u32, source: io::Error },
    #[error("a read of {expected} bytes gave {got}; is somebody writing to the store?")]
    Short { expected: u32, got: u32 },
}

/// How to read.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ReadPlan {
    pub threads: usize,
    pub block_bytes: usize,
    /// Reads in flight, of each thread.
    pub depth: usize,
}

/// What is worth trying on a number of threads.
pub fn plans(threads: usize) -> impl Iterator<Item = ReadPlan> {
    [256 << 10, 1 << 20, 4 << 20].into_iter().flat_map(move |block_bytes| {
        [4, 16, 32].map(|depth| ReadPlan { threads, block_bytes, depth })
    })
}

/// A part of a file that is read at once.
#[derive(Debug, Clone, Copy)]
struct Piece {
    file: u32,
    offset: u64,
    bytes: u32,
}

/// Files opened past the page cache.
#[derive(Debug)]
pub struct RawFiles {
    files: Vec<File>,
    sizes: Vec<u64>,
}

impl RawFiles {
    pub fn open(files: &[LogFile]) -> Result<Self, RawReadError> {
        let open = |LogFile { path, .. }: &LogFile| {
            let mut options = OpenOptions::new();
            let file = options.read(true).custom_flags(libc::O_DIRECT).open(path);
            file.map_err(|source| RawReadError::Open { path: path.clone(), source })
        };
        let sizes = files.iter().map(|file| file.bytes - file.bytes % SECTOR_BYTES as u64);
        Ok(Self {
            files: files.iter().map(open).collect::<Result<_, _>>()?,
            sizes: sizes.collect(),
        })
    }

    pub fn bytes(&self) -> u64 {
        self.sizes.iter().sum()
    }

    /// Reads everything once; from the first read's start to the last one's end.
    pub fn read(&self, plan: ReadPlan) -> Result<Duration, RawReadError> {
        let pieces = self.pieces(plan.block_bytes as u64);
        let (next, ready) = (AtomicUsize::new(0), Barrier::new(plan.threads));
        let spans = std::thread::scope(|scope| {
            let readers: Vec<_> = (0..plan.threads)
                .map(|_| {
                    scope.spawn(|| {
                        let reader = Reader::new(&self.files, plan);
                        // Whoever could not begin must not keep the others waiting.
                        ready.wait();
                        let start = Instant::now();
                        reader?
                            .run(|| pieces.get(next.fetch_add(1, Ordering::Relaxed)).copied())?;
                        Ok((start, Instant::now()))
                    })
                })
                .collect();
            let spans = readers.into_iter().map(|reader| reader.join().expect("no panic"));
            spans.collect::<Result<Vec<_>, _>>()
        })?;
        let start = spans.iter().map(|(start, _)| *start).min().expect("at least one thread");
        let end = spans.iter().map(|(_, end)| *end).max().expect("at least one thread");
        Ok(end - start)
    }

    fn pieces(&self, block_bytes: u64) -> Vec<Piece> {
        let pieces = self.sizes.iter().enumerate().flat_map(|(file, &size)| {
            (0..size).step_by(block_bytes as usize).map(move |offset| Piece {
                file: file as u32,
                offset,
                bytes: (size - offset).min(block_bytes) as u32,
            })
        });
        pieces.collect()
    }
}

/// One thread's ring and buffers.
struct Reader {
    ring: IoUring,
    /// One place of `block_bytes` for each read in flight; dropped after the ring.
    buffers: MmapMut,
    plan: ReadPlan,
}

impl Reader {
    fn new(files: &[File], plan: ReadPlan) -> Result<Self, RawReadError> {
        let ring = IoUring::new(plan.depth as u32).map_err(RawReadError::Ring)?;
        let descriptors: Vec<_> = files.iter().map(AsRawFd::as_raw_fd).collect();
        ring.submitter().register_files(&descriptors).map_err(RawReadError::Ring)?;
        let buffers = MmapMut::map_anon(plan.depth * plan.block_bytes)
            .and_then(|map| {
                map.advise(Advice::HugePage)?;
                map.advise(Advice::PopulateWrite)?;
                Ok(map)
            })
            .map_err(RawReadError::Ring)?;
        Ok(Self { ring, buffers, plan })
    }

    /// Reads pieces until there are no more.
    fn run(mut self, next: impl Fn() -> Option<Piece>) -> Result<(), RawReadError> {
        let mut expected = vec![0; self.plan.depth];
        let mut under_way = 0;
        let mut idle: Vec<usize> = (0..self.plan.depth).collect();
        let mut result = Ok(());
        loop {
            while result.is_ok()
                && let Some(slot) = idle.last().copied()
                && let Some(piece) = next()
            {
                idle.pop();
                expected[slot] = piece.bytes;
                self.push(slot, piece);
                under_way += 1;
            }
            // After a failure too: the buffers may go only when the kernel is done with them.
            if under_way == 0 {
                return result;
            }
            if let Err(error) = self.ring.submit_and_wait(1)
                && error.kind() != io::ErrorKind::Interrupted
            {
                // Nobody can tell any more when the reads end, so their buffers stay for good.
                std::mem::forget(self);
                return Err(RawReadError::Ring(error));
            }
            for completion in self.ring.completion() {
                let slot = completion.user_data() as usize;
                let read = outcome(completion.result(), expected[slot]);
                result = result.and(read);
                idle.push(slot);
                under_way -= 1;
            }
        }
    }

    fn push(&mut self, slot: usize, piece: Piece) {
        let at = self.buffers[slot * self.plan.block_bytes..].as_mut_ptr();
        let entry = opcode::Read::new(types::Fixed(piece.file), at, piece.bytes)
            .offset(piece.offset)
            .build()
            .user_data(slot as u64);
        // SAFETY: the slot is idle, its part of `buffers` holds `block_bytes` and nobody looks at
        // it; `run` gives it up only when nothing is under way.
        unsafe { self.ring.submission().push(&entry) }.expect("an entry for each read in flight");
    }
}

fn outcome(result: i32, expected: u32) -> Result<(), RawReadError> {
    match u32::try_from(result) {
        Ok(got) if got == expected => Ok(()),
        Ok(got) => Err(RawReadError::Short { expected, got }),
        Err(_) => {
            let source = io::Error::from_raw_os_error(-result);
            Err(RawReadError::Read { expected, source })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(sizes: &[u64]) -> (tempfile::TempDir, Vec<LogFile>) {
        let folder = tempfile::tempdir().unwrap();
        let make = |(nth, &bytes): (usize, &u64)| {
            let path = folder.path().join(nth.to_string());
            std::fs::write(&path, vec![7; bytes as usize]).unwrap();
            LogFile { path, bytes }
        };
        let files = sizes.iter().enumerate().map(make).collect();
        (folder, files)
    }

    #[test]
    fn every_byte_is_in_exactly_one_piece() {
        let (_folder, files) = files(&[1 << 20, 4096 * 3 + 5, 0, 4096]);
        let raw = RawFiles::open(&files).unwrap();
        assert_eq!(raw.bytes(), (1 << 20) + 4096 * 4);
        let pieces = raw.pieces(256 << 10);
        assert_eq!(pieces.len(), 6);
        assert_eq!(pieces.iter().map(|piece| u64::from(piece.bytes)).sum::<u64>(), raw.bytes());
    }

    #[test]
    fn files_are_read_whole_by_any_plan() {
        let (_folder, files) = files(&[1 << 20, 4096 * 3]);
        let raw = RawFiles::open(&files).unwrap();
        for plan in plans(1).chain(plans(2)) {
            assert!(raw.read(plan).unwrap() > Duration::ZERO, "{plan:?}");
        }
    }

    #[test]
    fn a_file_that_shrank_is_noticed() {
        let (_folder, files) = files(&[8192]);
        let raw = RawFiles { sizes: vec![16384], ..RawFiles::open(&files).unwrap() };
        let plan = ReadPlan { threads: 1, block_bytes: 1 << 20, depth: 4 };
        let error = raw.read(plan).unwrap_err().to_string();
        assert!(error.contains("16384 bytes gave 8192"), "{error}");
    }
}
