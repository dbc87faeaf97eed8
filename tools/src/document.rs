//! An episode as a line of JSON: what `engram import` reads and `engram export` writes.
//!
//! ```json
//! {"id":"trip-7","text":"We missed the ferry.","at":"2026-03-01T12:00:00Z","confidence":0.9,
//!  "meta":{"place":"Naxos"},"thread":"greece","links":[{"id":"trip-6","weight":1,"kind":"next"}],
//!  "vector":[0.1,0.2]}
//! ```
//!
//! | Field | Meaning |
//! |---|---|
//! | `id` | required; the same id again replaces the episode |
//! | `text` | what is remembered |
//! | `at` (or `ts`) | when it happened: microseconds since 1970-01-01 UTC, or RFC 3339 |
//! | `confidence` | a number in [0, 1], or `[point, low, high]` |
//! | `meta` | a JSON object, kept as it is written |
//! | `thread` | the conversation or session it belongs to |
//! | `links` | associations: target `id`, `weight` (1 when left out), `kind` |
//! | `supersedes` | ids of episodes, stored before, whose time it ends |
//! | `superseded_by`, `valid_until` | what superseded it, and when: a time as `at` is |
//! | `expires_at` | when it expires: a time as `at` is; a line of which that is over is left out |
//! | `vector` | the embedding; left out when a `.npy` file holds it |
//! | `row` | row of the `.npy` file; the number of the line, from 0, when left out |
//!
//! An unknown field is an error: a misspelt `confidnce` must not be lost in silence.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::time;

/// A line of a JSONL file.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    pub(crate) id: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) text: String,
    #[serde(default, alias = "ts", skip_serializing_if = "Option::is_none")]
    pub(crate) at: Option<When>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) confidence: Option<ConfidenceField>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) meta: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) thread: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) links: Vec<Link>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) supersedes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) superseded_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) valid_until: Option<When>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<When>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) vector: Option<Vec<f32>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) row: Option<u64>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged, expecting = "a time is microseconds since 1970-01-01 UTC or an RFC 3339 string")]
pub(crate) enum When {
    Microseconds(i64),
    Text(String),
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged, expecting = "a confidence is a number or [point, low, high]")]
pub(crate) enum ConfidenceField {
    Point(f32),
    Interval([f32; 3]),
}

/// An association to another episode.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Link {
    pub(crate) id: String,
    #[serde(default = "link_weight_default")]
    pub(crate) weight: f32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) kind: String,
}

fn link_weight_default() -> f32 {
    1.0
}

/// How sure the writer is; the daemon checks the bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Confidence {
    pub(crate) point: f32,
    pub(crate) interval: Option<(f32, f32)>,
}

/// What superseded an episode, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Superseded {
    pub(crate) by: String,
    pub(crate) valid_until_us: i64,
}

/// An episode ready to be packed.
#[derive(Debug)]
pub(crate) struct Episode {
    /// `None`: the daemon assigns one.
    pub(crate) id: Option<String>,
    pub(crate) text: String,
    pub(crate) at_us: Option<i64>,
    pub(crate) confidence: Option<Confidence>,
    pub(crate) meta: Option<Box<RawValue>>,
    pub(crate) thread: String,
    pub(crate) links: Vec<Link>,
    pub(crate) supersedes: Vec<String>,
    /// When it expires.
    pub(crate) expires_at_us: Option<i64>,
    pub(crate) vector: Vec<f32>,
}

impl Line {
    pub(crate) fn parse(json: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(json).map_err(|error| {
            let sentence = error.to_string();
            sentence.split(" at line 1").next().unwrap_or(&sentence).to_owned()
        })
    }

    /// Takes out what superseded the episode, and when.
    pub(crate) fn take_superseded(&mut self) -> Result<Option<Superseded>, String> {
        match (self.superseded_by.take(), self.valid_until.take()) {
            (None, None) => Ok(None),
            (Some(by), Some(until)) => Ok(Some(Superseded { by, valid_until_us: until.us()? })),
            _ => Err("superseded_by and valid_until belong together".to_owned()),
        }
    }

    /// The episode with the vector that belongs to it.
    pub(crate) fn into_episode(self, vector: Vec<f32>) -> Result<Episode, String> {
        let at_us = self.at.map(When::us).transpose()?;
        let expires_at_us = self.expires_at.map(When::us).transpose()?;
        Ok(Episode {
            id: Some(self.id),
            text: self.text,
            at_us,
            confidence: self.confidence.map(Confidence::from),
            meta: self.meta,
            thread: self.thread,
            links: self.links,
            supersedes: self.supersedes,
            expires_at_us,
            vector,
        })
    }
}

impl When {
    /// Microseconds since 1970-01-01 UTC.
    fn us(self) -> Result<i64, String> {
        match self {
            Self::Microseconds(us) => Ok(us),
            Self::Text(text) => time::parse_us(&text),
        }
    }
}

impl From<ConfidenceField> for Confidence {
    fn from(field: ConfidenceField) -> Self {
        match field {
            ConfidenceField::Point(point) => Self { point, interval: None },
            ConfidenceField::Interval([point, low, high]) => {
                Self { point, interval: Some((low, high)) }
            }
        }
    }
}

/// The shortest form that reads back the same; certainty is left out.
pub(crate) fn confidence_field([point, low, high]: [f32; 3]) -> Option<ConfidenceField> {
    if low != point || high != point {
        Some(ConfidenceField::Interval([point, low, high]))
    } else if point != 1.0 {
        Some(ConfidenceField::Point(point))
    } else {
        None
    }
}

/// Metadata as the field of a line; nothing when there is none. A client may have sent it on
/// several lines, which no string in it can contain: they become one.
pub(crate) fn meta_field(metadata: &str) -> serde_json::Result<Option<Box<RawValue>>> {
    if metadata.is_empty() {
        return Ok(None);
    }
    RawValue::from_string(metadata.replace(['\n', '\r'], " ")).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_field() {
        let line = Line::parse(
            br#"{"id":"a","text":"t","ts":"1970-01-01T00:00:01Z","confidence":[0.5,0.4,0.6],
                "meta":{ "b": 1 },"thread":"x","links":[{"id":"c"}],"row":3}"#,
        )
        .unwrap();
        assert_eq!(line.row, Some(3));
        let episode = line.into_episode(vec![1.0]).unwrap();
        assert_eq!(episode.at_us, Some(1_000_000));
        assert_eq!(episode.confidence, Some(Confidence { point: 0.5, interval: Some((0.4, 0.6)) }));
        assert_eq!(episode.meta.unwrap().get(), r#"{ "b": 1 }"#);
        assert_eq!(episode.links, [Link { id: "c".into(), weight: 1.0, kind: String::new() }]);
    }

    #[test]
    fn a_bad_line_says_what_is_wrong() {
        let misspelt = Line::parse(br#"{"id":"a","confidnce":1}"#).unwrap_err();
        assert!(misspelt.contains("unknown field `confidnce`"), "{misspelt}");
        assert!(!misspelt.contains("line 1"), "{misspelt}");
        let anonymous = Line::parse(br#"{"text":"a"}"#).unwrap_err();
        assert!(anonymous.contains("missing field `id`"), "{anonymous}");
        let time = Line::parse(br#"{"id":"a","at":"noon"}"#).unwrap().into_episode(vec![]);
        assert!(time.unwrap_err().contains("RFC 3339"));
    }

    #[test]
    fn what_superseded_an_episode_comes_with_when_that_was() {
        let parse = |json: &str| Line::parse(json.as_bytes()).unwrap();
        let mut line = parse(
            r#"{"id":"a","supersedes":["x"],"superseded_by":"b",
                "valid_until":"1970-01-01T00:00:01Z"}"#,
        );
        let (by, valid_until_us) = ("b".to_owned(), 1_000_000);
        assert_eq!(line.take_superseded(), Ok(Some(Superseded { by, valid_until_us })));
        assert_eq!(line.take_superseded(), Ok(None));
        assert_eq!(line.into_episode(vec![]).unwrap().supersedes, ["x"]);
        assert!(parse(r#"{"id":"a","valid_until":1}"#).take_superseded().is_err());
    }

    #[test]
    fn metadata_of_several_lines_becomes_one() {
        let meta = meta_field("{\n  \"a\": \"b\\nc\"\r\n}").unwrap().unwrap();
        assert_eq!(meta.get(), "{   \"a\": \"b\\nc\"  }");
        assert!(meta_field("").unwrap().is_none());
        assert!(meta_field("{").is_err());
    }

    #[test]
    fn what_is_empty_is_not_written() {
        let line = Line::parse(br#"{"id":"a"}"#).unwrap();
        assert_eq!(serde_json::to_string(&line).unwrap(), r#"{"id":"a"}"#);
        assert!(confidence_field([1.0; 3]).is_none());
        let point = serde_json::to_string(&confidence_field([0.9; 3])).unwrap();
        assert_eq!(point, "0.9");
    }
}
