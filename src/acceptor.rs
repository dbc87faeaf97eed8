//! The socket at which clients arrive: bound here or handed over by systemd.
//!
//! Accepting happens on a thread of its own: because the executors cannot adopt a listener, because
//! the peer's credentials are checked before a shard hears of the connection, and because somebody
//! has to answer while the shards replay their logs. Until they serve, who connects is in the
//! lobby.
#![allow(unsafe_code)]

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use thiserror::Error;

use crate::config::Config;
use crate::lobby::{self, Lobby};
use crate::recovery::Recovery;
use crate::server::{Arrival, Control, EdgeDoor, Peer, Permit};

/// How long to wait when the kernel has no descriptor left for a connection.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(100);
/// Groups of a peer that are looked at.
const GROUPS_MAX: usize = 256;

/// Why there is no socket to listen on.
#[derive(Debug, Error)]
pub enum ListenError {
    #[error("the socket {path} is served by another process; stop it or choose another path")]
    InUse { path: PathBuf },
    #[error("the socket {path} cannot be made: {error}")]
    Bind { path: PathBuf, error: io::Error },
    #[error("the socket that systemd passed cannot be used: {0}")]
    Passed(io::Error),
}

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    /// Set when the file is ours to remove.
    path: Option<PathBuf>,
}

impl Listener {
    /// Takes the socket that systemd passed, or binds the configured path.
    pub fn open(config: &Config) -> Result<Self, ListenError> {
        let mut passed = listenfd::ListenFd::from_env();
        if passed.len() > 0 {
            let socket = passed.take_unix_listener(0).map_err(ListenError::Passed)?;
            let missing = || ListenError::Passed(io::ErrorKind::NotFound.into());
            return Ok(Self { socket: socket.ok_or_else(missing)?, path: None });
        }
        let path = config.socket.clone();
        let failed = |error| ListenError::Bind { path: path.clone(), error };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        remove_stale(&path)?;
        let socket = UnixListener::bind(&path).map_err(failed)?;
        let mode = std::fs::Permissions::from_mode(config.socket_mode.0);
        std::fs::set_permissions(&path, mode).map_err(failed)?;
        Ok(Self { socket, path: Some(path) })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // It may have been removed by hand.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Removes the socket file of a process that is gone. Anything else that is there stays.
fn remove_stale(path: &Path) -> Result<(), ListenError> {
    match UnixStream::connect(path) {
        Ok(_) => Err(ListenError::InUse { path: path.into() }),
        // Files that are no sockets refuse connections too.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && is_socket(path) => {
            std::fs::remove_file(path)
                .map_err(|error| ListenError::Bind { path: path.into(), error })
        }
        Err(_) => Ok(()),
    }
}

fn is_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
}

/// The accepting thread; it ends when this is dropped.
#[derive(Debug)]
pub struct Acceptor {
    /// Hung up when the thread is to end.
    shards: Option<flume::Sender<Shards>>,
    /// Signalled when there is news from the line above.
    news: OwnedFd,
    thread: Option<thread::JoinHandle<()>>,
}

/// How to reach each shard.
type Shards = Vec<flume::Sender<Control>>;

impl Acceptor {
    /// Begins to accept, into the lobby.
    pub fn start(
        listener: Listener,
        config: Arc<Config>,
        recovery: Arc<Recovery>,
        edge: EdgeDoor,
    ) -> io::Result<Self> {
        let news = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)?;
        let heard = news.try_clone()?;
        listener.socket.set_nonblocking(true)?;
        let (sender, shards) = flume::bounded(1);
        let door = Door::Lobby(Lobby::new(recovery, edge));
        let desk = Desk { listener, config, door, permits: Arc::new(()), connection: 0 };
        let thread = thread::Builder::new()
            .name("accept".into())
            .spawn(move || desk.serve(&heard, &shards))?;
        Ok(Self { shards: Some(sender), news, thread: Some(thread) })
    }

    /// The shards serve: hands them who is in the lobby, and everybody who comes later.
    pub fn open(&self, shards: Shards) -> io::Result<()> {
        let sender = self.shards.as_ref().expect("taken when this is dropped");
        // A thread that has gone has nobody left to hand over.
        let _ = sender.send(shards);
        rustix::io::write(&self.news, &1_u64.to_ne_bytes())?;
        Ok(())
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.shards = None;
        let told = rustix::io::write(&self.news, &1_u64.to_ne_bytes());
        if let (Ok(_), Some(thread)) = (told, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

/// Where who comes is sent.
enum Door {
    Lobby(Lobby),
    Shards(Shards),
}

struct Desk {
    listener: Listener,
    config: Arc<Config>,
    door: Door,
    permits: Permit,
    connection: u64,
}

impl Desk {
    fn serve(mut self, news: &OwnedFd, shards: &flume::Receiver<Shards>) {
        loop {
            let (has_news, guests) = self.wait(news);
            if has_news {
                // Lowers the signal; what it was raised for is in the channel.
                let _ = rustix::io::read(news, &mut [0; size_of::<u64>()]);
                loop {
                    match shards.try_recv() {
                        Ok(shards) => self.open(&shards),
                        Err(flume::TryRecvError::Disconnected) => return,
                        Err(flume::TryRecvError::Empty) => break,
                    }
                }
            } else if let Door::Lobby(lobby) = &mut self.door {
                lobby.attend(&guests);
            }
            match self.listener.socket.accept() {
                Ok((socket, _)) => self.receive(socket),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    thread::sleep(OUT_OF_DESCRIPTORS);
                }
            }
        }
    }

    /// Waits until something happens: whether there are news, and which guests to attend to.
    fn wait(&self, news: &OwnedFd) -> (bool, Vec<usize>) {
        let mut guests = Vec::new();
        let mut waits = vec![
            PollFd::new(news, PollFlags::IN),
            PollFd::new(&self.listener.socket, PollFlags::IN),
        ];
        if let Door::Lobby(lobby) = &self.door {
            for (nth, wait) in lobby.waits() {
                guests.push(nth);
                waits.push(wait);
            }
        }
        // Interrupted: look again.
        let _ = poll(&mut waits, None);
        let mut is_ready = waits.iter().map(|wait| !wait.revents().is_empty());
        let has_news = is_ready.next().expect("the first of at least two");
        let ready = guests.into_iter().zip(is_ready.skip(1));
        (has_news, ready.filter_map(|(nth, is_ready)| is_ready.then_some(nth)).collect())
    }

    /// The shards serve.
    fn open(&mut self, shards: &Shards) {
        if let Door::Lobby(lobby) = std::mem::replace(&mut self.door, Door::Shards(shards.clone()))
        {
            lobby.hand_over(shards);
        }
    }

    /// Checks who is there and hands the connection to the next shard, or lets it wait for one.
    fn receive(&mut self, socket: UnixStream) {
        self.connection += 1;
        let open = Arc::strong_count(&self.permits) - 1;
        let bound = self.config.connections_max;
        if open >= bound {
            let line = format!("-BUSY {bound} connections are open; retry in 100 ms\r\n");
            return turn_away(socket, &line);
        }
        let peer = match identify(&socket, self.connection) {
            Ok((peer, groups)) if self.config.admits(peer.uid, &groups) => peer,
            Ok((peer, _)) => {
                tracing::warn!(uid = peer.uid, gid = peer.gid, pid = peer.pid, "turned away");
                let line = format!(
                    "-NOPERM user {} may not use this daemon; see allow_uids and allow_gids\r\n",
                    peer.uid
                );
                return turn_away(socket, &line);
            }
            Err(error) => {
                tracing::warn!(%error, "a peer's credentials could not be read");
                return;
            }
        };
        let (socket, permit) = (OwnedFd::from(socket), Arc::clone(&self.permits));
        let arrival = Box::new(Arrival::new(peer));
        match &mut self.door {
            Door::Lobby(lobby) => lobby.receive(socket, arrival, permit),
            Door::Shards(shards) => lobby::deal(shards, socket, arrival, permit),
        }
    }
}

fn turn_away(mut socket: UnixStream, line: &str) {
    // Best effort: whoever does not read it is turned away all the same.
    let _ = socket.set_nonblocking(true).and_then(|()| socket.write_all(line.as_bytes()));
}

/// Who connected, with all groups.
fn identify(socket: &UnixStream, connection: u64) -> io::Result<(Peer, Vec<u32>)> {
    // The kernel's `ucred`. A peer outside this process's PID namespace has the pid 0.
    let mut credentials = [0; 3];
    socket_option(socket, libc::SO_PEERCRED, &mut credentials)?;
    let [pid, uid, gid] = credentials;
    let mut groups = [0; GROUPS_MAX];
    // None when the kernel does not say.
    let count = socket_option(socket, libc::SO_PEERGROUPS, &mut groups).unwrap_or(0);
    let mut groups = groups[..count].to_vec();
    groups.push(gid);
    Ok((Peer { connection, uid, gid, pid: pid.cast_signed() }, groups))
}

/// Reads an option of a socket that consists of 32-bit numbers: how many the kernel has written.
fn socket_option(socket: impl AsFd, option: i32, numbers: &mut [u32]) -> io::Result<usize> {
    let mut bytes = libc::socklen_t::try_from(size_of_val(numbers)).expect("a small buffer");
    // SAFETY: the kernel writes at most `bytes` bytes, which is the size of the slice, and says how
    // many it wrote; every bit pattern is a number.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            numbers.as_mut_ptr().cast(),
            &raw mut bytes,
        )
    };
    match result {
        0 => Ok((bytes as usize / size_of::<u32>()).min(numbers.len())),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_known_by_process_user_and_groups() {
        let (socket, _other) = UnixStream::pair().unwrap();
        let (peer, groups) = identify(&socket, 7).unwrap();
        assert_eq!((peer.connection, peer.pid.cast_unsigned()), (7, std::process::id()));
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
        assert_eq!(peer.gid, rustix::process::getegid().as_raw());
        assert!(groups.contains(&peer.gid));
        for group in rustix::process::getgroups().unwrap() {
            assert!(groups.contains(&group.as_raw()), "{groups:?}");
        }
    }
}
