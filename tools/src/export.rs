//! `engram export`: all episodes of a memory space as JSONL, as `engram import` reads it.
//!
//! Importing what was exported gives the same episodes: vectors are written as the shortest
//! decimals that read back to the same f32, or as they are into a `.npy` file. When an episode was
//! recorded is not carried over: the daemon that imports it records it anew, and so it does with
//! what superseded it.

use std::io::{BufWriter, Write as _};
use std::path::PathBuf;

use clap::Args;

use crate::cli::Context;
use crate::commands::options::Part;
use crate::document::{Line, When, confidence_field, meta_field};
use crate::error::ToolError;
use crate::npy::NpyWriter;
use crate::render::grouped;
use crate::reply::EpisodeReply;
use crate::scan::Scan;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  engram export notes --vectors notes.npy > notes.jsonl\n  \
    engram import copy --episodes notes.jsonl --vectors notes.npy --create\n\n\
    Pins, presentations, when an episode was recorded and which user stored it are not in the\n\
    lines: what is imported begins anew. 'engram snapshot' keeps everything.")]
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
        let mut exported = 0;
        let mut scan = Scan::new(&self.space, &[Part::Text, Part::Vec, Part::Meta, Part::Links]);
        while let Some(episodes) = scan.next_page(&mut client)? {
            for episode in episodes {
                let line = line(episode, vectors.as_mut())?;
                let json = serde_json::to_string(&line).expect("a line is valid JSON");
                writeln!(output, "{json}").map_err(ToolError::Output)?;
                exported += 1;
            }
        }
        output.flush().map_err(ToolError::Output)?;
        if let Some(vectors) = vectors {
            vectors.finish()?;
        }
        eprintln!("exported {} episodes from '{}'", grouped(exported), self.space);
        Ok(())
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
        expires_at: episode.expires_at_us.map(When::Microseconds),
        vector,
        row,
    })
}
