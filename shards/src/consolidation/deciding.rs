//! When a consolidation begins, and what it merges.
//!
//! A shard has two columns files at most: a large one and a medium one. New rows go into a new
//! medium file together with those of the old one. When that would hold more than a share of the
//! large one's rows, everything becomes one new large file. So a row is written again a number of
//! times that grows with the logarithm of their count.

use super::attempt::{Attempt, Failure, Stage};
use super::building::Building;
use super::files::FileWriter;
use super::{Consolidator, Frozen, Ground};
use crate::format::FileId;
use crate::io::Io;
use crate::memory::Memory;

/// A medium file is merged into the large one when it has more than one in so many of its rows.
const MERGE_RATIO: u64 = 4;

/// All files are merged when more than one in so many of their rows is gone.
const GONE_SHARE: u64 = 4;

/// Segments for which a consolidation leaves room on the disk: the log's next ones.
const LOG_SEGMENTS_SPARED: u64 = 2;

impl Consolidator {
    /// Whether an attempt is to begin, and if so begins it.
    pub(super) fn begin<I: Io>(&mut self, ground: &mut Ground<'_, I>) -> bool {
        if !self.may_retry(ground) || (self.frozen.is_none() && !self.freeze(ground)) {
            return false;
        }
        let rows_new: u64 = ground.memory.spaces.values().map(|space| space.rows_frozen()).sum();
        let merged = self.merged(rows_new);
        if let Err(failure) = self.check_room(&merged, ground) {
            self.note_failure(&failure, ground);
            return false;
        }
        let file = FileId::columns(self.take_number());
        let frozen = self.frozen.as_ref().expect("just frozen");
        let merging: Vec<_> =
            self.files.iter().filter(|live| merged.contains(&live.named.number)).collect();
        let index_rows_min = self.settings.index_rows_min;
        let building = Building::new(frozen, &merging, index_rows_min, file.number, ground);
        self.stats.rows_under_way = building.rows();
        self.attempt = Some(Attempt {
            rows: building.rows(),
            stage: Stage::Sections {
                writer: Box::new(FileWriter::new(file)),
                building: Box::new(building),
            },
            merged,
            file,
            moved: Vec::new(),
            new: None,
        });
        true
    }

    /// Whether what failed last is long enough ago.
    pub(super) fn may_retry<I: Io>(&self, ground: &Ground<'_, I>) -> bool {
        let now = ground.log.io().monotonic_ns();
        self.failed_ns.is_none_or(|failed| now >= failed + self.settings.retry_after_ns)
    }

    /// Whether the disk has room for the new files beside the old ones. The log's next segments
    /// come first, unless it has no room for any: then all that may help is tried.
    fn check_room<I: Io>(&self, merged: &[u64], ground: &mut Ground<'_, I>) -> Result<(), Failure> {
        let old = self.files.iter().filter(|live| merged.contains(&live.named.number));
        let old: u64 = old.map(|live| live.named.bytes).sum();
        let log = match ground.log.out_of_space() {
            Some(_) => 0,
            None => LOG_SEGMENTS_SPARED * ground.log.segment_bytes(),
        };
        let needed = old + ground.memory.arena.bytes_in_use() + log;
        match ground.log.io_mut().free_bytes() {
            Ok(free) if free < needed => Err(Failure::NoRoom { needed, free }),
            // Where nobody knows how much room there is, trying tells.
            _ => Ok(()),
        }
    }

    pub(super) fn take_number(&mut self) -> u64 {
        self.next_file += 1;
        self.next_file - 1
    }

    /// Freezes the tails if there is reason to and the moment is right.
    fn freeze<I: Io>(&mut self, ground: &mut Ground<'_, I>) -> bool {
        let memory = &mut *ground.memory;
        let rows: u64 = memory.spaces.values().map(|space| space.rows_in_memory()).sum();
        let gone = self.rows_gone(memory);
        let is_wasteful = gone * GONE_SHARE > self.stats().rows;
        let is_due = rows >= self.settings.rows_forced
            || (ground.is_quiet && (rows >= self.settings.rows_idle || is_wasteful));
        if self.asked == self.taken && !is_due {
            return false;
        }
        let place = *ground.log.durable_place();
        // What a frame made of the memory must not reach a file before the frame is durable.
        if memory.applied != place.through_sequence || ground.is_erasing {
            return false;
        }
        let is_full = std::mem::take(&mut self.is_full) || is_wasteful;
        let is_compact = self.files.len() < 2 && gone == 0;
        self.taken = self.asked;
        if rows == 0 && (is_compact || !is_full) {
            self.done = self.taken;
            return false;
        }
        let spaces = memory.spaces.values_mut();
        let frozen = spaces.map(|space| {
            space.freeze(place.through_sequence);
            (space.number, space.settings.clone())
        });
        let spaces = frozen.collect();
        self.frozen = Some(Frozen { place, spaces, last_space: memory.last_space, is_full });
        true
    }

    /// Rows of columns files that are dead, or of spaces that were dropped.
    fn rows_gone(&self, memory: &Memory) -> u64 {
        let sections = memory.spaces.values().flat_map(|space| space.sections());
        let live = sections.map(|section| u64::from(section.rows() - section.deaths().dead()));
        self.files.iter().map(|file| file.rows).sum::<u64>() - live.sum::<u64>()
    }

    /// The files to merge with so many new rows; see the top of the file.
    fn merged(&self, rows_new: u64) -> Vec<u64> {
        let all = || self.files.iter().map(|file| file.named.number).collect();
        if self.frozen.as_ref().is_some_and(|frozen| frozen.is_full) {
            return all();
        }
        match &self.files[..] {
            [] => Vec::new(),
            [large] if rows_new * MERGE_RATIO < large.rows => Vec::new(),
            [large, medium] if (rows_new + medium.rows) * MERGE_RATIO < large.rows => {
                vec![medium.named.number]
            }
            _ => all(),
        }
    }
}
