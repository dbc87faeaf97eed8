//! The second stage: one value for each key, inside its bounds.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::keys::Keys;
use super::sources::{self, DEFAULT_FILE, Layer};
use super::{Args, ConfigError, Effective, Host, LogPlace, bounds};

/// A valid configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Directory of the store.
    pub data: PathBuf,
    pub socket: PathBuf,
    /// `None`: what the data directory says, or one for each allowed core when it is made.
    pub shards: Option<usize>,
    /// Bytes of rows and state that the daemon may hold, over all shards.
    pub memory_bytes_max: u64,
    /// How much of that to take from the kernel at start.
    pub memory_prefault_bytes: u64,
    /// Bytes of a log segment; a multiple of 4,096.
    pub segment_bytes: u64,
    /// How long an open batch waits for company before it is sealed.
    pub commit_linger: Duration,
    /// Frames after which a batch is sealed; 0 means that only its bytes bound it, 1 turns group
    /// commit off.
    pub commit_frames_max: usize,
    /// Batches written but not yet acknowledged by the disk, in one shard.
    pub commits_in_flight: usize,
    /// Client connections over all shards.
    pub connections_max: usize,
    pub socket_mode: SocketMode,
    /// User ids that may connect, root's and the daemon's own included; ascending.
    pub allow_uids: Vec<u32>,
    /// Group ids whose members may connect; ascending.
    pub allow_gids: Vec<u32>,
    pub log_level: LogLevel,
    /// How long a stop waits for requests in progress.
    pub drain_timeout: Duration,
    /// How long a client may leave a watch without credit, or its messages unread.
    pub stream_patience: Duration,
    /// Commands that take at least so long are kept in the slow log.
    pub slowlog: Duration,
    /// Entries of each shard's slow log; 0 for none.
    pub slowlog_entries_max: usize,
    /// One of so many commands is traced; 0 for none.
    pub trace_sample: u64,
    /// How far the daemon's wall clock is ahead of the machine's.
    pub clock_ahead: Duration,
    /// Starts in a row that ended early, after which the next one is read-only; 0 for never.
    pub crash_loop_starts: usize,
    /// How long a daemon serves before its start counts as a good one.
    pub crash_loop: Duration,
    /// Start without acknowledged writes that cannot be read.
    pub accept_loss: bool,
    /// Writes that are not applied; ascending.
    pub skip_sequences: Vec<LogPlace>,
    /// Whether shards that have little else to do may work with their memories.
    pub offline: bool,
    /// Between two replays of such a shard; zero for no replay at all.
    pub dream: Duration,
    /// Between two looks of such a shard at the gists that are kept; zero for none.
    pub gist: Duration,
    /// Whether HTTP is spoken beside RESP.
    pub edge: bool,
    /// Where else than on the Unix socket.
    pub edge_tcp: Option<EdgeTcp>,
}

/// A place where HTTP is spoken over TCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeTcp {
    /// A loopback address.
    pub address: SocketAddr,
    /// Every request has to bring what stands in it.
    pub token_file: PathBuf,
}

/// The permissions of the socket's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketMode(pub u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// A valid configuration and the account of where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    pub config: Config,
    pub effective: Effective,
}

impl Loaded {
    /// What `--check-config` or `--print-config` prints instead of starting the daemon.
    pub fn answer(&self, args: &Args) -> Option<String> {
        if args.print_config {
            Some(self.effective.to_string())
        } else {
            args.check_config.then(|| "configuration is valid\n".to_owned())
        }
    }
}

impl Config {
    /// Reads and checks the configuration of this process.
    pub fn load(args: &Args) -> Result<Loaded, ConfigError> {
        let host = Host::of_this_process();
        Self::load_from(args, std::env::vars_os(), Path::new(DEFAULT_FILE), host)
    }

    /// [`Config::load`] with everything that it would take from the outside.
    pub fn load_from(
        args: &Args,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        default_file: &Path,
        host: Host,
    ) -> Result<Loaded, ConfigError> {
        let layers = sources::collect(args, environment, default_file)?;
        validate(&layers, host)
    }

    /// Whether a peer may talk to the daemon: by its user id or by one of its groups.
    pub fn admits(&self, uid: u32, gids: &[u32]) -> bool {
        self.allow_uids.contains(&uid) || gids.iter().any(|gid| self.allow_gids.contains(gid))
    }
}

fn validate(layers: &[Layer], host: Host) -> Result<Loaded, ConfigError> {
    let mut keys = Keys::new(layers);
    // 60 %, in whole mebibytes so that it is printed as people would write it.
    let three_fifths = (host.memory_bytes / 5 * 3) & !((1 << 20) - 1);
    let memory_default = three_fifths.max(bounds::MEMORY_BYTES_MIN);
    let memory_bounds = bounds::MEMORY_BYTES_MIN..=host.memory_bytes.max(memory_default);
    let memory_bytes_max =
        keys.bytes("memory_bytes_max", |raw| raw.memory_bytes_max, memory_bounds, memory_default)?;
    let mut config = Config {
        data: keys.path("data", |raw| raw.data.clone(), "/var/lib/engramd", usize::MAX)?,
        socket: keys.path(
            "socket",
            |raw| raw.socket.clone(),
            "/run/engramd/engramd.sock",
            bounds::SOCKET_PATH_BYTES,
        )?,
        shards: keys.shards()?,
        memory_bytes_max,
        memory_prefault_bytes: keys.bytes(
            "memory_prefault_bytes",
            |raw| raw.memory_prefault_bytes,
            0..=memory_bytes_max,
            bounds::MEMORY_PREFAULT_DEFAULT.min(memory_bytes_max),
        )?,
        segment_bytes: keys.segment_bytes()?,
        commit_linger: Duration::from_micros(keys.count(
            "commit_linger_us",
            |raw| raw.commit_linger_us,
            bounds::COMMIT_LINGER_US,
            0,
        )?),
        commit_frames_max: keys.count(
            "commit_frames_max",
            |raw| raw.commit_frames_max,
            bounds::COMMIT_FRAMES_MAX,
            0,
        )? as usize,
        commits_in_flight: keys.count(
            "commits_in_flight",
            |raw| raw.commits_in_flight,
            bounds::COMMITS_IN_FLIGHT,
            4,
        )? as usize,
        connections_max: keys.count(
            "connections_max",
            |raw| raw.connections_max,
            bounds::CONNECTIONS_MAX,
            1024,
        )? as usize,
        socket_mode: keys.socket_mode()?,
        allow_uids: keys.ids("allow_uids", |raw| raw.allow_uids.clone(), &[])?,
        allow_gids: keys.ids("allow_gids", |raw| raw.allow_gids.clone(), &[host.gid])?,
        log_level: keys.log_level()?,
        drain_timeout: Duration::from_millis(keys.count(
            "drain_timeout_ms",
            |raw| raw.drain_timeout_ms,
            bounds::DRAIN_TIMEOUT_MS,
            5000,
        )?),
        stream_patience: Duration::from_millis(keys.count(
            "stream_patience_ms",
            |raw| raw.stream_patience_ms,
            bounds::STREAM_PATIENCE_MS,
            60_000,
        )?),
        slowlog: Duration::from_micros(keys.count(
            "slowlog_us",
            |raw| raw.slowlog_us,
            bounds::SLOWLOG_US,
            10_000,
        )?),
        slowlog_entries_max: keys.count(
            "slowlog_entries_max",
            |raw| raw.slowlog_entries_max,
            bounds::SLOWLOG_ENTRIES,
            128,
        )? as usize,
        trace_sample: keys.count(
            "trace_sample",
            |raw| raw.trace_sample,
            bounds::TRACE_SAMPLE,
            0,
        )?,
        clock_ahead: Duration::from_secs(keys.count(
            "clock_ahead_seconds",
            |raw| raw.clock_ahead_seconds,
            bounds::CLOCK_AHEAD_SECONDS,
            0,
        )?),
        crash_loop_starts: keys.count(
            "crash_loop_starts",
            |raw| raw.crash_loop_starts,
            bounds::CRASH_LOOP_STARTS,
            5,
        )? as usize,
        crash_loop: Duration::from_secs(keys.count(
            "crash_loop_seconds",
            |raw| raw.crash_loop_seconds,
            bounds::CRASH_LOOP_SECONDS,
            60,
        )?),
        accept_loss: keys.switch("accept_loss", |raw| raw.accept_loss, false),
        skip_sequences: keys.places("skip_sequences", |raw| raw.skip_sequences.clone())?,
        offline: keys.switch("offline", |raw| raw.offline, true),
        dream: Duration::from_millis(keys.count(
            "dream_ms",
            |raw| raw.dream_ms,
            bounds::DREAM_MS,
            0,
        )?),
        gist: Duration::from_millis(keys.count(
            "gist_ms",
            |raw| raw.gist_ms,
            bounds::GIST_MS,
            0,
        )?),
        edge: keys.switch("edge", |raw| raw.edge, true),
        edge_tcp: keys.edge_tcp()?,
    };
    config.allow_uids.extend([0, host.uid]);
    for ids in [&mut config.allow_uids, &mut config.allow_gids] {
        ids.sort_unstable();
        ids.dedup();
    }
    Ok(Loaded { config, effective: Effective { settings: keys.settings } })
}

impl fmt::Display for SocketMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}
