//! The end of a spread: the episodes where most mass has gathered.
//!
//! By itself a spread answers with the most active episodes that are no seeds. For a recall it adds
//! to what that has found: the most active episodes are compared with the cue too, and
//!
//! ```text
//! score = similarity + weight · activation
//! ```
//!
//! decides among both. For an answer to words, the score that it has is in the place of the
//! similarity, and 0 for what only associations bring. The activation of a seed is there without
//! what it keeps of its own mass, which is all of it where nothing leads away, so that it counts
//! only what associations bring to it.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;

use super::run::{Iterating, Run};
use super::{Pools, Spreading};
use crate::arena::Arena;
use crate::episode::{Conditions, Fields, Hit, PathStep, Refusal, StoredEpisode};
use crate::kernels::{key, padded};
use crate::recall::similarity;
use crate::space::{Associations, Damaged, RowAt, Space};
use crate::spread::activations::{Activations, Step, best_of};
use crate::spread::exact::Exact;
use crate::spread::graph::Graph as _;
use crate::spread::operator::Settings;
use crate::spread::push::{Push, Work};
use crate::spread::state::State;
use crate::spread::workspace::Pool;
use crate::trust::Opinion;

/// Episodes that a recall compares with the cue for each that is asked for, and at least.
const COMPARED_PER_RESULT: usize = 2;
const COMPARED_MIN: usize = 32;

/// What is wanted at the end.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    pub k: usize,
    pub conditions: Conditions,
    pub fields: Fields,
    pub bytes_max: usize,
    /// Of the recall that the spread is a part of.
    pub recalled: Option<Recalled>,
}

/// What a recall has found on this shard.
#[derive(Debug, Clone, PartialEq)]
pub struct Recalled {
    /// As the recall took it; `None` of a question in words alone.
    pub cue: Option<Arc<[f32]>>,
    /// What an activation of 1 adds to a score.
    pub weight: f32,
    pub ids: Vec<Bytes>,
    /// Of an answer to words: the score of each; `None` where similarity is the score.
    pub scores: Option<Vec<f32>>,
}

/// What came of a spread on this shard.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Collected {
    /// The best first.
    pub hits: Vec<Hit>,
    pub edges: u64,
    /// Nodes that mass came to.
    pub nodes: u64,
    /// Nodes that passed mass on, and of these those that had been asked for ahead.
    pub turns: u64,
    pub turns_ahead: u64,
    /// What the scores of all nodes may lack because of what ended here, as a part of the mass of
    /// the seeds.
    pub missing_max: f64,
    /// Whether it was ended before mass had gone as far as it matters and edges were used up.
    pub was_cut: bool,
}

/// A node that may be among the best.
struct Candidate {
    at: RowAt,
    score: f32,
    similarity: Option<f32>,
    activation: f32,
    path: Option<Vec<PathStep>>,
}

impl Candidate {
    fn into_hit(self, episode: StoredEpisode, opinion: Option<Opinion>) -> Hit {
        let Self { score, similarity, activation, path, .. } = self;
        Hit {
            score,
            similarity,
            activation: Some(activation),
            activation_bounds: None,
            episode,
            opinion,
            why: None,
            path,
            fused: None,
        }
    }
}

impl Spreading {
    /// Reads the episodes. To be called behind a [`step`](Self::step) that was the last, while
    /// nothing has changed.
    pub fn finish(
        mut self,
        (space, arena, now_us): (&mut Space, &Arena, i64),
        pools: &mut Pools,
        asked: &Asked,
    ) -> Result<Collected, Refusal> {
        let run = std::mem::take(&mut self.run);
        let (candidates, mut collected) =
            space.with_associations(arena, self.request.home, |graph| match run {
                // It was ended before it could begin; what a recall has found is there anyway.
                Run::Preparing { .. } => {
                    (self.choose(graph, &Nothing, (asked, now_us)), Collected::default())
                }
                Run::Packed(push) => {
                    self.finish_push(push, &mut pools.packed, graph, (asked, now_us))
                }
                Run::Traced(push) => {
                    self.finish_push(push, &mut pools.traced, graph, (asked, now_us))
                }
                Run::Exact(Iterating { exact, .. }) => {
                    let candidates = self.choose(graph, &exact, (asked, now_us));
                    pools.release_exact(exact.bytes());
                    let (edges, nodes) = (exact.edges(), exact.nodes_touched());
                    (candidates, Collected { edges, nodes, ..Collected::default() })
                }
            });
        collected.edges += self.edges_before;
        collected.missing_max += self.waiting();
        let candidates = candidates?;
        let rows = candidates.iter().map(|candidate| candidate.at);
        let opinions = space.opinions(arena, rows.clone(), asked.fields, &asked.conditions)?;
        let episodes = space.read_all(arena, rows, asked.fields, asked.bytes_max)?;
        let hits = candidates.into_iter().zip(episodes.into_iter().zip(opinions));
        let hits = hits.map(|(candidate, (episode, own))| candidate.into_hit(episode, own));
        collected.hits = hits.collect();
        Ok(collected)
    }

    fn finish_push<S: State>(
        &self,
        push: Push<S>,
        pool: &mut Pool<S>,
        graph: &mut Associations<'_>,
        asked: (&Asked, i64),
    ) -> (Result<Vec<Candidate>, Damaged>, Collected) {
        let activations = push.finish(graph);
        let candidates = self.choose(graph, &activations, asked);
        let Work { edges, nodes_touched: nodes, turns, turns_ahead, .. } = activations.work();
        let missing_max = activations.missing_max();
        pool.release(activations.into_workspace());
        let of = Collected { edges, nodes, turns, turns_ahead, missing_max, ..Default::default() };
        (candidates, of)
    }

    /// The best of the episodes that fulfil the conditions, best first.
    fn choose(
        &self,
        graph: &Associations<'_>,
        scores: &impl Scores,
        (asked, now_us): (&Asked, i64),
    ) -> Result<Vec<Candidate>, Damaged> {
        let Self { request, seeds, ways, .. } = self;
        let damaged = RefCell::new(None);
        let is_free = asked.conditions.is_free();
        let standing = graph.space().standing(&asked.conditions, u64::MAX, now_us);
        let admits = |node: u32| {
            let Some((part, row)) = graph.live_row(node) else { return false };
            if is_free && !standing.is_conditional(part) {
                return true;
            }
            asked.conditions.admit(part, row, standing).unwrap_or_else(|found| {
                damaged.borrow_mut().get_or_insert(found);
                false
            })
        };
        // Where one was stored again since it got its mass, another row is it.
        let now = |seed: u32| match graph.live_row(seed) {
            Some(_) => seed,
            None => graph.id(seed).and_then(|id| graph.find(id)).unwrap_or(seed),
        };
        let seeds: Vec<(u32, f32)> = seeds.iter().map(|(seed, mass)| (now(*seed), *mass)).collect();
        let seed_nodes: Vec<u32> = seeds.iter().map(|(seed, _)| *seed).collect();
        // With what a recall knows of each: its similarity, and its score.
        let mut nodes: Vec<(u32, Option<f32>, f32)> = Vec::new();
        match &asked.recalled {
            None => {
                let wanted = |node: u32| !seed_nodes.contains(&node) && admits(node);
                let best = scores.best(graph, asked.k, &wanted);
                nodes.extend(best.into_iter().map(|(node, _)| (node, None, 0.0)));
            }
            Some(recalled) => {
                let (metric, query) = (graph.metric(), recalled.cue.as_deref().map(padded));
                let count = (COMPARED_PER_RESULT * asked.k).max(COMPARED_MIN);
                let ids: Vec<&[u8]> = recalled.ids.iter().map(|id| &id[..]).collect();
                let known = graph.find_all(&ids);
                let found: Vec<u32> = known.iter().copied().flatten().collect();
                let wanted = |node: u32| !found.contains(&node) && admits(node);
                let active = scores.best(graph, count, &wanted).into_iter();
                let active = active.map(|(node, _)| (node, None));
                let known = known.into_iter().enumerate();
                // Another version may have come since the recall.
                let known = known.filter_map(|(nth, node)| Some((node?, Some(nth))));
                let known = known.filter(|(node, _)| admits(*node));
                for (node, nth) in known.chain(active) {
                    let Some((part, row)) = graph.live_row(node) else { continue };
                    let scale = || part.columns(row).scale;
                    let similar = query.as_deref().map(|query| {
                        similarity(metric, key(metric, query, part.vector(row), scale))
                    });
                    let score = match &recalled.scores {
                        Some(scores) => nth.and_then(|nth| scores.get(nth)).copied(),
                        None => similar,
                    };
                    nodes.push((node, similar, score.unwrap_or_default()));
                }
            }
        }
        if let Some(damaged) = damaged.into_inner() {
            return Err(damaged);
        }
        let Settings { decay, similar, .. } = *request.operator.settings();
        let candidate = |(node, similarity, score): (u32, Option<f32>, f32)| {
            let (part, row) = graph.live_row(node)?;
            let own = || {
                let masses = seeds.iter().filter(|(seed, _)| *seed == node).map(|(_, mass)| mass);
                let leads_away =
                    graph.is_linked(part, row) || similar > 0.0 && graph.has_similar(node);
                let kept = if leads_away { 1.0 - decay } else { 1.0 };
                kept * masses.sum::<f32>()
            };
            let (activation, score) = match &asked.recalled {
                Some(recalled) => {
                    let activation = (scores.score(node) - own()).max(0.0);
                    (activation, score + recalled.weight * activation)
                }
                None => (scores.score(node), scores.score(node)),
            };
            let at = RowAt { part: part.number(), row };
            let path = scores.path(node).map(|steps| ways.path(graph, node, &steps));
            Some(Candidate { at, score, similarity, activation, path })
        };
        let mut candidates: Vec<_> = nodes.into_iter().filter_map(candidate).collect();
        if asked.recalled.is_some() {
            candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
            candidates.truncate(asked.k);
        }
        Ok(candidates)
    }
}

/// The scores of all nodes.
trait Scores {
    fn score(&self, node: u32) -> f32;
    /// The best of those that are wanted.
    fn best(
        &self,
        graph: &Associations<'_>,
        count: usize,
        wanted: &dyn Fn(u32) -> bool,
    ) -> Vec<(u32, f32)>;
    /// The strongest way to a node, where it is known.
    fn path(&self, node: u32) -> Option<Vec<Step>>;
}

/// No node has got anything.
struct Nothing;

impl Scores for Nothing {
    fn score(&self, _: u32) -> f32 {
        0.0
    }

    fn best(&self, _: &Associations<'_>, _: usize, _: &dyn Fn(u32) -> bool) -> Vec<(u32, f32)> {
        Vec::new()
    }

    fn path(&self, _: u32) -> Option<Vec<Step>> {
        None
    }
}

impl<S: State> Scores for Activations<S> {
    fn score(&self, node: u32) -> f32 {
        self.score(node)
    }

    fn best(
        &self,
        _: &Associations<'_>,
        count: usize,
        wanted: &dyn Fn(u32) -> bool,
    ) -> Vec<(u32, f32)> {
        let mut best = Vec::new();
        self.best(count, wanted, &mut best);
        best
    }

    fn path(&self, node: u32) -> Option<Vec<Step>> {
        self.path(node)
    }
}

impl Scores for Exact {
    fn score(&self, node: u32) -> f32 {
        self.score(node) as f32
    }

    /// Among equals the lower id is better, so that it is the same on any number of shards.
    fn best(
        &self,
        graph: &Associations<'_>,
        count: usize,
        wanted: &dyn Fn(u32) -> bool,
    ) -> Vec<(u32, f32)> {
        let mut best = Vec::new();
        let scores = (0..).zip(self.scores()).map(|(node, score)| (node, score as f32));
        best_of(&mut best, count, scores, wanted, |a, b| graph.id(a).cmp(&graph.id(b)));
        best
    }

    fn path(&self, _: u32) -> Option<Vec<Step>> {
        None
    }
}
