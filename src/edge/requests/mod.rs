//! From JSON to the words of a command.
//!
//! Each operation has a type for what it takes, be it a body or a query: unknown fields are
//! refused, and what is left out is left out of the command. Values are not checked here beyond
//! their kind. The words go through the same parser as those of a client of the socket, which
//! knows every bound and has the sentence for it.

mod conditions;
mod episodes;
mod links;
mod recall;
mod spaces;

use std::borrow::Cow;

use bytes::Bytes;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::DeserializeOwned;

pub use episodes::{
    Erase, Forget, Get, GetMany, Pin, Reinforce, Scan, Store, StoreMany, Supersede, Unpin, Watch,
};
pub use links::{Link, Unlink};
pub use recall::{Complete, Gist, Recall, Spread};
pub use spaces::{
    Consolidate, Info, Latency, LatencyHistogram, Ping, ResetLatency, ResetSlowlog, ResetStats,
    Slowlog, SlowlogLength, Snapshot, SpaceCreate, SpaceDrop, SpaceInfo, SpaceList, Stats,
};

use super::problem::Problem;
use super::vectors::VectorForm;

/// What an operation is about, as its path or its place in a batch says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    pub space: Option<String>,
    pub id: Option<String>,
}

impl Target {
    fn space(&self) -> Result<Bytes, Problem> {
        named("space", self.space.as_ref())
    }

    fn id(&self) -> Result<Bytes, Problem> {
        named("id", self.id.as_ref())
    }
}

fn named(what: &str, value: Option<&String>) -> Result<Bytes, Problem> {
    let missing = || Problem::new("SYNTAX", format!("{what} is missing; say which"));
    value.map(|value| Bytes::copy_from_slice(value.as_bytes())).ok_or_else(missing)
}

/// A command, and how its answer is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub words: Vec<Bytes>,
    pub form: VectorForm,
}

/// What an operation takes.
pub trait Takes: DeserializeOwned + JsonSchema {
    fn ask(self, target: &Target) -> Result<Asked, Problem>;
}

/// Reads what an operation takes and says it as a command.
pub fn ask<T: Takes>(target: &Target, json: &[u8]) -> Result<Asked, Problem> {
    let taken: T = serde_json::from_slice(json).map_err(|error| misread(&error))?;
    taken.ask(target)
}

/// What is wrong with JSON, without the names of types.
pub fn misread(error: &serde_json::Error) -> Problem {
    let mut sentence = error.to_string();
    for (kind, words) in [
        ("u64", "a whole number from 0 on"),
        ("u32", "a whole number from 0 to 4294967295"),
        ("i64", "a whole number"),
        ("f64", "a number"),
        ("f32", "a number"),
    ] {
        sentence = sentence.replace(&format!("expected {kind}"), &format!("expected {words}"));
    }
    Problem::new("SYNTAX", format!("the JSON cannot be used: {sentence}"))
}

/// The words of a command as they come together.
#[derive(Debug)]
struct Words(Vec<Bytes>);

impl Words {
    fn new(name: &'static str) -> Self {
        Self(name.split(' ').map(|word| Bytes::from_static(word.as_bytes())).collect())
    }

    fn word(&mut self, word: impl Word) -> &mut Self {
        self.0.push(word.into_word());
        self
    }

    /// A keyword and its value, if there is one.
    fn option(&mut self, keyword: &'static str, value: Option<impl Word>) -> &mut Self {
        if let Some(value) = value {
            self.word(keyword).word(value);
        }
        self
    }

    /// A keyword, if it is so.
    fn flag(&mut self, keyword: &'static str, is_so: Option<bool>) -> &mut Self {
        if is_so == Some(true) {
            self.word(keyword);
        }
        self
    }

    fn with(&mut self, parts: Parts) -> &mut Self {
        for part in parts.0 {
            self.word("WITH").word(part);
        }
        self
    }

    fn asked(&mut self, form: Option<VectorForm>) -> Asked {
        Asked { words: std::mem::take(&mut self.0), form: form.unwrap_or_default() }
    }
}

/// What can be a word of a command.
trait Word {
    fn into_word(self) -> Bytes;
}

impl Word for Bytes {
    fn into_word(self) -> Bytes {
        self
    }
}

impl Word for String {
    fn into_word(self) -> Bytes {
        self.into()
    }
}

impl Word for &'static str {
    fn into_word(self) -> Bytes {
        Bytes::from_static(self.as_bytes())
    }
}

impl Word for u64 {
    fn into_word(self) -> Bytes {
        self.to_string().into()
    }
}

impl Word for i64 {
    fn into_word(self) -> Bytes {
        self.to_string().into()
    }
}

impl Word for f64 {
    fn into_word(self) -> Bytes {
        // JSON has no others.
        zmij::Buffer::new().format(self).to_owned().into()
    }
}

impl Word for Box<serde_json::value::RawValue> {
    fn into_word(self) -> Bytes {
        Box::<str>::from(self).into_string().into()
    }
}

/// A number or a word; in a query all values are text.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged, expecting = "expected a number or text")]
enum Scalar {
    Whole(i64),
    Large(u64),
    Number(f64),
    Text(String),
}

impl Word for Scalar {
    fn into_word(self) -> Bytes {
        match self {
            Self::Whole(number) => number.into_word(),
            Self::Large(number) => number.into_word(),
            Self::Number(number) => number.into_word(),
            Self::Text(text) => text.into_word(),
        }
    }
}

/// Yes or no; in a query that is text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "expected true or false")]
enum Switch {
    Bool(bool),
    Text(SwitchText),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SwitchText {
    True,
    False,
}

impl Switch {
    fn is_on(self) -> bool {
        matches!(self, Self::Bool(true) | Self::Text(SwitchText::True))
    }
}

/// Parts of an episode: a list, or text with commas between them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "PartsText")]
struct Parts(Vec<String>);

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a list of text, vec, meta, links, strength, belief or why")]
enum PartsText {
    List(Vec<String>),
    Text(String),
}

impl From<PartsText> for Parts {
    fn from(parts: PartsText) -> Self {
        match parts {
            PartsText::List(parts) => Self(parts),
            PartsText::Text(text) => {
                Self(text.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect())
            }
        }
    }
}

/// What [`Parts`] may be of an episode that is read, of one that was found, and of a gist.
struct ReadParts;
struct FoundParts;
struct GistParts;

impl JsonSchema for GistParts {
    fn schema_name() -> Cow<'static, str> {
        "GistParts".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        parts_schema(&["text", "vec"])
    }
}

impl JsonSchema for ReadParts {
    fn schema_name() -> Cow<'static, str> {
        "ReadParts".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        parts_schema(&["text", "vec", "meta", "links", "strength"])
    }
}

impl JsonSchema for FoundParts {
    fn schema_name() -> Cow<'static, str> {
        "FoundParts".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        parts_schema(&["text", "vec", "meta", "links", "strength", "belief", "why"])
    }
}

fn parts_schema(parts: &[&str]) -> Schema {
    json_schema!({
        "description": "Parts that the answer is to have.",
        "type": "array",
        "items": { "type": "string", "enum": parts },
        "uniqueItems": true,
    })
}

#[cfg(test)]
mod tests;
