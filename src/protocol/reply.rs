//! The engine's answers as values on the wire: which keys, in which order, of which type.
//!
//! Keys of what was not asked for are left out. The engine's own types come in, so that a reply's
//! shape is written down once, here, and described once, in `PROTOCOL.md`.

use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use engram_shards::episode::{
    Activation, Confidence, Hit, Link, Linked, Metric, Outcome, Refusal, Sequence, SpaceSettings,
    StoredEpisode, Unlinked,
};
use engram_shards::io::Copied;

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

/// The answer to a store. `assigned_id` is the id of an episode that came with `*`.
pub fn stored(encoder: &mut Encoder<'_>, assigned_id: Option<&[u8]>, activation: &Activation) {
    encoder.map(6 + usize::from(assigned_id.is_some()));
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
}

/// One item's answer of `EG.MSTORE`, behind the header of the array.
pub fn stored_item(
    encoder: &mut Encoder<'_>,
    assigned_id: Option<&[u8]>,
    answer: &Result<Activation, Refusal>,
) {
    match answer {
        Ok(activation) => stored(encoder, assigned_id, activation),
        Err(refusal) => encoder.refusal(refusal),
    }
}

/// The answer to `EG.RECALL`, best first.
pub fn recalled(encoder: &mut Encoder<'_>, hits: &[Hit]) {
    encoder.array(hits.len());
    for hit in hits {
        let episode = &hit.episode;
        encoder.map(6 + parts_count(episode) + usize::from(hit.why.is_some()));
        text(encoder, "id", &episode.id);
        key(encoder, "score");
        encoder.double_f32(hit.score);
        key(encoder, "similarity");
        encoder.double_f32(hit.similarity);
        confidence(encoder, &episode.confidence);
        times(encoder, episode);
        parts(encoder, episode);
        if let Some(why) = hit.why {
            key(encoder, "why");
            encoder.map(7);
            text(encoder, "tier", why.tier.name().as_bytes());
            key(encoder, "rows_compared");
            encoder.count(why.rows_compared);
            key(encoder, "rows_estimated");
            encoder.count(why.rows_estimated);
            key(encoder, "rows_judged");
            encoder.count(why.rows_judged);
            key(encoder, "rows_filtered");
            encoder.count(why.rows_filtered);
            key(encoder, "hops");
            encoder.count(why.hops);
            key(encoder, "beam");
            encoder.count(why.beam as u64);
        }
    }
}

/// The answer to `EG.GET`, or one of `EG.MGET`.
pub fn episode(encoder: &mut Encoder<'_>, episode: Option<&StoredEpisode>) {
    let Some(episode) = episode else {
        return encoder.null();
    };
    let has_thread = !episode.thread.is_empty();
    encoder.map(6 + usize::from(has_thread) + parts_count(episode));
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
    parts(encoder, episode);
}

/// The answer to `EG.SCAN`: the next cursor and the episodes.
pub fn scanned(encoder: &mut Encoder<'_>, next: ScanCursor, episodes: &[StoredEpisode]) {
    encoder.array(2);
    encoder.bulk(next.number().to_string().as_bytes());
    encoder.array(episodes.len());
    episodes.iter().for_each(|each| episode(encoder, Some(each)));
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
    encoder.map(9);
    text(encoder, "name", settings.name.as_bytes());
    key(encoder, "dim");
    encoder.count(u64::from(settings.dimensions));
    text(encoder, "metric", metric_name(settings.metric).as_bytes());
    key(encoder, "codes");
    encoder.count(settings.codes as u64);
    text(encoder, "fan", settings.fan.to_string().as_bytes());
    key(encoder, "fan_cap");
    encoder.count(settings.fan_cap.unwrap_or_default().into());
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
