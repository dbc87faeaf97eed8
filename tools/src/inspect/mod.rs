//! `engram inspect`: a data directory, read without the daemon.
//!
//! | File | Answers |
//! |---|---|
//! | `directory` | Which store is this, and is it in use? |
//! | `read_only` | How is a shard's folder read without being changed? |
//! | `contents` | What does a frame say, and can it be? |
//! | `covered` | What is in files, so that the log does not have to say it? |
//! | `survey` | What is in a shard's log from end to end? |
//! | `summary`, `log`, `verify` | How is it shown? |
//! | `damaged` | What can be read of a shard's log, whatever became of it? |
//! | `census` | Which of its stores are the episodes that are left? |
//! | `salvage`, `salvaged` | How do they get out, and what is told? |
//!
//! Reading uses the engine's own walk (`engram_shards::log::Walk`): what a torn tail is and what is
//! damage is decided in one place, for recovery and here. Memory is bounded by the number of
//! segments, whatever is in them; only `verify --deep` rebuilds the shards, and `salvage` keeps the
//! ids of a shard's episodes.
//!
//! Nothing in the directory is written or locked, so it may be in use. Then the log grows while it
//! is read: every command shows it up to some moment during its run, and what is under way at the
//! end is no torn tail.

mod census;
mod contents;
mod covered;
mod damaged;
mod directory;
mod log;
mod read_only;
mod salvage;
mod salvaged;
mod summary;
mod survey;
mod verify;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::Context;
use crate::error::ToolError;
pub(crate) use directory::Directory;
pub(crate) use verify::problems;

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The data directory; it may be in use
    #[arg(value_name = "DIR")]
    path: PathBuf,
    #[command(subcommand)]
    view: Option<View>,
}

#[derive(Debug, Subcommand)]
enum View {
    /// What is in the store, shard by shard (the default)
    Summary,
    /// Every log segment with its state
    Segments,
    /// The log, frame by frame
    #[command(visible_alias = "frames")]
    Log(log::Log),
    /// Check everything; exit code 1 when something is wrong
    Verify(verify::Verify),
    /// Write every episode that can still be read as JSON lines, also of a store that does not
    /// open; exit code 1 when something was lost
    Salvage(salvage::Salvage),
}

impl Inspect {
    pub(crate) fn run(&self, context: &Context) -> Result<(), ToolError> {
        let view = self.view.as_ref().unwrap_or(&View::Summary);
        if let View::Salvage(salvage) = view {
            return salvage.run(&self.path, context);
        }
        let directory = Directory::open(&self.path)?;
        match view {
            View::Summary => summary::run(&directory, context),
            View::Segments => summary::run_segments(&directory, context),
            View::Log(log) => log.run(&directory, context),
            View::Verify(verify) => verify.run(&directory, context),
            View::Salvage(_) => unreachable!("it was run above"),
        }
    }
}
