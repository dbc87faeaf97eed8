//! Which rows a reader may answer with, what it asks for aside: those of the time that it asks for,
//! and of these none that is archived.
//!
//! A space may say below which retention it archives. Nothing is written for that and nothing kept:
//! an episode is archived as long as it has faded that far, which is told when somebody asks, from
//! when it happened and what presentations have left of it. One that is presented again comes back
//! at once. What happened lately has not faded, however often it was presented, so most rows cost a
//! comparison, and a block of such rows one for all.

use super::fading::has_faded;
use super::part::Part;
use super::{Changed, Space};
use crate::episode::{Belief, Conditions, FadingPolicy};
use crate::limits::BLOCK_ROWS;

/// See the top of the file.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    belief: Belief,
    /// What the shard had applied when the reader began.
    snapshot: u64,
    archive: Option<Archive<'a>>,
}

/// What a space archives.
#[derive(Debug, Clone, Copy)]
struct Archive<'a> {
    changed: Changed<'a>,
    policy: FadingPolicy,
    now_us: i64,
    /// What happened later has not faded.
    since_us: i64,
}

impl Archive<'_> {
    fn has(self, part: Part<'_>, row: u32) -> bool {
        part.columns(row).happened_at_us <= self.since_us
            && has_faded(self.changed, self.policy, part, row, self.now_us)
    }
}

impl Space {
    /// For a reader with these conditions that began at a time, when the shard had applied
    /// `snapshot`. Who asks for a time in the past asks for all that was believed then.
    pub fn standing(&self, conditions: &Conditions, snapshot: u64, now_us: i64) -> Standing<'_> {
        let belief = conditions.belief;
        let wanted = !conditions.archived && belief == Belief::Now;
        let policy = self.settings.lifetime.archive.filter(|_| wanted);
        let archive = policy.map(|policy| Archive {
            changed: self.changed(),
            policy,
            now_us,
            since_us: now_us.saturating_sub(self.archived_after_us),
        });
        Standing { belief, snapshot, archive }
    }
}

impl Standing<'_> {
    /// Whether rows may be archived.
    pub fn may_archive(self) -> bool {
        self.archive.is_some()
    }

    /// Whether a row of a part may be one that is not answered.
    pub fn is_conditional(self, part: Part<'_>) -> bool {
        self.belief != Belief::Now || self.may_archive() || part.supersessions().count() > 0
    }

    /// Whether a row may be answered.
    pub fn has(self, part: Part<'_>, row: u32) -> bool {
        part.is_believed(row, self.belief, self.snapshot)
            && !self.archive.is_some_and(|archive| archive.has(part, row))
    }

    /// Which of some rows of a block may be answered, as bits.
    pub fn block(self, part: Part<'_>, nth: usize, rows: u64) -> u64 {
        let rows = rows & part.believed(nth, self.belief, self.snapshot);
        let Some(archive) = self.archive else { return rows };
        if rows == 0 || part.block(nth).zone.happened_min_us > archive.since_us {
            return rows;
        }
        let first = u32::try_from(nth * BLOCK_ROWS).expect("rows are u32");
        let is_archived = |bit: &u32| rows >> bit & 1 == 1 && archive.has(part, first + bit);
        (0..BLOCK_ROWS as u32).filter(is_archived).fold(rows, |rows, bit| rows & !(1 << bit))
    }
}
