//! Threads that are found in the metadata of episodes: they are what threads are that were said.

mod common;

use common::client::encode;
use common::episodes::{blob, vector};
use common::{Client, Home, Reply};
use redis::Value;

const DIMENSIONS: usize = 8;

/// Two conversations that are stored turn by turn in turns: thread, text.
const TALK: [(&str, &str); 8] = [
    ("1", "Anna: Hello Ben, good to see you!"),
    ("2", "Cara: I adopted a cat from the shelter."),
    ("1", "Ben: Did you paint anything at the lake?"),
    ("2", "Dan: What do you call it?"),
    ("1", "Anna: Only the sunrise, twice. It was cold."),
    ("2", "Cara: Biscuit, since it is what it steals."),
    ("1", "Ben: Sounds lovely."),
    ("2", "Dan: The shelter must be glad."),
];
const QUESTIONS: [&str; 3] = ["What did Anna paint?", "What is the cat called?", "the shelter"];

fn create(client: &mut Client, space: &str, more: &[&str]) {
    let dimensions = DIMENSIONS.to_string();
    // Nothing fades between two answers that are compared.
    let words = ["EG.SPACE", "CREATE", space, "DIM", &dimensions, "DECAY", "none", "SHARDS", "2"];
    client.ask(&encode(&[&words, more].concat()));
}

/// A store with a vector, at its place in time.
fn store(space: &str, (nth, text): (usize, &str), more: &[&str]) -> Vec<u8> {
    let (id, at) = (format!("t{nth}"), (nth as i64 * 1_000_000).to_string());
    let vector = blob(&vector(nth as u64, DIMENSIONS));
    let mut words: Vec<&[u8]> = vec![b"EG.STORE", space.as_bytes(), id.as_bytes(), b"VEC", &vector];
    words.extend([&b"TEXT"[..], text.as_bytes(), b"AT", at.as_bytes()]);
    words.extend(more.iter().map(|word| word.as_bytes()));
    encode(&words)
}

fn thread(client: &mut Client, space: &str, id: &str) -> Option<String> {
    let episode = client.ask(&command!["EG.GET", space, id]);
    let mut fields = episode.pairs().into_iter();
    fields.find(|(name, _)| *name == "thread").map(|(_, thread)| thread.text().to_owned())
}

fn answers(client: &mut Client, space: &str) -> Vec<Vec<(String, f64)>> {
    let mut answer = |question| {
        let reply = client.ask(&encode(&["EG.RECALL", space, "K", "5", "TEXT", question]));
        let hits = reply.items().iter();
        hits.map(|hit| (hit.at("id").text().to_owned(), hit.at("score").float())).collect()
    };
    QUESTIONS.into_iter().map(&mut answer).collect()
}

#[test]
fn what_the_metadata_says_belongs_together_is_a_thread() {
    let home = Home::new();
    let mut daemon = home.start();
    let mut client = daemon.client();
    create(&mut client, "said", &[]);
    create(&mut client, "found", &["THREAD", "chat.id"]);
    create(&mut client, "none", &[]);
    let info = client.ask(&command!["EG.SPACE", "INFO", "found"]);
    assert_eq!(info.at("thread").text(), "chat.id");
    for (nth, (thread, text)) in TALK.into_iter().enumerate() {
        // A number and its text are the same thread.
        let quote = if nth < 4 { "\"" } else { "" };
        let meta = format!(r#"{{"chat":{{"id":{quote}{thread}{quote}}}}}"#);
        client.ask(&store("said", (nth, text), &["THREAD", thread]));
        client.ask(&store("found", (nth, text), &["META", &meta]));
        client.ask(&store("none", (nth, text), &["META", &meta]));
    }
    let said = answers(&mut client, "said");
    assert_eq!(said[0][0].0, "t4", "the question before it has the words");
    assert_ne!(answers(&mut client, "none"), said);
    for turn in 0..3 {
        assert_eq!(answers(&mut client, "found"), said, "turn {turn}");
        for (nth, (name, _)) in TALK.into_iter().enumerate() {
            let id = format!("t{nth}");
            assert_eq!(thread(&mut client, "found", &id).as_deref(), Some(name), "{id}");
            assert_eq!(thread(&mut client, "none", &id), None, "{id}");
        }
        match turn {
            0 => _ = client.ask(&command!["EG.CONSOLIDATE"]),
            _ => {
                assert!(daemon.stop().success());
                daemon = home.start();
                client = daemon.client();
            }
        }
    }
    // Its settings are as durable as they were given.
    client.ask(&store("found", (9, "new"), &["META", r#"{"chat":{"id":["x","y"]}}"#]));
    assert_eq!(thread(&mut client, "found", "t9").as_deref(), Some("x"));
}

#[test]
fn a_thread_that_is_said_counts_and_one_that_is_too_long_is_refused() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    create(&mut client, "notes", &["THREAD", "chat"]);
    let both = ["META", r#"{"chat":"found"}"#, "THREAD", "said"];
    client.ask(&store("notes", (0, "text"), &both));
    assert_eq!(thread(&mut client, "notes", "t0").as_deref(), Some("said"));
    for (nth, meta) in
        ["{}", r#"{"chat":null}"#, r#"{"chat":""}"#, r#"{"chat":{"id":1}}"#].into_iter().enumerate()
    {
        client.ask(&store("notes", (1 + nth, "text"), &["META", meta]));
        assert_eq!(thread(&mut client, "notes", &format!("t{}", 1 + nth)), None, "{meta}");
    }
    let meta = |bytes: usize| format!(r#"{{"chat":"{}"}}"#, "x".repeat(bytes));
    client.ask(&store("notes", (6, "text"), &["META", &meta(256)]));
    assert_eq!(thread(&mut client, "notes", "t6").map(|thread| thread.len()), Some(256));
    let refused = client.refused(&store("notes", (7, "text"), &["META", &meta(257)]));
    assert_eq!(refused.0, "TOOBIG");
    assert!(refused.1.contains("thread in META") && refused.1.contains("257"), "{}", refused.1);
    assert_eq!(client.ask(&command!["EG.GET", "notes", "t7"]), Value::Nil);
    // A thread beside it is what counts: nothing in the metadata is too long then.
    client.ask(&store("notes", (7, "text"), &["META", &meta(257), "THREAD", "said"]));
    let vector = blob(&vector(8, DIMENSIONS));
    let stored = client.ask(&command![
        "EG.MSTORE",
        "notes",
        "2",
        "ITEM",
        "m1",
        "VEC",
        &vector,
        "META",
        meta(257),
        "ITEM",
        "m2",
        "VEC",
        &vector,
        "META",
        meta(3)
    ]);
    assert!(matches!(&stored.items()[0], Value::ServerError(_)), "{stored:?}");
    assert_eq!(thread(&mut client, "notes", "m2").as_deref(), Some("xxx"));
    for (path, says) in [("a..b", "dots between them"), ("", "1 to 128 bytes")] {
        let create = ["EG.SPACE", "CREATE", "other", "DIM", "3", "THREAD", path];
        let refused = client.refused(&encode(&create));
        assert!(refused.0 == "SYNTAX" && refused.1.contains(says), "{refused:?}");
    }
    let long = "p".repeat(129);
    let create = ["EG.SPACE", "CREATE", "other", "DIM", "3", "THREAD", &long];
    assert_eq!(client.refused(&encode(&create)).0, "TOOBIG");
    let other = ["EG.SPACE", "CREATE", "notes", "DIM", "8", "DECAY", "none", "SHARDS", "2"];
    assert_eq!(client.refused(&encode(&other)).0, "SYNTAX", "the setting is the space's");
}

#[test]
fn episodes_without_a_time_happened_in_the_order_they_were_sent() {
    let home = Home::new();
    let daemon = home.start_with(&["shards=3"]);
    let mut client = daemon.client();
    client.create_space("notes", DIMENSIONS);
    let vector = blob(&vector(1, DIMENSIONS));
    let ids: Vec<String> = (0..600).map(|nth| format!("turn {nth}")).collect();
    let (singles, batch) = ids.split_at(300);
    let mut sent = Vec::new();
    for id in singles {
        sent.extend(command!["EG.STORE", "notes", id, "VEC", &vector, "THREAD", "talk"]);
    }
    let count = batch.len().to_string();
    let mut words: Vec<&[u8]> = vec![b"EG.MSTORE", b"notes", count.as_bytes()];
    for id in batch {
        words.extend([b"ITEM", id.as_bytes(), b"VEC", &vector, b"THREAD", b"talk"]);
    }
    sent.extend(encode(&words));
    client.send(&sent);
    assert!(client.read_many(singles.len() + 1).iter().all(|reply| !reply.is_error()));
    let times: Vec<i64> = ids
        .iter()
        .map(|id| client.ask(&command!["EG.GET", "notes", id]).at("happened_at").int())
        .collect();
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
}
