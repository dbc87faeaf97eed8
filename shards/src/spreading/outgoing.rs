//! Mass that is to go on on other shards.
//!
//! An exchange hands over some hundred masses, so what each of them costs adds up: the ids of one
//! exchange lie in one piece of memory that they share, and what has been handed over before is
//! only written down. It is read once rows have moved, when everything is spread again.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};

use super::Given;
use crate::episode::PathStep;
use crate::spread::exact::Mass;

/// Mass on its way to an episode.
pub(super) struct Leaving<'a> {
    /// The first bytes of the id, in whose order ids are; compared in one go.
    first: u64,
    id: &'a [u8],
    node: u32,
    mass: Mass,
}

impl<'a> Leaving<'a> {
    pub(super) fn new(id: &'a [u8], node: u32, mass: Mass) -> Self {
        let mut first = [0; size_of::<u64>()];
        let count = id.len().min(first.len());
        first[..count].copy_from_slice(&id[..count]);
        Self { first: u64::from_be_bytes(first), id, node, mass }
    }
}

/// See the top of the file.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    had: Had,
    /// Of what others have had, what a second beginning has not come to yet. Empty until there is
    /// one.
    owed: HashMap<Bytes, Mass>,
    next: Vec<Given>,
}

/// What others have had: ids one behind the other, where each ends, and the masses.
#[derive(Debug, Default)]
struct Had {
    ids: Vec<u8>,
    entries: Vec<(usize, Mass)>,
}

impl Had {
    fn push(&mut self, given: &Given) {
        self.ids.extend_from_slice(&given.id);
        self.entries.push((self.ids.len(), given.mass));
    }

    fn by_id(&self) -> HashMap<Bytes, Mass> {
        let mut by_id: HashMap<Bytes, Mass> = HashMap::new();
        let mut from = 0;
        for (end, mass) in &self.entries {
            let id = Bytes::copy_from_slice(&self.ids[from..*end]);
            by_id.entry(id).or_default().add(*mass);
            from = *end;
        }
        by_id
    }
}

impl Outgoing {
    pub(super) fn begin_again(&mut self) {
        self.next.clear();
        self.owed = self.had.by_id();
    }

    /// Takes what leaves in one exchange, and by which way each came.
    pub(super) fn put(
        &mut self,
        mut leaving: Vec<Leaving<'_>>,
        mut path: impl FnMut(u32) -> Vec<PathStep>,
    ) {
        // In the order of the ids, so that it is the same however nodes are numbered.
        leaving.sort_by(|a, b| a.first.cmp(&b.first).then_with(|| a.id.cmp(b.id)));
        let bytes = leaving.iter().map(|leaving| leaving.id.len()).sum();
        let mut ids = BytesMut::with_capacity(bytes);
        leaving.iter().for_each(|leaving| ids.extend_from_slice(leaving.id));
        let mut ids = ids.freeze();
        self.next.reserve(leaving.len());
        for Leaving { id, node, mut mass, .. } in leaving {
            let id = ids.split_to(id.len());
            if let Some(owed) = self.owed.get_mut(&id) {
                mass = owed.settle(mass);
            }
            if mass > Mass::default() {
                self.next.push(Given { id, mass, path: path(node) });
            }
        }
    }

    /// One entry for each id, in the order of the ids.
    pub(super) fn take(&mut self) -> Vec<Given> {
        let mut taken = std::mem::take(&mut self.next);
        // What was put in one go is in order already.
        taken.sort_by(|a, b| a.id.cmp(&b.id));
        taken.dedup_by(|next, kept| {
            let is_same = next.id == kept.id;
            if is_same {
                kept.add(next);
            }
            is_same
        });
        taken.iter().for_each(|given| self.had.push(given));
        taken
    }

    /// What waits to be taken.
    pub(super) fn waiting(&self) -> &[Given] {
        &self.next
    }
}
