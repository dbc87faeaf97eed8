//! `engram link`, `engram unlink`: associations between episodes.

use clap::Args;
use redis::Value;

use crate::cli::Context;
use crate::error::ToolError;
use crate::render;
use crate::reply;

/// Which associations are meant.
#[derive(Debug, Args)]
struct Ends {
    /// The memory space
    space: String,
    /// The id of the episode that is linked
    from: String,
    /// The id of what it is linked to
    to: String,
}

/// What kind they are, and whether both ways.
#[derive(Debug, Args)]
struct Options {
    /// The kind of association, such as 'hypernym'
    #[arg(long)]
    kind: Option<String>,
    /// The same the other way round
    #[arg(long)]
    mutual: bool,
}

impl Options {
    fn add_to(&self, command: &mut redis::Cmd) {
        if let Some(kind) = &self.kind {
            command.arg("KIND").arg(kind);
        }
        if self.mutual {
            command.arg("MUTUAL");
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Link {
    #[command(flatten)]
    ends: Ends,
    /// How strong the association is: greater than 0
    #[arg(allow_hyphen_values = true)]
    weight: f32,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Args)]
pub(crate) struct Unlink {
    #[command(flatten)]
    ends: Ends,
    #[command(flatten)]
    options: Options,
}

impl Link {
    pub(crate) fn run(&self, context: &Context) -> Result<(), ToolError> {
        let Ends { space, from, to } = &self.ends;
        let mut command = redis::cmd("EG.LINK");
        command.arg(space).arg(from).arg(to).arg(self.weight.to_string());
        self.options.add_to(&mut command);
        let reply = context.connect()?.call(&command)?;
        if context.json {
            return render::print_json(&reply::to_json(&reply));
        }
        let (outcome, links) = (entry(&reply, "outcome"), entry(&reply, "links"));
        render::print(&format!("{outcome} '{from}' → '{to}' in '{space}' ({links} links)"))
    }
}

impl Unlink {
    pub(crate) fn run(&self, context: &Context) -> Result<(), ToolError> {
        let Ends { space, from, to } = &self.ends;
        let mut command = redis::cmd("EG.UNLINK");
        command.arg(space).arg(from).arg(to);
        self.options.add_to(&mut command);
        let reply = context.connect()?.call(&command)?;
        if matches!(reply, Value::Nil) {
            return Err(ToolError::no_episode(from, space));
        }
        if context.json {
            return render::print_json(&reply::to_json(&reply));
        }
        let removed = entry(&reply, "removed");
        render::print(&format!("removed {removed} of '{from}' → '{to}' in '{space}'"))
    }
}

/// A value of the reply as text; '?' when it is not there.
fn entry(reply: &Value, wanted: &str) -> String {
    let entries = reply::entries(reply.clone()).unwrap_or_default();
    let found = reply::entry(&entries, wanted).and_then(reply::text);
    found.unwrap_or_else(|| "?".to_owned())
}
