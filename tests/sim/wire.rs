//! RESP3 over a pipe: commands out, replies in, written apart from the daemon's.

use std::fmt::Write as _;

use engramd::runtime::{Socket, SocketReader, SocketShutdown, SocketWriter};

/// A reply.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Nil,
    Number(f64),
    Text(Vec<u8>),
    Error(String),
    List(Vec<Self>),
    Map(Vec<(Self, Self)>),
}

impl Value {
    /// The value of a key of a map.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Self::Map(pairs) = self else { return None };
        pairs.iter().find(|(name, _)| name.text() == Some(key)).map(|(_, value)| value)
    }

    pub fn bytes(&self) -> Option<&[u8]> {
        if let Self::Text(bytes) = self { Some(bytes) } else { None }
    }

    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    pub fn number(&self) -> Option<f64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }

    pub fn list(&self) -> &[Self] {
        if let Self::List(list) = self { list } else { panic!("a list, not {self:?}") }
    }

    /// The id in the map that an episode or a hit is shown as.
    pub fn id(&self) -> &str {
        self.get("id").and_then(Self::text).unwrap_or_else(|| panic!("an id in {self:?}"))
    }

    /// A whole number of a map.
    pub fn count(&self, key: &str) -> u64 {
        let number = self.get(key).and_then(Self::number);
        number.unwrap_or_else(|| panic!("{key} in {self:?}")) as u64
    }
}

/// One client's connection.
pub struct Connection {
    reader: SocketReader,
    writer: SocketWriter,
    _shutdown: SocketShutdown,
    buffer: Vec<u8>,
}

impl Connection {
    pub fn new(socket: Socket) -> Self {
        let (reader, writer, shutdown) = socket.split().expect("a pipe splits");
        Self { reader, writer, _shutdown: shutdown, buffer: Vec::new() }
    }

    /// Whether all of it was taken.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        self.writer.write_all(bytes).await.is_ok()
    }

    /// The next reply; `None` when the daemon is gone.
    pub async fn receive(&mut self) -> Option<Value> {
        loop {
            if let Some((value, used)) = parse(&self.buffer) {
                self.buffer.drain(..used);
                return Some(value);
            }
            let mut piece = [0; 4096];
            let got = self.reader.read(&mut piece).await.expect("a pipe can be read");
            if got == 0 {
                return None;
            }
            self.buffer.extend_from_slice(&piece[..got]);
        }
    }

    pub async fn call(&mut self, command: &Command) -> Option<Value> {
        if self.send(&command.0).await { self.receive().await } else { None }
    }
}

/// The bytes of a command.
#[derive(Debug, Clone)]
pub struct Command(pub Vec<u8>);

impl Command {
    pub fn new<W: AsRef<[u8]>>(words: &[W]) -> Self {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            let word = word.as_ref();
            bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            bytes.extend_from_slice(word);
            bytes.extend_from_slice(b"\r\n");
        }
        Self(bytes)
    }

    /// Words between spaces.
    pub fn of(line: &str) -> Self {
        Self::new(&line.split(' ').collect::<Vec<_>>())
    }
}

/// The value at the front and the bytes it took, if it is whole.
fn parse(bytes: &[u8]) -> Option<(Value, usize)> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let line = std::str::from_utf8(&bytes[1..end]).expect("lines are text");
    let length = || line.parse::<usize>().expect("a length");
    let behind = end + 2;
    let several = |count: usize| -> Option<(Vec<Value>, usize)> {
        let (mut values, mut at) = (Vec::with_capacity(count), behind);
        for _ in 0..count {
            let (value, used) = parse(&bytes[at..])?;
            values.push(value);
            at += used;
        }
        Some((values, at))
    };
    let value = match bytes[0] {
        b'+' => Value::Text(line.into()),
        b'-' => Value::Error(line.into()),
        b'_' => Value::Nil,
        b':' | b',' => Value::Number(line.parse().expect("a number")),
        b'#' => Value::Number(f64::from(u8::from(line == "t"))),
        b'$' => {
            let text = bytes.get(behind..behind + length() + 2)?;
            return Some((Value::Text(text[..length()].into()), behind + text.len()));
        }
        // A message is a list that nobody asked for.
        b'*' | b'>' => {
            let (values, used) = several(length())?;
            return Some((Value::List(values), used));
        }
        b'%' => {
            let (values, used) = several(length() * 2)?;
            let pairs = values.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone()));
            return Some((Value::Map(pairs.collect()), used));
        }
        other => panic!("a reply that begins with {:?}", other as char),
    };
    Some((value, behind))
}

/// Bytes for people: text as it is, the rest by its length.
pub fn short(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Map(_) if value.get("seq").is_some() => {
            let outcome = value.get("outcome").and_then(Value::text).unwrap_or("is there");
            let _ = write!(text, "{outcome}, sequence {}", value.count("seq"));
        }
        Value::List(values) => {
            let _ = write!(text, "{} values", values.len());
        }
        other => {
            let _ = write!(text, "{other:?}");
        }
    }
    text
}
