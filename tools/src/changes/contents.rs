//! What an episode holds, as a function of its number and its version.
//!
//! Every part an episode can have follows from the two numbers, so that a verification needs no
//! copy of what was sent: it reads the version out of the metadata, makes the episode again and
//! compares bit for bit. Sizes go from nothing to several sectors, because a write that is torn in
//! the middle of an episode needs episodes that have a middle.

use fastrand::Rng;
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::document::{Confidence, Episode, Link};
use crate::reply::EpisodeReply;

const ID_PREFIX: &str = "change-";
/// What the metadata of every generated episode begins with; the version follows.
const META_HEAD: &str = "{\"version\":";

/// One episode in this many carries a long text.
const LONG_EVERY: u64 = 16;
const LONG_TEXT_BYTES_MAX: usize = 12_000;
const TEXT_BYTES_MAX: usize = 300;
const LINKS_MAX: usize = 3;

pub(super) fn id(number: u64) -> String {
    format!("{ID_PREFIX}{number}")
}

/// The number of a generated id; `None`: not one of ours.
pub(super) fn number(id: &str) -> Option<u64> {
    let number = id.strip_prefix(ID_PREFIX)?.parse().ok()?;
    (self::id(number) == id).then_some(number)
}

/// The idempotency key of a version.
pub(super) fn key(version: u64) -> String {
    format!("key-{version}")
}

/// The whole episode.
pub(super) fn episode(number: u64, version: u64, dimensions: usize) -> Episode {
    let mut rng = Rng::with_seed(xxh3_64_with_seed(&number.to_le_bytes(), version));
    let id = id(number);
    let is_long = rng.u64(..LONG_EVERY) == 0;
    let text_bytes = rng.usize(..if is_long { LONG_TEXT_BYTES_MAX } else { TEXT_BYTES_MAX });
    let text = text(&format!("{id} in version {version}:"), text_bytes, &mut rng);
    let pad: String = (0..rng.usize(..40)).map(|_| rng.lowercase()).collect();
    let meta = format!("{META_HEAD}{version}, \"pad\": \"{pad}\"}}");
    let links = (0..rng.usize(..=LINKS_MAX)).map(|nth| Link {
        id: self::id(number.wrapping_add(nth as u64 + 1)),
        weight: rng.u8(1..=255).into(),
        kind: if rng.bool() { String::new() } else { "near".to_owned() },
    });
    let links = links.collect();
    Episode {
        id: Some(id),
        text,
        // Also before 1970.
        at_us: Some(rng.i64(-1 << 50..1 << 51)),
        confidence: confidence(&mut rng),
        meta: Some(RawValue::from_string(meta).expect("the metadata is valid JSON")),
        thread: if rng.bool() { format!("thread-{}", rng.u8(..)) } else { String::new() },
        links,
        supersedes: Vec::new(),
        expires_at_us: None,
        vector: (0..dimensions).map(|_| rng.f32() - 0.5).collect(),
    }
}

/// Words behind a head; nothing when there is no room for the head.
fn text(head: &str, bytes: usize, rng: &mut Rng) -> String {
    if bytes < head.len() {
        return String::new();
    }
    let mut text = head.to_owned();
    while text.len() < bytes {
        text.push(if rng.u8(..6) == 0 { ' ' } else { rng.lowercase() });
    }
    text
}

fn confidence(rng: &mut Rng) -> Option<Confidence> {
    let mut parts = [rng.f32(), rng.f32(), rng.f32()];
    parts.sort_by(f32::total_cmp);
    let [low, point, high] = parts;
    match rng.u8(..3) {
        0 => None,
        1 => Some(Confidence { point, interval: None }),
        _ => Some(Confidence { point, interval: Some((low, high)) }),
    }
}

/// The version that an episode says it is.
pub(super) fn version(found: &EpisodeReply) -> Option<u64> {
    let digits = found.meta.as_deref()?.strip_prefix(META_HEAD)?;
    digits.split(',').next()?.parse().ok()
}

/// The first part of an episode that is not what was sent; `None`: it is equal bit for bit.
pub(super) fn difference(found: &EpisodeReply, sent: &Episode) -> Option<&'static str> {
    let confidence = sent.confidence.map_or([1.0; 3], |Confidence { point, interval }| {
        let (low, high) = interval.unwrap_or((point, point));
        [point, low, high]
    });
    let vector: Vec<u8> = sent.vector.iter().flat_map(|part| part.to_le_bytes()).collect();
    let bits = |parts: [f32; 3]| parts.map(f32::to_bits);
    let parts = [
        ("the id", Some(&found.id) == sent.id.as_ref()),
        ("the text", found.text.as_deref().unwrap_or_default() == sent.text),
        ("the vector", found.vector.as_ref() == Some(&vector)),
        ("the metadata", found.meta.as_deref() == sent.meta.as_ref().map(|meta| meta.get())),
        ("the time", found.happened_at_us == sent.at_us),
        ("the confidence", found.confidence.map(bits) == Some(bits(confidence))),
        ("the thread", found.thread == sent.thread),
        ("the links", found.links == sent.links),
    ];
    parts.into_iter().find(|(_, is_equal)| !is_equal).map(|(part, _)| part)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a daemon that keeps everything answers.
    fn kept(episode: &Episode) -> EpisodeReply {
        let Confidence { point, interval } =
            episode.confidence.unwrap_or(Confidence { point: 1.0, interval: None });
        let (low, high) = interval.unwrap_or((point, point));
        EpisodeReply {
            id: episode.id.clone().unwrap(),
            happened_at_us: episode.at_us,
            confidence: Some([point, low, high]),
            text: Some(episode.text.clone()),
            vector: Some(episode.vector.iter().flat_map(|part| part.to_le_bytes()).collect()),
            meta: episode.meta.as_ref().map(|meta| meta.get().to_owned()),
            thread: episode.thread.clone(),
            links: episode.links.clone(),
            ..EpisodeReply::default()
        }
    }

    #[test]
    fn an_episode_is_known_by_its_number_and_version() {
        for version in 0..500 {
            let sent = episode(7, version, 5);
            let found = kept(&sent);
            assert_eq!(super::version(&found), Some(version));
            assert_eq!(difference(&found, &episode(7, version, 5)), None);
            assert!(difference(&found, &episode(7, version + 1, 5)).is_some());
            assert!(difference(&found, &episode(8, version, 5)).is_some());
        }
    }

    #[test]
    fn every_part_that_differs_is_noticed() {
        let sent = (0..).map(|version| episode(1, version, 2)).find(|e| !e.links.is_empty());
        let sent = sent.unwrap();
        let alter = |change: &dyn Fn(&mut EpisodeReply)| {
            let mut found = kept(&sent);
            change(&mut found);
            difference(&found, &sent)
        };
        assert_eq!(alter(&|found| found.id.push('1')), Some("the id"));
        assert_eq!(alter(&|found| found.text = Some("x".into())), Some("the text"));
        assert_eq!(alter(&|found| found.vector.as_mut().unwrap()[7] ^= 1), Some("the vector"));
        assert_eq!(alter(&|found| found.meta = None), Some("the metadata"));
        assert_eq!(alter(&|found| found.happened_at_us = Some(0)), Some("the time"));
        assert_eq!(alter(&|found| found.confidence = None), Some("the confidence"));
        assert_eq!(alter(&|found| found.thread.push('x')), Some("the thread"));
        assert_eq!(alter(&|found| found.links[0].weight = 0.5), Some("the links"));
    }

    #[test]
    fn only_ids_of_ours_have_a_number() {
        assert_eq!(number(&id(4711)), Some(4711));
        for other in ["change-", "change-01", "change-+1", "4711", "change-1x"] {
            assert_eq!(number(other), None, "{other}");
        }
    }
}
