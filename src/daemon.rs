//! The order of a daemon's life: listen, open the store, start the shards, serve, drain.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use engram_shards::episode::{SpaceNumber, SpaceSettings};
use engram_shards::io::{UringIo, UringSettings};
use engram_shards::log::{LogIdentity, LogSettings, RecoverySettings};
use engram_shards::shard::ShardSettings;
use engram_shards::store::{NewStore, Store, StoreError};
use sd_notify::NotifyState;
use signal_hook::consts::{SIGINT, SIGTERM};
use thiserror::Error;

use crate::acceptor::{Acceptor, ListenError, Listener};
use crate::clock::{self, CLOCK};
use crate::config::Config;
use crate::lanes;
use crate::runtime::{self, Pinned, RuntimeError};
use crate::server::{
    self, Answer, Asked, Control, Opened, Said, ServeError, ShardDisk, ShardStart,
};
use crate::topology::{self, Placement, Topology, TopologyError};

/// How often the shards are asked for a sign of life.
const BEAT: Duration = Duration::from_millis(100);
/// While the logs are replayed the start-up timeout is extended by this, again and again.
const EXTEND_START: Duration = Duration::from_secs(10);
/// What the shards may take beyond the drain timeout to end.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the daemon did not start, or ended.
#[derive(Debug, Error)]
pub enum DaemonError {
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("a thread or signal handler cannot be set up: {0}")]
    System(#[from] std::io::Error),
    #[error("a shard ended by itself; the log above says why")]
    ShardEnded,
}

/// Runs the daemon until it is told to stop.
pub fn run(config: Config) -> Result<(), DaemonError> {
    let began = Instant::now();
    let topology = Topology::of_this_machine()?;
    // Before anything is made: who connects now is served when the logs are replayed.
    let listener = Listener::open(&config)?;
    let mut store = open_store(&config, &topology)?;
    let shards = store.header.shards as usize;
    let placement = topology::place(&topology, shards);
    if let Some(sentence) = placement.sharing() {
        tracing::warn!("{sentence}");
    }
    raise_descriptor_limit();
    let crew = Crew::start(&config, &store, &topology, &placement)?;
    let opened = crew.wait_until_open()?;
    report(&opened);
    store.note_logs()?;
    crew.begin(&opened)?;
    let config = Arc::new(config);
    let signals = signals()?;
    let acceptor = Acceptor::start(listener, Arc::clone(&config), crew.controls.clone())?;
    let episodes: u64 = opened.iter().map(|opened| opened.episodes).sum();
    let status = format!("serving {episodes} episodes on {shards} shards");
    tracing::info!(socket = %config.socket.display(), took = ?began.elapsed(), "{status}");
    notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
    let stopped = crew.supervise(&signals);
    notify(&[NotifyState::Stopping]);
    drop(acceptor);
    let ended = crew.end(config.drain_timeout);
    drop(store);
    // Why the daemon stopped says more than how the end went.
    stopped.and(ended)?;
    tracing::info!("stopped; everything acknowledged is on disk");
    Ok(())
}

fn open_store(config: &Config, topology: &Topology) -> Result<Store, DaemonError> {
    let narrow = |shards: usize| u32::try_from(shards).expect("bounded by SHARDS_MAX");
    let new = NewStore {
        store_id: random(),
        shards: narrow(config.shards.unwrap_or_else(|| topology.cores().len())),
        created_at_us: clock::wall_us(),
        segment_bytes: config.segment_bytes,
    };
    let store = Store::open_or_make(&config.data, config.shards.map(narrow), &new)?;
    let (path, shards) = (store.path.display(), store.header.shards);
    let verb = if store.is_new { "made" } else { "opened" };
    tracing::info!(shards, "{verb} the store in {path}");
    Ok(store)
}

/// Random bytes of the kernel's.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    assert_eq!(got, Ok(N), "the kernel gives small requests whole");
    bytes
}

/// Every connection is a descriptor; the soft limit is often far below what is allowed.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit on open files stays as it is");
    }
}

fn notify(states: &[NotifyState<'_>]) {
    // Without systemd there is nobody to tell.
    let _ = sd_notify::notify(states);
}

/// What recovery found, shard by shard.
fn report(opened: &[Opened]) {
    for Opened { number: shard, recovered, episodes, .. } in opened {
        tracing::info!(
            shard,
            episodes,
            frames = recovered.frames,
            segments = recovered.segments,
            "replayed the log up to sequence {}",
            recovered.next_sequence - 1
        );
        if let Some(torn) = recovered.torn_tail {
            tracing::warn!(
                shard,
                segment = torn.segment,
                offset = torn.offset,
                bytes = torn.bytes,
                "cut a torn tail: writes that were under way and never acknowledged"
            );
        }
    }
}

/// SIGTERM and SIGINT as messages.
fn signals() -> std::io::Result<flume::Receiver<i32>> {
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT])?;
    let (sender, receiver) = flume::unbounded();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if sender.send(signal).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}

/// The shards and how to talk to them.
struct Crew {
    executors: Vec<Pinned<()>>,
    controls: Vec<flume::Sender<Control>>,
    said: flume::Receiver<Said>,
    beats: Vec<Arc<AtomicU64>>,
}

impl Crew {
    fn start(
        config: &Config,
        store: &Store,
        topology: &Topology,
        placement: &Placement,
    ) -> Result<Self, DaemonError> {
        let shards = placement.seats.len();
        let (say, said) = flume::unbounded();
        let mut crew = Self { executors: vec![], controls: vec![], said, beats: vec![] };
        let lanes: Vec<lanes::Lanes<Asked, Answer>> = lanes::connect(shards);
        for (seat, lanes) in placement.seats.iter().zip(lanes) {
            let (control, controlled) = flume::unbounded();
            let beats = Arc::new(AtomicU64::new(0));
            let start = ShardStart {
                number: seat.shard,
                settings: shard_settings(config, store, seat.shard),
                clock: CLOCK,
                lanes,
                seed: u64::from_le_bytes(random()),
                control: controlled,
                beats: Arc::clone(&beats),
                drain_timeout: config.drain_timeout,
            };
            let ring = UringSettings {
                folder: store.shard_folder(shard_number(seat.shard)),
                worker_cpus: placement.spare_cpus.clone(),
                clock: CLOCK,
            };
            let (topology, node, say) = (topology.clone(), seat.node, say.clone());
            let bind = move |region: &mut [u8]| match topology.bind_memory(region, node) {
                Ok(binding) => tracing::debug!(%binding, "the shard's memory"),
                Err(error) => tracing::warn!(%error, "the shard's memory could not be bound"),
            };
            let number = seat.shard;
            let name = format!("shard-{number}");
            let executor = runtime::spawn_pinned(&name, seat.cpu, move || {
                let disk = move || open_ring(number, &ring);
                server::run(start, disk, bind, say)
            })?;
            crew.executors.push(executor);
            crew.controls.push(control);
            crew.beats.push(beats);
        }
        Ok(crew)
    }

    /// Waits until every shard has replayed its log, or one could not.
    fn wait_until_open(&self) -> Result<Vec<Opened>, DaemonError> {
        let mut opened = Vec::new();
        while opened.len() < self.executors.len() {
            match self.said.recv_timeout(EXTEND_START / 2) {
                Ok(Said::Opened(one)) => opened.push(one),
                Ok(Said::Failed(error)) => return Err(error.into()),
                Ok(Said::Serving | Said::Drained) => unreachable!("a shard opens first"),
                Err(flume::RecvTimeoutError::Timeout) => {
                    let (done, all) = (opened.len(), self.executors.len());
                    let status = format!("replaying the logs: {done} of {all} shards are done");
                    let micros = u32::try_from(EXTEND_START.as_micros()).expect("a constant");
                    notify(&[NotifyState::ExtendTimeoutUsec(micros), NotifyState::Status(&status)]);
                }
                Err(flume::RecvTimeoutError::Disconnected) => return Err(DaemonError::ShardEnded),
            }
        }
        opened.sort_by_key(|opened| opened.number);
        Ok(opened)
    }

    /// Lets the shards serve, with the spaces that shard 0 has, and waits until they do.
    fn begin(&self, opened: &[Opened]) -> Result<(), DaemonError> {
        let truth: &Vec<(SpaceNumber, SpaceSettings)> = &opened[0].spaces;
        self.tell(|| Control::Begin(truth.clone()));
        for _ in &self.executors {
            match self.said.recv() {
                Ok(Said::Serving) => {}
                Ok(Said::Failed(error)) => return Err(error.into()),
                Ok(other) => unreachable!("a shard serves next: {other:?}"),
                Err(flume::RecvError::Disconnected) => return Err(DaemonError::ShardEnded),
            }
        }
        Ok(())
    }

    fn tell(&self, control: impl Fn() -> Control) {
        for shard in &self.controls {
            // A shard that has gone is noticed by its silence.
            let _ = shard.send(control());
        }
    }

    /// Asks the shards for signs of life and feeds the watchdog when all have given one, until a
    /// signal comes or a shard fails.
    fn supervise(&self, signals: &flume::Receiver<i32>) -> Result<(), DaemonError> {
        let mut heard: Vec<u64> = vec![0; self.beats.len()];
        loop {
            self.tell(|| Control::Beat);
            match signals.recv_timeout(BEAT) {
                Ok(signal) => {
                    tracing::info!(signal, "stopping: draining connections");
                    return Ok(());
                }
                Err(flume::RecvTimeoutError::Timeout) => {}
                Err(flume::RecvTimeoutError::Disconnected) => return Ok(()),
            }
            match self.said.try_recv() {
                Ok(Said::Failed(error)) => return Err(error.into()),
                Err(flume::TryRecvError::Disconnected) => return Err(DaemonError::ShardEnded),
                Ok(_) | Err(flume::TryRecvError::Empty) => {}
            }
            let beats: Vec<u64> =
                self.beats.iter().map(|beats| beats.load(Ordering::Relaxed)).collect();
            if beats.iter().zip(&heard).all(|(now, before)| now > before) {
                notify(&[NotifyState::Watchdog]);
                heard = beats;
            }
        }
    }

    /// Drains all shards, then ends them.
    fn end(self, drain_timeout: Duration) -> Result<(), DaemonError> {
        self.tell(|| Control::Drain);
        let until = Instant::now() + drain_timeout + END_TIMEOUT;
        let mut drained = 0;
        while drained < self.executors.len() {
            match self.said.recv_deadline(until) {
                Ok(Said::Drained) => drained += 1,
                Ok(_) => {}
                Err(_) => return Err(DaemonError::ShardEnded),
            }
        }
        self.tell(|| Control::End);
        for executor in self.executors {
            executor.join()?;
        }
        Ok(())
    }
}

/// The log's ring, to be awaited by the executor of the calling thread.
fn open_ring(shard: usize, settings: &UringSettings) -> Result<ShardDisk, ServeError> {
    let refused = |error| {
        let folder = settings.folder.display().to_string();
        ServeError::Ring { shard, folder, error }
    };
    let io = UringIo::new(settings).map_err(refused)?;
    let completions = runtime::Event::new(io.event_fd()).map_err(refused)?;
    Ok(ShardDisk { io: Box::new(io), completions })
}

fn shard_number(shard: usize) -> u32 {
    u32::try_from(shard).expect("bounded by SHARDS_MAX")
}

fn shard_settings(config: &Config, store: &Store, shard: usize) -> ShardSettings {
    ShardSettings {
        identity: LogIdentity {
            store_id: store.header.store_id,
            shard: shard_number(shard),
            segment_bytes: store.header.segment_bytes,
            may_be_empty: !store.header.has_logs,
        },
        log: LogSettings {
            in_flight_max: config.commits_in_flight,
            linger_us: u64::try_from(config.commit_linger.as_micros()).unwrap_or(u64::MAX),
            frames_max: u32::try_from(config.commit_frames_max).unwrap_or(u32::MAX),
        },
        recovery: RecoverySettings::default(),
        memory_bytes_max: config.memory_bytes_max / u64::from(store.header.shards),
        memory_prefault_bytes: config.memory_prefault_bytes / u64::from(store.header.shards),
    }
}
