//! Lines made into the items of one `EG.MSTORE`.

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_128;

use super::linking;
use super::source::{Position, RawBatch, RawLine};
use crate::document::{Episode, Line, Link, Superseded};
use crate::error::ToolError;
use crate::npy::NpyReader;
use crate::pack::{Arguments, push_mstore_head};
use crate::vectors::normalize;

/// Episodes that are sent together. Items leave it as they are acknowledged or skipped.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) number: u64,
    pub(super) end: Position,
    /// Of the input.
    pub(super) source_bytes: u64,
    pub(super) items: Vec<Item>,
    /// The items' arguments, each framed as a bulk string.
    packed: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Item {
    /// Of the input, from 1.
    pub(super) line: u64,
    pub(super) id: String,
    /// Links to be made when it is stored.
    pub(super) links: Vec<Link>,
    /// What superseded it.
    pub(super) superseded: Option<Superseded>,
    arguments: usize,
    packed: Range<usize>,
}

/// A line that is no episode.
#[derive(Debug)]
pub(super) struct BadLine {
    pub(super) line: u64,
    pub(super) reason: String,
}

impl Batch {
    /// Packs every line that is an episode; the others are returned beside. An error is one of the
    /// vectors' file. What has expired by now is left out.
    pub(super) fn pack(
        raw: RawBatch,
        vectors: Option<&NpyReader>,
        (unit_length, now_us): (bool, i64),
    ) -> Result<(Self, Vec<BadLine>), ToolError> {
        let mut batch = Self {
            number: raw.number,
            end: raw.end,
            source_bytes: raw.bytes,
            items: Vec::with_capacity(raw.lines.len()),
            packed: Vec::new(),
        };
        let mut bad = Vec::new();
        for line in raw.lines {
            match episode(&line, vectors)? {
                Ok((mut episode, superseded)) => {
                    if unit_length {
                        normalize(&mut episode.vector);
                    }
                    let links = linking::split_off(&mut episode);
                    let left_us = episode.expires_at_us.map(|at_us| at_us.saturating_sub(now_us));
                    if left_us.is_none_or(|left_us| left_us > 0) {
                        batch.push(line.number, &episode, (links, superseded), left_us);
                    }
                }
                Err(reason) => bad.push(BadLine { line: line.number, reason }),
            }
        }
        Ok((batch, bad))
    }

    fn push(
        &mut self,
        line: u64,
        episode: &Episode,
        (links, superseded): (Vec<Link>, Option<Superseded>),
        left_us: Option<i64>,
    ) {
        let mut arguments = Arguments::default();
        arguments.push(b"ITEM").push_episode(episode);
        let mut content = arguments.clone();
        for link in &links {
            content.push(link.id.as_bytes()).push_display(link.weight).push(link.kind.as_bytes());
        }
        // How much time is left is another each time, and no part of the content.
        if let Some(left_us) = left_us {
            let seconds = left_us.unsigned_abs().div_ceil(1_000_000).min(u32::MAX.into());
            arguments.push(b"TTL").push_display(seconds);
        }
        let key = format!("{:032x}", xxh3_128(&content.bytes));
        arguments.push(b"KEY").push(key.as_bytes());
        let start = self.packed.len();
        self.packed.extend_from_slice(&arguments.bytes);
        self.items.push(Item {
            line,
            id: episode.id.clone().unwrap_or_default(),
            links,
            superseded,
            arguments: arguments.count,
            packed: start..self.packed.len(),
        });
    }

    /// The command that stores the items that are left.
    pub(super) fn command(&self, space: &str) -> Vec<u8> {
        let bytes: usize = self.items.iter().map(|item| item.packed.len()).sum();
        let arguments = self.items.iter().map(|item| item.arguments).sum();
        let mut command = Vec::with_capacity(bytes + space.len() + 64);
        push_mstore_head(&mut command, space, self.items.len(), arguments);
        for item in &self.items {
            command.extend_from_slice(&self.packed[item.packed.clone()]);
        }
        command
    }
}

/// The episode of a line with its vector, and what superseded it; the inner error is the line's,
/// the outer the vectors'.
fn episode(
    raw: &RawLine,
    vectors: Option<&NpyReader>,
) -> Result<Result<(Episode, Option<Superseded>), String>, ToolError> {
    let mut line = match Line::parse(&raw.bytes) {
        Ok(line) => line,
        Err(reason) => return Ok(Err(reason)),
    };
    let superseded = match line.take_superseded() {
        Ok(superseded) => superseded,
        Err(reason) => return Ok(Err(reason)),
    };
    let vector = match (line.vector.take(), vectors) {
        (Some(vector), _) => vector,
        (None, None) => {
            return Ok(Err("no \"vector\", and no --vectors FILE.npy to take a row of".to_owned()));
        }
        (None, Some(vectors)) => {
            let row = line.row.unwrap_or(raw.number - 1);
            if row >= vectors.rows() {
                let (rows, path) = (vectors.rows(), vectors.path().display());
                return Ok(Err(format!("no row {row} (from 0): {path} has {rows} rows")));
            }
            vectors.row(row)?
        }
    };
    Ok(line.into_episode(vector).map(|episode| (episode, superseded)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(lines: &[&str]) -> RawBatch {
        let lines: Vec<RawLine> = lines
            .iter()
            .zip(1..)
            .map(|(line, number)| RawLine { number, bytes: line.as_bytes().to_vec() })
            .collect();
        RawBatch { number: 0, lines, end: Position::default(), bytes: 0 }
    }

    #[test]
    fn bad_lines_are_set_apart_with_their_number() {
        let lines = [r#"{"id":"a","vector":[1]}"#, "nonsense", r#"{"id":"c"}"#];
        let (batch, bad) = Batch::pack(raw(&lines), None, (false, 0)).unwrap();
        assert_eq!(batch.items.len(), 1);
        assert_eq!(batch.items[0].id, "a");
        assert_eq!(bad.iter().map(|bad| bad.line).collect::<Vec<_>>(), [2, 3]);
        assert!(bad[1].reason.contains("--vectors"), "{}", bad[1].reason);
    }

    #[test]
    fn the_command_holds_the_items_that_are_left() {
        let lines = [r#"{"id":"a","vector":[1]}"#, r#"{"id":"b","vector":[1],"text":"t"}"#];
        let (mut batch, _) = Batch::pack(raw(&lines), None, (false, 0)).unwrap();
        // EG.MSTORE s 2, then ITEM id VEC blob KEY key (6) and the same with TEXT t (8).
        assert!(
            batch.command("s").starts_with(b"*17\r\n$9\r\nEG.MSTORE\r\n$1\r\ns\r\n$1\r\n2\r\n")
        );
        batch.items.remove(0);
        let command = batch.command("s");
        assert!(
            command.starts_with(b"*11\r\n$9\r\nEG.MSTORE\r\n$1\r\ns\r\n$1\r\n1\r\n$4\r\nITEM\r\n")
        );
        assert!(command.windows(9).any(|bytes| bytes == b"$1\r\nb\r\n$3"));
    }

    #[test]
    fn what_expires_lives_as_long_as_was_left_and_what_has_expired_is_left_out() {
        let lines = [
            r#"{"id":"a","vector":[1],"expires_at":3000001}"#,
            r#"{"id":"b","vector":[1],"expires_at":2000000}"#,
            r#"{"id":"c","vector":[1]}"#,
        ];
        let (batch, bad) = Batch::pack(raw(&lines), None, (false, 2_000_000)).unwrap();
        let ids: Vec<_> = batch.items.iter().map(|item| &item.id[..]).collect();
        assert_eq!((ids, bad.len()), (vec!["a", "c"], 0));
        let command = batch.command("s");
        let ttl = b"$3\r\nTTL\r\n$1\r\n2\r\n";
        assert_eq!(command.windows(ttl.len()).filter(|bytes| bytes == ttl).count(), 1);
    }

    #[test]
    fn the_key_is_the_content() {
        let key = |line: &str| {
            let (batch, _) = Batch::pack(raw(&[line]), None, (false, 0)).unwrap();
            batch.command("s")[batch.command("s").len() - 34..].to_vec()
        };
        let spaced = key(r#"{ "id": "a", "vector": [1.0] }"#);
        assert_eq!(spaced, key(r#"{"vector":[1],"id":"a"}"#));
        assert_ne!(spaced, key(r#"{"id":"a","vector":[1],"text":"more"}"#));
        assert_ne!(spaced, key(r#"{"id":"b","vector":[1]}"#));
        assert_eq!(spaced, key(r#"{"id":"a","vector":[1],"expires_at":7}"#), "it can be resumed");
    }
}
