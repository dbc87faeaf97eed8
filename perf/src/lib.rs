//! Benchmarks, latency profiles and probes of the machine's own limits.
//!
//! The probes are the reference lines: what this machine's memory and disk do with no engine in
//! the way. A benchmark that states a ratio measures its probe in the same run, because absolute
//! figures of a shared machine do not travel.

pub mod commit;
pub mod daemon;
pub mod engine_log;
pub mod fan;
pub mod frames;
pub mod graphs;
pub mod http_load;
pub mod huge_pages;
pub mod memory;
pub mod open_loop;
pub mod overload;
pub mod pipe;
pub mod pipeline;
pub mod queue_lanes;
pub mod queue_loads;
pub mod queue_wakes;
pub mod queues;
pub mod random;
pub mod raw_read;
pub mod recovery;
pub mod recovery_store;
pub mod resp;
pub mod spread;
pub mod spread_layouts;
pub mod spread_pool;
pub mod spread_predictions;
pub mod spreads;
pub mod usage;
pub mod vectors;
