//! When a consolidation begins, and what it merges.
//!
//! It begins when somebody asks; and by itself, when the tails have many rows or much of the
//! memory, when the log is long, or when much of what is in columns is dead. Some of that waits
//! until the shard is quiet.
//!
//! A shard has two columns files at most: a large one and a medium one. New rows go into a new
//! medium file together with those of the old one. When that would hold more than a share of the
//! large one's rows, everything becomes one new large file. So a row is written again a number of
//! times that grows with the logarithm of their count.

use super::attempt::{Attempt, Failure, Stage};
use super::building::Building;
use super::files::FileWriter;
use super::{ConsolidationSettings, Consolidator, Frozen, Ground, LiveFile};
use crate::format::FileId;
use crate::io::Io;
use crate::memory::Memory;
use crate::space::{Part, Section, Space};

/// A medium file is merged into the large one when it has more than one in so many of its rows.
const MERGE_RATIO: u64 = 4;

/// All files are merged when more than one in so many of their rows is dead, or has links that are
/// in memory and in every state file because its section has older ones.
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
        let damage = self.damage().filter(|_| rows_new > 0 && self.is_full_of_damage());
        let may_begin = match damage {
            Some(damage) => Err(Failure::TooDamaged(damage.to_owned())),
            None => self.check_room(&merged, ground),
        };
        if let Err(failure) = may_begin {
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
        let (tails, now_ns) = (ground.memory.bytes_in_tails(), ground.log.io().monotonic_ns());
        let progress = self.pace.begin(building.rows(), tails, now_ns);
        self.attempt = Some(Attempt {
            rows: building.rows(),
            progress,
            stage: Stage::Sections {
                writer: Box::new(FileWriter::new(file, std::mem::take(&mut self.regions))),
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
        let gone = self.rows_gone(ground.memory);
        let is_wasteful = gone * GONE_SHARE > self.sound().map(|live| live.rows).sum();
        let is_heavy = gone > 0 && ground.memory.is_pressed_afterwards();
        if self.asked == self.taken && !self.is_due(is_wasteful, is_heavy, ground) {
            return false;
        }
        let (memory, place) = (&mut *ground.memory, *ground.log.durable_place());
        // What a frame made of the memory must not reach a file before the frame is durable.
        if memory.applied != place.through_sequence || ground.is_erasing {
            return false;
        }
        let rows = rows_in_tails(memory);
        let is_compact = rows == 0 && self.sound().count() < 2 && gone == 0;
        let is_full = (std::mem::take(&mut self.is_full) || is_wasteful || is_heavy) && !is_compact;
        self.taken = self.asked;
        // Frames that leave no row, as a forget does, leave a log that can be let go.
        if !is_full && place.through_sequence == self.stats.through_sequence {
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

    /// Whether a consolidation is to begin that nobody asked for. Each reason is one that a
    /// consolidation takes away: memory is that of tails with rows in them, and the log that of
    /// frames behind the last manifest.
    fn is_due<I: Io>(&self, is_wasteful: bool, is_heavy: bool, ground: &Ground<'_, I>) -> bool {
        let ConsolidationSettings { rows_idle, rows_forced, log_bytes_forced, .. } = self.settings;
        let rows = rows_in_tails(ground.memory);
        let is_pressed = rows > 0 && ground.memory.is_pressed_by_tails();
        let has_frames = ground.log.durable_place().through_sequence > self.stats.through_sequence;
        let is_long = has_frames && ground.log.needed_bytes() >= log_bytes_forced;
        let is_worthwhile = rows >= rows_idle || is_wasteful;
        let is_pressed = is_pressed || is_heavy;
        rows >= rows_forced || is_pressed || is_long || (ground.is_quiet && is_worthwhile)
    }

    /// Rows of columns files that are dead, of spaces that were dropped, or have links or what
    /// superseded them elsewhere than in the file; of files that may be merged.
    fn rows_gone(&self, memory: &Memory) -> u64 {
        let live_rows = |live: &LiveFile| -> u64 {
            let sections = live.parts.iter();
            let sections = sections.filter_map(|(space, part)| memory.section(*space, *part));
            let gone = |section: &Section| {
                let superseded = Part::Section(section).supersessions().count_later();
                section.deaths().dead() + section.rows_relinked() + superseded
            };
            let live = |section: &Section| section.rows().saturating_sub(gone(section));
            sections.map(|section| u64::from(live(section))).sum()
        };
        self.sound().map(|live| live.rows - live_rows(live)).sum()
    }

    /// The files to merge with so many new rows; see the top of the file. Where one is damaged,
    /// there is room for a single one beside it.
    fn merged(&self, rows_new: u64) -> Vec<u64> {
        let sound: Vec<_> = self.sound().collect();
        let all = || sound.iter().map(|live| live.named.number).collect();
        if self.frozen.as_ref().is_some_and(|frozen| frozen.is_full) {
            return all();
        }
        if rows_new == 0 {
            return Vec::new();
        }
        let is_any_damaged = sound.len() < self.files.len();
        match &sound[..] {
            [] => Vec::new(),
            [large] if !is_any_damaged && rows_new * MERGE_RATIO < large.rows => Vec::new(),
            [large, medium] if (rows_new + medium.rows) * MERGE_RATIO < large.rows => {
                vec![medium.named.number]
            }
            _ => all(),
        }
    }
}

fn rows_in_tails(memory: &Memory) -> u64 {
    memory.spaces.values().map(Space::rows_in_memory).sum()
}
