//! A list that is added to without a branch.

use std::ops::Deref;

/// Numbers in the order in which they came.
///
/// Whether a node is new to a list can't be foretold, and a branch that is guessed wrongly costs
/// more than all else that is done for a link. So whoever adds many numbers gets room for all of
/// them, writes each to the next free slot, and moves on only past those that count.
#[derive(Debug, Default)]
pub(super) struct List {
    slots: Vec<u32>,
    len: usize,
}

impl List {
    pub fn push(&mut self, number: u32) {
        self.room(1)[0] = number;
        self.advance(1);
    }

    /// Free slots, at least so many.
    #[inline]
    pub fn room(&mut self, count: usize) -> &mut [u32] {
        if self.slots.len() < self.len + count {
            self.grow(count);
        }
        &mut self.slots[self.len..]
    }

    #[cold]
    fn grow(&mut self, count: usize) {
        self.slots.resize((self.len + count).next_power_of_two().max(64), 0);
    }

    /// Takes the first free slots in.
    #[inline]
    pub fn advance(&mut self, count: usize) {
        self.len += count;
        debug_assert!(self.len <= self.slots.len());
    }

    pub fn clear(&mut self) {
        self.len = 0;
    }

    pub fn bytes(&self) -> usize {
        self.slots.len() * size_of::<u32>()
    }
}

impl Deref for List {
    type Target = [u32];

    #[inline]
    fn deref(&self) -> &[u32] {
        &self.slots[..self.len]
    }
}
