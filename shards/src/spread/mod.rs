//! Spreading activation: mass goes out from seeds along links, and where it gathers is what is
//! associated with them.
//!
//! | Module | Answers |
//! |---|---|
//! | [`link`] | What is a link, and what are its eight bytes? |
//! | [`csr`], [`verify`](mod@verify) | How do links lie at rest, and are they in order? |
//! | [`graph`] | What is a node, and what are its links now? |
//! | [`operator`] | What does a node do with the mass that comes to it? |
//! | [`push`] | How far does it go, in which order, at what cost? |
//! | [`activations`] | Who got how much, and by which way? |
//! | [`state`] | What is known about a node meanwhile? |
//! | [`workspace`] | Where does the memory for this come from? |
//! | [`exact`] | What would be the answer if nothing were left out? |
//! | [`outlook`], [`predictor`] | How long will a push take, and how far does it get in time? |
//! | [`batching`] | How many edges does it visit before others have their turn? |
//!
//! All of it is computation over slices and lists. What is deliberately absent: ids, episodes,
//! disk, time, and any knowledge of where links came from.

pub mod activations;
pub mod batching;
pub mod csr;
pub mod exact;
mod fit;
pub mod graph;
pub mod link;
mod list;
pub mod operator;
pub mod outlook;
pub mod predictor;
pub(crate) mod prefetch;
pub mod push;
pub mod state;
#[cfg(test)]
mod tests;
pub mod verify;
pub mod workspace;
