//! The shard index (draft essay).

pub mod buckets;
pub mod bytes;
pub mod codes;
pub mod cue;
pub mod graph;
pub mod projection;
pub mod rotation;
pub mod section;
pub mod simd;
pub mod sorted;
