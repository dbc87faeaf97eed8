//! Clients that keep the edge busy: each asks over a connection of its own, and asks again as soon
//! as it is answered. They are nicer than anybody else, so that what they take of a processor they
//! take from the edge.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::{mem, sync::Arc};

use rustix::process::setpriority_process;

/// The most that niceness can be.
const NICENESS: i32 = 19;

/// Requests of HTTP/1.1, sent over and over; stopped when dropped.
#[derive(Debug)]
pub struct HttpLoad {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<io::Result<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    is_over: AtomicBool,
    answers: AtomicU64,
    bytes: AtomicU64,
}

/// What a load has come to.
#[derive(Debug, Clone, Copy)]
pub struct Answered {
    pub answers: u64,
    /// Of their bodies.
    pub bytes: u64,
}

impl HttpLoad {
    /// Begins: so many connections take turns with these requests.
    pub fn start(socket: &Path, connections: usize, requests: &[Vec<u8>]) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut clients = Vec::new();
        for nth in 0..connections {
            let stream = UnixStream::connect(socket)?;
            let (shared, mut requests) = (Arc::clone(&shared), requests.to_vec());
            let first = nth % requests.len();
            requests.rotate_left(first);
            let ask = move || {
                setpriority_process(None, NICENESS)?;
                ask_on(stream, &shared, &requests)
            };
            clients.push(Builder::new().name("http".into()).spawn(ask)?);
        }
        Ok(Self { shared, clients })
    }

    /// Ends it when what is under way is answered.
    pub fn stop(mut self) -> io::Result<Answered> {
        self.shared.is_over.store(true, Ordering::Relaxed);
        for client in mem::take(&mut self.clients) {
            client.join().expect("no panic")?;
        }
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Ok(Answered { answers: load(&self.shared.answers), bytes: load(&self.shared.bytes) })
    }
}

impl Drop for HttpLoad {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
    }
}

fn ask_on(stream: UnixStream, shared: &Shared, requests: &[Vec<u8>]) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut body = Vec::new();
    for request in requests.iter().cycle() {
        if shared.is_over.load(Ordering::Relaxed) {
            break;
        }
        stream.get_mut().write_all(request)?;
        answer(&mut stream, &mut body)?;
        shared.answers.fetch_add(1, Ordering::Relaxed);
        shared.bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
    }
    Ok(())
}

/// Reads an answer's body into `body`.
fn answer(stream: &mut BufReader<UnixStream>, body: &mut Vec<u8>) -> io::Result<()> {
    let status = line(stream)?;
    let (mut length, mut is_chunked) = (0, false);
    loop {
        let header = line(stream)?.to_ascii_lowercase();
        match header.split_once(':').map(|(name, value)| (name, value.trim())) {
            None => break,
            Some(("content-length", value)) => length = value.parse().map_err(wrong)?,
            Some(("transfer-encoding", value)) => is_chunked = value == "chunked",
            Some(_) => {}
        }
    }
    body.clear();
    loop {
        if is_chunked {
            length = usize::from_str_radix(&line(stream)?, 16).map_err(wrong)?;
        }
        let before = body.len();
        body.resize(before + length, 0);
        stream.read_exact(&mut body[before..])?;
        if is_chunked {
            line(stream)?;
        }
        if !is_chunked || length == 0 {
            break;
        }
    }
    match status.contains(" 200 ") {
        true => Ok(()),
        false => Err(wrong(String::from_utf8_lossy(body))),
    }
}

/// The next line without its end.
fn line(stream: &mut BufReader<UnixStream>) -> io::Result<String> {
    let mut line = String::new();
    match stream.read_line(&mut line)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(line.trim_end().to_owned()),
    }
}

fn wrong(what: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

/// The bytes of a request.
pub fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: engram\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// Serves one connection: the answers in turn, and then no more.
    fn serve(listener: &UnixListener, answers: &[&[u8]]) {
        let (stream, _) = listener.accept().unwrap();
        let mut stream = BufReader::new(stream);
        for answer in answers {
            while line(&mut stream).unwrap() != "" {}
            stream.get_mut().write_all(answer).unwrap();
        }
    }

    #[test]
    fn answers_are_read_whole_and_what_is_no_success_ends_it() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
                        3\r\nabc\r\nb\r\nhello world\r\n0\r\n\r\n";
        let refused = b"HTTP/1.1 503 Later\r\ncontent-length: 4\r\n\r\nbusy";
        std::thread::scope(|scope| {
            scope.spawn(|| serve(&listener, &[whole, chunked, chunked, refused]));
            let mut stream = BufReader::new(UnixStream::connect(&socket).unwrap());
            let mut ask = || {
                stream.get_mut().write_all(&request("GET", "/", ""))?;
                let mut body = Vec::new();
                answer(&mut stream, &mut body).map(|()| body)
            };
            let bodies: Vec<Vec<u8>> = (0..3).map(|_| ask().unwrap()).collect();
            assert_eq!(bodies, [&b"abc"[..], b"abchello world", b"abchello world"]);
            assert!(ask().unwrap_err().to_string().contains("busy"));
        });
        std::thread::scope(|scope| {
            scope.spawn(|| serve(&listener, &[whole, whole, refused]));
            let load = HttpLoad::start(&socket, 1, &[request("GET", "/", "")]).unwrap();
            while !load.clients[0].is_finished() {
                std::thread::yield_now();
            }
            assert_eq!(load.shared.answers.load(Ordering::Relaxed), 2);
            assert_eq!(load.shared.bytes.load(Ordering::Relaxed), 6);
            assert!(load.stop().unwrap_err().to_string().contains("busy"));
        });
    }
}
