//! One score of similarity and words, with what the episodes around lend to each.
//!
//! ```text
//! score(e) = (words(e) / max words + .85 · near(e) / max near + .8 · time(e))
//!            · (1 − ½ · share of e that asks)
//!            · (1 − .2 · (1 − retention of e)) · (1 − ½ · (1 − confidence in e))
//!                                                  with the usual weights
//! near(e)  = n(e) + .4 · Σ over its neighbours:  reach · n(neighbour)
//! n(e)     = similarity of e − that of just any episode of the space
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
//!
//! That an episode has faded, or that nobody was sure of it, makes it less of an answer and never
//! none: the two factors have bounds. The confidence is what [trust](crate::trust) in whom the
//! episode goes back to leaves of the one that it was stored with.
//! [Retention](crate::strength) is what time and use made of it.
//!
//! What was proposed is ranked twice: first each by itself, to find the [`places`](Fusion::places)
//! that are worth looking around, then with what was found there.

use bytes::Bytes;
use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use super::{Evidence, Place};
use crate::words::Extent;
use crate::words::score::{Lent, REACH, Statistics, stating};
use crate::words::when::When;

/// The most that similarity, neighbours or times may count.
pub const WEIGHT_MAX: f32 = 1000.0;

/// What counts how much beside an episode's own words.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weights {
    /// Similarity; this and the next two in [0, [`WEIGHT_MAX`]].
    pub near: f32,
    /// What the episodes around lend.
    pub around: f32,
    /// That an episode happened when the question says.
    pub time: f32,
    /// What an episode loses that has faded altogether, in [0, 1].
    pub strength: f32,
    /// What an episode loses in which there is no confidence at all, in [0, 1].
    pub confidence: f32,
}

impl Weights {
    pub const USUAL: Self =
        Self { near: 0.85, around: 1.0, time: 0.8, strength: 0.2, confidence: 0.5 };

    /// In the order of the fields.
    pub fn to_array(self) -> [f32; 5] {
        let Self { near, around, time, strength, confidence } = self;
        [near, around, time, strength, confidence]
    }

    /// `None` if one of them is out of its range.
    pub fn from_array(weights: [f32; 5]) -> Option<Self> {
        let [near, around, time, strength, confidence] = weights;
        let is_valid = |weight: &f32, most: f32| (0.0..=most).contains(weight);
        let is_valid = [near, around, time].iter().all(|weight| is_valid(weight, WEIGHT_MAX))
            && [strength, confidence].iter().all(|weight| is_valid(weight, 1.0));
        is_valid.then_some(Self { near, around, time, strength, confidence })
    }
}

impl Default for Weights {
    fn default() -> Self {
        Self::USUAL
    }
}

/// What the similarity of a neighbour counts beside its words.
const NEAR_LENT: f32 = 0.4;

/// What similarities are off by, as a part of them, by rounding.
const ROUNDING: f32 = 1e-5;

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
    /// What is left because it has faded.
    pub strength: f32,
    /// What is left because nobody was sure.
    pub confidence: f32,
    /// What 1 more of similarity would add to `near`.
    pub near_slope: f32,
}

impl Terms {
    /// What they would be with so much more similarity.
    pub fn nearer(self, by: f32) -> Self {
        Self { near: self.near + self.near_slope * by, ..self }
    }

    pub fn score(&self, weights: &Weights) -> f32 {
        let sum = self.words + weights.near * self.near + weights.time * self.time;
        sum * self.stating * self.strength * self.confidence
    }
}

/// What all shards know of the question.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Background {
    pub statistics: Statistics,
    /// How similar just any episode is, if there is a vector.
    pub similarity: Option<f32>,
    pub when: When,
    pub weights: Weights,
}

/// Evidence of several shards, put together.
#[derive(Debug, Default)]
pub struct Fusion {
    evidence: Vec<Evidence>,
    /// What everything within reach of is there, by the number of the evidence.
    surrounded: Vec<bool>,
    /// The numbers of the evidence, by the ids of their episodes.
    ids: HashTable<usize>,
}

/// The evidence of threads, one behind the other, each in its order.
#[derive(Debug, Default)]
struct Threads {
    /// Numbers of evidence.
    order: Vec<usize>,
    /// By place in that order: whether the one there and the next are known to stand next to each
    /// other.
    linked: Vec<bool>,
    /// By number of evidence: its place, unless it has no thread.
    places: Vec<Option<usize>>,
}

impl Fusion {
    /// Adds what a shard found; what is there already counts once.
    pub fn add(&mut self, evidence: Vec<Evidence>) {
        let Self { evidence: all, surrounded, ids } = self;
        all.reserve(evidence.len());
        for own in evidence {
            let hash = xxh3_64(&own.id);
            let is_it = |nth: &usize| all[*nth].id == own.id;
            if ids.find(hash, is_it).is_none() {
                let hash_of = |nth: &usize| xxh3_64(&all[*nth].id);
                ids.insert_unique(hash, all.len(), hash_of);
                all.push(own);
                surrounded.push(false);
            }
        }
    }

    /// Where up to so many of the best stand in their threads, each taken by itself; those of one
    /// thread behind each other. What stands around them is taken to be [added](Self::add) then.
    pub fn places(&mut self, background: &Background, count: usize) -> Vec<Place> {
        let threaded = |nth: &usize| !self.evidence[*nth].thread.is_empty();
        let mut threaded: Vec<usize> = (0..self.evidence.len()).filter(threaded).collect();
        if threaded.len() > count {
            let terms = self.terms(&Threads::none(self.evidence.len()), background);
            threaded = self.best(threaded, &terms, &background.weights, count);
        }
        threaded.iter().for_each(|nth| self.surrounded[*nth] = true);
        let place = |nth: usize| {
            let episode = &self.evidence[nth];
            Place { thread: episode.thread.clone(), moment: episode.moment() }
        };
        let mut places: Vec<Place> = threaded.into_iter().map(place).collect();
        // Those of one thread are looked up in the same memory.
        places.sort_unstable();
        places
    }

    /// Up to so many answers with the terms of their scores, best first; among equals the lower id
    /// is first.
    pub fn rank(self, background: &Background, count: usize) -> Vec<(Evidence, Terms)> {
        let terms = self.terms(&self.threads(), background);
        let answers = (0..self.evidence.len()).filter(|nth| self.evidence[*nth].is_answer);
        let answers: Vec<usize> = answers.collect();
        let answers = self.best(answers, &terms, &background.weights, count);
        answers.into_iter().map(|nth| (self.evidence[nth].clone(), terms[nth])).collect()
    }

    /// The best of some evidence, best first; among equals the lower id is first.
    fn best(&self, of: Vec<usize>, terms: &[Terms], weights: &Weights, count: usize) -> Vec<usize> {
        let scored = of.into_iter().map(|nth| (terms[nth].score(weights), nth));
        let mut scored: Vec<(f32, usize)> = scored.collect();
        let id = |nth: usize| &self.evidence[nth].id;
        let order = |a: &(f32, usize), b: &(f32, usize)| {
            b.0.total_cmp(&a.0).then_with(|| id(a.1).cmp(id(b.1)))
        };
        if scored.len() > count {
            scored.select_nth_unstable_by(count, order);
            scored.truncate(count);
        }
        scored.sort_unstable_by(order);
        scored.into_iter().map(|(_, nth)| nth).collect()
    }

    fn terms(&self, threads: &Threads, background: &Background) -> Vec<Terms> {
        let Background { statistics, similarity, when, weights: counts } = background;
        let weights = statistics.weights();
        let count = self.evidence.len();
        // Retention has a term of its own.
        let trusted = |own: &Evidence| own.confidence.discounted(own.trust).point;
        let near =
            |own: &Evidence| own.similarity.unwrap_or_default() - similarity.unwrap_or_default();
        let (mut all_lent, mut nears) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for (nth, own) in self.evidence.iter().enumerate() {
            let others = threads.around(nth);
            let lent = self.lent(own, others, counts.around);
            let weights = lent.weights(others.before.len(), others.behind.len());
            let others = weights.zip(others.numbers());
            let others: f32 = others.map(|(weight, nth)| weight * near(&self.evidence[nth])).sum();
            nears.push(near(own) + NEAR_LENT * others);
            all_lent.push(lent);
        }
        // As f64 the sum is the same in whatever order evidence came.
        let terms: f64 = all_lent.iter().map(|lent| f64::from(lent.terms)).sum();
        let mean_terms = (terms / count.max(1) as f64) as f32;
        let spoken = |nth: &usize| &self.evidence[*nth].spoken;
        let words = |(nth, own): (usize, &Evidence)| {
            let Around { before, behind } = threads.around(nth);
            let (before, behind) = (before.iter().rev().map(spoken), behind.iter().map(spoken));
            all_lent[nth].score(&weights, mean_terms, &own.spoken, before, behind)
        };
        let words: Vec<f32> = self.evidence.iter().enumerate().map(words).collect();
        let best = |all: &[f32]| all.iter().copied().fold(0.0, f32::max);
        let (words_best, near_best) = (best(&words), best(&nears));
        // Where nothing is nearer than anything is, nearness tells nothing.
        let known = self.evidence.iter().filter_map(|own| own.similarity).chain(*similarity);
        let noise = ROUNDING * known.map(f32::abs).fold(0.0, f32::max);
        let near_best = if near_best > noise { near_best } else { 0.0 };
        let share = |own: f32, best: f32| if best > 0.0 { own / best } else { 0.0 };
        let all = self.evidence.iter().zip(words.iter().zip(&nears));
        all.map(|(own, (words, near))| Terms {
            words: share(*words, words_best),
            near: if similarity.is_some() { share(*near, near_best) } else { 0.0 },
            near_slope: if similarity.is_some() { share(1.0, near_best) } else { 0.0 },
            time: when.nearness(own.happened_at_us),
            stating: stating(own.spoken.extent),
            strength: 1.0 - counts.strength * (1.0 - own.retention),
            confidence: 1.0 - counts.confidence * (1.0 - trusted(own)),
        })
        .collect()
    }

    fn lent(&self, own: &Evidence, others: Around<'_>, around: f32) -> Lent {
        let Around { before, behind } = others;
        if before.is_empty() && behind.is_empty() {
            return Lent::new(own.spoken.extent, &[], &[], around);
        }
        let mut extents = [[Extent::default(); REACH]; 2];
        let extent = |nth: &usize| self.evidence[*nth].spoken.extent;
        extents[0].iter_mut().zip(before.iter().rev()).for_each(|(to, nth)| *to = extent(nth));
        extents[1].iter_mut().zip(behind).for_each(|(to, nth)| *to = extent(nth));
        let [own_before, own_behind] = [&extents[0][..before.len()], &extents[1][..behind.len()]];
        Lent::new(own.spoken.extent, own_before, own_behind, around)
    }

    /// The threads of all evidence.
    fn threads(&self) -> Threads {
        let mut names: HashTable<(usize, usize)> = HashTable::new();
        let thread = |nth: usize| &self.evidence[nth].thread;
        let hash = |name: &Bytes| xxh3_64(name);
        let mut order = Vec::new();
        for nth in (0..self.evidence.len()).filter(|nth| !thread(*nth).is_empty()) {
            let is_it = |(first, _): &(usize, usize)| thread(*first) == thread(nth);
            let number = match names.find(hash(thread(nth)), is_it) {
                Some((_, number)) => *number,
                None => {
                    let number = names.len();
                    let hash_of = |(first, _): &(usize, usize)| hash(thread(*first));
                    names.insert_unique(hash(thread(nth)), (nth, number), hash_of);
                    number
                }
            };
            order.push((number, self.evidence[nth].moment(), nth));
        }
        let id = |nth: usize| &self.evidence[nth].id;
        order.sort_unstable_by(|a, b| {
            (a.0, a.1).cmp(&(b.0, b.1)).then_with(|| id(a.2).cmp(id(b.2)))
        });
        let mut places = vec![None; self.evidence.len()];
        order.iter().enumerate().for_each(|(place, (.., nth))| places[*nth] = Some(place));
        let mut linked = vec![false; order.len()];
        for (place, (number, _, nth)) in order.iter().enumerate() {
            if self.surrounded[*nth] {
                // Everything within reach is there; farther on it is not.
                let from = place.saturating_sub(REACH);
                let until = linked.len().min(place + REACH);
                let same = (from..until).filter(|left| order[*left].0 == *number);
                let same = same.filter(|left| order.get(left + 1).is_some_and(|o| o.0 == *number));
                same.for_each(|left| linked[left] = true);
            }
        }
        Threads { order: order.into_iter().map(|(.., nth)| nth).collect(), linked, places }
    }
}

/// Those before and behind an episode that are known to stand next to each other.
#[derive(Debug, Clone, Copy)]
struct Around<'a> {
    /// The nearest last.
    before: &'a [usize],
    /// The nearest first.
    behind: &'a [usize],
}

impl Around<'_> {
    /// Those before, then those behind, the nearest first.
    fn numbers(&self) -> impl Iterator<Item = usize> {
        self.before.iter().rev().chain(self.behind).copied()
    }
}

impl Threads {
    /// As if none of so many pieces of evidence had a thread.
    fn none(count: usize) -> Self {
        Self { places: vec![None; count], ..Self::default() }
    }

    fn around(&self, nth: usize) -> Around<'_> {
        let Some(place) = self.places[nth] else { return Around { before: &[], behind: &[] } };
        let earlier = self.linked[place.saturating_sub(REACH)..place].iter().rev();
        let before = earlier.take_while(|linked| **linked).count();
        let later = self.linked[place..self.linked.len().min(place + REACH)].iter();
        let behind = later.take_while(|linked| **linked).count();
        Around {
            before: &self.order[place - before..place],
            behind: &self.order[place + 1..=place + behind],
        }
    }
}
