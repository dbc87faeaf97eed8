//! A copy of the folder on the ring, one step after the other.
//!
//! Files that never change get a second name in the new folder, which costs nothing. Where that
//! cannot be (another file system, another mount, too many names) they are copied like everything
//! else: a piece is read, written and sent to the disk before the next one is read, so that the
//! log's flushes have no more than a piece to wait behind.

use std::collections::VecDeque;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;

use io_uring::{opcode, squeue, types};
use rustix::fs::OFlags;

use super::{Completion, Tag, UringIo, outcome, whole};
use crate::arena::Region;
use crate::format::FileId;
use crate::io::folder::slot_file_name;
use crate::io::{Copied, FolderCopy, PIECE_BYTES, SLOT_FILE_BYTES, SlotFile};

/// What a link is refused with where only a copy can be.
const NO_LINKS: [i32; 4] = [libc::EXDEV, libc::EPERM, libc::EMLINK, libc::EOPNOTSUPP];

#[derive(Debug)]
enum Item {
    Sealed {
        file: FileId,
        bytes: u64,
    },
    /// So much of a segment, of so many bytes.
    Segment {
        segment: u64,
        bytes: u64,
        size: u64,
    },
    Slots {
        file: SlotFile,
        content: Box<[u8; SLOT_FILE_BYTES]>,
    },
}

impl Item {
    fn name(&self) -> String {
        match self {
            Self::Sealed { file, .. } => file.to_string(),
            Self::Segment { segment, .. } => FileId::log(*segment).to_string(),
            Self::Slots { file, .. } => slot_file_name(*file).to_owned(),
        }
    }

    /// Bytes to write.
    fn bytes(&self) -> u64 {
        match self {
            Self::Sealed { bytes, .. } | Self::Segment { bytes, .. } => *bytes,
            Self::Slots { .. } => SLOT_FILE_BYTES as u64,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    MakeFolder,
    OpenFolder,
    Link,
    OpenSource,
    OpenTarget,
    Read {
        at: u64,
    },
    Write {
        at: u64,
    },
    /// To the disk, which says nothing about its own cache.
    WriteOut {
        at: u64,
    },
    /// The file becomes as long as it is to be; what was not written reads as zeros.
    Extend,
    FlushFile,
    FlushFolder,
}

/// The copy that is under way.
#[derive(Debug)]
pub(super) struct Copying {
    into: CString,
    folder: Option<OwnedFd>,
    left: VecDeque<Item>,
    /// What is being copied: itself, its name, its two files.
    item: Option<(Item, CString)>,
    source: Option<OwnedFd>,
    target: Option<OwnedFd>,
    region: Region,
    step: Step,
    copied: Copied,
}

fn descriptor(file: Option<&OwnedFd>) -> types::Fd {
    types::Fd(file.expect("opened by an earlier step").as_raw_fd())
}

impl Copying {
    fn new(copy: FolderCopy) -> io::Result<Self> {
        let FolderCopy { into, sealed, segments, segment_bytes: size, slots } = copy;
        let sealed = sealed.into_iter().map(|(file, bytes)| Item::Sealed { file, bytes });
        let segments = segments.into_iter();
        let segments = segments.map(|s| Item::Segment { segment: s.segment, bytes: s.bytes, size });
        let slots = slots.into_iter().map(|(file, content)| Item::Slots { file, content });
        Ok(Self {
            into: CString::new(into.into_os_string().into_vec())?,
            folder: None,
            left: sealed.chain(segments).chain(slots).collect(),
            item: None,
            source: None,
            target: None,
            region: Region::new(PIECE_BYTES)?,
            step: Step::MakeFolder,
            copied: Copied::default(),
        })
    }

    /// Goes on to the next file.
    fn next_item(&mut self) -> Step {
        (self.source, self.target) = (None, None);
        self.item = self.left.pop_front().map(|item| {
            let name = CString::new(item.name()).expect("no zero byte in it");
            (item, name)
        });
        match &self.item {
            None => Step::FlushFolder,
            Some((Item::Sealed { .. }, _)) => Step::Link,
            Some((Item::Segment { .. }, _)) => Step::OpenSource,
            Some((Item::Slots { content, .. }, _)) => {
                self.region[..SLOT_FILE_BYTES].copy_from_slice(&content[..]);
                Step::OpenTarget
            }
        }
    }

    fn item(&self) -> &Item {
        &self.item.as_ref().expect("a file is being copied").0
    }

    /// Bytes of the piece at an offset.
    fn piece(&self, at: u64) -> usize {
        usize::try_from(self.item().bytes() - at).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES))
    }

    /// What comes when a file has its bytes up to an offset.
    fn behind(&self, at: u64) -> Step {
        match self.item() {
            item if at < item.bytes() => Step::Read { at },
            Item::Segment { bytes, size, .. } if bytes < size => Step::Extend,
            _ => Step::FlushFile,
        }
    }

    /// Takes the result of one step and gives the next one; `None` after the last.
    fn next_step(&mut self, result: i32) -> io::Result<Option<Step>> {
        if matches!(self.step, Step::Link) && NO_LINKS.contains(&-result) {
            return Ok(Some(Step::OpenSource));
        }
        if matches!(self.step, Step::Extend) && result == -libc::EOPNOTSUPP {
            let Item::Segment { size, .. } = self.item() else { unreachable!("only segments are") };
            rustix::fs::ftruncate(self.target.as_ref().expect("it was written to"), *size)?;
            return Ok(Some(Step::FlushFile));
        }
        let value = outcome(result)?;
        // SAFETY: where a step opens a file, the kernel just gave this descriptor to us and to
        // nobody else.
        let opened = || unsafe { OwnedFd::from_raw_fd(value as RawFd) };
        Ok(Some(match self.step {
            Step::MakeFolder => Step::OpenFolder,
            Step::OpenFolder => {
                self.folder = Some(opened());
                self.next_item()
            }
            Step::Link => {
                self.copied.files_linked += 1;
                self.copied.bytes_linked += self.item().bytes();
                self.next_item()
            }
            Step::OpenSource => {
                self.source = Some(opened());
                Step::OpenTarget
            }
            Step::OpenTarget => {
                self.target = Some(opened());
                if self.source.is_some() { self.behind(0) } else { Step::Write { at: 0 } }
            }
            Step::Read { at } => {
                whole(result, self.piece(at))?;
                Step::Write { at }
            }
            Step::Write { at } => {
                whole(result, self.piece(at))?;
                Step::WriteOut { at }
            }
            Step::WriteOut { at } => self.behind(at + self.piece(at) as u64),
            Step::Extend => Step::FlushFile,
            Step::FlushFile => {
                self.copied.files_copied += 1;
                self.copied.bytes_copied += self.item().bytes();
                self.next_item()
            }
            Step::FlushFolder => return Ok(None),
        }))
    }

    /// The entry of the present step.
    fn entry(&mut self, own_folder: types::Fd, is_direct: bool) -> squeue::Entry {
        let name = self.item.as_ref().map(|(_, name)| name.as_ptr());
        let name = || name.expect("a file is being copied");
        let folder = self.folder.as_ref();
        let open = |at: types::Fd, name, flags: OFlags| {
            let flags = i32::try_from((flags | OFlags::CLOEXEC).bits());
            opcode::OpenAt::new(at, name).flags(flags.expect("open flags are small")).mode(0o600)
        };
        match self.step {
            Step::MakeFolder => opcode::MkDirAt::new(types::Fd(libc::AT_FDCWD), self.into.as_ptr())
                .mode(0o700)
                .build(),
            Step::OpenFolder => {
                let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
                open(types::Fd(libc::AT_FDCWD), self.into.as_ptr(), flags).build()
            }
            Step::Link => {
                opcode::LinkAt::new(own_folder, name(), descriptor(folder), name()).build()
            }
            Step::OpenSource => {
                // The log bypasses the page cache, and a copy of it has no use for it either.
                let is_log = matches!(self.item(), Item::Segment { .. });
                let direct = if is_log && is_direct { OFlags::DIRECT } else { OFlags::empty() };
                open(own_folder, name(), OFlags::RDONLY | direct).build()
            }
            Step::OpenTarget => {
                let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
                open(descriptor(folder), name(), flags).build()
            }
            // Copying a piece takes longer than a turn of the shard may.
            Step::Read { at } => {
                let bytes = self.piece(at);
                let to = self.region[..bytes].as_mut_ptr();
                let read = opcode::Read::new(descriptor(self.source.as_ref()), to, bytes as u32);
                read.offset(at).build().flags(squeue::Flags::ASYNC)
            }
            Step::Write { at } => {
                let bytes = self.piece(at);
                let from = self.region[..bytes].as_ptr();
                let write =
                    opcode::Write::new(descriptor(self.target.as_ref()), from, bytes as u32);
                write.offset(at).build().flags(squeue::Flags::ASYNC)
            }
            Step::WriteOut { at } => {
                let how = libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
                let target = descriptor(self.target.as_ref());
                opcode::SyncFileRange::new(target, self.piece(at) as u32)
                    .offset(at)
                    .flags(how)
                    .build()
            }
            Step::Extend => {
                let Item::Segment { size, .. } = self.item() else {
                    unreachable!("only segments are extended")
                };
                opcode::Fallocate::new(descriptor(self.target.as_ref()), *size).build()
            }
            Step::FlushFile => opcode::Fsync::new(descriptor(self.target.as_ref())).build(),
            Step::FlushFolder => opcode::Fsync::new(descriptor(folder)).build(),
        }
    }

    /// Says at what it failed.
    fn failed(&self, error: &io::Error) -> io::Error {
        let what = match &self.item {
            Some((item, _)) => item.name(),
            None => "the folder".into(),
        };
        let into = self.into.to_string_lossy();
        io::Error::new(error.kind(), format!("{what} could not be copied to {into}: {error}"))
    }
}

impl UringIo {
    pub(super) fn begin_copy(&mut self, copy: FolderCopy) {
        assert!(self.copying.is_none(), "the shard makes one copy at a time");
        match Copying::new(copy) {
            Ok(copying) => self.push_copy_step(Box::new(copying)),
            Err(error) => self.done.push_back(Completion::Copied { result: Err(error) }),
        }
    }

    fn push_copy_step(&mut self, mut copying: Box<Copying>) {
        let own_folder = types::Fd(self.folder.as_fd().as_raw_fd());
        let entry = copying.entry(own_folder, self.direct);
        self.copying = Some(copying);
        self.push(&[entry.user_data(Tag::Copy.pack())]);
        self.submit();
    }

    /// Takes the kernel's result of a step.
    pub(super) fn continue_copy(&mut self, result: i32) {
        let mut copying = self.copying.take().expect("a step ends once");
        match copying.next_step(result) {
            Ok(Some(step)) => {
                copying.step = step;
                self.push_copy_step(copying);
            }
            Ok(None) => {
                self.done.push_back(Completion::Copied { result: Ok(copying.copied) });
            }
            Err(error) => {
                let result = Err(copying.failed(&error));
                self.done.push_back(Completion::Copied { result });
            }
        }
    }
}
