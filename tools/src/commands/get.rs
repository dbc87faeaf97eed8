//! `engram get`: one episode in full.

use clap::Args;
use redis::Value;

use crate::cli::Context;
use crate::commands::options::{Part, push, push_parts, stored_parts};
use crate::error::ToolError;
use crate::render;
use crate::reply;
use crate::time;

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// The memory space
    space: String,
    /// The episode's id
    id: String,
    /// As it was known at this time (microseconds or RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = time::parse_us, allow_hyphen_values = true)]
    as_of: Option<i64>,
    /// Parts to answer with
    #[arg(long, value_name = "PART", value_delimiter = ',', default_value = "text,meta,links")]
    #[arg(value_parser = stored_parts())]
    with: Vec<Part>,
}

impl Get {
    pub(crate) fn run(&self, context: &Context) -> Result<(), ToolError> {
        let mut command = redis::cmd("EG.GET");
        command.arg(&self.space).arg(&self.id);
        push(&mut command, "ASOF", self.as_of);
        push_parts(&mut command, &self.with);
        let reply = context.connect()?.call(&command)?;
        if matches!(reply, Value::Nil) {
            return Err(ToolError::no_episode(&self.id, &self.space));
        }
        if context.json {
            return render::print_json(&reply::to_json(&reply));
        }
        let entries = reply::entries(reply).ok_or_else(|| ToolError::Reply {
            command: "EG.GET",
            reason: "an episode is no map".into(),
        })?;
        let readable = entries.into_iter().map(named);
        render::print(&render::outline(Value::Map(readable.collect())))
    }
}

/// Times as dates, the vector as its dimensions.
fn readable(key: &str, value: Value) -> Value {
    match key {
        "happened_at" | "recorded_at" | "last_presented_at" | "valid_until" | "expires_at" => {
            match reply::integer(&value) {
                Some(us) => Value::SimpleString(format!("{} UTC", time::format_us(us))),
                None => value,
            }
        }
        "vec" => match &value {
            Value::BulkString(bytes) => Value::SimpleString(format!(
                "{} dimensions (--json shows them)",
                bytes.len() / size_of::<f32>()
            )),
            _ => value,
        },
        "strength" => match reply::entries(value) {
            Some(entries) => Value::Map(entries.into_iter().map(named).collect()),
            None => Value::Nil,
        },
        _ => value,
    }
}

fn named((key, value): (String, Value)) -> (Value, Value) {
    let value = readable(&key, value);
    (Value::SimpleString(key), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates() {
        let text = |text: &str| Value::SimpleString(text.into());
        for key in ["happened_at", "recorded_at", "last_presented_at", "valid_until", "expires_at"]
        {
            assert_eq!(
                readable(key, Value::Int(1_500_000)),
                text("1970-01-01 00:00:01 UTC"),
                "{key}"
            );
        }
        assert_eq!(readable("seq", Value::Int(7)), Value::Int(7));
        let strength = Value::Map(vec![(text("last_presented_at"), Value::Int(0))]);
        let shown = vec![(text("last_presented_at"), text("1970-01-01 00:00:00 UTC"))];
        assert_eq!(readable("strength", strength), Value::Map(shown));
    }
}
