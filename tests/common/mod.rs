//! A real daemon for a test: a folder of its own, two shards, small segments, killed on drop.
//!
//! [`Home`] is the folder: the data directory, the socket beside it and what the daemon said. A
//! daemon can be started there again and again. [`client`] talks to it byte by byte, [`stock`] is
//! what a stranger would use, [`episodes`] makes content that can be told apart.
//!
//! Nothing here asserts how long something took. Deadlines are only there so that a daemon that
//! hangs fails the test instead of holding it up for ever.
#![allow(dead_code, reason = "every test file is a crate of its own and uses a part of this")]

pub mod client;
pub mod episodes;
pub mod hold;
pub mod stock;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub use client::{Client, Reply};

/// How long anything may take before the test gives up.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// How often something is looked at that can't be waited for.
const POLL: Duration = Duration::from_millis(5);

/// Where a daemon lives.
#[derive(Debug)]
pub struct Home {
    folder: TempDir,
}

impl Home {
    pub fn new() -> Self {
        Self { folder: TempDir::with_prefix("engramd-").unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    pub fn socket(&self) -> PathBuf {
        self.path("socket")
    }

    /// What the daemon that was started last has said.
    pub fn said(&self) -> String {
        fs::read_to_string(self.path("stderr")).unwrap()
    }

    /// The daemon's command line here: the settings that every test has, then these. Of a key that
    /// is given twice the last counts.
    pub fn command(&self, settings: &[&str]) -> Command {
        self.command_for(&self.data(), settings)
    }

    /// As [`Self::command`], with another data directory.
    pub fn command_for(&self, data: &Path, settings: &[&str]) -> Command {
        // Neither the machine's own configuration nor this process's environment plays a part.
        let config = self.path("engramd.toml");
        File::create(&config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_engramd"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.arg("--config").arg(config);
        command.arg("--data").arg(data).arg("--socket").arg(self.socket());
        let small = ["memory_bytes_max=256MiB", "memory_prefault_bytes=0"];
        // Tests kill daemons far more often than a crash loop does.
        let patient = ["crash_loop_starts=0"];
        let usual = ["shards=2", "segment_bytes=4MiB"].into_iter().chain(small).chain(patient);
        for setting in usual {
            command.args(["--set", setting]);
        }
        for setting in settings {
            command.args(["--set", setting]);
        }
        command
    }

    /// Starts a daemon and waits until it serves.
    pub fn start(&self) -> Daemon {
        self.start_with(&[])
    }

    pub fn start_with(&self, settings: &[&str]) -> Daemon {
        self.start_command(self.command(settings))
    }

    pub fn start_command(&self, command: Command) -> Daemon {
        let mut daemon = self.spawn(command);
        let until = Instant::now() + DEADLINE;
        while !Client::try_connect(&daemon.socket).is_ok_and(|mut client| client.is_served()) {
            if let Some(status) = daemon.child.try_wait().unwrap() {
                panic!("engramd ended with {status}:\n{}", self.said());
            }
            assert!(Instant::now() < until, "engramd does not serve:\n{}", self.said());
            std::thread::sleep(POLL);
        }
        daemon
    }

    /// Starts a daemon without waiting for it.
    pub fn spawn(&self, mut command: Command) -> Daemon {
        let stderr = self.path("stderr");
        let child = command.stdin(Stdio::null()).stderr(File::create(&stderr).unwrap()).spawn();
        Daemon { child: child.unwrap(), socket: self.socket(), stderr }
    }

    /// Starts a daemon that is to refuse: its exit code and what it said.
    pub fn refuse(&self, command: Command) -> (Option<i32>, String) {
        let status = self.spawn(command).wait();
        (status.code(), self.said())
    }
}

/// The tool, without arguments yet.
pub fn engram() -> Command {
    let engram = Path::new(env!("CARGO_BIN_EXE_engramd")).with_file_name("engram");
    assert!(engram.exists(), "cargo build --workspace --bins comes first, as in make test");
    Command::new(engram)
}

/// Every file below a folder with its bytes; the lock, which names who looked last, left out.
pub fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    loop {
        match try_files(folder) {
            Ok(found) => return found,
            // A running daemon replaced it: what stands there instead may not have been listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound && folder.exists() => {}
            Err(error) => panic!("{}: {error}", folder.display()),
        }
    }
}

fn try_files(folder: &Path) -> io::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(try_files(&path)?);
        } else if !path.ends_with("engram.lock") {
            let bytes = fs::read(&path)?;
            found.insert(path, bytes);
        }
    }
    Ok(found)
}

/// How often some bytes stand in the files below a folder.
pub fn occurrences(folder: &Path, needle: &[u8]) -> usize {
    let within = |bytes: &Vec<u8>| bytes.windows(needle.len()).filter(|own| *own == needle).count();
    files(folder).values().map(within).sum()
}

/// A running daemon; killed when dropped. A test that fails shows what it said.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    pub socket: PathBuf,
    stderr: PathBuf,
}

impl Daemon {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn client(&self) -> Client {
        Client::try_connect(&self.socket).unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends the daemon as a power loss of the process: no drain, no goodbye.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.wait();
    }

    /// Asks the daemon to stop and waits until it has.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Waits until the daemon has ended.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the daemon ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.expect("just seen")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let status = self.child.wait();
        if std::thread::panicking() {
            let said = fs::read_to_string(&self.stderr).unwrap_or_default();
            eprintln!("engramd ended with {status:?} and had said:\n{said}");
        }
    }
}

/// Waits until something is so.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < until, "waited in vain until {what}");
        std::thread::sleep(POLL);
    }
}

/// `program arguments… command…`, with the environment of `command`.
pub fn wrapped<A: AsRef<OsStr>>(program: &str, arguments: &[A], command: &Command) -> Command {
    let mut outer = Command::new(program);
    outer.args(arguments).arg(command.get_program()).args(command.get_args()).env_clear();
    outer.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    outer
}

/// A shell script in a mount name space of its own, where even an ordinary user may mount; it finds
/// the daemon's command line in `"$@"` and a folder in `$0`. Everything in it ends with it.
pub fn in_own_mounts(script: &str, folder: &Path, command: &Command) -> Command {
    let unshare = ["--map-root-user", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c"];
    let arguments = unshare.iter().map(OsStr::new).chain([OsStr::new(script), folder.as_os_str()]);
    wrapped("unshare", &arguments.collect::<Vec<_>>(), command)
}

/// False, with a line that names the test, where [`in_own_mounts`] does not work.
pub fn can_mount(test: &str) -> bool {
    let folder = TempDir::new().unwrap();
    let script = r#"mount -t tmpfs -o size=1m none "$0" && exec "$@""#;
    let mut mount = in_own_mounts(script, folder.path(), &Command::new("true"));
    mount.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let is_able = mount.output().is_ok_and(|output| output.status.success());
    if !is_able {
        eprintln!("{test} is skipped: unshare cannot mount a file system here");
    }
    is_able
}
