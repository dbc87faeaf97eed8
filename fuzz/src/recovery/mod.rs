//! Recovery of a damaged log. The input is a list of changes to the files of a small valid log
//! (`damage.rs`, `history.rs`); what is then opened, by the engine's own recovery, must satisfy:
//!
//! 1. Nothing panics. The log opens, or an error says why not and no byte was changed.
//! 2. What is replayed is what was written (`judge.rs`). Never a frame that was not written, never
//!    another content, never a gap that is not one.
//! 3. What an intact batch or an intact anchor calls durable is replayed, or the log does not open.
//! 4. An error names exactly the sequences that were not replayed. With `accept_loss` the log opens
//!    without exactly those.
//! 5. What is left behind the end of what was replayed is reported.
//! 6. A log that opened takes a write, and opens again with it and with nothing to report.
//!
//! The log is on a disk of memory. [`crate::directory`] does the same with files.

pub(crate) mod damage;
pub(crate) mod history;
mod judge;

use std::collections::BTreeSet;

use engram_shards::episode::SpaceNumber;
use engram_shards::format::{
    encode_forget, forget_bytes, segment_file_name, segment_from_file_name,
};
use engram_shards::io::Io;
use engram_shards::limits::SECTOR_BYTES;
use engram_shards::log::{
    Appending, Log, LogEvent, LogIdentity, LogSettings, Loss, Recovered, RecoveryError,
    RecoverySettings,
};
use engram_shards::shard::Shard;

use crate::input::Input;
use damage::Files;
use history::{History, settings};
use judge::{AFTER, Judge};

/// Beyond so many missing segments a folder is no log, whatever was allowed.
const MISSING_MAX: u64 = 1024;

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
    let mut judge = Judge::new(history, None);
    let error = match open(history.identity, io(), false, &mut judge) {
        Ok((log, recovered)) => {
            check_recovered(history, files, &judge.seen, &recovered);
            return go_on(history, log, judge.seen, io);
        }
        Err(error) => error,
    };
    let sentence = error.to_string();
    assert!(sentence.len() > 20 && !sentence.contains('\n'), "{sentence:?}");
    assert!(read() == *files, "refused, and files were changed: {sentence}");
    let losses = match error {
        RecoveryError::Damage { losses, .. } => losses,
        RecoveryError::Missing { segment: 1 } if !files.keys().any(|name| is_segment(name)) => {
            return;
        }
        RecoveryError::Missing { .. } if last_segment(files) > MISSING_MAX => return,
        RecoveryError::Missing { .. } => Vec::new(),
        RecoveryError::Header { .. } | RecoveryError::Unmendable { .. } => return,
        RecoveryError::Apply { .. }
        | RecoveryError::Io(_)
        | RecoveryError::File { .. }
        | RecoveryError::Manifest { .. } => panic!("{sentence}"),
    };
    let mut judge = Judge::new(history, None);
    let opened = open(history.identity, io(), true, &mut judge);
    let (log, recovered) = opened.unwrap_or_else(|error| panic!("{sentence}; then {error}"));
    assert_eq!(recovered.losses, losses, "said before: {sentence}");
    check_accepted(history, &judge.seen, &recovered);
    go_on(history, log, judge.seen, io);
}

fn open<I: Io>(
    identity: LogIdentity,
    io: I,
    accept_loss: bool,
    judge: &mut Judge<'_>,
) -> Result<(Log<I>, Recovered), RecoveryError> {
    let recovery = RecoverySettings { accept_loss, ..RecoverySettings::default() };
    Log::open(io, identity, LogSettings::default(), &recovery, judge)
}

fn is_segment(name: &str) -> bool {
    segment_from_file_name(name).is_some()
}

fn last_segment(files: &Files) -> u64 {
    files.keys().filter_map(|name| segment_from_file_name(name)).max().unwrap_or(0)
}

fn is_lost(losses: &[Loss], sequence: u64) -> bool {
    losses.iter().any(|loss| (loss.first..=loss.last).contains(&sequence))
}

/// Without permission to lose anything, nothing was lost.
fn check_recovered(history: &History, files: &Files, seen: &BTreeSet<u64>, recovered: &Recovered) {
    let last = recovered.next_sequence - 1;
    assert!(recovered.skipped.is_empty(), "{recovered:?}");
    for sequence in 1..=last {
        assert!(seen.contains(&sequence) || history.is_erased(sequence), "{sequence} is missing");
        assert!(!seen.contains(&sequence) || !is_lost(&recovered.losses, sequence));
    }
    let durable = history.durable(files);
    assert!(last >= durable, "{last} frames, and {durable} were durable: {recovered:?}");
    let is_silent = recovered.torn_tail.is_none()
        && recovered.mended.is_empty()
        && recovered.short_segment.is_none();
    for (name, bytes) in files.iter().filter(|(name, _)| is_silent && is_segment(name)) {
        let reached = segment_file_name(recovered.segment);
        let from = match name.cmp(&reached) {
            std::cmp::Ordering::Less => continue,
            std::cmp::Ordering::Equal => usize::try_from(recovered.offset).expect("a small file"),
            std::cmp::Ordering::Greater => 0,
        };
        let whole = bytes.len() - bytes.len() % SECTOR_BYTES;
        let tail = bytes[..whole].get(from..).unwrap_or_default();
        assert!(tail.iter().all(|&byte| byte == 0), "{name} was cut from {from} on, in silence");
    }
}

/// With permission, what was named is missing and nothing else.
fn check_accepted(history: &History, seen: &BTreeSet<u64>, recovered: &Recovered) {
    for sequence in 1..recovered.next_sequence {
        let is_gone = is_lost(&recovered.losses, sequence)
            || recovered.skipped.contains(&sequence)
            || history.is_erased(sequence);
        assert_ne!(seen.contains(&sequence), is_gone, "sequence {sequence}: {recovered:?}");
    }
    // Behind the end there may be something that looks like one more write.
    let end = history.frames.len() as u64 + 1;
    assert!(recovered.losses.iter().all(|loss| loss.first <= loss.last && loss.last <= end));
}

/// Writes to a log that opened, and opens it again with everything that was in it.
fn go_on<I: Io>(history: &History, mut log: Log<I>, mut seen: BTreeSet<u64>, io: &dyn Fn() -> I) {
    let (id, space) = (b"nobody", SpaceNumber(1));
    let fill = |out: &mut [u8]| encode_forget(space, id, out);
    let appended = log.append(&AFTER, forget_bytes(id), Appending::default(), fill);
    let sequence = appended.expect("a log that opened takes writes");
    seen.insert(sequence);
    commit(&mut log);
    assert_eq!(log.durable(), sequence);
    drop(log);

    let mut judge = Judge::new(history, Some(sequence));
    let (log, recovered) =
        open(history.identity, io(), false, &mut judge).expect("it opened before");
    assert_eq!(recovered.findings(false), [""; 0]);
    assert_eq!(judge.seen, seen);
    drop(log);
    let (shard, recovered) =
        Shard::open(io(), &settings(history.identity), &|_| {}).expect("its log opened before");
    assert_eq!(recovered.findings(false), [""; 0]);
    assert_eq!(shard.stats().applied, sequence);
    assert_eq!(shard.verify(), [""; 0]);
}

/// Writes everything that was appended, and notes how far the log goes.
pub(crate) fn commit<I: Io>(log: &mut Log<I>) {
    log.close();
    log.pump();
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
