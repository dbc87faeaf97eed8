//! What a log stands on: the manifest, read before the log is.
//!
//! A shard that was never consolidated has a log from its beginning and nothing else. After a
//! consolidation the manifest says which files hold everything up to a place, and from there on the
//! log is needed. What is before that place is *covered*: it is not read, damage in it loses
//! nothing, and segments that are still there are leftovers. So are columns and state files that
//! the manifest does not name: a consolidation was cut short, or its last step, which removes the
//! files before. A writable start removes both.
//!
//! | a manifest verifies | its files are there | other such files | the log has segment 1 | done |
//! |---|---|---|---|---|
//! | yes | yes | – | – | begin behind its place |
//! | yes | no | – | – | **refuse**, name the file |
//! | no | – | no | – | begin at the beginning; the walk knows what is missing |
//! | no | – | yes | yes | begin at the beginning: the log has all that the files could |
//! | no | – | yes | no | **refuse**: without a manifest nobody can put them together |

use std::collections::BTreeMap;

use super::LogIdentity;
use super::recovery::RecoveryError;
use super::verdict::{Footing, Grounds};
use crate::format::{FileId, LogPlace, Manifest, SlotState, Slots};
use crate::io::{Io, SlotFile};

/// See the top of the file.
#[derive(Debug, Clone)]
pub struct Basis {
    /// What the manifest's file is worth.
    pub manifest: SlotState<Manifest>,
    /// The slot that has the newest manifest, if only one has it: nobody knows whether it is
    /// flushed.
    pub(super) only_slot: Option<usize>,
    /// Columns and state files that are in nobody's way and of no use.
    pub unnamed: Vec<FileId>,
}

impl Basis {
    /// Reads the manifest and looks whether its files are there; changes nothing.
    pub fn read<I: Io>(io: &mut I, identity: &LogIdentity) -> Result<Self, RecoveryError> {
        let LogIdentity { store_id, shard, .. } = identity;
        let bytes = io.slots(SlotFile::Manifest)?;
        let slots = Slots::<Manifest>::read(bytes.as_deref(), store_id, *shard);
        let files: BTreeMap<FileId, u64> = io.files()?.into_iter().collect();
        let manifest = slots.state.newest();
        let mut named = manifest.iter().flat_map(Manifest::files);
        let absent = named.find(|(file, bytes)| files.get(file) != Some(bytes));
        let grounds = Grounds {
            has_manifest: manifest.is_some(),
            is_complete: absent.is_none(),
            has_files: !files.is_empty(),
            has_first_segment: io.segments()?.first().is_some_and(|(segment, _)| *segment == 1),
        };
        match grounds.footing() {
            Footing::Manifest | Footing::Beginning => {}
            Footing::RefuseFile => {
                let (file, expected) = absent.expect("the table says so");
                let problem = match files.get(&file) {
                    Some(got) => format!("has {got} bytes, the manifest says {expected}"),
                    None => "is missing".into(),
                };
                return Err(RecoveryError::File { file, problem });
            }
            Footing::RefuseManifest => {
                let is_missing = matches!(slots.state, SlotState::Missing);
                return Err(RecoveryError::Manifest { is_missing, files: files.len() });
            }
        }
        let is_named = |file: &FileId| {
            let mut named = manifest.iter().flat_map(Manifest::files);
            named.any(|(own, _)| own == *file)
        };
        let newest = manifest.as_ref().map(|manifest| manifest.number);
        let has_newest = slots.numbers.map(|number| newest.is_some() && number == newest);
        let only_slot = match has_newest {
            [true, true] | [false, false] => None,
            [is_first, _] => Some(usize::from(!is_first)),
        };
        let unnamed = files.into_keys().filter(|file| !is_named(file)).collect();
        Ok(Self { manifest: slots.state, only_slot, unnamed })
    }

    /// From where on the log is needed.
    pub fn place(&self) -> LogPlace {
        self.manifest.newest().map_or(LogPlace::BEGINNING, |manifest| manifest.place)
    }
}
