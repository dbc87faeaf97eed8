//! A cursor over the arguments of a command that knows whose usage line an error should show.

use bytes::Bytes;
use engram_shards::episode::{Durability, Refusal};

use super::spec::CommandSpec;

/// Bytes of a client's argument that an error repeats.
const SHOWN_BYTES_MAX: usize = 64;

/// The arguments behind the name of a command.
#[derive(Debug)]
pub(super) struct Arguments {
    spec: &'static CommandSpec,
    values: std::vec::IntoIter<Bytes>,
    /// Whether errors repeat the usage line. Not in the items of a batch, where one short item
    /// each could draw a long line.
    shows_usage: bool,
}

impl Arguments {
    /// Skips the `words` that named the command.
    pub(super) fn new(spec: &'static CommandSpec, arguments: Vec<Bytes>, words: usize) -> Self {
        let mut values = arguments.into_iter();
        values.by_ref().take(words).for_each(drop);
        Self { spec, values, shows_usage: true }
    }

    pub(super) fn show_usage(&mut self, shows_usage: bool) {
        self.shows_usage = shows_usage;
    }

    pub(super) fn left(&self) -> usize {
        self.values.len()
    }

    pub(super) fn peek(&self) -> Option<&Bytes> {
        self.values.as_slice().first()
    }

    pub(super) fn next(&mut self) -> Option<Bytes> {
        self.values.next()
    }

    /// The next argument, which `what` can't do without.
    pub(super) fn value(&mut self, what: &str) -> Result<Bytes, Refusal> {
        self.next().ok_or_else(|| self.misuse(format_args!("{what} needs a value")))
    }

    /// Takes the next argument if it is this keyword.
    pub(super) fn take_keyword(&mut self, keyword: &str) -> bool {
        let is_next = self.peek().is_some_and(|next| is_keyword(next, keyword));
        if is_next {
            self.next();
        }
        is_next
    }

    /// All arguments must have been taken.
    pub(super) fn finish(mut self) -> Result<(), Refusal> {
        match self.next() {
            None => Ok(()),
            Some(extra) => Err(self.unknown(&extra)),
        }
    }

    pub(super) fn unknown(&self, token: &[u8]) -> Refusal {
        self.misuse(format_args!("unknown option {}", shown(token)))
    }

    /// A syntax error that ends with the command's usage line.
    pub(super) fn misuse(&self, problem: std::fmt::Arguments<'_>) -> Refusal {
        Refusal::Syntax(if self.shows_usage {
            format!("{problem}; usage: {}", self.spec.usage())
        } else {
            problem.to_string()
        })
    }
}

/// Puts a value into its slot unless one is there already.
pub(super) fn set_once<T>(
    slot: &mut Option<T>,
    what: &str,
    value: Result<T, Refusal>,
) -> Result<(), Refusal> {
    if slot.is_some() {
        return Err(Refusal::Syntax(format!("{what} is given twice; give it once")));
    }
    *slot = Some(value?);
    Ok(())
}

/// Keywords are written in any case.
pub(super) fn is_keyword(token: &[u8], keyword: &str) -> bool {
    token.eq_ignore_ascii_case(keyword.as_bytes())
}

/// One of the words, by what stands beside it.
pub(super) fn choice<T: Copy>(what: &str, token: &[u8], words: &[(&str, T)]) -> Result<T, Refusal> {
    let found = words.iter().find(|(word, _)| is_keyword(token, word));
    found.map(|&(_, value)| value).ok_or_else(|| {
        let words: Vec<&str> = words.iter().map(|&(word, _)| word).collect();
        Refusal::Syntax(format!("{what} is one of {}, got {}", words.join(", "), shown(token)))
    })
}

pub(super) fn durability(token: &[u8]) -> Result<Durability, Refusal> {
    choice("DUR", token, &[("disk", Durability::Disk), ("os", Durability::Os)])
}

/// A client's argument as errors show it: quoted, shortened, never more than a line.
pub(super) fn shown(token: &[u8]) -> String {
    let head = &token[..token.len().min(SHOWN_BYTES_MAX)];
    let more = if token.len() > head.len() { "…" } else { "" };
    format!("'{}{more}'", String::from_utf8_lossy(head))
}
