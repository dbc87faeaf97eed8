//! What time and use make of episodes, through the socket: presentations, pins, recalls, models,
//! and that all of it survives restarts, consolidations and replays. Years pass between two starts.

mod common;

use common::episodes::{blob, vector};
use common::{Client, Daemon, Home, Reply, eventually};
use redis::Value;

const DIMENSIONS: usize = 4;
const DAY_S: u64 = 86_400;

struct Stage {
    home: Home,
    daemon: Daemon,
    client: Client,
    /// How far the daemon's clock is ahead.
    ahead_s: u64,
}

impl Stage {
    fn new() -> Self {
        let home = Home::new();
        let daemon = home.start();
        let client = daemon.client();
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
    }

    fn create(&mut self, space: &str, decay: &str) {
        let words = command!["EG.SPACE", "CREATE", space, "DIM", "4", "DECAY", decay];
        self.client.ask(&words);
    }

    fn store(&mut self, space: &str, id: &str, number: u64) {
        let blob = blob(&vector(number, DIMENSIONS));
        self.client.ask(&command!["EG.STORE", space, id, "VEC", blob]);
    }

    fn strength(&mut self, space: &str, id: &str) -> Value {
        let got = self.client.ask(&command!["EG.GET", space, id, "WITH", "strength"]);
        got.at("strength").clone()
    }

    fn retention(&mut self, space: &str, id: &str) -> f64 {
        self.strength(space, id).at("retention").float()
    }

    fn presentations(&mut self, space: &str, id: &str) -> i64 {
        self.strength(space, id).at("presentations").int()
    }

    /// What is nearest to a stored vector.
    fn recall(&mut self, space: &str, number: u64, k: usize, options: &[&str]) -> Vec<String> {
        let blob = blob(&vector(number, DIMENSIONS));
        let k = k.to_string();
        let mut words = vec![b"EG.RECALL".to_vec(), space.into(), b"K".to_vec(), k.into()];
        words.extend([b"VEC".to_vec(), blob]);
        words.extend(options.iter().map(|option| option.as_bytes().to_vec()));
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let hits = self.client.ask(&common::client::encode(&words));
        hits.items().iter().map(|hit| hit.at("id").text().to_owned()).collect()
    }
}

/// Retention of one presentation under the power model.
fn power(seconds: f64) -> f64 {
    1.0 - (-2.86 * seconds.powf(-0.177)).exp()
}

#[test]
fn memories_fade_by_the_model_of_their_space() {
    let mut stage = Stage::new();
    for (nth, decay) in ["power", "two", "604800", "none"].into_iter().enumerate() {
        stage.create(decay, decay);
        stage.store(decay, "e", nth as u64);
        let info = stage.client.ask(&command!["EG.SPACE", "INFO", decay]);
        assert_eq!(info.at("decay").text(), decay);
    }
    for day in [1_u64, 7, 31, 3650] {
        stage.pass(day * DAY_S - stage.ahead_s);
        let seconds = (day * DAY_S) as f64;
        let week = 1.0 - (-3.0 * 0.5_f64.powf(day as f64 / 7.0)).exp();
        let two = 0.7 * (-seconds / 2981.0).exp() + 0.4 * (-seconds / 4_197_000.0).exp();
        for (space, wanted) in [
            ("power", power(seconds)),
            ("two", 1.0 - (-two).exp()),
            ("604800", week),
            ("none", 1.0),
        ] {
            let got = stage.retention(space, "e");
            assert!((got - wanted).abs() < 0.02, "{space} after {day} days: {got}, {wanted}");
        }
        let level = stage.strength("power", "e").at("base_level").float();
        assert!((level + 0.177 * seconds.ln()).abs() < 0.04, "{day} days: {level}");
        assert_eq!(*stage.strength("none", "e").at("base_level"), Value::Nil);
    }
}

#[test]
fn presentations_and_pins_survive_kills_and_consolidations() {
    let mut stage = Stage::new();
    stage.create("notes", "power");
    for (nth, id) in ["used", "pinned", "unpinned", "left", "gone"].into_iter().enumerate() {
        stage.store("notes", id, nth as u64);
    }
    stage.pass(DAY_S);
    let faded = stage.retention("notes", "used");
    let answer = stage.client.ask(&command!["EG.REINFORCE", "notes", "used"]);
    let strength = answer.at("strength");
    assert!(answer.at("seq").int() > 0 && strength.at("retention").float() > 2.0 * faded);
    assert_eq!(strength.at("presentations").int(), 2);
    for id in ["pinned", "unpinned", "gone"] {
        let answer = stage.client.ask(&command!["EG.PIN", "notes", id, "DUR", "os"]);
        let strength = answer.at("strength");
        assert_eq!(strength.at("pinned"), &Value::Int(1), "{id}");
        assert_eq!(
            (strength.at("retention").float(), strength.at("presentations").int()),
            (1.0, 1)
        );
    }
    stage.client.ask(&command!["EG.UNPIN", "notes", "unpinned"]);
    stage.client.ask(&command!["EG.ERASE", "notes", "gone"]);
    // A store of the same id is another memory.
    stage.store("notes", "gone", 4);

    let expect = |stage: &mut Stage, when: &str| {
        let ids = ["used", "pinned", "unpinned", "left", "gone"];
        let strengths = ids.map(|id| stage.strength("notes", id));
        let counts = strengths.each_ref().map(|strength| strength.at("presentations").int());
        assert_eq!(counts, [2, 1, 1, 1, 1], "{when}");
        let pinned = strengths.each_ref().map(|strength| strength.at("pinned").int());
        assert_eq!(pinned, [0, 1, 0, 0, 0], "{when}");
        let [used, pinned, unpinned, left, _] =
            strengths.map(|strength| strength.at("retention").float());
        assert!(pinned == 1.0 && used > unpinned && unpinned == left, "{when}");
    };
    expect(&mut stage, "at once");
    stage.pass(DAY_S);
    expect(&mut stage, "replayed");
    stage.client.ask(&command!["EG.CONSOLIDATE"]);
    expect(&mut stage, "consolidated");
    stage.pass(DAY_S);
    expect(&mut stage, "from the state file");
    // Of three presentations one is in the state file, one only in the log.
    stage.client.ask(&command!["EG.REINFORCE", "notes", "left"]);
    stage.pass(DAY_S);
    assert_eq!(stage.presentations("notes", "left"), 2);
    stage.client.ask(&command!["EG.CONSOLIDATE"]);
    stage.client.ask(&command!["EG.REINFORCE", "notes", "left"]);
    stage.pass(DAY_S);
    assert_eq!(stage.presentations("notes", "left"), 3);

    for name in ["EG.REINFORCE", "EG.PIN", "EG.UNPIN"] {
        assert_eq!(stage.client.ask(&command![name, "notes", "nobody"]), Value::Nil, "{name}");
        assert_eq!(stage.client.refused(&command![name, "nowhere", "e"]).0, "NOSPACE");
        let (code, text) = stage.client.refused(&command![name, "notes", ""]);
        assert!(code == "SYNTAX" && text.contains("id"), "{text}");
        let (code, text) = stage.client.refused(&command![name, "notes", "e", "DUR", "never"]);
        assert!(code == "SYNTAX" && text.contains("never"), "{text}");
    }
}

#[test]
fn being_recalled_is_a_presentation_unless_one_only_looks() {
    let mut stage = Stage::new();
    stage.create("notes", "power");
    (0..6).for_each(|number| stage.store("notes", &format!("e{number}"), number));
    stage.pass(DAY_S);
    let looked_at = stage.recall("notes", 0, 2, &["NOREINFORCE"]);
    let recalled = stage.recall("notes", 3, 2, &[]);
    let is_counted =
        |stage: &mut Stage| recalled.iter().all(|id| stage.presentations("notes", id) == 2);
    eventually("the recall is logged", || is_counted(&mut stage));
    for id in (0..6).map(|number| format!("e{number}")) {
        let expected = if recalled.contains(&id) { 2 } else { 1 };
        assert_eq!(stage.presentations("notes", &id), expected, "{id}, {looked_at:?}");
    }
    let stats = stage.client.ask(&command!["EG.STATS"]);
    assert_eq!((stats.at("recalls_logged").int(), stats.at("recalls_lost").int()), (2, 0));
    stage.pass(DAY_S);
    assert!(is_counted(&mut stage), "it is in the log");

    // Two years later what was used again and again is what is remembered.
    for _ in 0..5 {
        stage.pass(30 * DAY_S);
        stage.client.ask(&command!["EG.REINFORCE", "notes", "e0"]);
    }
    stage.pass(600 * DAY_S);
    let (used, left) = (stage.retention("notes", "e0"), stage.retention("notes", "e5"));
    assert!(used > 2.0 * left, "{used} {left}");
}

#[test]
fn answers_tell_strength_where_it_is_asked_for() {
    let mut stage = Stage::new();
    stage.create("notes", "none");
    (0..3).for_each(|number| stage.store("notes", &format!("e{number}"), number));
    let cue = blob(&vector(1, DIMENSIONS));
    let recall = command!["EG.RECALL", "notes", "K", "3", "VEC", cue, "WITH", "strength"];
    let scan = command!["EG.SCAN", "notes", "WITH", "strength"];
    let spread = command!["EG.SPREAD", "notes", "K", "3", "FROM", "e0", "1", "WITH", "strength"];
    let link = command!["EG.LINK", "notes", "e0", "e1", "1"];
    stage.client.ask(&link);
    let mut all = stage.client.ask(&recall).items().to_vec();
    let mut cursor = "0".to_owned();
    loop {
        let scanned =
            stage.client.ask(&command!["EG.SCAN", "notes", "CURSOR", cursor, "WITH", "strength"]);
        all.extend(scanned.items()[1].items().to_vec());
        cursor = scanned.items()[0].text().to_owned();
        if cursor == "0" {
            break;
        }
    }
    assert!(!stage.client.ask(&scan).items().is_empty());
    all.extend(stage.client.ask(&spread).at("hits").items().to_vec());
    assert!(all.len() >= 7, "{all:?}");
    for episode in &all {
        let keys = episode.at("strength").keys();
        let expected = ["retention", "base_level", "presentations", "last_presented_at", "pinned"];
        assert_eq!(keys, expected);
        assert_eq!(episode.at("strength").at("retention").float(), 1.0);
    }
    let got = stage.client.ask(&command!["EG.GET", "notes", "e0"]);
    assert!(!got.keys().contains(&"strength"), "nobody asked");
}

#[test]
fn what_has_faded_or_is_doubted_answers_less_but_answers() {
    let mut stage = Stage::new();
    stage.create("notes", "604800");
    let mut tell = |id: &str, at_days: u64, confidence: &str| {
        let at = (at_days * DAY_S * 1_000_000).to_string();
        let cue = blob(&vector(1, DIMENSIONS));
        let text = "the kettle is in the kitchen";
        stage.client.ask(&command![
            "EG.STORE", "notes", id, "VEC", cue, "TEXT", text, "AT", at, "CONF", confidence
        ]);
    };
    // Alike but for when they happened, half a century apart, and how sure one was.
    tell("old", 1, "1");
    tell("used", 1, "1");
    tell("doubted", 1, "0.5");
    stage.client.ask(&command!["EG.PIN", "notes", "used"]);
    let mut ask = |more: &[&str]| {
        let mut words: Vec<&[u8]> = vec![b"EG.RECALL", b"notes", b"K", b"3", b"TEXT", b"kettle"];
        words.extend(more.iter().map(|word| word.as_bytes()));
        words.extend([&b"NOREINFORCE"[..], b"WITH", b"why"]);
        let hits = stage.client.ask(&common::client::encode(&words));
        let term = |hit: &Value, name: &str| hit.at("why").at(name).float();
        let hit = |hit: &Value| {
            let id = hit.at("id").text().to_owned();
            (id, hit.at("score").float(), term(hit, "strength"), term(hit, "confidence"))
        };
        hits.items().iter().map(hit).collect::<Vec<_>>()
    };
    let close = |got: f64, wanted: f64| (got - wanted).abs() < 1e-5;
    let usual = ask(&[]);
    let [used, old, doubted] = &usual[..] else { panic!("{usual:?}") };
    assert_eq!((&used.0[..], &old.0[..], &doubted.0[..]), ("used", "old", "doubted"));
    assert!(close(used.2, 1.0) && close(old.2, 0.8) && close(doubted.2, 0.8), "{usual:?}");
    assert!(close(used.3, 1.0) && close(old.3, 1.0) && close(doubted.3, 0.75), "{usual:?}");
    assert!(close(old.1, used.1 * 0.8) && close(doubted.1, old.1 * 0.75), "{usual:?}");
    let alike = ask(&["WEIGHTS", "0.85", "1", "0.8", "0", "0"]);
    assert!(alike.iter().all(|hit| close(hit.1, alike[0].1)), "{alike:?}");
    let strict = ask(&["WEIGHTS", "0.85", "1", "0.8", "1", "1"]);
    assert!(strict[0].0 == "used" && strict[1..].iter().all(|hit| hit.1 < 1e-5), "{strict:?}");
    assert_eq!(strict.len(), 3, "as many as there are");
}
