//! What presentations have left of episodes, where there was more than the first.
//!
//! An episode that was stored and never presented again needs nothing: when it happened is all its
//! history. Others have an entry here, under the sequence that they were stored with, which stays
//! the same when a consolidation gives the row another place. An entry goes with its row.
//!
//! The state file has the entries as of the sequence of a freeze, as it has
//! [links](super::links): the first change since the freeze that is under way leaves a copy of what
//! was before, and so does the death of the row, which may yet be lost with the log's end.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

use super::{Overlays, Space};
use crate::arena::Arena;
use crate::episode::{Reinforcement, Strength};
use crate::strength::{Decay, Trace, first_retention};

/// Between two recalls of an episode that count as two.
const RECALL_APART_US: i64 = 1_000_000;
/// Memory of an entry, and of its place in a node of the map that is three quarters full.
const ENTRY_BYTES: u64 = (size_of::<Entry>() + 2 * size_of::<u64>() * 4 / 3) as u64;
/// Memory of a copy and of its place in the list of them.
const COPY_BYTES: u64 = (size_of::<Before>() + size_of::<(u64, u64)>()) as u64;

/// What is known of an episode besides what it was stored with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kept {
    pub trace: Trace,
    pub is_pinned: bool,
}

#[derive(Debug)]
struct Entry {
    /// `None` when the row has died since the freeze.
    kept: Option<Kept>,
    /// The sequence of the last change.
    changed: u64,
    before: Option<Box<Before>>,
}

/// What an entry was at a freeze, if it was one then.
#[derive(Debug, Clone, Copy)]
struct Before {
    kept: Option<Kept>,
    /// What had been applied at the freeze.
    through: u64,
}

impl Entry {
    fn bytes(&self) -> u64 {
        ENTRY_BYTES + if self.before.is_some() { COPY_BYTES } else { 0 }
    }

    /// As it was when everything through a sequence had been applied, that of the freeze that is
    /// under way.
    fn at_freeze(&self, through: u64) -> Option<Kept> {
        match &self.before {
            _ if self.changed <= through => self.kept,
            Some(before) if before.through == through => before.kept,
            _ => None,
        }
    }
}

/// When something changes, in sequences.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    pub(super) at: u64,
    /// What had been applied at the freeze that is under way, if one is.
    pub(super) frozen_through: Option<u64>,
}

type Copied = VecDeque<(u64, u64)>;

/// See the top of the file.
#[derive(Debug, Default)]
pub struct Strengths {
    /// Behind pointers, so that the nodes that a search goes through stay in the caches.
    by_row: BTreeMap<u64, Box<Entry>>,
    bytes: u64,
    /// Rows that have a copy, and of which freeze, the oldest first.
    copied: Copied,
}

impl Strengths {
    /// Of the row that was stored with a sequence.
    pub fn get(&self, row: u64) -> Option<&Kept> {
        self.by_row.get(&row)?.kept.as_ref()
    }

    /// Memory that they take.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The sequences of the rows that have one.
    pub fn rows(&self) -> impl Iterator<Item = u64> {
        self.by_row.iter().filter(|(_, entry)| entry.kept.is_some()).map(|(row, _)| *row)
    }

    /// Up to `count` entries of some rows as they were at the freeze that is under way, and the row
    /// to go on from, if there are more.
    pub fn at_freeze(
        &self,
        rows: RangeInclusive<u64>,
        count: usize,
        through: u64,
    ) -> (Vec<(u64, Kept)>, Option<u64>) {
        let some: Vec<_> = self.by_row.range(rows).take(count).collect();
        let next = some.last().filter(|_| some.len() == count).map(|(row, _)| *row + 1);
        let kept =
            some.into_iter().filter_map(|(row, entry)| Some((*row, entry.at_freeze(through)?)));
        (kept.collect(), next)
    }

    /// Changes what is known of a living row of an episode that happened at `first_us`.
    pub(super) fn change(
        &mut self,
        row: u64,
        change: Change,
        (decay, first_us): (Decay, i64),
        with: impl FnOnce(&mut Kept),
    ) -> &Kept {
        let entry = self.by_row.entry(row).or_insert_with(|| {
            self.bytes += ENTRY_BYTES;
            Box::new(Entry { kept: None, changed: change.at, before: None })
        });
        copy(entry, row, change, (&mut self.copied, &mut self.bytes));
        entry.changed = change.at;
        let first = || Kept { trace: Trace::first(decay, first_us), is_pinned: false };
        let kept = entry.kept.get_or_insert_with(first);
        with(kept);
        kept
    }

    /// Adds what a state file says.
    pub(super) fn restore(&mut self, row: u64, kept: Kept, through: u64) {
        let entry = Entry { kept: Some(kept), changed: through, before: None };
        self.bytes += entry.bytes();
        if let Some(replaced) = self.by_row.insert(row, Box::new(entry)) {
            self.bytes -= replaced.bytes();
        }
    }

    /// Takes note of a row's death.
    pub(super) fn remove(&mut self, row: u64, change: Change) {
        let Some(entry) = self.by_row.get_mut(&row) else { return };
        copy(entry, row, change, (&mut self.copied, &mut self.bytes));
        (entry.kept, entry.changed) = (None, change.at);
        if change.frozen_through.is_none() {
            let entry = self.by_row.remove(&row).expect("just seen");
            self.bytes -= entry.bytes();
        }
    }

    /// Looks at up to `count` rows that have a copy, now that what was frozen with it is published,
    /// and drops what nobody needs; whether all were seen.
    pub(super) fn sweep(&mut self, count: usize, frozen_through: Option<u64>) -> bool {
        for _ in 0..count {
            let copied = self.copied.front().filter(|(_, of)| Some(*of) != frozen_through);
            let Some(&(row, of)) = copied else { return true };
            self.copied.pop_front();
            let Some(entry) = self.by_row.get_mut(&row) else { continue };
            if entry.before.as_ref().is_none_or(|before| before.through != of) {
                continue;
            }
            self.bytes -= entry.bytes();
            entry.before = None;
            match entry.kept {
                Some(_) => self.bytes += entry.bytes(),
                None => _ = self.by_row.remove(&row),
            }
        }
        self.copied.front().is_none_or(|(_, of)| Some(*of) == frozen_through)
    }

    /// Drops up to `count` of them, when nobody reads them any more; whether none is left.
    pub(super) fn release_some(&mut self, count: usize) -> bool {
        (0..count).any(|_| self.by_row.pop_first().is_none())
    }
}

/// Leaves a copy of an entry before the first change since the freeze that is under way.
fn copy(entry: &mut Entry, row: u64, change: Change, (copied, bytes): (&mut Copied, &mut u64)) {
    let Some(through) = change.frozen_through else { return };
    if entry.changed > through {
        return;
    }
    *bytes -= entry.bytes();
    entry.before = Some(Box::new(Before { kept: entry.kept, through }));
    *bytes += entry.bytes();
    copied.push_back((row, through));
}

/// What was changed about the episodes of a space since they were stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Changed<'a> {
    pub(crate) links: &'a Overlays,
    pub(crate) strengths: &'a Strengths,
    pub(crate) decay: Decay,
}

impl Changed<'_> {
    /// How strong the episode is that was stored with a sequence and happened at a time.
    pub(crate) fn strength(self, (stored, first_us): (u64, i64), at_us: i64) -> Strength {
        let first = || Kept { trace: Trace::first(self.decay, first_us), is_pinned: false };
        let kept = self.strengths.get(stored).copied();
        strength(self.decay, kept.unwrap_or_else(first), at_us)
    }

    /// How probably that episode is retained at a time.
    pub(crate) fn retention(self, (stored, first_us): (u64, i64), at_us: i64) -> f32 {
        match self.strengths.get(stored) {
            Some(kept) => strength(self.decay, *kept, at_us).retention(),
            None => first_retention(self.decay, first_us, at_us),
        }
    }
}

fn strength(decay: Decay, kept: Kept, at_us: i64) -> Strength {
    let Kept { trace, is_pinned } = kept;
    Strength { decay, trace, is_pinned, at_us }
}

impl Space {
    /// Changes how the live episode with an id is remembered; `None` without one.
    pub fn reinforce(
        &mut self,
        arena: &Arena,
        id: &[u8],
        what: Reinforcement,
        (at, now_us): (u64, i64),
    ) -> Option<Strength> {
        let row = self.find(arena, id)?;
        let part = self.part(arena, row.part).expect("just found");
        let (stored, first_us) = part.origin(row.row);
        Some(self.strengthen((stored, first_us), what, (at, now_us)))
    }

    /// Takes note of a recall of the episode that was stored with a sequence: one more
    /// presentation, if it lives and the last was not within the same second.
    pub fn note_recall(&mut self, arena: &Arena, stored: u64, (at, now_us): (u64, i64)) {
        let known = self.strengths.get(stored);
        if known.is_some_and(|kept| now_us.saturating_sub(kept.trace.last_us) < RECALL_APART_US) {
            return;
        }
        let origin = self.parts(arena).find_map(|part| {
            let row = part.find_sequence(stored)?;
            part.deaths().is_alive(row).then(|| part.origin(row))
        });
        if let Some(origin) = origin {
            self.strengthen(origin, Reinforcement::Present, (at, now_us));
        }
    }

    fn strengthen(
        &mut self,
        (stored, first_us): (u64, i64),
        what: Reinforcement,
        (at, now_us): (u64, i64),
    ) -> Strength {
        let (change, decay) = (self.change_at(at), self.settings.decay);
        let kept = self.strengths.change(stored, change, (decay, first_us), |kept| match what {
            Reinforcement::Present => kept.trace.present(decay, now_us),
            Reinforcement::Pin => kept.is_pinned = true,
            Reinforcement::Unpin => kept.is_pinned = false,
        });
        strength(decay, *kept, now_us)
    }

    /// Gives an episode the strength that a state file says.
    pub fn restore_strength(&mut self, stored: u64, kept: Kept, through: u64) {
        self.strengths.restore(stored, kept, through);
    }

    /// What is known of episodes besides what they were stored with.
    pub fn strengths(&self) -> &Strengths {
        &self.strengths
    }

    /// Everything that was changed about episodes since they were stored.
    pub(crate) fn changed(&self) -> Changed<'_> {
        let (links, strengths, decay) = (&self.overlays, &self.strengths, self.settings.decay);
        Changed { links, strengths, decay }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECAY: Decay = Decay::Power;

    fn present(strengths: &mut Strengths, row: u64, at: u64, frozen_through: Option<u64>) -> u32 {
        let now_us = i64::try_from(at).unwrap() * 1_000_000;
        let with = |kept: &mut Kept| kept.trace.present(DECAY, now_us);
        let change = Change { at, frozen_through };
        strengths.change(row, change, (DECAY, 0), with).trace.presentations
    }

    fn counts(strengths: &Strengths, through: u64) -> Vec<(u64, u32)> {
        let (entries, next) = strengths.at_freeze(0..=through, 100, through);
        assert_eq!(next, None);
        entries.iter().map(|(row, kept)| (*row, kept.trace.presentations)).collect()
    }

    #[test]
    fn what_was_known_at_the_freeze_stays_readable_while_it_is_under_way() {
        let mut strengths = Strengths::default();
        assert_eq!(present(&mut strengths, 3, 10, None), 2);
        assert_eq!(present(&mut strengths, 4, 11, None), 2);
        let bytes = strengths.bytes();
        assert_eq!(present(&mut strengths, 3, 13, Some(12)), 3);
        assert_eq!(present(&mut strengths, 3, 14, Some(12)), 4);
        // One that is new since, one whose row is, and one that dies.
        present(&mut strengths, 5, 15, Some(12));
        present(&mut strengths, 13, 16, Some(12));
        strengths.remove(4, Change { at: 17, frozen_through: Some(12) });
        assert_eq!(counts(&strengths, 12), [(3, 2), (4, 2)]);
        assert_eq!(strengths.get(3).unwrap().trace.presentations, 4);
        assert_eq!(
            (strengths.get(4), strengths.rows().collect::<Vec<_>>()),
            (None, vec![3, 5, 13])
        );
        // It is published, and before all copies are gone there is another freeze.
        assert!(!strengths.sweep(1, None));
        assert_eq!(present(&mut strengths, 3, 20, Some(18)), 5);
        assert!(strengths.sweep(100, Some(18)));
        assert_eq!(counts(&strengths, 18), [(3, 4), (5, 2), (13, 2)]);
        for row in [5, 13] {
            strengths.remove(row, Change { at: 22, frozen_through: None });
        }
        assert!(present(&mut strengths, 4, 23, None) == 2 && strengths.bytes() > bytes);
    }

    #[test]
    fn copies_and_the_dead_are_given_back() {
        let mut strengths = Strengths::default();
        (1..=10).for_each(|row| _ = present(&mut strengths, row, 10 + row, None));
        let bytes = strengths.bytes();
        (1..=5).for_each(|row| _ = present(&mut strengths, row, 30 + row, Some(30)));
        (6..=10).for_each(|row| strengths.remove(row, Change { at: 40, frozen_through: Some(30) }));
        assert!(strengths.bytes() > bytes);
        assert!(!strengths.sweep(9, None) && strengths.sweep(1, None));
        assert_eq!(strengths.bytes(), bytes / 2);
        (1..=5).for_each(|row| strengths.remove(row, Change { at: 50, frozen_through: None }));
        assert_eq!((strengths.bytes(), strengths.rows().count()), (0, 0));
    }

    #[test]
    fn entries_are_saved_piece_by_piece_and_restored() {
        let mut strengths = Strengths::default();
        (1..=10).for_each(|row| _ = present(&mut strengths, row, 20 + row, None));
        let (mut from, mut restored) = (Some(0), Strengths::default());
        while let Some(row) = from {
            let (entries, next) = strengths.at_freeze(row..=30, 3, 30);
            entries.into_iter().for_each(|(row, kept)| restored.restore(row, kept, 30));
            from = next;
        }
        assert_eq!(restored.rows().collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
        assert_eq!(restored.bytes(), strengths.bytes());
        assert!((1..=10).all(|row| restored.get(row) == strengths.get(row)));
        assert!(!restored.release_some(10) && restored.release_some(1));
    }
}
