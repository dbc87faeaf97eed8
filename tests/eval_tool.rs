//! `engram eval` against a daemon: a tiny conversation whose measures are worked out by hand, what
//! is left behind, and what it refuses.

mod common;

use std::fs;
use std::path::Path;
use std::process::Output;

use common::{Client, Home, Reply as _};
use serde_json::Value;

/// Space, id, session, speaker, text, vector.
type Turn = (&'static str, &'static str, u32, &'static str, &'static str, [f32; 3]);
/// Space, question, evidence, category, vector.
type Question = (&'static str, &'static str, &'static str, &'static str, [f32; 3]);

const TURNS: [Turn; 7] = [
    ("tea", "t1", 1, "Ida", "Where do you keep the good kettle?", [0.9, 0.1, 0.0]),
    ("tea", "t2", 1, "Bo", "In the left cupboard, behind the pans.", [0.0, 0.0, 1.0]),
    ("tea", "t3", 1, "Ida", "Thanks, I will make some for everyone.", [1.0, 0.0, 0.0]),
    ("tea", "t4", 2, "Bo", "The ferry to Naxos leaves at nine.", [0.1, 1.0, 0.0]),
    ("tea", "t5", 2, "Ida", "Then we need a taxi before eight.", [0.0, 2.0, 0.0]),
    ("garden", "g1", 1, "Ida", "The tomatoes are ripe at last.", [0.5, 0.5, 0.0]),
    ("garden", "g2", 1, "Bo", "I will water the roses tomorrow.", [0.0, 1.0, 0.1]),
];

const QUESTIONS: [Question; 4] = [
    ("tea", "Where is the kettle?", "t2", "place", [1.0, 0.0, 0.0]),
    ("tea", "When does the ferry leave?", "t4; t5", "time", [0.0, 1.0, 0.0]),
    ("garden", "Are the tomatoes ripe?", "g1", "state", [0.0, 1.0, 0.0]),
    ("garden", "Who sings?", "g9", "state", [0.0, 0.0, 1.0]),
];

fn npy(rows: &[[f32; 3]]) -> Vec<u8> {
    let shape = format!("({}, 3)", rows.len());
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend_from_slice(&(header.len() as u16).to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend(rows.iter().flatten().flat_map(|component| component.to_le_bytes()));
    bytes
}

/// Writes the files of the conversations.
fn write(home: &Home) {
    let turns = TURNS.iter().zip(0..).map(|((space, id, session, speaker, text, _), nth)| {
        let ts = 1_700_000_000 + 60 * nth;
        format!(
            "{{\"space\":\"{space}\",\"id\":\"{id}\",\"session\":{session},\"ts\":{ts},\
             \"speaker\":\"{speaker}\",\"text\":\"{text}\"}}\n"
        )
    });
    fs::write(home.path("turns"), turns.collect::<String>()).unwrap();
    let questions = QUESTIONS.iter().map(|(space, question, evidence, category, _)| {
        format!(
            "{{\"space\":\"{space}\",\"question\":\"{question}\",\"evidence\":[\"{evidence}\"],\
             \"category\":\"{category}\"}}\n"
        )
    });
    fs::write(home.path("questions"), questions.collect::<String>()).unwrap();
    fs::write(home.path("turns.npy"), npy(&TURNS.map(|turn| turn.5))).unwrap();
    fs::write(home.path("questions.npy"), npy(&QUESTIONS.map(|question| question.4))).unwrap();
}

fn engram(socket: &Path, arguments: &[&str]) -> Output {
    common::engram().arg("--socket").arg(socket).args(arguments).output().unwrap()
}

fn eval(home: &Home, socket: &Path, further: &[&str]) -> Output {
    let path = |name: &str| home.path(name).to_str().unwrap().to_owned();
    let files = ["turns", "turns.npy", "questions", "questions.npy"].map(path);
    let [turns, turn_vectors, questions, question_vectors] = &files;
    let usual = [
        ["--turns", turns],
        ["--turn-vectors", turn_vectors],
        ["--questions", questions],
        ["--question-vectors", question_vectors],
    ];
    let k = if further.contains(&"-k") { &[][..] } else { &["-k", "2"] };
    engram(socket, &[&["eval"], usual.as_flattened(), k, further].concat())
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(output: &Output, code: i32, because: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(because), "{said} should say {because}");
}

fn spaces(client: &mut Client) -> Vec<String> {
    let listed = client.ask(&command!["EG.SPACE", "LIST"]);
    let mut names: Vec<String> = listed.items().iter().map(|name| name.text().to_owned()).collect();
    names.sort_unstable();
    names
}

/// Recall, all and MRR of a way, in sixths.
fn sixths(group: &Value, way: &str) -> [f64; 3] {
    let mean = |measure: &str| group["ways"][way][measure]["mean"].as_f64().unwrap();
    ["recall", "all", "mrr"].map(|measure| (mean(measure) * 6.0 * 1e6).round() / 1e6)
}

fn check(report: &Value) {
    assert_eq!((&report["questions"], &report["questions_skipped"]), (&3.into(), &1.into()));
    assert_eq!((&report["turns"], &report["evidence_unknown"]), (&7.into(), &1.into()));
    let overall = &report["overall"];
    // Dense finds t3 and t1, then t5 and t4, then g2 and g1; BM25 finds t1, t4 and g1 alone.
    assert_eq!(sixths(overall, "dense"), [4.0, 4.0, 3.0]);
    assert_eq!(sixths(overall, "bm25"), [3.0, 2.0, 4.0]);
    assert_eq!(sixths(overall, "vector"), sixths(overall, "dense"), "vectors are compared exactly");
    // That t2 answers t1 is known by the thread alone.
    let place = &report["categories"]["place"];
    assert_eq!((sixths(place, "words")[0], sixths(place, "bm25")[0]), (6.0, 0.0));
    assert_eq!(sixths(&report["spaces"]["garden"], "dense"), [6.0, 6.0, 3.0]);
    let gain = &overall["ways"]["bm25"]["recall_gain"];
    assert!((gain["mean"].as_f64().unwrap() + 1.0 / 6.0).abs() < 1e-12, "{gain}");
    assert_eq!(overall["ways"]["dense"]["all_gain"]["high"], 0.0);
}

#[test]
fn measures_are_those_that_are_worked_out_by_hand_and_nothing_is_left_behind() {
    let home = Home::new();
    write(&home);
    let daemon = home.start();
    let mut client = daemon.client();
    let output = home.path("answers");
    let further = ["--json", "--against", "dense", "--way", "exact=VEC EXACT", "--output"];
    let report =
        json(&eval(&home, &daemon.socket, &[&further[..], &[output.to_str().unwrap()]].concat()));
    check(&report);
    let overall = &report["overall"];
    assert_eq!(sixths(overall, "exact"), sixths(overall, "dense"));
    assert!(spaces(&mut client).is_empty());

    let answers = fs::read_to_string(output).unwrap();
    let answers: Vec<Value> =
        answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 3);
    assert_eq!(answers[1]["evidence"], serde_json::json!(["t4", "t5"]));
    assert_eq!(answers[1]["ways"]["dense"]["ids"], serde_json::json!(["t5", "t4"]));
    assert_eq!(answers[1]["ways"]["dense"]["evidence_ranks"], serde_json::json!([2, 1]));
    assert_eq!(answers[1]["ways"]["bm25"]["evidence_ranks"], serde_json::json!([1, null]));

    let consolidated = ["--json", "--against", "dense", "--consolidate", "--shards", "1"];
    check(&json(&eval(&home, &daemon.socket, &consolidated)));
    let three = json(&eval(&home, &daemon.socket, &["--json", "-k", "3", "--ablations"]));
    let place = &three["categories"]["place"];
    assert_eq!((sixths(place, "engram")[0], sixths(place, "unthreaded")[0]), (6.0, 0.0));
    let overall = &three["overall"];
    assert_eq!(sixths(overall, "no-around"), sixths(overall, "unthreaded"));
    assert_eq!(sixths(overall, "no-times"), sixths(overall, "engram"), "no question names one");
    assert_eq!(sixths(place, "spread")[0], 6.0);
    let calibration = json(&eval(&home, &daemon.socket, &["--json", "--calibration"]));
    let vector = &calibration["calibration"]["vector"];
    assert!(calibration["calibration"].get("dense").is_none(), "a control states nothing");
    // Cosines: 1 and .994 of no evidence, 1 and .995 of such, .995 of none, .707 of such.
    let score = &vector["score"];
    assert_eq!((&score["forecasts"], &score["came_true"]), (&6.into(), &3.into()));
    let bin = |nth: usize| {
        let own = &score["bins"][nth];
        (
            own["from"].as_f64().unwrap(),
            own["forecasts"].as_u64().unwrap(),
            own["observed"]["mean"].as_f64().unwrap(),
        )
    };
    assert_eq!((bin(0), bin(1)), ((0.7, 1, 1.0), (0.9, 5, 0.4)));
    let cosines = [
        (1.0, 0.0),
        (0.9 / 0.82_f64.sqrt(), 0.0),
        (1.0, 1.0),
        (1.0 / 1.01_f64.sqrt(), 1.0),
        (1.0 / 1.01_f64.sqrt(), 0.0),
        (0.5_f64.sqrt(), 1.0),
    ];
    let brier = cosines.iter().map(|(f, o): &(f64, f64)| (f - o).powi(2)).sum::<f64>() / 6.0;
    assert!((score["brier"]["mean"].as_f64().unwrap() - brier).abs() < 1e-6, "{score}");
    // Nobody said how sure they were: certain of everything, and right of half.
    let confidence = &vector["confidence"];
    assert_eq!((&confidence["ece"]["mean"], &confidence["coverage"]), (&0.5.into(), &0.0.into()));
    let shown = eval(&home, &daemon.socket, &["--calibration"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("calibration of vector\nscore: 6 answers, 3 evidence"), "{shown}");
    assert!(shown.contains("0.9 to 1.0") && shown.contains("intervals cover 0.0 %"), "{shown}");
    let shown = eval(&home, &daemon.socket, &["--against", "dense"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.starts_with("2 conversations, 7 turns, 3 questions (1 without"), "{shown}");
    let unknown = "1 id of evidence names no turn, in 1 question, left out for that";
    assert_eq!(shown.lines().nth(1), Some(unknown));
    let dense = shown.lines().find(|line| line.starts_with("dense ")).unwrap();
    assert!(dense.starts_with("dense       ") && dense.contains("66.7"), "{shown}");
}

#[test]
fn evidence_that_names_no_turn_is_told_and_what_else_there_is_counts() {
    let home = Home::new();
    write(&home);
    let questions = [
        ("[\"t2\",\"t99\",\"D; t1\"]", "Where is the kettle?"),
        ("[\"t4\"]", "When does the ferry leave?"),
        ("[\"t98\"]", "Who paints?"),
        ("[]", "Who sings?"),
    ];
    let lines = questions.map(|(evidence, question)| {
        format!("{{\"space\":\"tea\",\"question\":\"{question}\",\"evidence\":{evidence}}}\n")
    });
    fs::write(home.path("questions"), lines.concat()).unwrap();
    let daemon = home.start();
    let output = home.path("answers");
    let shown = eval(&home, &daemon.socket, &["--output", output.to_str().unwrap()]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    let heading: Vec<&str> = shown.lines().take(2).collect();
    let expected = [
        "2 conversations, 7 turns, 2 questions (2 without usable evidence left out)",
        "3 ids of evidence name no turn, in 2 questions, 1 of them left out for that",
    ];
    assert_eq!(heading, expected);
    let answers = fs::read_to_string(output).unwrap();
    let answers: Vec<Value> =
        answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0]["evidence"], serde_json::json!(["t2", "t1"]));
    assert_eq!(answers[0]["unknown_evidence"], serde_json::json!(["t99", "D"]));
    assert_eq!(answers[1].get("unknown_evidence"), None, "{}", answers[1]);
    let report = json(&eval(&home, &daemon.socket, &["--json"]));
    let counts = ["evidence_unknown", "questions_with_unknown", "questions_skipped_for_unknown"];
    assert_eq!(counts.map(|count| report[count].as_u64().unwrap()), [3, 2, 1]);
    assert_eq!((&report["questions"], &report["questions_skipped"]), (&2.into(), &2.into()));

    // Of one conversation of one turn and one question, all of whose evidence is known.
    let turn = "{\"space\":\"tea\",\"id\":\"t1\",\"text\":\"The kettle sings.\"}\n";
    fs::write(home.path("turns"), turn).unwrap();
    fs::write(home.path("turns.npy"), npy(&[[1.0, 0.0, 0.0]])).unwrap();
    let question = "{\"space\":\"tea\",\"question\":\"Who sings?\",\"evidence\":\"t1\"}\n";
    fs::write(home.path("questions"), question).unwrap();
    fs::write(home.path("questions.npy"), npy(&[[1.0, 0.0, 0.0]])).unwrap();
    let shown = eval(&home, &daemon.socket, &[]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    let heading: Vec<&str> = shown.lines().take(2).collect();
    let expected = "1 conversation, 1 turn, 1 question (0 without usable evidence left out)";
    assert!(heading[0] == expected && heading[1].starts_with("in %"), "{shown}");
}

fn get(client: &mut Client, space: &str) -> redis::Value {
    client.ask(&command!["EG.GET", space, "t4", "WITH", "meta", "WITH", "text"])
}

#[test]
fn spaces_are_kept_on_request_and_never_those_of_others_dropped() {
    let home = Home::new();
    write(&home);
    let daemon = home.start();
    let mut client = daemon.client();
    json(&eval(&home, &daemon.socket, &["--json", "--keep", "--prefix", "kept.", "--shards", "1"]));
    let kept = ["kept.garden", "kept.garden.unthreaded", "kept.tea", "kept.tea.unthreaded"];
    assert_eq!(spaces(&mut client), kept);
    let own = get(&mut client, "kept.tea");
    assert_eq!(own.at("meta").text(), "{\"speaker\":\"Bo\"}");
    assert_eq!(own.at("happened_at").int(), 1_700_000_180_000_000);
    assert_eq!(own.at("thread").text(), "2");
    assert_eq!(own.at("text").text(), "The ferry to Naxos leaves at nine.");
    assert!(!get(&mut client, "kept.tea.unthreaded").keys().contains(&"thread"));

    // The second conversation is in the way: what was made for the first is dropped again.
    client.create_space("eval-garden", 3);
    let arguments = ["--prefix", "eval-"];
    refused(&eval(&home, &daemon.socket, &arguments), 2, "'eval-garden' is there already");
    assert_eq!(spaces(&mut client), [&["eval-garden"], &kept[..]].concat());
    client.ask(&command!["EG.SPACE", "DROP", "eval-garden"]);
    let nonsense = ["--way", "nonsense=VEC NONSENSE"];
    refused(&eval(&home, &daemon.socket, &nonsense), 1, "NONSENSE");
    assert_eq!(spaces(&mut client), kept);
}

#[test]
fn what_cannot_be_evaluated_is_refused_before_anything_is_stored() {
    let home = Home::new();
    write(&home);
    // No daemon listens: whatever is refused with 2 was refused without it.
    let socket = home.socket();
    refused(&eval(&home, &socket, &[]), 3, "cannot connect");
    refused(&eval(&home, &socket, &["--format", "csv"]), 2, "'csv'");
    refused(&eval(&home, &socket, &["--against", "luck"]), 2, "there are engram, vector");
    refused(&eval(&home, &socket, &["--way", "dense=VEC"]), 2, "'dense' is there already");
    refused(&eval(&home, &socket, &["--format", "beam"]), 2, "--questions is not for");

    let broken = |name: &str, content: &[u8], because: &str| {
        let whole = fs::read(home.path(name)).unwrap();
        fs::write(home.path(name), content).unwrap();
        refused(&eval(&home, &socket, &[]), 2, because);
        fs::write(home.path(name), whole).unwrap();
    };
    let mut vectors = TURNS.map(|turn| turn.5);
    broken("turns.npy", &npy(&vectors[..6]), "6 rows for 7 turns");
    vectors[3][1] = f32::NAN;
    broken("turns.npy", &npy(&vectors), "row 3 (from 0) has a component that is not finite");
    broken("questions.npy", &npy(&[[1.0; 3]; 5]), "5 rows for 4 questions");
    broken("questions.npy", b"nonsense", "numpy.save");
    broken("turns", b"{\"space\":\"tea\"}\n", "line 1: missing field");
    let twice = "{\"space\":\"tea\",\"id\":\"t1\",\"text\":\"x\"}\n".repeat(2);
    broken("turns", twice.as_bytes(), "turns, line 2: 'tea' has a turn 't1' in line 1 already");
    broken("questions", b"{\"space\":\"sea\",\"question\":\"?\"}\n", "'sea', which no turn is of");
    broken("questions", b"{\"space\":\"tea\",\"question\":\"?\"}\n", "no question has evidence");
    fs::remove_file(home.path("questions")).unwrap();
    refused(&eval(&home, &socket, &[]), 2, "No such file");
}

#[test]
fn chats_of_beam_are_listed_for_embedding_and_evaluated() {
    let home = Home::new();
    let chat = home.path("chats/1");
    fs::create_dir_all(chat.join("probing_questions")).unwrap();
    let message = |nth: usize, day: &str| {
        let role = ["user", "assistant"][nth % 2];
        let text = TURNS[nth].4;
        format!("{{\"role\":\"{role}\",\"id\":{nth},{day}\"content\":\"{text}\"}}")
    };
    let day = "\"time_anchor\":\"March-15-2024\",";
    let messages = [message(0, day), message(1, ""), message(2, ""), message(3, "")].join(",");
    fs::write(chat.join("chat.json"), format!("[{{\"turns\":[[{messages}]]}}]")).unwrap();
    let probes = "{\"abstention\":[{\"question\":\"Who sings?\"}],\"information_extraction\":\
                  [{\"question\":\"When does the ferry leave?\",\"source_chat_ids\":[3]}]}";
    fs::write(chat.join("probing_questions/probing_questions.json"), probes).unwrap();
    let folder = home.path("chats").to_str().unwrap().to_owned();
    let beam = ["eval", "--format", "beam", "--turns", &folder];
    let list = |what| {
        let listed = engram(&home.socket(), &[&beam[..], &["--list", what]].concat());
        assert!(listed.status.success(), "{listed:?}");
        String::from_utf8(listed.stdout).unwrap()
    };
    assert_eq!(list("questions"), "\"Who sings?\"\n\"When does the ferry leave?\"\n");
    assert_eq!(list("turns").lines().nth(1), Some("\"In the left cupboard, behind the pans.\""));
    let whole = fs::read(chat.join("chat.json")).unwrap();
    for empty in ["{}", "[]", "[{\"turns\":[[]]}]"] {
        fs::write(chat.join("chat.json"), empty).unwrap();
        let listed = engram(&home.socket(), &[&beam[..], &["--list", "turns"]].concat());
        refused(&listed, 2, "1/chat.json: no messages");
    }
    fs::write(chat.join("chat.json"), whole).unwrap();

    fs::write(home.path("turns.npy"), npy(&TURNS.map(|turn| turn.5)[..4])).unwrap();
    fs::write(home.path("questions.npy"), npy(&[[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])).unwrap();
    let daemon = home.start();
    let path = |name: &str| home.path(name).to_str().unwrap().to_owned();
    let vectors = [path("turns.npy"), path("questions.npy")];
    let vectors = ["--turn-vectors", &vectors[0], "--question-vectors", &vectors[1]];
    let report = engram(&daemon.socket, &[&beam[..], &vectors, &["-k", "1", "--json"]].concat());
    let report = json(&report);
    assert_eq!((&report["questions"], &report["questions_skipped"]), (&1.into(), &1.into()));
    let found = &report["categories"]["information_extraction"];
    for way in ["engram", "vector", "words", "dense", "bm25", "hybrid"] {
        assert_eq!(sixths(found, way), [6.0; 3], "{way}");
    }
}
