//! What shards ask each other, and a shard itself.

use std::path::PathBuf;

use bytes::Bytes;
use engram_lanes::inbox::{Rank, Waits};
use engram_shards::episode::{
    Belief, BindRequest, Durability, Episode, Fields, Hit, LinkRequest, Priority, RecallRequest,
    Refusal, ReinforceRequest, SpaceNumber, SpaceSettings, StoreRequest, StoredEpisode,
    StoredRequest, SupersedeRequest, UnlinkRequest,
};
use engram_shards::inquiry::{AroundRequest, Found, InquiryRequest};
use engram_shards::shard::{Reply, SpaceStats};
use engram_shards::space::{News, Page};
use engram_shards::spreading::{Asked as Wanted, Collected, Exchange, Exchanged, SpreadRequest};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::dream::Relearn;
use super::info::Report;
use super::jobs::spread_refused;
use super::news::NewsRequest;
use super::origin::Origin;
use super::storing::Stored;
use super::timings::{JournalQuery, JournalTold};

/// A request to the shard that owns what it is about.
#[derive(Debug)]
pub enum Request {
    Store(Box<StoreRequest>),
    Link(Box<LinkRequest>),
    Unlink(Box<UnlinkRequest>),
    Bind(BindRequest),
    Relearn(Relearn),
    Supersede(Box<SupersedeRequest>),
    Reinforce(Box<ReinforceRequest>),
    /// Episodes that answers told, by the sequences that they were stored with. Nobody waits for
    /// it.
    Recalled(Vec<(SpaceNumber, u64)>),
    Forget {
        space: SpaceNumber,
        id: Bytes,
        durability: Durability,
        writer_uid: u32,
    },
    /// Answered when the bytes are gone, which takes a pass over the log.
    Erase {
        space: SpaceNumber,
        id: Bytes,
        writer_uid: u32,
    },
    /// An episode was erased, on this shard or another: what is being replayed may name it.
    Erased,
    Get {
        space: SpaceNumber,
        id: Bytes,
        fields: Fields,
        belief: Belief,
    },
    /// Episodes by the sequences that they were stored with.
    GetStored(Box<StoredRequest>),
    Recall(Box<RecallRequest>),
    Inquire(Box<InquiryRequest>),
    /// What stands next to what others have found.
    LookAround(Box<AroundRequest>),
    Spread(Box<SpreadOrder>),
    /// Nobody waits for it any more.
    EndSpread(SpreadKey),
    /// Live episodes from a position on.
    Scan {
        space: SpaceNumber,
        from: u64,
        count: usize,
        bytes_max: usize,
        fields: Fields,
    },
    /// Answered when there is something to tell, or after a while.
    News(NewsRequest),
    /// The first shard gives the number, the others are told it.
    CreateSpace {
        number: Option<SpaceNumber>,
        settings: Box<SpaceSettings>,
        writer_uid: u32,
    },
    DropSpace {
        space: SpaceNumber,
        writer_uid: u32,
    },
    /// Answered when what is durable by now is in columns files.
    Consolidate,
    /// Answered when the shard has noted where its part of a snapshot ends.
    CutSnapshot,
    /// Answered when the part is in a folder, which it makes.
    CopySnapshot {
        into: PathBuf,
    },
    /// The cut will not be copied.
    DropSnapshot,
    SpaceStats {
        space: SpaceNumber,
    },
    Report,
    /// Counters and histograms begin anew.
    ResetMetrics,
    Journal(JournalQuery),
}

/// Names a spread: by the shard that drives it, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpreadKey {
    pub driver: usize,
    pub number: u64,
}

/// One exchange of a spread.
#[derive(Debug)]
pub struct SpreadOrder {
    pub key: SpreadKey,
    /// Of the first one that a shard takes part in.
    pub begin: Option<SpreadRequest>,
    pub exchange: Exchange,
    /// When to end it as it is, on the monotonic clock.
    pub until_ns: Option<u64>,
    /// Of the last one: what is wanted.
    pub finish: Option<Wanted>,
}

/// A request and when it was asked for, on the monotonic clock that all shards share.
#[derive(Debug)]
pub struct Asked {
    pub request: Request,
    pub at_ns: u64,
}

impl Waits for Asked {
    fn at_ns(&self) -> u64 {
        self.at_ns
    }

    fn units(&self) -> u32 {
        let Request::Store(store) = &self.request else { return 1 };
        let Episode { vector, text, metadata, .. } = &store.episode;
        (vector.len() + text.len() + metadata.len()).div_ceil(UNIT_BYTES) as u32
    }
}

/// What a shard asks itself.
#[derive(Debug)]
pub(super) struct OwnAsked {
    pub(super) asked: Asked,
    pub(super) origin: Origin,
}

impl Waits for OwnAsked {
    fn at_ns(&self) -> u64 {
        self.asked.at_ns
    }

    fn units(&self) -> u32 {
        self.asked.units()
    }
}

/// The lane for a priority.
pub(super) fn rank_of(priority: Priority) -> Rank {
    match priority {
        Priority::High => Rank::High,
        Priority::Normal => Rank::Normal,
        Priority::Low => Rank::Low,
    }
}

/// Bytes of a store that take one unit of a lane; nothing else takes more than one.
const UNIT_BYTES: usize = 16 << 10;

impl Request {
    /// The lane it waits in unless something else keeps it back: stores say so; what operators ask,
    /// and what others hold memory for, goes first.
    pub(super) fn rank(&self) -> Rank {
        match self {
            Self::Store(store) => rank_of(store.priority),
            Self::Link(_)
            | Self::Unlink(_)
            | Self::Bind(_)
            | Self::Relearn(_)
            | Self::Supersede(_)
            | Self::Reinforce(_)
            | Self::Forget { .. }
            | Self::Erase { .. }
            | Self::Get { .. }
            | Self::GetStored(_)
            | Self::Recall(_)
            | Self::Inquire(_)
            | Self::Scan { .. }
            | Self::News(_) => Rank::Normal,
            Self::Recalled(_) => Rank::Low,
            Self::Spread(order) if order.begin.is_some() => Rank::Normal,
            Self::Spread(_)
            | Self::LookAround(_)
            | Self::EndSpread(_)
            | Self::Erased
            | Self::CreateSpace { .. }
            | Self::DropSpace { .. }
            | Self::Consolidate
            | Self::CutSnapshot
            | Self::CopySnapshot { .. }
            | Self::DropSnapshot
            | Self::SpaceStats { .. }
            | Self::Report
            | Self::ResetMetrics
            | Self::Journal(_) => Rank::High,
        }
    }

    /// A refusal in the shape of the request's answer.
    pub(super) fn refused(&self, refusal: Refusal) -> Answer {
        match self {
            Self::Store(_)
            | Self::Link(_)
            | Self::Unlink(_)
            | Self::Bind(_)
            | Self::Relearn(_)
            | Self::Supersede(_)
            | Self::Reinforce(_)
            | Self::Forget { .. }
            | Self::Erase { .. }
            | Self::CreateSpace { .. }
            | Self::DropSpace { .. }
            | Self::Consolidate
            | Self::CutSnapshot
            | Self::CopySnapshot { .. }
            | Self::DropSnapshot => Answer::Write(Err(refusal)),
            Self::Get { .. } => Answer::Episode(Err(refusal)),
            Self::GetStored(_) => Answer::Episodes(Err(refusal)),
            Self::Recall(_) => Answer::Hits(Err(refusal)),
            Self::Inquire(_) | Self::LookAround(_) => Answer::Found(Err(refusal)),
            Self::Spread(order) => spread_refused(order.finish.is_some(), refusal),
            Self::Scan { .. } => Answer::Scanned(Err(refusal)),
            Self::News(_) => Answer::News(Err(refusal)),
            Self::Journal(_) => Answer::Journal(Err(refusal)),
            Self::ResetMetrics | Self::EndSpread(_) | Self::Recalled(_) | Self::Erased => {
                Answer::Done(Err(refusal))
            }
            Self::SpaceStats { .. } | Self::Report => Answer::SpaceStats(Err(refusal)),
        }
    }

    /// The episode that a write is about, by a hash.
    pub(super) fn episode(&self) -> Option<u64> {
        let (space, id) = match self {
            Self::Store(store) => (store.space, &store.episode.id),
            Self::Forget { space, id, .. } | Self::Erase { space, id, .. } => (*space, id),
            Self::Reinforce(reinforce) => (reinforce.space, &reinforce.id),
            Self::Link(link) => (link.space, &link.from),
            Self::Unlink(unlink) => (unlink.space, &unlink.from),
            Self::Supersede(supersede) => (supersede.space, &supersede.id),
            _ => return None,
        };
        Some(xxh3_64_with_seed(id, u64::from(space.0)))
    }
}

/// The answer of the owner.
#[derive(Debug)]
pub enum Answer {
    Write(Result<Reply, Refusal>),
    /// Of a store that asked for more, on the shard that was asked.
    Stored(Box<Stored>),
    Episode(Result<Option<Box<StoredEpisode>>, Refusal>),
    /// Those that are there.
    Episodes(Result<Vec<StoredEpisode>, Refusal>),
    Hits(Result<Vec<Hit>, Refusal>),
    Found(Result<Box<Found>, Refusal>),
    Exchanged(Result<Exchanged, Refusal>),
    Collected(Result<Box<Collected>, Refusal>),
    /// Episodes and the row to go on from.
    Scanned(Result<Page, Refusal>),
    News(Result<News, Refusal>),
    SpaceStats(Result<SpaceStats, Refusal>),
    Report(Box<Report>),
    Journal(Result<JournalTold, Refusal>),
    /// Of what has no other result.
    Done(Result<(), Refusal>),
}

/// An answer on its way to another shard.
#[derive(Debug)]
pub struct Answered {
    pub answer: Answer,
    /// How long the request waited in a lane.
    pub queued_us: u32,
}
