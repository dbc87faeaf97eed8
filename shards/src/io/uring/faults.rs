//! Failures on demand, for tests of the real daemon on a real disk.
//!
//! `ENGRAM_FAULT=flush:3` makes the third flush of every log fail with an I/O error, after it was
//! done. The kinds are `write`, `flush`, `anchor`, `overwrite`, `manifest`, `piece` and `seal` for
//! columns and state files, `copy` for a step of a copy of the folder, and `short` for a
//! write of which one sector is missing. Only builds with the feature `simulation` have this; no
//! release has.

use super::files::Step;
use super::{Tag, UringIo};
use crate::io::SlotFile;
use crate::limits::SECTOR_BYTES;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Write,
    Short,
    Flush,
    Anchor,
    Overwrite,
    Manifest,
    Piece,
    Seal,
    Copy,
}

/// The failure that is still to come, if one is.
#[derive(Debug, Default)]
pub(super) struct Faults {
    next: Option<(Kind, u64)>,
}

impl Faults {
    /// # Panics
    /// When the variable is set and says nothing of the kind above.
    pub(super) fn from_environment() -> Self {
        let Ok(text) = std::env::var("ENGRAM_FAULT") else { return Self::default() };
        let (kind, count) = text.split_once(':').expect("ENGRAM_FAULT is KIND:COUNT");
        let kind = match kind {
            "write" => Kind::Write,
            "short" => Kind::Short,
            "flush" => Kind::Flush,
            "anchor" => Kind::Anchor,
            "overwrite" => Kind::Overwrite,
            "manifest" => Kind::Manifest,
            "piece" => Kind::Piece,
            "seal" => Kind::Seal,
            "copy" => Kind::Copy,
            other => panic!("ENGRAM_FAULT knows no '{other}'"),
        };
        let count = count.parse().expect("ENGRAM_FAULT counts from 1");
        Self { next: Some((kind, count)) }
    }

    /// What the kernel's result becomes; with the step of a call to another file.
    fn strike(&mut self, tag: Tag, step: Option<Step>, result: i32) -> i32 {
        let Some((kind, left)) = &mut self.next else { return result };
        let is_meant = match tag {
            Tag::Write(_) => matches!(kind, Kind::Write | Kind::Short),
            Tag::Flush(_) => *kind == Kind::Flush,
            Tag::FlushSlot(SlotFile::Anchors) => *kind == Kind::Anchor,
            Tag::FlushSlot(SlotFile::Manifest) => *kind == Kind::Manifest,
            Tag::FlushOverwrite(_) => *kind == Kind::Overwrite,
            Tag::File(_) => match step {
                Some(Step::Write) => *kind == Kind::Piece,
                Some(Step::FlushFile) => *kind == Kind::Seal,
                _ => false,
            },
            Tag::Copy => *kind == Kind::Copy,
            Tag::Prepare | Tag::Read(_) | Tag::Overwrite(_) | Tag::Slot(_) | Tag::Memory(_) => {
                false
            }
        };
        if !is_meant || result < 0 {
            return result;
        }
        *left -= 1;
        if *left > 0 {
            return result;
        }
        let is_short = *kind == Kind::Short;
        self.next = None;
        if is_short { result - SECTOR_BYTES as i32 } else { -libc::EIO }
    }
}

impl UringIo {
    pub(super) fn strike(&mut self, tag: Tag, result: i32) -> i32 {
        let step = match tag {
            Tag::File(slot) => self.file_calls.step(slot),
            _ => None,
        };
        self.faults.strike(tag, step, result)
    }
}
