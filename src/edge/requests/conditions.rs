//! Which episodes may answer.

use std::collections::BTreeMap;

use engram_shards::limits::TRUST_ENTRIES_MAX;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::Words;

/// Defines a request with conditions besides its own fields: serde cannot refuse unknown fields of
/// a structure that another one is flattened into.
macro_rules! conditional {
    ($(#[$attribute:meta])* pub struct $name:ident { $($own:tt)* }) => {
        $(#[$attribute])*
        pub struct $name {
            $($own)*
            /// From when on, in microseconds since 1970-01-01 UTC.
            since: Option<i64>,
            until: Option<i64>,
            /// What was believed then, in microseconds since 1970-01-01 UTC.
            as_of: Option<i64>,
            /// Also what is archived.
            archived: Option<bool>,
            #[schemars(range(min = 0.0, max = 1.0))]
            min_confidence: Option<f64>,
            /// What the metadata has to satisfy.
            #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
            filter: Option<Box<RawValue>>,
            /// How sure it is at least, discounted by trust: the low end of the interval.
            #[schemars(range(min = 0.0, max = 1.0))]
            min_trust: Option<f64>,
            #[serde(default)]
            trust: Trust,
        }

        impl $name {
            /// Takes the conditions out.
            fn conditions(&mut self) -> Conditions {
                Conditions {
                    since: self.since,
                    until: self.until,
                    as_of: self.as_of,
                    archived: self.archived,
                    min_confidence: self.min_confidence,
                    filter: self.filter.take(),
                    min_trust: self.min_trust,
                    trust: std::mem::take(&mut self.trust),
                }
            }
        }
    };
}

pub(super) use conditional;

/// The conditions of a request.
pub(super) struct Conditions {
    pub(super) since: Option<i64>,
    pub(super) until: Option<i64>,
    pub(super) as_of: Option<i64>,
    pub(super) archived: Option<bool>,
    pub(super) min_confidence: Option<f64>,
    pub(super) filter: Option<Box<RawValue>>,
    pub(super) min_trust: Option<f64>,
    pub(super) trust: Trust,
}

impl Conditions {
    pub(super) fn put(self, words: &mut Words) {
        words.option("SINCE", self.since).option("UNTIL", self.until);
        words.option("ASOF", self.as_of).flag("ARCHIVED", self.archived);
        words.option("MINCONF", self.min_confidence).option("FILTER", self.filter);
        words.option("MINTRUST", self.min_trust);
        self.trust.put(words);
    }
}

/// Whom who asks trusts, how much: 64 of them at most.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "an object with writers, sources, uids and others"
)]
pub(super) struct Trust {
    /// By the name of the writer, each from 0, not at all, to 1, wholly.
    #[schemars(schema_with = "degrees_by_name")]
    writers: BTreeMap<String, f64>,
    /// By the name of the source, in the same way.
    #[schemars(schema_with = "degrees_by_name")]
    sources: BTreeMap<String, f64>,
    /// By the number of the user whose process stored an episode, in the same way.
    #[schemars(schema_with = "degrees_by_user")]
    uids: BTreeMap<u32, f64>,
    /// In those of whom none is named; 1 unless given.
    #[schemars(range(min = 0.0, max = 1.0))]
    others: Option<f64>,
}

fn degrees_by_name(_: &mut SchemaGenerator) -> Schema {
    degrees(&json!({ "minLength": 1, "maxLength": 256 }))
}

fn degrees_by_user(_: &mut SchemaGenerator) -> Schema {
    degrees(&json!({ "pattern": "^[0-9]{1,10}$" }))
}

/// How much somebody with such a name is trusted.
fn degrees(names: &serde_json::Value) -> Schema {
    json_schema!({
        "type": "object",
        "propertyNames": names,
        "maxProperties": TRUST_ENTRIES_MAX,
        "additionalProperties": { "type": "number", "minimum": 0.0, "maximum": 1.0 },
    })
}

impl Trust {
    fn put(self, words: &mut Words) {
        for (keyword, of) in [("WRITER", self.writers), ("SOURCE", self.sources)] {
            for (name, degree) in of {
                words.word("TRUST").word(keyword).word(name).word(degree);
            }
        }
        for (uid, degree) in self.uids {
            words.word("TRUST").word("UID").word(u64::from(uid)).word(degree);
        }
        if let Some(degree) = self.others {
            words.word("TRUST").word("*").word(degree);
        }
    }
}
