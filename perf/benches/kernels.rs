//! The exact scan: instruction sets against each other, dimension-major against row-major, in
//! cache and streaming from memory.
//!
//! One iteration is one row, so the times are nanoseconds per vector and the throughput is the
//! bandwidth of the scan in GB/s. A sample always scans whole passes over the rows.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use engram_perf::huge_pages::HugeFloats;
use engram_perf::row_major::RowDot;
use engram_shards::kernels::{BLOCK_ROWS, Kernels, get_row, put_column, transpose};

const DIMENSIONS: usize = 768;
const ROW_BYTES: usize = DIMENSIONS * size_of::<f32>();
const BLOCK_FLOATS: usize = DIMENSIONS * BLOCK_ROWS;

/// Blocks that fit into half of a second-level cache of 1 MiB.
const CACHED_BLOCKS: usize = 2;
/// Blocks that no cache holds: 768 MiB.
const STREAMED_BLOCKS: usize = 4096;

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
        for (metric, scan) in
            [("dot", Kernels::pdx_dot as fn(&_, &_, &_, &mut _)), ("l2", Kernels::pdx_l2)]
        {
            group.bench_function(format!("pdx-{metric}/{}", kernels.name()), |bencher| {
                bencher.iter_custom(|count| {
                    time_rows(count, row_count, || {
                        for block in rows.chunks_exact(BLOCK_FLOATS) {
                            scan(kernels, block, query, &mut scores);
                            black_box(&scores);
                        }
                    })
                });
            });
        }
        let Some(row_dot) = RowDot::named(kernels.name()) else { continue };
        group.bench_function(format!("row-major-dot/{}", kernels.name()), |bencher| {
            bencher.iter_custom(|count| {
                time_rows(count, row_count, || {
                    for row in rows.chunks_exact(DIMENSIONS) {
                        black_box(row_dot.dot(row, query));
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

fn rows_and_blocks(criterion: &mut Criterion) {
    let rows = HugeFloats::random(BLOCK_FLOATS).expect("memory for the rows");
    let mut block = HugeFloats::zeroed(BLOCK_FLOATS).expect("memory for the block");
    let mut row = vec![0.0; DIMENSIONS];
    let mut group = criterion.benchmark_group("block");
    group.bench_function("transpose-64-rows", |bencher| {
        bencher.iter(|| transpose(black_box(&rows), DIMENSIONS, &mut block));
    });
    group.bench_function("put-column", |bencher| {
        bencher.iter(|| put_column(black_box(&rows[..DIMENSIONS]), 17, &mut block));
    });
    group.bench_function("get-row", |bencher| {
        bencher.iter(|| {
            get_row(black_box(&block), 17, &mut row);
            black_box(&row);
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("validate");
    group.throughput(Throughput::BytesDecimal(ROW_BYTES as u64));
    for kernels in Kernels::all_supported() {
        group.bench_function(kernels.name(), |bencher| {
            bencher.iter(|| kernels.validate(black_box(&rows.as_bytes()[..ROW_BYTES])));
        });
    }
}

criterion_group!(benches, rows_and_blocks, scan_cached, scan_streamed);
criterion_main!(benches);
