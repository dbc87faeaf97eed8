//! Columns and state files on the ring: made, written, sealed and removed, a step at a time.
//!
//! They are written through the page cache, because that is where their readers map them from: in
//! pieces of one huge page, each of which the kernel keeps as one. A piece counts as written when
//! the disk has it, so what a flush of the log could have to wait behind is a piece or two and
//! never a gigabyte; for the same reason few of these calls are under way at once. Writing past the
//! cache instead is as fast and as kind to the log, but the file is cold then, and has to be read
//! again before it can be used.

use std::collections::VecDeque;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::rc::Rc;

use io_uring::{opcode, squeue, types};
use rustix::fs::OFlags;

use super::{Completion, Tag, UringIo, outcome, whole};
use crate::format::{FileId, FileKind};
use crate::io::{FileEvent, Piece};

/// Calls under way; the others wait for their turn.
pub(super) const FILE_CALLS_MAX: usize = 2;

#[derive(Debug)]
enum Job {
    Create,
    Write(Piece),
    Seal,
    Remove,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Open,
    Write,
    /// To the disk, which says nothing about its own cache.
    WriteOut,
    FlushFile,
    FlushFolder,
    Unlink,
}

#[derive(Debug)]
struct FileCall {
    file: FileId,
    job: Job,
    step: Step,
    name: CString,
    /// Keeps the descriptor open that the ring was given.
    open: Option<Rc<OwnedFd>>,
}

/// What is asked of columns and state files.
#[derive(Debug, Default)]
pub(super) struct FileCalls {
    under_way: [Option<FileCall>; FILE_CALLS_MAX],
    waiting: VecDeque<FileCall>,
    /// Files that are being made.
    open: Vec<(FileId, Rc<OwnedFd>)>,
}

impl FileCalls {
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.under_way.iter().all(Option::is_none)
    }

    /// The step that a slot is at.
    #[cfg(feature = "simulation")]
    pub(super) fn step(&self, slot: usize) -> Option<Step> {
        self.under_way[slot].as_ref().map(|call| call.step)
    }

    fn open(&self, file: FileId) -> Option<Rc<OwnedFd>> {
        self.open.iter().find(|(open, _)| *open == file).map(|(_, open)| Rc::clone(open))
    }
}

impl UringIo {
    pub(super) fn create(&mut self, file: FileId) {
        self.begin_file(file, Job::Create, Step::Open);
    }

    pub(super) fn write_piece(&mut self, piece: Piece) {
        self.begin_file(piece.file, Job::Write(piece), Step::Write);
    }

    pub(super) fn seal(&mut self, file: FileId) {
        self.begin_file(file, Job::Seal, Step::FlushFile);
    }

    pub(super) fn remove_async(&mut self, file: FileId) {
        if file.kind == FileKind::Log {
            self.close(file.number);
        }
        self.file_calls.open.retain(|(open, _)| *open != file);
        self.begin_file(file, Job::Remove, Step::Unlink);
    }

    fn begin_file(&mut self, file: FileId, job: Job, step: Step) {
        let name = CString::new(file.to_string()).expect("no zero byte in it");
        self.file_calls.waiting.push_back(FileCall { file, job, step, name, open: None });
        self.begin_waiting();
    }

    fn begin_waiting(&mut self) {
        while let Some(slot) = self.file_calls.under_way.iter().position(Option::is_none) {
            let Some(mut call) = self.file_calls.waiting.pop_front() else { return };
            if matches!(call.job, Job::Write(_) | Job::Seal) {
                call.open = self.file_calls.open(call.file);
                if call.open.is_none() {
                    self.end_file(call, Err(io::ErrorKind::NotFound.into()));
                    continue;
                }
            }
            self.push_step(slot, call);
        }
    }

    /// Hands the present step of a call to the ring.
    fn push_step(&mut self, slot: usize, call: FileCall) {
        let folder = types::Fd(self.folder.as_fd().as_raw_fd());
        let file = call.open.as_ref().map(|open| types::Fd(open.as_raw_fd()));
        let file = || file.expect("open from its creation on");
        let entry = match (call.step, &call.job) {
            (Step::Open, _) => {
                let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::CREATE | OFlags::EXCL;
                opcode::OpenAt::new(folder, call.name.as_ptr())
                    .flags(i32::try_from(flags.bits()).expect("open flags are small"))
                    .mode(0o600)
                    .build()
            }
            (Step::Write, Job::Write(piece)) => {
                let from = piece.region[piece.from..][..piece.bytes].as_ptr();
                let bytes = u32::try_from(piece.bytes).expect("bounded by PIECE_BYTES");
                // Copying a piece takes longer than a turn of the shard may.
                let write = opcode::Write::new(file(), from, bytes).offset(piece.offset).build();
                write.flags(squeue::Flags::ASYNC)
            }
            (Step::WriteOut, Job::Write(piece)) => {
                let bytes = u32::try_from(piece.bytes).expect("bounded by PIECE_BYTES");
                let how = libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
                opcode::SyncFileRange::new(file(), bytes).offset(piece.offset).flags(how).build()
            }
            (Step::Write | Step::WriteOut, _) => unreachable!("only pieces are written"),
            (Step::FlushFile, _) => opcode::Fsync::new(file()).build(),
            (Step::FlushFolder, _) => opcode::Fsync::new(folder).build(),
            (Step::Unlink, _) => opcode::UnlinkAt::new(folder, call.name.as_ptr()).build(),
        };
        self.file_calls.under_way[slot] = Some(call);
        self.push(&[entry.user_data(Tag::File(slot).pack())]);
        self.submit();
    }

    /// Takes the kernel's result of a step.
    pub(super) fn continue_file(&mut self, slot: usize, result: i32) {
        let mut call = self.file_calls.under_way[slot].take().expect("a step ends once");
        match self.next_file_step(&mut call, result) {
            Ok(Some(step)) => {
                call.step = step;
                self.push_step(slot, call);
            }
            Ok(None) => self.end_file(call, Ok(())),
            Err(error) => self.end_file(call, Err(error)),
        }
        self.begin_waiting();
    }

    fn next_file_step(&mut self, call: &mut FileCall, result: i32) -> io::Result<Option<Step>> {
        let value = outcome(result)?;
        Ok(match (call.step, &call.job) {
            (Step::Open, _) => {
                // SAFETY: the kernel just gave this descriptor to us and to nobody else.
                let open = unsafe { OwnedFd::from_raw_fd(value) };
                self.file_calls.open.push((call.file, Rc::new(open)));
                None
            }
            (Step::Write, Job::Write(piece)) => {
                whole(result, piece.bytes)?;
                Some(Step::WriteOut)
            }
            (Step::FlushFile | Step::Unlink, _) => Some(Step::FlushFolder),
            (Step::Write | Step::WriteOut | Step::FlushFolder, _) => None,
        })
    }

    fn end_file(&mut self, call: FileCall, result: io::Result<()>) {
        let file = call.file;
        let event = match call.job {
            Job::Create => FileEvent::Created { file, result },
            Job::Write(piece) => FileEvent::Written { piece, result },
            Job::Seal => {
                self.file_calls.open.retain(|(open, _)| *open != file);
                FileEvent::Sealed { file, result }
            }
            Job::Remove => FileEvent::Removed { file, result },
        };
        self.done.push_back(Completion::File(event));
    }
}
