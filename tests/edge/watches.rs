//! Following a memory space over HTTP: each episode once, from where the client was; and a client
//! that does not read, or has gone, costs nobody anything.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::command;
use crate::common::episodes::{blob, vector};
use crate::common::{Client, Daemon, Home, Reply, eventually};
use crate::http::{Http, request};
use crate::routes::Stage;

const WATCHES_MAX: usize = 128;

/// A watch, event by event.
struct Follower {
    http: Http,
    text: String,
    /// The id of the last event.
    at: String,
}

/// An event as it came.
#[derive(Debug)]
struct Told {
    name: String,
    id: String,
    data: Value,
}

impl Follower {
    /// Opens a watch whose first event has come.
    fn new(daemon: &Daemon, query: &str, headers: &[(&str, &str)]) -> Self {
        let mut http = Http::new(daemon);
        http.send(&request("GET", &format!("/v1/watch?{query}"), headers, b""));
        let head = http.try_read_head().unwrap();
        assert_eq!(head.status, 200, "{head:?}");
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        assert_eq!(head.header("cache-control"), Some("no-store"));
        let mut follower = Self { http, text: String::new(), at: String::new() };
        let first = follower.next();
        assert_eq!((first.name.as_str(), &first.data), ("watching", &json!({ "from": first.id })));
        follower
    }

    fn next(&mut self) -> Told {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let prefix = format!("{name}: ");
                    let line = event.lines().find_map(|line| line.strip_prefix(&prefix));
                    line.unwrap_or_else(|| panic!("no {name} in {event:?}")).to_owned()
                };
                let data = serde_json::from_str(&field("data")).unwrap();
                let told = Told { name: field("event"), id: field("id"), data };
                self.text = rest.to_owned();
                self.at.clone_from(&told.id);
                return told;
            }
            let chunk = self.http.try_chunk().unwrap().expect("the watch goes on");
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The ids of the next episodes. The id of each event moves its shard on.
    fn take(&mut self, count: usize) -> Vec<String> {
        let mut ids = Vec::with_capacity(count);
        for _ in 0..count {
            let before = places(&self.at);
            let told = self.next();
            assert_eq!(told.name, "episode", "{told:?}");
            let (shard, episode) = (told.data["shard"].as_u64().unwrap(), &told.data["episode"]);
            let seq = episode["seq"].as_u64().unwrap();
            for (was, is) in before.into_iter().zip(places(&told.id)) {
                assert_eq!(was.0, is.0);
                assert!(if is.0 == shard { was.1 < seq && is.1 == seq } else { was == is });
            }
            ids.push(episode["id"].as_str().unwrap().to_owned());
        }
        ids
    }

    /// The end of the watch: the code of the problem.
    fn end(mut self) -> String {
        let told = self.next();
        assert_eq!(told.name, "cut", "{told:?}");
        assert_eq!(self.http.try_chunk().unwrap(), None);
        told.data["problem"]["code"].as_str().unwrap().to_owned()
    }
}

/// Shards and sequences of an event's id.
fn places(id: &str) -> Vec<(u64, u64)> {
    let place = |place: &str| {
        let (shard, seq) = place.split_once(':').unwrap_or_else(|| panic!("{id:?}"));
        (shard.parse().unwrap(), seq.parse().unwrap())
    };
    id.split(',').map(place).collect()
}

fn store(resp: &mut Client, ids: impl Iterator<Item = String>, text: &str) -> HashSet<String> {
    let vector = blob(&vector(1, 3));
    ids.inspect(|id| {
        resp.ask(&command!["EG.STORE", "notes", id, "VEC", vector, "TEXT", text]);
    })
    .collect()
}

fn is_same(seen: &[String], stored: &HashSet<String>) -> bool {
    seen.len() == stored.len() && seen.iter().cloned().collect::<HashSet<_>>() == *stored
}

#[test]
fn what_is_stored_comes_once_and_a_watch_goes_on_behind_an_event() {
    let mut stage = Stage::furnished();
    let Stage { daemon, http, resp, .. } = &mut stage;
    let mut follower = Follower::new(daemon, "space=notes", &[]);
    let (start, first) = (follower.at.clone(), store(resp, (0..100).map(|n| format!("a{n}")), "x"));
    assert!(is_same(&follower.take(100), &first));
    let at = follower.at.clone();
    drop(follower);
    let second = store(resp, (0..100).map(|n| format!("b{n}")), "y");
    http.call("POST", "/v1/consolidate", &[]).ok();
    // Where it goes on may stand in the address, or come with the request, which counts more.
    let again = [
        (format!("space=notes&from={at}"), None),
        (format!("space=notes&from={start}"), Some(at.as_str())),
        ("space=notes".to_owned(), Some(at.as_str())),
        (format!("space=notes&from={at}"), Some("")),
    ];
    for (query, last) in &again {
        let headers: Vec<_> = last.iter().map(|last| ("Last-Event-ID", *last)).collect();
        let mut follower = Follower::new(daemon, query, &headers);
        assert_eq!(places(&at), places(&follower.at));
        assert!(is_same(&follower.take(100), &second), "{query} {last:?}");
    }
    // Everything there is, on whatever shards.
    let mut follower = Follower::new(daemon, "space=notes&from=0", &[]);
    assert_eq!(follower.take(212).len(), 212);
    resp.ask(&command!["EG.SPACE", "CREATE", "small", "DIM", "3", "SHARDS", "1"]);
    resp.ask(&command!["EG.STORE", "small", "one", "VALUES", "3", "1", "2", "3"]);
    let mut follower = Follower::new(daemon, "space=small&from=0", &[]);
    assert_eq!(follower.take(1), ["one"]);
    http.delete("/v1/spaces/small").ok();
    assert_eq!(follower.end(), "NOSPACE");
}

#[test]
fn an_episode_is_the_one_that_a_get_answers() {
    let mut stage = Stage::furnished();
    let Stage { daemon, http, .. } = &mut stage;
    for parts in ["with=text,vec,meta,links&vectors=array", "with=vec", "", "with=links&with=text"]
    {
        let mut follower = Follower::new(daemon, &format!("space=notes&from=0&{parts}"), &[]);
        for _ in 0..12 {
            let told = follower.next().data;
            let id = told["episode"]["id"].as_str().unwrap();
            let found = http.get(&format!("/v1/spaces/notes/episodes/{id}?{parts}")).ok();
            assert_eq!(told["episode"], found);
        }
    }
}

#[test]
fn what_cannot_be_followed_is_refused_before_it_begins() {
    let mut stage = Stage::furnished();
    let Stage { http, resp, .. } = &mut stage;
    for (query, status, code) in [
        ("", 400, "SYNTAX"),
        ("space=nowhere", 404, "NOSPACE"),
        ("space=", 400, "SYNTAX"),
        ("space=notes&from=", 400, "SYNTAX"),
        ("space=notes&from=1", 400, "SYNTAX"),
        ("space=notes&from=0:1,", 400, "SYNTAX"),
        ("space=notes&from=0:x", 400, "SYNTAX"),
        ("space=notes&from=x:0", 400, "SYNTAX"),
        ("space=notes&from=WITH:text", 400, "SYNTAX"),
        ("space=notes&from=0:1,0:2", 400, "SYNTAX"),
        ("space=notes&from=9:1", 400, "SYNTAX"),
        ("space=notes&from=0:99999", 400, "SYNTAX"),
        ("space=notes&with=why", 400, "SYNTAX"),
        ("space=notes&credit=5", 400, "SYNTAX"),
    ] {
        let problem = http.get(&format!("/v1/watch?{query}")).problem();
        assert_eq!(problem, (status, code.to_owned()), "{query}");
    }
    let headers = [("Last-Event-ID", "nonsense")];
    let refused = http.call("GET", "/v1/watch?space=notes", &headers);
    assert_eq!(refused.problem(), (400, "SYNTAX".into()));
    assert_eq!(http.post("/v1/watch?space=notes", &json!({})).problem(), (405, "METHOD".into()));
    assert_eq!(resp.ask(&command!["EG.STATS"]).at("watches_open").int(), 0);
}

#[test]
fn who_does_not_read_holds_up_nobody_and_is_cut_like_on_the_socket() {
    let mut stage = Stage::with(&["stream_patience_ms=500"]);
    let Stage { daemon, http, resp, .. } = &mut stage;
    http.put("/v1/spaces/notes", &json!({ "dim": 3 })).ok();
    let mut stalled = Follower::new(daemon, "space=notes", &[]);
    let mut reading = Follower::new(daemon, "space=notes", &[]);
    // Far more than any buffer in between.
    let (seen, stored) = std::thread::scope(|scope| {
        let seen = scope.spawn(|| reading.take(300));
        let stored = store(resp, (0..300).map(|n| format!("e{n}")), &"x".repeat(100_000));
        (seen.join().unwrap(), stored)
    });
    assert!(is_same(&seen, &stored));
    eventually("who reads nothing is cut", || {
        resp.ask(&command!["EG.STATS"]).at("watches_cut").int() == 1
    });
    assert_eq!(resp.ask(&command!["EG.STATS"]).at("watches_open").int(), 1);
    // What was on its way comes, then the end, which says where to go on.
    let mut got = Vec::new();
    let at = loop {
        let told = stalled.next();
        if told.name == "cut" {
            assert_eq!(told.data["problem"]["code"], "BUSY");
            break told.id;
        }
        got.push(told.data["episode"]["id"].as_str().unwrap().to_owned());
    };
    assert!(got.len() < 60, "{} episodes of 100 KB waited", got.len());
    let mut again = Follower::new(daemon, "space=notes", &[("Last-Event-ID", &at)]);
    got.extend(again.take(300 - got.len()));
    assert!(is_same(&got, &stored));
}

#[test]
fn more_come_than_are_under_way_at_once() {
    let mut stage = Stage::furnished();
    let Stage { daemon, http, .. } = &mut stage;
    let mut follower = Follower::new(daemon, "space=notes", &[]);
    let item = json!({ "vec": [1, 2, 3] });
    let items = json!({ "items": vec![item; 5_000] });
    let results = http.post("/v1/spaces/notes/mstore", &items).ok();
    let id = |result: &Value| result["id"].as_str().unwrap().to_owned();
    let stored: HashSet<_> = results["results"].as_array().unwrap().iter().map(id).collect();
    assert!(is_same(&follower.take(5_000), &stored));
}

#[test]
fn a_watch_ends_when_its_client_goes_and_one_more_than_allowed_is_refused() {
    let mut stage = Stage::furnished();
    let Stage { daemon, http, resp, .. } = &mut stage;
    let mut open: Vec<_> =
        (0..WATCHES_MAX).map(|_| Follower::new(daemon, "space=notes", &[])).collect();
    assert_eq!(http.get("/v1/watch?space=notes").problem(), (503, "BUSY".into()));
    // The others have room as before, and every watch gets what comes.
    http.put("/v1/spaces/notes/episodes/news", &json!({ "vec": [1, 2, 3] })).ok();
    for follower in &mut open {
        assert_eq!(follower.take(1), ["news"]);
    }
    assert_eq!(resp.ask(&command!["EG.STATS"]).at("watches_open").int(), WATCHES_MAX as i64);
    // Nothing is on its way to them, and still it is noticed that they have gone.
    open.truncate(1);
    eventually("those who have gone are let go", || {
        resp.ask(&command!["EG.STATS"]).at("watches_open").int() == 1
    });
    Follower::new(daemon, "space=notes", &[]);
}

#[test]
fn a_stop_says_where_to_go_on() {
    let home = Home::new();
    let mut daemon = home.start();
    let mut http = Http::new(&daemon);
    http.put("/v1/spaces/notes", &json!({ "dim": 3 })).ok();
    let mut follower = Follower::new(&daemon, "space=notes", &[]);
    let stored = store(&mut daemon.client(), (0..5).map(|n| format!("e{n}")), "x");
    assert!(is_same(&follower.take(5), &stored));
    let at = follower.at.clone();
    assert!(daemon.stop().success());
    let told = follower.next();
    assert_eq!((told.name.as_str(), &told.id), ("cut", &at));
    drop((http, follower));
    let daemon = home.start();
    let mut follower = Follower::new(&daemon, "space=notes", &[("Last-Event-ID", &at)]);
    store(&mut daemon.client(), ["next".to_owned()].into_iter(), "x");
    assert_eq!(follower.take(1), ["next"]);
}
