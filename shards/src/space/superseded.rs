//! Which rows of a part are superseded, by what, and since when.
//!
//! The interval in which an episode is valid begins when it happened and ends when the episode that
//! supersedes it did: that is its *valid time*. Both were recorded at some time too, and until the
//! second was, the first was believed: that is *transaction time* (Snodgrass, "The temporal query
//! language TQuel", TODS 1987). A row that is superseded lives on. Recalls leave it out, unless
//! they ask for what was believed before.
//!
//! A row has a bit here, so that a reader of any other pays nothing, and its [`Superseded`]. That
//! never changes: of several episodes that supersede one, the first that was applied counts. A
//! section has those that it was written with in two columns, whose checksums are tried when it is
//! opened: a bit that is missing would bring back what nobody believes any more. Those that came
//! later are in memory; a start has them from the state file and the log.
//!
//! What a consolidation writes is as of its freeze. The part notes rows that are superseded
//! meanwhile, which follow into the new section before it is published.

use std::collections::BTreeMap;

use bytes::Bytes;
use zerocopy::FromBytes;

use super::links::Marks;
use super::part::Part;
use super::{PartNumber, Section, Space};
use crate::arena::Arena;
use crate::episode::{Belief, Superseded};
use crate::format::columns::{ColumnKind, ColumnsError};
use crate::format::{SupersedePayload, SupersededBlock};
use crate::limits::BLOCK_ROWS;

/// Memory of an entry besides the id: its node in the map.
const ENTRY_BYTES: u64 = 96;

/// What supersedes a row, and the sequence from which on it does.
#[derive(Debug, Clone)]
struct Entry {
    superseded: Superseded,
    at: u64,
}

/// See the top of the file.
#[derive(Debug, Default)]
pub struct Supersessions {
    rows: Marks,
    /// Those that are in no columns file.
    later: BTreeMap<u32, Entry>,
    /// The last sequence of these.
    last: u64,
    bytes: u64,
}

/// What supersedes a row, read in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SupersededBy<'a> {
    pub by: &'a [u8],
    pub valid_until_us: i64,
    pub recorded_at_us: i64,
}

impl SupersededBy<'_> {
    pub(super) fn to_owned(self) -> Superseded {
        let Self { by, valid_until_us, recorded_at_us } = self;
        Superseded { by: Bytes::copy_from_slice(by), valid_until_us, recorded_at_us }
    }
}

impl<'a> From<&'a Superseded> for SupersededBy<'a> {
    fn from(superseded: &'a Superseded) -> Self {
        let Superseded { by, valid_until_us, recorded_at_us } = superseded;
        Self { by, valid_until_us: *valid_until_us, recorded_at_us: *recorded_at_us }
    }
}

impl Supersessions {
    /// Rows that are superseded.
    pub fn count(&self) -> u32 {
        self.rows.count()
    }

    /// Rows of which that is in no columns file.
    pub fn count_later(&self) -> u32 {
        u32::try_from(self.later.len()).expect("rows are u32")
    }

    /// Memory that they take.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Notes that a row is superseded from a sequence on. One that was before stays as it is.
    pub(super) fn set(&mut self, row: u32, superseded: Superseded, at: u64) {
        if self.rows.has(row) {
            return;
        }
        self.rows.set(row);
        self.rows.note_row(row);
        self.last = self.last.max(at);
        self.bytes += ENTRY_BYTES + superseded.by.len() as u64;
        self.later.insert(row, Entry { superseded, at });
    }

    /// The rows of a block that were superseded when the shard had applied `snapshot`, as bits.
    fn block(&self, nth: usize, snapshot: u64) -> u64 {
        let bits = self.rows.word(nth);
        if bits == 0 || self.last <= snapshot {
            return bits;
        }
        let first = u32::try_from(nth * BLOCK_ROWS).expect("rows are u32");
        let own = self.later.range(first..=first + (BLOCK_ROWS as u32 - 1));
        let unseen = own.filter(|(_, entry)| entry.at > snapshot);
        unseen.fold(bits, |bits, (row, _)| bits & !(1 << (row - first)))
    }

    fn has(&self, row: u32, snapshot: u64) -> bool {
        self.rows.has(row)
            && (self.last <= snapshot
                || self.later.get(&row).is_none_or(|entry| entry.at <= snapshot))
    }

    /// The rows from one on that came behind the columns file, up to a sequence.
    pub fn later_from(&self, row: u32, through: u64) -> impl Iterator<Item = (u32, &Superseded)> {
        let rest = self.later.range(row..).filter(move |(_, entry)| entry.at <= through);
        rest.map(|(row, entry)| (*row, &entry.superseded))
    }

    /// Begins the list of rows anew that are superseded.
    pub(super) fn note(&mut self) {
        self.rows.note();
    }

    /// The list so far, and what it takes to let it follow.
    pub(super) fn noted(&self) -> impl Iterator<Item = (u32, &Superseded, u64)> {
        let entry = |row: &u32| {
            let entry = self.later.get(row).expect("what is noted came just now");
            (*row, &entry.superseded, entry.at)
        };
        self.rows.noted().iter().map(entry)
    }

    /// Ends the list.
    pub(super) fn forget_noted(&mut self) {
        self.rows.forget_noted();
    }

    /// Drops up to `count` of them, when nobody reads them any more; whether none is left.
    pub(super) fn release_some(&mut self, count: usize) -> bool {
        (0..count).any(|_| self.later.pop_first().is_none())
    }
}

impl Space {
    /// Ends the interval in which the live episode with an id is valid, if it was recorded before
    /// what supersedes it, and nothing else did. Whether it is superseded by that now; `None`
    /// without such an episode.
    pub fn supersede(
        &mut self,
        arena: &Arena,
        supersede: &SupersedePayload<'_>,
        sequence: u64,
    ) -> Option<bool> {
        let SupersedePayload { id, by, valid_until_us, recorded_at_us, .. } = *supersede;
        let at = self.find(arena, id)?;
        let part = self.part(arena, at.part).expect("just found");
        if let Some(superseded) = part.superseded(at.row, sequence) {
            return Some(superseded.by == by);
        }
        if part.record(at.row).recorded_at_us > recorded_at_us {
            return Some(false);
        }
        let mut all = self.all_supersessions_mut();
        let own = all.find(|(number, _)| *number == at.part).map(|(_, own)| own);
        let superseded = SupersededBy { by, valid_until_us, recorded_at_us };
        own.expect("just found").set(at.row, superseded.to_owned(), sequence);
        Some(true)
    }

    pub(super) fn all_supersessions_mut(
        &mut self,
    ) -> impl Iterator<Item = (PartNumber, &mut Supersessions)> {
        let tails = std::iter::once(&mut self.tail).chain(&mut self.frozen);
        let tails = tails.map(|tail| (tail.number, &mut tail.supersessions));
        let sections = self.sections.iter_mut();
        tails.chain(sections.map(|section| (section.number, &mut section.supersessions)))
    }

    /// Gives a row of a section what superseded it besides its file.
    pub fn restore_superseded(&mut self, part: PartNumber, row: u32, superseded: Superseded) {
        let section = self.sections.iter_mut().find(|section| section.number == part);
        if let Some(section) = section {
            section.restore_superseded(row, superseded);
        }
    }

    /// Memory of what becomes of rows after they were written: links, supersessions, and when
    /// those in memory expire.
    pub fn afterwards_bytes(&self) -> u64 {
        let tails = std::iter::once(&self.tail).chain(&self.frozen);
        let tails = tails.map(|tail| tail.supersessions.bytes() + tail.expiries.bytes());
        let sections = self.sections.iter().map(|section| section.supersessions.bytes());
        self.overlays.bytes() + tails.chain(sections).sum::<u64>()
    }

    /// Episodes that are superseded.
    pub fn superseded(&self, arena: &Arena) -> u64 {
        let mut count = 0;
        for part in self.parts(arena).filter(|part| part.supersessions().count() > 0) {
            for nth in 0..part.blocks() {
                let visible = part.deaths().visible(nth, u64::MAX);
                let believed = part.believed(nth, Belief::Now, u64::MAX);
                count += u64::from((visible & !believed).count_ones());
            }
        }
        count
    }
}

impl Section {
    fn superseded_blocks(&self) -> &[SupersededBlock] {
        let column = self.opaque(ColumnKind::Superseded).unwrap_or_default();
        <[SupersededBlock]>::ref_from_bytes(column).unwrap_or_default()
    }

    /// Marks the rows that the file says are superseded, when all of that checks.
    pub(super) fn open_superseded(&mut self) -> Result<(), ColumnsError> {
        let space = self.space();
        for kind in [ColumnKind::Superseded, ColumnKind::SupersededBy] {
            let malformed = |what| ColumnsError::Column { space, kind, what };
            if self.try_column(kind, usize::MAX) || !self.is_right(kind) {
                return Err(malformed("a block does not check"));
            }
        }
        let bytes = self.opaque(ColumnKind::Superseded).unwrap_or_default();
        let ids = self.opaque(ColumnKind::SupersededBy).unwrap_or_default().len() as u64;
        let kind = ColumnKind::Superseded;
        let malformed = |what| ColumnsError::Column { space, kind, what };
        let blocks = <[SupersededBlock]>::ref_from_bytes(bytes)
            .map_err(|_| malformed("no whole number of rows"))?;
        if !blocks.is_sorted_by(|a, b| a.row.get() < b.row.get()) {
            return Err(malformed("its rows do not ascend"));
        }
        let fits = |block: &SupersededBlock| {
            let end = block.by_offset.get().checked_add(block.by_bytes.get().into());
            block.row.get() < self.rows() && end.is_some_and(|end| end <= ids)
        };
        if !blocks.iter().all(fits) {
            return Err(malformed("it names what is not there"));
        }
        let mut rows = Marks::default();
        blocks.iter().for_each(|block| rows.set(block.row.get()));
        self.supersessions.rows = rows;
        Ok(())
    }

    /// What supersedes a row by what the file says.
    fn superseded_in_file(&self, row: u32) -> Option<SupersededBy<'_>> {
        let blocks = self.superseded_blocks();
        let nth = blocks.binary_search_by_key(&row, |block| block.row.get()).ok()?;
        let block = &blocks[nth];
        let from = usize::try_from(block.by_offset.get()).ok()?;
        let ids = self.opaque(ColumnKind::SupersededBy)?;
        Some(SupersededBy {
            by: ids.get(from..from + usize::from(block.by_bytes.get()))?,
            valid_until_us: block.valid_until_us.get(),
            recorded_at_us: block.recorded_at_us.get(),
        })
    }

    /// Marks a row superseded that was so when the file was last opened; rows that are not there
    /// are left out.
    pub fn restore_superseded(&mut self, row: u32, superseded: Superseded) {
        if row < self.rows() {
            self.supersessions.set(row, superseded, 0);
        }
    }
}

impl<'a> Part<'a> {
    pub fn supersessions(self) -> &'a Supersessions {
        match self {
            Self::Tail(tail, _) => &tail.supersessions,
            Self::Section(section) => &section.supersessions,
        }
    }

    /// What supersedes a row, if anything does that was applied up to a sequence.
    pub fn superseded(self, row: u32, through: u64) -> Option<SupersededBy<'a>> {
        let own = self.supersessions();
        if !own.rows.has(row) {
            return None;
        }
        match (own.later.get(&row), self) {
            (Some(entry), _) => (entry.at <= through).then(|| (&entry.superseded).into()),
            (None, Self::Section(section)) => section.superseded_in_file(row),
            (None, Self::Tail(..)) => None,
        }
    }

    /// The rows of a block that are believed when the shard had applied `snapshot`, as bits.
    pub fn believed(self, nth: usize, belief: Belief, snapshot: u64) -> u64 {
        match belief {
            Belief::Now => !self.supersessions().block(nth, snapshot),
            Belief::AsOf(_) => {
                let first = u32::try_from(nth * BLOCK_ROWS).expect("rows are u32");
                let rows = (first..self.rows()).take(BLOCK_ROWS);
                rows.filter(|row| self.is_believed(*row, belief, snapshot))
                    .fold(0, |bits, row| bits | 1 << (row - first))
            }
        }
    }

    /// Whether a row is believed when the shard had applied `snapshot`.
    pub fn is_believed(self, row: u32, belief: Belief, snapshot: u64) -> bool {
        match belief {
            Belief::Now => !self.supersessions().has(row, snapshot),
            Belief::AsOf(time_us) => {
                self.record(row).recorded_at_us <= time_us
                    && self
                        .superseded(row, snapshot)
                        .is_none_or(|superseded| superseded.recorded_at_us > time_us)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn superseded(by: &'static str) -> Superseded {
        Superseded { by: by.into(), valid_until_us: 1, recorded_at_us: 2 }
    }

    #[test]
    fn a_row_is_superseded_from_its_sequence_on_and_by_the_first() {
        let mut own = Supersessions::default();
        own.note();
        own.set(70, superseded("first"), 10);
        own.set(70, superseded("second"), 11);
        own.set(3, superseded("third"), 12);
        assert_eq!((own.count(), own.count_later()), (2, 2));
        assert_eq!((own.block(1, 9), own.block(1, 10)), (0, 1 << 6));
        assert_eq!((own.block(0, 11), own.block(0, 12), own.block(9, 12)), (0, 8, 0));
        assert!(own.has(70, 10) && !own.has(70, 9) && !own.has(71, 20));
        let noted: Vec<_> = own.noted().map(|(row, by, at)| (row, by.by.clone(), at)).collect();
        assert_eq!(noted, [(70, "first".into(), 10), (3, "third".into(), 12)]);
        let rows: Vec<_> = own.later_from(0, 11).map(|(row, _)| row).collect();
        assert_eq!(rows, [70], "up to a sequence");
        let bytes = own.bytes();
        assert_eq!(bytes, 2 * ENTRY_BYTES + 10);
        assert!(!own.release_some(2) && own.release_some(1));
    }
}
