//! A lane: a bounded queue into which any thread may put something and from which one takes.
//!
//! Its depth is counted in units, so that a large request takes more of it than a small one, and is
//! *reserved before the push*: who got its units finds room in the queue, and nobody else is
//! promised it. Counted afterwards, as some do, it would lag behind what is queued, and a take that
//! overtakes the count of its own push would wrap it around.
//!
//! The queue is crossbeam's `ArrayQueue`, after Vyukov's bounded queue: a slot of its own for each
//! item, so that producers meet only at the index of the tail, and the consumer none of them.
//! `perf/src/bin/engram-queues.rs` has the table that chose it.

use crossbeam_utils::CachePadded;

use crate::sync::{ArrayQueue, AtomicU32, Ordering};

/// See the top of the file.
#[derive(Debug)]
pub struct Lane<T> {
    queue: ArrayQueue<T>,
    /// Units that are reserved: of what is in the queue, on its way into it, or taken and not
    /// released yet. Never above the capacity.
    depth: CachePadded<AtomicU32>,
    capacity: u32,
}

impl<T> Lane<T> {
    /// A lane for so many units, at least one.
    pub fn new(capacity: u32) -> Self {
        assert!(capacity > 0, "a lane without room would refuse everything");
        let queue = ArrayQueue::new(capacity as usize);
        Self { queue, depth: CachePadded::new(AtomicU32::new(0)), capacity }
    }

    /// What something of so many units takes: at least one, and no more than there is, so that it
    /// goes through once the lane is empty.
    pub fn units(&self, units: u32) -> u32 {
        units.clamp(1, self.capacity)
    }

    /// Reserves units for one item; the depth with them, or nothing where there is no room. Who
    /// gets them [pushes](Self::push) or [gives them back](Self::release).
    pub fn reserve(&self, units: u32) -> Option<u32> {
        let units = self.units(units);
        // What was taken before a release is out of the queue for who reserves behind it.
        let reserved = self.depth.fetch_update(Ordering::Acquire, Ordering::Relaxed, |depth| {
            Some(depth + units).filter(|depth| *depth <= self.capacity)
        });
        reserved.ok().map(|before| before + units)
    }

    /// Puts an item in for which units were reserved.
    pub fn push(&self, item: T) {
        let pushed = self.queue.push(item);
        assert!(pushed.is_ok(), "there are as many slots as units");
    }

    /// Takes the first item; its units stay reserved until they are released.
    pub fn pop(&self) -> Option<T> {
        self.queue.pop()
    }

    /// Gives back the units of an item that is no longer in the queue.
    pub fn release(&self, units: u32) {
        let before = self.depth.fetch_sub(self.units(units), Ordering::Release);
        debug_assert!(before >= self.units(units), "more was released than reserved");
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Units that are reserved.
    pub fn depth(&self) -> u32 {
        self.depth.load(Ordering::Relaxed)
    }

    pub fn capacity(&self) -> u32 {
        self.capacity
    }
}

#[cfg(all(test, not(loom)))]
impl<T> Lane<T> {
    /// Where in a lane its parts are: the depth, the queue, the capacity.
    pub(crate) fn parts() -> [std::ops::Range<usize>; 3] {
        use std::mem::offset_of;
        let part = |at: usize, bytes: usize| at..at + bytes;
        [
            part(offset_of!(Self, depth), size_of::<CachePadded<AtomicU32>>()),
            part(offset_of!(Self, queue), size_of::<ArrayQueue<T>>()),
            part(offset_of!(Self, capacity), size_of::<u32>()),
        ]
    }
}
