//! What recalls find, and how long they take, while much is stored and while that is consolidated.
//!
//! One shard. Rows of a file are stored at a fixed rate in an open loop, each once, with recalls
//! beside them. Then the same recalls are measured while the shard consolidates, and again when it
//! is done. At last episodes are stored one by one during consolidations, and each is asked for as
//! soon as it is acknowledged.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use engram_perf::daemon::{self, Control, Daemon, DaemonError, DaemonSettings};
use engram_perf::open_loop::{Kind, OpenLoop, Outcome, Stream, Target};
use engram_perf::resp::Reply;
use engram_perf::vectors::Halves;
use serde::Serialize;

/// Measures recalls while episodes stream in and while they are consolidated.
#[derive(Debug, Parser)]
struct Arguments {
    /// The daemon's program; beside this one unless given.
    #[arg(long)]
    engramd: Option<PathBuf>,
    /// An .npy file of float16 rows; the last of them are asked for and not stored.
    vectors: PathBuf,
    /// Directory for the data; it should be on the disk that is meant.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    #[arg(long, default_value_t = 50_000)]
    per_s: u32,
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// Recalls per second beside the stores, and afterwards.
    #[arg(long, default_value_t = 50)]
    recalls_per_s: u32,
    /// Rows that are asked for.
    #[arg(long, default_value_t = 200)]
    queries: usize,
    /// Episodes that are stored and asked for at once during consolidations.
    #[arg(long, default_value_t = 100_000)]
    at_once: u64,
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    rows: u64,
    stored_per_s: f64,
    refused: u64,
    phases: Vec<Phase>,
    consolidated_after_s: f64,
    at_once: AtOnce,
}

/// Recalls under one circumstance; times in microseconds.
#[derive(Debug, Serialize)]
struct Phase {
    what: &'static str,
    recalls: u64,
    recall_at_10: Option<f64>,
    p50_us: f64,
    p99_us: f64,
    /// What the shard itself took.
    shard_p50_us: f64,
    shard_p99_us: f64,
    /// How long a unit of its background work took.
    work_p99_us: f64,
    work_p999_us: f64,
    work_max_us: f64,
}

#[derive(Debug, Serialize)]
struct AtOnce {
    stored: u64,
    found: u64,
    consolidations: u64,
}

const SPACE: &str = "stream";
/// How long recalls are measured while the shard consolidates, and while it is idle.
const CONSOLIDATED_S: u32 = 20;
const IDLE_S: u32 = 10;
/// Those that store and ask at once.
const THREADS: u64 = 4;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let rows = Arc::new(Halves::read_npy(&arguments.vectors)?);
    let wanted = u64::from(arguments.per_s) * u64::from(arguments.seconds);
    let count = wanted.min((rows.count() - arguments.queries) as u64 - arguments.at_once);
    let queries: Vec<Vec<u8>> =
        (0..arguments.queries).map(|nth| rows.blob(rows.count() - 1 - nth)).collect();
    let engramd = daemon::program(arguments.engramd.as_ref())?;
    let folder = tempfile::tempdir_in(&arguments.dir)?;
    let daemon = Daemon::start(&DaemonSettings {
        engramd,
        folder: folder.path().to_owned(),
        data: folder.path().join("data"),
        shards: 1,
    })?;
    let mut control = daemon.control()?;
    let dimensions = rows.dimensions.to_string();
    control.call(&["EG.SPACE", "CREATE", SPACE, "DIM", &dimensions], |_| ())?;
    let target = Target {
        socket: &daemon.socket(),
        space: SPACE,
        dimensions: rows.dimensions,
        first_episode: 0,
    };
    let mut client = OpenLoop::connect(&target, 8)?.with_vectors(rows.clone(), queries.clone());
    let asking = |seconds: u32| Stream {
        kind: Kind::Recall,
        per_s: arguments.recalls_per_s,
        count: u64::from(arguments.recalls_per_s * seconds),
    };
    let began = Instant::now();
    let storing = Stream { kind: Kind::Store, per_s: arguments.per_s, count };
    let outcomes = client.run(&[storing, asking(arguments.seconds)])?;
    let stored_per_s = outcomes[0].answered as f64 / began.elapsed().as_secs_f64();
    let mut phases = vec![phase("while it is stored", &outcomes[1], None, &mut control)?];
    let beyond = Instant::now();
    let outcome = client.run(&[asking(CONSOLIDATED_S)])?.remove(0);
    let mut busy = phase("while it is consolidated", &outcome, None, &mut control)?;
    busy.recall_at_10 = Some(recall(&mut control, &queries)?);
    phases.push(busy);
    wait_until_consolidated(&mut control)?;
    let consolidated_after_s = beyond.elapsed().as_secs_f64();
    control.call(&["CONFIG", "RESETSTAT"], |_| ())?;
    let outcome = client.run(&[asking(IDLE_S)])?.remove(0);
    let mut idle = phase("idle", &outcome, None, &mut control)?;
    idle.recall_at_10 = Some(recall(&mut control, &queries)?);
    phases.push(idle);
    let at_once = store_and_ask(&daemon, &rows, count, arguments.at_once)?;
    drop(client);
    daemon.stop()?;
    let refused = outcomes[0].refused;
    let report =
        Report { rows: count, stored_per_s, refused, phases, consolidated_after_s, at_once };
    match arguments.json {
        true => println!("{}", serde_json::to_string_pretty(&report)?),
        false => print_text(&report),
    }
    Ok(())
}

fn phase(
    what: &'static str,
    outcome: &Outcome,
    recall_at_10: Option<f64>,
    control: &mut Control,
) -> Result<Phase, Box<dyn Error>> {
    let us = |quantile| outcome.latency_ns.value_at_quantile(quantile) as f64 / 1e3;
    let figures =
        [("recall", "p50"), ("recall", "p99"), ("work", "p99"), ("work", "p999"), ("work", "max")];
    let shard = control.call(&["EG.STATS"], |stats| {
        let of = |name| stats.get("latency_us").and_then(|all| all.get(name));
        figures.map(|(name, key)| of(name).and_then(|one| one.get(key)).and_then(Reply::number))
    })?;
    control.call(&["CONFIG", "RESETSTAT"], |_| ())?;
    let [shard_p50_us, shard_p99_us, work_p99_us, work_p999_us, work_max_us] =
        shard.map(|us| us.unwrap_or(f64::NAN));
    Ok(Phase {
        what,
        recalls: outcome.answered,
        recall_at_10,
        p50_us: us(0.5),
        p99_us: us(0.99),
        shard_p50_us,
        shard_p99_us,
        work_p99_us,
        work_p999_us,
        work_max_us,
    })
}

fn wait_until_consolidated(control: &mut Control) -> Result<(), Box<dyn Error>> {
    loop {
        let (under_way, rows) = control.call(&["EG.STATS"], |stats| {
            let consolidation = stats.get("consolidation");
            let under_way = consolidation.and_then(|all| all.get("under_way"));
            let rows = stats.get("rows_in_tails").and_then(Reply::number);
            (under_way.and_then(Reply::number), rows)
        })?;
        if under_way == Some(0.0) && rows.is_some_and(|rows| rows < 8192.0) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Ids of hits.
type Ids = Result<Vec<Vec<u8>>, DaemonError>;

/// The ids of what a recall finds.
fn recall_ids(control: &mut Control, cue: &[u8], more: &[&[u8]]) -> Ids {
    let parts: [&[u8]; 6] = [b"EG.RECALL", SPACE.as_bytes(), b"K", b"10", b"VEC", cue];
    control.call(&[&parts, more].concat(), |reply| match reply {
        Reply::Array(hits) => hits.iter().filter_map(id).collect(),
        _ => Vec::new(),
    })
}

fn id(hit: &Reply<'_>) -> Option<Vec<u8>> {
    match hit.get("id")? {
        Reply::Text(id) => Some(id.to_vec()),
        _ => None,
    }
}

/// The share of the ten nearest that usual recalls find.
fn recall(control: &mut Control, queries: &[Vec<u8>]) -> Result<f64, DaemonError> {
    let (mut found, mut sought) = (0, 0);
    for cue in queries {
        let exact = recall_ids(control, cue, &[b"EXACT"])?;
        let usual = recall_ids(control, cue, &[])?;
        found += usual.iter().filter(|id| exact.contains(id)).count();
        sought += exact.len();
    }
    Ok(found as f64 / sought as f64)
}

/// Stores rows one by one while the shard consolidates, and asks for each at once.
fn store_and_ask(
    daemon: &Daemon,
    rows: &Halves,
    first: u64,
    count: u64,
) -> Result<AtOnce, Box<dyn Error>> {
    let (next, found, is_over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let work = || -> Result<(), DaemonError> {
        let mut control = daemon.control()?;
        loop {
            let nth = next.fetch_add(1, Ordering::Relaxed);
            if nth >= count {
                return Ok(());
            }
            let vector = rows.blob((first + nth) as usize);
            let id = format!("at-once-{nth}");
            let store: [&[u8]; 5] = [b"EG.STORE", SPACE.as_bytes(), id.as_bytes(), b"VEC", &vector];
            control.call(&store, |_| ())?;
            let hits = recall_ids(&mut control, &vector, &[])?;
            found.fetch_add(u64::from(hits.contains(&id.into_bytes())), Ordering::Relaxed);
        }
    };
    let consolidate = || -> Result<u64, DaemonError> {
        let mut control = daemon.control()?.patient()?;
        let mut consolidations = 0;
        while !is_over.load(Ordering::Relaxed) {
            control.call(&["EG.CONSOLIDATE"], |_| ())?;
            consolidations += 1;
        }
        Ok(consolidations)
    };
    let consolidations = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        let consolidating = scope.spawn(consolidate);
        let ended: Vec<_> = workers.into_iter().map(|one| one.join().expect("no panic")).collect();
        is_over.store(true, Ordering::Relaxed);
        let consolidations = consolidating.join().expect("no panic");
        ended.into_iter().collect::<Result<Vec<()>, _>>().and(consolidations)
    })?;
    Ok(AtOnce { stored: count, found: found.into_inner(), consolidations })
}

fn print_text(report: &Report) {
    let Report { rows, stored_per_s, refused, phases, consolidated_after_s, at_once } = report;
    println!("{rows} rows stored at {stored_per_s:.0}/s on one shard, {refused} refused");
    println!("consolidated {consolidated_after_s:.1} s after the last");
    println!(
        "{:26}recalls recall@10   p50 us   p99 us  shard p50      p99 work p99   p999      max",
        ""
    );
    for phase in phases {
        let Phase { what, recalls, recall_at_10, p50_us, p99_us, .. } = phase;
        let Phase { shard_p50_us, shard_p99_us, work_p99_us, work_p999_us, work_max_us, .. } =
            phase;
        let recall = recall_at_10.map_or("-".into(), |recall| format!("{recall:.4}"));
        println!(
            "{what:26}{recalls:7} {recall:>9} {p50_us:8.0} {p99_us:8.0} {shard_p50_us:10.0} \
             {shard_p99_us:8.0} {work_p99_us:8.0} {work_p999_us:6.0} {work_max_us:8.0}"
        );
    }
    let AtOnce { stored, found, consolidations } = at_once;
    println!("{found} of {stored} found at once, during {consolidations} consolidations");
}
