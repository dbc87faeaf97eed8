//! Spreading measured: time and work of pushes from fresh seeds, and what of the exact answer they
//! find.

use std::time::Instant;

use engram_shards::spread::exact::Exact;
use engram_shards::spread::operator::{Operator, Settings};
use engram_shards::spread::push::Push;
use engram_shards::spread::state::{Packed, State, Traced};
use engram_shards::spread::workspace::Pool;
use serde::Serialize;

use crate::graphs::Links;

/// Nodes that are asked for.
pub const BEST: usize = 50;
/// Memory of a pool: far more than one push takes.
const POOL_BYTES: usize = 1 << 30;
/// Pushes before those that count: they bring the pool's lists to their size.
const WARM_UP: usize = 20;

/// The answer to one row of seeds.
#[derive(Debug, Clone, Serialize)]
pub struct Answer {
    pub us: f64,
    pub edges: u64,
    pub turns: u64,
    pub nodes_touched: u64,
    pub was_spent: bool,
    /// The best that are no seeds, in order.
    pub best: Vec<u32>,
}

/// What many answers come to.
#[derive(Debug, Serialize)]
pub struct Point {
    pub edges_max: u64,
    pub threshold: f32,
    pub traced: bool,
    pub p50_us: f64,
    pub p95_us: f64,
    pub p99_us: f64,
    pub edges: f64,
    pub turns: f64,
    pub nodes_touched: f64,
    pub ns_per_edge: f64,
    /// The share of the exact best that was found, over the rows that were judged.
    pub overlap: f64,
}

/// The exact best of some rows of seeds.
pub fn truth(links: &Links, settings: Settings, rows: &[Vec<u32>]) -> Vec<Vec<u32>> {
    let operator = Operator::new(settings).expect("settings are in their bounds");
    let best = |row: &Vec<u32>| {
        let seeds: Vec<(u32, f32)> = masses(row).collect();
        let scores = Exact::all(operator, &mut links.graph(), &seeds);
        let mut nodes: Vec<u32> =
            (0..links.nodes()).filter(|node| scores[*node as usize] > 0.0).collect();
        nodes.retain(|node| !row.contains(node));
        nodes.sort_by(|a, b| scores[*b as usize].total_cmp(&scores[*a as usize]).then(a.cmp(b)));
        nodes.truncate(BEST);
        nodes
    };
    rows.iter().map(best).collect()
}

/// The seeds of a row with a mass of 1 together.
fn masses(row: &[u32]) -> impl Iterator<Item = (u32, f32)> {
    let mass = 1.0 / row.len() as f32;
    row.iter().map(move |node| (*node, mass))
}

/// Asks all rows in turn, each once. The time of an answer begins with taking a workspace and ends
/// with giving it back; the best are among it.
pub fn ask<S: State>(
    links: &Links,
    settings: Settings,
    edges_max: u64,
    rows: &[Vec<u32>],
) -> Vec<Answer> {
    let operator = Operator::new(settings).expect("settings are in their bounds");
    let mut pool: Pool<S> = Pool::new(POOL_BYTES);
    let mut best = Vec::new();
    let mut answer = |row: &Vec<u32>| {
        let mut graph = links.graph();
        let began = Instant::now();
        let workspace = pool.acquire(links.nodes()).expect("the pool is large");
        let mut push = Push::new(operator, edges_max, workspace);
        for (node, mass) in masses(row) {
            push.receive(&graph, node, mass).expect("seeds are nodes");
        }
        push.run(&mut graph);
        let got = push.finish(&mut graph);
        got.best(BEST, |node| !row.contains(&node), &mut best);
        let work = got.work();
        pool.release(got.into_workspace());
        let us = began.elapsed().as_secs_f64() * 1e6;
        Answer {
            us,
            edges: work.edges,
            turns: work.turns,
            nodes_touched: work.nodes_touched,
            was_spent: work.was_spent,
            best: best.iter().map(|(node, _)| *node).collect(),
        }
    };
    rows.iter().rev().take(WARM_UP).for_each(|row| drop(answer(row)));
    rows.iter().map(answer).collect()
}

/// Measures one setting; the first rows are judged by as many truths.
pub fn measure(
    links: &Links,
    settings: Settings,
    edges_max: u64,
    traced: bool,
    rows: &[Vec<u32>],
    truth: &[Vec<u32>],
) -> Point {
    let answers = match traced {
        false => ask::<Packed>(links, settings, edges_max, rows),
        true => ask::<Traced>(links, settings, edges_max, rows),
    };
    let mut us: Vec<f64> = answers.iter().map(|answer| answer.us).collect();
    us.sort_by(f64::total_cmp);
    let share = |share: f64| us[((us.len() - 1) as f64 * share).round() as usize];
    let count = answers.len() as f64;
    let mean = |of: fn(&Answer) -> u64| answers.iter().map(of).sum::<u64>() as f64 / count;
    let edges = mean(|answer| answer.edges);
    Point {
        edges_max,
        threshold: settings.threshold,
        traced,
        p50_us: share(0.5),
        p95_us: share(0.95),
        p99_us: share(0.99),
        edges,
        turns: mean(|answer| answer.turns),
        nodes_touched: mean(|answer| answer.nodes_touched),
        ns_per_edge: us.iter().sum::<f64>() / count / edges.max(1.0) * 1e3,
        overlap: overlap(&answers, truth),
    }
}

/// The share of the truths that the answers have.
fn overlap(answers: &[Answer], truth: &[Vec<u32>]) -> f64 {
    let found = |(answer, truth): (&Answer, &Vec<u32>)| {
        truth.iter().filter(|node| answer.best.contains(node)).count()
    };
    let found: usize = answers.iter().zip(truth).map(found).sum();
    found as f64 / truth.iter().map(Vec::len).sum::<usize>().max(1) as f64
}
