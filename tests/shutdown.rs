//! A stop drains: what the daemon has taken is carried out and answered, then it ends with status
//! 0.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use common::episodes::{blob, vector};
use common::{Client, Home, Reply};
use redis::Value;
use rustix::process::Signal;

const CLIENTS: u64 = 4;

fn store(id: &str, number: u64) -> Vec<u8> {
    command!["EG.STORE", "notes", id, "VEC", blob(&vector(number, 8)), "TEXT", "x".repeat(500)]
}

/// Sends stores without waiting for replies until the daemon takes no more, and reads replies
/// until there are no more: how many were sent, and the sequences that were answered, in order.
fn load(mut client: Client, name: u64, answered: &AtomicUsize) -> (usize, Vec<i64>) {
    let mut writing = client.stream().try_clone().unwrap();
    thread::scope(|scope| {
        let sent = scope.spawn(move || {
            for number in 0.. {
                if writing.write_all(&store(&format!("{name}-{number}"), number)).is_err() {
                    return number as usize;
                }
            }
            unreachable!("the range has no end")
        });
        let mut sequences = Vec::new();
        while let Ok(reply) = client.try_read() {
            assert_eq!(reply.at("outcome").text(), "created");
            sequences.push(reply.at("seq").int());
            answered.fetch_add(1, Ordering::Relaxed);
        }
        (sent.join().unwrap(), sequences)
    })
}

/// The ids of the space and their sequences.
fn scan(client: &mut Client) -> BTreeMap<String, i64> {
    let mut ids = BTreeMap::new();
    let mut cursor = "0".to_owned();
    loop {
        let scan = command!["EG.SCAN", "notes", "CURSOR", cursor, "COUNT", "4096", "WITH", "meta"];
        let answer = client.ask(&scan);
        let [next, episodes] = answer.items() else { panic!("{answer:?}") };
        for episode in episodes.items() {
            ids.insert(episode.at("id").text().to_owned(), episode.at("seq").int());
        }
        next.text().clone_into(&mut cursor);
        if cursor == "0" {
            return ids;
        }
    }
}

#[test]
fn what_was_taken_is_answered_and_what_was_answered_is_there() {
    for signal in [Signal::TERM, Signal::INT] {
        let home = Home::new();
        let mut daemon = home.start();
        daemon.client().create_space("notes", 8);
        let answered = AtomicUsize::new(0);
        let loads: Vec<(usize, Vec<i64>)> = thread::scope(|scope| {
            let start = |name| {
                let (client, answered) = (daemon.client(), &answered);
                scope.spawn(move || load(client, name, answered))
            };
            let loads: Vec<_> = (0..CLIENTS).map(start).collect();
            common::eventually("all are at it", || answered.load(Ordering::Relaxed) > 3000);
            daemon.signal(signal);
            loads.into_iter().map(|load| load.join().unwrap()).collect()
        });
        let status = daemon.wait();
        assert!(status.success(), "{status}: {}", home.said());
        assert!(!home.socket().exists(), "the socket was left behind");
        assert!(home.said().contains("stopped; everything acknowledged is on disk"));

        // Exactly what was answered is there: nothing lost, nothing done without an answer.
        let mut expected = BTreeMap::new();
        for (name, (sent, sequences)) in loads.iter().enumerate() {
            assert!(sequences.len() <= *sent);
            for (number, sequence) in sequences.iter().enumerate() {
                expected.insert(format!("{name}-{number}"), *sequence);
            }
        }
        let daemon = home.start();
        assert!(!home.said().contains("torn"), "{}", home.said());
        assert!(scan(&mut daemon.client()) == expected, "not what was answered");
    }
}

#[test]
fn idle_and_half_finished_clients_hold_up_nothing() {
    let home = Home::new();
    let mut daemon = home.start_with(&["drain_timeout_ms=600000"]);
    let mut clients: Vec<Client> = (0..6).map(|_| daemon.client()).collect();
    clients[0].create_space("notes", 8);
    for half in &mut clients[3..] {
        half.send(&store("never", 1)[..100]);
    }
    assert!(daemon.stop().success());
    assert!(clients.iter_mut().all(Client::is_hung_up));
    assert!(!home.said().contains("cut"), "{}", home.said());
    let daemon = home.start();
    let mut client = daemon.client();
    assert_eq!(client.ask(&command!["EG.SPACE", "INFO", "notes"]).at("episodes").int(), 0);
}

#[test]
fn a_client_that_does_not_read_is_cut_at_the_timeout() {
    let home = Home::new();
    let mut daemon = home.start_with(&["drain_timeout_ms=300"]);
    let mut client = daemon.client();
    client.create_space("notes", 8);
    // More replies than sockets hold, and nobody reads them.
    let large = "x".repeat(100_000);
    client.send_until_held_up(&command!["ECHO", large].repeat(400));
    let mut other = daemon.client();
    let stored = other.ask(&store("a", 1)).at("seq").int();
    assert!(daemon.stop().success());
    assert!(home.said().contains("connections were cut at the drain timeout"), "{}", home.said());
    let daemon = home.start();
    assert_eq!(scan(&mut daemon.client()), BTreeMap::from([("a".to_owned(), stored)]));
}

#[test]
fn commands_of_every_kind_are_answered_before_the_end() {
    let home = Home::new();
    let mut daemon = home.start();
    let mut client = daemon.client();
    client.create_space("notes", 8);
    for number in 0..200 {
        client.ask(&store(&number.to_string(), number));
    }
    let cue = blob(&vector(1, 8));
    let commands = [
        command!["EG.RECALL", "notes", "K", "200", "VEC", cue, "WITH", "text"],
        store("late", 1),
        command!["EG.FORGET", "notes", "7"],
        command!["EG.GET", "notes", "late"],
        command!["EG.SPACE", "CREATE", "more", "DIM", "4"],
        command!["EG.SCAN", "notes"],
        command!["EG.STATS"],
    ];
    client.send(&commands.concat());
    // The first reply shows that the daemon has read the commands.
    assert_eq!(client.read().items().len(), 200);
    daemon.signal(Signal::TERM);
    let replies = client.read_many(6);
    assert_eq!(replies[0].at("outcome").text(), "created");
    assert_eq!(replies[1].at("outcome").text(), "forgotten");
    assert_eq!(replies[2].at("id").text(), "late");
    assert_eq!(replies[3], Value::Okay);
    assert_eq!(replies[4].items()[1].items().len(), 64);
    assert_eq!(replies[5].at("episodes").int(), 200);
    assert!(client.is_hung_up());
    assert!(daemon.wait().success());
    let daemon = home.start();
    let mut client = daemon.client();
    let list = client.ask(&command!["EG.SPACE", "LIST"]);
    let names: BTreeSet<&str> = list.items().iter().map(Reply::text).collect();
    assert_eq!(names, BTreeSet::from(["more", "notes"]));
}
