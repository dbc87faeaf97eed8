//! Answers a question in words, with a vector or both: what all shards of a space propose, and
//! what stands around it, becomes one list.
//!
//! Two rounds at most. In the first every shard proposes; in the second it is asked for what was
//! said around the best of all proposals, if any of them belongs to a thread. What is read of the
//! answers in the end is read of these alone.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use engram_shards::episode::{Belief, Conditions, Effort, Fields, Hit, Refusal, SpaceSettings};
use engram_shards::inquiry::fusion::{Background, Fusion, Weights};
use engram_shards::inquiry::{AroundRequest, Found, InquiryRequest};
use engram_shards::words::when::When;
use engram_shards::words::{Analyser, Language, QUESTION_TERMS_MAX};

use super::commands::merge;
use super::core::Core;
use super::request::{Answer, Request};
use super::route::Route;

/// Rows that each way proposes, unless more are wanted.
const PROPOSED: usize = 40;
/// Proposals that are looked around, unless more are wanted.
const LOOKED_AROUND: usize = 20;
/// Episodes that are read at once.
const READ_AT_ONCE: usize = 16;

/// What is asked.
pub(super) struct Question<'a> {
    /// Of the memory space: the language of its words, and its metric.
    pub(super) settings: &'a SpaceSettings,
    pub(super) text: &'a [u8],
    pub(super) cue: Option<Arc<[f32]>>,
    pub(super) weights: Weights,
    pub(super) k: usize,
    pub(super) conditions: Conditions,
    pub(super) effort: Effort,
    pub(super) fields: Fields,
    pub(super) bytes_max: usize,
}

/// The best of all shards, best first.
pub(super) async fn answer(
    core: &Rc<Core>,
    route: &Route,
    question: Question<'_>,
) -> Result<Vec<Hit>, Refusal> {
    let Question { k, fields, bytes_max, .. } = question;
    let hits = rank(core, route, question).await?;
    let hits = read(core, route, hits, fields, bytes_max).await?;
    Ok(merge(hits, k, fields, bytes_max))
}

/// The same without the parts of episodes that were asked for.
pub(super) async fn rank(
    core: &Rc<Core>,
    route: &Route,
    question: Question<'_>,
) -> Result<Vec<Hit>, Refusal> {
    let Question { settings, text, cue, weights, k, conditions, effort, fields, .. } = question;
    let terms = terms(settings.words.language, text);
    let when = When::of(&String::from_utf8_lossy(text), core.wall_us());
    let inquiry = InquiryRequest {
        space: route.space(),
        cue: cue.clone(),
        terms: Arc::clone(&terms),
        spans: if weights.time > 0.0 { when.spans().into() } else { Arc::default() },
        k,
        count: k.max(PROPOSED),
        conditions: conditions.clone(),
        effort,
    };
    let all = ask(core, route, || Request::Inquire(Box::new(inquiry.clone()))).await?;
    let similarity = cue.as_ref().map(|_| all.background(settings.metric));
    let Found { evidence, statistics, .. } = all;
    let background = Background { statistics, similarity, when, weights };
    let mut fusion = Fusion::default();
    fusion.add(evidence);
    let places = match weights.around > 0.0 {
        true => fusion.places(&background, k.max(LOOKED_AROUND)),
        false => Vec::new(),
    };
    if !places.is_empty() {
        let (space, places) = (route.space(), places.into());
        let around = AroundRequest { space, cue, terms, conditions, places };
        let around = ask(core, route, || Request::LookAround(Box::new(around.clone()))).await?;
        fusion.add(around.evidence);
    }
    let ranked = fusion.rank(&background, k);
    let hits = ranked.into_iter().map(|(evidence, terms)| Hit {
        score: terms.score(&weights),
        similarity: evidence.similarity,
        activation: None,
        activation_bounds: None,
        episode: evidence.episode(),
        opinion: fields.belief.map(|_| evidence.opinion()),
        why: None,
        path: None,
        // Gists are scored by them too.
        fused: (fields.why || fields.gist_links).then_some(terms),
    });
    Ok(hits.collect())
}

/// The different terms of a text, the first so many.
fn terms(language: Language, text: &[u8]) -> Arc<[String]> {
    let mut analyser = Analyser::new(language);
    let terms = analyser.analyse(text).first_terms(QUESTION_TERMS_MAX);
    terms.into_iter().map(str::to_owned).collect()
}

/// Asks all shards of a space, and puts together what they found.
async fn ask(
    core: &Rc<Core>,
    route: &Route,
    request: impl Fn() -> Request,
) -> Result<Found, Refusal> {
    let mut all = Found::default();
    for answer in core.call_all(route.all(), request).await {
        let Answer::Found(found) = answer else {
            unreachable!("an inquiry was answered with {answer:?}")
        };
        let Found { evidence, statistics, keys, keyed_rows } = *found?;
        match all.evidence.is_empty() {
            true => all.evidence = evidence,
            false => all.evidence.extend(evidence),
        }
        all.statistics.add(&statistics);
        all.keys += keys;
        all.keyed_rows += keyed_rows;
    }
    Ok(all)
}

/// Reads the parts that were asked for, as far as their bytes are bounded. What was forgotten or
/// replaced meanwhile is no answer any more.
pub(super) async fn read(
    core: &Rc<Core>,
    route: &Route,
    hits: Vec<Hit>,
    fields: Fields,
    bytes_max: usize,
) -> Result<Vec<Hit>, Refusal> {
    if (Fields { belief: None, why: false, ..fields }) == Fields::default() {
        return Ok(hits);
    }
    let (mut whole, mut bytes, mut left) = (Vec::with_capacity(hits.len()), 0, hits.into_iter());
    while bytes <= bytes_max && left.len() > 0 {
        let some: Vec<Hit> = left.by_ref().take(READ_AT_ONCE).collect();
        let promises: Vec<_> = some
            .iter()
            .map(|hit| {
                let id: Bytes = hit.episode.id.clone();
                let owner = route.owner(&id);
                core.ask(
                    owner,
                    Request::Get { space: route.space(), id, fields, belief: Belief::Now },
                )
            })
            .collect();
        core.turn();
        for (hit, promise) in some.into_iter().zip(promises) {
            let Answer::Episode(episode) = promise.wait().await else {
                unreachable!("a get is answered with an episode")
            };
            if let Some(episode) = episode?
                && episode.sequence == hit.episode.sequence
            {
                bytes += episode.optional_bytes();
                whole.push(Hit { episode: *episode, ..hit });
            }
        }
    }
    whole.extend(left);
    Ok(whole)
}
