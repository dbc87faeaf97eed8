//! The clocks that enter the engine.

use std::time::{SystemTime, UNIX_EPOCH};

use engram_shards::io::Clock;
use rustix::time::{ClockId, clock_gettime};

/// The machine's clocks.
pub const CLOCK: Clock = Clock { wall_us, monotonic_ns };

/// Microseconds since 1970-01-01 UTC.
pub fn wall_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// A clock that never goes back and is the same on all threads.
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}
