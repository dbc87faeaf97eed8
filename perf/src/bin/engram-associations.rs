//! What associations cost a client: recalls with and without them, one by one and in batches.
//!
//! A daemon of its own stores rows of a file with the links of a graph and consolidates them. Then
//! recalls near stored rows are timed one after the other on one connection, plain and with
//! spreading, and after them batches of them in one pipeline, beside spreads from ids. A batch is
//! timed from its first byte to its last reply, and its replies are compared with those of the
//! singles, byte by byte.

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use engram_perf::daemon::{self, Control, Daemon, DaemonSettings};
use engram_perf::graphs::{GraphArguments, Links};
use engram_perf::pipeline::{Pipeline, Replies, quantile};
use engram_perf::random::Random;
use engram_perf::resp::{Reply, push_command};
use engram_perf::vectors::Halves;
use engram_shards::limits::LINKS_MAX;
use serde::Serialize;

/// Measures recalls with associations through the socket.
#[derive(Debug, Parser)]
struct Arguments {
    /// The daemon's program; beside this one unless given.
    #[arg(long)]
    engramd: Option<PathBuf>,
    /// An .npy file of float16 rows: row n has the links of node n.
    vectors: PathBuf,
    #[command(flatten)]
    graph: GraphArguments,
    /// Episodes to store at most.
    #[arg(long, default_value_t = 100_000)]
    episodes: u32,
    #[arg(long, default_value_t = 2)]
    shards: u32,
    /// Directory for the data.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    /// Recalls of each kind, one by one.
    #[arg(long, default_value_t = 2000)]
    queries: usize,
    /// Operations of a batch.
    #[arg(long, default_value_t = 1000)]
    batch: usize,
    /// Batches of each kind.
    #[arg(long, default_value_t = 100)]
    batches: usize,
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    episodes: u32,
    links: usize,
    shards: u32,
    singles: Vec<Single>,
    batches: Vec<Batch>,
}

/// Operations one after the other, in microseconds.
#[derive(Debug, Serialize)]
struct Single {
    what: &'static str,
    p50_us: f64,
    p95_us: f64,
    p99_us: f64,
    /// Of one exchange of a spread on one shard, as the daemon tells it.
    exchange_p50_us: f64,
    exchange_p99_us: f64,
}

/// Batches one after the other, in milliseconds.
#[derive(Debug, Serialize)]
struct Batch {
    what: &'static str,
    operations: usize,
    p50_ms: f64,
    p99_ms: f64,
    operations_per_s: f64,
    /// Replies that were those of the same operation alone.
    same: usize,
}

const SPACE: &str = "linked";
/// Stores that are sent before their replies are read.
const STORES_AT_ONCE: usize = 512;
/// How far a cue is from the row it is near, in each coordinate.
const NOISE: f32 = 0.01;

/// A kind of operation: what stands behind a recall's cue, or a spread.
struct Operation {
    name: &'static str,
    is_recall: bool,
    options: &'static [&'static str],
}

const SINGLES: [Operation; 5] = [
    Operation { name: "recall", is_recall: true, options: &[] },
    Operation { name: "recall SPREAD", is_recall: true, options: &["SPREAD"] },
    Operation { name: "recall SPREAD HOPS 2", is_recall: true, options: &["SPREAD", "HOPS", "2"] },
    Operation {
        name: "recall SPREAD WITH why",
        is_recall: true,
        options: &["SPREAD", "WITH", "why"],
    },
    Operation { name: "spread from an id", is_recall: false, options: &[] },
];
/// Of these, the ones that are measured in batches too.
const BATCHED: [usize; 4] = [0, 1, 2, 4];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let rows = Halves::read_npy(&arguments.vectors)?;
    let links = arguments.graph.read()?;
    let count = arguments.episodes.min(rows.count() as u32).min(links.nodes());
    let folder = tempfile::tempdir_in(&arguments.dir)?;
    let engramd = daemon::program(arguments.engramd.as_ref())?;
    let daemon = Daemon::start(&DaemonSettings {
        engramd,
        folder: folder.path().to_owned(),
        data: folder.path().join("data"),
        shards: arguments.shards,
    })?;
    let mut control = daemon.control()?.patient()?;
    let dimensions = rows.dimensions.to_string();
    control.call(&["EG.SPACE", "CREATE", SPACE, "DIM", &dimensions], |_| ())?;
    let mut client = Pipeline::connect(&daemon)?;
    let stored = fill(&mut client, &rows, &links, count)?;
    control.call(&["EG.CONSOLIDATE"], |_| ())?;
    let (mut singles, mut batches) = (Vec::new(), Vec::new());
    for (nth, operation) in SINGLES.iter().enumerate() {
        let commands = commands(operation, &rows, count, arguments.queries.max(arguments.batch));
        let (single, replies) = one_by_one(&mut client, &mut control, operation, &commands)?;
        singles.push(single);
        if BATCHED.contains(&nth) {
            let commands = &commands[..arguments.batch];
            batches.push(in_batches(
                &mut client,
                operation,
                commands,
                &replies,
                arguments.batches,
            )?);
        }
    }
    daemon.stop()?;
    let shards = arguments.shards;
    let report = Report { episodes: count, links: stored, shards, singles, batches };
    match arguments.json {
        true => println!("{}", serde_json::to_string_pretty(&report)?),
        false => print_text(&report),
    }
    Ok(())
}

/// Stores rows with those of their links that lead to stored rows; how many links that were.
fn fill(
    client: &mut Pipeline,
    rows: &Halves,
    links: &Links,
    count: u32,
) -> Result<usize, Box<dyn Error>> {
    let (mut stored, mut out, mut waiting) = (0, Vec::new(), 0);
    for node in 0..count {
        let (id, blob) = (node.to_string(), rows.blob(node as usize));
        let mut parts: Vec<Vec<u8>> =
            ["EG.STORE", SPACE, &id, "VEC"].map(|part| part.as_bytes().to_vec()).into();
        parts.push(blob);
        let own = links.graph().edges_of(node).iter().filter(|edge| edge.target < count);
        for edge in own.take(LINKS_MAX) {
            let (target, weight) = (edge.target.to_string(), edge.weight.get().to_string());
            let link = ["LINK", &target, &weight, "KIND", &format!("k{}", edge.kind)];
            parts.extend(link.map(|part| part.as_bytes().to_vec()));
            stored += 1;
        }
        push_command(&mut out, &parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
        waiting += 1;
        if waiting == STORES_AT_ONCE || node + 1 == count {
            client.store(&std::mem::take(&mut out), std::mem::take(&mut waiting))?;
        }
    }
    Ok(stored)
}

/// Commands of one kind, each near or from another row; the same rows for every kind.
fn commands(operation: &Operation, rows: &Halves, count: u32, queries: usize) -> Vec<Vec<u8>> {
    let mut random = Random::default();
    let mut command = |_| {
        let row = (random.next_u64() % u64::from(count)) as usize;
        let mut noisy = |value: f32| value + NOISE * random.next_f32();
        let cue: Vec<u8> = rows.row(row).map(&mut noisy).flat_map(f32::to_le_bytes).collect();
        let id = row.to_string();
        let mut parts: Vec<&[u8]> = match operation.is_recall {
            true => vec![b"EG.RECALL", SPACE.as_bytes(), b"K", b"10", b"VEC", &cue],
            false => {
                vec![b"EG.SPREAD", SPACE.as_bytes(), b"K", b"10", b"FROM", id.as_bytes(), b"1"]
            }
        };
        parts.extend(operation.options.iter().map(|option| option.as_bytes()));
        let mut out = Vec::new();
        push_command(&mut out, &parts);
        out
    };
    (0..queries).map(&mut command).collect()
}

/// Asks one after the other; the replies come with the figures.
fn one_by_one(
    client: &mut Pipeline,
    control: &mut Control,
    operation: &Operation,
    commands: &[Vec<u8>],
) -> Result<(Single, Replies), Box<dyn Error>> {
    commands.iter().rev().take(100).try_for_each(|command| client.send(command, 1).map(drop))?;
    control.call(&["CONFIG", "RESETSTAT"], |_| ())?;
    let (mut us, mut replies) = (Vec::new(), Vec::new());
    for command in commands {
        let began = Instant::now();
        replies.extend(client.send(command, 1)?);
        us.push(began.elapsed().as_secs_f64() * 1e6);
    }
    us.sort_by(f64::total_cmp);
    let exchange = control.call(&["EG.STATS"], |stats| {
        let spread = stats.get("latency_us").and_then(|all| all.get("spread"));
        ["p50", "p99"].map(|key| spread?.get(key).and_then(Reply::number))
    })?;
    let [exchange_p50_us, exchange_p99_us] = exchange.map(|us| us.unwrap_or(f64::NAN));
    let [p50_us, p95_us, p99_us] = [0.5, 0.95, 0.99].map(|share| quantile(&us, share));
    let what = operation.name;
    Ok((Single { what, p50_us, p95_us, p99_us, exchange_p50_us, exchange_p99_us }, replies))
}

/// Asks all at once, again and again.
fn in_batches(
    client: &mut Pipeline,
    operation: &Operation,
    commands: &[Vec<u8>],
    expected: &[Vec<u8>],
    batches: usize,
) -> Result<Batch, Box<dyn Error>> {
    let (all, mut ms, mut same) = (commands.concat(), Vec::new(), 0);
    for _ in 0..batches {
        let began = Instant::now();
        let replies = client.send(&all, commands.len())?;
        ms.push(began.elapsed().as_secs_f64() * 1e3);
        same += replies.iter().zip(expected).filter(|(reply, single)| reply == single).count();
    }
    let operations = commands.len();
    let operations_per_s = (operations * batches) as f64 / ms.iter().sum::<f64>() * 1e3;
    ms.sort_by(f64::total_cmp);
    let [p50_ms, p99_ms] = [0.5, 0.99].map(|share| quantile(&ms, share));
    let same = same / batches;
    Ok(Batch { what: operation.name, operations, p50_ms, p99_ms, operations_per_s, same })
}

fn print_text(report: &Report) {
    let Report { episodes, links, shards, singles, batches } = report;
    println!("{episodes} episodes with {links} links on {shards} shards, consolidated");
    println!("{:28}  p50 us   p95 us   p99 us  exchange p50      p99", "one by one");
    for single in singles {
        let Single { what, p50_us, p95_us, p99_us, exchange_p50_us, exchange_p99_us } = single;
        println!(
            "{what:28}{p50_us:8.0} {p95_us:8.0} {p99_us:8.0} {exchange_p50_us:13.0} \
             {exchange_p99_us:8.0}"
        );
    }
    println!("{:28}  p50 ms   p99 ms        /s     same", "in batches");
    for batch in batches {
        let Batch { what, operations, p50_ms, p99_ms, operations_per_s, same } = batch;
        println!(
            "{what:28}{p50_ms:8.1} {p99_ms:8.1} {operations_per_s:9.0} {same:8} of {operations}"
        );
    }
}
