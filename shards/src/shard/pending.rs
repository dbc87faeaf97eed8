//! Writes that were taken and are not durable: who waits for them, and how far they are.

use bytes::Bytes;

use super::Ticket;
use crate::episode::{Confidence, Durability, SpaceNumber};
use crate::keys::{FirstAnswer, KeyHash};
use crate::memory::Applied;

/// A write that was taken and is not durable.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) sequence: u64,
    pub(super) owner: Owner,
    pub(super) durability: Durability,
    pub(super) progress: Progress,
    /// What it would be repeated by.
    pub(super) key: Option<KeyHash>,
    /// The episode that it stores or takes away, if it does.
    pub(super) about: Option<About>,
    /// Stores that repeated its key, or its content, meanwhile: they write nothing and are answered
    /// when it is durable.
    pub(super) followers: Vec<Ticket>,
}

/// What a write makes of an episode.
#[derive(Debug, Clone, Copy)]
pub(super) struct About {
    /// Its space and id.
    pub(super) episode: KeyHash,
    /// What it is stored as, where another store may ask for the same.
    pub(super) content: Option<(KeyHash, FirstAnswer)>,
}

/// Who waits for a frame.
#[derive(Debug)]
pub(super) enum Owner {
    Caller(Ticket),
    /// The forget that an erase begins with: the answer comes when the bytes are gone.
    Erase {
        ticket: Ticket,
        space: SpaceNumber,
        id: Bytes,
    },
    /// Nobody: the shard looks for itself, if anything looks.
    Shard,
}

impl Owner {
    pub(super) fn ticket(&self) -> Option<Ticket> {
        match self {
            Self::Caller(ticket) | Self::Erase { ticket, .. } => Some(*ticket),
            Self::Shard => None,
        }
    }
}

#[derive(Debug)]
pub(super) enum Progress {
    Logged,
    Applied(Option<Applied>),
    /// Before it is durable: the request asked for no more than being written.
    Answered,
}

/// How a frame is admitted.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) owner: Owner,
    pub(super) durability: Durability,
    pub(super) uses_reserve: bool,
    pub(super) is_patient: bool,
    pub(super) key: Option<KeyHash>,
    pub(super) about: Option<KeyHash>,
    pub(super) content: Option<(KeyHash, Confidence)>,
}

impl Admission {
    pub(super) fn of(owner: Owner, durability: Durability) -> Self {
        Self {
            owner,
            durability,
            uses_reserve: false,
            is_patient: false,
            key: None,
            about: None,
            content: None,
        }
    }

    /// Leaves the log to what is urgent while it is backed up.
    pub(super) fn patient(self, is_patient: bool) -> Self {
        Self { is_patient, ..self }
    }

    /// Stores an episode or takes it away.
    pub(super) fn about(self, space: SpaceNumber, id: &[u8]) -> Self {
        Self { about: Some(KeyHash::of_episode(space, id)), ..self }
    }

    /// What makes room, or ends something, is also taken when the disk is full.
    pub(super) fn using_reserve(self) -> Self {
        Self { uses_reserve: true, ..self }
    }
}
