//! A list that is added to without a branch.

use std::ops::Deref;

/// Numbers, or turns, in the order in which they came.
///
/// Whether a node is new to a list can't be foretold, and a branch that is guessed wrongly costs
/// more than all else that is done for a link. So whoever adds many numbers gets room for all of
/// them, writes each to the next free slot, and moves on only past those that count.
#[derive(Debug, Default)]
pub(super) struct List<T = u32> {
    slots: Vec<T>,
    len: usize,
}

impl<T: Copy + Default> List<T> {
    pub fn push(&mut self, item: T) {
        self.room(1)[0] = item;
        self.advance(1);
    }

    /// Free slots, at least so many.
    #[inline]
    pub fn room(&mut self, count: usize) -> &mut [T] {
        if self.slots.len() < self.len + count {
            self.grow(count);
        }
        &mut self.slots[self.len..]
    }

    #[cold]
    fn grow(&mut self, count: usize) {
        self.slots.resize((self.len + count).next_power_of_two().max(64), T::default());
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
        self.slots.len() * size_of::<T>()
    }
}

impl<T> Deref for List<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        &self.slots[..self.len]
    }
}
