//! `engram recall`: the episodes nearest to a cue, as a table.

use clap::Args;
use redis::Cmd;

use crate::cli::Context;
use crate::commands::cues::Cues;
use crate::commands::hits::{Column, Hits, share, with_bar};
use crate::commands::options::{Conditions, Shown, Spreading, push};
use crate::error::ToolError;
use crate::render;
use crate::reply;

#[derive(Debug, Args)]
#[command(mut_group("Spreading", |group| group.requires("spread")))]
#[command(after_help = "Examples:\n  engram recall wordnet --id dog.n -k 5\n  \
    engram recall notes --vector cues.npy --row 3 --since 2026-01-01T00:00:00Z\n  \
    engram recall notes --id trip-7 --filter '{\"place\":\"Naxos\"}' --min-confidence 0.5\n  \
    engram recall notes --id trip-7 --spread --hops 2 --why\n  \
    engram recall notes --text 'What did Anna paint last week?'\n  \
    engram recall notes --id trip-7 --trust writer:anna=0.9 --trust '*=0.3' --min-trust 0.5")]
pub(crate) struct Recall {
    /// The memory space
    space: String,
    #[command(flatten)]
    cues: Cues,
    /// What similarity, the episodes around, named times, strength and confidence count in the
    /// answer to a question; 0.85 1 0.8 0.2 0.5 when left out
    #[arg(long, num_args = 5, requires = "text",
          value_names = ["NEAR", "AROUND", "TIME", "STRENGTH", "CONFIDENCE"])]
    weights: Vec<f32>,
    /// Results wanted
    #[arg(short, long, default_value_t = 10)]
    k: usize,
    #[command(flatten)]
    conditions: Conditions,
    /// Compare with every episode, never approximate
    #[arg(long)]
    exact: bool,
    /// Let the gists that are kept of what is found take part
    #[arg(long)]
    gists: bool,
    /// Do not strengthen what is recalled
    #[arg(long)]
    no_reinforce: bool,
    #[command(flatten)]
    shown: Shown,
    /// Let associations take part: spread from the best
    #[arg(long)]
    spread: bool,
    #[command(flatten)]
    spreading: Spreading,
    /// How many of the best to spread from
    #[arg(long, value_name = "N", requires = "spread")]
    seeds: Option<usize>,
    /// How much activation counts: weight · activation is added to the score
    #[arg(long, requires = "spread")]
    weight: Option<f32>,
}

impl Recall {
    pub(crate) fn run(&self, context: &Context) -> Result<(), ToolError> {
        let command = self.command()?;
        let reply = context.connect()?.call(&command)?;
        if context.json {
            return render::print_json(&reply::to_json(&reply));
        }
        let hits = Hits::read(reply, "EG.RECALL")?;
        if hits.is_empty() {
            return render::print(&format!("nothing in '{}' matches", self.space));
        }
        let best = hits.episodes[0].score.unwrap_or(f64::NAN).max(1.0);
        let score: Column<'_> = ("score", &|hit| with_bar(3, hit.score, best));
        let similarity: Column<'_> = ("similarity", &|hit| share(3, hit.similarity));
        let activation: Column<'_> = ("activation", &|hit| share(5, hit.activation));
        let columns = [score, similarity, activation];
        let columns = if self.spread { &columns[..] } else { &columns[..1] };
        render::print(&hits.table(columns, self.shown.parts()))
    }

    fn command(&self) -> Result<Cmd, ToolError> {
        let mut command = redis::cmd("EG.RECALL");
        command.arg(&self.space).arg("K").arg(self.k);
        self.cues.add_to(&mut command, "a recall")?;
        if !self.weights.is_empty() {
            command.arg("WEIGHTS").arg(&self.weights);
        }
        self.conditions.add_to(&mut command);
        if self.exact {
            command.arg("EXACT");
        }
        if self.no_reinforce {
            command.arg("NOREINFORCE");
        }
        if self.spread {
            command.arg("SPREAD");
        }
        self.spreading.add_to(&mut command);
        push(&mut command, "SEEDS", self.seeds);
        push(&mut command, "WEIGHT", self.weight);
        if self.gists {
            command.arg("GISTS");
        }
        self.shown.add_to(&mut command);
        Ok(command)
    }
}
