//! Gists through the socket: what is put together, on one shard and over two, and what is in none.

mod common;

use std::collections::BTreeSet;

use common::episodes::{Random, blob, floats, vector};
use common::{Client, Daemon, Home, Reply};
use redis::Value;

const DIMENSIONS: usize = 32;
const CENTRES: u64 = 6;
const AROUND: u64 = 8;
/// How far an episode is from its centre in each coordinate.
const SPREAD: f32 = 0.3;
/// Episodes that are like no others.
const ALONE: u64 = 4;

struct Stage {
    home: Home,
    daemon: Daemon,
    client: Client,
}

impl Stage {
    /// Groups of episodes on one shard and over two; the space `one` on one.
    fn new() -> Self {
        let home = Home::new();
        let daemon = home.start();
        let mut client = daemon.client();
        for (space, shards) in [("one", "1"), ("two", "2")] {
            let dimensions = DIMENSIONS.to_string();
            let create = command!["EG.SPACE", "CREATE", space, "DIM", dimensions, "SHARDS", shards];
            client.ask(&create);
            let mut random = Random::new(3);
            for centre in 0..CENTRES {
                for nth in 0..AROUND {
                    let of = vector(centre, DIMENSIONS).into_iter();
                    let own: Vec<f32> = of.map(|x| x + SPREAD * random.component()).collect();
                    let (id, text) =
                        (format!("e{centre}-{nth}"), format!("about c{centre} n{nth}"));
                    let at = (1_000 * centre + nth).to_string();
                    let sure = ["0.25", "0.5", "0.75", "1"][nth as usize % 4];
                    client.ask(&command![
                        "EG.STORE",
                        space,
                        id,
                        "VEC",
                        blob(&own),
                        "TEXT",
                        text,
                        "AT",
                        at,
                        "CONF",
                        sure
                    ]);
                }
            }
            for nth in 0..ALONE {
                let own = blob(&vector(7_000 + nth, DIMENSIONS));
                client.ask(&command!["EG.STORE", space, format!("a{nth}"), "VEC", own]);
            }
        }
        Self { home, daemon, client }
    }

    fn gists(&mut self, space: &str, options: &str) -> Value {
        let words = format!("EG.GIST {space} {options}");
        let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        self.client.ask(&common::client::encode(&words))
    }

    fn kill_and_start(self) -> Self {
        self.daemon.kill();
        let daemon = self.home.start();
        let client = daemon.client();
        Self { daemon, client, ..self }
    }
}

/// Everything, whatever the cue.
const ALL: &str = "K 64 AMONG 256 EXACT WITH text WITH vec ID e0-0";

fn sources(gist: &Value) -> Vec<String> {
    let sources = gist.at("sources").items().iter();
    sources.map(|source| source.at("id").text().to_owned()).collect()
}

fn vector_of(value: &Value) -> Vec<f32> {
    match value {
        Value::BulkString(bytes) => floats(bytes),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_alike_is_told_as_one_the_same_on_any_number_of_shards() {
    let mut stage = Stage::new();
    let one = stage.gists("one", ALL);
    assert_eq!(stage.gists("two", ALL), one, "bit by bit");
    let gists = one.items();
    assert_eq!(gists.len() as u64, CENTRES);
    let best = |gist: &Value| gist.at("score").float();
    assert!(gists.is_sorted_by(|a, b| best(a) >= best(b)));
    assert!(sources(&gists[0]).contains(&"e0-0".to_owned()), "the cue is of the first");
    for gist in gists {
        let keys = ["score", "confidence", "since", "until", "text", "vec", "sources"];
        assert_eq!(gist.keys(), keys);
        let ids = sources(gist);
        let centre: u64 = ids[0][1..2].parse().unwrap();
        let expected: BTreeSet<String> =
            (0..AROUND).map(|nth| format!("e{centre}-{nth}")).collect();
        assert_eq!(ids.iter().cloned().collect::<BTreeSet<_>>(), expected);
        let from = 1_000 * centre as i64;
        let span = (gist.at("since").int(), gist.at("until").int());
        assert_eq!(span, (from, from + AROUND as i64 - 1));
        let sure: Vec<f64> = gist.at("confidence").items().iter().map(Reply::float).collect();
        assert_eq!(sure, [0.625; 3]);
        // The first is the medoid, whose text stands for all; its vector is their mean.
        let of = ids[0].replace('e', "about c").replace('-', " n");
        assert_eq!(gist.at("text").text(), of);
        let near: Vec<f64> =
            gist.at("sources").items().iter().map(|of| of.at("similarity").float()).collect();
        assert!(near.is_sorted_by(|a, b| a >= b), "{near:?}");
        let (mean, centre) = (vector_of(gist.at("vec")), vector(centre, DIMENSIONS));
        let length = |of: &[f32]| of.iter().map(|x| x * x).sum::<f32>().sqrt();
        assert!((length(&mean) - 1.0).abs() < 1e-5);
        let dot: f32 = mean.iter().zip(&centre).map(|(a, b)| a * b).sum();
        assert!(dot / length(&centre) > 0.97, "{dot}");
    }
    // Fewer are grouped, fewer told, more alike.
    assert_eq!(stage.gists("two", "K 2 AMONG 256 EXACT ID e0-0").items().len(), 2);
    let few = stage.gists("two", "K 64 AMONG 8 EXACT ID e3-1");
    assert_eq!((few.items().len(), sources(&few.items()[0]).len()), (1, 8));
    assert!(stage.gists("two", "K 9 ALIKE 0.999 ID e0-0").items().is_empty());
    // In words.
    let words = stage.gists("two", "K 64 AMONG 8 TEXT c4 WITH text");
    assert_eq!(words.items().len(), 1);
    assert!(words.items()[0].at("text").text().starts_with("about c4"));
    let none = stage.gists("two", "K 64 AMONG 256 EXACT ID e0-0 WITH text BYTES 1");
    assert!(none.items().iter().all(|gist| !gist.keys().contains(&"text")));
}

#[test]
fn nothing_that_has_gone_is_in_a_gist() {
    let mut stage = Stage::new();
    let medoid = sources(&stage.gists("two", ALL).items()[0])[0].clone();
    let before = stage.gists("one", ALL);
    let by = command!["EG.SUPERSEDE", "two", "e1-1", "BY", "e0-0"];
    stage.client.ask(&by);
    stage.client.ask(&command!["EG.ERASE", "two", medoid]);
    stage.client.ask(&command!["EG.FORGET", "two", "e2-2"]);
    for round in 0..3 {
        let gists = stage.gists("two", &ALL.replace("e0-0", "e5-5"));
        let told: BTreeSet<String> = gists.items().iter().flat_map(sources).collect();
        let gone = [&medoid[..], "e2-2", "e1-1"];
        assert!(gone.iter().all(|gone| !told.contains(*gone)), "{told:?}");
        assert_eq!(told.len() as u64, CENTRES * AROUND - 3, "{told:?}");
        let text = format!("{gists:?}");
        assert!(!text.contains(&medoid.replace('e', "about c").replace('-', " n")), "{text}");
        match round {
            0 => stage = stage.kill_and_start(),
            _ => drop(stage.client.ask(&command!["EG.CONSOLIDATE"])),
        }
        assert_eq!(stage.gists("one", ALL), before, "whatever became of them");
    }
}
