//! Walks and code scans: cheap ways to a few rows that are worth comparing.

use super::Recall;
use super::view::Method;
use crate::episode::{Conditions, Effort, Metric, Tier};
use crate::index::cue::Cue;
use crate::index::graph::search::{Effort as Walking, Found, Search};
use crate::index::projection::{Projection, ProjectionKey};
use crate::index::simd::{CODE_ROWS, prefetch};
use crate::index::sorted::{Key, Sorted};
use crate::kernels::kernels;
use crate::limits::{BLOCK_ROWS, RECALL_BEAM_MAX};
use crate::space::Part;

/// Width of a beam where nobody has measured what a section needs.
const BEAM_USUAL: usize = 80;
/// The most that a selective condition widens a beam by.
const WIDENING_MAX: f32 = 4.0;
/// Pages that a walk reads at most, as a multiple of its beam.
const HOPS_PER_BEAM: usize = 3;
/// Rows that a walk proposes beyond those asked for: distances from bytes are nearly exact.
const SPARE_SHARE: usize = 3;
/// Rows that codes propose for each that is asked for, and at least: they are less exact.
const PROPOSED_PER_RESULT: usize = 8;
const PROPOSED_MIN: usize = 96;
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
}

impl Proposals {
    pub(super) fn clear(&mut self) {
        self.is_open = false;
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
    pub(super) fn walk(&mut self, metric: Metric, part: Part<'_>, scratch: &mut Scratch) -> usize {
        let Part::Section(section) = part else { unreachable!("tails have no graph") };
        let (index, columns) = section.index().expect("a walk is planned where there is one");
        let graph = index.graph(columns);
        self.proposals.prepare(&index.projection, &self.request.cue);
        let planned = self.view.current().expect("a part is under way");
        let k = self.request.k;
        let answers = k + (k / SPARE_SHARE).max(4);
        let usual = match self.request.effort {
            Effort::Beam(beam) => beam,
            Effort::Usual | Effort::Exact => BEAM_USUAL,
        };
        let widened = usual as f32 * planned.widening.min(WIDENING_MAX);
        let beam = (widened as usize).max(answers).min(RECALL_BEAM_MAX.max(answers));
        let (conditions, snapshot) = (&self.request.conditions, self.view.snapshot);
        let is_free = *conditions == Conditions::default();
        let accept = |row: u32| {
            part.deaths().died(row) > snapshot && (is_free || conditions.admit(part, row))
        };
        let walking = Walking { beam, hops_max: beam * HOPS_PER_BEAM, answers };
        let Scratch { search, found } = scratch;
        let walked = search.run(&graph, &self.proposals.cue, walking, accept, found);
        self.work.hops += u64::from(walked.hops);
        self.work.estimated += u64::from(walked.estimates);
        if found.len() < k.min(section.rows() as usize) {
            // The graph does not lead to enough of what may be found.
            self.view.replan(Method::Codes);
            return walked.hops as usize * graph.layout.bytes();
        }
        self.view.leave_part();
        self.compare_each(metric, part, found.iter().map(|found| found.node), Tier::Graph);
        walked.hops as usize * graph.layout.bytes()
    }

    /// Estimates the next block of rows; the bytes that took.
    pub(super) fn scan_codes(&mut self, metric: Metric, part: Part<'_>) -> usize {
        let projection = part.code_projection().expect("a scan is planned where there are codes");
        self.proposals.prepare(projection, &self.request.cue);
        if !std::mem::replace(&mut self.proposals.is_open, true) {
            let proposed = (PROPOSED_PER_RESULT * self.request.k).max(PROPOSED_MIN);
            self.proposals.sorted.reset(proposed);
        }
        let (nth, is_last) = (self.view.block(), self.view.is_last_block());
        let rows = self.candidates(part, nth);
        self.view.leave_block();
        let mut spent = LOOK_BYTES;
        if rows != 0 && (nth + 1) * BLOCK_ROWS <= part.coded_rows() as usize {
            spent += self.estimate_rows(part, nth, rows);
        } else if rows != 0 {
            self.compare_rows(metric, part, nth, rows);
            spent += BLOCK_ROWS * self.query.len() * size_of::<f32>();
        }
        if is_last {
            self.proposals.is_open = false;
            let sorted = std::mem::take(&mut self.proposals.sorted);
            self.compare_each(metric, part, sorted.iter().map(Key::number), Tier::Codes);
            self.proposals.sorted = sorted;
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
    pub(super) fn gather(&mut self, metric: Metric, part: Part<'_>) -> usize {
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
        self.compare_each(metric, part, rows.into_iter(), Tier::Exact);
        spent
    }

    /// Compares rows wherever they lie. All are asked for before the first is needed.
    fn compare_each(
        &mut self,
        metric: Metric,
        part: Part<'_>,
        rows: impl Iterator<Item = u32> + Clone,
        tier: Tier,
    ) {
        for row in rows.clone() {
            prefetch(zerocopy::IntoBytes::as_bytes(part.vector(row)));
        }
        for row in rows {
            let vector = part.vector(row);
            let key = match metric {
                Metric::Cosine => kernels().dot(&self.query, vector) * part.columns(row).scale,
                Metric::Dot => kernels().dot(&self.query, vector),
                Metric::L2 => -kernels().l2(&self.query, vector),
            };
            self.work.compared += 1;
            self.offer(part, row, key, tier);
        }
    }
}
