//! What a shard tells those who follow its memory spaces: at once if there is something, else when
//! there is.
//!
//! A request for news that finds none is parked with its space. When more of the log is durable and
//! the space has something behind where the request stands, it is answered; and after a while in
//! any case, so that nobody needs to take a request back that is not wanted any more. How many can
//! be parked is bounded where they come from: by the number of watches.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use engram_shards::episode::{Fields, Refusal, SpaceNumber};
use engram_shards::space::{News, NewsLimits};

use super::core::Inner;
use super::origin::Origin;
use super::request::Answer;
use engram_lanes::mesh::OPEN_MAX;

/// Watches that the connections of one shard may have open together.
pub const WATCHES_MAX: usize = 1024;
/// Episodes of one answer at most.
const EPISODES_MAX: usize = 64;
/// Bytes of texts, vectors, metadata and links after which an answer ends: with one episode more.
const BYTES_MAX: usize = 64 << 10;
/// Rows that are looked at for one answer.
const ROWS_MAX: usize = 512;
/// How long a request is parked.
const PARKED_MAX: Duration = Duration::from_secs(2);
/// Parked requests that are looked at in one turn.
const TURN_MAX: usize = 64;
/// The hint that goes with a refusal for too many watches.
const RETRY_WATCH_MS: u32 = 2000;

// What is parked is open all the time, and leaves most of what may be so to others.
const _: () = assert!(WATCHES_MAX <= OPEN_MAX / 4);

/// What was stored in a space behind a sequence.
#[derive(Debug, Clone)]
pub struct NewsRequest {
    pub space: SpaceNumber,
    /// Where the shard is now, and nothing else, when `None`.
    pub after: Option<u64>,
    /// With 0 it is only checked that there is such a place.
    pub count: usize,
    pub fields: Fields,
}

#[derive(Debug)]
struct Parked {
    after: u64,
    request: NewsRequest,
    origin: Origin,
    until_ns: u64,
}

/// Requests that are parked, and who counts the watches that they come from.
#[derive(Debug, Default)]
pub(super) struct Followers {
    by_space: BTreeMap<SpaceNumber, Vec<Parked>>,
    /// What was durable when they were looked at last.
    durable: u64,
    watches: Rc<()>,
}

/// Counts a watch, as long as there is one of it: its own, and one for each request that is open.
#[derive(Debug, Clone)]
pub(super) struct WatchPermit {
    _counted: Rc<Counted>,
}

#[derive(Debug)]
struct Counted {
    _watches: Rc<()>,
}

impl Followers {
    /// Watches that were opened on this shard, those included that have ended and whose last
    /// request is still parked.
    pub(super) fn watches(&self) -> usize {
        Rc::strong_count(&self.watches) - 1
    }

    pub(super) fn admit(&self) -> Result<WatchPermit, Refusal> {
        if self.watches() >= WATCHES_MAX {
            let what = "the list of watches";
            return Err(Refusal::Busy { what, retry_after_ms: RETRY_WATCH_MS });
        }
        let _watches = Rc::clone(&self.watches);
        Ok(WatchPermit { _counted: Rc::new(Counted { _watches }) })
    }
}

impl Inner {
    pub(super) fn take_news(&mut self, request: NewsRequest, origin: Origin) {
        let durable = self.shard.durable();
        let news = match request.after {
            None => Ok(News { episodes: Vec::new(), through: durable }),
            Some(after) if after > durable => Err(Refusal::Syntax(format!(
                "FROM names seq {after} of shard {}, whose last one is {durable}; begin with one \
                 that this store has given, or with 0",
                self.number
            ))),
            Some(after) if request.count == 0 => Ok(News { episodes: Vec::new(), through: after }),
            Some(after) => self.news(&request, after),
        };
        let parks = matches!(&news, Ok(news) if news.episodes.is_empty() && request.count > 0
            && news.through >= durable && request.after.is_some());
        if !parks {
            return self.deliver(origin, Answer::News(news));
        }
        let now_ns = (self.clock.monotonic_ns)();
        let until_ns = now_ns + u64::try_from(PARKED_MAX.as_nanos()).unwrap_or(u64::MAX);
        let parked = self.followers.by_space.entry(request.space).or_default();
        parked.push(Parked { after: durable, request, origin, until_ns });
    }

    fn news(&self, request: &NewsRequest, after: u64) -> Result<News, Refusal> {
        let count = request.count.min(EPISODES_MAX);
        let limits = NewsLimits { count, bytes_max: BYTES_MAX, rows_max: ROWS_MAX };
        self.shard.news(request.space, after, limits, request.fields)
    }

    /// Answers parked requests for which there is something; whether some are left to be looked at.
    pub(super) fn wake_followers(&mut self) -> bool {
        let durable = self.shard.durable();
        if self.followers.by_space.is_empty() || self.followers.durable == durable {
            return false;
        }
        let mut by_space = std::mem::take(&mut self.followers.by_space);
        let mut looks_left = TURN_MAX;
        for (space, parked) in &mut by_space {
            // A space that is gone has that to say.
            let through = self.shard.newest(*space).map_or(u64::MAX, |last| last.min(durable));
            let mut nth = 0;
            while let Some(next) = parked.get_mut(nth).filter(|_| looks_left > 0) {
                if next.after >= through {
                    nth += 1;
                    continue;
                }
                looks_left -= 1;
                let news = self.news(&next.request, next.after);
                match news {
                    Ok(news) if news.episodes.is_empty() && news.through >= durable => {
                        next.after = durable;
                        nth += 1;
                    }
                    news => {
                        let Parked { origin, .. } = parked.swap_remove(nth);
                        self.deliver(origin, Answer::News(news));
                    }
                }
            }
        }
        by_space.retain(|_, parked| !parked.is_empty());
        self.followers.by_space = by_space;
        if looks_left > 0 {
            self.followers.durable = durable;
        }
        looks_left == 0
    }

    /// Answers what was parked for long: to be asked again by those who still want it.
    pub(super) fn end_parking(&mut self) {
        let now_ns = (self.clock.monotonic_ns)();
        let mut over = Vec::new();
        for parked in self.followers.by_space.values_mut() {
            over.extend(parked.extract_if(.., |parked| parked.until_ns <= now_ns));
        }
        self.followers.by_space.retain(|_, parked| !parked.is_empty());
        for Parked { after, origin, .. } in over {
            let news = News { episodes: Vec::new(), through: after };
            self.deliver(origin, Answer::News(Ok(news)));
        }
    }
}
