//! HTTP told from RESP on one socket, and who is heard when.

use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;

use serde_json::json;

use crate::command;
use crate::common::hold::Hold;
use crate::common::{self, Home, Reply};
use crate::http::{Http, request};
use crate::routes::Stage;

#[test]
fn a_request_is_understood_wherever_it_is_cut() {
    let mut stage = Stage::furnished();
    let Stage { daemon, .. } = &mut stage;
    let body = json!({ "k": 1, "cues": [{ "id": "3" }] }).to_string();
    let bytes = request("POST", "/v1/spaces/notes/recall", &[], body.as_bytes());
    let mut whole = Http::new(daemon);
    whole.send(&bytes);
    let expected = whole.read().ok();
    for cut in 1..bytes.len() {
        let mut http = Http::new(daemon);
        http.send(&bytes[..cut]);
        // What was sent has been read when another connection is answered behind it, or soon after.
        whole.get("/v1/ping").ok();
        http.send(&bytes[cut..]);
        assert_eq!(http.read().ok(), expected, "cut at {cut}");
    }
    let mut http = Http::new(daemon);
    for byte in &bytes {
        http.send(&[*byte]);
    }
    assert_eq!(http.read().ok(), expected);
}

#[test]
fn words_that_only_look_like_a_method_are_commands() {
    let mut stage = Stage::new();
    let Stage { daemon, .. } = &mut stage;
    for line in ["GET key", "GET", "OPTIONS x", "get /", "POST", "DELETE a b", "GETS /x"] {
        let mut client = daemon.client();
        for byte in format!("{line}\r\n").bytes() {
            client.send(&[byte]);
        }
        assert_eq!(client.read().code(), "SYNTAX", "{line}");
        // The connection goes on, as one of RESP.
        assert_eq!(client.ask(&command!["ECHO", "GET / HTTP/1.1"]).text(), "GET / HTTP/1.1");
        client.send(b"GET / HTTP/1.1\r\n");
        assert_eq!(client.read().code(), "SYNTAX");
    }
    let mut client = daemon.client();
    client.send(b"PING\r\n");
    assert_eq!(client.read().text(), "PONG");
}

#[test]
fn requests_follow_each_other_on_one_connection() {
    let mut stage = Stage::furnished();
    let Stage { http, .. } = &mut stage;
    let one = request("GET", "/v1/spaces/notes/episodes/1", &[], b"");
    let two = request("GET", "/v1/nothing", &[], b"");
    let body = json!({ "ids": ["2", "3"] }).to_string();
    let three = request("POST", "/v1/spaces/notes/mget", &[], body.as_bytes());
    // In one write, without waiting.
    http.send(&[&one[..], &two, &three, &one].concat());
    assert_eq!(http.read().ok()["id"], "1");
    assert_eq!(http.read().status, 404);
    assert_eq!(http.read().ok()["episodes"][1]["id"], "3");
    assert_eq!(http.read().ok()["id"], "1");
    let last = request("GET", "/v1/ping", &[("connection", "close")], b"");
    http.send(&last);
    http.read().ok();
    assert!(http.is_hung_up());
}

#[test]
fn a_request_that_ends_early_changes_nothing() {
    let mut stage = Stage::furnished();
    let Stage { daemon, resp, .. } = &mut stage;
    let body = json!({ "vec": [1, 2, 3] }).to_string();
    let bytes = request("PUT", "/v1/spaces/notes/episodes/new", &[], body.as_bytes());
    for end in (0..bytes.len()).step_by(7) {
        let mut http = Http::new(daemon);
        http.send(&bytes[..end]);
    }
    let mut http = Http::new(daemon);
    // A body that is shorter than it was said to be, in pieces.
    http.send(
        b"PUT /v1/spaces/notes/episodes/new HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked",
    );
    http.send(b"\r\n\r\n5\r\n{\"vec");
    drop(http);
    let mut http = Http::new(daemon);
    http.send(b"GET / SPDY/9\r\n\r\n");
    assert!(http.try_read().is_err() || http.is_hung_up());
    common::eventually("all are gone", || {
        let info = resp.ask(&command!["INFO", "stats"]);
        info.text().contains("connections_open:1\r\n")
    });
    let space = resp.ask(&command!["EG.SPACE", "INFO", "notes"]);
    assert_eq!(space.at("episodes").int(), 12);
}

#[test]
fn who_speaks_http_to_a_daemon_without_an_edge_is_told() {
    let mut stage = Stage::with(&["edge=false"]);
    let Stage { daemon, resp, .. } = &mut stage;
    let bytes = request("GET", "/healthz", &[], b"");
    for cut in 0..bytes.len() {
        let mut http = Http::new(daemon);
        http.send(&bytes[..cut]);
        // Nothing is said before the head is there.
        resp.ask(&command!["PING"]);
        http.send(&bytes[cut..]);
        let answer = http.read();
        assert_eq!(answer.status, 501);
        assert!(answer.json()["detail"].as_str().unwrap().contains("edge = true"));
        assert!(http.is_hung_up());
    }
    // Nobody waits for a head without an end.
    let mut http = Http::new(daemon);
    http.send(format!("GET /{}", "x".repeat((16 << 10) - 5)).as_bytes());
    assert_eq!(http.read().status, 501);
    assert_eq!(resp.ask(&command!["PING"]).text(), "PONG");
}

#[test]
fn who_comes_early_is_told_how_far_the_start_is() {
    let home = Home::new();
    let mut daemon = home.start();
    let mut http = Http::new(&daemon);
    http.put("/v1/spaces/notes", &json!({ "dim": 3 })).ok();
    for id in 0..40 {
        http.put(&format!("/v1/spaces/notes/episodes/{id}"), &json!({ "vec": [1, 2, 3] })).ok();
    }
    assert!(daemon.stop().success());
    assert!(http.is_hung_up());
    let segment = home.data().join("shard-000/log-0000000001.seg");
    let test = "who_comes_early_is_told_how_far_the_start_is";
    for edge in ["edge=true", "edge=false"] {
        let Some(hold) = Hold::new(&segment, test) else { return };
        let daemon = home.spawn(home.command(&[edge]));
        hold.wait_for_visitor();
        let mut http = Http::new(&daemon);
        request("GET", "/readyz", &[], b"").iter().for_each(|byte| http.send(&[*byte]));
        let answer = http.read();
        if edge == "edge=false" {
            assert_eq!(answer.status, 501);
            assert!(http.is_hung_up());
            hold.release();
            continue;
        }
        assert_eq!((answer.status, &answer.json()["status"]), (503, &json!("loading")));
        assert_eq!(answer.header("retry-after"), Some("1"));
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.starts_with("replaying the logs: "), "{detail}");
        assert_eq!(http.get("/healthz").status, 200);
        let refused = http.get("/v1/spaces/notes");
        assert_eq!(refused.problem(), (503, "LOADING".into()));
        assert_eq!(refused.header("retry-after"), Some("1"));
        assert!(http.get("/metrics").text().contains("\nengram_ready 0\n"));
        hold.release();
        // On the same connection, from the first moment on.
        common::eventually("it serves", || http.get("/readyz").status == 200);
        assert_eq!(http.get("/v1/spaces/notes").ok()["episodes"], 40);
        assert!(http.get("/metrics").text().contains("\nengram_ready 1\n"));
    }
    // The hold has not changed the segment.
    let mut first = [0; 8];
    fs::File::open(&segment).unwrap().read_exact_at(&mut first, 0).unwrap();
    assert_ne!(first, [0; 8]);
}

#[test]
fn a_stop_lets_requests_end_and_connections_go() {
    let mut stage = Stage::furnished();
    let Stage { daemon, http, resp, .. } = &mut stage;
    let stored = json!({ "vec": [1, 2, 3] }).to_string();
    // The answer is owed when the daemon is told to stop.
    http.send(&request("PUT", "/v1/spaces/notes/episodes/last", &[], stored.as_bytes()));
    http.read().ok();
    resp.ask(&command!["PING"]);
    assert!(daemon.stop().success());
    assert!(http.is_hung_up());
    // A socket without a daemon.
    let refused = std::os::unix::net::UnixStream::connect(&daemon.socket);
    assert!(refused.and_then(|mut stream| stream.write_all(b"x")).is_err());
}
