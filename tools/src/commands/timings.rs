//! `engram slowlog` and `engram latency`: what took long.

use clap::Args;
use redis::{Cmd, Value};

use crate::cli::Context;
use crate::error::ToolError;
use crate::render::{self, Align};
use crate::reply;
use crate::time;

/// Columns of the name of a client; a longer one is shortened, --json shows it in full.
const CLIENT_COLUMNS: usize = 16;

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
        Value::Array(_) => render::print(&slow_table(reply, render::terminal_width())?),
        Value::Map(entries) if entries.is_empty() => render::print("nothing of that was timed"),
        _ => render::print(&render::outline(reply)),
    }
}

/// A line for each command that was slow: when, how long, and where the time went.
fn slow_table(slow: Value, width: usize) -> Result<String, ToolError> {
    let header = [
        ("when (UTC)", Align::Left),
        ("ms", Align::Right),
        ("queued", Align::Right),
        ("worked", Align::Right),
        ("log", Align::Right),
        ("client", Align::Left),
        ("command", Align::Left),
    ];
    let rows: Vec<Vec<String>> =
        reply::array(slow, "EG.SLOWLOG")?.into_iter().map(|entry| slow_row(&entry)).collect();
    Ok(render::table(&header, &rows, width))
}

fn slow_row(entry: &Value) -> Vec<String> {
    let entry = reply::to_json(entry);
    let number = |of: &serde_json::Value, key: &str| of[key].as_i64().unwrap_or_default();
    let ms = |key: &str| match number(&entry, key) {
        0 => String::new(),
        us => format!("{:.1}", us as f64 / 1e3),
    };
    let client = &entry["client"];
    let words = entry["command"].as_array().into_iter().flatten();
    let words: Vec<&str> = words.filter_map(serde_json::Value::as_str).collect();
    vec![
        time::format_us(number(&entry, "at")),
        ms("duration_us"),
        ms("queued_us"),
        ms("worked_us"),
        ms("log_us"),
        match client["name"].as_str() {
            None | Some("") => format!("#{}", number(client, "connection")),
            Some(name) => render::snippet(name, CLIENT_COLUMNS),
        },
        words.join(" "),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn map(entries: &[(&str, Value)]) -> Value {
        Value::Map(entries.iter().map(|(key, value)| (text(key), value.clone())).collect())
    }

    #[test]
    fn a_slow_command_is_a_line() {
        let entry = |connection: i64, name: &str, words: &[&str], worked_us: i64, log_us: i64| {
            map(&[
                ("id", Value::Int(7)),
                ("at", Value::Int(1_500_000)),
                ("name", text("eg.store")),
                ("command", Value::Array(words.iter().map(|word| text(word)).collect())),
                ("duration_us", Value::Int(worked_us + log_us + 200)),
                ("queued_us", Value::Int(200)),
                ("worked_us", Value::Int(worked_us)),
                ("log_us", Value::Int(log_us)),
                ("client", map(&[("connection", Value::Int(connection)), ("name", text(name))])),
            ])
        };
        let slow = Value::Array(vec![
            entry(3, "importer", &["EG.STORE", "notes", "(3 bytes)", "VEC", "(9 bytes)"], 0, 9_800),
            entry(12, "", &["EG.RECALL", "notes", "K", "10"], 61_000, 0),
        ]);
        let table = slow_table(slow, 90).unwrap();
        assert_eq!(
            table,
            "when (UTC)             ms  queued  worked  log  client    command\n\
             1970-01-01 00:00:01  10.0     0.2          9.8  importer  EG.STORE notes (3 bytes) \
             VEC (9…\n\
             1970-01-01 00:00:01  61.2     0.2    61.0       #12       EG.RECALL notes K 10"
        );
    }
}
