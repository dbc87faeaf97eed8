//! Snapshots of a shard that goes on: what is in them, and what waits for them.

use std::path::Path;

use bytes::Bytes;
use engram_shards::episode::{
    Confidence, Durability, Episode, Fields, Priority, Refusal, SpaceNumber, SpaceSettings,
    StoreRequest, Ttl,
};
use engram_shards::io::{MemoryDisk, MemoryIo, WriteFault};
use engram_shards::limits::SEGMENT_BYTES_MIN;
use engram_shards::log::{LogIdentity, LogSettings, RecoverySettings};
use engram_shards::shard::{
    Advanced, ConsolidationSettings, Effect, Reply, Shard, ShardSettings, Ticket,
};

const SPACE: SpaceNumber = SpaceNumber(1);
/// Three episodes fill a segment.
const TEXT_BYTES: usize = 1 << 20;

type Answer = (Ticket, Result<Reply, Refusal>);

struct Bench {
    disk: MemoryDisk,
    shard: Shard<MemoryIo>,
    tickets: u64,
}

fn settings() -> ShardSettings {
    let identity = LogIdentity {
        store_id: [1; 16],
        shard: 0,
        segment_bytes: SEGMENT_BYTES_MIN,
        may_be_empty: true,
    };
    let never = u64::MAX;
    ShardSettings {
        identity,
        log: LogSettings::default(),
        recovery: RecoverySettings::default(),
        memory_bytes_max: 256 << 20,
        memory_prefault_bytes: 0,
        consolidation: ConsolidationSettings {
            rows_idle: never,
            rows_forced: never,
            ..ConsolidationSettings::default()
        },
    }
}

fn open(disk: &MemoryDisk) -> Shard<MemoryIo> {
    let (shard, recovered) = Shard::open(disk.io(), &settings(), &|_| {}).unwrap();
    assert_eq!((recovered.torn_tail, recovered.lost_sequences()), (None, 0));
    assert_eq!(shard.verify(), Vec::<String>::new());
    shard
}

impl Bench {
    fn new() -> Self {
        let disk = MemoryDisk::default();
        let mut bench = Self { shard: open(&disk), disk, tickets: 0 };
        let space = SpaceSettings::usual("s", 4);
        let ticket = bench.ticket();
        bench.shard.create_space(ticket, None, &space, 0).unwrap();
        assert!(matches!(&bench.answers()[..], [(_, Ok(Reply::SpaceCreated { space: SPACE }))]));
        bench
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// Goes on as far as possible, working meanwhile.
    fn answers(&mut self) -> Vec<Answer> {
        let mut effects = Vec::new();
        for _ in 0..2_000 {
            self.shard.advance(false, &mut effects);
            self.shard.pump();
            self.shard.poll(&mut effects);
        }
        let answer = |effect| match effect {
            Effect::Answer { ticket, result } => Some((ticket, result)),
            Effect::Committed { .. } | Effect::Noticed(_) => None,
        };
        effects.into_iter().filter_map(answer).collect()
    }

    fn begin_store(&mut self, id: &str) -> Ticket {
        let ticket = self.ticket();
        let episode = Episode {
            id: id.to_owned().into(),
            vector: [1.0_f32, 0.0, 0.0, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect(),
            text: vec![b'x'; TEXT_BYTES].into(),
            happened_at_us: None,
            confidence: Confidence::CERTAIN,
            metadata: Bytes::new(),
            thread: Bytes::new(),
            links: vec![],
        };
        let request = StoreRequest {
            space: SPACE,
            episode,
            key: Bytes::new(),
            // Taken though a full batch waits.
            dedup: false,
            ttl: Ttl::Space,
            priority: Priority::High,
            durability: Durability::Disk,
            writer_uid: 0,
        };
        assert_eq!(self.shard.store(ticket, &request), Ok(None));
        ticket
    }

    fn store(&mut self, ids: &[&str]) {
        for id in ids {
            let ticket = self.begin_store(id);
            let answers = self.answers();
            assert!(
                answers.iter().any(|(own, result)| *own == ticket && result.is_ok()),
                "{answers:?}"
            );
        }
    }

    fn cut(&mut self) -> u64 {
        let ticket = self.ticket();
        self.shard.cut_snapshot(ticket).unwrap();
        match &self.answers()[..] {
            [(own, Ok(Reply::SnapshotCut { through_sequence }))] if *own == ticket => {
                *through_sequence
            }
            other => panic!("{other:?}"),
        }
    }

    /// What else was answered meanwhile.
    fn copy(&mut self, into: &str) -> Vec<Answer> {
        let ticket = self.ticket();
        self.shard.copy_snapshot(ticket, into.into());
        let (copied, others): (Vec<_>, Vec<_>) =
            self.answers().into_iter().partition(|(own, _)| *own == ticket);
        assert!(matches!(&copied[..], [(_, Ok(Reply::SnapshotCopied(_)))]), "{copied:?}");
        others
    }

    fn has(&self, ids: &[&str]) -> Vec<bool> {
        has(&self.shard, ids)
    }

    /// What a start from a snapshot finds.
    fn restored(&self, from: &str) -> Shard<MemoryIo> {
        let disk = self.disk.copy(Path::new(from)).expect("it was made");
        disk.crash();
        open(&disk)
    }
}

fn has(shard: &Shard<MemoryIo>, ids: &[&str]) -> Vec<bool> {
    let got = |id: &&str| shard.get(SPACE, id.as_bytes(), Fields::default()).unwrap().is_some();
    ids.iter().map(got).collect()
}

const IDS: [&str; 9] = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];

#[test]
fn a_snapshot_has_what_was_answered_and_nothing_behind_its_cut() {
    let mut bench = Bench::new();
    bench.store(&IDS[..4]);
    let through = bench.cut();
    assert_eq!(through, bench.shard.stats().applied);
    bench.store(&IDS[4..]);
    bench.copy("/s");
    let restored = bench.restored("/s");
    let expected: Vec<bool> = (0..IDS.len()).map(|nth| nth < 4).collect();
    assert_eq!(has(&restored, &IDS), expected);
    assert_eq!(restored.stats().applied, through);
    assert_eq!(bench.has(&IDS), vec![true; IDS.len()]);
}

#[test]
fn a_shard_that_holds_nothing_has_a_snapshot_that_holds_nothing() {
    let disk = MemoryDisk::default();
    let mut bench = Bench { shard: open(&disk), disk, tickets: 0 };
    assert_eq!(bench.cut(), 0);
    bench.copy("/s");
    assert_eq!(bench.restored("/s").stats().applied, 0);
}

#[test]
fn what_is_under_way_is_behind_the_cut() {
    let mut bench = Bench::new();
    bench.store(&["a"]);
    bench.shard.io_mut().hold(true);
    let store = bench.begin_store("b");
    let cut = bench.ticket();
    bench.shard.cut_snapshot(cut).unwrap();
    assert!(matches!(&bench.answers()[..], [(own, Ok(Reply::SnapshotCut { .. }))] if *own == cut));
    bench.shard.io_mut().hold(false);
    assert!(matches!(&bench.answers()[..], [(own, Ok(_))] if *own == store));
    bench.copy("/s");
    assert_eq!(has(&bench.restored("/s"), &["a", "b"]), [true, false]);
}

#[test]
fn a_consolidation_is_published_when_the_copy_is_made_and_not_before() {
    let mut bench = Bench::new();
    bench.store(&IDS[..3]);
    let first = bench.ticket();
    bench.shard.consolidate(first, true).unwrap();
    assert!(matches!(&bench.answers()[..], [(_, Ok(Reply::Consolidated))]));
    bench.store(&IDS[3..6]);
    bench.cut();
    bench.store(&IDS[6..]);
    let second = bench.ticket();
    bench.shard.consolidate(second, true).unwrap();
    let files = bench.disk.files();
    bench.shard.io_mut().hold_copy(true);
    let copy = bench.ticket();
    bench.shard.copy_snapshot(copy, "/s".into());
    assert_eq!(bench.answers(), []);
    let (stats, failure) = bench.shard.consolidation();
    assert_eq!((stats.published, stats.stage, failure), (1, Some("manifest"), None));
    assert!(files.iter().all(|file| bench.disk.files().contains(file)), "nothing is let go");
    bench.shard.io_mut().hold_copy(false);
    let answers = bench.answers();
    let tickets: Vec<_> =
        answers.iter().map(|(ticket, result)| (*ticket, result.is_ok())).collect();
    assert_eq!(tickets, [(copy, true), (second, true)]);
    assert_eq!(bench.shard.consolidation().0.published, 2);
    assert!(files.iter().all(|file| !bench.disk.files().contains(file)), "all are replaced");

    let restored = bench.restored("/s");
    let expected: Vec<bool> = (0..IDS.len()).map(|nth| nth < 6).collect();
    assert_eq!(has(&restored, &IDS), expected);
    assert_eq!(restored.consolidation().0.rows, 3);
}

#[test]
fn an_erase_waits_for_the_copy_and_does_not_reach_it() {
    let mut bench = Bench::new();
    bench.store(&IDS);
    bench.cut();
    let erase = bench.ticket();
    bench.shard.erase(erase, SPACE, &Bytes::from_static(b"b"), 0).unwrap();
    assert_eq!(bench.answers(), []);
    assert_eq!(bench.has(&["a", "b"]), [true, false]);
    let answers = bench.copy("/s");
    let erased = |(own, result): &Answer| {
        *own == erase && matches!(result, Ok(Reply::Erased { existed: true, frames: 2, .. }))
    };
    assert!(answers.len() == 1 && erased(&answers[0]), "{answers:?}");
    assert_eq!(has(&bench.restored("/s"), &["a", "b"]), [true, true]);
    // One that was answered before is not in the next snapshot, not even in its bytes.
    bench.cut();
    bench.copy("/t");
    assert_eq!(has(&bench.restored("/t"), &["a", "b"]), [true, false]);
    let disk = bench.disk.copy(Path::new("/t")).unwrap();
    let stored = |disk: &MemoryDisk| -> usize {
        let texts = |segment: &u64| {
            let bytes = disk.segment(*segment);
            bytes.iter().filter(|&&byte| byte == b'x').count() / TEXT_BYTES
        };
        disk.segments().iter().map(texts).sum()
    };
    assert_eq!(stored(&disk), IDS.len() - 1);
    assert_eq!(stored(&bench.disk.copy(Path::new("/s")).unwrap()), IDS.len());
}

#[test]
fn one_at_a_time_and_after_a_failure_another() {
    let mut bench = Bench::new();
    bench.store(&["a"]);
    bench.cut();
    let second = bench.ticket();
    assert!(matches!(bench.shard.cut_snapshot(second), Err(Refusal::Busy { .. })));
    bench.shard.drop_snapshot();
    bench.cut();
    bench.disk.fail_next(WriteFault::Copy);
    let ticket = bench.ticket();
    bench.shard.copy_snapshot(ticket, "/s".into());
    match &bench.answers()[..] {
        [(own, Err(Refusal::Snapshot(what)))] if *own == ticket => {
            assert!(what.contains("injected"), "{what}");
        }
        other => panic!("{other:?}"),
    }
    assert!(bench.disk.copy(Path::new("/s")).is_none());
    bench.store(&["b"]);
    bench.cut();
    bench.copy("/s");
    assert_eq!(has(&bench.restored("/s"), &["a", "b"]), [true, true]);
}

#[test]
fn a_log_that_takes_no_more_has_no_snapshot() {
    let mut bench = Bench::new();
    bench.store(&["a"]);
    bench.shard.io_mut().hold(true);
    bench.begin_store("b");
    bench.disk.fail_next(WriteFault::Flush);
    bench.shard.io_mut().hold(false);
    let store = bench.begin_store("c");
    assert!(bench.answers().iter().any(|(own, result)| *own == store && result.is_err()));
    let cut = bench.ticket();
    assert!(matches!(bench.shard.cut_snapshot(cut), Err(Refusal::ReadOnly(_))));
    assert_eq!(bench.shard.advance(false, &mut Vec::new()), Advanced::Idle);
}
