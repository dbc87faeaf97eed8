//! A shard on a disk in memory, and what lives in it.

#![allow(dead_code, reason = "every test file is a crate of its own and uses a part of this")]

use std::collections::BTreeMap;

use bytes::Bytes;
use engram_shards::episode::{
    CodeBits, Conditions, Confidence, Durability, Effort, Episode, Fields, Hit, Metric, Priority,
    RecallRequest, Refusal, SpaceNumber, SpaceSettings, StoreRequest, Ttl,
};
use engram_shards::format::columns::{ColumnEntry, ColumnsDirectory, ColumnsPlace};
use engram_shards::format::{FileId, FileKind};
use engram_shards::io::{Io, MemoryDisk, MemoryIo, Random};
use engram_shards::limits::SEGMENT_BYTES_MIN;
use engram_shards::log::{LogIdentity, LogSettings, RecoverySettings};
use engram_shards::recall::cue;
use engram_shards::shard::{
    Advanced, ConsolidationSettings, Effect, Notice, Reply, Shard, ShardSettings, Ticket,
};

pub const DIMENSIONS: u32 = 96;
/// A byte of the first vector of a columns file, which follows its header page.
pub const IN_VECTORS: usize = 4100;

/// What was answered.
pub type Answers = Vec<(Ticket, Result<Reply, Refusal>)>;

pub struct Bench {
    pub settings: ShardSettings,
    pub disk: MemoryDisk,
    pub shard: Shard<MemoryIo>,
    pub space: SpaceNumber,
    pub random: Random,
    pub tickets: u64,
    /// What lives, by id: the vector.
    pub model: BTreeMap<String, Vec<f32>>,
}

pub fn settings() -> ShardSettings {
    let identity = LogIdentity {
        store_id: [1; 16],
        shard: 0,
        segment_bytes: SEGMENT_BYTES_MIN,
        may_be_empty: true,
    };
    ShardSettings {
        identity,
        log: LogSettings::default(),
        recovery: RecoverySettings::default(),
        memory_bytes_max: 256 << 20,
        memory_prefault_bytes: 0,
        consolidation: ConsolidationSettings::when_asked(),
    }
}

impl Bench {
    pub fn new(metric: Metric) -> Self {
        Self::with(settings(), metric)
    }

    pub fn with(settings: ShardSettings, metric: Metric) -> Self {
        Self::of(settings, metric, CodeBits::One)
    }

    pub fn with_codes(metric: Metric, codes: CodeBits) -> Self {
        Self::of(settings(), metric, codes)
    }

    fn of(settings: ShardSettings, metric: Metric, codes: CodeBits) -> Self {
        let disk = MemoryDisk::default();
        let (shard, _) = Shard::open(disk.io(), &settings, &|_| {}).unwrap();
        let (space, random, model) = (SpaceNumber(1), Random::new(7), BTreeMap::new());
        let mut bench = Self { settings, disk, shard, space, random, tickets: 0, model };
        bench.create("s", metric, codes);
        bench
    }

    pub fn create(&mut self, name: &str, metric: Metric, codes: CodeBits) -> SpaceNumber {
        let ticket = self.ticket();
        let settings = SpaceSettings {
            metric,
            codes,
            model: "m".into(),
            ..SpaceSettings::usual(name, DIMENSIONS)
        };
        self.shard.create_space(ticket, None, &settings, 0).unwrap();
        match &self.answers()[..] {
            [(_, Ok(Reply::SpaceCreated { space }))] => *space,
            other => panic!("{other:?}"),
        }
    }

    pub fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    pub fn answers(&mut self) -> Answers {
        let mut effects = Vec::new();
        self.shard.pump();
        self.shard.poll(&mut effects);
        answers(effects)
    }

    /// A point near one of a few centres, as embeddings are.
    pub fn vector(&mut self) -> Vec<f32> {
        let centre = self.random.below(12);
        let mut around = Random::new(centre + 100);
        let uniform = |random: &mut Random| random.below(2001) as f32 / 1000.0 - 1.0;
        (0..DIMENSIONS).map(|_| 1.5 * uniform(&mut around) + uniform(&mut self.random)).collect()
    }

    pub fn store(&mut self, id: &str) {
        let vector = self.vector();
        self.store_vector(id, &vector);
        self.model.insert(id.into(), vector);
    }

    pub fn store_vector(&mut self, id: &str, vector: &[f32]) {
        let stored = self.try_store(id, vector, format!("text of {id}"));
        assert!(matches!(&stored[..], [(_, Ok(Reply::Stored(_)))]), "{stored:?}");
    }

    /// To store an episode.
    pub fn request(&self, id: &str, vector: &[f32], text: String) -> StoreRequest {
        StoreRequest {
            space: self.space,
            episode: Episode {
                id: id.to_owned().into(),
                vector: blob(vector),
                text: text.into(),
                happened_at_us: Some(self.tickets as i64),
                confidence: Confidence::CERTAIN,
                metadata: format!("{{\"n\": {}}}", self.tickets % 10).into(),
                thread: Bytes::new(),
                links: vec![],
            },
            key: Bytes::new(),
            dedup: false,
            ttl: Ttl::Space,
            priority: Priority::Normal,
            durability: Durability::Disk,
            writer_uid: 0,
        }
    }

    pub fn try_store(&mut self, id: &str, vector: &[f32], text: String) -> Answers {
        let ticket = self.ticket();
        let request = self.request(id, vector, text);
        match self.shard.store(ticket, &request) {
            Ok(None) => self.answers(),
            Ok(Some(reply)) => vec![(ticket, Ok(reply))],
            Err(refusal) => vec![(ticket, Err(refusal))],
        }
    }

    pub fn forget(&mut self, id: &str) {
        let ticket = self.ticket();
        self.shard.forget(ticket, self.space, id.as_bytes(), Durability::Disk, 0).unwrap();
        let existed = self.model.remove(id).is_some();
        match &self.answers()[..] {
            [(_, Ok(Reply::Forgotten { existed: got, .. }))] => assert_eq!(*got, existed),
            other => panic!("{other:?}"),
        }
    }

    /// Does one unit of work; the answers it brought, and whether there may be more.
    pub fn work(&mut self) -> (Answers, bool) {
        let mut effects = Vec::new();
        let advanced = self.shard.advance(false, &mut effects);
        self.shard.pump();
        self.shard.poll(&mut effects);
        (answers(effects), advanced != Advanced::Idle)
    }

    /// Works until nothing is left to do; what an operator is told meanwhile.
    pub fn settle(&mut self, is_quiet: bool) -> Vec<Notice> {
        let mut effects = Vec::new();
        for unit in 0.. {
            let advanced = self.shard.advance(is_quiet, &mut effects);
            self.shard.pump();
            self.shard.poll(&mut effects);
            if advanced == Advanced::Idle && self.shard.is_idle() {
                break;
            }
            assert!(unit < 1_000_000, "it never ends: {:?}", self.shard.consolidation());
        }
        let noticed = effects.into_iter().filter_map(|effect| match effect {
            Effect::Noticed(notice) => Some(notice),
            _ => None,
        });
        noticed.collect()
    }

    /// Asks for a consolidation; the answer.
    pub fn ask(&mut self) -> Result<Reply, Refusal> {
        let ticket = self.ticket();
        self.shard.consolidate(ticket, true).unwrap();
        let answered = (0..1_000_000).map(|_| self.work().0).find(|answers| !answers.is_empty());
        let [(got, answer)] = &answered.expect("it never ends")[..] else { panic!("one answer") };
        assert_eq!(*got, ticket);
        answer.clone()
    }

    /// The columns files, the oldest first.
    pub fn columns(&self) -> Vec<FileId> {
        let files = self.disk.io().files().unwrap().into_iter().map(|(file, _)| file);
        files.filter(|file| file.kind == FileKind::Columns).collect()
    }

    /// Flips a bit of a file. What has it mapped already does not see that.
    pub fn flip(&self, file: FileId, at: usize) {
        self.disk.tamper_file(file, |bytes| bytes.as_mut().unwrap()[at] ^= 1);
    }

    /// Consolidates everything, doing `meanwhile` between the units of work.
    pub fn consolidate(&mut self, meanwhile: impl FnMut(&mut Self, usize)) {
        self.consolidate_as(true, meanwhile);
    }

    /// Consolidates the tail.
    pub fn consolidate_new(&mut self) {
        self.consolidate_as(false, |_, _| {});
    }

    pub fn consolidate_as(
        &mut self,
        merges_all: bool,
        mut meanwhile: impl FnMut(&mut Self, usize),
    ) {
        let ticket = self.ticket();
        self.shard.consolidate(ticket, merges_all).unwrap();
        for unit in 0.. {
            let (answers, _) = self.work();
            match &answers[..] {
                [] => {}
                [(got, Ok(Reply::Consolidated))] => {
                    assert_eq!(*got, ticket);
                    break;
                }
                other => panic!("{other:?}"),
            }
            meanwhile(self, unit);
            assert!(unit < 1_000_000, "it never ends: {:?}", self.shard.consolidation());
        }
    }

    pub fn restart(self) -> Self {
        drop(self.shard);
        self.disk.crash();
        let (shard, _) = Shard::open(self.disk.io(), &self.settings, &|_| {}).unwrap();
        assert_eq!(shard.verify(), Vec::<String>::new());
        Self { shard, ..self }
    }

    /// As [`restart`](Self::restart) on a disk that was tampered with.
    pub fn reopen(self) -> Self {
        let (shard, _) = Shard::open(self.disk.io(), &self.settings, &|_| {}).unwrap();
        Self { shard, ..self }
    }

    pub fn recall_as(&mut self, vector: &[f32], k: usize, effort: Effort) -> Vec<Hit> {
        self.recall_with(vector, k, effort, Conditions::default())
    }

    pub fn recall_with(
        &mut self,
        vector: &[f32],
        k: usize,
        effort: Effort,
        conditions: Conditions,
    ) -> Vec<Hit> {
        let (_, settings) = self.shard.space_named("s").unwrap();
        let request = RecallRequest {
            space: self.space,
            k,
            cue: cue(settings, &[blob(vector)]).unwrap(),
            conditions,
            effort,
            fields: Fields { why: true, ..Fields::default() },
            bytes_max: usize::MAX,
        };
        let mut recall = self.shard.recall(request).unwrap();
        while !self.shard.recall_step(&mut recall, 1 << 16).unwrap() {}
        self.shard.recall_finish(recall).unwrap()
    }

    /// Share of the ten nearest that usual recalls find, over some queries.
    pub fn recall_at_ten(&mut self, queries: usize) -> f64 {
        let mut found = 0;
        for _ in 0..queries {
            let query = self.vector();
            let exact = ids(&self.recall_as(&query, 10, Effort::Exact));
            let usual = ids(&self.recall_as(&query, 10, Effort::Usual));
            assert_eq!(usual.len(), 10);
            found += usual.iter().filter(|id| exact.contains(id)).count();
        }
        found as f64 / (10 * queries) as f64
    }

    /// Everything that lives, and nothing else, is there.
    pub fn check(&mut self) {
        assert_eq!(self.shard.verify(), Vec::<String>::new());
        let episodes = self.shard.space_stats(self.space).unwrap().episodes;
        assert_eq!(episodes, self.model.len() as u64);
        let fields = Fields { vector: true, ..Fields::default() };
        for (id, vector) in &self.model {
            let found = self.shard.get(self.space, id.as_bytes(), fields).unwrap();
            assert_eq!(found.unwrap_or_else(|| panic!("{id}")).vector.unwrap(), blob(vector));
        }
    }
}

pub fn answers(effects: Vec<Effect>) -> Answers {
    let answers = effects.into_iter().filter_map(|effect| match effect {
        Effect::Answer { ticket, result } => Some((ticket, result)),
        Effect::Committed { .. } | Effect::Noticed(_) => None,
    });
    answers.collect()
}

pub fn blob(vector: &[f32]) -> Bytes {
    vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>().into()
}

pub fn ids(hits: &[Hit]) -> Vec<String> {
    hits.iter().map(|hit| String::from_utf8(hit.episode.id.to_vec()).unwrap()).collect()
}

/// The columns of the one section of a columns file.
pub fn columns_of(disk: &MemoryDisk, file: FileId) -> Vec<ColumnEntry> {
    let mut found = None;
    disk.duplicate().tamper_file(file, |bytes| {
        let bytes = bytes.as_ref().unwrap();
        let sectors = (0..bytes.len() / 4096).rev().map(|nth| nth * 4096);
        let mut begins = sectors.filter(|at| bytes[*at..].starts_with(b"ENGRAMCD"));
        let directory_at = begins.next().unwrap();
        let (crc, directory_bytes) = (bytes.last_chunk().unwrap(), bytes.len() - directory_at);
        let place = ColumnsPlace {
            directory_offset: directory_at as u64,
            directory_bytes: directory_bytes as u64,
            directory_crc: u32::from_le_bytes(*crc),
        };
        let directory = ColumnsDirectory::decode(bytes, &place, ([1; 16], 0, file.number));
        found = Some(directory.unwrap().sections.remove(0).columns);
    });
    found.unwrap()
}
