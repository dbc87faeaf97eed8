//! A part that is mapped: a section of a columns file, and what died in it since it was written.
//!
//! What [`ColumnsDirectory::decode`](crate::format::columns::ColumnsDirectory::decode) found right
//! is indexed without further ado: the lengths of columns. What stands *in* columns may be damaged
//! in a file that nobody has verified yet: where a body lies, which row an id leads to. That is
//! checked at each use, and never worse than wrong.
//!
//! Columns that say which rows conditions leave could hide rows, and nobody would see it. Who wants
//! one therefore has its checksums [tried](Section::try_column) first, once for each file that is
//! opened; one that does not check is not used, and its conditions are evaluated row by row.

use std::cell::Cell;
use std::convert::Infallible;
use std::fmt;
use std::num::NonZero;
use std::ops::{Deref, Range};
use std::sync::Arc;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::ids::{first_hash, id_hash, position};
use super::links::Marks;
use super::part::{BlockView, Body, Damaged, PartNumber};
use super::rows::{Columns, Record};
use super::superseded::Supersessions;
use super::text::Text;
use super::{Deaths, Ended};
use crate::episode::{Metric, SpaceNumber};
use crate::format::columns::{ColumnKind, ColumnsError, RecordBlock, SectionEntry, ZoneBlock};
use crate::index::calibration::{Calibrated, Calibration};
use crate::index::section::{IndexColumns, SectionIndex};
use crate::index::simd::prefetch;
use crate::kernels::row_floats;
use crate::limits::BLOCK_ROWS;
use crate::links::{LinkColumns, LinksBuilder, SectionLinks};
use crate::spread;
use crate::spread::prefetch::prefetch as prefetch_at;
use crate::terms::{Terms, TermsBuilder};
use crate::words::threads::ThreadEntry;
use crate::words::{Language, SectionWords};

/// Bytes of a columns file that stay where they are and what they are.
pub trait MappedBytes: Deref<Target = [u8]> + fmt::Debug + Send + Sync {}

impl<T: Deref<Target = [u8]> + fmt::Debug + Send + Sync> MappedBytes for T {}

/// A columns file, shared by its sections.
pub type ColumnsFile = Arc<dyn MappedBytes>;

/// See the top of the file.
#[derive(Debug)]
pub struct Section {
    pub(super) number: PartNumber,
    pub(super) deaths: Deaths,
    pub(super) relinked: Marks,
    pub(super) supersessions: Supersessions,
    /// Of the rows that expire, in that order, so many have.
    pub(super) expired: usize,
    file: ColumnsFile,
    entry: SectionEntry,
    /// Where in the file each required column is.
    places: Places,
    stride: usize,
    /// `None` when the section has too few rows for one, or one that this version cannot read: then
    /// its rows are compared one by one.
    index: Option<SectionIndex>,
    calibration: Calibration,
    /// Where the file has no words, once somebody wants to know them.
    pub(super) text: Option<Box<Text>>,
    /// How far columns were tried, by their places in the entry.
    tried: Box<[Cell<Tried>]>,
}

/// Blocks of columns whose checksums are tried in one go.
pub const TRIED_BLOCKS: usize = 4;
/// How far from where a hash is guessed to be it is looked for first.
const GUESS_REACH: usize = 16;

/// The columns of links.
const LINK_COLUMNS: [ColumnKind; 4] =
    [ColumnKind::LinkHeads, ColumnKind::LinkEdges, ColumnKind::LinkTargets, ColumnKind::LinkKinds];

/// The columns that questions in words are answered from.
const TEXT_COLUMNS: [ColumnKind; 3] =
    [ColumnKind::Words, ColumnKind::Threads, ColumnKind::Centroid];

/// How far the checksums of a column were tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tried {
    /// The first so many blocks check.
    Blocks(usize),
    Right,
    Damaged,
}

#[derive(Debug)]
struct Places {
    vectors: Range<usize>,
    scales: Range<usize>,
    happened_at: Range<usize>,
    confidences: Range<usize>,
    records: Range<usize>,
    zones: Range<usize>,
    time_order: Range<usize>,
    sequence_order: Range<usize>,
    bodies: Range<usize>,
    id_hashes: Range<usize>,
    id_rows: Range<usize>,
}

impl Section {
    /// A section of a file, all of its rows alive. The entry is one of the file's directory.
    pub fn open(file: ColumnsFile, entry: SectionEntry) -> Result<Self, ColumnsError> {
        let place = |kind: ColumnKind| {
            let column = entry.column(kind);
            let column = column.ok_or(ColumnsError::Missing { space: entry.space, kind })?;
            if file.as_ptr().align_offset(64) != 0 {
                let what = "the file is not mapped to a cache line";
                return Err(ColumnsError::Column { space: entry.space, kind, what });
            }
            Ok(column.range.clone())
        };
        let places = Places {
            vectors: place(ColumnKind::Vectors)?,
            scales: place(ColumnKind::Scales)?,
            happened_at: place(ColumnKind::HappenedAt)?,
            confidences: place(ColumnKind::Confidences)?,
            records: place(ColumnKind::Records)?,
            zones: place(ColumnKind::Zones)?,
            time_order: place(ColumnKind::TimeOrder)?,
            sequence_order: place(ColumnKind::SequenceOrder)?,
            bodies: place(ColumnKind::Bodies)?,
            id_hashes: place(ColumnKind::IdHashes)?,
            id_rows: place(ColumnKind::IdRows)?,
        };
        let (deaths, relinked) = (Deaths::of_rows(entry.rows), Marks::default());
        let stride = row_floats(entry.dimensions as usize);
        let tried = vec![Cell::new(Tried::Blocks(0)); entry.columns.len()].into_boxed_slice();
        let (number, index, calibration) = (PartNumber(0), None, Calibration::default());
        let mut section = Self {
            number,
            deaths,
            relinked,
            supersessions: Supersessions::default(),
            expired: 0,
            file,
            entry,
            places,
            stride,
            index,
            calibration,
            text: None,
            tried,
        };
        section.open_superseded()?;
        section.open_expiries()?;
        Ok(section)
    }

    /// Tries the checksums of some more blocks of a column; whether any are left.
    pub fn try_column(&self, kind: ColumnKind, blocks: usize) -> bool {
        let columns = self.entry.columns.iter().zip(&self.tried);
        let Some((column, tried)) = columns.into_iter().find(|(column, _)| column.kind == kind)
        else {
            return false;
        };
        for _ in 0..blocks {
            let Tried::Blocks(nth) = tried.get() else { return false };
            tried.set(match column.checks(&self.file, nth) {
                Some(true) => Tried::Blocks(nth + 1),
                Some(false) => Tried::Damaged,
                None => Tried::Right,
            });
        }
        matches!(tried.get(), Tried::Blocks(_))
    }

    /// A column that the section may do without, once it was tried and found right.
    pub(super) fn tried_column(&self, kind: ColumnKind) -> Option<&[u8]> {
        let columns = self.entry.columns.iter().zip(&self.tried);
        let (column, tried) = columns.into_iter().find(|(column, _)| column.kind == kind)?;
        (tried.get() == Tried::Right).then(|| &self.file[column.range.clone()])
    }

    /// Whether a column was tried and found right, or is not there.
    pub(super) fn is_right(&self, kind: ColumnKind) -> bool {
        self.entry.column(kind).is_none() || self.tried_column(kind).is_some()
    }

    fn index_columns(&self) -> Option<IndexColumns<'_>> {
        Some(IndexColumns {
            graph: self.opaque(ColumnKind::Graph)?,
            codes: self.opaque(ColumnKind::Codes)?,
            index: self.opaque(ColumnKind::Index)?,
        })
    }

    pub(crate) fn open_index(&mut self, metric: Metric) {
        let (dimensions, rows) = (self.dimensions() as usize, self.rows() as usize);
        let columns = self.index_columns();
        self.index =
            columns.and_then(|columns| SectionIndex::open(metric, dimensions, rows, columns));
    }

    /// The index and its columns, if the section has one.
    pub fn index(&self) -> Option<(&SectionIndex, IndexColumns<'_>)> {
        self.index.as_ref().zip(self.index_columns())
    }

    /// What beam a walk through the graph takes.
    pub fn calibration(&self) -> &Calibration {
        &self.calibration
    }

    pub(crate) fn set_calibration(&mut self, calibration: Calibration) {
        self.calibration = calibration;
    }

    /// What a calibration measures, if the section has an index.
    pub(crate) fn calibrated(&self) -> Option<Calibrated<'_>> {
        let (index, columns) = self.index()?;
        Some(Calibrated {
            metric: index.projection.metric(),
            dimensions: self.dimensions() as usize,
            projection: &index.projection,
            graph: index.graph(columns),
            vectors: self.vectors(),
            scales: self.scales(),
        })
    }

    pub fn space(&self) -> SpaceNumber {
        self.entry.space
    }

    pub fn dimensions(&self) -> u32 {
        self.entry.dimensions
    }

    pub fn rows(&self) -> u32 {
        self.entry.rows
    }

    pub fn number(&self) -> PartNumber {
        self.number
    }

    pub fn deaths(&self) -> &Deaths {
        &self.deaths
    }

    /// Rows whose links are not those that the file has.
    pub fn rows_relinked(&self) -> u32 {
        self.relinked.count()
    }

    pub fn entry(&self) -> &SectionEntry {
        &self.entry
    }

    pub fn file(&self) -> &ColumnsFile {
        &self.file
    }

    /// Bytes of its columns in the file.
    pub fn bytes(&self) -> u64 {
        self.entry.columns.iter().map(|column| column.range.len() as u64).sum()
    }

    /// Marks a row dead that was so when the file was last opened; rows that are not there stay so.
    pub fn bury(&mut self, row: u32, sequence: u64) {
        if row < self.rows() {
            self.deaths.kill(row, sequence);
        }
    }

    fn column<T: FromBytes + KnownLayout + Immutable>(&self, place: &Range<usize>) -> &[T] {
        <[T]>::ref_from_bytes(&self.file[place.clone()]).expect("checked when it was opened")
    }

    /// A column that only the index understands.
    pub fn opaque(&self, kind: ColumnKind) -> Option<&[u8]> {
        Some(&self.file[self.entry.column(kind)?.range.clone()])
    }

    /// All vectors, row behind row.
    pub fn vectors(&self) -> &[f32] {
        self.column(&self.places.vectors)
    }

    pub fn scales(&self) -> &[f32] {
        self.column(&self.places.scales)
    }

    pub fn happened_at_us(&self) -> &[i64] {
        self.column(&self.places.happened_at)
    }

    pub fn confidences(&self) -> &[f32] {
        self.column(&self.places.confidences)
    }

    /// The rows by `happened_at`. A row that is not there is possible in a damaged file.
    pub fn time_order(&self) -> &[u32] {
        self.column(&self.places.time_order)
    }

    /// Where in the time order the rows of some time are, both ends included; `None` until the
    /// order was tried, and if it is damaged.
    pub fn places_between(&self, since_us: i64, until_us: i64) -> Option<Range<usize>> {
        self.tried_column(ColumnKind::TimeOrder)?;
        let order = self.time_order();
        let times = self.happened_at_us();
        let time = |row: &u32| times.get(*row as usize).copied().unwrap_or(i64::MAX);
        let first = order.partition_point(|row| time(row) < since_us);
        Some(first..order.partition_point(|row| time(row) <= until_us).max(first))
    }

    /// The rows by confidence; `None` in files without that, until it was tried, and if it is
    /// damaged.
    pub fn confidence_order(&self) -> Option<&[u32]> {
        let order = self.tried_column(ColumnKind::ConfidenceOrder)?;
        Some(<[u32]>::ref_from_bytes(order).expect("checked when it was opened"))
    }

    /// Where in the order of confidence the rows are that have at least so much.
    pub fn places_confident(&self, least: f32) -> Option<Range<usize>> {
        let order = self.confidence_order()?;
        let confidences = self.confidences();
        let confidence = |row: &u32| confidences.get(*row as usize).copied().unwrap_or(1.0);
        Some(order.partition_point(|row| confidence(row) < least)..order.len())
    }

    /// What the rows have in their metadata; `None` in files without it or with a version that is
    /// not known, until it was tried, and if it is damaged.
    pub fn terms(&self) -> Option<Terms<'_>> {
        Terms::open(self.tried_column(ColumnKind::Terms)?, self.rows())
    }

    /// Tries the checksums of some more blocks of the columns that questions in words are answered
    /// from; whether any are left.
    pub fn try_words(&self, blocks: usize) -> bool {
        TEXT_COLUMNS.into_iter().any(|kind| self.try_column(kind, blocks))
    }

    /// The words of the rows; `None` in files of builds that wrote no such columns, until they were
    /// tried, and if they, the threads or the centroid are damaged.
    pub fn words(&self) -> Option<SectionWords<'_>> {
        self.thread_entries()?;
        self.centroid()?;
        SectionWords::open(self.tried_column(ColumnKind::Words)?, self.rows())
    }

    /// The rows that have a thread, by threads; none where [`words`](Self::words) is `None`.
    pub fn threads(&self) -> &[ThreadEntry] {
        self.thread_entries().unwrap_or_default()
    }

    /// A section without a column of threads has none.
    fn thread_entries(&self) -> Option<&[ThreadEntry]> {
        match self.entry.column(ColumnKind::Threads) {
            Some(_) => {
                <[ThreadEntry]>::ref_from_bytes(self.tried_column(ColumnKind::Threads)?).ok()
            }
            None => Some(&[]),
        }
    }

    /// What was read of the texts, where the file has no words and when all of them were.
    pub(super) fn grown_text(&self) -> Option<&Text> {
        self.text.as_deref().filter(|text| text.rows() == self.rows())
    }

    /// Tries the checksums of some more blocks of the columns of links; whether any are left.
    pub fn try_links(&self, blocks: usize) -> bool {
        LINK_COLUMNS.into_iter().any(|kind| self.try_column(kind, blocks))
    }

    /// The links of the rows as they were when the section was written, for spreading; `None` where
    /// no row had any and in files of builds that wrote none, until they were tried, and if they
    /// are damaged.
    pub fn links(&self) -> Option<SectionLinks<'_>> {
        let [heads, edges, targets, kinds] = LINK_COLUMNS.map(|kind| self.tried_column(kind));
        let (heads, edges) = (heads?, edges?);
        let columns = LinkColumns { heads, edges, targets: targets?, kinds: kinds? };
        SectionLinks::open(columns, self.rows())
    }

    fn block_rows(&self, nth: usize) -> Range<usize> {
        let first = nth * BLOCK_ROWS;
        first..(first + BLOCK_ROWS).min(self.rows() as usize)
    }

    pub(super) fn block(&self, nth: usize) -> BlockView<'_> {
        let rows = self.block_rows(nth);
        let zones: &[ZoneBlock] = self.column(&self.places.zones);
        BlockView {
            zone: (&zones[nth]).into(),
            scale: &self.scales()[rows.clone()],
            happened_at_us: &self.happened_at_us()[rows.clone()],
            confidence: &self.confidences()[rows],
        }
    }

    pub(super) fn block_vectors(&self, nth: usize) -> &[f32] {
        let rows = self.block_rows(nth);
        &self.vectors()[rows.start * self.stride..rows.end * self.stride]
    }

    pub(super) fn vector(&self, row: u32) -> &[f32] {
        &self.vectors()[row as usize * self.stride..][..self.stride]
    }

    pub(super) fn prefetch_columns(&self, row: u32) {
        let row = row as usize;
        prefetch(self.column::<RecordBlock>(&self.places.records)[row].as_bytes());
        prefetch(self.scales()[row].as_bytes());
        prefetch(self.column::<i64>(&self.places.happened_at)[row].as_bytes());
        prefetch(self.column::<f32>(&self.places.confidences)[row].as_bytes());
    }

    pub(super) fn columns(&self, row: u32) -> Columns {
        let row = row as usize;
        Columns {
            scale: self.scales()[row],
            happened_at_us: self.happened_at_us()[row],
            confidence: self.confidences()[row],
        }
    }

    fn record_block(&self, row: u32) -> &RecordBlock {
        &self.column(&self.places.records)[row as usize]
    }

    pub(super) fn record(&self, row: u32) -> Record {
        let block = self.record_block(row);
        Record {
            sequence: block.sequence.get(),
            recorded_at_us: block.recorded_at_us.get(),
            confidence_low: block.confidence_low.get(),
            confidence_high: block.confidence_high.get(),
            writer_uid: block.writer_uid.get(),
            expires_at_us: NonZero::new(block.expires_at_us.get()),
            sizes: block.sizes(),
        }
    }

    pub(super) fn body_bytes(&self, row: u32) -> Result<&[u8], Damaged> {
        let block = self.record_block(row);
        let bodies = &self.file[self.places.bodies.clone()];
        let from = usize::try_from(block.body_offset.get()).ok();
        let to = from.and_then(|from| from.checked_add(block.sizes().body_bytes()));
        from.zip(to).and_then(|(from, to)| bodies.get(from..to)).ok_or(Damaged { row })
    }

    /// Where in the sorted hashes a hash would be, were they spread perfectly evenly.
    fn share_of(&self, hash: u64) -> usize {
        let rows = self.rows() as usize;
        let share = (u128::from(hash) * rows as u128) >> u64::BITS;
        usize::try_from(share).expect("a share of the rows")
    }

    fn id_hashes(&self) -> &[u64] {
        self.column(&self.places.id_hashes)
    }

    fn id_rows(&self) -> &[u32] {
        self.column(&self.places.id_rows)
    }

    /// A better place than this one: from the hash there it is as far as hashes are apart.
    fn nearer(&self, hashes: &[u64], hash: u64, place: usize) -> usize {
        let Some(own) = hashes.get(place.min(hashes.len().saturating_sub(1))) else { return 0 };
        match hash.checked_sub(*own) {
            Some(above) => (place + self.share_of(above)).min(hashes.len()),
            None => place.saturating_sub(self.share_of(own - hash)),
        }
    }

    /// The first place in the sorted hashes that is not below a hash. They are spread evenly, so it
    /// is guessed from the hashes at two guesses before.
    fn first_from(&self, hash: u64) -> usize {
        let hashes = self.id_hashes();
        let near = self.nearer(hashes, hash, self.share_of(hash));
        first_near(hashes, hash, self.nearer(hashes, hash, near))
    }

    /// Finds the live rows with ids of which none was found yet, and notes what `number` makes of
    /// them. It goes step by step for all of them, so that what one waits for in the caches is
    /// waited for by all at once.
    pub(super) fn find_all(
        &self,
        ids: &[&[u8]],
        ids_hashes: &[u64],
        found: &mut [Option<u32>],
        number: impl Fn(u32) -> u32,
    ) {
        let (hashes, rows) = (self.id_hashes(), self.id_rows());
        let left = (0..ids.len()).filter(|nth| found[*nth].is_none());
        let mut places: Vec<(usize, u64, usize)> =
            left.map(|nth| (nth, ids_hashes[nth], self.share_of(ids_hashes[nth]))).collect();
        places.iter().for_each(|(.., place)| prefetch_at(hashes, *place));
        for (_, hash, place) in &mut places {
            *place = self.nearer(hashes, *hash, *place);
            prefetch_at(hashes, *place);
            prefetch_at(rows, *place);
        }
        let records: &[RecordBlock] = self.column(&self.places.records);
        for (_, hash, place) in &mut places {
            *place = first_near(hashes, *hash, self.nearer(hashes, *hash, *place));
            rows.get(*place).inspect(|row| prefetch_at(records, **row as usize));
        }
        let bodies = &self.file[self.places.bodies.clone()];
        for (.., place) in &places {
            let record = rows.get(*place).and_then(|row| records.get(*row as usize));
            if let Some(record) = record {
                let from = record.body_offset.get() as usize;
                prefetch_at(bodies, from);
                prefetch_at(bodies, from.wrapping_add(record.id_bytes.get().into()));
            }
        }
        for (nth, hash, place) in places {
            let row = self.rows_at(place, hash, ids[nth]).find(|row| self.deaths.is_alive(*row));
            found[nth] = row.map(&number);
        }
    }

    /// Entries of the id map from a hash on; those that lead to no row are left out.
    fn entries_from(&self, hash: u64) -> impl Iterator<Item = (u64, u32)> {
        self.entries_at(self.first_from(hash))
    }

    /// The same from a place on.
    fn entries_at(&self, first: usize) -> impl Iterator<Item = (u64, u32)> {
        let (hashes, rows) = (&self.id_hashes()[first..], &self.id_rows()[first..]);
        let (entries, count) = (hashes.iter().copied().zip(rows.iter().copied()), self.rows());
        entries.filter(move |(_, row)| *row < count)
    }

    /// The rows with this id, dead ones included.
    fn rows_of(&self, id: &[u8]) -> impl Iterator<Item = u32> {
        let hash = id_hash(id);
        self.rows_at(self.first_from(hash), hash, id)
    }

    /// The same, from the first place with its hash on.
    fn rows_at(&self, first: usize, hash: u64, id: &[u8]) -> impl Iterator<Item = u32> {
        let same = self.entries_at(first).take_while(move |(other, _)| *other == hash);
        same.map(|(_, row)| row).filter(move |row| {
            let id_bytes = usize::from(self.record_block(*row).id_bytes.get());
            self.body_bytes(*row).is_ok_and(|body| &body[..id_bytes] == id)
        })
    }

    pub(super) fn sequences_of(&self, id: &[u8]) -> impl Iterator<Item = u64> {
        self.rows_of(id).map(|row| self.record(row).sequence)
    }

    pub(super) fn holds(&self, id: &[u8]) -> bool {
        self.rows_of(id).next().is_some()
    }

    pub(super) fn find(&self, id: &[u8]) -> Option<u32> {
        self.rows_of(id).find(|row| self.deaths.is_alive(*row))
    }

    /// Kills the episode with this id, if there is one, be it hidden or not.
    pub(super) fn remove(&mut self, id: &[u8], sequence: u64) -> Option<Ended> {
        let row = self.rows_of(id).find(|row| self.deaths.is_kept(*row))?;
        let was_seen = self.deaths.kill(row, sequence);
        Some(Ended { stored: self.record(row).sequence, was_seen })
    }

    pub(super) fn find_sequence(&self, sequence: u64) -> Option<u32> {
        let order: &[u32] = self.column(&self.places.sequence_order);
        let rows = self.rows();
        let sequence_of = |row: u32| (row < rows).then(|| self.record(row).sequence);
        let nth = order.partition_point(|row| sequence_of(*row).is_some_and(|own| own < sequence));
        order.get(nth).copied().filter(|row| sequence_of(*row) == Some(sequence))
    }

    /// The rows by sequence; `None` until that was tried, and if it is damaged.
    pub(super) fn sequence_order(&self) -> Option<&[u32]> {
        let order = self.tried_column(ColumnKind::SequenceOrder)?;
        Some(<[u32]>::ref_from_bytes(order).expect("checked when it was opened"))
    }

    /// The first place in the order of sequences that is behind one.
    pub(super) fn place_behind(&self, sequence: u64) -> usize {
        let is_before = |row: &u32| *row < self.rows() && self.record(*row).sequence <= sequence;
        self.sequence_order().unwrap_or_default().partition_point(is_before)
    }

    /// The row in a place of that order.
    pub(super) fn row_in_place(&self, place: usize) -> Option<u32> {
        self.sequence_order()?.get(place).copied().filter(|row| *row < self.rows())
    }

    /// Whether a row is the frame with this sequence.
    pub fn holds_sequence(&self, sequence: u64) -> bool {
        self.find_sequence(sequence).is_some()
    }

    pub(super) fn list_from(&self, from: u64, count: usize) -> Vec<(u64, u32)> {
        let entries = self.entries_from(first_hash(from));
        let mut found: Vec<(u64, u32)> = Vec::new();
        for (hash, row) in entries.filter(|(_, row)| self.deaths.is_alive(*row)) {
            let is_beside = found.last().is_some_and(|last| position(last.0) == position(hash));
            if found.len() >= count && !is_beside {
                break;
            }
            found.push((hash, row));
        }
        found
    }

    /// What does not agree within the section, in words: checksums, and the columns with each
    /// other. Texts are in that language.
    pub fn verify(&self, language: Language) -> Vec<String> {
        let mut faults = Vec::new();
        for column in &self.entry.columns {
            for block in column.damaged_blocks(&self.file) {
                faults.push(format!("column {:?}: block {block} does not check", column.kind));
            }
        }
        if !faults.is_empty() {
            // What disagrees with a damaged block is no news.
            return faults;
        }
        self.verify_rows(&mut faults);
        self.verify_orders(&mut faults);
        self.verify_terms(&mut faults);
        self.verify_links(&mut faults);
        self.verify_text(language, &mut faults);
        self.verify_centroid(&mut faults);
        self.verify_expiries(&mut faults);
        faults
    }

    /// The links of the bodies come to the same columns again, and these are sound.
    fn verify_links(&self, faults: &mut Vec<String>) {
        let links_of = |row: u32| {
            let body = self.body_bytes(row).map(|bytes| Body::new(bytes, &self.record(row).sizes));
            body.map_or(&[][..], |body| body.links)
        };
        let columns = LINK_COLUMNS.map(|kind| self.opaque(kind));
        let [Some(heads), Some(edges), Some(targets), Some(kinds)] = columns else {
            if columns.iter().any(Option::is_some) {
                faults.push("some of the columns of links are missing".into());
            }
            return;
        };
        let Some(links) =
            SectionLinks::open(LinkColumns { heads, edges, targets, kinds }, self.rows())
        else {
            faults.push("the links have another version or length than this one writes".into());
            return;
        };
        let nodes = self.rows() + links.far_count();
        spread::verify::verify(links.csr(), nodes, |violation| faults.push(violation.to_string()));
        let mut builder = LinksBuilder::new(self.rows() as usize);
        let mut again = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
        for row in 0..self.rows() {
            let row_of = |id: &[u8]| Ok::<_, Infallible>(self.rows_of(id).next());
            let put = |edges: &[u8]| again[1].extend_from_slice(edges);
            let Ok(_) = builder.step(links_of(row), usize::MAX, row_of, put);
            again[0].extend_from_slice(builder.head(row as usize));
        }
        again[2].extend((0..).map_while(|piece| builder.targets(piece)).flatten());
        again[3] = builder.kinds();
        if again != [heads, edges, targets, kinds] {
            faults.push("the columns of links are not those of the bodies".into());
        }
    }

    /// What the rows say comes to the same terms again.
    fn verify_terms(&self, faults: &mut Vec<String>) {
        let Some(mut rest) = self.opaque(ColumnKind::Terms) else { return };
        if Terms::open(rest, self.rows()).is_none() {
            faults.push("the terms have another version or length than this one writes".into());
            return;
        }
        let mut builder = TermsBuilder::new(self.rows() as usize);
        for row in 0..self.rows() {
            let body = self.body_bytes(row).map(|bytes| Body::new(bytes, &self.record(row).sizes));
            builder.push(body.map_or(&[], |body| body.metadata));
        }
        let mut fits = true;
        let mut is_next = |bytes: &[u8]| {
            let (own, behind) = rest.split_at(bytes.len().min(rest.len()));
            fits &= own == bytes;
            rest = behind;
        };
        while !builder.step(&mut is_next) {}
        if !fits || !rest.is_empty() {
            faults.push("the terms are not those of the metadata".into());
        }
    }

    fn verify_rows(&self, faults: &mut Vec<String>) {
        let mut bodies_end = 0;
        for row in 0..self.rows() {
            let block = self.record_block(row);
            if block.body_offset.get() != bodies_end {
                faults.push(format!("row {row}: its body does not follow the one before it"));
            }
            bodies_end = block.body_offset.get() + block.sizes().body_bytes() as u64;
            match self.body_bytes(row).map(|bytes| Body::new(bytes, &block.sizes())) {
                Ok(body) => {
                    let hash = id_hash(body.id);
                    let mut same = self.entries_from(hash).take_while(|(other, _)| *other == hash);
                    if !same.any(|(_, other)| other == row) {
                        faults.push(format!("row {row}: the id map does not lead to it"));
                    }
                }
                Err(_) => faults.push(format!("row {row}: its body lies outside the bodies")),
            }
            let padding = &self.vector(row)[self.dimensions() as usize..];
            if padding.iter().any(|float| float.to_bits() != 0) {
                faults.push(format!("row {row}: what pads its vector is not zero"));
            }
        }
        if bodies_end != self.places.bodies.len() as u64 {
            faults.push("the bodies are longer than their rows say".into());
        }
        for nth in 0..(self.rows() as usize).div_ceil(BLOCK_ROWS) {
            let view = self.block(nth);
            let rows = view.happened_at_us.iter().copied().zip(view.confidence.iter().copied());
            let zones: &[ZoneBlock] = self.column(&self.places.zones);
            if ZoneBlock::of(rows) != zones[nth] {
                faults.push(format!("zone {nth} does not fit its rows"));
            }
        }
    }

    fn verify_orders(&self, faults: &mut Vec<String>) {
        let hashes: &[u64] = self.column(&self.places.id_hashes);
        if !hashes.is_sorted() {
            faults.push("the hashes of the ids are not sorted".into());
        }
        let times = self.happened_at_us();
        let by_time = |row: u32| (times[row as usize], row);
        let by_sequence = |row: u32| (self.record(row).sequence, row);
        let orders = [
            ("time order", is_order(self.time_order(), by_time)),
            ("sequence order", is_order(self.column(&self.places.sequence_order), by_sequence)),
        ];
        let confidences = self.confidences();
        let by_confidence = |row: u32| (confidence_key(confidences[row as usize]), row);
        let by_place = self.opaque(ColumnKind::ConfidenceOrder);
        let order = by_place.map(|order| <[u32]>::ref_from_bytes(order).expect("as it was opened"));
        if order.is_some_and(|order| !is_order(order, by_confidence)) {
            faults.push("the confidence order does not name each row once, in order".into());
        }
        let rows: &[u32] = self.column(&self.places.id_rows);
        let mut sorted = rows.to_vec();
        sorted.sort_unstable();
        let is_each = sorted.iter().copied().eq(0..self.rows());
        for (name, holds) in orders.into_iter().chain([("id map", is_each)]) {
            if !holds {
                faults.push(format!("the {name} does not name each row once, in order"));
            }
        }
    }
}

/// What confidences are ordered by: none is negative, and both zeros are equal.
pub(super) fn confidence_key(confidence: f32) -> u64 {
    u64::from((confidence + 0.0).to_bits())
}

/// The first place in sorted hashes that is not below a hash, which should be near a guess: a small
/// window there is searched, which grows only when it missed.
fn first_near(hashes: &[u64], hash: u64, guess: usize) -> usize {
    let rows = hashes.len();
    let mut reach = GUESS_REACH;
    loop {
        let (low, high) = (guess.saturating_sub(reach), rows.min(guess + reach));
        let is_below = low == 0 || hashes[low - 1] < hash;
        let is_above = high == rows || hashes[high] >= hash;
        if is_below && is_above {
            return low + hashes[low..high].partition_point(|other| *other < hash);
        }
        if low == 0 && high == rows {
            // Only hashes that are not sorted come here.
            return rows;
        }
        reach = reach.saturating_mul(4);
    }
}

/// Whether an order names as many different rows as it has places, ascending by their keys.
fn is_order<K: Ord>(order: &[u32], key: impl Fn(u32) -> (K, u32)) -> bool {
    let rows = order.len();
    order.iter().all(|row| (*row as usize) < rows)
        && order.windows(2).all(|pair| key(pair[0]) < key(pair[1]))
}
