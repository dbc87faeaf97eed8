//! Checks of single values. Each error names what was wrong, the bound and the value it got.

use std::fmt::Display;
use std::num::NonZero;
use std::ops::RangeInclusive;
use std::str::FromStr;

use bytes::Bytes;
use engram_shards::episode::{Refusal, Ttl};
use engram_shards::filter;
use engram_shards::limits::{
    DIMENSIONS_MAX, ID_BYTES_MAX, METADATA_BYTES_MAX, QUESTION_BYTES_MAX, SPACE_NAME_BYTES_MAX,
};
use engram_shards::trust::check_name;

use super::arguments::{is_keyword, shown};

/// Bytes of one component of a vector blob.
const COMPONENT_BYTES: usize = size_of::<f32>();

pub(super) fn within(what: &'static str, got: usize, max: usize) -> Result<(), Refusal> {
    if got <= max { Ok(()) } else { Err(Refusal::TooBig { what, got, max }) }
}

pub(super) fn utf8<'a>(what: &str, value: &'a [u8]) -> Result<&'a str, Refusal> {
    std::str::from_utf8(value).map_err(|error| {
        Refusal::Syntax(format!(
            "{what} must be UTF-8, got {} with an invalid byte at {}",
            shown(value),
            error.valid_up_to()
        ))
    })
}

/// UTF-8 of at most so many bytes.
pub(super) fn text(what: &'static str, value: Bytes, max: usize) -> Result<Bytes, Refusal> {
    within(what, value.len(), max)?;
    utf8(what, &value)?;
    Ok(value)
}

/// A question in words.
pub(super) fn question(value: Bytes) -> Result<Bytes, Refusal> {
    nonempty("TEXT", value, QUESTION_BYTES_MAX)
}

/// UTF-8 of 1 to so many bytes.
pub(super) fn nonempty(what: &'static str, value: Bytes, max: usize) -> Result<Bytes, Refusal> {
    if value.is_empty() {
        return Err(Refusal::Syntax(format!("{what} must have 1 to {max} bytes, got none")));
    }
    text(what, value, max)
}

pub(super) fn id(value: Bytes) -> Result<Bytes, Refusal> {
    nonempty("id", value, ID_BYTES_MAX)
}

/// A name that people read in lists and metrics: no control characters.
pub(super) fn name(what: &'static str, value: &[u8], max: usize) -> Result<String, Refusal> {
    within(what, value.len(), max)?;
    let name = utf8(what, value)?;
    if name.is_empty() || name.contains(char::is_control) {
        return Err(Refusal::Syntax(format!(
            "{what} must have 1 to {max} bytes and no control characters, got {}",
            shown(value)
        )));
    }
    Ok(name.to_owned())
}

pub(super) fn space(value: &[u8]) -> Result<String, Refusal> {
    name("name of the memory space", value, SPACE_NAME_BYTES_MAX)
}

fn number<T: FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// A whole number in a range.
pub(super) fn whole<T: FromStr + PartialOrd + Display>(
    what: &str,
    value: &[u8],
    range: &RangeInclusive<T>,
) -> Result<T, Refusal> {
    number(value).filter(|number| range.contains(number)).ok_or_else(|| {
        Refusal::Syntax(format!(
            "{what} must be a whole number from {} to {}, got {}",
            range.start(),
            range.end(),
            shown(value)
        ))
    })
}

/// Microseconds since 1970-01-01 UTC.
pub(super) fn time_us(what: &str, value: &[u8]) -> Result<i64, Refusal> {
    number(value).ok_or_else(|| {
        Refusal::Syntax(format!(
            "{what} must be whole microseconds since 1970-01-01 UTC, got {}",
            shown(value)
        ))
    })
}

/// A time to live: whole seconds, or `none` for ever.
pub(super) fn ttl(value: &[u8]) -> Result<Ttl, Refusal> {
    if is_keyword(value, "none") {
        return Ok(Ttl::Never);
    }
    let seconds = whole("TTL (or none)", value, &(1..=u32::MAX))?;
    Ok(Ttl::Seconds(NonZero::new(seconds).expect("one at least")))
}

pub(super) fn finite(what: &str, value: &[u8]) -> Result<f32, Refusal> {
    number(value).filter(|number: &f32| number.is_finite()).ok_or_else(|| {
        Refusal::Syntax(format!("{what} must be a finite number, got {}", shown(value)))
    })
}

/// A vector as the client sends it: little-endian f32, 1 to [`DIMENSIONS_MAX`] of them. Whether
/// they are finite is for the engine to say, which reads them anyway.
pub(super) fn vector_blob(value: Bytes) -> Result<Bytes, Refusal> {
    if value.is_empty() || !value.len().is_multiple_of(COMPONENT_BYTES) {
        return Err(Refusal::BadVector(format!(
            "a vector blob has {COMPONENT_BYTES} bytes (little-endian f32) for each dimension, \
             got {} bytes",
            value.len()
        )));
    }
    within("vector blob", value.len(), DIMENSIONS_MAX * COMPONENT_BYTES)?;
    Ok(value)
}

/// One component written as a number.
pub(super) fn component(position: usize, value: &[u8]) -> Result<f32, Refusal> {
    number(value).filter(|number: &f32| number.is_finite()).ok_or_else(|| {
        Refusal::BadVector(format!(
            "component {} of VALUES must be a finite f32, got {}",
            position + 1,
            shown(value)
        ))
    })
}

/// The name of a writer or of a source.
pub(super) fn provenance(what: &'static str, value: &[u8]) -> Result<String, Refusal> {
    let name = utf8(what, value)?;
    check_name(what, name)?;
    Ok(name.to_owned())
}

/// A JSON object. It stays as it was sent.
pub(super) fn metadata(value: Bytes) -> Result<Bytes, Refusal> {
    within("META", value.len(), METADATA_BYTES_MAX)?;
    filter::check_metadata(&value)?;
    Ok(value)
}
