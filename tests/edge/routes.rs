//! Each operation. What it answers is what RESP answers, value by value.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::command;
use crate::common::episodes::{blob, vector};
use crate::common::{Client, Daemon, Home, Reply};
use crate::http::Http;

/// A daemon, and both ways to talk to it.
pub struct Stage {
    _home: Home,
    pub daemon: Daemon,
    pub http: Http,
    pub resp: Client,
}

impl Stage {
    pub fn new() -> Self {
        Self::with(&[])
    }

    pub fn with(settings: &[&str]) -> Self {
        let home = Home::new();
        let daemon = home.start_with(settings);
        let (http, mut resp) = (Http::new(&daemon), daemon.client());
        resp.ask(&command!["HELLO", "3"]);
        Self { _home: home, daemon, http, resp }
    }

    /// With a space `notes` of three dimensions and some linked episodes in it.
    pub fn furnished() -> Self {
        let mut stage = Self::new();
        furnish(&mut stage.http, &mut stage.resp);
        stage
    }
}

/// Makes a space `notes` of three dimensions, with some linked episodes in it.
pub fn furnish(http: &mut Http, resp: &mut Client) {
    http.put("/v1/spaces/notes", &json!({ "dim": 3 })).ok();
    for id in 0..12_u64 {
        let (name, text) = (id.to_string(), format!("number {id}\n\u{1f600} \"quoted\""));
        let next = ((id + 1) % 12).to_string();
        let meta = format!("{{\"even\": {},\r\n \"n\": {id}}}", id.is_multiple_of(2));
        let vector = blob(&vector(id, 3));
        resp.ask(&command![
            "EG.STORE", "notes", name, "VEC", vector, "TEXT", text, "META", meta, "THREAD", "day",
            "LINK", next, "0.5", "KIND", "next", "CONF", "0.9", "0.1", "1"
        ]);
    }
}

/// What RESP says, in JSON.
pub fn json_of(value: &redis::Value) -> Value {
    json_of_key("", value)
}

fn json_of_key(key: &str, value: &redis::Value) -> Value {
    match value {
        redis::Value::Nil => Value::Null,
        redis::Value::Int(number) => json!(number),
        // Through the text that is on the wire: `0.1`, and not what is next to it in f64.
        redis::Value::Double(number) => json!(number),
        redis::Value::Boolean(is_so) => json!(is_so),
        redis::Value::BulkString(bytes) if key == "vec" => {
            json!({ "base64": STANDARD.encode(bytes) })
        }
        redis::Value::BulkString(bytes) if key == "meta" && bytes.is_empty() => Value::Null,
        redis::Value::BulkString(bytes) if key == "meta" => serde_json::from_slice(bytes).unwrap(),
        redis::Value::BulkString(_) => json!(value.text()),
        redis::Value::Array(items) => items.iter().map(json_of).collect(),
        redis::Value::Map(_) => {
            let pairs = value.pairs().into_iter();
            let fields: Map<String, Value> =
                pairs.map(|(key, value)| (key.to_owned(), json_of_key(key, value))).collect();
            fields.into()
        }
        other => panic!("not expected: {other:?}"),
    }
}

/// The same but for whole numbers, which JSON may write as `1` where they were `1.0`.
#[track_caller]
pub fn assert_same(one: &Value, other: &Value) {
    assert_eq!(floats(one), floats(other));
}

fn floats(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.iter().map(floats).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| (key.clone(), floats(value)))
            .collect::<Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

#[test]
fn what_is_read_is_what_resp_reads() {
    let mut stage = Stage::furnished();
    let Stage { http, resp, .. } = &mut stage;
    let all = ["text", "vec", "meta", "links"];
    let with = all.map(|part| ["WITH", part]).concat();

    let words = [&["EG.GET", "notes", "3"][..], &with].concat();
    let told = json_of(&resp.ask(&encoded(&words)));
    let found = http.get("/v1/spaces/notes/episodes/3?with=text,vec,meta,links").ok();
    assert_same(&found, &told);
    assert_eq!(found["meta"], json!({ "even": false, "n": 3 }));
    let array = http.get("/v1/spaces/notes/episodes/3?with=vec&vectors=array").ok();
    let components: Vec<f64> =
        vector(3, 3).iter().map(|it| it.to_string().parse().unwrap()).collect();
    assert_same(&array["vec"], &json!(components));
    let usual = json_of(&resp.ask(&command!["EG.GET", "notes", "3"]));
    assert_same(&http.get("/v1/spaces/notes/episodes/3").ok(), &usual);

    let words = [&["EG.MGET", "notes", "3", "5", "nobody", "0"][..], &with].concat();
    let told = json_of(&resp.ask(&encoded(&words)));
    let body = json!({ "ids": ["5", "nobody", "0"], "with": all });
    assert_same(&http.post("/v1/spaces/notes/mget", &body).ok()["episodes"], &told);

    let (mut cursor, mut seen) = ("0".to_owned(), 0);
    loop {
        let words = ["EG.SCAN", "notes", "CURSOR", &cursor, "COUNT", "5"];
        let told = json_of(&resp.ask(&encoded(&words)));
        let found = http.get(&format!("/v1/spaces/notes/episodes?cursor={cursor}&count=5")).ok();
        assert_eq!(found["cursor"], told[0]);
        assert_same(&found["episodes"], &told[1]);
        seen += found["episodes"].as_array().unwrap().len();
        cursor = found["cursor"].as_str().unwrap().to_owned();
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen, 12);

    assert_same(&http.get("/v1/spaces").ok()["spaces"], &json!(["notes"]));
    let told = json_of(&resp.ask(&command!["EG.SPACE", "INFO", "notes"]));
    assert_same(&http.get("/v1/spaces/notes").ok(), &told);
    let told = json_of(&resp.ask(&command!["EG.STATS", "notes"]));
    assert_same(&http.get("/v1/spaces/notes/stats").ok(), &told);
}

fn encoded(words: &[&str]) -> Vec<u8> {
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    crate::common::client::encode(&words)
}

#[test]
fn what_is_recalled_is_what_resp_recalls() {
    let mut stage = Stage::furnished();
    let Stage { http, resp, .. } = &mut stage;
    let cue = vector(77, 3);
    let filter = r#"{"even": true}"#;
    let command = command![
        "EG.RECALL",
        "notes",
        "K",
        "4",
        "VEC",
        blob(&cue),
        "ID",
        "2",
        "FILTER",
        filter,
        "MINCONF",
        "0.5",
        "EXACT",
        "WITH",
        "text",
        "WITH",
        "vec",
        "WITH",
        "meta",
        "WITH",
        "links",
        "WITH",
        "why"
    ];
    let told = json_of(&resp.ask(&command));
    let body = json!({
        "k": 4,
        "cues": [{ "vec": cue }, { "id": "2" }],
        "filter": { "even": true },
        "min_confidence": 0.5,
        "exact": true,
        "with": ["text", "vec", "meta", "links", "why"],
    });
    let found = http.post("/v1/spaces/notes/recall", &body).ok();
    assert_same(&found["hits"], &told);
    assert_eq!(found["hits"].as_array().unwrap().len(), 4);
    let mut in_base64 = body.clone();
    in_base64["cues"][0] = json!({ "vec": { "base64": STANDARD.encode(blob(&cue)) } });
    assert_eq!(http.post("/v1/spaces/notes/recall", &in_base64).ok(), found);

    let command = command![
        "EG.RECALL",
        "notes",
        "K",
        "5",
        "ID",
        "2",
        "EXACT",
        "SPREAD",
        "HOPS",
        "2",
        "SEEDS",
        "1",
        "WEIGHT",
        "3"
    ];
    let told = json_of(&resp.ask(&command));
    let spread = json!({ "hops": 2, "seeds": 1, "weight": 3 });
    let body = json!({ "k": 5, "cues": [{ "id": "2" }], "exact": true, "spread": spread });
    assert_same(&http.post("/v1/spaces/notes/recall", &body).ok()["hits"], &told);

    let command = command![
        "EG.SPREAD",
        "notes",
        "K",
        "5",
        "FROM",
        "2",
        "1",
        "FROM",
        "7",
        "2",
        "EXACT",
        "DECAY",
        "0.5",
        "WITH",
        "why"
    ];
    let told = json_of(&resp.ask(&command));
    let from = json!([{ "id": "2" }, { "id": "7", "mass": 2 }]);
    let body = json!({ "k": 5, "from": from, "exact": true, "decay": 0.5, "with": ["why"] });
    let found = http.post("/v1/spaces/notes/spread", &body).ok();
    assert_same(&found, &told);
    assert!(!found["hits"].as_array().unwrap().is_empty());

    let command = command![
        "EG.COMPLETE",
        "notes",
        "VEC",
        blob(&[0.5, 0.25, -1.0]),
        "UNKNOWN",
        "1",
        "1",
        "K",
        "5",
        "EXACT",
        "WITH",
        "text"
    ];
    let told = json_of(&resp.ask(&command));
    let (vec, unknown) = (json!([0.5, 0.25, -1]), json!([[1, 1]]));
    let body = json!({ "vec": vec, "unknown": unknown, "k": 5, "exact": true, "with": ["text"] });
    let completed = http.post("/v1/spaces/notes/complete", &body).ok();
    assert_same(&completed, &told);
    assert!(!completed["hits"].as_array().unwrap().is_empty());

    let command = command![
        "EG.GIST", "notes", "K", "3", "ID", "2", "ALIKE", "0", "EXACT", "WITH", "vec", "WITH",
        "text"
    ];
    let told = json_of(&resp.ask(&command));
    let (cues, with) = (json!([{ "id": "2" }]), json!(["vec", "text"]));
    let body = json!({ "k": 3, "cues": cues, "alike": 0, "exact": true, "with": with });
    let gists = http.post("/v1/spaces/notes/gist", &body).ok();
    assert_same(&gists["gists"], &told);
    assert!(!told.as_array().unwrap().is_empty());
}

#[test]
fn what_is_stored_is_what_resp_would_have_stored() {
    let mut stage = Stage::new();
    let Stage { http, resp, .. } = &mut stage;
    assert_eq!(
        http.put("/v1/spaces/notes", &json!({ "dim": 3, "metric": "dot", "model": "m" })).ok(),
        json!({ "status": "OK" })
    );
    let stored = http
        .put(
            "/v1/spaces/notes/episodes/a%2Fb%20c",
            &json!({
                "vec": [0.1, 2, -3.5],
                "text": "rain\u{0}",
                "happened_at": -7,
                "confidence": [0.5, 0.25, 0.75],
                "meta": { "deep": [{ "n": 1.5 }] },
                "thread": "day",
                "links": [{ "id": "x", "weight": 0.5, "kind": "next" }],
                "key": "once",
                "durability": "os",
            }),
        )
        .ok();
    assert_eq!(stored["outcome"], "created");
    assert_same(&stored["confidence"], &json!([0.5, 0.25, 0.75]));
    let found = resp.ask(&command![
        "EG.GET", "notes", "a/b c", "WITH", "text", "WITH", "vec", "WITH", "meta", "WITH", "links"
    ]);
    assert_eq!(found.at("vec").bytes(), blob(&[0.1, 2.0, -3.5]));
    assert_eq!(found.at("meta").text(), r#"{"deep":[{"n":1.5}]}"#);
    assert_eq!((found.at("text").text(), found.at("happened_at").int()), ("rain\0", -7));
    assert_eq!(found.at("links").items()[0].at("kind").text(), "next");
    let uid = rustix::process::geteuid().as_raw();
    assert_eq!(found.at("writer_uid").int(), i64::from(uid));

    let again = json!({ "id": "a/b c", "vec": [9, 9, 9], "key": "once" });
    let existing = http.post("/v1/spaces/notes/episodes", &again).ok();
    assert_eq!((&existing["outcome"], &existing["seq"]), (&json!("existing"), &stored["seq"]));
    let assigned = http.post("/v1/spaces/notes/episodes", &json!({ "vec": [1, 1, 1] })).ok();
    let id = assigned["id"].as_str().unwrap().to_owned();
    assert_eq!(http.get(&format!("/v1/spaces/notes/episodes/{id}")).ok()["id"], json!(id));

    let items = json!({ "items": [
        { "id": "one", "vec": [1, 2, 3] },
        { "id": "two", "vec": [1, 2] },
        { "vec": [1, 2, 3] },
    ] });
    let results = http.post("/v1/spaces/notes/mstore", &items).ok();
    let results = results["results"].as_array().unwrap();
    assert_eq!(results[0]["outcome"], "created");
    assert_eq!(results[1]["problem"]["code"], "DIM");
    assert!(results[2]["id"].is_string());
}

#[test]
fn links_are_made_and_removed() {
    let mut stage = Stage::furnished();
    let Stage { http, resp, .. } = &mut stage;
    let link = json!({ "from": "0", "to": "5", "weight": 0.25, "kind": "k", "mutual": true });
    let linked = http.post("/v1/spaces/notes/links", &link).ok();
    assert_eq!(
        (&linked["outcome"], &linked["back_outcome"]),
        (&json!("created"), &json!("created"))
    );
    assert_eq!(linked["links"], 2);
    let found = resp.ask(&command!["EG.GET", "notes", "5", "WITH", "links"]);
    let targets: Vec<&str> =
        found.at("links").items().iter().map(|link| link.at("id").text()).collect();
    assert_eq!(targets, ["6", "0"]);
    let removed = http.delete("/v1/spaces/notes/links?from=0&to=5&mutual=true").ok();
    assert_eq!((&removed["outcome"], &removed["removed"]), (&json!("unlinked"), &json!(2)));
}

#[test]
fn episodes_and_spaces_go() {
    let mut stage = Stage::furnished();
    let Stage { http, resp, .. } = &mut stage;
    assert_eq!(
        http.delete("/v1/spaces/notes/episodes/1?durability=os").ok()["outcome"],
        "forgotten"
    );
    let erased = http.call("POST", "/v1/spaces/notes/episodes/2/erase", &[]).ok();
    assert_eq!(erased["outcome"], "erased");
    assert!(erased["frames"].as_u64().unwrap() >= 1);
    for id in ["1", "2"] {
        let gone = http.get(&format!("/v1/spaces/notes/episodes/{id}"));
        assert_eq!(gone.problem(), (404, "NOEPISODE".into()));
    }
    assert_eq!(http.delete("/v1/spaces/notes/episodes/1").problem().1, "NOEPISODE");
    let ok = json!({ "status": "OK" });
    assert_eq!(http.call("POST", "/v1/spaces/notes/consolidate", &[]).ok(), ok);
    assert_eq!(http.call("POST", "/v1/consolidate", &[]).ok(), ok);
    let space = http.get("/v1/spaces/notes/stats").ok();
    assert_eq!((&space["episodes"], &space["rows_in_tails"]), (&json!(10), &json!(0)));
    assert_eq!(http.delete("/v1/spaces/notes").ok(), ok);
    assert_eq!(resp.refused(&command!["EG.GET", "notes", "3"]).0, "NOSPACE");
}

#[test]
fn the_daemon_tells_about_itself() {
    let mut stage = Stage::furnished();
    let Stage { http, .. } = &mut stage;
    assert_eq!(http.get("/v1/ping").ok(), json!({ "status": "PONG" }));
    let info = http.get("/v1/info").ok();
    assert_eq!(info["server"]["shards"], "2");
    assert_eq!(info["recovery"]["loading"], "0");
    let server = http.get("/v1/info?section=server").ok();
    assert_eq!(server.as_object().unwrap().len(), 1);
    let stats = http.get("/v1/stats").ok();
    assert_eq!(stats["episodes"], 12);
    assert_eq!(stats["per_shard"].as_array().unwrap().len(), 2);
    assert!(stats["commands"].as_u64().unwrap() > 12);
    assert_eq!(http.call("POST", "/v1/stats/reset", &[]).ok(), json!({ "status": "OK" }));
    assert!(http.get("/v1/stats").ok()["commands"].as_u64().unwrap() < 12);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy");
    let copied = http.post("/v1/snapshots", &json!({ "path": path })).ok();
    assert_eq!(copied["path"], path.to_str().unwrap());
    assert_eq!(copied["through_seqs"].as_array().unwrap().len(), 2);
    assert_eq!(http.get("/healthz").text(), "ok\n");
    assert_eq!(http.get("/readyz").ok(), json!({ "status": "ready" }));
}
