//! Recalls with conditions, over tails and sections: never fewer than there are, and none that the
//! conditions do not admit.

mod bench;

use std::collections::BTreeMap;
use std::sync::Arc;

use bench::{blob, columns_of, settings};
use bytes::Bytes;
use engram_shards::episode::{
    Conditions, Confidence, Durability, Effort, Episode, Fields, Hit, Priority, RecallRequest,
    Refusal, SpaceNumber, SpaceSettings, StoreRequest, Tier, Ttl,
};
use engram_shards::filter::Filter;
use engram_shards::format::columns::{ColumnEntry, ColumnKind};
use engram_shards::format::{FileId, FileKind};
use engram_shards::io::{Io, MemoryDisk, MemoryIo, Random};
use engram_shards::recall::cue;
use engram_shards::shard::{Effect, Reply, Shard, Ticket};
use engram_shards::trust::{Role, Trust};

const DIMENSIONS: usize = 64;

/// What conditions look at.
struct Facts {
    happened_at_us: i64,
    confidence: Confidence,
    metadata: String,
}

struct Bench {
    disk: MemoryDisk,
    shard: Shard<MemoryIo>,
    random: Random,
    tickets: u64,
    /// What lives, by id.
    model: BTreeMap<String, Facts>,
}

const SPACE: SpaceNumber = SpaceNumber(1);
const TIERS: [Tier; 4] = [Tier::Exact, Tier::Gather, Tier::Codes, Tier::Graph];

impl Bench {
    fn new() -> Self {
        let disk = MemoryDisk::default();
        let (shard, _) = Shard::open(disk.io(), &settings(), &|_| {}).unwrap();
        let (random, model) = (Random::new(11), BTreeMap::new());
        let mut bench = Self { disk, shard, random, tickets: 0, model };
        let space = SpaceSettings::usual("s", DIMENSIONS as u32);
        let ticket = bench.ticket();
        bench.shard.create_space(ticket, None, &space, 0).unwrap();
        bench.settle();
        bench
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    fn settle(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.shard.pump();
        self.shard.poll(&mut effects);
        effects
    }

    /// A point near one of a few centres, as embeddings are.
    fn vector(&mut self) -> Vec<f32> {
        let mut around = Random::new(self.random.below(12) + 100);
        let uniform = |random: &mut Random| random.below(2001) as f32 / 1000.0 - 1.0;
        (0..DIMENSIONS).map(|_| 1.5 * uniform(&mut around) + uniform(&mut self.random)).collect()
    }

    /// Metadata with everything that an index may stumble over.
    fn metadata(&mut self) -> String {
        let random = &mut self.random;
        let mut fields = vec![format!("\"n\":{}", random.below(10_000))];
        let mut add = |chance: u32, random: &mut Random, field: String| {
            if random.chance(chance) {
                fields.push(field);
            }
        };
        let pick = |random: &mut Random, of: &[&str]| of[random.index(of.len())].to_owned();
        let lang = pick(random, &["\"en\"", "\"de\"", "\"fr\"", "null", "7"]);
        add(900_000, random, format!("\"lang\":{lang}"));
        let tags: Vec<_> =
            (0..random.below(4)).map(|_| format!("\"t{}\"", random.below(20))).collect();
        add(700_000, random, format!("\"tags\":[{}]", tags.join(",")));
        let year = 2000 + random.below(25);
        add(500_000, random, format!("\"at\":{{\"year\":{year},\"half\":{}.5}}", year % 7));
        let long = "x".repeat(60 + random.index(10));
        add(20_000, random, format!("\"lang\":\"{long}\""));
        let big = u64::MAX - random.below(3);
        add(10_000, random, format!("\"big\":{big}"));
        let rare = random.below(4);
        add(2_000, random, format!("\"rare\":{rare}"));
        let odd = random.below(400);
        add(3_000, random, format!("\"f{odd}\":true"));
        // A few write most, and many write little.
        let (writer, source) = (random.below(9) * random.below(9), random.below(3));
        add(800_000, random, format!("\"writer\":\"w{writer}\""));
        add(500_000, random, format!("\"source\":\"s{source}\""));
        match random.below(50) {
            0 => String::new(),
            _ => format!("{{{}}}", fields.join(",")),
        }
    }

    fn store(&mut self, id: String) {
        let vector = self.vector();
        let point = self.random.below(1001) as f32 / 1000.0;
        let low = point * (1.0 - self.random.below(4) as f32 / 16.0);
        let facts = Facts {
            happened_at_us: self.random.below(1_000_000) as i64,
            confidence: Confidence::interval(point, low, 1.0).unwrap(),
            metadata: self.metadata(),
        };
        let request = StoreRequest {
            space: SPACE,
            episode: Episode {
                id: id.clone().into(),
                vector: blob(&vector),
                text: Bytes::new(),
                happened_at_us: Some(facts.happened_at_us),
                confidence: facts.confidence,
                metadata: facts.metadata.clone().into(),
                thread: Bytes::new(),
                links: vec![],
            },
            key: Bytes::new(),
            dedup: false,
            ttl: Ttl::Space,
            priority: Priority::Normal,
            durability: Durability::Disk,
            writer_uid: 0,
        };
        let ticket = self.ticket();
        self.shard.store(ticket, &request).unwrap();
        self.settle();
        self.model.insert(id, facts);
    }

    fn forget(&mut self, id: &str) {
        let ticket = self.ticket();
        self.shard.forget(ticket, SPACE, id.as_bytes(), Durability::Disk, 0).unwrap();
        self.settle();
        self.model.remove(id);
    }

    fn consolidate(&mut self, merges_all: bool) {
        let ticket = self.ticket();
        self.shard.consolidate(ticket, merges_all).unwrap();
        let is_done = |effects: &[Effect]| {
            let is = |effect: &Effect| {
                matches!(effect, Effect::Answer { result: Ok(Reply::Consolidated), .. })
            };
            effects.iter().any(is)
        };
        loop {
            let mut effects = Vec::new();
            self.shard.advance(false, &mut effects);
            effects.extend(self.settle());
            if is_done(&effects) {
                return;
            }
        }
    }

    fn reopen(self) -> Self {
        drop(self.shard);
        let (shard, _) = Shard::open(self.disk.io(), &settings(), &|_| {}).unwrap();
        Self { shard, ..self }
    }

    /// A tail, a medium section and a large one, with dead rows in each.
    fn filled() -> Self {
        let mut bench = Self::new();
        (0..9000).for_each(|nth| bench.store(format!("a{nth}")));
        bench.consolidate(true);
        (0..2100).for_each(|nth| bench.store(format!("b{nth}")));
        bench.consolidate(false);
        (0..1500).for_each(|nth| bench.store(format!("c{nth}")));
        (0..300).for_each(|nth| bench.store(format!("a{}", nth * 7)));
        (0..200).for_each(|nth| bench.forget(&format!("b{}", nth * 5)));
        (0..90).for_each(|nth| bench.forget(&format!("c{}", nth * 11)));
        assert_eq!(bench.shard.consolidation().0.files, 2);
        bench
    }

    fn comparison(&mut self) -> String {
        let random = &mut self.random;
        let n = random.below(10_000);
        match random.below(16) {
            0 => format!("{{\"n\":{n}}}"),
            1 => format!("{{\"n\":{{\"$lt\":{}}}}}", n / 10),
            2 => format!("{{\"n\":{{\"$gte\":{n},\"$lt\":{}}}}}", n + 30),
            3 => "{\"lang\":\"en\"}".into(),
            4 => "{\"lang\":{\"$nin\":[\"en\",\"de\"]}}".into(),
            5 => "{\"lang\":null}".into(),
            6 => format!("{{\"tags\":\"t{}\"}}", random.below(22)),
            7 => format!("{{\"tags\":{{\"$ne\":\"t{}\"}}}}", random.below(22)),
            8 => format!("{{\"at.year\":{{\"$gt\":{}}}}}", 1999 + random.below(27)),
            9 => "{\"at\":{\"$exists\":false}}".into(),
            10 => format!("{{\"rare\":{{\"$in\":[{},9]}}}}", random.below(5)),
            11 => format!("{{\"big\":{}}}", u64::MAX - random.below(3)),
            12 => format!("{{\"f{}\":true}}", random.below(400)),
            13 => "{\"nowhere\":1}".into(),
            14 => format!("{{\"lang\":\"{}\"}}", "x".repeat(60 + random.index(10))),
            _ => format!("{{\"at.half\":{}.5}}", random.below(8)),
        }
    }

    fn conditions(&mut self) -> Conditions {
        let (one, other) = (self.comparison(), self.comparison());
        let filter = match self.random.below(6) {
            0 => None,
            1 => Some(format!("{{\"$and\":[{one},{other}]}}")),
            2 => Some(format!("{{\"$or\":[{one},{other}]}}")),
            3 => Some(format!("{{\"$not\":{one}}}")),
            _ => Some(one),
        };
        let random = &mut self.random;
        let width = 1_000_000 >> random.below(14);
        let since = random.below(1_000_000 - width + 1) as i64;
        let filter = filter.map(|text| Arc::new(Filter::parse(text.as_bytes()).unwrap()));
        Conditions {
            since_us: random.chance(300_000).then_some(since),
            until_us: random.chance(300_000).then_some(since + width as i64),
            confidence_min: random
                .chance(250_000)
                .then(|| 1.0 - 1.0 / (1 << random.below(10)) as f32),
            filter,
            trust_min: random.chance(300_000).then(|| random.below(128) as f32 / 128.0),
            trust: random.chance(800_000).then(|| any_trust(random)),
            ..Conditions::default()
        }
    }

    fn admits(conditions: &Conditions, facts: &Facts) -> bool {
        let filter = conditions.filter.as_ref();
        conditions.since_us.is_none_or(|since| facts.happened_at_us >= since)
            && conditions.until_us.is_none_or(|until| facts.happened_at_us <= until)
            && conditions.confidence_min.is_none_or(|least| facts.confidence.point >= least)
            && filter.is_none_or(|filter| filter.matches(facts.metadata.as_bytes()))
            && conditions.trust_min.is_none_or(|least| {
                let trust = conditions.trust.as_ref();
                let trust = trust.map_or(1.0, |t| t.of(facts.metadata.as_bytes(), 0).unwrap());
                trust * facts.confidence.low >= least
            })
    }

    fn recall(&mut self, vector: &[f32], effort: Effort, conditions: &Conditions) -> Vec<Hit> {
        self.try_recall(vector, effort, conditions).unwrap()
    }

    fn try_recall(
        &mut self,
        vector: &[f32],
        effort: Effort,
        conditions: &Conditions,
    ) -> Result<Vec<Hit>, Refusal> {
        let (_, settings) = self.shard.space_named("s").unwrap();
        let request = RecallRequest {
            space: SPACE,
            k: 20,
            cue: cue(settings, &[blob(vector)]).unwrap(),
            conditions: conditions.clone(),
            effort,
            fields: Fields { why: true, ..Fields::default() },
            bytes_max: usize::MAX,
        };
        let mut recall = self.shard.recall(request).unwrap();
        while !self.shard.recall_step(&mut recall, 1 << 16).unwrap() {}
        self.shard.recall_finish(recall)
    }
}

/// Who is trusted, how much: a power of ½, so that no product is rounded.
fn any_trust(random: &mut Random) -> Arc<Trust> {
    let mut trust = Trust::default();
    let degree = |random: &mut Random| match random.below(5) {
        0 => 0.0,
        halvings => 1.0 / (1 << (halvings - 1)) as f32,
    };
    for nth in 0..64 {
        let (role, name) = if nth % 9 == 0 { (Role::Source, "s") } else { (Role::Writer, "w") };
        if random.chance(250_000) {
            // Where a name comes twice, the second entry is refused.
            trust.add(role, format!("{name}{}", nth / 9 * (nth % 9)), degree(random)).ok();
        }
    }
    if random.chance(500_000) {
        trust.set_others(degree(random)).unwrap();
    }
    Arc::new(trust)
}

fn id(hit: &Hit) -> String {
    String::from_utf8(hit.episode.id.to_vec()).unwrap()
}

#[test]
fn as_many_are_found_as_there_are() {
    let mut bench = Bench::filled();
    let (mut found, mut wanted) = (0, 0);
    let mut tiers = [0; 4];
    for _ in 0..1200 {
        let (conditions, vector) = (bench.conditions(), bench.vector());
        let admitted = |facts: &&Facts| Bench::admits(&conditions, facts);
        let matches = bench.model.values().filter(admitted).count();
        let exact = bench.recall(&vector, Effort::Exact, &conditions);
        let usual = bench.recall(&vector, Effort::Usual, &conditions);
        for hits in [&exact, &usual] {
            assert_eq!(hits.len(), matches.min(20), "{conditions:?}");
            let ids: std::collections::BTreeSet<_> = hits.iter().map(id).collect();
            assert_eq!(ids.len(), hits.len(), "each once: {conditions:?}");
            assert!(ids.iter().all(|id| Bench::admits(&conditions, &bench.model[id])));
        }
        let exact: Vec<_> = exact.iter().map(id).collect();
        found += usual.iter().filter(|hit| exact.contains(&id(hit))).count();
        wanted += exact.len();
        for hit in usual {
            let tier = hit.why.unwrap().tier;
            let nth = TIERS.iter().position(|own| *own == tier);
            tiers[nth.unwrap()] += 1;
        }
    }
    let recall = found as f64 / wanted as f64;
    assert!(recall > 0.95, "{recall}");
    assert!(tiers.iter().all(|hits| *hits > 100), "every method has its turn: {tiers:?}");
}

/// The first columns file, and the columns of its one section.
fn columns(disk: &MemoryDisk) -> (FileId, Vec<ColumnEntry>) {
    let files = disk.io().files().unwrap();
    let file = files.into_iter().find(|(file, _)| file.kind == FileKind::Columns).unwrap().0;
    (file, columns_of(disk, file))
}

impl Bench {
    /// The same store with a damaged file, opened.
    fn damaged(&self, file: FileId, damage: impl FnOnce(&mut [u8])) -> Option<Self> {
        let disk = self.disk.duplicate();
        disk.tamper_file(file, |bytes| damage(bytes.as_mut().unwrap()));
        let (shard, _) = Shard::open(disk.io(), &settings(), &|_| {}).ok()?;
        let random = Random::new(self.tickets);
        Some(Self { disk, shard, random, tickets: 1 << 40, model: BTreeMap::new() })
    }
}

#[test]
fn what_names_rows_is_not_relied_on_when_it_is_damaged() {
    let bench = Bench::filled();
    let (file, columns) = columns(&bench.disk);
    let mut random = Random::new(5);
    for kind in [ColumnKind::Terms, ColumnKind::TimeOrder, ColumnKind::ConfidenceOrder] {
        let range = &columns.iter().find(|column| column.kind == kind).unwrap().range;
        for _ in 0..4 {
            let at = range.start + random.index(range.len());
            let flip = |bytes: &mut [u8]| bytes[at] ^= 1 << (at % 8);
            let mut damaged = bench.damaged(file, flip).unwrap();
            assert_ne!(damaged.shard.verify(), Vec::<String>::new());
            for _ in 0..60 {
                let (conditions, vector) = (damaged.conditions(), damaged.vector());
                let admitted = |facts: &&Facts| Bench::admits(&conditions, facts);
                let matches = bench.model.values().filter(admitted).count();
                let hits = damaged.recall(&vector, Effort::Usual, &conditions);
                assert_eq!(hits.len(), matches.min(20), "{kind:?} at {at}: {conditions:?}");
                let own = |hit| &bench.model[&id(hit)];
                assert!(hits.iter().all(|hit| Bench::admits(&conditions, own(hit))));
            }
        }
    }
}

#[test]
fn metadata_that_cannot_be_read_is_an_error_where_it_is_wanted() {
    let bench = Bench::filled();
    let (file, columns) = columns(&bench.disk);
    let bodies = columns.iter().find(|column| column.kind == ColumnKind::Bodies).unwrap();
    let (from, to) = (bodies.range.start, bodies.range.end);
    let mut damaged = bench
        .damaged(file, |bytes| {
            (from..to - 5)
                .filter(|at| bytes[*at..].starts_with(b"{\"n\":"))
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|at| bytes[at] = b'?');
        })
        .unwrap();
    let vector = damaged.vector();
    let conditions = |text: &str| Conditions {
        filter: Some(Arc::new(Filter::parse(text.as_bytes()).unwrap())),
        ..Conditions::default()
    };
    let known = conditions(r#"{"at.year":{"$gt":2000}}"#);
    let unknown = conditions(&format!("{{\"lang\":\"{}\"}}", "x".repeat(66)));
    assert_eq!(damaged.recall(&vector, Effort::Usual, &Conditions::default()).len(), 20);
    assert_eq!(damaged.recall(&vector, Effort::Usual, &known).len(), 20, "the terms say it");
    for (effort, conditions) in [(Effort::Exact, &known), (Effort::Usual, &unknown)] {
        let refusal = damaged.try_recall(&vector, effort, conditions).unwrap_err();
        assert_eq!(refusal.code(), "CORRUPT", "{refusal}");
    }
}

#[test]
fn no_damage_brings_a_panic_or_too_many() {
    let bench = Bench::filled();
    let (file, _) = columns(&bench.disk);
    let mut random = Random::new(6);
    for _ in 0..12 {
        let damage = |bytes: &mut [u8]| {
            for _ in 0..4000 {
                let at = 4096 + random.index(bytes.len() - 3 * 4096);
                bytes[at] ^= 1 << random.below(8);
            }
        };
        let Some(mut damaged) = bench.damaged(file, damage) else { continue };
        for _ in 0..60 {
            let (conditions, vector) = (damaged.conditions(), damaged.vector());
            match damaged.try_recall(&vector, Effort::Usual, &conditions) {
                Ok(hits) => assert!(hits.len() <= 20),
                Err(refusal) => assert_eq!(refusal.code(), "CORRUPT", "{refusal}"),
            }
        }
    }
}

#[test]
fn conditions_hold_after_a_restart() {
    let mut bench = Bench::filled().reopen();
    assert_eq!(bench.shard.verify(), Vec::<String>::new());
    for _ in 0..50 {
        let (conditions, vector) = (bench.conditions(), bench.vector());
        let admitted = |facts: &&Facts| Bench::admits(&conditions, facts);
        let matches = bench.model.values().filter(admitted).count();
        let hits = bench.recall(&vector, Effort::Usual, &conditions);
        assert_eq!(hits.len(), matches.min(20), "{conditions:?}");
    }
}
