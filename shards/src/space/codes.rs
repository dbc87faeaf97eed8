//! The codes of a tail: what makes its rows found faster than by comparing each.
//!
//! A row is coded when it is applied, so before its store is acknowledged. A tail of few rows needs
//! no codes, and a replay makes none: a start should not wait for them. What is not coded is
//! compared exactly, and every row that is added catches up with a few of those before it.
//!
//! A tail that grows on gets [buckets](TailBuckets): when it is large enough their centroids are
//! found among its first rows, and from then on every row goes into one as well. Finding centroids,
//! and putting those into buckets that came meanwhile, is work that nobody waits for.

use super::TailBuckets;
use super::rows::Rows;
use crate::arena::{Arena, CHUNK_BYTES, Chunk};
use crate::episode::{CodeBits, Metric};
use crate::index::buckets::RouterBuilder;
use crate::index::codes::{CodeLayout, FlatCodes};
use crate::index::projection::Projection;
use crate::index::simd::CODE_ROWS;
use crate::limits::DIMENSIONS_MAX;

/// Rows from which on a tail is coded.
pub const CODED_ROWS_MIN: u32 = 512;
/// Rows that are coded when one is added, until none is left.
pub const CATCH_UP_ROWS: u32 = 4;
/// Rows from which on a tail has buckets, and that their centroids are found among.
pub const BUCKETED_ROWS_MIN: u32 = 16_384;
/// Rows that one unit of work codes.
const WORK_ROWS: u32 = 8;
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
    bucketing: Bucketing,
}

#[derive(Debug)]
enum Bucketing {
    /// The tail is not large enough.
    NotYet,
    Building(Box<RouterBuilder>),
    Ready(Box<TailBuckets>),
}

impl TailCodes {
    /// Of no rows yet; `None` where codes do not pay.
    pub fn new(metric: Metric, dimensions: usize, bits: CodeBits) -> Option<Self> {
        if dimensions < CODED_DIMENSIONS_MIN {
            return None;
        }
        let projection = Projection::streaming(metric, dimensions);
        let padded = projection.padded();
        let estimand = projection.estimand();
        Some(Self {
            layout: CodeLayout { padded, bits, estimand },
            point: vec![0.0; padded],
            projection,
            chunks: Vec::new(),
            rows: 0,
            bucketing: Bucketing::NotYet,
        })
    }

    /// Rows that are coded: the first so many of the tail.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    pub(super) fn layout(&self) -> CodeLayout {
        self.layout
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
            if let Bucketing::Ready(buckets) = &mut self.bucketing
                && buckets.rows() == row
            {
                buckets.push(arena, &self.point);
            }
        }
        self.rows = until;
        until == count
    }

    /// Does one unit of what nobody waits for; whether nothing is left.
    pub(super) fn work(&mut self, rows: &Rows, arena: &mut Arena) -> bool {
        if !self.catch_up(rows, arena, WORK_ROWS) {
            return false;
        }
        let (projection, point) = (&self.projection, &mut self.point);
        let project = |arena: &Arena, row: u32, point: &mut [f32]| {
            projection.row(rows.vector(arena, row), rows.columns(row).scale, point);
        };
        match &mut self.bucketing {
            Bucketing::NotYet if self.rows < BUCKETED_ROWS_MIN => return true,
            Bucketing::NotYet => {
                let builder = RouterBuilder::new(self.layout.padded);
                self.bucketing = Bucketing::Building(Box::new(builder));
            }
            Bucketing::Building(builder) if builder.points() < BUCKETED_ROWS_MIN as usize => {
                let first = u32::try_from(builder.points()).expect("fewer than rows");
                let until = BUCKETED_ROWS_MIN.min(first + WORK_ROWS);
                for row in first..until {
                    project(arena, row, point);
                    builder.push(point);
                }
            }
            Bucketing::Building(builder) => {
                if let Some(router) = builder.step() {
                    let buckets = TailBuckets::new(router, self.layout);
                    self.bucketing = Bucketing::Ready(Box::new(buckets));
                }
            }
            Bucketing::Ready(buckets) => {
                let until = self.rows.min(buckets.rows() + WORK_ROWS);
                for row in buckets.rows()..until {
                    project(arena, row, point);
                    buckets.push(arena, point);
                }
                return until == self.rows;
            }
        }
        false
    }

    /// The buckets, if the tail has any yet.
    pub fn buckets(&self) -> Option<&TailBuckets> {
        match &self.bucketing {
            Bucketing::Ready(buckets) => Some(buckets),
            Bucketing::NotYet | Bucketing::Building(_) => None,
        }
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
        let released = self.chunks.drain(from..).map(|chunk| arena.release(chunk)).count();
        let left = chunks - released;
        match &mut self.bucketing {
            Bucketing::Ready(buckets) => released + buckets.release_some(arena, left),
            Bucketing::NotYet | Bucketing::Building(_) => released,
        }
    }
}
