//! How far a replay has come: counters that the shard raises and anybody may look at meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};

/// The progress of one log's replay. It promises no more than a figure for people: the counters are
/// read one by one, while the replay goes on.
#[derive(Debug, Default)]
pub struct RecoveryProgress {
    bytes_total: AtomicU64,
    bytes_done: AtomicU64,
    frames_done: AtomicU64,
}

impl RecoveryProgress {
    /// The replay begins; it will look at no more than these bytes.
    pub fn begin(&self, bytes_total: u64) {
        self.bytes_total.store(bytes_total, Ordering::Relaxed);
    }

    /// So many more bytes and frames are done.
    pub fn advance(&self, bytes: u64, frames: u64) {
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
        self.frames_done.fetch_add(frames, Ordering::Relaxed);
    }

    /// There is nothing left to do.
    pub fn complete(&self) {
        self.bytes_done.store(self.bytes_total(), Ordering::Relaxed);
    }

    /// Bytes of the segment files, as far as they can be used; 0 before the replay begins.
    pub fn bytes_total(&self) -> u64 {
        self.bytes_total.load(Ordering::Relaxed)
    }

    pub fn bytes_done(&self) -> u64 {
        self.bytes_done.load(Ordering::Relaxed)
    }

    pub fn frames_done(&self) -> u64 {
        self.frames_done.load(Ordering::Relaxed)
    }
}
