//! Lanes between shards, and the way back for answers.
//!
//! Every shard has an [inbox](crate::inbox), into which all others send requests. Answers go back
//! in rings with one producer and one consumer, one for every ordered pair of shards. Messages go
//! by value. A shard has one waker, shared by all who send to it; senders collect messages during a
//! turn and wake once at its end.
//!
//! An answer always finds room: a shard has at most [`OPEN_MAX`] requests open with each peer, the
//! ring of answers from that peer has as many slots, and every request is answered once.

use std::task::{Context, Poll};

use rtrb::{Consumer, Producer, RingBuffer};

use crate::inbox::{Depth, Inbox, Rank, Sender, Taken, Waits};

/// Requests that a shard may have open with another.
pub const OPEN_MAX: usize = 4096;

/// A request on its way. The number is the sender's name for it.
#[derive(Debug)]
pub struct Asked<Q> {
    pub from: usize,
    pub call: u32,
    pub request: Q,
}

impl<Q: Waits> Waits for Asked<Q> {
    fn at_ns(&self) -> u64 {
        self.request.at_ns()
    }

    fn units(&self) -> u32 {
        self.request.units()
    }
}

/// What a shard has of another.
#[derive(Debug)]
struct Peer<Q, A> {
    requests: Sender<Asked<Q>>,
    answers_out: Producer<(u32, A)>,
    answers_in: Consumer<(u32, A)>,
    /// Something was sent since it was woken.
    is_dirty: bool,
    /// Requests sent and not answered.
    open: usize,
}

/// Why a request was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The lane it was to wait in.
    Lane,
    /// So many requests are open with that shard.
    Open,
}

/// What one shard has of the mesh before its thread has begun. `Q` are requests, `A` answers.
#[derive(Debug)]
pub struct Ends<Q, A> {
    own: usize,
    inbox: Sender<Asked<Q>>,
    peers: Vec<Option<Peer<Q, A>>>,
}

/// All that one shard has of the mesh; `O` is what it asks itself.
#[derive(Debug)]
pub struct Lanes<Q, A, O> {
    own: usize,
    pub inbox: Inbox<Asked<Q>, O>,
    peers: Vec<Option<Peer<Q, A>>>,
}

impl<Q: Waits, A> Ends<Q, A> {
    /// To be called on the thread that serves.
    pub fn serve<O: Waits>(self) -> Lanes<Q, A, O> {
        let Self { own, inbox, peers } = self;
        Lanes { own, inbox: Inbox::behind(inbox), peers }
    }
}

/// The ends of so many shards, with room for so many units in each lane.
pub fn connect<Q: Waits, A>(shards: usize, capacity: u32) -> Vec<Ends<Q, A>> {
    let mut all: Vec<Ends<Q, A>> = (0..shards)
        .map(|own| Ends {
            own,
            inbox: Sender::new(capacity),
            peers: (0..shards).map(|_| None).collect(),
        })
        .collect();
    for a in 0..shards {
        for b in 0..a {
            let (from_a, to_b) = RingBuffer::new(OPEN_MAX);
            let (from_b, to_a) = RingBuffer::new(OPEN_MAX);
            let ends = [(a, b, from_a, to_a), (b, a, from_b, to_b)];
            for (own, peer, answers_out, answers_in) in ends {
                let requests = all[peer].inbox.clone();
                let (is_dirty, open) = (false, 0);
                all[own].peers[peer] =
                    Some(Peer { requests, answers_out, answers_in, is_dirty, open });
            }
        }
    }
    all
}

impl<Q: Waits, A, O: Waits> Lanes<Q, A, O> {
    /// Shards in all, this one included.
    pub fn shards(&self) -> usize {
        self.peers.len()
    }

    fn peer(&mut self, peer: usize) -> &mut Peer<Q, A> {
        self.peers[peer].as_mut().expect("no shard has a lane to itself")
    }

    /// Sends a request; gives it back when there is no room.
    pub fn request(
        &mut self,
        peer: usize,
        call: u32,
        rank: Rank,
        request: Q,
    ) -> Result<Depth, (Full, Q)> {
        let from = self.own;
        let peer = self.peer(peer);
        if peer.open == OPEN_MAX {
            return Err((Full::Open, request));
        }
        match peer.requests.send(rank, Asked { from, call, request }) {
            Ok(depth) => {
                peer.open += 1;
                peer.is_dirty = true;
                Ok(depth)
            }
            Err(Asked { request, .. }) => Err((Full::Lane, request)),
        }
    }

    /// Sends the answer to a request that came from this peer.
    pub fn answer(&mut self, peer: usize, call: u32, answer: A) {
        let peer = self.peer(peer);
        let sent = peer.answers_out.push((call, answer));
        assert!(sent.is_ok(), "the peer has no more requests open than this ring has slots");
        peer.is_dirty = true;
    }

    /// Wakes every peer that something was sent to.
    pub fn wake_peers(&mut self) {
        for peer in self.peers.iter_mut().flatten() {
            if std::mem::take(&mut peer.is_dirty) {
                peer.requests.wake();
            }
        }
    }

    /// The next answer, if there is one, with the call it is for; peer after peer.
    pub fn take_answer(&mut self) -> Option<(u32, A)> {
        let peers = self.peers.iter_mut().flatten();
        peers.into_iter().find_map(|peer| {
            let answer = peer.answers_in.pop().ok()?;
            peer.open -= 1;
            Some(answer)
        })
    }

    /// The next request, as of [`Inbox::take`].
    pub fn take_request(&mut self, now_ns: u64) -> Option<(Rank, Taken<Asked<Q>, O>)> {
        self.inbox.take(now_ns)
    }

    /// Ready when something came in; otherwise this task is woken then.
    pub fn poll_ready(&self, context: &Context<'_>) -> Poll<()> {
        // First the inbox: it notes who is to be woken.
        let requests = self.inbox.poll_ready(context);
        match self.peers.iter().flatten().any(|peer| !peer.answers_in.is_empty()) {
            true => Poll::Ready(()),
            false => requests,
        }
    }
}
