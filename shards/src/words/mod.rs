//! Words as a cue: which rows of a part have which words in their texts, and how well they answer
//! those of a question.
//!
//! | Piece | What it is |
//! |---|---|
//! | [`Analyser`] | a text as *terms*: words by UAX #29, lower case, without stop words, stemmed |
//! | [`GrownWords`] | the inverted file of a part in memory: it grows row by row |
//! | [`WordsBuilder`], [`SectionWords`] | the same as a column of a section: written once, mapped |
//! | [`Words`] | either of them as a reader sees it |
//! | [`threads`] | which rows belong to one conversation, in their order |
//! | [`score`] | BM25 over an episode and what was said around it |
//! | [`when`] | the times that a question names |
//!
//! A row is analysed when somebody first asks for words, or when the shard has nothing better to
//! do: a store waits for neither, and a question sees every acknowledged episode because it catches
//! up first.
//!
//! Each posting says how often the row *states* a term and how often it *asks* with it, that is
//! within a sentence that ends with a question mark. A question tells nothing by itself, but what
//! it is about is what its answer is about, and the answer need not repeat it.

mod analyser;
mod builder;
mod column;
mod grown;
mod language;
pub mod score;
mod stop;
#[cfg(test)]
mod tests;
pub mod threads;
pub mod when;

use zerocopy::{FromBytes, Immutable, KnownLayout};

pub use analyser::{Analyser, Document};
pub use builder::WordsBuilder;
pub use column::SectionWords;
pub use grown::GrownWords;
pub use language::{Language, NotALanguage};

/// Bytes of a term; a longer word is none.
pub const TERM_BYTES_MAX: usize = 64;
/// Terms of a question that are looked for; more are left out.
pub const QUESTION_TERMS_MAX: usize = 64;
/// Different terms of a row that are indexed; more are left out.
pub const ROW_TERMS_MAX: usize = 16_384;

/// How often a row has a term, each counted up to 15.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts(u8);

impl Counts {
    pub fn new(stated: usize, asked: usize) -> Self {
        let nibble = |count: usize| u8::try_from(count.min(15)).expect("at most 15");
        Self(nibble(stated) | nibble(asked) << 4)
    }

    pub fn from_byte(byte: u8) -> Self {
        Self(byte)
    }

    pub fn byte(self) -> u8 {
        self.0
    }

    /// In sentences that are no questions.
    pub fn stated(self) -> f32 {
        f32::from(self.0 & 15)
    }

    pub fn asked(self) -> f32 {
        f32::from(self.0 >> 4)
    }

    pub fn all(self) -> f32 {
        self.stated() + self.asked()
    }
}

/// How long a text is, and how much of it asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Extent(u32);

impl Extent {
    /// Of so many terms, counted with repetitions, of which so many are in questions.
    pub fn new(terms: usize, asked: usize) -> Self {
        let share = (asked * 255).checked_div(terms).unwrap_or(0).min(255);
        let terms = terms.min((1 << 24) - 1);
        Self(u32::try_from(share << 24 | terms).expect("24 and 8 bits"))
    }

    pub fn bits(self) -> u32 {
        self.0
    }

    /// Terms, stop words aside.
    pub fn terms(self) -> u32 {
        self.0 & ((1 << 24) - 1)
    }

    /// The part of them that is in questions, in [0, 1].
    pub fn asked_share(self) -> f32 {
        (self.0 >> 24) as f32 / 255.0
    }
}

/// The rows of a term, ascending, and how often each has it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Postings<'a> {
    pub rows: &'a [u32],
    pub counts: &'a [u8],
}

impl Postings<'_> {
    /// What some rows, which are ascending, have of the term.
    pub fn for_each_of(&self, rows: &[u32], mut with: impl FnMut(usize, Counts)) {
        let mut from = 0;
        for (nth, row) in rows.iter().enumerate() {
            from = gallop(self.rows, from, *row);
            match self.rows.get(from) {
                Some(own) if own == row => with(nth, Counts::from_byte(self.counts[from])),
                Some(_) => {}
                None => return,
            }
        }
    }
}

/// The first place from one on that is not below a row.
fn gallop(rows: &[u32], from: usize, row: u32) -> usize {
    let mut step = 1;
    while rows.get(from + step).is_some_and(|own| *own < row) {
        step *= 2;
    }
    let until = rows.len().min(from + step + 1);
    from + rows[from.min(until)..until].partition_point(|own| *own < row)
}

/// The words of a part.
#[derive(Debug, Clone, Copy)]
pub enum Words<'a> {
    Grown(&'a GrownWords),
    Section(SectionWords<'a>),
}

impl<'a> Words<'a> {
    /// The number of a term, if there is such a one. It stays the same.
    pub fn find(&self, term: &str) -> Option<u32> {
        match self {
            Self::Grown(grown) => grown.find(term),
            Self::Section(section) => section.find(term),
        }
    }

    /// The postings of a term by its number.
    pub fn postings_at(&self, number: u32) -> Postings<'a> {
        match self {
            Self::Grown(grown) => grown.term(number).1,
            Self::Section(section) => section.postings_at(number as usize),
        }
    }

    pub fn postings(&self, term: &str) -> Postings<'a> {
        self.find(term).map_or(Postings::default(), |number| self.postings_at(number))
    }

    /// Of a row that is there.
    pub fn extent(&self, row: u32) -> Extent {
        match self {
            Self::Grown(grown) => grown.extent(row),
            Self::Section(section) => section.extent(row),
        }
    }

    /// Of the first so many rows, all that there are.
    pub fn extents(&self) -> &'a [Extent] {
        match self {
            Self::Grown(grown) => grown.extents(),
            Self::Section(section) => section.extents(),
        }
    }

    /// Rows with at least one term, and the terms of all rows with repetitions.
    pub fn totals(&self) -> (u64, u64) {
        match self {
            Self::Grown(grown) => grown.totals(),
            Self::Section(section) => section.totals(),
        }
    }
}
