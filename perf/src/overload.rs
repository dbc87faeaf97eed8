//! A client that offers more than a daemon takes, and keeps account of all of it.
//!
//! Stores are due at an even rate, or whenever fewer than so many are under way. What is due is
//! sent, or it is *held back* and counted as that: by the socket, when the daemon reads no more of
//! it, or by the hint of a refusal, where hints are honoured. Nothing is kept for later, so the
//! client cannot fall behind: what it measures of accepted work is the daemon's doing. Latency
//! counts from the send. One thread serves all connections; episodes come from a ring of commands
//! that are made ahead, and replace each other.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read as _, Write as _};
use std::ops::AddAssign;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::open_loop::OpenLoopError;
use crate::random::Random;
use crate::resp::{Reply, push_command};

/// Moments at which something is due, per second.
const WAKES_PER_S_MAX: u32 = 2000;
const LATENCY_NS_MAX: u64 = 60_000_000_000;
const READ_BYTES: usize = 64 << 10;
/// How long replies may take after the last request.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);
const TEXT: &str = "What was said, in about as many words as people use at once.";

/// How much is offered.
#[derive(Debug, Clone, Copy)]
pub enum Offer {
    /// Stores per second, whatever comes back.
    PerS(u32),
    /// So many under way on each connection.
    UnderWay(usize),
}

/// What became of stores.
#[derive(Debug, Clone)]
pub struct Account {
    pub elapsed: Duration,
    pub accepted: u64,
    /// By code and what was full.
    pub refused: BTreeMap<String, u64>,
    /// What was due and not sent.
    pub held_by_socket: u64,
    pub held_by_hint: u64,
    /// Of what was accepted.
    pub latency_ns: Histogram<u64>,
}

impl Default for Account {
    fn default() -> Self {
        let bounds = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3);
        Self {
            elapsed: Duration::ZERO,
            accepted: 0,
            refused: BTreeMap::new(),
            held_by_socket: 0,
            held_by_hint: 0,
            latency_ns: bounds.expect("the bounds and three digits are valid"),
        }
    }
}

impl AddAssign<&Self> for Account {
    fn add_assign(&mut self, other: &Self) {
        self.elapsed += other.elapsed;
        self.accepted += other.accepted;
        for (reason, times) in &other.refused {
            *self.refused.entry(reason.clone()).or_default() += times;
        }
        self.held_by_socket += other.held_by_socket;
        self.held_by_hint += other.held_by_hint;
        self.latency_ns.add(&other.latency_ns).expect("both have the same bounds");
    }
}

impl Account {
    pub fn accepted_per_s(&self) -> f64 {
        self.accepted as f64 / self.elapsed.as_secs_f64()
    }

    pub fn refused(&self) -> u64 {
        self.refused.values().sum()
    }

    pub fn latency_us(&self, share: f64) -> f64 {
        self.latency_ns.value_at_quantile(share) as f64 / 1e3
    }

    /// Takes a reply; for how long the client is asked to stay away.
    fn take(&mut self, reply: &Reply<'_>, latency: Duration) -> Option<Duration> {
        let Reply::Error(error) = reply else {
            self.accepted += 1;
            self.latency_ns.saturating_record(latency.as_nanos() as u64);
            return None;
        };
        let error = String::from_utf8_lossy(error);
        let (reason, hint) = error.split_once("; retry in ").unwrap_or((&error, ""));
        *self.refused.entry(reason.to_owned()).or_default() += 1;
        let ms = hint.split(' ').next().and_then(|ms| ms.parse().ok());
        ms.map(Duration::from_millis)
    }
}

/// Where to store what, over how many connections.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    pub socket: &'a Path,
    pub space: &'a str,
    pub dimensions: usize,
    /// Different ones, each stored over and over.
    pub episodes: usize,
    pub connections: usize,
    pub honours_hints: bool,
}

/// See the top of the file.
#[derive(Debug)]
pub struct Client {
    connections: Vec<Connection>,
    /// Whose turn it is.
    turn: usize,
    commands: Vec<Vec<u8>>,
    next: usize,
    honours_hints: bool,
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    out: Vec<u8>,
    /// How much of `out` has been sent.
    sent: usize,
    inbox: Vec<u8>,
    /// When what is under way was sent, in the order of the replies.
    sent_at: VecDeque<Instant>,
    away_until: Instant,
}

impl Client {
    /// Connects to a daemon that has the space.
    pub fn connect(target: &Target<'_>) -> io::Result<Self> {
        let mut random = Random::default();
        let mut command = |nth: usize| {
            let vector: Vec<u8> =
                (0..target.dimensions).flat_map(|_| random.next_f32().to_le_bytes()).collect();
            let (space, id) = (target.space.as_bytes(), format!("episode-{nth:010}"));
            let parts =
                [b"EG.STORE", space, id.as_bytes(), b"VEC", &vector, b"TEXT", TEXT.as_bytes()];
            let mut out = Vec::new();
            push_command(&mut out, &parts);
            out
        };
        let connect = |_| Connection::new(target.socket);
        Ok(Self {
            connections: (0..target.connections).map(connect).collect::<io::Result<_>>()?,
            turn: 0,
            commands: (0..target.episodes).map(&mut command).collect(),
            next: 0,
            honours_hints: target.honours_hints,
        })
    }

    /// Offers stores for so long and waits for nothing at the end: what is under way goes on, and
    /// counts to what is offered next.
    pub fn offer(&mut self, offer: Offer, duration: Duration) -> Result<Account, OpenLoopError> {
        let began = Instant::now();
        let (mut account, mut offered) = (Account::default(), 0);
        while began.elapsed() < duration {
            match offer {
                Offer::PerS(per_s) => {
                    let due = began.elapsed().as_secs_f64() * f64::from(per_s);
                    self.send_due(due as u64 - offered, &mut account);
                    offered = due as u64;
                }
                Offer::UnderWay(count) => self.fill_up(count),
            }
            self.exchange(&mut account)?;
        }
        account.elapsed = began.elapsed();
        Ok(account)
    }

    /// Waits until everything is answered.
    pub fn drain(&mut self) -> Result<Account, OpenLoopError> {
        let began = Instant::now();
        let mut account = Account::default();
        while began.elapsed() < DRAIN_TIMEOUT {
            let missing: usize = self.connections.iter().map(|c| c.sent_at.len()).sum();
            if missing == 0 {
                account.elapsed = began.elapsed();
                return Ok(account);
            }
            self.exchange(&mut account)?;
        }
        let missing = self.connections.iter().map(|c| c.sent_at.len() as u64).sum();
        Err(OpenLoopError::Missing { missing })
    }

    fn send_due(&mut self, count: u64, account: &mut Account) {
        let now = Instant::now();
        for _ in 0..count {
            self.turn = (self.turn + 1) % self.connections.len();
            let connection = &mut self.connections[self.turn];
            if self.honours_hints && now < connection.away_until {
                account.held_by_hint += 1;
            } else if connection.is_behind() {
                account.held_by_socket += 1;
            } else {
                connection.push(&self.commands[self.next], now);
                self.next = (self.next + 1) % self.commands.len();
            }
        }
    }

    fn fill_up(&mut self, count: usize) {
        let now = Instant::now();
        for connection in &mut self.connections {
            while connection.sent_at.len() < count && !connection.is_behind() {
                connection.push(&self.commands[self.next], now);
                self.next = (self.next + 1) % self.commands.len();
            }
        }
    }

    /// Sends, waits a little for something to arrive, takes it.
    fn exchange(&mut self, account: &mut Account) -> Result<(), OpenLoopError> {
        for connection in &mut self.connections {
            connection.flush()?;
        }
        self.wait(Duration::from_secs(1) / WAKES_PER_S_MAX)?;
        for connection in self.connections.iter_mut().filter(|c| !c.sent_at.is_empty()) {
            connection.receive(account)?;
        }
        Ok(())
    }

    fn wait(&self, timeout: Duration) -> io::Result<()> {
        let mut descriptors: Vec<PollFd<'_>> = self
            .connections
            .iter()
            .map(|connection| PollFd::new(&connection.stream, PollFlags::IN))
            .collect();
        let timeout = Timespec { tv_sec: 0, tv_nsec: timeout.subsec_nanos().into() };
        match poll(&mut descriptors, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) | Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Connection {
    fn new(socket: &Path) -> io::Result<Self> {
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
        Ok(Self {
            stream,
            out: Vec::new(),
            sent: 0,
            inbox: Vec::new(),
            sent_at: VecDeque::new(),
            away_until: Instant::now(),
        })
    }

    /// Whether the socket did not take all of what was to be sent.
    fn is_behind(&self) -> bool {
        self.sent > 0
    }

    fn push(&mut self, command: &[u8], now: Instant) {
        self.out.extend_from_slice(command);
        self.sent_at.push_back(now);
    }

    /// Sends as much as the socket takes.
    fn flush(&mut self) -> io::Result<()> {
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

    fn receive(&mut self, account: &mut Account) -> Result<(), OpenLoopError> {
        let before = self.inbox.len();
        self.inbox.resize(before + READ_BYTES, 0);
        let read = self.stream.read(&mut self.inbox[before..]);
        self.inbox.truncate(before + read.as_ref().map_or(0, |bytes| *bytes));
        match read {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let (now, mut taken) = (Instant::now(), 0);
        while let Some((reply, bytes)) = Reply::read(&self.inbox[taken..])? {
            let sent_at = self.sent_at.pop_front().ok_or(OpenLoopError::Unasked)?;
            if let Some(away) = account.take(&reply, now - sent_at) {
                self.away_until = now + away;
            }
            taken += bytes;
        }
        self.inbox.drain(..taken);
        Ok(())
    }
}
