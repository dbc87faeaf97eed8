//! Building a graph in bulk, in slices.
//!
//! Inserting nodes one by one costs a search each; nobody gets beyond a few thousand per second and
//! core that way. In bulk there is a better way (PiPNN, 2026; its ancestors are Rand-NSG's and
//! HCNSG's overlapping partitions): cut the nodes into small leaves that overlap, compare all pairs
//! inside a leaf with a kernel that reuses what it has loaded, and thin the candidates out.
//!
//! | Phase | Unit of work | What it leaves |
//! |---|---|---|
//! | partition | four nodes against the leaders of a split | leaves, and the order of the nodes |
//! | compare | four nodes of a leaf against the leaf | the nearest candidates of each node |
//! | thin | a node | up to 32 neighbours, none of them redundant |
//! | mend | a node | the same with the edges that lead back |
//! | encode | a page, when it is asked for | the graph |
//!
//! Everything works on the rotated vectors in bytes. A candidate is *redundant* when a neighbour
//! that was kept is nearer to it than the node is: the walk gets there by way of that one
//! (Toussaint's relative neighbourhood graph; the rule of HNSW and of Vamana at α = 1). What room
//! is left is filled with the nearest of the redundant ones, because the code scan of a page costs
//! the same for one neighbour as for 32 (SymphonyQG).

mod encode;
mod leaves;
mod partition;
mod pools;
mod thin;

use std::io;

use super::page::{DEGREE, NODES_MAX};
use crate::arena::{Stretch, Zeroed};
use crate::index::bytes::{ByteRow, quantize};
use crate::index::rotation::split_mix;
use crate::index::simd::{BytesOf, TILE};
use leaves::Leaf;
use partition::Partition;
use pools::{Candidate, Pools};
use thin::Thinning;

/// How a graph is built.
#[derive(Debug, Clone, Copy)]
pub struct BuildSettings {
    /// Nodes of a leaf at most.
    pub leaf_nodes_max: usize,
    /// Leaders of a split at most.
    pub leaders_max: usize,
    /// Groups that a node goes to at the first split, and at every further one.
    pub fan_first: usize,
    pub fan_further: usize,
    /// Candidates kept for each node.
    pub candidates_max: usize,
    /// How much nearer a neighbour must be to a candidate to make it redundant: the ratio of the
    /// distances.
    pub alpha: f32,
    pub seed: u64,
}

impl Default for BuildSettings {
    fn default() -> Self {
        Self {
            leaf_nodes_max: 1024,
            leaders_max: 1000,
            fan_first: 8,
            fan_further: 2,
            candidates_max: 64,
            alpha: 1.05,
            seed: 1,
        }
    }
}

/// The nodes of a graph under construction, in the order in which they were pushed.
#[derive(Debug)]
pub(super) struct Nodes {
    padded: usize,
    bytes: Zeroed<u8>,
    rows: Vec<ByteRow>,
    /// Sums of the bytes, 128 taken off each.
    sums: Vec<i32>,
}

impl Nodes {
    fn count(&self) -> usize {
        self.rows.len()
    }

    #[inline]
    fn bytes(&self, node: u32) -> &[u8] {
        &self.bytes[node as usize * self.padded..][..self.padded]
    }

    #[inline]
    fn row(&self, node: u32) -> ByteRow {
        self.rows[node as usize]
    }

    fn bytes_of(&self, node: u32) -> BytesOf<'_> {
        BytesOf { bytes: self.bytes(node), step: self.row(node).step }
    }
}

/// Some nodes, copied together so that kernels can run over them.
#[derive(Debug, Default)]
struct Gathered {
    nodes: Vec<u32>,
    bytes: Vec<u8>,
    steps: Vec<f32>,
    norms: Vec<f32>,
    sums: Vec<i32>,
}

impl Gathered {
    fn clear(&mut self) {
        self.nodes.clear();
        self.bytes.clear();
        self.steps.clear();
        self.norms.clear();
        self.sums.clear();
    }

    fn push(&mut self, all: &Nodes, node: u32) {
        let row = all.row(node);
        self.nodes.push(node);
        self.bytes.extend_from_slice(all.bytes(node));
        self.steps.push(row.step);
        self.norms.push(row.norm_squared);
        self.sums.push(all.sums[node as usize]);
    }

    /// Fills up to whole tiles, with rows of zeros at an infinite distance.
    fn pad(&mut self, padded: usize) {
        let width = self.nodes.len().next_multiple_of(TILE);
        self.bytes.resize(width * padded, 0);
        self.steps.resize(width, 0.0);
        self.norms.resize(width, f32::INFINITY);
        self.sums.resize(width, 0);
    }

    fn width(&self) -> usize {
        self.steps.len()
    }
}

#[derive(Debug)]
enum Phase {
    Partition(Box<Partition>),
    Compare(Box<Leaf>),
    Thin(Box<Thinning>),
    Mend(Box<Thinning>),
    /// The candidates are not needed any more.
    Release,
    Done,
}

/// See the top of the file.
#[derive(Debug)]
pub struct Builder {
    settings: BuildSettings,
    nodes: Nodes,
    phase: Phase,
    leaves: Vec<Vec<u32>>,
    /// The group that each node is nearest to, of the first split.
    groups: Vec<u32>,
    near: Pools,
    /// Edges that lead back.
    back: Pools,
    lists: Zeroed<u32>,
    degrees: Vec<u8>,
    random: u64,
}

impl Builder {
    /// Prepares for up to `nodes` nodes of so many rotated coordinates.
    ///
    /// # Panics
    /// When there are more nodes than a graph can have.
    pub fn new(nodes: usize, padded: usize, settings: BuildSettings) -> io::Result<Self> {
        assert!(nodes <= NODES_MAX, "{nodes} nodes, a graph has at most {NODES_MAX}");
        Ok(Self {
            settings,
            nodes: Nodes {
                padded,
                bytes: Zeroed::new(nodes * padded)?,
                rows: Vec::with_capacity(nodes),
                sums: Vec::with_capacity(nodes),
            },
            phase: Phase::Partition(Box::default()),
            leaves: Vec::new(),
            groups: Vec::new(),
            near: Pools::new(nodes, settings.candidates_max)?,
            back: Pools::new(nodes, settings.candidates_max)?,
            lists: Zeroed::new(nodes * DEGREE)?,
            degrees: vec![0; nodes],
            random: settings.seed,
        })
    }

    /// The next chunk of memory that the graph is built with and nobody was asked to bring in.
    pub fn next_chunk(&mut self) -> Option<Stretch> {
        let nodes = self.nodes.bytes.next_chunk();
        nodes
            .or_else(|| self.near.next_chunk())
            .or_else(|| self.back.next_chunk())
            .or_else(|| self.lists.next_chunk())
    }

    /// How many of the first chunks are written to by what comes next. Where one is not there yet,
    /// writing waits for it.
    pub fn chunks_needed(&self) -> usize {
        let until = [self.nodes.bytes.chunks(), self.near.chunks(), self.back.chunks()];
        match &self.phase {
            Phase::Partition(_) => until[0],
            Phase::Compare(_) => until[..2].iter().sum(),
            Phase::Thin(_) => until.iter().sum(),
            Phase::Mend(_) => until.iter().sum::<usize>() + self.lists.chunks(),
            Phase::Release | Phase::Done => 0,
        }
    }

    /// Adds the next node: its rotated vector.
    pub fn push(&mut self, rotated: &[f32]) {
        let Nodes { bytes, rows, sums, padded } = &mut self.nodes;
        let from = rows.len() * *padded;
        let (row, sum) = quantize(rotated, &mut bytes[from..from + *padded]);
        rows.push(row);
        sums.push(sum);
    }

    /// Does one unit of work, some ten microseconds; whether the graph is complete. Every node is
    /// pushed before the first.
    pub fn step(&mut self) -> bool {
        match &mut self.phase {
            Phase::Partition(partition) => {
                let random = &mut self.random;
                let draw = |below: usize| (split_mix(random) % below as u64) as usize;
                if partition.step(&self.nodes, &self.settings, draw) {
                    (self.leaves, self.groups) = std::mem::take(&mut **partition).finish();
                    self.phase = Phase::Compare(Box::default());
                }
            }
            Phase::Compare(leaf) => match self.leaves.last() {
                Some(members) if leaf.step(&self.nodes, members, &mut self.near) => {
                    self.leaves.pop();
                }
                Some(_) => {}
                None => self.phase = Phase::Thin(Box::default()),
            },
            Phase::Thin(thinning) => {
                match thinning.next(&self.nodes, &self.settings, &mut self.near, None) {
                    Some((node, kept)) => {
                        for kept in kept {
                            let (distance, neighbour) = (kept.distance(), kept.node());
                            if distance < self.back.bound(neighbour) {
                                self.back.offer(neighbour, Candidate::new(distance, node));
                            }
                        }
                    }
                    None => self.phase = Phase::Mend(Box::default()),
                }
            }
            Phase::Mend(thinning) => {
                let back = Some(&mut self.back);
                match thinning.next(&self.nodes, &self.settings, &mut self.near, back) {
                    Some((node, kept)) => {
                        let list = &mut self.lists[node as usize * DEGREE..][..kept.len()];
                        list.iter_mut().zip(kept).for_each(|(to, kept)| *to = kept.node());
                        self.degrees[node as usize] = kept.len() as u8;
                    }
                    None => self.phase = Phase::Release,
                }
            }
            Phase::Release if self.near.release_some() && self.back.release_some() => {
                self.phase = Phase::Done;
            }
            Phase::Release => {}
            Phase::Done => return true,
        }
        false
    }

    /// Gives some memory back, when every page was written or none is wanted any more; whether that
    /// was all.
    pub fn release_some(&mut self) -> bool {
        self.near.release_some()
            && self.back.release_some()
            && self.nodes.bytes.release_some()
            && self.lists.release_some()
    }

    /// For each node the group of similar ones that it belongs to.
    pub fn groups(&self) -> &[u32] {
        &self.groups
    }

    /// Writes the rotated vector of a node, as exactly as its bytes say.
    pub fn point(&self, node: u32, out: &mut [f32]) {
        let step = self.nodes.row(node).step;
        for (value, byte) in out.iter_mut().zip(self.nodes.bytes(node)) {
            *value = (f32::from(*byte) - 128.0) * step;
        }
    }

    fn neighbours(&self, node: u32) -> &[u32] {
        let degree = usize::from(self.degrees[node as usize]);
        &self.lists[node as usize * DEGREE..][..degree]
    }
}
