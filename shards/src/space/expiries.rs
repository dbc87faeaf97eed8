//! When rows expire, and which of them have.
//!
//! An episode that was stored with a time to live says when it expires, and that never changes.
//! From that moment on nobody sees its row: it is [hidden](super::Deaths::hide) before anything is
//! read, by the clock alone. What the log says comes later: the shard lists such rows by the
//! sequences that they were stored with, a frame ends them, and from then on they are dead like
//! those that were forgotten.
//!
//! A tail has a heap of its rows by when they expire; a section a column in that order, of which so
//! many from the front are over. Rows without a time to live are in neither. A row that was hidden
//! and not ended when a consolidation froze its part is written like any that lives; it is hidden
//! again before the new section is seen.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use zerocopy::FromBytes;

use super::{Section, Space, Tail};
use crate::format::ExpiryBlock;
use crate::format::columns::{ColumnKind, ColumnsError};

/// No row expires.
pub const NEVER: i64 = i64::MAX;

/// The rows of a tail that expire, the soonest on top.
#[derive(Debug, Default)]
pub struct Expiries {
    rows: BinaryHeap<Reverse<(i64, u32)>>,
}

impl Expiries {
    pub(super) fn push(&mut self, expires_at_us: i64, row: u32) {
        self.rows.push(Reverse((expires_at_us, row)));
    }

    /// When the first of them expires.
    fn next_us(&self) -> i64 {
        self.rows.peek().map_or(NEVER, |Reverse((expires_at_us, _))| *expires_at_us)
    }

    /// Takes one out that has expired by some time.
    fn pop(&mut self, now_us: i64) -> Option<u32> {
        let Reverse((expires_at_us, row)) = *self.rows.peek()?;
        if expires_at_us > now_us {
            return None;
        }
        self.rows.pop();
        Some(row)
    }

    /// Memory that they take.
    pub(super) fn bytes(&self) -> u64 {
        (self.rows.len() * size_of::<(i64, u32)>()) as u64
    }
}

impl Tail {
    /// Hides the rows that have expired by some time, and lists them.
    fn expire(&mut self, now_us: i64, expired: &mut VecDeque<u64>) {
        while let Some(row) = self.expiries.pop(now_us) {
            if self.deaths.hide(row) {
                expired.push_back(self.rows.record(row).0.sequence);
            }
        }
    }
}

impl Section {
    fn expiries(&self) -> &[ExpiryBlock] {
        let column = self.opaque(ColumnKind::Expiries).unwrap_or_default();
        <[ExpiryBlock]>::ref_from_bytes(column).unwrap_or_default()
    }

    /// Checks the order in which rows expire, as a whole: a row that is missing would be answered
    /// for ever.
    pub(super) fn open_expiries(&self) -> Result<(), ColumnsError> {
        let (space, kind) = (self.space(), ColumnKind::Expiries);
        let malformed = |what| ColumnsError::Column { space, kind, what };
        if self.try_column(kind, usize::MAX) || !self.is_right(kind) {
            return Err(malformed("a block does not check"));
        }
        let bytes = self.opaque(kind).unwrap_or_default();
        let blocks = <[ExpiryBlock]>::ref_from_bytes(bytes)
            .map_err(|_| malformed("no whole number of rows"))?;
        let is_order = blocks.is_sorted_by(|a, b| a.key() < b.key());
        match is_order && blocks.iter().all(|block| block.row.get() < self.rows()) {
            true => Ok(()),
            false => Err(malformed("it is no order of its rows")),
        }
    }

    fn next_expiry_us(&self) -> i64 {
        self.expiries().get(self.expired).map_or(NEVER, |block| block.expires_at_us.get())
    }

    /// Hides the rows that have expired by some time, and calls `with` for those that were seen
    /// until now.
    fn expire(&mut self, now_us: i64, mut with: impl FnMut(u64)) {
        while self.next_expiry_us() <= now_us
            && let Some(block) = self.expiries().get(self.expired)
        {
            let row = block.row.get();
            self.expired += 1;
            if self.deaths.hide(row) {
                with(self.record(row).sequence);
            }
        }
    }

    /// The same without a word: whoever is to be told was told of the rows' parts before.
    pub(super) fn hide_expired(&mut self, now_us: i64) {
        self.expire(now_us, |_| {});
    }

    /// What the rows say comes to the same order again.
    pub(super) fn verify_expiries(&self, faults: &mut Vec<String>) {
        let own = (0..self.rows()).filter_map(|row| Some((self.record(row).expires_at_us?, row)));
        let mut own: Vec<_> = own.map(|(expires, row)| (expires.get(), row)).collect();
        own.sort_unstable();
        if !self.expiries().iter().map(ExpiryBlock::key).eq(own) {
            faults.push("the order in which rows expire is not that of the records".into());
        }
    }
}

impl Space {
    /// Hides the rows that have expired by some time. The clock may go back; what was hidden stays
    /// so. Answers when the next row expires.
    pub fn expire(&mut self, now_us: i64) -> i64 {
        self.expired_us = self.expired_us.max(now_us);
        let (now_us, expired) = (self.expired_us, &mut self.expired);
        let tails = std::iter::once(&mut self.tail).chain(&mut self.frozen);
        tails.for_each(|tail| tail.expire(now_us, expired));
        for section in &mut self.sections {
            section.expire(now_us, |stored| expired.push_back(stored));
        }
        let tails = std::iter::once(&self.tail).chain(&self.frozen);
        let tails = tails.map(|tail| tail.expiries.next_us());
        let sections = self.sections.iter().map(Section::next_expiry_us);
        tails.chain(sections).min().unwrap_or(NEVER)
    }

    /// Rows that are hidden and wait for a frame to end them: the sequences that they were stored
    /// with, the oldest first.
    pub fn expired(&self) -> &VecDeque<u64> {
        &self.expired
    }

    /// Takes the first so many of these away: a frame that ends them is on its way.
    pub fn take_expired(&mut self, count: usize) {
        self.expired.drain(..count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soonest_comes_first_and_not_before_its_time() {
        let mut expiries = Expiries::default();
        assert_eq!((expiries.next_us(), expiries.pop(i64::MAX)), (NEVER, None));
        for (expires_at_us, row) in [(30, 0), (10, 1), (20, 2), (10, 3)] {
            expiries.push(expires_at_us, row);
        }
        assert_eq!((expiries.next_us(), expiries.bytes()), (10, 64));
        assert_eq!(expiries.pop(9), None);
        let popped: Vec<_> = std::iter::from_fn(|| expiries.pop(20)).collect();
        assert_eq!((popped, expiries.next_us()), (vec![1, 3, 2], 30));
    }
}
