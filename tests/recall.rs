//! Recall gives exactly what comparing everything with the cue gives, whatever the metric, the
//! shards and the conditions.
//!
//! The oracle is a plain loop over the test's own copies, in f64. Scores agree within the rounding
//! of f32; the order is compared by scores, so that two episodes as good as equal may change
//! places.

mod common;

use common::episodes::{Random, blob, floats};
use common::stock::{self, Resp};
use common::{Daemon, Home, Reply};
use redis::{Cmd, Connection, Value, cmd};

const DIMENSIONS: usize = 24;
const EPISODES: usize = 500;
const TOLERANCE: f64 = 2e-5;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Metric {
    Cosine,
    Dot,
    L2,
}

impl Metric {
    const ALL: [Self; 3] = [Self::Cosine, Self::Dot, Self::L2];

    fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Dot => "dot",
            Self::L2 => "l2",
        }
    }

    fn similarity(self, a: &[f64], b: &[f64]) -> f64 {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        match self {
            Self::Dot => dot(a, b),
            Self::Cosine => dot(a, b) / (dot(a, a) * dot(b, b)).sqrt(),
            Self::L2 => {
                let squared: f64 = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum();
                1.0 / (1.0 + squared.sqrt())
            }
        }
    }

    /// What several cues mean together.
    fn mean(self, cues: &[&[f64]]) -> Vec<f64> {
        let weight = |cue: &[f64]| match self {
            Self::Cosine => 1.0 / cue.iter().map(|x| x * x).sum::<f64>().sqrt(),
            Self::Dot | Self::L2 => 1.0,
        };
        let count = cues.len() as f64;
        let component = |nth| cues.iter().map(|cue| weight(cue) * cue[nth]).sum::<f64>() / count;
        (0..cues[0].len()).map(component).collect()
    }
}

/// The test's own copy of an episode.
struct Known {
    id: String,
    vector: Vec<f32>,
    at: i64,
    confidence: f32,
    meta: String,
    colour: u64,
    size: u64,
}

impl Known {
    fn wide(&self) -> Vec<f64> {
        self.vector.iter().map(|&x| f64::from(x)).collect()
    }
}

fn content(seed: u64) -> Vec<Known> {
    let mut random = Random::new(seed);
    (0..EPISODES)
        .map(|number| {
            // Lengths differ, so that cosine, dot and L2 order differently.
            let length = 0.2 + random.below(40) as f32 / 10.0;
            let vector = (0..DIMENSIONS).map(|_| random.component() * length).collect();
            let (colour, size) = (random.below(4), random.below(10));
            Known {
                id: format!("e{number}"),
                vector,
                at: 1_000 * random.below(1_000) as i64,
                confidence: random.below(101) as f32 / 100.0,
                meta: format!(r#"{{"colour": "c{colour}", "size": {size}}}"#),
                colour,
                size,
            }
        })
        .collect()
}

/// A space with everything stored in it.
struct Stage {
    _home: Home,
    _daemon: Daemon,
    connection: Connection,
    metric: Metric,
    known: Vec<Known>,
}

impl Stage {
    fn new(metric: Metric, shards: &str, resp: Resp) -> Self {
        let home = Home::new();
        let daemon = home.start();
        let mut connection = stock::connect(&daemon.socket, resp);
        let mut create = cmd("EG.SPACE");
        create.arg("CREATE").arg("notes").arg("DIM").arg(DIMENSIONS);
        create.arg("METRIC").arg(metric.name()).arg("SHARDS").arg(shards);
        create.exec(&mut connection).unwrap();
        let known = content(7);
        let mut batch = cmd("EG.MSTORE");
        batch.arg("notes").arg(known.len());
        for known in &known {
            batch.arg("ITEM").arg(&known.id).arg("VEC").arg(blob(&known.vector));
            batch.arg("AT").arg(known.at).arg("CONF").arg(known.confidence);
            batch.arg("META").arg(&known.meta).arg("TEXT").arg(format!("text of {}", known.id));
            batch.arg("LINK").arg("e0").arg(0.5).arg("THREAD").arg("t");
        }
        let stored: Value = batch.query(&mut connection).unwrap();
        assert_eq!(stored.items().len(), EPISODES);
        let stats: Value = cmd("EG.STATS").query(&mut connection).unwrap();
        let used = stats.at("per_shard").items().iter().filter(|s| s.at("episodes").int() > 0);
        assert_eq!(used.count(), if shards == "1" { 1 } else { 2 });
        Self { _home: home, _daemon: daemon, connection, metric, known }
    }

    /// Recalls and compares with the loop; answers what was recalled.
    fn check(
        &mut self,
        command: &Cmd,
        cue: &[f64],
        k: usize,
        fits: impl Fn(&Known) -> bool,
    ) -> Value {
        let recalled: Value = command.query(&mut self.connection).unwrap();
        let score = |known: &Known| self.metric.similarity(cue, &known.wide());
        let mut expected: Vec<f64> =
            self.known.iter().filter(|known| fits(known)).map(score).collect();
        expected.sort_by(|a, b| b.total_cmp(a));
        expected.truncate(k);
        assert_eq!(recalled.items().len(), expected.len());
        let mut seen = std::collections::BTreeSet::new();
        for (hit, expected) in recalled.items().iter().zip(&expected) {
            let id = hit.at("id").text();
            assert!(seen.insert(id.to_owned()), "{id} comes twice");
            let known = self.known.iter().find(|known| known.id == id).unwrap();
            assert!(fits(known), "{id}");
            let own = score(known);
            let told = hit.at("score").float();
            let bound = TOLERANCE * (1.0 + own.abs());
            assert!((told - own).abs() <= bound, "{id}: told {told}, is {own}");
            assert!((told - expected).abs() <= bound, "{id}: {told} in place of {expected}");
            assert_eq!(hit.at("similarity"), hit.at("score"));
            assert_eq!(hit.at("happened_at").int(), known.at);
            let point = hit.at("confidence").items()[0].float();
            assert!((point - f64::from(known.confidence)).abs() < 1e-6, "{id}: {point}");
        }
        recalled
    }
}

fn recall(k: usize) -> Cmd {
    let mut command = cmd("EG.RECALL");
    command.arg("notes").arg("K").arg(k);
    command
}

fn cue(seed: u64) -> (Vec<u8>, Vec<f64>) {
    let mut random = Random::new(seed);
    let cue: Vec<f32> = (0..DIMENSIONS).map(|_| random.component()).collect();
    (blob(&cue), cue.iter().map(|&x| f64::from(x)).collect())
}

#[test]
fn the_best_k_are_the_best_k() {
    for metric in Metric::ALL {
        for (shards, resp) in [("all", Resp::Three), ("1", Resp::Two)] {
            let mut stage = Stage::new(metric, shards, resp);
            for (seed, k) in [(100, 1), (101, 10), (102, 499), (103, 500), (104, 4096)] {
                let (blob, cue) = cue(seed);
                stage.check(recall(k).arg("VEC").arg(&blob), &cue, k, |_| true);
                stage.check(recall(k).arg("VEC").arg(&blob).arg("EXACT"), &cue, k, |_| true);
            }
        }
    }
}

#[test]
fn cues_are_vectors_numbers_and_known_episodes() {
    for metric in Metric::ALL {
        let mut stage = Stage::new(metric, "all", Resp::Three);
        let (blob, wide) = cue(200);
        let narrow: Vec<String> = wide.iter().map(f64::to_string).collect();
        stage.check(recall(20).arg("VALUES").arg(DIMENSIONS).arg(&narrow), &wide, 20, |_| true);
        let (e3, e4) = (stage.known[3].wide(), stage.known[4].wide());
        stage.check(recall(20).arg("ID").arg("e3"), &e3, 20, |_| true);
        let mean = metric.mean(&[&wide, &e3, &e4]);
        let mut command = recall(20);
        command.arg("VEC").arg(&blob).arg("ID").arg("e3").arg("ID").arg("e4");
        stage.check(&command, &mean, 20, |_| true);

        let unknown = recall(5).arg("ID").arg("nobody").query::<Value>(&mut stage.connection);
        assert_eq!(unknown.unwrap_err().code(), Some("NOEPISODE"));
    }
}

#[test]
fn conditions_leave_out_and_never_give_fewer_than_there_are() {
    for (metric, shards) in [(Metric::Cosine, "all"), (Metric::L2, "1")] {
        let mut stage = Stage::new(metric, shards, Resp::Three);
        let (blob, wide) = cue(300);
        let with = |option: &[&str]| {
            let mut command = recall(40);
            command.arg("VEC").arg(&blob).arg(option).arg("NOREINFORCE");
            command
        };
        // Bounds are inclusive.
        let at = stage.known[9].at;
        let at_text = at.to_string();
        stage.check(&with(&["SINCE", &at_text]), &wide, 40, |known| known.at >= at);
        stage.check(&with(&["UNTIL", &at_text]), &wide, 40, |known| known.at <= at);
        let only = with(&["SINCE", &at_text, "UNTIL", &at_text]);
        let only = stage.check(&only, &wide, 40, |known| known.at == at);
        assert!(only.items().iter().any(|hit| hit.at("id").text() == "e9"), "{only:?}");
        stage.check(&with(&["MINCONF", "0.97"]), &wide, 40, |known| known.confidence >= 0.97);
        let red = r#"{"colour": "c2"}"#;
        stage.check(&with(&["FILTER", red]), &wide, 40, |known| known.colour == 2);
        let narrow = r#"{"colour": {"$in": ["c0", "c3"]}, "size": {"$gte": 9}}"#;
        stage.check(&with(&["FILTER", narrow]), &wide, 40, |known| {
            [0, 3].contains(&known.colour) && known.size >= 9
        });
        let all = with(&["FILTER", red, "MINCONF", "0.5", "SINCE", "250000", "UNTIL", "750000"]);
        stage.check(&all, &wide, 40, |known| {
            known.colour == 2 && known.confidence >= 0.5 && (250_000..=750_000).contains(&known.at)
        });
        let none = with(&["FILTER", r#"{"colour": "none"}"#]);
        assert!(stage.check(&none, &wide, 40, |_| false).items().is_empty());
    }
}

#[test]
fn hits_carry_what_was_asked_for() {
    for resp in stock::BOTH {
        let mut stage = Stage::new(Metric::Dot, "all", resp);
        let (blob, wide) = cue(400);
        let fixed = ["id", "score", "similarity", "confidence", "happened_at", "recorded_at"];
        let asked: [&[&str]; 7] = [
            &[],
            &["text"],
            &["vec"],
            &["meta"],
            &["links"],
            &["why"],
            &["text", "vec", "meta", "links", "why"],
        ];
        for parts in asked {
            let mut command = recall(3);
            command.arg("VEC").arg(&blob);
            for part in parts {
                command.arg("WITH").arg(part);
            }
            let recalled = stage.check(&command, &wide, 3, |_| true);
            for hit in recalled.items() {
                assert_eq!(hit.keys(), [&fixed, parts].concat());
                let id = hit.at("id").text();
                let known = stage.known.iter().find(|known| known.id == id).unwrap();
                for part in parts {
                    match *part {
                        "text" => assert_eq!(hit.at(part).text(), format!("text of {id}")),
                        "vec" => assert_eq!(floats(hit.at(part).bytes()), known.vector),
                        "meta" => assert_eq!(hit.at(part).text(), known.meta),
                        "links" => assert_eq!(hit.at(part).items()[0].at("id").text(), "e0"),
                        _ => {
                            let compared = hit.at(part).at("rows_compared").int();
                            assert!((1..EPISODES as i64).contains(&compared), "{compared}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_bound_on_bytes_leaves_out_parts_behind_the_best_and_no_results() {
    let mut stage = Stage::new(Metric::Cosine, "all", Resp::Three);
    let (blob, wide) = cue(500);
    let mut command = recall(100);
    command.arg("VEC").arg(&blob).arg("WITH").arg("text");
    let all = stage.check(&command, &wide, 100, |_| true);
    // Texts grow down the ranks, but one in the middle is larger than any bound below.
    for (rank, hit) in all.items().iter().enumerate() {
        let known = stage.known.iter().find(|known| known.id == hit.at("id").text()).unwrap();
        let mut store = cmd("EG.STORE");
        store.arg("notes").arg(&known.id).arg("VEC").arg(common::episodes::blob(&known.vector));
        store.arg("TEXT").arg("x".repeat(if rank == 30 { 5_000 } else { rank + 1 }));
        store.exec(&mut stage.connection).unwrap();
    }
    let ids = |hits: &Value| -> Vec<String> {
        hits.items().iter().map(|hit| hit.at("id").text().to_owned()).collect()
    };
    // The first n texts have n × (n + 1) / 2 bytes.
    for (bytes, texts) in [(1, 1), (2, 1), (55, 10), (465, 30), (466, 30), (5_000, 30)] {
        let bounded: Value =
            command.clone().arg("BYTES").arg(bytes).query(&mut stage.connection).unwrap();
        assert_eq!(ids(&bounded), ids(&all), "BYTES {bytes}");
        let have_text = bounded.items().iter().map(|hit| hit.keys().contains(&"text"));
        let expected = (0..100).map(|rank| rank < texts);
        assert!(
            have_text.clone().eq(expected),
            "BYTES {bytes}: {:?}",
            have_text.collect::<Vec<_>>()
        );
    }
}

#[test]
fn replaced_and_forgotten_episodes_are_not_recalled() {
    let mut stage = Stage::new(Metric::L2, "all", Resp::Three);
    for number in 0..EPISODES {
        let id = format!("e{number}");
        if number.is_multiple_of(3) {
            cmd("EG.FORGET").arg("notes").arg(&id).exec(&mut stage.connection).unwrap();
        } else if number % 3 == 1 {
            let known = &mut stage.known[number];
            known.vector.iter_mut().for_each(|component| *component = -*component);
            let mut store = cmd("EG.STORE");
            store.arg("notes").arg(&id).arg("VEC").arg(blob(&known.vector));
            store.arg("AT").arg(known.at).arg("CONF").arg(known.confidence);
            store.exec(&mut stage.connection).unwrap();
        }
    }
    let is_there = |known: &Known| known.id[1..].parse::<usize>().unwrap() % 3 != 0;
    for (seed, k) in [(600, 10), (601, 1000)] {
        let (blob, wide) = cue(seed);
        stage.check(recall(k).arg("VEC").arg(&blob), &wide, k, is_there);
    }
}
