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
//! Messages that answer no command stand in a queue beside the replies: see `push.rs`. They come
//! between replies, never inside one, and hold none of them up.
//!
//! A command that reads waits until every write before it on the same connection is answered, so a
//! pipeline reads its own writes.

use std::cell::{Cell, RefCell};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use bytes::Bytes;
use engram_lanes::inbox::Rank;
use slab::Slab;

use super::budget::Held;
use super::client::Client;
use super::commands;
use super::core::Core;
use super::inbox::Inbox;
use super::journal::{Journal, Shown, Timed};
use super::notify::Notify;
use super::observe::Streams;
use super::outgoing::{EncodedReply, Outgoing};
use super::push::{Push, Pushes};
use super::request::Answer;
use super::serve::Permit;
use super::visitor::{self, EdgeDoor, Visitor};
use super::watch::Watches;
use crate::protocol::Encoder;
use crate::runtime::{SocketReader, SocketShutdown, SocketWriter};

/// Commands of a connection that may be open: taken and not answered.
pub const WINDOW: usize = 1024;
/// How many of them may read; nobody knows how large their replies will be.
const READS_MAX: usize = 64;
/// No command is taken while more bytes of replies wait to be written.
const REPLY_BYTES_WAITING: usize = 32 << 20;
/// Encoded replies are written when they reach this.
const WRITE_BYTES: usize = 128 << 10;
/// The room offered to one read, at least and at most.
const READ_BYTES_MIN: usize = 16 << 10;
const READ_BYTES_MAX: usize = 256 << 10;

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
    /// The episode it is about, while lanes are mixed.
    episode: Option<u64>,
    /// Until it is answered: its place among those that are timed.
    timed: Option<u32>,
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
    /// Once writes wait in different lanes: the lane of each episode that open ones are about, and
    /// how many there are.
    mixed: Option<HashMap<u64, (Rank, u32)>>,
    /// The command that was begun and has no slot.
    begun: Option<Timed>,
    /// Those of open slots.
    timed: Slab<Timed>,
}

impl Replies {
    /// Notes in which lane a write of an episode waits, if that matters: that of another one that
    /// is open.
    fn note_lane(&mut self, episode: Option<u64>, rank: Rank) -> (Option<u64>, Rank) {
        let (Some(mixed), Some(episode)) = (&mut self.mixed, episode) else { return (None, rank) };
        let (rank, open) = mixed.entry(episode).or_insert((rank, 0));
        *open += 1;
        (Some(episode), *rank)
    }

    /// The write of an episode that was noted is answered.
    fn leave_lane(&mut self, noted: Option<u64>) {
        if let (Some(mixed), Some(episode)) = (&mut self.mixed, noted)
            && let Entry::Occupied(mut entry) = mixed.entry(episode)
        {
            entry.get_mut().1 -= 1;
            if entry.get().1 == 0 {
                entry.remove();
            }
        }
    }

    fn is_full(&self) -> bool {
        self.open >= WINDOW || self.reads >= READS_MAX || self.bytes >= REPLY_BYTES_WAITING
    }
}

/// See the top of the file.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) client: Client,
    replies: RefCell<Replies>,
    pub(super) pushes: RefCell<Pushes>,
    pub(super) watches: Watches,
    pub(super) streams: Streams,
    journal: Rc<Journal>,
    /// Since when the client has not taken what is being written.
    writing_since_ns: Cell<Option<u64>>,
    /// The writer has something to do.
    ready: Notify,
    /// The reader may go on.
    progress: Notify,
    /// No more commands will come.
    is_finished: Cell<bool>,
    /// The writer is gone: replies have nowhere to go.
    is_broken: Cell<bool>,
    /// No more commands are to be taken.
    stopped: Notify,
    /// `None` when there is no socket, or when it is the edge's by now.
    end: RefCell<Option<SocketEnd>>,
}

/// What a connection has of its socket beside the two directions.
#[derive(Debug)]
pub(super) struct SocketEnd {
    pub(super) shutdown: SocketShutdown,
    pub(super) permit: Permit,
}

impl Connection {
    pub(super) fn new(client: Client, journal: Rc<Journal>, end: Option<SocketEnd>) -> Self {
        Self {
            client,
            replies: RefCell::default(),
            pushes: RefCell::default(),
            watches: Watches::default(),
            streams: Streams::default(),
            journal,
            writing_since_ns: Cell::new(None),
            ready: Notify::default(),
            progress: Notify::default(),
            is_finished: Cell::new(false),
            is_broken: Cell::new(false),
            stopped: Notify::default(),
            end: RefCell::new(end),
        }
    }

    /// Whether writes wait in different lanes.
    pub(super) fn is_mixed(&self) -> bool {
        self.replies.borrow().mixed.is_some()
    }

    /// Writes will wait in different lanes. To be called while none is open.
    pub(super) fn mix(&self) {
        self.replies.borrow_mut().mixed.get_or_insert_default();
    }

    /// A command is about to be carried out: the next slot is for its reply.
    pub(super) fn begin(&self, command: &'static str, shown: Shown, at_ns: u64) {
        self.replies.borrow_mut().begun = Some(self.journal.begin(command, shown, at_ns));
    }

    /// It was carried out or is under way. Some have no reply.
    pub(super) fn end_begin(&self) {
        self.replies.borrow_mut().begun = None;
    }

    /// A shard has told how long the command of a slot waited in a lane.
    pub(super) fn waited(&self, slot: u64, queued_us: u32) {
        let mut replies = self.replies.borrow_mut();
        let Replies { slots, first, timed, .. } = &mut *replies;
        // What a command does not wait for may be told behind its end.
        let nth = slot.checked_sub(*first).and_then(|nth| usize::try_from(nth).ok());
        let slot = nth.and_then(|nth| slots.get(nth));
        if let Some(place) = slot.and_then(|slot| slot.timed) {
            timed[place as usize].waited(queued_us);
        }
    }

    /// A slot for the reply to a write of an episode, and the lane that is for it. One that would
    /// overtake another of the same episode waits in the lane of that one.
    pub(super) fn reserve_write(&self, episode: Option<u64>, rank: Rank) -> (u64, Rank) {
        let slot = self.reserve(Kind::Write);
        let mut replies = self.replies.borrow_mut();
        let (noted, rank) = replies.note_lane(episode, rank);
        let entry = replies.slots.back_mut().expect("just reserved");
        entry.episode = noted;
        (slot, rank)
    }

    /// A slot for the reply to a command.
    pub(super) fn reserve(&self, kind: Kind) -> u64 {
        let mut replies = self.replies.borrow_mut();
        replies.open += 1;
        replies.writes += usize::from(kind == Kind::Write);
        replies.reads += usize::from(kind == Kind::Read);
        let timed = replies.begun.take().map(|begun| replies.timed.insert(begun));
        let timed = timed.map(|place| u32::try_from(place).expect("open slots are bounded"));
        replies.slots.push_back(Slot { reply: None, kind, episode: None, timed });
        replies.first + replies.slots.len() as u64 - 1
    }

    pub(super) fn fulfil(&self, slot: u64, reply: Outgoing) {
        let mut replies = self.replies.borrow_mut();
        let nth = usize::try_from(slot - replies.first).expect("a slot is fulfilled once");
        replies.bytes += reply.bytes();
        let entry = &mut replies.slots[nth];
        entry.reply = Some(reply);
        let (kind, episode, timed) = (entry.kind, entry.episode, entry.timed.take());
        if let Some(place) = timed {
            let timed = replies.timed.remove(place as usize);
            self.journal.end(timed, kind == Kind::Write, &self.client);
        }
        replies.leave_lane(episode);
        replies.open -= 1;
        replies.writes -= usize::from(kind == Kind::Write);
        replies.reads -= usize::from(kind == Kind::Read);
        self.progress.notify();
        if nth == 0 {
            self.ready.notify();
        }
    }

    /// Adds a message that answers no command.
    pub(super) fn push(&self, push: Push) {
        self.pushes.borrow_mut().push(push);
        self.ready.notify();
    }

    pub(super) fn writing_since_ns(&self) -> Option<u64> {
        self.writing_since_ns.get()
    }

    /// Whether messages may come that only RESP3 has.
    pub(super) fn has_streams(&self) -> bool {
        !self.watches.is_empty() || !self.streams.is_empty()
    }

    /// Housekeeping, a few times a second.
    pub(super) fn tick(&self, core: &Core) {
        self.watches.tick(core, self);
    }

    /// Reserves and fulfils in one.
    pub(super) fn reply(&self, reply: Outgoing) {
        let slot = self.reserve(Kind::Other);
        self.fulfil(slot, reply);
    }

    pub(super) fn reply_with(&self, encode: impl FnOnce(&mut Encoder<'_>) + 'static) {
        self.reply(Outgoing::encoded(encode));
    }

    /// Fulfils a slot with a shard's answer.
    pub(super) fn fulfil_with(&self, slot: u64, assigned: Option<Bytes>, answer: Answer) {
        self.fulfil(slot, Outgoing::Stored { assigned, result: answer });
    }

    fn owed(&self) -> usize {
        self.replies.borrow().slots.len()
    }

    pub(super) fn is_full(&self) -> bool {
        let is_full = self.replies.borrow().is_full();
        is_full || self.pushes.borrow().is_full() || self.streams.is_full()
    }

    /// Waits until another command may be taken.
    pub(super) async fn wait_for_room(&self) {
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

    /// A write of an episode that has no reply of its own: what is to be said at its end, and the
    /// lane that is for it.
    pub(super) fn begin_write(&self, episode: Option<u64>, rank: Rank) -> (Option<u64>, Rank) {
        let mut replies = self.replies.borrow_mut();
        replies.writes += 1;
        replies.note_lane(episode, rank)
    }

    pub(super) fn end_write(&self, noted: Option<u64>) {
        let mut replies = self.replies.borrow_mut();
        replies.writes -= 1;
        replies.leave_lane(noted);
        self.progress.notify();
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

    /// Waits until every reply so far has been handed to the kernel and no write is under way.
    pub(super) async fn replies_done(&self) {
        while (self.owed() > 0 || self.has_writes()) && !self.is_broken.get() {
            self.progress.wait().await;
        }
    }

    /// Stops reading, because the daemon stops; what was taken is still answered.
    pub(super) fn stop(&self, core: &Core) {
        self.watches.cut_all(core, self, "BUSY the daemon stops; go on with the next one");
        if let Some(end) = &*self.end.borrow() {
            end.shutdown.reading();
        }
        self.stopped.notify();
    }

    /// Waits until no more commands are to be taken.
    pub(super) async fn stopped(&self) {
        self.stopped.wait().await;
    }

    /// Waits until there may be something to write.
    pub(super) async fn wait_for_reply(&self) {
        self.ready.wait().await;
    }

    /// What was taken to be written is on its way to the client.
    pub(super) fn begin_writing(&self, core: &Core) {
        self.writing_since_ns.set(Some(core.now_ns()));
    }

    /// It has been written.
    pub(super) fn end_writing(&self) {
        self.writing_since_ns.set(None);
        self.progress.notify();
        self.watches.stir();
    }

    /// No more commands will come.
    pub(super) fn finish(&self) {
        self.is_finished.set(true);
        self.ready.notify();
        self.watches.stir();
    }

    /// Whether no more commands will come, or nobody would read an answer.
    pub(super) fn is_ended(&self) -> bool {
        self.is_finished.get() || self.is_broken.get()
    }

    pub(super) fn is_broken(&self) -> bool {
        self.is_broken.get()
    }

    /// Everything that was taken is answered and told, and no more commands will come.
    pub(super) fn is_over(&self) -> bool {
        let is_told = self.pushes.borrow().is_empty() && self.streams.is_settled();
        self.is_finished.get() && self.owed() == 0 && is_told
    }

    pub(super) fn break_off(&self, core: &Core) {
        self.is_broken.set(true);
        self.progress.notify();
        self.watches.stir();
        if let Some(SocketEnd { shutdown, .. }) = self.end.take() {
            shutdown.both();
        }
        let streams = self.streams.break_off() as u64;
        core.measure(|metrics| metrics.streams_open -= streams);
    }

    /// Hands the socket to the edge with what was read of it, or says that there is none.
    fn leave_for(&self, edge: &EdgeDoor, inbox: Inbox) {
        let mut end = self.end.borrow_mut();
        let shared = end.as_ref().and_then(|end| end.shutdown.share().ok());
        let (Some(edge), Some(socket)) = (edge, shared) else {
            drop(end);
            return self.reply(Outgoing::OfEdge(visitor::edge_is_off()));
        };
        let SocketEnd { permit, .. } = end.take().expect("it was there to be shared");
        let visitor = Visitor { socket, bytes: inbox.into_bytes(), peer: self.client.peer, permit };
        // An edge that has gone takes the daemon with it.
        let _ = edge.send(visitor);
    }
}

/// The task that reads commands; some may have been read before.
pub(super) async fn read(
    core: Rc<Core>,
    connection: Rc<Connection>,
    mut socket: SocketReader,
    mut inbox: Inbox,
    edge: EdgeDoor,
) {
    let mut room = READ_BYTES_MIN;
    while take_commands(&core, &connection, &mut inbox).await {
        // Who is told too early that there is no edge may be writing still, and lose the answer.
        if inbox.is_http() && (edge.is_some() || inbox.has_http_head()) {
            connection.leave_for(&edge, inbox);
            break;
        }
        core.turn();
        core.breathe_if_due().await;
        connection.wait_for_room().await;
        if connection.is_broken.get() {
            break;
        }
        let offered = inbox.offer(room.max(inbox.wanted()));
        let got = socket.read(offered).await.unwrap_or(0);
        inbox.fill(got);
        if got == 0 {
            break;
        }
        room = if got >= room { (room * 2).min(READ_BYTES_MAX) } else { room };
        if got < room / 8 {
            room = (room / 2).max(READ_BYTES_MIN);
        }
    }
    connection.finish();
}

/// Carries out every complete command that was read; false when there will be no more.
async fn take_commands(core: &Rc<Core>, connection: &Rc<Connection>, inbox: &mut Inbox) -> bool {
    let at_ns = core.now_ns();
    loop {
        if connection.is_full() {
            core.turn();
            connection.wait_for_room().await;
        }
        match inbox.next() {
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

/// The task that writes replies; some may have been made before.
pub(super) async fn write(
    core: Rc<Core>,
    connection: Rc<Connection>,
    mut socket: SocketWriter,
    unsent: Vec<u8>,
) {
    let mut out = unsent;
    let mut held = Vec::new();
    loop {
        let is_last = encode_ready(&core, &connection, &mut out, &mut held);
        if !out.is_empty() {
            connection.begin_writing(&core);
            if socket.write_all(&out).await.is_err() {
                break;
            }
            held.clear();
            out.clear();
            out.shrink_to(WRITE_BYTES * 2);
            connection.end_writing();
            core.breathe_if_due().await;
        }
        if is_last || connection.is_over() {
            break;
        }
        if !has_ready(&connection) {
            connection.wait_for_reply().await;
        }
    }
    connection.break_off(&core);
}

/// Whether there is anything to be written.
pub(super) fn has_ready(connection: &Connection) -> bool {
    let replies = connection.replies.borrow();
    let is_front_ready = replies.slots.front().is_some_and(|slot| slot.reply.is_some());
    is_front_ready || !connection.pushes.borrow().is_empty()
}

/// Encodes replies from the front, as far as they are ready, and messages between them; whether the
/// last reply was among them.
pub(super) fn encode_ready(
    core: &Core,
    connection: &Connection,
    out: &mut Vec<u8>,
    held: &mut Vec<Held>,
) -> bool {
    let mut pushed = 0;
    let is_last = encode_whole(connection, out, held, &mut pushed);
    if pushed > 0 {
        core.measure(|metrics| metrics.episodes_pushed += pushed);
    }
    is_last
}

fn encode_whole(
    connection: &Connection,
    out: &mut Vec<u8>,
    held: &mut Vec<Held>,
    pushed: &mut u64,
) -> bool {
    while out.len() < WRITE_BYTES {
        let outgoing = connection.pop();
        let has_reply = outgoing.is_some();
        if outgoing.is_some_and(|outgoing| outgoing.encode(&connection.client, out, held)) {
            return true;
        }
        let push = connection.pushes.borrow_mut().pop();
        match push {
            Some(push) => {
                *pushed += u64::from(matches!(push, Push::Episode { .. }));
                let rest = push.encode(&connection.client, out, held);
                rest.into_iter().for_each(|rest| connection.pushes.borrow_mut().push(rest));
            }
            None if !has_reply => break,
            None => {}
        }
    }
    false
}
