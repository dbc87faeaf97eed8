//! What codes of one, two and four bits find, how large they are, and what scanning them costs.
//!
//! All rows are coded and scanned, without buckets and without a graph, and the best few by their
//! estimates are compared exactly: so the recall is that of the codes alone. The widths take turns,
//! query by query, so that whatever else the machine does hits them alike.

use std::error::Error;
use std::time::Instant;

use clap::Parser;
use engram_perf::huge_pages::HugeFloats;
use engram_perf::vectors::{VectorArguments, Vectors};
use engram_shards::episode::{CodeBits, Metric};
use engram_shards::index::codes::{CodeLayout, FlatCodes};
use engram_shards::index::cue::Cue;
use engram_shards::index::projection::Projection;
use engram_shards::index::simd::CODE_ROWS;
use engram_shards::index::sorted::{Key, Sorted};
use serde::Serialize;
use zerocopy::IntoBytes;

/// Measures codes of each width.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    vectors: VectorArguments,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    rows: usize,
    dimensions: usize,
    queries: usize,
    widths: Vec<Width>,
}

#[derive(Debug, Serialize)]
struct Width {
    bits: u32,
    /// Of a row's code, its factors included.
    bytes_per_row: f64,
    /// Rotating a row and coding it.
    encode_ns_per_row: f64,
    scan_ns_per_row: f64,
    /// By how many rows are compared: see [`COMPARED`].
    recall_at_10: Vec<f64>,
}

/// Results of a query.
const K: usize = 10;
/// Rows that are compared exactly.
const COMPARED: [usize; 6] = [10, 16, 24, 32, 64, 96];
const COMPARED_MAX: usize = COMPARED[COMPARED.len() - 1];

/// The rows in codes of one width, and what was measured so far.
struct Coded {
    layout: CodeLayout,
    blocks: HugeFloats,
    encode_ns: f64,
    /// Of the fastest pass: the others wait for other guests.
    scan_ns: f64,
    found: [usize; COMPARED.len()],
}

impl Coded {
    fn new(
        bits: CodeBits,
        projection: &Projection,
        rows: &Vectors,
    ) -> Result<Self, Box<dyn Error>> {
        let (padded, estimand) = (projection.padded(), projection.estimand());
        let layout = CodeLayout { padded, bits, estimand };
        let block_floats = layout.block_bytes() / size_of::<f32>();
        let mut blocks = HugeFloats::zeroed(rows.count().div_ceil(CODE_ROWS) * block_floats)?;
        let mut point = vec![0.0; padded];
        let began = Instant::now();
        for nth in 0..rows.count() {
            projection.row(rows.row(nth), 1.0, &mut point);
            let block = &mut blocks[nth / CODE_ROWS * block_floats..][..block_floats];
            layout.put(&point, nth % CODE_ROWS, block.as_mut_bytes());
        }
        let encode_ns = began.elapsed().as_nanos() as f64;
        Ok(Self { layout, blocks, encode_ns, scan_ns: f64::INFINITY, found: Default::default() })
    }

    fn ask(&mut self, cue: &Cue, query: &[f32], rows: &Vectors, truth: &[Key]) {
        let codes = FlatCodes { layout: self.layout, blocks: self.blocks.as_bytes() };
        let mut best = Sorted::default();
        best.reset(COMPARED_MAX);
        let mut estimates = [0.0; CODE_ROWS];
        let began = Instant::now();
        for block in 0..rows.count().div_ceil(CODE_ROWS) {
            let mut below = codes.estimate(cue, block, best.bound(), &mut estimates);
            while below != 0 {
                let nth = below.trailing_zeros() as usize;
                below &= below - 1;
                let row = block * CODE_ROWS + nth;
                if row < rows.count() && estimates[nth] < best.bound() {
                    best.insert(Key::new(estimates[nth], row as u32));
                }
            }
        }
        self.scan_ns = self.scan_ns.min(began.elapsed().as_nanos() as f64);
        for (found, compared) in self.found.iter_mut().zip(COMPARED) {
            let proposed = best.iter().take(compared).map(Key::number);
            *found += nearest(query, rows, proposed).filter(|key| truth.contains(key)).count();
        }
    }
}

/// The nearest of some rows.
fn nearest(
    query: &[f32],
    rows: &Vectors,
    among: impl Iterator<Item = u32>,
) -> impl Iterator<Item = Key> {
    let mut best = Sorted::default();
    best.reset(K);
    for row in among {
        let pairs = query.iter().zip(rows.row(row as usize));
        best.insert(Key::new(-pairs.map(|(a, b)| a * b).sum::<f32>(), row));
    }
    best.iter().copied().collect::<Vec<_>>().into_iter()
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let (rows, queries) = arguments.vectors.read()?;
    let projection = Projection::streaming(Metric::Cosine, rows.dimensions);
    let coded = CodeBits::ALL.into_iter().map(|bits| Coded::new(bits, &projection, &rows));
    let mut coded = coded.collect::<Result<Vec<_>, _>>()?;
    let mut cue = Cue::default();
    for nth in 0..queries.count() {
        let query = queries.row(nth);
        let truth: Vec<Key> = nearest(query, &rows, 0..u32::try_from(rows.count())?).collect();
        projection.cue(query, &mut cue);
        coded.iter_mut().for_each(|coded| coded.ask(&cue, query, &rows, &truth));
    }
    let results = (queries.count() * K) as f64;
    let count = rows.count() as f64;
    let width = |coded: Coded| Width {
        bits: coded.layout.bits as u32,
        bytes_per_row: coded.layout.block_bytes() as f64 / CODE_ROWS as f64,
        encode_ns_per_row: coded.encode_ns / count,
        scan_ns_per_row: coded.scan_ns / count,
        recall_at_10: coded.found.map(|found| found as f64 / results).to_vec(),
    };
    let report = Report {
        rows: rows.count(),
        dimensions: rows.dimensions,
        queries: queries.count(),
        widths: coded.into_iter().map(width).collect(),
    };
    match arguments.json {
        true => println!("{}", serde_json::to_string_pretty(&report)?),
        false => print_text(&report),
    }
    Ok(())
}

fn print_text(report: &Report) {
    let Report { rows, dimensions, queries, widths } = report;
    println!("{rows} rows of {dimensions}, {queries} queries, the ten nearest of those compared");
    print!("bits  bytes/row  encode ns  scan ns  recall:");
    COMPARED.iter().for_each(|compared| print!("{compared:>7}"));
    println!();
    for width in widths {
        let Width { bits, bytes_per_row, encode_ns_per_row, scan_ns_per_row, recall_at_10 } = width;
        print!("{bits:4} {bytes_per_row:10.0} {encode_ns_per_row:10.0} {scan_ns_per_row:8.2}");
        print!("         ");
        recall_at_10.iter().for_each(|recall| print!("  {recall:.3}"));
        println!();
    }
}
