//! `EG.ERASE`: the bytes of an episode leave every file of the store, and nothing else does.

mod common;

use common::episodes::{blob, vector};
use common::{Client, Home, Reply, files};
use redis::Value;

/// Bytes that occur in the erased episode and nowhere else.
const SECRETS: [&str; 5] =
    ["sesame-in-the-text", "sesame-in-the-metadata", "sesame-thread", "sesame-key", "sesame-id"];

/// Where the secrets or the secret vector are in the files of a store.
fn places(home: &Home, secret_vector: &[u8]) -> Vec<String> {
    let needles = SECRETS.iter().map(|secret| secret.as_bytes()).chain([secret_vector]);
    let needles: Vec<&[u8]> = needles.collect();
    let mut places = Vec::new();
    for (file, bytes) in files(&home.data()) {
        for needle in &needles {
            if bytes.windows(needle.len()).any(|window| window == *needle) {
                let needle = String::from_utf8_lossy(needle);
                places.push(format!("{needle} in {}", file.display()));
            }
        }
    }
    places
}

fn store_secret(client: &mut Client, round: u64) -> Value {
    let (text, meta) = (format!("{} {round}", SECRETS[0]), format!(r#"{{"a":"{}"}}"#, SECRETS[1]));
    let key = format!("{} {round}", SECRETS[3]);
    let vector = blob(&vector(777, 3));
    client.call(&command![
        "EG.STORE", "notes", SECRETS[4], "VEC", vector, "TEXT", text, "META", meta, "THREAD",
        SECRETS[2], "KEY", key
    ])
}

fn store_others(client: &mut Client, from: u64) {
    for number in from..from + 30 {
        let (id, text) = (number.to_string(), format!("other {number} {}", "x".repeat(50_000)));
        let vector = blob(&vector(number, 3));
        let reply = client.call(&command!["EG.STORE", "notes", id, "VEC", vector, "TEXT", text]);
        assert!(!reply.is_error(), "{reply:?}");
    }
}

fn others_are_there(client: &mut Client) {
    for number in 0..90 {
        let found = client.ask(&command!["EG.GET", "notes", number.to_string()]);
        assert!(found.at("text").text().starts_with(&format!("other {number} ")), "{number}");
    }
}

#[test]
fn every_byte_of_every_version_leaves_every_file() {
    let home = Home::new();
    // Every command is slow, and every one traced.
    let mut daemon = home.start_with(&["slowlog_us=0", "trace_sample=1"]);
    let mut client = daemon.client();
    client.create_space("notes", 3);
    let secret_vector = blob(&vector(777, 3));
    // Versions in several segments, forgotten and stored again in between.
    for round in 0..3 {
        assert!(!store_secret(&mut client, round).is_error());
        assert!(!store_secret(&mut client, round + 10).is_error());
        client.ask(&command!["EG.FORGET", "notes", SECRETS[4]]);
        store_others(&mut client, round * 30);
    }
    assert!(!store_secret(&mut client, 99).is_error());
    let before = places(&home, &secret_vector);
    assert!(before.len() >= 6, "the scan finds what is there: {before:?}");

    let erased = client.ask(&command!["EG.ERASE", "notes", SECRETS[4]]);
    assert_eq!(erased.at("outcome").text(), "erased", "{erased:?}");
    // Seven stores, three forgets and the forget that the erase began with.
    assert_eq!(erased.at("frames").int(), 11);
    assert!(erased.at("bytes").int() > 7 * 200 && erased.at("seq").int() > 0, "{erased:?}");
    assert_eq!(places(&home, &secret_vector), Vec::<String>::new());
    others_are_there(&mut client);
    let gone = client.ask(&command!["EG.GET", "notes", SECRETS[4]]);
    assert_eq!(gone, Value::Nil);
    // Nor is it where commands are told of.
    let slow = format!("{:?}", client.ask(&command!["EG.SLOWLOG", "GET", "16384"]));
    assert!(slow.contains("EG.STORE") && home.said().contains("answered"));
    for secret in SECRETS {
        assert!(!slow.contains(secret) && !home.said().contains(secret), "{secret}");
    }

    // Erased twice is erased once: only the new forget is left to remove.
    let again = client.call(&command!["EG.ERASE", "notes", SECRETS[4]]);
    assert_eq!(again, Value::Nil, "there was no episode");
    assert_eq!(places(&home, &secret_vector), Vec::<String>::new());

    drop(client);
    assert!(daemon.stop().success());
    let daemon = home.start();
    let mut client = daemon.client();
    others_are_there(&mut client);
    assert!(!home.said().contains("WARN"), "an erased log is a sound log: {}", home.said());
    // The key went with the episode.
    let stored = store_secret(&mut client, 99);
    assert_eq!(stored.at("outcome").text(), "created", "{stored:?}");
}

#[test]
fn an_erase_that_a_kill_cut_short_is_finished_by_the_next_start() {
    for round in 0..8 {
        let home = Home::new();
        let daemon = home.start();
        let mut client = daemon.client();
        client.create_space("notes", 3);
        let secret_vector = blob(&vector(777, 3));
        for version in 0..40 {
            assert!(!store_secret(&mut client, version).is_error());
        }
        let mut other = daemon.client();
        // The command is sent and the daemon killed a little later each time.
        client.send(&command!["EG.ERASE", "notes", SECRETS[4]]);
        for _ in 0..round * 4 {
            other.ask(&command!["PING"]);
        }
        let hidden = other.ask(&command!["EG.GET", "notes", SECRETS[4]]) == Value::Nil;
        daemon.kill();

        let daemon = home.start();
        let mut client = daemon.client();
        let found = client.ask(&command!["EG.GET", "notes", SECRETS[4]]);
        assert!(found == Value::Nil || !hidden, "what was hidden stays hidden");
        // Whatever the first one came to, it is taken up or begun again.
        client.call(&command!["EG.ERASE", "notes", SECRETS[4]]);
        common::eventually("nothing is left", || places(&home, &secret_vector).is_empty());
    }
}

#[test]
fn erasing_checks_its_arguments() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    client.create_space("notes", 3);
    let unknown = client.call(&command!["EG.ERASE", "notes", "nobody"]);
    assert_eq!(unknown, Value::Nil);
    assert_eq!(client.call(&command!["EG.ERASE", "nowhere", "a"]).code(), "NOSPACE");
    assert_eq!(client.call(&command!["EG.ERASE", "notes"]).code(), "SYNTAX");
    assert_eq!(client.call(&command!["EG.ERASE", "notes", "a", "b"]).code(), "SYNTAX");
    let long = "x".repeat(257);
    assert_eq!(client.call(&command!["EG.ERASE", "notes", long]).code(), "TOOBIG");
}
