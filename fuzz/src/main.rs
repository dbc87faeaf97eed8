//! `engram-fuzz`: runs a target over files, or over mutations of its corpus for a while.
//!
//! What libFuzzer does with a nightly toolchain, this does without one, and without guidance by
//! coverage. An input that fails is written to `target/fuzz/`, and the command that replays it is
//! said.

use std::cell::RefCell;
use std::fs;
use std::panic;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;
use engram_fuzz::{Mutator, TARGETS, Target, corpus};

/// Run a fuzz target over files, or over mutations of its corpus
#[derive(Debug, Parser)]
struct Arguments {
    /// resp, command, filter, frames, replay, recovery or directory
    #[arg(value_parser = target)]
    target: Target,
    /// Inputs to run once each; without any, mutations of the corpus are run
    files: Vec<PathBuf>,
    /// How long to run mutations
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// Which mutations
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

fn target(name: &str) -> Result<Target, String> {
    TARGETS.into_iter().find(|target| target.name == name).ok_or_else(|| {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        format!("there are {}", names.join(", "))
    })
}

thread_local! {
    /// What is being run, for whoever has to say what failed.
    static INPUT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

fn main() {
    let Arguments { target, files, seconds, seed } = Arguments::parse();
    keep_what_fails(target);
    if !files.is_empty() {
        for file in &files {
            let input = fs::read(file)
                .unwrap_or_else(|error| panic!("{} cannot be read: {error}", file.display()));
            (target.run)(&input);
        }
        println!("{}: {} files, nothing failed", target.name, files.len());
        return;
    }
    let began = Instant::now();
    let mut mutator = Mutator::new(corpus(target.name), seed);
    let mut runs = 0_u64;
    while began.elapsed() < Duration::from_secs(seconds) {
        let input = mutator.mutation();
        INPUT.set(input.clone());
        (target.run)(&input);
        runs += 1;
    }
    let rate = runs as f64 / began.elapsed().as_secs_f64();
    println!("{}: {runs} runs, {rate:.0} a second, seed {seed}, nothing failed", target.name);
}

/// Before the process ends with a panic, writes the input that led to it to a file.
fn keep_what_fails(target: Target) {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        before(info);
        let input = INPUT.take();
        if input.is_empty() {
            return;
        }
        let folder = PathBuf::from("target/fuzz");
        let path = folder.join(format!("{}-{:08x}", target.name, crc32c::crc32c(&input)));
        match fs::create_dir_all(&folder).and_then(|()| fs::write(&path, &input)) {
            Ok(()) => eprintln!(
                "the input is kept; replay it with\n  cargo run -p engram-fuzz -- {} {}",
                target.name,
                path.display()
            ),
            Err(error) => eprintln!("the input could not be kept: {error}"),
        }
    }));
}
