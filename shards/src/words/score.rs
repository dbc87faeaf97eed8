//! How well episodes answer a question, by their words and by what was said around them.
//!
//! ```text
//! words(e) = Σ over terms t:  weight(t) · f / (f + K1 · (1 − B + B · length / mean length))
//! weight(t) = ln(1 + (N − n(t) + ½) / (n(t) + ½))
//! ```
//!
//! is BM25 (Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework"), where `n(t)` of
//! `N` episodes have the term. How often an episode has a term, `f`, and how long it is, take in
//! those before and behind it in its thread, each with a weight below one, as BM25F does with the
//! fields of a document (Robertson, Zaragoza and Taylor 2004): what a turn of a conversation is
//! about is often said in the turns around it. That weight is
//!
//! ```text
//! reach(d) = ½ · 2^(−terms in between / 32) · min(1, 32 / terms of the other)
//! ```
//!
//! for one that came before, and half as much for one that came behind: it is counted in words, not
//! in turns, so that a long answer stands for itself. What the turn right before *asks* counts .3
//! more, because its answer need not repeat it; and an episode that does nothing but ask answers
//! only half as well as one that states the same.

use super::{Counts, Extent, QUESTION_TERMS_MAX};

/// See the top of the file.
pub const K1: f32 = 1.2;
pub const B: f32 = 0.75;
/// Episodes on either side that are looked at.
pub const REACH: usize = 4;

/// What an episode right before lends, and the share of it that one behind does.
const BEFORE: f32 = 0.5;
const BEHIND_SHARE: f32 = 0.5;
/// Terms in between that halve what is lent.
const HALF_TERMS: f32 = 32.0;
/// Terms that an episode lends at most.
const LENT_TERMS_MAX: f32 = 32.0;
/// What the question right before lends besides.
const ASKED_BEFORE: f32 = 0.3;
/// What is lost by an episode that is a question from end to end.
const ASKING_COSTS: f32 = 0.5;

/// How common the terms of a question are; those of several shards add up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Episodes with any term, and the terms of all with repetitions.
    pub documents: u64,
    pub terms_total: u64,
    /// Episodes that have each term of the question.
    pub having: Vec<u64>,
}

impl Statistics {
    pub fn add(&mut self, other: &Self) {
        self.documents += other.documents;
        self.terms_total += other.terms_total;
        self.having.resize(self.having.len().max(other.having.len()), 0);
        self.having.iter_mut().zip(&other.having).for_each(|(own, other)| *own += other);
    }

    /// The weight of each term.
    pub fn weights(&self) -> Vec<f32> {
        let documents = self.documents as f64;
        let weight = |having: &u64| {
            let having = (*having as f64).min(documents);
            (1.0 + (documents - having + 0.5) / (having + 0.5)).ln() as f32
        };
        self.having.iter().map(weight).collect()
    }

    /// Terms of an episode.
    pub fn mean_terms(&self) -> f32 {
        self.terms_total as f32 / (self.documents as f32).max(1.0)
    }
}

/// What a term adds to an episode, less for each time that it is there again: 0 to 1.
#[derive(Debug, Clone, Copy)]
pub struct Saturation {
    /// What each term of the episode's length counts.
    of_length: f32,
}

impl Saturation {
    /// Where episodes have so many terms in the mean.
    pub fn new(mean_terms: f32) -> Self {
        Self { of_length: K1 * B / mean_terms.max(1.0) }
    }

    /// Of a term that an episode of so many terms has so often.
    pub fn of(self, frequency: f32, terms: f32) -> f32 {
        frequency / (frequency + K1 * (1.0 - B) + self.of_length * terms)
    }
}

/// What is known of the words of an episode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spoken {
    /// How often it has each term of the question.
    counts: [Counts; QUESTION_TERMS_MAX],
    /// A bit for each term that it has.
    has: u64,
    pub extent: Extent,
}

const _: () = assert!(QUESTION_TERMS_MAX <= u64::BITS as usize);

impl Default for Spoken {
    fn default() -> Self {
        let counts = [Counts::default(); QUESTION_TERMS_MAX];
        Self { counts, has: 0, extent: Extent::default() }
    }
}

impl Spoken {
    /// Of a text that has none of the terms.
    pub fn new(extent: Extent) -> Self {
        Self { extent, ..Self::default() }
    }

    /// Notes how often it has a term of the question, by its number.
    pub fn note(&mut self, term: usize, counts: Counts) {
        self.counts[term] = counts;
        self.has |= 1 << term;
    }

    /// The terms that it has, ascending, and how often.
    fn terms(&self) -> impl Iterator<Item = (usize, Counts)> {
        let mut left = self.has;
        std::iter::from_fn(move || {
            let term = left.trailing_zeros() as usize;
            left &= left.wrapping_sub(1);
            self.counts.get(term).map(|counts| (term, *counts))
        })
    }
}

/// What the episodes around one lend to it: the weight of each, those before and those behind, the
/// nearest first.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Lent {
    before: [f32; REACH],
    behind: [f32; REACH],
    /// What the question right before lends besides, if there is one.
    asked: f32,
    /// How long the episode is, with all that.
    pub terms: f32,
}

impl Lent {
    /// To an episode by those before and behind it in its thread, the nearest first; all of it
    /// times `around`, which is 1 usually.
    pub fn new(own: Extent, before: &[Extent], behind: &[Extent], around: f32) -> Self {
        let mut lent = Self { terms: own.terms() as f32, ..Self::default() };
        if let Some(last) = before.first() {
            lent.asked = ASKED_BEFORE * around;
            lent.terms += lent.asked * last.asked_share() * last.terms() as f32;
        }
        let nearest = BEFORE * around;
        let sides = [
            (&mut lent.before, nearest, before),
            (&mut lent.behind, nearest * BEHIND_SHARE, behind),
        ];
        for (weights, nearest, others) in sides {
            let mut between = 0.0;
            for (weight, other) in weights.iter_mut().zip(others) {
                let terms = other.terms() as f32;
                let share = (LENT_TERMS_MAX / terms.max(1.0)).min(1.0);
                *weight = nearest * (-between / HALF_TERMS).exp2() * share;
                between += terms;
                lent.terms += *weight * terms;
            }
        }
        lent
    }

    /// The weights of so many before, then of so many behind.
    pub fn weights(&self, before: usize, behind: usize) -> impl Iterator<Item = f32> {
        let (before, behind) = (before.min(REACH), behind.min(REACH));
        self.before[..before].iter().chain(&self.behind[..behind]).copied()
    }

    /// BM25 of the episode with what is lent; see the top of the file. `mean_terms` is how long
    /// episodes are, with that.
    pub fn score<'a>(
        &self,
        weights: &[f32],
        mean_terms: f32,
        own: &Spoken,
        before: impl ExactSizeIterator<Item = &'a Spoken>,
        behind: impl ExactSizeIterator<Item = &'a Spoken>,
    ) -> f32 {
        let mut frequencies = [0.0; QUESTION_TERMS_MAX];
        let mut add = |weight: f32, spoken: &Spoken, of: fn(Counts) -> f32| {
            for (term, counts) in spoken.terms() {
                frequencies[term] += weight * of(counts);
            }
        };
        add(1.0, own, Counts::all);
        let mut lent = self.weights(before.len(), behind.len());
        for (nth, (spoken, weight)) in before.chain(behind).zip(&mut lent).enumerate() {
            if nth == 0 && self.asked > 0.0 {
                add(self.asked, spoken, Counts::asked);
            }
            add(weight, spoken, Counts::all);
        }
        let saturation = Saturation::new(mean_terms);
        let own = frequencies.iter().zip(weights);
        own.map(|(frequency, weight)| weight * saturation.of(*frequency, self.terms)).sum()
    }
}

/// What is left of a score by how much of the episode asks.
pub fn stating(extent: Extent) -> f32 {
    1.0 - ASKING_COSTS * extent.asked_share()
}
