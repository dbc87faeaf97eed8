//! A daemon of its own for a measurement: started in a temporary directory, stopped at the end.
//!
//! [`Daemon::start`] waits until it answers. Whoever wants to know how long that takes begins with
//! [`Daemon::launch`] and asks [`Daemon::serving`].

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use thiserror::Error;

use crate::resp::{Reply, RespError, push_command};

/// How long starting and stopping may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long an answer on the control connection may take.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// How often a daemon whose start is timed is asked whether it listens.
const CONNECT_INTERVAL: Duration = Duration::from_micros(500);

#[derive(Debug, Error)]
pub enum DaemonError {
    #[error("cannot start {path}: {source}; build it with `make build`, or name it with --engramd")]
    Start { path: PathBuf, source: io::Error },
    #[error("engramd did not start to serve: {log}")]
    NotServing { log: String },
    #[error("engramd ended with {status}: {log}")]
    Ended { status: ExitStatus, log: String },
    #[error("lost the connection to engramd: {0}")]
    Connection(#[from] io::Error),
    #[error(transparent)]
    Resp(#[from] RespError),
    #[error("engramd refused {command}: {error}")]
    Refused { command: String, error: String },
}

/// Where a daemon keeps its things.
#[derive(Debug, Clone)]
pub struct DaemonSettings {
    pub engramd: PathBuf,
    /// For the socket and the daemon's own log.
    pub folder: PathBuf,
    /// The data directory.
    pub data: PathBuf,
    pub shards: u32,
}

/// The daemon's program: the one that was named, or the one beside this program.
pub fn program(named: Option<&PathBuf>) -> io::Result<PathBuf> {
    match named {
        Some(named) => Ok(named.clone()),
        None => Ok(std::env::current_exe()?.with_file_name("engramd")),
    }
}

/// How long after its start a daemon had answered.
#[derive(Debug, Clone, Copy)]
pub struct Serving {
    /// A `PING`.
    pub ping: Duration,
    /// A command that needs what the daemon holds.
    pub command: Duration,
}

/// A running daemon. When dropped it is killed; [`stop`](Self::stop) lets it drain.
#[derive(Debug)]
pub struct Daemon {
    process: Child,
    folder: PathBuf,
    launched: Instant,
}

impl Daemon {
    /// Starts the daemon and waits until it answers.
    pub fn start(settings: &DaemonSettings) -> Result<Self, DaemonError> {
        Self::start_with(settings, &[])
    }

    /// The same, with keys of the configuration, as `key=value`.
    pub fn start_with(settings: &DaemonSettings, keys: &[String]) -> Result<Self, DaemonError> {
        let mut daemon = Self::launch_with(settings, keys)?;
        daemon.wait_until_it_answers()?;
        Ok(daemon)
    }

    /// Starts the daemon and waits for nothing.
    pub fn launch(settings: &DaemonSettings) -> Result<Self, DaemonError> {
        Self::launch_with(settings, &[])
    }

    fn launch_with(settings: &DaemonSettings, keys: &[String]) -> Result<Self, DaemonError> {
        let DaemonSettings { engramd, folder, data, shards } = settings;
        let start_error = |source| DaemonError::Start { path: engramd.clone(), source };
        let log = File::create(folder.join("log")).map_err(start_error)?;
        let launched = Instant::now();
        let process = Command::new(engramd)
            .arg("--data")
            .arg(data)
            .arg("--socket")
            .arg(socket(folder))
            .args(["--shards", &shards.to_string()])
            .args(keys.iter().flat_map(|key| ["--set", key]))
            .stderr(log)
            .spawn()
            .map_err(start_error)?;
        Ok(Self { process, folder: folder.clone(), launched })
    }

    /// Asks from the start on, on two connections: a `PING` on one, on the other `command`, whose
    /// answer must not be nil.
    pub fn serving(&mut self, command: &[&str]) -> Result<Serving, DaemonError> {
        let given_up = AtomicBool::new(false);
        let (socket, launched) = (self.socket(), self.launched);
        let ask = |command: &[&str]| {
            while !given_up.load(Ordering::Relaxed) {
                if let Ok(mut control) = Control::connect(&socket)
                    && control.call(command, |reply| *reply != Reply::Nil).is_ok_and(|found| found)
                {
                    return Some(launched.elapsed());
                }
                std::thread::sleep(CONNECT_INTERVAL);
            }
            None
        };
        let answered = std::thread::scope(|scope| {
            let asking = [scope.spawn(|| ask(&["PING"])), scope.spawn(|| ask(command))];
            while asking.iter().any(|one| !one.is_finished()) {
                let ended = !matches!(self.process.try_wait(), Ok(None));
                if ended || launched.elapsed() > PATIENCE {
                    given_up.store(true, Ordering::Relaxed);
                }
                std::thread::sleep(POLL_INTERVAL);
            }
            asking.map(|one| one.join().expect("no panic"))
        });
        match (answered, self.process.try_wait()?) {
            ([Some(ping), Some(command)], None) => Ok(Serving { ping, command }),
            (_, Some(status)) => Err(DaemonError::Ended { status, log: self.log() }),
            (_, None) => Err(DaemonError::NotServing { log: self.log() }),
        }
    }

    /// How long it replayed the logs, as it says itself in its own.
    pub fn replay_seconds(&self) -> Option<f64> {
        replay_seconds(&self.log())
    }

    /// The most memory it has had, bytes.
    pub fn memory_bytes_peak(&self) -> Result<u64, DaemonError> {
        self.memory_bytes_of("VmHWM:")
    }

    /// The memory that it has and that is no file's, bytes.
    pub fn memory_bytes(&self) -> Result<u64, DaemonError> {
        self.memory_bytes_of("RssAnon:")
    }

    fn memory_bytes_of(&self, name: &str) -> Result<u64, DaemonError> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let kibibytes = status.lines().find_map(|line| {
            line.strip_prefix(name)?.strip_suffix("kB")?.trim().parse::<u64>().ok()
        });
        let missing = || io::Error::new(io::ErrorKind::InvalidData, format!("no {name} line"));
        Ok(kibibytes.ok_or_else(missing)? * 1024)
    }

    fn wait_until_it_answers(&mut self) -> Result<(), DaemonError> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.process.try_wait()? {
                return Err(DaemonError::Ended { status, log: self.log() });
            }
            if let Ok(mut control) = self.control()
                && control.call(&["EG.SPACE", "LIST"], |_| ()).is_ok()
            {
                return Ok(());
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Err(DaemonError::NotServing { log: self.log() })
    }

    pub fn socket(&self) -> PathBuf {
        socket(&self.folder)
    }

    /// A connection for single commands.
    pub fn control(&self) -> Result<Control, DaemonError> {
        Control::connect(&self.socket())
    }

    /// Asks the daemon to drain and waits until it has ended.
    pub fn stop(mut self) -> Result<(), DaemonError> {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process has a positive number"), Signal::TERM)
            .map_err(io::Error::from)?;
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            match self.process.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(DaemonError::Ended { status, log: self.log() }),
                None => std::thread::sleep(POLL_INTERVAL),
            }
        }
        Err(DaemonError::NotServing { log: self.log() })
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Fails only when it has ended already, which is just as well.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("socket")
}

/// The seconds that the daemon's line about serving tells.
fn replay_seconds(log: &str) -> Option<f64> {
    let serving = log.lines().rfind(|line| line.contains("serving "))?;
    serving.split(" seconds=").nth(1)?.split_whitespace().next()?.parse().ok()
}

/// One command at a time, with its reply.
#[derive(Debug)]
pub struct Control {
    stream: UnixStream,
}

impl Control {
    fn connect(socket: &Path) -> Result<Self, DaemonError> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        let mut control = Self { stream };
        control.call(&["HELLO", "3"], |_| ())?;
        Ok(control)
    }

    /// Waits for answers however long they take.
    pub fn patient(self) -> Result<Self, DaemonError> {
        self.stream.set_read_timeout(None)?;
        Ok(self)
    }

    /// Sends a command and takes what is wanted from its reply.
    pub fn call<T>(
        &mut self,
        command: &[impl AsRef<[u8]>],
        take: impl FnOnce(&Reply<'_>) -> T,
    ) -> Result<T, DaemonError> {
        let parts: Vec<&[u8]> = command.iter().map(AsRef::as_ref).collect();
        let mut out = Vec::new();
        push_command(&mut out, &parts);
        self.stream.write_all(&out)?;
        let mut inbox = Vec::new();
        let mut piece = [0; 16 << 10];
        loop {
            if let Some((reply, _)) = Reply::read(&inbox)? {
                return match reply {
                    Reply::Error(error) => Err(DaemonError::Refused {
                        command: text_of(&parts),
                        error: String::from_utf8_lossy(error).into_owned(),
                    }),
                    reply => Ok(take(&reply)),
                };
            }
            match self.stream.read(&mut piece)? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                bytes => inbox.extend_from_slice(&piece[..bytes]),
            }
        }
    }
}

/// The parts of a command that are text, as vectors are not.
fn text_of(parts: &[&[u8]]) -> String {
    let text = parts.iter().filter_map(|part| std::str::from_utf8(part).ok());
    text.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_is_not_there_is_named_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let settings = DaemonSettings {
            engramd: "/no/such/engramd".into(),
            folder: folder.path().to_owned(),
            data: folder.path().join("data"),
            shards: 1,
        };
        let error = Daemon::start(&settings).unwrap_err().to_string();
        assert!(error.contains("/no/such/engramd") && error.contains("make build"), "{error}");
    }

    #[test]
    fn a_program_that_ends_at_once_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let settings = DaemonSettings {
            engramd: "/bin/false".into(),
            folder: folder.path().to_owned(),
            data: folder.path().join("data"),
            shards: 1,
        };
        let error = Daemon::start(&settings).unwrap_err();
        assert!(matches!(error, DaemonError::Ended { .. }), "{error}");
        let error = Daemon::launch(&settings).unwrap().serving(&["PING"]).unwrap_err();
        assert!(matches!(error, DaemonError::Ended { .. }), "{error}");
    }

    #[test]
    fn the_seconds_are_those_of_the_line_about_serving() {
        let log = "INFO replayed it seconds=9\nINFO serving 7 episodes socket=s seconds=1.25\n";
        assert_eq!(replay_seconds(log), Some(1.25));
        assert_eq!((replay_seconds("serving seconds=x"), replay_seconds("INFO a\n")), (None, None));
    }
}
