//! `engram reinforce`, `engram pin`, `engram unpin`: how an episode is to be remembered.

use clap::Args;
use redis::Value;

use crate::cli::Context;
use crate::error::ToolError;
use crate::render;
use crate::reply;

/// Which episode is meant.
#[derive(Debug, Args)]
pub(crate) struct Episode {
    /// The memory space
    space: String,
    /// The episode's id
    id: String,
}

impl Episode {
    pub(crate) fn reinforce(&self, context: &Context) -> Result<(), ToolError> {
        self.change(context, "EG.REINFORCE", "reinforced")
    }

    pub(crate) fn pin(&self, context: &Context) -> Result<(), ToolError> {
        self.change(context, "EG.PIN", "pinned")
    }

    pub(crate) fn unpin(&self, context: &Context) -> Result<(), ToolError> {
        self.change(context, "EG.UNPIN", "unpinned")
    }

    fn change(&self, context: &Context, command: &str, done: &str) -> Result<(), ToolError> {
        let reply = context.connect()?.call(redis::cmd(command).arg(&self.space).arg(&self.id))?;
        if matches!(reply, Value::Nil) {
            return Err(ToolError::no_episode(&self.id, &self.space));
        }
        if context.json {
            return render::print_json(&reply::to_json(&reply));
        }
        let json = reply::to_json(&reply);
        let strength = &json["strength"];
        let (retention, presentations) = (&strength["retention"], &strength["presentations"]);
        render::print(&format!(
            "{done} '{}' in '{}' (presented {presentations} times, retention {:.3})",
            self.id,
            self.space,
            retention.as_f64().unwrap_or_default()
        ))
    }
}
