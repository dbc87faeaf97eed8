//! Stores that ask for more than to be stored: `SUPERSEDES` and `NEAR`; and `EG.SUPERSEDE`, which
//! says the first of what is there.
//!
//! The store itself is a request like any other, in its place among the writes of its connection.
//! What is asked for besides follows once it is acknowledged:
//!
//! 1. each episode that it supersedes is told so by its owner, which may be another shard. What the
//!    owner writes down is when the new episode happened and when that was recorded, so that what
//!    was believed at some time is the same on all shards;
//! 2. the nearest other episode is looked for, when those are out of the way;
//! 3. the reply goes out.
//!
//! Should the daemon die in between, the new episode is there and some of the others are not
//! superseded yet, and nobody was told otherwise: who repeats the store mends that. The other order
//! would leave neither. Rejected: one frame for both, which only one shard could write.

use std::rc::Rc;

use bytes::Bytes;
use engram_lanes::inbox::Rank;
use engram_shards::episode::{
    Activation, Conditions, Durability, Effort, Fields, RecallRequest, Refusal, SpaceNumber,
    SpaceSettings, SupersedeRequest,
};
use engram_shards::recall::cue;
use engram_shards::shard::Reply;

use super::commands::recall_all;
use super::core::Core;
use super::origin::{Origin, Promise};
use super::request::{Answer, Request};
use super::route::Route;
use crate::protocol::command::{StoreCommand, SupersedeCommand};
use crate::protocol::reply::StoredBeside;
use crate::runtime;

/// A store on its way to its owner.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) owner: usize,
    pub(super) request: Request,
    /// The id, if it was assigned here.
    pub(super) assigned: Option<Bytes>,
    beside: Option<Box<Beside>>,
}

/// What is asked for besides.
#[derive(Debug)]
struct Beside {
    route: Route,
    id: Bytes,
    supersedes: Vec<Bytes>,
    near: Option<Near>,
    durability: Durability,
    writer_uid: u32,
}

#[derive(Debug)]
struct Near {
    vector: Bytes,
    similarity_min: f32,
}

/// What came of a store and of what was asked for besides.
#[derive(Debug)]
pub struct Stored {
    pub(super) activation: Activation,
    pub(super) beside: StoredBeside,
}

impl Core {
    /// The settings of a space by its number.
    fn settings(&self, number: SpaceNumber) -> Result<SpaceSettings, Refusal> {
        let inner = self.inner.borrow();
        let mut spaces = inner.shard.spaces().filter(|(own, _)| *own == number);
        let gone = || Refusal::NoSpace(format!("#{}, dropped just now", number.0));
        spaces.next().map(|(_, settings)| settings.clone()).ok_or_else(gone)
    }

    /// Hands an answer over that was waited for here.
    fn deliver(&self, origin: Origin, answer: Answer) {
        self.inner.borrow_mut().deliver(origin, answer);
    }
}

/// The owner and the request of a store, with the id that it is to have.
pub(super) fn place(
    core: &Core,
    route: &Route,
    mut store: StoreCommand,
    writer_uid: u32,
) -> Placed {
    let assigned = match (&store.id, store.dedup) {
        (Some(_), _) => None,
        (None, true) => Some(route.id_from_content(&store.vector, &store.text)),
        (None, false) if store.key.is_empty() => Some(core.make_id()),
        (None, false) => Some(route.id_from_key(&store.key)),
    };
    store.happened_at_us.get_or_insert_with(|| core.stamps.next(core.wall_us()));
    let id = store.id.clone().or_else(|| assigned.clone()).expect("one of them is there");
    let supersedes = std::mem::take(&mut store.supersedes);
    let near =
        store.near.map(|similarity_min| Near { vector: store.vector.clone(), similarity_min });
    let beside = (!supersedes.is_empty() || near.is_some()).then(|| {
        let (route, id, durability) = (*route, id.clone(), store.durability);
        Box::new(Beside { route, id, supersedes, near, durability, writer_uid })
    });
    let owner = route.owner(&id);
    let request = Request::Store(Box::new(store.into_request(route.space(), id, writer_uid)));
    Placed { owner, request, assigned, beside }
}

impl Placed {
    /// Hands the store to its owner. The answer goes to `origin` when all is done that was asked
    /// for.
    pub(super) fn submit(self, core: &Rc<Core>, rank: Rank, at_ns: u64, origin: Origin) {
        let Self { owner, request, beside, .. } = self;
        let Some(beside) = beside else {
            return core.submit(owner, request, rank, at_ns, origin);
        };
        let promise = Promise::new(origin.command());
        core.submit(owner, request, rank, at_ns, Origin::Task(Rc::clone(&promise)));
        let core = Rc::clone(core);
        runtime::spawn(async move {
            let answer = match promise.wait().await {
                Answer::Write(Ok(Reply::Stored(activation))) => {
                    match beside.follow(&core, activation).await {
                        Ok(stored) => Answer::Stored(Box::new(stored)),
                        Err(refusal) => Answer::Write(Err(refusal)),
                    }
                }
                refused => refused,
            };
            core.deliver(origin, answer);
        });
    }
}

impl Beside {
    async fn follow(self, core: &Rc<Core>, activation: Activation) -> Result<Stored, Refusal> {
        let superseded = match self.supersedes.is_empty() {
            true => None,
            false => Some(self.supersede(core).await?),
        };
        let near = match &self.near {
            None => None,
            Some(near) => Some(self.nearest(core, near).await?),
        };
        Ok(Stored { activation, beside: StoredBeside { superseded, near } })
    }

    /// Tells the others that they are superseded; which of them are. With a key or DEDUP the id is
    /// known only now, and nothing supersedes itself.
    async fn supersede(&self, core: &Rc<Core>) -> Result<Vec<Bytes>, Refusal> {
        let Self { route, id, durability, writer_uid, .. } = self;
        let (space, durability, writer_uid) = (route.space(), *durability, *writer_uid);
        let own = core.get(route, id, Fields::default()).await?;
        // Somebody has forgotten it by now: then it supersedes nothing.
        let Some(own) = own else { return Ok(Vec::new()) };
        let ask = |target: &Bytes| {
            let request = SupersedeRequest {
                space,
                id: target.clone(),
                by: id.clone(),
                valid_until_us: own.happened_at_us,
                recorded_at_us: Some(own.recorded_at_us),
                durability,
                writer_uid,
            };
            core.ask(route.owner(target), Request::Supersede(Box::new(request)))
        };
        let others: Vec<&Bytes> = self.supersedes.iter().filter(|target| *target != id).collect();
        let promises: Vec<_> = others.iter().map(|target| ask(target)).collect();
        core.turn();
        let mut done = Vec::with_capacity(promises.len());
        for (target, promise) in others.into_iter().zip(promises) {
            match promise.wait().await {
                Answer::Write(result) => match result? {
                    Reply::Superseded { is_by: Some(true), .. } => done.push(target.clone()),
                    Reply::Superseded { .. } => {}
                    other => unreachable!("a supersession was answered with {other:?}"),
                },
                other => unreachable!("a write was answered with {other:?}"),
            }
        }
        Ok(done)
    }

    /// The nearest other episode, if it is near enough, and how near it is.
    async fn nearest(&self, core: &Rc<Core>, near: &Near) -> Result<Option<(Bytes, f32)>, Refusal> {
        let space = self.route.space();
        let settings = core.settings(space)?;
        let request = RecallRequest {
            space,
            // One of them may be the episode itself.
            k: 2,
            cue: cue(&settings, std::slice::from_ref(&near.vector))?,
            conditions: Conditions::default(),
            effort: Effort::Usual,
            fields: Fields::default(),
            bytes_max: 0,
        };
        let hits = recall_all(core, &self.route, request).await?;
        let other = hits.into_iter().find(|hit| hit.episode.id != self.id);
        let other = other.map(|hit| (hit.episode.id, hit.score));
        Ok(other.filter(|(_, similarity)| *similarity >= near.similarity_min))
    }
}

/// The request of an `EG.SUPERSEDE`. Where it does not say since when, the superseding episode is
/// asked, when every write before on the connection has been answered.
pub(super) async fn superseding(
    core: &Rc<Core>,
    route: &Route,
    command: &SupersedeCommand,
    writer_uid: u32,
) -> Result<Request, Refusal> {
    let (space, by) = (route.space(), command.by.clone());
    let valid_until_us = match command.valid_until_us {
        Some(time_us) => time_us,
        None => {
            let found = core.get(route, &by, Fields::default()).await?;
            let name = || String::from_utf8_lossy(&by).into_owned();
            found.ok_or_else(|| Refusal::NoEpisode(name()))?.happened_at_us
        }
    };
    Ok(Request::Supersede(Box::new(SupersedeRequest {
        space,
        id: command.id.clone(),
        by,
        valid_until_us,
        recorded_at_us: None,
        durability: command.durability,
        writer_uid,
    })))
}
