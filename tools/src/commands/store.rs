//! `engram store`: one episode, written from the command line.

use std::io::Read as _;

use clap::Args;
use redis::Value;
use serde_json::value::RawValue;

use crate::cli::Context;
use crate::document::{Confidence, Episode, Link};
use crate::error::ToolError;
use crate::pack;
use crate::render;
use crate::reply;
use crate::time;
use crate::vectors::VectorArguments;

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  engram store notes trip-7 --vector trip.npy --row 7 \\\n      \
    --text 'We missed the ferry.' --at 2026-03-01T12:00:00Z --link trip-6=0.8"
)]
pub(crate) struct Store {
    /// The memory space
    space: String,
    /// The episode's id; '-' lets the daemon assign one
    #[arg(allow_hyphen_values = true)]
    id: String,
    #[command(flatten)]
    vector: VectorArguments,
    /// What is remembered; '-' reads standard input
    #[arg(long, allow_hyphen_values = true)]
    text: Option<String>,
    /// When it happened: microseconds since 1970-01-01 UTC, or RFC 3339; now when left out
    #[arg(long, value_parser = time::parse_us, allow_hyphen_values = true)]
    at: Option<i64>,
    /// How sure you are: POINT or POINT,LOW,HIGH, each from 0 to 1
    #[arg(long, value_parser = parse_confidence)]
    confidence: Option<Confidence>,
    /// A JSON object
    #[arg(long, value_name = "JSON", value_parser = parse_object)]
    meta: Option<Box<RawValue>>,
    /// Who wrote it: the field 'writer' of the metadata
    #[arg(long, value_name = "NAME")]
    writer: Option<String>,
    /// How the writer came to know it, like observed, told, inferred or derived: the field 'source'
    /// of the metadata
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// The conversation or session the episode belongs to
    #[arg(long)]
    thread: Option<String>,
    /// An association to another episode; may be repeated
    #[arg(long, value_name = "ID=WEIGHT", value_parser = parse_link)]
    link: Vec<Link>,
    /// An episode whose time this one ends; may be repeated
    #[arg(long, value_name = "ID")]
    supersedes: Vec<String>,
    /// Leave an episode of the same text and embedding as it is
    #[arg(long)]
    dedup: bool,
    /// Tell of the nearest other episode from this similarity on
    #[arg(long, value_name = "SIMILARITY", allow_hyphen_values = true)]
    near: Option<f32>,
    /// Seconds that it lives from being stored, or 'none'; as its memory space says when left out
    #[arg(long, value_name = "SECONDS|none")]
    ttl: Option<String>,
    /// Idempotency key: storing again with the same key changes nothing
    #[arg(long)]
    key: Option<String>,
}

impl Store {
    pub(crate) fn run(&self, context: &Context) -> Result<(), ToolError> {
        let vector = self.vector.read()?.ok_or_else(|| {
            ToolError::usage(
                "an episode needs its embedding: --vector FILE.npy or --values NUMBERS",
            )
        })?;
        let episode = Episode {
            id: (self.id != "-").then(|| self.id.clone()),
            text: self.text()?,
            at_us: self.at,
            confidence: self.confidence,
            meta: self.meta.clone(),
            thread: self.thread.clone().unwrap_or_default(),
            links: self.link.clone(),
            supersedes: self.supersedes.clone(),
            expires_at_us: None,
            vector,
        };
        let mut client = context.connect()?;
        let near = self.near.map(|near| near.to_string());
        let dedup = self.dedup.then_some("DEDUP");
        let near = near.iter().flat_map(|near| ["NEAR", near]);
        let ttl = self.ttl.iter().flat_map(|ttl| ["TTL", ttl]);
        let writer = self.writer.iter().flat_map(|writer| ["WRITER", writer]);
        let source = self.source.iter().flat_map(|source| ["SOURCE", source]);
        let more = dedup.into_iter().chain(near).chain(ttl).chain(writer).chain(source);
        let more: Vec<&str> = more.collect();
        client.send(&pack::store_command(&self.space, &episode, self.key.as_deref(), &more))?;
        let reply = client.receive()?;
        if context.json {
            render::print_json(&reply::to_json(&reply))
        } else {
            render::print(&self.sentence(reply))
        }
    }

    fn text(&self) -> Result<String, ToolError> {
        match self.text.as_deref() {
            Some("-") => {
                let mut text = String::new();
                std::io::stdin()
                    .read_to_string(&mut text)
                    .map_err(|e| ToolError::file("standard input".as_ref(), e))?;
                Ok(text.trim_end().to_owned())
            }
            text => Ok(text.unwrap_or_default().to_owned()),
        }
    }

    fn sentence(&self, reply: Value) -> String {
        let entries = reply::entries(reply).unwrap_or_default();
        let entry = |wanted: &str| reply::entry(&entries, wanted);
        let find = |wanted: &str| entry(wanted).and_then(reply::text);
        let outcome = find("outcome").unwrap_or_else(|| "stored".to_owned());
        let id = find("id").unwrap_or_else(|| self.id.clone());
        let sequence = find("seq").unwrap_or_else(|| "?".to_owned());
        let activation = find("activation").and_then(|text| text.parse::<f64>().ok());
        let activation = activation.map_or(String::new(), |a| format!(", activation {a:.2}"));
        let mut sentence =
            format!("{outcome} '{id}' in '{}' (sequence {sequence}{activation})", self.space);
        if let Some(Value::Array(superseded)) = entry("superseded") {
            let (done, named) = (superseded.len(), self.supersedes.len());
            sentence.push_str(&format!("; supersedes {done} of {named}"));
        }
        let near = entry("near").cloned().and_then(reply::entries).unwrap_or_default();
        if let [(_, id), (_, similarity)] = &near[..] {
            let text = |value| reply::text(value).unwrap_or_default();
            sentence.push_str(&format!("; near '{}' ({})", text(id), text(similarity)));
        }
        sentence
    }
}

fn parse_confidence(text: &str) -> Result<Confidence, String> {
    let parts: Result<Vec<f32>, _> = text.split(',').map(|part| part.trim().parse()).collect();
    match parts.as_deref() {
        Ok([point]) => Ok(Confidence { point: *point, interval: None }),
        Ok([point, low, high]) => Ok(Confidence { point: *point, interval: Some((*low, *high)) }),
        _ => Err("give POINT or POINT,LOW,HIGH, like 0.9 or 0.9,0.8,1".to_owned()),
    }
}

fn parse_object(text: &str) -> Result<Box<RawValue>, String> {
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|e| format!("no JSON object: {e}"))?;
    drop(object);
    RawValue::from_string(text.to_owned()).map_err(|e| e.to_string())
}

fn parse_link(text: &str) -> Result<Link, String> {
    let (id, weight) = text.rsplit_once('=').unwrap_or((text, "1"));
    let weight = weight.parse().map_err(|_| format!("'{weight}' is no weight; give ID=WEIGHT"))?;
    Ok(Link { id: id.to_owned(), weight, kind: String::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_documented() {
        let confidence = parse_confidence("0.5, 0.25,1").unwrap();
        assert_eq!(confidence, Confidence { point: 0.5, interval: Some((0.25, 1.0)) });
        assert!(parse_confidence("0.5,1").is_err());
        assert_eq!(parse_link("a=b=0.5").unwrap().id, "a=b");
        assert_eq!(parse_link("a").unwrap().weight, 1.0);
        assert!(parse_link("a=x").is_err());
        assert_eq!(parse_object(r#"{"z":1,"a":2}"#).unwrap().get(), r#"{"z":1,"a":2}"#);
        assert!(parse_object("[1]").is_err());
    }
}
