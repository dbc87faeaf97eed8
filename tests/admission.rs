//! Who may connect, and how many at once.
//!
//! Users and groups are those of a thread: the kernel takes a peer's credentials from the thread
//! that connects. Where a test may not change them it says that it is skipped.

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::thread;

use common::episodes::{blob, vector};
use common::{Client, Daemon, Home, Reply};
use redis::Value;
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

const USER: u32 = 54_321;
const GROUP: u32 = 54_322;
const OTHER_GROUP: u32 = 54_323;

/// False, with a line that names the test, for anyone but root.
fn may_change_user(test: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("{test} is skipped: only root can connect as somebody else");
    }
    is_root
}

/// A daemon whose socket's file is open to everybody.
fn start(home: &Home, settings: &[&str]) -> Daemon {
    let folder = home.socket();
    let folder = folder.parent().unwrap();
    fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
    home.start_with(&[&["socket_mode=0666"], settings].concat())
}

/// Connects as a user with a group and one more group.
fn connect_as(daemon: &Daemon, user: u32, group: u32, more: u32) -> Client {
    let socket = daemon.socket.clone();
    let connect = move || {
        let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
        set_thread_groups(&[Gid::from_raw(more)]).unwrap();
        set_thread_res_gid(group, group, group).unwrap();
        set_thread_res_uid(user, user, user).unwrap();
        Client::try_connect(&socket).unwrap()
    };
    thread::spawn(connect).join().unwrap()
}

/// The daemon says one line why not, and hangs up.
fn turned_away(mut client: Client, code: &str, words: &[&str]) {
    let reply = client.read();
    assert_eq!(reply.code(), code, "{reply:?}");
    let sentence = format!("{reply:?}");
    for word in words {
        assert!(sentence.contains(word), "no '{word}' in '{sentence}'");
    }
    assert!(client.is_hung_up());
}

#[test]
fn strangers_are_turned_away() {
    if !may_change_user("strangers_are_turned_away") {
        return;
    }
    let home = Home::new();
    let daemon = start(&home, &[]);
    let user = format!("user {USER} may not use this daemon");
    let stranger = connect_as(&daemon, USER, GROUP, OTHER_GROUP);
    turned_away(stranger, "NOPERM", &[&user, "allow_uids", "allow_gids"]);
    assert!(
        home.said().contains(&format!("turned away uid={USER} gid={GROUP}")),
        "{}",
        home.said()
    );
    // The daemon's own user and its group may.
    let own = rustix::process::getegid().as_raw();
    assert!(connect_as(&daemon, USER, own, OTHER_GROUP).is_answered());
    assert!(daemon.client().is_answered());
}

#[test]
fn users_and_groups_that_are_allowed_may() {
    if !may_change_user("users_and_groups_that_are_allowed_may") {
        return;
    }
    for (setting, user, group, more) in [
        (format!("allow_uids=[{USER}]"), USER, GROUP, GROUP),
        (format!("allow_gids=[{GROUP}]"), USER, GROUP, OTHER_GROUP),
        (format!("allow_gids=[{GROUP}]"), USER, OTHER_GROUP, GROUP),
    ] {
        let home = Home::new();
        let daemon = start(&home, &[&setting]);
        let mut client = connect_as(&daemon, user, group, more);
        client.create_space("notes", 3);
        client.ask(&command!["EG.STORE", "notes", "a", "VEC", blob(&vector(1, 3))]);
        // Their writes carry their name, whoever reads them.
        let found = daemon.client().ask(&command!["EG.GET", "notes", "a"]);
        assert_eq!(found.at("writer_uid").int(), i64::from(USER));
        let stranger = connect_as(&daemon, USER + 1, OTHER_GROUP, OTHER_GROUP);
        turned_away(stranger, "NOPERM", &[&format!("user {}", USER + 1)]);
    }
}

#[test]
fn the_file_of_the_socket_has_the_mode_it_was_given() {
    let home = Home::new();
    for (settings, mode) in [(&[][..], 0o660), (&["socket_mode=0600"], 0o600)] {
        let _daemon = home.start_with(settings);
        let permissions = fs::metadata(home.socket()).unwrap().permissions();
        assert_eq!(permissions.mode() & 0o777, mode);
    }
}

#[test]
fn a_peer_whose_process_has_no_number_here_is_served() {
    if !common::can_mount("a_peer_whose_process_has_no_number_here_is_served") {
        return;
    }
    let home = Home::new();
    let command = home.command(&[]);
    let daemon = home.start_command(common::in_own_mounts(r#"exec "$@""#, &home.data(), &command));
    let line = daemon.client().ask(&command!["CLIENT", "INFO"]);
    assert!(line.text().contains(" pid=0 "), "{line:?}");
}

#[test]
fn connections_are_bounded_and_a_closed_one_makes_room() {
    let home = Home::new();
    let daemon = home.start_with(&["connections_max=4"]);
    let mut clients: Vec<Client> = Vec::new();
    common::eventually("four connections are open", || {
        let mut client = daemon.client();
        // Those that the harness waited with may not be closed yet.
        if client.is_answered() {
            clients.push(client);
        }
        clients.len() == 4
    });
    let words = ["4 connections are open", "retry in 100 ms"];
    turned_away(daemon.client(), "BUSY", &words);
    turned_away(daemon.client(), "BUSY", &words);
    assert!(clients.iter_mut().all(Client::is_answered));
    let stats = clients[0].ask(&command!["EG.STATS"]);
    assert_eq!(stats.at("connections_open").int(), 4);

    clients.pop();
    common::eventually("the closed connection has made room", || daemon.client().is_answered());
    assert!(clients.iter_mut().all(Client::is_answered));
}

#[test]
fn connections_that_break_are_given_back() {
    let home = Home::new();
    let daemon = home.start_with(&["connections_max=8"]);
    let mut first = daemon.client();
    first.create_space("notes", 3);
    let store = command!["EG.STORE", "notes", "a", "VEC", blob(&vector(1, 3))];
    for round in 0..100 {
        let mut client = daemon.client();
        match round % 4 {
            0 => client.send(&store.repeat(50)),
            1 => client.send(&store[..20]),
            2 => client.send(b"\xff"),
            _ => drop(client.is_answered()),
        }
        drop(client);
        // Not faster than they can be given back.
        common::eventually("it was given back", || {
            first.ask(&command!["EG.STATS"]).at("connections_open").int() == 1
        });
    }
    assert!(matches!(first.ask(&command!["EG.GET", "notes", "a"]), Value::Array(_)));
}
