//! One try to publish what is frozen: its stages, from the first row to the manifest, and giving it
//! up.

use std::io;
use std::sync::Arc;

use super::building::{Building, Built};
use super::calibrating::calibrate;
use super::files::FileWriter;
use super::pace::Progress;
use super::saving::Saving;
use super::{Advanced, Consolidator, Ground};
use crate::arena::Mapped;
use crate::episode::SpaceNumber;
use crate::format::columns::{ColumnKind, ColumnsDirectory, ColumnsError, ColumnsPlace};
use crate::format::{FileId, Manifest, NamedColumns, NamedState, SectionCalibration};
use crate::index::calibration::Calibrator;
use crate::io::{FileEvent, Io, PIECE_BYTES};
use crate::shard::Notice;
use crate::space::{Damaged, Moved, Section, Space};

/// One try to publish what is frozen.
#[derive(Debug)]
pub(super) struct Attempt {
    /// The files that the new one takes the place of.
    pub(super) merged: Vec<u64>,
    pub(super) file: FileId,
    pub(super) stage: Stage,
    /// Where the rows of each space went.
    pub(super) moved: Vec<(SpaceNumber, Moved)>,
    /// The new file, if there was anything to write.
    pub(super) new: Option<New>,
    pub(super) rows: u64,
    pub(super) progress: Progress,
}

/// A columns file that nobody else knows yet.
#[derive(Debug)]
pub(super) struct New {
    pub(super) named: NamedColumns,
    pub(super) mapped: Arc<Mapped>,
    pub(super) sections: Vec<Section>,
}

#[derive(Debug)]
pub(super) enum Stage {
    Sections {
        writer: Box<FileWriter>,
        building: Box<Building>,
    },
    Settle {
        writer: Box<FileWriter>,
        place: ColumnsPlace,
    },
    Populate {
        mapped: Arc<Mapped>,
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
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Sections { .. } => "sections",
            Self::Settle { .. } | Self::Populate { .. } => "settle",
            Self::Calibrate { .. } => "calibrate",
            Self::State { .. } => "state",
            Self::Manifest { .. } => "manifest",
            Self::GiveUp { .. } => "give_up",
        }
    }

    pub(super) fn bytes_written(&self) -> u64 {
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
pub(super) enum Failure {
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
    #[error("no columns file can be written beside damaged ones: {0}")]
    TooDamaged(String),
}

impl Consolidator {
    pub(super) fn work<I: Io>(&mut self, ground: &mut Ground<'_, I>) -> Result<Advanced, Failure> {
        let attempt = self.attempt.as_mut().expect("an attempt is under way");
        match &mut attempt.stage {
            Stage::Sections { writer, building } => {
                if !writer.has_room() {
                    return Ok(writer.pump(ground.log.io_mut(), false)?);
                }
                let place = match building.step(ground, writer)? {
                    Built::Some => {
                        writer.pump(ground.log.io_mut(), false)?;
                        return Ok(Advanced::Worked);
                    }
                    Built::Waits => return Ok(Advanced::Waits),
                    Built::All(place) => place,
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
                self.regions.extend(writer.take_regions());
                let mapped = Arc::new(mapped);
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
                let (place, mapped) = (*place, Arc::clone(mapped));
                self.open_new(place, mapped, ground)?;
                Ok(Advanced::Worked)
            }
            Stage::Calibrate { nth, calibrator } => {
                let New { sections, .. } = attempt.new.as_mut().expect("what is measured is new");
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
                self.regions.extend(writer.take_regions());
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
        mapped: Arc<Mapped>,
        ground: &Ground<'_, I>,
    ) -> Result<(), Failure> {
        let attempt = self.attempt.as_mut().expect("an attempt is under way");
        let whose = (*ground.log.store_id(), ground.log.shard(), attempt.file.number);
        let directory = ColumnsDirectory::decode(&mapped, &place, whose)?;
        let named = NamedColumns {
            number: attempt.file.number,
            bytes: mapped.len() as u64,
            directory_offset: place.directory_offset,
            directory_bytes: place.directory_bytes,
            directory_crc: place.directory_crc,
        };
        let frozen = self.frozen.as_ref().expect("what is written is frozen");
        let mut sections = Vec::new();
        for entry in directory.sections {
            let mut section = Section::open(mapped.clone(), entry)?;
            let mut spaces = frozen.spaces.iter();
            if let Some((_, settings)) = spaces.find(|(number, _)| *number == section.space()) {
                section.open_index(settings.metric);
            }
            sections.push(section);
        }
        attempt.new = Some(New { named, mapped, sections });
        attempt.stage = Stage::Calibrate { nth: 0, calibrator: None };
        Ok(())
    }

    fn begin_state<I: Io>(&mut self, ground: &mut Ground<'_, I>) {
        let file = FileId::state(self.take_number());
        let frozen = self.frozen.as_ref().expect("what is saved is frozen");
        let attempt = self.attempt.as_mut().expect("an attempt is under way");
        let kept = self.files.iter().filter(|live| !attempt.merged.contains(&live.named.number));
        let measured = attempt.new.iter().flat_map(|New { named, sections, .. }| {
            let indexed = sections.iter().filter(|section| section.index().is_some());
            indexed.map(|section| SectionCalibration {
                file: named.number,
                space: section.space(),
                calibration: section.calibration().clone(),
            })
        });
        let saving = Saving::new(file.number, frozen, kept, measured.collect(), ground);
        let writer = Box::new(FileWriter::new(file, std::mem::take(&mut self.regions)));
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
            columns: kept.chain(attempt.new.as_ref().map(|new| new.named)).collect(),
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

    /// Gives the attempt up; what is frozen stays so, for the next one.
    pub(super) fn give_up<I: Io>(
        &mut self,
        failure: &Failure,
        ground: &mut Ground<'_, I>,
    ) -> Advanced {
        self.note_culprit(failure, ground);
        let attempt = self.attempt.as_mut().expect("an attempt is under way");
        let (mut files, mut under_way) = (vec![attempt.file], 0);
        let given_up = Stage::GiveUp { files: Vec::new(), under_way: 0 };
        let stage = std::mem::replace(&mut attempt.stage, given_up);
        let (writer, building, mapped) = match stage {
            Stage::Sections { writer, building } => (Some(writer), Some(building), None),
            Stage::Settle { writer, .. } | Stage::State { writer, .. } => {
                (Some(writer), None, None)
            }
            Stage::Populate { mapped, .. } => (None, None, Some(mapped)),
            Stage::Calibrate { .. } | Stage::Manifest { .. } | Stage::GiveUp { .. } => {
                (None, None, None)
            }
        };
        if let Some(mut writer) = writer {
            under_way = writer.under_way();
            files = vec![attempt.file, writer.file()];
            files.dedup();
            if !writer.has_begun() {
                files.pop();
            }
            self.regions.extend(writer.take_regions());
        }
        self.leftovers.indexes.extend(building.and_then(|building| building.into_index()));
        self.leftovers.files.extend(attempt.new.take().map(|new| new.mapped).or(mapped));
        attempt.stage = Stage::GiveUp { files, under_way };
        match failure {
            Failure::Dropped => self.failure = Some(failure.to_string()),
            _ => self.note_failure(failure, ground),
        }
        self.stats.failed += 1;
        self.finish_give_up(ground);
        Advanced::Waits
    }

    /// Everybody who waits is to be told, and nothing is tried again for a while.
    pub(super) fn note_failure<I: Io>(&mut self, failure: &Failure, ground: &Ground<'_, I>) {
        let failure = failure.to_string();
        if self.failure.as_ref() != Some(&failure) {
            self.notices.push(Notice::GivenUp(failure.clone()));
        }
        self.failure = Some(failure);
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
        ground.memory.tails_bytes_max = None;
        self.stats.rows_under_way = 0;
    }
}
