//! As much as is allowed, and one more.

use serde_json::json;

use crate::common::{Client, Reply, eventually};
use crate::http::{Http, request};
use crate::routes::Stage;

const BODY_BYTES_MAX: usize = 8 << 20;
const MANY_BODY_BYTES_MAX: usize = 64 << 20;
const REQUESTS_MAX: usize = 256;

/// A body of exactly so many bytes that means the same as a short one.
fn padded(body: &str, bytes: usize) -> Vec<u8> {
    let mut body = body.as_bytes().to_vec();
    body.resize(bytes, b' ');
    body
}

/// The same request with its body in chunks, so that its length is not said before.
fn in_chunks(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
    let mut bytes = head.into_bytes();
    for chunk in body.chunks(1 << 20) {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

#[test]
fn a_body_may_be_as_long_as_its_bound() {
    let mut stage = Stage::furnished();
    let Stage { daemon, .. } = &mut stage;
    let recall = json!({ "k": 1, "cues": [{ "id": "1" }] }).to_string();
    let store = json!({ "items": [{ "vec": [1, 2, 3] }] }).to_string();
    let batch = json!([{ "op": "ping" }]).to_string();
    for (path, body, bytes_max) in [
        ("/v1/spaces/notes/recall", recall, BODY_BYTES_MAX),
        ("/v1/spaces/notes/mstore", store, MANY_BODY_BYTES_MAX),
        ("/v1/batch", batch, MANY_BODY_BYTES_MAX),
    ] {
        for (bytes, is_allowed) in [(bytes_max, true), (bytes_max + 1, false)] {
            let body = padded(&body, bytes);
            for sent in [request("POST", path, &[], &body), in_chunks(path, &body)] {
                let mut http = Http::new(daemon);
                // The daemon may hang up before everything is written.
                let written = http.try_send(&sent);
                assert!(written.is_ok() || !is_allowed, "{path} {bytes}");
                match is_allowed {
                    true => drop(http.read().ok()),
                    // What was said before the connection was cut may be lost on the way.
                    false => match http.try_read() {
                        Ok(answer) => assert_eq!(answer.problem(), (413, "TOOBIG".into())),
                        Err(_) => assert!(written.is_err(), "{path} {bytes}"),
                    },
                }
            }
        }
    }
    // Said before it is sent, it is refused before it is sent.
    let mut http = Http::new(daemon);
    let head = format!(
        "POST /v1/spaces/notes/recall HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        BODY_BYTES_MAX + 1
    );
    http.send(head.as_bytes());
    assert_eq!(http.read().problem(), (413, "TOOBIG".into()));
}

#[test]
fn a_head_may_be_long_and_not_endless() {
    let mut stage = Stage::new();
    let Stage { daemon, .. } = &mut stage;
    let ping = |headers: &[(&str, &str)]| request("GET", "/v1/ping", headers, b"");
    let half = "x".repeat(30 << 10);
    let mut http = Http::new(daemon);
    http.send(&ping(&[("a", &half), ("b", &half)]));
    http.read().ok();
    // What has been read may be twice the bound before it is looked at.
    let too_long = "x".repeat(200 << 10);
    let many: Vec<(&str, &str)> = vec![("a", "b"); 101];
    for bytes in [ping(&[("a", &too_long)]), ping(&many)] {
        let mut http = Http::new(daemon);
        // The daemon may hang up before everything is written.
        let written = http.try_send(&bytes);
        match http.try_read() {
            Ok(answer) => assert_eq!(answer.status, 431),
            Err(_) => assert!(written.is_err()),
        }
    }
    let mut http = Http::new(daemon);
    let path = format!("/v1/{}", "x".repeat(200 << 10));
    let written = http.try_send(&request("GET", &path, &[], b""));
    match http.try_read() {
        Ok(answer) => assert!([414, 431].contains(&answer.status), "{answer:?}"),
        Err(_) => assert!(written.is_err()),
    }
    let mut http = Http::new(daemon);
    http.send(&ping(&many[..98]));
    http.read().ok();
}

#[test]
fn one_request_more_than_are_allowed_is_told_to_come_again() {
    let mut stage = Stage::furnished();
    let Stage { daemon, .. } = &mut stage;
    let mut open = Vec::new();
    for _ in 0..REQUESTS_MAX {
        let mut http = Http::new(daemon);
        // Its body does not come: it is under way.
        http.send(b"POST /v1/batch HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\n");
        http.send(b"accept: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
        http.send(b"e\r\n{\"op\":\"ping\"}\n\r\n");
        assert_eq!(http.try_read_head().unwrap().status, 200);
        open.push(http);
    }
    let mut http = Http::new(daemon);
    let refused = http.get("/v1/ping");
    assert_eq!(refused.problem(), (503, "BUSY".into()));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(http.get("/healthz").status, 200);
    assert_eq!(http.get("/readyz").status, 200);
    let mut freed = open.pop().unwrap();
    freed.send(b"0\r\n\r\n");
    while freed.try_chunk().unwrap().is_some() {}
    eventually("one is over", || http.get("/v1/ping").status == 200);
}

#[test]
fn a_connection_counts_as_one_whatever_it_speaks() {
    let mut stage = Stage::with(&["connections_max=3"]);
    // The stage has one of each; the one of HTTP counts from when it is accepted.
    stage.http.get("/v1/ping").ok();
    let mut last = Http::new(&stage.daemon);
    last.get("/v1/ping").ok();
    let mut refused = Client::try_connect(&stage.daemon.socket).unwrap();
    assert_eq!(refused.read().code(), "BUSY");
    assert!(refused.is_hung_up());
    drop(last);
    eventually("there is room again", || {
        let client = Client::try_connect(&stage.daemon.socket);
        client.is_ok_and(|mut client| client.is_answered())
    });
    stage.http.get("/v1/ping").ok();
}
