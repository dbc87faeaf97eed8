//! `engram load --journal` and `--verify` against a fake daemon that can be made to lie: every way
//! to lose, alter, invent or bring back something is noticed, and nothing else is.

mod fake;

use std::path::PathBuf;
use std::process::{Command, Output};

use fake::FakeDaemon;
use serde_json::Value;

/// A fake daemon and the journal of what was changed in it.
struct Scene {
    daemon: FakeDaemon,
    journal: PathBuf,
}

impl Scene {
    /// After two runs: the spaces that the first created the second drops.
    fn new() -> Self {
        let daemon = FakeDaemon::start();
        let journal = daemon.path("journal");
        let scene = Self { daemon, journal };
        scene.change("1");
        scene.change("2");
        scene
    }

    fn engram(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_engram"))
            .arg("--socket")
            .arg(self.daemon.socket())
            .args(arguments)
            .output()
            .unwrap()
    }

    fn load(&self, arguments: &[&str]) -> Output {
        let journal = self.journal.to_str().unwrap();
        self.engram(&[&["--json", "load", "--journal", journal], arguments].concat())
    }

    /// Three connections, each with a pipeline of 64 changes at least.
    fn change(&self, seed: &str) {
        let mix = "store=2,replace=2,forget=2,repeat=2,space=1";
        let output = self.load(&[
            "--seed",
            seed,
            "--mix",
            mix,
            "--dimensions",
            "8",
            "--connections",
            "3",
            "--window",
            "64",
            "--seconds",
            "0.01",
        ]);
        assert!(output.status.success(), "{output:?}");
    }

    fn verify(&self) -> Output {
        self.engram(&["--json", "load", "--verify", self.journal.to_str().unwrap()])
    }

    #[track_caller]
    fn is_true(&self) -> Value {
        let output = self.verify();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A verification that must find so much of one kind, and says what in its error.
    #[track_caller]
    fn is_false(&self, kind: &str) -> (u64, String) {
        let output = self.verify();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{error}");
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        (found[kind].as_u64().unwrap(), error)
    }
}

#[test]
fn an_honest_daemon_is_believed() {
    let scene = Scene::new();
    let found = scene.is_true();
    let kinds =
        ["created", "replaced", "forgotten", "existing", "spaces_created", "spaces_dropped"];
    for kind in kinds {
        assert!(found[kind].as_u64().unwrap() > 0, "{kind}: {found}");
    }
    assert!(found["present"].as_u64().unwrap() > 0, "{found}");
    assert_eq!(found["unanswered"], 0);
    let journal = std::fs::read_to_string(&scene.journal).unwrap();
    assert!(journal.starts_with("engram-journal 2 8\n> 0 create 0\n< 0 done\n"), "{journal}");
    scene.change("3");
    scene.is_true();
}

#[test]
fn a_lost_episode_is_missing() {
    let scene = Scene::new();
    let id = scene.daemon.ids("load")[0].clone();
    scene.daemon.lose("load", &id);
    let (missing, error) = scene.is_false("missing");
    assert_eq!(missing, 1);
    assert!(error.contains(&format!("'{id}' in 'load' is in version None")), "{error}");
}

#[test]
fn one_bit_of_a_vector_is_altered() {
    let scene = Scene::new();
    let id = scene.daemon.ids("load")[0].clone();
    scene.daemon.alter("load", &id);
    let (altered, error) = scene.is_false("altered");
    assert_eq!(altered, 1);
    assert!(error.contains(&format!("the vector of '{id}'")), "{error}");
}

#[test]
fn what_nobody_sent_is_invented() {
    let scene = Scene::new();
    let vector = "1 2 3 4 5 6 7 8";
    let store = scene.engram(&["store", "load", "stranger", "--values", vector]);
    assert!(store.status.success(), "{store:?}");
    assert!(scene.engram(&["space", "create", "other", "--dim", "8"]).status.success());
    let (invented, error) = scene.is_false("invented");
    assert_eq!(invented, 2);
    assert!(error.contains("'stranger'") && error.contains("'other'"), "{error}");
}

#[test]
fn a_daemon_that_went_back_in_time_brings_back_and_misses() {
    let scene = Scene::new();
    let before = scene.daemon.snapshot();
    scene.change("3");
    scene.is_true();
    scene.daemon.restore(before);
    assert!(scene.is_false("resurrected").0 > 0);
    assert!(scene.is_false("missing").0 > 0);
}

#[test]
fn a_forgotten_key_is_a_wrong_answer() {
    let scene = Scene::new();
    scene.is_true();
    scene.daemon.forget_keys();
    scene.change("3");
    let (wrong, error) = scene.is_false("wrong_answers");
    assert!(wrong > 0);
    assert!(error.contains("Repeat"), "{error}");
}

#[test]
fn what_was_not_answered_may_be_there_or_not_and_is_settled_by_a_look() {
    let scene = Scene::new();
    let settled = || scene.is_true()["settled"].as_u64().unwrap();
    // Stores beside the drop of their space.
    settled();
    assert_eq!(settled(), 0);
    let append = |lines: &str| {
        let journal = std::fs::read_to_string(&scene.journal).unwrap();
        std::fs::write(&scene.journal, journal + lines).unwrap();
    };
    // Under way when the daemon died: the store of a new episode, and the forget of one.
    let id = scene.daemon.ids("load")[0].clone();
    let number = id.strip_prefix("change-").unwrap();
    append(&format!("> 900000 store 0 900000\n> 900001 forget 0 {number}\n"));
    assert_eq!(settled(), 2);
    assert_eq!(settled(), 0, "what was found has to stay");
    scene.daemon.lose("load", &id);
    assert_eq!(scene.is_false("missing").0, 1);
}

#[test]
fn a_journal_begins_on_an_empty_store_and_keeps_its_dimensions() {
    let scene = Scene::new();
    let fail = |output: Output| {
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let other = fail(scene.load(&["--dimensions", "9"]));
    assert!(other.contains("give --dimensions 8"), "{other}");
    let path = scene.daemon.path("another");
    let another = fail(scene.engram(&["load", "--journal", path.to_str().unwrap()]));
    assert!(another.contains("begins on an empty store"), "{another}");
    assert!(fail(scene.load(&["--mix", "eat=1"])).contains("'eat=1'"));
    assert!(fail(scene.load(&["--rate", "5"])).contains("--rate"));
}
