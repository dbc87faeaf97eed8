//! What a push asks about the nodes it comes to, and how links at rest answer.
//!
//! A push knows numbers. Whose they are, and where their links lie, is the graph's to say, when it
//! is their turn: a number may also stand for a node that goes by another number now, or for one
//! that another shard has. So links can lie for a long time while what they lead to moves.

use super::csr::Csr;
use super::link::{Edge, Scale};
use super::prefetch::prefetch;

/// Edges of a node that are asked for ahead.
pub(super) const EDGES_AHEAD: usize = 16;

/// Similar nodes that count as linked.
pub const SIMILAR_MAX: usize = 8;

/// The start of links that are not in order yet. Until they are, a scale knows only how many there
/// are.
pub const UNLAID: u32 = u32::MAX;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Visit {
    /// One with links of its own, or with none. `start` is for [`Graph::links`] to find them by.
    Here { scale: Scale, start: u32 },
    /// Another number of this node: mass for it belongs there.
    Elsewhere(u32),
    /// Another shard has it: mass for it is handed over.
    Remote,
}

/// Links of a node.
#[derive(Debug, Clone, Copy)]
pub struct Links<'a> {
    pub edges: &'a [Edge],
    /// What is added to each target to get its number.
    pub offset: u32,
}

impl Links<'_> {
    #[inline]
    pub fn target(&self, edge: Edge) -> u32 {
        edge.target.wrapping_add(self.offset)
    }
}

/// Nodes that are similar to another, the nearest first.
#[derive(Debug, Clone, Copy, Default)]
pub struct Similar {
    nodes: [u32; SIMILAR_MAX],
    count: usize,
}

impl Similar {
    /// Adds the next nearest; the first [`SIMILAR_MAX`] count.
    pub fn push(&mut self, node: u32) {
        if let Some(place) = self.nodes.get_mut(self.count) {
            *place = node;
            self.count += 1;
        }
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Each with its share.
    pub fn shares(&self) -> impl Iterator<Item = (u32, f32)> {
        let nodes = self.nodes[..self.count].iter().copied();
        let weight = |rank: u8| 1.0 / f32::from(rank);
        let sum: f32 = (1..).take(self.count).map(weight).sum();
        nodes.zip(1..).map(move |(node, rank)| (node, weight(rank) / sum))
    }
}

/// See the top of the file.
pub trait Graph {
    /// Nodes have numbers below this.
    fn nodes(&self) -> u32;

    /// What a node is now.
    fn visit(&mut self, node: u32) -> Visit;

    /// Whether a node is certainly [`Visit::Here`].
    fn is_here(&self, node: u32) -> bool;

    /// The links of a node that was visited, in the order in which mass goes along them.
    fn links(&self, node: u32, start: u32, fan: u32) -> Links<'_>;

    /// Puts the links of a node in order whose start was [`UNLAID`]: its scale, and its start.
    fn lay_out(&mut self, node: u32) -> (Scale, u32) {
        let _ = node;
        (Scale::default(), 0)
    }

    /// Whether a node knows which others are most similar to it.
    fn has_similar(&self, node: u32) -> bool {
        let _ = node;
        false
    }

    /// The most similar to a node, the nearest first; nobody, where nobody knows.
    fn similar(&self, node: u32) -> Similar {
        let _ = node;
        Similar::default()
    }

    /// Asks the caches for what a visit reads.
    fn prefetch(&self, node: u32);

    /// Asks the caches for the first links of a node, and for the last of those.
    fn prefetch_links(&self, node: u32, start: u32, fan: u32);
}

impl Graph for Csr<'_> {
    fn nodes(&self) -> u32 {
        self.heads.len() as u32
    }

    #[inline]
    fn visit(&mut self, node: u32) -> Visit {
        self.visit_row(node)
    }

    #[inline]
    fn is_here(&self, _: u32) -> bool {
        true
    }

    #[inline]
    fn links(&self, _: u32, start: u32, fan: u32) -> Links<'_> {
        Links { edges: self.place(start, fan), offset: 0 }
    }

    #[inline]
    fn prefetch(&self, node: u32) {
        prefetch(self.heads, node as usize);
    }

    #[inline]
    fn prefetch_links(&self, _: u32, start: u32, fan: u32) {
        prefetch_edges(self.edges, start, fan);
    }
}

/// Asks for the edges of a node.
#[inline]
pub(crate) fn prefetch_edges(edges: &[Edge], start: u32, fan: u32) {
    prefetch(edges, start as usize);
    prefetch(edges, start as usize + (fan as usize).min(EDGES_AHEAD));
}
