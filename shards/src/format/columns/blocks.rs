//! The fixed structures inside columns.

use zerocopy::little_endian::{F32, I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::format::StoreSizes;

/// What reading a row back needs beside the columns that filters look at.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RecordBlock {
    pub sequence: U64,
    pub recorded_at_us: I64,
    /// Where in the bodies the row's begins.
    pub body_offset: U64,
    pub confidence_low: F32,
    pub confidence_high: F32,
    pub writer_uid: U32,
    pub text_bytes: U32,
    pub metadata_bytes: U32,
    pub links_bytes: U32,
    pub id_bytes: U16,
    pub thread_bytes: U16,
    pub key_bytes: U16,
    pub links: U16,
    /// µs since 1970-01-01 UTC; 0 when it has no end.
    pub expires_at_us: I64,
}

const _: () = assert!(size_of::<RecordBlock>() == 64);

impl RecordBlock {
    pub fn sizes(&self) -> StoreSizes {
        StoreSizes {
            id: self.id_bytes.get(),
            thread: self.thread_bytes.get(),
            key: self.key_bytes.get(),
            links: self.links.get(),
            text: self.text_bytes.get(),
            metadata: self.metadata_bytes.get(),
            links_bytes: self.links_bytes.get(),
        }
    }
}

/// The extremes of 64 rows: what lets a scan skip them all.
#[derive(
    Debug, Clone, Copy, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct ZoneBlock {
    pub happened_min_us: I64,
    pub happened_max_us: I64,
    pub confidence_max: F32,
    pub zero: U32,
}

const _: () = assert!(size_of::<ZoneBlock>() == 24);

impl ZoneBlock {
    /// The zone of rows with these times and confidences.
    pub fn of(rows: impl Iterator<Item = (i64, f32)>) -> Self {
        let none = (i64::MAX, i64::MIN, 0.0_f32);
        let (min, max, confidence) = rows.fold(none, |(min, max, most), (time, confidence)| {
            (min.min(time), max.max(time), most.max(confidence))
        });
        Self {
            happened_min_us: min.into(),
            happened_max_us: max.into(),
            confidence_max: confidence.into(),
            zero: 0.into(),
        }
    }
}
