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
use crate::kernels::{kernels, padded, row_floats};
use crate::limits::{BLOCK_ROWS, NORM_MAX, NORM_MIN};
use crate::space::{Damaged, Part, PartNumber, RowAt, Space};

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

/// A row in the result; ordered by key, among equals the older episode is better.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    key: f32,
    sequence: u64,
    at: RowAt,
}

impl Eq for Candidate {}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.total_cmp(&other.key).then(other.sequence.cmp(&self.sequence))
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
    rows_compared: u64,
    view: View,
    /// The worst of the best on top.
    best: BinaryHeap<Reverse<Candidate>>,
}

/// What a recall looks at: the space as it was when it began.
#[derive(Debug)]
struct View {
    /// What the shard had applied.
    snapshot: u64,
    /// How often parts had been replaced.
    publications: u64,
    /// The parts, each with the rows that it had.
    parts: Vec<(PartNumber, u32)>,
    /// The part and the block in it that come next.
    nth: usize,
    block: usize,
}

impl View {
    fn new(space: &Space, arena: &Arena, snapshot: u64) -> Self {
        let parts = space.parts(arena).map(|part| (part.number(), part.rows())).collect();
        Self { snapshot, publications: space.publications(), parts, nth: 0, block: 0 }
    }
}

impl Recall {
    pub fn new(request: RecallRequest, space: &Space, arena: &Arena, snapshot: u64) -> Self {
        let capacity = request.k.min(space.rows()) + 1;
        Self {
            query: padded(&request.cue),
            request,
            rows_compared: 0,
            view: View::new(space, arena, snapshot),
            best: BinaryHeap::with_capacity(capacity),
        }
    }

    pub fn request(&self) -> &RecallRequest {
        &self.request
    }

    /// Bytes of vectors in one block of the space: what a caller sizes its slices by.
    pub fn block_bytes(space: &Space) -> usize {
        row_floats(space.dimensions()) * BLOCK_ROWS * size_of::<f32>()
    }

    /// Compares up to `blocks` more blocks; whether all are done. Where the parts of the space were
    /// replaced meanwhile, the rows seen so far are not where they were: the recall begins again,
    /// with what is `applied` now.
    pub fn step(&mut self, space: &Space, arena: &Arena, applied: u64, blocks: usize) -> bool {
        if space.publications() != self.view.publications {
            self.view = View::new(space, arena, applied);
            self.best.clear();
        }
        let mut left = blocks;
        while let Some(&(number, rows)) = self.view.parts.get(self.view.nth) {
            if self.view.block * BLOCK_ROWS >= rows as usize {
                (self.view.nth, self.view.block) = (self.view.nth + 1, 0);
                continue;
            }
            if left == 0 {
                return false;
            }
            let part = space.part(arena, number).expect("no part goes without a publication");
            self.compare(space.settings.metric, part, rows);
            self.view.block += 1;
            left -= 1;
        }
        true
    }

    fn compare(&mut self, metric: Metric, part: Part<'_>, rows_max: u32) {
        let nth = self.view.block;
        let rows = self.candidates(part, nth, rows_max);
        if rows == 0 {
            return;
        }
        let mut keys = [0.0; BLOCK_ROWS];
        let mut unwritten = &mut keys[..];
        part.for_each_run(nth, |run| {
            let room = std::mem::take(&mut unwritten);
            let (out, rest) = room.split_at_mut(run.len() / self.query.len());
            match metric {
                Metric::Cosine | Metric::Dot => kernels().dot_rows(&self.query, run, out),
                Metric::L2 => kernels().l2_rows(&self.query, run, out),
            }
            unwritten = rest;
        });
        match metric {
            Metric::Cosine => {
                let scales = part.block(nth).scale;
                keys.iter_mut().zip(scales).for_each(|(key, scale)| *key *= scale);
            }
            Metric::Dot => {}
            Metric::L2 => keys.iter_mut().for_each(|key| *key = -*key),
        }
        self.rows_compared += u64::from(rows.count_ones());
        let first = u32::try_from(nth * BLOCK_ROWS).expect("rows are counted in u32");
        let mut left = rows;
        while left != 0 {
            let nth = left.trailing_zeros();
            left &= left - 1;
            self.offer(part, first + nth, keys[nth as usize]);
        }
    }

    /// The rows of a block that may enter the result, metadata aside.
    fn candidates(&self, part: Part<'_>, nth: usize, rows_max: u32) -> u64 {
        let existing = rows_max as usize - nth * BLOCK_ROWS;
        let existing = if existing >= BLOCK_ROWS { u64::MAX } else { (1 << existing) - 1 };
        let visible = part.deaths().visible(nth, self.view.snapshot) & existing;
        let conditions = &self.request.conditions;
        let (since, until) = (conditions.since_us, conditions.until_us);
        if since.is_none() && until.is_none() && conditions.confidence_min.is_none() {
            return visible;
        }
        visible
            & part.block(nth).within(
                since.unwrap_or(i64::MIN),
                until.unwrap_or(i64::MAX),
                conditions.confidence_min.unwrap_or(0.0),
            )
    }

    fn offer(&mut self, part: Part<'_>, row: u32, key: f32) {
        let worst = (self.best.len() == self.request.k).then(|| self.best.peek()).flatten();
        // The record of a row that is no candidate by its key is never looked at.
        if worst.is_some_and(|worst| key.total_cmp(&worst.0.key).is_lt()) {
            return;
        }
        let at = RowAt { part: part.number(), row };
        let candidate = Candidate { key, sequence: part.record(row).sequence, at };
        if worst.is_some_and(|worst| candidate <= worst.0) {
            return;
        }
        let is_full = worst.is_some();
        if let Some(filter) = &self.request.conditions.filter
            && !part.body(row).is_ok_and(|body| filter.matches(body.metadata))
        {
            return;
        }
        if is_full {
            self.best.pop();
        }
        self.best.push(Reverse(candidate));
    }

    /// The best rows, best first. From the first whose optional parts go beyond the byte bound on,
    /// those parts are left out.
    ///
    /// # Panics
    /// When parts were replaced since the last step.
    pub fn finish(self, space: &Space, arena: &Arena) -> Result<Vec<Hit>, Damaged> {
        let mut fields = self.request.fields;
        let why = fields.why.then_some(Why { rows_compared: self.rows_compared });
        let mut bytes_left = self.request.bytes_max;
        let best = self.best.into_sorted_vec().into_iter();
        let hit = |Reverse(candidate): Reverse<Candidate>| {
            let part = space.part(arena, candidate.at.part);
            let part = part.expect("a result is read in the turn of its last step");
            let (row, dimensions) = (candidate.at.row, space.dimensions());
            let bytes = part.read_bytes(row, dimensions, fields);
            if bytes > bytes_left {
                fields = Fields::default();
            } else {
                bytes_left -= bytes;
            }
            let similarity = match space.settings.metric {
                Metric::Cosine | Metric::Dot => candidate.key,
                Metric::L2 => 1.0 / (1.0 + (-candidate.key).sqrt()),
            };
            let episode = part.read(row, dimensions, fields)?;
            Ok(Hit { score: similarity, similarity, episode, why })
        };
        best.map(hit).collect()
    }
}
