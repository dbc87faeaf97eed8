//! What conditions cost a recall: kinds of conditions × shares of rows that fulfil them.
//!
//! ```sh
//! cargo run --release -p engram-perf --bin engram-filters -- [vectors_f16.npy] [--rows 60000]
//! ```
//!
//! One shard in a folder that is deleted afterwards holds the vectors as episodes, consolidated into
//! a section, or in a tail with `--tail`. Some are held back as queries. Times are those of the recall
//! itself, from its begin to its hits, on this thread; the truth is the same recall with `EXACT`.

use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use clap::Parser;
use engram_perf::random::Random;
use engram_shards::episode::{
    Conditions, Confidence, Durability, Effort, Episode, Fields, Hit, Metric, Priority,
    RecallRequest, Refusal, SpaceNumber, SpaceSettings, StoreRequest,
};
use engram_shards::filter::Filter;
use engram_shards::io::{UringIo, UringSettings};
use engram_shards::log::{LogIdentity, LogSettings, RecoverySettings};
use engram_shards::recall::cue;
use engram_shards::shard::{
    Advanced, ConsolidationSettings, Effect, Reply, Shard, ShardSettings, Ticket,
};
use engramd::clock::CLOCK;
use rustix::time::{ClockId, clock_gettime};
use tempfile::TempDir;

/// Shares of rows that fulfil a condition, as one in so many.
const ONE_IN: [u64; 11] = [1, 2, 4, 10, 25, 50, 100, 250, 1000, 4000, 10_000];
/// What a shard does in one slice.
const SLICE_BYTES: usize = 512 << 10;

#[derive(Debug, Parser)]
struct Arguments {
    /// Vectors as f16 in NumPy's format; synthetic ones without.
    vectors: Option<PathBuf>,
    #[arg(long, default_value_t = 60_000)]
    rows: usize,
    #[arg(long, default_value_t = 100)]
    queries: usize,
    /// How often each query is asked.
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    #[arg(long, default_value_t = 10)]
    k: usize,
    /// Only kinds whose name contains this.
    #[arg(long, default_value = "")]
    kind: String,
    #[arg(long)]
    beam: Option<usize>,
    /// Measures the time that the processor worked, for machines on which others work too.
    #[arg(long)]
    processor_time: bool,
    /// Where the folder is made.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Leaves the rows in the tail.
    #[arg(long)]
    tail: bool,
}

type Failure = Box<dyn Error>;

/// Vectors and their dimensions.
struct Vectors {
    dimensions: usize,
    values: Vec<f32>,
}

impl Vectors {
    fn read(path: &Path, rows: usize) -> Result<Self, Failure> {
        let mut file = File::open(path)?;
        let mut head = [0; 10];
        file.read_exact(&mut head)?;
        let mut header = vec![0; usize::from(u16::from_le_bytes([head[8], head[9]]))];
        file.read_exact(&mut header)?;
        let header = String::from_utf8(header)?;
        if !header.contains("'<f2'") {
            return Err("the vectors must be f16 (NumPy's '<f2')".into());
        }
        let shape = header.split('(').nth(1).and_then(|shape| shape.split(')').next());
        let mut shape = shape.ok_or("the header names no shape")?.split(',').map(str::trim);
        let all: usize = shape.next().ok_or("the shape has no rows")?.parse()?;
        let dimensions: usize = shape.next().ok_or("the shape has no dimensions")?.parse()?;
        let mut bytes = vec![0; rows.min(all) * dimensions * 2];
        file.read_exact(&mut bytes)?;
        let halves = bytes.chunks_exact(2).map(|le| half::f16::from_le_bytes([le[0], le[1]]));
        Ok(Self { dimensions, values: halves.map(half::f16::to_f32).collect() })
    }

    /// Points around some centres, many of which lie around each of fewer.
    fn synthetic(rows: usize) -> Self {
        const DIMENSIONS: usize = 256;
        const FAR: usize = 24;
        const NEAR: usize = 600;
        let mut random = Random::default();
        let mut draw = |points: usize, spread: f32| -> Vec<f32> {
            (0..points * DIMENSIONS).map(|_| random.next_f32() * spread).collect()
        };
        let (far, near, mut values) = (draw(FAR, 1.0), draw(NEAR, 0.8), draw(rows, 0.6));
        for own in values.chunks_exact_mut(DIMENSIONS) {
            let centre = own[0].to_bits() as usize % NEAR;
            let far = &far[centre % FAR * DIMENSIONS..];
            let near = &near[centre * DIMENSIONS..];
            own.iter_mut().zip(far.iter().zip(near)).for_each(|(own, (far, near))| {
                *own += far + near;
            });
        }
        Self { dimensions: DIMENSIONS, values }
    }

    fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.dimensions)
    }
}

/// The place of each row in a random order.
fn shuffled(rows: usize, random: &mut Random) -> Vec<u64> {
    let mut order: Vec<u64> = (0..rows as u64).collect();
    for nth in (1..rows).rev() {
        order.swap(nth, (random.next_u64() >> 16) as usize % (nth + 1));
    }
    order
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 16];
    for (a, b) in a.chunks_exact(16).zip(b.chunks_exact(16)) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    sums.iter().sum()
}

/// Which of some rows is nearest to a vector: topics are made of these.
fn topic(vector: &[f32], pivots: &[&[f32]]) -> usize {
    let near = |pivot: &[f32]| dot(vector, pivot) / dot(pivot, pivot).sqrt();
    let by_nearness = |a: &usize, b: &usize| near(pivots[*a]).total_cmp(&near(pivots[*b]));
    (0..pivots.len()).max_by(by_nearness).expect("there are pivots")
}

fn blob(vector: &[f32]) -> Bytes {
    vector.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into()
}

struct Bench {
    shard: Shard<UringIo>,
    space: SpaceNumber,
    tickets: u64,
    clock: ClockId,
    _folder: TempDir,
}

impl Bench {
    fn new(arguments: &Arguments, dimensions: usize, rows: usize) -> Result<Self, Failure> {
        let identity = LogIdentity {
            store_id: [1; 16],
            shard: 0,
            segment_bytes: 256 << 20,
            may_be_empty: true,
        };
        let settings = ShardSettings {
            identity,
            log: LogSettings::default(),
            recovery: RecoverySettings::default(),
            memory_bytes_max: (rows * (dimensions * 5 + 2048)) as u64 + (1 << 30),
            memory_prefault_bytes: 0,
            consolidation: ConsolidationSettings {
                rows_idle: u64::MAX,
                rows_forced: u64::MAX,
                ..ConsolidationSettings::default()
            },
        };
        let folder = TempDir::new_in(&arguments.dir)?;
        let uring = UringSettings {
            folder: folder.path().to_owned(),
            worker_cpus: Vec::new(),
            clock: CLOCK,
        };
        let (mut shard, _) = Shard::open(UringIo::new(&uring)?, &settings, &|_| {})?;
        let space = SpaceSettings {
            name: "s".into(),
            dimensions: u32::try_from(dimensions)?,
            metric: Metric::Cosine,
            model: String::new(),
            shards: 1,
        };
        shard.create_space(Ticket(0), None, &space, 0)?;
        let clock = match arguments.processor_time {
            true => ClockId::ThreadCPUTime,
            false => ClockId::Monotonic,
        };
        let mut bench = Self { shard, space: SpaceNumber(1), tickets: 0, clock, _folder: folder };
        while bench.shard.space_named("s").is_err() {
            bench.settle();
        }
        Ok(bench)
    }

    /// Lets the disk finish what it has; whether a consolidation was answered.
    fn settle(&mut self) -> bool {
        let mut effects = Vec::new();
        self.shard.pump();
        self.shard.poll(&mut effects);
        is_consolidated(&effects)
    }

    fn store(&mut self, episode: Episode) -> Result<(), Failure> {
        self.tickets += 1;
        let request = StoreRequest {
            space: self.space,
            episode,
            key: Bytes::new(),
            priority: Priority::Normal,
            durability: Durability::Disk,
            writer_uid: 0,
        };
        loop {
            match self.shard.store(Ticket(self.tickets), &request) {
                Ok(_) => break,
                Err(Refusal::Busy { .. }) => self.settle(),
                Err(refusal) => return Err(refusal.into()),
            };
        }
        self.settle();
        Ok(())
    }

    /// Works on everything that nobody waits for, a consolidation among it if one is wanted; the
    /// longest unit of work in µs.
    fn work(&mut self, consolidates: bool) -> Result<f64, Failure> {
        if consolidates {
            self.tickets += 1;
            self.shard.consolidate(Ticket(self.tickets), true)?;
        }
        let mut longest = 0.0_f64;
        loop {
            let mut effects = Vec::new();
            let began = self.now_us();
            let advanced = self.shard.advance(false, &mut effects);
            longest = longest.max(self.now_us() - began);
            let is_idle = advanced == Advanced::Idle;
            if self.settle() || is_consolidated(&effects) || (!consolidates && is_idle) {
                return Ok(longest);
            }
        }
    }

    fn now_us(&self) -> f64 {
        let now = clock_gettime(self.clock);
        now.tv_sec as f64 * 1e6 + now.tv_nsec as f64 / 1e3
    }

    /// The hits of a recall, how long it took, and how long its longest step, in µs.
    fn recall(&mut self, request: RecallRequest) -> Result<(Vec<Hit>, f64, f64), Failure> {
        let began = self.now_us();
        let (mut last, mut longest) = (began, 0.0_f64);
        let mut recall = self.shard.recall(request)?;
        loop {
            let is_done = self.shard.recall_step(&mut recall, SLICE_BYTES)?;
            let now = self.now_us();
            longest = longest.max(now - last);
            last = now;
            if is_done {
                break;
            }
        }
        let hits = self.shard.recall_finish(recall)?;
        Ok((hits, self.now_us() - began, longest))
    }
}

fn is_consolidated(effects: &[Effect]) -> bool {
    let is = |effect: &Effect| {
        matches!(effect, Effect::Answer { result: Ok(Reply::Consolidated), .. })
    };
    effects.iter().any(is)
}

/// A kind of conditions: for one in so many, and for the topic of a query among some.
struct Kind {
    name: &'static str,
    conditions: fn(u64, u64, u64) -> Conditions,
    /// Topics among which the query's is asked for; then it has one share only.
    topics: Option<u64>,
}

fn filter(text: &str) -> Option<Arc<Filter>> {
    Some(Arc::new(Filter::parse(text.as_bytes()).expect("the filters of this file are right")))
}

fn only(filter: Option<Arc<Filter>>) -> Conditions {
    Conditions { filter, ..Conditions::default() }
}

const KINDS: [Kind; 12] = [
    Kind {
        name: "time",
        conditions: |rows, one_in, _| Conditions {
            until_us: Some((rows / one_in) as i64 - 1),
            ..Conditions::default()
        },
        topics: None,
    },
    Kind {
        name: "confidence",
        conditions: |_, one_in, _| Conditions {
            confidence_min: Some((1.0 - 1.0 / one_in as f64) as f32),
            ..Conditions::default()
        },
        topics: None,
    },
    Kind {
        name: "meta: equal",
        conditions: |_, one_in, _| only(filter(&format!("{{\"in{one_in}\": 0}}"))),
        topics: None,
    },
    Kind {
        name: "meta: range",
        conditions: |rows, one_in, _| {
            only(filter(&format!("{{\"n\": {{\"$lt\": {}}}}}", rows / one_in)))
        },
        topics: None,
    },
    Kind {
        name: "meta: element",
        conditions: |_, one_in, _| only(filter(&format!("{{\"tags\": \"in{one_in}\"}}"))),
        topics: None,
    },
    Kind {
        name: "meta: not in",
        conditions: |_, one_in, _| {
            only(filter(&format!("{{\"is{one_in}\": {{\"$nin\": [false]}}}}")))
        },
        topics: None,
    },
    Kind {
        name: "time + meta",
        conditions: |rows, one_in, _| Conditions {
            until_us: Some((rows as f64 / (one_in as f64).sqrt()) as i64),
            filter: filter(&format!(
                "{{\"n\": {{\"$lt\": {}}}}}",
                (rows as f64 / (one_in as f64).sqrt()) as u64
            )),
            ..Conditions::default()
        },
        topics: None,
    },
    Kind {
        name: "all three",
        conditions: |rows, one_in, _| {
            let root = (one_in as f64).cbrt();
            Conditions {
                until_us: Some((rows as f64 / root) as i64),
                confidence_min: Some((1.0 - 1.0 / root) as f32),
                filter: filter(&format!("{{\"n\": {{\"$lt\": {}}}}}", (rows as f64 / root) as u64)),
                ..Conditions::default()
            }
        },
        topics: None,
    },
    Kind {
        name: "own topic of 10",
        conditions: |_, _, topic| only(filter(&format!("{{\"of10\": {topic}}}"))),
        topics: Some(10),
    },
    Kind {
        name: "other topic of 10",
        conditions: |_, _, topic| only(filter(&format!("{{\"of10\": {}}}", (topic + 5) % 10))),
        topics: Some(10),
    },
    Kind {
        name: "own topic of 100",
        conditions: |_, _, topic| only(filter(&format!("{{\"of100\": {topic}}}"))),
        topics: Some(100),
    },
    Kind {
        name: "other topic of 100",
        conditions: |_, _, topic| only(filter(&format!("{{\"of100\": {}}}", (topic + 50) % 100))),
        topics: Some(100),
    },
];

/// What a row of the table is made of.
#[derive(Default)]
struct Figures {
    found: usize,
    wanted: usize,
    short: usize,
    times_us: Vec<f64>,
    longest_us: f64,
    compared: u64,
    estimated: u64,
    hops: u64,
    tiers: std::collections::BTreeSet<&'static str>,
}

impl Figures {
    fn add(&mut self, hits: &[Hit], truth: &[u64], time_us: f64, longest_us: f64) {
        let is_found = |hit: &&Hit| truth.contains(&hit.episode.sequence.0);
        self.found += hits.iter().filter(is_found).count();
        self.wanted += truth.len();
        self.short += usize::from(hits.len() != truth.len());
        self.times_us.push(time_us);
        self.longest_us = self.longest_us.max(longest_us);
        if let Some(why) = hits.first().and_then(|hit| hit.why) {
            self.compared += why.rows_compared;
            self.estimated += why.rows_estimated;
            self.hops += why.hops;
            self.tiers.insert(why.tier.name());
        }
    }

    fn print(&mut self, name: &str, share: &str) {
        self.times_us.sort_by(f64::total_cmp);
        let count = self.times_us.len();
        let at = |share: f64| self.times_us[((count - 1) as f64 * share) as usize];
        let mean = |sum: u64| sum / count as u64;
        let tiers: Vec<&str> = self.tiers.iter().copied().collect();
        println!(
            "{name:<18} {share:>8} {:>7.4} {:>6} {:>8.1} {:>8.1} {:>8.1}  {:<12} {:>7} {:>8} {:>5}",
            self.found as f64 / self.wanted.max(1) as f64,
            if self.short == 0 { "yes".into() } else { format!("-{}", self.short) },
            at(0.5),
            at(0.99),
            self.longest_us,
            tiers.join("+"),
            mean(self.compared),
            mean(self.estimated),
            mean(self.hops),
        );
    }
}

struct Asked {
    cue: Arc<[f32]>,
    topics: [u64; 2],
}

fn measure(
    bench: &mut Bench,
    arguments: &Arguments,
    asked: &[Asked],
    (kind, one_in): (&Kind, u64),
) -> Result<(), Failure> {
    let rows = arguments.rows as u64;
    let usual = arguments.beam.map_or(Effort::Usual, Effort::Beam);
    let request = |asked: &Asked, effort| RecallRequest {
        space: SpaceNumber(1),
        k: arguments.k,
        cue: asked.cue.clone(),
        conditions: match kind.topics {
            Some(100) => (kind.conditions)(rows, one_in, asked.topics[1]),
            _ => (kind.conditions)(rows, one_in, asked.topics[0]),
        },
        effort,
        fields: Fields { why: true, ..Fields::default() },
        bytes_max: usize::MAX,
    };
    let mut truths: Vec<Vec<u64>> = Vec::new();
    for asked in asked {
        let (hits, ..) = bench.recall(request(asked, Effort::Exact))?;
        truths.push(hits.iter().map(|hit| hit.episode.sequence.0).collect());
    }
    let mut figures = Figures::default();
    for _ in 0..arguments.rounds {
        for (asked, truth) in asked.iter().zip(&truths) {
            let (hits, time_us, longest_us) = bench.recall(request(asked, usual))?;
            figures.add(&hits, truth, time_us, longest_us);
        }
    }
    let share = match kind.topics {
        Some(_) => "-".into(),
        None => format!("{}%", 100.0 / one_in as f64),
    };
    figures.print(kind.name, &share);
    Ok(())
}

fn main() -> Result<(), Failure> {
    let mut arguments = Arguments::parse();
    let wanted = arguments.rows + arguments.queries;
    let vectors = match &arguments.vectors {
        Some(path) => Vectors::read(path, wanted)?,
        None => Vectors::synthetic(wanted),
    };
    let all: Vec<&[f32]> = vectors.rows().collect();
    let step = all.len() / arguments.queries;
    let is_query = |nth: usize| nth % step == step / 2 && nth / step < arguments.queries;
    let held = all.iter().enumerate().filter(|(nth, _)| is_query(*nth)).map(|(_, row)| *row);
    let queries: Vec<&[f32]> = held.collect();
    let kept = all.iter().enumerate().filter(|(nth, _)| !is_query(*nth)).map(|(_, row)| *row);
    let base: Vec<&[f32]> = kept.take(arguments.rows).collect();
    arguments.rows = base.len();
    let rows = base.len();
    let pivots: Vec<&[f32]> = (0..100).map(|nth| base[nth * rows / 100]).collect();
    let mut bench = Bench::new(&arguments, vectors.dimensions, rows)?;
    let mut random = Random::default();
    let orders: [Vec<u64>; 3] = std::array::from_fn(|_| shuffled(rows, &mut random));
    let began = Instant::now();
    for (nth, vector) in base.iter().enumerate() {
        let place = orders[0][nth];
        let each = |make: &dyn Fn(u64) -> Option<String>| -> String {
            ONE_IN.iter().filter_map(|one_in| make(*one_in)).collect::<Vec<_>>().join(",")
        };
        let is_in = |one_in: u64| place % one_in == 0;
        let metadata = format!(
            "{{\"n\":{},{},{},\"tags\":[{}],\"of10\":{},\"of100\":{}}}",
            orders[1][nth],
            each(&|one_in| Some(format!("\"in{one_in}\":{}", place % one_in))),
            each(&|one_in| Some(format!("\"is{one_in}\":{}", is_in(one_in)))),
            each(&|one_in| is_in(one_in).then(|| format!("\"in{one_in}\""))),
            topic(vector, &pivots[..10]),
            topic(vector, &pivots),
        );
        bench.store(Episode {
            id: nth.to_string().into(),
            vector: blob(vector),
            text: Bytes::new(),
            happened_at_us: Some(orders[2][nth] as i64),
            confidence: Confidence::point((orders[1][rows - 1 - nth] as f64 / rows as f64) as f32)?,
            metadata: metadata.into(),
            thread: Bytes::new(),
            links: vec![],
        })?;
    }
    println!("{rows} rows stored in {:.1} s", began.elapsed().as_secs_f64());
    let began = Instant::now();
    let longest = bench.work(!arguments.tail)?;
    let seconds = began.elapsed().as_secs_f64();
    println!("worked on them for {seconds:.1} s, {longest:.0} us at most in one go");
    let (_, settings) = bench.shard.space_named("s")?;
    let asked: Result<Vec<Asked>, Failure> = queries
        .iter()
        .map(|query| {
            let topics = [&pivots[..10], &pivots].map(|pivots| topic(query, pivots) as u64);
            Ok(Asked { cue: cue(settings, &[blob(query)])?, topics })
        })
        .collect();
    let asked = asked?;
    println!(
        "{:<18} {:>8} {:>7} {:>6} {:>8} {:>8} {:>8}  {:<12} {:>7} {:>8} {:>5}",
        "conditions",
        "share",
        "recall",
        "filled",
        "p50 us",
        "p99 us",
        "step us",
        "found by",
        "compared",
        "estimated",
        "hops"
    );
    for kind in KINDS.iter().filter(|kind| kind.name.contains(&arguments.kind)) {
        let shares = if kind.topics.is_some() { &ONE_IN[..1] } else { &ONE_IN[..] };
        for one_in in shares {
            measure(&mut bench, &arguments, &asked, (kind, *one_in))?;
        }
    }
    Ok(())
}
