//! What a recall looks at, and how: the parts of a space as they were when it began, each with the
//! method that is cheapest for it.

use crate::arena::Arena;
use crate::episode::{Conditions, Effort, RecallRequest};
use crate::kernels::row_floats;
use crate::limits::BLOCK_ROWS;
use crate::space::{CODED_ROWS_MIN, Part, PartNumber, Space};

/// Bytes of vectors that are compared rather than looked for: about what a walk costs.
const COMPARED_BYTES_MAX: usize = 1 << 20;
/// Rows whose conditions are evaluated to estimate how many fulfil them.
const SAMPLE_ROWS: usize = 256;
/// The share of a section that must fulfil the conditions for a walk to pay: below, it meets too
/// few of those that may be found.
const WALK_SHARE_MIN: f32 = 0.1;
/// Matches of a time range that are gathered one by one: a vector is read in the time in which some
/// seventy codes are scanned.
const GATHER_ROWS_MAX: usize = 1024;

/// How a part is searched; see the top of [`crate::recall`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Compare,
    Codes,
    Buckets,
    Gather,
    Walk,
}

/// A part and how it is searched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Planned {
    pub(super) part: PartNumber,
    pub(super) method: Method,
    /// What a beam is multiplied with, because only a share of what it meets may be found.
    pub(super) widening: f32,
    rows: u32,
}

/// See the top of the file.
#[derive(Debug)]
pub(super) struct View {
    /// What the shard had applied.
    pub(super) snapshot: u64,
    /// How often parts had been replaced.
    pub(super) publications: u64,
    parts: Vec<Planned>,
    /// The part and the block in it that come next.
    nth: usize,
    block: usize,
    /// The first so many rows of the part under way were looked at in another way.
    behind: u32,
}

impl View {
    pub(super) fn new(
        request: &RecallRequest,
        space: &Space,
        arena: &Arena,
        snapshot: u64,
    ) -> Self {
        let parts = space.parts(arena).filter(|part| part.rows() > 0);
        let parts = parts.map(|part| plan(request, part)).collect();
        Self { snapshot, publications: space.publications(), parts, nth: 0, block: 0, behind: 0 }
    }

    /// The part under way, if any is left.
    pub(super) fn current(&self) -> Option<Planned> {
        self.parts.get(self.nth).copied()
    }

    /// Rows of the part under way.
    pub(super) fn rows(&self) -> usize {
        self.parts[self.nth].rows as usize
    }

    /// The block of the part under way that comes next.
    pub(super) fn block(&self) -> usize {
        self.block
    }

    /// Whether the block under way is the last of its part.
    pub(super) fn is_last_block(&self) -> bool {
        (self.block + 1) * BLOCK_ROWS >= self.rows()
    }

    /// Goes on to the next block; behind the last one, to the next part.
    pub(super) fn leave_block(&mut self) {
        if self.is_last_block() {
            self.leave_part();
        } else {
            self.block += 1;
        }
    }

    pub(super) fn leave_part(&mut self) {
        (self.nth, self.block, self.behind) = (self.nth + 1, 0, 0);
    }

    /// Searches the part under way in another way, and only the rows behind the first so many.
    pub(super) fn replan(&mut self, method: Method, behind: u32) {
        self.parts[self.nth].method = method;
        self.block = behind as usize / BLOCK_ROWS;
        self.behind = behind;
        if behind as usize >= self.rows() {
            self.leave_part();
        }
    }

    /// The rows of a block that are still to be looked at, as bits.
    pub(super) fn unseen(&self, block: usize) -> u64 {
        let bits = |rows: usize| if rows >= BLOCK_ROWS { u64::MAX } else { (1 << rows) - 1 };
        let first = block * BLOCK_ROWS;
        bits(self.rows() - first) & !bits((self.behind as usize).saturating_sub(first))
    }
}

fn plan(request: &RecallRequest, part: Part<'_>) -> Planned {
    let (method, widening) = choose(request, part);
    Planned { part: part.number(), method, widening, rows: part.rows() }
}

fn choose(request: &RecallRequest, part: Part<'_>) -> (Method, f32) {
    let bytes = part.rows() as usize * row_floats(request.cue.len()) * size_of::<f32>();
    if request.effort == Effort::Exact {
        return (Method::Compare, 1.0);
    }
    match part {
        Part::Tail(tail, _) => {
            let is_coded = tail.coded_rows() >= CODED_ROWS_MIN && bytes > COMPARED_BYTES_MAX;
            let is_free = request.conditions == Conditions::default();
            let method = match is_coded {
                true if is_free && tail.buckets().is_some() => Method::Buckets,
                true => Method::Codes,
                false => Method::Compare,
            };
            (method, 1.0)
        }
        Part::Section(section) => {
            if section.index().is_none() || bytes <= COMPARED_BYTES_MAX {
                return (Method::Compare, 1.0);
            }
            let conditions = &request.conditions;
            if *conditions == Conditions::default() {
                return (Method::Walk, 1.0);
            }
            if section.rows_within(conditions).is_some_and(|rows| rows.len() <= GATHER_ROWS_MAX) {
                return (Method::Gather, 1.0);
            }
            let share = share(conditions, part);
            if share < WALK_SHARE_MIN {
                return (Method::Codes, 1.0);
            }
            (Method::Walk, 1.0 / share)
        }
    }
}

/// The share of a part's rows that fulfil the conditions, estimated from some spread evenly.
fn share(conditions: &Conditions, part: Part<'_>) -> f32 {
    let rows = part.rows() as usize;
    let step = rows.div_ceil(SAMPLE_ROWS);
    let sample = (0..rows).step_by(step);
    let count = sample.len();
    let fulfils = |row: &usize| conditions.admit(part, *row as u32);
    let matches = sample.filter(fulfils).count();
    matches as f32 / count as f32
}
