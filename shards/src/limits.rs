//! Every bound of the engine in one place, each with the proof that the bounds fit together.
//!
//! Units stand last in the names. A bound that a client can run into is named in
//! `src/protocol/PROTOCOL.md`; the error a client gets names the bound and the value it sent.

/// Components of an embedding: 1 to this many.
pub const DIMENSIONS_MAX: usize = 4096;
/// Bytes of an episode id.
pub const ID_BYTES_MAX: usize = 256;
/// Bytes of an episode's text.
pub const TEXT_BYTES_MAX: usize = 1 << 20;
/// Bytes of an episode's metadata, a JSON object.
pub const METADATA_BYTES_MAX: usize = 64 << 10;
/// Bytes of the name of the thread (conversation, session) an episode belongs to.
pub const THREAD_BYTES_MAX: usize = 256;
/// Bytes of the name of a writer or of a source.
pub const PROVENANCE_BYTES_MAX: usize = 256;
/// Writers and sources that one recall can say it trusts.
pub const TRUST_ENTRIES_MAX: usize = 64;
/// Links given with one store.
pub const LINKS_MAX: usize = 256;
/// Episodes that one store supersedes.
pub const SUPERSEDES_MAX: usize = 64;
/// Links of one episode, however they were made.
pub const EPISODE_LINKS_MAX: usize = 16_384;
/// Bytes of the kind of a link.
pub const LINK_KIND_BYTES_MAX: usize = 64;
/// Bytes of an idempotency key.
pub const KEY_BYTES_MAX: usize = 256;
/// Bytes of the name of a memory space.
pub const SPACE_NAME_BYTES_MAX: usize = 128;
/// Bytes of the label of the embedding model of a memory space.
pub const MODEL_BYTES_MAX: usize = 128;
/// Bytes of the path by which a memory space finds the threads of episodes in their metadata.
pub const THREAD_PATH_BYTES_MAX: usize = 128;
/// Memory spaces of one data directory.
pub const SPACES_MAX: usize = 4096;
/// Shards of one data directory.
pub const SHARDS_MAX: usize = 64;
/// Results of one recall.
pub const RECALL_K_MAX: usize = 4096;
/// Bytes of a question in words.
pub const QUESTION_BYTES_MAX: usize = 64 << 10;
/// Nodes in the beam of a recall.
pub const RECALL_BEAM_MAX: usize = 4096;
/// The share of the nearest episodes that a recall is to find, where it is not said.
pub const RECALL_TARGET_USUAL: f32 = 0.98;
/// Seeds of one spread.
pub const SPREAD_SEEDS_MAX: usize = 256;
/// Links that mass may go along one after the other, where that is bounded at all.
pub const SPREAD_HOPS_MAX: u32 = 32;
/// Edges that one spread visits.
pub const SPREAD_EDGES_MAX: u64 = 1_000_000;
/// Nesting of a metadata filter.
pub const FILTER_DEPTH_MAX: usize = 16;
/// Bytes of a metadata filter.
pub const FILTER_BYTES_MAX: usize = 64 << 10;

/// Smallest and largest Euclidean norm of an embedding. Within them no dot product, squared
/// distance or partial sum of either can overflow an f32 or become NaN (Cauchy–Schwarz:
/// |a·b| ≤ 10³⁶ < 3.4 × 10³⁸), and the inverse of a norm is a normal number.
pub const NORM_MAX: f32 = 1e18;
/// See [`NORM_MAX`]; the lower bound applies to the cosine metric only.
pub const NORM_MIN: f32 = 1e-18;

/// Rows that are judged at once: the width of a row bitmask.
pub const BLOCK_ROWS: usize = 64;
/// A row of floats is padded to a multiple of this: one cache line.
pub const ROW_FLOATS_STEP: usize = 16;

/// Share of the memory in use, or of a lane, from which an answer says `degraded`: what is idle in
/// pools is let go, and a consolidation hurries. What is beyond 1 is refused.
pub const DEGRADED_FROM: f32 = 0.8;

/// Direct I/O and everything on disk is aligned to this.
pub const SECTOR_BYTES: usize = 4096;

/// Bytes of one log batch, its header and padding included. One batch is one write and one flush.
pub const BATCH_BYTES_MAX: usize = 2 << 20;

/// The largest frame that a valid request can produce (fixed parts rounded up).
pub const FRAME_BYTES_MAX: usize = 512
    + DIMENSIONS_MAX * 4
    + ID_BYTES_MAX
    + TEXT_BYTES_MAX
    + METADATA_BYTES_MAX
    + THREAD_BYTES_MAX
    + KEY_BYTES_MAX
    + LINKS_MAX * (16 + ID_BYTES_MAX + LINK_KIND_BYTES_MAX);

/// The smallest and largest log segment.
pub const SEGMENT_BYTES_MIN: u64 = 4 << 20;
/// See [`SEGMENT_BYTES_MIN`].
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;

const _: () = assert!(ROW_FLOATS_STEP * size_of::<f32>() == 64);
// A store can give no more links than an episode may have, and a record counts them in a u16.
const _: () = assert!(LINKS_MAX <= EPISODE_LINKS_MAX && EPISODE_LINKS_MAX <= u16::MAX as usize);
// A row bitmask is a u64.
const _: () = assert!(BLOCK_ROWS == u64::BITS as usize);
// Any valid request fits into an empty batch beside the batch header.
const _: () = assert!(FRAME_BYTES_MAX + SECTOR_BYTES <= BATCH_BYTES_MAX);
// A full batch fits into the smallest segment behind the segment header.
const _: () = assert!((BATCH_BYTES_MAX + SECTOR_BYTES) as u64 <= SEGMENT_BYTES_MIN);
const _: () = assert!(BATCH_BYTES_MAX.is_multiple_of(SECTOR_BYTES));
