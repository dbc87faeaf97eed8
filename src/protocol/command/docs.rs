//! The answers of `COMMAND`, in the shapes that stock clients expect.
//!
//! `redis-cli` insists on some details that the protocol leaves open: flags are simple strings, the
//! name of a subcommand is `parent|child`, and every command has a summary, a version and a group.

use super::connection::CommandQuery;
use super::spec::{Argument, CommandSpec, Kind};
use super::table::COMMANDS;
use crate::protocol::Encoder;

impl CommandQuery {
    pub fn answer(&self, encoder: &mut Encoder<'_>) {
        match self {
            Self::Count => encoder.count(COMMANDS.len() as u64),
            Self::List => {
                encoder.array(COMMANDS.len());
                COMMANDS.iter().for_each(|spec| encoder.bulk(wire_name(spec).as_bytes()));
            }
            Self::Info(names) if names.is_empty() => {
                encoder.array(COMMANDS.len());
                COMMANDS.iter().for_each(|spec| write_info(spec, encoder));
            }
            Self::Info(names) => {
                encoder.array(names.len());
                for name in names {
                    match named(name) {
                        Some(spec) => write_info(spec, encoder),
                        None => encoder.null(),
                    }
                }
            }
            Self::Docs(names) if names.is_empty() => write_docs(COMMANDS.iter(), encoder),
            Self::Docs(names) => {
                let found: Vec<_> = names.iter().filter_map(|name| named(name)).collect();
                write_docs(found.into_iter(), encoder);
            }
        }
    }
}

/// `eg.space|create` of `EG.SPACE CREATE`.
fn wire_name(spec: &CommandSpec) -> String {
    spec.name.to_ascii_lowercase().replace(' ', "|")
}

fn named(name: &str) -> Option<&'static CommandSpec> {
    let all = COMMANDS.iter().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands));
    all.into_iter().find(|spec| wire_name(spec) == name)
}

/// Name, arity, flags, first key, last key, step, categories, tips, key specifications,
/// subcommands. There are no keys: a memory space is not one.
fn write_info(spec: &CommandSpec, encoder: &mut Encoder<'_>) {
    encoder.array(10);
    encoder.bulk(wire_name(spec).as_bytes());
    encoder.integer(spec.arity());
    encoder.set(spec.flags.len());
    spec.flags.iter().for_each(|flag| encoder.simple(flag));
    (0..3).for_each(|_| encoder.integer(0));
    encoder.set(0);
    encoder.array(0);
    encoder.array(0);
    encoder.array(spec.subcommands.len());
    spec.subcommands.iter().for_each(|sub| write_info(sub, encoder));
}

fn write_docs<'a>(
    specs: impl ExactSizeIterator<Item = &'a CommandSpec>,
    encoder: &mut Encoder<'_>,
) {
    encoder.map(specs.len());
    for spec in specs {
        encoder.bulk(wire_name(spec).as_bytes());
        let has_arguments = !spec.arguments.is_empty();
        let has_subcommands = !spec.subcommands.is_empty();
        encoder.map(3 + usize::from(has_arguments) + usize::from(has_subcommands));
        pair("summary", spec.summary, encoder);
        pair("since", spec.since, encoder);
        pair("group", spec.group, encoder);
        if has_arguments {
            encoder.bulk(b"arguments");
            write_arguments(spec.arguments, encoder);
        }
        if has_subcommands {
            encoder.bulk(b"subcommands");
            write_docs(spec.subcommands.iter(), encoder);
        }
    }
}

fn write_arguments(arguments: &[Argument], encoder: &mut Encoder<'_>) {
    encoder.array(arguments.len());
    arguments.iter().for_each(|argument| write_argument(argument, encoder));
}

fn write_argument(argument: &Argument, encoder: &mut Encoder<'_>) {
    let mut flags = Vec::new();
    if argument.is_optional {
        flags.push("optional");
    }
    if argument.is_multiple {
        flags.push("multiple");
        if argument.token.is_some() {
            flags.push("multiple_token");
        }
    }
    let nested = argument.nested();
    let optional_pairs = [argument.token.is_some(), !flags.is_empty(), !nested.is_empty()];
    encoder.map(2 + optional_pairs.iter().filter(|&&is_present| is_present).count());
    pair("name", argument.name, encoder);
    pair("type", kind_name(argument.kind), encoder);
    if let Some(token) = argument.token {
        pair("token", token, encoder);
    }
    if !flags.is_empty() {
        encoder.bulk(b"flags");
        encoder.set(flags.len());
        flags.iter().for_each(|flag| encoder.simple(flag));
    }
    if !nested.is_empty() {
        encoder.bulk(b"arguments");
        write_arguments(nested, encoder);
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::String => "string",
        Kind::Integer => "integer",
        Kind::Double => "double",
        Kind::Token => "pure-token",
        Kind::OneOf(_) => "oneof",
        Kind::Block(_) => "block",
    }
}

fn pair(key: &str, value: &str, encoder: &mut Encoder<'_>) {
    encoder.bulk(key.as_bytes());
    encoder.bulk(value.as_bytes());
}
