//! At its bounds the daemon answers `-BUSY` with a hint when to come again, does nothing of what it
//! refused, and takes more as soon as there is room.

mod common;

use std::collections::BTreeSet;

use common::episodes::{blob, vector};
use common::{Client, Home, Reply};
use redis::Value;

fn store(space: &str, id: &str, text: &str) -> Vec<u8> {
    command!["EG.STORE", space, id, "VEC", blob(&vector(1, 3)), "TEXT", text]
}

/// A refusal for want of room that says of what and when to come again.
fn assert_busy(reply: &Value, words: &[&str]) {
    assert_eq!(reply.code(), "BUSY", "{reply:?}");
    let sentence = format!("{reply:?}");
    for word in words {
        assert!(sentence.contains(word), "no '{word}' in '{sentence}'");
    }
}

fn is_there(client: &mut Client, id: &str) -> bool {
    client.ask(&command!["EG.GET", "notes", id]) != Value::Nil
}

#[test]
fn what_the_log_has_no_room_for_waits_in_a_lane_and_a_full_lane_refuses() {
    const CLIENTS: usize = 12;
    const EACH: usize = 1000;
    let home = Home::new();
    // One frame in a batch and one batch on its way: what waits for the disk is soon too much.
    let daemon = home.start_with(&["commit_frames_max=1", "commits_in_flight=1"]);
    daemon.client().create_space("notes", 3);
    let send = |name: usize| {
        let mut client = daemon.client();
        let ids: Vec<String> = (0..EACH).map(|nth| format!("e{name}-{nth}")).collect();
        client.send(&ids.iter().flat_map(|id| store("notes", id, id)).collect::<Vec<u8>>());
        let mut stored = Vec::new();
        for (id, reply) in ids.iter().zip(client.read_many(EACH)) {
            match reply.is_error() {
                true => assert_busy(&reply, &["the lane of the shard is full", "retry in"]),
                false => {
                    assert_eq!(reply.at("outcome").text(), "created");
                    stored.push(id.clone());
                }
            }
        }
        stored
    };
    // One alone fills no lane: nothing is refused though the log is full all the time.
    assert_eq!(send(CLIENTS).len(), EACH);
    let stored: Vec<Vec<String>> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|name| scope.spawn(move || send(name))).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let stored: BTreeSet<String> = stored.into_iter().flatten().collect();
    let refused = (CLIENTS * EACH - stored.len()) as i64;
    assert!(refused > 0, "the bound was never reached");
    let mut client = daemon.client();
    let stats = client.ask(&command!["EG.STATS"]);
    let lane = stats.at("lanes").at("normal");
    assert_eq!((lane.at("refused").int(), lane.at("depth").int()), (refused, 0), "{stats:?}");
    assert!(lane.at("depth_max").int() > lane.at("capacity").int() / 2 * 4 / 5, "{stats:?}");
    assert_eq!(stats.at("refusals").at("BUSY").int(), refused);
    assert_eq!(stats.at("episodes").int(), (stored.len() + EACH) as i64);
    drop(client);
    daemon.kill();
    let daemon = home.start();
    let mut client = daemon.client();
    assert_eq!(
        client.ask(&command!["EG.STATS"]).at("episodes").int(),
        (stored.len() + EACH) as i64
    );
    assert!(stored.iter().step_by(50).all(|id| is_there(&mut client, id)));
}

#[test]
fn what_is_urgent_overtakes_what_waits_and_writes_of_one_episode_keep_their_order() {
    let home = Home::new();
    let daemon = home.start_with(&["commit_frames_max=1", "commits_in_flight=1"]);
    let mut client = daemon.client();
    client.create_space("notes", 3);
    let (mut busy, mut urgent) = (daemon.client(), daemon.client());
    let low = |nth: usize| {
        let (id, text) = (format!("e{}", nth % 7), format!("low {nth}"));
        command!["EG.STORE", "notes", id, "VEC", blob(&vector(1, 3)), "TEXT", text, "PRIO", "low"]
    };
    busy.send(&(0..1000).flat_map(low).collect::<Vec<u8>>());
    // Of one connection: an urgent store of an episode does not overtake one of the same.
    let last = command![
        "EG.STORE",
        "notes",
        "e3",
        "VEC",
        blob(&vector(1, 3)),
        "TEXT",
        "last",
        "PRIO",
        "high"
    ];
    busy.send(&last);
    // Of another connection: it is done while most of the others wait.
    let stored = urgent.call(&command![
        "EG.STORE",
        "notes",
        "alarm",
        "VEC",
        blob(&vector(1, 3)),
        "PRIO",
        "high"
    ]);
    assert_eq!(stored.at("outcome").text(), "created");
    let waiting = client.ask(&command!["EG.STATS"]).at("lanes").at("low").at("depth").int();
    assert!(waiting > 0, "the urgent one came last");
    assert!(busy.read_many(1001).iter().all(|reply| !reply.is_error()));
    let read = client.ask(&command!["EG.GET", "notes", "e3"]);
    assert_eq!(read.at("text").text(), "last");
    let stats = client.ask(&command!["EG.STATS"]);
    assert_eq!(stats.at("lanes").at("low").at("served").int(), 1001);
    assert!(stats.at("lanes").at("high").at("served").int() >= 1);
}

#[test]
fn more_than_the_memory_is_taken_as_fast_as_it_is_consolidated() {
    let home = Home::new();
    let settings = ["memory_bytes_max=64MiB"];
    let mut daemon = home.start_with(&settings);
    let mut client = daemon.client();
    for name in ["notes", "spare"] {
        client.ask(&command!["EG.SPACE", "CREATE", name, "DIM", "3", "SHARDS", "1"]);
    }
    client.ask(&store("spare", "a", "a small one"));
    let large = "x".repeat(1 << 20);
    // Three times what the shard has, which is half of all.
    for nth in 0..96 {
        let id = format!("e{nth}");
        loop {
            let reply = client.call(&store("notes", &id, &large));
            if !reply.is_error() {
                assert_eq!(reply.at("outcome").text(), "created");
                break;
            }
            // Whoever tries again at once, all the time, does not keep it from being done.
            assert_busy(&reply, &["the shard's memory is full", "retry in "]);
            assert!(is_there(&mut client, "e0") && !is_there(&mut client, &id));
        }
    }
    let stats = client.ask(&command!["EG.STATS"]);
    assert!(stats.at("consolidation").at("published").int() >= 2, "{stats:?}");
    let cue = blob(&vector(1, 3));
    let recalled = client.ask(&command!["EG.RECALL", "notes", "K", "3", "VEC", cue]);
    assert_eq!(recalled.items().len(), 3);
    client.ask(&command!["EG.FORGET", "notes", "e0"]);

    assert!(daemon.stop().success());
    daemon = home.start_with(&settings);
    client = daemon.client();
    assert!(!is_there(&mut client, "e0"));
    assert!((1..96).all(|nth| is_there(&mut client, &format!("e{nth}"))));

    // A space that is dropped gives its memory back, and takes nothing from the others.
    client.ask(&command!["EG.SPACE", "DROP", "notes"]);
    client.ask(&command!["EG.SPACE", "CREATE", "notes", "DIM", "3", "SHARDS", "1"]);
    for id in 0..8 {
        client.ask(&store("notes", &id.to_string(), &large));
    }
    let spare = client.ask(&command!["EG.GET", "spare", "a"]);
    assert_eq!(spare.at("text").text(), "a small one");
}

#[test]
fn many_who_send_at_once_are_each_answered() {
    let home = Home::new();
    let daemon = home.start();
    daemon.client().create_space("notes", 3);
    // More than any queue between the shards and to the disk holds.
    let text = "x".repeat(60_000);
    let counts: Vec<(u64, u64)> = std::thread::scope(|scope| {
        let send = |name| {
            let (daemon, text) = (&daemon, &text);
            move || {
                let mut client = daemon.client();
                let (mut stored, mut refused) = (0, 0);
                for round in 0..4 {
                    let ids: Vec<String> = (0..50).map(|n| format!("{name}-{round}-{n}")).collect();
                    let sent: Vec<u8> =
                        ids.iter().flat_map(|id| store("notes", id, text)).collect();
                    client.send(&sent);
                    for (id, reply) in ids.iter().zip(client.read_many(50)) {
                        match reply.is_error() {
                            true => assert_busy(&reply, &["is full; retry in"]),
                            false => assert_eq!(reply.at("outcome").text(), "created", "{id}"),
                        }
                        refused += u64::from(reply.is_error());
                        stored += u64::from(!reply.is_error());
                    }
                }
                (stored, refused)
            }
        };
        let clients: Vec<_> = (0..8).map(|name| scope.spawn(send(name))).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let mut client = daemon.client();
    let stored: u64 = counts.iter().map(|(stored, _)| stored).sum();
    let refused: u64 = counts.iter().map(|(_, refused)| refused).sum();
    assert_eq!(stored + refused, 8 * 4 * 50);
    let info = client.ask(&command!["EG.SPACE", "INFO", "notes"]);
    assert_eq!(info.at("episodes").int(), stored as i64);
}
