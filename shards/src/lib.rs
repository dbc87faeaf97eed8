//! The engine of Engram: one passive state machine per shard.

pub mod arena;
pub mod episode;
pub mod filter;
pub mod format;
pub mod io;
pub mod limits;
pub mod log;
pub mod recall;
