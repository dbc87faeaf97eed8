//! Vectors row by row, and the columns that filters look at, 64 rows at a time.
//!
//! A row is padded as [`crate::kernels`] says and stands in a chunk of the arena; a chunk holds
//! whole rows. The columns come in blocks of 64 rows, so that a scan judges a block by one bitmask
//! before it looks at any vector.

use std::num::NonZero;

use super::part::{BlockView, Zone};
use super::{BodyAt, StoreSizes};
use crate::arena::{Arena, CHUNK_BYTES, Chunk};
use crate::format::columns::RecordBlock;
use crate::kernels::row_floats;
use crate::limits::{BLOCK_ROWS, DIMENSIONS_MAX};

// A block lies in at most two chunks.
const _: () = assert!(DIMENSIONS_MAX * BLOCK_ROWS * size_of::<f32>() <= CHUNK_BYTES);
// What the client sent is what the kernels read.
const _: () = assert!(cfg!(target_endian = "little"));

/// What filters and scores need of a row.
#[derive(Debug, Clone, Copy)]
pub struct Columns {
    /// What the kernel's dot product is multiplied with: the inverse norm under cosine, else 1.
    pub scale: f32,
    pub happened_at_us: i64,
    pub confidence: f32,
}

/// What reading a row back needs, its variable parts aside.
#[derive(Debug, Clone, Copy)]
pub struct Record {
    pub sequence: u64,
    pub recorded_at_us: i64,
    pub confidence_low: f32,
    pub confidence_high: f32,
    pub writer_uid: u32,
    /// µs since 1970-01-01 UTC; `None` when it has no end.
    pub expires_at_us: Option<NonZero<i64>>,
    pub sizes: StoreSizes,
}

impl Record {
    /// As a columns file has it.
    pub(super) fn block(&self, body_offset: u64) -> RecordBlock {
        RecordBlock {
            sequence: self.sequence.into(),
            recorded_at_us: self.recorded_at_us.into(),
            body_offset: body_offset.into(),
            confidence_low: self.confidence_low.into(),
            confidence_high: self.confidence_high.into(),
            writer_uid: self.writer_uid.into(),
            text_bytes: self.sizes.text.into(),
            metadata_bytes: self.sizes.metadata.into(),
            links_bytes: self.sizes.links_bytes.into(),
            id_bytes: self.sizes.id.into(),
            thread_bytes: self.sizes.thread.into(),
            key_bytes: self.sizes.key.into(),
            links: self.sizes.links.into(),
            expires_at_us: self.expires_at_us.map_or(0, NonZero::get).into(),
        }
    }
}

/// The columns of 64 rows.
#[derive(Debug)]
struct BlockColumns {
    zone: Zone,
    scale: [f32; BLOCK_ROWS],
    happened_at_us: [i64; BLOCK_ROWS],
    confidence: [f32; BLOCK_ROWS],
    records: Vec<(Record, BodyAt)>,
}

impl BlockColumns {
    fn new() -> Box<Self> {
        Box::new(Self {
            zone: Zone::EMPTY,
            scale: [0.0; BLOCK_ROWS],
            happened_at_us: [0; BLOCK_ROWS],
            confidence: [0.0; BLOCK_ROWS],
            records: Vec::with_capacity(BLOCK_ROWS),
        })
    }
}

/// See the top of the file.
#[derive(Debug)]
pub struct Rows {
    dimensions: usize,
    chunks: Vec<Chunk>,
    #[expect(clippy::vec_box, reason = "growing moves pointers, not a kilobyte per block")]
    columns: Vec<Box<BlockColumns>>,
}

impl Rows {
    pub fn new(dimensions: usize) -> Self {
        Self { dimensions, chunks: Vec::new(), columns: Vec::new() }
    }

    /// Rows, dead ones included.
    pub fn count(&self) -> u32 {
        let open = self.columns.last().map_or(0, |block| block.records.len());
        u32::try_from(self.columns.len().saturating_sub(1) * BLOCK_ROWS + open)
            .expect("a shard's memory holds fewer rows")
    }

    fn rows_per_chunk(&self) -> usize {
        CHUNK_BYTES / size_of::<f32>() / row_floats(self.dimensions)
    }

    /// The vectors of a block's rows: runs of rows one behind the other, each padded.
    pub fn runs<'a>(&'a self, arena: &'a Arena, nth: usize) -> impl Iterator<Item = &'a [f32]> {
        let (per_chunk, stride) = (self.rows_per_chunk(), row_floats(self.dimensions));
        let mut row = nth * BLOCK_ROWS;
        let end = row + self.columns[nth].records.len();
        std::iter::from_fn(move || {
            let left = end - row;
            let first = row % per_chunk;
            let count = left.min(per_chunk - first);
            let chunk = (count > 0).then(|| &self.chunks[row / per_chunk])?;
            row += count;
            Some(&arena.floats(chunk)[first * stride..][..count * stride])
        })
    }

    /// Appends a row; its number.
    pub fn push(
        &mut self,
        arena: &mut Arena,
        vector: &[u8],
        columns: Columns,
        record: Record,
        body: BodyAt,
    ) -> u32 {
        let (row, per_chunk) = (self.count() as usize, self.rows_per_chunk());
        if row == self.chunks.len() * per_chunk {
            self.chunks.push(arena.allocate_reserved());
        }
        if row.is_multiple_of(BLOCK_ROWS) {
            self.columns.push(BlockColumns::new());
        }
        // What pads the row is zero: chunks are, and rows are written once.
        let chunk = self.chunks.last().expect("just made sure");
        let at = row % per_chunk * row_floats(self.dimensions) * size_of::<f32>();
        arena.bytes_mut(chunk)[at..at + vector.len()].copy_from_slice(vector);
        let block = self.columns.last_mut().expect("just made sure");
        let nth = block.records.len();
        block.zone.add(columns.happened_at_us, columns.confidence);
        block.scale[nth] = columns.scale;
        block.happened_at_us[nth] = columns.happened_at_us;
        block.confidence[nth] = columns.confidence;
        block.records.push((record, body));
        u32::try_from(row).expect("a shard's memory holds fewer rows")
    }

    pub fn block(&self, nth: usize) -> BlockView<'_> {
        let columns = &self.columns[nth];
        let rows = columns.records.len();
        BlockView {
            zone: columns.zone,
            scale: &columns.scale[..rows],
            happened_at_us: &columns.happened_at_us[..rows],
            confidence: &columns.confidence[..rows],
        }
    }

    pub fn record(&self, row: u32) -> &(Record, BodyAt) {
        &self.columns[row as usize / BLOCK_ROWS].records[row as usize % BLOCK_ROWS]
    }

    /// The row that was stored with a sequence: rows come in the order of their sequences.
    pub fn find(&self, sequence: u64) -> Option<u32> {
        let nth = self.columns.partition_point(|block| block.records[0].0.sequence <= sequence);
        let block = nth.checked_sub(1)?;
        let records = &self.columns[block].records;
        let nth = records.binary_search_by_key(&sequence, |(record, _)| record.sequence).ok()?;
        u32::try_from(block * BLOCK_ROWS + nth).ok()
    }

    /// The first row that was stored behind a sequence, or the number of rows.
    pub fn place_behind(&self, sequence: u64) -> usize {
        let nth = self.columns.partition_point(|block| block.records[0].0.sequence <= sequence);
        let Some(block) = nth.checked_sub(1) else { return 0 };
        let records = &self.columns[block].records;
        block * BLOCK_ROWS + records.partition_point(|(record, _)| record.sequence <= sequence)
    }

    pub fn columns(&self, row: u32) -> Columns {
        let block = &self.columns[row as usize / BLOCK_ROWS];
        let nth = row as usize % BLOCK_ROWS;
        Columns {
            scale: block.scale[nth],
            happened_at_us: block.happened_at_us[nth],
            confidence: block.confidence[nth],
        }
    }

    /// A row's vector, padded.
    pub fn vector<'a>(&'a self, arena: &'a Arena, row: u32) -> &'a [f32] {
        let (row, per_chunk) = (row as usize, self.rows_per_chunk());
        let stride = row_floats(self.dimensions);
        &arena.floats(&self.chunks[row / per_chunk])[row % per_chunk * stride..][..stride]
    }

    /// Gives up to `chunks` back to the arena, and the columns that go with them; how many chunks
    /// those were.
    pub fn release_some(&mut self, arena: &mut Arena, chunks: usize) -> usize {
        let from = self.chunks.len().saturating_sub(chunks);
        let released = self.chunks.drain(from..).map(|chunk| arena.release(chunk)).count();
        self.columns.truncate((from * self.rows_per_chunk()).div_ceil(BLOCK_ROWS));
        released
    }
}
