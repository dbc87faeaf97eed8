//! Counts the replies in a stream of bytes without building them.
//!
//! The load generator only has to know where a reply ends, whether it is an error, and which items
//! of a batch are. The scanner walks RESP2 and RESP3 with a counter per open aggregate and
//! allocates nothing. It may be fed any split of the stream: payloads are skipped as they come, a
//! header line that is not complete is left for the next call.

use thiserror::Error;

/// Aggregates inside of each other. A recall is an array of maps with arrays in them: 3.
const DEPTH_MAX: usize = 8;
/// Bytes of a header line, an error's sentence included.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Something ended in the bytes that were consumed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event<'a> {
    /// An element of the reply's outermost array, with its error line without the leading `-`.
    Item { error: Option<&'a [u8]> },
    /// The whole reply.
    Reply { error: Option<&'a [u8]> },
}

#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum ScanError {
    #[error("a reply starts with byte {0:#04x}")]
    Type(u8),
    #[error("a length in a reply is no number")]
    Length,
    #[error("a line of a reply is longer than {LINE_BYTES_MAX} bytes")]
    Line,
    #[error("a reply nests deeper than {DEPTH_MAX} levels")]
    Depth,
}

#[derive(Debug, Default)]
pub(super) struct Scanner {
    /// Elements still to come of each open aggregate, the outermost first.
    open: [u64; DEPTH_MAX],
    depth: usize,
    /// Bytes of a payload, its line end included, that are still to come.
    skip_bytes: u64,
    /// The outermost aggregate is an array: its elements are items.
    in_array: bool,
    /// What is read is a push message, which answers nothing.
    in_push: bool,
    /// The last item of an array was reported, the reply is next.
    reply_due: bool,
}

impl Scanner {
    /// Consumes bytes up to the next event, or all but an incomplete header line. Returns how many;
    /// the caller offers the others again, with more behind them.
    pub(super) fn next<'a>(
        &mut self,
        input: &'a [u8],
    ) -> Result<(usize, Option<Event<'a>>), ScanError> {
        if self.reply_due {
            self.reply_due = false;
            return Ok((0, Some(Event::Reply { error: None })));
        }
        let mut at = 0;
        loop {
            let ended = if self.skip_bytes > 0 {
                let skipped = self.skip_bytes.min((input.len() - at) as u64);
                at += skipped as usize;
                self.skip_bytes -= skipped;
                if self.skip_bytes > 0 {
                    return Ok((at, None));
                }
                self.end_value(None)
            } else {
                let Some(length) = line_length(&input[at..])? else { return Ok((at, None)) };
                let line = &input[at..at + length];
                at += length + 2;
                self.begin_value(line)?
            };
            if ended.is_some() {
                return Ok((at, ended));
            }
        }
    }

    /// Reads a header line, which may be the whole value.
    fn begin_value<'a>(&mut self, line: &'a [u8]) -> Result<Option<Event<'a>>, ScanError> {
        let (kind, rest) = line.split_first().ok_or(ScanError::Type(b'\r'))?;
        match kind {
            b'+' | b':' | b',' | b'#' | b'_' | b'(' => Ok(self.end_value(None)),
            b'-' => Ok(self.end_value(Some(rest))),
            b'$' | b'=' => match length(rest)? {
                None => Ok(self.end_value(None)),
                Some(bytes) => {
                    self.skip_bytes = bytes.checked_add(2).ok_or(ScanError::Length)?;
                    Ok(None)
                }
            },
            b'*' | b'~' => self.open_aggregate(length(rest)?, *kind),
            b'>' => {
                self.in_push |= self.depth == 0;
                self.open_aggregate(length(rest)?, *kind)
            }
            b'%' => {
                let entries = length(rest)?;
                let elements = entries.map(|n| n.checked_mul(2).ok_or(ScanError::Length));
                self.open_aggregate(elements.transpose()?, *kind)
            }
            other => Err(ScanError::Type(*other)),
        }
    }

    fn open_aggregate<'a>(
        &mut self,
        elements: Option<u64>,
        kind: u8,
    ) -> Result<Option<Event<'a>>, ScanError> {
        let elements = elements.unwrap_or(0);
        if elements == 0 {
            return Ok(self.end_value(None));
        }
        if self.depth == DEPTH_MAX {
            return Err(ScanError::Depth);
        }
        if self.depth == 0 {
            self.in_array = kind == b'*';
        }
        self.open[self.depth] = elements;
        self.depth += 1;
        Ok(None)
    }

    /// A value ended; closes the aggregates that end with it.
    fn end_value<'a>(&mut self, mut error: Option<&'a [u8]>) -> Option<Event<'a>> {
        while self.depth > 0 {
            let left = &mut self.open[self.depth - 1];
            *left -= 1;
            let is_last = *left == 0;
            let is_item = self.depth == 1 && self.in_array;
            if is_last {
                self.depth -= 1;
            }
            if is_item {
                self.reply_due = is_last;
                return Some(Event::Item { error });
            }
            if !is_last {
                return None;
            }
            error = None;
        }
        if self.in_push {
            self.in_push = false;
            return None;
        }
        Some(Event::Reply { error })
    }
}

/// Bytes in front of the first line end.
fn line_length(input: &[u8]) -> Result<Option<usize>, ScanError> {
    match input.iter().position(|byte| *byte == b'\r') {
        Some(at) if at > LINE_BYTES_MAX => Err(ScanError::Line),
        Some(at) => Ok((at + 1 < input.len()).then_some(at)),
        None if input.len() > LINE_BYTES_MAX => Err(ScanError::Line),
        None => Ok(None),
    }
}

/// A length; `None` for the -1 of RESP2's null.
fn length(digits: &[u8]) -> Result<Option<u64>, ScanError> {
    if digits == b"-1" {
        return Ok(None);
    }
    if digits.is_empty() || digits.len() > 18 {
        return Err(ScanError::Length);
    }
    let mut number = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err(ScanError::Length);
        }
        number = number * 10 + u64::from(digit - b'0');
    }
    Ok(Some(number))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An event without its borrow.
    #[derive(Debug, Clone, PartialEq)]
    enum Seen {
        Item(Option<String>),
        Reply(Option<String>),
    }

    fn seen(event: &Event<'_>) -> Seen {
        let text = |error: &Option<&[u8]>| error.map(|e| String::from_utf8_lossy(e).into_owned());
        match event {
            Event::Item { error } => Seen::Item(text(error)),
            Event::Reply { error } => Seen::Reply(text(error)),
        }
    }

    /// Feeds the stream in pieces of these sizes, as a connection does: what is not consumed is
    /// offered again in front of the next piece.
    fn scan(stream: &[u8], sizes: &[usize]) -> Result<Vec<Seen>, ScanError> {
        let mut scanner = Scanner::default();
        let mut events = Vec::new();
        let mut buffer = Vec::new();
        let mut rest = stream;
        let mut sizes = sizes.iter().cycle();
        while !rest.is_empty() {
            let size = (*sizes.next().unwrap()).min(rest.len());
            buffer.extend_from_slice(&rest[..size]);
            rest = &rest[size..];
            let mut at = 0;
            loop {
                let (consumed, event) = scanner.next(&buffer[at..])?;
                at += consumed;
                match event {
                    Some(event) => events.push(seen(&event)),
                    None => break,
                }
            }
            buffer.drain(..at);
        }
        assert!(buffer.is_empty(), "bytes left over: {buffer:?}");
        Ok(events)
    }

    const STORE: &[u8] = b"%6\r\n$3\r\nseq\r\n:12\r\n$7\r\noutcome\r\n$7\r\ncreated\r\n\
        $10\r\nactivation\r\n,1\r\n$10\r\nconfidence\r\n*3\r\n,1\r\n,1\r\n,1\r\n\
        $8\r\npressure\r\n,0.25\r\n$8\r\ndegraded\r\n#f\r\n";

    #[test]
    fn each_reply_ends_where_it_ends() {
        let ok = Seen::Reply(None);
        assert_eq!(scan(STORE, &[999]), Ok(vec![ok.clone()]));
        assert_eq!(scan(b"+OK\r\n$-1\r\n_\r\n$0\r\n\r\n:1\r\n", &[999]), Ok(vec![ok.clone(); 5]));
        let refused = Seen::Reply(Some("BUSY retry in 5 ms".into()));
        assert_eq!(scan(b"-BUSY retry in 5 ms\r\n+OK\r\n", &[999]), Ok(vec![refused, ok]));
    }

    #[test]
    fn a_batch_reports_each_item() {
        let batch = [b"*3\r\n".as_slice(), STORE, b"-DIM no\r\n", STORE].concat();
        let expected = vec![
            Seen::Item(None),
            Seen::Item(Some("DIM no".into())),
            Seen::Item(None),
            Seen::Reply(None),
        ];
        assert_eq!(scan(&batch, &[999]), Ok(expected));
        assert_eq!(scan(b"*0\r\n*-1\r\n", &[999]), Ok(vec![Seen::Reply(None); 2]));
    }

    #[test]
    fn an_error_deep_inside_is_not_the_items() {
        let nested = b"*1\r\n*2\r\n-ERR deep\r\n:1\r\n";
        assert_eq!(scan(nested, &[999]), Ok(vec![Seen::Item(None), Seen::Reply(None)]));
    }

    #[test]
    fn push_messages_are_no_replies() {
        let stream = b">2\r\n$8\r\npressure\r\n,0.8\r\n:1\r\n>1\r\n*1\r\n:1\r\n";
        assert_eq!(scan(stream, &[999]), Ok(vec![Seen::Reply(None)]));
    }

    #[test]
    fn a_broken_stream_is_an_error() {
        assert_eq!(scan(b"HTTP/1.1 400\r\n", &[999]), Err(ScanError::Type(b'H')));
        assert_eq!(scan(b"$x\r\n", &[999]), Err(ScanError::Length));
        assert_eq!(scan(b"$9999999999999999999\r\n", &[999]), Err(ScanError::Length));
        assert_eq!(scan(&b"*1\r\n".repeat(9), &[999]), Err(ScanError::Depth));
        assert_eq!(scan(&[b'+'; LINE_BYTES_MAX + 2], &[4096]), Err(ScanError::Line));
    }

    /// A value as bytes, nested up to what the scanner allows.
    fn value() -> impl Strategy<Value = Vec<u8>> {
        let leaf = prop_oneof![
            "[a-z ]{0,20}".prop_map(|s| format!("+{s}\r\n").into_bytes()),
            "[A-Z]{3} [a-z ]{0,20}".prop_map(|s| format!("-{s}\r\n").into_bytes()),
            any::<i64>().prop_map(|n| format!(":{n}\r\n").into_bytes()),
            any::<f64>().prop_map(|n| format!(",{n}\r\n").into_bytes()),
            Just(b"_\r\n".to_vec()),
            Just(b"$-1\r\n".to_vec()),
            prop::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| {
                [format!("${}\r\n", bytes.len()).as_bytes(), &bytes, b"\r\n"].concat()
            }),
        ];
        leaf.prop_recursive(4, 64, 6, |inner| {
            (prop_oneof![Just(b'*'), Just(b'~'), Just(b'%')], prop::collection::vec(inner, 0..6))
                .prop_map(|(kind, mut elements)| {
                    let mut length = elements.len();
                    if kind == b'%' {
                        length /= 2;
                        elements.truncate(length * 2);
                    }
                    let head = format!("{}{length}\r\n", kind as char);
                    [head.into_bytes(), elements.concat()].concat()
                })
        })
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(
            replies in prop::collection::vec(value(), 1..8),
            sizes in prop::collection::vec(1..40_usize, 1..8),
        ) {
            let stream = replies.concat();
            let whole = scan(&stream, &[stream.len()]).unwrap();
            let ends = whole.iter().filter(|event| matches!(event, Seen::Reply(_))).count();
            prop_assert_eq!(ends, replies.len());
            prop_assert_eq!(scan(&stream, &sizes).unwrap(), whole);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut scanner = Scanner::default();
            let mut at = 0;
            while let Ok((consumed, Some(_))) = scanner.next(&bytes[at..]) {
                at += consumed;
                prop_assert!(at <= bytes.len());
            }
        }
    }
}
