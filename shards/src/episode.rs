//! What the engine is asked and what it answers: episodes, memory spaces, requests, replies.
//!
//! Requests own their bytes as [`Bytes`], slices of the buffer they were read into: they cross from
//! one shard's thread to another by value and are copied once, into the log's open batch.

mod fan;

use std::num::NonZero;

use bytes::Bytes;
use thiserror::Error;

use crate::filter::Filter;
use crate::inquiry::fusion::{Terms, Weights};
use crate::links::GistLink;
use crate::strength::{Decay, Trace};
use crate::trust::{Opinion, Trust};
use crate::words::Language;

pub use fan::{FanError, SpaceFan};

/// The number of a memory space: given at creation, never used again after a drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpaceNumber(pub u32);

/// Position of an acknowledged write in its shard's order; the first is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sequence(pub u64);

/// How two embeddings of a space are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Metric {
    /// Cosine of the angle, in [-1, 1].
    #[default]
    Cosine,
    /// Inner product.
    Dot,
    /// Euclidean distance `d`, reported as the similarity `1 / (1 + d)`, in (0, 1].
    L2,
}

/// Bits that the code of an embedding has for each dimension: more of them take more memory and
/// leave fewer rows to be compared exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CodeBits {
    #[default]
    One = 1,
    Two = 2,
    Four = 4,
}

impl CodeBits {
    pub const ALL: [Self; 3] = [Self::One, Self::Two, Self::Four];

    /// The codes with so many bits, if there are any.
    pub fn of(bits: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|codes| *codes as u32 == bits)
    }
}

/// How a memory space was created.
#[derive(Debug, Clone, PartialEq)]
pub struct SpaceSettings {
    /// UTF-8, 1 to [`SPACE_NAME_BYTES_MAX`](crate::limits::SPACE_NAME_BYTES_MAX) bytes.
    pub name: String,
    /// Components of every embedding of the space.
    pub dimensions: u32,
    pub metric: Metric,
    pub codes: CodeBits,
    /// How the number of an episode's links weakens each of them.
    pub fan: SpaceFan,
    /// Links from which on an episode counts as a hub and is inhibited, 1 at least; `None`: none
    /// does.
    pub fan_cap: Option<u32>,
    /// How memories fade.
    pub decay: Decay,
    /// How long they are kept.
    pub lifetime: Lifetime,
    pub words: WordSettings,
    /// Where in the metadata of an episode its thread is that is stored without one, as names with
    /// dots between them; empty when there is none.
    pub thread_path: String,
    /// Label of the embedding model; empty when none was given.
    pub model: String,
    /// How many shards the space spans, 1 to the shard count of the data directory.
    pub shards: u32,
}

impl SpaceSettings {
    /// Those of a memory space of which nothing else is said, on one shard.
    pub fn usual(name: impl Into<String>, dimensions: u32) -> Self {
        Self {
            name: name.into(),
            dimensions,
            metric: Metric::default(),
            codes: CodeBits::default(),
            fan: SpaceFan::default(),
            fan_cap: None,
            decay: Decay::default(),
            lifetime: Lifetime::default(),
            words: WordSettings::default(),
            thread_path: String::new(),
            model: String::new(),
            shards: 1,
        }
    }
}

/// How long a memory space keeps its episodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lifetime {
    /// Seconds from being stored that an episode lives which does not say otherwise; `None`: for
    /// ever.
    pub ttl_s: Option<NonZero<u32>>,
    /// `None`: none is archived because it has faded.
    pub archive: Option<FadingPolicy>,
    /// `None`: none is forgotten because it has faded.
    pub forget: Option<FadingPolicy>,
}

/// When a memory space archives or forgets episodes that have faded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FadingPolicy {
    /// In ten-thousandths.
    below: u16,
    /// Seconds that an episode is kept from being recorded, however weak it is.
    pub after_s: u32,
}

impl FadingPolicy {
    /// The units of its bound in 1.
    pub const UNITS: u16 = 10_000;

    /// Of a bound in ten-thousandths, above 0 and below 1.
    pub fn of_parts(below: u16, after_s: u32) -> Option<Self> {
        (1..Self::UNITS).contains(&below).then_some(Self { below, after_s })
    }

    /// The bound in ten-thousandths.
    pub fn below_units(self) -> u16 {
        self.below
    }

    /// The retention below which that becomes of an episode.
    pub fn below(self) -> f32 {
        f32::from(self.below) / f32::from(Self::UNITS)
    }
}

/// How long an episode lives from being stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ttl {
    /// As long as its memory space says.
    #[default]
    Space,
    /// For ever.
    Never,
    Seconds(NonZero<u32>),
}

impl Ttl {
    /// How many seconds it says.
    pub fn seconds(self) -> Option<NonZero<u32>> {
        match self {
            Self::Seconds(seconds) => Some(seconds),
            Self::Space | Self::Never => None,
        }
    }

    /// When an episode expires that is stored at some time into a space.
    pub fn expiry(self, lifetime: Lifetime, now_us: i64) -> Option<NonZero<i64>> {
        let seconds = match self {
            Self::Space => lifetime.ttl_s,
            Self::Never => None,
            Self::Seconds(seconds) => Some(seconds),
        };
        let expires_at_us = now_us.saturating_add(i64::from(seconds?.get()) * 1_000_000);
        // One µs more where that is what stands for never.
        NonZero::new(expires_at_us).or(NonZero::new(1))
    }
}

/// Why the time of an episode is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lapse {
    /// It has lived as long as it was to.
    Expired,
    /// It has faded so far that its memory space lets it go.
    Faded,
}

/// How a space answers questions in words.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct WordSettings {
    /// Of texts and questions.
    pub language: Language,
    /// Of questions that say nothing else.
    pub weights: Weights,
}

/// How sure the client is of an episode: a point and the interval around it, each in [0, 1].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Confidence {
    pub point: f32,
    pub low: f32,
    pub high: f32,
}

impl Confidence {
    /// An episode stored without a confidence is certain.
    pub const CERTAIN: Self = Self { point: 1.0, low: 1.0, high: 1.0 };

    /// A confidence without an interval: low = high = point.
    pub fn point(point: f32) -> Result<Self, Refusal> {
        Self::interval(point, point, point)
    }

    /// Checks 0 ≤ low ≤ point ≤ high ≤ 1; NaN fails.
    pub fn interval(point: f32, low: f32, high: f32) -> Result<Self, Refusal> {
        if 0.0 <= low && low <= point && point <= high && high <= 1.0 {
            Ok(Self { point, low, high })
        } else {
            Err(Refusal::Syntax(format!(
                "confidence must satisfy 0 <= low <= point <= high <= 1, got point {point}, low \
                 {low}, high {high}"
            )))
        }
    }
}

/// An association from the stored episode to another, which need not exist yet. Of the links of an
/// episode no two have the same target and kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    pub target: Bytes,
    /// Finite and greater than 0.
    pub weight: f32,
    /// What kind of association, e.g. `hypernym`; empty when none was given.
    pub kind: Bytes,
}

impl Link {
    /// Bytes it takes in an episode's body and, roughly, in a reply.
    pub fn bytes(&self) -> usize {
        8 + self.target.len() + self.kind.len()
    }
}

/// When a write counts as acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// After the device flushed it: survives power loss.
    #[default]
    Disk,
    /// After the kernel wrote it: survives a killed process.
    Os,
}

/// Which lane a request waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Priority {
    High,
    #[default]
    Normal,
    Low,
}

/// The content of an episode as the client gives it.
#[derive(Debug, Clone, PartialEq)]
pub struct Episode {
    /// UTF-8, 1 to [`ID_BYTES_MAX`](crate::limits::ID_BYTES_MAX) bytes.
    pub id: Bytes,
    /// Little-endian f32, `dimensions` of them, in no particular alignment.
    pub vector: Bytes,
    /// UTF-8; empty when none was given.
    pub text: Bytes,
    /// Microseconds since 1970-01-01 UTC; the shard's clock when not given.
    pub happened_at_us: Option<i64>,
    pub confidence: Confidence,
    /// A JSON object as it was sent; empty when none was given.
    pub metadata: Bytes,
    /// The conversation or session the episode belongs to; empty when none was given.
    pub thread: Bytes,
    pub links: Vec<Link>,
}

/// A store, complete and owned.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreRequest {
    pub space: SpaceNumber,
    pub episode: Episode,
    /// Idempotency key; empty when none was given.
    pub key: Bytes,
    /// Whether an episode that is there with this text and vector, byte for byte, stays as it is.
    pub dedup: bool,
    pub ttl: Ttl,
    pub priority: Priority,
    pub durability: Durability,
    /// User id of the process that wrote, from the socket's peer credentials.
    pub writer_uid: u32,
}

/// An association to make, or to give another weight.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkRequest {
    pub space: SpaceNumber,
    /// The episode whose link it is.
    pub from: Bytes,
    /// What it leads to, which need not exist.
    pub to: Bytes,
    /// Empty when none was given.
    pub kind: Bytes,
    /// Finite and greater than 0.
    pub weight: f32,
    pub durability: Durability,
    pub writer_uid: u32,
}

/// Associations to remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnlinkRequest {
    pub space: SpaceNumber,
    pub from: Bytes,
    pub to: Bytes,
    /// Empty for links of all kinds.
    pub kind: Bytes,
    pub durability: Durability,
    pub writer_uid: u32,
}

/// A link that holds a gist together, to make or to take away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BindRequest {
    pub space: SpaceNumber,
    /// What the episode was stored with whose link it is.
    pub stored: Sequence,
    pub link: GistLink,
    /// Whether it is to be there.
    pub is_bound: bool,
}

/// What ended the interval in which an episode was valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superseded {
    /// The id of the episode that supersedes it.
    pub by: Bytes,
    /// When that happened: the episode was valid before.
    pub valid_until_us: i64,
    /// When that was recorded: the episode was believed before.
    pub recorded_at_us: i64,
}

/// An episode that another one supersedes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupersedeRequest {
    pub space: SpaceNumber,
    /// The episode that is superseded.
    pub id: Bytes,
    /// The one that supersedes it.
    pub by: Bytes,
    /// When that happened, in microseconds since 1970-01-01 UTC.
    pub valid_until_us: i64,
    /// When that was recorded; the shard's clock when not given.
    pub recorded_at_us: Option<i64>,
    pub durability: Durability,
    pub writer_uid: u32,
}
/// What a client says of how an episode is to be remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reinforcement {
    /// One more presentation.
    Present,
    /// It does not fade any more.
    Pin,
    Unpin,
}

/// A reinforcement, complete and owned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReinforceRequest {
    pub space: SpaceNumber,
    pub id: Bytes,
    pub what: Reinforcement,
    pub durability: Durability,
    pub writer_uid: u32,
}

/// How strong an episode is at a time: what its presentations left, and by which model that fades.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Strength {
    pub decay: Decay,
    pub trace: Trace,
    /// It does not fade.
    pub is_pinned: bool,
    /// µs since 1970-01-01 UTC.
    pub at_us: i64,
}

impl Strength {
    /// The probability that the episode is retained, in [0, 1].
    pub fn retention(&self) -> f32 {
        if self.is_pinned { 1.0 } else { self.trace.retention(self.decay, self.at_us) }
    }

    /// The base-level activation: the logarithm of the intensity. `None` where nothing is left, or
    /// nothing fades.
    pub fn base_level(&self) -> Option<f64> {
        let intensity = self.trace.intensity(self.decay, self.at_us);
        (intensity > 0.0).then(|| intensity.ln())
    }
}

/// The answer to a reinforcement of an episode that is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Reinforced {
    pub sequence: Sequence,
    /// As it is now.
    pub strength: Box<Strength>,
}

/// The answer to a link.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Linked {
    pub sequence: Sequence,
    /// [`Outcome::Replaced`] when there was one to the same target and of the same kind.
    pub outcome: Outcome,
    /// Links that the episode has now.
    pub links: usize,
    /// As in [`Activation`].
    pub pressure: f32,
    pub degraded: bool,
}

/// The answer to an unlink of an episode that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unlinked {
    pub sequence: Sequence,
    /// Links that went.
    pub removed: usize,
    /// Links that the episode has now.
    pub links: usize,
}

/// What a store or a link did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The id, or the link, was not known.
    Created,
    /// The idempotency key, or the content where that was asked for, had been seen: nothing was
    /// written again.
    Existing,
    /// It was known: the new episode, or weight, took its place.
    Replaced,
}

/// The answer to a store.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Activation {
    pub sequence: Sequence,
    pub outcome: Outcome,
    /// `confidence.point × (1 − pressure / 2)`.
    pub activation: f32,
    pub confidence: Confidence,
    /// Share of the shard's memory in use, in [0, 1].
    pub pressure: f32,
    /// Whether pressure has begun to cost something.
    pub degraded: bool,
}

/// The optional parts of an episode that an answer carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fields {
    pub text: bool,
    pub vector: bool,
    pub metadata: bool,
    pub links: bool,
    /// As it is at this time, µs since 1970-01-01 UTC. Who asks need not know the time: the shard
    /// does, see [`Fields::as_of`].
    pub strength: Option<NonZero<i64>>,
    /// The kept gists that it belongs to.
    pub gist_links: bool,
    /// What who asks may think of it at this time, given and known as that of `strength`.
    pub belief: Option<NonZero<i64>>,
    pub why: bool,
}

impl Fields {
    /// The same, with strength and belief at a time if they are among them.
    pub fn as_of(self, now_us: i64) -> Self {
        let now_us = NonZero::new(now_us).unwrap_or(NonZero::<i64>::MIN);
        let (strength, belief) = (self.strength.map(|_| now_us), self.belief.map(|_| now_us));
        Self { strength, belief, ..self }
    }

    /// Whether any part of the episode is among them.
    pub fn has_parts(self) -> bool {
        self.text || self.vector || self.metadata || self.links
    }
}

/// A recall on one shard. The cue is prepared by [`crate::recall::Cue`].
#[derive(Debug, Clone, PartialEq)]
pub struct RecallRequest {
    pub space: SpaceNumber,
    /// Results wanted, 1 to [`RECALL_K_MAX`](crate::limits::RECALL_K_MAX).
    pub k: usize,
    /// `dimensions` finite components; under cosine of unit length.
    pub cue: std::sync::Arc<[f32]>,
    pub conditions: Conditions,
    pub effort: Effort,
    pub fields: Fields,
    /// Bytes of texts, vectors, metadata and links that the answer may carry in all.
    pub bytes_max: usize,
}

/// Episodes of one shard by the sequences that they were stored with.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRequest {
    pub space: SpaceNumber,
    pub sequences: Vec<u64>,
    pub conditions: Conditions,
    pub fields: Fields,
    /// Bytes of texts, vectors, metadata and links that the answer may carry in all.
    pub bytes_max: usize,
}

/// What an episode must satisfy to be recalled. Bounds are inclusive.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Conditions {
    pub belief: Belief,
    /// Archived episodes are answered too.
    pub archived: bool,
    /// On `happened_at`.
    pub since_us: Option<i64>,
    /// On `happened_at`.
    pub until_us: Option<i64>,
    /// On the point of the confidence.
    pub confidence_min: Option<f32>,
    pub filter: Option<std::sync::Arc<Filter>>,
    /// On the low end of the confidence, [discounted](Confidence::discounted) by trust.
    pub trust_min: Option<f32>,
    /// No condition by itself: what that and [`Fields::belief`] go by; 1 in all when `None`.
    pub trust: Option<std::sync::Arc<Trust>>,
}

impl Conditions {
    /// Whether any episode that is believed now and not archived fulfils them.
    pub fn is_free(&self) -> bool {
        // Each is named, so that a new one is not overlooked.
        let Self {
            belief,
            archived,
            since_us,
            until_us,
            confidence_min,
            filter,
            trust_min,
            trust: _,
        } = self;
        *belief == Belief::Now
            && !archived
            && since_us.is_none()
            && until_us.is_none()
            && confidence_min.is_none()
            && filter.is_none()
            && trust_min.is_none()
    }

    /// What the point of the confidence is at least: it is no less than the low end, which trust
    /// only makes less.
    pub fn point_min(&self) -> Option<f32> {
        match (self.confidence_min, self.trust_min) {
            (Some(confidence), Some(trust)) => Some(confidence.max(trust)),
            (confidence, trust) => confidence.or(trust),
        }
    }
}

/// Of which time the beliefs are that a recall answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Belief {
    /// Episodes that nothing supersedes.
    #[default]
    Now,
    /// Episodes that were recorded at that time, in µs since 1970-01-01 UTC, or before, and that
    /// nothing superseded which was.
    AsOf(i64),
}

/// An episode that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    pub score: f32,
    /// To the cue, if there was one.
    pub similarity: Option<f32>,
    /// If anything was spread: the part of the seeds' mass that came to it.
    pub activation: Option<f32>,
    /// What is left of that with the low and with the high end of the seeds' confidences, if it was
    /// asked for.
    pub activation_bounds: Option<(f32, f32)>,
    pub episode: StoredEpisode,
    /// If it was asked for.
    pub opinion: Option<Opinion>,
    pub why: Option<Why>,
    /// The strongest way from a seed, if it was asked for.
    pub path: Option<Vec<PathStep>>,
    /// Of an answer to words: what its score consists of.
    pub fused: Option<Terms>,
}

/// A link on the way from a seed to an episode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathStep {
    pub from: Bytes,
    pub to: Bytes,
    /// Empty when it has none.
    pub kind: Bytes,
}

/// How a hit was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Why {
    /// What proposed this hit.
    pub tier: Tier,
    /// Rows of this shard that were compared with the cue, vector by vector.
    pub rows_compared: u64,
    /// Rows whose distance was estimated from their codes.
    pub rows_estimated: u64,
    /// Rows that were looked up in an index of what the conditions ask for, and judged one by one.
    pub rows_judged: u64,
    /// Rows whose metadata was read and shown to the filter.
    pub rows_filtered: u64,
    /// Pages of graphs that were read.
    pub hops: u64,
    /// The widest beam they were read with; 0 without a walk.
    pub beam: usize,
}

/// The parts of the index that propose hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// Every row was compared.
    Exact,
    /// All rows that fulfil the conditions were looked up and compared.
    Gather,
    /// The codes of rows, scanned one after the other.
    Codes,
    /// The graph of a section.
    Graph,
}

impl Tier {
    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Gather => "gather",
            Self::Codes => "codes",
            Self::Graph => "graph",
        }
    }
}

/// How hard a recall looks.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Effort {
    /// As hard as finds [nearly all](crate::limits::RECALL_TARGET_USUAL), by what sections were
    /// measured to need.
    #[default]
    Usual,
    /// As hard as finds this share of the nearest on average, by the same measurements; above 0 and
    /// below 1.
    Target(f32),
    /// A beam of so many nodes, 1 to [`RECALL_BEAM_MAX`](crate::limits::RECALL_BEAM_MAX).
    Beam(usize),
    /// Every row is compared.
    Exact,
}

/// An episode as it is read back; parts that were not asked for are `None`.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEpisode {
    pub id: Bytes,
    pub sequence: Sequence,
    pub happened_at_us: i64,
    pub recorded_at_us: i64,
    pub confidence: Confidence,
    pub writer_uid: u32,
    /// Empty when the episode has none, as is `metadata`.
    pub text: Option<Bytes>,
    /// Little-endian f32.
    pub vector: Option<Bytes>,
    pub metadata: Option<Bytes>,
    pub thread: Bytes,
    pub links: Option<Vec<Link>>,
    /// Empty unless asked for.
    pub gist_links: Vec<GistLink>,
    pub superseded: Option<Superseded>,
    /// When it expires; `None`: never.
    pub expires_at_us: Option<i64>,
    pub strength: Option<Box<Strength>>,
}

impl StoredEpisode {
    /// The episode as it was known at some time; `None` when it was not recorded by then.
    pub fn as_of(mut self, belief: Belief) -> Option<Self> {
        if let Belief::AsOf(time_us) = belief {
            if self.recorded_at_us > time_us {
                return None;
            }
            self.superseded = self.superseded.filter(|by| by.recorded_at_us <= time_us);
        }
        Some(self)
    }

    /// Leaves the parts out that were asked for.
    pub fn strip(&mut self) {
        (self.text, self.vector, self.metadata, self.links) = (None, None, None, None);
    }

    /// Whether the parts that were asked for are there: behind a bound on bytes they are left out.
    pub fn carries(&self, asked: Fields) -> bool {
        (!asked.text || self.text.is_some())
            && (!asked.vector || self.vector.is_some())
            && (!asked.metadata || self.metadata.is_some())
            && (!asked.links || self.links.is_some())
    }

    /// Bytes of the parts that were asked for.
    pub fn optional_bytes(&self) -> usize {
        let part = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
        let links = self.links.iter().flatten().map(Link::bytes).sum::<usize>();
        part(&self.text) + part(&self.vector) + part(&self.metadata) + links
    }
}

/// Why a request was not carried out. The text of each is one sentence that says what to do; the
/// code in front of it on the wire is [`Refusal::code`].
#[derive(Debug, Clone, PartialEq, Error)]
pub enum Refusal {
    #[error("{what} is full; retry in {retry_after_ms} ms")]
    Busy { what: &'static str, retry_after_ms: u32 },
    /// Nothing is wrong with the write: it can be taken later as it is.
    #[error("the shard's log is full; retry in {retry_after_ms} ms")]
    LogFull { retry_after_ms: u32 },
    #[error("no memory space named '{0}'; create it with EG.SPACE CREATE")]
    NoSpace(String),
    #[error("no episode '{0}' in this memory space")]
    NoEpisode(String),
    #[error("the memory space has {expected} dimensions, the vector has {got}")]
    Dimension { expected: usize, got: usize },
    #[error("{0}")]
    BadVector(String),
    #[error("{what} has {got} bytes or items, the bound is {max}")]
    TooBig { what: &'static str, got: usize, max: usize },
    #[error("{0}")]
    ReadOnly(String),
    #[error("{0}")]
    Syntax(String),
    #[error("{0}")]
    Corrupt(String),
    #[error("{0}")]
    NoPermission(String),
    #[error("{0}")]
    Snapshot(String),
}

impl Refusal {
    /// The error code on the wire.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Busy { .. } | Self::LogFull { .. } => "BUSY",
            Self::NoSpace(_) => "NOSPACE",
            Self::NoEpisode(_) => "NOEPISODE",
            Self::Dimension { .. } => "DIM",
            Self::BadVector(_) => "BADVEC",
            Self::TooBig { .. } => "TOOBIG",
            Self::ReadOnly(_) => "READONLY",
            Self::Syntax(_) => "SYNTAX",
            Self::Corrupt(_) => "CORRUPT",
            Self::NoPermission(_) => "NOPERM",
            Self::Snapshot(_) => "SNAPSHOT",
        }
    }
}
