//! What a worker of the kernel does to memory and files, so that the shard's thread need not.
//!
//! Every call goes to a worker at once. Workers have the memory and the descriptors of the thread
//! they work for, so pages they touch are there for it, and what the last descriptor of a file
//! takes along when it closes is taken by them. While a worker touches memory it holds the
//! process's memory map for reading: whoever maps or unmaps something meanwhile waits for that one
//! piece. So pieces are short, one chunk each, and few are under way.
//!
//! Workers run where the shard does unless told otherwise
//! ([`UringSettings::worker_cpus`](super::UringSettings::worker_cpus)). A processor that waits for
//! its hypervisor to find memory runs nothing else, so it had better be another one.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};

use io_uring::{IoUring, Probe, opcode, squeue, types};

use super::{Completion, Tag, UringIo, outcome};
use crate::arena::Stretch;
use crate::io::Purpose;

/// Calls under way; the others wait for their turn.
pub(super) const MEMORY_CALLS_MAX: usize = 2;

#[derive(Debug)]
enum Call {
    BringIn(Purpose, Stretch),
    Close(OwnedFd),
}

/// What is asked of the kernel beside the disk.
#[derive(Debug)]
pub(super) struct MemoryCalls {
    under_way: [Option<Call>; MEMORY_CALLS_MAX],
    waiting: VecDeque<Call>,
    /// Whether the kernel can be asked; from 5.6 on it can.
    has_workers: bool,
}

impl MemoryCalls {
    pub(super) fn new(ring: &IoUring) -> Self {
        let mut probe = Probe::new();
        let has_workers = ring.submitter().register_probe(&mut probe).is_ok()
            && [opcode::Madvise::CODE, opcode::Close::CODE]
                .into_iter()
                .all(|code| probe.is_supported(code));
        Self { under_way: Default::default(), waiting: VecDeque::new(), has_workers }
    }

    /// As if the kernel were too old to be asked.
    #[cfg(test)]
    pub(super) fn forget_workers(&mut self) {
        self.has_workers = false;
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.under_way.iter().all(Option::is_none)
    }
}

impl UringIo {
    pub(super) fn begin_bring_in(&mut self, purpose: Purpose, stretch: Stretch) {
        if !self.memory_calls.has_workers {
            let result = stretch.bring_in();
            self.done.push_back(Completion::BroughtIn { purpose, result });
            return;
        }
        self.memory_calls.waiting.push_back(Call::BringIn(purpose, stretch));
        self.begin_waiting_memory();
    }

    pub(super) fn begin_close(&mut self, file: OwnedFd) {
        if self.memory_calls.has_workers {
            self.memory_calls.waiting.push_back(Call::Close(file));
            self.begin_waiting_memory();
        }
    }

    fn begin_waiting_memory(&mut self) {
        while let Some(slot) = self.memory_calls.under_way.iter().position(Option::is_none) {
            let Some(call) = self.memory_calls.waiting.pop_front() else { return };
            let entry = match &call {
                Call::BringIn(_, stretch) => {
                    let (from, bytes, advice) = stretch.advice();
                    let bytes = libc::off_t::try_from(bytes).expect("memory is no larger");
                    opcode::Madvise::new(from.cast(), bytes, advice).build()
                }
                Call::Close(file) => opcode::Close::new(types::Fd(file.as_raw_fd())).build(),
            };
            self.memory_calls.under_way[slot] = Some(call);
            let entry = entry.flags(squeue::Flags::ASYNC);
            self.push(&[entry.user_data(Tag::Memory(slot).pack())]);
            self.submit();
        }
    }

    /// Takes the kernel's result of a call.
    pub(super) fn end_memory(&mut self, slot: usize, result: i32) {
        match self.memory_calls.under_way[slot].take().expect("a call ends once") {
            Call::BringIn(purpose, _stretch) => {
                // A kernel before 5.14 does not know the word: the memory comes when it is used.
                let result = match outcome(result) {
                    Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
                    other => other.map(drop),
                };
                self.done.push_back(Completion::BroughtIn { purpose, result });
            }
            // Unless the call was given up before it began, the kernel has closed it.
            Call::Close(file) if result == -libc::ECANCELED => drop(file),
            Call::Close(file) => {
                let _ = file.into_raw_fd();
            }
        }
        self.begin_waiting_memory();
    }
}
