//! The episodes of a space as the nodes of a graph.
//!
//! Numbers are given part by part:
//!
//! | Numbers | Nodes |
//! |---|---|
//! | for each section, the oldest first | its rows, then targets of links that are no rows of it |
//! | then | the rows of the frozen tail |
//! | one | all targets that are nowhere |
//! | from there, every second | the rows of the active tail |
//! | the others | ids that other shards have, as they come up |
//!
//! So the edges of the oldest section, which are nearly all, lead to numbers as they lie in the
//! file, those of the next one to numbers that are so much higher, and both tails can grow. The
//! numbers hold for an [epoch](Space::epoch): until rows move to another part.
//!
//! An episode may have several numbers: that of a row that died when it was stored again, those by
//! which sections know it that do not have it. All but that of its live row stand for it, and are
//! looked up by its id when mass has come to them.

use super::fresh::{Fresh, FreshUser, SLAB_FIRST};
use super::part::{Part, RowAt};
use super::section::TRIED_BLOCKS;
use super::{Home, Section, Space, Tail};
use crate::arena::Arena;
use crate::episode::Metric;
use crate::index::graph::search::GraphView;
use crate::links::SectionLinks;
use crate::spread::csr::Csr;
use crate::spread::graph::{Graph, Links, SIMILAR_MAX, Similar, UNLAID, Visit, prefetch_edges};
use crate::spread::link::{Edge, KIND_SIMILAR, Scale, Weight};
use crate::spread::operator::Operator;
use crate::spread::outlook::Known;
use crate::spread::predictor::Prediction;
use crate::spread::prefetch::prefetch;
use crate::spread::push::Work;

/// A section in the graph.
#[derive(Debug, Clone, Copy)]
struct Numbered<'a> {
    section: &'a Section,
    links: Option<SectionLinks<'a>>,
    csr: Csr<'a>,
    graph: Option<GraphView<'a>>,
    first: u32,
    rows: u32,
    /// One above its last number.
    end: u32,
    /// All rows live, and have the links that the file says.
    is_as_written: bool,
}

impl<'a> Numbered<'a> {
    fn new(section: &'a Section, first: u32) -> Self {
        let links = section.links();
        let csr = links.map(|links| links.csr()).unwrap_or_default();
        let far = links.map_or(0, |links| links.far_count());
        let rows = section.rows();
        let is_as_written = section.deaths().dead() + section.deaths().hidden() == 0
            && section.rows_relinked() == 0;
        let graph = section.index().map(|(index, columns)| index.graph(columns));
        Self { section, links, csr, graph, first, rows, end: first + rows + far, is_as_written }
    }

    /// The row of a number, if it is one.
    fn row(&self, node: u32) -> Option<u32> {
        Some(node - self.first).filter(|row| *row < self.rows)
    }

    /// The graph that knows what is similar to a node, and the row it is there.
    fn similar_of(&self, node: u32) -> Option<(&GraphView<'a>, u32)> {
        Some((self.graph.as_ref()?, self.row(node)?))
    }

    fn is_as_written(&self, row: u32) -> bool {
        self.is_as_written || self.section.deaths().is_alive(row) && !self.section.relinked.has(row)
    }
}

/// See the top of the file. It is made for a stretch of work in which nothing changes.
#[derive(Debug)]
pub struct Associations<'a> {
    space: &'a Space,
    arena: &'a Arena,
    fresh: &'a mut Fresh,
    home: Home,
    sections: [Option<Numbered<'a>>; 2],
    /// Of the oldest section, where nearly all nodes are: its rows, if all are as they were
    /// written, and their edges.
    plain_rows: u32,
    plain: Csr<'a>,
    frozen: Option<(u32, &'a Tail)>,
    nowhere: u32,
}

impl<'a> Associations<'a> {
    fn new(space: &'a Space, arena: &'a Arena, fresh: &'a mut Fresh, home: Home) -> Self {
        let mut first = 0;
        let mut oldest_first = space.sections.iter().rev();
        let sections = [(); 2].map(|()| {
            let numbered = Numbered::new(oldest_first.next()?, first);
            first = numbered.end;
            Some(numbered)
        });
        let plain = sections[0].filter(|oldest: &Numbered<'_>| oldest.is_as_written);
        let (plain_rows, plain) = plain.map_or_else(Default::default, |own| (own.rows, own.csr));
        let frozen = space.frozen.as_ref().map(|frozen| (first, frozen));
        let nowhere = first + frozen.map_or(0, |(_, frozen)| frozen.deaths.rows());
        Self { space, arena, fresh, home, sections, plain_rows, plain, frozen, nowhere }
    }

    fn section(&self, node: u32) -> Option<&Numbered<'a>> {
        self.sections.iter().flatten().find(|section| node < section.end)
    }

    /// The row that a number was given for.
    fn row(&self, node: u32) -> Option<(Part<'a>, u32)> {
        if let Some(numbered) = self.section(node) {
            return Some((Part::Section(numbered.section), numbered.row(node)?));
        }
        if node < self.nowhere {
            let (first, frozen) = self.frozen?;
            return Some((Part::Tail(frozen, self.arena), node - first));
        }
        let growing = node - self.nowhere;
        let row = growing.checked_sub(1).filter(|nth| nth.is_multiple_of(2))? / 2;
        let tail = Part::Tail(&self.space.tail, self.arena);
        (row < tail.rows()).then_some((tail, row))
    }

    /// The live row that a number was given for.
    #[inline]
    pub fn live_row(&self, node: u32) -> Option<(Part<'a>, u32)> {
        match &self.sections[0] {
            Some(oldest) if node < self.plain_rows => Some((Part::Section(oldest.section), node)),
            _ => self.live_row_of_any(node),
        }
    }

    /// Whether a row links to anything, be it there or not.
    pub fn is_linked(&self, part: Part<'_>, row: u32) -> bool {
        part.associations_count(row, &self.space.overlays) > 0
    }

    fn live_row_of_any(&self, node: u32) -> Option<(Part<'a>, u32)> {
        self.row(node).filter(|(part, row)| part.deaths().is_alive(*row))
    }

    pub(crate) fn space(&self) -> &'a Space {
        self.space
    }

    pub fn metric(&self) -> Metric {
        self.space.settings.metric
    }

    /// The number of a row.
    fn node(&self, at: RowAt) -> Option<u32> {
        let mut sections = self.sections.iter().flatten();
        if let Some(section) = sections.find(|numbered| numbered.section.number == at.part) {
            return Some(section.first + at.row);
        }
        if let Some((first, frozen)) = self.frozen
            && frozen.number == at.part
        {
            return Some(first + at.row);
        }
        (self.space.tail.number == at.part).then(|| self.nowhere + 1 + 2 * at.row)
    }

    /// The number of the live episode with an id.
    pub fn find(&self, id: &[u8]) -> Option<u32> {
        self.node(self.space.find(self.arena, id)?)
    }

    /// The numbers of the live episodes with these ids.
    pub fn find_all(&self, ids: &[&[u8]]) -> Vec<Option<u32>> {
        let mut nodes = vec![None; ids.len()];
        let hashes: Vec<u64> = ids.iter().map(|id| super::id_hash(id)).collect();
        let tails = std::iter::once(&self.space.tail).chain(self.frozen.map(|(_, tail)| tail));
        for tail in tails.filter(|tail| tail.rows.count() > 0) {
            for (node, id) in nodes.iter_mut().zip(ids).filter(|(node, _)| node.is_none()) {
                let row = tail.find(self.arena, id);
                *node = row.and_then(|row| self.node(RowAt { part: tail.number, row }));
            }
        }
        for numbered in self.sections.iter().rev().flatten() {
            numbered.section.find_all(ids, &hashes, &mut nodes, |row| numbered.first + row);
        }
        nodes
    }

    /// The id that a number stands for; `None` for what is nowhere, and where it cannot be read.
    pub fn id(&self, node: u32) -> Option<&[u8]> {
        if let Some((part, row)) = self.row(node) {
            return part.body(row).ok().map(|body| body.id);
        }
        if let Some(numbered) = self.section(node) {
            return Some(numbered.links?.far(node - numbered.first - numbered.rows)?.1);
        }
        let remote = node.checked_sub(self.nowhere + 2).filter(|nth| nth.is_multiple_of(2))? / 2;
        self.fresh.remote_id(remote)
    }

    /// The name of the kind of a link; empty for none.
    pub fn kind(&self, source: u32, kind: u16) -> &[u8] {
        if kind == KIND_SIMILAR {
            return b"similar";
        }
        let at_rest = self.section(source).filter(|numbered| {
            numbered.row(source).is_some_and(|row| !numbered.section.relinked.has(row))
        });
        let name = match at_rest {
            Some(numbered) => numbered.links.and_then(|links| links.kind(kind)),
            None => self.fresh.kind_name(kind),
        };
        name.unwrap_or_default()
    }

    /// What is known of a push from these seeds, if it is to end in time or is one of those that
    /// are learned from, and how many edges it may visit then.
    pub fn look_ahead(
        &mut self,
        operator: &Operator,
        seeds: &[(u32, f32)],
        edges_max: u64,
        within_ns: Option<u64>,
    ) -> Option<(Known, u64)> {
        if !self.fresh.is_sampled() && within_ns.is_none() {
            return None;
        }
        let known = Known::new(self, operator, seeds, edges_max);
        let edges = match within_ns {
            Some(ns) => self.fresh.predictor.edges_within(&known, ns),
            None => edges_max,
        };
        Some((known, edges))
    }

    /// Whether there was no room for links that are in no section.
    pub fn was_full(&self) -> bool {
        self.fresh.was_full()
    }

    /// Which number now stands for the episode that this one does.
    #[cold]
    fn look_up(&mut self, node: u32) -> Visit {
        if let Some(to) = self.fresh.moved(node)
            && self.live_row(to).is_some()
        {
            return Visit::Elsewhere(to);
        }
        let Some(id) = self.id(node) else { return SINK };
        if !self.home.owns(self.space.number, id) {
            self.fresh.note_elsewhere(node);
            return Visit::Remote;
        }
        let Some(to) = self.find(id) else { return SINK };
        self.fresh.note_moved(node, to);
        Visit::Elsewhere(to)
    }

    /// A node that is not just a row as it was written.
    #[cold]
    fn visit_slowly(&mut self, node: u32) -> Visit {
        if self.fresh.is_elsewhere(node) {
            return Visit::Remote;
        }
        if node == self.nowhere {
            return SINK;
        }
        let Some((part, row)) = self.live_row(node) else { return self.look_up(node) };
        let at = RowAt { part: part.number(), row };
        if let Some((scale, start)) = self.fresh.laid(at, self.space.added) {
            return Visit::Here { scale, start };
        }
        match part.associations_count(row, &self.space.overlays) {
            0 => SINK,
            fan => {
                let ln_fan = f64::from(fan).ln() as f32;
                Visit::Here { scale: Scale { fan, inverse_sum: 0.0, ln_fan }, start: UNLAID }
            }
        }
    }

    /// The links of a row as edges, in an order that depends on nothing but them, and whether some
    /// lead nowhere.
    fn edges(&mut self, part: Part<'a>, row: u32) -> (Vec<Edge>, bool) {
        let Ok(records) = part.links(row, &self.space.overlays) else { return (Vec::new(), false) };
        let mut edges: Vec<(u64, Edge)> = Vec::new();
        let mut leads_nowhere = false;
        for (weight, target, kind) in records.associations() {
            let kind = self.fresh.kind(kind);
            let weight = Weight::clamped(weight);
            let (target, order) = if !self.home.owns(self.space.number, target) {
                let nth = self.fresh.remote(target);
                (self.nowhere + 2 + 2 * nth, super::id_hash(target) | ABSENT)
            } else if let Some(node) = self.find(target) {
                (node, u64::from(node))
            } else {
                leads_nowhere = true;
                (self.nowhere, super::id_hash(target) | ABSENT)
            };
            edges.push((order, Edge { target, weight, kind }));
        }
        // Of those alike, which old bodies may have, the last one counts.
        edges.reverse();
        edges.sort_by_key(|(order, edge)| (*order, edge.kind));
        edges.dedup_by_key(|(order, edge)| (*order, edge.kind));
        (edges.into_iter().map(|(_, edge)| edge).collect(), leads_nowhere)
    }
}

/// Set in the order of targets without a row: they come last.
const ABSENT: u64 = 1 << 63;

/// A node that keeps what comes to it.
const SINK: Visit =
    Visit::Here { scale: Scale { fan: 0, inverse_sum: 0.0, ln_fan: 0.0 }, start: 0 };

impl Graph for Associations<'_> {
    fn nodes(&self) -> u32 {
        let growing = self.space.tail.deaths.rows().max(self.fresh.remote_ids());
        self.nowhere + 3 + 2 * growing
    }

    #[inline]
    fn visit(&mut self, node: u32) -> Visit {
        if node < self.plain_rows {
            return self.plain.visit_row(node);
        }
        for numbered in self.sections.iter().flatten() {
            if let Some(row) = node.checked_sub(numbered.first)
                && row < numbered.rows
                && numbered.is_as_written(row)
            {
                return numbered.csr.visit_row(row);
            }
        }
        self.visit_slowly(node)
    }

    #[inline]
    fn is_here(&self, node: u32) -> bool {
        node < self.plain_rows
            || !self.fresh.is_elsewhere(node)
                && (node == self.nowhere || self.live_row(node).is_some())
    }

    #[inline]
    fn links(&self, node: u32, start: u32, fan: u32) -> Links<'_> {
        if node < self.plain_rows {
            return Links { edges: self.plain.place(start, fan), offset: 0 };
        }
        if start >= SLAB_FIRST {
            return Links { edges: self.fresh.edges(start, fan), offset: 0 };
        }
        match self.section(node) {
            Some(numbered) => {
                Links { edges: numbered.csr.place(start, fan), offset: numbered.first }
            }
            None => Links { edges: &[], offset: 0 },
        }
    }

    fn lay_out(&mut self, node: u32) -> (Scale, u32) {
        let Some((part, row)) = self.live_row(node) else { return (Scale::default(), 0) };
        let (edges, leads_nowhere) = self.edges(part, row);
        let at = RowAt { part: part.number(), row };
        let nowhere_at = leads_nowhere.then_some(self.space.added);
        self.fresh.lay_out(at, &edges, nowhere_at).unwrap_or_default()
    }

    /// Rows of a section with a graph do.
    fn has_similar(&self, node: u32) -> bool {
        let similar = self.section(node).and_then(|numbered| numbered.similar_of(node));
        similar.inspect(|(graph, row)| graph.prefetch_neighbours(*row)).is_some()
    }

    fn similar(&self, node: u32) -> Similar {
        let mut similar = Similar::default();
        if let Some(numbered) = self.section(node)
            && let Some((graph, row)) = numbered.similar_of(node)
        {
            let rows = graph.neighbours(row).filter(|row| *row < numbered.rows);
            rows.take(SIMILAR_MAX).for_each(|row| similar.push(numbered.first + row));
        }
        similar
    }

    #[inline]
    fn prefetch(&self, node: u32) {
        if let Some(oldest) = &self.sections[0] {
            prefetch(oldest.csr.heads, node as usize);
        }
    }

    #[inline]
    fn prefetch_links(&self, node: u32, start: u32, fan: u32) {
        if node < self.plain_rows {
            prefetch_edges(self.plain.edges, start, fan);
        } else if let Some(numbered) = self.section(node) {
            prefetch_edges(numbered.csr.edges, start, fan);
        }
    }
}

impl Space {
    /// Tells numbers of nodes apart: they hold while it stays the same.
    pub fn epoch(&self) -> u64 {
        2 * self.publications + u64::from(self.frozen.is_some())
    }

    /// Tries some more of the columns that spreading reads; whether any are left.
    pub fn try_links(&self) -> bool {
        self.sections.iter().any(|section| section.try_links(TRIED_BLOCKS))
    }

    /// Begins to spread: what comes back is to be held until it ends.
    pub fn begin_spread(&mut self) -> FreshUser {
        let epoch = self.epoch();
        self.fresh.get_or_insert_default().begin(epoch)
    }

    /// Calls `with` with the space as a graph.
    pub fn with_associations<T>(
        &mut self,
        arena: &Arena,
        home: Home,
        with: impl FnOnce(&mut Associations<'_>) -> T,
    ) -> T {
        let mut fresh = self.fresh.take().unwrap_or_default();
        fresh.renumber(self.epoch());
        let result = with(&mut Associations::new(self, arena, &mut fresh, home));
        self.fresh = Some(fresh);
        result
    }

    /// Takes note of a push of which this was known; what was predicted of it.
    pub fn note_push(&mut self, known: &Known, work: &Work, elapsed_ns: u64) -> Prediction {
        let fresh = self.fresh.get_or_insert_default();
        fresh.predictor.note(known, work, elapsed_ns)
    }

    /// Memory of what spreading has laid out.
    pub fn fresh_bytes(&self) -> usize {
        self.fresh.as_ref().map_or(0, |fresh| fresh.bytes())
    }
}
