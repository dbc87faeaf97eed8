//! Whether the daemon falls over again and again: starts in a row that did not live long.
//!
//! `engram.starts` in the data directory has a line for each of them. A start adds its own and
//! takes all away once it has served for a while, or has been stopped. A start that refuses, with a
//! sentence that says why, takes back its own: nothing fell over. What stays are the starts whose
//! process died: by a panic, for want of memory, by the watchdog, by `kill -9`.
//!
//! After so many of them the next start is read-only. It neither adds nor takes away lines: it goes
//! on like this until somebody has looked and removes the file, or says that it is to be ignored.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The file's name in the data directory.
pub const STARTS_FILE: &str = "engram.starts";

/// This start among those before it.
#[derive(Debug)]
pub struct Starts {
    path: PathBuf,
    /// Starts before this one that did not live long.
    early: usize,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The line of this start stands behind so many bytes.
    Noted { bytes_before: u64 },
    /// This start has no line: nobody counts.
    Unnoted,
    /// Too many starts ended early.
    Loop,
    /// It has lived long enough.
    Cleared,
}

impl Starts {
    /// Notes a start in a data directory that this process has locked, unless `starts_max` before
    /// it ended early; 0 never notes one.
    pub fn note(folder: &Path, starts_max: usize, now_us: i64) -> io::Result<Self> {
        let path = folder.join(STARTS_FILE);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        let early = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
        let mut starts = Self { path, early, state: State::Unnoted };
        if starts_max > 0 && early >= starts_max {
            starts.state = State::Loop;
        } else if starts_max > 0 {
            let bytes_before = bytes.len() as u64;
            let mut file = File::options().append(true).create(true).open(&starts.path)?;
            let line_end = if bytes.is_empty() || bytes.ends_with(b"\n") { "" } else { "\n" };
            let process = std::process::id();
            writeln!(file, "{line_end}started_at_us={now_us} process={process}")?;
            file.sync_all()?;
            starts.state = State::Noted { bytes_before };
        }
        Ok(starts)
    }

    /// Of a start that could not be noted.
    pub fn unnoted(folder: &Path) -> Self {
        Self { path: folder.join(STARTS_FILE), early: 0, state: State::Unnoted }
    }

    /// Why this start is to be read-only, if it is.
    pub fn read_only_reason(&self) -> Option<String> {
        (self.state == State::Loop).then(|| {
            format!(
                "the last {} starts of engramd ended early and this one writes nothing; find the \
                 cause in its log, then remove {} and restart, or restart with --set \
                 crash_loop_starts=0",
                self.early,
                self.path.display()
            )
        })
    }

    /// The daemon has served for a while, or served and was stopped: nothing falls over here.
    pub fn clear(&mut self) -> io::Result<()> {
        if matches!(self.state, State::Loop | State::Cleared) {
            return Ok(());
        }
        self.state = State::Cleared;
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The daemon ends before it served, and says why.
    pub fn take_back(&mut self) -> io::Result<()> {
        let State::Noted { bytes_before } = self.state else { return Ok(()) };
        if bytes_before == 0 {
            return self.clear();
        }
        self.state = State::Unnoted;
        File::options().write(true).open(&self.path)?.set_len(bytes_before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(folder: &Path, starts_max: usize) -> Starts {
        Starts::note(folder, starts_max, 7).unwrap()
    }

    #[test]
    fn the_start_after_the_bound_is_read_only_and_stays_so() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..3 {
            assert_eq!(note(folder.path(), 3).read_only_reason(), None);
        }
        let before = fs::read(folder.path().join(STARTS_FILE)).unwrap();
        for _ in 0..2 {
            let mut starts = note(folder.path(), 3);
            let reason = starts.read_only_reason().unwrap();
            assert!(reason.contains("the last 3 starts"), "{reason}");
            assert!(reason.contains("engram.starts") && reason.contains("crash_loop_starts=0"));
            starts.clear().unwrap();
            starts.take_back().unwrap();
            assert_eq!(fs::read(folder.path().join(STARTS_FILE)).unwrap(), before);
        }
        assert_eq!(note(folder.path(), 4).read_only_reason(), None, "a higher bound");
    }

    #[test]
    fn a_start_that_lived_ends_the_row() {
        let folder = tempfile::tempdir().unwrap();
        drop(note(folder.path(), 2));
        let mut starts = note(folder.path(), 2);
        starts.clear().unwrap();
        starts.clear().unwrap();
        assert!(!folder.path().join(STARTS_FILE).exists());
        assert_eq!(note(folder.path(), 1).read_only_reason(), None);
    }

    #[test]
    fn a_start_that_says_why_it_ends_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        note(folder.path(), 2).take_back().unwrap();
        assert!(!folder.path().join(STARTS_FILE).exists());
        drop(note(folder.path(), 2));
        let before = fs::read(folder.path().join(STARTS_FILE)).unwrap();
        for _ in 0..3 {
            note(folder.path(), 2).take_back().unwrap();
            assert_eq!(fs::read(folder.path().join(STARTS_FILE)).unwrap(), before);
        }
    }

    #[test]
    fn zero_ignores_the_file_and_a_start_that_lived_removes_it() {
        let folder = tempfile::tempdir().unwrap();
        drop(note(folder.path(), 1));
        assert!(note(folder.path(), 1).read_only_reason().is_some());
        let mut starts = note(folder.path(), 0);
        assert_eq!(starts.read_only_reason(), None);
        starts.clear().unwrap();
        assert_eq!(note(folder.path(), 1).read_only_reason(), None);
    }

    #[test]
    fn whatever_is_in_the_file_counts_by_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(STARTS_FILE);
        fs::write(&path, b"\n\xff\xfe\nhalf a li").unwrap();
        drop(note(folder.path(), 9));
        let mut starts = note(folder.path(), 3);
        assert!(starts.read_only_reason().unwrap().contains("the last 3 starts"));
        starts.clear().unwrap();
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(Starts::note(folder.path(), 3, 7).is_err());
    }
}
