//! What shards ask each other, and a shard itself.

use std::path::PathBuf;

use bytes::Bytes;
use engram_shards::episode::{
    Durability, Fields, Hit, LinkRequest, RecallRequest, Refusal, SpaceNumber, SpaceSettings,
    StoreRequest, StoredEpisode, UnlinkRequest,
};
use engram_shards::shard::{Reply, SpaceStats};
use engram_shards::space::{News, Page};
use engram_shards::spreading::{Asked as Wanted, Collected, Exchange, Exchanged, SpreadRequest};

use super::info::Report;
use super::news::NewsRequest;

/// A request to the shard that owns what it is about.
#[derive(Debug)]
pub enum Request {
    Store(Box<StoreRequest>),
    Link(Box<LinkRequest>),
    Unlink(Box<UnlinkRequest>),
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
    Get {
        space: SpaceNumber,
        id: Bytes,
        fields: Fields,
    },
    Recall(Box<RecallRequest>),
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

/// The answer of the owner.
#[derive(Debug)]
pub enum Answer {
    Write(Result<Reply, Refusal>),
    Episode(Result<Option<Box<StoredEpisode>>, Refusal>),
    Hits(Result<Vec<Hit>, Refusal>),
    Exchanged(Result<Exchanged, Refusal>),
    Collected(Result<Box<Collected>, Refusal>),
    /// Episodes and the row to go on from.
    Scanned(Result<Page, Refusal>),
    News(Result<News, Refusal>),
    SpaceStats(Result<SpaceStats, Refusal>),
    Report(Box<Report>),
    /// Of what has no other result.
    Done(Result<(), Refusal>),
}
