//! Associations through the socket: what links answer, what they refuse, and that they are there
//! after a kill, after a consolidation, and on whichever shard their episode is.

mod common;

use std::collections::BTreeMap;

use common::episodes::{blob, vector};
use common::stock::{self, BOTH};
use common::{Client, Daemon, Home, Reply};
use engram_shards::limits::EPISODE_LINKS_MAX;
use redis::{Value, cmd};

const DIMENSIONS: usize = 3;

struct Stage {
    home: Home,
    daemon: Daemon,
    client: Client,
}

impl Stage {
    /// With these episodes.
    fn new(ids: &[&str]) -> Self {
        let home = Home::new();
        let daemon = home.start();
        let mut client = daemon.client();
        client.create_space("notes", DIMENSIONS);
        ids.iter().for_each(|id| store(&mut client, id));
        Self { home, daemon, client }
    }

    fn kill_and_start(self) -> Self {
        self.daemon.kill();
        let daemon = self.home.start();
        let client = daemon.client();
        Self { daemon, client, ..self }
    }

    fn ask(&mut self, words: &str) -> Value {
        self.client.ask(&command(words))
    }

    fn refused(&mut self, words: &str, code: &str, says: &[&str]) {
        let (got, sentence) = self.client.refused(&command(words));
        assert_eq!(got, code, "{words}: {sentence}");
        for word in says {
            assert!(sentence.contains(word), "no '{word}' in '{sentence}'");
        }
    }

    /// Target and kind of each link, and its weight.
    fn links(&mut self, id: &str) -> BTreeMap<(String, String), f64> {
        links_of(&self.client.ask(&command!["EG.GET", "notes", id, "WITH", "links"]))
    }
}

fn command(words: &str) -> Vec<u8> {
    common::client::encode(&words.split(' ').map(str::as_bytes).collect::<Vec<_>>())
}

fn store(client: &mut Client, id: &str) {
    let vector = blob(&vector(id.len() as u64, DIMENSIONS));
    client.ask(&command!["EG.STORE", "notes", id, "VEC", vector]);
}

fn links_of(episode: &Value) -> BTreeMap<(String, String), f64> {
    let links = episode.at("links");
    let link = |link: &Value| {
        let kind = link.keys().contains(&"kind").then(|| link.at("kind").text().to_owned());
        ((link.at("id").text().to_owned(), kind.unwrap_or_default()), link.at("weight").float())
    };
    let all: BTreeMap<_, _> = links.items().iter().map(link).collect();
    assert_eq!(all.len(), links.items().len(), "no two are alike");
    all
}

fn links<const N: usize>(links: [(&str, &str, f64); N]) -> BTreeMap<(String, String), f64> {
    links.into_iter().map(|(to, kind, weight)| ((to.into(), kind.into()), weight)).collect()
}

#[test]
fn a_link_answers_with_what_it_did_in_both_protocols() {
    for resp in BOTH {
        let home = Home::new();
        let daemon = home.start();
        let mut connection = stock::connect(&daemon.socket, resp);
        let words = |line: &str| {
            let mut words = line.split(' ');
            let mut command = cmd(words.next().unwrap());
            for word in words {
                command.arg(word);
            }
            command
        };
        words("EG.SPACE CREATE notes DIM 1 METRIC l2").exec(&mut connection).unwrap();
        for id in ["a", "b"] {
            words(&format!("EG.STORE notes {id} VALUES 1 1")).exec(&mut connection).unwrap();
        }
        let mut value = |line: &str| words(line).query::<Value>(&mut connection).unwrap();
        let linked = value("EG.LINK notes a b 0.5");
        assert_eq!(linked.keys(), ["seq", "outcome", "links", "pressure", "degraded"]);
        assert!(linked.at("seq").int() > 0);
        assert_eq!((linked.at("outcome").text(), linked.at("links").int()), ("created", 1));
        let again = value("eg.link notes a b 0.75 dur os");
        assert_eq!((again.at("outcome").text(), again.at("links").int()), ("replaced", 1));
        let other = value("EG.LINK notes a b 2 KIND causes");
        assert_eq!((other.at("outcome").text(), other.at("links").int()), ("created", 2));
        let mutual = value("EG.LINK notes a b 3 MUTUAL KIND causes");
        assert_eq!(mutual.keys()[5..], ["back_seq", "back_outcome"]);
        assert_eq!(mutual.at("outcome").text(), "replaced");
        assert_eq!(mutual.at("back_outcome").text(), "created");
        let removed = value("EG.UNLINK notes a b");
        assert_eq!(removed.keys(), ["seq", "outcome", "removed"]);
        assert_eq!((removed.at("outcome").text(), removed.at("removed").int()), ("unlinked", 2));
        assert_eq!(value("EG.UNLINK notes a b").at("removed").int(), 0);
        assert_eq!(value("EG.UNLINK notes nobody b"), Value::Nil);
        assert_eq!(value("EG.UNLINK notes nobody other MUTUAL"), Value::Nil);
        // Only the other one has a link.
        assert_eq!(value("EG.UNLINK notes a b KIND causes MUTUAL").at("removed").int(), 1);
    }
}

#[test]
fn links_are_part_of_the_episode_whatever_reads_it() {
    let mut stage = Stage::new(&["a", "b"]);
    stage.ask("EG.LINK notes a b 0.5 KIND near");
    stage.ask("EG.LINK notes a a 1");
    stage.ask("EG.LINK notes a nobody 3.4e38 KIND far");
    let all = links([("b", "near", 0.5), ("a", "", 1.0), ("nobody", "far", 3.4e38)]);
    let is_all = |got: BTreeMap<(String, String), f64>| {
        assert_eq!(got.len(), all.len());
        for (link, weight) in &all {
            assert!((got[link] / weight - 1.0).abs() < 1e-6, "{link:?}");
        }
    };
    is_all(stage.links("a"));
    let many = stage.client.ask(&command("EG.MGET notes 2 a b WITH links"));
    is_all(links_of(&many.items()[0]));
    let recalled = stage.client.ask(&command("EG.RECALL notes K 2 ID a WITH links"));
    let own = recalled.items().iter().find(|hit| hit.at("id").text() == "a").unwrap();
    is_all(links_of(own));
    let (mut cursor, mut found) = ("0".to_owned(), None);
    while found.is_none() {
        let page =
            stage.client.ask(&command!["EG.SCAN", "notes", "CURSOR", cursor, "WITH", "links"]);
        let [next, episodes] = page.items() else { panic!("{page:?}") };
        cursor = next.text().to_owned();
        found = episodes.items().iter().find(|episode| episode.at("id").text() == "a").cloned();
    }
    is_all(links_of(&found.unwrap()));
}

#[test]
fn a_store_sets_links_and_a_forget_takes_them_along() {
    let mut stage = Stage::new(&["a", "b"]);
    let store = "EG.STORE notes a VALUES 3 1 2 3 LINK b 1 LINK b 2 LINK b 3 KIND k LINK b 4 KIND k";
    stage.ask(store);
    assert_eq!(stage.links("a"), links([("b", "", 2.0), ("b", "k", 4.0)]));
    stage.ask("EG.LINK notes a c 5");
    stage.ask("EG.UNLINK notes a b KIND k");
    assert_eq!(stage.links("a"), links([("b", "", 2.0), ("c", "", 5.0)]));
    stage.ask("EG.STORE notes a VALUES 3 1 2 3 LINK d 6");
    assert_eq!(stage.links("a"), links([("d", "", 6.0)]));
    stage.ask("EG.LINK notes b a 7");
    stage.ask("EG.FORGET notes a");
    stage.refused("EG.LINK notes a b 1", "NOEPISODE", &["'a'"]);
    assert_eq!(stage.links("b"), links([("a", "", 7.0)]), "it leads nowhere for a while");
    stage.ask("EG.STORE notes a VALUES 3 1 2 3");
    assert_eq!(stage.links("a"), links([]));
}

#[test]
fn pipelined_links_come_behind_the_store_of_their_episode_and_before_what_reads_it() {
    let mut stage = Stage::new(&[]);
    let mut commands = Vec::new();
    for nth in 0..40 {
        for words in [
            format!("EG.LINK notes e{nth} before 1"),
            format!("EG.STORE notes e{nth} VALUES 3 1 2 {nth}"),
            format!("EG.LINK notes e{nth} e{} 1", nth + 1),
            format!("EG.LINK notes e{nth} e0 2 MUTUAL KIND back"),
            format!("EG.GET notes e{nth} WITH links"),
        ] {
            commands.extend(command(&words));
        }
    }
    stage.client.send(&commands);
    let replies = stage.client.read_many(200);
    for (nth, replies) in replies.chunks(5).enumerate() {
        assert_eq!(replies[0].code(), "NOEPISODE");
        assert_eq!(replies[2].at("outcome").text(), "created");
        let (next, own) = (format!("e{}", nth + 1), links_of(&replies[4]));
        assert_eq!(own, links([(&next, "", 1.0), ("e0", "back", 2.0)]));
    }
    assert_eq!(stage.links("e0").len(), 41);
}

#[test]
fn mutual_links_need_both_episodes_wherever_they_are() {
    let ids: Vec<String> = (0..12).map(|nth| format!("e{nth}")).collect();
    let mut stage = Stage::new(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    stage.refused("EG.LINK notes e0 nobody 1 MUTUAL", "NOEPISODE", &["nobody"]);
    stage.refused("EG.LINK notes nobody e0 1 MUTUAL", "NOEPISODE", &["nobody"]);
    assert_eq!(stage.links("e0"), links([]), "neither was made");
    // Twelve ids are on both shards.
    for id in &ids {
        stage.ask(&format!("EG.LINK notes e0 {id} 0.5 MUTUAL KIND pair"));
    }
    let mut stage = stage.kill_and_start();
    assert_eq!(stage.links("e0").len(), ids.len(), "the one with itself is one");
    for id in &ids {
        assert_eq!(stage.links(id)[&("e0".into(), "pair".into())], 0.5);
    }
    for id in &ids[1..] {
        let removed = stage.ask(&format!("EG.UNLINK notes {id} e0 MUTUAL"));
        assert_eq!(removed.at("removed").int(), 2);
    }
    assert_eq!(stage.links("e0"), links([("e0", "pair", 0.5)]));
}

#[test]
fn bad_links_are_refused_and_change_nothing() {
    let mut stage = Stage::new(&["a", "b"]);
    stage.ask("EG.LINK notes a b 0.5 KIND near");
    for weight in ["0", "-0", "-1", "nan", "inf", "-inf", "1e39", "1e-50", "heavy"] {
        let words = format!("EG.LINK notes a b {weight} KIND near");
        stage.refused(&words, "SYNTAX", &["weight", weight]);
    }
    stage.refused("EG.LINK nowhere a b 1", "NOSPACE", &["nowhere"]);
    stage.refused("EG.UNLINK nowhere a b", "NOSPACE", &["nowhere"]);
    stage.refused("EG.LINK nowhere a b 1 MUTUAL", "NOSPACE", &["nowhere"]);
    stage.refused("EG.LINK notes nobody b 1", "NOEPISODE", &["nobody"]);
    stage.refused("EG.LINK notes a b", "SYNTAX", &["usage: EG.LINK space from to weight"]);
    stage.refused("EG.LINK notes a b 1 2", "SYNTAX", &["'2'", "usage"]);
    stage.refused("EG.UNLINK notes a", "SYNTAX", &["usage: EG.UNLINK space from to"]);
    stage.refused("EG.LINK notes a b 1 MUTUAL MUTUAL", "SYNTAX", &["twice"]);
    stage.refused("EG.LINK notes a b 1 KIND x KIND y", "SYNTAX", &["twice"]);
    stage.refused("EG.LINK notes a b 1 DUR later", "SYNTAX", &["disk, os"]);
    let long = |bytes| "k".repeat(bytes);
    stage.refused(&format!("EG.LINK notes a b 1 KIND {}", long(65)), "TOOBIG", &["65", "64"]);
    stage.refused(&format!("EG.UNLINK notes a b KIND {}", long(65)), "TOOBIG", &["65", "64"]);
    stage.refused(&format!("EG.LINK notes a {} 1", long(257)), "TOOBIG", &["257", "256"]);
    stage.refused(&format!("EG.LINK notes {} b 1", long(257)), "TOOBIG", &["257", "256"]);
    stage.refused("EG.LINK notes a b 1 KIND ", "SYNTAX", &["1 to 64"]);
    stage.refused("EG.LINK notes a  1", "SYNTAX", &["1 to 256"]);
    let not_text = command!["EG.LINK", "notes", "a", b"\xff", "1"];
    assert_eq!(stage.client.refused(&not_text).0, "SYNTAX");
    assert_eq!(stage.links("a"), links([("b", "near", 0.5)]));
    // The longest there may be.
    let (target, kind) = ("t".repeat(256), long(64));
    stage.ask(&format!("EG.LINK notes a {target} 1e-45 KIND {kind}"));
    let mut stage = stage.kill_and_start();
    assert_eq!(stage.links("a").len(), 2);
    assert!(stage.links("a")[&(target, kind)] > 0.0);
}

#[test]
fn an_episode_has_as_many_links_as_the_bound_and_not_one_more() {
    let mut stage = Stage::new(&["hub"]);
    for first in (0..EPISODE_LINKS_MAX).step_by(512) {
        let commands: Vec<u8> = (first..first + 512)
            .flat_map(|nth| command(&format!("EG.LINK notes hub target-{nth} 1 DUR os")))
            .collect();
        stage.client.send(&commands);
        let replies = stage.client.read_many(512);
        assert!(replies.iter().all(|reply| !reply.is_error()), "{:?}", replies[0]);
    }
    stage.refused("EG.LINK notes hub one-more 1", "TOOBIG", &["16385", "16384"]);
    assert_eq!(stage.ask("EG.LINK notes hub target-7 2").at("outcome").text(), "replaced");
    stage.ask("EG.CONSOLIDATE");
    let mut stage = stage.kill_and_start();
    let all = stage.links("hub");
    assert_eq!(all.len(), EPISODE_LINKS_MAX);
    assert_eq!(all[&("target-7".into(), String::new())], 2.0);
    stage.refused("EG.LINK notes hub one-more 1", "TOOBIG", &["16385", "16384"]);
    assert_eq!(stage.ask("EG.UNLINK notes hub target-8").at("removed").int(), 1);
    stage.ask("EG.LINK notes hub one-more 1");
}

#[test]
fn links_go_through_consolidations_kills_and_snapshots() {
    let ids: Vec<String> = (0..30).map(|nth| format!("e{nth}")).collect();
    let mut stage = Stage::new(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    for (nth, id) in ids.iter().enumerate() {
        stage.ask(&format!("EG.LINK notes {id} e{} 1 KIND next", (nth + 1) % 30));
    }
    stage.ask("EG.CONSOLIDATE");
    for id in ids.iter().step_by(2) {
        stage.ask(&format!("EG.LINK notes {id} e5 2 KIND hub"));
        stage.ask(&format!("EG.LINK notes {id} e5 3"));
        stage.ask(&format!("EG.UNLINK notes {id} e5 KIND hub"));
    }
    let check = |stage: &mut Stage| {
        for (nth, id) in ids.iter().enumerate() {
            let mut expected = links([(&format!("e{}", (nth + 1) % 30), "next", 1.0)]);
            if nth % 2 == 0 {
                expected.extend(links([("e5", "", 3.0)]));
            }
            assert_eq!(stage.links(id), expected, "{id}");
        }
    };
    check(&mut stage);
    let mut stage = stage.kill_and_start();
    check(&mut stage);
    let stats = stage.ask("EG.STATS");
    assert_eq!(stats.at("links").int(), 0, "counted since the start");
    stage.ask("EG.CONSOLIDATE");
    check(&mut stage);
    let mut stage = stage.kill_and_start();
    check(&mut stage);
}

#[test]
fn the_fan_of_a_space_is_kept_for_life() {
    let mut stage = Stage::new(&[]);
    let create = "EG.SPACE CREATE taxonomy DIM 3 FAN 1.57 FANCAP 500";
    stage.ask(create);
    stage.ask("EG.SPACE CREATE hubs DIM 3 FAN degree FANCAP 4294967295 SHARDS 1");
    let check = |stage: &mut Stage| {
        for (space, fan, fan_cap) in
            [("notes", "degree", 0), ("taxonomy", "1.57", 500), ("hubs", "degree", u32::MAX.into())]
        {
            let info = stage.ask(&format!("EG.SPACE INFO {space}"));
            assert_eq!(
                (info.at("fan").text(), info.at("fan_cap").int()),
                (fan, fan_cap),
                "{space}"
            );
        }
        stage.ask(create);
        for other in ["", " FAN 1.57", " FANCAP 500", " FAN 1.58 FANCAP 500", " FAN 1.57 FANCAP 1"]
        {
            let words = format!("EG.SPACE CREATE taxonomy DIM 3{other}");
            stage.refused(&words, "SYNTAX", &["other settings", "EG.SPACE INFO"]);
        }
    };
    check(&mut stage);
    // From the log, then from the state file.
    let mut stage = stage.kill_and_start();
    check(&mut stage);
    stage.ask("EG.CONSOLIDATE");
    let mut stage = stage.kill_and_start();
    check(&mut stage);
}
