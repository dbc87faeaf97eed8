//! The shard index: how the nearest of many vectors are found without comparing all of them.
//!
//! | Module | Answers |
//! |---|---|
//! | [`projection`], [`rotation`] | What points does the index compare? |
//! | [`cue`] | How is a query prepared? |
//! | [`codes`], [`bytes`] | How is a point described in few bytes? |
//! | [`graph`] | How is a large immutable set searched, and built? |
//! | [`buckets`] | How is a large set searched that still grows? |
//! | [`calibration`] | How hard does a graph have to be searched? |
//! | [`section`] | What of this stands in a columns file? |
//! | [`simd`], [`sorted`] | What does all of it compute with? |
//!
//! Nothing here decides what is found: the index proposes rows, and [`crate::recall`] compares
//! their vectors exactly.

pub mod buckets;
pub mod bytes;
pub mod calibration;
pub mod codes;
pub mod cue;
pub mod graph;
pub mod projection;
pub mod rotation;
pub mod section;
pub mod simd;
pub mod sorted;
