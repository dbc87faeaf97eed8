//! While the logs are replayed: connections are accepted and heard, what needs no shard is
//! answered, everything else waits its turn, and a stop is a stop.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::thread;

use common::episodes::{blob, vector};
use common::hold::Hold;
use common::{Client, DEADLINE, Daemon, Home, Reply, files};
use redis::Value;
use rustix::process::Signal;

const EPISODES: u64 = 40;

fn store(id: u64) -> Vec<u8> {
    let id = id.to_string();
    command!["EG.STORE", "notes", id, "VEC", blob(&vector(1, 3)), "TEXT", id]
}

fn get(id: u64) -> Vec<u8> {
    command!["EG.GET", "notes", id.to_string()]
}

/// A home whose daemon has stored episodes on both shards and stopped.
fn stopped() -> Home {
    let home = Home::new();
    let mut daemon = home.start();
    let mut client = daemon.client();
    client.create_space("notes", 3);
    (0..EPISODES).for_each(|id| drop(client.ask(&store(id))));
    assert!(daemon.stop().success());
    home
}

fn segment(home: &Home, shard: u32) -> PathBuf {
    home.data().join(format!("shard-{shard:03}/log-0000000001.seg"))
}

/// A daemon that replays its logs until the hold is released; shard 0 does not get far.
fn held(home: &Home, settings: &[&str], test: &str) -> Option<(Daemon, Hold)> {
    let hold = Hold::new(&segment(home, 0), test)?;
    let daemon = home.spawn(home.command(settings));
    hold.wait_for_visitor();
    Some((daemon, hold))
}

/// The lines of `INFO`.
fn info(client: &mut Client) -> BTreeMap<String, String> {
    let reply = client.ask(&command!["INFO"]);
    let lines = reply.text().lines().filter_map(|line| line.split_once(':'));
    lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn is_complete(daemon: &Daemon) {
    let mut client = daemon.client();
    for id in 0..EPISODES {
        assert_eq!(client.ask(&get(id)).at("text").text(), id.to_string());
    }
}

#[test]
fn what_needs_no_shard_is_answered_at_once() {
    let home = stopped();
    let test = "what_needs_no_shard_is_answered_at_once";
    let Some((daemon, hold)) = held(&home, &[], test) else { return };
    let mut client = daemon.client();
    assert!(client.is_answered());
    assert_eq!(client.ask(&command!["ECHO", "hello"]).text(), "hello");
    assert!(client.ask(&command!["COMMAND", "COUNT"]).int() > 10);
    assert_eq!(client.ask(&command!["HELLO", "3", "SETNAME", "early"]).at("proto").int(), 3);
    assert!(client.ask(&command!["CLIENT", "LIST"]).text().contains(" name=early "));
    assert_eq!(client.refused(&command!["NONSENSE"]).0, "SYNTAX");
    assert_eq!(client.refused(&command!["EG.GET", "notes"]).0, "SYNTAX");
    assert_eq!(client.ask(&command!["INFO", "latency"]).text(), "");

    // The other shard gets to its end; this one does not.
    common::eventually("the other shard is done", || {
        info(&mut client)["recovery_shards_done"] == "1"
    });
    let facts = info(&mut client);
    let figure = |name: &str| facts[name].parse::<f64>().unwrap();
    assert_eq!((facts["loading"].as_str(), facts["shards"].as_str()), ("1", "2"));
    assert!(figure("recovery_bytes") > 0.0 && figure("recovery_frames") > 0.0, "{facts:?}");
    assert!(figure("recovery_bytes") <= figure("recovery_bytes_total"), "{facts:?}");
    assert!(figure("recovery_seconds") > 0.0 && figure("recovery_eta_seconds") >= 0.0);
    assert!(figure("recovery_percent") <= 100.0);
    assert!(!facts.contains_key("episodes"), "only shards know that");

    assert_eq!(client.ask(&command!["QUIT"]), Value::Okay);
    assert!(client.is_hung_up());
    let mut confused = daemon.client();
    confused.send(b"?\r\n");
    assert_eq!(confused.read().code(), "SYNTAX");
    assert!(confused.is_hung_up());
    hold.release();
    is_complete(&daemon);
}

#[test]
fn a_command_that_waited_is_answered_as_if_nothing_had_been() {
    let home = stopped();
    let test = "a_command_that_waited_is_answered_as_if_nothing_had_been";
    let Some((daemon, hold)) = held(&home, &[], test) else { return };
    let mut client = daemon.client();
    let pipeline = [
        command!["HELLO", "3", "SETNAME", "patient"],
        command!["CLIENT", "SETINFO", "LIB-NAME", "redis-rs"],
        command!["CLIENT", "ID"],
        get(3),
        command!["CLIENT", "INFO"],
        store(EPISODES),
        get(EPISODES),
        command!["ECHO", "last"],
    ]
    .concat();
    // The end of the last command comes when the shards serve.
    let (early, late) = pipeline.split_at(pipeline.len() - 9);
    client.send(early);
    let answers = client.read_many(3);
    let id = answers[2].int();
    assert_eq!((answers[0].at("id").int(), &answers[1]), (id, &Value::Okay));
    assert_eq!(info(&mut daemon.client())["loading"], "1");
    hold.release();

    let answers = client.read_many(4);
    assert!(matches!(answers[0], Value::Map(_)), "it was agreed to speak RESP3");
    assert_eq!(answers[0].at("text").text(), "3");
    let line = answers[1].text();
    for word in [&format!("id={id} "), " name=patient ", " resp=3 ", " lib-name=redis-rs "] {
        assert!(line.contains(word), "{line}");
    }
    assert_eq!(answers[2].at("outcome").text(), "created");
    assert_eq!(answers[3].at("text").text(), EPISODES.to_string());
    client.send(late);
    assert_eq!(client.read().text(), "last");
}

/// Writes without waiting for replies, on a thread.
fn write(client: &Client, bytes: Vec<u8>) -> thread::JoinHandle<()> {
    let mut stream = client.stream().try_clone().unwrap();
    thread::spawn(move || stream.write_all(&bytes).unwrap())
}

#[test]
fn pipelines_of_any_size_keep_their_order() {
    let home = stopped();
    let test = "pipelines_of_any_size_keep_their_order";
    let Some((daemon, hold)) = held(&home, &[], test) else { return };
    // Talk that is not read, then everything; one command larger than the lobby takes.
    let text = "x".repeat(1000);
    let talk: Vec<u8> = (0..2000).flat_map(|_| command!["ECHO", text]).collect();
    let large = "y".repeat(1 << 20);
    let mut clients = Vec::new();
    for first in [command!["PING"], get(1), command!["ECHO", large]] {
        let client = daemon.client();
        let bytes = [first.clone(), talk.clone(), get(2), talk.clone(), get(3)].concat();
        let writing = write(&client, bytes);
        clients.push((client, first, writing));
    }
    assert_eq!(info(&mut daemon.client())["loading"], "1");
    hold.release();
    for (mut client, first, writing) in clients {
        let answer = client.read();
        if first == get(1) {
            assert_eq!(answer.at("text").text(), "1");
        } else {
            assert!(answer.text() == "PONG" || answer.text() == large);
        }
        for id in [2, 3] {
            let echoes = client.read_many(2000);
            assert!(echoes.iter().all(|echo| echo.text() == text));
            assert_eq!(client.read().at("text").text(), id.to_string());
        }
        writing.join().unwrap();
    }
}

#[test]
fn who_leaves_makes_room_and_who_only_stops_talking_is_answered() {
    let home = stopped();
    let test = "who_leaves_makes_room_and_who_only_stops_talking_is_answered";
    let Some((daemon, hold)) = held(&home, &["connections_max=3"], test) else { return };
    let mut silent = daemon.client();
    silent.send(&command!["PING"]);
    silent.stream().shutdown(Shutdown::Write).unwrap();
    assert_eq!(silent.read().text(), "PONG");
    assert!(silent.is_hung_up());
    let mut waiting = daemon.client();
    waiting.send(&get(5));
    waiting.stream().shutdown(Shutdown::Write).unwrap();
    let (mut left, mut stays) = (daemon.client(), daemon.client());
    assert!(left.is_answered() && stays.is_answered());
    assert_eq!(daemon.client().read().code(), "BUSY");
    drop(left);
    common::eventually("there is room", || daemon.client().is_answered());
    hold.release();
    assert_eq!(waiting.read().at("text").text(), "5");
    assert!(waiting.is_hung_up());
    assert!(stays.is_answered() && stays.is_served());
}

#[test]
fn info_says_how_the_start_went() {
    let home = stopped();
    let mut daemon = home.start();
    let mut client = daemon.client();
    let stats = client.ask(&command!["EG.STATS"]);
    let end = stats.at("per_shard").items()[1].at("log_offset").int().unsigned_abs();
    assert!(daemon.stop().success());
    let file = fs::File::options().write(true).open(segment(&home, 1)).unwrap();
    // What a write leaves of which the first sector did not make it.
    file.write_all_at(&[7; 100], end + 512).unwrap();

    let daemon = home.start();
    let facts = info(&mut daemon.client());
    assert_eq!(facts["loading"], "0");
    // Both shards logged the creation of the space.
    assert_eq!(facts["recovery_frames"], (EPISODES + 2).to_string());
    assert_eq!(facts["recovery_torn_tail_bytes"], "612");
    assert_eq!(facts["recovery_lost_sequences"], "0");
    assert!(facts["recovery_bytes"].parse::<u64>().unwrap() > 4096 * EPISODES);
    assert!(facts["recovery_seconds"].parse::<f64>().unwrap() > 0.0);
    assert_eq!((facts["recovery_shards"].as_str(), facts.get("recovery_percent")), ("2", None));
    assert!(!facts.contains_key("read_only_reason"), "{facts:?}");
}

#[test]
fn the_manager_hears_how_far_the_replay_is() {
    let home = stopped();
    let socket = UnixDatagram::bind(home.path("notify")).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let test = "the_manager_hears_how_far_the_replay_is";
    let Some(hold) = Hold::new(&segment(&home, 0), test) else { return };
    let mut command = home.command(&[]);
    command.env("NOTIFY_SOCKET", home.path("notify"));
    let mut daemon = home.spawn(command);
    let next = || {
        let mut bytes = [0; 4096];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let said = next();
    assert!(said.contains("EXTEND_TIMEOUT_USEC=10000000\n"), "{said}");
    assert!(said.contains("STATUS=replaying the logs: ") && said.contains(" % of "), "{said}");
    assert!(said.contains("of 2 shards are done"), "{said}");
    hold.release();
    let mut said = next();
    while said.starts_with("EXTEND_TIMEOUT_USEC") {
        said = next();
    }
    assert!(said.starts_with("READY=1"), "{said}");
    assert!(daemon.stop().success());
}

#[test]
fn a_stop_during_the_replay_is_clean() {
    for signal in [Signal::TERM, Signal::INT] {
        let home = stopped();
        let before = files(&home.data());
        let test = "a_stop_during_the_replay_is_clean";
        let Some((mut daemon, hold)) = held(&home, &["crash_loop_starts=5"], test) else { return };
        let mut waiting = daemon.client();
        waiting.send(&get(1));
        daemon.signal(signal);
        let status = daemon.wait();
        assert!(status.success(), "{status}: {}", home.said());
        assert!(home.said().contains("stopped while the logs were replayed"), "{}", home.said());
        assert!(!home.socket().exists(), "the socket was left behind");
        assert!(waiting.is_hung_up());
        hold.release();
        let after = files(&home.data());
        let of_shard = |files: &BTreeMap<PathBuf, Vec<u8>>| -> BTreeMap<PathBuf, Vec<u8>> {
            let own =
                files.iter().filter(|(path, _)| path.starts_with(home.data().join("shard-000")));
            own.map(|(path, bytes)| (path.clone(), bytes.clone())).collect()
        };
        assert!(of_shard(&after) == of_shard(&before), "a shard that did not replay changed");
        assert!(!home.data().join("engram.starts").exists(), "a stop is no crash");
        is_complete(&home.start());
    }
}
