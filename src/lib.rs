//! The daemon.

pub mod protocol;
