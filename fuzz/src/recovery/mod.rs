//! Recovery of a damaged log. The input is a list of changes to the files of a small valid log
//! (`damage.rs`, `history.rs`); what is then opened, by the engine's own recovery, must satisfy:
//!
//! 1. Nothing panics. The log opens, or an error says why not and no byte was changed.
//! 2. What is replayed is what was written, from the first frame on, without a gap. Never a frame
//!    that was not written, never another content.
//! 3. What an intact batch calls durable is replayed, or the log does not open.
//! 4. An error that names lost sequences names the first one that was not replayed.
//! 5. What is left behind the end of what was replayed is reported as a torn tail.
//! 6. A log that opened takes a write, and opens again with it and with nothing to report.
//!
//! The log is on a disk of memory. [`crate::directory`] does the same with files.

pub(crate) mod damage;
pub(crate) mod history;

use engram_shards::format::{FrameHead, Operation, encode_forget, forget_bytes};
use engram_shards::io::{Io, MemoryDisk};
use engram_shards::limits::SECTOR_BYTES;
use engram_shards::log::{
    Log, LogEvent, LogIdentity, LogSettings, Recovered, RecoveryError, Visitor,
};
use engram_shards::shard::{Shard, ShardSettings};
use engram_shards::{episode::SpaceNumber, format::segment_file_name};

use crate::input::Input;
use damage::Files;
use history::{History, MEMORY_BYTES};

/// What is written after a recovery.
const AFTER: FrameHead = FrameHead {
    operation: Operation::Forget as u16,
    recorded_at_us: 7,
    happened_at_us: 7,
    writer_uid: 7,
};

/// See the top of the file.
pub fn run(bytes: &[u8]) {
    let history = History::of_shard(0);
    let mut files = history.files.clone();
    damage::apply(&mut files, &mut Input::new(bytes));
    let disk = history::to_disk(&files);
    let read = || history::from_disk(&disk, &files);
    check(history, &files, &|| disk.io(), &read);
}

/// Opens a folder with these files and checks everything that is promised above. `read` lists the
/// folder's files as they are by then.
pub(crate) fn check<I: Io>(
    history: &History,
    files: &Files,
    io: &dyn Fn() -> I,
    read: &dyn Fn() -> Files,
) {
    let mut replayed = 0;
    let opened = open(history, io(), &mut |frame| {
        let written = history.frames.get(replayed).expect("no more than was written");
        assert_eq!(frame.sequence, replayed as u64 + 1, "a gap in what was replayed");
        assert_eq!(frame.head, written.head, "sequence {}", frame.sequence);
        assert!(frame.payload == written.payload, "sequence {} has changed", frame.sequence);
        replayed += 1;
        Ok(())
    });
    match opened {
        Ok((log, recovered)) => {
            check_recovered(history, files, replayed, &recovered);
            write_once(log);
            check_again(history.identity, io(), replayed as u64 + 1);
        }
        Err(error) => {
            check_error(&error, replayed, history);
            assert!(read() == *files, "refused, and files were changed: {error}");
        }
    }
}

fn open<I: Io>(
    history: &History,
    io: I,
    visit: Visitor<'_>,
) -> Result<(Log<I>, Recovered), RecoveryError> {
    Log::open(io, history.identity, LogSettings::default(), visit)
}

fn check_recovered(history: &History, files: &Files, replayed: usize, recovered: &Recovered) {
    assert_eq!(recovered.frames, replayed as u64);
    assert_eq!(recovered.next_sequence, replayed as u64 + 1);
    let durable = history.durable(files);
    assert!(replayed as u64 >= durable, "{replayed} frames, and {durable} were durable: {files:?}");
    if recovered.torn_tail.is_none() {
        let is_zero = |bytes: &[u8]| bytes.iter().all(|&byte| byte == 0);
        for (name, bytes) in files {
            let from =
                if *name == segment_file_name(recovered.segment) { recovered.offset } else { 0 };
            let behind = *name >= segment_file_name(recovered.segment) && is_segment(name);
            let whole = bytes.len() - bytes.len() % SECTOR_BYTES;
            let tail = bytes[..whole].get(from as usize..).unwrap_or_default();
            assert!(!behind || is_zero(tail), "{name} was cut from {from} on, in silence");
        }
    }
}

fn is_segment(name: &str) -> bool {
    engram_shards::format::segment_from_file_name(name).is_some()
}

fn check_error(error: &RecoveryError, replayed: usize, history: &History) {
    let sentence = error.to_string();
    assert!(sentence.len() > 20 && !sentence.contains('\n'), "{sentence:?}");
    match error {
        RecoveryError::Damage { first, last, .. } => {
            assert_eq!(*first, replayed as u64 + 1, "{sentence}");
            assert!(first <= last && *last <= history.frames.len() as u64, "{sentence}");
        }
        RecoveryError::Apply { .. } => panic!("every frame was accepted: {sentence}"),
        RecoveryError::Io(_) | RecoveryError::Header { .. } | RecoveryError::Missing { .. } => {}
    }
}

/// Appends one frame and waits until it is durable.
fn write_once<I: Io>(mut log: Log<I>) {
    let id = b"nobody";
    let space = SpaceNumber(1);
    let fill = |out: &mut [u8]| encode_forget(space, id, out);
    let sequence = log.append(&AFTER, forget_bytes(id), false, fill).expect("a log that opened");
    commit(&mut log);
    assert_eq!(log.durable(), sequence);
}

/// Writes everything that was appended.
pub(crate) fn commit<I: Io>(log: &mut Log<I>) {
    while !log.is_idle() {
        log.pump();
        log.wait().expect("something is under way");
        while let Some(event) = log.poll() {
            match event {
                LogEvent::Apply(batch) => log.recycle(batch),
                LogEvent::Durable { .. } => {}
                other => panic!("a disk without faults: {other:?}"),
            }
        }
    }
}

/// The whole shard opens, has so many frames, and nothing was cut.
fn check_again<I: Io>(identity: LogIdentity, io: I, frames: u64) {
    let settings = ShardSettings {
        identity,
        log: LogSettings::default(),
        memory_bytes_max: MEMORY_BYTES,
        memory_prefault_bytes: 0,
    };
    let (shard, recovered) = Shard::open(io, &settings, &|_| {}).expect("it opened before");
    assert_eq!((recovered.frames, &recovered.torn_tail), (frames, &None));
    assert_eq!(shard.stats().applied, frames);
    assert_eq!(shard.verify(), [""; 0]);
}

/// A disk of memory with these segments; other files do not exist on it.
pub(crate) fn disk_with(segments: &[(u64, &[u8])]) -> MemoryDisk {
    let disk = MemoryDisk::default();
    for &(segment, bytes) in segments {
        disk.io().prepare(segment, bytes.len() as u64);
        disk.tamper(segment, |file| file.copy_from_slice(bytes));
    }
    disk
}
