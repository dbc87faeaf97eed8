//! Many operations in one request: results in order and as those of singles; who does not read
//! stops his own batch, who hangs up ends it.

use std::fs;

use serde_json::{Value, json};

use crate::command;
use crate::common::{self, Client, Daemon, Reply};
use crate::http::{Answer, Event, Http, events, request};
use crate::routes::Stage;

const JSON: (&str, &str) = ("content-type", "application/json");
const LINES: (&str, &str) = ("content-type", "application/x-ndjson");
const EVENTS: (&str, &str) = ("accept", "text/event-stream");

/// Operations of all kinds, some of them wrong.
fn mixed() -> Vec<Value> {
    let store = |id: &str, vec: Value| {
        let body = json!({ "vec": vec });
        json!({ "op": "store_as", "space": "notes", "id": id, "body": body })
    };
    let get = |id: &str| json!({ "op": "get", "space": "notes", "id": id });
    vec![
        store("new", json!([1, 2, 3])),
        get("new"),
        store("new", json!([1, 2])),
        json!({ "op": "forget", "space": "notes", "id": "new" }),
        get("new"),
        // It waits for the writes before it.
        json!({ "op": "recall", "space": "notes", "body": { "k": 2, "cues": [{ "id": "1" }] } }),
        json!({ "op": "nonsense" }),
        json!(17),
        json!({ "op": "get", "space": "notes" }),
        json!({ "op": "get", "space": "notes", "id": "1", "extra": 1 }),
        json!({ "op": "link", "space": "notes", "body": { "from": "1", "to": "9", "weight": 1 } }),
        json!({ "op": "mget", "space": "notes", "body": { "ids": ["1"], "vectors": "array" } }),
        json!({ "op": "list_spaces" }),
        json!({ "op": "describe_space", "space": "notes" }),
    ]
}

fn lines(operations: &[Value]) -> Vec<u8> {
    operations.iter().flat_map(|operation| format!("{operation}\n").into_bytes()).collect()
}

fn post(http: &mut Http, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    http.send(&request("POST", "/v1/batch", headers, body));
    http.read()
}

/// What is the same in every run.
fn settled(mut result: Value) -> Value {
    let body = result["body"].as_object_mut().unwrap();
    for changing in ["seq", "recorded_at", "happened_at", "pressure", "activation", "outcome"] {
        body.remove(changing);
    }
    for hit in body.get_mut("hits").and_then(Value::as_array_mut).into_iter().flatten() {
        let hit = hit.as_object_mut().unwrap();
        hit.remove("recorded_at");
        hit.remove("happened_at");
    }
    result
}

#[test]
fn results_come_in_order_in_every_form() {
    let mut stage = Stage::furnished();
    let Stage { http, .. } = &mut stage;
    let operations = mixed();
    let list = Value::from(operations.clone()).to_string();
    let mut forms = Vec::new();
    for (media, body) in [(JSON, list.into_bytes()), (LINES, lines(&operations))] {
        let document = post(http, &[media], &body).ok();
        assert_eq!(document["summary"]["operations"], operations.len());
        forms.push(document["results"].as_array().unwrap().clone());

        let answer = post(http, &[media, EVENTS], &body);
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
        let mut events = events(answer.text());
        let last = events.pop().unwrap();
        assert_eq!((last.id, last.name.as_str()), (None, "batch_done"));
        let summary = &last.data;
        assert_eq!((&summary["ok"], &summary["failed"]), (&json!(8), &json!(6)), "{summary}");
        assert_eq!(summary["degraded"], 0);
        assert!(summary["pressure_max"].as_f64().unwrap() > 0.0);
        assert!(summary["elapsed_us"].as_u64().unwrap() > 0);
        for (nth, Event { id, name, data }) in events.iter().enumerate() {
            assert_eq!((id, name.as_str()), (&Some(nth as u64), "batch_result"));
            assert_eq!(data["index"], nth);
        }
        forms.push(events.into_iter().map(|event| event.data).collect());
    }
    let statuses: Vec<u64> =
        forms[0].iter().map(|result| result["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [200, 200, 400, 200, 404, 200, 400, 400, 400, 400, 200, 200, 200, 200]);
    for form in &forms[1..] {
        for (one, other) in form.iter().zip(&forms[0]) {
            assert_eq!(settled(one.clone()), settled(other.clone()));
        }
    }
}

#[test]
fn a_result_is_what_a_single_request_is_answered() {
    let mut stage = Stage::furnished();
    let Stage { http, .. } = &mut stage;
    let cue = json!({ "k": 5, "cues": [{ "id": "4" }], "with": ["text", "vec", "meta", "links"] });
    let from = json!({ "k": 5, "from": [{ "id": "4" }], "exact": true });
    let singles = [
        http.get("/v1/spaces/notes/episodes/4"),
        http.get("/v1/spaces/notes/episodes?count=7&with=vec"),
        http.post("/v1/spaces/notes/recall", &cue),
        http.post("/v1/spaces/notes/spread", &from),
        http.get("/v1/spaces/notes/episodes/nobody"),
        http.get("/v1/spaces/elsewhere"),
    ];
    let operations = json!([
        { "op": "get", "space": "notes", "id": "4" },
        { "op": "scan", "space": "notes", "body": { "count": 7, "with": ["vec"] } },
        { "op": "recall", "space": "notes", "body": cue },
        { "op": "spread", "space": "notes", "body": from },
        { "op": "get", "space": "notes", "id": "nobody" },
        { "op": "describe_space", "space": "elsewhere" },
    ]);
    let answer = post(http, &[JSON], operations.to_string().as_bytes());
    // Byte for byte.
    let mut rest = answer.text();
    for (nth, single) in singles.iter().enumerate() {
        let expected =
            format!("{{\"index\":{nth},\"status\":{},\"body\":{}}}", single.status, single.text());
        let at = rest.find(&expected).unwrap_or_else(|| panic!("no {expected} in {rest}"));
        rest = &rest[at + expected.len()..];
    }
}

#[test]
fn a_batch_reads_its_own_writes_and_keeps_their_order() {
    let mut stage = Stage::furnished();
    let Stage { http, .. } = &mut stage;
    let mut operations = Vec::new();
    for nth in 0..1_500_u64 {
        let body = json!({ "vec": [1, 2, 3], "text": nth.to_string() });
        operations.push(json!({ "op": "store_as", "space": "notes", "id": "x", "body": body }));
        operations.push(json!({ "op": "get", "space": "notes", "id": "x" }));
    }
    let body = Value::from(operations).to_string();
    let document = post(http, &[JSON], body.as_bytes()).ok();
    let results = document["results"].as_array().unwrap();
    assert_eq!(results.len(), 3_000);
    for (nth, pair) in results.chunks(2).enumerate() {
        assert_eq!(pair[0]["status"], 200);
        assert_eq!(pair[1]["body"]["text"], nth.to_string());
        assert_eq!(pair[1]["body"]["seq"], pair[0]["body"]["seq"]);
    }
    assert_eq!(document["summary"]["ok"], 3_000);
}

#[test]
fn lines_are_carried_out_while_they_come() {
    let mut stage = Stage::furnished();
    let Stage { daemon, resp, .. } = &mut stage;
    let mut http = Http::new(daemon);
    http.send(b"POST /v1/batch HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\n");
    http.send(b"accept: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
    let mut read = String::new();
    for nth in 0..50_u64 {
        let id = nth.to_string();
        let body = json!({ "vec": [1, 2, 3] });
        let line =
            format!("{}\n", json!({ "op": "store_as", "space": "notes", "id": id, "body": body }));
        let (one, other) = line.split_at(20);
        for piece in [one, other] {
            http.send(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes());
        }
        // Its result comes before the next is sent.
        if nth == 0 {
            assert_eq!(http.try_read_head().unwrap().status, 200);
        }
        while !read.contains(&format!("id: {nth}\n")) || !read.ends_with("\n\n") {
            read.push_str(std::str::from_utf8(&http.try_chunk().unwrap().unwrap()).unwrap());
        }
        assert!(!resp.ask(&command!["EG.GET", "notes", id]).keys().is_empty());
    }
    http.send(b"0\r\n\r\n");
    while let Some(chunk) = http.try_chunk().unwrap() {
        read.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    let events = events(&read);
    assert_eq!(events.len(), 51);
    assert_eq!(events[50].data["ok"], 50);
    assert_eq!(events[50].data.get("problem"), None);
}

#[test]
fn what_cannot_go_on_says_why_behind_what_was_done() {
    let mut stage = Stage::furnished();
    let Stage { daemon, .. } = &mut stage;
    let mut http = Http::new(daemon);
    http.send(b"POST /v1/batch HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\n");
    http.send(b"accept: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
    http.send(b"e\r\n{\"op\":\"ping\"}\n\r\n");
    // No number of bytes.
    http.send(b"zz\r\n");
    assert_eq!(http.try_read_head().unwrap().status, 200);
    let mut read = String::new();
    while let Ok(Some(chunk)) = http.try_chunk() {
        read.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    let events = events(&read);
    assert_eq!(events[0].data["body"]["status"], "PONG");
    assert_eq!(events[1].name, "batch_done");
    assert_eq!(events[1].data["problem"]["code"], "LENGTH");
    assert_eq!((&events[1].data["operations"], &events[1].data["ok"]), (&json!(1), &json!(1)));
}

#[test]
fn a_stop_ends_a_batch_behind_what_was_done() {
    let mut stage = Stage::furnished();
    let Stage { daemon, resp, .. } = &mut stage;
    let mut http = Http::new(daemon);
    http.send(b"POST /v1/batch HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\n");
    http.send(b"accept: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
    http.send(b"e\r\n{\"op\":\"ping\"}\n\r\n");
    assert_eq!(http.try_read_head().unwrap().status, 200);
    let mut read = http.try_chunk().unwrap().unwrap();
    assert!(resp.is_answered());
    daemon.signal(rustix::process::Signal::TERM);
    while let Some(chunk) = http.try_chunk().unwrap() {
        read.extend(chunk);
    }
    let events = events(std::str::from_utf8(&read).unwrap());
    assert_eq!(events[1].data["problem"]["code"], "STOPPING");
    assert_eq!(events[1].data["ok"], 1);
    assert!(daemon.wait().success());
}

/// Memory of the daemon that is in use.
fn resident_bytes(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// A counter of the daemon when it stands still.
fn settled_counter(resp: &mut Client, name: &str) -> i64 {
    let mut count = || resp.ask(&command!["EG.STATS"]).at(name).int();
    let (mut last, mut same) = (count(), 0);
    common::eventually("the batch stands still", || {
        let now = count();
        same = if now == last { same + 1 } else { 0 };
        last = now;
        same >= 40
    });
    last
}

#[test]
fn who_does_not_read_stops_his_own_batch_in_bounded_memory() {
    let mut stage = Stage::furnished();
    let Stage { daemon, http, resp, .. } = &mut stage;
    const OPERATIONS: usize = 20_000;
    let text = "x".repeat(1 << 20);
    http.put("/v1/spaces/notes/episodes/big", &json!({ "vec": [1, 2, 3], "text": text })).ok();
    let get = json!({ "op": "get", "space": "notes", "id": "big" });
    let body = Value::from(vec![get; OPERATIONS]).to_string();
    let before = resident_bytes(daemon);
    let mut stalled = Http::new(daemon);
    stalled.send(&request("POST", "/v1/batch", &[JSON, EVENTS], body.as_bytes()));
    assert_eq!(stalled.try_read_head().unwrap().status, 200);
    let reads = settled_counter(resp, "reads");
    assert!(reads < 1_000, "{reads} of {OPERATIONS} were read");
    let grown = resident_bytes(daemon).saturating_sub(before);
    // 64 reads of 1 MiB may be open, their replies, a chunk, a frame, and the body.
    assert!(grown < 256 << 20, "{grown} bytes more for a client that does not read");
    // Nobody else notices.
    assert_eq!(http.get("/v1/spaces/notes/episodes/1").ok()["id"], "1");
    assert_eq!(resp.ask(&command!["EG.GET", "notes", "1"]).at("id").text(), "1");
    // It goes on where it stood.
    let mut bytes = 0;
    while bytes < 100 << 20 {
        bytes += stalled.try_chunk().unwrap().unwrap().len();
    }
    assert!(settled_counter(resp, "reads") > reads);
    drop(stalled);
    is_over(http);
}

/// Waits until no request is under way but the one that asks.
fn is_over(http: &mut Http) {
    common::eventually("no request is under way", || {
        http.get("/metrics").text().contains("\nengram_http_requests_open 1\n")
    });
}

#[test]
fn who_hangs_up_ends_the_batch() {
    let mut stage = Stage::furnished();
    let Stage { daemon, http, resp, .. } = &mut stage;
    const OPERATIONS: usize = 100_000;
    let store = json!({ "op": "store", "space": "notes", "body": { "vec": [1, 2, 3] } });
    for (media, body) in [
        (JSON, Value::from(vec![store.clone(); OPERATIONS]).to_string().into_bytes()),
        (LINES, lines(&vec![store; OPERATIONS])),
    ] {
        let before = resp.ask(&command!["EG.STATS"]).at("stores").int();
        let mut leaving = Http::new(daemon);
        let bytes = request("POST", "/v1/batch", &[media, EVENTS], &body);
        // Of lines, the daemon takes no more than it has answered.
        let sent = match media {
            JSON => bytes.len(),
            _ => 200_000,
        };
        leaving.send(&bytes[..sent]);
        assert_eq!(leaving.try_read_head().unwrap().status, 200);
        assert!(leaving.try_chunk().unwrap().unwrap().starts_with(b"id: 0\n"));
        drop(leaving);
        is_over(http);
        let stored = settled_counter(resp, "stores") - before;
        assert!(stored > 0 && stored < OPERATIONS as i64 / 2, "{stored} were stored");
    }
}

#[test]
fn the_largest_batch_is_carried_out() {
    let mut stage = Stage::furnished();
    let Stage { http, .. } = &mut stage;
    const OPERATIONS: usize = 100_000;
    let body = Value::from(vec![json!({ "op": "ping" }); OPERATIONS]).to_string();
    let answer = post(http, &[JSON, EVENTS], body.as_bytes());
    let events = events(answer.text());
    assert_eq!(events.len(), OPERATIONS + 1);
    assert_eq!(events[OPERATIONS].data["ok"], OPERATIONS);
    assert!(events.iter().take(OPERATIONS).enumerate().all(|(nth, it)| it.id == Some(nth as u64)));
    let one_more = Value::from(vec![json!(1); OPERATIONS + 1]).to_string();
    for body in ["[]", one_more.as_str(), "{}", "[1,]", "[1] x", ""] {
        let problem = post(http, &[JSON, EVENTS], body.as_bytes()).problem();
        let expected = if body.len() > 10 { (413, "TOOBIG") } else { (400, "SYNTAX") };
        assert_eq!(problem, (expected.0, expected.1.to_owned()), "{}", &body[..body.len().min(9)]);
    }
}
