//! The life of a shard: open, reconcile, serve, drain.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use engram_shards::episode::{Refusal, SpaceNumber, SpaceSettings};
use engram_shards::io::{Clock, Io};
use engram_shards::log::Recovered;
use engram_shards::shard::{Effect, OpenError, Shard, ShardSettings, Ticket};
use engram_shards::spread::batching::Machine;
use thiserror::Error;

use super::arrival::Arrival;
use super::calls::{Call, Calls};
use super::connection::{self, Connection, SocketEnd};
use super::core::{Core, LaneEnds};
use super::journal::JournalSettings;
use super::offline::{self, Offline};
use super::snapshots::Snapshots;
use super::visitor::EdgeDoor;
use crate::recovery::Recovery;
use crate::runtime;

/// How often a draining shard looks whether it is done.
const DRAIN_POLL: Duration = Duration::from_millis(5);
/// How often housekeeping is done while a shard drains.
const DRAIN_TICK_NS: u64 = 100_000_000;

/// Everything a shard's thread starts with.
#[derive(Debug)]
pub struct ShardStart {
    pub number: usize,
    pub settings: ShardSettings,
    pub clock: Clock,
    pub lanes: LaneEnds,
    /// What spreading is to know of the machine.
    pub machine: Machine,
    /// Seed of assigned ids; random, different for every start and shard.
    pub seed: u64,
    /// What the supervisor tells the shard.
    pub control: flume::Receiver<Control>,
    /// Raised by the shard whenever it has got round to its control messages.
    pub beats: Arc<AtomicU64>,
    pub drain_timeout: Duration,
    /// How long a client may leave a watch without credit, or its messages unread.
    pub stream_patience: Duration,
    /// What is kept of commands.
    pub journal: JournalSettings,
    /// What is done while there is little else to do.
    pub offline: Offline,
    /// How the start goes, for `INFO`.
    pub recovery: Arc<Recovery>,
    pub snapshots: Arc<Snapshots>,
    pub edge: EdgeEnd,
}

/// What a shard has to do with the edge.
#[derive(Debug)]
pub struct EdgeEnd {
    /// Where connections go that speak HTTP.
    pub door: EdgeDoor,
    pub calls: flume::Receiver<Call>,
}

impl EdgeEnd {
    /// Nothing.
    pub fn off() -> Self {
        Self { door: None, calls: flume::bounded(0).1 }
    }
}

/// A shard's disk, made on the shard's thread.
#[derive(Debug)]
pub struct ShardDisk {
    pub io: Box<dyn Io>,
    /// Signalled when the disk has done something.
    pub completions: runtime::Event,
}

/// What the supervisor tells a shard.
#[derive(Debug)]
pub enum Control {
    /// Bring the spaces in line with these, which are what shard 0 has, and begin to serve.
    Begin(Vec<(SpaceNumber, SpaceSettings)>),
    Connect {
        socket: runtime::Socket,
        arrival: Box<Arrival>,
        permit: Permit,
    },
    Beat,
    /// Take no more commands and answer those that were taken.
    Drain,
    /// All shards have drained: end.
    End,
}

/// Counts against the bound on connections as long as it lives.
pub type Permit = Arc<()>;

/// What a shard tells the supervisor.
#[derive(Debug)]
pub enum Said {
    Opened(Box<Opened>),
    Failed(ServeError),
    /// Its spaces are those of shard 0, and connections may come.
    Serving,
    /// Every reply that was owed has been given.
    Drained,
}

/// What a shard found when it opened.
#[derive(Debug)]
pub struct Opened {
    pub number: usize,
    pub recovered: Recovered,
    pub spaces: Vec<(SpaceNumber, SpaceSettings)>,
    /// The highest number of a space that its log has, be the space there or not.
    pub last_space: SpaceNumber,
    pub episodes: u64,
}

/// Why a shard did not serve.
#[derive(Debug, Error)]
pub enum ServeError {
    #[error(
        "the log's io_uring of shard {shard} cannot be set up in {folder}: {error}; it needs \
         io_uring (sysctl kernel.io_uring_disabled=0) and a folder this user can write"
    )]
    Ring { shard: usize, folder: String, error: std::io::Error },
    #[error("shard {shard} cannot be opened: {error}")]
    Open { shard: usize, error: OpenError },
    #[error("shard {shard} cannot bring its memory spaces in line with shard 0: {refusal}")]
    Reconcile { shard: usize, refusal: Refusal },
    #[error("shard {shard} cannot begin to serve: {error}")]
    Start { shard: usize, error: std::io::Error },
}

/// Runs a shard on the calling executor until it has drained. `disk` makes its disk; `bind` places
/// its memory.
pub async fn run(
    start: ShardStart,
    disk: impl FnOnce() -> Result<ShardDisk, ServeError>,
    bind: impl Fn(&mut [u8]) + 'static,
    said: flume::Sender<Said>,
) {
    // The supervisor waits for what is said here; if it has gone, so has the process.
    let failed = |error| drop(said.send(Said::Failed(error)));
    let number = start.number;
    let ShardDisk { io, completions } = match disk() {
        Ok(disk) => disk,
        Err(error) => return failed(error),
    };
    let (mut shard, recovered) = match Shard::open(io, &start.settings, &bind) {
        Ok(opened) => opened,
        Err(error) => return failed(ServeError::Open { shard: number, error }),
    };
    let spaces = shard.spaces().map(|(number, settings)| (number, settings.clone())).collect();
    let (episodes, last_space) = (shard.stats().episodes, shard.last_space());
    let opened = Opened { number, recovered, spaces, last_space, episodes };
    drop(said.send(Said::Opened(Box::new(opened))));
    // Another shard may have failed to open; then the supervisor hangs up instead.
    let Ok(Control::Begin(truth)) = start.control.recv_async().await else { return };
    if start.settings.recovery.read_only.is_some() {
        shard.assume_spaces(&truth);
    } else if let Err(refusal) = reconcile(&mut shard, start.clock, &truth).await {
        return failed(ServeError::Reconcile { shard: number, refusal });
    }
    if let Err(error) = serve(start, shard, completions, &said).await {
        failed(ServeError::Start { shard: number, error });
    }
}

/// The spaces that all shards are brought in line with: those of shard 0, which logs every creation
/// and drop first. A space with a number that shard 0 has never given proves that a creation was
/// lost from its log; and where frames were given up, one may have been among them. Then what any
/// shard has is kept: it holds episodes that were acknowledged.
pub fn true_spaces(opened: &[Opened]) -> Vec<(SpaceNumber, SpaceSettings)> {
    let (first, others) = opened.split_first().expect("a store has a shard");
    let mut spaces = first.spaces.clone();
    let is_lossy = first.recovered.lost_sequences() > 0;
    for (number, settings) in others.iter().flat_map(|other| &other.spaces) {
        let is_known = |(known, own): &(SpaceNumber, SpaceSettings)| {
            known == number || own.name == settings.name
        };
        if (is_lossy || *number > first.last_space) && !spaces.iter().any(is_known) {
            tracing::warn!(
                space = settings.name,
                "shard 0 lost the creation of a space; it is kept"
            );
            spaces.push((*number, settings.clone()));
        }
    }
    spaces
}

/// Finishes creations and drops that a crash left half done: shard 0's spaces are the truth.
async fn reconcile(
    shard: &mut Shard<Box<dyn Io>>,
    clock: Clock,
    truth: &[(SpaceNumber, SpaceSettings)],
) -> Result<(), Refusal> {
    let own: Vec<_> = shard.spaces().map(|(number, settings)| (number, settings.clone())).collect();
    for (number, settings) in own.iter().filter(|space| !truth.contains(space)) {
        tracing::warn!(space = settings.name, "a drop that was cut short is finished");
        shard.drop_space(Ticket(0), *number, 0)?;
        settle(shard, clock).await?;
    }
    for (number, settings) in truth.iter().filter(|space| !own.contains(space)) {
        tracing::warn!(space = settings.name, "a creation that was cut short is finished");
        shard.create_space(Ticket(0), Some(*number), settings, 0)?;
        settle(shard, clock).await?;
    }
    Ok(())
}

/// Waits, before anything is served, until the log has nothing open.
async fn settle(shard: &mut Shard<Box<dyn Io>>, clock: Clock) -> Result<(), Refusal> {
    let mut effects = Vec::new();
    while !shard.is_idle() {
        shard.poll(&mut effects);
        for effect in effects.drain(..) {
            if let Effect::Answer { result, .. } = effect {
                result?;
            }
        }
        // What was polled may be the segment that the batch was waiting for: only behind a pump is
        // the disk sure to have something to do, or the batch to linger.
        match shard.pump() {
            Some(ripe_ns) => {
                let wait_ns = ripe_ns.saturating_sub((clock.monotonic_ns)());
                runtime::sleep(Duration::from_nanos(wait_ns)).await;
            }
            None if shard.is_idle() => {}
            None => shard.wait().map_err(|error| Refusal::ReadOnly(error.to_string()))?,
        }
    }
    Ok(())
}

async fn serve(
    start: ShardStart,
    shard: Shard<Box<dyn Io>>,
    completions: runtime::Event,
    said: &flume::Sender<Said>,
) -> std::io::Result<()> {
    let ShardStart { number, clock, lanes, machine, seed, recovery, edge, .. } = start;
    let streaming = (start.snapshots, start.stream_patience, start.journal);
    let core = Core::new(number, clock, shard, lanes, (seed, machine), recovery, streaming)?;
    let core = Rc::new(core);
    runtime::spawn(Rc::clone(&core).serve_log(completions));
    runtime::spawn(Rc::clone(&core).serve_lanes());
    runtime::spawn(Rc::clone(&core).serve_linger());
    runtime::spawn(Rc::clone(&core).compute());
    runtime::spawn(Rc::clone(&core).work());
    let works_offline = Rc::new(Cell::new(true));
    core.inner.borrow_mut().works_offline = start.offline.is_on();
    let works_on = Rc::clone(&works_offline);
    runtime::spawn(offline::run(Rc::clone(&core), start.offline, seed, works_on));
    let calls = Calls::new(core.shards());
    runtime::spawn(Rc::clone(&calls).serve(Rc::clone(&core), edge.calls));
    drop(said.send(Said::Serving));
    let mut connections: Vec<Rc<Connection>> = Vec::new();
    while let Ok(control) = start.control.recv_async().await {
        match control {
            Control::Connect { socket, arrival, permit } => {
                connections.retain(is_open);
                match connect(&core, socket, *arrival, permit, edge.door.clone()) {
                    Ok(connection) => connections.push(connection),
                    Err(error) => tracing::warn!(%error, "a connection could not be taken over"),
                }
            }
            Control::Beat => {
                core.tick();
                connections.iter().for_each(|connection| connection.tick(&core));
                calls.tick(&core);
                start.beats.fetch_add(1, Ordering::Relaxed);
            }
            Control::Drain => {
                works_offline.set(false);
                drain(&core, &connections, &calls, start.drain_timeout).await;
                drop(said.send(Said::Drained));
            }
            // Peers had requests here until they had drained too; now nothing comes any more.
            Control::End => break,
            Control::Begin(_) => unreachable!("a shard begins once"),
        }
    }
    Ok(())
}

/// Whether one of the connection's two tasks still runs.
fn is_open(connection: &Rc<Connection>) -> bool {
    Rc::strong_count(connection) > 1
}

/// Starts both directions of a connection, from where the lobby left it.
fn connect(
    core: &Rc<Core>,
    socket: runtime::Socket,
    arrival: Arrival,
    permit: Permit,
    edge: EdgeDoor,
) -> std::io::Result<Rc<Connection>> {
    let Arrival { client, inbox, unsent, is_finished, .. } = arrival;
    let (reader, writer, shutdown) = socket.split()?;
    let end = Some(SocketEnd { shutdown, permit });
    let connection = Rc::new(Connection::new(client, Rc::clone(&core.journal), end));
    core.measure(|metrics| {
        metrics.connections_opened += 1;
        metrics.connections_open += 1;
    });
    if is_finished {
        connection.finish();
    } else {
        let (core, connection) = (Rc::clone(core), Rc::clone(&connection));
        runtime::spawn(connection::read(core, connection, reader, inbox, edge));
    }
    let (own_core, own) = (Rc::clone(core), Rc::clone(&connection));
    runtime::spawn(async move {
        connection::write(Rc::clone(&own_core), own, writer, unsent).await;
        own_core.measure(|metrics| metrics.connections_open -= 1);
    });
    Ok(connection)
}

/// Reads no more commands and waits until those that were taken are answered.
async fn drain(core: &Rc<Core>, connections: &[Rc<Connection>], calls: &Calls, timeout: Duration) {
    let timeout_ns = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
    let until_ns = core.now_ns().saturating_add(timeout_ns);
    connections.iter().for_each(|connection| connection.stop(core));
    calls.drain(core);
    core.close();
    let open = || connections.iter().filter(|one| is_open(one)).count() + calls.open();
    let mut ticked_ns = core.now_ns();
    while core.now_ns() < until_ns && (open() > 0 || !core.is_idle()) {
        core.turn();
        runtime::sleep(DRAIN_POLL).await;
        // No beat is heard meanwhile, and what was taken may wait for a consolidation or an erase.
        if core.now_ns() - ticked_ns >= DRAIN_TICK_NS {
            ticked_ns = core.now_ns();
            core.tick();
        }
    }
    let cut = open();
    if cut > 0 {
        tracing::warn!(shard = core.number, cut, "connections were cut at the drain timeout");
    }
}
