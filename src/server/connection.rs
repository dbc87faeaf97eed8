//! One connection: commands in order, replies in order, a bounded window between them.
//!
//! Replies are owed in the order of the commands, but become ready in any order. Each command takes
//! a slot; the writer encodes slots as far as they are ready from the front. A connection whose
//! window is full is not read from. The window bounds the commands that are not answered, and the
//! bytes of replies that wait to be written, so a client that does not read its replies stops its
//! own commands in the end. Until then it may send a long pipeline before it reads the first reply,
//! as stock clients do: commands that are answered do not count, only their bytes. What all replies
//! of a shard may carry together is bounded by [`Core::hold_reply`].
//!
//! A command that reads waits until every write before it on the same connection is answered, so a
//! pipeline reads its own writes.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use engram_shards::episode::Refusal;
use engram_shards::shard::Reply;

use super::budget::Held;
use super::commands;
use super::core::Core;
use super::notify::Notify;
use super::request::Answer;
use crate::protocol::{Encoder, Parser, ParserLimits, ProtocolVersion, reply};
use crate::runtime::{SocketReader, SocketShutdown, SocketWriter};

/// Commands of a connection that may be open: taken and not answered.
pub const WINDOW: usize = 1024;
/// How many of them may read; nobody knows how large their replies will be.
const READS_MAX: usize = 64;
/// No command is taken while more bytes of replies wait to be written.
const REPLY_BYTES_WAITING: usize = 32 << 20;
/// What a reply counts without the parts of an episode.
const REPLY_BYTES: usize = 256;
/// Encoded replies are written when they reach this.
const WRITE_BYTES: usize = 128 << 10;
/// The room offered to one read, at least and at most.
const READ_BYTES_MIN: usize = 16 << 10;
const READ_BYTES_MAX: usize = 256 << 10;

/// Who is at the other end, as the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Number of the connection, from 1.
    pub connection: u64,
    pub uid: u32,
    pub gid: u32,
    pub pid: i32,
}

/// A reply on its way out.
pub(super) enum Outgoing {
    Stored {
        assigned: Option<Bytes>,
        result: Answer,
    },
    /// Changes what the connection speaks, from this reply on.
    Hello {
        version: Option<ProtocolVersion>,
    },
    Refused(Refusal),
    Encode(EncodedReply),
    /// Nothing comes after this.
    Last(EncodedReply),
}

/// A reply that knows how to encode itself, and what it holds of the bound on replies until it is
/// written.
pub(super) struct EncodedReply {
    encode: Box<dyn FnOnce(&mut Encoder<'_>)>,
    held: Vec<Held>,
    /// What it keeps in memory beyond a few hundred bytes.
    bytes: usize,
}

impl EncodedReply {
    pub(super) fn new(encode: impl FnOnce(&mut Encoder<'_>) + 'static) -> Self {
        Self { encode: Box::new(encode), held: Vec::new(), bytes: 0 }
    }

    pub(super) fn weighing(self, bytes: usize) -> Self {
        Self { bytes, ..self }
    }

    pub(super) fn holding(self, held: Vec<Held>) -> Self {
        Self { held, ..self }
    }
}

impl Outgoing {
    /// Bytes it keeps in memory, roughly. What holds a share of the shard's bound on replies is
    /// counted there.
    fn bytes(&self) -> usize {
        let parts = match self {
            Self::Encode(reply) | Self::Last(reply) => reply.bytes,
            Self::Stored { result: Answer::Episode(Ok(Some(episode))), .. } => {
                episode.optional_bytes()
            }
            _ => 0,
        };
        REPLY_BYTES + parts
    }
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outgoing")
    }
}

/// What kind of command a slot is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Changes what is stored; later commands that read wait for it.
    Write,
    /// Reads what is stored; only so many may be open.
    Read,
    /// Neither.
    Other,
}

#[derive(Debug)]
struct Slot {
    reply: Option<Outgoing>,
    kind: Kind,
}

#[derive(Debug, Default)]
struct Replies {
    slots: VecDeque<Slot>,
    /// Number of the first slot.
    first: u64,
    /// Slots that are not answered; how many of them are writes and reads.
    open: usize,
    writes: usize,
    reads: usize,
    /// Bytes that the replies which are ready will take, roughly.
    bytes: usize,
}

impl Replies {
    fn is_full(&self) -> bool {
        self.open >= WINDOW || self.reads >= READS_MAX || self.bytes >= REPLY_BYTES_WAITING
    }
}

/// See the top of the file.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) peer: Peer,
    pub(super) name: RefCell<String>,
    pub(super) library: RefCell<(String, String)>,
    pub(super) version: Cell<ProtocolVersion>,
    replies: RefCell<Replies>,
    /// The writer has something to do.
    ready: Notify,
    /// The reader may go on.
    progress: Notify,
    /// No more commands will come.
    is_finished: Cell<bool>,
    /// The writer is gone: replies have nowhere to go.
    is_broken: Cell<bool>,
    socket: SocketShutdown,
}

impl Connection {
    pub(super) fn new(peer: Peer, socket: SocketShutdown) -> Self {
        Self {
            peer,
            name: RefCell::default(),
            library: RefCell::default(),
            version: Cell::default(),
            replies: RefCell::default(),
            ready: Notify::default(),
            progress: Notify::default(),
            is_finished: Cell::new(false),
            is_broken: Cell::new(false),
            socket,
        }
    }

    /// A slot for the reply to a command.
    pub(super) fn reserve(&self, kind: Kind) -> u64 {
        let mut replies = self.replies.borrow_mut();
        replies.open += 1;
        replies.writes += usize::from(kind == Kind::Write);
        replies.reads += usize::from(kind == Kind::Read);
        replies.slots.push_back(Slot { reply: None, kind });
        replies.first + replies.slots.len() as u64 - 1
    }

    pub(super) fn fulfil(&self, slot: u64, reply: Outgoing) {
        let mut replies = self.replies.borrow_mut();
        let nth = usize::try_from(slot - replies.first).expect("a slot is fulfilled once");
        replies.bytes += reply.bytes();
        let entry = &mut replies.slots[nth];
        entry.reply = Some(reply);
        let kind = entry.kind;
        replies.open -= 1;
        replies.writes -= usize::from(kind == Kind::Write);
        replies.reads -= usize::from(kind == Kind::Read);
        self.progress.notify();
        if nth == 0 {
            self.ready.notify();
        }
    }

    /// Reserves and fulfils in one.
    pub(super) fn reply(&self, reply: Outgoing) {
        let slot = self.reserve(Kind::Other);
        self.fulfil(slot, reply);
    }

    pub(super) fn reply_with(&self, encode: impl FnOnce(&mut Encoder<'_>) + 'static) {
        self.reply(Outgoing::Encode(EncodedReply::new(encode)));
    }

    /// Sends a message back.
    pub(super) fn echo(&self, message: Bytes) {
        let bytes = message.len();
        let reply = EncodedReply::new(move |encoder| encoder.bulk(&message));
        self.reply(Outgoing::Encode(reply.weighing(bytes)));
    }

    /// Fulfils a slot with a shard's answer.
    pub(super) fn fulfil_with(&self, slot: u64, assigned: Option<Bytes>, answer: Answer) {
        self.fulfil(slot, Outgoing::Stored { assigned, result: answer });
    }

    fn owed(&self) -> usize {
        self.replies.borrow().slots.len()
    }

    fn is_full(&self) -> bool {
        self.replies.borrow().is_full()
    }

    /// Waits until another command may be taken.
    async fn wait_for_room(&self) {
        while self.is_full() && !self.is_broken.get() {
            self.progress.wait().await;
        }
    }

    /// Takes the first reply if it is ready.
    fn pop(&self) -> Option<Outgoing> {
        let mut replies = self.replies.borrow_mut();
        replies.slots.front()?.reply.as_ref()?;
        let Slot { reply, .. } = replies.slots.pop_front()?;
        replies.first += 1;
        replies.bytes -= reply.as_ref().map_or(0, Outgoing::bytes);
        reply
    }

    /// Waits until every write so far is answered.
    pub(super) async fn writes_done(&self) {
        while self.replies.borrow().writes > 0 {
            self.progress.wait().await;
        }
    }

    pub(super) fn has_writes(&self) -> bool {
        self.replies.borrow().writes > 0
    }

    /// Waits until every reply so far has been handed to the kernel.
    pub(super) async fn replies_done(&self) {
        while self.owed() > 0 && !self.is_broken.get() {
            self.progress.wait().await;
        }
    }

    /// Stops reading; what was taken is still answered.
    pub(super) fn stop_reading(&self) {
        self.socket.reading();
    }

    fn break_off(&self) {
        self.is_broken.set(true);
        self.progress.notify();
        self.socket.both();
    }
}

/// The task that reads commands.
pub(super) async fn read(core: Rc<Core>, connection: Rc<Connection>, mut socket: SocketReader) {
    let mut parser = Parser::new(ParserLimits::DEFAULT);
    let mut buffer = BytesMut::new();
    let mut room = READ_BYTES_MIN;
    loop {
        connection.wait_for_room().await;
        if connection.is_broken.get() {
            break;
        }
        let kept = buffer.len();
        buffer.resize(kept + room.max(parser.wanted()), 0);
        let got = socket.read(&mut buffer[kept..]).await.unwrap_or(0);
        buffer.truncate(kept + got);
        if got == 0 {
            break;
        }
        room = if got >= room { (room * 2).min(READ_BYTES_MAX) } else { room };
        if got < room / 8 {
            room = (room / 2).max(READ_BYTES_MIN);
        }
        if !take_commands(&core, &connection, &mut parser, &mut buffer).await {
            break;
        }
        core.turn();
        core.breathe_if_due().await;
    }
    connection.is_finished.set(true);
    connection.ready.notify();
}

/// Carries out every complete command in the buffer; false when there will be no more.
async fn take_commands(
    core: &Rc<Core>,
    connection: &Rc<Connection>,
    parser: &mut Parser,
    buffer: &mut BytesMut,
) -> bool {
    let at_ns = core.now_ns();
    loop {
        if connection.is_full() {
            core.turn();
            connection.wait_for_room().await;
        }
        match parser.next(buffer) {
            Ok(Some(arguments)) => {
                if !commands::take(core, connection, arguments, at_ns).await {
                    return false;
                }
            }
            Ok(None) => return true,
            Err(error) => {
                core.measure(|metrics| metrics.protocol_errors += 1);
                let encode = move |encoder: &mut Encoder<'_>| encoder.protocol_error(&error);
                connection.reply(Outgoing::Last(EncodedReply::new(encode)));
                return false;
            }
        }
    }
}

/// The task that writes replies.
pub(super) async fn write(core: Rc<Core>, connection: Rc<Connection>, mut socket: SocketWriter) {
    let mut out = Vec::new();
    let mut held = Vec::new();
    loop {
        let is_last = encode_ready(&connection, &mut out, &mut held);
        if !out.is_empty() {
            if socket.write_all(&out).await.is_err() {
                break;
            }
            held.clear();
            out.clear();
            out.shrink_to(WRITE_BYTES * 2);
            connection.progress.notify();
            core.breathe_if_due().await;
        }
        if is_last || connection.is_finished.get() && connection.owed() == 0 {
            break;
        }
        if !is_front_ready(&connection) {
            connection.ready.wait().await;
        }
    }
    connection.break_off();
}

fn is_front_ready(connection: &Connection) -> bool {
    let replies = connection.replies.borrow();
    replies.slots.front().is_some_and(|slot| slot.reply.is_some())
}

/// Encodes replies from the front, as far as they are ready; whether the last one was among them.
fn encode_ready(connection: &Connection, out: &mut Vec<u8>, held: &mut Vec<Held>) -> bool {
    while out.len() < WRITE_BYTES {
        let Some(outgoing) = connection.pop() else { break };
        if let Outgoing::Hello { version: Some(version) } = &outgoing {
            connection.version.set(*version);
        }
        let mut encoder = Encoder::new(out, connection.version.get());
        match outgoing {
            Outgoing::Stored { assigned, result } => {
                encode_answer(&mut encoder, assigned.as_deref(), &result);
            }
            Outgoing::Hello { .. } => {
                let version = connection.version.get();
                let daemon_version = env!("CARGO_PKG_VERSION");
                reply::hello(&mut encoder, version, daemon_version, connection.peer.connection);
            }
            Outgoing::Refused(refusal) => encoder.refusal(&refusal),
            Outgoing::Encode(reply) => {
                (reply.encode)(&mut encoder);
                held.extend(reply.held);
            }
            Outgoing::Last(reply) => {
                (reply.encode)(&mut encoder);
                return true;
            }
        }
    }
    false
}

/// A shard's answer as it stands in a reply.
pub(super) fn encode_answer(encoder: &mut Encoder<'_>, assigned: Option<&[u8]>, answer: &Answer) {
    match answer {
        Answer::Write(Ok(Reply::Stored(activation))) => {
            reply::stored(encoder, assigned, activation);
        }
        Answer::Write(Ok(Reply::Forgotten { sequence, existed })) => {
            reply::forgotten(encoder, existed.then_some(*sequence));
        }
        Answer::Write(Ok(Reply::Erased { sequence, existed, frames, bytes })) => {
            let (sequence, frames, bytes) = (*sequence, *frames, *bytes);
            reply::erased(encoder, existed.then_some(reply::Erased { sequence, frames, bytes }));
        }
        Answer::Write(Ok(Reply::SpaceCreated { .. } | Reply::SpaceDropped)) => encoder.simple("OK"),
        Answer::Episode(Ok(episode)) => reply::episode(encoder, episode.as_deref()),
        Answer::Write(Err(refusal))
        | Answer::Episode(Err(refusal))
        | Answer::Hits(Err(refusal)) => {
            encoder.refusal(refusal);
        }
        Answer::Hits(Ok(hits)) => reply::recalled(encoder, hits),
        Answer::Scanned(_) | Answer::SpaceStats(_) | Answer::Report(_) => {
            unreachable!("gathered by the task that asked")
        }
    }
}
