//! What a store does not take: links beyond its bound, and what superseded the episode. It is
//! sent, a command each, when the episode is stored.
//!
//! It goes over a connection of its own, so that its replies do not mix with those of batches.
//! Twice does no harm: whatever goes wrong, all of an episode is sent again.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use engram_shards::limits::LINKS_MAX;

use super::worker::{BUSY_PAUSE_MIN, retry_hint};
use crate::client::Client;
use crate::document::{Episode, Link, Superseded};
use crate::error::ToolError;
use crate::pack::Arguments;

/// Commands that are sent before their replies are read.
const IN_FLIGHT: usize = 512;

/// Takes the links out of an episode that its store has no room for.
pub(super) fn split_off(episode: &mut Episode) -> Vec<Link> {
    episode.links.split_off(episode.links.len().min(LINKS_MAX))
}

/// A connection for that, once there is any.
#[derive(Debug, Default)]
pub(super) struct Linking {
    client: Option<Client>,
}

/// Whom to ask, and for how long while it is busy or away.
#[derive(Debug, Clone, Copy)]
pub(super) struct Daemon<'a> {
    pub(super) socket: &'a Path,
    pub(super) timeout: Duration,
    pub(super) patience: Duration,
}

impl Linking {
    /// Carries out the commands that follow the store of an episode.
    pub(super) fn follow(
        &mut self,
        daemon: Daemon<'_>,
        commands: &[Vec<u8>],
    ) -> Result<(), ToolError> {
        let start = Instant::now();
        loop {
            let pause = match self.try_follow(daemon, commands) {
                Err(ToolError::Refused { code, message }) if code == "BUSY" => retry_hint(&message),
                Err(error) if error.is_disconnect() => BUSY_PAUSE_MIN,
                result => return result,
            };
            // Replies of the failed attempt may still come.
            self.client = None;
            if start.elapsed() > daemon.patience {
                return self.try_follow(daemon, commands);
            }
            thread::sleep(pause);
        }
    }

    fn try_follow(&mut self, daemon: Daemon<'_>, commands: &[Vec<u8>]) -> Result<(), ToolError> {
        let client = match &mut self.client {
            Some(client) => client,
            none => none.insert(Client::connect(daemon.socket, daemon.timeout)?),
        };
        for commands in commands.chunks(IN_FLIGHT) {
            client.send(&commands.concat())?;
            for _ in commands {
                client.receive()?;
            }
        }
        Ok(())
    }
}

/// The command that says what superseded an episode.
pub(super) fn supersede(space: &str, id: &str, superseded: &Superseded) -> Vec<u8> {
    let mut arguments = Arguments::default();
    arguments.push(b"EG.SUPERSEDE").push(space.as_bytes()).push(id.as_bytes());
    arguments.push(b"BY").push(superseded.by.as_bytes());
    arguments.push(b"AT").push_display(superseded.valid_until_us);
    arguments.into_command()
}

/// The command that makes a link of an episode.
pub(super) fn link(space: &str, id: &str, link: &Link) -> Vec<u8> {
    let mut arguments = Arguments::default();
    arguments.push(b"EG.LINK").push(space.as_bytes()).push(id.as_bytes());
    arguments.push(link.id.as_bytes()).push_display(link.weight);
    if !link.kind.is_empty() {
        arguments.push(b"KIND").push(link.kind.as_bytes());
    }
    arguments.into_command()
}
