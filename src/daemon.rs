//! The order of a daemon's life: listen, open the store, let clients into the lobby, start the
//! shards, serve, drain.
//!
//! A signal to stop is heeded from the first moment on. While the logs are replayed it ends the
//! process: nothing is owed to anybody yet, and a replay that is cut short has lost nothing.

use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use engram_lanes::mesh;
use engram_shards::io::{UringIo, UringSettings};
use engram_shards::log::{LogIdentity, LogSettings, RecoverySettings};
use engram_shards::shard::{ConsolidationSettings, ShardSettings};
use engram_shards::spread::batching::Machine;
use engram_shards::store::{NewStore, Store, StoreError};
use sd_notify::NotifyState;
use signal_hook::consts::{SIGINT, SIGTERM};
use thiserror::Error;

use crate::acceptor::{Acceptor, ListenError, Listener};
use crate::clock::{self, CLOCK};
use crate::config::{Config, LogPlace};
use crate::edge::{Edge, EdgeError};
use crate::recovery::Recovery;
use crate::runtime::{self, Pinned, RuntimeError};
use crate::server::{
    self, Control, EdgeEnd, JournalSettings, LANE_UNITS, LaneEnds, Offline, Opened, Said,
    ServeError, ShardDisk, ShardStart, Snapshots,
};
use crate::starts::Starts;
use crate::topology::{self, CacheLevel, Placement, Topology, TopologyError};

/// How often the shards are asked for a sign of life.
const BEAT: Duration = Duration::from_millis(100);
/// While the logs are replayed the start-up timeout is extended by this, again and again.
const EXTEND_START: Duration = Duration::from_secs(10);
/// How often it is said how far the replay is.
const STATUS_EVERY: Duration = Duration::from_secs(1);
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
    #[error(transparent)]
    Edge(#[from] EdgeError),
    #[error("a thread or signal handler cannot be set up: {0}")]
    System(#[from] std::io::Error),
    #[error("a shard ended by itself; the log above says why")]
    ShardEnded,
    #[error(
        "skip_sequences names {place}, but the shards of this store are 0 to {last}; correct it or \
         leave it out"
    )]
    SkippedShard { place: LogPlace, last: usize },
}

/// Runs the daemon until it is told to stop.
pub fn run(config: Config) -> Result<(), DaemonError> {
    clock::set_ahead(config.clock_ahead);
    if !config.clock_ahead.is_zero() {
        tracing::warn!(ahead = ?config.clock_ahead, "the wall clock is ahead of the machine's");
    }
    let signals = signals()?;
    let topology = Topology::of_this_machine()?;
    // Before anything is made: who connects now is served when the logs are replayed.
    let listener = Listener::open(&config)?;
    // The lock is held until the process is gone. Shards whose replay is cut short end with it.
    let mut store = ManuallyDrop::new(open_store(&config, &topology)?);
    check_places(&config, &store)?;
    let mut starts = note_start(&config, &store);
    let mut life =
        Life { config: Arc::new(config), signals, starts: &mut starts, is_serving: false };
    let ended = life.live(&mut store, &topology, listener);
    let is_serving = life.is_serving;
    let noted = match (&ended, is_serving) {
        (Ok(()), true) => starts.clear(),
        (_, false) => starts.take_back(),
        (Err(_), true) => Ok(()),
    };
    if let Err(error) = noted {
        tracing::warn!(%error, "this start stays noted as one that ended early");
    }
    ended
}

/// Notes this start among those that have not lived long.
fn note_start(config: &Config, store: &Store) -> Starts {
    let starts = Starts::note(&store.path, config.crash_loop_starts, clock::wall_us());
    let starts = starts.unwrap_or_else(|error| {
        tracing::warn!(%error, "this start cannot be noted: a crash loop would not be noticed");
        Starts::unnoted(&store.path)
    });
    if let Some(reason) = starts.read_only_reason() {
        tracing::error!("read-only: {reason}");
    }
    starts
}

/// Sequences to skip have to be in a log that there is.
fn check_places(config: &Config, store: &Store) -> Result<(), DaemonError> {
    let last = store.header.shards as usize - 1;
    match config.skip_sequences.iter().find(|place| place.shard as usize > last) {
        Some(&place) => Err(DaemonError::SkippedShard { place, last }),
        None => Ok(()),
    }
}

/// From the start of the shards to their end.
struct Life<'a> {
    config: Arc<Config>,
    signals: flume::Receiver<i32>,
    starts: &'a mut Starts,
    is_serving: bool,
}

impl Life<'_> {
    fn live(
        &mut self,
        store: &mut Store,
        topology: &Topology,
        listener: Listener,
    ) -> Result<(), DaemonError> {
        let shards = store.header.shards as usize;
        let placement = topology::place(topology, shards);
        if let Some(sentence) = placement.sharing() {
            tracing::warn!("{sentence}");
        }
        raise_descriptor_limit();
        let recovery = Arc::new(Recovery::new(shards, self.starts.read_only_reason(), CLOCK));
        let config = Arc::clone(&self.config);
        let (edge, ends) =
            Edge::start(&config, shards, &placement.spare_cpus, Arc::clone(&recovery))?;
        let acceptor = Acceptor::start(listener, config, Arc::clone(&recovery), edge.door())?;
        let machine = (topology, &placement);
        let crew = Crew::start(&self.config, store, machine, &recovery, ends)?;
        let Some(opened) = crew.wait_until_open(&self.signals, &recovery)? else {
            notify(&[NotifyState::Stopping]);
            tracing::info!("stopped while the logs were replayed; nothing was changed");
            return Ok(());
        };
        report(&opened, recovery.read_only_reason().is_some());
        if recovery.read_only_reason().is_none() {
            store.note_logs()?;
        }
        crew.begin(&opened)?;
        recovery.finish(opened.iter().map(|opened| &opened.recovered));
        acceptor.open(crew.controls.clone())?;
        self.is_serving = true;
        self.say_ready(&opened, &recovery);
        let stopped = self.supervise(&crew);
        notify(&[NotifyState::Stopping]);
        drop(acceptor);
        edge.drain();
        let ended = crew.end(self.config.drain_timeout);
        edge.end();
        // Why the daemon stopped says more than how the end went.
        stopped.and(ended)?;
        tracing::info!("stopped; everything acknowledged is on disk");
        Ok(())
    }

    fn say_ready(&self, opened: &[Opened], recovery: &Recovery) {
        let episodes: u64 = opened.iter().map(|opened| opened.episodes).sum();
        let mut status = format!("serving {episodes} episodes on {} shards", opened.len());
        if let Some(reason) = recovery.read_only_reason() {
            status = format!("{status}, read-only: {reason}");
        }
        let socket = self.config.socket.display();
        tracing::info!(%socket, seconds = recovery.seconds(), "{status}");
        notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
    }

    /// Looks after the shards until a signal comes or one of them fails.
    fn supervise(&mut self, crew: &Crew) -> Result<(), DaemonError> {
        let good_from = Instant::now() + self.config.crash_loop;
        let mut is_good = false;
        let mut heard: Vec<u64> = vec![0; crew.beats.len()];
        loop {
            crew.tell(|| Control::Beat);
            match self.signals.recv_timeout(BEAT) {
                Ok(signal) => {
                    tracing::info!(signal, "stopping: draining connections");
                    return Ok(());
                }
                Err(flume::RecvTimeoutError::Timeout) => {}
                Err(flume::RecvTimeoutError::Disconnected) => return Ok(()),
            }
            crew.feed_watchdog(&mut heard)?;
            if !is_good && Instant::now() >= good_from {
                is_good = true;
                if let Err(error) = self.starts.clear() {
                    tracing::warn!(%error, "the starts before this one stay noted");
                }
            }
        }
    }
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
fn report(opened: &[Opened], is_read_only: bool) {
    for Opened { number: shard, recovered, episodes, .. } in opened {
        tracing::info!(
            shard,
            episodes,
            frames = recovered.frames,
            segments = recovered.segments,
            "replayed the log up to sequence {}",
            recovered.next_sequence - 1
        );
        for finding in recovered.findings(is_read_only) {
            tracing::warn!(shard, "{finding}");
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
        (topology, placement): (&Topology, &Placement),
        recovery: &Arc<Recovery>,
        ends: Vec<EdgeEnd>,
    ) -> Result<Self, DaemonError> {
        let shards = placement.seats.len();
        let (say, said) = flume::unbounded();
        let mut crew = Self { executors: vec![], controls: vec![], said, beats: vec![] };
        let lanes: Vec<LaneEnds> = mesh::connect(shards, LANE_UNITS);
        let snapshots = Arc::new(Snapshots::new(store.path.clone(), store.header));
        for ((seat, lanes), edge) in placement.seats.iter().zip(lanes).zip(ends) {
            let (control, controlled) = flume::unbounded();
            let beats = Arc::new(AtomicU64::new(0));
            let start = ShardStart {
                number: seat.shard,
                settings: shard_settings(config, store, seat.shard, recovery),
                clock: CLOCK,
                lanes,
                machine: machine(topology, seat.cpu),
                seed: u64::from_le_bytes(random()),
                control: controlled,
                beats: Arc::clone(&beats),
                drain_timeout: config.drain_timeout,
                stream_patience: config.stream_patience,
                journal: journal_settings(config),
                offline: offline(config),
                recovery: Arc::clone(recovery),
                snapshots: Arc::clone(&snapshots),
                edge,
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

    /// Waits until every shard has replayed its log, or one could not; `None` when a signal to stop
    /// came first.
    fn wait_until_open(
        &self,
        signals: &flume::Receiver<i32>,
        recovery: &Recovery,
    ) -> Result<Option<Vec<Opened>>, DaemonError> {
        let mut opened = Vec::new();
        let mut said_at = Instant::now();
        while opened.len() < self.executors.len() {
            match self.said.recv_timeout(BEAT) {
                Ok(Said::Opened(one)) => {
                    recovery.shard_is_done(one.number);
                    opened.push(*one);
                }
                Ok(Said::Failed(error)) => return Err(error.into()),
                Ok(Said::Serving | Said::Drained) => unreachable!("a shard opens first"),
                Err(flume::RecvTimeoutError::Timeout) => {}
                Err(flume::RecvTimeoutError::Disconnected) => return Err(DaemonError::ShardEnded),
            }
            if let Ok(signal) = signals.try_recv() {
                tracing::info!(signal, "stopping");
                return Ok(None);
            }
            if said_at.elapsed() >= STATUS_EVERY {
                said_at = Instant::now();
                let status = recovery.status();
                let micros = u32::try_from(EXTEND_START.as_micros()).expect("a constant");
                notify(&[NotifyState::ExtendTimeoutUsec(micros), NotifyState::Status(&status)]);
            }
        }
        opened.sort_by_key(|opened| opened.number);
        Ok(Some(opened))
    }

    /// Lets the shards serve, with the spaces that shard 0 has, and waits until they do.
    fn begin(&self, opened: &[Opened]) -> Result<(), DaemonError> {
        let truth = server::true_spaces(opened);
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

    /// Feeds the watchdog when every shard has given a sign of life since the last time.
    fn feed_watchdog(&self, heard: &mut Vec<u64>) -> Result<(), DaemonError> {
        match self.said.try_recv() {
            Ok(Said::Failed(error)) => return Err(error.into()),
            Err(flume::TryRecvError::Disconnected) => return Err(DaemonError::ShardEnded),
            Ok(_) | Err(flume::TryRecvError::Empty) => {}
        }
        let beats: Vec<u64> =
            self.beats.iter().map(|beats| beats.load(Ordering::Relaxed)).collect();
        if beats.iter().zip(&*heard).all(|(now, before)| now > before) {
            notify(&[NotifyState::Watchdog]);
            *heard = beats;
        }
        Ok(())
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

/// What the operator and the starts before this one decided about the replay of a shard's log.
fn recovery_settings(config: &Config, shard: usize, recovery: &Recovery) -> RecoverySettings {
    let own = |place: &&LogPlace| place.shard as usize == shard;
    RecoverySettings {
        accept_loss: config.accept_loss,
        skip_sequences: config.skip_sequences.iter().filter(own).map(|at| at.sequence).collect(),
        read_only: recovery.read_only_reason().map(str::to_owned),
        progress: recovery.progress(shard),
    }
}

/// What spreading is to know of the machine. What memory delivers is not measured at a start.
fn machine(topology: &Topology, cpu: usize) -> Machine {
    let l2 = topology.cache_of(cpu, CacheLevel::L2);
    Machine { l2_bytes: l2.map_or(0, |cache| cache.size_bytes), memory_bytes_per_second: 0 }
}

fn journal_settings(config: &Config) -> JournalSettings {
    JournalSettings {
        slow_ns: u64::try_from(config.slowlog.as_nanos()).unwrap_or(u64::MAX),
        slow_entries_max: config.slowlog_entries_max,
        trace_sample: config.trace_sample,
    }
}

fn offline(config: &Config) -> Offline {
    let pause = |pause: Duration| (config.offline && !pause.is_zero()).then_some(pause);
    Offline { dream: pause(config.dream), gist: pause(config.gist) }
}

fn shard_settings(
    config: &Config,
    store: &Store,
    shard: usize,
    recovery: &Recovery,
) -> ShardSettings {
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
        recovery: recovery_settings(config, shard, recovery),
        memory_bytes_max: config.memory_bytes_max / u64::from(store.header.shards),
        memory_prefault_bytes: config.memory_prefault_bytes / u64::from(store.header.shards),
        consolidation: ConsolidationSettings::default(),
    }
}
