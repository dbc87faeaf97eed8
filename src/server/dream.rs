//! Offline replay: episodes of a shard are recalled, and what came to mind with them is linked to
//! them more or less strongly.
//!
//! There are at most eight links in a replay, and a link that has settled is written no more. The
//! episode is recalled from all shards of its space, by its vector, and leaves no trace by that.
//! How active another one is, is how similar it is.
//!
//! What is written are links, as `EG.LINK` writes them: they belong to the episode, are durable,
//! and go with it. No content is copied anywhere.
//!
//! A link names both its ends, and nobody would look for a name behind the erase of whom it names.
//! So a replay links nobody who is erased. Of the episode itself its shard makes sure when it logs
//! the link ([`Shard::relearn`]). The other one may be on any shard: an erase is answered when
//! every shard has counted it, and a replay that began with another count writes nothing. A link to
//! who has gone is not weakened but taken away, by one frame that says the name a last time.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use engram_shards::dream::{Change, KIND, RelearnRequest, relearn};
use engram_shards::episode::{Conditions, Effort, Fields, Link, RecallRequest, Refusal};
use engram_shards::io::Io;
use engram_shards::recall::cue;
use engram_shards::shard::{Shard, Ticket};

use super::commands::recall_all;
use super::core::Core;
use super::offline::{Drawn, written};
use super::request::Request;
use crate::protocol::command::REPLY_BYTES_MAX;

/// Episodes that come to mind with the one that is replayed.
const PARTNERS: usize = 4;

/// Replays one episode of this shard; `None` when it has gone meanwhile.
pub(super) async fn replay(core: &Rc<Core>, drawn: Drawn, goes_on: &Cell<bool>) -> Option<()> {
    let Drawn { route, settings, episode } = drawn;
    let (space, erasures) = (route.space(), core.inner.borrow().erasures);
    let request = RecallRequest {
        space,
        // One of them is the episode itself.
        k: PARTNERS + 1,
        cue: cue(&settings, &[episode.vector?]).ok()?,
        conditions: Conditions::default(),
        effort: Effort::Usual,
        fields: Fields::default(),
        bytes_max: REPLY_BYTES_MAX,
    };
    let hits = recall_all(core, &route, request).await.ok()?;
    let others = hits.into_iter().filter(|hit| hit.episode.id != episode.id).take(PARTNERS);
    let active: Vec<(Bytes, f32)> = others.map(|hit| (hit.episode.id, hit.score)).collect();
    let own = episode.links.unwrap_or_default().into_iter().filter(|link| link.kind == KIND);
    let own: Vec<(Bytes, f32)> = own.map(|Link { target, weight, .. }| (target, weight)).collect();
    let (mut there, mut changes) = (Vec::with_capacity(own.len()), Vec::new());
    for (target, weight) in own {
        let is_active = active.iter().any(|(other, _)| *other == target);
        match is_active || core.get(&route, &target, Fields::default()).await.ok()?.is_some() {
            true => there.push((target, weight)),
            false => changes.push(Change { target, weight: None }),
        }
    }
    if !goes_on.get() {
        return None;
    }
    changes.extend(relearn(&there, &active));
    let asked = changes.into_iter().map(|change| {
        let request = RelearnRequest { space, stored: episode.sequence, change };
        core.ask(core.number, Request::Relearn(Relearn { request, erasures }))
    });
    let written = written(core, asked.collect()).await;
    core.measure(|metrics| {
        metrics.dream_replays += 1;
        metrics.dream_links += written;
    });
    Some(())
}

/// What a replay makes of a link.
#[derive(Debug)]
pub struct Relearn {
    request: RelearnRequest,
    /// How many erases there had been when it began.
    erasures: u64,
}

impl Relearn {
    /// Admits it, unless something has been erased that its replay may have read.
    pub(super) fn admit(
        &self,
        shard: &mut Shard<Box<dyn Io>>,
        ticket: Ticket,
        erasures: u64,
    ) -> Result<(), Refusal> {
        if self.erasures != erasures {
            return Err(Refusal::NoEpisode("that was read before an erase".into()));
        }
        shard.relearn(ticket, &self.request)
    }
}
