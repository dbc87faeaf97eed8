//! Damage to what lies on the disk, and copies of the whole.

use std::collections::BTreeMap;

use super::{DEVICE_SECTOR_BYTES, Disk, Extent, File, Made, SimulatedDisk};
use crate::format::{FileId, SEGMENT_HEADER_BYTES};
use crate::io::SlotFile;
use crate::limits::SECTOR_BYTES;

/// What became of a piece of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rot {
    /// One bit is the other way round.
    FlippedBit { segment: u64, offset: usize },
    /// Sectors read as zeros.
    Zeroed { segment: u64, offset: usize, bytes: usize },
    /// One bit of a file of slots is the other way round.
    FlippedSlot { file: SlotFile, offset: usize },
    /// One bit of a columns or state file is the other way round.
    FlippedFile { file: FileId, offset: usize },
    /// Sectors hold what belongs elsewhere.
    Misplaced { segment: u64, offset: usize, from: usize, bytes: usize },
}

/// The files as they were.
#[derive(Debug, Clone)]
pub struct Snapshot {
    segments: BTreeMap<u64, File>,
    anchors: Option<File>,
    manifest: Option<File>,
    files: BTreeMap<FileId, Made>,
    ghosts: BTreeMap<FileId, Made>,
    batches: Vec<Extent>,
}

impl SimulatedDisk {
    pub fn snapshot(&self) -> Snapshot {
        let disk = self.0.borrow();
        Snapshot {
            segments: disk.segments.clone(),
            anchors: disk.anchors.clone(),
            manifest: disk.manifest.clone(),
            files: disk.files.clone(),
            ghosts: disk.ghosts.clone(),
            batches: disk.batches.clone(),
        }
    }

    /// Puts everything back as it was.
    pub fn restore(&self, snapshot: &Snapshot) {
        let mut disk = self.0.borrow_mut();
        disk.segments.clone_from(&snapshot.segments);
        disk.anchors.clone_from(&snapshot.anchors);
        disk.manifest.clone_from(&snapshot.manifest);
        disk.files.clone_from(&snapshot.files);
        disk.ghosts.clone_from(&snapshot.ghosts);
        disk.batches.clone_from(&snapshot.batches);
    }

    /// Whether reads would see the same as then.
    pub fn is_as(&self, snapshot: &Snapshot) -> bool {
        let disk = self.0.borrow();
        let seen = |files: &BTreeMap<u64, File>| -> Vec<(u64, Vec<u8>)> {
            files.iter().map(|(segment, file)| (*segment, file.seen.clone())).collect()
        };
        let slots = |file: &Option<File>| file.as_ref().map(|file| file.seen.clone());
        let made = |files: &BTreeMap<FileId, Made>| -> Vec<(FileId, Vec<u8>)> {
            files.iter().map(|(id, made)| (*id, made.file.seen.clone())).collect()
        };
        seen(&disk.segments) == seen(&snapshot.segments)
            && slots(&disk.anchors) == slots(&snapshot.anchors)
            && slots(&disk.manifest) == slots(&snapshot.manifest)
            && made(&disk.files) == made(&snapshot.files)
    }

    /// Flips a bit of a columns or state file; `None` when it has none.
    pub fn rot_file(&self, file: FileId) -> Option<Rot> {
        let mut disk = self.0.borrow_mut();
        let Disk { files, random, .. } = &mut *disk;
        let File { seen, flushed, unflushed, .. } = &mut files.get_mut(&file)?.file;
        if seen.is_empty() {
            return None;
        }
        let offset = random.index(seen.len());
        seen[offset] ^= 1 << random.below(8);
        flushed.clone_from(seen);
        unflushed.clear();
        Some(Rot::FlippedFile { file, offset })
    }

    /// Flips a bit in a slot of the manifest; `None` when there is none.
    pub fn rot_manifest(&self, slot: usize) -> Option<Rot> {
        let mut disk = self.0.borrow_mut();
        let Disk { manifest, random, .. } = &mut *disk;
        let File { seen, flushed, .. } = manifest.as_mut()?;
        let offset = slot * SECTOR_BYTES + random.index(SECTOR_BYTES);
        *seen.get_mut(offset)? ^= 1 << random.below(8);
        flushed.clone_from(seen);
        Some(Rot::FlippedSlot { file: SlotFile::Manifest, offset })
    }

    /// Damages something in a batch or a segment header, but not in the `spared` newest batches;
    /// `None` when nothing was there to damage.
    pub fn rot(&self, spared: usize) -> Option<Rot> {
        let mut disk = self.0.borrow_mut();
        let Disk { segments, anchors, batches, random, .. } = &mut *disk;
        if let Some(file) = anchors.as_mut().filter(|_| random.chance(50_000)) {
            let offset = random.index(file.seen.len());
            file.seen[offset] ^= 1 << random.below(8);
            file.flushed.clone_from(&file.seen);
            return Some(Rot::FlippedSlot { file: SlotFile::Anchors, offset });
        }
        let choices = batches.len().checked_sub(spared).filter(|&choices| choices > 0)?;
        let extent = batches[random.index(choices)];
        let file = segments.get_mut(&extent.segment)?;
        let Extent { segment, offset: from, bytes } = extent;
        // Now and then the header of the segment instead.
        let (from, bytes) =
            if random.chance(100_000) { (0, SEGMENT_HEADER_BYTES) } else { (from, bytes) };
        let sector = from + random.index(bytes / DEVICE_SECTOR_BYTES) * DEVICE_SECTOR_BYTES;
        let length = (DEVICE_SECTOR_BYTES << random.below(5)).min(from + bytes - sector);
        let before = file.seen.clone();
        let rot = match random.below(3) {
            0 => {
                let offset = from + random.index(bytes);
                file.seen[offset] ^= 1 << random.below(8);
                Rot::FlippedBit { segment, offset }
            }
            1 => {
                file.seen[sector..sector + length].fill(0);
                Rot::Zeroed { segment, offset: sector, bytes: length }
            }
            _ => {
                let other = random.index((file.seen.len() - length) / DEVICE_SECTOR_BYTES + 1);
                let other = other * DEVICE_SECTOR_BYTES;
                file.seen.copy_within(other..other + length, sector);
                Rot::Misplaced { segment, offset: sector, from: other, bytes: length }
            }
        };
        file.flushed.clone_from(&file.seen);
        file.unflushed.clear();
        (before != file.seen).then_some(rot)
    }
}
