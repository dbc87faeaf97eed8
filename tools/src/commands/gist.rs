//! `engram gist`: what the episodes that fit a cue have in common.

use clap::Args;
use redis::{Cmd, Value};

use crate::cli::Context;
use crate::commands::cues::Cues;
use crate::commands::options::{Conditions, push};
use crate::error::ToolError;
use crate::render::{self, Align};
use crate::reply;
use crate::time;

/// Columns of the id of a medoid.
const ID_COLUMNS: usize = 36;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  engram gist notes --text 'holidays' -k 3\n  \
    engram gist notes --id trip-7 --among 128 --alike 0.7")]
pub(crate) struct Gist {
    /// The memory space
    space: String,
    #[command(flatten)]
    cues: Cues,
    /// Gists wanted
    #[arg(short, long, default_value_t = 5)]
    k: usize,
    /// How many of the best episodes are put together; 64 when left out
    #[arg(long, value_name = "N")]
    among: Option<usize>,
    /// How similar two groups must be on average to become one; 0.6 when left out
    #[arg(long, value_name = "SIMILARITY", allow_hyphen_values = true)]
    alike: Option<f32>,
    /// Compare with every episode, never approximate
    #[arg(long)]
    exact: bool,
    #[command(flatten)]
    conditions: Conditions,
}

impl Gist {
    pub(crate) fn run(&self, context: &Context) -> Result<(), ToolError> {
        let reply = context.connect()?.call(&self.command()?)?;
        if context.json {
            return render::print_json(&reply::to_json(&reply));
        }
        let gists = reply::array(reply, "EG.GIST")?;
        if gists.is_empty() {
            return render::print(&format!("nothing alike in '{}' matches", self.space));
        }
        let header = [
            ("#", Align::Right),
            ("episodes", Align::Right),
            ("sure", Align::Right),
            ("from (UTC)", Align::Left),
            ("until (UTC)", Align::Left),
            ("medoid", Align::Left),
            ("text", Align::Left),
        ];
        let rows: Vec<Vec<String>> = gists.into_iter().enumerate().map(row).collect();
        render::print(&render::table(&header, &rows, render::terminal_width()))
    }

    fn command(&self) -> Result<Cmd, ToolError> {
        let mut command = redis::cmd("EG.GIST");
        command.arg(&self.space).arg("K").arg(self.k);
        self.cues.add_to(&mut command, "a gist")?;
        push(&mut command, "AMONG", self.among);
        push(&mut command, "ALIKE", self.alike);
        if self.exact {
            command.arg("EXACT");
        }
        self.conditions.add_to(&mut command);
        command.arg("WITH").arg("text");
        Ok(command)
    }
}

/// A line of the table.
fn row((nth, gist): (usize, Value)) -> Vec<String> {
    let entries = reply::entries(gist).unwrap_or_default();
    let entry = |wanted: &str| reply::entry(&entries, wanted);
    let sources = match entry("sources") {
        Some(Value::Array(sources)) => &sources[..],
        _ => &[],
    };
    let medoid = sources.first().and_then(|first| reply::entries(first.clone()));
    let medoid = medoid.and_then(|entries| reply::entry(&entries, "id").and_then(reply::text));
    let medoid = medoid.unwrap_or_default();
    let sure = match entry("confidence") {
        Some(Value::Array(parts)) => parts.first().and_then(reply::number),
        _ => None,
    };
    let at = |key| entry(key).and_then(reply::integer).map(time::format_us).unwrap_or_default();
    vec![
        (nth + 1).to_string(),
        sources.len().to_string(),
        sure.map_or_else(String::new, |sure| format!("{sure:.2}")),
        at("since"),
        at("until"),
        render::snippet(&medoid, ID_COLUMNS),
        entry("text").and_then(reply::text).unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_how_many_when_and_which_stands_for_them() {
        let text = |text: &str| Value::BulkString(text.into());
        let map = |entries: Vec<(&str, Value)>| {
            Value::Map(entries.into_iter().map(|(key, value)| (text(key), value)).collect())
        };
        let source = |id| map(vec![("id", text(id)), ("similarity", Value::Double(0.5))]);
        let numbers = [0.75, 0.5, 1.0].map(Value::Double).to_vec();
        let gist = map(vec![
            ("score", Value::Double(0.9)),
            ("confidence", Value::Array(numbers)),
            ("since", Value::Int(0)),
            ("until", Value::Int(1_000_000)),
            ("text", text("tea at five")),
            ("sources", Value::Array(vec![source("tea-1"), source("tea-2")])),
        ]);
        let row = row((0, gist));
        assert_eq!(
            (&row[..3], &row[5..]),
            (
                &["1", "2", "0.75"].map(str::to_owned)[..],
                &["tea-1", "tea at five"].map(str::to_owned)[..]
            )
        );
        assert!(row[3] < row[4] && row[3].starts_with("1970-01-01"), "{row:?}");
    }
}
