//! `engram inspect` on stores that the engine wrote: what is shown, what is noticed, and that
//! nothing is changed.

mod stores;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};

use engram_shards::format::columns::ColumnKind;
use serde_json::Value;
use stores::{TestStore, append_raw, consolidate, contents, sample};

fn inspect(store: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_engram"));
    command.arg("inspect").arg(store).args(arguments).output().unwrap()
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

/// The document of a command that must end with this code.
#[track_caller]
fn json(store: &Path, code: i32, arguments: &[&str]) -> Value {
    let output = inspect(store, &[arguments, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_summary_counts_what_is_there() {
    let store = sample().close();
    let report = json(store.path(), 0, &[]);
    assert_eq!(report["store"]["shards"], 2);
    assert_eq!(report["store"]["in_use_by"], Value::Null);
    let [first, second] = &report["shards"].as_array().unwrap()[..] else { panic!("{report}") };
    assert_eq!(first["operations"]["store"], 12);
    assert_eq!(first["operations"]["forget"], 1);
    assert_eq!(first["operations"]["space_create"], 1);
    assert_eq!((&first["frames"], &first["last_sequence"]), (&14.into(), &14.into()));
    assert_eq!(first["tail"]["state"], "clean");
    let space = &first["spaces"][0];
    assert_eq!((&space["name"], &space["fan"]), (&"notes".into(), &"1.57".into()));
    assert_eq!(space["fan_cap"], 1500);
    assert_eq!(second["last_sequence"], 2);

    let output = inspect(store.path(), &[]);
    let shown = text(&output.stdout);
    assert!(shown.contains("2 full, 1 active, 1 unused"), "{shown}");
    for part in ["cosine", "1.57", "1,500"] {
        assert!(shown.contains(part), "no {part} in {shown}");
    }
}

#[test]
fn segments_continue_each_other() {
    let store = sample().close();
    let report = json(store.path(), 0, &["segments"]);
    let segments = report["shards"][0]["segments"].as_array().unwrap();
    let states: Vec<_> = segments.iter().map(|segment| &segment["state"]).collect();
    assert_eq!(states, ["full", "full", "active", "unused"]);
    for pair in segments[..3].windows(2) {
        let [last, first] = [&pair[0]["last_sequence"], &pair[1]["first_sequence"]];
        assert_eq!(last.as_u64().unwrap() + 1, first.as_u64().unwrap(), "{report}");
    }
    let [used, file] = ["used_bytes", "file_bytes"].map(|key| segments[0][key].as_u64().unwrap());
    assert!(4 * 900_000 < used && used <= file, "{report}");
}

#[test]
fn frames_are_listed_from_any_place() {
    let store = sample().close();
    let sequences = |arguments: &[&str]| -> Vec<u64> {
        let frames = json(store.path(), 0, &[&["log", "--shard", "0"], arguments].concat());
        let frames = frames.as_array().unwrap().iter();
        frames.map(|frame| frame["sequence"].as_u64().unwrap()).collect()
    };
    assert_eq!(sequences(&[]), (1..=14).collect::<Vec<_>>());
    assert_eq!(sequences(&["--from-sequence", "9", "--limit", "3"]), [9, 10, 11]);
    let second = sequences(&["--segment", "2"]);
    let report = json(store.path(), 0, &["segments"]);
    let segment = &report["shards"][0]["segments"][1];
    assert_eq!(second.first().copied(), segment["first_sequence"].as_u64());
    assert_eq!(second.last().copied(), segment["last_sequence"].as_u64());

    let frames = json(store.path(), 0, &["log", "--limit", "2"]);
    let small = frames.as_array().unwrap().iter().find(|frame| frame["id"] == "small").unwrap();
    assert_eq!((&small["shard"], &small["operation"]), (&1.into(), &"store".into()));
    assert_eq!((&small["dimensions"], &small["text_bytes"]), (&4.into(), &5.into()));
    assert_eq!((&small["links"], &small["writer_uid"]), (&1.into(), &1000.into()));
    // The name that people guess.
    let shown = text(&inspect(store.path(), &["frames", "--from-sequence", "14"]).stdout);
    assert!(shown.contains("forget") && shown.ends_with("large-3\n"), "{shown}");
}

#[test]
fn a_sound_store_verifies_also_when_it_is_rebuilt() {
    let store = sample().close();
    let before = contents(store.path());
    let report = json(store.path(), 0, &["verify", "--deep"]);
    assert_eq!(report["sound"], true);
    assert_eq!(report["shards"][0]["rebuilt"]["episodes"], 11);
    assert_eq!(report["shards"][1]["rebuilt"]["episodes"], 1);
    assert_eq!(contents(store.path()), before, "inspecting changes nothing");
}

#[test]
fn damage_to_acknowledged_frames_is_found_and_named() {
    let store = sample().close();
    let log = store.segment(0, 2);
    let mut bytes = fs::read(&log).unwrap();
    bytes[10_000] ^= 1;
    fs::write(&log, bytes).unwrap();
    let before = contents(store.path());
    let report = json(store.path(), 1, &["verify", "--deep"]);
    assert_eq!(
        (&report["sound"], &report["shards"][1]["problem_count"]),
        (&false.into(), &0.into())
    );
    let damaged = &report["shards"][0];
    let first = json(store.path(), 0, &["segments"])["shards"][0]["segments"][1]["first_sequence"]
        .as_u64()
        .unwrap();
    assert_eq!(damaged["tail"]["state"], "damaged");
    assert_eq!(damaged["tail"]["first_sequence"], first);
    assert_eq!(damaged["rebuilt"], Value::Null);
    let states: Vec<_> =
        damaged["segments"].as_array().unwrap().iter().map(|s| s["state"].clone()).collect();
    assert_eq!(states, ["full", "active", "unreached", "unused"]);

    let output = inspect(store.path(), &["verify"]);
    let (shown, error) = (text(&output.stdout), text(&output.stderr));
    assert!(shown.contains(&format!("fails its checksum): the acknowledged sequences {first} to")));
    assert!(error.contains("1 of 2 shards have problems; restore it from a copy"), "{error}");
    let behind = json(store.path(), 0, &["log", "--shard", "0", "--segment", "3"]);
    assert!(!behind.as_array().unwrap().is_empty(), "what is behind the damage can be read");
    assert_eq!(contents(store.path()), before);
}

#[test]
fn a_torn_tail_is_no_damage_and_stays() {
    let store = sample().close();
    let report = json(store.path(), 0, &[]);
    let at = report["shards"][1]["end"]["offset"].as_u64().unwrap() as usize;
    let log = store.segment(1, 1);
    let mut bytes = fs::read(&log).unwrap();
    // The disk got to the second of its own sectors and not to the first.
    bytes[at + 512..at + 612].fill(7);
    fs::write(&log, bytes).unwrap();
    let before = contents(store.path());
    let report = json(store.path(), 0, &["verify", "--deep"]);
    assert_eq!(report["shards"][1]["tail"]["state"], "torn");
    assert_eq!(report["shards"][1]["tail"]["bytes"], 612);
    let shown = text(&inspect(store.path(), &[]).stdout);
    assert!(shown.contains("shard 1: a torn tail of 612 bytes from byte 12288"), "{shown}");
    assert_eq!(contents(store.path()), before);
}

#[test]
fn frames_whose_payload_cannot_be_are_problems() {
    let store = TestStore::make(1).close();
    append_raw(&store, 3, b"too short for a store");
    append_raw(&store, 99, b"");
    let report = json(store.path(), 1, &["verify"]);
    let problems = report["shards"][0]["problems"].as_array().unwrap();
    let shown: Vec<_> = problems.iter().map(|problem| problem.as_str().unwrap()).collect();
    assert_eq!(
        shown,
        [
            "sequence 2: the payload of a store is malformed: shorter than its fixed part",
            "sequence 3: operation 99 is unknown to this version",
        ]
    );
    let frames = json(store.path(), 0, &["log", "--from-sequence", "3"]);
    assert_eq!(frames[0]["problem"], "operation 99 is unknown to this version");
}

#[test]
fn a_missing_segment_is_a_problem_of_its_shard() {
    let store = sample().close();
    fs::remove_file(store.segment(0, 2)).unwrap();
    let report = json(store.path(), 1, &["verify"]);
    let problems = &report["shards"][0]["problems"];
    assert_eq!(problems[0], "log segment 2 is missing");
    let damage = problems[1].as_str().unwrap();
    assert!(damage.contains("the acknowledged sequences 6 to"), "{damage}");
    assert_eq!(report["shards"][1]["problem_count"], 0);
}

#[test]
fn a_store_that_is_written_to_is_never_called_damaged() {
    let mut store = TestStore::make(1);
    let path = store.path().to_owned();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let inspector = scope.spawn(|| {
            let reports: Vec<Value> =
                (0..8).map(|_| json(&path, 0, &["verify", "--deep"])).collect();
            is_done.store(true, Ordering::Relaxed);
            reports
        });
        let mut nth = 0;
        while !is_done.load(Ordering::Relaxed) && !inspector.is_finished() {
            store.store(0, &format!("e{nth}"), 2000);
            nth += 1;
        }
        let reports = inspector.join().unwrap();
        let holder = std::process::id().to_string();
        assert!(reports.iter().all(|report| report["store"]["in_use_by"] == holder.as_str()));
        let frames = |report: &Value| report["shards"][0]["frames"].as_u64().unwrap();
        assert!(frames(&reports[7]) > frames(&reports[0]), "it grew meanwhile");
    });
}

#[test]
fn a_log_that_begins_behind_a_manifest_is_shown_and_verified_from_there() {
    let store = sample().close();
    consolidate(&store);
    let before = contents(store.path());
    let report = json(store.path(), 0, &["verify"]);
    let shard = &report["shards"][0];
    assert_eq!(shard["covered"]["through_sequence"], 14);
    assert_eq!(shard["covered"]["columns_files"][0], "columns-0000000001.seg");
    assert_eq!((&shard["frames"], &shard["last_sequence"]), (&1.into(), &15.into()));
    let space = &shard["spaces"][0];
    assert_eq!(space["stores"], 1, "the space is known from the state file");
    assert_eq!((&space["fan"], &space["fan_cap"]), (&"1.57".into(), &1500.into()));
    assert_eq!(report["shards"][1]["covered"], Value::Null);
    let segments = shard["segments"].as_array().unwrap();
    let numbers: Vec<_> = segments.iter().map(|segment| &segment["segment"]).collect();
    assert_eq!(numbers, [3, 4]);
    let said = text(&inspect(store.path(), &["verify"]).stdout);
    assert!(said.contains("sequences 1 to 14 are in 1 columns files"), "{said}");
    assert!(said.contains("shard 0: sequences 15 to 15: checksums"), "{said}");
    // What is left of the log before the place is shown too.
    let frames = json(store.path(), 0, &["log", "--shard", "0"]);
    let last = frames.as_array().unwrap().last().unwrap();
    assert_eq!(last["sequence"], 15);
    assert!(frames[0]["sequence"].as_u64().unwrap() < 15, "{frames}");
    assert_eq!(contents(store.path()), before, "looking changes nothing");

    for file in ["state-0000000002.chk", "columns-0000000001.seg", "manifest"] {
        let path = store.path().join("shard-000").join(file);
        let good = fs::read(&path).unwrap();
        fs::write(&path, &good[..100]).unwrap();
        let report = json(store.path(), 1, &["verify"]);
        let problem = report["shards"][0]["problems"][0].as_str().unwrap();
        assert!(problem.contains(file.split('-').next().unwrap()), "{problem}");
        fs::write(&path, good).unwrap();
    }
    // A bit of the state file that only its checksum covers.
    let path = store.path().join("shard-000/state-0000000002.chk");
    let mut bytes = fs::read(&path).unwrap();
    bytes[4096 + 30] ^= 1;
    fs::write(&path, bytes).unwrap();
    let report = json(store.path(), 1, &["verify"]);
    let problem = report["shards"][0]["problems"][0].as_str().unwrap();
    assert!(problem.contains("checksum"), "{problem}");
}

#[test]
fn damage_to_columns_of_links_is_named_when_a_store_is_rebuilt() {
    let mut store = TestStore::make(1);
    for id in ["a", "b", "c"] {
        store.store(0, id, 10);
    }
    store.link(0, "a", "b", 2.0);
    store.consolidate(0);
    store.link(0, "b", "c", 3.0);
    let store = store.close();
    let report = json(store.path(), 0, &["verify", "--deep"]);
    assert_eq!(
        (&report["sound"], &report["shards"][0]["rebuilt"]["episodes"]),
        (&true.into(), &3.into())
    );
    let (path, directory) = store.columns(0);
    let good = fs::read(&path).unwrap();
    for (kind, name) in [
        (ColumnKind::LinkHeads, "LinkHeads"),
        (ColumnKind::LinkEdges, "LinkEdges"),
        (ColumnKind::LinkTargets, "LinkTargets"),
        (ColumnKind::LinkKinds, "LinkKinds"),
    ] {
        let range = directory.sections[0].column(kind).unwrap().range.clone();
        for at in [range.start, range.end - 1] {
            let mut damaged = good.clone();
            damaged[at] ^= 1;
            fs::write(&path, damaged).unwrap();
            let report = json(store.path(), 1, &["verify", "--deep"]);
            let problems = &report["shards"][0]["rebuilt"]["problems"];
            let named = format!("space 'notes': column {name}: block 0 does not check");
            assert_eq!(problems, &Value::from(vec![named]), "byte {at}");
        }
    }
    fs::write(&path, good).unwrap();
    assert_eq!(json(store.path(), 0, &["verify", "--deep"])["sound"], true);
}

#[test]
fn what_is_no_store_is_refused_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let output = inspect(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("it is not a data directory of Engram"), "{output:?}");

    let store = TestStore::make(1).close();
    let output = inspect(store.path(), &["log", "--shard", "1"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("no shard 1; the store has 1"), "{output:?}");
    let header = store.path().join("engram.store");
    let mut bytes = fs::read(&header).unwrap();
    // Another version, and so another checksum.
    bytes[8] = 2;
    bytes[4095] ^= 1;
    fs::write(header, bytes).unwrap();
    let output = inspect(store.path(), &["verify"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("format version 2"), "{output:?}");
}
