//! Single JSON values and their order.

use std::cmp::Ordering;

/// A JSON value without parts, in a filter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scalar {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
}

/// The same in metadata, borrowed from where it is read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ScalarRef<'a> {
    Null,
    Bool(bool),
    Number(Number),
    String(&'a str),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    /// Any u64 or i64.
    Integer(i128),
    Float(f64),
}

impl Number {
    fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Integer(one), Self::Integer(other)) => Some(one.cmp(&other)),
            (one, other) => one.as_f64().partial_cmp(&other.as_f64()),
        }
    }

    pub(crate) fn as_f64(self) -> f64 {
        match self {
            Self::Integer(integer) => integer as f64,
            Self::Float(float) => float,
        }
    }
}

impl ScalarRef<'_> {
    /// `None` when the two have different types, or a type without order and are not equal.
    pub(super) fn compare(self, other: &Scalar) -> Option<Ordering> {
        match (self, other) {
            (Self::Null, Scalar::Null) => Some(Ordering::Equal),
            (Self::Bool(one), Scalar::Bool(other)) => (one == *other).then_some(Ordering::Equal),
            (Self::Number(one), Scalar::Number(other)) => one.compare(*other),
            (Self::String(one), Scalar::String(other)) => Some(one.cmp(other.as_str())),
            _ => None,
        }
    }
}
