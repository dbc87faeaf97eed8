//! The words column as it is read. Layout in `shards/FORMAT.md`.
//!
//! It is written in one pass, so what is known last stands last: first the postings of term behind
//! term, then the extents of the rows, then a dictionary that says where the postings of each term
//! are, and a foot.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Counts, Extent, Postings};

const VERSION: u32 = 1;
/// What the postings of a term, the extents and the bytes of the terms are padded to.
pub(super) const PADDING: usize = 8;

/// A term: where its bytes and its postings begin, each as far as those of the next one, and its
/// rows.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct TermEntry {
    pub(super) bytes_from: U64,
    pub(super) postings_from: U64,
    pub(super) rows: U32,
    pub(super) zero: U32,
}

/// What stands at the end.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Foot {
    pub(super) postings_bytes: U64,
    pub(super) terms: U64,
    pub(super) terms_bytes: U64,
    pub(super) documents: U64,
    pub(super) terms_total: U64,
    pub(super) rows: U32,
    version: U32,
    zero: [u8; 16],
}

const _: () = assert!(size_of::<TermEntry>() == 24 && size_of::<Foot>() == 64);

impl Foot {
    /// Of a column of so many rows.
    pub(super) fn new(rows: u32) -> Self {
        Self {
            postings_bytes: 0.into(),
            terms: 0.into(),
            terms_bytes: 0.into(),
            documents: 0.into(),
            terms_total: 0.into(),
            rows: rows.into(),
            version: VERSION.into(),
            zero: [0; 16],
        }
    }
}

/// Bytes of the postings of so many rows.
pub(super) fn postings_bytes(rows: usize) -> usize {
    (rows * (size_of::<u32>() + size_of::<Counts>())).next_multiple_of(PADDING)
}

/// See the top of the file.
#[derive(Debug, Clone, Copy)]
pub struct SectionWords<'a> {
    postings: &'a [u8],
    extents: &'a [Extent],
    entries: &'a [TermEntry],
    terms: &'a [u8],
    totals: (u64, u64),
}

impl<'a> SectionWords<'a> {
    /// Checks the lengths; `None` when they are not those of a column of so many rows that this
    /// version reads.
    pub fn open(column: &'a [u8], rows: u32) -> Option<Self> {
        let (rest, foot) = Foot::ref_from_suffix(column).ok()?;
        if foot.version.get() != VERSION || foot.rows.get() != rows {
            return None;
        }
        let count = |number: U64| usize::try_from(number.get()).ok();
        let (postings, rest) = rest.split_at_checked(count(foot.postings_bytes)?)?;
        let rows = (rows as usize).next_multiple_of(PADDING / size_of::<u32>());
        let (extents, rest) = <[Extent]>::ref_from_prefix_with_elems(rest, rows).ok()?;
        let (entries, terms) =
            <[TermEntry]>::ref_from_prefix_with_elems(rest, count(foot.terms)?).ok()?;
        let is_whole = terms.len() == count(foot.terms_bytes)?.next_multiple_of(PADDING);
        let totals = (foot.documents.get(), foot.terms_total.get());
        is_whole.then_some(Self { postings, extents, entries, terms, totals })
    }

    /// How many different terms there are.
    pub fn terms(&self) -> usize {
        self.entries.len()
    }

    /// The bytes of a term; without a number that is there, none.
    pub fn term(&self, nth: usize) -> &'a [u8] {
        let from = |nth: usize| {
            let entry = self.entries.get(nth);
            entry.map_or(Some(self.terms.len()), |entry| {
                usize::try_from(entry.bytes_from.get()).ok()
            })
        };
        let place = from(nth).zip(from(nth + 1));
        let term = place.and_then(|(from, to)| self.terms.get(from..to)).unwrap_or_default();
        if nth + 1 < self.entries.len() {
            return term;
        }
        // The last one is padded.
        let end = term.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        &term[..end]
    }

    /// The number of a term, if any row has it.
    pub fn find(&self, term: &str) -> Option<u32> {
        let (mut low, mut high) = (0, self.entries.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.term(middle).cmp(term.as_bytes()) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return u32::try_from(middle).ok(),
            }
        }
        None
    }

    pub fn postings(&self, term: &str) -> Postings<'a> {
        self.find(term).map_or(Postings::default(), |number| self.postings_at(number as usize))
    }

    /// The postings of a term by its number.
    pub fn postings_at(&self, nth: usize) -> Postings<'a> {
        let found = self.entries.get(nth).and_then(|entry| {
            let from = usize::try_from(entry.postings_from.get()).ok()?;
            let count = entry.rows.get() as usize;
            let (rows, rest) =
                <[u32]>::ref_from_prefix_with_elems(self.postings.get(from..)?, count).ok()?;
            Some(Postings { rows, counts: rest.get(..count)? })
        });
        found.unwrap_or_default()
    }

    /// Of all rows, and of padding behind them.
    pub fn extents(&self) -> &'a [Extent] {
        self.extents
    }

    pub fn extent(&self, row: u32) -> Extent {
        self.extents.get(row as usize).copied().unwrap_or_default()
    }

    /// See [`Words::totals`](super::Words::totals).
    pub fn totals(&self) -> (u64, u64) {
        self.totals
    }
}
