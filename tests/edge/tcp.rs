//! Loopback TCP: nothing without the token, everything else as on the socket.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::json;

use crate::common::{Daemon, Home};
use crate::http::Http;

pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn token_file(home: &Home, mode: u32) -> PathBuf {
    let path = home.path("token");
    fs::write(&path, format!("{TOKEN}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

/// The settings for a port that the kernel chooses.
fn settings(home: &Home, mode: u32) -> [String; 2] {
    let file = token_file(home, mode);
    ["edge_listen=127.0.0.1:0".to_owned(), format!("edge_token_file={}", file.display())]
}

pub fn started(home: &Home) -> (Daemon, u16) {
    let settings = settings(home, 0o600);
    let daemon = home.start_with(&settings.each_ref().map(String::as_str));
    let said = home.said();
    let (_, port) = said.split_once("address=127.0.0.1:").expect("the port is logged");
    let port: String = port.chars().take_while(char::is_ascii_digit).collect();
    (daemon, port.parse().unwrap())
}

#[test]
fn without_the_token_there_is_nothing_but_health_and_the_page() {
    let home = Home::new();
    let (daemon, port) = started(&home);
    let mut http = Http::over_tcp(port);
    let wrong = TOKEN.replace('f', "e");
    for path in ["/v1/spaces", "/metrics", "/v1/openapi.json", "/dashboard", "/v1/nothing"] {
        for value in ["", "Bearer", TOKEN, &format!("Bearer {wrong}"), &format!("Basic {TOKEN}")] {
            let headers = [("authorization", value)];
            let refused = http.call("GET", path, if value.is_empty() { &[] } else { &headers });
            assert_eq!(refused.problem(), (401, "TOKEN".into()), "{path} {value}");
            assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
        }
    }
    assert_eq!(http.get("/healthz").status, 200);
    assert_eq!(http.get("/readyz").status, 200);
    assert_eq!(http.get("/").status, 200);

    let bearer = format!("Bearer {TOKEN}");
    let headers = [("authorization", bearer.as_str())];
    assert_eq!(http.call("GET", "/v1/spaces", &headers).ok()["spaces"], json!([]));
    let mut local = Http::new(&daemon);
    local.put("/v1/spaces/notes", &json!({ "dim": 1 })).ok();
    let body = json!({ "vec": [1] }).to_string();
    http.send(&crate::http::request(
        "PUT",
        "/v1/spaces/notes/episodes/a",
        &headers,
        body.as_bytes(),
    ));
    http.read().ok();
    // The kernel does not say who it was.
    let found = local.get("/v1/spaces/notes/episodes/a").ok();
    assert_eq!(found["writer_uid"], 65_534);
    let body = json!({ "path": "/tmp/engram-never" }).to_string();
    http.send(&crate::http::request("POST", "/v1/snapshots", &headers, body.as_bytes()));
    assert_eq!(http.read().problem(), (403, "NOPERM".into()));
    // RESP is not spoken there.
    let mut resp = Http::over_tcp(port);
    resp.send(b"*1\r\n$4\r\nPING\r\n");
    assert!(resp.try_read().map_or(true, |answer| answer.status == 400));
}

#[test]
fn a_token_that_others_can_read_is_none() {
    let home = Home::new();
    for (mode, word) in [(0o644, "chmod 600"), (0o660, "chmod 600")] {
        let settings = settings(&home, mode);
        let command = home.command(&settings.each_ref().map(String::as_str));
        let (code, said) = home.refuse(command);
        assert_eq!(code, Some(1));
        assert!(said.contains(word) && said.contains("token"), "{said}");
    }
    let (code, said) = home.refuse(home.command(&["edge_listen=127.0.0.1:0"]));
    assert_eq!(code, Some(1));
    assert!(said.contains("edge_token_file must be"), "{said}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("edge_listen={}", taken.local_addr().unwrap());
    let token = format!("edge_token_file={}", token_file(&home, 0o600).display());
    let (code, said) = home.refuse(home.command(&[&listen, &token]));
    assert_eq!(code, Some(1));
    assert!(said.contains("cannot be listened on"), "{said}");
}
