//! What a shard's thread does beside its engine: connections, routing, gathering, lanes.
//!
//! ```text
//! socket ─ connection::read ─ Command ─ route ─┬─ own engine ──────────────┐
//!             ▲    (order, window)             └─ lane ─ peer's engine ─┐  │
//!             └─ connection::write ◄─ replies in order ◄─ gather ◄──────┴──┘
//! ```
//!
//! * [`core`](self::core) owns the engine, the lanes and what waits for an answer; one per shard.
//! * `connection` keeps the order of one connection's commands and replies.
//! * `commands` turns a command into requests to shards and their answers into a reply.
//! * `serve` is the life of a shard: open, reconcile, serve, drain.
//!
//! Everything here runs on the shard's own thread; nothing is shared with other shards but lanes.

mod batch;
mod budget;
mod commands;
mod connection;
mod core;
mod info;
mod notify;
mod request;
mod route;
mod serve;
mod spaces;

pub use connection::{Peer, WINDOW};
pub use info::Report;
pub use request::{Answer, Asked, Request};
pub use route::Route;
pub use serve::{Control, Opened, Permit, Said, ServeError, ShardDisk, ShardStart, run};
