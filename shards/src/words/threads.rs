//! Which episodes belong to one conversation, in the order in which they happened.
//!
//! A thread is known by a hash of its name; who reads what was found compares the names themselves.

use std::collections::BTreeMap;
use std::ops::Bound;

use xxhash_rust::xxh3::xxh3_64;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// When an episode happened, and the sequence it was stored with, which decides among equals.
pub type Moment = (i64, u64);

/// The hash of the name of a thread.
pub fn thread_hash(thread: &[u8]) -> u64 {
    xxh3_64(thread)
}

/// The threads of a part in memory.
#[derive(Debug, Default)]
pub struct GrownThreads {
    rows: BTreeMap<(u64, Moment), u32>,
}

/// What an entry takes in a tree that is two thirds full.
const ENTRY_BYTES: usize = 48;

impl GrownThreads {
    pub fn insert(&mut self, thread: &[u8], moment: Moment, row: u32) {
        self.rows.insert((thread_hash(thread), moment), row);
    }

    /// Forgets up to so many rows, once nobody reads any more; whether none is left.
    pub fn release_some(&mut self, rows: usize) -> bool {
        (0..rows).try_for_each(|_| self.rows.pop_first().map(drop));
        self.rows.is_empty()
    }

    /// Rows that have a thread.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    pub fn bytes(&self) -> usize {
        self.rows.len() * ENTRY_BYTES
    }
}

/// An entry of the threads column, whose order is that of threads, moments and rows. Layout in
/// `shards/FORMAT.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ThreadEntry {
    thread: U64,
    row: U32,
    zero: U32,
}

const _: () = assert!(size_of::<ThreadEntry>() == 16);

impl ThreadEntry {
    pub fn new(thread: u64, row: u32) -> Self {
        Self { thread: thread.into(), row: row.into(), zero: 0.into() }
    }

    pub fn row(&self) -> u32 {
        self.row.get()
    }
}

/// Where a row stands from a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Before,
    Behind,
}

/// The threads of a part as a reader sees them.
#[derive(Debug, Clone, Copy)]
pub enum Threads<'a> {
    Grown(&'a GrownThreads),
    Section(&'a [ThreadEntry]),
}

impl Threads<'_> {
    /// Shows the rows of a thread before a moment, the last one first, as long as `take` wants
    /// more; then those behind it, the first one first. `moment_of` tells the moment of a row.
    pub fn around(
        &self,
        thread: u64,
        moment: Moment,
        moment_of: impl Fn(u32) -> Moment,
        mut take: impl FnMut(Side, u32) -> bool,
    ) {
        match self {
            Self::Grown(grown) => {
                let own = |entry: &(&(u64, Moment), &u32)| entry.0.0 == thread;
                let place = (thread, moment);
                let earlier = grown.rows.range(..place).rev().take_while(own);
                let _ = earlier.map(|(_, row)| *row).all(|row| take(Side::Before, row));
                let later = grown.rows.range((Bound::Excluded(place), Bound::Unbounded));
                let _ =
                    later.take_while(own).map(|(_, row)| *row).all(|row| take(Side::Behind, row));
            }
            Self::Section(entries) => {
                let key = |entry: &ThreadEntry| (entry.thread.get(), moment_of(entry.row.get()));
                let own = |entry: &&ThreadEntry| entry.thread.get() == thread;
                let place = (thread, moment);
                let from = entries.partition_point(|entry| key(entry) < place);
                let to = entries.partition_point(|entry| key(entry) <= place);
                let rows = |entry: &ThreadEntry| entry.row.get();
                let earlier = entries[..from].iter().rev().take_while(own);
                let _ = earlier.map(rows).all(|row| take(Side::Before, row));
                let _ = entries[to..]
                    .iter()
                    .take_while(own)
                    .map(rows)
                    .all(|row| take(Side::Behind, row));
            }
        }
    }
}
