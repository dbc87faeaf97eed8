//! A daemon that falls over again and again ends up read-only: it serves what is there, refuses
//! what would write, says why and what to do, and changes no byte of the logs.

mod common;

use std::fs;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use common::episodes::{blob, vector};
use common::hold::Hold;
use common::{Client, DEADLINE, Daemon, Home, Reply, files};

/// Starts that may end early.
const STARTS: [&str; 1] = ["crash_loop_starts=3"];
const EPISODES: u64 = 20;

fn store(id: &str) -> Vec<u8> {
    command!["EG.STORE", "notes", id, "VEC", blob(&vector(1, 3)), "TEXT", id]
}

/// A home whose daemon has stored episodes and stopped.
fn stopped() -> Home {
    let home = Home::new();
    let mut daemon = home.start();
    let mut client = daemon.client();
    client.create_space("notes", 3);
    (0..EPISODES).for_each(|id| drop(client.ask(&store(&id.to_string()))));
    assert!(daemon.stop().success());
    home
}

fn starts_file(home: &Home) -> PathBuf {
    home.data().join("engram.starts")
}

fn starts_noted(home: &Home) -> usize {
    fs::read_to_string(starts_file(home)).map_or(0, |text| text.lines().count())
}

/// Kills as many starts as are allowed to end early, soon after they serve.
fn fall_over(home: &Home) {
    for noted in 1..=3 {
        let daemon = home.start_with(&STARTS);
        assert_eq!(starts_noted(home), noted);
        daemon.kill();
    }
}

fn read_only_reason(client: &mut Client) -> Option<String> {
    let info = client.ask(&command!["INFO", "server"]);
    let mut lines = info.text().lines();
    lines.find_map(|line| line.strip_prefix("read_only_reason:").map(str::to_owned))
}

fn is_read_only(daemon: &Daemon) {
    // Connections are dealt to the shards in turn.
    for mut client in [daemon.client(), daemon.client()] {
        let reason = read_only_reason(&mut client).expect("INFO says why");
        for word in ["the last 3 starts", "engram.starts", "--set crash_loop_starts=0"] {
            assert!(reason.contains(word), "no '{word}' in '{reason}'");
        }
        for write in [
            store("new"),
            command!["EG.FORGET", "notes", "1"],
            command!["EG.SPACE", "CREATE", "more", "DIM", "3"],
            command!["EG.SPACE", "DROP", "notes"],
        ] {
            assert_eq!(client.refused(&write), ("READONLY".into(), reason.clone()));
        }
        assert_eq!(client.ask(&command!["EG.STATS"]).at("read_only_shards").int(), 2);
        is_complete(&mut client);
    }
}

fn is_complete(client: &mut Client) {
    for id in 0..EPISODES {
        let id = id.to_string();
        assert_eq!(client.ask(&command!["EG.GET", "notes", id]).at("text").text(), id);
    }
    let recall = command!["EG.RECALL", "notes", "K", "100", "VEC", blob(&vector(1, 3))];
    assert!(client.ask(&recall).items().len() as u64 >= EPISODES);
}

fn takes_writes(daemon: &Daemon) {
    let mut client = daemon.client();
    assert_eq!(read_only_reason(&mut client), None);
    client.ask(&store("new"));
    is_complete(&mut client);
}

#[test]
fn after_some_early_deaths_a_start_is_read_only_until_somebody_has_looked() {
    let home = stopped();
    fall_over(&home);
    let before = files(&home.data());
    // It stays so, through stops and kills, and nothing is counted any more.
    for stop in [true, false] {
        let mut daemon = home.start_with(&STARTS);
        is_read_only(&daemon);
        assert!(home.said().contains("read-only: the last 3 starts"), "{}", home.said());
        if stop {
            assert!(daemon.stop().success());
        } else {
            daemon.kill();
        }
        assert!(files(&home.data()) == before, "a read-only start changed a file");
    }
    fs::remove_file(starts_file(&home)).unwrap();
    takes_writes(&home.start_with(&STARTS));
}

#[test]
fn a_torn_tail_and_a_segment_behind_it_are_left_as_they_are() {
    let home = stopped();
    fall_over(&home);
    let mut daemon = home.start();
    let stats = daemon.client().ask(&command!["EG.STATS"]);
    let end = stats.at("per_shard").items()[0].at("log_offset").int().unsigned_abs();
    daemon.signal(rustix::process::Signal::KILL);
    daemon.wait();
    let segment = home.data().join("shard-000/log-0000000001.seg");
    let file = fs::File::options().write(true).open(segment).unwrap();
    // Its first sector never arrived: a torn write, not damage.
    file.write_all_at(&[7; 5000], end + 4096).unwrap();

    let before = files(&home.data());
    let mut daemon = home.start_with(&STARTS);
    is_read_only(&daemon);
    assert!(home.said().contains("left a torn tail"), "{}", home.said());
    assert!(daemon.stop().success());
    assert!(files(&home.data()) == before, "a read-only start changed a file");

    // The other remedy. Once it was stopped in good order nothing is counted against it.
    let mut daemon = home.start();
    takes_writes(&daemon);
    assert!(home.said().contains("cut a torn tail"), "{}", home.said());
    assert!(daemon.stop().success());
    assert!(!starts_file(&home).exists());
    takes_writes(&home.start_with(&STARTS));
}

#[test]
fn dying_during_the_replay_counts_and_the_lobby_says_so() {
    let home = stopped();
    let segment = home.data().join("shard-000/log-0000000001.seg");
    let test = "dying_during_the_replay_counts_and_the_lobby_says_so";
    for noted in 1..=3 {
        let Some(hold) = Hold::new(&segment, test) else { return };
        let daemon = home.spawn(home.command(&STARTS));
        hold.wait_for_visitor();
        daemon.kill();
        assert_eq!(starts_noted(&home), noted);
    }
    let Some(hold) = Hold::new(&segment, test) else { return };
    let daemon = home.spawn(home.command(&STARTS));
    hold.wait_for_visitor();
    let mut client = daemon.client();
    assert!(read_only_reason(&mut client).expect("INFO says why").contains("the last 3 starts"));
    hold.release();
    is_read_only(&daemon);
}

#[test]
fn a_daemon_that_lives_takes_the_starts_before_it_away() {
    let home = stopped();
    let settings = ["crash_loop_starts=2", "crash_loop_seconds=1"];
    home.start_with(&settings).kill();
    for _ in 0..3 {
        let daemon = home.start_with(&settings);
        common::eventually("the starts are taken away", || !starts_file(&home).exists());
        daemon.kill();
    }
    takes_writes(&home.start_with(&settings));
}

#[test]
fn a_start_that_refuses_and_says_why_does_not_count() {
    let home = stopped();
    let segment = home.data().join("shard-000/log-0000000001.seg");
    let file = fs::File::options().read(true).write(true).open(segment).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 4096 + 100).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 4096 + 100).unwrap();
    for _ in 0..5 {
        let (code, said) = home.refuse(home.command(&STARTS));
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("cannot be read"), "{said}");
        assert_eq!(starts_noted(&home), 0);
    }
    file.write_all_at(&byte, 4096 + 100).unwrap();
    takes_writes(&home.start_with(&STARTS));
}

#[test]
fn the_manager_is_told() {
    let home = stopped();
    fall_over(&home);
    let socket = UnixDatagram::bind(home.path("notify")).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut command = home.command(&STARTS);
    command.env("NOTIFY_SOCKET", home.path("notify"));
    let _daemon = home.spawn(command);
    let next = || {
        let mut bytes = [0; 4096];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let mut said = next();
    while said.starts_with("EXTEND_TIMEOUT_USEC") {
        said = next();
    }
    assert!(said.starts_with("READY=1\n"), "{said}");
    assert!(said.contains(" shards, read-only: the last 3 starts"), "{said}");
}

/// Copies a folder of files.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn spaces_that_were_half_created_or_dropped_are_served_as_if_they_were_finished() {
    let home = stopped();
    let (second, aside) = (home.data().join("shard-001"), home.path("aside"));
    copy(&second, &aside);
    let mut daemon = home.start();
    let mut client = daemon.client();
    client.create_space("fresh", 3);
    client.ask(&command!["EG.SPACE", "DROP", "notes"]);
    assert!(daemon.stop().success());
    // As if the daemon had died when shard 0 had logged both and shard 1 neither.
    fs::remove_dir_all(&second).unwrap();
    copy(&aside, &second);
    let line = "started_at_us=1 process=1\n";
    fs::write(starts_file(&home), line.repeat(3)).unwrap();

    let before = files(&home.data());
    let mut daemon = home.start_with(&STARTS);
    for mut client in [daemon.client(), daemon.client()] {
        let names = client.ask(&command!["EG.SPACE", "LIST"]);
        assert_eq!(names.items().iter().map(Reply::text).collect::<Vec<_>>(), ["fresh"]);
        let recall = command!["EG.RECALL", "fresh", "K", "3", "VEC", blob(&vector(1, 3))];
        assert_eq!(client.ask(&recall).items().len(), 0);
        assert_eq!(client.refused(&command!["EG.SPACE", "INFO", "notes"]).0, "NOSPACE");
        assert_eq!(client.ask(&command!["EG.STATS"]).at("episodes").int(), 0);
    }
    assert!(daemon.stop().success());
    assert!(files(&home.data()) == before, "a read-only start changed a file");

    home.start();
    assert!(home.said().contains("a drop that was cut short is finished"), "{}", home.said());
    assert!(home.said().contains("a creation that was cut short is finished"));
}
