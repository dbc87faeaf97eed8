//! A failed write or flush of the real daemon on a real disk: the shard latches, says so, goes on
//! reading, tries nothing again, and a restart finds everything that was acknowledged.
//!
//! The failures come from a seam that only test builds have (`ENGRAM_FAULT`, see
//! `shards/src/io/uring/faults.rs`).

mod common;

use common::episodes::{blob, vector};
use common::{Client, Home, Reply};

fn store(client: &mut Client, number: u64) -> redis::Value {
    let id = number.to_string();
    client.call(&command!["EG.STORE", "notes", id, "VEC", blob(&vector(number, 3)), "TEXT", "t"])
}

/// Stores until one is refused; what was acknowledged, and the refusal.
fn store_until_refused(client: &mut Client) -> (Vec<u64>, redis::Value) {
    let mut acknowledged = Vec::new();
    for number in 0..1000 {
        let reply = store(client, number);
        if reply.is_error() {
            return (acknowledged, reply);
        }
        acknowledged.push(number);
    }
    panic!("nothing failed")
}

fn latches(fault: &str, what: &str) {
    let home = Home::new();
    let mut command = home.command(&["shards=1"]);
    command.env("ENGRAM_FAULT", fault);
    let daemon = home.start_command(command);
    let mut client = daemon.client();
    client.create_space("notes", 3);
    let (acknowledged, refusal) = store_until_refused(&mut client);
    assert!(!acknowledged.is_empty(), "the failure comes later");
    assert_eq!(refusal.code(), "READONLY", "{refusal:?}");
    let sentence = format!("{refusal:?}");
    assert!(sentence.contains(what) && sentence.contains("restart engramd"), "{sentence}");

    // Nothing is tried again: every later write is refused for the same reason.
    for number in 2000..2005 {
        assert_eq!(format!("{:?}", store(&mut client, number)), sentence);
    }
    let erase = client.call(&command!["EG.ERASE", "notes", "0"]);
    assert_eq!(erase.code(), "READONLY", "{erase:?}");
    let first = acknowledged[0].to_string();
    for words in [
        &["EG.LINK", "notes", &first, "x", "1"][..],
        &["EG.LINK", "notes", &first, &first, "1", "MUTUAL"],
        &["EG.UNLINK", "notes", &first, "x"],
    ] {
        assert_eq!(client.refused(&common::client::encode(words)).0, "READONLY");
    }
    let stats = client.ask(&command!["EG.STATS"]);
    assert_eq!(stats.at("read_only_shards").int(), 1);
    // Reads go on.
    let found = client.ask(&command!["EG.GET", "notes", acknowledged[0].to_string()]);
    assert_eq!(found.at("text").text(), "t");
    drop(client);
    daemon.kill();

    let daemon = home.start_with(&["shards=1"]);
    let mut client = daemon.client();
    for number in acknowledged {
        let found = client.ask(&command!["EG.GET", "notes", number.to_string()]);
        assert_eq!(found.at("text").text(), "t", "{number}");
    }
    assert!(!store(&mut client, 3000).is_error(), "a restart takes writes again");
}

#[test]
fn a_failed_flush_latches() {
    latches("flush:7", "a log flush");
}

#[test]
fn a_failed_write_latches() {
    latches("write:7", "a log write");
}

#[test]
fn a_short_write_latches() {
    latches("short:7", "a log write");
}

#[test]
fn a_failed_anchor_latches() {
    latches("anchor:2", "a log anchor");
}
