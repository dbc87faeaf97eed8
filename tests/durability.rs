//! What was acknowledged survives SIGKILL, and nothing else appears.
//!
//! Writers send pipelines of stores, replacements and forgets and keep an oracle: for each episode
//! what was acknowledged last, and what was sent after that and not answered. The daemon is killed
//! in the middle, again and again. After each restart an episode must be in a state that the oracle
//! allows: the acknowledged one, or one of those that were on their way.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use common::episodes::{Random, blob, floats, vector};
use common::{Client, Home, Reply};
use redis::Value;

const KILLS: u64 = 8;
const WRITERS: u64 = 4;
/// Episodes of one writer; most stores are replacements.
const EPISODES: u64 = 150;
const PIPELINE: usize = 24;
const DIMENSIONS: usize = 16;
/// Acknowledgements before a kill, at least.
const ACKNOWLEDGED_MIN: u64 = 400;

/// What is stored under an id, or that nothing is.
type State = Option<u64>;

/// What may be found under an id: the last that was acknowledged, then everything sent since.
#[derive(Debug, Clone, Default)]
struct Allowed(Vec<State>);

/// Episodes by id.
type Oracle = BTreeMap<String, Allowed>;

fn text(id: &str, version: u64) -> String {
    // Lengths from nothing to several sectors.
    format!("{id} in version {version} {}", "x".repeat((version % 97 * 83) as usize))
}

fn metadata(version: u64) -> String {
    format!(r#"{{"version": {version}}}"#)
}

fn store(space: &str, id: &str, version: u64, durability: &str) -> Vec<u8> {
    command![
        "EG.STORE",
        space,
        id,
        "VEC",
        blob(&vector(version, DIMENSIONS)),
        "TEXT",
        text(id, version),
        "META",
        metadata(version),
        "DUR",
        durability,
    ]
}

/// The version that is stored under an id, after a look at every part of it.
fn state_of(id: &str, episode: &Value) -> State {
    if *episode == Value::Nil {
        return None;
    }
    assert_eq!(episode.at("id").text(), id);
    let meta = episode.at("meta").text();
    let version = meta.trim_start_matches(r#"{"version": "#).trim_end_matches('}');
    let version = version.parse().unwrap_or_else(|_| panic!("{meta}"));
    assert_eq!(meta, metadata(version));
    assert_eq!(episode.at("text").text(), text(id, version));
    assert_eq!(floats(episode.at("vec").bytes()), vector(version, DIMENSIONS));
    Some(version)
}

/// Stores, replaces and forgets until the daemon is gone.
fn write(mut client: Client, writer: u64, seed: u64, oracle: &mut Oracle, done: &AtomicUsize) {
    let mut random = Random::new(seed);
    loop {
        let mut bytes = Vec::new();
        let mut sent = Vec::new();
        for _ in 0..PIPELINE {
            let id = format!("w{writer}-{}", random.below(EPISODES));
            let state = (random.below(5) > 0).then(|| random.next() >> 16);
            let durability = if random.below(4) == 0 { "os" } else { "disk" };
            bytes.extend(match state {
                Some(version) => store("notes", &id, version, durability),
                None => command!["EG.FORGET", "notes", id, "DUR", durability],
            });
            oracle.entry(id.clone()).or_insert_with(|| Allowed(vec![None])).0.push(state);
            sent.push(id);
        }
        // Both fail when the daemon is killed.
        if std::io::Write::write_all(&mut client.stream(), &bytes).is_err() {
            return;
        }
        for id in sent {
            let Ok(reply) = client.try_read() else { return };
            assert!(!reply.is_error(), "{reply:?}");
            // Replies come in order: this one answers the oldest that is open.
            oracle.get_mut(&id).expect("entered above").0.remove(0);
            done.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Spaces by name: whether each may be missing, may be there, or both.
type Spaces = BTreeMap<String, BTreeSet<bool>>;

/// Creates spaces with one episode each and drops some of them, until the daemon is gone.
fn change_spaces(mut client: Client, cycle: u64, spaces: &mut Spaces) {
    for number in 0.. {
        let name = format!("space-{cycle}-{number}");
        let dimensions = DIMENSIONS.to_string();
        let create = command!["EG.SPACE", "CREATE", name, "DIM", dimensions, "METRIC", "l2"];
        let mut steps = vec![(create, true), (store(&name, "only", number, "disk"), true)];
        if number % 3 == 0 {
            steps.push((command!["EG.SPACE", "DROP", name], false));
        }
        spaces.insert(name.clone(), BTreeSet::from([false]));
        for (command, is_there) in steps {
            spaces.get_mut(&name).expect("just entered").insert(is_there);
            let written = std::io::Write::write_all(&mut client.stream(), &command);
            if written.is_err() || client.try_read().is_err() {
                return;
            }
            spaces.insert(name.clone(), BTreeSet::from([is_there]));
        }
    }
}

/// Compares a restarted daemon with the oracle, and narrows the oracle to what was found.
fn check_episodes(client: &mut Client, oracle: &mut Oracle) {
    let ids: Vec<String> = oracle.keys().cloned().collect();
    for ids in ids.chunks(100) {
        let count = ids.len().to_string();
        let mut words = vec!["EG.MGET", "notes", &count];
        words.extend(ids.iter().map(String::as_str));
        words.extend(["WITH", "text", "WITH", "meta", "WITH", "vec"]);
        let found = client.ask(&common::client::encode(&words));
        for (id, episode) in ids.iter().zip(found.items()) {
            let found = state_of(id, episode);
            let allowed = oracle.get_mut(id).expect("its own key");
            assert!(allowed.0.contains(&found), "{id}: {found:?} is none of {allowed:?}");
            allowed.0 = vec![found];
        }
    }
    let there: BTreeSet<String> = scan(client, "notes");
    let expected = oracle.iter().filter(|(_, allowed)| allowed.0[0].is_some());
    assert_eq!(there, expected.map(|(id, _)| id.clone()).collect());
}

fn check_spaces(client: &mut Client, spaces: &mut Spaces) {
    let list = client.ask(&command!["EG.SPACE", "LIST"]);
    let there: BTreeSet<&str> = list.items().iter().map(Reply::text).collect();
    for name in &there {
        assert!(*name == "notes" || spaces.contains_key(*name), "{name} was invented");
    }
    for (name, allowed) in spaces {
        let is_there = there.contains(name.as_str());
        assert!(allowed.contains(&is_there), "{name}: there {is_there}, allowed {allowed:?}");
        *allowed = BTreeSet::from([is_there]);
        if is_there {
            // Whatever became of its episode, the space works on every shard.
            for number in 0..4 {
                let id = format!("check-{number}");
                client.ask(&store(name, &id, number, "disk"));
            }
            assert!(scan(client, name).len() >= 4);
        }
    }
}

/// The ids of a space.
fn scan(client: &mut Client, space: &str) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    let mut cursor = "0".to_owned();
    loop {
        let answer = client.ask(&command!["EG.SCAN", space, "CURSOR", cursor, "COUNT", "1000"]);
        let [next, episodes] = answer.items() else { panic!("{answer:?}") };
        for episode in episodes.items() {
            assert!(ids.insert(episode.at("id").text().to_owned()), "{episode:?} comes twice");
        }
        next.text().clone_into(&mut cursor);
        if cursor == "0" {
            return ids;
        }
    }
}

#[test]
fn every_acknowledged_write_survives_sigkill_under_load() {
    let home = Home::new();
    // A fast machine makes many spaces, and each that holds anything takes 4 MiB of a shard.
    let roomy = ["memory_bytes_max=1GiB"];
    let mut daemon = home.start_with(&roomy);
    daemon.client().create_space("notes", DIMENSIONS);
    let mut oracles = vec![Oracle::new(); WRITERS as usize];
    let mut spaces = Spaces::new();
    let mut random = Random::new(11);
    for cycle in 0..KILLS {
        let enough = (ACKNOWLEDGED_MIN + random.below(1200)) as usize;
        let done = AtomicUsize::new(0);
        thread::scope(|scope| {
            for (writer, oracle) in (0..).zip(&mut oracles) {
                let (client, done) = (daemon.client(), &done);
                scope.spawn(move || write(client, writer, cycle << 8 | writer, oracle, done));
            }
            let (client, spaces) = (daemon.client(), &mut spaces);
            scope.spawn(move || change_spaces(client, cycle, spaces));
            common::eventually("enough is acknowledged", || done.load(Ordering::Relaxed) >= enough);
            daemon.signal(rustix::process::Signal::KILL);
        });
        drop(daemon);
        daemon = home.start_with(&roomy);
        let mut client = daemon.client();
        let mut all: Oracle = oracles.iter().flat_map(Clone::clone).collect();
        check_episodes(&mut client, &mut all);
        for oracle in &mut oracles {
            oracle.iter_mut().for_each(|(id, allowed)| *allowed = all[id].clone());
        }
        check_spaces(&mut client, &mut spaces);
    }
    assert!(spaces.len() > KILLS as usize, "hardly a space was made: {spaces:?}");
}

#[test]
fn what_was_only_handed_to_the_kernel_survives_sigkill() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    client.create_space("notes", DIMENSIONS);
    let mut oracle = Oracle::new();
    let mut bytes = Vec::new();
    for number in 0..300 {
        let id = format!("e{number}");
        bytes.extend(store("notes", &id, number, "os"));
        oracle.insert(id, Allowed(vec![Some(number)]));
    }
    for number in (0..300).step_by(4) {
        let id = format!("e{number}");
        bytes.extend(command!["EG.FORGET", "notes", id, "DUR", "os"]);
        oracle.insert(id, Allowed(vec![None]));
    }
    client.send(&bytes);
    assert!(client.read_many(375).iter().all(|reply| !reply.is_error()));
    daemon.kill();
    check_episodes(&mut home.start().client(), &mut oracle);
}

#[test]
fn a_space_dropped_under_load_stays_dropped() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    client.create_space("notes", DIMENSIONS);
    client.create_space("gone", DIMENSIONS);
    let stored = AtomicUsize::new(0);
    thread::scope(|scope| {
        for writer in 0..3 {
            let (mut client, stored) = (daemon.client(), &stored);
            scope.spawn(move || {
                for number in 0.. {
                    let stores: Vec<u8> = (0..8)
                        .flat_map(|nth| {
                            let id = format!("{writer}-{number}-{nth}");
                            store("gone", &id, number, "disk")
                        })
                        .collect();
                    client.send(&stores);
                    let replies = client.read_many(8);
                    let mut refused = replies.iter().filter(|reply| reply.is_error()).peekable();
                    if refused.peek().is_some() {
                        assert!(refused.all(|reply| reply.code() == "NOSPACE"), "{replies:?}");
                        return;
                    }
                    stored.fetch_add(8, Ordering::Relaxed);
                }
            });
        }
        common::eventually("all are at it", || stored.load(Ordering::Relaxed) > 500);
        client.ask(&command!["EG.SPACE", "DROP", "gone"]);
    });
    client.ask(&store("notes", "a", 1, "disk"));
    daemon.kill();
    let daemon = home.start();
    let mut client = daemon.client();
    assert_eq!(client.ask(&command!["EG.SPACE", "LIST"]).items().len(), 1);
    assert_eq!(scan(&mut client, "notes"), BTreeSet::from(["a".to_owned()]));
    assert_eq!(client.ask(&command!["EG.STATS"]).at("episodes").int(), 1);
}

#[test]
fn a_segment_whose_making_was_cut_short_is_made_anew() {
    let home = Home::new();
    for (shard, bytes) in [(0, 0), (1, 0), (0, 1), (1, 8192)] {
        assert!(home.start().stop().success());
        let segment = home.data().join(format!("shard-{shard:03}/log-0000000002.seg"));
        fs::File::create(&segment).unwrap().set_len(bytes).unwrap();
        let daemon = home.start();
        let mut client = daemon.client();
        common::eventually("the segment is made", || {
            let stats = client.ask(&command!["EG.STATS"]);
            assert_eq!(stats.at("read_only_shards").int(), 0, "a file was in the way");
            fs::metadata(&segment).is_ok_and(|file| file.len() == 4 << 20)
        });
    }
}
