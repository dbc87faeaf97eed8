//! A disk of plain memory, for tests: what was flushed survives a crash, the rest may not.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::rc::Rc;

use super::{BatchWrite, Buffer, Completion, Io};
use crate::arena::Region;

/// What the next write does instead of succeeding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteFault {
    /// The write fails; nothing reaches the disk.
    Write,
    /// The write succeeds, its flush fails.
    Flush,
    /// A segment cannot be made: the disk is full.
    NoSpace,
}

#[derive(Debug, Default)]
struct Files {
    /// What reads see.
    current: BTreeMap<u64, Vec<u8>>,
    /// What a crash leaves for certain.
    flushed: BTreeMap<u64, Vec<u8>>,
    faults: VecDeque<WriteFault>,
}

/// The disk itself; it outlives the [`MemoryIo`]s that use it, as a disk outlives processes.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk(Rc<RefCell<Files>>);

impl MemoryDisk {
    pub fn io(&self) -> MemoryIo {
        MemoryIo { disk: self.clone(), held: VecDeque::new(), clock_us: 1_000_000, hold: false }
    }

    /// The next write that could have this fault has it.
    pub fn fail_next(&self, fault: WriteFault) {
        self.0.borrow_mut().faults.push_back(fault);
    }

    /// Power loss: everything that was not flushed is gone.
    pub fn crash(&self) {
        let mut files = self.0.borrow_mut();
        files.current = files.flushed.clone();
    }

    /// Everything written so far was not flushed after all.
    pub fn forget_flushes(&self) {
        let mut files = self.0.borrow_mut();
        let Files { current, flushed, .. } = &mut *files;
        for (segment, bytes) in current {
            flushed.insert(*segment, vec![0; bytes.len()]);
        }
    }

    /// Changes a segment behind the engine's back; flushed at once.
    pub fn tamper(&self, segment: u64, change: impl FnOnce(&mut Vec<u8>)) {
        let mut files = self.0.borrow_mut();
        let file = files.current.get_mut(&segment).expect("the segment exists");
        change(file);
        let bytes = file.clone();
        files.flushed.insert(segment, bytes);
    }

    pub fn segments(&self) -> Vec<u64> {
        self.0.borrow().current.keys().copied().collect()
    }

    pub fn segment(&self, segment: u64) -> Vec<u8> {
        self.0.borrow().current[&segment].clone()
    }

    fn take_fault(&self, wanted: &[WriteFault]) -> Option<WriteFault> {
        let mut files = self.0.borrow_mut();
        let next = *files.faults.front()?;
        wanted.contains(&next).then(|| files.faults.pop_front()).flatten()
    }
}

/// An [`Io`] over a [`MemoryDisk`] whose clock only moves when told to.
#[derive(Debug)]
pub struct MemoryIo {
    disk: MemoryDisk,
    held: VecDeque<Completion>,
    clock_us: i64,
    hold: bool,
}

impl MemoryIo {
    pub fn advance_us(&mut self, us: i64) {
        self.clock_us += us;
    }

    /// While held, completions stay under way.
    pub fn hold(&mut self, hold: bool) {
        self.hold = hold;
    }
}

/// Behind the end of a file that was cut short, a write extends it, as it does on any disk.
fn put(file: &mut Vec<u8>, at: usize, data: &[u8]) {
    let end = at + data.len();
    file.resize(file.len().max(end), 0);
    file[at..end].copy_from_slice(data);
}

fn fault() -> io::Error {
    io::Error::other("injected fault")
}

impl Io for MemoryIo {
    fn wall_us(&self) -> i64 {
        self.clock_us
    }

    fn monotonic_ns(&self) -> u64 {
        self.clock_us.unsigned_abs() * 1000
    }

    fn register(&mut self, _buffers: &[Buffer]) {}

    fn prepare(&mut self, segment: u64, bytes: u64) {
        let result = match self.disk.take_fault(&[WriteFault::NoSpace]) {
            Some(_) => Err(io::Error::from(io::ErrorKind::StorageFull)),
            None => {
                let zeros = vec![0; usize::try_from(bytes).expect("a test segment")];
                let mut files = self.disk.0.borrow_mut();
                files.current.insert(segment, zeros.clone());
                files.flushed.insert(segment, zeros);
                Ok(())
            }
        };
        self.held.push_back(Completion::Prepared { segment, result });
    }

    fn write(&mut self, write: BatchWrite) {
        let BatchWrite { batch, segment, offset, buffer, from, bytes } = write;
        let fault_now = self.disk.take_fault(&[WriteFault::Write, WriteFault::Flush]);
        let mut files = self.disk.0.borrow_mut();
        let at = usize::try_from(offset).expect("inside a test segment");
        let data = &buffer.region[from..from + bytes];
        let (written, flushed) = match fault_now {
            Some(WriteFault::Write) => (Err(fault()), Err(fault())),
            other => {
                let file = files.current.get_mut(&segment).expect("prepared before written");
                put(file, at, data);
                if other.is_some() {
                    (Ok(()), Err(fault()))
                } else {
                    let file = files.flushed.get_mut(&segment).expect("prepared before written");
                    put(file, at, data);
                    (Ok(()), Ok(()))
                }
            }
        };
        self.held.push_back(Completion::Written { batch, buffer, result: written });
        self.held.push_back(Completion::Flushed { batch, result: flushed });
    }

    fn complete(&mut self) -> Option<Completion> {
        if self.hold { None } else { self.held.pop_front() }
    }

    fn wait(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn segments(&mut self) -> io::Result<Vec<(u64, u64)>> {
        let files = self.disk.0.borrow();
        Ok(files.current.iter().map(|(&segment, bytes)| (segment, bytes.len() as u64)).collect())
    }

    fn read(
        &mut self,
        segment: u64,
        offset: u64,
        buffer: &mut Region,
        bytes: usize,
    ) -> io::Result<()> {
        let files = self.disk.0.borrow();
        let file = files.current.get(&segment).ok_or(io::ErrorKind::NotFound)?;
        let at = usize::try_from(offset).expect("inside a test segment");
        buffer[..bytes].copy_from_slice(&file[at..at + bytes]);
        Ok(())
    }

    fn flush(&mut self, segment: u64) -> io::Result<()> {
        self.disk.tamper(segment, |_| {});
        Ok(())
    }

    fn erase_from(&mut self, segment: u64, offset: u64) -> io::Result<()> {
        self.disk.tamper(segment, |file| {
            file[usize::try_from(offset).expect("inside a test segment")..].fill(0);
        });
        Ok(())
    }

    fn remove(&mut self, segment: u64) -> io::Result<()> {
        let mut files = self.disk.0.borrow_mut();
        files.current.remove(&segment);
        files.flushed.remove(&segment);
        Ok(())
    }
}
