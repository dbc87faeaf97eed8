//! What the manifest of a shard covers, and where reading its log begins.
//!
//! The log of a shard that was consolidated begins behind a place that the manifest names: what was
//! before is in columns files, and the memory spaces that there were are in a state file. Both are
//! looked for and the state file is read; the columns are not looked into here.

use engram_shards::episode::{SpaceNumber, SpaceSettings};
use engram_shards::format::{
    FileId, LogPlace, Manifest, SEGMENT_HEADER_BYTES, StateReader, StateRecord,
};
use engram_shards::io::Io as _;
use engram_shards::log::{Basis, LogIdentity, RecoveryError, Walk};
use serde::Serialize;

use super::read_only::ReadOnlyIo;

/// See the top of the file.
#[derive(Debug)]
pub(super) struct Covered {
    /// Where the log is needed from; the beginning of what is there when nobody knows.
    pub(super) place: LogPlace,
    /// Nothing when the shard was never consolidated.
    pub(super) files: Option<CoveredFiles>,
    /// At that place, as far as the state file could be read.
    pub(super) spaces: Vec<(SpaceNumber, SpaceSettings)>,
    pub(super) problem: Option<String>,
}

/// What a manifest says, for people and reports.
#[derive(Debug, Clone, Serialize)]
pub(super) struct CoveredFiles {
    pub(super) manifest: u64,
    pub(super) through_sequence: u64,
    /// Where in the log that is.
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) state_file: String,
    pub(super) columns_files: Vec<String>,
    pub(super) file_bytes: u64,
}

impl Covered {
    pub(super) fn read(io: &mut ReadOnlyIo, identity: &LogIdentity) -> Self {
        let (files, spaces) = (None, Vec::new());
        match Basis::read(io, identity) {
            Ok(basis) => match basis.manifest.newest() {
                None => Self { place: basis.place(), files, spaces, problem: None },
                Some(manifest) => Self::of(&manifest, io, identity),
            },
            Err(error) => {
                let place = first_place(io, identity).unwrap_or(LogPlace::BEGINNING);
                Self { place, files, spaces, problem: Some(error.to_string()) }
            }
        }
    }

    fn of(manifest: &Manifest, io: &mut ReadOnlyIo, identity: &LogIdentity) -> Self {
        let LogPlace { through_sequence, segment, offset, .. } = manifest.place;
        let files = CoveredFiles {
            manifest: manifest.number,
            through_sequence,
            segment,
            offset,
            state_file: FileId::state(manifest.state.number).to_string(),
            columns_files: manifest
                .columns
                .iter()
                .map(|file| FileId::columns(file.number).to_string())
                .collect(),
            file_bytes: manifest.files().map(|(_, bytes)| bytes).sum(),
        };
        let (spaces, problem) = match spaces(manifest, io, identity) {
            Ok(spaces) => (spaces, None),
            Err(problem) => (Vec::new(), Some(format!("{}: {problem}", files.state_file))),
        };
        Self { place: manifest.place, files: Some(files), spaces, problem }
    }

    /// The last sequence that is in files; 0 without any.
    pub(super) fn through_sequence(&self) -> u64 {
        self.files.as_ref().map_or(0, |files| files.through_sequence)
    }
}

/// The memory spaces that a state file has; nothing of one that does not verify.
fn spaces(
    manifest: &Manifest,
    io: &mut ReadOnlyIo,
    identity: &LogIdentity,
) -> Result<Vec<(SpaceNumber, SpaceSettings)>, String> {
    let file = FileId::state(manifest.state.number);
    let mapped = io.map_file(file).map_err(|error| error.to_string())?;
    mapped.populate(0..mapped.len()).map_err(|error| error.to_string())?;
    let reader = StateReader::new(&mapped, &manifest.state, &identity.store_id, identity.shard);
    let mut spaces = Vec::new();
    for record in reader.map_err(|error| error.to_string())? {
        if let StateRecord::Space { space, settings } = record.map_err(|error| error.to_string())? {
            spaces.push((space, settings));
        }
    }
    Ok(spaces)
}

/// The beginning of the first segment that is there, if its header says where that is. More of a
/// log than is needed may be there, or less.
pub(super) fn first_place(io: &mut ReadOnlyIo, identity: &LogIdentity) -> Option<LogPlace> {
    let (segment, _) = *io.segments().ok()?.first()?;
    // Listed from there on, as if it were the place.
    let (through_sequence, offset) = (1, SEGMENT_HEADER_BYTES as u64);
    let there = LogPlace { through_sequence, chain: 0, segment, offset };
    let header = Walk::new(io, *identity, &there).ok()?.header(segment).ok()??;
    let through_sequence = header.first_sequence - 1;
    Some(LogPlace { through_sequence, chain: header.chain, segment, offset })
}

/// Begins to walk at a place, to see as much of the log as there is.
pub(super) fn walk_all<'a>(
    io: &'a mut ReadOnlyIo,
    identity: LogIdentity,
    otherwise: &LogPlace,
) -> Result<Walk<'a, ReadOnlyIo>, RecoveryError> {
    let place = first_place(io, &identity).unwrap_or(*otherwise);
    Walk::new(io, identity, &place)
}
