//! Recovery of a damaged data directory: as [`crate::recovery`], with the store's header and two
//! shards, on real files and under io_uring. Far slower, so it is for what only files have: other
//! names, odd lengths, what is opened and how.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use engram_shards::format::Frame;
use engram_shards::format::{
    STORE_HEADER_BYTES, StoreHeader, segment_from_file_name, shard_folder_name,
};
use engram_shards::io::{Clock, UringIo, UringSettings};
use engram_shards::log::{Log, LogSettings, RecoverySettings};
use engram_shards::store::{NewStore, Store, StoreError};
use tempfile::TempDir;

use crate::input::Input;
use crate::recovery::check;
use crate::recovery::damage::{self, Files};
use crate::recovery::history::{History, SEGMENT_BYTES, SHARDS, STORE_ID};

const HEADER_FILE: &str = "engram.store";
const CREATED_AT_US: i64 = 1_700_000_000_000_000;
/// Time plays no part.
const CLOCK: Clock = Clock { wall_us: || CREATED_AT_US, monotonic_ns: || 0 };

/// See the top of the file.
pub fn run(bytes: &[u8]) {
    let files = files(bytes);
    let folder = lay_out(&files);
    let new = NewStore {
        store_id: [0; 16],
        shards: SHARDS,
        created_at_us: CREATED_AT_US,
        segment_bytes: SEGMENT_BYTES,
    };
    match Store::open_or_make(folder.path(), None, &new) {
        Ok(store) if store.is_new => {
            let first = format!("{}/log-0000000001.seg", shard_folder_name(0));
            assert!(!files.contains_key(HEADER_FILE) && !files.contains_key(&first));
        }
        Ok(store) => {
            assert_eq!(files[HEADER_FILE], header().encode(), "another header, and it opened");
            for shard in 0..SHARDS {
                check_shard(shard, &files, &store.shard_folder(shard));
            }
        }
        Err(error) => check_refused(&error, &files, folder.path()),
    }
}

/// The files of the damaged store by their path in its directory.
pub fn files(bytes: &[u8]) -> Files {
    let mut files = Files::from([(HEADER_FILE.to_owned(), header().encode().to_vec())]);
    for shard in 0..SHARDS {
        let folder = shard_folder_name(shard);
        let segments = History::of_shard(shard).files.iter();
        files.extend(segments.map(|(name, bytes)| (format!("{folder}/{name}"), bytes.clone())));
    }
    damage::apply(&mut files, &mut Input::new(bytes));
    files
}

fn header() -> StoreHeader {
    StoreHeader {
        store_id: STORE_ID,
        shards: SHARDS,
        created_at_us: CREATED_AT_US,
        segment_bytes: SEGMENT_BYTES,
        has_logs: true,
    }
}

/// A directory with these files.
pub fn lay_out(files: &Files) -> TempDir {
    let folder = TempDir::with_prefix("engram-fuzz-").expect("a temporary directory");
    let write = || -> io::Result<()> {
        for shard in 0..SHARDS {
            fs::create_dir(folder.path().join(shard_folder_name(shard)))?;
        }
        files.iter().try_for_each(|(name, bytes)| fs::write(folder.path().join(name), bytes))
    };
    write().expect("the temporary directory takes files");
    folder
}

/// Whether a daemon would serve what is in the directory; why not, if not. Cuts a torn tail.
pub fn open(folder: &Path) -> Result<(), String> {
    let header = Store::inspect(folder).map_err(|error| error.to_string())?;
    for shard in 0..header.shards {
        let identity = History::of_shard(shard).identity;
        let (settings, recovery) = (LogSettings::default(), RecoverySettings::default());
        let io = io(&folder.join(shard_folder_name(shard)));
        Log::open(io, identity, settings, &recovery, &mut |_: Frame<'_>| Ok(()))
            .map_err(|error| format!("shard {shard}: {error}"))?;
    }
    Ok(())
}

fn io(folder: &Path) -> UringIo {
    let settings = UringSettings { folder: folder.into(), worker_cpus: vec![], clock: CLOCK };
    UringIo::new(&settings).expect("the folder exists")
}

fn check_shard(shard: u32, files: &Files, folder: &Path) {
    let prefix = format!("{}/", shard_folder_name(shard));
    let within = files.iter().filter_map(|(name, bytes)| {
        let name = name.strip_prefix(&prefix)?;
        Some((name.to_owned(), bytes.clone()))
    });
    check(History::of_shard(shard), &within.collect(), &|| io(folder), &|| read(folder));
}

fn read(folder: &Path) -> Files {
    let read = || -> io::Result<Files> {
        let mut files = Files::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                continue;
            }
            let name = entry.file_name().into_string().expect("names are text here");
            files.insert(name, fs::read(entry.path())?);
        }
        Ok(files)
    };
    read().expect("the folder can be read")
}

fn check_refused(error: &StoreError, files: &Files, folder: &Path) {
    let sentence = error.to_string();
    assert!(sentence.len() > 20 && !sentence.contains('\n'), "{sentence:?}");
    let good = header().encode();
    let header = files.get(HEADER_FILE).map(Vec::as_slice);
    match error {
        StoreError::Header { .. } => assert_ne!(header, Some(&good[..]), "{sentence}"),
        StoreError::HeaderSize { got, .. } => {
            assert_ne!(*got, STORE_HEADER_BYTES as u64, "{sentence}");
        }
        StoreError::HeaderMissing { .. } => {
            let is_segment =
                |name: &String| name.rsplit('/').next().and_then(segment_from_file_name).is_some();
            assert!(header.is_none() && files.keys().any(is_segment), "{sentence}");
        }
        StoreError::Io { error, .. } => assert_ne!(error.kind(), ErrorKind::NotFound, "{sentence}"),
        other => panic!("nobody asked for that: {other}"),
    }
    for (name, bytes) in files {
        let path = folder.join(name);
        assert!(fs::read(path).is_ok_and(|now| now == *bytes), "{name} was changed: {sentence}");
    }
}
