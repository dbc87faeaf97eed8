//! How requests wait for the one thread that serves them.
//!
//! | Module | Answers |
//! |---|---|
//! | [`lane`] | How do many threads hand work to one, without locks and in bounded memory? |
//! | [`inbox`] | Which of three lanes is served next, and how long may anything wait? |
//! | [`mesh`] | How do shards ask each other, and where do answers find room? |
//!
//! Nothing here blocks and nothing here knows what is asked. A request that finds its lane full is
//! given back to who sent it: memory is bounded because that is, and who is refused learns it at
//! once.

pub mod inbox;
pub mod lane;
pub mod mesh;
mod sync;
