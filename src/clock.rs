//! The clocks that enter the engine.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use engram_shards::io::Clock;
use rustix::time::{ClockId, clock_gettime};

/// The machine's clocks.
pub const CLOCK: Clock = Clock { wall_us, monotonic_ns };

/// How far the wall clock is ahead of the machine's. The engine takes clocks as functions, so it
/// stands here for the process.
static AHEAD_US: AtomicI64 = AtomicI64::new(0);

/// Moves the wall clock of this process ahead of the machine's.
pub fn set_ahead(ahead: Duration) {
    AHEAD_US.store(i64::try_from(ahead.as_micros()).unwrap_or(i64::MAX), Ordering::Relaxed);
}

/// Microseconds since 1970-01-01 UTC.
pub fn wall_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let machine = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
    machine.saturating_add(AHEAD_US.load(Ordering::Relaxed))
}

/// A clock that never goes back and is the same on all threads.
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}
