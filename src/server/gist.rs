//! `EG.GIST`: what a recall finds is put together by what it has in common.
//!
//! The recall is as any other, with the vectors of what it found. Grouping is the asking shard's to
//! compute, member by member and merge by merge, with a breath wherever one is due.

use std::num::NonZero;
use std::rc::Rc;

use bytes::Bytes;
use engram_shards::completion::blob;
use engram_shards::episode::{Fields, Hit, RecallRequest};
use engram_shards::gist::{Gist, Grouping, Member};
use engram_shards::recall::cue;

use super::answer::{self, Question};
use super::commands::{Encoded, cue_vectors, recall_all, sort_best_first};
use super::core::Core;
use super::kept::member;
use super::outgoing::EncodedReply;
use crate::protocol::command::{GistCommand, REPLY_BYTES_MAX};
use crate::protocol::reply::{self, ToldGist};

/// Answers `EG.GIST`.
pub(super) async fn gist(core: &Rc<Core>, command: GistCommand) -> Encoded {
    let (_, settings, route) = core.space(&command.space)?;
    let GistCommand { k, text, among, alike, conditions, effort, parts, bytes_max, .. } = command;
    let vectors = cue_vectors(core, &route, command.cues).await?;
    let cue = match vectors.is_empty() {
        true => None,
        false => Some(cue(&settings, &vectors)?),
    };
    let belief = conditions.trust.as_ref().map(|_| NonZero::<i64>::MIN);
    let fields = Fields { vector: true, text: parts.text, belief, ..Fields::default() };
    let bytes = REPLY_BYTES_MAX;
    let mut found = match (text, cue) {
        (Some(text), cue) => {
            let text = &text;
            let question = Question {
                settings: &settings,
                text,
                cue,
                weights: settings.words.weights,
                k: among,
                conditions,
                effort,
                fields,
                bytes_max: bytes,
            };
            answer::answer(core, &route, question).await?
        }
        (None, cue) => {
            let cue = cue.expect("without words there is a vector");
            let space = route.space();
            let request = RecallRequest {
                space,
                k: among,
                cue,
                conditions,
                effort,
                fields,
                bytes_max: bytes,
            };
            recall_all(core, &route, request).await?
        }
    };
    // Those without were forgotten just now, or there is no room for them.
    found.retain(|hit| hit.episode.vector.is_some());
    sort_best_first(&mut found);
    let members = found.iter().filter_map(trusted);
    let mut grouping = Grouping::new(settings.metric, members.collect(), alike);
    while grouping.step() {
        core.breathe_if_due().await;
    }
    let mut gists = grouping.finish();
    gists.truncate(k);
    let mut bytes_left = bytes_max;
    let told = gists.into_iter().map(|gist| tell(gist, &found, parts.vector, &mut bytes_left));
    let told: Vec<ToldGist> = told.collect();
    let bytes: usize = told.iter().map(ToldGist::bytes).sum();
    let held = core.hold_reply(bytes)?;
    let reply = EncodedReply::new(move |encoder| reply::gists(encoder, &told));
    Ok(reply.holding(vec![held]).weighing(bytes))
}

/// As far as who asks trusts whom it goes back to.
fn trusted(hit: &Hit) -> Option<Member> {
    let own = member(&hit.episode)?;
    let confidence = match hit.opinion {
        Some(opinion) => own.confidence.discounted(opinion.trust),
        None => own.confidence,
    };
    Some(Member { confidence, ..own })
}

/// What is told of a gist; the text of its medoid as far as there is room.
fn tell(gist: Gist, found: &[Hit], with_vector: bool, bytes_left: &mut usize) -> ToldGist {
    let Gist { members, vector, confidence, span_us } = gist;
    let best = members.iter().map(|(nth, _)| *nth).min().expect("a gist has members");
    let medoid = &found[members[0].0];
    let text: Option<Bytes> = medoid.episode.text.clone();
    let text = text.filter(|text| {
        let fits = text.len() <= *bytes_left;
        *bytes_left -= if fits { text.len() } else { *bytes_left };
        fits
    });
    let sources =
        members.iter().map(|(nth, similarity)| (found[*nth].episode.id.clone(), *similarity));
    ToldGist {
        score: found[best].score,
        confidence,
        span_us,
        sources: sources.collect(),
        text,
        vector: with_vector.then(|| blob(&vector)),
    }
}
