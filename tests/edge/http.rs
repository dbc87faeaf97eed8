//! A client of HTTP/1.1 that sees every byte. It knows what the tests need of it and no more.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use serde_json::Value;

use crate::common::{DEADLINE, Daemon};

/// A connection.
pub struct Http {
    stream: BufReader<Box<dyn Stream>>,
}

pub trait Stream: Read + Write + Send {}

impl<S: Read + Write + Send> Stream for S {}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// The body of an answer that is no problem.
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()
    }

    /// Status and code of a problem.
    pub fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
        (self.status, problem["code"].as_str().unwrap().to_owned())
    }
}

/// The bytes of a request.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {path} HTTP/1.1\r\nhost: engram\r\n").into_bytes();
    for (name, value) in headers {
        write!(bytes, "{name}: {value}\r\n").unwrap();
    }
    if !body.is_empty() {
        write!(bytes, "content-length: {}\r\n", body.len()).unwrap();
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

impl Http {
    pub fn new(daemon: &Daemon) -> Self {
        let stream = UnixStream::connect(&daemon.socket).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Self::of(stream)
    }

    pub fn over_tcp(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self::of(stream)
    }

    fn of(stream: impl Stream + 'static) -> Self {
        Self { stream: BufReader::new(Box::new(stream)) }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap();
    }

    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    pub fn call(&mut self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(&request(method, path, headers, b""));
        self.read()
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.call("GET", path, &[])
    }

    pub fn delete(&mut self, path: &str) -> Answer {
        self.call("DELETE", path, &[])
    }

    pub fn put(&mut self, path: &str, body: &Value) -> Answer {
        self.with_body("PUT", path, body)
    }

    pub fn post(&mut self, path: &str, body: &Value) -> Answer {
        self.with_body("POST", path, body)
    }

    fn with_body(&mut self, method: &str, path: &str, body: &Value) -> Answer {
        let headers = [("content-type", "application/json")];
        self.send(&request(method, path, &headers, body.to_string().as_bytes()));
        self.read()
    }

    fn try_line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        match line.strip_suffix("\r\n") {
            Some(line) => Ok(line.to_owned()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// The next answer.
    pub fn read(&mut self) -> Answer {
        self.try_read().unwrap()
    }

    pub fn try_read(&mut self) -> io::Result<Answer> {
        let mut answer = self.try_read_head()?;
        if answer.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.try_chunk()? {
                answer.body.extend_from_slice(&chunk);
            }
        } else if let Some(length) = answer.header("content-length") {
            answer.body = vec![0; length.parse().unwrap()];
            self.stream.read_exact(&mut answer.body)?;
        }
        Ok(answer)
    }

    /// The next answer without its body.
    pub fn try_read_head(&mut self) -> io::Result<Answer> {
        let line = self.try_line()?;
        let status = line.strip_prefix("HTTP/1.1 ").unwrap_or_else(|| panic!("{line:?}"));
        let status = status[..3].parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let line = self.try_line()?;
            let Some((name, value)) = line.split_once(": ") else { break };
            headers.push((name.to_lowercase(), value.to_owned()));
        }
        Ok(Answer { status, headers, body: Vec::new() })
    }

    /// The next chunk of a body; `None` at its end.
    pub fn try_chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line = self.try_line()?;
        let bytes = usize::from_str_radix(&line, 16).unwrap();
        let mut chunk = vec![0; bytes + 2];
        self.stream.read_exact(&mut chunk)?;
        chunk.truncate(bytes);
        Ok((bytes > 0).then_some(chunk))
    }

    /// Whether the daemon has hung up and nothing is left to read.
    pub fn is_hung_up(&mut self) -> bool {
        let mut rest = Vec::new();
        let ended = self.stream.read_to_end(&mut rest);
        assert!(rest.is_empty(), "{}", rest.escape_ascii());
        // Cut while it was still being written to.
        ended.map_or_else(|error| error.kind() == io::ErrorKind::ConnectionReset, |_| true)
    }
}

/// An event of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub id: Option<u64>,
    pub name: String,
    pub data: Value,
}

/// The events of a body.
pub fn events(body: &str) -> Vec<Event> {
    let of = |event: &str| {
        let field = |name: &str| {
            let prefix = format!("{name}: ");
            event.lines().find_map(|line| line.strip_prefix(&prefix).map(str::to_owned))
        };
        Event {
            id: field("id").map(|id| id.parse().unwrap()),
            name: field("event").unwrap(),
            data: serde_json::from_str(&field("data").unwrap()).unwrap(),
        }
    };
    assert!(body.ends_with("\n\n"), "{body}");
    body.split_terminator("\n\n").map(of).collect()
}
