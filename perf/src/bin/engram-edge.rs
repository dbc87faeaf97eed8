//! What clients of HTTP cost those who recall over RESP: the same recalls at the same rate, in turn
//! with and without a load on the edge.
//!
//! Windows alternate within one run, so that what else the machine does comes to both sides. Of
//! each kind of load the latency counts from when a recall was due, and beside it stands what the
//! daemon says itself of the same windows: how long a recall took on its shard, and how long it
//! waited for it. The load takes what it gets: each of its clients asks again once it is answered.
//! The verdict is on what the shard says: clients and the edge also take each other's processor
//! where there is one beside the shard's. What that comes to alone shows a load that asks no shard.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Parser;
use engram_perf::daemon::{self, Control, Daemon, DaemonError, DaemonSettings};
use engram_perf::http_load::{HttpLoad, request};
use engram_perf::open_loop::{Kind, OpenLoop, Stream, Target};
use engram_perf::random::Random;
use engram_perf::resp::Reply;
use hdrhistogram::Histogram;
use serde::Serialize;

/// Recalls over RESP, with and without a load on the edge.
#[derive(Debug, Parser)]
struct Arguments {
    /// The daemon's program; beside this one unless given.
    #[arg(long)]
    engramd: Option<PathBuf>,
    /// Directory for the data.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    /// The edge needs a processor beside those of the shards.
    #[arg(long, default_value_t = 1)]
    shards: u32,
    #[arg(long, default_value_t = 128)]
    dimensions: usize,
    #[arg(long, default_value_t = 20_000)]
    episodes: u32,
    /// Recalls per second over RESP.
    #[arg(long, default_value_t = 200)]
    recalls: u32,
    /// Connections of the load.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Length of a window.
    #[arg(long, default_value_t = 2)]
    seconds: u32,
    /// Windows of each kind.
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    #[arg(long)]
    json: bool,
}

const SPACE: &str = "edge";
const RECALL_CONNECTIONS: usize = 4;
const PRELOAD_PER_S: u32 = 20_000;
/// How much greater p99 may be with a load.
const GROWTH_MAX: f64 = 1.2;
/// Operations of a batch.
const BATCH: usize = 1000;

/// A load on the edge and what it asks.
#[derive(Debug)]
struct Load {
    name: &'static str,
    requests: Vec<Vec<u8>>,
    /// What the shard says of recalls is of these too.
    recalls: bool,
}

impl Load {
    fn new(name: &'static str, requests: Vec<Vec<u8>>) -> Self {
        Self { name, requests, recalls: false }
    }
}

/// All loads. The first is none.
fn loads(episodes: u32, dimensions: usize) -> Vec<Load> {
    let path = |nth: u32| format!("/v1/spaces/{SPACE}/episodes/episode-{:010}", nth % episodes);
    let get = |nth: u32| request("GET", &path(nth * 7919), "");
    let mut batch = String::from("[");
    for nth in 0..BATCH {
        let comma = if nth > 0 { "," } else { "" };
        let id = nth as u32 * 31 % episodes;
        write!(batch, r#"{comma}{{"op":"get","space":"{SPACE}","id":"episode-{id:010}"}}"#)
            .expect("a string takes everything");
    }
    batch.push(']');
    let mut random = Random::default();
    let mut recall = |_| {
        let cue: Vec<f32> = (0..dimensions).map(|_| random.next_f32()).collect();
        let path = format!("/v1/spaces/{SPACE}/recall");
        request("POST", &path, &format!(r#"{{"k":10,"cues":[{{"vec":{cue:?}}}]}}"#))
    };
    vec![
        Load::new("none", Vec::new()),
        Load::new("the page, no shard asked", vec![request("GET", "/", "")]),
        Load::new("the page's figures", figures_of_the_page()),
        Load::new("episodes by id", (0..64).map(get).collect()),
        Load::new("batches of 1,000 gets", vec![request("POST", "/v1/batch", &batch)]),
        Load { recalls: true, ..Load::new("recalls", (0..64).map(&mut recall).collect()) },
    ]
}

/// What the dashboard asks for, and a scrape.
fn figures_of_the_page() -> Vec<Vec<u8>> {
    let paths = ["/metrics", "/v1/stats", "/v1/latency/histogram", "/v1/spaces", "/healthz"];
    paths.map(|path| request("GET", path, "")).to_vec()
}

/// In microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
struct Latency {
    p50: f64,
    p99: f64,
}

/// What recalls saw beside one kind of load.
#[derive(Debug, Serialize)]
struct Figures {
    load: &'static str,
    answers_per_s: f64,
    /// From when a recall was due, over all windows.
    recall: Latency,
    /// The daemon's own account: medians of the windows. None where the load recalls as well.
    on_shard: Option<Latency>,
    queued: Latency,
}

/// The windows of one kind of load.
struct Windows {
    answers: u64,
    recall_ns: Histogram<u64>,
    on_shard: Vec<Latency>,
    queued: Vec<Latency>,
}

impl Default for Windows {
    fn default() -> Self {
        let recall_ns = Histogram::new(3).expect("three digits are valid");
        Self { answers: 0, recall_ns, on_shard: Vec::new(), queued: Vec::new() }
    }
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
    let daemon = Daemon::start(&settings)?;
    let mut control = daemon.control()?;
    let dimensions = arguments.dimensions.to_string();
    control.call(&["EG.SPACE", "CREATE", SPACE, "DIM", &dimensions], |_| ())?;
    let socket = daemon.socket();
    let target = Target {
        socket: &socket,
        space: SPACE,
        dimensions: arguments.dimensions,
        first_episode: 0,
    };
    let mut client = OpenLoop::connect(&target, RECALL_CONNECTIONS)?;
    let count = arguments.episodes.into();
    client.run(&[Stream { kind: Kind::Store, per_s: PRELOAD_PER_S, count }])?;
    control.call(&["EG.CONSOLIDATE"], |_| ())?;
    let loads = loads(arguments.episodes, arguments.dimensions);
    let mut windows: Vec<Windows> = loads.iter().map(|_| Windows::default()).collect();
    for _ in 0..arguments.rounds {
        for (load, windows) in loads.iter().zip(&mut windows) {
            measure(&arguments, &socket, &mut client, &mut control, load, windows)?;
        }
    }
    daemon.stop()?;
    let seconds = f64::from(arguments.seconds) * arguments.rounds as f64;
    let figures: Vec<Figures> =
        loads.iter().zip(&windows).map(|(load, windows)| figures(load, seconds, windows)).collect();
    match arguments.json {
        true => println!("{}", serde_json::to_string_pretty(&figures)?),
        false => print_text(&arguments, &figures),
    }
    Ok(())
}

/// One window with one kind of load.
fn measure(
    arguments: &Arguments,
    socket: &Path,
    client: &mut OpenLoop,
    control: &mut Control,
    load: &Load,
    windows: &mut Windows,
) -> Result<(), Box<dyn Error>> {
    let recalls = Stream {
        kind: Kind::Recall,
        per_s: arguments.recalls,
        count: u64::from(arguments.recalls * arguments.seconds),
    };
    let http = match load.requests.is_empty() {
        true => None,
        false => Some(HttpLoad::start(socket, arguments.connections, &load.requests)?),
    };
    control.call(&["CONFIG", "RESETSTAT"], |_| ())?;
    let outcome = client.run(&[recalls])?.remove(0);
    let stage = |name| control_stage(control, name);
    let [on_shard, queued] = ["recall", "queue_wait"].map(stage);
    if let Some(http) = http {
        windows.answers += http.stop()?.answers;
    }
    windows.recall_ns.add(&outcome.latency_ns)?;
    windows.on_shard.push(on_shard?);
    windows.queued.push(queued?);
    Ok(())
}

/// What the daemon says of a stage since it was last reset.
fn control_stage(control: &mut Control, name: &str) -> Result<Latency, DaemonError> {
    control.call(&["EG.STATS"], |stats| {
        let stage = stats.get("latency_us").and_then(|all| all.get(name));
        let of = |key| stage.and_then(|stage| stage.get(key)).and_then(Reply::number);
        Latency { p50: of("p50").unwrap_or_default(), p99: of("p99").unwrap_or_default() }
    })
}

fn figures(load: &Load, seconds: f64, windows: &Windows) -> Figures {
    let us = |share| windows.recall_ns.value_at_quantile(share) as f64 / 1e3;
    Figures {
        load: load.name,
        answers_per_s: windows.answers as f64 / seconds,
        recall: Latency { p50: us(0.5), p99: us(0.99) },
        on_shard: (!load.recalls).then(|| median(&windows.on_shard)),
        queued: median(&windows.queued),
    }
}

fn median(windows: &[Latency]) -> Latency {
    let middle = |of: fn(&Latency) -> f64| {
        let mut values: Vec<f64> = windows.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Latency { p50: middle(|latency| latency.p50), p99: middle(|latency| latency.p99) }
}

fn print_text(arguments: &Arguments, figures: &[Figures]) {
    let Arguments { shards, recalls, episodes, dimensions, connections, seconds, rounds, .. } =
        arguments;
    println!(
        "{shards} shards, {episodes} episodes of {dimensions} dimensions, {recalls} recalls/s over \
         RESP; {connections} clients of HTTP; {rounds} windows of {seconds} s each, in turn; us"
    );
    println!(
        "{:<28}{:>11}{:>9}{:>9}{:>8}{:>11}{:>9}{:>8}{:>12}",
        "load on the edge",
        "answers/s",
        "p50",
        "p99",
        "times",
        "shard p50",
        "p99",
        "times",
        "queued p99"
    );
    let idle = &figures[0];
    let growth = |on_shard: &Latency| on_shard.p99 / idle.on_shard.map_or(f64::NAN, |own| own.p99);
    for Figures { load, answers_per_s, recall, on_shard, queued } in figures {
        let on_shard = on_shard.map_or_else(String::new, |on_shard| {
            let Latency { p50, p99 } = on_shard;
            format!("{p50:>11.0}{p99:>9.0}{:>8.2}{:>12.0}", growth(&on_shard), queued.p99)
        });
        println!(
            "{load:<28}{answers_per_s:>11.0}{:>9.0}{:>9.0}{:>8.2}{on_shard}",
            recall.p50,
            recall.p99,
            recall.p99 / idle.recall.p99,
        );
    }
    for Figures { load, on_shard, .. } in &figures[1..] {
        let Some(growth) = on_shard.as_ref().map(growth) else { continue };
        let verdict = if growth <= GROWTH_MAX { "holds:" } else { "FAILS:" };
        println!(
            "{verdict} p99 of recalls on their shard, beside {load}, is {growth:.2} times what it \
             is alone"
        );
    }
}
