//! Offline work: what a shard does with its memories while it has little else to do.
//!
//! Once in a while, and one thing at a time, an episode of the shard is drawn and something is done
//! about it: it is [replayed](super::dream), or the [gist](super::keeping) that it belongs to is
//! looked after. Each takes a recall or two and a bounded number of links, so that what it costs is
//! bounded however long the daemon is idle; and what has settled is written no more.
//!
//! An episode is drawn in proportion to its retention, which is how strong and how recent it is,
//! from some that stand side by side in the order of a scan.

use std::cell::Cell;
use std::num::NonZero;
use std::rc::Rc;
use std::time::Duration;

use engram_shards::episode::{Fields, SpaceNumber, SpaceSettings, StoredEpisode};
use engram_shards::io::Random;
use engram_shards::space::{POSITION_SHIFT, Page};

use super::core::Core;
use super::request::{Answer, Request};
use super::route::Route;
use super::{dream, keeping};
use crate::protocol::command::REPLY_BYTES_MAX;
use crate::runtime;

/// Episodes that one is drawn from.
const DRAWN_FROM: usize = 16;
/// Requests between two looks up to which a shard has little else to do.
const QUIET_REQUESTS: u64 = 20;

/// How often what is done offline; `None`: never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offline {
    /// The pause between two replays.
    pub dream: Option<Duration>,
    /// The pause between two looks at gists.
    pub gist: Option<Duration>,
}

impl Offline {
    /// Whether anything is done.
    pub fn is_on(&self) -> bool {
        self.dream.is_some() || self.gist.is_some()
    }
}

#[derive(Debug, Clone, Copy)]
enum Work {
    Dream,
    Gist,
}

/// An episode that was drawn, with its vector and its links, and where it is.
pub(super) struct Drawn {
    pub(super) route: Route,
    pub(super) settings: SpaceSettings,
    pub(super) episode: StoredEpisode,
}

/// Works now and then, until `goes_on` is false.
pub(super) async fn run(core: Rc<Core>, offline: Offline, seed: u64, goes_on: Rc<Cell<bool>>) {
    let mut random = Random::new(seed);
    let mut seen = core.activity.get();
    let pauses = [(Work::Dream, offline.dream), (Work::Gist, offline.gist)];
    let due = |pause: Duration| core.now_ns().saturating_add(pause.as_nanos() as u64);
    let pauses = pauses.into_iter().filter_map(|(work, pause)| Some((work, pause?)));
    let mut plan: Vec<(Work, Duration, u64)> =
        pauses.map(|(work, pause)| (work, pause, due(pause))).collect();
    while goes_on.get()
        && let Some(next) = plan.iter_mut().min_by_key(|(.., due_ns)| *due_ns)
    {
        let (work, pause, due_ns) = next;
        runtime::sleep(Duration::from_nanos(due_ns.saturating_sub(core.now_ns()))).await;
        let is_quiet = core.activity.get() - seen <= QUIET_REQUESTS
            && core.inner.borrow().jobs.is_empty()
            && core.read_only_reason().is_none();
        if is_quiet && goes_on.get() {
            carry_out(&core, *work, &mut random, &goes_on).await;
        }
        seen = core.activity.get();
        *due_ns = due(*pause);
    }
}

/// Does something about one episode; `None` when there was none, or it has gone meanwhile.
async fn carry_out(
    core: &Rc<Core>,
    work: Work,
    random: &mut Random,
    goes_on: &Cell<bool>,
) -> Option<()> {
    let (number, settings) = some_space(core, random)?;
    let route = Route::new(number, &settings, core.shards());
    let episode = some_episode(core, number, random).await?;
    let drawn = Drawn { route, settings, episode };
    match work {
        Work::Dream => dream::replay(core, drawn, goes_on).await,
        Work::Gist => keeping::look_after(core, drawn, goes_on).await,
    }
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
    let fields =
        Fields { vector: true, links: true, gist_links: true, strength, ..Fields::default() };
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

/// Waits for writes that were asked for; how many were done. Where an episode has gone or there is
/// no room, nothing is to be done about it.
pub(super) async fn written(core: &Core, asked: Vec<Rc<super::origin::Promise>>) -> u64 {
    core.turn();
    let mut written = 0;
    for promise in asked {
        written += u64::from(matches!(promise.wait().await, Answer::Write(Ok(_))));
    }
    written
}
