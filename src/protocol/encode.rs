//! The reply encoder: appends RESP2 or RESP3 values to a connection's write buffer.
//!
//! Which of the two a connection speaks was agreed with `HELLO`. The calls are the same for both;
//! what RESP2 lacks is spelled with what it has:
//!
//! | value | RESP3 | RESP2 |
//! |---|---|---|
//! | double | `,0.5` | bulk string `0.5` |
//! | null | `_` | `$-1` |
//! | boolean | `#t` `#f` | `:1` `:0` |
//! | map of n pairs | `%n` | `*2n` |
//! | set, push message | `~n`, `>n` | `*n` |
//! | text for people | `=n` `txt:…` | bulk string |
//!
//! Numbers are the shortest text that reads back as the same f32 or f64.

use crate::protocol::ProtocolError;
use engram_shards::episode::Refusal;

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProtocolVersion {
    /// Until a `HELLO` says otherwise.
    #[default]
    Resp2,
    Resp3,
}

impl ProtocolVersion {
    /// The number in `HELLO`.
    pub fn number(self) -> u8 {
        match self {
            Self::Resp2 => 2,
            Self::Resp3 => 3,
        }
    }
}

/// Appends values to a buffer.
///
/// Containers are headers: after `map(n)` come `n` times a key and a value, after `array(n)` come
/// `n` values, in as many calls.
#[derive(Debug)]
pub struct Encoder<'a> {
    out: &'a mut Vec<u8>,
    version: ProtocolVersion,
}

impl<'a> Encoder<'a> {
    pub fn new(out: &'a mut Vec<u8>, version: ProtocolVersion) -> Self {
        Self { out, version }
    }

    pub fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// Bytes in the buffer, earlier replies included.
    pub fn bytes(&self) -> usize {
        self.out.len()
    }

    /// A status such as `OK`: a line without control characters.
    pub fn simple(&mut self, status: &'static str) {
        self.out.push(b'+');
        self.out.extend_from_slice(status.as_bytes());
        self.line_end();
    }

    /// `-CODE sentence`. Control characters, which could end the line early, become spaces.
    pub fn error(&mut self, code: &'static str, sentence: &str) {
        self.out.push(b'-');
        self.out.extend_from_slice(code.as_bytes());
        self.out.push(b' ');
        let printable = |byte: u8| if byte.is_ascii_control() { b' ' } else { byte };
        self.out.extend(sentence.bytes().map(printable));
        self.line_end();
    }

    pub fn refusal(&mut self, refusal: &Refusal) {
        self.error(refusal.code(), &refusal.to_string());
    }

    /// The last line on a connection.
    pub fn protocol_error(&mut self, error: &ProtocolError) {
        self.error(error.code(), &error.to_string());
    }

    pub fn integer(&mut self, value: i64) {
        self.out.push(b':');
        self.digits(value);
        self.line_end();
    }

    /// A number that counts; beyond `i64::MAX` it stays there.
    pub fn count(&mut self, value: u64) {
        self.integer(i64::try_from(value).unwrap_or(i64::MAX));
    }

    pub fn bulk(&mut self, bytes: &[u8]) {
        self.header(b'$', bytes.len());
        self.out.extend_from_slice(bytes);
        self.line_end();
    }

    pub fn double(&mut self, value: f64) {
        match special(value) {
            Some(name) => self.double_text(name),
            None => self.double_text(zmij::Buffer::new().format_finite(value)),
        }
    }

    /// As [`Encoder::double`]; `0.1_f32` is `0.1` and not `0.10000000149011612`.
    pub fn double_f32(&mut self, value: f32) {
        match special(f64::from(value)) {
            Some(name) => self.double_text(name),
            None => self.double_text(zmij::Buffer::new().format_finite(value)),
        }
    }

    pub fn null(&mut self) {
        self.out.extend_from_slice(match self.version {
            ProtocolVersion::Resp2 => b"$-1\r\n",
            ProtocolVersion::Resp3 => b"_\r\n",
        });
    }

    pub fn boolean(&mut self, value: bool) {
        self.out.extend_from_slice(match (self.version, value) {
            (ProtocolVersion::Resp2, true) => b":1\r\n",
            (ProtocolVersion::Resp2, false) => b":0\r\n",
            (ProtocolVersion::Resp3, true) => b"#t\r\n",
            (ProtocolVersion::Resp3, false) => b"#f\r\n",
        });
    }

    pub fn array(&mut self, items: usize) {
        self.header(b'*', items);
    }

    pub fn map(&mut self, pairs: usize) {
        match self.version {
            ProtocolVersion::Resp2 => self.header(b'*', pairs * 2),
            ProtocolVersion::Resp3 => self.header(b'%', pairs),
        }
    }

    pub fn set(&mut self, items: usize) {
        self.header(self.resp3_only(b'~'), items);
    }

    /// A message that answers no request.
    pub fn push(&mut self, items: usize) {
        self.header(self.resp3_only(b'>'), items);
    }

    /// Text for people, such as `INFO`.
    pub fn verbatim(&mut self, text: &str) {
        match self.version {
            ProtocolVersion::Resp2 => self.bulk(text.as_bytes()),
            ProtocolVersion::Resp3 => {
                self.header(b'=', text.len() + 4);
                self.out.extend_from_slice(b"txt:");
                self.out.extend_from_slice(text.as_bytes());
                self.line_end();
            }
        }
    }

    fn resp3_only(&self, kind: u8) -> u8 {
        match self.version {
            ProtocolVersion::Resp2 => b'*',
            ProtocolVersion::Resp3 => kind,
        }
    }

    fn double_text(&mut self, text: &str) {
        let text = text.strip_suffix(".0").unwrap_or(text);
        match self.version {
            ProtocolVersion::Resp2 => self.bulk(text.as_bytes()),
            ProtocolVersion::Resp3 => {
                self.out.push(b',');
                self.out.extend_from_slice(text.as_bytes());
                self.line_end();
            }
        }
    }

    fn header(&mut self, kind: u8, length: usize) {
        self.out.push(kind);
        self.digits(length);
        self.line_end();
    }

    fn digits(&mut self, number: impl itoa::Integer) {
        self.out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    fn line_end(&mut self) {
        self.out.extend_from_slice(b"\r\n");
    }
}

fn special(value: f64) -> Option<&'static str> {
    if value.is_finite() {
        None
    } else if value.is_nan() {
        Some("nan")
    } else if value > 0.0 {
        Some("inf")
    } else {
        Some("-inf")
    }
}
