//! Making a segment ahead of its use, one step after the other on the ring.
//!
//! One preparation runs at a time, so that commits keep their share of the disk: create, allocate,
//! write zeros, flush the file, flush the folder. Writing the zeros matters: the first write to an
//! extent that is only allocated makes the file system update its own records at the next flush,
//! which costs more than the flush itself.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use io_uring::{opcode, squeue, types};
use rustix::fs::{self, AtFlags, OFlags};

use super::{Completion, Tag, UringIo, outcome, piece, whole};
use crate::format::segment_file_name;

#[derive(Debug, Clone, Copy)]
enum Step {
    Open,
    Allocate,
    Zero { offset: u64 },
    FlushFile,
    FlushFolder,
}

#[derive(Debug)]
pub(super) struct Preparation {
    segment: u64,
    bytes: u64,
    name: CString,
    file: Option<OwnedFd>,
    step: Step,
}

impl UringIo {
    pub(super) fn begin_preparation(&mut self, segment: u64, bytes: u64) {
        assert!(self.preparation.is_none(), "the log prepares one segment at a time");
        let name = CString::new(segment_file_name(segment)).expect("no zero byte in it");
        let flags = self.open_flags() | OFlags::CREATE | OFlags::EXCL;
        let entry = opcode::OpenAt::new(types::Fd(self.folder.as_fd().as_raw_fd()), name.as_ptr())
            .flags(i32::try_from(flags.bits()).expect("open flags are small"))
            .mode(0o600)
            .build()
            .user_data(Tag::Prepare.pack());
        self.preparation = Some(Preparation { segment, bytes, name, file: None, step: Step::Open });
        self.push(&[entry]);
        self.submit();
    }

    pub(super) fn continue_preparation(&mut self, result: i32) {
        let mut preparation = self.preparation.take().expect("one preparation at a time");
        match self.next_step(&mut preparation, result) {
            Ok(Some(entry)) => {
                self.preparation = Some(preparation);
                self.push(&[entry]);
                self.submit();
            }
            Ok(None) => {
                let Preparation { segment, file, .. } = preparation;
                let result = self.install(segment, file.expect("opened in the first step"));
                self.done.push_back(Completion::Prepared { segment, result });
            }
            Err(error) => {
                let segment = preparation.segment;
                // Gives the space of a half-made file back; if that fails too, recovery removes it.
                let _ = fs::unlinkat(&self.folder, preparation.name.as_c_str(), AtFlags::empty());
                self.done.push_back(Completion::Prepared { segment, result: Err(error) });
            }
        }
    }

    /// Takes the result of one step and gives the entry of the next; `None` after the last.
    fn next_step(&self, at: &mut Preparation, result: i32) -> io::Result<Option<squeue::Entry>> {
        let value = outcome(result)?;
        at.step = match at.step {
            Step::Open => {
                // SAFETY: the kernel just gave this descriptor to us and to nobody else.
                at.file = Some(unsafe { OwnedFd::from_raw_fd(value) });
                Step::Allocate
            }
            Step::Allocate => Step::Zero { offset: 0 },
            Step::Zero { offset } => {
                let bytes = piece(offset, at.bytes);
                whole(result, bytes)?;
                let offset = offset + bytes as u64;
                if offset < at.bytes { Step::Zero { offset } } else { Step::FlushFile }
            }
            Step::FlushFile => Step::FlushFolder,
            Step::FlushFolder => return Ok(None),
        };
        let file = types::Fd(at.file.as_ref().expect("set in the first step").as_raw_fd());
        let entry = match at.step {
            Step::Open => unreachable!("the first step is queued by `prepare`"),
            Step::Allocate => opcode::Fallocate::new(file, at.bytes).build(),
            Step::Zero { offset } => {
                opcode::Write::new(file, self.zeros.as_ptr(), piece(offset, at.bytes) as u32)
                    .offset(offset)
                    .build()
            }
            Step::FlushFile => opcode::Fsync::new(file).build(),
            Step::FlushFolder => {
                opcode::Fsync::new(types::Fd(self.folder.as_fd().as_raw_fd())).build()
            }
        };
        Ok(Some(entry.user_data(Tag::Prepare.pack())))
    }
}
