//! `EG.COMPLETE`: a partial cue is completed by what it brings to mind, round by round.
//!
//! Each round is a recall from all shards of the space with the vectors of what it found; the
//! weights, their mean and whether it has settled are the asking shard's to compute. Patterns are
//! added in the order of their scores and ids, so that with `EXACT` the answer has the same bits
//! however many shards there are.

use std::rc::Rc;

use engram_shards::completion::{PartialCue, blob, is_settled, softmax};
use engram_shards::episode::{Fields, Hit, RecallRequest};

use super::answer;
use super::commands::{Encoded, recall_all, sort_best_first};
use super::core::Core;
use super::outgoing::EncodedReply;
use crate::protocol::command::{CompleteCommand, REPLY_BYTES_MAX};
use crate::protocol::reply;

/// Episodes that weigh less are not told.
const WEIGHT_TOLD_MIN: f64 = 1e-3;

/// Answers `EG.COMPLETE`.
pub(super) async fn complete(core: &Rc<Core>, command: CompleteCommand) -> Encoded {
    let (_, settings, route) = core.space(&command.space)?;
    let CompleteCommand { k, beta, fields, bytes_max, .. } = command;
    let partial = PartialCue::new(&settings, &command.vector, &command.unknown)?;
    let (mut vector, mut rounds, mut has_settled) = (partial.vector(), 0, false);
    let (mut patterns, mut weights) = (Vec::new(), Vec::new());
    while rounds < command.rounds && !has_settled {
        let request = RecallRequest {
            space: route.space(),
            k,
            cue: vector.clone(),
            conditions: command.conditions.clone(),
            effort: command.effort,
            fields: Fields { vector: true, ..Fields::default() },
            bytes_max: REPLY_BYTES_MAX,
        };
        patterns = recall_all(core, &route, request).await?;
        if patterns.is_empty() {
            break;
        }
        sort_best_first(&mut patterns);
        let similarity = |hit: &Hit| match rounds {
            0 => partial.similarity(pattern(hit)),
            _ => f64::from(hit.score),
        };
        weights = softmax(beta, &patterns.iter().map(similarity).collect::<Vec<_>>());
        let mean = partial.mean(weights.iter().copied().zip(patterns.iter().map(pattern)));
        has_settled = is_settled(&vector, &mean);
        (vector, rounds) = (mean, rounds + 1);
    }
    let told = patterns.into_iter().zip(weights).filter(|(_, weight)| *weight >= WEIGHT_TOLD_MIN);
    #[allow(clippy::cast_possible_truncation)]
    let mut hits: Vec<Hit> = told
        .map(|(mut hit, weight)| {
            hit.episode.vector = None;
            Hit { score: weight as f32, ..hit }
        })
        .collect();
    hits.sort_by(|a, b| b.score.total_cmp(&a.score));
    let hits = answer::read(core, &route, hits, fields, bytes_max).await?;
    let hits = super::commands::merge(hits, k, fields, bytes_max);
    let vector = blob(&vector);
    let carried: usize = hits.iter().map(|hit| hit.episode.optional_bytes()).sum();
    let held = core.hold_reply(carried + vector.len())?;
    let bytes = hits.len() * size_of::<Hit>();
    let reply = EncodedReply::new(move |encoder| {
        reply::completed(encoder, &vector, rounds, has_settled, &hits);
    });
    Ok(reply.holding(vec![held]).weighing(bytes))
}

/// The vector of what was recalled.
fn pattern(hit: &Hit) -> &[u8] {
    // Patterns that take part in a round fit into the bound on bytes.
    hit.episode.vector.as_deref().expect("its vector was asked for")
}
