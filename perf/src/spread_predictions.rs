//! How well the time of a push is predicted, on pushes that really ran.
//!
//! Four workloads that have little in common: few seeds and edges, many of them, hubs as seeds, and
//! a graph that no cache holds. Each row of seeds is asked twice, with all others in between. How
//! well the second time would have been predicted by the first is what a predictor can be measured
//! by: it differs by the machine's noise alone. (One that has many pushes to learn from can be
//! better than that, as a single time has all of the noise.)
//!
//! A third time each row is asked without finding out what is known before. What that costs is not
//! all lost, as it brings lines of the cache that the push needs.
//!
//! The times are then told to predictors in the order in which they came: to one for each workload,
//! as a daemon has one for each memory space, and to a single one to which the workloads come by
//! turns.

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use engram_shards::spread::csr::Csr;
use engram_shards::spread::operator::{Operator, Settings};
use engram_shards::spread::outlook::Known;
use engram_shards::spread::predictor::{Prediction, Predictor, TOLERANCE, is_within};
use engram_shards::spread::push::{Push, Work};
use engram_shards::spread::state::Packed;
use engram_shards::spread::workspace::Pool;
use serde::Serialize;

use crate::graphs::{Links, draw_hubs, draw_seeds, power_law};

/// Nodes that are asked for.
const BEST: usize = 50;
/// Memory of a pool: far more than one push takes.
const POOL_BYTES: usize = 1 << 30;
/// Pushes that a predictor may learn from before it is judged, also after a turn.
const LEARNING: usize = 200;
/// Pushes of a workload at a turn, at most.
const TURN: usize = 500;
/// It has recovered when of so many pushes after all turns this share is predicted well enough.
const RECOVERED_PUSHES: usize = 50;
const SHARE_WANTED: f64 = 0.95;
/// Deadlines that budgets are made for, as shares of the median time.
const DEADLINE_SHARE: f64 = 0.5;

/// Pushes of one kind.
struct Workload<'a> {
    name: &'static str,
    links: &'a Links,
    rows: Vec<Vec<u32>>,
    settings: Settings,
    edges_max: u64,
}

/// A push that ran.
#[derive(Debug, Clone, Copy)]
struct Ran {
    known: Known,
    work: Work,
    /// Finding out what is known, and the push itself.
    known_ns: u64,
    ns: u64,
}

/// How one workload was predicted; shares are of all pushes after the first 200.
#[derive(Debug, Serialize)]
pub struct PredictionPoint {
    pub workload: &'static str,
    pub pushes: usize,
    pub edges: f64,
    pub spent_share: f64,
    pub p50_us: f64,
    pub p95_us: f64,
    /// Finding out what is known.
    pub known_us_p50: f64,
    /// The push when nothing was found out before.
    pub alone_us_p50: f64,
    /// Predicting and learning.
    pub learning_ns: f64,
    /// The share of rows whose second time is within the tolerance of the first.
    pub limit_share: f64,
    /// With a predictor of its own: times, and edges.
    pub share: f64,
    pub edges_share: f64,
    /// The median and the 95th percentile of by how much, in percent.
    pub error_percent_p50: f64,
    pub error_percent_p95: f64,
    /// With one for all: the share of those after the first 200 of a turn, and after how many the
    /// next fifty of all turns together were predicted as wanted.
    pub switched_share: f64,
    pub recovered_after: Option<usize>,
    /// Pushes with a budget for half the median time: the share that kept it, and the median of
    /// how much of it they used.
    pub in_time_share: f64,
    pub used_share: f64,
}

/// Measures all workloads; the first two on the given graph.
pub fn measure(
    links: &Links,
    settings: Settings,
    rows: usize,
) -> Result<Vec<PredictionPoint>, Box<dyn Error>> {
    let (hubs, large) = (power_law(20_000, 64)?, power_law(1_000_000, 16)?);
    let workload =
        |name, links, rows, edges_max| Workload { name, links, rows, settings, edges_max };
    let workloads = [
        workload("3 seeds, 256 edges", links, draw_seeds(links, rows, 3), 256),
        workload("20 seeds, 4,096 edges", links, draw_seeds(links, rows, 20), 4096),
        workload("hubs as seeds", &hubs, draw_hubs(&hubs, rows, 20), 4096),
        workload("1,000,000 nodes", &large, draw_seeds(&large, rows, 20), 4096),
    ];
    let ran: Vec<[Vec<Ran>; 2]> = workloads.iter().map(|of| [of.run(), of.run()]).collect();
    let switched = switch(&ran);
    let points = workloads.iter().zip(&ran).zip(&switched);
    Ok(points.map(|((of, ran), switched)| of.point(ran, switched)).collect())
}

/// The seeds of a row with a mass of 1 together.
fn masses(row: &[u32]) -> Vec<(u32, f32)> {
    row.iter().map(|node| (*node, 1.0 / row.len() as f32)).collect()
}

/// Tells a predictor what ran; what it had predicted each time.
fn predict(predictor: &mut Predictor, ran: &[Ran]) -> Vec<(Prediction, Ran)> {
    ran.iter().map(|ran| (predictor.note(&ran.known, &ran.work, ran.ns), *ran)).collect()
}

/// Which pushes of each turn of each workload are predicted well enough by one predictor that meets
/// all of them by turns.
fn switch(ran: &[[Vec<Ran>; 2]]) -> Vec<Vec<Vec<bool>>> {
    let mut predictor = Predictor::new();
    let mut switched = vec![Vec::new(); ran.len()];
    let turns = ran[0][0].len().div_ceil(TURN);
    for (pass, turn) in (0..2).flat_map(|pass| (0..turns).map(move |turn| (pass, turn))) {
        for (ran, switched) in ran.iter().zip(&mut switched) {
            let of = &ran[pass][turn * TURN..];
            let predicted = predict(&mut predictor, &of[..TURN.min(of.len())]);
            switched.push(predicted.iter().map(is_good).collect());
        }
    }
    switched
}

fn is_good((predicted, ran): &(Prediction, Ran)) -> bool {
    is_within(predicted.ns, ran.ns)
}

impl Workload<'_> {
    /// All rows, each once.
    fn run(&self) -> Vec<Ran> {
        let mut pool = Pool::new(POOL_BYTES);
        self.rows.iter().map(|row| self.push(row, &mut pool, |_| self.edges_max)).collect()
    }

    /// One push, with a budget that what is known decides.
    fn push(&self, row: &[u32], pool: &mut Pool<Packed>, budget: impl Fn(&Known) -> u64) -> Ran {
        let (mut graph, seeds, operator) = (self.links.graph(), masses(row), self.operator());
        let began = Instant::now();
        let mut known = Known::new(&mut graph, &operator, &seeds, self.edges_max);
        known.edges_max = budget(&known);
        let known_ns = began.elapsed().as_nanos() as u64;
        let (work, ns) = self.timed(graph, &seeds, known.edges_max, pool);
        Ran { known, work, known_ns, ns }
    }

    /// The push itself, with all that belongs to it: its memory, its best nodes, and cleaning up.
    fn timed(
        &self,
        mut graph: Csr<'_>,
        seeds: &[(u32, f32)],
        edges_max: u64,
        pool: &mut Pool<Packed>,
    ) -> (Work, u64) {
        let operator = self.operator();
        let mut best = Vec::with_capacity(4 * BEST);
        let began = Instant::now();
        let workspace = pool.acquire(self.links.nodes()).expect("the pool is large");
        let mut push = Push::new(operator, edges_max, workspace);
        for (node, mass) in seeds {
            push.receive(&graph, *node, *mass).expect("seeds are nodes");
        }
        push.run(&mut graph);
        let got = push.finish(&mut graph);
        got.best(BEST, |node| !seeds.iter().any(|seed| seed.0 == node), &mut best);
        let work = got.work();
        pool.release(got.into_workspace());
        let ns = began.elapsed().as_nanos() as u64;
        black_box(&best);
        (work, ns)
    }

    fn operator(&self) -> Operator {
        Operator::new(self.settings).expect("settings are in their bounds")
    }

    /// The times of all rows when nothing is found out before.
    fn run_alone(&self) -> Vec<u64> {
        let (mut pool, graph) = (Pool::new(POOL_BYTES), self.links.graph());
        let mut alone =
            |row: &Vec<u32>| self.timed(graph, &masses(row), self.edges_max, &mut pool).1;
        self.rows.iter().map(&mut alone).collect()
    }

    fn point(&self, ran: &[Vec<Ran>; 2], switched: &[Vec<bool>]) -> PredictionPoint {
        let [first, second] = ran;
        let mut predictor = Predictor::new();
        let began = Instant::now();
        let own = predict(&mut predictor, first);
        let learning_ns = began.elapsed().as_nanos() as f64 / first.len() as f64;
        let judged = &own[LEARNING.min(own.len())..];
        let errors = Sorted::new(
            judged
                .iter()
                .map(|(predicted, ran)| (predicted.ns as f64 / ran.ns as f64 - 1.0).abs() * 100.0),
        );
        let us = Sorted::new(first.iter().map(|ran| ran.ns as f64 / 1e3));
        let known_us = Sorted::new(first.iter().map(|ran| ran.known_ns as f64 / 1e3));
        let alone_us = Sorted::new(self.run_alone().into_iter().map(|ns| ns as f64 / 1e3));
        let deadline_ns = us.at(0.5) * 1e3 * DEADLINE_SHARE;
        let in_time = self.run_within(&mut predictor, deadline_ns as u64);
        let used = Sorted::new(in_time.iter().map(|ran| ran.ns as f64 / deadline_ns));
        let limit = first.iter().zip(second);
        PredictionPoint {
            workload: self.name,
            pushes: first.len(),
            edges: first.iter().map(|ran| ran.work.edges as f64).sum::<f64>() / first.len() as f64,
            spent_share: share(first.iter().map(|ran| ran.work.was_spent)),
            p50_us: us.at(0.5),
            p95_us: us.at(0.95),
            known_us_p50: known_us.at(0.5),
            alone_us_p50: alone_us.at(0.5),
            learning_ns,
            limit_share: share(limit.map(|(first, second)| is_within(first.ns, second.ns))),
            share: share(judged.iter().map(is_good)),
            edges_share: share(judged.iter().map(|(predicted, ran)| {
                predicted.edges.abs_diff(ran.work.edges) as f64 <= TOLERANCE * ran.work.edges as f64
            })),
            error_percent_p50: errors.at(0.5),
            error_percent_p95: errors.at(0.95),
            switched_share: share(
                switched.iter().flat_map(|turn| turn.iter().skip(LEARNING)).copied(),
            ),
            recovered_after: recovered_after(switched),
            in_time_share: share(in_time.iter().map(|ran| ran.ns as f64 <= deadline_ns)),
            used_share: used.at(0.5),
        }
    }

    /// All rows, each with the budget that the predictor has for a deadline.
    fn run_within(&self, predictor: &mut Predictor, deadline_ns: u64) -> Vec<Ran> {
        let mut pool = Pool::new(POOL_BYTES);
        let mut push = |row: &Vec<u32>| {
            let ran = self.push(row, &mut pool, |known| predictor.edges_within(known, deadline_ns));
            predictor.note(&ran.known, &ran.work, ran.ns);
            ran
        };
        self.rows.iter().map(&mut push).collect()
    }
}

/// After how many pushes of a turn the next fifty, of all turns together, were predicted as wanted.
fn recovered_after(switched: &[Vec<bool>]) -> Option<usize> {
    let share_from = |from: usize| {
        share(
            switched.iter().flat_map(|turn| turn.iter().skip(from).take(RECOVERED_PUSHES)).copied(),
        )
    };
    (0..TURN - RECOVERED_PUSHES).find(|from| share_from(*from) >= SHARE_WANTED)
}

fn share(of: impl Iterator<Item = bool>) -> f64 {
    let (count, good) = of.fold((0, 0), |(count, good), is| (count + 1, good + u32::from(is)));
    f64::from(good) / f64::from(count.max(1))
}

/// Figures in their order.
struct Sorted(Vec<f64>);

impl Sorted {
    fn new(figures: impl Iterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.collect();
        figures.sort_by(f64::total_cmp);
        Self(figures)
    }

    fn at(&self, share: f64) -> f64 {
        self.0[((self.0.len() - 1) as f64 * share).round() as usize]
    }
}
