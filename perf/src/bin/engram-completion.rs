//! What completing a partial cue is worth: rows of a file are stored, some are asked for with most
//! of their dimensions missing and noise on the rest, once as they are and once completed by
//! `EG.COMPLETE`.
//!
//! *Found* is the share of cues for which their own row comes first. *Neighbours* is the share of
//! the ten rows nearest to the whole, clean row that the cue finds, its own row aside: what belongs
//! to what is remembered. *Cosine* is that of the cue and the row.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use engram_perf::daemon::{self, Control, Daemon, DaemonSettings};
use engram_perf::pipeline::Pipeline;
use engram_perf::random::Random;
use engram_perf::resp::{Reply, push_command};
use engram_perf::vectors::Halves;
use serde::Serialize;

/// Measures what is found with partial cues, and with what they are completed to.
#[derive(Debug, Parser)]
struct Arguments {
    /// The daemon's program; beside this one unless given.
    #[arg(long)]
    engramd: Option<PathBuf>,
    /// An .npy file of float16 rows.
    vectors: PathBuf,
    /// Rows to store at most.
    #[arg(long, default_value_t = 60_000)]
    episodes: usize,
    #[arg(long, default_value_t = 1)]
    shards: u32,
    /// Rows to ask for.
    #[arg(long, default_value_t = 300)]
    queries: usize,
    /// Directory for the data.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    #[arg(long)]
    json: bool,
}

/// One kind of cue.
#[derive(Debug, Serialize)]
struct Row {
    /// The share of dimensions that are not known, one by one.
    unknown: f32,
    /// The length of the noise, that of a row being 1.
    noise: f32,
    raw: Figures,
    completed: Figures,
    /// Means over the completions.
    rounds: f64,
    settled: f64,
    complete_ms: f64,
}

#[derive(Debug, Default, Serialize)]
struct Figures {
    found: f64,
    neighbours: f64,
    cosine: f64,
}

const SPACE: &str = "rows";
const STORES_AT_ONCE: usize = 512;
const NEIGHBOURS: usize = 10;
/// What is left out of a row, and how much the rest is disturbed.
const CUES: [(f32, f32); 8] = [
    (0.0, 2.0),
    (0.5, 0.0),
    (0.5, 1.5),
    (0.75, 0.0),
    (0.75, 1.5),
    (0.75, 2.5),
    (0.9, 1.0),
    (0.9, 1.5),
];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let rows = Halves::read_npy(&arguments.vectors)?;
    let count = arguments.episodes.min(rows.count());
    let folder = tempfile::tempdir_in(&arguments.dir)?;
    let daemon = Daemon::start(&DaemonSettings {
        engramd: daemon::program(arguments.engramd.as_ref())?,
        folder: folder.path().to_owned(),
        data: folder.path().join("data"),
        shards: arguments.shards,
    })?;
    let mut control = daemon.control()?.patient()?;
    let dimensions = rows.dimensions.to_string();
    control.call(&["EG.SPACE", "CREATE", SPACE, "DIM", &dimensions], |_| ())?;
    fill(&mut Pipeline::connect(&daemon)?, &rows, count)?;
    control.call(&["EG.CONSOLIDATE"], |_| ())?;
    let mut report = Vec::new();
    for (unknown, noise) in CUES {
        report.push(measure(&mut control, &rows, (count, arguments.queries), (unknown, noise))?);
    }
    daemon.stop()?;
    match arguments.json {
        true => println!("{}", serde_json::to_string_pretty(&report)?),
        false => print_text(&report, (count, arguments.queries, arguments.shards)),
    }
    Ok(())
}

fn fill(client: &mut Pipeline, rows: &Halves, count: usize) -> Result<(), Box<dyn Error>> {
    let (mut out, mut waiting) = (Vec::new(), 0);
    for row in 0..count {
        let (id, blob) = (row.to_string(), rows.blob(row));
        let parts: [&[u8]; 5] = [b"EG.STORE", SPACE.as_bytes(), id.as_bytes(), b"VEC", &blob];
        push_command(&mut out, &parts);
        waiting += 1;
        if waiting == STORES_AT_ONCE || row + 1 == count {
            client.store(&std::mem::take(&mut out), std::mem::take(&mut waiting))?;
        }
    }
    Ok(())
}

fn measure(
    control: &mut Control,
    rows: &Halves,
    (count, queries): (usize, usize),
    (unknown, noise): (f32, f32),
) -> Result<Row, Box<dyn Error>> {
    let mut random = Random::default();
    let (mut raw, mut completed) = (Figures::default(), Figures::default());
    let (mut rounds, mut settled, mut ms) = (0.0, 0.0, 0.0);
    for _ in 0..queries {
        let number = (random.next_u64() % count as u64) as usize;
        let row: Vec<f32> = rows.row(number).collect();
        let around = nearest(control, &row)?;
        let around: BTreeSet<String> =
            around.into_iter().filter(|id| *id != number.to_string()).take(NEIGHBOURS).collect();
        let scale = noise / (row.len() as f32).sqrt();
        let mut cue: Vec<f32> = row.iter().map(|x| x + scale * gauss(&mut random)).collect();
        let is_unknown: Vec<bool> = row.iter().map(|_| unit(&mut random) < unknown).collect();
        for (component, _) in cue.iter_mut().zip(&is_unknown).filter(|(_, is)| **is) {
            *component = 0.0;
        }
        let began = Instant::now();
        let Completed { vector: whole, rounds: own, settled: has } =
            complete(control, &cue, &is_unknown)?;
        ms += began.elapsed().as_secs_f64() * 1e3;
        (rounds, settled) = (rounds + own, settled + has);
        for (figures, cue) in [(&mut raw, &cue), (&mut completed, &whole)] {
            let found = nearest(control, cue)?;
            let own = number.to_string();
            figures.found += f64::from(u8::from(found[0] == own));
            let others = found.iter().filter(|id| **id != own).take(NEIGHBOURS);
            let same = others.filter(|id| around.contains(*id)).count();
            figures.neighbours += same as f64 / NEIGHBOURS as f64;
            figures.cosine += cosine(cue, &row);
        }
    }
    let mean = |sum: f64| sum / queries as f64;
    for figures in [&mut raw, &mut completed] {
        let Figures { found, neighbours, cosine } = figures;
        for sum in [found, neighbours, cosine] {
            *sum = mean(*sum);
        }
    }
    let (rounds, settled, complete_ms) = (mean(rounds), mean(settled), mean(ms));
    Ok(Row { unknown, noise, raw, completed, rounds, settled, complete_ms })
}

/// The ids of the rows nearest to a vector, best first.
fn nearest(control: &mut Control, vector: &[f32]) -> Result<Vec<String>, Box<dyn Error>> {
    let (blob, k) = (blob(vector), (NEIGHBOURS + 1).to_string());
    let recall: [&[u8]; 7] =
        [b"EG.RECALL", SPACE.as_bytes(), b"K", k.as_bytes(), b"VEC", &blob, b"NOREINFORCE"];
    let ids = control.call(&recall, |reply| {
        let Reply::Array(hits) = reply else { return Vec::new() };
        let id = |hit: &Reply<'_>| match hit.get("id") {
            Some(Reply::Text(id)) => Some(String::from_utf8_lossy(id).into_owned()),
            _ => None,
        };
        hits.iter().filter_map(id).collect()
    })?;
    Ok(ids)
}

/// What a completion came to.
struct Completed {
    vector: Vec<f32>,
    rounds: f64,
    /// 1 if it did.
    settled: f64,
}

fn complete(
    control: &mut Control,
    cue: &[f32],
    is_unknown: &[bool],
) -> Result<Completed, Box<dyn Error>> {
    let mut parts: Vec<Vec<u8>> = ["EG.COMPLETE", SPACE, "VEC"].map(Into::into).into();
    parts.push(blob(cue));
    for (nth, _) in is_unknown.iter().enumerate().filter(|(_, is)| **is) {
        parts.extend(["UNKNOWN".to_owned(), nth.to_string(), nth.to_string()].map(Into::into));
    }
    let completed = control.call(&parts, |reply| {
        let Some(Reply::Text(vector)) = reply.get("vec") else { return None };
        let components = vector.chunks_exact(4);
        let vector = components.map(|le| f32::from_le_bytes([le[0], le[1], le[2], le[3]]));
        let has_settled = matches!(reply.get("settled"), Some(Reply::Boolean(true)));
        let rounds = reply.get("rounds").and_then(Reply::number)?;
        let settled = f64::from(u8::from(has_settled));
        Some(Completed { vector: vector.collect(), rounds, settled })
    })?;
    completed.ok_or_else(|| "the reply has no vector".into())
}

fn blob(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|component| component.to_le_bytes()).collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// In [0, 1).
fn unit(random: &mut Random) -> f32 {
    (random.next_u64() >> 40) as f32 / (1 << 24) as f32
}

/// Normal, by Box and Muller.
fn gauss(random: &mut Random) -> f32 {
    let radius = (-2.0 * (1.0 - unit(random)).ln()).sqrt();
    radius * (std::f32::consts::TAU * unit(random)).cos()
}

fn print_text(report: &[Row], (count, queries, shards): (usize, usize, u32)) {
    println!("{count} rows on {shards} shards, consolidated; {queries} cues of each kind");
    println!("                 found first          neighbours           cosine");
    println!("unknown  noise   raw  completed     raw  completed     raw  completed");
    for row in report {
        let Row { unknown, noise, raw, completed, rounds, settled, complete_ms } = row;
        print!("{unknown:7.2} {noise:6.1}");
        for (raw, completed) in [
            (raw.found, completed.found),
            (raw.neighbours, completed.neighbours),
            (raw.cosine, completed.cosine),
        ] {
            print!("  {raw:.3}      {completed:.3}");
        }
        println!("   {rounds:.1} rounds, {settled:.2} settled, {complete_ms:.1} ms");
    }
}
