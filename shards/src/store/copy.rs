//! A folder that becomes a copy of a store: a snapshot, or a data directory made of one.
//!
//! It is no store before it is complete, because `engram.store` is written last. A copy that was
//! cut short is recognised by that and by nothing else; whoever wants to try again removes it or
//! names another folder.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::{Context, LOCK_FILE, StoreError};
use crate::format::{StoreHeader, shard_folder_name};

/// Why a copy cannot be made there.
#[derive(Debug, Error)]
pub enum CopyError {
    #[error(
        "{0} is no absolute path: name the folder from / on, the daemon has a place of its own"
    )]
    Relative(PathBuf),
    #[error("{path} has no folder to be in ({error}); make that first")]
    Parent { path: PathBuf, error: io::Error },
    #[error("{path} is inside the data directory {data}; name a folder elsewhere")]
    Inside { path: PathBuf, data: PathBuf },
    #[error("{path} has {entry} in it; name a folder that is empty or not there yet")]
    NotEmpty { path: PathBuf, entry: String },
    #[error("{0} is there and no folder; name one that is empty or not there yet")]
    NoFolder(PathBuf),
    #[error("{path} cannot be {verb} ({error}); user {uid} has to be allowed to write there")]
    Io { path: PathBuf, verb: &'static str, error: io::Error, uid: u32 },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// See the top of the file. Nobody else uses the folder as long as this lives.
#[derive(Debug)]
pub struct StoreCopy {
    path: PathBuf,
    _lock: File,
}

impl StoreCopy {
    /// Makes the folder, or takes an empty one. `data` is the store that is copied.
    pub fn begin(path: &Path, data: &Path) -> Result<Self, CopyError> {
        let path = resolve(path)?;
        let data = fs::canonicalize(data)
            .map_err(|error| CopyError::Parent { path: data.into(), error })?;
        if path.starts_with(&data) {
            return Err(CopyError::Inside { path, data });
        }
        let uid = rustix::process::geteuid().as_raw();
        let failed =
            |path: &Path, verb, error| CopyError::Io { path: path.into(), verb, error, uid };
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => check_empty(&path)?,
            Err(error) => return Err(failed(&path, "made", error)),
        }
        let lock = match (Context { path: &path }).lock() {
            Err(StoreError::Io { error, .. }) => return Err(failed(&path, "written to", error)),
            other => other?,
        };
        Ok(Self { path, _lock: lock })
    }

    /// Where it is, without links in the way.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the copy of a shard's folder goes; it is not there yet.
    pub fn shard_folder(&self, shard: u32) -> PathBuf {
        self.path.join(shard_folder_name(shard))
    }

    /// Makes a store of it: every shard's folder is complete and flushed. From here on it survives
    /// a power loss.
    pub fn finish(self, header: &StoreHeader) -> Result<(), CopyError> {
        let context = Context { path: &self.path };
        context.write(header).map_err(|error| context.io("written", error))?;
        let parent = self.path.parent().expect("a folder was made in it");
        let flushed = File::open(parent).and_then(|parent| parent.sync_all());
        flushed.map_err(|error| context.io("flushed", error))?;
        // A lock that nobody holds is in nobody's way.
        let _ = fs::remove_file(self.path.join(LOCK_FILE));
        Ok(())
    }
}

/// The path with everything in front of its last part as it really is.
fn resolve(path: &Path) -> Result<PathBuf, CopyError> {
    if !path.is_absolute() {
        return Err(CopyError::Relative(path.into()));
    }
    let missing = |error| CopyError::Parent { path: path.into(), error };
    let no_name = || missing(io::Error::other("it does not end with a name"));
    let (parent, name) = path.parent().zip(path.file_name()).ok_or_else(no_name)?;
    Ok(fs::canonicalize(parent).map_err(missing)?.join(name))
}

fn check_empty(path: &Path) -> Result<(), CopyError> {
    let uid = rustix::process::geteuid().as_raw();
    let failed = |error| CopyError::Io { path: path.into(), verb: "read", error, uid };
    if !fs::symlink_metadata(path).map_err(failed)?.is_dir() {
        return Err(CopyError::NoFolder(path.into()));
    }
    match fs::read_dir(path).map_err(failed)?.next() {
        None => Ok(()),
        Some(entry) => {
            let entry = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
            Err(CopyError::NotEmpty { path: path.into(), entry })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{NewStore, Store};

    const NEW: NewStore =
        NewStore { store_id: [4; 16], shards: 2, created_at_us: 7, segment_bytes: 4 << 20 };

    #[test]
    fn a_copy_is_a_store_when_it_is_finished_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let store = Store::open_or_make(&data, None, &NEW).unwrap();
        for name in ["new", "empty"] {
            let path = folder.path().join(name);
            if name == "empty" {
                fs::create_dir(&path).unwrap();
            }
            let copy = StoreCopy::begin(&path, &data).unwrap();
            assert!(matches!(Store::inspect(&path), Err(StoreError::NotAStore { .. })));
            let taken = StoreCopy::begin(&path, &data).unwrap_err().to_string();
            assert!(taken.contains("has engram.lock in it"), "{taken}");
            (0..2).for_each(|shard| fs::create_dir(copy.shard_folder(shard)).unwrap());
            copy.finish(&store.header).unwrap();
            assert_eq!(Store::inspect(&path).unwrap(), store.header);
            assert_eq!(fs::read_dir(&path).unwrap().count(), 3);
        }
    }

    #[test]
    fn a_place_that_will_not_do_is_named_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        drop(Store::open_or_make(&data, None, &NEW).unwrap());
        let (full, link) = (folder.path().join("full"), folder.path().join("link"));
        fs::create_dir(&full).unwrap();
        fs::write(full.join("file"), b"x").unwrap();
        std::os::unix::fs::symlink(&data, &link).unwrap();
        let cases = [
            (PathBuf::from("relative/path"), "no absolute path"),
            (PathBuf::from("/"), "does not end with a name"),
            (folder.path().join("missing/new"), "make that first"),
            (folder.path().join("full/.."), "does not end with a name"),
            (data.join("new"), "inside the data directory"),
            (link.join("new"), "inside the data directory"),
            (data.clone(), "inside the data directory"),
            (link, "no folder"),
            (full.join("file"), "no folder"),
            (full, "has file in it"),
        ];
        for (path, expected) in cases {
            let error = StoreCopy::begin(&path, &data).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} should contain {expected}");
        }
        if !rustix::process::geteuid().is_root() {
            let error = StoreCopy::begin(Path::new("/proc/new"), &data).unwrap_err().to_string();
            assert!(error.contains("allowed to write there"), "{error}");
        }
    }
}
