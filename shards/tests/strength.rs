//! Strengths are what the log says they are: through consolidations, restarts at any time, and
//! recalls that are logged by and by.

mod bench;

use std::collections::BTreeMap;
use std::num::NonZero;

use bench::{Bench, settings};
use engram_shards::episode::{
    Durability, Fields, Metric, Refusal, ReinforceRequest, Reinforcement, Sequence, SpaceNumber,
    Strength,
};
use engram_shards::io::{Io, Random};
use engram_shards::shard::{RecallCounters, Reply, ShardSettings};
use engram_shards::strength::{Decay, Trace};

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
const SECOND_US: i64 = 1_000_000;
/// Of the shard whose memory is to be filled.
const MEMORY_BYTES: u64 = 8 << 20;

/// A shard, and what must be known of every id.
struct Stage {
    bench: Bench,
    known: BTreeMap<String, (Trace, bool)>,
    /// A consolidation is under way.
    is_asked: bool,
}

impl Stage {
    fn new() -> Self {
        Self { bench: Bench::new(Metric::L2), known: BTreeMap::new(), is_asked: false }
    }

    fn now_us(&self) -> i64 {
        self.bench.shard.io().wall_us()
    }

    fn pass(&mut self, us: i64) {
        self.bench.shard.io_mut().advance_us(us);
    }

    fn store(&mut self, id: &str) {
        self.bench.store(id);
        // The bench says when it happened: by its tickets.
        let happened_at_us = self.bench.tickets as i64;
        self.known.insert(id.into(), (Trace::first(Decay::Power, happened_at_us), false));
    }

    fn forget(&mut self, id: &str) {
        self.bench.forget(id);
        self.known.remove(id);
    }

    fn reinforce(&mut self, id: &str, what: Reinforcement) {
        let (now, ticket) = (self.now_us(), self.bench.ticket());
        let (space, id_bytes, durability) =
            (self.bench.space, id.to_owned().into(), Durability::Disk);
        let request = ReinforceRequest { space, id: id_bytes, what, durability, writer_uid: 0 };
        self.bench.shard.reinforce(ticket, &request).unwrap();
        let answers = self.bench.answers();
        let [(_, Ok(Reply::Reinforced(reinforced)))] = &answers[..] else { panic!("{answers:?}") };
        let known = self.known.get_mut(id);
        assert_eq!(reinforced.is_some(), known.is_some(), "{id}");
        let Some((trace, is_pinned)) = known else { return };
        match what {
            Reinforcement::Present => trace.present(Decay::Power, now),
            Reinforcement::Pin => *is_pinned = true,
            Reinforcement::Unpin => *is_pinned = false,
        }
        let Strength { trace: got, is_pinned: pinned, at_us, .. } =
            *reinforced.as_ref().unwrap().strength;
        assert_eq!((got, pinned, at_us), (*trace, *is_pinned, now), "{id}");
    }

    /// Notes recalls of some ids, a few at most, and waits until they are in the log.
    fn recall(&mut self, ids: &[String]) {
        self.bench.answers();
        for id in ids {
            let found = self.bench.shard.get(self.bench.space, id.as_bytes(), WITH_STRENGTH);
            // Of an id that is not there, one that nothing was ever stored with.
            let Sequence(stored) = found.unwrap().map_or(Sequence(u64::MAX), |it| it.sequence);
            self.bench.shard.note_recalled(self.bench.space, stored);
        }
        self.pass(SECOND_US);
        let now = self.now_us();
        self.bench.answers();
        for id in ids {
            if let Some((trace, _)) = self.known.get_mut(id)
                && now - trace.last_us >= SECOND_US
            {
                trace.present(Decay::Power, now);
            }
        }
    }

    fn work(&mut self, units: u64) {
        if !self.is_asked {
            let ticket = self.bench.ticket();
            self.bench.shard.consolidate(ticket, units.is_multiple_of(2)).unwrap();
            self.is_asked = true;
        }
        for _ in 0..units {
            self.is_asked &= self.bench.work().0.is_empty();
        }
    }

    fn restart(self) -> Self {
        let now = self.now_us();
        let mut stage = Self { bench: self.bench.restart(), is_asked: false, ..self };
        let ahead = now - stage.now_us();
        stage.pass(ahead);
        stage
    }

    fn check(&self, when: &str) {
        for (id, (trace, is_pinned)) in &self.known {
            let found = self.bench.shard.get(self.bench.space, id.as_bytes(), WITH_STRENGTH);
            let strength = found.unwrap().unwrap_or_else(|| panic!("{id} {when}")).strength;
            let strength = strength.expect("it was asked for");
            assert_eq!((strength.trace, strength.is_pinned), (*trace, *is_pinned), "{id} {when}");
            assert_eq!(strength.at_us, self.now_us());
        }
    }
}

#[test]
fn strengths_are_the_same_after_any_restart() {
    for seed in 0..40 {
        let (mut stage, mut random) = (Stage::new(), Random::new(seed));
        for step in 0..300 {
            let id = format!("e{}", random.below(24));
            match random.below(20) {
                0..6 => stage.store(&id),
                6 => stage.forget(&id),
                7..11 => stage.reinforce(&id, Reinforcement::Present),
                11 => stage.reinforce(&id, Reinforcement::Pin),
                12 => stage.reinforce(&id, Reinforcement::Unpin),
                13..15 => {
                    let ids = (0..random.between(1, 8)).map(|_| format!("e{}", random.below(24)));
                    let mut ids: Vec<String> = ids.collect();
                    ids.sort();
                    ids.dedup();
                    stage.recall(&ids);
                }
                15..18 => stage.work(random.between(1, 60)),
                18 => stage.pass(random.below(100_000_000) as i64 * 1000),
                _ if random.chance(300_000) => {
                    stage = stage.restart();
                    stage.check(&format!("restarted, seed {seed}, step {step}"));
                }
                _ => {}
            }
        }
        stage.check(&format!("seed {seed}"));
        stage.bench.settle(true);
        stage = stage.restart();
        stage.check(&format!("seed {seed}, at the end"));
    }
}

#[test]
fn recalls_take_a_part_of_the_memory_and_no_more() {
    let settings = ShardSettings { memory_bytes_max: MEMORY_BYTES, ..settings() };
    let mut bench = Bench::with(settings, Metric::L2);
    let count = 9000;
    for nth in 0..count {
        bench.store_vector(&format!("e{nth}"), &[nth as f32; bench::DIMENSIONS as usize]);
        if nth % 3000 == 2999 {
            bench.consolidate(|_, _| {});
            // What it leaves behind is given back.
            bench.settle(true);
        }
    }
    let before = bench.shard.stats().memory_bytes;
    let found = bench.shard.get(bench.space, b"e0", WITH_STRENGTH).unwrap().unwrap();
    let first = found.sequence.0;
    bench.answers();
    for stored in first..first + count {
        bench.shard.note_recalled(bench.space, stored);
    }
    bench.shard.io_mut().advance_us(SECOND_US);
    for _ in 0..1000 {
        bench.answers();
        bench.shard.io_mut().advance_us(1000);
    }
    let RecallCounters { logged, lost } = bench.shard.stats().recalls;
    let grown = bench.shard.stats().memory_bytes - before;
    let part = MEMORY_BYTES / 8;
    assert!((part * 9 / 10..part * 11 / 10).contains(&grown), "{grown} of {part}");
    assert!(logged > 1000 && lost > 0 && logged + lost <= count, "{logged} {lost}");
    // What is known already goes on being noted, and so does what somebody asks for.
    bench.shard.note_recalled(bench.space, first);
    bench.shard.io_mut().advance_us(2 * SECOND_US);
    bench.answers();
    bench.shard.io_mut().advance_us(1000);
    bench.answers();
    let found = bench.shard.get(bench.space, b"e0", WITH_STRENGTH).unwrap().unwrap();
    assert_eq!(found.strength.unwrap().trace.presentations, 3);
    let last = format!("e{}", count - 1);
    let request = ReinforceRequest {
        space: bench.space,
        id: last.into(),
        what: Reinforcement::Present,
        durability: Durability::Disk,
        writer_uid: 0,
    };
    let ticket = bench.ticket();
    bench.shard.reinforce(ticket, &request).unwrap();
    assert!(matches!(&bench.answers()[..], [(_, Ok(Reply::Reinforced(Some(_))))]));
    let gone = ReinforceRequest { space: SpaceNumber(9), ..request };
    assert!(matches!(bench.shard.reinforce(ticket, &gone), Err(Refusal::NoSpace(_))));
}
