//! The daemon's replies, read.
//!
//! A map arrives as a RESP3 map or, from a server that fell back to RESP2, as a flat array; numbers
//! as integers, doubles or decimal strings. Both forms are read, so that nothing above this module
//! knows which protocol version was spoken.

use redis::ServerError;
use redis::Value;
use serde_json::json;

use crate::document::Link;
use crate::error::ToolError;

/// An episode of a `EG.GET`, `EG.MGET`, `EG.SCAN`, `EG.RECALL` or `EG.SPREAD` reply; what was not
/// asked for is absent or empty.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct EpisodeReply {
    pub(crate) id: String,
    pub(crate) sequence: Option<u64>,
    pub(crate) score: Option<f64>,
    pub(crate) similarity: Option<f64>,
    pub(crate) activation: Option<f64>,
    pub(crate) happened_at_us: Option<i64>,
    pub(crate) recorded_at_us: Option<i64>,
    /// Point, low, high.
    pub(crate) confidence: Option<[f32; 3]>,
    pub(crate) text: Option<String>,
    /// Little-endian f32.
    pub(crate) vector: Option<Vec<u8>>,
    pub(crate) meta: Option<String>,
    pub(crate) thread: String,
    pub(crate) links: Vec<Link>,
    pub(crate) superseded_by: Option<String>,
    pub(crate) strength: Option<StrengthReply>,
    /// Point, low, high.
    pub(crate) belief: Option<[f64; 3]>,
    pub(crate) valid_until_us: Option<i64>,
    pub(crate) expires_at_us: Option<i64>,
    /// The members of a gist, the medoid first; none of an episode.
    pub(crate) sources: Vec<String>,
}

impl EpisodeReply {
    pub(crate) fn read(value: Value, command: &'static str) -> Result<Self, ToolError> {
        let unreadable = |reason: &str| ToolError::Reply { command, reason: reason.to_owned() };
        let entries = entries(value).ok_or_else(|| unreadable("an episode is no map"))?;
        let mut episode = Self::default();
        for (key, value) in entries {
            match key.as_str() {
                // A gist goes by the name of its medoid.
                "id" | "gist" => {
                    episode.id = text(&value).ok_or_else(|| unreadable("an id is no text"))?;
                }
                "sources" => episode.sources = sources(value),
                "since" => episode.happened_at_us = integer(&value),
                "seq" => episode.sequence = sequence(&value),
                "score" => episode.score = number(&value),
                "similarity" => episode.similarity = number(&value),
                "activation" => episode.activation = number(&value),
                "happened_at" => episode.happened_at_us = integer(&value),
                "recorded_at" => episode.recorded_at_us = integer(&value),
                "confidence" => episode.confidence = confidence(&value),
                "text" => episode.text = text(&value),
                "vec" => episode.vector = bytes(value),
                "meta" => episode.meta = text(&value).filter(|meta| !meta.is_empty()),
                "thread" => episode.thread = text(&value).unwrap_or_default(),
                "strength" => episode.strength = strength(value),
                "belief" => episode.belief = belief(value),
                "superseded_by" => episode.superseded_by = text(&value),
                "valid_until" => episode.valid_until_us = integer(&value),
                "expires_at" => episode.expires_at_us = integer(&value),
                "links" => {
                    episode.links =
                        links(value).ok_or_else(|| unreadable("links are no array of links"))?;
                }
                _ => {}
            }
        }
        if episode.id.is_empty() {
            return Err(unreadable("an episode has no id"));
        }
        Ok(episode)
    }
}

/// The ids of the members of a gist.
fn sources(value: Value) -> Vec<String> {
    let Value::Array(sources) = value else { return Vec::new() };
    let id = |source| entry(&entries(source)?, "id").and_then(text);
    sources.into_iter().filter_map(id).collect()
}

/// The value of a key.
pub(crate) fn entry<'a>(entries: &'a [(String, Value)], wanted: &str) -> Option<&'a Value> {
    entries.iter().find(|(key, _)| key == wanted).map(|(_, value)| value)
}

/// How strong an episode is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct StrengthReply {
    /// The probability that it is retained.
    pub(crate) retention: f64,
    /// Its store is the first.
    pub(crate) presentations: u64,
    pub(crate) is_pinned: bool,
}

/// What a store did, by the `outcome` of its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Created,
    Existing,
    Replaced,
}

/// The sequence in the reply to a write.
pub(crate) fn written_sequence(value: &Value) -> Option<u64> {
    let entries = entries(value.clone())?;
    entry(&entries, "seq").and_then(sequence)
}

/// Reads a store reply, alone or from inside of an `EG.MSTORE` reply.
pub(crate) fn outcome(value: Value) -> Result<Outcome, ToolError> {
    const COMMAND: &str = "EG.STORE";
    if let Value::ServerError(error) = &value {
        return Err(refusal(error));
    }
    let outcome = entries(value).and_then(|entries| entry(&entries, "outcome").and_then(text));
    match outcome.as_deref() {
        Some("created") => Ok(Outcome::Created),
        Some("existing") => Ok(Outcome::Existing),
        Some("replaced") => Ok(Outcome::Replaced),
        other => Err(ToolError::Reply {
            command: COMMAND,
            reason: format!("the outcome is {}", other.unwrap_or("missing")),
        }),
    }
}

pub(crate) fn refusal(error: &ServerError) -> ToolError {
    ToolError::Refused {
        code: error.code().to_owned(),
        message: error.details().unwrap_or("refused without a reason").to_owned(),
    }
}

pub(crate) fn array(value: Value, command: &'static str) -> Result<Vec<Value>, ToolError> {
    match value {
        Value::Array(items) | Value::Set(items) => Ok(items),
        _ => Err(ToolError::Reply { command, reason: "it is no array".into() }),
    }
}

/// The entries of a map, in order.
pub(crate) fn entries(value: Value) -> Option<Vec<(String, Value)>> {
    match value {
        Value::Map(entries) => {
            entries.into_iter().map(|(key, value)| Some((text(&key)?, value))).collect()
        }
        Value::Array(items) if items.len().is_multiple_of(2) => {
            let mut entries = Vec::with_capacity(items.len() / 2);
            let mut items = items.into_iter();
            while let (Some(key), Some(value)) = (items.next(), items.next()) {
                match &key {
                    Value::BulkString(_) | Value::SimpleString(_) => {}
                    _ => return None,
                }
                entries.push((text(&key)?, value));
            }
            Some(entries)
        }
        _ => None,
    }
}

pub(crate) fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.clone()),
        Value::Okay => Some("OK".to_owned()),
        Value::Int(number) => Some(number.to_string()),
        Value::Double(number) => Some(number.to_string()),
        Value::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    }
}

pub(crate) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Double(number) => Some(*number),
        Value::Int(number) => Some(*number as f64),
        _ => text(value)?.parse().ok(),
    }
}

pub(crate) fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        _ => text(value)?.parse().ok(),
    }
}

/// Whether a flag is set, which RESP2 has as a number.
pub(crate) fn is_true(value: &Value) -> bool {
    text(value).is_some_and(|text| text == "true" || text == "1")
}

fn sequence(value: &Value) -> Option<u64> {
    integer(value)?.try_into().ok()
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

fn confidence(value: &Value) -> Option<[f32; 3]> {
    let Value::Array(parts) = value else { return None };
    let parts: Vec<f32> = parts.iter().filter_map(number).map(|part| part as f32).collect();
    parts.try_into().ok()
}

fn strength(value: Value) -> Option<StrengthReply> {
    let entries = entries(value)?;
    let find = |wanted: &str| entry(&entries, wanted);
    Some(StrengthReply {
        retention: find("retention").and_then(number)?,
        presentations: find("presentations").and_then(sequence)?,
        is_pinned: find("pinned").is_some_and(is_true),
    })
}

fn belief(value: Value) -> Option<[f64; 3]> {
    let entries = entries(value)?;
    let find = |wanted: &str| entry(&entries, wanted);
    Some([
        find("point").and_then(number)?,
        find("low").and_then(number)?,
        find("high").and_then(number)?,
    ])
}

fn links(value: Value) -> Option<Vec<Link>> {
    let Value::Array(items) = value else { return None };
    items.into_iter().map(link).collect()
}

fn link(value: Value) -> Option<Link> {
    let mut link = Link { id: String::new(), weight: 1.0, kind: String::new() };
    for (key, value) in entries(value)? {
        match key.as_str() {
            "id" => link.id = text(&value)?,
            "weight" => link.weight = number(&value)? as f32,
            "kind" => link.kind = text(&value)?,
            _ => {}
        }
    }
    (!link.id.is_empty()).then_some(link)
}

/// Any reply as JSON: vectors become arrays of numbers, metadata becomes the object it is.
pub(crate) fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Nil => serde_json::Value::Null,
        Value::Int(number) => json!(number),
        Value::Double(number) => json!(number),
        Value::Boolean(flag) => json!(flag),
        Value::Array(items) | Value::Set(items) => items.iter().map(to_json).collect(),
        Value::Map(entries) => serde_json::Value::Object(
            entries
                .iter()
                .map(|(key, value)| {
                    let key = text(key).unwrap_or_default();
                    let value = entry_to_json(&key, value);
                    (key, value)
                })
                .collect(),
        ),
        Value::ServerError(error) => {
            json!({ "error": error.code(), "message": error.details().unwrap_or_default() })
        }
        other => text(other).map_or(serde_json::Value::Null, serde_json::Value::String),
    }
}

fn entry_to_json(key: &str, value: &Value) -> serde_json::Value {
    match (key, value) {
        ("vec", Value::BulkString(bytes)) => {
            bytes.as_chunks::<4>().0.iter().map(|b| json!(f32::from_le_bytes(*b))).collect()
        }
        ("meta", Value::BulkString(bytes)) => {
            serde_json::from_slice(bytes).unwrap_or(serde_json::Value::Null)
        }
        _ => to_json(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn sample(resp3: bool) -> Value {
        let double = |n: f64| if resp3 { Value::Double(n) } else { bulk(&n.to_string()) };
        let link =
            [(bulk("id"), bulk("b")), (bulk("weight"), double(0.5)), (bulk("kind"), bulk("next"))];
        let map = |entries: Vec<(Value, Value)>| {
            if resp3 {
                Value::Map(entries)
            } else {
                Value::Array(entries.into_iter().flat_map(|(k, v)| [k, v]).collect())
            }
        };
        map(vec![
            (bulk("id"), bulk("a")),
            (bulk("score"), double(0.75)),
            (bulk("confidence"), Value::Array(vec![double(0.5), double(0.25), double(1.0)])),
            (bulk("happened_at"), Value::Int(7)),
            (bulk("text"), bulk("hello")),
            (bulk("vec"), Value::BulkString(1.0_f32.to_le_bytes().to_vec())),
            (bulk("links"), Value::Array(vec![map(link.to_vec())])),
            (bulk("unknown_to_this_client"), Value::Nil),
        ])
    }

    #[test]
    fn both_protocol_versions_read_the_same() {
        let resp3 = EpisodeReply::read(sample(true), "EG.GET").unwrap();
        let resp2 = EpisodeReply::read(sample(false), "EG.GET").unwrap();
        assert_eq!(resp3, resp2);
        assert_eq!(resp3.id, "a");
        assert_eq!(resp3.score, Some(0.75));
        assert_eq!(resp3.confidence, Some([0.5, 0.25, 1.0]));
        assert_eq!(resp3.happened_at_us, Some(7));
        assert_eq!(resp3.links, [Link { id: "b".into(), weight: 0.5, kind: "next".into() }]);
    }

    #[test]
    fn json_shows_vectors_as_numbers_and_metadata_as_an_object() {
        let value = Value::Map(vec![
            (bulk("vec"), Value::BulkString(0.5_f32.to_le_bytes().to_vec())),
            (bulk("meta"), bulk(r#"{"a":1}"#)),
        ]);
        assert_eq!(to_json(&value), json!({"vec": [0.5], "meta": {"a": 1}}));
    }

    #[test]
    fn an_unknown_outcome_is_an_error() {
        let reply = |outcome: &str| Value::Map(vec![(bulk("outcome"), bulk(outcome))]);
        assert_eq!(outcome(reply("replaced")).unwrap(), Outcome::Replaced);
        assert!(outcome(reply("lost")).unwrap_err().to_string().contains("lost"));
        assert!(outcome(Value::Nil).is_err());
    }
}
