//! The queues that could carry requests into a shard, all behind the same two calls.
//!
//! Each is bounded to [`SLOTS`] items of all senders together, and nothing here waits. `SegQueue`
//! has no bound of its own and gets a reservation before it, as our lanes have. Rings have one
//! producer: every sender has its own, with its share of the slots, and the taker goes round. Ours
//! is all of what the daemon does: the reservation, three lanes, and the choice between them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_queue::{ArrayQueue, SegQueue};
use engram_lanes::inbox::{Inbox, Rank, Sender, Taken, Waits};
use engramd::server;
use rtrb::{Consumer, Producer, RingBuffer};

/// As many as a lane of the daemon has room for.
pub const SLOTS: usize = server::LANE_UNITS as usize;

/// As large as what the daemon's shards ask.
#[derive(Debug, Clone, Copy)]
pub struct Item {
    /// When it was sent, or about when.
    pub at_ns: u64,
    /// Whether that is exact, and its latency counts.
    pub is_sampled: bool,
    _filler: [u8; size_of::<server::Asked>() - 16],
}

const _: () = assert!(size_of::<Item>() == size_of::<server::Asked>());

impl Item {
    pub fn new(at_ns: u64, is_sampled: bool) -> Self {
        Self { at_ns, is_sampled, _filler: [1; _] }
    }
}

impl Waits for Item {
    fn at_ns(&self) -> u64 {
        self.at_ns
    }

    fn units(&self) -> u32 {
        1
    }
}

/// What one thread sends with.
pub trait Sends {
    /// Whether there was room.
    fn offer(&mut self, item: Item) -> bool;

    /// Called after a few items: wakes who takes them, where offering does not.
    fn flush(&mut self) {}
}

/// What one thread takes with.
pub trait Takes {
    /// The next item, if there is one.
    fn receive(&mut self, now_ns: u64) -> Option<Item>;
}

pub trait Queue {
    type Sender: Sends + Send + 'static;
    type Taker: Takes + Send + 'static;

    /// The ends for so many senders and one taker.
    fn connect(senders: usize) -> (Vec<Self::Sender>, Self::Taker);
}

fn share<T: Clone>(sender: T, senders: usize) -> Vec<T> {
    vec![sender; senders]
}

/// crossbeam's list of segments, with a bound.
#[derive(Debug, Default)]
pub struct Segments {
    queue: SegQueue<Item>,
    depth: AtomicUsize,
}

impl Queue for Segments {
    type Sender = Arc<Self>;
    type Taker = Arc<Self>;

    fn connect(senders: usize) -> (Vec<Arc<Self>>, Arc<Self>) {
        let queue = Arc::<Self>::default();
        (share(Arc::clone(&queue), senders), queue)
    }
}

impl Sends for Arc<Segments> {
    fn offer(&mut self, item: Item) -> bool {
        let reserve = |depth| (depth < SLOTS).then_some(depth + 1);
        let (acquire, relaxed) = (Ordering::Acquire, Ordering::Relaxed);
        let has_room = self.depth.fetch_update(acquire, relaxed, reserve).is_ok();
        if has_room {
            self.queue.push(item);
        }
        has_room
    }
}

impl Takes for Arc<Segments> {
    fn receive(&mut self, _now_ns: u64) -> Option<Item> {
        let item = self.queue.pop()?;
        self.depth.fetch_sub(1, Ordering::Release);
        Some(item)
    }
}

/// crossbeam's array of slots.
#[derive(Debug)]
pub struct Array;

impl Queue for Array {
    type Sender = Arc<ArrayQueue<Item>>;
    type Taker = Arc<ArrayQueue<Item>>;

    fn connect(senders: usize) -> (Vec<Self::Sender>, Self::Taker) {
        let queue = Arc::new(ArrayQueue::new(SLOTS));
        (share(Arc::clone(&queue), senders), queue)
    }
}

impl Sends for Arc<ArrayQueue<Item>> {
    fn offer(&mut self, item: Item) -> bool {
        self.push(item).is_ok()
    }
}

impl Takes for Arc<ArrayQueue<Item>> {
    fn receive(&mut self, _now_ns: u64) -> Option<Item> {
        self.pop()
    }
}

/// The bounded channel of flume.
#[derive(Debug)]
pub struct Flume;

impl Queue for Flume {
    type Sender = flume::Sender<Item>;
    type Taker = flume::Receiver<Item>;

    fn connect(senders: usize) -> (Vec<Self::Sender>, Self::Taker) {
        let (sender, taker) = flume::bounded(SLOTS);
        (share(sender, senders), taker)
    }
}

impl Sends for flume::Sender<Item> {
    fn offer(&mut self, item: Item) -> bool {
        self.try_send(item).is_ok()
    }
}

impl Takes for flume::Receiver<Item> {
    fn receive(&mut self, _now_ns: u64) -> Option<Item> {
        self.try_recv().ok()
    }
}

/// The bounded channel of the standard library.
#[derive(Debug)]
pub struct Std;

impl Queue for Std {
    type Sender = SyncSender<Item>;
    type Taker = Receiver<Item>;

    fn connect(senders: usize) -> (Vec<Self::Sender>, Self::Taker) {
        let (sender, taker) = sync_channel(SLOTS);
        (share(sender, senders), taker)
    }
}

impl Sends for SyncSender<Item> {
    fn offer(&mut self, item: Item) -> bool {
        self.try_send(item).is_ok()
    }
}

impl Takes for Receiver<Item> {
    fn receive(&mut self, _now_ns: u64) -> Option<Item> {
        self.try_recv().ok()
    }
}

/// A deque behind a lock.
#[derive(Debug)]
pub struct Locked;

pub type LockedDeque = Arc<Mutex<VecDeque<Item>>>;

impl Queue for Locked {
    type Sender = LockedDeque;
    type Taker = LockedDeque;

    fn connect(senders: usize) -> (Vec<LockedDeque>, LockedDeque) {
        let queue = Arc::new(Mutex::new(VecDeque::with_capacity(SLOTS)));
        (share(Arc::clone(&queue), senders), queue)
    }
}

impl Sends for LockedDeque {
    fn offer(&mut self, item: Item) -> bool {
        let mut queue = self.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = queue.len() < SLOTS;
        if has_room {
            queue.push_back(item);
        }
        has_room
    }
}

impl Takes for LockedDeque {
    fn receive(&mut self, _now_ns: u64) -> Option<Item> {
        self.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// A ring of rtrb for each sender.
#[derive(Debug)]
pub struct Rings {
    rings: Vec<Consumer<Item>>,
    last: usize,
}

impl Queue for Rings {
    type Sender = Producer<Item>;
    type Taker = Self;

    fn connect(senders: usize) -> (Vec<Producer<Item>>, Self) {
        let (senders, rings) = (0..senders).map(|_| RingBuffer::new(SLOTS / senders)).unzip();
        (senders, Self { rings, last: 0 })
    }
}

impl Sends for Producer<Item> {
    fn offer(&mut self, item: Item) -> bool {
        self.push(item).is_ok()
    }
}

impl Takes for Rings {
    fn receive(&mut self, _now_ns: u64) -> Option<Item> {
        let Self { rings, last } = self;
        (0..rings.len()).find_map(|_| {
            *last = (*last + 1) % rings.len();
            rings[*last].pop().ok()
        })
    }
}

/// The daemon's own.
#[derive(Debug)]
pub struct Lanes;

impl Queue for Lanes {
    type Sender = Sender<Item>;
    type Taker = Inbox<Item, Item>;

    fn connect(senders: usize) -> (Vec<Self::Sender>, Self::Taker) {
        let inbox = Inbox::new(SLOTS as u32);
        (share(inbox.sender(), senders), inbox)
    }
}

impl Sends for Sender<Item> {
    fn offer(&mut self, item: Item) -> bool {
        self.send(Rank::Normal, item).is_ok()
    }

    fn flush(&mut self) {
        self.wake();
    }
}

impl Takes for Inbox<Item, Item> {
    fn receive(&mut self, now_ns: u64) -> Option<Item> {
        let (rank, taken) = self.take(now_ns)?;
        self.served(rank, 1);
        let (Taken::Sent(item) | Taken::Own(item)) = taken;
        Some(item)
    }
}
