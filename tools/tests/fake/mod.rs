//! A daemon small enough to be obviously right: one map of episodes behind a Unix socket.
//!
//! It answers in RESP3 what `engram` asks for, keeps nothing on disk, and can be told to misbehave:
//! to answer busy, and to close a connection in front of a reply.
#![allow(dead_code, reason = "every test file is a crate of its own and uses a part of this")]

mod episodes;
mod wire;

use std::io::BufReader;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;

use episodes::State;

/// How the daemon misbehaves. A zero switches a fault off.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Every n-th episode of a batch is refused as busy.
    pub(crate) busy_every: AtomicU64,
    /// Every n-th batch is carried out, and its connection closed instead of answered.
    pub(crate) close_every: AtomicU64,
    episodes: AtomicU64,
    batches: AtomicU64,
}

impl Faults {
    fn is_busy(&self) -> bool {
        is_nth(&self.episodes, &self.busy_every)
    }

    fn is_closed(&self) -> bool {
        is_nth(&self.batches, &self.close_every)
    }
}

fn is_nth(counter: &AtomicU64, every: &AtomicU64) -> bool {
    let count = counter.fetch_add(1, SeqCst) + 1;
    let every = every.load(SeqCst);
    every > 0 && count.is_multiple_of(every)
}

pub(crate) struct FakeDaemon {
    directory: tempfile::TempDir,
    socket: PathBuf,
    pub(crate) faults: Arc<Faults>,
    state: Arc<Mutex<State>>,
    stopped: Arc<AtomicBool>,
}

impl FakeDaemon {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("engramd.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let faults = Arc::new(Faults::default());
        let state = Arc::new(Mutex::new(State::default()));
        let stopped = Arc::new(AtomicBool::new(false));
        let shared = (state.clone(), faults.clone(), stopped.clone());
        thread::spawn(move || {
            let (state, faults, stopped) = shared;
            for stream in listener.incoming() {
                if stopped.load(SeqCst) {
                    return;
                }
                let (state, faults) = (state.clone(), faults.clone());
                thread::spawn(move || serve(stream.unwrap(), &state, &faults));
            }
        });
        Self { directory, socket, faults, state, stopped }
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// A path for a file of the test.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Loses an episode, as no daemon may.
    pub(crate) fn lose(&self, space: &str, id: &str) {
        self.state.lock().unwrap().lose(space, id);
    }

    /// Changes one bit of an episode's vector.
    pub(crate) fn alter(&self, space: &str, id: &str) {
        self.state.lock().unwrap().alter(space, id);
    }

    /// Forgets every idempotency key.
    pub(crate) fn forget_keys(&self) {
        self.state.lock().unwrap().forget_keys();
    }

    /// Everything it remembers, to go back to with [`restore`](Self::restore).
    pub(crate) fn snapshot(&self) -> State {
        self.state.lock().unwrap().clone()
    }

    pub(crate) fn restore(&self, state: State) {
        *self.state.lock().unwrap() = state;
    }

    /// Ids of a memory space, sorted.
    pub(crate) fn ids(&self, space: &str) -> Vec<String> {
        self.state.lock().unwrap().ids(space)
    }
}

impl Drop for FakeDaemon {
    fn drop(&mut self) {
        self.stopped.store(true, SeqCst);
        // Wakes the listener, so that its thread sees that it is over.
        let _ = UnixStream::connect(&self.socket);
    }
}

fn serve(stream: UnixStream, state: &Mutex<State>, faults: &Faults) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    while let Some(command) = wire::read_command(&mut reader) {
        let is_batch = command[0] == b"EG.MSTORE";
        let reply = state.lock().unwrap().answer(&command, faults);
        if is_batch && faults.is_closed() {
            return;
        }
        if std::io::Write::write_all(&mut writer, &wire::encode(&reply)).is_err() {
            return;
        }
    }
}
