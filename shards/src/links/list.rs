//! The links of one episode, as a list that changes.
//!
//! It is kept as a body has it, records one behind the other in the order in which links were made:
//! reading it is reading a body, and writing it is copying it. Looking for a link goes through the
//! records. An episode has at most [`EPISODE_LINKS_MAX`] of them, most have few.

use std::ops::Range;

use thiserror::Error;

use crate::format::{LinkRecords, link_record, link_record_bytes};
use crate::limits::{EPISODE_LINKS_MAX, LINKS_MAX};

/// The episode has as many links as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("an episode has at most {EPISODE_LINKS_MAX} links")]
pub struct TooManyLinks;

/// See the top of the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LinkList {
    records: Vec<u8>,
    count: usize,
}

impl LinkList {
    /// The links of a body. Of several with the same target and kind, which bodies had once, the
    /// last counts.
    pub fn of_records(records: LinkRecords<'_>) -> Self {
        let mut rest = records.clone();
        let count = rest.by_ref().count();
        if count > LINKS_MAX {
            // More than a store gives: a list was written as this body, and no two are alike.
            let whole = records.0.len() - rest.0.len();
            return Self { records: records.0[..whole].to_vec(), count };
        }
        let mut list = Self { records: Vec::with_capacity(records.0.len()), count: 0 };
        for (weight, target, kind) in records {
            list.set(target, kind, weight).expect("a store gives fewer");
        }
        list
    }

    pub fn records(&self) -> LinkRecords<'_> {
        LinkRecords(&self.records)
    }

    /// Bytes of all records.
    pub fn bytes(&self) -> usize {
        self.records.len()
    }

    pub fn len(&self) -> usize {
        self.count
    }

    /// How many there are and the bytes of their records, as a record of a row has them.
    pub fn sizes(&self) -> (u16, u32) {
        let count = u16::try_from(self.count).expect("bounded by EPISODE_LINKS_MAX");
        (count, u32::try_from(self.records.len()).expect("so is what they take"))
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Where the record of a link is.
    fn place(&self, target: &[u8], kind: &[u8]) -> Option<Range<usize>> {
        let mut records = self.records();
        loop {
            let from = self.records.len() - records.0.len();
            let (_, own_target, own_kind) = records.next()?;
            if (own_target, own_kind) == (target, kind) {
                return Some(from..self.records.len() - records.0.len());
            }
        }
    }

    /// Makes a link, or gives the one that is there another weight; whether one was.
    pub fn set(&mut self, target: &[u8], kind: &[u8], weight: f32) -> Result<bool, TooManyLinks> {
        let record = link_record(weight, target, kind);
        if let Some(place) = self.place(target, kind) {
            let [head, ..] = record.parts();
            self.records[place][..head.len()].copy_from_slice(head);
            return Ok(true);
        }
        if self.count >= EPISODE_LINKS_MAX {
            return Err(TooManyLinks);
        }
        record.parts().iter().for_each(|part| self.records.extend_from_slice(part));
        self.count += 1;
        Ok(false)
    }

    /// Removes the links to a target: of one kind, or of all when it is empty. How many there were.
    pub fn remove(&mut self, target: &[u8], kind: &[u8]) -> usize {
        let before = self.count;
        let goes =
            |own: &[u8], own_kind: &[u8]| own == target && (kind.is_empty() || own_kind == kind);
        let (mut kept, mut from) = (0, 0);
        while let Some((_, own, own_kind)) = LinkRecords(&self.records[from..]).next() {
            let to = from + link_record_bytes(own, own_kind);
            if goes(own, own_kind) {
                self.count -= 1;
            } else {
                self.records.copy_within(from..to, kept);
                kept += to - from;
            }
            from = to;
        }
        self.records.truncate(kept);
        before - self.count
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn all(list: &LinkList) -> Vec<(f32, &[u8], &[u8])> {
        list.records().collect()
    }

    #[test]
    fn a_link_is_told_by_its_target_and_its_kind() {
        let mut list = LinkList::default();
        assert_eq!(list.set(b"a", b"", 1.0), Ok(false));
        assert_eq!(list.set(b"a", b"k", 2.0), Ok(false));
        assert_eq!(list.set(b"ab", b"", 3.0), Ok(false));
        assert_eq!(list.set(b"a", b"", 4.0), Ok(true));
        assert_eq!(all(&list), [(4.0, &b"a"[..], &b""[..]), (2.0, b"a", b"k"), (3.0, b"ab", b"")]);
        assert_eq!((list.remove(b"a", b"z"), list.len()), (0, 3));
        assert_eq!((list.remove(b"a", b""), list.len()), (2, 1));
        assert_eq!(all(&list), [(3.0, &b"ab"[..], &b""[..])]);
        assert_eq!((list.remove(b"ab", b"z"), list.remove(b"ab", b"")), (0, 1));
        assert!(list.is_empty() && list.bytes() == 0);
    }

    #[test]
    fn one_more_than_the_bound_is_refused_and_a_new_weight_is_not() {
        let mut list = LinkList::default();
        for nth in 0..EPISODE_LINKS_MAX {
            // Not through `set`, which looks through all that there are.
            let target = nth.to_le_bytes();
            let record = link_record(1.0, &target, b"");
            record.parts().iter().for_each(|part| list.records.extend_from_slice(part));
            list.count += 1;
        }
        assert_eq!(list.set(b"more", b"", 1.0), Err(TooManyLinks));
        assert_eq!(list.set(&5_usize.to_le_bytes(), b"", 2.0), Ok(true));
        assert_eq!(list.remove(&5_usize.to_le_bytes(), b""), 1);
        assert_eq!(list.set(b"more", b"", 1.0), Ok(false));
        assert_eq!(LinkList::of_records(list.records()), list);
    }

    #[test]
    fn of_links_that_a_body_has_twice_the_last_counts() {
        let mut records = Vec::new();
        for (weight, target) in [(1.0, b"a"), (2.0, b"b"), (3.0, b"a")] {
            let record = link_record(weight, target, b"k");
            record.parts().iter().for_each(|part| records.extend_from_slice(part));
        }
        let list = LinkList::of_records(LinkRecords(&records));
        assert_eq!(all(&list), [(3.0, &b"a"[..], &b"k"[..]), (2.0, b"b", b"k")]);
        assert_eq!(list.len(), 2);
    }

    proptest! {
        #[test]
        fn any_changes_come_to_the_same_as_a_map(
            changes in
                prop::collection::vec((any::<bool>(), 0..6_usize, 0..3_usize, 1..9_u8), 0..80),
        ) {
            let targets = [&b"a"[..], b"b", b"ab", b"abc", b"", b"bc"];
            let kinds = [&b""[..], b"c", b"k"];
            let (mut list, mut model) = (LinkList::default(), BTreeMap::new());
            for (sets, target, kind, weight) in changes {
                let (target, kind) = (targets[target], kinds[kind]);
                if sets {
                    let replaced = model.insert((target, kind), f32::from(weight)).is_some();
                    prop_assert_eq!(list.set(target, kind, f32::from(weight)), Ok(replaced));
                } else {
                    let before = model.len();
                    model.retain(|own, _| {
                        own.0 != target || !kind.is_empty() && own.1 != kind
                    });
                    prop_assert_eq!(list.remove(target, kind), before - model.len());
                }
                let listed: BTreeMap<_, _> =
                    list.records().map(|(weight, to, kind)| ((to, kind), weight)).collect();
                prop_assert_eq!(&listed, &model);
                prop_assert_eq!(list.len(), list.records().count());
            }
        }
    }
}
