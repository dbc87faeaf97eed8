//! A reply on its way out, and how each kind is encoded.

use bytes::Bytes;
use engram_shards::episode::Refusal;
use engram_shards::shard::Reply;

use super::budget::Held;
use super::client::Client;
use super::request::Answer;
use crate::protocol::reply::StoredBeside;
use crate::protocol::{Encoder, ProtocolVersion, reply};

/// What a reply counts without the parts of an episode.
const REPLY_BYTES: usize = 256;

/// A reply on its way out.
pub(super) enum Outgoing {
    Stored {
        assigned: Option<Bytes>,
        result: Answer,
    },
    /// Changes what the connection speaks, from this reply on.
    Hello {
        version: Option<ProtocolVersion>,
    },
    Refused(Refusal),
    Encode(EncodedReply),
    /// Nothing comes after this.
    Last(EncodedReply),
    /// Nothing comes after this, which is said in the words of HTTP.
    OfEdge(Vec<u8>),
}

/// A reply that knows how to encode itself, and what it holds of the bound on replies until it is
/// written.
pub(super) struct EncodedReply {
    encode: Box<dyn FnOnce(&mut Encoder<'_>)>,
    held: Vec<Held>,
    /// What it keeps in memory beyond a few hundred bytes.
    bytes: usize,
}

impl EncodedReply {
    pub(super) fn new(encode: impl FnOnce(&mut Encoder<'_>) + 'static) -> Self {
        Self { encode: Box::new(encode), held: Vec::new(), bytes: 0 }
    }

    pub(super) fn weighing(self, bytes: usize) -> Self {
        Self { bytes, ..self }
    }

    pub(super) fn holding(self, held: Vec<Held>) -> Self {
        Self { held, ..self }
    }
}

impl Outgoing {
    pub(super) fn encoded(encode: impl FnOnce(&mut Encoder<'_>) + 'static) -> Self {
        Self::Encode(EncodedReply::new(encode))
    }

    /// Bytes it keeps in memory, roughly. What holds a share of the shard's bound on replies is
    /// counted there.
    pub(super) fn bytes(&self) -> usize {
        let parts = match self {
            Self::Encode(reply) | Self::Last(reply) => reply.bytes,
            Self::Stored { result: Answer::Episode(Ok(Some(episode))), .. } => {
                episode.optional_bytes()
            }
            _ => 0,
        };
        REPLY_BYTES + parts
    }

    /// Appends the reply to what is to be written to the client; what it holds of the bound on
    /// replies goes to `held`. Whether it was the last.
    pub(super) fn encode(self, client: &Client, out: &mut Vec<u8>, held: &mut Vec<Held>) -> bool {
        if let Self::Hello { version: Some(version) } = &self {
            client.version.set(*version);
        }
        let is_last = matches!(self, Self::Last(_) | Self::OfEdge(_));
        let mut encoder = Encoder::new(out, client.version.get());
        match self {
            Self::Stored { assigned, result } => {
                encode_answer(&mut encoder, assigned.as_deref(), &result);
            }
            Self::Hello { .. } => {
                let daemon_version = env!("CARGO_PKG_VERSION");
                let (version, id) = (client.version.get(), client.peer.connection);
                reply::hello(&mut encoder, version, daemon_version, id);
            }
            Self::Refused(refusal) => encoder.refusal(&refusal),
            Self::Encode(reply) | Self::Last(reply) => {
                (reply.encode)(&mut encoder);
                held.extend(reply.held);
            }
            Self::OfEdge(bytes) => out.extend_from_slice(&bytes),
        }
        is_last
    }
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outgoing")
    }
}

/// A shard's answer as it stands in a reply.
pub(super) fn encode_answer(encoder: &mut Encoder<'_>, assigned: Option<&[u8]>, answer: &Answer) {
    match answer {
        Answer::Write(Ok(Reply::Stored(activation))) => {
            reply::stored(encoder, assigned, activation, &StoredBeside::default());
        }
        Answer::Stored(stored) => {
            reply::stored(encoder, assigned, &stored.activation, &stored.beside);
        }
        Answer::Write(Ok(Reply::Forgotten { sequence, existed })) => {
            reply::forgotten(encoder, existed.then_some(*sequence));
        }
        Answer::Write(Ok(Reply::Linked(linked))) => reply::linked(encoder, linked, None),
        Answer::Write(Ok(Reply::Unlinked(unlinked))) => {
            reply::unlinked(encoder, unlinked.as_ref());
        }
        Answer::Write(Ok(Reply::Superseded { sequence, is_by })) => {
            reply::superseded(encoder, is_by.map(|is_by| (*sequence, is_by)));
        }
        Answer::Write(Ok(Reply::Reinforced(reinforced))) => {
            reply::reinforced(encoder, reinforced.as_ref());
        }
        Answer::Write(Ok(Reply::Erased { sequence, existed, frames, bytes })) => {
            let (sequence, frames, bytes) = (*sequence, *frames, *bytes);
            reply::erased(encoder, existed.then_some(reply::Erased { sequence, frames, bytes }));
        }
        Answer::Write(Ok(
            Reply::SpaceCreated { .. } | Reply::SpaceDropped | Reply::Consolidated,
        )) => {
            encoder.simple("OK");
        }
        Answer::Write(Ok(
            Reply::SnapshotCut { .. } | Reply::SnapshotCopied(_) | Reply::SnapshotDropped,
        )) => unreachable!("gathered by the task that asked"),
        Answer::Episode(Ok(episode)) => reply::episode(encoder, episode.as_deref()),
        Answer::Write(Err(refusal))
        | Answer::Episode(Err(refusal))
        | Answer::Hits(Err(refusal)) => {
            encoder.refusal(refusal);
        }
        Answer::Hits(Ok(hits)) => reply::recalled(encoder, hits, false),
        Answer::Found(_)
        | Answer::Episodes(_)
        | Answer::Scanned(_)
        | Answer::News(_)
        | Answer::Exchanged(_)
        | Answer::Collected(_)
        | Answer::SpaceStats(_)
        | Answer::Report(_)
        | Answer::Journal(_)
        | Answer::Done(_) => {
            unreachable!("gathered by the task that asked")
        }
    }
}
