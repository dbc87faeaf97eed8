//! A shard's folder: its segments, its anchors and its quarantine, by name.
//!
//! ```text
//! log-0000000001.seg       the log, segment by segment
//! anchor                   how far the log was durable when last noted
//! quarantine/              segments that were damaged, as they were found
//! mending.tmp              a replacement that is being written; of no value after a crash
//! ```
//!
//! Everything here blocks: it is for recovery and for the inspector. What a serving shard does to
//! its files goes through the ring.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{self, AtFlags, Mode, OFlags};

use super::ANCHOR_SLOTS;
use crate::format::{segment_file_name, segment_from_file_name};
use crate::limits::SECTOR_BYTES;

pub(super) const ANCHOR_FILE: &str = "anchor";
const QUARANTINE: &str = "quarantine";
const MENDING_FILE: &str = "mending.tmp";
/// Files of one segment that the quarantine can hold.
const QUARANTINED_MAX: u32 = 1000;
const FILE_MODE: Mode = Mode::from_raw_mode(0o600);
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o700);

/// See the top of the file.
#[derive(Debug)]
pub struct LogFolder {
    folder: OwnedFd,
}

impl LogFolder {
    pub fn open(path: &Path) -> io::Result<Self> {
        let folder = fs::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { folder })
    }

    /// The segment files in ascending order, with their sizes.
    pub fn segments(&self) -> io::Result<Vec<(u64, u64)>> {
        let mut segments = Vec::new();
        for entry in fs::Dir::read_from(&self.folder)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if let Some(segment) = name.to_str().and_then(segment_from_file_name) {
                let stat = fs::statat(&self.folder, name, AtFlags::empty())?;
                segments.push((segment, stat.st_size.unsigned_abs()));
            }
        }
        segments.sort_unstable();
        Ok(segments)
    }

    pub fn open_segment(&self, segment: u64, flags: OFlags) -> io::Result<OwnedFd> {
        let name = segment_file_name(segment);
        Ok(fs::openat(&self.folder, name, flags | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// What the file of anchors holds, up to more than it should; `None` when there is none.
    pub fn anchors(&self) -> io::Result<Option<Vec<u8>>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = match fs::openat(&self.folder, ANCHOR_FILE, flags, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            other => other?,
        };
        let mut bytes = vec![0; ANCHOR_SLOTS * SECTOR_BYTES + 1];
        let mut got = 0;
        while got < bytes.len() {
            match rustix::io::pread(&file, &mut bytes[got..], got as u64)? {
                0 => break,
                more => got += more,
            }
        }
        bytes.truncate(got);
        Ok(Some(bytes))
    }

    pub(super) fn make_anchors(&self) -> io::Result<()> {
        let zeros = [0; ANCHOR_SLOTS * SECTOR_BYTES];
        self.write_new(ANCHOR_FILE, &zeros)?;
        Ok(fs::fsync(&self.folder)?)
    }

    pub(super) fn open_anchors(&self, flags: OFlags) -> io::Result<OwnedFd> {
        Ok(fs::openat(&self.folder, ANCHOR_FILE, flags, Mode::empty())?)
    }

    /// Makes a file or writes it anew, and flushes it.
    fn write_new(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let file = fs::openat(&self.folder, name, flags, FILE_MODE)?;
        let mut at = 0;
        while at < bytes.len() {
            at += rustix::io::pwrite(&file, &bytes[at..], at as u64)?;
        }
        Ok(fs::fsync(&file)?)
    }

    /// See [`Io::replace`](super::Io::replace).
    pub(super) fn replace(&self, segment: u64, bytes: &[u8]) -> io::Result<Option<String>> {
        let name = segment_file_name(segment);
        self.write_new(MENDING_FILE, bytes)?;
        let kept = self.quarantine(&name)?;
        fs::renameat(&self.folder, MENDING_FILE, &self.folder, &name)?;
        fs::fsync(&self.folder)?;
        Ok(kept)
    }

    /// Gives a file a second name in the quarantine; `None` when there is no such file.
    fn quarantine(&self, name: &str) -> io::Result<Option<String>> {
        match fs::mkdirat(&self.folder, QUARANTINE, FOLDER_MODE) {
            Ok(()) => fs::fsync(&self.folder)?,
            Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let quarantine = fs::openat(&self.folder, QUARANTINE, flags, Mode::empty())?;
        for nth in 1..=QUARANTINED_MAX {
            let kept = format!("{name}.{nth}");
            match fs::linkat(&self.folder, name, &quarantine, &kept, AtFlags::empty()) {
                Ok(()) => {
                    fs::fsync(&quarantine)?;
                    return Ok(Some(format!("{QUARANTINE}/{kept}")));
                }
                Err(rustix::io::Errno::EXIST) => {}
                Err(rustix::io::Errno::NOENT) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        let full =
            format!("the quarantine holds {QUARANTINED_MAX} copies of {name}; move some away");
        Err(io::Error::new(io::ErrorKind::QuotaExceeded, full))
    }

    pub(super) fn remove(&self, segment: u64) -> io::Result<()> {
        fs::unlinkat(&self.folder, segment_file_name(segment), AtFlags::empty())?;
        Ok(fs::fsync(&self.folder)?)
    }

    pub(super) fn free_bytes(&self) -> io::Result<u64> {
        let stat = fs::fstatvfs(&self.folder)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

impl AsFd for LogFolder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }
}
