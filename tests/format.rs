//! The format for ever: stores as they were written once are opened by this build, with all that
//! was in them, and a store of a newer version is refused with a sentence that says what to do.
//!
//! `tests/fixtures/README.md` tells how the stores are kept and when new ones are written.

mod common;
mod fixtures;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use common::episodes::blob;
use common::{Client, Home, Reply};
use engram_shards::format::{
    FORMAT_VERSION, Frame, FrameHead, Operation, StoreHeader, segment_file_name, shard_folder_name,
};
use engram_shards::io::{UringIo, UringSettings};
use engram_shards::log::{Appending, Log, LogEvent, LogIdentity, LogSettings, RecoverySettings};
use engram_shards::shard::{ConsolidationSettings, Shard, ShardSettings};
use engram_shards::store::Store;
use engramd::clock::CLOCK;
use fixtures::Fixture;
use serde_json::Value;

/// The versions that this build reads.
const VERSIONS: std::ops::RangeInclusive<u32> = 1..=FORMAT_VERSION;

fn fixtures() -> impl Iterator<Item = Fixture> {
    VERSIONS.flat_map(|version| ["stopped", "killed"].map(|name| Fixture::named(version, name)))
}

/// A home with a copy of a fixture.
fn home_of(fixture: &Fixture) -> Home {
    let home = Home::new();
    fixture.unpack(&home.data());
    home
}

#[test]
fn everything_that_was_stored_is_served() {
    for fixture in fixtures() {
        let home = home_of(&fixture);
        let mut expected = fixture.expected();
        let (keys, torn) = (expected["keys"].take(), expected["torn"].take());
        let mut daemon = home.start();
        check_torn(&home.said(), &torn);
        let mut client = daemon.client();
        check_listing(&mut client, &expected);
        check_keys(&mut client, &keys, &expected);
        assert!(daemon.stop().success());

        // Once more, from what this build has made of it.
        let daemon = home.start();
        check_torn(&home.said(), &Value::Null);
        check_listing(&mut daemon.client(), &expected);
    }
}

fn check_listing(client: &mut Client, expected: &Value) {
    let listing = fixtures::listing::of(client);
    let mut expected = expected.clone();
    for space in expected["spaces"].as_array_mut().unwrap() {
        // Stores that are older than the setting have codes of one bit.
        space["settings"]["codes"] = 1.into();
        // The same with the fan of associations.
        space["settings"]["fan"] = "degree".into();
        space["settings"]["fan_cap"] = 0.into();
        // And by what model they fade.
        space["settings"]["decay"] = "power".into();
        // And how long they live.
        space["settings"]["ttl"] = 0.into();
        for policy in ["archive", "forget"] {
            space["settings"][format!("{policy}_below")] = 0.0.into();
            space["settings"][format!("{policy}_after")] = 0.into();
        }
        // And in what language they are, and what counts how much.
        space["settings"]["language"] = "english".into();
        space["settings"]["weights"] = vec![0.85, 1.0, 0.8, 0.2, 0.5].into();
        // And where their metadata says what belongs together.
        space["settings"]["thread"] = "".into();
    }
    for (got, want) in spaces(&listing).iter().zip(spaces(&expected)) {
        assert_eq!(got["settings"], want["settings"]);
        let (got, want) = (got["episodes"].as_array(), want["episodes"].as_array());
        for (got, want) in got.into_iter().flatten().zip(want.into_iter().flatten()) {
            assert_eq!(got, want);
        }
    }
    for part in ["durable_sequences", "spaces"] {
        assert_eq!(listing[part], expected[part]);
    }
}

fn spaces(listing: &Value) -> &[Value] {
    listing["spaces"].as_array().unwrap()
}

/// Idempotency keys still answer as the first store did.
fn check_keys(client: &mut Client, keys: &Value, expected: &Value) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    assert!(keys.as_array().is_some_and(|keys| keys.len() > 3));
    for key in keys.as_array().unwrap() {
        let space = spaces(expected).iter().find(|one| one["settings"]["name"] == key["space"]);
        let dimensions = space.unwrap()["settings"]["dim"].as_u64().unwrap();
        let vector = blob(&vec![1.0; usize::try_from(dimensions).unwrap()]);
        let (space, id) = (text(&key["space"]), text(&key["id"]));
        let again =
            client.ask(&command!["EG.STORE", space, id, "VEC", vector, "KEY", text(&key["key"])]);
        assert_eq!(again.at("outcome").text(), "existing", "{key}");
        assert_eq!(again.at("seq").int(), key["seq"].as_i64().unwrap(), "{key}");
    }
}

/// A torn tail is said to have been cut where it is, and nothing is said without one.
fn check_torn(said: &str, torn: &Value) {
    let line = said.lines().find(|line| line.contains("torn tail"));
    if torn.is_null() {
        assert_eq!(line, None);
        return;
    }
    let line = line.expect(said);
    let place = format!("at byte {} of segment {}", torn["offset"], torn["segment"]);
    let shard = format!("shard={}", torn["shard"]);
    assert!(line.contains(&place) && line.ends_with(&shard), "{line}");
}

fn identity(header: &StoreHeader, shard: u32) -> LogIdentity {
    let StoreHeader { store_id, segment_bytes, has_logs, .. } = *header;
    LogIdentity { store_id, shard, segment_bytes, may_be_empty: !has_logs }
}

fn io(store: &Path, shard: u32) -> UringIo {
    let folder = store.join(shard_folder_name(shard));
    UringIo::new(&UringSettings { folder, worker_cpus: vec![], clock: CLOCK }).unwrap()
}

#[test]
fn the_engine_finds_them_sound() {
    for fixture in fixtures() {
        let home = home_of(&fixture);
        let header = Store::inspect(&home.data()).unwrap();
        let mut frames = Vec::new();
        for shard in 0..header.shards {
            let settings = ShardSettings {
                identity: identity(&header, shard),
                log: LogSettings::default(),
                recovery: RecoverySettings::default(),
                memory_bytes_max: 256 << 20,
                memory_prefault_bytes: 0,
                consolidation: ConsolidationSettings::default(),
            };
            let (shard, recovered) =
                Shard::open(io(&home.data(), shard), &settings, &|_| {}).unwrap();
            assert_eq!(shard.verify(), [""; 0]);
            assert!(recovered.losses.is_empty() && recovered.mended.is_empty());
            frames.push(Value::from(recovered.frames));
        }
        assert_eq!(Value::Array(frames), fixture.expected()["durable_sequences"]);
    }
}

#[test]
fn the_inspector_finds_them_sound() {
    for fixture in fixtures() {
        let home = home_of(&fixture);
        let before = fixtures::files_of(&home.data());
        let mut inspect = common::engram();
        let output =
            inspect.arg("inspect").arg(home.data()).args(["verify", "--deep"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains("payloads sound") && said.contains("agree"), "{said}");
        assert!(fixtures::files_of(&home.data()) == before, "inspecting changed a file");
    }
}

/// The daemon refuses, changes nothing below `place`, and one sentence has all these words. Shards
/// open side by side: a sound one may have begun to write when another refuses.
fn refused_unchanged(home: &Home, place: &str, words: &[&str]) {
    let store = || {
        let mut files = fixtures::files_of(&home.data());
        files.retain(|(name, _)| name.starts_with(place));
        files
    };
    let before = store();
    let (code, said) = home.refuse(home.command(&[]));
    assert_eq!(code, Some(1), "{said}");
    let sentence = said.lines().find(|line| line.starts_with("engramd: ")).expect(&said);
    for word in words {
        assert!(sentence.contains(word), "no '{word}' in '{sentence}'");
    }
    assert!(store() == before, "files were changed");
}

fn newest() -> Home {
    home_of(&Fixture::named(FORMAT_VERSION, "stopped"))
}

/// Makes a header block say that it is of the next version, with other contents too: a version that
/// was damaged and nothing else is damage.
fn raise_version(path: &Path) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(&(FORMAT_VERSION + 1).to_le_bytes(), 8).unwrap();
    file.write_all_at(b"newer", 200).unwrap();
}

#[test]
fn a_store_of_a_newer_version_is_refused() {
    let newer = format!("format version {}", FORMAT_VERSION + 1);
    let reads = format!("this build reads version {FORMAT_VERSION}");
    let remedy = "start the build that wrote it";
    let segment =
        |shard, segment| format!("{}/{}", shard_folder_name(shard), segment_file_name(segment));
    let headers = [
        ("engram.store".to_owned(), ["engram.store", "store"]),
        (segment(0, 1), ["shard 0", "log segment 1"]),
        (segment(1, 1), ["shard 1", "log segment 1"]),
        (segment(1, 2), ["shard 1", "log segment 2"]),
    ];
    for (file, [owner, header]) in headers {
        let home = newest();
        raise_version(&home.data().join(&file));
        let folder = file.split_once('/').map_or("", |(folder, _)| folder);
        refused_unchanged(&home, folder, &[owner, header, &newer, &reads, remedy]);
    }
}

#[test]
fn an_operation_of_a_newer_version_is_refused() {
    let home = newest();
    let header = Store::inspect(&home.data()).unwrap();
    let unknown = (1..).find(|&operation| Operation::from_u16(operation).is_none()).unwrap();
    let sequence = append(io(&home.data(), 1), identity(&header, 1), unknown);
    let place = format!("sequence {sequence} cannot be applied");
    let operation = format!("operation {unknown}");
    let words = ["shard 1", &place, &operation, "start the build that wrote it"];
    refused_unchanged(&home, &shard_folder_name(1), &words);
}

/// Appends a frame as a newer version may; its sequence.
fn append(io: UringIo, identity: LogIdentity, operation: u16) -> u64 {
    let (settings, recovery) = (LogSettings::default(), RecoverySettings::default());
    let (mut log, _) =
        Log::open(io, identity, settings, &recovery, &mut |_: Frame<'_>| Ok(())).unwrap();
    let head = FrameHead { operation, recorded_at_us: 1, happened_at_us: 1, writer_uid: 0 };
    let sequence =
        log.append(&head, 5, Appending::default(), |out| out.copy_from_slice(b"newer")).unwrap();
    while !log.is_idle() {
        log.pump();
        log.wait().unwrap();
        while let Some(event) = log.poll() {
            if let LogEvent::Apply(batch) = event {
                log.recycle(batch);
            }
        }
    }
    sequence
}

#[test]
fn a_dump_is_the_files_again() {
    let runs = [vec![0; 70], vec![7; 100], vec![0, 1, 2], vec![0; 64], vec![9; 33]].concat();
    let files = vec![("a/b".to_owned(), runs), ("empty".to_owned(), Vec::new())];
    assert_eq!(fixtures::undump(&fixtures::dump(&files)), files);
}

/// `cargo test --test format -- --ignored write_the_fixtures`: see the README for when.
#[test]
#[ignore = "replaces the fixtures of this version"]
fn write_the_fixtures() {
    fixtures::write::stopped(&Fixture::named(FORMAT_VERSION, "stopped"));
    fixtures::write::killed(&Fixture::named(FORMAT_VERSION, "killed"));
}
