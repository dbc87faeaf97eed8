//! A log that begins behind what a manifest covers, and what is let go of it.

use super::*;
use crate::format::{Manifest, NamedColumns, NamedState, SlotBlock, Slots};
use crate::io::{FileEvent, SlotFile};

/// Three such frames fill a segment.
const LARGE: usize = 1_200_000;

/// Everything in files of the given numbers, of a sector each.
fn manifest(log: &Log<MemoryIo>, number: u64, state: u64, columns: &[u64]) -> Manifest {
    let bytes = SECTOR_BYTES as u64;
    let named = |&number: &u64| NamedColumns { number, bytes, ..NamedColumns::default() };
    Manifest {
        store_id: IDENTITY.store_id,
        shard: IDENTITY.shard,
        number,
        place: *log.durable_place(),
        next_file: 9,
        state: NamedState { number: state, bytes, crc: 0 },
        columns: columns.iter().map(named).collect(),
        written_at_us: 1,
    }
}

fn make_file(log: &mut Log<MemoryIo>, file: FileId) {
    log.io_mut().create_file(file);
    let region = Region::new(SECTOR_BYTES).unwrap();
    let bytes = SECTOR_BYTES;
    log.io_mut().write_file(crate::io::Piece { file, offset: 0, region, from: 0, bytes });
    log.io_mut().seal_file(file);
    while let Some(event) = log.poll() {
        assert!(matches!(event, LogEvent::File(_)), "{event:?}");
    }
}

/// Makes the files, writes the manifest, and lets the log go.
fn consolidate(log: &mut Log<MemoryIo>, number: u64) -> Manifest {
    let (state, columns) = (number * 2, number * 2 - 1);
    make_file(log, FileId::columns(columns));
    make_file(log, FileId::state(state));
    let manifest = manifest(log, number, state, &[columns]);
    log.write_manifest(&manifest);
    let Some(LogEvent::ManifestWritten { number: written }) = log.poll() else { panic!() };
    assert_eq!(written, number);
    log.release(&manifest.place);
    manifest
}

fn released(log: &mut Log<MemoryIo>) -> Vec<u64> {
    let mut released = Vec::new();
    while let Some(event) = log.poll() {
        let LogEvent::Released { segment, result: Ok(()) } = event else { panic!("{event:?}") };
        released.push(segment);
    }
    released
}

/// A log of ten large frames, three in each segment, everything up to the eighth in files; and the
/// manifest.
fn consolidated() -> (MemoryDisk, Manifest) {
    let disk = MemoryDisk::default();
    let (mut log, ..) = open(&disk);
    (0..8).for_each(|_| commit(&mut log, &vec![7; LARGE]));
    let manifest = consolidate(&mut log, 1);
    assert_eq!(manifest.place.segment, 3);
    assert_eq!(released(&mut log), [1, 2]);
    assert_eq!(log.counters().segments_released, 2);
    (0..2).for_each(|_| commit(&mut log, &vec![8; LARGE]));
    log.close();
    while !log.is_idle() {
        log.pump();
        events(&mut log);
    }
    (disk, manifest)
}

fn sequences(frames: &Replayed) -> Vec<u64> {
    frames.iter().map(|(sequence, _)| *sequence).collect()
}

#[test]
fn what_is_covered_is_not_replayed_and_the_log_goes_on() {
    let (disk, manifest) = consolidated();
    assert_eq!(disk.segments(), [3, 4, 5]);
    for next in 11..13 {
        disk.crash();
        let (mut log, recovered, frames) = open(&disk);
        assert_eq!(sequences(&frames), (9..next).collect::<Vec<_>>());
        assert_eq!((recovered.start, recovered.next_sequence), (manifest.place, next));
        assert_eq!(recovered.findings(false), [""; 0]);
        assert_eq!((*log.start(), log.first_segment()), (manifest.place, 3));
        commit(&mut log, b"more");
    }
}

#[test]
fn a_place_between_two_segments_is_found_again() {
    let disk = MemoryDisk::default();
    let (mut log, ..) = open(&disk);
    (0..3).for_each(|_| commit(&mut log, &vec![7; LARGE]));
    let place = *log.durable_place();
    commit(&mut log, &vec![8; LARGE]);
    assert_eq!((place.segment, log.position().0), (1, 2));
    make_file(&mut log, FileId::state(1));
    let manifest = Manifest { place, ..manifest(&log, 1, 1, &[]) };
    log.write_manifest(&manifest);
    log.poll();
    assert_eq!(log.release(&place), 0, "the segment in which the place is stays");
    drop(log);
    assert_eq!(sequences(&open(&disk).2), [4]);
}

#[test]
fn a_manifest_of_an_empty_log_changes_nothing() {
    let disk = MemoryDisk::default();
    let (mut log, ..) = open(&disk);
    consolidate(&mut log, 1);
    commit(&mut log, b"first");
    drop(log);
    assert_eq!(sequences(&open(&disk).2), [1]);
}

#[test]
fn damage_in_what_is_covered_loses_nothing_and_is_left() {
    let (disk, manifest) = consolidated();
    let end = usize::try_from(manifest.place.offset).unwrap();
    disk.tamper(3, |file| file[..end].fill(0xab));
    let before = disk.segment(3);
    let (_, recovered, frames) = open(&disk);
    assert_eq!(sequences(&frames), [9, 10]);
    assert_eq!((recovered.losses, recovered.mended), (vec![], vec![]));
    assert_eq!(disk.segment(3), before);
}

#[test]
fn damage_behind_what_is_covered_is_refused_and_named() {
    let (disk, manifest) = consolidated();
    let end = usize::try_from(manifest.place.offset).unwrap();
    disk.tamper(3, |file| file[end + 100] ^= 1);
    let RecoveryError::Damage { losses, .. } = try_open(&disk).unwrap_err() else { panic!() };
    let offset = manifest.place.offset + 64;
    assert_eq!(losses, [Loss { segment: 3, offset, first: 9, last: 9 }]);
    let accept = RecoverySettings { accept_loss: true, ..RecoverySettings::default() };
    assert_eq!(sequences(&open_with(&disk, &accept).unwrap().2)[1..], [10]);
    open(&disk);
}

#[test]
fn a_first_segment_that_is_missing_is_a_loss_that_can_be_accepted_once() {
    for kept in [&[4, 5][..], &[]] {
        let (disk, manifest) = consolidated();
        disk.segments().iter().filter(|all| !kept.contains(all)).for_each(|all| disk.lose(*all));
        let RecoveryError::Damage { losses, missing, .. } = try_open(&disk).unwrap_err() else {
            panic!()
        };
        assert_eq!((losses[0].first, missing[0]), (9, 3));
        let accept = RecoverySettings { accept_loss: true, ..RecoverySettings::default() };
        let (mut log, recovered, _) = open_with(&disk, &accept).unwrap();
        assert_eq!((recovered.start, recovered.next_sequence), (manifest.place, 11));
        commit(&mut log, b"after");
        drop(log);
        let (_, recovered, frames) = open(&disk);
        assert_eq!(frames.last().unwrap(), &(11, b"after".to_vec()));
        assert_eq!(recovered.losses, []);
    }
    // Nothing says that anything was there.
    let (disk, _) = consolidated();
    [3, 4, 5].iter().for_each(|segment| disk.lose(*segment));
    disk.tamper_anchors(|anchors| *anchors = None);
    assert!(matches!(try_open(&disk), Err(RecoveryError::Missing { segment: 3 })));
    let accept = RecoverySettings { accept_loss: true, ..RecoverySettings::default() };
    commit(&mut open_with(&disk, &accept).unwrap().0, b"after");
    assert_eq!(sequences(&open(&disk).2), [9]);
}

#[test]
fn a_log_that_begins_too_late_is_a_loss() {
    let (disk, manifest) = consolidated();
    let place = LogPlace { through_sequence: 3, segment: 2, ..manifest.place };
    let older = Manifest { number: 2, place, ..manifest };
    disk.tamper_manifest(|slots| {
        slots.as_mut().unwrap()[..SECTOR_BYTES].copy_from_slice(&older.encode());
    });
    let RecoveryError::Damage { losses, missing, .. } = try_open(&disk).unwrap_err() else {
        panic!()
    };
    assert_eq!((losses[0].first, &missing[..]), (4, &[2][..]));
}

#[test]
fn leftovers_are_removed_by_a_start_that_may_write() {
    let (disk, manifest) = consolidated();
    disk.io().prepare(1, SEGMENT_BYTES_MIN);
    let unnamed = [FileId::columns(5), FileId::state(6)];
    unnamed.iter().for_each(|file| disk.tamper_file(*file, |bytes| *bytes = Some(vec![1; 10])));
    let read_only = Some("it is only looked at".to_owned());
    let looking = RecoverySettings { read_only, ..RecoverySettings::default() };
    let (_, recovered, frames) = open_with(&disk, &looking).unwrap();
    assert_eq!((sequences(&frames), recovered.removed), (vec![9, 10], vec![]));
    assert_eq!((disk.files().len(), disk.segments()), (4, vec![1, 3, 4, 5]));
    let (_, recovered, _) = open(&disk);
    assert_eq!(recovered.removed, [unnamed[0], unnamed[1], FileId::log(1)]);
    let named: Vec<_> = manifest.files().map(|(file, _)| file).collect();
    assert!(disk.files().iter().all(|file| named.contains(file)));
    assert_eq!(disk.segments(), [3, 4, 5]);
}

#[test]
fn a_file_that_the_manifest_names_must_be_there() {
    for file in [FileId::columns(1), FileId::state(2)] {
        for change in [None, Some(vec![0; SECTOR_BYTES - 1])] {
            let (disk, _) = consolidated();
            disk.tamper_file(file, |bytes| *bytes = change);
            let error = try_open(&disk).unwrap_err();
            assert!(matches!(&error, RecoveryError::File { file: own, .. } if *own == file));
            assert!(error.to_string().contains("restore that file"), "{error}");
        }
    }
}

#[test]
fn without_a_manifest_files_are_only_given_up_when_the_log_has_everything() {
    let zeros = || Some(vec![0; 2 * SECTOR_BYTES]);
    let noise = || Some(vec![7; 2 * SECTOR_BYTES]);
    for (slots, is_missing) in [(None, true), (zeros(), false), (noise(), false)] {
        let (disk, _) = consolidated();
        disk.tamper_manifest(|manifest| *manifest = slots.clone());
        let error = try_open(&disk).unwrap_err();
        let RecoveryError::Manifest { is_missing: missing, files: 2 } = error else {
            panic!("{error}")
        };
        assert_eq!(missing, is_missing);
        assert_eq!(disk.files().len(), 2, "refusing changes nothing");

        let disk = MemoryDisk::default();
        let (mut log, ..) = open(&disk);
        commit(&mut log, b"all");
        consolidate(&mut log, 1);
        drop(log);
        disk.tamper_manifest(|manifest| *manifest = slots.clone());
        let (_, recovered, frames) = open(&disk);
        assert_eq!((sequences(&frames), recovered.removed.len()), (vec![1], 2));
        assert_eq!(open(&disk).1.findings(false), [""; 0], "it was made anew");
    }
}

#[test]
fn a_slot_that_rots_or_was_never_written_costs_nothing() {
    for slot in 0..2 {
        for change in [|byte: &mut u8| *byte ^= 1, |byte: &mut u8| *byte = 0] {
            let (disk, manifest) = consolidated();
            disk.tamper_manifest(|slots| {
                let bytes = &mut slots.as_mut().unwrap()[slot * SECTOR_BYTES..][..SECTOR_BYTES];
                bytes.iter_mut().for_each(change);
            });
            let (_, recovered, frames) = open(&disk);
            assert_eq!((recovered.start, sequences(&frames)), (manifest.place, vec![9, 10]));
            let bytes = disk.io().slots(SlotFile::Manifest).unwrap().unwrap();
            let slots = Slots::<Manifest>::read(Some(&bytes), &IDENTITY.store_id, IDENTITY.shard);
            assert_eq!(slots.numbers, [Some(1), Some(1)], "both have it again");
            assert_eq!(Manifest::decode(bytes.first_chunk().unwrap()), Ok(manifest));
        }
    }
}

#[test]
fn a_manifest_that_cannot_be_written_latches() {
    let disk = MemoryDisk::default();
    let (mut log, ..) = open(&disk);
    commit(&mut log, b"first");
    make_file(&mut log, FileId::state(1));
    let manifest = manifest(&log, 1, 1, &[]);
    disk.fail_next(WriteFault::Manifest);
    log.write_manifest(&manifest);
    assert_eq!(events(&mut log), ["failed"]);
    assert!(matches!(append(&mut log, b"x"), Err(AppendError::ReadOnly(_))));
    log.write_manifest(&manifest);
    assert_eq!(events(&mut log), [""; 0], "nothing more is written");
}

#[test]
fn files_that_cannot_be_written_sealed_or_removed_are_told_and_do_not_latch() {
    let disk = MemoryDisk::default();
    let (mut log, ..) = open(&disk);
    let file = FileId::columns(1);
    for fault in [WriteFault::NoSpace, WriteFault::Piece, WriteFault::Seal, WriteFault::Remove] {
        // The next segment is being made: let it have its room.
        while log.poll().is_some() {}
        disk.fail_next(fault);
        log.io_mut().create_file(file);
        let (region, bytes) = (Region::new(SECTOR_BYTES).unwrap(), SECTOR_BYTES);
        if fault != WriteFault::NoSpace {
            log.io_mut().write_file(crate::io::Piece { file, offset: 0, region, from: 0, bytes });
            log.io_mut().seal_file(file);
            log.io_mut().remove_file(file);
        }
        let mut failed = 0;
        while let Some(event) = log.poll() {
            let LogEvent::File(event) = event else { panic!("{event:?}") };
            let (FileEvent::Created { result, .. }
            | FileEvent::Written { result, .. }
            | FileEvent::Sealed { result, .. }
            | FileEvent::Removed { result, .. }) = event;
            failed += usize::from(result.is_err());
        }
        assert_eq!(failed, 1, "{fault:?}");
        commit(&mut log, b"on");
    }
}

fn transfer(segment: u64) -> Transfer {
    let region = Region::new(SECTOR_BYTES).unwrap();
    Transfer { ticket: 5, segment, offset: 4096, region, from: 0, bytes: SECTOR_BYTES }
}

#[test]
fn a_segment_that_is_read_is_removed_afterwards_and_then_it_is_gone() {
    let disk = MemoryDisk::default();
    let (mut log, ..) = open(&disk);
    (0..8).for_each(|_| commit(&mut log, &vec![7; LARGE]));
    log.io_mut().hold(true);
    log.read(transfer(1));
    let place = *log.durable_place();
    assert_eq!(log.release(&place), 2);
    assert_eq!(log.first_segment(), 3);
    assert_eq!(disk.segments(), [1, 2, 3, 4], "the first one is in use, and they go in order");
    log.read(transfer(2));
    log.overwrite(transfer(2));
    log.io_mut().hold(false);
    let Some(LogEvent::Read { result: Err(error), .. }) = log.poll() else { panic!("let go") };
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert!(matches!(log.poll(), Some(LogEvent::Overwritten { .. })), "nothing is left there");
    let Some(LogEvent::Read { result: Ok(()), .. }) = log.poll() else { panic!("it had begun") };
    assert_eq!(released(&mut log), [1, 2]);
    assert_eq!(disk.segments(), [3, 4]);
}

#[test]
fn a_segment_that_cannot_be_removed_is_told_and_removed_by_the_next_start() {
    let disk = MemoryDisk::default();
    let (mut log, ..) = open(&disk);
    (0..8).for_each(|_| commit(&mut log, &vec![7; LARGE]));
    disk.fail_next(WriteFault::Remove);
    let manifest = consolidate(&mut log, 1);
    let Some(LogEvent::Released { segment: 1, result: Err(_) }) = log.poll() else { panic!() };
    assert_eq!(released(&mut log), [2], "the next one is tried all the same");
    assert_eq!(log.counters().segments_released, 1);
    drop(log);
    let (log, recovered, _) = open(&disk);
    assert_eq!((recovered.removed, recovered.start), (vec![FileId::log(1)], manifest.place));
    assert_eq!(log.first_segment(), 3);
}
