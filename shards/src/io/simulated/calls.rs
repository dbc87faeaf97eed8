//! The calls to a simulated disk: how long they take and what they do.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::rc::Rc;

use super::{DEVICE_SECTOR_BYTES, Disk, Extent, Faults, File, SimulatedDisk, World, keep_some};
use crate::arena::{Mapped, Stretch};
use crate::format::{FileId, FileKind, segment_file_name};
use crate::io::{
    BatchWrite, Buffer, Completion, FileEvent, FolderCopy, Io, IoFacts, Piece, Purpose, Random,
    SlotFile, Transfer, whole,
};
use crate::limits::SECTOR_BYTES;

/// A call takes this long, at least and at most.
const CALL_NS_MIN: u64 = 5_000;
const CALL_NS_MAX: u64 = 400_000;
/// A slow one at most.
const SLOW_NS_MAX: u64 = 1_000_000_000;

#[derive(Debug)]
enum Call {
    Prepare {
        segment: u64,
        bytes: u64,
    },
    /// With its number among all batches of the disk.
    Write(u64, BatchWrite),
    /// Of everything up to the write with this number.
    Flush {
        batch: u64,
        nth: u64,
        segment: u64,
        through: u64,
    },
    /// What follows a write that failed.
    FailedFlush {
        batch: u64,
    },
    Read(Transfer),
    /// A write and its flush in one.
    Overwrite(Transfer),
    /// The same, of a slot.
    Slot {
        file: SlotFile,
        slot: usize,
        bytes: Box<[u8; SECTOR_BYTES]>,
    },
    Create(FileId),
    Piece(Piece),
    Seal(FileId),
    Remove(FileId),
    Copy(FolderCopy),
    BringIn {
        purpose: Purpose,
        _stretch: Stretch,
    },
}

/// A [`SimulatedDisk`] in use by a process.
#[derive(Debug)]
pub struct SimulatedIo {
    disk: SimulatedDisk,
    world: Rc<dyn World>,
    /// Under way, with the time at which each ends.
    calls: Vec<(u64, Call)>,
    done: VecDeque<Completion>,
}

pub(super) fn eio() -> io::Error {
    io::Error::from_raw_os_error(libc::EIO)
}

pub(super) fn enospc() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOSPC)
}

/// Flushes a file up to a write, or fails for good.
pub(super) fn flush(
    file: &mut File,
    random: &mut Random,
    faults: &Faults,
    is_direct: bool,
    through: u64,
) -> io::Result<()> {
    if random.chance(faults.flush_error) {
        file.settle(random);
        if is_direct {
            file.seen.clone_from(&file.flushed);
        }
        return Err(eio());
    }
    file.flush(through);
    Ok(())
}

pub(super) fn write_and_flush(
    file: &mut File,
    random: &mut Random,
    faults: &Faults,
    is_direct: bool,
    (offset, bytes): (usize, &[u8]),
) -> io::Result<()> {
    if random.chance(faults.write_error) {
        keep_some(random, offset, bytes, |offset, sector| file.write(offset, sector));
        return Err(eio());
    }
    file.write(offset, bytes);
    let through = file.writes;
    flush(file, random, faults, is_direct, through)
}

pub(super) fn place(offset: u64) -> usize {
    usize::try_from(offset).expect("simulated segments are small")
}

impl Disk {
    fn call_ns(&mut self) -> u64 {
        let slow = self.random.chance(self.faults.slow);
        self.random.between(CALL_NS_MIN, if slow { SLOW_NS_MAX } else { CALL_NS_MAX })
    }

    fn file(&mut self, segment: u64) -> io::Result<&mut File> {
        self.segments.get_mut(&segment).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Does what a write does in the end; how many bytes it says it transferred.
    fn write(&mut self, nth: u64, write: &BatchWrite) -> io::Result<usize> {
        let BatchWrite { segment, from, bytes, .. } = *write;
        let data = &write.buffer.region[from..from + bytes];
        let mut offset = place(write.offset);
        let Self { segments, random, faults, .. } = self;
        let file = segments.get_mut(&segment).expect("prepared before it is written to");
        if random.chance(faults.write_error) {
            keep_some(random, offset, data, |offset, sector| file.write(offset, sector));
            return Err(eio());
        }
        if random.chance(faults.write_short) {
            let sectors = random.index(bytes / DEVICE_SECTOR_BYTES);
            file.write(offset, &data[..sectors * DEVICE_SECTOR_BYTES]);
            return Ok(sectors * DEVICE_SECTOR_BYTES);
        }
        if random.chance(faults.write_misdirected) {
            let sectors = (file.seen.len() - bytes) / DEVICE_SECTOR_BYTES;
            offset = random.index(sectors + 1) * DEVICE_SECTOR_BYTES;
            self.lies.push(nth);
        }
        file.write(offset, data);
        self.batches.push(Extent { segment, offset: place(write.offset), bytes });
        Ok(bytes)
    }

    fn flush_batch(&mut self, nth: u64, segment: u64, through: u64) -> io::Result<()> {
        self.flush_file(segment, through)?;
        if !self.lies.contains(&nth) {
            self.flushed = self.flushed.max(nth);
        }
        Ok(())
    }

    fn flush_file(&mut self, segment: u64, through: u64) -> io::Result<()> {
        let Self { segments, random, faults, is_direct, .. } = self;
        let file = segments.get_mut(&segment).ok_or(io::ErrorKind::NotFound)?;
        flush(file, random, faults, *is_direct, through)
    }

    fn read(&mut self, transfer: &mut Transfer) -> io::Result<()> {
        let Transfer { segment, offset, from, bytes, .. } = *transfer;
        if self.random.chance(self.faults.read_error) {
            return Err(eio());
        }
        let short = self.random.chance(self.faults.read_short);
        let transferred = if short { self.random.index(bytes) } else { bytes };
        let file = self.file(segment)?;
        let data = &file.seen[place(offset)..][..transferred];
        transfer.region[from..from + transferred].copy_from_slice(data);
        whole(transferred, bytes)
    }

    /// Writes into a segment that is in use and flushes it.
    fn overwrite(&mut self, segment: u64, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let Self { segments, random, faults, is_direct, .. } = self;
        let file = segments.get_mut(&segment).ok_or(io::ErrorKind::NotFound)?;
        write_and_flush(file, random, faults, *is_direct, (offset, bytes))
    }

    fn prepare(&mut self, segment: u64, bytes: u64) -> io::Result<()> {
        if self.is_full || self.random.chance(self.faults.no_space) {
            return Err(enospc());
        }
        if self.random.chance(self.faults.prepare_error) {
            return Err(eio());
        }
        self.segments.insert(segment, File::zeroed(place(bytes)));
        Ok(())
    }

    /// What a process that died or a machine that went dark leaves of a call that was under way.
    fn abandon(&mut self, call: Call) {
        let is_off = self.power.is_off();
        let Self { segments, anchors, manifest, files, random, .. } = self;
        let mut leave = |file: &mut File, is_off: bool, offset: usize, data: &[u8]| {
            if is_off {
                file.note(offset, data);
            } else {
                let sectors = random.index(data.len() / DEVICE_SECTOR_BYTES + 1);
                file.write(offset, &data[..sectors * DEVICE_SECTOR_BYTES]);
            }
        };
        match call {
            Call::Write(_, BatchWrite { segment, offset, buffer, from, bytes, .. }) => {
                let file = segments.get_mut(&segment).expect("prepared before it is written to");
                leave(file, is_off, place(offset), &buffer.region[from..from + bytes]);
            }
            Call::Prepare { segment, bytes } => {
                let left = match random.below(4) {
                    0 => return,
                    1 => 0,
                    2 => random.index(place(bytes)),
                    _ => place(bytes),
                };
                segments.insert(segment, File::zeroed(left));
            }
            Call::Overwrite(Transfer { segment, offset, region, from, bytes, .. }) => {
                if let Some(file) = segments.get_mut(&segment) {
                    leave(file, is_off, place(offset), &region[from..from + bytes]);
                }
            }
            Call::Slot { file, slot, bytes } => {
                let slots = match file {
                    SlotFile::Anchors => anchors,
                    SlotFile::Manifest => manifest,
                };
                if let Some(file) = slots {
                    leave(file, is_off, slot * SECTOR_BYTES, &bytes[..]);
                }
            }
            Call::Piece(Piece { file, offset, region, from, bytes }) => {
                if let Some(made) = files.get_mut(&file) {
                    leave(&mut made.file, false, place(offset), &region[from..from + bytes]);
                }
            }
            // Done, or not begun; of the power it takes part away afterwards.
            Call::Create(file) if random.chance(500_000) => drop(self.create_file(file)),
            Call::Seal(file) if random.chance(500_000) => drop(self.seal_file(file)),
            Call::Remove(file) if random.chance(500_000) => drop(self.remove_file(file)),
            Call::Create(_) | Call::Seal(_) | Call::Remove(_) => {}
            Call::Read(_) | Call::Flush { .. } | Call::FailedFlush { .. } => {}
            Call::Copy(_) | Call::BringIn { .. } => {}
        }
    }
}

impl SimulatedIo {
    pub(super) fn new(disk: SimulatedDisk, world: Rc<dyn World>) -> Self {
        Self { disk, world, calls: Vec::new(), done: VecDeque::new() }
    }

    /// Starts a call. One at which the power fails stays under way for ever.
    fn start(&mut self, call: Call) {
        let mut disk = self.disk.0.borrow_mut();
        let ends_ns = match disk.power.call() {
            Ok(()) => self.world.now_ns() + disk.call_ns(),
            Err(_) => u64::MAX,
        };
        drop(disk);
        self.calls.push((ends_ns, call));
        if ends_ns < u64::MAX {
            self.world.wake_at(ends_ns);
        }
    }

    /// Starts a call that is none to the disk: it takes its time, and is not where the power fails.
    fn start_beside(&mut self, call: Call) {
        let ends_ns = self.world.now_ns() + self.disk.0.borrow_mut().call_ns();
        self.calls.push((ends_ns, call));
        self.world.wake_at(ends_ns);
    }

    /// Begins a call that blocks: it takes its time, and the power may fail.
    fn block(&self) -> io::Result<()> {
        let mut disk = self.disk.0.borrow_mut();
        let ends_ns = self.world.now_ns() + disk.call_ns();
        self.world.advance_to(ends_ns);
        disk.power.call()
    }

    fn next_end(&self) -> Option<usize> {
        let is_off = self.disk.0.borrow().power.is_off();
        let ends = self.calls.iter().enumerate().filter(|(_, (ends_ns, _))| *ends_ns < u64::MAX);
        ends.min_by_key(|(_, (ends_ns, _))| *ends_ns).filter(|_| !is_off).map(|(nth, _)| nth)
    }

    fn tell(&mut self, what: fmt::Arguments<'_>, event: FileEvent) {
        let (FileEvent::Created { result, .. }
        | FileEvent::Written { result, .. }
        | FileEvent::Sealed { result, .. }
        | FileEvent::Removed { result, .. }) = &event;
        self.world.trace(format_args!("{what}: {result:?}"));
        self.done.push_back(Completion::File(event));
    }

    fn end(&mut self, call: Call) {
        let disk = Rc::clone(&self.disk.0);
        let mut disk = disk.borrow_mut();
        match call {
            Call::Prepare { segment, bytes } => {
                let result = disk.prepare(segment, bytes);
                self.world.trace(format_args!("segment {segment} is made: {result:?}"));
                self.done.push_back(Completion::Prepared { segment, result });
            }
            Call::Write(nth, write) => {
                let result = disk.write(nth, &write).and_then(|bytes| whole(bytes, write.bytes));
                disk.has_failed |= result.is_err();
                let BatchWrite { batch, segment, offset, buffer, bytes, .. } = write;
                self.world.trace(format_args!(
                    "batch {batch} is written: {bytes} bytes at {segment}:{offset}, {result:?}"
                ));
                let through = disk.segments[&segment].writes;
                drop(disk);
                // A flush that is linked to a write that failed is not begun.
                self.start(match result {
                    Ok(()) => Call::Flush { batch, nth, segment, through },
                    Err(_) => Call::FailedFlush { batch },
                });
                self.done.push_back(Completion::Written { batch, buffer, result });
            }
            Call::Flush { batch, nth, segment, through } => {
                let result = disk.flush_batch(nth, segment, through);
                disk.has_failed |= result.is_err();
                self.world.trace(format_args!("batch {batch} is flushed: {result:?}"));
                self.done.push_back(Completion::Flushed { batch, result });
            }
            Call::Read(mut transfer) => {
                let result = disk.read(&mut transfer);
                self.done.push_back(Completion::Read { transfer, result });
            }
            Call::Overwrite(transfer) => {
                let Transfer { segment, offset, from, bytes, .. } = transfer;
                let data = &transfer.region[from..from + bytes];
                let result = disk.overwrite(segment, place(offset), data);
                disk.has_failed |= result.is_err();
                self.world.trace(format_args!(
                    "{bytes} bytes are overwritten at {segment}:{offset}: {result:?}"
                ));
                self.done.push_back(Completion::Overwritten { transfer, result });
            }
            Call::Slot { file, slot, bytes } => {
                let result = disk.write_slot(file, slot, &bytes[..]);
                disk.has_failed |= result.is_err();
                self.world.trace(format_args!("slot {slot} of {file:?} is written: {result:?}"));
                self.done.push_back(Completion::SlotWritten { file, result });
            }
            Call::Create(file) => {
                let result = disk.create_file(file);
                self.tell(format_args!("{file} is made"), FileEvent::Created { file, result });
            }
            Call::Piece(piece) => {
                let (file, offset, bytes) = (piece.file, piece.offset, piece.bytes);
                let result = disk.write_piece(&piece);
                let what = format_args!("{file} gets {bytes} bytes at {offset}");
                self.tell(what, FileEvent::Written { piece, result });
            }
            Call::Seal(file) => {
                let result = disk.seal_file(file);
                self.tell(format_args!("{file} is sealed"), FileEvent::Sealed { file, result });
            }
            Call::Remove(file) => {
                let result = disk.remove_file(file);
                self.tell(format_args!("{file} is removed"), FileEvent::Removed { file, result });
            }
            Call::Copy(copy) => {
                let result = disk.copy_folder(copy);
                self.world.trace(format_args!("the folder is copied: {result:?}"));
                self.done.push_back(Completion::Copied { result });
            }
            // Touching it would change nothing.
            Call::BringIn { purpose, .. } => {
                self.done.push_back(Completion::BroughtIn { purpose, result: Ok(()) });
            }
            Call::FailedFlush { batch } => {
                let result = Err(io::Error::from_raw_os_error(libc::ECANCELED));
                self.done.push_back(Completion::Flushed { batch, result });
            }
        }
    }
}

impl Io for SimulatedIo {
    fn facts(&self) -> IoFacts {
        IoFacts { is_direct: self.disk.0.borrow().is_direct, has_registered_buffers: false }
    }

    fn wall_us(&self) -> i64 {
        (self.world.clock().wall_us)()
    }

    fn monotonic_ns(&self) -> u64 {
        (self.world.clock().monotonic_ns)()
    }

    fn register(&mut self, _buffers: &[Buffer]) {}

    fn prepare(&mut self, segment: u64, bytes: u64) {
        self.start(Call::Prepare { segment, bytes });
    }

    fn write(&mut self, write: BatchWrite) {
        let nth = {
            let mut disk = self.disk.0.borrow_mut();
            disk.submitted += 1;
            disk.submitted
        };
        self.start(Call::Write(nth, write));
    }

    fn complete(&mut self) -> Option<Completion> {
        let now_ns = self.world.now_ns();
        while self.done.is_empty() {
            let nth = self.next_end().filter(|&nth| self.calls[nth].0 <= now_ns)?;
            let (_, call) = self.calls.swap_remove(nth);
            self.end(call);
        }
        self.done.pop_front()
    }

    fn wait(&mut self) -> io::Result<()> {
        if self.done.is_empty() {
            if self.disk.0.borrow().power.is_off() {
                return Err(io::Error::other("the power is off"));
            }
            let nth = self.next_end().expect("waiting for a disk that has nothing to do");
            self.world.advance_to(self.calls[nth].0);
        }
        Ok(())
    }

    fn segments(&mut self) -> io::Result<Vec<(u64, u64)>> {
        self.block()?;
        let disk = self.disk.0.borrow();
        Ok(disk.segments.iter().map(|(&number, file)| (number, file.seen.len() as u64)).collect())
    }

    fn read(&mut self, transfer: Transfer) {
        self.start(Call::Read(transfer));
    }

    fn overwrite(&mut self, transfer: Transfer) {
        self.start(Call::Overwrite(transfer));
    }

    fn slots(&mut self, file: SlotFile) -> io::Result<Option<Vec<u8>>> {
        self.block()?;
        self.disk.0.borrow_mut().read_slots(file)
    }

    fn make_slots(&mut self, file: SlotFile) -> io::Result<()> {
        let result = self.block();
        self.world.trace(format_args!("the file of {file:?} is made: {result:?}"));
        self.disk.0.borrow_mut().make_slots(file, result)
    }

    fn write_slot(&mut self, file: SlotFile, slot: usize, block: &[u8; SECTOR_BYTES]) {
        self.start(Call::Slot { file, slot, bytes: Box::new(*block) });
    }

    fn files(&mut self) -> io::Result<Vec<(FileId, u64)>> {
        self.block()?;
        let disk = self.disk.0.borrow();
        Ok(disk.files.iter().map(|(&id, made)| (id, made.file.seen.len() as u64)).collect())
    }

    fn create_file(&mut self, file: FileId) {
        self.start(Call::Create(file));
    }

    fn write_file(&mut self, piece: Piece) {
        self.start(Call::Piece(piece));
    }

    fn seal_file(&mut self, file: FileId) {
        self.start(Call::Seal(file));
    }

    fn remove_file(&mut self, file: FileId) {
        self.start(Call::Remove(file));
    }

    fn copy_folder(&mut self, copy: FolderCopy) {
        self.start(Call::Copy(copy));
    }

    fn bring_in(&mut self, purpose: Purpose, stretch: Stretch) {
        self.start_beside(Call::BringIn { purpose, _stretch: stretch });
    }

    fn let_go(&mut self, mapped: Mapped) {
        drop(mapped);
    }

    fn map_file(&mut self, file: FileId) -> io::Result<Mapped> {
        self.block()?;
        let disk = &mut *self.disk.0.borrow_mut();
        if disk.random.chance(disk.faults.read_error) {
            return Err(eio());
        }
        Mapped::of_bytes(&disk.files.get(&file).ok_or(io::ErrorKind::NotFound)?.file.seen)
    }

    fn free_bytes(&mut self) -> io::Result<u64> {
        self.block()?;
        Ok(if self.disk.0.borrow().is_full { 0 } else { 1 << 40 })
    }

    fn flush(&mut self, segment: u64) -> io::Result<()> {
        self.block()?;
        let mut disk = self.disk.0.borrow_mut();
        let through = disk.file(segment)?.writes;
        disk.flush_file(segment, through)
    }

    fn erase_from(&mut self, segment: u64, offset: u64) -> io::Result<()> {
        let from = place(offset);
        let zeros = {
            let mut disk = self.disk.0.borrow_mut();
            disk.batches.retain(|at| (at.segment, at.offset) < (segment, from));
            vec![0; disk.file(segment)?.seen.len() - from]
        };
        let written = self.block();
        self.world.trace(format_args!("segment {segment} is erased from {from}: {written:?}"));
        let mut disk = self.disk.0.borrow_mut();
        let Disk { segments, random, faults, .. } = &mut *disk;
        let file = segments.get_mut(&segment).expect("just seen");
        if written.is_err() || random.chance(faults.write_error) {
            keep_some(random, from, &zeros, |offset, sector| file.write(offset, sector));
            return written.and(Err(eio()));
        }
        file.write(from, &zeros);
        drop(disk);
        self.flush(segment)
    }

    fn replace(&mut self, segment: u64, bytes: &[u8]) -> io::Result<Option<String>> {
        let result = self.block();
        self.world.trace(format_args!("segment {segment} is replaced: {result:?}"));
        let disk = &mut *self.disk.0.borrow_mut();
        let happens = result.is_ok() || disk.random.chance(500_000);
        if result.is_ok() && (disk.is_full || disk.random.chance(disk.faults.no_space)) {
            return Err(enospc());
        }
        let mut kept = None;
        if happens {
            let mut file = File::zeroed(bytes.len());
            file.write(0, bytes);
            file.flush(file.writes);
            if let Some(old) = disk.segments.insert(segment, file) {
                let name = format!("{}.{}", segment_file_name(segment), disk.quarantine.len());
                disk.quarantine.insert(name.clone(), old.seen);
                kept = Some(name);
            }
        }
        result.map(|()| kept)
    }

    fn remove(&mut self, file: FileId) -> io::Result<()> {
        let result = self.block();
        self.world.trace(format_args!("{file} is removed: {result:?}"));
        let mut disk = self.disk.0.borrow_mut();
        let happens = result.is_ok() || disk.random.chance(500_000);
        if happens {
            match file.kind {
                FileKind::Log => drop(disk.segments.remove(&file.number)),
                FileKind::Columns | FileKind::State => drop(disk.files.remove(&file)),
            }
        }
        result
    }
}

impl Drop for SimulatedIo {
    /// What is under way when a process ends is done in part or not at all.
    fn drop(&mut self) {
        let mut disk = self.disk.0.borrow_mut();
        // In a drawn order: writes overtake each other.
        while !self.calls.is_empty() {
            let nth = disk.random.index(self.calls.len());
            let (_, call) = self.calls.swap_remove(nth);
            disk.abandon(call);
        }
    }
}
