//! Walks and code scans: cheap ways to a few rows that are worth comparing.

use super::Recall;
use super::view::Method;
use crate::episode::{CodeBits, Conditions, Effort, Metric, Tier};
use crate::index::calibration::answers;
use crate::index::cue::Cue;
use crate::index::graph::search::{Effort as Walking, Found, Search};
use crate::index::projection::{Projection, ProjectionKey};
use crate::index::simd::{CODE_ROWS, prefetch};
use crate::index::sorted::{Key, Sorted};
use crate::kernels::kernels;
use crate::limits::{BLOCK_ROWS, RECALL_BEAM_MAX, RECALL_TARGET_USUAL};
use crate::space::{Part, TailBuckets};

/// The most that a selective condition widens a beam by.
const WIDENING_MAX: f32 = 4.0;
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

/// Buckets that are probed at most, and the rows that are to be seen in them: a share of all, and
/// at least so many.
const PROBES_MAX: usize = 384;
const PROBED_SHARE: usize = 16;
const PROBED_ROWS_MIN: usize = 16_000;
/// What finding the nearest buckets is taken for.
const PROBE_BYTES: usize = 256 << 10;
/// Bytes that looking at the conditions of a block is taken for.
const LOOK_BYTES: usize = 1 << 10;

/// Memory that recalls of a shard use in turn.
#[derive(Debug, Default)]
pub struct Scratch {
    search: Search,
    found: Vec<Found>,
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

impl Conditions {
    /// Whether a row fulfils them.
    pub(super) fn admit(&self, part: Part<'_>, row: u32) -> bool {
        let columns = part.columns(row);
        self.since_us.is_none_or(|since| columns.happened_at_us >= since)
            && self.until_us.is_none_or(|until| columns.happened_at_us <= until)
            && self.confidence_min.is_none_or(|least| columns.confidence >= least)
            && self
                .filter
                .as_ref()
                .is_none_or(|filter| part.body(row).is_ok_and(|body| filter.matches(body.metadata)))
    }
}

impl Recall {
    /// Walks through the graph of a section; the bytes that took.
    pub(super) fn walk(&mut self, part: Part<'_>, scratch: &mut Scratch) -> usize {
        let Part::Section(section) = part else { unreachable!("tails have no graph") };
        let (index, columns) = section.index().expect("a walk is planned where there is one");
        let graph = index.graph(columns);
        self.proposals.prepare(&index.projection, &self.request.cue);
        let planned = self.view.current().expect("a part is under way");
        let k = self.request.k;
        let answers = answers(k);
        let calibration = section.calibration();
        let usual = match self.request.effort {
            Effort::Beam(beam) => beam,
            Effort::Target(recall) => calibration.beam(recall, k),
            Effort::Usual | Effort::Exact => calibration.beam(RECALL_TARGET_USUAL, k),
        };
        let widened = usual as f32 * planned.widening.min(WIDENING_MAX);
        let beam = (widened as usize).min(RECALL_BEAM_MAX);
        let (conditions, snapshot) = (&self.request.conditions, self.view.snapshot);
        let is_free = *conditions == Conditions::default();
        let accept = |row: u32| {
            part.deaths().died(row) > snapshot && (is_free || conditions.admit(part, row))
        };
        let walking = Walking::with_beam(beam, answers);
        let Scratch { search, found } = scratch;
        let walked = search.run(&graph, &self.proposals.cue, walking, accept, found);
        self.work.beam = self.work.beam.max(walking.beam);
        self.work.hops += u64::from(walked.hops);
        self.work.estimated += u64::from(walked.estimates);
        if found.len() < k.min(section.rows() as usize) {
            // The graph does not lead to enough of what may be found.
            self.view.replan(Method::Codes, 0);
            return walked.hops as usize * graph.layout.bytes();
        }
        self.view.leave_part();
        self.compare_each(part, found.iter().map(|found| found.node), Tier::Graph);
        walked.hops as usize * graph.layout.bytes()
    }

    /// Scans the nearest buckets of a tail, some at a time; the bytes that took. The rows that are
    /// in none yet are scanned afterwards.
    pub(super) fn probe_buckets(&mut self, part: Part<'_>) -> usize {
        let Part::Tail(tail, arena) = part else { unreachable!("sections have no buckets") };
        let buckets = tail.buckets().expect("a probe is planned where there are buckets");
        let projection = part.code_projection().expect("buckets have codes");
        self.proposals.prepare(projection, &self.request.cue);
        let mut spent = 0;
        if !std::mem::replace(&mut self.proposals.is_open, true) {
            self.proposals.sorted.reset(proposed(self.request.k, buckets.layout().bits));
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
                    && part.deaths().died(row) > self.view.snapshot;
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
        self.compare_each(part, sorted.iter().map(Key::number), Tier::Codes);
        self.proposals.sorted = sorted;
    }

    /// Estimates the next block of rows; the bytes that took.
    pub(super) fn scan_codes(&mut self, part: Part<'_>) -> usize {
        let projection = part.code_projection().expect("a scan is planned where there are codes");
        self.proposals.prepare(projection, &self.request.cue);
        if !std::mem::replace(&mut self.proposals.is_open, true) {
            let bits = part.code_bits().expect("a scan is planned where there are codes");
            self.proposals.sorted.reset(proposed(self.request.k, bits));
        }
        let (nth, is_last) = (self.view.block(), self.view.is_last_block());
        let rows = self.candidates(part, nth);
        self.view.leave_block();
        let mut spent = LOOK_BYTES;
        if rows != 0 && (nth + 1) * BLOCK_ROWS <= part.coded_rows() as usize {
            spent += self.estimate_rows(part, nth, rows);
        } else if rows != 0 {
            self.compare_rows(part, nth, rows);
            spent += BLOCK_ROWS * self.query.len() * size_of::<f32>();
        }
        if is_last {
            self.compare_proposals(part);
        }
        spent
    }

    /// Estimates some rows of a block that is coded.
    fn estimate_rows(&mut self, part: Part<'_>, nth: usize, rows: u64) -> usize {
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
                if distance < self.proposals.sorted.bound() && self.passes_filter(part, row) {
                    self.proposals.sorted.insert(Key::new(distance, row));
                }
            }
        }
        spent
    }

    /// Compares the rows of a time range one by one; the bytes that took.
    pub(super) fn gather(&mut self, part: Part<'_>) -> usize {
        let Part::Section(section) = part else { unreachable!("tails have no time order") };
        let rows = section.rows_within(&self.request.conditions).expect("as it was planned");
        self.view.leave_part();
        let snapshot = self.view.snapshot;
        let least = self.request.conditions.confidence_min;
        let may_be_found = |row: &u32| {
            *row < section.rows()
                && part.deaths().died(*row) > snapshot
                && least.is_none_or(|least| part.columns(*row).confidence >= least)
        };
        let rows: Vec<u32> = rows.iter().copied().filter(may_be_found).collect();
        let spent = rows.len() * self.query.len() * size_of::<f32>();
        self.compare_each(part, rows.into_iter(), Tier::Exact);
        spent
    }

    /// Compares rows wherever they lie. All are asked for before the first is needed.
    fn compare_each(
        &mut self,
        part: Part<'_>,
        rows: impl Iterator<Item = u32> + Clone,
        tier: Tier,
    ) {
        rows.clone().for_each(|row| part.prefetch(row));
        for row in rows {
            let vector = part.vector(row);
            let key = match self.metric {
                Metric::Cosine => kernels().dot(&self.query, vector) * part.columns(row).scale,
                Metric::Dot => kernels().dot(&self.query, vector),
                Metric::L2 => -kernels().l2(&self.query, vector),
            };
            self.work.compared += 1;
            self.offer(part, row, key, tier);
        }
    }
}
