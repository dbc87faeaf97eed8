//! Spaces that forget what has faded: which episodes go, when, and that nothing else does.

mod bench;

use std::collections::BTreeMap;
use std::num::NonZero;

use bench::Bench;
use engram_shards::episode::{
    Durability, Fields, ForgetPolicy, Lifetime, Metric, ReinforceRequest, Reinforcement,
    StoreRequest,
};
use engram_shards::io::{Io as _, Random};
use engram_shards::shard::Reply;
use engram_shards::strength::{Decay, Trace};

const SECOND_US: i64 = 1_000_000;
const DECAY: Decay = Decay::Exponential { half_life_s: 10 };
/// Longer than from one pass to the next.
const PASS_US: i64 = 11 * SECOND_US;
const WITH_STRENGTH: Fields = Fields {
    text: false,
    vector: false,
    metadata: false,
    links: false,
    strength: Some(NonZero::<i64>::MAX),
    why: false,
};

/// A space that forgets below a retention of a half, and what is to be known of its episodes: when
/// they were recorded, their traces, and whether they are pinned.
struct Stage {
    bench: Bench,
    known: BTreeMap<String, (i64, Trace, bool)>,
    clock_us: i64,
    policy: Option<ForgetPolicy>,
}

impl Stage {
    fn new(policy: Option<ForgetPolicy>) -> Self {
        let mut bench = Bench::new(Metric::Cosine);
        let (_, settings) = bench.shard.space_named("s").unwrap();
        let mut settings = settings.clone();
        (settings.name, settings.decay) = ("fading".into(), DECAY);
        settings.lifetime = Lifetime { forget: policy, ..Lifetime::default() };
        let ticket = bench.ticket();
        bench.shard.create_space(ticket, None, &settings, 0).unwrap();
        let [(_, Ok(Reply::SpaceCreated { space }))] = bench.answers()[..] else { panic!() };
        bench.space = space;
        Self { bench, known: BTreeMap::new(), clock_us: 0, policy }
    }

    fn pass(&mut self, us: i64) {
        self.clock_us += us;
        let io = self.bench.shard.io_mut();
        io.advance_us(self.clock_us - io.wall_us());
    }

    fn store(&mut self, id: &str) {
        self.pass(0);
        let vector = self.bench.vector();
        let mut request: StoreRequest = self.bench.request(id, &vector, String::new());
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
        let (recorded, trace, is_pinned) = &self.known[id];
        self.policy.is_some_and(|policy| {
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

    fn restart(self) -> Self {
        let mut stage = Self { bench: self.bench.restart(), ..self };
        stage.pass(0);
        stage
    }
}

fn below_half(after_s: u32) -> Option<ForgetPolicy> {
    ForgetPolicy::of_parts(5000, after_s)
}

#[test]
fn what_has_faded_is_forgotten_and_what_is_used_or_pinned_is_not() {
    let mut stage = Stage::new(below_half(0));
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
    let mut stage = Stage::new(below_half(100));
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

    let mut stage = Stage::new(None);
    stage.store("e");
    stage.pass(1_000_000 * SECOND_US);
    stage.sweep();
    stage.check();
    assert_eq!((stage.known.len(), stage.bench.shard.stats().lapses.faded), (1, 0));
}

#[test]
fn what_is_strengthened_before_its_end_is_applied_stays() {
    let mut stage = Stage::new(below_half(0));
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
        let mut stage = Stage::new(below_half(15));
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
