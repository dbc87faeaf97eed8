//! Building the sections of a columns file, space by space, and streaming them.

use std::io;

use super::files::FileWriter;
use super::{Failure, Frozen, Ground, LiveFile};
use crate::arena::Arena;
use crate::episode::{Metric, SpaceNumber};
use crate::format::columns::{ColumnKind, ColumnsIdentity, ColumnsPlace, ColumnsWriter};
use crate::index::graph::page::NODES_MAX;
use crate::index::section::SectionIndexBuilder;
use crate::io::{Io, Purpose};
use crate::kernels::kernels;
use crate::space::{
    CODED_DIMENSIONS_MIN, Moved, Part, PartNumber, RowAt, SectionWriter, Space, TimeOrder,
};

/// Rows that one unit of work looks at, rotates, or writes a page of.
const LOOK_ROWS: usize = 256;
const PUSH_ROWS: usize = 16;
const PAGES: usize = 4;
const ARRANGED_ROWS: usize = 4096;
/// Rows whose texts one unit reads.
const READ_ROWS: u32 = 16;
/// Bytes of columns that one unit writes.
const COLUMN_BYTES: usize = 32 << 10;

/// Chunks of memory that are on their way at once: enough that the kernel is never without work.
const BROUGHT_MAX: usize = 16;

/// The memory that an index is built with, on its way.
#[derive(Debug, Default)]
struct Bringing {
    /// Chunks of this index that were asked for.
    asked: usize,
    /// Of those, the ones that are not there, with the numbers they were asked for under.
    under_way: Vec<(u64, usize)>,
}

impl Bringing {
    /// Asks for more as long as there is more; `next` is the number for the next one.
    fn ask<I: Io>(&mut self, index: &mut SectionIndexBuilder, next: &mut u64, io: &mut I) {
        while self.under_way.len() < BROUGHT_MAX {
            let Some(chunk) = index.next_chunk() else { return };
            self.under_way.push((*next, self.asked));
            io.bring_in(Purpose::Consolidation(*next), chunk);
            (*next, self.asked) = (*next + 1, self.asked + 1);
        }
    }

    /// All before this chunk are there.
    fn through(&self) -> usize {
        self.under_way.iter().map(|(_, nth)| *nth).min().unwrap_or(self.asked)
    }
}

/// What a call of [`Building::step`] comes to.
#[derive(Debug)]
pub(super) enum Built {
    /// One unit of work was done, and there is more.
    Some,
    /// There has to be more memory first.
    Waits,
    /// All: where the directory of the file is, if there was anything to write.
    All(Option<ColumnsPlace>),
}

/// A space and the parts that its new section is made of.
#[derive(Debug)]
struct Job {
    space: SpaceNumber,
    sources: Vec<PartNumber>,
}

#[derive(Debug)]
enum Step {
    /// Whether the sections that are merged are as they were written: damage must not be copied
    /// under a checksum that makes it look sound.
    Check {
        source: usize,
        column: usize,
        block: usize,
    },
    Order(TimeOrder),
    /// The largest norm of a row, where points are scaled by it.
    Measure {
        order: Vec<RowAt>,
        next: usize,
        norm_max: f32,
    },
    Push {
        order: Vec<RowAt>,
        next: usize,
        index: Box<SectionIndexBuilder>,
    },
    Index {
        order: Vec<RowAt>,
        index: Box<SectionIndexBuilder>,
    },
    /// The order of the graph becomes that of the rows.
    Arrange {
        order: Vec<RowAt>,
        index: Box<SectionIndexBuilder>,
        arranged: Vec<RowAt>,
    },
    Columns {
        writer: Box<SectionWriter>,
        index: Option<Box<SectionIndexBuilder>>,
    },
    Graph {
        index: Box<SectionIndexBuilder>,
        next: usize,
    },
    Codes {
        index: Box<SectionIndexBuilder>,
        next: usize,
    },
    /// The memory of the index goes back to the kernel.
    Release(Box<SectionIndexBuilder>),
}

impl Step {
    /// The index, as long as memory is wanted for it.
    fn index(&mut self) -> Option<&mut SectionIndexBuilder> {
        match self {
            Self::Push { index, .. } | Self::Index { index, .. } => Some(index),
            _ => None,
        }
    }
}

/// See the top of the file.
#[derive(Debug)]
pub(super) struct Building {
    /// Jobs to do, the next one last.
    jobs: Vec<Job>,
    step: Option<Step>,
    bringing: Bringing,
    /// The number of the next chunk that is asked for. Each is used once.
    next_chunk: u64,
    /// The file, once there is something to write.
    columns: Option<ColumnsWriter>,
    identity: ColumnsIdentity,
    through: u64,
    index_rows_min: usize,
    out: Vec<u8>,
    page: Vec<u8>,
    moved: Vec<(SpaceNumber, Moved)>,
    rows: u64,
}

impl Building {
    pub(super) fn new<I: Io>(
        frozen: &Frozen,
        merged: &[&LiveFile],
        index_rows_min: usize,
        number: u64,
        ground: &Ground<'_, I>,
    ) -> Self {
        let through = frozen.place.through_sequence;
        let (mut jobs, mut rows) = (Vec::new(), 0);
        for space in ground.memory.spaces.values() {
            let old = merged.iter().flat_map(|live| &live.parts);
            let old = old.filter(|(number, _)| *number == space.number).map(|(_, part)| *part);
            let sources: Vec<_> =
                space.frozen().map(|(part, _)| part).into_iter().chain(old).collect();
            rows += sources.iter().map(|part| space.rows_kept(*part, through)).sum::<u64>();
            if !sources.is_empty() {
                jobs.push(Job { space: space.number, sources });
            }
        }
        jobs.reverse();
        let identity = ColumnsIdentity {
            store_id: *ground.log.store_id(),
            shard: ground.log.shard(),
            number,
            through,
            created_at_us: ground.log.io().wall_us(),
        };
        Self {
            jobs,
            step: None,
            bringing: Bringing::default(),
            // No two attempts have the same file.
            next_chunk: number << 32,
            columns: None,
            identity,
            through,
            index_rows_min,
            out: Vec::new(),
            page: Vec::new(),
            moved: Vec::new(),
            rows,
        }
    }

    /// Rows that the file will have.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    pub(super) fn take_moved(&mut self) -> Vec<(SpaceNumber, Moved)> {
        std::mem::take(&mut self.moved)
    }

    /// What was asked for under this number is there.
    pub(super) fn take_memory(&mut self, number: u64) {
        self.bringing.under_way.retain(|(asked, _)| *asked != number);
    }

    /// The index that was being built, if one was: its memory is to be given back in slices.
    pub(super) fn into_index(self) -> Option<SectionIndexBuilder> {
        let index = match self.step? {
            Step::Push { index, .. }
            | Step::Index { index, .. }
            | Step::Arrange { index, .. }
            | Step::Graph { index, .. }
            | Step::Codes { index, .. }
            | Step::Release(index) => Some(index),
            Step::Columns { index, .. } => index,
            Step::Check { .. } | Step::Order(_) | Step::Measure { .. } => None,
        };
        index.map(|index| *index)
    }

    /// Does one unit of work.
    pub(super) fn step<I: Io>(
        &mut self,
        ground: &mut Ground<'_, I>,
        writer: &mut FileWriter,
    ) -> Result<Built, Failure> {
        let Some(job) = self.jobs.last() else {
            let place = self.columns.take().map(|columns| columns.finish(&mut self.out));
            self.flush(writer)?;
            return Ok(Built::All(place));
        };
        if self.step.is_none() {
            // What the column of words is made of.
            let wanted = |part: Part<'_>| match job.sources.contains(&part.number()) {
                true => part.rows(),
                false => 0,
            };
            let read = |space: &mut Space, arena: &Arena| space.read_text(arena, wanted, READ_ROWS);
            if ground.memory.with_text(job.space, read) == Some(false) {
                return Ok(Built::Some);
            }
        }
        let space = ground.memory.spaces.get(&job.space);
        let arena = &ground.memory.arena;
        let Some(space) = space else {
            // Nothing of it is in the file yet, or the file is of no use.
            let is_early = |step: &Step| matches!(step, Step::Check { .. } | Step::Order(_));
            if self.step.as_ref().is_some_and(|step| !is_early(step)) {
                return Err(Failure::Dropped);
            }
            (self.step, _) = (None, self.jobs.pop());
            return Ok(Built::Some);
        };
        if let Some(index) = self.step.as_mut().and_then(Step::index) {
            self.bringing.ask(index, &mut self.next_chunk, ground.log.io_mut());
            if self.bringing.through() < index.chunks_needed() {
                return Ok(Built::Waits);
            }
        }
        let first = Step::Check { source: 0, column: 0, block: 0 };
        let step = self.step.take().unwrap_or(first);
        self.step = self.advance(step, space, arena)?;
        if self.step.is_none() {
            self.jobs.pop();
        }
        self.flush(writer)?;
        Ok(Built::Some)
    }

    fn flush(&mut self, writer: &mut FileWriter) -> Result<(), Failure> {
        writer.put(&self.out)?;
        self.out.clear();
        Ok(())
    }

    /// One unit of work for a space; what comes next, if anything.
    fn advance(
        &mut self,
        step: Step,
        space: &Space,
        arena: &Arena,
    ) -> Result<Option<Step>, Failure> {
        Ok(match step {
            Step::Check { source, column, block } => {
                Some(self.check(source, column, block, space, arena)?)
            }
            Step::Order(mut order) => match order.step(space, arena, LOOK_ROWS) {
                false => Some(Step::Order(order)),
                true => self.begin_space(order.finish(), space, arena)?,
            },
            Step::Measure { order, next, norm_max } => {
                Some(self.measure(order, next, norm_max, space, arena)?)
            }
            Step::Push { order, next, mut index } => {
                let until = order.len().min(next + PUSH_ROWS);
                for at in &order[next..until] {
                    let part = space.part(arena, at.part).expect("sources stay");
                    index.push(part.vector(at.row), part.columns(at.row).scale);
                }
                Some(match until == order.len() {
                    true => Step::Index { order, index },
                    false => Step::Push { order, next: until, index },
                })
            }
            Step::Index { order, mut index } => match index.step() {
                false => Some(Step::Index { order, index }),
                true => Some(Step::Arrange { order, index, arranged: Vec::new() }),
            },
            Step::Arrange { order, mut index, mut arranged } => {
                if arranged.is_empty() && !index.arrange_some() {
                    return Ok(Some(Step::Arrange { order, index, arranged }));
                }
                arranged.reserve_exact(order.len() - arranged.len());
                let nodes = index.order().iter().skip(arranged.len()).take(ARRANGED_ROWS);
                arranged.extend(nodes.map(|node| order[*node as usize]));
                Some(match arranged.len() == order.len() {
                    true => self.begin_columns(arranged, Some(index), space, arena),
                    false => Step::Arrange { order, index, arranged },
                })
            }
            Step::Columns { mut writer, index } => {
                let columns = self.columns.as_mut().expect("a section is in a file");
                if !writer.step(space, arena, columns, &mut self.out, COLUMN_BYTES)? {
                    return Ok(Some(Step::Columns { writer, index }));
                }
                self.moved.push((space.number, writer.finish()));
                index.map(|index| {
                    columns.begin_column(ColumnKind::Graph, &mut self.out);
                    Step::Graph { index, next: 0 }
                })
            }
            Step::Graph { index, next } => Some(self.put_pages(index, next)),
            Step::Codes { index, next } => Some(self.put_codes(index, next)),
            Step::Release(mut index) => (!index.release_some()).then_some(Step::Release(index)),
        })
    }

    /// Checks a block of a source, or finds the next one to check.
    fn check(
        &self,
        source: usize,
        column: usize,
        block: usize,
        space: &Space,
        arena: &Arena,
    ) -> Result<Step, Failure> {
        let sources = &self.jobs.last().expect("a job is under way").sources;
        let Some(&part) = sources.get(source) else {
            return Ok(Step::Order(TimeOrder::new(space, arena, sources.clone(), self.through)));
        };
        let next_source = Step::Check { source: source + 1, column: 0, block: 0 };
        let Some(Part::Section(section)) = space.part(arena, part) else { return Ok(next_source) };
        let Some(entry) = section.entry().columns.get(column) else { return Ok(next_source) };
        match entry.checks(section.file(), block) {
            Some(true) => Ok(Step::Check { source, column, block: block + 1 }),
            None => Ok(Step::Check { source, column: column + 1, block: 0 }),
            Some(false) => Err(Failure::Block { space: space.number, kind: entry.kind, block }),
        }
    }

    fn begin_space(
        &mut self,
        order: Vec<RowAt>,
        space: &Space,
        arena: &Arena,
    ) -> io::Result<Option<Step>> {
        if order.is_empty() {
            let job = self.jobs.last().expect("a job is under way");
            self.moved.push((space.number, Moved::new(space, arena, &job.sources)));
            return Ok(None);
        }
        // Beyond what page numbers can say, rows are found as those without an index are.
        let is_indexed = (self.index_rows_min..=NODES_MAX).contains(&order.len())
            && space.dimensions() >= CODED_DIMENSIONS_MIN;
        Ok(Some(match is_indexed {
            false => self.begin_columns(order, None, space, arena),
            true if space.settings.metric == Metric::Cosine => {
                self.begin_push(order, 1.0, space)?
            }
            true => Step::Measure { order, next: 0, norm_max: 0.0 },
        }))
    }

    fn begin_columns(
        &mut self,
        order: Vec<RowAt>,
        index: Option<Box<SectionIndexBuilder>>,
        space: &Space,
        arena: &Arena,
    ) -> Step {
        let Self { columns, identity, out, .. } = self;
        let columns = columns.get_or_insert_with(|| ColumnsWriter::new(*identity, out));
        let sources = &self.jobs.last().expect("a job is under way").sources;
        let writer = SectionWriter::new(space, arena, sources, order, columns, out);
        Step::Columns { writer: Box::new(writer), index }
    }

    fn put_pages(&mut self, index: Box<SectionIndexBuilder>, next: usize) -> Step {
        let columns = self.columns.as_mut().expect("a section is in a file");
        let until = index.rows().min(next + PAGES);
        for row in next..until {
            self.page.clear();
            index.put_page(row, &mut self.page);
            columns.put(&self.page, &mut self.out);
        }
        if until < index.rows() {
            return Step::Graph { index, next: until };
        }
        columns.begin_column(ColumnKind::Codes, &mut self.out);
        Step::Codes { index, next: 0 }
    }

    fn put_codes(&mut self, mut index: Box<SectionIndexBuilder>, next: usize) -> Step {
        let columns = self.columns.as_mut().expect("a section is in a file");
        self.page.clear();
        if next < index.code_blocks() {
            index.put_codes(next, &mut self.page);
            columns.put(&self.page, &mut self.out);
            return Step::Codes { index, next: next + 1 };
        }
        columns.begin_column(ColumnKind::Index, &mut self.out);
        index.put_head(&mut self.page);
        columns.put(&self.page, &mut self.out);
        Step::Release(index)
    }

    fn measure(
        &mut self,
        order: Vec<RowAt>,
        next: usize,
        norm_max: f32,
        space: &Space,
        arena: &Arena,
    ) -> io::Result<Step> {
        let until = order.len().min(next + LOOK_ROWS);
        let mut norm_max = norm_max;
        for at in &order[next..until] {
            let vector = space.part(arena, at.part).expect("sources stay").vector(at.row);
            norm_max = norm_max.max(kernels().dot(vector, vector).sqrt());
        }
        match until == order.len() {
            true => self.begin_push(order, norm_max, space),
            false => Ok(Step::Measure { order, next: until, norm_max }),
        }
    }

    fn begin_push(&mut self, order: Vec<RowAt>, norm_max: f32, space: &Space) -> io::Result<Step> {
        let index = SectionIndexBuilder::new(&space.settings, order.len(), norm_max)?;
        self.bringing = Bringing::default();
        Ok(Step::Push { order, next: 0, index: Box::new(index) })
    }
}
