//! What is wrong gets its status and its code, and nothing else happens.

use serde_json::{Value, json};

use crate::command;
use crate::common::{Home, Reply};
use crate::http::{Answer, Http, request};
use crate::routes::Stage;

#[test]
fn every_refusal_has_the_code_of_resp_and_its_status() {
    let mut stage = Stage::furnished();
    let Stage { http, resp, .. } = &mut stage;
    let recall = |cue: Value| json!({ "k": 1, "cues": [cue] });
    let long = "x".repeat((1 << 20) + 1);
    for (path, body, status, code) in [
        ("/v1/spaces/nowhere/recall", recall(json!({ "id": "0" })), 404, "NOSPACE"),
        ("/v1/spaces/notes/recall", recall(json!({ "id": "nobody" })), 404, "NOEPISODE"),
        ("/v1/spaces/notes/recall", recall(json!({ "vec": [1, 2] })), 400, "DIM"),
        ("/v1/spaces/notes/recall", recall(json!({ "vec": [0, 0, 0] })), 400, "BADVEC"),
        ("/v1/spaces/notes/recall", recall(json!({ "vec": [1e39, 0, 0] })), 400, "SYNTAX"),
        ("/v1/spaces/notes/recall", recall(json!({ "vec": [] })), 400, "BADVEC"),
        ("/v1/spaces/notes/recall", json!({ "k": 0, "cues": [{ "id": "0" }] }), 400, "SYNTAX"),
        ("/v1/spaces/notes/recall", json!({ "k": 4097, "cues": [{ "id": "0" }] }), 400, "SYNTAX"),
        ("/v1/spaces/notes/recall", json!({ "k": 1, "cues": [] }), 400, "SYNTAX"),
        ("/v1/spaces/notes/recall", json!({ "k": 1 }), 400, "SYNTAX"),
        ("/v1/spaces/notes/recall", json!([]), 400, "SYNTAX"),
        ("/v1/spaces/notes/recall", recall(json!({ "id": "0", "vec": [1] })), 400, "SYNTAX"),
        ("/v1/spaces/notes/episodes", json!({ "vec": [1, 2, 3], "text": long }), 413, "TOOBIG"),
        ("/v1/spaces/notes/episodes", json!({ "vec": vec![1; 4097] }), 413, "TOOBIG"),
        ("/v1/spaces/notes/episodes", json!({ "vec": [1, 2, 3], "meta": [] }), 400, "SYNTAX"),
        (
            "/v1/spaces/notes/links",
            json!({ "from": "x", "to": "0", "weight": 1 }),
            404,
            "NOEPISODE",
        ),
        ("/v1/snapshots", json!({ "path": "/proc/copy" }), 500, "SNAPSHOT"),
    ] {
        let problem = http.post(path, &body).problem();
        assert_eq!(problem, (status, code.to_owned()), "{path} {:.40}", body.to_string());
    }
    for (method, path, status, code) in [
        ("GET", "/v1/spaces/notes/episodes/nobody", 404, "NOEPISODE"),
        ("GET", "/v1/spaces/notes/episodes/0?with=why", 400, "SYNTAX"),
        ("GET", "/v1/spaces/notes/episodes/0?wiht=text", 400, "SYNTAX"),
        ("GET", "/v1/spaces/notes/episodes/0?vectors=hex", 400, "SYNTAX"),
        ("GET", "/v1/spaces/notes/episodes?count=0", 400, "SYNTAX"),
        ("GET", "/v1/spaces/notes/episodes?cursor=x", 400, "SYNTAX"),
        ("GET", "/v1/spaces/%ff", 400, "SYNTAX"),
        ("GET", "/v1/spaces/a%00b", 400, "SYNTAX"),
        ("DELETE", "/v1/spaces/notes/links?from=0", 400, "SYNTAX"),
        ("GET", "/v1/nothing", 404, "NOROUTE"),
        ("GET", "/v2", 404, "NOROUTE"),
        ("GET", "/dashboard/", 404, "NOROUTE"),
        ("GET", "/v1/spaces/", 404, "NOROUTE"),
        ("PATCH", "/v1/spaces/notes", 405, "METHOD"),
        ("OPTIONS", "*", 404, "NOROUTE"),
    ] {
        let problem = http.call(method, path, &[]).problem();
        assert_eq!(problem, (status, code.to_owned()), "{method} {path}");
    }
    let space = resp.ask(&command!["EG.SPACE", "INFO", "notes"]);
    assert_eq!(space.at("episodes").int(), 12, "nothing was stored meanwhile");
}

#[test]
fn a_body_has_to_be_json_and_to_say_so() {
    let mut stage = Stage::furnished();
    let Stage { http, .. } = &mut stage;
    let path = "/v1/spaces/notes/recall";
    let body = br#"{"k":1,"cues":[{"id":"0"}]}"#;
    for (kind, status) in [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("\u{fc}", 415),
    ] {
        http.send(&request("POST", path, &[("content-type", kind)], body));
        assert_eq!(http.read().status, status, "{kind}");
    }
    // Who does not say what it is means JSON.
    http.send(&request("POST", path, &[], body));
    assert_eq!(http.read().status, 200);
    for body in [&b"{"[..], b"{}x", b"\xff", b"{\"k\":1,\"k\":1}", b"nul", b"[[[["] {
        http.send(&request("POST", path, &[], body));
        assert_eq!(http.read().problem(), (400, "SYNTAX".into()), "{}", body.escape_ascii());
    }
    let deep = "[".repeat(100_000);
    http.send(&request("POST", path, &[], deep.as_bytes()));
    assert_eq!(http.read().problem(), (400, "SYNTAX".into()));
    http.send(&request("POST", path, &[], b""));
    assert_eq!(http.read().problem(), (400, "SYNTAX".into()));
}

#[test]
fn pages_of_other_sites_may_not_ask() {
    let mut stage = Stage::furnished();
    let Stage { http, resp, .. } = &mut stage;
    let store = json!({ "vec": [1, 2, 3] }).to_string();
    for (site, is_allowed) in [
        ("same-origin", true),
        ("none", true),
        ("cross-site", false),
        ("same-site", false),
        ("whatever", false),
        ("", false),
    ] {
        let headers = [("sec-fetch-site", site)];
        for path in [
            "/",
            "/dashboard/main.js",
            "/v1/spaces",
            "/metrics",
            "/v1/openapi.json",
            "/v1/nothing",
            "/v1/watch?space=nowhere",
        ] {
            let answer = http.call("GET", path, &headers);
            let is_refused = answer.status == 403;
            assert_eq!(is_refused, !is_allowed, "{path} from {site:?}");
            if is_refused {
                assert_eq!(answer.problem(), (403, "ORIGIN".into()));
            }
        }
        for path in ["/healthz", "/readyz"] {
            assert_eq!(http.call("GET", path, &headers).status, 200, "{path} from {site:?}");
        }
        // A form needs no leave of the browser to be sent.
        http.send(&request("PUT", "/v1/spaces/notes/episodes/x", &headers, store.as_bytes()));
        assert_eq!(http.read().status == 200, is_allowed, "{site:?}");
        let there = resp.ask(&command!["EG.FORGET", "notes", "x"]);
        assert_eq!(there != redis::Value::Nil, is_allowed, "{site:?}");
    }
}

#[test]
fn who_takes_no_writes_says_so_and_goes_on_reading() {
    let home = Home::new();
    let settings = ["crash_loop_starts=2", "crash_loop_seconds=86400"];
    for nth in 0..2 {
        let daemon = home.start_with(&settings);
        if nth == 0 {
            let mut http = Http::new(&daemon);
            http.put("/v1/spaces/notes", &json!({ "dim": 1 })).ok();
            http.put("/v1/spaces/notes/episodes/a", &json!({ "vec": [1] })).ok();
        }
        daemon.kill();
    }
    let daemon = home.start_with(&settings);
    let mut http = Http::new(&daemon);
    let refused = |answer: Answer| {
        assert_eq!(answer.problem(), (503, "READONLY".into()));
        // It does not get better by itself.
        assert_eq!(answer.header("retry-after"), None);
    };
    let episode = json!({ "vec": [1] });
    refused(http.put("/v1/spaces/notes/episodes/b", &episode));
    refused(http.post("/v1/spaces/notes/episodes", &episode));
    refused(http.delete("/v1/spaces/notes/episodes/a"));
    refused(http.post("/v1/spaces/notes/episodes/a/erase", &json!({})));
    refused(http.post("/v1/spaces/notes/links", &json!({ "from": "a", "to": "a", "weight": 1 })));
    refused(http.delete("/v1/spaces/notes/links?from=a&to=a"));
    refused(http.put("/v1/spaces/more", &json!({ "dim": 1 })));
    refused(http.delete("/v1/spaces/notes"));
    refused(http.post("/v1/consolidate", &json!({})));
    let items = http.post("/v1/spaces/notes/mstore", &json!({ "items": [episode, episode] })).ok();
    for item in items["results"].as_array().unwrap() {
        let problem = &item["problem"];
        assert_eq!((&problem["status"], &problem["code"]), (&json!(503), &json!("READONLY")));
    }
    let store = json!({ "op": "store", "space": "notes", "body": episode });
    let batch = http.post("/v1/batch", &json!([store])).ok();
    assert_eq!(batch["results"][0]["status"], 503);
    assert_eq!(batch["results"][0]["body"]["code"], "READONLY");
    assert_eq!(http.get("/v1/spaces/notes/episodes/a").ok()["id"], "a");
    let ready = http.get("/readyz");
    assert_eq!((ready.status, &ready.json()["status"]), (503, &json!("read_only")));
    let detail = ready.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("starts"), "{detail}");
    assert_eq!(http.get("/healthz").status, 200);
}
