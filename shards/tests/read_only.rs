//! A log that is opened read-only: it is replayed and served, and not a byte of it changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use engram_shards::episode::{
    Confidence, Durability, Episode, Fields, Priority, Refusal, SpaceNumber, SpaceSettings,
    StoreRequest, Ttl,
};
use engram_shards::io::{MemoryDisk, MemoryIo};
use engram_shards::limits::SEGMENT_BYTES_MIN;
use engram_shards::log::{
    LogIdentity, LogSettings, Recovered, RecoveryError, RecoveryProgress, RecoverySettings,
};
use engram_shards::shard::{
    ConsolidationSettings, Effect, OpenError, Shard, ShardSettings, Ticket,
};

const REASON: &str = "it fell over five times";

fn settings(read_only: Option<&str>) -> ShardSettings {
    let identity = LogIdentity {
        store_id: [1; 16],
        shard: 0,
        segment_bytes: SEGMENT_BYTES_MIN,
        may_be_empty: true,
    };
    let read_only = read_only.map(str::to_owned);
    ShardSettings {
        identity,
        log: LogSettings::default(),
        recovery: RecoverySettings { read_only, ..RecoverySettings::default() },
        memory_bytes_max: 64 << 20,
        memory_prefault_bytes: 0,
        consolidation: ConsolidationSettings::default(),
    }
}

fn open(
    disk: &MemoryDisk,
    read_only: Option<&str>,
) -> Result<(Shard<MemoryIo>, Recovered), OpenError> {
    Shard::open(disk.io(), &settings(read_only), &|_| {})
}

fn space(name: &str) -> SpaceSettings {
    SpaceSettings::usual(name, 2)
}

fn store(id: &str) -> StoreRequest {
    StoreRequest {
        space: SpaceNumber(1),
        episode: Episode {
            id: Bytes::copy_from_slice(id.as_bytes()),
            vector: [1_f32, 0.5].iter().flat_map(|f| f.to_le_bytes()).collect(),
            text: Bytes::copy_from_slice(id.as_bytes()),
            metadata: Bytes::new(),
            thread: Bytes::new(),
            links: Vec::new(),
            confidence: Confidence { point: 1.0, low: 1.0, high: 1.0 },
            happened_at_us: None,
        },
        key: Bytes::new(),
        dedup: false,
        ttl: Ttl::Space,
        priority: Priority::Normal,
        durability: Durability::Disk,
        writer_uid: 0,
    }
}

/// Works until everything is answered.
fn settle(shard: &mut Shard<MemoryIo>) {
    let mut effects = Vec::new();
    while !shard.is_idle() {
        shard.pump();
        shard.poll(&mut effects);
    }
    for effect in effects {
        if let Effect::Answer { result, .. } = effect {
            result.unwrap();
        }
    }
}

/// A disk with the space `notes`, episodes in it, and where the next batch would go.
fn disk_with(episodes: usize) -> (MemoryDisk, Recovered) {
    let disk = MemoryDisk::default();
    let (mut shard, _) = open(&disk, None).unwrap();
    shard.create_space(Ticket(0), None, &space("notes"), 0).unwrap();
    settle(&mut shard);
    for nth in 0..episodes {
        shard.store(Ticket(0), &store(&nth.to_string())).unwrap();
        settle(&mut shard);
    }
    drop(shard);
    let recovered = open(&disk, Some(REASON)).unwrap().1;
    (disk, recovered)
}

fn files(disk: &MemoryDisk) -> BTreeMap<u64, Vec<u8>> {
    disk.segments().into_iter().map(|segment| (segment, disk.segment(segment))).collect()
}

#[test]
fn reads_are_served_and_every_write_is_refused_with_the_reason() {
    let (disk, _) = disk_with(3);
    let before = files(&disk);
    let (mut shard, recovered) = open(&disk, Some(REASON)).unwrap();
    assert_eq!((recovered.frames, recovered.torn_tail), (4, None));
    assert_eq!((shard.read_only_reason(), shard.stats().is_read_only), (Some(REASON), true));
    let found = shard.get(SpaceNumber(1), b"2", Fields::default()).unwrap();
    assert_eq!(found.unwrap().id, "2");

    let refused = Refusal::ReadOnly(REASON.into());
    let (ticket, number) = (Ticket(7), SpaceNumber(1));
    assert_eq!(shard.store(ticket, &store("x")).unwrap_err(), refused);
    let forget = shard.forget(ticket, number, b"2", Durability::Os, 0);
    assert_eq!(forget.unwrap_err(), refused);
    assert_eq!(shard.create_space(ticket, None, &space("more"), 0).unwrap_err(), refused);
    assert_eq!(shard.drop_space(ticket, number, 0).unwrap_err(), refused);
    let mut effects = Vec::new();
    for _ in 0..3 {
        assert_eq!(shard.pump(), None);
        shard.poll(&mut effects);
        shard.tick();
    }
    assert!(effects.is_empty() && shard.is_idle());
    drop(shard);
    assert!(files(&disk) == before, "a read-only start changed the log");

    let (mut shard, _) = open(&disk, None).unwrap();
    shard.store(ticket, &store("x")).unwrap();
    settle(&mut shard);
}

#[test]
fn a_torn_tail_is_reported_and_left() {
    let (disk, end) = disk_with(3);
    let offset = usize::try_from(end.offset).unwrap();
    // What a disk writes at once arrived behind what did not: a torn write, not damage.
    disk.tamper(1, |file| file[offset + 512..offset + 612].fill(9));
    let before = files(&disk);
    let torn = open(&disk, Some(REASON)).unwrap().1.torn_tail.unwrap();
    assert_eq!((torn.segment, torn.offset, torn.bytes), (1, end.offset, 612));
    assert!(files(&disk) == before, "a read-only start changed the log");
    assert!(open(&disk, None).unwrap().1.torn_tail.is_some());
    assert_eq!(open(&disk, Some(REASON)).unwrap().1.torn_tail, None, "it was cut meanwhile");
}

#[test]
fn damage_is_refused_all_the_same() {
    let (disk, _) = disk_with(3);
    disk.tamper(1, |file| file[4096 + 100] ^= 1);
    let before = files(&disk);
    let error = open(&disk, Some(REASON)).unwrap_err();
    let OpenError::Recovery(RecoveryError::Damage { .. }) = error else { panic!("{error}") };
    assert!(files(&disk) == before, "a read-only start changed the log");
}

#[test]
fn a_log_that_was_never_begun_stays_so() {
    let disk = MemoryDisk::default();
    let (mut shard, recovered) = open(&disk, Some(REASON)).unwrap();
    assert_eq!((recovered.next_sequence, disk.segments()), (1, Vec::new()));
    assert!(shard.create_space(Ticket(0), None, &space("notes"), 0).is_err());
    drop(shard);
    disk_with(1);
}

#[test]
fn spaces_are_brought_in_line_in_memory_alone() {
    let (disk, _) = disk_with(3);
    let before = files(&disk);
    let (mut shard, _) = open(&disk, Some(REASON)).unwrap();
    let truth = [(SpaceNumber(2), space("others"))];
    shard.assume_spaces(&truth);
    let spaces: Vec<_> = shard.spaces().map(|(number, own)| (number, own.clone())).collect();
    assert_eq!(spaces, truth);
    assert!(shard.space_named("notes").is_err());
    assert_eq!((shard.stats().rows, shard.stats().episodes), (0, 0));
    assert_eq!(shard.verify(), Vec::<String>::new());
    drop(shard);
    assert!(files(&disk) == before, "a read-only start changed the log");
    assert_eq!(open(&disk, None).unwrap().0.stats().episodes, 3);
}

#[test]
fn progress_ends_where_the_replay_does() {
    let (disk, _) = disk_with(20);
    let progress = Arc::new(RecoveryProgress::default());
    let mut settings = settings(None);
    settings.recovery.progress = Arc::clone(&progress);
    assert_eq!((progress.bytes_total(), progress.bytes_done()), (0, 0));
    let (_shard, recovered) = Shard::open(disk.io(), &settings, &|_| {}).unwrap();
    assert_eq!(progress.frames_done(), recovered.frames);
    assert!(progress.bytes_done() > 0 && progress.bytes_done() <= recovered.bytes);
    assert!(recovered.bytes < progress.bytes_total());
}
