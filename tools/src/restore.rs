//! `engram snapshot` and `engram restore`: a copy of the store, and a data directory made of one.
//!
//! A snapshot has the form of a data directory. Restoring makes another one of it rather than
//! starting a daemon on the snapshot itself, which would be none any more.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use engram_shards::format::{FileId, FileKind, shard_folder_name};
use engram_shards::store::{Store, StoreCopy};
use engramd::config::ByteCount;
use serde_json::json;

use crate::cli::Context;
use crate::error::{ToolError, plain};
use crate::inspect::{Directory, problems};
use crate::render;
use crate::reply;

/// Files of a shard's folder that are copied besides those with numbers.
const SLOT_FILES: [&str; 2] = ["anchor", "manifest"];

#[derive(Debug, Args)]
pub(crate) struct Snapshot {
    /// The folder to make, on the daemon's machine and by the daemon's user; on the file system of
    /// its data directory it takes hardly any room
    #[arg(value_name = "DIR")]
    path: PathBuf,
}

impl Snapshot {
    pub(crate) fn run(&self, context: &Context) -> Result<(), ToolError> {
        let path = absolute(&self.path)?;
        let reply =
            context.connect()?.call(redis::cmd("EG.SNAPSHOT").arg(path.as_os_str().as_bytes()))?;
        if context.json {
            return render::print_json(&reply::to_json(&reply));
        }
        render::print(&render::outline(reply))
    }
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The snapshot; it stays as it is
    #[arg(value_name = "SNAPSHOT")]
    snapshot: PathBuf,
    /// The data directory to make: not there yet, or empty
    #[arg(value_name = "DATADIR")]
    data: PathBuf,
    /// Copy every byte, where otherwise files that never change are shared with the snapshot
    #[arg(long)]
    copy: bool,
}

/// What a data directory was made of.
#[derive(Debug, Default)]
struct Made {
    files_linked: u64,
    bytes_linked: u64,
    files_copied: u64,
    bytes_copied: u64,
}

impl Restore {
    pub(crate) fn run(&self, context: &Context) -> Result<(), ToolError> {
        let began = Instant::now();
        let directory = Directory::open(&self.snapshot)?;
        if directory.is_in_use() {
            return Err(ToolError::usage(format!(
                "{} is in use by a daemon, so it is no snapshot; take one with engram snapshot DIR",
                self.snapshot.display()
            )));
        }
        let found = problems(&directory);
        if !found.is_empty() {
            return Err(ToolError::Verification(format!(
                "{} is not sound, nothing was restored; use another snapshot:\n{}",
                self.snapshot.display(),
                found.join("\n")
            )));
        }
        let header = Store::inspect(&self.snapshot).map_err(|e| ToolError::usage(e.to_string()))?;
        let fault = |error: engram_shards::store::CopyError| ToolError::usage(error.to_string());
        let copy = StoreCopy::begin(&absolute(&self.data)?, &self.snapshot).map_err(fault)?;
        let path = copy.path().to_owned();
        let mut made = Made::default();
        for shard in 0..header.shards {
            let from = self.snapshot.join(shard_folder_name(shard));
            self.restore_shard(&from, &copy.shard_folder(shard), &mut made)?;
        }
        copy.finish(&header).map_err(fault)?;
        for name in ["engram.store", "."] {
            let own = own_as(&self.snapshot.join(name), &path.join(name));
            own.map_err(|error| ToolError::file(&path, error))?;
        }
        let seconds = began.elapsed().as_secs_f64();
        let Made { files_linked, bytes_linked, files_copied, bytes_copied } = made;
        if context.json {
            return render::print_json(&json!({
                "path": path,
                "shards": header.shards,
                "files_linked": files_linked,
                "bytes_linked": bytes_linked,
                "files_copied": files_copied,
                "bytes_copied": bytes_copied,
                "seconds": seconds,
            }));
        }
        render::print(&format!(
            "{} is sound; made {} of it in {seconds:.1} s: {files_copied} files copied ({}), \
             {files_linked} shared ({})\nstart it with engramd --data {}",
            self.snapshot.display(),
            path.display(),
            ByteCount(bytes_copied).rounded(),
            ByteCount(bytes_linked).rounded(),
            path.display(),
        ))
    }

    /// Makes a shard's folder and flushes it.
    fn restore_shard(&self, from: &Path, to: &Path, made: &mut Made) -> Result<(), ToolError> {
        fs::create_dir(to).map_err(|error| ToolError::file(to, error))?;
        own_as(from, to).map_err(|error| ToolError::file(to, error))?;
        for entry in fs::read_dir(from).map_err(|error| ToolError::file(from, error))? {
            let name = entry.map_err(|error| ToolError::file(from, error))?.file_name();
            let Some(name) = name.to_str() else { continue };
            let numbered = FileId::from_name(name);
            if numbered.is_none() && !SLOT_FILES.contains(&name) {
                continue;
            }
            // A log is written to in place, also where it is whole.
            let is_sealed = numbered.is_some_and(|file| file.kind != FileKind::Log);
            let (from, to) = (from.join(name), to.join(name));
            let done = match is_sealed && !self.copy && fs::hard_link(&from, &to).is_ok() {
                true => fs::metadata(&to).map(|file| {
                    made.files_linked += 1;
                    made.bytes_linked += file.len();
                }),
                false => copy_file(&from, &to).map(|bytes| {
                    made.files_copied += 1;
                    made.bytes_copied += bytes;
                }),
            };
            done.map_err(|error| ToolError::file(&from, error))?;
        }
        let flushed = File::open(to).and_then(|folder| folder.sync_all());
        flushed.map_err(|error| ToolError::file(to, error))
    }
}

fn copy_file(from: &Path, to: &Path) -> io::Result<u64> {
    let bytes = fs::copy(from, to)?;
    own_as(from, to)?;
    File::open(to)?.sync_all()?;
    Ok(bytes)
}

/// Gives what root makes to the user it was made for.
fn own_as(from: &Path, to: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let owner = fs::metadata(from)?;
    std::os::unix::fs::chown(to, Some(owner.uid()), Some(owner.gid()))
}

fn absolute(path: &Path) -> Result<PathBuf, ToolError> {
    let reason = |error| format!("'{}' is no path: {}", path.display(), plain(&error));
    std::path::absolute(path).map_err(|error| ToolError::usage(reason(error)))
}
