//! What bounds the edge. Every one of these is an answer when it is reached, none a wait without
//! end.

use std::time::Duration;

use engram_shards::limits::{DIMENSIONS_MAX, METADATA_BYTES_MAX, TEXT_BYTES_MAX};

/// Requests that are carried out at once, over all connections; one more is told to come again.
pub const REQUESTS_MAX: usize = 256;
/// Connections over TCP; those on the Unix socket count against `connections_max`.
pub const TCP_CONNECTIONS_MAX: usize = 256;
/// Bytes of a request's line and headers, and how many headers there may be.
pub const HEAD_BYTES_MAX: usize = 64 << 10;
pub const HEADERS_MAX: usize = 100;
/// Bytes of a request's body; of one that has many operations in it.
pub const BODY_BYTES_MAX: usize = 8 << 20;
pub const MANY_BODY_BYTES_MAX: usize = 64 << 20;
/// Bytes of all bodies that are kept at once.
pub const BODIES_BYTES_MAX: usize = 256 << 20;
/// Operations of a batch.
pub const OPERATIONS_MAX: usize = 100_000;
/// Operations of a batch that may be under way or answered and not taken by the client.
pub const RESULTS_AHEAD_MAX: usize = 1_000;
/// Watches; the rest of [`REQUESTS_MAX`] is for those who come and go.
pub const WATCHES_MAX: usize = 128;
/// Events of a watch that may be under way: what a shard may send before the client has taken it.
pub const EVENTS_AHEAD_MAX: u64 = 1_000;
/// How long a watch may be silent. Who has gone is noticed by what is written to him.
pub const SILENCE_TIMEOUT: Duration = Duration::from_secs(15);
/// Answers are handed to a connection in pieces of so many bytes.
pub const PIECE_BYTES: usize = 64 << 10;
/// How long a client may take for a request's head, or rest between two requests.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a body may stand still on its way in, and an answer on its way out.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a shard may take to say whether it serves.
pub const HEALTH_TIMEOUT: Duration = Duration::from_secs(1);
/// When to come again, for who found a bound reached.
pub const RETRY_MS: u32 = 50;
/// Bytes of a token.
pub const TOKEN_BYTES_MIN: usize = 16;
pub const TOKEN_BYTES_MAX: usize = 256;

/// Bytes of a component written as a number, and of a byte of text written as an escape.
const COMPONENT_TEXT_BYTES: usize = 20;
const ESCAPE_BYTES: usize = 6;

// The largest episode fits, however it is written.
const _: () = assert!(
    BODY_BYTES_MAX
        >= TEXT_BYTES_MAX * ESCAPE_BYTES
            + DIMENSIONS_MAX * COMPONENT_TEXT_BYTES
            + METADATA_BYTES_MAX
);
const _: () = assert!(WATCHES_MAX <= REQUESTS_MAX / 2);
// A silent watch is no answer that stands still.
const _: () = assert!(SILENCE_TIMEOUT.as_secs() * 2 <= STALL_TIMEOUT.as_secs());
const _: () = assert!(BODIES_BYTES_MAX >= 2 * MANY_BODY_BYTES_MAX);
