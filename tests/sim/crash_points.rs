//! The power fails at every call to a disk in turn, and at every call of the start that follows.
//!
//! A short history (stores, a replacement, a forget, a repeated key, an erase, a space that is
//! dropped, more than one segment, consolidations that begin by themselves) is played once to count
//! its calls. Then it is played again and again, and each time the power fails at another call: a
//! write, a flush, a step of recovery. The restart may be cut short in the same way, twice in a
//! row, before everything is compared. Of a long history some calls are drawn.

use engram_shards::io::Random;
use engram_shards::log::LogSettings;
use engram_shards::shard::ConsolidationSettings;

use crate::model::End;
use crate::plan::{Plan, Round, Trouble};
use crate::run;

/// Histories that are played in search of one that consolidates.
const SEEDS_TRIED: usize = 50;

fn plan(seed: u64, shards: usize, bursts: u64, dies_at: &[u64]) -> Plan {
    let log = LogSettings { in_flight_max: 2, linger_us: 0, frames_max: 4 };
    let round =
        Round { end: End::PowerLost, dies_at_call: None, after_us: u64::from(u32::MAX), bursts };
    let consolidation = ConsolidationSettings {
        rows_idle: 8,
        rows_forced: 12,
        retry_after_ns: 1_000_000,
        index_rows_min: 8,
        ..ConsolidationSettings::default()
    };
    Plan {
        seed,
        consolidation,
        ids: 8,
        has_graphs: seed.is_multiple_of(2),
        dreams: false,
        keeps_gists: seed.is_multiple_of(2),
        shards,
        segment_bytes: 40 << 10,
        log,
        trouble: Trouble::Crashes,
        faults: Default::default(),
        clients: 1,
        rounds: vec![round],
        dies_at: dies_at.to_vec(),
    }
}

/// The first seed from one on, in steps of two, whose history consolidates, and how many calls that
/// makes when nothing fails.
fn consolidating(from: u64, shards: usize, bursts: u64) -> (u64, u64) {
    let tried = (from..).step_by(2).take(SEEDS_TRIED);
    let played = tried.map(|seed| (seed, run::calls(&plan(seed, shards, bursts, &[]))));
    let mut consolidating = played.filter(|(_, (_, files))| *files > 0);
    let (seed, (calls, _)) = consolidating.next().expect("nothing was consolidated");
    (seed, calls)
}

#[test]
fn the_power_may_fail_at_every_call_of_a_short_history() {
    for (from, shards) in [(17, 1), (14, 2)] {
        let (seed, calls) = consolidating(from, shards, 4);
        assert!(calls > 30, "{calls} calls are no history");
        for call in 1..=calls {
            run::run(&plan(seed, shards, 4, &[call]));
        }
    }
}

#[test]
fn the_power_may_fail_at_every_call_of_a_start_twice_in_a_row() {
    let (seed, calls) = consolidating(11, 2, 4);
    let mut random = Random::new(7);
    for nth in 0..6 {
        let first = random.between(10, calls);
        for second in 1..=14 {
            run::run(&plan(seed, 2, 4, &[first, second, 1 + (second + nth) % 14]));
        }
    }
}

#[test]
fn the_power_may_fail_anywhere_in_a_long_history() {
    let (seed, calls) = consolidating(21, 2, 40);
    let mut random = Random::new(8);
    for _ in 0..25 {
        let call = random.between(1, calls);
        run::run(&plan(seed, 2, 40, &[call]));
    }
}
