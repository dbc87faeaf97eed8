//! `engram complete`: what a partial vector would be if it were whole, and what that rests on.

use clap::Args;
use redis::{Cmd, Value};

use crate::cli::Context;
use crate::commands::hits::{Column, Hits, share, with_bar};
use crate::commands::options::{Conditions, Part, push, push_parts, stored_parts};
use crate::error::ToolError;
use crate::render;
use crate::reply;
use crate::vectors::VectorArguments;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  engram complete notes --vector cues.npy --row 3 \
    --unknown 0-383\n  engram --json complete notes --values '1 0 0' --unknown 1-2")]
pub(crate) struct Complete {
    /// The memory space
    space: String,
    #[command(flatten)]
    vector: VectorArguments,
    /// Dimensions that are not known, from 0; may be repeated
    #[arg(long, value_name = "FIRST-LAST", value_parser = parse_range)]
    unknown: Vec<(usize, usize)>,
    /// Episodes that take part in a round; 64 when left out
    #[arg(short, long)]
    k: Option<usize>,
    /// Rounds at most; 8 when left out
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// How sharply the most similar is preferred; 64 when left out
    #[arg(long)]
    beta: Option<f32>,
    /// Compare with every episode, never approximate
    #[arg(long)]
    exact: bool,
    #[command(flatten)]
    conditions: Conditions,
    /// Parts to answer with
    #[arg(long, value_name = "PART", value_delimiter = ',', default_value = "text")]
    #[arg(value_parser = stored_parts())]
    with: Vec<Part>,
}

impl Complete {
    pub(crate) fn run(&self, context: &Context) -> Result<(), ToolError> {
        let reply = context.connect()?.call(&self.command()?)?;
        if context.json {
            return render::print_json(&reply::to_json(&reply));
        }
        let unreadable =
            |reason: &str| ToolError::Reply { command: "EG.COMPLETE", reason: reason.to_owned() };
        let mut entries = reply::entries(reply).ok_or_else(|| unreadable("it is no map"))?;
        let mut take = |name: &str| {
            let at = entries.iter().position(|(key, _)| key == name);
            at.map(|at| entries.swap_remove(at).1).ok_or_else(|| unreadable("a part is missing"))
        };
        let hits = Hits::read(take("hits")?, "EG.COMPLETE")?;
        let sentence = sentence(&take("rounds")?, &take("settled")?);
        if hits.is_empty() {
            return render::print(&format!("nothing in '{}' comes to mind", self.space));
        }
        let weight: Column<'_> = ("weight", &|hit| with_bar(3, hit.score, 1.0));
        let similarity: Column<'_> = ("similarity", &|hit| share(3, hit.similarity));
        let table = hits.table(&[weight, similarity], &self.with);
        render::print(&format!("{table}\n{sentence}"))
    }

    fn command(&self) -> Result<Cmd, ToolError> {
        let Some(vector) = self.vector.read_blob()? else {
            return Err(ToolError::usage(
                "a completion needs a vector: --vector FILE.npy or --values NUMBERS",
            ));
        };
        let mut command = redis::cmd("EG.COMPLETE");
        command.arg(&self.space).arg("VEC").arg(vector);
        for (first, last) in &self.unknown {
            command.arg("UNKNOWN").arg(first).arg(last);
        }
        push(&mut command, "K", self.k);
        push(&mut command, "ROUNDS", self.rounds);
        push(&mut command, "BETA", self.beta);
        if self.exact {
            command.arg("EXACT");
        }
        self.conditions.add_to(&mut command);
        push_parts(&mut command, &self.with);
        Ok(command)
    }
}

/// How it went.
fn sentence(rounds: &Value, has_settled: &Value) -> String {
    let rounds = reply::integer(rounds).and_then(|own| own.try_into().ok()).unwrap_or_default();
    let rounds = render::plural(rounds, "round");
    match reply::is_true(has_settled) {
        true => format!("settled in {rounds}; --json has the vector"),
        false => format!("not settled in {rounds}; --json has the vector"),
    }
}

fn parse_range(text: &str) -> Result<(usize, usize), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if first <= last => Ok((first, last)),
        _ => Err(format!("'{text}' is no range of dimensions; give FIRST-LAST, from 0")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_documented() {
        assert_eq!(parse_range("0-383"), Ok((0, 383)));
        assert_eq!(parse_range("7"), Ok((7, 7)));
        for text in ["", "-", "3-2", "a-b", "-1"] {
            assert!(parse_range(text).unwrap_err().contains("no range"), "{text}");
        }
    }

    #[test]
    fn how_it_went_is_said() {
        let sentence = |rounds, settled| sentence(&Value::Int(rounds), &settled);
        assert!(sentence(3, Value::Boolean(true)).starts_with("settled in 3 rounds;"));
        assert!(sentence(1, Value::Int(0)).starts_with("not settled in 1 round;"));
    }
}
