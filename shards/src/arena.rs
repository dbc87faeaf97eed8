//! Memory the engine lays out itself: I/O buffers, the arena that rows and bodies live in, files.
//!
//! All memory mapping of the engine is in this file. A [`Region`] is anonymous memory, zeroed,
//! aligned to a huge page and advised to use them. An [`Arena`] reserves address space for its
//! bound once and hands it out in chunks of one huge page, so pointers never move and growth never
//! copies. One arena belongs to one shard: nothing here is shared between threads.
//!
//! The first touch of a huge page stops the thread until there is memory behind it: for a tenth of
//! a millisecond where the kernel has some, for many milliseconds where a hypervisor has to find it
//! first. A [`Stretch`] is memory that somebody else is to touch for its owner, a worker of the
//! kernel ([`Io::bring_in`](crate::io::Io::bring_in)). It keeps the memory mapped, whatever becomes
//! of the owner meanwhile, and gives no access to it.
//!
//! A [`Mapped`] shows a file that never changes any more. Its danger: where the disk does not give
//! a page that is not in memory, touching it ends the process (SIGBUS). [`Mapped::populate`] brings
//! pages in and answers with an error instead. What a consolidation has written is brought in
//! before anybody reads it. What a start maps is not: it serves at once, and brings files in when
//! the shard is quiet. Nothing protects from a page that is touched before, or that the kernel has
//! let go again.

mod chunks;

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut, Range};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use memmap2::{Advice, MmapOptions, MmapRaw, UncheckedAdvice};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use chunks::{Arena, Binder, Chunk, KEPT_PART};

/// One huge page on x86-64 and on aarch64 with 4 KiB base pages.
pub const CHUNK_BYTES: usize = 2 << 20;

/// Anonymous memory of a fixed size, aligned to [`CHUNK_BYTES`].
pub struct Region {
    /// Nobody else reads or writes it; stretches only keep it mapped.
    map: Arc<MmapRaw>,
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
        Ok(Self { map: Arc::new(map.into()), from, bytes })
    }

    /// A part of it, for somebody to touch.
    ///
    /// # Panics
    /// When the part is not inside the region.
    pub fn stretch(&self, part: Range<usize>) -> Stretch {
        assert!(part.start <= part.end && part.end <= self.bytes, "{part:?} is not inside");
        let (at, bytes) = (self.from + part.start, part.len());
        Stretch { map: Arc::clone(&self.map), at, bytes, advice: Advice::PopulateWrite }
    }

    /// Lets the kernel take the pages of a part back; they read as zeroes afterwards.
    ///
    /// # Panics
    /// When the part is not inside the region.
    #[allow(unsafe_code)]
    fn discard(&mut self, part: Range<usize>) -> io::Result<()> {
        assert!(part.start <= part.end && part.end <= self.bytes, "{part:?} is not inside");
        let (at, bytes) = (self.from + part.start, part.len());
        // SAFETY: the map is private and anonymous, so discarded pages read as zeroes, which are
        // valid bytes; the caller holds `&mut` on the region, so no reference into it exists.
        unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, at, bytes) }
    }
}

impl Deref for Region {
    type Target = [u8];

    #[inline]
    #[allow(unsafe_code)]
    fn deref(&self) -> &[u8] {
        // SAFETY: the map is `from + bytes` long at least, zeroed by the kernel, and mapped as long
        // as it is held here. This region is the only access to it.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(self.from), self.bytes) }
    }
}

impl DerefMut for Region {
    #[inline]
    #[allow(unsafe_code)]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; and whoever has `&mut` on the region is the only one who looks.
        unsafe { std::slice::from_raw_parts_mut(self.map.as_mut_ptr().add(self.from), self.bytes) }
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Memory that is to be touched. Touching changes nothing that is in it.
pub struct Stretch {
    map: Arc<MmapRaw>,
    at: usize,
    bytes: usize,
    advice: Advice,
}

impl Stretch {
    /// Touches it, on this thread. Where the kernel does not know how to be asked that, the memory
    /// comes when it is used.
    pub fn bring_in(&self) -> io::Result<()> {
        match self.map.advise_range(self.advice, self.at, self.bytes) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            other => other,
        }
    }

    /// What the kernel is to be told: where it is, how long, and `madvise`'s word for touching it.
    pub(crate) fn advice(&self) -> (*const u8, usize, i32) {
        (self.map.as_ptr().wrapping_add(self.at), self.bytes, self.advice as i32)
    }
}

impl fmt::Debug for Stretch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stretch").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// So many values, all zero at first, in huge pages that are brought in and given back piece by
/// piece.
///
/// A large vector takes its pages in one go when it is filled, and gives them back in one go when
/// it is dropped: at a gigabyte each stops the thread for a good part of a second.
#[derive(Debug)]
pub struct Zeroed<T> {
    region: Region,
    len: usize,
    /// Bytes that somebody was asked to touch, and bytes that were given back.
    asked: usize,
    released: usize,
    of: PhantomData<T>,
}

impl<T: FromBytes + IntoBytes + KnownLayout + Immutable> Zeroed<T> {
    pub fn new(len: usize) -> io::Result<Self> {
        let bytes = (len * size_of::<T>()).next_multiple_of(CHUNK_BYTES);
        Ok(Self { region: Region::new(bytes)?, len, asked: 0, released: 0, of: PhantomData })
    }

    /// Chunks that it is made of.
    pub fn chunks(&self) -> usize {
        self.region.len() / CHUNK_BYTES
    }

    /// The next chunk that nobody was asked to bring in, if there is one. Whoever does without gets
    /// the memory when it is first used.
    pub fn next_chunk(&mut self) -> Option<Stretch> {
        let at = self.asked;
        (at < self.region.len()).then(|| {
            self.asked += CHUNK_BYTES;
            self.region.stretch(at..at + CHUNK_BYTES)
        })
    }

    /// Gives one chunk back to the kernel, which reads as zeros afterwards; whether all are.
    pub fn release_some(&mut self) -> bool {
        if self.released < self.region.len() {
            // Where the kernel does not take it now, it does when the value is dropped.
            let _ = self.region.discard(self.released..self.released + CHUNK_BYTES);
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
///
/// When the last descriptor and the last mapping of a removed file go, the kernel lets go of all
/// its pages, in the thread that had them: a tenth of a second for some gigabytes. Whoever serves
/// meanwhile takes the pages out [piece by piece](Self::release_some) and leaves the rest to
/// [`Io::let_go`](crate::io::Io::let_go).
pub struct Mapped {
    shown: Shown,
    /// Bytes that are not mapped any more.
    released: usize,
}

enum Shown {
    /// The descriptor is the last to go.
    File(MmapRaw, OwnedFd),
    /// Where files are memory themselves.
    Copy(Region),
}

impl Mapped {
    /// Maps a file that is not empty.
    ///
    /// # Safety
    /// Nobody changes or cuts the file while it is mapped.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn of_file(file: OwnedFd) -> io::Result<Self> {
        let map = MmapOptions::new().map_raw_read_only(file.as_raw_fd())?;
        // A kernel or file system without huge pages serves the same bytes in small ones.
        let _ = map.advise(Advice::HugePage);
        Ok(Self { shown: Shown::File(map, file), released: 0 })
    }

    /// A copy of these bytes, aligned alike.
    pub fn of_bytes(bytes: &[u8]) -> io::Result<Self> {
        let mut region = Region::new(bytes.len())?;
        region.copy_from_slice(bytes);
        Ok(Self { shown: Shown::Copy(region), released: 0 })
    }

    /// Brings a part in and maps its pages, or says why the disk does not give it. Blocks as long
    /// as the disk takes: whoever serves meanwhile asks for small parts.
    ///
    /// # Panics
    /// When the part is not inside the file.
    pub fn populate(&self, part: Range<usize>) -> io::Result<()> {
        assert!(part.start <= part.end && part.end <= self.len(), "{part:?} is not in the file");
        match &self.shown {
            Shown::File(map, _) => map.advise_range(Advice::PopulateRead, part.start, part.len()),
            Shown::Copy(_) => Ok(()),
        }
    }

    /// Takes one piece of the file out of the process's memory, when nobody looks at it any more;
    /// whether that was the last.
    pub fn release_some(&mut self) -> bool {
        let part = self.released..self.len().min(self.released + CHUNK_BYTES);
        self.released = part.end;
        match &mut self.shown {
            Shown::File(map, _) => unmap(map, part),
            Shown::Copy(region) => drop(region.discard(part)),
        }
        self.released == self.len()
    }

    /// Unmaps the file; its descriptor, if it has one.
    pub(crate) fn into_file(self) -> Option<OwnedFd> {
        match self.shown {
            Shown::File(_, file) => Some(file),
            Shown::Copy(_) => None,
        }
    }
}

/// Takes a part of a file out of the process's memory. Whoever looks gets it from the file again.
#[allow(unsafe_code)]
fn unmap(map: &mut MmapRaw, part: Range<usize>) {
    // SAFETY: what is read of a file that never changes is the same whenever it is mapped.
    let unmapped =
        unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, part.start, part.len()) };
    // Where that fails, it is unmapped with all the rest.
    let _ = unmapped;
}

impl Deref for Mapped {
    type Target = [u8];

    #[inline]
    #[allow(unsafe_code)]
    fn deref(&self) -> &[u8] {
        match &self.shown {
            // SAFETY: the map is readable, as long as it says, and stays where it is; the promise
            // that was made when it was mapped is that its bytes do not change.
            Shown::File(map, _) => unsafe { std::slice::from_raw_parts(map.as_ptr(), map.len()) },
            Shown::Copy(region) => region,
        }
    }
}

impl fmt::Debug for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapped").field("bytes", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeroed_values_are_brought_in_and_given_back_chunk_by_chunk() {
        let mut values = Zeroed::<u64>::new(CHUNK_BYTES / 8 + 3).unwrap();
        assert_eq!((values.len(), values.chunks()), (CHUNK_BYTES / 8 + 3, 2));
        values[1] = 5;
        let stretches: Vec<_> = std::iter::from_fn(|| values.next_chunk()).collect();
        assert_eq!(stretches.len(), 2);
        stretches.iter().for_each(|stretch| stretch.bring_in().unwrap());
        assert_eq!(values[1], 5, "touching changes nothing");
        assert!(values[2..].iter().all(|value| *value == 0));
        values.fill(7);
        assert!(!values.release_some());
        assert_eq!((values[0], *values.last().unwrap()), (0, 7));
        assert!(values.release_some() && values.release_some());
        assert!(values.iter().all(|value| *value == 0));
        let mut none = Zeroed::<u8>::new(0).unwrap();
        assert!(none.is_empty() && none.next_chunk().is_none() && none.release_some());
    }

    #[test]
    fn a_stretch_outlives_its_region() {
        let region = Region::new(CHUNK_BYTES).unwrap();
        let (stretch, map) = (region.stretch(0..CHUNK_BYTES), Arc::downgrade(&region.map));
        drop(region);
        stretch.bring_in().unwrap();
        assert!(map.upgrade().is_some(), "it keeps the memory mapped");
        drop(stretch);
        assert!(map.upgrade().is_none());
    }

    #[test]
    fn a_file_leaves_memory_piece_by_piece_and_stays_readable() {
        let file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..CHUNK_BYTES + 5000).map(|nth| (nth % 251) as u8).collect();
        std::io::Write::write_all(&mut &file, &bytes).unwrap();
        // SAFETY: nobody else has the file.
        #[allow(unsafe_code)]
        let mut mapped = unsafe { Mapped::of_file(file.into()).unwrap() };
        mapped.populate(0..bytes.len()).unwrap();
        assert!(!mapped.release_some());
        assert!(mapped.release_some() && mapped.release_some());
        assert!(*mapped == bytes[..]);
        assert!(mapped.into_file().is_some());
    }
}
