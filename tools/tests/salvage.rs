//! `engram inspect DIR salvage OUT` on stores that the engine wrote and somebody damaged: what is
//! left gets out and into another daemon, and what is lost is named.

mod fake;
mod stores;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fake::FakeDaemon;
use serde_json::{Value, json};
use stores::{TestStore, consolidate, contents, sample};

fn engram(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_engram")).args(arguments).output().unwrap()
}

/// Where something is salvaged to, and what the report says.
struct Salvaged {
    folder: tempfile::TempDir,
    report: Value,
    stderr: String,
}

impl Salvaged {
    /// Salvages a store, which must not change, and end with this code.
    #[track_caller]
    fn from(store: &Path, code: i32, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let before = contents(store);
        let mut arguments = vec!["--json", "inspect", text(store), "salvage", text(&out)];
        arguments.extend(options);
        let output = engram(&arguments);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert_eq!(contents(store), before, "salvaging changes nothing");
        let report = serde_json::from_slice(&output.stdout).unwrap();
        let written = fs::read(out.join("report.json")).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), report);
        Self { folder, report, stderr }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("out").join(name)
    }

    /// Id and text of each line of a file.
    fn lines(&self, name: &str) -> Vec<(String, String)> {
        let lines = fs::read_to_string(self.path(name)).unwrap();
        let parse = |line: &str| serde_json::from_str::<Value>(line).unwrap();
        let part = |line: &Value, part: &str| line[part].as_str().unwrap_or_default().to_owned();
        lines.lines().map(parse).map(|line| (part(&line, "id"), part(&line, "text"))).collect()
    }

    fn ids(&self, name: &str) -> BTreeSet<String> {
        self.lines(name).into_iter().map(|(id, _)| id).collect()
    }

    fn lost(&self, shard: usize) -> &Value {
        &self.report["shards"][shard]["lost"]
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn sample_ids() -> BTreeSet<String> {
    let large = (0..12).filter(|nth| *nth != 3).map(|nth| format!("large-{nth}"));
    large.chain(["small".to_owned()]).collect()
}

fn alter(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Where an id stands in a segment.
fn place(path: &Path, id: &str) -> usize {
    let bytes = fs::read(path).unwrap();
    bytes.windows(id.len()).position(|window| window == id.as_bytes()).unwrap()
}

#[test]
fn the_final_state_is_what_is_salvaged_and_all_versions_if_asked() {
    let mut store = TestStore::make(1);
    store.store_all(0, &[("a", "first", "1")]);
    store.store_all(0, &[("a", "second", "2"), ("b", "forgotten", "3")]);
    store.forget(0, "b");
    // A repetition that overtakes the first is in the log and changes nothing.
    store.store_all(0, &[("c", "kept", "4"), ("c", "repeated", "4")]);
    store.store_all(0, &[("d", "erased", "5")]);
    store.erase(0, "d");
    let salvaged = Salvaged::from(store.close().path(), 0, &["--all-versions"]);
    let own = |lines: &[(&str, &str)]| -> Vec<(String, String)> {
        lines.iter().map(|(id, text)| ((*id).to_owned(), (*text).to_owned())).collect()
    };
    assert_eq!(salvaged.lines("1-notes.jsonl"), own(&[("a", "second"), ("c", "kept")]));
    assert_eq!(
        salvaged.lines("1-notes.all-versions.jsonl"),
        own(&[("a", "first"), ("a", "second"), ("b", "forgotten"), ("c", "kept")])
    );
    assert_eq!(salvaged.report["lost_sequences"], 0);
    assert_eq!(salvaged.lost(0)[0]["reason"], "erased", "no loss: somebody asked for it");
    let space = &salvaged.report["spaces"][0];
    assert_eq!((&space["name"], &space["model"]), (&json!("notes"), &json!("test")));
    assert_eq!((&space["fan"], &space["fan_cap"]), (&json!("1.57"), &json!(1500)));
    assert_eq!((&space["episodes"], &space["versions"]), (&json!(2), &json!(4)));
}

#[test]
fn links_are_salvaged_as_they_were_last() {
    let mut store = TestStore::make(1);
    // Every store comes with a link to 'other'.
    store.store_all(0, &[("a", "first", "1"), ("b", "kept", "2")]);
    store.link(0, "a", "gone with the first", 1.0);
    store.store_all(0, &[("a", "second", "3")]);
    store.link(0, "a", "b", 2.0);
    store.link(0, "a", "b", 3.0);
    store.link(0, "b", "a", 4.0);
    store.unlink(0, "b", "other");
    let store = store.close();
    let salvaged = Salvaged::from(store.path(), 0, &[]);
    let file = fs::read_to_string(salvaged.path("1-notes.jsonl")).unwrap();
    let links: Vec<Value> = file
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["links"].take())
        .collect();
    let link = |id: &str, weight: f64| json!({ "id": id, "weight": weight, "kind": "k" });
    assert_eq!(links, [json!([link("a", 4.0)]), json!([link("other", 0.5), link("b", 3.0)])]);
    let log = engram(&["inspect", text(store.path()), "log", "--json"]);
    let log = String::from_utf8(log.stdout).unwrap();
    assert!(log.contains("\"operation\":\"link\"") || log.contains("\"operation\": \"link\""));
    assert!(log.contains("b → other"), "{log}");
    assert!(engram(&["inspect", text(store.path()), "verify", "--deep"]).status.success());
}

#[test]
fn what_is_left_of_a_damaged_store_is_imported_into_another_daemon() {
    let store = sample().close();
    let log = store.segment(0, 2);
    let lost = "large-5";
    let at = place(&log, lost) + 1000;
    alter(&log, |bytes| bytes[at] ^= 1);
    let salvaged = Salvaged::from(store.path(), 1, &[]);
    // The creation of the space, then large-0 to large-4.
    assert_eq!(salvaged.lost(0), &json!([{ "first": 7, "last": 7, "reason": "lost" }]));
    assert_eq!(salvaged.report["lost_sequences"], 1);
    assert!(salvaged.stderr.contains("1 sequences are lost"), "{}", salvaged.stderr);
    let mut expected = sample_ids();
    assert!(expected.remove(lost));
    assert_eq!(salvaged.ids("1-notes.jsonl"), expected);

    let daemon = FakeDaemon::start();
    let file = salvaged.path("1-notes.jsonl");
    let socket = text(daemon.socket());
    let import =
        engram(&["--socket", socket, "import", "notes", "--create", "--episodes", text(&file)]);
    assert!(import.status.success(), "{import:?}");
    let export = engram(&["--socket", socket, "export", "notes"]);
    let sorted = |bytes: &[u8]| {
        let lines: BTreeSet<String> =
            String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect();
        lines
    };
    assert_eq!(sorted(&export.stdout), sorted(&fs::read(file).unwrap()), "field by field");
}

#[test]
fn a_store_without_its_header_is_read_by_its_segments() {
    let store = sample().close();
    let header = store.path().join("engram.store");
    fs::remove_file(&header).unwrap();
    let salvaged = Salvaged::from(store.path(), 0, &[]);
    assert_eq!(salvaged.ids("1-notes.jsonl"), sample_ids());
    let problem = salvaged.report["store_header_problem"].as_str().unwrap();
    assert!(problem.contains("engram.store"), "{problem}");
    fs::write(&header, "nonsense").unwrap();
    assert_eq!(Salvaged::from(store.path(), 0, &[]).ids("1-notes.jsonl"), sample_ids());
}

#[test]
fn a_space_whose_creation_is_lost_keeps_its_name_by_another_shard_or_its_number() {
    let store = sample().close();
    let log = store.segment(0, 1);
    let at = place(&log, "notes");
    alter(&log, |bytes| bytes[at] ^= 1);
    let salvaged = Salvaged::from(store.path(), 1, &[]);
    assert_eq!(salvaged.lost(0)[0]["first"], 1);
    assert_eq!(salvaged.ids("1-notes.jsonl"), sample_ids());

    let mut store = TestStore::make(1);
    store.store(0, "a", 5);
    store.store(0, "b", 5);
    let store = store.close();
    alter(&store.segment(0, 1), |bytes| bytes[at] ^= 1);
    let salvaged = Salvaged::from(store.path(), 1, &[]);
    let space = &salvaged.report["spaces"][0];
    assert_eq!((&space["is_guessed"], &space["dimensions"]), (&json!(true), &json!(4)));
    assert_eq!(salvaged.ids("1-space-1.jsonl"), BTreeSet::from(["a".into(), "b".into()]));
}

#[test]
fn the_command_that_is_shown_makes_the_space_as_it_was() {
    let mut store = TestStore::make(1);
    store.store(0, "a", 5);
    let store = store.close();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let output = engram(&["inspect", text(store.path()), "salvage", text(&out)]);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let create = shown.lines().find_map(|line| line.strip_prefix("  engram ")).expect(&shown);
    let daemon = FakeDaemon::start();
    let at = ["--socket", text(daemon.socket()), "--json"];
    let ask = |words: Vec<&str>| {
        let output = engram(&[&at[..], &words].concat());
        assert!(output.status.success(), "{create}: {output:?}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    ask(create.split(' ').collect());
    let info = ask(vec!["space", "info", "notes"]);
    assert_eq!((&info["dim"], &info["model"]), (&json!(4), &json!("test")));
    assert_eq!((&info["fan"], &info["fan_cap"]), (&json!("1.57"), &json!(1500)));
}

#[test]
fn a_shard_or_segment_that_is_gone_takes_only_itself() {
    let store = sample().close();
    fs::remove_dir_all(store.segment(1, 1).parent().unwrap()).unwrap();
    fs::remove_file(store.segment(0, 1)).unwrap();
    let salvaged = Salvaged::from(store.path(), 1, &[]);
    let first = salvaged.report["shards"][0]["lost"][0].clone();
    assert_eq!((&first["first"], &first["reason"]), (&json!(1), &json!("lost")));
    assert!(!salvaged.report["shards"][1]["problems"].as_array().unwrap().is_empty());
    // The space was created in both, so that only its number is left. The forget is left too.
    let expected = (first["last"].as_u64().unwrap() - 1..12).filter(|nth| *nth != 3);
    let expected = expected.map(|nth| format!("large-{nth}")).collect();
    assert_eq!(salvaged.ids("1-space-1.jsonl"), expected);
}

/// Damages that are made up by a counter: nothing may be invented, and nothing go in silence.
#[test]
fn whatever_is_damaged_the_rest_is_true_and_the_loss_is_told() {
    let mut store = TestStore::make(1);
    let texts: Vec<String> = (0..40).map(|nth| format!("{nth} ").repeat(1 + nth * 53)).collect();
    for (nth, text) in texts.iter().enumerate() {
        store.store_all(0, &[(&format!("e{nth}"), text, "")]);
    }
    let store = store.close();
    let log = store.segment(0, 1);
    let sound = fs::read(&log).unwrap();
    let used = sound.iter().rposition(|byte| *byte != 0).unwrap();
    let truth: BTreeSet<(String, String)> =
        (0..40).map(|nth| (format!("e{nth}"), texts[nth].clone())).collect();
    let mut losses = 0;
    for round in 0..24_usize {
        let at = round * 7919 % used;
        let bytes = [1, 64, 4096, 20_000][round % 4].min(used - at);
        let mut damaged = sound.clone();
        match round % 3 {
            0 => damaged[at] ^= 1 << (round % 8),
            1 => damaged[at..at + bytes].fill(0),
            _ => damaged[at..at + bytes].fill(0xa5),
        }
        let is_changed = damaged != sound;
        fs::write(&log, &damaged).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let output = engram(&["--json", "inspect", text(store.path()), "salvage", text(&out)]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
            panic!("round {round}: {}", String::from_utf8_lossy(&output.stderr))
        });
        let name =
            if out.join("1-notes.jsonl").exists() { "1-notes.jsonl" } else { "1-space-1.jsonl" };
        let salvaged = Salvaged { folder, report, stderr: String::new() };
        let found: BTreeSet<_> = salvaged.lines(name).into_iter().collect();
        assert!(found.is_subset(&truth), "round {round} invented something");
        let shard = &salvaged.report["shards"][0];
        let lost = salvaged.report["lost_sequences"].as_u64().unwrap();
        let missing = (truth.len() - found.len()) as u64;
        let is_torn = shard["torn_bytes"].as_u64().unwrap() > 0;
        // What nothing later calls durable may look torn: at most the batches in flight.
        let unproven = if is_torn { 4 } else { 0 };
        assert!(missing <= lost + unproven, "round {round}: {missing} missing: {shard}");
        assert_eq!(output.status.code(), Some(i32::from(lost > 0)), "round {round}");
        losses += u64::from(lost > 0 && is_changed);
    }
    assert!(losses > 8, "hardly a damage did any: {losses}");
}

#[test]
fn what_is_only_in_columns_files_is_counted_and_not_called_lost() {
    let store = sample().close();
    consolidate(&store);
    let salvaged = Salvaged::from(store.path(), 1, &[]);
    let shard = &salvaged.report["shards"][0];
    assert_eq!((&shard["lost"], &shard["problems"]), (&json!([]), &json!([])));
    let first = shard["first_sequence"].as_u64().unwrap();
    assert_eq!(salvaged.report["unread_sequences"], first - 1);
    assert!((2..14).contains(&first), "a part of what is covered is still in the log");
    assert!(salvaged.stderr.contains("are in columns files"), "{}", salvaged.stderr);
    assert!(salvaged.ids("1-notes.jsonl").contains("later"));
    // Without its manifest nobody knows what was consolidated.
    fs::remove_file(store.path().join("shard-000/manifest")).unwrap();
    let salvaged = Salvaged::from(store.path(), 1, &[]);
    let shard = &salvaged.report["shards"][0];
    assert!(shard["problems"][0].as_str().unwrap().contains("manifest"), "{shard}");
    assert_eq!(salvaged.report["lost_sequences"], first - 1);
}

#[test]
fn what_cannot_be_salvaged_is_refused_with_a_remedy() {
    let store = TestStore::make(1);
    let out = tempfile::tempdir().unwrap();
    let refuse = |arguments: &[&str]| {
        let output = engram(arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let target = text(out.path());
    let in_use = refuse(&["inspect", text(store.path()), "salvage", target]);
    assert!(in_use.contains("stop engramd first"), "{in_use}");
    let store = store.close();
    fs::write(out.path().join("mine"), "").unwrap();
    let not_empty = refuse(&["inspect", text(store.path()), "salvage", target]);
    assert!(not_empty.contains("is not empty"), "{not_empty}");
    let nothing = tempfile::tempdir().unwrap();
    let no_store = refuse(&["inspect", text(nothing.path()), "salvage", target]);
    assert!(no_store.contains("not a data directory"), "{no_store}");
}
