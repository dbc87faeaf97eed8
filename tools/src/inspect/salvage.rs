//! `engram inspect DIR salvage OUT`: every episode that can still be read, out of any store.
//!
//! For when a store does not open, or opens only with losses. Only the log is read: what was
//! consolidated into columns files is counted and not looked at. The store is not changed. Into
//! `OUT` goes one file of JSON lines for each memory space, as `engram import` takes them, and
//! `report.json`, which says what was lost, by sequence.
//!
//! What is written is the state after all that can be read: the episodes that were not replaced,
//! forgotten, erased or dropped. A change that was lost had no effect: if it was a forget, what it
//! forgot is there again. With `--all-versions` there is a second file for each space, with every
//! store that verifies, the oldest first, whatever became of it; of what was erased, nothing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::str;

use clap::Args;
use engram_shards::episode::{SpaceNumber, SpaceSettings};
use engram_shards::format::{Frame, GapReason, LinkRecords, StorePayload};
use serde_json::json;

use super::census::{Census, FoundSpace, FoundSpaces, Standing};
use super::contents::{Body, Contents};
use super::covered::Covered;
use super::damaged::{self, Reading};
use super::directory::Directory;
use super::salvaged::{self, FadingPolicy, SalvagedShard, SalvagedSpace};
use super::survey::metric_name;
use crate::cli::Context;
use crate::document::{self, Line, Link, Superseded, When, confidence_field};
use crate::error::ToolError;
use crate::render::{self, grouped};

const REPORT_FILE: &str = "report.json";
/// Characters of a space's name in the name of its file.
const FILE_NAME_CHARACTERS_MAX: usize = 64;

#[derive(Debug, Args)]
pub(crate) struct Salvage {
    /// Where to write: a directory that does not exist yet, or is empty
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// Write every version of every episode too, also of forgotten ones and of dropped spaces
    #[arg(long)]
    all_versions: bool,
}

impl Salvage {
    pub(super) fn run(&self, path: &Path, context: &Context) -> Result<(), ToolError> {
        let (directory, header_problem) = Directory::open_damaged(path)?;
        if directory.is_in_use() {
            return Err(ToolError::usage(format!(
                "{} is in use; stop engramd first, or read it with engram export",
                path.display()
            )));
        }
        make_empty(&self.out)?;
        let mut spaces = FoundSpaces::new();
        let count = directory.shards();
        // What a consolidated shard knew at the place where its log begins.
        for shard in 0..count {
            let covered = Covered::read(&mut directory.io(shard), &directory.identity(shard));
            for (number, settings) in covered.spaces {
                spaces.entry(number).or_default().settings = Some(settings);
            }
        }
        let counted: Vec<(Reading, Census)> = (0..count)
            .map(|shard| {
                let mut census = Census::new();
                let mut each = |frame: &Frame<'_>| census.count(frame, &mut spaces);
                let reading = damaged::read(&directory, shard, &mut each);
                (reading, census)
            })
            .collect();
        let mut output = Output::new(self, &spaces, count);
        for (shard, (_, census)) in (0..).zip(&counted) {
            let mut result = Ok(());
            damaged::read(&directory, shard, &mut |frame| {
                if result.is_ok() {
                    result = output.write(frame, census);
                }
            });
            result?;
        }
        let spaces = output.finish()?;
        let shards =
            (0..).zip(counted).map(|(shard, (reading, census))| finish(shard, reading, census));
        let shards: Vec<SalvagedShard> = shards.collect();
        self.report(&directory, header_problem.as_deref(), &shards, &spaces, context)
    }

    fn report(
        &self,
        directory: &Directory,
        header_problem: Option<&str>,
        shards: &[SalvagedShard],
        spaces: &[SalvagedSpace],
        context: &Context,
    ) -> Result<(), ToolError> {
        let lost: u64 = shards.iter().map(SalvagedShard::lost_sequences).sum();
        let unread: u64 = shards.iter().map(SalvagedShard::unread_sequences).sum();
        let report = json!({
            "store": directory.to_json(),
            "store_header_problem": header_problem,
            "lost_sequences": lost,
            "unread_sequences": unread,
            "shards": shards,
            "spaces": spaces,
        });
        let path = self.out.join(REPORT_FILE);
        let bytes = serde_json::to_vec_pretty(&report).expect("a report is valid JSON");
        fs::write(&path, bytes).map_err(|error| ToolError::file(&path, error))?;
        if context.json {
            render::print_json(&report)?;
        } else {
            render::print(&salvaged::text(header_problem, shards, spaces, &path))?;
        }
        if shards.iter().all(SalvagedShard::is_whole) {
            return Ok(());
        }
        Err(ToolError::Verification(format!(
            "not everything could be read: {} sequences are lost, and with them whatever they \
             stored, forgot or dropped; {}{} names them",
            grouped(lost),
            match unread {
                0 => String::new(),
                unread =>
                    format!("{} are in columns files and were not looked at; ", grouped(unread)),
            },
            path.display()
        )))
    }
}

/// Puts together what both the reading and the census found. What was lost and is named by an erase
/// was on its way out.
fn finish(shard: u32, mut reading: Reading, census: Census) -> SalvagedShard {
    for lost in &mut reading.lost {
        if (lost.first..=lost.last).all(|sequence| census.is_erased(sequence)) {
            lost.reason = GapReason::Erased;
        }
    }
    reading.problems.extend(census.problems);
    SalvagedShard { shard, reading }
}

fn make_empty(out: &Path) -> Result<(), ToolError> {
    let refuse = |error| ToolError::file(out, error);
    fs::create_dir_all(out).map_err(refuse)?;
    if fs::read_dir(out).map_err(refuse)?.next().is_some() {
        return Err(ToolError::usage(format!(
            "{} is not empty; name a directory that does not exist yet",
            out.display()
        )));
    }
    Ok(())
}

/// The files that are being written.
struct Output<'a> {
    salvage: &'a Salvage,
    spaces: BTreeMap<SpaceNumber, SpaceOutput>,
}

struct SpaceOutput {
    space: SalvagedSpace,
    episodes: Lines,
    versions: Lines,
}

/// A file that is made when its first line comes.
struct Lines {
    path: PathBuf,
    file: Option<BufWriter<File>>,
    count: u64,
}

impl Lines {
    fn new(path: PathBuf) -> Self {
        Self { path, file: None, count: 0 }
    }

    fn append(&mut self, line: &Line) -> Result<(), ToolError> {
        let refuse = |error| ToolError::file(&self.path, error);
        if self.file.is_none() {
            self.file = Some(BufWriter::new(File::create_new(&self.path).map_err(refuse)?));
        }
        let file = self.file.as_mut().expect("made above");
        let json = serde_json::to_string(line).expect("a line is valid JSON");
        writeln!(file, "{json}").map_err(refuse)?;
        self.count += 1;
        Ok(())
    }

    /// The path and the number of lines; no path when there is no file.
    fn finish(self) -> Result<(Option<PathBuf>, u64), ToolError> {
        let Some(mut file) = self.file else { return Ok((None, 0)) };
        file.flush().map_err(|error| ToolError::file(&self.path, error))?;
        Ok((Some(self.path), self.count))
    }
}

impl<'a> Output<'a> {
    fn new(salvage: &'a Salvage, spaces: &FoundSpaces, shards: u32) -> Self {
        let output = |(number, space): (&SpaceNumber, &FoundSpace)| {
            let space = describe(*number, space, shards);
            let lines = |kind| Lines::new(salvage.out.join(file_name(number.0, &space.name, kind)));
            let (episodes, versions) = (lines(""), lines(".all-versions"));
            (*number, SpaceOutput { space, episodes, versions })
        };
        Self { salvage, spaces: spaces.iter().map(output).collect() }
    }

    /// Writes a frame down if it is a store that is wanted.
    fn write(&mut self, frame: &Frame<'_>, census: &Census) -> Result<(), ToolError> {
        let Ok(Contents::Store(store)) = Contents::decode(frame) else { return Ok(()) };
        let standing = census.standing(frame.sequence, &store);
        let output = self.spaces.get_mut(&store.space).expect("the census has counted it");
        if standing == Standing::Alive && !output.space.is_dropped {
            let links = census.links(frame.sequence, Body::of(&store).links);
            let superseded = census.superseded(frame.sequence);
            output.episodes.append(&line(frame, &store, links.records(), superseded))?;
        }
        if self.salvage.all_versions && matches!(standing, Standing::Alive | Standing::Past) {
            output.versions.append(&line(frame, &store, Body::of(&store).links, None))?;
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<SalvagedSpace>, ToolError> {
        let finish = |SpaceOutput { space, episodes, versions }| {
            let (file, episodes) = episodes.finish()?;
            let (versions_file, versions) = versions.finish()?;
            Ok(SalvagedSpace { file, episodes, versions_file, versions, ..space })
        };
        self.spaces.into_values().map(finish).collect()
    }
}

/// `7-notes.jsonl`: the number tells spaces apart whose names look the same in a file name.
fn file_name(number: u32, name: &str, kind: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = name.chars().map(safe).take(FILE_NAME_CHARACTERS_MAX).collect();
    format!("{number}-{name}{kind}.jsonl")
}

/// Of the report.
fn policy(policy: engram_shards::episode::FadingPolicy) -> FadingPolicy {
    FadingPolicy { below: policy.below(), after: policy.after_s }
}

fn describe(number: SpaceNumber, space: &FoundSpace, shards: u32) -> SalvagedSpace {
    let guessed = || SpaceSettings {
        shards,
        ..SpaceSettings::usual(
            format!("space-{}", number.0),
            u32::try_from(space.dimensions).expect("a vector has few dimensions"),
        )
    };
    let settings = space.settings.clone().unwrap_or_else(guessed);
    let SpaceSettings { name, dimensions, metric, codes, fan, fan_cap, .. } = settings;
    let SpaceSettings { decay, lifetime, words, thread_path, model, shards, .. } = settings;
    SalvagedSpace {
        number: number.0,
        name,
        dimensions: dimensions as usize,
        metric: metric_name(metric),
        codes: codes as u32,
        fan: fan.to_string(),
        fan_cap,
        decay: decay.to_string(),
        ttl: lifetime.ttl_s.map(NonZero::get),
        archive: lifetime.archive.map(policy),
        forget: lifetime.forget.map(policy),
        language: words.language.name(),
        weights: words.weights.to_array(),
        thread: thread_path,
        model,
        shards,
        is_dropped: space.is_dropped,
        is_guessed: space.settings.is_none(),
        episodes: 0,
        file: None,
        versions: 0,
        versions_file: None,
    }
}

/// The episode with these links as a line of an import. Its parts were checked when it was decoded.
fn line(
    frame: &Frame<'_>,
    store: &StorePayload<'_>,
    links: LinkRecords<'_>,
    superseded: Option<&Superseded>,
) -> Line {
    let text = |bytes: &[u8]| str::from_utf8(bytes).expect("checked when decoded").to_owned();
    let Body { id, thread, text: told, metadata, .. } = Body::of(store);
    let confidence = store.confidence;
    let links = links.associations().map(|(weight, target, kind)| Link {
        id: text(target),
        weight,
        kind: text(kind),
    });
    let vector = store.vector.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    Line {
        id: text(id),
        text: text(told),
        at: Some(When::Microseconds(frame.head.happened_at_us)),
        confidence: confidence_field([confidence.point, confidence.low, confidence.high]),
        meta: document::meta_field(&text(metadata)).expect("checked when decoded"),
        thread: text(thread),
        links: links.collect(),
        supersedes: Vec::new(),
        superseded_by: superseded.map(|superseded| superseded.by.clone()),
        valid_until: superseded.map(|own| When::Microseconds(own.valid_until_us)),
        expires_at: store.expires_at_us.map(|own| When::Microseconds(own.get())),
        vector: Some(vector.collect()),
        row: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_the_same_are_kept_apart() {
        assert_eq!(file_name(7, "../ä b", ""), "7-..___b.jsonl");
        assert_ne!(file_name(7, "a/b", ""), file_name(8, "a b", ""));
    }
}
