//! A machine with disks that lie and a daemon on it: the real `server::run`, shard by shard.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use engram_lanes::mesh;
use engram_shards::format::StoreHeader;
use engram_shards::io::Clock;
use engram_shards::io::simulated::{Power, SimulatedDisk, Still, World};
use engram_shards::log::{LogIdentity, LogSettings, RecoverySettings};
use engram_shards::shard::{ConsolidationSettings, Shard, ShardSettings};
use engramd::recovery::Recovery;
use engramd::runtime;
use engramd::runtime::simulated::{self, Group, Signal};
use engramd::server::{
    self, Arrival, Control, EdgeEnd, Offline, Opened, Peer, Said, ServeError, ShardDisk,
    ShardStart, Snapshots,
};

use crate::model::End;
use crate::plan::Plan;
use crate::wire::Connection;

/// How often somebody looks whether something happened.
const LOOK: Duration = Duration::from_micros(300);
/// Longer than any drain or start of a sound daemon, in virtual time.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often the supervisor asks for a sign of life.
const BEAT: Duration = Duration::from_millis(100);

/// Between two things that are done offline, in virtual time.
const OFFLINE_PAUSE: Duration = Duration::from_micros(200);

thread_local! {
    /// Whether this thread tells what happens as it happens.
    static TELLS: Cell<bool> = const { Cell::new(false) };
    /// A checksum of everything that was told: equal for equal runs.
    static TOLD: Cell<u64> = const { Cell::new(0) };
}

pub fn tell_everything(tells: bool) {
    TELLS.set(tells);
    TOLD.set(0);
}

/// The checksum so far.
pub fn told() -> u64 {
    TOLD.get()
}

/// What the wall clock shows, µs since 1970-01-01 UTC.
pub fn now_us() -> i64 {
    (simulated::CLOCK.wall_us)()
}

pub fn trace(event: fmt::Arguments<'_>) {
    let now_ns = simulated::now_ns();
    TOLD.set(TOLD.get().rotate_left(5).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ now_ns);
    if TELLS.get() {
        eprintln!("{:>13.6} ms  {event}", now_ns as f64 / 1e6);
    }
}

/// The world as one disk sees it.
#[derive(Debug)]
struct DiskWorld {
    shard: usize,
    signal: Signal,
}

impl World for DiskWorld {
    fn clock(&self) -> Clock {
        simulated::CLOCK
    }

    fn now_ns(&self) -> u64 {
        simulated::now_ns()
    }

    fn advance_to(&self, ns: u64) {
        simulated::advance_to(ns);
    }

    fn wake_at(&self, ns: u64) {
        self.signal.raise_at(ns);
    }

    fn trace(&self, event: fmt::Arguments<'_>) {
        trace(format_args!("disk {}: {event}", self.shard));
    }
}

/// What stays when a daemon dies.
pub struct Machine {
    pub power: Rc<Power>,
    pub disks: Vec<SimulatedDisk>,
    pub log: LogSettings,
    pub segment_bytes: u64,
    pub consolidation: ConsolidationSettings,
    offline: Offline,
    /// Every log has been begun: what the store's header says.
    has_logs: Cell<bool>,
    /// What the operator says at the next start.
    pub accept_loss: Cell<bool>,
    seed: Cell<u64>,
    /// How far each log was when it was first opened since somebody looked: a start that fails
    /// later may have written more.
    reached: RefCell<BTreeMap<usize, u64>>,
}

/// A daemon that serves.
pub struct Daemon {
    group: Group,
    controls: Vec<flume::Sender<Control>>,
    said: flume::Receiver<Said>,
    connections: Cell<u64>,
    pub opened: Vec<Opened>,
}

/// Why a daemon does not serve.
#[derive(Debug)]
pub enum NotServing {
    Refused(ServeError),
    PowerFailed,
}

impl Machine {
    pub fn new(seed: u64, plan: &Plan) -> Self {
        let Plan { shards, segment_bytes, log, consolidation, dreams, keeps_gists, .. } = *plan;
        let power = Rc::new(Power::default());
        let disks =
            (0..shards as u64).map(|nth| SimulatedDisk::new(seed ^ (nth + 1) << 32, &power));
        Self {
            disks: disks.collect(),
            power,
            log,
            segment_bytes,
            consolidation,
            offline: Offline {
                dream: dreams.then_some(OFFLINE_PAUSE),
                gist: keeps_gists.then_some(OFFLINE_PAUSE),
            },
            has_logs: Cell::new(false),
            accept_loss: Cell::new(false),
            seed: Cell::new(seed),
            reached: RefCell::default(),
        }
    }

    pub fn shards(&self) -> usize {
        self.disks.len()
    }

    /// How far each log was when the last daemon ended.
    pub fn reached(&self) -> Vec<u64> {
        self.reached.borrow().values().copied().collect()
    }

    /// Somebody has looked.
    pub fn forget_reached(&self) {
        self.reached.borrow_mut().clear();
    }

    fn settings(&self, shard: usize, recovery: &Recovery) -> ShardSettings {
        ShardSettings {
            identity: LogIdentity {
                store_id: [0x5e; 16],
                shard: u32::try_from(shard).expect("few shards"),
                segment_bytes: self.segment_bytes,
                may_be_empty: !self.has_logs.get(),
            },
            log: self.log,
            recovery: RecoverySettings {
                accept_loss: self.accept_loss.get(),
                progress: recovery.progress(shard),
                ..RecoverySettings::default()
            },
            memory_bytes_max: 64 << 20,
            memory_prefault_bytes: 0,
            consolidation: self.consolidation,
        }
    }

    /// Starts a daemon and waits until it serves.
    pub async fn start(&self) -> Result<Daemon, NotServing> {
        let group = simulated::group();
        let (say, said) = flume::unbounded();
        let mut controls = Vec::new();
        let recovery = Arc::new(Recovery::new(self.shards(), None, simulated::CLOCK));
        let header = StoreHeader {
            store_id: [0x5e; 16],
            shards: u32::try_from(self.shards()).expect("few shards"),
            created_at_us: 0,
            segment_bytes: self.segment_bytes,
            has_logs: self.has_logs.get(),
        };
        let snapshots = Arc::new(Snapshots::new("/simulated".into(), header));
        for (shard, lanes) in
            mesh::connect(self.shards(), server::LANE_UNITS).into_iter().enumerate()
        {
            let (control, controlled) = flume::unbounded();
            self.seed.set(self.seed.get().wrapping_add(1));
            let start = ShardStart {
                number: shard,
                settings: self.settings(shard, &recovery),
                clock: simulated::CLOCK,
                lanes,
                machine: Default::default(),
                seed: self.seed.get(),
                control: controlled,
                beats: Arc::default(),
                drain_timeout: PATIENCE / 2,
                stream_patience: PATIENCE / 4,
                journal: Default::default(),
                offline: self.offline,
                recovery: Arc::clone(&recovery),
                snapshots: Arc::clone(&snapshots),
                edge: EdgeEnd::off(),
            };
            let (disk, say) = (self.disks[shard].clone(), say.clone());
            let disk = move || {
                let signal = Signal::default();
                let world = DiskWorld { shard, signal: signal.clone() };
                Ok(ShardDisk { io: Box::new(disk.io(Rc::new(world))), completions: signal.into() })
            };
            simulated::spawn_in(group, server::run(start, disk, |_| {}, say));
            controls.push(control);
        }
        let connections = Cell::new(0);
        let mut daemon = Daemon { group, controls, said, connections, opened: Vec::new() };
        let begun = self.begin(&mut daemon).await;
        if begun.is_err() {
            simulated::kill(daemon.group);
        }
        begun.map(|()| daemon)
    }

    async fn begin(&self, daemon: &mut Daemon) -> Result<(), NotServing> {
        while daemon.opened.len() < self.shards() {
            match self.hear(daemon).await? {
                Said::Opened(opened) => {
                    let reached = opened.recovered.next_sequence - 1;
                    self.reached.borrow_mut().entry(opened.number).or_insert(reached);
                    daemon.opened.push(*opened);
                }
                other => panic!("a shard opens first: {other:?}"),
            }
        }
        daemon.opened.sort_by_key(|opened| opened.number);
        self.has_logs.set(true);
        let truth = server::true_spaces(&daemon.opened);
        daemon.tell(|| Control::Begin(truth.clone()));
        for _ in 0..self.shards() {
            let heard = self.hear(daemon).await?;
            assert!(matches!(heard, Said::Serving), "a shard serves next: {heard:?}");
        }
        let controls = daemon.controls.clone();
        simulated::spawn_in(daemon.group, async move {
            loop {
                runtime::sleep(BEAT).await;
                controls.iter().for_each(|shard| drop(shard.send(Control::Beat)));
            }
        });
        Ok(())
    }

    /// The next thing a shard says.
    async fn hear(&self, daemon: &Daemon) -> Result<Said, NotServing> {
        let until_ns = simulated::now_ns() + PATIENCE.as_nanos() as u64;
        while simulated::now_ns() < until_ns {
            if self.power.is_off() {
                return Err(NotServing::PowerFailed);
            }
            match daemon.said.try_recv() {
                Ok(Said::Failed(error)) => return Err(NotServing::Refused(error)),
                Ok(said) => return Ok(said),
                Err(_) => runtime::sleep(LOOK).await,
            }
        }
        panic!("a shard has said nothing for {PATIENCE:?}");
    }

    /// Ends a daemon.
    pub async fn end(&self, daemon: Daemon, end: End) {
        if end == End::Drained {
            daemon.tell(|| Control::Drain);
            let mut drained = 0;
            while drained < self.shards() {
                match self.hear(&daemon).await {
                    Ok(Said::Drained) => drained += 1,
                    Ok(other) => panic!("a shard drains next: {other:?}"),
                    Err(error) => panic!("a shard did not drain: {error:?}"),
                }
            }
            daemon.tell(|| Control::End);
            runtime::sleep(LOOK).await;
        }
        if end == End::PowerLost {
            self.power.cut();
        }
        simulated::kill(daemon.group);
        self.settle();
    }

    /// Opens what the disks hold as the next daemon will, on copies on which nothing fails, and has
    /// everything compared with everything; how many shards could be opened.
    pub fn verify(&self) -> usize {
        let recovery = Recovery::new(self.shards(), None, simulated::CLOCK);
        let is_open = |(number, disk): &(usize, &SimulatedDisk)| {
            let copy = SimulatedDisk::new(0, &Rc::default());
            copy.restore(&disk.snapshot());
            let mut settings = self.settings(*number, &recovery);
            settings.recovery.read_only = Some("it is only verified".into());
            let opened = Shard::open(copy.io(Rc::new(Still::default())), &settings, &|_| {});
            // What cannot be opened is the next start's to judge.
            let Ok((shard, _)) = opened else { return false };
            assert_eq!(shard.verify(), Vec::<String>::new(), "on disk {number}");
            true
        };
        self.disks.iter().enumerate().filter(is_open).count()
    }

    /// After the death of a daemon: what a power loss leaves, and the power comes back.
    pub fn settle(&self) {
        if self.power.is_off() {
            self.disks.iter().for_each(SimulatedDisk::lose_power);
            self.power.restore();
        }
    }
}

impl Daemon {
    fn tell(&self, control: impl Fn() -> Control) {
        for shard in &self.controls {
            // A shard that has gone is noticed by its silence.
            let _ = shard.send(control());
        }
    }

    /// A new connection, dealt in turn.
    pub fn connect(&self) -> Connection {
        let (near, far) = simulated::pipe();
        let connection = self.connections.get() + 1;
        self.connections.set(connection);
        let peer = Peer { connection, uid: 7, gid: 7, pid: 7 };
        let shard = connection as usize % self.controls.len();
        let arrival = Box::new(Arrival::new(peer));
        let connect = Control::Connect { socket: far, arrival, permit: Arc::new(()) };
        let _ = self.controls[shard].send(connect);
        Connection::new(near)
    }

    /// A connection that speaks RESP3.
    pub async fn greet(&self) -> Option<Connection> {
        let mut connection = self.connect();
        let hello = connection.call(&crate::wire::Command::of("HELLO 3")).await?;
        assert!(hello.get("proto").is_some(), "HELLO is answered: {hello:?}");
        Some(connection)
    }
}

/// Waits until it is so, the power fails, or the time is over; whether it is so.
pub async fn wait_until(power: &Power, limit: Duration, is_so: impl Fn() -> bool) -> bool {
    let until_ns = simulated::now_ns() + limit.as_nanos() as u64;
    while simulated::now_ns() < until_ns && !power.is_off() {
        if is_so() {
            return true;
        }
        runtime::sleep(LOOK).await;
    }
    is_so()
}

/// Goes on until the power fails.
pub async fn until_dark<T>(power: &Power, task: impl Future<Output = Option<T>>) -> Option<T> {
    let dark = async {
        while !power.is_off() {
            runtime::sleep(LOOK).await;
        }
        None
    };
    futures_lite::future::or(task, dark).await
}

/// What several tasks of a run share.
pub type Shared<T> = Rc<RefCell<T>>;
