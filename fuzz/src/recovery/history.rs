//! A small valid log, and what was written into it.
//!
//! It is written by the engine, in segments far smaller than a daemon's so that a log of several is
//! opened in a fraction of a millisecond. Nothing about it depends on time or chance: the offsets
//! in the corpus keep their meaning until the format or this file changes.

use std::sync::OnceLock;

use bytes::Bytes;
use engram_shards::episode::{
    Confidence, Durability, Episode, Link, Metric, Priority, SpaceNumber, SpaceSettings,
    StoreRequest, Ttl,
};
use engram_shards::format::{
    BatchHeader, Frame, FrameHead, Operation, StoreId, segment_file_name, segment_from_file_name,
};
use engram_shards::io::{Io, MemoryDisk, MemoryIo, SlotFile};
use engram_shards::limits::SECTOR_BYTES;
use engram_shards::log::{Log, LogIdentity, LogSettings, RecoverySettings};
use engram_shards::shard::{ConsolidationSettings, Shard, ShardSettings, Ticket};

use super::damage::Files;

pub(crate) const STORE_ID: StoreId = *b"small valid log.";
pub(crate) const SHARDS: u32 = 2;
/// Eight sectors: a header and seven batches of one.
pub(crate) const SEGMENT_BYTES: u64 = 8 * SECTOR_BYTES as u64;
/// Memory of a shard that holds any of this.
pub(crate) const MEMORY_BYTES: u64 = 64 << 20;
/// The name of the file of anchors in a shard's folder.
pub(crate) const ANCHOR_FILE: &str = "anchor";
const NOTES: SpaceNumber = SpaceNumber(1);

/// A frame as it was acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) head: FrameHead,
    pub(crate) payload: Vec<u8>,
}

/// The first sector of a batch, and what it calls durable.
#[derive(Debug)]
struct Batch {
    file: String,
    offset: usize,
    sector: Vec<u8>,
    durable: u64,
}

/// See the top of the file.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) identity: LogIdentity,
    /// By sequence, from 1.
    pub(crate) frames: Vec<Written>,
    /// The segments and the anchors by name, as a clean stop leaves them.
    pub(crate) files: Files,
    batches: Vec<Batch>,
}

pub(crate) fn settings(identity: LogIdentity) -> ShardSettings {
    ShardSettings {
        identity,
        log: LogSettings::default(),
        recovery: RecoverySettings::default(),
        memory_bytes_max: MEMORY_BYTES,
        memory_prefault_bytes: 0,
        consolidation: ConsolidationSettings::default(),
    }
}

impl History {
    /// The log of one of the [`SHARDS`], made once.
    pub(crate) fn of_shard(shard: u32) -> &'static Self {
        static HISTORIES: [OnceLock<History>; SHARDS as usize] = [const { OnceLock::new() }; 2];
        HISTORIES[shard as usize].get_or_init(|| Self::write(shard))
    }

    fn write(shard: u32) -> Self {
        let identity = LogIdentity {
            store_id: STORE_ID,
            shard,
            segment_bytes: SEGMENT_BYTES,
            may_be_empty: false,
        };
        let disk = MemoryDisk::default();
        let new = LogIdentity { may_be_empty: true, ..identity };
        let (opened, _) = Shard::open(disk.io(), &settings(new), &|_| {}).expect("a new log");
        Writer { shard: opened, tickets: 0 }.write_all();
        Self::read(identity, &disk)
    }

    /// Reads back what was written.
    fn read(identity: LogIdentity, disk: &MemoryDisk) -> Self {
        let files = from_disk(disk, &Files::new());
        let mut frames = Vec::new();
        let (settings, recovery) = (LogSettings::default(), RecoverySettings::default());
        let opened =
            Log::open(disk.io(), identity, settings, &recovery, &mut |frame: Frame<'_>| {
                frames.push(Written { head: frame.head, payload: frame.payload.to_vec() });
                Ok(())
            });
        opened.expect("the log is valid");
        let batches = files.iter().flat_map(|(file, bytes)| {
            bytes.chunks(SECTOR_BYTES).enumerate().filter_map(move |(nth, sector)| {
                let durable = BatchHeader::decode(sector, &STORE_ID)?.durable_sequence;
                let offset = nth * SECTOR_BYTES;
                Some(Batch { file: file.clone(), offset, sector: sector.to_vec(), durable })
            })
        });
        let batches: Vec<Batch> = batches.collect();
        assert!(files.len() > 3 && batches.len() > 12, "several segments of several batches");
        Self { identity, frames, files: files.clone(), batches }
    }

    /// Whether the frame with this sequence had been erased.
    pub(crate) fn is_erased(&self, sequence: u64) -> bool {
        let nth = usize::try_from(sequence - 1).expect("of a small log");
        self.frames.get(nth).is_some_and(|frame| frame.head.operation == Operation::Gap as u16)
    }

    /// The last sequence that an intact word calls durable: a batch whose first sector is as it was
    /// written, where it was written, or the anchors.
    pub(crate) fn durable(&self, files: &Files) -> u64 {
        if files.get(ANCHOR_FILE) == self.files.get(ANCHOR_FILE) {
            return self.frames.len() as u64;
        }
        let intact = self.batches.iter().filter(|batch| {
            let bytes = files.get(&batch.file).and_then(|bytes| bytes.get(batch.offset..));
            bytes.is_some_and(|bytes| bytes.starts_with(&batch.sector))
        });
        intact.map(|batch| batch.durable).max().unwrap_or(0)
    }
}

/// A disk with the files that a log looks at.
pub(crate) fn to_disk(files: &Files) -> MemoryDisk {
    let disk = MemoryDisk::default();
    for (name, bytes) in files {
        if let Some(segment) = segment_from_file_name(name) {
            disk.io().prepare(segment, bytes.len() as u64);
            disk.tamper(segment, |file| file.copy_from_slice(bytes));
        }
    }
    disk.tamper_anchors(|anchors| *anchors = files.get(ANCHOR_FILE).cloned());
    disk
}

/// What is on the disk by now, beside those files that never were.
pub(crate) fn from_disk(disk: &MemoryDisk, before: &Files) -> Files {
    let is_other = |name: &str| segment_from_file_name(name).is_none() && name != ANCHOR_FILE;
    let others = before.iter().filter(|(name, _)| is_other(name));
    let mut files: Files = others.map(|(name, bytes)| (name.clone(), bytes.clone())).collect();
    let segments = disk.segments().into_iter();
    files.extend(segments.map(|number| (segment_file_name(number), disk.segment(number))));
    let anchors = disk.io().slots(SlotFile::Anchors).expect("memory does not fail");
    files.extend(anchors.map(|bytes| (ANCHOR_FILE.to_owned(), bytes)));
    files
}

struct Writer {
    shard: Shard<MemoryIo>,
    tickets: u64,
}

impl Writer {
    /// Every operation, every part, batches of one frame and of several, of one sector and of
    /// several.
    fn write_all(mut self) {
        self.create("notes", Metric::Cosine);
        self.create("other", Metric::L2);
        self.commit();
        for number in 0..8 {
            self.store(number, 40);
            self.commit();
        }
        for number in 0..6 {
            self.store(20 + number, 100);
        }
        self.commit();
        self.store(3, 9000);
        self.commit();
        self.forget("episode 5");
        self.commit();
        self.erase("episode 6");
        self.commit();
        self.drop_space();
        self.commit();
        for number in 30..36 {
            self.store(number, 700 * number as usize % 5000);
            self.forget("nobody");
            self.commit();
        }
        self.shard.close();
        self.commit();
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        self.shard.io_mut().advance_us(1000);
        Ticket(self.tickets)
    }

    fn commit(&mut self) {
        let mut effects = Vec::new();
        self.shard.pump();
        while !self.shard.is_idle() {
            self.shard.pump();
            self.shard.poll(&mut effects);
        }
    }

    fn create(&mut self, name: &str, metric: Metric) {
        let ticket = self.ticket();
        let settings = SpaceSettings {
            metric,
            model: "model".into(),
            shards: SHARDS,
            ..SpaceSettings::usual(name, 3)
        };
        self.shard.create_space(ticket, None, &settings, 1000).expect("admitted");
    }

    fn store(&mut self, number: u64, text_bytes: usize) {
        let ticket = self.ticket();
        let vector: Vec<u8> =
            [1.0, 0.5, number as f32].iter().flat_map(|x: &f32| x.to_le_bytes()).collect();
        let episode = Episode {
            id: format!("episode {number}").into(),
            vector: vector.into(),
            text: Bytes::from(format!("{number:<text_bytes$}")),
            happened_at_us: Some(number.cast_signed() - 3),
            confidence: Confidence { point: 0.5, low: 0.25, high: 1.0 },
            metadata: format!("{{\"number\":{number}}}").into(),
            thread: "thread".into(),
            links: vec![Link { target: "episode 1".into(), weight: 0.5, kind: "kind".into() }],
        };
        let request = StoreRequest {
            space: NOTES,
            episode,
            key: format!("key {}", self.tickets).into(),
            dedup: false,
            ttl: Ttl::Space,
            priority: Priority::Normal,
            durability: if number.is_multiple_of(2) { Durability::Disk } else { Durability::Os },
            writer_uid: 1000,
        };
        self.shard.store(ticket, &request).expect("admitted");
    }

    fn forget(&mut self, id: &str) {
        let ticket = self.ticket();
        self.shard.forget(ticket, NOTES, id.as_bytes(), Durability::Disk, 0).expect("admitted");
    }

    fn erase(&mut self, id: &'static str) {
        let ticket = self.ticket();
        self.shard.erase(ticket, NOTES, &Bytes::from_static(id.as_bytes()), 0).expect("admitted");
    }

    fn drop_space(&mut self) {
        let ticket = self.ticket();
        self.shard.drop_space(ticket, SpaceNumber(2), 1000).expect("admitted");
    }
}
