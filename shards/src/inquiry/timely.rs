//! The rows that happened when a question says.
//!
//! What happened last week need not have any word of the question, nor be near to its vector among
//! all episodes. So the latest rows of the times that it names are looked at as well, and those
//! whose words fit best and those that are most similar are proposed beside all others.

use std::cmp::Reverse;
use std::ops::Range;

use super::{Witness, is_conditional};
use crate::format::columns::ColumnKind;
use crate::space::{Damaged, Part, PartNumber, RowAt, Section};
use crate::words::score::{Saturation, Statistics};
use crate::words::when::Span;

/// Rows of one time in one part that are looked at, and of all on the whole.
const LOOKED_AT_MAX: usize = 512;

impl Witness<'_> {
    /// Up to `count` rows by their words, and as many by their similarity, of those that happened
    /// within some spans and fulfil the conditions; among equals the latest.
    pub(super) fn timely(
        &self,
        parts: &[(PartNumber, u32)],
        spans: &[Span],
        statistics: &Statistics,
        (snapshot, count): (u64, usize),
    ) -> Result<Vec<RowAt>, Damaged> {
        let mut latest: Vec<(i64, RowAt)> = Vec::new();
        for (number, rows) in parts {
            let part = self.space.part(self.arena, *number).expect("no part has gone");
            let is_conditional = is_conditional(self.conditions, self.standing, part);
            for (happened_at_us, row) in part.latest(*rows, spans) {
                let is_there = part.deaths().died(row) > snapshot;
                if is_there
                    && (!is_conditional || self.conditions.admit(part, row, self.standing)?)
                {
                    latest.push((happened_at_us, RowAt { part: part.number(), row }));
                }
            }
        }
        latest.sort_unstable_by_key(|own| Reverse(*own));
        latest.dedup();
        latest.truncate(LOOKED_AT_MAX);
        latest.sort_unstable_by_key(|(_, at)| *at);
        let mut keys: Vec<(f32, f32)> = vec![(0.0, 0.0); latest.len()];
        let rows: Vec<RowAt> = latest.iter().map(|(_, at)| *at).collect();
        let mut from = 0;
        for same in rows.chunk_by(|a, b| a.part == b.part) {
            let part = self.space.part(self.arena, same[0].part).expect("no part has gone");
            self.weigh(part, same, statistics, &mut keys[from..]);
            from += same.len();
        }
        let best = |key: fn(&(f32, f32)) -> f32| {
            let mut order: Vec<usize> = (0..rows.len()).collect();
            order.sort_by(|a, b| {
                let by_key = key(&keys[*b]).total_cmp(&key(&keys[*a]));
                by_key.then_with(|| latest[*b].cmp(&latest[*a]))
            });
            order.truncate(count);
            order
        };
        let by_words = best(|(words, _)| *words);
        let by_similarity = if self.cue.is_some() { best(|(_, near)| *near) } else { Vec::new() };
        Ok(by_words.into_iter().chain(by_similarity).map(|nth| rows[nth]).collect())
    }

    /// BM25 of each row alone, and its similarity.
    fn weigh(
        &self,
        part: Part<'_>,
        rows: &[RowAt],
        statistics: &Statistics,
        keys: &mut [(f32, f32)],
    ) {
        let last = rows.last().map_or(0, |at| at.row + 1);
        if let Some(words) = part.words(last).filter(|_| !self.terms.is_empty()) {
            let numbers: Vec<u32> = rows.iter().map(|at| at.row).collect();
            let saturation = Saturation::new(statistics.mean_terms());
            for (term, weight) in self.terms.iter().zip(statistics.weights()) {
                words.postings(term).for_each_of(&numbers, |nth, counts| {
                    let terms = words.extent(numbers[nth]).terms() as f32;
                    keys[nth].0 += weight * saturation.of(counts.all(), terms);
                });
            }
        }
        if let Some(cue) = self.cue {
            let near = |at: &RowAt| self.similarity(cue, part, at.row);
            keys.iter_mut().zip(rows).for_each(|(key, at)| key.1 = near(at));
        }
    }
}

impl Part<'_> {
    /// The latest of the first so many rows that happened within each span, with their times.
    fn latest(self, rows: u32, spans: &[Span]) -> Vec<(i64, u32)> {
        let time = |row: u32| self.columns(row).happened_at_us;
        if let Self::Section(section) = self
            && !section.try_column(ColumnKind::TimeOrder, usize::MAX)
            && let Some(places) = places_within(section, spans)
        {
            let latest = |places: Range<usize>| {
                let order = section.time_order()[places].iter().rev();
                order.filter(|row| **row < rows).take(LOOKED_AT_MAX)
            };
            return places.into_iter().flat_map(latest).map(|row| (time(*row), *row)).collect();
        }
        let mut found: Vec<Vec<(i64, u32)>> = vec![Vec::new(); spans.len()];
        for (time, row) in (0..rows).map(|row| (time(row), row)) {
            for ((since_us, until_us), own) in spans.iter().zip(&mut found) {
                if (since_us..=until_us).contains(&&time) {
                    own.push((time, row));
                }
            }
        }
        for own in &mut found {
            if own.len() > LOOKED_AT_MAX {
                own.select_nth_unstable_by_key(LOOKED_AT_MAX, |own| Reverse(*own));
                own.truncate(LOOKED_AT_MAX);
            }
        }
        found.concat()
    }
}

/// Where each span is in the order of the times of a section; `None` if that can't be told.
fn places_within(section: &Section, spans: &[Span]) -> Option<Vec<Range<usize>>> {
    spans.iter().map(|(since_us, until_us)| section.places_between(*since_us, *until_us)).collect()
}
