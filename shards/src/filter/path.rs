//! What one path of a metadata object leads to.

use super::fields::{FieldSink, tell_fields};
use super::scalar::{Number, ScalarRef};

/// The text or whole number behind a path like `session.id`, as text; of an array the first. `None`
/// where nothing is there, or something else, or an empty text.
pub(crate) fn name_at(metadata: &[u8], path: &str) -> Option<String> {
    let mut sought = Sought { names: path.split('.').collect(), found: None };
    let is_read = tell_fields(metadata, &mut sought);
    sought.found.filter(|_| is_read)
}

struct Sought<'a> {
    names: Vec<&'a str>,
    found: Option<String>,
}

impl FieldSink for Sought<'_> {
    /// The number of a field is how deep it is.
    fn field(&mut self, parent: usize, name: &str) -> Option<usize> {
        let leads_on = self.names.get(parent) == Some(&name);
        if leads_on {
            self.found = None;
        }
        leads_on.then_some(parent + 1)
    }

    fn value(&mut self, field: usize, value: ScalarRef<'_>) {
        if field == self.names.len() && self.found.is_none() {
            self.found = match value {
                ScalarRef::String(text) if !text.is_empty() => Some(text.to_owned()),
                ScalarRef::Number(Number::Integer(whole)) => Some(whole.to_string()),
                _ => None,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_texts_and_whole_numbers() {
        for (metadata, found) in [
            (r#"{"chat":{"id":"a\"b"}}"#, Some("a\"b")),
            (
                r#"{"id":"c","chat":{"ID":"d","id":-7,"x":{"id":"e"}},"other":{"id":"f"}}"#,
                Some("-7"),
            ),
            (r#"{"chat":{"id":18446744073709551615}}"#, Some("18446744073709551615")),
            (r#"{"chat":{"id":[null,["g"],"","h","i"]}}"#, Some("h")),
            (r#"{"chat":{"id":"j","id":"k"}}"#, Some("k")),
            (r#"{"chat":{"id":"l"},"chat":{"id":"m"}}"#, Some("m")),
            (r#"{"chat":{"id":"n","id":null}}"#, None),
            (r#"{"chat":{"id":"o"},"chat":"p"}"#, None),
            (r#"{"chat":{"id":{"id":"q"}}}"#, None),
            (r#"{"chat":{"id":1.5}}"#, None),
            (r#"{"chat":{"id":true}}"#, None),
            (r#"{"chat":{"id":""}}"#, None),
            (r#"{"chat":[{"id":"r"}]}"#, None),
            (r#"{"chat.id":"s"}"#, None),
            ("{}", None),
            ("", None),
        ] {
            assert_eq!(name_at(metadata.as_bytes(), "chat.id").as_deref(), found, "{metadata}");
        }
        assert_eq!(name_at(br#"{"id":"t","chat":{"id":"u"}}"#, "id").as_deref(), Some("t"));
    }
}
