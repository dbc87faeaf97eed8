//! The `engram` binary against a fake daemon: what goes over the wire, what people see, exit codes.

mod fake;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::Ordering::SeqCst;

use fake::FakeDaemon;
use serde_json::Value;

fn engram(socket: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_engram"))
        .arg("--socket")
        .arg(socket)
        .args(arguments)
        .env_remove("ENGRAM_SOCKET")
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a command that must succeed and returns its standard output.
fn succeed(daemon: &FakeDaemon, arguments: &[&str]) -> String {
    let output = engram(daemon.socket(), arguments);
    assert!(output.status.success(), "{arguments:?}: {}{}", stdout(&output), stderr(&output));
    stdout(&output)
}

/// Runs a command that must end with this code and returns its standard error.
fn fail(daemon: &FakeDaemon, code: i32, arguments: &[&str]) -> String {
    let output = engram(daemon.socket(), arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
    stderr(&output)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// A JSONL file of `count` episodes with two dimensions, vectors inline.
fn write_episodes(path: &Path, count: usize) {
    let line = |n: usize| {
        let angle = n as f32 / count as f32;
        format!("{{\"id\":\"e{n:04}\",\"text\":\"number {n}\",\"vector\":[{angle},1]}}\n")
    };
    fs::write(path, (0..count).map(line).collect::<String>()).unwrap();
}

fn expected_ids(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("e{n:04}")).collect()
}

#[test]
fn an_episode_is_stored_recalled_read_and_forgotten() {
    let daemon = FakeDaemon::start();
    assert!(succeed(&daemon, &["ping"]).starts_with("PONG from "));
    succeed(&daemon, &["space", "create", "s", "--dim", "2"]);
    assert!(succeed(&daemon, &["space", "list"]).lines().nth(1).unwrap().starts_with('s'));
    let stored = succeed(
        &daemon,
        &[
            "store",
            "s",
            "ferry",
            "--values",
            "1 -0.5",
            "--text",
            "We missed the ferry.",
            "--at",
            "2026-03-01T12:00:00Z",
            "--confidence",
            "0.9,0.5,1",
            "--meta",
            r#"{"place":"Naxos"}"#,
            "--thread",
            "greece",
            "--link",
            "port=0.5",
        ],
    );
    assert!(stored.starts_with("created 'ferry' in 's' (sequence 1"), "{stored}");
    let parts = "text,vec,meta,links";
    let read = json(&succeed(&daemon, &["get", "s", "ferry", "--json", "--with", parts]));
    assert_eq!(read["happened_at"], 1_772_366_400_000_000_i64);
    assert_eq!(read["meta"]["place"], "Naxos");
    assert_eq!(read["thread"], "greece");
    assert_eq!(read["links"][0]["weight"], 0.5);
    assert_eq!(read["vec"], json("[1.0, -0.5]"));

    succeed(&daemon, &["store", "s", "taxi", "--values", "1,0", "--text", "A taxi.", "--at", "7"]);
    let table = succeed(&daemon, &["recall", "s", "--id", "ferry", "-k", "2"]);
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows[1].contains("ferry") && rows[1].contains("2026-03-01 12:00:00"), "{table}");
    assert!(rows[1].ends_with("We missed the ferry."), "{table}");
    assert!(rows[2].contains("taxi"), "{table}");
    let recent = ["recall", "s", "--values", "1 0", "--since", "2026-01-01T00:00:00Z", "--json"];
    let recent = json(&succeed(&daemon, &recent));
    assert_eq!(recent.as_array().unwrap().len(), 1);
    assert_eq!(recent[0]["id"], "ferry");

    let link = ["link", "s", "ferry", "taxi", "0.25", "--kind", "then", "--mutual"];
    assert_eq!(succeed(&daemon, &link), "created 'ferry' → 'taxi' in 's' (2 links)\n");
    let read = json(&succeed(&daemon, &["get", "s", "taxi", "--json", "--with", "links"]));
    assert_eq!(read["links"], json(r#"[{"id": "ferry", "weight": 0.25, "kind": "then"}]"#));
    assert!(fail(&daemon, 1, &["link", "s", "bus", "taxi", "1"]).contains("NOEPISODE"));
    assert!(fail(&daemon, 2, &["link", "s", "ferry", "taxi", "much"]).contains("much"));
    let unlink = ["unlink", "s", "ferry", "taxi"];
    assert_eq!(succeed(&daemon, &unlink), "removed 1 of 'ferry' → 'taxi' in 's'\n");
    assert_eq!(json(&succeed(&daemon, &[&unlink[..], &["--json"]].concat()))["removed"], 0);
    assert!(fail(&daemon, 1, &["unlink", "s", "bus", "taxi"]).contains("NOEPISODE"));

    succeed(&daemon, &["forget", "s", "ferry"]);
    assert!(fail(&daemon, 1, &["get", "s", "ferry"]).contains("no episode 'ferry'"));
    assert!(fail(&daemon, 1, &["forget", "s", "ferry"]).contains("NOEPISODE"));
}

#[test]
fn the_help_of_import_and_export_tells_what_a_line_holds() {
    let daemon = FakeDaemon::start();
    let help = succeed(&daemon, &["import", "--help"]);
    let line = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/document.rs")).unwrap();
    // The first column of the table at the top of the file.
    let columns = line.lines().filter_map(|line| line.strip_prefix("//! | `")?.split('|').next());
    let fields: Vec<&str> =
        columns.flat_map(|own| own.split(|c: char| !c.is_alphanumeric() && c != '_')).collect();
    let fields: Vec<&str> =
        fields.into_iter().filter(|word| !word.is_empty() && *word != "or").collect();
    assert!(fields.len() > 10 && fields.contains(&"ts"), "{fields:?}");
    let words: BTreeSet<&str> = help.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    for field in fields {
        assert!(words.contains(field), "{help} should name {field}");
    }
    let help = succeed(&daemon, &["export", "--help"]);
    assert!(help.contains("Pins, presentations") && help.contains("engram snapshot"), "{help}");
}

#[test]
fn the_fan_of_a_space_is_given_and_shown() {
    let daemon = FakeDaemon::start();
    let create =
        |name, fan: &[&'static str]| [&["space", "create", name, "--dim", "2"][..], fan].concat();
    succeed(&daemon, &create("plain", &[]));
    succeed(&daemon, &create("act-r", &["--fan", "1.50", "--fan-cap", "70000"]));
    succeed(&daemon, &create("hubs", &["--fan", "degree", "--fan-cap", "1"]));
    for (name, fan, fan_cap) in
        [("plain", "degree", 0), ("act-r", "1.5", 70_000), ("hubs", "degree", 1)]
    {
        let info = json(&succeed(&daemon, &["space", "info", name, "--json"]));
        assert_eq!((&info["fan"], &info["fan_cap"]), (&fan.into(), &fan_cap.into()), "{name}");
    }
    let table = succeed(&daemon, &["space", "list"]);
    assert!(
        table.lines().next().unwrap().contains("fan_cap") && table.contains("70,000"),
        "{table}"
    );
    for bad in ["0", "8.01", "NaN", "-1", "1.234"] {
        let fan = format!("--fan={bad}");
        let said = fail(&daemon, 2, &["space", "create", "s", "--dim", "2", &fan]);
        assert!(
            said.contains("degree, or a strength from 0.01 to 8") && said.contains(bad),
            "{said}"
        );
    }
    assert!(fail(&daemon, 2, &create("s", &["--fan-cap", "0"])).contains("--fan-cap"));
}

/// tea needs a kettle, and that leads to water; a cup belongs to both.
fn tea() -> FakeDaemon {
    let daemon = FakeDaemon::start();
    succeed(&daemon, &["space", "create", "s", "--dim", "2"]);
    for (id, values) in [("cup", "0 1"), ("water", "0 2"), ("kettle", "1 0"), ("tea", "9 0")] {
        let text = format!("About {id}.");
        succeed(&daemon, &["store", "s", id, "--values", values, "--text", &text, "--at", "7"]);
    }
    succeed(&daemon, &["link", "s", "tea", "kettle", "3", "--kind", "needs"]);
    succeed(&daemon, &["link", "s", "tea", "cup", "1"]);
    succeed(&daemon, &["link", "s", "kettle", "water", "1"]);
    daemon
}

#[test]
fn what_is_associated_with_seeds_is_shown_with_the_way_to_it() {
    let daemon = tea();
    let table = succeed(&daemon, &["spread", "s", "--from", "tea"]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].contains("activation") && lines[0].ends_with("text"), "{table}");
    assert!(lines[1].contains("0.18750 ██████████  kettle") && lines[1].ends_with("About kettle."));
    assert!(lines[2].contains("0.09375 █████·····  water"), "{table}");
    assert_eq!(
        lines[4..],
        ["links visited: 1,234, ids reached: 4, activation missing at most: 0.12500"]
    );
    let spread = ["spread", "s", "--from", "tea=3", "--from", "cup=1", "-k", "2"];
    let table = succeed(&daemon, &[&spread[..], &["--why", "--deadline", "100"]].concat());
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].ends_with("path"), "{table}");
    assert!(lines[1].ends_with("tea -needs-> kettle · About kettle."), "{table}");
    assert!(lines[2].ends_with("tea -needs-> kettle -> water · About water."), "{table}");
    assert!(lines[4].contains("the deadline came first"), "{table}");
    let found = json(&succeed(&daemon, &[&spread[..], &["--with", "why", "--json"]].concat()));
    assert_eq!(found["hits"][0]["why"]["path"][0]["kind"], "needs");
    let options = ["--hops", "1", "--decay", "0.25", "--budget", "9", "--threshold", "0.001"];
    let options = [&options[..], &["--similar", "0"]].concat();
    let near = json(&succeed(&daemon, &[&spread[..], &options, &["--exact", "--json"]].concat()));
    assert_eq!(near["hits"].as_array().unwrap().len(), 1);
    assert_eq!(near["hits"][0]["activation"], 0.75 * 0.25 * 0.75 * 0.75);
    let nothing = succeed(&daemon, &["spread", "s", "--from", "water", "--since", "5"]);
    assert!(nothing.starts_with("nothing in 's' is associated with the seeds\n"), "{nothing}");
    assert!(fail(&daemon, 1, &["spread", "s", "--from", "bus"]).contains("'bus'"));
    assert!(fail(&daemon, 2, &["spread", "s", "--from", "tea=much"]).contains("'much' is no mass"));
    assert!(fail(&daemon, 2, &["spread", "s"]).contains("--from"));
}

#[test]
fn a_recall_shows_what_associations_add() {
    let daemon = tea();
    let recall = ["recall", "s", "--id", "tea", "-k", "4", "--exact", "--spread"];
    let options = ["--weight", "100", "--seeds", "1", "--hops", "2", "--why"];
    let table = succeed(&daemon, &[&recall[..], &options].concat());
    let lines: Vec<&str> = table.lines().collect();
    assert!(["score", "similarity", "activation", "path"].iter().all(|it| lines[0].contains(it)));
    let cells = |line: usize| lines[line].split_whitespace().take(6).collect::<Vec<_>>();
    assert_eq!(cells(1), ["1", "131.000", "██████████", "81.000", "0.50000", "tea"]);
    assert_eq!(lines[2], "   spread", "what led to the seed stands below it");
    assert_eq!(cells(3), ["2", "27.750", "██········", "9.000", "0.18750", "kettle"]);
    assert!(lines[4].contains("  tea -needs-> kettle -> "), "{table}");
    assert!(lines[5].ends_with("  tea -> cup · About cup."), "{table}");
    assert_eq!(lines.len(), 6);
    let cut = succeed(&daemon, &[&recall[..], &["--deadline", "10"]].concat());
    assert!(cut.ends_with("the deadline came first: there may be more and better\n"), "{cut}");
    let found = json(&succeed(&daemon, &[&recall[..], &["--json"]].concat()));
    assert_eq!((&found[0]["similarity"], &found[0]["activation"]), (&81.0.into(), &0.5.into()));
    for option in
        ["--hops", "--budget", "--decay", "--threshold", "--similar", "--deadline", "--seeds"]
    {
        let said = fail(&daemon, 2, &["recall", "s", "--id", "tea", option, "1"]);
        assert!(said.contains("--spread"), "{option}: {said}");
    }
}

#[test]
fn errors_are_one_sentence_with_the_exit_code_of_their_kind() {
    let daemon = FakeDaemon::start();
    let refused = fail(&daemon, 1, &["recall", "nowhere", "--values", "1 0"]);
    assert_eq!(refused, "engram: no memory space named 'nowhere' (NOSPACE)\n");
    succeed(&daemon, &["space", "create", "s", "--dim", "2"]);
    assert!(fail(&daemon, 1, &["store", "s", "a", "--values", "1"]).contains("(DIM)"));
    assert!(fail(&daemon, 2, &["store", "s", "a"]).contains("--vector FILE.npy"));
    assert!(fail(&daemon, 2, &["recall", "s"]).contains("a recall needs a cue"));
    assert!(fail(&daemon, 2, &["space", "drop", "s"]).contains("add --yes"));
    assert!(
        fail(&daemon, 2, &["recall", "s", "--values", "1", "--since", "noon"]).contains("3339")
    );
    assert!(fail(&daemon, 2, &["no-such-command"]).contains("no-such-command"));

    let missing = daemon.path("missing.sock");
    let output = engram(&missing, &["ping"]);
    assert_eq!(output.status.code(), Some(3));
    let sentence = stderr(&output);
    assert!(sentence.contains(missing.to_str().unwrap()), "{sentence}");
    assert!(sentence.contains("start engramd"), "{sentence}");
}

#[test]
fn an_import_survives_busy_answers_and_lost_connections() {
    const COUNT: usize = 1000;
    let daemon = FakeDaemon::start();
    let episodes = daemon.path("e.jsonl");
    let acked = daemon.path("acked");
    write_episodes(&episodes, COUNT);
    daemon.faults.busy_every.store(7, SeqCst);
    daemon.faults.close_every.store(20, SeqCst);
    let import = [
        "import",
        "s",
        "--episodes",
        episodes.to_str().unwrap(),
        "--create",
        "--batch",
        "16",
        "--acked-log",
        acked.to_str().unwrap(),
        "--json",
    ];
    let report = json(&succeed(&daemon, &import));
    assert_eq!(report["acknowledged"], COUNT);
    assert!(report["busy_retries"].as_u64().unwrap() > 0, "{report}");
    assert!(report["reconnects"].as_u64().unwrap() > 0, "{report}");
    assert!(report["existing"].as_u64().unwrap() > 0, "resent episodes were stored: {report}");
    assert_eq!(report["replaced"], 0);
    assert_eq!(daemon.ids("s"), expected_ids(COUNT));
    let log = fs::read_to_string(&acked).unwrap();
    let logged: BTreeSet<&str> = log.lines().collect();
    assert_eq!(logged.len(), COUNT);
    assert!(!daemon.path("e.jsonl.engram-import").exists(), "the checkpoint is left behind");

    let again = json(&succeed(&daemon, &import));
    assert_eq!((&again["existing"], &again["created"]), (&COUNT.into(), &0.into()));
}

#[test]
fn an_import_stops_at_a_bad_line_and_resumes_behind_what_is_acknowledged() {
    const COUNT: usize = 200;
    let daemon = FakeDaemon::start();
    let episodes = daemon.path("e.jsonl");
    write_episodes(&episodes, COUNT);
    let good = fs::read_to_string(&episodes).unwrap();
    let bad_line = good.lines().nth(149).unwrap();
    fs::write(&episodes, good.replace(bad_line, "{\"id\":7}")).unwrap();
    let path = episodes.to_str().unwrap();
    let import = ["import", "s", "--episodes", path, "--create", "--batch", "10"];
    let sentence = fail(&daemon, 2, &import);
    assert!(sentence.contains("e.jsonl, line 150: invalid type"), "{sentence}");
    assert!(sentence.contains("--resume"), "{sentence}");

    fs::write(&episodes, &good).unwrap();
    let resumed = [import.as_slice(), &["--resume", "--json"]].concat();
    let report = json(&succeed(&daemon, &resumed));
    assert_eq!(daemon.ids("s"), expected_ids(COUNT));
    let acknowledged = report["acknowledged"].as_u64().unwrap();
    assert!((51..COUNT as u64).contains(&acknowledged), "{report}");
}

#[test]
fn bad_lines_and_refused_episodes_can_be_skipped() {
    let daemon = FakeDaemon::start();
    let episodes = daemon.path("e.jsonl");
    let lines = "{\"id\":\"a\",\"vector\":[1,0]}\nnonsense\n{\"id\":\"b\",\"vector\":[1]}\n\
                 {\"id\":\"c\",\"vector\":[0,1]}\n";
    fs::write(&episodes, lines).unwrap();
    succeed(&daemon, &["space", "create", "s", "--dim", "2"]);
    let import = ["import", "s", "--episodes", episodes.to_str().unwrap()];
    assert!(fail(&daemon, 2, &import).contains("line 2"));
    let output = engram(daemon.socket(), &[import.as_slice(), &["--skip-bad"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).ends_with("2 skipped\n"), "{}", stdout(&output));
    assert!(stderr(&output).contains("line 3: 'b' was refused"), "{}", stderr(&output));
    assert_eq!(daemon.ids("s"), ["a", "c"]);
}

#[test]
fn what_is_exported_imports_to_the_same() {
    let daemon = FakeDaemon::start();
    let episodes = daemon.path("e.jsonl");
    let lines = r#"{"id":"a","text":"x \"quoted\"","at":-5,"meta":{ "z": 1.10 },"vector":[0.1,3e-9]}
{"id":"b","at":"2026-03-01T12:00:00Z","confidence":0.9,"thread":"t","vector":[1,2]}
{"id":"c","confidence":[0.5,0,1],"links":[{"id":"a","kind":"n"},{"id":"b"}],"vector":[1,2]}
{"id":"d","vector":[-1,0.33333334]}
"#;
    fs::write(&episodes, lines).unwrap();
    let import = |space: &str, path: &Path, vectors: Option<&Path>| {
        let mut arguments = vec!["import", space, "--create", "--episodes", path.to_str().unwrap()];
        arguments.extend(vectors.iter().flat_map(|v| ["--vectors", v.to_str().unwrap()]));
        succeed(&daemon, &arguments);
    };
    import("one", &episodes, None);
    let inline = daemon.path("inline.jsonl");
    fs::write(&inline, succeed(&daemon, &["export", "one"])).unwrap();
    import("two", &inline, None);
    let matrix = daemon.path("two.npy");
    let rows = daemon.path("rows.jsonl");
    let export = ["export", "two", "--vectors", matrix.to_str().unwrap()];
    fs::write(&rows, succeed(&daemon, &export)).unwrap();
    import("three", &rows, Some(&matrix));
    let last = succeed(&daemon, &["export", "three"]);
    assert_eq!(last, fs::read_to_string(&inline).unwrap());
    assert!(last.contains(r#""meta":{ "z": 1.10 }"#), "{last}");
    assert!(last.contains(r#""vector":[0.1,3e-9]"#), "{last}");
    assert!(last.contains(r#""confidence":0.9,"#), "{last}");
}

#[test]
fn an_episode_with_more_links_than_a_store_takes_is_imported_whole() {
    let daemon = FakeDaemon::start();
    let link = |nth: u32| format!(r#"{{"id":"t{nth}","weight":{nth}.5,"kind":"k"}}"#);
    let links: Vec<String> = (0..1500).map(link).collect();
    let line = format!("{{\"id\":\"hub\",\"links\":[{}],\"vector\":[1,2]}}\n", links.join(","));
    let file = daemon.path("hub.jsonl");
    fs::write(&file, &line).unwrap();
    let import = ["import", "s", "--create", "--episodes", file.to_str().unwrap()];
    succeed(&daemon, &import);
    let read = json(&succeed(&daemon, &["get", "s", "hub", "--json", "--with", "links"]));
    assert!(read["links"] == json(&line)["links"], "some of the links are not there");
}

#[test]
fn load_stores_what_it_says_and_verifies_it() {
    let daemon = FakeDaemon::start();
    let acked = daemon.path("acked");
    let load = [
        "load",
        "--create",
        "--workload",
        "mixed",
        "--recall-share",
        "0.1",
        "--dimensions",
        "8",
        "--connections",
        "2",
        "--window",
        "8",
        "--seconds",
        "0.3",
        "--warmup-seconds",
        "0.1",
        "--batch",
        "3",
        "--acked-log",
        acked.to_str().unwrap(),
        "--json",
    ];
    let report = json(&succeed(&daemon, &load));
    assert_eq!(report["errors"], json("{}"));
    assert_eq!(report["unanswered"], 0);
    let stores = &report["operations"][0];
    assert_eq!(stores["operation"], "store");
    assert!(stores["latency_us"]["p50"].as_f64().unwrap() > 0.0, "{report}");
    assert_eq!(report["operations"][1]["operation"], "recall");
    assert_eq!(report["hits_per_recall"], 10.0);
    assert!(report["daemon"]["stores"].as_u64().unwrap() > 0, "{report}");
    let log = fs::read_to_string(&acked).unwrap();
    let logged: Vec<String> = log.lines().map(str::to_owned).collect();
    let distinct: BTreeSet<&String> = logged.iter().collect();
    assert_eq!(distinct.len(), logged.len(), "an id was acknowledged twice");
    assert_eq!(distinct.into_iter().cloned().collect::<Vec<_>>(), daemon.ids("load"));

    let verify = ["load", "--verify", acked.to_str().unwrap()];
    assert!(succeed(&daemon, &verify).ends_with("0 missing, 0 altered\n"));
    daemon.lose("load", &logged[5]);
    let sentence = fail(&daemon, 1, &verify);
    assert!(sentence.contains(&logged[5]), "{sentence}");
    let altered = ["store", "load", &logged[6], "--values", "1 0 0 0 0 0 0 0", "--text", "other"];
    succeed(&daemon, &altered);
    let output = engram(daemon.socket(), &verify);
    assert!(stdout(&output).ends_with("1 missing, 1 altered\n"), "{}", stdout(&output));
}

#[test]
fn an_open_loop_sends_at_its_rate() {
    let daemon = FakeDaemon::start();
    let load = [
        "load",
        "--create",
        "--rate",
        "2000",
        "--dimensions",
        "4",
        "--connections",
        "2",
        "--seconds",
        "0.5",
        "--warmup-seconds",
        "0",
        "--json",
    ];
    let report = json(&succeed(&daemon, &load));
    assert_eq!(report["loop_mode"], "open");
    assert_eq!(daemon.ids("load").len(), 1000, "every request of the schedule was sent: {report}");
}

/// A matrix of `rows` vectors of four dimensions, as f16 or f32.
fn write_npy(path: &Path, rows: u32, is_half: bool) {
    let kind = if is_half { "<f2" } else { "<f4" };
    let header = format!(
        "{{'descr': '{kind}', 'fortran_order': False, 'shape': ({rows}, 4), }}{}\n",
        " ".repeat(20)
    );
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend_from_slice(&(header.len() as u16).to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    for row in 0..rows {
        let angle = row as f32 * 0.1;
        for component in [angle.cos(), angle.sin(), 0.5, 0.0] {
            match is_half {
                true => bytes.extend_from_slice(&half::f16::from_f32(component).to_le_bytes()),
                false => bytes.extend_from_slice(&component.to_le_bytes()),
            }
        }
    }
    fs::write(path, bytes).unwrap();
}

#[test]
fn every_row_of_a_matrix_is_stored_once() {
    let daemon = FakeDaemon::start();
    daemon.faults.busy_every.store(5, SeqCst);
    let (matrix, acked) = (daemon.path("m.npy"), daemon.path("acked"));
    write_npy(&matrix, 50, true);
    let [file, log] = [&matrix, &acked].map(|path| path.to_str().unwrap().to_owned());
    let load = ["load", "--npy", &file, "--rows", "3..45", "--batch", "4", "--connections", "2"];
    let more = ["--create", "--space", "m", "--acked-log", &log, "--json"];
    let report = json(&succeed(&daemon, &[&load[..], &more].concat()));
    assert_eq!((&report["rows"], &report["dimensions"]), (&42.into(), &4.into()));
    assert!(report["busy_retries"].as_u64().unwrap() > 0, "{report}");
    let expected: Vec<String> = (3..45).map(|row| format!("load-{row:012}")).collect();
    assert_eq!(daemon.ids("m"), expected);
    let verified = succeed(&daemon, &["load", "--space", "m", "--verify", &log]);
    assert!(verified.contains("verified 42 acknowledgements"), "{verified}");
    assert!(fail(&daemon, 2, &["load", "--npy", &file, "--rows", "40..51"]).contains("50 rows"));
}

#[test]
fn recall_is_judged_by_the_truth() {
    let daemon = FakeDaemon::start();
    let matrix = daemon.path("m.npy");
    write_npy(&matrix, 30, false);
    let file = matrix.to_str().unwrap();
    let fill = ["load", "--npy", file, "--rows", "..25", "--create", "--text-bytes", "0"];
    succeed(&daemon, &fill);
    let recall = ["load", "--recall", "--k", "5", "--beam", "16,64", "--json"];
    for (cues, count) in [
        (vec!["--queries", file, "--query-rows", "25..", "--connections", "2"], 5),
        (vec!["--samples", "7", "--noise", "0.01"], 7),
    ] {
        let report = json(&succeed(&daemon, &[&recall[..], &cues].concat()));
        assert_eq!(report["cues"], count);
        let shares: Vec<(&str, f64, f64)> = report["efforts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|effort| {
                let share = |name: &str| (effort[name].as_f64().unwrap() * 1e6).round() / 1e6;
                let client_us = effort["client_us"]["p50"].as_f64().unwrap();
                assert!(share("recalls_per_second") > 0.0 && client_us > 1.0, "{effort}");
                assert_eq!(effort["server_us"]["p99"], 99.0);
                let name = effort["effort"].as_str().unwrap();
                (name, share("recall_at_k"), share("recall_at_1"))
            })
            .collect();
        let expected = [
            ("exact", 1.0, 1.0),
            ("usual", 0.8, 1.0),
            ("beam 16", 0.8, 1.0),
            ("beam 64", 1.0, 1.0),
        ];
        assert_eq!(shares, expected);
    }
    let text = succeed(&daemon, &["load", "--recall", "--k", "5", "--samples", "3"]);
    assert!(text.contains("recall@k") && text.contains("0.8000"), "{text}");
    succeed(&daemon, &["space", "create", "empty", "--dim", "4"]);
    let none = fail(&daemon, 2, &["load", "--recall", "--space", "empty"]);
    assert!(none.contains("has no episodes"), "{none}");
}
