//! What a command is, as data: its name, its arguments, what it is for, and who parses it.
//!
//! The arguments are described as `COMMAND DOCS` describes them, so that `redis-cli` can show hints
//! and complete names. The usage line in errors and the number of words a call may have come from
//! the same description.

use engram_shards::episode::Refusal;

use super::Command;
use super::arguments::Arguments;
use crate::protocol::ParserLimits;

/// Reads the arguments behind the command's name.
pub(super) type Parse = fn(&mut Arguments) -> Result<Command, Refusal>;

/// A command, or a subcommand of one.
#[derive(Debug)]
pub(super) struct CommandSpec {
    /// As it is written in full: `EG.SPACE CREATE`.
    pub(super) name: &'static str,
    pub(super) summary: &'static str,
    /// The version of Engram that first had it.
    pub(super) since: &'static str,
    pub(super) group: &'static str,
    pub(super) flags: &'static [&'static str],
    /// `None` when only its subcommands can be called.
    pub(super) parse: Option<Parse>,
    pub(super) arguments: &'static [Argument],
    pub(super) subcommands: &'static [CommandSpec],
    /// Words of a call, the name included.
    words: Words,
}

/// Fewest and most.
type Words = (usize, usize);

/// More than any call has, and small enough to be added up.
const WORDS_UNBOUNDED: usize = 1 << 32;

const _: () = assert!(WORDS_UNBOUNDED > ParserLimits::DEFAULT.arguments_max);

/// An argument as `COMMAND DOCS` describes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Argument {
    pub(super) name: &'static str,
    /// The keyword in front of it, or itself when it is [`Kind::Token`].
    pub(super) token: Option<&'static str>,
    pub(super) kind: Kind,
    pub(super) is_optional: bool,
    /// It may come several times, each time with its token if it has one.
    pub(super) is_multiple: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    String,
    Integer,
    Double,
    /// A keyword without a value.
    Token,
    OneOf(&'static [Argument]),
    Block(&'static [Argument]),
}

impl Argument {
    pub(super) const fn new(name: &'static str, kind: Kind) -> Self {
        Self { name, token: None, kind, is_optional: false, is_multiple: false }
    }

    pub(super) const fn behind(self, token: &'static str) -> Self {
        Self { token: Some(token), ..self }
    }

    pub(super) const fn optional(self) -> Self {
        Self { is_optional: true, ..self }
    }

    pub(super) const fn multiple(self) -> Self {
        Self { is_multiple: true, ..self }
    }

    pub(super) fn nested(&self) -> &'static [Argument] {
        match self.kind {
            Kind::OneOf(nested) | Kind::Block(nested) => nested,
            _ => &[],
        }
    }

    /// How many words of a call it takes.
    const fn words(&self) -> Words {
        let (mut least, mut most) = match self.kind {
            Kind::String | Kind::Integer | Kind::Double | Kind::Token => (1, 1),
            Kind::Block(nested) => words_of_all(nested),
            Kind::OneOf(nested) => words_of_any(nested),
        };
        if self.token.is_some() && !matches!(self.kind, Kind::Token) {
            least += 1;
            most += 1;
        }
        if self.is_optional {
            least = 0;
        }
        if self.is_multiple {
            most = WORDS_UNBOUNDED;
        }
        (least, most)
    }

    fn write_usage(&self, line: &mut String) {
        if self.is_optional {
            line.push('[');
        }
        self.write_once(line);
        if self.is_multiple {
            line.push_str(" [");
            self.write_once(line);
            line.push_str(" ...]");
        }
        if self.is_optional {
            line.push(']');
        }
    }

    fn write_once(&self, line: &mut String) {
        if let Some(token) = self.token {
            line.push_str(token);
        }
        if matches!(self.kind, Kind::Token) {
            return;
        }
        if self.token.is_some() {
            line.push(' ');
        }
        match self.kind {
            Kind::OneOf(nested) => write_usage(line, nested, "|"),
            Kind::Block(nested) => write_usage(line, nested, " "),
            _ => line.push_str(self.name),
        }
    }
}

const fn words_of_all(arguments: &[Argument]) -> Words {
    let (mut least, mut most) = (0, 0);
    let mut position = 0;
    while position < arguments.len() {
        let words = arguments[position].words();
        least += words.0;
        most += words.1;
        position += 1;
    }
    (least, most)
}

const fn words_of_any(choices: &[Argument]) -> Words {
    let (mut least, mut most) = (WORDS_UNBOUNDED, 0);
    let mut position = 0;
    while position < choices.len() {
        let words = choices[position].words();
        least = if words.0 < least { words.0 } else { least };
        most = if words.1 > most { words.1 } else { most };
        position += 1;
    }
    (least, most)
}

/// Words of a name.
const fn words_of_name(name: &str) -> usize {
    let mut words = 1;
    let mut position = 0;
    while position < name.len() {
        words += (name.as_bytes()[position] == b' ') as usize;
        position += 1;
    }
    words
}

fn write_usage(line: &mut String, arguments: &[Argument], separator: &str) {
    for (position, argument) in arguments.iter().enumerate() {
        if position > 0 {
            line.push_str(separator);
        }
        argument.write_usage(line);
    }
}

impl CommandSpec {
    pub(super) const fn new(
        name: &'static str,
        summary: &'static str,
        group: &'static str,
    ) -> Self {
        Self {
            name,
            summary,
            since: "0.1.0",
            group,
            flags: &[],
            parse: None,
            arguments: &[],
            subcommands: &[],
            words: (1, 1),
        }
    }

    pub(super) const fn engram(name: &'static str, summary: &'static str) -> Self {
        Self::new(name, summary, "engram")
    }

    pub(super) const fn connection(name: &'static str, summary: &'static str) -> Self {
        Self::new(name, summary, "connection")
    }

    pub(super) const fn server(name: &'static str, summary: &'static str) -> Self {
        Self::new(name, summary, "server")
    }

    pub(super) const fn flags(self, flags: &'static [&'static str]) -> Self {
        Self { flags, ..self }
    }

    /// Can be called, with these arguments.
    pub(super) const fn takes(self, arguments: &'static [Argument], parse: Parse) -> Self {
        let (least, most) = words_of_all(arguments);
        let name = words_of_name(self.name);
        Self { arguments, parse: Some(parse), words: (name + least, name + most), ..self }
    }

    pub(super) const fn subcommands(self, subcommands: &'static [CommandSpec]) -> Self {
        let least = if self.parse.is_some() { 1 } else { 2 };
        Self { subcommands, words: (least, WORDS_UNBOUNDED), ..self }
    }

    /// The name and the arguments, as `redis-cli` shows them.
    pub(super) fn usage(&self) -> String {
        let mut line = String::from(self.name);
        if self.parse.is_none() {
            let names: Vec<&str> = self.subcommands.iter().map(CommandSpec::last_word).collect();
            line.push(' ');
            line.push_str(&names.join("|"));
        } else if !self.arguments.is_empty() {
            line.push(' ');
            write_usage(&mut line, self.arguments, " ");
        }
        line
    }

    /// Words of a call, the name included: exactly this many, or at least when negative.
    pub(super) fn arity(&self) -> i64 {
        let (least, most) = self.words;
        if least == most { least as i64 } else { -(least as i64) }
    }

    /// `CREATE` of `EG.SPACE CREATE`.
    pub(super) fn last_word(&self) -> &'static str {
        self.name.rsplit(' ').next().unwrap_or(self.name)
    }

    /// `got` words with the name.
    pub(super) fn check_count(&self, got: usize) -> Result<(), Refusal> {
        let (least, most) = self.words;
        if (least..=most).contains(&got) {
            return Ok(());
        }
        let (name, usage) = (self.name, self.usage());
        Err(Refusal::Syntax(format!("wrong number of arguments for {name}; usage: {usage}")))
    }
}
