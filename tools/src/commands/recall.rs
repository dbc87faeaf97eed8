//! `engram recall`: the episodes nearest to a cue, as a table.

use clap::{Args, ValueEnum};
use redis::{Cmd, Value};

use crate::cli::Context;
use crate::error::ToolError;
use crate::render::{self, Align};
use crate::reply::{self, EpisodeReply};
use crate::time;
use crate::vectors::VectorArguments;

/// Columns of an id; a longer one is shortened, --json shows it in full.
const ID_COLUMNS: usize = 36;
/// Cells of the bar that shows a score beside its number.
const BAR_CELLS: usize = 10;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  engram recall wordnet --id dog.n -k 5\n  \
    engram recall notes --vector cues.npy --row 3 --since 2026-01-01T00:00:00Z\n  \
    engram recall notes --id trip-7 --filter '{\"place\":\"Naxos\"}' --min-confidence 0.5")]
pub(crate) struct Recall {
    /// The memory space
    space: String,
    #[command(flatten)]
    vector: VectorArguments,
    /// Cue with a known episode; may be repeated, several cues count as their mean
    #[arg(long, value_name = "ID")]
    id: Vec<String>,
    /// Results wanted
    #[arg(short, long, default_value_t = 10)]
    k: usize,
    /// Only what happened at or after this time (microseconds or RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = time::parse_us, allow_hyphen_values = true)]
    since: Option<i64>,
    /// Only what happened at or before this time (microseconds or RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = time::parse_us, allow_hyphen_values = true)]
    until: Option<i64>,
    /// Only episodes at least this sure, from 0 to 1
    #[arg(long, value_name = "P")]
    min_confidence: Option<f32>,
    /// Only episodes whose metadata matches this JSON filter
    #[arg(long, value_name = "JSON")]
    filter: Option<String>,
    /// Compare with every episode, never approximate
    #[arg(long)]
    exact: bool,
    /// Do not strengthen what is recalled
    #[arg(long)]
    no_reinforce: bool,
    /// Parts to answer with
    #[arg(long, value_name = "PART", value_delimiter = ',', default_value = "text")]
    with: Vec<Part>,
}

/// An optional part of an episode in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    Text,
    Vec,
    Meta,
    Links,
    Why,
}

/// Appends `WITH part` for each part.
pub(crate) fn push_parts(command: &mut Cmd, parts: &[Part]) {
    for part in parts {
        command.arg("WITH").arg(match part {
            Part::Text => "text",
            Part::Vec => "vec",
            Part::Meta => "meta",
            Part::Links => "links",
            Part::Why => "why",
        });
    }
}

impl Recall {
    pub(crate) fn run(&self, context: &Context) -> Result<(), ToolError> {
        let command = self.command()?;
        let reply = context.connect()?.call(&command)?;
        if context.json {
            return render::print_json(&reply::to_json(&reply));
        }
        let hits = reply::array(reply, "EG.RECALL")?;
        if hits.is_empty() {
            return render::print(&format!("nothing in '{}' matches", self.space));
        }
        let whys: Vec<String> = hits.iter().map(why).collect();
        let episodes: Result<Vec<_>, _> =
            hits.into_iter().map(|hit| EpisodeReply::read(hit, "EG.RECALL")).collect();
        render::print(&self.table(&episodes?, &whys))
    }

    fn command(&self) -> Result<Cmd, ToolError> {
        let vector = self.vector.read()?;
        if vector.is_none() && self.id.is_empty() {
            return Err(ToolError::usage(
                "a recall needs a cue: --id ID, --vector FILE.npy or --values NUMBERS",
            ));
        }
        let mut command = redis::cmd("EG.RECALL");
        command.arg(&self.space).arg("K").arg(self.k);
        if let Some(vector) = vector {
            let blob: Vec<u8> = vector.iter().flat_map(|v| v.to_le_bytes()).collect();
            command.arg("VEC").arg(blob);
        }
        for id in &self.id {
            command.arg("ID").arg(id);
        }
        if let Some(since_us) = self.since {
            command.arg("SINCE").arg(since_us);
        }
        if let Some(until_us) = self.until {
            command.arg("UNTIL").arg(until_us);
        }
        if let Some(confidence_min) = self.min_confidence {
            command.arg("MINCONF").arg(confidence_min);
        }
        if let Some(filter) = &self.filter {
            command.arg("FILTER").arg(filter);
        }
        if self.exact {
            command.arg("EXACT");
        }
        if self.no_reinforce {
            command.arg("NOREINFORCE");
        }
        push_parts(&mut command, &self.with);
        Ok(command)
    }

    fn table(&self, episodes: &[EpisodeReply], whys: &[String]) -> String {
        let header = [
            ("#", Align::Right),
            ("score", Align::Left),
            ("id", Align::Left),
            ("happened (UTC)", Align::Left),
            (if self.with.contains(&Part::Text) { "text" } else { "" }, Align::Left),
        ];
        let rows: Vec<Vec<String>> = episodes
            .iter()
            .enumerate()
            .map(|(at, episode)| {
                let score = episode.score.unwrap_or(f64::NAN);
                vec![
                    (at + 1).to_string(),
                    format!("{score:.3} {}", render::bar(score, BAR_CELLS)),
                    render::snippet(&episode.id, ID_COLUMNS),
                    episode.happened_at_us.map(time::format_us).unwrap_or_default(),
                    last_column(episode, &whys[at]),
                ]
            })
            .collect();
        render::table(&header, &rows, render::terminal_width())
    }
}

/// The text, then what else was asked for.
fn last_column(episode: &EpisodeReply, why: &str) -> String {
    let links: Vec<String> = episode
        .links
        .iter()
        .map(|link| {
            if link.kind.is_empty() {
                link.id.clone()
            } else {
                format!("{}:{}", link.kind, link.id)
            }
        })
        .collect();
    let parts = [
        episode.text.clone().unwrap_or_default(),
        episode.meta.clone().unwrap_or_default(),
        if links.is_empty() { String::new() } else { format!("→ {}", links.join(" ")) },
        why.to_owned(),
    ];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ")
}

fn why(hit: &Value) -> String {
    let entries = reply::entries(hit.clone()).unwrap_or_default();
    let why = entries.into_iter().find(|(key, _)| key == "why");
    why.map(|(_, value)| reply::to_json(&value).to_string()).unwrap_or_default()
}
