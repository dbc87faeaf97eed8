//! The codes of a tail: what makes its rows found faster than by comparing each.
//!
//! A row is coded when it is applied, so before its store is acknowledged. A tail of few rows needs
//! no codes, and a replay makes none: a start should not wait for them. What is not coded is
//! compared exactly, and every row that is added catches up with a few of those before it.

use super::rows::Rows;
use crate::arena::{Arena, CHUNK_BYTES, Chunk};
use crate::episode::Metric;
use crate::index::codes::{CodeBits, CodeLayout, FlatCodes};
use crate::index::projection::Projection;
use crate::index::simd::CODE_ROWS;
use crate::limits::DIMENSIONS_MAX;

/// Rows from which on a tail is coded.
pub const CODED_ROWS_MIN: u32 = 512;
/// Rows that are coded when one is added, until none is left.
pub const CATCH_UP_ROWS: u32 = 4;
/// Dimensions below which comparing is as cheap as scanning codes.
pub const CODED_DIMENSIONS_MIN: usize = 64;

// A chunk holds a block of the longest vectors.
const _: () = assert!(DIMENSIONS_MAX * CODE_ROWS < CHUNK_BYTES);

/// See the top of the file.
#[derive(Debug)]
pub struct TailCodes {
    projection: Projection,
    layout: CodeLayout,
    chunks: Vec<Chunk>,
    rows: u32,
    point: Vec<f32>,
}

impl TailCodes {
    /// Of no rows yet; `None` where codes do not pay.
    pub fn new(metric: Metric, dimensions: usize) -> Option<Self> {
        if dimensions < CODED_DIMENSIONS_MIN {
            return None;
        }
        let projection = Projection::streaming(metric, dimensions);
        let padded = projection.padded();
        let estimand = projection.estimand();
        Some(Self {
            layout: CodeLayout { padded, bits: CodeBits::One, estimand },
            point: vec![0.0; padded],
            projection,
            chunks: Vec::new(),
            rows: 0,
        })
    }

    /// Rows that are coded: the first so many of the tail.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    pub fn projection(&self) -> &Projection {
        &self.projection
    }

    fn blocks_per_chunk(&self) -> usize {
        CHUNK_BYTES / self.layout.block_bytes()
    }

    /// Codes up to `rows_max` more of the tail's rows, if it has enough of them; whether none is
    /// left.
    pub(super) fn catch_up(&mut self, rows: &Rows, arena: &mut Arena, rows_max: u32) -> bool {
        let count = rows.count();
        if count < CODED_ROWS_MIN {
            return true;
        }
        let until = count.min(self.rows.saturating_add(rows_max));
        for row in self.rows..until {
            let (block, nth) = (row as usize / CODE_ROWS, row as usize % CODE_ROWS);
            if block == self.chunks.len() * self.blocks_per_chunk() {
                self.chunks.push(arena.allocate_reserved());
            }
            self.projection.row(rows.vector(arena, row), rows.columns(row).scale, &mut self.point);
            let bytes = self.layout.block_bytes();
            let at = block % self.blocks_per_chunk() * bytes;
            let chunk = arena.bytes_mut(&self.chunks[block / self.blocks_per_chunk()]);
            self.layout.put(&self.point, nth, &mut chunk[at..at + bytes]);
        }
        self.rows = until;
        until == count
    }

    /// The chunk of a block, as codes, and which of them the block is.
    pub(super) fn block<'a>(&self, arena: &'a Arena, nth: usize) -> (FlatCodes<'a>, usize) {
        let chunk = &self.chunks[nth / self.blocks_per_chunk()];
        let codes = FlatCodes { layout: self.layout, blocks: arena.bytes(chunk) };
        (codes, nth % self.blocks_per_chunk())
    }

    /// Gives up to `chunks` back to the arena; how many those were.
    pub(super) fn release_some(&mut self, arena: &mut Arena, chunks: usize) -> usize {
        let from = self.chunks.len().saturating_sub(chunks);
        self.chunks.drain(from..).map(|chunk| arena.release(chunk)).count()
    }
}
