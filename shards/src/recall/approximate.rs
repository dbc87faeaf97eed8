//! Walks and code scans: cheap ways to a few rows that are worth comparing.

use super::costs::Shape;
use super::narrowing::Narrowing;
use super::view::Method;
use super::{Filtered, Recall};
use crate::episode::{CodeBits, Effort, Tier};
use crate::format::columns::COLUMN_BLOCK_BYTES;
use crate::index::calibration::answers;
use crate::index::cue::Cue;
use crate::index::graph::search::{Effort as Walking, Found, Search};
use crate::index::projection::{Projection, ProjectionKey};
use crate::index::simd::{CODE_ROWS, prefetch};
use crate::index::sorted::{Key, Sorted};
use crate::kernels;
use crate::limits::{BLOCK_ROWS, RECALL_BEAM_MAX, RECALL_TARGET_USUAL};
use crate::space::{Part, Section, Standing, TRIED_BLOCKS, TailBuckets};
use crate::terms::Truth;

/// Rows that a walk proposes at least where few count: it takes them by estimates.
const PROPOSED_AMONG_MIN: usize = 48;
/// The share of rows that must match for a walk to meet enough of them by itself.
const AMONG_SHARE: f32 = 0.8;
/// Rows that are marked, or gathered, in one go.
const MARKED_ROWS: usize = 256;
const GATHERED_ROWS: usize = 32;
/// What marking a row is taken for, and looking up the conditions of a section.
const MARK_BYTES: usize = 256;
const NARROW_BYTES: usize = 256 << 10;
/// What a row costs that is read by itself, besides its vector.
const GATHER_BYTES: usize = 1 << 10;
/// Bitmaps of marks that are kept for the next recall.
const MARKS_KEPT_MAX: usize = 8;
/// Scores of rows that are kept for the next inquiry.
const SCORES_KEPT_MAX: usize = 2;
/// Buckets that are probed at most, and the rows that are to be seen in them: a share of all, and
/// at least so many.
const PROBES_MAX: usize = 384;
const PROBED_SHARE: usize = 16;
const PROBED_ROWS_MIN: usize = 16_000;
/// What finding the nearest buckets is taken for.
const PROBE_BYTES: usize = 256 << 10;
/// Bytes that looking at the conditions of a block is taken for.
const LOOK_BYTES: usize = 1 << 10;

/// What a block of rows was judged to be.
#[derive(Debug, Clone, Copy)]
struct Looked {
    /// Rows that may be found.
    rows: u64,
    /// Those that the filter need not be asked of.
    sure: u64,
    next: usize,
}

/// Rows that codes propose for each that is asked for, and at least: the fewer, the more exact the
/// codes are.
fn proposed(k: usize, bits: CodeBits) -> usize {
    let (per_result, least) = match bits {
        CodeBits::One => (8, 96),
        CodeBits::Two => (4, 48),
        CodeBits::Four => (2, 24),
    };
    (per_result * k).max(least)
}

/// Memory that recalls of a shard use in turn.
#[derive(Debug, Default)]
pub struct Scratch {
    search: Search,
    found: Vec<Found>,
    /// Bitmaps for marks.
    marks: Vec<Vec<u64>>,
    /// Scores of rows, all of them 0, each with an empty list of rows.
    scores: Vec<(Vec<f32>, Vec<u32>)>,
}

impl Scratch {
    /// Scores of rows, which are 0, and an empty list of rows.
    pub(crate) fn take_scores(&mut self) -> (Vec<f32>, Vec<u32>) {
        self.scores.pop().unwrap_or_default()
    }

    /// Keeps scores for the next one who wants some. They have to be 0 again.
    pub(crate) fn give_scores(&mut self, scores: (Vec<f32>, Vec<u32>)) {
        if self.scores.len() < SCORES_KEPT_MAX {
            self.scores.push(scores);
        }
    }
}

/// What the codes of a part propose.
#[derive(Debug, Default)]
pub(super) struct Proposals {
    sorted: Sorted,
    /// The cue, and what it was prepared for.
    cue: Cue,
    prepared: Option<ProjectionKey>,
    is_open: bool,
    /// Buckets to probe, the nearest last, and the rows of those that were.
    buckets: Vec<u32>,
    rows_probed: usize,
    /// Rows that were in buckets when probing began, and how many of them are to be seen.
    bucketed: u32,
    rows_wanted: usize,
}

impl Proposals {
    pub(super) fn clear(&mut self) {
        self.is_open = false;
    }

    fn begin_probing(&mut self, buckets: &TailBuckets) {
        let mut nearest = Sorted::default();
        nearest.reset(PROBES_MAX);
        buckets.router().probe(&self.cue, &mut nearest);
        self.buckets.clear();
        self.buckets.extend(nearest.iter().map(Key::number));
        self.buckets.reverse();
        self.bucketed = buckets.rows();
        self.rows_probed = 0;
        self.rows_wanted = (buckets.rows() as usize / PROBED_SHARE).max(PROBED_ROWS_MIN);
    }

    /// The next bucket, while not enough rows were seen; and how many were.
    fn next_bucket(&mut self) -> Option<(usize, usize)> {
        let is_enough = self.rows_probed >= self.rows_wanted;
        let next = if is_enough { None } else { self.buckets.pop() };
        next.map(|bucket| (bucket as usize, self.rows_probed))
    }

    fn prepare(&mut self, projection: &Projection, query: &[f32]) {
        if self.prepared != Some(projection.key()) {
            projection.cue(query, &mut self.cue);
            self.prepared = Some(projection.key());
        }
    }
}

impl Recall {
    /// Looks up what the conditions leave of a section, and chooses how it is searched; the bytes
    /// that took.
    pub(super) fn narrow(
        &mut self,
        part: Part<'_>,
        standing: Standing<'_>,
        scratch: &mut Scratch,
    ) -> usize {
        let Part::Section(section) = part else { unreachable!("tails have no orders") };
        if Narrowing::try_columns(&self.request.conditions, section, TRIED_BLOCKS) {
            return TRIED_BLOCKS * COLUMN_BLOCK_BYTES;
        }
        let mut narrowing = Narrowing::new(&self.request.conditions, section, standing);
        let named = narrowing.is_narrow().then_some(narrowing.named());
        let method = self.shape(section).choose(narrowing.matches(), named);
        if method == Method::Mark {
            narrowing.begin_marks(scratch.marks.pop().unwrap_or_default(), section);
        }
        self.narrowing = Some((part.number(), narrowing));
        self.view.replan(method, 0);
        NARROW_BYTES
    }

    pub(super) fn end_narrowing(&mut self, scratch: &mut Scratch) {
        let marks = self.narrowing.take().map(|(_, narrowing)| narrowing.into_marks());
        if let Some(marks) = marks.filter(|_| scratch.marks.len() < MARKS_KEPT_MAX) {
            scratch.marks.push(marks);
        }
    }

    /// Rows to compare, of which the best are answered: as many as are proposed for those that are
    /// to be found for sure, and all that are wanted.
    fn enough(&self, proposed: impl Fn(usize) -> usize) -> usize {
        proposed(self.sure).max(self.request.k)
    }

    fn shape(&self, section: &Section) -> Shape {
        let part = Part::Section(section);
        let (codes, _) = part.codes(0).expect("what is narrowed has an index");
        let (calibration, k) = (section.calibration(), self.sure);
        Shape {
            rows: part.rows() as usize,
            row_bytes: size_of_val(&self.query[..]),
            code_block_bytes: codes.layout.block_bytes(),
            beam: match self.request.effort {
                Effort::Beam(beam) => beam,
                Effort::Target(recall) => calibration.beam(recall, k),
                Effort::Usual | Effort::Exact => calibration.beam(RECALL_TARGET_USUAL, k),
            },
        }
    }

    /// Marks some of the rows that may match. After the last, chooses how they are searched.
    pub(super) fn mark(&mut self, part: Part<'_>, standing: Standing<'_>) -> usize {
        let Part::Section(section) = part else { unreachable!("tails are not narrowed") };
        let (_, narrowing) = self.narrowing.as_mut().expect("marks are begun");
        let of = (standing, self.view.snapshot);
        if narrowing.mark(&self.request.conditions, section, of, MARKED_ROWS) {
            self.work.judged += narrowing.judged();
            let marked = narrowing.marked().expect("just done");
            let method = self.shape(section).choose_marked(marked);
            self.view.replan(method, 0);
        }
        MARKED_ROWS * MARK_BYTES
    }

    /// Walks through the graph of a section; the bytes that took.
    pub(super) fn walk(
        &mut self,
        part: Part<'_>,
        standing: Standing<'_>,
        scratch: &mut Scratch,
    ) -> usize {
        let Part::Section(section) = part else { unreachable!("tails have no graph") };
        let (index, columns) = section.index().expect("a walk is planned where there is one");
        let graph = index.graph(columns);
        self.proposals.prepare(&index.projection, &self.request.cue);
        let shape = self.shape(section);
        let narrowing = self.narrowing.as_ref().map(|(_, narrowing)| narrowing);
        let rows = section.rows() as usize;
        let share = narrowing.map_or(1.0, |narrowing| narrowing.matches() / rows as f32);
        let k = self.request.k;
        let is_among = share < AMONG_SHARE;
        let least = if is_among { PROPOSED_AMONG_MIN } else { 0 };
        let answers = self.enough(answers).max(least);
        let beam = shape.beam(share).min(RECALL_BEAM_MAX);
        let (conditions, snapshot) = (&self.request.conditions, self.view.snapshot);
        let terms = narrowing.and_then(|_| section.terms());
        let (mut filtered, mut damaged) = (0, None);
        let accept = |row: u32| {
            let lives = || part.deaths().died(row) > snapshot && standing.has(part, row);
            let Some(narrowing) = narrowing else { return lives() };
            let truth = match narrowing.marked() {
                Some(_) => narrowing.judge_marked(row),
                None => narrowing.judge(conditions, section, terms.as_ref(), row, None),
            };
            match truth {
                Truth::No => false,
                Truth::Yes => lives(),
                Truth::Maybe => {
                    filtered += 1;
                    let admitted = match lives() {
                        true => conditions.admit(part, row, standing),
                        false => Ok(false),
                    };
                    admitted.unwrap_or_else(|found| {
                        damaged = Some(found);
                        false
                    })
                }
            }
        };
        let walking = Walking { share, ..Walking::with_beam(beam, answers) };
        let Scratch { search, found, .. } = scratch;
        let walked = match is_among {
            true => search.run_among(&graph, &self.proposals.cue, walking, accept, found),
            false => search.run(&graph, &self.proposals.cue, walking, accept, found),
        };
        let spent = walked.hops as usize * graph.layout.bytes();
        self.work.beam = self.work.beam.max(walking.beam);
        self.work.hops += u64::from(walked.hops);
        self.work.estimated += u64::from(walked.estimates);
        self.work.filtered += filtered;
        self.damaged = self.damaged.or(damaged);
        // A walk that met few of those that may be found has not seen where the others are.
        let wanted = if is_among { answers } else { k };
        let most = narrowing.and_then(Narrowing::marked).unwrap_or(rows);
        if walked.is_lopsided || found.len() < wanted.min(most) {
            self.view.replan(Method::Codes, 0);
            return spent;
        }
        self.view.leave_part();
        let proposed = found.iter().map(|found| found.node);
        self.compare_each(part, proposed, (Tier::Graph, Filtered::Yes));
        spent
    }

    /// Scans the nearest buckets of a tail, some at a time; the bytes that took. The rows that are
    /// in none yet are scanned afterwards.
    pub(super) fn probe_buckets(&mut self, part: Part<'_>, standing: Standing<'_>) -> usize {
        let Part::Tail(tail, arena) = part else { unreachable!("sections have no buckets") };
        let buckets = tail.buckets().expect("a probe is planned where there are buckets");
        let projection = part.code_projection().expect("buckets have codes");
        self.proposals.prepare(projection, &self.request.cue);
        let mut spent = 0;
        if !std::mem::replace(&mut self.proposals.is_open, true) {
            let bits = buckets.layout().bits;
            self.proposals.sorted.reset(self.enough(|k| proposed(k, bits)));
            self.proposals.begin_probing(buckets);
            spent += PROBE_BYTES;
        }
        let Some((bucket, rows_seen)) = self.proposals.next_bucket() else {
            // What was probed stays proposed: the codes behind it are added. Where buckets hold
            // fewer than asked for, because most of their rows are dead, all codes are scanned.
            let is_enough = self.proposals.sorted.iter().count() >= self.request.k;
            let behind = if is_enough { self.proposals.bucketed } else { 0 };
            self.proposals.is_open = is_enough;
            self.view.replan(Method::Codes, behind.min(self.view.rows() as u32));
            if self.view.current().is_none_or(|next| next.part != part.number()) {
                self.compare_proposals(part);
            }
            return spent;
        };
        if let Some(&next) = self.proposals.buckets.last() {
            let blocks = buckets.blocks(arena, next as usize);
            blocks.for_each(|(_, block)| prefetch(block));
        }
        let snapshot = self.view.snapshot;
        let layout = buckets.layout();
        let origin = buckets.router().origin(bucket, &self.proposals.cue, layout.estimand);
        let mut seen = 0;
        for (rows, block) in buckets.blocks(arena, bucket) {
            let mut distances = [0.0; CODE_ROWS];
            let bound = self.proposals.sorted.bound();
            let mut below =
                layout.estimate(&self.proposals.cue, block, origin, bound, &mut distances);
            spent += block.len();
            seen += rows.len();
            while below != 0 {
                let bit = below.trailing_zeros() as usize;
                below &= below - 1;
                let Some(&row) = rows.get(bit) else { break };
                let is_seen = (row as usize) < self.view.rows()
                    && row < self.proposals.bucketed
                    && part.deaths().died(row) > snapshot
                    && standing.has(part, row);
                if is_seen && distances[bit] < self.proposals.sorted.bound() {
                    self.proposals.sorted.insert(Key::new(distances[bit], row));
                }
            }
        }
        self.work.estimated += seen as u64;
        self.proposals.rows_probed = rows_seen + seen;
        spent
    }

    /// Compares what the codes of a part propose.
    fn compare_proposals(&mut self, part: Part<'_>) {
        self.proposals.is_open = false;
        let sorted = std::mem::take(&mut self.proposals.sorted);
        self.compare_each(part, sorted.iter().map(Key::number), (Tier::Codes, Filtered::Yes));
        self.proposals.sorted = sorted;
    }

    /// Estimates the next block of rows; the bytes that took.
    pub(super) fn scan_codes(&mut self, part: Part<'_>, standing: Standing<'_>) -> usize {
        let projection = part.code_projection().expect("a scan is planned where there are codes");
        self.proposals.prepare(projection, &self.request.cue);
        if !std::mem::replace(&mut self.proposals.is_open, true) {
            let bits = part.code_bits().expect("a scan is planned where there are codes");
            self.proposals.sorted.reset(self.enough(|k| proposed(k, bits)));
        }
        let nth = self.view.block();
        let Looked { rows, sure, next } = self.look(part, nth, standing);
        let is_last = next * BLOCK_ROWS >= self.view.rows();
        self.view.skip_to(next);
        let mut spent = LOOK_BYTES;
        if rows != 0 && (nth + 1) * BLOCK_ROWS <= part.coded_rows() as usize {
            spent += self.estimate_rows(part, nth, rows, sure);
        } else if rows != 0 {
            self.compare_rows(part, nth, rows);
            spent += BLOCK_ROWS * self.query.len() * size_of::<f32>();
        }
        if is_last {
            self.compare_proposals(part);
        }
        spent
    }

    /// The rows of a block that may be found, and the next block worth a look.
    fn look(&self, part: Part<'_>, nth: usize, standing: Standing<'_>) -> Looked {
        let conditions = &self.request.conditions;
        let (is_read, is_trusted) = (conditions.are_read(), conditions.trust_min.is_some());
        let sure = |is_sure: bool| if is_sure { u64::MAX } else { 0 };
        let (Part::Section(section), Some((_, narrowing))) = (part, &self.narrowing) else {
            let rows = self.candidates(part, nth, standing);
            return Looked { rows, sure: sure(!is_read), next: nth + 1 };
        };
        if narrowing.marked().is_some() {
            let marks = narrowing.marks();
            let next = marks.iter().skip(nth + 1).position(|word| *word != 0);
            let next = next.map_or(marks.len(), |skipped| nth + 1 + skipped);
            let rows = marks.get(nth).copied().unwrap_or_default();
            return Looked { rows, sure: sure(!narrowing.is_doubtful()), next };
        }
        let mut rows = self.candidates(part, nth, standing);
        let mut sure = u64::MAX;
        if rows != 0 && is_read {
            let masks = narrowing.judge_block(section.terms().as_ref(), nth);
            // The index does not know whom to trust.
            (rows, sure) = (rows & masks.may, if is_trusted { 0 } else { masks.yes });
        }
        Looked { rows, sure, next: nth + 1 }
    }

    /// Estimates some rows of a block that is coded. The filter is asked of those that are not sure
    /// to pass it.
    fn estimate_rows(&mut self, part: Part<'_>, nth: usize, rows: u64, sure: u64) -> usize {
        let mut spent = 0;
        for half in 0..BLOCK_ROWS / CODE_ROWS {
            let wanted = (rows >> (half * CODE_ROWS)) as u32;
            if wanted == 0 {
                continue;
            }
            let block = nth * (BLOCK_ROWS / CODE_ROWS) + half;
            let (codes, at) = part.codes(block).expect("a scan is planned where there are codes");
            let mut distances = [0.0; CODE_ROWS];
            let bound = self.proposals.sorted.bound();
            let mut below = codes.estimate(&self.proposals.cue, at, bound, &mut distances) & wanted;
            self.work.estimated += u64::from(wanted.count_ones());
            spent += codes.layout.block_bytes();
            while below != 0 {
                let bit = below.trailing_zeros();
                below &= below - 1;
                let row = (block * CODE_ROWS) as u32 + bit;
                let distance = distances[bit as usize];
                let is_sure = sure >> (row as usize % BLOCK_ROWS) & 1 == 1;
                if distance < self.proposals.sorted.bound()
                    && (is_sure || self.passes_filter(part, row))
                {
                    self.proposals.sorted.insert(Key::new(distance, row));
                }
            }
        }
        spent
    }

    /// Compares some of the rows that are marked, one by one; the bytes that took.
    pub(super) fn gather(&mut self, part: Part<'_>) -> usize {
        let (_, narrowing) = self.narrowing.as_ref().expect("what is gathered is marked");
        let (marks, mut nth) = (narrowing.marks(), self.view.block());
        let filtered = if narrowing.is_doubtful() { Filtered::No } else { Filtered::Yes };
        let mut rows = Vec::with_capacity(GATHERED_ROWS + BLOCK_ROWS);
        while rows.len() < GATHERED_ROWS && nth < marks.len() {
            let mut word = marks[nth];
            while word != 0 {
                rows.push((nth * BLOCK_ROWS) as u32 + word.trailing_zeros());
                word &= word - 1;
            }
            nth += 1;
        }
        self.view.skip_to(nth);
        let spent = rows.len() * (GATHER_BYTES + size_of_val(&self.query[..]));
        self.compare_each(part, rows.into_iter(), (Tier::Gather, filtered));
        spent
    }

    /// Compares rows wherever they lie. All are asked for before the first is needed.
    fn compare_each(
        &mut self,
        part: Part<'_>,
        rows: impl Iterator<Item = u32> + Clone,
        how: (Tier, Filtered),
    ) {
        rows.clone().for_each(|row| part.prefetch(row));
        for row in rows {
            let scale = || part.columns(row).scale;
            let key = kernels::key(self.metric, &self.query, part.vector(row), scale);
            self.work.compared += 1;
            self.offer(part, row, key, how);
        }
    }
}
