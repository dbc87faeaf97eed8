//! What each number may be, both ends included.

use std::ops::RangeInclusive;

use engram_shards::limits::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SHARDS_MAX};

pub const SHARDS: RangeInclusive<u64> = 1..=SHARDS_MAX as u64;
/// The upper end is the memory that this process may use.
pub const MEMORY_BYTES_MIN: u64 = 64 << 20;
/// Unless less memory is allowed.
pub const MEMORY_PREFAULT_DEFAULT: u64 = 256 << 20;
pub const SEGMENT_BYTES: RangeInclusive<u64> = SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX;
pub const COMMIT_LINGER_US: RangeInclusive<u64> = 0..=10_000;
pub const COMMIT_FRAMES_MAX: RangeInclusive<u64> = 0..=65_536;
/// Beyond a few batches in flight the disk's queue only adds latency.
pub const COMMITS_IN_FLIGHT: RangeInclusive<u64> = 1..=8;
pub const CONNECTIONS_MAX: RangeInclusive<u64> = 1..=65_536;
pub const DRAIN_TIMEOUT_MS: RangeInclusive<u64> = 0..=600_000;
/// 0 turns the detection off.
pub const STREAM_PATIENCE_MS: RangeInclusive<u64> = 100..=3_600_000;
/// Ten minutes, as far as latencies are told.
pub const SLOWLOG_US: RangeInclusive<u64> = 0..=600_000_000;
/// Each takes some hundred bytes.
pub const SLOWLOG_ENTRIES: RangeInclusive<u64> = 0..=4_096;
pub const TRACE_SAMPLE: RangeInclusive<u64> = 0..=1_000_000_000;
/// A hundred years.
pub const CLOCK_AHEAD_SECONDS: RangeInclusive<u64> = 0..=3_155_760_000;
pub const CRASH_LOOP_STARTS: RangeInclusive<u64> = 0..=1_000;
pub const CRASH_LOOP_SECONDS: RangeInclusive<u64> = 1..=86_400;
/// Entries of `skip_sequences`: each was decided on by somebody.
pub const SKIPPED_SEQUENCES: usize = 1_024;
/// Entries of `allow_uids` and of `allow_gids`.
pub const ALLOWED_IDS: usize = 256;
/// Bytes of a socket's path: the kernel's `sun_path` with its closing NUL is 108.
pub const SOCKET_PATH_BYTES: usize = 107;
/// Between two replays, milliseconds; 0 for none.
pub const DREAM_MS: RangeInclusive<u64> = 0..=3_600_000;
/// Between two looks at gists, likewise.
pub const GIST_MS: RangeInclusive<u64> = 0..=3_600_000;
