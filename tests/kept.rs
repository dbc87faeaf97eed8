//! Gists that are kept, in a real daemon: what is found offline, how a recall finds it, what it is
//! of when its episodes go, that nothing else changes by it, and the switch for all of it.

mod common;

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use common::episodes::{blob, floats};
use common::{Client, Home, Reply, eventually, occurrences};
use redis::Value;

/// Two groups that have nothing to do with each other, and one that is alone.
const GROUPS: [&str; 2] = ["tea", "sea"];
const MEMBERS: usize = 5;

fn vector_of(group: usize, nth: usize) -> [f32; 4] {
    let mut vector = [0.0; 4];
    vector[group] = 1.0;
    vector[2] = 0.1 * nth as f32;
    vector
}

fn id_of(group: usize, nth: usize) -> String {
    format!("{}-{nth}", GROUPS[group])
}

fn members(group: usize) -> BTreeSet<String> {
    (0..MEMBERS).map(|nth| id_of(group, nth)).collect()
}

/// What is the same from one life of the store to the next: it does not fade.
fn fill(client: &mut Client, with_links: bool) {
    client.ask(&command!["EG.SPACE", "CREATE", "s", "DIM", "4", "DECAY", "none", "SHARDS", "all"]);
    for group in 0..GROUPS.len() {
        for nth in 0..MEMBERS {
            let (id, vector) = (id_of(group, nth), blob(&vector_of(group, nth)));
            let (text, at) = (format!("about {id}"), (100 * group + nth).to_string());
            let meta = format!("{{\"odd\": {}}}", nth % 2 == 1);
            let to = id_of(group, (nth + 1) % MEMBERS);
            client.ask(&command![
                "EG.STORE", "s", &id, "VEC", vector, "TEXT", text, "AT", at, "META", meta, "CONF",
                "0.5"
            ]);
            if with_links {
                client.ask(&command!["EG.LINK", "s", &id, to, "0.5"]);
                client.ask(&command!["EG.LINK", "s", &id, "x", "0.25"]);
            }
        }
    }
    let alone = blob(&[0.0, 0.0, 0.0, 1.0]);
    client.ask(&command!["EG.STORE", "s", "alone", "VEC", alone]);
}

fn ask(client: &mut Client, line: &str) -> Value {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    client.call(&common::client::encode(&words))
}

/// What is read without anybody knowing of gists; it leaves no trace.
const READS: [&str; 6] = [
    "EG.RECALL s K 11 ID tea-2 NOREINFORCE WITH links WITH text",
    "EG.RECALL s K 4 ID tea-2 SPREAD EXACT NOREINFORCE WITH why",
    "EG.RECALL s K 11 TEXT tea NOREINFORCE WITH why",
    "EG.SPREAD s K 11 FROM tea-0 1 EXACT WITH why",
    "EG.SPREAD s K 11 FROM sea-3 1 FROM alone 2 WITH why",
    "EG.GET s tea-1 WITH links",
];

fn reads(client: &mut Client) -> Vec<Value> {
    READS.iter().map(|line| ask(client, line)).collect()
}

/// The gists that a recall by an episode finds, and how many episodes stand with them.
fn found(client: &mut Client, by: &str, options: &str) -> (Vec<Value>, usize) {
    let line = format!("EG.RECALL s K 11 ID {by} NOREINFORCE GISTS{options}");
    let all = ask(client, &line).items().to_vec();
    let is_gist = |found: &Value| found.keys().contains(&"gist");
    let gists: Vec<Value> = all.iter().filter(|found| is_gist(found)).cloned().collect();
    let episodes = all.len() - gists.len();
    (gists, episodes)
}

fn sources(gist: &Value) -> BTreeSet<String> {
    gist.at("sources").items().iter().map(|source| source.at("id").text().to_owned()).collect()
}

fn sources_by(client: &mut Client, by: &str) -> Vec<BTreeSet<String>> {
    found(client, by, "").0.iter().map(sources).collect()
}

fn stat(client: &mut Client, name: &str) -> i64 {
    client.ask(&command!["EG.STATS"]).at(name).int()
}

/// Waits, and asks so seldom that the daemon has little to do in between.
fn wait_until(client: &mut Client, is_so: impl Fn(&mut Client) -> bool) {
    eventually("the gists are as they should be", || {
        thread::sleep(Duration::from_millis(200));
        is_so(client)
    });
}

/// A store in which both gists are whole, and no daemon runs.
fn with_gists(with_links: bool) -> Home {
    let home = Home::new();
    let daemon = home.start_with(&["gist_ms=5"]);
    let mut client = daemon.client();
    fill(&mut client, with_links);
    wait_until(&mut client, is_whole);
    drop(client);
    daemon.kill();
    home
}

fn is_whole(client: &mut Client) -> bool {
    let all = [sources_by(client, "tea-0"), sources_by(client, "sea-0")].concat();
    (0..2).all(|group| all.contains(&members(group)))
}

#[test]
fn what_belongs_together_is_kept_and_found_and_nothing_else_changes() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    fill(&mut client, true);
    let before = reads(&mut client);
    assert_eq!(found(&mut client, "tea-0", "").0, [], "nobody has made any");
    assert_eq!(stat(&mut client, "offline_shards"), 0);
    drop(client);
    daemon.kill();

    let daemon = home.start_with(&["gist_ms=5"]);
    let mut client = daemon.client();
    wait_until(&mut client, is_whole);
    assert_eq!(reads(&mut client), before, "bit by bit");
    let linked = client.ask(&command!["EG.LINK", "s", "tea-1", "x", "0.25"]);
    assert_eq!((linked.at("links").int(), linked.at("outcome").text()), (2, "replaced"));
    // Once it is so, nothing is written any more.
    let mut written = -1;
    wait_until(&mut client, |client| stat(client, "gist_links") >= 16);
    eventually("they have settled", || {
        let looks = stat(&mut client, "gist_looks");
        eventually("they were looked at", || {
            thread::sleep(Duration::from_millis(200));
            stat(&mut client, "gist_looks") >= looks + 60
        });
        let now = stat(&mut client, "gist_links");
        std::mem::replace(&mut written, now) == now
    });
    assert!(stat(&mut client, "gists_made") >= 2 && stat(&mut client, "offline_shards") > 0);
    drop(client);
    daemon.kill();

    for round in 0..3 {
        let mut daemon = home.start();
        let mut client = daemon.client();
        assert!(is_whole(&mut client), "round {round}");
        assert_eq!(reads(&mut client), before, "round {round}");
        assert_eq!(stat(&mut client, "gist_looks"), 0, "unless it is asked for");
        client.ask(&command!["EG.CONSOLIDATE"]);
        assert!(is_whole(&mut client), "round {round}");
        assert_eq!(reads(&mut client), before, "round {round}");
        drop(client);
        if round == 1 { daemon.kill() } else { assert!(daemon.stop().success()) }
    }
}

#[test]
fn a_gist_is_told_with_all_that_follows_from_its_members() {
    let home = with_gists(true);
    let daemon = home.start();
    let mut client = daemon.client();
    let (gists, episodes) = found(&mut client, "sea-1", " WITH text WITH vec");
    assert_eq!((gists.len(), episodes), (2, 9), "both are among the eleven");
    let gist = &gists[0];
    let told = ["gist", "score", "similarity", "confidence", "since", "until", "text", "vec"];
    assert_eq!(gist.keys(), [&told[..], &["sources"]].concat());
    assert_eq!(sources(gist), members(1));
    let medoid = gist.at("gist").text();
    assert_eq!(medoid, gist.at("sources").items()[0].at("id").text());
    assert_eq!(gist.at("text").text(), format!("about {medoid}"));
    assert_eq!((gist.at("since").int(), gist.at("until").int()), (100, 104));
    let sure: Vec<f64> = gist.at("confidence").items().iter().map(Reply::float).collect();
    assert_eq!(sure, [0.5; 3]);
    // What trust leaves of its members' is what is pooled, whoever is trusted by whatever.
    let uid = client.ask(&command!["EG.GET", "s", "sea-1"]).at("writer_uid").int();
    for (trust, expected) in [
        (format!(" TRUST * 0.5 TRUST UID {} 0", uid + 1), [0.5, 0.25, 0.75]),
        (format!(" TRUST UID {uid} 0.25 TRUST * 1"), [0.5, 0.125, 0.875]),
        (" TRUST WRITER ada 0".to_owned(), [0.5; 3]),
    ] {
        let (gists, _) = found(&mut client, "sea-1", &trust);
        assert_eq!(sources(&gists[0]), members(1), "{trust}");
        let told = gists[0].at("confidence");
        let told: Vec<f64> = told.items().iter().map(Reply::float).collect();
        assert_eq!(told, expected, "{trust}");
    }
    let unit = |vector: &[f32]| {
        let length = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        vector.iter().map(|x| f64::from(*x) / length).collect::<Vec<_>>()
    };
    let mut mean = vec![0.0; 4];
    for nth in 0..MEMBERS {
        let own = unit(&vector_of(1, nth));
        mean.iter_mut().zip(own).for_each(|(sum, own)| *sum += (own / MEMBERS as f64) as f32);
    }
    let mean = unit(&mean);
    let Value::BulkString(vector) = gist.at("vec") else { panic!("{gist:?}") };
    let vector = floats(vector);
    let off = vector.iter().zip(&mean).map(|(a, b)| (f64::from(*a) - b).abs());
    assert!(off.fold(0.0, f64::max) < 1e-6);
    // A recall by similarity scores it by that.
    let cue = unit(&vector_of(1, 1));
    let similarity: f64 = cue.iter().zip(&mean).map(|(a, b)| a * b).sum();
    for key in ["score", "similarity"] {
        assert!((gist.at(key).float() - similarity).abs() < 1e-6, "{gist:?}");
    }
    // It takes a place among the k that it deserves.
    let all = ask(&mut client, "EG.RECALL s K 11 ID sea-1 NOREINFORCE GISTS");
    assert!(all.items().is_sorted_by(|a, b| a.at("score").float() >= b.at("score").float()));
    let two = ask(&mut client, "EG.RECALL s K 2 ID sea-1 NOREINFORCE GISTS");
    assert_eq!(two.items(), &all.items()[..2]);
    assert_eq!(two.items()[0].at("id").text(), "sea-1", "nothing is more similar");
    // With words it has the mean of its members' words.
    let number = |it: &Value, key: &str| it.at("why").at(key).float();
    let factor = |it: &Value| {
        let factors = ["stating", "strength", "confidence"].map(|key| number(it, key));
        factors.iter().product::<f64>()
    };
    let ask_words = |client: &mut Client, cue: &str| {
        let line = format!("EG.RECALL s K 11 TEXT tea-3{cue} NOREINFORCE GISTS");
        (ask(client, &format!("{line} WITH why")), ask(client, &line))
    };
    let (words, bare) = ask_words(&mut client, "");
    let split = |all: &Value| -> (Vec<Value>, Vec<Value>) {
        all.items().iter().cloned().partition(|it| it.keys().contains(&"gist"))
    };
    let (gists, mut tea) = split(&words);
    let gist = gists.iter().find(|gist| sources(gist) == members(0)).expect("it is found");
    tea.retain(|it| it.at("id").text().starts_with("tea"));
    assert_eq!((tea.len(), tea[0].at("id").text()), (MEMBERS, "tea-3"));
    let mean = tea.iter().map(|it| number(it, "words")).sum::<f64>() / MEMBERS as f64;
    let expected = tea[0].at("score").float() - (number(&tea[0], "words") - mean) * factor(&tea[0]);
    assert!((gist.at("score").float() - expected).abs() < 1e-5, "{expected}: {words:?}");
    assert!(!gist.keys().contains(&"similarity"), "there is no vector");
    assert!(bare.items().iter().all(|it| !it.keys().contains(&"why")), "{bare:?}");
    // With both, similarity counts as the formula says.
    let (both, _) = ask_words(&mut client, " ID sea-1");
    let (gists, episodes) = split(&both);
    let of_sea = gists.iter().find(|gist| sources(gist) == members(1)).expect("it is found");
    let sea: Vec<&Value> =
        episodes.iter().filter(|it| it.at("id").text().starts_with("sea")).collect();
    let near = |it: &Value| (it.at("similarity").float(), number(it, "near"));
    let (first, last) = (near(sea[0]), near(&episodes[episodes.len() - 1]));
    let slope = (first.1 - last.1) / (first.0 - last.0);
    let nearer = slope * (of_sea.at("similarity").float() - first.0);
    let mean = sea.iter().map(|it| number(it, "words")).sum::<f64>() / MEMBERS as f64;
    let added = (0.85 * nearer + mean - number(sea[0], "words")) * factor(sea[0]);
    let expected = sea[0].at("score").float() + added;
    assert!((of_sea.at("score").float() - expected).abs() < 1e-4, "{expected}: {both:?}");
    // Parts are left out where there is no room for them.
    let (gists, _) = found(&mut client, "sea-1", " WITH text BYTES 1");
    assert!(gists.iter().all(|gist| !gist.keys().contains(&"text")), "{gists:?}");
}

#[test]
fn a_gist_is_of_the_episodes_that_are_there_and_may_be_seen() {
    let home = with_gists(true);
    let mut daemon = home.start();
    let mut client = daemon.client();
    let mut left = members(0);
    let is = |client: &mut Client, left: &BTreeSet<String>| {
        assert!(sources_by(client, "sea-0").contains(&members(1)), "the other one is as it was");
        let gists = sources_by(client, "tea-2");
        gists.into_iter().filter(|gist| *gist != members(1)).collect::<Vec<_>>() == [left.clone()]
    };
    // What a filter excludes is in nothing that it lets through.
    let (even, _) = found(&mut client, "tea-2", " FILTER {\"odd\":false}");
    let even: Vec<_> = even.iter().map(sources).collect();
    let of = |group| [0, 2, 4].map(|nth| id_of(group, nth)).into_iter().collect::<BTreeSet<_>>();
    assert!(even.len() == 2 && even.contains(&of(0)) && even.contains(&of(1)), "{even:?}");
    let (odd, _) = found(&mut client, "tea-2", " FILTER {\"odd\":true}");
    assert_eq!(odd, [], "two are no gist");
    // Who is its head is nobody's business: two go, whoever that is, each in its own way.
    client.ask(&command!["EG.FORGET", "s", "tea-4"]);
    left.remove("tea-4");
    let gists = sources_by(&mut client, "tea-2");
    let has_head = gists.len() == 2;
    assert!(!has_head || is(&mut client, &left), "{gists:?}");
    // A store of the id is somebody else.
    let vector = blob(&vector_of(0, 4));
    client.ask(&command!["EG.STORE", "s", "tea-4", "VEC", vector]);
    assert!(!has_head || is(&mut client, &left));
    for round in 0..2 {
        client.ask(&command!["EG.CONSOLIDATE"]);
        assert!(!has_head || is(&mut client, &left), "round {round}");
        assert!(daemon.stop().success());
        daemon = home.start();
        client = daemon.client();
    }
    // What is left finds together again.
    drop(client);
    daemon.kill();
    let daemon = home.start_with(&["gist_ms=5"]);
    let mut client = daemon.client();
    wait_until(&mut client, is_whole);
    // What is superseded, and what expires, is in none any more.
    client.ask(&command!["EG.SUPERSEDE", "s", "tea-0", "BY", "alone"]);
    client.ask(&command!["EG.ERASE", "s", "tea-1"]);
    let gone = ["tea-0", "tea-1"];
    let gists = sources_by(&mut client, "tea-2");
    assert!(gists.iter().all(|gist| gone.iter().all(|gone| !gist.contains(*gone))), "{gists:?}");
    let left: BTreeSet<String> = (2..5).map(|nth| id_of(0, nth)).collect();
    wait_until(&mut client, |client| sources_by(client, "tea-2").contains(&left));
    let brief = command!["EG.STORE", "s", "tea-4", "VEC", blob(&vector_of(0, 4)), "TTL", "1000"];
    client.ask(&brief);
    wait_until(&mut client, |client| sources_by(client, "tea-2").contains(&left));
    drop(client);
    daemon.kill();
    let daemon = home.start_with(&["clock_ahead_seconds=2000"]);
    let mut client = daemon.client();
    assert_eq!(sources_by(&mut client, "tea-2"), [members(1)], "two are no gist");
}

/// Whether any file of the store has an id.
fn has(home: &Home, id: &str) -> bool {
    occurrences(&home.data(), id.as_bytes()) > 0
}

#[test]
fn nothing_of_an_erased_source_stays_in_any_file() {
    for consolidates in [false, true] {
        let home = with_gists(false);
        let mut daemon = home.start_with(&["gist_ms=5"]);
        let mut client = daemon.client();
        if consolidates {
            client.ask(&command!["EG.CONSOLIDATE"]);
        }
        let mut left = members(0);
        // The head is among them, whoever that is.
        for (nth, id) in members(0).iter().enumerate() {
            assert!(has(&home, id), "the search finds what is there");
            client.ask(&command!["EG.ERASE", "s", id]);
            assert!(!has(&home, id), "{id}");
            assert!(sources_by(&mut client, "sea-0").iter().all(|gist| !gist.contains(id)));
            left.remove(id);
            let by = left.first().cloned().unwrap_or_else(|| "sea-0".to_owned());
            let expected = if left.len() < 3 { members(1) } else { left.clone() };
            wait_until(&mut client, |client| {
                let gists = sources_by(client, &by);
                gists.contains(&expected) && (left.len() >= 3 || gists.len() == 1)
            });
            assert!(!has(&home, id), "what was learned since names it: {id}");
            if nth == 1 {
                drop(client);
                assert!(daemon.stop().success());
                daemon = home.start_with(&["gist_ms=5"]);
                client = daemon.client();
                client.ask(&command!["EG.CONSOLIDATE"]);
                let gone = members(0).into_iter().filter(|id| !left.contains(id));
                gone.for_each(|id| assert!(!has(&home, &id), "{id}"));
            }
        }
    }
}

#[test]
fn one_switch_turns_all_offline_work_off() {
    let home = Home::new();
    let daemon = home.start_with(&["gist_ms=5", "dream_ms=5", "offline=false"]);
    let mut client = daemon.client();
    fill(&mut client, true);
    assert_eq!(stat(&mut client, "offline_shards"), 0);
    thread::sleep(Duration::from_millis(500));
    for name in ["dream_replays", "dream_links", "gist_looks", "gists_made", "gist_links"] {
        assert_eq!(stat(&mut client, name), 0, "{name}");
    }
    drop(client);
    daemon.kill();
    let daemon = home.start_with(&["gist_ms=5", "dream_ms=5"]);
    let mut client = daemon.client();
    assert!(stat(&mut client, "offline_shards") > 0);
    wait_until(&mut client, |client| {
        stat(client, "dream_replays") > 0 && stat(client, "gists_made") > 0
    });
}

#[test]
fn clients_neither_make_nor_name_what_holds_a_gist_together() {
    let home = with_gists(true);
    let daemon = home.start();
    let mut client = daemon.client();
    let place: &[u8] = b"\xffm\0\0\x03\0\0\0\0\0\0\0";
    let (link, kind) = (command!["EG.LINK", "s", "tea-0", place, "1", "KIND", "gist"], "SYNTAX");
    assert_eq!(client.refused(&link).0, kind);
    assert_eq!(client.refused(&command!["EG.UNLINK", "s", "tea-0", place]).0, kind);
    let vector = blob(&vector_of(0, 0));
    let store = command!["EG.STORE", "s", "tea-0", "VEC", vector, "LINK", place, "1"];
    assert_eq!(client.refused(&store).0, kind);
    // A link of that name is a link as any other.
    client.ask(&command!["EG.LINK", "s", "tea-0", "sea-0", "0.5", "KIND", "gist"]);
    client.ask(&command!["EG.UNLINK", "s", "tea-1", "tea-2"]);
    assert!(is_whole(&mut client));
    let episode = client.ask(&command!["EG.GET", "s", "tea-0", "WITH", "links"]);
    assert_eq!(episode.at("links").items().len(), 3);
    let refused =
        client.refused(&command!["EG.RECALL", "s", "K", "1", "ID", "tea-0", "GISTS", "ASOF", "5"]);
    assert_eq!(refused.0, kind);
}
