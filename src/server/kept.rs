//! Gists that are kept, and how a recall finds them.
//!
//! What is kept is which episodes belong together, as links between a head and the other members
//! ([`GistLink`]). Everything else is derived from the members when somebody asks, of those that
//! are there and that fulfil the conditions of the one who asks: with fewer than three there is no
//! gist.
//!
//! A recall comes to the gists that the episodes it has found belong to. Each is scored as the best
//! of its members that were found, *e*, with what is its own in the place of what is that one's:
//!
//! ```text
//! score = score of e + S(gist) − S(e)
//! ```
//!
//! S is what similarity and words add to a score: the similarity, or with words the
//! [fused terms](engram_shards::inquiry::fusion). The similarity of a gist is that of its vector,
//! which is the mean of its members'; so its words are the mean of theirs, and those of members
//! that were not found count nothing.

use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use engram_shards::completion::{blob, components};
use engram_shards::episode::{
    Conditions, Fields, Hit, Refusal, SpaceSettings, StoredEpisode, StoredRequest,
};
use engram_shards::gist::{GIST_KEPT_MAX, Gist, Member};
use engram_shards::inquiry::fusion::{Terms, Weights};
use engram_shards::links::{GistLink, StoredAt};
use engram_shards::trust::Trust;

use super::core::Core;
use super::request::{Answer, Request};
use super::route::Route;
use crate::protocol::command::REPLY_BYTES_MAX;
use crate::protocol::reply::{FoundGist, ToldGist};

/// Gists that one recall looks at.
const GISTS_MAX: usize = 16;

/// Episodes by where they were stored.
pub(super) type Places = BTreeMap<StoredAt, StoredEpisode>;

/// A kept gist, as far as somebody may see it.
pub(super) struct Kept {
    pub(super) head: StoredAt,
    /// Where the head leads to, be there a member or not.
    pub(super) named: Vec<StoredAt>,
    /// The head among them, if it is one.
    pub(super) members: Places,
}

/// All episodes that may belong to a gist: one that is archived still does.
pub(super) fn anybody() -> Conditions {
    Conditions { archived: true, ..Conditions::default() }
}

/// Where an episode was stored.
pub(super) fn place(route: &Route, episode: &StoredEpisode) -> StoredAt {
    let shard = u16::try_from(route.owner(&episode.id)).expect("there are at most 64 shards");
    StoredAt { shard, sequence: episode.sequence.0 }
}

/// The head of the gist that an episode at a place says it belongs to. Of several, which two shards
/// may have made at once, the first counts.
pub(super) fn head_of(at: StoredAt, links: &[GistLink]) -> Option<StoredAt> {
    let mut heads = links.iter().filter_map(|link| match link {
        GistLink::ToHead(head) => Some(*head),
        GistLink::ToMember(_) => None,
    });
    heads.next().or_else(|| (!links.is_empty()).then_some(at))
}

/// Reads the episodes that are at some places and fulfil conditions.
pub(super) async fn read(
    core: &Rc<Core>,
    route: &Route,
    places: impl IntoIterator<Item = StoredAt>,
    conditions: &Conditions,
    fields: Fields,
) -> Result<Places, Refusal> {
    let mut by_shard: BTreeMap<u16, Vec<u64>> = BTreeMap::new();
    for StoredAt { shard, sequence } in places {
        by_shard.entry(shard).or_default().push(sequence);
    }
    by_shard.retain(|shard, _| route.all().any(|own| own == usize::from(*shard)));
    let ask = |(shard, sequences): (u16, Vec<u64>)| {
        let (space, conditions, bytes_max) = (route.space(), conditions.clone(), REPLY_BYTES_MAX);
        let request = StoredRequest { space, sequences, conditions, fields, bytes_max };
        (shard, core.ask(usize::from(shard), Request::GetStored(Box::new(request))))
    };
    let asked: Vec<_> = by_shard.into_iter().map(ask).collect();
    core.turn();
    let mut episodes = Places::new();
    for (shard, promise) in asked {
        let Answer::Episodes(found) = promise.wait().await else {
            unreachable!("what was stored is answered with episodes")
        };
        let at = |episode: &StoredEpisode| StoredAt { shard, sequence: episode.sequence.0 };
        episodes.extend(found?.into_iter().map(|episode| (at(&episode), episode)));
    }
    Ok(episodes)
}

/// The gists with these heads, of members that fulfil the conditions. A head that is superseded or
/// belongs to another gist has none.
pub(super) async fn kept(
    core: &Rc<Core>,
    route: &Route,
    heads: impl IntoIterator<Item = StoredAt>,
    conditions: &Conditions,
    fields: Fields,
) -> Result<Vec<Kept>, Refusal> {
    let only_links = Fields { gist_links: true, ..Fields::default() };
    let heads = read(core, route, heads, &anybody(), only_links).await?;
    let mut gists: Vec<Kept> = Vec::with_capacity(heads.len());
    for (head, episode) in heads {
        if head_of(head, &episode.gist_links) == Some(head) {
            let named = episode.gist_links.iter().take(GIST_KEPT_MAX - 1);
            let named = named.map(|link| match link {
                GistLink::ToMember(member) | GistLink::ToHead(member) => *member,
            });
            gists.push(Kept { head, named: named.collect(), members: Places::new() });
        }
    }
    let places = gists.iter().flat_map(|gist| gist.named.iter().chain([&gist.head])).copied();
    let fields = Fields { gist_links: true, ..fields };
    let all = read(core, route, places.collect::<Vec<_>>(), conditions, fields).await?;
    for gist in &mut gists {
        for at in gist.named.iter().chain([&gist.head]) {
            if let Some(episode) = all.get(at)
                && head_of(*at, &episode.gist_links) == Some(gist.head)
            {
                gist.members.insert(*at, episode.clone());
            }
        }
    }
    Ok(gists)
}

/// A member as far as it matters; `None` where there was no room for its vector.
pub(super) fn member(episode: &StoredEpisode) -> Option<Member> {
    Some(Member {
        vector: components(episode.vector.as_deref()?).collect(),
        confidence: episode.confidence,
        happened_at_us: episode.happened_at_us,
    })
}

/// A member as far as who asks trusts whom it goes back to, if he says so.
fn trusted(trust: Option<&Trust>, episode: &StoredEpisode) -> Option<Member> {
    let own = member(episode)?;
    let Some(trust) = trust else { return Some(own) };
    // What cannot be read names nobody who is trusted.
    let degree = trust.of(episode.metadata.as_deref()?, episode.writer_uid).unwrap_or(0.0);
    Some(Member { confidence: own.confidence.discounted(degree), ..own })
}

/// What a recall was asked.
pub(super) struct Asked<'a> {
    pub(super) cue: Option<&'a [f32]>,
    /// Of an answer to words.
    pub(super) weights: Option<Weights>,
    pub(super) conditions: &'a Conditions,
}

/// A gist that a recall has found, without its text.
struct Reached {
    told: FoundGist,
    medoid: StoredAt,
}

/// Puts the gists that what was found belongs to among it, `k` in all, best first.
pub(super) async fn join(
    core: &Rc<Core>,
    (route, settings): (&Route, &SpaceSettings),
    asked: &Asked<'_>,
    (hits, k): (&mut Vec<Hit>, usize),
    (fields, bytes_max): (Fields, usize),
) -> Result<Vec<FoundGist>, Refusal> {
    let mut heads: Vec<StoredAt> = Vec::new();
    for hit in hits.iter() {
        let head = head_of(place(route, &hit.episode), &hit.episode.gist_links);
        heads.extend(head.filter(|head| heads.len() < GISTS_MAX && !heads.contains(head)));
    }
    let metadata = asked.conditions.trust.is_some();
    let parts = Fields { vector: true, metadata, ..Fields::default() };
    let gists = kept(core, route, heads, asked.conditions, parts).await?;
    let mut reached = Vec::with_capacity(gists.len());
    for gist in &gists {
        reached.extend(reach(route, settings, asked, hits, gist, fields.vector));
        core.breathe_if_due().await;
    }
    let id = |reached: &Reached| reached.told.gist.sources[0].0.clone();
    reached.sort_by(|a, b| {
        b.told.gist.score.total_cmp(&a.told.gist.score).then_with(|| id(a).cmp(&id(b)))
    });
    // How many of the best k are gists; among equals episodes come first.
    let is_in = |nth: usize, reached: &Reached| {
        let better = hits.iter().take_while(|hit| hit.score >= reached.told.gist.score).count();
        nth + better < k
    };
    let told = reached.iter().enumerate().take_while(|(nth, gist)| is_in(*nth, gist)).count();
    reached.truncate(told);
    hits.truncate(k - told);
    if !fields.why {
        hits.iter_mut().for_each(|hit| hit.fused = None);
    }
    let mut texts = Places::new();
    if fields.text {
        let medoids = reached.iter().map(|gist| gist.medoid);
        let parts = Fields { text: true, ..Fields::default() };
        texts = read(core, route, medoids, asked.conditions, parts).await?;
    }
    let carried: usize = hits.iter().map(|hit| hit.episode.optional_bytes()).sum();
    let mut bytes_left = bytes_max.saturating_sub(carried);
    let tell = |Reached { mut told, medoid }| {
        let gist: &mut ToldGist = &mut told.gist;
        gist.text = texts.remove(&medoid).and_then(|episode| episode.text);
        let bytes = [&gist.text, &gist.vector].into_iter().flatten().map(Bytes::len).sum();
        match bytes_left.checked_sub(bytes) {
            Some(left) => bytes_left = left,
            None => (gist.text, gist.vector, bytes_left) = (None, None, 0),
        }
        told
    };
    Ok(reached.into_iter().map(tell).collect())
}

/// What is told of a gist; `None` if too few of its members are there, or none was found.
fn reach(
    route: &Route,
    settings: &SpaceSettings,
    asked: &Asked<'_>,
    hits: &[Hit],
    kept: &Kept,
    with_vector: bool,
) -> Option<Reached> {
    let mut found =
        hits.iter().filter(|hit| kept.members.contains_key(&place(route, &hit.episode)));
    let best = found.next()?;
    let trust = asked.conditions.trust.as_deref();
    let mut members: Vec<(StoredAt, &StoredEpisode, Member)> = kept
        .members
        .iter()
        .filter_map(|(at, episode)| Some((*at, episode, trusted(trust, episode)?)))
        .collect();
    // Whichever shards they are on.
    members.sort_by(|a, b| a.1.id.cmp(&b.1.id));
    let (metric, all) = (settings.metric, members.iter().map(|(.., member)| member.clone()));
    let gist = Gist::of(metric, all.collect())?;
    let similarity = asked.cue.map(|cue| gist.similarity(metric, cue));
    let nearer = similarity.zip(best.similarity).map_or(0.0, |(own, of_best)| own - of_best);
    let score = match (asked.weights, best.fused) {
        (Some(weights), Some(terms)) => {
            let others = found.filter_map(|hit| hit.fused).map(|terms| terms.words);
            let words = (terms.words + others.sum::<f32>()) / members.len() as f32;
            let own = Terms { words, ..terms.nearer(nearer) };
            best.score - terms.score(&weights) + own.score(&weights)
        }
        // What only associations have brought has no words.
        (Some(_), None) => best.score,
        (None, _) => best.score + nearer,
    };
    let Gist { members: by_similarity, vector, confidence, span_us } = gist;
    let medoid = members[by_similarity[0].0].0;
    let sources = by_similarity.into_iter();
    let sources = sources.map(|(nth, similarity)| (members[nth].1.id.clone(), similarity));
    let gist = ToldGist {
        score,
        confidence,
        span_us,
        sources: sources.collect(),
        text: None,
        vector: with_vector.then(|| blob(&vector)),
    };
    Some(Reached { told: FoundGist { gist, similarity }, medoid })
}
