//! Which gists are kept: found offline, one episode at a time.
//!
//! An episode that was drawn belongs to a gist or to none. If it belongs to one, links of the gist
//! that lead to what has gone are taken away, and all of them when fewer than three members are
//! left. If it belongs to none, those that are nearest to it and belong to none either are put
//! together as `EG.GIST` does it; where three or more are with it, that is a new gist, and its
//! medoid the head. Else it joins the gist of the nearest one that has any, if it is similar enough
//! to its members on average: what average linkage asks of two groups.
//!
//! So nobody is taken out of a gist to be put into another, an episode is in one at most, and once
//! everybody has been drawn nothing is written any more. It is the leader algorithm (Hartigan,
//! "Clustering Algorithms", 1975) with groups in the place of leaders: what comes of it depends on
//! the order of the draws, which is what clustering without looking at everything costs.
//!
//! Links that belong together are several writes, maybe of several shards, and a crash may come in
//! between. An episode whose link is not answered by one back belongs to nothing, and loses it when
//! it is drawn.

use std::cell::Cell;
use std::rc::Rc;

use engram_shards::episode::{
    BindRequest, Conditions, Effort, Fields, RecallRequest, Sequence, StoredEpisode,
};
use engram_shards::gist::{
    ALIKE_DEFAULT, GIST_KEPT_MAX, GIST_MEMBERS_MIN, Grouping, Member, mean_similarity,
};
use engram_shards::links::{GistLink, StoredAt};
use engram_shards::recall::cue;

use super::commands::{recall_all, sort_best_first};
use super::core::Core;
use super::kept::{self, Kept, anybody, head_of, member, place};
use super::offline::{Drawn, written};
use super::origin::Promise;
use super::request::Request;
use super::route::Route;
use crate::protocol::command::REPLY_BYTES_MAX;

/// Episodes near the one that was drawn, itself among them.
const AMONG: usize = 32;

/// A link of an episode at a place, to make or to take away.
struct Change {
    of: StoredAt,
    link: GistLink,
    is_bound: bool,
}

/// Looks after the gist that an episode of this shard belongs to, or finds one for it; `None` when
/// the episode has gone meanwhile.
pub(super) async fn look_after(core: &Rc<Core>, drawn: Drawn, goes_on: &Cell<bool>) -> Option<()> {
    let at = place(&drawn.route, &drawn.episode);
    let (changes, made) = match head_of(at, &drawn.episode.gist_links) {
        Some(head) => (tidy(core, &drawn, at, head).await?, 0),
        None => find(core, &drawn, at).await?,
    };
    if !goes_on.get() {
        return None;
    }
    let asked = changes.into_iter().map(|change| write(core, &drawn.route, change));
    let written = written(core, asked.collect()).await;
    core.measure(|metrics| {
        metrics.gist_looks += 1;
        metrics.gists_made += made;
        metrics.gist_links += written;
    });
    Some(())
}

/// What is to be taken away of the gist that an episode says it belongs to.
async fn tidy(
    core: &Rc<Core>,
    Drawn { route, episode, .. }: &Drawn,
    at: StoredAt,
    head: StoredAt,
) -> Option<Vec<Change>> {
    let (all, parts) = (anybody(), Fields::default());
    let kept = kept::kept(core, route, [head], &all, parts).await.ok()?.pop();
    let links = |of: StoredAt, own: &StoredEpisode, is_stale: &dyn Fn(GistLink) -> bool| {
        let stale = own.gist_links.iter().copied().filter(|link| is_stale(*link));
        stale.map(|link| Change { of, link, is_bound: false }).collect::<Vec<_>>()
    };
    let Some(Kept { members, .. }) = kept.filter(|kept| kept.members.contains_key(&at)) else {
        return Some(links(at, episode, &|_| true));
    };
    let is_over = members.len() < GIST_MEMBERS_MIN;
    let is_stale = |link: GistLink| match link {
        GistLink::ToMember(member) => is_over || !members.contains_key(&member),
        GistLink::ToHead(own) => is_over || own != head,
    };
    let of_others = members.iter().filter(|(own, _)| is_over || **own == head || **own == at);
    Some(of_others.flat_map(|(of, other)| links(*of, other, &is_stale)).collect())
}

/// A gist for an episode that belongs to none, and how many were made.
async fn find(
    core: &Rc<Core>,
    Drawn { route, settings, episode }: &Drawn,
    at: StoredAt,
) -> Option<(Vec<Change>, u64)> {
    let request = RecallRequest {
        space: route.space(),
        k: AMONG,
        cue: cue(settings, &[episode.vector.clone()?]).ok()?,
        conditions: Conditions::default(),
        effort: Effort::Usual,
        fields: Fields { vector: true, gist_links: true, ..Fields::default() },
        bytes_max: REPLY_BYTES_MAX,
    };
    let mut hits = recall_all(core, route, request).await.ok()?;
    sort_best_first(&mut hits);
    let found = hits.iter().map(|hit| &hit.episode);
    let free = found.clone().filter(|own| own.gist_links.is_empty());
    let free: Vec<(StoredAt, Member)> =
        free.filter_map(|own| Some((place(route, own), member(own)?))).collect();
    let vectors = free.iter().map(|(_, member)| member.clone()).collect();
    let mut grouping = Grouping::new(settings.metric, vectors, ALIKE_DEFAULT);
    while grouping.step() {
        core.breathe_if_due().await;
    }
    let is_own = |nth: usize| free[nth].0 == at;
    let gists = grouping.finish().into_iter();
    let mut own = gists.filter(|gist| gist.members.iter().any(|(nth, _)| is_own(*nth)));
    if let Some(gist) = own.next() {
        let members = gist.members.iter().take(GIST_KEPT_MAX);
        let mut members = members.map(|(nth, _)| free[*nth].0);
        let head = members.next()?;
        let changes = members.flat_map(|member| bind(head, member));
        return Some((changes.collect(), 1));
    }
    let mut heads = found.filter_map(|own| head_of(place(route, own), &own.gist_links));
    let (all, parts) = (anybody(), Fields { vector: true, ..Fields::default() });
    let nearest = kept::kept(core, route, heads.next(), &all, parts).await.ok()?.pop();
    let joins = |kept: &Kept| {
        let vectors: Vec<Member> = kept.members.values().filter_map(member).collect();
        let has_room = kept.named.len() + 1 < GIST_KEPT_MAX;
        let alike = |own: Member| mean_similarity(settings.metric, &own, &vectors);
        let is_gist = vectors.len() >= GIST_MEMBERS_MIN && has_room;
        is_gist && member(episode).is_some_and(|own| alike(own) >= f64::from(ALIKE_DEFAULT))
    };
    let changes = nearest.filter(joins).map(|kept| bind(kept.head, at).into());
    Some((changes.unwrap_or_default(), 0))
}

/// Both links between a head and another member.
fn bind(head: StoredAt, member: StoredAt) -> [Change; 2] {
    [
        Change { of: member, link: GistLink::ToHead(head), is_bound: true },
        Change { of: head, link: GistLink::ToMember(member), is_bound: true },
    ]
}

/// Asks the owner of an episode for a change of its links.
fn write(core: &Core, route: &Route, Change { of, link, is_bound }: Change) -> Rc<Promise> {
    let (space, stored) = (route.space(), Sequence(of.sequence));
    let request = Request::Bind(BindRequest { space, stored, link, is_bound });
    core.ask(usize::from(of.shard), request)
}
