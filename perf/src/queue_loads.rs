//! Loads on a queue: producers that share one processor, and a consumer that has another.
//!
//! The consumer spins. Producers spin while they wait if there is one, and give their processor to
//! the next if there are more. Latency is from an offer that was taken to the item being out of the
//! queue. As fast as it goes, every [`SAMPLED_EVERY`]th item is timed, because reading the clock
//! costs as much as passing an item; at a rate, all are.
//!
//! The runtime's channel joins two executors and cannot be asked without waiting. Like a ring it
//! has one producer, so its consumer has a task for each and sleeps when all are empty. One task
//! for all of them would not do: whoever asks an empty channel leaves a waker in it each time.

use std::cell::RefCell;
use std::hint::spin_loop;
use std::rc::Rc;
use std::sync::{Arc, Barrier};

use engramd::clock::monotonic_ns;
use engramd::runtime::{Breath, Pinned, spawn_pinned};
use engramd::topology::{Topology, place};
use glommio::channels::shared_channel::{ConnectedReceiver, ConnectedSender, new_bounded};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::queues::{Item, Queue, SLOTS, Sends, Takes};

pub const SAMPLED_EVERY: u64 = 64;
/// Longer latencies are counted as this long.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// Items that are taken of one of the runtime's channels before the others are looked at.
const IN_A_ROW_MAX: u32 = 64;

/// What producers do together.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub producers: usize,
    pub items: u64,
    /// As fast as it goes if none.
    pub items_per_s: Option<u32>,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub struct Latency {
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
}

impl From<&Histogram<u64>> for Latency {
    fn from(ns: &Histogram<u64>) -> Self {
        let [p50_us, p99_us, p999_us] =
            [0.5, 0.99, 0.999].map(|share| ns.value_at_quantile(share) as f64 / 1e3);
        Self { p50_us, p99_us, p999_us }
    }
}

/// One run, or the median of each figure over several.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Figures {
    pub items_per_s: f64,
    pub latency: Latency,
}

impl Figures {
    pub fn median(runs: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| {
            let mut all: Vec<f64> = runs.iter().map(figure).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        Self {
            items_per_s: of(|run| run.items_per_s),
            latency: Latency {
                p50_us: of(|run| run.latency.p50_us),
                p99_us: of(|run| run.latency.p99_us),
                p999_us: of(|run| run.latency.p999_us),
            },
        }
    }
}

pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("the bounds and three digits are valid")
}

/// What a consumer counts.
#[derive(Debug)]
pub struct Tally {
    pub items: u64,
    began_ns: u64,
    pub now_ns: u64,
    pub latency_ns: Histogram<u64>,
}

impl Tally {
    pub fn begin() -> Self {
        let latency_ns = histogram();
        let now_ns = monotonic_ns();
        Self { items: 0, began_ns: now_ns, now_ns, latency_ns }
    }

    pub fn note(&mut self, item: &Item) {
        self.items += 1;
        if item.is_sampled {
            self.now_ns = monotonic_ns();
            self.note_latency(item.at_ns);
        }
    }

    /// Of what was sent then and is here now.
    pub fn note_latency(&mut self, at_ns: u64) {
        self.latency_ns.saturating_record(self.now_ns.saturating_sub(at_ns));
    }

    pub fn end(&self) -> Figures {
        let elapsed_s = (monotonic_ns() - self.began_ns) as f64 / 1e9;
        let latency = Latency::from(&self.latency_ns);
        Figures { items_per_s: self.items as f64 / elapsed_s, latency }
    }
}

/// The processors of the consumer and of all producers, as the daemon would choose for two shards.
pub fn cpus() -> [usize; 2] {
    let topology = Topology::of_this_machine().expect("a machine to run on");
    let seats = place(&topology, 2).seats;
    [seats[0].cpu, seats[1].cpu]
}

pub fn join<T: Send>(thread: Pinned<T>) -> T {
    thread.join().expect("the thread ends")
}

/// Runs a load through a queue.
pub fn run<Q: Queue>(load: Load) -> Figures {
    let [consuming, producing] = cpus();
    let (senders, mut taker) = Q::connect(load.producers);
    let start = Arc::new(Barrier::new(load.producers + 1));
    let producers: Vec<_> = senders
        .into_iter()
        .map(|sender| {
            let start = Arc::clone(&start);
            let produce = move || async move { produce(load, &start, sender) };
            spawn_pinned("producer", producing, produce).expect("an executor")
        })
        .collect();
    let consumer = spawn_pinned("consumer", consuming, move || async move {
        start.wait();
        let mut tally = Tally::begin();
        while tally.items < load.share() * load.producers as u64 {
            match taker.receive(tally.now_ns) {
                Some(item) => tally.note(&item),
                None => spin_loop(),
            }
        }
        tally.end()
    });
    let figures = join(consumer.expect("an executor"));
    producers.into_iter().for_each(join);
    figures
}

impl Load {
    /// Items of each producer.
    fn share(self) -> u64 {
        self.items / self.producers as u64
    }

    /// Whoever shares a processor lets others go on.
    fn wait(self) {
        match self.producers {
            1 => spin_loop(),
            _ => std::thread::yield_now(),
        }
    }
}

fn produce(load: Load, start: &Barrier, mut sender: impl Sends) {
    let interval_ns = load
        .items_per_s
        .map(|items_per_s| load.producers as u64 * 1_000_000_000 / u64::from(items_per_s));
    start.wait();
    let began_ns = monotonic_ns();
    let mut now_ns = began_ns;
    for nth in 0..load.share() {
        if let Some(interval_ns) = interval_ns {
            while monotonic_ns() < began_ns + nth * interval_ns {
                load.wait();
            }
        }
        let is_sampled = interval_ns.is_some() || nth % SAMPLED_EVERY == 0;
        loop {
            if is_sampled {
                now_ns = monotonic_ns();
            }
            if sender.offer(Item::new(now_ns, is_sampled)) {
                break;
            }
            sender.flush();
            load.wait();
        }
        if is_sampled {
            sender.flush();
        }
    }
    sender.flush();
}

/// One end of the runtime's channel on its executor.
#[derive(Debug)]
pub struct RuntimeSender(pub ConnectedSender<Item>);

impl Sends for RuntimeSender {
    fn offer(&mut self, item: Item) -> bool {
        self.0.try_send(item).is_ok()
    }
}

/// Runs a load through the runtime's channels, one for each producer.
pub fn run_runtime_channel(load: Load) -> Figures {
    let [consuming, producing] = cpus();
    let start = Arc::new(Barrier::new(load.producers + 1));
    let (mut producers, mut receivers) = (Vec::new(), Vec::new());
    for _ in 0..load.producers {
        let (sender, receiver) = new_bounded(SLOTS / load.producers);
        let start = Arc::clone(&start);
        let produce = move || async move {
            let sender = RuntimeSender(sender.connect().await);
            produce(load, &start, sender);
        };
        producers.push(spawn_pinned("producer", producing, produce).expect("an executor"));
        receivers.push(receiver);
    }
    let consumer = spawn_pinned("consumer", consuming, move || async move {
        let mut channels = Vec::new();
        for receiver in receivers {
            channels.push(receiver.connect().await);
        }
        let tally = Rc::new(RefCell::new(Tally::begin()));
        let breath = (channels.len() > 1).then(|| Breath::new().expect("an event counter"));
        let breath = Rc::new(breath);
        let drain =
            |channel| glommio::spawn_local(drain(channel, Rc::clone(&tally), Rc::clone(&breath)));
        let tasks: Vec<_> = channels.into_iter().map(drain).collect();
        start.wait();
        for task in tasks {
            task.await;
        }
        tally.borrow().end()
    });
    let figures = join(consumer.expect("an executor"));
    producers.into_iter().for_each(join);
    figures
}

/// Takes what comes through one channel until its producer is done. Where there are others, they
/// are looked at now and then, which takes the reactor.
async fn drain(
    channel: ConnectedReceiver<Item>,
    tally: Rc<RefCell<Tally>>,
    breath: Rc<Option<Breath>>,
) {
    let mut in_a_row = 0;
    while let Some(item) = channel.recv().await {
        tally.borrow_mut().note(&item);
        in_a_row += 1;
        if let Some(breath) = &*breath
            && in_a_row == IN_A_ROW_MAX
        {
            breath.breathe().await;
            in_a_row = 0;
        }
    }
}
