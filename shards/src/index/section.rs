//! The index of a section: a graph for its rows, their codes, and where a walk begins.
//!
//! | Column | Holds |
//! |---|---|
//! | graph | a page for each row, in the order of the rows |
//! | codes | blocks of 32 rows, for scans that a filter makes worth their while |
//! | index | [`IndexHead`], the entries as u32, their codes |
//!
//! A mapped column may be damaged where nobody has looked yet. What is read here is checked for
//! lengths once and for numbers of rows at each use; damage beyond that makes a recall worse, not
//! unsound, and is found by the checksums.

use std::io;

use zerocopy::little_endian::{F32, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::codes::{CodeLayout, FlatCodes};
use super::graph::build::{BuildSettings, Builder};
use super::graph::page::PageLayout;
use super::graph::search::GraphView;
use super::projection::Projection;
use super::simd::CODE_ROWS;
use crate::arena::Stretch;
use crate::episode::{CodeBits, Metric, SpaceSettings};

/// Rows from which on a section has an index: fewer are scanned as fast as a graph is walked.
pub const INDEX_ROWS_MIN: usize = 1024;
/// Entries of a graph: enough that one is near, few enough that scanning them costs no more than
/// two hops.
const ENTRIES_MIN: usize = CODE_ROWS;
const ENTRIES_MAX: usize = 1024;
const ALIGNMENT: usize = 64;
const VERSION: u32 = 1;

/// What stands in front of the index column.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct IndexHead {
    version: U32,
    /// Coordinates of a point.
    padded: U32,
    /// Of the codes of the rows; those of the entries have one.
    code_bits: U32,
    entries: U32,
    /// The largest norm of a row, where points are scaled by it.
    norm_max: F32,
    zero: [u8; 44],
}

const _: () = assert!(size_of::<IndexHead>() == ALIGNMENT);

/// Builds the index of a section.
#[derive(Debug)]
pub struct SectionIndexBuilder {
    projection: Projection,
    bits: CodeBits,
    norm_max: f32,
    builder: Builder,
    point: Vec<f32>,
    /// The node of each row, and the row of each node.
    nodes: Vec<u32>,
    rows: Vec<u32>,
    arranging: Arranging,
}

/// Sorting rows by their groups, by counting.
#[derive(Debug, Default)]
struct Arranging {
    /// Where the next row of each group goes; while rows are counted, how many the one before has.
    starts: Vec<u32>,
    counted: usize,
    placed: usize,
}

/// Rows that one unit of work counts or places.
const ARRANGED_ROWS: usize = 4096;

impl Arranging {
    fn step(&mut self, groups: &[u32], nodes: &mut Vec<u32>, rows: &mut Vec<u32>) -> bool {
        let until = |from: usize| groups.len().min(from + ARRANGED_ROWS);
        if self.counted < groups.len() {
            let counted = self.counted..until(self.counted);
            self.counted = counted.end;
            for &group in &groups[counted] {
                let needed = self.starts.len().max(group as usize + 2);
                self.starts.resize(needed, 0);
                self.starts[group as usize + 1] += 1;
            }
            return false;
        }
        if self.placed == 0 {
            for nth in 1..self.starts.len() {
                self.starts[nth] += self.starts[nth - 1];
            }
            (*nodes, *rows) = (vec![0; groups.len()], vec![0; groups.len()]);
        }
        let placed = self.placed..until(self.placed);
        self.placed = placed.end;
        for node in placed {
            let place = &mut self.starts[groups[node] as usize];
            nodes[*place as usize] = narrow(node);
            rows[node] = *place;
            *place += 1;
        }
        self.placed == groups.len()
    }
}

impl SectionIndexBuilder {
    /// For so many rows, the largest norm among which is `norm_max`.
    pub fn new(settings: &SpaceSettings, rows: usize, norm_max: f32) -> io::Result<Self> {
        let projection = Projection::new(settings.metric, settings.dimensions as usize, norm_max);
        let padded = projection.padded();
        Ok(Self {
            builder: Builder::new(rows, padded, BuildSettings::default())?,
            point: vec![0.0; padded],
            projection,
            bits: settings.codes,
            norm_max,
            nodes: Vec::new(),
            rows: Vec::new(),
            arranging: Arranging::default(),
        })
    }

    /// The next chunk of memory that the graph is built with and nobody was asked to bring in.
    pub fn next_chunk(&mut self) -> Option<Stretch> {
        self.builder.next_chunk()
    }

    /// How many of the first chunks are written to by what comes next.
    pub fn chunks_needed(&self) -> usize {
        self.builder.chunks_needed()
    }

    /// Gives some memory back, when every column was put or none is wanted any more; whether that
    /// was all.
    pub fn release_some(&mut self) -> bool {
        self.builder.release_some()
    }

    /// Adds the next row. Rows come in any order.
    pub fn push(&mut self, vector: &[f32], scale: f32) {
        self.projection.row(vector, scale, &mut self.point);
        self.builder.push(&self.point);
    }

    /// Does one unit of work, some ten microseconds, when all rows are pushed; whether the graph is
    /// complete.
    pub fn step(&mut self) -> bool {
        self.builder.step()
    }

    /// When the graph is complete, decides the order of the rows, some at a time: those of one
    /// group of similar ones side by side, within it in the order in which they were pushed.
    /// Whether all have their place.
    pub fn arrange_some(&mut self) -> bool {
        let groups = self.builder.groups();
        self.arranging.step(groups, &mut self.nodes, &mut self.rows)
    }

    /// Which of the rows that were pushed is the first, the second and so on.
    pub fn order(&self) -> &[u32] {
        &self.nodes
    }

    fn page_layout(&self) -> PageLayout {
        PageLayout::new(self.projection.padded())
    }

    /// Rows that were arranged.
    pub fn rows(&self) -> usize {
        self.nodes.len()
    }

    /// Appends the page of a row of the final order.
    pub fn put_page(&self, row: usize, out: &mut Vec<u8>) {
        let from = out.len();
        out.resize(from + self.page_layout().bytes(), 0);
        self.builder.encode(self.nodes[row], &self.rows, &mut out[from..]);
    }

    /// Blocks of codes of all rows.
    pub fn code_blocks(&self) -> usize {
        self.rows().div_ceil(CODE_ROWS)
    }

    /// Appends a block of codes of rows of the final order.
    pub fn put_codes(&mut self, block: usize, out: &mut Vec<u8>) {
        let first = block * CODE_ROWS;
        let rows = first..self.rows().min(first + CODE_ROWS);
        self.put_block(self.bits, rows, out);
    }

    fn put_block(&mut self, bits: CodeBits, rows: impl Iterator<Item = usize>, out: &mut Vec<u8>) {
        let layout = code_layout(&self.projection, bits);
        // Blocks hold floats, so they are made where those are aligned.
        let mut block = vec![0.0_f32; layout.block_bytes() / size_of::<f32>()];
        for (nth, row) in rows.enumerate() {
            self.builder.point(self.nodes[row], &mut self.point);
            layout.put(&self.point, nth, block.as_mut_bytes());
        }
        out.extend_from_slice(block.as_bytes());
    }

    /// Appends the index column.
    pub fn put_head(&mut self, out: &mut Vec<u8>) {
        let wanted = (self.rows().isqrt() / 2).clamp(ENTRIES_MIN, ENTRIES_MAX);
        let count = wanted.next_multiple_of(CODE_ROWS).min(self.rows());
        // Similar rows stand side by side, so equal distances reach everywhere.
        let entries: Vec<usize> = (0..count).map(|nth| nth * self.rows() / count).collect();
        let head = IndexHead {
            version: VERSION.into(),
            padded: narrow(self.projection.padded()).into(),
            code_bits: (self.bits as u32).into(),
            entries: narrow(count).into(),
            norm_max: self.norm_max.into(),
            zero: [0; 44],
        };
        let from = out.len();
        out.extend_from_slice(head.as_bytes());
        for &entry in &entries {
            out.extend_from_slice(&narrow(entry).to_le_bytes());
        }
        out.resize(from + entries_end(count), 0);
        for rows in entries.chunks(CODE_ROWS) {
            self.put_block(CodeBits::One, rows.iter().copied(), out);
        }
    }
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).expect("a section has fewer rows")
}

fn code_layout(projection: &Projection, bits: CodeBits) -> CodeLayout {
    CodeLayout { padded: projection.padded(), bits, estimand: projection.estimand() }
}

/// Where in the index column the codes of the entries begin.
fn entries_end(entries: usize) -> usize {
    size_of::<IndexHead>() + (entries * size_of::<u32>()).next_multiple_of(ALIGNMENT)
}

/// The index columns of a section.
#[derive(Debug, Clone, Copy)]
pub struct IndexColumns<'a> {
    pub graph: &'a [u8],
    pub codes: &'a [u8],
    pub index: &'a [u8],
}

/// What it takes to read the index of a section.
#[derive(Debug)]
pub struct SectionIndex {
    pub projection: Projection,
    bits: CodeBits,
    entries: usize,
}

impl SectionIndex {
    /// Reads the head and checks all lengths; `None` when they are not those of an index of so many
    /// rows that this version reads.
    pub fn open(
        metric: Metric,
        dimensions: usize,
        rows: usize,
        columns: IndexColumns<'_>,
    ) -> Option<Self> {
        let (head, _) = IndexHead::ref_from_prefix(columns.index).ok()?;
        let projection = Projection::new(metric, dimensions, head.norm_max.get());
        let entries = head.entries.get() as usize;
        let bits = CodeBits::of(head.code_bits.get())?;
        let [codes, entry_codes] = [bits, CodeBits::One].map(|bits| code_layout(&projection, bits));
        let fits = head.version.get() == VERSION
            && head.padded.get() as usize == projection.padded()
            && (1..=ENTRIES_MAX).contains(&entries)
            && columns.graph.len() == rows * PageLayout::new(projection.padded()).bytes()
            && columns.codes.len() == rows.div_ceil(CODE_ROWS) * codes.block_bytes()
            && columns.index.len()
                == entries_end(entries) + entries.div_ceil(CODE_ROWS) * entry_codes.block_bytes();
        fits.then_some(Self { projection, bits, entries })
    }

    /// The graph in its columns, the ones that were opened.
    pub fn graph<'a>(&self, columns: IndexColumns<'a>) -> GraphView<'a> {
        let entries = &columns.index[size_of::<IndexHead>()..];
        let entries = &entries[..self.entries * size_of::<u32>()];
        GraphView {
            layout: PageLayout::new(self.projection.padded()),
            pages: columns.graph,
            entries: <[u32]>::ref_from_bytes(entries).expect("columns are aligned"),
            entry_codes: FlatCodes {
                layout: code_layout(&self.projection, CodeBits::One),
                blocks: &columns.index[entries_end(self.entries)..],
            },
        }
    }

    /// The shape of the rows' codes.
    pub fn code_layout(&self) -> CodeLayout {
        code_layout(&self.projection, self.bits)
    }

    /// The codes of the rows in their column, the one that was opened.
    pub fn codes<'a>(&self, columns: IndexColumns<'a>) -> FlatCodes<'a> {
        FlatCodes { layout: self.code_layout(), blocks: columns.codes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::index::cue::Cue;
    use crate::index::rotation::split_mix;

    #[test]
    fn an_index_is_read_with_the_bits_that_it_was_written_with() {
        let (rows, dimensions) = (200, 96);
        let mut state = 1;
        let vectors: Vec<Vec<f32>> = (0..rows)
            .map(|_| (0..dimensions).map(|_| (split_mix(&mut state) >> 40) as f32 - 8e6).collect())
            .collect();
        let mut bytes = Vec::new();
        for codes in CodeBits::ALL {
            let settings = SpaceSettings {
                metric: Metric::L2,
                codes,
                ..SpaceSettings::usual("s", dimensions as u32)
            };
            let norm_max = 8e6 * (dimensions as f32).sqrt();
            let mut builder = SectionIndexBuilder::new(&settings, rows, norm_max).unwrap();
            vectors.iter().for_each(|vector| builder.push(vector, 1.0));
            while !builder.step() {}
            while !builder.arrange_some() {}
            assert_eq!(builder.order(), (0..rows as u32).collect::<Vec<_>>(), "all are one group");
            let [mut graph, mut blocks, mut head] = [const { Vec::new() }; 3];
            (0..rows).for_each(|row| builder.put_page(row, &mut graph));
            (0..builder.code_blocks()).for_each(|block| builder.put_codes(block, &mut blocks));
            builder.put_head(&mut head);
            // Columns are aligned where they are mapped.
            let [blocks, head] = [blocks, head].map(|bytes| aligned(&bytes));
            let columns =
                IndexColumns { graph: &graph, codes: blocks.as_bytes(), index: head.as_bytes() };
            let index = SectionIndex::open(Metric::L2, dimensions, rows, columns).unwrap();
            assert_eq!(index.code_layout().bits, codes);
            let (mut cue, mut estimates) = (Cue::default(), [0.0; CODE_ROWS]);
            index.projection.cue(&vectors[70], &mut cue);
            index.codes(columns).estimate(&cue, 2, f32::INFINITY, &mut estimates);
            let nearest = (0..CODE_ROWS).min_by(|a, b| estimates[*a].total_cmp(&estimates[*b]));
            assert_eq!(nearest, Some(70 - 2 * CODE_ROWS));
            bytes.push(columns.codes.len());
            let other = IndexColumns { codes: &columns.codes[4..], ..columns };
            assert!(SectionIndex::open(Metric::L2, dimensions, rows, other).is_none());
        }
        assert!(bytes.is_sorted_by(|narrow, wide| narrow < wide), "{bytes:?}");
    }

    fn aligned(bytes: &[u8]) -> Vec<f32> {
        let mut words = vec![0.0_f32; bytes.len() / size_of::<f32>()];
        words.as_mut_bytes().copy_from_slice(bytes);
        words
    }
}
