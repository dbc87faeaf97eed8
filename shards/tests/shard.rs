//! The shard over a disk of memory: what it answers, what it recalls, what a replay rebuilds.

use std::num::NonZero;

use bytes::Bytes;
use engram_shards::arena::CHUNK_BYTES;
use engram_shards::episode::{
    Conditions, Confidence, Durability, Effort, Episode, Fields, Hit, Link, Metric, Outcome,
    Priority, RecallRequest, Refusal, SpaceNumber, SpaceSettings, StoreRequest, Ttl,
};
use engram_shards::io::{MemoryDisk, MemoryIo, WriteFault};
use engram_shards::limits::{SEGMENT_BYTES_MIN, TEXT_BYTES_MAX};
use engram_shards::log::{LogIdentity, LogSettings, RecoverySettings};
use engram_shards::recall::cue;
use engram_shards::shard::{
    Advanced, ConsolidationSettings, Effect, Reply, Shard, ShardSettings, Ticket,
};
use engram_shards::space::{Page, id_hash};
use proptest::prelude::*;

const ALL: Fields = Fields {
    text: true,
    vector: true,
    metadata: true,
    links: true,
    gist_links: true,
    strength: Some(NonZero::<i64>::MAX),
    belief: None,
    why: true,
};

struct Bench {
    disk: MemoryDisk,
    shard: Shard<MemoryIo>,
    tickets: u64,
}

fn settings(memory_bytes_max: u64) -> ShardSettings {
    let identity = LogIdentity {
        store_id: [1; 16],
        shard: 0,
        segment_bytes: 4 * SEGMENT_BYTES_MIN,
        may_be_empty: true,
    };
    ShardSettings {
        identity,
        log: LogSettings::default(),
        recovery: RecoverySettings::default(),
        memory_bytes_max,
        memory_prefault_bytes: 0,
        consolidation: ConsolidationSettings::default(),
    }
}

impl Bench {
    fn new() -> Self {
        Self::with_memory(64 << 20)
    }

    fn with_memory(bytes: u64) -> Self {
        let disk = MemoryDisk::default();
        let (shard, _) = Shard::open(disk.io(), &settings(bytes), &|_| {}).unwrap();
        Self { disk, shard, tickets: 0 }
    }

    /// A crash and a start.
    fn restart(self) -> Self {
        drop(self.shard);
        self.disk.crash();
        let (shard, _) = Shard::open(self.disk.io(), &settings(64 << 20), &|_| {}).unwrap();
        assert_eq!(shard.verify(), Vec::<String>::new());
        Self { shard, disk: self.disk, tickets: self.tickets }
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    fn answers(&mut self) -> Vec<(Ticket, Result<Reply, Refusal>)> {
        let mut effects = Vec::new();
        self.shard.pump();
        self.shard.poll(&mut effects);
        let answers = effects.into_iter().filter_map(|effect| match effect {
            Effect::Answer { ticket, result } => Some((ticket, result)),
            Effect::Committed { .. } | Effect::Noticed(_) => None,
        });
        answers.collect()
    }

    /// Does what nobody waits for.
    fn rest(&mut self) {
        while self.shard.advance(true, &mut Vec::new()) != Advanced::Idle {}
    }

    fn space(&mut self, dimensions: u32, metric: Metric) -> SpaceNumber {
        let ticket = self.ticket();
        let settings =
            SpaceSettings { metric, model: "m".into(), ..SpaceSettings::usual("s", dimensions) };
        self.shard.create_space(ticket, None, &settings, 0).unwrap();
        match &self.answers()[..] {
            [(_, Ok(Reply::SpaceCreated { space }))] => *space,
            other => panic!("{other:?}"),
        }
    }

    fn try_store(&mut self, request: &StoreRequest) -> Result<Reply, Refusal> {
        let ticket = self.ticket();
        if let Some(reply) = self.shard.store(ticket, request)? {
            return Ok(reply);
        }
        let mut answers = self.answers();
        assert_eq!(answers.len(), 1);
        assert_eq!(answers[0].0, ticket);
        answers.remove(0).1
    }

    fn store(&mut self, request: &StoreRequest) -> (u64, Outcome) {
        match self.try_store(request) {
            Ok(Reply::Stored(answer)) => (answer.sequence.0, answer.outcome),
            other => panic!("{other:?}"),
        }
    }

    fn forget(&mut self, space: SpaceNumber, id: &str) -> bool {
        let ticket = self.ticket();
        self.shard.forget(ticket, space, id.as_bytes(), Durability::Disk, 0).unwrap();
        match &self.answers()[..] {
            [(_, Ok(Reply::Forgotten { existed, .. }))] => *existed,
            other => panic!("{other:?}"),
        }
    }

    fn recall(&mut self, request: RecallRequest) -> Vec<Hit> {
        let mut recall = self.shard.recall(request).unwrap();
        while !self.shard.recall_step(&mut recall, 1).unwrap() {}
        self.shard.recall_finish(recall).unwrap()
    }

    fn recall_ids(&mut self, request: RecallRequest) -> Vec<String> {
        self.recall(request).into_iter().map(|hit| text(&hit.episode.id)).collect()
    }

    fn query(&self, space: SpaceNumber, vector: &[f32], k: usize) -> RecallRequest {
        let (_, settings) =
            self.shard.spaces().find(|(number, _)| *number == space).expect("the space exists");
        RecallRequest {
            space,
            k,
            cue: cue(settings, &[blob(vector)]).unwrap(),
            conditions: Conditions::default(),
            effort: Effort::Usual,
            fields: Fields::default(),
            bytes_max: usize::MAX,
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn blob(vector: &[f32]) -> Bytes {
    vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>().into()
}

fn request(space: SpaceNumber, id: &str, vector: &[f32]) -> StoreRequest {
    StoreRequest {
        space,
        episode: Episode {
            id: Bytes::copy_from_slice(id.as_bytes()),
            vector: blob(vector),
            text: Bytes::from(format!("text of {id}")),
            happened_at_us: Some(5),
            confidence: Confidence { point: 0.5, low: 0.25, high: 0.75 },
            metadata: Bytes::from_static(b"{\"kind\":\"note\"}"),
            thread: Bytes::from_static(b"thread"),
            links: vec![Link { target: "other".into(), weight: 0.5, kind: "k".into() }],
        },
        key: Bytes::new(),
        dedup: false,
        ttl: Ttl::Space,
        priority: Priority::Normal,
        durability: Durability::Disk,
        writer_uid: 1000,
    }
}

#[test]
fn everything_given_is_read_back_also_after_a_crash() {
    let mut bench = Bench::new();
    let space = bench.space(3, Metric::Cosine);
    let given = request(space, "e", &[1.0, -2.5, 1e-3]);
    assert_eq!(bench.store(&given), (2, Outcome::Created));
    for _ in 0..2 {
        let read = bench.shard.get(space, b"e", ALL).unwrap().unwrap();
        assert_eq!((read.sequence.0, read.writer_uid), (2, 1000));
        assert_eq!(Episode::from(read), given.episode, "vectors come back bit for bit");
        assert_eq!(bench.shard.get(space, b"x", ALL).unwrap(), None);
        bench = bench.restart();
    }
}

#[test]
fn replacing_and_forgetting_hide_the_old_episode() {
    let mut bench = Bench::new();
    let space = bench.space(2, Metric::Cosine);
    bench.store(&request(space, "a", &[1.0, 0.0]));
    assert_eq!(bench.store(&request(space, "a", &[0.0, 1.0])).1, Outcome::Replaced);
    bench.store(&request(space, "b", &[1.0, 0.1]));
    let query = bench.query(space, &[1.0, 0.0], 5);
    assert_eq!(bench.recall_ids(query.clone()), ["b", "a"]);
    assert!(bench.forget(space, "b"));
    assert!(!bench.forget(space, "b"));
    assert_eq!(bench.recall_ids(query.clone()), ["a"]);
    let mut bench = bench.restart();
    assert_eq!(bench.recall_ids(query), ["a"]);
    assert_eq!(bench.shard.space_stats(space).unwrap().rows_dead, 2);
}

#[test]
fn a_repeated_key_answers_the_same_and_writes_nothing() {
    let mut bench = Bench::new();
    let space = bench.space(2, Metric::Dot);
    let first = StoreRequest { key: "k".into(), ..request(space, "a", &[1.0, 0.0]) };
    let second = StoreRequest { key: "k".into(), ..request(space, "a", &[9.0, 9.0]) };
    assert_eq!(bench.store(&first), (2, Outcome::Created));
    let frames = bench.shard.stats().log.frames;
    assert_eq!(bench.store(&second), (2, Outcome::Existing));
    assert_eq!(bench.shard.stats().log.frames, frames);
    let mut bench = bench.restart();
    assert_eq!(bench.store(&second), (2, Outcome::Existing));
    let read = bench.shard.get(space, b"a", ALL).unwrap().unwrap();
    assert_eq!(read.vector, Some(blob(&[1.0, 0.0])));
}

#[test]
fn two_stores_with_one_key_in_one_batch_write_one_episode() {
    let mut bench = Bench::new();
    let space = bench.space(2, Metric::Dot);
    let store = StoreRequest { key: "k".into(), ..request(space, "a", &[1.0, 0.0]) };
    let frames = bench.shard.stats().log.frames;
    for ticket in [Ticket(100), Ticket(101)] {
        assert_eq!(bench.shard.store(ticket, &store), Ok(None));
    }
    assert_eq!(bench.shard.stats().log.frames, frames + 1, "the second one writes nothing");
    let outcomes: Vec<_> = bench
        .answers()
        .into_iter()
        .map(|(_, result)| match result.unwrap() {
            Reply::Stored(answer) => (answer.sequence.0, answer.outcome),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(outcomes, [(2, Outcome::Created), (2, Outcome::Existing)]);
    assert_eq!(bench.shard.space_stats(space).unwrap().rows, 1);
}

#[test]
fn bad_vectors_are_refused_before_anything_is_written() {
    let mut bench = Bench::new();
    let space = bench.space(2, Metric::Cosine);
    let frames = bench.shard.stats().log.frames;
    let code = |bench: &mut Bench, vector: &[f32]| {
        bench.try_store(&request(space, "a", vector)).unwrap_err().code()
    };
    assert_eq!(code(&mut bench, &[1.0]), "DIM");
    assert_eq!(code(&mut bench, &[1.0, 2.0, 3.0]), "DIM");
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 2e18] {
        assert_eq!(code(&mut bench, &[1.0, bad]), "BADVEC", "{bad}");
    }
    assert_eq!(code(&mut bench, &[0.0, -0.0]), "BADVEC");
    assert_eq!(bench.shard.stats().log.frames, frames);
    assert_eq!(bench.store(&request(space, "a", &[9e17, 1e-18])).1, Outcome::Created);
}

#[test]
fn a_zero_vector_is_fine_without_a_direction() {
    for metric in [Metric::Dot, Metric::L2] {
        let mut bench = Bench::new();
        let space = bench.space(2, metric);
        bench.store(&request(space, "zero", &[0.0, 0.0]));
        let query = bench.query(space, &[0.0, 0.0], 1);
        assert_eq!(bench.recall_ids(query), ["zero"]);
    }
}

#[test]
fn conditions_and_filters_never_cost_a_result() {
    let mut bench = Bench::new();
    let space = bench.space(2, Metric::Cosine);
    for nth in 0..300_u16 {
        let mut store = request(space, &format!("e{nth}"), &[1.0, f32::from(nth)]);
        store.episode.happened_at_us = Some(i64::from(nth));
        store.episode.confidence = Confidence::point(f32::from(nth % 10) / 10.0).unwrap();
        store.episode.metadata = Bytes::from(format!("{{\"n\":{nth}}}"));
        bench.store(&store);
    }
    let mut query = bench.query(space, &[1.0, 0.0], 3);
    query.conditions.since_us = Some(100);
    assert_eq!(bench.recall_ids(query.clone()), ["e100", "e101", "e102"]);
    query.conditions.until_us = Some(100);
    assert_eq!(bench.recall_ids(query.clone()), ["e100"]);
    query.conditions = Conditions { confidence_min: Some(0.9), ..Conditions::default() };
    assert_eq!(bench.recall_ids(query.clone()), ["e9", "e19", "e29"]);
    let filter = engram_shards::filter::Filter::parse(br#"{"n":{"$gte":298}}"#).unwrap();
    query.conditions = Conditions { filter: Some(filter.into()), ..Conditions::default() };
    assert_eq!(bench.recall_ids(query), ["e298", "e299"]);
}

#[test]
fn the_byte_bound_costs_parts_and_never_results() {
    let mut bench = Bench::new();
    let space = bench.space(1, Metric::Dot);
    for (id, value) in [("a", 3.0), ("b", 2.0), ("c", 1.0)] {
        bench.store(&request(space, id, &[value]));
    }
    let mut query = bench.query(space, &[1.0], 3);
    query.fields.text = true;
    for (bytes, texts) in [(9, 1), (17, 1), (18, 2), (8, 0)] {
        query.bytes_max = bytes;
        let hits = bench.recall(query.clone());
        assert_eq!(hits.len(), 3);
        let given = hits.iter().take_while(|hit| hit.episode.text.is_some()).count();
        assert_eq!(given, texts, "each text has 9 bytes, the bound is {bytes}");
        assert!(hits[given..].iter().all(|hit| hit.episode.text.is_none()));
    }
}

#[test]
fn a_recall_sees_the_shard_as_it_was_when_it_began() {
    let mut bench = Bench::new();
    let space = bench.space(1, Metric::Dot);
    for nth in 0..200_u16 {
        bench.store(&request(space, &format!("e{nth}"), &[f32::from(nth)]));
    }
    let query = bench.query(space, &[1.0], 2);
    let mut recall = bench.shard.recall(query.clone()).unwrap();
    assert!(!bench.shard.recall_step(&mut recall, 1).unwrap());
    bench.forget(space, "e199");
    bench.store(&request(space, "e198", &[0.0]));
    bench.store(&request(space, "later", &[1000.0]));
    while !bench.shard.recall_step(&mut recall, 1).unwrap() {}
    let hits = bench.shard.recall_finish(recall).unwrap();
    let ids: Vec<_> = hits.iter().map(|hit| text(&hit.episode.id)).collect();
    assert_eq!(ids, ["e199", "e198"]);
    assert_eq!(bench.recall_ids(query), ["later", "e197"]);
}

#[test]
fn a_recall_of_a_space_that_is_dropped_ends_with_an_error() {
    let mut bench = Bench::new();
    let space = bench.space(1, Metric::Dot);
    bench.store(&request(space, "a", &[1.0]));
    let query = bench.query(space, &[1.0], 2);
    let mut recall = bench.shard.recall(query).unwrap();
    bench.shard.drop_space(Ticket(900), space, 0).unwrap();
    assert!(bench.try_store(&request(space, "b", &[1.0])).is_err(), "on its way out");
    bench.answers();
    assert_eq!(bench.shard.recall_step(&mut recall, 1).unwrap_err().code(), "NOSPACE");
    bench.rest();
    assert_eq!(bench.shard.stats().memory_bytes, 0, "the memory is given back");
    assert_ne!(bench.space(1, Metric::Dot), space, "numbers are not used again");
}

#[test]
fn numbers_of_spaces_stay_apart_while_others_come_and_go() {
    let mut bench = Bench::new();
    let space = bench.space(1, Metric::Dot);
    let settings =
        |name: &str| SpaceSettings { metric: Metric::Dot, ..SpaceSettings::usual(name, 1) };
    bench.shard.io_mut().hold(true);
    let create = |bench: &mut Bench, name: &str| {
        let ticket = bench.ticket();
        bench.shard.create_space(ticket, None, &settings(name), 0).unwrap();
    };
    create(&mut bench, "a");
    let ticket = bench.ticket();
    bench.shard.drop_space(ticket, space, 0).unwrap();
    create(&mut bench, "b");
    bench.shard.io_mut().hold(false);
    bench.answers();
    create(&mut bench, "c");
    bench.answers();
    let mut numbers: Vec<_> = bench.shard.spaces().map(|(number, _)| number.0).collect();
    numbers.dedup();
    assert_eq!(numbers, [2, 3, 4]);
}

#[test]
fn full_memory_is_busy_and_what_was_acknowledged_stays() {
    let mut bench = Bench::with_memory(2 * CHUNK_BYTES as u64);
    let space = bench.space(1, Metric::Dot);
    bench.store(&request(space, "a", &[1.0]));
    let refusal = bench.try_store(&request(space, "b", &[1.0])).unwrap_err();
    assert_eq!(refusal.code(), "BUSY");
    assert!(bench.forget(space, "a"), "deleting is always possible");
    let ticket = bench.ticket();
    bench.shard.drop_space(ticket, space, 0).unwrap();
    bench.answers();
    bench.rest();
    let space = bench.space(1, Metric::Dot);
    bench.store(&request(space, "b", &[1.0]));
}

#[test]
fn an_answer_says_when_memory_grows_short() {
    let mut bench = Bench::with_memory(5 * CHUNK_BYTES as u64);
    let space = bench.space(1, Metric::Dot);
    let mut degraded = Vec::new();
    loop {
        let mut store = request(space, &format!("e{}", degraded.len()), &[1.0]);
        store.episode.text = vec![b'x'; TEXT_BYTES_MAX].into();
        match bench.try_store(&store) {
            Ok(Reply::Stored(stored)) => degraded.push(stored.degraded),
            refused => break assert_eq!(refused.unwrap_err().code(), "BUSY"),
        }
    }
    assert!(!degraded[0] && degraded.is_sorted() && degraded.ends_with(&[true]), "{degraded:?}");
}

#[test]
fn a_failed_flush_refuses_everything_unanswered_and_all_that_follows() {
    let mut bench = Bench::new();
    let space = bench.space(1, Metric::Dot);
    bench.store(&request(space, "kept", &[1.0]));
    bench.disk.fail_next(WriteFault::Flush);
    let store = request(space, "lost", &[1.0]);
    assert_eq!(bench.try_store(&store).unwrap_err().code(), "READONLY");
    assert_eq!(bench.try_store(&store).unwrap_err().code(), "READONLY");
    let query = bench.query(space, &[1.0], 5);
    assert_eq!(bench.recall_ids(query.clone()), ["kept"], "reading goes on");
    let mut bench = bench.restart();
    assert_eq!(bench.recall_ids(query), ["kept"]);
}

#[test]
fn os_durability_is_answered_once_whatever_fails() {
    for (fault, is_stored) in [(WriteFault::Flush, true), (WriteFault::Write, false)] {
        let mut bench = Bench::new();
        let space = bench.space(1, Metric::Dot);
        bench.disk.fail_next(fault);
        let mut store = request(space, "a", &[1.0]);
        store.durability = Durability::Os;
        store.key = "k".into();
        assert_eq!(bench.shard.store(Ticket(50), &store), Ok(None));
        let answers = bench.answers();
        assert_eq!(answers.len(), 1, "{fault:?}: {answers:?}");
        assert_eq!(answers[0].1.is_ok(), is_stored, "{fault:?}: {answers:?}");
        store.durability = Durability::Disk;
        let again = bench.try_store(&store).unwrap_err();
        assert_eq!(again.code(), "READONLY", "{fault:?}: it is not on the disk");
        assert!(bench.shard.is_idle(), "nothing more will come");
    }
}

#[test]
fn scanning_sees_every_live_episode_once() {
    let mut bench = Bench::new();
    let space = bench.space(1, Metric::Dot);
    for nth in 0..150 {
        bench.store(&request(space, &format!("e{nth}"), &[1.0]));
    }
    bench.forget(space, "e7");
    let (mut seen, mut cursor) = (Vec::new(), Some(0));
    while let Some(from) = cursor {
        let Page { episodes, next } =
            bench.shard.scan(space, from, 40, usize::MAX, Fields::default()).unwrap();
        assert!(episodes.len() <= 40);
        seen.extend(episodes.into_iter().map(|episode| text(&episode.id)));
        cursor = next;
    }
    let mut wanted: Vec<_> =
        (0..150).filter(|nth| *nth != 7).map(|nth| format!("e{nth}")).collect();
    wanted.sort_by_key(|id| id_hash(id.as_bytes()));
    assert_eq!(seen, wanted);
}

#[test]
fn a_scan_goes_on_where_it_was_after_a_restart_and_replacements() {
    let mut bench = Bench::new();
    let space = bench.space(1, Metric::Dot);
    for nth in 0..50 {
        bench.store(&request(space, &format!("e{nth}"), &[1.0]));
    }
    let fields = Fields::default();
    let page = bench.shard.scan(space, 0, 20, usize::MAX, fields).unwrap();
    let mut bench = bench.restart();
    for nth in (0..50).rev() {
        bench.store(&request(space, &format!("e{nth}"), &[2.0]));
    }
    let rest = bench.shard.scan(space, page.next.unwrap(), 50, usize::MAX, fields).unwrap();
    assert_eq!(rest.next, None);
    let pages = [page.episodes, rest.episodes].concat();
    let mut seen: Vec<_> = pages.into_iter().map(|episode| text(&episode.id)).collect();
    seen.sort();
    let mut wanted: Vec<_> = (0..50).map(|nth| format!("e{nth}")).collect();
    wanted.sort();
    assert_eq!(seen, wanted);
}

fn similarity(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
    };
    match metric {
        Metric::Dot => dot(a, b),
        Metric::Cosine => dot(a, b) / (dot(a, a) * dot(b, b)).sqrt(),
        Metric::L2 => {
            let d = a.iter().zip(b).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2));
            1.0 / (1.0 + d.sum::<f64>().sqrt())
        }
    }
}

/// A vector in [-1, 1) that depends on the seed alone.
fn seeded(seed: u64, dimensions: usize) -> Vec<f32> {
    let component = |d: usize| {
        let mixed =
            (seed ^ (d as u64).wrapping_mul(0x9e37_79b9)).wrapping_mul(0xd134_2543_de82_ef95);
        (mixed >> 40) as f32 / 8_388_608.0 - 1.0
    };
    (0..dimensions).map(component).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Against a linear scan in f64, over any history of stores, replacements and forgets.
    #[test]
    fn recall_is_exact(
        metric in prop_oneof![Just(Metric::Cosine), Just(Metric::Dot), Just(Metric::L2)],
        dimensions in 1_usize..40,
        steps in proptest::collection::vec((0_u8..100, any::<u64>()), 1..260),
        k in 1_usize..30,
        restart in any::<bool>(),
    ) {
        let mut bench = Bench::new();
        let space = bench.space(u32::try_from(dimensions).unwrap(), metric);
        let mut model: Vec<(String, Vec<f32>)> = Vec::new();
        for (nth, seed) in steps {
            let id = format!("e{}", nth % 60);
            model.retain(|(known, _)| *known != id);
            if nth < 90 {
                bench.store(&request(space, &id, &seeded(seed, dimensions)));
                model.push((id, seeded(seed, dimensions)));
            } else {
                bench.forget(space, &id);
            }
        }
        if restart {
            bench = bench.restart();
        }
        let cue = seeded(42, dimensions);
        let query = bench.query(space, &cue, k);
        let hits = bench.recall(query);
        let mut wanted: Vec<f64> =
            model.iter().map(|(_, row)| similarity(metric, &cue, row)).collect();
        wanted.sort_by(|a, b| b.total_cmp(a));
        wanted.truncate(k);
        prop_assert_eq!(hits.len(), wanted.len());
        for (hit, wanted) in hits.iter().zip(wanted) {
            let (_, row) =
                model.iter().find(|(id, _)| id.as_bytes() == &hit.episode.id[..]).unwrap();
            for truth in [wanted, similarity(metric, &cue, row)] {
                let error = (f64::from(hit.similarity.unwrap()) - truth).abs();
                prop_assert!(error < 1e-4 * (1.0 + truth.abs()), "{:?} {truth}", hit.similarity);
            }
        }
    }
}
