//! A daemon that is offered more than it takes, through its socket, and what its clients see.
//!
//! First what it sustains is measured, in a closed loop, and how long a store takes at half of
//! that. What it takes in its first seconds goes into memory that is still empty and says little of
//! what consolidation keeps up with, so only the second half of that time counts. Then so many
//! times what it sustains is offered, once by clients that ignore the hint of a refusal and once by
//! clients that honour it, with the daemon's memory beside it. At the end as much is offered as it
//! sustains, at once, and then half of it.
//!
//! Verdicts: memory stays flat; the daemon counted every refusal that clients saw; what it accepted
//! took at most [`LATENCY_GROWTH_MAX`] times as long as at half; full speed was back within
//! [`RECOVERY_MAX`]. How long something took counts from the send where hints are honoured. Clients
//! that ignore them have more under way than the daemon reads, and wait in their own sockets: of
//! them the daemon's own account counts, from when it has read a store, and theirs is shown.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use engram_perf::daemon::{self, Control, Daemon, DaemonError, DaemonSettings};
use engram_perf::overload::{Account, Client, Offer, Target};
use engram_perf::resp::Reply;
use serde::Serialize;

/// Offers a daemon more than it takes.
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
    #[arg(long, default_value_t = 16)]
    connections: usize,
    #[arg(long, default_value_t = 64)]
    dimensions: usize,
    /// Different episodes, each stored over and over.
    #[arg(long, default_value_t = 100_000)]
    episodes: usize,
    /// How long each kind of clients offers too much.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// How long all is asked for to find out what it sustains.
    #[arg(long, default_value_t = 60)]
    calibration: u64,
    /// How many times what it sustains is offered.
    #[arg(long, default_value_t = 2.0)]
    times: f64,
    /// What clients do about the hint of a refusal.
    #[arg(long, value_delimiter = ',', default_value = "ignored,honoured")]
    hints: Vec<Hints>,
    /// Keys of the daemon's configuration.
    #[arg(long = "set", default_value = "memory_bytes_max=1GiB")]
    keys: Vec<String>,
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Hints {
    Ignored,
    Honoured,
}

const SPACE: &str = "overloaded";
/// How long half of what it sustains is offered.
const AT_HALF: Duration = Duration::from_secs(5);
/// Under way on each connection when all is asked for.
const UNDER_WAY: usize = 32;
const WINDOW_S: u64 = 10;
/// Windows of the recovery, and how long all of it may take.
const RECOVERY_WINDOW: Duration = Duration::from_millis(100);
const RECOVERY_MAX: Duration = Duration::from_secs(1);
const RECOVERY_WINDOWS: u32 = 30;
/// The share of what it sustained, and is offered then, that counts as full speed.
const FULL_SPEED: f64 = 0.9;
/// Of the daemon's own latencies those that a store goes through, and what may hold it up. The
/// first two are one behind the other.
const STAGES: [&str; 5] = ["queue_wait", "commit", "commit_wait", "commit_flush", "work"];
const LATENCY_GROWTH_MAX: f64 = 3.0;
/// How much more memory the last third of the windows may have than the middle one, on average.
const MEMORY_GROWTH_MAX: f64 = 1.05;

#[derive(Debug, Serialize)]
struct Report {
    shards: u32,
    connections: usize,
    dimensions: usize,
    /// What was taken while memory was empty.
    at_first_per_s: f64,
    sustained_per_s: f64,
    idle: Latency,
    /// The daemon's own account of the same.
    idle_inside: Latency,
    runs: Vec<Run>,
}

/// In microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
struct Latency {
    p50: f64,
    p99: f64,
}

impl Latency {
    fn of(account: &Account) -> Self {
        Self { p50: account.latency_us(0.5), p99: account.latency_us(0.99) }
    }
}

#[derive(Debug, Serialize)]
struct Run {
    hints: Hints,
    offered_per_s: u32,
    windows: Vec<Window>,
    latency: Latency,
    /// The daemon's own account of the same time.
    stages: BTreeMap<&'static str, Latency>,
    refused: BTreeMap<String, u64>,
    /// Refusals that the daemon counted meanwhile.
    counted: u64,
    full_speed_after_ms: Option<u64>,
    /// What was accepted per second in each window of the recovery, from its beginning on.
    recovery_per_s: Vec<f64>,
    idle_after: Latency,
    verdicts: Vec<Verdict>,
}

#[derive(Debug, Serialize)]
struct Window {
    accepted_per_s: f64,
    refused: u64,
    held_by_socket: u64,
    held_by_hint: u64,
    latency: Latency,
    memory_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Verdict {
    what: &'static str,
    holds: bool,
    got: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir_in(&arguments.dir)?;
    let settings = DaemonSettings {
        engramd: daemon::program(arguments.engramd.as_ref())?,
        folder: folder.path().to_owned(),
        data: folder.path().join("data"),
        shards: arguments.shards,
    };
    let daemon = Daemon::start_with(&settings, &arguments.keys)?;
    let dimensions = arguments.dimensions.to_string();
    daemon.control()?.call(&["EG.SPACE", "CREATE", SPACE, "DIM", &dimensions], |_| ())?;
    let mut client = connect(&arguments, &daemon, Hints::Honoured)?;
    let half = Duration::from_secs(arguments.calibration) / 2;
    let at_first_per_s = client.offer(Offer::UnderWay(UNDER_WAY), half)?.accepted_per_s();
    let sustained_per_s = client.offer(Offer::UnderWay(UNDER_WAY), half)?.accepted_per_s();
    client.drain()?;
    let half = Offer::PerS((sustained_per_s / 2.0) as u32);
    daemon.control()?.call(&["CONFIG", "RESETSTAT"], |_| ())?;
    let idle = Latency::of(&client.offer(half, AT_HALF)?);
    client.drain()?;
    let idle_inside = inside(&daemon.control()?.call(&["EG.STATS"], stages)?);
    drop(client);
    let before = Before { sustained_per_s, half, idle, idle_inside };
    let runs = arguments.hints.iter().map(|hints| run(&arguments, &daemon, *hints, &before));
    let report = Report {
        shards: arguments.shards,
        connections: arguments.connections,
        dimensions: arguments.dimensions,
        at_first_per_s,
        sustained_per_s,
        idle,
        idle_inside,
        runs: runs.collect::<Result<_, _>>()?,
    };
    daemon.stop()?;
    match arguments.json {
        true => println!("{}", serde_json::to_string_pretty(&report)?),
        false => print_text(&report),
    }
    Ok(())
}

fn connect(arguments: &Arguments, daemon: &Daemon, hints: Hints) -> std::io::Result<Client> {
    Client::connect(&Target {
        socket: &daemon.socket(),
        space: SPACE,
        dimensions: arguments.dimensions,
        episodes: arguments.episodes,
        connections: arguments.connections,
        honours_hints: hints == Hints::Honoured,
    })
}

/// What the daemon does when nobody offers too much.
struct Before {
    sustained_per_s: f64,
    half: Offer,
    idle: Latency,
    idle_inside: Latency,
}

fn run(
    arguments: &Arguments,
    daemon: &Daemon,
    hints: Hints,
    before: &Before,
) -> Result<Run, Box<dyn Error>> {
    let mut control = daemon.control()?.patient()?;
    let mut client = connect(arguments, daemon, hints)?;
    control.call(&["CONFIG", "RESETSTAT"], |_| ())?;
    let offered_per_s = (before.sustained_per_s * arguments.times) as u32;
    let (mut windows, mut all) = (Vec::new(), Account::default());
    for _ in 0..arguments.seconds.div_ceil(WINDOW_S) {
        let window = Duration::from_secs(WINDOW_S.min(arguments.seconds));
        let account = client.offer(Offer::PerS(offered_per_s), window)?;
        windows.push(Window {
            accepted_per_s: account.accepted_per_s(),
            refused: account.refused(),
            held_by_socket: account.held_by_socket,
            held_by_hint: account.held_by_hint,
            latency: Latency::of(&account),
            memory_bytes: daemon.memory_bytes()?,
        });
        all += &account;
    }
    let stages = control.call(&["EG.STATS"], stages)?;
    // What was under way at the end is answered among what comes now.
    let mut after = Account::default();
    let (mut full_speed_after, mut recovery_per_s) = (None, Vec::new());
    let all_it_sustains = Offer::PerS(before.sustained_per_s as u32);
    for nth in 1..=RECOVERY_WINDOWS {
        let account = client.offer(all_it_sustains, RECOVERY_WINDOW)?;
        if account.accepted_per_s() >= FULL_SPEED * before.sustained_per_s {
            full_speed_after.get_or_insert(nth * RECOVERY_WINDOW);
        }
        recovery_per_s.push(account.accepted_per_s());
        after += &account;
    }
    after += &client.drain()?;
    let idle_after = client.offer(before.half, AT_HALF)?;
    after += &client.drain()?;
    let mut refused = all.refused.clone();
    for (reason, times) in after.refused.iter().chain(&idle_after.refused) {
        *refused.entry(reason.clone()).or_default() += times;
    }
    let mut run = Run {
        hints,
        offered_per_s,
        windows,
        latency: Latency::of(&all),
        stages,
        refused,
        counted: counted(&mut control)?,
        full_speed_after_ms: full_speed_after.map(|after| after.as_millis() as u64),
        recovery_per_s,
        idle_after: Latency::of(&idle_after),
        verdicts: Vec::new(),
    };
    run.verdicts = verdicts(&run, before);
    Ok(run)
}

fn stages(stats: &Reply<'_>) -> BTreeMap<&'static str, Latency> {
    let stage = |name: &'static str| {
        let stage = stats.get("latency_us")?.get(name)?;
        let of = |key| stage.get(key).and_then(Reply::number);
        Some((name, Latency { p50: of("p50")?, p99: of("p99")? }))
    };
    STAGES.into_iter().filter_map(stage).collect()
}

/// From when a store was read until it was durable. The sum of quantiles is no less than the
/// quantile of sums usually is.
fn inside(stages: &BTreeMap<&'static str, Latency>) -> Latency {
    let sum = |of: fn(&Latency) -> f64| {
        STAGES[..2].iter().filter_map(|name| stages.get(name)).map(of).sum()
    };
    Latency { p50: sum(|latency| latency.p50), p99: sum(|latency| latency.p99) }
}

/// Refusals of all kinds since they were last reset.
fn counted(control: &mut Control) -> Result<u64, DaemonError> {
    control.call(&["EG.STATS"], |stats| match stats.get("refusals") {
        Some(Reply::Map(codes)) => {
            codes.iter().filter_map(|(_, times)| times.number()).sum::<f64>() as u64
        }
        _ => 0,
    })
}

fn verdicts(run: &Run, before: &Before) -> Vec<Verdict> {
    let memory: Vec<f64> = run.windows.iter().map(|window| window.memory_bytes as f64).collect();
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let third = memory.len().div_ceil(3);
    let late = mean(&memory[memory.len() - third..]);
    let middle = mean(&memory[(memory.len() - third) / 2..][..third]);
    let refused: u64 = run.refused.values().sum();
    let (took, idle) = match run.hints {
        Hints::Honoured => (run.latency, before.idle),
        Hints::Ignored => (inside(&run.stages), before.idle_inside),
    };
    let growth = [took.p50 / idle.p50, took.p99 / idle.p99];
    let full_speed_ms = run.full_speed_after_ms;
    vec![
        Verdict {
            what: "memory is flat",
            holds: late <= middle * MEMORY_GROWTH_MAX,
            got: format!("the last third has {:.2} times what the middle has", late / middle),
        },
        Verdict {
            what: "every refusal is counted",
            holds: refused == run.counted,
            got: format!("clients saw {refused}, the daemon counted {}", run.counted),
        },
        Verdict {
            what: "what is accepted takes at most 3 times as long",
            holds: growth.iter().all(|times| *times <= LATENCY_GROWTH_MAX),
            got: format!("{:.1} times at p50, {:.1} times at p99", growth[0], growth[1]),
        },
        Verdict {
            what: "full speed within a second",
            holds: full_speed_ms.is_some_and(|ms| u128::from(ms) <= RECOVERY_MAX.as_millis()),
            got: full_speed_ms.map_or("not within the time".into(), |ms| format!("{ms} ms")),
        },
    ]
}

fn print_text(report: &Report) {
    let Report { shards, connections, dimensions, at_first_per_s, sustained_per_s, .. } = report;
    let Report { idle, idle_inside, runs, .. } = report;
    println!(
        "{shards} shards, {connections} connections, {dimensions} dimensions; at first \
         {at_first_per_s:.0} stores/s, sustained {sustained_per_s:.0}"
    );
    println!(
        "at half of that p50 {:.0} us, p99 {:.0} us; as the daemon says {:.0} and {:.0}",
        idle.p50, idle.p99, idle_inside.p50, idle_inside.p99
    );
    for run in runs {
        print_run(run);
    }
}

fn print_run(run: &Run) {
    let hints = match run.hints {
        Hints::Ignored => "ignored",
        Hints::Honoured => "honoured",
    };
    println!("\n{} stores/s offered, hints {hints}", run.offered_per_s);
    println!(
        "{:>6}{:>12}{:>12}{:>14}{:>12}{:>9}{:>9}{:>12}",
        "s", "accepted/s", "refused", "held: socket", "hint", "p50 us", "p99 us", "memory MiB"
    );
    for (nth, window) in run.windows.iter().enumerate() {
        println!(
            "{:>6}{:>12.0}{:>12}{:>14}{:>12}{:>9.0}{:>9.0}{:>12}",
            nth as u64 * WINDOW_S,
            window.accepted_per_s,
            window.refused,
            window.held_by_socket,
            window.held_by_hint,
            window.latency.p50,
            window.latency.p99,
            window.memory_bytes >> 20,
        );
    }
    let Latency { p50, p99 } = run.latency;
    println!("of all that was accepted: p50 {p50:.0} us, p99 {p99:.0} us");
    for (name, Latency { p50, p99 }) in &run.stages {
        println!("  of it {name}, as the daemon says: p50 {p50:.0} us, p99 {p99:.0} us");
    }
    let recovery: Vec<String> =
        run.recovery_per_s.iter().map(|per_s| format!("{:.0}", per_s / 1e3)).collect();
    println!(
        "afterwards, thousands of stores/s in each {} ms: {}",
        RECOVERY_WINDOW.as_millis(),
        recovery.join(" ")
    );
    let Latency { p50, p99 } = run.idle_after;
    println!("afterwards, at half: p50 {p50:.0} us, p99 {p99:.0} us");
    for (reason, times) in &run.refused {
        println!("refused {times} times: {reason}");
    }
    for Verdict { what, holds, got } in &run.verdicts {
        println!("{} {what}: {got}", if *holds { "holds:" } else { "FAILS:" });
    }
}
