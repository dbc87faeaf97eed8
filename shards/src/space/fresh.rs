//! Links that are not at rest in a section, in the order in which a push goes along them.
//!
//! An episode in a tail has its links in its body, by the ids of their targets; one whose links
//! changed since has them in an overlay. When it is the turn of such an episode, its targets are
//! looked up and its links laid out behind those of others, in one list of edges: the slab. They
//! stay there for the next push. All of it is derived and can be thrown away at any time when no
//! push is under way, which is done when there is too much of it and when rows were renumbered.
//!
//! A target that is nowhere may be stored later. A list with such targets is laid out again once
//! episodes have been added to the space.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Marks, RowAt};
use crate::links::{Kinds, Names};
use crate::spread::link::{Edge, Scale};
use crate::spread::predictor::Predictor;

/// Edges from which on the slab is thrown away, when no push is under way.
const EDGES_KEPT_MAX: usize = 4 << 20;
/// Edges that the slab takes, and numbers that are remembered.
const EDGES_MAX: usize = 12 << 20;
const MOVED_MAX: usize = 64 << 10;
/// Of so many pushes one is predicted to learn from it, and to know how predictions turn out.
const PREDICTED_EVERY: u64 = 8;
/// The start of the first list in the slab. Edges of sections have lower ones.
pub(super) const SLAB_FIRST: u32 = 0xFF00_0000;

const _: () = assert!(EDGES_MAX < (u32::MAX - SLAB_FIRST) as usize);

/// Where the links of a row are in the slab.
#[derive(Debug, Clone, Copy)]
struct Laid {
    scale: Scale,
    start: u32,
    /// How many episodes had been added when a target was nowhere.
    nowhere_at: Option<u64>,
}

/// See the top of the file.
#[derive(Debug, Default)]
pub struct Fresh {
    epoch: u64,
    laid: HashMap<RowAt, Laid>,
    slab: Vec<Edge>,
    /// Which number an episode has now, by others of its numbers.
    moved: HashMap<u32, u32>,
    /// Numbers of ids that other shards have, as far as that was asked. They are asked for again
    /// and again, and never become anything else.
    elsewhere: Marks,
    /// Ids that other shards have and no section names.
    remote: Names,
    /// They are few: none is forgotten while the space is there.
    kinds: Kinds,
    /// What pushes of this space take; it is not thrown away.
    pub(super) predictor: Predictor,
    /// Pushes that have begun.
    pushes: u64,
    /// As many others as pushes are under way.
    users: Arc<()>,
    was_full: bool,
}

/// Held by a push while it is under way.
pub type FreshUser = Arc<()>;

impl Fresh {
    /// Begins a push, of a space whose rows have these numbers.
    pub(super) fn begin(&mut self, epoch: u64) -> FreshUser {
        let is_idle = Arc::strong_count(&self.users) == 1;
        if is_idle && (self.slab.len() > EDGES_KEPT_MAX || self.moved.len() > MOVED_MAX) {
            self.clear();
        }
        self.renumber(epoch);
        Arc::clone(&self.users)
    }

    /// Whether the push that begins is one of those that are predicted although nobody asked.
    pub(super) fn is_sampled(&mut self) -> bool {
        self.pushes += 1;
        self.pushes.is_multiple_of(PREDICTED_EVERY)
    }

    /// Throws everything away if rows were renumbered.
    pub(super) fn renumber(&mut self, epoch: u64) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.laid = HashMap::new();
        self.slab = Vec::new();
        self.moved = HashMap::new();
        self.elsewhere = Marks::default();
        self.remote = Names::default();
        self.was_full = false;
    }

    /// Forgets the links of a row that have changed.
    pub(super) fn forget(&mut self, row: RowAt) {
        self.laid.remove(&row);
    }

    /// The links of a row, if they are laid out and their targets still are what they were when so
    /// many episodes have been added.
    pub(super) fn laid(&self, row: RowAt, added: u64) -> Option<(Scale, u32)> {
        let laid = self.laid.get(&row)?;
        let is_true = laid.nowhere_at.is_none_or(|at| at == added);
        is_true.then_some((laid.scale, laid.start))
    }

    /// Lays links out. `None` when there is no room.
    pub(super) fn lay_out(
        &mut self,
        row: RowAt,
        edges: &[Edge],
        nowhere_at: Option<u64>,
    ) -> Option<(Scale, u32)> {
        if self.slab.len() + edges.len() > EDGES_MAX {
            self.was_full = true;
            return None;
        }
        let units = edges.iter().map(|edge| edge.weight.units()).sum();
        let fan = u32::try_from(edges.len()).expect("bounded by EPISODE_LINKS_MAX");
        let start = SLAB_FIRST + u32::try_from(self.slab.len()).expect("bounded by EDGES_MAX");
        let laid = Laid { scale: Scale::of(fan, units), start, nowhere_at };
        self.slab.extend_from_slice(edges);
        self.laid.insert(row, laid);
        Some((laid.scale, laid.start))
    }

    /// Edges of a list in the slab.
    pub(super) fn edges(&self, start: u32, fan: u32) -> &[Edge] {
        let start = start.wrapping_sub(SLAB_FIRST) as usize;
        self.slab.get(start..start + fan as usize).unwrap_or_default()
    }

    pub(super) fn moved(&self, node: u32) -> Option<u32> {
        self.moved.get(&node).copied()
    }

    pub(super) fn note_moved(&mut self, node: u32, to: u32) {
        self.moved.insert(node, to);
    }

    /// Whether another shard is known to have what a number stands for.
    #[inline]
    pub(super) fn is_elsewhere(&self, node: u32) -> bool {
        self.elsewhere.has(node)
    }

    pub(super) fn note_elsewhere(&mut self, node: u32) {
        self.elsewhere.set(node);
    }

    /// The number of an id that another shard has, among those.
    pub(super) fn remote(&mut self, id: &[u8]) -> u32 {
        self.remote.number(id)
    }

    pub(super) fn remote_ids(&self) -> u32 {
        self.remote.len()
    }

    pub(super) fn remote_id(&self, nth: u32) -> Option<&[u8]> {
        self.remote.get(nth)
    }

    pub(super) fn kind(&mut self, name: &[u8]) -> u16 {
        self.kinds.number(name)
    }

    pub(super) fn kind_name(&self, kind: u16) -> Option<&[u8]> {
        self.kinds.name(kind)
    }

    /// Whether there was no room for the links of some episode.
    pub(super) fn was_full(&self) -> bool {
        self.was_full
    }

    /// Memory of all this, roughly.
    pub fn bytes(&self) -> usize {
        let entry = size_of::<RowAt>() + size_of::<Laid>();
        self.slab.capacity() * size_of::<Edge>()
            + self.laid.capacity() * entry
            + self.moved.capacity() * 2 * size_of::<u32>()
            + self.elsewhere.bytes()
            + self.remote.memory_bytes()
    }
}
