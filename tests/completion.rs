//! Completing partial cues through the socket: what comes out, on one shard and over two, and what
//! is refused.

mod common;

use common::episodes::{Random, blob, floats, vector};
use common::{Client, Daemon, Home, Reply};
use redis::Value;

const DIMENSIONS: usize = 64;
/// Centres, and episodes around each.
const CENTRES: u64 = 20;
const AROUND: u64 = 15;
/// How far an episode is from its centre, and a cue from its episode, in each coordinate.
const SPREAD: f32 = 0.5;
const NOISE: f32 = 0.9;

struct Stage {
    _home: Home,
    _daemon: Daemon,
    client: Client,
    episodes: Vec<Vec<f32>>,
}

fn command(words: &[Vec<u8>]) -> Vec<u8> {
    common::client::encode(&words.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

fn words(line: &str) -> Vec<Vec<u8>> {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

impl Stage {
    fn new() -> Self {
        let home = Home::new();
        let daemon = home.start();
        let mut client = daemon.client();
        let mut random = Random::new(3);
        let mut episodes = Vec::new();
        for centre in 0..CENTRES {
            for _ in 0..AROUND {
                let of = vector(centre, DIMENSIONS).into_iter();
                episodes.push(of.map(|x| x + SPREAD * random.component()).collect::<Vec<f32>>());
            }
        }
        for (space, shards) in [("one", 1), ("two", 2)] {
            let create = format!("EG.SPACE CREATE {space} DIM {DIMENSIONS} SHARDS {shards}");
            client.ask(&command(&words(&create)));
            for (nth, episode) in episodes.iter().enumerate() {
                let mut store = words(&format!("EG.STORE {space} e{nth} TEXT t{nth} VEC"));
                store.push(blob(episode));
                client.ask(&command(&store));
            }
        }
        Self { _home: home, _daemon: daemon, client, episodes }
    }

    fn complete(&mut self, space: &str, cue: &[f32], options: &str) -> Value {
        let mut complete = words(&format!("EG.COMPLETE {space} VEC"));
        complete.push(blob(cue));
        complete.extend(words(options));
        self.client.ask(&command(&complete))
    }

    /// The nearest episode to a vector.
    fn nearest(&mut self, cue: &[f32]) -> String {
        let mut recall = words("EG.RECALL one K 1 EXACT VEC");
        recall.push(blob(cue));
        let hits = self.client.ask(&command(&recall));
        hits.items()[0].at("id").text().to_owned()
    }

    /// An episode, disturbed.
    fn cue(&self, nth: usize, random: &mut Random) -> Vec<f32> {
        self.episodes[nth].iter().map(|x| x + NOISE * random.component()).collect()
    }
}

fn blob_of(value: &Value) -> Vec<u8> {
    match value {
        Value::BulkString(bytes) => bytes.clone(),
        other => panic!("{other:?}"),
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn what_is_completed_finds_its_episode_more_often_than_what_is_known_of_it() {
    let mut stage = Stage::new();
    let mut random = Random::new(9);
    // Three quarters are unknown.
    let unknown = "UNKNOWN 0 23 UNKNOWN 40 63";
    let (mut raw, mut completed, mut nearer, mut settled) = (0, 0, 0, 0);
    for nth in 0..stage.episodes.len() {
        let cue = stage.cue(nth, &mut random);
        let mut known = cue.clone();
        known[..24].fill(0.0);
        known[40..].fill(0.0);
        let reply = stage.complete("one", &cue, &format!("{unknown} EXACT"));
        let whole = floats(&blob_of(reply.at("vec")));
        raw += usize::from(stage.nearest(&known) == format!("e{nth}"));
        completed += usize::from(stage.nearest(&whole) == format!("e{nth}"));
        let episode = &stage.episodes[nth];
        nearer += usize::from(cosine(&whole, episode) > cosine(&known, episode));
        settled += usize::from(reply.at("settled") == &Value::Int(1));
    }
    let all = stage.episodes.len();
    assert!(completed > raw, "{completed} of {all}, where what is known found {raw}");
    assert!(nearer > all * 9 / 10 && settled > all * 9 / 10, "{nearer} and {settled} of {all}");
}

#[test]
fn an_answer_is_the_same_on_one_shard_and_on_two_bit_by_bit() {
    let mut stage = Stage::new();
    let mut random = Random::new(5);
    for nth in (0..stage.episodes.len()).step_by(17) {
        let cue = stage.cue(nth, &mut random);
        for options in ["EXACT", "EXACT UNKNOWN 0 31", "EXACT BETA 4 K 20 ROUNDS 3"] {
            let [one, two] = ["one", "two"].map(|space| stage.complete(space, &cue, options));
            assert_eq!(one.at("vec"), two.at("vec"), "{options}");
            assert_eq!(one.at("rounds"), two.at("rounds"));
            let weights = |reply: &Value| {
                let hits = reply.at("hits").items().iter();
                let told =
                    hits.map(|hit| (hit.at("id").text().to_owned(), hit.at("score").float()));
                told.collect::<Vec<_>>()
            };
            assert_eq!(weights(&one), weights(&two));
        }
    }
}

#[test]
fn a_reply_tells_weights_rounds_and_what_was_asked_for() {
    let mut stage = Stage::new();
    let cue = stage.episodes[7].clone();
    let reply = stage.complete("two", &cue, "K 40 WITH text WITH vec");
    assert_eq!(reply.keys(), ["vec", "rounds", "settled", "hits"]);
    let hits = reply.at("hits").items();
    let first = &hits[0];
    assert_eq!((first.at("id").text(), first.at("text").text()), ("e7", "t7"));
    assert_eq!(floats(&blob_of(first.at("vec"))), cue);
    let weights: Vec<f64> = hits.iter().map(|hit| hit.at("score").float()).collect();
    assert!(weights.is_sorted_by(|a, b| a >= b) && weights.iter().all(|weight| *weight >= 1e-3));
    let total: f64 = weights.iter().sum();
    assert!((0.95..=1.0 + 1e-6).contains(&total), "{total}");
    // One round is not known to have settled when it has moved the cue.
    let one = stage.complete("two", &cue, "ROUNDS 1 BETA 1");
    assert_eq!((one.at("rounds").int(), one.at("settled").int()), (1, 0));
    // Nothing fulfils the conditions: what is known comes back, at unit length.
    let none = stage.complete("two", &cue, "MINCONF 0.5 SINCE 9000000000000000 UNKNOWN 1 63");
    let back = floats(&blob_of(none.at("vec")));
    assert_eq!((none.at("rounds").int(), none.at("hits").items().len()), (0, 0));
    assert_eq!((back[0].abs(), &back[1..]), (1.0, &[0.0; DIMENSIONS - 1][..]));
    for (options, part) in [
        ("UNKNOWN 0 64", "UNKNOWN names dimensions 0 to 63 here, got 64"),
        ("UNKNOWN 0 63", "leaves no dimension"),
    ] {
        let mut complete = words("EG.COMPLETE one VEC");
        complete.push(blob(&cue));
        complete.extend(words(options));
        let (code, sentence) = stage.client.refused(&command(&complete));
        assert!(code == "SYNTAX" && sentence.contains(part), "{sentence}");
    }
}
