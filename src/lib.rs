//! The daemon: sockets, protocol, routing, configuration and lifecycle around the engine.
//!
//! | Module | Answers |
//! |---|---|
//! | [`daemon`] | In which order does everything begin and end? |
//! | [`config`] | What did the operator decide? |
//! | [`topology`] | Which core is whose? |
//! | [`acceptor`], [`lobby`] | Who may connect, and who is heard while the logs are replayed? |
//! | [`recovery`], [`starts`] | How far is the start, and is it one of a row that failed? |
//! | [`protocol`] | What do bytes on the socket mean? |
//! | [`server`] | How does a command become an answer? |
//! | [`edge`] | And over HTTP? |
//! | [`runtime`] | Which executor runs all this, and by which rules? |
//! | [`metrics`], [`clock`] | What is measured, and with which clock? |
//! | [`heap`] | When does the allocator change the memory map? |
//!
//! What is deliberately absent: locks between shards, and any knowledge of bytes on disk.

pub mod acceptor;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod edge;
pub mod heap;
pub mod lobby;
pub mod metrics;
pub mod protocol;
pub mod recovery;
pub mod runtime;
pub mod server;
pub mod starts;
pub mod topology;
