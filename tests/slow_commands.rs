//! What took long: `EG.SLOWLOG`, `EG.LATENCY`, and the trace of a sample.

mod common;

use std::collections::BTreeMap;

use common::episodes::{blob, vector};
use common::{Client, Home, Reply, eventually};
use redis::Value;

/// Stores and reads on both shards, and a recall.
fn act(client: &mut Client) {
    client.create_space("notes", 3);
    for id in 0..20_u64 {
        let vector = blob(&vector(id, 3));
        let text = "a text of which nothing but its length is kept";
        client.ask(&command!["EG.STORE", "notes", id.to_string(), "VEC", vector, "TEXT", text]);
        client.ask(&command!["EG.GET", "notes", id.to_string()]);
    }
    client.ask(&command!["EG.RECALL", "notes", "K", "3", "ID", "7"]);
}

fn slow(client: &mut Client, count: usize) -> Vec<Value> {
    let slow = client.ask(&command!["EG.SLOWLOG", "GET", count.to_string()]);
    slow.items().to_vec()
}

fn words(entry: &Value) -> Vec<&str> {
    entry.at("command").items().iter().map(Reply::text).collect()
}

#[test]
fn slow_commands_are_kept_with_where_their_time_went() {
    let home = Home::new();
    let daemon = home.start_with(&["slowlog_us=0"]);
    let mut client = daemon.client();
    client.ask(&command!["HELLO", "3", "AUTH", "me", "secret", "SETNAME", "tester"]);
    act(&mut client);
    let entries = slow(&mut client, 100);
    let newest = &entries[0];
    assert_eq!(words(newest), ["EG.RECALL", "notes", "K", "3", "ID", "(1 bytes)"]);
    let mut ids: Vec<i64> = entries.iter().map(|entry| entry.at("id").int()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), entries.len(), "no id comes twice");
    let times: Vec<i64> = entries.iter().map(|entry| entry.at("at").int()).collect();
    assert!(times.is_sorted_by(|one, other| one >= other) && times[0] > 1_700_000_000_000_000);
    for entry in &entries {
        let figure = |name: &str| entry.at(name).int();
        let spent = figure("queued_us") + figure("worked_us") + figure("log_us");
        assert_eq!(spent, figure("duration_us"), "{entry:?}");
        let of_log = ["eg.store"].contains(&entry.at("name").text());
        assert!(of_log || figure("log_us") == 0, "{entry:?}");
        assert!(!of_log || figure("log_us") > 0 && figure("worked_us") == 0, "{entry:?}");
    }
    let store = entries.iter().find(|entry| entry.at("name").text() == "eg.store").unwrap();
    let id = words(store)[2];
    assert!(["(1 bytes)", "(2 bytes)"].contains(&id), "{id}");
    assert_eq!(words(store), ["EG.STORE", "notes", id, "VEC", "(12 bytes)", "TEXT", "(46 bytes)"]);
    let who = store.at("client");
    assert_eq!(who.at("name").text(), "tester");
    assert_eq!(who.at("uid").int(), i64::from(rustix::process::geteuid().as_raw()));
    assert_eq!(who.at("connection").int(), client.ask(&command!["CLIENT", "ID"]).int());
    let hello = entries.iter().find(|entry| entry.at("name").text() == "hello").unwrap();
    let expected = ["HELLO", "3", "AUTH", "(2 bytes)", "(6 bytes)", "SETNAME", "(6 bytes)"];
    assert_eq!(words(hello), expected);
    // The space was made, by a command between all others.
    assert!(entries.iter().any(|entry| entry.at("name").text() == "eg.space create"));

    assert_eq!(slow(&mut client, 2).len(), 2);
    let length = client.ask(&command!["EG.SLOWLOG", "LEN"]).int();
    assert!(length > entries.len() as i64, "{length}");
    assert_eq!(client.ask(&command!["EG.SLOWLOG", "RESET"]), Value::Okay);
    // But for the reset itself, which ended behind it.
    assert_eq!(client.ask(&command!["EG.SLOWLOG", "LEN"]).int(), 1);
    let by_default = client.ask(&command!["EG.SLOWLOG", "GET"]);
    assert!(by_default.items().len() <= 10);
}

#[test]
fn the_log_of_slow_commands_is_bounded_and_can_be_off() {
    let home = Home::new();
    for (most, slow_us) in [(7, 0), (0, 0), (100, 600_000_000)] {
        let most_set = format!("slowlog_entries_max={most}");
        let settings = ["shards=1".to_owned(), most_set, format!("slowlog_us={slow_us}")];
        let mut daemon = home.start_with(&settings.each_ref().map(String::as_str));
        let mut client = daemon.client();
        act(&mut client);
        let expected = if slow_us == 0 { most } else { 0 };
        assert_eq!(client.ask(&command!["EG.SLOWLOG", "LEN"]).int(), expected);
        assert_eq!(slow(&mut client, 100).len() as i64, expected);
        assert!(daemon.stop().success());
    }
    let mut daemon = home.start_with(&["shards=1"]);
    let mut client = daemon.client();
    for words in [
        &["EG.SLOWLOG"][..],
        &["EG.SLOWLOG", "GET", "0"],
        &["EG.SLOWLOG", "GET", "-1"],
        &["EG.SLOWLOG", "GET", "16385"],
        &["EG.SLOWLOG", "LEN", "1"],
        &["EG.LATENCY"],
        &["EG.LATENCY", "DOCTOR"],
        &["EG.LATENCY", "GET", ""],
    ] {
        assert_eq!(client.call(&common::client::encode(words)).code(), "SYNTAX", "{words:?}");
    }
    assert!(daemon.stop().success());
}

#[test]
fn latencies_are_told_by_command_and_stage() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    act(&mut client);
    let all = client.ask(&command!["EG.LATENCY", "GET"]);
    let counts: BTreeMap<&str, i64> =
        all.pairs().into_iter().map(|(name, of)| (name, of.at("count").int())).collect();
    for (name, count) in [("eg.store", 20), ("eg.get", 20), ("eg.recall", 1), ("recall", 2)] {
        assert_eq!(counts.get(name), Some(&count), "{name} in {counts:?}");
    }
    assert!(counts["commit"] >= 20 && counts["queue_wait"] > 40);
    assert!(!counts.contains_key("eg.erase") && !counts.contains_key("spread"));
    let names = command!["EG.LATENCY", "GET", "EG.Store", "commit", "nothing"];
    let some = client.ask(&names);
    assert_eq!(some.keys(), ["commit", "eg.store"]);
    let of = some.at("eg.store");
    let figures = ["p50", "p99", "p999", "max"].map(|name| of.at(name).float());
    assert!(figures.is_sorted() && figures[0] > 0.0, "{figures:?}");

    let told = client.ask(&command!["EG.LATENCY", "HISTOGRAM", "eg.store", "eg.space create"]);
    assert_eq!(told.keys(), ["eg.space create", "eg.store"]);
    let of = told.at("eg.store");
    assert_eq!(of.at("calls").int(), 20);
    let buckets: Vec<(u64, i64)> = of
        .at("histogram_usec")
        .pairs()
        .into_iter()
        .map(|(end, count)| (end.parse().unwrap(), count.int()))
        .collect();
    assert!(buckets.iter().all(|(end, _)| end.is_power_of_two()), "{buckets:?}");
    assert!(buckets.is_sorted_by(|one, other| one.0 < other.0 && one.1 < other.1));
    assert_eq!(buckets.last().unwrap().1, 20);

    assert_eq!(client.ask(&command!["EG.LATENCY", "RESET", "eg.store", "eg.erase"]).int(), 1);
    assert_eq!(client.ask(&command!["EG.LATENCY", "GET", "eg.store"]).pairs().len(), 0);
    assert!(client.ask(&command!["EG.LATENCY", "RESET"]).int() >= 4);
    let left = client.ask(&command!["EG.LATENCY", "GET", "eg.get", "eg.recall"]);
    assert_eq!(left.pairs().len(), 0);
    // Stages begin anew with everything else that is counted.
    client.ask(&command!["EG.GET", "notes", "1"]);
    client.ask(&command!["CONFIG", "RESETSTAT"]);
    assert_eq!(client.ask(&command!["EG.LATENCY", "GET", "eg.get", "commit"]).pairs().len(), 0);
}

#[test]
fn a_sample_of_the_commands_is_traced_with_their_stages() {
    let home = Home::new();
    let traced = |settings: &[&str]| {
        let mut daemon = home.start_with(settings);
        let mut client = daemon.client();
        client.create_space("notes", 3);
        for id in 0..100_u64 {
            let id = id.to_string();
            client.ask(&command!["EG.STORE", "notes", id, "VALUES", "3", "1", "2", "3"]);
        }
        assert!(daemon.stop().success());
        let said = home.said();
        let lines = said.lines().filter(|line| line.contains("request{"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(traced(&[]), [""; 0]);
    let every = traced(&["trace_sample=1"]);
    let stores: Vec<&String> =
        every.iter().filter(|line| line.contains("command=\"EG.STORE\"")).collect();
    assert_eq!(stores.len(), 100);
    for line in stores {
        for field in ["shard=", "connection=", "total_us=", "queued_us=", "worked_us=0", "log_us="]
        {
            assert!(line.contains(field), "no {field} in {line}");
        }
        assert!(!line.contains("log_us=0"), "{line}");
    }
    // Of two shards each counts for itself; the one that has the connection has at least 101.
    let some = traced(&["trace_sample=10"]);
    assert!((10..20).contains(&some.len()), "{some:?}");
    // Who asks for errors alone gets them alone.
    assert_eq!(traced(&["trace_sample=1", "log_level=warn"]), [""; 0]);
}

#[test]
fn what_comes_over_several_connections_is_gathered() {
    let home = Home::new();
    let daemon = home.start_with(&["slowlog_us=0", "shards=2"]);
    let mut clients: Vec<Client> = (0..4).map(|_| daemon.client()).collect();
    for (nth, client) in clients.iter_mut().enumerate() {
        client.ask(&command!["ECHO", "x".repeat(nth + 1)]);
    }
    eventually("all connections are told of", || {
        let entries = slow(&mut clients[0], 100);
        let echoes = entries.iter().filter(|entry| entry.at("name").text() == "echo");
        let mut told: Vec<&str> = echoes.map(|entry| words(entry)[1]).collect();
        told.sort_unstable();
        told == ["(1 bytes)", "(2 bytes)", "(3 bytes)", "(4 bytes)"]
    });
    let told = clients[0].ask(&command!["EG.LATENCY", "GET", "echo"]);
    assert_eq!(told.at("echo").at("count").int(), 4);
}
