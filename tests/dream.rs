//! Offline replay in a real daemon: what it links, that it is durable, what becomes of links to
//! what has gone, and that nothing of the kind happens unless it is asked for.

mod common;

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use common::episodes::blob;
use common::{Client, Home, Reply, eventually, occurrences};

/// Two groups that have nothing to do with each other.
const EPISODES: [(&str, [f32; 4]); 6] = [
    ("a0", [1.0, 0.1, 0.0, 0.0]),
    ("a1", [1.0, 0.2, 0.0, 0.0]),
    ("a2", [1.0, 0.3, 0.0, 0.0]),
    ("b0", [0.0, 0.0, 1.0, 0.1]),
    ("b1", [0.0, 0.0, 1.0, 0.2]),
    ("b2", [0.0, 0.0, 1.0, 0.3]),
];

fn fill(client: &mut Client) {
    client.ask(&command!["EG.SPACE", "CREATE", "s", "DIM", "4", "DECAY", "none", "SHARDS", "all"]);
    for (id, vector) in EPISODES {
        client.ask(&command!["EG.STORE", "s", id, "VEC", blob(&vector), "LINK", "x", "0.5"]);
    }
}

/// The links that replays have made, by their ends.
fn dreamt(client: &mut Client) -> BTreeMap<(String, String), f64> {
    let mut links = BTreeMap::new();
    for (id, _) in EPISODES {
        let episode = client.ask(&command!["EG.GET", "s", id, "WITH", "links"]);
        if matches!(episode, redis::Value::Nil) {
            continue;
        }
        for link in episode.at("links").items() {
            let (to, weight) = (link.at("id").text().to_owned(), link.at("weight").float());
            match link.keys().contains(&"kind") {
                true => {
                    assert_eq!(link.at("kind").text(), "dream");
                    links.insert((id.to_owned(), to), weight);
                }
                false => assert_eq!((&to[..], weight), ("x", 0.5), "the client's own stays"),
            }
        }
    }
    links
}

/// Waits for links, and asks so seldom that the daemon has little to do in between.
fn wait_for(client: &mut Client, are_so: impl Fn(&BTreeMap<(String, String), f64>) -> bool) {
    eventually("the links are as they should be", || {
        thread::sleep(Duration::from_millis(200));
        are_so(&dreamt(client))
    });
}

fn replays(client: &mut Client) -> i64 {
    client.ask(&command!["EG.STATS"]).at("dream_replays").int()
}

#[test]
fn what_comes_to_mind_together_is_linked_and_what_has_gone_is_let_go() {
    let home = Home::new();
    let daemon = home.start_with(&["dream_ms=20"]);
    let mut client = daemon.client();
    fill(&mut client);
    // Each of either group knows both others.
    wait_for(&mut client, |links| {
        let is_within = |(from, to): &(String, String)| from[..1] == to[..1];
        links.keys().filter(|ends| is_within(ends)).count() == 12
    });
    let links = dreamt(&mut client);
    for ((from, to), weight) in &links {
        assert!(*weight > 0.0 && *weight <= 1.0 && from != to, "{from} to {to}: {weight}");
        // Across groups nothing is similar, so nothing is learned.
        assert_eq!(from[..1], to[..1], "{links:?}");
    }
    assert!(client.ask(&command!["EG.STATS"]).at("dream_links").int() >= links.len() as i64);
    // A replay is no presentation.
    let told = client.ask(&command!["EG.GET", "s", "a0", "WITH", "strength"]);
    assert_eq!(told.at("strength").at("presentations").int(), 1);
    drop(client);
    daemon.kill();
    let daemon = home.start();
    let mut client = daemon.client();
    let kept = dreamt(&mut client);
    assert_eq!(kept.keys().collect::<Vec<_>>(), links.keys().collect::<Vec<_>>());
    assert_eq!(replays(&mut client), 0, "unless it is asked for");
    drop(client);
    daemon.kill();
    let daemon = home.start_with(&["dream_ms=20"]);
    let mut client = daemon.client();
    client.ask(&command!["EG.ERASE", "s", "a0"]);
    let before = dreamt(&mut client);
    assert!(before.keys().all(|(from, _)| from != "a0"), "they go with their episode");
    wait_for(&mut client, |links| links.keys().all(|(_, to)| to != "a0"));
}

#[test]
fn behind_an_erase_its_name_is_said_only_to_take_a_link_away() {
    let home = Home::new();
    let daemon = home.start_with(&["dream_ms=1"]);
    let mut client = daemon.client();
    fill(&mut client);
    let leads_to = |id: &str, links: &BTreeMap<(String, String), f64>| {
        links.keys().filter(|(_, to)| to == id).count()
    };
    for round in 0..12 {
        // Of either group in turn, so on both shards.
        let id = format!("{}-that-goes-{round}", ["a", "b"][round % 2]);
        let (_, near) = EPISODES[3 * (round % 2) + 1];
        client.ask(&command!["EG.STORE", "s", &id, "VEC", blob(&near)]);
        // Sometimes all have a link to it, sometimes they are about to make one.
        let links = [3, 1, 0][round % 3];
        wait_for(&mut client, |all| leads_to(&id, all) >= links);
        client.ask(&command!["EG.ERASE", "s", &id]);
        let before = occurrences(&home.data(), id.as_bytes());
        assert!(links == 0 || before > 0, "the search finds what is there");
        let seen = replays(&mut client);
        wait_for(&mut client, |all| leads_to(&id, all) == 0);
        eventually("everybody was replayed", || {
            thread::sleep(Duration::from_millis(100));
            replays(&mut client) > seen + 60
        });
        let after = occurrences(&home.data(), id.as_bytes());
        assert!(after <= before + 3, "three had a link: {before} before and {after} behind it");
    }
}
