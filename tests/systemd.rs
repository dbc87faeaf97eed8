//! The units are correct, as closed as they claim, and leave the daemon what it needs.
//!
//! Where `systemd-analyze` is missing each test that needs it says that it is skipped.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use engramd::config::{Args, Config, Host};
use tempfile::TempDir;

/// On systemd's scale from 0 (closed) to 10 (open).
const EXPOSURE_MAX: f64 = 2.0;

/// System calls without which the daemon does not start or loses its shards' speed: the rings,
/// pinning and memory placement, the log, the mapped rows, wake-ups.
const CALLS_NEEDED: [&str; 19] = [
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "sched_setaffinity",
    "sched_getaffinity",
    "mbind",
    "get_mempolicy",
    "membarrier",
    "eventfd2",
    "timerfd_create",
    "accept4",
    "getsockopt",
    "fdatasync",
    "fallocate",
    "flock",
    "madvise",
    "mremap",
    "chmod",
    "rt_sigaction",
];

/// False, with a line that names the test, where systemd-analyze cannot be run.
fn systemd_analyze_is_present(test: &str) -> bool {
    let present = Command::new("systemd-analyze").arg("--version").output().is_ok();
    if !present {
        println!("skipped {test}: systemd-analyze is not installed");
    }
    present
}

fn unit(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(name);
    fs::read_to_string(path).unwrap()
}

/// Both units in a folder of their own, the service changed by `edit`. The binary's path is
/// replaced by one that exists: `verify` looks for it, and it is not installed where tests run.
fn copies(edit: impl Fn(String) -> String) -> (TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (service, socket) =
        (folder.path().join("engramd.service"), folder.path().join("engramd.socket"));
    let text = unit("engramd.service");
    assert!(text.contains("ExecStart=/usr/bin/engramd --data "));
    fs::write(&service, edit(text.replace("=/usr/bin/engramd", "=/bin/true"))).unwrap();
    fs::write(&socket, unit("engramd.socket")).unwrap();
    (folder, service, socket)
}

/// What `systemd-analyze verify` complains about; empty when nothing.
fn complaints(service: &Path, socket: &Path) -> String {
    let output =
        Command::new("systemd-analyze").arg("verify").args([service, socket]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    match output.status.success() {
        true => text,
        false => format!("{text}\n{}", output.status),
    }
}

fn exposure(service: &Path) -> f64 {
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=yes", "--no-pager"])
        .arg(service)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .find_map(|line| line.split_once("Overall exposure level for engramd.service: "))
        .and_then(|(_, figure)| figure.split_whitespace().next()?.parse().ok())
        .unwrap_or_else(|| panic!("no exposure in the output of systemd-analyze:\n{text}"))
}

#[test]
fn the_units_are_verified() {
    if !systemd_analyze_is_present("the_units_are_verified") {
        return;
    }
    let (_folder, service, socket) = copies(|text| text);
    assert_eq!(complaints(&service, &socket), "");

    let misspelt = |text: String| text.replace("WatchdogSec=10", "WatchDogSec=10");
    let (_folder, service, socket) = copies(misspelt);
    let complaint = complaints(&service, &socket);
    assert!(complaint.contains("WatchDogSec"), "verify should name a misspelt key: {complaint:?}");
}

#[test]
fn the_service_is_closed() {
    if !systemd_analyze_is_present("the_service_is_closed") {
        return;
    }
    let (_folder, service, _) = copies(|text| text);
    let closed = exposure(&service);
    println!("exposure of engramd.service: {closed}");
    assert!(closed <= EXPOSURE_MAX, "exposure {closed}, at most {EXPOSURE_MAX}");

    let opened = |text: String| text.replace("SystemCallFilter=", "#");
    let (_folder, service, _) = copies(opened);
    let open = exposure(&service);
    assert!(open > closed, "without the filter {open} should be more than {closed}");
}

#[test]
fn the_filter_leaves_the_calls_that_the_daemon_needs() {
    if !systemd_analyze_is_present("the_filter_leaves_the_calls_that_the_daemon_needs") {
        return;
    }
    let service = unit("engramd.service");
    let mut allowed = BTreeSet::new();
    let filters = service.lines().filter_map(|line| line.strip_prefix("SystemCallFilter="));
    for filter in filters {
        let (denied, sets) = match filter.strip_prefix('~') {
            Some(sets) => (true, sets),
            None => (false, filter),
        };
        for call in sets.split_whitespace().flat_map(calls_of) {
            if denied {
                allowed.remove(&call);
            } else {
                allowed.insert(call);
            }
        }
    }
    let missing: Vec<&str> =
        CALLS_NEEDED.into_iter().filter(|call| !allowed.contains(*call)).collect();
    assert!(missing.is_empty(), "the filter refuses {missing:?}");
    assert!(!allowed.contains("mount") && !allowed.contains("ptrace"), "the filter is too wide");
}

/// The calls of a set such as `@system-service`, sets within it included.
fn calls_of(set: &str) -> BTreeSet<String> {
    let output = Command::new("systemd-analyze").args(["syscall-filter", set]).output().unwrap();
    assert!(output.status.success(), "systemd-analyze does not know {set}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut calls = BTreeSet::new();
    for entry in text.lines().skip(1).map(str::trim) {
        if entry.starts_with('@') {
            calls.extend(calls_of(entry));
        } else if !entry.is_empty() && !entry.starts_with('#') {
            calls.insert(entry.to_owned());
        }
    }
    calls
}

#[test]
fn the_units_agree_with_each_other_and_with_the_defaults() {
    let (service, socket) = (unit("engramd.service"), unit("engramd.socket"));
    let path = "/run/engramd/engramd.sock";
    assert!(service.contains(&format!("--socket {path}\n")));
    assert!(socket.contains(&format!("ListenStream={path}\n")));
    for line in ["Type=notify", "NotifyAccess=main", "WatchdogSec=10", "LimitMEMLOCK=infinity"] {
        assert!(service.lines().any(|have| have == line), "engramd.service should say {line}");
    }
    let burst = service.lines().find_map(|line| line.strip_prefix("StartLimitBurst="));
    let burst: usize = burst.unwrap().parse().unwrap();
    let (args, host) = (Args::default(), Host::of_this_process());
    let defaults = Config::load_from(&args, [], Path::new("/nonexistent"), host).unwrap().config;
    assert!(burst > defaults.crash_loop_starts, "the read-only start would never be tried");
    for forbidden in ["PrivateUsers=yes", "@resources"] {
        assert!(!service.contains(forbidden), "{forbidden} breaks pinning or peer credentials");
    }
    assert!(unit("engramd.sysusers").starts_with("u engramd "));
    assert!(service.contains("User=engramd\n") && socket.contains("SocketGroup=engramd\n"));
}
