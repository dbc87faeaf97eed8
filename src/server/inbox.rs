//! What was read of a connection and is not carried out.

use bytes::{Bytes, BytesMut};

use crate::protocol::{Parser, ParserLimits, ProtocolError};

/// Commands in the order in which they came.
#[derive(Debug)]
pub(super) struct Inbox {
    parser: Parser,
    buffer: BytesMut,
    /// Bytes of the buffer that were read; behind them is room that was offered.
    filled: usize,
    /// A command that was taken out and is to be taken out again.
    returned: Option<Vec<Bytes>>,
}

impl Default for Inbox {
    fn default() -> Self {
        let parser = Parser::new(ParserLimits::DEFAULT);
        Self { parser, buffer: BytesMut::new(), filled: 0, returned: None }
    }
}

impl Inbox {
    /// Bytes that the command in progress needs at least.
    pub(super) fn wanted(&self) -> usize {
        self.parser.wanted()
    }

    /// Room to read so many bytes into. Whoever was offered it says with [`fill`](Self::fill) how
    /// much was used.
    pub(super) fn offer(&mut self, bytes: usize) -> &mut [u8] {
        self.filled = self.buffer.len();
        self.buffer.resize(self.filled + bytes, 0);
        &mut self.buffer[self.filled..]
    }

    pub(super) fn fill(&mut self, bytes: usize) {
        self.buffer.truncate(self.filled + bytes);
    }

    /// Bytes of commands that are not complete.
    pub(super) fn bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The arguments of the next complete command.
    pub(super) fn next(&mut self) -> Result<Option<Vec<Bytes>>, ProtocolError> {
        match self.returned.take() {
            Some(arguments) => Ok(Some(arguments)),
            None => self.parser.next(&mut self.buffer),
        }
    }

    /// Puts a command back in front.
    pub(super) fn put_back(&mut self, arguments: Vec<Bytes>) {
        self.returned = Some(arguments);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_is_put_back_is_the_next_one_and_bytes_may_come_in_pieces() {
        let mut inbox = Inbox::default();
        let bytes = b"*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n";
        let read = |inbox: &mut Inbox, from: usize, to: usize| {
            inbox.offer(100)[..to - from].copy_from_slice(&bytes[from..to]);
            inbox.fill(to - from);
        };
        read(&mut inbox, 0, 20);
        let ping = inbox.next().unwrap().unwrap();
        inbox.put_back(ping);
        read(&mut inbox, 20, 25);
        assert_eq!(inbox.next().unwrap().unwrap(), [&b"PING"[..]]);
        assert_eq!(inbox.next(), Ok(None));
        assert_eq!(inbox.bytes(), 25 - 14);
        read(&mut inbox, 25, bytes.len());
        assert_eq!(inbox.next().unwrap().unwrap(), [&b"ECHO"[..], b"hi"]);
        assert_eq!((inbox.next(), inbox.bytes()), (Ok(None), 0));
    }
}
