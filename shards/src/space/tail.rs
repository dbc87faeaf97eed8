//! A part that is in memory: rows as they were applied, in the order of their sequences.

use super::bodies::Bodies;
use super::expiries::Expiries;
use super::ids::Ids;
use super::links::Marks;
use super::part::{Body, PartNumber};
use super::rows::{Columns, Record, Rows};
use super::superseded::Supersessions;
use super::text::Text;
use super::{Deaths, Ended, RELEASED_SUPERSESSIONS, SpaceSettings, TailBuckets, TailCodes};
use crate::arena::Arena;
use crate::episode::Metric;
use crate::format::{Frame, StorePayload};

/// See the top of the file.
#[derive(Debug)]
pub struct Tail {
    pub(super) number: PartNumber,
    pub(super) rows: Rows,
    pub(super) deaths: Deaths,
    pub(super) relinked: Marks,
    pub(super) supersessions: Supersessions,
    pub(super) expiries: Expiries,
    bodies: Bodies,
    /// The live episodes.
    pub(super) ids: Ids,
    /// `None` where codes do not pay.
    pub(super) codes: Option<TailCodes>,
    pub(super) text: Text,
}

impl Tail {
    pub(super) fn new(number: PartNumber, settings: &SpaceSettings) -> Self {
        let (bodies, ids, deaths) = (Bodies::default(), Ids::default(), Deaths::default());
        let (relinked, text) = (Marks::default(), Text::default());
        let (supersessions, expiries) = (Supersessions::default(), Expiries::default());
        let dimensions = settings.dimensions as usize;
        let codes = TailCodes::new(settings.metric, dimensions, settings.codes);
        let rows = Rows::new(dimensions);
        Self { number, rows, deaths, relinked, supersessions, expiries, bodies, ids, codes, text }
    }

    /// Does one unit of the work on codes that nobody waits for; whether nothing is left.
    pub(super) fn work(&mut self, arena: &mut Arena) -> bool {
        self.codes.as_mut().is_none_or(|codes| codes.work(&self.rows, arena))
    }

    /// Codes up to `rows_max` more rows; whether none is left.
    pub(super) fn code(&mut self, arena: &mut Arena, rows_max: u32) -> bool {
        self.codes.as_mut().is_none_or(|codes| codes.catch_up(&self.rows, arena, rows_max))
    }

    /// The buckets, if the tail has any yet.
    pub fn buckets(&self) -> Option<&TailBuckets> {
        self.codes.as_ref()?.buckets()
    }

    /// Rows that are coded: the first so many.
    pub fn coded_rows(&self) -> u32 {
        self.codes.as_ref().map_or(0, TailCodes::rows)
    }

    pub(super) fn body_bytes<'a>(&self, arena: &'a Arena, row: u32) -> &'a [u8] {
        let (record, body) = self.rows.record(row);
        self.bodies.get(arena, *body, record.sizes.body_bytes())
    }

    fn id<'a>(&self, arena: &'a Arena, row: u32) -> &'a [u8] {
        let (record, body) = self.rows.record(row);
        self.bodies.get(arena, *body, usize::from(record.sizes.id))
    }

    pub(super) fn find(&self, arena: &Arena, id: &[u8]) -> Option<u32> {
        let row = self.ids.find(id, |row| self.id(arena, row));
        row.filter(|row| self.deaths.is_alive(*row))
    }

    /// Adds an episode; what it replaced in this part.
    pub(super) fn insert(
        &mut self,
        arena: &mut Arena,
        settings: &SpaceSettings,
        frame: &Frame<'_>,
        store: &StorePayload<'_>,
    ) -> Option<Ended> {
        let body = self.bodies.push(arena, store.body);
        let record = Record {
            sequence: frame.sequence,
            recorded_at_us: frame.head.recorded_at_us,
            confidence_low: store.confidence.low,
            confidence_high: store.confidence.high,
            writer_uid: frame.head.writer_uid,
            expires_at_us: store.expires_at_us,
            sizes: store.sizes,
        };
        let columns = Columns {
            scale: match settings.metric {
                Metric::Cosine => 1.0 / store.norm,
                Metric::Dot | Metric::L2 => 1.0,
            },
            happened_at_us: frame.head.happened_at_us,
            confidence: store.confidence.point,
        };
        let row = self.rows.push(arena, store.vector, columns, record, body);
        self.deaths.push();
        store.expires_at_us.inspect(|expires| self.expiries.push(expires.get(), row));
        let (rows, bodies) = (&self.rows, &self.bodies);
        let id_of = |row: u32| {
            let (record, body) = rows.record(row);
            bodies.get(arena, *body, usize::from(record.sizes.id))
        };
        let replaced = self.ids.insert(store.id(), row, id_of);
        replaced.map(|old| self.kill(old, frame.sequence))
    }

    /// Kills the episode with this id, if there is one, be it hidden or not.
    pub(super) fn remove(&mut self, arena: &Arena, id: &[u8], sequence: u64) -> Option<Ended> {
        let (rows, bodies) = (&self.rows, &self.bodies);
        let id_of = |row: u32| {
            let (record, body) = rows.record(row);
            bodies.get(arena, *body, usize::from(record.sizes.id))
        };
        let row = self.ids.remove(id, id_of)?;
        Some(self.kill(row, sequence))
    }

    fn kill(&mut self, row: u32, sequence: u64) -> Ended {
        let was_seen = self.deaths.kill(row, sequence);
        Ended { stored: self.rows.record(row).0.sequence, was_seen }
    }

    /// Gives up to `chunks` back to the arena, and when there are none left, a part of its table;
    /// whether that was the last. The tail is not looked at any more.
    pub(super) fn release_some(&mut self, arena: &mut Arena, chunks: usize) -> bool {
        let mut left = chunks;
        left -= self.rows.release_some(arena, left);
        left -= self.bodies.release_some(arena, left);
        left -= self.codes.as_mut().map_or(0, |codes| codes.release_some(arena, left));
        left == chunks
            && self.ids.release_some()
            && self.text.release_some()
            && self.supersessions.release_some(RELEASED_SUPERSESSIONS)
    }

    /// What does not agree within the part, in words.
    pub(super) fn verify(&self, arena: &Arena) -> Vec<String> {
        let mut faults = Vec::new();
        for row in 0..self.rows.count() {
            let body = Body::new(self.body_bytes(arena, row), &self.rows.record(row).0.sizes);
            let (found, is_alive) = (self.find(arena, body.id), self.deaths.is_alive(row));
            if is_alive != (found == Some(row)) {
                faults.push(format!("row {row} is alive: {is_alive}, its id leads to {found:?}"));
            }
        }
        let (rows, dead, ids) = (self.rows.count(), self.deaths.dead(), self.ids.len());
        if (rows - dead) as usize != ids || self.deaths.rows() != rows {
            faults.push(format!("{rows} rows with {dead} dead ones, {ids} ids"));
        }
        faults
    }
}
