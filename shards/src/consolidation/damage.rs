//! Columns files that are not as they were written: looked for after a start, found by merges, and
//! not merged any more.
//!
//! A start maps columns files and looks at their directories alone. When the shard is quiet behind
//! it, they are brought into memory piece by piece, so that recalls need not wait for the disk, and
//! every block is compared with its checksum. A merge compares them too, before it reads anything.
//!
//! What is damaged stays as it is: reads go on, and whoever mends it has all there is. New rows go
//! into files beside it, as long as a shard has no more than two.

use std::collections::BTreeSet;
use std::ops::Range;

use super::attempt::Failure;
use super::{Consolidator, Ground, LiveFile};
use crate::episode::SpaceNumber;
use crate::format::FileId;
use crate::format::columns::{COLUMN_BLOCK_BYTES, ColumnEntry, ColumnKind, RecordBlock};
use crate::io::PIECE_BYTES;
use crate::memory::Memory;
use crate::shard::Notice;
use crate::space::{Damaged, Part, PartNumber, SECTIONS_MAX};

/// Blocks that are looked at in one unit of work.
const PIECE_BLOCKS: usize = PIECE_BYTES / COLUMN_BLOCK_BYTES;

/// Damaged blocks that are named one by one. All are counted.
const NAMED_MAX: usize = 16;

/// A block that does not check, or that the disk does not give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct DamagedBlock {
    file: u64,
    space: SpaceNumber,
    kind: ColumnKind,
    block: usize,
}

/// What is known of files in use.
#[derive(Debug, Default)]
pub(super) struct Damage {
    blocks: BTreeSet<DamagedBlock>,
    /// The same as a sentence, with the remedy.
    pub(super) what: Option<String>,
}

impl Damage {
    pub(super) fn blocks(&self) -> u64 {
        self.blocks.len() as u64
    }

    pub(super) fn is_in(&self, file: u64) -> bool {
        self.blocks.iter().any(|block| block.file == file)
    }
}

/// Where the look at the files of the start is.
#[derive(Debug)]
pub(super) struct Checking {
    /// Sections that were not looked at, and their files; the next one last.
    sections: Vec<(u64, SpaceNumber, PartNumber)>,
    column: usize,
    block: usize,
}

impl Checking {
    pub(super) fn new(files: &[LiveFile]) -> Self {
        let sections = files.iter().flat_map(|live| {
            live.parts.iter().map(|(space, part)| (live.named.number, *space, *part))
        });
        Self { sections: sections.collect(), column: 0, block: 0 }
    }

    /// Brings the next piece in and looks at it; `None` when there is no more.
    fn step(&mut self, files: &[LiveFile], memory: &Memory) -> Option<Vec<DamagedBlock>> {
        let &(file, space, part) = self.sections.last()?;
        let live = files.iter().find(|live| live.named.number == file);
        let column = memory.section(space, part);
        let column = column.and_then(|section| section.entry().columns.get(self.column));
        // A section that is merged or dropped meanwhile needs no more looking at.
        let Some((live, column)) = live.zip(column) else {
            self.sections.pop();
            (self.column, self.block) = (0, 0);
            return Some(Vec::new());
        };
        let blocks = self.block..column.crcs.len().min(self.block + PIECE_BLOCKS);
        let damaged = damaged_blocks(live, column, blocks.clone());
        let named = damaged.map(|block| DamagedBlock { file, space, kind: column.kind, block });
        self.block = blocks.end;
        if self.block == column.crcs.len() {
            (self.column, self.block) = (self.column + 1, 0);
        }
        Some(named.collect())
    }
}

/// Brings some blocks of a column in; those that the disk does not give, which nobody may touch,
/// and those that do not check.
fn damaged_blocks(
    live: &LiveFile,
    column: &ColumnEntry,
    blocks: Range<usize>,
) -> impl Iterator<Item = usize> {
    let place = |blocks: Range<usize>| {
        let at =
            |block: usize| column.range.end.min(column.range.start + block * COLUMN_BLOCK_BYTES);
        at(blocks.start)..at(blocks.end)
    };
    let is_in = move |blocks: Range<usize>| live.mapped.populate(place(blocks)).is_ok();
    let all_in = is_in(blocks.clone());
    blocks.filter(move |&block| {
        let is_in = all_in || is_in(block..block + 1);
        !is_in || column.checks(&live.mapped, block) != Some(true)
    })
}

impl Consolidator {
    /// Looks at a piece of what was there at the start; whether there was one.
    pub(super) fn check_some<I>(&mut self, ground: &Ground<'_, I>) -> bool {
        let Some(checking) = &mut self.checking else { return false };
        match checking.step(&self.files, ground.memory) {
            Some(damaged) => self.note_damaged(damaged, ground.memory),
            None => self.checking = None,
        }
        true
    }

    /// Files that may be merged, in the order of all.
    pub(super) fn sound(&self) -> impl Iterator<Item = &LiveFile> {
        self.files.iter().filter(|live| !self.damage.is_in(live.named.number))
    }

    /// Whether there are so many damaged files that no other fits beside them.
    pub(super) fn is_full_of_damage(&self) -> bool {
        self.files.len() - self.sound().count() >= SECTIONS_MAX
    }

    /// What is damaged, in words, if any file in use is.
    pub(crate) fn damage(&self) -> Option<&str> {
        self.damage.what.as_deref()
    }

    /// Whether a damaged file has a section of a space: nobody knows all that is in it.
    pub(crate) fn has_damage_in(&self, space: SpaceNumber) -> bool {
        let damaged = self.files.iter().filter(|live| self.damage.is_in(live.named.number));
        damaged.flat_map(|live| &live.parts).any(|(own, _)| *own == space)
    }

    /// Finds out which file made an attempt fail, so that the next one does without it.
    pub(super) fn note_culprit<I>(&mut self, failure: &Failure, ground: &Ground<'_, I>) {
        let attempt = self.attempt.as_ref().expect("an attempt is under way");
        let merged = self.files.iter().filter(|live| attempt.merged.contains(&live.named.number));
        let parts = merged
            .flat_map(|live| live.parts.iter().map(move |(space, part)| (live, *space, *part)));
        let blame = |live: &LiveFile, space, part| {
            let file = live.named.number;
            match *failure {
                Failure::Block { space: own, kind, block } if own == space => {
                    let column = ground.memory.section(space, part)?.entry().column(kind)?;
                    let is_damaged = column.checks(&live.mapped, block) == Some(false);
                    is_damaged.then_some(DamagedBlock { file, space, kind, block })
                }
                Failure::Damaged(Damaged { row }) => {
                    let source = Part::Section(ground.memory.section(space, part)?);
                    let is_damaged = row < source.rows() && source.body(row).is_err();
                    let block = row as usize * size_of::<RecordBlock>() / COLUMN_BLOCK_BYTES;
                    let kind = ColumnKind::Records;
                    is_damaged.then_some(DamagedBlock { file, space, kind, block })
                }
                _ => None,
            }
        };
        let damaged = parts.filter_map(|(live, space, part)| blame(live, space, part)).collect();
        self.note_damaged(damaged, ground.memory);
    }

    /// Takes note of damage. Who waits for everything to be merged waits in vain and is told.
    fn note_damaged(&mut self, damaged: Vec<DamagedBlock>, memory: &Memory) {
        for block in damaged {
            if !self.damage.blocks.insert(block) {
                continue;
            }
            self.given_up = Some(self.asked);
            if self.damage.blocks.len() <= NAMED_MAX {
                let space = memory.spaces.get(&block.space);
                let space = space.map_or_else(String::new, |space| space.settings.name.clone());
                let DamagedBlock { file, kind, block, .. } = block;
                let file = FileId::columns(file);
                self.notices.push(Notice::Damaged { file, space, kind, block });
            }
        }
        self.describe_damage();
    }

    /// Forgets about files that are not in use any more.
    pub(super) fn describe_damage(&mut self) {
        let Self { damage, files, .. } = self;
        damage.blocks.retain(|block| files.iter().any(|live| live.named.number == block.file));
        let mut numbers: Vec<_> = damage.blocks.iter().map(|block| block.file).collect();
        numbers.dedup();
        let names: Vec<_> =
            numbers.iter().map(|number| FileId::columns(*number).to_string()).collect();
        damage.what = (!names.is_empty()).then(|| {
            let (names, blocks) = (names.join(" and "), damage.blocks.len());
            format!(
                "{blocks} blocks of columns are damaged in {names}, which is not merged any more; \
                 put the same file of a snapshot in its place while the daemon is stopped, or \
                 restore the snapshot"
            )
        });
    }
}
