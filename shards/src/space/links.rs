//! Links that changed after their episodes were stored.
//!
//! A body has the links that its episode was stored with, or had when the body was written into a
//! section. A row whose links have changed since is *relinked*: an *overlay* is the whole list as
//! it is now. The part has a bit for the row ([`Marks`]), so that a reader of any other row pays
//! nothing; the space has the list ([`Overlays`]), under the sequence that the episode was stored
//! with, which stays the same when a consolidation gives the row another place.
//!
//! # A consolidation, as an overlay sees it
//!
//! What a consolidation writes is as of the sequence of its freeze. Until it is published
//!
//! - a list that changes for the first time since the freeze leaves a copy of what it was then,
//!   which is what the new body or the state file gets ([`Overlays::at_freeze`]);
//! - the part notes the row, so that its mark can follow it into the new section.
//!
//! Once it is published, overlays that have not changed since the freeze say what the new bodies
//! say. They are taken away in slices ([`Overlays::sweep`]), and so are those of rows that are
//! gone. Overlays of rows in sections that were not rewritten stay; a start has them from the state
//! file.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::format::LinkRecords;
use crate::links::{LinkList, TooManyLinks};

/// Memory of an overlay besides its records: its node in the map, and the list's own.
const OVERLAY_BYTES: u64 = 96;

/// Rows of a part, one bit each.
#[derive(Debug, Default)]
pub struct Marks {
    bits: Vec<u64>,
    count: u32,
    /// Rows in the order in which they came, since somebody wants to know.
    noted: Option<Vec<u32>>,
}

impl Marks {
    pub fn has(&self, row: u32) -> bool {
        let word = self.bits.get(row as usize / 64);
        word.is_some_and(|word| word & 1 << (row % 64) != 0)
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    /// The rows of a block, as bits.
    pub(super) fn word(&self, block: usize) -> u64 {
        self.bits.get(block).copied().unwrap_or_default()
    }

    /// Memory of the bits.
    pub(super) fn bytes(&self) -> usize {
        self.bits.capacity() * size_of::<u64>()
    }

    pub(super) fn set(&mut self, row: u32) {
        let (word, bit) = (row as usize / 64, 1 << (row % 64));
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        self.count += u32::from(self.bits[word] & bit == 0);
        self.bits[word] |= bit;
    }

    /// The marked rows from one on, ascending.
    pub fn rows_from(&self, row: u32) -> impl Iterator<Item = u32> {
        let words = self.bits.iter().copied().enumerate().skip(row as usize / 64);
        let rows = words.flat_map(|(nth, word)| {
            let first = u32::try_from(nth * 64).expect("rows are u32");
            (0..64).filter(move |bit| word & 1 << bit != 0).map(move |bit| first + bit)
        });
        rows.skip_while(move |own| *own < row)
    }

    /// Begins the list of rows anew.
    pub(super) fn note(&mut self) {
        self.noted = Some(Vec::new());
    }

    pub(super) fn note_row(&mut self, row: u32) {
        self.noted.iter_mut().for_each(|noted| noted.push(row));
    }

    /// The list so far.
    pub(super) fn noted(&self) -> &[u32] {
        self.noted.as_deref().unwrap_or_default()
    }

    /// Ends the list.
    pub(super) fn forget_noted(&mut self) {
        self.noted = None;
    }
}

/// The links of a row as they are now.
#[derive(Debug)]
struct Overlay {
    links: LinkList,
    /// The sequence of the last change.
    changed: u64,
    /// What it was at the freeze that is under way, if it was one then and changed since.
    at_freeze: Option<LinkList>,
}

impl Overlay {
    fn bytes(&self) -> u64 {
        let before = self.at_freeze.as_ref().map_or(0, LinkList::bytes);
        OVERLAY_BYTES + (self.links.bytes() + before) as u64
    }
}

/// A change of the links of a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change<'a> {
    /// The sequence that the row was stored with.
    pub(super) row: u64,
    /// The links in its body.
    pub(super) body: &'a [u8],
    /// The sequence of the change.
    pub(super) at: u64,
    /// What had been applied at the freeze that is under way, if one is.
    pub(super) frozen_through: Option<u64>,
}

/// See the top of the file.
#[derive(Debug, Default)]
pub struct Overlays {
    by_row: BTreeMap<u64, Overlay>,
    bytes: u64,
    sweep: Option<Sweep>,
}

/// How far overlays were looked at after a publication.
#[derive(Debug, Clone, Copy)]
struct Sweep {
    /// The sequence of the freeze.
    through: u64,
    /// The next row.
    row: u64,
}

impl Overlays {
    /// The links of the row that was stored with a sequence, if they are not those of its body.
    pub fn get(&self, row: u64) -> Option<&LinkList> {
        self.by_row.get(&row).map(|overlay| &overlay.links)
    }

    /// The same, when the freeze that is under way had been applied.
    pub fn at_freeze(&self, row: u64, through: u64) -> Option<&LinkList> {
        let overlay = self.by_row.get(&row)?;
        match overlay.changed <= through {
            true => Some(&overlay.links),
            false => overlay.at_freeze.as_ref(),
        }
    }

    /// Memory that they take.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The rows that have one, by the sequences they were stored with, and when it last changed.
    pub fn rows(&self) -> impl Iterator<Item = (u64, u64)> {
        self.by_row.iter().map(|(row, overlay)| (*row, overlay.changed))
    }

    /// Makes or reweights a link; whether there was one, and whether the row's links have not
    /// changed before since the freeze.
    pub(super) fn set(
        &mut self,
        change: Change<'_>,
        (target, kind): (&[u8], &[u8]),
        weight: f32,
    ) -> Result<(bool, bool), TooManyLinks> {
        let (result, is_first) = self.change(change, |list| {
            let result = list.set(target, kind, weight);
            (result, result.is_ok())
        });
        result.map(|replaced| (replaced, is_first))
    }

    /// Removes links; how many, and as with [`set`](Self::set).
    pub(super) fn remove(
        &mut self,
        change: Change<'_>,
        (target, kind): (&[u8], &[u8]),
    ) -> (usize, bool) {
        self.change(change, |list| {
            let removed = list.remove(target, kind);
            (removed, removed > 0)
        })
    }

    /// Calls `with` with the list, which says whether it changed anything.
    fn change<T>(
        &mut self,
        Change { row, body, at, frozen_through }: Change<'_>,
        with: impl FnOnce(&mut LinkList) -> (T, bool),
    ) -> (T, bool) {
        let Some(overlay) = self.by_row.get_mut(&row) else {
            let mut links = LinkList::of_records(LinkRecords(body));
            let (result, has_changed) = with(&mut links);
            if has_changed {
                self.insert(row, links, at);
            }
            return (result, has_changed);
        };
        self.bytes -= overlay.bytes();
        let is_first = frozen_through.is_some_and(|through| overlay.changed <= through);
        let before = is_first.then(|| overlay.links.clone());
        let (result, has_changed) = with(&mut overlay.links);
        if has_changed {
            overlay.changed = at;
            if is_first {
                overlay.at_freeze = before;
            }
        }
        self.bytes += overlay.bytes();
        (result, is_first && has_changed)
    }

    /// Adds the list of a row that has none.
    pub(super) fn insert(&mut self, row: u64, links: LinkList, changed: u64) {
        let overlay = Overlay { links, changed, at_freeze: None };
        self.bytes += overlay.bytes();
        self.by_row.insert(row, overlay);
    }

    /// Drops up to `count` of them, when nobody reads them any more; whether none is left.
    pub(super) fn release_some(&mut self, count: usize) -> bool {
        for _ in 0..count {
            if self.by_row.pop_first().is_none() {
                return true;
            }
        }
        false
    }

    /// Has everything looked at that was there at a freeze, now that it is published.
    pub(super) fn begin_sweep(&mut self, through: u64) {
        self.sweep = Some(Sweep { through, row: 0 });
    }

    /// The sequence of the freeze that is being swept behind.
    pub fn sweeps_through(&self) -> Option<u64> {
        self.sweep.map(|sweep| sweep.through)
    }

    /// Looks at up to `count` overlays: those that have not changed since the freeze go, unless
    /// `stays` says of their row otherwise. Whether all were seen.
    pub(super) fn sweep(&mut self, count: usize, stays: impl Fn(u64) -> bool) -> bool {
        let Some(Sweep { through, row }) = self.sweep else { return true };
        let rest = self.by_row.range_mut((Bound::Included(row), Bound::Unbounded));
        let (mut gone, mut last) = (Vec::new(), None);
        for (row, overlay) in rest.take(count) {
            last = Some(*row);
            if overlay.changed <= through && !stays(*row) {
                gone.push(*row);
            } else if let Some(before) = overlay.at_freeze.take() {
                self.bytes -= before.bytes() as u64;
            }
        }
        for row in gone {
            let overlay = self.by_row.remove(&row).expect("just seen");
            self.bytes -= overlay.bytes();
        }
        self.sweep = last.map(|last| Sweep { through, row: last + 1 });
        self.sweep.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(overlays: &mut Overlays, at: u64, frozen_through: Option<u64>, weight: f32) -> bool {
        let change = Change { row: 3, body: &[], at, frozen_through };
        overlays.set(change, (b"to", b""), weight).unwrap().1
    }

    fn weight(list: Option<&LinkList>) -> Option<f32> {
        list.and_then(|list| list.records().next()).map(|(weight, ..)| weight)
    }

    #[test]
    fn what_a_list_was_at_the_freeze_stays_readable_until_it_is_published() {
        let mut overlays = Overlays::default();
        assert!(set(&mut overlays, 10, None, 1.0), "the first change of all");
        assert_eq!(weight(overlays.at_freeze(3, 12)), Some(1.0));
        assert!(set(&mut overlays, 13, Some(12), 2.0), "the first since the freeze");
        assert!(!set(&mut overlays, 14, Some(12), 3.0));
        assert_eq!(weight(overlays.at_freeze(3, 12)), Some(1.0));
        assert_eq!(weight(overlays.get(3)), Some(3.0));
        let bytes = overlays.bytes();
        overlays.begin_sweep(12);
        assert!(!overlays.sweep(1, |_| false) && overlays.sweep(1, |_| false));
        assert_eq!(weight(overlays.get(3)), Some(3.0), "it is younger than what was published");
        assert_eq!(bytes - overlays.bytes(), 10, "what it was before is given back");
        overlays.begin_sweep(14);
        assert!(!overlays.sweep(2, |_| false) && overlays.sweep(2, |_| false));
        assert_eq!((overlays.get(3), overlays.bytes()), (None, 0));
    }

    #[test]
    fn a_row_whose_links_changed_only_since_the_freeze_had_those_of_its_body() {
        let mut overlays = Overlays::default();
        assert!(set(&mut overlays, 13, Some(12), 1.0));
        assert_eq!(overlays.at_freeze(3, 12), None);
        let change = Change { row: 4, body: &[], at: 15, frozen_through: Some(12) };
        assert_eq!(overlays.remove(change, (b"to", b"")), (0, false));
        assert_eq!(overlays.get(4), None, "nothing has changed");
    }

    #[test]
    fn marked_rows_come_in_order() {
        let mut marks = Marks::default();
        [130, 3, 64, 3, 63].into_iter().for_each(|row| marks.set(row));
        assert_eq!(marks.count(), 4);
        assert_eq!(marks.rows_from(4).collect::<Vec<_>>(), [63, 64, 130]);
        assert!(marks.has(130) && !marks.has(131) && !marks.has(100_000));
    }
}
