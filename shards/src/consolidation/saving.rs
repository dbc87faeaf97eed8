//! Streaming a state file: what the log up to a place says besides rows.

use std::io;

use super::files::FileWriter;
use super::{Frozen, Ground, LiveFile};
use crate::episode::SpaceNumber;
use crate::format::{
    NamedState, RowLinks, RowSuperseded, STATE_ENTRIES_MAX, SectionCalibration, SpaceStrengths,
    StateHeader, StateRecord, StateWriter, Tombstones,
};
use crate::io::Io;
use crate::memory::Memory;
use crate::space::{PartNumber, Space};

/// Keys of one record.
const KEYS_PER_RECORD: usize = 512;
/// Strengths of one record.
const STRENGTHS_PER_RECORD: usize = 256;

/// See the top of the file.
#[derive(Debug)]
pub(super) struct Saving {
    writer: StateWriter,
    spaces: usize,
    /// Files that stay, and their sections.
    kept: Vec<(u64, SpaceNumber, PartNumber)>,
    /// What was measured of those and of the new ones, not written yet.
    calibrations: Vec<SectionCalibration>,
    /// Dead rows of the section under way that were not written yet.
    tombstones: Option<Vec<u32>>,
    /// The section's next row whose links are to be written, once its tombstones are.
    links: Option<u32>,
    /// The section's next row of which is to be written what superseded it, once its links are.
    superseded: Option<u32>,
    /// Spaces whose strengths are written, and the row of the next one to go on from.
    strengths: (usize, u64),
    /// Keys with a sequence up to here are written.
    keys_through: u64,
    keys_done: bool,
    /// What the manifest is to say, once every record is made.
    named: Option<NamedState>,
    buffer: Vec<u8>,
}

impl Saving {
    pub(super) fn new<'a, I: Io>(
        number: u64,
        frozen: &Frozen,
        kept: impl Iterator<Item = &'a LiveFile>,
        new: Vec<SectionCalibration>,
        ground: &Ground<'_, I>,
    ) -> Self {
        let header = StateHeader {
            store_id: *ground.log.store_id(),
            shard: ground.log.shard(),
            number,
            place: frozen.place,
            last_space: frozen.last_space,
            written_at_us: ground.log.io().wall_us(),
        };
        let kept = kept.flat_map(|live| {
            live.parts.iter().map(|(space, part)| (live.named.number, *space, *part))
        });
        let kept: Vec<_> = kept.collect();
        let mut calibrations = new;
        for &(file, space, part) in &kept {
            let section = ground.memory.section(space, part);
            if let Some(section) = section.filter(|section| section.index().is_some()) {
                let calibration = section.calibration().clone();
                calibrations.push(SectionCalibration { file, space, calibration });
            }
        }
        Self {
            writer: StateWriter::new(&header),
            spaces: 0,
            kept,
            calibrations,
            tombstones: None,
            links: None,
            superseded: None,
            strengths: (0, 0),
            keys_through: 0,
            keys_done: false,
            named: None,
            buffer: vec![0; 64 << 10],
        }
    }

    /// Does one unit of work; what the manifest is to say about the file when all of it was put.
    pub(super) fn step(
        &mut self,
        frozen: &Frozen,
        memory: &Memory,
        writer: &mut FileWriter,
    ) -> io::Result<Option<NamedState>> {
        if self.named.is_none() {
            self.make_record(frozen, memory);
        }
        while self.writer.waiting() > 0 && writer.has_room() {
            let bytes = self.writer.take(&mut self.buffer);
            writer.put(&self.buffer[..bytes])?;
        }
        Ok(self.named.filter(|_| self.writer.waiting() == 0))
    }

    /// Makes the next record, or ends the file.
    fn make_record(&mut self, frozen: &Frozen, memory: &Memory) {
        let through = frozen.place.through_sequence;
        if let Some((space, settings)) = frozen.spaces.get(self.spaces) {
            self.spaces += 1;
            let (space, settings) = (*space, settings.clone());
            self.writer.push(&StateRecord::Space { space, settings });
        } else if let Some(measured) = self.calibrations.pop() {
            self.writer.push(&StateRecord::Calibration(measured));
        } else if !self.kept.is_empty() {
            match (self.links, self.superseded) {
                (_, Some(row)) => self.put_superseded(row, through, memory),
                (Some(row), None) => self.put_links(row, through, memory),
                (None, None) => self.put_tombstones(through, memory),
            }
        } else if let Some((space, _)) = frozen.spaces.get(self.strengths.0) {
            self.put_strengths(*space, through, memory);
        } else if !self.keys_done {
            let keys = memory.keys.window(self.keys_through, through, KEYS_PER_RECORD);
            match keys.last() {
                Some(last) => {
                    self.keys_through = last.sequence;
                    self.writer.push(&StateRecord::Keys(keys));
                }
                None => self.keys_done = true,
            }
        } else {
            self.named = Some(self.writer.finish());
        }
    }

    /// The rows of a section that stays which were dead at the place.
    fn put_tombstones(&mut self, through: u64, memory: &Memory) {
        let (file, number, part) = *self.kept.last().expect("a section is left");
        let rows = self.tombstones.get_or_insert_with(|| {
            let space = memory.spaces.get(&number);
            let part = space.and_then(|space| space.part(&memory.arena, part));
            let dead = part.map(|part| part.deaths().all().collect::<Vec<_>>()).unwrap_or_default();
            dead.into_iter().filter(|(_, died)| *died <= through).map(|(row, _)| row).collect()
        });
        let rest = rows.split_off(rows.len().min(STATE_ENTRIES_MAX));
        let rows = std::mem::replace(rows, rest);
        if rows.is_empty() {
            (self.tombstones, self.links) = (None, Some(0));
            return;
        }
        self.writer.push(&StateRecord::Tombstones(Tombstones { file, space: number, rows }));
    }

    /// The next row, from one on, of a section that stays whose links were not those of its body
    /// at the place. Rows that were dead by then need none.
    fn put_links(&mut self, row: u32, through: u64, memory: &Memory) {
        let (file, number, part) = *self.kept.last().expect("a section is left");
        let space = memory.spaces.get(&number);
        let found = space.and_then(|space| {
            let part = space.part(&memory.arena, part)?;
            let mut rows = part.relinked().rows_from(row);
            rows.find_map(|row| {
                let lived = part.deaths().ended(row) > through;
                Some((row, space.links_at_freeze(part, row).filter(|_| lived)?.clone()))
            })
        });
        let Some((row, links)) = found else {
            (self.links, self.superseded) = (None, Some(0));
            return;
        };
        self.writer.push(&StateRecord::Links(RowLinks { file, space: number, row, links }));
        self.links = Some(row + 1);
    }

    /// The next row, from one on, of a section that stays which was superseded behind its file and
    /// up to the place. Rows that were dead by then need none.
    fn put_superseded(&mut self, row: u32, through: u64, memory: &Memory) {
        let (file, number, part) = *self.kept.last().expect("a section is left");
        let space = memory.spaces.get(&number);
        let found = space.and_then(|space| {
            let part = space.part(&memory.arena, part)?;
            let mut rows = part.supersessions().later_from(row, through);
            rows.find(|(row, _)| part.deaths().ended(*row) > through)
        });
        let Some((row, superseded)) = found else {
            (self.superseded, _) = (None, self.kept.pop());
            return;
        };
        let (space, superseded) = (number, superseded.clone());
        let record = RowSuperseded { file, space, row, superseded };
        self.writer.push(&StateRecord::Superseded(record));
        self.superseded = Some(row + 1);
    }
    /// The next strengths of a space as they were at the place.
    fn put_strengths(&mut self, space: SpaceNumber, through: u64, memory: &Memory) {
        let (nth, from) = self.strengths;
        let strengths = memory.spaces.get(&space).map(Space::strengths);
        let (kept, next) = strengths.map_or((Vec::new(), None), |strengths| {
            strengths.at_freeze(from..=through, STRENGTHS_PER_RECORD, through)
        });
        self.strengths = next.map_or((nth + 1, 0), |next| (nth, next));
        if !kept.is_empty() {
            self.writer.push(&StateRecord::Strengths(SpaceStrengths { space, kept }));
        }
    }
}
