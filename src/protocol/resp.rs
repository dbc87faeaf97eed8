//! The request parser: bytes of a connection in, the arguments of one command out.
//!
//! A command is `*n\r\n` followed by `n` times `$length\r\n…\r\n`; a line that does not start with
//! `*` is an inline command for people with a terminal (`inline.rs`).
//!
//! The parser never looks at a payload byte and never looks at any byte twice, except the few of a
//! header that arrived in halves: it keeps how far it got and where the arguments lie. When the
//! last argument is complete, the command's bytes are split off the read buffer and every argument
//! becomes a slice of them. Nothing is copied.
//!
//! It trusts no length. What it allocates follows what has arrived: 8 bytes for each argument
//! received, and the list of slices once the command is complete. [`Parser::wanted`] is capped so
//! that an announced length reserves little before its bytes come. Every bound of [`ParserLimits`]
//! is checked when the header that breaks it is read, before its payload is waited for.
//!
//! An error is final: what follows in the stream can't be told apart any more, so the parser
//! repeats the error and the connection is to be closed after one line that says why.

mod inline;
#[cfg(test)]
mod tests;

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

/// Digits of a length. Twenty hold any u64; a longer run is no length.
const LENGTH_DIGITS_MAX: usize = 20;
/// The most that [`Parser::wanted`] asks for, whatever length was announced.
const WANTED_BYTES_MAX: usize = 256 << 10;
/// Positions kept allocated between commands; a larger batch gives its memory back.
const SPANS_KEPT_MAX: usize = 4096;

/// Bounds of one command on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParserLimits {
    /// Arguments, the command's name included.
    pub arguments_max: usize,
    /// Bytes of one argument.
    pub bulk_bytes_max: usize,
    /// Bytes of a command with its framing.
    pub command_bytes_max: usize,
    /// Bytes of an inline command with its line end.
    pub inline_bytes_max: usize,
}

impl ParserLimits {
    /// What the daemon allows.
    pub const DEFAULT: Self = Self {
        arguments_max: 4 << 20,
        bulk_bytes_max: 2 << 20,
        command_bytes_max: 128 << 20,
        inline_bytes_max: 64 << 10,
    };
}

// A text over its own bound must reach the command, which names that bound in its error.
const _: () = assert!(ParserLimits::DEFAULT.bulk_bytes_max > engram_shards::limits::TEXT_BYTES_MAX);
// Positions inside a command are kept as u32.
const _: () = assert!(ParserLimits::DEFAULT.command_bytes_max <= u32::MAX as usize);

impl Default for ParserLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Why a connection's bytes are not commands. The connection is closed after it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ProtocolError {
    #[error(
        "Protocol error: expected '*' or a command name, got {got}; send RESP arrays of bulk \
             strings"
    )]
    NotACommand { got: Byte },
    #[error(
        "Protocol error: expected '$' before an argument, got {got}; a command is one flat \
             array of bulk strings"
    )]
    NotABulkString { got: Byte },
    #[error(
        "Protocol error: expected the {what} as 1 to 20 digits and CRLF, got {got}; lengths \
             are unsigned decimal numbers"
    )]
    NotALength { what: &'static str, got: Byte },
    #[error(
        "Protocol error: expected CRLF after {length} bytes of a bulk string, got {got}; \
             check how the client counts its length"
    )]
    NotALineEnd { length: usize, got: Byte },
    #[error(
        "Protocol error: an inline command has an unbalanced quote; close it, and follow it \
             with a space"
    )]
    UnbalancedQuote,
    #[error("Protocol error: the {what} is {got}, the bound is {max}; split the command")]
    TooBig { what: &'static str, got: usize, max: usize },
}

impl ProtocolError {
    /// The error code on the wire.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooBig { .. } => "TOOBIG",
            _ => "SYNTAX",
        }
    }
}

/// A byte as an error shows it: itself when printable, else its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Byte(pub u8);

impl fmt::Display for Byte {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_ascii_graphic() {
            write!(formatter, "'{}'", char::from(self.0))
        } else {
            write!(formatter, "byte 0x{:02x}", self.0)
        }
    }
}

/// The parser of one connection.
///
/// Between two calls of [`Parser::next`] the caller appends to the buffer and changes nothing else:
/// the positions kept here are relative to its start.
#[derive(Debug, Default)]
pub struct Parser {
    limits: ParserLimits,
    /// Bytes at the front of the buffer that need not be looked at again.
    offset: usize,
    /// Arguments still to come; 0 between commands and within an inline command.
    arguments_left: usize,
    /// Length of the argument whose header was read and whose bytes are not all here.
    bulk_bytes: Option<usize>,
    /// Start and end of the arguments complete so far.
    spans: Vec<(u32, u32)>,
    wanted: usize,
    failure: Option<ProtocolError>,
}

impl Parser {
    /// # Panics
    /// When `command_bytes_max` is over 4 GiB: positions are kept as u32.
    pub fn new(limits: ParserLimits) -> Self {
        assert!(u32::try_from(limits.command_bytes_max).is_ok(), "command_bytes_max over 4 GiB");
        Self { limits, wanted: 1, ..Self::default() }
    }

    /// Takes the next complete command off the front of the buffer: its arguments, at least one.
    /// `None` when more bytes are needed.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Vec<Bytes>>, ProtocolError> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let command = self.advance(buffer);
        if let Err(failure) = command {
            self.failure = Some(failure);
            self.spans = Vec::new();
        }
        command
    }

    /// Bytes that the command in progress needs at least, after [`Parser::next`] gave `None`: a
    /// hint for how much room to make in the read buffer. At least 1, at most 256 KiB.
    pub fn wanted(&self) -> usize {
        self.wanted.clamp(1, WANTED_BYTES_MAX)
    }

    /// Whether a command has begun and is not complete.
    pub fn is_within_command(&self, buffer: &BytesMut) -> bool {
        self.arguments_left > 0 || !buffer.is_empty()
    }

    fn advance(&mut self, buffer: &mut BytesMut) -> Result<Option<Vec<Bytes>>, ProtocolError> {
        self.wanted = 1;
        while self.arguments_left == 0 {
            match buffer.first() {
                None => return Ok(None),
                Some(b'*') => {
                    let Some((count, end)) = length("argument count", &buffer[1..])? else {
                        return Ok(None);
                    };
                    if count == 0 {
                        buffer.advance(1 + end);
                        continue;
                    }
                    within("argument count", count, self.limits.arguments_max)?;
                    self.arguments_left = count;
                    self.offset = 1 + end;
                }
                Some(b'\r' | b'\n' | b' ' | b'\t') => buffer.advance(1),
                Some(first) if first.is_ascii_alphabetic() => return self.inline(buffer),
                Some(&other) => return Err(ProtocolError::NotACommand { got: Byte(other) }),
            }
        }
        self.multibulk(buffer)
    }

    fn multibulk(&mut self, buffer: &mut BytesMut) -> Result<Option<Vec<Bytes>>, ProtocolError> {
        while self.arguments_left > 0 {
            let bulk_bytes = match self.bulk_bytes {
                Some(bulk_bytes) => bulk_bytes,
                None => match self.bulk_header(&buffer[self.offset..])? {
                    Some(bulk_bytes) => bulk_bytes,
                    None => return Ok(None),
                },
            };
            let end = self.offset + bulk_bytes;
            if buffer.len() < end + 2 {
                self.bulk_bytes = Some(bulk_bytes);
                self.wanted = end + 2 - buffer.len();
                return Ok(None);
            }
            if let Some(&got) = buffer[end..end + 2].iter().zip(b"\r\n").find_map(not_equal) {
                return Err(ProtocolError::NotALineEnd { length: bulk_bytes, got: Byte(got) });
            }
            self.spans.push((self.offset as u32, end as u32));
            self.bulk_bytes = None;
            self.arguments_left -= 1;
            self.offset = end + 2;
        }
        let frame = buffer.split_to(self.offset).freeze();
        let arguments =
            self.spans.iter().map(|&(start, end)| frame.slice(start as usize..end as usize));
        let arguments = arguments.collect();
        self.spans.clear();
        self.spans.shrink_to(SPANS_KEPT_MAX);
        self.offset = 0;
        Ok(Some(arguments))
    }

    /// Reads `$length\r\n`, moves behind it and answers the length; `None` when it is not all here.
    fn bulk_header(&mut self, bytes: &[u8]) -> Result<Option<usize>, ProtocolError> {
        match bytes.first() {
            None => return Ok(None),
            Some(b'$') => {}
            Some(&other) => return Err(ProtocolError::NotABulkString { got: Byte(other) }),
        }
        let Some((bulk_bytes, end)) = length("bulk length", &bytes[1..])? else {
            return Ok(None);
        };
        within("bulk length", bulk_bytes, self.limits.bulk_bytes_max)?;
        self.offset += 1 + end;
        let command_bytes = self.offset + bulk_bytes + 2;
        within("command's length in bytes", command_bytes, self.limits.command_bytes_max)?;
        Ok(Some(bulk_bytes))
    }

    fn inline(&mut self, buffer: &mut BytesMut) -> Result<Option<Vec<Bytes>>, ProtocolError> {
        let bytes_max = self.limits.inline_bytes_max;
        let seen = &buffer[..buffer.len().min(bytes_max)];
        let Some(end) = seen[self.offset..].iter().position(|&byte| byte == b'\n') else {
            self.offset = seen.len();
            // Without a line end in the bytes allowed, the line has at least one more.
            let line_bytes_min = seen.len() + usize::from(seen.len() == bytes_max);
            within("inline command's length in bytes", line_bytes_min, bytes_max)?;
            return Ok(None);
        };
        let line = buffer.split_to(self.offset + end + 1).freeze();
        self.offset = 0;
        inline::split(&line).map(Some)
    }
}

fn not_equal<'a>((got, expected): (&'a u8, &u8)) -> Option<&'a u8> {
    (got != expected).then_some(got)
}

fn within(what: &'static str, got: usize, max: usize) -> Result<(), ProtocolError> {
    if got <= max { Ok(()) } else { Err(ProtocolError::TooBig { what, got, max }) }
}

/// Reads `digits\r\n` at the start of the bytes: the number (at most `usize::MAX`) and the bytes it
/// took; `None` when the line end is not here yet.
fn length(what: &'static str, bytes: &[u8]) -> Result<Option<(usize, usize)>, ProtocolError> {
    let mut number = 0_usize;
    for (position, &byte) in bytes.iter().enumerate() {
        let got = match byte {
            b'0'..=b'9' if position < LENGTH_DIGITS_MAX => {
                number = number.saturating_mul(10).saturating_add(usize::from(byte - b'0'));
                continue;
            }
            b'\r' if position > 0 => match bytes.get(position + 1) {
                Some(b'\n') => return Ok(Some((number, position + 2))),
                Some(&other) => other,
                None => return Ok(None),
            },
            other => other,
        };
        return Err(ProtocolError::NotALength { what, got: Byte(got) });
    }
    Ok(None)
}
