//! What was read of a connection and is not carried out.

use bytes::{Bytes, BytesMut};

use crate::protocol::{Dialect, Parser, ParserLimits, ProtocolError};

/// Bytes of the head of a request of HTTP that somebody waits for.
pub(super) const HTTP_HEAD_BYTES_MAX: usize = 16 << 10;

/// Commands in the order in which they came.
#[derive(Debug)]
pub(super) struct Inbox {
    dialect: Dialect,
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
        Self {
            dialect: Dialect::default(),
            parser,
            buffer: BytesMut::new(),
            filled: 0,
            returned: None,
        }
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

    /// The arguments of the next complete command; `None` when it is not all here, and when
    /// [`is_http`](Self::is_http).
    pub(super) fn next(&mut self) -> Result<Option<Vec<Bytes>>, ProtocolError> {
        if self.dialect == Dialect::Unknown {
            self.dialect = Dialect::of(&self.buffer);
        }
        if self.dialect != Dialect::Resp {
            return Ok(None);
        }
        match self.returned.take() {
            Some(arguments) => Ok(Some(arguments)),
            None => self.parser.next(&mut self.buffer),
        }
    }

    /// Whether what was read is no RESP but the beginning of a request of HTTP.
    pub(super) fn is_http(&self) -> bool {
        self.dialect == Dialect::Http
    }

    /// Whether all of that request's head is here, or so much that nobody will wait for the rest.
    pub(super) fn has_http_head(&self) -> bool {
        let is_whole = || self.buffer.windows(4).any(|four| four == b"\r\n\r\n");
        self.is_http() && (self.buffer.len() >= HTTP_HEAD_BYTES_MAX || is_whole())
    }

    /// Everything that was read and not taken.
    pub(super) fn into_bytes(self) -> Bytes {
        self.buffer.freeze()
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

    #[test]
    fn a_request_of_http_is_given_away_as_it_came() {
        let mut inbox = Inbox::default();
        let bytes = b"GET / HTTP/1.1\r\n\r\n";
        for (nth, byte) in bytes.iter().enumerate() {
            inbox.offer(100)[0] = *byte;
            inbox.fill(1);
            assert_eq!(inbox.next(), Ok(None));
            assert_eq!(inbox.is_http(), nth >= 4, "{nth}");
            assert_eq!(inbox.has_http_head(), nth + 1 == bytes.len(), "{nth}");
        }
        assert_eq!(inbox.into_bytes(), &bytes[..]);
        let mut endless = Inbox::default();
        endless.offer(HTTP_HEAD_BYTES_MAX).fill(b'x');
        endless.fill(HTTP_HEAD_BYTES_MAX - 1);
        endless.buffer[..5].copy_from_slice(b"GET /");
        assert_eq!(endless.next(), Ok(None));
        assert!(endless.is_http() && !endless.has_http_head());
        endless.offer(1)[0] = b'x';
        endless.fill(1);
        assert!(endless.has_http_head());
    }
}
