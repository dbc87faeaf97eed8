//! Payloads of the log's frames: what the shard writes down for each operation.

use std::num::NonZero;

use thiserror::Error;
use zerocopy::little_endian::{F32, I64, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::link::link_record;
use crate::episode::{
    CodeBits, Confidence, FadingPolicy, Lifetime, Link, Metric, SpaceFan, SpaceNumber,
    SpaceSettings, StoreRequest, WordSettings,
};
use crate::inquiry::fusion::Weights;
use crate::limits::DIMENSIONS_MAX;
use crate::strength::Decay;
use crate::words::Language;

/// Why the payload of a frame that verifies cannot be read: a later version wrote it, or a bug.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the payload of a {operation} is malformed: {what}")]
pub struct PayloadError {
    pub operation: &'static str,
    pub what: &'static str,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct StoreBlock {
    space: U32,
    dimensions: U32,
    norm: F32,
    confidence_point: F32,
    confidence_low: F32,
    confidence_high: F32,
    text_bytes: U32,
    metadata_bytes: U32,
    links_bytes: U32,
    id_bytes: U16,
    thread_bytes: U16,
    key_bytes: U16,
    links: U16,
    durability: u8,
    priority: u8,
    zero_a: [u8; 2],
    /// 0 means that it has no end. Logs of earlier versions have 0 here.
    expires_at_us: I64,
    zero_b: [u8; 8],
}

const STORE_BLOCK_BYTES: usize = size_of::<StoreBlock>();
// Frame header and this block together keep the vector aligned to 16 bytes.
const _: () = assert!(STORE_BLOCK_BYTES == 64);
const _: () = assert!((super::FRAME_HEADER_BYTES + STORE_BLOCK_BYTES).is_multiple_of(16));

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct SpaceBlock {
    space: U32,
    dimensions: U32,
    shards: U32,
    metric: u8,
    /// Logs of earlier versions have 0 here and mean one bit.
    code_bits: u8,
    name_bytes: U16,
    model_bytes: U16,
    /// 0 means that the fan is the degree. Logs of earlier versions have 0 here and below.
    fan_hundredths: U16,
    /// 0 means that there is none.
    fan_cap: U32,
}

/// Settings that came later stand behind the names, each only where it is not the usual one: which
/// it is, the bytes of its value, the value.
const DECAY_SETTING: u8 = 1;
const TTL_SETTING: u8 = 2;
const FORGET_SETTING: u8 = 3;
const LANGUAGE_SETTING: u8 = 8;
const WEIGHTS_SETTING: u8 = 9;
const ARCHIVE_SETTING: u8 = 10;
const THREAD_PATH_SETTING: u8 = 11;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct DecayBlock {
    setting: u8,
    bytes: u8,
    model: u8,
    half_life_s: U32,
}

impl DecayBlock {
    /// `None` for the usual decay.
    fn of(decay: Decay) -> Option<Self> {
        let (model, half_life_s) = decay.to_parts();
        let bytes = size_of::<Self>() as u8 - 2;
        let block = Self { setting: DECAY_SETTING, bytes, model, half_life_s: half_life_s.into() };
        (decay != Decay::default()).then_some(block)
    }
}

fn put_policy(setting: u8, policy: FadingPolicy, out: &mut Vec<u8>) {
    out.extend([setting, (size_of::<u16>() + size_of::<u32>()) as u8]);
    out.extend(policy.below_units().to_le_bytes());
    out.extend(policy.after_s.to_le_bytes());
}

/// Settings of a space that came later.
#[derive(Debug, Clone, PartialEq, Default)]
struct LaterSettings {
    decay: Decay,
    lifetime: Lifetime,
    words: WordSettings,
    thread_path: String,
}

impl LaterSettings {
    fn of(settings: &SpaceSettings) -> Self {
        let SpaceSettings { decay, lifetime, words, .. } = *settings;
        Self { decay, lifetime, words, thread_path: settings.thread_path.clone() }
    }

    /// As they stand behind the names.
    fn encoded(&self) -> Vec<u8> {
        let Lifetime { ttl_s, archive, forget } = self.lifetime;
        let mut out = Vec::new();
        if let Some(decay) = DecayBlock::of(self.decay) {
            out.extend_from_slice(decay.as_bytes());
        }
        if let Some(ttl_s) = ttl_s {
            out.extend([TTL_SETTING, size_of::<u32>() as u8]);
            out.extend(ttl_s.get().to_le_bytes());
        }
        if let Some(forget) = forget {
            put_policy(FORGET_SETTING, forget, &mut out);
        }
        let WordSettings { language, weights } = self.words;
        if language != Language::default() {
            out.extend([LANGUAGE_SETTING, size_of::<u8>() as u8, language as u8]);
        }
        if weights != Weights::USUAL {
            out.extend([WEIGHTS_SETTING, size_of::<[f32; 5]>() as u8]);
            out.extend(weights.to_array().into_iter().flat_map(f32::to_le_bytes));
        }
        if let Some(archive) = archive {
            put_policy(ARCHIVE_SETTING, archive, &mut out);
        }
        if !self.thread_path.is_empty() {
            out.extend([THREAD_PATH_SETTING, narrow(self.thread_path.len())]);
            out.extend(self.thread_path.as_bytes());
        }
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let mut settings = Self::default();
        let mut rest = bytes;
        while let [setting, count, behind @ ..] = rest {
            let (value, behind) =
                behind.split_at_checked(usize::from(*count)).ok_or("a setting is cut short")?;
            settings.read(*setting, value).ok_or(UNKNOWN_SETTING)?;
            rest = behind;
        }
        // So each stands there once, in order, and is not the usual one.
        match settings.encoded() == bytes {
            true => Ok(settings),
            false => Err(UNKNOWN_SETTING),
        }
    }

    fn read(&mut self, setting: u8, value: &[u8]) -> Option<()> {
        let number = |bytes: &[u8]| Some(u32::from_le_bytes(bytes.try_into().ok()?));
        let policy = |bytes: &[u8]| {
            let (below, after_s) = bytes.split_first_chunk::<2>()?;
            FadingPolicy::of_parts(u16::from_le_bytes(*below), number(after_s)?)
        };
        match setting {
            DECAY_SETTING => {
                let (model, half_life_s) = value.split_first()?;
                self.decay = Decay::of_parts((*model, number(half_life_s)?))?;
            }
            TTL_SETTING => self.lifetime.ttl_s = NonZero::new(number(value)?),
            FORGET_SETTING => self.lifetime.forget = Some(policy(value)?),
            LANGUAGE_SETTING => {
                let [language] = value else { return None };
                self.words.language = Language::from_u8(*language)?;
            }
            WEIGHTS_SETTING => {
                let weights: Vec<f32> = value
                    .chunks(4)
                    .map(|of| Some(f32::from_bits(number(of)?)))
                    .collect::<Option<_>>()?;
                self.words.weights = Weights::from_array(weights.try_into().ok()?)?;
            }
            ARCHIVE_SETTING => self.lifetime.archive = Some(policy(value)?),
            THREAD_PATH_SETTING => self.thread_path = String::from_utf8(value.to_vec()).ok()?,
            _ => return None,
        }
        Some(())
    }
}

const UNKNOWN_SETTING: &str = "a setting that this version does not know";

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct ForgetBlock {
    space: U32,
    id_bytes: U16,
    zero: U16,
}

/// Lengths of the variable parts of a stored episode. They stand in the frame in this order, right
/// behind the vector: id, thread, key, text, metadata, links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreSizes {
    pub id: u16,
    pub thread: u16,
    pub key: u16,
    pub links: u16,
    pub text: u32,
    pub metadata: u32,
    pub links_bytes: u32,
}

impl StoreSizes {
    /// Bytes of all variable parts together: the *body* of the episode.
    pub fn body_bytes(&self) -> usize {
        usize::from(self.id)
            + usize::from(self.thread)
            + usize::from(self.key)
            + self.text as usize
            + self.metadata as usize
            + self.links_bytes as usize
    }
}

/// A store frame's payload, read in place.
#[derive(Debug, Clone, Copy)]
pub struct StorePayload<'a> {
    pub space: SpaceNumber,
    pub norm: f32,
    pub confidence: Confidence,
    /// µs since 1970-01-01 UTC; `None` when it has no end.
    pub expires_at_us: Option<NonZero<i64>>,
    /// Little-endian f32, one per dimension.
    pub vector: &'a [u8],
    pub sizes: StoreSizes,
    /// The variable parts, one behind the other.
    pub body: &'a [u8],
}

impl<'a> StorePayload<'a> {
    pub fn decode(payload: &'a [u8]) -> Result<Self, PayloadError> {
        let malformed = |what| PayloadError { operation: "store", what };
        let (block, rest) = StoreBlock::ref_from_prefix(payload)
            .map_err(|_| malformed("shorter than its fixed part"))?;
        let vector_bytes = block.dimensions.get() as usize * 4;
        let sizes = StoreSizes {
            id: block.id_bytes.get(),
            thread: block.thread_bytes.get(),
            key: block.key_bytes.get(),
            links: block.links.get(),
            text: block.text_bytes.get(),
            metadata: block.metadata_bytes.get(),
            links_bytes: block.links_bytes.get(),
        };
        if rest.len() != vector_bytes + sizes.body_bytes() {
            return Err(malformed("its parts do not add up to its length"));
        }
        let (vector, body) = rest.split_at(vector_bytes);
        Ok(Self {
            space: SpaceNumber(block.space.get()),
            norm: block.norm.get(),
            confidence: Confidence {
                point: block.confidence_point.get(),
                low: block.confidence_low.get(),
                high: block.confidence_high.get(),
            },
            expires_at_us: NonZero::new(block.expires_at_us.get()),
            vector,
            sizes,
            body,
        })
    }

    pub fn id(&self) -> &'a [u8] {
        &self.body[..usize::from(self.sizes.id)]
    }

    pub fn key(&self) -> &'a [u8] {
        let at = usize::from(self.sizes.id) + usize::from(self.sizes.thread);
        &self.body[at..at + usize::from(self.sizes.key)]
    }
}

/// Lengths of a request's variable parts and of its whole payload.
pub fn store_sizes(request: &StoreRequest) -> (StoreSizes, usize) {
    let episode = &request.episode;
    let sizes = StoreSizes {
        id: narrow(episode.id.len()),
        thread: narrow(episode.thread.len()),
        key: narrow(request.key.len()),
        links: narrow(episode.links.len()),
        text: narrow(episode.text.len()),
        metadata: narrow(episode.metadata.len()),
        links_bytes: narrow(episode.links.iter().map(Link::bytes).sum::<usize>()),
    };
    (sizes, STORE_BLOCK_BYTES + episode.vector.len() + sizes.body_bytes())
}

/// Lengths are bounded by `limits.rs` before they come here.
pub(super) fn narrow<T: TryFrom<usize>>(bytes: usize) -> T {
    T::try_from(bytes).ok().expect("the request was checked against the limits")
}

/// What a shard finds out of a store when it takes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StoreFacts {
    /// Euclidean norm of the vector.
    pub norm: f32,
    /// µs since 1970-01-01 UTC; `None` when it has no end.
    pub expires_at_us: Option<NonZero<i64>>,
}

impl StoreFacts {
    /// Of an episode that never expires.
    pub fn lasting(norm: f32) -> Self {
        Self { norm, expires_at_us: None }
    }
}

/// Writes a store into a payload of the size that [`store_sizes`] gave.
pub fn encode_store(request: &StoreRequest, sizes: StoreSizes, facts: StoreFacts, out: &mut [u8]) {
    let (episode, StoreFacts { norm, expires_at_us }) = (&request.episode, facts);
    let block = StoreBlock {
        space: request.space.0.into(),
        dimensions: narrow::<u32>(episode.vector.len() / 4).into(),
        norm: norm.into(),
        confidence_point: episode.confidence.point.into(),
        confidence_low: episode.confidence.low.into(),
        confidence_high: episode.confidence.high.into(),
        text_bytes: sizes.text.into(),
        metadata_bytes: sizes.metadata.into(),
        links_bytes: sizes.links_bytes.into(),
        id_bytes: sizes.id.into(),
        thread_bytes: sizes.thread.into(),
        key_bytes: sizes.key.into(),
        links: sizes.links.into(),
        durability: request.durability as u8,
        priority: request.priority as u8,
        zero_a: [0; 2],
        expires_at_us: expires_at_us.map_or(0, NonZero::get).into(),
        zero_b: [0; 8],
    };
    let mut out = Cursor(out);
    out.put(block.as_bytes());
    out.put(&episode.vector);
    for part in [&episode.id, &episode.thread, &request.key, &episode.text, &episode.metadata] {
        out.put(part);
    }
    for link in &episode.links {
        for part in link_record(link.weight, &link.target, &link.kind).parts() {
            out.put(part);
        }
    }
    out.finish();
}

/// Fills a slice from front to back, exactly.
pub(super) struct Cursor<'a>(pub(super) &'a mut [u8]);

impl Cursor<'_> {
    pub(super) fn put(&mut self, bytes: &[u8]) {
        let (head, rest) = std::mem::take(&mut self.0).split_at_mut(bytes.len());
        head.copy_from_slice(bytes);
        self.0 = rest;
    }

    pub(super) fn finish(self) {
        assert!(self.0.is_empty(), "the payload is as long as its parts");
    }
}

/// The payload of a space's creation; a drop carries the same, so that the log tells by itself what
/// was dropped.
#[derive(Debug, Clone, PartialEq)]
pub struct SpacePayload {
    pub space: SpaceNumber,
    pub settings: SpaceSettings,
}

impl SpacePayload {
    pub fn decode(payload: &[u8]) -> Result<Self, PayloadError> {
        let malformed = |what| PayloadError { operation: "space", what };
        let (block, rest) = SpaceBlock::ref_from_prefix(payload)
            .map_err(|_| malformed("shorter than its fixed part"))?;
        let name_bytes = usize::from(block.name_bytes.get());
        let names_bytes = name_bytes + usize::from(block.model_bytes.get());
        let (rest, later) = rest
            .split_at_checked(names_bytes)
            .ok_or_else(|| malformed("its parts do not add up to its length"))?;
        let LaterSettings { decay, lifetime, words, thread_path } =
            LaterSettings::decode(later).map_err(malformed)?;
        if !(1..=DIMENSIONS_MAX).contains(&(block.dimensions.get() as usize)) {
            return Err(malformed("its dimensions are out of bounds"));
        }
        let (name, model) = rest.split_at(name_bytes);
        let text = |bytes: &[u8]| {
            String::from_utf8(bytes.to_vec()).map_err(|_| malformed("a name is not UTF-8"))
        };
        let metric = match block.metric {
            0 => Metric::Cosine,
            1 => Metric::Dot,
            2 => Metric::L2,
            _ => return Err(malformed("an unknown metric")),
        };
        let codes = CodeBits::of(u32::from(block.code_bits.max(1)))
            .ok_or_else(|| malformed("an unknown width of codes"))?;
        let fan = SpaceFan::of_hundredths(block.fan_hundredths.get())
            .ok_or_else(|| malformed("its strength of associations is out of bounds"))?;
        let fan_cap = block.fan_cap.get();
        Ok(Self {
            space: SpaceNumber(block.space.get()),
            settings: SpaceSettings {
                name: text(name)?,
                dimensions: block.dimensions.get(),
                metric,
                codes,
                fan,
                fan_cap: (fan_cap > 0).then_some(fan_cap),
                decay,
                lifetime,
                words,
                thread_path,
                model: text(model)?,
                shards: block.shards.get(),
            },
        })
    }
}

pub fn space_bytes(settings: &SpaceSettings) -> usize {
    let later = LaterSettings::of(settings).encoded().len();
    size_of::<SpaceBlock>() + settings.name.len() + settings.model.len() + later
}

pub fn encode_space(space: SpaceNumber, settings: &SpaceSettings, out: &mut [u8]) {
    let block = SpaceBlock {
        space: space.0.into(),
        dimensions: settings.dimensions.into(),
        shards: settings.shards.into(),
        metric: match settings.metric {
            Metric::Cosine => 0,
            Metric::Dot => 1,
            Metric::L2 => 2,
        },
        code_bits: settings.codes as u8,
        name_bytes: narrow::<u16>(settings.name.len()).into(),
        model_bytes: narrow::<u16>(settings.model.len()).into(),
        fan_hundredths: settings.fan.hundredths().into(),
        fan_cap: settings.fan_cap.unwrap_or_default().into(),
    };
    let mut out = Cursor(out);
    out.put(block.as_bytes());
    out.put(settings.name.as_bytes());
    out.put(settings.model.as_bytes());
    out.put(&LaterSettings::of(settings).encoded());
    out.finish();
}

/// The payload of a forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForgetPayload<'a> {
    pub space: SpaceNumber,
    pub id: &'a [u8],
}

impl<'a> ForgetPayload<'a> {
    pub fn decode(payload: &'a [u8]) -> Result<Self, PayloadError> {
        let malformed = |what| PayloadError { operation: "forget", what };
        let (block, id) = ForgetBlock::ref_from_prefix(payload)
            .map_err(|_| malformed("shorter than its fixed part"))?;
        if id.len() != usize::from(block.id_bytes.get()) {
            return Err(malformed("its parts do not add up to its length"));
        }
        Ok(Self { space: SpaceNumber(block.space.get()), id })
    }
}

pub fn forget_bytes(id: &[u8]) -> usize {
    size_of::<ForgetBlock>() + id.len()
}

pub fn encode_forget(space: SpaceNumber, id: &[u8], out: &mut [u8]) {
    let block = ForgetBlock {
        space: space.0.into(),
        id_bytes: narrow::<u16>(id.len()).into(),
        zero: 0.into(),
    };
    let mut out = Cursor(out);
    out.put(block.as_bytes());
    out.put(id);
    out.finish();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::episode::{Durability, Episode, Priority, Ttl};
    use crate::format::LinkRecords;
    use bytes::Bytes;

    fn request() -> StoreRequest {
        StoreRequest {
            space: SpaceNumber(3),
            episode: Episode {
                id: Bytes::from_static(b"e1"),
                vector: Bytes::from_static(&[0, 0, 128, 63, 0, 0, 0, 64]),
                text: Bytes::from_static("größer".as_bytes()),
                happened_at_us: None,
                confidence: Confidence { point: 0.5, low: 0.25, high: 0.75 },
                metadata: Bytes::from_static(b"{\"a\":1}"),
                thread: Bytes::from_static(b"t"),
                links: vec![
                    Link { target: "x".into(), weight: 0.5, kind: "k".into() },
                    Link { target: "yy".into(), weight: 2.0, kind: Bytes::new() },
                ],
            },
            key: Bytes::from_static(b"key"),
            dedup: false,
            ttl: Ttl::Space,
            priority: Priority::High,
            durability: Durability::Os,
            writer_uid: 1000,
        }
    }

    #[test]
    fn a_store_reads_back_as_written() {
        let request = request();
        let (sizes, bytes) = store_sizes(&request);
        let mut payload = vec![0xff; bytes];
        let facts = StoreFacts { norm: 2.25, expires_at_us: NonZero::new(-7) };
        encode_store(&request, sizes, facts, &mut payload);
        let read = StorePayload::decode(&payload).unwrap();
        assert_eq!((read.space, read.norm), (request.space, 2.25));
        assert_eq!(read.expires_at_us, NonZero::new(-7));
        assert_eq!(payload[48..56], i64::to_le_bytes(-7));
        assert_eq!(read.confidence, request.episode.confidence);
        assert_eq!(read.vector, &request.episode.vector[..]);
        assert_eq!((read.id(), read.key()), (&b"e1"[..], &b"key"[..]));
        let links_at = read.body.len() - read.sizes.links_bytes as usize;
        let links: Vec<_> = LinkRecords(&read.body[links_at..]).collect();
        assert_eq!(links, vec![(0.5, &b"x"[..], &b"k"[..]), (2.0, &b"yy"[..], &b""[..])]);
    }

    #[test]
    fn a_store_of_any_other_length_is_refused() {
        let request = request();
        let (sizes, bytes) = store_sizes(&request);
        let mut payload = vec![0; bytes + 1];
        encode_store(&request, sizes, StoreFacts::lasting(1.0), &mut payload[..bytes]);
        assert!(StorePayload::decode(&payload).is_err());
        for cut in 0..bytes {
            assert!(StorePayload::decode(&payload[..cut]).is_err(), "{cut}");
        }
    }

    fn settings() -> SpaceSettings {
        SpaceSettings {
            metric: Metric::L2,
            codes: CodeBits::Four,
            fan: SpaceFan::Strength { hundredths: 157 },
            fan_cap: Some(70_000),
            model: "m".into(),
            ..SpaceSettings::usual("s", 3)
        }
    }

    /// The payload of a space that is created with these settings.
    fn space_payload(settings: &SpaceSettings) -> Vec<u8> {
        let mut payload = vec![0xff; space_bytes(settings)];
        encode_space(SpaceNumber(9), settings, &mut payload);
        payload
    }

    #[test]
    fn spaces_and_forgets_read_back_as_written() {
        // As in FORMAT.md.
        let payload = space_payload(&settings());
        let expected = *b"\x09\0\0\0\x03\0\0\0\x01\0\0\0\x02\x04\x01\0\
                          \x01\0\x9d\0\x70\x11\x01\0sm";
        assert_eq!(payload, expected);
        let wanted = SpacePayload { space: SpaceNumber(9), settings: settings() };
        assert_eq!(SpacePayload::decode(&payload), Ok(wanted));

        for (decay, later) in [
            (Decay::Power, &b""[..]),
            (Decay::TwoComponent, b"\x01\x05\x01\0\0\0\0"),
            (Decay::Exponential { half_life_s: 0x0102_0304 }, b"\x01\x05\x02\x04\x03\x02\x01"),
            (Decay::None, b"\x01\x05\x03\0\0\0\0"),
        ] {
            let settings = SpaceSettings { decay, ..settings() };
            let mut payload = space_payload(&settings);
            assert_eq!(payload[expected.len()..], *later, "{decay}");
            let wanted = SpacePayload { space: SpaceNumber(9), settings };
            assert_eq!(SpacePayload::decode(&payload), Ok(wanted));
            for cut in expected.len() + 1..payload.len() {
                assert!(SpacePayload::decode(&payload[..cut]).is_err(), "{decay} {cut}");
            }
            payload.push(9);
            assert!(SpacePayload::decode(&payload).is_err(), "an unknown setting");
        }

        let forget = FadingPolicy::of_parts(0x0102, 5);
        let archive = FadingPolicy::of_parts(0x0304, 6);
        let lifetime = Lifetime { ttl_s: NonZero::new(0x0102_0304), archive, forget };
        let settings = SpaceSettings { decay: Decay::None, lifetime, ..settings() };
        let mut payload = space_payload(&settings);
        assert_eq!(
            payload[expected.len()..],
            *b"\x01\x05\x03\0\0\0\0\x02\x04\x04\x03\x02\x01\x03\x06\x02\x01\x05\0\0\0\
               \x0a\x06\x04\x03\x06\0\0\0"
        );
        assert_eq!(SpacePayload::decode(&payload).unwrap().settings, settings);
        let later = payload.split_off(expected.len());
        let swapped = [&payload[..], &later[7..], &later[..7]].concat();
        assert!(SpacePayload::decode(&swapped).is_err(), "another order");

        let weights = Weights { near: 0.5, ..Weights::USUAL };
        let words = WordSettings { language: Language::Any, weights };
        let settings = SpaceSettings { decay: Decay::default(), words, ..settings };
        let payload = space_payload(&SpaceSettings { lifetime: Lifetime::default(), ..settings });
        let later = &payload[expected.len()..];
        assert_eq!(later[..9], *b"\x08\x01\x12\x09\x14\0\0\0\x3f");
        assert_eq!(later.len(), 3 + 2 + 20);
        assert_eq!(SpacePayload::decode(&payload).unwrap().settings.words, words);
        let altered = |at: usize, bytes: &[u8]| {
            let mut payload = payload.clone();
            payload[expected.len() + at..][..bytes.len()].copy_from_slice(bytes);
            SpacePayload::decode(&payload)
        };
        assert!(altered(2, &[19]).is_err(), "an unknown language");
        let thread_path = "chat.id".to_owned();
        let settings = SpaceSettings { thread_path, ..self::settings() };
        let payload = space_payload(&settings);
        assert_eq!(payload[expected.len()..], *b"\x0b\x07chat.id");
        assert_eq!(SpacePayload::decode(&payload).unwrap().settings, settings);
        let with_path = |path: &[u8]| {
            SpacePayload::decode(&[&expected[..], &[11, path.len() as u8], path].concat())
        };
        assert!(with_path(b"a").is_ok());
        assert!(with_path(b"").is_err(), "no path is no setting");
        assert!(with_path(b"\xff").is_err(), "not UTF-8");
        for weight in [-0.5, 1000.5, f32::NAN, f32::INFINITY] {
            assert!(altered(5, &weight.to_le_bytes()).is_err(), "{weight}");
        }

        let mut payload = vec![0; forget_bytes(b"id")];
        encode_forget(SpaceNumber(9), b"id", &mut payload);
        let wanted = ForgetPayload { space: SpaceNumber(9), id: b"id" };
        assert_eq!(ForgetPayload::decode(&payload), Ok(wanted));
    }

    #[test]
    fn settings_of_a_space_that_came_later_are_zeros_before() {
        let mut payload = space_payload(&settings());
        for (byte, codes) in [(0, Some(CodeBits::One)), (2, Some(CodeBits::Two)), (3, None)] {
            payload[13] = byte;
            let read = SpacePayload::decode(&payload).ok();
            assert_eq!(read.map(|space| space.settings.codes), codes, "{byte}");
        }
        let mut payload = space_payload(&settings());
        let strength = |hundredths| SpaceFan::Strength { hundredths };
        for (hundredths, cap, fan) in [
            (0, 0, Some((SpaceFan::Degree, None))),
            (0, 1, Some((SpaceFan::Degree, Some(1)))),
            (1, 0, Some((strength(1), None))),
            (800, u32::MAX, Some((strength(800), Some(u32::MAX)))),
            (801, 1, None),
            (u16::MAX, 0, None),
        ] {
            payload[18..20].copy_from_slice(&u16::to_le_bytes(hundredths));
            payload[20..24].copy_from_slice(&u32::to_le_bytes(cap));
            let space = SpacePayload::decode(&payload).ok();
            let read = space.map(|space| (space.settings.fan, space.settings.fan_cap));
            assert_eq!(read, fan, "{hundredths}, {cap}");
        }
    }
}
