//! Offline replay: while a shard has little else to do, episodes of it are recalled, and what came
//! to mind with them is linked to them more or less strongly.
//!
//! One replay in a pause, at most eight links in a replay, so that what it costs is bounded however
//! long the daemon is idle; and a link that has settled is written no more. An episode is drawn
//! in proportion to its retention, which is how strong and how recent it is, from some that stand
//! side by side in the order of a scan. It is recalled from all shards of its space, by its vector,
//! and leaves no trace by that. How active another one is, is how similar it is.
//!
//! What is written are links, as `EG.LINK` writes them: they belong to the episode, are durable,
//! and go with it. No content is copied anywhere.

use std::cell::Cell;
use std::num::NonZero;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use engram_shards::dream::{Change, KIND, relearn};
use engram_shards::episode::{
    Conditions, Durability, Effort, Fields, Link, LinkRequest, RecallRequest, SpaceNumber,
    SpaceSettings, StoredEpisode, UnlinkRequest,
};
use engram_shards::recall::cue;
use engram_shards::space::{POSITION_SHIFT, Page};

use super::commands::recall_all;
use super::core::Core;
use super::request::{Answer, Request};
use super::route::Route;
use crate::protocol::command::REPLY_BYTES_MAX;
use crate::runtime;

/// Episodes that one is drawn from.
const DRAWN_FROM: usize = 16;
/// Episodes that come to mind with it.
const PARTNERS: usize = 4;
/// Requests between two looks up to which a shard has little else to do.
const QUIET_REQUESTS: u64 = 20;

/// SplitMix64 (Steele, Lea and Flood 2014).
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// In [0, 1).
    fn share(&mut self) -> f32 {
        (self.draw() >> 40) as f32 / (1 << 24) as f32
    }

    /// Below a bound, which is not 0.
    fn index(&mut self, bound: usize) -> usize {
        (self.draw() % bound as u64) as usize
    }
}

/// Replays episodes now and then, until `goes_on` is false.
pub(super) async fn dream(core: Rc<Core>, pause: Duration, seed: u64, goes_on: Rc<Cell<bool>>) {
    let mut random = Random(seed);
    let mut seen = core.activity.get();
    while goes_on.get() {
        runtime::sleep(pause).await;
        let is_quiet = core.activity.get() - seen <= QUIET_REQUESTS
            && core.inner.borrow().jobs.is_empty()
            && core.read_only_reason().is_none();
        if is_quiet && goes_on.get() {
            replay(&core, &mut random, &goes_on).await;
        }
        seen = core.activity.get();
    }
}

/// Replays one episode of this shard; `None` when there was none, or it has gone meanwhile.
async fn replay(core: &Rc<Core>, random: &mut Random, goes_on: &Cell<bool>) -> Option<()> {
    let (number, settings) = some_space(core, random)?;
    let route = Route::new(number, &settings, core.shards());
    let episode = some_episode(core, number, random).await?;
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
    let promises: Vec<_> = asked.collect();
    core.turn();
    let mut written = 0;
    for promise in promises {
        // Where the episode has gone or there is no room, nothing is to be done about it.
        written += u64::from(matches!(promise.wait().await, Answer::Write(Ok(_))));
    }
    core.measure(|metrics| {
        metrics.dream_replays += 1;
        metrics.dream_links += written;
    });
    Some(())
}

/// A memory space that has episodes here.
fn some_space(core: &Core, random: &mut Random) -> Option<(SpaceNumber, SpaceSettings)> {
    let inner = core.inner.borrow();
    let has_some = |number| inner.shard.space_stats(number).is_ok_and(|own| own.episodes > 0);
    let spaces = inner.shard.spaces().filter(|(number, _)| has_some(*number));
    let spaces: Vec<(SpaceNumber, &SpaceSettings)> = spaces.collect();
    let nth = (!spaces.is_empty()).then(|| random.index(spaces.len()))?;
    Some((spaces[nth].0, spaces[nth].1.clone()))
}

/// An episode of this shard, in proportion to its retention.
async fn some_episode(
    core: &Rc<Core>,
    space: SpaceNumber,
    random: &mut Random,
) -> Option<StoredEpisode> {
    // Which time it is, the shard knows.
    let strength = Some(NonZero::<i64>::MIN);
    let fields = Fields { vector: true, links: true, strength, ..Fields::default() };
    let mut page = Vec::new();
    // Behind a position that was drawn there may be none.
    for from in [random.draw() >> POSITION_SHIFT, 0] {
        let (count, bytes_max) = (DRAWN_FROM, REPLY_BYTES_MAX);
        let request = Request::Scan { space, from, count, bytes_max, fields };
        let Answer::Scanned(Ok(Page { episodes, .. })) = core.call(core.number, request).await
        else {
            return None;
        };
        if !episodes.is_empty() {
            page = episodes;
            break;
        }
    }
    let weight = |episode: &StoredEpisode| match (&episode.strength, &episode.superseded) {
        (Some(strength), None) => strength.retention(),
        _ => 0.0,
    };
    let total: f32 = page.iter().map(weight).sum();
    let mut left = total * random.share();
    page.into_iter().find(|episode| {
        left -= weight(episode);
        left < 0.0
    })
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
