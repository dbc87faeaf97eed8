//! What the disk keeps and what it loses.

use super::*;
use crate::arena::Region;
use crate::format::FileKind;
use crate::io::{BatchWrite, Buffer, Completion, FileEvent, Io, PIECE_BYTES, Piece, Transfer};

const SEGMENT_BYTES: u64 = 64 << 10;

struct Bench {
    disk: SimulatedDisk,
    power: Rc<Power>,
    io: SimulatedIo,
}

impl Bench {
    fn new(seed: u64, faults: Faults) -> Self {
        let power = Rc::new(Power::default());
        let disk = SimulatedDisk::new(seed, &power);
        disk.set_direct(true);
        let mut io = disk.io(Rc::new(Still::default()));
        io.prepare(1, SEGMENT_BYTES);
        let bench = Self { disk, power, io };
        bench.disk.set_faults(faults);
        bench
    }

    fn next(&mut self) -> Completion {
        loop {
            if let Some(completion) = self.io.complete() {
                return completion;
            }
            self.io.wait().unwrap();
        }
    }

    fn write(&mut self, fill: u8) {
        let mut region = Region::new(8192).unwrap();
        region.fill(fill);
        let buffer = Buffer { region, index: 0 };
        self.io.write(BatchWrite {
            batch: 1,
            segment: 1,
            offset: 4096,
            buffer,
            from: 0,
            bytes: 8192,
        });
    }

    /// How many bytes of the written place have this value.
    fn count(&mut self, value: u8) -> usize {
        let region = Region::new(8192).unwrap();
        self.io.read(Transfer {
            ticket: 1,
            segment: 1,
            offset: 4096,
            region,
            from: 0,
            bytes: 8192,
        });
        let transfer = loop {
            if let Completion::Read { transfer, result: Ok(()) } = self.next() {
                break transfer;
            }
        };
        transfer.region.iter().filter(|&&byte| byte == value).count()
    }
}

#[test]
fn what_was_flushed_survives_and_the_rest_sector_by_sector() {
    let mut survivors = Vec::new();
    for seed in 0..40 {
        let mut bench = Bench::new(seed, Faults::default());
        assert!(matches!(bench.next(), Completion::Prepared { result: Ok(()), .. }));
        bench.write(7);
        assert!(matches!(bench.next(), Completion::Written { result: Ok(()), .. }));
        assert!(matches!(bench.next(), Completion::Flushed { result: Ok(()), .. }));
        bench.write(9);
        assert!(matches!(bench.next(), Completion::Written { result: Ok(()), .. }));
        // The flush has not ended when the power goes.
        bench.disk.lose_power();
        assert_eq!(bench.count(7) + bench.count(9), 8192);
        survivors.push(bench.count(9));
    }
    assert!(survivors.contains(&0) && survivors.contains(&8192));
    assert!(survivors.iter().any(|&bytes| bytes > 0 && bytes < 8192));
    assert!(survivors.iter().all(|bytes| bytes.is_multiple_of(DEVICE_SECTOR_BYTES)));
}

#[test]
fn a_flush_that_failed_is_never_made_good() {
    let flush_error = 1_000_000;
    let lost = (0..20).filter(|&seed| {
        let mut bench = Bench::new(seed, Faults { flush_error, ..Faults::default() });
        bench.next();
        bench.write(7);
        bench.next();
        assert!(matches!(bench.next(), Completion::Flushed { result: Err(_), .. }));
        bench.disk.set_faults(Faults::default());
        bench.io.flush(1).unwrap();
        bench.disk.lose_power();
        bench.count(7) < 8192
    });
    assert!(lost.count() > 5);
}

#[test]
fn faults_fail_and_say_so() {
    let all = 1_000_000;
    let short = Faults { write_short: all, read_short: all, ..Faults::default() };
    let mut bench = Bench::new(1, short);
    bench.next();
    bench.write(7);
    assert!(matches!(bench.next(), Completion::Written { result: Err(_), .. }));
    assert!(matches!(bench.next(), Completion::Flushed { result: Err(_), .. }));
    let region = Region::new(8192).unwrap();
    bench.io.read(Transfer { ticket: 1, segment: 1, offset: 0, region, from: 0, bytes: 8192 });
    assert!(matches!(bench.next(), Completion::Read { result: Err(_), .. }));
    bench.disk.set_full(true);
    bench.io.prepare(2, SEGMENT_BYTES);
    let Completion::Prepared { result: Err(error), .. } = bench.next() else { panic!("full") };
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}

#[test]
fn power_fails_at_the_call_it_was_told_and_nothing_ends_after_it() {
    let mut bench = Bench::new(1, Faults::default());
    bench.next();
    assert_eq!(bench.power.calls(), 1);
    bench.power.fail_at(3);
    bench.write(7);
    bench.next();
    assert!(bench.power.is_off(), "the flush is the third call");
    assert!(bench.io.complete().is_none() && bench.io.wait().is_err());
    assert!(bench.io.flush(1).is_err());
    let Bench { disk, power, io } = bench;
    drop(io);
    disk.lose_power();
    power.restore();
    let mut io = disk.io(Rc::new(Still::default()));
    io.flush(1).unwrap();
    assert_eq!(io.segments().unwrap(), [(1, SEGMENT_BYTES)]);
}

#[test]
fn rot_changes_a_batch_that_is_not_spared_and_can_be_undone() {
    let mut bench = Bench::new(3, Faults::default());
    bench.next();
    bench.write(7);
    bench.next();
    bench.next();
    assert_eq!(bench.disk.rot(1), None);
    let before = bench.disk.snapshot();
    assert!((0..5).any(|_| bench.disk.rot(0).is_some()));
    assert!(!bench.disk.is_as(&before));
    bench.disk.restore(&before);
    assert!(bench.disk.is_as(&before));
}

const FILE: FileId = FileId { kind: FileKind::Columns, number: 3 };
const FILE_BYTES: usize = 16 << 10;

impl Bench {
    fn event(&mut self) -> FileEvent {
        loop {
            if let Completion::File(event) = self.next() {
                return event;
            }
        }
    }

    /// Makes the file and writes a piece of sevens; what the write came to.
    fn make_file(&mut self) -> io::Result<()> {
        self.io.create_file(FILE);
        assert!(matches!(self.event(), FileEvent::Created { .. }));
        let mut region = Region::new(PIECE_BYTES).unwrap();
        region.fill(7);
        self.io.write_file(Piece { file: FILE, offset: 0, region, from: 0, bytes: FILE_BYTES });
        let FileEvent::Written { result, .. } = self.event() else { panic!("a piece") };
        result
    }

    /// Bytes of the file and how many are sevens, if there is one.
    fn file(&mut self) -> Option<(usize, usize)> {
        let mapped = self.io.map_file(FILE).ok()?;
        Some((mapped.len(), mapped.iter().filter(|&&byte| byte == 7).count()))
    }
}

#[test]
fn of_a_file_that_was_not_sealed_any_part_is_left_and_of_a_sealed_one_all() {
    let mut left = Vec::new();
    for seed in 0..80 {
        let mut bench = Bench::new(seed, Faults::default());
        bench.make_file().unwrap();
        assert_eq!(bench.file(), Some((FILE_BYTES, FILE_BYTES)));
        bench.disk.lose_power();
        left.push(bench.file());

        let mut bench = Bench::new(seed, Faults::default());
        bench.make_file().unwrap();
        bench.io.seal_file(FILE);
        assert!(matches!(bench.event(), FileEvent::Sealed { result: Ok(()), .. }));
        bench.disk.lose_power();
        assert_eq!(bench.file(), Some((FILE_BYTES, FILE_BYTES)));
        bench.io.remove_file(FILE);
        assert!(matches!(bench.event(), FileEvent::Removed { result: Ok(()), .. }));
        bench.disk.lose_power();
        assert_eq!(bench.file(), None);
    }
    assert!(left.contains(&None), "its name is gone");
    let found: Vec<_> = left.iter().flatten().collect();
    assert!(found.iter().any(|(bytes, _)| *bytes < FILE_BYTES), "it is cut");
    assert!(found.iter().any(|(bytes, sevens)| *sevens > 0 && sevens < bytes), "it has holes");
}

#[test]
fn a_file_fails_in_every_way_a_segment_does() {
    let all = 1_000_000;
    let cases = [
        Faults { write_error: all, ..Faults::default() },
        Faults { write_short: all, ..Faults::default() },
        Faults { no_space: all, ..Faults::default() },
    ];
    for faults in cases {
        let mut bench = Bench::new(1, Faults::default());
        bench.io.create_file(FILE);
        bench.event();
        bench.disk.set_faults(faults);
        let region = Region::new(PIECE_BYTES).unwrap();
        bench.io.write_file(Piece { file: FILE, offset: 0, region, from: 0, bytes: FILE_BYTES });
        assert!(matches!(bench.event(), FileEvent::Written { result: Err(_), .. }), "{faults:?}");
    }
    let (mut lost, mut back) = (0, 0);
    for seed in 0..40 {
        let mut bench = Bench::new(seed, Faults::default());
        bench.make_file().unwrap();
        bench.disk.set_faults(Faults { flush_error: all, ..Faults::default() });
        bench.io.seal_file(FILE);
        assert!(matches!(bench.event(), FileEvent::Sealed { result: Err(_), .. }));
        bench.disk.lose_power();
        lost += usize::from(bench.file() != Some((FILE_BYTES, FILE_BYTES)));

        let mut bench = Bench::new(seed, Faults::default());
        bench.make_file().unwrap();
        bench.io.seal_file(FILE);
        bench.event();
        bench.disk.set_faults(Faults { flush_error: all, ..Faults::default() });
        bench.io.remove_file(FILE);
        assert!(matches!(bench.event(), FileEvent::Removed { result: Err(_), .. }));
        assert_eq!(bench.file(), None);
        bench.disk.lose_power();
        back += usize::from(bench.file().is_some());
    }
    assert!(lost > 10 && back > 5, "{lost} of 40 lost, {back} of 40 came back");
}
