//! The rows of a space whose words fit a question best, each taken by itself.
//!
//! Term after term, the rarest first, what its postings add is added to the scores of their rows.
//! Before each long list the best scores so far are looked at: where all terms that are left cannot
//! lift a row among them that has none of the terms before, no more rows are taken in, and those
//! that can still get there are looked up in the lists that are left (MaxScore term at a time,
//! Turtle and Flood 1995, "Query Evaluation: Strategies and Optimizations"). Common terms have the
//! longest lists and add least, so most of the postings of a question need not be read. The rows
//! and their scores are the same with and without.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::mem;

use super::{InquiryRequest, is_conditional};
use crate::arena::Arena;
use crate::recall::Scratch;
use crate::space::{Damaged, Part, PartNumber, RowAt, Space, Standing};
use crate::words::score::{Saturation, Statistics};
use crate::words::{Counts, Postings, Words};

/// What a posting costs in the bytes that a slice of work is measured by.
const POSTING_BYTES: usize = 64;
/// Postings from which on it is worth finding out whether a list has to be read.
const LONG_LIST: usize = 256;
/// Rows with a score that are gone through at most to find that out.
const WEIGHED_MAX: usize = 16 << 10;
/// Postings for each row that is still looked for, from which on rows are looked up in a list.
const SOUGHT_POSTINGS: usize = 8;
/// What sums of floats may be off by, of themselves.
const ROUNDING: f32 = 1e-4;

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

    /// The least score of so many, if there are that many.
    fn least(&self, count: usize) -> Option<f32> {
        let worst = self.0.peek().filter(|_| self.0.len() >= count);
        worst.map(|worst| worst.0.score)
    }
}

/// How common the terms are, and where each part has them.
#[derive(Debug)]
struct Counted {
    statistics: Statistics,
    saturation: Saturation,
    /// Which term comes when, and its weight: the rarest first.
    order: Vec<(usize, f32)>,
    /// What a term and all behind it in that order add at most.
    rest: Vec<f32>,
    /// The number of each term, as they come in the question, in each part that has it.
    numbers: Vec<Vec<Option<u32>>>,
}

impl Counted {
    /// The dead are counted until they are consolidated.
    fn new<'a>(terms: &[String], parts: impl Iterator<Item = Words<'a>>) -> Self {
        let (mut statistics, mut numbers) = (Statistics::default(), Vec::new());
        for words in parts {
            let found: Vec<_> = terms.iter().map(|term| words.find(term)).collect();
            let rows = |number: &Option<u32>| {
                number.map_or(0, |number| words.postings_at(number).rows.len() as u64)
            };
            let (documents, terms_total) = words.totals();
            let having = found.iter().map(rows).collect();
            statistics.add(&Statistics { documents, terms_total, having });
            numbers.push(found);
        }
        let mut order: Vec<_> = statistics.weights().into_iter().enumerate().collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mut rest: Vec<f32> = order.iter().map(|(_, weight)| *weight).collect();
        (1..rest.len()).rev().for_each(|nth| rest[nth - 1] += rest[nth]);
        let saturation = Saturation::new(statistics.mean_terms());
        Self { statistics, saturation, order, rest, numbers }
    }
}

/// See the top of the file.
#[derive(Debug)]
pub(super) struct Scan {
    snapshot: u64,
    counted: Option<Counted>,
    /// The part under way, the place of the term in the order, and the posting of it.
    part: usize,
    term: usize,
    posting: usize,
    /// The scores of the rows of the part, and which of them are not 0; how many of these were gone
    /// through.
    scores: Vec<f32>,
    touched: Vec<u32>,
    chosen: usize,
    /// No more rows are taken in of this part; those that were are ascending.
    is_closed: bool,
    best: Best,
    /// Rows of threads that do not fulfil the conditions, and may support others that do.
    supporting: Best,
    damaged: Option<Damaged>,
}

impl Scan {
    pub(super) fn new(snapshot: u64) -> Self {
        Self {
            snapshot,
            counted: None,
            part: 0,
            term: 0,
            posting: 0,
            scores: Vec::new(),
            touched: Vec::new(),
            chosen: 0,
            is_closed: false,
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
        (space, arena, now_us): (&Space, &Arena, i64),
        scratch: &mut Scratch,
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
        let counted = self.counted.take().unwrap_or_else(|| {
            (self.scores, self.touched) = scratch.take_scores();
            Counted::new(&request.terms, (0..parts.len()).map(|nth| part(nth).1))
        });
        let of = (request, space.standing(&request.conditions, self.snapshot, now_us));
        let mut left = (bytes / POSTING_BYTES).max(1);
        while self.part < parts.len() && left > 0 {
            let (part, words, rows) = part(self.part);
            let spent = match self.term < counted.order.len() {
                true => self.add((part, words, rows), &counted, of, left),
                false => self.choose(part, of, left),
            };
            left = left.saturating_sub(spent);
        }
        self.counted = Some(counted);
        let is_done = self.part == parts.len();
        if is_done {
            let own = (mem::take(&mut self.scores), mem::take(&mut self.touched));
            scratch.give_scores(own);
        }
        is_done
    }

    /// Adds some postings of the term under way; how many those were, at least one.
    fn add(
        &mut self,
        (part, words, rows): (Part<'_>, Words<'_>, u32),
        counted: &Counted,
        of: (&InquiryRequest, Standing<'_>),
        postings_max: usize,
    ) -> usize {
        let (term, weight) = counted.order[self.term];
        let number = counted.numbers[self.part][term];
        let postings = number.map_or(Postings::default(), |number| words.postings_at(number));
        let count = postings.rows.len();
        let mut spent = 1;
        if self.posting == 0 && count >= LONG_LIST && !self.is_closed {
            spent += self.close(part, counted.rest[self.term], of);
        }
        if self.scores.len() < rows as usize {
            self.scores.resize(rows as usize, 0.0);
        }
        let (scores, touched) = (&mut self.scores[..rows as usize], &mut self.touched);
        let (saturation, extents) = (counted.saturation, words.extents());
        let added = |row: u32, counts: Counts| {
            let extent = extents.get(row as usize).copied().unwrap_or_default();
            weight * saturation.of(counts.all(), extent.terms() as f32)
        };
        if self.is_closed && touched.len() * SOUGHT_POSTINGS < count {
            postings.for_each_of(touched, |nth, counts| {
                let row = touched[nth];
                scores[row as usize] += added(row, counts);
            });
            self.term += 1;
            return spent + touched.len();
        }
        let until = count.min(self.posting + postings_max);
        let some = self.posting..until;
        spent += some.len();
        // A row beyond the end came since, or is of a damaged file. Nobody can foretell which rows
        // have a score already, so nothing branches on that.
        let list = postings.rows[some.clone()].iter().zip(&postings.counts[some.clone()]);
        let list = list.map(|(row, counts)| (*row, Counts::from_byte(*counts)));
        if self.is_closed {
            for (row, counts) in list {
                let Some(score) = scores.get_mut(row as usize) else { continue };
                *score += if *score == 0.0 { 0.0 } else { added(row, counts) };
            }
        } else {
            let mut end = touched.len();
            touched.resize(end + some.len(), 0);
            for (row, counts) in list {
                let Some(score) = scores.get_mut(row as usize) else { continue };
                touched[end] = row;
                end += usize::from(*score == 0.0);
                *score += added(row, counts);
            }
            touched.truncate(end);
        }
        self.posting = until;
        if until == count {
            (self.term, self.posting) = (self.term + 1, 0);
        }
        spent
    }

    /// Takes in no more rows if none that is new can become one of the best by the terms that are
    /// left, and leaves those that can; how many rows were looked at. Where there are conditions,
    /// rows that do not fulfil them may be wanted too, so all are taken in.
    fn close(
        &mut self,
        part: Part<'_>,
        rest: f32,
        (request, standing): (&InquiryRequest, Standing<'_>),
    ) -> usize {
        let looked = self.touched.len();
        let is_known = self.best.0.len() + looked >= request.count;
        if !is_known || looked > WEIGHED_MAX || is_conditional(&request.conditions, standing, part)
        {
            return 0;
        }
        // What parts before had counts as well.
        let mut best = Best(self.best.0.clone());
        for row in &self.touched {
            let scored = self.scored(part, *row);
            if best.takes(scored, request.count) && part.deaths().died(*row) > self.snapshot {
                best.put(scored, request.count);
            }
        }
        let Some(least) = best.least(request.count) else { return looked };
        let rest = rest * (1.0 + ROUNDING);
        if rest >= least * (1.0 - ROUNDING) {
            return looked;
        }
        let scores = &mut self.scores;
        self.touched.retain(|row| {
            let score = &mut scores[*row as usize];
            let may_get_there = *score + rest >= least * (1.0 - ROUNDING);
            if !may_get_there {
                *score = 0.0;
            }
            may_get_there
        });
        self.touched.sort_unstable();
        self.is_closed = true;
        looked
    }

    fn scored(&self, part: Part<'_>, row: u32) -> Scored {
        Scored { score: self.scores[row as usize], at: RowAt { part: part.number(), row } }
    }

    /// Goes through some of the rows that any term was found in; how many those were, at least one.
    fn choose(
        &mut self,
        part: Part<'_>,
        (request, standing): (&InquiryRequest, Standing<'_>),
        rows_max: usize,
    ) -> usize {
        let InquiryRequest { count, conditions, .. } = request;
        let is_conditional = is_conditional(conditions, standing, part);
        let until = self.touched.len().min(self.chosen + rows_max);
        for nth in self.chosen..until {
            let row = self.touched[nth];
            let scored = self.scored(part, row);
            self.scores[row as usize] = 0.0;
            let may_answer = self.best.takes(scored, *count);
            let may_support = is_conditional && self.supporting.takes(scored, *count);
            if !(may_answer || may_support) || part.deaths().died(row) <= self.snapshot {
                continue;
            }
            let admitted = match is_conditional {
                true => conditions.admit(part, row, standing),
                false => Ok(true),
            };
            match admitted {
                Ok(true) => self.best.put(scored, *count),
                Ok(false) if may_support && part.record(row).sizes.thread > 0 => {
                    self.supporting.put(scored, *count);
                }
                Ok(false) => {}
                Err(damaged) => self.damaged = Some(damaged),
            }
        }
        let done = until - self.chosen;
        self.chosen = until;
        if until == self.touched.len() {
            self.touched.clear();
            (self.part, self.term, self.chosen) = (self.part + 1, 0, 0);
            self.is_closed = false;
        }
        done.max(1)
    }

    /// What the shard had applied when it began.
    pub(super) fn snapshot(&self) -> u64 {
        self.snapshot
    }

    /// The best rows and those that may support others, in no particular order, when all is done.
    pub(super) fn take_rows(&mut self) -> Result<Vec<RowAt>, Damaged> {
        if let Some(damaged) = self.damaged.take() {
            return Err(damaged);
        }
        let (best, supporting) = (mem::take(&mut self.best.0), mem::take(&mut self.supporting.0));
        Ok(best.into_iter().chain(supporting).map(|Reverse(scored)| scored.at).collect())
    }

    /// How common the terms are.
    pub(super) fn statistics(&self) -> Statistics {
        self.counted.as_ref().map(|counted| counted.statistics.clone()).unwrap_or_default()
    }
}
