//! A connection before a shard has it: what it asks that needs no shard is answered here.
//!
//! While the logs are replayed connections are kept in the lobby, which reads their bytes and
//! writes what is to be said. Commands about the connection, about the commands there are, and
//! `INFO` are answered at once. The first other command is put back, and nothing is taken from then
//! on. When a shard takes over it gets what was read, what was not written, and what the client has
//! said of itself, so the client notices nothing but that its command took a while. A connection
//! that turns out to speak HTTP is no longer ours: the edge answers also while logs are replayed.

use std::os::fd::OwnedFd;

use super::client::{Client, Peer, is_talk};
use super::inbox::{HTTP_HEAD_BYTES_MAX, Inbox};
use super::info;
use super::outgoing::{EncodedReply, Outgoing};
use super::serve::Permit;
use super::visitor::{self, Visitor};
use crate::protocol::Command;
use crate::recovery::Recovery;

/// Bytes of one connection that are read before a shard has it.
const INBOX_BYTES_MAX: usize = 16 << 10;
// Whoever speaks HTTP is answered before there is no room for more.
const _: () = assert!(INBOX_BYTES_MAX >= HTTP_HEAD_BYTES_MAX);
/// No command is taken while more bytes than this wait to be written.
const UNSENT_BYTES: usize = 16 << 10;

/// See the top of the file.
#[derive(Debug)]
pub struct Arrival {
    pub(super) client: Client,
    pub(super) inbox: Inbox,
    /// Replies that were not written.
    pub(super) unsent: Vec<u8>,
    /// No more commands are taken, here or by a shard.
    pub(super) is_finished: bool,
    /// The next command needs a shard, or does not fit in here.
    waits: bool,
}

impl Arrival {
    pub fn new(peer: Peer) -> Self {
        Self {
            client: Client::new(peer),
            inbox: Inbox::default(),
            unsent: Vec::new(),
            is_finished: false,
            waits: false,
        }
    }

    /// The number of the connection.
    pub fn connection(&self) -> u64 {
        self.client.peer.connection
    }

    /// Room to read into; `None` while nothing is to be read. Whoever was offered it goes on with
    /// [`answer`](Self::answer).
    pub fn offer(&mut self) -> Option<&mut [u8]> {
        self.reads().then(|| self.inbox.offer(INBOX_BYTES_MAX))
    }

    /// Whether more bytes may be read.
    pub fn reads(&self) -> bool {
        let takes = !self.waits && !self.is_finished && !self.has_http_head();
        takes && self.unsent.len() < UNSENT_BYTES
    }

    /// Whether it speaks HTTP, and nobody has said anything to it.
    pub fn is_http(&self) -> bool {
        self.inbox.is_http() && !self.is_finished
    }

    /// Whether it has said so much that it can be told that there is no edge: who is told before
    /// may be writing still, and lose the answer over that.
    pub fn has_http_head(&self) -> bool {
        self.inbox.has_http_head()
    }

    /// On its way to the edge.
    pub fn into_visitor(self, socket: OwnedFd, permit: Permit) -> Visitor {
        Visitor { socket, bytes: self.inbox.into_bytes(), peer: self.client.peer, permit }
    }

    /// Says that there is no edge.
    pub fn refuse_http(&mut self) {
        self.unsent = visitor::edge_is_off();
        self.is_finished = true;
    }

    /// What is to be written next.
    pub fn unsent(&self) -> &[u8] {
        &self.unsent
    }

    /// So many bytes of that were written; answers what had no room before.
    pub fn sent(&mut self, bytes: usize, recovery: &Recovery) {
        self.unsent.drain(..bytes);
        self.take_commands(recovery);
    }

    /// Nothing more comes in: what was asked is still answered.
    pub fn finish(&mut self) {
        self.inbox.fill(0);
        self.is_finished = true;
    }

    /// Everything that was to be said was said.
    pub fn is_over(&self) -> bool {
        self.is_finished && self.unsent.is_empty()
    }

    /// So many bytes were read: answers what can be answered without a shard.
    pub fn answer(&mut self, bytes: usize, recovery: &Recovery) {
        self.inbox.fill(bytes);
        self.take_commands(recovery);
    }

    fn take_commands(&mut self, recovery: &Recovery) {
        while self.reads() {
            let reply = match self.inbox.next() {
                Ok(None) => {
                    self.waits = self.inbox.bytes() >= INBOX_BYTES_MAX;
                    return;
                }
                Ok(Some(arguments)) => match Command::parse(arguments.clone()) {
                    Ok(Command::Info { sections }) => {
                        let text = info::before_shards_serve(recovery, &sections);
                        Outgoing::encoded(move |encoder| encoder.verbatim(&text))
                    }
                    Ok(command) if is_talk(&command) => self.client.talk(command),
                    Ok(_) => {
                        self.inbox.put_back(arguments);
                        self.waits = true;
                        return;
                    }
                    Err(refusal) => Outgoing::Refused(refusal),
                },
                Err(error) => Outgoing::Last(EncodedReply::new(move |encoder| {
                    encoder.protocol_error(&error);
                })),
            };
            // What is said here holds nothing of a shard's bound on replies.
            self.is_finished = reply.encode(&self.client, &mut self.unsent, &mut Vec::new());
        }
    }
}

#[cfg(test)]
mod tests {
    use engram_shards::io::Clock;

    use super::*;

    const CLOCK: Clock = Clock { wall_us: || 0, monotonic_ns: || 0 };
    const PEER: Peer = Peer { connection: 9, uid: 1, gid: 2, pid: 3 };

    /// Reads as much as there is room for; how much that was.
    fn read(arrival: &mut Arrival, recovery: &Recovery, bytes: &[u8]) -> usize {
        let Some(room) = arrival.offer() else { return 0 };
        let taken = room.len().min(bytes.len());
        room[..taken].copy_from_slice(&bytes[..taken]);
        arrival.answer(taken, recovery);
        taken
    }

    fn said(arrival: &Arrival) -> String {
        String::from_utf8_lossy(arrival.unsent()).into_owned()
    }

    #[test]
    fn talk_is_answered_and_the_first_other_command_waits() {
        let recovery = Recovery::new(1, None, CLOCK);
        let mut arrival = Arrival::new(PEER);
        let pipeline = b"PING\r\nHELLO 3 SETNAME me\r\nCLIENT GETNAME\r\nCLIENT ID\r\nNONSENSE\r\n\
                         ECHO yes\r\nEG.SPACE LIST\r\nPING\r\n";
        assert_eq!(read(&mut arrival, &recovery, pipeline), pipeline.len());
        let answers = said(&arrival);
        assert!(answers.starts_with("+PONG\r\n%7\r\n$6\r\nserver\r\n"), "{answers}");
        assert!(answers.contains("$2\r\nme\r\n:9\r\n-SYNTAX unknown command"), "{answers}");
        assert!(answers.ends_with("$3\r\nyes\r\n"), "{answers}");
        assert!(arrival.offer().is_none() && !arrival.is_over());
        let waiting = arrival.inbox.next().unwrap().unwrap();
        assert_eq!(waiting, [&b"EG.SPACE"[..], b"LIST"]);
        assert_eq!(arrival.inbox.next().unwrap().unwrap(), [&b"PING"[..]]);
    }

    #[test]
    fn info_tells_how_far_the_start_is() {
        let recovery = Recovery::new(2, Some("it fell over".into()), CLOCK);
        let mut arrival = Arrival::new(PEER);
        read(&mut arrival, &recovery, b"INFO\r\nINFO recovery\r\nINFO latency\r\n");
        let answers = said(&arrival);
        assert!(answers.contains("\r\nshards:2\r\n"), "{answers}");
        assert!(answers.contains("\r\nread_only_reason:it fell over\r\n"), "{answers}");
        assert_eq!(answers.matches("\r\nloading:1\r\n").count(), 2, "{answers}");
        assert!(answers.ends_with("$0\r\n\r\n"), "{answers}");
    }

    #[test]
    fn who_does_not_read_is_not_read_from() {
        let recovery = Recovery::new(1, None, CLOCK);
        let mut arrival = Arrival::new(PEER);
        let echo = format!("ECHO {}\r\n", "x".repeat(1000));
        let pipeline = echo.repeat(1000);
        let mut taken = 0;
        while arrival.reads() {
            taken += read(&mut arrival, &recovery, &pipeline.as_bytes()[taken..]);
        }
        assert!(arrival.unsent().len() < UNSENT_BYTES + 2000);
        assert!(arrival.inbox.bytes() <= 2 * INBOX_BYTES_MAX);
        while taken < pipeline.len() {
            let unsent = arrival.unsent().len();
            arrival.sent(unsent, &recovery);
            taken += read(&mut arrival, &recovery, &pipeline.as_bytes()[taken..]);
        }
        assert!(arrival.reads() || !arrival.unsent().is_empty());
    }

    #[test]
    fn who_speaks_http_is_shown_out_with_what_was_read() {
        let recovery = Recovery::new(1, None, CLOCK);
        let request = b"POST /v1/ping HTTP/1.1\r\n\r\n";
        for split in 0..request.len() {
            let mut arrival = Arrival::new(PEER);
            read(&mut arrival, &recovery, &request[..split]);
            assert_eq!(arrival.is_http(), split >= 6);
            read(&mut arrival, &recovery, &request[split..]);
            assert!(arrival.is_http() && !arrival.reads() && arrival.unsent().is_empty());
            let socket = std::fs::File::open("/dev/null").unwrap().into();
            let visitor = arrival.into_visitor(socket, Permit::default());
            // Where there is no edge it is heard until the end of its head.
            assert_eq!((&visitor.bytes[..], visitor.peer), (&request[..], PEER));
        }
        let mut arrival = Arrival::new(PEER);
        read(&mut arrival, &recovery, request);
        arrival.refuse_http();
        assert!(said(&arrival).starts_with("HTTP/1.1 501 "), "{}", said(&arrival));
        assert!(!arrival.reads() && !arrival.is_over());
    }

    #[test]
    fn what_does_not_fit_waits_for_a_shard() {
        let recovery = Recovery::new(1, None, CLOCK);
        let mut arrival = Arrival::new(PEER);
        let echo = format!("*2\r\n$4\r\nECHO\r\n$50000\r\n{}\r\n", "x".repeat(50_000));
        let mut taken = 0;
        while arrival.reads() {
            taken += read(&mut arrival, &recovery, &echo.as_bytes()[taken..]);
        }
        assert!(taken < echo.len() && arrival.unsent().is_empty() && !arrival.is_over());
    }

    #[test]
    fn the_end_of_a_connection_is_said_first() {
        let recovery = Recovery::new(1, None, CLOCK);
        for (bytes, last) in
            [(&b"QUIT\r\nPING\r\n"[..], "+OK\r\n"), (b"?", "-SYNTAX Protocol error")]
        {
            let mut arrival = Arrival::new(PEER);
            read(&mut arrival, &recovery, bytes);
            assert!(said(&arrival).starts_with(last), "{}", said(&arrival));
            assert!(!arrival.reads() && !arrival.is_over());
            let unsent = arrival.unsent().len();
            arrival.sent(unsent, &recovery);
            assert!(arrival.is_over());
        }
    }
}
