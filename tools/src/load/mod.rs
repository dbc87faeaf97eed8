//! `engram load`: generates load and measures latency.
//!
//! Each connection is a blocking thread on a raw socket. Requests are encoded before the run
//! ([`ring`]) and replies are only scanned ([`scan`]), so that a store of 768 dimensions costs the
//! client less than the daemon: both usually share the machine.
//!
//! # What is corrected, and how
//!
//! An open loop (`--rate`) sends by a schedule that the server cannot slow down, and latency counts
//! from the time at which a request was due. Nothing has to be corrected afterwards: the wait of
//! requests that a stall held back is measured.
//!
//! A closed loop (the default) measures throughput and, uncorrected, the latency of the requests
//! that it did send. It sends less while the server stalls, so its upper quantiles flatter. With
//! `--expected-interval-us N`, for every latency longer than N the histogram also receives latency
//! − N, − 2 N, … as if a request had been sent every N microseconds on each slot of the window
//! (HdrHistogram's correction). It is an estimate; the open loop is the measurement.
//!
//! Latency ends when the read that brought the reply's last byte returns. Refused requests are
//! counted by code and not part of the latencies. A request belongs to the measured time when it
//! was due in it; throughput counts replies that came in it.

mod books;
mod connection;
mod fill;
mod inbox;
mod pace;
mod payload;
mod pool;
mod recall;
mod report;
mod ring;
mod rows;
mod scan;
mod verify;
mod workload;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use rustix::time::{ClockId, clock_gettime};

use crate::acked_log::AckedLog;
use crate::changes::{self, Changes, Common, is_journal};
use crate::cli::Context;
use crate::commands::space::Settings;
use crate::error::{ToolError, plain};
use crate::render::{self, grouped};

use books::{Books, Measured, Run};
use connection::{Connection, Driver};
use fill::Fill;
use pace::Pace;
use payload::{ID_NUMBER_MAX, SIGNATURE_BYTES};
use pool::Pool;
use recall::RecallQuality;
use report::Report;
use ring::Ring;
use workload::{Ids, Workload};

/// How often the live line is drawn.
const LIVE_INTERVAL: Duration = Duration::from_secs(1);
/// How often the main thread looks at the clock.
const TICK: Duration = Duration::from_millis(20);

/// Connections unless told otherwise.
const CONNECTIONS: u64 = 8;

/// The rarest an operation may be in the mixed workload: it must be among the requests that are
/// encoded ahead.
const RECALL_SHARE_MIN: f64 = 0.001;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  engram load --create --workload store --seconds 20\n  \
    engram load --workload mixed --recall-share 0.2 --rate 20000\n  \
    engram load --workload store --acked-log acked && engram load --verify acked\n  \
    engram load --journal journal --seconds 5 && engram load --verify journal\n  \
    engram load --npy all.npy --rows ..990000 --create --space all\n  \
    engram load --recall --space all --queries all.npy --query-rows 990000.. --beam 32,64,128")]
pub(crate) struct Load {
    /// What to send
    #[arg(long, value_enum, default_value_t = Kind::Store)]
    workload: Kind,
    /// Share of recalls in the mixed workload, from 0.001 to 0.999
    #[arg(long, value_name = "SHARE", default_value_t = 0.5)]
    recall_share: f64,
    /// Measured time
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Time under load before measuring
    #[arg(long, default_value_t = 1.0)]
    warmup_seconds: f64,
    /// Connections, each a thread; 8 unless given, and with --recall 1
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1024))]
    connections: Option<u64>,
    /// Closed loop: requests in flight per connection
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=16_384))]
    window: u64,
    /// Open loop: send this many requests per second over all connections, whatever comes back
    #[arg(long, value_name = "PER_SECOND", conflicts_with = "window")]
    rate: Option<f64>,
    /// Open loop: send what is due together every N microseconds, to wake the client less often
    #[arg(long, value_name = "N", default_value_t = 0, requires = "rate")]
    burst_us: u64,
    /// Closed loop: correct the histograms for requests held back, as if one was due this often
    #[arg(long, value_name = "N", conflicts_with = "rate")]
    expected_interval_us: Option<u64>,
    /// Episodes per store; more than one are sent as a batch; 1 unless given, and with --npy 64
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=4096))]
    batch: Option<u64>,
    /// The memory space
    #[arg(long, default_value = "load")]
    space: String,
    /// Create the memory space when it does not exist
    #[arg(long)]
    create: bool,
    #[command(flatten)]
    settings: Settings,
    /// Components of random vectors
    #[arg(long, value_name = "N", default_value_t = 768)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=4096))]
    dimensions: u64,
    /// Take the vectors from this file instead of random ones in clusters
    #[arg(long, value_name = "FILE.npy", conflicts_with = "dimensions")]
    vectors: Option<PathBuf>,
    /// Bytes of each text; 0 stores none
    #[arg(long, value_name = "N", default_value_t = 200)]
    text_bytes: usize,
    /// When a store counts as acknowledged; the daemon takes disk when left out
    #[arg(long, value_enum)]
    durability: Option<Durability>,
    /// Results per recall
    #[arg(long, default_value_t = 10)]
    k: usize,
    /// How ids are chosen: each once, or evenly from --id-count (stores then replace)
    #[arg(long, value_enum, default_value_t = IdOrder::Sequential)]
    ids: IdOrder,
    /// Number of the first sequential id
    #[arg(long, value_name = "N", default_value_t = 0)]
    #[arg(value_parser = clap::value_parser!(u64).range(..ID_NUMBER_MAX))]
    first_id: u64,
    /// Ids to draw from
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..ID_NUMBER_MAX))]
    id_count: u64,
    /// The same seed sends the same requests
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Append the id of each acknowledged episode to this file
    #[arg(long, value_name = "FILE")]
    acked_log: Option<PathBuf>,
    /// Send no load: check that every id in this log of acknowledged ids is there, intact; or,
    /// given a journal, that everything is as it says
    #[arg(long, value_name = "FILE")]
    verify: Option<PathBuf>,
    #[command(flatten)]
    fill: Fill,
    #[command(flatten)]
    quality: RecallQuality,
    #[command(flatten)]
    changes: Changes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Store,
    Recall,
    Mixed,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Durability {
    /// On the device
    Disk,
    /// Written, not flushed
    Os,
}

impl Durability {
    fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Os => "os",
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum IdOrder {
    Sequential,
    Uniform,
}

impl Load {
    pub(crate) fn run(&self, context: &Context) -> Result<(), ToolError> {
        if let Some(log) = &self.verify {
            let verify = if is_journal(log)? { changes::verify } else { verify::verify };
            return verify(context, &self.space, log);
        }
        if let Some(journal) = self.changes.journal() {
            return self.changes.run(context, journal, &self.common());
        }
        self.check()?;
        if self.fill.is_wanted() {
            return self.fill.run(self, context);
        }
        if self.quality.is_wanted() {
            return self.quality.run(self, context);
        }
        let pool = match &self.vectors {
            Some(path) => Pool::read(path)?,
            None => Pool::random(self.dimensions as usize, self.seed),
        };
        self.prepare_space(context, pool.dimensions())?;
        let (measured, cpu_seconds, broken) = self.drive(context, &pool)?;
        let mut report = self.report(&pool);
        report.fill(&measured, cpu_seconds);
        // A daemon that was killed has no figures: the run is reported all the same.
        let daemon =
            context.connect().and_then(|mut client| client.call(&redis::cmd("EG.STATS"))).ok();
        if context.json {
            report.daemon = daemon.as_ref().map(report::daemon_json);
            let json = serde_json::to_value(&report).expect("a report is valid JSON");
            render::print_json(&json)?;
        } else {
            render::print(&report.text(daemon))?;
        }
        match broken {
            None => Ok(()),
            Some(error) => {
                Err(ToolError::Lost { socket: context.socket.clone(), reason: plain(&error) })
            }
        }
    }

    fn connections(&self) -> u64 {
        self.connections.unwrap_or(if self.quality.is_wanted() { 1 } else { CONNECTIONS })
    }

    fn batch(&self) -> usize {
        self.batch.unwrap_or(1) as usize
    }

    fn common(&self) -> Common<'_> {
        Common {
            space: &self.space,
            seconds: self.seconds,
            connections: self.connections(),
            window: self.window as usize,
            dimensions: self.dimensions as usize,
            durability: self.durability.map(Durability::name),
            seed: self.seed,
        }
    }

    fn check(&self) -> Result<(), ToolError> {
        if !(RECALL_SHARE_MIN..=1.0 - RECALL_SHARE_MIN).contains(&self.recall_share) {
            return Err(ToolError::usage(format!(
                "--recall-share is {RECALL_SHARE_MIN} to {}, not {}; for one operation alone there \
                 are --workload store and --workload recall",
                1.0 - RECALL_SHARE_MIN,
                self.recall_share
            )));
        }
        if !(self.seconds > 0.0 && self.warmup_seconds >= 0.0 && self.seconds < 1e6) {
            return Err(ToolError::usage("--seconds and --warmup-seconds are positive numbers"));
        }
        if self.rate.is_some_and(|rate| !(1e-3..=1e7).contains(&rate)) {
            return Err(ToolError::usage("--rate is 0.001 to 10,000,000 requests per second"));
        }
        if self.text_bytes > 0 && self.text_bytes < SIGNATURE_BYTES {
            return Err(ToolError::usage(format!(
                "--text-bytes is 0 or at least {SIGNATURE_BYTES}, room for the id and its hash"
            )));
        }
        Ok(())
    }

    /// Creates the memory space if asked to, and fails early when there is none.
    fn prepare_space(&self, context: &Context, dimensions: usize) -> Result<(), ToolError> {
        let mut client = context.connect()?;
        let info = client.call(redis::cmd("EG.SPACE").arg("INFO").arg(&self.space));
        match info {
            Err(ToolError::Refused { code, .. }) if code == "NOSPACE" && self.create => {
                client.call(&self.settings.create_command(&self.space, dimensions)).map(drop)
            }
            other => other.map(drop),
        }
    }

    fn workload(&self) -> Workload {
        Workload {
            space: self.space.clone(),
            seed: self.seed,
            connections: self.connections() as usize,
            batch: self.batch(),
            recall_share: match self.workload {
                Kind::Store => 0.0,
                Kind::Recall => 1.0,
                Kind::Mixed => self.recall_share,
            },
            text_bytes: self.text_bytes,
            durability: self.durability.map(|durability| durability.name().to_owned()),
            k: self.k,
        }
    }

    /// Runs every connection. Returns the figures, the client's CPU time over the measured time in
    /// seconds, and the first connection error.
    fn drive(
        &self,
        context: &Context,
        pool: &Pool,
    ) -> Result<(Measured, f64, Option<io::Error>), ToolError> {
        let workload = self.workload();
        let acked_log = self.acked_log.as_deref().map(|path| AckedLog::open(path, false));
        let acked_log = acked_log.transpose()?;
        let mut prepared = Vec::with_capacity(workload.connections);
        for index in 0..workload.connections {
            let connection = Connection::open(&context.socket).map_err(|error| {
                let denied = error.kind() == io::ErrorKind::PermissionDenied;
                let (socket, reason) = (context.socket.clone(), plain(&error));
                ToolError::Connect { socket, reason, denied }
            })?;
            prepared.push((index, connection, Ring::new(&workload, pool, index)));
        }
        let warm_ns = (self.warmup_seconds * 1e9) as u64;
        let run = Run {
            start: Instant::now(),
            warm_ns,
            stop_ns: warm_ns + (self.seconds * 1e9) as u64,
            expected_interval_ns: self.expected_interval_us.map(|us| us * 1000),
            batch: workload.batch,
            acked_log,
            answered: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        };
        thread::scope(|scope| {
            let threads: Vec<_> = prepared
                .into_iter()
                .map(|(index, connection, ring)| {
                    let driver = Driver {
                        run: &run,
                        connection,
                        ring,
                        pace: self.pace(workload.connections, index),
                        ids: self.ids(workload.connections, index),
                        books: Books::new(&run),
                    };
                    scope.spawn(move || driver.run())
                })
                .collect();
            let is_over = || threads.iter().all(thread::ScopedJoinHandle::is_finished);
            let cpu_seconds = watch(&run, is_over);
            let mut total = Measured::new();
            let mut broken = None;
            for thread in threads {
                let (measured, result) = thread.join().expect("a connection does not panic");
                total.add(&measured);
                broken = broken.or(result.err());
            }
            Ok((total, cpu_seconds, broken))
        })
    }

    fn pace(&self, connections: usize, index: usize) -> Pace {
        match self.rate {
            Some(rate) => Pace::open(rate, self.burst_us * 1000, connections, index),
            None => Pace::closed(self.window as usize),
        }
    }

    fn ids(&self, connections: usize, index: usize) -> Ids {
        match self.ids {
            IdOrder::Sequential => Ids::sequential(self.first_id, connections, index),
            IdOrder::Uniform => Ids::uniform(self.id_count, self.seed, index),
        }
    }

    /// The report's frame, without figures.
    fn report(&self, pool: &Pool) -> Report {
        let latency_counts_from = match (self.rate, self.expected_interval_us) {
            (Some(_), _) => "the time a request was due (no coordinated omission)".to_owned(),
            (None, Some(us)) => format!("the send, corrected for one request due every {us} us"),
            (None, None) => "the send (closed loop: a stall holds requests back)".to_owned(),
        };
        Report {
            workload: match self.workload {
                Kind::Store => "store",
                Kind::Recall => "recall",
                Kind::Mixed => "mixed",
            },
            loop_mode: if self.rate.is_some() { "open" } else { "closed" },
            connections: self.connections() as usize,
            window: self.rate.is_none().then_some(self.window as usize),
            rate_intended: self.rate,
            burst_us: self.rate.map(|_| self.burst_us),
            batch: self.batch(),
            dimensions: pool.dimensions(),
            text_bytes: self.text_bytes,
            vectors: match &self.vectors {
                Some(path) => format!("{} vectors of {}", pool.vectors.len(), path.display()),
                None => format!("random vectors in clusters, seed {}", self.seed),
            },
            seed: self.seed,
            seconds: self.seconds,
            latency_counts_from,
            ..Report::default()
        }
    }
}

/// Draws the live line until the run is over. Returns the CPU time that this process used during
/// the measured time, in seconds.
fn watch(run: &Run, is_over: impl Fn() -> bool) -> f64 {
    let is_terminal = io::stderr().is_terminal();
    let (mut cpu_start, mut cpu_end) = (None, None);
    let (mut drawn, mut answered_before) = (Instant::now(), 0);
    while !is_over() {
        thread::sleep(TICK);
        let now_ns = run.now_ns();
        if now_ns >= run.warm_ns {
            cpu_start.get_or_insert_with(cpu_seconds);
        }
        if now_ns >= run.stop_ns {
            cpu_end.get_or_insert_with(cpu_seconds);
        }
        if is_terminal && drawn.elapsed() >= LIVE_INTERVAL {
            let answered = run.answered.load(Relaxed);
            let rate = (answered - answered_before) as f64 / drawn.elapsed().as_secs_f64();
            let phase = if now_ns < run.warm_ns { "warming up" } else { "measuring" };
            eprint!(
                "\r{:>4} s  {phase}  {:>9}/s  {} answered, {} refused   ",
                now_ns / 1_000_000_000,
                grouped(rate as u64),
                grouped(answered),
                grouped(run.refused.load(Relaxed)),
            );
            let _ = io::stderr().flush();
            (drawn, answered_before) = (Instant::now(), answered);
        }
    }
    if is_terminal {
        eprint!("\r{:78}\r", "");
    }
    let cpu_end = cpu_end.unwrap_or_else(cpu_seconds);
    cpu_end - cpu_start.unwrap_or(cpu_end)
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
