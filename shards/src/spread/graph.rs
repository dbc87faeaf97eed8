//! The links as a push reads them: what lies at rest and what has changed since, in one.

use super::csr::Csr;
use super::delta::{Delta, Merged};
use super::link::{Edge, Scale};
use super::nodes::NodeSet;

/// All links of a memory space on a shard.
#[derive(Debug, Clone, Copy)]
pub struct Graph<'a> {
    pub base: Csr<'a>,
    pub delta: &'a Delta,
    /// Nodes that another shard owns. Their links are there, and mass for them is handed over. One
    /// that has links here all the same counts as here.
    pub remote: &'a NodeSet,
}

/// The links of a node, in the order of their keys.
#[derive(Debug)]
pub enum Links<'a> {
    AtRest(&'a [Edge]),
    Merged(Merged<'a>),
}

impl<'a> Graph<'a> {
    pub fn nodes(&self) -> u32 {
        self.base.nodes().max(self.delta.nodes())
    }

    #[inline]
    pub fn scale(&self, node: u32) -> Scale {
        match self.delta.changed(node) {
            None => self.base.scale(node),
            Some(changed) => changed.scale(),
        }
    }

    /// Where all links of a node lie at rest, and how many they are; none when some have changed.
    #[inline]
    pub(super) fn at_rest(&self, node: u32) -> (u32, u32) {
        match self.delta.changed(node) {
            None => self.base.place(node),
            Some(_) => (0, 0),
        }
    }

    /// The links of a node whose keys are not below `from`.
    #[inline]
    pub(super) fn links_from(&self, node: u32, from: u64) -> Links<'a> {
        let mut at_rest = self.base.links(node);
        if from > 0 {
            at_rest = &at_rest[at_rest.partition_point(|edge| edge.key() < from)..];
        }
        match self.delta.changed(node) {
            None => Links::AtRest(at_rest),
            Some(changed) => Links::Merged(changed.links(at_rest, from)),
        }
    }

    pub fn links(&self, node: u32) -> Links<'a> {
        self.links_from(node, 0)
    }
}

impl Iterator for Links<'_> {
    type Item = Edge;

    fn next(&mut self) -> Option<Edge> {
        match self {
            Self::AtRest(links) => links.split_off_first().copied(),
            Self::Merged(links) => links.next(),
        }
    }
}
