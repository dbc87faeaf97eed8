//! A full disk: writing is refused with a sentence, reading goes on, what was acknowledged stays,
//! and writing resumes when there is room again.
//!
//! The data directory lies on a small file system in memory that only the daemon sees.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use common::episodes::{blob, vector};
use common::{Client, Daemon, Home, Reply};
use redis::Value;
use rustix::process::{Pid, Signal, kill_process};

/// Three segments for each of two shards, and the ballast.
const DISK: &str = "size=34m";
/// Takes the room of two segments, which is what writing needs to resume, and gives it back when it
/// is removed.
const BALLAST: &str = "9m";
const TEXT_BYTES: usize = 200_000;

/// A daemon on its small disk. When it is killed it is started again there, once.
struct Stage {
    home: Home,
    _daemon: Daemon,
}

impl Stage {
    fn new() -> Self {
        let home = Home::new();
        let disk = home.path("disk");
        fs::create_dir(&disk).unwrap();
        let script = format!(
            r#"mount -t tmpfs -o {DISK} none "$0" && head -c {BALLAST} /dev/zero >"$0/ballast" &&
               {{ "$@"; exec "$@"; }}"#
        );
        let command = home.command_for(&disk.join("data"), &[]);
        let daemon = home.start_command(common::in_own_mounts(&script, &disk, &command));
        Self { home, _daemon: daemon }
    }

    fn client(&self) -> Client {
        Client::try_connect(&self.home.socket()).unwrap()
    }

    /// The daemon itself; the process that was started only looks after it.
    fn pid(client: &Client) -> Pid {
        rustix::net::sockopt::socket_peercred(client.stream()).unwrap().pid
    }

    /// The disk as the daemon sees it.
    fn disk(&self, client: &Client) -> PathBuf {
        let pid = Self::pid(client).as_raw_nonzero();
        let path = self.home.path("disk");
        PathBuf::from(format!("/proc/{pid}/root{}", path.display()))
    }

    /// Kills the daemon and waits for the next one.
    fn restart(&self, client: Client) -> Client {
        let pid = Self::pid(&client);
        drop(client);
        kill_process(pid, Signal::KILL).unwrap();
        let mut next = None;
        common::eventually("the daemon is there again", || {
            next = Client::try_connect(&self.home.socket())
                .ok()
                .filter(|client| Self::pid(client) != pid)
                .and_then(|mut client| client.is_served().then_some(client));
            next.is_some()
        });
        next.expect("just seen")
    }
}

fn text(number: u64) -> String {
    format!("{number} {}", "x".repeat(TEXT_BYTES))
}

fn store(client: &mut Client, number: u64) -> Value {
    let (id, text) = (number.to_string(), text(number));
    client.call(&command!["EG.STORE", "notes", id, "VEC", blob(&vector(number, 3)), "TEXT", text])
}

fn is_read_only(reply: &Value) -> bool {
    reply.is_error() && reply.code() == "READONLY"
}

/// Stores until both shards refuse; what was acknowledged, and the last refusal.
fn fill(client: &mut Client, acknowledged: &mut BTreeMap<u64, i64>) -> String {
    let mut refused_in_a_row = 0;
    let from = acknowledged.len() as u64 * 2;
    for number in from.. {
        let reply = store(client, number);
        if is_read_only(&reply) {
            refused_in_a_row += 1;
            if refused_in_a_row == 20 {
                return format!("{reply:?}");
            }
        } else {
            assert!(!reply.is_error(), "{reply:?}");
            acknowledged.insert(number, reply.at("seq").int());
            refused_in_a_row = 0;
        }
    }
    unreachable!("the range has no end")
}

fn check(client: &mut Client, acknowledged: &BTreeMap<u64, i64>) {
    for (number, sequence) in acknowledged {
        let id = number.to_string();
        let found = client.ask(&command!["EG.GET", "notes", id]);
        assert_eq!(found.at("seq").int(), *sequence);
        assert!(found.at("text").text() == text(*number), "{number} came back changed");
    }
    let info = client.ask(&command!["EG.SPACE", "INFO", "notes"]);
    assert_eq!(info.at("episodes").int(), acknowledged.len() as i64);
}

#[test]
fn a_full_disk_refuses_writes_and_nothing_else() {
    if !common::can_mount("a_full_disk_refuses_writes_and_nothing_else") {
        return;
    }
    let stage = Stage::new();
    let mut client = stage.client();
    client.create_space("notes", 3);
    let mut acknowledged = BTreeMap::new();
    acknowledged.insert(0, store(&mut client, 0).at("seq").int());
    client.ask(&command!["EG.LINK", "notes", "0", "1", "0.5"]);
    client.ask(&command!["EG.PIN", "notes", "0"]);
    let refusal = fill(&mut client, &mut acknowledged);
    for word in ["log segment", "No space left on device", "free disk space", "resumes by itself"] {
        assert!(refusal.contains(word), "no '{word}' in {refusal}");
    }
    // At least the first segments of both shards were filled.
    assert!(acknowledged.len() * TEXT_BYTES > 8_000_000, "{}", acknowledged.len());

    // Reading goes on, and the daemon says how it is.
    check(&mut client, &acknowledged);
    let cue = blob(&vector(1, 3));
    let recalled = client.ask(&command!["EG.RECALL", "notes", "K", "5", "VEC", cue]);
    assert_eq!(recalled.items().len(), 5);
    let stats = client.ask(&command!["EG.STATS"]);
    assert_eq!(stats.at("read_only_shards").int(), 2);
    assert!(stats.at("refusals").at("READONLY").int() >= 20);

    // A restart on the full disk brings back the same, and still refuses.
    let mut client = stage.restart(client);
    check(&mut client, &acknowledged);
    let got = client.ask(&command!["EG.GET", "notes", "0", "WITH", "links", "WITH", "strength"]);
    let [link] = got.at("links").items() else { panic!("{got:?}") };
    assert_eq!((link.at("id").text(), link.at("weight").float()), ("1", 0.5));
    let strength = got.at("strength");
    assert_eq!((strength.at("pinned").int(), strength.at("presentations").int()), (1, 1));
    fill(&mut client, &mut acknowledged);
    check(&mut client, &acknowledged);

    // What makes room or sense of a full disk is still taken.
    let forgotten: Vec<u64> = acknowledged.keys().copied().take(20).collect();
    for number in forgotten {
        let id = number.to_string();
        let reply = client.ask(&command!["EG.FORGET", "notes", id]);
        assert_eq!(reply.at("outcome").text(), "forgotten", "{reply:?}");
        acknowledged.remove(&number);
    }
    let last = *acknowledged.keys().last().unwrap();
    let reply = client.ask(&command!["EG.ERASE", "notes", last.to_string()]);
    assert_eq!(reply.at("outcome").text(), "erased", "{reply:?}");
    acknowledged.remove(&last);
    check(&mut client, &acknowledged);
    assert!(is_read_only(&store(&mut client, 2_000_000)));

    // With room, writing resumes by itself on the shard that gets it.
    fs::remove_file(stage.disk(&client).join("ballast")).unwrap();
    let mut number = 1_000_000;
    common::eventually("writing resumes", || {
        number += 1;
        let reply = store(&mut client, number);
        if !reply.is_error() {
            acknowledged.insert(number, reply.at("seq").int());
        }
        assert!(!reply.is_error() || is_read_only(&reply), "{reply:?}");
        !reply.is_error()
    });
    check(&mut client, &acknowledged);
}

#[test]
fn a_disk_too_small_for_a_store_is_named_at_the_start() {
    if !common::can_mount("a_disk_too_small_for_a_store_is_named_at_the_start") {
        return;
    }
    let home = Home::new();
    let disk = home.path("disk");
    fs::create_dir(&disk).unwrap();
    let script = r#"mount -t tmpfs -o size=6m none "$0" && exec "$@""#;
    let command = home.command_for(&disk.join("data"), &[]);
    let (code, said) = home.refuse(common::in_own_mounts(script, &disk, &command));
    assert_eq!(code, Some(1), "{said}");
    let sentence = said.lines().last().unwrap_or_default();
    assert!(sentence.starts_with("engramd: shard "), "{said}");
    assert!(sentence.contains("No space left on device"), "{said}");
}
