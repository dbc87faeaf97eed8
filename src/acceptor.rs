//! The socket at which clients arrive: bound here or handed over by systemd.
//!
//! Accepting happens on a thread of its own, because the executors cannot adopt a listener, and
//! because the peer's credentials are checked before a shard hears of the connection.
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
use crate::server::{Control, Peer, Permit};

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
    stop: OwnedFd,
    thread: Option<thread::JoinHandle<()>>,
}

impl Acceptor {
    pub fn start(
        listener: Listener,
        config: Arc<Config>,
        shards: Vec<flume::Sender<Control>>,
    ) -> io::Result<Self> {
        let stop = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)?;
        let stopped = stop.try_clone()?;
        listener.socket.set_nonblocking(true)?;
        let desk = Desk { listener, config, shards, permits: Arc::new(()), connection: 0 };
        let thread =
            thread::Builder::new().name("accept".into()).spawn(move || desk.serve(&stopped))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        let told = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
        if let (Ok(_), Some(thread)) = (told, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

struct Desk {
    listener: Listener,
    config: Arc<Config>,
    shards: Vec<flume::Sender<Control>>,
    permits: Permit,
    connection: u64,
}

impl Desk {
    fn serve(mut self, stopped: &OwnedFd) {
        loop {
            let mut waits = [
                PollFd::new(&self.listener.socket, PollFlags::IN),
                PollFd::new(stopped, PollFlags::IN),
            ];
            // Interrupted: look again.
            let _ = poll(&mut waits, None);
            if !waits[1].revents().is_empty() {
                return;
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

    /// Checks who is there and hands the connection to the next shard.
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
        let nth = usize::try_from(self.connection).unwrap_or(0) % self.shards.len();
        let (socket, permit) = (OwnedFd::from(socket).into(), Arc::clone(&self.permits));
        // A shard that has gone takes the daemon with it; there is nobody left to tell.
        let _ = self.shards[nth].send(Control::Connect { socket, peer, permit });
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
