//! What a question in words costs a client, alone and beside a vector, next to the vector alone.
//!
//! A daemon of its own stores rows of a file with a text each, once without threads and once in
//! threads, and consolidates them. Then recalls near stored rows, whose question is about the same
//! row, are timed one after the other on one connection. The kinds of a recall take turns, so that
//! whatever else the machine does falls on all of them, and each with another question, so that
//! none finds in the caches what the one before it has read.

use std::error::Error;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;
use engram_perf::daemon::{self, Daemon, DaemonSettings};
use engram_perf::pipeline::{Pipeline, quantile};
use engram_perf::random::Random;
use engram_perf::resp::{Reply, push_command};
use engram_perf::vectors::Halves;
use serde::{Deserialize, Serialize};

/// Measures recalls by words through the socket.
#[derive(Debug, Parser)]
struct Arguments {
    /// The daemon's program; beside this one unless given.
    #[arg(long)]
    engramd: Option<PathBuf>,
    /// An .npy file of float16 rows.
    vectors: PathBuf,
    /// JSON lines, one for each row: `text`, and what is asked to find it, `question`; the text
    /// unless it is there. `session` names its thread.
    texts: PathBuf,
    /// Episodes to store at most.
    #[arg(long, default_value_t = 60_000)]
    episodes: usize,
    #[arg(long, default_value_t = 1)]
    shards: u32,
    /// Rows of a thread, where lines have no session.
    #[arg(long, default_value_t = 20)]
    thread_rows: usize,
    /// Words of a question at most.
    #[arg(long)]
    words: Option<usize>,
    /// Directory for the data.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    /// Recalls of each kind.
    #[arg(long, default_value_t = 2000)]
    queries: usize,
    /// Leave everything in the tails.
    #[arg(long)]
    tail: bool,
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Deserialize)]
struct Line {
    text: String,
    question: Option<String>,
    session: Option<serde_json::Value>,
}

#[derive(Debug, Serialize)]
struct Report {
    episodes: usize,
    shards: u32,
    /// Words of a question, in the mean.
    question_words: f64,
    spaces: Vec<Space>,
}

#[derive(Debug, Serialize)]
struct Space {
    what: &'static str,
    kinds: Vec<Kind>,
}

/// Recalls of one kind, in microseconds.
#[derive(Debug, Serialize)]
struct Kind {
    what: &'static str,
    p50_us: f64,
    p95_us: f64,
    p99_us: f64,
    /// Over the median of the vector alone.
    ratio: f64,
    /// Recalls, of all, whose answer has the row that was asked for.
    found: f64,
}

/// Names of the spaces, what each is, and whether its episodes have threads.
const SPACES: [(&str, &str, bool); 2] =
    [("unthreaded", "without threads", false), ("threaded", "in threads", true)];
/// Kinds of recalls: whether there is a vector, and whether there are words.
const KINDS: [(&str, bool, bool); 3] =
    [("VEC", true, false), ("TEXT", false, true), ("VEC TEXT", true, true)];
const K: &[u8] = b"10";
/// Stores that are sent before their replies are read.
const STORES_AT_ONCE: usize = 512;
/// How far a cue is from the row it is near, in each coordinate.
const NOISE: f32 = 0.01;
/// Recalls of each kind before those that are timed.
const WARM: usize = 200;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let rows = Halves::read_npy(&arguments.vectors)?;
    let lines = read_lines(&arguments.texts, rows.count())?;
    let count = arguments.episodes.min(rows.count());
    let folder = tempfile::tempdir_in(&arguments.dir)?;
    let daemon = Daemon::start(&DaemonSettings {
        engramd: daemon::program(arguments.engramd.as_ref())?,
        folder: folder.path().to_owned(),
        data: folder.path().join("data"),
        shards: arguments.shards,
    })?;
    let mut control = daemon.control()?.patient()?;
    let mut client = Pipeline::connect(&daemon)?;
    let dimensions = rows.dimensions.to_string();
    for (space, _, is_threaded) in SPACES {
        control.call(&["EG.SPACE", "CREATE", space, "DIM", &dimensions], |_| ())?;
        let thread_rows = is_threaded.then_some(arguments.thread_rows);
        fill(&mut client, space, (&rows, &lines[..count]), thread_rows)?;
    }
    if !arguments.tail {
        control.call(&["EG.CONSOLIDATE"], |_| ())?;
    }
    let questions = questions(&rows, &lines[..count], &arguments);
    let spaces = SPACES
        .iter()
        .map(|(space, what, _)| Ok(Space { what, kinds: ask(&mut client, space, &questions)? }));
    let spaces = spaces.collect::<Result<_, Box<dyn Error>>>()?;
    daemon.stop()?;
    let words: usize = questions.iter().map(|own| own.text.split_whitespace().count()).sum();
    let question_words = words as f64 / questions.len() as f64;
    let report = Report { episodes: count, shards: arguments.shards, question_words, spaces };
    match arguments.json {
        true => println!("{}", serde_json::to_string_pretty(&report)?),
        false => print_text(&report),
    }
    Ok(())
}

fn read_lines(path: &Path, rows: usize) -> Result<Vec<Line>, Box<dyn Error>> {
    let file = BufReader::new(File::open(path)?);
    let lines = file.lines().map(|line| Ok(serde_json::from_str(&line?)?));
    let lines: Vec<Line> = lines.collect::<Result<_, Box<dyn Error>>>()?;
    match lines.len() == rows {
        true => Ok(lines),
        false => Err(format!("{} lines of text for {rows} vectors", lines.len()).into()),
    }
}

/// Stores rows with their texts, in threads of so many rows where lines have no session.
fn fill(
    client: &mut Pipeline,
    space: &str,
    (rows, lines): (&Halves, &[Line]),
    thread_rows: Option<usize>,
) -> Result<(), Box<dyn Error>> {
    for (first, some) in lines.chunks(STORES_AT_ONCE).enumerate() {
        let mut out = Vec::new();
        for (nth, line) in some.iter().enumerate() {
            let row = first * STORES_AT_ONCE + nth;
            let (id, at, blob) = (row.to_string(), (row * 1_000_000).to_string(), rows.blob(row));
            let thread = thread_rows.map(|rows| match &line.session {
                Some(session) => session.to_string(),
                None => (row / rows).to_string(),
            });
            let mut parts: Vec<&[u8]> = vec![b"EG.STORE", space.as_bytes(), id.as_bytes()];
            parts.extend([b"VEC", &blob[..], b"TEXT", line.text.as_bytes(), b"AT", at.as_bytes()]);
            if let Some(thread) = &thread {
                parts.extend([b"THREAD", thread.as_bytes()]);
            }
            push_command(&mut out, &parts);
        }
        client.store(&out, some.len())?;
    }
    Ok(())
}

/// What is asked: the row, the words for it and a vector near it.
struct Question {
    row: usize,
    text: String,
    cue: Vec<u8>,
}

fn questions(rows: &Halves, lines: &[Line], arguments: &Arguments) -> Vec<Question> {
    let mut random = Random::default();
    let mut question = |_| {
        let row = (random.next_u64() % lines.len() as u64) as usize;
        let Line { text, question, .. } = &lines[row];
        let words = question.as_ref().unwrap_or(text).split_whitespace();
        let words: Vec<&str> = words.take(arguments.words.unwrap_or(usize::MAX)).collect();
        let mut noisy = |value: f32| value + NOISE * random.next_f32();
        let cue = rows.row(row).map(&mut noisy).flat_map(f32::to_le_bytes).collect();
        Question { row, text: words.join(" "), cue }
    };
    (0..arguments.queries).map(&mut question).collect()
}

/// Asks every question in every kind; see the top of the file.
fn ask(
    client: &mut Pipeline,
    space: &str,
    questions: &[Question],
) -> Result<Vec<Kind>, Box<dyn Error>> {
    let command = |question: &Question, (_, has_vector, has_words): (&str, bool, bool)| {
        let mut parts: Vec<&[u8]> = vec![b"EG.RECALL", space.as_bytes(), b"K", K];
        if has_vector {
            parts.extend([&b"VEC"[..], &question.cue]);
        }
        if has_words {
            parts.extend([&b"TEXT"[..], question.text.as_bytes()]);
        }
        parts.push(b"NOREINFORCE");
        let mut out = Vec::new();
        push_command(&mut out, &parts);
        out
    };
    for question in questions.iter().rev().take(WARM) {
        for kind in KINDS {
            client.send(&command(question, kind), 1)?;
        }
    }
    let (mut us, mut found) = (vec![Vec::new(); KINDS.len()], [0; KINDS.len()]);
    for turn in 0..questions.len() {
        for (nth, kind) in KINDS.into_iter().enumerate() {
            let question =
                &questions[(turn + nth * questions.len() / KINDS.len()) % questions.len()];
            let command = command(question, kind);
            let began = Instant::now();
            let replies = client.send(&command, 1)?;
            us[nth].push(began.elapsed().as_secs_f64() * 1e6);
            found[nth] += usize::from(has(&replies[0], question.row)?);
        }
    }
    us.iter_mut().for_each(|us| us.sort_by(f64::total_cmp));
    let vector_p50_us = quantile(&us[0], 0.5);
    let kinds = KINDS.iter().zip(us).zip(found);
    Ok(kinds
        .map(|(((what, ..), us), found)| {
            let [p50_us, p95_us, p99_us] = [0.5, 0.95, 0.99].map(|share| quantile(&us, share));
            let found = found as f64 / questions.len() as f64;
            Kind { what, p50_us, p95_us, p99_us, ratio: p50_us / vector_p50_us, found }
        })
        .collect())
}

/// Whether an answer has a row.
fn has(reply: &[u8], row: usize) -> Result<bool, Box<dyn Error>> {
    let id = row.to_string();
    match Reply::read(reply)? {
        Some((Reply::Array(hits), _)) => {
            Ok(hits.iter().any(|hit| hit.get("id") == Some(&Reply::Text(id.as_bytes()))))
        }
        _ => Err(String::from_utf8_lossy(reply).into()),
    }
}

fn print_text(report: &Report) {
    let Report { episodes, shards, question_words, spaces } = report;
    println!("{episodes} episodes on {shards} shards, questions of {question_words:.1} words");
    for Space { what, kinds } in spaces {
        println!("{what:20}  p50 us   p95 us   p99 us   p50/VEC    found");
        for Kind { what, p50_us, p95_us, p99_us, ratio, found } in kinds {
            let found = found * 100.0;
            println!("{what:20}{p50_us:8.0} {p95_us:8.0} {p99_us:8.0} {ratio:9.2} {found:7.1}%");
        }
    }
}
