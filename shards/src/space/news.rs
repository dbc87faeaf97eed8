//! What was stored behind a sequence, in the order of sequences: for who follows a memory space.
//!
//! Nothing is kept for that. Rows of a tail stand in the order of their sequences, and a section
//! has a column with that order. So the place where to go on is found by bisection, however far
//! back it lies, and the parts are merged from there. Who follows costs the shard nothing but the
//! calls, and a consolidation changes nothing for them.
//!
//! Episodes are seen as they were when the shard had applied a `snapshot`. With the last durable
//! sequence as that, nothing is shown that could be lost, and nothing passed over for a version
//! that could be lost: what was replaced since is still seen.

use super::part::Part;
use super::section::TRIED_BLOCKS;
use super::{Fields, Space, StoredEpisode};
use crate::arena::Arena;
use crate::episode::Refusal;
use crate::format::columns::ColumnKind;

/// Episodes in the order of their sequences.
#[derive(Debug, Clone, PartialEq)]
pub struct News {
    pub episodes: Vec<StoredEpisode>,
    /// Nothing else up to here is there to be seen: where to go on.
    pub through: u64,
}

/// When a call ends at the latest. One episode always fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewsLimits {
    pub count: usize,
    /// Bytes of texts, vectors, metadata and links.
    pub bytes_max: usize,
    /// Rows that are looked at, dead ones included.
    pub rows_max: usize,
}

/// A part and the next place in its order of sequences.
struct Head<'a> {
    part: Part<'a>,
    place: usize,
}

impl Head<'_> {
    /// The sequence and the row there.
    fn peek(&self) -> Option<(u64, u32)> {
        let row = self.part.row_in_place(self.place)?;
        Some((self.part.record(row).sequence, row))
    }
}

impl Space {
    /// The sequence of the last episode that was stored since the shard opened; 0 without one.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// What was stored behind the sequence `after` and lived at `snapshot`. An answer without
    /// episodes that does not go through `snapshot` says no more than that there is more to do.
    pub fn news(
        &self,
        arena: &Arena,
        (after, snapshot): (u64, u64),
        limits: NewsLimits,
        fields: Fields,
    ) -> Result<News, Refusal> {
        let mut news = News { episodes: Vec::new(), through: after };
        if !self.try_sequence_orders()? {
            return Ok(news);
        }
        let head = |part| Head { part, place: Part::place_behind(part, after) };
        let mut heads: Vec<Head<'_>> = self.parts(arena).map(head).collect();
        let (mut bytes, mut rows_left) = (0, limits.rows_max);
        loop {
            let next = heads.iter_mut().filter_map(|head| Some((head.peek()?, head)));
            let next = next.min_by_key(|((sequence, _), _)| *sequence);
            let next = next.filter(|((sequence, _), _)| *sequence <= snapshot);
            let Some(((sequence, row), head)) = next else {
                news.through = snapshot.max(after);
                return Ok(news);
            };
            let is_full = news.episodes.len() >= limits.count || bytes >= limits.bytes_max;
            if is_full || rows_left == 0 {
                return Ok(news);
            }
            head.place += 1;
            rows_left -= 1;
            let part = head.part;
            if part.deaths().died(row) > snapshot {
                bytes += part.read_bytes(row, self.dimensions(), fields, &self.overlays);
                match part.read(row, self.dimensions(), fields, self.changed()) {
                    Ok(episode) => news.episodes.push(episode),
                    // What stands before it is given first.
                    Err(_) if !news.episodes.is_empty() => return Ok(news),
                    Err(damaged) => return Err(damaged.into()),
                }
            }
            news.through = sequence.max(news.through);
        }
    }

    /// Tries some more of the columns that say in which order rows were stored; whether all of
    /// them were. A damaged one could hide episodes.
    fn try_sequence_orders(&self) -> Result<bool, Refusal> {
        let kind = ColumnKind::SequenceOrder;
        if self.sections.iter().any(|section| section.try_column(kind, TRIED_BLOCKS)) {
            return Ok(false);
        }
        match self.sections.iter().all(|section| section.sequence_order().is_some()) {
            true => Ok(true),
            false => Err(Refusal::Corrupt(
                "a columns file no longer says in which order its episodes were stored; run \
                 `engram inspect` to see what else is damaged, then restore a snapshot"
                    .into(),
            )),
        }
    }
}
