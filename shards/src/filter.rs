//! Metadata filters.

/// A parsed filter.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {}
