//! The daemon: sockets, protocol, routing, configuration and lifecycle around the engine.
//!
//! | Module | Answers |
//! |---|---|
//! | [`daemon`] | In which order does everything begin and end? |
//! | [`config`] | What did the operator decide? |
//! | [`topology`] | Which core is whose? |
//! | [`acceptor`] | Who may connect? |
//! | [`protocol`] | What do bytes on the socket mean? |
//! | [`server`] | How does a command become an answer? |
//! | [`lanes`] | How do shards talk to each other? |
//! | [`runtime`] | Which executor runs all this, and by which rules? |
//! | [`metrics`], [`clock`] | What is measured, and with which clock? |
//!
//! What is deliberately absent: locks between shards, and any knowledge of bytes on disk.

pub mod acceptor;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod lanes;
pub mod metrics;
pub mod protocol;
pub mod runtime;
pub mod server;
pub mod topology;
