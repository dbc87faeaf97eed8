//! A daemon that has nothing to do uses nearly nothing of the processors.

mod common;

use std::fs;
use std::thread;
use std::time::Duration;

use common::episodes::{blob, vector};
use common::{Client, Daemon, Home, Reply};

const PARKED: Duration = Duration::from_secs(3);
/// Of one core.
const SHARE_MAX: f64 = 0.03;
/// What `/proc` counts processor time in; the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time of all threads so far, in user and in kernel mode.
fn processor_seconds(daemon: &Daemon) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
    // The second field is a name in parentheses; utime and stime are the 14th and 15th.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks: f64 = fields[11..=12].iter().map(|field| field.parse::<f64>().unwrap()).sum();
    ticks / TICKS_PER_SECOND
}

#[test]
fn a_parked_daemon_leaves_the_processors_alone() {
    let home = Home::new();
    let daemon = home.start();
    // With clients that have worked and now wait, one on each shard.
    let mut clients: Vec<Client> = (0..2).map(|_| daemon.client()).collect();
    clients[0].create_space("notes", 3);
    for client in &mut clients {
        for id in 0..100 {
            let id = id.to_string();
            client.ask(&command!["EG.STORE", "notes", id, "VEC", blob(&vector(1, 3))]);
        }
        client.ask(&command!["EG.RECALL", "notes", "K", "10", "VEC", blob(&vector(1, 3))]);
    }
    let before = processor_seconds(&daemon);
    thread::sleep(PARKED);
    let used = processor_seconds(&daemon) - before;
    let share = used / PARKED.as_secs_f64();
    assert!(share < SHARE_MAX, "{:.1} % of a core while parked", share * 100.0);
    // It was parked, not stuck.
    for client in &mut clients {
        assert_eq!(client.ask(&command!["EG.STATS"]).at("episodes").int(), 100);
    }
}
