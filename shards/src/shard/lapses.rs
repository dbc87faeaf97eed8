//! Episodes whose time is over, on their way to the log.
//!
//! Nobody sees an expired episode, from the moment on that its shard's clock says so: what has
//! expired is hidden before anything is read. Frames follow by and by, a few episodes in each and
//! one in a millisecond at most, so that the rows die as if they had been forgotten and the next
//! consolidation leaves them out. A frame names sequences: an id that was stored again meanwhile
//! keeps its new episode. What a crash takes of the frames is found again by the clock.
//!
//! Episodes that have faded below what their memory space keeps are looked for in passes, a little
//! with each tick, and end the same way. Until then they are answered like others.

use std::collections::VecDeque;

use super::Shard;
use super::pending::{Admission, Owner};
use crate::episode::{Durability, Lapse, SpaceNumber, StoredEpisode};
use crate::format::{LAPSED_MAX, Operation, encode_lapse, lapse_bytes};
use crate::io::Io;
use crate::space::{FadingPass, NEVER, Space};

/// Episodes of a frame: applying it takes some twenty µs.
const FRAME_EPISODES: usize = 16;
const _: () = assert!(FRAME_EPISODES <= LAPSED_MAX);
/// Between two frames.
const FRAME_NS: u64 = 1_000_000;

/// From the end of a pass over all spaces that forget to the next one.
const PASS_NS: u64 = 10_000_000_000;
/// Episodes that have faded and wait for a frame, at most.
const FADED_MAX: usize = 4096;

/// What became of episodes whose time was over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LapseCounters {
    /// Ended by the log because they had expired.
    pub expired: u64,
    /// Because they had faded.
    pub faded: u64,
}

/// See the top of the file.
#[derive(Debug, Default)]
pub(super) struct Lapses {
    logged_ns: u64,
    /// The space under way, and how far it is looked at.
    pass: Option<(SpaceNumber, FadingPass)>,
    /// When the next pass begins.
    pass_due_ns: u64,
    /// What has faded, by the sequence that it was stored with.
    faded: VecDeque<(SpaceNumber, u64)>,
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
        if self.memory.expired == 0 {
            return self.log_faded();
        }
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
        }
    }

    /// Logs some of what has faded, if it still has.
    fn log_faded(&mut self) {
        let now_us = self.log.io().wall_us();
        let Some(&(number, _)) = self.lapses.faded.front() else { return };
        let mut stored = Vec::with_capacity(FRAME_EPISODES);
        let (mut taken, space) = (0, self.open_space(number).ok());
        for (_, next) in self.lapses.faded.iter().take_while(|(own, _)| *own == number) {
            let has_faded = |space: &Space| space.has_faded(&self.memory.arena, *next, now_us);
            if space.is_some_and(has_faded) {
                stored.push(*next);
            }
            taken += 1;
            if stored.len() == FRAME_EPISODES {
                break;
            }
        }
        if !stored.is_empty() {
            let head = self.head(Operation::Lapse, 0);
            let how = Admission::of(Owner::Shard, Durability::Disk).using_reserve().patient(true);
            let logged = self.append(how, &head, lapse_bytes(&stored), |out| {
                encode_lapse(number, Lapse::Faded, &stored, out);
            });
            if logged.is_err() {
                return;
            }
        }
        self.lapses.faded.drain(..taken);
    }

    /// Looks for some more episodes that have faded below what their memory space keeps.
    pub(super) fn find_faded(&mut self) {
        let now_ns = self.log.io().monotonic_ns();
        let is_due = self.lapses.pass.is_some() || now_ns >= self.lapses.pass_due_ns;
        let may_log = self.read_only_reason().is_none();
        if !is_due || !may_log || self.lapses.faded.len() >= FADED_MAX {
            return;
        }
        let from = self.lapses.pass.map_or(SpaceNumber(0), |(number, _)| number);
        let mut spaces = self.memory.spaces.range(from..).map(|(_, space)| space);
        let known = self.lapses.pass.take();
        let next = spaces.find_map(|space| {
            let known = known.filter(|(number, _)| *number == space.number);
            Some((space, known.map(|(_, pass)| pass).or_else(|| space.begin_fading())?))
        });
        let Some((space, mut pass)) = next else {
            self.lapses.pass_due_ns = now_ns + PASS_NS;
            return;
        };
        let (now_us, number) = (self.log.io().wall_us(), space.number);
        let faded = &mut self.lapses.faded;
        let is_over = space.find_faded(&self.memory.arena, &mut pass, now_us, |stored| {
            faded.push_back((number, stored));
        });
        self.lapses.pass = match is_over {
            false => Some((number, pass)),
            true => spaces.find_map(|space| Some((space.number, space.begin_fading()?))),
        };
        if self.lapses.pass.is_none() {
            self.lapses.pass_due_ns = now_ns + PASS_NS;
        }
    }

    /// When there is a frame to log, if there is anything for one.
    pub(super) fn lapses_due_ns(&self) -> Option<u64> {
        let is_any = self.memory.expired > 0 || !self.lapses.faded.is_empty();
        let may_log = is_any && self.log.latch().is_none();
        may_log.then_some(self.lapses.logged_ns + FRAME_NS)
    }
}
