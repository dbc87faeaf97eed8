//! An open loop: requests are sent when they are due, whatever has come back.
//!
//! Latency counts from when a request was due, not from when it was sent, so a daemon or client
//! that stalls cannot hide the requests that it held up. One thread serves all connections and
//! never spins: it sleeps until the next request is due or a reply is there, sends what is due,
//! takes what has arrived. At high rates requests are due in groups, so that it wakes at most
//! [`WAKES_PER_S_MAX`] times a second for them; a group is harder on the daemon than the same
//! requests evenly spaced.

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use thiserror::Error;

use crate::pipe::{self, Pipe, PipeError};
use crate::random::Random;
use crate::resp::Reply;
use crate::vectors::Halves;

/// Moments at which something is due, per second and kind of request.
const WAKES_PER_S_MAX: u32 = 5000;
/// Longer latencies are counted as this long.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// The daemon is far behind when so much is waiting to be taken by its sockets.
const UNSENT_BYTES_MAX: usize = 256 << 20;
/// How long replies may take after the last request.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);
/// Vectors that stores and recalls take turns with.
const VECTORS: usize = 64;
/// The scheduler's default would add up to 50 µs to every sleep.
const TIMER_SLACK_NS: u64 = 1;

#[derive(Debug, Error)]
pub enum OpenLoopError {
    #[error(transparent)]
    Pipe(#[from] PipeError),
    #[error(
        "engramd does not keep up: {bytes} bytes of requests wait to be sent; choose lower rates"
    )]
    TooSlow { bytes: usize },
    #[error("{missing} replies are missing {} s after the last request", DRAIN_TIMEOUT.as_secs())]
    Missing { missing: u64 },
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Store,
    Recall,
}

/// Requests of one kind at an even rate.
#[derive(Debug, Clone, Copy)]
pub struct Stream {
    pub kind: Kind,
    pub per_s: u32,
    pub count: u64,
}

/// What became of the requests of one kind.
#[derive(Debug)]
pub struct Outcome {
    pub answered: u64,
    pub refused: u64,
    /// Refusals by code.
    pub refusals: BTreeMap<String, u64>,
    /// From when a request was due to its reply; refusals are not counted.
    pub latency_ns: Histogram<u64>,
    /// From when a request was due to when this client had handed it to the kernel or its queue.
    pub sent_late_ns: Histogram<u64>,
}

/// What a client speaks to.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    pub socket: &'a Path,
    pub space: &'a str,
    pub dimensions: usize,
    /// Number of the first episode that is stored; those below exist already.
    pub first_episode: u64,
}

/// A client with its connections.
#[derive(Debug)]
pub struct OpenLoop {
    /// What is under way has when it was due for a note.
    pipes: Vec<Pipe<(Instant, Kind)>>,
    space: String,
    vectors: Vec<Vec<u8>>,
    /// What is stored instead of those: the episode's number is that of its row.
    rows: Option<Arc<Halves>>,
    text: String,
    /// Number of the next episode, and of the next request.
    next: u64,
    sent: usize,
}

/// A stream on its way.
struct Schedule {
    stream: Stream,
    group: u64,
    interval: Duration,
    next: Instant,
    left: u64,
    outcome: Outcome,
}

impl OpenLoop {
    /// Connects to a daemon that has the space.
    pub fn connect(target: &Target<'_>, connections: usize) -> io::Result<Self> {
        let Target { socket, space, dimensions, first_episode } = *target;
        let mut random = Random::default();
        let mut vector = || (0..dimensions).flat_map(|_| random.next_f32().to_le_bytes()).collect();
        rustix::thread::set_current_timer_slack(NonZeroU64::new(TIMER_SLACK_NS))?;
        Ok(Self {
            pipes: (0..connections).map(|_| Pipe::connect(socket)).collect::<io::Result<_>>()?,
            space: space.to_owned(),
            vectors: (0..VECTORS).map(|_| vector()).collect(),
            rows: None,
            text: "What was said, in about as many words as people use at once. ".repeat(3),
            next: first_episode,
            sent: 0,
        })
    }

    /// Stores these rows, each once, and asks for those cues in turn.
    pub fn with_vectors(self, rows: Arc<Halves>, cues: Vec<Vec<u8>>) -> Self {
        Self { rows: Some(rows), vectors: cues, ..self }
    }

    /// Sends all requests of all streams when they are due and waits for the replies; an outcome
    /// for each stream.
    pub fn run(&mut self, streams: &[Stream]) -> Result<Vec<Outcome>, OpenLoopError> {
        let start = Instant::now() + Duration::from_millis(1);
        let mut schedules: Vec<Schedule> =
            streams.iter().map(|stream| Schedule::new(*stream, start)).collect();
        let mut over_since = None;
        loop {
            let mut next: Option<Instant> = None;
            for schedule in schedules.iter_mut().filter(|schedule| schedule.left > 0) {
                self.send_due(schedule);
                if schedule.left > 0 {
                    next = Some(next.map_or(schedule.next, |next| next.min(schedule.next)));
                }
            }
            self.flush()?;
            let missing = pipe::owed(&self.pipes);
            if next.is_none() {
                if missing == 0 {
                    return Ok(schedules.into_iter().map(|schedule| schedule.outcome).collect());
                }
                let since = *over_since.get_or_insert_with(Instant::now);
                next = Some(since + DRAIN_TIMEOUT);
                if since.elapsed() >= DRAIN_TIMEOUT {
                    return Err(OpenLoopError::Missing { missing });
                }
            }
            let next = next.expect("just set");
            let timeout = next.saturating_duration_since(Instant::now());
            pipe::wait(&self.pipes, timeout).map_err(PipeError::from)?;
            self.receive(&mut schedules)?;
        }
    }

    /// Queues the groups that are due.
    fn send_due(&mut self, schedule: &mut Schedule) {
        while schedule.left > 0 && schedule.next <= Instant::now() {
            for _ in 0..schedule.group.min(schedule.left) {
                self.push(schedule.stream.kind, schedule.next);
                let late = schedule.next.elapsed().as_nanos() as u64;
                schedule.outcome.sent_late_ns.saturating_record(late);
                schedule.left -= 1;
            }
            schedule.next += schedule.interval;
        }
    }

    fn push(&mut self, kind: Kind, due: Instant) {
        let nth = self.next as usize;
        let own = self.rows.as_ref().filter(|_| kind == Kind::Store).map(|rows| rows.blob(nth));
        self.next += u64::from(kind == Kind::Store || self.rows.is_none());
        self.sent += 1;
        let count = self.pipes.len();
        let pipe = &mut self.pipes[self.sent % count];
        let cue = &self.vectors[self.sent % self.vectors.len()];
        let (space, vector) = (self.space.as_bytes(), own.as_ref().unwrap_or(cue).as_slice());
        let text = self.text.as_bytes();
        match kind {
            Kind::Store => {
                let id = format!("episode-{nth:010}");
                let parts = [b"EG.STORE", space, id.as_bytes(), b"VEC", vector, b"TEXT", text];
                pipe.push(&parts, (due, kind));
            }
            Kind::Recall => {
                let parts = [b"EG.RECALL", space, b"K", b"10", b"VEC", vector];
                pipe.push(&parts, (due, kind));
            }
        }
    }

    fn flush(&mut self) -> Result<(), OpenLoopError> {
        let mut unsent = 0;
        for pipe in &mut self.pipes {
            pipe.flush().map_err(PipeError::from)?;
            unsent += pipe.unsent_bytes();
        }
        if unsent > UNSENT_BYTES_MAX {
            return Err(OpenLoopError::TooSlow { bytes: unsent });
        }
        Ok(())
    }

    fn receive(&mut self, schedules: &mut [Schedule]) -> Result<(), PipeError> {
        for pipe in self.pipes.iter_mut().filter(|pipe| pipe.owed() > 0) {
            let mut now = None;
            pipe.receive(|(due, kind), reply| {
                let now = *now.get_or_insert_with(Instant::now);
                let schedule = schedules.iter_mut().find(|schedule| schedule.stream.kind == kind);
                schedule.expect("it was sent by one").outcome.take(reply, now - due);
            })?;
        }
        Ok(())
    }
}

impl Schedule {
    fn new(stream: Stream, start: Instant) -> Self {
        let group = u64::from(stream.per_s.div_ceil(WAKES_PER_S_MAX)).max(1);
        let interval = Duration::from_secs_f64(group as f64 / f64::from(stream.per_s));
        Self { stream, group, interval, next: start, left: stream.count, outcome: Outcome::new() }
    }
}

impl Outcome {
    fn new() -> Self {
        let histogram = || {
            Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3)
                .expect("the bounds and three digits are valid")
        };
        Self {
            answered: 0,
            refused: 0,
            refusals: BTreeMap::new(),
            latency_ns: histogram(),
            sent_late_ns: histogram(),
        }
    }

    fn take(&mut self, reply: &Reply<'_>, latency: Duration) {
        if let Reply::Error(error) = reply {
            let code = error.split(|byte| *byte == b' ').next().unwrap_or_default();
            *self.refusals.entry(String::from_utf8_lossy(code).into_owned()).or_default() += 1;
            self.refused += 1;
            return;
        }
        self.answered += 1;
        self.latency_ns.saturating_record(latency.as_nanos() as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixListener;

    use super::*;

    /// A daemon that answers each request after `delay`, with a refusal every tenth time.
    fn answer(listener: &UnixListener, requests: usize, delay: Duration) {
        let (mut stream, _) = listener.accept().unwrap();
        let mut read = [0; 64 << 10];
        let mut seen = Vec::new();
        let mut answered = 0;
        // The greeting is the first request.
        while answered < requests + 1 {
            let bytes = stream.read(&mut read).unwrap();
            seen.extend_from_slice(&read[..bytes]);
            while let Ok(Some((_, bytes))) = Reply::read(&seen) {
                seen.drain(..bytes);
                std::thread::sleep(delay);
                let reply: &[u8] = if answered % 10 == 9 {
                    b"-BUSY later\r\n"
                } else {
                    b"%1\r\n$1\r\na\r\n:1\r\n"
                };
                stream.write_all(reply).unwrap();
                answered += 1;
            }
        }
    }

    fn run(stream: Stream, delay: Duration) -> Outcome {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| answer(&listener, stream.count as usize, delay));
            let target = Target { socket: &socket, space: "s", dimensions: 4, first_episode: 0 };
            let mut client = OpenLoop::connect(&target, 1).unwrap();
            client.run(&[stream]).unwrap().remove(0)
        })
    }

    #[test]
    fn requests_go_out_at_their_rate_and_refusals_are_told_apart() {
        let start = Instant::now();
        let stream = Stream { kind: Kind::Store, per_s: 1000, count: 100 };
        let outcome = run(stream, Duration::ZERO);
        assert!(start.elapsed() >= Duration::from_millis(99), "the last is due after 99 ms");
        assert_eq!((outcome.answered, outcome.refused), (90, 10));
        assert_eq!(outcome.refusals["BUSY"], 10);
    }

    #[test]
    fn waiting_counts_from_when_a_request_was_due() {
        let stream = Stream { kind: Kind::Recall, per_s: 10_000, count: 50 };
        let outcome = run(stream, Duration::from_millis(2));
        // All are due within 5 ms; the last one is answered after 50 answers of 2 ms.
        assert!(outcome.latency_ns.max() >= 90_000_000, "{}", outcome.latency_ns.max());
        assert!(outcome.latency_ns.value_at_quantile(0.5) >= 45_000_000);
    }
}
