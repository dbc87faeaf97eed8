//! `engram stats`: the daemon's counters and latencies.

use clap::Args;

use crate::cli::Context;
use crate::error::ToolError;
use crate::render;
use crate::reply;

#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// Only this memory space
    space: Option<String>,
}

impl Stats {
    pub(crate) fn run(&self, context: &Context) -> Result<(), ToolError> {
        let mut command = redis::cmd("EG.STATS");
        if let Some(space) = &self.space {
            command.arg(space);
        }
        let reply = context.connect()?.call(&command)?;
        if context.json {
            render::print_json(&reply::to_json(&reply))
        } else {
            render::print(&render::outline(reply))
        }
    }
}
