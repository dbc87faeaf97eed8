//! The inverted file of a part in memory: of a tail, and of a section whose file has none.

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

#[cfg(test)]
use super::Counts;
use super::{Analyser, Extent, Postings};

/// What a term takes besides its bytes and its postings: its place in the table, its name and its
/// lists.
const TERM_BYTES: usize = 96;
/// What a posting takes: a row and its counts, in lists that have grown by doubling.
const POSTING_BYTES: usize = 8;

/// See the top of the file.
#[derive(Debug, Default)]
pub struct GrownWords {
    /// The number of each term, which is its place in the order in which they came.
    numbers: HashTable<u32>,
    terms: Vec<Term>,
    /// By row; so many rows are there.
    extents: Vec<Extent>,
    /// Rows with any term, and the terms of all rows.
    documents: u64,
    terms_total: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Term {
    name: Box<str>,
    rows: Vec<u32>,
    counts: Vec<u8>,
}

impl GrownWords {
    /// Rows that are there: the first so many of the part.
    pub fn rows(&self) -> u32 {
        u32::try_from(self.extents.len()).expect("rows are u32")
    }

    /// Adds the next row.
    pub fn push(&mut self, analyser: &mut Analyser, text: &[u8]) {
        let row = self.rows();
        let document = analyser.analyse(text);
        for (term, counts) in document.terms() {
            let number = self.find(term).unwrap_or_else(|| self.add(term));
            let own = &mut self.terms[number as usize];
            own.rows.push(row);
            own.counts.push(counts.byte());
            self.bytes += POSTING_BYTES;
        }
        self.extents.push(document.extent);
        self.bytes += size_of::<Extent>();
        self.documents += u64::from(document.extent.terms() > 0);
        self.terms_total += u64::from(document.extent.terms());
    }

    /// The number of a term, if any row has it.
    pub fn find(&self, term: &str) -> Option<u32> {
        let is_it = |number: &u32| &*self.terms[*number as usize].name == term;
        self.numbers.find(xxh3_64(term.as_bytes()), is_it).copied()
    }

    fn add(&mut self, term: &str) -> u32 {
        let number = u32::try_from(self.terms.len()).expect("fewer terms than bytes of memory");
        let terms = &mut self.terms;
        terms.push(Term { name: term.into(), rows: Vec::new(), counts: Vec::new() });
        let hash = |number: &u32| xxh3_64(terms[*number as usize].name.as_bytes());
        self.numbers.insert_unique(hash(&number), number, hash);
        self.bytes += TERM_BYTES + term.len();
        number
    }

    /// How many different terms there are.
    pub fn terms(&self) -> u32 {
        u32::try_from(self.terms.len()).expect("numbered by u32")
    }

    /// A term by its number.
    pub fn term(&self, number: u32) -> (&str, Postings<'_>) {
        let Term { name, rows, counts } = &self.terms[number as usize];
        (name, Postings { rows, counts })
    }

    pub fn postings(&self, term: &str) -> Postings<'_> {
        self.find(term).map_or(Postings::default(), |number| self.term(number).1)
    }

    /// Of all rows.
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    pub fn extent(&self, row: u32) -> Extent {
        self.extents[row as usize]
    }

    /// See [`Words::totals`](super::Words::totals).
    pub fn totals(&self) -> (u64, u64) {
        (self.documents, self.terms_total)
    }

    /// Forgets up to so many terms, once nobody reads any more; whether none is left.
    pub fn release_some(&mut self, terms: usize) -> bool {
        self.terms.truncate(self.terms.len().saturating_sub(terms));
        self.terms.is_empty()
    }

    /// Bytes of memory, roughly.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What a row has of a term.
    #[cfg(test)]
    pub(super) fn counts(&self, term: &str, row: u32) -> Counts {
        let mut found = Counts::default();
        self.postings(term).for_each_of(&[row], |_, counts| found = counts);
        found
    }
}
