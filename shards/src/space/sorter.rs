//! Sorting many rows without a pause: small runs are sorted as they fill up, and merged one row at
//! a time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Keys sorted at once: some ten microseconds.
const RUN_KEYS: usize = 1024;

/// Rows with keys, going in in any order and coming out in theirs; equal keys by row.
#[derive(Debug)]
pub struct Sorter<K> {
    keys: Vec<(K, u32)>,
    /// The next key of each run, with its place.
    heads: BinaryHeap<Reverse<((K, u32), usize)>>,
    is_merging: bool,
}

impl<K: Ord + Copy> Sorter<K> {
    pub fn with_capacity(rows: usize) -> Self {
        Self { keys: Vec::with_capacity(rows), heads: BinaryHeap::new(), is_merging: false }
    }

    /// # Panics
    /// Once rows have come out.
    pub fn push(&mut self, key: K, row: u32) {
        assert!(!self.is_merging, "rows go in before they come out");
        self.keys.push((key, row));
        if self.keys.len().is_multiple_of(RUN_KEYS) {
            let from = self.keys.len() - RUN_KEYS;
            self.keys[from..].sort_unstable();
        }
    }

    fn begin_merge(&mut self) {
        self.is_merging = true;
        let from = self.keys.len() / RUN_KEYS * RUN_KEYS;
        self.keys[from..].sort_unstable();
        let runs = (0..self.keys.len()).step_by(RUN_KEYS);
        self.heads = runs.map(|at| Reverse((self.keys[at], at))).collect();
    }
}

impl<K: Ord + Copy> Iterator for Sorter<K> {
    type Item = (K, u32);

    fn next(&mut self) -> Option<(K, u32)> {
        if !self.is_merging {
            self.begin_merge();
        }
        let mut head = self.heads.peek_mut()?;
        let Reverse((first, at)) = *head;
        let next = at + 1;
        if next < self.keys.len() && !next.is_multiple_of(RUN_KEYS) {
            *head = Reverse((self.keys[next], next));
        } else {
            std::collections::binary_heap::PeekMut::pop(head);
        }
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn comes_out_sorted(keys in proptest::collection::vec(0_u8..20, 0..3000)) {
            let mut sorter = Sorter::with_capacity(keys.len());
            let mut wanted: Vec<_> = keys.iter().copied().zip(0_u32..).collect();
            wanted.iter().for_each(|(key, row)| sorter.push(*key, *row));
            wanted.sort_unstable();
            prop_assert_eq!(sorter.collect::<Vec<_>>(), wanted);
        }
    }
}
