//! The end of a spread: the episodes where most mass has gathered.
//!
//! By itself a spread answers with the most active episodes that are no seeds. For a recall it adds
//! to what that has found: the most active episodes are compared with the cue too, and
//!
//! ```text
//! score = similarity + weight · activation
//! ```
//!
//! decides among both. The activation of a seed is there without what it keeps of its own mass, so
//! that it counts only what associations bring to it.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::sync::Arc;

use bytes::Bytes;

use super::run::Run;
use super::ways::Ways;
use super::{Pools, Spreading};
use crate::arena::Arena;
use crate::episode::{Conditions, Fields, Hit, Metric, PathStep, Refusal};
use crate::kernels::{key, padded};
use crate::recall::similarity;
use crate::space::{Associations, Damaged, RowAt, Space};
use crate::spread::activations::{Activations, Step};
use crate::spread::exact::Exact;
use crate::spread::state::State;

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
    /// As the recall took it.
    pub cue: Arc<[f32]>,
    /// What an activation of 1 adds to a similarity.
    pub weight: f32,
    pub ids: Vec<Bytes>,
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

impl Spreading {
    /// Reads the episodes. To be called behind a [`step`](Self::step) that was the last, while
    /// nothing has changed.
    pub fn finish(
        self,
        space: &mut Space,
        arena: &Arena,
        pools: &mut Pools,
        asked: &Asked,
    ) -> Result<Collected, Refusal> {
        let Self { request, run, seeds, ways, edges_before, outgoing, .. } = self;
        let metric = space.settings.metric;
        let (candidates, mut collected) =
            space.with_associations(arena, request.home, |graph| match run {
                // It was ended before it could begin.
                Run::Preparing { .. } => (Ok(Vec::new()), Collected::default()),
                Run::Packed(push) => {
                    let activations = push.finish(graph);
                    let of = Pushed { activations: &activations, path: None };
                    let candidates = choose(graph, &of, (&seeds, &ways), metric, asked);
                    let collected = collected(&activations);
                    pools.packed.release(activations.into_workspace());
                    (candidates, collected)
                }
                Run::Traced(push) => {
                    let activations = push.finish(graph);
                    let path: &dyn Fn(u32) -> Vec<Step> = &|node| activations.path(node);
                    let of = Pushed { activations: &activations, path: Some(path) };
                    let candidates = choose(graph, &of, (&seeds, &ways), metric, asked);
                    let collected = collected(&activations);
                    pools.traced.release(activations.into_workspace());
                    (candidates, collected)
                }
                Run::Exact(iterating) => {
                    let of = &iterating.exact;
                    let (edges, nodes) = (of.edges(), of.nodes_touched());
                    let collected = Collected { edges, nodes, ..Collected::default() };
                    let candidates = choose(graph, of, (&seeds, &ways), metric, asked);
                    pools.release_exact(iterating.exact.bytes());
                    (candidates, collected)
                }
            });
        collected.edges += edges_before;
        collected.missing_max += outgoing.next.iter().map(|given| given.mass.get()).sum::<f64>();
        collected.hits = read(space, arena, candidates?, asked)?;
        Ok(collected)
    }
}

fn collected<S: State>(activations: &Activations<S>) -> Collected {
    let work = activations.work();
    Collected {
        hits: Vec::new(),
        edges: work.edges,
        nodes: work.nodes_touched,
        turns: work.turns,
        turns_ahead: work.turns_ahead,
        missing_max: activations.missing_max(),
        was_cut: false,
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

struct Pushed<'a, S: State> {
    activations: &'a Activations<S>,
    path: Option<&'a dyn Fn(u32) -> Vec<Step>>,
}

impl<S: State> Scores for Pushed<'_, S> {
    fn score(&self, node: u32) -> f32 {
        self.activations.score(node)
    }

    fn best(
        &self,
        _: &Associations<'_>,
        count: usize,
        wanted: &dyn Fn(u32) -> bool,
    ) -> Vec<(u32, f32)> {
        let mut best = Vec::new();
        self.activations.best(count, wanted, &mut best);
        best
    }

    fn path(&self, node: u32) -> Option<Vec<Step>> {
        self.path.map(|path| path(node))
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
        let better = |a: &(u32, f32), b: &(u32, f32)| -> Ordering {
            b.1.total_cmp(&a.1).then_with(|| graph.id(a.0).cmp(&graph.id(b.0)))
        };
        let (mut best, mut bound) = (Vec::new(), f32::MIN_POSITIVE);
        for (node, score) in (0..).zip(self.scores()) {
            let score = score as f32;
            if count == 0 || score < bound || !wanted(node) {
                continue;
            }
            best.push((node, score));
            if best.len() == 4 * count {
                best.select_nth_unstable_by(count - 1, better);
                best.truncate(count);
                bound = best[count - 1].1;
            }
        }
        best.sort_unstable_by(better);
        best.truncate(count);
        best
    }

    fn path(&self, _: u32) -> Option<Vec<Step>> {
        None
    }
}

/// The best of the episodes that fulfil the conditions, best first.
fn choose(
    graph: &Associations<'_>,
    scores: &impl Scores,
    (seeds, ways): (&[(u32, f32)], &Ways),
    metric: Metric,
    asked: &Asked,
) -> Result<Vec<Candidate>, Damaged> {
    let damaged = RefCell::new(None);
    let admits_all = asked.conditions == Conditions::default();
    let admits = |node: u32| {
        let Some((part, row)) = graph.live_row(node) else { return false };
        if admits_all {
            return true;
        }
        asked.conditions.admit(part, row).unwrap_or_else(|found| {
            damaged.borrow_mut().get_or_insert(found);
            false
        })
    };
    // Where one was stored again since it got its mass, another row is it.
    let moved = seeds.iter().filter(|(seed, _)| graph.live_row(*seed).is_none());
    let moved: Vec<u32> = moved.filter_map(|(seed, _)| graph.find(graph.id(*seed)?)).collect();
    let is_seed = |node: u32| seeds.iter().any(|(seed, _)| *seed == node) || moved.contains(&node);
    let mut nodes: Vec<(u32, Option<f32>)> = Vec::new();
    match &asked.recalled {
        None => {
            let best = scores.best(graph, asked.k, &|node| !is_seed(node) && admits(node));
            nodes.extend(best.into_iter().map(|(node, _)| (node, None)));
        }
        Some(recalled) => {
            let query = padded(&recalled.cue);
            let count = (COMPARED_PER_RESULT * asked.k).max(COMPARED_MIN);
            let found: Vec<u32> = recalled.ids.iter().filter_map(|id| graph.find(id)).collect();
            let wanted = |node: u32| !found.contains(&node) && admits(node);
            let active = scores.best(graph, count, &wanted).into_iter().map(|(node, _)| node);
            for node in found.iter().copied().chain(active) {
                let Some((part, row)) = graph.live_row(node) else { continue };
                let scale = || part.columns(row).scale;
                let key = key(metric, &query, part.vector(row), scale);
                nodes.push((node, Some(similarity(metric, key))));
            }
        }
    }
    if let Some(damaged) = damaged.into_inner() {
        return Err(damaged);
    }
    let weight = asked.recalled.as_ref().map_or(0.0, |recalled| recalled.weight);
    let candidate = |(node, similarity): (u32, Option<f32>)| {
        let (part, row) = graph.live_row(node)?;
        let own = seeds.iter().find(|(seed, _)| *seed == node).map_or(0.0, |(_, own)| *own);
        let activation = match similarity {
            Some(_) => (scores.score(node) - own).max(0.0),
            None => scores.score(node),
        };
        let score = similarity.map_or(activation, |of| of + weight * activation);
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

fn read(
    space: &Space,
    arena: &Arena,
    candidates: Vec<Candidate>,
    asked: &Asked,
) -> Result<Vec<Hit>, Damaged> {
    let rows = candidates.iter().map(|candidate| candidate.at);
    let episodes = space.read_all(arena, rows, asked.fields, asked.bytes_max)?;
    let hit = |(candidate, episode): (Candidate, _)| {
        let Candidate { score, similarity, activation, path, .. } = candidate;
        Hit { score, similarity, activation: Some(activation), episode, why: None, path }
    };
    Ok(candidates.into_iter().zip(episodes).map(hit).collect())
}
