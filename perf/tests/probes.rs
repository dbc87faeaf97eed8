//! The probes run on this machine and report figures that can be true.

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
fn dimensions_over_the_bound_are_refused_with_the_bound() {
    let output = Command::new(env!("CARGO_BIN_EXE_engram-scan"))
        .args(["--dimensions", "4097"])
        .output()
        .expect("starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && errors.contains("4097 is not in 1..=4096"), "{errors}");
}
