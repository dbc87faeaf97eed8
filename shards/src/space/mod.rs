//! One memory space on one shard: its rows, their bodies and the way from an id to a row.
//!
//! | Part | Holds | Layout |
//! |---|---|---|
//! | [`Rows`] | vectors and what filters look at | rows, columns in blocks of 64 |
//! | [`Bodies`] | id, thread, key, text, metadata, links | appended bytes |
//! | [`Ids`] | id → row of the live episode | striped hash table |
//!
//! Rows are numbered in the order they were applied and never move. An episode that is replaced or
//! forgotten leaves a dead row behind; recalls that began before still see it.

mod bodies;
mod ids;
mod rows;

use bytes::Bytes;

use crate::arena::Arena;
use crate::episode::{
    Confidence, Episode, Fields, Link, Metric, Sequence, SpaceNumber, SpaceSettings, StoredEpisode,
};
use crate::format::{Frame, LinkRecords, StorePayload, StoreSizes};
use crate::keys::KeyHash;
use bodies::{Bodies, BodyAt};
use ids::Ids;

pub use rows::{BlockView, Record, Rows};

/// See the top of the file.
#[derive(Debug)]
pub struct Space {
    pub number: SpaceNumber,
    pub settings: SpaceSettings,
    pub rows: Rows,
    bodies: Bodies,
    ids: Ids,
}

impl Space {
    pub fn new(number: SpaceNumber, settings: SpaceSettings) -> Self {
        let dimensions = settings.dimensions as usize;
        Self {
            number,
            settings,
            rows: Rows::new(dimensions),
            bodies: Bodies::default(),
            ids: Ids::default(),
        }
    }

    pub fn dimensions(&self) -> usize {
        self.settings.dimensions as usize
    }

    /// Episodes that a recall can find.
    pub fn episodes(&self) -> usize {
        self.ids.len()
    }

    /// The row of the live episode with this id.
    pub fn find(&self, arena: &Arena, id: &[u8]) -> Option<u32> {
        self.ids.find(id, |row| self.id(arena, row))
    }

    fn id<'a>(&self, arena: &'a Arena, row: u32) -> &'a [u8] {
        let record = self.rows.record(row);
        self.bodies.get(arena, record.body, usize::from(record.sizes.id))
    }

    /// Adds an episode; the row that it replaced, if it did.
    pub fn insert(
        &mut self,
        arena: &mut Arena,
        frame: &Frame<'_>,
        store: &StorePayload<'_>,
    ) -> Option<u32> {
        let body = self.bodies.push(arena, store.body);
        let record = Record {
            sequence: frame.sequence,
            died: u64::MAX,
            recorded_at_us: frame.head.recorded_at_us,
            confidence_low: store.confidence.low,
            confidence_high: store.confidence.high,
            writer_uid: frame.head.writer_uid,
            body,
            sizes: store.sizes,
        };
        let scale = match self.settings.metric {
            Metric::Cosine => 1.0 / store.norm,
            Metric::Dot | Metric::L2 => 1.0,
        };
        let columns = rows::Columns {
            scale,
            happened_at_us: frame.head.happened_at_us,
            confidence: store.confidence.point,
        };
        let row = self.rows.push(arena, store.vector, columns, record);
        let (rows, bodies) = (&self.rows, &self.bodies);
        let id_of = |row: u32| {
            let record = rows.record(row);
            bodies.get(arena, record.body, usize::from(record.sizes.id))
        };
        let replaced = self.ids.insert(store.id(), row, id_of);
        if let Some(old) = replaced {
            self.rows.kill(old, frame.sequence);
        }
        replaced
    }

    /// Forgets an episode; whether there was one.
    pub fn remove(&mut self, arena: &Arena, id: &[u8], sequence: u64) -> bool {
        let (rows, bodies) = (&self.rows, &self.bodies);
        let id_of = |row: u32| {
            let record = rows.record(row);
            bodies.get(arena, record.body, usize::from(record.sizes.id))
        };
        let Some(row) = self.ids.remove(id, id_of) else { return false };
        self.rows.kill(row, sequence);
        true
    }

    /// Sees to it that the episode which was stored with a sequence is dead; its idempotency key.
    pub fn erase(&mut self, arena: &Arena, stored: u64, at: u64) -> Option<KeyHash> {
        let row = self.rows.find(stored)?;
        let record = self.rows.record(row);
        let body = self.bodies.get(arena, record.body, record.sizes.body_bytes());
        let Parts { id, key, .. } = Parts::new(body, &record.sizes);
        if self.rows.is_alive(row) {
            self.remove(arena, id, at);
        }
        (!key.is_empty()).then(|| KeyHash::new(self.number, id, key))
    }

    /// Gives all memory back to the arena.
    pub fn release(self, arena: &mut Arena) {
        self.rows.release(arena);
        self.bodies.release(arena);
    }

    /// The metadata of a row: a JSON object or nothing.
    pub fn metadata<'a>(&self, arena: &'a Arena, row: u32) -> &'a [u8] {
        let record = self.rows.record(row);
        let body = self.bodies.get(arena, record.body, record.sizes.body_bytes());
        Parts::new(body, &record.sizes).metadata
    }

    /// Reads an episode back with the fields that were asked for.
    pub fn read(&self, arena: &Arena, row: u32, fields: Fields) -> StoredEpisode {
        let record = self.rows.record(row);
        let columns = self.rows.columns(row);
        let body = self.bodies.get(arena, record.body, record.sizes.body_bytes());
        let parts = Parts::new(body, &record.sizes);
        let copy = |wanted: bool, bytes: &[u8]| wanted.then(|| Bytes::copy_from_slice(bytes));
        StoredEpisode {
            id: Bytes::copy_from_slice(parts.id),
            sequence: Sequence(record.sequence),
            happened_at_us: columns.happened_at_us,
            recorded_at_us: record.recorded_at_us,
            confidence: Confidence {
                point: columns.confidence,
                low: record.confidence_low,
                high: record.confidence_high,
            },
            writer_uid: record.writer_uid,
            text: copy(fields.text, parts.text),
            vector: fields.vector.then(|| self.rows.vector(arena, row)),
            metadata: copy(fields.metadata, parts.metadata),
            thread: Bytes::copy_from_slice(parts.thread),
            links: fields.links.then(|| parts.links().collect()),
        }
    }

    /// Bytes of an episode's optional parts that [`read`](Self::read) would copy.
    pub fn read_bytes(&self, row: u32, fields: Fields) -> usize {
        let sizes = self.rows.record(row).sizes;
        let part = |wanted: bool, bytes: usize| if wanted { bytes } else { 0 };
        part(fields.text, sizes.text as usize)
            + part(fields.metadata, sizes.metadata as usize)
            + part(fields.links, sizes.links_bytes as usize)
            + part(fields.vector, self.dimensions() * size_of::<f32>())
    }

    /// Checks that the parts agree with each other; what does not, in words.
    pub fn verify(&self, arena: &Arena) -> Vec<String> {
        let mut faults = Vec::new();
        let mut alive = 0;
        for row in 0..self.rows.count() {
            let id = self.id(arena, row);
            let found = self.ids.find(id, |row| self.id(arena, row));
            let is_alive = self.rows.is_alive(row);
            alive += usize::from(is_alive);
            if is_alive != (found == Some(row)) {
                let name = &self.settings.name;
                faults.push(format!(
                    "space '{name}': row {row} is alive: {is_alive}, its id leads to {found:?}"
                ));
            }
        }
        if alive != self.ids.len() {
            let (name, ids) = (&self.settings.name, self.ids.len());
            faults.push(format!("space '{name}': {alive} live rows, {ids} ids"));
        }
        faults
    }
}

/// The variable parts of a stored episode, in the order in which the frame has them.
struct Parts<'a> {
    id: &'a [u8],
    thread: &'a [u8],
    key: &'a [u8],
    text: &'a [u8],
    metadata: &'a [u8],
    links: &'a [u8],
}

impl<'a> Parts<'a> {
    fn new(body: &'a [u8], sizes: &StoreSizes) -> Self {
        let (id, rest) = body.split_at(usize::from(sizes.id));
        let (thread, rest) = rest.split_at(usize::from(sizes.thread));
        let (key, rest) = rest.split_at(usize::from(sizes.key));
        let (text, rest) = rest.split_at(sizes.text as usize);
        let (metadata, links) = rest.split_at(sizes.metadata as usize);
        Self { id, thread, key, text, metadata, links }
    }

    fn links(&self) -> impl Iterator<Item = Link> + use<'_> {
        LinkRecords(self.links).map(|(weight, target, kind)| Link {
            target: Bytes::copy_from_slice(target),
            weight,
            kind: Bytes::copy_from_slice(kind),
        })
    }
}

/// An episode as the client gave it, from what was read back with all fields.
impl From<StoredEpisode> for Episode {
    fn from(stored: StoredEpisode) -> Self {
        Self {
            id: stored.id,
            vector: stored.vector.unwrap_or_default(),
            text: stored.text.unwrap_or_default(),
            happened_at_us: Some(stored.happened_at_us),
            confidence: stored.confidence,
            metadata: stored.metadata.unwrap_or_default(),
            thread: stored.thread,
            links: stored.links.unwrap_or_default(),
        }
    }
}
