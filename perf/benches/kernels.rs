//! The exact kernels: instruction sets against each other, in cache and streaming from memory, and
//! single rows out of order, as a rerank reads them.
//!
//! One iteration is one row, so the times are nanoseconds per vector and the throughput is the
//! bandwidth of the scan in GB/s. A sample always scans whole passes over the rows.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use engram_perf::huge_pages::HugeFloats;
use engram_shards::kernels::Kernels;

const DIMENSIONS: usize = 768;
const ROW_BYTES: usize = DIMENSIONS * size_of::<f32>();
/// Rows that are scored by one call, as a recall does it.
const BLOCK_ROWS: usize = 64;
const BLOCK_FLOATS: usize = DIMENSIONS * BLOCK_ROWS;

/// Blocks that fit into half of a second-level cache of 1 MiB.
const CACHED_BLOCKS: usize = 2;
/// Blocks that no cache holds: 768 MiB.
const STREAMED_BLOCKS: usize = 4096;
/// Coprime to the number of rows: steps through all of them, never to a neighbour.
const JUMP_ROWS: usize = 100_003;

type ScanRows = fn(&Kernels, &[f32], &[f32], &mut [f32]);

/// Times `rows` passes of `pass`, which handles `rows_per_pass` rows, scaled to exactly `rows`.
fn time_rows(rows: u64, rows_per_pass: u64, mut pass: impl FnMut()) -> Duration {
    let passes = rows.div_ceil(rows_per_pass);
    let start = Instant::now();
    for _ in 0..passes {
        pass();
    }
    start.elapsed().mul_f64(rows as f64 / (passes * rows_per_pass) as f64)
}

fn scans(group: &mut BenchmarkGroup<'_, WallTime>, rows: &[f32], query: &[f32]) {
    let row_count = (rows.len() / DIMENSIONS) as u64;
    group.throughput(Throughput::BytesDecimal(ROW_BYTES as u64));
    for kernels in Kernels::all_supported() {
        let mut scores = [0.0; BLOCK_ROWS];
        for (metric, scan) in [("dot", Kernels::dot_rows as ScanRows), ("l2", Kernels::l2_rows)] {
            group.bench_function(format!("{metric}-rows/{}", kernels.name()), |bencher| {
                bencher.iter_custom(|count| {
                    time_rows(count, row_count, || {
                        for block in rows.chunks_exact(BLOCK_FLOATS) {
                            scan(kernels, query, block, &mut scores);
                            black_box(&scores);
                        }
                    })
                });
            });
        }
        group.bench_function(format!("dot-single/{}", kernels.name()), |bencher| {
            bencher.iter_custom(|count| {
                time_rows(count, row_count, || {
                    let mut row = 0;
                    for _ in 0..row_count {
                        row = (row + JUMP_ROWS) % row_count as usize;
                        let at = row * DIMENSIONS;
                        black_box(kernels.dot(query, &rows[at..at + DIMENSIONS]));
                    }
                })
            });
        });
    }
}

fn scan_cached(criterion: &mut Criterion) {
    let rows = HugeFloats::random(CACHED_BLOCKS * BLOCK_FLOATS).expect("memory for the rows");
    let query = rows[..DIMENSIONS].to_vec();
    scans(&mut criterion.benchmark_group("scan-cached"), &rows, &query);
}

fn scan_streamed(criterion: &mut Criterion) {
    let rows = HugeFloats::random(STREAMED_BLOCKS * BLOCK_FLOATS).expect("memory for the rows");
    let query = rows[..DIMENSIONS].to_vec();
    let mut group = criterion.benchmark_group("scan-streamed");
    group.sample_size(10);
    scans(&mut group, &rows, &query);
}

fn validate(criterion: &mut Criterion) {
    let rows = HugeFloats::random(DIMENSIONS).expect("memory for the row");
    let mut group = criterion.benchmark_group("validate");
    group.throughput(Throughput::BytesDecimal(ROW_BYTES as u64));
    for kernels in Kernels::all_supported() {
        group.bench_function(kernels.name(), |bencher| {
            bencher.iter(|| kernels.validate(black_box(&rows.as_bytes()[..ROW_BYTES])));
        });
    }
}

criterion_group!(benches, validate, scan_cached, scan_streamed);
criterion_main!(benches);
