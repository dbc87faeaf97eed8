//! Three lanes into one thread, and in which order it serves them.
//!
//! **By weight.** Of 21 turns the high lane has 16, the normal one 4, the low one 1; a lane that
//! has nothing waiting leaves its turns to the others. This is weighted round robin, which needs no
//! clock and bounds every wait: what has `n` items before it in its own lane is served after
//! `(n + 1) · 21 / weight` turns by weight at the latest, however much comes into the others; turns
//! by age come on top, one for three of these at most.
//!
//! **By age.** Whatever has waited longer than the patience of its lane is overdue. Each fourth
//! turn belongs to the lane that is overdue the most, measured by its patience. So an item of the
//! low lane that became overdue, with nothing overdue beside it, goes after three others at the
//! latest.
//!
//! **What does not go.** The server may find that it cannot do what it took, for the time being.
//! It puts it back, and the lane [stalls](Inbox::put_back) until it is [resumed](Inbox::resume).
//! Others go on: an urgent write finds room where others leave some for it.
//!
//! The thread's own requests wait in the same lanes and count to the same depth, but in a queue
//! that nobody else touches. Of these and of those that others sent, the older goes first.

use std::collections::VecDeque;
use std::fmt;
use std::task::{Context, Poll};

use crate::lane::Lane;
use crate::sync::{Arc, AtomicWaker};

/// Which lane something waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rank {
    High,
    #[default]
    Normal,
    Low,
}

impl Rank {
    pub const ALL: [Self; RANKS] = [Self::High, Self::Normal, Self::Low];

    pub fn name(self) -> &'static str {
        ["high", "normal", "low"][self as usize]
    }
}

/// Lanes of an inbox.
pub const RANKS: usize = 3;
/// Turns of each lane in a round.
pub const WEIGHTS: [u32; RANKS] = [16, 4, 1];
/// How long something may wait before it is overdue, in nanoseconds.
pub const PATIENCE_NS: [u64; RANKS] = [1_000_000, 8_000_000, 64_000_000];
/// Every so many turns one belongs to the lane that is overdue the most.
pub const AGED_EVERY: u32 = 4;
/// Of a lane's capacity, one part in so many may be free and not known so to senders.
pub const FREED_SHARE: u32 = 64;
/// From which share of its capacity on a lane counts as crowded, in per cent.
pub const CROWDED_PERCENT: u32 = 80;

/// Something that can wait in a lane.
pub trait Waits {
    /// When it was asked for, on a clock that all threads share.
    fn at_ns(&self) -> u64;
    /// How much of a lane it takes, as of [`Lane::units`].
    fn units(&self) -> u32;
}

/// How crowded a lane is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    pub units: u32,
    pub capacity: u32,
}

impl Depth {
    /// The share of the lane that is taken, 0 to 1.
    pub fn share(self) -> f32 {
        self.units as f32 / self.capacity as f32
    }

    pub fn is_crowded(self) -> bool {
        u64::from(self.units) * 100 > u64::from(self.capacity) * u64::from(CROWDED_PERCENT)
    }
}

/// What all threads share of an inbox.
struct Shared<T> {
    lanes: [Lane<T>; RANKS],
    waker: AtomicWaker,
}

impl<T> Shared<T> {
    /// Reserves room for an item; the depth with it, or nothing where there is none.
    fn reserve(&self, rank: Rank, item: &impl Waits) -> Option<Depth> {
        let lane = &self.lanes[rank as usize];
        let units = lane.reserve(item.units())?;
        Some(Depth { units, capacity: lane.capacity() })
    }
}

impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lanes.iter().map(Lane::depth)).finish()
    }
}

/// The end that any thread may hold.
#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Waits> Sender<T> {
    /// Lanes with room for so many units each. One thread is to [serve](Inbox::behind) them.
    pub fn new(capacity: u32) -> Self {
        let lanes = Rank::ALL.map(|_| Lane::new(capacity));
        Self(Arc::new(Shared { lanes, waker: AtomicWaker::new() }))
    }

    /// Puts an item into a lane, or gives it back when that is full. Nobody is woken: see
    /// [`wake`](Self::wake).
    pub fn send(&self, rank: Rank, item: T) -> Result<Depth, T> {
        let Some(depth) = self.0.reserve(rank, &item) else { return Err(item) };
        self.0.lanes[rank as usize].push(item);
        Ok(depth)
    }

    /// Wakes the thread, once for everything that was sent.
    pub fn wake(&self) {
        self.0.waker.wake();
    }
}

/// What is served next.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken<T, O> {
    /// Another thread sent it.
    Sent(T),
    /// It is the thread's own.
    Own(O),
}

impl<T: Waits, O: Waits> Waits for Taken<T, O> {
    fn at_ns(&self) -> u64 {
        match self {
            Self::Sent(item) => item.at_ns(),
            Self::Own(item) => item.at_ns(),
        }
    }

    fn units(&self) -> u32 {
        match self {
            Self::Sent(item) => item.units(),
            Self::Own(item) => item.units(),
        }
    }
}

/// What an inbox knows of one of its lanes.
#[derive(Debug)]
struct Waiting<T, O> {
    /// The first that others sent; it is out of the queue so that its age can be seen.
    sent: Option<T>,
    /// The thread's own.
    own: VecDeque<O>,
    /// What was put back.
    back: Option<Taken<T, O>>,
    is_stalled: bool,
    /// Nothing was in the queue when it was last asked.
    was_empty: bool,
    /// Units of what was served that senders have not been told of. Telling each would have them
    /// and this thread pass a cache line to and fro for each item.
    freed: u32,
    /// Turns that are left in this round.
    turns: u32,
}

/// The end of the thread that serves. `O` is what it sends to itself, which need not be able to
/// cross threads.
#[derive(Debug)]
pub struct Inbox<T, O> {
    shared: Arc<Shared<T>>,
    waiting: [Waiting<T, O>; RANKS],
    /// Turns since one went by age.
    since_aged: u32,
}

impl<T: Waits, O: Waits> Inbox<T, O> {
    /// An inbox whose lanes have room for so many units each.
    pub fn new(capacity: u32) -> Self {
        Self::behind(Sender::new(capacity))
    }

    /// The only inbox of what is sent there.
    pub fn behind(sender: Sender<T>) -> Self {
        let waiting = Rank::ALL.map(|rank| Waiting {
            sent: None,
            own: VecDeque::new(),
            back: None,
            is_stalled: false,
            was_empty: false,
            freed: 0,
            turns: WEIGHTS[rank as usize],
        });
        Self { shared: sender.0, waiting, since_aged: 0 }
    }

    pub fn sender(&self) -> Sender<T> {
        Sender(Arc::clone(&self.shared))
    }

    /// Puts something of the thread's own into a lane, or gives it back when that is full.
    pub fn send_own(&mut self, rank: Rank, item: O) -> Result<Depth, O> {
        self.free(rank);
        let Some(depth) = self.shared.reserve(rank, &item) else { return Err(item) };
        self.waiting[rank as usize].own.push_back(item);
        Ok(depth)
    }

    pub fn depth(&self, rank: Rank) -> Depth {
        let lane = &self.shared.lanes[rank as usize];
        let units = lane.depth() - self.waiting[rank as usize].freed;
        Depth { units, capacity: lane.capacity() }
    }

    /// What is next, and from which lane; nothing when all lanes are empty or stalled. It counts to
    /// the depth until it is [served](Self::served) or put back.
    pub fn take(&mut self, now_ns: u64) -> Option<(Rank, Taken<T, O>)> {
        let Some(rank) = self.next(now_ns) else {
            Rank::ALL.into_iter().for_each(|rank| self.free(rank));
            return None;
        };
        let waiting = &mut self.waiting[rank as usize];
        waiting.turns = waiting.turns.saturating_sub(1);
        if let Some(back) = waiting.back.take() {
            return Some((rank, back));
        }
        let sent_ns = waiting.sent.as_ref().map(Waits::at_ns);
        let own_ns = waiting.own.front().map(Waits::at_ns);
        let is_own = sent_ns.is_none_or(|sent| own_ns.is_some_and(|own| own <= sent));
        let taken = match is_own {
            true => waiting.own.pop_front().map(Taken::Own),
            false => waiting.sent.take().map(Taken::Sent),
        };
        taken.map(|taken| (rank, taken))
    }

    /// What was taken is done, or on its way: its place in the lane is free. Senders know so soon:
    /// when it is a share of the lane, or nothing is left to [take](Self::take).
    pub fn served(&mut self, rank: Rank, units: u32) {
        let lane = &self.shared.lanes[rank as usize];
        let freed = &mut self.waiting[rank as usize].freed;
        *freed += lane.units(units);
        if *freed > lane.capacity() / FREED_SHARE {
            self.free(rank);
        }
    }

    /// Tells senders what has become free.
    fn free(&mut self, rank: Rank) {
        match std::mem::take(&mut self.waiting[rank as usize].freed) {
            0 => {}
            freed => self.shared.lanes[rank as usize].release(freed),
        }
    }

    /// What was taken cannot be done now. It is the next of its lane, which stalls.
    pub fn put_back(&mut self, rank: Rank, taken: Taken<T, O>) {
        let waiting = &mut self.waiting[rank as usize];
        debug_assert!(waiting.back.is_none(), "one is taken at a time");
        waiting.back = Some(taken);
        waiting.is_stalled = true;
    }

    /// Whether a lane stalled.
    pub fn is_stalled(&self) -> bool {
        self.waiting.iter().any(|waiting| waiting.is_stalled)
    }

    /// Whether nothing waits and nothing is on its way into a lane.
    pub fn is_empty(&self) -> bool {
        Rank::ALL.iter().all(|rank| self.depth(*rank).units == 0)
    }

    /// Lanes that stalled are tried again.
    pub fn resume(&mut self) {
        self.waiting.iter_mut().for_each(|waiting| waiting.is_stalled = false);
    }

    /// Ready when something waits in a lane that is not stalled; otherwise this task is woken when
    /// somebody has sent something.
    pub fn poll_ready(&self, context: &Context<'_>) -> Poll<()> {
        self.shared.waker.register(context.waker());
        let has_some = |(waiting, lane): (&Waiting<T, O>, &Lane<T>)| {
            let is_empty = waiting.sent.is_none() && waiting.own.is_empty() && lane.is_empty();
            !waiting.is_stalled && (waiting.back.is_some() || !is_empty)
        };
        match self.waiting.iter().zip(&self.shared.lanes).any(has_some) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// When the first of a lane was asked for, if it has one that may go.
    fn first_ns(&mut self, rank: Rank) -> Option<u64> {
        let waiting = &mut self.waiting[rank as usize];
        if waiting.is_stalled {
            return None;
        }
        let lane = &self.shared.lanes[rank as usize];
        // To ask is cheap while nothing comes; to take has a fence when there is nothing.
        if waiting.sent.is_none() && !(waiting.was_empty && lane.is_empty()) {
            waiting.sent = lane.pop();
            waiting.was_empty = waiting.sent.is_none();
        }
        let back_ns = waiting.back.as_ref().map(Waits::at_ns);
        let sent_ns = waiting.sent.as_ref().map(Waits::at_ns);
        let own_ns = waiting.own.front().map(Waits::at_ns);
        back_ns.or_else(|| sent_ns.into_iter().chain(own_ns).min())
    }

    /// The lane whose turn it is.
    fn next(&mut self, now_ns: u64) -> Option<Rank> {
        let first_ns = Rank::ALL.map(|rank| self.first_ns(rank));
        self.since_aged = (self.since_aged + 1).min(AGED_EVERY);
        if self.since_aged == AGED_EVERY
            && let Some(rank) = most_overdue(&first_ns, now_ns)
        {
            self.since_aged = 0;
            return Some(rank);
        }
        let has_some = |rank: &Rank| first_ns[*rank as usize].is_some();
        for _ in 0..2 {
            let with_turns = |rank: &Rank| has_some(rank) && self.waiting[*rank as usize].turns > 0;
            if let Some(rank) = Rank::ALL.into_iter().find(with_turns) {
                return Some(rank);
            }
            for (waiting, weight) in self.waiting.iter_mut().zip(WEIGHTS) {
                waiting.turns = weight;
            }
        }
        None
    }
}

/// The lane whose first has waited longest beyond its patience, measured by that.
fn most_overdue(first_ns: &[Option<u64>; RANKS], now_ns: u64) -> Option<Rank> {
    let waited = |rank: Rank| {
        let waited_ns = now_ns.saturating_sub(first_ns[rank as usize]?);
        let patience_ns = PATIENCE_NS[rank as usize];
        (waited_ns > patience_ns).then(|| (waited_ns as f64 / patience_ns as f64, rank))
    };
    let overdue = Rank::ALL.into_iter().filter_map(waited);
    overdue.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, rank)| rank)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::mem::{align_of, offset_of};
    use std::ops::Range;

    use super::*;

    /// A line that two threads write goes to and fro between their processors.
    const CACHE_LINE_BYTES: usize = 64;

    fn lines(at: usize, bytes: usize) -> Range<usize> {
        at / CACHE_LINE_BYTES..(at + bytes).div_ceil(CACHE_LINE_BYTES)
    }

    #[test]
    fn what_different_threads_write_shares_no_cache_line() {
        type OfLanes = Shared<[u64; 7]>;
        assert!(align_of::<OfLanes>().is_multiple_of(CACHE_LINE_BYTES));
        let lanes = lines(offset_of!(OfLanes, lanes), size_of::<[Lane<[u64; 7]>; RANKS]>());
        let waker = lines(offset_of!(OfLanes, waker), size_of::<AtomicWaker>());
        assert!(lanes.end <= waker.start || waker.end <= lanes.start, "{lanes:?} {waker:?}");
        let [depth, others @ ..] = Lane::<[u64; 7]>::parts();
        let depth = lines(depth.start, depth.len());
        for other in others {
            let other = lines(other.start, other.len());
            assert!(depth.end <= other.start || other.end <= depth.start, "{depth:?} {other:?}");
        }
        // Each lane begins with a line of its own, and so do the two indices of its queue.
        assert!(size_of::<Lane<[u64; 7]>>().is_multiple_of(CACHE_LINE_BYTES));
        assert!(align_of::<crate::sync::ArrayQueue<[u64; 7]>>() >= CACHE_LINE_BYTES);
        assert!(size_of::<crate::sync::ArrayQueue<[u64; 7]>>() > 2 * CACHE_LINE_BYTES);
    }
}
