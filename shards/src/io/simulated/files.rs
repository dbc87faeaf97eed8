//! Columns, state and slot files on a disk that lies.
//!
//! A file that is being made has two more things to lose than a segment: bytes at its end, because
//! its length is not flushed, and its name, because its folder is not. A file that was removed can
//! come back when the flush of the folder failed.

use std::io;

use super::calls::{eio, enospc, flush, place, write_and_flush};
use super::{Disk, File, Made, SimulatedDisk, keep_some};
use crate::format::{FileId, FileKind};
use crate::io::{Copied, FolderCopy, Piece, SLOT_FILE_BYTES, SegmentCopy, SlotFile, whole};
use crate::limits::SECTOR_BYTES;

impl Disk {
    pub(super) fn slots(&mut self, file: SlotFile) -> &mut Option<File> {
        match file {
            SlotFile::Anchors => &mut self.anchors,
            SlotFile::Manifest => &mut self.manifest,
        }
    }

    pub(super) fn read_slots(&mut self, file: SlotFile) -> io::Result<Option<Vec<u8>>> {
        match self.random.chance(self.faults.read_error) {
            true => Err(eio()),
            false => Ok(self.slots(file).as_ref().map(|file| file.seen.clone())),
        }
    }

    /// Makes a file of slots anew, unless the power fails meanwhile.
    pub(super) fn make_slots(&mut self, file: SlotFile, power: io::Result<()>) -> io::Result<()> {
        if power.is_err() {
            // Of what was there nothing is left for certain, and the new one may be cut.
            let left = self.random.index(SLOT_FILE_BYTES + 1);
            *self.slots(file) = self.random.chance(500_000).then(|| File::zeroed(left));
        } else if self.is_full || self.random.chance(self.faults.no_space) {
            return Err(enospc());
        } else {
            *self.slots(file) = Some(File::zeroed(SLOT_FILE_BYTES));
        }
        power
    }

    pub(super) fn write_slot(
        &mut self,
        file: SlotFile,
        slot: usize,
        bytes: &[u8],
    ) -> io::Result<()> {
        let Self { anchors, manifest, random, faults, is_direct, .. } = self;
        let slots = match file {
            SlotFile::Anchors => anchors,
            SlotFile::Manifest => manifest,
        };
        let slots = slots.as_mut().ok_or(io::ErrorKind::NotFound)?;
        write_and_flush(slots, random, faults, *is_direct, (slot * SECTOR_BYTES, bytes))
    }

    pub(super) fn create_file(&mut self, file: FileId) -> io::Result<()> {
        if self.is_full || self.random.chance(self.faults.no_space) {
            return Err(enospc());
        }
        if self.random.chance(self.faults.prepare_error) {
            return Err(eio());
        }
        if self.files.contains_key(&file) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.files.insert(file, Made::default());
        Ok(())
    }

    pub(super) fn write_piece(&mut self, piece: &Piece) -> io::Result<()> {
        let Piece { file, offset, ref region, from, bytes } = *piece;
        let (data, at) = (&region[from..from + bytes], place(offset));
        let Self { files, random, faults, is_full, .. } = self;
        let made = files.get_mut(&file).ok_or(io::ErrorKind::NotFound)?;
        assert!(!made.is_sealed, "{file} is sealed");
        if *is_full || random.chance(faults.no_space) {
            keep_some(random, at, data, |offset, sector| made.file.write(offset, sector));
            return Err(enospc());
        }
        if random.chance(faults.write_error) {
            keep_some(random, at, data, |offset, sector| made.file.write(offset, sector));
            return Err(eio());
        }
        let short = random.chance(faults.write_short);
        let written = if short { random.index(bytes / SECTOR_BYTES) * SECTOR_BYTES } else { bytes };
        made.file.write(at, &data[..written]);
        whole(written, bytes)
    }

    /// Flushes the file and then the folder: a failure may come before, between or behind.
    pub(super) fn seal_file(&mut self, file: FileId) -> io::Result<()> {
        let Self { files, random, faults, .. } = self;
        let made = files.get_mut(&file).ok_or(io::ErrorKind::NotFound)?;
        made.is_sealed = true;
        let through = made.file.writes;
        // Pages that a failed flush lost are still seen: these files have a page cache.
        flush(&mut made.file, random, faults, false, through)?;
        if random.chance(faults.flush_error) {
            made.is_linked = random.chance(500_000);
            return Err(eio());
        }
        made.is_linked = true;
        Ok(())
    }

    pub(super) fn remove_file(&mut self, file: FileId) -> io::Result<()> {
        let Self { segments, files, ghosts, random, faults, .. } = self;
        let made = match file.kind {
            FileKind::Log => segments.remove(&file.number).map(Made::sealed),
            _ => files.remove(&file),
        };
        let made = made.ok_or(io::ErrorKind::NotFound)?;
        if random.chance(faults.flush_error) {
            ghosts.insert(file, made);
            return Err(eio());
        }
        ghosts.remove(&file);
        Ok(())
    }

    /// Makes a copy of the folder as it is seen now, or fails; a failed one leaves nothing.
    pub(super) fn copy_folder(&mut self, copy: FolderCopy) -> io::Result<Copied> {
        let FolderCopy { into, sealed, segments, segment_bytes, slots } = copy;
        let Self { random, faults, .. } = self;
        if self.is_full || random.chance(faults.no_space) {
            return Err(enospc());
        }
        let fails = [faults.read_error, faults.write_error, faults.flush_error];
        if fails.into_iter().any(|chance| random.chance(chance)) {
            return Err(eio());
        }
        let whole = |seen: Vec<u8>| File { flushed: seen.clone(), seen, ..File::default() };
        let made = SimulatedDisk::new(random.below(u64::MAX), &self.power);
        let mut copied = Copied::default();
        let mut disk = made.0.borrow_mut();
        for (file, bytes) in sealed {
            let own = self.files.get(&file).ok_or(io::ErrorKind::NotFound)?;
            assert!(own.is_sealed, "{file} may still change");
            disk.files.insert(file, Made::sealed(whole(own.file.seen.clone())));
            copied.files_linked += 1;
            copied.bytes_linked += bytes;
        }
        for SegmentCopy { segment, bytes } in segments {
            let own = self.segments.get(&segment).ok_or(io::ErrorKind::NotFound)?;
            let mut seen = own.seen[..place(bytes)].to_vec();
            seen.resize(place(segment_bytes), 0);
            disk.segments.insert(segment, whole(seen));
            copied.files_copied += 1;
            copied.bytes_copied += bytes;
        }
        for (file, content) in slots {
            *disk.slots(file) = Some(whole(content.to_vec()));
            copied.files_copied += 1;
            copied.bytes_copied += content.len() as u64;
        }
        drop(disk);
        match self.copies.insert(into, made) {
            None => Ok(copied),
            Some(_) => panic!("a copy is made of its own folder"),
        }
    }

    /// What is left of the names that were not flushed, and of the files that have no length yet.
    pub(super) fn settle_files(&mut self) {
        let Self { segments, files, ghosts, random, .. } = self;
        for (file, made) in std::mem::take(ghosts) {
            // A name that was given again meanwhile is the new file's.
            let is_back = random.chance(500_000);
            match file.kind {
                FileKind::Log if is_back => drop(segments.entry(file.number).or_insert(made.file)),
                _ if is_back => drop(files.entry(file).or_insert(made)),
                _ => {}
            }
        }
        files.retain(|_, made| made.is_linked || random.chance(500_000));
        for made in files.values_mut() {
            made.file.settle(random);
            made.file.seen.clone_from(&made.file.flushed);
            // Whoever finds it does not know what became of it, but its name is safe now.
            (made.is_linked, made.is_sealed) = (true, true);
        }
    }
}
