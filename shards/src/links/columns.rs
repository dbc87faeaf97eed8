//! The links of a section as a push reads them.
//!
//! Four columns, derived from the bodies when a section is written, that a section without any link
//! does not have:
//!
//! | Column | Holds |
//! |---|---|
//! | heads | [`Head`], one for each row |
//! | edges | [`Edge`], those of the first row, then those of the second … |
//! | targets | ids that are no rows of the section, with their hashes |
//! | kinds | names of kinds, by number; the first is that of links without a kind |
//!
//! A target below the number of rows is a row. Others are *far*: counted from there on, they are
//! places in the table of targets. Whose they are, on this shard or another, now or later, is not
//! known when a section is written, and is looked up when it is used.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::spread::csr::{Csr, Head};
use crate::spread::link::Edge;

/// The number of all kinds for which the table has no room.
pub const KIND_OTHER: u16 = u16::MAX;

/// Stands in front of a list of byte strings.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct ListHead {
    count: U32,
    zero: U32,
    bytes: U64,
}

impl ListHead {
    pub(crate) fn new(count: usize, bytes: usize) -> Self {
        let count = u32::try_from(count).expect("there are fewer links in a section");
        Self { count: count.into(), zero: 0.into(), bytes: (bytes as u64).into() }
    }
}

/// A far target: where its id begins. It ends where the next one begins.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct FarBlock {
    hash: U64,
    offset: U64,
}

impl FarBlock {
    pub(crate) fn new(hash: u64, offset: usize) -> Self {
        Self { hash: hash.into(), offset: (offset as u64).into() }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash.get()
    }

    pub(crate) fn offset(&self) -> usize {
        usize::try_from(self.offset.get()).unwrap_or(usize::MAX)
    }

    /// The hash and the id with a number; `None` when there are fewer.
    pub(super) fn get<'a>(entries: &[Self], ids: &'a [u8], nth: u32) -> Option<(u64, &'a [u8])> {
        let nth = nth as usize;
        let own = entries.get(nth)?;
        let end = entries.get(nth + 1).map_or(ids.len(), Self::offset);
        Some((own.hash(), ids.get(own.offset()..end)?))
    }
}

/// The columns as they lie in a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LinkColumns<'a> {
    pub(crate) heads: &'a [u8],
    pub(crate) edges: &'a [u8],
    pub(crate) targets: &'a [u8],
    pub(crate) kinds: &'a [u8],
}

/// See the top of the file.
#[derive(Debug, Clone, Copy)]
pub struct SectionLinks<'a> {
    csr: Csr<'a>,
    far: &'a [FarBlock],
    far_ids: &'a [u8],
    kind_ends: &'a [U32],
    kind_names: &'a [u8],
}

impl<'a> SectionLinks<'a> {
    /// `None` when their lengths do not fit: another version wrote them.
    pub(crate) fn open(columns: LinkColumns<'a>, rows: u32) -> Option<Self> {
        let heads = <[Head]>::ref_from_bytes(columns.heads).ok()?;
        let edges = <[Edge]>::ref_from_bytes(columns.edges).ok()?;
        let (head, rest) = ListHead::ref_from_prefix(columns.targets).ok()?;
        let count = head.count.get() as usize;
        let (far, far_ids) = <[FarBlock]>::ref_from_prefix_with_elems(rest, count).ok()?;
        let (own, rest) = ListHead::ref_from_prefix(columns.kinds).ok()?;
        let count = own.count.get() as usize;
        let (kind_ends, kind_names) = <[U32]>::ref_from_prefix_with_elems(rest, count).ok()?;
        let fits = heads.len() == rows as usize
            && far_ids.len() as u64 == head.bytes.get()
            && kind_names.len() as u64 == own.bytes.get();
        fits.then_some(Self { csr: Csr { heads, edges }, far, far_ids, kind_ends, kind_names })
    }

    /// Rows and far targets are its nodes, in this order; far ones have no links in it.
    pub fn csr(&self) -> Csr<'a> {
        self.csr
    }

    pub fn rows(&self) -> u32 {
        self.csr.nodes()
    }

    /// How many targets are no rows of the section.
    pub fn far_count(&self) -> u32 {
        self.far.len() as u32
    }

    /// The hash and the id of a far target; `None` when there are fewer.
    pub fn far(&self, nth: u32) -> Option<(u64, &'a [u8])> {
        FarBlock::get(self.far, self.far_ids, nth)
    }

    /// The name of a kind, empty for links without one; `None` for [`KIND_OTHER`].
    pub fn kind(&self, number: u16) -> Option<&'a [u8]> {
        let number = usize::from(number);
        let end = self.kind_ends.get(number)?.get() as usize;
        let from = number.checked_sub(1).map_or(0, |before| self.kind_ends[before].get() as usize);
        self.kind_names.get(from..end)
    }

    /// Kinds that have a name, links without one included.
    pub fn kind_count(&self) -> u16 {
        u16::try_from(self.kind_ends.len()).unwrap_or(KIND_OTHER)
    }
}
