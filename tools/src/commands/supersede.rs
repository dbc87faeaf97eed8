//! `engram supersede`: an episode takes the place of another.

use clap::Args;
use redis::Value;

use crate::cli::Context;
use crate::commands::options::push;
use crate::error::ToolError;
use crate::render;
use crate::reply;
use crate::time;

#[derive(Debug, Args)]
pub(crate) struct Supersede {
    /// The memory space
    space: String,
    /// The id of the episode that is valid no longer
    id: String,
    /// The id of the one that takes its place
    by: String,
    /// Since when (microseconds or RFC 3339); since that one happened when left out
    #[arg(long, value_name = "TIME", value_parser = time::parse_us, allow_hyphen_values = true)]
    at: Option<i64>,
}

impl Supersede {
    pub(crate) fn run(&self, context: &Context) -> Result<(), ToolError> {
        let Self { space, id, by, at } = self;
        let mut command = redis::cmd("EG.SUPERSEDE");
        command.arg(space).arg(id).arg("BY").arg(by);
        push(&mut command, "AT", *at);
        let reply = context.connect()?.call(&command)?;
        if matches!(reply, Value::Nil) {
            return Err(ToolError::no_episode(id, space));
        }
        if context.json {
            return render::print_json(&reply::to_json(&reply));
        }
        let entries = reply::entries(reply).unwrap_or_default();
        let outcome = reply::entry(&entries, "outcome").and_then(reply::text).unwrap_or_default();
        render::print(&format!("{outcome} '{id}' by '{by}' in '{space}'"))
    }
}
