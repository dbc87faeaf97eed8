//! What a part knows of the texts and threads of its rows, and of what they are like on the whole,
//! while it has no columns for that.
//!
//! A tail gets it row by row, and a section whose file has no such columns, or damaged ones. Rows
//! are read when somebody first asks for words, or when there is nothing else to do: neither a
//! store nor a replay waits for it.

use zerocopy::FromBytes;

use super::Section;
use super::centroid::Centroid;
use super::part::{Damaged, Part};
use crate::format::columns::ColumnKind;
use crate::words::threads::{GrownThreads, Side, ThreadEntry, Threads, thread_hash};
use crate::words::{Analyser, GrownWords, Language, SectionWords};

/// Bytes of texts behind which reading pauses.
const READ_BYTES: usize = 64 << 10;
/// Terms or rows that are given back at once.
const RELEASED: usize = 256;

/// See the top of the file.
#[derive(Debug, Default)]
pub struct Text {
    pub(super) words: GrownWords,
    pub(super) threads: GrownThreads,
    centroid: Centroid,
}

impl Text {
    /// Rows that were read: the first so many.
    pub(super) fn rows(&self) -> u32 {
        self.words.rows()
    }

    /// Of the rows that were read.
    pub(super) fn centroid(&self) -> &Centroid {
        &self.centroid
    }

    /// Reads up to `rows_max` more of the first `wanted` rows of the part, fewer where texts are
    /// long; whether all of those are read.
    pub(super) fn read_some(
        &mut self,
        part: Part<'_>,
        wanted: u32,
        analyser: &mut Analyser,
        rows_max: u32,
    ) -> bool {
        let until = wanted.min(self.rows().saturating_add(rows_max));
        let mut bytes = 0;
        while self.rows() < until && bytes < READ_BYTES {
            bytes += self.read(part, analyser);
        }
        self.rows() >= wanted
    }

    /// Reads the next row of the part, and tells the bytes of its text. What cannot be read has
    /// neither words nor a thread.
    fn read(&mut self, part: Part<'_>, analyser: &mut Analyser) -> usize {
        let row = self.rows();
        let body = part.body(row);
        let (text, thread) = match &body {
            Ok(body) => (body.text, body.thread),
            Err(Damaged { .. }) => (&[][..], &[][..]),
        };
        self.words.push(analyser, text);
        self.centroid.add(part.vector(row), part.columns(row).scale);
        if !thread.is_empty() {
            self.threads.insert(thread, part.moment(row), row);
        }
        text.len()
    }

    /// Gives some of its memory back, once nobody reads any more; whether that was all.
    pub(super) fn release_some(&mut self) -> bool {
        self.words.release_some(RELEASED) && self.threads.release_some(RELEASED)
    }

    pub(super) fn bytes(&self) -> usize {
        self.words.bytes() + self.threads.bytes() + self.centroid.bytes()
    }
}

impl Section {
    /// The texts, in that language, come to the same words and threads again.
    pub(super) fn verify_text(&self, language: Language, faults: &mut Vec<String>) {
        let Some(column) = self.opaque(ColumnKind::Words) else { return };
        let Some(words) = SectionWords::open(column, self.rows()) else {
            faults.push("the words have another version or length than this one writes".into());
            return;
        };
        let (mut again, mut analyser) = (Text::default(), Analyser::new(language));
        let part = Part::Section(self);
        while !again.read_some(part, self.rows(), &mut analyser, u32::MAX) {}
        let grown = &again.words;
        let is_same = words.totals() == grown.totals()
            && words.terms() == grown.terms() as usize
            && (0..self.rows()).all(|row| words.extent(row) == grown.extent(row))
            && (0..grown.terms()).map(|number| grown.term(number)).all(|(term, own)| {
                let found = words.postings(term);
                (found.rows, found.counts) == (own.rows, own.counts)
            });
        if !is_same {
            faults.push("the words are not those of the texts".into());
        }
        let entries = self.opaque(ColumnKind::Threads).unwrap_or_default();
        let entries = <[ThreadEntry]>::ref_from_bytes(entries).unwrap_or_default();
        if entries.len() != again.threads.rows() || !self.has_same_threads(&again, entries) {
            faults.push("the threads are not those of the rows".into());
        }
    }

    /// Whether every row has the same before and behind it.
    fn has_same_threads(&self, again: &Text, entries: &[ThreadEntry]) -> bool {
        let part = Part::Section(self);
        let around = |threads: Threads<'_>, row: u32| {
            let thread = part.body(row).map_or(&[][..], |body| body.thread);
            let (mut before, mut behind) = (None, None);
            threads.around(
                thread_hash(thread),
                part.moment(row),
                |row| part.moment(row),
                |side, row| match side {
                    Side::Before => before.replace(row).is_some(),
                    Side::Behind => behind.replace(row).is_some(),
                },
            );
            (before, behind)
        };
        let is_there = |entry: &ThreadEntry| entry.row() < self.rows();
        entries.iter().all(is_there)
            && (0..self.rows()).all(|row| {
                around(Threads::Grown(&again.threads), row)
                    == around(Threads::Section(entries), row)
            })
    }
}
