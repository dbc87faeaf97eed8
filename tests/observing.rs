//! Observe streams: stores without a reply each, of which exactly what was acknowledged is told,
//! in order, and what was told is there whatever happens.

mod common;

use common::episodes::{blob, vector};
use common::{Client, Daemon, Home, Reply};
use redis::{PushKind, Value};

/// What a stream was told: from..to, or that one was refused.
#[derive(Debug, Clone, PartialEq)]
enum Told {
    Stored(u64, u64),
    Refused(u64, String),
}

/// The stream and what it was told; a reply comes back.
fn told(value: Value) -> Result<(i64, Told), Value> {
    let Value::Push { kind: PushKind::Other(kind), data } = value else { return Err(value) };
    let number = |value: &Value| u64::try_from(value.int()).unwrap();
    Ok(match (kind.as_str(), &data[..]) {
        ("eg.observed", [stream, from, to]) => {
            (stream.int(), Told::Stored(number(from), number(to)))
        }
        ("eg.refused", [stream, nth, why]) => {
            (stream.int(), Told::Refused(number(nth), why.text().to_owned()))
        }
        other => panic!("no such message: {other:?}"),
    })
}

fn next(client: &mut Client) -> (i64, Told) {
    told(client.read()).expect("no reply is owed")
}

fn listener(daemon: &Daemon) -> Client {
    let mut client = daemon.client();
    client.ask(&command!["HELLO", "3"]);
    client
}

fn open(client: &mut Client, options: &[&str]) -> String {
    let words: Vec<&[u8]> =
        [&["EG.OBSERVE", "OPEN", "notes"], options].concat().iter().map(|w| w.as_bytes()).collect();
    let reply = client.ask(&common::client::encode(&words));
    assert_eq!(reply.keys(), ["stream", "credit"]);
    reply.at("stream").int().to_string()
}

fn observation(stream: &str, id: &str) -> Vec<u8> {
    command!["EG.OBSERVE", stream, id, "VEC", blob(&vector(1, 3)), "TEXT", id]
}

/// What comes up to a reply: in the order of the numbers, each once; how many were stored, which
/// were refused, and the reply.
fn until_reply(client: &mut Client, stream: &str) -> (u64, Vec<(u64, String)>, Value) {
    let (mut last, mut stored, mut refused) = (0, 0, Vec::new());
    loop {
        match told(client.read()) {
            Err(reply) => return (stored, refused, reply),
            Ok((of, what)) => {
                assert_eq!(of.to_string(), stream);
                let (from, to) = match what {
                    Told::Stored(from, to) => {
                        stored += to - from + 1;
                        (from, to)
                    }
                    Told::Refused(nth, why) => {
                        refused.push((nth, why));
                        (nth, nth)
                    }
                };
                assert!(from == last + 1 && to >= from, "{from} to {to} comes after {last}");
                last = to;
            }
        }
    }
}

#[test]
fn observations_are_acknowledged_in_ranges_and_counted() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = listener(&daemon);
    client.create_space("notes", 3);
    let stream = open(&mut client, &["PRIO", "low", "DUR", "os", "CREDIT", "4096"]);
    let bytes: Vec<u8> =
        (0..2000).flat_map(|nth| observation(&stream, &format!("e{nth}"))).collect();
    client.send(&bytes);
    // Commands of all kinds go on, and one that reads sees what was observed in front of it.
    client.send(&command!["EG.GET", "notes", "e1999"]);
    let (mut stored, refused, reply) = until_reply(&mut client, &stream);
    assert_eq!((refused, reply.at("text").text()), (vec![], "e1999"));
    let mut messages = 0;
    while stored < 2000 {
        let (_, Told::Stored(from, to)) = next(&mut client) else { panic!("all are stored") };
        assert_eq!(from, stored + 1);
        stored = to;
        messages += 1;
    }
    assert!(messages < 2000, "ranges grow");
    let vector = blob(&vector(1, 3));
    let with_key = command!["EG.OBSERVE", stream, "k", "VEC", vector, "KEY", "key"];
    client.send(&[with_key.clone(), with_key].concat());
    client.send(&command!["EG.OBSERVE", stream, "bad", "VEC", "abc"]);
    client.send(&command!["EG.OBSERVE", stream, "bad", "VEC", blob(&[1.0, 2.0])]);
    client.send(&command!["EG.OBSERVE", stream, "*", "VEC", vector]);
    client.send(&command!["EG.OBSERVE", "CLOSE", stream]);
    let mut all = Vec::new();
    let counts = loop {
        match told(client.read()) {
            Ok((_, Told::Stored(from, to))) => all.extend(from..=to),
            Ok((_, Told::Refused(nth, why))) => {
                let code = if nth == 2003 { "BADVEC " } else { "DIM " };
                assert!(why.starts_with(code), "{nth}: {why}");
                all.push(nth);
            }
            Err(reply) => break reply,
        }
    };
    assert_eq!(all, (2001..=2005).collect::<Vec<_>>());
    let counts: Vec<i64> =
        ["stored", "existing", "refused"].iter().map(|key| counts.at(key).int()).collect();
    assert_eq!(counts, [2002, 1, 2]);
    let stats = client.ask(&command!["EG.STATS"]);
    assert_eq!((stats.at("observations").int(), stats.at("streams_open").int()), (2005, 0));
    assert_eq!(stats.at("episodes").int(), 2002);
}

#[test]
fn one_more_than_the_credit_is_refused_and_not_stored() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = listener(&daemon);
    client.create_space("notes", 3);
    let stream = open(&mut client, &["CREDIT", "5"]);
    // In one piece: the daemon reads all before it can tell of any.
    let ids: Vec<String> = (1..=6).map(|nth| format!("e{nth}")).collect();
    client.send(&ids.iter().flat_map(|id| observation(&stream, id)).collect::<Vec<_>>());
    client.send(&command!["EG.OBSERVE", "CLOSE", stream]);
    let (stored, refused, counts) = until_reply(&mut client, &stream);
    assert_eq!(stored, 5);
    assert!(matches!(&refused[..], [(6, why)] if why.starts_with("BUSY ")), "{refused:?}");
    assert_eq!((counts.at("stored").int(), counts.at("refused").int()), (5, 1));
    let found =
        |client: &mut Client, id: &str| client.ask(&command!["EG.GET", "notes", id]) != Value::Nil;
    assert!(ids[..5].iter().all(|id| found(&mut client, id)) && !found(&mut client, "e6"));
    // Acknowledgements give it back.
    let stream = open(&mut client, &["CREDIT", "5"]);
    for round in 0..10 {
        let ids = (0..5).map(|nth| format!("r{round}-{nth}"));
        client.send(&ids.flat_map(|id| observation(&stream, &id)).collect::<Vec<_>>());
        let mut through = round * 5;
        while through < (round + 1) * 5 {
            let (_, Told::Stored(from, to)) = next(&mut client) else { panic!("there is credit") };
            assert_eq!(from, through + 1);
            through = to;
        }
    }
}

#[test]
fn who_sends_far_too_much_and_does_not_read_is_held_up_alone() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = listener(&daemon);
    client.create_space("notes", 3);
    let stream = open(&mut client, &["CREDIT", "1"]);
    let bytes = observation(&stream, "a").repeat(200_000);
    let taken = client.send_until_held_up(&bytes);
    assert!(taken < bytes.len(), "all of {taken} bytes were taken");
    let mut other = daemon.client();
    other.ask(&command!["EG.STORE", "notes", "b", "VEC", blob(&vector(1, 3))]);
    let whole = taken / observation(&stream, "a").len();
    // Everything that was sent whole is told of, once, in order.
    let (mut last, mut busy) = (0, 0);
    while last < whole as u64 {
        let (from, to) = match next(&mut client).1 {
            Told::Stored(from, to) => (from, to),
            Told::Refused(nth, why) => {
                assert!(why.starts_with("BUSY "), "{why}");
                busy += 1;
                (nth, nth)
            }
        };
        assert_eq!(from, last + 1);
        last = to;
    }
    assert!(busy > 0);
}

#[test]
fn observations_of_mixed_urgency_are_told_in_order_and_keep_that_of_their_episodes() {
    let home = Home::new();
    // What waits for the disk is soon much, so the lanes matter.
    let daemon = home.start_with(&["commit_frames_max=1", "commits_in_flight=1"]);
    let mut client = listener(&daemon);
    client.create_space("notes", 3);
    let stream = open(&mut client, &["CREDIT", "4096"]);
    let urgency = |nth: usize| ["low", "high", "normal"][nth % 3];
    let mixed = |id: String, nth: usize| {
        let text = nth.to_string();
        let vector = blob(&vector(1, 3));
        let prio = urgency(nth);
        command!["EG.OBSERVE", stream, id, "VEC", vector, "TEXT", text, "PRIO", prio]
    };
    let apart = (0..600).map(|nth| mixed(format!("e{nth}"), nth));
    // Of seven episodes, whose next version is more urgent than the last or less.
    let over_and_over = (0..300).map(|nth| mixed(format!("again{}", nth % 7), nth));
    client.send(&apart.chain(over_and_over).flatten().collect::<Vec<u8>>());
    client.send(&command!["EG.OBSERVE", "CLOSE", stream]);
    let (stored, refused, counts) = until_reply(&mut client, &stream);
    assert_eq!((stored, refused, counts.at("stored").int()), (900, vec![], 900));
    for nth in 293..300 {
        let read = client.ask(&command!["EG.GET", "notes", format!("again{}", nth % 7)]);
        assert_eq!(read.at("text").text(), nth.to_string());
    }
    let stats = client.ask(&command!["EG.STATS"]);
    for lane in ["high", "normal", "low"] {
        let served = stats.at("lanes").at(lane).at("served").int();
        assert!(served >= 200, "{lane}: {served}");
    }
}

#[test]
fn bad_input_is_told_and_bounds_hold() {
    let home = Home::new();
    let daemon = home.start();
    let mut old = daemon.client();
    old.create_space("notes", 3);
    let (code, sentence) = old.refused(&command!["EG.OBSERVE", "OPEN", "notes"]);
    assert!(code == "SYNTAX" && sentence.contains("HELLO 3"), "{code} {sentence}");
    assert_eq!(old.refused(&observation("1", "a")).0, "SYNTAX");
    let mut client = listener(&daemon);
    assert_eq!(client.refused(&command!["EG.OBSERVE", "OPEN", "nothing"]).0, "NOSPACE");
    assert_eq!(client.refused(&command!["EG.OBSERVE", "x", "a", "b"]).0, "SYNTAX");
    assert_eq!(client.ask(&command!["EG.OBSERVE", "CLOSE", "1"]), Value::Nil);
    client.send(&observation("1", "a"));
    let (stream, Told::Refused(0, why)) = next(&mut client) else { panic!("it has no number") };
    assert!(stream == 1 && why.starts_with("SYNTAX "), "{why}");
    for nth in 1..=64 {
        assert_eq!(open(&mut client, &[]), nth.to_string());
    }
    assert_eq!(client.refused(&command!["EG.OBSERVE", "OPEN", "notes"]).0, "TOOBIG");
    assert_eq!(client.refused(&command!["HELLO", "2"]).0, "SYNTAX");
    client.ask(&command!["EG.OBSERVE", "CLOSE", "9"]);
    assert_eq!(open(&mut client, &[]), "65");
    // A stream outlives its space and says what became of it.
    old.ask(&command!["EG.SPACE", "DROP", "notes"]);
    client.send(&observation("65", "a"));
    let (65, Told::Refused(1, why)) = next(&mut client) else { panic!("the space is gone") };
    assert!(why.starts_with("NOSPACE "), "{why}");
    assert_eq!(old.ask(&command!["EG.STATS"]).at("streams_open").int(), 64);
    drop(client);
    common::eventually("streams end with their connection", || {
        old.ask(&command!["EG.STATS"]).at("streams_open").int() == 0
    });
}

#[test]
fn what_was_acknowledged_survives_a_kill_and_a_stop_tells_of_everything() {
    let home = Home::new();
    let mut daemon = home.start();
    listener(&daemon).create_space("notes", 3);
    let mut acknowledged = Vec::new();
    for round in 0..5 {
        let mut client = listener(&daemon);
        let stream = open(&mut client, &["CREDIT", "4096"]);
        let id = |nth: u64| format!("r{round}-{nth}");
        let bytes: Vec<u8> = (1..=3000).flat_map(|nth| observation(&stream, &id(nth))).collect();
        client.send(&bytes);
        // In the middle: some are told of, some are not.
        let mut through = 0;
        while through < 300 {
            let (_, Told::Stored(from, to)) = next(&mut client) else { panic!("there is room") };
            assert_eq!(from, through + 1);
            through = to;
        }
        daemon.kill();
        while let Ok(value) = client.try_read() {
            match told(value) {
                Ok((_, Told::Stored(from, to))) if from == through + 1 => through = to,
                other => panic!("{other:?} behind {through}"),
            }
        }
        acknowledged.extend((1..=through).map(id));
        daemon = home.start();
    }
    let mut client = listener(&daemon);
    for id in &acknowledged {
        let episode = client.ask(&command!["EG.GET", "notes", id]);
        assert_eq!(episode.at("text").text(), id, "acknowledged and lost");
    }
    let stream = open(&mut client, &[]);
    let bytes: Vec<u8> =
        (0..800).flat_map(|nth| observation(&stream, &format!("s{nth}"))).collect();
    client.send(&bytes);
    let (_, Told::Stored(1, mut through)) = next(&mut client) else { panic!("there is room") };
    let mut other = daemon.client();
    assert!(daemon.stop().success());
    while let Ok(value) = client.try_read() {
        match told(value) {
            Ok((_, Told::Stored(from, to))) if from == through + 1 => through = to,
            other => panic!("{other:?} behind {through}"),
        }
    }
    assert!(other.is_hung_up());
    let daemon = home.start();
    let mut client = daemon.client();
    let is_there = |client: &mut Client, nth: u64| {
        client.ask(&command!["EG.GET", "notes", format!("s{}", nth - 1)]) != Value::Nil
    };
    assert!((1..=through).all(|nth| is_there(&mut client, nth)));
    assert!((through + 1..=800).all(|nth| !is_there(&mut client, nth)), "stored and not told");
}
