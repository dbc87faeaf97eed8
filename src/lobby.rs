//! The lobby: who connects while the logs are replayed is let in, heard, and handed to a shard when
//! there is one.
//!
//! It is a list of connections that the accepting thread polls beside its listener. What is said to
//! them is decided by [`Arrival`]; here are only the sockets. They stay as they came, blocking, for
//! the shard that gets them: each call says for itself that it must not wait. A connection whose
//! next command needs a shard is not polled any more, so it costs nothing however long it waits.
//!
//! What bounds it: connections by `connections_max`, and each by what [`Arrival`] reads and keeps.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::recovery::Recovery;
use crate::server::{Arrival, Control, EdgeDoor, Permit};

/// See the top of the file.
#[derive(Debug)]
pub struct Lobby {
    recovery: Arc<Recovery>,
    edge: EdgeDoor,
    guests: Vec<Guest>,
}

#[derive(Debug)]
struct Guest {
    socket: OwnedFd,
    arrival: Box<Arrival>,
    permit: Permit,
}

impl Lobby {
    pub fn new(recovery: Arc<Recovery>, edge: EdgeDoor) -> Self {
        Self { recovery, edge, guests: Vec::new() }
    }

    pub fn receive(&mut self, socket: OwnedFd, arrival: Box<Arrival>, permit: Permit) {
        self.guests.push(Guest { socket, arrival, permit });
    }

    /// Which guests have something to wait for, by position, and what.
    pub fn waits(&self) -> impl Iterator<Item = (usize, PollFd<'_>)> {
        self.guests.iter().enumerate().filter_map(|(nth, guest)| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, guest.arrival.reads());
            flags.set(PollFlags::OUT, !guest.arrival.unsent().is_empty());
            (!flags.is_empty()).then(|| (nth, PollFd::new(&guest.socket, flags)))
        })
    }

    /// Hears and answers the guests at these ascending positions; those who left are forgotten, and
    /// those who speak HTTP are at the edge from then on.
    pub fn attend(&mut self, ready: &[usize]) {
        for &nth in ready.iter().rev() {
            let guest = &mut self.guests[nth];
            let mut goes_on = guest.attend(&self.recovery);
            if goes_on && guest.arrival.is_http() {
                match &self.edge {
                    Some(edge) => {
                        let Guest { socket, arrival, permit } = self.guests.swap_remove(nth);
                        // An edge that has gone takes the daemon with it.
                        let _ = edge.send(arrival.into_visitor(socket, permit));
                        continue;
                    }
                    None if !guest.arrival.has_http_head() => {}
                    None => {
                        guest.arrival.refuse_http();
                        goes_on = guest.write(&self.recovery);
                    }
                }
            }
            if !goes_on {
                self.guests.swap_remove(nth);
            }
        }
    }

    /// Deals the guests to the shards, with everything they are owed.
    pub fn hand_over(self, shards: &[flume::Sender<Control>]) {
        for Guest { socket, arrival, permit } in self.guests {
            deal(shards, socket, arrival, permit);
        }
    }
}

/// Hands a connection to the next shard in turn.
pub fn deal(
    shards: &[flume::Sender<Control>],
    socket: OwnedFd,
    arrival: Box<Arrival>,
    permit: Permit,
) {
    let nth = usize::try_from(arrival.connection()).unwrap_or(0) % shards.len();
    // A shard that has gone takes the daemon with it; there is nobody left to tell.
    let _ = shards[nth].send(Control::Connect { socket: socket.into(), arrival, permit });
}

impl Guest {
    /// Reads what is there and writes what can be written; whether the connection goes on.
    fn attend(&mut self, recovery: &Recovery) -> bool {
        self.write(recovery) && self.read(recovery) && self.write(recovery)
    }

    fn read(&mut self, recovery: &Recovery) -> bool {
        let Some(room) = self.arrival.offer() else { return true };
        match recv(&self.socket, &mut *room, RecvFlags::DONTWAIT) {
            Ok((0, _)) => self.arrival.finish(),
            Ok((bytes, _)) => self.arrival.answer(bytes, recovery),
            Err(Errno::AGAIN | Errno::INTR) => self.arrival.answer(0, recovery),
            Err(_) => return false,
        }
        true
    }

    fn write(&mut self, recovery: &Recovery) -> bool {
        if !self.arrival.unsent().is_empty() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match send(&self.socket, self.arrival.unsent(), flags) {
                Ok(bytes) => self.arrival.sent(bytes, recovery),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => return false,
            }
        }
        !self.arrival.is_over()
    }
}
