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

use super::{Counts, Extent};

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

/// What a term adds that an episode has so often.
pub fn saturated(frequency: f32, terms: f32, mean_terms: f32) -> f32 {
    if frequency <= 0.0 {
        return 0.0;
    }
    frequency / (frequency + K1 * (1.0 - B + B * terms / mean_terms.max(1.0)))
}

/// What is known of the words of an episode.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Spoken {
    /// How often it has each term of the question.
    pub counts: Vec<Counts>,
    pub extent: Extent,
}

/// An episode with what those around it lend.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Told {
    frequencies: Vec<f32>,
    terms: f32,
    /// The weight of each that lends: those before, then those behind.
    lent: Vec<f32>,
}

impl Told {
    /// Of an episode and those before and behind it in its thread, the nearest first.
    pub fn new<'a>(
        own: &Spoken,
        before: impl Iterator<Item = &'a Spoken>,
        behind: impl Iterator<Item = &'a Spoken>,
    ) -> Self {
        let frequencies = own.counts.iter().map(|counts| counts.all()).collect();
        let terms = own.extent.terms() as f32;
        let mut told = Self { frequencies, terms, lent: Vec::new() };
        let mut before = before.peekable();
        if let Some(last) = before.peek() {
            let asked = last.extent.asked_share() * last.extent.terms() as f32;
            told.lend(last, ASKED_BEFORE, |counts| counts.asked(), asked);
        }
        for (weight, other) in lent(BEFORE, before).chain(lent(BEFORE * BEHIND_SHARE, behind)) {
            told.lend(other, weight, |counts| counts.all(), other.extent.terms() as f32);
            told.lent.push(weight);
        }
        told
    }

    fn lend(&mut self, other: &Spoken, weight: f32, of: impl Fn(&Counts) -> f32, terms: f32) {
        let counts = self.frequencies.iter_mut().zip(&other.counts);
        counts.for_each(|(own, other)| *own += weight * of(other));
        self.terms += weight * terms;
    }

    /// How long it is, with what was lent.
    pub fn terms(&self) -> f32 {
        self.terms
    }

    /// The weight of each that lends: those before, then those behind, the nearest first.
    pub fn lent(&self) -> &[f32] {
        &self.lent
    }

    /// See the top of the file.
    pub fn score(&self, weights: &[f32], mean_terms: f32) -> f32 {
        let own = self.frequencies.iter().zip(weights);
        own.map(|(frequency, weight)| weight * saturated(*frequency, self.terms, mean_terms)).sum()
    }
}

/// The weight of each episode on one side, the nearest first.
fn lent<'a>(
    nearest: f32,
    others: impl Iterator<Item = &'a Spoken>,
) -> impl Iterator<Item = (f32, &'a Spoken)> {
    let mut between = 0.0;
    others.take(REACH).map(move |other| {
        let terms = other.extent.terms() as f32;
        let weight =
            nearest * (-between / HALF_TERMS).exp2() * (LENT_TERMS_MAX / terms.max(1.0)).min(1.0);
        between += terms;
        (weight, other)
    })
}

/// What is left of a score by how much of the episode asks.
pub fn stating(extent: Extent) -> f32 {
    1.0 - ASKING_COSTS * extent.asked_share()
}
