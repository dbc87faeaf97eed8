//! What a frame's checksum costs beside the copy that it protects.
//!
//! One iteration is one frame of a stored episode, 3,328 bytes. `crc32c` chains the checksum from
//! frame to frame as the log does, `copy` puts frames into a batch buffer, `both` copies a frame
//! and checksums the copy, and `push` is `BatchBuilder::push`, which also writes the header. The
//! frames come from the second-level cache or from memory; batch buffers are those of a log, 16 of
//! 2 MiB taken in turn from memory, and a single one of 64 frames in the cache. The table at the
//! end measures the four in turn and takes the fastest round of each.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engram_perf::commit::RECORD_BYTES;
use engram_perf::frames::PAYLOAD_BYTES;
use engram_perf::huge_pages::HugeFloats;
use engram_shards::arena::Region;
use engram_shards::format::{BATCH_HEADER_BYTES, BatchBuilder, FrameHead, Operation};
use engram_shards::limits::BATCH_BYTES_MAX;
use engram_shards::log::BUFFERS;

/// Frames read and written over and over: 208 KiB each way.
const FRAMES_IN_CACHE: usize = 64;
/// Far more than any cache.
const FRAMES_IN_MEMORY: usize = (256 << 20) / RECORD_BYTES;
const FRAMES_PER_BATCH: usize = (BATCH_BYTES_MAX - BATCH_HEADER_BYTES) / RECORD_BYTES;

/// Where frames come from and where they go.
struct Bytes {
    from: HugeFloats,
    frames: usize,
    to: Region,
    frames_per_batch: usize,
    batches: usize,
}

impl Bytes {
    fn new(frames: usize, frames_per_batch: usize, batches: usize) -> Self {
        let from = HugeFloats::random(frames * RECORD_BYTES / size_of::<f32>());
        let from = from.expect("memory for the frames");
        let mut to = Region::new(batches * BATCH_BYTES_MAX).expect("memory for the batches");
        to.fill(1);
        Self { from, frames, to, frames_per_batch, batches }
    }

    /// The nth frame, the batch buffer that it goes to, and its place there.
    fn frame(&mut self, nth: usize) -> (&[u8], &mut [u8], usize) {
        let from = &self.from.as_bytes()[nth % self.frames * RECORD_BYTES..][..RECORD_BYTES];
        let buffer = nth / self.frames_per_batch % self.batches * BATCH_BYTES_MAX;
        let at = BATCH_HEADER_BYTES + nth % self.frames_per_batch * RECORD_BYTES;
        (from, &mut self.to[buffer..][..BATCH_BYTES_MAX], at)
    }
}

/// As the log continues its chain: all of the frame but the checksum itself.
fn chained(chain: u32, frame: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(chain, &frame[..4]), &frame[8..])
}

fn checksum(bytes: &mut Bytes, frames: usize) {
    let chain = (0..frames).fold(0, |chain, nth| chained(chain, bytes.frame(nth).0));
    black_box(chain);
}

fn copy(bytes: &mut Bytes, frames: usize) {
    for nth in 0..frames {
        let (from, buffer, at) = bytes.frame(nth);
        black_box(&mut buffer[at..][..RECORD_BYTES]).copy_from_slice(from);
    }
}

fn both(bytes: &mut Bytes, frames: usize) {
    let mut chain = 0;
    for nth in 0..frames {
        let (from, buffer, at) = bytes.frame(nth);
        let frame = black_box(&mut buffer[at..][..RECORD_BYTES]);
        frame.copy_from_slice(from);
        chain = chained(chain, frame);
    }
    black_box(chain);
}

fn push(bytes: &mut Bytes, frames: usize) {
    let head = FrameHead {
        operation: Operation::Store as u16,
        recorded_at_us: 1,
        happened_at_us: 1,
        writer_uid: 0,
    };
    let mut builder = BatchBuilder::new(1, 0);
    for nth in 0..frames {
        let (from, buffer, at) = bytes.frame(nth);
        if at == BATCH_HEADER_BYTES {
            builder = BatchBuilder::new(builder.next_sequence(), builder.chain());
        }
        let fill = |out: &mut [u8]| out.copy_from_slice(&from[..PAYLOAD_BYTES]);
        builder.push(buffer, &head, PAYLOAD_BYTES, fill);
    }
    black_box(builder.chain());
}

/// Handles this many frames.
type Work = fn(&mut Bytes, usize);

const WORKS: [(&str, Work); 4] =
    [("crc32c", checksum), ("copy", copy), ("both", both), ("push", push)];
/// Rounds of the table at the end, and the least that each of its samples handles.
const ROUNDS: usize = 20;
const FRAMES_PER_ROUND: usize = 16 << 10;

fn checksums(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("checksum");
    group.throughput(Throughput::Bytes(RECORD_BYTES as u64));
    group.sample_size(20).measurement_time(Duration::from_secs(3));
    let mut places = [
        ("in-cache", Bytes::new(FRAMES_IN_CACHE, FRAMES_IN_CACHE, 1)),
        ("from-memory", Bytes::new(FRAMES_IN_MEMORY, FRAMES_PER_BATCH, BUFFERS)),
    ];
    for (place, bytes) in &mut places {
        for (name, work) in WORKS {
            group.bench_function(format!("{place}/{name}"), |bencher| {
                bencher.iter_custom(|frames| {
                    let ns = ns_per_frame(bytes, work, usize::try_from(frames).expect("fits"));
                    Duration::from_secs_f64(ns * frames as f64 / 1e9)
                });
            });
        }
    }
    group.finish();
    for (place, bytes) in &mut places {
        print_table(place, bytes);
    }
}

/// Goes over whole rounds of the frames, so that a small number is not served by the cache.
fn ns_per_frame(bytes: &mut Bytes, work: Work, frames: usize) -> f64 {
    let frames = frames.next_multiple_of(bytes.frames);
    let start = Instant::now();
    work(bytes, frames);
    start.elapsed().as_nanos() as f64 / frames as f64
}

fn print_table(place: &str, bytes: &mut Bytes) {
    let mut fastest_ns = [f64::INFINITY; WORKS.len()];
    for _ in 0..ROUNDS {
        for (fastest_ns, (_, work)) in fastest_ns.iter_mut().zip(WORKS) {
            *fastest_ns = fastest_ns.min(ns_per_frame(bytes, work, FRAMES_PER_ROUND));
        }
    }
    println!("{place}, frames of {RECORD_BYTES} bytes, fastest of {ROUNDS} rounds:");
    for ((name, _), ns) in WORKS.iter().zip(fastest_ns) {
        println!("  {name:<8}{ns:>9.1} ns{:>9.2} GB/s", RECORD_BYTES as f64 / ns);
    }
    let [_, copy, both, push] = fastest_ns;
    println!(
        "  the checksum makes the copy {:.2} × as long; it is {:.0} % of push",
        both / copy,
        (both - copy) / push * 100.0,
    );
}

criterion_group!(benches, checksums);
criterion_main!(benches);
