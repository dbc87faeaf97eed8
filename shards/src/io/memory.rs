//! A disk of plain memory, for tests: what was flushed survives a crash, the rest may not.

use std::cell::RefCell;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::{
    BatchWrite, Buffer, Completion, Copied, FileEvent, FolderCopy, Io, IoFacts, Piece, Purpose,
    SLOT_FILE_BYTES, SegmentCopy, SlotFile, Transfer,
};
use crate::arena::{Mapped, Stretch};
use crate::format::{FileId, FileKind, segment_file_name};
use crate::limits::SECTOR_BYTES;

/// What the next write does instead of succeeding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteFault {
    /// The write fails; nothing reaches the disk.
    Write,
    /// The write succeeds, its flush fails.
    Flush,
    /// A segment cannot be made: the disk is full.
    NoSpace,
    /// A piece of a columns or state file cannot be written.
    Piece,
    /// A columns or state file cannot be sealed.
    Seal,
    /// A slot of the manifest cannot be written.
    Manifest,
    /// A file cannot be removed.
    Remove,
    /// A copy of the folder cannot be made.
    Copy,
}

#[derive(Debug, Clone, Default)]
struct Files {
    /// What reads see.
    current: BTreeMap<u64, Vec<u8>>,
    /// What a crash leaves for certain.
    flushed: BTreeMap<u64, Vec<u8>>,
    anchors: Option<Vec<u8>>,
    manifest: Option<Vec<u8>>,
    /// Columns and state files, and those of them that are sealed.
    files: BTreeMap<FileId, Vec<u8>>,
    sealed: BTreeSet<FileId>,
    /// Segments that were replaced, by the name they are kept under.
    quarantine: BTreeMap<String, Vec<u8>>,
    /// Copies of the folder.
    copies: BTreeMap<PathBuf, MemoryDisk>,
    free_bytes: Option<u64>,
    faults: VecDeque<WriteFault>,
}

impl Files {
    fn slots(&mut self, file: SlotFile) -> &mut Option<Vec<u8>> {
        match file {
            SlotFile::Anchors => &mut self.anchors,
            SlotFile::Manifest => &mut self.manifest,
        }
    }
}

/// The disk itself; it outlives the [`MemoryIo`]s that use it, as a disk outlives processes.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk(Rc<RefCell<Files>>);

impl MemoryDisk {
    pub fn io(&self) -> MemoryIo {
        MemoryIo {
            disk: self.clone(),
            held: VecDeque::new(),
            copying: None,
            clock_us: 1_000_000,
            brought: VecDeque::new(),
            hold: false,
            hold_copy: false,
            hold_memory: false,
        }
    }

    /// A copy of the folder that was made.
    pub fn copy(&self, into: &Path) -> Option<Self> {
        self.0.borrow().copies.get(into).cloned()
    }

    /// Another disk with the same contents.
    pub fn duplicate(&self) -> Self {
        Self(Rc::new(RefCell::new(self.0.borrow().clone())))
    }

    /// The next write that could have this fault has it.
    pub fn fail_next(&self, fault: WriteFault) {
        self.0.borrow_mut().faults.push_back(fault);
    }

    /// Power loss: everything that was not flushed is gone.
    pub fn crash(&self) {
        let mut files = self.0.borrow_mut();
        let Files { current, flushed, files, sealed, .. } = &mut *files;
        current.clone_from(flushed);
        files.retain(|file, _| sealed.contains(file));
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

    /// Changes the file of anchors behind the engine's back.
    pub fn tamper_anchors(&self, change: impl FnOnce(&mut Option<Vec<u8>>)) {
        change(&mut self.0.borrow_mut().anchors);
    }

    /// Changes the manifest's file behind the engine's back.
    pub fn tamper_manifest(&self, change: impl FnOnce(&mut Option<Vec<u8>>)) {
        change(&mut self.0.borrow_mut().manifest);
    }

    /// Changes a columns or state file behind the engine's back; `None` takes it away.
    pub fn tamper_file(&self, file: FileId, change: impl FnOnce(&mut Option<Vec<u8>>)) {
        let mut files = self.0.borrow_mut();
        let mut bytes = files.files.remove(&file);
        change(&mut bytes);
        files.files.extend(bytes.map(|bytes| (file, bytes)));
    }

    /// How much room the disk says it has; without a word it is endless.
    pub fn set_free_bytes(&self, bytes: u64) {
        self.0.borrow_mut().free_bytes = Some(bytes);
    }

    /// Takes a file away behind the engine's back.
    pub fn lose(&self, segment: u64) {
        let mut files = self.0.borrow_mut();
        files.current.remove(&segment);
        files.flushed.remove(&segment);
    }

    pub fn segments(&self) -> Vec<u64> {
        self.0.borrow().current.keys().copied().collect()
    }

    pub fn segment(&self, segment: u64) -> Vec<u8> {
        self.0.borrow().current[&segment].clone()
    }

    /// The columns and state files there are.
    pub fn files(&self) -> Vec<FileId> {
        self.0.borrow().files.keys().copied().collect()
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
    /// The copy that is under way: it is made when it ends.
    copying: Option<FolderCopy>,
    clock_us: i64,
    /// Memory that is on its way. Touching it would change nothing.
    brought: VecDeque<(Purpose, Stretch)>,
    hold: bool,
    hold_copy: bool,
    hold_memory: bool,
}

impl MemoryIo {
    pub fn advance_us(&mut self, us: i64) {
        self.clock_us += us;
    }

    /// While held, completions stay under way.
    pub fn hold(&mut self, hold: bool) {
        self.hold = hold;
    }

    /// While held, a copy of the folder stays under way.
    pub fn hold_copy(&mut self, hold: bool) {
        self.hold_copy = hold;
    }

    /// While held, memory stays on its way.
    pub fn hold_memory(&mut self, hold: bool) {
        self.hold_memory = hold;
    }
}

impl MemoryIo {
    fn say(&mut self, event: FileEvent) {
        self.held.push_back(Completion::File(event));
    }

    /// Makes a copy of what is there now, all of it flushed.
    fn make_copy(&self, copy: FolderCopy) -> io::Result<Copied> {
        if self.disk.take_fault(&[WriteFault::Copy]).is_some() {
            return Err(fault());
        }
        let FolderCopy { into, sealed, segments, segment_bytes, slots } = copy;
        let mut files = self.disk.0.borrow_mut();
        let (mut made, mut copied) = (Files::default(), Copied::default());
        for (file, bytes) in sealed {
            assert!(files.sealed.contains(&file), "{file} may still change");
            let content = files.files.get(&file).ok_or(io::ErrorKind::NotFound)?;
            assert_eq!(content.len() as u64, bytes, "{file}");
            made.files.insert(file, content.clone());
            made.sealed.insert(file);
            copied.files_linked += 1;
            copied.bytes_linked += bytes;
        }
        for SegmentCopy { segment, bytes } in segments {
            let own = files.current.get(&segment).ok_or(io::ErrorKind::NotFound)?;
            let mut content = own[..usize::try_from(bytes).expect("a test segment")].to_vec();
            content.resize(usize::try_from(segment_bytes).expect("a test segment"), 0);
            made.flushed.insert(segment, content);
            copied.files_copied += 1;
            copied.bytes_copied += bytes;
        }
        made.current.clone_from(&made.flushed);
        for (file, content) in slots {
            *made.slots(file) = Some(content.to_vec());
            copied.files_copied += 1;
            copied.bytes_copied += content.len() as u64;
        }
        match files.copies.entry(into) {
            Entry::Occupied(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Entry::Vacant(place) => {
                place.insert(MemoryDisk(Rc::new(RefCell::new(made))));
                Ok(copied)
            }
        }
    }
}

fn fault() -> io::Error {
    io::Error::other("injected fault")
}

impl Io for MemoryIo {
    fn facts(&self) -> IoFacts {
        IoFacts::default()
    }

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
                file[at..at + bytes].copy_from_slice(data);
                if other.is_some() {
                    (Ok(()), Err(fault()))
                } else {
                    let file = files.flushed.get_mut(&segment).expect("prepared before written");
                    file[at..at + bytes].copy_from_slice(data);
                    (Ok(()), Ok(()))
                }
            }
        };
        self.held.push_back(Completion::Written { batch, buffer, result: written });
        self.held.push_back(Completion::Flushed { batch, result: flushed });
    }

    fn complete(&mut self) -> Option<Completion> {
        if self.hold {
            return None;
        }
        if self.held.is_empty() && !self.hold_copy {
            let result = self.copying.take().map(|copy| self.make_copy(copy));
            self.held.extend(result.map(|result| Completion::Copied { result }));
        }
        if self.held.is_empty() && !self.hold_memory {
            let (purpose, _) = self.brought.pop_front()?;
            return Some(Completion::BroughtIn { purpose, result: Ok(()) });
        }
        self.held.pop_front()
    }

    fn wait(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn segments(&mut self) -> io::Result<Vec<(u64, u64)>> {
        let files = self.disk.0.borrow();
        Ok(files.current.iter().map(|(&segment, bytes)| (segment, bytes.len() as u64)).collect())
    }

    fn read(&mut self, mut transfer: Transfer) {
        let Transfer { segment, offset, from, bytes, .. } = transfer;
        let files = self.disk.0.borrow();
        let at = usize::try_from(offset).expect("inside a test segment");
        let result = match files.current.get(&segment).and_then(|file| file.get(at..at + bytes)) {
            Some(data) => {
                transfer.region[from..from + bytes].copy_from_slice(data);
                Ok(())
            }
            None => Err(io::ErrorKind::NotFound.into()),
        };
        drop(files);
        self.held.push_back(Completion::Read { transfer, result });
    }

    fn overwrite(&mut self, transfer: Transfer) {
        let Transfer { segment, offset, from, bytes, .. } = transfer;
        let at = usize::try_from(offset).expect("inside a test segment");
        self.disk.tamper(segment, |file| {
            file[at..at + bytes].copy_from_slice(&transfer.region[from..from + bytes]);
        });
        self.held.push_back(Completion::Overwritten { transfer, result: Ok(()) });
    }

    fn slots(&mut self, file: SlotFile) -> io::Result<Option<Vec<u8>>> {
        Ok(self.disk.0.borrow_mut().slots(file).clone())
    }

    fn make_slots(&mut self, file: SlotFile) -> io::Result<()> {
        *self.disk.0.borrow_mut().slots(file) = Some(vec![0; SLOT_FILE_BYTES]);
        Ok(())
    }

    fn write_slot(&mut self, file: SlotFile, slot: usize, block: &[u8; SECTOR_BYTES]) {
        let is_manifest = file == SlotFile::Manifest;
        let fails = is_manifest && self.disk.take_fault(&[WriteFault::Manifest]).is_some();
        let result = if fails { Err(fault()) } else { Ok(()) };
        if !fails {
            let mut files = self.disk.0.borrow_mut();
            let bytes = files.slots(file).as_mut().expect("made before written");
            bytes.resize(SLOT_FILE_BYTES, 0);
            bytes[slot * SECTOR_BYTES..][..SECTOR_BYTES].copy_from_slice(block);
        }
        self.held.push_back(Completion::SlotWritten { file, result });
    }

    fn files(&mut self) -> io::Result<Vec<(FileId, u64)>> {
        let files = self.disk.0.borrow();
        Ok(files.files.iter().map(|(&file, bytes)| (file, bytes.len() as u64)).collect())
    }

    fn create_file(&mut self, file: FileId) {
        let result = match self.disk.take_fault(&[WriteFault::NoSpace]) {
            Some(_) => Err(io::Error::from(io::ErrorKind::StorageFull)),
            None => match self.disk.0.borrow_mut().files.entry(file) {
                Entry::Occupied(_) => Err(io::ErrorKind::AlreadyExists.into()),
                Entry::Vacant(place) => {
                    place.insert(Vec::new());
                    Ok(())
                }
            },
        };
        self.say(FileEvent::Created { file, result });
    }

    fn write_file(&mut self, piece: Piece) {
        let Piece { file, offset, from, bytes, .. } = piece;
        let result = match self.disk.take_fault(&[WriteFault::Piece]) {
            Some(_) => Err(fault()),
            None => {
                let mut files = self.disk.0.borrow_mut();
                assert!(!files.sealed.contains(&file), "{file} is sealed");
                let held = files.files.get_mut(&file).expect("made before it is written to");
                let at = usize::try_from(offset).expect("inside a test file");
                held.resize(held.len().max(at + bytes), 0);
                held[at..at + bytes].copy_from_slice(&piece.region[from..from + bytes]);
                Ok(())
            }
        };
        self.say(FileEvent::Written { piece, result });
    }

    fn seal_file(&mut self, file: FileId) {
        let result = match self.disk.take_fault(&[WriteFault::Seal]) {
            Some(_) => Err(fault()),
            None => {
                self.disk.0.borrow_mut().sealed.insert(file);
                Ok(())
            }
        };
        self.say(FileEvent::Sealed { file, result });
    }

    fn remove_file(&mut self, file: FileId) {
        let result = match self.disk.take_fault(&[WriteFault::Remove]) {
            Some(_) => Err(fault()),
            None => self.remove(file),
        };
        self.say(FileEvent::Removed { file, result });
    }

    fn copy_folder(&mut self, copy: FolderCopy) {
        assert!(self.copying.is_none(), "one copy at a time");
        self.copying = Some(copy);
    }

    fn bring_in(&mut self, purpose: Purpose, stretch: Stretch) {
        self.brought.push_back((purpose, stretch));
    }

    fn let_go(&mut self, mapped: Mapped) {
        drop(mapped);
    }

    fn map_file(&mut self, file: FileId) -> io::Result<Mapped> {
        let files = self.disk.0.borrow();
        Mapped::of_bytes(files.files.get(&file).ok_or(io::ErrorKind::NotFound)?)
    }

    fn free_bytes(&mut self) -> io::Result<u64> {
        Ok(self.disk.0.borrow().free_bytes.unwrap_or(u64::MAX))
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

    fn replace(&mut self, segment: u64, bytes: &[u8]) -> io::Result<Option<String>> {
        let mut files = self.disk.0.borrow_mut();
        files.flushed.insert(segment, bytes.to_vec());
        let Some(old) = files.current.insert(segment, bytes.to_vec()) else { return Ok(None) };
        let name = format!("{}.{}", segment_file_name(segment), files.quarantine.len());
        files.quarantine.insert(name.clone(), old);
        Ok(Some(name))
    }

    fn remove(&mut self, file: FileId) -> io::Result<()> {
        if file.kind == FileKind::Log {
            self.disk.lose(file.number);
            return Ok(());
        }
        let mut files = self.disk.0.borrow_mut();
        files.sealed.remove(&file);
        files.files.remove(&file).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
