//! Vectors row by row, and the columns that filters look at, 64 rows at a time.
//!
//! A row is padded as [`crate::kernels`] says and stands in a chunk of the arena; a chunk holds
//! whole rows. The columns come in blocks of 64 rows, so that a scan judges a block by one bitmask
//! before it looks at any vector.

use bytes::Bytes;

use super::{BodyAt, StoreSizes};
use crate::arena::{Arena, CHUNK_BYTES, Chunk};
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

/// What reading a row back needs.
#[derive(Debug, Clone, Copy)]
pub struct Record {
    pub sequence: u64,
    /// The sequence that replaced or forgot the row; `u64::MAX` while it lives.
    pub died: u64,
    pub recorded_at_us: i64,
    pub confidence_low: f32,
    pub confidence_high: f32,
    pub writer_uid: u32,
    pub body: BodyAt,
    pub sizes: StoreSizes,
}

/// The columns of 64 rows, with the extremes that let a scan skip them all.
#[derive(Debug)]
struct BlockColumns {
    /// Bit *r* is set while row *r* lives.
    alive: u64,
    /// The latest sequence at which a row of this block died.
    last_death: u64,
    happened_min_us: i64,
    happened_max_us: i64,
    confidence_max: f32,
    scale: [f32; BLOCK_ROWS],
    happened_at_us: [i64; BLOCK_ROWS],
    confidence: [f32; BLOCK_ROWS],
    records: Vec<Record>,
}

impl BlockColumns {
    fn new() -> Box<Self> {
        Box::new(Self {
            alive: 0,
            last_death: 0,
            happened_min_us: i64::MAX,
            happened_max_us: i64::MIN,
            confidence_max: 0.0,
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
    dead: usize,
}

/// One block as a scan sees it.
#[derive(Debug)]
pub struct BlockView<'a> {
    /// Number of the block's first row.
    pub first_row: u32,
    pub scale: &'a [f32; BLOCK_ROWS],
    columns: &'a BlockColumns,
    rows: usize,
}

impl Rows {
    pub fn new(dimensions: usize) -> Self {
        Self { dimensions, chunks: Vec::new(), columns: Vec::new(), dead: 0 }
    }

    /// Rows, dead ones included.
    pub fn count(&self) -> u32 {
        let open = self.columns.last().map_or(0, |block| block.records.len());
        u32::try_from(self.columns.len().saturating_sub(1) * BLOCK_ROWS + open)
            .expect("a shard's memory holds fewer rows")
    }

    pub fn dead(&self) -> usize {
        self.dead
    }

    pub fn blocks(&self) -> usize {
        self.columns.len()
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
        block.alive |= 1 << nth;
        block.happened_min_us = block.happened_min_us.min(columns.happened_at_us);
        block.happened_max_us = block.happened_max_us.max(columns.happened_at_us);
        block.confidence_max = block.confidence_max.max(columns.confidence);
        block.scale[nth] = columns.scale;
        block.happened_at_us[nth] = columns.happened_at_us;
        block.confidence[nth] = columns.confidence;
        block.records.push(record);
        u32::try_from(row).expect("a shard's memory holds fewer rows")
    }

    pub fn block(&self, nth: usize) -> BlockView<'_> {
        let columns = &self.columns[nth];
        BlockView {
            first_row: u32::try_from(nth * BLOCK_ROWS).expect("rows are counted in u32"),
            scale: &columns.scale,
            columns,
            rows: columns.records.len(),
        }
    }

    pub fn record(&self, row: u32) -> &Record {
        &self.columns[row as usize / BLOCK_ROWS].records[row as usize % BLOCK_ROWS]
    }

    /// The row that was stored with a sequence: rows come in the order of their sequences.
    pub fn find(&self, sequence: u64) -> Option<u32> {
        let nth = self.columns.partition_point(|block| block.records[0].sequence <= sequence);
        let block = nth.checked_sub(1)?;
        let records = &self.columns[block].records;
        let nth = records.binary_search_by_key(&sequence, |record| record.sequence).ok()?;
        u32::try_from(block * BLOCK_ROWS + nth).ok()
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

    pub fn is_alive(&self, row: u32) -> bool {
        self.record(row).died == u64::MAX
    }

    /// Marks a row dead as of a sequence.
    pub fn kill(&mut self, row: u32, sequence: u64) {
        let block = &mut self.columns[row as usize / BLOCK_ROWS];
        let nth = row as usize % BLOCK_ROWS;
        block.alive &= !(1 << nth);
        block.last_death = sequence;
        block.records[nth].died = sequence;
        self.dead += 1;
    }

    /// A row's vector as it was stored: little-endian f32.
    pub fn vector(&self, arena: &Arena, row: u32) -> Bytes {
        let (row, per_chunk) = (row as usize, self.rows_per_chunk());
        let chunk = arena.bytes(&self.chunks[row / per_chunk]);
        let at = row % per_chunk * row_floats(self.dimensions) * size_of::<f32>();
        Bytes::copy_from_slice(&chunk[at..][..self.dimensions * size_of::<f32>()])
    }

    pub fn release(self, arena: &mut Arena) {
        for chunk in self.chunks {
            arena.release(chunk);
        }
    }
}

impl BlockView<'_> {
    /// The rows that existed and lived when the shard had applied `snapshot`, of the first
    /// `rows_max` rows of the space.
    pub fn visible(&self, snapshot: u64, rows_max: u32) -> u64 {
        let rows = self.rows.min(rows_max.saturating_sub(self.first_row) as usize);
        let existing = if rows == BLOCK_ROWS { u64::MAX } else { (1 << rows) - 1 };
        if self.columns.last_death <= snapshot {
            return self.columns.alive & existing;
        }
        let records = &self.columns.records;
        mask(rows, |nth| records[nth].died > snapshot) & existing
    }

    /// The rows whose time and confidence are inside the bounds.
    pub fn within(&self, since_us: i64, until_us: i64, confidence_min: f32) -> u64 {
        let block = self.columns;
        let none = block.happened_max_us < since_us
            || block.happened_min_us > until_us
            || block.confidence_max < confidence_min;
        if none {
            return 0;
        }
        mask(self.rows, |nth| {
            (since_us..=until_us).contains(&block.happened_at_us[nth])
                && block.confidence[nth] >= confidence_min
        })
    }
}

/// A bitmask of the first `rows` rows.
fn mask(rows: usize, holds: impl Fn(usize) -> bool) -> u64 {
    (0..rows).fold(0, |mask, nth| mask | u64::from(holds(nth)) << nth)
}
