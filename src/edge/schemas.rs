//! What answers look like, for the description at `/v1/openapi.json`.
//!
//! Nothing of these types is ever made: `answers.rs` writes answers from what a shard has said.
#![allow(dead_code, reason = "only the schemas of these types are used")]

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::{Map, Value};

use super::problem::Problem;

/// It is done.
#[derive(JsonSchema)]
pub struct Status {
    /// `OK`, or `PONG`.
    status: String,
}

/// An episode that was stored.
#[derive(JsonSchema)]
pub struct Stored {
    /// The id that was assigned, if one was.
    id: Option<String>,
    /// Its position in the order of its shard's writes.
    seq: u64,
    /// `created`; `replaced`: the id was known; `existing`: the key, or with `dedup` the content,
    /// had been seen.
    #[schemars(extend("enum" = ["created", "replaced", "existing"]))]
    outcome: String,
    activation: f64,
    /// Point, low, high.
    confidence: [f64; 3],
    /// Share of the shard's memory in use.
    pressure: f64,
    /// Whether pressure has begun to cost something.
    degraded: bool,
    /// Which of the episodes that it names it supersedes, if it names any.
    superseded: Option<Vec<String>>,
    /// The nearest other episode, where that was asked for; null when none is near enough.
    near: Option<Near>,
}

/// An episode, and how similar it is.
#[derive(JsonSchema)]
pub struct Near {
    id: String,
    similarity: f64,
}

/// One answer for each item, in order.
#[derive(JsonSchema)]
pub struct StoredMany {
    results: Vec<StoredItem>,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum StoredItem {
    Stored(Stored),
    Refused { problem: Problem },
}

/// A vector as little-endian f32 in base64, or as numbers where that was asked for.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum VectorAnswer {
    Base64 { base64: String },
    Array(Vec<f64>),
}

/// A link that an episode has.
#[derive(JsonSchema)]
pub struct OwnedLink {
    id: String,
    weight: f64,
    kind: Option<String>,
}

/// How strong an episode is.
#[derive(JsonSchema)]
pub struct Strength {
    /// The probability that it is retained.
    retention: f64,
    /// The logarithm of what its presentations left; null where nothing is left, or nothing fades.
    base_level: Option<f64>,
    presentations: u64,
    /// Microseconds since 1970-01-01 UTC.
    last_presented_at: i64,
    /// It does not fade.
    pinned: bool,
}

/// How strong an episode is now.
#[derive(JsonSchema)]
pub struct Reinforced {
    seq: u64,
    strength: Strength,
}

/// An episode, with the parts that were asked for.
#[derive(JsonSchema)]
pub struct Episode {
    id: String,
    seq: u64,
    /// Point, low, high.
    confidence: [f64; 3],
    /// Microseconds since 1970-01-01 UTC.
    happened_at: i64,
    recorded_at: i64,
    /// The user whose process stored it.
    writer_uid: u32,
    thread: Option<String>,
    /// The episode that supersedes it, if one does, and when that happened.
    superseded_by: Option<String>,
    valid_until: Option<i64>,
    /// When it expires, if it does: microseconds since 1970-01-01 UTC.
    expires_at: Option<i64>,
    text: Option<String>,
    vec: Option<VectorAnswer>,
    meta: Option<Map<String, Value>>,
    links: Option<Vec<OwnedLink>>,
    strength: Option<Strength>,
}

/// Episodes in the order of the ids; null for an unknown one.
#[derive(JsonSchema)]
pub struct Episodes {
    episodes: Vec<Option<Episode>>,
}

/// Some episodes of a memory space.
#[derive(JsonSchema)]
pub struct Scanned {
    /// Where to go on; `0` at the end.
    cursor: String,
    episodes: Vec<Episode>,
}

/// An episode that is hidden from now on.
#[derive(JsonSchema)]
pub struct Forgotten {
    seq: u64,
    #[schemars(extend("const" = "forgotten"))]
    outcome: String,
}

/// An episode of which the store has no byte any more.
#[derive(JsonSchema)]
pub struct Erased {
    seq: u64,
    #[schemars(extend("const" = "erased"))]
    outcome: String,
    /// Frames of the log that were overwritten, and their bytes.
    frames: u64,
    bytes: u64,
}

/// What who asks may think of an episode: its confidence, discounted by trust and retention.
#[derive(JsonSchema)]
pub struct Belief {
    point: f64,
    low: f64,
    high: f64,
    trust: f64,
    retention: f64,
}

/// An episode that was found.
#[derive(JsonSchema)]
pub struct Hit {
    id: String,
    score: f64,
    similarity: Option<f64>,
    activation: Option<f64>,
    /// What is left of that with the low and with the high end of the beliefs in the seeds.
    activation_low: Option<f64>,
    activation_high: Option<f64>,
    confidence: [f64; 3],
    happened_at: i64,
    recorded_at: i64,
    text: Option<String>,
    vec: Option<VectorAnswer>,
    meta: Option<Map<String, Value>>,
    links: Option<Vec<OwnedLink>>,
    strength: Option<Strength>,
    belief: Option<Belief>,
    /// What proposed it, what that cost, and the way to it along links.
    why: Option<Map<String, Value>>,
    /// There, and true, if the deadline came first.
    partial: Option<bool>,
}

/// The best first.
#[derive(JsonSchema)]
pub struct Recalled {
    hits: Vec<Found>,
}

/// What a recall finds.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum Found {
    Episode(Box<Hit>),
    Gist(FoundGist),
}

/// A kept gist, where `gists` asked for them.
#[derive(JsonSchema)]
pub struct FoundGist {
    /// The id of its medoid, which is the first of its sources.
    gist: String,
    /// To the cue, if there was one.
    similarity: Option<f64>,
    /// There, and true, if the deadline came first.
    partial: Option<bool>,
    #[schemars(flatten)]
    told: Gist,
}

/// The most associated first, and the work.
#[derive(JsonSchema)]
pub struct SpreadTo {
    hits: Vec<Hit>,
    edges: u64,
    nodes: u64,
    /// The most activation that any episode may miss; null if nobody knows.
    missing_max: Option<f64>,
    partial: bool,
}

/// A vector as it would be if it were whole, and what it rests on.
#[derive(JsonSchema)]
pub struct Completed {
    vec: VectorAnswer,
    /// Rounds it took.
    rounds: u64,
    /// Whether one more would change nothing that matters.
    settled: bool,
    /// What it rests on; `score` is the weight.
    hits: Vec<Hit>,
}

/// What episodes have in common, the best first.
#[derive(JsonSchema)]
pub struct Gists {
    gists: Vec<Gist>,
}

#[derive(JsonSchema)]
pub struct Gist {
    /// That of the best of its sources; of a kept one with its own similarity and words.
    score: f64,
    /// Means of those of its sources: point, low, high.
    confidence: [f64; 3],
    /// The first and the last `happened_at` of its sources.
    since: i64,
    until: i64,
    /// That of the first of its sources, which is the most similar to it.
    text: Option<String>,
    vec: Option<VectorAnswer>,
    /// The most similar to it first.
    sources: Vec<Near>,
}

/// A link that was made.
#[derive(JsonSchema)]
pub struct Linked {
    seq: u64,
    #[schemars(extend("enum" = ["created", "replaced"]))]
    outcome: String,
    /// How many the episode has now.
    links: u64,
    pressure: f64,
    degraded: bool,
    /// Of the link back, if it is mutual.
    back_seq: Option<u64>,
    back_outcome: Option<String>,
}

/// An episode that another one supersedes.
#[derive(JsonSchema)]
pub struct Superseded {
    seq: u64,
    /// `unchanged`: another one had superseded it before.
    #[schemars(extend("enum" = ["superseded", "unchanged"]))]
    outcome: String,
}

/// Links that were removed.
#[derive(JsonSchema)]
pub struct Unlinked {
    seq: u64,
    #[schemars(extend("const" = "unlinked"))]
    outcome: String,
    removed: u64,
}

/// Names, in order.
#[derive(JsonSchema)]
pub struct Spaces {
    spaces: Vec<String>,
}

/// A memory space.
#[derive(JsonSchema)]
pub struct Space {
    name: String,
    dim: u64,
    metric: String,
    codes: u64,
    fan: String,
    fan_cap: u64,
    decay: String,
    /// Seconds that an episode lives which does not say otherwise; 0: for ever.
    ttl: u64,
    /// The retention below which episodes are archived, and seconds that they are not at least; 0:
    /// none is.
    archive_below: f64,
    archive_after: u64,
    /// The retention below which episodes are forgotten, and seconds that they are kept at least;
    /// 0: none is.
    forget_below: f64,
    forget_after: u64,
    /// Of its texts.
    language: String,
    /// Of questions that say nothing else: near, around, time, strength, confidence.
    weights: [f64; 5],
    /// Where in the metadata of an episode its thread is that is stored without one; empty when
    /// there is no such place.
    thread: String,
    model: String,
    shards: u64,
    episodes: u64,
}

/// Figures of a memory space.
#[derive(JsonSchema)]
pub struct SpaceStats {
    space: String,
    dim: u64,
    shards: u64,
    episodes: u64,
    rows: u64,
    rows_dead: u64,
    rows_in_tails: u64,
    rows_in_columns: u64,
    /// Of the episodes those that others supersede.
    superseded: u64,
    /// Bytes of its columns.
    columns_bytes: u64,
}

/// A copy of the store.
#[derive(JsonSchema)]
pub struct Snapshot {
    path: String,
    /// Of each shard the last sequence that is in it.
    through_seqs: Vec<u64>,
    files_linked: u64,
    bytes_linked: u64,
    files_copied: u64,
    bytes_copied: u64,
    elapsed_ms: u64,
}

/// Figures by name; new ones may be added.
#[derive(JsonSchema)]
pub struct Stats {
    episodes: u64,
    pressure: f64,
    refusals: BTreeMap<String, u64>,
    latency_us: BTreeMap<String, BTreeMap<String, f64>>,
    per_shard: Vec<Map<String, Value>>,
}

/// A command that was slow, and where its time went.
#[derive(JsonSchema)]
pub struct SlowCommand {
    id: u64,
    /// When it was answered, in microseconds since 1970-01-01 UTC.
    at: i64,
    name: String,
    /// Its arguments, shortened.
    command: Vec<String>,
    duration_us: u64,
    /// Waiting in the lane of a shard.
    queued_us: u64,
    worked_us: u64,
    /// Waiting until the log had a write.
    log_us: u64,
    client: SlowClient,
}

/// Whose command it was.
#[derive(JsonSchema)]
pub struct SlowClient {
    connection: u64,
    name: String,
    uid: u32,
}

/// The newest first.
#[derive(JsonSchema)]
pub struct Slowlog {
    commands: Vec<SlowCommand>,
}

/// How many are kept.
#[derive(JsonSchema)]
pub struct SlowlogLength {
    length: u64,
}

/// Of each name `count`, and `p50 p99 p999 max` in microseconds.
#[derive(JsonSchema)]
pub struct Latencies(BTreeMap<String, BTreeMap<String, f64>>);

/// How many took at most so many microseconds.
#[derive(JsonSchema)]
pub struct Histogram {
    calls: u64,
    histogram_usec: BTreeMap<String, u64>,
}

/// By name.
#[derive(JsonSchema)]
pub struct Histograms(BTreeMap<String, Histogram>);

/// How many commands began anew.
#[derive(JsonSchema)]
pub struct LatencyReset {
    commands: u64,
}

/// Sections of lines.
#[derive(JsonSchema)]
pub struct Info(BTreeMap<String, BTreeMap<String, String>>);

/// One result of a batch.
#[derive(JsonSchema)]
pub struct BatchResult {
    /// Of the operation, from 0 on.
    index: u64,
    /// What the operation would have been answered with by itself.
    status: u16,
    body: Value,
}

/// What a batch came to.
#[derive(JsonSchema)]
pub struct BatchSummary {
    operations: u64,
    ok: u64,
    failed: u64,
    /// Of those that are ok, under pressure that costs something.
    degraded: u64,
    pressure_max: f64,
    elapsed_us: u64,
    /// Why there are fewer results than operations, if there are.
    problem: Option<Problem>,
}

/// A batch as one document.
#[derive(JsonSchema)]
pub struct Batched {
    results: Vec<BatchResult>,
    summary: BatchSummary,
}

/// Whether the daemon serves.
#[derive(JsonSchema)]
pub struct Ready {
    #[schemars(extend("enum" = ["ready", "loading", "read_only", "stopping", "stuck"]))]
    status: String,
    /// How far it is, or why it is not ready.
    detail: Option<String>,
}
