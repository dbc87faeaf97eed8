//! A stock Redis client connects, looks around and manages memory spaces, in RESP2 and in RESP3.

mod common;

use std::sync::mpsc;

use common::episodes::{blob, vector};
use common::stock::{self, BOTH, Resp};
use common::{Daemon, Home, Reply, eventually};
use redis::{Cmd, Connection, InfoDict, PushInfo, PushKind, RedisResult, Value, cmd};

/// Runs a test once for each protocol, with a connection that speaks it.
fn in_both(test: impl Fn(&Daemon, &mut Connection, Resp)) {
    for resp in BOTH {
        let home = Home::new();
        let daemon = home.start();
        test(&daemon, &mut stock::connect(&daemon.socket, resp), resp);
    }
}

fn value(command: &mut Cmd, connection: &mut Connection) -> Value {
    command.query(connection).unwrap()
}

fn create(connection: &mut Connection, arguments: &str) -> RedisResult<Value> {
    cmd("EG.SPACE").arg("CREATE").arg(arguments.split(' ').collect::<Vec<_>>()).query(connection)
}

#[test]
fn the_handshake_of_the_client_is_understood() {
    in_both(|_, connection, resp| {
        // The client has sent HELLO (in RESP3) and CLIENT SETINFO when it connected.
        let line: String = cmd("CLIENT").arg("INFO").query(connection).unwrap();
        assert!(line.contains(" lib-name=redis-rs "), "{line}");
        assert!(line.contains(if resp == Resp::Three { " resp=3 " } else { " resp=2 " }), "{line}");
        let hello = value(&mut cmd("HELLO"), connection);
        assert_eq!(hello.at("server").text(), "engram");
        assert_eq!(hello.at("proto").int(), if resp == Resp::Three { 3 } else { 2 });
        assert_eq!(matches!(hello, Value::Map(_)), resp == Resp::Three);
        let id: i64 = cmd("CLIENT").arg("ID").query(connection).unwrap();
        assert_eq!(hello.at("id").int(), id);
    });
}

#[test]
fn a_connection_changes_what_it_speaks() {
    let home = Home::new();
    let daemon = home.start();
    let connection = &mut stock::connect(&daemon.socket, Resp::Two);
    for (version, is_map) in [(2, false), (3, true), (2, false)] {
        let hello = value(cmd("HELLO").arg(version), connection);
        assert_eq!(matches!(hello, Value::Map(_)), is_map, "{hello:?}");
        let stats = value(&mut cmd("EG.STATS"), connection);
        assert_eq!(matches!(stats, Value::Map(_)), is_map, "{stats:?}");
    }
    let error = cmd("HELLO").arg(4).query::<Value>(connection).unwrap_err();
    assert_eq!(error.code(), Some("SYNTAX"));
}

#[test]
fn greetings_and_names() {
    in_both(|_, connection, _| {
        assert_eq!(cmd("PING").query::<String>(connection).unwrap(), "PONG");
        assert_eq!(cmd("PING").arg("hello").query::<String>(connection).unwrap(), "hello");
        assert_eq!(cmd("ECHO").arg("a b").query::<String>(connection).unwrap(), "a b");
        let name = |connection: &mut Connection| {
            cmd("CLIENT").arg("GETNAME").query::<Option<String>>(connection).unwrap()
        };
        assert_eq!(name(connection), None);
        assert_eq!(value(cmd("CLIENT").arg("SETNAME").arg("me"), connection), Value::Okay);
        assert_eq!(name(connection).as_deref(), Some("me"));
    });
}

#[test]
fn quit_is_answered_and_ends_the_connection() {
    in_both(|_, connection, _| {
        assert_eq!(value(&mut cmd("QUIT"), connection), Value::Okay);
        assert!(cmd("PING").query::<Value>(connection).is_err());
    });
}

#[test]
fn commands_describe_themselves() {
    in_both(|_, connection, _| {
        let count: usize = cmd("COMMAND").arg("COUNT").query(connection).unwrap();
        let all = value(&mut cmd("COMMAND"), connection);
        assert_eq!(all.items().len(), count);
        let names: Vec<&str> = all.items().iter().map(|entry| entry.items()[0].text()).collect();
        let docs = value(cmd("COMMAND").arg("DOCS"), connection);
        assert_eq!(docs.keys(), names);
        for (name, entry) in docs.pairs() {
            assert!(!entry.at("summary").text().is_empty(), "{name}");
        }
        let listed: Vec<String> = cmd("COMMAND").arg("LIST").query(connection).unwrap();
        assert_eq!(listed, names);
        for name in ["eg.store", "eg.mstore", "eg.recall", "eg.get", "eg.mget", "eg.forget"] {
            assert!(names.contains(&name), "{name}");
        }
    });
}

#[test]
fn info_is_what_parsers_of_info_expect() {
    in_both(|daemon, connection, _| {
        create(connection, "notes DIM 3").unwrap();
        let store = |id: &str| {
            let mut command = cmd("EG.STORE");
            command.arg("notes").arg(id).arg("VEC").arg(blob(&vector(1, 3))).clone()
        };
        store("a").exec(connection).unwrap();
        store("b").exec(connection).unwrap();
        let info: InfoDict = cmd("INFO").query(connection).unwrap();
        assert_eq!(info.get::<u32>("process_id"), Some(daemon.pid()));
        assert_eq!(info.get::<u32>("shards"), Some(2));
        assert_eq!(info.get::<u64>("episodes"), Some(2));
        assert_eq!(info.get::<u64>("stores"), Some(2));
        assert!(info.get::<String>("commit_us").unwrap().starts_with("count="), "{info:?}");
        let section: String = cmd("INFO").arg("server").query(connection).unwrap();
        assert!(section.starts_with("# Server\r\n") && !section.contains("# Stats"), "{section}");
    });
}

#[test]
fn spaces_are_created_listed_described_and_dropped() {
    in_both(|_, connection, _| {
        let list = |connection: &mut Connection| {
            cmd("EG.SPACE").arg("LIST").query::<Vec<String>>(connection).unwrap()
        };
        assert!(list(connection).is_empty());
        let full = "work DIM 768 METRIC dot MODEL e5 SHARDS 1";
        assert_eq!(create(connection, full).unwrap(), Value::Okay);
        assert_eq!(create(connection, "home DIM 3").unwrap(), Value::Okay);
        assert_eq!(list(connection), ["home", "work"]);

        let info = value(cmd("EG.SPACE").arg("INFO").arg("work"), connection);
        assert_eq!(info.at("name").text(), "work");
        assert_eq!((info.at("dim").int(), info.at("metric").text()), (768, "dot"));
        assert_eq!((info.at("model").text(), info.at("shards").int()), ("e5", 1));
        let info = value(cmd("EG.SPACE").arg("INFO").arg("home"), connection);
        assert_eq!((info.at("metric").text(), info.at("shards").int()), ("cosine", 2));
        assert_eq!((info.at("model").text(), info.at("episodes").int()), ("", 0));

        // The same again is no mistake, another shape under the same name is.
        assert_eq!(create(connection, full).unwrap(), Value::Okay);
        assert_eq!(create(connection, "work DIM 4").unwrap_err().code(), Some("SYNTAX"));
        assert_eq!(create(connection, "big DIM 4 SHARDS 3").unwrap_err().code(), Some("SYNTAX"));

        let drop = |name: &str| cmd("EG.SPACE").arg("DROP").arg(name).clone();
        assert_eq!(value(&mut drop("work"), connection), Value::Okay);
        assert_eq!(list(connection), ["home"]);
        for command in [&drop("work"), cmd("EG.SPACE").arg("INFO").arg("work")] {
            let error = command.query::<Value>(connection).unwrap_err();
            assert_eq!(error.code(), Some("NOSPACE"));
        }
        assert_eq!(create(connection, "work DIM 4").unwrap(), Value::Okay);
    });
}

#[test]
fn a_space_with_episodes_takes_them_along_when_it_is_dropped() {
    in_both(|_, connection, _| {
        create(connection, "notes DIM 3").unwrap();
        for id in 0..20 {
            let mut store = cmd("EG.STORE");
            store.arg("notes").arg(id).arg("VEC").arg(blob(&vector(id, 3)));
            store.exec(connection).unwrap();
        }
        value(cmd("EG.SPACE").arg("DROP").arg("notes"), connection);
        create(connection, "notes DIM 3").unwrap();
        let ids: Vec<u64> = (0..20).collect();
        let found = value(cmd("EG.MGET").arg("notes").arg(20).arg(&ids), connection);
        assert!(found.items().iter().all(|item| *item == Value::Nil), "{found:?}");
        let info = value(cmd("EG.SPACE").arg("INFO").arg("notes"), connection);
        assert_eq!(info.at("episodes").int(), 0);
    });
}

#[test]
fn statistics_count_what_was_done() {
    in_both(|_, connection, _| {
        create(connection, "notes DIM 3").unwrap();
        let store = |id: &str, connection: &mut Connection| {
            let mut store = cmd("EG.STORE");
            store.arg("notes").arg(id).arg("VEC").arg(blob(&vector(1, 3)));
            store.exec(connection).unwrap();
        };
        ["a", "b", "c", "a"].iter().for_each(|id| store(id, connection));
        value(cmd("EG.FORGET").arg("notes").arg("b"), connection);
        cmd("EG.GET").arg("nowhere").arg("b").exec(connection).unwrap_err();

        let space = value(cmd("EG.STATS").arg("notes"), connection);
        assert_eq!((space.at("episodes").int(), space.at("rows").int()), (2, 4));
        assert_eq!((space.at("rows_dead").int(), space.at("shards").int()), (2, 2));
        let all = value(&mut cmd("EG.STATS"), connection);
        assert_eq!((all.at("episodes").int(), all.at("stores").int()), (2, 4));
        assert_eq!(all.at("refusals").at("NOSPACE").int(), 1);
        assert!(all.at("pressure").float() > 0.0);
        let shards = all.at("per_shard").items();
        assert_eq!(shards.len(), 2);
        assert_eq!(shards.iter().map(|shard| shard.at("episodes").int()).sum::<i64>(), 2);
        // The harness has waited with connections of its own; they end when the daemon notices.
        common::eventually("only this connection is open", || {
            value(&mut cmd("EG.STATS"), connection).at("connections_open").int() == 1
        });
        // One frame for the space on each shard, four stores, one forget.
        let frames = all.at("latency_us").at("commit").at("count").int();
        assert_eq!((frames, all.at("log_frames").int()), (7, 7));
    });
}

/// The messages of a kind, as the client gives them.
fn messages<'a>(pushed: &'a [PushInfo], name: &str) -> Vec<&'a [Value]> {
    let is_it = |push: &&PushInfo| push.kind == PushKind::Other(name.to_owned());
    pushed.iter().filter(is_it).map(|push| &push.data[..]).collect()
}

#[test]
fn messages_of_watches_and_streams_come_beside_replies() {
    let home = Home::new();
    let daemon = home.start();
    let connection = &mut stock::connect(&daemon.socket, Resp::Three);
    let (sender, receiver) = mpsc::channel();
    connection.set_push_sender(sender);
    create(connection, "notes DIM 2").unwrap();
    let opened = value(cmd("EG.WATCH").arg("notes").arg("WITH").arg("text"), connection);
    let watch = opened.at("watch").int();
    let opened = value(cmd("EG.OBSERVE").arg("OPEN").arg("notes"), connection);
    let stream = opened.at("stream").int();
    for nth in 0..5_u64 {
        // The client waits for no reply, and there is none.
        let mut observe = cmd("EG.OBSERVE");
        observe.arg(stream).arg(format!("e{nth}")).arg("VEC").arg(blob(&vector(nth, 2)));
        observe.arg("TEXT").arg(format!("text {nth}"));
        connection.send_packed_command(&observe.get_packed_command()).unwrap();
    }
    let mut pushed: Vec<PushInfo> = Vec::new();
    eventually("every episode came", || {
        // The client reads messages while it waits for a reply.
        assert_eq!(cmd("PING").query::<String>(connection).unwrap(), "PONG");
        pushed.extend(receiver.try_iter());
        messages(&pushed, "eg.watch").len() == 5
    });
    let mut told: Vec<(&str, &str)> = messages(&pushed, "eg.watch")
        .into_iter()
        .map(|message| {
            assert_eq!(message[0].int(), watch);
            assert_eq!(message[3].at("seq").int(), message[2].int());
            (message[3].at("id").text(), message[3].at("text").text())
        })
        .collect();
    told.sort_unstable();
    assert_eq!(told[0], ("e0", "text 0"));
    assert_eq!(told[4], ("e4", "text 4"));
    let closed = value(cmd("EG.OBSERVE").arg("CLOSE").arg(stream), connection);
    assert_eq!((closed.at("stored").int(), closed.at("refused").int()), (5, 0));
    pushed.extend(receiver.try_iter());
    let mut next = 1;
    for range in messages(&pushed, "eg.observed") {
        assert_eq!((range[0].int(), range[1].int()), (stream, next), "{range:?}");
        next = range[2].int() + 1;
    }
    assert_eq!(next, 6, "each number is told once, in order");
    let ended = value(cmd("EG.UNWATCH").arg(watch), connection);
    assert!(ended.items().len() >= 2 && ended.items().len().is_multiple_of(2), "{ended:?}");
    value(cmd("HELLO").arg(2), connection);
}
