//! Episodes whose time is over, on their way to the log.
//!
//! Nobody sees an expired episode, from the moment on that its shard's clock says so: what has
//! expired is hidden before anything is read. Frames follow by and by, a few episodes in each and
//! one in a millisecond at most, so that the rows die as if they had been forgotten and the next
//! consolidation leaves them out. A frame names sequences: an id that was stored again meanwhile
//! keeps its new episode. What a crash takes of the frames is found again by the clock.

use super::Shard;
use super::pending::{Admission, Owner};
use crate::episode::{Durability, Lapse, StoredEpisode};
use crate::format::{LAPSED_MAX, Operation, encode_lapse, lapse_bytes};
use crate::io::Io;
use crate::space::NEVER;

/// Episodes of a frame: applying it takes some twenty µs.
const FRAME_EPISODES: usize = 16;
const _: () = assert!(FRAME_EPISODES <= LAPSED_MAX);
/// Between two frames.
const FRAME_NS: u64 = 1_000_000;

/// What became of episodes whose time was over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LapseCounters {
    /// Ended by the log because they had expired.
    pub expired: u64,
}

/// See the top of the file.
#[derive(Debug, Default)]
pub(super) struct Lapses {
    logged_ns: u64,
    counters: LapseCounters,
}

impl Lapses {
    pub(super) fn counters(&self) -> LapseCounters {
        self.counters
    }
}

impl<I: Io> Shard<I> {
    /// Hides what has expired by now. Everything that reads, and everything that is applied, comes
    /// behind this; where nothing ever expires it is one comparison.
    pub(super) fn expire(&mut self) {
        if self.memory.next_expiry_us != NEVER {
            self.memory.expire(self.log.io().wall_us());
        }
    }

    /// Whether an episode that was not hidden has not expired since.
    pub(super) fn is_in_time(&self, episode: &StoredEpisode) -> bool {
        let expires_at_us = episode.expires_at_us;
        expires_at_us.is_none_or(|expires_at_us| self.log.io().wall_us() < expires_at_us)
    }

    /// Logs some of what has expired. What the log has no room for is logged later.
    pub(super) fn log_lapses(&mut self) {
        let now_ns = self.log.io().monotonic_ns();
        if self.lapses_due_ns().is_none_or(|due_ns| now_ns < due_ns) {
            return;
        }
        self.lapses.logged_ns = now_ns;
        let mut spaces = self.memory.spaces.values();
        let waiting = spaces.find(|space| {
            !space.expired().is_empty() && !self.changing.contains_key(&space.settings.name)
        });
        let Some(space) = waiting else {
            // The rest is of spaces that are gone.
            self.memory.expired = 0;
            return;
        };
        let (number, waiting) = (space.number, space.expired());
        let stored: Vec<u64> = waiting.iter().take(FRAME_EPISODES).copied().collect();
        let head = self.head(Operation::Lapse, 0);
        let how = Admission::of(Owner::Shard, Durability::Disk).using_reserve().patient(true);
        let logged = self.append(how, &head, lapse_bytes(&stored), |out| {
            encode_lapse(number, Lapse::Expired, &stored, out);
        });
        if logged.is_ok() {
            let space = self.memory.spaces.get_mut(&number).expect("just seen");
            space.take_expired(stored.len());
            self.memory.expired -= stored.len();
            self.lapses.counters.expired += stored.len() as u64;
        }
    }

    /// When there is a frame to log, if there is anything for one.
    pub(super) fn lapses_due_ns(&self) -> Option<u64> {
        let may_log = self.memory.expired > 0 && self.log.latch().is_none();
        may_log.then_some(self.lapses.logged_ns + FRAME_NS)
    }
}
