//! Writing pages.

use super::Builder;
use crate::index::codes::{SignWord, plane_bytes, put_signs};
use crate::index::graph::page::{Edge, PageLayout, finish_page};
use crate::index::simd::index_kernels;

impl Builder {
    /// Writes the page of a node. `place` says where in the graph each node stands.
    ///
    /// # Panics
    /// When the graph is not complete or `page` has not the bytes of a page.
    pub fn encode(&self, node: u32, place: &[u32], page: &mut [u8]) {
        let layout = PageLayout::new(self.nodes.padded);
        let (codes, _) = page.split_at_mut(plane_bytes(self.nodes.padded));
        codes.fill(0);
        let own = self.nodes.bytes_of(node);
        let mut signs: Vec<SignWord> = vec![0; self.nodes.padded / SignWord::BITS as usize];
        let neighbours = self.neighbours(node).iter().enumerate();
        let edges: Vec<Edge> = neighbours
            .map(|(nth, &neighbour)| {
                let other = self.nodes.bytes_of(neighbour);
                let relation = index_kernels().relate(own, other, &mut signs);
                put_signs(&signs, nth, codes);
                let factor = match relation.absolute > 0.0 {
                    true => -2.0 * relation.squares / relation.absolute,
                    false => 0.0,
                };
                let addend = relation.squares - factor * relation.along;
                Edge { neighbour: place[neighbour as usize], addend, factor }
            })
            .collect();
        finish_page(layout, &edges, own.bytes, self.nodes.row(node), page);
    }
}
