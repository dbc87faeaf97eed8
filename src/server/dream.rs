//! Offline replay: episodes of a shard are recalled, and what came to mind with them is linked to
//! them more or less strongly.
//!
//! There are at most eight links in a replay, and a link that has settled is written no more. The
//! episode is recalled from all shards of its space, by its vector, and leaves no trace by that.
//! How active another one is, is how similar it is.
//!
//! What is written are links, as `EG.LINK` writes them: they belong to the episode, are durable,
//! and go with it. No content is copied anywhere.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use engram_shards::dream::{Change, KIND, relearn};
use engram_shards::episode::{
    Conditions, Durability, Effort, Fields, Link, LinkRequest, RecallRequest, SpaceNumber,
    UnlinkRequest,
};
use engram_shards::recall::cue;

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
    let number = route.space();
    let request = RecallRequest {
        space: number,
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
    if !goes_on.get() {
        return None;
    }
    let changes = relearn(&own, &active).into_iter();
    let asked = changes.map(|change| core.ask(core.number, write(number, &episode.id, change)));
    let written = written(core, asked.collect()).await;
    core.measure(|metrics| {
        metrics.dream_replays += 1;
        metrics.dream_links += written;
    });
    Some(())
}

/// The write that a change takes.
fn write(space: SpaceNumber, from: &Bytes, Change { target, weight }: Change) -> Request {
    let (from, to, kind) = (from.clone(), target, Bytes::from_static(KIND));
    let (durability, writer_uid) = (Durability::Disk, 0);
    match weight {
        Some(weight) => Request::Link(Box::new(LinkRequest {
            space,
            from,
            to,
            kind,
            weight,
            durability,
            writer_uid,
        })),
        None => Request::Unlink(Box::new(UnlinkRequest {
            space,
            from,
            to,
            kind,
            durability,
            writer_uid,
        })),
    }
}
