//! Every target over its corpus, and over a bounded number of mutations of it that are the same on
//! every run. `make fuzz` looks further.

use engram_fuzz::{Mutator, TARGETS, corpus};

/// Another one finds other things; this one is to find what was found before.
const SEED: u64 = 20_261_121;

fn run(name: &str, mutations: u32) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    let corpus = corpus(name);
    for input in &corpus {
        (target.run)(input);
    }
    let mut mutator = Mutator::new(corpus, SEED);
    for _ in 0..mutations {
        (target.run)(&mutator.mutation());
    }
}

#[test]
fn resp() {
    run("resp", 20_000);
}

#[test]
fn command() {
    run("command", 20_000);
}

#[test]
fn filter() {
    run("filter", 20_000);
}

#[test]
fn frames() {
    run("frames", 20_000);
}

#[test]
fn replay() {
    run("replay", 1_000);
}

#[test]
fn recovery() {
    run("recovery", 500);
}

#[test]
fn directory() {
    run("directory", 24);
}
