//! HTTP, for those who have no client of RESP: curl, a scrape, a page.
//!
//! ```text
//! unix socket ─ first bytes say HTTP ─┐
//! loopback TCP ─ bearer token ────────┴► hyper ─ router ─ JSON to words ─ flume ─► a shard
//!                                          ▲                                        │
//!                                          └─ RESP3 to JSON ◄── chunks of replies ──┘
//! ```
//!
//! The edge is one thread with a runtime of its own, and the only place where there is one. It
//! knows no rule of the store: what is asked over HTTP becomes the words of a command, which a
//! shard takes as it takes those of a socket (`server::calls`), and what the shard answers is
//! written again as JSON. So there is one parser, one set of bounds and one order, and an answer
//! over HTTP is the answer over RESP.
//!
//! | Module | Answers |
//! |---|---|
//! | [`thread`] | How does the edge begin and end, and who comes in? |
//! | [`connection`], [`socket`], [`token`] | Who is at the other end, and what is let in? |
//! | [`service`], [`operations`] | What is at which path? |
//! | [`requests`], [`vectors`] | What does JSON ask for? |
//! | [`shards`], [`answers`] | How is a shard asked, and what does its answer say? |
//! | [`batch`] | How are many operations one request? |
//! | [`watch`] | How are new episodes followed? |
//! | [`metrics`], [`health`] | How is it, for machines? |
//! | [`dashboard`] | How is it, for people? |
//! | [`openapi`], [`schemas`] | What is all that, for programs? |
//! | [`problem`], [`bounds`], [`bodies`] | What can go wrong, and what bounds it? |

mod answers;
mod batch;
mod bodies;
mod bounds;
mod connection;
mod dashboard;
mod health;
mod metrics;
mod openapi;
mod operations;
mod problem;
mod requests;
mod schemas;
mod service;
mod shards;
mod socket;
mod thread;
mod token;
mod vectors;
mod watch;

pub use thread::{Edge, EdgeError};
pub use token::TokenError;
