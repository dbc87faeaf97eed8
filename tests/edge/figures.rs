//! What machines read: `/metrics` and the description.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};

use crate::command;
use crate::common::{Reply, eventually};
use crate::http::{Http, request};
use crate::routes::{Stage, assert_same, furnish, json_of};

/// Samples by name and labels; every line is one or a comment, and every family is announced.
fn scrape(http: &mut Http) -> BTreeMap<String, f64> {
    let answer = http.get("/metrics");
    assert!(answer.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let (mut samples, mut families) = (BTreeMap::new(), BTreeMap::new());
    for line in answer.text().lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(families.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
        } else if !line.starts_with("# HELP engram_") {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let bare = name.split('{').next().unwrap();
            let of_histogram = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| families.get(bare.strip_suffix(suffix)?));
            let kind = families.get(bare).or(of_histogram).unwrap_or_else(|| panic!("{line}"));
            assert_eq!(kind == "counter", bare.ends_with("_total"), "{line}");
            let value: f64 = value.parse().unwrap();
            assert!(samples.insert(name.to_owned(), value).is_none(), "{name} twice");
        }
    }
    samples
}

#[test]
fn figures_are_those_of_the_daemon() {
    let mut stage = Stage::furnished();
    let Stage { http, .. } = &mut stage;
    let before = scrape(http);
    let sum = |samples: &BTreeMap<String, f64>, name: &str| -> f64 {
        let of = format!("engram_{name}{{shard=");
        samples.iter().filter(|(have, _)| have.starts_with(&of)).map(|(_, value)| value).sum()
    };
    assert_eq!(sum(&before, "episodes"), 12.0);
    assert_eq!(sum(&before, "stores_total"), 12.0);
    assert_eq!(before["engram_ready"], 1.0);
    assert_eq!(before["engram_http_requests_open"], 1.0);
    http.post("/v1/spaces/notes/recall", &json!({ "k": 1, "cues": [{ "vec": [1] }] })).problem();
    let body = json!({ "k": 1, "cues": [{ "id": "1" }] });
    (0..3).for_each(|_| drop(http.post("/v1/spaces/notes/recall", &body).ok()));
    http.post("/v1/batch", &json!([{ "op": "ping" }, { "op": "ping" }])).ok();
    let after = scrape(http);
    let refused = |samples: &BTreeMap<String, f64>| -> f64 {
        let is_dim = |name: &str| name.starts_with("engram_refusals_total") && name.contains("DIM");
        samples.iter().filter(|(name, _)| is_dim(name)).map(|(_, value)| value).sum()
    };
    assert_eq!(refused(&after) - refused(&before), 1.0);
    let count = |samples: &_| sum(samples, "recall_seconds_count");
    assert_eq!(count(&after) - count(&before), 6.0, "three recalls on two shards");
    assert_eq!(after[r#"engram_http_responses_total{status="400"}"#], 1.0);
    assert_eq!(after["engram_batch_operations_total"], 2.0);
    for shard in ["0", "1"] {
        let bucket = |end: &str| {
            after[&format!("engram_commit_seconds_bucket{{shard=\"{shard}\",le=\"{end}\"}}")]
        };
        let ends = ["0.000005", "0.001", "0.1", "10", "+Inf"];
        assert!(ends.windows(2).all(|two| bucket(two[0]) <= bucket(two[1])));
        assert_eq!(
            bucket("+Inf"),
            after[&format!("engram_commit_seconds_count{{shard=\"{shard}\"}}")]
        );
    }
}

#[test]
fn lanes_and_streams_have_their_figures() {
    let mut stage = Stage::furnished();
    let Stage { daemon, http, resp, .. } = &mut stage;
    let of = |samples: &BTreeMap<String, f64>, name: &str| -> f64 {
        let is_it = |have: &str| {
            have.strip_prefix("engram_").is_some_and(|have| have.split('{').next() == Some(name))
        };
        let found: Vec<f64> =
            samples.iter().filter(|(have, _)| is_it(have)).map(|(_, value)| *value).collect();
        assert!(!found.is_empty(), "{name}");
        found.iter().sum()
    };
    let before = scrape(http);
    for lane in ["high", "normal", "low"] {
        for shard in [0, 1] {
            let sample = |name: &str| {
                before[&format!("engram_lane_{name}{{shard=\"{shard}\",lane=\"{lane}\"}}")]
            };
            assert_eq!(sample("capacity_units"), 4096.0);
            assert!(sample("depth_units") <= sample("depth_max_units"));
            assert_eq!(sample("refused_total"), 0.0);
        }
    }
    let low = |samples: &BTreeMap<String, f64>| -> f64 {
        let is_low = |name: &&String| {
            name.starts_with("engram_lane_served_total{") && name.ends_with("lane=\"low\"}")
        };
        samples.iter().filter(|(name, _)| is_low(name)).map(|(_, value)| value).sum()
    };
    let body = json!({ "vec": [1, 2, 3], "priority": "low" });
    (0..3).for_each(|_| drop(http.post("/v1/spaces/notes/episodes", &body).ok()));

    let mut watching = Http::new(daemon);
    watching.send(&request("GET", "/v1/watch?space=notes&from=0", &[], b""));
    assert_eq!(watching.try_read_head().unwrap().status, 200);
    assert!(watching.try_chunk().unwrap().is_some());
    let opened = resp.ask(&command!["EG.OBSERVE", "OPEN", "notes"]);
    let stream = opened.at("stream").int().to_string();
    resp.send(&command!["EG.OBSERVE", stream, "*", "VALUES", "3", "1", "2", "3"]);
    eventually("all figures have come", || {
        let after = scrape(http);
        let figures = ["streams_open", "observations_total", "watches_open", "http_watches_open"]
            .map(|name| of(&after, name));
        figures == [1.0; 4]
            && of(&after, "episodes_pushed_total") == 16.0
            && of(&after, "watches_cut_total") == 0.0
            && low(&after) - low(&before) == 3.0
    });
}

#[test]
fn what_took_long_is_told_as_on_the_socket() {
    let mut stage = Stage::with(&["slowlog_us=0"]);
    let Stage { http, resp, .. } = &mut stage;
    furnish(http, resp);
    let length = http.get("/v1/slowlog/length").ok()["length"].as_u64().unwrap();
    assert!(length > 12, "{length}");
    let newest = http.get("/v1/slowlog?count=3").ok();
    assert_eq!(newest["commands"].as_array().unwrap().len(), 3);
    let told = json_of(&resp.ask(&command!["EG.SLOWLOG", "GET", "100"]));
    let is_it = |command: &&Value| command["id"] == newest["commands"][1]["id"];
    assert_same(&newest["commands"][1], told.as_array().unwrap().iter().find(is_it).unwrap());
    assert_eq!(http.delete("/v1/slowlog").ok()["status"], "OK");

    let told = json_of(&resp.ask(&command!["EG.LATENCY", "GET", "eg.store", "commit"]));
    assert_same(&http.get("/v1/latency?names=eg.store,commit").ok(), &told);
    let told = json_of(&resp.ask(&command!["EG.LATENCY", "HISTOGRAM", "eg.store"]));
    assert_same(&http.get("/v1/latency/histogram?names=eg.store").ok(), &told);
    assert_eq!(told["eg.store"]["calls"], 12);
    assert_eq!(http.delete("/v1/latency?names=eg.store").ok()["commands"], 1);
    assert_eq!(http.get("/v1/latency?names=eg.store").ok(), json!({}));
    assert_eq!(http.get("/v1/slowlog?count=0").problem(), (400, "SYNTAX".into()));
}

#[test]
fn what_is_described_is_there() {
    let mut stage = Stage::furnished();
    let Stage { http, .. } = &mut stage;
    let description = http.get("/v1/openapi.json").ok();
    assert_eq!(description["openapi"], "3.1.0");
    let mut names = HashSet::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            assert!(names.insert(operation["operationId"].as_str().unwrap().to_owned()));
            assert!(operation["responses"]["200"].is_object(), "{method} {path}");
            // About nothing that is there, so that nothing goes.
            let path = path.replace("{space}", "nowhere").replace("{id}", "nobody");
            let is_harmless =
                !["/v1/consolidate", "/v1/snapshots", "/v1/stats/reset"].contains(&path.as_str());
            if is_harmless {
                let answer = http.call(&method.to_uppercase(), &path, &[]);
                let told = if answer.status == 200 { String::new() } else { answer.problem().1 };
                assert!(!["NOROUTE", "METHOD", "GARBLED"].contains(&&*told), "{method} {path}");
            }
        }
    }
    assert!(names.len() >= 29, "{names:?}");
}
