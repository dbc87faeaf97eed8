//! What a connection has received: bytes in, events out.

use std::io;
use std::os::unix::net::UnixStream;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::scan::{Event, Scanner};

/// Twice the longest line of a reply, so that an incomplete one always leaves room for more.
const BUFFER_BYTES: usize = 128 << 10;

#[derive(Debug)]
pub(super) struct Inbox {
    scanner: Scanner,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were received.
    filled: usize,
    /// Bytes of those that the scanner has consumed.
    scanned: usize,
}

impl Inbox {
    pub(super) fn new() -> Self {
        let buffer = vec![0; BUFFER_BYTES];
        Self { scanner: Scanner::default(), buffer, filled: 0, scanned: 0 }
    }

    /// Receives what is there; with empty flags, waits for something up to the socket's timeout.
    /// Returns how many bytes came; the end of the stream is an error.
    pub(super) fn receive(&mut self, stream: &UnixStream, flags: RecvFlags) -> io::Result<usize> {
        self.buffer.copy_within(self.scanned..self.filled, 0);
        self.filled -= self.scanned;
        self.scanned = 0;
        match recv(stream, &mut self.buffer[self.filled..], flags) {
            Ok((_, 0)) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the daemon closed it")),
            Ok((_, received)) => {
                self.filled += received;
                Ok(received)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// The next event in what was received.
    pub(super) fn next_event(&mut self) -> io::Result<Option<Event<'_>>> {
        let unscanned = &self.buffer[self.scanned..self.filled];
        let (consumed, event) = self
            .scanner
            .next(unscanned)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.scanned += consumed;
        Ok(event)
    }
}
