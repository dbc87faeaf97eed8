//! The log over a disk of memory: order, group commit, latching, full disks, recovery.

use super::*;
use crate::format::{FileId, Frame, Operation};
use crate::io::{MemoryDisk, MemoryIo, WriteFault};
use crate::limits::SEGMENT_BYTES_MIN;

mod release;

const IDENTITY: LogIdentity = LogIdentity {
    store_id: [5; 16],
    shard: 2,
    segment_bytes: SEGMENT_BYTES_MIN,
    may_be_empty: true,
};

type Replayed = Vec<(u64, Vec<u8>)>;

type Opened = Result<(Log<MemoryIo>, Recovered, Replayed), RecoveryError>;

fn try_open(disk: &MemoryDisk) -> Opened {
    open_with(disk, &RecoverySettings::default())
}

fn open_with(disk: &MemoryDisk, recovery: &RecoverySettings) -> Opened {
    let mut frames = Vec::new();
    let mut replay = |frame: Frame<'_>| {
        frames.push((frame.sequence, frame.payload.to_vec()));
        Ok(())
    };
    let (log, recovered) =
        Log::open(disk.io(), IDENTITY, LogSettings::default(), recovery, &mut replay)?;
    Ok((log, recovered, frames))
}

fn open(disk: &MemoryDisk) -> (Log<MemoryIo>, Recovered, Replayed) {
    try_open(disk).unwrap()
}

fn append(log: &mut Log<MemoryIo>, payload: &[u8]) -> Result<u64, AppendError> {
    append_with(log, payload, false)
}

/// Opens without looking at the frames.
fn reopen(
    disk: &MemoryDisk,
    identity: LogIdentity,
    settings: LogSettings,
) -> Result<Log<MemoryIo>, RecoveryError> {
    let mut ignore = |_: Frame<'_>| Ok(());
    let recovery = RecoverySettings::default();
    Log::open(disk.io(), identity, settings, &recovery, &mut ignore).map(|(log, _)| log)
}

fn append_with(log: &mut Log<MemoryIo>, payload: &[u8], eager: bool) -> Result<u64, AppendError> {
    let head = FrameHead {
        operation: Operation::Store as u16,
        recorded_at_us: 1,
        happened_at_us: 2,
        writer_uid: 3,
    };
    let how = Appending { eager, ..Appending::default() };
    log.append(&head, payload.len(), how, |out| out.copy_from_slice(payload))
}

fn range(batch: &BatchView<'_>) -> (u64, u64) {
    (batch.header().first_sequence, batch.next_sequence())
}

/// What the log says, with buffers recycled: `apply 1..=2`, `durable 2`, ….
fn events(log: &mut Log<MemoryIo>) -> Vec<String> {
    let mut said = Vec::new();
    while let Some(event) = log.poll() {
        said.push(match event {
            LogEvent::Apply(batch) => {
                let (first, next) = range(&batch.view());
                log.recycle(batch);
                format!("apply {first}..={}", next - 1)
            }
            LogEvent::Durable { through, .. } => format!("durable {through}"),
            LogEvent::Refused { from, .. } => format!("refused {from}"),
            LogEvent::Failed { .. } => "failed".into(),
            other => format!("{other:?}"),
        });
    }
    said
}

/// Appends and makes durable, one batch.
fn commit(log: &mut Log<MemoryIo>, payload: &[u8]) {
    append(log, payload).unwrap();
    log.pump();
    assert_eq!(events(log).len(), 2);
}

#[test]
fn what_was_durable_is_replayed_in_order() {
    let disk = MemoryDisk::default();
    let (mut log, recovered, frames) = open(&disk);
    assert_eq!((recovered.next_sequence, frames.len()), (1, 0));
    append(&mut log, b"one").unwrap();
    append(&mut log, b"two").unwrap();
    log.pump();
    assert_eq!(events(&mut log), ["apply 1..=2", "durable 2"]);
    commit(&mut log, b"three");
    drop(log);
    disk.crash();
    let (_, recovered, frames) = open(&disk);
    let wanted = [(1, b"one".to_vec()), (2, b"two".to_vec()), (3, b"three".to_vec())];
    assert_eq!(frames, wanted);
    assert_eq!((recovered.next_sequence, recovered.torn_tail), (4, None));
}

#[test]
fn frames_that_arrive_while_the_ring_is_full_share_a_batch() {
    let disk = MemoryDisk::default();
    let (mut log, ..) = open(&disk);
    log.io_mut().hold(true);
    for nth in 0..100_u8 {
        append(&mut log, &[nth]).unwrap();
        log.pump();
    }
    assert_eq!(log.counters().batches, 4, "as many as may be in flight");
    log.io_mut().hold(false);
    events(&mut log);
    log.pump();
    assert_eq!(events(&mut log), ["apply 5..=100", "durable 100"]);
}

#[test]
fn an_eager_batch_is_applied_before_its_flush() {
    let disk = MemoryDisk::default();
    let (mut log, ..) = open(&disk);
    append_with(&mut log, b"x", true).unwrap();
    log.pump();
    let Some(LogEvent::Apply(batch)) = log.poll() else { panic!("written") };
    assert_eq!(log.durable(), 0);
    log.recycle(batch);
    assert_eq!(events(&mut log), ["durable 1"]);
}

#[test]
fn a_full_log_is_busy_and_recovers_when_the_disk_answers() {
    let disk = MemoryDisk::default();
    let (mut log, ..) = open(&disk);
    log.io_mut().hold(true);
    let payload = vec![1; BATCH_BYTES_MAX / 2];
    let taken = (0..).take_while(|_| {
        let taken = append(&mut log, &payload);
        log.pump();
        match taken {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error, AppendError::Busy);
                false
            }
        }
    });
    assert_eq!(taken.count(), BUFFERS, "one frame of this size fits a batch");
    log.io_mut().hold(false);
    while !log.is_idle() {
        events(&mut log);
        log.pump();
    }
    assert_eq!(log.durable(), BUFFERS as u64);
    assert!(append(&mut log, &payload).is_ok());
}

#[test]
fn segments_follow_each_other() {
    let disk = MemoryDisk::default();
    let (mut log, ..) = open(&disk);
    let payload = vec![7; 300_000];
    for _ in 0..40 {
        commit(&mut log, &payload);
    }
    assert!(log.position().0 >= 3);
    drop(log);
    let (log, recovered, frames) = open(&disk);
    assert_eq!(frames.len(), 40);
    assert_eq!(recovered.segments, log.position().0);
}

#[test]
fn a_failed_write_or_flush_latches_for_good() {
    for fault in [WriteFault::Write, WriteFault::Flush] {
        let disk = MemoryDisk::default();
        let (mut log, ..) = open(&disk);
        commit(&mut log, b"kept");
        disk.fail_next(fault);
        append(&mut log, b"lost").unwrap();
        log.pump();
        assert_eq!(events(&mut log), ["failed"], "{fault:?}");
        assert!(matches!(append(&mut log, b"x"), Err(AppendError::ReadOnly(_))));
        drop(log);
        disk.crash();
        assert_eq!(open(&disk).2, [(1, b"kept".to_vec())]);
    }
}

#[test]
fn a_full_disk_refuses_and_resumes() {
    let disk = MemoryDisk::default();
    let (mut log, ..) = open(&disk);
    let payload = vec![7; 1_000_000];
    disk.fail_next(WriteFault::NoSpace);
    let mut taken = 0;
    // The second segment was prepared when the log was opened; the third is refused.
    let refusal = loop {
        match append(&mut log, &payload) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
        log.pump();
        events(&mut log);
        assert!(taken < 20);
    };
    assert!(matches!(refusal, AppendError::ReadOnly(_)), "{refusal:?}");
    assert!(log.out_of_space().is_some());
    let durable = log.durable();
    // Room for one segment is not enough to go on.
    disk.set_free_bytes(2 * SEGMENT_BYTES_MIN - 1);
    log.io_mut().advance_us(2_000_000);
    log.tick();
    events(&mut log);
    assert!(log.out_of_space().is_some());
    disk.set_free_bytes(2 * SEGMENT_BYTES_MIN);
    log.io_mut().advance_us(2_000_000);
    log.tick();
    events(&mut log);
    assert_eq!(log.out_of_space(), None);
    commit(&mut log, b"after");
    drop(log);
    let frames = open(&disk).2;
    assert_eq!(frames.len() as u64, durable + 1);
    assert_eq!(frames.last().unwrap().1, b"after");
}

#[test]
fn a_torn_last_batch_is_cut_and_said_so() {
    let disk = MemoryDisk::default();
    let (mut log, ..) = open(&disk);
    commit(&mut log, b"first");
    let (segment, offset) = log.position();
    commit(&mut log, &[9; 9000]);
    drop(log);
    // The batch takes three sectors; the last one did not make it.
    let at = usize::try_from(offset).unwrap();
    disk.tamper(segment, |file| file[at + 8192..].fill(0));
    let (mut log, recovered, frames) = open(&disk);
    assert_eq!(frames, [(1, b"first".to_vec())]);
    let torn = recovered.torn_tail.unwrap();
    assert_eq!((torn.segment, torn.offset), (segment, offset));
    assert!(disk.segment(segment)[at..].iter().all(|&byte| byte == 0), "cut on disk");
    commit(&mut log, b"second");
    drop(log);
    assert_eq!(open(&disk).2, [(1, b"first".to_vec()), (2, b"second".to_vec())]);
}

#[test]
fn a_hole_before_unacknowledged_batches_is_a_torn_tail() {
    let disk = MemoryDisk::default();
    let (mut log, ..) = open(&disk);
    commit(&mut log, b"first");
    log.io_mut().hold(true);
    let (segment, hole) = log.position();
    for payload in [b"a", b"b", b"c"] {
        append(&mut log, payload).unwrap();
        log.pump();
    }
    drop(log);
    let at = usize::try_from(hole).unwrap();
    disk.tamper(segment, |file| file[at..at + SECTOR_BYTES].fill(0));
    let (_, recovered, frames) = open(&disk);
    assert_eq!(frames, [(1, b"first".to_vec())]);
    assert!(recovered.torn_tail.is_some());
}

#[test]
fn damage_to_acknowledged_frames_is_refused_and_named() {
    let disk = MemoryDisk::default();
    let (mut log, ..) = open(&disk);
    commit(&mut log, b"first");
    let (segment, offset) = log.position();
    for _ in 0..3 {
        commit(&mut log, b"more");
    }
    drop(log);
    let at = usize::try_from(offset).unwrap();
    disk.tamper(segment, |file| file[at + 100] ^= 1);
    let error = try_open(&disk).unwrap_err();
    let RecoveryError::Damage { losses, .. } = error else { panic!("{error}") };
    assert_eq!(losses, [Loss { segment, offset: offset + 64, first: 2, last: 2 }]);
    let before = disk.segment(segment);
    assert!(try_open(&disk).is_err(), "refusing changes nothing");
    assert_eq!(disk.segment(segment), before);
}

#[test]
fn a_missing_segment_is_named() {
    let disk = MemoryDisk::default();
    let (mut log, ..) = open(&disk);
    for _ in 0..10 {
        commit(&mut log, &vec![7; 1_000_000]);
    }
    drop(log);
    disk.io().remove(FileId::log(2)).unwrap();
    let error = try_open(&disk).unwrap_err();
    let RecoveryError::Damage { losses, .. } = error else { panic!("{error}") };
    assert_eq!(losses, [Loss { segment: 2, offset: 4096 + 64, first: 5, last: 8 }]);
}

#[test]
fn a_log_that_was_emptied_is_not_taken_for_a_new_one() {
    let disk = MemoryDisk::default();
    let identity = LogIdentity { may_be_empty: false, ..IDENTITY };
    let opened = reopen(&disk, identity, LogSettings::default());
    assert!(matches!(opened, Err(RecoveryError::Missing { segment: 1 })));
    drop(open(&disk));
    reopen(&disk, identity, LogSettings::default()).unwrap();
}

#[test]
fn what_is_replayed_is_flushed_before_it_counts_as_durable() {
    let disk = MemoryDisk::default();
    let (mut log, ..) = open(&disk);
    commit(&mut log, b"one");
    // Written, not flushed, and the process is killed: the next one reads it all the same.
    disk.forget_flushes();
    drop(log);
    assert_eq!(open(&disk).2, [(1, b"one".to_vec())]);
    disk.crash();
    assert_eq!(open(&disk).2, [(1, b"one".to_vec())]);
}

#[test]
fn lingering_waits_for_company() {
    let disk = MemoryDisk::default();
    let settings = LogSettings { linger_us: 100, ..LogSettings::default() };
    let mut log = reopen(&disk, IDENTITY, settings).unwrap();
    append(&mut log, b"a").unwrap();
    assert!(log.pump().is_some(), "says when to come back");
    assert_eq!(log.counters().batches, 0);
    append(&mut log, b"b").unwrap();
    log.io_mut().advance_us(100);
    assert_eq!(log.pump(), None);
    assert_eq!(events(&mut log), ["apply 1..=2", "durable 2"]);
}

#[test]
fn without_group_commit_every_frame_has_its_own_flush() {
    let disk = MemoryDisk::default();
    let settings = LogSettings { frames_max: 1, ..LogSettings::default() };
    let mut log = reopen(&disk, IDENTITY, settings).unwrap();
    for _ in 0..8 {
        append(&mut log, b"x").unwrap();
    }
    while !log.is_idle() {
        log.pump();
        events(&mut log);
    }
    assert_eq!((log.counters().frames, log.counters().flushes), (8, 8));
}

/// What a walk finds until it stops: `segment 1`, `batch 1..=2`, ….
fn walk(walk: &mut Walk<'_, MemoryIo>) -> Vec<String> {
    let mut found = Vec::new();
    while let Some(next) = walk.next().unwrap() {
        found.push(match next {
            Found::Segment(header) => format!("segment {}", header.segment),
            Found::Batch(batch) => {
                let (first, next) = range(&batch);
                format!("batch {first}..={}", next - 1)
            }
        });
    }
    found
}

#[test]
fn a_walk_sees_a_torn_tail_and_leaves_it() {
    let disk = MemoryDisk::default();
    let (mut log, ..) = open(&disk);
    commit(&mut log, b"first");
    let (segment, hole) = log.position();
    commit(&mut log, &[9; 9000]);
    drop(log);
    disk.tamper_anchors(|anchors| *anchors = None);
    disk.tamper(segment, |file| file[usize::try_from(hole).unwrap() + 8192..].fill(0));
    let before = disk.segment(segment);
    let mut io = disk.io();
    let mut around = Walk::new(&mut io, IDENTITY, &LogPlace::BEGINNING).unwrap();
    assert_eq!(walk(&mut around), ["segment 1", "batch 1..=1"]);
    let Verdict::Torn(torn) = around.judge().unwrap() else { panic!("{:?}", around.judge()) };
    assert_eq!((torn.segment, torn.offset), (segment, hole));
    assert!(matches!(around.obstacle(), Obstacle::Batch(_)), "{:?}", around.obstacle());
    assert_eq!(disk.segment(segment), before);
}

#[test]
fn a_walk_goes_on_with_what_was_written_meanwhile() {
    let disk = MemoryDisk::default();
    let (mut log, ..) = open(&disk);
    let mut io = disk.io();
    let mut behind = Walk::new(&mut io, IDENTITY, &LogPlace::BEGINNING).unwrap();
    assert_eq!((walk(&mut behind).len(), behind.judge().unwrap()), (0, Verdict::Clean));
    commit(&mut log, b"first");
    behind.refresh().unwrap();
    assert_eq!(walk(&mut behind), ["segment 1", "batch 1..=1"]);
    for _ in 0..4 {
        commit(&mut log, &vec![7; BATCH_BYTES_MAX / 2]);
    }
    behind.refresh().unwrap();
    let found = walk(&mut behind);
    assert_eq!(found[2..], ["batch 4..=4", "segment 2", "batch 5..=5"], "{found:?}");
    assert_eq!(behind.reached().next_sequence, 6);
}

#[test]
fn a_walk_can_begin_at_any_segment() {
    let disk = MemoryDisk::default();
    let (mut log, ..) = open(&disk);
    for _ in 0..8 {
        commit(&mut log, &vec![7; BATCH_BYTES_MAX / 2]);
    }
    drop(log);
    let mut io = disk.io();
    let mut late = Walk::new(&mut io, IDENTITY, &LogPlace::BEGINNING).unwrap();
    late.skip_to(3).unwrap();
    assert_eq!(walk(&mut late), ["segment 3", "batch 7..=7", "batch 8..=8"]);
    assert_eq!(late.judge().unwrap(), Verdict::Clean);
    assert!(matches!(late.skip_to(9), Err(RecoveryError::Missing { segment: 9 })));
}
