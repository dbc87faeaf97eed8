//! A client that sees every byte: what was sent as one write, and each reply as it came.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;

use redis::{Parser, RedisResult, Value};

use super::{DEADLINE, POLL};

/// The bytes of one command: an array of bulk strings.
#[macro_export]
macro_rules! command {
    ($($word:expr),+ $(,)?) => {
        $crate::common::client::encode(&[$(AsRef::<[u8]>::as_ref(&$word)),+])
    };
}

pub fn encode(words: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        let word = word.as_ref();
        write!(bytes, "${}\r\n", word.len()).unwrap();
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// A connection.
pub struct Client {
    stream: UnixStream,
    parser: Parser,
}

impl Client {
    pub fn try_connect(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        Ok(Self { stream, parser: Parser::new() })
    }

    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    pub fn is_answered(&mut self) -> bool {
        let sent = self.stream.write_all(&command!["PING"]).is_ok();
        sent && self.try_read().is_ok_and(|reply| reply == Value::SimpleString("PONG".into()))
    }

    /// Whether a command that needs the shards is answered.
    pub fn is_served(&mut self) -> bool {
        let sent = self.stream.write_all(&command!["EG.SPACE", "LIST"]).is_ok();
        sent && self.try_read().is_ok_and(|reply| matches!(reply, Value::Array(_)))
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends without reading until the daemon takes no more; the bytes it took.
    pub fn send_until_held_up(&self, bytes: &[u8]) -> usize {
        self.stream.set_nonblocking(true).unwrap();
        let (mut written, mut refusals) = (0, 0);
        while written < bytes.len() && refusals < 50 {
            match (&self.stream).write(&bytes[written..]) {
                Ok(more) => (written, refusals) = (written + more, 0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    refusals += 1;
                    thread::sleep(POLL * 2);
                }
                Err(error) => panic!("{error}"),
            }
        }
        self.stream.set_nonblocking(false).unwrap();
        written
    }

    /// The next reply, or why there is none: the daemon hung up.
    pub fn try_read(&mut self) -> RedisResult<Value> {
        self.parser.parse_value(&mut self.stream)
    }

    pub fn read(&mut self) -> Value {
        self.try_read().unwrap()
    }

    pub fn read_many(&mut self, count: usize) -> Vec<Value> {
        (0..count).map(|_| self.read()).collect()
    }

    /// Sends one command and reads its reply.
    pub fn call(&mut self, command: &[u8]) -> Value {
        self.send(command);
        self.read()
    }

    /// Sends one command whose reply is no error.
    pub fn ask(&mut self, command: &[u8]) -> Value {
        let reply = self.call(command);
        assert!(!reply.is_error(), "{reply:?}");
        reply
    }

    /// Sends one command and reads the error it is refused with: code and sentence.
    pub fn refused(&mut self, command: &[u8]) -> (String, String) {
        match self.call(command) {
            Value::ServerError(error) => {
                (error.code().to_owned(), error.details().unwrap_or_default().to_owned())
            }
            other => panic!("an error is expected, got {other:?}"),
        }
    }

    pub fn create_space(&mut self, name: &str, dimensions: usize) {
        self.ask(&command!["EG.SPACE", "CREATE", name, "DIM", dimensions.to_string()]);
    }

    /// Whether the daemon has hung up and nothing is left to read.
    pub fn is_hung_up(&mut self) -> bool {
        self.try_read().is_err_and(|error| error.is_io_error() || error.is_connection_dropped())
    }
}

/// Looking into replies, in the same words for RESP2 and RESP3.
pub trait Reply {
    fn is_error(&self) -> bool;
    /// The code of an error.
    fn code(&self) -> &str;
    fn items(&self) -> &[Value];
    /// Keys and values of a map, which RESP2 spells as one flat array.
    fn pairs(&self) -> Vec<(&str, &Value)>;
    fn keys(&self) -> Vec<&str>;
    fn at(&self, key: &str) -> &Value;
    fn int(&self) -> i64;
    fn float(&self) -> f64;
    fn bytes(&self) -> &[u8];
    fn text(&self) -> &str;
}

impl Reply for Value {
    fn is_error(&self) -> bool {
        matches!(self, Self::ServerError(_))
    }

    fn code(&self) -> &str {
        match self {
            Self::ServerError(error) => error.code(),
            other => panic!("an error is expected, got {other:?}"),
        }
    }

    fn items(&self) -> &[Value] {
        match self {
            Self::Array(items) | Self::Set(items) => items,
            other => panic!("an array is expected, got {other:?}"),
        }
    }

    fn pairs(&self) -> Vec<(&str, &Value)> {
        match self {
            Self::Map(pairs) => pairs.iter().map(|(key, value)| (key.text(), value)).collect(),
            Self::Array(flat) if flat.len().is_multiple_of(2) => {
                flat.chunks_exact(2).map(|pair| (pair[0].text(), &pair[1])).collect()
            }
            other => panic!("a map is expected, got {other:?}"),
        }
    }

    fn keys(&self) -> Vec<&str> {
        self.pairs().into_iter().map(|(key, _)| key).collect()
    }

    fn at(&self, key: &str) -> &Value {
        let found = self.pairs().into_iter().find(|(name, _)| *name == key);
        found.unwrap_or_else(|| panic!("no key {key} in {self:?}")).1
    }

    fn int(&self) -> i64 {
        match self {
            Self::Int(value) => *value,
            other => panic!("an integer is expected, got {other:?}"),
        }
    }

    /// RESP2 spells a double as a bulk string.
    fn float(&self) -> f64 {
        match self {
            Self::Double(value) => *value,
            Self::BulkString(_) => self.text().parse().unwrap(),
            other => panic!("a double is expected, got {other:?}"),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::BulkString(bytes) => bytes,
            Self::SimpleString(text) | Self::VerbatimString { text, .. } => text.as_bytes(),
            other => panic!("a string is expected, got {other:?}"),
        }
    }

    fn text(&self) -> &str {
        std::str::from_utf8(self.bytes()).unwrap()
    }
}
