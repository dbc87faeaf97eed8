//! Episodes of a shard that others supersede: what recalls leave out, now and as of any time, after
//! every restart and consolidation.

mod bench;

use std::collections::BTreeMap;
use std::sync::Arc;

use bench::{Bench, columns_of, ids, settings};
use bytes::Bytes;
use engram_shards::episode::{
    Belief, Conditions, Confidence, Durability, Effort, Episode, Fields, Metric, Priority, Refusal,
    StoreRequest, StoredEpisode, SupersedeRequest, Ttl,
};
use engram_shards::filter::Filter;
use engram_shards::format::columns::ColumnKind;
use engram_shards::inquiry::InquiryRequest;
use engram_shards::io::Io as _;
use engram_shards::shard::{Reply, Shard, ShardSettings};

/// What supersedes an episode: which, and when that was recorded.
type By = Option<(String, i64)>;

struct History {
    bench: Bench,
    /// When each was recorded, and what supersedes it.
    model: BTreeMap<String, (i64, By)>,
    clock_us: i64,
}

fn id(nth: usize) -> String {
    format!("e{nth}")
}

fn as_of(time_us: i64) -> Conditions {
    Conditions { belief: Belief::AsOf(time_us), ..Conditions::default() }
}

impl History {
    fn new() -> Self {
        Self::with(Bench::new(Metric::Cosine))
    }

    fn with(bench: Bench) -> Self {
        Self { bench, model: BTreeMap::new(), clock_us: 1_000_000 }
    }

    fn get(&self, id: &str) -> Option<StoredEpisode> {
        self.bench.shard.get(self.bench.space, id.as_bytes(), Fields::default()).unwrap()
    }

    fn store(&mut self, id: &str) {
        // The clock of a disk in memory stands still, and begins anew with a start.
        self.clock_us += 10;
        let io = self.bench.shard.io_mut();
        io.advance_us(self.clock_us - io.wall_us());
        self.bench.store(id);
        let recorded_at_us = self.get(id).unwrap().recorded_at_us;
        self.model.insert(id.into(), (recorded_at_us, None));
    }

    /// Says that one episode supersedes another as its owner would, and checks the answer.
    fn supersede(&mut self, id: &str, by: &str) -> bool {
        let recorded_at_us = self.get(by).unwrap().recorded_at_us;
        self.supersede_at(id, by, recorded_at_us)
    }

    fn supersede_at(&mut self, id: &str, by: &str, recorded_at_us: i64) -> bool {
        let request = SupersedeRequest {
            space: self.bench.space,
            id: id.to_owned().into(),
            by: by.to_owned().into(),
            valid_until_us: recorded_at_us.saturating_sub(1_000_000),
            recorded_at_us: Some(recorded_at_us),
            durability: Durability::Disk,
            writer_uid: 0,
        };
        let ticket = self.bench.ticket();
        self.bench.shard.supersede(ticket, &request).unwrap();
        let answers = self.bench.answers();
        let [(_, Ok(Reply::Superseded { is_by, .. }))] = &answers[..] else {
            panic!("{answers:?}")
        };
        let expected = match self.model.get_mut(id) {
            None => None,
            Some((_, Some((first, _)))) => Some(first == by),
            Some((recorded, _)) if *recorded > recorded_at_us => Some(false),
            Some((_, own)) => {
                *own = Some((by.into(), recorded_at_us));
                Some(true)
            }
        };
        assert_eq!(*is_by, expected, "{id} by {by}");
        expected == Some(true)
    }

    fn forget(&mut self, id: &str) {
        self.bench.forget(id);
        self.model.remove(id);
    }

    fn restart(self) -> Self {
        Self { bench: self.bench.restart(), ..self }
    }

    fn is_believed(&self, id: &str, belief: Belief) -> bool {
        let (recorded, by) = &self.model[id];
        match belief {
            Belief::Now => by.is_none(),
            Belief::AsOf(time) => {
                *recorded <= time && by.as_ref().is_none_or(|(_, recorded)| *recorded > time)
            }
        }
    }

    /// The ids that a recall of everything should answer.
    fn believed(&self, belief: Belief) -> Vec<String> {
        self.model.keys().filter(|id| self.is_believed(id, belief)).cloned().collect()
    }

    /// What is read back is what it should be, and recalls find what is believed: all of it, and as
    /// many as there are.
    fn check(&mut self) {
        self.bench.check();
        for (id, (recorded, by)) in &self.model {
            let found = self.get(id).unwrap();
            assert_eq!(found.recorded_at_us, *recorded);
            let until = |at: i64| Some(at.saturating_sub(1_000_000));
            let own = found.superseded.as_ref();
            assert_eq!(own.map(|own| own.by.to_vec()), by.as_ref().map(|by| by.0.clone().into()));
            assert_eq!(own.map(|own| own.recorded_at_us), by.as_ref().map(|by| by.1));
            assert_eq!(own.map(|own| own.valid_until_us), by.as_ref().and_then(|by| until(by.1)));
        }
        let superseded = self.model.values().filter(|(_, by)| by.is_some()).count() as u64;
        let stats = self.bench.shard.space_stats(self.bench.space).unwrap();
        assert_eq!(stats.superseded, superseded);
        let times: Vec<i64> = self.model.values().map(|(recorded, _)| *recorded).collect();
        let now = times.iter().max().copied().unwrap_or_default();
        for belief in [Belief::Now, Belief::AsOf(now), Belief::AsOf(now / 2), Belief::AsOf(-1)] {
            let expected = self.believed(belief);
            let conditions = Conditions { belief, ..Conditions::default() };
            let query = self.bench.vector();
            for effort in [Effort::Exact, Effort::Usual] {
                let k = self.model.len() + 1;
                let hits = self.bench.recall_with(&query, k, effort, conditions.clone());
                let mut found = ids(&hits);
                found.sort_unstable();
                assert_eq!(found, expected, "{belief:?} {effort:?}");
            }
        }
    }
}

#[test]
fn the_first_that_supersedes_counts_and_only_what_was_recorded_before() {
    let mut history = History::new();
    ["a", "b", "c"].into_iter().for_each(|id| history.store(id));
    assert!(history.supersede("a", "b"));
    assert!(history.supersede("a", "b"), "again is no harm");
    assert!(!history.supersede("a", "c"), "it is superseded already");
    assert!(!history.supersede("nobody", "c"));
    history.check();

    // What is stored under the id again is another episode, whatever comes late.
    let recorded_at_us = history.get("b").unwrap().recorded_at_us;
    history.store("a");
    assert!(history.get("a").unwrap().recorded_at_us > recorded_at_us);
    assert!(!history.supersede_at("a", "b", recorded_at_us));
    history.check();
    assert!(history.supersede_at("a", "z", i64::MAX), "the superseder lives elsewhere");
    history = history.restart();
    history.check();

    // Forgetting what superseded brings nothing back.
    history.supersede("b", "c");
    history.forget("c");
    history.check();
    assert_eq!(history.believed(Belief::Now), Vec::<String>::new());
    history.restart().check();
}

#[test]
fn what_was_believed_then_is_answered_as_it_was_then() {
    let mut history = History::new();
    (0..4).for_each(|nth| history.store(&id(nth)));
    (0..3).for_each(|nth| assert!(history.supersede(&id(nth), &id(nth + 1))));
    for nth in 0..4 {
        let (time, _) = history.model[&id(nth)];
        assert_eq!(history.believed(Belief::AsOf(time)), [id(nth)]);
        let query = history.bench.vector();
        let hits = history.bench.recall_with(&query, 9, Effort::Usual, as_of(time));
        assert_eq!(ids(&hits), [id(nth)]);
        assert_eq!(hits[0].episode.superseded, None, "nothing superseded it then");
    }
    let found = || history.get("e1").unwrap();
    let (recorded, by) = history.model["e1"].clone();
    assert!(found().as_of(Belief::AsOf(recorded - 1)).is_none());
    assert_eq!(found().as_of(Belief::AsOf(recorded)).unwrap().superseded, None);
    let later = found().as_of(Belief::AsOf(by.unwrap().1)).unwrap();
    assert_eq!(later.superseded.unwrap().by, "e2");
}

/// Three parts, in each of which some rows are superseded, all but the tail's in the file.
fn three_parts() -> History {
    let mut history = History::new();
    // So many that the large section stays as it is.
    (0..90).for_each(|nth| history.store(&format!("other{nth}")));
    (0..40).for_each(|nth| history.store(&id(nth)));
    (0..39).step_by(3).for_each(|nth| assert!(history.supersede(&id(nth), &id(39))));
    history.bench.consolidate(|_, _| {});
    (40..43).for_each(|nth| history.store(&id(nth)));
    history.supersede("e40", "e42");
    history.bench.consolidate_new();
    (43..50).for_each(|nth| history.store(&id(nth)));
    history.supersede("e1", "e43");
    history.supersede("e41", "e44");
    history.supersede("e43", "e44");
    history
}

/// A change that depends on a number.
fn change(history: &mut History, nth: usize) {
    let all: Vec<String> = history.model.keys().cloned().collect();
    let one = all[nth * 7 % all.len()].clone();
    match nth % 4 {
        0 => history.store(&one),
        1 => history.store(&id(100 + nth)),
        2 if all.len() > 20 => history.forget(&one),
        _ => {
            let by = all[(nth * 11 + 1) % all.len()].clone();
            if one != by {
                history.supersede(&one, &by);
            }
        }
    }
}

#[test]
fn all_parts_keep_what_superseded_their_rows() {
    let mut history = three_parts();
    history.check();
    history = history.restart();
    history.check();
    // The large section stays and has what came later from the state file.
    for _ in 0..3 {
        history.store("tail");
        history.bench.consolidate_new();
        assert_eq!(history.bench.shard.consolidation().0.files, 2, "the large one stays");
        history = history.restart();
        history.check();
    }
    history.bench.consolidate(|_, _| {});
    history.bench.settle(true);
    assert_eq!(history.bench.shard.stats().memory_bytes, 0, "all is in the columns");
    history.check();
    history.restart().check();
}

#[test]
fn episodes_are_superseded_during_a_consolidation_and_at_whatever_unit_the_daemon_dies() {
    for merges_all in [true, false] {
        let mut units = 0;
        for dies_at in 0.. {
            let mut history = three_parts();
            let ticket = history.bench.ticket();
            history.bench.shard.consolidate(ticket, merges_all).unwrap();
            let mut is_done = false;
            for unit in 0..dies_at {
                let (answers, _) = history.bench.work();
                is_done |= !answers.is_empty();
                if unit % 3 == 1 {
                    change(&mut history, unit);
                }
            }
            history.check();
            let mut history = history.restart();
            history.check();
            (0..6).for_each(|nth| change(&mut history, nth + 100));
            history.bench.consolidate(|_, _| {});
            history.check();
            history.restart().check();
            units = dies_at;
            if is_done {
                break;
            }
        }
        assert!(units > 50, "{units}");
    }
}

#[test]
fn k_come_back_whatever_share_is_superseded_and_however_they_are_looked_for() {
    for share in [20, 500, 980] {
        let mut history = History::new();
        let rows = 2600;
        (0..rows).for_each(|nth| history.store(&id(nth)));
        history.store("newer");
        let chosen: Vec<usize> = (0..rows).filter(|nth| nth * 617 % 1000 < share).collect();
        // Some before they are consolidated, the others later.
        let (early, late) = chosen.split_at(chosen.len() / 2);
        early.iter().for_each(|nth| assert!(history.supersede(&id(*nth), "newer")));
        history.bench.consolidate(|_, _| {});
        late.iter().for_each(|nth| assert!(history.supersede(&id(*nth), "newer")));
        (rows..rows + 300).for_each(|nth| history.store(&id(nth)));
        history.store("newest");
        (rows..rows + 290).for_each(|nth| assert!(history.supersede(&id(nth), "newest")));
        let before = history.model["newer"].0 - 1;
        let (mut found, mut wanted) = (0, 0);
        let some = Filter::parse(b"{\"n\": {\"$lt\": 5}}").unwrap();
        for nth in 0..40 {
            let query = history.bench.vector();
            let belief = if nth % 4 == 0 { Belief::AsOf(before) } else { Belief::Now };
            let filter = (nth % 3 == 0).then(|| some.clone().into());
            let confidence_min = (nth % 5 == 0).then_some(0.5);
            let conditions = Conditions { belief, filter, confidence_min, ..Default::default() };
            let exact = history.bench.recall_with(&query, 10, Effort::Exact, conditions.clone());
            let usual = history.bench.recall_with(&query, 10, Effort::Usual, conditions);
            let (exact, usual) = (ids(&exact), ids(&usual));
            assert_eq!(exact.len(), 10, "there are more: {share} {nth}");
            assert_eq!(usual.len(), 10, "never fewer: {share} {nth}");
            assert!(exact.iter().chain(&usual).all(|id| history.is_believed(id, belief)));
            found += usual.iter().filter(|id| exact.contains(id)).count();
            wanted += exact.len();
        }
        assert!(found * 100 >= wanted * 95, "{found} of {wanted} at a share of {share}");
    }
}

#[test]
fn questions_in_words_leave_out_what_is_superseded() {
    let mut history = History::new();
    (0..60).for_each(|nth| history.store(&id(nth)));
    (0..50).for_each(|nth| assert!(history.supersede(&id(nth), &id(59))));
    let before = history.model["e59"].0 - 1;
    for _ in 0..2 {
        for (belief, expected) in [(Belief::Now, 10), (Belief::AsOf(before), 59)] {
            let request = InquiryRequest {
                space: history.bench.space,
                cue: Some(history.bench.vector().into()),
                terms: ["text".to_owned()].into(),
                spans: Arc::default(),
                k: 100,
                count: 100,
                conditions: Conditions { belief, ..Conditions::default() },
                effort: Effort::Usual,
            };
            let shard = &mut history.bench.shard;
            let mut inquiry = shard.inquiry(request).unwrap();
            while !shard.inquiry_step(&mut inquiry, 1 << 16).unwrap() {}
            let found = shard.inquiry_finish(inquiry).unwrap();
            let answers = found.evidence.iter().filter(|evidence| evidence.is_answer);
            assert_eq!(answers.count(), expected, "{belief:?}");
        }
        history.bench.consolidate(|_, _| {});
    }
}

#[test]
fn memory_of_supersessions_is_counted_and_given_back() {
    let settings = ShardSettings { memory_bytes_max: 16 << 20, ..settings() };
    let mut history = History::with(Bench::with(settings, Metric::Cosine));
    (0..300).for_each(|nth| history.store(&id(nth)));
    history.store("z");
    history.bench.consolidate(|_, _| {});
    history.bench.settle(true);
    assert_eq!(history.bench.shard.stats().memory_bytes, 0);
    (0..300).for_each(|nth| assert!(history.supersede(&id(nth), "z")));
    let taken = history.bench.shard.stats().memory_bytes;
    assert!((300 * 97..300 * 120).contains(&taken), "{taken}");
    history.bench.consolidate(|_, _| {});
    history.bench.settle(true);
    assert_eq!(history.bench.shard.stats().memory_bytes, 0);
    history.check();
    // A space that goes takes them with it.
    (0..5).for_each(|nth| history.store(&id(nth)));
    history.supersede("e1", "e4");
    let ticket = history.bench.ticket();
    history.bench.shard.drop_space(ticket, history.bench.space, 0).unwrap();
    history.bench.answers();
    history.bench.settle(true);
    assert_eq!(history.bench.shard.stats().memory_bytes, 0);
}

#[test]
fn a_section_that_lost_what_superseded_its_rows_is_not_opened() {
    for kind in [ColumnKind::Superseded, ColumnKind::SupersededBy] {
        let mut history = three_parts();
        history.bench.consolidate(|_, _| {});
        let file = history.bench.columns()[0];
        let columns = columns_of(&history.bench.disk, file);
        let column = columns.iter().find(|column| column.kind == kind).unwrap();
        history.bench.flip(file, column.range.start);
        let Bench { disk, settings, shard, .. } = history.bench;
        drop(shard);
        let opened = Shard::open(disk.io(), &settings, &|_| {});
        let error = opened.err().unwrap().to_string();
        assert!(error.contains("a block does not check") && error.contains("snapshot"), "{error}");
    }
}

/// Whether some bytes are anywhere on the disk.
fn is_on_disk(bench: &Bench, what: &[u8]) -> bool {
    let has = |bytes: &[u8]| bytes.windows(what.len()).any(|window| window == what);
    let files = bench.disk.io().files().unwrap();
    let mut files = files.into_iter().map(|(file, _)| file);
    bench.disk.segments().iter().any(|number| has(&bench.disk.segment(*number)))
        || files.any(|file| has(&bench.disk.io().map_file(file).unwrap()))
}

#[test]
fn an_erase_leaves_nothing_of_what_superseded_the_episode() {
    for consolidated in 0..4 {
        let mut history = History::new();
        history.store("the secret");
        if consolidated > 0 {
            history.bench.consolidate(|_, _| {});
        }
        ["b", "c"].into_iter().for_each(|id| history.store(id));
        assert!(history.supersede("the secret", "b"));
        if consolidated == 2 {
            history.bench.consolidate(|_, _| {});
        } else if consolidated == 3 {
            history.bench.consolidate_new();
        }
        assert!(is_on_disk(&history.bench, b"the secret"));
        let ticket = history.bench.ticket();
        let secret = Bytes::from_static(b"the secret");
        history.bench.shard.erase(ticket, history.bench.space, &secret, 0).unwrap();
        history.bench.model.remove("the secret");
        history.model.remove("the secret");
        let answered =
            (0..1_000_000).map(|_| history.bench.work().0).find(|answers| !answers.is_empty());
        let answers = answered.unwrap();
        let [(_, Ok(Reply::Erased { existed: true, .. }))] = &answers[..] else {
            panic!("{answers:?}")
        };
        assert!(!is_on_disk(&history.bench, b"the secret"), "{consolidated}");
        history.check();
        history.restart().check();
    }
}

#[test]
fn what_is_stored_from_what_was_read_is_a_new_episode() {
    let mut history = History::new();
    ["a", "b"].into_iter().for_each(|id| history.store(id));
    history.supersede("a", "b");
    let fields = Fields { text: true, vector: true, ..Fields::default() };
    let read = history.bench.shard.get(history.bench.space, b"a", fields).unwrap().unwrap();
    let request = StoreRequest {
        space: history.bench.space,
        episode: Episode { confidence: Confidence::CERTAIN, ..read.into() },
        key: Bytes::new(),
        dedup: false,
        ttl: Ttl::Space,
        priority: Priority::Normal,
        durability: Durability::Disk,
        writer_uid: 0,
    };
    let ticket = history.bench.ticket();
    history.bench.shard.store(ticket, &request).unwrap();
    history.bench.answers();
    assert_eq!(history.get("a").unwrap().superseded, None);
    let unknown = history.bench.shard.supersede(
        ticket,
        &SupersedeRequest {
            space: engram_shards::episode::SpaceNumber(77),
            id: "a".into(),
            by: "b".into(),
            valid_until_us: 0,
            recorded_at_us: None,
            durability: Durability::Disk,
            writer_uid: 0,
        },
    );
    assert!(matches!(unknown, Err(Refusal::NoSpace(_))));
}
