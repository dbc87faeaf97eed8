//! The terms column as it is read. Layout in `shards/FORMAT.md`.
//!
//! The lengths are checked when it is opened. What stands in it may be damaged where nobody has
//! looked yet: a place that is not there has no rows, and what a term leads to is shown to the
//! filter before it is believed.

use std::ops::Range;

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{FIELD_DEPTH_MAX, FIELD_NAME_BYTES_MAX, FIELDS_MAX, put_name};

const VERSION: u32 = 1;
/// What paths and values are padded to.
pub(super) const PADDING: usize = 8;
/// In the head: there are fields that have no entry.
const HAS_LEFT_OUT: u32 = 1;
/// In an entry: not all of the field's terms are there.
const IS_LEFT_OUT: u32 = 1;

/// How much there is of everything, padding included.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) fields: u32,
    pub(super) forwards: u32,
    pub(super) terms: u32,
    pub(super) postings: u32,
    pub(super) paths_bytes: u32,
    pub(super) values_bytes: u32,
}

/// What stands in front.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Head {
    version: U32,
    flags: U32,
    rows: U32,
    fields: U32,
    forwards: U32,
    terms: U32,
    postings: U32,
    paths_bytes: U32,
    values_bytes: U32,
    zero: [u8; 28],
}

const _: () = assert!(size_of::<Head>() == 64);

impl Head {
    pub(super) fn new(rows: u32, has_left_out: bool, counts: &Counts) -> Self {
        Self {
            version: VERSION.into(),
            flags: if has_left_out { HAS_LEFT_OUT } else { 0 }.into(),
            rows: rows.into(),
            fields: counts.fields.into(),
            forwards: counts.forwards.into(),
            terms: counts.terms.into(),
            postings: counts.postings.into(),
            paths_bytes: counts.paths_bytes.into(),
            values_bytes: counts.values_bytes.into(),
            zero: [0; 28],
        }
    }
}

/// A field: its path, its terms from the first one to the next field's, the rows that have it, and
/// which of the forwards is its own, from 1 on.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct FieldEntry {
    path_from: U32,
    path_bytes: U32,
    pub(super) first_term: U32,
    pub(super) rows: U32,
    pub(super) forward: U32,
    flags: U32,
    zero: U32,
    zero_too: U32,
}

const _: () = assert!(size_of::<FieldEntry>() == 32);

impl FieldEntry {
    pub(super) fn new(path: [u32; 2], first_term: u32, rows: u32, is_left_out: bool) -> Self {
        Self {
            path_from: path[0].into(),
            path_bytes: path[1].into(),
            first_term: first_term.into(),
            rows: rows.into(),
            forward: 0.into(),
            flags: if is_left_out { IS_LEFT_OUT } else { 0 }.into(),
            zero: 0.into(),
            zero_too: 0.into(),
        }
    }

    pub(super) fn is_left_out(&self) -> bool {
        self.flags.get() & IS_LEFT_OUT != 0
    }
}

/// What is known of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lookup {
    /// No row has it.
    Nowhere,
    /// Rows may have it, with whatever value.
    LeftOut,
    /// The number of its entry.
    Field(usize),
}

/// See the top of the file.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    rows: usize,
    has_left_out: bool,
    fields: &'a [FieldEntry],
    paths: &'a [u8],
    offsets: &'a [u32],
    starts: &'a [u32],
    values: &'a [u8],
    postings: &'a [u32],
    forwards: &'a [u32],
}

impl<'a> Terms<'a> {
    /// Checks the lengths; `None` when they are not those of a column of so many rows that this
    /// version reads.
    pub fn open(column: &'a [u8], rows: u32) -> Option<Self> {
        let (head, rest) = Head::ref_from_prefix(column).ok()?;
        let fits = head.version.get() == VERSION
            && head.rows.get() == rows
            && head.fields.get() as usize <= FIELDS_MAX
            && head.forwards.get() <= head.fields.get();
        if !fits {
            return None;
        }
        let count = |number: U32| number.get() as usize;
        let (fields, rest) =
            <[FieldEntry]>::ref_from_prefix_with_elems(rest, count(head.fields)).ok()?;
        let (paths, rest) = rest.split_at_checked(count(head.paths_bytes))?;
        let numbers = <[u32]>::ref_from_prefix_with_elems;
        let (offsets, rest) = numbers(rest, count(head.terms) + 1).ok()?;
        let (starts, rest) = numbers(rest, count(head.terms) + 1).ok()?;
        let (values, rest) = rest.split_at_checked(count(head.values_bytes))?;
        let (postings, rest) = numbers(rest, count(head.postings)).ok()?;
        let forwards = <[u32]>::ref_from_bytes(rest).ok()?;
        let is_whole = forwards.len() == count(head.forwards) * rows as usize;
        is_whole.then_some(Self {
            rows: rows as usize,
            has_left_out: head.flags.get() & HAS_LEFT_OUT != 0,
            fields,
            paths,
            offsets,
            starts,
            values,
            postings,
            forwards,
        })
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Finds a field by the names that lead to it.
    pub(super) fn field(&self, names: &[&str]) -> Lookup {
        let is_bounded = names.len() <= FIELD_DEPTH_MAX
            && names.iter().all(|name| name.len() <= FIELD_NAME_BYTES_MAX);
        let found = is_bounded.then(|| {
            let mut path = Vec::new();
            names.iter().for_each(|name| put_name(name, &mut path));
            self.fields.binary_search_by(|entry| self.path(entry).cmp(&path[..])).ok()
        });
        match found.flatten() {
            Some(nth) if self.fields[nth].is_left_out() => Lookup::LeftOut,
            Some(nth) => Lookup::Field(nth),
            None if self.has_left_out => Lookup::LeftOut,
            None => Lookup::Nowhere,
        }
    }

    fn path(&self, entry: &FieldEntry) -> &'a [u8] {
        let from = entry.path_from.get() as usize;
        let to = from.saturating_add(entry.path_bytes.get() as usize);
        self.paths.get(from..to).unwrap_or_default()
    }

    /// The terms of a field.
    pub(super) fn terms(&self, field: usize) -> Range<u32> {
        let first = self.fields[field].first_term.get();
        let terms = u32::try_from(self.starts.len() - 1).expect("as the head says");
        let end = self.fields.get(field + 1).map_or(terms, |next| next.first_term.get().min(terms));
        first..end.max(first)
    }

    fn term(&self, number: u32) -> &'a [u8] {
        let offset = |nth: u32| self.offsets.get(nth as usize).map(|offset| *offset as usize);
        let place = offset(number).zip(offset(number + 1));
        place.and_then(|(from, to)| self.values.get(from..to)).unwrap_or_default()
    }

    /// The first term of a range that is not below, as `is_below` says of terms in their order.
    pub(super) fn first_term(&self, among: &Range<u32>, is_below: impl Fn(&[u8]) -> bool) -> u32 {
        let (mut low, mut high) = (among.start, among.end);
        while low < high {
            let middle = low + (high - low) / 2;
            match is_below(self.term(middle)) {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low
    }

    /// Where the postings of some terms are.
    pub(super) fn places(&self, terms: &Range<u32>) -> Range<usize> {
        let start = |nth: u32| self.starts.get(nth as usize).map_or(0, |start| *start as usize);
        let (from, to) = (start(terms.start), start(terms.end).min(self.postings.len()));
        from.min(to)..to
    }

    /// Rows; one that is not there is possible in a damaged file.
    pub fn postings(&self, places: &Range<usize>) -> &'a [u32] {
        self.postings.get(places.clone()).unwrap_or_default()
    }

    /// What is read by row, if the field has it.
    pub(super) fn forward(&self, field: usize) -> Option<&'a [u32]> {
        let nth = (self.fields[field].forward.get() as usize).checked_sub(1)?;
        self.forwards.get(nth * self.rows..)?.get(..self.rows)
    }
}
