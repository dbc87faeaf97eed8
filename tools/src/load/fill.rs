//! `engram load --npy FILE`: every row of a matrix once, in pipelined batches, as fast as the
//! daemon takes them. The id of an episode is `load-` and the number of its row.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use redis::Value;
use serde_json::json;

use super::Load;
use super::payload::{self, ID_BYTES, SIGNATURE_BYTES};
use super::rows::Rows;
use crate::acked_log::AckedLog;
use crate::cli::Context;
use crate::client::Client;
use crate::error::ToolError;
use crate::import::retry_hint;
use crate::npy::NpyReader;
use crate::pack::{Arguments, push_mstore_head};
use crate::render::{self, grouped};
use crate::reply;

/// Batches that a connection has under way.
const WINDOW: usize = 4;
/// Rows of a batch unless told otherwise.
const BATCH_ROWS: u64 = 64;
/// Texts are taken from as many.
const TEXTS: u64 = 256;

#[derive(Debug, Args)]
pub(super) struct Fill {
    /// Store every row of this file once and measure nothing else (f16, f32 or f64, C order)
    #[arg(long, value_name = "FILE.npy", conflicts_with_all = ["recall", "vectors", "verify"])]
    npy: Option<PathBuf>,
    /// Only these rows, e.g. 0..990000: what is left out can be asked for with --queries
    #[arg(long, value_name = "FIRST..END", requires = "npy", value_parser = Rows::parse)]
    rows: Option<Rows>,
}

/// What all connections share.
struct Shared<'a> {
    load: &'a Load,
    file: NpyReader,
    rows: Range<u64>,
    /// The next row that nobody has taken.
    next: AtomicU64,
    batch: u64,
    texts: Vec<Vec<u8>>,
    acked_log: Option<AckedLog>,
    stored: AtomicU64,
    busy: AtomicU64,
    failure: Mutex<Option<ToolError>>,
}

impl Fill {
    pub(super) fn is_wanted(&self) -> bool {
        self.npy.is_some()
    }

    pub(super) fn run(&self, load: &Load, context: &Context) -> Result<(), ToolError> {
        let file = NpyReader::open(self.npy.as_deref().expect("it is wanted"))?;
        let rows = self.rows.unwrap_or_default().of(&file)?;
        load.prepare_space(context, file.dimensions())?;
        let mut rng = fastrand::Rng::with_seed(load.seed);
        let shared = Shared {
            load,
            next: AtomicU64::new(rows.start),
            rows,
            file,
            batch: load.batch.unwrap_or(BATCH_ROWS),
            texts: (0..TEXTS).map(|_| payload::text(load.text_bytes, &mut rng)).collect(),
            acked_log: load.acked_log.as_deref().map(|p| AckedLog::open(p, false)).transpose()?,
            stored: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            failure: Mutex::new(None),
        };
        let began = Instant::now();
        thread::scope(|scope| {
            for _ in 0..load.connections() {
                scope.spawn(|| {
                    let filled = Worker::connect(&shared, context).and_then(Worker::run);
                    if let Err(error) = filled {
                        shared.failure.lock().expect("no worker panics").get_or_insert(error);
                    }
                });
            }
        });
        let seconds = began.elapsed().as_secs_f64();
        let (stored, busy) = (shared.stored.load(Relaxed), shared.busy.load(Relaxed));
        if let Some(error) = shared.failure.into_inner().expect("no worker panics") {
            eprintln!("engram: stopped; {} rows were acknowledged", grouped(stored));
            return Err(error);
        }
        let per_second = stored as f64 / seconds.max(1e-9);
        if context.json {
            return render::print_json(&json!({
                "space": load.space,
                "rows": stored,
                "dimensions": shared.file.dimensions(),
                "seconds": seconds,
                "rows_per_second": per_second,
                "busy_retries": busy,
            }));
        }
        render::print(&format!(
            "stored {} rows of {} dimensions into '{}' in {seconds:.2} s: {}/s, {} were \
             busy at first",
            grouped(stored),
            shared.file.dimensions(),
            load.space,
            grouped(per_second as u64),
            grouped(busy),
        ))
    }
}

struct Worker<'a> {
    shared: &'a Shared<'a>,
    client: Client,
    /// Rows of the batches that are not answered.
    in_flight: VecDeque<Vec<u64>>,
    patience: Duration,
    /// Since when every answer was busy.
    busy_since: Option<Instant>,
}

impl<'a> Worker<'a> {
    fn connect(shared: &'a Shared<'a>, context: &Context) -> Result<Self, ToolError> {
        let (client, patience) = (context.connect()?, context.timeout());
        Ok(Self { shared, client, in_flight: VecDeque::new(), patience, busy_since: None })
    }

    fn run(mut self) -> Result<(), ToolError> {
        loop {
            while self.in_flight.len() < WINDOW {
                let Some(rows) = self.take() else { break };
                self.send(rows)?;
            }
            let Some(rows) = self.in_flight.pop_front() else { return Ok(()) };
            match self.client.receive() {
                Ok(reply) => self.settle(rows, reply)?,
                Err(ToolError::Refused { code, message }) if code == "BUSY" => {
                    self.retry(rows, &message, false)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The next rows, unless there are none or another connection has failed.
    fn take(&self) -> Option<Vec<u64>> {
        let Shared { next, batch, rows, failure, .. } = self.shared;
        if failure.lock().expect("no worker panics").is_some() {
            return None;
        }
        let first = next.fetch_add(*batch, Relaxed);
        (first < rows.end).then(|| (first..rows.end.min(first + batch)).collect())
    }

    fn send(&mut self, rows: Vec<u64>) -> Result<(), ToolError> {
        let Shared { load, file, texts, .. } = self.shared;
        let mut items = Arguments::default();
        for &row in &rows {
            let mut id = [0; ID_BYTES];
            payload::write_id(&mut id, row);
            items.push(b"ITEM").push(&id).push(b"VEC").push_vector(&file.row(row)?);
            if load.text_bytes > 0 {
                let mut text = texts[(row % TEXTS) as usize].clone();
                payload::write_signature(&mut text[..SIGNATURE_BYTES], &id);
                items.push(b"TEXT").push(&text);
            }
            if let Some(durability) = load.durability {
                items.push(b"DUR").push(durability.name().as_bytes());
            }
        }
        let mut command = Vec::with_capacity(items.bytes.len() + load.space.len() + 64);
        push_mstore_head(&mut command, &load.space, rows.len(), items.count);
        command.extend_from_slice(&items.bytes);
        self.in_flight.push_back(rows);
        self.client.send(&command)
    }

    fn settle(&mut self, rows: Vec<u64>, reply: Value) -> Result<(), ToolError> {
        let outcomes = reply::array(reply, "EG.MSTORE")?;
        if outcomes.len() != rows.len() {
            let reason = format!("{} answers to {} episodes", outcomes.len(), rows.len());
            return Err(ToolError::Reply { command: "EG.MSTORE", reason });
        }
        let (mut busy, mut hint, mut acked) = (Vec::new(), String::new(), Vec::new());
        for (row, value) in rows.into_iter().zip(outcomes) {
            match reply::outcome(value) {
                Ok(_) => {
                    let mut id = [0; ID_BYTES];
                    payload::write_id(&mut id, row);
                    acked.extend_from_slice(&id);
                    acked.push(b'\n');
                }
                Err(ToolError::Refused { code, message }) if code == "BUSY" => {
                    busy.push(row);
                    hint = message;
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(log) = &self.shared.acked_log {
            log.append(&acked)?;
        }
        let stored = acked.len() / (ID_BYTES + 1);
        self.shared.stored.fetch_add(stored as u64, Relaxed);
        match busy.is_empty() {
            true => self.busy_since = None,
            false => self.retry(busy, &hint, stored > 0)?,
        }
        Ok(())
    }

    /// Sends again what was busy, after the pause that the daemon asked for.
    fn retry(&mut self, rows: Vec<u64>, hint: &str, has_progress: bool) -> Result<(), ToolError> {
        self.shared.busy.fetch_add(rows.len() as u64, Relaxed);
        if has_progress {
            self.busy_since = None;
        }
        let since = *self.busy_since.get_or_insert_with(Instant::now);
        if since.elapsed() > self.patience {
            let message = format!(
                "the daemon stayed busy ({hint}); see engram stats for what is full, or raise \
                 --timeout-seconds"
            );
            return Err(ToolError::Refused { code: "BUSY".into(), message });
        }
        thread::sleep(retry_hint(hint));
        self.send(rows)
    }
}
