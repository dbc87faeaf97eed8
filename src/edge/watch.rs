//! `GET /v1/watch`: new episodes of a memory space as Server-Sent Events.
//!
//! It is `EG.WATCH` on a conversation of its own. Credit is what the client has taken: a shard may
//! send so many events ahead, and gets as much more as have left for the connection.
//!
//! ```text
//! shard ─ messages, while there is credit ─► chunk ─► frame ─► client
//!   ▲                                                   │
//!   └──────────── EG.WATCH MORE, for what was taken ────┘
//! ```
//!
//! Nothing is taken from the shard before the last frame was: so behind a client that does not read
//! stand two frames and what a connection of the shard may hold, and after `stream_patience_ms` the
//! shard cuts the watch. Where shards and sequences stand is the id of each event, so a browser's
//! `EventSource`, which sends the last one it saw, goes on there by itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_lite::future;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::sleep;

use super::answers::{self, Shape, Told};
use super::batch::EVENTS;
use super::bodies::Stream;
use super::bounds::{EVENTS_AHEAD_MAX, SILENCE_TIMEOUT};
use super::problem::Problem;
use super::requests::{self, Asked, Target};
use super::service::{Shared, as_json, caller, json, query};
use super::shards::Line;
use super::vectors::VectorForm;

/// The id of the last event that a client saw.
const LAST_EVENT: &str = "last-event-id";
/// Credit is given for this many events together.
const CREDIT_STEP: u64 = EVENTS_AHEAD_MAX / 2;
/// A line that says nothing.
const SILENCE: &[u8] = b":\n\n";

/// How a watch began, as its shard says it.
#[derive(Debug, Deserialize)]
struct Begun {
    watch: u64,
    from: Vec<u64>,
}

/// Answers the path.
pub async fn answer(service: Shared, request: Request) -> Result<Response, Problem> {
    service.check_serves()?;
    let mut fields = query(request.uri());
    if let Some(last) = request.headers().get(LAST_EVENT).filter(|last| !last.is_empty()) {
        // Where the client is by now; the address says where it began.
        fields.insert("from".into(), String::from_utf8_lossy(last.as_bytes()).into_owned());
    }
    let Asked { words, form } =
        requests::ask::<requests::Watch>(&Target::default(), &as_json(&fields))?;
    let permit = service.watches.clone().try_acquire_owned();
    let permit = permit.map_err(|_| Problem::busy("the list of watches over HTTP is full"))?;
    let (line, chunk) = service.shards.begin(caller(&request), words).await?;
    let mut rest = &chunk[..];
    let begun = answers::take(&mut rest, Shape::Plain, VectorForm::default())?;
    if let Some(problem) = begun.problem {
        return Err(problem);
    }
    let Begun { watch, from } =
        serde_json::from_slice(&begun.body).map_err(|_| answers::Garbled)?;
    let (frames, receiver) = mpsc::channel(1);
    let follower = Follower {
        line,
        form,
        watch,
        places: from.chunks_exact(2).map(|place| (place[0], place[1])).collect(),
        frames,
        taken: 0,
        _permit: permit,
    };
    let first = chunk.slice_ref(rest);
    tokio::spawn(follower.run(first));
    let mut response = json(Stream::body(receiver));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(EVENTS));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// A watch under way.
struct Follower {
    line: Line,
    form: VectorForm,
    watch: u64,
    /// Through which sequence of each shard the client has everything, behind the last event.
    places: BTreeMap<u64, u64>,
    frames: mpsc::Sender<Bytes>,
    /// Events that were handed over since credit was given last.
    taken: u64,
    _permit: OwnedSemaphorePermit,
}

/// What a watch waits for.
enum Event {
    Gone,
    Chunk(Option<Bytes>),
    Silence,
}

/// A frame, what stands in it, and whether it is the last.
#[derive(Default)]
struct Frame {
    bytes: Vec<u8>,
    events: u64,
    is_last: bool,
}

impl Follower {
    /// Goes on until the watch ends, the client goes or the daemon stops.
    async fn run(mut self, first: Bytes) {
        let mut frame = Frame::default();
        let from = self.places();
        event("watching", &from, format!("{{\"from\":\"{from}\"}}").as_bytes(), &mut frame.bytes);
        self.write(&first, &mut frame);
        loop {
            let Frame { bytes, events, is_last } = std::mem::take(&mut frame);
            if self.frames.send(bytes.into()).await.is_err() || is_last {
                return;
            }
            // Also what was handed over has to be taken before more is asked for.
            if self.frames.reserve().await.is_err() {
                return;
            }
            self.give_credit(events);
            match self.wait().await {
                Event::Gone => return,
                Event::Silence => frame.bytes.extend_from_slice(SILENCE),
                Event::Chunk(Some(chunk)) if !chunk.is_empty() => self.write(&chunk, &mut frame),
                Event::Chunk(_) => self.cut(&Problem::stopping(), &mut frame),
            }
        }
    }

    async fn wait(&self) -> Event {
        let gone = async {
            self.frames.closed().await;
            Event::Gone
        };
        let chunk = async { Event::Chunk(self.line.replies.recv_async().await.ok()) };
        let silence = async {
            sleep(SILENCE_TIMEOUT).await;
            Event::Silence
        };
        future::or(gone, future::or(chunk, silence)).await
    }

    /// Gives back the credit of events that the connection has taken.
    fn give_credit(&mut self, events: u64) {
        self.taken += events;
        if self.taken < CREDIT_STEP {
            return;
        }
        let more = ["EG.WATCH", "MORE", &self.watch.to_string(), &self.taken.to_string()]
            .map(|word| Bytes::copy_from_slice(word.as_bytes()));
        let commands = self.line.commands.as_ref();
        if commands.is_some_and(|commands| commands.try_send(more.into()).is_ok()) {
            self.taken = 0;
        }
    }

    /// Writes what the shard has told as events.
    fn write(&mut self, chunk: &Bytes, frame: &mut Frame) {
        let mut bytes = &chunk[..];
        while !bytes.is_empty() && !frame.is_last {
            match answers::take_told(&mut bytes, self.form) {
                Ok(Told::Credit) => {}
                Ok(Told::Episode { shard, sequence, episode }) => {
                    self.places.insert(shard, sequence);
                    let mut data = format!("{{\"shard\":{shard},\"episode\":").into_bytes();
                    data.extend_from_slice(&episode);
                    data.push(b'}');
                    event("episode", &self.places(), &data, &mut frame.bytes);
                    frame.events += 1;
                }
                Ok(Told::Cut { problem, at }) => {
                    self.places = at.into_iter().collect();
                    self.cut(&problem, frame);
                }
                Err(garbled) => self.cut(&garbled.into(), frame),
            }
        }
    }

    /// The last event says why, and where another watch would go on.
    fn cut(&self, problem: &Problem, frame: &mut Frame) {
        let mut data = b"{\"problem\":".to_vec();
        data.extend_from_slice(&problem.json());
        data.push(b'}');
        event("cut", &self.places(), &data, &mut frame.bytes);
        frame.is_last = true;
    }

    /// Where the client is, as the id of an event.
    fn places(&self) -> String {
        let mut text = String::new();
        for (shard, sequence) in &self.places {
            let before = if text.is_empty() { "" } else { "," };
            // Writing to a string cannot fail.
            let _ = write!(text, "{before}{shard}:{sequence}");
        }
        text
    }
}

/// Writes an event. Its data is one line.
fn event(name: &str, id: &str, data: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("id: {id}\nevent: {name}\ndata: ").as_bytes());
    out.extend_from_slice(data);
    out.extend_from_slice(b"\n\n");
}
