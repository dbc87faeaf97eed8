//! Spreading through the socket: what it finds on one shard and over two, alone and as a part of a
//! recall, after a kill and a consolidation, and what it refuses.

mod common;

use std::collections::BTreeMap;

use common::episodes::{blob, vector};
use common::stock::{self, BOTH};
use common::{Client, Daemon, Home, Reply};
use redis::{Value, cmd};

const DIMENSIONS: usize = 8;
/// Episodes of the stage; each is linked to some that follow it in a ring.
const EPISODES: usize = 60;

struct Stage {
    home: Home,
    daemon: Daemon,
    client: Client,
}

fn words(line: &str) -> Vec<u8> {
    common::client::encode(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>())
}

/// Stores a ring in which every tenth episode is a hub.
fn fill(client: &mut Client, space: &str, shards: usize) {
    client.ask(&words(&format!("EG.SPACE CREATE {space} DIM {DIMENSIONS} SHARDS {shards}")));
    for nth in 0..EPISODES {
        let (id, fan) = (format!("e{nth}"), if nth % 10 == 0 { 12 } else { 2 });
        let vector = blob(&vector(nth as u64, DIMENSIONS));
        let mut words: Vec<Vec<u8>> =
            ["EG.STORE", space, &id, "VEC"].map(|word| word.as_bytes().to_vec()).to_vec();
        words.push(vector.to_vec());
        for step in 1..=fan {
            let target = (nth + step * step) % EPISODES;
            let link = ["LINK".into(), format!("e{target}"), format!("{}", 1.0 / step as f32)];
            words.extend(link.map(String::into_bytes));
        }
        client
            .ask(&common::client::encode(&words.iter().map(|word| &word[..]).collect::<Vec<_>>()));
    }
}

impl Stage {
    fn new() -> Self {
        let home = Home::new();
        let daemon = home.start();
        let mut client = daemon.client();
        fill(&mut client, "one", 1);
        fill(&mut client, "two", 2);
        Self { home, daemon, client }
    }

    fn ask(&mut self, line: &str) -> Value {
        self.client.ask(&words(line))
    }

    fn refused(&mut self, line: &str, code: &str, says: &[&str]) {
        let (got, sentence) = self.client.refused(&words(line));
        assert_eq!(got, code, "{line}: {sentence}");
        for word in says {
            assert!(sentence.contains(word), "no '{word}' in '{sentence}'");
        }
    }

    fn kill_and_start(self) -> Self {
        self.daemon.kill();
        let daemon = self.home.start();
        let client = daemon.client();
        Self { daemon, client, ..self }
    }
}

/// Ids and scores of what a spread found, in order.
fn hits(spread: &Value) -> Vec<(String, f64)> {
    scores(spread.at("hits"))
}

fn scores(found: &Value) -> Vec<(String, f64)> {
    let hits = found.items().iter();
    hits.map(|hit| (hit.at("id").text().to_owned(), hit.at("score").float())).collect()
}

fn ids(recalled: &Value) -> Vec<String> {
    recalled.items().iter().map(|hit| hit.at("id").text().to_owned()).collect()
}

const SEEDS: &str = "FROM e0 2 e7 1 FROM e33 1";

#[test]
fn a_spread_answers_with_episodes_and_the_work_in_both_protocols() {
    for resp in BOTH {
        let home = Home::new();
        let daemon = home.start();
        let mut connection = stock::connect(&daemon.socket, resp);
        let mut value = |line: &str| {
            let mut words = line.split(' ');
            let mut command = cmd(words.next().unwrap());
            for word in words {
                command.arg(word);
            }
            command.query::<Value>(&mut connection).unwrap()
        };
        value("EG.SPACE CREATE notes DIM 1 METRIC l2");
        value("EG.STORE notes cup VALUES 1 3 TEXT a-cup");
        value("EG.STORE notes pot VALUES 1 2 LINK cup 1");
        value("EG.STORE notes tea VALUES 1 1 LINK pot 3 LINK cup 1 LINK nowhere 4");
        value("EG.LINK notes pot tea 1 KIND of");
        let spread = value("EG.SPREAD notes K 9 FROM tea 1 EXACT WITH text WITH why");
        assert_eq!(spread.keys(), ["hits", "edges", "nodes", "missing_max", "partial"]);
        assert_eq!((spread.at("missing_max").float(), spread.at("nodes").int()), (0.0, 3));
        let first = &spread.at("hits").items()[0];
        let keys =
            ["id", "score", "activation", "confidence", "happened_at", "recorded_at", "text"];
        assert_eq!(first.keys(), keys);
        // tea keeps 1/2 and gives pot 3/16 and cup 1/16; pot keeps half, gives both a quarter …
        let back = 1.0 / (1.0 - 3.0 / 64.0);
        let pot = 3.0 / 32.0 * back;
        let cup = (1.0 / 16.0 + 3.0 / 64.0) * back;
        let found = hits(&spread);
        assert_eq!((found[0].0.as_str(), found[1].0.as_str()), ("cup", "pot"));
        assert!((found[0].1 - cup).abs() < 1e-6 && (found[1].1 - pot).abs() < 1e-6, "{found:?}");
        assert_eq!(first.at("text").text(), "a-cup");
        let spread = value("EG.SPREAD notes K 1 FROM pot 1 HOPS 1 WITH why");
        let why = spread.at("hits").items()[0].at("why");
        assert_eq!((why.keys(), why.at("tier").text()), (vec!["tier", "path"], "spread"));
        let step = &why.at("path").items()[0];
        assert_eq!(step.at("from").text(), "pot");
        assert_eq!(value("EG.SPREAD notes K 9 FROM tea 1 BUDGET 0").at("hits").items().len(), 0);
    }
}

#[test]
fn the_exact_answer_is_the_same_on_one_shard_and_on_two_whatever_became_of_it() {
    let mut stage = Stage::new();
    let mut before: Option<BTreeMap<&str, Vec<(String, f64)>>> = None;
    for round in 0..4 {
        let mut all = BTreeMap::new();
        for options in ["", "HOPS 0", "HOPS 1", "HOPS 3", "DECAY 0.9"] {
            let ask = |space| format!("EG.SPREAD {space} K 50 {SEEDS} EXACT {options}");
            let [one, two] = ["one", "two"].map(|space| ask(space).trim_end().to_owned());
            let one = hits(&stage.ask(&one));
            assert_eq!(hits(&stage.ask(&two)), one, "{options}");
            assert_eq!(one.is_empty(), options == "HOPS 0");
            all.insert(options, one);
        }
        before.iter().for_each(|before| assert_eq!(*before, all));
        before = Some(all);
        match round {
            0 => drop(stage.ask("EG.CONSOLIDATE")),
            1 => stage = stage.kill_and_start(),
            _ => {
                // Both are stored again as they were: in the tail, while others lead to sections.
                for (space, nth) in [("one", 5_usize), ("two", 5)] {
                    let vector = blob(&vector(nth as u64, DIMENSIONS));
                    let (to, other) = (format!("e{}", nth + 1), format!("e{}", nth + 4));
                    stage.client.ask(&command![
                        "EG.STORE", space, "e5", "VEC", vector, "LINK", to, "1", "LINK", other,
                        "0.5"
                    ]);
                }
            }
        }
    }
}

#[test]
fn a_push_over_two_shards_finds_what_one_on_one_finds() {
    let mut stage = Stage::new();
    for options in ["", "HOPS 1", "HOPS 2", "HOPS 5", "THRESHOLD 0.000001", "DECAY 0.8"] {
        let ask = |space: &str, what: &str| {
            format!("EG.SPREAD {space} K 50 {SEEDS} {what} {options}").trim_end().to_owned()
        };
        let exact: BTreeMap<_, _> = hits(&stage.ask(&ask("one", "EXACT"))).into_iter().collect();
        for space in ["one", "two"] {
            let spread = stage.ask(&ask(space, "BUDGET 100000"));
            let found: BTreeMap<_, _> = hits(&spread).into_iter().collect();
            let of = |scores: &BTreeMap<String, f64>, id: &str| {
                scores.get(id).copied().unwrap_or_default()
            };
            let lacking: f64 = exact.keys().map(|id| (of(&exact, id) - of(&found, id)).abs()).sum();
            let missing_max = spread.at("missing_max").float();
            assert!(lacking <= missing_max + 1e-4, "{space} {options}: {lacking} {missing_max}");
            if options.contains("HOPS") {
                assert!(lacking < 1e-3, "{space} {options}: {lacking}");
            }
            assert!(spread.at("edges").int() <= 100_000);
            assert_eq!(spread.at("partial").int(), 0);
        }
    }
}

#[test]
fn ways_lead_from_a_seed_whatever_shards_they_cross() {
    let mut stage = Stage::new();
    let mut crossed = 0;
    for (space, options) in [("one", ""), ("two", ""), ("two", " HOPS 6"), ("two", " HOPS 2")] {
        let spread = stage.ask(&format!("EG.SPREAD {space} K 50 {SEEDS} WITH why{options}"));
        assert!(spread.at("hits").items().len() > 20);
        for hit in spread.at("hits").items() {
            let path = hit.at("why").at("path").items();
            let ends: Vec<(&str, &str)> =
                path.iter().map(|step| (step.at("from").text(), step.at("to").text())).collect();
            assert!(["e0", "e7", "e33"].contains(&ends[0].0), "{ends:?}");
            assert_eq!(ends.last().unwrap().1, hit.at("id").text());
            assert!(ends.windows(2).all(|pair| pair[0].1 == pair[1].0), "{ends:?}");
            // A seed has more of its own than comes back to it.
            assert!(ends[1..].iter().all(|end| !["e0", "e7", "e33"].contains(&end.0)), "{ends:?}");
            crossed += usize::from(space == "two" && ends.len() > 2);
        }
    }
    assert!(crossed > 10);
}

#[test]
fn a_budget_is_kept_over_all_shards() {
    let mut stage = Stage::new();
    for budget in [0, 1, 7, 40] {
        for space in ["one", "two"] {
            let ask = format!("EG.SPREAD {space} K 50 {SEEDS} BUDGET {budget}");
            // Each shard's share is rounded up, in each exchange.
            let slack = if space == "one" || budget == 0 { 0 } else { 6 };
            let spread = stage.ask(&ask);
            let edges = spread.at("edges").int();
            assert!(edges <= budget + slack, "{edges} of {budget}");
            assert!(spread.at("missing_max").float() > 0.0);
        }
    }
}

#[test]
fn what_a_deadline_has_cut_says_so() {
    let mut stage = Stage::new();
    // Dozens of exchanges between two threads take longer than a microsecond, and one takes
    // longer to visit every link that it may.
    let far = "HOPS 32 THRESHOLD 0.000000001";
    for (space, how) in [("two", "EXACT"), ("two", far), ("one", far)] {
        let spread = stage.ask(&format!("EG.SPREAD {space} K 50 {SEEDS} {how} DEADLINE 1"));
        assert_eq!(spread.at("partial").int(), 1, "{how}");
        let whole = stage.ask(&format!("EG.SPREAD {space} K 50 {SEEDS} EXACT"));
        assert_eq!((whole.at("partial").int(), whole.at("missing_max").float()), (0, 0.0));
        let of = |spread: &Value| hits(spread).iter().map(|(_, score)| score).sum::<f64>();
        let lacking = of(&whole) - of(&spread);
        let missing_max = spread.at("missing_max").float();
        assert!(lacking <= missing_max + 1e-5, "{how}: {lacking}, {missing_max}");
        assert!(missing_max > 0.0, "{how}");
        let recall = format!("EG.RECALL {space} K 5 ID e3 SPREAD DEADLINE 1");
        let recall = if how == "EXACT" { recall + " EXACT" } else { recall + " HOPS 32" };
        let recalled = stage.ask(&recall);
        assert!(recalled.items().iter().all(|hit| hit.at("partial").int() == 1), "{how}");
    }
}

#[test]
fn the_fan_of_a_space_decides_what_links_carry() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    let mut one_link = |space: &str, settings: &str, fan: usize| {
        client.ask(&words(&format!("EG.SPACE CREATE {space} DIM 1 {settings}")));
        client.ask(&words(&format!("EG.STORE {space} t VALUES 1 1")));
        let links = (1..fan).map(|nth| format!(" LINK x{nth} 1")).collect::<String>();
        client.ask(&words(&format!("EG.STORE {space} s VALUES 1 1 LINK t 1{links}")));
        let spread = client.ask(&words(&format!("EG.SPREAD {space} K 1 FROM s 1")));
        hits(&spread).first().map_or(0.0, |hit| hit.1)
    };
    // What is passed on is a half; it stays where it comes.
    let close = |got: f64, wanted: f64| assert!((got - wanted).abs() < 1e-6, "{got} {wanted}");
    close(one_link("degree", "FAN degree", 4), 0.5 / 4.0);
    close(one_link("strong", "FAN 2", 4), 0.5 * (2.0 - 4_f64.ln()));
    close(one_link("many", "FAN 2", 8), 0.0);
    close(one_link("hub", "FANCAP 2", 4), 0.5 / 4.0 * (2.0 / 4.0));
    close(one_link("both", "FAN 2 FANCAP 2 SHARDS 2", 4), 0.5 * (2.0 - 4_f64.ln()) * 0.5);
    let (code, sentence) =
        client.refused(&words("EG.SPREAD strong K 1 FROM s 1 DECAY 0.99 HOPS 32 BUDGET 10"));
    assert_eq!((code.as_str(), sentence.contains("depth")), ("SYNTAX", true), "{sentence}");
}

#[test]
fn a_recall_with_associations_finds_what_is_similar_to_nothing() {
    let mut stage = Stage::new();
    for space in ["one", "two"] {
        let plain = stage.ask(&format!("EG.RECALL {space} K 5 ID e3 WITH why"));
        let spread = "SPREAD SEEDS 1 WEIGHT 100 DECAY 0.9";
        let with = stage.ask(&format!("EG.RECALL {space} K 5 ID e3 {spread} WITH why"));
        let (plain, found) = (ids(&plain), ids(&with));
        assert_eq!((plain.len(), found.len()), (5, 5));
        assert!(found.contains(&"e4".to_owned()), "the strongest link of e3: {found:?}");
        assert_ne!(plain, found);
        for hit in with.items() {
            let (score, similarity) = (hit.at("score").float(), hit.at("similarity").float());
            let activation = hit.at("activation").float();
            assert!((score - similarity - 100.0 * activation).abs() < 1e-3);
            let tier = hit.at("why").at("tier").text().to_owned();
            assert_eq!(tier == "spread", !hit.at("why").keys().contains(&"beam"));
        }
        let nothing = stage.ask(&format!("EG.RECALL {space} K 5 ID e3 SPREAD WEIGHT 0"));
        assert_eq!(ids(&nothing), plain);
        let exact = stage.ask(&format!("EG.RECALL {space} K 5 ID e3 {spread} EXACT"));
        assert_eq!(ids(&exact)[0], "e4");
        // What is found by association keeps to the conditions too.
        let none = stage.ask(&format!("EG.RECALL {space} K 5 ID e3 {spread} UNTIL 5"));
        assert_eq!(ids(&none), Vec::<String>::new());
    }
}

#[test]
fn what_nothing_is_linked_to_gains_nothing_by_associations() {
    let mut stage = Stage::new();
    for shards in ["1", "2"] {
        let space = format!("alone{shards}");
        stage.ask(&format!("EG.SPACE CREATE {space} DIM 2 SHARDS {shards} DECAY none"));
        for (id, vector) in [("a", "1 0"), ("b", "1 0.1"), ("c", "1 0.2"), ("d", "1 0.3")] {
            stage.ask(&format!("EG.STORE {space} {id} VALUES 2 {vector} TEXT kettle{id}"));
        }
        for is_linked in [false, true] {
            if is_linked {
                // The nearest passes mass on, and is no worse for it.
                stage.ask(&format!("EG.LINK {space} a elsewhere 1"));
            }
            for way in ["", " EXACT", " HOPS 1", " HOPS 0", " BUDGET 0", " DECAY 0.9"] {
                for cue in ["VALUES 2 1 0", "TEXT kettlea", "TEXT kettlea ID b"] {
                    let line = format!("EG.RECALL {space} K 4 {cue} NOREINFORCE");
                    let plain = stage.ask(&line);
                    let with = stage.ask(&format!("{line} SPREAD{way}"));
                    let (plain, found) = (scores(&plain), scores(&with));
                    assert_eq!(plain, found[..plain.len()], "{line}{way}");
                    let mut activations = with.items().iter().map(|hit| hit.at("activation"));
                    assert!(activations.all(|activation| activation.float() == 0.0), "{with:?}");
                }
            }
        }
    }
}

#[test]
fn a_thousand_at_once_answer_as_one_by_one() {
    let mut stage = Stage::new();
    let all: Vec<String> = (0..1000)
        .map(|nth| {
            let space = ["one", "two"][nth % 2];
            let seeds = format!("FROM e{} 1 e{} 0.5", nth % EPISODES, nth / 7 % EPISODES);
            format!("EG.SPREAD {space} K 20 {seeds} WITH why")
        })
        .collect();
    let alone: Vec<Value> = all.iter().map(|line| stage.ask(line)).collect();
    let together: Vec<u8> = all.iter().flat_map(|line| words(line)).collect();
    stage.client.send(&together);
    let together = stage.client.read_many(all.len());
    for (nth, (alone, together)) in alone.iter().zip(&together).enumerate() {
        assert_eq!(alone, together, "{nth}");
    }
}

#[test]
fn what_is_no_spread_is_refused_with_a_reason() {
    let mut stage = Stage::new();
    let too_many = format!("EG.SPREAD one K 1 FROM{}", " e1 1".repeat(257));
    for (line, code, says) in [
        ("EG.SPREAD nosuch K 1 FROM e1 1", "NOSPACE", &["nosuch"][..]),
        ("EG.SPREAD one K 1 FROM e1 1 nobody 1", "NOEPISODE", &["nobody"]),
        ("EG.SPREAD two K 1 FROM e1 1 e2 1 nobody 1", "NOEPISODE", &["nobody"]),
        ("EG.SPREAD one K 0 FROM e1 1", "SYNTAX", &["K", "1", "'0'"]),
        ("EG.SPREAD one FROM e1 1 DECAY 0.5", "SYNTAX", &["K is missing"]),
        ("EG.SPREAD one K 1 HOPS 1 DECAY 0.5", "SYNTAX", &["FROM is missing"]),
        ("EG.SPREAD one K 1 FROM e1", "SYNTAX", &["usage"]),
        ("EG.SPREAD one K 1 FROM e1 NaN", "SYNTAX", &["mass", "'NaN'"]),
        ("EG.SPREAD one K 1 FROM e1 inf", "SYNTAX", &["mass", "'inf'"]),
        ("EG.SPREAD one K 1 FROM e1 -1", "SYNTAX", &["mass", "'-1'"]),
        ("EG.SPREAD one K 1 FROM e1 0", "SYNTAX", &["mass", "'0'"]),
        ("EG.SPREAD one K 1 FROM e1 1 HOPS 33", "SYNTAX", &["HOPS", "32", "'33'"]),
        ("EG.SPREAD one K 1 FROM e1 1 HOPS -1", "SYNTAX", &["HOPS", "'-1'"]),
        ("EG.SPREAD one K 1 FROM e1 1 BUDGET 1000001", "SYNTAX", &["BUDGET", "1000000"]),
        ("EG.SPREAD one K 1 FROM e1 1 DECAY 1", "SYNTAX", &["DECAY", "0.99", "'1'"]),
        ("EG.SPREAD one K 1 FROM e1 1 DECAY -0.1", "SYNTAX", &["DECAY", "'-0.1'"]),
        ("EG.SPREAD one K 1 FROM e1 1 THRESHOLD 0", "SYNTAX", &["THRESHOLD", "'0'"]),
        ("EG.SPREAD one K 1 FROM e1 1 DEADLINE 0", "SYNTAX", &["DEADLINE", "'0'"]),
        ("EG.SPREAD one K 1 FROM e1 1 HOPS 1 HOPS 2", "SYNTAX", &["HOPS", "twice"]),
        // An option that does not exist is a seed's id, and what follows it is no mass.
        ("EG.SPREAD one K 1 FROM e1 1 NOSUCH x", "SYNTAX", &["mass", "'x'"]),
        ("EG.SPREAD one K 1 FROM e1 1 WITH nosuch", "SYNTAX", &["WITH", "nosuch"]),
        ("EG.RECALL one K 1 ID e1 HOPS 1", "SYNTAX", &["need SPREAD"]),
        ("EG.RECALL one K 1 ID e1 SPREAD SEEDS 0", "SYNTAX", &["SEEDS", "'0'"]),
        ("EG.RECALL one K 1 ID e1 SPREAD WEIGHT -1", "SYNTAX", &["WEIGHT", "'-1'"]),
        (&too_many, "TOOBIG", &["seeds", "257", "256"]),
    ] {
        stage.refused(line, code, says);
    }
    // A word of the command can be an id all the same.
    stage.ask("EG.STORE one HOPS VALUES 8 1 2 3 4 5 6 7 8 LINK e1 1");
    let spread = stage.ask("EG.SPREAD one K 1 FROM e5 1 FROM HOPS 1 HOPS 1");
    assert_eq!(hits(&spread)[0].0, "e1");
}

#[test]
fn self_links_cycles_and_hubs_end_within_their_budget() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    client.create_space("notes", 1);
    for id in ["self", "ping", "pong", "hub"] {
        client.ask(&words(&format!("EG.STORE notes {id} VALUES 1 1")));
    }
    for link in ["self self 1", "ping pong 3.4e38", "pong ping 0.0000001"] {
        client.ask(&words(&format!("EG.LINK notes {link}")));
    }
    let links: Vec<u8> =
        (0..16_384).flat_map(|nth| words(&format!("EG.LINK notes hub x{nth} 1 DUR os"))).collect();
    client.send(&links);
    client.read_many(16_384).iter().for_each(|reply| assert!(!reply.is_error()));
    for consolidated in [false, true] {
        if consolidated {
            client.ask(&words("EG.CONSOLIDATE"));
        }
        let mut spread = |line: &str| client.ask(&words(&format!("EG.SPREAD notes {line}")));
        let around = spread("K 3 FROM self 1 ping 1 DECAY 0.99 THRESHOLD 0.000001");
        assert!(around.at("edges").int() <= 4096);
        assert_eq!(hits(&around)[0].0, "pong");
        let hub = spread("K 3 FROM hub 1 BUDGET 100");
        assert_eq!((hub.at("edges").int(), hits(&hub).len()), (100, 0), "its links lead nowhere");
        assert!(hub.at("missing_max").float() > 0.4);
    }
}
