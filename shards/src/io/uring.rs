//! The log's disk in the daemon: a ring of its own, beside whatever the executor uses for sockets.
//!
//! A batch is one `WRITE_FIXED` linked to one `FSYNC(DATASYNC)`: the kernel starts the flush when
//! the write ends, whether or not the shard is computing just then. For that to hold the ring is
//! made with default flags; `DEFER_TASKRUN` and `COOP_TASKRUN` would make the link wait for this
//! thread. Writing with `RWF_DSYNC` instead completes in a low-priority kernel worker and has tails
//! of milliseconds. Files and buffers are registered; where the memory-lock limit does not allow
//! the buffers, plain writes from the same memory take their place.
//!
//! Segments are made ahead of their use by steps on the same ring, one at a time so that commits
//! keep their share of the disk: create, allocate, write zeros, flush the file, flush the folder.
//! Writing the zeros matters: the first write to an extent that is only allocated makes the file
//! system update its own records at the next flush, which costs more than the flush itself.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use io_uring::{IoUring, cqueue, opcode, squeue, types};
use rustix::fs::{self, AtFlags, Mode, OFlags};

use super::{BatchWrite, Buffer, Completion, Io};
use crate::arena::Region;
use crate::format::{segment_file_name, segment_from_file_name};
use crate::limits::SECTOR_BYTES;

/// Submissions that can be queued at once: writes in flight with their flushes, one preparation
/// step and the reads of recovery are far below it.
const RING_ENTRIES: u32 = 64;
/// Registered file slots. A segment takes slot `segment % FILE_SLOTS`; writes in flight never span
/// as many segments, because there are fewer of them.
const FILE_SLOTS: u32 = 16;
/// Writes in flight; the log's own bound is lower or equal.
pub(super) const WRITES_MAX: usize = 8;
/// Zeros are written in pieces this large, one at a time.
const ZEROS_BYTES: usize = 256 << 10;
/// Recovery reads in pieces this large, as many at once as fit into one request.
const READ_BYTES: usize = 512 << 10;
/// Kernel workers that may run flushes and file operations of this ring, per class.
const WORKERS_MAX: u32 = 2;

const _: () = assert!(WRITES_MAX < FILE_SLOTS as usize);
const _: () = assert!(WRITES_MAX * 2 + 1 < RING_ENTRIES as usize);

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

#[derive(Debug, Clone, Copy)]
enum Step {
    Open,
    Allocate,
    Zero { offset: u64 },
    FlushFile,
    FlushFolder,
}

#[derive(Debug)]
struct Preparation {
    segment: u64,
    bytes: u64,
    name: CString,
    file: Option<OwnedFd>,
    step: Step,
}

/// See the top of the file.
pub struct UringIo {
    ring: IoUring,
    event: OwnedFd,
    folder: OwnedFd,
    clock: Clock,
    direct: bool,
    buffers_registered: bool,
    files: Vec<(u64, OwnedFd)>,
    writes: [Option<BatchWrite>; WRITES_MAX],
    flushes: [Option<u64>; WRITES_MAX],
    preparation: Option<Preparation>,
    zeros: Region,
    /// Lengths of the reads under way.
    reads: Vec<usize>,
    reads_left: usize,
    read_error: Option<io::Error>,
    done: VecDeque<Completion>,
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
}

impl Tag {
    fn pack(self) -> u64 {
        match self {
            Self::Write(slot) => slot as u64,
            Self::Flush(slot) => 1 << 8 | slot as u64,
            Self::Prepare => 2 << 8,
            Self::Read(nth) => 3 << 8 | nth as u64,
        }
    }

    fn unpack(data: u64) -> Self {
        let slot = (data & 0xff) as usize;
        match data >> 8 {
            0 => Self::Write(slot),
            1 => Self::Flush(slot),
            2 => Self::Prepare,
            _ => Self::Read(slot),
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
        let folder =
            fs::open(&settings.folder, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
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
            reads: Vec::new(),
            reads_left: 0,
            read_error: None,
            done: VecDeque::new(),
        })
    }

    /// Becomes readable when completions have arrived; the executor awaits it.
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    /// Whether files bypass the page cache, as they do on every common disk file system.
    pub fn is_direct(&self) -> bool {
        self.direct
    }

    /// Whether writes come from registered memory; the memory-lock limit decides.
    pub fn has_registered_buffers(&self) -> bool {
        self.buffers_registered
    }

    fn open_flags(&self) -> OFlags {
        let base = OFlags::RDWR | OFlags::CLOEXEC;
        if self.direct { base | OFlags::DIRECT } else { base }
    }

    fn file(&self, segment: u64) -> io::Result<BorrowedFd<'_>> {
        let found = self.files.iter().find(|(number, _)| *number == segment);
        found.map(|(_, file)| file.as_fd()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Opens a segment that recovery found, unless it is open.
    fn open_existing(&mut self, segment: u64) -> io::Result<()> {
        if self.file(segment).is_ok() {
            return Ok(());
        }
        let name = segment_file_name(segment);
        let file = fs::openat(&self.folder, name.as_str(), self.open_flags(), Mode::empty())?;
        self.install(segment, file)
    }

    /// Registers an open segment and closes those whose slots are taken again.
    fn install(&mut self, segment: u64, file: OwnedFd) -> io::Result<()> {
        let slot = slot_of(segment);
        self.ring.submitter().register_files_update(slot, &[file.as_raw_fd()])?;
        self.files.retain(|(number, _)| slot_of(*number) != slot);
        self.files.push((segment, file));
        Ok(())
    }

    fn push(&mut self, entries: &[squeue::Entry]) {
        // SAFETY: every entry points into memory that stays in place until its completion is
        // reaped: batch buffers and `zeros` are mapped regions owned by `self` meanwhile, names are
        // heap strings in `preparation`, and read targets are borrowed by a call that waits.
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
        match Tag::unpack(entry.user_data()) {
            Tag::Write(slot) => {
                let write = self.writes[slot].take().expect("a write completes once");
                let result = whole(entry.result(), write.bytes);
                let BatchWrite { batch, buffer, .. } = write;
                self.done.push_back(Completion::Written { batch, buffer, result });
            }
            Tag::Flush(slot) => {
                let batch = self.flushes[slot].take().expect("a flush completes once");
                let result = outcome(entry.result()).map(drop);
                self.done.push_back(Completion::Flushed { batch, result });
            }
            Tag::Prepare => self.continue_preparation(entry.result()),
            Tag::Read(nth) => {
                self.reads_left -= 1;
                if let Err(error) = whole(entry.result(), self.reads[nth]) {
                    self.read_error.get_or_insert(error);
                }
            }
        }
    }

    fn continue_preparation(&mut self, result: i32) {
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
            Step::FlushFolder => opcode::Fsync::new(types::Fd(self.folder.as_raw_fd())).build(),
        };
        Ok(Some(entry.user_data(Tag::Prepare.pack())))
    }
}

impl Io for UringIo {
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
        assert!(self.preparation.is_none(), "the log prepares one segment at a time");
        let name = CString::new(segment_file_name(segment)).expect("no zero byte in it");
        let flags = self.open_flags() | OFlags::CREATE | OFlags::EXCL;
        let entry = opcode::OpenAt::new(types::Fd(self.folder.as_raw_fd()), name.as_ptr())
            .flags(i32::try_from(flags.bits()).expect("open flags are small"))
            .mode(0o600)
            .build()
            .user_data(Tag::Prepare.pack());
        self.preparation = Some(Preparation { segment, bytes, name, file: None, step: Step::Open });
        self.push(&[entry]);
        self.submit();
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
        let mut segments = Vec::new();
        for entry in fs::Dir::read_from(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(segment) = segment_from_file_name(&name) {
                let stat = fs::statat(&self.folder, name.as_str(), AtFlags::empty())?;
                segments.push((segment, stat.st_size.unsigned_abs()));
            }
        }
        segments.sort_unstable();
        Ok(segments)
    }

    fn read(
        &mut self,
        segment: u64,
        offset: u64,
        buffer: &mut Region,
        bytes: usize,
    ) -> io::Result<()> {
        self.open_existing(segment)?;
        let file = types::Fixed(slot_of(segment));
        let mut entries = Vec::new();
        self.reads.clear();
        for (nth, piece) in buffer[..bytes].chunks_mut(READ_BYTES).enumerate() {
            let at = offset + (nth * READ_BYTES) as u64;
            let length = u32::try_from(piece.len()).expect("READ_BYTES is small");
            let entry = opcode::Read::new(file, piece.as_mut_ptr(), length).offset(at).build();
            entries.push(entry.user_data(Tag::Read(nth).pack()));
            self.reads.push(length as usize);
        }
        assert!(entries.len() < RING_ENTRIES as usize, "recovery reads bounded windows");
        self.reads_left = entries.len();
        self.push(&entries);
        while self.reads_left > 0 {
            self.ring.submit_and_wait(1)?;
            self.reap();
        }
        self.read_error.take().map_or(Ok(()), Err)
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

    fn remove(&mut self, segment: u64) -> io::Result<()> {
        self.files.retain(|(number, _)| *number != segment);
        fs::unlinkat(&self.folder, segment_file_name(segment).as_str(), AtFlags::empty())?;
        Ok(fs::fsync(&self.folder)?)
    }
}

impl Drop for UringIo {
    /// The kernel must not write from or into memory that is about to be unmapped.
    fn drop(&mut self) {
        let busy = |io: &Self| {
            io.preparation.is_some()
                || io.flushes.iter().any(Option::is_some)
                || io.writes.iter().any(Option::is_some)
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

/// A read or write that transferred less than asked is a failure: it is not tried again.
fn whole(result: i32, bytes: usize) -> io::Result<()> {
    let transferred = outcome(result)?;
    if usize::try_from(transferred) == Ok(bytes) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::WriteZero,
        format!("{transferred} of {bytes} bytes were transferred"),
    ))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> Clock {
        Clock { wall_us: || 1, monotonic_ns: || 1 }
    }

    fn io(folder: &Path) -> UringIo {
        let folder = folder.to_path_buf();
        UringIo::new(&UringSettings { folder, worker_cpus: vec![0], clock: clock() }).unwrap()
    }

    fn next(io: &mut UringIo) -> Completion {
        loop {
            if let Some(completion) = io.complete() {
                return completion;
            }
            io.wait().unwrap();
        }
    }

    /// Not a whole number of the pieces that zeros are written in.
    const BYTES: u64 = crate::limits::SEGMENT_BYTES_MIN + 4096;

    #[test]
    fn a_prepared_segment_takes_a_batch_and_gives_it_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut io = io(folder.path());
        io.prepare(1, BYTES);
        assert!(matches!(next(&mut io), Completion::Prepared { segment: 1, result: Ok(()) }));
        assert_eq!(io.segments().unwrap(), vec![(1, BYTES)]);

        let mut buffer = Buffer { region: Region::new(1 << 20).unwrap(), index: 0 };
        buffer.region[4096..8192].fill(7);
        io.register(std::slice::from_ref(&buffer));
        let write =
            BatchWrite { batch: 5, segment: 1, offset: 8192, buffer, from: 4096, bytes: 4096 };
        io.write(write);
        let Completion::Written { batch: 5, result: Ok(()), .. } = next(&mut io) else { panic!() };
        let Completion::Flushed { batch: 5, result: Ok(()) } = next(&mut io) else { panic!() };

        let mut back = Region::new(BYTES as usize).unwrap();
        io.read(1, 0, &mut back, BYTES as usize).unwrap();
        assert!(back[8192..12288].iter().all(|&byte| byte == 7));
        assert_eq!(back.iter().filter(|&&byte| byte != 0).count(), 4096);

        io.erase_from(1, 8192).unwrap();
        io.read(1, 0, &mut back, BYTES as usize).unwrap();
        assert!(back.iter().all(|&byte| byte == 0));
        io.remove(1).unwrap();
        assert_eq!(io.segments().unwrap(), vec![]);
    }

    #[test]
    fn a_segment_that_cannot_be_made_is_an_error_and_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut io = io(folder.path());
        io.prepare(1, 1 << 60);
        assert!(matches!(next(&mut io), Completion::Prepared { segment: 1, result: Err(_) }));
        assert_eq!(io.segments().unwrap(), vec![]);
    }

    #[test]
    fn a_folder_that_is_missing_is_named_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("missing");
        let settings = UringSettings { folder, worker_cpus: vec![], clock: clock() };
        assert_eq!(UringIo::new(&settings).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
