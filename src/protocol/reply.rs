//! The engine's answers as values on the wire: which keys, in which order, of which type.
//!
//! Keys of what was not asked for are left out. The engine's own types come in, so that a reply's
//! shape is written down once, here, and described once, in `PROTOCOL.md`.

use std::num::NonZero;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use bytes::Bytes;
use engram_shards::episode::{
    Activation, Confidence, FadingPolicy, Hit, Lifetime, Link, Linked, Metric, Outcome, PathStep,
    Refusal, Reinforced, Sequence, SpaceSettings, StoredEpisode, Strength, Unlinked, Why,
};
use engram_shards::inquiry::fusion::Terms;
use engram_shards::io::Copied;
use engram_shards::trust::Opinion;

use crate::protocol::command::ScanCursor;
use crate::protocol::{Encoder, ProtocolVersion};

/// The answer to `HELLO`.
pub fn hello(
    encoder: &mut Encoder<'_>,
    version: ProtocolVersion,
    daemon_version: &str,
    connection_id: u64,
) {
    encoder.map(7);
    text(encoder, "server", b"engram");
    text(encoder, "version", daemon_version.as_bytes());
    key(encoder, "proto");
    encoder.integer(i64::from(version.number()));
    key(encoder, "id");
    encoder.count(connection_id);
    text(encoder, "mode", b"standalone");
    text(encoder, "role", b"master");
    key(encoder, "modules");
    encoder.array(0);
}

/// What came of a store besides, as far as it was asked for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StoredBeside {
    /// Which of the episodes that it names it supersedes.
    pub superseded: Option<Vec<Bytes>>,
    /// The nearest other episode, if it is near enough, and how near it is.
    pub near: Option<Option<(Bytes, f32)>>,
}

/// The answer to a store. `assigned_id` is the id of an episode that came with `*`.
pub fn stored(
    encoder: &mut Encoder<'_>,
    assigned_id: Option<&[u8]>,
    activation: &Activation,
    beside: &StoredBeside,
) {
    let StoredBeside { superseded, near } = beside;
    let optional = [assigned_id.is_some(), superseded.is_some(), near.is_some()];
    encoder.map(6 + optional.iter().filter(|is_there| **is_there).count());
    if let Some(id) = assigned_id {
        text(encoder, "id", id);
    }
    key(encoder, "seq");
    encoder.count(activation.sequence.0);
    text(encoder, "outcome", outcome_name(activation.outcome).as_bytes());
    key(encoder, "activation");
    encoder.double_f32(activation.activation);
    confidence(encoder, &activation.confidence);
    key(encoder, "pressure");
    encoder.double_f32(activation.pressure);
    key(encoder, "degraded");
    encoder.boolean(activation.degraded);
    if let Some(superseded) = superseded {
        key(encoder, "superseded");
        encoder.array(superseded.len());
        superseded.iter().for_each(|id| encoder.bulk(id));
    }
    match near {
        Some(Some((id, similarity))) => {
            key(encoder, "near");
            encoder.map(2);
            text(encoder, "id", id);
            key(encoder, "similarity");
            encoder.double_f32(*similarity);
        }
        Some(None) => {
            key(encoder, "near");
            encoder.null();
        }
        None => {}
    }
}

/// One item's answer of `EG.MSTORE`, behind the header of the array.
pub fn stored_item(
    encoder: &mut Encoder<'_>,
    assigned_id: Option<&[u8]>,
    answer: &Result<Activation, Refusal>,
) {
    match answer {
        Ok(activation) => stored(encoder, assigned_id, activation, &StoredBeside::default()),
        Err(refusal) => encoder.refusal(refusal),
    }
}

/// The answer to `EG.RECALL`, best first. Partial ones say so in each.
pub fn recalled(encoder: &mut Encoder<'_>, hits: &[Hit], is_partial: bool) {
    encoder.array(hits.len());
    hits.iter().for_each(|each| hit(encoder, each, is_partial));
}

/// The answer to `EG.SPREAD`: the episodes, best first, and the work.
pub fn spread(
    encoder: &mut Encoder<'_>,
    hits: &[Hit],
    (edges, nodes): (u64, u64),
    missing_max: f64,
    is_partial: bool,
) {
    encoder.map(5);
    key(encoder, "hits");
    recalled(encoder, hits, false);
    key(encoder, "edges");
    encoder.count(edges);
    key(encoder, "nodes");
    encoder.count(nodes);
    key(encoder, "missing_max");
    encoder.double(missing_max);
    key(encoder, "partial");
    encoder.boolean(is_partial);
}

/// The answer to `EG.COMPLETE`: the vector, and the episodes it rests on by their weights.
pub fn completed(
    encoder: &mut Encoder<'_>,
    vector: &[u8],
    rounds: usize,
    has_settled: bool,
    hits: &[Hit],
) {
    encoder.map(4);
    text(encoder, "vec", vector);
    key(encoder, "rounds");
    encoder.count(rounds as u64);
    key(encoder, "settled");
    encoder.boolean(has_settled);
    key(encoder, "hits");
    recalled(encoder, hits, false);
}

/// A gist as it is told.
#[derive(Debug, Clone, PartialEq)]
pub struct ToldGist {
    /// That of the best of its members that was found; of a kept one, with what is its own.
    pub score: f32,
    pub confidence: Confidence,
    /// The first and the last `happened_at` of its members.
    pub span_us: (i64, i64),
    /// Its members and how similar each is to it; the medoid first.
    pub sources: Vec<(Bytes, f32)>,
    /// That of the medoid.
    pub text: Option<Bytes>,
    pub vector: Option<Bytes>,
}

impl ToldGist {
    /// About what it takes.
    pub fn bytes(&self) -> usize {
        let optional = [&self.text, &self.vector].into_iter().flatten().map(Bytes::len);
        let sources = self.sources.iter().map(|(id, _)| id.len() + size_of::<(Bytes, f32)>());
        size_of::<Self>() + optional.sum::<usize>() + sources.sum::<usize>()
    }
}

/// A kept gist that a recall found.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundGist {
    pub gist: ToldGist,
    /// To the cue, if there was one.
    pub similarity: Option<f32>,
}

/// The answer to `EG.GIST`, best first.
pub fn gists(encoder: &mut Encoder<'_>, gists: &[ToldGist]) {
    encoder.array(gists.len());
    for gist in gists {
        encoder.map(gist_entries(gist));
        self::gist(encoder, gist, None);
    }
}

/// The answer to `EG.RECALL … GISTS`, best first, among equals episodes first; both lists come in
/// that order.
pub fn recalled_with_gists(
    encoder: &mut Encoder<'_>,
    hits: &[Hit],
    gists: &[FoundGist],
    is_partial: bool,
) {
    encoder.array(hits.len() + gists.len());
    let mut hits = hits.iter().peekable();
    for FoundGist { gist, similarity } in gists {
        while let Some(better) = hits.next_if(|hit| hit.score >= gist.score) {
            hit(encoder, better, is_partial);
        }
        let added = 1 + usize::from(similarity.is_some()) + usize::from(is_partial);
        encoder.map(gist_entries(gist) + added);
        let medoid = gist.sources.first().map_or(&[][..], |(id, _)| id);
        text(encoder, "gist", medoid);
        self::gist(encoder, gist, *similarity);
        if is_partial {
            key(encoder, "partial");
            encoder.boolean(true);
        }
    }
    hits.for_each(|each| hit(encoder, each, is_partial));
}

fn gist_entries(gist: &ToldGist) -> usize {
    5 + usize::from(gist.text.is_some()) + usize::from(gist.vector.is_some())
}

/// What is told of any gist.
fn gist(encoder: &mut Encoder<'_>, gist: &ToldGist, similarity: Option<f32>) {
    let ToldGist { score, confidence, span_us: (since, until), sources, text, vector } = gist;
    key(encoder, "score");
    encoder.double_f32(*score);
    if let Some(similarity) = similarity {
        key(encoder, "similarity");
        encoder.double_f32(similarity);
    }
    self::confidence(encoder, confidence);
    key(encoder, "since");
    encoder.integer(*since);
    key(encoder, "until");
    encoder.integer(*until);
    for (name, part) in [("text", text), ("vec", vector)] {
        if let Some(part) = part {
            self::text(encoder, name, part);
        }
    }
    key(encoder, "sources");
    encoder.array(sources.len());
    for (id, similarity) in sources {
        encoder.map(2);
        self::text(encoder, "id", id);
        key(encoder, "similarity");
        encoder.double_f32(*similarity);
    }
}

fn hit(encoder: &mut Encoder<'_>, hit: &Hit, is_partial: bool) {
    let Hit { score, similarity, activation, activation_bounds, episode, opinion, .. } = hit;
    let Hit { why, path, fused, .. } = hit;
    let (low, high) = activation_bounds.unzip();
    let has_why = why.is_some() || path.is_some() || fused.is_some();
    let figures = [
        ("similarity", *similarity),
        ("activation", *activation),
        ("activation_low", low),
        ("activation_high", high),
    ];
    let optional = [opinion.is_some(), has_why, is_partial].into_iter();
    let optional = optional.chain(figures.iter().map(|(_, figure)| figure.is_some()));
    encoder.map(5 + parts_count(episode) + optional.filter(|is_there| *is_there).count());
    text(encoder, "id", &episode.id);
    key(encoder, "score");
    encoder.double_f32(*score);
    for (name, value) in figures {
        if let Some(value) = value {
            key(encoder, name);
            encoder.double_f32(value);
        }
    }
    confidence(encoder, &episode.confidence);
    times(encoder, episode);
    parts(encoder, episode);
    if let Some(opinion) = opinion {
        belief(encoder, opinion);
    }
    if let Some(terms) = fused {
        why_fused(encoder, terms, path.as_deref());
    } else if has_why {
        self::why(encoder, why.as_ref(), path.as_deref());
    }
    if is_partial {
        key(encoder, "partial");
        encoder.boolean(true);
    }
}

/// What who asks may think of an episode, and how much its confidence was discounted for that.
fn belief(encoder: &mut Encoder<'_>, opinion: &Opinion) {
    let Opinion { confidence: Confidence { point, low, high }, trust, retention } = *opinion;
    key(encoder, "belief");
    let told = [
        ("point", point),
        ("low", low),
        ("high", high),
        ("trust", trust),
        ("retention", retention),
    ];
    encoder.map(told.len());
    for (name, value) in told {
        key(encoder, name);
        encoder.double_f32(value);
    }
}

/// What the score of an answer to words consists of, and by which links mass came to it, if
/// anything was spread.
fn why_fused(encoder: &mut Encoder<'_>, terms: &Terms, path: Option<&[PathStep]>) {
    key(encoder, "why");
    let terms = [
        ("words", terms.words),
        ("near", terms.near),
        ("time", terms.time),
        ("stating", terms.stating),
        ("strength", terms.strength),
        ("confidence", terms.confidence),
    ];
    encoder.map(1 + terms.len() + usize::from(path.is_some()));
    text(encoder, "tier", b"fused");
    for (name, value) in terms {
        key(encoder, name);
        encoder.double_f32(value);
    }
    steps(encoder, path);
}

/// How a hit was found: by which part of the index, if it is similar to the cue, and by which links
/// from a seed, if anything was spread.
fn why(encoder: &mut Encoder<'_>, why: Option<&Why>, path: Option<&[PathStep]>) {
    key(encoder, "why");
    encoder.map(if why.is_some() { 7 } else { 1 } + usize::from(path.is_some()));
    text(encoder, "tier", why.map_or("spread", |why| why.tier.name()).as_bytes());
    if let Some(why) = why {
        let figures = [
            ("rows_compared", why.rows_compared),
            ("rows_estimated", why.rows_estimated),
            ("rows_judged", why.rows_judged),
            ("rows_filtered", why.rows_filtered),
            ("hops", why.hops),
            ("beam", why.beam as u64),
        ];
        for (name, figure) in figures {
            key(encoder, name);
            encoder.count(figure);
        }
    }
    steps(encoder, path);
}

/// The links from a seed, if anything was spread.
fn steps(encoder: &mut Encoder<'_>, path: Option<&[PathStep]>) {
    let Some(path) = path else { return };
    key(encoder, "path");
    encoder.array(path.len());
    for PathStep { from, to, kind } in path {
        encoder.map(2 + usize::from(!kind.is_empty()));
        text(encoder, "from", from);
        text(encoder, "to", to);
        if !kind.is_empty() {
            text(encoder, "kind", kind);
        }
    }
}

/// The answer to `EG.GET`, or one of `EG.MGET`.
pub fn episode(encoder: &mut Encoder<'_>, episode: Option<&StoredEpisode>) {
    let Some(episode) = episode else {
        return encoder.null();
    };
    let has_thread = !episode.thread.is_empty();
    let optional = usize::from(has_thread)
        + 2 * usize::from(episode.superseded.is_some())
        + usize::from(episode.expires_at_us.is_some());
    encoder.map(6 + optional + parts_count(episode));
    text(encoder, "id", &episode.id);
    key(encoder, "seq");
    encoder.count(episode.sequence.0);
    confidence(encoder, &episode.confidence);
    times(encoder, episode);
    key(encoder, "writer_uid");
    encoder.count(u64::from(episode.writer_uid));
    if has_thread {
        text(encoder, "thread", &episode.thread);
    }
    if let Some(superseded) = &episode.superseded {
        text(encoder, "superseded_by", &superseded.by);
        key(encoder, "valid_until");
        encoder.integer(superseded.valid_until_us);
    }
    if let Some(expires_at_us) = episode.expires_at_us {
        key(encoder, "expires_at");
        encoder.integer(expires_at_us);
    }
    parts(encoder, episode);
}

/// The answer to `EG.SCAN`: the next cursor and the episodes.
pub fn scanned(encoder: &mut Encoder<'_>, next: ScanCursor, episodes: &[StoredEpisode]) {
    encoder.array(2);
    encoder.bulk(next.number().to_string().as_bytes());
    encoder.array(episodes.len());
    episodes.iter().for_each(|each| episode(encoder, Some(each)));
}

/// The answer to `EG.WATCH`: its number, its credit, and behind which sequence of each shard it
/// begins.
pub fn watching(encoder: &mut Encoder<'_>, watch: u64, credit: u64, from: &[(usize, u64)]) {
    encoder.map(3);
    key(encoder, "watch");
    encoder.count(watch);
    key(encoder, "credit");
    encoder.count(credit);
    key(encoder, "from");
    places(encoder, from);
}

/// Shards and sequences in one flat array, as they stand behind `FROM`; the answer to
/// `EG.UNWATCH`.
pub fn places(encoder: &mut Encoder<'_>, places: &[(usize, u64)]) {
    encoder.array(places.len() * 2);
    for (shard, sequence) in places {
        encoder.count(*shard as u64);
        encoder.count(*sequence);
    }
}

/// An episode for a watch, as a message of its own.
pub fn watched(encoder: &mut Encoder<'_>, watch: u64, shard: usize, stored: &StoredEpisode) {
    encoder.push(5);
    encoder.bulk(b"eg.watch");
    encoder.count(watch);
    encoder.count(shard as u64);
    encoder.count(stored.sequence.0);
    episode(encoder, Some(stored));
}

/// That a watch has ended, why, and where another would go on.
pub fn cut(encoder: &mut Encoder<'_>, watch: u64, reason: &str, at: &[(usize, u64)]) {
    encoder.push(4);
    encoder.bulk(b"eg.cut");
    encoder.count(watch);
    encoder.bulk(reason.as_bytes());
    places(encoder, at);
}

/// The answer to `EG.OBSERVE OPEN`.
pub fn observing(encoder: &mut Encoder<'_>, stream: u64, credit: u64) {
    encoder.map(2);
    key(encoder, "stream");
    encoder.count(stream);
    key(encoder, "credit");
    encoder.count(credit);
}

/// That observations are stored, as a message of its own: from this one to that one.
pub fn observed(encoder: &mut Encoder<'_>, stream: u64, from: u64, to: u64) {
    encoder.push(4);
    encoder.bulk(b"eg.observed");
    encoder.count(stream);
    encoder.count(from);
    encoder.count(to);
}

/// That an observation is not stored, and why.
pub fn refused(encoder: &mut Encoder<'_>, stream: u64, observation: u64, refusal: &Refusal) {
    encoder.push(4);
    encoder.bulk(b"eg.refused");
    encoder.count(stream);
    encoder.count(observation);
    encoder.bulk(format!("{} {refusal}", refusal.code()).as_bytes());
}

/// The answer to `EG.OBSERVE CLOSE`.
pub fn observed_all(encoder: &mut Encoder<'_>, stored: u64, existing: u64, refused: u64) {
    encoder.map(3);
    for (name, value) in [("stored", stored), ("existing", existing), ("refused", refused)] {
        key(encoder, name);
        encoder.count(value);
    }
}

/// The answer to `EG.FORGET`; `None` when the id is unknown.
pub fn forgotten(encoder: &mut Encoder<'_>, sequence: Option<Sequence>) {
    let Some(sequence) = sequence else {
        return encoder.null();
    };
    encoder.map(2);
    key(encoder, "seq");
    encoder.count(sequence.0);
    text(encoder, "outcome", b"forgotten");
}

/// The answer to `EG.LINK`, and with `MUTUAL` what became of the link back.
pub fn linked(encoder: &mut Encoder<'_>, linked: &Linked, back: Option<&Linked>) {
    encoder.map(if back.is_some() { 7 } else { 5 });
    key(encoder, "seq");
    encoder.count(linked.sequence.0);
    text(encoder, "outcome", outcome_name(linked.outcome).as_bytes());
    key(encoder, "links");
    encoder.count(linked.links as u64);
    key(encoder, "pressure");
    encoder.double_f32(linked.pressure);
    key(encoder, "degraded");
    encoder.boolean(linked.degraded);
    if let Some(back) = back {
        key(encoder, "back_seq");
        encoder.count(back.sequence.0);
        text(encoder, "back_outcome", outcome_name(back.outcome).as_bytes());
    }
}

/// The answer to `EG.UNLINK`; `None` when the id is unknown.
pub fn unlinked(encoder: &mut Encoder<'_>, unlinked: Option<&Unlinked>) {
    let Some(unlinked) = unlinked else {
        return encoder.null();
    };
    encoder.map(3);
    key(encoder, "seq");
    encoder.count(unlinked.sequence.0);
    text(encoder, "outcome", b"unlinked");
    key(encoder, "removed");
    encoder.count(unlinked.removed as u64);
}

/// The answer to `EG.SUPERSEDE`: whether the episode is superseded by the one that was named;
/// `None` when the id is unknown.
pub fn superseded(encoder: &mut Encoder<'_>, superseded: Option<(Sequence, bool)>) {
    let Some((sequence, is_by)) = superseded else {
        return encoder.null();
    };
    encoder.map(2);
    key(encoder, "seq");
    encoder.count(sequence.0);
    let outcome: &[u8] = if is_by { b"superseded" } else { b"unchanged" };
    text(encoder, "outcome", outcome);
}

/// The answer to `EG.REINFORCE`, `EG.PIN` and `EG.UNPIN`; `None` when the id is unknown.
pub fn reinforced(encoder: &mut Encoder<'_>, reinforced: Option<&Reinforced>) {
    let Some(Reinforced { sequence, strength }) = reinforced else {
        return encoder.null();
    };
    encoder.map(2);
    key(encoder, "seq");
    encoder.count(sequence.0);
    self::strength(encoder, strength);
}

/// What an erase came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erased {
    pub sequence: Sequence,
    pub frames: u64,
    pub bytes: u64,
}

/// The answer to `EG.ERASE`; `None` when the log had no episode of that id.
pub fn erased(encoder: &mut Encoder<'_>, erased: Option<Erased>) {
    let Some(erased) = erased else {
        return encoder.null();
    };
    encoder.map(4);
    key(encoder, "seq");
    encoder.count(erased.sequence.0);
    text(encoder, "outcome", b"erased");
    key(encoder, "frames");
    encoder.count(erased.frames);
    key(encoder, "bytes");
    encoder.count(erased.bytes);
}

/// The answer to `EG.SPACE LIST`.
pub fn space_names<'a>(encoder: &mut Encoder<'_>, names: impl ExactSizeIterator<Item = &'a str>) {
    encoder.array(names.len());
    names.for_each(|name| encoder.bulk(name.as_bytes()));
}

/// The answer to `EG.SPACE INFO`.
pub fn space(encoder: &mut Encoder<'_>, settings: &SpaceSettings, episodes: u64) {
    encoder.map(18);
    text(encoder, "name", settings.name.as_bytes());
    key(encoder, "dim");
    encoder.count(u64::from(settings.dimensions));
    text(encoder, "metric", metric_name(settings.metric).as_bytes());
    key(encoder, "codes");
    encoder.count(settings.codes as u64);
    text(encoder, "fan", settings.fan.to_string().as_bytes());
    key(encoder, "fan_cap");
    encoder.count(settings.fan_cap.unwrap_or_default().into());
    text(encoder, "decay", settings.decay.to_string().as_bytes());
    key(encoder, "ttl");
    encoder.count(settings.lifetime.ttl_s.map_or(0, NonZero::get).into());
    let Lifetime { archive, forget, .. } = settings.lifetime;
    for (policy, [below, after]) in
        [(archive, ["archive_below", "archive_after"]), (forget, ["forget_below", "forget_after"])]
    {
        key(encoder, below);
        encoder.double_f32(policy.map_or(0.0, FadingPolicy::below));
        key(encoder, after);
        encoder.count(policy.map_or(0, |policy| policy.after_s).into());
    }
    text(encoder, "language", settings.words.language.name().as_bytes());
    key(encoder, "weights");
    let weights = settings.words.weights.to_array();
    encoder.array(weights.len());
    weights.iter().for_each(|weight| encoder.double_f32(*weight));
    text(encoder, "thread", settings.thread_path.as_bytes());
    text(encoder, "model", settings.model.as_bytes());
    key(encoder, "shards");
    encoder.count(u64::from(settings.shards));
    key(encoder, "episodes");
    encoder.count(episodes);
}

/// What a snapshot came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub path: PathBuf,
    /// The last sequence of each shard that is in it.
    pub through_sequences: Vec<u64>,
    pub copied: Copied,
    pub elapsed_ms: u64,
}

/// The answer to `EG.SNAPSHOT`.
pub fn snapshot(encoder: &mut Encoder<'_>, snapshot: &Snapshot) {
    let Snapshot { path, through_sequences, copied, elapsed_ms } = snapshot;
    encoder.map(7);
    text(encoder, "path", path.as_os_str().as_bytes());
    key(encoder, "through_seqs");
    encoder.array(through_sequences.len());
    through_sequences.iter().for_each(|through| encoder.count(*through));
    for (name, value) in [
        ("files_linked", copied.files_linked),
        ("bytes_linked", copied.bytes_linked),
        ("files_copied", copied.files_copied),
        ("bytes_copied", copied.bytes_copied),
        ("elapsed_ms", *elapsed_ms),
    ] {
        key(encoder, name);
        encoder.count(value);
    }
}

/// As it is written behind `METRIC`.
pub fn metric_name(metric: Metric) -> &'static str {
    match metric {
        Metric::Cosine => "cosine",
        Metric::Dot => "dot",
        Metric::L2 => "l2",
    }
}

fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Created => "created",
        Outcome::Existing => "existing",
        Outcome::Replaced => "replaced",
    }
}

fn key(encoder: &mut Encoder<'_>, key: &str) {
    encoder.bulk(key.as_bytes());
}

fn text(encoder: &mut Encoder<'_>, name: &str, value: &[u8]) {
    key(encoder, name);
    encoder.bulk(value);
}

/// Point, low, high.
fn confidence(encoder: &mut Encoder<'_>, confidence: &Confidence) {
    key(encoder, "confidence");
    encoder.array(3);
    encoder.double_f32(confidence.point);
    encoder.double_f32(confidence.low);
    encoder.double_f32(confidence.high);
}

fn times(encoder: &mut Encoder<'_>, episode: &StoredEpisode) {
    key(encoder, "happened_at");
    encoder.integer(episode.happened_at_us);
    key(encoder, "recorded_at");
    encoder.integer(episode.recorded_at_us);
}

/// How many keys [`parts`] writes.
fn parts_count(episode: &StoredEpisode) -> usize {
    let are_there = [
        episode.text.is_some(),
        episode.vector.is_some(),
        episode.metadata.is_some(),
        episode.links.is_some(),
        episode.strength.is_some(),
    ];
    are_there.iter().filter(|&&is_there| is_there).count()
}

fn parts(encoder: &mut Encoder<'_>, episode: &StoredEpisode) {
    let named = [("text", &episode.text), ("vec", &episode.vector), ("meta", &episode.metadata)];
    for (name, part) in named {
        if let Some(part) = part {
            text(encoder, name, part);
        }
    }
    if let Some(links) = &episode.links {
        key(encoder, "links");
        encoder.array(links.len());
        links.iter().for_each(|each| link(encoder, each));
    }
    if let Some(strength) = &episode.strength {
        self::strength(encoder, strength);
    }
}

/// How strong an episode is.
fn strength(encoder: &mut Encoder<'_>, strength: &Strength) {
    key(encoder, "strength");
    encoder.map(5);
    key(encoder, "retention");
    encoder.double_f32(strength.retention());
    key(encoder, "base_level");
    match strength.base_level() {
        Some(level) => encoder.double(level),
        None => encoder.null(),
    }
    key(encoder, "presentations");
    encoder.count(strength.trace.presentations.into());
    key(encoder, "last_presented_at");
    encoder.integer(strength.trace.last_us);
    key(encoder, "pinned");
    encoder.boolean(strength.is_pinned);
}

fn link(encoder: &mut Encoder<'_>, link: &Link) {
    encoder.map(2 + usize::from(!link.kind.is_empty()));
    text(encoder, "id", &link.target);
    key(encoder, "weight");
    encoder.double_f32(link.weight);
    if !link.kind.is_empty() {
        text(encoder, "kind", &link.kind);
    }
}
