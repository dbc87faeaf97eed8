//! Memory spaces, and what is about the daemon.

use std::borrow::Cow;

use engram_shards::words::Language;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::recall::FusionWeights;
use super::{Asked, Parts, Scalar, Takes, Target, Words};
use crate::edge::problem::Problem;

/// Takes nothing.
macro_rules! nothing {
    ($($name:ident = $words:literal $(, $part:ident)*;)+) => { $(
        /// Takes nothing.
        #[derive(Debug, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, expecting = "an object without fields")]
        pub struct $name {}

        impl Takes for $name {
            fn ask(self, target: &Target) -> Result<Asked, Problem> {
                let mut words = Words::new($words);
                $( words.word(target.$part()?); )*
                // Not every one of these is about something.
                let _ = target;
                Ok(words.asked(None))
            }
        }
    )+ };
}

nothing! {
    Ping = "PING";
    ResetStats = "CONFIG RESETSTAT";
    SlowlogLength = "EG.SLOWLOG LEN";
    ResetSlowlog = "EG.SLOWLOG RESET";
    SpaceList = "EG.SPACE LIST";
    SpaceInfo = "EG.SPACE INFO", space;
    SpaceDrop = "EG.SPACE DROP", space;
}

/// What a new memory space is to be; it keeps that for life.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object with dim")]
pub struct SpaceCreate {
    /// Dimensions of its vectors.
    #[schemars(range(min = 1, max = 4096))]
    dim: u64,
    /// The model that makes them.
    #[schemars(length(min = 1, max = 128))]
    model: Option<String>,
    #[schemars(extend("enum" = ["cosine", "dot", "l2"]))]
    metric: Option<String>,
    /// Bits of each coordinate in the index.
    #[schemars(extend("enum" = [1, 2, 4]))]
    codes: Option<u64>,
    /// How the number of an episode's links weakens each: `degree`, or a strength.
    #[schemars(with = "Option<FanSchema>")]
    fan: Option<Scalar>,
    /// Episodes with more links than this are inhibited.
    #[schemars(range(min = 1, max = 4_294_967_295_u64))]
    fan_cap: Option<u64>,
    /// How memories fade: `power`, `two`, `none`, or the half-life in seconds.
    #[schemars(with = "Option<DecaySchema>")]
    decay: Option<Scalar>,
    /// Seconds that an episode lives which does not say otherwise, or `none`.
    #[schemars(with = "Option<TtlSchema>")]
    ttl: Option<Scalar>,
    /// Which episodes are archived because they have faded; none unless given.
    archive: Option<FadingPolicy>,
    /// Which episodes are forgotten because they have faded; none unless given.
    forget: Option<FadingPolicy>,
    /// Of its texts: how words are stemmed and which do not count; `english` unless given.
    #[schemars(with = "Option<LanguageSchema>")]
    language: Option<String>,
    /// Of questions that say nothing else.
    weights: Option<FusionWeights>,
    /// Where in the metadata of an episode its thread is that is stored without one: names with
    /// dots between them.
    #[schemars(length(min = 1, max = 128))]
    thread: Option<String>,
    /// How many shards it spans; all unless given.
    #[schemars(range(min = 1, max = 64))]
    shards: Option<u64>,
}

/// What [`SpaceCreate::language`] may be.
struct LanguageSchema;

impl JsonSchema for LanguageSchema {
    fn schema_name() -> Cow<'static, str> {
        "Language".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<&str> = Language::all().map(Language::name).collect();
        json_schema!({ "type": "string", "enum": names })
    }
}

/// What [`SpaceCreate::fan`] may be.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "only its schema is used")]
enum FanSchema {
    Degree(#[schemars(extend("const" = "degree"))] String),
    Strength(#[schemars(range(min = 0.01, max = 8.0))] f64),
}

/// What [`SpaceCreate::decay`] may be.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "only its schema is used")]
enum DecaySchema {
    Model(#[schemars(extend("enum" = ["power", "two", "none"]))] String),
    HalfLife(#[schemars(range(min = 1, max = 4_294_967_295_u64))] u64),
}

/// Which episodes a memory space archives or forgets by itself.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object with below")]
struct FadingPolicy {
    /// A retention.
    #[schemars(range(min = 0.0001, max = 0.9999))]
    below: f64,
    /// Seconds that an episode is kept from being stored, however weak it is.
    #[schemars(range(min = 0, max = 4_294_967_295_u64))]
    after: Option<u64>,
}

/// What a time to live may be.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "only its schema is used")]
pub(super) enum TtlSchema {
    Never(#[schemars(extend("const" = "none"))] String),
    Seconds(#[schemars(range(min = 1, max = 4_294_967_295_u64))] u64),
}

impl Takes for SpaceCreate {
    fn ask(self, target: &Target) -> Result<Asked, Problem> {
        let Self { dim, model, metric, codes, fan, fan_cap, decay, ttl, .. } = self;
        let mut words = Words::new("EG.SPACE CREATE");
        words.word(target.space()?).option("DIM", Some(dim)).option("MODEL", model);
        words.option("METRIC", metric).option("CODES", codes).option("FAN", fan);
        words.option("FANCAP", fan_cap).option("DECAY", decay).option("TTL", ttl);
        for (name, policy) in [("ARCHIVE", self.archive), ("FORGET", self.forget)] {
            if let Some(FadingPolicy { below, after }) = policy {
                words.word(name).option("BELOW", Some(below)).option("AFTER", after);
            }
        }
        words.option("LANGUAGE", self.language);
        if let Some(weights) = self.weights {
            weights.put(&mut words);
        }
        words.option("THREAD", self.thread).option("SHARDS", self.shards);
        Ok(words.asked(None))
    }
}

/// Which figures: of all, or of the memory space that is named.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object without fields")]
pub struct Stats {}

impl Takes for Stats {
    fn ask(self, target: &Target) -> Result<Asked, Problem> {
        Ok(about("EG.STATS", target))
    }
}

/// What to consolidate: all, or the shards of the memory space that is named.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object without fields")]
pub struct Consolidate {}

impl Takes for Consolidate {
    fn ask(self, target: &Target) -> Result<Asked, Problem> {
        Ok(about("EG.CONSOLIDATE", target))
    }
}

/// A command about one memory space or all.
fn about(name: &'static str, target: &Target) -> Asked {
    let mut words = Words::new(name);
    if let Some(space) = &target.space {
        words.word(space.clone());
    }
    words.asked(None)
}

/// Which section of what the daemon tells.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object with section")]
pub struct Info {
    #[schemars(length(min = 1, max = 64))]
    section: Option<String>,
}

impl Takes for Info {
    fn ask(self, _: &Target) -> Result<Asked, Problem> {
        let mut words = Words::new("INFO");
        if let Some(section) = self.section {
            words.word(section);
        }
        Ok(words.asked(None))
    }
}

/// How many of the slow commands, the newest first.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object with count")]
pub struct Slowlog {
    /// Ten unless given.
    #[schemars(with = "Option<SlowlogCount>")]
    count: Option<Scalar>,
}

/// What [`Slowlog::count`] may be.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "only its schema is used")]
struct SlowlogCount(#[schemars(range(min = 1, max = 16_384))] u64);

impl Takes for Slowlog {
    fn ask(self, _: &Target) -> Result<Asked, Problem> {
        let mut words = Words::new("EG.SLOWLOG GET");
        if let Some(count) = self.count {
            words.word(count);
        }
        Ok(words.asked(None))
    }
}

/// Which commands and stages; all unless they are named.
macro_rules! timed {
    ($($name:ident = $words:literal;)+) => { $(
        /// Which commands and stages; all unless they are named.
        #[derive(Debug, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, expecting = "an object with names")]
        pub struct $name {
            #[serde(default)]
            #[schemars(with = "TimedNames")]
            names: Parts,
        }

        impl Takes for $name {
            fn ask(self, _: &Target) -> Result<Asked, Problem> {
                let mut words = Words::new($words);
                for name in self.names.0 {
                    words.word(name);
                }
                Ok(words.asked(None))
            }
        }
    )+ };
}

timed! {
    Latency = "EG.LATENCY GET";
    LatencyHistogram = "EG.LATENCY HISTOGRAM";
    ResetLatency = "EG.LATENCY RESET";
}

/// Names of commands, such as `eg.recall`, and of stages, such as `commit`.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "only its schema is used")]
struct TimedNames(#[schemars(length(max = 256), inner(length(min = 1, max = 64)))] Vec<String>);

/// Where to copy the store to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object with path")]
pub struct Snapshot {
    /// A folder of the daemon's machine that is not there yet.
    #[schemars(length(min = 1, max = 4095))]
    path: String,
}

impl Takes for Snapshot {
    fn ask(self, _: &Target) -> Result<Asked, Problem> {
        Ok(Words::new("EG.SNAPSHOT").word(self.path).asked(None))
    }
}
