//! Many commands in one write: replies in order, every command after the writes before it, and a
//! bounded window for those who do not read.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::thread;
use std::time::Duration;

use common::episodes::{blob, vector};
use common::stock::{self, Resp};
use common::{Daemon, Home, Reply};
use redis::{Pipeline, Value, cmd};

fn store(id: &str, number: u64) -> Vec<u8> {
    command!["EG.STORE", "notes", id, "VEC", blob(&vector(number, 3)), "TEXT", number.to_string()]
}

fn get(id: &str) -> Vec<u8> {
    command!["EG.GET", "notes", id]
}

/// A stock client writes all of a pipeline before it reads the first reply.
#[test]
fn five_thousand_stores_are_answered_in_order() {
    let home = Home::new();
    let daemon = home.start();
    for (space, dimensions) in [("small", 3), ("large", 768)] {
        daemon.client().create_space(space, dimensions);
        let connection = &mut stock::connect(&daemon.socket, Resp::Three);
        let mut pipeline = Pipeline::new();
        for number in 0..5000 {
            let vector = blob(&vector(number, dimensions));
            pipeline.cmd("EG.STORE").arg(space).arg(number).arg("VEC").arg(vector);
        }
        let stored: Vec<Value> = pipeline.query(connection).unwrap();
        assert_eq!(stored.len(), 5000);
        for first in [0, 2500] {
            let ids: Vec<usize> = (first..first + 2500).collect();
            let found: Value =
                cmd("EG.MGET").arg(space).arg(ids.len()).arg(&ids).query(connection).unwrap();
            for (id, episode) in ids.iter().zip(found.items()) {
                assert_eq!(stored[*id].at("outcome").text(), "created");
                assert_eq!(stored[*id].at("seq"), episode.at("seq"), "{id}");
            }
        }
    }
}

#[test]
fn a_connection_reads_its_own_writes_within_one_pipeline() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    client.create_space("notes", 3);
    let mut bytes = Vec::new();
    for number in 0..100 {
        // Both shards own some of the ids.
        let id = format!("e{number}");
        for command in [
            store(&id, number),
            get(&id),
            store(&id, number + 1000),
            get(&id),
            command!["EG.FORGET", "notes", id],
            get(&id),
            command!["EG.FORGET", "notes", id],
            store(&id, number),
            command!["EG.RECALL", "notes", "K", "1", "ID", id, "WITH", "text"],
        ] {
            bytes.extend(command);
        }
    }
    client.send(&bytes);
    for number in 0..100 {
        let replies = client.read_many(9);
        let [first, one, second, two, gone, none, nobody, third, recalled] = &replies[..] else {
            unreachable!("nine were read")
        };
        assert_eq!(first.at("outcome").text(), "created");
        assert_eq!(one.at("text").text(), number.to_string());
        assert_eq!(second.at("outcome").text(), "replaced");
        assert_eq!(two.at("text").text(), (number + 1000).to_string());
        assert_eq!(gone.at("outcome").text(), "forgotten");
        assert_eq!((none, nobody), (&Value::Nil, &Value::Nil));
        assert_eq!(third.at("outcome").text(), "created");
        assert_eq!(recalled.items()[0].at("text").text(), number.to_string());
    }
}

#[test]
fn a_space_can_be_used_right_behind_its_creation() {
    let home = Home::new();
    let daemon = home.start();
    // One connection on each shard.
    for mut client in [daemon.client(), daemon.client()] {
        let create = command!["EG.SPACE", "CREATE", "notes", "DIM", "3"];
        let stores: Vec<u8> =
            (0..50).flat_map(|number| store(&number.to_string(), number)).collect();
        let drop = command!["EG.SPACE", "DROP", "notes"];
        let info = command!["EG.SPACE", "INFO", "notes"];
        client.send(&[&create[..], &stores, &info, &drop, &stores, &create, &info].concat());
        assert_eq!(client.read(), Value::Okay);
        for reply in client.read_many(50) {
            assert_eq!(reply.at("outcome").text(), "created");
        }
        assert_eq!(client.read().at("episodes").int(), 50);
        assert_eq!(client.read(), Value::Okay);
        for reply in client.read_many(50) {
            assert_eq!(reply.code(), "NOSPACE");
        }
        assert_eq!(client.read(), Value::Okay);
        assert_eq!(client.read().at("episodes").int(), 0);
        client.ask(&drop);
    }
}

#[test]
fn quick_answers_do_not_overtake_slow_ones() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    client.create_space("notes", 3);
    let mut bytes = Vec::new();
    for number in 0..500 {
        bytes.extend(store(&number.to_string(), number));
        bytes.extend(command!["ECHO", number.to_string()]);
        bytes.extend(command!["EG.STORE", "nowhere", "a", "VEC", "four"]);
    }
    client.send(&bytes);
    for number in 0..500 {
        let replies = client.read_many(3);
        assert_eq!(replies[0].at("outcome").text(), "created");
        assert_eq!(replies[1].text(), number.to_string());
        assert_eq!(replies[2].code(), "NOSPACE");
    }
}

#[test]
fn a_change_of_protocol_takes_effect_in_its_place() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    client.create_space("notes", 3);
    let hello = |version: &str| command!["HELLO", version];
    let commands = [store("a", 1), hello("3"), store("b", 2), hello("2"), store("c", 3)];
    client.send(&commands.concat());
    let are_maps: Vec<bool> =
        client.read_many(5).iter().map(|reply| matches!(reply, Value::Map(_))).collect();
    assert_eq!(are_maps, [false, true, true, false, false]);
}

const UNREAD: usize = 80_000;

/// Command number `n` of a client that does not read: its reply says which it answers.
fn unread(number: usize) -> Vec<u8> {
    match number % 2 {
        0 => store(&number.to_string(), number as u64),
        _ => command!["ECHO", format!("{number}{}", "x".repeat(8000))],
    }
}

#[test]
fn a_client_that_does_not_read_holds_up_only_itself() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    client.create_space("notes", 3);
    let bytes: Vec<u8> = (0..UNREAD).flat_map(unread).collect();
    let written = client.send_until_held_up(&bytes);
    assert!(written < bytes.len(), "all {written} bytes were taken, nothing is bounded");

    // Others are served meanwhile, on both shards.
    for mut other in [daemon.client(), daemon.client()] {
        assert_eq!(other.ask(&store("other", 1)).at("seq").int().signum(), 1);
        assert!(other.ask(&command!["EG.STATS"]).at("episodes").int() < UNREAD as i64 / 2);
    }

    let mut writing = client.stream().try_clone().unwrap();
    let rest = thread::spawn(move || writing.write_all(&bytes[written..]).unwrap());
    let mut sequences = BTreeSet::new();
    for number in 0..UNREAD {
        let reply = client.read();
        match number % 2 {
            0 => assert_eq!(reply.at("outcome").text(), "created"),
            _ => assert!(reply.text().starts_with(&format!("{number}x")), "{number}: {reply:?}"),
        }
        if number % 2 == 0 {
            sequences.insert(reply.at("seq").int());
        }
    }
    rest.join().unwrap();
    let episodes = client.ask(&command!["EG.SPACE", "INFO", "notes"]).at("episodes").int();
    assert_eq!(episodes, UNREAD as i64 / 2 + 1);
    // Each shard counts for itself, so a number comes at most once from each.
    assert!(sequences.len() >= UNREAD / 4, "{}", sequences.len());
}

#[test]
fn echoes_that_nobody_reads_are_bounded_by_their_bytes() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    let message = "x".repeat(1 << 20);
    let bytes = command!["ECHO", message].repeat(96);
    let written = client.send_until_held_up(&bytes);
    // 32 MiB of replies may wait, and as much as a socket and a read buffer hold beside them.
    assert!(written < 36 << 20, "{written} bytes were taken");
    let mut writing = client.stream().try_clone().unwrap();
    let rest = thread::spawn(move || writing.write_all(&bytes[written..]).unwrap());
    for _ in 0..96 {
        assert!(client.read().text() == message, "another message came back");
    }
    rest.join().unwrap();
}

/// Memory of the daemon that is in use, in bytes.
fn resident_bytes(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
fn replies_that_nobody_reads_take_bounded_memory() {
    let cue = blob(&vector(1, 3));
    for (command, count) in [
        (command!["EG.STATS"], 500),
        (command!["EG.RECALL", "notes", "K", "2000", "VEC", cue], 1500),
        (command!["EG.SCAN", "notes", "COUNT", "2000", "WITH", "links"], 3000),
    ] {
        let home = Home::new();
        let daemon = home.start();
        let mut client = daemon.client();
        client.create_space("notes", 3);
        client.send(&(0..2000).flat_map(|id| store(&id.to_string(), id)).collect::<Vec<u8>>());
        client.read_many(2000);
        let before = resident_bytes(&daemon);
        client.send_until_held_up(&command.repeat(count));
        // What it has taken it also answers, as far as it lets itself.
        let mut last = 0;
        common::eventually("the daemon rests", || {
            thread::sleep(Duration::from_millis(100));
            let used = resident_bytes(&daemon);
            std::mem::replace(&mut last, used) == used
        });
        let more = last.saturating_sub(before) >> 20;
        let name = String::from_utf8_lossy(&command);
        assert!(more < 320, "{more} MiB for {name:?}");
        assert!(client.read_many(3).iter().all(|reply| !reply.is_error()));
    }
}
