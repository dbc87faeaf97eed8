//! A columns file: what a consolidation writes, once and for ever, and what is mapped to serve.
//!
//! ```text
//! header page | column | column | … | directory
//! ```
//!
//! The file is streamed from front to back: what is only known at the end, where columns begin and
//! what their blocks check to, stands in the directory behind them. Where the directory is, stands
//! in the manifest. A file holds one *section* for each memory space that had anything to write; a
//! section is a set of columns over the same rows in the same order.
//!
//! Reading trusts no length and no offset: [`ColumnsDirectory::decode`] checks all of them against
//! the file and the row counts once, so that columns can be indexed afterwards.

mod blocks;
mod directory;
mod writer;

pub use blocks::{RecordBlock, ZoneBlock};
pub use directory::{ColumnEntry, ColumnsDirectory, SectionEntry};
pub use writer::ColumnsWriter;

use thiserror::Error;

use super::{HeaderError, StoreId};
use crate::episode::SpaceNumber;
use crate::kernels::row_floats;
use crate::limits::{BLOCK_ROWS, SECTOR_BYTES};
use crate::spread::csr::Head;

/// Bytes of the header page.
pub const COLUMNS_HEADER_BYTES: usize = SECTOR_BYTES;
/// Bytes that one checksum of a column covers.
pub const COLUMN_BLOCK_BYTES: usize = 64 << 10;
/// Where the pages of a graph may begin: on a huge page.
const GRAPH_ALIGNMENT: u64 = 2 << 20;

// Mapped columns are read in place, as the numbers they are.
const _: () = assert!(cfg!(target_endian = "little"));

/// What a column holds. The numbers are those of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum ColumnKind {
    /// f32, rows padded as the kernels want them.
    Vectors = 1,
    /// f32: what a dot product is multiplied with.
    Scales = 2,
    /// i64, µs since 1970-01-01 UTC.
    HappenedAt = 3,
    /// f32: the point of the confidence.
    Confidences = 4,
    /// [`RecordBlock`].
    Records = 5,
    /// [`ZoneBlock`], one for 64 rows.
    Zones = 6,
    /// u32: rows by `happened_at`, then row.
    TimeOrder = 7,
    /// u32: rows by sequence.
    SequenceOrder = 8,
    /// The variable parts of the episodes, as the log's frames have them.
    Bodies = 9,
    /// u64, ascending: the hashes of the ids.
    IdHashes = 10,
    /// u32: the row of each hash.
    IdRows = 11,
    /// What the index makes of it.
    Codes = 12,
    /// What the index makes of it; begins on a huge page.
    Graph = 13,
    /// What the index makes of it.
    Index = 14,
    /// The values in the metadata, and which rows have them: [`crate::terms`].
    Terms = 15,
    /// u32: rows by confidence, then row.
    ConfidenceOrder = 16,
    /// Where the edges of each row are: [`crate::links`].
    LinkHeads = 17,
    /// What links lead to, as numbers.
    LinkEdges = 18,
    /// Ids of what is not in the section.
    LinkTargets = 19,
    LinkKinds = 20,
    /// The words of the texts, and which rows have them: [`crate::words`].
    Words = 21,
    /// The rows that have a thread: [`ThreadEntry`](crate::words::threads::ThreadEntry), by thread,
    /// then by when they happened, then by sequence.
    Threads = 22,
    /// The rows that are superseded: [`SupersededBlock`](super::SupersededBlock), ascending by row.
    Superseded = 25,
    /// The ids of what supersedes them, one behind the other.
    SupersededBy = 26,
    /// The rows that expire: [`ExpiryBlock`](super::ExpiryBlock), by when they do, then by row.
    Expiries = 27,
    /// f64: all vectors added up, then their squared lengths: [`crate::space::Centroid`].
    Centroid = 28,
}

impl ColumnKind {
    pub const ALL: [Self; 26] = [
        Self::Vectors,
        Self::Scales,
        Self::HappenedAt,
        Self::Confidences,
        Self::Records,
        Self::Zones,
        Self::TimeOrder,
        Self::SequenceOrder,
        Self::Bodies,
        Self::IdHashes,
        Self::IdRows,
        Self::Codes,
        Self::Graph,
        Self::Index,
        Self::Terms,
        Self::ConfidenceOrder,
        Self::LinkHeads,
        Self::LinkEdges,
        Self::LinkTargets,
        Self::LinkKinds,
        Self::Words,
        Self::Threads,
        Self::Superseded,
        Self::SupersededBy,
        Self::Expiries,
        Self::Centroid,
    ];

    pub fn from_u32(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u32 == number)
    }

    /// Whether a section without it cannot be read.
    pub fn is_required(self) -> bool {
        self as u32 <= Self::IdRows as u32
    }

    /// Bytes that the column must have; `None` where that does not follow from the rows.
    pub fn bytes_expected(self, rows: u32, dimensions: u32) -> Option<u64> {
        let rows = u64::from(rows);
        let row_bytes = match self {
            Self::Vectors => row_floats(dimensions as usize) as u64 * 4,
            Self::Scales | Self::Confidences => 4,
            Self::TimeOrder | Self::SequenceOrder | Self::ConfidenceOrder | Self::IdRows => 4,
            Self::HappenedAt | Self::IdHashes => 8,
            Self::Records => size_of::<RecordBlock>() as u64,
            Self::LinkHeads => size_of::<Head>() as u64,
            Self::Zones => {
                return Some(rows.div_ceil(BLOCK_ROWS as u64) * size_of::<ZoneBlock>() as u64);
            }
            Self::Centroid => {
                return Some((u64::from(dimensions) + 1) * size_of::<f64>() as u64);
            }
            Self::Bodies | Self::Codes | Self::Graph | Self::Index | Self::Terms => return None,
            Self::LinkEdges | Self::LinkTargets | Self::LinkKinds => return None,
            Self::Words | Self::Threads => return None,
            Self::Superseded | Self::SupersededBy | Self::Expiries => return None,
        };
        Some(rows * row_bytes)
    }

    fn alignment(self) -> u64 {
        match self {
            Self::Graph => GRAPH_ALIGNMENT,
            _ => SECTOR_BYTES as u64,
        }
    }
}

/// Whose columns file it is, and what it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnsIdentity {
    pub store_id: StoreId,
    pub shard: u32,
    /// The number in the file's name.
    pub number: u64,
    /// The rows are those that lived behind the frame with this sequence.
    pub through: u64,
    /// µs since 1970-01-01 UTC.
    pub created_at_us: i64,
}

/// Where the directory of a columns file stands; part of the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnsPlace {
    pub directory_offset: u64,
    pub directory_bytes: u64,
    /// The checksum in the last four bytes of the directory.
    pub directory_crc: u32,
}

impl ColumnsPlace {
    /// Bytes of the whole file: it ends with the directory.
    pub fn file_bytes(&self) -> u64 {
        self.directory_offset + self.directory_bytes
    }
}

/// Why a columns file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ColumnsError {
    #[error("the header of the columns file does not fit: {0}")]
    Header(HeaderError),
    #[error("the directory of the columns file does not fit: {0}")]
    Directory(HeaderError),
    #[error("the columns file has {got} bytes, the manifest says {expected}")]
    Size { expected: u64, got: u64 },
    #[error("the directory of the columns file is malformed: {0}")]
    Malformed(&'static str),
    #[error("column {kind:?} of memory space #{} is malformed: {what}", space.0)]
    Column { space: SpaceNumber, kind: ColumnKind, what: &'static str },
    #[error("the columns of memory space #{} have no {kind:?}", space.0)]
    Missing { space: SpaceNumber, kind: ColumnKind },
}

#[cfg(test)]
mod tests;
