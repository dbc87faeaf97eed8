//! A client that offers more than a daemon takes, and keeps account of all of it.
//!
//! Stores are due at an even rate, or whenever fewer than so many are under way. What is due is
//! sent, or it is *held back* and counted as that: by the socket, when the daemon reads no more of
//! it, or by the hint of a refusal, where hints are honoured. Nothing is kept for later, so the
//! client cannot fall behind: what it measures of accepted work is the daemon's doing. Latency
//! counts from the send. One thread serves all connections; episodes come from a ring of commands
//! that are made ahead, and replace each other.

use std::collections::BTreeMap;
use std::io;
use std::ops::AddAssign;
use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use thiserror::Error;

use crate::pipe::{self, Pipe, PipeError};
use crate::random::Random;
use crate::resp::{Reply, push_command};

/// Moments at which something is due, per second.
const WAKES_PER_S_MAX: u32 = 2000;
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// How long the client waits for the next reply at the end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);
/// What counts of one look at the sockets: whoever was stopped meanwhile has not waited.
const LOOK_MAX: Duration = Duration::from_millis(50);
const TEXT: &str = "What was said, in about as many words as people use at once.";

#[derive(Debug, Error)]
pub enum OverloadError {
    #[error(transparent)]
    Pipe(#[from] PipeError),
    #[error("{missing} replies are missing; none came for {} s", DRAIN_TIMEOUT.as_secs())]
    Missing { missing: u64 },
}

/// How much is offered.
#[derive(Debug, Clone, Copy)]
pub enum Offer {
    /// Stores per second, whatever comes back.
    PerS(u32),
    /// So many under way on each connection, but for those that a hint keeps away.
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
    /// What is under way has when it was sent for a note.
    pipe: Pipe<Instant>,
    /// The socket did not take all of what was to be sent.
    is_behind: bool,
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
        let connect = |_| {
            let pipe = Pipe::connect(target.socket)?;
            Ok(Connection { pipe, is_behind: false, away_until: Instant::now() })
        };
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
    pub fn offer(&mut self, offer: Offer, duration: Duration) -> Result<Account, OverloadError> {
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
    pub fn drain(&mut self) -> Result<Account, OverloadError> {
        let began = Instant::now();
        let (mut account, mut waited) = (Account::default(), Duration::ZERO);
        loop {
            let missing = self.under_way();
            if missing == 0 {
                account.elapsed = began.elapsed();
                return Ok(account);
            }
            if waited >= DRAIN_TIMEOUT {
                return Err(OverloadError::Missing { missing });
            }
            let looked = Instant::now();
            self.exchange(&mut account)?;
            let has_come = self.under_way() < missing;
            waited =
                if has_come { Duration::ZERO } else { waited + looked.elapsed().min(LOOK_MAX) };
        }
    }

    /// Stores that were sent and not answered.
    pub fn under_way(&self) -> u64 {
        pipe::owed(self.connections.iter().map(|connection| &connection.pipe))
    }

    fn send_due(&mut self, count: u64, account: &mut Account) {
        let now = Instant::now();
        for _ in 0..count {
            self.turn = (self.turn + 1) % self.connections.len();
            let connection = &mut self.connections[self.turn];
            if self.honours_hints && now < connection.away_until {
                account.held_by_hint += 1;
            } else if connection.is_behind {
                account.held_by_socket += 1;
            } else {
                connection.pipe.push_made(&self.commands[self.next], now);
                self.next = (self.next + 1) % self.commands.len();
            }
        }
    }

    fn fill_up(&mut self, count: usize) {
        let now = Instant::now();
        let honours_hints = self.honours_hints;
        let is_there =
            |connection: &&mut Connection| !honours_hints || now >= connection.away_until;
        for connection in self.connections.iter_mut().filter(is_there) {
            while connection.pipe.owed() < count && !connection.is_behind {
                connection.pipe.push_made(&self.commands[self.next], now);
                self.next = (self.next + 1) % self.commands.len();
            }
        }
    }

    /// Sends, waits a little for something to arrive, takes it.
    fn exchange(&mut self, account: &mut Account) -> Result<(), PipeError> {
        for connection in &mut self.connections {
            connection.pipe.flush()?;
            connection.is_behind = connection.pipe.unsent_bytes() > 0;
        }
        let pipes = self.connections.iter().map(|connection| &connection.pipe);
        pipe::wait(pipes, Duration::from_secs(1) / WAKES_PER_S_MAX)?;
        for Connection { pipe, away_until, .. } in &mut self.connections {
            if pipe.owed() == 0 {
                continue;
            }
            let mut now = None;
            pipe.receive(|sent_at, reply| {
                let now = *now.get_or_insert_with(Instant::now);
                if let Some(away) = account.take(reply, now - sent_at) {
                    *away_until = now + away;
                }
            })?;
        }
        Ok(())
    }
}
