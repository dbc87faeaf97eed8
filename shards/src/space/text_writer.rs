//! Writing the columns of words and threads of a section: the words are merged from those of the
//! sources, so no text is read again.

use std::collections::BTreeMap;

use super::Space;
use super::part::{Part, PartNumber, RowAt};
use super::section_writer::Moved;
use super::sorter::Sorter;
use crate::arena::Arena;
use crate::words::threads::{Moment, ThreadEntry, thread_hash};
use crate::words::{Counts, Postings, Words, WordsBuilder};
use zerocopy::IntoBytes;

/// Terms, postings or rows that one unit of work looks at.
const WORK_TERMS: u32 = 64;
const WORK_ROWS: usize = 1024;

/// The terms of a source in their order.
#[derive(Debug)]
enum Dictionary {
    /// Of a part in memory: the terms that were sorted so far, with their numbers, and how many
    /// those are.
    Grown(BTreeMap<Box<str>, u32>, u32),
    /// Of a column: the number of the next one.
    Column(usize),
}

#[derive(Debug)]
struct Source {
    part: PartNumber,
    dictionary: Dictionary,
}

#[derive(Debug)]
enum Phase {
    /// Sorts the terms of a source.
    Sort(usize),
    /// Looks for the next term.
    Next,
    /// Gathers the rows of a term from a source, from a posting on.
    Gather {
        from: Vec<(usize, usize)>,
        posting: usize,
        rows: Sorter<u32>,
    },
    Emit(Sorter<u32>),
    Extents(usize),
    Ending,
}

/// See the top of the file.
#[derive(Debug)]
pub(super) struct WordsWriter {
    sources: Vec<Source>,
    builder: WordsBuilder,
    phase: Phase,
}

impl Source {
    fn words<'a>(&self, space: &'a Space, arena: &'a Arena) -> Words<'a> {
        let part = space.part(arena, self.part).expect("sources stay until they are published");
        part.words(part.rows()).expect("texts were read before the section was begun")
    }

    /// Its next term.
    fn term<'a>(&'a self, words: Words<'a>) -> Option<&'a [u8]> {
        match (&self.dictionary, words) {
            (Dictionary::Column(nth), Words::Section(section)) => {
                (*nth < section.terms()).then(|| section.term(*nth))
            }
            (Dictionary::Grown(sorted, _), _) => {
                sorted.first_key_value().map(|(term, _)| term.as_bytes())
            }
            (Dictionary::Column(_), Words::Grown(_)) => unreachable!("as it was at the beginning"),
        }
    }

    /// The number of its next term, which is taken.
    fn take(&mut self) -> usize {
        match &mut self.dictionary {
            Dictionary::Column(nth) => {
                *nth += 1;
                *nth - 1
            }
            Dictionary::Grown(sorted, _) => {
                let (_, number) = sorted.pop_first().expect("it has a next term");
                number as usize
            }
        }
    }
}

fn postings_at<'a>(words: Words<'a>, number: usize) -> Postings<'a> {
    match words {
        Words::Grown(grown) => grown.term(u32::try_from(number).expect("as it was given")).1,
        Words::Section(section) => section.postings_at(number),
    }
}

impl WordsWriter {
    /// Of a section of so many rows of the sources, whose texts were read.
    pub(super) fn new(space: &Space, arena: &Arena, moved: &Moved, rows: u32) -> Self {
        let source = |part: PartNumber| {
            let empty = Source { part, dictionary: Dictionary::Column(0) };
            let dictionary = match empty.words(space, arena) {
                Words::Grown(_) => Dictionary::Grown(BTreeMap::new(), 0),
                Words::Section(_) => Dictionary::Column(0),
            };
            Source { dictionary, ..empty }
        };
        let sources = moved.sources().map(source).collect();
        Self { sources, builder: WordsBuilder::new(rows), phase: Phase::Sort(0) }
    }

    /// Does one unit of work, and shows the bytes that it brought to `put`; whether the column is
    /// complete. `order` is where each row comes from.
    pub(super) fn step(
        &mut self,
        (space, arena): (&Space, &Arena),
        moved: &Moved,
        order: &[RowAt],
        mut put: impl FnMut(&[u8]),
    ) -> bool {
        self.phase = match std::mem::replace(&mut self.phase, Phase::Ending) {
            Phase::Sort(nth) => self.sort(nth, space, arena),
            Phase::Next => self.begin_term(space, arena),
            Phase::Gather { mut from, posting, mut rows } => {
                let Some((source, number)) = from.last().copied() else {
                    self.phase = Phase::Emit(rows);
                    return false;
                };
                let source = &self.sources[source];
                let Postings { rows: all, counts } =
                    postings_at(source.words(space, arena), number);
                let until = all.len().min(posting + WORK_ROWS);
                for (row, counts) in all[posting..until].iter().zip(&counts[posting..until]) {
                    if let Some(to) = moved.row(source.part, *row) {
                        rows.push(to, u32::from(*counts));
                    }
                }
                let is_over = until == all.len();
                if is_over {
                    from.pop();
                }
                Phase::Gather { from, posting: if is_over { 0 } else { until }, rows }
            }
            Phase::Emit(mut rows) => {
                let mut left = WORK_ROWS;
                for (row, counts) in rows.by_ref().take(WORK_ROWS) {
                    let counts = u8::try_from(counts).expect("it went in as one");
                    self.builder.posting(row, Counts::from_byte(counts), &mut put);
                    left -= 1;
                }
                match left {
                    0 => Phase::Emit(rows),
                    _ => {
                        self.builder.end_term(&mut put);
                        Phase::Next
                    }
                }
            }
            Phase::Extents(from) => {
                let until = order.len().min(from + WORK_ROWS);
                for at in &order[from..until] {
                    let source = self.sources.iter().find(|source| source.part == at.part);
                    let source = source.expect("the order names rows of the sources");
                    let extent = source.words(space, arena).extent(at.row);
                    self.builder.extent(extent, &mut put);
                }
                if until < order.len() { Phase::Extents(until) } else { Phase::Ending }
            }
            Phase::Ending => {
                if self.builder.step(&mut put) {
                    return true;
                }
                Phase::Ending
            }
        };
        false
    }

    fn sort(&mut self, nth: usize, space: &Space, arena: &Arena) -> Phase {
        let Some(source) = self.sources.get_mut(nth) else { return Phase::Next };
        let words = source.words(space, arena);
        let (Dictionary::Grown(sorted, next), Words::Grown(grown)) =
            (&mut source.dictionary, words)
        else {
            return Phase::Sort(nth + 1);
        };
        let until = grown.terms().min(*next + WORK_TERMS);
        sorted.extend((*next..until).map(|number| (grown.term(number).0.into(), number)));
        *next = until;
        Phase::Sort(if until == grown.terms() { nth + 1 } else { nth })
    }

    fn begin_term(&mut self, space: &Space, arena: &Arena) -> Phase {
        let terms =
            self.sources.iter().filter_map(|source| source.term(source.words(space, arena)));
        let Some(term) = terms.min().map(<[u8]>::to_vec) else { return Phase::Extents(0) };
        let mut from = Vec::new();
        for (nth, source) in self.sources.iter_mut().enumerate() {
            let words = source.words(space, arena);
            if source.term(words) == Some(&term[..]) {
                from.push((nth, source.take()));
            }
        }
        self.builder.begin_term(&term);
        Phase::Gather { from, posting: 0, rows: Sorter::with_capacity(0) }
    }
}

/// The rows of a section that have a thread, sorted.
#[derive(Debug)]
pub(super) struct ThreadsWriter {
    sorter: Sorter<(u64, Moment)>,
    rows: usize,
}

impl ThreadsWriter {
    pub(super) fn new() -> Self {
        Self { sorter: Sorter::with_capacity(0), rows: 0 }
    }

    /// Takes the next row. One that cannot be read has no thread.
    pub(super) fn push(&mut self, part: Part<'_>, row: u32, to: u32) {
        if part.record(row).sizes.thread == 0 {
            return;
        }
        if let Ok(body) = part.body(row) {
            self.sorter.push((thread_hash(body.thread), part.moment(row)), to);
            self.rows += 1;
        }
    }

    /// Writes some entries; whether those were the last.
    pub(super) fn put_some(&mut self, mut put: impl FnMut(&[u8])) -> bool {
        for _ in 0..WORK_ROWS.min(self.rows) {
            let ((thread, _), row) = self.sorter.next().expect("as many come out as went in");
            put(ThreadEntry::new(thread, row).as_bytes());
            self.rows -= 1;
        }
        self.rows == 0
    }
}
