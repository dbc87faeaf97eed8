//! Lanes: how shards hand each other work.
//!
//! Between every ordered pair of shards lie two bounded rings, each with one producer and one
//! consumer, without locks: one for requests, one for answers. Messages go by value. A shard has
//! one waker, shared by all who send to it; senders collect messages during a turn and wake once at
//! its end.
//!
//! An answer always finds room: a shard has at most [`LANE_SLOTS`] requests open with each peer,
//! the ring of answers from that peer has as many slots, and every request is answered once.

use std::sync::Arc;
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;
use rtrb::{Consumer, Producer, RingBuffer};

/// Requests that a shard may have open with another.
pub const LANE_SLOTS: usize = 4096;

/// What travels in the rings: `Q` to the peer, `A` back. The number is the sender's name for the
/// request.
#[derive(Debug)]
pub struct Message<M> {
    pub call: u32,
    pub body: M,
}

/// The lanes of one shard to one peer.
#[derive(Debug)]
struct Lane<Q, A> {
    requests_out: Producer<Message<Q>>,
    answers_out: Producer<Message<A>>,
    requests_in: Consumer<Message<Q>>,
    answers_in: Consumer<Message<A>>,
    peer: Arc<AtomicWaker>,
    /// Something was sent since the peer was woken.
    is_dirty: bool,
    /// Requests sent and not answered.
    open: usize,
}

/// All lanes of one shard. The lane to itself does not exist.
#[derive(Debug)]
pub struct Lanes<Q, A> {
    lanes: Vec<Option<Lane<Q, A>>>,
    waker: Arc<AtomicWaker>,
}

/// What came in.
#[derive(Debug)]
pub enum Incoming<Q, A> {
    Request { from: usize, call: u32, request: Q },
    Answer { from: usize, call: u32, answer: A },
}

/// The lanes of `shards` shards, one [`Lanes`] for each.
pub fn connect<Q, A>(shards: usize) -> Vec<Lanes<Q, A>> {
    let wakers: Vec<_> = (0..shards).map(|_| Arc::new(AtomicWaker::new())).collect();
    let mut all: Vec<Lanes<Q, A>> = wakers
        .iter()
        .map(|waker| Lanes { lanes: (0..shards).map(|_| None).collect(), waker: Arc::clone(waker) })
        .collect();
    for a in 0..shards {
        for b in 0..a {
            let (a_requests, b_receives) = RingBuffer::new(LANE_SLOTS);
            let (b_requests, a_receives) = RingBuffer::new(LANE_SLOTS);
            let (a_answers, b_learns) = RingBuffer::new(LANE_SLOTS);
            let (b_answers, a_learns) = RingBuffer::new(LANE_SLOTS);
            all[a].lanes[b] = Some(Lane {
                requests_out: a_requests,
                answers_out: a_answers,
                requests_in: a_receives,
                answers_in: a_learns,
                peer: Arc::clone(&wakers[b]),
                is_dirty: false,
                open: 0,
            });
            all[b].lanes[a] = Some(Lane {
                requests_out: b_requests,
                answers_out: b_answers,
                requests_in: b_receives,
                answers_in: b_learns,
                peer: Arc::clone(&wakers[a]),
                is_dirty: false,
                open: 0,
            });
        }
    }
    all
}

impl<Q, A> Lanes<Q, A> {
    /// Shards in all, this one included.
    pub fn shards(&self) -> usize {
        self.lanes.len()
    }

    fn lane(&mut self, peer: usize) -> &mut Lane<Q, A> {
        self.lanes[peer].as_mut().expect("no shard has a lane to itself")
    }

    /// Sends a request; gives it back when the lane is full.
    pub fn request(&mut self, peer: usize, call: u32, request: Q) -> Result<(), Q> {
        let lane = self.lane(peer);
        if lane.open == LANE_SLOTS {
            return Err(request);
        }
        let sent = lane.requests_out.push(Message { call, body: request });
        assert!(sent.is_ok(), "fewer requests are open than the ring has slots");
        lane.open += 1;
        lane.is_dirty = true;
        Ok(())
    }

    /// Sends the answer to a request that came from this peer.
    pub fn answer(&mut self, peer: usize, call: u32, answer: A) {
        let lane = self.lane(peer);
        let sent = lane.answers_out.push(Message { call, body: answer });
        assert!(sent.is_ok(), "the peer has no more requests open than this ring has slots");
        lane.is_dirty = true;
    }

    /// Wakes every peer that something was sent to.
    pub fn wake_peers(&mut self) {
        for lane in self.lanes.iter_mut().flatten() {
            if std::mem::take(&mut lane.is_dirty) {
                lane.peer.wake();
            }
        }
    }

    /// The next message, if there is one: answers before requests, peer after peer.
    pub fn receive(&mut self) -> Option<Incoming<Q, A>> {
        for (from, lane) in self.lanes.iter_mut().enumerate() {
            let Some(lane) = lane else { continue };
            if let Ok(Message { call, body: answer }) = lane.answers_in.pop() {
                lane.open -= 1;
                return Some(Incoming::Answer { from, call, answer });
            }
            if let Ok(Message { call, body: request }) = lane.requests_in.pop() {
                return Some(Incoming::Request { from, call, request });
            }
        }
        None
    }

    /// Ready when something came in; otherwise this task is woken then.
    pub fn poll_ready(&self, context: &Context<'_>) -> Poll<()> {
        self.waker.register(context.waker());
        let waiting =
            |lane: &Lane<Q, A>| !lane.requests_in.is_empty() || !lane.answers_in.is_empty();
        if self.lanes.iter().flatten().any(waiting) { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    #[test]
    fn requests_and_answers_arrive_in_order() {
        let mut lanes = connect::<u32, u32>(3);
        for call in 0..5 {
            lanes[0].request(2, call, call * 10).unwrap();
        }
        for expected in 0..5 {
            let Some(Incoming::Request { from: 0, call, request }) = lanes[2].receive() else {
                panic!("a request");
            };
            assert_eq!((call, request), (expected, expected * 10));
            lanes[2].answer(0, call, request + 1);
        }
        for expected in 0..5 {
            let Some(Incoming::Answer { from: 2, call, answer }) = lanes[0].receive() else {
                panic!("an answer");
            };
            assert_eq!((call, answer), (expected, expected * 10 + 1));
        }
        assert!(lanes.iter_mut().all(|lanes| lanes.receive().is_none()));
    }

    #[test]
    fn a_full_lane_gives_the_request_back_and_answers_always_fit() {
        let mut lanes = connect::<usize, ()>(2);
        for nth in 0..LANE_SLOTS {
            lanes[0].request(1, 0, nth).unwrap();
        }
        assert_eq!(lanes[0].request(1, 0, 7), Err(7));
        while let Some(Incoming::Request { from, call, .. }) = lanes[1].receive() {
            lanes[1].answer(from, call, ());
        }
        assert_eq!(lanes[0].request(1, 0, 7), Err(7), "open until the answer is taken");
        lanes[0].receive().unwrap();
        assert_eq!(lanes[0].request(1, 0, 7), Ok(()));
    }

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_turn_of_messages_wakes_the_peer_once() {
        let mut lanes = connect::<u8, u8>(2);
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        assert!(lanes[1].poll_ready(&Context::from_waker(&waker)).is_pending());
        lanes[0].request(1, 0, 1).unwrap();
        lanes[0].request(1, 1, 2).unwrap();
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        lanes[0].wake_peers();
        lanes[0].wake_peers();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(lanes[1].poll_ready(&Context::from_waker(&waker)).is_ready());
    }

    #[test]
    fn messages_cross_threads_whole() {
        let mut lanes = connect::<Vec<u64>, u64>(2);
        let (mut b, mut a) = (lanes.pop().unwrap(), lanes.pop().unwrap());
        let peer = std::thread::spawn(move || {
            let mut served = 0;
            while served < 10_000 {
                if let Some(Incoming::Request { from, call, request }) = b.receive() {
                    b.answer(from, call, request.iter().sum());
                    served += 1;
                }
            }
        });
        let (mut sent, mut sum) = (0_u64, 0);
        let mut answered = 0;
        while answered < 10_000 {
            if sent < 10_000 && a.request(1, 0, vec![sent; 3]).is_ok() {
                sent += 1;
            }
            while let Some(Incoming::Answer { answer, .. }) = a.receive() {
                sum += answer;
                answered += 1;
            }
        }
        peer.join().unwrap();
        assert_eq!(sum, 3 * (0..10_000).sum::<u64>());
    }
}
