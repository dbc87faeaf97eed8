//! The simulator: whole daemons in one thread, in virtual time, on disks that lie.
//!
//! Each run is decided by one number, its seed: how many shards and clients there are, what the
//! clients do, when which call fails and when the power goes. The code that runs is the daemon's,
//! from the parser to the log; below it are an executor in virtual time and a simulated disk. A
//! model knows what was asked and what was acknowledged, and compares at every reply and after
//! every restart.
//!
//! | | |
//! |---|---|
//! | `plan.rs` | what a seed decides |
//! | `machine.rs` | disks, power, and a daemon on them |
//! | `workload.rs` | what clients send, and what they make of the replies |
//! | `linking.rs` | the same of links |
//! | `superseding.rs` | the same of what supersedes; what was believed at a time |
//! | `expiring.rs` | a client whose episodes live for a time, over all lives |
//! | `fading.rs` | a client of a space that archives and forgets what has faded, over all lives |
//! | `trusting.rs` | what those must be answered who trust some more than others |
//! | `abstracting.rs` | what completions and gists must be |
//! | `model.rs` | what may and what must be there |
//! | `follower.rs` | a client that is told of what is stored, over all lives |
//! | `spreading.rs` | what a spread must find |
//! | `run.rs` | one run: rounds of start, look, work, end |
//! | `crash_points.rs` | the power fails at every call in turn |
//! | `mutations.rs` | lines whose absence the simulator must notice |
//!
//! `make sim SEEDS=20000` runs many seeds. A seed that fails says how to run it alone, with
//! everything that happens told.

mod abstracting;
mod crash_points;
mod expiring;
mod fading;
mod follower;
mod linking;
mod machine;
mod model;
mod mutations;
mod plan;
mod run;
mod spreading;
mod superseding;
mod trusting;
mod wire;
mod workload;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use plan::Plan;

/// Seeds of a run that nobody asked for more.
const SEEDS: u64 = 300;
const THREADS: usize = 2;
/// After so many there is enough to look at.
const FAILURES_MAX: usize = 5;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

#[test]
fn what_is_acknowledged_survives_whatever_the_disk_does() {
    if let Some(seed) = number("SIM_SEED") {
        machine::tell_everything(true);
        run::run(&Plan::new(seed));
        return;
    }
    let from = number("SIM_FROM").unwrap_or(0);
    let until = from + number("SIM_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(from);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= until || failed.lock().unwrap().len() >= FAILURES_MAX {
                        return;
                    }
                    if catch_unwind(AssertUnwindSafe(|| run::run(&Plan::new(seed)))).is_err() {
                        eprintln!("{}", how_to_replay(&[seed]));
                        failed.lock().unwrap().push(seed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", how_to_replay(&failed));
}

fn how_to_replay(seeds: &[u64]) -> String {
    let commands = seeds.iter().map(|seed| {
        format!("  SIM_SEED={seed} cargo test --release --test sim what_is_ -- --nocapture")
    });
    format!("seeds failed; to replay:\n{}", commands.collect::<Vec<_>>().join("\n"))
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..20 {
        machine::tell_everything(false);
        let first = run::run(&Plan::new(seed));
        machine::tell_everything(false);
        assert_eq!(first, run::run(&Plan::new(seed)), "seed {seed}");
    }
}
