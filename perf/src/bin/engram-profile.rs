//! Where the time of a request goes: an open loop against a daemon of its own, at several rates,
//! with the daemon's own account of the stages beside what the client saw.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use engram_perf::commit::{CommitFigures, CommitLoad, CommitProbe};
use engram_perf::daemon::{self, Daemon, DaemonSettings};
use engram_perf::huge_pages::HugeFloats;
use engram_perf::memory::sequential_read;
use engram_perf::open_loop::{Kind, OpenLoop, Outcome, Stream, Target};
use engram_perf::resp::Reply;
use hdrhistogram::Histogram;
use serde::Serialize;

/// Profiles the latency of a daemon, stage by stage, with an open loop at fixed rates.
#[derive(Debug, Parser)]
struct Arguments {
    /// The daemon to profile; the one built beside this program when left out
    #[arg(long, value_name = "PATH")]
    engramd: Option<PathBuf>,
    /// Where its temporary data directory is made
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    shards: u32,
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=512))]
    connections: u16,
    /// Stores per second, one step for each
    #[arg(long, value_delimiter = ',', default_value = "5000,20000,50000")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    stores: Vec<u32>,
    /// Recalls per second, one step for each
    #[arg(long, value_delimiter = ',', default_value = "50,200")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    recalls: Vec<u32>,
    /// Episodes that a recall compares its cue with
    #[arg(long, default_value_t = 20_000)]
    episodes: u32,
    /// Length of a step
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Also measure sequential memory reads and commits on a bare ring
    #[arg(long)]
    probe: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const DIMENSIONS: usize = 768;
const SPACE: &str = "profile";
/// How fast the episodes of the recall steps are stored.
const PRELOAD_PER_S: u32 = 40_000;
/// What the probe commits: the daemon's usual batches under load.
const PROBE_LOAD: CommitLoad = CommitLoad { records_per_commit: 64, commits_in_flight: 4 };
const PROBE_MEMORY_BYTES: usize = 512 << 20;
/// The stages as the daemon names them, and how they are nested in a request.
const STAGES: [(&str, &str); 6] = [
    ("queue_wait", "  queue wait"),
    ("commit", "  commit, per frame"),
    ("commit_wait", "    wait for the ring"),
    ("commit_write", "    write"),
    ("commit_flush", "    flush"),
    ("recall", "  recall, per shard"),
];

#[derive(Debug, Serialize)]
struct Report {
    probe: Option<Probe>,
    shards: u32,
    connections: u16,
    dimensions: usize,
    steps: Vec<Step>,
}

#[derive(Debug, Serialize)]
struct Probe {
    sequential_gb_per_s: f64,
    commit: CommitFigures,
}

/// One daemon's life under one load.
#[derive(Debug, Serialize)]
struct Step {
    episodes_before: u32,
    streams: Vec<StreamReport>,
    /// What the daemon measured meanwhile, by its own names.
    stages: BTreeMap<String, Latency>,
    /// Frames per flush of the log.
    frames_per_flush: Option<f64>,
}

#[derive(Debug, Serialize)]
struct StreamReport {
    kind: &'static str,
    per_s: u32,
    answered: u64,
    refused: u64,
    refusals: BTreeMap<String, u64>,
    /// From when a request was due to its reply.
    latency: Latency,
    /// How late the client itself was.
    sent_late: Latency,
}

/// Quantiles in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
struct Latency {
    count: u64,
    p50: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        let us = |ns: u64| ns as f64 / 1e3;
        let quantile = |quantile| us(histogram.value_at_quantile(quantile));
        Self {
            count: histogram.len(),
            p50: quantile(0.5),
            p99: quantile(0.99),
            p999: quantile(0.999),
            max: us(histogram.max()),
        }
    }

    /// As `EG.STATS` gives it.
    fn read(reply: &Reply<'_>) -> Option<Self> {
        let number = |key| reply.get(key).and_then(Reply::number);
        Some(Self {
            count: number("count")? as u64,
            p50: number("p50")?,
            p99: number("p99")?,
            p999: number("p999")?,
            max: number("max")?,
        })
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let report = Report {
        probe: arguments.probe.then(|| measure_probe(&arguments.dir)).transpose()?,
        shards: arguments.shards,
        connections: arguments.connections,
        dimensions: DIMENSIONS,
        steps: Profile::new(&arguments)?.run()?,
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print_text(&report);
    }
    Ok(())
}

fn measure_probe(dir: &Path) -> Result<Probe, Box<dyn Error>> {
    let memory = HugeFloats::random(PROBE_MEMORY_BYTES / size_of::<f32>())?;
    let sequential_gb_per_s = sequential_read(memory.as_bytes(), 3).gb_per_s;
    drop(memory);
    let commit = CommitProbe::new(dir)?.run(PROBE_LOAD, Duration::from_secs(1))?;
    Ok(Probe { sequential_gb_per_s, commit })
}

struct Profile<'a> {
    arguments: &'a Arguments,
    engramd: PathBuf,
}

impl<'a> Profile<'a> {
    fn new(arguments: &'a Arguments) -> std::io::Result<Self> {
        let engramd = daemon::program(arguments.engramd.as_ref())?;
        Ok(Self { arguments, engramd })
    }

    /// All steps, each with a daemon of its own, because the daemon's figures count from its start.
    fn run(&self) -> Result<Vec<Step>, Box<dyn Error>> {
        let mut steps = Vec::new();
        for &per_s in &self.arguments.stores {
            let folder = tempfile::tempdir_in(&self.arguments.dir)?;
            steps.push(self.step(folder.path(), 0, &[self.stream(Kind::Store, per_s)])?);
        }
        if self.arguments.recalls.is_empty() {
            return Ok(steps);
        }
        let folder = tempfile::tempdir_in(&self.arguments.dir)?;
        let episodes = self.arguments.episodes;
        let preload =
            Stream { kind: Kind::Store, per_s: PRELOAD_PER_S, count: u64::from(episodes) };
        self.step(folder.path(), 0, &[preload])?;
        for &per_s in &self.arguments.recalls {
            let stream = self.stream(Kind::Recall, per_s);
            steps.push(self.step(folder.path(), episodes, &[stream])?);
        }
        let (Some(&stores), Some(&recalls)) =
            (self.arguments.stores.first(), self.arguments.recalls.first())
        else {
            return Ok(steps);
        };
        let both = [self.stream(Kind::Store, stores), self.stream(Kind::Recall, recalls)];
        steps.push(self.step(folder.path(), episodes, &both)?);
        Ok(steps)
    }

    fn stream(&self, kind: Kind, per_s: u32) -> Stream {
        Stream { kind, per_s, count: u64::from(per_s) * u64::from(self.arguments.seconds) }
    }

    fn step(
        &self,
        folder: &Path,
        episodes_before: u32,
        streams: &[Stream],
    ) -> Result<Step, Box<dyn Error>> {
        let daemon = Daemon::start(&DaemonSettings {
            engramd: self.engramd.clone(),
            folder: folder.to_owned(),
            data: folder.join("data"),
            shards: self.arguments.shards,
        })?;
        let mut control = daemon.control()?;
        let dimensions = DIMENSIONS.to_string();
        control.call(&["EG.SPACE", "CREATE", SPACE, "DIM", &dimensions], |_| ())?;
        let connections = usize::from(self.arguments.connections);
        let target = Target {
            socket: &daemon.socket(),
            space: SPACE,
            dimensions: DIMENSIONS,
            first_episode: episodes_before.into(),
        };
        let mut client = OpenLoop::connect(&target, connections)?;
        let outcomes = client.run(streams)?;
        let (stages, frames_per_flush) =
            control.call(&["EG.STATS"], |stats| (stages(stats), frames_per_flush(stats)))?;
        drop(client);
        daemon.stop()?;
        let streams =
            streams.iter().zip(&outcomes).map(|(stream, outcome)| report(stream, outcome));
        Ok(Step { episodes_before, streams: streams.collect(), stages, frames_per_flush })
    }
}

fn report(stream: &Stream, outcome: &Outcome) -> StreamReport {
    StreamReport {
        kind: match stream.kind {
            Kind::Store => "store",
            Kind::Recall => "recall",
        },
        per_s: stream.per_s,
        answered: outcome.answered,
        refused: outcome.refused,
        refusals: outcome.refusals.clone(),
        latency: Latency::of(&outcome.latency_ns),
        sent_late: Latency::of(&outcome.sent_late_ns),
    }
}

fn stages(stats: &Reply<'_>) -> BTreeMap<String, Latency> {
    let latencies = stats.get("latency_us");
    let stage = |name: &str| latencies.and_then(|all| all.get(name)).and_then(Latency::read);
    STAGES
        .iter()
        .filter_map(|(name, _)| Some(((*name).to_owned(), stage(name)?)))
        .filter(|(_, latency)| latency.count > 0)
        .collect()
}

fn frames_per_flush(stats: &Reply<'_>) -> Option<f64> {
    let number = |key| stats.get(key).and_then(Reply::number);
    let flushes = number("log_flushes").filter(|flushes| *flushes > 0.0)?;
    Some(number("log_frames")? / flushes)
}

fn print_text(report: &Report) {
    println!(
        "a daemon with {} shards; an open loop over {} connections from one thread; {} dimensions",
        report.shards, report.connections, report.dimensions
    );
    if let Some(Probe { sequential_gb_per_s, commit }) = &report.probe {
        println!(
            "probe: sequential read {sequential_gb_per_s:.1} GB/s; commits on a bare ring, {} × {} \
             records: {:.0} records/s, p50 {:.0} us, p99 {:.0} us",
            commit.commits_in_flight,
            commit.records_per_commit,
            commit.records_per_s,
            commit.commit_latency_us_p50,
            commit.commit_latency_us_p99,
        );
    }
    for step in &report.steps {
        print_step(step);
    }
}

fn print_step(step: &Step) {
    let title = |stream: &StreamReport| format!("{} {}s/s", stream.per_s, stream.kind);
    let titles: Vec<String> = step.streams.iter().map(title).collect();
    let mut title = titles.join(" with ");
    if step.episodes_before > 0 {
        title.push_str(&format!(" on {} episodes", step.episodes_before));
    }
    println!(
        "\n{title}\n{:<34}{:>9}{:>9}{:>9}{:>9}{:>9}",
        "us", "count", "p50", "p99", "p99.9", "max"
    );
    for stream in &step.streams {
        print_line(&format!("{} from when it was due", stream.kind), &stream.latency);
        print_line("  sent late by the client", &stream.sent_late);
        for (code, times) in &stream.refusals {
            println!("  refused with {code}: {times}");
        }
    }
    for (name, label) in STAGES {
        if let Some(latency) = step.stages.get(name) {
            print_line(label, latency);
        }
    }
    if let Some(frames) = step.frames_per_flush.filter(|_| step.stages.contains_key("commit")) {
        println!("  {frames:.1} frames per flush");
    }
}

fn print_line(label: &str, latency: &Latency) {
    let Latency { count, p50, p99, p999, max } = latency;
    println!("{label:<34}{count:>9}{p50:>9.0}{p99:>9.0}{p999:>9.0}{max:>9.0}");
}
