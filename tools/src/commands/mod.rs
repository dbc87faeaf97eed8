//! The commands that ask one thing and show the answer.

pub(crate) mod complete;
mod cues;
pub(crate) mod forget;
pub(crate) mod get;
pub(crate) mod gist;
mod hits;
pub(crate) mod link;
pub(crate) mod options;
pub(crate) mod ping;
pub(crate) mod recall;
pub(crate) mod space;
pub(crate) mod spread;
pub(crate) mod stats;
pub(crate) mod store;
pub(crate) mod strength;
pub(crate) mod supersede;
pub(crate) mod timings;
pub(crate) mod topology;
pub(crate) mod watch;
