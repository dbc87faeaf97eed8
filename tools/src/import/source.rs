//! The lines of the input, handed out in numbered batches.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::document::Line;
use crate::error::ToolError;

/// Bytes of one line. The largest valid episode, every character of its text escaped, has 7 MB.
const LINE_BYTES_MAX: u64 = 16 << 20;
/// A batch is closed when its lines reach this, so that long texts make small batches.
const BATCH_BYTES: u64 = 512 << 10;

/// A place between two lines of the input, and how to recognise it in a file of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    /// Lines in front of it.
    pub(super) lines: u64,
    /// Bytes in front of it.
    pub(super) bytes: u64,
    /// Length of the line in front of it.
    pub(super) last_line_bytes: u64,
    /// xxh3 of the line in front of it.
    pub(super) last_line_hash: u64,
}

#[derive(Debug)]
pub(super) struct Source {
    reader: BufReader<File>,
    path: PathBuf,
    position: Position,
    batches: u64,
}

/// Lines that are stored with one command.
#[derive(Debug)]
pub(super) struct RawBatch {
    /// Position in the order of batches, from 0.
    pub(super) number: u64,
    pub(super) lines: Vec<RawLine>,
    /// Behind the last line.
    pub(super) end: Position,
    pub(super) bytes: u64,
}

#[derive(Debug)]
pub(super) struct RawLine {
    /// From 1, as editors count.
    pub(super) number: u64,
    pub(super) bytes: Vec<u8>,
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self, ToolError> {
        let file = File::open(path).map_err(|e| ToolError::file(path, e))?;
        let reader = BufReader::with_capacity(1 << 18, file);
        Ok(Self { reader, path: path.to_owned(), position: Position::default(), batches: 0 })
    }

    pub(super) fn position(&self) -> Position {
        self.position
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn total_bytes(&self) -> u64 {
        self.reader.get_ref().metadata().map_or(0, |metadata| metadata.len())
    }

    /// Goes to a position of an earlier run, after a look whether the file is still the same there.
    pub(super) fn resume(&mut self, position: Position) -> Result<(), ToolError> {
        let start = position.bytes.saturating_sub(position.last_line_bytes);
        let mut line = Vec::new();
        self.reader
            .seek(SeekFrom::Start(start))
            .and_then(|_| {
                self.reader.by_ref().take(position.last_line_bytes).read_to_end(&mut line)
            })
            .map_err(|e| ToolError::file(&self.path, e))?;
        if position.lines > 0 && xxh3_64(&line) != position.last_line_hash {
            return Err(ToolError::format(
                &self.path,
                format!(
                    "line {} is not what the checkpoint was written for; import without --resume \
                     (what is already stored answers 'existing')",
                    position.lines
                ),
            ));
        }
        self.position = position;
        Ok(())
    }

    /// The next lines, blank ones left out, or `None` at the end of the file.
    pub(super) fn next_batch(&mut self, lines_max: u64) -> Result<Option<RawBatch>, ToolError> {
        let start = self.position;
        let mut lines = Vec::with_capacity(lines_max as usize);
        while (lines.len() as u64) < lines_max && self.position.bytes - start.bytes < BATCH_BYTES {
            let Some(bytes) = self.next_line()? else { break };
            if !bytes.trim_ascii().is_empty() {
                lines.push(RawLine { number: self.position.lines, bytes });
            }
        }
        if self.position == start {
            return Ok(None);
        }
        self.batches += 1;
        let bytes = self.position.bytes - start.bytes;
        Ok(Some(RawBatch { number: self.batches - 1, lines, end: self.position, bytes }))
    }

    fn next_line(&mut self) -> Result<Option<Vec<u8>>, ToolError> {
        let mut line = Vec::new();
        let mut bounded = self.reader.by_ref().take(LINE_BYTES_MAX + 1);
        bounded.read_until(b'\n', &mut line).map_err(|e| ToolError::file(&self.path, e))?;
        if line.is_empty() {
            return Ok(None);
        }
        if line.len() as u64 > LINE_BYTES_MAX {
            return Err(ToolError::Line {
                path: self.path.clone(),
                line: self.position.lines + 1,
                reason: format!("longer than {LINE_BYTES_MAX} bytes"),
            });
        }
        self.position = Position {
            lines: self.position.lines + 1,
            bytes: self.position.bytes + line.len() as u64,
            last_line_bytes: line.len() as u64,
            last_line_hash: xxh3_64(&line),
        };
        Ok(Some(line))
    }

    /// Dimensions of the vector in the first line of the file.
    pub(super) fn first_dimensions(&self) -> Result<usize, ToolError> {
        let mut first = Self::open(&self.path)?;
        let line = first.next_line()?.unwrap_or_default();
        let vector = Line::parse(&line).ok().and_then(|line| line.vector);
        vector.map(|vector| vector.len()).ok_or_else(|| {
            ToolError::usage(format!(
                "--create needs to know the dimensions: the first line of {} has no vector, so \
                 give --vectors FILE.npy or create the memory space first",
                self.path.display()
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(content: &str) -> (tempfile::NamedTempFile, Source) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let source = Source::open(file.path()).unwrap();
        (file, source)
    }

    fn numbers(batch: &RawBatch) -> Vec<u64> {
        batch.lines.iter().map(|line| line.number).collect()
    }

    #[test]
    fn batches_cover_every_line_and_skip_blank_ones() {
        let (_file, mut source) = source("a\n\nb\nc\nd");
        let first = source.next_batch(2).unwrap().unwrap();
        assert_eq!((first.number, numbers(&first)), (0, vec![1, 3]));
        let second = source.next_batch(2).unwrap().unwrap();
        assert_eq!((second.number, numbers(&second)), (1, vec![4, 5]));
        assert_eq!(second.end.bytes, 8);
        assert!(source.next_batch(2).unwrap().is_none());
    }

    #[test]
    fn long_lines_close_a_batch_early() {
        let line = "x".repeat(300 << 10) + "\n";
        let (_file, mut source) = source(&line.repeat(3));
        assert_eq!(numbers(&source.next_batch(64).unwrap().unwrap()), [1, 2]);
        assert_eq!(numbers(&source.next_batch(64).unwrap().unwrap()), [3]);
    }

    #[test]
    fn resuming_goes_on_behind_the_position() {
        let (file, mut first) = source("a\nbb\nccc\n");
        let position = first.next_batch(2).unwrap().unwrap().end;
        let mut second = Source::open(file.path()).unwrap();
        second.resume(position).unwrap();
        let rest = second.next_batch(9).unwrap().unwrap();
        assert_eq!(numbers(&rest), [3]);
        assert_eq!(rest.lines[0].bytes, b"ccc\n");
    }

    #[test]
    fn resuming_in_a_changed_file_is_refused() {
        let (file, mut first) = source("a\nbb\nccc\n");
        let position = first.next_batch(2).unwrap().unwrap().end;
        std::fs::write(file.path(), "a\nxx\nccc\n").unwrap();
        let error = Source::open(file.path()).unwrap().resume(position).unwrap_err();
        assert!(error.to_string().contains("line 2 is not what"), "{error}");
    }
}
