//! Links beyond those that a store takes: made one by one, when their episode is stored.
//!
//! They go over a connection of their own, so that their replies do not mix with those of batches.
//! Making a link twice does no harm: whatever goes wrong, all of an episode are sent again.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use engram_shards::limits::LINKS_MAX;

use super::worker::{BUSY_PAUSE_MIN, retry_hint};
use crate::client::Client;
use crate::document::{Episode, Link};
use crate::error::ToolError;
use crate::pack::Arguments;

/// Links that are sent before their replies are read.
const LINKS_IN_FLIGHT: usize = 512;

/// Takes the links out of an episode that its store has no room for.
pub(super) fn split_off(episode: &mut Episode) -> Vec<Link> {
    episode.links.split_off(episode.links.len().min(LINKS_MAX))
}

/// A connection for links, once there are any.
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
    /// Makes the links of an episode.
    pub(super) fn link(
        &mut self,
        daemon: Daemon<'_>,
        (space, id): (&str, &str),
        links: &[Link],
    ) -> Result<(), ToolError> {
        let start = Instant::now();
        loop {
            let pause = match self.try_link(daemon, (space, id), links) {
                Err(ToolError::Refused { code, message }) if code == "BUSY" => retry_hint(&message),
                Err(error) if error.is_disconnect() => BUSY_PAUSE_MIN,
                result => return result,
            };
            // Replies of the failed attempt may still come.
            self.client = None;
            if start.elapsed() > daemon.patience {
                return self.try_link(daemon, (space, id), links);
            }
            thread::sleep(pause);
        }
    }

    fn try_link(
        &mut self,
        daemon: Daemon<'_>,
        (space, id): (&str, &str),
        links: &[Link],
    ) -> Result<(), ToolError> {
        let client = match &mut self.client {
            Some(client) => client,
            none => none.insert(Client::connect(daemon.socket, daemon.timeout)?),
        };
        for links in links.chunks(LINKS_IN_FLIGHT) {
            let commands: Vec<u8> =
                links.iter().flat_map(|link| command(space, id, link)).collect();
            client.send(&commands)?;
            for _ in links {
                client.receive()?;
            }
        }
        Ok(())
    }
}

fn command(space: &str, id: &str, link: &Link) -> Vec<u8> {
    let mut arguments = Arguments::default();
    arguments.push(b"EG.LINK").push(space.as_bytes()).push(id.as_bytes());
    arguments.push(link.id.as_bytes()).push_display(link.weight);
    if !link.kind.is_empty() {
        arguments.push(b"KIND").push(link.kind.as_bytes());
    }
    arguments.into_command()
}
