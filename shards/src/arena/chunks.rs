//! The arena: address space for the rows, codes and bodies of a shard, in chunks of one huge page.
//!
//! Where a hypervisor has to find memory first, the first touch of a huge page takes milliseconds.
//! No store shall pay that, so the arena is ahead of what is asked for:
//!
//! | A chunk is | Means |
//! |---|---|
//! | in use | given out |
//! | ready | taken from the kernel, all zeros: given out next |
//! | kept | given back, with what was in it: cleared in slices, then ready |
//! | on its way | the kernel is at it |
//! | cold | never touched, or the kernel's again |
//!
//! [`Arena::next_ahead`] says what the kernel is to be asked for. How many chunks that is follows
//! from how many were given out between the last ticks. Ready, kept and on their way are together
//! no more than the bound leaves beside what is in use, so the bound is one on memory. Of what is
//! given back, [`KEPT_PART`] of the bound is kept, or as much as was taken at the start.

use std::io;

use zerocopy::FromBytes;

use super::{CHUNK_BYTES, Region, Stretch};
use crate::limits::SPACES_MAX;

/// Places memory on a NUMA node before it is first touched.
pub type Binder<'a> = &'a dyn Fn(&mut [u8]);

/// A chunk of an arena. Only the arena that gave it out can open it.
#[derive(Debug, PartialEq, Eq)]
pub struct Chunk(u32);

/// Chunks beyond the bound that [`Arena::allocate_reserved`] can still give. What was acknowledged
/// must be applied even when the bound was reached meanwhile; what may be in flight is bounded by
/// the log's buffers, and every frame in flight can at most need a new chunk for the vectors, one
/// for the codes, one for the buckets and one for the bodies of its space. This is address space,
/// not memory.
const CHUNKS_RESERVED: u32 = CHUNKS_PER_FRAME * SPACES_MAX as u32 + 64;
const CHUNKS_PER_FRAME: u32 = 4;
/// Chunks that are ready or on their way, at least and at most.
const AHEAD_MIN: u32 = 4;
const AHEAD_MAX: u32 = 64;
/// Of the bound, one part in so many is kept when it is given back.
pub const KEPT_PART: u32 = 8;
/// Bytes that one unit of work clears.
const CLEARED_BYTES: usize = 128 << 10;

/// See the top of the file.
#[derive(Debug)]
pub struct Arena {
    region: Region,
    chunks_max: u32,
    kept_max: u32,
    in_use: u32,
    /// Chunks from here on were never asked of the kernel.
    untouched: u32,
    ready: Vec<Chunk>,
    kept: Vec<Chunk>,
    /// Of the last kept chunk, the bytes that are zero again.
    cleared: usize,
    on_their_way: Vec<Chunk>,
    cold: Vec<Chunk>,
    /// Chunks that were given out since the last tick, and between the two before.
    given: u32,
    given_before: u32,
}

impl Arena {
    /// Reserves address space for `bytes_max`, rounded down to whole chunks but at least one.
    pub fn reserve(bytes_max: u64, bind: Binder<'_>) -> io::Result<Self> {
        let chunks = (bytes_max / CHUNK_BYTES as u64).clamp(1, u64::from(u32::MAX / 2));
        let chunks_max = u32::try_from(chunks).expect("clamped");
        let mut region = Region::new((chunks_max + CHUNKS_RESERVED) as usize * CHUNK_BYTES)?;
        bind(&mut region);
        Ok(Self {
            region,
            chunks_max,
            kept_max: chunks_max / KEPT_PART,
            in_use: 0,
            untouched: 0,
            ready: Vec::new(),
            kept: Vec::new(),
            cleared: 0,
            on_their_way: Vec::new(),
            cold: Vec::new(),
            given: 0,
            given_before: 0,
        })
    }

    /// Takes the memory of the first `bytes` from the kernel now, before anything is given out.
    /// That much is never given back.
    pub fn prefault(&mut self, bytes: u64) -> io::Result<()> {
        assert_eq!(self.untouched, 0, "nothing is given out yet");
        let chunks = bytes.min(self.bytes_max()).div_ceil(CHUNK_BYTES as u64);
        let chunks = u32::try_from(chunks).expect("inside the bound");
        self.region.stretch(0..chunks as usize * CHUNK_BYTES).bring_in()?;
        self.ready.extend((0..chunks).rev().map(Chunk));
        (self.untouched, self.kept_max) = (chunks, self.kept_max.max(chunks));
        Ok(())
    }

    /// A chunk of zeroes, beyond the bound if need be.
    ///
    /// # Panics
    /// When more than the reserve beyond the bound is asked for; admission asks
    /// [`is_full`](Self::is_full) first, and [`can_grow`](Self::can_grow) guards recovery.
    pub fn allocate_reserved(&mut self) -> Chunk {
        assert!(self.in_use < self.limit(), "the reserve covers everything that can be in flight");
        self.in_use += 1;
        self.given += 1;
        if let Some(chunk) = self.ready.pop() {
            return chunk;
        }
        if let Some(chunk) = self.kept.pop() {
            let cleared = std::mem::take(&mut self.cleared);
            self.bytes_mut(&chunk)[cleared..].fill(0);
            return chunk;
        }
        if let Some(chunk) = self.cold.pop() {
            return chunk;
        }
        if self.untouched < self.limit() {
            self.untouched += 1;
            return Chunk(self.untouched - 1);
        }
        // The kernel changes nothing of what is in it.
        self.on_their_way.pop().expect("every chunk that is not in use is somewhere")
    }

    fn limit(&self) -> u32 {
        self.chunks_max + CHUNKS_RESERVED
    }

    /// Chunks that are memory and not in use, or about to be.
    fn spare(&self) -> u32 {
        let spare = self.ready.len() + self.kept.len() + self.on_their_way.len();
        u32::try_from(spare).expect("chunks are numbered by u32")
    }

    /// The next chunk that the kernel is to be asked for, by its number, if any is wanted: it is
    /// ready when [`brought_in`](Self::brought_in) is told so.
    pub fn next_ahead(&mut self) -> Option<(u32, Stretch)> {
        let wanted = (2 * self.given.max(self.given_before)).clamp(AHEAD_MIN, AHEAD_MAX);
        let spare = self.spare();
        if spare >= wanted || self.in_use + spare >= self.chunks_max {
            return None;
        }
        let chunk = self.cold.pop().unwrap_or_else(|| {
            self.untouched += 1;
            Chunk(self.untouched - 1)
        });
        let (number, at) = (chunk.0, place(&chunk));
        self.on_their_way.push(chunk);
        Some((number, self.region.stretch(at..at + CHUNK_BYTES)))
    }

    /// The kernel has done with a chunk. Should it have failed, the memory comes when it is
    /// touched.
    pub fn brought_in(&mut self, number: u32) {
        let nth = self.on_their_way.iter().position(|chunk| chunk.0 == number);
        self.ready.extend(nth.map(|nth| self.on_their_way.swap_remove(nth)));
    }

    /// To be called from time to time, e.g. every 100 ms.
    pub fn tick(&mut self) {
        self.given_before = std::mem::take(&mut self.given);
    }

    /// Whether the bound is reached: nothing new may be admitted.
    pub fn is_full(&self) -> bool {
        self.in_use >= self.chunks_max
    }

    /// Whether the chunks that a frame may need can be had, reserve included.
    pub fn can_grow(&self) -> bool {
        self.in_use + CHUNKS_PER_FRAME <= self.limit()
    }

    /// Takes a chunk back, and keeps it or returns its memory to the kernel.
    pub fn release(&mut self, chunk: Chunk) {
        self.in_use -= 1;
        let spare = self.spare();
        if spare < self.kept_max && self.in_use + spare < self.chunks_max {
            // Behind the one that is being cleared.
            let behind = self.kept.len().saturating_sub(usize::from(self.cleared > 0));
            self.kept.insert(behind, chunk);
            return;
        }
        let at = place(&chunk);
        if self.region.discard(at..at + CHUNK_BYTES).is_err() {
            self.bytes_mut(&chunk).fill(0);
        }
        self.cold.push(chunk);
    }

    /// Does one unit of the work of clearing what was given back; whether nothing is left.
    pub fn clear_some(&mut self) -> bool {
        let Some(chunk) = self.kept.pop() else { return true };
        let until = (self.cleared + CLEARED_BYTES).min(CHUNK_BYTES);
        let from = std::mem::replace(&mut self.cleared, until);
        self.bytes_mut(&chunk)[from..until].fill(0);
        if until < CHUNK_BYTES {
            self.kept.push(chunk);
        } else {
            self.cleared = 0;
            self.ready.push(chunk);
        }
        self.kept.is_empty()
    }

    pub fn bytes(&self, chunk: &Chunk) -> &[u8] {
        &self.region[place(chunk)..][..CHUNK_BYTES]
    }

    pub fn bytes_mut(&mut self, chunk: &Chunk) -> &mut [u8] {
        &mut self.region[place(chunk)..][..CHUNK_BYTES]
    }

    pub fn floats(&self, chunk: &Chunk) -> &[f32] {
        <[f32]>::ref_from_bytes(self.bytes(chunk)).expect("chunks are aligned")
    }

    pub fn floats_mut(&mut self, chunk: &Chunk) -> &mut [f32] {
        <[f32]>::mut_from_bytes(self.bytes_mut(chunk)).expect("chunks are aligned")
    }

    pub fn bytes_in_use(&self) -> u64 {
        u64::from(self.in_use) * CHUNK_BYTES as u64
    }

    pub fn bytes_max(&self) -> u64 {
        u64::from(self.chunks_max) * CHUNK_BYTES as u64
    }
}

fn place(chunk: &Chunk) -> usize {
    chunk.0 as usize * CHUNK_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: u64 = CHUNK_BYTES as u64;

    fn is_zero(arena: &Arena, chunk: &Chunk) -> bool {
        arena.bytes(chunk).iter().all(|&byte| byte == 0)
    }

    /// Asks the kernel for what the arena wants, at once; how many chunks that was.
    fn bring_in(arena: &mut Arena) -> usize {
        let asked = std::iter::from_fn(|| arena.next_ahead()).collect::<Vec<_>>();
        asked.iter().for_each(|(number, stretch)| {
            stretch.bring_in().unwrap();
            arena.brought_in(*number);
        });
        asked.len()
    }

    #[test]
    fn chunks_are_zeroed_aligned_and_counted() {
        let mut arena = Arena::reserve(2 * BYTES + 5, &|_| {}).unwrap();
        let first = arena.allocate_reserved();
        assert!(!arena.is_full());
        let second = arena.allocate_reserved();
        assert!(arena.is_full() && arena.can_grow());
        assert_eq!(arena.bytes(&second).as_ptr().align_offset(CHUNK_BYTES), 0);
        arena.floats_mut(&first)[7] = 1.5;
        assert_eq!(arena.floats(&first)[7], 1.5);
        assert!(is_zero(&arena, &second));
        arena.release(first);
        assert_eq!(arena.bytes_in_use(), BYTES);
        let again = arena.allocate_reserved();
        assert!(is_zero(&arena, &again), "a released chunk is cleared");
    }

    #[test]
    fn a_part_of_what_is_given_back_is_kept_and_cleared_in_slices() {
        let mut arena = Arena::reserve(16 * BYTES, &|_| {}).unwrap();
        let chunks: Vec<_> = (0..4).map(|_| arena.allocate_reserved()).collect();
        for chunk in chunks {
            arena.bytes_mut(&chunk).fill(7);
            arena.release(chunk);
        }
        assert_eq!((arena.kept.len(), arena.cold.len()), (2, 2), "an eighth of sixteen");
        assert!(!arena.clear_some());
        let half_cleared = arena.allocate_reserved();
        assert!(is_zero(&arena, &half_cleared));
        arena.bytes_mut(&half_cleared).fill(7);
        assert!(!arena.clear_some());
        arena.release(half_cleared);
        while !arena.clear_some() {}
        assert_eq!((arena.kept.len(), arena.ready.len()), (0, 2));
        for _ in 0..4 {
            let chunk = arena.allocate_reserved();
            assert!(is_zero(&arena, &chunk));
        }
        assert!(arena.clear_some());
    }

    #[test]
    fn chunks_are_ready_ahead_and_more_of_them_the_more_are_given_out() {
        let mut arena = Arena::reserve(100 * BYTES, &|_| {}).unwrap();
        assert_eq!(bring_in(&mut arena), AHEAD_MIN as usize);
        for _ in 0..10 {
            let chunk = arena.allocate_reserved();
            assert!(is_zero(&arena, &chunk));
        }
        assert_eq!(bring_in(&mut arena), 20);
        arena.tick();
        assert_eq!(bring_in(&mut arena), 0, "those of before the tick count as well");
        arena.tick();
        assert_eq!((bring_in(&mut arena), arena.ready.len()), (0, 20));
        for _ in 0..70 {
            arena.allocate_reserved();
        }
        assert_eq!(bring_in(&mut arena), 20, "what is ahead is inside the bound");
    }

    #[test]
    fn a_chunk_on_its_way_can_be_given_out_when_there_is_no_other() {
        let mut arena = Arena::reserve(AHEAD_MIN.into(), &|_| {}).unwrap();
        let (number, _stretch) = arena.next_ahead().unwrap();
        let chunks: Vec<_> = (0..arena.limit()).map(|_| arena.allocate_reserved()).collect();
        let mut numbers: Vec<_> = chunks.iter().map(|chunk| chunk.0).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), chunks.len(), "each is given out once");
        arena.brought_in(number);
        assert!(arena.ready.is_empty(), "it is in use already");
    }

    #[test]
    fn prefaulted_memory_is_ready_and_clamped_to_the_bound() {
        let mut arena = Arena::reserve(9 * BYTES, &|_| {}).unwrap();
        arena.prefault(u64::MAX).unwrap();
        assert_eq!((arena.ready.len(), bring_in(&mut arena)), (9, 0));
        let chunk = arena.allocate_reserved();
        assert!(is_zero(&arena, &chunk));
        arena.release(chunk);
        assert_eq!((arena.kept.len(), arena.cold.len()), (1, 0), "it is never given back");
    }

    #[test]
    fn the_reserve_is_bounded() {
        let mut arena = Arena::reserve(BYTES, &|_| {}).unwrap();
        for _ in 0..CHUNKS_RESERVED - 2 {
            assert!(arena.can_grow());
            arena.allocate_reserved();
        }
        assert!(!arena.can_grow(), "a frame may need four");
    }

    #[test]
    fn the_binder_sees_the_whole_region_before_it_is_used() {
        let seen = std::cell::Cell::new(0);
        let arena = Arena::reserve(3 * BYTES, &|region| seen.set(region.len()));
        assert!(seen.get() > 3 * CHUNK_BYTES);
        assert_eq!(arena.unwrap().bytes_max(), 3 * BYTES);
    }
}
