//! What a service manager gets from the daemon and gives to it, by the protocol of systemd:
//! messages on a datagram socket, and a listening socket that is passed on.

mod common;

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Stdio};

use common::episodes::{blob, vector};
use common::{Client, DEADLINE, Home};
use redis::Value;

/// The service manager's end.
struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    fn new(home: &Home) -> Self {
        // A socket of an earlier manager may be there.
        let _ = fs::remove_file(home.path("notify"));
        let socket = UnixDatagram::bind(home.path("notify")).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { socket }
    }

    /// The next message: its assignments.
    fn next(&self) -> Vec<String> {
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).unwrap();
        std::str::from_utf8(&bytes[..length]).unwrap().lines().map(str::to_owned).collect()
    }
}

fn command(home: &Home) -> Command {
    let mut command = home.command(&[]);
    command.env("NOTIFY_SOCKET", home.path("notify"));
    command
}

#[test]
fn the_manager_hears_of_readiness_life_and_end() {
    let home = Home::new();
    for episodes in [0, 3] {
        let manager = Manager::new(&home);
        let mut daemon = home.spawn(command(&home));
        let mut ready = manager.next();
        while ready[0].starts_with("EXTEND_TIMEOUT_USEC=") {
            ready = manager.next();
        }
        assert!(ready.contains(&"READY=1".to_owned()), "{ready:?}");
        let status = format!("STATUS=serving {episodes} episodes on 2 shards");
        assert!(ready.contains(&status), "{ready:?}");
        // It is ready: no waiting, no second try.
        let mut client = daemon.client();
        if episodes == 0 {
            client.create_space("notes", 3);
            for id in ["a", "b", "c"] {
                client.ask(&command!["EG.STORE", "notes", id, "VEC", blob(&vector(1, 3))]);
            }
        }
        for _ in 0..10 {
            assert_eq!(manager.next(), ["WATCHDOG=1"]);
        }
        daemon.signal(rustix::process::Signal::TERM);
        let mut last = manager.next();
        while last == ["WATCHDOG=1"] {
            last = manager.next();
        }
        assert_eq!(last, ["STOPPING=1"]);
        assert!(daemon.wait().success());
    }
}

#[test]
fn a_start_that_fails_is_never_called_ready() {
    let home = Home::new();
    let manager = Manager::new(&home);
    let mut command = home.command_for("/proc/none".as_ref(), &[]);
    command.env("NOTIFY_SOCKET", home.path("notify"));
    assert_eq!(home.refuse(command).0, Some(1));
    manager.socket.set_nonblocking(true).unwrap();
    assert!(manager.socket.recv(&mut [0; 64]).is_err(), "something was said");
}

/// The command with a descriptor passed as systemd does: as number 3.
fn activated(command: &Command, socket: OwnedFd) -> Command {
    let script = r#"LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@" 3<&1 >/dev/null"#;
    let mut activated = common::wrapped("sh", &["-c", script], command);
    activated.stdout(Stdio::from(socket));
    activated
}

#[test]
fn a_passed_socket_is_served() {
    let home = Home::new();
    let path = home.path("passed");
    let listener = UnixListener::bind(&path).unwrap();
    // Who connects before the daemon is there waits in the queue of the socket.
    let mut early = Client::try_connect(&path).unwrap();
    early.send(&command!["PING"]);
    for _ in 0..2 {
        let passed = listener.try_clone().unwrap();
        let mut daemon = home.spawn(activated(&home.command(&[]), passed.into()));
        assert_eq!(early.read(), Value::SimpleString("PONG".into()));
        early.create_space("notes", 3);
        assert!(!home.socket().exists(), "a socket of its own was made");
        assert!(daemon.stop().success());
        // The socket is the manager's: it stays, and so does its queue.
        assert!(path.exists());
        early = Client::try_connect(&path).unwrap();
        early.send(&command!["PING"]);
    }
}

#[test]
fn a_passed_descriptor_that_is_no_socket_is_refused() {
    let home = Home::new();
    fs::write(home.path("file"), "").unwrap();
    let file = fs::File::open(home.path("file")).unwrap();
    let (code, said) = home.refuse(activated(&home.command(&[]), file.into()));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("engramd: the socket that systemd passed cannot be used"), "{said}");
    assert!(!home.data().exists(), "a data directory was made");
}
