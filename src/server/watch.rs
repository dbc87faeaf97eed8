//! Watches of a connection: episodes of memory spaces as messages, as they are stored.
//!
//! ```text
//! shard of the space ── news ──► cursor ─┐
//! shard of the space ── news ──► cursor ─┴─ credit, room ──► pushes ──► writer
//! ```
//!
//! A watch pulls. For each shard of its space it knows through which sequence the client has
//! everything, and asks for what follows, while it has credit and the connection has room. An
//! answer goes out at once, as far as credit and room reach; what is left over is dropped and asked
//! for again. So a consumer that is slow costs where it stands, and sees what is there when it goes
//! on. One task for each connection does that, whatever the number of its watches.
//!
//! A watch ends when its client says so or is gone. It is cut when the client gives no credit or
//! reads nothing for too long, when the space is dropped or damaged, and when the daemon stops; the
//! client is told where another would go on.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use engram_shards::episode::{Fields, Refusal, SpaceNumber};
use engram_shards::space::News;

use super::commands::{Encoded, alone, refuse};
use super::connection::Connection;
use super::core::Core;
use super::news::{NewsRequest, WatchPermit};
use super::notify::Notify;
use super::origin::Origin;
use super::outgoing::EncodedReply;
use super::push::Push;
use super::request::{Answer, Request};
use super::route::Route;
use crate::protocol::command::{WATCH_CREDIT_MAX, WatchCommand};
use crate::protocol::{Command, ProtocolVersion, reply};
use crate::runtime;

/// Watches of one connection.
pub const CONNECTION_WATCHES_MAX: usize = 64;

/// A request for news that is under way.
#[derive(Debug)]
pub(super) struct Call {
    answer: RefCell<Option<Answer>>,
    stir: Rc<Notify>,
    _permit: WatchPermit,
}

impl Core {
    /// Room for one more watch of a connection of this shard.
    fn admit_watch(&self) -> Result<WatchPermit, Refusal> {
        self.inner.borrow().followers.admit()
    }
}

impl Call {
    pub(super) fn fulfil(&self, answer: Answer) {
        *self.answer.borrow_mut() = Some(answer);
        self.stir.notify();
    }
}

/// Where a watch stands on a shard.
#[derive(Debug)]
struct Cursor {
    shard: usize,
    /// The client has everything up to here.
    through: u64,
    call: Option<Rc<Call>>,
    /// Refused for want of room somewhere: to be asked again later.
    rests: bool,
}

#[derive(Debug)]
struct Watch {
    space: SpaceNumber,
    fields: Fields,
    /// Messages that may be sent.
    credit: u64,
    /// Since when there is none.
    spent_ns: u64,
    cursors: Vec<Cursor>,
    permit: WatchPermit,
}

impl Watch {
    /// Where another watch would go on, when these messages were taken back.
    fn places(&self, taken: &[(usize, u64)]) -> Vec<(usize, u64)> {
        let place = |cursor: &Cursor| {
            let first = taken.iter().find(|(shard, _)| *shard == cursor.shard);
            (cursor.shard, first.map_or(cursor.through, |(_, sequence)| sequence - 1))
        };
        self.cursors.iter().map(place).collect()
    }
}

/// The watches of a connection; see the top of the file.
#[derive(Debug, Default)]
pub(super) struct Watches {
    open: RefCell<BTreeMap<u64, Watch>>,
    /// The last number that was given.
    last: Cell<u64>,
    /// The first that has a turn.
    first: Cell<u64>,
    has_pump: Cell<bool>,
    /// The pump may have something to do.
    stir: Rc<Notify>,
}

impl Watches {
    pub(super) fn is_empty(&self) -> bool {
        self.open.borrow().is_empty()
    }

    /// There is room, or the connection is over.
    pub(super) fn stir(&self) {
        self.stir.notify();
    }

    fn check_room(&self) -> Result<(), Refusal> {
        let (got, max) = (self.open.borrow().len() + 1, CONNECTION_WATCHES_MAX);
        match got <= max {
            true => Ok(()),
            false => {
                Err(Refusal::TooBig { what: "the list of this connection's watches", got, max })
            }
        }
    }

    /// Gives a watch more credit: what it has then. `None` without such a watch.
    pub(super) fn give(&self, watch: u64, credit: u64) -> Option<Result<u64, Refusal>> {
        let mut open = self.open.borrow_mut();
        let watch = open.get_mut(&watch)?;
        let total = watch.credit + credit;
        if total > WATCH_CREDIT_MAX {
            return Some(Err(Refusal::Syntax(format!(
                "n of MORE would make the credit {total}, and {WATCH_CREDIT_MAX} is the most; give \
                 more when it is used"
            ))));
        }
        watch.credit = total;
        self.stir();
        Some(Ok(total))
    }

    /// Ends a watch: where another would go on. `None` without such a watch.
    pub(super) fn end(&self, connection: &Connection, watch: u64) -> Option<Vec<(usize, u64)>> {
        let ended = self.open.borrow_mut().remove(&watch)?;
        let taken = connection.pushes.borrow_mut().take_back(watch);
        Some(ended.places(&taken))
    }

    fn cut(&self, core: &Core, connection: &Connection, watch: u64, reason: &str) {
        let Some(at) = self.end(connection, watch) else { return };
        core.measure(|metrics| metrics.watches_cut += 1);
        connection.push(Push::Cut { watch, reason: reason.to_owned(), at });
    }

    pub(super) fn cut_all(&self, core: &Core, connection: &Connection, reason: &str) {
        let all: Vec<u64> = self.open.borrow().keys().copied().collect();
        all.into_iter().for_each(|watch| self.cut(core, connection, watch, reason));
    }

    /// Cuts what has waited for its client for too long; has the others tried again that wait for
    /// the daemon.
    pub(super) fn tick(&self, core: &Core, connection: &Connection) {
        if self.is_empty() {
            return;
        }
        let (now_ns, patience_ns) = (core.now_ns(), core.patience_ns());
        let is_late = |since_ns: u64| now_ns.saturating_sub(since_ns) >= patience_ns;
        if connection.writing_since_ns().is_some_and(is_late) {
            self.cut_all(core, connection, "BUSY nothing was read of what waits for the client");
            return;
        }
        let is_spent = |watch: &&Watch| watch.credit == 0 && is_late(watch.spent_ns);
        let open = self.open.borrow();
        let late = open.iter().filter(|(_, watch)| is_spent(watch)).map(|(number, _)| *number);
        let late: Vec<u64> = late.collect();
        drop(open);
        for watch in late {
            self.cut(core, connection, watch, "BUSY no credit was given for too long");
        }
        let mut open = self.open.borrow_mut();
        let cursors = open.values_mut().flat_map(|watch| &mut watch.cursors);
        cursors.for_each(|cursor| cursor.rests = false);
        self.stir();
    }

    /// Gives every watch its turn, the one first that had the last: whether anything was asked for.
    fn step(&self, core: &Core, connection: &Connection) -> bool {
        let first = self.first.get();
        let (mut asked, mut broken) = (false, Vec::new());
        let mut open = self.open.borrow_mut();
        let numbers: Vec<u64> =
            open.range(first..).chain(open.range(..first)).map(|(number, _)| *number).collect();
        for number in numbers {
            let Some(watch) = open.get_mut(&number) else { continue };
            match watch.step(number, core, connection, &self.stir) {
                Ok(has_asked) => asked |= has_asked,
                Err(refusal) => broken.push((number, refusal)),
            }
            if !connection.pushes.borrow().has_room() {
                self.first.set(number + 1);
                break;
            }
        }
        drop(open);
        for (watch, refusal) in broken {
            self.cut(core, connection, watch, &format!("{} {refusal}", refusal.code()));
        }
        asked
    }
}

impl Watch {
    /// Sends what has come and asks for more; whether it has asked.
    fn step(
        &mut self,
        number: u64,
        core: &Core,
        connection: &Connection,
        stir: &Rc<Notify>,
    ) -> Result<bool, Refusal> {
        let mut asked = false;
        for nth in 0..self.cursors.len() {
            let answer = self.cursors[nth].call.as_ref().map(|call| call.answer.take());
            match answer {
                Some(None) => continue,
                Some(Some(Answer::News(Ok(news)))) => {
                    self.cursors[nth].call = None;
                    self.send(number, nth, news, core, connection);
                }
                Some(Some(Answer::News(Err(Refusal::Busy { .. })))) => {
                    self.cursors[nth].call = None;
                    self.cursors[nth].rests = true;
                }
                Some(Some(Answer::News(Err(refusal)))) => return Err(refusal),
                Some(Some(other)) => unreachable!("news were answered with {other:?}"),
                None => {}
            }
            let has_room = connection.pushes.borrow().has_room();
            if self.credit > 0 && has_room && !self.cursors[nth].rests {
                self.ask(nth, core, stir);
                asked = true;
            }
        }
        Ok(asked)
    }

    /// Hands episodes to the writer, as far as credit and room reach.
    fn send(&mut self, number: u64, nth: usize, news: News, core: &Core, connection: &Connection) {
        let News { episodes, through } = news;
        let cursor = &mut self.cursors[nth];
        for episode in episodes {
            if self.credit == 0 || !connection.pushes.borrow().has_room() {
                return;
            }
            let Ok(held) = core.hold_reply(episode.optional_bytes()) else {
                cursor.rests = true;
                return;
            };
            cursor.through = episode.sequence.0;
            self.credit -= 1;
            if self.credit == 0 {
                self.spent_ns = core.now_ns();
            }
            let shard = cursor.shard;
            connection.push(Push::Episode {
                watch: number,
                shard,
                episode: Box::new(episode),
                held,
            });
        }
        cursor.through = through;
    }

    fn ask(&mut self, nth: usize, core: &Core, stir: &Rc<Notify>) {
        let cursor = &mut self.cursors[nth];
        let call = Rc::new(Call {
            answer: RefCell::default(),
            stir: Rc::clone(stir),
            _permit: self.permit.clone(),
        });
        cursor.call = Some(Rc::clone(&call));
        let request = Request::News(NewsRequest {
            space: self.space,
            after: Some(cursor.through),
            count: usize::try_from(self.credit).unwrap_or(usize::MAX),
            fields: self.fields,
        });
        let (rank, at_ns) = (request.rank(), core.now_ns());
        core.submit(cursor.shard, request, rank, at_ns, Origin::News(call));
    }
}

/// The task that serves the watches of a connection as long as commands may come.
async fn pump(core: Rc<Core>, connection: Rc<Connection>) {
    while !connection.is_ended() {
        if connection.watches.step(&core, &connection) {
            core.turn();
            core.breathe_if_due().await;
        }
        connection.watches.stir.wait().await;
    }
    connection.watches.open.take();
}

/// Whether a command is about watches.
pub(super) fn is_watching(command: &Command) -> bool {
    use Command::{Unwatch, Watch, WatchMore};
    matches!(command, Watch(_) | WatchMore { .. } | Unwatch { .. })
}

/// Carries out a command for which [`is_watching`] holds.
pub(super) async fn take(core: &Rc<Core>, connection: &Rc<Connection>, command: Command) {
    let watches = &connection.watches;
    match command {
        Command::Watch(command) => {
            // A HELLO in front of it takes effect with its reply.
            alone(core, connection, open(core, connection, command)).await;
        }
        Command::WatchMore { watch, credit } => match watches.give(watch, credit) {
            Some(Ok(credit)) => connection.reply_with(move |encoder| encoder.count(credit)),
            Some(Err(refusal)) => refuse(core, connection, refusal),
            None => connection.reply_with(|encoder| encoder.null()),
        },
        Command::Unwatch { watch } => match watches.end(connection, watch) {
            Some(at) => connection.reply_with(move |encoder| reply::places(encoder, &at)),
            None => connection.reply_with(|encoder| encoder.null()),
        },
        other => unreachable!("not about watches: {other:?}"),
    }
}

/// `EG.WATCH`, alone on its connection.
async fn open(core: &Rc<Core>, connection: &Rc<Connection>, command: WatchCommand) -> Encoded {
    let WatchCommand { space, from, credit, fields } = command;
    check_version(connection, "EG.WATCH")?;
    let watches = &connection.watches;
    watches.check_room()?;
    let permit = core.admit_watch()?;
    let route = core.route(&space)?;
    let from = places(core, &route, &from).await?;
    let cursor = |&(shard, through)| Cursor { shard, through, call: None, rests: false };
    let cursors = from.iter().map(cursor).collect();
    let watch = Watch { space: route.space(), fields, credit, spent_ns: 0, cursors, permit };
    watches.last.set(watches.last.get() + 1);
    let number = watches.last.get();
    watches.open.borrow_mut().insert(number, watch);
    if !watches.has_pump.replace(true) {
        runtime::spawn(pump(Rc::clone(core), Rc::clone(connection)));
    }
    watches.stir();
    Ok(EncodedReply::new(move |encoder| reply::watching(encoder, number, credit, &from)))
}

/// Messages without a request are none that RESP2 has.
pub(super) fn check_version(connection: &Connection, command: &str) -> Result<(), Refusal> {
    match connection.client.version.get() {
        ProtocolVersion::Resp3 => Ok(()),
        ProtocolVersion::Resp2 => Err(Refusal::Syntax(format!(
            "{command} sends messages that RESP2 has no form for; send HELLO 3 first"
        ))),
    }
}

/// Behind which sequence of each shard of a space a watch begins: where they are now, or what was
/// named; from the beginning on those that are not.
async fn places(
    core: &Rc<Core>,
    route: &Route,
    named: &[(usize, u64)],
) -> Result<Vec<(usize, u64)>, Refusal> {
    let mut shards: Vec<usize> = route.all().collect();
    shards.sort_unstable();
    // Behind 0 is nothing left out, wherever that is.
    let is_foreign = |(shard, seq): &&(usize, u64)| *seq > 0 && !shards.contains(shard);
    if let Some((shard, _)) = named.iter().find(is_foreign) {
        return Err(Refusal::Syntax(format!(
            "FROM names shard {shard}, and the memory space is on {shards:?}; name those"
        )));
    }
    let (mut places, mut calls) = (Vec::new(), Vec::new());
    for shard in shards {
        let from = named.iter().find(|(named, _)| *named == shard);
        let after = match named.is_empty() {
            true => None,
            false => Some(from.map_or(0, |(_, sequence)| *sequence)),
        };
        let (space, fields) = (route.space(), Fields::default());
        let request = NewsRequest { space, after, count: 0, fields };
        calls.push((shard, core.ask(shard, Request::News(request))));
    }
    core.turn();
    for (shard, call) in calls {
        match call.wait().await {
            Answer::News(news) => places.push((shard, news?.through)),
            other => unreachable!("news were answered with {other:?}"),
        }
    }
    Ok(places)
}
