//! Episodes that answers told, on their way to the log.
//!
//! To be recalled is a presentation, but no reader waits for the disk. What answers told is noted
//! here, and goes to the log by and by: a few episodes in a frame, a frame in a millisecond at
//! most. An episode counts once in a second, however many answers told it. Where more comes than
//! that, and when the process dies, notes are lost; nothing else is.

use std::collections::VecDeque;

use super::pending::{Admission, Owner};
use super::{Shard, Ticket};
use crate::episode::{Durability, Refusal, ReinforceRequest, SpaceNumber};
use crate::format::{
    Operation, RECALLED_MAX, encode_recalled, encode_reinforce, recalled_bytes, reinforce_bytes,
};
use crate::io::Io;

/// Episodes of a frame: applying it takes some twenty µs.
const FRAME_EPISODES: usize = 16;
const _: () = assert!(FRAME_EPISODES <= RECALLED_MAX);
/// Between two frames.
const FRAME_NS: u64 = 1_000_000;
/// How long notes are collected before they go to the log.
const COLLECT_NS: u64 = 1_000_000_000;
/// Notes at once: what the frames of a second hold.
const NOTES_MAX: usize = FRAME_EPISODES * (COLLECT_NS / FRAME_NS) as usize;
/// Places of the filter that knows what was noted already.
const FILTER_BITS: u32 = 12;

/// What became of notes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecallCounters {
    pub logged: u64,
    /// For want of room here, in the log or in memory.
    pub lost: u64,
}

/// See the top of the file.
#[derive(Debug)]
pub(super) struct Recalls {
    collecting: Vec<(SpaceNumber, u64)>,
    /// The last note of each place; most repetitions end here.
    filter: Box<[(SpaceNumber, u64)]>,
    /// Since when they are collected.
    since_ns: u64,
    ready: VecDeque<(SpaceNumber, u64)>,
    logged_ns: u64,
    counters: RecallCounters,
}

impl Default for Recalls {
    fn default() -> Self {
        Self {
            collecting: Vec::new(),
            filter: vec![NOTHING; 1 << FILTER_BITS].into(),
            since_ns: 0,
            ready: VecDeque::new(),
            logged_ns: 0,
            counters: RecallCounters::default(),
        }
    }
}

/// No space has this number, and no frame this sequence.
const NOTHING: (SpaceNumber, u64) = (SpaceNumber(0), 0);

impl Recalls {
    pub(super) fn note(&mut self, space: SpaceNumber, stored: u64) {
        let note = (space, stored);
        // Fibonacci hashing: sequences of one answer have nothing in common.
        let hash = (stored ^ u64::from(space.0) << 48).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let last = &mut self.filter[(hash >> (64 - FILTER_BITS)) as usize];
        if *last == note {
            return;
        }
        *last = note;
        match self.collecting.len() < NOTES_MAX {
            true => self.collecting.push(note),
            false => self.counters.lost += 1,
        }
    }

    /// The next frame of notes, of one space, if it is time for one.
    pub(super) fn next(&mut self, now_ns: u64) -> Option<(SpaceNumber, Vec<u64>)> {
        if self.ready.is_empty() {
            if self.collecting.is_empty() {
                self.since_ns = now_ns;
                return None;
            }
            if now_ns < self.since_ns + COLLECT_NS {
                return None;
            }
            self.ready.extend(self.collecting.drain(..));
            self.filter.fill(NOTHING);
            self.since_ns = now_ns;
        }
        if now_ns < self.logged_ns + FRAME_NS {
            return None;
        }
        self.logged_ns = now_ns;
        let (space, _) = *self.ready.front()?;
        let mut stored = Vec::with_capacity(FRAME_EPISODES);
        while stored.len() < FRAME_EPISODES
            && let Some((_, next)) = self.ready.front().filter(|note| note.0 == space)
        {
            if !stored.contains(next) {
                stored.push(*next);
            }
            self.ready.pop_front();
        }
        Some((space, stored))
    }

    /// When there is a frame, if there are notes for one.
    pub(super) fn due_ns(&self) -> Option<u64> {
        (!self.ready.is_empty()).then_some(self.logged_ns + FRAME_NS)
    }

    /// Counts notes that came to the log, or did not.
    pub(super) fn count(&mut self, notes: usize, are_logged: bool) {
        let counters = &mut self.counters;
        let counter = if are_logged { &mut counters.logged } else { &mut counters.lost };
        *counter += notes as u64;
    }

    pub(super) fn counters(&self) -> RecallCounters {
        self.counters
    }
}

impl<I: Io> Shard<I> {
    /// Admits a reinforcement. Whether there is such an episode is found out in its turn.
    pub fn reinforce(&mut self, ticket: Ticket, request: &ReinforceRequest) -> Result<(), Refusal> {
        self.open_space(request.space)?;
        self.check_memory()?;
        let head = self.head(Operation::Reinforce, request.writer_uid);
        let how = Admission::of(Owner::Caller(ticket), request.durability).patient(true);
        self.append(how, &head, reinforce_bytes(request), |out| encode_reinforce(request, out))?;
        Ok(())
    }

    /// Takes note of an episode that an answer told, by the sequence that it was stored with. What
    /// is noted is logged by and by: see the top of `recalls.rs`.
    pub fn note_recalled(&mut self, space: SpaceNumber, stored: u64) {
        self.recalls.note(space, stored);
    }

    /// Logs some of what was noted. Nobody waits for it, and what the log has no room for is lost.
    pub(super) fn log_recalls(&mut self) {
        let now_ns = self.log.io().monotonic_ns();
        let Some((number, mut stored)) = self.recalls.next(now_ns) else { return };
        let Ok(space) = self.open_space(number) else { return };
        if self.memory.is_full_of_strengths() || self.check_memory().is_err() {
            let notes = stored.len();
            stored.retain(|stored| space.strengths().get(*stored).is_some());
            self.recalls.count(notes - stored.len(), false);
        }
        if !stored.is_empty() {
            let head = self.head(Operation::Recalled, 0);
            let how = Admission::of(Owner::Shard, Durability::Disk).patient(true);
            let bytes = recalled_bytes(&stored);
            let logged =
                self.append(how, &head, bytes, |out| encode_recalled(number, &stored, out));
            self.recalls.count(stored.len(), logged.is_ok());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn collect(recalls: &mut Recalls, from_ms: u64) -> Vec<(SpaceNumber, Vec<u64>)> {
        (from_ms..from_ms + 1000).filter_map(|ms| recalls.next(ms * MS)).collect()
    }

    #[test]
    fn notes_wait_a_second_and_come_a_few_at_a_time_once_each() {
        let mut recalls = Recalls::default();
        assert_eq!(recalls.next(5 * MS), None);
        for stored in (1..=20).chain(1..=20) {
            recalls.note(SpaceNumber(1), stored);
        }
        recalls.note(SpaceNumber(2), 20);
        assert_eq!((recalls.next(1004 * MS), recalls.due_ns()), (None, None));
        assert_eq!(recalls.next(1005 * MS), Some((SpaceNumber(1), (1..=16).collect())));
        assert_eq!((recalls.next(1005 * MS), recalls.due_ns()), (None, Some(1006 * MS)));
        let rest = [(SpaceNumber(1), (17..=20).collect()), (SpaceNumber(2), vec![20])];
        assert_eq!(collect(&mut recalls, 1006), rest);
        assert_eq!(recalls.due_ns(), None);
        // What comes a second later counts again.
        recalls.note(SpaceNumber(1), 3);
        assert_eq!(collect(&mut recalls, 3006), [(SpaceNumber(1), vec![3])]);
    }

    #[test]
    fn what_there_is_no_room_for_is_counted() {
        let mut recalls = Recalls::default();
        assert_eq!(recalls.next(0), None);
        (1..=NOTES_MAX as u64 + 7).for_each(|stored| recalls.note(SpaceNumber(1), stored));
        assert_eq!(recalls.counters(), RecallCounters { logged: 0, lost: 7 });
        let frames = collect(&mut recalls, 1000);
        let episodes: usize = frames.iter().map(|(_, stored)| stored.len()).sum();
        assert_eq!((frames.len(), episodes), (1000, NOTES_MAX));
        recalls.count(5, true);
        recalls.count(2, false);
        assert_eq!(recalls.counters(), RecallCounters { logged: 5, lost: 9 });
    }
}
