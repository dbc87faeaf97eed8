//! A shard that consolidates: what is found before, during and after, and after a restart.

use std::collections::BTreeMap;

use bytes::Bytes;
use engram_shards::episode::{
    CodeBits, Conditions, Confidence, Durability, Effort, Episode, Fields, Hit, Metric, Priority,
    RecallRequest, Refusal, SpaceNumber, SpaceSettings, StoreRequest, Tier,
};
use engram_shards::format::FileKind;
use engram_shards::io::{Io, MemoryDisk, MemoryIo, Random, WriteFault};
use engram_shards::limits::SEGMENT_BYTES_MIN;
use engram_shards::log::{LogIdentity, LogSettings, RecoverySettings};
use engram_shards::recall::cue;
use engram_shards::shard::{
    Advanced, ConsolidationSettings, Effect, Reply, Shard, ShardSettings, Ticket,
};

const DIMENSIONS: u32 = 96;

/// What was answered.
type Answers = Vec<(Ticket, Result<Reply, Refusal>)>;

struct Bench {
    disk: MemoryDisk,
    shard: Shard<MemoryIo>,
    space: SpaceNumber,
    random: Random,
    tickets: u64,
    /// What lives, by id: the vector.
    model: BTreeMap<String, Vec<f32>>,
}

fn settings() -> ShardSettings {
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
        consolidation: ConsolidationSettings {
            rows_idle: u64::MAX,
            rows_forced: u64::MAX,
            ..ConsolidationSettings::default()
        },
    }
}

impl Bench {
    fn new(metric: Metric) -> Self {
        Self::with_codes(metric, CodeBits::One)
    }

    fn with_codes(metric: Metric, codes: CodeBits) -> Self {
        let disk = MemoryDisk::default();
        let (shard, _) = Shard::open(disk.io(), &settings(), &|_| {}).unwrap();
        let (space, random, model) = (SpaceNumber(1), Random::new(7), BTreeMap::new());
        let mut bench = Self { disk, shard, space, random, tickets: 0, model };
        bench.create("s", metric, codes);
        bench
    }

    fn create(&mut self, name: &str, metric: Metric, codes: CodeBits) -> SpaceNumber {
        let ticket = self.ticket();
        let settings = SpaceSettings {
            name: name.into(),
            dimensions: DIMENSIONS,
            metric,
            codes,
            model: "m".into(),
            shards: 1,
        };
        self.shard.create_space(ticket, None, &settings, 0).unwrap();
        match &self.answers()[..] {
            [(_, Ok(Reply::SpaceCreated { space }))] => *space,
            other => panic!("{other:?}"),
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    fn answers(&mut self) -> Answers {
        let mut effects = Vec::new();
        self.shard.pump();
        self.shard.poll(&mut effects);
        answers(effects)
    }

    /// A point near one of a few centres, as embeddings are.
    fn vector(&mut self) -> Vec<f32> {
        let centre = self.random.below(12);
        let mut around = Random::new(centre + 100);
        let uniform = |random: &mut Random| random.below(2001) as f32 / 1000.0 - 1.0;
        (0..DIMENSIONS).map(|_| 1.5 * uniform(&mut around) + uniform(&mut self.random)).collect()
    }

    fn store(&mut self, id: &str) {
        let vector = self.vector();
        self.store_vector(id, &vector);
        self.model.insert(id.into(), vector);
    }

    fn store_vector(&mut self, id: &str, vector: &[f32]) {
        let ticket = self.ticket();
        let request = StoreRequest {
            space: self.space,
            episode: Episode {
                id: id.to_owned().into(),
                vector: blob(vector),
                text: format!("text of {id}").into(),
                happened_at_us: Some(self.tickets as i64),
                confidence: Confidence::CERTAIN,
                metadata: format!("{{\"n\": {}}}", self.tickets % 10).into(),
                thread: Bytes::new(),
                links: vec![],
            },
            key: Bytes::new(),
            priority: Priority::Normal,
            durability: Durability::Disk,
            writer_uid: 0,
        };
        assert_eq!(self.shard.store(ticket, &request), Ok(None));
        assert!(matches!(&self.answers()[..], [(_, Ok(Reply::Stored(_)))]));
    }

    fn forget(&mut self, id: &str) {
        let ticket = self.ticket();
        self.shard.forget(ticket, self.space, id.as_bytes(), Durability::Disk, 0).unwrap();
        let existed = self.model.remove(id).is_some();
        match &self.answers()[..] {
            [(_, Ok(Reply::Forgotten { existed: got, .. }))] => assert_eq!(*got, existed),
            other => panic!("{other:?}"),
        }
    }

    /// Does one unit of work; the answers it brought, and whether there may be more.
    fn work(&mut self) -> (Answers, bool) {
        let mut effects = Vec::new();
        let advanced = self.shard.advance(false, &mut effects);
        self.shard.pump();
        self.shard.poll(&mut effects);
        (answers(effects), advanced != Advanced::Idle)
    }

    /// Consolidates everything, doing `meanwhile` between the units of work.
    fn consolidate(&mut self, meanwhile: impl FnMut(&mut Self, usize)) {
        self.consolidate_as(true, meanwhile);
    }

    /// Consolidates the tail.
    fn consolidate_new(&mut self) {
        self.consolidate_as(false, |_, _| {});
    }

    fn consolidate_as(&mut self, merges_all: bool, mut meanwhile: impl FnMut(&mut Self, usize)) {
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

    fn restart(self) -> Self {
        drop(self.shard);
        self.disk.crash();
        let (shard, _) = Shard::open(self.disk.io(), &settings(), &|_| {}).unwrap();
        assert_eq!(shard.verify(), Vec::<String>::new());
        Self { shard, ..self }
    }

    fn recall_as(&mut self, vector: &[f32], k: usize, effort: Effort) -> Vec<Hit> {
        self.recall_with(vector, k, effort, Conditions::default())
    }

    fn recall_with(
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
    fn recall_at_ten(&mut self, queries: usize) -> f64 {
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
    fn check(&mut self) {
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

fn answers(effects: Vec<Effect>) -> Answers {
    let answers = effects.into_iter().filter_map(|effect| match effect {
        Effect::Answer { ticket, result } => Some((ticket, result)),
        Effect::Committed { .. } => None,
    });
    answers.collect()
}

fn blob(vector: &[f32]) -> Bytes {
    vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>().into()
}

fn ids(hits: &[Hit]) -> Vec<String> {
    hits.iter().map(|hit| String::from_utf8(hit.episode.id.to_vec()).unwrap()).collect()
}

#[test]
fn consolidated_episodes_are_found_before_and_after_a_restart() {
    for metric in [Metric::Cosine, Metric::L2, Metric::Dot] {
        let mut bench = Bench::new(metric);
        (0..3000).for_each(|nth| bench.store(&format!("e{nth}")));
        bench.forget("e17");
        bench.store("e18");
        bench.consolidate(|_, _| {});
        bench.check();
        let (stats, failure) = bench.shard.consolidation();
        assert_eq!((stats.published, stats.files, stats.rows, failure), (1, 1, 2999, None));
        let recall = bench.recall_at_ten(100);
        assert!(recall >= 0.95, "{metric:?}: {recall}");
        let query = bench.vector();
        let hits = bench.recall_as(&query, 10, Effort::Usual);
        assert!(hits.iter().all(|hit| hit.why.unwrap().tier == Tier::Graph), "{hits:?}");

        let mut bench = bench.restart();
        bench.check();
        let again = bench.recall_as(&query, 10, Effort::Usual);
        assert_eq!(ids(&again), ids(&hits));
        bench.store("new");
        bench.forget("e18");
        let mut bench = bench.restart();
        bench.check();
        bench.consolidate(|_, _| {});
        bench.check();
        assert_eq!(bench.shard.consolidation().0.files, 1);
    }
}

#[test]
fn an_acknowledged_episode_is_found_at_once_while_others_are_consolidated() {
    let mut bench = Bench::new(Metric::Cosine);
    (0..1500).for_each(|nth| bench.store(&format!("e{nth}")));
    let mut stored = 0;
    bench.consolidate(|bench, unit| {
        if unit.is_multiple_of(3) {
            let id = format!("n{stored}");
            bench.store(&id);
            let vector = bench.model[&id].clone();
            let hits = bench.recall_as(&vector, 1, Effort::Usual);
            assert_eq!(ids(&hits), [id]);
            stored += 1;
        }
        if unit.is_multiple_of(7) {
            bench.forget(&format!("e{}", unit % 1500));
        }
        if unit.is_multiple_of(11) {
            let id = format!("e{}", (unit * 31) % 1500);
            bench.store(&id);
        }
    });
    assert!(stored > 50, "{stored}");
    bench.check();
    let mut bench = bench.restart();
    bench.check();
    let recall = bench.recall_at_ten(50);
    assert!(recall >= 0.95, "{recall}");
}

#[test]
fn conditions_never_cost_a_result() {
    let mut bench = Bench::new(Metric::Cosine);
    (0..6000).for_each(|nth| bench.store(&format!("e{nth}")));
    bench.consolidate(|_, _| {});
    (0..700).for_each(|nth| bench.store(&format!("t{nth}")));
    let last = bench.tickets as i64;
    for share in [1, 2, 5, 20, 100, 1000, 4000] {
        let conditions =
            Conditions { since_us: Some(last - last / share), ..Conditions::default() };
        let query = bench.vector();
        let exact = bench.recall_with(&query, 20, Effort::Exact, conditions.clone());
        let usual = bench.recall_with(&query, 20, Effort::Usual, conditions);
        assert_eq!(usual.len(), exact.len(), "one in {share}");
        let exact = ids(&exact);
        let missed = ids(&usual).iter().filter(|id| !exact.contains(id)).count();
        assert!(missed <= 3, "one in {share}: {missed} of {}", usual.len());
    }
}

#[test]
fn codes_of_any_width_are_found_by_and_stay_what_they_are() {
    let mut compared = Vec::new();
    // Around a centre these points lie in all directions alike, as real ones do not.
    for (codes, least) in CodeBits::ALL.into_iter().zip([0.7, 0.8, 0.95]) {
        let mut bench = Bench::with_codes(Metric::Cosine, codes);
        (0..6000).for_each(|nth| bench.store(&format!("e{nth}")));
        while bench.work().1 {}
        let recall = bench.recall_at_ten(100);
        assert!(recall >= least, "{codes:?}: {recall}");
        let query = bench.vector();
        let why = bench.recall_as(&query, 10, Effort::Usual)[0].why.unwrap();
        assert_eq!(why.tier, Tier::Codes);
        compared.push(why.rows_compared);

        bench.consolidate(|_, _| {});
        let mut bench = bench.restart();
        assert_eq!(bench.shard.space_named("s").unwrap().1.codes, codes);
        bench.check();
        let last = bench.tickets as i64;
        let conditions =
            Conditions { since_us: Some(last - 1000), until_us: None, ..Conditions::default() };
        let exact = bench.recall_with(&query, 10, Effort::Exact, conditions.clone());
        let usual = bench.recall_with(&query, 10, Effort::Usual, conditions);
        let missed = ids(&usual).iter().filter(|id| !ids(&exact).contains(id)).count();
        assert!(usual.len() == 10 && missed <= 1, "{codes:?}: {missed}");
        // What was consolidated with these codes is consolidated again.
        (0..100).for_each(|nth| bench.store(&format!("e{nth}")));
        bench.consolidate(|_, _| {});
        bench.check();
    }
    assert!(compared.is_sorted_by(|wide, narrow| wide > narrow), "{compared:?}");
}

#[test]
fn the_log_is_let_go_and_old_files_are_gone() {
    let mut bench = Bench::new(Metric::Cosine);
    for round in 0..3 {
        // More than two segments.
        (0..24_000).for_each(|nth| bench.store(&format!("e{}", nth % 2000)));
        bench.consolidate(|_, _| {});
        let mut io = bench.disk.io();
        let segments = io.segments().unwrap();
        assert!(segments.len() <= 2, "{segments:?}");
        let kinds: Vec<_> = io.files().unwrap().into_iter().map(|(file, _)| file.kind).collect();
        assert_eq!(kinds, [FileKind::Columns, FileKind::State], "round {round}");
    }
    let mut bench = bench.restart();
    bench.check();
}

#[test]
fn what_is_erased_leaves_the_columns_too() {
    let mut bench = Bench::new(Metric::Cosine);
    (0..1200).for_each(|nth| bench.store(&format!("e{nth}")));
    bench.consolidate(|_, _| {});
    let ticket = bench.ticket();
    bench.shard.erase(ticket, bench.space, &Bytes::from("e77"), 0).unwrap();
    bench.model.remove("e77");
    let mut answered = bench.answers();
    for _ in 0..1_000_000 {
        if !answered.is_empty() {
            break;
        }
        answered = bench.work().0;
    }
    match &answered[..] {
        [(_, Ok(Reply::Erased { existed: true, .. }))] => {}
        other => panic!("{other:?}"),
    }
    let mut io = bench.disk.io();
    for (file, _) in io.files().unwrap() {
        let mapped = io.map_file(file).unwrap();
        let text = b"text of e77{";
        assert!(!mapped.windows(text.len()).any(|window| window == text), "{file}");
        assert!(
            mapped.windows(12).any(|window| window == b"text of e770")
                || file.kind == FileKind::State
        );
    }
    bench.check();
    let mut bench = bench.restart();
    bench.check();
}

#[test]
fn damage_is_not_copied_into_new_columns() {
    let mut bench = Bench::new(Metric::Cosine);
    (0..100).for_each(|nth| bench.store(&format!("e{nth}")));
    bench.consolidate(|_, _| {});
    let columns = |bench: &Bench| {
        let files = bench.disk.io().files().unwrap().into_iter();
        files.map(|(file, _)| file).find(|file| file.kind == FileKind::Columns).unwrap()
    };
    let file = columns(&bench);
    // In the first column, behind the header page.
    bench.disk.tamper_file(file, |bytes| bytes.as_mut().unwrap()[5000] ^= 1);
    let (shard, _) = Shard::open(bench.disk.io(), &settings(), &|_| {}).unwrap();
    let mut bench = Bench { shard, ..bench };
    bench.store("new");
    let ticket = bench.ticket();
    bench.shard.consolidate(ticket, true).unwrap();
    let answered = (0..1_000_000).map(|_| bench.work().0).find(|answers| !answers.is_empty());
    assert!(matches!(&answered.unwrap()[..], [(_, Err(Refusal::Busy { .. }))]));
    let (stats, failure) = bench.shard.consolidation();
    assert_eq!((stats.published, columns(&bench)), (0, file));
    assert!(failure.unwrap().contains("Vectors of memory space #1 is damaged"), "{failure:?}");
    assert!(bench.shard.get(bench.space, b"new", Fields::default()).unwrap().is_some());
}

#[test]
fn a_latched_log_ends_the_wait_for_a_consolidation() {
    let mut bench = Bench::new(Metric::Cosine);
    (0..10).for_each(|nth| bench.store(&format!("e{nth}")));
    let ticket = bench.ticket();
    bench.shard.consolidate(ticket, true).unwrap();
    bench.disk.fail_next(WriteFault::Manifest);
    let answered = (0..1_000_000).map(|_| bench.work().0).find(|answers| !answers.is_empty());
    match &answered.unwrap()[..] {
        [(got, Err(Refusal::ReadOnly(reason)))] => {
            assert_eq!(*got, ticket);
            assert!(reason.contains("manifest"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert!(bench.shard.consolidate(ticket, true).is_err());
    bench.restart().check();
}

#[test]
fn spaces_come_and_go_between_and_during_consolidations() {
    let mut bench = Bench::new(Metric::Cosine);
    (0..1100).for_each(|nth| bench.store(&format!("e{nth}")));
    let other = bench.create("other", Metric::L2, CodeBits::Four);
    let own = std::mem::replace(&mut bench.space, other);
    let vector = bench.vector();
    (0..1100).for_each(|nth| bench.store_vector(&format!("o{nth}"), &vector));
    bench.space = own;
    bench.consolidate(|bench, unit| {
        if unit == 40 {
            let ticket = bench.ticket();
            bench.shard.drop_space(ticket, other, 0).unwrap();
            assert!(matches!(&bench.answers()[..], [(_, Ok(Reply::SpaceDropped))]));
        }
    });
    bench.check();
    let mut bench = bench.restart();
    bench.check();
    assert!(bench.shard.space_named("other").is_err());
    let third = bench.create("third", Metric::Dot, CodeBits::Two);
    assert!(third > other);
    bench.consolidate(|_, _| {});
    let mut bench = bench.restart();
    bench.check();
    assert_eq!(bench.shard.space_named("third").unwrap().0, third);
    assert_eq!(bench.shard.consolidation().0.rows, 1100);
}

#[test]
fn a_large_tail_is_searched_by_its_buckets() {
    for metric in [Metric::Cosine, Metric::L2, Metric::Dot] {
        let mut bench = Bench::new(metric);
        (0..20_000).for_each(|nth| bench.store(&format!("e{nth}")));
        while bench.work().1 {}
        (0..500).for_each(|nth| bench.store(&format!("late{nth}")));
        (0..500).for_each(|nth| bench.forget(&format!("e{}", nth * 7)));
        let recall = bench.recall_at_ten(100);
        // Around a centre these points lie in all directions alike, as real ones do not.
        assert!(recall >= 0.9, "{metric:?}: {recall}");
        let query = bench.vector();
        let why = bench.recall_as(&query, 10, Effort::Usual)[0].why.unwrap();
        assert_eq!(why.tier, Tier::Codes);
        assert!(why.rows_estimated < 19_000 && why.rows_compared < 2000, "{why:?}");
        for nth in 0..500 {
            let id = format!("late{nth}");
            let vector = bench.model[&id].clone();
            if metric != Metric::Dot {
                assert_eq!(ids(&bench.recall_as(&vector, 1, Effort::Usual)), [id]);
            }
        }
        // A frozen tail keeps its buckets while its rows are consolidated.
        bench.consolidate(|bench, unit| {
            if unit.is_multiple_of(2000) {
                bench.recall_at_ten(1);
            }
        });
        bench.check();
    }
}

#[test]
fn the_beam_is_what_the_section_was_measured_to_need() {
    for metric in [Metric::Cosine, Metric::L2, Metric::Dot] {
        let mut bench = Bench::new(metric);
        (0..12_000).for_each(|nth| bench.store(&format!("e{nth}")));
        bench.consolidate(|_, _| {});
        let query = bench.vector();
        let beams = |bench: &mut Bench| {
            [0.5, 0.9, 0.98].map(|target| {
                let why = bench.recall_as(&query, 10, Effort::Target(target))[0].why.unwrap();
                assert_eq!(why.tier, Tier::Graph);
                why.beam
            })
        };
        let measured = beams(&mut bench);
        assert!(measured.is_sorted() && measured[0] < measured[2], "{metric:?}: {measured:?}");
        let recall = bench.recall_at_ten(100);
        assert!(recall >= 0.96, "{metric:?}: {recall}");
        let mut bench = bench.restart();
        assert_eq!(beams(&mut bench), measured);
        // It stays with a section that the next consolidation does not touch.
        (0..50).for_each(|nth| bench.store(&format!("late{nth}")));
        bench.consolidate_new();
        assert_eq!(beams(&mut bench), measured);
        assert_eq!(beams(&mut bench.restart()), measured);
    }
}

#[test]
fn questions_unlike_the_episodes_widen_the_beam() {
    let mut bench = Bench::new(Metric::Cosine);
    (0..12_000).for_each(|nth| bench.store(&format!("e{nth}")));
    bench.consolidate(|_, _| {});
    let between = |bench: &mut Bench| {
        let (one, other) = (bench.vector(), bench.vector());
        one.iter().zip(&other).map(|(one, other)| one + other).collect::<Vec<_>>()
    };
    let questions: Vec<_> = (0..64).map(|_| between(&mut bench)).collect();
    let beam = |bench: &mut Bench| {
        let hits = bench.recall_as(&questions[0], 10, Effort::Target(0.98));
        hits[0].why.unwrap().beam
    };
    let of_rows = beam(&mut bench);
    questions.iter().for_each(|question| drop(bench.recall_as(question, 10, Effort::Usual)));
    assert_eq!(beam(&mut bench), of_rows, "nothing is measured while there is other work");
    while bench.shard.advance(true, &mut Vec::new()) != Advanced::Idle {}
    let of_questions = beam(&mut bench);
    assert!(of_questions > of_rows, "{of_questions} {of_rows}");
    let found = [of_rows, of_questions].map(|beam| {
        let found = questions.iter().map(|question| {
            let exact = ids(&bench.recall_as(question, 10, Effort::Exact));
            let hits = ids(&bench.recall_as(question, 10, Effort::Beam(beam)));
            hits.iter().filter(|id| exact.contains(id)).count()
        });
        found.sum::<usize>()
    });
    assert!(found[1] > found[0], "{found:?} of 640, with {of_rows}, {of_questions}");
}

#[test]
fn a_tail_of_which_little_lives_answers_with_all_of_it() {
    let mut bench = Bench::new(Metric::Cosine);
    (0..20_000).for_each(|nth| bench.store(&format!("e{nth}")));
    while bench.work().1 {}
    (0..20_000).filter(|nth| nth % 1000 != 7).for_each(|nth| bench.forget(&format!("e{nth}")));
    let query = bench.vector();
    for k in [1, 10, 20, 50] {
        let hits = bench.recall_as(&query, k, Effort::Usual);
        assert_eq!(hits.len(), k.min(20));
        if k >= 20 {
            assert_eq!(ids(&hits), ids(&bench.recall_as(&query, k, Effort::Exact)));
        }
    }
}
