//! `engram slowlog` and `engram latency`: what took long.

use clap::Args;
use redis::{Cmd, Value};

use crate::cli::Context;
use crate::error::ToolError;
use crate::render;
use crate::reply;

#[derive(Debug, Args)]
pub(crate) struct Slowlog {
    /// How many, the newest first
    #[arg(long, short = 'n', value_name = "N", default_value_t = 10)]
    count: usize,
    /// Forget them instead
    #[arg(long, conflicts_with = "count")]
    reset: bool,
}

impl Slowlog {
    pub(crate) fn run(&self, context: &Context) -> Result<(), ToolError> {
        let mut command = redis::cmd("EG.SLOWLOG");
        match self.reset {
            true => command.arg("RESET"),
            false => command.arg("GET").arg(self.count),
        };
        show(context, &command)
    }
}

#[derive(Debug, Args)]
pub(crate) struct Latency {
    /// Commands and stages, as eg.recall and commit; all unless given
    names: Vec<String>,
    /// Show how many took at most so many microseconds
    #[arg(long)]
    histogram: bool,
    /// Begin the histograms of commands anew instead
    #[arg(long, conflicts_with = "histogram")]
    reset: bool,
}

impl Latency {
    pub(crate) fn run(&self, context: &Context) -> Result<(), ToolError> {
        let mut command = redis::cmd("EG.LATENCY");
        command.arg(match (self.reset, self.histogram) {
            (true, _) => "RESET",
            (false, true) => "HISTOGRAM",
            (false, false) => "GET",
        });
        show(context, command.arg(&self.names))
    }
}

fn show(context: &Context, command: &Cmd) -> Result<(), ToolError> {
    let reply = context.connect()?.call(command)?;
    if context.json {
        return render::print_json(&reply::to_json(&reply));
    }
    match &reply {
        Value::Array(entries) if entries.is_empty() => render::print("no command was slow"),
        Value::Map(entries) if entries.is_empty() => render::print("nothing of that was timed"),
        _ => render::print(&render::outline(reply)),
    }
}
