//! What must hold for any bytes that anybody can send or any disk can return.
//!
//! Each target is a plain function of some bytes that returns when everything held and panics with
//! a sentence when something did not. It has no other input: the same bytes do the same.
//!
//! | Target | Bytes become | What must hold |
//! |---|---|---|
//! | [`resp`] | what a socket delivers | pieces make no difference, no length is believed |
//! | [`command`] | the arguments of a command | errors have a code and one line, bounds hold |
//! | [`filter`] | a metadata filter and metadata | it matches or its opposite does |
//! | [`frames`] | a batch and its payloads | what verifies encodes to the same |
//! | [`replay`] | frames with any content | applied or refused, and the same once more |
//! | [`recovery`] | damage to a log | the six promises on top of its file |
//! | [`directory`] | damage to a data directory | the same on real files, under io_uring |
//!
//! Three things run them: libFuzzer (`libfuzzer/`, guided by coverage, needs a nightly toolchain),
//! the runner in `main.rs` (mutations of the corpus from a seed, needs nothing), and the tests in
//! `tests/corpus.rs`, which go through the corpus and a bounded number of mutations.

pub mod command;
pub mod directory;
pub mod filter;
pub mod frames;
mod input;
mod mutate;
pub mod recovery;
pub mod replay;
pub mod resp;

pub use mutate::{Mutator, corpus, corpus_folder};

/// A target by its name.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
}

/// Every target; each has a folder of its name in `corpus/` and a file in `libfuzzer/`.
pub const TARGETS: [Target; 7] = [
    Target { name: "resp", run: resp::run },
    Target { name: "command", run: command::run },
    Target { name: "filter", run: filter::run },
    Target { name: "frames", run: frames::run },
    Target { name: "replay", run: replay::run },
    Target { name: "recovery", run: recovery::run },
    Target { name: "directory", run: directory::run },
];
