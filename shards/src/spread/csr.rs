//! The links that a consolidation has laid down: a head for each node, and all edges behind one
//! another.
//!
//! A head is sixteen bytes and tells where the node's edges are and what a push multiplies with, so
//! visiting a node reads one line of the cache before its edges. The edges of a node are in the
//! order of their keys. Both arrays are plain values without pointers: they are read where they
//! lie, be it in a mapped column or in memory.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::graph::Visit;
use super::link::{Edge, LINKS_PER_NODE_MAX, Link, LinkError, Scale};

/// Where the edges of a node are, and what holds for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Head {
    /// The place of the first edge.
    pub start: u32,
    pub scale: Scale,
}

const _: () = assert!(size_of::<Head>() == 16 && size_of::<Edge>() == 8);

/// Links at rest, as a reader sees them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Csr<'a> {
    pub heads: &'a [Head],
    pub edges: &'a [Edge],
}

impl<'a> Csr<'a> {
    pub fn nodes(&self) -> u32 {
        self.heads.len() as u32
    }

    /// What holds for the links of a node; nothing for a node that came later.
    pub fn scale(&self, node: u32) -> Scale {
        self.heads.get(node as usize).map(|head| head.scale).unwrap_or_default()
    }

    /// The edges of a node, in order.
    pub fn edges_of(&self, node: u32) -> &'a [Edge] {
        let head = self.heads.get(node as usize);
        head.map_or(&[], |head| self.place(head.start, head.scale.fan))
    }

    /// The edges of a head. Empty when it is damaged and points elsewhere.
    #[inline]
    pub(crate) fn place(&self, start: u32, fan: u32) -> &'a [Edge] {
        let start = start as usize;
        self.edges.get(start..start + fan as usize).unwrap_or_default()
    }

    /// What a push is told about a node that is in no other place.
    #[inline]
    pub(crate) fn visit_row(&self, node: u32) -> Visit {
        let Head { start, scale } = self.heads.get(node as usize).copied().unwrap_or_default();
        Visit::Here { scale, start }
    }
}

/// Links at rest, in memory of their own.
#[derive(Debug, Clone, Default)]
pub struct CsrBuf {
    pub heads: Vec<Head>,
    pub edges: Vec<Edge>,
}

impl CsrBuf {
    /// Lays down links in any order. Of those with the same source, target and kind the last one
    /// counts.
    pub fn build(nodes: u32, mut links: Vec<Link>) -> Result<Self, LinkError> {
        for link in &links {
            if let Some(&node) = [link.source, link.edge.target].iter().find(|at| **at >= nodes) {
                return Err(LinkError::Node { node, nodes });
            }
        }
        // The sort is stable, and of equal ones the first stays; so they go in backwards.
        links.reverse();
        links.sort_by_key(|link| (link.source, link.edge.key()));
        links.dedup_by_key(|link| (link.source, link.edge.key()));
        if u32::try_from(links.len()).is_err() {
            return Err(LinkError::TooMany { links: links.len() });
        }
        let mut built = Self {
            heads: Vec::with_capacity(nodes as usize),
            edges: Vec::with_capacity(links.len()),
        };
        let mut links = links.into_iter().peekable();
        for node in 0..nodes {
            let start = built.edges.len();
            let mut units = 0;
            while let Some(link) = links.next_if(|link| link.source == node) {
                units += link.edge.weight.units();
                built.edges.push(link.edge);
            }
            let fan = (built.edges.len() - start) as u32;
            if fan > LINKS_PER_NODE_MAX {
                return Err(LinkError::TooManyOfNode { node });
            }
            built.heads.push(Head { start: start as u32, scale: Scale::of(fan, units) });
        }
        Ok(built)
    }

    pub fn view(&self) -> Csr<'_> {
        Csr { heads: &self.heads, edges: &self.edges }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(source: u32, target: u32, kind: u16, weight: f32) -> Link {
        Link::new(source, target, kind, weight).unwrap()
    }

    #[test]
    fn links_are_laid_down_in_order_and_the_last_of_equal_ones_counts() {
        let links = vec![
            link(2, 0, 1, 4.0),
            link(0, 2, 7, 1.0),
            link(2, 0, 0, 2.0),
            link(2, 0, 1, 0.5),
            link(2, 2, 0, 1.5),
        ];
        let built = CsrBuf::build(3, links).unwrap();
        let csr = built.view();
        let seen: Vec<_> = csr
            .edges_of(2)
            .iter()
            .map(|edge| (edge.target, edge.kind, edge.weight.get()))
            .collect();
        assert_eq!(seen, [(0, 0, 2.0), (0, 1, 0.5), (2, 0, 1.5)]);
        assert_eq!(csr.scale(2), Scale { fan: 3, inverse_sum: 0.25, ln_fan: 3.0_f32.ln() });
        assert_eq!((csr.edges_of(1), csr.scale(1)), (&[][..], Scale::default()));
        assert_eq!((csr.edges_of(9), csr.scale(9)), (&[][..], Scale::default()));
    }

    #[test]
    fn links_of_nodes_that_do_not_exist_are_refused() {
        for (source, target) in [(3, 0), (0, 3)] {
            let refused = CsrBuf::build(3, vec![link(source, target, 0, 1.0)]).unwrap_err();
            assert_eq!(refused, LinkError::Node { node: 3, nodes: 3 });
        }
    }
}
