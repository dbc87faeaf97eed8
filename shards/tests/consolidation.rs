//! Power that fails at every call of a log that is consolidated, on a disk that lies.
//!
//! A small driver stands in for the shard: it appends frames, and now and then writes everything up
//! to a place into a columns file and a state file, then the manifest, and lets the log and the
//! older files go. Whatever happens, the next start must find one manifest, no older than the last
//! that was called written, with every byte of its files; and behind its place every frame that was
//! called durable. What is left over must be gone when the log is open.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io;
use std::rc::Rc;

use engram_shards::arena::Region;
use engram_shards::format::{
    FileId, Frame, FrameHead, LogPlace, Manifest, NamedColumns, NamedState, StateHeader,
    StateReader, StateRecord, StateWriter,
};
use engram_shards::io::simulated::{Faults, Power, SimulatedDisk, SimulatedIo, Still};
use engram_shards::io::{FileEvent, Io, PIECE_BYTES, Piece, Random};
use engram_shards::limits::SECTOR_BYTES;
use engram_shards::log::{
    Appending, Basis, Log, LogEvent, LogIdentity, LogSettings, RecoveryError, RecoverySettings,
};

const IDENTITY: LogIdentity =
    LogIdentity { store_id: [5; 16], shard: 0, segment_bytes: 32 << 10, may_be_empty: true };
const ROUNDS: u64 = 4;
const FRAMES: u64 = 9;

/// What was promised so far, over all starts.
#[derive(Debug, Default)]
struct Promised {
    durable: u64,
    manifest: u64,
}

/// Why a life of the driver ended before its work.
#[derive(Debug)]
enum Ended {
    PowerFailed,
    Latched,
}

struct Driver {
    log: Log<SimulatedIo>,
    manifest: Option<Manifest>,
    next_file: u64,
    failed_files: u64,
}

fn payload(sequence: u64) -> Vec<u8> {
    vec![sequence as u8; 200 + (sequence % 5) as usize * 900]
}

/// Stands for the columns of everything up to a sequence; the first one takes two pieces.
fn columns(file: u64, through: u64) -> Vec<u8> {
    let bytes = if file == 1 { PIECE_BYTES + SECTOR_BYTES } else { 3 * SECTOR_BYTES };
    let mut random = Random::new(file << 32 | through);
    (0..bytes / 8).flat_map(|_| random.draw().to_le_bytes()).collect()
}

fn erasures(through: u64) -> StateRecord {
    StateRecord::Erasures((1..=through).collect())
}

/// Reads what a manifest names and checks every byte.
fn check_files(io: &mut SimulatedIo, manifest: &Manifest) -> io::Result<()> {
    let through = manifest.place.through_sequence;
    for file in &manifest.columns {
        let mapped = io.map_file(FileId::columns(file.number))?;
        mapped.populate(0..mapped.len())?;
        assert!(*mapped == columns(file.number, through), "{manifest:?}");
    }
    let mapped = io.map_file(FileId::state(manifest.state.number))?;
    let reader = StateReader::new(&mapped, &manifest.state, &IDENTITY.store_id, 0);
    let reader = reader.unwrap_or_else(|error| panic!("{manifest:?}: {error}"));
    assert_eq!(reader.header().place, manifest.place);
    assert_eq!(reader.collect::<Result<Vec<_>, _>>(), Ok(vec![erasures(through)]));
    Ok(())
}

impl Driver {
    /// Starts, and checks what it finds against what was promised.
    fn start(mut io: SimulatedIo, promised: &Promised) -> Result<Self, RecoveryError> {
        let basis = Basis::read(&mut io, &IDENTITY)?;
        let manifest = basis.manifest.newest();
        assert!(manifest.as_ref().map_or(0, |manifest| manifest.number) >= promised.manifest);
        if let Some(manifest) = &manifest {
            check_files(&mut io, manifest)?;
        }
        let mut next = basis.place().through_sequence + 1;
        let (settings, recovery) = (LogSettings::default(), RecoverySettings::default());
        let opened =
            Log::open_on(&basis, io, IDENTITY, settings, &recovery, &mut |frame: Frame<'_>| {
                assert_eq!((frame.sequence, frame.payload), (next, &payload(next)[..]));
                next += 1;
                Ok(())
            });
        let mut log = opened?.0;
        assert!(next > promised.durable, "{next} is next and {} was durable", promised.durable);
        let named: BTreeSet<_> =
            manifest.iter().flat_map(Manifest::files).map(|(file, _)| file).collect();
        let files = log.io_mut().files()?.into_iter().map(|(file, _)| file);
        assert_eq!(files.collect::<BTreeSet<_>>(), named);
        let first = log.io_mut().segments()?.first().map(|(segment, _)| *segment);
        assert!(first.is_none_or(|first| first == log.first_segment()), "{first:?}");
        let next_file = manifest.as_ref().map_or(1, |manifest| manifest.next_file);
        Ok(Self { log, manifest, next_file, failed_files: 0 })
    }

    /// Goes on until an event that `wanted` takes.
    fn until<T>(
        &mut self,
        promised: &mut Promised,
        mut wanted: impl FnMut(LogEvent) -> Option<T>,
    ) -> Result<T, Ended> {
        loop {
            while let Some(event) = self.log.poll() {
                match event {
                    LogEvent::Apply(batch) => self.log.recycle(batch),
                    LogEvent::Failed { .. } => return Err(Ended::Latched),
                    event => {
                        if let LogEvent::Durable { through, .. } = event {
                            promised.durable = through;
                        }
                        if let Some(taken) = wanted(event) {
                            return Ok(taken);
                        }
                    }
                }
            }
            self.log.pump();
            self.log.wait().map_err(|_| Ended::PowerFailed)?;
        }
    }

    fn append(&mut self, promised: &mut Promised) -> Result<(), Ended> {
        let first = self.log.durable() + 1;
        for sequence in first..first + FRAMES {
            let head =
                FrameHead { operation: 3, recorded_at_us: 1, happened_at_us: 1, writer_uid: 0 };
            let bytes = payload(sequence);
            let fill = |out: &mut [u8]| out.copy_from_slice(&bytes);
            let appended = self.log.append(&head, bytes.len(), Appending::default(), fill);
            assert_eq!(appended.map_err(|_| Ended::Latched)?, sequence);
            self.log.pump();
        }
        let last = first + FRAMES - 1;
        self.until(promised, |event| {
            matches!(event, LogEvent::Durable { through, .. } if through == last).then_some(())
        })
    }

    /// Makes a sealed file of these bytes; false when the disk did not want it.
    fn make(&mut self, file: FileId, bytes: &[u8], promised: &mut Promised) -> Result<bool, Ended> {
        let mut ended = |driver: &mut Self| {
            driver.until(promised, |event| match event {
                LogEvent::File(
                    FileEvent::Created { result, .. }
                    | FileEvent::Written { result, .. }
                    | FileEvent::Sealed { result, .. },
                ) => Some(result.is_ok()),
                _ => None,
            })
        };
        self.log.io_mut().create_file(file);
        let mut is_well = ended(self)?;
        let mut pieces = bytes.chunks(PIECE_BYTES).enumerate();
        while is_well && let Some((nth, bytes)) = pieces.next() {
            let mut region = Region::new(bytes.len()).unwrap();
            region.copy_from_slice(bytes);
            let offset = (nth * PIECE_BYTES) as u64;
            let bytes = bytes.len();
            self.log.io_mut().write_file(Piece { file, offset, region, from: 0, bytes });
            is_well = ended(self)?;
        }
        if is_well {
            self.log.io_mut().seal_file(file);
            is_well = ended(self)?;
        }
        Ok(is_well)
    }

    fn remove(&mut self, file: FileId, promised: &mut Promised) -> Result<(), Ended> {
        self.log.io_mut().remove_file(file);
        self.until(promised, |event| {
            matches!(event, LogEvent::File(FileEvent::Removed { .. })).then_some(())
        })
    }

    fn consolidate(&mut self, promised: &mut Promised) -> Result<(), Ended> {
        let place = *self.log.durable_place();
        let through = place.through_sequence;
        let (number, state) = (self.next_file, self.next_file + 1);
        self.next_file += 2;
        let bytes = columns(number, through);
        let (state_bytes, named) = state_file(state, place);
        let made = self.make(FileId::columns(number), &bytes, promised)?
            && self.make(FileId::state(state), &state_bytes, promised)?;
        if !made {
            self.failed_files += 1;
            self.remove(FileId::columns(number), promised)?;
            return self.remove(FileId::state(state), promised);
        }
        let bytes = bytes.len() as u64;
        let manifest = Manifest {
            store_id: IDENTITY.store_id,
            shard: IDENTITY.shard,
            number: self.manifest.as_ref().map_or(1, |manifest| manifest.number + 1),
            place,
            next_file: self.next_file,
            state: named,
            columns: vec![NamedColumns { number, bytes, ..NamedColumns::default() }],
            written_at_us: 1,
        };
        self.log.write_manifest(&manifest);
        promised.manifest = self.until(promised, |event| match event {
            LogEvent::ManifestWritten { number } => Some(number),
            _ => None,
        })?;
        for (file, _) in self.manifest.replace(manifest).iter().flat_map(Manifest::files) {
            self.remove(file, promised)?;
        }
        let mut left = self.log.release(&place);
        while left > 0 {
            left -= self.until(promised, |event| match event {
                LogEvent::Released { .. } => Some(1),
                _ => None,
            })?;
        }
        Ok(())
    }

    fn work(&mut self, promised: &mut Promised) -> Result<(), Ended> {
        for _ in 0..ROUNDS {
            self.append(promised)?;
            self.consolidate(promised)?;
        }
        self.append(promised)
    }
}

fn state_file(number: u64, place: LogPlace) -> (Vec<u8>, NamedState) {
    let header = StateHeader {
        store_id: IDENTITY.store_id,
        shard: IDENTITY.shard,
        number,
        place,
        last_space: 1,
        written_at_us: 1,
    };
    let mut writer = StateWriter::new(&header);
    writer.push(&erasures(place.through_sequence));
    let named = writer.finish();
    let mut bytes = vec![0; writer.waiting()];
    writer.take(&mut bytes);
    (bytes, named)
}

/// One machine: its power, its disk, its time.
struct Machine {
    power: Rc<Power>,
    disk: SimulatedDisk,
    time: Rc<Still>,
    /// It is the process that ends when the power is said to fail.
    is_killing: Cell<bool>,
}

impl Machine {
    fn new(seed: u64) -> Self {
        let power = Rc::new(Power::default());
        let disk = SimulatedDisk::new(seed, &power);
        Self { power, disk, time: Rc::default(), is_killing: Cell::new(false) }
    }

    /// Starts and works until the work is done or the process ends; a start that the power or an
    /// error of the disk ends is no process at all.
    fn live(&self, promised: &mut Promised) -> bool {
        let io = self.disk.io(Rc::<Still>::clone(&self.time));
        let mut driver = match Driver::start(io, promised) {
            Ok(driver) => driver,
            Err(RecoveryError::Io(_)) => return false,
            Err(error) => panic!("{error}"),
        };
        let is_done = driver.work(promised).is_ok();
        if self.is_killing.get() {
            self.power.restore();
        }
        is_done
    }

    fn restart(&self, loses_power: bool) {
        if loses_power {
            self.disk.lose_power();
        }
        self.power.restore();
    }
}

#[test]
fn power_may_fail_at_every_call() {
    let calls = {
        let machine = Machine::new(1);
        assert!(machine.live(&mut Promised::default()));
        machine.power.calls()
    };
    assert!(calls > 100, "{calls}");
    for call in 1..=calls {
        for again in [0, 3, 9] {
            let machine = Machine::new(call * 16 + again);
            let mut promised = Promised::default();
            machine.power.fail_at(call);
            assert!(!machine.live(&mut promised) || machine.power.calls() < call);
            machine.restart(true);
            // And once more while it starts.
            machine.power.fail_at(machine.power.calls() + again);
            if again > 0 && !machine.live(&mut promised) {
                machine.restart(true);
            }
            machine.power.restore();
            assert!(machine.live(&mut promised), "call {call}");
        }
    }
}

#[test]
fn a_process_may_be_killed_at_every_call_and_the_power_fail_later() {
    for call in (1..200).step_by(2) {
        for later in [1, 4, 12, 40] {
            let machine = Machine::new(call * 64 + later);
            let mut promised = Promised::default();
            machine.power.fail_at(call);
            machine.is_killing.set(true);
            machine.live(&mut promised);
            machine.is_killing.set(false);
            machine.restart(false);
            machine.power.fail_at(machine.power.calls() + later);
            machine.live(&mut promised);
            machine.restart(true);
            assert!(machine.live(&mut promised), "call {call}, {later} later");
        }
    }
}

#[test]
fn a_disk_that_fails_now_and_then_loses_nothing_either() {
    let faults = Faults {
        write_error: 10_000,
        write_short: 10_000,
        flush_error: 10_000,
        read_error: 3_000,
        no_space: 10_000,
        slow: 10_000,
        ..Faults::default()
    };
    let (mut consolidated, mut lives) = (0, 0);
    for seed in 0..60 {
        let machine = Machine::new(seed);
        let mut random = Random::new(seed);
        let mut promised = Promised::default();
        for _ in 0..8 {
            machine.disk.set_faults(faults);
            lives += u64::from(machine.live(&mut promised));
            machine.restart(random.chance(500_000));
        }
        machine.disk.set_faults(Faults::default());
        consolidated += promised.manifest;
        assert!(machine.live(&mut promised), "seed {seed}");
    }
    assert!(consolidated > 300 && lives > 0, "{consolidated} manifests, {lives} whole lives");
}

#[test]
fn a_file_that_rots_is_noticed_and_so_is_a_manifest_in_both_slots() {
    for seed in 0..20 {
        let machine = Machine::new(seed);
        let mut promised = Promised::default();
        assert!(machine.live(&mut promised));
        let before = machine.disk.snapshot();
        let mut io = machine.disk.io(Rc::<Still>::clone(&machine.time));
        let manifest = Basis::read(&mut io, &IDENTITY).unwrap().manifest.newest().unwrap();
        drop(io);
        machine.disk.rot_file(FileId::state(manifest.state.number)).unwrap();
        let mut io = machine.disk.io(Rc::<Still>::clone(&machine.time));
        let mapped = io.map_file(FileId::state(manifest.state.number)).unwrap();
        StateReader::new(&mapped, &manifest.state, &IDENTITY.store_id, 0).unwrap_err();
        machine.disk.restore(&before);
        machine.disk.rot_manifest(0).unwrap();
        assert_eq!(Basis::read(&mut io, &IDENTITY).unwrap().manifest.newest(), Some(manifest));
        machine.disk.rot_manifest(1).unwrap();
        let error = Basis::read(&mut io, &IDENTITY).unwrap_err();
        assert!(matches!(error, RecoveryError::Manifest { is_missing: false, files: 2 }));
    }
}
