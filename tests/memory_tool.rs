//! `engram complete`, `engram gist` and whom `engram recall` trusts, against a daemon: what goes
//! in, what is shown, and what is refused.

mod common;

use std::process::Output;

use common::{Daemon, Home};
use serde_json::Value;

struct Stage {
    home: Home,
    _daemon: Daemon,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn ids(hits: &Value) -> Vec<&str> {
    hits.as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap()).collect()
}

impl Stage {
    /// Three episodes about a kettle and three about roses.
    fn new() -> Self {
        let home = Home::new();
        let stage = Self { _daemon: home.start(), home };
        stage.show(&["space", "create", "s", "--dim", "4"]);
        stage.store("left", "1 0 1 0", "The kettle stands on the left", &["--writer", "ada"]);
        stage.store("shelf", "1 0.1 0.9 0", "The kettle went to the shelf", &["--writer", "ben"]);
        stage.store("cold", "1 0 0.9 0.1", "Nobody filled the kettle", &[]);
        let told = ["--source", "told", "--confidence", "0.5,0.25,0.75"];
        stage.store("dry", "0 1 0 1", "The roses are dry", &told);
        stage.store("wet", "0 0.9 0.1 1", "Somebody watered the roses", &[]);
        stage.store("late", "0.1 0.9 0 0.9", "The roses came in June", &[]);
        stage
    }

    fn engram(&self, arguments: &[&str]) -> Output {
        common::engram().arg("--socket").arg(self.home.socket()).args(arguments).output().unwrap()
    }

    /// Runs a command that must succeed, and returns what it prints.
    fn show(&self, arguments: &[&str]) -> String {
        let output = self.engram(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.show(&[&["--json"], arguments].concat())).unwrap()
    }

    /// Runs a command that must end with this code, and returns what it complains of.
    fn fail(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.engram(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stderr)
    }

    fn store(&self, id: &str, values: &str, text: &str, more: &[&str]) {
        let store = ["store", "s", id, "--values", values, "--text", text];
        self.show(&[&store, more].concat());
    }
}

#[test]
fn what_a_partial_vector_brings_to_mind_is_shown_with_the_whole_one() {
    let stage = Stage::new();
    let complete = ["complete", "s", "--values", "1 0.05 0 0", "--unknown", "2-3", "-k", "2"];
    let shown = stage.show(&complete);
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].starts_with('#') && lines[0].contains("weight"), "{shown}");
    assert!(lines[1].contains("kettle") && lines[2].contains("kettle"), "{shown}");
    assert!(lines[3].starts_with("settled in "), "{shown}");
    let whole = stage.json(&complete);
    let vector: Vec<f64> =
        whole["vec"].as_array().unwrap().iter().map(|own| own.as_f64().unwrap()).collect();
    assert!(vector[2] > 0.6 && vector[3].abs() < 0.1, "{whole}");
    assert_eq!(whole["settled"], true);
    let weights =
        whole["hits"].as_array().unwrap().iter().map(|hit| hit["score"].as_f64().unwrap());
    assert!((weights.sum::<f64>() - 1.0).abs() < 1e-3, "{whole}");
    // Several ranges, and conditions: nobody may answer but who is sure.
    let roses = ["complete", "s", "--values", "0 1 0 0", "--unknown", "0-0", "--unknown", "2-3"];
    let some = stage.json(&[&roses[..], &["--min-confidence", "0.6"]].concat());
    assert!(!ids(&some["hits"]).contains(&"dry"), "{some}");
    assert!(ids(&stage.json(&roses)["hits"]).contains(&"dry"));

    let strong = stage.show(&[&complete[..], &["--with", "text,strength"]].concat());
    assert!(strong.lines().nth(2).unwrap().ends_with(" 1 presentation"), "{strong}");

    assert!(stage.fail(2, &["complete", "s"]).contains("a completion needs a vector"));
    let ranges = ["3-2", "2-", "-1-2", "a-b"];
    for range in ranges.map(|range| format!("--unknown={range}")) {
        let said = stage.fail(2, &["complete", "s", "--values", "1 0 0 0", &range]);
        assert!(said.contains("range of dimensions"), "{range}: {said}");
    }
    let refused =
        |values, range| stage.fail(1, &["complete", "s", "--values", values, "--unknown", range]);
    assert!(refused("1 0 0", "2-2").contains("(DIM)"));
    assert!(refused("1 0 0 0", "0-3").contains("no dimension that is known"));
    assert!(refused("1 0 0 0", "3-4").contains("(SYNTAX)"));
}

#[test]
fn what_belongs_together_is_shown_as_gists() {
    let stage = Stage::new();
    let gist = ["gist", "s", "--values", "1 0 1 0", "--among", "6", "--alike", "0.9"];
    let gists = stage.json(&gist);
    let sources: Vec<Vec<&str>> =
        gists.as_array().unwrap().iter().map(|own| ids(&own["sources"])).collect();
    assert_eq!(sources.len(), 2, "{gists}");
    for (own, about) in sources.iter().zip([["cold", "left", "shelf"], ["dry", "late", "wet"]]) {
        let mut own = own.clone();
        own.sort_unstable();
        assert_eq!(own, about);
    }
    let shown = stage.show(&gist);
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines.len() == 3 && lines[0].contains("medoid"), "{shown}");
    assert!(lines[1].contains("kettle") && lines[2].contains("roses"), "{shown}");
    let asked = stage.json(&["gist", "s", "--text", "kettle", "--alike", "0.9"]);
    assert_eq!(asked.as_array().unwrap().len(), 1, "{asked}");
    assert!(stage.show(&["gist", "s", "--text", "teapot"]).starts_with("nothing alike in 's'"));

    assert!(stage.fail(2, &["gist", "s"]).contains("a gist needs a cue"));
    assert!(stage.fail(1, &["gist", "nowhere", "--text", "kettle"]).contains("nowhere"));
    for k in ["0", "65"] {
        let said = stage.fail(1, &["gist", "s", "--text", "kettle", "-k", k]);
        assert!(said.contains("from 1 to 64"), "{said}");
    }
}

#[test]
fn what_a_hit_rests_on_is_shown_below_it() {
    let stage = Stage::new();
    stage.show(&["pin", "s", "shelf"]);
    let ask = ["recall", "s", "--text", "Where did the kettle go?", "--no-reinforce", "-k", "2"];
    let plain = stage.show(&ask);
    let shown = stage.show(&[&ask[..], &["--with", "text,strength", "--why"]].concat());
    let (hits, below): (Vec<&str>, Vec<&str>) =
        shown.lines().partition(|line| !line.starts_with("   "));
    assert_eq!(hits, plain.lines().collect::<Vec<_>>(), "the table is the same");
    let hits = stage.json(&[&ask[..], &["--with", "strength", "--why"]].concat());
    assert_eq!((ids(&hits).len(), below.len()), (2, 2), "{shown}");
    for (hit, line) in hits.as_array().unwrap().iter().zip(below) {
        let parts: Vec<&str> = line.trim_start().split(" · ").collect();
        let is_pinned = hit["id"] == "shelf";
        let strength = format!(
            "retention {:.2}, 1 presentation{}",
            hit["strength"]["retention"].as_f64().unwrap(),
            if is_pinned { ", pinned" } else { "" }
        );
        assert_eq!(parts[0], strength);
        let terms = ["words", "near", "time", "stating", "strength", "confidence"];
        let terms = terms.map(|term| format!("{term} {:.2}", hit["why"][term].as_f64().unwrap()));
        assert_eq!(parts[1..], terms);
    }
    let near = ["recall", "s", "--values", "1 0 1 0", "-k", "1", "--exact", "--why"];
    let shown = stage.show(&near);
    assert!(shown.lines().nth(2).unwrap().starts_with("   exact · rows compared "), "{shown}");
}

#[test]
fn only_parts_that_a_command_answers_with_are_offered() {
    let stage = Stage::new();
    let stored = "[possible values: text, vec, meta, links, strength]";
    let all = "[possible values: text, vec, meta, links, strength, belief, why]";
    for (command, offered) in [
        (&["get", "s", "left"][..], stored),
        (&["watch", "s"], stored),
        (&["complete", "s", "--values", "1 0 0 0", "--unknown", "2-3"], stored),
        (&["recall", "s", "--values", "1 0 0 0"], all),
        (&["spread", "s", "--from", "left"], all),
    ] {
        let help = stage.show(&[command[0], "--help"]);
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(help.contains(offered), "{help}");
        assert_eq!(help.contains("--why"), offered == all, "{help}");
        if offered == all {
            stage.show(&[command, &["--with", "belief,why,text,vec,meta,links,strength"]].concat());
            continue;
        }
        for part in ["belief", "why"] {
            let said = stage.fail(2, &[command, &["--with", part]].concat());
            assert!(said.contains(&format!("invalid value '{part}'")), "{said}");
        }
        if command[0] != "watch" {
            stage.show(&[command, &["--with", "text,vec,meta,links,strength"]].concat());
        }
    }
}

#[test]
fn whom_you_trust_decides_what_you_believe_and_what_is_recalled() {
    let stage = Stage::new();
    let recall = ["recall", "s", "--values", "1 1 1 1", "--with", "belief", "--trust"];
    let recall = |more: &[&str]| stage.json(&[&recall, more].concat());
    let trusts = |hits: &Value| -> Vec<(String, f64)> {
        let trust = |hit: &Value| {
            (hit["id"].as_str().unwrap().to_owned(), hit["belief"]["trust"].as_f64().unwrap())
        };
        let mut trusts: Vec<_> = hits.as_array().unwrap().iter().map(trust).collect();
        trusts.sort_by(|a, b| a.0.cmp(&b.0));
        trusts
    };
    let known = |told: [f64; 6]| -> Vec<(String, f64)> {
        let ids = ["cold", "dry", "late", "left", "shelf", "wet"].map(str::to_owned);
        ids.into_iter().zip(told).collect()
    };
    let some = recall(&["writer:ada=0.5", "--trust", "source:told=0.25"]);
    assert_eq!(trusts(&some), known([1.0, 0.25, 1.0, 0.5, 1.0, 1.0]));
    let others = recall(&["writer:ada=0.5", "--trust", "*=0.125"]);
    assert_eq!(trusts(&others), known([0.125, 0.125, 0.125, 0.5, 0.125, 0.125]));
    // Who stored them all is this user, whatever they say.
    let uid = stage.json(&["get", "s", "dry"])["writer_uid"].as_i64().unwrap();
    let user = |uid: i64| recall(&[format!("uid:{uid}=0.5").as_str(), "--trust", "*=0.25"]);
    assert_eq!(trusts(&user(uid)), known([0.5; 6]));
    assert_eq!(trusts(&user(uid + 1)), known([0.25; 6]));
    // What was stored stays; the interval discounted by trust decides who is recalled.
    let dry = |hits: &Value| {
        let hit = hits.as_array().unwrap().iter().find(|hit| hit["id"] == "dry").unwrap().clone();
        (hit["confidence"].clone(), hit["belief"]["low"].as_f64().unwrap())
    };
    let (stored, low) = dry(&some);
    assert_eq!(stored, serde_json::json!([0.5, 0.25, 0.75]));
    assert!(low <= 0.25 * 0.25, "{low}");
    let sure = recall(&["writer:ada=0.5", "--min-trust", "0.6"]);
    let mut left = ids(&sure);
    left.sort_unstable();
    assert_eq!(left, ["cold", "late", "shelf", "wet"]);
    let shown = stage.show(&["recall", "s", "--values", "1 0 1 0", "--with", "belief"]);
    assert!(shown.contains("belief ") && shown.contains(", 1.00]"), "{shown}");

    for whom in ["ada=.5", "writer:ada", "reader:ada=1", "writer:ada=much", "uid:ada=1"] {
        let said = stage.fail(2, &["recall", "s", "--values", "1 0 1 0", "--trust", whom]);
        assert!(said.contains("--trust"), "{whom}: {said}");
    }
    for whom in ["writer:ada=1.5", "*=-0.5", "writer:ada=NaN"] {
        let said = stage.fail(1, &["recall", "s", "--values", "1 0 1 0", "--trust", whom]);
        assert!(said.contains("trust must be"), "{whom}: {said}");
    }
}
