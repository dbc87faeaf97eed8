//! Which episodes belong to one conversation, in the order in which they happened.
//!
//! A thread is known by a hash of its name; who reads what was found compares the names themselves.

use std::collections::BTreeMap;
use std::ops::Bound;

use xxhash_rust::xxh3::xxh3_64;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// When an episode happened; among equals when it was recorded, which is the same on all shards,
/// and then the sequence that its shard stored it with.
pub type Moment = (i64, i64, u64);

/// The hash of the name of a thread.
pub fn thread_hash(thread: &[u8]) -> u64 {
    xxh3_64(thread)
}

/// The threads of a part in memory.
#[derive(Debug, Default)]
pub struct GrownThreads {
    rows: BTreeMap<(u64, Moment), u32>,
}

/// How far from a guess an entry is looked for first.
const NEAR_ENTRIES: usize = 64;
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

/// The entries of a thread. Hashes are spread evenly, so the first of them is not far from where it
/// would be if they were so exactly: interpolation search (Perl, Itai and Avni 1978).
pub(super) fn entries_of(entries: &[ThreadEntry], thread: u64) -> &[ThreadEntry] {
    let is_before = |entry: &ThreadEntry| entry.thread.get() < thread;
    let guess = ((u128::from(thread) * entries.len() as u128) >> u64::BITS) as usize;
    let (mut low, mut high, mut step) = (guess, guess, NEAR_ENTRIES);
    while low > 0 && !is_before(&entries[low - 1]) {
        low = low.saturating_sub(step);
        step *= 2;
    }
    step = NEAR_ENTRIES;
    while high < entries.len() && is_before(&entries[high]) {
        high = (high + step).min(entries.len());
        step *= 2;
    }
    let own = &entries[low + entries[low..high].partition_point(is_before)..];
    let mut until = own.len().min(NEAR_ENTRIES);
    while until < own.len() && own[until].thread.get() == thread {
        until = own.len().min(until * 2);
    }
    &own[..own[..until].partition_point(|entry| entry.thread.get() == thread)]
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
                // Moments are looked up, so only those of the thread itself.
                let own = entries_of(entries, thread);
                let rows = |entry: &ThreadEntry| entry.row.get();
                let from = own.partition_point(|entry| moment_of(rows(entry)) < moment);
                let behind = &own[from..];
                let to = behind.iter().take_while(|entry| moment_of(rows(entry)) == moment).count();
                let _ = own[..from].iter().rev().map(rows).all(|row| take(Side::Before, row));
                let _ = behind[to..].iter().map(rows).all(|row| take(Side::Behind, row));
            }
        }
    }
}
