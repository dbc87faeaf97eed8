//! `EG.SNAPSHOT` and `engram restore`: the drill, the refusals, and what becomes of a snapshot when
//! the store goes on.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use common::episodes::{blob, vector};
use common::{Client, Daemon, Home, Reply, occurrences};
use redis::Value;

const DIMENSIONS: usize = 16;
/// Writers, each with ids of its own.
const WRITERS: u64 = 3;
/// Stores that a writer has under way.
const PIPELINE: u64 = 16;
const SNAPSHOTS: usize = 4;
/// Stores that every writer gets acknowledged between two snapshots.
const BETWEEN: u64 = 300;

fn engram(arguments: &[&Path]) -> Output {
    common::engram().args(arguments).output().unwrap()
}

fn restore(snapshot: &Path, data: &Path) -> Output {
    engram(&[Path::new("restore"), snapshot, data])
}

fn snapshot(client: &mut Client, path: &Path) -> Value {
    client.call(&command!["EG.SNAPSHOT", path.to_str().unwrap()])
}

fn id(writer: u64, number: u64) -> String {
    format!("{writer}-{number}")
}

fn text(id: &str) -> String {
    format!("the text of {id} {}", "x".repeat(2000))
}

fn write_store(client: &mut Client, writer: u64, number: u64) {
    let id = id(writer, number);
    let vector = blob(&vector(writer << 32 | number, DIMENSIONS));
    let durability = if writer == 0 { "os" } else { "disk" };
    client.send(&command![
        "EG.STORE",
        "notes",
        id,
        "VEC",
        vector,
        "TEXT",
        text(&id),
        "DUR",
        durability
    ]);
}

/// Stores without end; counts what was acknowledged, in order.
fn write(daemon: &Daemon, writer: u64, acknowledged: &AtomicU64, is_over: &AtomicBool) {
    let mut client = daemon.client();
    let (mut sent, mut got) = (0, 0);
    while !is_over.load(Ordering::Relaxed) {
        while sent < got + PIPELINE {
            write_store(&mut client, writer, sent);
            sent += 1;
        }
        let reply = client.read();
        assert!(!reply.is_error(), "{reply:?}");
        got += 1;
        acknowledged.store(got, Ordering::Relaxed);
    }
    // What was sent is still answered.
    client.read_many(usize::try_from(sent - got).unwrap());
}

/// Moves what there is into columns, again and again.
fn consolidate(daemon: &Daemon, is_over: &AtomicBool) -> u64 {
    let (mut client, mut done) = (daemon.client(), 0);
    while !is_over.load(Ordering::Relaxed) {
        client.ask(&command!["EG.CONSOLIDATE"]);
        done += 1;
    }
    done
}

/// Creates and drops memory spaces without end.
fn churn(daemon: &Daemon, is_over: &AtomicBool) {
    let mut client = daemon.client();
    for number in 0.. {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let name = format!("churn-{number}");
        client.create_space(&name, 3);
        if number % 3 != 0 {
            client.ask(&command!["EG.SPACE", "DROP", name]);
        }
    }
}

fn wait_for(counters: &[AtomicU64], until: u64) {
    let is_there = || counters.iter().all(|counter| counter.load(Ordering::Relaxed) >= until);
    common::eventually("the writers have got that far", is_there);
}

/// A daemon on the restored directory has what was acknowledged before the snapshot was asked for,
/// and takes writes in every memory space that it has.
fn drill(home: &Home, data: &Path, acknowledged: &[u64]) {
    let daemon = home.start_command(home.command_for(data, &[]));
    let mut client = daemon.client();
    for (writer, count) in (0..).zip(acknowledged) {
        for number in 0..*count {
            let id = id(writer, number);
            let found = client.ask(&command!["EG.GET", "notes", id, "WITH", "text", "WITH", "vec"]);
            assert_eq!(found.at("text").text(), text(&id));
            let expected = blob(&vector(writer << 32 | number, DIMENSIONS));
            assert_eq!(found.at("vec").bytes(), expected, "{id}");
        }
    }
    let cue = blob(&vector(1 << 32, DIMENSIONS));
    let hits = client.ask(&command!["EG.RECALL", "notes", "K", "1", "VEC", cue, "EXACT"]);
    assert_eq!(hits.items()[0].at("id").text(), id(1, 0));
    let spaces = client.ask(&command!["EG.SPACE", "LIST"]);
    for space in spaces.items().iter().filter(|name| name.text() != "notes") {
        for number in 0..16 {
            let vector = blob(&[1.0, 2.0, 3.0]);
            let id = number.to_string();
            client.ask(&command!["EG.STORE", space.text(), id, "VEC", vector]);
        }
    }
    assert!(!home.said().contains("torn"), "{}", home.said());
}

#[test]
fn a_snapshot_taken_under_load_is_restored_elsewhere_with_all_that_was_acknowledged() {
    let home = Home::new();
    let daemon = home.start();
    daemon.client().create_space("notes", DIMENSIONS);
    let counters: Vec<AtomicU64> = (0..WRITERS).map(|_| AtomicU64::new(0)).collect();
    let is_over = AtomicBool::new(false);
    let mut taken: Vec<(PathBuf, Vec<u64>)> = Vec::new();
    thread::scope(|scope| {
        for (writer, counter) in (0..).zip(&counters) {
            let (daemon, is_over) = (&daemon, &is_over);
            scope.spawn(move || write(daemon, writer, counter, is_over));
        }
        let consolidations = scope.spawn(|| consolidate(&daemon, &is_over));
        scope.spawn(|| churn(&daemon, &is_over));
        let mut client = daemon.client();
        for nth in 0..SNAPSHOTS {
            wait_for(&counters, (nth as u64 + 1) * BETWEEN);
            let before = counters.iter().map(|counter| counter.load(Ordering::Relaxed)).collect();
            let path = home.path(&format!("snapshot-{nth}"));
            let reply = snapshot(&mut client, &path);
            assert!(!reply.is_error(), "{reply:?}");
            assert_eq!(reply.at("path").text(), path.to_str().unwrap());
            assert_eq!(reply.at("through_seqs").items().len(), 2);
            taken.push((path, before));
        }
        // The store goes on and lets go of what the snapshots share with it.
        wait_for(&counters, (SNAPSHOTS as u64 + 1) * BETWEEN);
        is_over.store(true, Ordering::Relaxed);
        assert!(consolidations.join().unwrap() > 0, "nothing was consolidated meanwhile");
    });
    daemon.client().ask(&command!["EG.CONSOLIDATE"]);
    daemon.kill();
    fs::remove_dir_all(home.data()).unwrap();
    for (nth, (path, acknowledged)) in taken.iter().enumerate() {
        let data = home.path(&format!("restored-{nth}"));
        let output = restore(path, &data);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        drill(&home, &data, acknowledged);
        // A daemon that wrote to what was restored has not changed the snapshot.
        let again = home.path(&format!("again-{nth}"));
        assert!(restore(path, &again).status.success());
    }
}

#[test]
fn what_is_erased_stays_in_the_snapshots_before_and_is_in_none_behind() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    client.create_space("notes", DIMENSIONS);
    for number in 0..40 {
        let vector = blob(&vector(number, DIMENSIONS));
        let (id, text) = (number.to_string(), format!("sesame-{number}-"));
        client.ask(&command!["EG.STORE", "notes", id, "VEC", vector, "TEXT", text]);
        if number == 20 {
            client.ask(&command!["EG.CONSOLIDATE"]);
        }
    }
    let (before, behind) = (home.path("before"), home.path("behind"));
    assert!(!snapshot(&mut client, &before).is_error());
    // One in the columns files, one in the log.
    for id in ["3", "33"] {
        client.ask(&command!["EG.ERASE", "notes", id]);
    }
    assert!(!snapshot(&mut client, &behind).is_error());
    drop(daemon);
    for (snapshot, has_erased) in [(&before, true), (&behind, false)] {
        for number in [3, 33] {
            let erased = format!("sesame-{number}-");
            assert_eq!(occurrences(snapshot, erased.as_bytes()) > 0, has_erased);
        }
        let data = home.path(&format!("restored-{has_erased}"));
        assert!(restore(snapshot, &data).status.success());
        let daemon = home.start_command(home.command_for(&data, &[]));
        let mut client = daemon.client();
        for number in 0..40 {
            let found = client.ask(&command!["EG.GET", "notes", number.to_string()]);
            assert_eq!(found != Value::Nil, has_erased || ![3, 33].contains(&number), "{number}");
        }
    }
}

#[test]
fn a_place_that_will_not_do_is_refused_with_the_reason_and_left_alone() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    fs::create_dir(home.path("full")).unwrap();
    fs::write(home.path("full/mine"), "x").unwrap();
    let inside = home.data().join("snapshot");
    let cases = [
        (PathBuf::from("relative"), "no absolute path"),
        (home.path("no/parent"), "make that first"),
        (inside.clone(), "inside the data directory"),
        (home.path("full"), "has mine in it"),
        (home.path("full/mine"), "no folder"),
    ];
    for (path, expected) in cases {
        let (code, sentence) = client.refused(&command!["EG.SNAPSHOT", path.to_str().unwrap()]);
        assert_eq!(code, "SYNTAX", "{sentence}");
        assert!(sentence.contains(expected), "{sentence}");
    }
    assert!(!inside.exists());
    assert_eq!(fs::read_dir(home.path("full")).unwrap().count(), 1);
    for bad in ["", "/a\0b"] {
        assert_eq!(client.refused(&command!["EG.SNAPSHOT", bad]).0, "SYNTAX");
    }
    let long = format!("/{}", "a".repeat(5000));
    assert_eq!(client.refused(&command!["EG.SNAPSHOT", long]).0, "TOOBIG");
    // An empty folder will do, also the next time.
    for name in ["one", "two"] {
        fs::create_dir(home.path(name)).unwrap();
        assert!(!snapshot(&mut client, &home.path(name)).is_error());
    }
    let names = |folder: &Path| -> BTreeSet<String> {
        let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
        entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
    };
    assert_eq!(names(&home.path("one")), names(&home.path("two")));
    let expected = ["engram.store", "shard-000", "shard-001"].map(String::from);
    assert_eq!(names(&home.path("one")), expected.into());
}

#[test]
fn a_snapshot_that_fails_is_no_store_and_the_next_one_succeeds() {
    let home = Home::new();
    let mut command = home.command(&[]);
    command.env("ENGRAM_FAULT", "copy:5");
    let daemon = home.start_command(command);
    let mut client = daemon.client();
    client.create_space("notes", DIMENSIONS);
    write_store(&mut client, 1, 0);
    assert!(!client.read().is_error());
    let (failed, next) = (home.path("failed"), home.path("next"));
    let reply = snapshot(&mut client, &failed);
    assert_eq!(reply.code(), "SNAPSHOT", "{reply:?}");
    assert!(format!("{reply:?}").contains("log-0000000001.seg could not be copied"), "{reply:?}");
    let output = restore(&failed, &home.path("restored"));
    assert_eq!(output.status.code(), Some(2));
    assert!(!home.path("restored").exists());
    client.ask(&command!["EG.CONSOLIDATE"]);
    assert!(!snapshot(&mut client, &next).is_error());
    drop(daemon);
    // Nobody makes a new store of what is left there.
    let (code, said) = home.refuse(home.command_for(&failed, &[]));
    assert!(code == Some(1) && said.contains("cut short"), "{said}");
    assert!(restore(&next, &home.path("restored")).status.success());
    drill(&home, &home.path("restored"), &[0, 1]);
}

#[test]
fn what_is_damaged_is_not_restored() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    client.create_space("notes", DIMENSIONS);
    for number in 0..40 {
        write_store(&mut client, 1, number);
        assert!(!client.read().is_error());
    }
    let path = home.path("snapshot");
    assert!(!snapshot(&mut client, &path).is_error());
    let log = path.join("shard-000/log-0000000001.seg");
    let mut bytes = fs::read(&log).unwrap();
    bytes[8192 + 200] ^= 1;
    fs::write(&log, bytes).unwrap();
    let output = restore(&path, &home.path("restored"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("is not sound, nothing was restored"), "{said}");
    assert!(!home.path("restored").exists());
    let output = restore(&home.data(), &home.path("restored"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("in use by a daemon"));
}
