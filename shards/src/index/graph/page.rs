//! A node of the graph: everything that one hop of a search reads, in one piece.
//!
//! | Part | Bytes at 768 dimensions |
//! |---|---|
//! | codes of the 32 neighbours, relative to this node, interleaved for the code scan | 3072 |
//! | 32 addends and 32 factors, f16 | 128 |
//! | 32 neighbours, u24 | 96 |
//! | header: degree, step and squared norm of the own bytes, scale of the factors | 32 |
//! | own rotated vector, biased bytes | 768 |
//!
//! That makes 4096: one page, one entry of the TLB, one dependent miss per hop. All numbers are
//! little-endian. Putting the neighbours' codes into the node is SymphonyQG's idea (Gou et al.,
//! SIGMOD 2025); the node's own vector in bytes beside them saves the second miss.
//!
//! With `r` the difference of a neighbour from this node `v`, and `o` its signs, the squared
//! distance of a query `q` from the neighbour is estimated as
//!
//! ```text
//! |q - v|² + |r|² - 2 |r|² / |r|₁ · (<q, o> - <v, o>)  =  |q - v|² + addend + factor · <q, o>
//! ```
//!
//! which is RaBitQ's unbiased estimator (Gao and Long, SIGMOD 2024) with everything that does not
//! depend on the query folded into two numbers.

use half::f16;

use crate::index::bytes::ByteRow;
use crate::index::simd::{CODE_ROWS, TABLE_DIMENSIONS, TABLE_ENTRIES};

/// Neighbours of a node.
pub const DEGREE: usize = CODE_ROWS;
/// Nodes of a graph at most: a neighbour's number has 24 bits.
pub const NODES_MAX: usize = 1 << 24;

const FACTORS_BYTES: usize = 2 * DEGREE * size_of::<f16>();
const NODE_BYTES: usize = 3;
const HEADER_BYTES: usize = 32;

/// Where the parts of a page lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLayout {
    padded: usize,
}

impl PageLayout {
    /// For vectors of so many rotated coordinates.
    pub fn new(padded: usize) -> Self {
        Self { padded }
    }

    pub fn padded(self) -> usize {
        self.padded
    }

    fn factors_at(self) -> usize {
        self.padded / TABLE_DIMENSIONS * TABLE_ENTRIES
    }

    fn neighbours_at(self) -> usize {
        self.factors_at() + FACTORS_BYTES
    }

    fn header_at(self) -> usize {
        self.neighbours_at() + DEGREE * NODE_BYTES
    }

    fn own_at(self) -> usize {
        self.header_at() + HEADER_BYTES
    }

    /// Bytes of a page.
    pub fn bytes(self) -> usize {
        self.own_at() + self.padded
    }
}

/// A page as a search reads it.
#[derive(Debug, Clone, Copy)]
pub struct PageView<'a> {
    layout: PageLayout,
    page: &'a [u8],
}

impl<'a> PageView<'a> {
    /// # Panics
    /// When `page` has not the bytes of the layout.
    #[inline]
    pub fn new(layout: PageLayout, page: &'a [u8]) -> Self {
        assert_eq!(page.len(), layout.bytes(), "bytes of a page");
        Self { layout, page }
    }

    #[inline]
    pub fn codes(self) -> &'a [u8] {
        &self.page[..self.layout.factors_at()]
    }

    /// Addends, then factors.
    #[inline]
    pub fn factors(self) -> &'a [u8; FACTORS_BYTES] {
        let from = self.layout.factors_at();
        self.page[from..from + FACTORS_BYTES].try_into().expect("sized")
    }

    #[inline]
    pub fn neighbour(self, nth: usize) -> u32 {
        let from = self.layout.neighbours_at() + nth * NODE_BYTES;
        let bytes = &self.page[from..from + NODE_BYTES];
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0])
    }

    /// Where neighbours and header lie.
    pub fn neighbour_bytes(self) -> &'a [u8] {
        &self.page[self.layout.neighbours_at()..self.layout.own_at()]
    }

    #[inline]
    fn header(self, word: usize) -> [u8; 4] {
        let from = self.layout.header_at() + 4 * word;
        self.page[from..from + 4].try_into().expect("sized")
    }

    /// Neighbours that the page has; the places behind them estimate an infinite distance.
    #[inline]
    pub fn degree(self) -> usize {
        u32::from_le_bytes(self.header(0)) as usize
    }

    #[inline]
    pub fn own(self) -> (&'a [u8], ByteRow) {
        let row = ByteRow {
            step: f32::from_le_bytes(self.header(1)),
            norm_squared: f32::from_le_bytes(self.header(2)),
        };
        (&self.page[self.layout.own_at()..], row)
    }

    /// What addends and factors are multiplied with.
    #[inline]
    pub fn factor_scale(self) -> f32 {
        f32::from_le_bytes(self.header(3))
    }
}

/// A neighbour as the page of a node describes it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Edge {
    pub neighbour: u32,
    pub addend: f32,
    pub factor: f32,
}

/// Writes the page of a node whose codes are in place already.
///
/// # Panics
/// When there are more than [`DEGREE`] edges, or `page` has not the bytes of the layout.
pub fn finish_page(layout: PageLayout, edges: &[Edge], own: &[u8], row: ByteRow, page: &mut [u8]) {
    assert!(edges.len() <= DEGREE && page.len() == layout.bytes());
    let largest = edges
        .iter()
        .fold(f32::MIN_POSITIVE, |max, edge| max.max(edge.addend.abs()).max(edge.factor.abs()));
    let inverse = 1.0 / largest;
    for nth in 0..DEGREE {
        let edge = edges.get(nth);
        let addend = edge.map_or(f16::INFINITY, |edge| f16::from_f32(edge.addend * inverse));
        let factor = edge.map_or(f16::ZERO, |edge| f16::from_f32(edge.factor * inverse));
        let from = layout.factors_at() + nth * size_of::<f16>();
        page[from..from + 2].copy_from_slice(&addend.to_le_bytes());
        let from = from + FACTORS_BYTES / 2;
        page[from..from + 2].copy_from_slice(&factor.to_le_bytes());
        let neighbour = edge.map_or(0, |edge| edge.neighbour).to_le_bytes();
        let from = layout.neighbours_at() + nth * NODE_BYTES;
        page[from..from + NODE_BYTES].copy_from_slice(&neighbour[..NODE_BYTES]);
    }
    let header = &mut page[layout.header_at()..layout.own_at()];
    header.fill(0);
    header[..4].copy_from_slice(&(edges.len() as u32).to_le_bytes());
    header[4..8].copy_from_slice(&row.step.to_le_bytes());
    header[8..12].copy_from_slice(&row.norm_squared.to_le_bytes());
    header[12..16].copy_from_slice(&largest.to_le_bytes());
    page[layout.own_at()..].copy_from_slice(own);
}
