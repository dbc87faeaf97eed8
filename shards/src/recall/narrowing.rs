//! Narrowing: which rows of a section its conditions leave.
//!
//! Each condition that the section has an order or postings for names its rows. Those of the one
//! that names the fewest are a start: how many of them fulfil the rest too is estimated from a
//! sample, and where they are few enough all are gone through and *marked* in a bitmap.

use std::ops::Range;

use crate::episode::Conditions;
use crate::format::columns::ColumnKind;
use crate::limits::BLOCK_ROWS;
use crate::space::{Part, Section, Standing};
use crate::terms::{Masks, Plan, Posting, Terms, Truth};

/// Rows that are judged to estimate how many fulfil the conditions.
const SAMPLE_ROWS: usize = 64;

/// Rows in the order that a condition has them in.
#[derive(Debug)]
enum Source {
    Posting(Posting),
    /// Of the time order.
    Time(Range<usize>),
    /// Of the confidence order.
    Confidence(Range<usize>),
}

impl Source {
    fn rows<'a>(&self, section: &'a Section, terms: Option<&Terms<'a>>) -> &'a [u32] {
        match self {
            Self::Posting(posting) => {
                terms.map(|terms| terms.postings(&posting.places)).unwrap_or_default()
            }
            Self::Time(places) => section.time_order().get(places.clone()).unwrap_or_default(),
            Self::Confidence(places) => {
                let order = section.confidence_order().unwrap_or_default();
                order.get(places.clone()).unwrap_or_default()
            }
        }
    }

    fn posting(&self) -> Option<&Posting> {
        match self {
            Self::Posting(posting) => Some(posting),
            Self::Time(_) | Self::Confidence(_) => None,
        }
    }
}

/// See the top of the file. It holds for one section.
#[derive(Debug, Default)]
pub(super) struct Narrowing {
    /// `None` without a filter, and where the section has no terms.
    plan: Option<Plan>,
    /// Together they name all rows that may match.
    sources: Vec<Source>,
    /// Rows that the sources name, and how many of them are expected to match.
    named: usize,
    matches: f32,
    /// The source under way and the row in it, while rows are marked.
    next: (usize, usize),
    marks: Vec<u64>,
    marked: usize,
    /// Rows that were gone through.
    judged: u64,
    is_marked: bool,
    /// A row was marked of which the index is not sure.
    has_doubtful: bool,
}

impl Narrowing {
    /// Tries some blocks of the columns that the conditions want; whether any are left.
    pub(super) fn try_columns(conditions: &Conditions, section: &Section, blocks: usize) -> bool {
        let Conditions { since_us, until_us, filter, .. } = conditions;
        let wanted = [
            (since_us.is_some() || until_us.is_some()).then_some(ColumnKind::TimeOrder),
            conditions.point_min().is_some().then_some(ColumnKind::ConfidenceOrder),
            filter.is_some().then_some(ColumnKind::Terms),
        ];
        wanted.into_iter().flatten().any(|kind| section.try_column(kind, blocks))
    }

    /// Looks up what the conditions leave of a section whose columns were tried.
    pub(super) fn new(conditions: &Conditions, section: &Section, standing: Standing<'_>) -> Self {
        let terms = section.terms();
        let filter = conditions.filter.as_ref();
        let plan = filter.zip(terms.as_ref()).map(|(filter, terms)| Plan::new(filter, terms));
        let rows = section.rows() as usize;
        let mut narrowing = Self { plan, named: rows, ..Self::default() };
        narrowing.choose_sources(conditions, section, terms.as_ref());
        narrowing.matches = narrowing.estimate(conditions, (section, standing), terms.as_ref());
        narrowing
    }

    fn choose_sources(
        &mut self,
        conditions: &Conditions,
        section: &Section,
        terms: Option<&Terms<'_>>,
    ) {
        let Conditions { since_us, until_us, .. } = conditions;
        if since_us.is_some() || until_us.is_some() {
            let (since, until) = (since_us.unwrap_or(i64::MIN), until_us.unwrap_or(i64::MAX));
            if let Some(places) = section.places_between(since, until) {
                (self.named, self.sources) = (places.len(), vec![Source::Time(places)]);
            }
        }
        let confident = conditions.point_min().and_then(|least| section.places_confident(least));
        if let Some(places) = confident.filter(|places| places.len() < self.named) {
            (self.named, self.sources) = (places.len(), vec![Source::Confidence(places)]);
        }
        let postings = self.plan.as_ref().zip(terms).and_then(|(plan, terms)| plan.postings(terms));
        if let Some((postings, named)) = postings.filter(|(_, named)| *named < self.named) {
            let sources = postings.into_iter().map(Source::Posting);
            (self.named, self.sources) = (named, sources.collect());
        }
    }

    /// Whether the sources are of the only condition.
    fn is_single(&self, conditions: &Conditions) -> bool {
        let Conditions { since_us, until_us, confidence_min, filter, .. } = conditions;
        let others = usize::from(since_us.is_some() || until_us.is_some())
            + usize::from(confidence_min.is_some());
        others + usize::from(filter.is_some()) == 1
            && conditions.trust_min.is_none()
            && self.sources.iter().all(|source| source.posting().is_none())
            && !self.sources.is_empty()
    }

    /// How many rows match, from some that are spread evenly over those that are named.
    fn estimate(
        &self,
        conditions: &Conditions,
        (section, standing): (&Section, Standing<'_>),
        terms: Option<&Terms<'_>>,
    ) -> f32 {
        let is_free = !standing.is_conditional(Part::Section(section));
        if self.named == 0 || is_free && self.is_single(conditions) {
            return self.named as f32;
        }
        let step = self.named.div_ceil(SAMPLE_ROWS);
        let (mut seen, mut fulfilling, mut skip) = (0, 0.0, step / 2);
        let mut look = |row: u32, from| {
            let part = Part::Section(section);
            let fulfils = row < section.rows()
                && match self.judge(conditions, section, terms, row, from) {
                    Truth::Yes => standing.has(part, row),
                    Truth::Maybe => conditions.admit(part, row, standing) == Ok(true),
                    Truth::No => false,
                };
            seen += 1;
            fulfilling += f32::from(u8::from(fulfils));
        };
        if self.sources.is_empty() {
            (skip..self.named).step_by(step).for_each(|row| look(row as u32, None));
        }
        for source in &self.sources {
            let rows = source.rows(section, terms);
            rows.iter().skip(skip).step_by(step).for_each(|row| look(*row, source.posting()));
            let beyond = rows.len().saturating_sub(skip) % step;
            skip = match rows.len() <= skip {
                true => skip - rows.len(),
                false if beyond == 0 => 0,
                false => step - beyond,
            };
        }
        // None of a few does not mean none at all.
        self.named as f32 * f32::max(fulfilling, 0.5) / f32::max(seen as f32, 1.0)
    }

    /// Rows that are named, those of several terms more than once.
    pub(super) fn named(&self) -> usize {
        self.named
    }

    /// Whether there is anything to go through but all rows.
    pub(super) fn is_narrow(&self) -> bool {
        !self.sources.is_empty() || self.named == 0
    }

    /// Rows that match: an estimate, until they are marked.
    pub(super) fn matches(&self) -> f32 {
        match self.is_marked {
            true => self.marked as f32,
            false => self.matches,
        }
    }

    /// How many rows match at most, once they are marked.
    pub(super) fn marked(&self) -> Option<usize> {
        self.is_marked.then_some(self.marked)
    }

    /// Rows that were gone through to mark some of them.
    pub(super) fn judged(&self) -> u64 {
        self.judged
    }

    /// Whether the filter has to be asked although the index said yes.
    pub(super) fn is_doubtful(&self) -> bool {
        self.has_doubtful
    }

    pub(super) fn marks(&self) -> &[u64] {
        &self.marks
    }

    /// Gives the memory of the marks back.
    pub(super) fn into_marks(self) -> Vec<u64> {
        self.marks
    }

    /// Begins to mark, in memory that may have been used before.
    pub(super) fn begin_marks(&mut self, mut marks: Vec<u64>, section: &Section) {
        marks.clear();
        marks.resize((section.rows() as usize).div_ceil(BLOCK_ROWS), 0);
        self.marks = marks;
    }

    /// Marks some more rows; whether those were the last.
    pub(super) fn mark(
        &mut self,
        conditions: &Conditions,
        section: &Section,
        (standing, snapshot): (Standing<'_>, u64),
        rows_max: usize,
    ) -> bool {
        let terms = section.terms();
        let is_single = self.is_single(conditions);
        let mut left = rows_max;
        while let Some(source) = self.sources.get(self.next.0) {
            let all = source.rows(section, terms.as_ref());
            let rows = all.get(self.next.1..).unwrap_or_default();
            let rows = &rows[..rows.len().min(left)];
            for &row in rows {
                if row >= section.rows()
                    || section.deaths().died(row) <= snapshot
                    || !standing.has(Part::Section(section), row)
                {
                    continue;
                }
                let truth = match is_single {
                    true => Truth::Yes,
                    false => self.judge(conditions, section, terms.as_ref(), row, source.posting()),
                };
                if truth != Truth::No {
                    self.has_doubtful |= truth == Truth::Maybe;
                    let word = &mut self.marks[row as usize / BLOCK_ROWS];
                    let bit = 1 << (row as usize % BLOCK_ROWS);
                    self.marked += usize::from(*word & bit == 0);
                    *word |= bit;
                }
            }
            left -= rows.len();
            self.judged += rows.len() as u64;
            self.next.1 += rows.len();
            if self.next.1 < all.len() {
                return false;
            }
            self.next = (self.next.0 + 1, 0);
        }
        self.is_marked = true;
        true
    }

    /// Whether a row is marked.
    pub(super) fn judge_marked(&self, row: u32) -> Truth {
        let word = self.marks.get(row as usize / BLOCK_ROWS).copied().unwrap_or_default();
        match (word >> (row as usize % BLOCK_ROWS) & 1 == 1, self.has_doubtful) {
            (false, _) => Truth::No,
            (true, false) => Truth::Yes,
            (true, true) => Truth::Maybe,
        }
    }

    /// Whether a row fulfils the conditions, as far as the columns and the index know.
    pub(super) fn judge(
        &self,
        conditions: &Conditions,
        section: &Section,
        terms: Option<&Terms<'_>>,
        row: u32,
        from: Option<&Posting>,
    ) -> Truth {
        let Conditions { since_us, until_us, filter, trust_min, .. } = conditions;
        let (nth, point_min) = (row as usize, conditions.point_min());
        let time = || section.happened_at_us().get(nth).copied();
        let confidence = || section.confidences().get(nth).copied();
        let is_outside = (since_us.is_some_and(|since| time().is_none_or(|time| time < since)))
            || (until_us.is_some_and(|until| time().is_none_or(|time| time > until)))
            || (point_min.is_some_and(|least| confidence().is_none_or(|own| own < least)));
        if is_outside {
            return Truth::No;
        }
        let truth = match self.plan.as_ref().zip(terms) {
            Some((plan, terms)) => plan.judge(terms, row, from),
            None if filter.is_some() => Truth::Maybe,
            None => Truth::Yes,
        };
        match truth {
            // Whom the row goes back to is read last.
            Truth::Yes if trust_min.is_some() => Truth::Maybe,
            truth => truth,
        }
    }

    /// What a filter leaves of a block, as far as the index knows.
    pub(super) fn judge_block(&self, terms: Option<&Terms<'_>>, block: usize) -> Masks {
        match self.plan.as_ref().zip(terms) {
            Some((plan, terms)) => plan.judge_block(terms, block),
            None => Masks { yes: 0, may: u64::MAX },
        }
    }
}
