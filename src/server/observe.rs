//! Observe streams of a connection: stores without a reply each, acknowledged in ranges.
//!
//! ```text
//! observation n ─ credit? ─ owner ─ answer n ─┐
//!                    │ no                     ├─► entries, in order ─► writer: from..to, refusals
//!                    └──── refused n ─────────┘
//! ```
//!
//! A stream numbers its observations and keeps an entry of each until the client has been told of
//! it. The client is told in the order of the numbers, when the writer gets round to it: the longer
//! that takes, the longer the range. What was accepted is bounded by the credit. What was refused
//! is bounded too: with many refusals untold the connection is not read from.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::{Rc, Weak};

use engram_shards::episode::{Durability, Outcome, Priority, Refusal};
use engram_shards::shard::Reply;

use super::commands::{Encoded, alone, fulfil, refuse};
use super::connection::{Connection, Kind};
use super::core::Core;
use super::notify::Notify;
use super::origin::Origin;
use super::outgoing::EncodedReply;
use super::push::Push;
use super::request::Answer;
use super::route::Route;
use super::storing;
use super::watch::check_version;
use crate::protocol::command::{OBSERVE_CREDIT_MAX, Observation, ObserveOpen};
use crate::protocol::{Command, Encoder, ProtocolVersion, reply};
use crate::runtime;

/// Streams of one connection.
pub const CONNECTION_STREAMS_MAX: usize = 64;
/// Refusals of a connection that may be untold before its commands wait.
const REFUSALS_WAITING_MAX: usize = 1024;
/// The hint that goes with a refusal for want of credit.
const RETRY_CREDIT_MS: u32 = 1;

/// How often observations came to what.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) stored: u64,
    pub(super) existing: u64,
    pub(super) refused: u64,
}

#[derive(Debug)]
struct Entry {
    uses_credit: bool,
    /// `None` until it is known.
    outcome: Option<Result<(), Refusal>>,
}

/// What a stream owes its client.
#[derive(Debug, Default)]
struct Owed {
    /// The number in front of the first entry.
    told: u64,
    entries: VecDeque<Entry>,
    /// Entries that use credit.
    credit_used: usize,
    /// It stands in the queue of messages.
    is_queued: bool,
    counts: Counts,
}

/// See the top of the file.
#[derive(Debug)]
pub(super) struct Stream {
    number: u64,
    route: Route,
    priority: Priority,
    durability: Durability,
    credit: usize,
    owed: RefCell<Owed>,
    is_closing: Cell<bool>,
    /// Nothing is owed any more, or nobody is there to be told.
    settled: Notify,
    connection: Weak<Connection>,
}

impl Stream {
    fn is_settled(&self) -> bool {
        self.owed.borrow().entries.is_empty()
    }

    fn has_credit(&self) -> bool {
        self.owed.borrow().credit_used < self.credit
    }

    /// Takes the next observation: its number.
    fn begin(&self, uses_credit: bool) -> u64 {
        let mut owed = self.owed.borrow_mut();
        owed.credit_used += usize::from(uses_credit);
        owed.entries.push_back(Entry { uses_credit, outcome: None });
        owed.told + owed.entries.len() as u64
    }

    /// The shard's answer to an observation that was accepted.
    pub(super) fn fulfil(self: &Rc<Self>, number: u64, noted: Option<u64>, answer: Answer) {
        let outcome = match answer {
            Answer::Write(Ok(Reply::Stored(activation))) => Ok(activation.outcome),
            Answer::Stored(stored) => Ok(stored.activation.outcome),
            Answer::Write(Err(refusal)) => Err(refusal),
            other => unreachable!("a store was answered with {other:?}"),
        };
        if let Some(connection) = self.connection.upgrade() {
            connection.end_write(noted);
            self.settle(&connection, number, outcome);
        }
    }

    fn settle(
        self: &Rc<Self>,
        connection: &Connection,
        number: u64,
        outcome: Result<Outcome, Refusal>,
    ) {
        let mut owed = self.owed.borrow_mut();
        match &outcome {
            Ok(Outcome::Existing) => owed.counts.existing += 1,
            Ok(Outcome::Created | Outcome::Replaced) => owed.counts.stored += 1,
            Err(_) => {
                owed.counts.refused += 1;
                connection.streams.refusals.set(connection.streams.refusals.get() + 1);
            }
        }
        let nth = usize::try_from(number - owed.told - 1).expect("an entry is settled once");
        owed.entries[nth].outcome = Some(outcome.map(drop));
        let is_due = nth == 0 && !owed.is_queued;
        owed.is_queued |= is_due;
        drop(owed);
        if is_due {
            connection.push(Push::Told(Rc::clone(self)));
        }
    }

    /// Tells the client of the first entries, as far as one message says it; whether there is more
    /// to be told.
    pub(super) fn tell(&self, encoder: &mut Encoder<'_>) -> bool {
        let mut owed = self.owed.borrow_mut();
        let from = owed.told + 1;
        while let Some(Entry { outcome: Some(Ok(())), .. }) = owed.entries.front() {
            owed.tell_one();
        }
        if owed.told >= from {
            reply::observed(encoder, self.number, from, owed.told);
        } else if let Some(Entry { outcome: Some(Err(refusal)), .. }) = owed.entries.front() {
            reply::refused(encoder, self.number, from, refusal);
            owed.tell_one();
            if let Some(connection) = self.connection.upgrade() {
                let refusals = &connection.streams.refusals;
                refusals.set(refusals.get() - 1);
            }
        }
        owed.is_queued = owed.entries.front().is_some_and(|entry| entry.outcome.is_some());
        if owed.entries.is_empty() {
            self.settled.notify();
        }
        owed.is_queued
    }
}

impl Owed {
    fn tell_one(&mut self) {
        let entry = self.entries.pop_front().expect("just seen");
        self.credit_used -= usize::from(entry.uses_credit);
        self.told += 1;
    }
}

/// The observe streams of a connection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: RefCell<BTreeMap<u64, Rc<Stream>>>,
    /// The last number that was given.
    last: Cell<u64>,
    /// Refusals that clients were not told of.
    refusals: Cell<usize>,
}

impl Streams {
    pub(super) fn is_empty(&self) -> bool {
        self.open.borrow().is_empty()
    }

    /// Whether the client is to read before it sends more.
    pub(super) fn is_full(&self) -> bool {
        self.refusals.get() >= REFUSALS_WAITING_MAX
    }

    /// Whether the client was told of everything.
    pub(super) fn is_settled(&self) -> bool {
        self.open.borrow().values().all(|stream| stream.is_settled())
    }

    /// Nobody is there to be told any more: how many streams there were.
    pub(super) fn break_off(&self) -> usize {
        let open = self.open.take();
        open.values().for_each(|stream| stream.settled.notify());
        open.len()
    }

    fn get(&self, number: u64) -> Option<Rc<Stream>> {
        let open = self.open.borrow();
        open.get(&number).filter(|stream| !stream.is_closing.get()).map(Rc::clone)
    }
}

/// Whether a command is about observe streams.
pub(super) fn is_observing(command: &Command) -> bool {
    use Command::{Observe, ObserveClose, ObserveOpen};
    matches!(command, Observe { .. } | ObserveClose { .. } | ObserveOpen(_))
}

/// Carries out a command for which [`is_observing`] holds.
pub(super) async fn take(
    core: &Rc<Core>,
    connection: &Rc<Connection>,
    command: Command,
    at_ns: u64,
) {
    match command {
        Command::Observe { stream, observation } => {
            observe(core, connection, stream, observation.map(|boxed| *boxed), at_ns);
        }
        Command::ObserveOpen(command) => {
            // A HELLO in front of it takes effect with its reply.
            alone(core, connection, async { open(core, connection, &command) }).await;
        }
        Command::ObserveClose { stream } => close(core, connection, stream),
        other => unreachable!("not about observe streams: {other:?}"),
    }
}

fn open(core: &Core, connection: &Rc<Connection>, command: &ObserveOpen) -> Encoded {
    check_version(connection, "EG.OBSERVE")?;
    let streams = &connection.streams;
    let (got, max) = (streams.open.borrow().len() + 1, CONNECTION_STREAMS_MAX);
    if got > max {
        return Err(Refusal::TooBig { what: "the list of this connection's streams", got, max });
    }
    let ObserveOpen { ref space, priority, durability, credit } = *command;
    debug_assert!(credit <= OBSERVE_CREDIT_MAX, "as the command was checked");
    let route = core.route(space)?;
    streams.last.set(streams.last.get() + 1);
    let number = streams.last.get();
    let stream = Rc::new(Stream {
        number,
        route,
        priority,
        durability,
        credit,
        owed: RefCell::default(),
        is_closing: Cell::new(false),
        settled: Notify::default(),
        connection: Rc::downgrade(connection),
    });
    streams.open.borrow_mut().insert(number, stream);
    core.measure(|metrics| metrics.streams_open += 1);
    Ok(EncodedReply::new(move |encoder| reply::observing(encoder, number, credit as u64)))
}

/// Takes one observation, which has no reply.
fn observe(
    core: &Rc<Core>,
    connection: &Rc<Connection>,
    number: u64,
    observation: Result<Observation, Refusal>,
    at_ns: u64,
) {
    core.measure(|metrics| metrics.observations += 1);
    let Some(stream) = connection.streams.get(number) else {
        let refusal = Refusal::Syntax(format!(
            "this connection has no stream {number}; EG.OBSERVE OPEN answers the number of one"
        ));
        // Over RESP2 there is none, and no message that could say so.
        if connection.client.version.get() == ProtocolVersion::Resp2 {
            return refuse(core, connection, refusal);
        }
        core.measure(|metrics| metrics.count_refusal(refusal.code()));
        return connection.push(Push::Refused { stream: number, refusal });
    };
    let accepted = observation.and_then(|observation| match stream.has_credit() {
        true => Ok(observation),
        false => {
            let what = "the credit of the stream";
            Err(Refusal::Busy { what, retry_after_ms: RETRY_CREDIT_MS })
        }
    });
    let nth = stream.begin(accepted.is_ok());
    match accepted {
        Ok(observation) => {
            let store = observation.into_store(stream.priority, stream.durability);
            let uid = connection.client.peer.uid;
            let placed = storing::place(core, &stream.route, store, uid);
            let (episode, rank) = (placed.request.episode(), placed.request.rank());
            let (noted, rank) = connection.begin_write(episode, rank);
            placed.submit(core, rank, at_ns, Origin::Observation { stream, number: nth, noted });
        }
        Err(refusal) => {
            core.measure(|metrics| metrics.count_refusal(refusal.code()));
            stream.settle(connection, nth, Err(refusal));
        }
    }
}

/// Answers when the client has been told of everything.
fn close(core: &Rc<Core>, connection: &Rc<Connection>, number: u64) {
    let Some(stream) = connection.streams.get(number) else {
        return connection.reply_with(|encoder| encoder.null());
    };
    stream.is_closing.set(true);
    let slot = connection.reserve(Kind::Other);
    let (core, connection) = (Rc::clone(core), Rc::clone(connection));
    runtime::spawn(async move {
        while !stream.is_settled() && !connection.is_broken() {
            stream.settled.wait().await;
        }
        if connection.streams.open.borrow_mut().remove(&number).is_some() {
            core.measure(|metrics| metrics.streams_open -= 1);
        }
        let counts = stream.owed.borrow().counts;
        let Counts { stored, existing, refused } = counts;
        let reply = EncodedReply::new(move |encoder| {
            reply::observed_all(encoder, stored, existing, refused);
        });
        fulfil(&core, &connection, slot, Ok(reply));
    });
}
