//! The nearest candidates of every node, gathered from leaves that overlap.
//!
//! A pool takes what it is offered at its end; when it is full it is sorted, candidates that came
//! twice go, and the farther part is cut off. That costs a constant per offer. What is not below a
//! full pool's bound is not offered at all.

use std::io;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::arena::{Stretch, Zeroed};

/// Candidates that a pool takes beyond its capacity before it is cut.
const SLACK: usize = 64;

/// A squared distance and a node, in one word whose order is that of the distances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
pub(super) struct Candidate(u64);

impl Candidate {
    /// Rounding may leave the distance of nearly equal vectors negative; it counts as zero.
    #[inline]
    pub(super) fn new(distance: f32, node: u32) -> Self {
        Self(u64::from(distance.max(0.0).to_bits()) << 32 | u64::from(node))
    }

    #[inline]
    pub(super) fn distance(self) -> f32 {
        f32::from_bits((self.0 >> 32) as u32)
    }

    #[inline]
    pub(super) fn node(self) -> u32 {
        self.0 as u32
    }
}

/// See the top of the file.
#[derive(Debug)]
pub(super) struct Pools {
    capacity: usize,
    counts: Vec<u8>,
    bounds: Vec<f32>,
    candidates: Zeroed<Candidate>,
}

impl Pools {
    pub(super) fn new(nodes: usize, capacity: usize) -> io::Result<Self> {
        assert!(capacity + SLACK <= usize::from(u8::MAX), "{capacity} candidates");
        let (counts, bounds) = (vec![0; nodes], vec![f32::INFINITY; nodes]);
        let candidates = Zeroed::new(nodes * (capacity + SLACK))?;
        Ok(Self { capacity, counts, bounds, candidates })
    }

    pub(super) fn chunks(&self) -> usize {
        self.candidates.chunks()
    }

    /// The next chunk of memory that nobody was asked to bring in.
    pub(super) fn next_chunk(&mut self) -> Option<Stretch> {
        self.candidates.next_chunk()
    }

    /// Gives some memory back, when the pools are not needed any more; whether that was all.
    pub(super) fn release_some(&mut self) -> bool {
        self.candidates.release_some()
    }

    /// What an offer to this node must stay below.
    #[inline]
    pub(super) fn bound(&self, of: u32) -> f32 {
        self.bounds[of as usize]
    }

    #[inline]
    pub(super) fn offer(&mut self, to: u32, candidate: Candidate) {
        let owner = to as usize;
        let width = self.capacity + SLACK;
        let count = usize::from(self.counts[owner]);
        self.candidates[owner * width + count] = candidate;
        self.counts[owner] += 1;
        if count + 1 == width {
            self.sort(to);
        }
    }

    /// The candidates of a node, nearest first, each once.
    pub(super) fn sort(&mut self, of: u32) -> &[Candidate] {
        let owner = of as usize;
        let width = self.capacity + SLACK;
        let count = usize::from(self.counts[owner]);
        let pool = &mut self.candidates[owner * width..][..count];
        pool.sort_unstable();
        // The same pair has the same distance in every leaf, so it stands side by side.
        let mut kept = 0;
        for nth in 0..count {
            pool[kept] = pool[nth];
            kept += usize::from(nth + 1 == count || pool[nth + 1] != pool[nth]);
        }
        if kept >= self.capacity {
            kept = self.capacity;
            self.bounds[owner] = pool[kept - 1].distance();
        }
        self.counts[owner] = kept as u8;
        &pool[..kept]
    }
}
