//! What a recall looks at, and how: the parts of a space as they were when it began, each with the
//! method that is cheapest for it.

use super::costs::COMPARED_BYTES_MAX;
use crate::arena::Arena;
use crate::episode::{Effort, RecallRequest};
use crate::kernels::row_floats;
use crate::limits::BLOCK_ROWS;
use crate::space::{CODED_ROWS_MIN, Part, PartNumber, Section, Space};

/// One in so many rows may be superseded for a walk to be planned without a further look.
const SUPERSEDED_SHARE: u64 = 5;

/// How a part is searched; see the top of [`crate::recall`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// Look up what the conditions leave, and choose.
    Narrow,
    /// Mark the rows that may match, and choose.
    Mark,
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
        let may_archive = space.standing(&request.conditions, snapshot, 0).may_archive();
        let parts = parts.map(|part| plan(request, part, may_archive)).collect();
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

    /// Goes on to a block behind the present one; behind the last one, to the next part.
    pub(super) fn skip_to(&mut self, block: usize) {
        self.block = block;
        if block * BLOCK_ROWS >= self.rows() {
            self.leave_part();
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

fn plan(request: &RecallRequest, part: Part<'_>, may_archive: bool) -> Planned {
    Planned { part: part.number(), method: choose(request, part, may_archive), rows: part.rows() }
}

/// Whether a walk meets enough rows that are not superseded by itself.
fn is_mostly_believed(section: &Section) -> bool {
    let superseded = Part::Section(section).supersessions().count();
    u64::from(superseded) * SUPERSEDED_SHARE < u64::from(section.rows())
}

fn choose(request: &RecallRequest, part: Part<'_>, may_archive: bool) -> Method {
    let bytes = part.rows() as usize * row_floats(request.cue.len()) * size_of::<f32>();
    let is_small = bytes <= COMPARED_BYTES_MAX;
    let is_free = request.conditions.is_free() && !may_archive;
    match part {
        _ if request.effort == Effort::Exact || is_small => Method::Compare,
        Part::Tail(tail, _) if tail.coded_rows() < CODED_ROWS_MIN => Method::Compare,
        Part::Tail(tail, _) if is_free && tail.buckets().is_some() => Method::Buckets,
        Part::Tail(..) => Method::Codes,
        Part::Section(section) if section.index().is_none() => Method::Compare,
        Part::Section(section) if is_free && is_mostly_believed(section) => Method::Walk,
        Part::Section(_) => Method::Narrow,
    }
}
