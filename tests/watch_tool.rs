//! `engram watch`: every episode is a line of JSON, and every line says where to go on; and
//! `engram slowlog`, `engram latency`.

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};

use common::{Client, Daemon, Home, eventually};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A running `engram watch`.
struct Tool {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Tool {
    fn start(daemon: &Daemon, arguments: &[&str]) -> Self {
        let mut command = common::engram();
        command.arg("--socket").arg(&daemon.socket).arg("watch").args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    fn take(&mut self, count: usize) -> Vec<Value> {
        (0..count).map(|_| self.line()).collect()
    }

    /// How it ended, and what it said.
    fn end(self) -> (Option<i32>, String) {
        let output = self.child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }
}

fn store(client: &mut Client, ids: impl Iterator<Item = String>) -> Vec<String> {
    let stored: Vec<String> = ids.collect();
    for id in &stored {
        let (text, meta) = (format!("text of {id}"), format!("{{\"id\": \"{id}\"}}"));
        client.ask(&command![
            "EG.STORE", "notes", id, "VALUES", "2", "1", "0.5", "TEXT", text, "META", meta
        ]);
    }
    stored
}

fn ids(lines: &[Value]) -> Vec<String> {
    let mut ids: Vec<String> =
        lines.iter().map(|line| line["id"].as_str().unwrap().to_owned()).collect();
    ids.sort_unstable();
    ids
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort_unstable();
    ids
}

/// Watches that are open.
fn watches(client: &mut Client) -> i64 {
    use common::Reply as _;
    client.ask(&command!["EG.STATS"]).at("watches_open").int()
}

#[test]
fn lines_come_as_episodes_do_and_each_says_where_to_go_on() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    client.create_space("notes", 2);
    let old = store(&mut client, (0..10).map(|n| format!("old-{n}")));
    let mut tool = Tool::start(&daemon, &["notes"]);
    eventually("it watches", || watches(&mut client) == 1);
    let new = store(&mut client, (0..40).map(|n| format!("new-{n}")));
    let lines = tool.take(40);
    assert_eq!(ids(&lines), sorted(new.clone()));
    for line in &lines {
        let id = line["id"].as_str().unwrap();
        assert_eq!(line["text"], format!("text of {id}"));
        assert_eq!(line["meta"]["id"], id);
        assert!(line["seq"].as_u64().is_some() && line.get("vec").is_none());
    }
    // Ctrl-C.
    kill_process(Pid::from_child(&tool.child), Signal::INT).unwrap();
    assert_eq!(tool.end().0, None, "it ends by the signal");
    eventually("it has gone", || watches(&mut client) == 0);

    let middle = lines[14]["from"].as_str().unwrap().to_owned();
    let mut tool = Tool::start(&daemon, &["notes", "--from", &middle, "--with", "vec"]);
    let rest = tool.take(25);
    assert_eq!(ids(&rest), ids(&lines[15..]));
    assert_eq!(rest[0]["vec"], serde_json::json!([1.0, 0.5]));
    assert!(rest[0].get("text").is_none());
    drop(tool.child.kill());
    let mut tool = Tool::start(&daemon, &["notes", "--from", "0"]);
    assert_eq!(ids(&tool.take(50)), sorted([old, new].concat()));
    client.ask(&command!["EG.SPACE", "DROP", "notes"]);
    let (code, said) = tool.end();
    assert_eq!(code, Some(1));
    assert!(said.contains("NOSPACE"), "{said}");
}

#[test]
fn what_took_long_is_shown_too() {
    let home = Home::new();
    let daemon = home.start_with(&["slowlog_us=0"]);
    let mut client = daemon.client();
    client.create_space("notes", 2);
    store(&mut client, (0..5).map(|n| n.to_string()));
    let shown = |arguments: &[&str]| {
        let mut command = common::engram();
        let output = command.arg("--socket").arg(&daemon.socket).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let json = |arguments: &[&str]| -> Value {
        serde_json::from_str(&shown(&[arguments, &["--json"]].concat())).unwrap()
    };
    assert_eq!(json(&["slowlog", "-n", "3"]).as_array().unwrap().len(), 3);
    let slow = shown(&["slowlog", "--count", "20"]);
    assert!(slow.contains("EG.STORE notes (1 bytes)") && slow.starts_with("when"), "{slow}");
    assert_eq!(json(&["latency", "eg.store", "commit"])["eg.store"]["count"], 5);
    assert_eq!(json(&["latency", "--histogram", "eg.store"])["eg.store"]["calls"], 5);
    assert_eq!(json(&["latency", "--reset", "eg.store"]), 1);
    assert_eq!(shown(&["latency", "eg.store"]), "nothing of that was timed\n");
    assert!(shown(&["slowlog", "--reset"]).starts_with("OK"));
}

#[test]
fn more_episodes_come_than_the_daemon_sends_ahead() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    client.create_space("notes", 2);
    let stored = store(&mut client, (0..2_500).map(|n| n.to_string()));
    let mut tool = Tool::start(&daemon, &["notes", "--from", "0"]);
    assert_eq!(ids(&tool.take(2_500)), sorted(stored));
    drop(tool.child.kill());
    drop(tool.child.wait());
}

#[test]
fn who_was_slow_goes_on_and_an_end_says_where() {
    let home = Home::new();
    let mut daemon = home.start_with(&["stream_patience_ms=300"]);
    let mut client = daemon.client();
    client.create_space("notes", 2);
    let mut tool = Tool::start(&daemon, &["notes"]);
    eventually("it watches", || watches(&mut client) == 1);
    // More than a pipe and the credit hold: nobody reads its lines.
    let stored = store(&mut client, (0..4_000).map(|n| format!("{n}-{}", "x".repeat(100))));
    eventually("it is cut", || {
        use common::Reply as _;
        client.ask(&command!["EG.STATS"]).at("watches_cut").int() > 0
    });
    let lines = tool.take(4_000);
    assert_eq!(ids(&lines), sorted(stored));
    assert!(daemon.stop().success());
    let (code, said) = tool.end();
    assert_eq!(code, Some(3));
    let at = lines[3_999]["from"].as_str().unwrap();
    assert!(said.contains(&format!("goes on with --from {at}")), "{said}");
    for arguments in [&["notes", "--from", "7"][..], &["notes", "--from", "0:x"]] {
        assert_eq!(Tool::start(&daemon, arguments).end().0, Some(2), "{arguments:?}");
    }
}
