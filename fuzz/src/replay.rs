//! Frames that verify, with any operation and any payload: what a newer version, a bug or somebody
//! else could have written. The shard applies them or says which one it cannot apply. What it
//! applied is sound, can be read and recalled, and is applied the same way at the next start.

use std::num::NonZero;

use bytes::Bytes;
use engram_shards::episode::{
    CodeBits, Conditions, Confidence, Durability, Effort, Episode, Fields, Lapse, Link,
    LinkRequest, Metric, Priority, RecallRequest, ReinforceRequest, Reinforcement, SpaceFan,
    SpaceNumber, SpaceSettings, StoreRequest, Ttl, UnlinkRequest,
};
use engram_shards::format::{
    ErasePayload, Frame, FrameHead, LAPSED_MAX, Operation, RECALLED_MAX, StoreFacts,
    SupersedePayload, encode_forget, encode_lapse, encode_link, encode_recalled, encode_reinforce,
    encode_space, encode_store, encode_supersede, encode_unlink, forget_bytes, lapse_bytes,
    link_bytes, recalled_bytes, reinforce_bytes, space_bytes, store_sizes, supersede_bytes,
    unlink_bytes,
};
use engram_shards::io::{MemoryDisk, MemoryIo};
use engram_shards::log::{
    Appending, Log, LogIdentity, LogSettings, RecoveryError, RecoverySettings,
};
use engram_shards::shard::{OpenError, Shard, ShardStats};
use engram_shards::space::Page;

use crate::input::Input;
use crate::recovery::commit;
use crate::recovery::history::{SEGMENT_BYTES, STORE_ID, settings};

/// Frames of an input at most.
const FRAMES_MAX: usize = 24;
const ALL: Fields = Fields {
    text: true,
    vector: true,
    metadata: true,
    links: true,
    strength: Some(NonZero::<i64>::MAX),
    gist_links: true,
    belief: Some(NonZero::<i64>::MAX),
    why: true,
};
const IDENTITY: LogIdentity =
    LogIdentity { store_id: STORE_ID, shard: 0, segment_bytes: SEGMENT_BYTES, may_be_empty: true };

/// See the top of the file.
pub fn run(bytes: &[u8]) {
    let disk = MemoryDisk::default();
    let recovery = RecoverySettings::default();
    let opened =
        Log::open(disk.io(), IDENTITY, LogSettings::default(), &recovery, &mut |_: Frame<'_>| {
            Ok(())
        });
    let (mut log, _) = opened.expect("an empty disk");
    let mut input = Input::new(bytes);
    for _ in 0..FRAMES_MAX {
        if input.is_empty() {
            break;
        }
        let (head, payload) = frame(&mut input);
        log.append(&head, payload.len(), Appending::default(), |out| out.copy_from_slice(&payload))
            .expect("there is room");
        commit(&mut log);
    }
    drop(log);
    let Some(stats) = open(&disk) else { return };
    assert_eq!(open(&disk), Some(stats), "the same once more");
}

/// Opens the shard and looks at everything in it; `None` when a frame cannot be applied.
fn open(disk: &MemoryDisk) -> Option<ShardStats> {
    match Shard::open(disk.io(), &settings(IDENTITY), &|_| {}) {
        Ok((mut shard, _)) => {
            assert_eq!(shard.verify(), [""; 0]);
            look(&mut shard);
            Some(shard.stats())
        }
        Err(OpenError::Recovery(RecoveryError::Apply { sequence, reason, .. })) => {
            assert!(sequence > 0 && reason.len() > 10, "{reason}");
            None
        }
        Err(error) => panic!("nothing is wrong with the log: {error}"),
    }
}

fn look(shard: &mut Shard<MemoryIo>) {
    let spaces: Vec<(SpaceNumber, u32)> =
        shard.spaces().map(|(number, settings)| (number, settings.dimensions)).collect();
    for (space, dimensions) in spaces {
        let Page { episodes, next } =
            shard.scan(space, 0, usize::MAX, usize::MAX, ALL).expect("the space exists");
        assert_eq!(next, None);
        for episode in &episodes {
            let found = shard.get(space, &episode.id, ALL).expect("the space exists");
            assert_eq!(found.map(|found| found.sequence), Some(episode.sequence));
        }
        let request = RecallRequest {
            space,
            k: 4,
            cue: vec![0.5; dimensions as usize].into(),
            conditions: Conditions::default(),
            effort: Effort::Usual,
            fields: ALL,
            bytes_max: 1 << 20,
        };
        let mut recall = shard.recall(request).expect("the space exists");
        while !shard.recall_step(&mut recall, 1 << 16).expect("the space exists") {}
        let hits = shard.recall_finish(recall).expect("the space exists");
        assert!(hits.len() <= episodes.len());
    }
}

/// A frame as somebody may have written it: a payload of any bytes, or one of the known made of any
/// values, with some of its bytes changed.
fn frame(input: &mut Input<'_>) -> (FrameHead, Vec<u8>) {
    let kind = input.u8();
    let (operation, mut payload) = match kind % 8 {
        // A gap is no frame that is appended.
        0 => match input.u16() {
            operation if operation == Operation::Gap as u16 => (0, any(input).to_vec()),
            operation => (operation, any(input).to_vec()),
        },
        1 | 2 => (Operation::SpaceCreate as u16, space(input)),
        3 => (Operation::SpaceDrop as u16, space(input)),
        4 => (Operation::Forget as u16, forget(input)),
        5 => (Operation::Erase as u16, erase(input)),
        6 if kind & 0x08 != 0 => (Operation::Link as u16, link(input)),
        6 if kind & 0x10 != 0 => (Operation::Unlink as u16, unlink(input)),
        6 if kind & 0x20 != 0 => (Operation::Supersede as u16, supersede(input)),
        7 if kind & 0x18 == 0x08 => (Operation::Reinforce as u16, reinforce(input)),
        7 if kind & 0x18 == 0x10 => (Operation::Recalled as u16, recalled(input)),
        7 if kind & 0x18 == 0x18 => (Operation::Lapse as u16, lapse(input)),
        _ => (Operation::Store as u16, store(input)),
    };
    if kind & 0x80 != 0 && !payload.is_empty() {
        let at = input.below(payload.len());
        payload[at] = input.u8();
    }
    if kind & 0x40 != 0 {
        payload.truncate(usize::from(input.u8()));
    }
    let (recorded_at_us, happened_at_us) = match kind & 0x20 {
        0 => (1, 1),
        _ => (input.u64().cast_signed(), input.u64().cast_signed()),
    };
    (FrameHead { operation, recorded_at_us, happened_at_us, writer_uid: 0 }, payload)
}

/// Up to 255 bytes.
fn any<'a>(input: &mut Input<'a>) -> &'a [u8] {
    let bytes = usize::from(input.u8());
    input.take(bytes)
}

fn short(input: &mut Input<'_>) -> Bytes {
    let bytes = usize::from(input.u8()) % 8;
    Bytes::copy_from_slice(input.take(bytes))
}

fn space(input: &mut Input<'_>) -> Vec<u8> {
    let number = SpaceNumber(u32::from(input.u8()) % 4);
    let dimensions = match input.u8() {
        0xff => input.u32(),
        small => u32::from(small) % 8,
    };
    let name = String::from_utf8_lossy(&short(input)).into_owned();
    let metric = [Metric::Cosine, Metric::Dot, Metric::L2][usize::from(input.u8()) % 3];
    // One byte chooses codes and fan, so that what follows it in the corpus stays in its place.
    let choice = input.u8();
    let fan = match u16::from(choice / 3) {
        0 => SpaceFan::Degree,
        // Up to 850, beyond the bound.
        tenths => SpaceFan::Strength { hundredths: tenths * 10 },
    };
    let settings = SpaceSettings {
        metric,
        codes: CodeBits::ALL[usize::from(choice) % 3],
        fan,
        fan_cap: (choice % 2 == 1).then(|| choice.into()),
        shards: u32::from(input.u8()),
        ..SpaceSettings::usual(name, dimensions)
    };
    let mut payload = vec![0; space_bytes(&settings)];
    encode_space(number, &settings, &mut payload);
    payload
}

fn forget(input: &mut Input<'_>) -> Vec<u8> {
    let space = SpaceNumber(u32::from(input.u8()) % 4);
    let id = short(input);
    let mut payload = vec![0; forget_bytes(&id)];
    encode_forget(space, &id, &mut payload);
    payload
}

fn link(input: &mut Input<'_>) -> Vec<u8> {
    let space = SpaceNumber(u32::from(input.u8()) % 4);
    let request = LinkRequest {
        space,
        from: short(input),
        to: short(input),
        kind: short(input),
        weight: f32::from_bits(input.u32()),
        durability: Durability::Disk,
        writer_uid: 0,
    };
    let mut payload = vec![0; link_bytes(&request)];
    encode_link(&request, &mut payload);
    payload
}

fn reinforce(input: &mut Input<'_>) -> Vec<u8> {
    let (space, id) = (SpaceNumber(u32::from(input.u8()) % 4), short(input));
    let ways = [Reinforcement::Present, Reinforcement::Pin, Reinforcement::Unpin];
    let what = ways[usize::from(input.u8()) % 3];
    let request = ReinforceRequest { space, id, what, durability: Durability::Disk, writer_uid: 0 };
    let mut payload = vec![0; reinforce_bytes(&request)];
    encode_reinforce(&request, &mut payload);
    payload
}

fn recalled(input: &mut Input<'_>) -> Vec<u8> {
    let space = SpaceNumber(u32::from(input.u8()) % 4);
    let count = 1 + usize::from(input.u8()) % RECALLED_MAX;
    let sequences: Vec<u64> = (0..count).map(|_| u64::from(input.u8())).collect();
    let mut payload = vec![0; recalled_bytes(&sequences)];
    encode_recalled(space, &sequences, &mut payload);
    payload
}

fn lapse(input: &mut Input<'_>) -> Vec<u8> {
    let space = SpaceNumber(u32::from(input.u8()) % 4);
    let why = if input.u8().is_multiple_of(2) { Lapse::Expired } else { Lapse::Faded };
    let count = 1 + usize::from(input.u8()) % LAPSED_MAX;
    let sequences: Vec<u64> = (0..count).map(|_| u64::from(input.u8())).collect();
    let mut payload = vec![0; lapse_bytes(&sequences)];
    encode_lapse(space, why, &sequences, &mut payload);
    payload
}

fn unlink(input: &mut Input<'_>) -> Vec<u8> {
    let space = SpaceNumber(u32::from(input.u8()) % 4);
    let (from, to, kind) = (short(input), short(input), short(input));
    let (durability, writer_uid) = (Durability::Disk, 0);
    let request = UnlinkRequest { space, from, to, kind, durability, writer_uid };
    let mut payload = vec![0; unlink_bytes(&request)];
    encode_unlink(&request, &mut payload);
    payload
}

fn supersede(input: &mut Input<'_>) -> Vec<u8> {
    let space = SpaceNumber(u32::from(input.u8()) % 4);
    let (id, by) = (short(input), short(input));
    let (valid_until_us, recorded_at_us) = (input.u64().cast_signed(), i64::from(input.u8()));
    let superseded = SupersedePayload { space, id: &id, by: &by, valid_until_us, recorded_at_us };
    let mut payload = vec![0; supersede_bytes(&superseded)];
    encode_supersede(&superseded, Durability::Disk, &mut payload);
    payload
}

fn erase(input: &mut Input<'_>) -> Vec<u8> {
    let space = SpaceNumber(u32::from(input.u8()) % 4);
    let count = usize::from(input.u8()) % 4;
    let sequences = (0..count).map(|_| u64::from(input.u8())).collect();
    let erase = ErasePayload { space, sequences };
    let mut payload = vec![0; erase.bytes()];
    erase.encode(&mut payload);
    payload
}

fn store(input: &mut Input<'_>) -> Vec<u8> {
    let space = SpaceNumber(u32::from(input.u8()) % 4);
    let dimensions = usize::from(input.u8()) % 8;
    let mut vector = input.take(dimensions * 4).to_vec();
    vector.resize(dimensions * 4, 0x3f);
    let mut number = || f32::from_bits(input.u32());
    let (norm, point, low, high, weight) = (number(), number(), number(), number(), number());
    let links = usize::from(input.u8()) % 3;
    let episode = Episode {
        id: short(input),
        vector: vector.into(),
        text: short(input),
        happened_at_us: None,
        confidence: Confidence { point, low, high },
        metadata: short(input),
        thread: short(input),
        links: (0..links)
            .map(|_| Link { target: short(input), weight, kind: short(input) })
            .collect(),
    };
    let request = StoreRequest {
        space,
        episode,
        key: short(input),
        dedup: false,
        ttl: Ttl::Space,
        priority: Priority::Normal,
        durability: Durability::Disk,
        writer_uid: 0,
    };
    let (sizes, bytes) = store_sizes(&request);
    let mut payload = vec![0; bytes];
    let expires_at_us = NonZero::new(i64::from(input.u8()));
    encode_store(&request, sizes, StoreFacts { norm, expires_at_us }, &mut payload);
    payload
}
