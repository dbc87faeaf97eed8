//! The probes run on this machine and report figures that can be true.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn json_of(program: &str, arguments: &[&str]) -> Value {
    let output = Command::new(program).args(arguments).arg("--json").output().expect("starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    serde_json::from_slice(&output.stdout).expect("valid JSON")
}

#[track_caller]
fn assert_positive(figures: &Value, keys: &[&str]) {
    for key in keys {
        let figure = figures[key].as_f64().expect("a number");
        assert!(figure > 0.0 && figure.is_finite(), "{key} is {figure} in {figures}");
    }
}

#[test]
fn the_probe_reports_memory_and_every_load_of_commits() {
    let report = json_of(
        env!("CARGO_BIN_EXE_engram-probe"),
        &["--memory-mib", "4", "--commit-seconds", "0", "--dir", env!("CARGO_TARGET_TMPDIR")],
    );
    assert_positive(&report["sequential_read"], &["gb_per_s"]);
    let commits = report["commits"].as_array().expect("an array");
    assert_eq!(commits.len(), 9);
    for figures in commits {
        assert_positive(figures, &["commits_per_s", "commit_latency_us_p50", "mb_per_s"]);
        let [p50, p99] = ["commit_latency_us_p50", "commit_latency_us_p99"]
            .map(|key| figures[key].as_f64().expect("a number"));
        assert!(p50 <= p99, "{figures}");
    }
}

#[test]
fn the_scan_reports_both_metrics_beside_the_sequential_read() {
    let report =
        json_of(env!("CARGO_BIN_EXE_engram-scan"), &["--memory-mib", "4", "--rounds", "1"]);
    assert_positive(&report, &["sequential_gb_per_s", "row_count"]);
    let scans = report["scans"].as_array().expect("an array");
    assert_eq!(scans.len(), 2);
    for scan in scans {
        assert_positive(scan, &["gb_per_s", "ns_per_row", "ratio"]);
    }
}

#[test]
fn the_commit_table_has_every_load_with_and_without_group_commit() {
    let dir = env!("CARGO_TARGET_TMPDIR");
    let arguments = ["--milliseconds", "20", "--dir", dir];
    let rows = json_of(env!("CARGO_BIN_EXE_engram-commit"), &arguments);
    let rows = rows.as_array().expect("an array");
    assert_eq!(rows.len(), 9);
    for row in rows {
        assert_positive(row, &["share_of_raw", "group_commit_gain"]);
        let per_flush = |log: &str| row[log]["records_per_flush"].as_f64().expect("a number");
        let records = row["raw"]["records_per_commit"].as_f64().expect("a number");
        // Waiting for a segment may split a round of records over two batches.
        assert!(per_flush("engine") >= records / 2.0, "{row}");
        assert_eq!(per_flush("engine_without_group_commit"), 1.0, "{row}");
        for figure in ["with_records_per_s", "with_framing_us", "without_framing_us", "ratio"] {
            assert_positive(&row["checksums"][figure], &["median", "min", "max"]);
        }
    }
}

/// The daemon beside this package's programs, built first if it is not there.
fn engramd() -> PathBuf {
    let engramd = Path::new(env!("CARGO_BIN_EXE_engram-profile")).with_file_name("engramd");
    // Other tests run the one that is there, and it may have features that this build would not.
    if !engramd.exists() {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "-p", "engramd", "--bin", "engramd"])
            .status()
            .expect("cargo starts");
        assert!(built.success());
    }
    engramd
}

#[test]
fn the_profile_reports_what_client_and_daemon_measured_at_each_rate() {
    let engramd = engramd();
    let report = json_of(
        env!("CARGO_BIN_EXE_engram-profile"),
        &[
            "--engramd",
            engramd.to_str().expect("a path in UTF-8"),
            "--dir",
            env!("CARGO_TARGET_TMPDIR"),
            "--seconds",
            "1",
            "--stores",
            "200,400",
            "--recalls",
            "20",
            "--episodes",
            "300",
        ],
    );
    let steps = report["steps"].as_array().expect("an array");
    let answered: Vec<Vec<u64>> = steps
        .iter()
        .map(|step| {
            let streams = step["streams"].as_array().expect("an array");
            streams.iter().map(|stream| stream["answered"].as_u64().expect("a count")).collect()
        })
        .collect();
    assert_eq!(answered, [vec![200], vec![400], vec![20], vec![200, 20]]);
    assert_positive(&steps[1]["stages"]["commit_flush"], &["count", "p50", "max"]);
    assert_positive(&steps[2]["stages"]["recall"], &["count", "p50", "max"]);
    let [client, flush] = [&steps[1]["streams"][0]["latency"], &steps[1]["stages"]["commit_flush"]]
        .map(|latency| latency["max"].as_f64().expect("a number"));
    assert!(flush < client, "somebody waits for the longest flush: {flush} and {client}");
}

fn recovery(arguments: &[&str]) -> Vec<Value> {
    let engramd = engramd();
    let mut all = vec!["--engramd", engramd.to_str().expect("a path in UTF-8"), "--rounds", "1"];
    all.extend(["--dir", env!("CARGO_TARGET_TMPDIR")]);
    all.extend(arguments);
    let report = json_of(env!("CARGO_BIN_EXE_engram-recovery"), &all);
    report.as_array().expect("an array").clone()
}

#[test]
fn the_recovery_of_a_made_store_is_measured_for_every_number_of_shards() {
    let tables = recovery(&["--mib", "2", "--shards", "1,2", "--profile"]);
    let shards: Vec<_> = tables.iter().map(|table| table["shards"].as_u64()).collect();
    assert_eq!(shards, [Some(1), Some(2)]);
    for table in &tables {
        assert_positive(table, &["episodes", "log_bytes", "daemon_memory_bytes_peak"]);
        for figure in ["engine_s", "daemon_ping_s", "daemon_says_s", "daemon_share_of_raw"] {
            assert_positive(&table[figure], &["median"]);
        }
        let raw = table["raw"].as_array().expect("an array");
        raw.iter().for_each(|raw| assert_positive(&raw["gb_per_s"], &["median"]));
        let [log, files] = ["log_bytes", "file_bytes"].map(|key| table[key].as_u64());
        assert!(log >= Some(2 << 20) && log < files, "{table}");
        assert_eq!(table["stages"].as_array().map(Vec::len), Some(5));
    }
}

#[test]
fn the_recovery_of_a_given_store_is_measured_and_leaves_it_there() {
    use engram_perf::recovery_store::{RecoveryStore, StorePlan};
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let plan = StorePlan { shards: 1, log_bytes: 1 << 20 };
    let store = RecoveryStore::make(folder.path(), plan).expect("a store");
    let before = store.files().expect("a folder to read").len();
    let tables = recovery(&["--store", folder.path().to_str().expect("a path in UTF-8")]);
    assert_eq!((tables.len(), &tables[0]["shards"]), (1, &Value::from(1)));
    assert_eq!(tables[0]["stages"], Value::from(Vec::<u64>::new()));
    assert_eq!(store.files().expect("still there").len(), before);
}

#[test]
fn latencies_that_follow_from_spreading_order_as_in_the_fan_experiment() {
    let engramd = engramd();
    for shards in ["1", "2"] {
        let named = ["--engramd", engramd.to_str().expect("a path in UTF-8"), "--shards", shards];
        let reports = json_of(env!("CARGO_BIN_EXE_engram-fan"), &named);
        for report in reports.as_array().expect("an array") {
            for (which, means, correlation) in [
                ("targets", "by_person", 0.85),
                ("targets", "by_place", 0.85),
                ("foils", "by_person", 0.75),
                ("foils", "by_place", 0.75),
            ] {
                let latencies = &report[which];
                let means: Vec<f64> = latencies[means]
                    .as_array()
                    .expect("three means")
                    .iter()
                    .map(|mean| mean.as_f64().expect("seconds"))
                    .collect();
                assert!(means[0] < means[1] && means[1] < means[2], "{which} {means:?}");
                let found = latencies["correlation"].as_f64().expect("a number");
                assert!(found > correlation, "{which} {latencies}");
            }
        }
        // With the strength of the theory the seconds are near too, and nothing was fitted.
        let rmse = reports[0]["targets"]["rmse_s"].as_f64().expect("seconds");
        assert!(rmse < 0.06, "{reports}");
    }
}

#[test]
fn dimensions_over_the_bound_are_refused_with_the_bound() {
    let output = Command::new(env!("CARGO_BIN_EXE_engram-scan"))
        .args(["--dimensions", "4097"])
        .output()
        .expect("starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && errors.contains("4097 is not in 1..=4096"), "{errors}");
}
