//! `engram export`: all episodes of a memory space as JSONL, as `engram import` reads it.
//!
//! Importing what was exported gives the same episodes: vectors are written as the shortest
//! decimals that read back to the same f32, or as they are into a `.npy` file. When an episode was
//! recorded is not carried over: the daemon that imports it records it anew, and so it does with what
//! superseded it.

use std::io::{BufWriter, Write as _};
use std::path::PathBuf;

use clap::Args;
use redis::Value;

use crate::cli::Context;
use crate::client::Client;
use crate::commands::options::{Part, push_parts};
use crate::document::{Line, When, confidence_field, meta_field};
use crate::error::ToolError;
use crate::npy::NpyWriter;
use crate::render::grouped;
use crate::reply::{self, EpisodeReply};

/// Episodes asked for with one command.
const SCAN_COUNT: usize = 256;
/// The cursor that starts a scan and ends it.
const CURSOR_END: &str = "0";

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  engram export notes --vectors notes.npy > notes.jsonl\n  \
    engram import copy --episodes notes.jsonl --vectors notes.npy --create")]
pub(crate) struct Export {
    /// The memory space
    space: String,
    /// Write the embeddings here, instead of into the lines
    #[arg(long, value_name = "FILE.npy")]
    vectors: Option<PathBuf>,
}

impl Export {
    pub(crate) fn run(&self, context: &Context) -> Result<(), ToolError> {
        let mut client = context.connect()?;
        let mut vectors = self.vectors.as_deref().map(NpyWriter::create).transpose()?;
        let mut output = BufWriter::new(std::io::stdout().lock());
        let mut cursor = CURSOR_END.to_owned();
        let mut exported = 0;
        loop {
            let (next, episodes) = self.scan(&mut client, &cursor)?;
            for episode in episodes {
                let line = line(EpisodeReply::read(episode, "EG.SCAN")?, vectors.as_mut())?;
                let json = serde_json::to_string(&line).expect("a line is valid JSON");
                writeln!(output, "{json}").map_err(ToolError::Output)?;
                exported += 1;
            }
            if next == CURSOR_END {
                break;
            }
            cursor = next;
        }
        output.flush().map_err(ToolError::Output)?;
        if let Some(vectors) = vectors {
            vectors.finish()?;
        }
        eprintln!("exported {} episodes from '{}'", grouped(exported), self.space);
        Ok(())
    }

    /// One step: the next cursor and the episodes.
    fn scan(&self, client: &mut Client, cursor: &str) -> Result<(String, Vec<Value>), ToolError> {
        const COMMAND: &str = "EG.SCAN";
        let mut command = redis::cmd(COMMAND);
        command.arg(&self.space).arg("CURSOR").arg(cursor).arg("COUNT").arg(SCAN_COUNT);
        push_parts(&mut command, &[Part::Text, Part::Vec, Part::Meta, Part::Links]);
        let mut reply = reply::array(client.call(&command)?, COMMAND)?.into_iter();
        let (Some(next), Some(episodes), None) = (reply.next(), reply.next(), reply.next()) else {
            let reason = "it is not a cursor and an array".into();
            return Err(ToolError::Reply { command: COMMAND, reason });
        };
        let next = reply::text(&next).ok_or_else(|| ToolError::Reply {
            command: COMMAND,
            reason: "the cursor is no text".into(),
        })?;
        Ok((next, reply::array(episodes, COMMAND)?))
    }
}

fn line(episode: EpisodeReply, vectors: Option<&mut NpyWriter>) -> Result<Line, ToolError> {
    let unreadable = |reason: String| ToolError::Reply { command: "EG.SCAN", reason };
    let blob = episode.vector.unwrap_or_default();
    let (vector, row) = match vectors {
        Some(writer) => (None, Some(writer.push(&blob)?)),
        None => {
            let components = blob.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
            (Some(components.collect()), None)
        }
    };
    let meta = meta_field(episode.meta.as_deref().unwrap_or_default())
        .map_err(|e| unreadable(format!("the metadata of '{}' is no JSON: {e}", episode.id)))?;
    Ok(Line {
        id: episode.id,
        text: episode.text.unwrap_or_default(),
        at: episode.happened_at_us.map(When::Microseconds),
        confidence: episode.confidence.and_then(confidence_field),
        meta,
        thread: episode.thread,
        links: episode.links,
        supersedes: Vec::new(),
        superseded_by: episode.superseded_by,
        valid_until: episode.valid_until_us.map(When::Microseconds),
        vector,
        row,
    })
}
