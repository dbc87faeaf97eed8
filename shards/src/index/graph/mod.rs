//! The graph segment (draft).

pub mod build;
pub mod page;
pub mod search;
