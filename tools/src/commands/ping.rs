//! `engram ping`: does the daemon answer, and how fast.

use std::time::Instant;

use clap::Args;
use serde_json::json;

use crate::cli::Context;
use crate::error::ToolError;
use crate::render;

#[derive(Debug, Args)]
pub(crate) struct Ping;

impl Ping {
    pub(crate) fn run(&self, context: &Context) -> Result<(), ToolError> {
        let mut client = context.connect()?;
        let ping = redis::cmd("PING");
        // The first round trip pays for the connection's setup on both sides.
        client.call(&ping)?;
        let start = Instant::now();
        client.call(&ping)?;
        let latency_us = start.elapsed().as_nanos() as f64 / 1e3;
        let socket = context.socket.display();
        if context.json {
            let answer = json!({ "socket": socket.to_string(), "latency_us": latency_us });
            render::print_json(&answer)
        } else {
            render::print(&format!("PONG from {socket} in {latency_us:.0} us"))
        }
    }
}
