//! What a salvage brought, for people and for the report.

use std::path::{Path, PathBuf};

use engram_shards::episode::{CodeBits, SpaceFan};
use engram_shards::format::GapReason;
use engram_shards::inquiry::fusion::Weights;
use engram_shards::strength::Decay;
use engram_shards::words::Language;
use serde::Serialize;

use super::damaged::{Lost, Reading};
use crate::render::{self, Align, grouped};

/// Losses and problems of a shard that are printed; the report has all.
const SHOWN_MAX: usize = 10;

#[derive(Debug, Serialize)]
pub(super) struct SalvagedShard {
    pub(super) shard: u32,
    #[serde(flatten)]
    pub(super) reading: Reading,
}

impl SalvagedShard {
    pub(super) fn is_whole(&self) -> bool {
        self.reading.problems.is_empty()
            && self.unread_sequences() == 0
            && self.reading.lost.iter().all(|lost| lost.reason == GapReason::Erased)
    }

    /// Those that are in columns files and not in the log any more.
    pub(super) fn unread_sequences(&self) -> u64 {
        let Reading { consolidated_through, first_sequence, .. } = self.reading;
        consolidated_through.min(first_sequence - 1)
    }

    pub(super) fn lost_sequences(&self) -> u64 {
        let lost = self.reading.lost.iter().filter(|lost| lost.reason != GapReason::Erased);
        lost.map(|Lost { first, last, .. }| last - first + 1).sum()
    }
}

/// Which episodes it archived or forgot by itself.
#[derive(Debug, Serialize)]
pub(super) struct FadingPolicy {
    pub(super) below: f32,
    pub(super) after: u32,
}

/// A memory space in the report.
#[derive(Debug, Serialize)]
pub(super) struct SalvagedSpace {
    pub(super) number: u32,
    pub(super) name: String,
    pub(super) dimensions: usize,
    pub(super) metric: &'static str,
    /// Bits of each coordinate in the index.
    pub(super) codes: u32,
    pub(super) fan: String,
    pub(super) fan_cap: Option<u32>,
    pub(super) decay: String,
    pub(super) ttl: Option<u32>,
    pub(super) archive: Option<FadingPolicy>,
    pub(super) forget: Option<FadingPolicy>,
    pub(super) language: &'static str,
    pub(super) weights: [f32; 5],
    pub(super) thread: String,
    pub(super) model: String,
    /// How many shards it spanned.
    pub(super) shards: u32,
    pub(super) is_dropped: bool,
    /// Its creation was lost: only its number and its dimensions are known.
    pub(super) is_guessed: bool,
    pub(super) episodes: u64,
    pub(super) file: Option<PathBuf>,
    pub(super) versions: u64,
    pub(super) versions_file: Option<PathBuf>,
}

pub(super) fn text(
    header_problem: Option<&str>,
    shards: &[SalvagedShard],
    spaces: &[SalvagedSpace],
    report: &Path,
) -> String {
    let mut parts = Vec::new();
    if let Some(problem) = header_problem {
        parts.push(format!("{problem}\nThe headers of the log segments were taken instead."));
    }
    parts.push(shards.iter().map(shard_text).collect::<Vec<_>>().join("\n"));
    parts.extend(space_table(spaces));
    let commands: Vec<String> = spaces
        .iter()
        .filter(|space| !space.is_dropped)
        .flat_map(|space| commands(space, shards.len()))
        .collect();
    if !commands.is_empty() {
        parts.push(format!("To store it anew:\n{}", commands.join("\n")));
    }
    parts.push(format!("The whole report: {}", report.display()));
    parts.join("\n\n")
}

fn shard_text(salvaged: &SalvagedShard) -> String {
    let SalvagedShard { shard, reading } = salvaged;
    let Reading { frames, last_sequence, lost, torn_bytes, unreadable_sectors, problems, .. } =
        reading;
    let mut lines = vec![format!(
        "shard {shard}: {} of {} sequences read",
        grouped(*frames),
        grouped(*last_sequence)
    )];
    if let unread @ 1.. = salvaged.unread_sequences() {
        lines.push(format!(
            "  sequences 1 to {} are in columns files only, which salvage does not read",
            grouped(unread)
        ));
    }
    let told = lost.iter().map(ToString::to_string).chain(problems.iter().cloned());
    lines.extend(told.take(SHOWN_MAX).map(|told| format!("  {told}")));
    let untold = (lost.len() + problems.len()).saturating_sub(SHOWN_MAX);
    if untold > 0 {
        lines.push(format!("  … and {} more", grouped(untold as u64)));
    }
    if *torn_bytes > 0 {
        lines.push(format!("  {} bytes at the end were never acknowledged", grouped(*torn_bytes)));
    }
    if *unreadable_sectors > 0 {
        lines.push(format!("  the disk refused {} sectors", grouped(*unreadable_sectors)));
    }
    lines.join("\n")
}

fn space_table(spaces: &[SalvagedSpace]) -> Option<String> {
    let header = [
        ("space", Align::Right),
        ("dim", Align::Right),
        ("metric", Align::Left),
        ("episodes", Align::Right),
        ("name", Align::Left),
        ("", Align::Left),
        ("file", Align::Left),
    ];
    let row = |space: &SalvagedSpace| {
        let note = match (space.is_dropped, space.is_guessed) {
            (true, _) => "dropped",
            (false, true) => "creation lost",
            (false, false) => "",
        };
        let file = space.file.as_ref().or(space.versions_file.as_ref());
        vec![
            space.number.to_string(),
            space.dimensions.to_string(),
            space.metric.to_owned(),
            grouped(space.episodes),
            space.name.clone(),
            note.to_owned(),
            file.map_or(String::new(), |file| file.display().to_string()),
        ]
    };
    let rows: Vec<_> = spaces.iter().map(row).collect();
    (!rows.is_empty()).then(|| render::table(&header, &rows, render::terminal_width()))
}

/// How a space gets into another store.
fn commands(space: &SalvagedSpace, store_shards: usize) -> Vec<String> {
    let name = quoted(&space.name);
    let mut create = format!(
        "  engram space create {name} --dim {} --metric {}",
        space.dimensions, space.metric
    );
    if space.codes != CodeBits::default() as u32 {
        create.push_str(&format!(" --codes {}", space.codes));
    }
    if space.fan != SpaceFan::default().to_string() {
        create.push_str(&format!(" --fan {}", space.fan));
    }
    if let Some(links) = space.fan_cap {
        create.push_str(&format!(" --fan-cap {links}"));
    }
    if space.decay != Decay::default().to_string() {
        create.push_str(&format!(" --decay {}", space.decay));
    }
    if let Some(seconds) = space.ttl {
        create.push_str(&format!(" --ttl {seconds}"));
    }
    for (name, policy) in [("archive", &space.archive), ("forget", &space.forget)] {
        if let Some(FadingPolicy { below, after }) = policy {
            create.push_str(&format!(" --{name}-below {below} --{name}-after {after}"));
        }
    }
    if space.language != Language::default().name() {
        create.push_str(&format!(" --language {}", space.language));
    }
    if space.weights != Weights::USUAL.to_array() {
        let weights = space.weights.map(|weight| format!(" {weight}")).concat();
        create.push_str(&format!(" --weights{weights}"));
    }
    if !space.thread.is_empty() {
        create.push_str(&format!(" --thread {}", quoted(&space.thread)));
    }
    if !space.model.is_empty() {
        create.push_str(&format!(" --model {}", quoted(&space.model)));
    }
    if space.shards as usize != store_shards {
        create.push_str(&format!(" --shards {}", space.shards));
    }
    let import = space.file.as_ref().map(|file| {
        format!("  engram import {name} --episodes {}", quoted(&file.display().to_string()))
    });
    std::iter::once(create).chain(import).collect()
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_when_a_shell_needs_it() {
        assert_eq!(quoted("notes-1"), "notes-1");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
