//! The engine of Engram: one passive state machine per shard.
//!
//! | Module | Answers |
//! |---|---|
//! | [`episode`] | What can be asked, and what comes back? |
//! | [`shard`] | What happens to a request? |
//! | [`log`] | When is it durable, and what survives? |
//! | `memory`, [`space`], [`arena`], [`keys`] | Where does an episode live in memory? |
//! | [`links`] | What is it associated with? |
//! | [`recall`], [`kernels`], [`filter`], [`terms`] | How is it found again? |
//! | [`spreading`], [`spread`] | What is associated with it? |
//! | [`completion`] | What would a partial cue be if it were whole? |
//! | [`dream`] | What does offline replay do to associations? |
//! | [`trust`] | How sure of it may who asks be? |
//! | [`gist`] | What do several episodes have in common? |
//! | `eraser` | How do the bytes of an episode leave the log? |
//! | [`store`] | What makes a folder a data directory? |
//! | [`format`] | What do the bytes on disk mean? |
//! | [`io`] | How do time and disk get in? |
//! | [`limits`] | What bounds all this? |
//!
//! What is deliberately absent: threads, locks, sockets, a clock, an async runtime. The log does
//! not know what it logs; nothing here knows the daemon.

pub mod arena;
pub mod completion;
mod consolidation;
pub mod dream;
pub mod episode;
mod eraser;
pub mod filter;
pub mod format;
pub mod gist;
pub mod index;
pub mod inquiry;
pub mod io;
pub mod kernels;
pub mod keys;
pub mod limits;
pub mod links;
pub mod log;
mod memory;
pub mod recall;
pub mod shard;
pub mod space;
pub mod spread;
pub mod spreading;
pub mod store;
pub mod strength;
pub mod terms;
pub mod trust;
pub mod words;
