//! What a batch is worth: throughput and memory of the same episodes, stored one by one, in a
//! pipeline, and in batches.
//!
//! Each way has a daemon of its own, so that the most memory it ever had is that of this way. All
//! store the same number of episodes over one connection, which waits for each reply before it
//! sends the next command, but for the pipeline, which has as many singles under way as a batch of
//! the same line has episodes. *Grown* is how much more memory the daemon had at its peak than
//! before the first store: the episodes, and what it takes to store them.

use std::collections::VecDeque;
use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;
use engram_perf::daemon::{self, Daemon, DaemonSettings};
use engram_perf::pipe::{self, Pipe};
use engram_perf::random::Random;
use engram_perf::resp::{Reply, push_command};
use serde::Serialize;

/// Stores the same episodes one by one, in a pipeline, and in batches.
#[derive(Debug, Parser)]
struct Arguments {
    /// The daemon's program; beside this one unless given.
    #[arg(long)]
    engramd: Option<PathBuf>,
    /// Directory for the data; it should be on the disk that is meant.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    #[arg(long, default_value_t = 2)]
    shards: u32,
    #[arg(long, default_value_t = 128)]
    dimensions: usize,
    /// Episodes that each way stores.
    #[arg(long, default_value_t = 100_000)]
    episodes: usize,
    /// Episodes in a batch.
    #[arg(long, value_delimiter = ',', default_value = "10,100,1000,10000")]
    batches: Vec<usize>,
    /// Each way is measured so often; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[arg(long)]
    json: bool,
}

const SPACE: &[u8] = b"batches";
const TEXT: &[u8] = b"What was said, in about as many words as people use at once.";
const WAIT: Duration = Duration::from_secs(1);

/// How episodes are stored.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Way {
    OneByOne,
    /// So many singles under way.
    Pipeline(usize),
    /// So many in each `EG.MSTORE`.
    Batch(usize),
}

impl Way {
    fn name(self) -> String {
        match self {
            Self::OneByOne => "one by one".into(),
            Self::Pipeline(count) => format!("{count} singles under way"),
            Self::Batch(count) => format!("batches of {count}"),
        }
    }

    /// Commands that may be under way, and episodes in each.
    fn window(self) -> (usize, usize) {
        match self {
            Self::OneByOne => (1, 1),
            Self::Pipeline(count) => (count, 1),
            Self::Batch(count) => (1, count),
        }
    }
}

#[derive(Debug, Clone, Serialize)]
struct Figures {
    way: Way,
    per_s: f64,
    /// The most the daemon ever had.
    peak_bytes: u64,
    /// How much more that is than before the first store.
    grown_bytes: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let batches =
        arguments.batches.iter().flat_map(|count| [Way::Pipeline(*count), Way::Batch(*count)]);
    let ways: Vec<Way> = [Way::OneByOne].into_iter().chain(batches).collect();
    let mut figures = vec![Vec::new(); ways.len()];
    // Round after round, so that what else the machine does comes to all of them.
    for _ in 0..arguments.rounds {
        for (way, figures) in ways.iter().zip(&mut figures) {
            figures.push(measure(&arguments, *way)?);
        }
    }
    let medians: Vec<Figures> = figures.into_iter().map(median).collect();
    match arguments.json {
        true => println!("{}", serde_json::to_string_pretty(&medians)?),
        false => print_text(&arguments, &medians),
    }
    Ok(())
}

/// The middle one by throughput.
fn median(mut figures: Vec<Figures>) -> Figures {
    figures.sort_by(|a, b| a.per_s.total_cmp(&b.per_s));
    figures.swap_remove(figures.len() / 2)
}

fn measure(arguments: &Arguments, way: Way) -> Result<Figures, Box<dyn Error>> {
    let folder = tempfile::tempdir_in(&arguments.dir)?;
    let settings = DaemonSettings {
        engramd: daemon::program(arguments.engramd.as_ref())?,
        folder: folder.path().to_owned(),
        data: folder.path().join("data"),
        shards: arguments.shards,
    };
    let daemon = Daemon::start(&settings)?;
    let space = std::str::from_utf8(SPACE)?;
    let dimensions = arguments.dimensions.to_string();
    daemon.control()?.call(&["EG.SPACE", "CREATE", space, "DIM", &dimensions], |_| ())?;
    let mut pipe = Pipe::connect(&daemon.socket())?;
    let before_bytes = daemon.memory_bytes_peak()?;
    let (window, in_each) = way.window();
    // Made before, so that the daemon has no client to wait for.
    let mut episodes = Episodes::new(arguments.dimensions);
    let mut commands = VecDeque::new();
    while episodes.next < arguments.episodes {
        let count = in_each.min(arguments.episodes - episodes.next);
        commands.push_back((count, episodes.command(in_each > 1, count)));
    }
    let began = Instant::now();
    let mut stored = 0;
    while stored < arguments.episodes {
        while pipe.owed() < window
            && let Some((count, command)) = commands.pop_front()
        {
            pipe.push_made(&command, count);
        }
        pipe.flush()?;
        pipe::wait([&pipe], WAIT)?;
        let mut refusal = None;
        pipe.receive(|count, reply| match refused(reply) {
            Some(error) => refusal = Some(error),
            None => stored += count,
        })?;
        if let Some(refusal) = refusal {
            return Err(format!("{} were stored, then: {refusal}", stored).into());
        }
    }
    let elapsed = began.elapsed();
    let peak_bytes = daemon.memory_bytes_peak()?;
    daemon.stop()?;
    let per_s = arguments.episodes as f64 / elapsed.as_secs_f64();
    Ok(Figures { way, per_s, peak_bytes, grown_bytes: peak_bytes - before_bytes })
}

/// What was refused, of a single one or among many.
fn refused(reply: &Reply<'_>) -> Option<String> {
    match reply {
        Reply::Error(error) => Some(String::from_utf8_lossy(error).into_owned()),
        Reply::Array(items) => items.iter().find_map(refused),
        _ => None,
    }
}

/// Episodes to be stored, each once.
struct Episodes {
    random: Random,
    dimensions: usize,
    next: usize,
}

impl Episodes {
    fn new(dimensions: usize) -> Self {
        Self { random: Random::default(), dimensions, next: 0 }
    }

    /// A command that stores the next ones.
    fn command(&mut self, is_batch: bool, count: usize) -> Vec<u8> {
        let number = count.to_string();
        let mut items: Vec<[Vec<u8>; 2]> = Vec::with_capacity(count);
        for _ in 0..count {
            let floats = (0..self.dimensions).flat_map(|_| self.random.next_f32().to_le_bytes());
            items.push([format!("episode-{:010}", self.next).into_bytes(), floats.collect()]);
            self.next += 1;
        }
        let mut parts: Vec<&[u8]> = match is_batch {
            true => vec![b"EG.MSTORE", SPACE, number.as_bytes()],
            false => vec![b"EG.STORE", SPACE],
        };
        for [id, vector] in &items {
            let keyword = is_batch.then_some(&b"ITEM"[..]);
            parts.extend(keyword.into_iter().chain([&id[..], b"VEC", vector, b"TEXT", TEXT]));
        }
        let mut command = Vec::new();
        push_command(&mut command, &parts);
        command
    }
}

fn print_text(arguments: &Arguments, figures: &[Figures]) {
    let Arguments { shards, dimensions, episodes, rounds, .. } = arguments;
    println!(
        "{episodes} episodes of {dimensions} dimensions over one connection, {shards} shards; \
         medians of {rounds}"
    );
    println!(
        "{:<24}{:>12}{:>9}{:>11}{:>9}{:>11}{:>9}",
        "", "episodes/s", "times", "peak MiB", "times", "grown MiB", "times"
    );
    let one = &figures[0];
    for Figures { way, per_s, peak_bytes, grown_bytes } in figures {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        println!(
            "{:<24}{per_s:>12.0}{:>9.1}{:>11.1}{:>9.2}{:>11.1}{:>9.2}",
            way.name(),
            per_s / one.per_s,
            mib(*peak_bytes),
            *peak_bytes as f64 / one.peak_bytes as f64,
            mib(*grown_bytes),
            *grown_bytes as f64 / one.grown_bytes as f64,
        );
    }
}
