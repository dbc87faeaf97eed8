//! Storing, reading and forgetting.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::links::OwnLink;
use super::spaces::TtlSchema;
use super::{Asked, Parts, ReadParts, Scalar, Takes, Target, Words};
use crate::edge::bounds::EVENTS_AHEAD_MAX;
use crate::edge::problem::Problem;
use crate::edge::vectors::{Vector, VectorForm};

/// An episode to store.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object with vec")]
pub struct Store {
    /// Assigned unless it is given.
    #[schemars(length(min = 1, max = 256))]
    id: Option<String>,
    vec: Vector,
    #[schemars(length(max = 1_048_576))]
    text: Option<String>,
    /// Microseconds since 1970-01-01 UTC; now unless given.
    happened_at: Option<i64>,
    confidence: Option<Confidence>,
    /// A JSON object, kept byte for byte.
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    meta: Option<Box<RawValue>>,
    /// Who wrote it: the field `writer` of the metadata.
    #[schemars(length(min = 1, max = 256))]
    writer: Option<String>,
    /// How the writer came to know it, such as `observed`, `told`, `inferred` or `derived`: the
    /// field `source` of the metadata.
    #[schemars(length(min = 1, max = 256))]
    source: Option<String>,
    /// The conversation or session it belongs to.
    #[schemars(length(min = 1, max = 256))]
    thread: Option<String>,
    /// The links that it is to have.
    #[schemars(length(max = 256))]
    links: Option<Vec<OwnLink>>,
    /// Episodes whose interval of validity it ends.
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    supersedes: Option<Vec<String>>,
    /// For retries: the same key stores once.
    #[schemars(length(min = 1, max = 256))]
    key: Option<String>,
    /// Leave an episode of the same text and vector as it is.
    dedup: Option<bool>,
    /// Tell of the nearest other episode from this similarity on.
    near: Option<f64>,
    /// Seconds that it lives from being stored, or `none`; as its memory space says unless given.
    #[schemars(with = "Option<TtlSchema>")]
    ttl: Option<Scalar>,
    #[schemars(extend("enum" = ["high", "normal", "low"]))]
    priority: Option<String>,
    /// `disk`: answered when it survives a power cut. `os`: when it survives a killed daemon.
    #[schemars(extend("enum" = ["disk", "os"]))]
    durability: Option<String>,
}

/// How sure it is: a point, or a point with the ends of an interval.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a number, or an array of point, low and high")]
enum Confidence {
    Point(#[schemars(range(min = 0.0, max = 1.0))] f64),
    Interval(f64, f64, f64),
}

impl Store {
    fn say(self, words: &mut Words) -> Result<(), Problem> {
        match self.id {
            // To RESP it would be an id to be assigned.
            Some(id) if id == "*" => {
                return Err(Problem::new("SYNTAX", "an episode cannot be called '*'"));
            }
            Some(id) => words.word(id),
            None => words.word("*"),
        };
        words.word("VEC").word(self.vec.0).option("TEXT", self.text);
        words.option("AT", self.happened_at);
        match self.confidence {
            Some(Confidence::Point(point)) => {
                words.option("CONF", Some(point));
            }
            Some(Confidence::Interval(point, low, high)) => {
                words.option("CONF", Some(point)).word(low).word(high);
            }
            None => {}
        }
        words.option("META", self.meta).option("WRITER", self.writer);
        words.option("SOURCE", self.source).option("THREAD", self.thread);
        for link in self.links.unwrap_or_default() {
            link.say(words);
        }
        for id in self.supersedes.unwrap_or_default() {
            words.option("SUPERSEDES", Some(id));
        }
        words.option("KEY", self.key).flag("DEDUP", self.dedup).option("NEAR", self.near);
        words.option("TTL", self.ttl).option("PRIO", self.priority);
        words.option("DUR", self.durability);
        Ok(())
    }
}

impl Takes for Store {
    fn ask(mut self, target: &Target) -> Result<Asked, Problem> {
        match (&self.id, &target.id) {
            (Some(own), Some(other)) if own != other => {
                let detail = format!("the path says id '{other}' and the body '{own}'; say one");
                return Err(Problem::new("SYNTAX", detail));
            }
            (None, Some(id)) => self.id = Some(id.clone()),
            _ => {}
        }
        let mut words = Words::new("EG.STORE");
        self.say(words.word(target.space()?))?;
        Ok(words.asked(None))
    }
}

/// Episodes to store; one answer for each, in order.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object with items")]
pub struct StoreMany {
    #[schemars(length(min = 1, max = 65_536))]
    items: Vec<Store>,
}

impl Takes for StoreMany {
    fn ask(self, target: &Target) -> Result<Asked, Problem> {
        let mut words = Words::new("EG.MSTORE");
        words.word(target.space()?).word(self.items.len() as u64);
        for item in self.items {
            item.say(words.word("ITEM"))?;
        }
        Ok(words.asked(None))
    }
}

/// Which episode is superseded, by which, and since when.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object with id and by")]
pub struct Supersede {
    #[schemars(length(min = 1, max = 256))]
    id: String,
    #[schemars(length(min = 1, max = 256))]
    by: String,
    /// Microseconds since 1970-01-01 UTC; when the other happened unless given.
    at: Option<i64>,
    #[schemars(extend("enum" = ["disk", "os"]))]
    durability: Option<String>,
}

impl Takes for Supersede {
    fn ask(self, target: &Target) -> Result<Asked, Problem> {
        let mut words = Words::new("EG.SUPERSEDE");
        words.word(target.space()?).word(self.id).option("BY", Some(self.by));
        Ok(words.option("AT", self.at).option("DUR", self.durability).asked(None))
    }
}

/// What to read of an episode.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object with as_of, with and vectors")]
pub struct Get {
    /// As it was known then, in microseconds since 1970-01-01 UTC.
    #[schemars(with = "Option<i64>")]
    as_of: Option<Scalar>,
    /// Text and metadata unless given.
    #[serde(default)]
    #[schemars(with = "ReadParts")]
    with: Parts,
    vectors: Option<VectorForm>,
}

impl Takes for Get {
    fn ask(self, target: &Target) -> Result<Asked, Problem> {
        let mut words = Words::new("EG.GET");
        words.word(target.space()?).word(target.id()?).option("ASOF", self.as_of).with(self.with);
        Ok(words.asked(self.vectors))
    }
}

/// Which memory space to follow, from where on, and what of its episodes to send.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object with space")]
pub struct Watch {
    #[schemars(length(min = 1, max = 128))]
    space: String,
    /// Behind what it begins: the id of the last event that came, or 0 for everything there is;
    /// what is new unless given.
    #[schemars(regex(pattern = "^(0|[0-9]+:[0-9]+(,[0-9]+:[0-9]+)*)$"))]
    from: Option<String>,
    /// Text and metadata unless given.
    #[serde(default)]
    #[schemars(with = "ReadParts")]
    with: Parts,
    vectors: Option<VectorForm>,
}

impl Takes for Watch {
    fn ask(self, _: &Target) -> Result<Asked, Problem> {
        let mut words = Words::new("EG.WATCH");
        words.word(self.space);
        match self.from.as_deref() {
            None => {}
            Some("0") => {
                words.word("FROM").word("0").word("0");
            }
            Some(from) => {
                words.word("FROM");
                for place in from.split(',') {
                    let (shard, seq) = place.split_once(':').ok_or_else(|| no_place(place))?;
                    // A word that is no number would be taken for the next option.
                    if !shard.starts_with(|first: char| first.is_ascii_digit()) {
                        return Err(no_place(place));
                    }
                    words.word(shard.to_owned()).word(seq.to_owned());
                }
            }
        }
        words.option("CREDIT", Some(EVENTS_AHEAD_MAX)).with(self.with);
        Ok(words.asked(self.vectors))
    }
}

fn no_place(place: &str) -> Problem {
    let detail = format!(
        "from must be the id of an event, as in 0:17,1:20, or 0 for everything, got '{place}'"
    );
    Problem::new("SYNTAX", detail)
}

/// Which episodes to read, and what of them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object with ids")]
pub struct GetMany {
    #[schemars(length(min = 1, max = 4096), inner(length(min = 1, max = 256)))]
    ids: Vec<String>,
    /// As they were known then, in microseconds since 1970-01-01 UTC.
    as_of: Option<i64>,
    /// Text and metadata unless given.
    #[serde(default)]
    #[schemars(with = "ReadParts")]
    with: Parts,
    vectors: Option<VectorForm>,
}

impl Takes for GetMany {
    fn ask(self, target: &Target) -> Result<Asked, Problem> {
        let mut words = Words::new("EG.MGET");
        words.word(target.space()?).word(self.ids.len() as u64);
        for id in self.ids {
            words.word(id);
        }
        Ok(words.option("ASOF", self.as_of).with(self.with).asked(self.vectors))
    }
}

/// Where to go on, how far, and what to read of each episode.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object with cursor, count, with and vectors")]
pub struct Scan {
    /// What the answer before gave; from the beginning unless given.
    #[schemars(with = "Option<String>", regex(pattern = r"^[0-9]{1,20}$"))]
    cursor: Option<Scalar>,
    #[schemars(with = "Option<u64>", range(min = 1, max = 4096))]
    count: Option<Scalar>,
    /// Text and metadata unless given.
    #[serde(default)]
    #[schemars(with = "ReadParts")]
    with: Parts,
    vectors: Option<VectorForm>,
}

impl Takes for Scan {
    fn ask(self, target: &Target) -> Result<Asked, Problem> {
        let mut words = Words::new("EG.SCAN");
        words.word(target.space()?).option("CURSOR", self.cursor).option("COUNT", self.count);
        Ok(words.with(self.with).asked(self.vectors))
    }
}

/// Writes that are about one episode and take no more than how durable they are to be.
macro_rules! about_episode {
    ($($name:ident = $words:literal, $what:literal;)+) => { $(
        #[doc = $what]
        #[derive(Debug, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, expecting = "an object with durability")]
        pub struct $name {
            #[schemars(extend("enum" = ["disk", "os"]))]
            durability: Option<String>,
        }

        impl Takes for $name {
            fn ask(self, target: &Target) -> Result<Asked, Problem> {
                let mut words = Words::new($words);
                words.word(target.space()?).word(target.id()?).option("DUR", self.durability);
                Ok(words.asked(None))
            }
        }
    )+ };
}

about_episode! {
    Forget = "EG.FORGET", "How to forget an episode.";
    Reinforce = "EG.REINFORCE", "How to strengthen an episode.";
    Pin = "EG.PIN", "How to keep an episode from fading.";
    Unpin = "EG.UNPIN", "How to let an episode fade again.";
}

/// Takes nothing.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object without fields")]
pub struct Erase {}

impl Takes for Erase {
    fn ask(self, target: &Target) -> Result<Asked, Problem> {
        Ok(Words::new("EG.ERASE").word(target.space()?).word(target.id()?).asked(None))
    }
}
