//! `engram import`: the episodes of a JSONL file, stored in pipelined batches.
//!
//! Each connection is a thread with a window of `EG.MSTORE` batches in flight. Three things make an
//! import safe to interrupt and to repeat:
//!
//! - every episode carries the hash of its content as idempotency key, so a line that was stored
//!   before answers `existing`, whether it is sent again after a lost connection or in a later run;
//! - a checkpoint file beside the input holds how many lines are acknowledged without a gap;
//! - a connection that breaks is opened again, with growing pauses, and what was in flight is sent
//!   again.

mod batch;
mod checkpoint;
mod ledger;
mod linking;
mod progress;
mod source;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use crate::acked_log::AckedLog;
use crate::cli::Context;
use crate::commands::space::Settings;
use crate::error::ToolError;
use crate::npy::NpyReader;
use crate::render::{self, grouped};

use checkpoint::Checkpoint;
use ledger::Ledger;
use progress::{Counters, Progress};
use source::Source;
pub(crate) use worker::retry_hint;
use worker::{Shared, Worker};

/// How often the progress is drawn.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// How often the checkpoint is written: what is lost with it is sent again and answers `existing`.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(after_help = "A line of the file is one episode:\n  \
    {\"id\":\"a\",\"text\":\"…\",\"at\":\"2026-03-01T12:00:00Z\",\"confidence\":0.9,\n   \
    \"meta\":{…},\"thread\":\"t\",\"links\":[{\"id\":\"b\",\"weight\":1,\"kind\":\"next\"}],\n   \
    \"vector\":[…],\"row\":0,\n   \
    \"supersedes\":[\"c\"],\"superseded_by\":\"d\",\"valid_until\":\"2026-04-01T12:00:00Z\",\n   \
    \"expires_at\":\"2027-03-01T12:00:00Z\"}\n\
    Times are RFC 3339 or microseconds since 1970-01-01 UTC; at may be called ts. supersedes\n\
    names episodes that are stored already; superseded_by and valid_until belong together.\n\
    Only id is required. Without \"vector\", line n takes row n of --vectors (from 0), or the row\n\
    that its field \"row\" names.")]
pub(crate) struct Import {
    /// The memory space
    space: String,
    /// The episodes, one JSON object a line
    #[arg(long, value_name = "FILE.jsonl")]
    episodes: PathBuf,
    /// The embeddings (f16, f32 or f64, C order)
    #[arg(long, value_name = "FILE.npy")]
    vectors: Option<PathBuf>,
    /// Scale every vector to unit length
    #[arg(long)]
    normalize: bool,
    /// Create the memory space when it does not exist
    #[arg(long)]
    create: bool,
    #[command(flatten)]
    settings: Settings,
    /// Episodes per command
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=4096))]
    batch: u64,
    /// Connections, each a thread
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=64))]
    connections: u64,
    /// Commands in flight per connection
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=64))]
    window: u64,
    /// Go on behind the last acknowledged line of an interrupted import
    #[arg(long)]
    resume: bool,
    /// Where the position of the import is kept; beside the episodes when left out
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Report bad lines and go on, instead of stopping at the first
    #[arg(long)]
    skip_bad: bool,
    /// How long to keep trying while the daemon is away or busy
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    patience_seconds: u64,
    /// Append the id of each acknowledged episode to this file
    #[arg(long, value_name = "FILE")]
    acked_log: Option<PathBuf>,
}

impl Import {
    pub(crate) fn run(&self, context: &Context) -> Result<(), ToolError> {
        let vectors = self.vectors.as_deref().map(NpyReader::open).transpose()?;
        let (source, checkpoint) = self.open_source()?;
        if self.create {
            self.create_space(context, vectors.as_ref(), &source)?;
        }
        let acked_log =
            self.acked_log.as_deref().map(|path| AckedLog::open(path, self.resume)).transpose()?;
        let start = Instant::now();
        let shared = Shared {
            import: self,
            socket: &context.socket,
            timeout: context.timeout(),
            ledger: Mutex::new(Ledger::new(source.position())),
            counters: Counters::new(source.position().bytes),
            source: Mutex::new(source),
            vectors,
            acked_log,
            failure: Mutex::new(None),
        };
        let result = self.run_workers(&shared, &checkpoint, context.json);
        let position = shared.ledger.lock().expect("no worker panics").acknowledged();
        checkpoint.save(position)?;
        if let Err(error) = result {
            self.explain_interruption(position.lines);
            return Err(error);
        }
        checkpoint.remove()?;
        self.report(&shared.counters, start.elapsed(), context.json)
    }

    /// Opens the episodes at the checkpoint's position or at the start.
    fn open_source(&self) -> Result<(Source, Checkpoint), ToolError> {
        let path = self.checkpoint.clone().unwrap_or_else(|| beside(&self.episodes));
        let checkpoint = Checkpoint::new(path, &self.space);
        let mut source = Source::open(&self.episodes)?;
        match checkpoint.load()? {
            Some(position) if self.resume => source.resume(position)?,
            Some(position) if position.lines > 0 => eprintln!(
                "engram: an earlier import stopped behind line {}; --resume goes on there",
                grouped(position.lines)
            ),
            _ => {}
        }
        Ok((source, checkpoint))
    }

    fn create_space(
        &self,
        context: &Context,
        vectors: Option<&NpyReader>,
        source: &Source,
    ) -> Result<(), ToolError> {
        let mut client = context.connect()?;
        match client.call(redis::cmd("EG.SPACE").arg("INFO").arg(&self.space)) {
            Err(ToolError::Refused { code, .. }) if code == "NOSPACE" => {}
            other => return other.map(drop),
        }
        let dimensions = match vectors {
            Some(vectors) => vectors.dimensions(),
            None => source.first_dimensions()?,
        };
        client.call(&self.settings.create_command(&self.space, dimensions)).map(drop)
    }

    fn run_workers(
        &self,
        shared: &Shared<'_>,
        checkpoint: &Checkpoint,
        quiet: bool,
    ) -> Result<(), ToolError> {
        let total_bytes = shared.source.lock().expect("no worker panics").total_bytes();
        let mut progress = Progress::new(total_bytes, quiet);
        thread::scope(|scope| {
            // Closed when the last worker is done: nothing is ever sent.
            let (running, all_done) = mpsc::channel::<()>();
            for _ in 0..self.connections {
                let running = running.clone();
                scope.spawn(move || {
                    Worker::new(shared).run();
                    drop(running);
                });
            }
            drop(running);
            let mut saved = Instant::now();
            while all_done.recv_timeout(PROGRESS_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                progress.draw(&shared.counters);
                if saved.elapsed() >= CHECKPOINT_INTERVAL {
                    let position = shared.ledger.lock().expect("no worker panics").acknowledged();
                    if let Err(error) = checkpoint.save(position) {
                        shared.fail(error);
                    }
                    saved = Instant::now();
                }
            }
        });
        progress.finish();
        shared.failure.lock().expect("no worker panics").take().map_or(Ok(()), Err)
    }

    fn explain_interruption(&self, lines: u64) {
        eprintln!(
            "engram: stopped; the first {} lines of {} are done, --resume goes on behind them",
            grouped(lines),
            self.episodes.display()
        );
    }

    fn report(&self, counters: &Counters, took: Duration, json: bool) -> Result<(), ToolError> {
        let totals = counters.totals();
        let seconds = took.as_secs_f64();
        let stored = totals.created + totals.existing + totals.replaced;
        let rate = stored as f64 / seconds.max(1e-9);
        if json {
            return render::print_json(&json!({
                "space": self.space,
                "acknowledged": stored,
                "created": totals.created,
                "existing": totals.existing,
                "replaced": totals.replaced,
                "skipped": totals.skipped,
                "busy_retries": totals.busy,
                "reconnects": totals.reconnects,
                "seconds": seconds,
                "episodes_per_second": rate,
            }));
        }
        render::print(&format!(
            "imported {} episodes into '{}' in {seconds:.2} s ({}/s): {} created, {} existing, {} \
             replaced, {} skipped",
            grouped(stored),
            self.space,
            grouped(rate as u64),
            grouped(totals.created),
            grouped(totals.existing),
            grouped(totals.replaced),
            grouped(totals.skipped),
        ))
    }
}

fn beside(episodes: &Path) -> PathBuf {
    let mut name = episodes.as_os_str().to_owned();
    name.push(".engram-import");
    PathBuf::from(name)
}
