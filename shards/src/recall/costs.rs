//! What the methods cost, as measured, and which is the cheapest for some conditions.
//!
//! All figures are of one core; only their ratios matter. `perf/src/bin/engram-filters.rs` shows
//! what comes of them.

use super::view::Method;
use crate::index::simd::CODE_ROWS;
use crate::limits::BLOCK_ROWS;

/// Bytes of vectors that are compared rather than looked for: about what a walk costs.
pub(super) const COMPARED_BYTES_MAX: usize = 1 << 20;

/// Conditions widen a beam: by their share to this power, and at most so much.
const WIDENING_POWER: f32 = -0.65;
const WIDENING_MAX: f32 = 12.0;

/// Nanoseconds.
const MARK_NS: f32 = 8.0;
/// What a walk takes of its time when what matches is marked.
const MARKED_WALK_SHARE: f32 = 0.8;
const JUDGE_BLOCK_NS: f32 = 60.0;
const WALK_NS: f32 = 10_000.0;
/// For each node of the beam: about half a hop, and a part of the scan that follows some walks.
const BEAM_NS: f32 = 700.0;
const PROPOSALS_NS: f32 = 15_000.0;
/// For each row, and for each of its bytes.
const GATHER_NS: f32 = 50.0;
const GATHER_BYTE_NS: f32 = 0.035;
/// For each block of codes, and for each of its bytes.
const BLOCK_NS: f32 = 20.0;
const BLOCK_BYTE_NS: f32 = 0.05;

/// What a section is to a recall.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) rows: usize,
    pub(super) row_bytes: usize,
    pub(super) code_block_bytes: usize,
    /// The width of a beam when all rows may be found.
    pub(super) beam: usize,
}

impl Shape {
    /// The width of a beam that meets enough of what matches, which is a share of all rows.
    pub(super) fn beam(&self, share: f32) -> usize {
        let widening = share.max(f32::MIN_POSITIVE).powf(WIDENING_POWER).min(WIDENING_MAX);
        (self.beam as f32 * widening) as usize
    }

    /// What looks at matches only, once they are marked.
    fn gather_ns(&self, matches: f32) -> f32 {
        matches * (GATHER_NS + GATHER_BYTE_NS * self.row_bytes as f32)
    }

    /// What looks at the codes of all blocks that have a match, if those are spread evenly.
    fn codes_ns(&self, matches: f32) -> f32 {
        let share = (matches / self.rows as f32).min(1.0);
        let met = 1.0 - (1.0 - share).powi(CODE_ROWS as i32);
        let blocks = self.rows as f32 / CODE_ROWS as f32;
        PROPOSALS_NS + blocks * met * (BLOCK_NS + BLOCK_BYTE_NS * self.code_block_bytes as f32)
    }

    fn walk_ns(&self, matches: f32) -> f32 {
        WALK_NS + self.beam(matches / self.rows as f32) as f32 * BEAM_NS
    }

    /// The method for conditions that leave so many rows, out of so many that are named, if any
    /// are.
    pub(super) fn choose(&self, matches: f32, named: Option<usize>) -> Method {
        let judged = self.rows as f32 / BLOCK_ROWS as f32 * JUDGE_BLOCK_NS;
        let (walk, codes) = (self.walk_ns(matches), self.codes_ns(matches) + judged);
        let mark = named.map_or(f32::INFINITY, |named| {
            named as f32 * MARK_NS
                + self.gather_ns(matches).min(self.codes_ns(matches)).min(walk * MARKED_WALK_SHARE)
        });
        match (mark < walk && mark < codes, walk < codes) {
            (true, _) => Method::Mark,
            (false, true) => Method::Walk,
            (false, false) => Method::Codes,
        }
    }

    /// The method for so many rows that are marked.
    pub(super) fn choose_marked(&self, marked: usize) -> Method {
        let matches = marked as f32;
        let (gather, codes) = (self.gather_ns(matches), self.codes_ns(matches));
        match (gather < codes, gather.min(codes) < self.walk_ns(matches)) {
            (true, true) => Method::Gather,
            (false, true) => Method::Codes,
            (_, false) => Method::Walk,
        }
    }
}
