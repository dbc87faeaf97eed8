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

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;

use thiserror::Error;

use crate::arena::{Arena, Binder};
use crate::episode::{
    Activation, Confidence, Durability, Fields, Hit, Outcome, RecallRequest, Refusal, Sequence,
    SpaceNumber, SpaceSettings, StoreRequest, StoredEpisode,
};
use crate::format::{
    ForgetPayload, Frame, FrameHead, Operation, PayloadError, SpacePayload, StorePayload,
    encode_forget, encode_space, encode_store, forget_bytes, space_bytes, store_sizes,
};
use crate::io::Io;
use crate::keys::{FirstAnswer, KEYS_MAX, KeyHash, Keys};
use crate::limits::SPACES_MAX;
use crate::log::{
    AppendError, Log, LogCounters, LogEvent, LogIdentity, LogSettings, Recovered, RecoveryError,
    StageTimes,
};
use crate::recall::{Recall, check_vector};
use crate::space::Space;

/// Memory of a row outside the arena: its record, its columns, its entry in the id table.
const ROW_TABLE_BYTES: u64 = 64 + 16 + 16;
/// Memory of a remembered idempotency key.
const KEY_TABLE_BYTES: u64 = 16 + 16 + 40;
/// Share of the memory in use from which an answer says `degraded`.
const DEGRADED_FROM: f32 = 0.8;
/// The hint that goes with a refusal for want of room in the log.
const RETRY_LOG_MS: u32 = 5;
/// The hint that goes with a refusal for want of memory.
const RETRY_MEMORY_MS: u32 = 1000;

/// What the caller calls a request; comes back with its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(pub u64);

/// How a shard is opened.
#[derive(Debug, Clone, Copy)]
pub struct ShardSettings {
    pub identity: LogIdentity,
    pub log: LogSettings,
    /// Bound on the memory of episodes, bytes.
    pub memory_bytes_max: u64,
    /// How much of it to take from the kernel before the shard opens.
    pub memory_prefault_bytes: u64,
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
    SpaceCreated {
        space: SpaceNumber,
    },
    SpaceDropped,
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
}

/// Why a shard was not opened.
#[derive(Debug, Error)]
pub enum OpenError {
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    #[error("the shard's memory of {bytes} bytes cannot be reserved: {error}")]
    Memory { bytes: u64, error: io::Error },
}

/// A write that was taken and is not durable.
#[derive(Debug)]
struct Pending {
    sequence: u64,
    ticket: Ticket,
    durability: Durability,
    progress: Progress,
}

#[derive(Debug)]
enum Progress {
    Logged,
    Applied(Reply),
    /// Before it is durable: the request asked for no more than being written.
    Answered,
}

/// Figures of one shard.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ShardStats {
    pub spaces: u64,
    pub episodes: u64,
    pub rows: u64,
    pub rows_dead: u64,
    pub keys: u64,
    pub memory_bytes: u64,
    pub memory_bytes_max: u64,
    pub pressure: f32,
    pub applied: u64,
    pub durable: u64,
    pub log: LogCounters,
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
}

/// See the top of the file.
#[derive(Debug)]
pub struct Shard<I> {
    log: Log<I>,
    memory: Memory,
    pending: VecDeque<Pending>,
    /// Spaces whose creation or drop is logged and not applied yet, by name, with the sequence:
    /// neither can be asked for again, and a space on its way out takes no more stores.
    changing: HashMap<String, u64>,
    /// Highest space number given so far, be its creation applied or not.
    last_number: u32,
}

/// What the log says: everything a replay rebuilds.
#[derive(Debug)]
struct Memory {
    arena: Arena,
    spaces: BTreeMap<SpaceNumber, Space>,
    names: HashMap<String, SpaceNumber>,
    keys: Keys,
    /// Highest space number ever used here.
    last_space: u32,
    applied: u64,
    rows: u64,
}

impl<I: Io> Shard<I> {
    /// Opens a shard by replaying its log. `bind` places the reserved memory before it is touched.
    pub fn open(
        io: I,
        settings: &ShardSettings,
        bind: Binder<'_>,
    ) -> Result<(Self, Recovered), OpenError> {
        let bytes = settings.memory_bytes_max;
        let arena =
            Arena::reserve(bytes, bind).map_err(|error| OpenError::Memory { bytes, error })?;
        arena
            .prefault(settings.memory_prefault_bytes)
            .map_err(|error| OpenError::Memory { bytes: settings.memory_prefault_bytes, error })?;
        let mut memory = Memory {
            arena,
            spaces: BTreeMap::new(),
            names: HashMap::new(),
            keys: Keys::new(KEYS_MAX),
            last_space: 0,
            applied: 0,
            rows: 0,
        };
        let mut replay = |frame: Frame<'_>| {
            if !memory.arena.can_grow() {
                return Err(format!(
                    "{bytes} bytes of memory do not hold it; raise memory_bytes_max"
                ));
            }
            let operation = frame.head.operation;
            if Operation::from_u16(operation).is_none() {
                return Err(format!(
                    "operation {operation} is unknown to this build; start the build that wrote it"
                ));
            }
            memory.apply(&frame).map(drop).map_err(|error| error.to_string())
        };
        let (log, recovered) = Log::open(io, settings.identity, settings.log, &mut replay)?;
        let last_number = memory.last_space;
        let (pending, changing) = (VecDeque::new(), HashMap::new());
        let shard = Self { log, memory, pending, changing, last_number };
        Ok((shard, recovered))
    }

    pub fn io(&self) -> &I {
        self.log.io()
    }

    pub fn io_mut(&mut self) -> &mut I {
        self.log.io_mut()
    }

    /// Admits a store. `None` means that the answer follows as an effect; a store that repeats the
    /// idempotency key of a durable one is answered at once and writes nothing.
    pub fn store(
        &mut self,
        ticket: Ticket,
        request: &StoreRequest,
    ) -> Result<Option<Reply>, Refusal> {
        let space = self.memory.space(request.space)?;
        if self.changing.contains_key(&space.settings.name) {
            return Err(Refusal::NoSpace(space.settings.name.clone()));
        }
        let norm = check_vector(&space.settings, &request.episode.vector)?;
        if !request.key.is_empty() {
            let key = KeyHash::new(request.space, &request.episode.id, &request.key);
            let first = self.memory.keys.get(key);
            if let Some(first) = first.filter(|first| first.sequence <= self.log.durable()) {
                return Ok(Some(Reply::Stored(first.again(self.memory.pressure()))));
            }
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
        self.append(ticket, &head, request.durability, bytes, |out| {
            encode_store(request, sizes, norm, out);
        })?;
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
        self.append(ticket, &head, durability, forget_bytes(id), |out| {
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
        let sequence =
            self.append(ticket, &head, Durability::Disk, space_bytes(settings), |out| {
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
        let sequence =
            self.append(ticket, &head, Durability::Disk, space_bytes(&settings), |out| {
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
        if self.memory.bytes_in_use() < self.memory.arena.bytes_max() {
            return Ok(());
        }
        Err(Refusal::Busy { what: "the shard's memory", retry_after_ms: RETRY_MEMORY_MS })
    }

    fn append(
        &mut self,
        ticket: Ticket,
        head: &FrameHead,
        durability: Durability,
        bytes: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<u64, Refusal> {
        let eager = durability == Durability::Os;
        let sequence = self.log.append(head, bytes, eager, fill).map_err(|error| match error {
            AppendError::Busy => {
                Refusal::Busy { what: "the shard's log", retry_after_ms: RETRY_LOG_MS }
            }
            AppendError::ReadOnly(reason) => Refusal::ReadOnly(reason),
        })?;
        self.pending.push_back(Pending {
            sequence,
            ticket,
            durability,
            progress: Progress::Logged,
        });
        Ok(sequence)
    }

    /// Hands batches to the disk as far as it has room. Call after a round of requests and after
    /// [`poll`](Self::poll). Answers when to call again if a batch lingers, on the monotonic clock.
    pub fn pump(&mut self) -> Option<u64> {
        self.log.pump()
    }

    /// Takes what the disk has done and turns it into effects.
    pub fn poll(&mut self, effects: &mut Vec<Effect>) {
        while let Some(event) = self.log.poll() {
            match event {
                LogEvent::Apply(batch) => {
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
            }
        }
    }

    fn apply(&mut self, frame: &Frame<'_>, effects: &mut Vec<Effect>) {
        let applied = self.memory.apply(frame).expect("what was admitted can be applied");
        if let Reply::SpaceCreated { .. } | Reply::SpaceDropped = applied {
            let payload = SpacePayload::decode(frame.payload).expect("just applied");
            self.changing.remove(&payload.settings.name);
        }
        let first = self.pending.front().expect("every frame of this process is pending").sequence;
        let nth = usize::try_from(frame.sequence - first).expect("pending is contiguous");
        let pending = &mut self.pending[nth];
        pending.progress = match pending.durability {
            Durability::Disk => Progress::Applied(applied),
            Durability::Os => {
                let (ticket, result) = (pending.ticket, Ok(applied));
                effects.push(Effect::Answer { ticket, result });
                Progress::Answered
            }
        };
    }

    fn answer_through(&mut self, through: u64, effects: &mut Vec<Effect>) {
        while self.pending.front().is_some_and(|pending| pending.sequence <= through) {
            let Pending { ticket, progress, .. } = self.pending.pop_front().expect("just seen");
            match progress {
                Progress::Applied(reply) => {
                    effects.push(Effect::Answer { ticket, result: Ok(reply) });
                }
                Progress::Answered => {}
                Progress::Logged => unreachable!("the log applies before it calls durable"),
            }
        }
    }

    /// Answers everything from a sequence on, as far as it was not answered, with a refusal.
    fn refuse_from(&mut self, from: u64, reason: &str, effects: &mut Vec<Effect>) {
        let kept = self.pending.iter().take_while(|pending| pending.sequence < from).count();
        for Pending { ticket, progress, .. } in self.pending.drain(kept..) {
            if !matches!(progress, Progress::Answered) {
                let result = Err(Refusal::ReadOnly(reason.into()));
                effects.push(Effect::Answer { ticket, result });
            }
        }
        self.changing.retain(|_, sequence| *sequence < from);
    }

    /// To be called from time to time, e.g. every 100 ms.
    pub fn tick(&mut self) {
        self.log.tick();
    }

    /// Whether every write that was taken has been answered.
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

    /// The number and settings of the space with this name.
    pub fn space_named(&self, name: &str) -> Result<(SpaceNumber, &SpaceSettings), Refusal> {
        let number = self.memory.names.get(name).ok_or_else(|| Refusal::NoSpace(name.into()))?;
        Ok((*number, &self.memory.spaces[number].settings))
    }

    pub fn space_stats(&self, space: SpaceNumber) -> Result<SpaceStats, Refusal> {
        let space = self.memory.space(space)?;
        Ok(SpaceStats {
            episodes: space.episodes() as u64,
            rows: u64::from(space.rows.count()),
            rows_dead: space.rows.dead() as u64,
        })
    }

    /// The episode with this id, if there is one.
    pub fn get(
        &self,
        space: SpaceNumber,
        id: &[u8],
        fields: Fields,
    ) -> Result<Option<StoredEpisode>, Refusal> {
        let space = self.memory.space(space)?;
        let row = space.find(&self.memory.arena, id);
        Ok(row.map(|row| space.read(&self.memory.arena, row, fields)))
    }

    /// The live episodes from row `cursor` on, up to `count` rows and roughly `bytes_max` bytes,
    /// and the cursor of the next call; `None` at the end. An episode that lives throughout is
    /// seen.
    pub fn scan(
        &self,
        space: SpaceNumber,
        cursor: u32,
        count: usize,
        bytes_max: usize,
        fields: Fields,
    ) -> Result<(Vec<StoredEpisode>, Option<u32>), Refusal> {
        let space = self.memory.space(space)?;
        let mut episodes = Vec::new();
        let mut bytes = 0;
        for row in cursor..space.rows.count() {
            if episodes.len() == count || bytes > bytes_max {
                return Ok((episodes, Some(row)));
            }
            if space.rows.is_alive(row) {
                bytes += space.read_bytes(row, fields);
                episodes.push(space.read(&self.memory.arena, row, fields));
            }
        }
        Ok((episodes, None))
    }

    /// Begins a recall; go on with [`recall_step`](Self::recall_step).
    pub fn recall(&self, request: RecallRequest) -> Result<Recall, Refusal> {
        let space = self.memory.space(request.space)?;
        Ok(Recall::new(request, space, self.memory.applied))
    }

    /// Compares about `bytes` more bytes of vectors; the hits when that was all.
    pub fn recall_step(&mut self, recall: &mut Recall, bytes: usize) -> Result<bool, Refusal> {
        let Memory { spaces, arena, .. } = &mut self.memory;
        let number = recall.request().space;
        let space = spaces.get_mut(&number).ok_or_else(|| gone(number))?;
        let blocks = (bytes / Recall::block_bytes(space)).max(1);
        Ok(recall.step(space, arena, blocks))
    }

    /// The result of a recall whose last step said so.
    pub fn recall_finish(&self, recall: Recall) -> Result<Vec<Hit>, Refusal> {
        let space = self.memory.space(recall.request().space)?;
        Ok(recall.finish(space, &self.memory.arena))
    }

    pub fn stats(&self) -> ShardStats {
        let (log_segment, log_offset) = self.log.position();
        let spaces = || self.memory.spaces.values();
        ShardStats {
            spaces: self.memory.spaces.len() as u64,
            episodes: spaces().map(|space| space.episodes() as u64).sum(),
            rows: spaces().map(|space| u64::from(space.rows.count())).sum(),
            rows_dead: spaces().map(|space| space.rows.dead() as u64).sum(),
            keys: self.memory.keys.count() as u64,
            memory_bytes: self.memory.bytes_in_use(),
            memory_bytes_max: self.memory.arena.bytes_max(),
            pressure: self.memory.pressure(),
            applied: self.memory.applied,
            durable: self.log.durable(),
            log: self.log.counters(),
            log_segment,
            log_offset,
            is_read_only: self.log.latch().is_some() || self.log.is_out_of_space(),
        }
    }

    /// Checks that everything agrees with everything; what does not, in words.
    pub fn verify(&self) -> Vec<String> {
        let spaces = self.memory.spaces.values();
        spaces.flat_map(|space| space.verify(&self.memory.arena)).collect()
    }
}

/// A space that another shard has and this one does not: it is being created or dropped.
fn gone(number: SpaceNumber) -> Refusal {
    Refusal::NoSpace(format!("#{}, created or dropped just now", number.0))
}

impl Memory {
    fn space(&self, number: SpaceNumber) -> Result<&Space, Refusal> {
        self.spaces.get(&number).ok_or_else(|| gone(number))
    }

    fn bytes_in_use(&self) -> u64 {
        self.arena.bytes_in_use()
            + self.rows * ROW_TABLE_BYTES
            + self.keys.count() as u64 * KEY_TABLE_BYTES
    }

    #[allow(clippy::cast_precision_loss)]
    fn pressure(&self) -> f32 {
        (self.bytes_in_use() as f32 / self.arena.bytes_max() as f32).min(1.0)
    }

    /// Does what a frame says. Frames that were admitted cannot fail here; one that does was
    /// written by another version or by a bug.
    fn apply(&mut self, frame: &Frame<'_>) -> Result<Reply, PayloadError> {
        let malformed = |operation, what| PayloadError { operation, what };
        self.applied = frame.sequence;
        match Operation::from_u16(frame.head.operation) {
            Some(Operation::Store) => self.apply_store(frame),
            Some(Operation::Forget) => {
                let ForgetPayload { space, id } = ForgetPayload::decode(frame.payload)?;
                // A drop may have overtaken the forget between admission and its turn.
                let space = self.spaces.get_mut(&space);
                let existed =
                    space.is_some_and(|space| space.remove(&self.arena, id, frame.sequence));
                Ok(Reply::Forgotten { sequence: Sequence(frame.sequence), existed })
            }
            Some(Operation::SpaceCreate) => {
                let SpacePayload { space, settings } = SpacePayload::decode(frame.payload)?;
                self.last_space = self.last_space.max(space.0);
                self.names.insert(settings.name.clone(), space);
                self.spaces.insert(space, Space::new(space, settings));
                Ok(Reply::SpaceCreated { space })
            }
            Some(Operation::SpaceDrop) => {
                let SpacePayload { space, settings } = SpacePayload::decode(frame.payload)?;
                self.names.remove(&settings.name);
                if let Some(space) = self.spaces.remove(&space) {
                    self.rows -= u64::from(space.rows.count());
                    space.release(&mut self.arena);
                }
                Ok(Reply::SpaceDropped)
            }
            None => Err(malformed("frame", "an operation that this version does not know")),
        }
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
            return Ok(Reply::Stored(first.again(pressure)));
        }
        let replaced = space.insert(&mut self.arena, frame, &store);
        self.rows += 1;
        if let Some(key) = key {
            let (sequence, confidence) = (frame.sequence, store.confidence);
            self.keys.insert(key, FirstAnswer { sequence, confidence });
        }
        let outcome = if replaced.is_some() { Outcome::Replaced } else { Outcome::Created };
        Ok(Reply::Stored(activation(frame.sequence, outcome, store.confidence, pressure)))
    }
}

impl FirstAnswer {
    /// The answer to a store that repeats an idempotency key.
    fn again(self, pressure: f32) -> Activation {
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
