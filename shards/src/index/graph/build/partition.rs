//! Cutting the nodes into leaves that overlap.
//!
//! A group that is too large is split: some of its nodes, drawn at random, lead, and every node
//! follows the nearest few of them. Following several is what makes leaves overlap, and overlap is
//! what connects the graph across their borders.

use std::collections::VecDeque;

use super::{BuildSettings, Gathered, Nodes};
use crate::index::simd::{Combining, TILE, index_kernels};

/// Nodes of a group that is not merged with another small one, as a share of the largest leaf.
const SMALL_SHARE: usize = 4;

/// Groups waiting to be split, and the split under way.
#[derive(Debug, Default)]
pub(super) struct Partition {
    has_begun: bool,
    open: VecDeque<Vec<u32>>,
    split: Option<Split>,
    leaves: Vec<Vec<u32>>,
    groups: Vec<u32>,
}

#[derive(Debug)]
struct Split {
    group: Vec<u32>,
    fan: usize,
    is_first: bool,
    leaders: Gathered,
    parts: Vec<Vec<u32>>,
    next: usize,
    points: Gathered,
    products: Vec<i32>,
    distances: Vec<f32>,
    minima: Vec<f32>,
}

impl Partition {
    /// Does one unit of work; whether every group is a leaf.
    pub(super) fn step(
        &mut self,
        nodes: &Nodes,
        settings: &BuildSettings,
        draw: impl FnMut(usize) -> usize,
    ) -> bool {
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        if is_first {
            let count = u32::try_from(nodes.count()).expect("nodes are counted in u32");
            self.groups = vec![0; nodes.count()];
            self.open.push_back((0..count).collect());
        }
        if let Some(split) = &mut self.split {
            let groups = split.is_first.then_some(self.groups.as_mut_slice());
            if split.step(nodes, groups) {
                let split = self.split.take().expect("just seen");
                self.take_parts(split, settings);
            }
            return false;
        }
        let Some(group) = self.open.pop_front() else { return true };
        if group.len() <= settings.leaf_nodes_max {
            self.leaves.push(group);
        } else {
            self.split = Some(Split::new(group, is_first, nodes, settings, draw));
        }
        false
    }

    /// Queues the parts of a split. Small ones are put together, so that comparing them is worth
    /// its while.
    fn take_parts(&mut self, split: Split, settings: &BuildSettings) {
        let small = settings.leaf_nodes_max / SMALL_SHARE;
        let mut gathering: Vec<u32> = Vec::new();
        for part in split.parts {
            if part.len() == split.group.len() {
                // Nodes that are all alike cannot be told apart.
                self.leaves.extend(part.chunks(settings.leaf_nodes_max).map(<[u32]>::to_vec));
            } else if part.len() >= small {
                self.open.push_back(part);
            } else {
                gathering.extend(part);
                if gathering.len() >= small {
                    self.open.push_back(each_once(std::mem::take(&mut gathering)));
                }
            }
        }
        if !gathering.is_empty() {
            self.open.push_back(each_once(gathering));
        }
    }

    /// The leaves, and for each node the leader it was nearest to in the first split.
    pub(super) fn finish(self) -> (Vec<Vec<u32>>, Vec<u32>) {
        (self.leaves, self.groups)
    }
}

fn each_once(mut nodes: Vec<u32>) -> Vec<u32> {
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

impl Split {
    fn new(
        group: Vec<u32>,
        is_first: bool,
        nodes: &Nodes,
        settings: &BuildSettings,
        mut draw: impl FnMut(usize) -> usize,
    ) -> Self {
        let fan = if is_first { settings.fan_first } else { settings.fan_further };
        // Groups of half a leaf on average: few are too large then.
        let wanted = 2 * group.len() * fan / settings.leaf_nodes_max;
        let count = wanted.clamp(fan + 1, settings.leaders_max).next_multiple_of(TILE);
        let mut leaders = Gathered::default();
        for _ in 0..count {
            leaders.push(nodes, group[draw(group.len())]);
        }
        Self {
            group,
            fan,
            is_first,
            leaders,
            parts: vec![Vec::new(); count],
            next: 0,
            points: Gathered::default(),
            products: vec![0; TILE * count],
            distances: vec![0.0; count],
            minima: Vec::new(),
        }
    }

    /// Sends the next four nodes to their leaders; whether those were the last. With the first
    /// split goes a note of each node's nearest leader.
    fn step(&mut self, nodes: &Nodes, mut groups: Option<&mut [u32]>) -> bool {
        let until = self.group.len().min(self.next + TILE);
        self.points.clear();
        for &node in &self.group[self.next..until] {
            self.points.push(nodes, node);
        }
        self.points.pad(nodes.padded);
        index_kernels().dot_strip(&self.points.bytes, &self.leaders.bytes, &mut self.products);
        let lines = self.products.chunks_exact(self.distances.len());
        for (nth, (&node, products)) in self.points.nodes.iter().zip(lines).enumerate() {
            let combining = Combining {
                step: self.points.steps[nth],
                norm: self.points.norms[nth],
                steps: &self.leaders.steps,
                norms: &self.leaders.norms,
                sums: &self.leaders.sums,
            };
            index_kernels().combine(&combining, products, &mut self.distances);
            let mut nearest = Nearest::new(&mut self.distances, &mut self.minima);
            for rank in 0..self.fan {
                let nearest = nearest.take();
                self.parts[nearest].push(node);
                if let Some(groups) = groups.as_mut().filter(|_| rank == 0) {
                    groups[node as usize] = nearest as u32;
                }
            }
        }
        self.next = until;
        until == self.group.len()
    }
}

/// The smallest of many distances, one after the other. The smallest of each run of sixteen is kept
/// beside, so that finding the next looks at few.
struct Nearest<'a> {
    distances: &'a mut [f32],
    minima: &'a mut Vec<f32>,
}

const RUN: usize = 16;

impl<'a> Nearest<'a> {
    fn new(distances: &'a mut [f32], minima: &'a mut Vec<f32>) -> Self {
        minima.clear();
        minima.extend(distances.chunks(RUN).map(smallest));
        Self { distances, minima }
    }

    /// The place of the smallest, which is not found again.
    fn take(&mut self) -> usize {
        let run = position(self.minima, smallest(self.minima));
        let end = self.distances.len().min((run + 1) * RUN);
        let distances = &mut self.distances[run * RUN..end];
        let at = position(distances, self.minima[run]);
        distances[at] = f32::INFINITY;
        self.minima[run] = smallest(distances);
        run * RUN + at
    }
}

fn smallest(values: &[f32]) -> f32 {
    values.iter().fold(f32::INFINITY, |min, &value| if value < min { value } else { min })
}

/// Where a value stands; at the first place if nowhere, as one that is no number does.
fn position(values: &[f32], value: f32) -> usize {
    values.iter().position(|&other| other == value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_come_in_order() {
        let mut distances: Vec<f32> = (0..70).map(|nth| (nth * 37 % 70) as f32).collect();
        let mut sorted: Vec<usize> = (0..70).collect();
        sorted.sort_by(|a, b| distances[*a].total_cmp(&distances[*b]));
        let mut minima = Vec::new();
        let mut nearest = Nearest::new(&mut distances, &mut minima);
        let taken: Vec<usize> = (0..70).map(|_| nearest.take()).collect();
        assert_eq!(taken, sorted);
    }
}
