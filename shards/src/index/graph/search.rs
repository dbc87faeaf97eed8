//! The walk through the graph towards a query.
//!
//! A beam of the best nodes seen so far, ordered by estimated distance, is worked off from its
//! front. Reading a node gives its own distance (from its bytes, nearly exact) and estimates for
//! its 32 neighbours (from their codes, relative to the node); those that beat the beam's worst
//! enter it, each by the first of its estimates: a node that stood in the beam for each of its
//! neighbours would take the places of others. Codes of few dimensions are so inexact that a first
//! estimate may lose a node; there it enters again if another puts it among the answers found so
//! far. A node is read once.
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

use super::page::{DEGREE, PageLayout, PageView};
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

    /// The neighbours of a node, the nearest first: those that no other of them stands for, then
    /// the others. A node that is not there has none.
    pub fn neighbours(&self, node: u32) -> impl Iterator<Item = u32> + use<'a> {
        let is_there = (node as usize) < self.nodes();
        let page = is_there.then(|| PageView::new(self.layout, self.page(node)));
        page.into_iter()
            .flat_map(|page| (0..page.degree().min(DEGREE)).map(move |nth| page.neighbour(nth)))
    }

    /// Asks the caches for the numbers of the neighbours of a node.
    pub fn prefetch_neighbours(&self, node: u32) {
        if (node as usize) < self.nodes() {
            let page = PageView::new(self.layout, self.page(node));
            prefetch(page.neighbour_bytes());
        }
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
    /// The share of all nodes that count.
    pub share: f32,
}

/// Pages that a walk reads at most, as a multiple of its beam.
const HOPS_PER_BEAM: usize = 4;
/// The margin of beams up to a width, and what each doubling of that adds: who asks for a wide beam
/// wants what is hard to find.
const MARGIN: f32 = 1.1;
const MARGIN_BEAM: usize = 64;
const MARGIN_PER_DOUBLING: f32 = 0.025;

impl Effort {
    /// What goes with a beam. Only what was read is an answer.
    pub fn with_beam(beam: usize, answers: usize) -> Self {
        let beam = beam.max(answers);
        #[allow(clippy::cast_precision_loss)]
        let doublings = (beam as f32 / MARGIN_BEAM as f32).log2().max(0.0);
        let margin = MARGIN + MARGIN_PER_DOUBLING * doublings;
        Self { beam, margin, hops_max: beam * HOPS_PER_BEAM, answers, share: 1.0 }
    }
}

/// What a search did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Walked {
    pub hops: u32,
    pub estimates: u32,
    /// Near the query far fewer nodes count than elsewhere, so the nearest that do are anywhere.
    pub is_lopsided: bool,
}

/// Nodes that were asked whether they count, and those that do.
#[derive(Debug, Clone, Copy, Default)]
struct Judged {
    asked: u32,
    counting: u32,
}

impl Judged {
    /// Whether so few count that it is no chance, where a share of all does.
    fn is_lopsided(self, share: f32) -> bool {
        #[allow(clippy::cast_precision_loss)]
        let expected = self.asked as f32 * share;
        #[allow(clippy::cast_precision_loss)]
        let counting = self.counting as f32;
        counting + LOPSIDED_CHANCE < LOPSIDED_SHARE * expected
    }
}

/// Hops after which a walk is near the query, and those after which it is judged whether it meets
/// enough nodes that count there.
const HOPS_NEAR: u32 = 12;
const HOPS_JUDGED: u32 = 24;
/// Of the nodes that are expected to count so many do at least, but for so many by chance.
const LOPSIDED_SHARE: f32 = 0.6;
const LOPSIDED_CHANCE: f32 = 4.0;

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
    /// Whether a node may enter the beam again.
    enters_again: bool,
    /// A bit for each node: whether it has entered the beam.
    met: Vec<u64>,
    /// Whether it was read.
    read: Vec<u64>,
    /// Nodes whose bits are set.
    touched: Vec<u32>,
    /// The same of nodes that were asked whether they count.
    asked: Vec<u64>,
    asked_nodes: Vec<u32>,
    judged: Judged,
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
        self.end(found);
        walked
    }

    /// The same where few of the nodes count. Of those near to the query most are never read, so
    /// neighbours that count are taken by their estimates, which are less exact: more of them have
    /// to be compared. A walk that meets far fewer than the share of all lets one expect is given
    /// up: a graph leads to what is near, and what counts is not.
    pub fn run_among(
        &mut self,
        graph: &GraphView<'_>,
        cue: &Cue,
        effort: Effort,
        mut accept: impl FnMut(u32) -> bool,
        found: &mut Vec<Found>,
    ) -> Walked {
        self.begin(graph, cue, effort);
        self.asked.resize(self.nodes.div_ceil(64).max(self.asked.len()), 0);
        let mut walked = Walked::default();
        let mut next = 0;
        while let Some(node) = self.take(graph, &mut next) {
            let page = PageView::new(graph.layout, graph.page(node));
            let (own, row) = page.own();
            let origin = bytes::distance(cue, own, row);
            self.offer(node, origin, &mut accept);
            walked.estimates += page.degree() as u32;
            next = next.min(self.expand_among(page, cue, origin, &mut accept));
            walked.hops += 1;
            if walked.hops == HOPS_NEAR {
                self.judged = Judged::default();
            }
            if walked.hops >= HOPS_JUDGED && self.judged.is_lopsided(effort.share) {
                walked.is_lopsided = true;
                break;
            }
            if walked.hops as usize == effort.hops_max {
                break;
            }
        }
        self.end(found);
        walked
    }

    /// Hands out the best nodes and makes ready for the next walk.
    fn end(&mut self, found: &mut Vec<Found>) {
        found.clear();
        let answers = self.best.iter();
        found.extend(answers.map(|key| Found { distance: key.distance(), node: key.number() }));
        for node in self.touched.drain(..) {
            self.met[node as usize / 64] = 0;
            self.read[node as usize / 64] = 0;
        }
        for node in self.asked_nodes.drain(..) {
            self.asked[node as usize / 64] = 0;
        }
    }

    /// Takes a node among the best, if it counts and is near enough, or corrects its distance.
    #[inline]
    fn offer(&mut self, node: u32, distance: f32, accept: &mut impl FnMut(u32) -> bool) {
        if is_set(&self.asked, node) {
            let keys = &mut self.best.keys;
            if let Some(at) = keys.iter().position(|key| key.number() == node) {
                keys.remove(at);
                self.best.insert(Key::new(distance, node));
                return;
            }
        }
        if distance < self.best.bound() {
            set(&mut self.asked, node);
            self.asked_nodes.push(node);
            self.judged.asked += 1;
            if accept(node) {
                self.judged.counting += 1;
                self.best.insert(Key::new(distance, node));
            }
        }
    }

    fn begin(&mut self, graph: &GraphView<'_>, cue: &Cue, effort: Effort) {
        self.beam.reset(effort.beam);
        self.best.reset(effort.answers);
        self.nodes = graph.nodes();
        self.margin = effort.margin;
        self.enters_again = graph.layout.padded() < EXACT_COORDINATES;
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
        if node as usize >= self.nodes || is_set(&self.read, node) {
            return false;
        }
        let last = self.best.bound();
        !is_set(&self.met, node) || (self.enters_again && last.is_finite() && distance < last)
    }

    /// Estimates the neighbours of a page; the foremost place that one of them took in the beam.
    #[inline]
    fn expand(&mut self, page: PageView<'_>, cue: &Cue, origin: f32) -> usize {
        let mut distances = [0.0; CODE_ROWS];
        let mut below = estimate(page, cue, origin, self.bound(), &mut distances);
        let mut foremost = usize::MAX;
        while below != 0 {
            let nth = below.trailing_zeros() as usize;
            below &= below - 1;
            let (neighbour, distance) = (page.neighbour(nth), distances[nth]);
            if self.may_enter(neighbour, distance) && distance < self.beam.bound() {
                foremost = foremost.min(self.enter(neighbour, distance));
            }
        }
        foremost
    }

    /// The same; neighbours that count may also be taken among the best.
    #[inline]
    fn expand_among(
        &mut self,
        page: PageView<'_>,
        cue: &Cue,
        origin: f32,
        accept: &mut impl FnMut(u32) -> bool,
    ) -> usize {
        let mut distances = [0.0; CODE_ROWS];
        let bound = self.bound().max(self.best.bound());
        let mut below = estimate(page, cue, origin, bound, &mut distances);
        let mut foremost = usize::MAX;
        while below != 0 {
            let nth = below.trailing_zeros() as usize;
            below &= below - 1;
            let (neighbour, distance) = (page.neighbour(nth), distances[nth]);
            if !self.may_enter(neighbour, distance) {
                continue;
            }
            if distance < self.best.bound() && !is_set(&self.asked, neighbour) {
                self.offer(neighbour, distance, accept);
            }
            if distance < self.bound() {
                foremost = foremost.min(self.enter(neighbour, distance));
            }
        }
        foremost
    }

    /// Takes a node into the beam; its place.
    #[inline]
    fn enter(&mut self, node: u32, distance: f32) -> usize {
        self.touched.push(node);
        set(&mut self.met, node);
        self.beam.insert(Key::new(distance, node))
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

/// Estimates the neighbours of a page that lies `origin` away, as bits those below the bound.
#[inline]
fn estimate(
    page: PageView<'_>,
    cue: &Cue,
    origin: f32,
    bound: f32,
    distances: &mut [f32; CODE_ROWS],
) -> u32 {
    let mut sums = [0; CODE_ROWS];
    let mut factors = [0.0; 2 * CODE_ROWS];
    index_kernels().scan_block(page.codes(), &cue.tables, &mut sums);
    index_kernels().widen(page.factors(), &mut factors);
    let estimating = Estimating {
        factors: &factors,
        scale: page.factor_scale(),
        step: cue.table_step,
        base: cue.table_base,
        origin,
        bound,
    };
    index_kernels().estimate(&estimating, &sums, distances)
}

/// Entries that a walk starts from: few, because each costs a hop; more with a wide beam, because
/// what is near to an unusual query may lie in groups that no edge connects.
const ENTRIES_MIN: usize = 3;
const BEAM_PER_ENTRY: usize = 12;
/// Coordinates from which on the first estimate of a node is as good as another.
const EXACT_COORDINATES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Random;

    /// How many of some walks are given up, when nodes count by chance.
    fn given_up(share: f32, own_share: f32) -> usize {
        let mut random = Random::new(9);
        let per_million = (own_share * 1e6) as u32;
        let mut walk = || {
            let mut judged = Judged::default();
            (0..1000).any(|_| {
                judged.asked += 1;
                judged.counting += u32::from(random.chance(per_million));
                judged.is_lopsided(share)
            })
        };
        (0..1000).filter(|_| walk()).count()
    }

    #[test]
    fn walks_are_given_up_where_too_few_count_and_not_by_chance() {
        for share in [0.05, 0.1, 0.2, 0.5, 0.8] {
            let by_chance = given_up(share, share);
            assert!(by_chance < 30, "{share}: {by_chance}");
            let of_few = given_up(share, share / 4.0);
            assert!(of_few > 950, "{share}: {of_few}");
            assert_eq!(given_up(share, 0.0), 1000);
        }
    }
}
