//! A connection that turned out to speak HTTP, on its way to the edge.
//!
//! Who reads the first bytes of a connection finds out, be it the lobby or a shard. The socket goes
//! to the edge with the bytes that were read, as if nobody had been there before. Where the edge is
//! switched off the client is told so in its own words.

use std::fmt::Write as _;
use std::os::fd::OwnedFd;

use bytes::Bytes;

use super::client::Peer;
use super::serve::Permit;

/// See the top of the file.
#[derive(Debug)]
pub struct Visitor {
    pub socket: OwnedFd,
    /// What was read of it.
    pub bytes: Bytes,
    pub peer: Peer,
    pub permit: Permit,
}

/// Where visitors go; `None` when the edge is switched off. The channel is bounded by the permits.
pub type EdgeDoor = Option<flume::Sender<Visitor>>;

/// What a client of HTTP is told where there is no edge. The connection is closed behind it.
pub(super) fn edge_is_off() -> Vec<u8> {
    let body = concat!(
        r#"{"type":"about:blank","title":"HTTP is switched off","status":501,"#,
        r#""detail":"this daemon speaks RESP only; set edge = true in its configuration"}"#,
    );
    let mut answer = String::new();
    let _ = write!(
        answer,
        "HTTP/1.1 501 Not Implemented\r\ncontent-type: application/problem+json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    answer.into_bytes()
}
