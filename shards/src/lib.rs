//! The engine of Engram: one passive state machine per shard.

pub mod episode;
pub mod filter;
pub mod kernels;
pub mod limits;
pub mod recall;
