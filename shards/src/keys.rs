//! Idempotency keys: the window in which a repeated store is recognised.
//!
//! A key belongs to a memory space and an id. The window keeps the most recent keys by sequence, so
//! a replay of the log rebuilds exactly the same one. Keys are kept as 128-bit hashes: two
//! different ones among a million collide with a probability below 10⁻²⁶.

use std::collections::{HashMap, VecDeque};

use xxhash_rust::xxh3::Xxh3;

use crate::episode::{Confidence, SpaceNumber};
use crate::format::KeyEntry;

/// Keys that a shard remembers.
pub const KEYS_MAX: usize = 1 << 20;
/// The table grows stripe by stripe, not in one pause.
const STRIPES: usize = 64;

/// A key, hashed together with what it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash(u128);

impl KeyHash {
    pub fn new(space: SpaceNumber, id: &[u8], key: &[u8]) -> Self {
        let mut hasher = Xxh3::new();
        hasher.update(&space.0.to_le_bytes());
        hasher.update(&(id.len() as u64).to_le_bytes());
        hasher.update(id);
        hasher.update(key);
        Self(hasher.digest128())
    }

    /// Of an episode, whatever it is.
    pub fn of_episode(space: SpaceNumber, id: &[u8]) -> Self {
        Self::new(space, id, &[])
    }

    /// Of what an episode consists of.
    pub fn of_content(vector: &[u8], text: &[u8]) -> Self {
        let mut hasher = Xxh3::new();
        hasher.update(&(vector.len() as u64).to_le_bytes());
        hasher.update(vector);
        hasher.update(text);
        Self(hasher.digest128())
    }
}

/// What the first store with a key was answered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FirstAnswer {
    pub sequence: u64,
    pub confidence: Confidence,
}

#[derive(Debug)]
pub struct Keys {
    stripes: Box<[HashMap<KeyHash, FirstAnswer>]>,
    /// Keys with the sequences they came with, the oldest first.
    order: VecDeque<(KeyHash, u64)>,
    /// Frames that repeated a key and so changed nothing: the sequence that the key came with, and
    /// the frame's own.
    repeats: Vec<(u64, u64)>,
    keys_max: usize,
}

impl Keys {
    pub fn new(keys_max: usize) -> Self {
        let stripes = (0..STRIPES).map(|_| HashMap::new()).collect();
        Self { stripes, order: VecDeque::new(), repeats: Vec::new(), keys_max }
    }

    fn stripe(&mut self, key: KeyHash) -> &mut HashMap<KeyHash, FirstAnswer> {
        &mut self.stripes[(key.0 % STRIPES as u128) as usize]
    }

    pub fn get(&self, key: KeyHash) -> Option<FirstAnswer> {
        self.stripes[(key.0 % STRIPES as u128) as usize].get(&key).copied()
    }

    /// Remembers a key that is not in the window; the oldest makes room.
    pub fn insert(&mut self, key: KeyHash, answer: FirstAnswer) {
        if self.order.len() == self.keys_max {
            let (oldest, sequence) = self.order.pop_front().expect("the bound is not zero");
            // It may have been taken out and come again since.
            if self.get(oldest).is_some_and(|answer| answer.sequence == sequence) {
                self.stripe(oldest).remove(&oldest);
            }
        }
        self.stripe(key).insert(key, answer);
        self.order.push_back((key, answer.sequence));
    }

    /// Notes a frame that changed nothing because its key had come with `first`.
    pub fn note_repeat(&mut self, first: u64, sequence: u64) {
        self.repeats.push((first, sequence));
    }

    /// The frames that repeated the key which came with a sequence. Without that one they would be
    /// stores: who erases it has to erase them too.
    pub fn repeats_of(&self, first: u64) -> impl Iterator<Item = u64> {
        let own = self.repeats.iter().filter(move |(other, _)| *other == first);
        own.map(|(_, sequence)| *sequence)
    }

    /// Forgets frames that are never replayed again.
    pub fn release_repeats(&mut self, through: u64) {
        self.repeats.retain(|(_, sequence)| *sequence > through);
    }

    /// Takes the key out that came with a sequence, if one did; its place in the window stays until
    /// it is the oldest. Nothing but the window decides: what a consolidation made of the episode
    /// must not.
    pub fn remove(&mut self, sequence: u64) {
        let nth = self.order.partition_point(|(_, other)| *other < sequence);
        let Some(&(key, _)) = self.order.get(nth).filter(|(_, other)| *other == sequence) else {
            return;
        };
        if self.get(key).is_some_and(|answer| answer.sequence == sequence) {
            self.stripe(key).remove(&key);
        }
    }

    /// Up to `count` places of the window whose sequences are behind `after` and not behind
    /// `through`, the oldest first.
    pub fn window(&self, after: u64, through: u64, count: usize) -> Vec<KeyEntry> {
        let first = self.order.partition_point(|(_, sequence)| *sequence <= after);
        let places = self.order.range(first..).take_while(|(_, sequence)| *sequence <= through);
        let entry = |&(key, sequence): &(KeyHash, u64)| {
            let answer = self.get(key).filter(|answer| answer.sequence == sequence);
            KeyEntry {
                hash: key.0,
                sequence,
                confidence: answer.map_or(Confidence::CERTAIN, |answer| answer.confidence),
                is_known: answer.is_some(),
            }
        };
        places.take(count).map(entry).collect()
    }

    /// Continues the window with places that [`window`](Self::window) answered.
    pub fn extend(&mut self, places: Vec<KeyEntry>) {
        for KeyEntry { hash, sequence, confidence, is_known } in places {
            let key = KeyHash(hash);
            match is_known {
                true => self.insert(key, FirstAnswer { sequence, confidence }),
                false => self.order.push_back((key, sequence)),
            }
        }
    }

    /// Keys in the window.
    pub fn count(&self) -> usize {
        self.order.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(sequence: u64) -> FirstAnswer {
        FirstAnswer { sequence, confidence: Confidence::CERTAIN }
    }

    #[test]
    fn the_oldest_key_makes_room() {
        let mut keys = Keys::new(2);
        let hash = |key: &str| KeyHash::new(SpaceNumber(1), b"id", key.as_bytes());
        for (sequence, key) in [(1, "a"), (2, "b"), (3, "c")] {
            keys.insert(hash(key), answer(sequence));
        }
        assert_eq!(keys.get(hash("a")), None);
        assert_eq!(keys.get(hash("b")), Some(answer(2)));
        assert_eq!(keys.get(hash("c")), Some(answer(3)));
        assert_eq!(keys.count(), 2);
    }

    #[test]
    fn a_key_that_was_taken_out_can_come_again() {
        let mut keys = Keys::new(2);
        let hash = |key: &str| KeyHash::new(SpaceNumber(1), b"id", key.as_bytes());
        keys.insert(hash("a"), answer(1));
        keys.remove(1);
        assert_eq!(keys.get(hash("a")), None);
        keys.insert(hash("a"), answer(2));
        keys.remove(1);
        keys.insert(hash("b"), answer(3));
        assert_eq!(keys.get(hash("a")), Some(answer(2)), "the first place was the oldest");
    }

    #[test]
    fn a_key_belongs_to_its_space_and_id() {
        let one = KeyHash::new(SpaceNumber(1), b"ab", b"c");
        assert_ne!(one, KeyHash::new(SpaceNumber(2), b"ab", b"c"));
        assert_ne!(one, KeyHash::new(SpaceNumber(1), b"a", b"bc"));
        assert_eq!(one, KeyHash::new(SpaceNumber(1), b"ab", b"c"));
    }
}
