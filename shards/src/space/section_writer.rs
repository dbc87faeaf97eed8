//! Writing the rows of some parts, in a given order, as the section of a columns file.
//!
//! The sources are the frozen tail and the sections that are merged with it. They do not move
//! meanwhile, so the writer can stop anywhere: each call does a slice of the work and leaves the
//! space to others. What is written are the rows that lived at the freeze, with the links that they
//! had; those that die during
//! the work are written all the same, because their deaths may not be durable, and die again when
//! the section is [published](super::Space::publish).

use zerocopy::IntoBytes;

use super::centroid::Centroid;
use super::ids::id_hash;
use super::part::{Damaged, Part, PartNumber, RowAt, Zone};
use super::section::confidence_key;
use super::sorter::Sorter;
use super::text_writer::{ThreadsWriter, WordsWriter};
use super::{Section, Space};
use crate::arena::Arena;
use crate::format::columns::{ColumnKind, ColumnsWriter, ZoneBlock};
use crate::format::{ExpiryBlock, LinkRecords, SupersededBlock};
use crate::limits::BLOCK_ROWS;
use crate::links::LinksBuilder;
use crate::terms::TermsBuilder;

/// What it costs to look at a row, and at its metadata, in the bytes that a slice of work is
/// measured by.
const LOOK_BYTES: usize = 128;
const LOOK_METADATA_BYTES: usize = 2048;
/// What one unit of work on words costs.
const LOOK_WORDS_BYTES: usize = 8192;
/// What it costs to find what a link leads to, and links of a row that are read at once.
const LOOK_LINK_BYTES: usize = 512;
const LOOK_LINKS: usize = 32;

/// Where the rows of the sources went: what it takes to let deaths follow them.
#[derive(Debug, Default)]
pub struct Moved {
    sources: Vec<Source>,
}

#[derive(Debug)]
struct Source {
    number: PartNumber,
    /// By row, the new row plus one; 0 where the row did not live at the freeze.
    rows: Vec<u32>,
    /// How many of the deaths noted in the source have followed, of the rows whose links changed,
    /// and of those that were superseded.
    followed: usize,
    relinked_followed: usize,
    superseded_followed: usize,
}

impl Moved {
    /// Of sources of which no row has moved yet, or none will.
    pub fn new(space: &Space, arena: &Arena, sources: &[PartNumber]) -> Self {
        let source = |&number| {
            let rows = space.part(arena, number).map_or(0, Part::rows) as usize;
            Source {
                number,
                rows: vec![0; rows],
                followed: 0,
                relinked_followed: 0,
                superseded_followed: 0,
            }
        };
        Self { sources: sources.iter().map(source).collect() }
    }

    fn note(&mut self, from: RowAt, to: u32) {
        let source = self.sources.iter_mut().find(|source| source.number == from.part);
        source.expect("the order names rows of the sources").rows[from.row as usize] = to + 1;
    }

    /// Where a row of a source went, if it lived at the freeze.
    pub(super) fn row(&self, part: PartNumber, row: u32) -> Option<u32> {
        let source = self.sources.iter().find(|source| source.number == part)?;
        source.rows.get(row as usize)?.checked_sub(1)
    }

    /// The parts whose rows have moved.
    pub fn sources(&self) -> impl Iterator<Item = PartNumber> {
        self.sources.iter().map(|source| source.number)
    }

    /// Lets up to `count` deaths, and as many changes of links and supersessions, that were noted
    /// in the sources since the freeze follow their rows into the section; whether that was all.
    /// Before a section is published, this is done again and again, so that little is left when it
    /// is.
    pub fn follow(
        &mut self,
        space: &Space,
        arena: &Arena,
        section: &mut Section,
        count: usize,
    ) -> bool {
        let mut left = count;
        let mut relinked_left = count;
        let mut superseded_left = count;
        for source in &mut self.sources {
            let part = space.part(arena, source.number).expect("sources stay until published");
            let relinked = &part.relinked().noted()[source.relinked_followed..];
            for row in relinked.iter().take(relinked_left) {
                if let Some(row) = source.rows[*row as usize].checked_sub(1) {
                    section.relinked.set(row);
                }
            }
            source.relinked_followed += relinked.len().min(relinked_left);
            relinked_left -= relinked.len().min(relinked_left);
            let superseded = part.supersessions().noted().skip(source.superseded_followed);
            for (row, superseded, at) in superseded.take(superseded_left) {
                if let Some(row) = source.rows[row as usize].checked_sub(1) {
                    section.supersessions.set(row, superseded.clone(), at);
                }
                source.superseded_followed += 1;
                superseded_left -= 1;
            }
            let noted = &part.deaths().noted()[source.followed..];
            for (row, at) in noted.iter().take(left) {
                if let Some(row) = source.rows[*row as usize].checked_sub(1) {
                    section.bury(row, *at);
                }
            }
            source.followed += noted.len().min(left);
            left -= noted.len().min(left);
            if left == 0 || relinked_left == 0 || superseded_left == 0 {
                return false;
            }
        }
        true
    }
}

/// The rows of some parts that lived at a snapshot, sorted by `happened_at`, found in slices.
#[derive(Debug)]
pub struct TimeOrder {
    sources: Vec<PartNumber>,
    snapshot: u64,
    nth: usize,
    block: usize,
    sorter: Sorter<(i64, PartNumber)>,
    order: Vec<RowAt>,
}

impl TimeOrder {
    /// Of these parts, as they were when the shard had applied `snapshot`.
    pub fn new(space: &Space, arena: &Arena, sources: Vec<PartNumber>, snapshot: u64) -> Self {
        let parts = sources.iter().filter_map(|number| space.part(arena, *number));
        let rows = parts.map(|part| (part.rows() - part.deaths().dead()) as usize).sum();
        let (sorter, order) = (Sorter::with_capacity(rows), Vec::with_capacity(rows));
        Self { sources, snapshot, nth: 0, block: 0, sorter, order }
    }

    /// Does some more; whether all is done.
    pub fn step(&mut self, space: &Space, arena: &Arena, rows: usize) -> bool {
        let mut left = rows;
        while left > 0 {
            let Some(&number) = self.sources.get(self.nth) else {
                let some = self.sorter.by_ref().take(left);
                let before = self.order.len();
                self.order.extend(some.map(|((_, part), row)| RowAt { part, row }));
                return self.order.len() - before < left;
            };
            let part = space.part(arena, number).expect("sources stay until they are published");
            if self.block == part.blocks() {
                (self.nth, self.block) = (self.nth + 1, 0);
                continue;
            }
            let mut alive = part.deaths().kept(self.block, self.snapshot);
            let times = part.block(self.block).happened_at_us;
            while alive != 0 {
                let nth = alive.trailing_zeros();
                alive &= alive - 1;
                let row = u32::try_from(self.block * BLOCK_ROWS).expect("rows are u32") + nth;
                self.sorter.push((times[nth as usize], number), row);
            }
            left = left.saturating_sub(BLOCK_ROWS);
            self.block += 1;
        }
        false
    }

    /// The order, once all is done.
    pub fn finish(self) -> Vec<RowAt> {
        self.order
    }
}

/// The columns in the order of the file.
const COLUMNS: [ColumnKind; 23] = [
    ColumnKind::Vectors,
    ColumnKind::Scales,
    ColumnKind::HappenedAt,
    ColumnKind::Confidences,
    ColumnKind::Zones,
    ColumnKind::Records,
    ColumnKind::Bodies,
    ColumnKind::TimeOrder,
    ColumnKind::SequenceOrder,
    ColumnKind::IdHashes,
    ColumnKind::IdRows,
    ColumnKind::ConfidenceOrder,
    ColumnKind::Terms,
    ColumnKind::Words,
    ColumnKind::Threads,
    ColumnKind::Centroid,
    ColumnKind::Superseded,
    ColumnKind::SupersededBy,
    ColumnKind::Expiries,
    ColumnKind::LinkEdges,
    ColumnKind::LinkHeads,
    ColumnKind::LinkTargets,
    ColumnKind::LinkKinds,
];

/// See the top of the file.
#[derive(Debug)]
pub struct SectionWriter {
    /// Where each row of the section comes from.
    order: Vec<RowAt>,
    moved: Moved,
    /// The column under way, and its next row.
    column: usize,
    next: usize,
    /// Of a column that is an order of the rows; full before anything comes out.
    sorter: Sorter<u64>,
    sorted: usize,
    body_offset: u64,
    zone: Zone,
    /// The rows by the hash of their ids.
    id_rows: Vec<u32>,
    /// The hashes that go with them, if any row has links.
    id_hashes: Vec<u64>,
    /// Of the column of terms, once it is under way.
    terms: Option<Box<TermsBuilder>>,
    /// Of the column of words, once it is under way.
    words: Option<Box<WordsWriter>>,
    threads: ThreadsWriter,
    centroid: Centroid,
    has_links: bool,
    has_superseded: bool,
    has_expiries: bool,
    /// Bytes of the ids of what supersedes rows, so far.
    by_offset: u64,
    /// Of the columns of links, once they are under way.
    links: Option<Box<LinksBuilder>>,
    /// Pieces of a table that are written.
    tables: usize,
}

impl SectionWriter {
    /// Begins a section of these rows of the sources, in this order.
    ///
    /// # Panics
    /// When there are no rows: a space without any has no section.
    pub fn new(
        space: &Space,
        arena: &Arena,
        sources: &[PartNumber],
        order: Vec<RowAt>,
        writer: &mut ColumnsWriter,
        out: &mut Vec<u8>,
    ) -> Self {
        assert!(!order.is_empty(), "a section has rows");
        let rows = u32::try_from(order.len()).expect("a shard has fewer rows");
        writer.begin_section(space.number, space.settings.dimensions, rows);
        writer.begin_column(COLUMNS[0], out);
        Self {
            moved: Moved::new(space, arena, sources),
            column: 0,
            next: 0,
            sorter: Sorter::with_capacity(0),
            sorted: 0,
            body_offset: 0,
            zone: Zone::EMPTY,
            id_rows: Vec::with_capacity(order.len()),
            id_hashes: Vec::new(),
            terms: None,
            words: None,
            threads: ThreadsWriter::new(),
            centroid: Centroid::default(),
            has_links: false,
            has_superseded: false,
            has_expiries: false,
            by_offset: 0,
            links: None,
            tables: 0,
            order,
        }
    }

    /// Does about as much work as writing so many bytes is; whether the section is complete but for
    /// what an index adds to it.
    pub fn step(
        &mut self,
        space: &Space,
        arena: &Arena,
        writer: &mut ColumnsWriter,
        out: &mut Vec<u8>,
        bytes: usize,
    ) -> Result<bool, Damaged> {
        let mut spent = 0;
        while spent < bytes {
            let Some(kind) = self.kind() else { return Ok(true) };
            let before = out.len();
            if kind == ColumnKind::Terms {
                spent += self.put_terms(space, arena, writer, out)?;
            } else if kind == ColumnKind::Words {
                spent += self.put_words(space, arena, writer, out);
            } else if kind == ColumnKind::Threads {
                self.put_threads(writer, out);
            } else if kind == ColumnKind::Centroid {
                writer.put(&self.centroid.to_bytes(space.settings.dimensions), out);
                self.next = self.order.len();
            } else if kind == ColumnKind::LinkEdges {
                spent += self.put_edges(space, arena, writer, out)?;
            } else if matches!(kind, ColumnKind::LinkTargets | ColumnKind::LinkKinds) {
                self.put_tables(kind, writer, out);
            } else if is_sorted(kind) && self.sorted < self.order.len() {
                self.gather(space, arena, kind)?;
            } else if is_sorted(kind) {
                self.put_sorted(kind, writer, out);
            } else {
                self.put_row(space, arena, kind, writer, out)?;
            }
            spent += out.len() - before + LOOK_BYTES;
            if self.next == self.order.len() && self.terms.is_none() {
                self.begin_next(writer, out);
            }
        }
        Ok(self.kind().is_none())
    }

    /// The column under way.
    fn kind(&self) -> Option<ColumnKind> {
        COLUMNS.get(self.column).copied()
    }

    /// Whether the section has a column. What decides it is known with the records.
    fn has(&self, kind: ColumnKind) -> bool {
        match kind {
            ColumnKind::Superseded | ColumnKind::SupersededBy => self.has_superseded,
            ColumnKind::Expiries => self.has_expiries,
            ColumnKind::LinkEdges
            | ColumnKind::LinkHeads
            | ColumnKind::LinkTargets
            | ColumnKind::LinkKinds => self.has_links,
            _ => true,
        }
    }

    fn begin_next(&mut self, writer: &mut ColumnsWriter, out: &mut Vec<u8>) {
        let rest = COLUMNS.iter().skip(self.column + 1);
        let left_out = rest.take_while(|kind| !self.has(**kind)).count();
        (self.column, self.next, self.sorted) = (self.column + 1 + left_out, 0, 0);
        if let Some(kind) = self.kind() {
            writer.begin_column(kind, out);
            let keys = if is_sorted(kind) { self.order.len() } else { 0 };
            self.sorter = Sorter::with_capacity(keys);
        }
    }

    /// Reads the metadata of the next row, or writes some of what all came to; what that cost.
    fn put_terms(
        &mut self,
        space: &Space,
        arena: &Arena,
        writer: &mut ColumnsWriter,
        out: &mut Vec<u8>,
    ) -> Result<usize, Damaged> {
        let mut terms =
            self.terms.take().unwrap_or_else(|| Box::new(TermsBuilder::new(self.order.len())));
        if self.next == self.order.len() {
            let is_complete = terms.step(|bytes| writer.put(bytes, out));
            self.terms = (!is_complete).then_some(terms);
            return Ok(LOOK_METADATA_BYTES);
        }
        let (part, row) = self.source(space, arena, self.next);
        let metadata = part.body(row)?.metadata;
        terms.push(metadata);
        self.terms = Some(terms);
        self.next += 1;
        Ok(LOOK_METADATA_BYTES + metadata.len())
    }

    /// Does some work on the words; what that cost.
    fn put_words(
        &mut self,
        space: &Space,
        arena: &Arena,
        writer: &mut ColumnsWriter,
        out: &mut Vec<u8>,
    ) -> usize {
        let rows = narrow(self.order.len());
        let begin = || Box::new(WordsWriter::new(space, arena, &self.moved, rows));
        let mut words = self.words.take().unwrap_or_else(begin);
        let put = |bytes: &[u8]| writer.put(bytes, out);
        match words.step((space, arena), &self.moved, &self.order, put) {
            true => self.next = self.order.len(),
            false => self.words = Some(words),
        }
        LOOK_WORDS_BYTES
    }

    /// Writes some of the rows that have a thread.
    fn put_threads(&mut self, writer: &mut ColumnsWriter, out: &mut Vec<u8>) {
        if self.threads.put_some(|bytes| writer.put(bytes, out)) {
            self.next = self.order.len();
        }
    }

    /// Reads some links of the next row, and writes its edges when those were all; what that cost.
    fn put_edges(
        &mut self,
        space: &Space,
        arena: &Arena,
        writer: &mut ColumnsWriter,
        out: &mut Vec<u8>,
    ) -> Result<usize, Damaged> {
        let mut links =
            self.links.take().unwrap_or_else(|| Box::new(LinksBuilder::new(self.order.len())));
        let (part, row) = self.source(space, arena, self.next);
        let records = match space.links_at_freeze(part, row) {
            Some(links) => links.records(),
            None => LinkRecords(part.body(row)?.links),
        };
        let mut looked = 0;
        let row_of = |id: &[u8]| {
            looked += LOOK_LINK_BYTES;
            self.row_of(space, arena, id)
        };
        let is_complete = links.step(records.0, LOOK_LINKS, row_of, |edges| {
            writer.put(edges, out);
        })?;
        self.links = Some(links);
        self.next += usize::from(is_complete);
        Ok(looked)
    }

    /// The row of the section that an id leads to.
    fn row_of(&self, space: &Space, arena: &Arena, id: &[u8]) -> Result<Option<u32>, Damaged> {
        let hash = id_hash(id);
        let first = self.id_hashes.partition_point(|other| *other < hash);
        let same = self.id_hashes[first..].iter().take_while(|other| **other == hash);
        for (_, &own) in same.zip(&self.id_rows[first..]) {
            let (part, row) = self.source(space, arena, own as usize);
            if part.body(row)?.id == id {
                return Ok(Some(own));
            }
        }
        Ok(None)
    }

    /// Writes a piece of what belongs to no row.
    fn put_tables(&mut self, kind: ColumnKind, writer: &mut ColumnsWriter, out: &mut Vec<u8>) {
        let links = self.links.as_ref().expect("edges come first");
        let piece = match kind {
            ColumnKind::LinkTargets => links.targets(self.tables),
            _ => (self.tables == 0).then(|| links.kinds()),
        };
        self.tables += 1;
        match piece {
            Some(piece) => writer.put(&piece, out),
            None => (self.tables, self.next) = (0, self.order.len()),
        }
    }

    /// Where the rows went, once the section is complete.
    pub fn finish(self) -> Moved {
        self.moved
    }

    fn source<'a>(&self, space: &'a Space, arena: &'a Arena, row: usize) -> (Part<'a>, u32) {
        let RowAt { part, row } = self.order[row];
        let part = space.part(arena, part);
        (part.expect("sources stay until they are published"), row)
    }

    /// Puts the next row of a column into its sorter.
    fn gather(&mut self, space: &Space, arena: &Arena, kind: ColumnKind) -> Result<(), Damaged> {
        let (part, row) = self.source(space, arena, self.sorted);
        let key = match kind {
            ColumnKind::ConfidenceOrder => confidence_key(part.columns(row).confidence),
            // The same order as of the signed numbers.
            ColumnKind::TimeOrder => part.columns(row).happened_at_us.cast_unsigned() ^ (1 << 63),
            ColumnKind::SequenceOrder => part.record(row).sequence,
            ColumnKind::Expiries => match part.record(row).expires_at_us {
                Some(expires) => expires.get().cast_unsigned() ^ (1 << 63),
                None => {
                    self.sorted += 1;
                    return Ok(());
                }
            },
            _ => id_hash(part.body(row)?.id),
        };
        self.sorter.push(key, narrow(self.sorted));
        self.sorted += 1;
        Ok(())
    }

    fn put_sorted(&mut self, kind: ColumnKind, writer: &mut ColumnsWriter, out: &mut Vec<u8>) {
        if kind == ColumnKind::Expiries {
            match self.sorter.next() {
                Some((key, row)) => {
                    let expires_at_us = (key ^ (1 << 63)).cast_signed();
                    writer.put(ExpiryBlock::new(expires_at_us, row).as_bytes(), out);
                }
                None => self.next = self.order.len(),
            }
            return;
        }
        let (key, row) = self.sorter.next().expect("as many come out as went in");
        if kind == ColumnKind::IdHashes {
            self.id_rows.push(row);
            if self.has_links {
                self.id_hashes.push(key);
            }
            writer.put(&key.to_le_bytes(), out);
        } else {
            writer.put(&row.to_le_bytes(), out);
        }
        self.next += 1;
    }

    fn put_row(
        &mut self,
        space: &Space,
        arena: &Arena,
        kind: ColumnKind,
        writer: &mut ColumnsWriter,
        out: &mut Vec<u8>,
    ) -> Result<(), Damaged> {
        let (part, row) = self.source(space, arena, self.next);
        match kind {
            ColumnKind::Vectors => {
                self.moved.note(self.order[self.next], narrow(self.next));
                self.centroid.add(part.vector(row), part.columns(row).scale);
                writer.put(part.vector(row).as_bytes(), out);
            }
            ColumnKind::Scales => writer.put(&part.columns(row).scale.to_le_bytes(), out),
            ColumnKind::HappenedAt => {
                writer.put(&part.columns(row).happened_at_us.to_le_bytes(), out);
            }
            ColumnKind::Confidences => {
                writer.put(&part.columns(row).confidence.to_le_bytes(), out);
            }
            ColumnKind::Zones => {
                let columns = part.columns(row);
                self.zone.add(columns.happened_at_us, columns.confidence);
                let rows = self.next + 1;
                if rows.is_multiple_of(BLOCK_ROWS) || rows == self.order.len() {
                    let zone = std::mem::replace(&mut self.zone, Zone::EMPTY);
                    writer.put(ZoneBlock::from(zone).as_bytes(), out);
                }
            }
            ColumnKind::Records => {
                let mut record = part.record(row);
                if let Some(links) = space.links_at_freeze(part, row) {
                    (record.sizes.links, record.sizes.links_bytes) = links.sizes();
                }
                self.has_links |= record.sizes.links_bytes > 0;
                self.has_expiries |= record.expires_at_us.is_some();
                self.has_superseded |= part.superseded(row, through(space)).is_some();
                self.threads.push(part, row, narrow(self.next));
                writer.put(record.block(self.body_offset).as_bytes(), out);
                self.body_offset += record.sizes.body_bytes() as u64;
            }
            ColumnKind::Bodies => match space.links_at_freeze(part, row) {
                None => writer.put(part.body_bytes(row)?, out),
                Some(links) => {
                    let body = part.body_bytes(row)?;
                    let stored_bytes = part.record(row).sizes.links_bytes as usize;
                    writer.put(&body[..body.len() - stored_bytes], out);
                    writer.put(links.records().0, out);
                }
            },
            ColumnKind::Superseded => {
                if let Some(superseded) = part.superseded(row, through(space)) {
                    let block = SupersededBlock {
                        row: narrow(self.next).into(),
                        by_bytes: u16::try_from(superseded.by.len()).expect("an id").into(),
                        zero: 0.into(),
                        valid_until_us: superseded.valid_until_us.into(),
                        recorded_at_us: superseded.recorded_at_us.into(),
                        by_offset: self.by_offset.into(),
                    };
                    writer.put(block.as_bytes(), out);
                    self.by_offset += superseded.by.len() as u64;
                }
            }
            ColumnKind::SupersededBy => {
                let superseded = part.superseded(row, through(space));
                superseded.inspect(|superseded| writer.put(superseded.by, out));
            }
            ColumnKind::LinkHeads => {
                let links = self.links.as_ref().expect("edges come first");
                writer.put(links.head(self.next), out);
            }
            ColumnKind::IdRows => writer.put(&self.id_rows[self.next].to_le_bytes(), out),
            _ => unreachable!("the other columns are sorted or the index's"),
        }
        self.next += 1;
        Ok(())
    }
}

/// Whether a column is an order of the rows by something.
fn is_sorted(kind: ColumnKind) -> bool {
    matches!(
        kind,
        ColumnKind::TimeOrder
            | ColumnKind::SequenceOrder
            | ColumnKind::ConfidenceOrder
            | ColumnKind::IdHashes
            | ColumnKind::Expiries
    )
}

/// The sequence of the freeze that is under way: what is written is as of it.
fn through(space: &Space) -> u64 {
    space.frozen().map_or(u64::MAX, |(_, through)| through)
}

fn narrow(row: usize) -> u32 {
    u32::try_from(row).expect("rows were counted when the section began")
}
