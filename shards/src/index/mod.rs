//! The shard index (draft essay).

pub mod bytes;
pub mod cue;
pub mod rotation;
pub mod simd;
