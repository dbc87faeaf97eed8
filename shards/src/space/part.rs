//! A part of a memory space as a reader sees it: a tail in memory or a section of a columns file.

use std::num::NonZero;

use bytes::Bytes;
use thiserror::Error;
use zerocopy::IntoBytes;

use super::links::{Marks, Overlays};
use super::rows::{Columns, Record};
use super::superseded::SupersededBy;
use super::{Changed, Deaths, Section, Tail, TailCodes};
use crate::arena::Arena;
use crate::episode::{CodeBits, Confidence, Fields, Link, Refusal, Sequence, StoredEpisode};
use crate::filter::Filter;
use crate::format::columns::ZoneBlock;
use crate::format::{LinkRecords, StoreSizes};
use crate::index::codes::FlatCodes;
use crate::index::projection::Projection;
use crate::index::simd::prefetch;
use crate::limits::BLOCK_ROWS;
use crate::links::{GistLink, LinkList};
use crate::trust::Trust;
use crate::words::Words;
use crate::words::threads::{Moment, Threads};

/// Names a part within its space; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartNumber(pub u64);

/// A row of a space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowAt {
    pub part: PartNumber,
    pub row: u32,
}

/// What a columns file says of a row cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "row {row} is damaged in its columns file; stop the daemon and run `engram inspect` to see \
     what else is, then restore a snapshot"
)]
pub struct Damaged {
    pub row: u32,
}

impl From<Damaged> for Refusal {
    fn from(damaged: Damaged) -> Self {
        Self::Corrupt(damaged.to_string())
    }
}

/// Bytes of a body that are asked for ahead; the kernel's own prefetch goes on from there.
const PREFETCHED_BODY_BYTES: usize = 512;

/// See the top of the file.
#[derive(Debug, Clone, Copy)]
pub enum Part<'a> {
    Tail(&'a Tail, &'a Arena),
    Section(&'a Section),
}

/// The extremes of up to 64 rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Zone {
    pub happened_min_us: i64,
    pub happened_max_us: i64,
    pub confidence_max: f32,
}

impl Zone {
    pub const EMPTY: Self =
        Self { happened_min_us: i64::MAX, happened_max_us: i64::MIN, confidence_max: 0.0 };

    pub fn add(&mut self, happened_at_us: i64, confidence: f32) {
        self.happened_min_us = self.happened_min_us.min(happened_at_us);
        self.happened_max_us = self.happened_max_us.max(happened_at_us);
        self.confidence_max = self.confidence_max.max(confidence);
    }
}

impl From<&ZoneBlock> for Zone {
    fn from(block: &ZoneBlock) -> Self {
        Self {
            happened_min_us: block.happened_min_us.get(),
            happened_max_us: block.happened_max_us.get(),
            confidence_max: block.confidence_max.get(),
        }
    }
}

impl From<Zone> for ZoneBlock {
    fn from(zone: Zone) -> Self {
        Self {
            happened_min_us: zone.happened_min_us.into(),
            happened_max_us: zone.happened_max_us.into(),
            confidence_max: zone.confidence_max.into(),
            zero: 0.into(),
        }
    }
}

/// Up to 64 rows as a scan sees them, their vectors aside.
#[derive(Debug, Clone, Copy)]
pub struct BlockView<'a> {
    pub zone: Zone,
    pub scale: &'a [f32],
    pub happened_at_us: &'a [i64],
    pub confidence: &'a [f32],
}

impl BlockView<'_> {
    /// The rows whose time and confidence are inside the bounds, as bits.
    pub fn within(&self, since_us: i64, until_us: i64, confidence_min: f32) -> u64 {
        let zone = &self.zone;
        let none = zone.happened_max_us < since_us
            || zone.happened_min_us > until_us
            || zone.confidence_max < confidence_min;
        if none {
            return 0;
        }
        let rows = self.happened_at_us.iter().zip(self.confidence).enumerate();
        rows.fold(0, |bits, (nth, (time, confidence))| {
            let is_within = (since_us..=until_us).contains(time) && *confidence >= confidence_min;
            bits | u64::from(is_within) << nth
        })
    }
}

impl<'a> Part<'a> {
    pub fn number(self) -> PartNumber {
        match self {
            Self::Tail(tail, _) => tail.number,
            Self::Section(section) => section.number,
        }
    }

    pub fn deaths(self) -> &'a Deaths {
        match self {
            Self::Tail(tail, _) => &tail.deaths,
            Self::Section(section) => &section.deaths,
        }
    }

    /// Rows, dead ones included.
    pub fn rows(self) -> u32 {
        self.deaths().rows()
    }

    /// Blocks of up to 64 rows.
    pub fn blocks(self) -> usize {
        (self.rows() as usize).div_ceil(BLOCK_ROWS)
    }

    pub fn block(self, nth: usize) -> BlockView<'a> {
        match self {
            Self::Tail(tail, _) => tail.rows.block(nth),
            Self::Section(section) => section.block(nth),
        }
    }

    /// Calls `with` with the vectors of a block: one or two runs of rows, each row padded.
    pub fn for_each_run(self, nth: usize, mut with: impl FnMut(&'a [f32])) {
        match self {
            Self::Tail(tail, arena) => tail.rows.runs(arena, nth).for_each(with),
            Self::Section(section) => with(section.block_vectors(nth)),
        }
    }

    /// Asks for what scoring a row reads: its vector, its columns and its record.
    pub fn prefetch(self, row: u32) {
        prefetch(self.vector(row).as_bytes());
        self.prefetch_record(row);
    }

    /// Asks for what reading an episode reads besides its variable parts.
    pub fn prefetch_record(self, row: u32) {
        if let Self::Section(section) = self {
            section.prefetch_columns(row);
        }
    }

    /// Asks for the variable parts of a row whose record is at hand, the texts of long ones aside.
    pub fn prefetch_body(self, row: u32) {
        if let Ok(body) = self.body_bytes(row) {
            prefetch(&body[..body.len().min(PREFETCHED_BODY_BYTES)]);
        }
    }

    /// Rows that have codes: the first so many.
    pub fn coded_rows(self) -> u32 {
        match self {
            Self::Tail(tail, _) => tail.coded_rows(),
            Self::Section(section) => section.index().map_or(0, |_| section.rows()),
        }
    }

    /// How the rows became the points that codes describe; `None` without codes.
    pub fn code_projection(self) -> Option<&'a Projection> {
        match self {
            Self::Tail(tail, _) => tail.codes.as_ref().map(TailCodes::projection),
            Self::Section(section) => section.index().map(|(index, _)| &index.projection),
        }
    }

    /// Bits of each coordinate in the codes; `None` without codes.
    pub fn code_bits(self) -> Option<CodeBits> {
        let layout = match self {
            Self::Tail(tail, _) => tail.codes.as_ref()?.layout(),
            Self::Section(section) => section.index()?.0.code_layout(),
        };
        Some(layout.bits)
    }

    /// Where the codes of the 32 rows of a block are: codes, and the number of the block in them.
    pub fn codes(self, block: usize) -> Option<(FlatCodes<'a>, usize)> {
        match self {
            Self::Tail(tail, arena) => Some(tail.codes.as_ref()?.block(arena, block)),
            Self::Section(section) => {
                let (index, columns) = section.index()?;
                Some((index.codes(columns), block))
            }
        }
    }

    /// A row's vector, padded.
    pub fn vector(self, row: u32) -> &'a [f32] {
        match self {
            Self::Tail(tail, arena) => tail.rows.vector(arena, row),
            Self::Section(section) => section.vector(row),
        }
    }

    pub fn columns(self, row: u32) -> Columns {
        match self {
            Self::Tail(tail, _) => tail.rows.columns(row),
            Self::Section(section) => section.columns(row),
        }
    }

    pub fn record(self, row: u32) -> Record {
        match self {
            Self::Tail(tail, _) => tail.rows.record(row).0,
            Self::Section(section) => section.record(row),
        }
    }

    pub fn confidence(self, row: u32) -> Confidence {
        let Record { confidence_low: low, confidence_high: high, .. } = self.record(row);
        Confidence { point: self.columns(row).confidence, low, high }
    }

    /// Where a row stands in the order of its thread.
    pub fn moment(self, row: u32) -> Moment {
        let Record { recorded_at_us, sequence, .. } = self.record(row);
        (self.columns(row).happened_at_us, recorded_at_us, sequence)
    }

    /// The sequence that a row was stored with, and when its episode happened.
    pub fn origin(self, row: u32) -> (u64, i64) {
        (self.record(row).sequence, self.columns(row).happened_at_us)
    }

    /// What is known of the texts of the first so many rows; `None` until
    /// [`Space::read_text`](super::Space::read_text) said that they are read.
    pub fn words(self, rows: u32) -> Option<Words<'a>> {
        match self {
            Self::Tail(tail, _) => {
                (tail.text.rows() >= rows).then_some(Words::Grown(&tail.text.words))
            }
            Self::Section(section) => match section.words() {
                Some(words) => Some(Words::Section(words)),
                None => section.grown_text().map(|text| Words::Grown(&text.words)),
            },
        }
    }

    /// Which rows belong to which thread, as far as their texts are known.
    pub fn threads(self) -> Threads<'a> {
        match self {
            Self::Tail(tail, _) => Threads::Grown(&tail.text.threads),
            Self::Section(section) => match section.grown_text() {
                Some(text) => Threads::Grown(&text.threads),
                None => Threads::Section(section.threads()),
            },
        }
    }

    /// The variable parts of a row, one behind the other.
    pub fn body_bytes(self, row: u32) -> Result<&'a [u8], Damaged> {
        match self {
            Self::Tail(tail, arena) => Ok(tail.body_bytes(arena, row)),
            Self::Section(section) => section.body_bytes(row),
        }
    }

    /// The variable parts of a row.
    pub fn body(self, row: u32) -> Result<Body<'a>, Damaged> {
        let bytes = self.body_bytes(row)?;
        Ok(Body::new(bytes, &self.record(row).sizes))
    }

    /// The rows whose links are not those of their bodies any more.
    pub fn relinked(self) -> &'a Marks {
        match self {
            Self::Tail(tail, _) => &tail.relinked,
            Self::Section(section) => &section.relinked,
        }
    }

    /// The links of a row as they are now.
    pub fn links(self, row: u32, overlays: &'a Overlays) -> Result<LinkRecords<'a>, Damaged> {
        if self.relinked().has(row)
            && let Some(list) = overlays.get(self.record(row).sequence)
        {
            return Ok(list.records());
        }
        Ok(LinkRecords(self.body(row)?.links))
    }

    /// How many associations a row has now.
    pub fn associations_count(self, row: u32, overlays: &Overlays) -> u32 {
        let as_stored = || self.record(row).sizes.links;
        let count = match self {
            // A client stores nothing else.
            Self::Tail(tail, _) if !tail.relinked.has(row) => usize::from(as_stored()),
            _ => self.links(row, overlays).map_or(0, |links| links.associations().count()),
        };
        u32::try_from(count).expect("bounded by EPISODE_LINKS_MAX")
    }

    /// Whether a row's metadata satisfies a filter. What cannot be read satisfies none in a tail;
    /// in a section it was read when that was written, so it is damaged now.
    pub fn satisfies(self, row: u32, filter: &Filter) -> Result<bool, Damaged> {
        match (filter.judge(self.body(row)?.metadata), self) {
            (Some(does), _) => Ok(does),
            (None, Self::Tail(..)) => Ok(false),
            (None, Self::Section(_)) => Err(Damaged { row }),
        }
    }

    /// How much whoever a row goes back to is trusted. Metadata that cannot be read is taken as by
    /// [`satisfies`](Self::satisfies).
    pub fn trusted(self, row: u32, trust: &Trust) -> Result<f32, Damaged> {
        match (trust.of(self.body(row)?.metadata, self.record(row).writer_uid), self) {
            (Some(trust), _) => Ok(trust),
            (None, Self::Tail(..)) => Ok(0.0),
            (None, Self::Section(_)) => Err(Damaged { row }),
        }
    }

    /// The row of the live episode with this id.
    pub fn find(self, id: &[u8]) -> Option<u32> {
        match self {
            Self::Tail(tail, arena) => tail.find(arena, id),
            Self::Section(section) => section.find(id),
        }
    }

    /// The row that was stored with a sequence, alive or not.
    pub fn find_sequence(self, sequence: u64) -> Option<u32> {
        match self {
            Self::Tail(tail, _) => tail.rows.find(sequence),
            Self::Section(section) => section.find_sequence(sequence),
        }
    }

    /// The first place in the order of sequences that is behind one.
    pub(super) fn place_behind(self, sequence: u64) -> usize {
        match self {
            Self::Tail(tail, _) => tail.rows.place_behind(sequence),
            Self::Section(section) => section.place_behind(sequence),
        }
    }

    /// The row in a place of the order of sequences, alive or not.
    pub(super) fn row_in_place(self, place: usize) -> Option<u32> {
        match self {
            // Rows of a tail come in that order.
            Self::Tail(tail, _) => u32::try_from(place).ok().filter(|row| *row < tail.rows.count()),
            Self::Section(section) => section.row_in_place(place),
        }
    }

    /// The first `count` live episodes from a position on, and those at the position of the last
    /// one: hashes of ids and rows, ascending.
    pub fn list_from(self, from: u64, count: usize) -> Vec<(u64, u32)> {
        match self {
            Self::Tail(tail, _) => tail.ids.list_from(from, count, |row| tail.deaths.is_alive(row)),
            Self::Section(section) => section.list_from(from, count),
        }
    }

    /// Reads an episode back with the fields that were asked for.
    pub(crate) fn read(
        self,
        row: u32,
        dimensions: usize,
        fields: Fields,
        changed: Changed<'a>,
    ) -> Result<StoredEpisode, Damaged> {
        let (record, columns) = (self.record(row), self.columns(row));
        let body = Body::new(self.body_bytes(row)?, &record.sizes);
        let copy = |wanted: bool, bytes: &[u8]| wanted.then(|| Bytes::copy_from_slice(bytes));
        let vector = || {
            let floats = &self.vector(row)[..dimensions];
            floats.iter().flat_map(|float| float.to_le_bytes()).collect::<Vec<u8>>().into()
        };
        Ok(StoredEpisode {
            id: Bytes::copy_from_slice(body.id),
            sequence: Sequence(record.sequence),
            happened_at_us: columns.happened_at_us,
            recorded_at_us: record.recorded_at_us,
            confidence: self.confidence(row),
            writer_uid: record.writer_uid,
            text: copy(fields.text, body.text),
            vector: fields.vector.then(vector),
            metadata: copy(fields.metadata, body.metadata),
            thread: Bytes::copy_from_slice(body.thread),
            links: match fields.links {
                true => {
                    let links = self.links(row, changed.links)?;
                    Some(links.associations().map(owned_link).collect())
                }
                false => None,
            },
            gist_links: match fields.gist_links {
                true => {
                    let links = self.links(row, changed.links)?;
                    links.filter_map(|(_, target, _)| GistLink::of(target)).collect()
                }
                false => Vec::new(),
            },
            superseded: self.superseded(row, u64::MAX).map(SupersededBy::to_owned),
            expires_at_us: record.expires_at_us.map(NonZero::get),
            strength: fields
                .strength
                .map(|at_us| Box::new(changed.strength(self.origin(row), at_us.get()))),
        })
    }

    /// Bytes of an episode's optional parts that [`read`](Self::read) would copy.
    pub fn read_bytes(
        self,
        row: u32,
        dimensions: usize,
        fields: Fields,
        overlays: &Overlays,
    ) -> usize {
        if !fields.has_parts() {
            return 0;
        }
        let Record { sequence, sizes, .. } = self.record(row);
        let relinked = self.relinked().has(row).then(|| overlays.get(sequence)).flatten();
        let links_bytes = relinked.map_or(sizes.links_bytes as usize, LinkList::bytes);
        let part = |wanted: bool, bytes: usize| if wanted { bytes } else { 0 };
        part(fields.text, sizes.text as usize)
            + part(fields.metadata, sizes.metadata as usize)
            + part(fields.links, links_bytes)
            + part(fields.vector, dimensions * size_of::<f32>())
    }
}

/// The variable parts of a stored episode, in the order in which the frame has them.
#[derive(Debug, Clone, Copy)]
pub struct Body<'a> {
    pub id: &'a [u8],
    pub thread: &'a [u8],
    pub key: &'a [u8],
    pub text: &'a [u8],
    pub metadata: &'a [u8],
    pub(super) links: &'a [u8],
}

impl<'a> Body<'a> {
    /// # Panics
    /// When `bytes` is shorter than the sizes say.
    pub(super) fn new(bytes: &'a [u8], sizes: &StoreSizes) -> Self {
        let (id, rest) = bytes.split_at(usize::from(sizes.id));
        let (thread, rest) = rest.split_at(usize::from(sizes.thread));
        let (key, rest) = rest.split_at(usize::from(sizes.key));
        let (text, rest) = rest.split_at(sizes.text as usize);
        let (metadata, links) = rest.split_at(sizes.metadata as usize);
        Self { id, thread, key, text, metadata, links }
    }
}

fn owned_link((weight, target, kind): (f32, &[u8], &[u8])) -> Link {
    let (target, kind) = (Bytes::copy_from_slice(target), Bytes::copy_from_slice(kind));
    Link { target, weight, kind }
}
