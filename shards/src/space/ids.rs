//! From an id to the row of its live episode.
//!
//! The table holds rows and the hashes of their ids; ids are compared where they lie, in the
//! bodies. It is striped by the highest bits of the hash, so that growth is paid in small pieces:
//! one stripe of a few thousand entries at a time instead of one pause for millions. And the
//! entries can be listed in the order of their hashes by looking at one stripe after the other.

use std::collections::BinaryHeap;

use hashbrown::HashTable;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::episode::SpaceNumber;
use crate::limits::SHARDS_MAX;

const STRIPES: usize = 64;

#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u64,
    row: u32,
}

#[derive(Debug)]
pub struct Ids {
    stripes: Box<[HashTable<Entry>]>,
    entries: usize,
}

impl Default for Ids {
    fn default() -> Self {
        Self { stripes: (0..STRIPES).map(|_| HashTable::new()).collect(), entries: 0 }
    }
}

/// The hash of an id: the order in which a scan goes through a space, in memory and in files.
pub fn id_hash(id: &[u8]) -> u64 {
    xxh3_64(id)
}

/// Which of the shards that a space spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Home {
    pub nth: u32,
    pub span: u32,
}

impl Home {
    /// The only one.
    pub const ALONE: Self = Self { nth: 0, span: 1 };

    /// Which of `span` shards an id belongs to: the same for ever, because it decides in which log
    /// an episode is found again.
    pub fn of(space: SpaceNumber, id: &[u8], span: u32) -> u32 {
        (xxh3_64_with_seed(id, u64::from(space.0)) % u64::from(span)) as u32
    }

    /// Whether an id belongs here.
    pub fn owns(self, space: SpaceNumber, id: &[u8]) -> bool {
        self.span == 1 || Self::of(space, id, self.span) == self.nth
    }
}

/// Bits of a hash that a position in a scan leaves out: they are the number of the shard in the
/// cursor of a client.
pub const POSITION_SHIFT: u32 = 6;

const _: () = assert!(SHARDS_MAX <= 1 << POSITION_SHIFT);

/// Where in a scan the ids with a hash are. Ids at one position are never parted by a page's end.
pub fn position(hash: u64) -> u64 {
    hash >> POSITION_SHIFT
}

/// The lowest hash at a position.
pub fn first_hash(position: u64) -> u64 {
    position.saturating_mul(1 << POSITION_SHIFT)
}

fn stripe_of(hash: u64) -> usize {
    (hash >> 58) as usize
}

/// The table looks at the highest and the lowest bits; the highest are the same in a stripe.
fn spread(hash: u64) -> u64 {
    hash.rotate_left(6)
}

impl Ids {
    pub fn len(&self) -> usize {
        self.entries
    }

    pub fn find<'a>(&self, id: &[u8], id_of: impl Fn(u32) -> &'a [u8]) -> Option<u32> {
        let hash = id_hash(id);
        let same = |entry: &Entry| entry.hash == hash && id_of(entry.row) == id;
        self.stripes[stripe_of(hash)].find(spread(hash), same).map(|entry| entry.row)
    }

    /// Leads the id to `row`; the row it led to before.
    pub fn insert<'a>(
        &mut self,
        id: &[u8],
        row: u32,
        id_of: impl Fn(u32) -> &'a [u8],
    ) -> Option<u32> {
        let hash = id_hash(id);
        let same = |entry: &Entry| entry.hash == hash && id_of(entry.row) == id;
        let stripe = &mut self.stripes[stripe_of(hash)];
        if let Some(entry) = stripe.find_mut(spread(hash), same) {
            return Some(std::mem::replace(&mut entry.row, row));
        }
        stripe.insert_unique(spread(hash), Entry { hash, row }, |entry| spread(entry.hash));
        self.entries += 1;
        None
    }

    /// Takes the id out; the row it led to.
    pub fn remove<'a>(&mut self, id: &[u8], id_of: impl Fn(u32) -> &'a [u8]) -> Option<u32> {
        let hash = id_hash(id);
        let same = |entry: &Entry| entry.hash == hash && id_of(entry.row) == id;
        let found = self.stripes[stripe_of(hash)].find_entry(spread(hash), same).ok()?;
        self.entries -= 1;
        Some(found.remove().0.row)
    }

    /// Gives one stripe's memory back; whether there was none. The table is not looked at any more.
    pub fn release_some(&mut self) -> bool {
        let full = self.stripes.iter_mut().find(|stripe| stripe.capacity() > 0);
        full.map(std::mem::take).is_none()
    }

    /// The first `count` entries from a position on, and those at the position of the last one, of
    /// rows that are seen: hashes and rows, ascending.
    pub fn list_from(
        &self,
        from: u64,
        count: usize,
        is_seen: impl Fn(u32) -> bool,
    ) -> Vec<(u64, u32)> {
        let from = first_hash(from);
        let mut found = Vec::new();
        for stripe in &self.stripes[stripe_of(from)..] {
            if found.len() >= count {
                break;
            }
            let seen = |entry: &&Entry| entry.hash >= from && is_seen(entry.row);
            let entries = || stripe.iter().filter(seen).map(|entry| (entry.hash, entry.row));
            let wanted = count - found.len();
            let mut first: BinaryHeap<(u64, u32)> = BinaryHeap::new();
            for entry in entries() {
                if first.len() < wanted {
                    first.push(entry);
                } else if let Some(mut last) = first.peek_mut()
                    && entry < *last
                {
                    *last = entry;
                }
            }
            let Some(last) = first.peek().copied() else { continue };
            let beside =
                |entry: &(u64, u32)| *entry > last && position(entry.0) == position(last.0);
            let mut beside: Vec<_> = entries().filter(beside).collect();
            beside.sort_unstable();
            found.extend(first.into_sorted_vec());
            found.extend(beside);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn what_is_at_one_position_is_listed_together() {
        let mut ids = Ids::default();
        let hashes = [1 << 10, (1 << 10) + 1, (1 << 10) + 63, (1 << 10) + 64, u64::MAX];
        for (hash, row) in hashes.into_iter().zip(0..) {
            ids.stripes[stripe_of(hash)].insert_unique(
                spread(hash),
                Entry { hash, row },
                |entry| spread(entry.hash),
            );
        }
        let listed = |from, count| -> Vec<u32> {
            ids.list_from(from, count, |_| true).into_iter().map(|(_, row)| row).collect()
        };
        assert_eq!(listed(0, 1), [0, 1, 2]);
        assert_eq!(listed(16, 4), [0, 1, 2, 3]);
        assert_eq!(listed(17, 9), [3, 4]);
        assert_eq!(listed(position(u64::MAX), 1), [4]);
        assert_eq!(listed(u64::MAX, 1), [4], "a position beyond the last is the last hash");
    }

    proptest! {
        #[test]
        fn behaves_like_a_map(steps in proptest::collection::vec((0_u8..3, 0_u16..50), 1..300)) {
            let names: Vec<String> = (0..50).map(|nth| format!("id-{nth}")).collect();
            let mut ids = Ids::default();
            let mut rows: Vec<usize> = Vec::new();
            let mut model: HashMap<&str, u32> = HashMap::new();
            for (step, nth) in steps {
                let name = &names[usize::from(nth)];
                let row = u32::try_from(rows.len()).unwrap();
                rows.push(usize::from(nth));
                let id_of = |row: u32| names[rows[row as usize]].as_bytes();
                match step {
                    0 => prop_assert_eq!(
                        ids.insert(name.as_bytes(), row, id_of), model.insert(name, row)),
                    1 => prop_assert_eq!(
                        ids.remove(name.as_bytes(), id_of), model.remove(name.as_str())),
                    _ => prop_assert_eq!(
                        ids.find(name.as_bytes(), id_of), model.get(name.as_str()).copied()),
                }
                prop_assert_eq!(ids.len(), model.len());
            }
            let mut sorted: Vec<_> =
                model.iter().map(|(name, row)| (id_hash(name.as_bytes()), *row)).collect();
            sorted.sort_unstable();
            prop_assert_eq!(ids.list_from(0, usize::MAX, |_| true), sorted.clone());
            for nth in 0..sorted.len() {
                let listed = ids.list_from(position(sorted[nth].0), 3, |_| true);
                prop_assert_eq!(&listed[..], &sorted[nth..sorted.len().min(nth + 3)]);
            }
        }
    }
}
