//! `engram audit` against a daemon, of a memory space whose figures are counted by hand; and that
//! an export brings into another space what superseded what.

mod common;

use std::fs;
use std::path::Path;
use std::process::Output;

use common::episodes::blob;
use common::{Client, Home, Reply as _};
use serde_json::Value;

fn engram(socket: &Path, arguments: &[&str]) -> Output {
    common::engram().arg("--socket").arg(socket).args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn audit(socket: &Path, further: &[&str]) -> Value {
    let output = engram(socket, &[&["audit", "notes", "--json"], further].concat());
    serde_json::from_str(&stdout(&output)).unwrap()
}

fn store(client: &mut Client, id: &str, text: &str, vector: [f32; 3]) {
    client.ask(&command!["EG.STORE", "notes", id, "VEC", blob(&vector), "TEXT", text]);
}

/// Two alike, two nearly alike, one alone, and one that is superseded.
fn fill(client: &mut Client) {
    client.create_space("notes", 3);
    store(client, "tea 1", "tea", [1.0, 0.0, 0.0]);
    store(client, "tea 2", "tea", [1.0, 0.0, 0.0]);
    store(client, "pot 1", "pot", [0.0, 1.0, 0.0]);
    store(client, "pot 2", "pots", [0.05, 1.0, 0.0]);
    store(client, "old", "tea", [1.0, 0.0, 0.0]);
    let vector = blob(&[0.0, 0.0, 1.0]);
    client.ask(&command!["EG.STORE", "notes", "new", "VEC", vector, "SUPERSEDES", "old"]);
}

#[test]
fn what_a_space_consists_of_is_counted() {
    let home = Home::new();
    let daemon = home.start();
    fill(&mut daemon.client());
    for consolidates in [false, true] {
        if consolidates {
            daemon.client().ask(&command!["EG.CONSOLIDATE"]);
        }
        let report = audit(&daemon.socket, &[]);
        assert_eq!(report["episodes"], 6);
        let count = |what: &str| {
            let part = &report[what];
            ["count", "of"].map(|key| part[key].as_u64().unwrap())
        };
        assert_eq!(count("superseded"), [1, 6]);
        assert_eq!(count("exact_duplicates"), [1, 5]);
        assert_eq!(count("near_duplicates"), [2, 5], "exact ones aside");
        assert_eq!(report["near_duplicates"]["is_sampled"], false);
        assert_eq!(report["near_duplicates"]["interval"], Value::Null);
        assert_eq!(count("never_recalled"), [5, 5], "to audit is not to recall");
        assert_eq!(count("stale"), [0, 5]);
        let size = &report["size"];
        assert_eq!((&size["text_bytes"], &size["vector_bytes"]), (&16.into(), &72.into()));
        assert_eq!(size["columns_bytes"].as_u64().unwrap() > 0, consolidates);
    }
    daemon.client().ask(&command!["EG.REINFORCE", "notes", "tea 2"]);
    assert_eq!(audit(&daemon.socket, &["--stale", "0.9999"])["stale"]["count"], 5);
    assert_eq!(audit(&daemon.socket, &[])["never_recalled"]["count"], 4);
    let near = |further: &[&str]| audit(&daemon.socket, further)["near_duplicates"].clone();
    assert_eq!(near(&["--threshold", "0.9999", "--exact"])["count"], 0);
    let sampled = near(&["--sample", "2"]);
    assert_eq!((&sampled["of"], &sampled["is_sampled"]), (&2.into(), &true.into()));
    let [low, high] = [0, 1].map(|end| sampled["interval"][end].as_f64().unwrap());
    let share = sampled["share"].as_f64().unwrap();
    assert!(0.0 <= low && low <= share && share <= high && high <= 1.0, "{sampled}");

    assert_eq!(audit(&daemon.socket, &[])["would_be_forgotten"], Value::Null, "no policy");
    daemon.client().ask(&command!["EG.PIN", "notes", "pot 1"]);
    let tried = |further: &[&str]| {
        let report = audit(&daemon.socket, &[&["--forget-below", "0.9999"], further].concat());
        ["count", "of"].map(|key| report["would_be_forgotten"][key].as_u64().unwrap())
    };
    // What is superseded fades as well, and what is pinned does not.
    assert_eq!(tried(&[]), [5, 6]);
    assert_eq!(tried(&["--forget-after", "100000"]), [0, 6]);

    let said = stdout(&engram(&daemon.socket, &["audit", "notes"]));
    for line in ["superseded", "exact duplicates", "16.7 %", "20.0 %", "40.0 %", "never recalled"] {
        assert!(said.contains(line), "{said} should say {line}");
    }
    let unknown = engram(&daemon.socket, &["audit", "nothing"]);
    assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");
}

#[test]
fn bounds_that_nothing_can_have_are_refused() {
    let home = Home::new();
    let refused = |arguments: [&str; 3], because: &str| {
        let [space, flag, bound] = arguments;
        // With = in between, since some begin with a minus.
        let flag = format!("{flag}={bound}");
        let output = engram(&home.socket(), &["audit", space, &flag]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(because), "{said} should say {because}");
    };
    // No daemon listens yet: these are refused without one.
    for flag in ["--stale", "--archive-below", "--forget-below"] {
        for bound in ["2", "-0.1", "NaN", "inf"] {
            refused(["notes", flag, bound], bound);
        }
        refused(["notes", flag, "1.0001"], "is not from 0 to 1");
    }
    refused(["notes", "--threshold", "NaN"], "no finite number");
    // What similarities can be is a matter of the metric.
    let daemon = home.start();
    let mut client = daemon.client();
    fill(&mut client);
    for metric in ["dot", "l2"] {
        client.ask(&command!["EG.SPACE", "CREATE", metric, "DIM", "3", "METRIC", metric]);
    }
    refused(["notes", "--threshold", "1.5"], "similarities in 'notes' are from -1 to 1 (cosine)");
    refused(["notes", "--threshold", "-1.1"], "from -1 to 1");
    refused(["l2", "--threshold", "-0.5"], "similarities in 'l2' are from 0 to 1 (l2)");
    let taken = [("notes", "-1"), ("notes", "1"), ("l2", "0"), ("dot", "1.5"), ("dot", "-20")];
    for (space, threshold) in taken {
        stdout(&engram(&daemon.socket, &["audit", space, "--threshold", threshold]));
    }
    for bound in ["0", "1"] {
        audit(&daemon.socket, &["--stale", bound, "--forget-below", bound]);
    }
}

#[test]
fn an_export_carries_what_superseded_what() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    fill(&mut client);
    let supersede = ["supersede", "notes", "tea 1", "tea 2", "--at", "1970-01-01T00:00:01Z"];
    let said = stdout(&engram(&daemon.socket, &supersede));
    assert_eq!(said, "superseded 'tea 1' by 'tea 2' in 'notes'\n");
    let lines = stdout(&engram(&daemon.socket, &["export", "notes"]));
    let file = home.path("notes.jsonl");
    // One that supersedes as it is stored, behind what it names.
    let more = r#"{"id":"kettle","vector":[0,0,2],"supersedes":["pot 1"]}"#;
    fs::write(&file, lines).unwrap();
    client.create_space("copy", 3);
    let import = ["import", "copy", "--episodes", file.to_str().unwrap()];
    stdout(&engram(&daemon.socket, &import));
    fs::write(&file, format!("{more}\n")).unwrap();
    stdout(&engram(&daemon.socket, &import));
    let mut by = |space: &str, id: &str| {
        let episode = client.ask(&command!["EG.GET", space, id]);
        let is_superseded = episode.keys().contains(&"superseded_by");
        is_superseded.then(|| {
            (episode.at("superseded_by").text().to_owned(), episode.at("valid_until").int())
        })
    };
    assert_eq!(by("copy", "tea 1"), Some(("tea 2".into(), 1_000_000)));
    for id in ["tea 1", "tea 2", "pot 2", "old", "new"] {
        assert_eq!(by("copy", id), by("notes", id), "{id}");
    }
    assert_eq!(by("copy", "pot 1").map(|(id, _)| id), Some("kettle".into()));
    let stored = engram(
        &daemon.socket,
        &["store", "notes", "x", "--values", "0 0 3", "--supersedes", "new", "--near", "0.5"],
    );
    let said = stdout(&stored);
    assert!(said.contains("supersedes 1 of 1") && !said.contains("near"), "{said}");
}
