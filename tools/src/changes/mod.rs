//! `engram load --journal`: load that changes everything there is, and the proof that it lasted.
//!
//! | File | Answers |
//! |---|---|
//! | `mix` | How often is each kind of change sent? |
//! | `contents` | What is in version *v* of episode *n*? |
//! | `writer` | What does a connection send, and to which space? |
//! | `journal` | What was sent, answered and found, in which order? |
//! | `oracle` | What may the daemon hold after all that, and were its answers right? |
//! | `verify` | Does it hold that, and nothing else? |
//!
//! A run appends to the journal what it sends before it sends it, and every answer after it was
//! read. `engram load --verify JOURNAL` then replays the journal, reads everything that the daemon
//! holds, and compares. In between the daemon may have been killed at any moment; the journal goes
//! on over any number of runs, kills and verifications. `scripts/kill-loop.sh` does it in a loop.
//!
//! What was under way at a kill may be there afterwards or not. A verification settles it: what it
//! finds is appended to the journal too, and has to stay.
//!
//! A journal belongs to one store and knows all of its spaces: what it does not know was invented.

mod contents;
mod journal;
mod mix;
mod oracle;
mod verify;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use fastrand::Rng;

use crate::cli::Context;
use crate::error::ToolError;
use crate::render::{self, grouped};
use crate::reply;

use journal::{Action, Answer, Entry, Journal};
use mix::Mix;
use oracle::Oracle;
use writer::{KEYED_MAX, Run, Writer};

pub(crate) use journal::is_journal;
pub(crate) use verify::verify;

#[derive(Debug, Args)]
pub(crate) struct Changes {
    /// Measure nothing: store, replace, forget, repeat, create and drop spaces, and append to this
    /// file what is sent and answered, for --verify
    #[arg(long, value_name = "FILE")]
    #[arg(conflicts_with_all = [
        "workload", "recall_share", "warmup_seconds", "rate", "burst_us", "expected_interval_us",
        "batch", "create", "model", "metric", "shards", "vectors", "text_bytes", "k", "ids",
        "first_id", "id_count", "acked_log", "verify",
    ])]
    journal: Option<PathBuf>,
    /// Weights of the changes in a journal
    #[arg(long, value_name = "SHARES", default_value = Mix::DEFAULT, requires = "journal")]
    mix: Mix,
}

/// What a run takes from the options of every load.
#[derive(Debug)]
pub(crate) struct Common<'a> {
    pub(crate) space: &'a str,
    pub(crate) seconds: f64,
    pub(crate) connections: u64,
    pub(crate) window: usize,
    pub(crate) dimensions: usize,
    pub(crate) durability: Option<&'static str>,
    pub(crate) seed: u64,
}

impl Changes {
    pub(crate) fn journal(&self) -> Option<&Path> {
        self.journal.as_deref()
    }

    /// Changes things for as long as asked, or until the daemon is gone.
    pub(crate) fn run(
        &self,
        context: &Context,
        path: &Path,
        common: &Common<'_>,
    ) -> Result<(), ToolError> {
        let mut oracle = Oracle::default();
        let journal = if path.exists() {
            let dimensions = journal::read(path, |entry| oracle.enter(&entry))?;
            if dimensions != common.dimensions {
                return Err(ToolError::usage(format!(
                    "the journal has vectors of {dimensions} dimensions: give --dimensions \
                     {dimensions}, or another file"
                )));
            }
            Journal::reopen(path)?
        } else {
            require_empty(context)?;
            Journal::create(path, common.dimensions)?
        };
        let run = Run {
            space: common.space.to_owned(),
            dimensions: common.dimensions,
            connections: common.connections,
            window: common.window,
            mix: self.mix,
            durability: common.durability,
            stop: Instant::now() + Duration::from_secs_f64(common.seconds),
            journal,
            next_change: AtomicU64::new(oracle.next_change()),
        };
        if !oracle.spaces().first().is_some_and(oracle::Space::is_there) {
            create_first_space(context, &run)?;
        }
        let before = oracle.next_change();
        let result = drive(context, &run, &oracle, common.seed);
        let made_up = run.next_change.into_inner() - before;
        if context.json {
            render::print_json(&serde_json::json!({ "changes": made_up }))?;
        } else {
            render::print(&format!(
                "made up {} changes; engram load --verify {} checks them",
                grouped(made_up),
                path.display()
            ))?;
        }
        result
    }
}

/// A new journal must know every space there is.
fn require_empty(context: &Context) -> Result<(), ToolError> {
    const COMMAND: &str = "EG.SPACE LIST";
    let names = context.connect()?.call(redis::cmd("EG.SPACE").arg("LIST"))?;
    let names = reply::array(names, COMMAND)?;
    match names.first().and_then(reply::text) {
        None => Ok(()),
        Some(name) => Err(ToolError::usage(format!(
            "the store has {} memory spaces, the first is '{name}'; a journal begins on an empty \
             store, because all that it does not know counts as invented: start engramd with a \
             --data directory of its own",
            names.len()
        ))),
    }
}

/// The first space is created once and never dropped.
fn create_first_space(context: &Context, run: &Run) -> Result<(), ToolError> {
    let change = run.next_change.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let mut client = context.connect()?;
    run.journal.append(&[Entry::Sent(change, Action::Create { space: 0 })])?;
    client.send(&run.create_command(0, change))?;
    client.receive()?;
    run.journal.append(&[Entry::Answered(change, Answer::Done)])
}

/// Runs every connection to its end.
fn drive(context: &Context, run: &Run, oracle: &Oracle, seed: u64) -> Result<(), ToolError> {
    let mut writers = Vec::new();
    for index in 0..run.connections {
        let own = |(_, number): &(u64, u64)| number % run.connections == index;
        let space = oracle.spaces().get(1 + index as usize);
        writers.push(Writer {
            run,
            client: context.connect()?,
            index,
            // Another run of the same journal does other things.
            rng: Rng::with_seed(seed ^ (index << 48) ^ oracle.next_change()),
            next_number: oracle.next_number().next_multiple_of(run.connections) + index,
            space_is_there: space.is_some_and(|space| !space.is_settled() || space.is_there()),
            keyed: oracle.keyed().filter(own).take(KEYED_MAX / 2).collect(),
        });
    }
    thread::scope(|scope| {
        let threads: Vec<_> =
            writers.into_iter().map(|writer| scope.spawn(move || writer.run())).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("it does not panic"))
    })
}
