//! Stores in temporary directories, written by the engine itself.
#![allow(dead_code, reason = "every test file is a crate of its own and uses a part of this")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use engram_shards::episode::{
    Confidence, Durability, Episode, Link, LinkRequest, Priority, Refusal, SpaceFan, SpaceNumber,
    SpaceSettings, StoreRequest, Ttl, UnlinkRequest,
};
use engram_shards::format::columns::{ColumnsDirectory, ColumnsPlace};
use engram_shards::format::{
    FileId, Frame, FrameHead, Manifest, NamedColumns, Operation, Slots, StateHeader, StateRecord,
    StateWriter, StoreFacts, encode_store, segment_file_name, shard_folder_name, store_sizes,
};
use engram_shards::io::{UringIo, UringSettings};
use engram_shards::limits::SEGMENT_BYTES_MIN;
use engram_shards::log::{Appending, Log, LogEvent, LogIdentity, LogSettings, RecoverySettings};
use engram_shards::shard::{ConsolidationSettings, Effect, Reply, Shard, ShardSettings, Ticket};
use engram_shards::store::{NewStore, Store};
use engram_shards::strength::Decay;
use engramd::clock::CLOCK;
use tempfile::TempDir;

const STORE_ID: [u8; 16] = [0xe5; 16];
const SPACE: SpaceNumber = SpaceNumber(1);

/// A store that is open in this process: locked, and ready to be written to.
pub struct TestStore {
    folder: TempDir,
    shards: Vec<Shard<UringIo>>,
    _store: Store,
}

/// A store that nobody uses.
pub struct ClosedStore {
    folder: TempDir,
}

fn identity(shard: u32) -> LogIdentity {
    LogIdentity { store_id: STORE_ID, shard, segment_bytes: SEGMENT_BYTES_MIN, may_be_empty: true }
}

fn io(folder: &Path, shard: u32) -> UringIo {
    let folder = folder.join(shard_folder_name(shard));
    UringIo::new(&UringSettings { folder, worker_cpus: vec![], clock: CLOCK }).unwrap()
}

fn request(id: &str, text: &str, key: &str) -> StoreRequest {
    let vector: Vec<u8> = [1.0_f32, 2.0, 3.0, 4.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    StoreRequest {
        space: SPACE,
        episode: Episode {
            id: id.as_bytes().to_vec().into(),
            vector: vector.into(),
            text: text.as_bytes().to_vec().into(),
            happened_at_us: Some(5),
            confidence: Confidence::CERTAIN,
            metadata: br#"{"kind":"note"}"#.to_vec().into(),
            thread: b"thread".to_vec().into(),
            links: vec![Link { target: "other".into(), weight: 0.5, kind: "k".into() }],
        },
        key: key.as_bytes().to_vec().into(),
        dedup: false,
        ttl: Ttl::Space,
        priority: Priority::Normal,
        durability: Durability::Disk,
        writer_uid: 1000,
    }
}

impl TestStore {
    /// Makes a store with the space `notes` of four dimensions on every shard.
    pub fn make(shards: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let new = NewStore {
            store_id: STORE_ID,
            shards,
            created_at_us: 1_772_366_400_000_000,
            segment_bytes: SEGMENT_BYTES_MIN,
        };
        let store = Store::open_or_make(folder.path(), None, &new).unwrap();
        let open = |shard| {
            let settings = ShardSettings {
                identity: identity(shard),
                log: LogSettings::default(),
                recovery: RecoverySettings::default(),
                memory_bytes_max: 256 << 20,
                memory_prefault_bytes: 0,
                consolidation: ConsolidationSettings::default(),
            };
            Shard::open(io(folder.path(), shard), &settings, &|_| {}).unwrap().0
        };
        let mut opened = Self { shards: (0..shards).map(open).collect(), folder, _store: store };
        let settings = SpaceSettings {
            fan: SpaceFan::Strength { hundredths: 157 },
            fan_cap: Some(1500),
            decay: Decay::Exponential { half_life_s: 604_800 },
            model: "test".into(),
            shards,
            ..SpaceSettings::usual("notes", 4)
        };
        for shard in 0..shards {
            opened.write(shard, |shard| {
                shard.create_space(Ticket(0), Some(SPACE), &settings, 1000).map(drop)
            });
        }
        opened
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Makes writes durable that are admitted together.
    fn write_all(
        &mut self,
        shard: u32,
        writes: usize,
        mut write: impl FnMut(&mut Shard<UringIo>, usize) -> Result<(), Refusal>,
    ) -> Vec<Reply> {
        let shard = &mut self.shards[shard as usize];
        (0..writes).for_each(|nth| write(shard, nth).unwrap());
        let (mut effects, mut replies) = (Vec::new(), Vec::new());
        while replies.len() < writes {
            shard.pump();
            shard.wait().unwrap();
            shard.poll(&mut effects);
            for effect in effects.drain(..) {
                if let Effect::Answer { result, .. } = effect {
                    replies.push(result.unwrap());
                }
            }
        }
        replies
    }

    /// Makes a write durable.
    fn write(
        &mut self,
        shard: u32,
        write: impl Fn(&mut Shard<UringIo>) -> Result<(), Refusal>,
    ) -> Reply {
        self.write_all(shard, 1, |shard, _| write(shard)).remove(0)
    }

    /// Stores an episode with a text of `x` and the idempotency key `key`.
    pub fn store(&mut self, shard: u32, id: &str, text_bytes: usize) {
        self.store_all(shard, &[(id, &"x".repeat(text_bytes), "key")]);
    }

    /// Stores episodes that are admitted together: id, text, idempotency key.
    pub fn store_all(&mut self, shard: u32, episodes: &[(&str, &str, &str)]) {
        let replies = self.write_all(shard, episodes.len(), |shard, nth| {
            let (id, text, key) = episodes[nth];
            shard.store(Ticket(0), &request(id, text, key)).map(drop)
        });
        assert!(replies.iter().all(|reply| matches!(reply, Reply::Stored(_))), "{replies:?}");
    }

    pub fn forget(&mut self, shard: u32, id: &str) {
        let reply = self.write(shard, |shard| {
            shard.forget(Ticket(0), SPACE, id.as_bytes(), Durability::Disk, 1000)
        });
        assert!(matches!(reply, Reply::Forgotten { existed: true, .. }), "{reply:?}");
    }

    pub fn link(&mut self, shard: u32, from: &'static str, to: &'static str, weight: f32) {
        let (space, durability, writer_uid) = (SPACE, Durability::Disk, 1000);
        let (from, to, kind) = (from.into(), to.into(), "k".into());
        let request = LinkRequest { space, from, to, kind, weight, durability, writer_uid };
        let reply = self.write(shard, |shard| shard.link(Ticket(0), &request));
        assert!(matches!(reply, Reply::Linked(_)), "{reply:?}");
    }

    /// Links of all kinds.
    pub fn unlink(&mut self, shard: u32, from: &'static str, to: &'static str) {
        let (space, durability, writer_uid) = (SPACE, Durability::Disk, 1000);
        let (from, to, kind) = (from.into(), to.into(), "".into());
        let request = UnlinkRequest { space, from, to, kind, durability, writer_uid };
        let reply = self.write(shard, |shard| shard.unlink(Ticket(0), &request));
        assert!(matches!(reply, Reply::Unlinked(Some(_))), "{reply:?}");
    }

    pub fn erase(&mut self, shard: u32, id: &'static str) {
        let reply = self.write(shard, |shard| shard.erase(Ticket(0), SPACE, &id.into(), 1000));
        assert!(matches!(reply, Reply::Erased { .. }), "{reply:?}");
    }

    /// Moves everything that a shard has into a columns file.
    pub fn consolidate(&mut self, shard: u32) {
        let shard = &mut self.shards[shard as usize];
        shard.consolidate(Ticket(0), true).unwrap();
        let mut effects = Vec::new();
        loop {
            shard.advance(true, &mut effects);
            shard.pump();
            shard.poll(&mut effects);
            let answered = effects.drain(..).find_map(|effect| match effect {
                Effect::Answer { result, .. } => Some(result.unwrap()),
                _ => None,
            });
            if let Some(reply) = answered {
                return assert!(matches!(reply, Reply::Consolidated), "{reply:?}");
            }
        }
    }

    pub fn close(self) -> ClosedStore {
        ClosedStore { folder: self.folder }
    }
}

impl ClosedStore {
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn segment(&self, shard: u32, segment: u64) -> PathBuf {
        self.path().join(shard_folder_name(shard)).join(segment_file_name(segment))
    }
}

impl ClosedStore {
    /// The columns file of a shard that has one, and what is where in it.
    pub fn columns(&self, shard: u32) -> (PathBuf, ColumnsDirectory) {
        let folder = self.path().join(shard_folder_name(shard));
        let slots = fs::read(folder.join("manifest")).unwrap();
        let manifest: Option<Manifest> = Slots::read(Some(&slots), &STORE_ID, shard).state.newest();
        let [named] = manifest.unwrap().columns[..] else { panic!("one columns file") };
        let NamedColumns { number, directory_offset, directory_bytes, directory_crc, .. } = named;
        let path = folder.join(FileId::columns(number).to_string());
        let place = ColumnsPlace { directory_offset, directory_bytes, directory_crc };
        let whose = (STORE_ID, shard, number);
        let directory = ColumnsDirectory::decode(&fs::read(&path).unwrap(), &place, whose);
        (path, directory.unwrap())
    }
}

/// Appends a frame to the first shard that the shard itself would never write.
pub fn append_raw(store: &ClosedStore, operation: u16, payload: &[u8]) {
    let settings = LogSettings::default();
    let io = io(store.path(), 0);
    let (recovery, mut ignore) = (RecoverySettings::default(), |_: Frame<'_>| Ok(()));
    let (mut log, _) = Log::open(io, identity(0), settings, &recovery, &mut ignore).unwrap();
    let head = FrameHead { operation, recorded_at_us: 1, happened_at_us: 1, writer_uid: 0 };
    let how = Appending::default();
    log.append(&head, payload.len(), how, |out| out.copy_from_slice(payload)).unwrap();
    while !log.is_idle() {
        log.pump();
        log.wait().unwrap();
        while let Some(event) = log.poll() {
            if let LogEvent::Apply(batch) = event {
                log.recycle(batch);
            }
        }
    }
}

/// Does to the first shard what a consolidation does to its files: everything is in a columns file,
/// whose bytes nobody looks at, and the log is let go. Then one more store follows.
pub fn consolidate(store: &ClosedStore) {
    let (recovery, settings) = (RecoverySettings::default(), LogSettings::default());
    let mut ignore = |_: Frame<'_>| Ok(());
    let io = io(store.path(), 0);
    let (mut log, _) = Log::open(io, identity(0), settings, &recovery, &mut ignore).unwrap();
    let place = *log.durable_place();
    let space = SpaceSettings {
        fan: SpaceFan::Strength { hundredths: 157 },
        fan_cap: Some(1500),
        decay: Decay::Exponential { half_life_s: 604_800 },
        model: "test".into(),
        shards: 2,
        ..SpaceSettings::usual("notes", 4)
    };
    let header = StateHeader {
        store_id: STORE_ID,
        shard: 0,
        number: 2,
        place,
        last_space: 1,
        written_at_us: 1,
    };
    let mut writer = StateWriter::new(&header);
    writer.push(&StateRecord::Space { space: SPACE, settings: space });
    let state = writer.finish();
    let mut bytes = vec![0; writer.waiting()];
    writer.take(&mut bytes);
    let folder = store.path().join(shard_folder_name(0));
    fs::write(folder.join(FileId::state(2).to_string()), bytes).unwrap();
    fs::write(folder.join(FileId::columns(1).to_string()), [0; 4096]).unwrap();
    let columns = vec![NamedColumns { number: 1, bytes: 4096, ..NamedColumns::default() }];
    log.write_manifest(&Manifest {
        store_id: STORE_ID,
        shard: 0,
        number: 1,
        place,
        next_file: 3,
        state,
        columns,
        written_at_us: 1,
    });
    let mut left = 1;
    while left > 0 {
        log.wait().unwrap();
        while let Some(event) = log.poll() {
            match event {
                LogEvent::ManifestWritten { .. } => left += log.release(&place) - 1,
                LogEvent::Released { result, .. } => {
                    result.unwrap();
                    left -= 1;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    drop(log);
    let request = request("later", "text", "another key");
    let (sizes, bytes) = store_sizes(&request);
    let mut payload = vec![0; bytes];
    encode_store(&request, sizes, StoreFacts::lasting(1.0), &mut payload);
    append_raw(store, Operation::Store as u16, &payload);
}

/// Every file under a folder with its bytes.
pub fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    files
}

/// Two shards; 12 large episodes and a forget in the first, one small episode in the second. The
/// creation of the space is sequence 1.
pub fn sample() -> TestStore {
    let mut store = TestStore::make(2);
    for nth in 0..12 {
        store.store(0, &format!("large-{nth}"), 900_000);
    }
    store.forget(0, "large-3");
    store.store(1, "small", 5);
    store
}
