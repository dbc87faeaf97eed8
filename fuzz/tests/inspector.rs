//! The inspector over damaged directories: it says what it found, changes nothing, and never calls
//! sound what the daemon would refuse.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use engram_fuzz::directory::{files, lay_out, open};
use engram_fuzz::{Mutator, corpus};

/// Directories beside those of the corpus.
const MUTATIONS: usize = 40;
const SEED: u64 = 1;

fn engram() -> PathBuf {
    let this = std::env::current_exe().expect("a test has a file");
    let built = this.parent().and_then(|deps| deps.parent()).expect("target/…/deps/…");
    let engram = built.join("engram");
    assert!(engram.exists(), "cargo build --workspace --bins comes first, as in make test");
    engram
}

#[test]
fn what_it_calls_sound_opens() {
    let corpus = corpus("directory");
    let mut mutator = Mutator::new(corpus.clone(), SEED);
    let mutations = (0..MUTATIONS).map(|_| mutator.mutation());
    let (mut sound, mut unsound) = (0, 0);
    for input in corpus.into_iter().chain(mutations) {
        let before = files(&input);
        let folder = lay_out(&before);
        let inspect =
            Command::new(engram()).arg("inspect").arg(folder.path()).arg("verify").output();
        let output = inspect.expect("engram runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(0..=2)), "{}: {said}", output.status);
        for (name, bytes) in &before {
            assert!(fs::read(folder.path().join(name)).is_ok_and(|now| now == *bytes), "{name}");
        }
        if output.status.success() {
            sound += 1;
            assert_eq!(open(folder.path()), Ok(()), "called sound");
        } else {
            unsound += 1;
            assert!(said.starts_with("engram: ") && said.len() > 30, "{said}");
        }
    }
    assert!(sound > 5 && unsound > 5, "{sound} sound and {unsound} unsound directories");
}
