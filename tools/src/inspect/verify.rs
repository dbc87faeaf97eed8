//! `engram inspect DIR verify`: does everything in the store agree with everything?
//!
//! Always: the chain of checksums and sequences through every batch of every segment that is
//! needed, that every payload decodes and fits what was logged before it, and of a shard that was
//! consolidated its manifest and its state file. With `--deep` each shard is rebuilt as at a start,
//! from the same bytes, and its columns and tables are checked against each other.

use std::time::Instant;

use clap::Args;
use engram_shards::log::{LogSettings, RecoverySettings};
use engram_shards::shard::{ConsolidationSettings, Shard, ShardSettings};
use engramd::config::ByteCount;
use serde::Serialize;
use serde_json::json;

use super::directory::Directory;
use super::summary;
use super::survey::Survey;
use crate::cli::Context;
use crate::error::ToolError;
use crate::render::{self, grouped};

/// Address space for a rebuilt shard beyond twice its log: tables and the rounding to chunks.
const REBUILD_EXTRA_BYTES: u64 = 4 << 30;

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Rebuild every shard in memory, one after the other: takes about as much as its log is long
    #[arg(long)]
    deep: bool,
}

/// What a shard was found to be.
#[derive(Debug, Serialize)]
struct Verified {
    #[serde(flatten)]
    survey: Survey,
    /// Only with `--deep`, and when the log itself is sound.
    rebuilt: Option<Rebuilt>,
}

#[derive(Debug, Serialize)]
struct Rebuilt {
    episodes: u64,
    memory_bytes: u64,
    /// What does not agree, in words.
    problems: Vec<String>,
}

impl Verified {
    fn is_sound(&self) -> bool {
        let rebuilt = self.rebuilt.as_ref();
        self.survey.is_sound() && rebuilt.is_none_or(|rebuilt| rebuilt.problems.is_empty())
    }
}

impl Verify {
    pub(super) fn run(&self, directory: &Directory, context: &Context) -> Result<(), ToolError> {
        let began = Instant::now();
        let shards: Vec<Verified> =
            (0..directory.shards()).map(|shard| self.verify(directory, shard)).collect();
        let unsound = shards.iter().filter(|shard| !shard.is_sound()).count();
        if context.json {
            render::print_json(&json!({
                "sound": unsound == 0,
                "store": directory.to_json(),
                "shards": shards,
            }))?;
        } else {
            let took_s = began.elapsed().as_secs_f64();
            render::print(&text(directory, &shards, took_s))?;
        }
        if unsound == 0 {
            return Ok(());
        }
        let path = directory.path().display();
        Err(ToolError::Verification(format!(
            "{path} is not sound: {unsound} of {} shards have problems; restore it from a copy, or \
             get out what is left with engram inspect {path} salvage OUT",
            directory.shards()
        )))
    }

    fn verify(&self, directory: &Directory, shard: u32) -> Verified {
        let survey = Survey::of(directory, shard);
        let deep = self.deep && survey.is_sound();
        let rebuilt = deep.then(|| rebuild(directory, &survey));
        Verified { survey, rebuilt }
    }
}

/// What is wrong with a store when everything is checked and every shard rebuilt, in words; nothing
/// when it is sound.
pub(crate) fn problems(directory: &Directory) -> Vec<String> {
    let verify = Verify { deep: true };
    let shards = (0..directory.shards()).map(|shard| verify.verify(directory, shard));
    let unsound = shards.filter(|shard| !shard.is_sound());
    unsound
        .flat_map(|Verified { survey, rebuilt }| {
            let own = summary::notes(std::slice::from_ref(&survey));
            let number = survey.shard;
            let rebuilt = rebuilt.into_iter().flat_map(|rebuilt| rebuilt.problems);
            own.into_iter().chain(rebuilt.map(move |problem| format!("shard {number}: {problem}")))
        })
        .collect()
}

/// Opens the shard as a daemon would, up to where the survey ended.
fn rebuild(directory: &Directory, survey: &Survey) -> Rebuilt {
    let settings = ShardSettings {
        identity: directory.identity(survey.shard),
        log: LogSettings::default(),
        recovery: RecoverySettings {
            read_only: Some("it is only inspected".into()),
            ..RecoverySettings::default()
        },
        memory_bytes_max: survey.bytes * 2 + REBUILD_EXTRA_BYTES,
        memory_prefault_bytes: 0,
        consolidation: ConsolidationSettings::default(),
    };
    let io = directory.io(survey.shard).ending_at(survey.end.segment, survey.end.offset);
    let (shard, recovered) = match Shard::open(io, &settings, &|_| {}) {
        Ok(opened) => opened,
        Err(error) => {
            return Rebuilt { episodes: 0, memory_bytes: 0, problems: vec![error.to_string()] };
        }
    };
    let stats = shard.stats();
    let mut problems = shard.verify();
    let mut same = |what: &str, rebuilt: u64, surveyed: u64| {
        if rebuilt != surveyed {
            problems.push(format!("rebuilt with {rebuilt} {what}, the log has {surveyed}"));
        }
    };
    same("frames", recovered.frames, survey.frames);
    same("as last sequence", stats.applied, survey.last_sequence);
    same("memory spaces", stats.spaces, survey.spaces.len() as u64);
    Rebuilt { episodes: stats.episodes, memory_bytes: stats.memory_bytes, problems }
}

fn text(directory: &Directory, shards: &[Verified], took_s: f64) -> String {
    let mut lines = vec![directory.text(), String::new()];
    for Verified { survey, rebuilt } in shards {
        let first = survey.covered.as_ref().map_or(1, |files| files.through_sequence + 1);
        let sequences = match survey.last_sequence {
            last if last < first => "no sequence in the log".to_owned(),
            last => format!("sequences {} to {}", grouped(first), grouped(last)),
        };
        lines.extend(survey.covered.as_ref().map(|files| {
            format!(
                "shard {}: sequences 1 to {} are in {} columns files, which are as long as the \
                 manifest says and are not looked into here; {} is {}",
                survey.shard,
                grouped(files.through_sequence),
                files.columns_files.len(),
                files.state_file,
                if survey.is_sound() { "sound" } else { "not known to be sound" },
            )
        }));
        lines.push(format!(
            "shard {}: {sequences}: checksums, chain and payloads {}",
            survey.shard,
            if survey.is_sound() { "sound" } else { "NOT SOUND" },
        ));
        lines.extend(summary::notes(std::slice::from_ref(survey)));
        let Some(Rebuilt { episodes, memory_bytes, problems }) = rebuilt else { continue };
        lines.push(format!(
            "shard {}: rebuilt with {} episodes in {}: columns and tables {}",
            survey.shard,
            grouped(*episodes),
            ByteCount(*memory_bytes).rounded(),
            if problems.is_empty() { "agree" } else { "DISAGREE" },
        ));
        lines.extend(problems.iter().map(|problem| format!("shard {}: {problem}", survey.shard)));
    }
    let bytes: u64 = shards.iter().map(|shard| shard.survey.bytes).sum();
    lines.push(format!("\nread {} in {took_s:.1} s", ByteCount(bytes).rounded()));
    lines.join("\n")
}
