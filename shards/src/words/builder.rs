//! Making the words column of a section: the parts that it is made of have theirs, so terms are
//! merged in their order, and no text is read again.

use zerocopy::IntoBytes;

use super::column::{Foot, PADDING, TermEntry, postings_bytes};
use super::{Counts, Extent};

/// Bytes that one unit of work writes.
const WORK_BYTES: usize = 16 << 10;

/// See the top of the file. Terms go in ascending, then the extents of all rows, then the rest is
/// [written](Self::step).
#[derive(Debug)]
pub struct WordsBuilder {
    rows: u32,
    extents: u32,
    foot: Foot,
    postings_bytes: u64,
    entries: Vec<TermEntry>,
    terms: Vec<u8>,
    /// Of the term under way, by row.
    counts: Vec<u8>,
    /// What is being written, once everything is in, and from where.
    ending: (usize, usize),
}

impl WordsBuilder {
    /// Of a section of so many rows.
    pub fn new(rows: u32) -> Self {
        Self {
            rows,
            extents: 0,
            foot: Foot::new(rows),
            postings_bytes: 0,
            entries: Vec::new(),
            terms: Vec::new(),
            counts: Vec::new(),
            ending: (0, 0),
        }
    }

    /// Begins a term.
    ///
    /// # Panics
    /// When an extent went in before.
    pub fn begin_term(&mut self, term: &[u8]) {
        assert_eq!(self.extents, 0, "extents come last");
        self.entries.push(TermEntry {
            bytes_from: (self.terms.len() as u64).into(),
            postings_from: self.postings_bytes.into(),
            rows: 0.into(),
            zero: 0.into(),
        });
        self.terms.extend_from_slice(term);
    }

    /// Adds a row of the term; rows come ascending. `put` gets the bytes.
    pub fn posting(&mut self, row: u32, counts: Counts, mut put: impl FnMut(&[u8])) {
        put(&row.to_le_bytes());
        self.counts.push(counts.byte());
    }

    /// Ends the term; without rows it was none.
    ///
    /// # Panics
    /// When none was begun.
    pub fn end_term(&mut self, mut put: impl FnMut(&[u8])) {
        let entry = self.entries.last_mut().expect("a term was begun");
        let rows = self.counts.len();
        if rows == 0 {
            let from = usize::try_from(entry.bytes_from.get()).expect("its own length");
            self.terms.truncate(from);
            self.entries.pop();
            return;
        }
        entry.rows = u32::try_from(rows).expect("as many as rows").into();
        let bytes = postings_bytes(rows);
        self.counts.resize(bytes - rows * size_of::<u32>(), 0);
        put(&self.counts);
        self.counts.clear();
        self.postings_bytes += bytes as u64;
    }

    /// Adds the extent of the next row.
    pub fn extent(&mut self, extent: Extent, mut put: impl FnMut(&[u8])) {
        put(&extent.bits().to_le_bytes());
        self.extents += 1;
        let terms = u64::from(extent.terms());
        self.foot.documents += u64::from(terms > 0);
        self.foot.terms_total += terms;
    }

    /// Writes some of the rest when everything is in; whether that was all.
    ///
    /// # Panics
    /// When rows are missing.
    pub fn step(&mut self, mut put: impl FnMut(&[u8])) -> bool {
        assert_eq!(self.extents, self.rows, "every row has an extent");
        let (piece, from) = self.ending;
        let padding = (self.rows as usize * size_of::<u32>()).next_multiple_of(PADDING)
            - self.rows as usize * size_of::<u32>();
        if self.ending == (0, 0) {
            self.foot.postings_bytes = self.postings_bytes.into();
            self.foot.terms = (self.entries.len() as u64).into();
            self.foot.terms_bytes = (self.terms.len() as u64).into();
            self.terms.resize(self.terms.len().next_multiple_of(PADDING), 0);
        }
        let bytes = match piece {
            0 => &[0; PADDING][..padding],
            1 => self.entries.as_bytes(),
            2 => &self.terms,
            _ => self.foot.as_bytes(),
        };
        let until = bytes.len().min(from + WORK_BYTES);
        put(&bytes[from..until]);
        self.ending = if until < bytes.len() { (piece, until) } else { (piece + 1, 0) };
        self.ending.0 > 3
    }
}
