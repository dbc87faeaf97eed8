//! Exact recall: every visible row is compared with the cue, the best k are kept.
//!
//! This is the truth that any index is judged by, so it has no parameter. It runs in slices: the
//! shard answers other requests between two [`step`](Recall::step)s. A recall sees the shard as it
//! was when the recall began, by sequence: rows added later are not looked at, rows that die
//! meanwhile are still found. So k results come back whenever k exist.
//!
//! Conditions on time and confidence are evaluated 64 rows at a time, before any distance, and skip
//! whole blocks by their extremes. A metadata filter is evaluated last, only on rows that would
//! enter the result.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use bytes::Bytes;

use crate::arena::Arena;
use crate::episode::{Fields, Hit, Metric, RecallRequest, Refusal, SpaceSettings, Why};
use crate::kernels::{kernels, padded};
use crate::limits::{BLOCK_ROWS, NORM_MAX, NORM_MIN};
use crate::space::{BlockView, Space};

/// Checks an embedding against its space; its Euclidean norm.
pub fn check_vector(settings: &SpaceSettings, vector: &[u8]) -> Result<f32, Refusal> {
    let expected = settings.dimensions as usize;
    if !vector.len().is_multiple_of(4) {
        return Err(Refusal::BadVector(format!(
            "a vector is a blob of little-endian f32, {} bytes are not a multiple of 4",
            vector.len()
        )));
    }
    if vector.len() / 4 != expected {
        return Err(Refusal::Dimension { expected, got: vector.len() / 4 });
    }
    let norm = kernels().validate(vector).map_err(|at| Refusal::BadVector(at.to_string()))?;
    if norm > f64::from(NORM_MAX) {
        return Err(Refusal::BadVector(format!(
            "the vector's norm is {norm:e}, the bound is {NORM_MAX:e}; scale it"
        )));
    }
    if settings.metric == Metric::Cosine && norm < f64::from(NORM_MIN) {
        return Err(Refusal::BadVector(format!(
            "the vector's norm is {norm:e}; under the cosine metric it must be at least \
             {NORM_MIN:e}, because a zero vector has no direction"
        )));
    }
    #[allow(clippy::cast_possible_truncation)]
    Ok(norm as f32)
}

/// Prepares a cue: the mean of the given vectors, each taken at unit length under cosine, where the
/// mean is brought to unit length again.
pub fn cue(settings: &SpaceSettings, vectors: &[Bytes]) -> Result<Arc<[f32]>, Refusal> {
    let mut sum = vec![0.0_f64; settings.dimensions as usize];
    let unit = settings.metric == Metric::Cosine;
    for vector in vectors {
        let norm = check_vector(settings, vector)?;
        let weight = if unit { 1.0 / f64::from(norm) } else { 1.0 };
        for (sum, le) in sum.iter_mut().zip(vector.chunks_exact(4)) {
            *sum += weight * f64::from(f32::from_le_bytes([le[0], le[1], le[2], le[3]]));
        }
    }
    let scale = if unit {
        let norm = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
        // Opposite unit vectors cancel up to rounding; what is left is no direction.
        if norm < 1e-6 * vectors.len() as f64 {
            return Err(Refusal::BadVector(
                "the cues cancel each other: their mean has no direction".into(),
            ));
        }
        1.0 / norm
    } else {
        1.0 / vectors.len() as f64
    };
    #[allow(clippy::cast_possible_truncation)]
    Ok(sum.iter().map(|x| (x * scale) as f32).collect())
}

/// A row in the result; ordered by key, among equals the older row is better.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    key: f32,
    row: u32,
}

impl Eq for Candidate {}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.total_cmp(&other.key).then(other.row.cmp(&self.row))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// A recall under way on one shard.
#[derive(Debug)]
pub struct Recall {
    request: RecallRequest,
    /// The cue as the kernels take it.
    query: Vec<f32>,
    /// What the shard had applied when the recall began.
    snapshot: u64,
    rows_max: u32,
    next_block: usize,
    /// The worst of the best on top.
    best: BinaryHeap<Reverse<Candidate>>,
    rows_compared: u64,
}

impl Recall {
    pub fn new(request: RecallRequest, space: &Space, snapshot: u64) -> Self {
        let rows_max = space.rows.count();
        let capacity = request.k.min(rows_max as usize) + 1;
        let best = BinaryHeap::with_capacity(capacity);
        let query = padded(&request.cue);
        Self { request, query, snapshot, rows_max, next_block: 0, best, rows_compared: 0 }
    }

    pub fn request(&self) -> &RecallRequest {
        &self.request
    }

    /// Bytes of vectors in one block of the space: what a caller sizes its slices by.
    pub fn block_bytes(space: &Space) -> usize {
        space.dimensions() * BLOCK_ROWS * size_of::<f32>()
    }

    /// Compares up to `blocks` more blocks; whether all are done.
    pub fn step(&mut self, space: &Space, arena: &Arena, blocks: usize) -> bool {
        let blocks_max = (self.rows_max as usize).div_ceil(BLOCK_ROWS);
        let until = blocks_max.min(self.next_block + blocks);
        for nth in self.next_block..until {
            self.compare(space, arena, nth);
        }
        self.next_block = until;
        until == blocks_max
    }

    fn compare(&mut self, space: &Space, arena: &Arena, nth: usize) {
        let block = space.rows.block(nth);
        let rows = self.candidates(&block);
        if rows == 0 {
            return;
        }
        let mut keys = [0.0; BLOCK_ROWS];
        let mut unwritten = &mut keys[..];
        for run in space.rows.runs(arena, nth) {
            let (out, rest) = unwritten.split_at_mut(run.len() / self.query.len());
            match space.settings.metric {
                Metric::Cosine | Metric::Dot => kernels().dot_rows(&self.query, run, out),
                Metric::L2 => kernels().l2_rows(&self.query, run, out),
            }
            unwritten = rest;
        }
        match space.settings.metric {
            Metric::Cosine => {
                keys.iter_mut().zip(block.scale).for_each(|(key, scale)| *key *= scale);
            }
            Metric::Dot => {}
            Metric::L2 => keys.iter_mut().for_each(|key| *key = -*key),
        }
        self.rows_compared += u64::from(rows.count_ones());
        let mut left = rows;
        while left != 0 {
            let nth = left.trailing_zeros();
            left &= left - 1;
            self.offer(
                space,
                arena,
                Candidate { key: keys[nth as usize], row: block.first_row + nth },
            );
        }
    }

    /// The rows of a block that may enter the result, metadata aside.
    fn candidates(&self, block: &BlockView<'_>) -> u64 {
        let visible = block.visible(self.snapshot, self.rows_max);
        let conditions = &self.request.conditions;
        let (since, until) = (conditions.since_us, conditions.until_us);
        if since.is_none() && until.is_none() && conditions.confidence_min.is_none() {
            return visible;
        }
        visible
            & block.within(
                since.unwrap_or(i64::MIN),
                until.unwrap_or(i64::MAX),
                conditions.confidence_min.unwrap_or(0.0),
            )
    }

    fn offer(&mut self, space: &Space, arena: &Arena, candidate: Candidate) {
        let full = self.best.len() == self.request.k;
        if full && self.best.peek().is_some_and(|worst| candidate <= worst.0) {
            return;
        }
        if let Some(filter) = &self.request.conditions.filter
            && !filter.matches(space.metadata(arena, candidate.row))
        {
            return;
        }
        if full {
            self.best.pop();
        }
        self.best.push(Reverse(candidate));
    }

    /// The best rows, best first. From the first whose optional parts go beyond the byte bound on,
    /// those parts are left out.
    pub fn finish(self, space: &Space, arena: &Arena) -> Vec<Hit> {
        let mut fields = self.request.fields;
        let why = fields.why.then_some(Why { rows_compared: self.rows_compared });
        let mut bytes_left = self.request.bytes_max;
        let best = self.best.into_sorted_vec().into_iter();
        let hit = |Reverse(candidate): Reverse<Candidate>| {
            let bytes = space.read_bytes(candidate.row, fields);
            if bytes > bytes_left {
                fields = Fields::default();
            } else {
                bytes_left -= bytes;
            }
            let similarity = match space.settings.metric {
                Metric::Cosine | Metric::Dot => candidate.key,
                Metric::L2 => 1.0 / (1.0 + (-candidate.key).sqrt()),
            };
            let episode = space.read(arena, candidate.row, fields);
            Hit { score: similarity, similarity, episode, why }
        };
        best.map(hit).collect()
    }
}
