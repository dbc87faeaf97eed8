//! What a shard's log says: spaces, rows, idempotency keys, in memory.
//!
//! A frame changes the memory in the same way whether it was written a moment ago or is replayed.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::arena::Arena;
use crate::consolidation::AHEAD_SHARE;
use crate::episode::{
    Activation, Confidence, Lapse, Linked, Outcome, Refusal, Reinforced, Sequence, SpaceNumber,
    SpaceSettings, Unlinked,
};
use crate::format::{
    ErasePayload, ForgetPayload, Frame, Gap, GapReason, LapsePayload, LinkPayload, Operation,
    PayloadError, RecalledPayload, ReinforcePayload, SpacePayload, StorePayload, SupersedePayload,
    UnlinkPayload,
};
use crate::keys::{FirstAnswer, KEYS_MAX, KeyHash, Keys};
use crate::limits::{DEGRADED_FROM, EPISODE_LINKS_MAX};
use crate::links::LinkList;
use crate::log::Replay;
use crate::shard::{LapseCounters, Reply};
use crate::space::{CATCH_UP_ROWS, Kept, NEVER, PartNumber, Retired, Section, Space};

/// Memory of a row outside the arena: its record, its columns, its entry in the id table.
const ROW_TABLE_BYTES: u64 = 64 + 16 + 24;
/// Memory of a remembered idempotency key.
const KEY_TABLE_BYTES: u64 = 16 + 16 + 40;

/// Strengths get one part in so many of the memory by recalls alone: reading does not keep others
/// from storing.
const STRENGTHS_SHARE: u64 = 8;

/// What a frame comes to for who asked for it.
pub(crate) type Applied = Result<Reply, Refusal>;

/// What the log says: everything a replay rebuilds.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) arena: Arena,
    pub(crate) spaces: BTreeMap<SpaceNumber, Space>,
    pub(crate) names: HashMap<String, SpaceNumber>,
    pub(crate) keys: Keys,
    /// Highest space number ever used here.
    pub(crate) last_space: u32,
    pub(crate) applied: u64,
    /// Of spaces that were dropped: what is to be given back piece by piece.
    pub(crate) retired: Vec<Retired>,
    /// Rows in memory, of all spaces.
    pub(crate) rows: u64,
    /// Memory of what became of rows after they were written, of all spaces.
    pub(crate) afterwards_bytes: u64,
    /// Memory of strengths, of all spaces.
    pub(crate) strength_bytes: u64,
    /// Of what was read of texts.
    text_bytes: u64,
    /// What tails may have of the memory, as long as a consolidation is on its way to give some
    /// back.
    pub(crate) tails_bytes_max: Option<u64>,
    /// No episode expires before this time: µs since 1970-01-01 UTC.
    pub(crate) next_expiry_us: i64,
    /// Rows that are hidden and wait for a frame to end them, of all spaces.
    pub(crate) expired: usize,
    pub(crate) lapses: LapseCounters,
    /// How full what feeds the shard is, 0 to 1.
    pub(crate) crowd: f32,
    /// Rows are coded as they are applied. A replay leaves that for later.
    pub(crate) codes_rows: bool,
}

/// A space that another shard has and this one does not: it is being created or dropped.
pub(crate) fn gone(number: SpaceNumber) -> Refusal {
    Refusal::NoSpace(format!("#{}, created or dropped just now", number.0))
}

impl Memory {
    pub(crate) fn new(arena: Arena) -> Self {
        Self {
            arena,
            spaces: BTreeMap::new(),
            names: HashMap::new(),
            keys: Keys::new(KEYS_MAX),
            last_space: 0,
            applied: 0,
            retired: Vec::new(),
            rows: 0,
            afterwards_bytes: 0,
            strength_bytes: 0,
            text_bytes: 0,
            tails_bytes_max: None,
            // Until somebody has looked.
            next_expiry_us: i64::MIN,
            expired: 0,
            lapses: LapseCounters::default(),
            crowd: 0.0,
            codes_rows: false,
        }
    }

    pub(crate) fn space(&self, number: SpaceNumber) -> Result<&Space, Refusal> {
        self.spaces.get(&number).ok_or_else(|| gone(number))
    }

    /// A section, if it is still in use.
    pub(crate) fn section(&self, space: SpaceNumber, part: PartNumber) -> Option<&Section> {
        let sections = self.spaces.get(&space).map_or(&[][..], Space::sections);
        sections.iter().find(|section| section.number() == part)
    }

    pub(crate) fn bytes_in_use(&self) -> u64 {
        self.bytes_in_tails() + self.bytes_that_stay()
    }

    pub(crate) fn bytes_in_tails(&self) -> u64 {
        self.arena.bytes_in_use()
            + self.rows * ROW_TABLE_BYTES
            + self.afterwards_bytes
            + self.text_bytes
    }

    /// What no consolidation gives back.
    fn bytes_that_stay(&self) -> u64 {
        self.keys.count() as u64 * KEY_TABLE_BYTES + self.strength_bytes
    }

    /// What keys and strengths leave.
    pub(crate) fn bytes_for_tails(&self) -> u64 {
        self.arena.bytes_max().saturating_sub(self.bytes_that_stay())
    }

    /// What stores may still take.
    pub(crate) fn bytes_free(&self) -> u64 {
        let tails_bytes_max = self.tails_bytes_max.unwrap_or(u64::MAX);
        tails_bytes_max.min(self.bytes_for_tails()).saturating_sub(self.bytes_in_tails())
    }

    /// Whether strengths have as much memory as they may get by recalls alone.
    pub(crate) fn is_full_of_strengths(&self) -> bool {
        self.strength_bytes >= self.arena.bytes_max() / STRENGTHS_SHARE
    }

    /// Whether tails hold more than half of the memory that keys and strengths leave to them: what
    /// a consolidation gives back, while there is room to go on beside it.
    pub(crate) fn is_pressed_by_tails(&self) -> bool {
        self.bytes_in_tails() > self.bytes_for_tails() / 2
    }

    /// Whether links that changed after their episodes were stored, and what superseded these, have
    /// more than a quarter of that memory: what a consolidation of everything gives back.
    pub(crate) fn is_pressed_afterwards(&self) -> bool {
        self.afterwards_bytes > self.bytes_for_tails() / 4
    }

    /// The share of the memory in use, or how crowded the lanes are if that is more.
    pub(crate) fn pressure(&self) -> f32 {
        self.share().max(self.crowd)
    }

    /// The share of the memory in use; or, where a consolidation leaves less for now, how close
    /// that is: from [`DEGRADED_FROM`] on when stores are about to get ahead of it.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn share(&self) -> f32 {
        let bytes_max = self.arena.bytes_max();
        let share = (self.bytes_in_use() as f32 / bytes_max as f32).min(1.0);
        let ahead = self.bytes_free() as f32 / (bytes_max / AHEAD_SHARE) as f32;
        match self.tails_bytes_max {
            Some(_) if ahead < 1.0 => share.max(1.0 - (1.0 - DEGRADED_FROM) * ahead),
            _ => share,
        }
    }

    /// Does what a frame says; the reply, if the frame was somebody's request. Frames that were
    /// admitted cannot fail here; one that does was written by another version or by a bug.
    pub(crate) fn apply(&mut self, frame: &Frame<'_>) -> Result<Option<Applied>, PayloadError> {
        let malformed = |operation, what| PayloadError { operation, what };
        self.applied = frame.sequence;
        match Operation::from_u16(frame.head.operation) {
            Some(Operation::Store) => self.apply_store(frame).map(|reply| Some(Ok(reply))),
            Some(Operation::Forget) => {
                let ForgetPayload { space, id } = ForgetPayload::decode(frame.payload)?;
                // A drop may have overtaken the forget between admission and its turn.
                let existed = self
                    .with_changes(space, |space, arena| space.remove(arena, id, frame.sequence));
                let existed = existed.unwrap_or(false);
                Ok(Some(Ok(Reply::Forgotten { sequence: Sequence(frame.sequence), existed })))
            }
            Some(Operation::SpaceCreate) => {
                let SpacePayload { space, settings } = SpacePayload::decode(frame.payload)?;
                self.insert_space(space, settings);
                Ok(Some(Ok(Reply::SpaceCreated { space })))
            }
            Some(Operation::SpaceDrop) => {
                let SpacePayload { space, settings } = SpacePayload::decode(frame.payload)?;
                self.remove_space(space, &settings.name);
                Ok(Some(Ok(Reply::SpaceDropped)))
            }
            Some(Operation::Erase) => {
                let erase = ErasePayload::decode(frame.payload)?;
                self.apply_erase(&erase, frame.sequence);
                Ok(None)
            }
            Some(Operation::Gap) => {
                self.applied = Gap::decode(frame)?.through;
                Ok(None)
            }
            Some(Operation::Link) => {
                let link = LinkPayload::decode(frame.payload)?;
                Ok(Some(self.apply_link(&link, frame.sequence)))
            }
            Some(Operation::Unlink) => {
                let unlink = UnlinkPayload::decode(frame.payload)?;
                Ok(Some(Ok(self.apply_unlink(&unlink, frame.sequence))))
            }
            Some(Operation::Supersede) => {
                let supersede = SupersedePayload::decode(frame.payload)?;
                Ok(Some(Ok(self.apply_supersede(&supersede, frame.sequence))))
            }
            Some(Operation::Reinforce) => {
                let reinforce = ReinforcePayload::decode(frame.payload)?;
                Ok(Some(Ok(self.apply_reinforce(&reinforce, frame))))
            }
            Some(Operation::Recalled) => {
                let recalled = RecalledPayload::decode(frame.payload)?;
                self.apply_recalled(&recalled, frame);
                Ok(None)
            }
            Some(Operation::Lapse) => {
                let lapse = LapsePayload::decode(frame.payload)?;
                self.apply_lapse(&lapse, frame);
                Ok(None)
            }
            None => Err(malformed("frame", "an operation that this version does not know")),
        }
    }

    /// Erased frames are dead already, unless a crash came between the erase and its gaps. With an
    /// episode goes its idempotency key.
    fn apply_erase(&mut self, erase: &ErasePayload, at: u64) {
        for &sequence in &erase.sequences {
            self.keys.remove(sequence);
            self.with_changes(erase.space, |space, arena| space.erase(arena, sequence, at));
        }
    }

    pub(crate) fn insert_space(&mut self, space: SpaceNumber, settings: SpaceSettings) {
        self.last_space = self.last_space.max(space.0);
        // Two of a name: the drop of the older one is among what was lost.
        if let Some(&older) = self.names.get(&settings.name) {
            self.remove_space(older, &settings.name);
        }
        self.names.insert(settings.name.clone(), space);
        self.spaces.insert(space, Space::new(space, settings));
    }

    pub(crate) fn remove_space(&mut self, space: SpaceNumber, name: &str) {
        self.names.remove(name);
        if let Some(space) = self.spaces.remove(&space) {
            self.rows -= space.rows_in_memory();
            self.afterwards_bytes -= space.afterwards_bytes();
            self.strength_bytes -= space.strengths().bytes();
            self.text_bytes -= space.text_bytes();
            self.retired.push(space.retire());
        }
    }

    /// Calls `with` with a space and keeps account of what changes about its episodes.
    pub(crate) fn with_changes<T>(
        &mut self,
        space: SpaceNumber,
        with: impl FnOnce(&mut Space, &Arena) -> T,
    ) -> Option<T> {
        let space = self.spaces.get_mut(&space)?;
        self.afterwards_bytes -= space.afterwards_bytes();
        self.strength_bytes -= space.strengths().bytes();
        let result = with(space, &self.arena);
        self.afterwards_bytes += space.afterwards_bytes();
        self.strength_bytes += space.strengths().bytes();
        Some(result)
    }

    /// Lets a space read texts, or lose some that were read.
    pub(crate) fn with_text<T>(
        &mut self,
        space: SpaceNumber,
        with: impl FnOnce(&mut Space, &Arena) -> T,
    ) -> Option<T> {
        let space = self.spaces.get_mut(&space)?;
        self.text_bytes -= space.text_bytes();
        let result = with(space, &self.arena);
        self.text_bytes += space.text_bytes();
        Some(result)
    }

    /// Lets a space put other parts into the place of some, and keeps account of all that these
    /// have.
    pub(crate) fn with_account<T>(
        &mut self,
        space: SpaceNumber,
        with: impl FnOnce(&mut Space, &Arena) -> T,
    ) -> Option<T> {
        let before = self.spaces.get(&space).map_or(0, Space::afterwards_bytes);
        let result = self.with_text(space, with);
        self.afterwards_bytes -= before;
        self.afterwards_bytes += self.spaces.get(&space).map_or(0, Space::afterwards_bytes);
        result
    }

    /// That there is no such episode, or that it has too many links, is found out here: a store may
    /// be on its way that was admitted before the link. A frame that is refused changes nothing.
    fn apply_link(&mut self, link: &LinkPayload<'_>, at: u64) -> Applied {
        let linked = self.with_changes(link.space, |space, arena| space.link(arena, link, at));
        let linked = linked.ok_or_else(|| gone(link.space))?;
        let from = || String::from_utf8_lossy(link.from).into_owned();
        let (replaced, links) =
            linked.ok_or_else(|| Refusal::NoEpisode(from()))?.map_err(|_| {
                let (what, max) = ("the list of the episode's links", EPISODE_LINKS_MAX);
                Refusal::TooBig { what, got: max + 1, max }
            })?;
        let pressure = self.pressure();
        Ok(Reply::Linked(Linked {
            sequence: Sequence(at),
            outcome: if replaced { Outcome::Replaced } else { Outcome::Created },
            links,
            pressure,
            degraded: pressure >= DEGRADED_FROM,
        }))
    }

    /// Whether there is such an episode, and whether it was superseded before, is found out here.
    fn apply_supersede(&mut self, supersede: &SupersedePayload<'_>, at: u64) -> Reply {
        let superseded = self
            .with_changes(supersede.space, |space, arena| space.supersede(arena, supersede, at));
        Reply::Superseded { sequence: Sequence(at), is_by: superseded.flatten() }
    }

    fn apply_unlink(&mut self, unlink: &UnlinkPayload<'_>, at: u64) -> Reply {
        let unlinked =
            self.with_changes(unlink.space, |space, arena| space.unlink(arena, unlink, at));
        Reply::Unlinked(unlinked.flatten().map(|(removed, links)| {
            let sequence = Sequence(at);
            Unlinked { sequence, removed, links }
        }))
    }

    fn apply_reinforce(&mut self, reinforce: &ReinforcePayload<'_>, frame: &Frame<'_>) -> Reply {
        let ReinforcePayload { space, id, what } = *reinforce;
        let at_us = frame.head.recorded_at_us;
        let strength = self.with_changes(space, |space, arena| {
            space.reinforce(arena, id, what, (frame.sequence, at_us))
        });
        let sequence = Sequence(frame.sequence);
        Reply::Reinforced(strength.flatten().map(|strength| {
            let strength = Box::new(strength);
            Reinforced { sequence, strength }
        }))
    }

    fn apply_recalled(&mut self, recalled: &RecalledPayload<'_>, frame: &Frame<'_>) {
        let at = (frame.sequence, frame.head.recorded_at_us);
        self.with_changes(recalled.space, |space, arena| {
            recalled.sequences().for_each(|stored| space.note_recall(arena, stored, at));
        });
    }

    /// Ends episodes whose time is over. A row that is dead stays as it is, and so does one that
    /// was strengthened since somebody found that it had faded.
    fn apply_lapse(&mut self, lapse: &LapsePayload<'_>, frame: &Frame<'_>) {
        let (at, at_us) = (frame.sequence, frame.head.recorded_at_us);
        let ended = self.with_changes(lapse.space, |space, arena| {
            let rows_dead = space.rows_dead();
            for stored in lapse.sequences() {
                if lapse.why == Lapse::Expired || space.has_faded(arena, stored, at_us) {
                    space.erase(arena, stored, at);
                }
            }
            (space.rows_dead() - rows_dead) as u64
        });
        *match lapse.why {
            Lapse::Expired => &mut self.lapses.expired,
            Lapse::Faded => &mut self.lapses.faded,
        } += ended.unwrap_or_default();
    }

    /// Hides what has expired by some time from everybody.
    pub(crate) fn expire(&mut self, now_us: i64) {
        if now_us < self.next_expiry_us {
            return;
        }
        (self.next_expiry_us, self.expired) = (NEVER, 0);
        for space in self.spaces.values_mut() {
            self.afterwards_bytes -= space.afterwards_bytes();
            self.next_expiry_us = self.next_expiry_us.min(space.expire(now_us));
            self.afterwards_bytes += space.afterwards_bytes();
            self.expired += space.expired().len();
        }
    }

    /// Gives an episode the strength that a state file says.
    pub(crate) fn restore_strength(
        &mut self,
        space: SpaceNumber,
        (stored, kept): (u64, Kept),
        through: u64,
    ) {
        self.with_changes(space, |space, _| space.restore_strength(stored, kept, through));
    }

    /// Gives a row of a section the links that a state file says.
    pub(crate) fn restore_links(
        &mut self,
        space: SpaceNumber,
        (part, row): (PartNumber, u32),
        links: LinkList,
        through: u64,
    ) {
        self.with_changes(space, |space, _| space.restore_links(part, row, links, through));
    }

    /// Takes some links away that a publication has made needless; whether none are left.
    pub(crate) fn sweep_links(&mut self, count: usize) -> bool {
        let sweeping =
            self.spaces.values().find(|space| space.overlays().sweeps_through().is_some());
        let Some(number) = sweeping.map(|space| space.number) else { return true };
        self.with_changes(number, |space, _| space.sweep_links(count));
        false
    }

    fn apply_store(&mut self, frame: &Frame<'_>) -> Result<Reply, PayloadError> {
        let store = StorePayload::decode(frame.payload)?;
        let malformed = |what| PayloadError { operation: "store", what };
        let pressure = self.pressure();
        let space = self
            .spaces
            .get_mut(&store.space)
            .ok_or_else(|| malformed("its memory space does not exist"))?;
        if store.vector.len() != space.dimensions() * size_of::<f32>() {
            return Err(malformed("its vector has not the dimensions of its space"));
        }
        let key =
            (!store.key().is_empty()).then(|| KeyHash::new(store.space, store.id(), store.key()));
        if let Some(first) = key.and_then(|key| self.keys.get(key)) {
            self.keys.note_repeat(first.sequence, frame.sequence);
            return Ok(Reply::Stored(first.again(pressure)));
        }
        self.strength_bytes -= space.strengths().bytes();
        self.afterwards_bytes -= space.afterwards_bytes();
        let replaced = space.insert(&mut self.arena, frame, &store);
        self.strength_bytes += space.strengths().bytes();
        self.afterwards_bytes += space.afterwards_bytes();
        if let Some(expires_at_us) = store.expires_at_us {
            self.next_expiry_us = self.next_expiry_us.min(expires_at_us.get());
        }
        self.rows += 1;
        if self.codes_rows {
            space.code(&mut self.arena, CATCH_UP_ROWS);
        }
        if let Some(key) = key {
            let (sequence, confidence) = (frame.sequence, store.confidence);
            self.keys.insert(key, FirstAnswer { sequence, confidence });
        }
        let outcome = if replaced { Outcome::Replaced } else { Outcome::Created };
        Ok(Reply::Stored(activation(frame.sequence, outcome, store.confidence, pressure)))
    }
}

impl FirstAnswer {
    /// The answer to a store that repeats an idempotency key.
    pub(crate) fn again(self, pressure: f32) -> Activation {
        activation(self.sequence, Outcome::Existing, self.confidence, pressure)
    }
}

fn activation(
    sequence: u64,
    outcome: Outcome,
    confidence: Confidence,
    pressure: f32,
) -> Activation {
    Activation {
        sequence: Sequence(sequence),
        outcome,
        activation: confidence.point * (1.0 - pressure / 2.0),
        confidence,
        pressure,
        degraded: pressure >= DEGRADED_FROM,
    }
}

/// Memory that is being rebuilt from a log.
#[derive(Debug)]
pub(crate) struct Rebuilding {
    pub(crate) memory: Memory,
    /// Frames that an erase has removed so far.
    gaps: HashSet<u64>,
    /// Frames that an erase named.
    erased: HashSet<u64>,
}

impl Rebuilding {
    /// `erased` are frames that an erase named before the log that is replayed begins.
    pub(crate) fn new(memory: Memory, erased: Vec<u64>) -> Self {
        Self { memory, gaps: HashSet::new(), erased: erased.into_iter().collect() }
    }

    /// Whether columns files have frames that an erase named: a crash came before they were merged
    /// without them.
    pub(crate) fn has_erased_columns(&self) -> bool {
        let spaces = self.memory.spaces.values();
        let mut sections = spaces.flat_map(|space| space.sections());
        sections.any(|section| self.erased.iter().any(|frame| section.holds_sequence(*frame)))
    }

    /// The memory, and the frames whose erasure a crash cut short.
    pub(crate) fn finish(mut self) -> (Memory, HashSet<u64>) {
        self.memory.codes_rows = true;
        // What is counted is of this life.
        self.memory.lapses = LapseCounters::default();
        (self.memory, &self.erased - &self.gaps)
    }
}

impl Replay for Rebuilding {
    fn apply(&mut self, frame: Frame<'_>) -> Result<(), String> {
        if !self.memory.arena.can_grow() {
            let bytes = self.memory.arena.bytes_max();
            return Err(format!("{bytes} bytes of memory do not hold it; raise memory_bytes_max"));
        }
        let operation = frame.head.operation;
        if Operation::from_u16(operation).is_none() {
            return Err(format!(
                "operation {operation} is unknown to this build; start the build that wrote it"
            ));
        }
        self.memory.apply(&frame).map_err(|error| error.to_string())?;
        // Nobody waits meanwhile, and what follows may need the room.
        for mut retired in self.memory.retired.drain(..) {
            while !retired.release(&mut self.memory.arena, usize::MAX) {}
        }
        match Operation::from_u16(frame.head.operation) {
            Some(Operation::Erase) => {
                let erase = ErasePayload::decode(frame.payload).map_err(|e| e.to_string())?;
                self.erased.extend(erase.sequences);
            }
            Some(Operation::Gap) => {
                let gap = Gap::decode(&frame).map_err(|error| error.to_string())?;
                if gap.reason == GapReason::Erased {
                    self.gaps.insert(frame.sequence);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn is_erased(&self, sequence: u64) -> bool {
        self.erased.contains(&sequence)
    }
}
