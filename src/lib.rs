//! The daemon: sockets, protocol, routing, configuration and lifecycle around the engine.

pub mod config;
pub mod topology;
