//! `POST /v1/batch`: many operations in one request, answered one by one in their order.
//!
//! All operations of a batch go over one conversation with one shard, so they mean what the same
//! commands in a pipeline mean: results are those of single requests, writes take effect in order,
//! and what reads waits for the writes before it. A bad operation fails alone.
//!
//! ```text
//! body ─ Source ─► at most 1,000 operations under way ─► shard
//! client ◄─ one frame ◄─ results in order ◄──────────────┘
//! ```
//!
//! Results go out as Server-Sent Events while later operations are carried out, or as one document
//! that is written as it grows. Nothing is collected: a client that does not read stops its own
//! batch, and one that hangs up ends it. Operations in lines (NDJSON) are read while results go
//! out, but only where those are events: who wants one document may send everything first.

mod source;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt::Write as _;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_lite::future;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::source::Source;
use super::answers::{self, Answered, Shape};
use super::bodies::{self, Stream};
use super::bounds::{MANY_BODY_BYTES_MAX, RESULTS_AHEAD_MAX};
use super::operations::{OPERATIONS, Operation};
use super::problem::Problem;
use super::requests::{Asked, Target, misread};
use super::service::{Shared, caller, check_media, json};
use super::shards::Line;
use super::vectors::VectorForm;

/// A list of operations; operations in lines.
const LIST: &str = "application/json";
const MEDIA: [&str; 4] = [LIST, "application/x-ndjson", "application/ndjson", "application/jsonl"];
pub const EVENTS: &str = "text/event-stream";

/// An operation of a batch.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object with op")]
pub struct BatchOperation<'a> {
    /// The name of an operation in this description.
    #[serde(borrow)]
    op: Cow<'a, str>,
    /// The memory space, where the operation's path has one.
    space: Option<String>,
    /// The episode, where the operation's path has one.
    id: Option<String>,
    /// What the operation takes in its body or its query.
    #[serde(borrow)]
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    body: Option<&'a RawValue>,
}

/// Answers the path.
pub async fn answer(service: Shared, mut request: Request) -> Result<Response, Problem> {
    service.check_serves()?;
    let media = check_media(request.headers(), &MEDIA)?;
    let style = Style::of(request.headers());
    let peer = caller(&request);
    let mut body = std::mem::take(request.body_mut());
    let mut taken = service.room.take();
    let source = if media != LIST && style == Style::Events {
        Source::stream(body, taken)
    } else {
        let whole = bodies::read(&mut body, MANY_BODY_BYTES_MAX, &mut taken).await?;
        match media {
            LIST => Source::list(&whole, taken)?,
            _ => Source::lines(whole, taken)?,
        }
    };
    let line = service.shards.converse(peer)?;
    let (frames, receiver) = mpsc::channel(1);
    let run = Run {
        line,
        source,
        style,
        frames,
        frame: Vec::new(),
        waiting: VecDeque::new(),
        summary: Summary::default(),
    };
    tokio::spawn(async move {
        let operations = run.run().await;
        service.count(|counters| {
            counters.batches += 1;
            counters.batch_operations += operations;
        });
    });
    Ok(style.response(Stream::body(receiver)))
}

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Events,
    Document,
}

impl Style {
    /// Events are for those who say that they take them.
    fn of(headers: &HeaderMap) -> Self {
        let accepts = headers.get_all(header::ACCEPT).iter();
        let kinds = accepts.filter_map(|value| value.to_str().ok()).flat_map(|it| it.split(','));
        let is_events = |kind: &str| kind.split(';').next().is_some_and(|it| it.trim() == EVENTS);
        if kinds.into_iter().any(is_events) { Self::Events } else { Self::Document }
    }

    fn response(self, body: Body) -> Response {
        let mut response = json(body);
        if self == Self::Events {
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(EVENTS));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        response
    }

    fn begin(self, out: &mut Vec<u8>) {
        if self == Self::Document {
            out.extend_from_slice(b"{\"results\":[");
        }
    }

    fn result(self, index: u64, answered: &Answered, out: &mut Vec<u8>) {
        let mut head = String::new();
        // Writing to a string cannot fail.
        let _ = match self {
            Self::Events => write!(head, "id: {index}\nevent: batch_result\ndata: "),
            Self::Document if index > 0 => write!(head, ","),
            Self::Document => Ok(()),
        };
        let status = answered.status;
        let _ = write!(head, "{{\"index\":{index},\"status\":{status},\"body\":");
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(&answered.body);
        out.extend_from_slice(if self == Self::Events { b"}\n\n" } else { b"}" });
    }

    fn end(self, summary: &Summary, out: &mut Vec<u8>) {
        let (before, behind): (&[u8], &[u8]) = match self {
            Self::Events => (b"event: batch_done\ndata: ", b"\n\n"),
            Self::Document => (b"],\"summary\":", b"}"),
        };
        out.extend_from_slice(before);
        serde_json::to_writer(&mut *out, summary).expect("a summary has strings and numbers");
        out.extend_from_slice(behind);
    }
}

/// What a batch came to.
#[derive(Debug, Default, Serialize)]
struct Summary {
    /// That were answered.
    operations: u64,
    ok: u64,
    failed: u64,
    degraded: u64,
    pressure_max: f64,
    elapsed_us: u64,
    /// Why there are fewer results than operations, if there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
}

impl Summary {
    fn note(&mut self, answered: &Answered) {
        self.operations += 1;
        match answered.problem {
            None => self.ok += 1,
            Some(_) => self.failed += 1,
        }
        self.degraded += u64::from(answered.is_degraded);
        self.pressure_max = self.pressure_max.max(answered.pressure);
    }
}

/// An operation whose result is not written.
#[derive(Debug)]
enum Waiting {
    /// A shard has it.
    Asked(Shape, VectorForm),
    /// No shard need be asked.
    Refused(Problem),
}

/// A batch under way.
struct Run {
    line: Line,
    source: Source,
    style: Style,
    frames: mpsc::Sender<Bytes>,
    /// What was written and not handed out.
    frame: Vec<u8>,
    /// In the order of the operations.
    waiting: VecDeque<Waiting>,
    summary: Summary,
}

/// What a batch waits for.
enum Event {
    Gone,
    Chunk(Option<Bytes>),
    More(Result<(), Problem>),
}

impl Run {
    /// Carries out the batch until its end or that of the client; how many were answered.
    async fn run(mut self) -> u64 {
        let began = Instant::now();
        self.style.begin(&mut self.frame);
        let ended = self.go_on().await;
        match ended {
            Ok(Some(())) => {}
            // Nobody is there any more.
            Ok(None) => return self.summary.operations,
            Err(problem) => self.summary.problem = Some(problem),
        }
        self.summary.elapsed_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.style.end(&self.summary, &mut self.frame);
        self.flush().await;
        self.summary.operations
    }

    /// `None` when the client has gone. After a problem no more operations are taken, and those
    /// that were are answered first.
    async fn go_on(&mut self) -> Result<Option<()>, Problem> {
        let mut problem = None;
        loop {
            if let Err(refused) = self.ask_ahead() {
                self.source.close();
                problem = problem.or(Some(refused));
            }
            self.write_refused();
            if !self.flush().await {
                return Ok(None);
            }
            if self.source.is_done() {
                // No more commands: the shard may end the conversation.
                self.line.commands = None;
                if self.waiting.is_empty() {
                    return problem.map_or(Ok(Some(())), Err);
                }
            }
            match self.wait().await {
                Event::Gone => return Ok(None),
                Event::Chunk(Some(chunk)) if !chunk.is_empty() => self.take(&chunk)?,
                Event::Chunk(_) => return Err(Problem::stopping()),
                Event::More(Ok(())) => {}
                Event::More(Err(refused)) => {
                    self.source.close();
                    problem = problem.or(Some(refused));
                }
            }
        }
    }

    /// Asks for what is here and has room.
    fn ask_ahead(&mut self) -> Result<(), Problem> {
        while self.waiting.len() < RESULTS_AHEAD_MAX {
            let Some(operation) = self.source.ready()? else { break };
            let waiting = match read(&operation) {
                Ok((operation, Asked { words, form })) => {
                    let commands = self.line.commands.as_ref().ok_or_else(Problem::stopping)?;
                    // There is room: the channel takes as many as may be under way.
                    commands.try_send(words).map_err(|_| Problem::stopping())?;
                    Waiting::Asked(operation.shape, form)
                }
                Err(problem) => Waiting::Refused(problem),
            };
            self.waiting.push_back(waiting);
        }
        Ok(())
    }

    /// Writes the results in front for which no shard is asked.
    fn write_refused(&mut self) {
        while let Some(Waiting::Refused(problem)) = self.waiting.front() {
            let answered = problem.clone().into();
            self.waiting.pop_front();
            self.write(&answered);
        }
    }

    fn write(&mut self, answered: &Answered) {
        self.style.result(self.summary.operations, answered, &mut self.frame);
        self.summary.note(answered);
    }

    /// Writes what a shard has answered.
    fn take(&mut self, chunk: &Bytes) -> Result<(), Problem> {
        let mut bytes = &chunk[..];
        while !bytes.is_empty() {
            self.write_refused();
            let Some(Waiting::Asked(shape, form)) = self.waiting.pop_front() else {
                return Err(answers::Garbled.into());
            };
            let answered = answers::take(&mut bytes, shape, form)?;
            self.write(&answered);
        }
        Ok(())
    }

    /// Hands out what was written, once the client has taken what was before; whether it is there.
    async fn flush(&mut self) -> bool {
        if self.frame.is_empty() {
            return true;
        }
        let frame = std::mem::take(&mut self.frame);
        self.frames.send(frame.into()).await.is_ok()
    }

    async fn wait(&mut self) -> Event {
        let Self { line, source, frames, waiting, .. } = self;
        let gone = async {
            frames.closed().await;
            Event::Gone
        };
        // Also when nothing is asked: a shard that stops says so.
        let chunk = async { Event::Chunk(line.replies.recv_async().await.ok()) };
        let has_room = waiting.len() < RESULTS_AHEAD_MAX;
        let more = async {
            match has_room && !source.is_done() {
                true => Event::More(source.more().await),
                false => future::pending().await,
            }
        };
        future::or(gone, future::or(chunk, more)).await
    }
}

/// What an operation of a batch asks for.
fn read(text: &[u8]) -> Result<(&'static Operation, Asked), Problem> {
    let BatchOperation { op, space, id, body } =
        serde_json::from_slice(text).map_err(|error| misread(&error))?;
    let operation = Operation::named(&op).ok_or_else(|| {
        let names: Vec<&str> = OPERATIONS.iter().map(|operation| operation.name).collect();
        Problem::new("SYNTAX", format!("op must be one of {}, got '{op}'", names.join(", ")))
    })?;
    let body = body.map_or("{}", RawValue::get);
    let asked = (operation.ask)(&Target { space, id }, body.as_bytes())?;
    Ok((operation, asked))
}
