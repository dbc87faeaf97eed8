//! What a manifest names becomes the memory that a log goes on from.

use std::io;
use std::sync::Arc;

use thiserror::Error;

use super::LiveFile;
use crate::arena::Mapped;
use crate::episode::SpaceNumber;
use crate::format::columns::{ColumnsDirectory, ColumnsError, ColumnsPlace};
use crate::format::{
    FileId, Manifest, NamedColumns, NamedState, RowLinks, RowSuperseded, SectionCalibration,
    SpaceStrengths, StateError, StateReader, StateRecord, StoreId, Tombstones,
};
use crate::io::Io;
use crate::memory::Memory;
use crate::space::{PartNumber, Section};

/// Why the files that a manifest names cannot be used.
#[derive(Debug, Error)]
pub enum RestoreError {
    #[error("{file} cannot be read ({error}); restore it from a snapshot")]
    Io { file: String, error: io::Error },
    #[error("{file} is damaged: {error}; restore it from a snapshot")]
    State { file: String, error: StateError },
    #[error("{file} is damaged: {error}; restore it from a snapshot")]
    Columns { file: String, error: ColumnsError },
    #[error("{file} does not fit the manifest: {what}; restore the shard's folder from a snapshot")]
    Mismatch { file: String, what: &'static str },
}

/// What a consolidator goes on from.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    pub(crate) files: Vec<LiveFile>,
    pub(crate) state: Option<NamedState>,
    pub(crate) manifest_number: u64,
    pub(crate) next_file: u64,
    pub(crate) through_sequence: u64,
}

/// What a state file says about the sections of columns files.
#[derive(Debug, Default)]
struct AboutSections {
    tombstones: Vec<Tombstones>,
    calibrations: Vec<SectionCalibration>,
    links: Vec<RowLinks>,
    superseded: Vec<RowSuperseded>,
}

impl AboutSections {
    fn apply(&self, file: u64, section: &mut Section) {
        let space = section.space();
        let own = self.tombstones.iter().filter(|said| (said.file, said.space) == (file, space));
        own.flat_map(|said| &said.rows).for_each(|row| section.bury(*row, 0));
        let mut measured = self.calibrations.iter();
        if let Some(own) = measured.find(|said| (said.file, said.space) == (file, space)) {
            section.set_calibration(own.calibration.clone());
        }
    }
}

/// Maps the files of a manifest and puts into an empty memory what they say; also the frames whose
/// erasure was under way.
pub(crate) fn restore<I: Io>(
    io: &mut I,
    manifest: Option<&Manifest>,
    memory: &mut Memory,
) -> Result<(Restored, Vec<u64>), RestoreError> {
    let Some(manifest) = manifest else {
        return Ok((Restored { next_file: 1, ..Restored::default() }, Vec::new()));
    };
    let whose = (manifest.store_id, manifest.shard);
    let (said, erasures) = restore_state(io, manifest, memory)?;
    let mut files = Vec::new();
    for named in &manifest.columns {
        files.push(restore_columns(io, named, whose, &said, memory)?);
    }
    for links in said.links {
        restore_links(links, &files, manifest.place.through_sequence, memory);
    }
    for RowSuperseded { file, space, row, superseded } in said.superseded {
        if let Some(part) = part_of(file, space, &files) {
            memory.with_changes(space, |own, _| own.restore_superseded(part, row, superseded));
        }
    }
    memory.applied = manifest.place.through_sequence;
    let restored = Restored {
        files,
        state: Some(manifest.state),
        manifest_number: manifest.number,
        next_file: manifest.next_file,
        through_sequence: manifest.place.through_sequence,
    };
    Ok((restored, erasures))
}

fn map<I: Io>(io: &mut I, file: FileId) -> Result<Mapped, RestoreError> {
    io.map_file(file).map_err(|error| RestoreError::Io { file: file.to_string(), error })
}

fn restore_state<I: Io>(
    io: &mut I,
    manifest: &Manifest,
    memory: &mut Memory,
) -> Result<(AboutSections, Vec<u64>), RestoreError> {
    let id = FileId::state(manifest.state.number);
    let mapped = map(io, id)?;
    let failed = |error| RestoreError::State { file: id.to_string(), error };
    let reader = StateReader::new(&mapped, &manifest.state, &manifest.store_id, manifest.shard)
        .map_err(failed)?;
    if reader.header().place != manifest.place {
        let what = "it is of another place of the log";
        return Err(RestoreError::Mismatch { file: id.to_string(), what });
    }
    memory.last_space = reader.header().last_space;
    let (mut said, mut erasures) = (AboutSections::default(), Vec::new());
    for record in reader {
        match record.map_err(failed)? {
            StateRecord::Space { space, settings } => memory.insert_space(space, settings),
            StateRecord::Keys(keys) => memory.keys.extend(keys),
            StateRecord::Tombstones(rows) => said.tombstones.push(rows),
            StateRecord::Erasures(sequences) => erasures.extend(sequences),
            StateRecord::Calibration(measured) => said.calibrations.push(measured),
            StateRecord::Links(links) => said.links.push(links),
            StateRecord::Superseded(row) => said.superseded.push(row),
            StateRecord::Strengths(SpaceStrengths { space, kept }) => {
                let through = manifest.place.through_sequence;
                for kept in kept {
                    memory.restore_strength(space, kept, through);
                }
            }
        }
    }
    Ok((said, erasures))
}

/// What a state file says of a section that is not there is of a space that was dropped.
fn restore_links(said: RowLinks, files: &[LiveFile], through: u64, memory: &mut Memory) {
    let RowLinks { file, space, row, links } = said;
    if let Some(part) = part_of(file, space, files) {
        memory.restore_links(space, (part, row), links, through);
    }
}

/// The section of a file that is of a space.
fn part_of(file: u64, space: SpaceNumber, files: &[LiveFile]) -> Option<PartNumber> {
    let live = files.iter().find(|live| live.named.number == file)?;
    live.parts.iter().find(|(number, _)| *number == space).map(|(_, part)| *part)
}

fn restore_columns<I: Io>(
    io: &mut I,
    named: &NamedColumns,
    (store_id, shard): (StoreId, u32),
    said: &AboutSections,
    memory: &mut Memory,
) -> Result<LiveFile, RestoreError> {
    let id = FileId::columns(named.number);
    let mapped = map(io, id)?;
    let failed = |error| RestoreError::Columns { file: id.to_string(), error };
    let place = ColumnsPlace {
        directory_offset: named.directory_offset,
        directory_bytes: named.directory_bytes,
        directory_crc: named.directory_crc,
    };
    let whose = (store_id, shard, named.number);
    let directory = ColumnsDirectory::decode(&mapped, &place, whose).map_err(failed)?;
    let mapped = Arc::new(mapped);
    let (mut rows, mut parts) = (0, Vec::new());
    for entry in directory.sections {
        rows += u64::from(entry.rows);
        let mut section = Section::open(mapped.clone(), entry).map_err(failed)?;
        // Sections of spaces that were dropped stay in the file until it is merged.
        let Some(space) = memory.spaces.get_mut(&section.space()) else { continue };
        if section.dimensions() != space.settings.dimensions {
            let what = "a section has not the dimensions of its memory space";
            return Err(RestoreError::Mismatch { file: id.to_string(), what });
        }
        said.apply(named.number, &mut section);
        parts.push((space.number, space.adopt(section)));
    }
    Ok(LiveFile { named: *named, mapped, rows, parts })
}
