//! What each kernel costs for a vector, in each instruction set, beside what merely reading the
//! vector costs.
//!
//! The memory limit is a plain sequential read of the same memory in the same run: a kernel that
//! streams cannot be faster, one that is near it has nothing left to gain. The instruction sets
//! take turns, so that whatever else the machine does hits them alike, and the fastest pass counts.

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use clap::Parser;
use engram_perf::huge_pages::HugeFloats;
use engram_perf::memory::sequential_read;
use engram_shards::episode::CodeBits;
use engram_shards::index::codes::{CodeLayout, Estimand};
use engram_shards::index::graph::page::{PageLayout, PageView};
use engram_shards::index::rotation::Rotation;
use engram_shards::index::simd::{BytesOf, CODE_ROWS, Combining, Estimating, IndexKernels, TILE};
use engram_shards::kernels::Kernels;
use engram_shards::limits::{BLOCK_ROWS, DIMENSIONS_MAX};
use serde::Serialize;
use zerocopy::{FromBytes, IntoBytes};

/// Times every kernel, in cache and streaming from memory.
#[derive(Debug, Parser)]
struct Arguments {
    /// Components of the vectors.
    #[arg(long, default_value_t = 768,
          value_parser = clap::value_parser!(u32).range(1..=DIMENSIONS_MAX as i64))]
    dimensions: u32,
    /// Mebibytes that are streamed; well above the caches.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(8..))]
    memory_mib: u32,
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    dimensions: u32,
    memory_bytes: usize,
    sequential_gb_per_s: f64,
    kernels: Vec<Figures>,
}

#[derive(Debug, Serialize)]
struct Figures {
    kernel: String,
    bytes: usize,
    /// Reading so many bytes, at the speed of the sequential read.
    memory_limit_ns: f64,
    times: Vec<Times>,
}

#[derive(Debug, Serialize)]
struct Times {
    instruction_set: &'static str,
    cached_ns: f64,
    streamed_ns: f64,
}

/// Floats that fit into a second-level cache with room to spare.
const CACHED_FLOATS: usize = 256 << 8;
/// What a measurement takes at least: in cache, many passes.
const MEASURED: Duration = Duration::from_millis(2);

/// The kernels of one instruction set.
struct Set {
    index: &'static IndexKernels,
    exact: &'static Kernels,
}

/// Handles all of some memory; how many vectors that were.
type Pass = Box<dyn Fn(&Set, &[f32]) -> usize>;

struct Kernel {
    name: String,
    /// That are read for one vector.
    bytes: usize,
    pass: Pass,
    /// Whether it takes the fastest instruction set by itself.
    is_whole: bool,
}

fn kernel(name: &str, bytes: usize, pass: impl Fn(&Set, &[f32]) -> usize + 'static) -> Kernel {
    Kernel { name: name.into(), bytes, pass: Box::new(pass), is_whole: false }
}

/// What kernels write to.
struct Scratch {
    floats: Vec<f32>,
    levels: Vec<i8>,
    tables: Vec<u8>,
    words: Vec<u64>,
}

/// A pass over pieces of so many bytes, each of them one vector.
fn each(
    bytes: usize,
    one: impl Fn(&Set, &[u8], &mut Scratch) + 'static,
) -> impl Fn(&Set, &[f32]) -> usize {
    let length = DIMENSIONS_MAX;
    move |set, memory| {
        let mut scratch = Scratch {
            floats: vec![0.0; length],
            levels: vec![0; length],
            tables: vec![0; 4 * length],
            words: vec![0; length / 16],
        };
        let pieces = memory.as_bytes().chunks_exact(bytes);
        let count = pieces.len();
        pieces.for_each(|piece| one(set, piece, &mut scratch));
        count
    }
}

fn floats(bytes: &[u8]) -> &[f32] {
    <[f32]>::ref_from_bytes(bytes).expect("pieces are aligned to floats")
}

/// What a query is turned into, and a row is compared with.
fn exact_kernels(padded: usize) -> Vec<Kernel> {
    let query = vec![0.5_f32; padded];
    let rows = move |l2: bool| {
        let query = query.clone();
        move |set: &Set, memory: &[f32]| {
            let mut scores = [0.0; BLOCK_ROWS];
            let blocks = memory.chunks_exact(query.len() * BLOCK_ROWS);
            let count = blocks.len() * BLOCK_ROWS;
            for block in blocks {
                match l2 {
                    true => set.exact.l2_rows(&query, block, &mut scores),
                    false => set.exact.dot_rows(&query, block, &mut scores),
                }
                black_box(&scores);
            }
            count
        }
    };
    vec![kernel("f32 dot", 4 * padded, rows(false)), kernel("f32 l2", 4 * padded, rows(true))]
}

fn scan_kernels(padded: usize) -> Vec<Kernel> {
    let tables = vec![31_u8; padded * 4];
    let mut kernels = Vec::new();
    for bits in CodeBits::ALL {
        let (tables, bits) = (tables.clone(), bits as usize);
        let name = format!("scan of {bits}-bit codes");
        kernels.push(kernel(&name, padded / 8 * bits, move |set, memory| {
            let blocks = memory.as_bytes().chunks_exact(tables.len() * bits);
            let count = blocks.len() * CODE_ROWS;
            let mut sums = [0; CODE_ROWS];
            for plane in blocks.flat_map(|block| block.chunks_exact(tables.len())) {
                set.index.scan_block(plane, &tables, &mut sums);
                black_box(&sums);
            }
            count
        }));
    }
    kernels.push(kernel("estimate of a sum", 8, |set, memory| {
        let (sums, mut distances) = ([1000; CODE_ROWS], [0.0; CODE_ROWS]);
        let blocks = memory.chunks_exact(2 * CODE_ROWS);
        let count = blocks.len() * CODE_ROWS;
        for factors in blocks {
            let factors = factors.try_into().expect("sized");
            let with =
                Estimating { factors, scale: 1.0, step: 0.1, base: 1.0, origin: 1.0, bound: 0.5 };
            black_box(set.index.estimate(&with, &sums, &mut distances));
        }
        count
    }));
    let query = vec![3_i8; padded];
    kernels.push(kernel(
        "byte dot",
        padded,
        each(padded, move |set, row, _| {
            black_box(set.index.dot(row, &query));
        }),
    ));
    kernels
}

/// What a walk does with a page: the own vector, then the neighbours.
fn hop_kernel(padded: usize) -> Kernel {
    let layout = PageLayout::new(padded);
    let (tables, query) = (vec![31_u8; padded * 4], vec![3_i8; padded]);
    let hop = each(layout.bytes(), move |set, page, _| {
        let page = PageView::new(layout, page);
        let (mut sums, mut distances) = ([0; CODE_ROWS], [0.0; CODE_ROWS]);
        let mut factors = [0.0; 2 * CODE_ROWS];
        black_box(set.index.dot(page.own().0, &query));
        set.index.scan_block(page.codes(), &tables, &mut sums);
        set.index.widen(page.factors(), &mut factors);
        let factors = &factors;
        let with =
            Estimating { factors, scale: 1.0, step: 0.1, base: 1.0, origin: 1.0, bound: 0.5 };
        black_box(set.index.estimate(&with, &sums, &mut distances));
    });
    kernel("hop: a page of 32 neighbours", layout.bytes(), hop)
}

fn row_kernels(padded: usize) -> Vec<Kernel> {
    let row_bytes = 4 * padded;
    let words = padded / 64;
    let (power, rounds) = match padded.is_power_of_two() {
        true => (padded, 2),
        false => (1 << padded.ilog2(), 4),
    };
    let mut kernels = vec![
        kernel(
            &format!("hadamard, {rounds} x {power}"),
            row_bytes,
            each(row_bytes, move |set, row, scratch| {
                let values = &mut scratch.floats[..power];
                for _ in 0..rounds {
                    values.copy_from_slice(&floats(row)[..power]);
                    set.index.hadamard(values);
                    black_box(&values);
                }
            }),
        ),
        kernel(
            "signs",
            row_bytes,
            each(row_bytes, move |set, row, scratch| {
                black_box(set.index.signs(floats(row), &mut scratch.words[..words]));
            }),
        ),
        kernel(
            "rounding to bytes",
            row_bytes,
            each(row_bytes, move |set, row, scratch| {
                let levels = &mut scratch.levels[..padded];
                black_box(set.index.round_bytes(floats(row), 127.0, levels));
            }),
        ),
        kernel(
            "tables of a query",
            row_bytes,
            each(row_bytes, move |set, row, scratch| {
                let tables = &mut scratch.tables[..padded * 4];
                set.index.fill_tables(floats(row), 15.0, tables);
                black_box(tables);
            }),
        ),
    ];
    for bits in [2, 4] {
        kernels.push(kernel(
            &format!("levels of {bits} bits"),
            row_bytes,
            each(row_bytes, move |set, row, scratch| {
                let (row, planes) = (floats(row), &mut scratch.words[..words * bits]);
                black_box(set.index.levels(row, row, 3.0, planes));
            }),
        ));
    }
    kernels
}

fn build_kernels(padded: usize) -> Vec<Kernel> {
    let own = vec![100_u8; padded];
    let relate = each(padded, move |set, row, scratch| {
        let (own, other) = (BytesOf { bytes: &own, step: 0.1 }, BytesOf { bytes: row, step: 0.2 });
        black_box(set.index.relate(own, other, &mut scratch.words[..padded / 64]));
    });
    let left = vec![100_u8; padded * TILE];
    let strip = move |set: &Set, memory: &[f32]| {
        let strips = memory.as_bytes().chunks_exact(left.len() * 16);
        let count = strips.len() * TILE * TILE * 16;
        let mut products = [0; TILE * TILE * 16];
        for right in strips {
            set.index.dot_strip(&left, right, &mut products);
            black_box(&products);
        }
        count
    };
    let combine = |set: &Set, memory: &[f32]| {
        let (products, sums) = ([1000; BLOCK_ROWS], [9; BLOCK_ROWS]);
        let mut distances = [0.0; BLOCK_ROWS];
        let blocks = memory.chunks_exact(2 * BLOCK_ROWS);
        let count = blocks.len() * BLOCK_ROWS;
        for block in blocks {
            let (steps, norms) = block.split_at(BLOCK_ROWS);
            let with = Combining { step: 0.1, norm: 1.0, steps, norms, sums: &sums };
            set.index.combine(&with, &products, &mut distances);
            black_box(&distances);
        }
        count
    };
    vec![
        kernel("residual of a neighbour", padded, relate),
        kernel("byte dot in tiles, per pair", padded / TILE, strip),
        kernel("distance of such a product", 8, combine),
    ]
}

/// Whole operations, as the engine calls them.
fn whole_kernels(dimensions: usize, padded: usize) -> Vec<Kernel> {
    let rotation = Rotation::new(dimensions);
    let rotate = each(4 * padded, move |_, row, scratch| {
        let point = &mut scratch.floats[..padded];
        rotation.rotate(&floats(row)[..dimensions], 1.0, point);
        black_box(point);
    });
    let mut kernels = vec![kernel("whole: rotation", 4 * padded, rotate)];
    for bits in CodeBits::ALL {
        let layout = CodeLayout { padded, bits, estimand: Estimand::SquaredDistance };
        let name = format!("whole: {}-bit code of a row", bits as u32);
        kernels.push(kernel(&name, 4 * padded, move |_, memory| {
            let mut block = vec![0.0_f32; layout.block_bytes() / 4];
            let rows = memory.chunks_exact(padded);
            let count = rows.len();
            for (nth, row) in rows.enumerate() {
                layout.put(row, nth % CODE_ROWS, block.as_mut_bytes());
            }
            black_box(&block);
            count
        }));
    }
    kernels.iter_mut().for_each(|kernel| kernel.is_whole = true);
    kernels
}

/// Nanoseconds for a vector.
fn time(kernel: &Kernel, set: &Set, memory: &[f32]) -> f64 {
    let (began, mut vectors) = (Instant::now(), 0);
    loop {
        vectors += (kernel.pass)(set, memory);
        let elapsed = began.elapsed();
        if elapsed >= MEASURED {
            return elapsed.as_nanos() as f64 / vectors as f64;
        }
    }
}

fn measure(kernel: &Kernel, sets: &[Set], memory: [&[f32]; 2], rounds: u32) -> Vec<Times> {
    let sets = if kernel.is_whole { &sets[..1] } else { sets };
    let [cached, streamed] = memory;
    let mut best = vec![[f64::INFINITY; 2]; sets.len()];
    for _ in 0..rounds {
        for (best, set) in best.iter_mut().zip(sets) {
            best[0] = best[0].min(time(kernel, set, cached));
            best[1] = best[1].min(time(kernel, set, streamed));
        }
    }
    let times = |(set, [cached_ns, streamed_ns]): (&Set, [f64; 2])| Times {
        instruction_set: set.index.name(),
        cached_ns,
        streamed_ns,
    };
    sets.iter().zip(best).map(times).collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let dimensions = arguments.dimensions as usize;
    let padded = dimensions.next_multiple_of(64);
    let memory = HugeFloats::random((arguments.memory_mib as usize) << 18)?;
    // A pass takes a block of rows at least.
    let cached = &memory[..CACHED_FLOATS.max(padded * BLOCK_ROWS)];
    let sequential_gb_per_s = sequential_read(memory.as_bytes(), 3).gb_per_s;
    let exact = |name| Kernels::all_supported().find(|kernels| kernels.name() == name);
    let sets = IndexKernels::all_supported()
        .map(|index| Some(Set { index, exact: exact(index.name())? }))
        .collect::<Option<Vec<_>>>()
        .ok_or("an instruction set is only known to the index")?;
    let kernels = scan_kernels(padded).into_iter().chain([hop_kernel(padded)]);
    let kernels = kernels.chain(exact_kernels(padded)).chain(row_kernels(padded));
    let kernels = kernels.chain(build_kernels(padded)).chain(whole_kernels(dimensions, padded));
    let figures = |kernel: Kernel| Figures {
        times: measure(&kernel, &sets, [cached, &memory], arguments.rounds),
        memory_limit_ns: kernel.bytes as f64 / sequential_gb_per_s,
        bytes: kernel.bytes,
        kernel: kernel.name,
    };
    let report = Report {
        dimensions: arguments.dimensions,
        memory_bytes: memory.as_bytes().len(),
        sequential_gb_per_s,
        kernels: kernels.map(figures).collect(),
    };
    match arguments.json {
        true => println!("{}", serde_json::to_string_pretty(&report)?),
        false => print_text(&report),
    }
    Ok(())
}

fn print_text(report: &Report) {
    let Report { dimensions, memory_bytes, sequential_gb_per_s, kernels } = report;
    println!("{dimensions} dimensions, {} MiB, one thread, fastest pass", memory_bytes >> 20);
    println!("sequential read {sequential_gb_per_s:.1} GB/s\n");
    let sets = kernels.iter().map(|figures| &figures.times).max_by_key(|times| times.len());
    print!("{:28} {:>6} {:>8}", "ns for a vector", "bytes", "limit");
    for times in sets.into_iter().flatten() {
        print!("  {:>8} {:>8}", times.instruction_set, "streamed");
    }
    println!();
    for Figures { kernel, bytes, memory_limit_ns, times } in kernels {
        print!("{kernel:28} {bytes:6} {memory_limit_ns:8.2}");
        for Times { cached_ns, streamed_ns, .. } in times {
            print!("  {cached_ns:8.2} {streamed_ns:8.2}");
        }
        println!();
    }
}
