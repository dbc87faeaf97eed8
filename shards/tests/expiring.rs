//! Episodes of a shard that have a time to live: who asks gets none of them from the moment on that
//! it is over, whatever was restarted, consolidated or stored again meanwhile, and in the end their
//! rows are gone.

mod bench;

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Arc;

use bench::{Bench, columns_of, ids, settings};
use engram_shards::episode::{
    Belief, Conditions, Effort, Fields, Lifetime, Metric, Outcome, Refusal, StoreRequest,
    StoredEpisode, Ttl,
};
use engram_shards::format::columns::ColumnKind;
use engram_shards::inquiry::InquiryRequest;
use engram_shards::io::{Io as _, WriteFault};
use engram_shards::shard::{Reply, Shard};
use engram_shards::space::NewsLimits;

const SECOND_US: i64 = 1_000_000;

struct Timed {
    bench: Bench,
    /// When each of the episodes expires that have not.
    expires: BTreeMap<String, Option<i64>>,
    clock_us: i64,
}

impl Timed {
    fn new() -> Self {
        let mut timed =
            Self { bench: Bench::new(Metric::Cosine), expires: BTreeMap::new(), clock_us: 0 };
        timed.advance_us(SECOND_US);
        timed
    }

    /// Lets time pass.
    fn advance_us(&mut self, us: i64) {
        self.clock_us += us;
        self.set_clock();
        let (now, model) = (self.clock_us, &mut self.bench.model);
        self.expires.retain(|id, expires| {
            let is_in_time = expires.is_none_or(|expires| now < expires);
            if !is_in_time {
                model.remove(id);
            }
            is_in_time
        });
    }

    /// The clock of a disk in memory stands still, and begins anew with a start.
    fn set_clock(&mut self) {
        let io = self.bench.shard.io_mut();
        io.advance_us(self.clock_us - io.wall_us());
    }

    fn request(&mut self, id: &str, ttl: Ttl) -> StoreRequest {
        let vector = self.bench.vector();
        self.bench.model.insert(id.into(), vector.clone());
        let request = self.bench.request(id, &vector, format!("kettle {id}"));
        StoreRequest { ttl, ..request }
    }

    fn send(&mut self, request: &StoreRequest) -> Outcome {
        let ticket = self.bench.ticket();
        let answers = match self.bench.shard.store(ticket, request).unwrap() {
            Some(reply) => vec![(ticket, Ok(reply))],
            None => self.bench.answers(),
        };
        let [(_, Ok(Reply::Stored(stored)))] = &answers[..] else { panic!("{answers:?}") };
        stored.outcome
    }

    /// Stores an episode that lives for so many seconds; 0: for ever. Whether it replaced one is as
    /// it should be.
    fn store(&mut self, id: &str, seconds: u32) {
        let request = self.request(id, NonZero::new(seconds).map_or(Ttl::Never, Ttl::Seconds));
        let expires = (seconds > 0).then(|| self.clock_us + i64::from(seconds) * SECOND_US);
        let outcome = match self.expires.insert(id.into(), expires) {
            Some(_) => Outcome::Replaced,
            None => Outcome::Created,
        };
        assert_eq!(self.send(&request), outcome, "{id}");
    }

    fn forget(&mut self, id: &str) {
        self.bench.forget(id);
        self.expires.remove(id);
    }

    fn get(&self, id: &str) -> Option<StoredEpisode> {
        self.bench.shard.get(self.bench.space, id.as_bytes(), Fields::default()).unwrap()
    }

    fn restart(self) -> Self {
        let mut timed = Self { bench: self.bench.restart(), ..self };
        timed.set_clock();
        timed
    }

    /// Lets the log have what has expired.
    fn sweep(&mut self) {
        for _ in 0..60 {
            self.bench.shard.tick();
            self.bench.answers();
            // A frame in a millisecond.
            self.advance_us(1000);
        }
    }

    /// Everybody sees what has not expired, and nothing else.
    fn check(&mut self) {
        let living: Vec<String> = self.expires.keys().cloned().collect();
        let query = self.bench.vector();
        let all = self.expires.len() + 10;
        for effort in [Effort::Exact, Effort::Usual] {
            let mut found = ids(&self.bench.recall_as(&query, all, effort));
            found.sort();
            assert_eq!(found, living, "{effort:?}");
        }
        for (id, expires) in &self.expires {
            assert_eq!(self.get(id).unwrap().expires_at_us, *expires, "{id}");
        }
        let page = self.bench.shard.scan(self.bench.space, 0, usize::MAX, usize::MAX, NO_FIELDS);
        let mut scanned = names(&page.unwrap().episodes);
        scanned.sort();
        assert_eq!(scanned, living);
        assert_eq!(self.news(), living);
        assert_eq!(self.said(), living);
        let past = Conditions { belief: Belief::AsOf(i64::MAX), ..Conditions::default() };
        let mut found = ids(&self.bench.recall_with(&query, all, Effort::Usual, past));
        found.sort();
        assert_eq!(found, living, "as of any time");
        self.bench.check();
    }

    /// What a follower is told of, sorted.
    fn news(&mut self) -> Vec<String> {
        let limits = NewsLimits { count: 64, bytes_max: usize::MAX, rows_max: 64 };
        let (mut after, mut told) = (0, Vec::new());
        let durable = self.bench.shard.durable();
        while after < durable {
            let news = self.bench.shard.news(self.bench.space, after, limits, NO_FIELDS).unwrap();
            told.extend(names(&news.episodes));
            after = news.through;
        }
        told.sort();
        told
    }

    /// What an inquiry for a word that all have finds, sorted.
    fn said(&mut self) -> Vec<String> {
        let request = InquiryRequest {
            space: self.bench.space,
            cue: None,
            terms: vec!["kettl".to_owned()].into(),
            spans: Arc::default(),
            k: 4096,
            count: 4096,
            conditions: Conditions::default(),
            effort: Effort::Usual,
        };
        let shard = &mut self.bench.shard;
        let mut inquiry = shard.inquiry(request).unwrap();
        while !shard.inquiry_step(&mut inquiry, 1 << 16).unwrap() {}
        let found = shard.inquiry_finish(inquiry).unwrap().evidence;
        let mut said: Vec<_> = found.iter().map(|own| name(&own.id)).collect();
        said.sort();
        said
    }
}

const NO_FIELDS: Fields = Fields {
    text: false,
    vector: false,
    metadata: false,
    links: false,
    gist_links: false,
    strength: None,
    belief: None,
    why: false,
};

fn name(id: &[u8]) -> String {
    String::from_utf8(id.to_vec()).unwrap()
}

fn names(episodes: &[StoredEpisode]) -> Vec<String> {
    episodes.iter().map(|episode| name(&episode.id)).collect()
}

#[test]
fn an_episode_is_there_until_its_time_and_no_longer() {
    let mut timed = Timed::new();
    timed.store("short", 1);
    timed.store("long", 100);
    timed.store("ever", 0);
    timed.advance_us(SECOND_US - 1);
    timed.check();
    assert_eq!(timed.expires.len(), 3);
    timed.advance_us(1);
    assert_eq!(timed.expires.len(), 2);
    timed.check();
    // The log has heard of nothing yet; it does, and nothing changes for anybody.
    let frames = timed.bench.shard.stats().log.frames;
    timed.sweep();
    let stats = timed.bench.shard.stats();
    assert_eq!((stats.log.frames, stats.lapses.expired, stats.rows_dead), (frames + 1, 1, 1));
    timed.check();
    let mut timed = timed.restart();
    timed.check();
    timed.advance_us(100 * SECOND_US);
    // As after a crash before any frame.
    let mut timed = timed.restart();
    assert_eq!(timed.expires.len(), 1);
    timed.check();
}

#[test]
fn what_is_stored_again_lives_on_its_own_time() {
    let mut timed = Timed::new();
    timed.store("e", 1);
    timed.store("e", 10);
    timed.advance_us(2 * SECOND_US);
    timed.sweep();
    timed.check();
    // One that has expired and that the log has not heard of is replaced by one that has an end,
    // by one that has none, and in the columns.
    for (nth, seconds) in [5, 0, 3, 0].into_iter().enumerate() {
        timed.store("other", 1);
        if nth > 1 {
            timed.bench.consolidate(|_, _| {});
        }
        timed.advance_us(SECOND_US);
        assert_eq!(timed.get("other"), None);
        timed.store("other", seconds);
        timed.sweep();
        assert!(timed.get("other").is_some(), "the frame is of the row before");
        timed.check();
        timed = timed.restart();
        timed.check();
        timed.forget("other");
    }
    // To forget what has expired is to forget nothing.
    timed.store("gone", 1);
    timed.advance_us(SECOND_US);
    timed.forget("gone");
    timed.check();
}

#[test]
fn a_space_says_how_long_episodes_live_that_do_not() {
    let mut timed = Timed::new();
    let lifetime = Lifetime { ttl_s: NonZero::new(2), ..Lifetime::default() };
    let (_, settings) = timed.bench.shard.space_named("s").unwrap();
    let mut settings = settings.clone();
    (settings.name, settings.lifetime) = ("short".into(), lifetime);
    let ticket = timed.bench.ticket();
    timed.bench.shard.create_space(ticket, None, &settings, 0).unwrap();
    let [(_, Ok(Reply::SpaceCreated { space }))] = timed.bench.answers()[..] else { panic!() };
    let now = timed.clock_us;
    for (id, ttl, expires) in [
        ("a", Ttl::Space, Some(now + 2 * SECOND_US)),
        ("b", Ttl::Never, None),
        ("c", Ttl::Seconds(NonZero::<u32>::MAX), Some(now + 4_294_967_295 * SECOND_US)),
    ] {
        let request = StoreRequest { space, ..timed.request(id, ttl) };
        timed.send(&request);
        let found = timed.bench.shard.get(space, id.as_bytes(), Fields::default()).unwrap();
        assert_eq!(found.unwrap().expires_at_us, expires, "{id}");
    }
}

#[test]
fn what_is_the_same_is_stored_anew_once_it_has_expired() {
    let mut timed = Timed::new();
    let ttl = Ttl::Seconds(NonZero::new(5).unwrap());
    let request = StoreRequest { dedup: true, ..timed.request("same", ttl) };
    assert_eq!(timed.send(&request), Outcome::Created);
    assert_eq!(timed.send(&request), Outcome::Existing);
    timed.clock_us += 5 * SECOND_US;
    timed.set_clock();
    assert_eq!(timed.send(&request), Outcome::Created);
    assert_eq!(timed.send(&request), Outcome::Existing);
}

#[test]
fn expired_rows_are_gone_from_the_columns_and_from_memory() {
    let mut timed = Timed::new();
    (0..100).for_each(|nth| timed.store(&format!("e{nth}"), 1 + nth % 4));
    timed.bench.consolidate(|_, _| {});
    let [file] = timed.bench.columns()[..] else { panic!() };
    let expiries = |timed: &Timed, file| {
        let columns = columns_of(&timed.bench.disk, file);
        let own = columns.iter().find(|column| column.kind == ColumnKind::Expiries);
        own.map_or(0, |column| column.range.len() / 16)
    };
    timed.bench.settle(false);
    assert_eq!((expiries(&timed, file), timed.bench.shard.stats().memory_bytes), (100, 0));
    timed.advance_us(2 * SECOND_US);
    timed.check();
    timed.sweep();
    timed.check();
    timed.bench.consolidate(|_, _| {});
    timed.bench.settle(false);
    let [file] = timed.bench.columns()[..] else { panic!() };
    let stats = timed.bench.shard.stats();
    assert_eq!((stats.rows, stats.rows_dead, stats.memory_bytes), (50, 0, 0));
    assert_eq!(expiries(&timed, file), 50);
    timed.advance_us(10 * SECOND_US);
    timed.sweep();
    timed.bench.consolidate(|_, _| {});
    let stats = timed.bench.shard.stats();
    assert_eq!((timed.bench.columns().len(), stats.rows, stats.lapses.expired), (0, 0, 100));
    // A section of rows that never expire has no such column.
    timed.store("ever", 0);
    timed.bench.consolidate(|_, _| {});
    let [file] = timed.bench.columns()[..] else { panic!() };
    assert_eq!(expiries(&timed, file), 0);
    timed.restart().check();
}

#[test]
fn a_damaged_order_of_expiries_is_refused() {
    let mut timed = Timed::new();
    (0..70).for_each(|nth| timed.store(&format!("e{nth}"), 1 + nth));
    timed.bench.consolidate(|_, _| {});
    let [file] = timed.bench.columns()[..] else { panic!() };
    let columns = columns_of(&timed.bench.disk, file);
    let own = columns.iter().find(|column| column.kind == ColumnKind::Expiries).unwrap();
    timed.bench.flip(file, own.range.start);
    let Bench { shard, disk, .. } = timed.bench;
    drop(shard);
    let error = Shard::open(disk.io(), &settings(), &|_| {}).unwrap_err();
    assert!(error.to_string().contains("Expiries"), "{error}");
}

#[test]
fn rows_expire_while_they_are_consolidated() {
    let mut timed = Timed::new();
    for nth in 0..300 {
        timed.store(&format!("e{nth}"), [0, 1, 2, 40][nth % 4]);
    }
    timed.bench.consolidate(|_, _| {});
    for nth in 300..400 {
        timed.store(&format!("e{nth}"), [0, 1, 2, 40][nth % 4]);
    }
    let ticket = timed.bench.ticket();
    timed.bench.shard.consolidate(ticket, true).unwrap();
    for unit in 0.. {
        let (answers, _) = timed.bench.work();
        if !answers.is_empty() {
            break;
        }
        // Some expire when all was frozen, and the log hears of some of these.
        timed.advance_us(if unit % 3 == 0 { SECOND_US / 4 } else { 0 });
        if unit % 5 == 0 {
            timed.check();
            timed.bench.shard.tick();
        }
    }
    timed.check();
    let mut timed = timed.restart();
    timed.check();
    timed.sweep();
    timed.check();
}

#[test]
fn a_history_of_everything_is_answered_as_by_the_clock() {
    for seed in 0..12 {
        let mut timed = Timed::new();
        timed.bench.random = engram_shards::io::Random::new(seed);
        for step in 0..400 {
            let id = format!("e{}", timed.bench.random.below(40));
            match timed.bench.random.below(24) {
                0..14 => {
                    let seconds = timed.bench.random.below(6) as u32;
                    timed.store(&id, seconds);
                }
                14..17 => timed.forget(&id),
                17..20 => {
                    let us = timed.bench.random.below(2_000_000) as i64;
                    timed.advance_us(us);
                }
                20 => timed.bench.consolidate_new(),
                21 => timed.bench.consolidate(|_, _| {}),
                22 => timed.bench.shard.tick(),
                _ => timed = timed.restart(),
            }
            if step % 20 == 0 {
                timed.check();
            }
        }
        timed.sweep();
        timed.check();
        let stats = timed.bench.shard.stats();
        let kept = stats.rows - stats.rows_dead;
        assert_eq!(kept, timed.expires.len() as u64, "seed {seed}: {stats:?}");
    }
}

#[test]
fn a_shard_that_takes_no_writes_answers_by_the_clock_all_the_same() {
    let mut timed = Timed::new();
    timed.store("short", 1);
    timed.store("long", 100);
    timed.bench.disk.fail_next(WriteFault::Write);
    let request = timed.request("late", Ttl::Never);
    timed.bench.model.remove("late");
    let ticket = timed.bench.ticket();
    assert_eq!(timed.bench.shard.store(ticket, &request), Ok(None));
    let answers = timed.bench.answers();
    assert!(matches!(&answers[..], [(_, Err(Refusal::ReadOnly(_)))]), "{answers:?}");
    timed.advance_us(SECOND_US);
    timed.check();
    assert_eq!(timed.bench.shard.pump(), None, "nothing can be logged");
}
