//! Recovery as the engine does it, whole and taken apart.
//!
//! The engine has no switch to leave a part of recovery out, so the parts are told from each other
//! by doing less and less of it, over the same files, one thread for each shard:
//!
//! | Stage | Reads | Verifies | Applies | Opens the log | Is |
//! |---|---|---|---|---|---|
//! | [`Stage::Shard`] | yes | yes | yes | yes | what the daemon waits for |
//! | [`Stage::Log`] | yes | yes | – | yes | replay into a visitor that drops the frames |
//! | [`Stage::Walk`] | yes | yes | – | – | the walk and its verdict |
//! | [`Stage::Checksums`] | – | yes | – | – | `BatchView::verify` over segments in memory |
//! | [`Stage::Memory`] | – | – | – | – | touching as much of an arena as the shard uses |
//!
//! The difference of two lines is the price of what one does and the other does not. It is exact
//! only as long as the parts follow each other; where they overlap, the column of what the thread
//! waited for tells more.
//!
//! Memory is the other thing that recovery waits for. On a virtual machine, memory that nobody has
//! used for some seconds may have been given back to the hypervisor (free page reporting), and
//! touching it again can cost ten times as much as zeroing it. So the state of the free memory is
//! part of what is measured, see [`FreeMemory`].

use std::fs;
use std::time::Duration;

use engram_shards::arena::Arena;
use engram_shards::format::{
    BatchHeader, BatchView, Frame, LogPlace, SEGMENT_HEADER_BYTES, shard_folder_name,
};
use engram_shards::limits::SECTOR_BYTES;
use engram_shards::log::{Log, RecoveryError, Walk};
use engram_shards::shard::ShardSettings;
use serde::Serialize;
use thiserror::Error;

use crate::recovery_store::{KnownEpisode, LogFile, RecoveryStore, RecoveryStoreError};
use crate::usage::Usage;

/// Memory that recovery needs beside the arenas: windows, batch buffers, tables.
const MEMORY_BESIDE_BYTES: u64 = 256 << 20;

#[derive(Debug, Error)]
pub enum RecoveryMeasureError {
    #[error(transparent)]
    Store(#[from] RecoveryStoreError),
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    #[error("the segments cannot be read into memory: {0}")]
    Read(std::io::Error),
    #[error("a batch at byte {offset} of {path} does not verify: {reason}")]
    Batch { path: String, offset: usize, reason: String },
    #[error("{bytes} bytes of memory cannot be had: {source}")]
    Memory { bytes: u64, source: std::io::Error },
}

/// How much of a recovery is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Stage {
    Shard,
    Log,
    Walk,
    Checksums,
    Memory,
}

impl Stage {
    pub const ALL: [Self; 5] = [Self::Shard, Self::Log, Self::Walk, Self::Checksums, Self::Memory];

    pub fn name(self) -> &'static str {
        match self {
            Self::Shard => "shard opened",
            Self::Log => "log opened, frames dropped",
            Self::Walk => "log walked",
            Self::Checksums => "checksums, in memory",
            Self::Memory => "memory touched",
        }
    }
}

/// What becomes of the machine's free memory right before something is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreeMemory {
    /// As much as the store needs was in use until just now: a daemon that is started again right
    /// after it died finds it so.
    JustUsed,
    /// Nobody used it for this long: a daemon that is started with the machine finds it so.
    Idle(Duration),
}

/// What recovery finds in a store.
#[derive(Debug, Clone)]
pub struct Contents {
    /// Of the logs as far as they are used, padding included.
    pub log_bytes: u64,
    pub episodes: u64,
    /// Of the arenas once everything is applied, by shard.
    pub memory_bytes: Vec<u64>,
    pub known: KnownEpisode,
}

/// A store and what is in it.
#[derive(Debug)]
pub struct Recovery<'a> {
    store: &'a RecoveryStore,
    pub contents: Contents,
    files: Vec<LogFile>,
    free_memory: FreeMemory,
}

impl<'a> Recovery<'a> {
    /// Recovers once to see what there is.
    pub fn new(
        store: &'a RecoveryStore,
        free_memory: FreeMemory,
    ) -> Result<Self, RecoveryMeasureError> {
        let files = store.files()?;
        let file_bytes = files.iter().map(|file| file.bytes).sum();
        let mut contents = Contents {
            log_bytes: 0,
            episodes: 0,
            memory_bytes: Vec::new(),
            known: KnownEpisode { space: String::new(), id: String::new() },
        };
        for shard in 0..store.header.shards {
            let settings = store.shard_settings(shard, file_bytes);
            let (engine, recovered) = store.open(shard, &settings)?;
            contents.log_bytes += recovered.bytes;
            contents.episodes += engine.stats().episodes;
            contents.memory_bytes.push(engine.stats().memory_bytes);
            if let Some(known) = RecoveryStore::known_episode(&engine) {
                contents.known = known;
            }
        }
        if contents.episodes == 0 {
            return Err(RecoveryStoreError::Empty { path: store.path.clone() }.into());
        }
        Ok(Self { store, contents, files, free_memory })
    }

    /// Brings page cache and free memory into the state that everything is measured from.
    pub fn prepare(&self) -> Result<(), RecoveryMeasureError> {
        self.store.drop_page_cache()?;
        match self.free_memory {
            FreeMemory::JustUsed => {
                let bytes = self.contents.memory_bytes.iter().sum::<u64>() + MEMORY_BESIDE_BYTES;
                drop(touch(bytes, bytes)?);
            }
            FreeMemory::Idle(time) => std::thread::sleep(time),
        }
        Ok(())
    }

    /// Does a stage once, on one thread for each shard.
    pub fn run(&self, stage: Stage) -> Result<Usage, RecoveryMeasureError> {
        self.prepare()?;
        std::thread::scope(|scope| {
            let shards: Vec<_> = (0..self.store.header.shards)
                .map(|shard| scope.spawn(move || self.run_shard(stage, shard)))
                .collect();
            shards.into_iter().try_fold(Usage::default(), |sum, shard| {
                Ok(sum.beside(shard.join().expect("no panic")?))
            })
        })
    }

    fn run_shard(&self, stage: Stage, shard: u32) -> Result<Usage, RecoveryMeasureError> {
        let file_bytes = self.files.iter().map(|file| file.bytes).sum();
        let settings = self.store.shard_settings(shard, file_bytes);
        // What a stage made is let go of outside the time it took: a daemon keeps it.
        match stage {
            Stage::Shard => {
                let (opened, usage) = Usage::of(|| self.store.open(shard, &settings));
                opened?;
                Ok(usage)
            }
            Stage::Log => {
                let (opened, usage) = Usage::of(|| -> Result<_, RecoveryMeasureError> {
                    let ring = self.store.ring(shard)?;
                    let mut ignore = |_: Frame<'_>| Ok(());
                    let ShardSettings { identity, log, recovery, .. } = &settings;
                    Ok(Log::open(ring, *identity, *log, recovery, &mut ignore)?)
                });
                opened?;
                Ok(usage)
            }
            Stage::Walk => {
                let (walked, usage) = Usage::of(|| -> Result<_, RecoveryMeasureError> {
                    let mut ring = self.store.ring(shard)?;
                    let mut walk = Walk::new(&mut ring, settings.identity, &LogPlace::BEGINNING)?;
                    while walk.next()?.is_some() {}
                    walk.judge()?;
                    drop(walk);
                    Ok(ring)
                });
                walked?;
                Ok(usage)
            }
            Stage::Checksums => self.verify_in_memory(shard),
            Stage::Memory => {
                let bytes = self.contents.memory_bytes[shard as usize];
                let (touched, usage) = Usage::of(|| touch(settings.memory_bytes_max, bytes));
                touched?;
                Ok(usage)
            }
        }
    }

    /// Verifies every batch of a shard, segment by segment. Reading them is not counted.
    fn verify_in_memory(&self, shard: u32) -> Result<Usage, RecoveryMeasureError> {
        let folder = self.store.path.join(shard_folder_name(shard));
        let mut total = Usage::default();
        for LogFile { path, .. } in self.files.iter().filter(|f| f.path.parent() == Some(&folder)) {
            let bytes = fs::read(path).map_err(RecoveryMeasureError::Read)?;
            let (verified, usage) = Usage::of(|| self.verify_segment(&bytes));
            verified.map_err(|(offset, reason)| RecoveryMeasureError::Batch {
                path: path.display().to_string(),
                offset,
                reason,
            })?;
            total = total.then(usage);
        }
        Ok(total)
    }

    fn verify_segment(&self, bytes: &[u8]) -> Result<(), (usize, String)> {
        let store_id = &self.store.header.store_id;
        let mut offset = SEGMENT_HEADER_BYTES;
        while let Some(rest) = bytes.get(offset..)
            && let Some(header) = BatchHeader::decode(rest, store_id)
        {
            BatchView::verify(header, rest, store_id)
                .map_err(|error| (offset, error.to_string()))?;
            offset += header.bytes.next_multiple_of(SECTOR_BYTES);
        }
        Ok(())
    }
}

/// An arena whose first `bytes` have been touched.
fn touch(bytes_max: u64, bytes: u64) -> Result<Arena, RecoveryMeasureError> {
    let touched = Arena::reserve(bytes_max, &|_| {}).and_then(|mut arena| {
        arena.prefault(bytes)?;
        Ok(arena)
    });
    touched.map_err(|source| RecoveryMeasureError::Memory { bytes, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recovery_store::StorePlan;

    #[test]
    fn every_stage_runs_and_leaves_the_store_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let plan = StorePlan { shards: 2, log_bytes: 2 << 20 };
        let store = RecoveryStore::make(folder.path(), plan).unwrap();
        let recovery = Recovery::new(&store, FreeMemory::JustUsed).unwrap();
        for stage in Stage::ALL {
            let usage = recovery.run(stage).unwrap();
            assert!(usage.wall_s > 0.0, "{stage:?}: {usage:?}");
        }
        let again = Recovery::new(&store, FreeMemory::JustUsed).unwrap().contents;
        assert_eq!(again.log_bytes, recovery.contents.log_bytes);
        assert_eq!(again.episodes, recovery.contents.episodes);
    }

    #[test]
    fn a_batch_that_does_not_verify_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let plan = StorePlan { shards: 1, log_bytes: 1 << 20 };
        let store = RecoveryStore::make(folder.path(), plan).unwrap();
        let recovery = Recovery::new(&store, FreeMemory::JustUsed).unwrap();
        let mut bytes = fs::read(&recovery.files[0].path).unwrap();
        bytes[2 * SEGMENT_HEADER_BYTES + 200] ^= 1;
        let (offset, reason) = recovery.verify_segment(&bytes).unwrap_err();
        assert!(offset > 0 && reason.contains("checksum"), "{offset}: {reason}");
    }
}
