//! A store whose logs hold as many bytes as a measurement of recovery wants.
//!
//! It is made through the engine and its ring, without a daemon and a client in the way, and is
//! what a daemon under load leaves behind: episodes of 768 dimensions with a text and metadata,
//! spread over the shards by the hash of their ids, in batches as large as 64 clients make them.
//! One thread writes each shard. A store that is there already can be measured just as well.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use engram_shards::episode::{
    Confidence, Durability, Episode, Fields, Priority, Refusal, SpaceNumber, SpaceSettings,
    StoreRequest, Ttl,
};
use engram_shards::format::{StoreHeader, segment_from_file_name, shard_folder_name};
use engram_shards::io::{UringIo, UringSettings};
use engram_shards::limits::SEGMENT_BYTES_MIN;
use engram_shards::log::{BUFFERS, LogIdentity, LogSettings, Recovered, RecoverySettings};
use engram_shards::shard::{
    ConsolidationSettings, Effect, OpenError, Shard, ShardSettings, Ticket,
};
use engram_shards::store::{NewStore, Store, StoreError};
use engramd::clock::{CLOCK, wall_us};
use engramd::config::bounds::MEMORY_PREFAULT_DEFAULT;
use engramd::server::Route;
use rustix::fs::{Advice, fadvise};
use thiserror::Error;

use crate::random::Random;

pub const DIMENSIONS: u32 = 768;
const SPACE: &str = "recovery";
/// Brings a frame to about 3,460 bytes, which makes 310,000 episodes of a log of 1 GiB.
const TEXT: &str = "The kettle in the small kitchen trips the fuse when the oven is on; Ada wants \
    it moved to the other circuit before the winter, and asked to be reminded of it when the \
    electrician comes for the meter.";
const METADATA: &str = r#"{"source":"conversation","speaker":"ada","turn":17}"#;
const FRAMES_PER_BATCH: u32 = 64;
/// What the log may hold back in its buffers when this writes as fast as it can.
const BYTES_WAITING_MAX: u64 = (BUFFERS * FRAMES_PER_BATCH as usize * 4096) as u64;
/// As the daemon makes them when nobody says otherwise; smaller logs have smaller segments.
const SEGMENT_BYTES: u64 = 64 << 20;
/// Address space for a byte of the log: vectors take as much as there, the tables are small.
const MEMORY_PER_LOG_BYTE: u64 = 4;
const MEMORY_BYTES_MIN: u64 = 256 << 20;

#[derive(Debug, Error)]
pub enum RecoveryStoreError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the store in {path} is in use by process {holder}; stop that one first")]
    InUse { path: PathBuf, holder: String },
    #[error("the logs in {path} cannot be read or written: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("an episode was not stored: {0}")]
    Refused(#[from] Refusal),
    #[error("the store in {path} holds no episode; name one that does")]
    Empty { path: PathBuf },
}

/// What to make.
#[derive(Debug, Clone, Copy)]
pub struct StorePlan {
    pub shards: u32,
    /// Over all shards; the last batch of each may go beyond it.
    pub log_bytes: u64,
}

/// A segment file.
#[derive(Debug, Clone)]
pub struct LogFile {
    pub path: PathBuf,
    pub bytes: u64,
}

/// An episode of the store, by which a daemon shows that it serves.
#[derive(Debug, Clone)]
pub struct KnownEpisode {
    pub space: String,
    pub id: String,
}

/// A store that nobody else uses.
#[derive(Debug)]
pub struct RecoveryStore {
    pub path: PathBuf,
    pub header: StoreHeader,
}

impl RecoveryStore {
    /// Makes a store in `path`, which must not be one.
    pub fn make(path: &Path, plan: StorePlan) -> Result<Self, RecoveryStoreError> {
        let shard_bytes = plan.log_bytes / u64::from(plan.shards);
        let new = NewStore {
            store_id: [7; 16],
            shards: plan.shards,
            created_at_us: wall_us(),
            segment_bytes: shard_bytes
                .next_multiple_of(SEGMENT_BYTES_MIN)
                .clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES),
        };
        let mut store = Store::open_or_make(path, Some(plan.shards), &new)?;
        let made = Self { path: path.to_owned(), header: store.header };
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..plan.shards)
                .map(|shard| (made.shard_settings(shard, plan.log_bytes), shard))
                .map(|(settings, shard)| {
                    let made = &made;
                    scope.spawn(move || made.write(shard, &settings, shard_bytes))
                })
                .collect();
            writers.into_iter().try_for_each(|writer| writer.join().expect("no panic"))
        })?;
        store.note_logs()?;
        Ok(Self { header: store.header, ..made })
    }

    /// Takes the store that is in `path`.
    pub fn take(path: &Path) -> Result<Self, RecoveryStoreError> {
        let header = Store::inspect(path)?;
        if let Some(holder) = Store::holder(path)? {
            return Err(RecoveryStoreError::InUse { path: path.into(), holder });
        }
        Ok(Self { path: path.into(), header })
    }

    fn io_error(&self, source: io::Error) -> RecoveryStoreError {
        RecoveryStoreError::Io { path: self.path.clone(), source }
    }

    /// A ring over the folder of a shard.
    pub fn ring(&self, shard: u32) -> Result<UringIo, RecoveryStoreError> {
        let settings = UringSettings {
            folder: self.path.join(shard_folder_name(shard)),
            worker_cpus: Vec::new(),
            clock: CLOCK,
        };
        UringIo::new(&settings).map_err(|source| self.io_error(source))
    }

    /// As the daemon opens a shard, for logs of `log_bytes` in all.
    pub fn shard_settings(&self, shard: u32, log_bytes: u64) -> ShardSettings {
        let StoreHeader { store_id, shards, segment_bytes, has_logs, .. } = self.header;
        let memory_bytes_max = (log_bytes * MEMORY_PER_LOG_BYTE).max(MEMORY_BYTES_MIN);
        ShardSettings {
            identity: LogIdentity { store_id, shard, segment_bytes, may_be_empty: !has_logs },
            log: LogSettings::default(),
            recovery: RecoverySettings::default(),
            memory_bytes_max,
            memory_prefault_bytes: MEMORY_PREFAULT_DEFAULT / u64::from(shards),
            consolidation: ConsolidationSettings::default(),
        }
    }

    /// Opens a shard by replaying its log.
    pub fn open(
        &self,
        shard: u32,
        settings: &ShardSettings,
    ) -> Result<(Shard<UringIo>, Recovered), RecoveryStoreError> {
        Ok(Shard::open(self.ring(shard)?, settings, &|_| {})?)
    }

    /// Stores episodes that are the shard's until its log has `log_bytes`.
    fn write(
        &self,
        shard: u32,
        settings: &ShardSettings,
        log_bytes: u64,
    ) -> Result<(), RecoveryStoreError> {
        let log = LogSettings { frames_max: FRAMES_PER_BATCH, ..settings.log };
        let (engine, _) = self.open(shard, &ShardSettings { log, ..settings.clone() })?;
        let mut writer = Writer {
            engine,
            path: &self.path,
            segment_bytes: self.header.segment_bytes,
            effects: Vec::new(),
        };
        let space = SpaceNumber(1);
        let spanning =
            SpaceSettings { shards: self.header.shards, ..SpaceSettings::usual(SPACE, DIMENSIONS) };
        writer.engine.create_space(Ticket(0), Some(space), &spanning, 0)?;
        writer.drain()?;
        let route = Route::new(space, &spanning, self.header.shards as usize);
        let mut random = Random::default();
        let ids = (0_u64..).map(|nth| format!("episode-{nth:09}"));
        let mut own = ids.filter(|id| route.owner(id.as_bytes()) == shard as usize);
        while writer.log_bytes() < log_bytes {
            for id in own.by_ref().take(FRAMES_PER_BATCH as usize) {
                writer.store(&request(space, id, &mut random))?;
            }
            if writer.log_bytes() + BYTES_WAITING_MAX >= log_bytes {
                writer.drain()?;
            }
        }
        writer.drain()
    }

    /// The segment files of all shards with their sizes.
    pub fn files(&self) -> Result<Vec<LogFile>, RecoveryStoreError> {
        let mut files = Vec::new();
        for shard in 0..self.header.shards {
            let folder = self.path.join(shard_folder_name(shard));
            for entry in fs::read_dir(folder).map_err(|source| self.io_error(source))? {
                let entry = entry.map_err(|source| self.io_error(source))?;
                if segment_from_file_name(&entry.file_name().to_string_lossy()).is_some() {
                    let bytes = entry.metadata().map_err(|source| self.io_error(source))?.len();
                    files.push(LogFile { path: entry.path(), bytes });
                }
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    /// Makes the kernel forget what it holds of the logs. They are written past the page cache;
    /// this is for whatever else has read them.
    pub fn drop_page_cache(&self) -> Result<(), RecoveryStoreError> {
        for file in self.files()? {
            let dropped = File::open(&file.path).and_then(|file| {
                file.sync_all()?;
                Ok(fadvise(&file, 0, None, Advice::DontNeed)?)
            });
            dropped.map_err(|source| self.io_error(source))?;
        }
        Ok(())
    }

    /// An episode of an open shard, if it has one.
    pub fn known_episode(engine: &Shard<UringIo>) -> Option<KnownEpisode> {
        engine.spaces().find_map(|(number, settings)| {
            let page = engine.scan(number, 0, 1, usize::MAX, Fields::default()).ok()?;
            let id = String::from_utf8(page.episodes.first()?.id.to_vec()).ok()?;
            Some(KnownEpisode { space: settings.name.clone(), id })
        })
    }
}

struct Writer<'a> {
    engine: Shard<UringIo>,
    path: &'a Path,
    segment_bytes: u64,
    effects: Vec<Effect>,
}

impl Writer<'_> {
    fn log_bytes(&self) -> u64 {
        let stats = self.engine.stats();
        (stats.log_segment - 1) * self.segment_bytes + stats.log_offset
    }

    fn store(&mut self, request: &StoreRequest) -> Result<(), RecoveryStoreError> {
        loop {
            match self.engine.store(Ticket(0), request) {
                Ok(_) => return Ok(()),
                // With nothing under way it is not the log that is full, and waiting is in vain.
                Err(Refusal::LogFull { .. }) if !self.engine.is_idle() => self.progress()?,
                Err(refusal) => return Err(refusal.into()),
            }
        }
    }

    fn drain(&mut self) -> Result<(), RecoveryStoreError> {
        while !self.engine.is_idle() {
            self.progress()?;
        }
        Ok(())
    }

    /// Waits until the disk has done something.
    fn progress(&mut self) -> Result<(), RecoveryStoreError> {
        self.engine.pump();
        self.engine
            .wait()
            .map_err(|source| RecoveryStoreError::Io { path: self.path.into(), source })?;
        self.engine.poll(&mut self.effects);
        for effect in self.effects.drain(..) {
            if let Effect::Answer { result, .. } = effect {
                result?;
            }
        }
        Ok(())
    }
}

fn request(space: SpaceNumber, id: String, random: &mut Random) -> StoreRequest {
    let floats = (0..DIMENSIONS).flat_map(|_| random.next_f32().to_le_bytes());
    StoreRequest {
        space,
        episode: Episode {
            id: id.into(),
            vector: floats.collect::<Vec<u8>>().into(),
            text: Bytes::from_static(TEXT.as_bytes()),
            happened_at_us: None,
            confidence: Confidence::CERTAIN,
            metadata: Bytes::from_static(METADATA.as_bytes()),
            thread: Bytes::new(),
            links: Vec::new(),
        },
        key: Bytes::new(),
        dedup: false,
        ttl: Ttl::Space,
        priority: Priority::Normal,
        durability: Durability::Disk,
        writer_uid: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_has_the_bytes_that_were_asked_for_and_every_shard_its_part() {
        let folder = tempfile::tempdir().unwrap();
        let plan = StorePlan { shards: 2, log_bytes: 4 << 20 };
        RecoveryStore::make(folder.path(), plan).unwrap();
        let store = RecoveryStore::take(folder.path()).unwrap();
        store.drop_page_cache().unwrap();
        for shard in 0..2 {
            let settings = store.shard_settings(shard, plan.log_bytes);
            let (engine, recovered) = store.open(shard, &settings).unwrap();
            assert!((2 << 20..3 << 20).contains(&recovered.bytes), "{recovered:?}");
            assert!(recovered.torn_tail.is_none() && engine.verify().is_empty());
            assert_eq!(engine.stats().episodes, recovered.frames - 1);
            assert_eq!(RecoveryStore::known_episode(&engine).unwrap().space, SPACE);
        }
    }

    #[test]
    fn a_folder_that_is_no_store_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = RecoveryStore::take(folder.path()).unwrap_err().to_string();
        assert!(error.contains("not a data directory"), "{error}");
    }
}
