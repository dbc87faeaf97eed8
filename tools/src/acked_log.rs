//! The log of acknowledged ids: one id a line, written as soon as the daemon has answered.
//!
//! It is the oracle of every test that kills the daemon: whatever stands in it must be there
//! afterwards. An id is appended after its acknowledgement arrived and never before, so that the
//! log may lack acknowledged ids but holds no other.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::error::ToolError;

/// Appended to by several threads at once: each call is one write to a file in append mode.
#[derive(Debug)]
pub(crate) struct AckedLog {
    file: File,
    path: PathBuf,
}

impl AckedLog {
    /// Opens the log; an earlier one is kept only when `keep` is set.
    pub(crate) fn open(path: &Path, keep: bool) -> Result<Self, ToolError> {
        let mut options = OpenOptions::new();
        options.create(true);
        let file = if keep {
            options.append(true).open(path)
        } else {
            // Truncated first: append mode cannot be combined with truncation.
            File::create(path).and_then(|_| options.append(true).open(path))
        };
        Ok(Self { file: file.map_err(|e| ToolError::file(path, e))?, path: path.to_owned() })
    }

    /// Appends lines that are already separated and ended by line ends.
    pub(crate) fn append(&self, lines: &[u8]) -> Result<(), ToolError> {
        (&self.file).write_all(lines).map_err(|e| ToolError::file(&self.path, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_log_grows_and_a_new_one_starts_empty() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("acked");
        AckedLog::open(&path, false).unwrap().append(b"a\n").unwrap();
        AckedLog::open(&path, true).unwrap().append(b"b\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a\nb\n");
        AckedLog::open(&path, false).unwrap().append(b"c\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "c\n");
    }
}
