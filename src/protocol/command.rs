//! Commands: from the arguments of a request to what it asks for.
//!
//! [`Command::parse`] checks everything that can be checked without knowing the memory space:
//! names, numbers, bounds, options given twice, JSON. What comes out is complete and owned; what
//! only the owner of the data can check (does the space exist, has the vector its dimensions, is
//! it finite) is left to the engine.
//!
//! `table.rs` holds the commands as data (`spec.rs` says in which form): it finds the parser of a
//! command, gives errors their usage line, and answers `COMMAND` (`docs.rs`), so that the three
//! can't disagree. One file holds each family: `connection.rs` what any Redis client sends,
//! `space.rs`, `store.rs`, `supersede.rs`, `link.rs`, `recall.rs`, `spread.rs`, `complete.rs`,
//! `gist.rs`, `scan.rs`, `watch.rs`, `observe.rs`, `journal.rs`. What a log may keep of a call is
//! in `redacted.rs`.

mod arguments;
mod checks;
mod complete;
mod connection;
mod docs;
mod gist;
mod journal;
mod link;
mod observe;
mod recall;
mod redacted;
mod scan;
mod space;
mod spec;
mod spread;
mod store;
mod supersede;
mod table;
#[cfg(test)]
mod tests;
mod watch;

use std::path::PathBuf;

use bytes::Bytes;
use engram_shards::episode::{Belief, Durability, Fields, Refusal, Reinforcement};

pub use complete::{COMPLETE_BETA_MAX, COMPLETE_K_MAX, COMPLETE_ROUNDS_MAX, CompleteCommand};
pub use connection::{ClientCommand, ClientLibrary, CommandQuery, Hello};
pub use gist::{GIST_ALIKE_MAX, GIST_AMONG_MAX, GIST_K_MAX, GistCommand, GistParts};
pub use journal::{LatencyCommand, SLOWLOG_GET_MAX, SlowlogCommand};
pub use link::LinkCommand;
pub use observe::{OBSERVE_CREDIT_MAX, Observation, ObserveOpen};
pub use recall::{
    Cue, FUSION_WEIGHT_MAX, MGET_IDS_MAX, RECALL_CUES_MAX, REPLY_BYTES_DEFAULT, REPLY_BYTES_MAX,
    RecallCommand, RecallSpread,
};
pub use redacted::redacted;
pub use scan::{ScanCommand, ScanCursor};
pub use space::SpaceCreate;
pub use spread::{SPREAD_WEIGHT_MAX, SpreadCommand, SpreadParameters};
pub use store::{MSTORE_ITEMS_MAX, StoreCommand};
pub use supersede::SupersedeCommand;
pub use watch::{WATCH_CREDIT_MAX, WatchCommand};

/// A request, checked as far as it can be without the data. Spaces go by name.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Hello(Hello),
    Ping {
        message: Option<Bytes>,
    },
    Echo {
        message: Bytes,
    },
    Info {
        /// In lower case; all sections when empty.
        sections: Vec<String>,
    },
    /// `COMMAND`: answered by [`CommandQuery::answer`].
    Command(CommandQuery),
    Client(ClientCommand),
    Quit,
    SpaceCreate(SpaceCreate),
    SpaceList,
    SpaceInfo {
        space: String,
    },
    SpaceDrop {
        space: String,
    },
    Store {
        space: String,
        store: StoreCommand,
    },
    /// One answer for each item, in order. A refused item leaves the others as they are.
    StoreMany {
        space: String,
        items: Vec<Result<StoreCommand, Refusal>>,
    },
    Recall(RecallCommand),
    Spread(SpreadCommand),
    Complete(CompleteCommand),
    Gist(GistCommand),
    Scan(ScanCommand),
    Watch(WatchCommand),
    ObserveOpen(ObserveOpen),
    /// For a stream of this connection. It has no reply: neither has a refusal.
    Observe {
        stream: u64,
        observation: Result<Box<Observation>, Refusal>,
    },
    ObserveClose {
        stream: u64,
    },
    /// Of a watch of this connection, as is `Unwatch`.
    WatchMore {
        watch: u64,
        credit: u64,
    },
    Unwatch {
        watch: u64,
    },
    Get {
        space: String,
        id: Bytes,
        fields: Fields,
        belief: Belief,
    },
    GetMany {
        space: String,
        ids: Vec<Bytes>,
        fields: Fields,
        belief: Belief,
    },
    Forget {
        space: String,
        id: Bytes,
        durability: Durability,
    },
    Supersede(SupersedeCommand),
    Reinforce {
        space: String,
        id: Bytes,
        what: Reinforcement,
        durability: Durability,
    },
    /// To make a link, or to remove links.
    Link(LinkCommand),
    Erase {
        space: String,
        id: Bytes,
    },
    /// Of the shards of one space, or of all.
    Consolidate {
        space: Option<String>,
    },
    Stats {
        space: Option<String>,
    },
    ResetStats,
    Slowlog(SlowlogCommand),
    Latency(LatencyCommand),
    /// Into a folder of the daemon's machine.
    Snapshot {
        path: PathBuf,
    },
}

impl Command {
    /// What the arguments of one request ask for. The first is the name of the command.
    pub fn parse(arguments: Vec<Bytes>) -> Result<Self, Refusal> {
        Self::parse_named(arguments).map(|(_, command)| command)
    }

    /// The same, with the name of the command as it is written in full.
    pub fn parse_named(arguments: Vec<Bytes>) -> Result<(&'static str, Self), Refusal> {
        let (spec, parse, words) = table::find(&arguments)?;
        spec.check_count(arguments.len())?;
        let mut arguments = arguments::Arguments::new(spec, arguments, words);
        let command = parse(&mut arguments)?;
        arguments.finish()?;
        Ok((spec.name, command))
    }
}
