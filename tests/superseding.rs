//! What is superseded, what was believed before, and what is stored once, on the wire: episodes of
//! one store may live on several shards.

mod common;

use common::episodes::{blob, vector};
use common::{Client, Daemon, Home, Reply};
use redis::Value;

fn start(home: &Home) -> (Daemon, Client) {
    let daemon = home.start_with(&["shards=3"]);
    let mut client = daemon.client();
    client.create_space("notes", 3);
    (daemon, client)
}

/// A store of an episode with these further words.
fn store(id: &str, number: u64, more: &[&str]) -> Vec<u8> {
    let (vector, text) = (blob(&vector(number, 3)), format!("text {number}"));
    let words = ["EG.STORE", "notes", id, "VEC"].map(|word| word.as_bytes().to_vec());
    let mut words = words.to_vec();
    words.extend([vector, b"TEXT".to_vec(), text.into_bytes()]);
    words.extend(more.iter().map(|word| word.as_bytes().to_vec()));
    common::client::encode(&words.iter().map(|word| &word[..]).collect::<Vec<_>>())
}

fn ids(hits: &Value) -> Vec<String> {
    let hits = hits.items().iter();
    let mut ids: Vec<_> = hits.map(|hit| hit.at("id").text().to_owned()).collect();
    ids.sort_unstable();
    ids
}

fn texts(value: &Value) -> Vec<&str> {
    value.items().iter().map(Reply::text).collect()
}

fn recall(client: &mut Client, more: &[&str]) -> Vec<String> {
    let words = ["EG.RECALL", "notes", "K", "100", "VALUES", "3", "1", "0", "0"];
    let words: Vec<_> = words.iter().chain(more).map(|word| word.as_bytes()).collect();
    ids(&client.ask(&common::client::encode(&words)))
}

fn recorded_at(client: &mut Client, id: &str) -> i64 {
    client.ask(&command!["EG.GET", "notes", id]).at("recorded_at").int()
}

#[test]
fn an_item_of_a_batch_supersedes_an_earlier_one_wherever_both_live() {
    let home = Home::new();
    let (_daemon, mut client) = start(&home);
    let vector = blob(&vector(1, 3));
    for round in 0..100 {
        let [first, second, third] = ["a", "b", "c"].map(|name| format!("{name}{round}"));
        let stored = client.ask(&command![
            "EG.MSTORE",
            "notes",
            "3",
            "ITEM",
            &first,
            "VEC",
            &vector,
            "ITEM",
            &second,
            "VEC",
            &vector,
            "SUPERSEDES",
            &first,
            "ITEM",
            &third,
            "VEC",
            &vector,
            "SUPERSEDES",
            &second
        ]);
        let superseded: Vec<Vec<&str>> =
            stored.items()[1..].iter().map(|item| texts(item.at("superseded"))).collect();
        assert_eq!(superseded, [[&first[..]], [&second[..]]], "{round}");
    }
}

#[test]
fn nothing_supersedes_itself_by_an_id_that_the_daemon_gave() {
    let home = Home::new();
    let (_daemon, mut client) = start(&home);
    for word in [&["DEDUP"][..], &["KEY", "k"]] {
        let first = client.ask(&store("*", 1, word));
        let id = first.at("id").text();
        let again = client.ask(&store("*", 1, &[word, &["SUPERSEDES", id]].concat()));
        assert_eq!(again.at("id").text(), id);
        assert_eq!(texts(again.at("superseded")), Vec::<&str>::new(), "{word:?}");
        assert!(recall(&mut client, &[]).contains(&id.to_owned()), "{word:?}");
    }
}

#[test]
fn what_is_superseded_is_read_and_not_recalled_wherever_it_lives() {
    let home = Home::new();
    let (mut daemon, mut client) = start(&home);
    for number in 0..12 {
        client.ask(&store(&format!("old{number}"), number, &["AT", "1000"]));
    }
    let mut more = vec!["AT", "5000", "SUPERSEDES", "nobody"];
    let olds: Vec<String> = (0..6).map(|number| format!("old{number}")).collect();
    olds.iter().for_each(|id| more.extend(["SUPERSEDES", id]));
    let stored = client.ask(&store("new", 77, &more));
    assert_eq!(stored.at("outcome").text(), "created");
    assert_eq!(texts(stored.at("superseded")), olds, "in the order in which they were named");

    let remaining = |client: &mut Client| {
        let mut expected: Vec<_> = (6..12).map(|number| format!("old{number}")).collect();
        expected.insert(0, "new".into());
        expected.sort_unstable();
        assert_eq!(recall(client, &[]), expected);
        assert_eq!(recall(client, &["EXACT"]), expected);
        assert_eq!(recall(client, &["TEXT", "text"]), expected);
        assert_eq!(recall(client, &["SPREAD"]), expected);
        let old = client.ask(&command!["EG.GET", "notes", "old3"]);
        assert_eq!(old.at("superseded_by").text(), "new");
        assert_eq!((old.at("happened_at").int(), old.at("valid_until").int()), (1000, 5000));
        let open = client.ask(&command!["EG.GET", "notes", "old7"]);
        assert!(!open.keys().contains(&"valid_until"));
    };
    remaining(&mut client);
    let before = (recorded_at(&mut client, "new") - 1).to_string();
    let all: Vec<_> = (0..12).map(|number| format!("old{number}")).collect();
    let mut sorted = all.clone();
    sorted.sort_unstable();
    assert_eq!(recall(&mut client, &["ASOF", &before]), sorted);
    assert_eq!(recall(&mut client, &["ASOF", &before, "TEXT", "text"]), sorted);
    assert_eq!(recall(&mut client, &["ASOF", "0"]), Vec::<String>::new());
    let then = client.ask(&command!["EG.GET", "notes", "old3", "ASOF", before]);
    assert!(!then.keys().contains(&"superseded_by"));
    assert_eq!(client.ask(&command!["EG.GET", "notes", "new", "ASOF", before]), Value::Nil);
    let both = client.ask(&command!["EG.MGET", "notes", "2", "new", "old3", "ASOF", before]);
    assert_eq!(both.items()[0], Value::Nil);
    assert_eq!(both.items()[1].at("id").text(), "old3");
    let stats = client.ask(&command!["EG.STATS", "notes"]);
    assert_eq!((stats.at("episodes").int(), stats.at("superseded").int()), (13, 6));

    // It stays so in columns, and after a start.
    client.ask(&command!["EG.CONSOLIDATE", "notes"]);
    remaining(&mut client);
    daemon.stop();
    let daemon = home.start_with(&["shards=3"]);
    let mut client = daemon.client();
    remaining(&mut client);
    assert_eq!(recall(&mut client, &["ASOF", &before]), sorted);

    // What superseded goes, and nothing comes back.
    client.ask(&command!["EG.ERASE", "notes", "new"]);
    assert_eq!(recall(&mut client, &[]).len(), 6);
    // What is stored again is valid again.
    client.ask(&store("old3", 3, &[]));
    assert_eq!(recall(&mut client, &[]).len(), 7);
}

#[test]
fn a_repeated_store_supersedes_again_and_never_what_came_later() {
    let home = Home::new();
    let (_daemon, mut client) = start(&home);
    client.ask(&store("old", 1, &[]));
    let new = store("*", 2, &["KEY", "k", "SUPERSEDES", "old", "SUPERSEDES", "late"]);
    let first = client.ask(&new);
    assert_eq!(texts(first.at("superseded")), ["old"]);
    client.ask(&store("old", 3, &[]));
    client.ask(&store("late", 4, &[]));
    let again = client.ask(&new);
    assert_eq!(again.at("outcome").text(), "existing");
    assert_eq!(texts(again.at("superseded")), Vec::<&str>::new(), "both were recorded later");
    assert_eq!(recall(&mut client, &[]).len(), 3);
    // Only the first counts.
    let second = client.ask(&store("newer", 5, &["SUPERSEDES", "old", "DUR", "os"]));
    assert_eq!(texts(second.at("superseded")), ["old"]);
    let third = client.ask(&store("newest", 6, &["SUPERSEDES", "old"]));
    assert_eq!(texts(third.at("superseded")), Vec::<&str>::new());
    let old = client.ask(&command!["EG.GET", "notes", "old"]);
    assert_eq!(old.at("superseded_by").text(), "newer");
}

#[test]
fn items_of_a_batch_and_observations_supersede_too() {
    let home = Home::new();
    let (_daemon, mut client) = start(&home);
    for number in 0..4 {
        client.ask(&store(&format!("old{number}"), number, &[]));
    }
    let item = |id: &str, old: &str| {
        let vector = blob(&vector(9, 3));
        let words = ["ITEM", id, "VEC"].map(|word| word.as_bytes().to_vec());
        let rest = ["SUPERSEDES", old].map(|word| word.as_bytes().to_vec());
        [&words[..], &[vector], &rest[..]].concat()
    };
    let head = ["EG.MSTORE", "notes", "2"].map(|word| word.as_bytes().to_vec());
    let words = [&head[..], &item("new0", "old0"), &item("new1", "nobody")].concat();
    let words: Vec<&[u8]> = words.iter().map(|word| &word[..]).collect();
    let stored = client.ask(&common::client::encode(&words));
    assert_eq!(texts(stored.items()[0].at("superseded")), ["old0"]);
    assert_eq!(texts(stored.items()[1].at("superseded")), Vec::<&str>::new());

    client.ask(&command!["HELLO", "3"]);
    let stream = client.ask(&command!["EG.OBSERVE", "OPEN", "notes"]).at("stream").int();
    let vector = blob(&vector(10, 3));
    let stream = stream.to_string();
    client.send(&command!["EG.OBSERVE", &stream, "new2", "VEC", vector, "SUPERSEDES", "old2"]);
    // A command that reads waits for it.
    client.send(&command!["EG.GET", "notes", "old2"]);
    let values = [client.read(), client.read()];
    let old = values.iter().find(|value| !matches!(value, Value::Push { .. })).unwrap();
    assert_eq!(old.at("superseded_by").text(), "new2");
    assert_eq!(recall(&mut client, &[]), ["new0", "new1", "new2", "old1", "old3"]);
}

#[test]
fn the_same_content_is_stored_once_where_that_is_asked_for() {
    let home = Home::new();
    let (mut daemon, mut client) = start(&home);
    let once = store("*", 1, &["DEDUP"]);
    let first = client.ask(&once);
    let id = first.at("id").text().to_owned();
    assert_eq!(first.at("outcome").text(), "created");
    let check = |client: &mut Client, outcome: &str| {
        let again = client.ask(&once);
        assert_eq!((again.at("id").text(), again.at("outcome").text()), (&id[..], outcome));
        again.at("seq").int()
    };
    assert_eq!(check(&mut client, "existing"), first.at("seq").int());
    // Text and vector count, the rest does not; without DEDUP nothing is looked for.
    let other = client.ask(&store("*", 1, &["DEDUP", "CONF", "0.5", "AT", "7"]));
    assert_eq!((other.at("id").text(), other.at("outcome").text()), (&id[..], "existing"));
    assert_ne!(client.ask(&store("*", 2, &["DEDUP"])).at("id").text(), id);
    assert_eq!(client.ask(&store("*", 1, &[])).at("outcome").text(), "created");
    assert_eq!(client.ask(&command!["EG.STATS", "notes"]).at("episodes").int(), 3);

    // Pipelined, the second finds the first before that is durable; a forget in between counts.
    let forget = command!["EG.FORGET", "notes", &id];
    client.send(&[&forget[..], &once, &once, &forget, &once].concat());
    let replies = client.read_many(5);
    let outcomes: Vec<_> = replies.iter().map(|reply| reply.at("outcome").text()).collect();
    assert_eq!(outcomes, ["forgotten", "created", "existing", "forgotten", "created"]);

    // Under an id of the client's it is that episode alone that counts.
    assert_eq!(client.ask(&store("own", 1, &["DEDUP"])).at("outcome").text(), "created");
    assert_eq!(client.ask(&store("own", 1, &["DEDUP"])).at("outcome").text(), "existing");
    assert_eq!(client.ask(&store("own", 2, &["DEDUP"])).at("outcome").text(), "replaced");

    client.ask(&command!["EG.CONSOLIDATE", "notes"]);
    check(&mut client, "existing");
    daemon.stop();
    let daemon = home.start_with(&["shards=3"]);
    let mut client = daemon.client();
    check(&mut client, "existing");
    // What is superseded is stored again, and so valid again.
    client.ask(&store("new", 5, &["SUPERSEDES", &id]));
    check(&mut client, "replaced");
    check(&mut client, "existing");
}

#[test]
fn the_nearest_other_episode_is_told_of_and_the_store_is_made_all_the_same() {
    let home = Home::new();
    let (_daemon, mut client) = start(&home);
    let values = |id: &str, x: &str, more: &[&str]| {
        let words = ["EG.STORE", "notes", id, "VALUES", "3", x, "1", "0"];
        let words: Vec<_> = words.iter().chain(more).map(|word| word.as_bytes()).collect();
        common::client::encode(&words)
    };
    let near = |client: &mut Client, command: &[u8]| client.ask(command).at("near").clone();
    assert_eq!(near(&mut client, &values("a", "0", &["NEAR", "0.9"])), Value::Nil);
    let told = near(&mut client, &values("b", "0.1", &["NEAR", "0.9"]));
    assert_eq!(told.at("id").text(), "a");
    assert!((told.at("similarity").float() - 0.995).abs() < 1e-3);
    assert_eq!(near(&mut client, &values("c", "10", &["NEAR", "0.9"])), Value::Nil);
    assert_eq!(recall(&mut client, &[]), ["a", "b", "c"]);
    // Not what it supersedes.
    let told = near(&mut client, &values("d", "0.1", &["NEAR", "0.9", "SUPERSEDES", "b"]));
    assert_eq!(told.at("id").text(), "a");
    let told = near(&mut client, &values("*", "0.1", &["NEAR", "0.9", "DEDUP"]));
    assert_eq!(told.at("id").text(), "d");
}

#[test]
fn what_is_there_is_superseded_by_what_is_there() {
    let home = Home::new();
    let (_daemon, mut client) = start(&home);
    let before = client.ask(&store("a", 1, &["AT", "100"]));
    assert_eq!(before.at("outcome").text(), "created");
    client.ask(&store("b", 2, &["AT", "700"]));
    let recorded = recorded_at(&mut client, "b").to_string();
    let supersede = |words: &[&str]| {
        let words: Vec<_> = ["EG.SUPERSEDE", "notes"].iter().chain(words).collect();
        let words: Vec<_> = words.iter().map(|word| word.as_bytes()).collect();
        common::client::encode(&words)
    };
    // In one pipeline with the store of what it is about.
    let commands = [store("c", 3, &["AT", "100"]), supersede(&["c", "BY", "gone", "AT", "-7"])];
    client.send(&commands.concat());
    let replies = client.read_many(2);
    assert_eq!(replies[1].at("outcome").text(), "superseded");
    assert_eq!(client.refused(&supersede(&["a", "BY", "nobody"])).0, "NOEPISODE");
    assert_eq!(client.ask(&supersede(&["nobody", "BY", "b"])), Value::Nil);
    for outcome in ["superseded", "superseded"] {
        assert_eq!(client.ask(&supersede(&["a", "BY", "b"])).at("outcome").text(), outcome);
    }
    assert_eq!(client.ask(&supersede(&["a", "BY", "c"])).at("outcome").text(), "unchanged");
    let read = |client: &mut Client, id: &str| client.ask(&command!["EG.GET", "notes", id]);
    let (a, c) = (read(&mut client, "a"), read(&mut client, "c"));
    assert_eq!((a.at("superseded_by").text(), a.at("valid_until").int()), ("b", 700));
    assert_eq!((c.at("superseded_by").text(), c.at("valid_until").int()), ("gone", -7));
    assert_eq!(recall(&mut client, &[]), ["b"]);
    // Until it was said, both were believed.
    assert_eq!(recall(&mut client, &["ASOF", &recorded]), ["a", "b"]);
}
