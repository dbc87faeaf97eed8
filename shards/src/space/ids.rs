//! From an id to the row of its live episode.
//!
//! The table holds rows and 32 bits of their hash; ids are compared where they lie, in the bodies.
//! It is striped so that growth is paid in small pieces: one stripe of a few thousand entries at a
//! time instead of one pause for millions.

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

const STRIPES: usize = 64;

#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u32,
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

/// Spreads the kept bits over the 64 that the table looks at.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The stripe and the kept bits of an id's hash.
fn place(id: &[u8]) -> (usize, u32) {
    let hash = xxh3_64(id);
    ((hash >> 58) as usize, (hash & 0xffff_ffff) as u32)
}

impl Ids {
    pub fn len(&self) -> usize {
        self.entries
    }

    pub fn find<'a>(&self, id: &[u8], id_of: impl Fn(u32) -> &'a [u8]) -> Option<u32> {
        let (stripe, hash) = place(id);
        let same = |entry: &Entry| entry.hash == hash && id_of(entry.row) == id;
        self.stripes[stripe].find(spread(hash), same).map(|entry| entry.row)
    }

    /// Leads the id to `row`; the row it led to before.
    pub fn insert<'a>(
        &mut self,
        id: &[u8],
        row: u32,
        id_of: impl Fn(u32) -> &'a [u8],
    ) -> Option<u32> {
        let (stripe, hash) = place(id);
        let same = |entry: &Entry| entry.hash == hash && id_of(entry.row) == id;
        let stripe = &mut self.stripes[stripe];
        if let Some(entry) = stripe.find_mut(spread(hash), same) {
            return Some(std::mem::replace(&mut entry.row, row));
        }
        stripe.insert_unique(spread(hash), Entry { hash, row }, |entry| spread(entry.hash));
        self.entries += 1;
        None
    }

    /// Takes the id out; the row it led to.
    pub fn remove<'a>(&mut self, id: &[u8], id_of: impl Fn(u32) -> &'a [u8]) -> Option<u32> {
        let (stripe, hash) = place(id);
        let same = |entry: &Entry| entry.hash == hash && id_of(entry.row) == id;
        let found = self.stripes[stripe].find_entry(spread(hash), same).ok()?;
        self.entries -= 1;
        Some(found.remove().0.row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

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
        }
    }
}
