//! The command line: global options and the list of commands.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::client::Client;
use crate::commands::{
    complete, forget, get, gist, link, ping, recall, space, spread, stats, store, strength,
    supersede, timings, topology, watch,
};
use crate::error::ToolError;
use crate::{audit, eval, export, import, inspect, load, restore};

/// Client of the Engram memory daemon: store, recall, move and measure episodes
#[derive(Debug, Parser)]
#[command(name = "engram", version, max_term_width = 100, propagate_version = true)]
#[command(after_help = "Exit codes: 0 done, 1 refused by the daemon or not verified, 2 wrong \
    arguments or files, 3 the daemon cannot be reached.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    context: Context,
    #[command(subcommand)]
    command: Command,
}

/// What every command needs.
#[derive(Debug, clap::Args)]
pub(crate) struct Context {
    /// The daemon's socket
    #[arg(long, global = true, env = "ENGRAM_SOCKET", value_name = "PATH")]
    #[arg(default_value = "/run/engramd/engramd.sock")]
    pub(crate) socket: PathBuf,
    /// Print one JSON document instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// How long to wait for a reply
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 30)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout_seconds: u64,
}

impl Context {
    pub(crate) fn connect(&self) -> Result<Client, ToolError> {
        Client::connect(&self.socket, self.timeout())
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check that the daemon answers
    Ping(ping::Ping),
    /// Create, list, describe and drop memory spaces
    Space(space::Space),
    /// Store one episode
    Store(store::Store),
    /// Recall the episodes nearest to a cue
    Recall(recall::Recall),
    /// Find the episodes most associated with some others
    Spread(spread::Spread),
    /// Complete a partial vector by what it brings to mind
    Complete(complete::Complete),
    /// Show what the episodes that fit a cue have in common
    Gist(gist::Gist),
    /// Read one episode
    Get(get::Get),
    /// Say that an episode takes the place of another
    Supersede(supersede::Supersede),
    /// Link an episode to another
    Link(link::Link),
    /// Remove links from an episode to another
    Unlink(link::Unlink),
    /// Strengthen an episode: one more presentation
    Reinforce(strength::Episode),
    /// Keep an episode from fading
    Pin(strength::Episode),
    /// Let an episode fade again
    Unpin(strength::Episode),
    /// Forget one episode
    Forget(forget::Forget),
    /// Print new episodes of a memory space as they are stored, until Ctrl-C
    Watch(watch::Watch),
    /// Store the episodes of a JSONL file
    Import(import::Import),
    /// Write all episodes of a memory space as JSONL
    Export(export::Export),
    /// Show what a memory space consists of, and what of it is needless
    Audit(audit::Audit),
    /// Show the daemon's counters and latencies
    Stats(stats::Stats),
    /// Show the commands that were slow, and where their time went
    Slowlog(timings::Slowlog),
    /// Show how long commands and their stages take
    Latency(timings::Latency),
    /// Generate load and measure latency
    Load(Box<load::Load>),
    /// Measure how well questions find what answers them, beside textbook ways to do it
    Eval(Box<eval::Eval>),
    /// Copy the store into a folder, while the daemon works on it
    Snapshot(restore::Snapshot),
    /// Make a data directory of a snapshot, without the daemon
    Restore(restore::Restore),
    /// Read a data directory without the daemon
    Inspect(inspect::Inspect),
    /// Show the machine's memory nodes, cores and caches, and where shards run
    Topology(topology::Show),
}

impl Arguments {
    pub(crate) fn run(&self) -> Result<(), ToolError> {
        let context = &self.context;
        match &self.command {
            Command::Ping(ping) => ping.run(context),
            Command::Space(space) => space.run(context),
            Command::Store(store) => store.run(context),
            Command::Recall(recall) => recall.run(context),
            Command::Spread(spread) => spread.run(context),
            Command::Complete(complete) => complete.run(context),
            Command::Gist(gist) => gist.run(context),
            Command::Get(get) => get.run(context),
            Command::Supersede(supersede) => supersede.run(context),
            Command::Link(link) => link.run(context),
            Command::Unlink(unlink) => unlink.run(context),
            Command::Reinforce(episode) => episode.reinforce(context),
            Command::Pin(episode) => episode.pin(context),
            Command::Unpin(episode) => episode.unpin(context),
            Command::Forget(forget) => forget.run(context),
            Command::Watch(watch) => watch.run(context),
            Command::Import(import) => import.run(context),
            Command::Export(export) => export.run(context),
            Command::Audit(audit) => audit.run(context),
            Command::Stats(stats) => stats.run(context),
            Command::Slowlog(slowlog) => slowlog.run(context),
            Command::Latency(latency) => latency.run(context),
            Command::Load(load) => load.run(context),
            Command::Eval(eval) => eval.run(context),
            Command::Snapshot(snapshot) => snapshot.run(context),
            Command::Restore(restore) => restore.run(context),
            Command::Inspect(inspect) => inspect.run(context),
            Command::Topology(show) => show.run(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }
}
