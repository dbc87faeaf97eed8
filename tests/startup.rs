//! A start that cannot succeed ends with exit code 1 and a sentence that says what to do, and
//! leaves every file as it was.

mod common;

use std::fs;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::episodes::{Random, blob, vector};
use common::{Client, Daemon, Home, Reply, files, in_own_mounts};
use redis::Value;

/// The daemon refuses to start: with one sentence that has all these words.
fn refused(home: &Home, command: Command, words: &[&str]) {
    let (code, said) = home.refuse(command);
    assert_eq!(code, Some(1), "{said}");
    let from = format!("\n{said}").find("\nengramd: ").expect(&said);
    let sentence = &said[from..];
    for word in words {
        assert!(sentence.contains(word), "no '{word}' in '{sentence}'");
    }
}

/// As [`refused`], and no file below the folder changed.
fn refused_unchanged(home: &Home, command: Command, folder: &Path, words: &[&str]) {
    let before = files(folder);
    refused(home, command, words);
    assert!(files(folder) == before, "files were changed");
}

/// As [`refused`], and nothing was made where nothing was.
fn refused_untouched(home: &Home, command: Command, words: &[&str]) {
    refused(home, command, words);
    assert!(!home.data().exists(), "a data directory was made");
    assert!(!home.socket().exists(), "a socket was made");
}

fn store(client: &mut Client, id: u64) -> Value {
    let id = id.to_string();
    client.ask(&command!["EG.STORE", "notes", id, "VEC", blob(&vector(1, 3)), "TEXT", id])
}

/// Stores one by one, each in a batch of its own, on one shard; where the log ended behind each.
fn store_slowly(client: &mut Client, episodes: u64) -> Vec<End> {
    client.ask(&command!["EG.SPACE", "CREATE", "notes", "DIM", "3", "SHARDS", "1"]);
    let stored = (0..episodes).map(|id| {
        store(client, id);
        let stats = client.ask(&command!["EG.STATS"]);
        let shards = stats.at("per_shard").items();
        let busiest = shards.iter().max_by_key(|shard| shard.at("episodes").int()).unwrap();
        End::of(busiest)
    });
    stored.collect()
}

/// How far the log of a shard goes.
#[derive(Debug, Clone, Copy)]
struct End {
    shard: i64,
    segment: i64,
    offset: u64,
    sequence: i64,
}

impl End {
    fn of(shard: &Value) -> Self {
        Self {
            shard: shard.at("shard").int(),
            segment: shard.at("log_segment").int(),
            offset: shard.at("log_offset").int().unsigned_abs(),
            sequence: shard.at("durable_sequence").int(),
        }
    }

    fn folder(&self, home: &Home) -> PathBuf {
        home.data().join(format!("shard-{:03}", self.shard))
    }

    /// The segment that it lies in.
    fn file(&self, home: &Home) -> fs::File {
        let path = self.folder(home).join(format!("log-{:010}.seg", self.segment));
        fs::File::options().read(true).write(true).open(path).unwrap()
    }
}

/// A home whose daemon has stored some episodes and stopped.
fn stopped(episodes: u64) -> (Home, Vec<End>) {
    let home = Home::new();
    let mut daemon = home.start();
    let ends = store_slowly(&mut daemon.client(), episodes);
    assert!(daemon.stop().success());
    (home, ends)
}

fn is_complete(daemon: &Daemon, episodes: u64) {
    let mut client = daemon.client();
    for id in 0..episodes {
        let id = id.to_string();
        let found = client.ask(&command!["EG.GET", "notes", id]);
        assert_eq!(found.at("text").text(), id);
    }
    assert_eq!(client.ask(&command!["EG.STATS"]).at("episodes").int(), episodes as i64);
}

#[test]
fn a_data_directory_in_use() {
    let (home, other) = (Home::new(), Home::new());
    let daemon = home.start();
    store_slowly(&mut daemon.client(), 3);
    for shard in ["shard-000", "shard-001"] {
        let next = home.data().join(shard).join("log-0000000002.seg");
        common::eventually("the next segment is made", || {
            fs::metadata(&next).is_ok_and(|file| file.len() == 4 << 20)
        });
    }
    // The last anchors come a little later.
    let mut before = files(&home.data());
    common::eventually("the log is at rest", || {
        std::thread::sleep(Duration::from_millis(300));
        std::mem::replace(&mut before, files(&home.data())) == before
    });
    let process = format!("in use by process {};", daemon.pid());
    let words = ["data directory", &process, "stop that one first"];
    refused_unchanged(&other, other.command_for(&home.data(), &[]), &home.data(), &words);
    is_complete(&daemon, 3);
}

#[test]
fn a_store_of_another_version() {
    let (home, _) = stopped(3);
    let header = home.data().join("engram.store");
    let good = fs::read(&header).unwrap();
    let mut newer = good.clone();
    // A later version has other contents too.
    (newer[8], newer[100]) = (2, 1);
    fs::write(&header, newer).unwrap();
    let words = ["engram.store", "format version 2", "this build reads version 1"];
    refused_unchanged(&home, home.command(&[]), &home.data(), &words);
    fs::write(&header, good).unwrap();
    is_complete(&home.start(), 3);
}

#[test]
fn a_segment_of_another_version() {
    let (home, ends) = stopped(3);
    let file = ends[0].file(&home);
    file.write_all_at(&[2], 8).unwrap();
    file.write_all_at(&[1], 100).unwrap();
    let shard = format!("shard {}", ends[0].shard);
    let words = [&shard, "segment 1", "format version 2", "this build reads version 1"];
    refused_unchanged(&home, home.command(&[]), &ends[0].folder(&home), &words);
    file.write_all_at(&[1], 8).unwrap();
    file.write_all_at(&[0], 100).unwrap();
    is_complete(&home.start(), 3);
}

#[test]
fn a_store_header_that_is_damaged_or_missing() {
    let (home, _) = stopped(3);
    let header = home.data().join("engram.store");
    let good = fs::read(&header).unwrap();
    let mut damaged = good.clone();
    damaged[20] ^= 1;
    for (bytes, words) in [
        (&damaged[..], ["engram.store", "checksum"]),
        (&good[..100], ["has 100 bytes", "damaged"]),
        (&[], ["has 0 bytes", "damaged"]),
        (&[7; 4096], ["engram.store", "magic bytes of an Engram store"]),
    ] {
        fs::write(&header, bytes).unwrap();
        refused_unchanged(&home, home.command(&[]), &home.data(), &words);
    }
    fs::remove_file(&header).unwrap();
    let words = ["shard folders but no engram.store", "restore that file"];
    refused_unchanged(&home, home.command(&[]), &home.data(), &words);
    fs::write(&header, good).unwrap();
    is_complete(&home.start(), 3);
}

#[test]
fn another_number_of_shards() {
    let (home, _) = stopped(3);
    let words = ["made with 2 shards and 3 were asked for", "leave --shards out"];
    refused_unchanged(&home, home.command(&["shards=3"]), &home.data(), &words);
    is_complete(&home.start(), 3);
}

#[test]
fn a_data_directory_that_cannot_be_made() {
    let home = Home::new();
    fs::write(home.path("file"), "").unwrap();
    let below = home.path("file/data");
    let words = ["the data directory", "file/data", "cannot be made", "Not a directory"];
    refused_untouched(&home, home.command_for(&below, &[]), &words);
    let words = ["/proc/none/data", "cannot be made"];
    refused_untouched(&home, home.command_for(Path::new("/proc/none/data"), &[]), &words);
}

#[test]
fn a_data_directory_that_cannot_be_written() {
    if !common::can_mount("a_data_directory_that_cannot_be_written") {
        return;
    }
    let (home, _) = stopped(3);
    let script = r#"mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@""#;
    let command = in_own_mounts(script, &home.data(), &home.command(&[]));
    let words = ["the data directory", "cannot be written", "Read-only file system"];
    refused_unchanged(&home, command, &home.data(), &words);
    is_complete(&home.start(), 3);
}

#[test]
fn a_setting_that_is_wrong() {
    let home = Home::new();
    refused_untouched(&home, home.command(&["colour=red"]), &["colour"]);
    refused_untouched(&home, home.command(&["shards=0"]), &["shards", "1 to 64", "0"]);
    refused_untouched(&home, home.command(&["segment_bytes=1MiB"]), &["segment_bytes", "4MiB"]);
    let mut command = home.command(&[]);
    fs::write(home.path("engramd.toml"), "shards = 2\ncolour = \"red\"\n").unwrap();
    refused_untouched(&home, command, &["engramd.toml", "colour"]);
    command = home.command(&[]);
    command.env("ENGRAMD_COLOUR", "red");
    refused_untouched(&home, command, &["ENGRAMD_COLOUR"]);
}

#[test]
fn a_configuration_is_checked_without_a_store() {
    let home = Home::new();
    let mut command = home.command(&[]);
    let output = command.arg("--check-config").output().unwrap();
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(0), &b"configuration is valid\n"[..])
    );
    assert!(!home.data().exists());
}

#[test]
fn a_socket_that_is_served_already() {
    let home = Home::new();
    let _served = UnixListener::bind(home.socket()).unwrap();
    let words = ["the socket", "is served by another process", "choose another path"];
    refused(&home, home.command(&[]), &words);
    assert!(!home.data().exists(), "a data directory was made");
}

#[test]
fn a_socket_whose_process_is_gone_is_replaced() {
    let home = Home::new();
    drop(UnixListener::bind(home.socket()).unwrap());
    assert!(home.socket().exists());
    home.start().client().create_space("notes", 3);
}

#[test]
fn a_socket_path_that_is_something_else() {
    let home = Home::new();
    fs::write(home.socket(), "precious").unwrap();
    refused(&home, home.command(&[]), &["the socket", "cannot be made"]);
    assert_eq!(fs::read_to_string(home.socket()).unwrap(), "precious");
    fs::remove_file(home.socket()).unwrap();
    fs::create_dir(home.socket()).unwrap();
    refused(&home, home.command(&[]), &["the socket", "cannot be made"]);
    assert!(!home.data().exists(), "a data directory was made");
}

#[test]
fn a_torn_tail_is_cut_and_said() {
    let (home, ends) = stopped(20);
    let end = ends.last().unwrap();
    let mut random = Random::new(5);
    // What a write leaves whose first sector did not make it.
    let mut garbage: Vec<u8> = (0..10_000).map(|_| random.next() as u8 | 1).collect();
    garbage[..512].fill(0);
    end.file(&home).write_all_at(&garbage, end.offset).unwrap();

    let mut daemon = home.start();
    is_complete(&daemon, 20);
    let said = home.said();
    let line = said.lines().find(|line| line.contains("cut a torn tail")).expect(&said);
    for word in [format!("shard={}", end.shard), format!("byte {} of segment 1", end.offset)] {
        assert!(line.contains(&word), "{line}");
    }
    assert!(line.contains("10000 bytes"), "{line}");
    store(&mut daemon.client(), 20);
    assert!(daemon.stop().success());

    // It is cut for good.
    let daemon = home.start();
    assert!(!home.said().contains("torn"), "{}", home.said());
    is_complete(&daemon, 21);
}

#[test]
fn damage_in_the_middle_is_refused_by_sequence() {
    let (home, ends) = stopped(20);
    // The batch of the ninth episode begins where the eighth ended.
    let (before, hit) = (ends[7], ends[8]);
    let file = before.file(&home);
    let mut byte = [0];
    file.read_exact_at(&mut byte, before.offset + 100).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], before.offset + 100).unwrap();

    let shard = format!("shard {}", before.shard);
    let (sequence, offset) = (hit.sequence, before.offset + 64);
    let lost = format!("sequence {sequence} (segment 1, byte {offset}) cannot be read;");
    let words = [&shard, &lost, "restore the store from a copy", "--accept-loss"];
    refused_unchanged(&home, home.command(&[]), &before.folder(&home), &words);

    // With leave to lose it, everything else is there, and what was damaged is kept.
    let damaged = fs::read(before.folder(&home).join("log-0000000001.seg")).unwrap();
    let mut command = home.command(&[]);
    command.arg("--accept-loss");
    let mut daemon = home.start_command(command);
    let said = home.said();
    for word in [format!("sequence {sequence} "), "quarantine/log-0000000001.seg.1".into()] {
        assert!(said.contains(&word), "no '{word}' in {said}");
    }
    let mut client = daemon.client();
    for id in 0..20 {
        let found = client.ask(&command!["EG.GET", "notes", id.to_string()]);
        assert_eq!(found == Value::Nil, id == 8, "{id}");
    }
    let info = client.ask(&command!["INFO", "recovery"]);
    let info = info.text();
    assert!(info.contains("recovery_lost_sequences:1"), "{info}");
    drop(client);
    assert!(daemon.stop().success());
    let kept = before.folder(&home).join("quarantine/log-0000000001.seg.1");
    assert!(fs::read(kept).unwrap() == damaged, "the damaged file is kept as it was");

    // From now on the log is sound, and the number is not given again.
    let daemon = home.start();
    assert!(!home.said().contains("WARN"), "{}", home.said());
    let stored = store(&mut daemon.client(), 8);
    assert_eq!(stored.at("outcome").text(), "created");
}

#[test]
fn a_damaged_header_is_mended_without_a_loss() {
    let (home, ends) = stopped(20);
    let (before, file) = (ends[7], ends[7].file(&home));
    // The header of a batch and the header of the segment.
    for at in [before.offset + 9, 20] {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 4], at).unwrap();
    }
    let mut daemon = home.start();
    is_complete(&daemon, 20);
    assert!(home.said().contains("segment 1 was mended"), "{}", home.said());
    assert!(daemon.stop().success());
    let daemon = home.start();
    is_complete(&daemon, 20);
    assert!(!home.said().contains("WARN"), "{}", home.said());
}

#[test]
fn a_missing_segment_is_refused() {
    let home = Home::new();
    let mut daemon = home.start();
    let mut client = daemon.client();
    client.ask(&command!["EG.SPACE", "CREATE", "notes", "DIM", "3", "SHARDS", "1"]);
    // Three segments of 4 MiB.
    for id in 0..12 {
        let (id, text) = (id.to_string(), "x".repeat(1_000_000));
        client.ask(&command!["EG.STORE", "notes", id, "VEC", blob(&vector(1, 3)), "TEXT", text]);
    }
    let stats = client.ask(&command!["EG.STATS"]);
    let shards = stats.at("per_shard").items();
    let end = shards.iter().map(End::of).max_by_key(|end| end.segment).unwrap();
    assert!(end.segment >= 3, "{end:?}");
    assert!(daemon.stop().success());
    let (there, away) = (end.folder(&home).join("log-0000000002.seg"), home.path("away"));
    fs::rename(&there, &away).unwrap();
    let words = ["segment 2 is missing", "restore"];
    refused_unchanged(&home, home.command(&[]), &end.folder(&home), &words);
    fs::rename(&away, &there).unwrap();
    let daemon = home.start();
    let info = daemon.client().ask(&command!["EG.SPACE", "INFO", "notes"]);
    assert_eq!(info.at("episodes").int(), 12);
}
