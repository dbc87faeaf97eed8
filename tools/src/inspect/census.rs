//! Which stores in a shard's log are the episodes that are left?
//!
//! The census hears every frame once, in order, and remembers for each episode the sequence of the
//! store that made it. A store whose idempotency key was known changed nothing and is passed over,
//! as the engine passes over it; what an erase named is gone, whether its bytes are still there or
//! not. A second reading then picks the stores by sequence, so that only ids are kept in memory,
//! and what links were made and removed after the store.

use std::collections::{BTreeMap, HashMap, HashSet};

use engram_shards::episode::{SpaceNumber, SpaceSettings};
use engram_shards::format::{
    Frame, LinkPayload, LinkRecords, StorePayload, SupersedePayload, UnlinkPayload,
};
use engram_shards::keys::{FirstAnswer, KEYS_MAX, KeyHash, Keys};
use engram_shards::links::LinkList;

use super::contents::Contents;
use crate::document::Superseded;

/// A memory space that some shard has heard of.
#[derive(Debug, Default)]
pub(super) struct FoundSpace {
    /// `None`: its creation was lost on every shard.
    pub(super) settings: Option<SpaceSettings>,
    pub(super) is_dropped: bool,
    /// Of the first store into it; 0 without any.
    pub(super) dimensions: usize,
}

/// Spaces by number, over all shards.
pub(super) type FoundSpaces = BTreeMap<SpaceNumber, FoundSpace>;

/// What a store in the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The episode as it is.
    Alive,
    /// It was replaced or forgotten later, or its time was over.
    Past,
    /// It repeated an idempotency key.
    Repetition,
    /// It was to be removed for good.
    Erased,
}

/// A change of the links of an episode.
#[derive(Debug)]
struct Change {
    to: Box<[u8]>,
    kind: Box<[u8]>,
    /// `None` when links went.
    weight: Option<f32>,
}

#[derive(Debug)]
pub(super) struct Census {
    /// The store of each episode.
    alive: HashMap<(SpaceNumber, Box<[u8]>), u64>,
    /// What became of their links, by the same sequences.
    relinked: HashMap<u64, Vec<Change>>,
    /// When they were recorded, and what superseded them, likewise.
    recorded: HashMap<u64, i64>,
    superseded: HashMap<u64, Superseded>,
    repetitions: HashSet<u64>,
    erased: HashSet<u64>,
    /// Stores whose time was over, by what the log says.
    lapsed: HashSet<u64>,
    keys: Keys,
    /// Frames that verify and say nothing this version understands.
    pub(super) problems: Vec<String>,
}

impl Census {
    pub(super) fn new() -> Self {
        Self {
            alive: HashMap::new(),
            relinked: HashMap::new(),
            recorded: HashMap::new(),
            superseded: HashMap::new(),
            repetitions: HashSet::new(),
            erased: HashSet::new(),
            lapsed: HashSet::new(),
            keys: Keys::new(KEYS_MAX),
            problems: Vec::new(),
        }
    }

    /// Hears the next frame.
    pub(super) fn count(&mut self, frame: &Frame<'_>, spaces: &mut FoundSpaces) {
        match Contents::decode(frame) {
            Ok(Contents::Store(store)) => self.count_store(frame, &store, spaces),
            Ok(Contents::Forget(forget)) => {
                self.alive.remove(&(forget.space, forget.id.into()));
            }
            Ok(Contents::Link(LinkPayload { space, from, to, kind, weight })) => {
                self.count_change((space, from), to, kind, Some(weight));
            }
            Ok(Contents::Unlink(UnlinkPayload { space, from, to, kind })) => {
                self.count_change((space, from), to, kind, None);
            }
            Ok(Contents::Supersede(supersede)) => self.count_superseded(&supersede),
            Ok(Contents::SpaceCreate(payload)) => {
                spaces.entry(payload.space).or_default().settings = Some(payload.settings);
            }
            Ok(Contents::SpaceDrop(payload)) => {
                let space = spaces.entry(payload.space).or_default();
                space.settings = Some(payload.settings);
                space.is_dropped = true;
            }
            Ok(Contents::Lapse(lapse)) => self.lapsed.extend(lapse.sequences()),
            Ok(Contents::Erase(erase)) => self.erased.extend(erase.sequences),
            // What is salvaged is as it was stored.
            Ok(Contents::Reinforce(_) | Contents::Recalled(_) | Contents::Gap(_)) => {}
            Err(problem) => self.problems.push(format!("sequence {}: {problem}", frame.sequence)),
        }
    }

    fn count_store(
        &mut self,
        frame: &Frame<'_>,
        store: &StorePayload<'_>,
        spaces: &mut FoundSpaces,
    ) {
        let (sequence, recorded_at_us) = (frame.sequence, frame.head.recorded_at_us);
        let space = spaces.entry(store.space).or_default();
        if space.dimensions == 0 {
            space.dimensions = store.vector.len() / size_of::<f32>();
        }
        if !store.key().is_empty() {
            let key = KeyHash::new(store.space, store.id(), store.key());
            match self.keys.get(key) {
                // With an episode that was erased went its key.
                Some(first) if self.erased.contains(&first.sequence) => {
                    self.keys.remove(first.sequence);
                }
                Some(_) => {
                    self.repetitions.insert(sequence);
                    return;
                }
                None => {}
            }
            self.keys.insert(key, FirstAnswer { sequence, confidence: store.confidence });
        }
        self.alive.insert((store.space, store.id().into()), sequence);
        self.recorded.insert(sequence, recorded_at_us);
    }

    /// As the shard applies it: the first counts, of an episode that was recorded before.
    fn count_superseded(&mut self, supersede: &SupersedePayload<'_>) {
        let SupersedePayload { space, id, by, valid_until_us, recorded_at_us } = *supersede;
        let Some(&sequence) = self.alive.get(&(space, id.into())) else { return };
        if self.recorded.get(&sequence).is_some_and(|own| *own <= recorded_at_us) {
            let by = || Superseded { by: String::from_utf8_lossy(by).into_owned(), valid_until_us };
            self.superseded.entry(sequence).or_insert_with(by);
        }
    }

    /// What superseded an episode.
    pub(super) fn superseded(&self, sequence: u64) -> Option<&Superseded> {
        self.superseded.get(&sequence)
    }

    /// A link of an episode that is not there changed nothing.
    fn count_change(
        &mut self,
        (space, from): (SpaceNumber, &[u8]),
        to: &[u8],
        kind: &[u8],
        weight: Option<f32>,
    ) {
        if let Some(&sequence) = self.alive.get(&(space, from.into())) {
            let change = Change { to: to.into(), kind: kind.into(), weight };
            self.relinked.entry(sequence).or_default().push(change);
        }
    }

    /// The links of an episode, of which its store had these.
    pub(super) fn links(&self, sequence: u64, stored: LinkRecords<'_>) -> LinkList {
        let mut links = LinkList::of_records(stored);
        for Change { to, kind, weight } in self.relinked.get(&sequence).into_iter().flatten() {
            match weight {
                // One too many was refused when it was written.
                Some(weight) => drop(links.set(to, kind, *weight)),
                None => drop(links.remove(to, kind)),
            }
        }
        links
    }

    /// What a store is, once all frames were heard.
    pub(super) fn standing(&self, sequence: u64, store: &StorePayload<'_>) -> Standing {
        if self.erased.contains(&sequence) {
            Standing::Erased
        } else if self.repetitions.contains(&sequence) {
            Standing::Repetition
        } else if self.lapsed.contains(&sequence)
            || self.alive.get(&(store.space, store.id().into())) != Some(&sequence)
        {
            Standing::Past
        } else {
            Standing::Alive
        }
    }

    /// Whether an erase named a sequence.
    pub(super) fn is_erased(&self, sequence: u64) -> bool {
        self.erased.contains(&sequence)
    }
}
