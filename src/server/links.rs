//! `EG.LINK` and `EG.UNLINK`.
//!
//! A link belongs to the episode it leaves and lives on its owner, so one direction is one request.
//! `MUTUAL` is two, maybe of two shards: each is a frame of its own, and the answer comes when both
//! are durable. A link back has to leave an episode that is there, and neither is made without
//! both; so the owners are asked first, when every write before on the connection has been
//! answered. Nothing keeps others from forgetting an episode in between, nor the daemon from dying
//! between the two frames. Then one of the links may be there, which the command mends when it is
//! repeated.

use std::rc::Rc;

use bytes::Bytes;
use engram_shards::episode::{Fields, Refusal, Unlinked};
use engram_shards::shard::Reply;

use super::commands::{Encoded, fulfil, refuse};
use super::connection::{Connection, Kind};
use super::core::Core;
use super::origin::Promise;
use super::outgoing::EncodedReply;
use super::request::{Answer, Request};
use super::route::Route;
use crate::protocol::command::LinkCommand;
use crate::protocol::reply;
use crate::runtime;

/// The owner of a link and the request to it.
pub(super) fn request(route: &Route, link: &LinkCommand, writer_uid: u32) -> (usize, Request) {
    let request = match link.link(route.space(), writer_uid) {
        Some(request) => Request::Link(Box::new(request)),
        None => Request::Unlink(Box::new(link.unlink(route.space(), writer_uid))),
    };
    (route.owner(&link.from), request)
}

/// Carries out a command with `MUTUAL` as far as handing both requests to their owners: what
/// follows on the connection comes behind them.
pub(super) async fn take_mutual(core: &Rc<Core>, connection: &Rc<Connection>, link: LinkCommand) {
    let route = match core.route(&link.space) {
        Ok(route) => route,
        Err(refusal) => return refuse(core, connection, refusal),
    };
    if link.weight.is_some() {
        if connection.has_writes() {
            core.turn();
            connection.writes_done().await;
        }
        if let Err(refusal) = check_both(core, &route, [&link.from, &link.to]).await {
            return refuse(core, connection, refusal);
        }
    }
    let slot = connection.reserve(Kind::Write);
    let ask = |link: &LinkCommand| {
        let (owner, request) = request(&route, link, connection.client.peer.uid);
        core.ask(owner, request)
    };
    let promises = [ask(&link), ask(&link.back())];
    let (core, connection) = (Rc::clone(core), Rc::clone(connection));
    runtime::spawn(async move {
        let encoded = gather(promises).await;
        fulfil(&core, &connection, slot, encoded);
    });
}

/// Whether both episodes are there.
async fn check_both(core: &Rc<Core>, route: &Route, ids: [&Bytes; 2]) -> Result<(), Refusal> {
    for id in ids {
        if core.get(route, id, Fields::default()).await?.is_none() {
            return Err(Refusal::NoEpisode(String::from_utf8_lossy(id).into_owned()));
        }
    }
    Ok(())
}

/// Both answers in one reply.
async fn gather([there, back]: [Rc<Promise>; 2]) -> Encoded {
    let mut replies = Vec::with_capacity(2);
    for promise in [there, back] {
        match promise.wait().await {
            Answer::Write(result) => replies.push(result),
            other => unreachable!("a write was answered with {other:?}"),
        }
    }
    let replies = replies.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(match replies[..] {
        [Reply::Linked(there), Reply::Linked(back)] => {
            EncodedReply::new(move |encoder| reply::linked(encoder, &there, Some(&back)))
        }
        [Reply::Unlinked(there), Reply::Unlinked(back)] => {
            let removed = [there, back].iter().flatten().map(|unlinked| unlinked.removed).sum();
            let both = there.or(back).map(|unlinked| Unlinked { removed, ..unlinked });
            EncodedReply::new(move |encoder| reply::unlinked(encoder, both.as_ref()))
        }
        _ => unreachable!("two alike were asked for"),
    })
}
