//! How long a consumer that sleeps takes to have an item: from the offer to the item being out.
//!
//! Producer and consumer have a processor each. The producer waits until the consumer has had the
//! item before, and [`PAUSE`] more, in which the consumer goes to sleep: on an executor as the
//! daemon's shards have, or as a thread that blocks. `SegQueue`, `ArrayQueue` and rings wake nobody
//! by themselves; with the waker of ours beside them they would be as quick to wake as it is.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use engram_lanes::inbox::Inbox;
use engramd::clock::monotonic_ns;
use engramd::runtime::spawn_pinned;
use glommio::channels::shared_channel::new_bounded;

use crate::queue_loads::{Figures, RuntimeSender, Tally, cpus, join};
use crate::queues::{Flume, Item, Lanes, Queue, SLOTS, Sends, Std, Takes};

/// Between an item having arrived and the next.
const PAUSE: Duration = Duration::from_micros(200);

/// A consumer that sleeps.
#[derive(Debug, Clone, Copy)]
pub struct Sleeper {
    pub name: &'static str,
    pub on: &'static str,
    /// Wakes it so many times.
    pub run: fn(u64) -> Figures,
}

pub const SLEEPERS: [Sleeper; 7] = [
    Sleeper { name: "ours", on: "executor", run: lanes_on_executor },
    Sleeper { name: "flume", on: "executor", run: flume_on_executor },
    Sleeper { name: "runtime's channel", on: "executor", run: runtime_channel },
    Sleeper { name: "ours", on: "thread", run: lanes_on_thread },
    Sleeper { name: "flume", on: "thread", run: flume_on_thread },
    Sleeper { name: "std sync_channel", on: "thread", run: std_on_thread },
    Sleeper { name: "Mutex<VecDeque>, Condvar", on: "thread", run: locked_on_thread },
];

/// Counts what arrived, where the producer can see it.
struct Arrivals {
    count: u64,
    seen: Arc<AtomicU64>,
    tally: Tally,
}

impl Arrivals {
    fn are_missing(&self) -> bool {
        self.tally.items < self.count
    }

    fn note(&mut self, item: &Item) {
        self.tally.note(item);
        self.seen.store(self.tally.items, Ordering::Release);
    }
}

/// Wakes a consumer so many times. Both ends are made on their own threads.
fn wake<S, Connecting, Consuming>(
    count: u64,
    connect: impl FnOnce() -> Connecting + Send + 'static,
    consume: impl FnOnce(Arrivals) -> Consuming + Send + 'static,
) -> Figures
where
    S: Sends,
    Connecting: Future<Output = S> + 'static,
    Consuming: Future<Output = Arrivals> + 'static,
{
    let [consuming, producing] = cpus();
    let seen = Arc::new(AtomicU64::new(0));
    let consumer = {
        let seen = Arc::clone(&seen);
        let consume = move || consume(Arrivals { count, seen, tally: Tally::begin() });
        spawn_pinned("consumer", consuming, consume).expect("an executor")
    };
    let producer = spawn_pinned("producer", producing, move || async move {
        let mut sender = connect().await;
        for nth in 0..count {
            std::thread::sleep(PAUSE);
            let has_room = sender.offer(Item::new(monotonic_ns(), true));
            assert!(has_room, "one item is under way");
            sender.flush();
            while seen.load(Ordering::Acquire) <= nth {
                spin_loop();
            }
        }
    });
    let arrivals = join(consumer);
    join(producer.expect("an executor"));
    arrivals.tally.end()
}

/// A queue of one sender.
fn pair<Q: Queue>() -> (Q::Sender, Q::Taker) {
    let (mut senders, taker) = Q::connect(1);
    (senders.remove(0), taker)
}

fn lanes_on_executor(count: u64) -> Figures {
    let (sender, mut inbox) = pair::<Lanes>();
    wake(
        count,
        || async { sender },
        |mut arrivals| async move {
            while arrivals.are_missing() {
                poll_fn(|context| inbox.poll_ready(context)).await;
                if let Some(item) = inbox.receive(0) {
                    arrivals.note(&item);
                }
            }
            arrivals
        },
    )
}

fn flume_on_executor(count: u64) -> Figures {
    let (sender, taker) = pair::<Flume>();
    wake(
        count,
        || async { sender },
        |mut arrivals| async move {
            while arrivals.are_missing() {
                arrivals.note(&taker.recv_async().await.expect("the producer is there"));
            }
            arrivals
        },
    )
}

fn runtime_channel(count: u64) -> Figures {
    let (sender, receiver) = new_bounded(SLOTS);
    wake(
        count,
        || async { RuntimeSender(sender.connect().await) },
        |mut arrivals| async move {
            let receiver = receiver.connect().await;
            while arrivals.are_missing() {
                arrivals.note(&receiver.recv().await.expect("the producer is there"));
            }
            arrivals
        },
    )
}

/// A consumer that blocks its thread for each item.
fn block(
    count: u64,
    sender: impl Sends + Send + 'static,
    mut next: impl FnMut() -> Item + Send + 'static,
) -> Figures {
    wake(
        count,
        || async { sender },
        |mut arrivals| async move {
            while arrivals.are_missing() {
                arrivals.note(&next());
            }
            arrivals
        },
    )
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn lanes_on_thread(count: u64) -> Figures {
    let (sender, mut inbox): (_, Inbox<Item, Item>) = pair::<Lanes>();
    block(count, sender, move || {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        while inbox.poll_ready(&Context::from_waker(&waker)).is_pending() {
            std::thread::park();
        }
        inbox.receive(0).expect("it is ready")
    })
}

fn flume_on_thread(count: u64) -> Figures {
    let (sender, taker) = pair::<Flume>();
    block(count, sender, move || taker.recv().expect("the producer is there"))
}

fn std_on_thread(count: u64) -> Figures {
    let (sender, taker) = pair::<Std>();
    block(count, sender, move || taker.recv().expect("the producer is there"))
}

/// A deque behind a lock, and whom to wake.
#[derive(Clone, Default)]
struct Bell(Arc<(Mutex<VecDeque<Item>>, Condvar)>);

impl Sends for Bell {
    fn offer(&mut self, item: Item) -> bool {
        let (queue, bell) = &*self.0;
        queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(item);
        bell.notify_one();
        true
    }
}

fn locked_on_thread(count: u64) -> Figures {
    let bell = Bell::default();
    block(count, bell.clone(), move || {
        let (queue, bell) = &*bell.0;
        let queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = bell.wait_while(queue, |queue| queue.is_empty());
        queue.unwrap_or_else(PoisonError::into_inner).pop_front().expect("it is not empty")
    })
}
