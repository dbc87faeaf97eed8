//! How much of the memory's bandwidth the exact scan uses, both measured in the same run.
//!
//! A pass of the plain sequential read and a pass of each scan take turns, so that whatever else
//! the machine does hits them alike; the ratio is the median over the rounds of the ratios within
//! one round.

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use clap::Parser;
use engram_perf::huge_pages::{HugeFloats, huge_page_bytes};
use engram_perf::memory::sequential_read;
use engram_shards::kernels::{Kernels, kernels, row_floats};
use engram_shards::limits::{BLOCK_ROWS, DIMENSIONS_MAX};
use serde::Serialize;

/// Compares the exact scan's memory bandwidth with that of a plain sequential read.
#[derive(Debug, Parser)]
struct Arguments {
    /// Components of the rows.
    #[arg(long, default_value_t = 768,
          value_parser = clap::value_parser!(u32).range(1..=DIMENSIONS_MAX as i64))]
    dimensions: u32,
    /// Mebibytes of rows; well above the caches.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    memory_mib: u32,
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    /// Components of a row, what pads it included.
    row_floats: usize,
    row_count: usize,
    memory_bytes: usize,
    huge_page_bytes: u64,
    sequential_gb_per_s: f64,
    scans: Vec<ScanFigures>,
}

#[derive(Debug, Serialize)]
struct ScanFigures {
    metric: &'static str,
    instruction_set: &'static str,
    gb_per_s: f64,
    ns_per_row: f64,
    /// Bandwidth of the scan over that of the sequential read.
    ratio: f64,
}

// The smallest memory holds a block of the widest rows.
const _: () = assert!(DIMENSIONS_MAX * BLOCK_ROWS * size_of::<f32>() <= 1 << 20);

type Scan = fn(&Kernels, &[f32], &[f32], &mut [f32]);

const SCANS: [(&str, Scan); 2] = [("dot", Kernels::dot_rows), ("l2", Kernels::l2_rows)];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let stride = row_floats(arguments.dimensions as usize);
    let block_floats = stride * BLOCK_ROWS;
    let block_count = ((arguments.memory_mib as usize) << 18) / block_floats;
    let rows = HugeFloats::random(block_count * block_floats)?;
    let report = measure(&rows, stride, arguments.rounds as usize)?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print_text(&report);
    }
    Ok(())
}

fn measure(rows: &HugeFloats, stride: usize, rounds: usize) -> Result<Report, Box<dyn Error>> {
    let query = &rows[..stride];
    let reader = sequential_read(rows.as_bytes(), 3).reader;
    let mut sequential = Vec::new();
    let mut scans = SCANS.map(|_| Vec::new());
    for _ in 0..rounds {
        sequential.push(reader.gb_per_s(rows.as_bytes()));
        for (speeds, (_, scan)) in scans.iter_mut().zip(SCANS) {
            speeds.push(scan_gb_per_s(scan, rows, query));
        }
    }
    let figures = |(speeds, (metric, _)): (Vec<f64>, (&'static str, Scan))| {
        let ratios = speeds.iter().zip(&sequential).map(|(scan, sequential)| scan / sequential);
        let ratio = median(ratios.collect());
        let gb_per_s = median(speeds);
        ScanFigures {
            metric,
            instruction_set: kernels().name(),
            gb_per_s,
            ns_per_row: (stride * size_of::<f32>()) as f64 / gb_per_s,
            ratio,
        }
    };
    let scans = scans.into_iter().zip(SCANS).map(figures).collect();
    Ok(Report {
        row_floats: stride,
        row_count: rows.len() / stride,
        memory_bytes: rows.as_bytes().len(),
        huge_page_bytes: huge_page_bytes()?,
        sequential_gb_per_s: median(sequential),
        scans,
    })
}

/// Scores all rows once and returns the gigabytes per second.
fn scan_gb_per_s(scan: Scan, rows: &HugeFloats, query: &[f32]) -> f64 {
    let mut scores = [0.0; BLOCK_ROWS];
    let start = Instant::now();
    for block in rows.chunks_exact(query.len() * BLOCK_ROWS) {
        scan(kernels(), query, block, &mut scores);
        black_box(&scores);
    }
    rows.as_bytes().len() as f64 / start.elapsed().as_nanos() as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn print_text(report: &Report) {
    println!(
        "{} rows of {} floats, {} MiB, {} MiB on huge pages; medians, one thread\n",
        report.row_count,
        report.row_floats,
        report.memory_bytes >> 20,
        report.huge_page_bytes >> 20,
    );
    println!("sequential read           {:>6.1} GB/s", report.sequential_gb_per_s);
    for scan in &report.scans {
        println!(
            "exact scan, {:<3} ({:<6})   {:>6.1} GB/s  {:>3.0} %  {:>6.1} ns per row",
            scan.metric,
            scan.instruction_set,
            scan.gb_per_s,
            scan.ratio * 100.0,
            scan.ns_per_row,
        );
    }
}
