//! The rows of a space whose words fit a question best, each taken by itself.
//!
//! Term after term, what its postings add is added to the scores of their rows; what was touched is
//! gone through in the end. Common terms take longest and tell least, but a text that is worth
//! finding has rare ones too, so nothing is gained by order or by stopping early that the bytes of
//! a few thousand postings would not cost as well.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::InquiryRequest;
use crate::arena::Arena;
use crate::episode::Conditions;
use crate::space::{Damaged, Part, PartNumber, RowAt, Space};
use crate::words::score::{Statistics, saturated};
use crate::words::{Counts, Words};

/// What a posting costs in the bytes that a slice of work is measured by.
const POSTING_BYTES: usize = 128;

/// A row by its score; among equals the lower one is better.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Scored {
    score: f32,
    at: RowAt,
}

impl Eq for Scored {}

impl Ord for Scored {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.score.total_cmp(&other.score).then(other.at.cmp(&self.at))
    }
}

impl PartialOrd for Scored {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// So many of the best rows, the worst of them on top.
#[derive(Debug, Default)]
struct Best(BinaryHeap<Reverse<Scored>>);

impl Best {
    /// Whether a row would be one of so many.
    fn takes(&self, scored: Scored, count: usize) -> bool {
        self.0.len() < count || self.0.peek().is_some_and(|worst| scored > worst.0)
    }

    fn put(&mut self, scored: Scored, count: usize) {
        if self.takes(scored, count) {
            self.0.push(Reverse(scored));
        }
        if self.0.len() > count {
            self.0.pop();
        }
    }
}

/// See the top of the file.
#[derive(Debug)]
pub(super) struct Scan {
    snapshot: u64,
    /// How common the terms are, once that was counted, and their weights.
    statistics: Option<(Statistics, Vec<f32>)>,
    /// The part under way, the term and the posting of it.
    part: usize,
    term: usize,
    posting: usize,
    /// The scores of the rows of the part, and which of them are not 0; how many of these were gone
    /// through.
    scores: Vec<f32>,
    touched: Vec<u32>,
    chosen: usize,
    best: Best,
    /// Rows of threads that do not fulfil the conditions, and may support others that do.
    supporting: Best,
    damaged: Option<Damaged>,
}

impl Scan {
    pub(super) fn new(snapshot: u64) -> Self {
        Self {
            snapshot,
            statistics: None,
            part: 0,
            term: 0,
            posting: 0,
            scores: Vec::new(),
            touched: Vec::new(),
            chosen: 0,
            best: Best::default(),
            supporting: Best::default(),
            damaged: None,
        }
    }

    /// Does about as much work as reading so many bytes is; whether all is done.
    pub(super) fn step(
        &mut self,
        request: &InquiryRequest,
        parts: &[(PartNumber, u32)],
        space: &Space,
        arena: &Arena,
        bytes: usize,
    ) -> bool {
        if request.terms.is_empty() || self.damaged.is_some() {
            return true;
        }
        let part = |nth: usize| {
            let (number, rows) = parts[nth];
            let part = space.part(arena, number).expect("no part goes without a publication");
            (part, part.words(rows).expect("its texts were read"), rows)
        };
        let counted = self.statistics.get_or_insert_with(|| {
            let all = (0..parts.len()).map(|nth| part(nth).1);
            let statistics = count(&request.terms, all);
            let weights = statistics.weights();
            (statistics, weights)
        });
        let (mean_terms, weights) = (counted.0.mean_terms(), counted.1.clone());
        let mut left = (bytes / POSTING_BYTES).max(1);
        while self.part < parts.len() {
            if left == 0 {
                return false;
            }
            let (part, words, rows) = part(self.part);
            left -= match request.terms.get(self.term) {
                Some(term) => {
                    let weight = (weights[self.term], mean_terms);
                    self.add(term, words, rows, weight, left)
                }
                None => self.choose(part, &request.conditions, request.count, left),
            };
        }
        true
    }

    /// Adds some postings of the term under way; how many those were, at least one.
    fn add(
        &mut self,
        term: &str,
        words: Words<'_>,
        rows: u32,
        (weight, mean_terms): (f32, f32),
        postings_max: usize,
    ) -> usize {
        self.scores.resize(rows as usize, 0.0);
        let postings = words.postings(term);
        let until = postings.rows.len().min(self.posting + postings_max);
        let some = self.posting..until;
        for (row, counts) in postings.rows[some.clone()].iter().zip(&postings.counts[some]) {
            // One that came since, or of a damaged file.
            let Some(score) = self.scores.get_mut(*row as usize) else { continue };
            if *score == 0.0 {
                self.touched.push(*row);
            }
            let terms = words.extent(*row).terms() as f32;
            *score += weight * saturated(Counts::from_byte(*counts).all(), terms, mean_terms);
        }
        let done = until - self.posting;
        self.posting = until;
        if until == postings.rows.len() {
            (self.term, self.posting) = (self.term + 1, 0);
        }
        done.max(1)
    }

    /// Goes through some of the rows that any term was found in; how many those were, at least one.
    fn choose(
        &mut self,
        part: Part<'_>,
        conditions: &Conditions,
        count: usize,
        rows_max: usize,
    ) -> usize {
        let until = self.touched.len().min(self.chosen + rows_max);
        for nth in self.chosen..until {
            let row = self.touched[nth];
            let at = RowAt { part: part.number(), row };
            let scored = Scored { score: self.scores[row as usize], at };
            let is_threaded = part.record(row).sizes.thread > 0;
            let may_support = is_threaded && self.supporting.takes(scored, count);
            if !may_support && !self.best.takes(scored, count)
                || part.deaths().died(row) <= self.snapshot
            {
                continue;
            }
            match conditions.admit(part, row, self.snapshot) {
                Ok(true) => self.best.put(scored, count),
                Ok(false) if may_support => self.supporting.put(scored, count),
                Ok(false) => {}
                Err(damaged) => self.damaged = Some(damaged),
            }
        }
        let done = until - self.chosen;
        self.chosen = until;
        if until == self.touched.len() {
            self.scores.clear();
            self.touched.clear();
            (self.part, self.term, self.chosen) = (self.part + 1, 0, 0);
        }
        done.max(1)
    }

    /// What the shard had applied when it began.
    pub(super) fn snapshot(&self) -> u64 {
        self.snapshot
    }

    /// The best rows and those that may support others, in no particular order, and how common the
    /// terms are.
    pub(super) fn finish(self) -> Result<(Vec<RowAt>, Statistics), Damaged> {
        if let Some(damaged) = self.damaged {
            return Err(damaged);
        }
        let rows = self.best.0.into_iter().chain(self.supporting.0);
        let rows = rows.map(|Reverse(scored)| scored.at).collect();
        Ok((rows, self.statistics.map(|(statistics, _)| statistics).unwrap_or_default()))
    }
}

/// How common terms are in some parts, the dead included until they are consolidated.
fn count<'a>(terms: &[String], parts: impl Iterator<Item = Words<'a>>) -> Statistics {
    let mut all = Statistics::default();
    for words in parts {
        let (documents, terms_total) = words.totals();
        let having = terms.iter().map(|term| words.postings(term).rows.len() as u64).collect();
        all.add(&Statistics { documents, terms_total, having });
    }
    all
}
