//! `engram inspect DIR log`: the log, frame by frame.

use clap::Args;
use engram_shards::format::{Frame, LogPlace};
use engram_shards::log::{Found, RecoveryError, Walk};
use serde_json::{Value, json};

use super::contents::Contents;
use super::covered::walk_all;
use super::directory::Directory;
use super::read_only::ReadOnlyIo;
use crate::cli::Context;
use crate::error::ToolError;
use crate::render::{self, Align, grouped};
use crate::time::format_us;

#[derive(Debug, Args)]
pub(crate) struct Log {
    /// Only this shard
    #[arg(long, value_name = "N")]
    shard: Option<u32>,
    /// Only this log segment, whatever is before it
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    segment: Option<u64>,
    /// Begin at this sequence
    #[arg(long, value_name = "N", default_value_t = 1)]
    from_sequence: u64,
    /// Frames of each shard
    #[arg(long, value_name = "N", default_value_t = 20)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

/// A frame with its shard and segment.
struct Line {
    shard: u32,
    segment: u64,
    sequence: u64,
    recorded_at_us: i64,
    happened_at_us: i64,
    writer_uid: u32,
    payload_bytes: usize,
    contents: Result<Decoded, String>,
}

struct Decoded {
    operation: &'static str,
    space: Option<u32>,
    id: String,
    /// Of a store: components, bytes of text, bytes of metadata, links.
    sizes: Option<[usize; 4]>,
}

impl Log {
    pub(super) fn run(&self, directory: &Directory, context: &Context) -> Result<(), ToolError> {
        let count = directory.shards();
        if let Some(shard) = self.shard.filter(|shard| *shard >= count) {
            return Err(ToolError::usage(format!("no shard {shard}; the store has {count}")));
        }
        let mut lines = Vec::new();
        for shard in self.shard.map_or(0..count, |shard| shard..shard + 1) {
            let listed = self.list(directory, shard, &mut lines);
            listed.map_err(|error| {
                ToolError::format(directory.path(), format!("shard {shard}: {error}"))
            })?;
        }
        if context.json {
            render::print_json(&Value::Array(lines.iter().map(Line::to_json).collect()))
        } else if lines.is_empty() {
            render::print("no such frames")
        } else {
            render::print(&table(&lines))
        }
    }

    fn list(
        &self,
        directory: &Directory,
        shard: u32,
        lines: &mut Vec<Line>,
    ) -> Result<(), RecoveryError> {
        let mut io = directory.io(shard);
        let mut walk = walk_all(&mut io, directory.identity(shard), &LogPlace::BEGINNING)?;
        match self.segment {
            Some(segment) => walk.skip_to(segment)?,
            None => skip_towards(&mut walk, self.from_sequence)?,
        }
        let mut left = self.limit;
        while let Some(found) = walk.next()? {
            let Found::Batch(batch) = found else { continue };
            let segment = batch.header().segment;
            if self.segment.is_some_and(|only| only != segment) {
                break;
            }
            for frame in batch.frames().filter(|frame| frame.sequence >= self.from_sequence) {
                if left == 0 {
                    return Ok(());
                }
                left -= 1;
                lines.push(Line::new(shard, segment, &frame));
            }
        }
        Ok(())
    }
}

/// Goes to the last segment that begins at or before a sequence.
fn skip_towards(walk: &mut Walk<'_, ReadOnlyIo>, sequence: u64) -> Result<(), RecoveryError> {
    let mut target = None;
    for (segment, _) in walk.segments().to_vec() {
        match walk.header(segment)? {
            Some(header) if header.first_sequence <= sequence => target = Some(segment),
            _ => break,
        }
    }
    target.map_or(Ok(()), |segment| walk.skip_to(segment))
}

impl Line {
    fn new(shard: u32, segment: u64, frame: &Frame<'_>) -> Self {
        let contents = Contents::decode(frame).map(|contents| Decoded {
            operation: contents.operation(),
            space: contents.space().map(|space| space.0),
            id: contents.id(),
            sizes: match &contents {
                Contents::Store(store) => Some([
                    store.vector.len() / size_of::<f32>(),
                    store.sizes.text as usize,
                    store.sizes.metadata as usize,
                    store.sizes.links.into(),
                ]),
                _ => None,
            },
        });
        Self {
            shard,
            segment,
            sequence: frame.sequence,
            recorded_at_us: frame.head.recorded_at_us,
            happened_at_us: frame.head.happened_at_us,
            writer_uid: frame.head.writer_uid,
            payload_bytes: frame.payload.len(),
            contents,
        }
    }

    fn to_json(&self) -> Value {
        let mut line = json!({
            "shard": self.shard,
            "segment": self.segment,
            "sequence": self.sequence,
            "recorded_at_us": self.recorded_at_us,
            "happened_at_us": self.happened_at_us,
            "writer_uid": self.writer_uid,
            "payload_bytes": self.payload_bytes,
        });
        match &self.contents {
            Ok(Decoded { operation, space, id, sizes }) => {
                line["operation"] = json!(operation);
                line["space"] = json!(space);
                line["id"] = json!(id);
                if let Some([dimensions, text_bytes, metadata_bytes, links]) = sizes {
                    line["dimensions"] = json!(dimensions);
                    line["text_bytes"] = json!(text_bytes);
                    line["metadata_bytes"] = json!(metadata_bytes);
                    line["links"] = json!(links);
                }
            }
            Err(problem) => line["problem"] = json!(problem),
        }
        line
    }

    fn cells(&self) -> Vec<String> {
        let mut cells = vec![
            self.shard.to_string(),
            self.segment.to_string(),
            grouped(self.sequence),
            format_us(self.recorded_at_us),
        ];
        let number = |number: usize| grouped(number as u64);
        match &self.contents {
            Ok(Decoded { operation, space, id, sizes }) => {
                let sizes = sizes.map_or([const { String::new() }; 4], |sizes| sizes.map(number));
                let space = space.map_or_else(String::new, |space| space.to_string());
                cells.extend([(*operation).to_owned(), space]);
                cells.push(number(self.payload_bytes));
                cells.extend(sizes);
                cells.push(id.clone());
            }
            Err(problem) => {
                cells.extend(["?".to_owned(), "?".to_owned(), number(self.payload_bytes)]);
                cells.extend([const { String::new() }; 4]);
                cells.push(problem.clone());
            }
        }
        cells
    }
}

fn table(lines: &[Line]) -> String {
    let header = [
        ("shard", Align::Right),
        ("segment", Align::Right),
        ("sequence", Align::Right),
        ("recorded (UTC)", Align::Left),
        ("operation", Align::Left),
        ("space", Align::Right),
        ("bytes", Align::Right),
        ("dim", Align::Right),
        ("text", Align::Right),
        ("meta", Align::Right),
        ("links", Align::Right),
        ("id", Align::Left),
    ];
    let rows: Vec<_> = lines.iter().map(Line::cells).collect();
    render::table(&header, &rows, render::terminal_width())
}
