use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::{Byte, Parser, ParserLimits, ProtocolError, SPANS_KEPT_MAX, WANTED_BYTES_MAX};

type Commands = Vec<Vec<Bytes>>;

fn frame(arguments: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        let argument = argument.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        bytes.extend_from_slice(argument);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Feeds the pieces as reads from a socket would come, and takes all commands after each.
fn parse_pieces<'a>(
    limits: ParserLimits,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Commands, Result<BytesMut, ProtocolError>) {
    let mut parser = Parser::new(limits);
    let mut buffer = BytesMut::new();
    let mut commands = Vec::new();
    let mut received = 0;
    for piece in pieces {
        buffer.extend_from_slice(piece);
        received += piece.len();
        loop {
            match parser.next(&mut buffer) {
                Ok(Some(command)) => commands.push(command),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(parser.next(&mut buffer), Err(error), "an error is final");
                    return (commands, Err(error));
                }
            }
        }
        // Each argument received took at least 6 bytes; vectors grow by doubling.
        assert!(parser.spans.capacity() <= (received / 3).max(SPANS_KEPT_MAX));
        assert!((1..=WANTED_BYTES_MAX).contains(&parser.wanted()));
    }
    (commands, Ok(buffer))
}

fn parse(bytes: &[u8]) -> Result<Commands, ProtocolError> {
    let (commands, rest) = parse_pieces(ParserLimits::DEFAULT, [bytes]);
    rest.map(|rest| {
        assert!(rest.is_empty(), "left over: {rest:?}");
        commands
    })
}

fn error(bytes: &[u8]) -> ProtocolError {
    parse(bytes).unwrap_err()
}

#[test]
fn a_pipeline_is_taken_apart() {
    let mut bytes = frame(&["PING"]);
    bytes.extend(frame(&["EG.GET", "space", ""]));
    bytes.extend_from_slice(b"*0\r\n\r\n  PING \"a b\\x41\\n\" 'it\\'s'\r\n");
    let expected: Vec<Vec<&[u8]>> =
        vec![vec![b"PING"], vec![b"EG.GET", b"space", b""], vec![b"PING", b"a bA\n", b"it's"]];
    assert_eq!(parse(&bytes).unwrap(), expected);
}

#[test]
fn arguments_are_slices_of_what_was_read() {
    let mut buffer = BytesMut::from(&frame(&["EG.GET", "space", "identifier"])[..]);
    let range = buffer.as_ptr_range();
    let command = Parser::default().next(&mut buffer).unwrap().unwrap();
    assert!(command.iter().all(|argument| range.contains(&argument.as_ptr())));
}

#[test]
fn half_a_frame_waits_and_tells_what_it_wants() {
    let mut parser = Parser::default();
    let mut buffer = BytesMut::from(&b"*2\r\n$4\r\nPING\r\n$3072\r\nabc"[..]);
    assert_eq!(parser.next(&mut buffer), Ok(None));
    assert_eq!(parser.wanted(), 3072 - 3 + 2);
    assert!(parser.is_within_command(&buffer));
    buffer.extend_from_slice(&[b'x'; 3069]);
    assert_eq!(parser.next(&mut buffer), Ok(None));
    assert_eq!(parser.wanted(), 2);
    buffer.extend_from_slice(b"\r\n");
    let command = parser.next(&mut buffer).unwrap().unwrap();
    assert_eq!(command[1].len(), 3072);
    assert!(!parser.is_within_command(&buffer));
}

#[test]
fn an_announced_length_is_not_believed() {
    let mut parser = Parser::default();
    let mut buffer = BytesMut::from(&b"*4194304\r\n$2097152\r\n"[..]);
    assert_eq!(parser.next(&mut buffer), Ok(None));
    assert_eq!(parser.spans.capacity(), 0);
    assert_eq!(parser.wanted(), WANTED_BYTES_MAX);
}

#[test]
fn ten_thousand_nested_arrays_end_at_the_second() {
    let error = error(&b"*1\r\n".repeat(10_000));
    assert_eq!(error, ProtocolError::NotABulkString { got: Byte(b'*') });
    assert_eq!(error.code(), "SYNTAX");
}

#[test]
fn bounds_are_inclusive_and_named() {
    let limits = ParserLimits {
        arguments_max: 3,
        bulk_bytes_max: 10,
        command_bytes_max: 42,
        inline_bytes_max: 16,
    };
    let ends = |bytes: &[u8]| parse_pieces(limits, [bytes]).1.map(|_| ());
    let too_big = |what, got, max| Err(ProtocolError::TooBig { what, got, max });
    assert_eq!(ends(&frame(&["a", "b", "c"])), Ok(()));
    assert_eq!(ends(b"*4\r\n"), too_big("argument count", 4, 3));
    assert_eq!(ends(&frame(&["0123456789"])), Ok(()));
    assert_eq!(ends(b"*1\r\n$11\r\n"), too_big("bulk length", 11, 10));
    assert_eq!(ends(&frame(&["0123456789", "012345678", ""])), Ok(()));
    let over = frame(&["0123456789", "0123456789", ""]);
    assert_eq!(ends(&over), too_big("command's length in bytes", 44, 42));
    assert_eq!(ends(b"PING 0123456789\n"), Ok(()));
    let over = b"PING 0123456789 ";
    assert_eq!(ends(over), too_big("inline command's length in bytes", 17, 16));
    assert_eq!(ends(&over[..15]), Ok(()));
}

#[test]
fn a_length_over_the_default_bound_says_so() {
    let error = error(b"*1\r\n$2097153\r\n");
    assert_eq!(error.code(), "TOOBIG");
    assert_eq!(
        error.to_string(),
        "Protocol error: the bulk length is 2097153, the bound is 2097152; split the command"
    );
}

#[test]
fn whatever_is_no_length_is_refused() {
    let not_a_length = |what, got| ProtocolError::NotALength { what, got: Byte(got) };
    assert_eq!(error(b"*-1\r\n"), not_a_length("argument count", b'-'));
    assert_eq!(error(b"*\r\n"), not_a_length("argument count", b'\r'));
    assert_eq!(error(b"*1\n"), not_a_length("argument count", b'\n'));
    assert_eq!(error(b"*1\rx"), not_a_length("argument count", b'x'));
    assert_eq!(error(b"*1\r\n$-1\r\n"), not_a_length("bulk length", b'-'));
    assert_eq!(error(b"*1\r\n$+3\r\n"), not_a_length("bulk length", b'+'));
    assert_eq!(error(b"*1\r\n$000000000000000000001\r\n"), not_a_length("bulk length", b'1'));
    assert_eq!(error(b"*99999999999999999999\r\n").code(), "TOOBIG");
}

#[test]
fn what_is_no_command_is_refused() {
    assert_eq!(error(b"$4\r\nPING\r\n"), ProtocolError::NotACommand { got: Byte(b'$') });
    assert_eq!(error(b"\x16\x03\x01"), ProtocolError::NotACommand { got: Byte(0x16) });
    assert_eq!(error(b"*1\r\n:4\r\n"), ProtocolError::NotABulkString { got: Byte(b':') });
    let not_a_line_end = |got| ProtocolError::NotALineEnd { length: 4, got: Byte(got) };
    assert_eq!(error(b"*1\r\n$4\r\nPINGS\r\n"), not_a_line_end(b'S'));
    assert_eq!(error(b"*1\r\n$4\r\nPING\r\r"), not_a_line_end(b'\r'));
    for line in ["PING \"a\r\n", "PING \"a\"b\r\n", "PING 'a\r\n", "PING a\"b\"\r\n"] {
        assert_eq!(error(line.as_bytes()), ProtocolError::UnbalancedQuote, "{line}");
    }
}

#[test]
fn a_batch_gives_its_memory_back() {
    let mut parser = Parser::default();
    let mut buffer = BytesMut::from(&frame(&vec![""; 100_000])[..]);
    assert_eq!(parser.next(&mut buffer).unwrap().unwrap().len(), 100_000);
    assert!(parser.spans.capacity() <= SPANS_KEPT_MAX);
}

/// The bytes of commands, and where they are cut.
fn cut_bytes(
    bytes: impl Strategy<Value = Vec<u8>>,
) -> impl Strategy<Value = (Vec<u8>, Vec<usize>)> {
    bytes.prop_flat_map(|bytes| {
        let cuts = prop::collection::vec(0..=bytes.len(), 0..12);
        (Just(bytes), cuts)
    })
}

fn pieces<'a>(bytes: &'a [u8], cuts: &mut [usize]) -> Vec<&'a [u8]> {
    cuts.sort_unstable();
    let ends = cuts.iter().copied().chain([bytes.len()]);
    ends.scan(0, |start, end| Some(&bytes[std::mem::replace(start, end)..end])).collect()
}

fn commands() -> impl Strategy<Value = Vec<Vec<Vec<u8>>>> {
    let argument = prop::collection::vec(any::<u8>(), 0..40);
    prop::collection::vec(prop::collection::vec(argument, 1..8), 0..6)
}

/// Bytes that get past the first: made of what the protocol is made of.
fn plausible_bytes() -> impl Strategy<Value = Vec<u8>> {
    let alphabet = b"*$\r\n0123\"' PINGx\\-\x00\xff";
    prop::collection::vec(prop::sample::select(&alphabet[..]), 0..80)
}

proptest! {
    #[test]
    fn any_split_gives_the_same_commands(
        commands in commands(),
        mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let bytes: Vec<u8> = commands.iter().flat_map(|command| frame(command)).collect();
        let mut cuts: Vec<usize> =
            cuts.drain(..).map(|cut| cut.index(bytes.len() + 1)).collect();
        let (parsed, rest) =
            parse_pieces(ParserLimits::DEFAULT, pieces(&bytes, &mut cuts));
        prop_assert_eq!(parsed, commands);
        prop_assert!(rest.unwrap().is_empty());
    }

    #[test]
    fn any_split_of_any_bytes_ends_the_same((bytes, mut cuts) in cut_bytes(plausible_bytes())) {
        let limits = ParserLimits { inline_bytes_max: 24, ..ParserLimits::DEFAULT };
        let whole = parse_pieces(limits, [&bytes[..]]);
        let cut = parse_pieces(limits, pieces(&bytes, &mut cuts));
        prop_assert_eq!(whole, cut);
    }

    #[test]
    fn random_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        // The bounds of what is allocated are asserted in `parse_pieces`.
        let (commands, _) = parse_pieces(ParserLimits::DEFAULT, bytes.chunks(7));
        prop_assert!(commands.iter().all(|command| !command.is_empty()));
    }
}
