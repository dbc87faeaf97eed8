//! Episodes with a time to live, through the socket: nobody is answered with one from the moment on
//! that it is over, on whatever shard, and the store lets it go.

mod common;

use common::episodes::blob;
use common::{Client, Daemon, Home, Reply, eventually};
use redis::Value;

/// Long enough that no test is as slow.
const LONG_S: u64 = 100_000;

struct Stage {
    home: Home,
    daemon: Daemon,
    client: Client,
    ahead_s: u64,
}

impl Stage {
    fn new() -> Self {
        let home = Home::new();
        let daemon = home.start();
        let mut client = daemon.client();
        client.ask(&command!["HELLO", "3"]);
        Self { home, daemon, client, ahead_s: 0 }
    }

    /// Kills the daemon and starts another, so much later.
    fn pass(&mut self, seconds: u64) {
        self.ahead_s += seconds;
        self.daemon.signal(rustix::process::Signal::KILL);
        self.daemon.wait();
        let ahead = format!("clock_ahead_seconds={}", self.ahead_s);
        self.daemon = self.home.start_with(&[&ahead]);
        self.client = self.daemon.client();
        self.client.ask(&command!["HELLO", "3"]);
    }

    fn line(&mut self, line: &str) -> Value {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.client.ask(&common::client::encode(&words))
    }

    /// The code of the error that is answered.
    fn code(&mut self, words: &[u8]) -> String {
        self.client.refused(words).0
    }

    fn ids(&mut self, line: &str) -> Vec<String> {
        let reply = self.line(line);
        ids_of(reply.items())
    }

    fn ids_of_spread(&mut self, line: &str) -> Vec<String> {
        let reply = self.line(line);
        ids_of(reply.at("hits").items())
    }

    /// What each way of asking for everything answers, which has to be the same.
    fn everything(&mut self, space: &str) -> Vec<String> {
        let (mut scanned, mut cursor) = (Vec::new(), "0".to_owned());
        loop {
            let page = self.line(&format!("EG.SCAN {space} CURSOR {cursor}"));
            scanned.extend_from_slice(page.items()[1].items());
            cursor = page.items()[0].text().to_owned();
            if cursor == "0" {
                break;
            }
        }
        let ids = ids_of(&scanned);
        for line in [
            format!("EG.RECALL {space} K 50 VALUES 2 1 1"),
            format!("EG.RECALL {space} K 50 VALUES 2 1 1 EXACT"),
            format!("EG.RECALL {space} K 50 TEXT kettle"),
            format!("EG.RECALL {space} K 50 VALUES 2 1 1 ASOF {}", i64::MAX),
            format!("EG.RECALL {space} K 50 VALUES 2 1 1 SPREAD"),
        ] {
            assert_eq!(self.ids(&line), ids, "{line}");
        }
        ids
    }
}

/// Sorted.
fn ids_of(episodes: &[Value]) -> Vec<String> {
    let ids = episodes.iter().map(|episode| episode.at("id").text().to_owned());
    let mut ids: Vec<String> = ids.collect();
    ids.sort();
    ids
}

#[test]
fn an_expired_episode_is_answered_by_nothing() {
    let mut stage = Stage::new();
    stage.line("EG.SPACE CREATE s DIM 2");
    stage.line("EG.STORE s ever VALUES 2 1 0 TEXT kettle LINK short 1 LINK long 1");
    stage.line(&format!("EG.STORE s short VALUES 2 1 1 TEXT kettle TTL {LONG_S} LINK hidden 1"));
    stage.line(&format!("EG.STORE s long VALUES 2 0 1 TEXT kettle TTL {}", 3 * LONG_S));
    stage.line("EG.STORE s hidden VALUES 2 1 3 TEXT kettle TTL none");
    assert_eq!(stage.everything("s"), ["ever", "hidden", "long", "short"]);
    let stored = stage.line("EG.GET s short");
    let lives_us = stored.at("expires_at").int() - stored.at("recorded_at").int();
    assert_eq!(lives_us, LONG_S as i64 * 1_000_000);
    assert!(!format!("{:?}", stage.line("EG.GET s ever")).contains("expires_at"));
    let reached = stage.line("EG.SPREAD s K 9 FROM ever 1");
    assert_eq!(reached.at("hits").items().len(), 3);

    stage.pass(LONG_S + 1);
    assert_eq!(stage.everything("s"), ["ever", "hidden", "long"]);
    assert_eq!(stage.line("EG.GET s short"), Value::Nil);
    assert_eq!(stage.line("EG.MGET s 2 short long").items()[0], Value::Nil);
    // No mass goes through it, as through one that was forgotten.
    let reached = stage.ids_of_spread("EG.SPREAD s K 9 FROM ever 1");
    assert_eq!(reached, ["long"]);
    assert_eq!(stage.code(&command!["EG.RECALL", "s", "K", "1", "ID", "short"]), "NOEPISODE");
    assert_eq!(stage.code(&command!["EG.LINK", "s", "short", "ever", "1"]), "NOEPISODE");
    assert_eq!(stage.line("EG.REINFORCE s short"), Value::Nil);
    assert_eq!(stage.line("EG.FORGET s short"), Value::Nil);
    // The store lets it go by itself, as if it had been forgotten.
    eventually("the log has heard of it", || {
        stage.line("EG.STATS").at("episodes_expired").int() == 1
    });
    assert_eq!(stage.line("EG.STATS s").at("rows_dead").int(), 1);
    stage.line("EG.CONSOLIDATE");
    assert_eq!(stage.line("EG.STATS s").at("rows").int(), 3);
    assert_eq!(stage.everything("s"), ["ever", "hidden", "long"]);
    // Out of the columns as well.
    stage.pass(2 * LONG_S);
    assert_eq!(stage.everything("s"), ["ever", "hidden"]);
    let stored = stage.line("EG.STORE s long VALUES 2 0 1 TEXT kettle");
    assert_eq!(stored.at("outcome").text(), "created");
    stage.pass(9 * LONG_S);
    assert_eq!(stage.everything("s"), ["ever", "hidden", "long"]);
}

#[test]
fn a_space_has_a_time_to_live_for_its_episodes() {
    let mut stage = Stage::new();
    stage.line(&format!("EG.SPACE CREATE s DIM 2 TTL {LONG_S}"));
    assert_eq!(stage.line("EG.SPACE INFO s").at("ttl").int(), LONG_S as i64);
    stage.line("EG.SPACE CREATE t DIM 2");
    assert_eq!(stage.line("EG.SPACE INFO t").at("ttl").int(), 0);
    let stored = stage.line(&format!(
        "EG.MSTORE s 3 ITEM a VALUES 2 1 1 TEXT kettle ITEM b VALUES 2 1 2 TEXT kettle TTL none \
         ITEM c VALUES 2 1 3 TEXT kettle TTL {}",
        3 * LONG_S
    ));
    assert_eq!(stored.items().len(), 3);
    let opened = stage.line("EG.OBSERVE OPEN s");
    let stream = opened.at("stream").int();
    let blob = blob(&[1.0, 4.0]);
    let observation =
        command!["EG.OBSERVE", stream.to_string(), "d", "VEC", blob, "TEXT", "kettle"];
    stage.client.send(&observation);
    let told = stage.line(&format!("EG.OBSERVE CLOSE {stream}"));
    assert!(format!("{told:?}").contains("eg.observed"), "{told:?}");
    assert_eq!(stage.client.read().at("stored").int(), 1);
    assert_eq!(stage.everything("s"), ["a", "b", "c", "d"]);
    stage.pass(LONG_S + 1);
    assert_eq!(stage.everything("s"), ["b", "c"]);
    assert_eq!(stage.line("EG.SPACE INFO s").at("ttl").int(), LONG_S as i64);
}

#[test]
fn a_space_forgets_what_has_faded_if_it_was_made_so() {
    let mut stage = Stage::new();
    stage.line("EG.SPACE CREATE s DIM 2 DECAY 3600 FORGET BELOW 0.25 AFTER 600");
    stage.line("EG.SPACE CREATE keeps DIM 2 DECAY 3600");
    let info = stage.line("EG.SPACE INFO s");
    assert_eq!((info.at("forget_below").float(), info.at("forget_after").int()), (0.25, 600));
    for (space, id) in [("s", "idle"), ("s", "pinned"), ("keeps", "idle")] {
        stage.line(&format!("EG.STORE {space} {id} VALUES 2 1 1 TEXT kettle"));
    }
    stage.line("EG.PIN s pinned");
    stage.pass(LONG_S);
    eventually("it is forgotten", || stage.line("EG.STATS").at("episodes_faded").int() == 1);
    assert_eq!(stage.everything("s"), ["pinned"]);
    assert_eq!(stage.everything("keeps"), ["idle"]);
    assert_eq!(stage.line("EG.SPACE INFO keeps").at("forget_below").float(), 0.0);
    stage.pass(0);
    assert_eq!(stage.everything("s"), ["pinned"]);
}

#[test]
fn a_space_archives_what_has_faded_if_it_was_made_so() {
    let mut stage = Stage::new();
    stage.line("EG.SPACE CREATE s DIM 2 DECAY 3600 ARCHIVE BELOW 0.25 AFTER 600");
    let info = stage.line("EG.SPACE INFO s");
    assert_eq!((info.at("archive_below").float(), info.at("archive_after").int()), (0.25, 600));
    assert_eq!((info.at("forget_below").float(), info.at("forget_after").int()), (0.0, 0));
    for (id, link) in [("idle", "pinned"), ("pinned", "idle"), ("seed", "idle")] {
        stage.line(&format!("EG.STORE s {id} VALUES 2 1 1 TEXT kettle LINK {link} 1"));
    }
    ["pinned", "seed"].iter().for_each(|id| drop(stage.line(&format!("EG.PIN s {id}"))));
    assert_eq!(stage.everything("s"), ["idle", "pinned", "seed"]);
    stage.pass(LONG_S);
    let recalls = ["VALUES 2 1 1", "VALUES 2 1 1 EXACT", "TEXT kettle", "VALUES 2 1 1 SPREAD"];
    for recall in recalls {
        let line = format!("EG.RECALL s K 9 {recall} NOREINFORCE");
        assert_eq!(stage.ids(&line), ["pinned", "seed"], "{line}");
        for also in ["ARCHIVED".to_owned(), format!("ASOF {}", i64::MAX)] {
            let line = format!("{line} {also}");
            assert_eq!(stage.ids(&line), ["idle", "pinned", "seed"], "{line}");
        }
    }
    // Mass goes through it.
    assert_eq!(stage.ids_of_spread("EG.SPREAD s K 9 FROM seed 1"), ["pinned"]);
    assert_eq!(stage.ids_of_spread("EG.SPREAD s K 9 FROM seed 1 ARCHIVED"), ["idle", "pinned"]);
    let completed = |stage: &mut Stage, also: &str| {
        let line = format!("EG.COMPLETE s VALUES 2 1 1 K 9{also}");
        ids_of(stage.line(&line).at("hits").items())
    };
    assert_eq!(completed(&mut stage, ""), ["pinned", "seed"]);
    assert_eq!(completed(&mut stage, " ARCHIVED"), ["idle", "pinned", "seed"]);
    let gists = |stage: &mut Stage, also: &str| {
        stage.line(&format!("EG.GIST s K 9 TEXT kettle{also}")).items().len()
    };
    assert_eq!((gists(&mut stage, ""), gists(&mut stage, " ARCHIVED")), (0, 1));
    assert_eq!(stage.line("EG.GET s idle").at("id").text(), "idle");
    let twice = command!["EG.RECALL", "s", "K", "9", "ID", "seed", "ARCHIVED", "ARCHIVED"];
    assert_eq!(stage.code(&twice), "SYNTAX");
    // To be recalled brings it back.
    stage.ids("EG.RECALL s K 9 TEXT kettle ARCHIVED");
    eventually("it is back", || {
        stage.ids("EG.RECALL s K 9 TEXT kettle NOREINFORCE") == ["idle", "pinned", "seed"]
    });
    stage.pass(0);
    assert_eq!(stage.ids("EG.RECALL s K 9 VALUES 2 1 1"), ["idle", "pinned", "seed"]);
}

#[test]
fn what_has_expired_is_stored_anew_and_a_key_is_remembered() {
    let mut stage = Stage::new();
    stage.line("EG.SPACE CREATE s DIM 2");
    let same = format!("EG.STORE s * VALUES 2 1 1 TEXT kettle DEDUP TTL {LONG_S}");
    let keyed = format!("EG.STORE s k VALUES 2 1 2 TEXT kettle KEY once TTL {LONG_S}");
    assert_eq!(stage.line(&same).at("outcome").text(), "created");
    assert_eq!(stage.line(&same).at("outcome").text(), "existing");
    assert_eq!(stage.line(&keyed).at("outcome").text(), "created");
    stage.pass(LONG_S + 1);
    assert_eq!(stage.line(&same).at("outcome").text(), "created");
    // As after a forget: a retry stores nothing twice.
    assert_eq!(stage.line(&keyed).at("outcome").text(), "existing");
    assert_eq!(stage.line("EG.GET s k"), Value::Nil);
}
