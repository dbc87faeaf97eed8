//! The request parser. The first byte chooses the bounds and the second how the rest is cut into
//! pieces; the rest is what a socket delivers.

use bytes::{Bytes, BytesMut};
use engramd::protocol::{Encoder, Parser, ParserLimits, ProtocolError, ProtocolVersion};

use crate::input::Input;

/// Bounds that a short input can reach.
const SMALL: ParserLimits = ParserLimits {
    arguments_max: 5,
    bulk_bytes_max: 40,
    command_bytes_max: 160,
    inline_bytes_max: 64,
};
/// The most that [`Parser::wanted`] may ask for, whatever was announced.
const WANTED_BYTES_MAX: usize = 256 << 10;
/// A length that is not all here may stand behind a command that is as long as it may be.
const HEADER_BYTES_MAX: usize = 32;

/// What came out of a stream.
#[derive(Debug, PartialEq)]
struct Outcome {
    commands: Vec<Vec<Bytes>>,
    /// What is left and waits for more, or why there is no more.
    end: Result<Vec<u8>, ProtocolError>,
}

/// See the top of the file.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let limits = if input.u8() & 1 == 0 { SMALL } else { ParserLimits::DEFAULT };
    let cut = usize::from(input.u8());
    let stream = input.rest();

    let whole = parse(limits, stream.chunks(stream.len().max(1)));
    assert_eq!(parse(limits, stream.chunks(1)), whole, "byte by byte");
    assert_eq!(parse(limits, uneven(stream, cut)), whole, "in pieces that follow from {cut}");
    for command in &whole.commands {
        check_command(limits, command);
        check_encoding(limits, command);
    }
    if let Err(error) = whole.end {
        check_error(&error);
    }
}

/// Feeds the pieces as reads from a socket would come, and takes all commands after each.
fn parse<'a>(limits: ParserLimits, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut parser = Parser::new(limits);
    let mut buffer = BytesMut::new();
    let mut commands = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match parser.next(&mut buffer) {
                Ok(Some(command)) => commands.push(command),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(parser.next(&mut buffer), Err(error), "an error is final");
                    return Outcome { commands, end: Err(error) };
                }
            }
        }
        assert!((1..=WANTED_BYTES_MAX).contains(&parser.wanted()), "wants {}", parser.wanted());
        if !buffer.is_empty() {
            assert!(parser.is_within_command(&buffer), "bytes are left of nothing");
        }
        let bytes_max = limits.command_bytes_max + HEADER_BYTES_MAX;
        assert!(buffer.len() <= bytes_max, "{} bytes are kept", buffer.len());
    }
    Outcome { commands, end: Ok(buffer.to_vec()) }
}

/// Pieces of 1 to 16 bytes.
fn uneven(mut stream: &[u8], mut cut: usize) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        cut = cut.wrapping_mul(181).wrapping_add(97);
        let bytes = (cut / 8 % 16 + 1).min(stream.len());
        let (piece, rest) = stream.split_at(bytes);
        stream = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

fn check_command(limits: ParserLimits, command: &[Bytes]) {
    assert!(!command.is_empty(), "a command has a name");
    // The words of an inline command are bounded by its line alone.
    let words_max = limits.arguments_max.max(limits.inline_bytes_max);
    assert!(command.len() <= words_max, "{} arguments", command.len());
    let bytes_max = limits.bulk_bytes_max.max(limits.inline_bytes_max);
    for argument in command {
        assert!(argument.len() <= bytes_max, "an argument of {} bytes", argument.len());
    }
}

/// What was accepted reads the same from an array of bulk strings, if that is within the bounds.
fn check_encoding(limits: ParserLimits, command: &[Bytes]) {
    let mut encoded = Vec::new();
    let mut encoder = Encoder::new(&mut encoded, ProtocolVersion::Resp2);
    encoder.array(command.len());
    for argument in command {
        encoder.bulk(argument);
    }
    let fits = command.len() <= limits.arguments_max
        && command.iter().all(|argument| argument.len() <= limits.bulk_bytes_max)
        && encoded.len() <= limits.command_bytes_max;
    let again = parse(limits, [&encoded[..]]);
    if fits {
        assert_eq!(again, Outcome { commands: vec![command.to_vec()], end: Ok(Vec::new()) });
    } else {
        assert!(matches!(again.end, Err(ProtocolError::TooBig { .. })), "{again:?}");
    }
}

fn check_error(error: &ProtocolError) {
    let mut line = Vec::new();
    Encoder::new(&mut line, ProtocolVersion::Resp3).protocol_error(error);
    assert!(["SYNTAX", "TOOBIG"].contains(&error.code()), "{error:?}");
    crate::command::check_line(&line);
}
