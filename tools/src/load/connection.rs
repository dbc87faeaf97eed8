//! One connection under load: a thread that writes prepared requests and scans replies.
//!
//! Writes never block: when the socket is full the thread waits for room and for replies at once,
//! so that a server that stops reading until its replies are taken cannot end in a deadlock. In a
//! closed loop with everything written the thread sleeps in the read itself, which saves a system
//! call per round.

use std::io::{self, Write as _};
use std::num::NonZeroU64;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, send};

use super::books::{Books, Measured, Run};
use super::inbox::Inbox;
use super::pace::Pace;
use super::ring::Ring;
use super::scan::Event;
use super::workload::Ids;

/// How long to wait for the last replies, and for the first.
const DRAIN: Duration = Duration::from_secs(10);
/// The longest sleep: after it the thread looks whether the run is over.
const SLEEP: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    inbox: Inbox,
}

impl Connection {
    /// Connects and switches to RESP3.
    pub(super) fn open(socket: &Path) -> io::Result<Self> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(SLEEP))?;
        stream.write_all(b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n")?;
        let mut inbox = Inbox::new();
        let start = Instant::now();
        while start.elapsed() < DRAIN {
            inbox.receive(&stream, RecvFlags::empty())?;
            while let Some(event) = inbox.next_event()? {
                if matches!(event, Event::Reply { .. }) {
                    return Ok(Self { stream, inbox });
                }
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "no reply to HELLO"))
    }
}

/// A connection at work.
#[derive(Debug)]
pub(super) struct Driver<'a> {
    pub(super) run: &'a Run,
    pub(super) connection: Connection,
    pub(super) ring: Ring,
    pub(super) pace: Pace,
    pub(super) ids: Ids,
    pub(super) books: Books<'a>,
}

impl Driver<'_> {
    /// Sends until the run stops and reads until everything is answered.
    pub(super) fn run(mut self) -> (Measured, io::Result<()>) {
        // Without it the kernel may wake the thread 50 us after a request was due.
        let slack = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let result = slack.map_err(io::Error::from).and_then(|()| self.send_and_receive());
        let mut measured = self.books.close();
        measured.unsent = self.pace.missed(self.run.stop_ns);
        (measured, result)
    }

    fn send_and_receive(&mut self) -> io::Result<()> {
        let give_up_ns = self.run.stop_ns + DRAIN.as_nanos() as u64;
        let mut is_stopped = false;
        loop {
            let now_ns = self.run.now_ns();
            if !is_stopped {
                is_stopped = now_ns >= self.run.stop_ns;
                self.prepare(now_ns);
            }
            let is_blocked = self.write(now_ns)?;
            let outstanding = self.books.outstanding();
            if is_stopped && (outstanding == 0 || now_ns > give_up_ns) {
                return Ok(());
            }
            let may_prepare = !is_stopped && self.ring.has_room();
            let due_ns = may_prepare.then(|| self.pace.next_due_ns(outstanding)).flatten();
            let must_poll = is_blocked || due_ns.is_some();
            if must_poll {
                self.wait(is_blocked, due_ns)?;
            }
            self.read(if must_poll { RecvFlags::DONTWAIT } else { RecvFlags::empty() })?;
        }
    }

    /// Prepares every request that is due before the run stops and has room.
    fn prepare(&mut self, now_ns: u64) {
        while self.ring.has_room() {
            let outstanding = self.books.outstanding();
            let Some(intended_ns) = self.pace.take(now_ns, self.run.stop_ns, outstanding) else {
                return;
            };
            let operation = self.ring.prepare(|| {
                let id = self.ids.next();
                self.books.expect_id(id);
                id
            });
            self.books.expect(operation, intended_ns);
        }
    }

    /// Writes what the socket takes; returns whether bytes are left.
    fn write(&mut self, now_ns: u64) -> io::Result<bool> {
        loop {
            let bytes = self.ring.unwritten();
            if bytes.is_empty() {
                return Ok(false);
            }
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match send(&self.connection.stream, bytes, flags) {
                Ok(written) => {
                    self.ring.advance(written);
                    self.books.add_sent(written, now_ns);
                }
                Err(Errno::AGAIN) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sleeps until there is something to read, room to write, or a request is due.
    fn wait(&self, is_blocked: bool, due_ns: Option<u64>) -> io::Result<()> {
        let sleep_max_ns = SLEEP.as_nanos() as u64;
        let until_due_ns = |due_ns: u64| due_ns.saturating_sub(self.run.now_ns());
        let sleep_ns = due_ns.map_or(sleep_max_ns, until_due_ns).min(sleep_max_ns);
        let timeout = Timespec { tv_sec: 0, tv_nsec: sleep_ns as i64 };
        let mut events = PollFlags::IN;
        events.set(PollFlags::OUT, is_blocked);
        match poll(&mut [PollFd::new(&self.connection.stream, events)], Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads once and settles every reply in it.
    fn read(&mut self, flags: RecvFlags) -> io::Result<()> {
        let Connection { stream, inbox } = &mut self.connection;
        let received = inbox.receive(stream, flags)?;
        if received == 0 {
            return Ok(());
        }
        let now_ns = self.run.now_ns();
        self.books.add_received(received, now_ns);
        while let Some(event) = inbox.next_event()? {
            self.books.settle(&event, now_ns);
        }
        self.books.flush_acked().map_err(io::Error::other)
    }
}
