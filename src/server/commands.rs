//! From a command to requests, and from their answers to a reply.
//!
//! Writes are handed to their owners at once and answered when durable. Commands that read wait for
//! the connection's own writes and then run beside what follows. Commands about memory spaces run
//! alone: nothing before them is open, nothing behind them begins.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use engram_lanes::inbox::Rank;
use engram_shards::episode::{
    Belief, Effort, Fields, Hit, Priority, RecallRequest, Refusal, ReinforceRequest, SpaceNumber,
    SpaceSettings, StoredEpisode,
};
use engram_shards::recall::cue;
use engram_shards::space::Page;
use engram_shards::spreading::{Asked, Recalled};

use super::answer::{self, Question};
use super::batch::Batch;
use super::client::is_talk;
use super::connection::{Connection, Kind};
use super::core::Core;
use super::journal::Shown;
use super::origin::{CommandOf, Origin, Promise};
use super::outgoing::{EncodedReply, Outgoing};
use super::request::{Answer, Request, rank_of};
use super::route::Route;
use super::{
    complete, gist, info, kept, links, observe, snapshots, spaces, spread, storing, timings, watch,
};
use crate::protocol::command::{
    Cue, RecallCommand, RecallSpread, ScanCommand, ScanCursor, StoreCommand, SupersedeCommand,
};
use crate::protocol::{Command, ProtocolVersion, reply};
use crate::runtime;

/// Carries out one command or starts it; false when the connection ends with it.
pub(super) async fn take(
    core: &Rc<Core>,
    connection: &Rc<Connection>,
    arguments: Vec<Bytes>,
    at_ns: u64,
) -> bool {
    core.measure(|metrics| metrics.commands += 1);
    let shown = Shown::of(&arguments);
    match Command::parse_named(arguments) {
        Ok((name, command)) => {
            connection.begin(name, shown, at_ns);
            let goes_on = carry_out(core, connection, command, at_ns).await;
            connection.end_begin();
            goes_on
        }
        Err(refusal) => {
            refuse(core, connection, refusal);
            true
        }
    }
}

async fn carry_out(
    core: &Rc<Core>,
    connection: &Rc<Connection>,
    command: Command,
    at_ns: u64,
) -> bool {
    let is_batch = matches!(&command, Command::StoreMany { .. })
        || matches!(&command, Command::Link(link) if link.is_mutual);
    if is_superseding(&command) {
        // Only what was recorded before is superseded: what was sent before is, by then.
        writes_done(core, connection).await;
    }
    if !connection.is_mixed() && has_other_lane(&command) || connection.is_mixed() && is_batch {
        // Of writes of one episode none overtakes another. What is open has not noted its lane.
        writes_done(core, connection).await;
        connection.mix();
    }
    match command {
        Command::Store { space, store } => take_store(core, connection, &space, store, at_ns),
        Command::StoreMany { space, items } => {
            take_store_many(core, connection, &space, items, at_ns).await;
        }
        Command::Link(link) if link.is_mutual => {
            links::take_mutual(core, connection, link).await;
        }
        Command::Link(link) => match core.route(&link.space) {
            Ok(route) => {
                let (owner, request) = links::request(&route, &link, connection.client.peer.uid);
                submit(core, connection, owner, request, at_ns);
            }
            Err(refusal) => refuse(core, connection, refusal),
        },
        Command::Supersede(command) => {
            take_supersede(core, connection, command, at_ns).await;
        }
        Command::Forget { space, id, durability } => {
            take_write(core, connection, (&space, id), at_ns, |space, id, writer_uid| {
                Request::Forget { space, id, durability, writer_uid }
            });
        }
        Command::Reinforce { space, id, what, durability } => {
            take_write(core, connection, (&space, id), at_ns, |space, id, writer_uid| {
                let request = ReinforceRequest { space, id, what, durability, writer_uid };
                Request::Reinforce(Box::new(request))
            });
        }
        Command::Erase { space, id } => {
            take_erase(core, connection, (&space, id), at_ns);
        }
        observing if observe::is_observing(&observing) => {
            observe::take(core, connection, observing, at_ns).await;
        }
        watching if watch::is_watching(&watching) => {
            watch::take(core, connection, watching).await;
        }
        Command::Hello(hello)
            if hello.version == Some(ProtocolVersion::Resp2) && connection.has_streams() =>
        {
            let what = "HELLO 2 while a watch or a stream is open, whose messages RESP2 has no \
                        form for; end it with EG.UNWATCH or EG.OBSERVE CLOSE first";
            refuse(core, connection, Refusal::Syntax(what.into()));
        }
        talk if is_talk(&talk) => {
            let reply = connection.client.talk(talk);
            let goes_on = !matches!(reply, Outgoing::Last(_));
            connection.reply(reply);
            return goes_on;
        }
        reading => {
            writes_done(core, connection).await;
            take_reading(core, connection, reading, at_ns).await;
        }
    }
    if connection.is_mixed() && is_batch {
        writes_done(core, connection).await;
    }
    true
}

/// Waits for every write of the connection.
async fn writes_done(core: &Core, connection: &Connection) {
    if connection.has_writes() {
        core.turn();
        connection.writes_done().await;
    }
}

/// Whether a store is to supersede others.
fn is_superseding(command: &Command) -> bool {
    let is_one = |store: &StoreCommand| !store.supersedes.is_empty();
    match command {
        Command::Store { store, .. } => is_one(store),
        Command::StoreMany { items, .. } => items.iter().flatten().any(is_one),
        _ => false,
    }
}

/// Whether a command waits in another lane than the usual one.
fn has_other_lane(command: &Command) -> bool {
    let is_usual = |store: &StoreCommand| store.priority == Priority::Normal;
    match command {
        Command::Store { store, .. } => !is_usual(store),
        Command::StoreMany { items, .. } => !items.iter().flatten().all(is_usual),
        Command::ObserveOpen(open) => open.priority != Priority::Normal,
        Command::Observe { observation: Ok(observation), .. } => {
            observation.own_priority().is_some_and(|priority| priority != Priority::Normal)
        }
        _ => false,
    }
}

/// Commands that look at what is stored, or at the daemon.
async fn take_reading(core: &Rc<Core>, connection: &Rc<Connection>, command: Command, at_ns: u64) {
    match command {
        Command::Get { space, id, fields, belief } => match core.route(&space) {
            Ok(route) => {
                let owner = route.owner(&id);
                let request = Request::Get { space: route.space(), id, fields, belief };
                submit(core, connection, owner, request, at_ns);
            }
            Err(refusal) => refuse(core, connection, refusal),
        },
        Command::GetMany { space, ids, fields, belief } => {
            take_get_many(core, connection, &space, ids, (fields, belief), at_ns).await;
        }
        Command::Recall(command) => {
            answer_later(core, connection, |core| async move { recall(&core, command).await });
        }
        Command::Spread(command) => {
            answer_later(
                core,
                connection,
                |core| async move { spread::spread(&core, command).await },
            );
        }
        Command::Complete(command) => {
            answer_later(core, connection, |core| async move {
                complete::complete(&core, command).await
            });
        }
        Command::Gist(command) => {
            answer_later(core, connection, |core| async move { gist::gist(&core, command).await });
        }
        Command::Scan(command) => {
            answer_later(core, connection, |core| async move { scan(&core, command).await });
        }
        Command::Info { sections } => {
            answer_later(core, connection, |core| async move { info::info(&core, sections).await });
        }
        Command::Stats { space } => {
            answer_later(core, connection, |core| async move { info::stats(&core, space).await });
        }
        Command::ResetStats => {
            answer_later(core, connection, |core| async move { info::reset(&core).await });
        }
        Command::Slowlog(command) => {
            answer_later(
                core,
                connection,
                |core| async move { timings::slowlog(&core, command).await },
            );
        }
        Command::Latency(command) => {
            answer_later(
                core,
                connection,
                |core| async move { timings::latency(&core, command).await },
            );
        }
        Command::Consolidate { space } => {
            answer_later(core, connection, |core| async move {
                consolidate(&core, space.as_deref()).await
            });
        }
        Command::Snapshot { path } => {
            let uid = connection.client.peer.uid;
            answer_later(core, connection, |core| snapshots::take(core, uid, path));
        }
        Command::SpaceInfo { space } => {
            answer_later(core, connection, |core| async move { spaces::info(&core, space).await });
        }
        Command::SpaceList => {
            let names = core.space_names();
            connection.reply_with(move |encoder| {
                reply::space_names(encoder, names.iter().map(String::as_str));
            });
        }
        Command::SpaceCreate(create) => {
            alone(core, connection, spaces::create(core, create, connection.client.peer.uid)).await;
        }
        Command::SpaceDrop { space } => {
            alone(core, connection, spaces::drop(core, &space, connection.client.peer.uid)).await;
        }
        other => unreachable!("handled by `take`: {other:?}"),
    }
}

/// What a task answers.
pub(super) type Encoded = Result<EncodedReply, Refusal>;

/// Starts a task that fulfils the command's slot.
fn answer_later<F, T>(core: &Rc<Core>, connection: &Rc<Connection>, task: T)
where
    T: FnOnce(Rc<Core>) -> F,
    F: Future<Output = Encoded> + 'static,
{
    let slot = connection.reserve(Kind::Read);
    let (core, connection) = (Rc::clone(core), Rc::clone(connection));
    let task = task(Rc::clone(&core));
    runtime::spawn(async move {
        let command = CommandOf { connection: Rc::clone(&connection), slot };
        let encoded = core.carry_out(command, task).await;
        fulfil(&core, &connection, slot, encoded);
    });
}

/// Carries out a command between all others of its connection.
pub(super) async fn alone(
    core: &Rc<Core>,
    connection: &Rc<Connection>,
    task: impl Future<Output = Encoded>,
) {
    core.turn();
    connection.replies_done().await;
    let slot = connection.reserve(Kind::Other);
    let command = CommandOf { connection: Rc::clone(connection), slot };
    let encoded = core.carry_out(command, task).await;
    fulfil(core, connection, slot, encoded);
}

pub(super) fn fulfil(core: &Core, connection: &Connection, slot: u64, encoded: Encoded) {
    match encoded {
        Ok(reply) => connection.fulfil(slot, Outgoing::Encode(reply)),
        Err(refusal) => {
            core.measure(|metrics| metrics.count_refusal(refusal.code()));
            connection.fulfil(slot, Outgoing::Refused(refusal));
        }
    }
}

pub(super) fn refuse(core: &Core, connection: &Connection, refusal: Refusal) {
    core.measure(|metrics| metrics.count_refusal(refusal.code()));
    connection.reply(Outgoing::Refused(refusal));
}

/// Sends a request whose answer is the reply.
fn submit(core: &Core, connection: &Rc<Connection>, owner: usize, request: Request, at_ns: u64) {
    let (slot, rank) = match request {
        Request::Get { .. } => (connection.reserve(Kind::Read), request.rank()),
        _ => connection.reserve_write(request.episode(), request.rank()),
    };
    let connection = Rc::clone(connection);
    let origin = Origin::Reply { connection, slot, assigned: None };
    core.submit(owner, request, rank, at_ns, origin);
}

fn take_store(
    core: &Rc<Core>,
    connection: &Rc<Connection>,
    space: &str,
    store: StoreCommand,
    at_ns: u64,
) {
    match core.route(space) {
        Ok(route) => {
            let placed = storing::place(core, &route, store, connection.client.peer.uid);
            let (slot, rank) =
                connection.reserve_write(placed.request.episode(), placed.request.rank());
            let (connection, assigned) = (Rc::clone(connection), placed.assigned.clone());
            placed.submit(core, rank, at_ns, Origin::Reply { connection, slot, assigned });
        }
        Err(refusal) => refuse(core, connection, refusal),
    }
}

/// Hands a write about one episode to its owner.
fn take_write(
    core: &Core,
    connection: &Rc<Connection>,
    (space, id): (&str, Bytes),
    at_ns: u64,
    request: impl FnOnce(SpaceNumber, Bytes, u32) -> Request,
) {
    match core.route(space) {
        Ok(route) => {
            let owner = route.owner(&id);
            let request = request(route.space(), id, connection.client.peer.uid);
            submit(core, connection, owner, request, at_ns);
        }
        Err(refusal) => refuse(core, connection, refusal),
    }
}

/// Takes an erase. Its reply comes when every shard has been told: no replay that began before, and
/// may have read what is erased, writes anything behind it.
fn take_erase(
    core: &Rc<Core>,
    connection: &Rc<Connection>,
    (space, id): (&str, Bytes),
    at_ns: u64,
) {
    let route = match core.route(space) {
        Ok(route) => route,
        Err(refusal) => return refuse(core, connection, refusal),
    };
    let (owner, writer_uid) = (route.owner(&id), connection.client.peer.uid);
    let request = Request::Erase { space: route.space(), id, writer_uid };
    let (slot, rank) = connection.reserve_write(request.episode(), request.rank());
    let command = CommandOf { connection: Rc::clone(connection), slot };
    let promise = Promise::new(Some(command));
    core.submit(owner, request, rank, at_ns, Origin::Task(Rc::clone(&promise)));
    let (core, connection) = (Rc::clone(core), Rc::clone(connection));
    runtime::spawn(async move {
        let answer = promise.wait().await;
        core.call_all(0..core.shards(), || Request::Erased).await;
        connection.fulfil_with(slot, None, answer);
    });
}

async fn take_supersede(
    core: &Rc<Core>,
    connection: &Rc<Connection>,
    command: SupersedeCommand,
    at_ns: u64,
) {
    let route = match core.route(&command.space) {
        Ok(route) => route,
        Err(refusal) => return refuse(core, connection, refusal),
    };
    if command.valid_until_us.is_none() {
        writes_done(core, connection).await;
    }
    let uid = connection.client.peer.uid;
    match storing::superseding(core, &route, &command, uid).await {
        Ok(request) => {
            submit(core, connection, route.owner(&command.id), request, at_ns);
        }
        Err(refusal) => refuse(core, connection, refusal),
    }
}

async fn take_store_many(
    core: &Rc<Core>,
    connection: &Rc<Connection>,
    space: &str,
    items: Vec<Result<StoreCommand, Refusal>>,
    at_ns: u64,
) {
    let route = match core.route(space) {
        Ok(route) => route,
        Err(refusal) => return refuse(core, connection, refusal),
    };
    let slot = connection.reserve(Kind::Write);
    let batch = Batch::new(Rc::clone(connection), slot, items.len());
    // Two items may be about the same episode: all wait in the lane of the least urgent.
    let ranks = items.iter().flatten().map(|store| rank_of(store.priority));
    let rank = ranks.max_by_key(|rank| *rank as usize).unwrap_or_default();
    let supersedes = items.iter().flatten().any(|store| !store.supersedes.is_empty());
    let mut begun: HashSet<Bytes> = HashSet::new();
    for (index, item) in items.into_iter().enumerate() {
        if batch.is_full() {
            core.turn();
            batch.wait_for_room().await;
        }
        // Only what was recorded before is superseded, and shards do not wait for each other.
        if item.iter().flat_map(|store| &store.supersedes).any(|id| begun.contains(id)) {
            core.turn();
            batch.wait_until(0).await;
            begun.clear();
        }
        match item {
            Ok(store) => {
                let uid = connection.client.peer.uid;
                let placed = storing::place(core, &route, store, uid);
                if supersedes && let Request::Store(store) = &placed.request {
                    begun.insert(store.episode.id.clone());
                }
                batch.begin(index, placed.assigned.clone());
                let origin = Origin::Item { batch: Rc::clone(&batch), index };
                placed.submit(core, rank, at_ns, origin);
            }
            Err(refusal) => {
                batch.begin(index, None);
                core.fulfil_item(&batch, index, Answer::Write(Err(refusal)));
            }
        }
    }
}

async fn take_get_many(
    core: &Rc<Core>,
    connection: &Rc<Connection>,
    space: &str,
    ids: Vec<Bytes>,
    (fields, belief): (Fields, Belief),
    at_ns: u64,
) {
    let route = match core.route(space) {
        Ok(route) => route,
        Err(refusal) => return refuse(core, connection, refusal),
    };
    let slot = connection.reserve(Kind::Read);
    let batch = Batch::new(Rc::clone(connection), slot, ids.len());
    for (index, id) in ids.into_iter().enumerate() {
        if batch.is_full() {
            core.turn();
            batch.wait_for_room().await;
        }
        batch.begin(index, None);
        let owner = route.owner(&id);
        let request = Request::Get { space: route.space(), id, fields, belief };
        let origin = Origin::Item { batch: Rc::clone(&batch), index };
        core.submit(owner, request, Rank::Normal, at_ns, origin);
    }
}

async fn consolidate(core: &Rc<Core>, space: Option<&str>) -> Encoded {
    let owners: Vec<usize> = match space {
        Some(space) => core.route(space)?.all().collect(),
        None => (0..core.shards()).collect(),
    };
    for answer in core.call_all(owners.into_iter(), || Request::Consolidate).await {
        match answer {
            Answer::Write(done) => done?,
            other => unreachable!("a consolidation was answered with {other:?}"),
        };
    }
    Ok(EncodedReply::new(|encoder| encoder.simple("OK")))
}

async fn recall(core: &Rc<Core>, command: RecallCommand) -> Encoded {
    let (_, settings, route) = core.space(&command.space)?;
    let vectors = cue_vectors(core, &route, command.cues).await?;
    let RecallCommand {
        k,
        conditions,
        effort,
        fields,
        bytes_max,
        text,
        spread,
        reinforces,
        weights,
        gists,
        ..
    } = command;
    let weights = weights.unwrap_or(settings.words.weights);
    let asked_conditions = conditions.clone();
    // What gists are found by.
    let parts = Fields { gist_links: gists, ..fields };
    let cue = match vectors.is_empty() {
        true => None,
        false => Some(cue(&settings, &vectors)?),
    };
    let (own_cue, is_text) = (cue.clone(), text.is_some());
    let (mut hits, is_partial) = match (text, cue) {
        (Some(text), cue) => {
            let (text, fields) = (&text, parts);
            let question = Question {
                settings: &settings,
                text,
                cue,
                weights,
                k,
                conditions,
                effort,
                fields,
                bytes_max,
            };
            answer_words(core, (route, &settings), question, spread).await?
        }
        (None, cue) => {
            let cue = cue.expect("without words there is a vector");
            let (space, fields) = (route.space(), parts);
            let request = RecallRequest { space, k, cue, conditions, effort, fields, bytes_max };
            recall_similar(core, (route, &settings), request, spread).await?
        }
    };
    let mut found = Vec::new();
    if gists {
        let (cue, conditions) = (own_cue.as_deref(), &asked_conditions);
        let weights = is_text.then_some(weights);
        let asked = kept::Asked { cue, weights, conditions };
        let of = (&route, &settings);
        found = kept::join(core, of, &asked, (&mut hits, k), (fields, bytes_max)).await?;
    }
    if reinforces {
        core.note_recalled(&route, &hits);
    }
    let gists_bytes: usize = found.iter().map(|found| found.gist.bytes()).sum();
    let hits_bytes: usize = hits.iter().map(|hit| hit.episode.optional_bytes()).sum();
    let held = core.hold_reply(hits_bytes + gists_bytes)?;
    let bytes = hits.len() * size_of::<Hit>() + gists_bytes;
    let reply = EncodedReply::new(move |encoder| {
        reply::recalled_with_gists(encoder, &hits, &found, is_partial);
    });
    Ok(reply.holding(vec![held]).weighing(bytes))
}

/// Answers a question in words, with associations if they are to take part; whether something is
/// missing.
async fn answer_words(
    core: &Rc<Core>,
    (route, settings): (Route, &SpaceSettings),
    mut question: Question<'_>,
    spread: Option<RecallSpread>,
) -> Result<(Vec<Hit>, bool), Refusal> {
    let Some(spread) = spread else {
        return Ok((answer::answer(core, &route, question).await?, false));
    };
    let Question { k, fields, bytes_max, effort, .. } = question;
    let (cue, conditions) = (question.cue.clone(), question.conditions.clone());
    let (ids, scores) = (Vec::new(), Some(Vec::new()));
    let recalled = Some(Recalled { cue, weight: spread.weight, ids, scores });
    let asked = Asked { k, conditions, fields, bytes_max, recalled };
    question.k = k.max(spread.seeds);
    let best = answer::rank(core, &route, question).await?;
    let (of, is_exact) = ((route, settings), effort == Effort::Exact);
    let spread = spread::spread_recalled(core, of, best, &spread, &asked, is_exact).await?;
    Ok((spread.hits, spread.is_partial))
}

/// Recalls what is nearest, with associations if they are to take part; whether something is
/// missing.
async fn recall_similar(
    core: &Rc<Core>,
    (route, settings): (Route, &SpaceSettings),
    mut request: RecallRequest,
    spread: Option<RecallSpread>,
) -> Result<(Vec<Hit>, bool), Refusal> {
    let RecallRequest { k, effort, fields, bytes_max, .. } = request;
    match spread {
        None => Ok((recall_all(core, &route, request).await?, false)),
        Some(spread) => {
            let (cue, conditions) = (Arc::clone(&request.cue), request.conditions.clone());
            let (cue, weight) = (Some(cue), spread.weight);
            let recalled = Some(Recalled { cue, weight, ids: Vec::new(), scores: None });
            let asked = Asked { k, conditions, fields, bytes_max, recalled };
            request.k = k.max(spread.seeds);
            // What is read of the episodes in the end is not read here.
            request.fields = Fields { belief: fields.belief, why: fields.why, ..Fields::default() };
            let nearest = recall_all(core, &route, request).await?;
            let (of, is_exact) = ((route, settings), effort == Effort::Exact);
            let spread =
                spread::spread_recalled(core, of, nearest, &spread, &asked, is_exact).await?;
            Ok((spread.hits, spread.is_partial))
        }
    }
}

/// Recalls from all shards of a space.
pub(super) async fn recall_all(
    core: &Rc<Core>,
    route: &Route,
    request: RecallRequest,
) -> Result<Vec<Hit>, Refusal> {
    let answers = core.call_all(route.all(), || Request::Recall(Box::new(request.clone()))).await;
    let mut parts = Vec::with_capacity(answers.len());
    for answer in answers {
        match answer {
            Answer::Hits(hits) => parts.extend(hits?),
            other => unreachable!("a recall was answered with {other:?}"),
        }
    }
    Ok(merge(parts, request.k, request.fields, request.bytes_max))
}

/// The vectors to recall by; known episodes are read from their owners.
pub(super) async fn cue_vectors(
    core: &Rc<Core>,
    route: &Route,
    cues: Vec<Cue>,
) -> Result<Vec<Bytes>, Refusal> {
    let mut vectors = Vec::with_capacity(cues.len());
    for cue in cues {
        let id = match cue {
            Cue::Vector(vector) => {
                vectors.push(vector);
                continue;
            }
            Cue::Id(id) => id,
        };
        let fields = Fields { vector: true, ..Fields::default() };
        let found = core.get(route, &id, fields).await?;
        let vector = found.and_then(|episode| episode.vector);
        let name = || String::from_utf8_lossy(&id).into_owned();
        vectors.push(vector.ok_or_else(|| Refusal::NoEpisode(name()))?);
    }
    Ok(vectors)
}

/// The best of all shards, best first; from the first that goes beyond the byte bound on without
/// their parts. Equal scores keep the order of the shards, so the same store gives the same answer.
pub(super) fn merge(mut hits: Vec<Hit>, k: usize, fields: Fields, bytes_max: usize) -> Vec<Hit> {
    hits.sort_by(|a, b| b.score.total_cmp(&a.score));
    hits.truncate(k);
    let mut bytes_left = bytes_max;
    let fits = hits.iter().take_while(|hit| {
        let bytes = hit.episode.optional_bytes();
        // What its shard had no room for has no room here.
        let fits = bytes <= bytes_left && hit.episode.carries(fields);
        bytes_left = bytes_left.saturating_sub(bytes);
        fits
    });
    let with_parts = fits.count();
    hits[with_parts..].iter_mut().for_each(|hit| hit.episode.strip());
    hits
}

/// Best first; among equals the lower id, however many shards found them.
pub(super) fn sort_best_first(hits: &mut [Hit]) {
    let order = |a: &Hit, b: &Hit| {
        b.score.total_cmp(&a.score).then_with(|| a.episode.id.cmp(&b.episode.id))
    };
    hits.sort_by(order);
}

async fn scan(core: &Rc<Core>, command: ScanCommand) -> Encoded {
    let route = core.route(&command.space)?;
    let (nth, from) = command.cursor.position();
    if nth >= route.span() {
        return Err(Refusal::Syntax("CURSOR is not one that EG.SCAN gave; begin with 0".into()));
    }
    let request = Request::Scan {
        space: route.space(),
        from,
        count: command.count,
        bytes_max: command.bytes_max,
        fields: command.fields,
    };
    let Answer::Scanned(scanned) = core.call(route.nth(nth), request).await else {
        unreachable!("a scan is answered with episodes")
    };
    let Page { episodes, next } = scanned?;
    let next = match next {
        Some(position) => ScanCursor::at(nth, position),
        None if nth + 1 < route.span() => ScanCursor::at(nth + 1, 0),
        None => ScanCursor::END,
    };
    let held = core.hold_reply(episodes.iter().map(StoredEpisode::optional_bytes).sum())?;
    let bytes = episodes.len() * size_of::<StoredEpisode>();
    let reply = EncodedReply::new(move |encoder| reply::scanned(encoder, next, &episodes));
    Ok(reply.holding(vec![held]).weighing(bytes))
}
