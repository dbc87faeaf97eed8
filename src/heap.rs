//! How the allocator of the C library asks the kernel for memory.
//!
//! Whoever changes the memory map waits until nobody looks at it, and a worker that brings memory
//! in for a shard looks at it as long as a hypervisor takes to find some: many milliseconds. Left
//! alone, the allocator makes its heaps larger by a few KiB at a time, gives back what is free at
//! their ends, and maps each large block by itself: ten times a second while episodes are stored.
//! So heaps are opened as a whole, nothing of them is given back, and only blocks that no heap has
//! room for are mapped. That costs address space, and the memory that was needed once stays.
#![allow(unsafe_code)]

/// A heap of a thread is no larger.
#[cfg(target_env = "gnu")]
const HEAP_BYTES: i32 = 64 << 20;
/// The largest that the C library takes: half a heap.
#[cfg(target_env = "gnu")]
const MAPPED_BYTES_MIN: i32 = HEAP_BYTES / 2;

/// Sees to it. To be called before there is a second thread; whether the allocator took it.
#[cfg(target_env = "gnu")]
pub fn settle() -> bool {
    let settings = [
        (libc::M_TOP_PAD, HEAP_BYTES),
        (libc::M_TRIM_THRESHOLD, i32::MAX),
        (libc::M_MMAP_THRESHOLD, MAPPED_BYTES_MIN),
    ];
    // SAFETY: it changes numbers of the allocator, and takes the allocator's own lock for that.
    settings.into_iter().all(|(which, value)| unsafe { libc::mallopt(which, value) } == 1)
}

/// Other C libraries have nothing of the kind.
#[cfg(not(target_env = "gnu"))]
pub fn settle() -> bool {
    true
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_allocator_takes_the_settings() {
        assert!(super::settle());
    }
}
