//! Builds the graph over real vectors and walks it: recall against latency.

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use engram_shards::index::codes::{CodeBits, CodeLayout, Estimand, FlatCodes};
use engram_shards::index::cue::Cue;
use engram_shards::index::graph::build::{BuildSettings, Builder};
use engram_shards::index::graph::page::PageLayout;
use engram_shards::index::graph::search::{Effort, GraphView, Search};
use engram_shards::index::rotation::Rotation;

#[derive(Debug, Parser)]
struct Arguments {
    vectors: PathBuf,
    #[arg(long, default_value_t = 1000)]
    queries: usize,
    #[arg(long)]
    rows: Option<usize>,
    #[arg(long, default_value_t = 8)]
    fan: usize,
    #[arg(long, default_value_t = 2)]
    fan2: usize,
    #[arg(long, default_value_t = 1024)]
    leaf: usize,
    #[arg(long, default_value_t = 64)]
    pool: usize,
    #[arg(long, default_value_t = 1.05)]
    alpha: f32,
    #[arg(long, default_value_t = 256)]
    entries: usize,
    #[arg(long, default_value_t = 14)]
    rerank: usize,
}

fn read(path: &PathBuf) -> Result<(usize, Vec<f32>), Box<dyn Error>> {
    let bytes = std::fs::read(path)?;
    let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let text = std::str::from_utf8(&bytes[10..10 + header])?;
    let shape = text.split('(').nth(1).and_then(|s| s.split(')').next()).ok_or("no shape")?;
    let dims: usize = shape.split(',').nth(1).ok_or("no dims")?.trim().parse()?;
    let values = bytes[10 + header..]
        .chunks_exact(2)
        .map(|le| half::f16::from_le_bytes([le[0], le[1]]).to_f32())
        .collect();
    Ok((dims, values))
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 64];
    for (a, b) in a.chunks_exact(64).zip(b.chunks_exact(64)) {
        for i in 0..64 {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum()
}

fn main() -> Result<(), Box<dyn Error>> {
    let a = Arguments::parse();
    let (dims, mut values) = read(&a.vectors)?;
    for row in values.chunks_exact_mut(dims) {
        let norm = dot(row, row).sqrt();
        row.iter_mut().for_each(|x| *x /= norm);
    }
    let total = values.len() / dims;
    let stride = total / a.queries;
    let mut base = vec![];
    let mut queries = vec![];
    for (nth, row) in values.chunks_exact(dims).enumerate() {
        if nth % stride == stride / 2 && queries.len() < a.queries * dims {
            queries.extend_from_slice(row);
        } else if a.rows.is_none_or(|rows| base.len() < rows * dims) {
            base.extend_from_slice(row);
        }
    }
    drop(values);
    let n = base.len() / dims;
    println!("{n} rows, {} queries of {dims}", queries.len() / dims);
    let cache = std::env::temp_dir().join(format!("truth-{n}-{}-{dims}", a.queries));
    let truth: Vec<u32> = match std::fs::read(&cache) {
        Ok(bytes) => {
            bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
        }
        Err(_) => {
            let mut truth = vec![];
            for q in queries.chunks_exact(dims) {
                let mut all: Vec<(f32, u32)> =
                    base.chunks_exact(dims).zip(0..).map(|(r, i)| (-dot(q, r), i)).collect();
                all.select_nth_unstable_by(10, |x, y| x.0.total_cmp(&y.0));
                truth.extend(all[..10].iter().map(|x| x.1));
            }
            std::fs::write(
                &cache,
                truth.iter().flat_map(|t| t.to_le_bytes()).collect::<Vec<u8>>(),
            )?;
            truth
        }
    };
    let rotation = Rotation::new(dims);
    let settings = BuildSettings {
        leaf_nodes_max: a.leaf,
        fan_first: a.fan,
        fan_further: a.fan2,
        candidates_max: a.pool,
        alpha: a.alpha,
        ..BuildSettings::default()
    };
    let started = Instant::now();
    let padded = rotation.padded();
    let mut builder = Builder::new(n, padded, settings);
    let mut rotated = vec![0.0; padded];
    for row in base.chunks_exact(dims) {
        rotation.rotate(row, 1.0, &mut rotated);
        builder.push(&rotated);
    }
    println!("rotate+quantize {:.2} us/row", started.elapsed().as_secs_f64() * 1e6 / n as f64);
    let mut phase = String::new();
    let mut since = Instant::now();
    let mut slowest = 0.0_f64;
    loop {
        let t = Instant::now();
        let done = builder.step();
        slowest = slowest.max(t.elapsed().as_secs_f64() * 1e6);
        let now = builder.phase_name().to_string();
        if now != phase {
            println!(
                "  {phase}: {:.1} us/row, slowest step {slowest:.0} us",
                since.elapsed().as_secs_f64() * 1e6 / n as f64
            );
            (phase, since, slowest) = (now, Instant::now(), 0.0);
        }
        if done {
            break;
        }
    }
    let mut order: Vec<u32> = (0..n as u32).collect();
    order.sort_by_key(|&node| builder.groups()[node as usize]);
    let mut place = vec![0_u32; n];
    for (at, &node) in order.iter().enumerate() {
        place[node as usize] = at as u32;
    }
    let layout = PageLayout::new(padded);
    let mut region = engram_shards::arena::Region::new(n * layout.bytes())?;
    for (&node, page) in order.iter().zip(region.chunks_exact_mut(layout.bytes())) {
        builder.encode(node, &place, page);
    }
    println!("  encode: {:.1} us/row", since.elapsed().as_secs_f64() * 1e6 / n as f64);
    let seconds = started.elapsed().as_secs_f64();
    println!("build {seconds:.1} s, {:.0} rows/s", n as f64 / seconds);
    drop(builder);
    let code_layout =
        CodeLayout { padded, bits: CodeBits::One, estimand: Estimand::SquaredDistance };
    let count = a.entries.next_multiple_of(32);
    let mut entries = vec![];
    let mut blocks = engram_shards::arena::Region::new(count / 32 * code_layout.block_bytes())?;
    let bb = code_layout.block_bytes();
    for e in 0..count {
        let at = (e * n / count) as u32;
        entries.push(at);
        let node = order[at as usize] as usize;
        rotation.rotate(&base[node * dims..][..dims], 1.0, &mut rotated);
        code_layout.put(&rotated, e % 32, &mut blocks[e / 32 * bb..][..bb]);
    }
    let mut sorted = engram_shards::arena::Region::new(n * dims * 4)?;
    let sorted: &mut [f32] = zerocopy::FromBytes::mut_from_bytes(&mut *sorted).unwrap();
    for (&node, row) in order.iter().zip(sorted.chunks_exact_mut(dims)) {
        row.copy_from_slice(&base[node as usize * dims..][..dims]);
    }
    let base = sorted;
    let truth: Vec<u32> = truth.iter().map(|&t| place[t as usize]).collect();
    let graph = GraphView {
        layout,
        pages: &region,
        entries: &entries,
        entry_codes: FlatCodes { layout: code_layout, blocks: &blocks },
    };
    let mut search = Search::default();
    let mut cue = Cue::default();
    let mut found = vec![];
    {
        let q = &queries[..dims];
        let time = |what: &str, f: &mut dyn FnMut()| {
            let mut best = f64::MAX;
            for _ in 0..200 {
                let t = Instant::now();
                f();
                best = best.min(t.elapsed().as_nanos() as f64);
            }
            println!("{what}: {best} ns");
        };
        let mut r = vec![0.0; rotation.padded()];
        time("rotate", &mut || rotation.rotate(q, 1.0, &mut r));
        let mut c = Cue::default();
        time("prepare", &mut || c.prepare(&rotation, q, 1.0));
        let mut f = vec![];
        for beam in [16, 64, 192] {
            let mut hops = 0;
            time("warm search", &mut || {
                hops = search
                    .run(
                        &graph,
                        &c,
                        Effort { beam, hops_max: 10000, answers: 24 },
                        |_| true,
                        &mut f,
                    )
                    .hops;
            });
            println!("hops {hops}");
        }
    }
    for beam in [16, 24, 32, 40, 48, 64, 80, 96, 128, 192] {
        let mut best_p50 = (f64::MAX, 0.0, 0.0, 0.0, 0.0);
        for _ in 0..3 {
            let mut times = vec![];
            let (mut hits, mut hops, mut recall_bytes) = (0, 0, 0);
            for (q, truth) in queries.chunks_exact(dims).zip(truth.chunks_exact(10)) {
                let t = Instant::now();
                cue.prepare(&rotation, q, 1.0);
                let effort = Effort { beam, hops_max: 10_000, answers: a.rerank.max(10) };
                let walked = search.run(&graph, &cue, effort, |_| true, &mut found);
                recall_bytes += found.iter().take(10).filter(|f| truth.contains(&f.node)).count();
                if a.rerank > 0 {
                    for f in &found {
                        engram_shards::index::simd::prefetch(bytemuck(
                            &base[f.node as usize * dims..][..dims],
                        ));
                    }
                    for f in &mut found {
                        f.distance = -dot(q, &base[f.node as usize * dims..][..dims]);
                    }
                    found.sort_unstable_by(|x, y| x.distance.total_cmp(&y.distance));
                }
                times.push(t.elapsed().as_nanos() as f64 / 1e3);
                hops += walked.hops;
                hits += found.iter().take(10).filter(|f| truth.contains(&f.node)).count();
            }
            times.sort_by(f64::total_cmp);
            let m = times.len();
            let p50 = times[m / 2];
            if p50 < best_p50.0 {
                best_p50 = (
                    p50,
                    times[m * 99 / 100],
                    hits as f64 / m as f64 / 10.0,
                    f64::from(hops) / m as f64,
                    recall_bytes as f64 / m as f64 / 10.0,
                );
            }
        }
        println!(
            "beam {beam:4}: recall {:.4} (bytes {:.4}) p50 {:.1} us p99 {:.1} us, {:.1} hops",
            best_p50.2, best_p50.4, best_p50.0, best_p50.1, best_p50.3
        );
    }
    Ok(())
}

fn bytemuck(floats: &[f32]) -> &[u8] {
    zerocopy::IntoBytes::as_bytes(floats)
}
