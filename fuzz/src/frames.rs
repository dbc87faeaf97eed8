//! Batches, frames and payloads. The first byte chooses:
//!
//! - even: the rest is taken for whatever could stand on a disk;
//! - odd: the rest describes a batch and what is changed in it. Its checksums are then made right
//!   again by the few lines below, written from `shards/FORMAT.md` and not from the engine, so that
//!   the checks behind a checksum are reached, and both must agree on what a checksum is.

use bytes::Bytes;
use engram_shards::episode::{
    Durability, Episode, Link, LinkRequest, Priority, ReinforceRequest, StoreRequest, Ttl,
    UnlinkRequest,
};
use engram_shards::format::{
    Anchor, BATCH_HEADER_BYTES, BatchBuilder, BatchHeader, BatchPlace, BatchView, ErasePayload,
    FRAME_HEADER_BYTES, ForgetPayload, Frame, FrameHead, Gap, GapReason, LapsePayload, LinkPayload,
    LinkRecords, Manifest, Operation, RecalledPayload, ReinforcePayload, SEGMENT_HEADER_BYTES,
    STORE_HEADER_BYTES, SegmentHeader, SlotBlock, SpacePayload, StoreFacts, StoreHeader, StoreId,
    StorePayload, UnlinkPayload, encode_forget, encode_lapse, encode_link, encode_recalled,
    encode_reinforce, encode_space, encode_store, encode_unlink, forget_bytes, lapse_bytes,
    link_bytes, recalled_bytes, reinforce_bytes, rewrite_as_gap, space_bytes, store_sizes,
    unlink_bytes,
};
use engram_shards::limits::SECTOR_BYTES;

use crate::input::Input;

const STORE_ID: StoreId = *b"id of the store.";
/// Frames of a batch that is described.
const FRAMES_MAX: usize = 16;
/// Bytes of a batch that is described; sixteen payloads of a byte's length fit.
const BATCH_BYTES: usize = 3 * SECTOR_BYTES;

/// See the top of the file.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    if input.u8() & 1 == 0 {
        any_bytes(input.rest());
    } else {
        let mut batch = describe(&mut input);
        make_gaps(&mut batch, input.u16());
        while !input.is_empty() {
            let at = input.below(batch.len());
            batch[at] = input.u8();
        }
        checksum(&mut batch);
        check_batch(&batch);
    }
}

fn any_bytes(bytes: &[u8]) {
    check_batch(bytes);
    check_payloads(bytes);
    check_payloads(bytes.get(FRAME_HEADER_BYTES..).unwrap_or_default());
    let mut block = [0; SECTOR_BYTES];
    let head = bytes.len().min(block.len());
    block[..head].copy_from_slice(&bytes[..head]);
    check_headers(&mut block);
}

/// Header blocks; once as they are and once with a checksum that is right.
fn check_headers(block: &mut [u8; SECTOR_BYTES]) {
    const _: () = assert!(SEGMENT_HEADER_BYTES == STORE_HEADER_BYTES);
    for _ in 0..2 {
        // What is reserved may be anything, and is written as zeros.
        if let Ok(header) = SegmentHeader::decode(block) {
            assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
        }
        if let Ok(header) = StoreHeader::decode(block) {
            assert_eq!(StoreHeader::decode(&header.encode()), Ok(header));
        }
        if let Ok(anchor) = Anchor::decode(block) {
            assert_eq!(Anchor::decode(&anchor.encode()), Ok(anchor));
        }
        if let Ok(manifest) = Manifest::decode(block) {
            assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
        }
        let (content, crc) = block.split_last_chunk_mut().expect("a block has a checksum");
        *crc = crc32c::crc32c(content).to_le_bytes();
    }
}

/// A batch as the engine would write it.
fn describe(input: &mut Input<'_>) -> Vec<u8> {
    let mut batch = vec![0; BATCH_BYTES];
    // Sequences stay far from where they would end.
    let mut builder = BatchBuilder::new(u64::from(input.u32()), input.u32());
    for _ in 0..usize::from(input.u8()) % FRAMES_MAX {
        let head = FrameHead {
            operation: input.u16(),
            recorded_at_us: input.u64().cast_signed(),
            happened_at_us: input.u64().cast_signed(),
            writer_uid: input.u32(),
        };
        let bytes = usize::from(input.u8());
        let payload = input.take(bytes);
        builder.push(&mut batch, &head, payload.len(), |out| out.copy_from_slice(payload));
    }
    let place = BatchPlace {
        store_id: STORE_ID,
        shard: input.u32(),
        segment: input.u64(),
        offset: input.u64(),
        durable_sequence: input.u64(),
    };
    let bytes = builder.seal(&mut batch, &place);
    batch.truncate(bytes);
    batch
}

/// Puts gaps in the place of the frames whose bit is set.
fn make_gaps(batch: &mut [u8], which: u16) {
    let mut at = BATCH_HEADER_BYTES;
    for nth in 0..FRAMES_MAX {
        let Some(bytes) = number(batch, at).filter(|&bytes| bytes > 0) else { return };
        let frame = &mut batch[at..at + bytes];
        let (low, high) = (number(frame, 8), number(frame, 12));
        let sequence = low.unwrap_or(0) as u64 | (high.unwrap_or(0) as u64) << 32;
        let reason = [GapReason::Erased, GapReason::Lost, GapReason::Skipped][nth % 3];
        if which & 1 << nth != 0 {
            let gap = Gap { through: sequence, reason };
            assert!(rewrite_as_gap(frame, sequence, gap, &STORE_ID));
        }
        at += bytes;
    }
}

fn is_gap(frame: &[u8]) -> bool {
    frame.get(32..34) == Some(&(Operation::Gap as u16).to_le_bytes())
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes) as usize)
}

fn put(bytes: &mut [u8], at: usize, number: u32) {
    bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
}

/// Makes every checksum right, frame by frame as far as their lengths lead, and those of the batch.
fn checksum(batch: &mut [u8]) {
    let end = number(batch, 4).unwrap_or(0).min(batch.len());
    let mut chain = number(batch, 20).expect("a batch has a header") as u32;
    let mut at = BATCH_HEADER_BYTES;
    while let Some(bytes) = number(batch, at).filter(|&bytes| bytes >= 8 && at + bytes <= end) {
        let frame = &mut batch[at..at + bytes];
        chain = if is_gap(frame) {
            // A gap keeps what the frame in its place had.
            number(frame, 4).expect("longer than that") as u32
        } else {
            crc32c::crc32c_append(crc32c::crc32c_append(chain, &frame[..4]), &frame[8..])
        };
        put(frame, 4, chain);
        at += bytes;
    }
    put(batch, 52, chain);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&STORE_ID), &batch[..60]);
    put(batch, 60, crc);
}

fn check_batch(bytes: &[u8]) {
    let Some(header) = BatchHeader::decode(bytes, &STORE_ID) else { return };
    let view = match BatchView::verify(header, bytes, &STORE_ID) {
        Ok(view) => view,
        Err(error) => {
            assert!(error.to_string().len() > 20, "{error}");
            return;
        }
    };
    let frames: Vec<Frame<'_>> = view.frames().collect();
    assert_eq!(frames.len(), header.frames as usize);
    let mut sequence = header.first_sequence;
    let mut has_gaps = false;
    for frame in &frames {
        assert_eq!(frame.sequence, sequence);
        sequence += 1;
        if frame.head.operation == Operation::Gap as u16 {
            has_gaps = true;
            let gap = Gap::decode(frame).expect("it verified");
            assert!(gap.through >= frame.sequence);
            sequence = gap.through + 1;
        }
        check_payloads(frame.payload);
    }
    assert_eq!(view.next_sequence(), sequence);
    // A gap is made in the place of a frame, and by no builder.
    if !has_gaps {
        check_encoding(&header, &frames, bytes);
    }
}

/// A batch that verifies is what the engine would have written, but for what is reserved.
fn check_encoding(header: &BatchHeader, frames: &[Frame<'_>], bytes: &[u8]) {
    let mut again = vec![0xaa; header.bytes.next_multiple_of(SECTOR_BYTES)];
    let mut builder = BatchBuilder::new(header.first_sequence, header.chain_before);
    for Frame { head, payload, .. } in frames {
        builder.push(&mut again, head, payload.len(), |out| out.copy_from_slice(payload));
    }
    let place = BatchPlace {
        store_id: STORE_ID,
        shard: header.shard,
        segment: header.segment,
        offset: header.offset,
        durable_sequence: header.durable_sequence,
    };
    let padded = builder.seal(&mut again, &place);
    assert!(padded.is_multiple_of(SECTOR_BYTES) && builder.bytes() == header.bytes);
    if is_reserved_zero(&bytes[..header.bytes]) {
        assert!(again[..header.bytes] == bytes[..header.bytes], "other bytes for the same batch");
    }
    let decoded = BatchHeader::decode(&again, &STORE_ID).expect("just encoded");
    let view = BatchView::verify(decoded, &again, &STORE_ID).expect("just encoded");
    assert!(view.frames().eq(frames.iter().copied()), "other frames for the same batch");
}

/// Whether everything that the format calls zero is, in the header and around the frames.
fn is_reserved_zero(batch: &[u8]) -> bool {
    let mut sound = batch[56..60] == [0; 4];
    let mut at = BATCH_HEADER_BYTES;
    while at < batch.len() {
        let bytes = number(batch, at).expect("it verified");
        let payload_bytes = number(batch, at + 40).expect("it verified");
        let frame = &batch[at..at + bytes];
        let padding = &frame[FRAME_HEADER_BYTES + payload_bytes..];
        sound &= frame[34..36] == [0; 2] && frame[44..48] == [0; 4];
        sound &= padding.iter().all(|&byte| byte == 0);
        at += bytes;
    }
    sound
}

fn check_payloads(payload: &[u8]) {
    if let Ok(store) = StorePayload::decode(payload) {
        check_store(&store, payload);
    }
    if let Ok(SpacePayload { space, settings }) = SpacePayload::decode(payload) {
        let mut again = vec![0xaa; space_bytes(&settings)];
        encode_space(space, &settings, &mut again);
        assert_eq!(SpacePayload::decode(&again), Ok(SpacePayload { space, settings }));
        assert!(again[24..] == payload[24..] && again[..13] == payload[..13]);
    }
    if let Ok(erase) = ErasePayload::decode(payload) {
        let mut again = vec![0xaa; erase.bytes()];
        erase.encode(&mut again);
        assert!(again == payload, "other bytes for the same erase");
    }
    if let Ok(LinkPayload { space, from, to, kind, weight }) = LinkPayload::decode(payload) {
        let [from, to, kind] = [from, to, kind].map(Bytes::copy_from_slice);
        let (durability, writer_uid) = (Durability::Disk, 0);
        let request = LinkRequest { space, from, to, kind, weight, durability, writer_uid };
        let mut again = vec![0xaa; link_bytes(&request)];
        encode_link(&request, &mut again);
        // Behind the lengths stands the durability, which is not read back.
        assert!(again[..14] == payload[..14] && again[16..] == payload[16..]);
    }
    if let Ok(UnlinkPayload { space, from, to, kind }) = UnlinkPayload::decode(payload) {
        let [from, to, kind] = [from, to, kind].map(Bytes::copy_from_slice);
        let (durability, writer_uid) = (Durability::Disk, 0);
        let request = UnlinkRequest { space, from, to, kind, durability, writer_uid };
        let mut again = vec![0xaa; unlink_bytes(&request)];
        encode_unlink(&request, &mut again);
        assert!(again[..10] == payload[..10] && again[16..] == payload[16..]);
    }
    if let Ok(ReinforcePayload { space, id, what }) = ReinforcePayload::decode(payload) {
        let (id, durability) = (Bytes::copy_from_slice(id), Durability::Disk);
        let request = ReinforceRequest { space, id, what, durability, writer_uid: 0 };
        let mut again = vec![0xaa; reinforce_bytes(&request)];
        encode_reinforce(&request, &mut again);
        assert!(again[..7] == payload[..7] && again[8..] == payload[8..]);
    }
    if let Ok(recalled) = RecalledPayload::decode(payload) {
        let sequences: Vec<u64> = recalled.sequences().collect();
        let mut again = vec![0xaa; recalled_bytes(&sequences)];
        encode_recalled(recalled.space, &sequences, &mut again);
        assert!(again == payload, "other bytes for the same recalls");
    }
    if let Ok(lapse) = LapsePayload::decode(payload) {
        let sequences: Vec<u64> = lapse.sequences().collect();
        let mut again = vec![0xaa; lapse_bytes(&sequences)];
        encode_lapse(lapse.space, lapse.why, &sequences, &mut again);
        assert!(again[..5] == payload[..5] && again[8..] == payload[8..]);
    }
    if let Ok(ForgetPayload { space, id }) = ForgetPayload::decode(payload) {
        let mut again = vec![0xaa; forget_bytes(id)];
        encode_forget(space, id, &mut again);
        assert!(again[..6] == payload[..6] && again[8..] == payload[8..]);
    }
}

/// The parts of a store, put together again, are the payload.
fn check_store(store: &StorePayload<'_>, payload: &[u8]) {
    let mut rest = store.body;
    let mut part =
        |bytes: usize| Bytes::copy_from_slice(rest.split_off(..bytes).expect("added up"));
    let sizes = store.sizes;
    let (id, thread, key) =
        (part(sizes.id.into()), part(sizes.thread.into()), part(sizes.key.into()));
    let (text, metadata) = (part(sizes.text as usize), part(sizes.metadata as usize));
    assert_eq!((store.id(), store.key()), (&id[..], &key[..]));
    let mut records = LinkRecords(rest);
    let links: Vec<Link> = records
        .by_ref()
        .map(|(weight, target, kind)| Link {
            weight,
            target: Bytes::copy_from_slice(target),
            kind: Bytes::copy_from_slice(kind),
        })
        .collect();
    if !records.0.is_empty() || links.len() != usize::from(sizes.links) {
        return;
    }
    let episode = Episode {
        id,
        vector: Bytes::copy_from_slice(store.vector),
        text,
        happened_at_us: None,
        confidence: store.confidence,
        metadata,
        thread,
        links,
    };
    let (durability, priority) = (Durability::Disk, Priority::High);
    let request = StoreRequest {
        space: store.space,
        episode,
        key,
        dedup: false,
        ttl: Ttl::Space,
        priority,
        durability,
        writer_uid: 0,
    };
    let (again, bytes) = store_sizes(&request);
    assert_eq!((again, bytes), (sizes, payload.len()));
    let mut encoded = vec![0xaa; bytes];
    let facts = StoreFacts { norm: store.norm, expires_at_us: store.expires_at_us };
    encode_store(&request, again, facts, &mut encoded);
    // Behind byte 44 stand durability and priority, which are not read back, and what is reserved.
    assert!(encoded[..44] == payload[..44] && encoded[48..56] == payload[48..56]);
    assert!(encoded[64..] == payload[64..]);
}
