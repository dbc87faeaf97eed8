//! The walk through the graph towards a query.
//!
//! A beam of the best nodes seen so far, ordered by estimated distance, is worked off from its
//! front. Reading a node gives its own distance (from its bytes, nearly exact) and estimates for
//! its 32 neighbours (from their codes, relative to the node); those that beat the beam's worst
//! enter it. A node that did so enters again, by its estimate from another neighbour, only if that
//! puts it among the answers found so far. If all were let in again, the nodes with many neighbours
//! would take the places of others; if none, a first estimate that was too large would lose a node,
//! and those of few dimensions often are. A node is read once.
//!
//! The walk ends when all of the beam has been read, when the next of it lies farther than a margin
//! behind the last of the answers found so far, or after a bounded number of hops. The margin ends
//! easy walks early, so that hard ones may have a wide beam at the same cost on average
//! (distance-adaptive beam search; Al-Jazzazi, Diwan, Gou et al. 2025).
//!
//! What a hop costs is one dependent miss of a page. The pages of the next best few are therefore
//! asked for while the present one is scanned; a wrong guess costs bandwidth, not time. There are
//! no upper layers: the codes of some hundred nodes are scanned to find where to begin, which costs
//! no more than one miss.

use super::page::{PageLayout, PageView};
use crate::index::bytes;
use crate::index::codes::FlatCodes;
use crate::index::cue::Cue;
use crate::index::simd::{CODE_ROWS, Estimating, index_kernels, prefetch};
use crate::index::sorted::{Key, Sorted};

/// A graph as a search reads it.
#[derive(Debug, Clone, Copy)]
pub struct GraphView<'a> {
    pub layout: PageLayout,
    /// A page for each node.
    pub pages: &'a [u8],
    /// Nodes where a walk may begin, and their codes.
    pub entries: &'a [u32],
    pub entry_codes: FlatCodes<'a>,
}

impl<'a> GraphView<'a> {
    pub fn nodes(&self) -> usize {
        self.pages.len() / self.layout.bytes()
    }

    #[inline]
    fn page(&self, node: u32) -> &'a [u8] {
        let bytes = self.layout.bytes();
        &self.pages[node as usize * bytes..][..bytes]
    }
}

/// How far a search goes.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Width of the beam.
    pub beam: usize,
    /// What lies farther than this multiple of the squared distance of the last answer is not read.
    pub margin: f32,
    /// Pages to read at most.
    pub hops_max: usize,
    /// Best nodes to answer.
    pub answers: usize,
}

/// Pages that a walk reads at most, as a multiple of its beam.
const HOPS_PER_BEAM: usize = 3;
/// The margin of beams up to a width, and what each doubling of that adds: who asks for a wide beam
/// wants what is hard to find.
const MARGIN: f32 = 1.1;
const MARGIN_BEAM: usize = 128;
const MARGIN_PER_DOUBLING: f32 = 0.025;

impl Effort {
    /// What goes with a beam. Only what was read is an answer.
    pub fn with_beam(beam: usize, answers: usize) -> Self {
        let beam = beam.max(2 * answers);
        #[allow(clippy::cast_precision_loss)]
        let doublings = (beam as f32 / MARGIN_BEAM as f32).log2().max(0.0);
        let margin = MARGIN + MARGIN_PER_DOUBLING * doublings;
        Self { beam, margin, hops_max: beam * HOPS_PER_BEAM, answers }
    }
}

/// What a search did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Walked {
    pub hops: u32,
    pub estimates: u32,
}

/// A node and its squared distance from the query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    pub distance: f32,
    pub node: u32,
}

const EXPANDED: u64 = 1 << 31;
const PREFETCHED: u64 = 1 << 30;
const NODE: u64 = PREFETCHED - 1;
/// Pages of the beam's front that are asked for ahead of their turn.
const AHEAD: usize = 4;

/// The memory of searches, used again and again.
#[derive(Debug, Default)]
pub struct Search {
    beam: Sorted,
    best: Sorted,
    nodes: usize,
    margin: f32,
    /// A bit for each node: whether it has entered the beam.
    met: Vec<u64>,
    /// Whether it was read.
    read: Vec<u64>,
    /// Nodes whose bits are set.
    touched: Vec<u32>,
}

impl Search {
    /// Takes a node for one that is not there, in the next walk through a graph of so many nodes.
    pub fn hide(&mut self, node: u32, nodes: usize) {
        self.make_room(nodes);
        self.touched.push(node);
        set(&mut self.read, node);
    }

    /// Finds nodes near the query: the best first, as far as `accept` takes them.
    pub fn run(
        &mut self,
        graph: &GraphView<'_>,
        cue: &Cue,
        effort: Effort,
        mut accept: impl FnMut(u32) -> bool,
        found: &mut Vec<Found>,
    ) -> Walked {
        self.begin(graph, cue, effort);
        let mut walked = Walked::default();
        let mut next = 0;
        while let Some(node) = self.take(graph, &mut next) {
            let page = PageView::new(graph.layout, graph.page(node));
            let (own, row) = page.own();
            let origin = bytes::distance(cue, own, row);
            if origin < self.best.bound() && accept(node) {
                self.best.insert(Key::new(origin, node));
            }
            walked.estimates += page.degree() as u32;
            next = next.min(self.expand(page, cue, origin));
            walked.hops += 1;
            if walked.hops as usize == effort.hops_max {
                break;
            }
        }
        found.clear();
        let answers = self.best.iter();
        found.extend(answers.map(|key| Found { distance: key.distance(), node: key.number() }));
        for node in self.touched.drain(..) {
            self.met[node as usize / 64] = 0;
            self.read[node as usize / 64] = 0;
        }
        walked
    }

    fn begin(&mut self, graph: &GraphView<'_>, cue: &Cue, effort: Effort) {
        self.beam.reset(effort.beam);
        self.best.reset(effort.answers);
        self.nodes = graph.nodes();
        self.margin = effort.margin;
        self.make_room(self.nodes);
        let mut distances = [0.0; CODE_ROWS];
        for (nth, entries) in graph.entries.chunks(CODE_ROWS).enumerate() {
            let bound = self.beam.bound();
            let mut below = graph.entry_codes.estimate(cue, nth, bound, &mut distances);
            while below != 0 {
                let nth = below.trailing_zeros() as usize;
                below &= below - 1;
                let distance = distances[nth];
                if let Some(&entry) = entries.get(nth)
                    && self.may_enter(entry, distance)
                    && distance < self.beam.bound()
                {
                    self.beam.insert(Key::new(distance, entry));
                }
            }
        }
        self.beam.keys.truncate(ENTRIES_MIN.max(effort.beam / BEAM_PER_ENTRY));
        for nth in 0..self.beam.keys.len() {
            let node = self.beam.keys[nth].number();
            self.touched.push(node);
            set(&mut self.met, node);
        }
    }

    fn make_room(&mut self, nodes: usize) {
        self.met.resize(nodes.div_ceil(64).max(self.met.len()), 0);
        self.read.resize(self.met.len(), 0);
    }

    /// What lies farther is not worth reading.
    fn bound(&self) -> f32 {
        self.beam.bound().min(self.best.bound() * self.margin)
    }

    /// The best node of the beam that was not read, if there is one. The pages of those behind it
    /// are asked for.
    #[inline]
    fn take(&mut self, graph: &GraphView<'_>, next: &mut usize) -> Option<u32> {
        let mut taken = None;
        let mut ahead = 0;
        for at in *next..self.beam.keys.len() {
            let key = self.beam.keys[at].0;
            if key & EXPANDED != 0 {
                continue;
            }
            let node = (key & NODE) as u32;
            if is_set(&self.read, node) {
                self.beam.keys[at].0 |= EXPANDED;
                continue;
            }
            if taken.is_none() {
                if self.beam.keys[at].distance() > self.best.bound() * self.margin {
                    return None;
                }
                self.beam.keys[at].0 |= EXPANDED;
                set(&mut self.read, node);
                taken = Some(node);
                *next = at + 1;
                continue;
            }
            if key & PREFETCHED == 0 {
                self.beam.keys[at].0 |= PREFETCHED;
                prefetch(graph.page(node));
            }
            ahead += 1;
            if ahead == AHEAD {
                break;
            }
        }
        taken
    }

    /// Whether a node may enter the beam. A damaged page may name one that is not there.
    #[inline]
    fn may_enter(&self, node: u32, distance: f32) -> bool {
        let last = self.best.bound();
        (node as usize) < self.nodes
            && !is_set(&self.read, node)
            && (!is_set(&self.met, node) || (last.is_finite() && distance < last))
    }

    /// Estimates the neighbours of a page; the foremost place that one of them took in the beam.
    #[inline]
    fn expand(&mut self, page: PageView<'_>, cue: &Cue, origin: f32) -> usize {
        let mut sums = [0; CODE_ROWS];
        let mut distances = [0.0; CODE_ROWS];
        let mut factors = [0.0; 2 * CODE_ROWS];
        index_kernels().scan_block(page.codes(), &cue.tables, &mut sums);
        index_kernels().widen(page.factors(), &mut factors);
        let estimating = Estimating {
            factors: &factors,
            scale: page.factor_scale(),
            step: cue.table_step,
            base: cue.table_base,
            origin,
            bound: self.bound(),
        };
        let mut below = index_kernels().estimate(&estimating, &sums, &mut distances);
        let mut foremost = usize::MAX;
        while below != 0 {
            let nth = below.trailing_zeros() as usize;
            below &= below - 1;
            let neighbour = page.neighbour(nth);
            let distance = distances[nth];
            if self.may_enter(neighbour, distance) && distance < self.beam.bound() {
                self.touched.push(neighbour);
                set(&mut self.met, neighbour);
                foremost = foremost.min(self.beam.insert(Key::new(distance, neighbour)));
            }
        }
        foremost
    }
}

#[inline]
fn is_set(bits: &[u64], node: u32) -> bool {
    bits[node as usize / 64] & 1 << (node % 64) != 0
}

#[inline]
fn set(bits: &mut [u64], node: u32) {
    bits[node as usize / 64] |= 1 << (node % 64);
}

/// Entries that a walk starts from: few, because each costs a hop; more with a wide beam, because
/// what is near to an unusual query may lie in groups that no edge connects.
const ENTRIES_MIN: usize = 3;
const BEAM_PER_ENTRY: usize = 24;
