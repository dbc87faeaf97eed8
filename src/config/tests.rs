//! Precedence, unknown keys and bounds, through the same door as the daemon.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;

use super::*;

const HOST: Host = Host { memory_bytes: 10 << 30, uid: 977, gid: 978 };

/// A file that is not there.
const NO_FILE: &str = "/nonexistent/engramd.toml";

fn load_with(
    args: &[&str],
    environment: &[(&str, &str)],
    default_file: &Path,
) -> Result<Loaded, ConfigError> {
    let args = Args::try_parse_from(std::iter::once("engramd").chain(args.iter().copied()))
        .expect("the test's arguments are known to clap");
    let environment: Vec<(OsString, OsString)> =
        environment.iter().map(|(name, value)| (name.into(), value.into())).collect();
    Config::load_from(&args, environment, default_file, HOST)
}

fn load(args: &[&str]) -> Result<Loaded, ConfigError> {
    load_with(args, &[], Path::new(NO_FILE))
}

fn set(pair: &str) -> Result<Config, String> {
    load(&["--set", pair]).map(|loaded| loaded.config).map_err(|error| error.to_string())
}

fn file_with(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("engramd.toml");
    fs::write(&path, text).unwrap();
    (folder, path)
}

#[test]
fn with_nothing_said_the_defaults_hold() {
    let config = load(&[]).unwrap().config;
    assert_eq!(
        config,
        Config {
            data: "/var/lib/engramd".into(),
            socket: "/run/engramd/engramd.sock".into(),
            shards: None,
            memory_bytes_max: 6 << 30,
            memory_prefault_bytes: 256 << 20,
            segment_bytes: 64 << 20,
            commit_linger: Duration::ZERO,
            commit_frames_max: 0,
            commits_in_flight: 4,
            connections_max: 1024,
            socket_mode: SocketMode(0o660),
            allow_uids: vec![0, 977],
            allow_gids: vec![978],
            log_level: LogLevel::Info,
            drain_timeout: Duration::from_secs(5),
            stream_patience: Duration::from_secs(60),
            slowlog: Duration::from_millis(10),
            slowlog_entries_max: 128,
            trace_sample: 0,
            clock_ahead: Duration::ZERO,
            crash_loop_starts: 5,
            crash_loop: Duration::from_secs(60),
            accept_loss: false,
            skip_sequences: vec![],
            offline: true,
            dream: Duration::ZERO,
            gist: Duration::ZERO,
            edge: true,
            edge_tcp: None,
        }
    );
}

#[test]
fn command_line_beats_environment_beats_file_beats_default() {
    let (_folder, file) =
        file_with("shards = 2\ncommits_in_flight = 2\nconnections_max = 2\ndrain_timeout_ms = 2\n");
    let environment = [
        ("ENGRAMD_SHARDS", "3"),
        ("ENGRAMD_COMMITS_IN_FLIGHT", "3"),
        ("ENGRAMD_CONNECTIONS_MAX", "3"),
        ("HOME", "/root"),
    ];
    let args = ["--shards", "5", "--set", "shards=4", "--set", "commits_in_flight=7"];
    let args = [&args[..], &["--set", "commits_in_flight=4"]].concat();
    let Loaded { config, effective } = load_with(&args, &environment, &file).unwrap();
    assert_eq!(config.shards, Some(5), "a flag of its own beats --set");
    assert_eq!(config.commits_in_flight, 4, "the last --set of a key counts");
    assert_eq!(config.connections_max, 3);
    assert_eq!(config.drain_timeout, Duration::from_millis(2));
    assert_eq!(config.commit_linger, Duration::ZERO);

    let source = |key: &str| {
        let setting = effective.settings.iter().find(|setting| setting.key == key).unwrap();
        setting.source.clone()
    };
    assert_eq!(source("shards"), Source::CommandLine("--shards".to_owned()));
    let by_set = Source::CommandLine("--set commits_in_flight".to_owned());
    assert_eq!(source("commits_in_flight"), by_set);
    let by_environment = Source::Environment("ENGRAMD_CONNECTIONS_MAX".to_owned());
    assert_eq!(source("connections_max"), by_environment);
    assert_eq!(source("drain_timeout_ms"), Source::File(file));
    assert_eq!(source("commit_linger_us"), Source::Default);
}

#[test]
fn a_file_named_on_the_command_line_replaces_the_default_one() {
    let (_default_folder, default_file) = file_with("connections_max = 7\ncommits_in_flight = 7\n");
    let (_folder, file) = file_with("connections_max = 8\n");
    let named = ["--config", file.to_str().unwrap()];
    let config = load_with(&named, &[], &default_file).unwrap().config;
    assert_eq!((config.connections_max, config.commits_in_flight), (8, 4));

    let error = load(&["--config", NO_FILE]).unwrap_err().to_string();
    assert!(error.contains(NO_FILE) && error.contains("cannot be read"), "{error}");
}

#[test]
fn unknown_keys_are_errors_in_every_source() {
    let (_folder, file) = file_with("shards = 2\nshard_count = 2\n");
    let in_file = load_with(&[], &[], &file).unwrap_err().to_string();
    let in_environment =
        load_with(&[], &[("ENGRAMD_SHARD_COUNT", "2")], Path::new(NO_FILE)).unwrap_err();
    let in_environment = in_environment.to_string();
    let in_set = set("shard_count=2").unwrap_err();
    for (error, origin) in [
        (&in_file, file.to_str().unwrap()),
        (&in_environment, "ENGRAMD_SHARD_COUNT"),
        (&in_set, "--set shard_count"),
    ] {
        assert!(error.contains("unknown field `shard_count`"), "{error}");
        assert!(error.contains("`shards`"), "the error should list what is known: {error}");
        assert!(error.contains(origin), "the error should name {origin}: {error}");
    }
    assert!(in_file.contains("line 2"), "{in_file}");
}

#[test]
fn a_bound_holds_at_its_end_and_not_beyond() {
    for (key, inside, beyond) in [
        ("shards", vec!["1", "64"], vec!["0", "65"]),
        ("memory_bytes_max", vec!["64MiB", "10GiB"], vec!["67108863", "10737418241"]),
        ("memory_prefault_bytes", vec!["0", "6GiB"], vec!["6442450945"]),
        ("segment_bytes", vec!["4MiB", "1GiB"], vec!["4190208", "1073745920", "4194305"]),
        ("commit_linger_us", vec!["0", "10000"], vec!["10001"]),
        ("commit_frames_max", vec!["0", "65536"], vec!["65537"]),
        ("commits_in_flight", vec!["1", "8"], vec!["0", "9"]),
        ("connections_max", vec!["1", "65536"], vec!["0", "65537"]),
        ("drain_timeout_ms", vec!["0", "600000"], vec!["600001"]),
        ("stream_patience_ms", vec!["100", "3600000"], vec!["99", "3600001"]),
        ("slowlog_us", vec!["0", "600000000"], vec!["600000001"]),
        ("slowlog_entries_max", vec!["0", "4096"], vec!["4097"]),
        ("dream_ms", vec!["0", "3600000"], vec!["3600001"]),
        ("gist_ms", vec!["0", "3600000"], vec!["3600001"]),
        ("trace_sample", vec!["0", "1000000000"], vec!["1000000001"]),
        ("clock_ahead_seconds", vec!["0", "3155760000"], vec!["3155760001"]),
        ("crash_loop_starts", vec!["0", "1000"], vec!["1001"]),
        ("crash_loop_seconds", vec!["1", "86400"], vec!["0", "86401"]),
        ("skip_sequences", vec!["", "0:1", "63:18446744073709551615"], vec!["64:1", "0:0"]),
        ("socket_mode", vec!["0000", "0777", "600"], vec!["01000", "0888", "", "+660", "rw"]),
        ("log_level", vec!["error", "trace"], vec!["loud", ""]),
    ] {
        for value in inside {
            assert!(set(&format!("{key}={value}")).is_ok(), "{key}={value}");
        }
        for value in beyond {
            let error = set(&format!("{key}={value}")).unwrap_err();
            assert!(error.starts_with(&format!("{key} must be ")), "{error}");
            assert!(error.ends_with(&format!("(command line: --set {key})")), "{error}");
        }
    }
}

#[test]
fn an_error_names_key_bounds_value_and_source() {
    let error = load(&["--shards", "65"]).unwrap_err().to_string();
    assert_eq!(error, "shards must be 1 to 64, got 65 (command line: --shards)");
    let error = set("segment_bytes=2MiB").unwrap_err();
    assert!(error.starts_with("segment_bytes must be 4MiB to 1GiB, got 2MiB"), "{error}");
}

#[test]
fn socket_paths_are_bounded_by_the_kernel() {
    let of_length = |bytes: usize| format!("socket=/{}", "s".repeat(bytes - 1));
    assert!(set(&of_length(bounds::SOCKET_PATH_BYTES)).is_ok());
    let error = set(&of_length(bounds::SOCKET_PATH_BYTES + 1)).unwrap_err();
    assert!(error.starts_with("socket must be a path of 1 to 107 bytes, got 108 bytes"), "{error}");
    assert!(set("data=").is_err());
}

#[test]
fn values_of_the_wrong_kind_are_refused_where_they_stand() {
    for (pair, part) in [
        ("shards=two", "\"two\""),
        ("shards=-1", "\"-1\""),
        ("memory_bytes_max=lots", "\"lots\""),
        ("allow_uids=1000,root", "\"root\""),
        ("allow_uids=4294967296", "4294967296"),
        ("accept_loss=maybe", "\"maybe\""),
        ("skip_sequences=17", "SHARD:SEQUENCE"),
        ("skip_sequences=0:1,x:2", "\"x:2\""),
    ] {
        let error = set(pair).unwrap_err();
        assert!(error.contains(part) && error.contains("--set"), "{pair}: {error}");
    }
    for (text, line) in [
        ("\nshards = -1", "line 2"),
        ("socket_mode = 660", "line 1"),
        ("data = 3", "line 1"),
        ("accept_loss = 1", "line 1"),
        ("skip_sequences = [17]", "line 1"),
        ("shards = ", "line 1"),
        ("shards = 1\nshards = 2", "line 2"),
    ] {
        let (_folder, file) = file_with(text);
        let error = load_with(&[], &[], &file).unwrap_err().to_string();
        assert!(error.contains(line), "{text:?}: {error}");
    }
    assert!(load(&["--set", "shards"]).unwrap_err().to_string().contains("key=value"));
}

#[test]
fn lists_read_the_same_from_text_and_from_the_file() {
    let (_folder, file) = file_with("allow_uids = [1000, 5]\n");
    let from_file = load_with(&[], &[], &file).unwrap().config;
    assert_eq!(from_file.allow_uids, [0, 5, 977, 1000]);
    assert_eq!(set("allow_uids=1000, 5").unwrap(), from_file);
    assert_eq!(set("allow_uids=[1000, 5]").unwrap(), from_file);
    assert!(set("allow_gids=").unwrap().allow_gids.is_empty());

    let ids = |count: usize| {
        let ids: Vec<String> = (0..count).map(|id| id.to_string()).collect();
        set(&format!("allow_gids={}", ids.join(",")))
    };
    assert!(ids(bounds::ALLOWED_IDS).is_ok());
    assert!(ids(bounds::ALLOWED_IDS + 1).is_err());
}

#[test]
fn what_recovery_may_do_without_is_said_by_flags_keys_and_variables() {
    let place = |shard, sequence| LogPlace { shard, sequence };
    let args = ["--accept-loss", "--skip-sequence", "1:40", "--skip-sequence", "0:17"];
    let args = [&args[..], &["--set", "skip_sequences=5:5"]].concat();
    let Loaded { config, effective } = load(&args).unwrap();
    assert!(config.accept_loss);
    assert_eq!(config.skip_sequences, [place(0, 17), place(1, 40)]);
    let printed = effective.to_string();
    assert!(printed.contains("skip_sequences = [\"0:17\", \"1:40\"]"), "{printed}");
    assert!(printed.contains("# command line: --skip-sequence"), "{printed}");

    let (_folder, file) = file_with("accept_loss = true\nskip_sequences = [\"2:7\", \"2:7\"]\n");
    let config = load_with(&[], &[("ENGRAMD_ACCEPT_LOSS", "false")], &file).unwrap().config;
    assert_eq!((config.accept_loss, config.skip_sequences), (false, vec![place(2, 7)]));

    let places = |count: usize| {
        let places: Vec<String> = (1..=count).map(|sequence| format!("0:{sequence}")).collect();
        set(&format!("skip_sequences={}", places.join(",")))
    };
    assert!(places(bounds::SKIPPED_SEQUENCES).is_ok());
    assert!(places(bounds::SKIPPED_SEQUENCES + 1).is_err());
}

#[test]
fn http_over_tcp_is_for_this_machine_and_needs_a_token() {
    assert!(!set("edge=off").is_ok_and(|config| config.edge), "off is no boolean");
    assert!(!set("edge=false").unwrap().edge);
    let token = ["--set", "edge_token_file=/token"];
    for (address, is_allowed) in [
        ("127.0.0.1:7700", true),
        ("127.9.9.9:0", true),
        ("[::1]:7700", true),
        ("0.0.0.0:7700", false),
        ("[::]:7700", false),
        ("192.168.0.1:7700", false),
        ("localhost:7700", false),
        ("127.0.0.1", false),
        ("", false),
    ] {
        let listen = format!("edge_listen={address}");
        let loaded = load(&[&["--set", &listen][..], &token].concat());
        match loaded {
            Ok(loaded) => {
                let tcp = loaded.config.edge_tcp.unwrap();
                assert!(is_allowed && tcp.token_file == Path::new("/token"), "{address}");
                assert_eq!(tcp.address, address.parse().unwrap());
            }
            Err(error) => {
                assert!(!is_allowed, "{error}");
                assert!(error.to_string().starts_with("edge_listen must be a loopback"), "{error}");
            }
        }
    }
    let error = set("edge_listen=127.0.0.1:7700").unwrap_err();
    assert!(error.starts_with("edge_token_file must be the path of a file"), "{error}");
    assert_eq!(load(&token).unwrap().config.edge_tcp, None);
}

#[test]
fn peers_are_admitted_by_user_or_by_group() {
    let config = load(&["--set", "allow_uids=1000", "--set", "allow_gids=50"]).unwrap().config;
    for (uid, gids, admitted) in [
        (0, vec![], true),
        (977, vec![], true),
        (1000, vec![1000], true),
        (1001, vec![1001, 50], true),
        (1001, vec![1001], false),
        (1001, vec![978], false),
        (50, vec![], false),
    ] {
        assert_eq!(config.admits(uid, &gids), admitted, "uid {uid}, groups {gids:?}");
    }
}

#[test]
fn what_is_printed_is_a_configuration_that_says_the_same() {
    let args = ["--data", "/srv/a \"b\"", "--set", "segment_bytes=1048576KiB", "--shards", "3"];
    let args = [&args[..], &["--set", "allow_gids=7,9", "--set", "socket_mode=600"]].concat();
    let args = [&args[..], &["--accept-loss", "--skip-sequence", "1:40"]].concat();
    let tcp = ["--set", "edge_listen=[::1]:7700", "--set", "edge_token_file=/etc/engramd/token"];
    let args = [&args[..], &tcp].concat();
    let loaded = load(&args).unwrap();
    let printed = loaded.effective.to_string();
    let (_folder, file) = file_with(&printed);
    let again = load_with(&[], &[], &file).unwrap();
    assert_eq!(again.config, loaded.config, "{printed}");
    let annotated =
        |line: &str| line.starts_with("shards = 3 ") && line.ends_with("# command line: --shards");
    assert!(printed.lines().any(annotated), "{printed}");
    assert_eq!(printed.lines().count(), 30, "one line for each key:\n{printed}");
}

#[test]
fn checking_and_printing_replace_the_start() {
    let args =
        |flags: &[&str]| Args::parse_from(std::iter::once("engramd").chain(flags.iter().copied()));
    let loaded = load(&[]).unwrap();
    assert_eq!(loaded.answer(&args(&[])), None);
    let checked = loaded.answer(&args(&["--check-config"]));
    assert_eq!(checked.as_deref(), Some("configuration is valid\n"));
    let printed = loaded.answer(&args(&["--print-config"])).unwrap();
    assert!(printed.contains("# shards is not set: what the data directory says"), "{printed}");
}
