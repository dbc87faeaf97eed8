//! A command without what was said in it: what a log may keep, which no `EG.ERASE` reaches.
//!
//! Shown are the words of the protocol, names of spaces, and the number or word directly behind a
//! keyword that takes one. Ids, texts, vectors, metadata, threads, keys, names and passwords are
//! content, and of content only the length is told. Which is which comes from the description of
//! the command: what it does not describe is content.

use super::arguments::is_keyword;
use super::spec::{Argument, Kind};
use super::table::COMMANDS;

/// The words of a call of this command, its name included, from the beginning and the length of
/// each argument. What is not there as a whole is content.
pub fn redacted<'a>(
    name: &str,
    arguments: impl IntoIterator<Item = (&'a [u8], usize)>,
) -> Vec<String> {
    let mut words: Vec<String> = name.split(' ').map(str::to_owned).collect();
    let all = COMMANDS.iter().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands));
    let spec = all.into_iter().find(|spec| spec.name == name);
    let described = spec.map_or(&[][..], |spec| spec.arguments);
    let mut expected = Expected { value: None, parts: described };
    for (beginning, length) in arguments.into_iter().skip(words.len()) {
        let word = if beginning.len() == length { beginning } else { Default::default() };
        let value = expected.take(word, described);
        let keyword = token(value.map_or(described, Argument::nested), word);
        let shown = match keyword {
            Some((token, argument)) => {
                expected = Expected::behind(argument);
                Some(token.to_owned())
            }
            None => value.and_then(|value| shown(value, word)),
        };
        words.push(shown.unwrap_or_else(|| format!("({length} bytes)")));
    }
    words
}

/// What the next words are, by the description.
struct Expected {
    /// The value of the keyword before it.
    value: Option<&'static Argument>,
    /// What comes then.
    parts: &'static [Argument],
}

impl Expected {
    fn behind(keyword: &'static Argument) -> Self {
        match keyword.kind {
            Kind::Token => Self { value: None, parts: &[] },
            Kind::Block(parts) => Self { value: None, parts },
            _ => Self { value: Some(keyword), parts: &[] },
        }
    }

    /// What the next word is the value of, unless it is a keyword.
    fn take(&mut self, word: &[u8], described: &'static [Argument]) -> Option<&'static Argument> {
        if let Some(value) = self.value.take() {
            return Some(value);
        }
        let (next, rest) = self.parts.split_first()?;
        let is_missing = next.is_optional && token(described, word).is_some();
        let is_value = next.token.is_none() && !next.is_multiple && !is_missing;
        self.parts = if is_value { rest } else { &[] };
        is_value.then_some(next)
    }
}

/// The keyword that a word is, as it is described.
fn token(arguments: &'static [Argument], word: &[u8]) -> Option<(&'static str, &'static Argument)> {
    arguments.iter().find_map(|argument| {
        if let Some(token) = argument.token.filter(|token| is_keyword(word, token)) {
            return Some((token, argument));
        }
        // The choices behind a keyword stand nowhere else.
        let is_behind = argument.token.is_some() && matches!(argument.kind, Kind::OneOf(_));
        if is_behind { None } else { token(argument.nested(), word) }
    })
}

/// A value as it may be shown, if it may be.
fn shown(argument: &Argument, word: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(word).ok()?;
    let is_number = first_is(argument, |first| matches!(first.kind, Kind::Integer | Kind::Double));
    let is_space = first_is(argument, |first| first.name == "space");
    let is_fit = !text.is_empty() && !text.contains(char::is_control);
    let is_shown = is_number && text.parse::<f64>().is_ok() || is_space && is_fit;
    is_shown.then(|| text.to_owned())
}

/// Whether the word that stands first may be such a one.
fn first_is(argument: &Argument, is_such: fn(&Argument) -> bool) -> bool {
    match argument.kind {
        Kind::OneOf(choices) => {
            choices.iter().any(|choice| choice.token.is_none() && first_is(choice, is_such))
        }
        Kind::Block(parts) => parts.first().is_some_and(|first| first_is(first, is_such)),
        _ => is_such(argument),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(name: &str, line: &str) -> String {
        let arguments = line.split(' ').map(|word| (word.as_bytes(), word.len()));
        let words = redacted(name, arguments);
        words.join(" ")
    }

    #[test]
    fn words_of_the_protocol_numbers_and_spaces_are_shown_and_content_is_not() {
        for (line, expected) in [
            (
                "EG.STORE notes text vec blob TEXT vec META {} DUR OS CONF 0.5 LINK other 0.5",
                "EG.STORE notes (4 bytes) VEC (4 bytes) TEXT (3 bytes) META (2 bytes) DUR os \
                 CONF 0.5 LINK (5 bytes) 0.5",
            ),
            (
                "EG.STORE notes * VALUES 2 0.25 0.75 THREAD 7 KEY 8 PRIO low AT 9",
                "EG.STORE notes * VALUES 2 (4 bytes) (4 bytes) THREAD (1 bytes) KEY (1 bytes) \
                 PRIO low AT 9",
            ),
            (
                "EG.MSTORE notes 2 ITEM a VEC b TEXT c ITEM 7 VEC 8",
                "EG.MSTORE notes 2 ITEM (1 bytes) VEC (1 bytes) TEXT (1 bytes) ITEM (1 bytes) VEC \
                 (1 bytes)",
            ),
            (
                "EG.RECALL notes k 10 ID K TEXT secret FILTER {} SPREAD HOPS 3 with text WITH why",
                "EG.RECALL notes K 10 ID (1 bytes) TEXT (6 bytes) FILTER (2 bytes) SPREAD HOPS 3 \
                 WITH text WITH why",
            ),
            (
                "EG.SPREAD notes K 5 FROM 77 0.5 FROM b 2 EXACT",
                "EG.SPREAD notes K 5 FROM (2 bytes) 0.5 FROM (1 bytes) 2 EXACT",
            ),
            (
                "EG.COMPLETE notes VEC b UNKNOWN 3 5 UNKNOWN 9 9 BETA 8 WITH text",
                "EG.COMPLETE notes VEC (1 bytes) UNKNOWN 3 5 UNKNOWN 9 9 BETA 8 WITH text",
            ),
            (
                "EG.GIST notes K 3 ID a TEXT b AMONG 9 ALIKE 0.5 WITH text",
                "EG.GIST notes K 3 ID (1 bytes) TEXT (1 bytes) AMONG 9 ALIKE 0.5 WITH text",
            ),
            ("EG.MGET notes 2 17 b WITH vec", "EG.MGET notes 2 (2 bytes) (1 bytes) WITH vec"),
            (
                "EG.LINK notes a b 0.5 KIND next MUTUAL",
                "EG.LINK notes (1 bytes) (1 bytes) 0.5 KIND (4 bytes) MUTUAL",
            ),
            ("EG.WATCH notes FROM 0 17 CREDIT 5", "EG.WATCH notes FROM 0 17 CREDIT 5"),
            ("EG.OBSERVE OPEN notes PRIO low", "EG.OBSERVE OPEN notes PRIO low"),
            (
                "HELLO 3 AUTH me secret SETNAME it",
                "HELLO 3 AUTH (2 bytes) (6 bytes) SETNAME (2 bytes)",
            ),
            ("PING 12", "PING (2 bytes)"),
            ("EG.ERASE notes 12", "EG.ERASE notes (2 bytes)"),
        ] {
            assert_eq!(words(line.split(' ').next().unwrap(), line), expected);
        }
        let created = "EG.SPACE CREATE notes DIM 3 MODEL mine METRIC l2 SHARDS all";
        let expected = "EG.SPACE CREATE notes DIM 3 MODEL (4 bytes) METRIC l2 SHARDS all";
        assert_eq!(words("EG.SPACE CREATE", created), expected);
        assert_eq!(words("EG.SLOWLOG GET", "eg.slowlog get 100"), "EG.SLOWLOG GET 100");
    }

    #[test]
    fn what_was_cut_or_is_no_text_is_content() {
        let cut = redacted("EG.GET", [(&b"eg.get"[..], 6), (b"notes", 9), (b"\xff", 1)]);
        assert_eq!(cut, ["EG.GET", "(9 bytes)", "(1 bytes)"]);
        let odd = redacted("EG.FORGET", [(&b"x"[..], 1), (b"a\nb", 3), (b"", 0), (b"DUR", 3)]);
        assert_eq!(odd, ["EG.FORGET", "(3 bytes)", "(0 bytes)", "DUR"]);
    }
}
