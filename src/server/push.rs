//! Messages that answer no command, on their way out of a connection.
//!
//! They stand in a queue of their own beside the replies; the writer takes from both in turn, and
//! always whole ones. What may wait is bounded by who pushes: see
//! [`Pushes::has_room`].

use std::collections::VecDeque;
use std::rc::Rc;

use engram_shards::episode::{Refusal, StoredEpisode};

use super::budget::Held;
use super::client::Client;
use super::observe::Stream;
use crate::protocol::{Encoder, reply};

/// Messages of watches are added until they have so many bytes together.
const BYTES_WAITING: usize = 1 << 20;
/// No command is taken while more bytes wait: whoever sends much that is refused has to read why.
const BYTES_STOP: usize = 2 * BYTES_WAITING;
/// What a message counts without the parts of an episode.
const MESSAGE_BYTES: usize = 256;

/// A message on its way out.
#[derive(Debug)]
pub(super) enum Push {
    /// An episode for a watch, and what it holds of the bound on replies.
    Episode { watch: u64, shard: usize, episode: Box<StoredEpisode>, held: Held },
    /// The end of a watch.
    Cut { watch: u64, reason: String, at: Vec<(usize, u64)> },
    /// What a stream has to tell when its turn comes.
    Told(Rc<Stream>),
    /// An observation for a stream that is not there.
    Refused { stream: u64, refusal: Refusal },
}

impl Push {
    fn bytes(&self) -> usize {
        let parts = match self {
            Self::Episode { episode, .. } => episode.optional_bytes(),
            Self::Cut { reason, .. } => reason.len(),
            Self::Told(_) | Self::Refused { .. } => 0,
        };
        MESSAGE_BYTES + parts
    }

    /// Appends the message to what is to be written to the client. Comes back when it has more to
    /// say.
    pub(super) fn encode(
        self,
        client: &Client,
        out: &mut Vec<u8>,
        held: &mut Vec<Held>,
    ) -> Option<Self> {
        let mut encoder = Encoder::new(out, client.version.get());
        match self {
            Self::Episode { watch, shard, episode, held: own } => {
                reply::watched(&mut encoder, watch, shard, &episode);
                held.push(own);
            }
            Self::Cut { watch, reason, at } => reply::cut(&mut encoder, watch, &reason, &at),
            Self::Told(stream) => return stream.tell(&mut encoder).then_some(Self::Told(stream)),
            // Such observations have no number.
            Self::Refused { stream, refusal } => reply::refused(&mut encoder, stream, 0, &refusal),
        }
        None
    }
}

/// See the top of the file.
#[derive(Debug, Default)]
pub(super) struct Pushes {
    queue: VecDeque<Push>,
    bytes: usize,
}

impl Pushes {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether watches may add to it.
    pub(super) fn has_room(&self) -> bool {
        self.bytes < BYTES_WAITING
    }

    /// Whether no more commands are to be taken.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= BYTES_STOP
    }

    pub(super) fn push(&mut self, push: Push) {
        self.bytes += push.bytes();
        self.queue.push_back(push);
    }

    pub(super) fn pop(&mut self) -> Option<Push> {
        let push = self.queue.pop_front()?;
        self.bytes -= push.bytes();
        Some(push)
    }

    /// Takes back what a watch has sent and nobody has written: shards and sequences, in order.
    pub(super) fn take_back(&mut self, of: u64) -> Vec<(usize, u64)> {
        let mut taken = Vec::new();
        let bytes = &mut self.bytes;
        self.queue.retain(|push| {
            let Push::Episode { watch, shard, episode, .. } = push else { return true };
            let is_kept = *watch != of;
            if !is_kept {
                *bytes -= push.bytes();
                taken.push((*shard, episode.sequence.0));
            }
            is_kept
        });
        taken
    }
}
