//! A connection to a daemon that never blocks: what is to be sent, and what is owed for it.
//!
//! Commands are queued with a note each, which comes back with the reply: replies come in the order
//! of the commands. A client flushes its pipes, waits for them with [`wait`], and receives.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use thiserror::Error;

use crate::resp::{Reply, RespError, push_command};

/// What one read takes at most.
const READ_BYTES: usize = 64 << 10;

#[derive(Debug, Error)]
pub enum PipeError {
    #[error("lost the connection to engramd: {0}")]
    Connection(#[from] io::Error),
    #[error(transparent)]
    Resp(#[from] RespError),
    #[error("a reply came that nothing asked for")]
    Unasked,
}

/// See the top of the file.
#[derive(Debug)]
pub struct Pipe<T> {
    stream: UnixStream,
    out: Vec<u8>,
    /// How much of `out` has been sent.
    sent: usize,
    inbox: Vec<u8>,
    /// The notes of commands that are not answered.
    owed: VecDeque<T>,
}

impl<T> Pipe<T> {
    /// Connects and agrees on RESP3.
    pub fn connect(socket: &Path) -> io::Result<Self> {
        let mut stream = UnixStream::connect(socket)?;
        let mut hello = Vec::new();
        push_command(&mut hello, &[b"HELLO", b"3"]);
        stream.write_all(&hello)?;
        let mut inbox = Vec::new();
        let mut piece = [0; 4096];
        while !matches!(Reply::read(&inbox), Ok(Some(_))) {
            match stream.read(&mut piece)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                bytes => inbox.extend_from_slice(&piece[..bytes]),
            }
        }
        stream.set_nonblocking(true)?;
        Ok(Self { stream, out: Vec::new(), sent: 0, inbox: Vec::new(), owed: VecDeque::new() })
    }

    /// Queues a command.
    pub fn push(&mut self, parts: &[&[u8]], note: T) {
        push_command(&mut self.out, parts);
        self.owed.push_back(note);
    }

    /// Queues a command that was made before.
    pub fn push_made(&mut self, command: &[u8], note: T) {
        self.out.extend_from_slice(command);
        self.owed.push_back(note);
    }

    /// Bytes that the socket has not taken yet.
    pub fn unsent_bytes(&self) -> usize {
        self.out.len() - self.sent
    }

    /// Commands that are not answered.
    pub fn owed(&self) -> usize {
        self.owed.len()
    }

    /// Sends as much as the socket takes.
    pub fn flush(&mut self) -> io::Result<()> {
        while self.sent < self.out.len() {
            match self.stream.write(&self.out[self.sent..]) {
                Ok(bytes) => self.sent += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(())
    }

    /// Gives away every reply that has arrived, with its note.
    pub fn receive(&mut self, mut take: impl FnMut(T, &Reply<'_>)) -> Result<(), PipeError> {
        self.fill()?;
        let mut taken = 0;
        while let Some((reply, bytes)) = Reply::read(&self.inbox[taken..])? {
            take(self.owed.pop_front().ok_or(PipeError::Unasked)?, &reply);
            taken += bytes;
        }
        self.inbox.drain(..taken);
        Ok(())
    }

    /// Reads what has arrived.
    fn fill(&mut self) -> io::Result<()> {
        loop {
            let before = self.inbox.len();
            self.inbox.resize(before + READ_BYTES, 0);
            let read = self.stream.read(&mut self.inbox[before..]);
            self.inbox.truncate(before + read.as_ref().map_or(0, |bytes| *bytes));
            match read {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(READ_BYTES) => {}
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Commands of all pipes that are not answered.
pub fn owed<'a, T: 'a>(pipes: impl IntoIterator<Item = &'a Pipe<T>>) -> u64 {
    pipes.into_iter().map(|pipe| pipe.owed() as u64).sum()
}

/// Sleeps until something has arrived, or can be sent that waits for it, at most so long.
pub fn wait<'a, T: 'a>(
    pipes: impl IntoIterator<Item = &'a Pipe<T>>,
    timeout: Duration,
) -> io::Result<()> {
    let interest = |pipe: &Pipe<T>| match pipe.unsent_bytes() {
        0 => PollFlags::IN,
        _ => PollFlags::IN | PollFlags::OUT,
    };
    let mut descriptors: Vec<PollFd<'_>> =
        pipes.into_iter().map(|pipe| PollFd::new(&pipe.stream, interest(pipe))).collect();
    let timeout = Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).expect("a few seconds"),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    match poll(&mut descriptors, Some(&timeout)) {
        Err(rustix::io::Errno::INTR) | Ok(_) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn what_the_socket_does_not_take_is_unsent_and_replies_find_their_notes() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::scope(|scope| {
            let accepted = scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                stream.write_all(b"+hello\r\n").unwrap();
                stream
            });
            let mut pipe = Pipe::connect(&socket).unwrap();
            let mut daemon = accepted.join().unwrap();
            let mut pushed = 0;
            // Also when it takes nothing at all of what is new.
            for _ in 0..100 {
                pipe.push_made(&[b'x'; 10_000], pushed);
                pushed += 1;
                pipe.flush().unwrap();
            }
            assert!(pipe.unsent_bytes() > 0 && pipe.owed() == pushed);
            let mut read = vec![0; 10_000 * pushed];
            scope.spawn(move || {
                daemon.read_exact(&mut read[..]).unwrap();
                daemon.write_all(&b":7\r\n".repeat(pushed)).unwrap();
            });
            let mut notes = Vec::new();
            while owed([&pipe]) > 0 {
                pipe.flush().unwrap();
                wait([&pipe], Duration::from_secs(1)).unwrap();
                pipe.receive(|note, reply| notes.push((note, reply.number()))).unwrap();
            }
            assert_eq!(pipe.unsent_bytes(), 0);
            assert!(notes.into_iter().eq((0..pushed).map(|nth| (nth, Some(7.0)))));
        });
    }
}
