//! Three layouts of one graph: what the same walk costs, and finds, over each of them.
//!
//! | Layout | A hop reads |
//! |---|---|
//! | page | the node's bytes, and the codes of its neighbours relative to the node |
//! | lean | the node's bytes and its neighbours' numbers; then each neighbour's code in a column |
//! | bytes | the same; then each neighbour's bytes: there are no codes at all |
//!
//! In the latter two an estimate does not depend on the node that leads to it, so each row is
//! estimated once.
//!
//! The pages, the graph and the walk through pages are the engine's; the other two are made of the
//! same graph here. Each answers all queries in turn: the same query twice in a row would find its
//! pages in the caches. The best by bytes are compared exactly in all of them.
#![allow(unsafe_code)]

use std::error::Error;
use std::time::Instant;

use clap::Parser;
use engram_perf::huge_pages::HugeFloats;
use engram_perf::vectors::{VectorArguments, Vectors};
use engram_shards::episode::{CodeBits, Metric};
use engram_shards::index::bytes::{self, ByteRow};
use engram_shards::index::codes::{CodeLayout, FlatCodes};
use engram_shards::index::cue::Cue;
use engram_shards::index::graph::build::{BuildSettings, Builder};
use engram_shards::index::graph::page::{DEGREE, PageLayout, PageView};
use engram_shards::index::graph::search::{Effort, GraphView, Search};
use engram_shards::index::projection::Projection;
use engram_shards::index::simd::{CODE_ROWS, index_kernels, prefetch};
use engram_shards::index::sorted::{Key, Sorted};
use engram_shards::kernels::kernels;
use serde::Serialize;
use zerocopy::{FromBytes, IntoBytes};

/// Compares layouts of a graph.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    vectors: VectorArguments,
    /// Beams to walk with.
    #[arg(long, value_delimiter = ',', default_value = "32,48,64,96,128,192")]
    beams: Vec<usize>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    rows: usize,
    dimensions: usize,
    queries: usize,
    /// Rows for which the bulk build finds neighbours, from their vectors on.
    built_per_s: f64,
    points: Vec<Point>,
}

#[derive(Debug, Serialize)]
struct Point {
    layout: &'static str,
    /// That walks read; the f32 rows are apart.
    bytes_per_row: usize,
    beam: usize,
    recall_at_10: f64,
    p50_us: f64,
    p99_us: f64,
    hops: f64,
}

const K: usize = 10;
/// Rows that are compared exactly, as in the engine.
const ANSWERS: usize = 14;
/// Times that every query is asked; the fastest counts.
const ROUNDS: usize = 3;
const AHEAD: usize = 4;
const ENTRIES_MIN: usize = 3;
const BEAM_PER_ENTRY: usize = 24;
/// Bits of a query's coordinates against the one of a row's.
const QUERY_BITS: usize = 4;
/// Words that are counted at once.
const WORDS: usize = 8;
const LAYOUTS: [&str; 3] = ["page", "lean", "bytes"];

/// A graph in all three layouts, and its rows.
struct Graph {
    built_per_s: f64,
    projection: Projection,
    rows: Vectors,
    /// The row of each node.
    order: Vec<u32>,
    layout: PageLayout,
    pages: HugeFloats,
    /// Records of a node: its bytes, their step and norm, its degree, its neighbours.
    records: HugeFloats,
    record_bytes: usize,
    /// Signs of a row, then its addend and factor.
    codes: HugeFloats,
    code_words: usize,
    entries: Vec<u32>,
    entry_codes: Vec<f32>,
}

impl Graph {
    fn build(base: Vectors) -> Result<Self, Box<dyn Error>> {
        let count = base.count();
        let projection = Projection::new(Metric::Cosine, base.dimensions, 1.0);
        let padded = projection.padded();
        let mut builder = Builder::new(count, padded, BuildSettings::default())?;
        let mut point = vec![0.0; padded];
        let began = Instant::now();
        for nth in 0..count {
            projection.row(base.row(nth), 1.0, &mut point);
            builder.push(&point);
        }
        while !builder.step() {}
        let built_per_s = count as f64 / began.elapsed().as_secs_f64();
        let mut order: Vec<u32> = (0..u32::try_from(count)?).collect();
        order.sort_by_key(|node| builder.groups()[*node as usize]);
        let mut place = vec![0; count];
        (0..).zip(&order).for_each(|(at, node)| place[*node as usize] = at);

        let layout = PageLayout::new(padded);
        let record_bytes = (padded + 16 + 4 * DEGREE).next_multiple_of(64);
        let code_words = (padded / 64 + 1).next_multiple_of(WORDS);
        let mut graph = Self {
            built_per_s,
            pages: HugeFloats::zeroed(count * layout.bytes() / 4)?,
            records: HugeFloats::zeroed(count * record_bytes / 4)?,
            codes: HugeFloats::zeroed(count * code_words * 2)?,
            entries: Vec::new(),
            entry_codes: Vec::new(),
            rows: base,
            order,
            projection,
            layout,
            record_bytes,
            code_words,
        };
        for at in 0..count {
            let node = graph.order[at];
            let page = &mut graph.pages.as_mut_bytes()[at * layout.bytes()..][..layout.bytes()];
            builder.encode(node, &place, page);
            builder.point(node, &mut point);
            graph.put_lean(at, &point);
        }
        graph.put_entries(&builder);
        Ok(graph)
    }

    fn put_lean(&mut self, at: usize, point: &[f32]) {
        let bytes = self.layout.bytes();
        let page = PageView::new(self.layout, &self.pages.as_bytes()[at * bytes..][..bytes]);
        let (own, row) = page.own();
        let mut record = own.to_vec();
        record.extend(row.step.to_le_bytes());
        record.extend(row.norm_squared.to_le_bytes());
        record.extend((page.degree() as u64).to_le_bytes());
        (0..DEGREE).for_each(|nth| record.extend(page.neighbour(nth).to_le_bytes()));
        self.records.as_mut_bytes()[at * self.record_bytes..][..record.len()]
            .copy_from_slice(&record);
        let mut signs = vec![0; self.code_words];
        let norms = index_kernels().signs(point, &mut signs[..point.len() / 64]);
        let factor = -2.0 * norms.squares / norms.absolute.max(f32::MIN_POSITIVE);
        signs[point.len() / 64] = join(norms.squares, factor);
        self.codes.as_mut_bytes()[at * self.code_words * 8..][..self.code_words * 8]
            .copy_from_slice(signs.as_bytes());
    }

    fn put_entries(&mut self, builder: &Builder) {
        let order = &self.order;
        let count = (order.len().isqrt() / 2).clamp(CODE_ROWS, 1024).next_multiple_of(CODE_ROWS);
        self.entries = (0..count).map(|nth| (nth * order.len() / count) as u32).collect();
        let layout = self.entry_layout();
        let block_floats = layout.block_bytes() / 4;
        self.entry_codes = vec![0.0; count / CODE_ROWS * block_floats];
        let mut point = vec![0.0; layout.padded];
        for (nth, entry) in self.entries.iter().enumerate() {
            builder.point(order[*entry as usize], &mut point);
            let block = &mut self.entry_codes[nth / CODE_ROWS * block_floats..][..block_floats];
            layout.put(&point, nth % CODE_ROWS, block.as_mut_bytes());
        }
    }

    fn entry_layout(&self) -> CodeLayout {
        let (padded, estimand) = (self.projection.padded(), self.projection.estimand());
        CodeLayout { padded, bits: CodeBits::One, estimand }
    }

    fn view(&self) -> GraphView<'_> {
        let blocks = self.entry_codes.as_bytes();
        GraphView {
            layout: self.layout,
            pages: self.pages.as_bytes(),
            entries: &self.entries,
            entry_codes: FlatCodes { layout: self.entry_layout(), blocks },
        }
    }

    fn record(&self, node: u32) -> &[u8] {
        &self.records.as_bytes()[node as usize * self.record_bytes..][..self.record_bytes]
    }

    /// The distance of a node by its bytes.
    fn distance(&self, cue: &Cue, node: u32) -> f32 {
        let padded = self.projection.padded();
        let (own, rest) = self.record(node).split_at(padded);
        let float = |at: usize| f32::from_le_bytes(rest[at..at + 4].try_into().expect("sized"));
        bytes::distance(cue, own, ByteRow { step: float(0), norm_squared: float(4) })
    }

    fn neighbours(&self, node: u32) -> &[u32] {
        let rest = &self.record(node)[self.projection.padded() + 8..];
        let degree = rest[0];
        <[u32]>::ref_from_bytes(&rest[8..8 + 4 * usize::from(degree)]).expect("aligned")
    }

    fn code(&self, node: u32) -> &[u64] {
        let bytes = self.code_words * 8;
        let code = &self.codes.as_bytes()[node as usize * bytes..][..bytes];
        <[u64]>::ref_from_bytes(code).expect("aligned")
    }

    fn bytes_per_row(&self, layout: &str) -> usize {
        match layout {
            "page" => self.layout.bytes(),
            "lean" => self.record_bytes + self.code_words * 8,
            _ => self.record_bytes,
        }
    }
}

fn join(addend: f32, factor: f32) -> u64 {
    u64::from(addend.to_bits()) | u64::from(factor.to_bits()) << 32
}

/// A query in planes of bits.
#[derive(Default)]
struct Planes {
    levels: Vec<u64>,
    /// The planes as wide as codes are, then one of all bits.
    words: Vec<u64>,
    step: f32,
    /// What a set bit of a row adds, and what all together take off.
    each: f32,
    sum: f32,
    norm_squared: f32,
    last_word: usize,
}

impl Planes {
    fn prepare(&mut self, rotated: &[f32], code_words: usize) {
        let words = rotated.len() / 64;
        self.levels.resize(QUERY_BITS * words, 0);
        self.words.resize((QUERY_BITS + 1) * code_words, 0);
        let levels = (1 << QUERY_BITS) as f32;
        let scale = levels / 2.0 / index_kernels().largest(rotated).max(f32::MIN_POSITIVE);
        index_kernels().levels(rotated, rotated, scale, &mut self.levels);
        let planes = self.levels.chunks_exact(words).zip(self.words.chunks_exact_mut(code_words));
        planes.for_each(|(levels, plane)| plane[..words].copy_from_slice(levels));
        self.words[QUERY_BITS * code_words..][..words].fill(u64::MAX);
        // Level i stands for the middle between i and i + 1 steps from the lowest.
        self.step = 1.0 / scale;
        self.each = (1.0 - levels) / 2.0 / scale;
        let mut lanes = [[0.0; 16]; 2];
        for values in rotated.chunks_exact(16) {
            for (nth, value) in values.iter().enumerate() {
                lanes[0][nth] += value;
                lanes[1][nth] += value * value;
            }
        }
        [self.sum, self.norm_squared] = lanes.map(|lanes| lanes.iter().sum());
        self.last_word = words;
    }

    /// The squared distance of a row, estimated from its code.
    fn estimate(&self, code: &[u64], count: Count) -> f32 {
        // SAFETY: `counter` hands out only what the CPU supports.
        let [levels, set] = unsafe { count(code, &self.words) };
        let chosen = self.each * set as f32 + self.step * levels as f32;
        let factors = code[self.last_word];
        let (addend, factor) = (factors as u32, (factors >> 32) as u32);
        let product = 2.0 * chosen - self.sum;
        self.norm_squared + f32::from_bits(addend) + f32::from_bits(factor) * product
    }
}

/// The sum of the levels that a code selects, and how many those are.
type Count = unsafe fn(&[u64], &[u64]) -> [u64; 2];

#[inline(always)]
fn count_all(code: &[u64], planes: &[u64]) -> [u64; 2] {
    let words = planes.len() / (QUERY_BITS + 1);
    let mut levels = [0; WORDS];
    let mut set = [0; WORDS];
    for (at, code) in code.as_chunks::<WORDS>().0.iter().enumerate() {
        let plane = |bit: usize| -> &[u64; WORDS] {
            planes[bit * words + at * WORDS..][..WORDS].try_into().expect("sized")
        };
        let all = plane(QUERY_BITS);
        for lane in 0..WORDS {
            set[lane] += u64::from((code[lane] & all[lane]).count_ones());
        }
        for bit in 0..QUERY_BITS {
            let plane = plane(bit);
            for lane in 0..WORDS {
                levels[lane] += u64::from((code[lane] & plane[lane]).count_ones()) << bit;
            }
        }
    }
    [levels, set].map(|lanes| lanes.into_iter().sum())
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
unsafe fn count_wide(code: &[u64], planes: &[u64]) -> [u64; 2] {
    count_all(code, planes)
}

fn counter() -> Count {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vpopcntdq") {
        return count_wide;
    }
    count_all
}

const EXPANDED: u64 = 1 << 31;
const ASKED: u64 = 1 << 30;

/// The walk over records: the engine's, but that a row is estimated once, whoever it neighbours.
#[derive(Default)]
struct Walk {
    beam: Vec<(Key, u64)>,
    seen: Vec<u64>,
    touched: Vec<u32>,
    fresh: Vec<u32>,
}

impl Walk {
    fn run(
        &mut self,
        graph: &Graph,
        cue: &Cue,
        effort: Effort,
        prefetch_row: impl Fn(u32),
        estimate: impl Fn(u32) -> f32,
        best: &mut Sorted,
    ) -> usize {
        self.seen.resize(graph.order.len() / 64 + 1, 0);
        self.begin(graph, cue, effort.beam);
        best.reset(effort.answers);
        let (mut next, mut hops) = (0, 0);
        while hops < effort.hops_max {
            let Some(node) = self.take(graph, &mut next, best.bound() * effort.margin) else {
                break;
            };
            self.fresh.clear();
            for &neighbour in graph.neighbours(node) {
                let (word, bit) = (neighbour as usize / 64, 1 << (neighbour % 64));
                if self.seen[word] & bit == 0 {
                    self.seen[word] |= bit;
                    self.touched.push(neighbour);
                    self.fresh.push(neighbour);
                    prefetch_row(neighbour);
                }
            }
            let distance = graph.distance(cue, node);
            if distance < best.bound() {
                best.insert(Key::new(distance, node));
            }
            for at in 0..self.fresh.len() {
                let node = self.fresh[at];
                let distance = estimate(node);
                if distance < best.bound() * effort.margin {
                    next = next.min(self.insert(effort.beam, distance, node));
                }
            }
            hops += 1;
        }
        self.touched.drain(..).for_each(|node| self.seen[node as usize / 64] = 0);
        hops
    }

    fn begin(&mut self, graph: &Graph, cue: &Cue, beam: usize) {
        self.beam.clear();
        let (view, mut distances) = (graph.view(), [0.0; CODE_ROWS]);
        for (nth, entries) in graph.entries.chunks(CODE_ROWS).enumerate() {
            view.entry_codes.estimate(cue, nth, f32::INFINITY, &mut distances);
            entries.iter().zip(distances).for_each(|(entry, distance)| {
                self.insert(beam, distance, *entry);
            });
        }
        self.beam.truncate(ENTRIES_MIN.max(beam / BEAM_PER_ENTRY));
        for (key, _) in &self.beam {
            self.seen[key.number() as usize / 64] |= 1 << (key.number() % 64);
            self.touched.push(key.number());
        }
    }

    fn insert(&mut self, beam: usize, distance: f32, node: u32) -> usize {
        let key = Key::new(distance, node);
        if self.beam.len() == beam {
            if self.beam.last().is_none_or(|(worst, _)| *worst <= key) {
                return beam;
            }
            self.beam.pop();
        }
        let at = self.beam.partition_point(|(other, _)| *other < key);
        self.beam.insert(at, (key, 0));
        at
    }

    fn take(&mut self, graph: &Graph, next: &mut usize, bound: f32) -> Option<u32> {
        let (mut taken, mut ahead) = (None, 0);
        for at in *next..self.beam.len() {
            let (key, flags) = &mut self.beam[at];
            if *flags & EXPANDED != 0 {
                continue;
            }
            if taken.is_none() {
                if key.distance() > bound {
                    return None;
                }
                *flags |= EXPANDED;
                (taken, *next) = (Some(key.number()), at + 1);
                continue;
            }
            if *flags & ASKED == 0 {
                *flags |= ASKED;
                prefetch(graph.record(key.number()));
            }
            ahead += 1;
            if ahead == AHEAD {
                break;
            }
        }
        taken
    }
}

/// What answering takes, used again and again.
#[derive(Default)]
struct Asking {
    cue: Cue,
    rotated: Vec<f32>,
    planes: Planes,
    search: Search,
    walk: Walk,
    best: Sorted,
    found: Vec<u32>,
}

impl Asking {
    /// The ten nearest, and the hops that took.
    fn ask(
        &mut self,
        graph: &Graph,
        layout: &str,
        query: &[f32],
        beam: usize,
    ) -> (Vec<u32>, usize) {
        graph.projection.cue(query, &mut self.cue);
        let Self { cue, best, walk, planes, found, .. } = self;
        found.clear();
        let effort = Effort::with_beam(beam, ANSWERS);
        let hops = match layout {
            "page" => {
                let mut answers = Vec::new();
                let walked = self.search.run(&graph.view(), cue, effort, |_| true, &mut answers);
                found.extend(answers.iter().map(|answer| answer.node));
                walked.hops as usize
            }
            "lean" => {
                self.rotated.resize(graph.projection.padded(), 0.0);
                graph.projection.row(query, 1.0, &mut self.rotated);
                planes.prepare(&self.rotated, graph.code_words);
                let (planes, count) = (&*planes, counter());
                let ahead = |node| prefetch(graph.code(node).as_bytes());
                let estimate = |node| planes.estimate(graph.code(node), count);
                walk.run(graph, cue, effort, ahead, estimate, best)
            }
            _ => {
                let ahead = |node| prefetch(graph.record(node));
                let estimate = |node| graph.distance(cue, node);
                walk.run(graph, cue, effort, ahead, estimate, best)
            }
        };
        if matches!(layout, "lean" | "bytes") {
            found.extend(best.iter().map(Key::number));
        }
        (nearest(graph, query, found), hops)
    }
}

/// The nearest of some rows, compared exactly.
fn nearest(graph: &Graph, query: &[f32], among: &[u32]) -> Vec<u32> {
    let row = |node: u32| graph.rows.row(graph.order[node as usize] as usize);
    among.iter().for_each(|node| prefetch(row(*node).as_bytes()));
    let mut best = Sorted::default();
    best.reset(K);
    among.iter().for_each(|&node| {
        best.insert(Key::new(-kernels().dot(query, row(node)), node));
    });
    best.iter().map(Key::number).collect()
}

fn measure(graph: &Graph, queries: &Vectors, truth: &[Vec<u32>], beam: usize) -> Vec<Point> {
    let mut asking = Asking::default();
    let mut best_us = LAYOUTS.map(|_| vec![f64::INFINITY; queries.count()]);
    let (mut found, mut hops) = ([0; LAYOUTS.len()], [0; LAYOUTS.len()]);
    for round in 0..ROUNDS {
        for (at, layout) in LAYOUTS.iter().enumerate() {
            for nth in 0..queries.count() {
                let began = Instant::now();
                let (answer, walked) = asking.ask(graph, layout, queries.row(nth), beam);
                let elapsed_us = began.elapsed().as_secs_f64() * 1e6;
                best_us[at][nth] = best_us[at][nth].min(elapsed_us);
                if round == 0 {
                    found[at] += answer.iter().filter(|node| truth[nth].contains(node)).count();
                    hops[at] += walked;
                }
            }
        }
    }
    let count = queries.count() as f64;
    let point = |at: usize| {
        let mut sorted = best_us[at].clone();
        sorted.sort_by(f64::total_cmp);
        Point {
            layout: LAYOUTS[at],
            bytes_per_row: graph.bytes_per_row(LAYOUTS[at]),
            beam,
            recall_at_10: found[at] as f64 / (count * K as f64),
            p50_us: sorted[sorted.len() / 2],
            p99_us: sorted[sorted.len() * 99 / 100],
            hops: hops[at] as f64 / count,
        }
    };
    (0..LAYOUTS.len()).map(point).collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let (base, queries) = arguments.vectors.read()?;
    let (rows, dimensions) = (base.count(), base.dimensions);
    let graph = Graph::build(base)?;
    let everything: Vec<u32> = (0..u32::try_from(rows)?).collect();
    let truth = (0..queries.count()).map(|nth| nearest(&graph, queries.row(nth), &everything));
    let truth: Vec<Vec<u32>> = truth.collect();
    let points = arguments.beams.iter().flat_map(|&beam| measure(&graph, &queries, &truth, beam));
    let points = points.collect();
    let (queries, built_per_s) = (queries.count(), graph.built_per_s);
    let report = Report { rows, dimensions, queries, built_per_s, points };
    match arguments.json {
        true => println!("{}", serde_json::to_string_pretty(&report)?),
        false => print_text(&report),
    }
    Ok(())
}

fn print_text(report: &Report) {
    let Report { rows, dimensions, queries, built_per_s, points } = report;
    println!("{rows} rows of {dimensions}, {queries} queries, the ten nearest");
    println!("the graph was built at {built_per_s:.0} rows/s");
    println!("layout  bytes/row   beam  recall   p50 us   p99 us   hops");
    for point in points {
        let Point { layout, bytes_per_row, beam, recall_at_10, p50_us, p99_us, hops } = point;
        println!(
            "{layout:6} {bytes_per_row:10} {beam:6}  {recall_at_10:.4} {p50_us:8.1} {p99_us:8.1} \
             {hops:6.1}"
        );
    }
}
