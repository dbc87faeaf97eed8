//! Metadata filters. The input is a filter, a zero byte, and the metadata of an episode.

use engram_shards::filter::{Filter, check_metadata};
use engram_shards::limits::{FILTER_BYTES_MAX, FILTER_DEPTH_MAX};

/// See the top of the file.
pub fn run(bytes: &[u8]) {
    let at = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    let (text, metadata) = (&bytes[..at], bytes.get(at + 1..).unwrap_or_default());
    // An episode without metadata is one without fields.
    let is_object = metadata.is_empty() || is_accepted(metadata);
    let filter = match Filter::parse(text) {
        Ok(filter) => filter,
        Err(refusal) => {
            assert!(["SYNTAX", "TOOBIG"].contains(&refusal.code()), "{refusal:?}");
            assert!(refusal.to_string().len() > 10, "{refusal}");
            return;
        }
    };
    let matches = filter.matches(metadata);
    assert_eq!(Filter::parse(text).as_ref(), Ok(&filter), "the same once more");
    check_wrapped(text, metadata, "$or", "[", "]", matches);
    if is_object {
        check_wrapped(text, metadata, "$not", "", "", !matches);
    }
}

/// Whether a store would take the metadata.
fn is_accepted(metadata: &[u8]) -> bool {
    let checked = check_metadata(metadata);
    if let Err(refusal) = &checked {
        let sentence = refusal.to_string();
        assert!(sentence.starts_with("metadata must be a JSON object"), "{sentence}");
    }
    checked.is_ok()
}

/// The filter inside of an operator decides as it should, if its bounds leave room for one.
fn check_wrapped(
    text: &[u8],
    metadata: &[u8],
    operator: &str,
    open: &str,
    close: &str,
    expected: bool,
) {
    let mut wrapped = format!("{{\"{operator}\":{open}").into_bytes();
    wrapped.extend_from_slice(text);
    wrapped.extend_from_slice(format!("{close}}}").as_bytes());
    match Filter::parse(&wrapped) {
        Ok(filter) => {
            let shown = String::from_utf8_lossy(&wrapped);
            assert_eq!(filter.matches(metadata), expected, "{shown}");
        }
        Err(refusal) => {
            assert_eq!(refusal.code(), "TOOBIG", "{refusal}");
            let depth = text.iter().filter(|byte| b"[{".contains(byte)).count();
            let is_long = wrapped.len() > FILTER_BYTES_MAX;
            assert!(depth + 1 >= FILTER_DEPTH_MAX || is_long, "{refusal}");
        }
    }
}
