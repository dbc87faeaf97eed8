//! Memory the engine lays out itself: I/O buffers and the arena that rows and bodies live in.
//!
//! All memory mapping of the engine is in this file. A [`Region`] is anonymous memory, zeroed,
//! aligned to a huge page and advised to use them. An [`Arena`] reserves address space for its
//! bound once and hands it out in chunks of one huge page, so pointers never move, growth never
//! copies, and a dropped memory space gives its chunks back to the kernel. One arena belongs to one
//! shard: nothing here is shared between threads.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};

use memmap2::{Advice, MmapMut, MmapOptions};
use zerocopy::FromBytes;

/// One huge page on x86-64 and on aarch64 with 4 KiB base pages.
pub const CHUNK_BYTES: usize = 2 << 20;

/// Anonymous memory of a fixed size, aligned to [`CHUNK_BYTES`].
pub struct Region {
    map: MmapMut,
    from: usize,
    bytes: usize,
}

impl Region {
    /// Reserves `bytes` of zeroed memory; pages are taken from the kernel when first touched.
    pub fn new(bytes: usize) -> io::Result<Self> {
        let map = MmapOptions::new().len(bytes + CHUNK_BYTES).no_reserve_swap().map_anon()?;
        let from = map.as_ptr().align_offset(CHUNK_BYTES);
        // A kernel without huge pages serves the same memory in small ones.
        let _ = map.advise(Advice::HugePage);
        Ok(Self { map, from, bytes })
    }
}

impl Deref for Region {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map[self.from..self.from + self.bytes]
    }
}

impl DerefMut for Region {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.map[self.from..self.from + self.bytes]
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Places memory on a NUMA node before it is first touched.
pub type Binder<'a> = &'a dyn Fn(&mut [u8]);

/// A chunk of an arena. Only the arena that gave it out can open it.
#[derive(Debug, PartialEq, Eq)]
pub struct Chunk(u32);

/// Address space for `chunks_max` chunks, taken one by one.
#[derive(Debug)]
pub struct Arena {
    region: Region,
    chunks_max: u32,
    /// Chunks below this have been given out at least once.
    touched: u32,
    free: Vec<Chunk>,
}

impl Arena {
    /// Reserves address space for `bytes_max`, rounded down to whole chunks but at least one.
    pub fn reserve(bytes_max: u64, bind: Binder<'_>) -> io::Result<Self> {
        let chunks = (bytes_max / CHUNK_BYTES as u64).clamp(1, u64::from(u32::MAX));
        let chunks_max = u32::try_from(chunks).expect("clamped");
        let mut region = Region::new(chunks_max as usize * CHUNK_BYTES)?;
        bind(&mut region);
        Ok(Self { region, chunks_max, touched: 0, free: Vec::new() })
    }

    /// A chunk of zeroes; `None` at the bound.
    pub fn allocate(&mut self) -> Option<Chunk> {
        if let Some(chunk) = self.free.pop() {
            return Some(chunk);
        }
        (self.touched < self.chunks_max).then(|| {
            self.touched += 1;
            Chunk(self.touched - 1)
        })
    }

    /// Takes a chunk back and returns its memory to the kernel.
    pub fn release(&mut self, chunk: Chunk) {
        let at = self.region.from + chunk.0 as usize * CHUNK_BYTES;
        let zeroed = discard(&self.region.map, at, CHUNK_BYTES);
        if zeroed.is_err() {
            self.bytes_mut(&chunk).fill(0);
        }
        self.free.push(chunk);
    }

    pub fn bytes(&self, chunk: &Chunk) -> &[u8] {
        &self.region[chunk.0 as usize * CHUNK_BYTES..][..CHUNK_BYTES]
    }

    pub fn bytes_mut(&mut self, chunk: &Chunk) -> &mut [u8] {
        &mut self.region[chunk.0 as usize * CHUNK_BYTES..][..CHUNK_BYTES]
    }

    pub fn floats(&self, chunk: &Chunk) -> &[f32] {
        <[f32]>::ref_from_bytes(self.bytes(chunk)).expect("chunks are aligned")
    }

    pub fn floats_mut(&mut self, chunk: &Chunk) -> &mut [f32] {
        <[f32]>::mut_from_bytes(self.bytes_mut(chunk)).expect("chunks are aligned")
    }

    /// Chunks that can still be allocated.
    pub fn chunks_left(&self) -> usize {
        (self.chunks_max - self.touched) as usize + self.free.len()
    }

    pub fn chunks_max(&self) -> usize {
        self.chunks_max as usize
    }
}

/// Lets the kernel take the pages back; they read as zeroes afterwards.
#[allow(unsafe_code)]
fn discard(map: &MmapMut, at: usize, bytes: usize) -> io::Result<()> {
    // SAFETY: the map is private and anonymous, so discarded pages read as zeroes, which is a valid
    // value of every type stored in a chunk; the caller holds `&mut` on the arena, so no reference
    // into the range exists.
    unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, at, bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_zeroed_aligned_and_bounded() {
        let mut arena = Arena::reserve(2 * CHUNK_BYTES as u64 + 5, &|_| {}).unwrap();
        let first = arena.allocate().unwrap();
        let second = arena.allocate().unwrap();
        assert_eq!(arena.allocate(), None);
        assert_eq!(arena.bytes(&second).as_ptr().align_offset(CHUNK_BYTES), 0);
        arena.floats_mut(&first)[7] = 1.5;
        assert_eq!(arena.floats(&first)[7], 1.5);
        assert!(arena.bytes(&second).iter().all(|&byte| byte == 0));
        arena.release(first);
        assert_eq!(arena.chunks_left(), 1);
        let again = arena.allocate().unwrap();
        assert!(arena.bytes(&again).iter().all(|&byte| byte == 0), "a released chunk is cleared");
    }

    #[test]
    fn the_binder_sees_the_whole_region_before_it_is_used() {
        let seen = std::cell::Cell::new(0);
        let arena = Arena::reserve(3 * CHUNK_BYTES as u64, &|region| seen.set(region.len()));
        assert_eq!(seen.get(), 3 * CHUNK_BYTES);
        assert_eq!(arena.unwrap().chunks_max(), 3);
    }
}
