//! Spaces that archive or forget what has faded: which episodes, when, and that nothing else does.

mod bench;

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Arc;

use bench::Bench;
use bytes::Bytes;
use engram_shards::episode::{
    Belief, Conditions, Durability, Effort, FadingPolicy, Fields, Hit, Lifetime, Metric,
    ReinforceRequest, Reinforcement, StoreRequest,
};
use engram_shards::inquiry::InquiryRequest;
use engram_shards::io::{Io as _, Random};
use engram_shards::shard::Reply;
use engram_shards::strength::{Decay, Trace};

const SECOND_US: i64 = 1_000_000;
const DECAY: Decay = Decay::Exponential { half_life_s: 10 };
/// Of all episodes.
const TEXT: &str = "rain";
/// Longer than from one pass to the next.
const PASS_US: i64 = 11 * SECOND_US;
const WITH_STRENGTH: Fields = Fields {
    text: false,
    vector: false,
    metadata: false,
    links: false,
    gist_links: false,
    strength: Some(NonZero::<i64>::MAX),
    belief: None,
    why: false,
};

/// A space with policies, and what is to be known of its episodes: when they were recorded, their
/// traces, and whether they are pinned.
struct Stage {
    bench: Bench,
    known: BTreeMap<String, (i64, Trace, bool)>,
    clock_us: i64,
    lifetime: Lifetime,
}

impl Stage {
    fn new(lifetime: Lifetime) -> Self {
        let mut bench = Bench::new(Metric::Cosine);
        let (_, settings) = bench.shard.space_named("s").unwrap();
        let mut settings = settings.clone();
        (settings.name, settings.decay) = ("fading".into(), DECAY);
        settings.lifetime = lifetime;
        let ticket = bench.ticket();
        bench.shard.create_space(ticket, None, &settings, 0).unwrap();
        let [(_, Ok(Reply::SpaceCreated { space }))] = bench.answers()[..] else { panic!() };
        bench.space = space;
        Self { bench, known: BTreeMap::new(), clock_us: 0, lifetime }
    }

    fn pass(&mut self, us: i64) {
        self.clock_us += us;
        let io = self.bench.shard.io_mut();
        io.advance_us(self.clock_us - io.wall_us());
    }

    fn store(&mut self, id: &str) {
        self.pass(0);
        let vector = self.bench.vector();
        let mut request: StoreRequest = self.bench.request(id, &vector, TEXT.into());
        request.episode.happened_at_us = None;
        let ticket = self.bench.ticket();
        self.bench.shard.store(ticket, &request).unwrap();
        assert_eq!(self.bench.answers().len(), 1);
        let now = self.clock_us;
        self.known.insert(id.into(), (now, Trace::first(DECAY, now), false));
    }

    fn reinforce(&mut self, id: &str, what: Reinforcement) {
        self.send_reinforce(id, what);
        self.bench.answers();
    }

    fn send_reinforce(&mut self, id: &str, what: Reinforcement) {
        let (space, id_bytes) = (self.bench.space, id.to_owned().into());
        let durability = Durability::Disk;
        let request = ReinforceRequest { space, id: id_bytes, what, durability, writer_uid: 0 };
        let ticket = self.bench.ticket();
        self.bench.shard.reinforce(ticket, &request).unwrap();
        let Some((_, trace, is_pinned)) = self.known.get_mut(id) else { return };
        match what {
            Reinforcement::Present => trace.present(DECAY, self.clock_us),
            Reinforcement::Pin => *is_pinned = true,
            Reinforcement::Unpin => *is_pinned = false,
        }
    }

    /// Whether an episode is one to go, by what is known of it.
    fn goes(&self, id: &str) -> bool {
        self.has_faded(id, self.lifetime.forget)
    }

    fn has_faded(&self, id: &str, policy: Option<FadingPolicy>) -> bool {
        let (recorded, trace, is_pinned) = &self.known[id];
        policy.is_some_and(|policy| {
            let kept_us = i64::from(policy.after_s) * SECOND_US;
            !is_pinned
                && self.clock_us - recorded >= kept_us
                && trace.retention(DECAY, self.clock_us) < policy.below()
        })
    }

    /// Lets a pass go over everything, and the log have what it found.
    fn sweep(&mut self) {
        self.pass(PASS_US);
        for _ in 0..60 {
            self.bench.shard.tick();
            self.bench.answers();
            self.pass(1000);
        }
        let gone: Vec<String> = self.known.keys().filter(|id| self.goes(id)).cloned().collect();
        self.known.retain(|id, _| !gone.contains(id));
    }

    fn check(&mut self) {
        let page =
            self.bench.shard.scan(self.bench.space, 0, usize::MAX, usize::MAX, WITH_STRENGTH);
        let page = page.unwrap().episodes;
        let name = |id: &[u8]| String::from_utf8(id.to_vec()).unwrap();
        let mut there: Vec<String> = page.iter().map(|own| name(&own.id)).collect();
        there.sort();
        assert_eq!(there, self.known.keys().cloned().collect::<Vec<_>>());
        for episode in page {
            let strength = episode.strength.unwrap();
            let (_, trace, is_pinned) = &self.known[&name(&episode.id)];
            assert_eq!((strength.trace, strength.is_pinned), (*trace, *is_pinned));
        }
        assert_eq!(self.bench.shard.verify(), Vec::<String>::new());
    }

    /// What an inquiry for a word that all have finds, sorted.
    fn inquire(&mut self, conditions: Conditions) -> Vec<String> {
        let request = InquiryRequest {
            space: self.bench.space,
            cue: None,
            terms: Arc::from([TEXT.to_owned()]),
            spans: Arc::default(),
            k: 1000,
            count: 1000,
            conditions,
            effort: Effort::Usual,
        };
        let shard = &mut self.bench.shard;
        let mut inquiry = shard.inquiry(request).unwrap();
        while !shard.inquiry_step(&mut inquiry, 1 << 16).unwrap() {}
        let found = shard.inquiry_finish(inquiry).unwrap().evidence;
        let answers = found.iter().filter(|own| own.is_answer);
        sorted(answers.map(|own| own.id.clone()))
    }

    /// Everything is answered but what is archived, and with `ARCHIVED` or as of a time that too.
    fn check_archive(&mut self) {
        let all: Vec<String> = self.known.keys().cloned().collect();
        let is_there = |id: &&String| !self.has_faded(id, self.lifetime.archive);
        let present: Vec<String> = all.iter().filter(is_there).cloned().collect();
        let archived = Conditions { archived: true, ..Conditions::default() };
        let then = Conditions { belief: Belief::AsOf(i64::MAX), ..Conditions::default() };
        let sure = Conditions { confidence_min: Some(0.5), ..Conditions::default() };
        let since = Conditions { since_us: Some(0), ..Conditions::default() };
        for (conditions, wanted) in [
            (Conditions::default(), &present),
            (sure, &present),
            (since, &present),
            (archived, &all),
            (then, &all),
        ] {
            let vector = self.bench.vector();
            for effort in [Effort::Exact, Effort::Usual] {
                let hits = self.bench.recall_with(&vector, 1000, effort, conditions.clone());
                let found = sorted(hits.into_iter().map(|hit| hit.episode.id));
                assert_eq!(&found, wanted, "{conditions:?} {effort:?}");
            }
            assert_eq!(&self.inquire(conditions.clone()), wanted, "{conditions:?}");
        }
    }

    fn restart(self) -> Self {
        let mut stage = Self { bench: self.bench.restart(), ..self };
        stage.pass(0);
        stage
    }
}

fn sorted(ids: impl Iterator<Item = Bytes>) -> Vec<String> {
    let mut ids: Vec<String> = ids.map(|id| String::from_utf8(id.to_vec()).unwrap()).collect();
    ids.sort();
    ids
}

fn below_half(after_s: u32) -> Option<FadingPolicy> {
    FadingPolicy::of_parts(5000, after_s)
}

fn forgetting(after_s: u32) -> Lifetime {
    Lifetime { forget: below_half(after_s), ..Lifetime::default() }
}

fn archiving(after_s: u32) -> Lifetime {
    Lifetime { archive: below_half(after_s), ..Lifetime::default() }
}

#[test]
fn what_has_faded_is_forgotten_and_what_is_used_or_pinned_is_not() {
    let mut stage = Stage::new(forgetting(0));
    // One presentation falls below a half after 21.1 s.
    ["idle", "used", "pinned"].into_iter().for_each(|id| stage.store(id));
    stage.reinforce("pinned", Reinforcement::Pin);
    stage.pass(9 * SECOND_US);
    stage.reinforce("used", Reinforcement::Present);
    stage.sweep();
    stage.check();
    assert_eq!(stage.known.len(), 3, "20 s are not enough");
    stage.sweep();
    stage.check();
    assert_eq!(stage.known.keys().collect::<Vec<_>>(), ["pinned", "used"]);
    assert_eq!(stage.bench.shard.stats().lapses.faded, 1);
    let mut stage = stage.restart();
    stage.check();
    stage.sweep();
    assert_eq!(stage.known.keys().collect::<Vec<_>>(), ["pinned"]);
    stage.reinforce("pinned", Reinforcement::Unpin);
    stage.sweep();
    stage.check();
    assert_eq!(stage.known.len(), 0);
    stage.restart().check();
}

#[test]
fn what_is_young_is_kept_however_weak_it_is_and_nothing_goes_without_a_policy() {
    let mut stage = Stage::new(forgetting(100));
    stage.store("e");
    for _ in 0..8 {
        stage.sweep();
        stage.check();
    }
    assert_eq!(stage.known.len(), 1);
    stage.pass(20 * SECOND_US);
    stage.sweep();
    stage.check();
    assert_eq!(stage.known.len(), 0);

    let mut stage = Stage::new(Lifetime::default());
    stage.store("e");
    stage.pass(1_000_000 * SECOND_US);
    stage.sweep();
    stage.check();
    assert_eq!((stage.known.len(), stage.bench.shard.stats().lapses.faded), (1, 0));
}

#[test]
fn what_is_strengthened_before_its_end_is_applied_stays() {
    let mut stage = Stage::new(forgetting(0));
    stage.store("saved");
    stage.store("lost");
    stage.pass(30 * SECOND_US);
    // A pass finds both; a reinforcement comes into the log before what ends them.
    stage.bench.shard.tick();
    stage.send_reinforce("saved", Reinforcement::Present);
    stage.bench.answers();
    stage.known.remove("lost");
    stage.check();
    assert_eq!(stage.bench.shard.stats().lapses.faded, 1);
    // A replay comes to the same.
    stage.restart().check();
}

#[test]
fn a_history_is_forgotten_as_its_strengths_say() {
    for seed in 0..10 {
        let mut stage = Stage::new(forgetting(15));
        let mut random = Random::new(seed);
        for _ in 0..250 {
            let id = format!("e{}", random.below(200));
            match random.below(20) {
                0..11 => stage.store(&id),
                11..14 => stage.reinforce(&id, Reinforcement::Present),
                14 => stage.reinforce(&id, Reinforcement::Pin),
                15 => stage.reinforce(&id, Reinforcement::Unpin),
                16 => stage.bench.consolidate(|_, _| {}),
                17 => stage.pass(random.below(3_000_000) as i64),
                18 => {
                    stage.sweep();
                    stage.check();
                }
                _ => stage = stage.restart(),
            }
        }
        stage.sweep();
        stage.check();
        assert!(stage.bench.shard.stats().rows_dead > 0 || stage.known.is_empty(), "seed {seed}");
    }
}

#[test]
fn what_has_faded_is_archived_until_it_is_used_again() {
    let mut stage = Stage::new(archiving(0));
    ["idle", "used", "pinned"].into_iter().for_each(|id| stage.store(id));
    stage.reinforce("pinned", Reinforcement::Pin);
    stage.pass(9 * SECOND_US);
    stage.reinforce("used", Reinforcement::Present);
    stage.pass(12 * SECOND_US);
    stage.check_archive();
    // One presentation falls below a half after 21.1 s.
    assert!(!stage.has_faded("idle", below_half(0)));
    stage.pass(SECOND_US);
    stage.check_archive();
    assert!(stage.has_faded("idle", below_half(0)) && !stage.has_faded("used", below_half(0)));
    let mut stage = stage.restart();
    stage.check_archive();
    stage.reinforce("idle", Reinforcement::Present);
    assert!(!stage.has_faded("idle", below_half(0)));
    stage.check_archive();
    // Nothing has gone, however long it takes.
    stage.pass(1000 * SECOND_US);
    stage.sweep();
    stage.check();
    stage.check_archive();
    assert!(stage.has_faded("used", below_half(0)) && stage.has_faded("idle", below_half(0)));
    stage.reinforce("pinned", Reinforcement::Unpin);
    stage.check_archive();
    assert_eq!(stage.bench.shard.stats().lapses.faded, 0);
}

#[test]
fn what_is_young_is_not_archived_however_weak_it_is() {
    let mut stage = Stage::new(archiving(100));
    stage.store("e");
    for seconds in [50, 49, 1, 1] {
        stage.pass(seconds * SECOND_US);
        stage.check_archive();
    }
    assert!(stage.has_faded("e", below_half(100)));
}

#[test]
fn a_history_is_archived_as_its_strengths_say() {
    for seed in 0..10 {
        let mut stage = Stage::new(archiving(5));
        let mut random = Random::new(seed);
        let mut seen = 0;
        for _ in 0..250 {
            let id = format!("e{}", random.below(200));
            match random.below(20) {
                0..10 => stage.store(&id),
                10..13 => stage.reinforce(&id, Reinforcement::Present),
                13 => stage.reinforce(&id, Reinforcement::Pin),
                14 => stage.reinforce(&id, Reinforcement::Unpin),
                15 => stage.bench.consolidate(|_, _| {}),
                16 => stage.bench.consolidate_new(),
                17 => stage.pass(random.below(10_000_000) as i64),
                18 => {
                    stage.check_archive();
                    let policy = stage.lifetime.archive;
                    seen += stage.known.keys().filter(|id| stage.has_faded(id, policy)).count();
                }
                _ => stage = stage.restart(),
            }
        }
        stage.check();
        stage.check_archive();
        assert!(seen > 0, "seed {seed}");
    }
}

#[test]
fn the_nearest_that_are_not_archived_are_found_by_the_index() {
    const ROWS: u32 = 6000;
    let mut stage = Stage::new(archiving(0));
    for (share, consolidates) in [(3, true), (3, false), (10, false)] {
        // Most, some, or next to none of them have faded.
        (0..ROWS / 2).for_each(|nth| stage.store(&format!("{share}-{nth}")));
        stage.pass(8 * SECOND_US);
        if consolidates {
            stage.bench.consolidate(|_, _| {});
        }
        let many: Vec<String> = stage.known.keys().step_by(share).cloned().collect();
        many.iter().for_each(|id| stage.reinforce(id, Reinforcement::Present));
        for waited_s in [0, 9, 9] {
            stage.pass(waited_s * SECOND_US);
            let (mut same, mut all) = (0, 0);
            for _ in 0..30 {
                let query = stage.bench.vector();
                let ids = |hits: Vec<Hit>| sorted(hits.into_iter().map(|hit| hit.episode.id));
                let mut found = |effort| ids(stage.bench.recall_as(&query, 10, effort));
                let (exact, usual) = (found(Effort::Exact), found(Effort::Usual));
                assert_eq!(exact.len(), usual.len());
                assert!(usual.iter().all(|id| !stage.has_faded(id, stage.lifetime.archive)));
                same += usual.iter().filter(|id| exact.contains(id)).count();
                all += exact.len();
            }
            // Points without any structure are the hardest.
            assert!(same * 100 >= all * 80, "{same} of {all}");
        }
    }
}
