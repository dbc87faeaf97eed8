//! The journal: what was sent, what was answered, what was found. One line each, appended only.
//!
//! ```text
//! engram-journal 2 64                 version of the journal, dimensions of the vectors
//! > 0 create 0                        change 0 was about to be sent: create space 0
//! < 0 done                            its reply came
//! > 17 store 0 42                     store number 42 into space 0; its version is 17
//! > 18 keyed 0 43                     the same with an idempotency key
//! > 19 forget 0 42
//! < 17 created 523                    stored as sequence 523; also: replaced, existing
//! < 18 refused BUSY                   also: < 18 unsure READONLY
//! < 19 forgotten 525                  or: < 19 unknown
//! > 20 repeat 18                      change 18 again, with the same key
//! > 21 drop 3
//! = episode 0 42 17 523               a verification found version 17, sequence 523
//! = episode 0 43 -                    … or nothing
//! = space 3 21                        … the space as change 21 had created it; - for none
//! ```
//!
//! A line with `>` is written before the change is sent, a line with `<` after its reply was read.
//! Between the two the change may have happened or not, and without a `<` that is so for ever. So
//! the order of the lines is an order of events that the daemon must agree with, whichever thread
//! wrote them.
//!
//! The journal is not flushed to the disk: it must outlive the daemon, not the machine. A last line
//! without its end was being written when its writer died: it says nothing.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

use crate::error::ToolError;

const MAGIC: &str = "engram-journal";
const VERSION: u32 = 2;
/// What stands for nothing in a line with `=`.
const NOTHING: &str = "-";

/// The number of a change: its place in the order in which changes were made up.
pub(super) type Change = u64;

/// What is asked of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Store { space: usize, number: u64, keyed: bool },
    Forget { space: usize, number: u64 },
    Repeat { of: Change },
    Create { space: usize },
    Drop { space: usize },
}

/// What the daemon answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Created(u64),
    Replaced(u64),
    Existing(u64),
    Forgotten(u64),
    /// There was nothing to forget.
    Unknown,
    /// A space was created or dropped.
    Done,
    /// An error with this code; nothing was changed.
    Refused(String),
    /// An error behind which the change may have happened.
    Unsure(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    Sent(Change, Action),
    Answered(Change, Answer),
    /// Version and sequence.
    SawEpisode {
        space: usize,
        number: u64,
        found: Option<(u64, u64)>,
    },
    /// The change that had created it.
    SawSpace {
        space: usize,
        found: Option<Change>,
    },
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent(change, action) => match action {
                Action::Store { space, number, keyed: false } => {
                    write!(f, "> {change} store {space} {number}")
                }
                Action::Store { space, number, keyed: true } => {
                    write!(f, "> {change} keyed {space} {number}")
                }
                Action::Forget { space, number } => write!(f, "> {change} forget {space} {number}"),
                Action::Repeat { of } => write!(f, "> {change} repeat {of}"),
                Action::Create { space } => write!(f, "> {change} create {space}"),
                Action::Drop { space } => write!(f, "> {change} drop {space}"),
            },
            Self::Answered(change, answer) => match answer {
                Answer::Created(sequence) => write!(f, "< {change} created {sequence}"),
                Answer::Replaced(sequence) => write!(f, "< {change} replaced {sequence}"),
                Answer::Existing(sequence) => write!(f, "< {change} existing {sequence}"),
                Answer::Forgotten(sequence) => write!(f, "< {change} forgotten {sequence}"),
                Answer::Unknown => write!(f, "< {change} unknown"),
                Answer::Done => write!(f, "< {change} done"),
                Answer::Refused(code) => write!(f, "< {change} refused {code}"),
                Answer::Unsure(code) => write!(f, "< {change} unsure {code}"),
            },
            Self::SawEpisode { space, number, found: Some((version, sequence)) } => {
                write!(f, "= episode {space} {number} {version} {sequence}")
            }
            Self::SawEpisode { space, number, found: None } => {
                write!(f, "= episode {space} {number} {NOTHING}")
            }
            Self::SawSpace { space, found: Some(change) } => write!(f, "= space {space} {change}"),
            Self::SawSpace { space, found: None } => write!(f, "= space {space} {NOTHING}"),
        }
    }
}

impl Entry {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let kind = words.next()?;
        let entry = match kind {
            ">" => Self::Sent(number(words.next())?, parse_action(&mut words)?),
            "<" => Self::Answered(number(words.next())?, parse_answer(&mut words)?),
            "=" => match words.next()? {
                "episode" => Self::SawEpisode {
                    space: number(words.next())?,
                    number: number(words.next())?,
                    found: match words.next()? {
                        NOTHING => None,
                        version => Some((version.parse().ok()?, number(words.next())?)),
                    },
                },
                "space" => Self::SawSpace {
                    space: number(words.next())?,
                    found: match words.next()? {
                        NOTHING => None,
                        change => Some(change.parse().ok()?),
                    },
                },
                _ => return None,
            },
            _ => return None,
        };
        words.next().is_none().then_some(entry)
    }
}

fn number<N: std::str::FromStr>(word: Option<&str>) -> Option<N> {
    word?.parse().ok()
}

fn parse_action<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Action> {
    Some(match words.next()? {
        kind @ ("store" | "keyed") => {
            let (space, number) = (number(words.next())?, number(words.next())?);
            Action::Store { space, number, keyed: kind == "keyed" }
        }
        "forget" => Action::Forget { space: number(words.next())?, number: number(words.next())? },
        "repeat" => Action::Repeat { of: number(words.next())? },
        "create" => Action::Create { space: number(words.next())? },
        "drop" => Action::Drop { space: number(words.next())? },
        _ => return None,
    })
}

fn parse_answer<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Answer> {
    Some(match words.next()? {
        "created" => Answer::Created(number(words.next())?),
        "replaced" => Answer::Replaced(number(words.next())?),
        "existing" => Answer::Existing(number(words.next())?),
        "forgotten" => Answer::Forgotten(number(words.next())?),
        "unknown" => Answer::Unknown,
        "done" => Answer::Done,
        "refused" => Answer::Refused(words.next()?.to_owned()),
        "unsure" => Answer::Unsure(words.next()?.to_owned()),
        _ => return None,
    })
}

/// A journal that is appended to, by several threads at once: each call is one write to a file in
/// append mode.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// Begins a journal.
    pub(super) fn create(path: &Path, dimensions: usize) -> Result<Self, ToolError> {
        let file = OpenOptions::new().append(true).create_new(true).open(path);
        let journal =
            Self { file: file.map_err(|e| ToolError::file(path, e))?, path: path.to_owned() };
        let head = format!("{MAGIC} {VERSION} {dimensions}\n");
        journal.write(head.as_bytes())?;
        Ok(journal)
    }

    /// Goes on with a journal. A last line that was never finished is cut off.
    pub(super) fn reopen(path: &Path) -> Result<Self, ToolError> {
        let refuse = |error| ToolError::file(path, error);
        let bytes = std::fs::read(path).map_err(refuse)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let file = OpenOptions::new().append(true).open(path).map_err(refuse)?;
        file.set_len(whole as u64).map_err(refuse)?;
        Ok(Self { file, path: path.to_owned() })
    }

    pub(super) fn append(&self, entries: &[Entry]) -> Result<(), ToolError> {
        let mut lines = Vec::with_capacity(entries.len() * 24);
        for entry in entries {
            writeln!(lines, "{entry}").expect("writing to a Vec cannot fail");
        }
        self.write(&lines)
    }

    fn write(&self, lines: &[u8]) -> Result<(), ToolError> {
        (&self.file).write_all(lines).map_err(|e| ToolError::file(&self.path, e))
    }
}

/// Whether a file is a journal.
pub(crate) fn is_journal(path: &Path) -> Result<bool, ToolError> {
    let refuse = |error| ToolError::file(path, error);
    let mut head = String::new();
    let file = File::open(path).map_err(refuse)?;
    // A log of ids may hold anything; only its beginning matters.
    match BufReader::new(file).take(MAGIC.len() as u64).read_to_string(&mut head) {
        Ok(_) => Ok(head == MAGIC),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Ok(false),
        Err(error) => Err(refuse(error)),
    }
}

/// Reads a journal from its beginning. Returns the dimensions of its vectors.
pub(super) fn read(path: &Path, mut each: impl FnMut(Entry)) -> Result<usize, ToolError> {
    let refuse = |error| ToolError::file(path, error);
    let mut reader = BufReader::new(File::open(path).map_err(refuse)?);
    let mut line = String::new();
    let mut dimensions = None;
    for nth in 1.. {
        line.clear();
        reader.read_line(&mut line).map_err(refuse)?;
        let Some(line) = line.strip_suffix('\n') else { break };
        let is_understood = if nth == 1 {
            dimensions = parse_head(line);
            dimensions.is_some()
        } else {
            Entry::parse(line).map(&mut each).is_some()
        };
        if !is_understood {
            let reason = format!("'{line}' does not belong into a journal of this version");
            return Err(ToolError::Line { path: path.to_owned(), line: nth, reason });
        }
    }
    dimensions.ok_or_else(|| ToolError::format(path, "it is no journal: its first line is missing"))
}

fn parse_head(line: &str) -> Option<usize> {
    let words: Vec<&str> = line.split(' ').collect();
    let [MAGIC, version, dimensions] = words[..] else { return None };
    (version.parse() == Ok(VERSION)).then(|| dimensions.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_kind() -> Vec<Entry> {
        let sent = [
            Action::Store { space: 0, number: 42, keyed: false },
            Action::Store { space: 3, number: 43, keyed: true },
            Action::Forget { space: 0, number: 42 },
            Action::Repeat { of: 1 },
            Action::Create { space: 3 },
            Action::Drop { space: 3 },
        ];
        let answered = [
            Answer::Created(5),
            Answer::Replaced(6),
            Answer::Existing(5),
            Answer::Forgotten(7),
            Answer::Unknown,
            Answer::Done,
            Answer::Refused("BUSY".into()),
            Answer::Unsure("READONLY".into()),
        ];
        let sent = (0..).zip(sent).map(|(change, action)| Entry::Sent(change, action));
        let answered = (0..).zip(answered).map(|(change, answer)| Entry::Answered(change, answer));
        let saw = [
            Entry::SawEpisode { space: 0, number: 1, found: Some((17, 523)) },
            Entry::SawEpisode { space: 0, number: 2, found: None },
            Entry::SawSpace { space: 1, found: Some(9) },
            Entry::SawSpace { space: 2, found: None },
        ];
        sent.chain(answered).chain(saw).collect()
    }

    fn read_all(path: &Path) -> Result<(usize, Vec<Entry>), ToolError> {
        let mut entries = Vec::new();
        read(path, |entry| entries.push(entry)).map(|dimensions| (dimensions, entries))
    }

    #[test]
    fn what_is_appended_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let entries = every_kind();
        let journal = Journal::create(&path, 8).unwrap();
        let (first, second) = entries.split_at(7);
        journal.append(first).unwrap();
        Journal::reopen(&path).unwrap().append(second).unwrap();
        assert_eq!(read_all(&path).unwrap(), (8, entries));
        assert!(is_journal(&path).unwrap());
        assert!(Journal::create(&path, 8).is_err(), "a journal is never begun twice");
    }

    #[test]
    fn an_unfinished_line_says_nothing_and_is_cut_before_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        Journal::create(&path, 8).unwrap().write(b"< 1 done\n< 2 do").unwrap();
        let done = |change| Entry::Answered(change, Answer::Done);
        assert_eq!(read_all(&path).unwrap().1, [done(1)]);
        Journal::reopen(&path).unwrap().append(&[done(3)]).unwrap();
        assert_eq!(read_all(&path).unwrap().1, [done(1), done(3)]);
    }

    #[test]
    fn what_is_no_journal_is_told_by_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "load-000000000001\n").unwrap();
        assert!(!is_journal(&path).unwrap());
        std::fs::write(&path, b"\xff\xfe").unwrap();
        assert!(!is_journal(&path).unwrap());
        Journal::create(&folder.path().join("bad"), 8).unwrap().write(b"> 1 eat 2\n").unwrap();
        let error = read_all(&folder.path().join("bad")).unwrap_err().to_string();
        assert!(error.contains("line 2: '> 1 eat 2'"), "{error}");
    }
}
