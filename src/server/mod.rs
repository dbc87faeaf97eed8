//! What a shard's thread does beside its engine: connections, routing, gathering, lanes.
//!
//! ```text
//! socket ─ connection::read ─ Command ─ route ─┬─ own engine ──────────────┐
//!             ▲    (order, window)             └─ lane ─ peer's engine ─┐  │
//!             └─ connection::write ◄─ replies in order ◄─ gather ◄──────┴──┘
//! ```
//!
//! * [`core`](self::core) owns the engine, the lanes and what waits for an answer; one per shard.
//! * `arrival` is a connection before a shard has it, while the logs are replayed.
//! * `visitor` is a connection that speaks HTTP, on its way to the edge.
//! * `calls` are commands of other threads of this process, the edge above all.
//! * `connection` keeps the order of one connection's commands and replies.
//! * `client` answers what is about the connection alone; here and there.
//! * `commands` turns a command into requests to shards and their answers into a reply.
//! * `watch` sends a connection the news of memory spaces, which `news` tells; `push` queues them.
//! * `observe` takes streams of stores that are acknowledged in ranges.
//! * `links` makes links that are mutual, `spread` drives spreads over the shards of a space.
//! * `jobs` computes recalls and spreads, slice by slice.
//! * `journal` times commands, `timings` tells what it has.
//! * `snapshots` copies the store while it is written to.
//! * `serve` is the life of a shard: open, reconcile, serve, drain.
//!
//! Everything here runs on the shard's own thread; nothing is shared with other shards but lanes.

mod answer;
mod arrival;
mod batch;
mod budget;
mod calls;
mod client;
mod commands;
mod complete;
mod connection;
mod core;
mod dream;
mod gate;
mod gist;
mod inbox;
mod info;
mod jobs;
mod journal;
mod keeping;
mod kept;
mod links;
mod news;
mod notify;
mod observe;
mod offline;
mod origin;
mod outgoing;
mod pace;
mod push;
mod reading;
mod recalled;
mod request;
mod route;
mod serve;
mod share;
mod snapshots;
mod spaces;
mod spread;
mod stamps;
mod storing;
mod timings;
mod visitor;
mod watch;

pub use arrival::Arrival;
pub use calls::{CALLS_WAITING_MAX, Call, Conversation};
pub use client::Peer;
pub use connection::WINDOW;
pub use core::{LANE_UNITS, LaneEnds};
pub use info::Report;
pub use journal::{JournalSettings, Shown, Slow, Spent};
pub use news::{NewsRequest, WATCHES_MAX};
pub use observe::CONNECTION_STREAMS_MAX;
pub use offline::Offline;
pub use request::{Answer, Answered, Asked, Request};
pub use route::Route;
pub use serve::{
    Control, EdgeEnd, Opened, Permit, Said, ServeError, ShardDisk, ShardStart, run, true_spaces,
};
pub use snapshots::Snapshots;
pub use timings::{JournalQuery, JournalTold};
pub use visitor::{EdgeDoor, Visitor};
pub use watch::CONNECTION_WATCHES_MAX;
