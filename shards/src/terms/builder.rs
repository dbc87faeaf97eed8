//! Making the terms column of a section: rows go in one by one, bytes come out in slices.
//!
//! Terms are kept sorted from the beginning, in a tree for each field, and numbered as they come.
//! Once all rows are in, the trees are taken apart in order, which gives every term its place; then
//! the rows of each term are known, and written field by field.
//!
//! There may not be more terms and postings than so many for each row. When there would be, the
//! field that has the most is left out: one of unique values, or of long lists, and not those that
//! happen to come next.

use std::collections::BTreeMap;

use zerocopy::IntoBytes;

use super::column::{Counts, FieldEntry, Head, PADDING};
use super::{
    FIELD_DEPTH_MAX, FIELD_NAME_BYTES_MAX, FIELDS_MAX, FORWARD_MANY, FORWARD_NONE, FORWARD_SHARE,
    POSTINGS_MAX, POSTINGS_MIN, POSTINGS_PER_ROW_MAX, TERMS_MAX, TERMS_MIN, TERMS_PER_ROW_MAX,
    TERMS_PER_VALUE_MAX, put_name, put_term, tag,
};
use crate::filter::{FieldSink, ScalarRef, tell_fields};

/// Pairs that are allocated at once.
const PAIRS_PER_CHUNK: usize = 1 << 16;
/// Terms, pairs or rows that one unit of work looks at, and bytes that it writes.
const WORK_TERMS: usize = 64;
const WORK_PAIRS: usize = 2048;
const WORK_BYTES: usize = 16 << 10;

/// Where the rows of a term go that is left out.
const PLACE_NONE: u32 = u32::MAX;

/// A field, or the metadata itself.
#[derive(Debug, Default)]
struct Field {
    parent: usize,
    depth: usize,
    /// Names and numbers of the fields below.
    children: Vec<(Box<str>, usize)>,
    path: Vec<u8>,
    /// The row in which it was last, plus one.
    seen: u32,
    /// Its terms, by the order in which they came.
    terms: BTreeMap<Box<[u8]>, u32>,
    rows: u32,
    postings: usize,
    /// It had the most terms or postings when there were too many.
    is_left_out: bool,
}

/// A row's value of a field: where in the bytes at hand its term is.
#[derive(Debug, Clone, Copy)]
struct RowValue {
    field: usize,
    from: usize,
    to: usize,
}

/// What the row under way says.
#[derive(Debug, Default)]
struct RowFields {
    fields: Vec<usize>,
    values: Vec<RowValue>,
    bytes: Vec<u8>,
}

#[derive(Debug)]
enum Phase {
    Rows,
    /// Takes the trees apart; the field under way.
    Terms(usize),
    /// Puts rows to their terms; the chunk of pairs under way, and the pair in it.
    Postings(usize, usize),
    /// Writes the parts of the column that are complete: which, and from where.
    Parts(usize, usize),
    /// Makes what is read by row of a field.
    Forward {
        nth: usize,
        term: usize,
        posting: usize,
    },
    WriteForward(usize, usize),
    Done,
}

/// See the top of the file.
#[derive(Debug)]
pub struct TermsBuilder {
    terms_max: usize,
    postings_max: usize,
    rows: u32,
    fields: Vec<Field>,
    row: RowFields,
    has_left_out: bool,
    /// How many rows have each term, by the order in which they came.
    counts: Vec<u32>,
    /// Terms and rows, by row.
    pairs: Vec<Vec<(u32, u32)>>,
    /// Of the fields that are not left out.
    terms: usize,
    postings: usize,
    phase: Phase,
    /// The fields in the order of their paths.
    order: Vec<usize>,
    /// Where the next row of each term goes.
    places: Vec<u32>,
    parts: Parts,
    forward: Vec<u32>,
}

/// The column but for what is read by row.
#[derive(Debug, Default)]
struct Parts {
    head: Vec<u8>,
    entries: Vec<FieldEntry>,
    paths: Vec<u8>,
    offsets: Vec<u32>,
    starts: Vec<u32>,
    values: Vec<u8>,
    postings: Vec<u32>,
}

impl Parts {
    /// Behind the last term of a field.
    fn terms_end(&self, nth: usize) -> usize {
        let next = self.entries.get(nth + 1);
        next.map_or(self.starts.len() - 1, |next| next.first_term.get() as usize)
    }

    fn counts(&self, forwards: u32) -> Counts {
        Counts {
            fields: narrow(self.entries.len()),
            forwards,
            terms: narrow(self.starts.len() - 1),
            postings: narrow(self.postings.len()),
            paths_bytes: narrow(self.paths.len()),
            values_bytes: narrow(self.values.len()),
        }
    }
}

impl TermsBuilder {
    /// For so many rows.
    pub fn new(rows: usize) -> Self {
        Self {
            terms_max: (rows * TERMS_PER_ROW_MAX + TERMS_MIN).min(TERMS_MAX),
            postings_max: (rows * POSTINGS_PER_ROW_MAX + POSTINGS_MIN).min(POSTINGS_MAX),
            rows: 0,
            fields: vec![Field::default()],
            row: RowFields::default(),
            has_left_out: false,
            counts: Vec::new(),
            pairs: Vec::new(),
            terms: 0,
            postings: 0,
            phase: Phase::Rows,
            order: Vec::new(),
            places: Vec::new(),
            parts: Parts::default(),
            forward: Vec::new(),
        }
    }

    /// Adds the next row. Metadata that cannot be read has no fields, as for a filter.
    pub fn push(&mut self, metadata: &[u8]) {
        self.row.fields.clear();
        self.row.values.clear();
        self.row.bytes.clear();
        let row = self.rows;
        self.rows += 1;
        if !tell_fields(metadata, self) {
            return;
        }
        let RowFields { mut fields, mut values, bytes } = std::mem::take(&mut self.row);
        let term = |value: &RowValue| &bytes[value.from..value.to];
        values.sort_by(|a, b| (a.field, term(a)).cmp(&(b.field, term(b))));
        values.dedup_by(|a, b| a.field == b.field && term(a) == term(b));
        fields.sort_unstable();
        let mut rest = &values[..];
        for &field in &fields {
            let own = rest.iter().take_while(|value| value.field == field).count();
            let (own, others) = rest.split_at(own);
            rest = others;
            self.fields[field].rows += 1;
            match own {
                [] => self.post(field, &[tag::BARE], row),
                _ if own.len() > TERMS_PER_VALUE_MAX => self.post(field, &[tag::OTHER], row),
                _ => own.iter().for_each(|value| self.post(field, term(value), row)),
            }
        }
        self.row = RowFields { fields, values, bytes };
    }

    fn post(&mut self, field: usize, term: &[u8], row: u32) {
        let known = self.fields[field].terms.get(term).copied();
        if self.postings == self.postings_max {
            self.leave_out(|field| field.postings);
        }
        if known.is_none() && self.terms == self.terms_max {
            self.leave_out(|field| field.terms.len());
        }
        let own = &mut self.fields[field];
        if own.is_left_out {
            return;
        }
        let number = known.unwrap_or_else(|| {
            let number = narrow(self.counts.len());
            own.terms.insert(term.into(), number);
            self.counts.push(0);
            self.terms += 1;
            number
        });
        own.postings += 1;
        self.counts[number as usize] += 1;
        self.postings += 1;
        if self.pairs.last().is_none_or(|chunk| chunk.len() == PAIRS_PER_CHUNK) {
            self.pairs.push(Vec::with_capacity(PAIRS_PER_CHUNK));
        }
        self.pairs.last_mut().expect("just made sure").push((number, row));
    }

    /// Leaves out the field that has the most of something.
    fn leave_out(&mut self, most: impl Fn(&Field) -> usize) {
        let left = self.fields.iter_mut().filter(|field| !field.is_left_out);
        let field = left.max_by_key(|field| most(field)).expect("the metadata itself has nothing");
        field.is_left_out = true;
        self.terms -= field.terms.len();
        self.postings -= field.postings;
    }

    /// Does one unit of work when all rows are in, and shows the bytes that it brought to `put`;
    /// whether the column is complete.
    pub fn step(&mut self, mut put: impl FnMut(&[u8])) -> bool {
        self.phase = match std::mem::replace(&mut self.phase, Phase::Done) {
            Phase::Rows => self.begin_terms(),
            Phase::Terms(nth) => self.take_terms(nth),
            Phase::Postings(chunk, pair) => self.place_rows(chunk, pair),
            Phase::Parts(part, from) => self.put_part(part, from, &mut put),
            Phase::Forward { nth, term, posting } => self.turn(nth, term, posting),
            Phase::WriteForward(nth, from) => self.write_forward(nth, from, &mut put),
            Phase::Done => Phase::Done,
        };
        matches!(self.phase, Phase::Done)
    }

    fn begin_terms(&mut self) -> Phase {
        let fields = &self.fields;
        self.order = (1..fields.len()).collect();
        self.order.sort_by(|a, b| fields[*a].path.cmp(&fields[*b].path));
        self.places = vec![0; self.counts.len()];
        self.parts.postings = vec![0; self.postings];
        self.parts.offsets.push(0);
        self.parts.starts.push(0);
        Phase::Terms(0)
    }

    fn take_terms(&mut self, nth: usize) -> Phase {
        let Some(&field) = self.order.get(nth) else { return self.begin_postings() };
        let field = &mut self.fields[field];
        let parts = &mut self.parts;
        if parts.entries.len() == nth {
            let (path, bytes) = (narrow(parts.paths.len()), narrow(field.path.len()));
            parts.paths.extend_from_slice(&field.path);
            let first_term = narrow(parts.starts.len() - 1);
            let is_left_out = field.is_left_out;
            parts.entries.push(FieldEntry::new([path, bytes], first_term, field.rows, is_left_out));
        }
        for _ in 0..WORK_TERMS {
            let Some((term, number)) = field.terms.pop_first() else {
                return Phase::Terms(nth + 1);
            };
            if field.is_left_out {
                self.places[number as usize] = PLACE_NONE;
                continue;
            }
            let start = *parts.starts.last().expect("it begins with one");
            self.places[number as usize] = start;
            parts.starts.push(start + self.counts[number as usize]);
            parts.values.extend_from_slice(&term);
            parts.offsets.push(narrow(parts.values.len()));
        }
        Phase::Terms(nth)
    }

    /// All terms have their places: says what the column consists of.
    fn begin_postings(&mut self) -> Phase {
        let rows = self.rows;
        let parts = &mut self.parts;
        let mut forwards = 0;
        for nth in 0..parts.entries.len() {
            let end = parts.terms_end(nth);
            let entry = &mut parts.entries[nth];
            let is_common = entry.rows.get() as usize * FORWARD_SHARE >= rows as usize;
            let has_terms = end > entry.first_term.get() as usize;
            if is_common && has_terms && !entry.is_left_out() {
                forwards += 1;
                entry.forward = forwards.into();
            }
        }
        parts.paths.resize(parts.paths.len().next_multiple_of(PADDING), 0);
        parts.values.resize(parts.values.len().next_multiple_of(PADDING), 0);
        let head = Head::new(rows, self.has_left_out, &parts.counts(forwards));
        parts.head = head.as_bytes().to_vec();
        Phase::Postings(0, 0)
    }

    fn place_rows(&mut self, chunk: usize, pair: usize) -> Phase {
        let Some(pairs) = self.pairs.get_mut(chunk) else { return Phase::Parts(0, 0) };
        let until = pairs.len().min(pair + WORK_PAIRS);
        for (term, row) in &pairs[pair..until] {
            let place = &mut self.places[*term as usize];
            if *place == PLACE_NONE {
                continue;
            }
            self.parts.postings[*place as usize] = *row;
            *place += 1;
        }
        if until < pairs.len() {
            return Phase::Postings(chunk, until);
        }
        *pairs = Vec::new();
        Phase::Postings(chunk + 1, 0)
    }

    fn put_part(&mut self, part: usize, from: usize, put: &mut impl FnMut(&[u8])) -> Phase {
        let Parts { head, entries, paths, offsets, starts, values, postings } = &self.parts;
        let bytes = match part {
            0 => head.as_slice(),
            1 => entries.as_bytes(),
            2 => paths.as_slice(),
            3 => offsets.as_bytes(),
            4 => starts.as_bytes(),
            5 => values.as_slice(),
            6 => postings.as_bytes(),
            _ => return self.next_forward(0),
        };
        match put_some(bytes, from, put) {
            Some(from) => Phase::Parts(part, from),
            None => Phase::Parts(part + 1, 0),
        }
    }

    /// Begins what is read by row of the next field that has it.
    fn next_forward(&mut self, nth: usize) -> Phase {
        let entries = &self.parts.entries;
        let next = (nth..entries.len()).find(|nth| entries[*nth].forward.get() != 0);
        let Some(nth) = next else { return Phase::Done };
        if self.forward.is_empty() {
            self.forward = vec![FORWARD_NONE; self.rows as usize];
        }
        let term = entries[nth].first_term.get() as usize;
        Phase::Forward { nth, term, posting: self.parts.starts[term] as usize }
    }

    /// Writes the terms of some postings of a field to their rows.
    fn turn(&mut self, nth: usize, mut term: usize, posting: usize) -> Phase {
        let Parts { entries, starts, postings, .. } = &self.parts;
        let first = entries[nth].first_term.get() as usize;
        let end = self.parts.terms_end(nth);
        let until = (starts[end] as usize).min(posting + WORK_PAIRS);
        for (at, row) in postings.iter().enumerate().take(until).skip(posting) {
            while starts[term + 1] as usize <= at {
                term += 1;
            }
            let own = &mut self.forward[*row as usize];
            *own = match *own {
                FORWARD_NONE => narrow(term - first + 1),
                _ => FORWARD_MANY,
            };
        }
        match until == starts[end] as usize {
            true => Phase::WriteForward(nth, 0),
            false => Phase::Forward { nth, term, posting: until },
        }
    }

    fn write_forward(&mut self, nth: usize, from: usize, put: &mut impl FnMut(&[u8])) -> Phase {
        let until = self.forward.len().min(from + WORK_BYTES / size_of::<u32>());
        let some = &mut self.forward[from..until];
        put(some.as_bytes());
        some.fill(FORWARD_NONE);
        match until == self.forward.len() {
            true => self.next_forward(nth + 1),
            false => Phase::WriteForward(nth, until),
        }
    }
}

impl FieldSink for TermsBuilder {
    fn field(&mut self, parent: usize, name: &str) -> Option<usize> {
        let known = self.fields[parent].children.iter().find(|(own, _)| **own == *name);
        let number = match known {
            Some((_, number)) => *number,
            None => self.add_field(parent, name)?,
        };
        if self.fields[number].seen == self.rows {
            self.take_back(number);
        }
        self.fields[number].seen = self.rows;
        self.row.fields.push(number);
        Some(number)
    }

    fn value(&mut self, field: usize, value: ScalarRef<'_>) {
        let from = self.row.bytes.len();
        put_term(value, &mut self.row.bytes);
        self.row.values.push(RowValue { field, from, to: self.row.bytes.len() });
    }
}

impl TermsBuilder {
    fn add_field(&mut self, parent: usize, name: &str) -> Option<usize> {
        let depth = self.fields[parent].depth + 1;
        let is_bounded = name.len() <= FIELD_NAME_BYTES_MAX && depth <= FIELD_DEPTH_MAX;
        if !is_bounded || self.fields.len() > FIELDS_MAX {
            self.has_left_out = true;
            return None;
        }
        let number = self.fields.len();
        let mut path = self.fields[parent].path.clone();
        put_name(name, &mut path);
        self.fields[parent].children.push((name.into(), number));
        self.fields.push(Field { parent, depth, path, ..Field::default() });
        Some(number)
    }

    /// Forgets what the row under way said of a field and those below it.
    fn take_back(&mut self, number: usize) {
        let fields = &self.fields;
        let is_other = |field: usize| {
            let mut above = field;
            while above != 0 && above != number {
                above = fields[above].parent;
            }
            above != number
        };
        self.row.fields.retain(|field| is_other(*field));
        self.row.values.retain(|value| is_other(value.field));
    }
}

/// Puts the bytes from a place on, some of them; where the next ones are, if there are more.
fn put_some(bytes: &[u8], from: usize, put: &mut impl FnMut(&[u8])) -> Option<usize> {
    let until = bytes.len().min(from + WORK_BYTES);
    put(&bytes[from..until]);
    (until < bytes.len()).then_some(until)
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).expect("what a section may have is bounded")
}
