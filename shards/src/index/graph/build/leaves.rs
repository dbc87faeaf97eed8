//! All pairs inside a leaf.

use super::pools::{Candidate, Pools};
use super::{Gathered, Nodes};
use crate::index::simd::{Combining, TILE, index_kernels};

/// Nodes that one step copies together.
const GATHER: usize = 64;

/// A leaf under way.
#[derive(Debug, Default)]
pub(super) struct Leaf {
    gathered: Gathered,
    next: usize,
    products: Vec<i32>,
    distances: Vec<f32>,
}

impl Leaf {
    /// Does one unit of work; whether the leaf is done and the next one may come.
    pub(super) fn step(&mut self, nodes: &Nodes, members: &[u32], near: &mut Pools) -> bool {
        let have = self.gathered.nodes.len();
        if have < members.len() {
            let until = members.len().min(have + GATHER);
            members[have..until].iter().for_each(|&node| self.gathered.push(nodes, node));
            if until == members.len() {
                self.gathered.pad(nodes.padded);
            }
            return false;
        }
        self.compare_strip(nodes, near);
        self.next += TILE;
        if self.next < members.len() {
            return false;
        }
        self.gathered.clear();
        self.next = 0;
        true
    }

    /// Compares the next four nodes with all of the leaf.
    fn compare_strip(&mut self, nodes: &Nodes, near: &mut Pools) {
        let leaf = &self.gathered;
        let width = leaf.width();
        let strip = &leaf.bytes[self.next * nodes.padded..][..TILE * nodes.padded];
        self.products.resize(TILE * width, 0);
        self.distances.resize(width, 0.0);
        index_kernels().dot_strip(strip, &leaf.bytes, &mut self.products);
        let lines = self.products.chunks_exact(width).zip(self.next..leaf.nodes.len());
        for (products, nth) in lines {
            let node = leaf.nodes[nth];
            let combining = Combining {
                step: leaf.steps[nth],
                norm: leaf.norms[nth],
                steps: &leaf.steps,
                norms: &leaf.norms,
                sums: &leaf.sums,
            };
            index_kernels().combine(&combining, products, &mut self.distances);
            self.distances[nth] = f32::INFINITY;
            offer_all(node, &leaf.nodes, &self.distances, near);
        }
    }
}

/// Offers a node all that is near enough. Few are, so they are looked for sixteen at a time.
fn offer_all(node: u32, others: &[u32], distances: &[f32], near: &mut Pools) {
    const STRIDE: usize = 16;
    for (others, distances) in others.chunks(STRIDE).zip(distances.chunks(STRIDE)) {
        let bound = near.bound(node);
        let nearest = distances.iter().fold(f32::INFINITY, |min, &d| if d < min { d } else { min });
        if nearest < bound {
            for (&other, &distance) in others.iter().zip(distances) {
                if distance < bound {
                    near.offer(node, Candidate::new(distance, other));
                }
            }
        }
    }
}
