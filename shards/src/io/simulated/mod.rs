//! A disk that lies, for simulations.
//!
//! A [`SimulatedDisk`] is one shard's folder; it outlives the [`SimulatedIo`]s that use it, as a
//! disk outlives processes. Of every file it keeps three things: what reads see, what certainly
//! survives a power loss, and the writes in between, which were made and not flushed. A write and
//! its flush are two calls that take virtual time. What a crash leaves:
//!
//! | | power loss | kill |
//! |---|---|---|
//! | flushed | stays | stays |
//! | written, not flushed | any of its sectors, in any combination | stays |
//! | with the disk when it happened | any of its sectors | a part from the front, or nothing |
//! | a segment that is being made | missing, empty, cut or whole | the same |
//! | a columns or state file, not sealed | missing, cut, any of its sectors | stays |
//! | a copy of the folder that is being made | nothing | nothing |
//!
//! A flush that fails is the worst of it: the sectors it was for may or may not be there, and are
//! never tried again. With direct I/O reads see what became of them. Without it they go on to see
//! the page cache, in which everything looks well until the power fails.
//!
//! [`Faults`] says how often calls fail, transfer less than asked, take long or write to the wrong
//! place. [`SimulatedDisk::rot`] damages what lies there. [`Power`] is shared by the disks of a
//! machine: it counts their calls and can fail at any one of them.

mod calls;
mod damage;
mod files;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::{Clock, Random};
use crate::format::FileId;

pub use calls::SimulatedIo;
pub use damage::{Rot, Snapshot};

/// What survives or not is decided for each of these.
pub const DEVICE_SECTOR_BYTES: usize = 512;

/// What a simulated disk needs of the world around it.
pub trait World: fmt::Debug {
    fn clock(&self) -> Clock;

    /// Virtual time.
    fn now_ns(&self) -> u64;

    /// The thread that calls is blocked until then.
    fn advance_to(&self, ns: u64);

    /// A call will have ended then: the shard is to be woken.
    fn wake_at(&self, ns: u64);

    /// Tells what happened, for people.
    fn trace(&self, event: fmt::Arguments<'_>);
}

/// A world in which time only moves when the disk is waited for, and nobody is told anything.
#[derive(Debug, Default)]
pub struct Still(Cell<u64>);

impl World for Still {
    fn clock(&self) -> Clock {
        Clock { wall_us: || 1, monotonic_ns: || 1 }
    }

    fn now_ns(&self) -> u64 {
        self.0.get()
    }

    fn advance_to(&self, ns: u64) {
        self.0.set(self.0.get().max(ns));
    }

    fn wake_at(&self, _ns: u64) {}

    fn trace(&self, _event: fmt::Arguments<'_>) {}
}

/// How often what goes wrong, in a million calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Fails; any part of it may have been done.
    pub write_error: u32,
    /// Ends early and says so.
    pub write_short: u32,
    /// Goes to another place and says nothing.
    pub write_misdirected: u32,
    /// See the top of the file.
    pub flush_error: u32,
    pub read_error: u32,
    pub read_short: u32,
    /// A segment or the file of anchors cannot be made for want of room.
    pub no_space: u32,
    pub prepare_error: u32,
    /// Takes up to a second.
    pub slow: u32,
}

/// The power of a machine and the calls to its disks.
#[derive(Debug, Default)]
pub struct Power {
    calls: Cell<u64>,
    fails_at: Cell<Option<u64>>,
    is_off: Cell<bool>,
}

impl Power {
    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.calls.get()
    }

    /// The power will fail during this call, counted from the first one of all, which is 1.
    pub fn fail_at(&self, call: u64) {
        self.fails_at.set(Some(call));
    }

    pub fn cut(&self) {
        self.is_off.set(true);
    }

    pub fn is_off(&self) -> bool {
        self.is_off.get()
    }

    /// Comes back, and will not fail by itself again.
    pub fn restore(&self) {
        self.is_off.set(false);
        self.fails_at.set(None);
    }

    /// Counts a call; whether it is the one that is cut short.
    fn call(&self) -> io::Result<()> {
        self.calls.set(self.calls.get() + 1);
        if self.fails_at.get() == Some(self.calls.get()) {
            self.is_off.set(true);
        }
        if self.is_off.get() { Err(io::Error::other("the power is off")) } else { Ok(()) }
    }
}

/// Sectors that were written and not flushed.
#[derive(Debug, Clone)]
struct Unflushed {
    /// Counts the writes of a file.
    nth: u64,
    offset: usize,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Default)]
struct File {
    /// What reads see.
    seen: Vec<u8>,
    /// What a power loss leaves for certain.
    flushed: Vec<u8>,
    unflushed: Vec<Unflushed>,
    writes: u64,
}

impl File {
    fn zeroed(bytes: usize) -> Self {
        Self { seen: vec![0; bytes], flushed: vec![0; bytes], ..Self::default() }
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        self.seen.resize(self.seen.len().max(offset + bytes.len()), 0);
        self.seen[offset..offset + bytes.len()].copy_from_slice(bytes);
        self.note(offset, bytes);
    }

    /// May survive a power loss, but nobody sees it.
    fn note(&mut self, offset: usize, bytes: &[u8]) {
        self.writes += 1;
        self.unflushed.push(Unflushed { nth: self.writes, offset, bytes: bytes.to_vec() });
    }

    /// Everything up to the write with this number is on the device.
    fn flush(&mut self, through: u64) {
        self.flushed.resize(self.seen.len(), 0);
        let kept = self.unflushed.iter().position(|write| write.nth > through);
        for write in self.unflushed.drain(..kept.unwrap_or(self.unflushed.len())) {
            self.flushed[write.offset..][..write.bytes.len()].copy_from_slice(&write.bytes);
        }
    }

    /// Any of the unflushed sectors are on the device, and the others never will be.
    fn settle(&mut self, random: &mut Random) {
        let Self { seen, flushed, unflushed, .. } = self;
        // How far a file that grew reaches is not flushed either.
        let grown = (seen.len() - flushed.len()) / DEVICE_SECTOR_BYTES;
        if grown > 0 {
            let sectors = random.index(grown + 1);
            flushed.resize(flushed.len() + sectors * DEVICE_SECTOR_BYTES, 0);
        }
        for write in unflushed.drain(..) {
            keep_some(random, write.offset, &write.bytes, |offset, sector| {
                if let Some(place) = flushed.get_mut(offset..offset + sector.len()) {
                    place.copy_from_slice(sector);
                }
            });
        }
    }
}

/// A columns or state file.
#[derive(Debug, Clone, Default)]
struct Made {
    file: File,
    /// Its name survives a power loss.
    is_linked: bool,
    is_sealed: bool,
}

impl Made {
    fn sealed(file: File) -> Self {
        Self { file, is_linked: true, is_sealed: true }
    }
}

/// Hands some sectors of a write to `keep`: all, none, a part from the front, or any.
fn keep_some(random: &mut Random, offset: usize, bytes: &[u8], mut keep: impl FnMut(usize, &[u8])) {
    let sectors = bytes.len() / DEVICE_SECTOR_BYTES;
    let (mode, front) = (random.below(4), random.index(sectors + 1));
    for (nth, sector) in bytes.chunks(DEVICE_SECTOR_BYTES).enumerate() {
        let is_kept = match mode {
            0 => true,
            1 => false,
            2 => nth < front,
            _ => random.chance(500_000),
        };
        if is_kept {
            keep(offset + nth * DEVICE_SECTOR_BYTES, sector);
        }
    }
}

/// Where the log wrote a batch.
#[derive(Debug, Clone, Copy)]
struct Extent {
    segment: u64,
    offset: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Disk {
    segments: BTreeMap<u64, File>,
    anchors: Option<File>,
    manifest: Option<File>,
    /// Columns and state files.
    files: BTreeMap<FileId, Made>,
    /// Files that were removed and may come back.
    ghosts: BTreeMap<FileId, Made>,
    /// Segments that were replaced, by the names they are kept under.
    quarantine: BTreeMap<String, Vec<u8>>,
    /// Copies of the folder.
    copies: BTreeMap<PathBuf, SimulatedDisk>,
    /// Batches that were written since the power was lost, in the order of their writes.
    batches: Vec<Extent>,
    /// Counts batches as they are submitted.
    submitted: u64,
    /// Those that went to the wrong place.
    lies: Vec<u64>,
    /// The last that was flushed where it belongs.
    flushed: u64,
    random: Random,
    faults: Faults,
    is_direct: bool,
    is_full: bool,
    /// A write or flush has failed.
    has_failed: bool,
    power: Rc<Power>,
}

/// See the top of the file.
#[derive(Debug, Clone)]
pub struct SimulatedDisk(Rc<RefCell<Disk>>);

impl SimulatedDisk {
    pub fn new(seed: u64, power: &Rc<Power>) -> Self {
        let mut random = Random::new(seed);
        Self(Rc::new(RefCell::new(Disk {
            segments: BTreeMap::new(),
            anchors: None,
            manifest: None,
            files: BTreeMap::new(),
            ghosts: BTreeMap::new(),
            quarantine: BTreeMap::new(),
            copies: BTreeMap::new(),
            batches: Vec::new(),
            submitted: 0,
            lies: Vec::new(),
            flushed: 0,
            is_direct: random.chance(700_000),
            random,
            faults: Faults::default(),
            is_full: false,
            has_failed: false,
            power: Rc::clone(power),
        })))
    }

    /// The disk as a process sees it.
    pub fn io(&self, world: Rc<dyn World>) -> SimulatedIo {
        SimulatedIo::new(self.clone(), world)
    }

    pub fn set_faults(&self, faults: Faults) {
        self.0.borrow_mut().faults = faults;
    }

    /// The names under which replaced segments are kept.
    pub fn quarantine(&self) -> Vec<String> {
        self.0.borrow().quarantine.keys().cloned().collect()
    }

    /// Looks at what everything but the small files of slots holds.
    pub fn look(&self, mut look: impl FnMut(FileId, &[u8])) {
        let disk = self.0.borrow();
        disk.segments.iter().for_each(|(number, file)| look(FileId::log(*number), &file.seen));
        disk.files.iter().for_each(|(file, made)| look(*file, &made.file.seen));
    }

    /// A copy of the folder that was made: a disk of its own.
    pub fn copy(&self, into: &Path) -> Option<Self> {
        self.0.borrow().copies.get(into).cloned()
    }

    /// The columns and state files there are.
    pub fn files(&self) -> Vec<FileId> {
        self.0.borrow().files.keys().copied().collect()
    }

    /// While it is full, nothing can be made and no file can grow.
    pub fn set_full(&self, is_full: bool) {
        self.0.borrow_mut().is_full = is_full;
    }

    /// Whether reads bypass the page cache.
    pub fn set_direct(&self, is_direct: bool) {
        self.0.borrow_mut().is_direct = is_direct;
    }

    /// Whether a write or flush has failed since this was last asked.
    pub fn has_failed(&self) -> bool {
        std::mem::take(&mut self.0.borrow_mut().has_failed)
    }

    /// How many writes went to the wrong place so far.
    pub fn lies(&self) -> usize {
        self.0.borrow().lies.len()
    }

    /// Whether a log with so many batches in flight must notice that a write went to the wrong
    /// place: there was at most one, and a batch that was made when the log believed in it is
    /// flushed.
    pub fn lies_would_show(&self, in_flight_max: usize) -> bool {
        let disk = self.0.borrow();
        let shows = |lie: &u64| disk.flushed > lie + in_flight_max as u64;
        disk.lies.len() <= 1 && disk.lies.iter().all(shows)
    }

    /// The power was lost and came back: what was not flushed may be gone, sector by sector.
    pub fn lose_power(&self) {
        let mut disk = self.0.borrow_mut();
        let Disk { segments, anchors, manifest, random, batches, .. } = &mut *disk;
        batches.clear();
        for file in segments.values_mut().chain(anchors).chain(manifest) {
            file.settle(random);
            file.seen.clone_from(&file.flushed);
        }
        disk.settle_files();
    }
}
