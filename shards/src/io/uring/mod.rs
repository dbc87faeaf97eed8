//! The log's disk in the daemon: a ring of its own, beside whatever the executor uses for sockets.
//!
//! A batch is one `WRITE_FIXED` linked to one `FSYNC(DATASYNC)`: the kernel starts the flush when
//! the write ends, whether or not the shard is computing just then. For that to hold the ring is
//! made with default flags; `DEFER_TASKRUN` and `COOP_TASKRUN` would make the link wait for this
//! thread. Writing with `RWF_DSYNC` instead completes in a low-priority kernel worker and has tails
//! of milliseconds. Files and buffers are registered; where the memory-lock limit does not allow
//! the buffers, plain writes from the same memory take their place.
//!
//! Segments are made ahead of their use (`prepare`). Reads and overwrites go through descriptors of
//! their own, because the registered slots belong to the segments that are being written.
#![allow(unsafe_code)]

mod copy;
#[cfg(feature = "simulation")]
mod faults;
mod files;
mod memory;
mod prepare;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use io_uring::{IoUring, cqueue, opcode, squeue, types};
use rustix::fs::{self, Mode, OFlags};

use self::copy::Copying;
use self::files::{FILE_CALLS_MAX, FileCalls};
use self::memory::{MEMORY_CALLS_MAX, MemoryCalls};
use self::prepare::Preparation;
use super::folder::LogFolder;
use super::{
    BatchWrite, Buffer, Completion, FolderCopy, Io, IoFacts, Piece, Purpose, SlotFile, Transfer,
};
use crate::arena::{Mapped, Region, Stretch};
use crate::format::{FileId, FileKind};
use crate::limits::SECTOR_BYTES;

/// Submissions that can be queued at once.
const RING_ENTRIES: u32 = 64;
/// Registered file slots. A segment takes slot `segment % FILE_SLOTS`; writes in flight never span
/// as many segments, because there are fewer of them.
const FILE_SLOTS: u32 = 16;
/// Writes in flight; the log's own bound is lower or equal.
pub(super) const WRITES_MAX: usize = 8;
/// Zeros are written in pieces this large, one at a time.
const ZEROS_BYTES: usize = 256 << 10;
/// Reads and overwrites under way.
const TRANSFERS_MAX: usize = 16;
/// Segments that stay open for reads and overwrites.
const OPENED_MAX: usize = 4;
/// Kernel workers that may run flushes and file operations of this ring, per class: two for the
/// log, as many as calls to other files and to memory can occupy, and one for a copy of the folder.
const WORKERS_MAX: u32 = (2 + FILE_CALLS_MAX + MEMORY_CALLS_MAX + 1) as u32;
/// What is under way at most: writes and transfers with their flushes, one step of a preparation,
/// a slot of each file of slots with its flush, one step of each call to another file, calls to
/// memory, and one step of a copy.
const UNDER_WAY_MAX: usize =
    WRITES_MAX * 2 + TRANSFERS_MAX * 2 + 1 + 2 * 2 + FILE_CALLS_MAX + MEMORY_CALLS_MAX + 1;

const _: () = assert!(WRITES_MAX < FILE_SLOTS as usize);
const _: () = assert!(UNDER_WAY_MAX <= RING_ENTRIES as usize);

/// What the daemon decides about a ring.
#[derive(Debug, Clone)]
pub struct UringSettings {
    /// The shard's folder; it exists.
    pub folder: PathBuf,
    /// Processors for the kernel's flush workers; empty leaves them where the shard is.
    pub worker_cpus: Vec<usize>,
    pub clock: Clock,
}

/// Where time comes from: the engine itself reads no clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    pub wall_us: fn() -> i64,
    pub monotonic_ns: fn() -> u64,
}

#[derive(Debug)]
struct Moving {
    transfer: Transfer,
    /// For an overwrite: what its write came to. A read has none.
    written: Option<io::Result<()>>,
    /// Keeps the descriptor open that the ring was given.
    _file: Rc<OwnedFd>,
}

/// A file of slots.
#[derive(Debug)]
struct SlotWrites {
    region: Region,
    open: Option<OwnedFd>,
    /// What the write that is under way came to, once it ended.
    written: Option<io::Result<()>>,
    is_under_way: bool,
}

impl SlotWrites {
    fn new() -> io::Result<Self> {
        let region = Region::new(SECTOR_BYTES)?;
        Ok(Self { region, open: None, written: None, is_under_way: false })
    }
}

/// See the top of the file.
pub struct UringIo {
    ring: IoUring,
    event: OwnedFd,
    folder: LogFolder,
    clock: Clock,
    direct: bool,
    buffers_registered: bool,
    /// Segments in the registered slots.
    files: Vec<(u64, OwnedFd)>,
    writes: [Option<BatchWrite>; WRITES_MAX],
    flushes: [Option<u64>; WRITES_MAX],
    preparation: Option<Preparation>,
    zeros: Region,
    /// Segments that were opened for transfers, the latest last.
    opened: VecDeque<(u64, Rc<OwnedFd>)>,
    transfers: [Option<Moving>; TRANSFERS_MAX],
    anchors: SlotWrites,
    manifest: SlotWrites,
    file_calls: FileCalls,
    memory_calls: MemoryCalls,
    copying: Option<Box<Copying>>,
    done: VecDeque<Completion>,
    #[cfg(feature = "simulation")]
    faults: faults::Faults,
}

impl std::fmt::Debug for UringIo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UringIo").field("direct", &self.direct).finish_non_exhaustive()
    }
}

/// What a completion belongs to, packed into the ring's user data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tag {
    Write(usize),
    Flush(usize),
    Prepare,
    Read(usize),
    Overwrite(usize),
    FlushOverwrite(usize),
    Slot(SlotFile),
    FlushSlot(SlotFile),
    /// The present step of a call to another file.
    File(usize),
    /// The present step of a copy of the folder.
    Copy,
    /// A call to memory.
    Memory(usize),
}

impl Tag {
    fn pack(self) -> u64 {
        match self {
            Self::Write(slot) => slot as u64,
            Self::Flush(slot) => 1 << 8 | slot as u64,
            Self::Prepare => 2 << 8,
            Self::Read(slot) => 3 << 8 | slot as u64,
            Self::Overwrite(slot) => 4 << 8 | slot as u64,
            Self::FlushOverwrite(slot) => 5 << 8 | slot as u64,
            Self::Slot(file) => 6 << 8 | file as u64,
            Self::FlushSlot(file) => 7 << 8 | file as u64,
            Self::File(slot) => 8 << 8 | slot as u64,
            Self::Copy => 9 << 8,
            Self::Memory(slot) => 10 << 8 | slot as u64,
        }
    }

    fn unpack(data: u64) -> Self {
        let slot = (data & 0xff) as usize;
        let file = if slot == 0 { SlotFile::Anchors } else { SlotFile::Manifest };
        match data >> 8 {
            0 => Self::Write(slot),
            1 => Self::Flush(slot),
            2 => Self::Prepare,
            3 => Self::Read(slot),
            4 => Self::Overwrite(slot),
            5 => Self::FlushOverwrite(slot),
            6 => Self::Slot(file),
            7 => Self::FlushSlot(file),
            8 => Self::File(slot),
            9 => Self::Copy,
            _ => Self::Memory(slot),
        }
    }
}

impl UringIo {
    /// Sets up the ring and checks that the folder takes files.
    pub fn new(settings: &UringSettings) -> io::Result<Self> {
        let ring = IoUring::builder().build(RING_ENTRIES)?;
        let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)?;
        let submitter = ring.submitter();
        submitter.register_eventfd(event.as_raw_fd())?;
        submitter.register_files_sparse(FILE_SLOTS)?;
        submitter.register_iowq_max_workers(&mut [WORKERS_MAX, WORKERS_MAX])?;
        if !settings.worker_cpus.is_empty() {
            submitter.register_iowq_aff(&cpu_set(&settings.worker_cpus))?;
        }
        let memory_calls = MemoryCalls::new(&ring);
        let folder = LogFolder::open(&settings.folder)?;
        let direct = probe_folder(&settings.folder)?;
        Ok(Self {
            ring,
            event,
            folder,
            clock: settings.clock,
            direct,
            buffers_registered: false,
            files: Vec::new(),
            writes: Default::default(),
            flushes: Default::default(),
            preparation: None,
            zeros: Region::new(ZEROS_BYTES)?,
            opened: VecDeque::new(),
            transfers: Default::default(),
            anchors: SlotWrites::new()?,
            manifest: SlotWrites::new()?,
            file_calls: FileCalls::default(),
            memory_calls,
            copying: None,
            done: VecDeque::new(),
            #[cfg(feature = "simulation")]
            faults: faults::Faults::from_environment(),
        })
    }

    /// Becomes readable when completions have arrived; the executor awaits it.
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    fn open_flags(&self) -> OFlags {
        let base = OFlags::RDWR | OFlags::CLOEXEC;
        if self.direct { base | OFlags::DIRECT } else { base }
    }

    fn file(&self, segment: u64) -> io::Result<BorrowedFd<'_>> {
        let found = self.files.iter().find(|(number, _)| *number == segment);
        found.map(|(_, file)| file.as_fd()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Opens a segment that recovery found for writing, unless it is open.
    fn open_existing(&mut self, segment: u64) -> io::Result<()> {
        if self.file(segment).is_ok() {
            return Ok(());
        }
        let file = self.folder.open_segment(segment, self.open_flags())?;
        self.install(segment, file)
    }

    /// A segment that reads and overwrites can go to.
    fn open_for_transfer(&mut self, segment: u64) -> io::Result<Rc<OwnedFd>> {
        if let Some((_, file)) = self.opened.iter().find(|(number, _)| *number == segment) {
            return Ok(Rc::clone(file));
        }
        let file = Rc::new(self.folder.open_segment(segment, self.open_flags())?);
        if self.opened.len() == OPENED_MAX {
            self.opened.pop_front();
        }
        self.opened.push_back((segment, Rc::clone(&file)));
        Ok(file)
    }

    /// A free slot for a transfer, and its file.
    fn begin_transfer(&mut self, segment: u64) -> io::Result<(usize, Rc<OwnedFd>)> {
        let file = self.open_for_transfer(segment)?;
        let slot = self.transfers.iter().position(Option::is_none);
        Ok((slot.expect("the log bounds its transfers"), file))
    }

    /// Registers an open segment and closes those whose slots are taken again.
    fn install(&mut self, segment: u64, file: OwnedFd) -> io::Result<()> {
        let slot = slot_of(segment);
        self.ring.submitter().register_files_update(slot, &[file.as_raw_fd()])?;
        self.files.retain(|(number, _)| slot_of(*number) != slot);
        self.files.push((segment, file));
        Ok(())
    }

    /// Lets go of a segment. Its registered slot, too, would keep the space of a removed file.
    fn close(&mut self, segment: u64) {
        if self.file(segment).is_ok() {
            // Should the kernel not want this, the slot is emptied when it is taken again.
            let _ = self.ring.submitter().register_files_update(slot_of(segment), &[-1]);
        }
        self.files.retain(|(number, _)| *number != segment);
        self.opened.retain(|(number, _)| *number != segment);
    }

    fn slot_writes(&mut self, file: SlotFile) -> &mut SlotWrites {
        match file {
            SlotFile::Anchors => &mut self.anchors,
            SlotFile::Manifest => &mut self.manifest,
        }
    }

    fn push(&mut self, entries: &[squeue::Entry]) {
        // SAFETY: every entry points into memory that stays in place until its completion is
        // reaped: batch buffers, `zeros` and the regions of slots, transfers and pieces are
        // mappings owned by `self` meanwhile, stretches in `memory_calls` keep theirs mapped, names
        // are heap strings in `preparation`, `file_calls` and `copying`.
        let pushed = unsafe { self.ring.submission().push_multiple(entries) };
        pushed.expect("the ring has room for everything the log may have under way");
    }

    fn submit(&self) {
        // Interrupted or busy: the entries stay queued and go with the next call or `complete`.
        let _ = self.ring.submit();
    }

    /// Moves the kernel's completions into `done`.
    fn reap(&mut self) {
        loop {
            let Some(entry) = self.ring.completion().next() else { break };
            self.handle(&entry);
        }
    }

    fn handle(&mut self, entry: &cqueue::Entry) {
        let (tag, result) = (Tag::unpack(entry.user_data()), entry.result());
        #[cfg(feature = "simulation")]
        let result = self.strike(tag, result);
        match tag {
            Tag::Write(slot) => {
                let write = self.writes[slot].take().expect("a write completes once");
                let result = whole(result, write.bytes);
                let BatchWrite { batch, buffer, .. } = write;
                self.done.push_back(Completion::Written { batch, buffer, result });
            }
            Tag::Flush(slot) => {
                let batch = self.flushes[slot].take().expect("a flush completes once");
                let result = outcome(result).map(drop);
                self.done.push_back(Completion::Flushed { batch, result });
            }
            Tag::Prepare => self.continue_preparation(result),
            Tag::Read(slot) => {
                let Moving { transfer, .. } = self.transfers[slot].take().expect("ends once");
                let result = whole(result, transfer.bytes);
                self.done.push_back(Completion::Read { transfer, result });
            }
            Tag::Overwrite(slot) => {
                let moving = self.transfers[slot].as_mut().expect("its flush comes later");
                moving.written = Some(whole(result, moving.transfer.bytes));
            }
            Tag::FlushOverwrite(slot) => {
                let moving = self.transfers[slot].take().expect("ends once");
                let written = moving.written.expect("the write ends before its flush");
                let result = written.and(outcome(result).map(drop));
                let transfer = moving.transfer;
                self.done.push_back(Completion::Overwritten { transfer, result });
            }
            Tag::Slot(file) => {
                self.slot_writes(file).written = Some(whole(result, SECTOR_BYTES));
            }
            Tag::FlushSlot(file) => {
                let slots = self.slot_writes(file);
                let written = slots.written.take().expect("the write ends before its flush");
                let result = written.and(outcome(result).map(drop));
                slots.is_under_way = false;
                self.done.push_back(Completion::SlotWritten { file, result });
            }
            Tag::File(slot) => self.continue_file(slot, result),
            Tag::Copy => self.continue_copy(result),
            Tag::Memory(slot) => self.end_memory(slot, result),
        }
    }
}

impl Io for UringIo {
    /// Every common disk file system lets files bypass the page cache; whether the buffers can be
    /// registered is decided by the memory-lock limit.
    fn facts(&self) -> IoFacts {
        IoFacts { is_direct: self.direct, has_registered_buffers: self.buffers_registered }
    }

    fn wall_us(&self) -> i64 {
        (self.clock.wall_us)()
    }

    fn monotonic_ns(&self) -> u64 {
        (self.clock.monotonic_ns)()
    }

    fn register(&mut self, buffers: &[Buffer]) {
        let vectors: Vec<libc::iovec> = buffers
            .iter()
            .map(|buffer| libc::iovec {
                iov_base: buffer.region.as_ptr().cast_mut().cast(),
                iov_len: buffer.region.len(),
            })
            .collect();
        // SAFETY: the regions stay mapped as long as the ring lives: a buffer is owned either by
        // the log or by a write in flight, and the log drops its buffers after its `Io`.
        let result = unsafe { self.ring.submitter().register_buffers(&vectors) };
        self.buffers_registered = result.is_ok();
    }

    fn prepare(&mut self, segment: u64, bytes: u64) {
        self.begin_preparation(segment, bytes);
    }

    fn write(&mut self, write: BatchWrite) {
        let slot = (0..WRITES_MAX)
            .find(|&slot| self.writes[slot].is_none() && self.flushes[slot].is_none())
            .expect("the log bounds its writes in flight");
        let file = types::Fixed(slot_of(write.segment));
        let from = write.buffer.region[write.from..][..write.bytes].as_ptr();
        let bytes = u32::try_from(write.bytes).expect("bounded by BATCH_BYTES_MAX");
        let entry = if self.buffers_registered {
            opcode::WriteFixed::new(file, from, bytes, write.buffer.index)
                .offset(write.offset)
                .build()
        } else {
            opcode::Write::new(file, from, bytes).offset(write.offset).build()
        };
        let flush = opcode::Fsync::new(file).flags(types::FsyncFlags::DATASYNC).build();
        self.flushes[slot] = Some(write.batch);
        self.writes[slot] = Some(write);
        self.push(&[
            entry.flags(squeue::Flags::IO_LINK).user_data(Tag::Write(slot).pack()),
            flush.user_data(Tag::Flush(slot).pack()),
        ]);
        self.submit();
    }

    fn complete(&mut self) -> Option<Completion> {
        if self.done.is_empty() {
            if !self.ring.submission().is_empty() {
                self.submit();
            }
            self.reap();
        }
        self.done.pop_front()
    }

    fn wait(&mut self) -> io::Result<()> {
        if !self.done.is_empty() {
            return Ok(());
        }
        match self.ring.submit_and_wait(1) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    fn segments(&mut self) -> io::Result<Vec<(u64, u64)>> {
        self.folder.segments()
    }

    fn read(&mut self, mut transfer: Transfer) {
        let (slot, file) = match self.begin_transfer(transfer.segment) {
            Ok(begun) => begun,
            Err(error) => {
                self.done.push_back(Completion::Read { transfer, result: Err(error) });
                return;
            }
        };
        let target = transfer.region[transfer.from..][..transfer.bytes].as_mut_ptr();
        let bytes = u32::try_from(transfer.bytes).expect("transfers are small");
        let entry = opcode::Read::new(types::Fd(file.as_raw_fd()), target, bytes)
            .offset(transfer.offset)
            .build();
        self.transfers[slot] = Some(Moving { transfer, written: None, _file: file });
        self.push(&[entry.user_data(Tag::Read(slot).pack())]);
        self.submit();
    }

    fn overwrite(&mut self, transfer: Transfer) {
        let (slot, file) = match self.begin_transfer(transfer.segment) {
            Ok(begun) => begun,
            Err(error) => {
                self.done.push_back(Completion::Overwritten { transfer, result: Err(error) });
                return;
            }
        };
        let source = transfer.region[transfer.from..][..transfer.bytes].as_ptr();
        let bytes = u32::try_from(transfer.bytes).expect("transfers are small");
        let file_at = types::Fd(file.as_raw_fd());
        let write = opcode::Write::new(file_at, source, bytes).offset(transfer.offset).build();
        let flush = opcode::Fsync::new(file_at).flags(types::FsyncFlags::DATASYNC).build();
        self.transfers[slot] = Some(Moving { transfer, written: None, _file: file });
        self.push(&[
            write.flags(squeue::Flags::IO_LINK).user_data(Tag::Overwrite(slot).pack()),
            flush.user_data(Tag::FlushOverwrite(slot).pack()),
        ]);
        self.submit();
    }

    fn slots(&mut self, file: SlotFile) -> io::Result<Option<Vec<u8>>> {
        self.folder.slots(file)
    }

    fn make_slots(&mut self, file: SlotFile) -> io::Result<()> {
        self.slot_writes(file).open = None;
        self.folder.make_slots(file)
    }

    fn write_slot(&mut self, file: SlotFile, slot: usize, block: &[u8; SECTOR_BYTES]) {
        let flags = self.open_flags();
        if self.slot_writes(file).open.is_none() {
            match self.folder.open_slots(file, flags) {
                Ok(open) => self.slot_writes(file).open = Some(open),
                Err(error) => {
                    self.done.push_back(Completion::SlotWritten { file, result: Err(error) });
                    return;
                }
            }
        }
        let slots = self.slot_writes(file);
        assert!(!slots.is_under_way, "the log writes one slot of a file at a time");
        slots.is_under_way = true;
        slots.region.copy_from_slice(block);
        let open = types::Fd(slots.open.as_ref().expect("just opened").as_raw_fd());
        let write = opcode::Write::new(open, slots.region.as_ptr(), SECTOR_BYTES as u32)
            .offset((slot * SECTOR_BYTES) as u64)
            .build();
        let flush = opcode::Fsync::new(open).flags(types::FsyncFlags::DATASYNC).build();
        self.push(&[
            write.flags(squeue::Flags::IO_LINK).user_data(Tag::Slot(file).pack()),
            flush.user_data(Tag::FlushSlot(file).pack()),
        ]);
        self.submit();
    }

    fn files(&mut self) -> io::Result<Vec<(FileId, u64)>> {
        self.folder.files()
    }

    fn create_file(&mut self, file: FileId) {
        self.create(file);
    }

    fn write_file(&mut self, piece: Piece) {
        self.write_piece(piece);
    }

    fn seal_file(&mut self, file: FileId) {
        self.seal(file);
    }

    fn remove_file(&mut self, file: FileId) {
        self.remove_async(file);
    }

    fn copy_folder(&mut self, copy: FolderCopy) {
        self.begin_copy(copy);
    }

    fn bring_in(&mut self, purpose: Purpose, stretch: Stretch) {
        self.begin_bring_in(purpose, stretch);
    }

    fn let_go(&mut self, mapped: Mapped) {
        mapped.into_file().into_iter().for_each(|file| self.begin_close(file));
    }

    fn map_file(&mut self, file: FileId) -> io::Result<Mapped> {
        self.folder.map(file)
    }

    fn free_bytes(&mut self) -> io::Result<u64> {
        self.folder.free_bytes()
    }

    fn flush(&mut self, segment: u64) -> io::Result<()> {
        self.open_existing(segment)?;
        Ok(fs::fdatasync(self.file(segment)?)?)
    }

    fn erase_from(&mut self, segment: u64, offset: u64) -> io::Result<()> {
        self.open_existing(segment)?;
        let file = self.file(segment)?;
        // Direct writes are whole sectors, and a damaged file may have any length.
        let end = fs::fstat(file)?.st_size.unsigned_abs().next_multiple_of(SECTOR_BYTES as u64);
        let mut at = offset;
        while at < end {
            let bytes = piece(at, end);
            at += rustix::io::pwrite(file, &self.zeros[..bytes], at)? as u64;
        }
        Ok(fs::fdatasync(file)?)
    }

    fn replace(&mut self, segment: u64, bytes: &[u8]) -> io::Result<Option<String>> {
        self.close(segment);
        self.folder.replace(segment, bytes)
    }

    fn remove(&mut self, file: FileId) -> io::Result<()> {
        if file.kind == FileKind::Log {
            self.close(file.number);
        }
        self.folder.remove(file)
    }
}

impl Drop for UringIo {
    /// The kernel must not write from or into memory that is about to be unmapped.
    fn drop(&mut self) {
        let busy = |io: &Self| {
            io.preparation.is_some()
                || io.flushes.iter().any(Option::is_some)
                || io.writes.iter().any(Option::is_some)
                || io.transfers.iter().any(Option::is_some)
                || io.anchors.is_under_way
                || io.manifest.is_under_way
                || !io.file_calls.is_idle()
                || !io.memory_calls.is_idle()
                || io.copying.is_some()
        };
        while busy(self) {
            if self.ring.submit_and_wait(1).is_err_and(|e| e.kind() != io::ErrorKind::Interrupted) {
                std::process::abort();
            }
            self.reap();
        }
    }
}

fn slot_of(segment: u64) -> u32 {
    u32::try_from(segment % u64::from(FILE_SLOTS)).expect("below FILE_SLOTS")
}

/// Bytes of zeros to write next on the way to `end`.
fn piece(offset: u64, end: u64) -> usize {
    usize::try_from(end - offset).map_or(ZEROS_BYTES, |left| left.min(ZEROS_BYTES))
}

/// The kernel's result of an operation.
fn outcome(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(result) }
}

/// The kernel's result of a read or write that was to transfer this much.
fn whole(result: i32, bytes: usize) -> io::Result<()> {
    super::whole(outcome(result)?.unsigned_abs() as usize, bytes)
}

/// Checks that a file can be made here and whether it may bypass the page cache; leaves nothing.
fn probe_folder(folder: &Path) -> io::Result<bool> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    match fs::open(folder, flags | OFlags::DIRECT, mode) {
        Ok(_) => Ok(true),
        Err(rustix::io::Errno::INVAL) => Ok(fs::open(folder, flags, mode).map(|_| false)?),
        Err(error) => Err(error.into()),
    }
}

fn cpu_set(cpus: &[usize]) -> libc::cpu_set_t {
    // SAFETY: an all-zero cpu_set_t is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for &cpu in cpus.iter().filter(|&&cpu| cpu < libc::CPU_SETSIZE as usize) {
        // SAFETY: the processor number is below the size of the set.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    set
}
