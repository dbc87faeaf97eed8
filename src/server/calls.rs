//! Calls: what another thread of this process asks a shard, without a socket.
//!
//! A conversation is a connection whose commands come from a channel and whose replies go into one,
//! as bytes of RESP3. Between the two it is a [`Connection`] like all others: the same window, the
//! same order, the same bound on replies, so nobody can be answered differently over HTTP.
//!
//! Replies are handed over, not queued: what a chunk of them holds of the shard's bound is given
//! back when the next one is taken, or when the other side has gone. So whoever takes a chunk only
//! when the one before was written to its client is held to the same bound as a client of the
//! socket. When the other side hangs up, what was taken is finished and nothing more is taken.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use futures_lite::future;

use super::client::{Client, Peer};
use super::commands;
use super::connection::{Connection, encode_ready, has_ready};
use super::core::Core;
use super::info::{self, Report};
use super::share::EdgeShare;
use crate::protocol::ProtocolVersion;
use crate::runtime;

/// Calls to one shard that it has not begun with.
pub const CALLS_WAITING_MAX: usize = 64;

/// See the top of the file. Whoever asks and does not want to wait any more hangs up.
#[derive(Debug)]
pub enum Call {
    Converse(Conversation),
    /// The figures of all shards that have time to report.
    Report(flume::Sender<Vec<Report>>),
    /// Why this shard takes no writes, if it does not.
    Health(flume::Sender<Option<String>>),
}

/// The shard's side of a conversation.
#[derive(Debug)]
pub struct Conversation {
    pub peer: Peer,
    /// Arguments, as they would have come over a socket.
    pub commands: flume::Receiver<Vec<Bytes>>,
    /// Whole replies of RESP3, one or more at a time; an empty chunk at the end. The channel holds
    /// none.
    pub replies: flume::Sender<Bytes>,
}

/// The shard's side of all calls.
#[derive(Debug)]
pub(super) struct Calls {
    share: Rc<EdgeShare>,
    open: RefCell<Vec<Rc<Connection>>>,
    is_draining: Cell<bool>,
}

impl Calls {
    /// Of one of so many shards.
    pub(super) fn new(shards: usize) -> Rc<Self> {
        let share = Rc::new(EdgeShare::new(shards));
        Rc::new(Self { share, open: RefCell::default(), is_draining: Cell::new(false) })
    }

    /// The task that takes calls.
    pub(super) async fn serve(self: Rc<Self>, core: Rc<Core>, calls: flume::Receiver<Call>) {
        while let Ok(call) = calls.recv_async().await {
            match call {
                // Dropped: whoever asks sees that nobody is there any more.
                _ if self.is_draining.get() => {}
                Call::Converse(conversation) => self.begin(&core, conversation),
                Call::Report(answer) => {
                    let (core, share) = (Rc::clone(&core), Rc::clone(&self.share));
                    runtime::spawn(async move {
                        share.figures(&core).await;
                        // Whoever asked may be gone.
                        let _ = answer.send(info::reports(&core).await);
                    });
                }
                Call::Health(answer) => drop(answer.send(core.read_only_reason())),
            }
        }
    }

    fn begin(&self, core: &Rc<Core>, conversation: Conversation) {
        let Conversation { peer, commands, replies } = conversation;
        let client = Client::new(peer);
        client.version.set(ProtocolVersion::Resp3);
        let connection = Rc::new(Connection::new(client, Rc::clone(&core.journal), None));
        let mut open = self.open.borrow_mut();
        open.retain(|other| Rc::strong_count(other) > 1);
        open.push(Rc::clone(&connection));
        let (core, share) = (Rc::clone(core), Rc::clone(&self.share));
        runtime::spawn(async move {
            let hears = hear(&core, &share, &connection, commands, &replies);
            future::zip(hears, answer(&core, &share, &connection, &replies)).await;
        });
    }

    /// Takes no more calls and no more commands of those that are open.
    pub(super) fn drain(&self, core: &Core) {
        self.is_draining.set(true);
        self.open.borrow().iter().for_each(|connection| connection.stop(core));
    }

    /// Housekeeping, a few times a second.
    pub(super) fn tick(&self, core: &Core) {
        self.open.borrow().iter().for_each(|connection| connection.tick(core));
    }

    pub(super) fn open(&self) -> usize {
        self.open.borrow().iter().filter(|connection| Rc::strong_count(connection) > 1).count()
    }
}

/// Takes commands as long as there are any and somebody wants to know the replies.
async fn hear(
    core: &Rc<Core>,
    share: &EdgeShare,
    connection: &Rc<Connection>,
    commands: flume::Receiver<Vec<Bytes>>,
    replies: &flume::Sender<Bytes>,
) {
    loop {
        if commands.is_empty() {
            let began_ns = core.now_ns();
            core.turn();
            share.spend(core, began_ns);
        }
        // Also in the midst of a batch: those on the sockets do not wait for its end.
        share.slice(core).await;
        let next = async { commands.recv_async().await.ok() };
        let stopped = async {
            connection.stopped().await;
            None
        };
        // Asked for in this order: who is stopped takes no command that is there.
        let Some(arguments) = future::or(stopped, next).await else { break };
        let at_ns = core.now_ns();
        if connection.is_full() {
            core.turn();
            connection.wait_for_room().await;
        }
        share.figures_of(core, &arguments).await;
        let began_ns = core.now_ns();
        if replies.is_disconnected() || !commands::take(core, connection, arguments, at_ns).await {
            break;
        }
        share.spend(core, began_ns);
    }
    core.turn();
    connection.finish();
}

/// Hands over replies; see the top of the file.
async fn answer(
    core: &Rc<Core>,
    share: &EdgeShare,
    connection: &Connection,
    replies: &flume::Sender<Bytes>,
) {
    let mut held_before = Vec::new();
    loop {
        let (mut out, mut held) = (Vec::new(), Vec::new());
        let began_ns = core.now_ns();
        let is_last = encode_ready(core, connection, &mut out, &mut held);
        share.spend(core, began_ns);
        if !out.is_empty() {
            connection.begin_writing(core);
            if replies.send_async(out.into()).await.is_err() {
                break;
            }
            connection.end_writing();
            held_before.clear();
            held_before.append(&mut held);
            share.slice(core).await;
        }
        if is_last || connection.is_over() {
            // Taken when the last chunk was written.
            let _ = replies.send_async(Bytes::new()).await;
            break;
        }
        if !has_ready(connection) {
            connection.wait_for_reply().await;
        }
    }
    connection.break_off(core);
}
