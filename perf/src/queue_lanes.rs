//! Our lanes at work: how long they keep what waits while one of them never runs dry, and how many
//! observations they carry into a shard.
//!
//! *Waits.* A consumer serves an item in [`SERVICE_NS`] and keeps some lanes full with requests of
//! its own. What is measured is either such a lane itself, or a lane that has nothing but one item
//! at a time from another thread, sent a while after the one before was served. Waits are counted
//! in time and in turns, because the bound that `lanes/src/inbox.rs` gives is in turns.
//!
//! *Observations.* Producers make whole requests to store an episode, as connections do, and the
//! consumer sleeps when there are none and serves like a shard.
//! They are dropped, or stored in the memory of a shard as the engine does it, without its log.

use std::future::poll_fn;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use bytes::Bytes;
use engram_lanes::inbox::{AGED_EVERY, Inbox, Rank, Sender, Taken, WEIGHTS, Waits};
use engram_shards::arena::Arena;
use engram_shards::episode::{
    Confidence, Durability, Episode, Priority, SpaceNumber, SpaceSettings, StoreRequest, Ttl,
};
use engram_shards::format::{
    Frame, FrameHead, Operation, StoreFacts, StorePayload, encode_store, store_sizes,
};
use engram_shards::recall::check_vector;
use engram_shards::space::{CATCH_UP_ROWS, Space};
use engramd::clock::{monotonic_ns, wall_us};
use engramd::runtime::spawn_pinned;
use engramd::server::{Asked, LANE_UNITS, Request};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::queue_loads::{Figures, Latency, Tally, cpus, histogram, join};

/// A little less than what a shard may take for an observation at 300,000 a second.
pub const SERVICE_NS: u64 = 3_000;
/// Between an item having been served and the next.
const PAUSE_NS: u64 = 100_000;
const FULL_TIME: Duration = Duration::from_secs(2);

/// Which lane is measured while which are full.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub measured: Rank,
    pub full: &'static [Rank],
}

pub const CASES: [Case; 4] = [
    Case { measured: Rank::High, full: &[Rank::Low] },
    Case { measured: Rank::Low, full: &[Rank::High] },
    Case { measured: Rank::Low, full: &[Rank::High, Rank::Low] },
    Case { measured: Rank::Low, full: &Rank::ALL },
];

/// What the measured lane's items waited for their turn.
#[derive(Debug, Clone, Serialize)]
pub struct Wait {
    pub measured: &'static str,
    pub full: Vec<&'static str>,
    /// Items of its own lane that each had before it.
    pub before: u32,
    pub items: u64,
    pub latency: Latency,
    pub turns_p999: u64,
    pub turns_max: u64,
    pub turns_bound: u64,
    /// The bound in turns at what a turn took on average.
    pub bound_us: f64,
}

/// What waits: since when, in time and turns, and whether that counts.
#[derive(Debug, Clone, Copy)]
struct Job {
    at_ns: u64,
    at_turn: u64,
    is_counted: bool,
}

impl Waits for Job {
    fn at_ns(&self) -> u64 {
        self.at_ns
    }

    fn units(&self) -> u32 {
        1
    }
}

/// How far the consumer is.
#[derive(Debug, Default)]
struct Progress {
    turns: AtomicU64,
    /// Of the other thread's.
    served: AtomicU64,
    is_over: AtomicBool,
}

impl Case {
    fn is_full(self) -> bool {
        self.full.contains(&self.measured)
    }

    pub fn run(self) -> Wait {
        let [consuming, producing] = cpus();
        let progress = Arc::new(Progress::default());
        let sender = Sender::new(LANE_UNITS);
        let other = {
            let (sender, progress) = (sender.clone(), Arc::clone(&progress));
            let send = move || async move {
                if !self.is_full() {
                    one_at_a_time(&sender, self.measured, &progress);
                }
            };
            spawn_pinned("producer", producing, send).expect("an executor")
        };
        let consume = move || async move { self.serve(Inbox::behind(sender), &progress) };
        let wait = join(spawn_pinned("consumer", consuming, consume).expect("an executor"));
        join(other);
        wait
    }

    fn serve(self, mut inbox: Inbox<Job, Job>, progress: &Progress) -> Wait {
        let (mut waits_ns, mut waits_turns, mut turn) = (histogram(), histogram(), 0);
        let began_ns = monotonic_ns();
        let mut now_ns = began_ns;
        while now_ns < began_ns + FULL_TIME.as_nanos() as u64 {
            for rank in self.full {
                // Those that fill the lane at first have fewer before them.
                let is_counted = *rank == self.measured && turn > 0;
                let job = Job { at_ns: now_ns, at_turn: turn, is_counted };
                while inbox.send_own(*rank, job).is_ok() {}
            }
            let Some((rank, taken)) = inbox.take(now_ns) else { continue };
            turn += 1;
            progress.turns.store(turn, Ordering::Release);
            let (Taken::Own(job) | Taken::Sent(job)) = taken;
            if job.is_counted {
                waits_ns.saturating_record(now_ns.saturating_sub(job.at_ns));
                waits_turns.saturating_record(turn - job.at_turn);
            }
            let until_ns = now_ns + SERVICE_NS;
            while now_ns < until_ns {
                now_ns = monotonic_ns();
            }
            inbox.served(rank, 1);
            progress.served.fetch_add(u64::from(job.is_counted), Ordering::Release);
        }
        progress.is_over.store(true, Ordering::Release);
        let before = if self.is_full() { LANE_UNITS - 1 } else { 0 };
        let turns_bound = turns_bound(self.measured, before);
        Wait {
            measured: self.measured.name(),
            full: self.full.iter().map(|rank| rank.name()).collect(),
            before,
            items: waits_ns.len(),
            latency: Latency::from(&waits_ns),
            turns_p999: waits_turns.value_at_quantile(0.999),
            turns_max: waits_turns.max(),
            turns_bound,
            bound_us: turns_bound as f64 * (now_ns - began_ns) as f64 / turn as f64 / 1e3,
        }
    }
}

/// Turns in all after which an item is served at the latest that has so many before it: those by
/// weight, and those by age between them.
fn turns_bound(rank: Rank, before: u32) -> u64 {
    let round = WEIGHTS.iter().sum::<u32>();
    let by_weight =
        (u64::from(before + 1) * u64::from(round)).div_ceil(WEIGHTS[rank as usize].into());
    by_weight + by_weight.div_ceil(u64::from(AGED_EVERY - 1))
}

fn one_at_a_time(sender: &Sender<Job>, rank: Rank, progress: &Progress) {
    let is_over = || progress.is_over.load(Ordering::Acquire);
    for sent in 0.. {
        while progress.served.load(Ordering::Acquire) < sent && !is_over() {
            spin_loop();
        }
        let until_ns = monotonic_ns() + PAUSE_NS;
        while monotonic_ns() < until_ns {
            spin_loop();
        }
        if is_over() {
            return;
        }
        let at_turn = progress.turns.load(Ordering::Acquire);
        let job = Job { at_ns: monotonic_ns(), at_turn, is_counted: true };
        sender.send(rank, job).expect("one item is under way");
    }
}

/// Where observations end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sink {
    Nowhere,
    Memory,
}

pub const DIMENSIONS: u32 = 128;
const TEXT: &[u8] = b"What was said, in about as many words as people use at once.";
/// Items that are served in one turn, as in the daemon.
const TURN_ITEMS_MAX: u32 = 1024;
/// Items that are sent before the shard is woken.
const SENT_AT_ONCE: u64 = 64;
const SPACE: SpaceNumber = SpaceNumber(1);
/// Above what an episode takes in memory, so that no page is touched for the first time.
const EPISODE_BYTES_MAX: u64 = 1024;

/// Has so many observations carried into a shard, by so many producers.
pub fn observe(sink: Sink, producers: u64, items: u64) -> Figures {
    let [consuming, producing] = cpus();
    let sender = Sender::new(LANE_UNITS);
    let inbox = Inbox::behind(sender.clone());
    let each = items / producers;
    let start = Arc::new(Barrier::new(producers as usize + 1));
    let producers: Vec<_> = (0..producers)
        .map(|producer| {
            let (sender, start) = (sender.clone(), Arc::clone(&start));
            let produce = move || async move {
                start.wait();
                send_observations(&sender, producer, each);
            };
            spawn_pinned("producer", producing, produce).expect("an executor")
        })
        .collect();
    let items = each * producers.len() as u64;
    let consumer = spawn_pinned("consumer", consuming, move || async move {
        let memory = (sink == Sink::Memory).then(|| Memory::new(items));
        start.wait();
        consume_observations(inbox, memory, items).await
    });
    let figures = join(consumer.expect("an executor"));
    producers.into_iter().for_each(join);
    figures
}

/// Has so many shards keep as many observations each, beside each other: each on a processor of
/// its own, with no lane in front and no log behind.
pub fn store_side_by_side(shards: usize, each: u64) -> SideBySide {
    let start = Arc::new(Barrier::new(shards));
    let run = |cpu: usize| {
        let start = Arc::clone(&start);
        let store = move || async move {
            let mut memory = Memory::new(each);
            let vector = Bytes::from(1_f32.to_le_bytes().repeat(DIMENSIONS as usize));
            start.wait();
            let (began_ns, cpu_began_ns) = (monotonic_ns(), thread_cpu_ns());
            (0..each).for_each(|nth| memory.store(&observation(0, nth, &vector)));
            (began_ns, monotonic_ns(), thread_cpu_ns() - cpu_began_ns)
        };
        spawn_pinned("shard", cpu, store).expect("an executor")
    };
    let shards: Vec<_> = cpus()[..shards].iter().map(|cpu| run(*cpu)).collect();
    let items = (each * shards.len() as u64) as f64;
    let times: Vec<(u64, u64, u64)> = shards.into_iter().map(join).collect();
    let began_ns = times.iter().map(|(began_ns, ..)| *began_ns).min().expect("a shard");
    let ended_ns = times.iter().map(|(_, ended_ns, _)| *ended_ns).max().expect("a shard");
    SideBySide {
        items_per_s: items * 1e9 / (ended_ns - began_ns) as f64,
        cpu_ns_each: times.iter().map(|(.., cpu_ns)| *cpu_ns as f64).sum::<f64>() / items,
    }
}

/// What shards beside each other come to.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct SideBySide {
    /// Of all of them.
    pub items_per_s: f64,
    /// What an observation takes of a processor: it tells also where others have most of the time.
    pub cpu_ns_each: f64,
}

/// What this thread has had of its processor.
fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn observation(producer: u64, nth: u64, vector: &Bytes) -> StoreRequest {
    let episode = Episode {
        id: format!("{producer}-{nth:09}").into(),
        vector: vector.clone(),
        text: Bytes::from_static(TEXT),
        happened_at_us: None,
        confidence: Confidence::CERTAIN,
        metadata: Bytes::new(),
        thread: Bytes::new(),
        links: Vec::new(),
    };
    StoreRequest {
        space: SPACE,
        episode,
        key: Bytes::new(),
        dedup: false,
        ttl: Ttl::Space,
        priority: Priority::Normal,
        durability: Durability::Disk,
        writer_uid: 0,
    }
}

fn send_observations(sender: &Sender<Asked>, producer: u64, count: u64) {
    let vector = Bytes::from(1_f32.to_le_bytes().repeat(DIMENSIONS as usize));
    for nth in 0..count {
        let store = observation(producer, nth, &vector);
        let mut asked = Asked { request: Request::Store(Box::new(store)), at_ns: monotonic_ns() };
        while let Err(refused) = sender.send(Rank::Normal, asked) {
            sender.wake();
            std::thread::yield_now();
            asked = Asked { at_ns: monotonic_ns(), ..refused };
        }
        if nth % SENT_AT_ONCE == 0 {
            sender.wake();
        }
    }
    sender.wake();
}

async fn consume_observations(
    mut inbox: Inbox<Asked, Asked>,
    mut memory: Option<Memory>,
    items: u64,
) -> Figures {
    let mut tally = Tally::begin();
    while tally.items < items {
        poll_fn(|context| inbox.poll_ready(context)).await;
        tally.now_ns = monotonic_ns();
        for _ in 0..TURN_ITEMS_MAX {
            let Some((rank, item)) = inbox.take(tally.now_ns) else { break };
            let (Taken::Own(asked) | Taken::Sent(asked)) = item;
            if let (Some(memory), Request::Store(store)) = (&mut memory, &asked.request) {
                memory.store(store);
            }
            inbox.served(rank, asked.units());
            tally.note_latency(asked.at_ns);
            tally.items += 1;
        }
    }
    tally.end()
}

/// What a shard does to store an episode, but for its log.
struct Memory {
    arena: Arena,
    space: Space,
    sequence: u64,
    payload: Vec<u8>,
}

impl Memory {
    fn new(episodes: u64) -> Self {
        let bytes = episodes * EPISODE_BYTES_MAX;
        let mut arena = Arena::reserve(2 * bytes, &|_| {}).expect("so much address space");
        arena.prefault(bytes).expect("so much memory");
        let settings = SpaceSettings::usual("observed", DIMENSIONS);
        Self { arena, space: Space::new(SPACE, settings), sequence: 0, payload: Vec::new() }
    }

    fn store(&mut self, request: &StoreRequest) {
        let Self { arena, space, sequence, payload } = self;
        let norm = check_vector(&space.settings, &request.episode.vector);
        let (sizes, bytes) = store_sizes(request);
        payload.resize(bytes, 0);
        let facts = StoreFacts::lasting(norm.expect("it has the dimensions"));
        encode_store(request, sizes, facts, payload);
        *sequence += 1;
        let head = FrameHead {
            operation: Operation::Store as u16,
            recorded_at_us: wall_us(),
            happened_at_us: 0,
            writer_uid: request.writer_uid,
        };
        let frame = Frame { sequence: *sequence, head, payload: payload.as_slice() };
        let store = StorePayload::decode(frame.payload).expect("it was just encoded");
        space.insert(arena, &frame, &store);
        space.code(arena, CATCH_UP_ROWS);
    }
}
