//! What has changed about the links since they were laid down.
//!
//! For each node that changed there is a small tree from the key of a link to what is now: another
//! weight, or nothing. Whoever reads the links of such a node walks through the base and the tree
//! side by side and meets the links in the order of their keys. So the order, and with it every bit
//! of what is computed, is the same before and after a consolidation and after a replay.
//!
//! Links that only the tree has count against no bound of their own here: the caller keeps the log
//! that they came from, and bounds that.

use std::collections::btree_map;
use std::collections::{BTreeMap, HashMap};
use std::iter::Peekable;
use std::slice;

use super::csr::Csr;
use super::link::{Edge, LINKS_PER_NODE_MAX, Link, LinkError, Scale, Weight, key};
use super::nodes::NodeSet;

/// Links added, changed and removed since the base was laid down.
#[derive(Debug, Clone, Default)]
pub struct Delta {
    changed: HashMap<u32, Changed>,
    /// Which nodes are in `changed`, so that a push need not ask the table.
    marked: NodeSet,
    nodes: u32,
    entries: usize,
}

/// The links of one node.
#[derive(Debug, Clone, Default)]
pub(super) struct Changed {
    /// By key, the weight that counts now; `None` takes a link of the base away.
    entries: BTreeMap<u64, Option<Weight>>,
    units: u64,
    scale: Scale,
}

impl Delta {
    /// For a base of so many nodes.
    pub fn new(nodes: u32) -> Self {
        Self { nodes, ..Self::default() }
    }

    /// How many nodes there are, with those of the base.
    pub fn nodes(&self) -> u32 {
        self.nodes
    }

    /// Makes room for more nodes, which have no links yet.
    pub fn grow(&mut self, nodes: u32) {
        self.nodes = self.nodes.max(nodes);
    }

    /// Links that differ from the base.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Adds a link or gives it another weight; the weight it had.
    pub fn put(&mut self, base: Csr<'_>, link: Link) -> Result<Option<Weight>, LinkError> {
        let Link { source, edge } = link;
        if let Some(&node) = [source, edge.target].iter().find(|at| **at >= self.nodes) {
            return Err(LinkError::Node { node, nodes: self.nodes });
        }
        let had = self.weight(base, source, edge.target, edge.kind);
        if had == Some(edge.weight) {
            return Ok(had);
        }
        if had.is_none() && self.scale(base, source).fan == LINKS_PER_NODE_MAX {
            return Err(LinkError::TooManyOfNode { node: source });
        }
        self.set(base, source, edge.key(), had, Some(edge.weight));
        Ok(had)
    }

    /// Removes a link; the weight it had, if there was one.
    pub fn remove(&mut self, base: Csr<'_>, source: u32, target: u32, kind: u16) -> Option<Weight> {
        let had = self.weight(base, source, target, kind)?;
        self.set(base, source, key(target, kind), Some(had), None);
        Some(had)
    }

    /// The weight of a link.
    pub fn weight(&self, base: Csr<'_>, source: u32, target: u32, kind: u16) -> Option<Weight> {
        let key = key(target, kind);
        let changed = self.changed(source).and_then(|changed| changed.entries.get(&key));
        changed.copied().unwrap_or_else(|| weight_at_rest(base, source, key))
    }

    fn set(
        &mut self,
        base: Csr<'_>,
        source: u32,
        key: u64,
        had: Option<Weight>,
        now: Option<Weight>,
    ) {
        let changed = self.changed.entry(source).or_insert_with(|| {
            let units = base.links(source).iter().map(|edge| edge.weight.units()).sum();
            Changed { entries: BTreeMap::new(), units, scale: base.scale(source) }
        });
        self.marked.insert(source);
        let fan = changed.scale.fan + u32::from(now.is_some()) - u32::from(had.is_some());
        changed.units += now.map_or(0, Weight::units);
        changed.units -= had.map_or(0, Weight::units);
        changed.scale = Scale::of(fan, changed.units);
        self.entries -= changed.entries.len();
        if now == weight_at_rest(base, source, key) {
            changed.entries.remove(&key);
        } else {
            changed.entries.insert(key, now);
        }
        self.entries += changed.entries.len();
        if changed.entries.is_empty() {
            self.changed.remove(&source);
            self.marked.remove(source);
        }
    }

    #[inline]
    pub(super) fn changed(&self, node: u32) -> Option<&Changed> {
        match self.marked.contains(node) {
            true => self.changed.get(&node),
            false => None,
        }
    }

    fn scale(&self, base: Csr<'_>, node: u32) -> Scale {
        self.changed(node).map_or_else(|| base.scale(node), Changed::scale)
    }
}

impl Changed {
    pub(super) fn scale(&self) -> Scale {
        self.scale
    }

    /// The links from a key on, merged with those at rest.
    pub(super) fn links<'a>(&'a self, at_rest: &'a [Edge], from: u64) -> Merged<'a> {
        Merged {
            at_rest: at_rest.iter().peekable(),
            entries: self.entries.range(from..).peekable(),
        }
    }
}

fn weight_at_rest(base: Csr<'_>, source: u32, key: u64) -> Option<Weight> {
    let links = base.links(source);
    let at = links.binary_search_by_key(&key, |edge| edge.key()).ok()?;
    Some(links[at].weight)
}

/// The links of a node that changed, in the order of their keys.
#[derive(Debug)]
pub struct Merged<'a> {
    at_rest: Peekable<slice::Iter<'a, Edge>>,
    entries: Peekable<btree_map::Range<'a, u64, Option<Weight>>>,
}

impl Iterator for Merged<'_> {
    type Item = Edge;

    fn next(&mut self) -> Option<Edge> {
        loop {
            let at_rest = self.at_rest.peek().map(|edge| edge.key());
            let Some((key, weight)) =
                self.entries.next_if(|(key, _)| at_rest.is_none_or(|at_rest| **key <= at_rest))
            else {
                return self.at_rest.next().copied();
            };
            if at_rest == Some(*key) {
                self.at_rest.next();
            }
            if let Some(weight) = *weight {
                let (target, kind) = ((*key >> 16) as u32, *key as u16);
                return Some(Edge { target, weight, kind });
            }
        }
    }
}
