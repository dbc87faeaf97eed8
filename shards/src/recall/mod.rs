//! Recall: the rows of a space that are nearest to a cue.
//!
//! A space is a list of parts, and each part is searched in the way that is cheapest for it
//! ([`Method`]):
//!
//! | Method | For | Work |
//! |---|---|---|
//! | walk | a section, when most of it or all of it may be found | some fifty pages of its graph |
//! | codes | a tail, or a section of which conditions leave little | 3 ns a row, 64 at a time |
//! | buckets | a tail of many rows without conditions | the codes of the nearest of a thousand |
//! | gather | a section of which conditions leave very little | one vector for each match |
//! | compare | few rows, and whenever `EXACT` is asked for | every vector |
//!
//! Whatever walk and codes propose is compared exactly before it becomes a result, so scores never
//! depend on the way. Where a walk finds fewer than asked, the codes are scanned: k results come
//! back whenever k exist.
//!
//! A recall runs in slices: the shard answers other requests between two [`step`](Recall::step)s.
//! It sees the shard as it was when the recall began, by sequence: rows added later are not looked
//! at, rows that die meanwhile are still found.
//!
//! What is [superseded](crate::space::Supersessions) is left out like what is dead, or, where
//! beliefs of another time are asked for, what was then and what was recorded since.
//!
//! Conditions on time and confidence are evaluated 64 rows at a time, before any distance, and skip
//! whole blocks by their extremes. A metadata filter is answered by the terms of a section, where
//! it has them; else, and where they leave it open, it is evaluated last, only on rows that would
//! enter the result or the list of candidates. So is what depends on whom to trust, which no index
//! knows; that the point of a confidence is no less than what trust leaves of its low end narrows
//! that as a bound on confidence does. `EXACT` reads the metadata itself, no index of it.

mod approximate;
mod conditions;
mod costs;
mod cue;
mod narrowing;
mod view;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::arena::Arena;
use crate::episode::{Hit, Metric, RecallRequest, StoredEpisode, Tier, Why};
use crate::kernels::{kernels, padded, row_floats};
use crate::limits::BLOCK_ROWS;
use crate::space::{Damaged, Part, PartNumber, RowAt, Space, Standing};
use crate::trust::Opinion;
use approximate::Proposals;
use narrowing::Narrowing;
use view::{Method, View};

pub use approximate::Scratch;
pub use cue::{check_vector, cue};

/// What showing the metadata of a row to a filter is taken for: half a microsecond.
const FILTER_BYTES: usize = 12 << 10;

/// A row in the result; ordered by key, among equals the older episode is better.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    key: f32,
    sequence: u64,
    at: RowAt,
    tier: Tier,
}

impl Eq for Candidate {}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.total_cmp(&other.key).then(other.sequence.cmp(&self.sequence))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// An episode and what may be thought of it.
type Thought = (StoredEpisode, Option<Opinion>);

/// A recall under way on one shard.
#[derive(Debug)]
pub struct Recall {
    request: RecallRequest,
    /// Of the rows that are wanted, so many of the nearest are to be found as surely as the effort
    /// says: all of them usually.
    sure: usize,
    metric: Metric,
    /// The cue as the kernels take it.
    query: Vec<f32>,
    work: Work,
    /// When it began.
    now_us: i64,
    view: View,
    /// What the conditions leave of the section under way.
    narrowing: Option<(PartNumber, Narrowing)>,
    /// What the codes of the part under way propose.
    proposals: Proposals,
    /// A row that the filter could not be asked of.
    damaged: Option<Damaged>,
    /// The worst of the best on top.
    best: BinaryHeap<Reverse<Candidate>>,
}

/// Whether a row is known to fulfil the conditions that it has to be read for, if there are any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filtered {
    Yes,
    No,
}

/// What a recall has done so far.
#[derive(Debug, Clone, Copy, Default)]
struct Work {
    compared: u64,
    estimated: u64,
    hops: u64,
    beam: usize,
    /// Rows that were judged one by one to mark those that match.
    judged: u64,
    /// Rows whose metadata was shown to the filter, or looked up for whom to trust.
    filtered: u64,
}

impl Recall {
    /// At a time, of what the shard had applied then.
    pub fn new(
        request: RecallRequest,
        space: &Space,
        arena: &Arena,
        (snapshot, now_us): (u64, i64),
    ) -> Self {
        let capacity = request.k.min(space.rows()) + 1;
        Self {
            sure: request.k,
            query: padded(&request.cue),
            metric: space.settings.metric,
            work: Work::default(),
            now_us,
            view: View::new(&request, space, arena, snapshot),
            narrowing: None,
            proposals: Proposals::default(),
            damaged: None,
            best: BinaryHeap::with_capacity(capacity),
            request,
        }
    }

    /// Of the rows that are wanted only so many have to be found as surely as the effort says. The
    /// others are what else is met where those are looked for.
    pub fn with_sure(self, sure: usize) -> Self {
        Self { sure: sure.min(self.request.k), ..self }
    }

    pub fn request(&self) -> &RecallRequest {
        &self.request
    }

    /// Does about as much work as reading so many bytes is; whether all is done. Where the parts of
    /// the space were replaced meanwhile, the rows seen so far are not where they were: the recall
    /// begins again, with what is `applied` now.
    pub fn step(
        &mut self,
        space: &Space,
        arena: &Arena,
        scratch: &mut Scratch,
        applied: u64,
        bytes: usize,
    ) -> bool {
        if space.publications() != self.view.publications {
            self.view = View::new(&self.request, space, arena, applied);
            self.narrowing = None;
            self.proposals.clear();
            self.damaged = None;
            self.best.clear();
        }
        let mut left = bytes;
        while let Some(planned) = self.view.current().filter(|_| self.damaged.is_none()) {
            if left == 0 {
                return false;
            }
            let part = space.part(arena, planned.part).expect("no part goes without a publication");
            if self.narrowing.as_ref().is_some_and(|(number, _)| *number != planned.part) {
                self.end_narrowing(scratch);
            }
            let filtered = self.work.filtered;
            let standing =
                space.standing(&self.request.conditions, self.view.snapshot, self.now_us);
            let spent = match planned.method {
                Method::Narrow => self.narrow(part, standing, scratch),
                Method::Mark => self.mark(part, standing),
                Method::Compare => self.compare(part, standing),
                Method::Codes => self.scan_codes(part, standing),
                Method::Buckets => self.probe_buckets(part, standing),
                Method::Gather => self.gather(part),
                Method::Walk => self.walk(part, standing, scratch),
            };
            let filtered = self.work.filtered - filtered;
            left = left.saturating_sub(spent + filtered as usize * FILTER_BYTES);
        }
        self.end_narrowing(scratch);
        true
    }

    /// Compares the next block of rows; the bytes that took.
    fn compare(&mut self, part: Part<'_>, standing: Standing<'_>) -> usize {
        let nth = self.view.block();
        let rows = self.candidates(part, nth, standing);
        self.view.leave_block();
        if rows == 0 {
            return BLOCK_ROWS;
        }
        self.compare_rows(part, nth, rows);
        row_floats(self.request.cue.len()) * BLOCK_ROWS * size_of::<f32>()
    }

    fn compare_rows(&mut self, part: Part<'_>, nth: usize, rows: u64) {
        let mut keys = [0.0; BLOCK_ROWS];
        let mut unwritten = &mut keys[..];
        part.for_each_run(nth, |run| {
            let room = std::mem::take(&mut unwritten);
            let (out, rest) = room.split_at_mut(run.len() / self.query.len());
            match self.metric {
                Metric::Cosine | Metric::Dot => kernels().dot_rows(&self.query, run, out),
                Metric::L2 => kernels().l2_rows(&self.query, run, out),
            }
            unwritten = rest;
        });
        match self.metric {
            Metric::Cosine => {
                let scales = part.block(nth).scale;
                keys.iter_mut().zip(scales).for_each(|(key, scale)| *key *= scale);
            }
            Metric::Dot => {}
            Metric::L2 => keys.iter_mut().for_each(|key| *key = -*key),
        }
        self.work.compared += u64::from(rows.count_ones());
        let first = u32::try_from(nth * BLOCK_ROWS).expect("rows are counted in u32");
        let mut left = rows;
        while left != 0 {
            let nth = left.trailing_zeros();
            left &= left - 1;
            self.offer(part, first + nth, keys[nth as usize], (Tier::Exact, Filtered::No));
        }
    }

    /// The rows of a block that may enter the result, metadata aside.
    fn candidates(&self, part: Part<'_>, nth: usize, standing: Standing<'_>) -> u64 {
        let (conditions, snapshot) = (&self.request.conditions, self.view.snapshot);
        let visible = part.deaths().visible(nth, snapshot) & self.view.unseen(nth);
        if visible == 0 {
            return 0;
        }
        let (since, until) = (conditions.since_us, conditions.until_us);
        if since.is_none() && until.is_none() && conditions.point_min().is_none() {
            return standing.block(part, nth, visible);
        }
        let within = part.block(nth).within(
            since.unwrap_or(i64::MIN),
            until.unwrap_or(i64::MAX),
            conditions.point_min().unwrap_or(0.0),
        );
        standing.block(part, nth, visible & within)
    }

    fn offer(&mut self, part: Part<'_>, row: u32, key: f32, (tier, filtered): (Tier, Filtered)) {
        let worst = (self.best.len() == self.request.k).then(|| self.best.peek()).flatten();
        // The record of a row that is no candidate by its key is never looked at.
        if worst.is_some_and(|worst| key.total_cmp(&worst.0.key).is_lt()) {
            return;
        }
        let at = RowAt { part: part.number(), row };
        let candidate = Candidate { key, sequence: part.record(row).sequence, at, tier };
        if worst.is_some_and(|worst| candidate <= worst.0) {
            return;
        }
        let is_full = worst.is_some();
        if filtered == Filtered::No && !self.passes_filter(part, row) {
            return;
        }
        if is_full {
            self.best.pop();
        }
        self.best.push(Reverse(candidate));
    }

    fn passes_filter(&mut self, part: Part<'_>, row: u32) -> bool {
        if !self.request.conditions.are_read() {
            return true;
        }
        self.work.filtered += 1;
        self.request.conditions.admit_read(part, row).unwrap_or_else(|damaged| {
            self.damaged = Some(damaged);
            false
        })
    }

    /// Whether the last step was the last of all.
    pub(crate) fn is_over(&self) -> bool {
        self.view.current().is_none() || self.damaged.is_some()
    }

    /// The best rows in no particular order.
    pub(crate) fn into_rows(self) -> Result<Vec<RowAt>, Damaged> {
        match self.damaged {
            Some(damaged) => Err(damaged),
            None => Ok(self.best.into_iter().map(|Reverse(candidate)| candidate.at).collect()),
        }
    }

    /// The best rows, best first. From the first whose optional parts go beyond the byte bound on,
    /// those parts are left out.
    ///
    /// # Panics
    /// When parts were replaced since the last step.
    pub fn finish(self, space: &Space, arena: &Arena) -> Result<Vec<Hit>, Damaged> {
        if let Some(damaged) = self.damaged {
            return Err(damaged);
        }
        let RecallRequest { fields, bytes_max, .. } = self.request;
        let Work { compared, estimated, hops, beam, judged, filtered } = self.work;
        let best = self.best.into_sorted_vec();
        let rows = best.iter().map(|Reverse(candidate)| candidate.at);
        let opinions = space.opinions(arena, rows.clone(), fields, &self.request.conditions)?;
        let episodes = space.read_all(arena, rows, fields, bytes_max)?.into_iter();
        let belief = self.request.conditions.belief;
        let episodes = episodes.zip(opinions);
        let episodes =
            episodes.filter_map(|(episode, opinion)| Some((episode.as_of(belief)?, opinion)));
        let hit = |(Reverse(candidate), (episode, opinion)): (Reverse<Candidate>, Thought)| {
            let similarity = similarity(space.settings.metric, candidate.key);
            let why = fields.why.then_some(Why {
                tier: candidate.tier,
                rows_compared: compared,
                rows_estimated: estimated,
                rows_judged: judged,
                rows_filtered: filtered,
                hops,
                beam,
            });
            let (score, similarity) = (similarity, Some(similarity));
            Hit {
                score,
                similarity,
                activation: None,
                activation_bounds: None,
                episode,
                opinion,
                why,
                path: None,
                fused: None,
            }
        };
        Ok(best.into_iter().zip(episodes).map(hit).collect())
    }
}

/// What clients know a key by.
pub(crate) fn similarity(metric: Metric, key: f32) -> f32 {
    match metric {
        Metric::Cosine | Metric::Dot => key,
        Metric::L2 => 1.0 / (1.0 + (-key).sqrt()),
    }
}
