//! `engram topology` as people run it.
#![cfg(feature = "numa")]

use std::process::{Command, Output};

use serde_json::{Value, json};

fn topology(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_engram")).arg("topology").args(arguments).output().unwrap()
}

#[test]
fn a_machine_that_does_not_exist_is_shown_with_its_shards() {
    let machine = ["--synthetic", "numa:2 core:4 pu:1", "--shards", "3"];
    let text = String::from_utf8(topology(&machine).stdout).unwrap();
    assert!(text.starts_with("2 memory nodes, 8 allowed cores, 8 hardware threads"), "{text}");
    let core_4 = text.lines().find(|line| line.trim_start().starts_with("core 4 ")).unwrap();
    assert!(core_4.ends_with("shard 1"), "{text}");

    let output = topology(&[&machine[..], &["--json"]].concat());
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let seats = document["seats"].as_array().unwrap();
    let nodes: Vec<&Value> = seats.iter().map(|seat| &seat["node"]).collect();
    assert_eq!(nodes, [&json!(0), &json!(1), &json!(0)]);
    assert_eq!(document["spare_cpus"], json!([2, 3, 5, 6, 7]));
    assert_eq!(document["origin"], "synthetic");
}

#[test]
fn this_machine_gets_a_shard_for_each_core() {
    let output = topology(&["--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let count = |key: &str| document[key].as_array().unwrap().len();
    assert!(count("cores") > 0);
    assert_eq!(count("seats"), count("cores").min(64));
}

#[test]
fn a_description_that_makes_no_sense_and_too_many_shards_are_refused() {
    let output = topology(&["--synthetic", "two of everything"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("hwloc"), "{output:?}");
    let output = topology(&["--shards", "65"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("65 is not in 1..=64"), "{output:?}");
}
