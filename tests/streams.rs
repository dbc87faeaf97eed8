//! Watches: new episodes of a memory space as messages, each once, in order, from where the
//! consumer was; and consumers that are slow cost nobody anything.

mod common;

use std::collections::BTreeMap;
use std::thread;

use common::episodes::{blob, vector};
use common::{Client, Daemon, Home, Reply, eventually};
use redis::{PushKind, Value};

/// A connection that speaks RESP3 and keeps messages and replies apart.
struct Listener {
    client: Client,
    messages: Vec<Message>,
}

/// A message that answers no command.
#[derive(Debug, Clone, PartialEq)]
enum Message {
    Episode { watch: i64, shard: i64, seq: i64, id: String, text: String },
    Cut { watch: i64, reason: String, at: Vec<String> },
}

impl Message {
    fn of(value: Value) -> Result<Self, Value> {
        let Value::Push { kind: PushKind::Other(kind), data } = value else { return Err(value) };
        Ok(match (kind.as_str(), &data[..]) {
            ("eg.watch", [watch, shard, seq, episode]) => {
                assert_eq!(episode.at("seq"), seq);
                let text = episode.pairs().iter().any(|(key, _)| *key == "text");
                Self::Episode {
                    watch: watch.int(),
                    shard: shard.int(),
                    seq: seq.int(),
                    id: episode.at("id").text().to_owned(),
                    text: if text { episode.at("text").text().to_owned() } else { String::new() },
                }
            }
            ("eg.cut", [watch, reason, at]) => {
                Self::Cut { watch: watch.int(), reason: reason.text().to_owned(), at: numbers(at) }
            }
            other => panic!("no such message: {other:?}"),
        })
    }

    fn id(&self) -> &str {
        match self {
            Self::Episode { id, .. } => id,
            other => panic!("an episode is expected: {other:?}"),
        }
    }
}

/// Shards and sequences as words behind FROM.
fn numbers(value: &Value) -> Vec<String> {
    value.items().iter().map(|number| number.int().to_string()).collect()
}

impl Listener {
    fn new(daemon: &Daemon) -> Self {
        let mut client = daemon.client();
        client.ask(&command!["HELLO", "3"]);
        Self { client, messages: Vec::new() }
    }

    /// The reply to a command; messages that come before it are kept.
    fn call(&mut self, words: &[&str]) -> Value {
        self.client.send(&common::client::encode(words));
        loop {
            match Message::of(self.client.read()) {
                Ok(message) => self.messages.push(message),
                Err(reply) => return reply,
            }
        }
    }

    /// Opens a watch: its number and where it begins.
    fn watch(&mut self, words: &[&str]) -> (i64, Vec<String>) {
        let reply = self.call(&[&["EG.WATCH"], words].concat());
        assert_eq!(reply.keys(), ["watch", "credit", "from"]);
        (reply.at("watch").int(), numbers(reply.at("from")))
    }

    fn next(&mut self) -> Message {
        if self.messages.is_empty() {
            return Message::of(self.client.read()).expect("no reply is owed");
        }
        self.messages.remove(0)
    }

    fn take(&mut self, count: usize) -> Vec<Message> {
        (0..count).map(|_| self.next()).collect()
    }

    /// The ids of the next messages of a watch, and where it is then.
    fn follow(&mut self, of: i64, from: &[String], count: usize) -> (Vec<String>, Vec<String>) {
        let mut at: BTreeMap<i64, i64> =
            from.chunks(2).map(|at| (at[0].parse().unwrap(), at[1].parse().unwrap())).collect();
        let mut ids = Vec::new();
        for message in self.take(count) {
            let Message::Episode { watch, shard, seq, id, .. } = message else {
                panic!("an episode is expected: {message:?}");
            };
            assert_eq!(watch, of);
            let before = at.insert(shard, seq).expect("a shard of the space");
            assert!(before < seq, "{before} comes before {seq}");
            ids.push(id);
        }
        let at = at.into_iter().flat_map(|(shard, seq)| [shard.to_string(), seq.to_string()]);
        (ids, at.collect())
    }

    /// Nothing has come and nothing is on its way.
    fn is_quiet(&mut self) -> bool {
        // What the shards had for this connection came before they answered twice.
        for _ in 0..2 {
            self.call(&["EG.STATS"]);
        }
        self.messages.is_empty()
    }
}

fn store(client: &mut Client, id: &str, text: &str) {
    client.ask(&command!["EG.STORE", "notes", id, "VEC", blob(&vector(1, 3)), "TEXT", text]);
}

fn store_many(client: &mut Client, ids: impl Iterator<Item = String>) -> Vec<String> {
    ids.inspect(|id| store(client, id, id)).collect()
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort_unstable();
    ids
}

fn words<'a>(fixed: &[&'a str], from: &'a [String]) -> Vec<&'a str> {
    fixed.iter().copied().chain(from.iter().map(String::as_str)).collect()
}

#[test]
fn what_is_stored_comes_once_from_every_shard_beside_replies() {
    let home = Home::new();
    let daemon = home.start();
    let mut writer = daemon.client();
    writer.create_space("notes", 3);
    writer.create_space("others", 3);
    store(&mut writer, "before", "not sent");
    let mut listener = Listener::new(&daemon);
    let (watch, from) = listener.watch(&["notes"]);
    assert_eq!((watch, from.len()), (1, 4));
    let ids = store_many(&mut writer, (0..200).map(|nth| format!("e{nth}")));
    writer.ask(&command!["EG.STORE", "others", "a", "VEC", blob(&vector(1, 3))]);
    assert_eq!(listener.call(&["PING"]), Value::SimpleString("PONG".into()));
    assert_eq!(listener.call(&["EG.GET", "notes", "e7"]).at("text").text(), "e7");
    let (seen, _) = listener.follow(watch, &from, 200);
    assert_eq!(sorted(seen), sorted(ids));
    assert!(listener.is_quiet());
    // The connection that watches may write, and several may watch.
    let mut second = Listener::new(&daemon);
    let (other, _) = second.watch(&["notes", "WITH", "links", "CREDIT", "5"]);
    let vector = ["VALUES", "3", "1", "2", "3"];
    listener.call(&[&["EG.STORE", "notes", "own", "TEXT", "mine"][..], &vector[..]].concat());
    assert!(matches!(listener.next(), Message::Episode { text, .. } if text == "mine"));
    let message = second.next();
    assert!(
        matches!(&message, Message::Episode { watch, text, .. }
        if *watch == other && text.is_empty()),
        "{message:?}"
    );
    let stats = listener.call(&["EG.STATS"]);
    assert_eq!(stats.at("watches_open").int(), 2);
    assert_eq!(stats.at("episodes_pushed").int(), 202);
    drop(second);
    eventually("a watch ends with its connection", || {
        listener.call(&["EG.STATS"]).at("watches_open").int() == 1
    });
}

#[test]
fn a_watch_goes_on_after_a_kill_and_a_consolidation() {
    let home = Home::new();
    let daemon = home.start();
    let mut writer = daemon.client();
    writer.create_space("notes", 3);
    let mut listener = Listener::new(&daemon);
    let (watch, from) = listener.watch(&["notes"]);
    let first = store_many(&mut writer, (0..60).map(|nth| format!("a{nth}")));
    let (seen, at) = listener.follow(watch, &from, 60);
    assert_eq!(sorted(seen), sorted(first.clone()));
    drop(listener);
    let second = store_many(&mut writer, (0..60).map(|nth| format!("b{nth}")));
    writer.ask(&command!["EG.CONSOLIDATE"]);
    let third = store_many(&mut writer, (0..60).map(|nth| format!("c{nth}")));
    drop(writer);
    daemon.kill();

    let daemon = home.start();
    let mut writer = daemon.client();
    let mut listener = Listener::new(&daemon);
    let (watch, from) = listener.watch(&words(&["notes", "FROM"], &at));
    assert_eq!(from, at);
    let fourth = store_many(&mut writer, (0..60).map(|nth| format!("d{nth}")));
    let (seen, at) = listener.follow(watch, &from, 180);
    assert_eq!(sorted(seen), sorted([&second[..], &third, &fourth].concat()));
    writer.ask(&command!["EG.CONSOLIDATE"]);
    assert!(listener.is_quiet(), "what is moved is not news: {:?}", listener.messages);
    let fifth = store_many(&mut writer, (0..9).map(|nth| format!("e{nth}")));
    let (seen, at) = listener.follow(watch, &at, 9);
    assert_eq!(sorted(seen), sorted(fifth.clone()));
    // The end of a watch tells the same place.
    assert_eq!(numbers(&listener.call(&["EG.UNWATCH", &watch.to_string()])), at);
    // From the beginning: everything, in the order of each shard.
    let (watch, from) = listener.watch(&["notes", "FROM", "0", "0"]);
    assert_eq!(from.iter().skip(1).step_by(2).collect::<Vec<_>>(), ["0", "0"]);
    let (seen, _) = listener.follow(watch, &from, 249);
    assert_eq!(sorted(seen), sorted([first, second, third, fourth, fifth].concat()));
    assert!(listener.is_quiet());
}

#[test]
fn the_latest_versions_come_and_what_was_forgotten_does_not() {
    let home = Home::new();
    let daemon = home.start_with(&["shards=1"]);
    let mut writer = daemon.client();
    writer.create_space("notes", 3);
    for (id, text) in [("a", "1"), ("b", "1"), ("c", "1"), ("a", "2"), ("d", "1")] {
        store(&mut writer, id, text);
    }
    writer.ask(&command!["EG.FORGET", "notes", "b"]);
    let texts = |messages: Vec<Message>| -> Vec<(String, String)> {
        let parts = |message| match message {
            Message::Episode { id, text, .. } => (id, text),
            other => panic!("an episode is expected: {other:?}"),
        };
        messages.into_iter().map(parts).collect()
    };
    let pairs = |expected: &[(&str, &str)]| -> Vec<(String, String)> {
        expected.iter().map(|(id, text)| ((*id).to_owned(), (*text).to_owned())).collect()
    };
    let mut listener = Listener::new(&daemon);
    listener.watch(&["notes", "FROM", "0", "0"]);
    assert_eq!(texts(listener.take(3)), pairs(&[("c", "1"), ("a", "2"), ("d", "1")]));
    // Who follows closely sees every version; links are no news.
    store(&mut writer, "a", "3");
    assert_eq!(texts(listener.take(1)), pairs(&[("a", "3")]));
    writer.ask(&command!["EG.LINK", "notes", "a", "c", "1"]);
    store(&mut writer, "a", "4");
    assert_eq!(texts(listener.take(1)), pairs(&[("a", "4")]));
    assert!(listener.is_quiet());
    // What is not flushed when it is answered comes when it is.
    writer.ask(&command!["EG.STORE", "notes", "e", "VEC", blob(&vector(1, 3)), "DUR", "os"]);
    assert_eq!(listener.next().id(), "e");
}

#[test]
fn no_more_comes_than_there_is_credit_for() {
    let home = Home::new();
    let daemon = home.start();
    let mut writer = daemon.client();
    writer.create_space("notes", 3);
    let ids = store_many(&mut writer, (0..30).map(|nth| format!("e{nth}")));
    let mut listener = Listener::new(&daemon);
    let (watch, from) = listener.watch(&["notes", "FROM", "0", "0", "CREDIT", "7"]);
    let (other, _) = listener.watch(&["notes", "CREDIT", "1"]);
    let (mut seen, at) = listener.follow(watch, &from, 7);
    assert!(listener.is_quiet(), "{:?}", listener.messages);
    let number = watch.to_string();
    assert_eq!(listener.call(&["EG.WATCH", "MORE", &number, "1"]), Value::Int(1));
    let (more, at) = listener.follow(watch, &at, 1);
    seen.extend(more);
    assert!(listener.is_quiet());
    // What is forgotten while a watch stands still never comes.
    let left: Vec<&String> = ids.iter().filter(|id| !seen.contains(id)).collect();
    writer.ask(&command!["EG.FORGET", "notes", left[0].as_bytes()]);
    assert_eq!(listener.call(&["EG.WATCH", "MORE", &number, "1000"]), Value::Int(1000));
    let (more, _) = listener.follow(watch, &at, 21);
    seen.extend(more);
    let expected: Vec<String> = ids.iter().filter(|id| *id != left[0]).cloned().collect();
    assert_eq!(sorted(seen), sorted(expected));
    assert!(listener.is_quiet());
    // The other one has its own credit and its own place.
    let (_, _) = (store(&mut writer, "x", "x"), store(&mut writer, "y", "y"));
    let (mine, theirs): (Vec<_>, Vec<_>) = listener
        .take(3)
        .into_iter()
        .partition(|message| matches!(message, Message::Episode { watch: of, .. } if *of == watch));
    assert_eq!((mine.len(), theirs.len()), (2, 1));
    assert!(listener.is_quiet());
    assert!(matches!(&theirs[0], Message::Episode { watch, .. } if *watch == other));
    let most = listener.call(&["EG.WATCH", "MORE", &number, "1048576"]);
    assert_eq!(most.code(), "SYNTAX", "together with what is left it is too much");
}

#[test]
fn bad_input_is_told_and_bounds_hold() {
    let home = Home::new();
    let daemon = home.start();
    let mut writer = daemon.client();
    writer.create_space("notes", 3);
    writer.ask(&command!["EG.SPACE", "CREATE", "small", "DIM", "3", "SHARDS", "1"]);
    let (code, sentence) = writer.refused(&command!["EG.WATCH", "notes"]);
    assert_eq!(code, "SYNTAX");
    assert!(sentence.contains("HELLO 3"), "{sentence}");
    let mut listener = Listener::new(&daemon);
    for (words, code, part) in [
        (&["EG.WATCH", "nothing"][..], "NOSPACE", "nothing"),
        (&["EG.WATCH", "notes", "FROM", "2", "1"], "SYNTAX", "the memory space is on [0, 1]"),
        (&["EG.WATCH", "small", "FROM", "0", "1", "1", "1"], "SYNTAX", "the memory space is on ["),
        (&["EG.WATCH", "notes", "FROM", "0", "99999"], "SYNTAX", "whose last one is"),
    ] {
        let reply = listener.call(words);
        assert_eq!(reply.code(), code, "{words:?}");
        assert!(format!("{reply:?}").contains(part), "{reply:?}");
    }
    assert_eq!(listener.call(&["EG.UNWATCH", "1"]), Value::Nil);
    assert_eq!(listener.call(&["EG.WATCH", "MORE", "1", "5"]), Value::Nil);
    for nth in 1..=64 {
        assert_eq!(listener.watch(&["notes"]).0, nth);
    }
    let reply = listener.call(&["EG.WATCH", "notes"]);
    assert_eq!(reply.code(), "TOOBIG");
    assert!(format!("{reply:?}").contains("64"), "{reply:?}");
    assert_eq!(listener.call(&["HELLO", "2"]).code(), "SYNTAX");
    listener.call(&["EG.UNWATCH", "3"]);
    assert_eq!(listener.watch(&["notes"]).0, 65);
    store(&mut writer, "a", "a");
    let mut watches: Vec<i64> = Vec::new();
    for message in listener.take(64) {
        let Message::Episode { watch, .. } = message else { panic!("{message:?}") };
        watches.push(watch);
    }
    watches.sort_unstable();
    assert_eq!(watches, (1..=65).filter(|nth| *nth != 3).collect::<Vec<_>>());
    // In one pipeline with the HELLO that it needs.
    let mut client = daemon.client();
    client.send(&[command!["HELLO", "3"], command!["EG.WATCH", "notes"]].concat());
    assert_eq!(client.read_many(2)[1].keys(), ["watch", "credit", "from"]);
}

#[test]
fn as_many_watches_as_a_shard_has_room_for_are_told_and_one_more_is_refused() {
    const CONNECTIONS: usize = 16;
    const EACH: usize = 64;
    let home = Home::new();
    let daemon = home.start_with(&["shards=1"]);
    let mut writer = daemon.client();
    writer.create_space("notes", 3);
    let mut listeners: Vec<Listener> = (0..CONNECTIONS).map(|_| Listener::new(&daemon)).collect();
    for listener in &mut listeners {
        (0..EACH).for_each(|_| drop(listener.watch(&["notes"])));
    }
    let mut late = Listener::new(&daemon);
    let refused = late.call(&["EG.WATCH", "notes"]);
    assert_eq!(refused.code(), "BUSY");
    assert!(format!("{refused:?}").contains("retry in"), "{refused:?}");
    store(&mut writer, "a", "a");
    for listener in &mut listeners {
        assert!(listener.take(EACH).iter().all(|message| message.id() == "a"));
    }
    assert_eq!(late.call(&["EG.STATS"]).at("watches_open").int(), 1024);
    listeners[0].call(&["EG.UNWATCH", "1"]);
    eventually("there is room for one", || !late.call(&["EG.WATCH", "notes"]).is_error());
    assert_eq!(listeners[0].call(&["EG.WATCH", "notes"]).code(), "BUSY");
    // Those of a connection that ends make room too.
    drop(listeners.pop());
    eventually("there is room for another", || {
        !listeners[0].call(&["EG.WATCH", "notes"]).is_error()
    });
}

#[test]
fn who_gives_no_credit_is_cut_and_goes_on_from_there() {
    let home = Home::new();
    let daemon = home.start_with(&["stream_patience_ms=300"]);
    let mut writer = daemon.client();
    writer.create_space("notes", 3);
    let ids = store_many(&mut writer, (0..20).map(|nth| format!("e{nth}")));
    let mut listener = Listener::new(&daemon);
    let (idle, _) = listener.watch(&["notes", "CREDIT", "3"]);
    let (watch, from) = listener.watch(&["notes", "FROM", "0", "0", "CREDIT", "8"]);
    let (mut seen, at) = listener.follow(watch, &from, 8);
    let Message::Cut { watch: cut, reason, at: told } = listener.next() else { panic!("a cut") };
    assert_eq!((cut, &told), (watch, &at));
    assert!(reason.starts_with("BUSY ") && reason.contains("credit"), "{reason}");
    assert_eq!(listener.call(&["EG.WATCH", "MORE", &watch.to_string(), "5"]), Value::Nil);
    let (watch, from) = listener.watch(&words(&["notes", "FROM"], &told));
    let (more, _) = listener.follow(watch, &from, 12);
    seen.extend(more);
    assert_eq!(sorted(seen), sorted(ids));
    let stats = listener.call(&["EG.STATS"]);
    assert_eq!((stats.at("watches_cut").int(), stats.at("watches_open").int()), (1, 2));
    // Who has credit and nothing to see is left alone; a drop ends both.
    writer.ask(&command!["EG.SPACE", "DROP", "notes"]);
    let mut ended: Vec<i64> = Vec::new();
    for message in listener.take(2) {
        let Message::Cut { watch, reason, .. } = message else { panic!("a cut: {message:?}") };
        assert!(reason.starts_with("NOSPACE "), "{reason}");
        ended.push(watch);
    }
    ended.sort_unstable();
    assert_eq!(ended, [idle, watch]);
}

#[test]
fn who_does_not_read_holds_up_nobody_and_is_cut() {
    let home = Home::new();
    let daemon = home.start_with(&["stream_patience_ms=1500"]);
    let mut writer = daemon.client();
    writer.create_space("notes", 3);
    let mut stalled = Listener::new(&daemon);
    let (stuck, from) = stalled.watch(&["notes", "CREDIT", "1000000"]);
    let mut reading = Listener::new(&daemon);
    let (watch, start) = reading.watch(&["notes", "CREDIT", "1000000"]);
    // Far more than any buffer in between.
    let text = "x".repeat(100_000);
    let ids: Vec<String> = (0..200).map(|nth| format!("e{nth}")).collect();
    let (seen, _) = thread::scope(|scope| {
        // Who is to be held up by nobody reads all the while.
        let seen = scope.spawn(|| reading.follow(watch, &start, 200));
        ids.iter().for_each(|id| store(&mut writer, id, &text));
        seen.join().unwrap()
    });
    assert_eq!(sorted(seen), sorted(ids.clone()));
    eventually("who reads nothing is cut", || {
        writer.ask(&command!["EG.STATS"]).at("watches_cut").int() == 1
    });
    // What was on its way comes, then the end, and nothing was kept beyond what is documented.
    let mut got = Vec::new();
    let (reason, at) = loop {
        match stalled.next() {
            Message::Episode { id, .. } => got.push(id),
            Message::Cut { watch, reason, at } => {
                assert_eq!(watch, stuck);
                break (reason, at);
            }
        }
    };
    assert!(reason.starts_with("BUSY "), "{reason}");
    assert!(got.len() < 30, "{} episodes of 100 KB waited", got.len());
    assert_ne!(at, from);
    let (again, place) = stalled.watch(&words(&["notes", "FROM"], &at));
    let left = 200 - got.len();
    let (rest, _) = stalled.follow(again, &place, left);
    got.extend(rest);
    assert_eq!(sorted(got), sorted(ids));
    assert!(stalled.is_quiet());
}

#[test]
fn a_stop_tells_every_watch_where_it_was() {
    let home = Home::new();
    let mut daemon = home.start();
    let mut writer = daemon.client();
    writer.create_space("notes", 3);
    let mut listener = Listener::new(&daemon);
    let (watch, from) = listener.watch(&["notes"]);
    store_many(&mut writer, (0..5).map(|nth| format!("e{nth}")));
    let (_, at) = listener.follow(watch, &from, 5);
    assert!(daemon.stop().success());
    let Message::Cut { watch: cut, reason, at: told } = listener.next() else { panic!("a cut") };
    assert_eq!((cut, told), (watch, at.clone()));
    assert!(reason.contains("the daemon stops"), "{reason}");
    assert!(listener.client.is_hung_up());
    drop(writer);
    let daemon = home.start();
    let mut listener = Listener::new(&daemon);
    let (watch, from) = listener.watch(&words(&["notes", "FROM"], &at));
    store(&mut daemon.client(), "next", "next");
    assert_eq!(listener.follow(watch, &from, 1).0, ["next"]);
}
