//! Inquiry: what a shard knows that may answer a question put in words, with a vector or both.
//!
//! | Step | Finds |
//! |---|---|
//! | [`Recall`](crate::recall::Recall) | the rows nearest to the vector |
//! | [`scan`] | the rows whose words fit best, by BM25 of each row alone |
//! | [`timely`] | of the rows that happened when the question says the best by either |
//! | [`Evidence`] | of these the similarity and the words, whichever way they were found |
//! | [`Around`] | the same of what was said before and behind them, on whatever shard that is |
//! | [`fusion`] | the places worth looking around, and one score of all that, for those who asked |
//!
//! Shards propose, and who asked decides: how common a word is, and how near the nearest is, takes
//! all shards of a space to know.
//!
//! An inquiry sees the shard as it was when it began, like a recall, and begins again where parts
//! were replaced meanwhile. Texts that nobody has read yet are read first.

mod around;
pub mod fusion;
mod scan;
#[cfg(test)]
mod tests;
mod timely;

use std::sync::Arc;

use bytes::Bytes;

use crate::arena::Arena;
use crate::episode::{
    Conditions, Confidence, Effort, Fields, Metric, RecallRequest, Sequence, SpaceNumber,
    StoredEpisode,
};
use crate::index::simd::prefetch;
use crate::kernels::{key, padded};
use crate::recall::{Recall, Scratch, similarity};
use crate::space::{Damaged, Part, PartNumber, RowAt, Space, Standing};
use crate::trust::Opinion;
use crate::words::score::{Spoken, Statistics};
use crate::words::threads::Moment;
use crate::words::when::Span;
use scan::Scan;
use zerocopy::IntoBytes as _;

pub use around::{Around, AroundRequest, Place};

/// Rows whose evidence is read in one slice of work: all, unless many are asked for.
const GATHERED_AT_ONCE: usize = 192;
/// How many rows ahead memory is asked for.
const AHEAD: usize = 4;

/// What to look for.
#[derive(Debug, Clone, PartialEq)]
pub struct InquiryRequest {
    pub space: SpaceNumber,
    /// As in [`RecallRequest`].
    pub cue: Option<Arc<[f32]>>,
    /// Different terms, [`QUESTION_TERMS_MAX`](crate::words::QUESTION_TERMS_MAX) at most.
    pub terms: Arc<[String]>,
    /// The times that the question names.
    pub spans: Arc<[Span]>,
    /// Episodes that are asked for.
    pub k: usize,
    /// Rows that each way is to propose, at least as many. More than `k` of them compete with what
    /// the other way found, so those need not be the nearest for certain.
    pub count: usize,
    pub conditions: Conditions,
    pub effort: Effort,
}

/// An episode and what speaks for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    pub id: Bytes,
    pub sequence: Sequence,
    pub happened_at_us: i64,
    pub recorded_at_us: i64,
    pub confidence: Confidence,
    /// The probability that it is retained.
    pub retention: f32,
    /// How much whoever it goes back to is trusted; 1 unless it was said.
    pub trust: f32,
    pub writer_uid: u32,
    /// Empty when it has none.
    pub thread: Bytes,
    /// To the vector, if there is one.
    pub similarity: Option<f32>,
    pub spoken: Spoken,
    /// Whether it fulfils the conditions: else it only supports others.
    pub is_answer: bool,
}

impl Evidence {
    /// What who asks may think of it.
    pub fn opinion(&self) -> Opinion {
        Opinion::new(self.confidence, self.trust, self.retention)
    }

    /// Where it stands in the order of its thread.
    fn moment(&self) -> Moment {
        (self.happened_at_us, self.recorded_at_us, self.sequence.0)
    }

    /// The episode without its optional parts.
    pub fn episode(&self) -> StoredEpisode {
        StoredEpisode {
            id: self.id.clone(),
            sequence: self.sequence,
            happened_at_us: self.happened_at_us,
            recorded_at_us: self.recorded_at_us,
            confidence: self.confidence,
            writer_uid: self.writer_uid,
            text: None,
            vector: None,
            metadata: None,
            thread: self.thread.clone(),
            links: None,
            gist_links: Vec::new(),
            // An answer does not tell.
            superseded: None,
            expires_at_us: None,
            strength: None,
        }
    }
}

/// What a shard found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Found {
    pub evidence: Vec<Evidence>,
    pub statistics: Statistics,
    /// What so many rows are ordered by for the vector, added up: all rows, the dead until they are
    /// consolidated.
    pub keys: f64,
    pub keyed_rows: u64,
}

impl Found {
    /// How similar to the vector just any row is, on the whole.
    pub fn background(&self, metric: Metric) -> f32 {
        let mean = (self.keys / self.keyed_rows.max(1) as f64) as f32;
        // A sum of distances may be below none by rounding.
        similarity(metric, if metric == Metric::L2 { mean.min(0.0) } else { mean })
    }
}

/// The parts of a space as they were when something began to look at them.
#[derive(Debug)]
struct View {
    /// How often parts had been replaced.
    publications: u64,
    /// Those that had rows, and how many.
    parts: Vec<(PartNumber, u32)>,
}

impl View {
    fn new(space: &Space, arena: &Arena) -> Self {
        let parts = space.parts(arena).filter(|part| part.rows() > 0);
        let parts = parts.map(|part| (part.number(), part.rows())).collect();
        Self { publications: space.publications(), parts }
    }

    /// Whether parts were replaced since: rows are not where they were.
    fn is_stale(&self, space: &Space) -> bool {
        space.publications() != self.publications
    }

    /// Rows that a part had.
    fn rows_of(&self, part: Part<'_>) -> u32 {
        let own = self.parts.iter().find(|(number, _)| *number == part.number());
        own.map_or(0, |(_, rows)| *rows)
    }
}

/// An inquiry under way on one shard.
#[derive(Debug)]
pub struct Inquiry {
    request: InquiryRequest,
    /// When it began.
    now_us: i64,
    view: View,
    recall: Option<Recall>,
    scan: Scan,
    /// Of what both have proposed, once they have.
    gathering: Option<Gathering>,
}

impl Inquiry {
    /// At a time, of what the shard had applied then.
    pub fn new(
        request: InquiryRequest,
        space: &Space,
        arena: &Arena,
        (snapshot, now_us): (u64, i64),
    ) -> Self {
        let sure = request.k;
        let recall = request.cue.as_ref().map(|cue| {
            let request = RecallRequest {
                space: request.space,
                k: request.count,
                cue: Arc::clone(cue),
                conditions: request.conditions.clone(),
                effort: request.effort,
                fields: Fields::default(),
                bytes_max: 0,
            };
            Recall::new(request, space, arena, (snapshot, now_us)).with_sure(sure)
        });
        let (view, scan) = (View::new(space, arena), Scan::new(snapshot));
        Self { request, now_us, view, recall, scan, gathering: None }
    }

    pub fn request(&self) -> &InquiryRequest {
        &self.request
    }

    /// Rows of a part whose texts have to be read before it goes on.
    pub fn wanted_texts(&self, part: Part<'_>) -> u32 {
        self.view.rows_of(part)
    }

    /// Does about as much work as reading so many bytes is; whether all is done. The texts that it
    /// wants are to be read before.
    pub fn step(
        &mut self,
        space: &Space,
        arena: &Arena,
        scratch: &mut Scratch,
        applied: u64,
        bytes: usize,
    ) -> bool {
        if self.view.is_stale(space) {
            *self = Self::new(self.request.clone(), space, arena, (applied, self.now_us));
            return false;
        }
        if let Some(recall) = &mut self.recall
            && !recall.is_over()
        {
            recall.step(space, arena, scratch, applied, bytes);
            return false;
        }
        let of = (space, arena, self.now_us);
        let Some(gathering) = &mut self.gathering else {
            if self.scan.step(&self.request, &self.view.parts, of, scratch, bytes) {
                let proposed = self.proposed(space, arena);
                self.gathering = Some(Gathering::new(proposed));
            }
            return false;
        };
        let InquiryRequest { cue, terms, conditions, .. } = &self.request;
        let cue = cue.as_deref().map(padded);
        let asked = (cue.as_deref(), &terms[..], conditions);
        gathering.step(&Witness::new(of, asked, self.scan.snapshot()))
    }

    /// The rows that were proposed, when both ways are done.
    fn proposed(&mut self, space: &Space, arena: &Arena) -> Result<Vec<RowAt>, Damaged> {
        let mut rows = self.scan.take_rows()?;
        if let Some(recall) = self.recall.take() {
            rows.extend(recall.into_rows()?);
        }
        let InquiryRequest { cue, terms, conditions, spans, count, .. } = &self.request;
        if !spans.is_empty() {
            let cue = cue.as_deref().map(padded);
            let (asked, snapshot) =
                ((cue.as_deref(), &terms[..], conditions), self.scan.snapshot());
            let witness = Witness::new((space, arena, self.now_us), asked, snapshot);
            let statistics = self.scan.statistics();
            let of = (snapshot, *count);
            rows.extend(witness.timely(&self.view.parts, spans, &statistics, of)?);
        }
        Ok(rows)
    }

    /// What was found. To be called behind a [`step`](Self::step) that was the last, while nothing
    /// has changed.
    pub fn finish(self, space: &Space, arena: &Arena) -> Result<Found, Damaged> {
        let Self { request, view, scan, gathering, .. } = self;
        let evidence = gathering.expect("all ways are done").finish()?;
        let cue = request.cue.as_deref().map(padded);
        let (keys, keyed_rows) = keys(cue.as_deref(), &view.parts, (space, arena));
        Ok(Found { evidence, statistics: scan.statistics(), keys, keyed_rows })
    }
}

/// What the rows of these parts are ordered by for a vector, added up, and how many they are.
fn keys(
    cue: Option<&[f32]>,
    parts: &[(PartNumber, u32)],
    (space, arena): (&Space, &Arena),
) -> (f64, u64) {
    let Some(cue) = cue else { return (0.0, 0) };
    let part = |(number, _): &(PartNumber, u32)| space.part(arena, *number);
    let centroids = parts.iter().filter_map(part).filter_map(Part::centroid);
    let keys = centroids.map(|centroid| centroid.keys(space.settings.metric, cue));
    keys.fold((0.0, 0), |(sum, all), (keys, rows)| (sum + keys, all + rows))
}

/// Whether a row of a part may be one that is not answered.
fn is_conditional(conditions: &Conditions, standing: Standing<'_>, part: Part<'_>) -> bool {
    !conditions.is_free() || standing.is_conditional(part)
}

/// Reads what speaks for rows.
struct Witness<'a> {
    space: &'a Space,
    arena: &'a Arena,
    cue: Option<&'a [f32]>,
    terms: &'a [String],
    conditions: &'a Conditions,
    standing: Standing<'a>,
    now_us: i64,
}

/// Rows whose evidence is read, some at a time.
#[derive(Debug)]
struct Gathering {
    /// Ascending.
    rows: Vec<RowAt>,
    /// Of the first of them.
    evidence: Result<Vec<Evidence>, Damaged>,
}

impl Gathering {
    fn new(rows: Result<Vec<RowAt>, Damaged>) -> Self {
        let (mut rows, evidence) = match rows {
            Ok(rows) => (rows, Ok(Vec::new())),
            Err(damaged) => (Vec::new(), Err(damaged)),
        };
        rows.sort_unstable();
        rows.dedup();
        Self { rows, evidence }
    }

    /// Reads some; whether those were the last. Texts are to be read before.
    fn step(&mut self, witness: &Witness<'_>) -> bool {
        let Ok(evidence) = &mut self.evidence else { return true };
        let left = &self.rows[evidence.len()..];
        let (some, others) = left.split_at(left.len().min(GATHERED_AT_ONCE));
        match witness.all(some) {
            Ok(mut own) => evidence.append(&mut own),
            Err(damaged) => self.evidence = Err(damaged),
        }
        others.is_empty()
    }

    /// To be called behind a [`step`](Self::step) that was the last.
    fn finish(self) -> Result<Vec<Evidence>, Damaged> {
        self.evidence
    }
}

impl<'a> Witness<'a> {
    fn new(
        (space, arena, now_us): (&'a Space, &'a Arena, i64),
        (cue, terms, conditions): (Option<&'a [f32]>, &'a [String], &'a Conditions),
        snapshot: u64,
    ) -> Self {
        let standing = space.standing(conditions, snapshot, now_us);
        Self { space, arena, cue, terms, conditions, standing, now_us }
    }
}

impl Witness<'_> {
    /// Of rows, which are ascending and whose texts were read.
    fn all(&self, rows: &[RowAt]) -> Result<Vec<Evidence>, Damaged> {
        let mut all = Vec::with_capacity(rows.len());
        // Ids and threads, one behind the other: one piece of memory for those of all.
        let (mut names, mut ends) = (Vec::new(), Vec::with_capacity(rows.len()));
        for same in rows.chunk_by(|a, b| a.part == b.part) {
            let part = self.space.part(self.arena, same[0].part).expect("no part has gone");
            let is_conditional = is_conditional(self.conditions, self.standing, part);
            same.iter().for_each(|at| part.prefetch_record(at.row));
            let first = all.len();
            for (nth, at) in same.iter().enumerate() {
                if let Some(later) = same.get(nth + AHEAD) {
                    part.prefetch_body(later.row);
                }
                let (record, columns) = (part.record(at.row), part.columns(at.row));
                let body = part.body(at.row)?;
                names.extend_from_slice(body.id);
                let id_end = names.len();
                names.extend_from_slice(body.thread);
                ends.push((id_end, names.len()));
                let (low, high) = (record.confidence_low, record.confidence_high);
                let origin = (record.sequence, columns.happened_at_us);
                let trust = self.conditions.trust.as_deref();
                let trust = trust.map(|trust| part.trusted(at.row, trust)).transpose()?;
                all.push(Evidence {
                    id: Bytes::new(),
                    sequence: Sequence(record.sequence),
                    happened_at_us: columns.happened_at_us,
                    recorded_at_us: record.recorded_at_us,
                    confidence: Confidence { point: columns.confidence, low, high },
                    retention: self.space.changed().retention(origin, self.now_us),
                    trust: trust.unwrap_or(1.0),
                    writer_uid: record.writer_uid,
                    thread: Bytes::new(),
                    similarity: None,
                    spoken: Spoken::default(),
                    is_answer: !is_conditional
                        || self.conditions.admit(part, at.row, self.standing)?,
                });
            }
            self.listen(part, same, &mut all[first..]);
            self.compare(part, same, &mut all[first..]);
        }
        let (names, mut from) = (Bytes::from(names), 0);
        for (own, (id_end, end)) in all.iter_mut().zip(ends) {
            own.id = names.slice(from..id_end);
            own.thread = names.slice(id_end..end);
            from = end;
        }
        Ok(all)
    }

    /// Notes what rows have of the terms.
    fn listen(&self, part: Part<'_>, rows: &[RowAt], evidence: &mut [Evidence]) {
        let last = rows.last().map_or(0, |at| at.row + 1);
        let Some(words) = part.words(last).filter(|_| !self.terms.is_empty()) else { return };
        let numbers: Vec<u32> = rows.iter().map(|at| at.row).collect();
        for (nth, term) in self.terms.iter().enumerate() {
            let postings = words.postings(term);
            postings.for_each_of(&numbers, |row, counts| {
                evidence[row].spoken.note(nth, counts);
            });
        }
        for (own, row) in evidence.iter_mut().zip(numbers) {
            own.spoken.extent = words.extent(row);
        }
    }

    /// Notes how similar rows are to the vector.
    fn compare(&self, part: Part<'_>, rows: &[RowAt], evidence: &mut [Evidence]) {
        let Some(cue) = self.cue else { return };
        for (nth, (own, at)) in evidence.iter_mut().zip(rows).enumerate() {
            if let Some(later) = rows.get(nth + AHEAD) {
                prefetch(part.vector(later.row).as_bytes());
            }
            own.similarity = Some(self.similarity(cue, part, at.row));
        }
    }

    fn similarity(&self, cue: &[f32], part: Part<'_>, row: u32) -> f32 {
        let metric = self.space.settings.metric;
        similarity(metric, key(metric, cue, part.vector(row), || part.columns(row).scale))
    }
}
