//! `engram load --recall`: how much of the truth recalls find, and how long they take.
//!
//! The truth is asked of the daemon itself: the same cue with `EXACT`. Then each setting is
//! measured: every cue once unmeasured, so that all settings find the same caches, and once
//! measured, with the daemon's own figures begun anew in between (`CONFIG RESETSTAT`). What is
//! stored must not change meanwhile.
//!
//! A result counts as found when it is among the k of the truth, or as similar as the last of them:
//! of equals any will do.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use clap::Args;
use hdrhistogram::Histogram;
use redis::Value;
use serde::Serialize;
use serde_json::json;

use super::Load;
use super::rows::Rows;
use crate::cli::Context;
use crate::client::Client;
use crate::error::ToolError;
use crate::npy::NpyReader;
use crate::pack::Arguments;
use crate::render::{self, Align, grouped};
use crate::reply::{self, EpisodeReply};
use crate::vectors::normalize;

/// Longer latencies count as this.
const LATENCY_NS_MAX: u64 = 600_000_000_000;
/// Stored vectors that are asked for with one command.
const SCAN_COUNT: usize = 256;

#[derive(Debug, Args)]
pub(super) struct RecallQuality {
    /// Measure recall@k against EXACT through the socket, and latencies of both sides; begins the
    /// daemon's figures anew
    #[arg(long)]
    recall: bool,
    /// Cues: rows of this file that are not stored. Without it, stored vectors with noise
    #[arg(long, value_name = "FILE.npy", requires = "recall")]
    queries: Option<PathBuf>,
    /// Only these rows of --queries, e.g. 990000..
    #[arg(long, value_name = "FIRST..END", requires = "queries", value_parser = Rows::parse)]
    query_rows: Option<Rows>,
    /// How many cues
    #[arg(long, value_name = "N", default_value_t = 1000, requires = "recall")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    samples: u64,
    /// Length of the noise on a stored vector, relative to its own
    #[arg(long, value_name = "SHARE", default_value_t = 0.3, requires = "recall")]
    #[arg(conflicts_with = "queries")]
    noise: f32,
    /// Also with these values of BEAM
    #[arg(long, value_name = "N", value_delimiter = ',', requires = "recall")]
    beam: Vec<u32>,
}

/// How a recall is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effort {
    Exact,
    Usual,
    Beam(u32),
}

impl Effort {
    fn name(self) -> String {
        match self {
            Self::Exact => "exact".into(),
            Self::Usual => "usual".into(),
            Self::Beam(beam) => format!("beam {beam}"),
        }
    }
}

/// Results of one cue, best first.
#[derive(Debug, Clone, Default, PartialEq)]
struct Results {
    ids: Vec<String>,
    scores: Vec<f64>,
}

impl Results {
    /// Of the first k of the truth, how many there are here.
    fn found(&self, truth: &Self, k: usize) -> usize {
        let wanted: HashSet<&String> = truth.ids.iter().take(k).collect();
        let Some(last) = truth.scores.iter().take(k).next_back() else { return 0 };
        let own = self.ids.iter().zip(&self.scores).take(k);
        own.filter(|(id, score)| wanted.contains(id) || *score >= last).count()
    }
}

/// Quantiles in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
struct Latency {
    p50: f64,
    p99: f64,
}

/// One setting, measured.
#[derive(Debug, Serialize)]
struct Measured {
    effort: String,
    /// Mean over the cues of the share of the k that was found, of the first, and of the worst cue.
    recall_at_k: f64,
    recall_at_1: f64,
    recall_worst: f64,
    recalls_per_second: f64,
    client_us: Latency,
    /// Of each shard's part, as the daemon says; nothing if it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    server_us: Option<Latency>,
}

impl RecallQuality {
    pub(super) fn is_wanted(&self) -> bool {
        self.recall
    }

    pub(super) fn run(&self, load: &Load, context: &Context) -> Result<(), ToolError> {
        let mut client = context.connect()?;
        let cues = match &self.queries {
            Some(path) => self.read_cues(path)?,
            None => self.stored_cues(load, &mut client)?,
        };
        let beams = self.beam.iter().map(|beam| Effort::Beam(*beam));
        let efforts = [Effort::Exact, Effort::Usual].into_iter().chain(beams);
        let mut truth = Vec::new();
        let mut measured = Vec::new();
        for effort in efforts {
            if effort != Effort::Exact {
                ask_all(load, context, &cues, effort)?;
            }
            client.call(redis::cmd("CONFIG").arg("RESETSTAT"))?;
            let asked = ask_all(load, context, &cues, effort)?;
            if effort == Effort::Exact {
                truth.clone_from(&asked.results);
            }
            let stats = client.call(&redis::cmd("EG.STATS"))?;
            measured.push(asked.measured(effort, &truth, load.k, server_latency(&stats)));
        }
        let found: usize = truth.iter().map(|results| results.ids.len()).sum();
        if found == 0 {
            let space = &load.space;
            return Err(ToolError::usage(format!("'{space}' has no episodes; store some first")));
        }
        self.report(load, context, &cues, &measured)
    }

    /// Rows spread evenly over the file.
    fn read_cues(&self, path: &std::path::Path) -> Result<Vec<Vec<f32>>, ToolError> {
        let file = NpyReader::open(path)?;
        let rows = self.query_rows.unwrap_or_default().of(&file)?;
        let (first, all) = (rows.start, rows.end - rows.start);
        let count = self.samples.min(all);
        (0..count).map(|nth| file.row(first + nth * all / count)).collect()
    }

    /// Stored vectors with noise. They come in the order of a hash of the ids, so the first ones
    /// are a fair sample.
    fn stored_cues(&self, load: &Load, client: &mut Client) -> Result<Vec<Vec<f32>>, ToolError> {
        const COMMAND: &str = "EG.SCAN";
        let count = self.samples as usize;
        let mut rng = fastrand::Rng::with_seed(load.seed);
        let (mut cues, mut cursor) = (Vec::with_capacity(count), "0".to_owned());
        while cues.len() < count {
            let mut command = redis::cmd(COMMAND);
            command.arg(&load.space).arg("CURSOR").arg(&cursor);
            command.arg("COUNT").arg(SCAN_COUNT).arg("WITH").arg("vec");
            let reply = reply::array(client.call(&command)?, COMMAND)?;
            let Ok([next, episodes]) = <[Value; 2]>::try_from(reply) else {
                let reason = "a cursor and episodes are expected".into();
                return Err(ToolError::Reply { command: COMMAND, reason });
            };
            for episode in reply::array(episodes, COMMAND)? {
                let vector = EpisodeReply::read(episode, COMMAND)?.vector.unwrap_or_default();
                let components = vector.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
                cues.push(noisy(components.collect(), self.noise, &mut rng));
            }
            cursor = reply::text(&next).unwrap_or_default();
            if cursor == "0" {
                break;
            }
        }
        cues.truncate(count);
        if cues.is_empty() {
            let space = &load.space;
            return Err(ToolError::usage(format!("'{space}' has no episodes; store some first")));
        }
        Ok(cues)
    }

    fn report(
        &self,
        load: &Load,
        context: &Context,
        cues: &[Vec<f32>],
        measured: &[Measured],
    ) -> Result<(), ToolError> {
        let source = match &self.queries {
            Some(path) => format!("rows of {}", path.display()),
            None => format!("stored vectors with noise of {} of their length", self.noise),
        };
        let dimensions = cues[0].len();
        if context.json {
            return render::print_json(&json!({
                "space": load.space,
                "k": load.k,
                "cues": cues.len(),
                "cues_from": source,
                "dimensions": dimensions,
                "connections": load.connections(),
                "seed": load.seed,
                "efforts": measured,
            }));
        }
        let names = ["effort", "recall@k", "@1", "worst", "per s"];
        let latencies = ["client p50 us", "p99", "shard p50 us", "p99"];
        let columns: Vec<(&str, Align)> = names
            .into_iter()
            .chain(latencies)
            .enumerate()
            .map(|(at, name)| (name, if at == 0 { Align::Left } else { Align::Right }))
            .collect();
        let rows: Vec<Vec<String>> = measured.iter().map(Measured::row).collect();
        let table = render::table(&columns, &rows, render::terminal_width());
        render::print(&format!(
            "{} cues of {dimensions} dimensions, {source}; k {}, {} connections\n\n{table}",
            grouped(cues.len() as u64),
            load.k,
            load.connections(),
        ))
    }
}

/// The vector with noise in a random direction, of a length relative to its own.
fn noisy(mut vector: Vec<f32>, noise: f32, rng: &mut fastrand::Rng) -> Vec<f32> {
    let length = vector.iter().map(|v| v * v).sum::<f32>().sqrt();
    let mut direction: Vec<f32> =
        vector.iter().map(|_| (0..4).map(|_| rng.f32() - 0.5).sum()).collect();
    normalize(&mut direction);
    vector.iter_mut().zip(direction).for_each(|(v, d)| *v += noise * length * d);
    vector
}

/// What a pass over all cues came to.
struct Asked {
    results: Vec<Results>,
    latencies_ns: Histogram<u64>,
    seconds: f64,
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("the bounds are constants")
}

/// Asks for every cue once; each connection has one recall under way.
fn ask_all(
    load: &Load,
    context: &Context,
    cues: &[Vec<f32>],
    effort: Effort,
) -> Result<Asked, ToolError> {
    let next = AtomicUsize::new(0);
    let clients: Vec<Client> =
        (0..load.connections()).map(|_| context.connect()).collect::<Result<_, _>>()?;
    let began = Instant::now();
    let parts: Vec<Result<_, ToolError>> = thread::scope(|scope| {
        let ask = |mut client: Client| {
            let next = &next;
            scope.spawn(move || {
                let (mut results, mut latencies_ns) = (Vec::new(), histogram());
                loop {
                    let at = next.fetch_add(1, Relaxed);
                    let Some(cue) = cues.get(at) else { return Ok((results, latencies_ns)) };
                    let (found, ns) = ask(&mut client, load, cue, effort)?;
                    latencies_ns.saturating_record(ns);
                    results.push((at, found));
                }
            })
        };
        let threads: Vec<_> = clients.into_iter().map(ask).collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect()
    });
    let seconds = began.elapsed().as_secs_f64();
    let mut asked =
        Asked { results: vec![Results::default(); cues.len()], latencies_ns: histogram(), seconds };
    for part in parts {
        let (results, latencies_ns) = part?;
        asked.latencies_ns.add(latencies_ns).expect("all have the same bounds");
        results.into_iter().for_each(|(at, found)| asked.results[at] = found);
    }
    Ok(asked)
}

/// One recall, and its time from the first byte sent to the last one read.
fn ask(
    client: &mut Client,
    load: &Load,
    cue: &[f32],
    effort: Effort,
) -> Result<(Results, u64), ToolError> {
    const COMMAND: &str = "EG.RECALL";
    let mut arguments = Arguments::default();
    arguments.push(COMMAND.as_bytes()).push(load.space.as_bytes());
    arguments.push(b"K").push_display(load.k).push(b"VEC").push_vector(cue);
    match effort {
        Effort::Exact => drop(arguments.push(b"EXACT")),
        Effort::Usual => {}
        Effort::Beam(beam) => drop(arguments.push(b"BEAM").push_display(beam)),
    }
    let command = arguments.into_command();
    let began = Instant::now();
    client.send(&command)?;
    let reply = client.receive()?;
    let ns = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let mut results = Results::default();
    for hit in reply::array(reply, COMMAND)? {
        let EpisodeReply { id, score, .. } = EpisodeReply::read(hit, COMMAND)?;
        results.ids.push(id);
        results.scores.push(score.unwrap_or(f64::NEG_INFINITY));
    }
    Ok((results, ns))
}

impl Asked {
    fn measured(
        &self,
        effort: Effort,
        truth: &[Results],
        k: usize,
        server_us: Option<Latency>,
    ) -> Measured {
        let share = |k: usize| {
            let pairs = self.results.iter().zip(truth);
            pairs.filter_map(move |(own, truth)| {
                let wanted = truth.ids.len().min(k);
                (wanted > 0).then(|| own.found(truth, k) as f64 / wanted as f64)
            })
        };
        let mean = |k: usize| share(k).sum::<f64>() / share(k).count().max(1) as f64;
        let us = |quantile: f64| self.latencies_ns.value_at_quantile(quantile) as f64 / 1e3;
        Measured {
            effort: effort.name(),
            recall_at_k: mean(k),
            recall_at_1: mean(1),
            recall_worst: share(k).fold(1.0, f64::min),
            recalls_per_second: self.results.len() as f64 / self.seconds.max(1e-9),
            client_us: Latency { p50: us(0.5), p99: us(0.99) },
            server_us,
        }
    }
}

impl Measured {
    fn row(&self) -> Vec<String> {
        let us = |value: f64| grouped(value.round() as u64);
        let server = self.server_us;
        vec![
            self.effort.clone(),
            format!("{:.4}", self.recall_at_k),
            format!("{:.4}", self.recall_at_1),
            format!("{:.2}", self.recall_worst),
            grouped(self.recalls_per_second as u64),
            us(self.client_us.p50),
            us(self.client_us.p99),
            server.map_or("-".into(), |server| us(server.p50)),
            server.map_or("-".into(), |server| us(server.p99)),
        ]
    }
}

/// The daemon's own latencies of recalls.
fn server_latency(stats: &Value) -> Option<Latency> {
    let at = |map: Value, key: &str| {
        reply::entries(map)?.into_iter().find(|(name, _)| name == key).map(|(_, value)| value)
    };
    let recall = at(at(stats.clone(), "latency_us")?, "recall")?;
    let quantile = |key| reply::number(&at(recall.clone(), key)?);
    Some(Latency { p50: quantile("p50")?, p99: quantile("p99")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(of: &[(&str, f64)]) -> Results {
        let (ids, scores) = of.iter().map(|(id, score)| ((*id).to_owned(), *score)).unzip();
        Results { ids, scores }
    }

    #[test]
    fn of_equals_any_will_do() {
        let truth = results(&[("a", 0.9), ("b", 0.8), ("c", 0.7)]);
        assert_eq!(truth.found(&truth, 3), 3);
        assert_eq!(results(&[("a", 0.9), ("x", 0.7), ("y", 0.6)]).found(&truth, 3), 2);
        assert_eq!(results(&[("b", 0.8), ("a", 0.9)]).found(&truth, 1), 0);
        assert_eq!(results(&[]).found(&truth, 3), 0);
        assert_eq!(truth.found(&results(&[]), 3), 0);
    }

    #[test]
    fn noise_has_its_length_and_is_seeded() {
        let vector = vec![3.0, 0.0, 4.0, 0.0];
        let noise = |seed| noisy(vector.clone(), 0.2, &mut fastrand::Rng::with_seed(seed));
        let off = |noisy: &[f32]| {
            vector.iter().zip(noisy).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt()
        };
        assert!((off(&noise(1)) - 1.0).abs() < 1e-4);
        assert_eq!(noise(1), noise(1));
        assert_ne!(noise(1), noise(2));
    }
}
