//! The shard: one owner of a log and of what the log says.
//!
//! A [`Shard`] is passive. It is called with a request and answers at once, or takes the request
//! and answers later through [`Effect`]s, when the log has made it durable. It starts no thread,
//! opens no socket and reads no clock; what it needs of the world comes through its [`Io`].
//!
//! Writes go through four steps. *Admit*: everything that can fail is checked, and refused here.
//! *Log*: the request becomes a frame of the open batch. *Apply*: in the order of sequences, each
//! frame changes the memory; this cannot fail, and replaying the log does exactly the same.
//! *Answer*: when the frame is as durable as the request asked.

mod consolidate;
mod lapses;
mod pending;
mod reading;
mod recall;
mod recalls;
mod relations;
mod same;
mod snapshot;
mod spread;
mod threaded;

use std::collections::{HashMap, VecDeque};
use std::io;

use bytes::Bytes;
use thiserror::Error;

use self::consolidate::{Erasing, Waiting};
use self::lapses::Lapses;
use self::pending::{About, Admission, Owner, Pending, Progress};
use self::recalls::Recalls;
use self::snapshot::Snapshot;
use self::threaded::threaded;
use crate::arena::{Arena, Binder};
use crate::consolidation::{Consolidator, restore};
use crate::episode::{
    Activation, Durability, Episode, Linked, Priority, Refusal, Reinforced, Sequence, SpaceNumber,
    SpaceSettings, StoreRequest, Unlinked,
};
use crate::eraser::{Eraser, Wanted};
use crate::format::{
    Frame, FrameHead, Operation, SpacePayload, StoreFacts, encode_forget, encode_space,
    encode_store, forget_bytes, space_bytes, store_sizes,
};
use crate::io::{Copied, Io, Purpose};
use crate::keys::{FirstAnswer, KeyHash};
use crate::limits::{DEGRADED_FROM, SPACES_MAX};
use crate::log::{
    AppendError, Appending, Basis, Log, LogCounters, LogEvent, LogIdentity, LogSettings, Recovered,
    RecoveryError, RecoverySettings, StageTimes,
};
use crate::memory::{Memory, Rebuilding};
use crate::recall::{Scratch, check_vector};
use crate::space::{Section, Space};
use crate::spreading::Pools;

/// The hint that goes with a refusal for want of room in the log.
const RETRY_LOG_MS: u32 = 5;
/// The hint that goes with a refusal for want of memory, and when a consolidation is about to give
/// some back.
const RETRY_MEMORY_MS: u32 = 1000;
const RETRY_CONSOLIDATION_MS: u32 = 20;

pub use self::consolidate::Notice;
pub use self::lapses::LapseCounters;
pub use self::recalls::RecallCounters;
pub use crate::consolidation::{Advanced, ConsolidationSettings, ConsolidationStats, RestoreError};

/// What the caller calls a request; comes back with its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(pub u64);

/// How a shard is opened.
#[derive(Debug, Clone)]
pub struct ShardSettings {
    pub identity: LogIdentity,
    pub log: LogSettings,
    pub recovery: RecoverySettings,
    /// Bound on the memory of episodes, bytes.
    pub memory_bytes_max: u64,
    /// How much of it to take from the kernel before the shard opens.
    pub memory_prefault_bytes: u64,
    pub consolidation: ConsolidationSettings,
}

/// The answer to a write.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    Stored(Activation),
    /// The sequence, and whether there was an episode to forget.
    Forgotten {
        sequence: Sequence,
        existed: bool,
    },
    Linked(Linked),
    /// `None` without an episode whose links they could be.
    Unlinked(Option<Unlinked>),
    /// Whether the episode is superseded by the one that was named; `None` without such an
    /// episode.
    Superseded {
        sequence: Sequence,
        is_by: Option<bool>,
    },
    /// `None` without such an episode.
    Reinforced(Option<Reinforced>),
    /// The sequence of the forget it began with, whether there was anything but forgets to erase,
    /// and how many frames of how many bytes the log lost.
    Erased {
        sequence: Sequence,
        existed: bool,
        frames: u64,
        bytes: u64,
    },
    SpaceCreated {
        space: SpaceNumber,
    },
    SpaceDropped,
    Consolidated,
    /// A snapshot will have everything up to here.
    SnapshotCut {
        through_sequence: u64,
    },
    SnapshotCopied(Copied),
    SnapshotDropped,
}

/// What a shard tells its caller.
#[derive(Debug)]
pub enum Effect {
    Answer {
        ticket: Ticket,
        result: Result<Reply, Refusal>,
    },
    /// A batch became durable.
    Committed {
        frames: u32,
        bytes: u64,
        times: StageTimes,
    },
    Noticed(Notice),
}

/// Why a shard was not opened.
#[derive(Debug, Error)]
pub enum OpenError {
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    #[error(transparent)]
    Restore(#[from] RestoreError),
    #[error("the shard's memory of {bytes} bytes cannot be reserved: {error}")]
    Memory { bytes: u64, error: io::Error },
}

/// Figures of one shard.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ShardStats {
    pub spaces: u64,
    pub episodes: u64,
    pub rows: u64,
    pub rows_dead: u64,
    /// Of the rows those that are in no columns file.
    pub rows_in_tails: u64,
    pub keys: u64,
    pub memory_bytes: u64,
    pub memory_bytes_max: u64,
    pub pressure: f32,
    pub applied: u64,
    pub durable: u64,
    pub log: LogCounters,
    pub recalls: RecallCounters,
    pub lapses: LapseCounters,
    pub log_segment: u64,
    pub log_offset: u64,
    pub is_read_only: bool,
}

/// Figures of one memory space on one shard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpaceStats {
    pub episodes: u64,
    pub rows: u64,
    pub rows_dead: u64,
    /// Of the rows those that are in no columns file.
    pub rows_in_tails: u64,
    /// Of the episodes those that are superseded.
    pub superseded: u64,
    /// Bytes of its sections in columns files.
    pub columns_bytes: u64,
}

/// See the top of the file.
#[derive(Debug)]
pub struct Shard<I> {
    log: Log<I>,
    memory: Memory,
    pending: VecDeque<Pending>,
    /// The keys that came with pending stores. A store that repeats one must not be logged: once
    /// the first is erased, it would be a store of its own to a replay.
    pending_keys: HashMap<KeyHash, FirstAnswer>,
    /// Spaces whose creation or drop is logged and not applied yet, by name, with the sequence:
    /// neither can be asked for again, and a space on its way out takes no more stores.
    changing: HashMap<String, u64>,
    /// Highest space number given so far, be its creation applied or not.
    last_number: u32,
    eraser: Eraser,
    scratch: Scratch,
    pools: Pools,
    recalls: Recalls,
    lapses: Lapses,
    consolidator: Consolidator,
    consolidating: Vec<Waiting>,
    erasing: Vec<Erasing>,
    snapshot: Option<Snapshot>,
}

impl<I: Io> Shard<I> {
    /// Opens a shard by replaying its log. `bind` places the reserved memory before it is touched.
    pub fn open(
        mut io: I,
        settings: &ShardSettings,
        bind: Binder<'_>,
    ) -> Result<(Self, Recovered), OpenError> {
        let bytes = settings.memory_bytes_max;
        let mut arena =
            Arena::reserve(bytes, bind).map_err(|error| OpenError::Memory { bytes, error })?;
        arena
            .prefault(settings.memory_prefault_bytes)
            .map_err(|error| OpenError::Memory { bytes: settings.memory_prefault_bytes, error })?;
        let mut memory = Memory::new(arena);
        let ShardSettings { identity, log, recovery, .. } = settings;
        let basis = Basis::read(&mut io, identity)?;
        let manifest = basis.manifest.newest();
        let (restored, erasures) = restore(&mut io, manifest.as_ref(), &mut memory)?;
        let mut rebuilding = Rebuilding::new(memory, erasures);
        let (log, recovered) =
            Log::open_on(&basis, io, *identity, *log, recovery, &mut rebuilding)?;
        let mut consolidator = Consolidator::new(settings.consolidation, restored);
        if rebuilding.has_erased_columns() {
            consolidator.ask(true);
        }
        let (memory, unfinished) = rebuilding.finish();
        let last_number = memory.last_space;
        let (pending, changing) = (VecDeque::new(), HashMap::new());
        let eraser = Eraser::new(unfinished);
        let shard = Self {
            log,
            memory,
            pending,
            pending_keys: HashMap::new(),
            changing,
            last_number,
            eraser,
            scratch: Scratch::default(),
            pools: spread::pools(bytes),
            recalls: Recalls::default(),
            lapses: Lapses::default(),
            consolidator,
            consolidating: Vec::new(),
            erasing: Vec::new(),
            snapshot: None,
        };
        Ok((shard, recovered))
    }

    pub fn io(&self) -> &I {
        self.log.io()
    }

    pub fn io_mut(&mut self) -> &mut I {
        self.log.io_mut()
    }

    /// A space that takes more into it: not one on its way out.
    fn open_space(&self, number: SpaceNumber) -> Result<&Space, Refusal> {
        let space = self.memory.space(number)?;
        if self.changing.contains_key(&space.settings.name) {
            return Err(Refusal::NoSpace(space.settings.name.clone()));
        }
        Ok(space)
    }

    /// Admits a store. `None` means that the answer follows as an effect; a store that repeats the
    /// idempotency key of a durable one is answered at once and writes nothing.
    pub fn store(
        &mut self,
        ticket: Ticket,
        request: &StoreRequest,
    ) -> Result<Option<Reply>, Refusal> {
        self.expire();
        let space = self.open_space(request.space)?;
        let lifetime = space.settings.lifetime;
        let norm = check_vector(&space.settings, &request.episode.vector)?;
        let request = &*threaded(request, &space.settings)?;
        let key = (!request.key.is_empty())
            .then(|| KeyHash::new(request.space, &request.episode.id, &request.key));
        if let Some(key) = key {
            if let Some(&FirstAnswer { sequence, .. }) = self.pending_keys.get(&key) {
                self.pending_at(sequence).followers.push(ticket);
                return Ok(None);
            }
            // One that is known and neither pending nor durable came before the log latched.
            let first = self.memory.keys.get(key);
            if let Some(first) = first.filter(|first| first.sequence <= self.log.durable()) {
                return Ok(Some(Reply::Stored(first.again(self.memory.pressure()))));
            }
        }
        if request.dedup
            && let Some(answer) = self.find_same(ticket, request)?
        {
            return Ok(answer);
        }
        self.check_memory()?;
        let now = self.log.io().wall_us();
        let head = FrameHead {
            operation: Operation::Store as u16,
            recorded_at_us: now,
            happened_at_us: request.episode.happened_at_us.unwrap_or(now),
            writer_uid: request.writer_uid,
        };
        let (sizes, bytes) = store_sizes(request);
        let facts = StoreFacts { norm, expires_at_us: request.ttl.expiry(lifetime, now) };
        let Episode { id, vector, text, confidence, .. } = &request.episode;
        let content = request.dedup.then(|| (KeyHash::of_content(vector, text), *confidence));
        let how = Admission::of(Owner::Caller(ticket), request.durability)
            .patient(request.priority != Priority::High)
            .about(request.space, id);
        let how = Admission { key, content, ..how };
        let sequence = self.append(how, &head, bytes, |out| {
            encode_store(request, sizes, facts, out);
        })?;
        if let Some(key) = key {
            let confidence = request.episode.confidence;
            self.pending_keys.insert(key, FirstAnswer { sequence, confidence });
        }
        Ok(None)
    }

    /// Admits a forget. Whether there was an episode is found out in its turn.
    pub fn forget(
        &mut self,
        ticket: Ticket,
        space: SpaceNumber,
        id: &[u8],
        durability: Durability,
        writer_uid: u32,
    ) -> Result<(), Refusal> {
        self.memory.space(space)?;
        let head = self.head(Operation::Forget, writer_uid);
        let how = Admission::of(Owner::Caller(ticket), durability).using_reserve().patient(true);
        let how = how.about(space, id);
        self.append(how, &head, forget_bytes(id), |out| {
            encode_forget(space, id, out);
        })?;
        Ok(())
    }

    /// Admits an erase: a forget at once, then the removal of every byte that the log has of the
    /// episode. The answer comes when they are gone.
    pub fn erase(
        &mut self,
        ticket: Ticket,
        space: SpaceNumber,
        id: &Bytes,
        writer_uid: u32,
    ) -> Result<(), Refusal> {
        self.memory.space(space)?;
        let head = self.head(Operation::Forget, writer_uid);
        let owner = Owner::Erase { ticket, space, id: id.clone() };
        let how = Admission::of(owner, Durability::Disk).using_reserve().about(space, id);
        self.append(how, &head, forget_bytes(id), |out| {
            encode_forget(space, id, out);
        })?;
        Ok(())
    }

    /// Admits the creation of a space. The first shard gives the number, the others are told it.
    /// `None` means that the answer follows; a space that exists just so is answered at once.
    pub fn create_space(
        &mut self,
        ticket: Ticket,
        number: Option<SpaceNumber>,
        settings: &SpaceSettings,
        writer_uid: u32,
    ) -> Result<Option<Reply>, Refusal> {
        if self.changing.contains_key(&settings.name) {
            return Err(Refusal::Busy { what: "this memory space", retry_after_ms: RETRY_LOG_MS });
        }
        if let Some(&space) = self.memory.names.get(&settings.name) {
            let existing = &self.memory.spaces[&space].settings;
            if existing == settings && number.is_none_or(|number| number == space) {
                return Ok(Some(Reply::SpaceCreated { space }));
            }
            let name = &settings.name;
            return Err(Refusal::Syntax(format!(
                "a memory space named '{name}' exists with other settings; see EG.SPACE INFO"
            )));
        }
        if self.memory.spaces.len() + self.changing.len() >= SPACES_MAX {
            let got = self.memory.spaces.len() + 1;
            return Err(Refusal::TooBig {
                what: "the list of memory spaces",
                got,
                max: SPACES_MAX,
            });
        }
        self.check_memory()?;
        let number = number.unwrap_or(SpaceNumber(self.last_number + 1));
        let head = self.head(Operation::SpaceCreate, writer_uid);
        let how = Admission::of(Owner::Caller(ticket), Durability::Disk);
        let sequence = self.append(how, &head, space_bytes(settings), |out| {
            encode_space(number, settings, out);
        })?;
        self.last_number = self.last_number.max(number.0);
        self.changing.insert(settings.name.clone(), sequence);
        Ok(None)
    }

    /// Admits the drop of a space with everything in it.
    pub fn drop_space(
        &mut self,
        ticket: Ticket,
        space: SpaceNumber,
        writer_uid: u32,
    ) -> Result<(), Refusal> {
        let settings = self.memory.space(space)?.settings.clone();
        if self.changing.contains_key(&settings.name) {
            return Err(Refusal::Busy { what: "this memory space", retry_after_ms: RETRY_LOG_MS });
        }
        let head = self.head(Operation::SpaceDrop, writer_uid);
        let how = Admission::of(Owner::Caller(ticket), Durability::Disk).using_reserve();
        let sequence = self.append(how, &head, space_bytes(&settings), |out| {
            encode_space(space, &settings, out);
        })?;
        self.changing.insert(settings.name, sequence);
        Ok(())
    }

    fn head(&self, operation: Operation, writer_uid: u32) -> FrameHead {
        let now = self.log.io().wall_us();
        let operation = operation as u16;
        FrameHead { operation, recorded_at_us: now, happened_at_us: now, writer_uid }
    }

    fn check_memory(&self) -> Result<(), Refusal> {
        let retry_after_ms = match self.memory.tails_bytes_max {
            _ if self.memory.bytes_free() > 0 => return Ok(()),
            Some(_) => RETRY_CONSOLIDATION_MS,
            None => RETRY_MEMORY_MS,
        };
        Err(Refusal::Busy { what: "the shard's memory", retry_after_ms })
    }

    fn append(
        &mut self,
        how: Admission,
        head: &FrameHead,
        bytes: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<u64, Refusal> {
        let Admission { owner, durability, uses_reserve, is_patient, key, about, content } = how;
        let eager = durability == Durability::Os;
        let appending = Appending { eager, uses_reserve, is_patient };
        let appended = self.log.append(head, bytes, appending, fill);
        let sequence = appended.map_err(|error| match error {
            AppendError::Busy => Refusal::LogFull { retry_after_ms: RETRY_LOG_MS },
            AppendError::ReadOnly(reason) => Refusal::ReadOnly(reason),
        })?;
        let progress = Progress::Logged;
        let followers = Vec::new();
        let content =
            content.map(|(content, confidence)| (content, FirstAnswer { sequence, confidence }));
        let about = about.map(|episode| About { episode, content });
        let pending = Pending { sequence, owner, durability, progress, key, about, followers };
        self.pending.push_back(pending);
        Ok(sequence)
    }

    fn pending_at(&mut self, sequence: u64) -> &mut Pending {
        let first = self.pending.front().expect("every frame of this process is pending").sequence;
        let nth = usize::try_from(sequence - first).expect("pending is contiguous");
        &mut self.pending[nth]
    }

    /// Hands batches to the disk as far as it has room, and has memory brought in for what will be
    /// stored. Call after a round of requests and after
    /// [`poll`](Self::poll). Answers when to call again if a batch lingers, or if notes of
    /// recalls or expired episodes wait, on the monotonic clock.
    pub fn pump(&mut self) -> Option<u64> {
        while let Some((chunk, stretch)) = self.memory.arena.next_ahead() {
            self.log.io_mut().bring_in(Purpose::Chunk(chunk), stretch);
        }
        self.log_recalls();
        self.log_lapses();
        let due_ns = [self.log.pump(), self.recalls.due_ns(), self.lapses_due_ns()];
        due_ns.into_iter().flatten().min()
    }

    /// Takes what the disk has done and turns it into effects.
    pub fn poll(&mut self, effects: &mut Vec<Effect>) {
        while let Some(event) = self.log.poll() {
            match event {
                LogEvent::Apply(batch) => {
                    self.expire();
                    for frame in batch.view().frames() {
                        self.apply(&frame, effects);
                    }
                    self.log.recycle(batch);
                }
                LogEvent::Durable { through, frames, bytes, times } => {
                    effects.push(Effect::Committed { frames, bytes, times });
                    self.answer_through(through, effects);
                }
                LogEvent::Refused { from, reason } => self.refuse_from(from, &reason, effects),
                LogEvent::Failed { reason } => self.refuse_from(0, &reason, effects),
                LogEvent::Read { transfer, result } => {
                    let erased = self.eraser.take_read(&mut self.log, transfer, result);
                    self.answer_erased(erased, effects);
                }
                LogEvent::ManifestWritten { .. } => self.take_manifest(),
                LogEvent::File(event) => self.take_file(event, effects),
                LogEvent::Copied { result } => self.take_copied(result, effects),
                LogEvent::Released { .. } => {}
                LogEvent::BroughtIn { purpose: Purpose::Chunk(chunk) } => {
                    self.memory.arena.brought_in(chunk);
                }
                LogEvent::BroughtIn { purpose: Purpose::Consolidation(number) } => {
                    self.consolidator.take_memory(number);
                }
                LogEvent::Overwritten { transfer } => {
                    let erased = self.eraser.take_overwritten(&mut self.log, transfer);
                    self.answer_erased(erased, effects);
                }
            }
        }
        self.advance_snapshot(effects);
        self.advance_eraser(effects);
        self.answer_consolidated(effects);
    }

    fn advance_eraser(&mut self, effects: &mut Vec<Effect>) {
        // What is being copied is not written over.
        let must_wait = self.snapshot.is_some() && !self.eraser.is_passing();
        if self.eraser.is_idle() || must_wait && self.log.latch().is_none() {
            return;
        }
        let (now, pending) = (self.log.io().wall_us(), &mut self.pending);
        let erased = self.eraser.advance(&mut self.log, &self.memory, |log, erase| {
            let operation = Operation::Erase as u16;
            let head =
                FrameHead { operation, recorded_at_us: now, happened_at_us: now, writer_uid: 0 };
            let appending = Appending { uses_reserve: true, ..Appending::default() };
            match log.append(&head, erase.bytes(), appending, |out| erase.encode(out)) {
                Ok(sequence) => {
                    let (owner, durability) = (Owner::Shard, Durability::Disk);
                    let progress = Progress::Logged;
                    let (key, about, followers) = (None, None, Vec::new());
                    let frame =
                        Pending { sequence, owner, durability, progress, key, about, followers };
                    pending.push_back(frame);
                    Ok(Some(sequence))
                }
                Err(AppendError::Busy) => Ok(None),
                Err(AppendError::ReadOnly(reason)) => Err(Refusal::ReadOnly(reason)),
            }
        });
        self.answer_erased(erased, effects);
    }

    fn apply(&mut self, frame: &Frame<'_>, effects: &mut Vec<Effect>) {
        let applied = self.memory.apply(frame).expect("what was admitted can be applied");
        if let Some(Ok(Reply::SpaceCreated { .. } | Reply::SpaceDropped)) = applied {
            let payload = SpacePayload::decode(frame.payload).expect("just applied");
            self.changing.remove(&payload.settings.name);
        }
        let pending = self.pending_at(frame.sequence);
        pending.progress = match pending.durability {
            Durability::Disk => Progress::Applied(applied),
            Durability::Os => {
                effects.extend(
                    pending
                        .owner
                        .ticket()
                        .zip(applied)
                        .map(|(ticket, result)| Effect::Answer { ticket, result }),
                );
                Progress::Answered
            }
        };
    }

    fn answer_through(&mut self, through: u64, effects: &mut Vec<Effect>) {
        while self.pending.front().is_some_and(|pending| pending.sequence <= through) {
            let Pending { sequence, owner, progress, key, about, followers, .. } =
                self.pending.pop_front().expect("just seen");
            match progress {
                Progress::Applied(Some(result)) => match owner {
                    Owner::Caller(ticket) => {
                        effects.push(Effect::Answer { ticket, result });
                    }
                    Owner::Erase { ticket, space, id } => {
                        let existed = matches!(result, Ok(Reply::Forgotten { existed: true, .. }));
                        let through = sequence;
                        self.erasing.push(Erasing { ticket, space, id: id.clone() });
                        self.eraser.add(Wanted { ticket, space, id, through, existed });
                    }
                    Owner::Shard => {}
                },
                Progress::Applied(None) | Progress::Answered => {}
                Progress::Logged => unreachable!("the log applies before it calls durable"),
            }
            let by_key = key.and_then(|key| self.pending_keys.remove(&key));
            let by_content = about.and_then(|about| about.content).map(|(_, first)| first);
            if let Some(first) = by_key.or(by_content) {
                let pressure = self.memory.pressure();
                let answer = |ticket| {
                    let result = Ok(Reply::Stored(first.again(pressure)));
                    Effect::Answer { ticket, result }
                };
                effects.extend(followers.into_iter().map(answer));
            }
        }
    }

    /// Answers everything from a sequence on, as far as it was not answered, with a refusal.
    fn refuse_from(&mut self, from: u64, reason: &str, effects: &mut Vec<Effect>) {
        let kept = self.pending.iter().take_while(|pending| pending.sequence < from).count();
        for Pending { owner, progress, followers, .. } in self.pending.drain(kept..) {
            let is_answered = matches!(progress, Progress::Answered);
            let owner = owner.ticket().filter(|_| !is_answered);
            effects.extend(owner.into_iter().chain(followers).map(|ticket| {
                let result = Err(Refusal::ReadOnly(reason.into()));
                Effect::Answer { ticket, result }
            }));
        }
        self.pending_keys.retain(|_, first| first.sequence < from);
        self.changing.retain(|_, sequence| *sequence < from);
    }

    /// Brings the spaces of a read-only shard in line with these, in memory alone: what a start
    /// that may write would log. The next such start finds the same to do.
    ///
    /// # Panics
    /// When the shard takes writes.
    pub fn assume_spaces(&mut self, truth: &[(SpaceNumber, SpaceSettings)]) {
        assert!(self.log.latch().is_some(), "a shard that takes writes logs what it changes");
        let own: Vec<_> =
            self.spaces().map(|(number, settings)| (number, settings.clone())).collect();
        for (number, settings) in own.iter().filter(|space| !truth.contains(space)) {
            self.memory.remove_space(*number, &settings.name);
        }
        for (number, settings) in truth.iter().filter(|space| !own.contains(space)) {
            self.memory.insert_space(*number, settings.clone());
        }
    }

    /// The share of the memory in use, 0 to 1: what is left of the [pressure](ShardStats::pressure)
    /// without the lanes.
    pub fn memory_share(&self) -> f32 {
        self.memory.share()
    }

    /// Counts how full what feeds the shard is to its [pressure](ShardStats::pressure), 0 to 1.
    pub fn set_crowd(&mut self, share: f32) {
        self.memory.crowd = share;
    }

    /// Whether writes that can wait have to: the disk has a full batch before it.
    pub fn is_backed_up(&self) -> bool {
        self.log.is_backed_up()
    }

    /// To be called from time to time, e.g. every 100 ms.
    pub fn tick(&mut self) {
        self.memory.arena.tick();
        self.log.tick();
        self.expire();
        self.find_faded();
        if self.memory.pressure() >= DEGRADED_FROM {
            self.pools.shrink();
        }
    }

    /// Says that no more writes will come: once idle, the log has noted where it ends.
    pub fn close(&mut self) {
        self.log.close();
    }

    /// Whether every write that was taken is on disk. Erases may be under way.
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.log.is_idle()
    }

    /// Blocks until the disk has done something; only while not idle.
    pub fn wait(&mut self) -> io::Result<()> {
        self.log.wait()
    }

    /// The spaces of this shard, by number.
    pub fn spaces(&self) -> impl Iterator<Item = (SpaceNumber, &SpaceSettings)> {
        self.memory.spaces.values().map(|space| (space.number, &space.settings))
    }

    /// The highest number of a space so far, be the space there or not; 0 before the first.
    pub fn last_space(&self) -> SpaceNumber {
        SpaceNumber(self.last_number)
    }

    /// The number and settings of the space with this name.
    pub fn space_named(&self, name: &str) -> Result<(SpaceNumber, &SpaceSettings), Refusal> {
        let number = self.memory.names.get(name).ok_or_else(|| Refusal::NoSpace(name.into()))?;
        Ok((*number, &self.memory.spaces[number].settings))
    }

    pub fn space_stats(&self, space: SpaceNumber) -> Result<SpaceStats, Refusal> {
        let space = self.memory.space(space)?;
        Ok(SpaceStats {
            episodes: space.episodes() as u64,
            rows: space.rows() as u64,
            rows_dead: space.rows_dead() as u64,
            rows_in_tails: space.rows_in_memory(),
            superseded: space.superseded(&self.memory.arena),
            columns_bytes: space.sections().iter().map(Section::bytes).sum(),
        })
    }

    pub fn stats(&self) -> ShardStats {
        let (log_segment, log_offset) = self.log.position();
        let spaces = || self.memory.spaces.values();
        ShardStats {
            spaces: self.memory.spaces.len() as u64,
            episodes: spaces().map(|space| space.episodes() as u64).sum(),
            rows: spaces().map(|space| space.rows() as u64).sum(),
            rows_dead: spaces().map(|space| space.rows_dead() as u64).sum(),
            rows_in_tails: spaces().map(|space| space.rows_in_memory()).sum(),
            keys: self.memory.keys.count() as u64,
            memory_bytes: self.memory.bytes_in_use(),
            memory_bytes_max: self.memory.arena.bytes_max(),
            pressure: self.memory.pressure(),
            applied: self.memory.applied,
            durable: self.log.durable(),
            log: self.log.counters(),
            recalls: self.recalls.counters(),
            lapses: self.memory.lapses,
            log_segment,
            log_offset,
            is_read_only: self.read_only_reason().is_some(),
        }
    }

    /// Why the shard takes no writes, or none that need another segment; `None` while it does.
    pub fn read_only_reason(&self) -> Option<&str> {
        self.log.latch().or_else(|| self.log.out_of_space())
    }

    /// Checks that everything agrees with everything; what does not, in words.
    pub fn verify(&self) -> Vec<String> {
        let spaces = self.memory.spaces.values();
        spaces.flat_map(|space| space.verify(&self.memory.arena)).collect()
    }
}
