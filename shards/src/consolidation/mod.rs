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
//!
//! # Which files are merged
//!
//! A shard has two columns files at most: a large one and a medium one. New rows go into a new
//! medium file together with those of the old one. When that would hold more than a share of the
//! large one's rows, everything becomes one new large file. So a row is written again a number of
//! times that grows with the logarithm of their count.

mod building;
mod calibrating;
mod files;
mod restore;
mod saving;

use std::io;

use crate::arena::Mapped;
use crate::episode::{SpaceNumber, SpaceSettings};
use crate::format::columns::{ColumnKind, ColumnsDirectory, ColumnsError, ColumnsPlace};
use crate::format::{FileId, LogPlace, Manifest, NamedColumns, NamedState, SectionCalibration};
use crate::index::calibration::Calibrator;
use crate::index::section::INDEX_ROWS_MIN;
use crate::io::{FileEvent, Io, PIECE_BYTES};
use crate::log::Log;
use crate::memory::Memory;
use crate::space::{Damaged, Moved, PartNumber, Retired, Section, Space};
use building::Building;
use calibrating::{Recalibrating, calibrate};
use files::FileWriter;
use saving::Saving;

pub use restore::RestoreError;
pub(crate) use restore::{Restored, restore};

/// A medium file is merged into the large one when it has more than one in so many of its rows.
const MERGE_RATIO: u64 = 4;

/// All files are merged when more than one in so many of their rows is gone.
const GONE_SHARE: u64 = 4;

/// Segments for which a consolidation leaves room on the disk: the log's next ones.
const LOG_SEGMENTS_SPARED: u64 = 2;

/// When a consolidation begins by itself, and how long it waits after one that failed.
#[derive(Debug, Clone, Copy)]
pub struct ConsolidationSettings {
    /// Rows in tails from which on one begins when the shard has nothing better to do.
    pub rows_idle: u64,
    /// Rows in tails from which on one begins whatever else there is to do.
    pub rows_forced: u64,
    pub retry_after_ns: u64,
    /// Rows from which on a section gets an index.
    pub index_rows_min: usize,
}

impl Default for ConsolidationSettings {
    fn default() -> Self {
        Self {
            rows_idle: 8 << 10,
            rows_forced: 64 << 10,
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
    /// The disk has to do something first; a completion will say so.
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
    /// What has been consolidated.
    pub through_sequence: u64,
}

/// A columns file that is in use.
#[derive(Debug)]
pub(crate) struct LiveFile {
    pub(crate) named: NamedColumns,
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
    /// All files are merged. What was asked for later has to wait for a later freeze: a row that
    /// was erased after this one is still among those it writes.
    is_full: bool,
}

/// One try to publish what is frozen.
#[derive(Debug)]
struct Attempt {
    /// The files that the new one takes the place of.
    merged: Vec<u64>,
    file: FileId,
    stage: Stage,
    /// Where the rows of each space went.
    moved: Vec<(SpaceNumber, Moved)>,
    /// The new file, if there was anything to write.
    new: Option<(NamedColumns, Vec<Section>)>,
    rows: u64,
}

#[derive(Debug)]
enum Stage {
    Sections {
        writer: Box<FileWriter>,
        building: Box<Building>,
    },
    Settle {
        writer: Box<FileWriter>,
        place: ColumnsPlace,
    },
    Populate {
        mapped: Mapped,
        place: ColumnsPlace,
        at: usize,
    },
    Calibrate {
        /// The section under way, and what measures it.
        nth: usize,
        calibrator: Option<Box<Calibrator>>,
    },
    State {
        writer: Box<FileWriter>,
        saving: Box<Saving>,
        named: Option<NamedState>,
    },
    Manifest {
        manifest: Box<Manifest>,
        is_submitted: bool,
    },
    /// Gives up what was begun.
    GiveUp {
        files: Vec<FileId>,
        under_way: usize,
    },
}

impl Stage {
    fn name(&self) -> &'static str {
        match self {
            Self::Sections { .. } => "sections",
            Self::Settle { .. } | Self::Populate { .. } => "settle",
            Self::Calibrate { .. } => "calibrate",
            Self::State { .. } => "state",
            Self::Manifest { .. } => "manifest",
            Self::GiveUp { .. } => "give_up",
        }
    }

    fn bytes_written(&self) -> u64 {
        match self {
            Self::Sections { writer, .. }
            | Self::Settle { writer, .. }
            | Self::State { writer, .. } => writer.bytes(),
            Self::Populate { mapped, .. } => mapped.len() as u64,
            Self::Calibrate { .. } | Self::Manifest { .. } | Self::GiveUp { .. } => 0,
        }
    }
}

/// Why an attempt was given up.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("a file could not be written ({0})")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Damaged(#[from] Damaged),
    #[error("the columns file that was just written does not read ({0})")]
    Columns(#[from] ColumnsError),
    #[error("a memory space was dropped meanwhile")]
    Dropped,
    #[error(
        "column {kind:?} of memory space #{} is damaged in block {block}, and is not copied; \
         restore the columns files from a snapshot",
        space.0
    )]
    Block { space: SpaceNumber, kind: ColumnKind, block: usize },
    #[error("the disk has {free} bytes free, and {needed} may be needed; free disk space")]
    NoRoom { needed: u64, free: u64 },
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
    /// What was published leaves memory behind that is given back piece by piece.
    retired: Vec<Retired>,
    /// The next freeze is one of which all files are merged.
    is_full: bool,
    failed_ns: Option<u64>,
    failure: Option<String>,
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
            files,
            state,
            manifest_number,
            next_file,
            frozen: None,
            attempt: None,
            recalibrating: None,
            asked: 0,
            taken: 0,
            done: 0,
            given_up: None,
            leaving: Vec::new(),
            retired: Vec::new(),
            staying: Vec::new(),
            is_full: false,
            failed_ns: None,
            failure: None,
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

    /// Why the last attempt was given up, if it was.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    pub(crate) fn stats(&self) -> ConsolidationStats {
        ConsolidationStats {
            bytes_under_way: self.attempt.as_ref().map_or(0, |a| a.stage.bytes_written()),
            stage: self.attempt.as_ref().map(|attempt| attempt.stage.name()),
            rows: self.files.iter().map(|file| file.rows).sum(),
            bytes: self.files.iter().map(|file| file.named.bytes).sum(),
            files: self.files.len() as u64,
            ..self.stats
        }
    }

    /// Does one unit of work.
    pub(crate) fn advance<I: Io>(&mut self, ground: &mut Ground<'_, I>) -> Advanced {
        if ground.log.latch().is_some() {
            return Advanced::Idle;
        }
        self.remove_staying(ground);
        if let Some(retired) = self.retired.last_mut() {
            if retired.release(&mut ground.memory.arena, 1) {
                self.retired.pop();
            }
            return Advanced::Worked;
        }
        if self.attempt.is_none() && !self.begin(ground) {
            return self.recalibrate(ground);
        }
        match self.work(ground) {
            Ok(advanced) => advanced,
            Err(failure) => self.give_up(&failure, ground),
        }
    }

    /// Measures graphs in use again, when there is nothing else to do.
    fn recalibrate<I: Io>(&mut self, ground: &mut Ground<'_, I>) -> Advanced {
        if !ground.is_quiet {
            return Advanced::Idle;
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

    /// Whether an attempt is to begin, and if so begins it.
    fn begin<I: Io>(&mut self, ground: &mut Ground<'_, I>) -> bool {
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
    fn may_retry<I: Io>(&self, ground: &Ground<'_, I>) -> bool {
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

    fn take_number(&mut self) -> u64 {
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

    fn work<I: Io>(&mut self, ground: &mut Ground<'_, I>) -> Result<Advanced, Failure> {
        let attempt = self.attempt.as_mut().expect("an attempt is under way");
        match &mut attempt.stage {
            Stage::Sections { writer, building } => {
                if !writer.has_room() {
                    return Ok(writer.pump(ground.log.io_mut(), false)?);
                }
                let Some(place) = building.step(ground, writer)? else {
                    writer.pump(ground.log.io_mut(), false)?;
                    return Ok(Advanced::Worked);
                };
                attempt.moved = building.take_moved();
                let Stage::Sections { writer, .. } = std::mem::replace(
                    &mut attempt.stage,
                    Stage::GiveUp { files: Vec::new(), under_way: 0 },
                ) else {
                    unreachable!("just matched")
                };
                match place {
                    Some(place) => attempt.stage = Stage::Settle { writer, place },
                    None => self.begin_state(ground),
                }
                Ok(Advanced::Worked)
            }
            Stage::Settle { writer, place } => {
                if !writer.is_sealed() {
                    return Ok(writer.pump(ground.log.io_mut(), true)?);
                }
                let (place, mapped) = (*place, ground.log.io_mut().map_file(attempt.file)?);
                attempt.stage = Stage::Populate { mapped, place, at: 0 };
                Ok(Advanced::Worked)
            }
            Stage::Populate { mapped, place, at } => {
                if *at < mapped.len() {
                    let until = mapped.len().min(*at + PIECE_BYTES);
                    mapped.populate(*at..until)?;
                    *at = until;
                    return Ok(Advanced::Worked);
                }
                let place = *place;
                self.open_new(place, ground)?;
                Ok(Advanced::Worked)
            }
            Stage::Calibrate { nth, calibrator } => {
                let (_, sections) = attempt.new.as_mut().expect("what is measured is new");
                let Some(section) = sections.get_mut(*nth) else {
                    self.begin_state(ground);
                    return Ok(Advanced::Worked);
                };
                let asked = ground.memory.spaces.get(&section.space()).and_then(Space::asked);
                if calibrate(section, asked, calibrator) {
                    (*nth, *calibrator) = (*nth + 1, None);
                }
                Ok(Advanced::Worked)
            }
            Stage::State { writer, saving, named } => {
                if named.is_none() {
                    if !writer.has_room() {
                        return Ok(writer.pump(ground.log.io_mut(), false)?);
                    }
                    let frozen = self.frozen.as_ref().expect("what is saved is frozen");
                    *named = saving.step(frozen, ground.memory, writer)?;
                    writer.pump(ground.log.io_mut(), false)?;
                    return Ok(Advanced::Worked);
                }
                if !writer.is_sealed() {
                    return Ok(writer.pump(ground.log.io_mut(), true)?);
                }
                let named = named.expect("just seen");
                self.begin_manifest(named, ground);
                Ok(Advanced::Worked)
            }
            Stage::Manifest { is_submitted: false, .. } if ground.is_copied => Ok(Advanced::Waits),
            Stage::Manifest { manifest, is_submitted } => {
                if !std::mem::replace(is_submitted, true) {
                    ground.log.write_manifest(manifest);
                }
                Ok(Advanced::Waits)
            }
            Stage::GiveUp { .. } => Ok(Advanced::Waits),
        }
    }

    /// Opens the sections of the file that was just written.
    fn open_new<I: Io>(
        &mut self,
        place: ColumnsPlace,
        ground: &mut Ground<'_, I>,
    ) -> Result<(), Failure> {
        let attempt = self.attempt.as_mut().expect("an attempt is under way");
        let mapped = ground.log.io_mut().map_file(attempt.file)?;
        let whose = (*ground.log.store_id(), ground.log.shard(), attempt.file.number);
        let directory = ColumnsDirectory::decode(&mapped, &place, whose)?;
        let named = NamedColumns {
            number: attempt.file.number,
            bytes: mapped.len() as u64,
            directory_offset: place.directory_offset,
            directory_bytes: place.directory_bytes,
            directory_crc: place.directory_crc,
        };
        let file: std::sync::Arc<Mapped> = std::sync::Arc::new(mapped);
        let frozen = self.frozen.as_ref().expect("what is written is frozen");
        let mut sections = Vec::new();
        for entry in directory.sections {
            let mut section = Section::open(file.clone(), entry)?;
            let mut spaces = frozen.spaces.iter();
            if let Some((_, settings)) = spaces.find(|(number, _)| *number == section.space()) {
                section.open_index(settings.metric);
            }
            sections.push(section);
        }
        attempt.new = Some((named, sections));
        attempt.stage = Stage::Calibrate { nth: 0, calibrator: None };
        Ok(())
    }

    fn begin_state<I: Io>(&mut self, ground: &mut Ground<'_, I>) {
        let file = FileId::state(self.take_number());
        let frozen = self.frozen.as_ref().expect("what is saved is frozen");
        let attempt = self.attempt.as_mut().expect("an attempt is under way");
        let kept = self.files.iter().filter(|live| !attempt.merged.contains(&live.named.number));
        let measured = attempt.new.iter().flat_map(|(named, sections)| {
            let indexed = sections.iter().filter(|section| section.index().is_some());
            indexed.map(|section| SectionCalibration {
                file: named.number,
                space: section.space(),
                calibration: section.calibration().clone(),
            })
        });
        let saving = Saving::new(file.number, frozen, kept, measured.collect(), ground);
        let writer = Box::new(FileWriter::new(file));
        attempt.stage = Stage::State { writer, saving: Box::new(saving), named: None };
    }

    fn begin_manifest<I: Io>(&mut self, state: NamedState, ground: &mut Ground<'_, I>) {
        let attempt = self.attempt.as_mut().expect("an attempt is under way");
        let kept = self.files.iter().map(|live| live.named);
        let kept = kept.filter(|named| !attempt.merged.contains(&named.number));
        let manifest = Manifest {
            store_id: *ground.log.store_id(),
            shard: ground.log.shard(),
            number: self.manifest_number + 1,
            place: self.frozen.as_ref().expect("what is named is frozen").place,
            next_file: self.next_file,
            state,
            columns: kept.chain(attempt.new.as_ref().map(|(named, _)| *named)).collect(),
            written_at_us: ground.log.io().wall_us(),
        };
        attempt.stage = Stage::Manifest { manifest: Box::new(manifest), is_submitted: false };
    }

    /// Takes what became of a file of this consolidation.
    pub(crate) fn take_file<I: Io>(&mut self, event: FileEvent, ground: &mut Ground<'_, I>) {
        if let FileEvent::Removed { file, result } = event {
            return self.take_removed(file, result, ground);
        }
        let Some(attempt) = &mut self.attempt else { return };
        let taken = match &mut attempt.stage {
            Stage::Sections { writer, .. }
            | Stage::Settle { writer, .. }
            | Stage::State { writer, .. } => writer.take(event),
            Stage::GiveUp { under_way, .. } => {
                *under_way -= 1;
                Ok(())
            }
            Stage::Populate { .. } | Stage::Calibrate { .. } | Stage::Manifest { .. } => Ok(()),
        };
        match taken {
            Ok(()) => self.finish_give_up(ground),
            Err(error) => {
                self.give_up(&error.into(), ground);
            }
        }
    }

    /// A file that could not be removed is tried again, and removed by the next start at the
    /// latest. Who waits for it is told.
    fn take_removed<I: Io>(
        &mut self,
        file: FileId,
        result: io::Result<()>,
        ground: &mut Ground<'_, I>,
    ) {
        match result {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                self.staying.push(file);
                self.note_failure(&error.into(), ground);
            }
            _ => self.leaving.retain(|leaving| *leaving != file),
        }
    }

    fn remove_staying<I: Io>(&mut self, ground: &mut Ground<'_, I>) {
        if !self.staying.is_empty() && self.may_retry(ground) {
            let staying = std::mem::take(&mut self.staying).into_iter();
            staying.for_each(|file| ground.log.io_mut().remove_file(file));
        }
    }

    fn remove<I: Io>(&mut self, file: FileId, ground: &mut Ground<'_, I>) {
        ground.log.io_mut().remove_file(file);
        self.leaving.push(file);
    }

    /// The manifest is what the next start will find: publishes.
    pub(crate) fn take_manifest<I: Io>(&mut self, ground: &mut Ground<'_, I>) {
        let attempt = self.attempt.take().expect("a manifest belongs to an attempt");
        let frozen = self.frozen.take().expect("what is published was frozen");
        let Stage::Manifest { manifest, .. } = attempt.stage else {
            unreachable!("a manifest was written in its stage")
        };
        let (named, sections) =
            attempt.new.map_or((None, Vec::new()), |(named, sections)| (Some(named), sections));
        let mut sections: std::collections::HashMap<_, _> =
            sections.into_iter().map(|section| (section.space(), section)).collect();
        let mut parts = Vec::new();
        for (number, moved) in attempt.moved {
            let section = sections.remove(&number);
            if let Some(space) = ground.memory.spaces.get_mut(&number) {
                let (part, retired) = space.publish(&ground.memory.arena, section, moved);
                ground.memory.rows -= retired.rows();
                self.retired.push(retired);
                parts.extend(part.map(|part| (number, part)));
            }
        }
        let (merged, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.files)
            .into_iter()
            .partition(|live| attempt.merged.contains(&live.named.number));
        self.files = kept;
        self.files.extend(named.map(|named| LiveFile { named, rows: attempt.rows, parts }));
        let old_state = self.state.replace(manifest.state);
        self.manifest_number = manifest.number;
        let columns = merged.iter().map(|live| FileId::columns(live.named.number));
        for file in columns.chain(old_state.map(|state| FileId::state(state.number))) {
            self.remove(file, ground);
        }
        ground.log.release(&frozen.place);
        ground.memory.keys.release_repeats(frozen.place.through_sequence);
        self.done = self.taken;
        self.stats.published += 1;
        self.stats.rows_written += attempt.rows;
        self.stats.bytes_written += named.map_or(0, |named| named.bytes);
        self.stats.rows_under_way = 0;
        self.stats.through_sequence = frozen.place.through_sequence;
        self.failure = None;
    }

    /// Gives the attempt up; what is frozen stays so, for the next one.
    fn give_up<I: Io>(&mut self, failure: &Failure, ground: &mut Ground<'_, I>) -> Advanced {
        let attempt = self.attempt.as_mut().expect("an attempt is under way");
        let (mut files, mut under_way) = (vec![attempt.file], 0);
        match &attempt.stage {
            Stage::Sections { writer, .. }
            | Stage::Settle { writer, .. }
            | Stage::State { writer, .. } => {
                under_way = writer.under_way();
                files = vec![attempt.file, writer.file()];
                files.dedup();
                if !writer.has_begun() {
                    files.pop();
                }
            }
            Stage::Populate { .. }
            | Stage::Calibrate { .. }
            | Stage::Manifest { .. }
            | Stage::GiveUp { .. } => {}
        }
        attempt.stage = Stage::GiveUp { files, under_way };
        attempt.new = None;
        match failure {
            Failure::Dropped => self.failure = Some(failure.to_string()),
            _ => self.note_failure(failure, ground),
        }
        self.stats.failed += 1;
        self.finish_give_up(ground);
        Advanced::Waits
    }

    /// Everybody who waits is to be told, and nothing is tried again for a while.
    fn note_failure<I: Io>(&mut self, failure: &Failure, ground: &Ground<'_, I>) {
        self.failure = Some(failure.to_string());
        self.failed_ns = Some(ground.log.io().monotonic_ns());
        self.given_up = Some(self.asked);
    }

    /// Removes the files of an attempt that was given up, once nothing is under way to them.
    fn finish_give_up<I: Io>(&mut self, ground: &mut Ground<'_, I>) {
        let Some(Attempt { stage: Stage::GiveUp { files, under_way: 0 }, .. }) = &mut self.attempt
        else {
            return;
        };
        let files = std::mem::take(files);
        files.into_iter().for_each(|file| self.remove(file, ground));
        self.attempt = None;
        self.stats.rows_under_way = 0;
    }
}
