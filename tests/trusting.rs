//! Whom an episode goes back to, and how sure who asks may be of it, through the socket: on one
//! shard and over two, in tails and in columns, after a kill.

mod common;

use std::collections::BTreeSet;

use common::episodes::{Random, blob, vector};
use common::{Client, Daemon, Home, Reply};
use redis::Value;

const DIMENSIONS: usize = 8;
const EPISODES: usize = 150;
const SPACES: [(&str, usize); 2] = [("one", 1), ("two", 2)];

struct Stage {
    home: Home,
    daemon: Daemon,
    client: Client,
}

/// What is known of the nth episode: its writer, its source, and its confidence.
fn known(nth: usize) -> (Option<String>, Option<String>, [f32; 3]) {
    let writer = (nth % 7 != 6).then(|| format!("w{}", nth % 7));
    let source = (nth % 5 < 3).then(|| format!("s{}", nth % 5));
    let low = (nth % 9) as f32 / 8.0;
    let point = low + (1.0 - low) * (nth % 4) as f32 / 4.0;
    (writer, source, [point, low, 1.0])
}

fn id(nth: usize) -> String {
    format!("e{nth}")
}

fn words(line: &str) -> Vec<u8> {
    common::client::encode(&line.split_whitespace().map(str::as_bytes).collect::<Vec<_>>())
}

fn fill(client: &mut Client, (space, shards): (&str, usize)) {
    let line = format!("EG.SPACE CREATE {space} DIM {DIMENSIONS} DECAY none SHARDS {shards}");
    client.ask(&words(&line));
    for nth in 0..EPISODES {
        let (writer, source, [point, low, high]) = known(nth);
        let vec = blob(&vector(nth as u64, DIMENSIONS));
        let mut store: Vec<Vec<u8>> =
            ["EG.STORE", space, &id(nth), "TEXT"].map(|word| word.as_bytes().to_vec()).to_vec();
        store.extend([format!("tea number{nth}").into_bytes(), b"VEC".to_vec(), vec.to_vec()]);
        let mut more = format!("LINK e{} 1 CONF {point} {low} {high}", (nth + 1) % EPISODES);
        if let Some(writer) = writer {
            more += &format!(" WRITER {writer}");
        }
        if let Some(source) = source {
            more += &format!(" SOURCE {source}");
        }
        store.extend(more.split(' ').map(|word| word.as_bytes().to_vec()));
        let store: Vec<&[u8]> = store.iter().map(|word| &word[..]).collect();
        assert!(!client.ask(&common::client::encode(&store)).is_error());
    }
}

impl Stage {
    fn new() -> Self {
        let home = Home::new();
        let daemon = home.start();
        let mut client = daemon.client();
        SPACES.into_iter().for_each(|space| fill(&mut client, space));
        Self { home, daemon, client }
    }

    fn ask(&mut self, line: &str) -> Value {
        self.client.ask(&words(line))
    }

    fn kill_and_start(self) -> Self {
        self.daemon.kill();
        let daemon = self.home.start();
        let client = daemon.client();
        Self { daemon, client, ..self }
    }
}

fn ids(hits: &Value) -> Vec<String> {
    hits.items().iter().map(|hit| hit.at("id").text().to_owned()).collect()
}

/// Whom who asks trusts: writers and sources by their numbers, and all others.
struct Trusted {
    writers: Vec<(usize, f32)>,
    sources: Vec<(usize, f32)>,
    others: Option<f32>,
    least: f32,
}

impl Trusted {
    fn any(random: &mut Random) -> Self {
        let mut below = |end: u64| random.below(end);
        // Parts of 8: no product of two is rounded.
        let degrees: Vec<f32> = (0..12).map(|_| below(9) as f32 / 8.0).collect();
        let named: Vec<bool> = (0..12).map(|_| below(3) == 0).collect();
        let of = |range: std::ops::Range<usize>| {
            let from = range.start;
            let all = range.filter(|nth| named[*nth]);
            all.map(|nth| (nth - from, degrees[nth])).collect::<Vec<_>>()
        };
        let least = below(9) as f32 / 16.0;
        let others = (below(2) == 0).then(|| degrees[11]);
        Self { writers: of(0..7), sources: of(7..10), others, least }
    }

    fn options(&self) -> String {
        let mut options = format!(" MINTRUST {}", self.least);
        for (keyword, letter, all) in
            [("WRITER", "w", &self.writers), ("SOURCE", "s", &self.sources)]
        {
            for (name, degree) in all {
                options += &format!(" TRUST {keyword} {letter}{name} {degree}");
            }
        }
        if let Some(others) = self.others {
            options += &format!(" TRUST * {others}");
        }
        options
    }

    fn of(&self, nth: usize) -> f32 {
        let (writer, source, _) = known(nth);
        let find = |letter: &str, name: Option<String>, all: &[(usize, f32)]| {
            let is_it =
                |own: &&(usize, f32)| name.as_deref() == Some(&format!("{letter}{}", own.0));
            all.iter().find(is_it).map(|(_, degree)| *degree)
        };
        match (find("w", writer, &self.writers), find("s", source, &self.sources)) {
            (None, None) => self.others.unwrap_or(1.0),
            (one, other) => one.unwrap_or(1.0) * other.unwrap_or(1.0),
        }
    }

    fn admits(&self, nth: usize) -> bool {
        let (.., [_, low, _]) = known(nth);
        self.of(nth) * low >= self.least
    }
}

#[test]
fn least_trust_is_a_condition_of_whatever_is_asked() {
    let mut stage = Stage::new();
    for turn in ["tails", "columns", "after a kill"] {
        match turn {
            "columns" => drop(stage.ask("EG.CONSOLIDATE")),
            "after a kill" => stage = stage.kill_and_start(),
            _ => {}
        }
        let mut random = Random::new(7);
        for _ in 0..30 {
            let trusted = Trusted::any(&mut random);
            let options = trusted.options();
            let admitted: Vec<usize> = (0..EPISODES).filter(|nth| trusted.admits(*nth)).collect();
            let wanted: BTreeSet<String> = admitted.iter().map(|nth| id(*nth)).collect();
            for (space, _) in SPACES {
                for cue in ["ID e3", "ID e3 EXACT", "TEXT tea", "TEXT tea ID e3", "ID e3 SPREAD"] {
                    let line = format!("EG.RECALL {space} K 4096 NOREINFORCE {cue}{options}");
                    let found = ids(&stage.ask(&line));
                    let found_set: BTreeSet<String> = found.iter().cloned().collect();
                    assert_eq!(found.len(), found_set.len(), "{turn}: {line}");
                    assert_eq!(found_set, wanted, "{turn}: {line}");
                }
                // Of the best those that are admitted, not those admitted of the best.
                let all = ids(&stage.ask(&format!("EG.RECALL {space} K 4096 ID e3 EXACT")));
                let best: Vec<String> =
                    all.into_iter().filter(|id| wanted.contains(id)).take(5).collect();
                for exact in [" EXACT", ""] {
                    let line = format!("EG.RECALL {space} K 5 ID e3{exact}{options}");
                    assert_eq!(ids(&stage.ask(&line)), best, "{turn}: {line}");
                }
                let line = format!("EG.SPREAD {space} K 4096 FROM e3 1 EXACT{options}");
                let spread = ids(stage.ask(&line).at("hits"));
                assert!(spread.iter().all(|id| wanted.contains(id)), "{turn}: {line}");
                let all =
                    ids(stage.ask(&format!("EG.SPREAD {space} K 4096 FROM e3 1 EXACT")).at("hits"));
                let all = all.into_iter().filter(|id| wanted.contains(id));
                assert_eq!(spread, all.collect::<Vec<_>>(), "{turn}: {line}");
                let line = format!("EG.GIST {space} K 64 AMONG 256 ALIKE -1 ID e3{options}");
                let gists = stage.ask(&line);
                let sources = gists.items().iter().flat_map(|gist| ids(gist.at("sources")));
                let sources: BTreeSet<String> = sources.collect();
                let is_told = wanted.len() >= 3;
                assert_eq!(sources, if is_told { wanted.clone() } else { BTreeSet::new() });
            }
        }
    }
}

#[test]
fn trust_discounts_what_is_believed_and_what_it_counts() {
    let mut stage = Stage::new();
    for (space, _) in SPACES {
        let trust = "TRUST WRITER w1 0.5 TRUST SOURCE s1 0.5 TRUST * 0";
        for cue in ["ID e3", "TEXT tea", "ID e3 SPREAD", "TEXT tea SPREAD"] {
            let line = format!("EG.RECALL {space} K 4096 {cue} WITH belief {trust}");
            let hits = stage.ask(&line);
            assert_eq!(hits.items().len(), EPISODES);
            for hit in hits.items() {
                let nth: usize = hit.at("id").text()[1..].parse().unwrap();
                let (.., [point, low, high]) = known(nth);
                let t = match (nth % 7 == 1, nth % 5 == 1) {
                    (true, true) => 0.25,
                    (true, false) | (false, true) => 0.5,
                    (false, false) => 0.0,
                };
                let stored: Vec<f64> =
                    hit.at("confidence").items().iter().map(Reply::float).collect();
                for (own, stored) in [point, low, high].into_iter().zip(stored) {
                    assert!((f64::from(own) - stored).abs() < 1e-6, "it stays as it was stored");
                }
                let told = |name: &str| hit.at("belief").at(name).float() as f32;
                for (name, expected) in [
                    ("point", t * point + (1.0 - t) * 0.5),
                    ("low", t * low),
                    ("high", t * high + 1.0 - t),
                    ("trust", t),
                    ("retention", 1.0),
                ] {
                    assert!((told(name) - expected).abs() < 1e-6, "{line}: {nth} {name}");
                }
            }
        }
        // The point that is left is what counts in the answer to words.
        let why = |stage: &mut Stage, trust: &str| {
            let hits = stage.ask(&format!("EG.RECALL {space} K 4096 TEXT tea WITH why{trust}"));
            let hits = hits.items().iter();
            let of = |hit: &Value| {
                let nth: usize = hit.at("id").text()[1..].parse().unwrap();
                (nth, hit.at("why").at("confidence").float() as f32)
            };
            hits.map(of).collect::<Vec<_>>()
        };
        for (nth, counts) in why(&mut stage, " TRUST WRITER w1 0.25") {
            let (.., [point, ..]) = known(nth);
            let point = if nth % 7 == 1 { 0.25 * point + 0.375 } else { point };
            assert!((counts - (1.0 - 0.5 * (1.0 - point))).abs() < 1e-6, "{nth} {counts}");
        }
        // Whole trust is no trust that was said.
        let none = stage.ask(&format!("EG.RECALL {space} K 4096 TEXT tea WITH why"));
        let whole =
            format!("EG.RECALL {space} K 4096 TEXT tea WITH why TRUST * 1 TRUST WRITER w2 1");
        assert_eq!(stage.ask(&whole), none);
        // Trust says nothing of similarity.
        let none = stage.ask(&format!("EG.RECALL {space} K 9 ID e3"));
        assert_eq!(stage.ask(&format!("EG.RECALL {space} K 9 ID e3 {trust}")), none);
        // The mean of a gist's confidences, of the discounted ones.
        let gist = stage.ask(&format!("EG.GIST {space} K 1 AMONG 256 ALIKE -1 ID e3 TRUST * 0.5"));
        let told: Vec<f64> =
            gist.items()[0].at("confidence").items().iter().map(Reply::float).collect();
        let mean = |of: fn([f32; 3]) -> f32| {
            (0..EPISODES).map(|nth| f64::from(of(known(nth).2))).sum::<f64>() / EPISODES as f64
        };
        let expected = [0.5 * mean(|c| c[0]) + 0.25, 0.5 * mean(|c| c[1]), 1.0];
        for (told, expected) in told.into_iter().zip(expected) {
            assert!((told - expected).abs() < 1e-5, "{told} {expected}");
        }
    }
}

#[test]
fn a_user_is_who_the_kernel_says_whatever_writer_is_named() {
    let mut stage = Stage::new();
    let uid = stage.ask("EG.GET one e0").at("writer_uid").int();
    for turn in ["tails", "columns", "after a kill"] {
        match turn {
            "columns" => drop(stage.ask("EG.CONSOLIDATE")),
            "after a kill" => stage = stage.kill_and_start(),
            _ => {}
        }
        for (space, _) in SPACES {
            for (trust, of_w1, of_others) in [
                (format!("TRUST UID {uid} 0.5 TRUST * 0"), 0.5, 0.5),
                (format!("TRUST UID {} 0.5 TRUST * 0.25", uid + 1), 0.25, 0.25),
                (format!("TRUST UID {uid} 0.5 TRUST WRITER w1 0.25"), 0.125, 0.5),
                (format!("TRUST WRITER {uid} 0 TRUST UID {} 0", uid + 1), 1.0, 1.0),
            ] {
                for cue in ["ID e3", "ID e3 EXACT", "TEXT tea", "ID e3 SPREAD"] {
                    let line = format!(
                        "EG.RECALL {space} K 4096 NOREINFORCE {cue} WITH belief MINTRUST 0.125"
                    );
                    let hits = stage.ask(&format!("{line} {trust}"));
                    let found: BTreeSet<String> = ids(&hits).into_iter().collect();
                    let of = |nth: usize| if nth % 7 == 1 { of_w1 } else { of_others };
                    let admitted =
                        (0..EPISODES).filter(|nth| of(*nth) * known(*nth).2[1] >= 0.125).map(id);
                    assert_eq!(found, admitted.collect(), "{turn}: {line} {trust}");
                    for hit in hits.items() {
                        let nth: usize = hit.at("id").text()[1..].parse().unwrap();
                        let told = hit.at("belief").at("trust").float() as f32;
                        assert_eq!(told.to_bits(), of(nth).to_bits(), "{turn}: {nth} {trust}");
                    }
                }
            }
        }
    }
}

#[test]
fn what_has_faded_is_known_less_surely() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    client.ask(&words("EG.SPACE CREATE notes DIM 2 DECAY 86400"));
    client.ask(&words("EG.STORE notes a VALUES 2 1 1 CONF 0.75 0.5 1 WRITER ada"));
    daemon.kill();
    let daemon = home.start_with(&["clock_ahead_seconds=86400"]);
    let mut client = daemon.client();
    let line = "EG.RECALL notes K 1 ID a NOREINFORCE WITH belief WITH strength";
    for (trust, t) in [("", 1.0), (" TRUST WRITER ada 0.5", 0.5)] {
        let hits = client.ask(&words(&format!("{line}{trust}")));
        let hit = &hits.items()[0];
        let (belief, retention) = (hit.at("belief"), hit.at("strength").at("retention").float());
        assert!((0.1..0.9).contains(&retention), "it has faded: {retention}");
        for (name, expected) in [
            ("retention", retention),
            ("trust", t),
            ("low", retention * t * 0.5),
            ("high", 1.0),
            ("point", retention * (t * 0.75 + (1.0 - t) * 0.5) + (1.0 - retention) * 0.5),
        ] {
            assert!((belief.at(name).float() - expected).abs() < 1e-4, "{name}");
        }
    }
    // Time is no distrust: the bound is on what trust leaves.
    let hits = client.ask(&words("EG.RECALL notes K 1 ID a MINTRUST 0.5"));
    assert_eq!(hits.items().len(), 1);
}

#[test]
fn whom_it_goes_back_to_is_metadata_like_any() {
    let mut stage = Stage::new();
    stage.ask(r#"EG.STORE one x VALUES 8 1 1 1 1 1 1 1 1 META {"a":1} WRITER ada SOURCE told"#);
    let meta = stage.ask("EG.GET one x WITH meta").at("meta").text().to_owned();
    assert_eq!(meta, r#"{"a":1,"writer":"ada","source":"told"}"#);
    stage = stage.kill_and_start();
    let found = stage.ask(r#"EG.RECALL one K 5 ID e1 FILTER {"writer":"ada","a":1}"#);
    assert_eq!(ids(&found), ["x"]);
    let refused = stage.client.refused(&words(
        r#"EG.STORE one y VALUES 8 1 1 1 1 1 1 1 1 META {"writer":"eve"} WRITER ada"#,
    ));
    assert!(refused.0 == "SYNTAX" && refused.1.contains("writer"), "{refused:?}");
    stage.ask("EG.ERASE one x");
    assert!(ids(&stage.ask(r#"EG.RECALL one K 5 ID e1 FILTER {"writer":"ada"}"#)).is_empty());
}

/// Two that fit the cue best, and what they alone lead to.
#[test]
fn an_activation_is_as_sure_as_its_seeds() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    for (space, shards) in SPACES {
        let create = format!("EG.SPACE CREATE {space} DIM 3 DECAY none SHARDS {shards}");
        client.ask(&words(&create));
        for line in [
            "good VALUES 3 1 0 0 CONF 0.75 0.5 0.75 LINK x 1 LINK both 1 WRITER ada",
            "fair VALUES 3 1 0.1 0 CONF 0.5 0.25 1 LINK both 1",
            "x VALUES 3 0 0 1",
            "both VALUES 3 0 0.1 1",
        ] {
            client.ask(&words(&format!("EG.STORE {space} {line}")));
        }
        let mut bounds = |options: &str| {
            let line = format!(
                "EG.RECALL {space} K 4 VALUES 3 1 0 0 SPREAD SEEDS 2 EXACT WITH belief {options}"
            );
            let hits = client.ask(&words(&line));
            let of = |wanted: &str| {
                let hit = hits.items().iter().find(|hit| hit.at("id").text() == wanted).unwrap();
                ["activation", "activation_low", "activation_high"].map(|key| hit.at(key).float())
            };
            ["x", "both", "good"].map(of)
        };
        // Masses of 1 and 0.1 share 1. Half stays, half goes on, and what has no links keeps all.
        let (good, fair) = (1.0 / 1.1, 0.1 / 1.1);
        for (options, [good_low, good_high], [fair_low, fair_high]) in [
            ("", [0.5, 0.75], [0.25, 1.0]),
            ("TRUST WRITER ada 0.5", [0.25, 0.875], [0.25, 1.0]),
            ("TRUST WRITER ada 0", [0.0, 1.0], [0.25, 1.0]),
            ("TRUST * 0", [0.0, 1.0], [0.0, 1.0]),
        ] {
            let [x, both, seed] = bounds(options);
            let of_x = |part: f64| 0.25 * good * part;
            let of_both =
                |good_part: f64, fair_part: f64| 0.25 * good * good_part + 0.5 * fair * fair_part;
            let expected_x = [of_x(1.0), of_x(good_low), of_x(good_high)];
            let expected_both =
                [of_both(1.0, 1.0), of_both(good_low, fair_low), of_both(good_high, fair_high)];
            for (own, expected) in
                x.into_iter().chain(both).zip(expected_x.into_iter().chain(expected_both))
            {
                assert!((own - expected).abs() < 1e-5, "{space} {options}: {x:?} {both:?}");
            }
            assert_eq!(seed, [0.0; 3], "its own mass does not count");
        }
        let plain =
            client.ask(&words(&format!("EG.RECALL {space} K 4 VALUES 3 1 0 0 SPREAD SEEDS 2")));
        let keys = format!("{plain:?}");
        assert!(!keys.contains("activation_low") && !keys.contains("belief"));
    }
}
