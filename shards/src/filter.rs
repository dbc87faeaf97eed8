//! Metadata filters: which episodes a recall may return, by the JSON object stored with each.
//!
//! A filter is a JSON object in the style known from document stores:
//!
//! ```json
//! {"lang": "en", "year": {"$gte": 2020, "$lt": 2024}, "author.name": {"$in": ["Ada", "Grace"]},
//!  "$or": [{"tags": "draft"}, {"$not": {"reviewed": true}}]}
//! ```
//!
//! Several fields mean *and*. `a.b` is the field `b` of the object `a`. What a field is compared
//! with is a string, a number, a boolean or null.
//!
//! - Values of different types are never equal and never ordered; numbers compare as exact integers
//!   when both are, else as f64; strings are ordered by their UTF-8 bytes.
//! - An array satisfies a comparison when one of its elements does.
//! - Equality with null is also satisfied by a field that is not there.
//! - `$ne`, `$nin` and `$not` are exactly the opposite of what they negate, so a field that is not
//!   there satisfies them.
//! - Of a name that occurs twice in an object the last counts.
//!
//! A filter is compiled once and matched against many rows. Matching makes one pass over the
//! metadata, descends only where a path of the filter leads, skips the rest, and allocates nothing
//! (but for strings and names with escapes): each comparison sets its bit, then the logic reads the
//! bits.

mod compile;
mod evaluate;
mod fields;
mod json;
mod path;
mod scalar;
#[cfg(test)]
pub(crate) mod tests;

use crate::episode::Refusal;
use crate::limits::{FILTER_BYTES_MAX, FILTER_DEPTH_MAX};

pub(crate) use fields::{FieldSink, tell_fields};
pub(crate) use path::name_at;
pub(crate) use scalar::{Number, Scalar, ScalarRef};

/// Comparisons in one filter.
pub const FILTER_COMPARISONS_MAX: usize = 256;

/// A parsed filter.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    condition: Condition,
    /// A trie over the names in the paths; the first node is the metadata object itself.
    nodes: Vec<Node>,
}

/// The logic over the comparisons.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    /// The comparison with this number holds; less than [`FILTER_COMPARISONS_MAX`].
    Holds(usize),
}

/// A place in the metadata.
#[derive(Debug, Clone, PartialEq, Default)]
struct Node {
    /// By name, the index of the node.
    children: Vec<(String, usize)>,
    /// What the value here is compared with, by number.
    comparisons: Vec<(usize, Comparison)>,
    /// The comparisons here and below.
    covers: Truths,
}

/// What one value must satisfy.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Comparison {
    Exists,
    Equals(Scalar),
    In(Vec<Scalar>),
    Greater(Scalar),
    GreaterOrEqual(Scalar),
    Less(Scalar),
    LessOrEqual(Scalar),
}

/// A set of comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Truths([u64; FILTER_COMPARISONS_MAX / 64]);

impl Truths {
    fn insert(&mut self, number: usize) {
        self.0[number / 64] |= 1 << (number % 64);
    }

    fn contains(&self, number: usize) -> bool {
        self.0[number / 64] & (1 << (number % 64)) != 0
    }

    fn remove_all(&mut self, others: &Self) {
        for (word, other) in self.0.iter_mut().zip(others.0) {
            *word &= !other;
        }
    }
}

impl Filter {
    /// Parses a filter; the error says what is wrong with it and what would be right.
    pub fn parse(text: &[u8]) -> Result<Self, Refusal> {
        if text.len() > FILTER_BYTES_MAX {
            return Err(Refusal::TooBig { what: "FILTER", got: text.len(), max: FILTER_BYTES_MAX });
        }
        let json = json::parse(text)
            .map_err(|error| Refusal::Syntax(format!("FILTER is not valid JSON: {error}")))?;
        let depth = json.depth();
        if depth > FILTER_DEPTH_MAX {
            let what = "nesting of FILTER";
            return Err(Refusal::TooBig { what, got: depth, max: FILTER_DEPTH_MAX });
        }
        compile::compile(json)
    }

    /// The logic over the comparisons.
    pub(crate) fn condition(&self) -> &Condition {
        &self.condition
    }

    /// The comparisons by number, each with the names that lead to what it compares.
    pub(crate) fn comparisons(&self) -> Vec<(Vec<&str>, &Comparison)> {
        let mut found = Vec::new();
        let mut places = vec![(0, Vec::new())];
        while let Some((index, path)) = places.pop() {
            let node = &self.nodes[index];
            let own = node.comparisons.iter();
            found.extend(own.map(|(number, comparison)| (*number, (path.clone(), comparison))));
            places.extend(node.children.iter().map(|(name, child)| {
                let path = path.iter().copied().chain([name.as_str()]).collect();
                (*child, path)
            }));
        }
        found.sort_by_key(|(number, _)| *number);
        found.into_iter().map(|(_, comparison)| comparison).collect()
    }

    /// Whether the metadata of an episode satisfies the filter. Empty metadata is an object
    /// without fields; bytes that are no JSON object satisfy no filter.
    pub fn matches(&self, metadata: &[u8]) -> bool {
        self.judge(metadata).unwrap_or(false)
    }

    /// The same; `None` of bytes that are no JSON object.
    pub fn judge(&self, metadata: &[u8]) -> Option<bool> {
        evaluate::judge(self, metadata)
    }
}

/// Checks that metadata is a JSON object that [`Filter::matches`] can read: valid UTF-8, numbers
/// within f64, nested at most 127 deep.
pub fn check_metadata(metadata: &[u8]) -> Result<(), Refusal> {
    json::check_object(metadata).map_err(|error| {
        Refusal::Syntax(format!("metadata must be a JSON object such as {{\"a\": 1}}: {error}"))
    })
}
