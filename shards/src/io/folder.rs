//! A shard's folder: its files and its quarantine, by name.
//!
//! ```text
//! log-0000000001.seg       the log, segment by segment
//! anchor                   how far the log was durable when last noted
//! manifest                 which files make up the shard, and from where on the log is needed
//! columns-0000000001.seg   sections of consolidated memory spaces
//! state-0000000002.chk     what else the log would say
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

use super::{SLOT_FILE_BYTES, SlotFile};
use crate::arena::Mapped;
use crate::format::{FileId, FileKind, segment_file_name};

const QUARANTINE: &str = "quarantine";
const MENDING_FILE: &str = "mending.tmp";
/// Files of one segment that the quarantine can hold.
const QUARANTINED_MAX: u32 = 1000;
const FILE_MODE: Mode = Mode::from_raw_mode(0o600);
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o700);

pub(super) fn slot_file_name(file: SlotFile) -> &'static str {
    match file {
        SlotFile::Anchors => "anchor",
        SlotFile::Manifest => "manifest",
    }
}

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

    /// The numbered files in ascending order, with their sizes.
    fn numbered(&self) -> io::Result<Vec<(FileId, u64)>> {
        let mut files = Vec::new();
        for entry in fs::Dir::read_from(&self.folder)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            let Some(file) = name.to_str().and_then(FileId::from_name) else { continue };
            match fs::statat(&self.folder, name, AtFlags::empty()) {
                Ok(stat) => files.push((file, stat.st_size.unsigned_abs())),
                // A daemon that is at work here has removed it since.
                Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        files.sort_unstable();
        Ok(files)
    }

    /// The segment files in ascending order, with their sizes.
    pub fn segments(&self) -> io::Result<Vec<(u64, u64)>> {
        let files = self.numbered()?.into_iter();
        let segments = files.filter(|(file, _)| file.kind == FileKind::Log);
        Ok(segments.map(|(file, bytes)| (file.number, bytes)).collect())
    }

    /// The columns and state files in ascending order, with their sizes.
    pub fn files(&self) -> io::Result<Vec<(FileId, u64)>> {
        let files = self.numbered()?.into_iter();
        Ok(files.filter(|(file, _)| file.kind != FileKind::Log).collect())
    }

    /// Shows a columns or state file in memory. Such a file never changes once it is sealed.
    #[allow(unsafe_code)]
    pub fn map(&self, file: FileId) -> io::Result<Mapped> {
        assert!(file.kind != FileKind::Log, "segments change while they are in use");
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let opened = fs::openat(&self.folder, file.to_string(), flags, Mode::empty())?;
        // SAFETY: the folder belongs to the process that holds the store's lock, and the engine
        // writes to such a file only until it is sealed, under a number that is not used again. The
        // inspector maps what a manifest names, which is sealed.
        unsafe { Mapped::of_file(opened) }
    }

    pub fn open_segment(&self, segment: u64, flags: OFlags) -> io::Result<OwnedFd> {
        let name = segment_file_name(segment);
        Ok(fs::openat(&self.folder, name, flags | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// What a file of slots holds, up to more than it should; `None` when there is none.
    pub fn slots(&self, file: SlotFile) -> io::Result<Option<Vec<u8>>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = match fs::openat(&self.folder, slot_file_name(file), flags, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            other => other?,
        };
        let mut bytes = vec![0; SLOT_FILE_BYTES + 1];
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

    pub(super) fn make_slots(&self, file: SlotFile) -> io::Result<()> {
        self.write_new(slot_file_name(file), &[0; SLOT_FILE_BYTES])?;
        Ok(fs::fsync(&self.folder)?)
    }

    pub(super) fn open_slots(&self, file: SlotFile, flags: OFlags) -> io::Result<OwnedFd> {
        Ok(fs::openat(&self.folder, slot_file_name(file), flags, Mode::empty())?)
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

    pub(super) fn remove(&self, file: FileId) -> io::Result<()> {
        fs::unlinkat(&self.folder, file.to_string(), AtFlags::empty())?;
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
