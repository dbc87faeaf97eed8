//! The checkpoint file: up to where an import is acknowledged.
//!
//! One JSON object, replaced as a whole: written beside under another name, flushed, renamed.
//! Either the old position or the new one survives a crash, and both are behind what was
//! acknowledged.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::source::Position;
use crate::error::ToolError;

#[derive(Debug)]
pub(super) struct Checkpoint {
    path: PathBuf,
    space: String,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Content {
    space: String,
    acknowledged: Position,
}

impl Checkpoint {
    pub(super) fn new(path: PathBuf, space: &str) -> Self {
        Self { path, space: space.to_owned() }
    }

    /// The position of an earlier import into the same memory space, if there was one.
    pub(super) fn load(&self) -> Result<Option<Position>, ToolError> {
        let json = match fs::read(&self.path) {
            Ok(json) => json,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(ToolError::file(&self.path, error)),
        };
        let content: Content = serde_json::from_slice(&json).map_err(|error| {
            let reason = format!("no checkpoint of an import ({error}); remove it to start over");
            ToolError::format(&self.path, reason)
        })?;
        if content.space != self.space {
            let reason = format!(
                "checkpoint of an import into '{}'; name another with --checkpoint or remove it",
                content.space
            );
            return Err(ToolError::format(&self.path, reason));
        }
        Ok(Some(content.acknowledged))
    }

    pub(super) fn save(&self, acknowledged: Position) -> Result<(), ToolError> {
        let content = Content { space: self.space.clone(), acknowledged };
        let json = serde_json::to_vec(&content).expect("strings and numbers are valid JSON");
        let mut beside = self.path.clone().into_os_string();
        beside.push(".new");
        let written = File::create(&beside)
            .and_then(|mut file| file.write_all(&json).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&beside, &self.path));
        written.map_err(|e| ToolError::file(&self.path, e))
    }

    /// The import is complete: nothing is left to resume.
    pub(super) fn remove(&self) -> Result<(), ToolError> {
        fs::remove_file(&self.path).map_err(|e| ToolError::file(&self.path, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(directory: &tempfile::TempDir, space: &str) -> Checkpoint {
        Checkpoint::new(directory.path().join("x.engram-import"), space)
    }

    #[test]
    fn a_saved_position_loads_and_leaves_no_other_file() {
        let directory = tempfile::tempdir().unwrap();
        let checkpoint = checkpoint(&directory, "s");
        assert_eq!(checkpoint.load().unwrap(), None);
        for lines in [1, 2] {
            let position = Position { lines, bytes: 10 * lines, ..Position::default() };
            checkpoint.save(position).unwrap();
            assert_eq!(checkpoint.load().unwrap(), Some(position));
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        checkpoint.remove().unwrap();
        assert_eq!(checkpoint.load().unwrap(), None);
    }

    #[test]
    fn a_half_written_successor_does_not_matter() {
        let directory = tempfile::tempdir().unwrap();
        let checkpoint = checkpoint(&directory, "s");
        let position = Position { lines: 7, ..Position::default() };
        checkpoint.save(position).unwrap();
        fs::write(directory.path().join("x.engram-import.new"), b"{\"spa").unwrap();
        assert_eq!(checkpoint.load().unwrap(), Some(position));
    }

    #[test]
    fn a_foreign_checkpoint_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        checkpoint(&directory, "one").save(Position::default()).unwrap();
        let error = checkpoint(&directory, "two").load().unwrap_err().to_string();
        assert!(error.contains("import into 'one'"), "{error}");
        fs::write(directory.path().join("x.engram-import"), b"12").unwrap();
        let error = checkpoint(&directory, "one").load().unwrap_err().to_string();
        assert!(error.contains("remove it to start over"), "{error}");
    }
}
