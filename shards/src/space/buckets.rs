//! The buckets of a large tail: which rows are in which, and their codes.

use crate::arena::{Arena, CHUNK_BYTES, Chunk};
use crate::index::buckets::Router;
use crate::index::codes::CodeLayout;
use crate::index::cue::Cue;
use crate::index::simd::CODE_ROWS;

/// The rows of one bucket, and its blocks of codes.
#[derive(Debug, Default)]
struct Bucket {
    rows: Vec<u32>,
    blocks: Vec<u32>,
}

/// The first rows of a tail, by buckets.
#[derive(Debug)]
pub struct TailBuckets {
    router: Router,
    layout: CodeLayout,
    buckets: Vec<Bucket>,
    /// Blocks are cut from these, one after the other.
    chunks: Vec<Chunk>,
    blocks: usize,
    rows: u32,
    point: Cue,
    /// The centroid of the bucket that a point goes into, and how far it is from there.
    centre: Vec<f32>,
    difference: Vec<f32>,
}

impl TailBuckets {
    pub(super) fn new(router: Router, layout: CodeLayout) -> Self {
        Self {
            buckets: (0..router.buckets()).map(|_| Bucket::default()).collect(),
            router,
            layout,
            chunks: Vec::new(),
            blocks: 0,
            rows: 0,
            point: Cue::default(),
            centre: vec![0.0; layout.padded],
            difference: vec![0.0; layout.padded],
        }
    }

    /// Rows that are in buckets: the first so many of the tail.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    pub fn router(&self) -> &Router {
        &self.router
    }

    pub fn layout(&self) -> CodeLayout {
        self.layout
    }

    fn blocks_per_chunk(&self) -> usize {
        CHUNK_BYTES / self.layout.block_bytes()
    }

    /// Puts the next row of the tail into its bucket.
    pub(super) fn push(&mut self, arena: &mut Arena, point: &[f32]) {
        self.point.of_point(point);
        let number = self.router.route(&self.point);
        self.router.centre(number, &mut self.centre);
        let pairs = point.iter().zip(&self.centre);
        self.difference.iter_mut().zip(pairs).for_each(|(out, (at, centre))| *out = at - centre);
        let nth = self.buckets[number].rows.len() % CODE_ROWS;
        if nth == 0 {
            let block = u32::try_from(self.blocks).expect("a shard's memory holds fewer");
            if self.blocks == self.chunks.len() * self.blocks_per_chunk() {
                self.chunks.push(arena.allocate_reserved());
            }
            self.blocks += 1;
            self.buckets[number].blocks.push(block);
        }
        let bucket = &mut self.buckets[number];
        let block = *bucket.blocks.last().expect("just made sure") as usize;
        bucket.rows.push(self.rows);
        let (per_chunk, bytes) = (self.blocks_per_chunk(), self.layout.block_bytes());
        let chunk = arena.bytes_mut(&self.chunks[block / per_chunk]);
        let block = &mut chunk[block % per_chunk * bytes..][..bytes];
        self.layout.put_difference(&self.difference, &self.centre, nth, block);
        self.rows += 1;
    }

    /// The blocks of a bucket, each with the rows that stand in it.
    pub fn blocks<'a>(
        &'a self,
        arena: &'a Arena,
        bucket: usize,
    ) -> impl Iterator<Item = (&'a [u32], &'a [u8])> {
        let (per_chunk, bytes) = (self.blocks_per_chunk(), self.layout.block_bytes());
        let Bucket { rows, blocks } = &self.buckets[bucket];
        rows.chunks(CODE_ROWS).zip(blocks).map(move |(rows, block)| {
            let block = *block as usize;
            let chunk = arena.bytes(&self.chunks[block / per_chunk]);
            (rows, &chunk[block % per_chunk * bytes..][..bytes])
        })
    }

    /// Gives up to `chunks` back to the arena; how many those were.
    pub(super) fn release_some(&mut self, arena: &mut Arena, chunks: usize) -> usize {
        let from = self.chunks.len().saturating_sub(chunks);
        self.chunks.drain(from..).map(|chunk| arena.release(chunk)).count()
    }
}
