//! Exact recall.

/// A prepared cue.
#[derive(Debug)]
pub struct Cue;
