//! Consolidation: what the log holds becomes columns, and the log is let go.
//!
//! 1. *Freeze*: the tails stop growing, new ones begin; the place in the log is noted.
//! 2. *Sections*: rows are ordered, indexed, and streamed into a columns file.
//! 3. *Settle, populate*: the file is flushed, mapped and brought into memory.
//! 4. *Calibrate*: what beam the graphs take is measured.
//! 5. *State*: everything else that the log up to the place says is streamed into a state file.
//! 6. *Manifest*: it names the files and the place. Until here nothing has happened for a start
//!    that comes now but that it removes files nobody names; from here on the new files are what
//!    counts.
//! 7. *Publish*: sections take the place of their sources; log and older files are let go. A start
//!    that comes now removes what is left of those.
//!
//! Everything before the manifest can be given up and begun again; the frozen tails keep what they
//! hold and the place stays the same. Work is done in units of some ten microseconds, each by a
//! call of [`Consolidator::advance`], between requests.

mod attempt;
mod building;
mod calibrating;
mod damage;
mod deciding;
mod files;
mod leftovers;
mod pace;
mod publishing;
mod restore;
mod saving;

use std::sync::Arc;

use crate::arena::{Mapped, Region};
use crate::episode::{SpaceNumber, SpaceSettings};
use crate::format::{FileId, LogPlace, NamedColumns, NamedState};
use crate::index::section::INDEX_ROWS_MIN;
use crate::io::Io;
use crate::log::Log;
use crate::memory::Memory;
use crate::shard::Notice;
use crate::space::PartNumber;
use attempt::{Attempt, Failure, Stage};
use calibrating::Recalibrating;
use damage::{Checking, Damage};
use leftovers::Leftovers;
use pace::Pace;

pub(crate) use pace::AHEAD_SHARE;
pub use restore::RestoreError;
pub(crate) use restore::{Restored, restore};

/// Rows whose links one unit of work looks at after a publication.
const SWEPT_LINKS: usize = 64;

/// When a consolidation begins by itself, besides when tails have more than half of the memory that
/// is there for them or columns many dead rows; and how long it waits after one that failed.
#[derive(Debug, Clone, Copy)]
pub struct ConsolidationSettings {
    /// Rows in tails from which on one begins when the shard has nothing better to do.
    pub rows_idle: u64,
    /// Rows in tails from which on one begins whatever else there is to do.
    pub rows_forced: u64,
    /// Bytes of the log that the next start would read, from which on one begins likewise.
    pub log_bytes_forced: u64,
    pub retry_after_ns: u64,
    /// Rows from which on a section gets an index.
    pub index_rows_min: usize,
}

impl ConsolidationSettings {
    /// None of these bounds is ever reached: a consolidation begins when it is asked for, or when
    /// tails press on the memory.
    pub fn when_asked() -> Self {
        Self {
            rows_idle: u64::MAX,
            rows_forced: u64::MAX,
            log_bytes_forced: u64::MAX,
            ..Self::default()
        }
    }
}

impl Default for ConsolidationSettings {
    fn default() -> Self {
        Self {
            rows_idle: 8 << 10,
            rows_forced: 64 << 10,
            log_bytes_forced: 1 << 30,
            retry_after_ns: 10_000_000_000,
            index_rows_min: INDEX_ROWS_MIN,
        }
    }
}

/// What calls of [`Consolidator::advance`] come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advanced {
    /// There is nothing to do.
    Idle,
    /// One unit was done, and there is more.
    Worked,
    /// The disk or the kernel has to do something first; a completion will say so.
    Waits,
}

/// Figures of consolidation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConsolidationStats {
    /// Those that were published since the start, and those that were given up.
    pub published: u64,
    pub failed: u64,
    /// Rows written into columns files since the start.
    pub rows_written: u64,
    pub bytes_written: u64,
    /// Of the one under way: rows to write in all, bytes handed to the disk for the file that is
    /// being written, and at which stage it is; see the top of the file.
    pub rows_under_way: u64,
    pub bytes_under_way: u64,
    pub stage: Option<&'static str>,
    /// Rows and bytes of the live columns files, and how many there are.
    pub rows: u64,
    pub bytes: u64,
    pub files: u64,
    /// Blocks of those that are known to be damaged.
    pub blocks_damaged: u64,
    /// What has been consolidated.
    pub through_sequence: u64,
}

/// A columns file that is in use.
#[derive(Debug)]
pub(crate) struct LiveFile {
    pub(crate) named: NamedColumns,
    pub(crate) mapped: Arc<Mapped>,
    pub(crate) rows: u64,
    pub(crate) parts: Vec<(SpaceNumber, PartNumber)>,
}

/// What the last manifest says, but for its place in the log.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) number: u64,
    pub(crate) next_file: u64,
    pub(crate) state: NamedState,
    pub(crate) columns: Vec<NamedColumns>,
}

/// What the shard was when its tails were frozen.
#[derive(Debug)]
pub(crate) struct Frozen {
    pub(crate) place: LogPlace,
    pub(crate) spaces: Vec<(SpaceNumber, SpaceSettings)>,
    pub(crate) last_space: u32,
    /// All files are merged, but for damaged ones. What was asked for later has to wait for a later
    /// freeze: a row that was erased after this one is still among those it writes.
    is_full: bool,
}

/// See the top of the file.
#[derive(Debug)]
pub(crate) struct Consolidator {
    settings: ConsolidationSettings,
    /// The large one first.
    files: Vec<LiveFile>,
    state: Option<NamedState>,
    manifest_number: u64,
    next_file: u64,
    frozen: Option<Frozen>,
    attempt: Option<Attempt>,
    pace: Pace,
    /// The files of the start, until all were looked at.
    checking: Option<Checking>,
    damage: Damage,
    recalibrating: Option<Recalibrating>,
    /// Consolidations that were asked for, and how many had been when the present one froze.
    asked: u64,
    taken: u64,
    done: u64,
    given_up: Option<u64>,
    /// Files that no manifest names any more and that are on their way out.
    leaving: Vec<FileId>,
    /// Of those, the ones that could not be removed and are to be tried again.
    staying: Vec<FileId>,
    leftovers: Leftovers,
    /// What files are written from, for the next one: memory that is taken again costs more.
    regions: Vec<Region>,
    /// The next freeze is one of which all files are merged.
    is_full: bool,
    failed_ns: Option<u64>,
    failure: Option<String>,
    /// What an operator is to be told.
    notices: Vec<Notice>,
    stats: ConsolidationStats,
}

/// What a consolidation works on.
#[derive(Debug)]
pub(crate) struct Ground<'a, I> {
    pub(crate) log: &'a mut Log<I>,
    pub(crate) memory: &'a mut Memory,
    /// Whether an erase is under way: what it removes must not be copied meanwhile.
    pub(crate) is_erasing: bool,
    /// Whether a snapshot holds on to what the last manifest names.
    pub(crate) is_copied: bool,
    pub(crate) is_quiet: bool,
}

impl Consolidator {
    pub(crate) fn new(settings: ConsolidationSettings, restored: Restored) -> Self {
        let Restored { files, state, manifest_number, next_file, through_sequence } = restored;
        let stats = ConsolidationStats { through_sequence, ..ConsolidationStats::default() };
        Self {
            settings,
            checking: Some(Checking::new(&files)),
            files,
            state,
            manifest_number,
            next_file,
            frozen: None,
            attempt: None,
            pace: Pace::default(),
            damage: Damage::default(),
            recalibrating: None,
            asked: 0,
            taken: 0,
            done: 0,
            given_up: None,
            leaving: Vec::new(),
            leftovers: Leftovers::default(),
            regions: Vec::new(),
            staying: Vec::new(),
            is_full: false,
            failed_ns: None,
            failure: None,
            notices: Vec::new(),
            stats,
        }
    }

    /// Asks for a consolidation of everything that is applied by now; `is_full` also merges all
    /// files. The number of the request: it is done when [`done`](Self::done) has reached it.
    pub(crate) fn ask(&mut self, is_full: bool) -> u64 {
        self.asked += 1;
        self.is_full |= is_full;
        self.failed_ns = None;
        self.asked
    }

    /// The last request that is published; those before it are too.
    pub(crate) fn done(&self) -> u64 {
        self.done
    }

    /// Whether every file that is not needed any more is gone.
    pub(crate) fn is_settled(&self) -> bool {
        self.leaving.is_empty()
    }

    /// The last request that had been made when something was given up since the last call.
    pub(crate) fn take_given_up(&mut self) -> Option<u64> {
        self.given_up.take()
    }

    /// Whether rows are on their way into columns.
    pub(crate) fn has_frozen(&self) -> bool {
        self.frozen.is_some()
    }

    /// Whether a manifest is being written: until it is, nobody knows which one holds.
    pub(crate) fn is_switching(&self) -> bool {
        let stage = self.attempt.as_ref().map(|attempt| &attempt.stage);
        matches!(stage, Some(Stage::Manifest { is_submitted: true, .. }))
    }

    /// What the last manifest says, if there is one.
    pub(crate) fn published(&self) -> Option<Published> {
        let columns = self.files.iter().map(|file| file.named).collect();
        let (number, next_file) = (self.manifest_number, self.next_file);
        self.state.map(|state| Published { number, next_file, state, columns })
    }

    /// Why the last attempt was given up, if it was; or what is damaged, if anything is.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.as_deref().or(self.damage())
    }

    /// What came up since the last call.
    pub(crate) fn take_notices(&mut self) -> impl Iterator<Item = Notice> {
        self.notices.drain(..)
    }

    pub(crate) fn stats(&self) -> ConsolidationStats {
        ConsolidationStats {
            bytes_under_way: self.attempt.as_ref().map_or(0, |a| a.stage.bytes_written()),
            stage: self.attempt.as_ref().map(|attempt| attempt.stage.name()),
            rows: self.files.iter().map(|file| file.rows).sum(),
            bytes: self.files.iter().map(|file| file.named.bytes).sum(),
            files: self.files.len() as u64,
            blocks_damaged: self.damage.blocks(),
            ..self.stats
        }
    }

    /// Does one unit of work.
    pub(crate) fn advance<I: Io>(&mut self, ground: &mut Ground<'_, I>) -> Advanced {
        self.leftovers.retired.append(&mut ground.memory.retired);
        if !self.leftovers.release_some(&mut ground.memory.arena, ground.log.io_mut()) {
            return Advanced::Worked;
        }
        if ground.log.latch().is_some() {
            return self.idle(ground);
        }
        self.remove_staying(ground);
        if !ground.memory.sweep_links(SWEPT_LINKS) {
            return Advanced::Worked;
        }
        if self.attempt.is_none() && !self.begin(ground) {
            return self.idle(ground);
        }
        let advanced = match self.work(ground) {
            Ok(advanced) => advanced,
            Err(failure) => self.give_up(&failure, ground),
        };
        if let (Some(attempt), Advanced::Worked) = (&mut self.attempt, advanced) {
            attempt.progress.count_unit(|| ground.log.io().monotonic_ns());
        }
        ground.memory.tails_bytes_max = self.tails_bytes_max(ground.memory);
        advanced
    }

    /// What tails may have of the memory as long as a consolidation is under way.
    fn tails_bytes_max(&self, memory: &Memory) -> Option<u64> {
        let attempt = self.attempt.as_ref()?;
        Some(attempt.progress.tails_bytes_max(memory.bytes_for_tails()))
    }

    /// Memory that was asked for under this number is there.
    pub(crate) fn take_memory(&mut self, number: u64) {
        let stage = self.attempt.as_mut().map(|attempt| &mut attempt.stage);
        if let Some(Stage::Sections { building, .. }) = stage {
            building.take_memory(number);
        }
    }

    /// Looks at the files of the start, and measures graphs in use again, when there is nothing
    /// else to do.
    fn idle<I: Io>(&mut self, ground: &mut Ground<'_, I>) -> Advanced {
        if !ground.is_quiet {
            return Advanced::Idle;
        }
        if self.check_some(ground) {
            return Advanced::Worked;
        }
        if self.recalibrating.is_none() {
            self.recalibrating = Recalibrating::next(ground.memory);
        }
        let Some(recalibrating) = &mut self.recalibrating else { return Advanced::Idle };
        if recalibrating.step(ground) {
            self.recalibrating = None;
        }
        Advanced::Worked
    }
}
