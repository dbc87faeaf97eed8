//! What can be asked for over HTTP, as data.
//!
//! The router, the batch and the description at `/v1/openapi.json` are made of this table, so the
//! three can't disagree. Each operation is one command of the socket.

use axum::routing::MethodFilter;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::answers::Shape;
use super::bounds::{BODY_BYTES_MAX, MANY_BODY_BYTES_MAX};
use super::problem::Problem;
use super::requests::{self, Asked, Takes, Target};
use super::schemas;

/// What is to be done at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Get,
    Put,
    Post,
    Delete,
}

impl Verb {
    pub fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Put => MethodFilter::PUT,
            Self::Post => MethodFilter::POST,
            Self::Delete => MethodFilter::DELETE,
        }
    }

    /// As a description has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put => "put",
            Self::Post => "post",
            Self::Delete => "delete",
        }
    }
}

/// Where what an operation takes is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// In the query; it may be left out.
    Query,
    /// In the body, of at most so many bytes.
    Body(usize),
}

/// See the top of the file.
#[derive(Debug)]
pub struct Operation {
    /// Its name in a batch and in the description.
    pub name: &'static str,
    pub verb: Verb,
    pub path: &'static str,
    /// The command that it is.
    pub command: &'static str,
    pub summary: &'static str,
    pub input: Input,
    pub ask: fn(&Target, &[u8]) -> Result<Asked, Problem>,
    pub takes: fn(&mut SchemaGenerator) -> Schema,
    pub shape: Shape,
    pub gives: fn(&mut SchemaGenerator) -> Schema,
}

impl Operation {
    pub fn named(name: &str) -> Option<&'static Self> {
        OPERATIONS.iter().find(|operation| operation.name == name)
    }
}

/// An operation with its input in the query.
const fn query<T: Takes, G: JsonSchema>(
    name: &'static str,
    (verb, path): (Verb, &'static str),
    (command, summary): (&'static str, &'static str),
    shape: Shape,
) -> Operation {
    Operation {
        name,
        verb,
        path,
        command,
        summary,
        input: Input::Query,
        ask: requests::ask::<T>,
        takes: schema::<T>,
        shape,
        gives: schema::<G>,
    }
}

/// An operation with its input in the body.
const fn body<T: Takes, G: JsonSchema>(
    name: &'static str,
    (verb, path): (Verb, &'static str),
    (command, summary): (&'static str, &'static str),
    (bytes_max, shape): (usize, Shape),
) -> Operation {
    Operation {
        name,
        verb,
        path,
        command,
        summary,
        input: Input::Body(bytes_max),
        ask: requests::ask::<T>,
        takes: schema::<T>,
        shape,
        gives: schema::<G>,
    }
}

fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

const ONE: (usize, Shape) = (BODY_BYTES_MAX, Shape::Plain);
const HITS: (usize, Shape) = (BODY_BYTES_MAX, Shape::List("hits"));

/// All operations.
pub static OPERATIONS: [Operation; 36] = [
    body::<requests::Store, schemas::Stored>(
        "store",
        (Verb::Post, "/v1/spaces/{space}/episodes"),
        ("EG.STORE", "Stores an episode; answered when it is durable."),
        ONE,
    ),
    body::<requests::Store, schemas::Stored>(
        "store_as",
        (Verb::Put, "/v1/spaces/{space}/episodes/{id}"),
        ("EG.STORE", "Stores an episode under an id; one that is there is replaced as a whole."),
        ONE,
    ),
    body::<requests::StoreMany, schemas::StoredMany>(
        "mstore",
        (Verb::Post, "/v1/spaces/{space}/mstore"),
        ("EG.MSTORE", "Stores episodes; one answer for each, in order. A bad one fails alone."),
        (MANY_BODY_BYTES_MAX, Shape::List("results")),
    ),
    query::<requests::Get, schemas::Episode>(
        "get",
        (Verb::Get, "/v1/spaces/{space}/episodes/{id}"),
        ("EG.GET", "Reads an episode by its id."),
        Shape::Plain,
    ),
    body::<requests::GetMany, schemas::Episodes>(
        "mget",
        (Verb::Post, "/v1/spaces/{space}/mget"),
        ("EG.MGET", "Reads episodes by their ids, in order; null for an unknown id."),
        (BODY_BYTES_MAX, Shape::List("episodes")),
    ),
    query::<requests::Scan, schemas::Scanned>(
        "scan",
        (Verb::Get, "/v1/spaces/{space}/episodes"),
        ("EG.SCAN", "Goes through all episodes of a memory space; the last cursor is 0."),
        Shape::Scan,
    ),
    query::<requests::Forget, schemas::Forgotten>(
        "forget",
        (Verb::Delete, "/v1/spaces/{space}/episodes/{id}"),
        ("EG.FORGET", "Hides an episode from now on."),
        Shape::Plain,
    ),
    query::<requests::Reinforce, schemas::Reinforced>(
        "reinforce",
        (Verb::Post, "/v1/spaces/{space}/episodes/{id}/reinforce"),
        ("EG.REINFORCE", "Strengthens an episode: one more presentation."),
        Shape::Plain,
    ),
    query::<requests::Pin, schemas::Reinforced>(
        "pin",
        (Verb::Put, "/v1/spaces/{space}/episodes/{id}/pin"),
        ("EG.PIN", "Keeps an episode from fading."),
        Shape::Plain,
    ),
    query::<requests::Unpin, schemas::Reinforced>(
        "unpin",
        (Verb::Delete, "/v1/spaces/{space}/episodes/{id}/pin"),
        ("EG.UNPIN", "Lets an episode fade again."),
        Shape::Plain,
    ),
    query::<requests::Erase, schemas::Erased>(
        "erase",
        (Verb::Post, "/v1/spaces/{space}/episodes/{id}/erase"),
        ("EG.ERASE", "Removes every byte that the store has of an episode."),
        Shape::Plain,
    ),
    body::<requests::Recall, schemas::Recalled>(
        "recall",
        (Verb::Post, "/v1/spaces/{space}/recall"),
        ("EG.RECALL", "Recalls the k episodes nearest to the mean of the cues, best first."),
        HITS,
    ),
    body::<requests::Spread, schemas::SpreadTo>(
        "spread",
        (Verb::Post, "/v1/spaces/{space}/spread"),
        ("EG.SPREAD", "Finds the k episodes most associated with some."),
        ONE,
    ),
    body::<requests::Complete, schemas::Completed>(
        "complete",
        (Verb::Post, "/v1/spaces/{space}/complete"),
        ("EG.COMPLETE", "Completes a partial vector by what it brings to mind."),
        ONE,
    ),
    body::<requests::Gist, schemas::Gists>(
        "gist",
        (Verb::Post, "/v1/spaces/{space}/gist"),
        ("EG.GIST", "Answers what the episodes that fit cues have in common."),
        (BODY_BYTES_MAX, Shape::List("gists")),
    ),
    body::<requests::Supersede, schemas::Superseded>(
        "supersede",
        (Verb::Post, "/v1/spaces/{space}/supersessions"),
        ("EG.SUPERSEDE", "Ends the time in which an episode is valid."),
        ONE,
    ),
    body::<requests::Link, schemas::Linked>(
        "link",
        (Verb::Post, "/v1/spaces/{space}/links"),
        ("EG.LINK", "Links an episode to another, or gives a link another weight."),
        ONE,
    ),
    query::<requests::Unlink, schemas::Unlinked>(
        "unlink",
        (Verb::Delete, "/v1/spaces/{space}/links"),
        ("EG.UNLINK", "Removes links from an episode to another."),
        Shape::Plain,
    ),
    query::<requests::SpaceList, schemas::Spaces>(
        "list_spaces",
        (Verb::Get, "/v1/spaces"),
        ("EG.SPACE LIST", "Names the memory spaces."),
        Shape::List("spaces"),
    ),
    body::<requests::SpaceCreate, schemas::Status>(
        "create_space",
        (Verb::Put, "/v1/spaces/{space}"),
        ("EG.SPACE CREATE", "Creates a memory space; nothing happens if it is there just so."),
        ONE,
    ),
    query::<requests::SpaceInfo, schemas::Space>(
        "describe_space",
        (Verb::Get, "/v1/spaces/{space}"),
        ("EG.SPACE INFO", "Describes a memory space."),
        Shape::Plain,
    ),
    query::<requests::SpaceDrop, schemas::Status>(
        "drop_space",
        (Verb::Delete, "/v1/spaces/{space}"),
        ("EG.SPACE DROP", "Removes a memory space and all it holds."),
        Shape::Plain,
    ),
    query::<requests::Stats, schemas::SpaceStats>(
        "space_stats",
        (Verb::Get, "/v1/spaces/{space}/stats"),
        ("EG.STATS", "Answers figures of a memory space."),
        Shape::Plain,
    ),
    query::<requests::Consolidate, schemas::Status>(
        "consolidate_space",
        (Verb::Post, "/v1/spaces/{space}/consolidate"),
        (
            "EG.CONSOLIDATE",
            "Moves what the shards of a space have stored from the log into columns.",
        ),
        Shape::Plain,
    ),
    query::<requests::Consolidate, schemas::Status>(
        "consolidate",
        (Verb::Post, "/v1/consolidate"),
        ("EG.CONSOLIDATE", "Moves what is stored from the log into columns, on all shards."),
        Shape::Plain,
    ),
    body::<requests::Snapshot, schemas::Snapshot>(
        "snapshot",
        (Verb::Post, "/v1/snapshots"),
        ("EG.SNAPSHOT", "Copies the store into a folder, while it is written to."),
        ONE,
    ),
    query::<requests::Stats, schemas::Stats>(
        "stats",
        (Verb::Get, "/v1/stats"),
        ("EG.STATS", "Answers figures of the daemon."),
        Shape::Plain,
    ),
    query::<requests::ResetStats, schemas::Status>(
        "reset_stats",
        (Verb::Post, "/v1/stats/reset"),
        ("CONFIG RESETSTAT", "Begins counters and latencies anew."),
        Shape::Plain,
    ),
    query::<requests::Slowlog, schemas::Slowlog>(
        "slowlog",
        (Verb::Get, "/v1/slowlog"),
        ("EG.SLOWLOG GET", "Answers the newest of the commands that were slow."),
        Shape::List("commands"),
    ),
    query::<requests::SlowlogLength, schemas::SlowlogLength>(
        "slowlog_length",
        (Verb::Get, "/v1/slowlog/length"),
        ("EG.SLOWLOG LEN", "Answers how many slow commands are kept."),
        Shape::List("length"),
    ),
    query::<requests::ResetSlowlog, schemas::Status>(
        "reset_slowlog",
        (Verb::Delete, "/v1/slowlog"),
        ("EG.SLOWLOG RESET", "Forgets the commands that were slow."),
        Shape::Plain,
    ),
    query::<requests::Latency, schemas::Latencies>(
        "latency",
        (Verb::Get, "/v1/latency"),
        ("EG.LATENCY GET", "Answers quantiles of commands and stages."),
        Shape::Plain,
    ),
    query::<requests::LatencyHistogram, schemas::Histograms>(
        "latency_histogram",
        (Verb::Get, "/v1/latency/histogram"),
        ("EG.LATENCY HISTOGRAM", "Answers histograms of commands and stages."),
        Shape::Plain,
    ),
    query::<requests::ResetLatency, schemas::LatencyReset>(
        "reset_latency",
        (Verb::Delete, "/v1/latency"),
        ("EG.LATENCY RESET", "Begins the histograms of commands anew."),
        Shape::List("commands"),
    ),
    query::<requests::Info, schemas::Info>(
        "info",
        (Verb::Get, "/v1/info"),
        ("INFO", "Describes the daemon's state, all sections or one."),
        Shape::Sections,
    ),
    query::<requests::Ping, schemas::Status>(
        "ping",
        (Verb::Get, "/v1/ping"),
        ("PING", "Answers PONG, from a shard."),
        Shape::Plain,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Command;

    /// Commands that are about a connection of RESP or send it messages, or about the commands
    /// there are. `EG.WATCH` is an answer without end, at a path of its own.
    const OF_RESP_ALONE: [&str; 8] =
        ["ECHO", "HELLO", "CLIENT", "QUIT", "COMMAND", "EG.WATCH", "EG.UNWATCH", "EG.OBSERVE"];

    #[test]
    fn every_command_is_an_operation() {
        let Ok(Command::Command(query)) = Command::parse(vec!["COMMAND".into(), "LIST".into()])
        else {
            panic!("COMMAND LIST is a command")
        };
        let mut out = Vec::new();
        query.answer(&mut crate::protocol::Encoder::new(&mut out, Default::default()));
        let text = String::from_utf8(out).unwrap();
        let mut names = 0;
        for name in text.lines().filter(|line| line.starts_with(|c: char| c.is_alphabetic())) {
            let name = name.to_uppercase();
            let word = name.split('|').next().unwrap();
            let is_known =
                |operation: &Operation| operation.command.split(' ').next() == Some(word);
            let is_there = OPERATIONS.iter().any(is_known) || OF_RESP_ALONE.contains(&word);
            assert!(is_there, "{name} cannot be asked for over HTTP");
            names += 1;
        }
        assert!(names > 10, "{text}");
    }

    #[test]
    fn names_and_places_are_unique() {
        for (nth, one) in OPERATIONS.iter().enumerate() {
            assert!(std::ptr::eq(Operation::named(one.name).unwrap(), one));
            for other in &OPERATIONS[nth + 1..] {
                assert!((one.verb, one.path) != (other.verb, other.path), "{}", one.name);
            }
        }
    }
}
