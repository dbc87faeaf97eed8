//! One score of similarity and words, with what the episodes around lend to each.
//!
//! ```text
//! score(e) = (words(e) / max words + .85 · near(e) / max near + .8 · time(e))
//!            · (1 − ½ · share of e that asks)
//! near(e)  = n(e) + .4 · Σ over its neighbours:  reach · n(neighbour)
//! n(e)     = similarity of e − mean similarity of the space
//! ```
//!
//! `time` is how near e happened to what the question names, in [0, 1]; see
//! [`when`](crate::words::when). `words` and `reach` are those of [`score`](crate::words::score).
//! Neither cue has a scale of its own: BM25 has no bound, and how near the nearest are depends on
//! the embedding model. So each is measured against the best that the question found, and
//! similarity also against that of just any episode. A convex combination of scores that are
//! normalised so does better than the fusion of ranks (Bruch, Gai and Ingber 2023, "An Analysis of
//! Fusion Functions for Hybrid Retrieval"). What neighbours lend counts from the mean of the space
//! up, so that an episode without neighbours loses nothing.

use std::collections::HashMap;

use bytes::Bytes;

use super::Evidence;
use crate::words::score::{REACH, Statistics, Told, stating};
use crate::words::when::When;

/// What similarity counts beside words.
const NEAR_WEIGHT: f32 = 0.85;
/// What counts that an episode happened when the question says, beside words.
const TIME_WEIGHT: f32 = 0.8;
/// What the similarity of a neighbour counts beside its words.
const NEAR_LENT: f32 = 0.4;

/// Why an episode has its score: what each term of the sum comes to.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Terms {
    /// Words over the best.
    pub words: f32,
    /// Similarity over that of the space, over the best.
    pub near: f32,
    /// How near it happened to a time that the question names.
    pub time: f32,
    /// What is left because of what the episode asks.
    pub stating: f32,
}

impl Terms {
    pub fn score(&self) -> f32 {
        (self.words + NEAR_WEIGHT * self.near + TIME_WEIGHT * self.time) * self.stating
    }
}

/// Evidence of several shards, put together.
#[derive(Debug, Default)]
pub struct Fusion {
    evidence: Vec<Evidence>,
    /// The places of those of each thread, in their order; not those without a thread.
    threads: Vec<Vec<usize>>,
}

/// Where an episode stands among those of its thread.
#[derive(Debug, Clone, Copy)]
struct Standing {
    thread: usize,
    place: usize,
}

impl Fusion {
    /// What is evidence twice counts once: as proposed, if it was.
    pub fn new(mut evidence: Vec<Evidence>) -> Self {
        evidence.sort_by(|a, b| {
            let proposed = b.is_proposed.cmp(&a.is_proposed);
            a.episode.id.cmp(&b.episode.id).then(proposed)
        });
        evidence.dedup_by(|b, a| a.episode.id == b.episode.id);
        let mut threads: HashMap<&Bytes, Vec<usize>> = HashMap::new();
        for (nth, own) in evidence.iter().enumerate() {
            if !own.episode.thread.is_empty() {
                threads.entry(&own.episode.thread).or_default().push(nth);
            }
        }
        let mut threads: Vec<Vec<usize>> = threads.into_values().collect();
        for places in &mut threads {
            places.sort_by_key(|nth| {
                let episode = &evidence[*nth].episode;
                (episode.happened_at_us, episode.recorded_at_us, episode.id.clone())
            });
        }
        Self { evidence, threads }
    }

    /// The answers with the terms of their scores, best first; among equals the lower id is first.
    /// `background` is how similar just any episode is.
    pub fn rank(
        self,
        statistics: &Statistics,
        background: Option<f32>,
        when: &When,
    ) -> Vec<(Evidence, Terms)> {
        let terms = self.terms(statistics, background, when);
        let mut ranked: Vec<(Evidence, Terms)> = self.evidence.into_iter().zip(terms).collect();
        ranked.retain(|(own, _)| own.is_answer);
        // Ids are in order already.
        ranked.sort_by(|(_, a), (_, b)| b.score().total_cmp(&a.score()));
        ranked
    }

    fn terms(&self, statistics: &Statistics, background: Option<f32>, when: &When) -> Vec<Terms> {
        let weights = statistics.weights();
        let standings = self.standings();
        let spoken = |nth: &usize| &self.evidence[*nth].spoken;
        let near = |nth: &usize| {
            let similarity = self.evidence[*nth].similarity.unwrap_or_default();
            similarity - background.unwrap_or_default()
        };
        let (mut told, mut nears) = (Vec::new(), Vec::new());
        for (nth, own) in self.evidence.iter().enumerate() {
            let (before, behind) = self.around(standings[nth]);
            let own = Told::new(&own.spoken, before.iter().map(spoken), behind.iter().map(spoken));
            let lent = own.lent().iter().zip(before.iter().chain(&behind));
            let lent: f32 = lent.map(|(weight, other)| weight * near(other)).sum();
            nears.push(near(&nth) + NEAR_LENT * lent);
            told.push(own);
        }
        let mean_terms = told.iter().map(Told::terms).sum::<f32>() / told.len().max(1) as f32;
        let words: Vec<f32> = told.iter().map(|told| told.score(&weights, mean_terms)).collect();
        let best = |all: &[f32]| all.iter().copied().fold(0.0, f32::max);
        let (words_best, near_best) = (best(&words), best(&nears));
        // Where nothing is nearer than anything is, nearness tells nothing.
        let share = |own: f32, best: f32| if best > 0.0 { own / best } else { 0.0 };
        let all = self.evidence.iter().zip(words.iter().zip(&nears));
        all.map(|(own, (words, near))| Terms {
            words: share(*words, words_best),
            near: if background.is_some() { share(*near, near_best) } else { 0.0 },
            time: when.nearness(own.episode.happened_at_us),
            stating: stating(own.spoken.extent),
        })
        .collect()
    }

    fn standings(&self) -> Vec<Option<Standing>> {
        let mut all = vec![None; self.evidence.len()];
        for (thread, places) in self.threads.iter().enumerate() {
            for (place, nth) in places.iter().enumerate() {
                all[*nth] = Some(Standing { thread, place });
            }
        }
        all
    }

    /// Those before and behind an episode that are known to stand next to each other, the nearest
    /// first. Around what was proposed everything within reach is there; farther on it is not.
    fn around(&self, standing: Option<Standing>) -> (Vec<usize>, Vec<usize>) {
        let Some(Standing { thread, place }) = standing else { return Default::default() };
        let places = &self.threads[thread];
        let is_known = |left: usize| {
            // Whether the one at `left` and the next one stand next to each other.
            let from = (left + 1).saturating_sub(REACH);
            let until = places.len().min(left + REACH + 1);
            places[from..until].iter().any(|nth| self.evidence[*nth].is_proposed)
        };
        let first = place.saturating_sub(REACH);
        let before = (first..place).rev().take_while(|left| is_known(*left));
        let last = (place + REACH).min(places.len() - 1);
        let behind = (place..last).take_while(|left| is_known(*left)).map(|left| left + 1);
        (before.map(|left| places[left]).collect(), behind.map(|left| places[left]).collect())
    }
}
