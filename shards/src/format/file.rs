//! The names of the files in a shard's folder that are numbered.

use std::fmt;

/// What a numbered file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// A segment of the log.
    Log,
    /// Sections of consolidated memory spaces.
    Columns,
    /// What else a replay of the log would have rebuilt.
    State,
}

/// A numbered file of a shard. Segments of the log are numbered by themselves, columns and state
/// files from one counter that the manifest keeps, so that no name ever means two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    pub kind: FileKind,
    /// From 1.
    pub number: u64,
}

const KINDS: [(FileKind, &str, &str); 3] = [
    (FileKind::Log, "log-", ".seg"),
    (FileKind::Columns, "columns-", ".seg"),
    (FileKind::State, "state-", ".chk"),
];

impl FileId {
    pub fn log(number: u64) -> Self {
        Self { kind: FileKind::Log, number }
    }

    pub fn columns(number: u64) -> Self {
        Self { kind: FileKind::Columns, number }
    }

    pub fn state(number: u64) -> Self {
        Self { kind: FileKind::State, number }
    }

    /// The inverse of `to_string`; `None` for any other file.
    pub fn from_name(name: &str) -> Option<Self> {
        let file = KINDS.iter().find_map(|(kind, before, behind)| {
            let digits = name.strip_prefix(before)?.strip_suffix(behind)?;
            Some(Self { kind: *kind, number: digits.parse().ok()? })
        })?;
        (file.number > 0 && file.to_string() == name).then_some(file)
    }
}

/// The name of the file: `columns-0000000007.seg`.
impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, number } = self;
        let (_, before, behind) =
            KINDS.iter().find(|(own, ..)| own == kind).expect("all are named");
        write!(f, "{before}{number:010}{behind}")
    }
}

/// `log-0000000001.seg` for segment 1.
pub fn segment_file_name(segment: u64) -> String {
    FileId::log(segment).to_string()
}

/// The inverse of [`segment_file_name`]; `None` for any other file.
pub fn segment_from_file_name(name: &str) -> Option<u64> {
    let file = FileId::from_name(name).filter(|file| file.kind == FileKind::Log);
    file.map(|file| file.number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_others_are_ignored() {
        for (file, name) in [
            (FileId::log(42), "log-0000000042.seg"),
            (FileId::columns(7), "columns-0000000007.seg"),
            (FileId::state(u64::MAX), "state-18446744073709551615.chk"),
        ] {
            assert_eq!(file.to_string(), name);
            assert_eq!(FileId::from_name(name), Some(file));
        }
        for other in [
            "log-0000000000.seg",
            "columns-1.seg",
            "columns-0000000001.chk",
            "state-0000000001.seg",
            "log-.seg",
            "x",
            "log-+000000001.seg",
        ] {
            assert_eq!(FileId::from_name(other), None, "{other}");
        }
        assert_eq!(segment_from_file_name(&segment_file_name(42)), Some(42));
        assert_eq!(segment_from_file_name("columns-0000000042.seg"), None);
    }
}
