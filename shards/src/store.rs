//! The data directory: what makes a folder a store, and who may use it.
//!
//! ```text
//! DIR/engram.store               what the store was made with (format::StoreHeader)
//! DIR/engram.lock                held by the process that uses it
//! DIR/shard-000/log-…1.seg       the log of shard 0, segment by segment
//! ```
//!
//! `engram.store` is written last, under another name first, so a folder either is a store or is
//! not. It is written once more when every shard has begun its log; from then on a folder without
//! segments is a log that was lost, not a new one.

mod copy;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

use crate::format::{HeaderError, STORE_HEADER_BYTES, StoreHeader, StoreId, shard_folder_name};

pub use copy::{CopyError, StoreCopy};

const HEADER_FILE: &str = "engram.store";
const LOCK_FILE: &str = "engram.lock";

/// Why a data directory cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    #[error("the data directory {path} cannot be {verb}: {error}")]
    Io { path: PathBuf, verb: &'static str, error: io::Error },
    #[error(
        "the data directory {path} is in use by process {holder}; stop that one first or choose \
         another directory"
    )]
    InUse { path: PathBuf, holder: String },
    #[error("{path} cannot be read as a store: {error}")]
    Header { path: PathBuf, error: HeaderError },
    #[error("{path} has {got} bytes, a store header has {STORE_HEADER_BYTES}; it is damaged")]
    HeaderSize { path: PathBuf, got: u64 },
    #[error(
        "the data directory {path} has shard folders but no engram.store; restore that file from a \
         copy, an empty directory would be made into a new store. A snapshot that was cut short \
         looks like this too: use another one"
    )]
    HeaderMissing { path: PathBuf },
    #[error("{path} has no engram.store: it is not a data directory of Engram, name another one")]
    NotAStore { path: PathBuf },
    #[error(
        "the store in {path} was made with {stored} shards and {asked} were asked for; a store \
         keeps its number, leave --shards out"
    )]
    Shards { path: PathBuf, stored: u32, asked: u32 },
}

/// How a store is made when there is none.
#[derive(Debug, Clone, Copy)]
pub struct NewStore {
    pub store_id: StoreId,
    pub shards: u32,
    pub created_at_us: i64,
    pub segment_bytes: u64,
}

/// A data directory, locked for this process as long as this lives.
#[derive(Debug)]
pub struct Store {
    pub header: StoreHeader,
    pub path: PathBuf,
    /// Whether it was made just now.
    pub is_new: bool,
    _lock: File,
}

impl Store {
    /// Opens the store in `path`, or makes it there. `shards_asked` is what the operator insists
    /// on.
    pub fn open_or_make(
        path: &Path,
        shards_asked: Option<u32>,
        new: &NewStore,
    ) -> Result<Self, StoreError> {
        let context = Context { path };
        fs::create_dir_all(path).map_err(|error| context.io("made", error))?;
        let lock = context.lock()?;
        let (header, is_new) = match context.read_header()? {
            Some(header) => (header, false),
            None => (context.make(new)?, true),
        };
        if let Some(asked) = shards_asked.filter(|&asked| asked != header.shards) {
            let stored = header.shards;
            return Err(StoreError::Shards { path: path.into(), stored, asked });
        }
        Ok(Self { header, path: path.into(), is_new, _lock: lock })
    }

    /// Notes that every shard's log has been begun, unless it is noted already.
    pub fn note_logs(&mut self) -> Result<(), StoreError> {
        if self.header.has_logs {
            return Ok(());
        }
        let header = StoreHeader { has_logs: true, ..self.header };
        let context = Context { path: &self.path };
        context.write(&header).map_err(|error| context.io("written", error))?;
        self.header = header;
        Ok(())
    }

    /// Reads what a store was made with, without locking it.
    pub fn inspect(path: &Path) -> Result<StoreHeader, StoreError> {
        let missing = || StoreError::NotAStore { path: path.into() };
        Context { path }.read_header()?.ok_or_else(missing)
    }

    /// The process that uses the store in `path`, if one does. To find out, a free lock is shared
    /// for an instant.
    pub fn holder(path: &Path) -> Result<Option<String>, StoreError> {
        let context = Context { path };
        let mut file = match File::open(path.join(LOCK_FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(context.io("read", error)),
        };
        let is_free = flock(&file, FlockOperation::NonBlockingLockShared).is_ok();
        Ok((!is_free).then(|| label(&mut file)))
    }

    pub fn shard_folder(&self, shard: u32) -> PathBuf {
        self.path.join(shard_folder_name(shard))
    }
}

struct Context<'a> {
    path: &'a Path,
}

impl Context<'_> {
    fn io(&self, verb: &'static str, error: io::Error) -> StoreError {
        StoreError::Io { path: self.path.into(), verb, error }
    }

    fn lock(&self) -> Result<File, StoreError> {
        let open = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.path.join(LOCK_FILE));
        let mut file = open.map_err(|error| self.io("written", error))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let path = self.path.into();
            return Err(StoreError::InUse { path, holder: label(&mut file) });
        }
        let written = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
        // On a full disk the lock still holds; only its label is missing.
        if let Err(error) = written
            && error.kind() != io::ErrorKind::StorageFull
        {
            return Err(self.io("written", error));
        }
        Ok(file)
    }

    fn read_header(&self) -> Result<Option<StoreHeader>, StoreError> {
        let path = self.path.join(HEADER_FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // A store that is being made has folders with nothing in them.
                let first = fs::read_dir(self.path.join(shard_folder_name(0)));
                return match first.is_ok_and(|mut entries| entries.next().is_some()) {
                    true => Err(StoreError::HeaderMissing { path: self.path.into() }),
                    false => Ok(None),
                };
            }
            Err(error) => return Err(self.io("read", error)),
        };
        let Some(block) = bytes.first_chunk().filter(|_| bytes.len() == STORE_HEADER_BYTES) else {
            return Err(StoreError::HeaderSize { path, got: bytes.len() as u64 });
        };
        StoreHeader::decode(block).map(Some).map_err(|error| StoreError::Header { path, error })
    }

    fn make(&self, new: &NewStore) -> Result<StoreHeader, StoreError> {
        let header = StoreHeader {
            store_id: new.store_id,
            shards: new.shards,
            created_at_us: new.created_at_us,
            segment_bytes: new.segment_bytes,
            has_logs: false,
        };
        self.write(&header).map_err(|error| self.io("written", error))?;
        Ok(header)
    }

    fn write(&self, header: &StoreHeader) -> io::Result<()> {
        for shard in 0..header.shards {
            fs::create_dir_all(self.path.join(shard_folder_name(shard)))?;
        }
        let (draft, name) = (self.path.join("engram.store.new"), self.path.join(HEADER_FILE));
        let mut file = File::create(&draft)?;
        file.write_all(&header.encode())?;
        file.sync_all()?;
        fs::rename(&draft, &name)?;
        File::open(self.path)?.sync_all()
    }
}

/// The number of the process that holds the lock, as far as it could write it down.
fn label(lock: &mut File) -> String {
    let mut holder = String::new();
    // Best effort: the number only helps the reader of the error.
    let _ = lock.read_to_string(&mut holder);
    holder.trim().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: NewStore =
        NewStore { store_id: [4; 16], shards: 2, created_at_us: 7, segment_bytes: 4 << 20 };

    fn open(path: &Path) -> Result<Store, StoreError> {
        Store::open_or_make(path, None, &NEW)
    }

    #[test]
    fn a_store_is_made_once_and_keeps_what_it_was_made_with() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let made = open(&path).unwrap();
        assert!(made.is_new && made.shard_folder(1).is_dir());
        drop(made);
        let other = NewStore { store_id: [5; 16], shards: 8, ..NEW };
        let mut again = Store::open_or_make(&path, Some(2), &other).unwrap();
        assert!(!again.is_new && !again.header.has_logs);
        again.note_logs().unwrap();
        drop(again);
        let again = open(&path).unwrap();
        assert!(again.header.has_logs);
        assert_eq!((again.header.store_id, again.header.shards), ([4; 16], 2));
    }

    #[test]
    fn a_store_in_use_names_its_user() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).unwrap();
        let error = open(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        let holder = Store::holder(folder.path()).unwrap();
        assert_eq!(holder, Some(std::process::id().to_string()));
        drop(store);
        assert_eq!(Store::holder(folder.path()).unwrap(), None);
    }

    #[test]
    fn another_number_of_shards_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        drop(open(folder.path()).unwrap());
        let error = Store::open_or_make(folder.path(), Some(3), &NEW).unwrap_err();
        assert!(matches!(error, StoreError::Shards { stored: 2, asked: 3, .. }), "{error}");
    }

    #[test]
    fn headers_that_are_damaged_missing_or_of_another_version_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        drop(open(folder.path()).unwrap());
        let header = folder.path().join(HEADER_FILE);
        let good = fs::read(&header).unwrap();
        fs::write(&header, &good[..100]).unwrap();
        assert!(matches!(open(folder.path()), Err(StoreError::HeaderSize { got: 100, .. })));
        let mut newer = good.clone();
        (newer[8], newer[100]) = (2, 1);
        fs::write(&header, &newer).unwrap();
        let error = open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("format version 2"), "{error}");
        fs::remove_file(&header).unwrap();
        fs::write(folder.path().join("shard-000/log-0000000001.seg"), b"x").unwrap();
        assert!(matches!(open(folder.path()), Err(StoreError::HeaderMissing { .. })));
    }
}
