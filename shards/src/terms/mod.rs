//! The terms of a section: which rows have which values in which fields of their metadata.
//!
//! A filter that is evaluated row by row parses the metadata of every row: a second for a million.
//! So a section has an inverted file of its metadata. A *field* is a path of names, a *term* one
//! value of a field, as bytes whose order is that of the values within a type. Terms are sorted, so
//! a comparison, equal or greater or any, asks for the rows of a few ranges of terms.
//!
//! | Read by | From | For |
//! |---|---|---|
//! | term | *postings*: the rows of each term, ascending | few rows, gone through one by one |
//! | row | *forward*: the one term of a row, in common fields | judging rows as they come |
//!
//! Not everything is indexed. Long strings and long arrays become the term *other*, which any
//! comparison may match; fields that are nested deep or too many are left out, and where terms or
//! postings are too many the fields that have the most of them. So the answer for a row is yes, no
//! or [maybe](Truth), by the logic of Kleene, and never wrong: what may match is shown to the
//! filter itself. Numbers are terms by their f64, so integers beyond 2⁵³ are a maybe where they are
//! near.
//!
//! Rejected: hashes of values in the place of terms (no ranges, and a collision makes every
//! negation a maybe); a bitmap for each term (what must be judged row by row would be a search in
//! each); positions of rows within their field (smaller, and one more dependent read for each row).

mod builder;
mod column;
mod plan;
#[cfg(test)]
mod tests;

pub use builder::TermsBuilder;
pub use column::Terms;
pub use plan::{Masks, Plan, Posting, Truth};

use crate::filter::{Number, Scalar, ScalarRef};

/// Fields of a section, the inner objects among them.
pub const FIELDS_MAX: usize = 256;
/// Names in the path of a field.
pub const FIELD_DEPTH_MAX: usize = 8;
/// Bytes of a name.
pub const FIELD_NAME_BYTES_MAX: usize = 128;
/// Bytes of a string; a longer one is *other*.
pub const TERM_STRING_BYTES_MAX: usize = 64;
/// Different elements of an array; one with more is *other*.
pub const TERMS_PER_VALUE_MAX: usize = 64;
/// Different terms of a section, for each of its rows and besides.
pub const TERMS_PER_ROW_MAX: usize = 4;
/// See [`TERMS_PER_ROW_MAX`].
pub const TERMS_MIN: usize = 65_536;
/// However many rows it has; see [`TERMS_PER_ROW_MAX`].
pub const TERMS_MAX: usize = 1 << 25;
/// Postings of a section, for each of its rows and besides.
pub const POSTINGS_PER_ROW_MAX: usize = 64;
/// See [`POSTINGS_PER_ROW_MAX`].
pub const POSTINGS_MIN: usize = 65_536;
/// See [`TERMS_MAX`].
pub const POSTINGS_MAX: usize = 1 << 31;

// Places among the bytes of terms, and among postings, are u32.
const _: () = assert!(TERMS_MAX * (1 + TERM_STRING_BYTES_MAX) < u32::MAX as usize);
const _: () = assert!(POSTINGS_MAX < u32::MAX as usize);

/// A field is read by row where at least one row in so many has it.
const FORWARD_SHARE: usize = 16;

/// What a term begins with.
mod tag {
    /// The field is there and has no value that could be compared.
    pub const BARE: u8 = 0;
    /// The field has values that are not indexed.
    pub const OTHER: u8 = 1;
    pub const NULL: u8 = 2;
    pub const FALSE: u8 = 3;
    pub const TRUE: u8 = 4;
    /// Then the f64, as bytes that are ordered like it.
    pub const NUMBER: u8 = 5;
    /// Then its bytes.
    pub const STRING: u8 = 6;
}

/// A row that has one value in a field has it there, as the number of the term within the field
/// plus one; 0 where the field is not there.
const FORWARD_NONE: u32 = 0;
/// The row has several values.
const FORWARD_MANY: u32 = u32::MAX;

/// Integers from here on share an f64 with others.
const EXACT_INTEGERS_END: f64 = 9_007_199_254_740_992.0;

/// The bytes of a number, ordered like it.
fn number_bytes(number: f64) -> [u8; 8] {
    // Both zeros are equal.
    let bits = (number + 0.0).to_bits();
    let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
    ordered.to_be_bytes()
}

/// Appends the term of a value.
fn put_term(value: ScalarRef<'_>, out: &mut Vec<u8>) {
    match value {
        ScalarRef::Null => out.push(tag::NULL),
        ScalarRef::Bool(false) => out.push(tag::FALSE),
        ScalarRef::Bool(true) => out.push(tag::TRUE),
        ScalarRef::Number(number) => put_number(number, out),
        ScalarRef::String(string) if string.len() > TERM_STRING_BYTES_MAX => out.push(tag::OTHER),
        ScalarRef::String(string) => {
            out.push(tag::STRING);
            out.extend_from_slice(string.as_bytes());
        }
    }
}

fn put_number(number: Number, out: &mut Vec<u8>) {
    out.push(tag::NUMBER);
    out.extend_from_slice(&number_bytes(number.as_f64()));
}

/// The term of a value of a filter; it may be longer than any that is indexed.
fn term_of(scalar: &Scalar) -> Vec<u8> {
    let mut term = Vec::new();
    match scalar {
        Scalar::Null => term.push(tag::NULL),
        Scalar::Bool(false) => term.push(tag::FALSE),
        Scalar::Bool(true) => term.push(tag::TRUE),
        Scalar::Number(number) => put_number(*number, &mut term),
        Scalar::String(string) => {
            term.push(tag::STRING);
            term.extend_from_slice(string.as_bytes());
        }
    }
    term
}

/// Appends a name to the bytes of a path.
fn put_name(name: &str, path: &mut Vec<u8>) {
    let bytes = u16::try_from(name.len()).expect("names are bounded");
    path.extend_from_slice(&bytes.to_be_bytes());
    path.extend_from_slice(name.as_bytes());
}
