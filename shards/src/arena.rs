//! Memory the engine lays out itself: I/O buffers and the arena that rows and bodies live in.
//!
//! All memory mapping of the engine is in this file. A [`Region`] is anonymous memory, zeroed,
//! aligned to a huge page and advised to use them. An [`Arena`] reserves address space for its
//! bound once and hands it out in chunks of one huge page, so pointers never move, growth never
//! copies, and a dropped memory space gives its chunks back to the kernel. One arena belongs to one
//! shard: nothing here is shared between threads.
//!
//! A [`Mapped`] shows a file that never changes any more. Its danger: where the disk does not give
//! a page that is not in memory, touching it ends the process (SIGBUS). [`Mapped::populate`] brings
//! pages in and answers with an error instead. What a consolidation has written is brought in
//! before anybody reads it. What a start maps is not: it serves at once, and brings files in when
//! the shard is quiet. Nothing protects from a page that is touched before, or that the kernel has
//! let go again.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut, Range};
use std::os::fd::{AsRawFd, BorrowedFd};

use memmap2::{Advice, Mmap, MmapMut, MmapOptions};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::limits::SPACES_MAX;

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

/// So many values, all zero at first, in huge pages that are taken when they are first touched.
///
/// A large vector takes its pages in one go when it is filled, and gives them back in one go when
/// it is dropped: at a gigabyte each stops the thread for a good part of a second.
#[derive(Debug)]
pub struct Zeroed<T> {
    region: Region,
    len: usize,
    /// Bytes that were touched, and given back.
    touched: usize,
    released: usize,
    of: PhantomData<T>,
}

impl<T: FromBytes + IntoBytes + KnownLayout + Immutable> Zeroed<T> {
    pub fn new(len: usize) -> io::Result<Self> {
        let bytes = (len * size_of::<T>()).next_multiple_of(CHUNK_BYTES);
        Ok(Self { region: Region::new(bytes)?, len, touched: 0, released: 0, of: PhantomData })
    }

    /// Takes one chunk from the kernel; whether all are. Whoever goes on in no order would take
    /// many in a short time, and where a hypervisor has to find the memory first each takes
    /// milliseconds.
    pub fn touch_some(&mut self) -> bool {
        if self.touched < self.region.len() {
            let at = self.region.from + self.touched;
            // An older kernel gives the memory when it is used.
            let _ = self.region.map.advise_range(Advice::PopulateWrite, at, CHUNK_BYTES);
            self.touched += CHUNK_BYTES;
        }
        self.touched == self.region.len()
    }

    /// Gives one chunk back to the kernel, which reads as zeros afterwards; whether all are.
    pub fn release_some(&mut self) -> bool {
        if self.released < self.region.len() {
            // Where the kernel does not take it now, it does when the value is dropped.
            let _ = discard(&self.region.map, self.region.from + self.released, CHUNK_BYTES);
            self.released += CHUNK_BYTES;
        }
        self.released == self.region.len()
    }
}

impl<T: FromBytes + IntoBytes + KnownLayout + Immutable> Deref for Zeroed<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        let bytes = &self.region[..self.len * size_of::<T>()];
        <[T]>::ref_from_bytes(bytes).expect("regions are aligned")
    }
}

impl<T: FromBytes + IntoBytes + KnownLayout + Immutable> DerefMut for Zeroed<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        let bytes = &mut self.region[..self.len * size_of::<T>()];
        <[T]>::mut_from_bytes(bytes).expect("regions are aligned")
    }
}

/// A file in memory, read only, aligned to [`CHUNK_BYTES`] where the kernel can.
pub struct Mapped {
    shown: Shown,
}

enum Shown {
    File(Mmap),
    /// Where files are memory themselves.
    Copy(Region),
}

impl Mapped {
    /// Maps a file that is not empty.
    ///
    /// # Safety
    /// Nobody changes or cuts the file while it is mapped.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn of_file(file: BorrowedFd<'_>) -> io::Result<Self> {
        // SAFETY: the caller's promise is the one that is asked for here.
        let map = unsafe { MmapOptions::new().map(file.as_raw_fd())? };
        // A kernel or file system without huge pages serves the same bytes in small ones.
        let _ = map.advise(Advice::HugePage);
        Ok(Self { shown: Shown::File(map) })
    }

    /// A copy of these bytes, aligned alike.
    pub fn of_bytes(bytes: &[u8]) -> io::Result<Self> {
        let mut region = Region::new(bytes.len())?;
        region.copy_from_slice(bytes);
        Ok(Self { shown: Shown::Copy(region) })
    }

    /// Brings a part in and maps its pages, or says why the disk does not give it. Blocks as long
    /// as the disk takes: whoever serves meanwhile asks for small parts.
    ///
    /// # Panics
    /// When the part is not inside the file.
    pub fn populate(&self, part: Range<usize>) -> io::Result<()> {
        assert!(part.start <= part.end && part.end <= self.len(), "{part:?} is not in the file");
        match &self.shown {
            Shown::File(map) => map.advise_range(Advice::PopulateRead, part.start, part.len()),
            Shown::Copy(_) => Ok(()),
        }
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.shown {
            Shown::File(map) => map,
            Shown::Copy(region) => region,
        }
    }
}

impl fmt::Debug for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapped").field("bytes", &self.len()).finish_non_exhaustive()
    }
}

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

/// Address space for `chunks_max` chunks, taken one by one.
#[derive(Debug)]
pub struct Arena {
    region: Region,
    chunks_max: u32,
    in_use: u32,
    /// Chunks below this have been given out at least once.
    touched: u32,
    free: Vec<Chunk>,
}

impl Arena {
    /// Reserves address space for `bytes_max`, rounded down to whole chunks but at least one.
    pub fn reserve(bytes_max: u64, bind: Binder<'_>) -> io::Result<Self> {
        let chunks = (bytes_max / CHUNK_BYTES as u64).clamp(1, u64::from(u32::MAX / 2));
        let chunks_max = u32::try_from(chunks).expect("clamped");
        let mut region = Region::new((chunks_max + CHUNKS_RESERVED) as usize * CHUNK_BYTES)?;
        bind(&mut region);
        Ok(Self { region, chunks_max, in_use: 0, touched: 0, free: Vec::new() })
    }

    /// Takes the memory of the first `bytes` from the kernel now. The first touch of a page costs
    /// up to microseconds per row, more where a hypervisor takes idle memory away; this pays it
    /// before anybody waits.
    pub fn prefault(&self, bytes: u64) -> io::Result<()> {
        let bytes = usize::try_from(bytes.min(self.bytes_max())).expect("inside the address space");
        self.region.map.advise_range(Advice::PopulateWrite, self.region.from, bytes)
    }

    /// A chunk of zeroes, beyond the bound if need be.
    ///
    /// # Panics
    /// When more than the reserve beyond the bound is asked for; admission asks
    /// [`is_full`](Self::is_full) first, and [`can_grow`](Self::can_grow) guards recovery.
    pub fn allocate_reserved(&mut self) -> Chunk {
        let limit = self.chunks_max + CHUNKS_RESERVED;
        assert!(self.in_use < limit, "the reserve covers everything that can be in flight");
        self.in_use += 1;
        self.free.pop().unwrap_or_else(|| {
            self.touched += 1;
            Chunk(self.touched - 1)
        })
    }

    /// Whether the bound is reached: nothing new may be admitted.
    pub fn is_full(&self) -> bool {
        self.in_use >= self.chunks_max
    }

    /// Whether the chunks that a frame may need can be had, reserve included.
    pub fn can_grow(&self) -> bool {
        self.in_use + CHUNKS_PER_FRAME <= self.chunks_max + CHUNKS_RESERVED
    }

    /// Takes a chunk back and returns its memory to the kernel.
    pub fn release(&mut self, chunk: Chunk) {
        let at = self.region.from + chunk.0 as usize * CHUNK_BYTES;
        let zeroed = discard(&self.region.map, at, CHUNK_BYTES);
        if zeroed.is_err() {
            self.bytes_mut(&chunk).fill(0);
        }
        self.in_use -= 1;
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

    pub fn bytes_in_use(&self) -> u64 {
        u64::from(self.in_use) * CHUNK_BYTES as u64
    }

    pub fn bytes_max(&self) -> u64 {
        u64::from(self.chunks_max) * CHUNK_BYTES as u64
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
    fn chunks_are_zeroed_aligned_and_counted() {
        let mut arena = Arena::reserve(2 * CHUNK_BYTES as u64 + 5, &|_| {}).unwrap();
        let first = arena.allocate_reserved();
        assert!(!arena.is_full());
        let second = arena.allocate_reserved();
        assert!(arena.is_full() && arena.can_grow());
        assert_eq!(arena.bytes(&second).as_ptr().align_offset(CHUNK_BYTES), 0);
        arena.floats_mut(&first)[7] = 1.5;
        assert_eq!(arena.floats(&first)[7], 1.5);
        assert!(arena.bytes(&second).iter().all(|&byte| byte == 0));
        arena.release(first);
        assert_eq!(arena.bytes_in_use(), CHUNK_BYTES as u64);
        let again = arena.allocate_reserved();
        assert!(arena.bytes(&again).iter().all(|&byte| byte == 0), "a released chunk is cleared");
    }

    #[test]
    fn zeroed_values_are_given_back_chunk_by_chunk() {
        let mut values = Zeroed::<u64>::new(CHUNK_BYTES / 8 + 3).unwrap();
        assert_eq!(values.len(), CHUNK_BYTES / 8 + 3);
        assert!(!values.touch_some() && values.touch_some() && values.touch_some());
        assert!(values.iter().all(|value| *value == 0));
        values.fill(7);
        assert!(!values.release_some());
        assert_eq!((values[0], *values.last().unwrap()), (0, 7));
        assert!(values.release_some() && values.release_some());
        assert!(values.iter().all(|value| *value == 0));
        let mut none = Zeroed::<u8>::new(0).unwrap();
        assert!(none.is_empty() && none.release_some());
    }

    #[test]
    fn prefaulted_memory_is_still_zero_and_clamped_to_the_bound() {
        let mut arena = Arena::reserve(CHUNK_BYTES as u64, &|_| {}).unwrap();
        arena.prefault(u64::MAX).unwrap();
        let chunk = arena.allocate_reserved();
        assert!(arena.bytes(&chunk).iter().all(|&byte| byte == 0));
    }

    #[test]
    fn the_reserve_is_bounded() {
        let mut arena = Arena::reserve(CHUNK_BYTES as u64, &|_| {}).unwrap();
        for _ in 0..CHUNKS_RESERVED - 2 {
            assert!(arena.can_grow());
            arena.allocate_reserved();
        }
        assert!(!arena.can_grow(), "a frame may need four");
    }

    #[test]
    fn the_binder_sees_the_whole_region_before_it_is_used() {
        let seen = std::cell::Cell::new(0);
        let arena = Arena::reserve(3 * CHUNK_BYTES as u64, &|region| seen.set(region.len()));
        assert!(seen.get() > 3 * CHUNK_BYTES);
        assert_eq!(arena.unwrap().bytes_max(), 3 * CHUNK_BYTES as u64);
    }
}
