//! `engram forget`: hide one episode at once and for good.

use clap::Args;
use redis::Value;

use crate::cli::Context;
use crate::error::ToolError;
use crate::render;
use crate::reply;

#[derive(Debug, Args)]
pub(crate) struct Forget {
    /// The memory space
    space: String,
    /// The episode's id
    id: String,
}

impl Forget {
    pub(crate) fn run(&self, context: &Context) -> Result<(), ToolError> {
        let mut command = redis::cmd("EG.FORGET");
        command.arg(&self.space).arg(&self.id);
        let reply = context.connect()?.call(&command)?;
        if matches!(reply, Value::Nil) {
            return Err(ToolError::no_episode(&self.id, &self.space));
        }
        if context.json {
            render::print_json(&reply::to_json(&reply))
        } else {
            render::print(&format!("forgot '{}' in '{}'", self.id, self.space))
        }
    }
}
