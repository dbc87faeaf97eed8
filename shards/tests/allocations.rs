//! How often the allocator is asked on the way of an episode and of a recall: what they need comes
//! from arenas and from what was made before.

#![allow(unsafe_code)]

mod bench;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bench::Bench;
use engram_shards::episode::{Metric, StoreRequest};

thread_local! {
    /// Blocks that this thread has asked for.
    static TAKEN: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

fn count() {
    // A thread that ends has no counter any more.
    let _ = TAKEN.try_with(|taken| taken.set(taken.get() + 1));
}

// SAFETY: every call is handed on as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What was done, and how many blocks it asked for.
fn counted<T>(what: impl FnOnce() -> T) -> (T, u64) {
    let before = TAKEN.get();
    let done = what();
    (done, TAKEN.get() - before)
}

/// Stores these; blocks that were asked for to admit them, and to keep them in memory.
fn store_all(bench: &mut Bench, requests: &[StoreRequest]) -> [u64; 2] {
    let (mut admitting, mut keeping) = (0, 0);
    let mut effects = Vec::with_capacity(2 * AT_ONCE);
    for group in requests.chunks(AT_ONCE) {
        for request in group {
            let ticket = bench.ticket();
            let (admitted, blocks) = counted(|| bench.shard.store(ticket, request));
            assert_eq!(admitted, Ok(None));
            admitting += blocks;
        }
        bench.shard.pump();
        keeping += counted(|| bench.shard.poll(&mut effects)).1;
        assert!(effects.len() >= group.len());
        effects.clear();
    }
    [admitting, keeping]
}

/// Stores that are in one batch of the log.
const AT_ONCE: usize = 64;
const EPISODES: usize = 16_384;

#[test]
fn episodes_ask_for_no_block_each_while_they_are_stored() {
    let mut bench = Bench::new(Metric::Cosine);
    let requests: Vec<StoreRequest> = (0..2 * EPISODES)
        .map(|nth| {
            let vector = bench.vector();
            bench.request(&format!("episode-{nth}"), &vector, "what was said".into())
        })
        .collect();
    let (first, second) = requests.split_at(EPISODES);
    store_all(&mut bench, first);
    let [admitting, keeping] = store_all(&mut bench, second);
    println!("{EPISODES} episodes: {admitting} blocks to admit them, {keeping} to keep them");
    assert!(admitting * 100 < EPISODES as u64, "{admitting} blocks");
    assert!(keeping * 4 < EPISODES as u64, "{keeping} blocks");
}
