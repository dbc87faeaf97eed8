//! What a frame's checksum costs beside the copy that it protects.
//!
//! One iteration is one frame of a stored episode, 3,328 bytes. `crc32c` chains the checksum from
//! frame to frame as the log does, `copy` puts frames into a batch buffer, `both` copies a frame
//! and checksums the copy, and `push` is `BatchBuilder::push`, which also writes the header. The
//! frames come from the second-level cache or from memory; batch buffers are those of a log, 16 of
//! 2 MiB taken in turn from memory, and a single one of 64 frames in the cache. The table at the
//! end is made of each benchmark's fastest sample.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use engram_perf::commit::RECORD_BYTES;
use engram_perf::frames::PAYLOAD_BYTES;
use engram_perf::huge_pages::HugeFloats;
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
    to: Vec<u8>,
    frames_per_batch: usize,
    batches: usize,
}

impl Bytes {
    fn new(frames: usize, frames_per_batch: usize, batches: usize) -> Self {
        let from = HugeFloats::random(frames * RECORD_BYTES / size_of::<f32>());
        let from = from.expect("memory for the frames");
        Self { from, frames, to: vec![1; batches * BATCH_BYTES_MAX], frames_per_batch, batches }
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

/// Nanoseconds per frame in the fastest sample, if the benchmark ran.
fn bench(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    bytes: &mut Bytes,
    work: Work,
) -> Option<f64> {
    let mut fastest: Option<f64> = None;
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|frames| {
            // Whole rounds over the frames, so that small samples are not served by the cache.
            let done = usize::try_from(frames).expect("fits").next_multiple_of(bytes.frames);
            let start = Instant::now();
            work(bytes, done);
            let ns = start.elapsed().as_nanos() as f64 / done as f64;
            fastest = Some(fastest.map_or(ns, |fastest| fastest.min(ns)));
            Duration::from_secs_f64(ns * frames as f64 / 1e9)
        });
    });
    fastest
}

fn checksums(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("checksum");
    group.throughput(Throughput::Bytes(RECORD_BYTES as u64));
    group.sample_size(20).measurement_time(Duration::from_secs(3));
    let mut table = Vec::new();
    for (place, mut bytes) in [
        ("in-cache", Bytes::new(FRAMES_IN_CACHE, FRAMES_IN_CACHE, 1)),
        ("from-memory", Bytes::new(FRAMES_IN_MEMORY, FRAMES_PER_BATCH, BUFFERS)),
    ] {
        let works: [(&str, Work); 4] =
            [("crc32c", checksum), ("copy", copy), ("both", both), ("push", push)];
        let figures = works
            .map(|(name, work)| bench(&mut group, &format!("{place}/{name}"), &mut bytes, work));
        table.push((place, figures));
    }
    group.finish();
    for (place, figures) in table {
        // A filter on the command line leaves benchmarks out.
        if let [Some(crc32c), Some(copy), Some(both), Some(push)] = figures {
            print(place, [("crc32c", crc32c), ("copy", copy), ("both", both), ("push", push)]);
            println!(
                "  the checksum adds {:.0} % to the copy; it is {:.0} % of push",
                (both / copy - 1.0) * 100.0,
                (both - copy) / push * 100.0,
            );
        }
    }
}

fn print(place: &str, figures: [(&str, f64); 4]) {
    println!("{place}, frames of {RECORD_BYTES} bytes:");
    for (name, ns) in figures {
        println!("  {name:<8}{ns:>9.1} ns{:>9.2} GB/s", RECORD_BYTES as f64 / ns);
    }
}

criterion_group!(benches, checksums);
criterion_main!(benches);
