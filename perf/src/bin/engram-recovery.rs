//! How long a store takes from the start of the daemon until it serves, beside the rate at which
//! the disk gives the same files at all.
//!
//! The columns of a table are measured in turn, round by round, so that a disk or machine that is
//! slow for a while is slow for all of them, and each round gives a ratio of its own. Before each,
//! the files leave the page cache and the free memory is brought into the state that
//! `--idle-seconds` asks for.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use engram_perf::daemon::{self, Daemon, DaemonSettings};
use engram_perf::raw_read::{RawFiles, ReadPlan, plans};
use engram_perf::recovery::{FreeMemory, Recovery, Stage};
use engram_perf::recovery_store::{RecoveryStore, StorePlan};
use engram_perf::spread::Spread;
use engram_perf::usage::Usage;
use serde::Serialize;

/// Measures how fast a store is recovered.
#[derive(Debug, Parser)]
struct Arguments {
    /// The daemon's program; beside this one unless given.
    #[arg(long)]
    engramd: Option<PathBuf>,
    /// Directory to make the stores in; it should be on the disk of the data directory.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    /// A data directory to measure instead of new ones; no daemon may use it.
    #[arg(long, conflicts_with_all = ["shards", "mib"])]
    store: Option<PathBuf>,
    /// Numbers of shards, a store for each.
    #[arg(long, value_delimiter = ',', default_value = "1,2",
        value_parser = clap::value_parser!(u32).range(1..=64))]
    shards: Vec<u32>,
    /// Mebibytes of a store's logs.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..))]
    mib: u64,
    /// How often everything is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds in which nobody uses the free memory before each recovery, so that a hypervisor may
    /// take it away; without them, it was in use until just now.
    #[arg(long)]
    idle_seconds: Option<u64>,
    /// Take the engine's recovery apart.
    #[arg(long)]
    profile: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Threads that read the raw files, beside one for each shard.
const RAW_THREADS: usize = 2;

#[derive(Debug, Serialize)]
struct Table {
    shards: u32,
    episodes: u64,
    /// Of the logs as far as they are used: what all rates but the raw ones are rates of.
    log_bytes: u64,
    /// Of the segment files, which the raw reading reads whole.
    file_bytes: u64,
    raw: Vec<Raw>,
    /// From `Shard::open` being called on one thread for each shard until all have returned.
    engine_s: Spread,
    /// From the daemon being launched until a `PING` was answered.
    daemon_ping_s: Spread,
    /// From the daemon being launched until an `EG.GET` was answered.
    daemon_get_s: Spread,
    /// The replay alone, as the daemon's own log says; left out where it does not.
    daemon_says_s: Option<Spread>,
    /// Rate of the engine, and of the daemon until `EG.GET`, over the best raw rate of the round.
    engine_share_of_raw: Spread,
    daemon_share_of_raw: Spread,
    daemon_memory_bytes_peak: u64,
    stages: Vec<StageFigures>,
}

/// The fastest way found to read the files on a number of threads.
#[derive(Debug, Clone, Serialize)]
struct Raw {
    #[serde(flatten)]
    plan: ReadPlan,
    gb_per_s: Spread,
}

#[derive(Debug, Serialize)]
struct StageFigures {
    stage: Stage,
    wall_s: Spread,
    /// Of the fastest round, which others disturbed least.
    usage: Usage,
}

/// What one round measured.
struct Round {
    raw_gb_per_s: Vec<f64>,
    engine_s: f64,
    daemon: DaemonRound,
    stages: Vec<Usage>,
}

struct DaemonRound {
    ping_s: f64,
    get_s: f64,
    says_s: Option<f64>,
    memory_bytes_peak: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let mut tables = Vec::new();
    if let Some(path) = &arguments.store {
        tables.push(measure(&arguments, &RecoveryStore::take(path)?)?);
    } else {
        for &shards in &arguments.shards {
            let folder = tempfile::tempdir_in(&arguments.dir)?;
            let plan = StorePlan { shards, log_bytes: arguments.mib << 20 };
            let store = RecoveryStore::make(&folder.path().join("data"), plan)?;
            tables.push(measure(&arguments, &store)?);
        }
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&tables)?);
    } else {
        print_text(&arguments, &tables);
    }
    Ok(())
}

fn measure(arguments: &Arguments, store: &RecoveryStore) -> Result<Table, Box<dyn Error>> {
    let free_memory = arguments
        .idle_seconds
        .map_or(FreeMemory::JustUsed, |s| FreeMemory::Idle(Duration::from_secs(s)));
    let recovery = Recovery::new(store, free_memory)?;
    let plans = best_plans(store)?;
    let rounds = (0..arguments.rounds)
        .map(|_| round(arguments, store, &recovery, &plans))
        .collect::<Result<Vec<_>, _>>()?;
    let log_bytes = recovery.contents.log_bytes;
    let share_of_raw = |seconds: fn(&Round) -> f64| {
        Spread::of(rounds.iter().map(|round| {
            let best = round.raw_gb_per_s.iter().copied().fold(0.0, f64::max);
            gb_per_s(log_bytes, seconds(round)) / best
        }))
    };
    let spread = |of: fn(&Round) -> f64| Spread::of(rounds.iter().map(of));
    let says: Option<Vec<f64>> = rounds.iter().map(|round| round.daemon.says_s).collect();
    let raw = plans.iter().enumerate().map(|(nth, &plan)| {
        let rates = rounds.iter().map(|round| round.raw_gb_per_s[nth]);
        Raw { plan, gb_per_s: Spread::of(rates) }
    });
    let peaks = rounds.iter().map(|round| round.daemon.memory_bytes_peak);
    Ok(Table {
        shards: store.header.shards,
        episodes: recovery.contents.episodes,
        log_bytes,
        file_bytes: RawFiles::open(&store.files()?)?.bytes(),
        raw: raw.collect(),
        engine_s: spread(|round| round.engine_s),
        daemon_ping_s: spread(|round| round.daemon.ping_s),
        daemon_get_s: spread(|round| round.daemon.get_s),
        daemon_says_s: says.map(Spread::of),
        engine_share_of_raw: share_of_raw(|round| round.engine_s),
        daemon_share_of_raw: share_of_raw(|round| round.daemon.get_s),
        daemon_memory_bytes_peak: peaks.max().expect("at least one round"),
        stages: stage_figures(&rounds),
    })
}

/// The fastest plan for each number of threads.
fn best_plans(store: &RecoveryStore) -> Result<Vec<ReadPlan>, Box<dyn Error>> {
    let mut threads = vec![store.header.shards as usize, RAW_THREADS];
    threads.dedup();
    let mut best = Vec::new();
    for threads in threads {
        let mut tried = Vec::new();
        for plan in plans(threads) {
            store.drop_page_cache()?;
            tried.push((RawFiles::open(&store.files()?)?.read(plan)?, plan));
        }
        let fastest = tried.into_iter().min_by_key(|(took, _)| *took);
        best.push(fastest.expect("there are plans").1);
    }
    Ok(best)
}

/// Everything once; the raw readings stand between what they are compared with.
fn round(
    arguments: &Arguments,
    store: &RecoveryStore,
    recovery: &Recovery<'_>,
    plans: &[ReadPlan],
) -> Result<Round, Box<dyn Error>> {
    let mut raw_gb_per_s = vec![0.0_f64; plans.len()];
    let mut read_raw = || -> Result<(), Box<dyn Error>> {
        for (best, &plan) in raw_gb_per_s.iter_mut().zip(plans) {
            store.drop_page_cache()?;
            let files = RawFiles::open(&store.files()?)?;
            let took = files.read(plan)?.as_secs_f64();
            *best = best.max(gb_per_s(files.bytes(), took));
        }
        Ok(())
    };
    read_raw()?;
    let engine_s = recovery.run(Stage::Shard)?.wall_s;
    read_raw()?;
    let daemon = serve(arguments, store, recovery)?;
    let stages = if arguments.profile { &Stage::ALL[..] } else { &[] };
    let stages = stages.iter().map(|&stage| recovery.run(stage)).collect::<Result<_, _>>()?;
    Ok(Round { raw_gb_per_s, engine_s, daemon, stages })
}

/// A daemon's life from its launch until it has shown that it serves.
fn serve(
    arguments: &Arguments,
    store: &RecoveryStore,
    recovery: &Recovery<'_>,
) -> Result<DaemonRound, Box<dyn Error>> {
    let engramd = daemon::program(arguments.engramd.as_ref())?;
    let folder = tempfile::tempdir_in(&arguments.dir)?;
    recovery.prepare()?;
    let mut daemon = Daemon::launch(&DaemonSettings {
        engramd,
        folder: folder.path().to_owned(),
        data: store.path.clone(),
        shards: store.header.shards,
    })?;
    let known = &recovery.contents.known;
    let serving = daemon.serving(&["EG.GET", &known.space, &known.id])?;
    let episodes = daemon.control()?.call(&["EG.STATS"], |stats| {
        stats.get("episodes").and_then(engram_perf::resp::Reply::number)
    })?;
    if episodes != Some(recovery.contents.episodes as f64) {
        let expected = recovery.contents.episodes;
        return Err(format!("the daemon serves {episodes:?} of {expected} episodes").into());
    }
    let round = DaemonRound {
        ping_s: serving.ping.as_secs_f64(),
        get_s: serving.command.as_secs_f64(),
        says_s: daemon.replay_seconds(),
        memory_bytes_peak: daemon.memory_bytes_peak()?,
    };
    // A clean stop leaves the files as they were, so that every round reads the same.
    daemon.stop()?;
    Ok(round)
}

fn stage_figures(rounds: &[Round]) -> Vec<StageFigures> {
    let measured = Stage::ALL.into_iter().enumerate().filter(|_| !rounds[0].stages.is_empty());
    let figures = measured.map(|(nth, stage)| {
        let usages = || rounds.iter().map(|round| round.stages[nth]);
        let fastest = usages().min_by(|a, b| a.wall_s.total_cmp(&b.wall_s));
        StageFigures {
            stage,
            wall_s: Spread::of(usages().map(|usage| usage.wall_s)),
            usage: fastest.expect("at least one round"),
        }
    });
    figures.collect()
}

fn gb_per_s(bytes: u64, seconds: f64) -> f64 {
    bytes as f64 / seconds / 1e9
}

fn print_text(arguments: &Arguments, tables: &[Table]) {
    let place = arguments.store.as_deref().unwrap_or(&arguments.dir);
    println!("recovery of stores in {}", Path::display(place));
    let memory = arguments.idle_seconds.map_or("in use until just before".to_owned(), |seconds| {
        format!("not in use for {seconds} s before")
    });
    println!(
        "median (min–max) of {} rounds, raw reading and recovery in turn; no page in the cache, \
         free memory {memory};\nshare: of the fastest raw reading of the same round\n",
        arguments.rounds
    );
    for table in tables {
        print_table(table);
    }
}

fn print_table(table: &Table) {
    let Table { shards, episodes, log_bytes, file_bytes, .. } = table;
    println!(
        "{shards} shard{}: {episodes} episodes, {log_bytes} bytes of log in {file_bytes} bytes of \
         files",
        if *shards == 1 { "" } else { "s" },
    );
    println!("{:<44}{:>20}{:>20}{:>18}", "", "seconds", "GB/s", "share of raw, %");
    for Raw { plan, gb_per_s } in &table.raw {
        let name = format!(
            "raw, {} thread{}, {} × {} KiB in flight each",
            plan.threads,
            if plan.threads == 1 { "" } else { "s" },
            plan.depth,
            plan.block_bytes >> 10,
        );
        let seconds = gb_per_s.map(|rate| *file_bytes as f64 / rate / 1e9);
        println!("{name:<44}{seconds:>20.3}{gb_per_s:>20.2}");
    }
    let percent = |share: Spread| share.map(|share| share * 100.0);
    let rate = |seconds: Spread| seconds.map(|seconds| gb_per_s(*log_bytes, seconds));
    let line = |name: &str, seconds: Spread, share: Option<Spread>| {
        let share = share.map_or_else(String::new, |share| format!("{:>18.0}", percent(share)));
        println!("{name:<44}{seconds:>20.3}{:>20.2}{share}", rate(seconds));
    };
    line("engine, a thread for each shard", table.engine_s, Some(table.engine_share_of_raw));
    println!("{:<44}{:>20.3}", "daemon, until PING is answered", table.daemon_ping_s);
    line("daemon, until EG.GET is answered", table.daemon_get_s, Some(table.daemon_share_of_raw));
    if let Some(seconds) = table.daemon_says_s {
        line("daemon's replay, by its own log", seconds, None);
    }
    println!("daemon's memory at its peak: {} MiB\n", table.daemon_memory_bytes_peak >> 20);
    if !table.stages.is_empty() {
        print_stages(&table.stages);
    }
}

fn print_stages(stages: &[StageFigures]) {
    println!(
        "{:<30}{:>20}{:>9}{:>9}{:>9}{:>9}{:>9}\n{:<30}{:>20}{:>9}{:>9}{:>9}{:>9}{:>9}",
        "the engine alone, doing less",
        "",
        "user",
        "system",
        "queued",
        "asleep",
        "pages",
        "and less; of the fastest round",
        "seconds",
        "s",
        "s",
        "s",
        "s",
        "touched",
    );
    for StageFigures { stage, wall_s, usage } in stages {
        println!(
            "{:<30}{wall_s:>20.3}{:>9.3}{:>9.3}{:>9.3}{:>9.3}{:>9.0}",
            stage.name(),
            usage.user_s,
            usage.system_s,
            usage.queued_s,
            usage.waiting_s,
            usage.page_faults,
        );
    }
    let processor_s = |stage: Stage| {
        let Usage { user_s, system_s, .. } = stages[stage as usize].usage;
        user_s + system_s
    };
    let less = |more: Stage, less: Stage| processor_s(more) - processor_s(less);
    println!(
        "so, of the processor: checksums {:.3} s, reading and walking {:.3} s, opening the log \
         {:.3} s, applying {:.3} s, in which first touches of the arena {:.3} s; asleep for reads \
         {:.3} s\n",
        processor_s(Stage::Checksums),
        less(Stage::Walk, Stage::Checksums),
        less(Stage::Log, Stage::Walk),
        less(Stage::Shard, Stage::Log),
        processor_s(Stage::Memory),
        stages[Stage::Shard as usize].usage.waiting_s,
    );
}
