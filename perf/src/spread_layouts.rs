//! One push over three layouts of the same graph, each with and without asking the caches ahead.
//!
//! | Layout | A node's links | A node's state |
//! |---|---|---|
//! | plain | four arrays: starts, sums, targets, weights | three: residuals, activations, flags |
//! | record | one record of 64 bytes, edges of 8 bytes | in the same record |
//! | packed | heads of 16 bytes, edges of 8 bytes | 8 bytes |
//!
//! The record has in one line all that a node could be asked for: its id, its state, where its
//! edges and its vector are, and when it was used. The packed one is the engine's. The push here is
//! the engine's too, reduced to links at rest: rounds, the same threshold, the same order, so all
//! layouts give the same bits. They take turns, query by query.

use std::time::Instant;

use engram_shards::spread::csr::Head;
use engram_shards::spread::link::Edge;
use serde::Serialize;

use crate::graphs::Links;

const DECAY: f32 = 0.5;
/// Nodes and edges that are asked for ahead.
const NODES_AHEAD: usize = 12;
const TURNS_AHEAD: usize = 2;
const EDGES_AHEAD: usize = 16;

/// How a graph and what a push knows about it lie in memory.
trait Layout {
    const NAME: &'static str;
    /// Bytes of a node, and of a link.
    const BYTES: [usize; 2];

    fn new(links: &Links) -> Self;
    /// Where the edges begin, how many there are, and one over the sum of their weights.
    fn head(&self, node: u32) -> (usize, usize, f32);
    fn edge(&self, at: usize) -> (u32, f32);
    fn residual(&self, node: u32) -> f32;
    /// Leaves the queue, with its mass or without.
    fn leave(&mut self, node: u32, takes: bool);
    fn keep(&mut self, node: u32, mass: f32);
    /// Adds mass; whether it is the first, and whether the node is to be queued.
    fn add(&mut self, node: u32, mass: f32, enough: f32) -> (bool, bool);
    /// The score; the node is as new afterwards.
    fn take_score(&mut self, node: u32) -> f32;
    fn ask_for_node(&self, node: u32);
    fn ask_for_state(&self, node: u32);
    fn ask_for_edges(&self, at: usize);
}

/// Asks the first-level cache for the line of an element.
#[allow(unsafe_code)]
fn ask_for<T>(of: &[T], index: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch of any address is sound, and the pointer is not dereferenced.
        unsafe { _mm_prefetch(of.as_ptr().wrapping_add(index).cast(), _MM_HINT_T0) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (of, index);
}

#[derive(Default)]
struct Plain {
    starts: Vec<usize>,
    inverse_sums: Vec<f32>,
    targets: Vec<u32>,
    weights: Vec<f32>,
    residuals: Vec<f32>,
    activations: Vec<f32>,
    queued: Vec<bool>,
}

impl Layout for Plain {
    const NAME: &'static str = "plain";
    const BYTES: [usize; 2] = [8 + 4 + 4 + 4 + 1, 8];

    fn new(links: &Links) -> Self {
        let base = links.graph();
        let nodes = base.heads.len();
        let starts = base.heads.iter().map(|head| head.start as usize);
        Self {
            starts: starts.chain([base.edges.len()]).collect(),
            inverse_sums: base.heads.iter().map(|head| head.scale.inverse_sum).collect(),
            targets: base.edges.iter().map(|edge| edge.target).collect(),
            weights: base.edges.iter().map(|edge| edge.weight.get()).collect(),
            residuals: vec![0.0; nodes],
            activations: vec![0.0; nodes],
            queued: vec![false; nodes],
        }
    }

    fn head(&self, node: u32) -> (usize, usize, f32) {
        let start = self.starts[node as usize];
        (start, self.starts[node as usize + 1] - start, self.inverse_sums[node as usize])
    }

    fn edge(&self, at: usize) -> (u32, f32) {
        (self.targets[at], self.weights[at])
    }

    fn residual(&self, node: u32) -> f32 {
        self.residuals[node as usize]
    }

    fn leave(&mut self, node: u32, takes: bool) {
        self.queued[node as usize] = false;
        if takes {
            self.residuals[node as usize] = f32::MIN_POSITIVE;
        }
    }

    fn keep(&mut self, node: u32, mass: f32) {
        self.activations[node as usize] += mass;
    }

    fn add(&mut self, node: u32, mass: f32, enough: f32) -> (bool, bool) {
        let at = node as usize;
        let is_first = self.residuals[at] == 0.0;
        self.residuals[at] += mass;
        let joins = self.residuals[at] >= enough && !self.queued[at];
        self.queued[at] |= joins;
        (is_first, joins)
    }

    fn take_score(&mut self, node: u32) -> f32 {
        let at = node as usize;
        self.queued[at] = false;
        let residual = std::mem::take(&mut self.residuals[at]);
        std::mem::take(&mut self.activations[at]) + (1.0 - DECAY) * residual
    }

    fn ask_for_node(&self, node: u32) {
        ask_for(&self.starts, node as usize);
        ask_for(&self.inverse_sums, node as usize);
        self.ask_for_state(node);
    }

    fn ask_for_state(&self, node: u32) {
        ask_for(&self.residuals, node as usize);
        ask_for(&self.queued, node as usize);
    }

    fn ask_for_edges(&self, at: usize) {
        ask_for(&self.targets, at);
        ask_for(&self.weights, at);
    }
}

/// Everything about a node in one line of the cache.
#[derive(Clone, Default)]
#[repr(C, align(64))]
struct Node {
    id: u64,
    activation: f32,
    residual: f32,
    hops: u16,
    tier: u8,
    is_queued: bool,
    inverse_sum: f32,
    edges_start: u32,
    fan: u32,
    vector: u64,
    last_access: f64,
    created: f64,
    accesses: u32,
    moves: u32,
}

const _: () = assert!(size_of::<Node>() == 64);

struct Record {
    nodes: Vec<Node>,
    edges: Vec<Edge>,
}

impl Layout for Record {
    const NAME: &'static str = "record";
    const BYTES: [usize; 2] = [64, 8];

    fn new(links: &Links) -> Self {
        let base = links.graph();
        let node = |(id, head): (u64, &Head)| Node {
            id,
            vector: id,
            edges_start: head.start,
            fan: head.scale.fan,
            inverse_sum: head.scale.inverse_sum,
            ..Node::default()
        };
        Self { nodes: (0..).zip(base.heads).map(node).collect(), edges: base.edges.to_vec() }
    }

    fn head(&self, node: u32) -> (usize, usize, f32) {
        let node = &self.nodes[node as usize];
        (node.edges_start as usize, node.fan as usize, node.inverse_sum)
    }

    fn edge(&self, at: usize) -> (u32, f32) {
        (self.edges[at].target, self.edges[at].weight.get())
    }

    fn residual(&self, node: u32) -> f32 {
        self.nodes[node as usize].residual
    }

    fn leave(&mut self, node: u32, takes: bool) {
        let node = &mut self.nodes[node as usize];
        node.is_queued = false;
        if takes {
            node.residual = f32::MIN_POSITIVE;
        }
    }

    fn keep(&mut self, node: u32, mass: f32) {
        self.nodes[node as usize].activation += mass;
    }

    fn add(&mut self, node: u32, mass: f32, enough: f32) -> (bool, bool) {
        let node = &mut self.nodes[node as usize];
        let is_first = node.residual == 0.0;
        node.residual += mass;
        let joins = node.residual >= enough && !node.is_queued;
        node.is_queued |= joins;
        (is_first, joins)
    }

    fn take_score(&mut self, node: u32) -> f32 {
        let node = &mut self.nodes[node as usize];
        node.is_queued = false;
        std::mem::take(&mut node.activation) + (1.0 - DECAY) * std::mem::take(&mut node.residual)
    }

    fn ask_for_node(&self, node: u32) {
        ask_for(&self.nodes, node as usize);
    }

    fn ask_for_state(&self, node: u32) {
        ask_for(&self.nodes, node as usize);
    }

    fn ask_for_edges(&self, at: usize) {
        ask_for(&self.edges, at);
    }
}

/// The sign of the first is set while the node is queued.
#[derive(Clone, Copy, Default)]
struct State {
    waiting: f32,
    activation: f32,
}

struct Packed {
    heads: Vec<Head>,
    edges: Vec<Edge>,
    states: Vec<State>,
}

impl Layout for Packed {
    const NAME: &'static str = "packed";
    const BYTES: [usize; 2] = [size_of::<Head>() + size_of::<State>(), 8];

    fn new(links: &Links) -> Self {
        let base = links.graph();
        let states = vec![State::default(); base.heads.len()];
        Self { heads: base.heads.to_vec(), edges: base.edges.to_vec(), states }
    }

    fn head(&self, node: u32) -> (usize, usize, f32) {
        let head = self.heads[node as usize];
        (head.start as usize, head.scale.fan as usize, head.scale.inverse_sum)
    }

    fn edge(&self, at: usize) -> (u32, f32) {
        (self.edges[at].target, self.edges[at].weight.get())
    }

    fn residual(&self, node: u32) -> f32 {
        self.states[node as usize].waiting.abs()
    }

    fn leave(&mut self, node: u32, takes: bool) {
        let state = &mut self.states[node as usize];
        state.waiting = if takes { f32::MIN_POSITIVE } else { state.waiting.abs() };
    }

    fn keep(&mut self, node: u32, mass: f32) {
        self.states[node as usize].activation += mass;
    }

    fn add(&mut self, node: u32, mass: f32, enough: f32) -> (bool, bool) {
        let state = &mut self.states[node as usize];
        let is_first = state.waiting == 0.0;
        let was_queued = state.waiting.is_sign_negative();
        let sum = state.waiting.abs() + mass;
        let joins = sum >= enough && !was_queued;
        state.waiting = if joins | was_queued { -sum } else { sum };
        (is_first, joins)
    }

    fn take_score(&mut self, node: u32) -> f32 {
        let state = std::mem::take(&mut self.states[node as usize]);
        state.activation + (1.0 - DECAY) * state.waiting.abs()
    }

    fn ask_for_node(&self, node: u32) {
        ask_for(&self.heads, node as usize);
        ask_for(&self.states, node as usize);
    }

    fn ask_for_state(&self, node: u32) {
        ask_for(&self.states, node as usize);
    }

    fn ask_for_edges(&self, at: usize) {
        ask_for(&self.edges, at);
    }
}

/// A push over a layout.
struct Push<L, const AHEAD: bool> {
    layout: L,
    queue: Vec<u32>,
    next: Vec<u32>,
    touched: Vec<u32>,
    turns: Vec<(u32, f32)>,
    scores: Vec<(u32, f32)>,
}

impl<L: Layout, const AHEAD: bool> Push<L, AHEAD> {
    fn new(links: &Links) -> Self {
        Self {
            layout: L::new(links),
            queue: Vec::new(),
            next: Vec::new(),
            touched: Vec::new(),
            turns: Vec::new(),
            scores: Vec::new(),
        }
    }

    fn plan_round(&mut self, threshold: f32) {
        std::mem::swap(&mut self.queue, &mut self.next);
        self.turns.clear();
        for (at, &node) in self.queue.iter().enumerate() {
            if AHEAD && let Some(&ahead) = self.queue.get(at + NODES_AHEAD) {
                self.layout.ask_for_node(ahead);
            }
            let (start, fan, _) = self.layout.head(node);
            let mass = self.layout.residual(node);
            let is_turn = fan > 0 && mass >= threshold * fan as f32;
            self.layout.leave(node, is_turn);
            if is_turn {
                self.turns.push((node, mass));
                if AHEAD {
                    self.layout.ask_for_edges(start);
                }
            }
        }
        self.queue.clear();
    }
}

/// Whoever can be asked to spread.
trait Spread {
    fn name(&self) -> String;
    fn bytes(&self) -> [usize; 2];
    /// The edges visited; the scores are told in the order of arrival.
    fn spread(&mut self, seeds: &[u32], threshold: f32, edges_max: usize) -> usize;
    fn scores(&self) -> &[(u32, f32)];
}

impl<L: Layout, const AHEAD: bool> Spread for Push<L, AHEAD> {
    fn name(&self) -> String {
        format!("{}{}", L::NAME, if AHEAD { ", asked ahead" } else { "" })
    }

    fn bytes(&self) -> [usize; 2] {
        L::BYTES
    }

    fn spread(&mut self, seeds: &[u32], threshold: f32, edges_max: usize) -> usize {
        let mut edges = 0;
        for &seed in seeds {
            self.layout.add(seed, 1.0 / seeds.len() as f32, 0.0);
            self.touched.push(seed);
            self.next.push(seed);
        }
        'rounds: while !self.next.is_empty() {
            self.plan_round(threshold);
            for (nth, &(node, mass)) in self.turns.iter().enumerate() {
                if AHEAD && let Some(&(ahead, _)) = self.turns.get(nth + TURNS_AHEAD) {
                    let (start, fan, _) = self.layout.head(ahead);
                    for at in start..start + fan.min(EDGES_AHEAD) {
                        self.layout.ask_for_state(self.layout.edge(at).0);
                    }
                }
                let (start, fan, inverse_sum) = self.layout.head(node);
                self.layout.keep(node, (1.0 - DECAY) * mass);
                for at in start..start + fan {
                    if AHEAD && at + EDGES_AHEAD < start + fan {
                        self.layout.ask_for_state(self.layout.edge(at + EDGES_AHEAD).0);
                    }
                    let (target, weight) = self.layout.edge(at);
                    let sent = DECAY * mass * inverse_sum * weight;
                    let (is_first, joins) = self.layout.add(target, sent, threshold);
                    if is_first {
                        self.touched.push(target);
                    }
                    if joins {
                        self.next.push(target);
                    }
                }
                edges += fan;
                if edges >= edges_max {
                    self.next.clear();
                    break 'rounds;
                }
            }
        }
        self.scores.clear();
        for node in self.touched.drain(..) {
            self.scores.push((node, self.layout.take_score(node)));
        }
        edges
    }

    fn scores(&self) -> &[(u32, f32)] {
        &self.scores
    }
}

/// What one layout took.
#[derive(Debug, Serialize)]
pub struct LayoutPoint {
    pub layout: String,
    pub bytes_per_node: usize,
    pub bytes_per_link: usize,
    pub p50_us: f64,
    pub p95_us: f64,
    pub ns_per_edge: f64,
    /// Time of the plain layout over this one's, at the median.
    pub times_plain: f64,
}

/// Asks every layout each row of seeds.
///
/// # Panics
/// When two layouts differ in a score.
pub fn compare(
    links: &Links,
    rows: &[Vec<u32>],
    threshold: f32,
    edges_max: usize,
) -> Vec<LayoutPoint> {
    let mut all: Vec<Box<dyn Spread>> = vec![
        Box::new(Push::<Plain, false>::new(links)),
        Box::new(Push::<Plain, true>::new(links)),
        Box::new(Push::<Record, false>::new(links)),
        Box::new(Push::<Record, true>::new(links)),
        Box::new(Push::<Packed, false>::new(links)),
        Box::new(Push::<Packed, true>::new(links)),
    ];
    let mut us: Vec<Vec<f64>> = all.iter().map(|_| Vec::with_capacity(rows.len())).collect();
    let mut edges = 0;
    for row in rows {
        for (layout, us) in all.iter_mut().zip(&mut us) {
            let began = Instant::now();
            let visited = layout.spread(row, threshold, edges_max);
            us.push(began.elapsed().as_secs_f64() * 1e6);
            edges += visited;
        }
        let (plain, others) = all.split_first().expect("there are some");
        let same = others.iter().all(|other| other.scores() == plain.scores());
        assert!(same, "layouts differ for the seeds {row:?}");
    }
    let edges = edges as f64 / (all.len() * rows.len()) as f64;
    us.iter_mut().for_each(|us| us.sort_by(f64::total_cmp));
    let plain_us = us[0][us[0].len() / 2];
    let point = |(layout, us): (&dyn Spread, &Vec<f64>)| {
        let p50_us = us[us.len() / 2];
        LayoutPoint {
            layout: layout.name(),
            bytes_per_node: layout.bytes()[0],
            bytes_per_link: layout.bytes()[1],
            p50_us,
            p95_us: us[us.len() * 95 / 100],
            ns_per_edge: p50_us * 1e3 / edges,
            times_plain: plain_us / p50_us,
        }
    };
    all.iter().map(Box::as_ref).zip(&us).map(point).collect()
}
