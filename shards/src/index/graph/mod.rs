//! A graph of pages: what a [page](page) holds, how graphs are [searched](search) and
//! [built](build).

pub mod build;
pub mod page;
pub mod search;
