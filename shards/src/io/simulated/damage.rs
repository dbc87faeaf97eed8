//! Damage to what lies on the disk, and copies of the whole.

use std::collections::BTreeMap;

use super::{DEVICE_SECTOR_BYTES, Disk, Extent, File, SimulatedDisk};
use crate::format::SEGMENT_HEADER_BYTES;

/// What became of a piece of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rot {
    /// One bit is the other way round.
    FlippedBit { segment: u64, offset: usize },
    /// Sectors read as zeros.
    Zeroed { segment: u64, offset: usize, bytes: usize },
    /// One bit of the file of anchors is the other way round.
    FlippedAnchor { offset: usize },
    /// Sectors hold what belongs elsewhere.
    Misplaced { segment: u64, offset: usize, from: usize, bytes: usize },
}

/// The files as they were.
#[derive(Debug, Clone)]
pub struct Snapshot {
    segments: BTreeMap<u64, File>,
    anchors: Option<File>,
    batches: Vec<Extent>,
}

impl SimulatedDisk {
    pub fn snapshot(&self) -> Snapshot {
        let disk = self.0.borrow();
        Snapshot {
            segments: disk.segments.clone(),
            anchors: disk.anchors.clone(),
            batches: disk.batches.clone(),
        }
    }

    /// Puts everything back as it was.
    pub fn restore(&self, snapshot: &Snapshot) {
        let mut disk = self.0.borrow_mut();
        disk.segments.clone_from(&snapshot.segments);
        disk.anchors.clone_from(&snapshot.anchors);
        disk.batches.clone_from(&snapshot.batches);
    }

    /// Whether reads would see the same as then.
    pub fn is_as(&self, snapshot: &Snapshot) -> bool {
        let disk = self.0.borrow();
        let seen = |files: &BTreeMap<u64, File>| -> Vec<(u64, Vec<u8>)> {
            files.iter().map(|(segment, file)| (*segment, file.seen.clone())).collect()
        };
        let anchors = |file: &Option<File>| file.as_ref().map(|file| file.seen.clone());
        seen(&disk.segments) == seen(&snapshot.segments)
            && anchors(&disk.anchors) == anchors(&snapshot.anchors)
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
            return Some(Rot::FlippedAnchor { offset });
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
