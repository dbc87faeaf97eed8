//! Choosing the neighbours of a node among its candidates.

use super::pools::{Candidate, Pools};
use super::{BuildSettings, Nodes};
use crate::index::graph::page::DEGREE;
use crate::index::simd::index_kernels;

/// A pass over all nodes.
#[derive(Debug, Default)]
pub(super) struct Thinning {
    next: u32,
    candidates: Vec<Candidate>,
    kept: Vec<Candidate>,
    redundant: Vec<Candidate>,
    /// The bytes of those kept, 128 taken off each, one behind the other.
    kept_bytes: Vec<i8>,
}

impl Thinning {
    /// Thins out the candidates of the next node, if there is one: those near it and, when given,
    /// those it is near to. With the latter, redundant ones fill the room that is left.
    pub(super) fn next(
        &mut self,
        nodes: &Nodes,
        settings: &BuildSettings,
        near: &mut Pools,
        back: Option<&mut Pools>,
    ) -> Option<(u32, &[Candidate])> {
        let node = self.next;
        if node as usize == nodes.count() {
            return None;
        }
        self.next += 1;
        let is_last = back.is_some();
        self.candidates.clear();
        self.candidates.extend_from_slice(near.sort(node));
        if let Some(back) = back {
            self.candidates.extend_from_slice(back.sort(node));
            self.candidates.sort_unstable();
            self.candidates.dedup();
        }
        self.keep(nodes, settings.alpha * settings.alpha);
        if is_last {
            let room = DEGREE - self.kept.len();
            self.kept.extend(self.redundant.iter().take(room));
        }
        Some((node, &self.kept))
    }

    fn keep(&mut self, nodes: &Nodes, ratio: f32) {
        self.kept.clear();
        self.redundant.clear();
        self.kept_bytes.clear();
        for &candidate in &self.candidates {
            if self.kept.len() == DEGREE {
                break;
            }
            let bytes = nodes.bytes(candidate.node());
            let row = nodes.row(candidate.node());
            let mut kept = self.kept.iter().zip(self.kept_bytes.chunks_exact(nodes.padded));
            let is_redundant = kept.any(|(other, other_bytes)| {
                let other = other.node();
                let other_row = nodes.row(other);
                let product =
                    index_kernels().dot(bytes, other_bytes) - 128 * nodes.sums[other as usize];
                #[allow(clippy::cast_precision_loss)]
                let product = product as f32 * row.step * other_row.step;
                let between = row.norm_squared + other_row.norm_squared - 2.0 * product;
                ratio * between < candidate.distance()
            });
            if is_redundant {
                self.redundant.push(candidate);
            } else {
                self.kept.push(candidate);
                self.kept_bytes.extend(bytes.iter().map(|byte| (byte ^ 128).cast_signed()));
            }
        }
    }
}
