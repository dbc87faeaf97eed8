//! What conditions cost a recall: kinds of conditions × shares of rows that fulfil them.
//!
//! ```sh
//! cargo run --release -p engram-perf --bin engram-filters -- [vectors_f16.npy] [--rows 60000]
//! ```
//!
//! One shard in a folder that is deleted afterwards holds the vectors as episodes, consolidated
//! into a section, or in a tail with `--tail`. Some are held back as queries. Times are those of
//! the recall itself, from its begin to its hits, on this thread; the truth is the same recall with
//! `EXACT`. *near* and *far* are filters that go with the vectors: what is nearest to the pivot
//! that is nearest to the query, and what is farthest from it.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use clap::Parser;
use engram_perf::random::Random;
use engram_perf::vectors::Vectors;
use engram_shards::episode::{
    Conditions, Confidence, Durability, Effort, Episode, Fields, Hit, Priority, RecallRequest,
    Refusal, SpaceNumber, SpaceSettings, StoreRequest, Ttl,
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
const ONE_IN: [u64; 11] = [1, 2, 5, 10, 20, 50, 100, 200, 1000, 2000, 10_000];
/// Rows that others are near to or far from.
const PIVOTS: usize = 10;
/// Steps in which nearness to a pivot is told.
const STEPS: u64 = 10_000;
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

/// Which pivot is nearest to a vector.
fn nearest(vector: &[f32], pivots: &[&[f32]]) -> usize {
    let by_nearness =
        |a: &usize, b: &usize| dot(vector, pivots[*a]).total_cmp(&dot(vector, pivots[*b]));
    (0..pivots.len()).max_by(by_nearness).expect("there are pivots")
}

/// For each row how many of [`STEPS`] there are before it, from the nearest to a pivot on.
fn steps_from(pivot: &[f32], rows: &[&[f32]]) -> Vec<u64> {
    let nearness: Vec<f32> = rows.iter().map(|row| dot(row, pivot)).collect();
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|a, b| nearness[*b].total_cmp(&nearness[*a]));
    let mut steps = vec![0; rows.len()];
    for (place, row) in order.into_iter().enumerate() {
        steps[row] = place as u64 * STEPS / rows.len() as u64;
    }
    steps
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
            consolidation: ConsolidationSettings::when_asked(),
        };
        let folder = TempDir::new_in(&arguments.dir)?;
        let uring = UringSettings {
            folder: folder.path().to_owned(),
            worker_cpus: Vec::new(),
            clock: CLOCK,
        };
        let (mut shard, _) = Shard::open(UringIo::new(&uring)?, &settings, &|_| {})?;
        let space = SpaceSettings::usual("s", u32::try_from(dimensions)?);
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
            dedup: false,
            ttl: Ttl::Space,
            priority: Priority::Normal,
            durability: Durability::Disk,
            writer_uid: 0,
        };
        loop {
            match self.shard.store(Ticket(self.tickets), &request) {
                Ok(_) => break,
                Err(Refusal::LogFull { .. }) => self.settle(),
                Err(refusal) => return Err(refusal.into()),
            };
        }
        self.settle();
        Ok(())
    }

    /// Waits until all of what was stored is durable: a consolidation takes nothing else.
    fn wait_until_durable(&mut self, episodes: u64) {
        loop {
            let stats = self.shard.stats();
            if stats.episodes == episodes && stats.durable == stats.applied {
                return;
            }
            self.settle();
        }
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
    let is =
        |effect: &Effect| matches!(effect, Effect::Answer { result: Ok(Reply::Consolidated), .. });
    effects.iter().any(is)
}

/// A kind of conditions: for so many rows, for one in so many of them, and for the pivot that is
/// nearest to the query.
struct Kind {
    name: &'static str,
    conditions: fn(u64, u64, usize) -> Conditions,
}

fn filter(text: &str) -> Option<Arc<Filter>> {
    Some(Arc::new(Filter::parse(text.as_bytes()).expect("the filters of this file are right")))
}

fn only(filter: Option<Arc<Filter>>) -> Conditions {
    Conditions { filter, ..Conditions::default() }
}

const KINDS: [Kind; 10] = [
    Kind {
        name: "time",
        conditions: |rows, one_in, _| Conditions {
            until_us: Some((rows / one_in) as i64 - 1),
            ..Conditions::default()
        },
    },
    Kind {
        name: "confidence",
        conditions: |_, one_in, _| Conditions {
            confidence_min: Some((1.0 - 1.0 / one_in as f64) as f32),
            ..Conditions::default()
        },
    },
    Kind {
        name: "meta: equal",
        conditions: |_, one_in, _| only(filter(&format!("{{\"in{one_in}\": 0}}"))),
    },
    Kind {
        name: "meta: range",
        conditions: |rows, one_in, _| {
            only(filter(&format!("{{\"n\": {{\"$lt\": {}}}}}", rows / one_in)))
        },
    },
    Kind {
        name: "meta: element",
        conditions: |_, one_in, _| only(filter(&format!("{{\"tags\": \"in{one_in}\"}}"))),
    },
    Kind {
        name: "meta: not in",
        conditions: |_, one_in, _| {
            only(filter(&format!("{{\"is{one_in}\": {{\"$nin\": [false]}}}}")))
        },
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
    },
    Kind {
        name: "near",
        conditions: |_, one_in, pivot| {
            only(filter(&format!("{{\"from{pivot}\": {{\"$lt\": {}}}}}", STEPS / one_in)))
        },
    },
    Kind {
        name: "far",
        conditions: |_, one_in, pivot| {
            let first = STEPS - STEPS / one_in;
            only(filter(&format!("{{\"from{pivot}\": {{\"$gte\": {first}}}}}")))
        },
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
    judged: u64,
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
            self.judged += why.rows_judged;
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
            "{name:<18} {share:>8} {:>7.4} {:>6} {:>8.1} {:>8.1} {:>8.1}  {:<12} {:>7} {:>8} \
             {:>7} {:>5}",
            self.found as f64 / self.wanted.max(1) as f64,
            if self.short == 0 { "yes".into() } else { format!("-{}", self.short) },
            at(0.5),
            at(0.99),
            self.longest_us,
            tiers.join("+"),
            mean(self.compared),
            mean(self.estimated),
            mean(self.judged),
            mean(self.hops),
        );
    }
}

struct Asked {
    cue: Arc<[f32]>,
    /// The nearest.
    pivot: usize,
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
        conditions: (kind.conditions)(rows, one_in, asked.pivot),
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
    figures.print(kind.name, &format!("{}%", 100.0 / one_in as f64));
    Ok(())
}

fn main() -> Result<(), Failure> {
    let mut arguments = Arguments::parse();
    let wanted = arguments.rows + arguments.queries;
    let mut vectors = match &arguments.vectors {
        Some(path) => Vectors::read_npy(path)?,
        None => Vectors::clustered(wanted, 256),
    };
    vectors.floats.truncate(wanted * vectors.dimensions);
    let dimensions = vectors.dimensions;
    let (base, queries) = vectors.hold_out(arguments.queries);
    let queries: Vec<&[f32]> = queries.floats.chunks_exact(dimensions).collect();
    let base = base.floats.chunks_exact(dimensions).take(arguments.rows);
    let base: Vec<&[f32]> = base.collect();
    arguments.rows = base.len();
    let rows = base.len();
    let pivots: Vec<&[f32]> = (0..PIVOTS).map(|nth| base[nth * rows / PIVOTS]).collect();
    let steps: Vec<Vec<u64>> = pivots.iter().map(|pivot| steps_from(pivot, &base)).collect();
    let mut bench = Bench::new(&arguments, dimensions, rows)?;
    let mut random = Random::default();
    let orders: [Vec<u64>; 3] = std::array::from_fn(|_| shuffled(rows, &mut random));
    let began = Instant::now();
    for (nth, vector) in base.iter().enumerate() {
        let place = orders[0][nth];
        let each = |make: &dyn Fn(u64) -> Option<String>| -> String {
            ONE_IN.iter().filter_map(|one_in| make(*one_in)).collect::<Vec<_>>().join(",")
        };
        let is_in = |one_in: u64| place.is_multiple_of(one_in);
        let from = (0..PIVOTS).map(|pivot| format!("\"from{pivot}\":{}", steps[pivot][nth]));
        let metadata = format!(
            "{{\"n\":{},{},{},\"tags\":[{}],{}}}",
            orders[1][nth],
            each(&|one_in| Some(format!("\"in{one_in}\":{}", place % one_in))),
            each(&|one_in| Some(format!("\"is{one_in}\":{}", is_in(one_in)))),
            each(&|one_in| is_in(one_in).then(|| format!("\"in{one_in}\""))),
            from.collect::<Vec<_>>().join(","),
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
    bench.wait_until_durable(rows as u64);
    let longest = bench.work(!arguments.tail)?;
    let seconds = began.elapsed().as_secs_f64();
    println!("worked on them for {seconds:.1} s, {longest:.0} us at most in one go");
    let (_, settings) = bench.shard.space_named("s")?;
    let asked: Result<Vec<Asked>, Failure> = queries
        .iter()
        .map(|query| {
            Ok(Asked { cue: cue(settings, &[blob(query)])?, pivot: nearest(query, &pivots) })
        })
        .collect();
    let asked = asked?;
    println!(
        "{:<18} {:>8} {:>7} {:>6} {:>8} {:>8} {:>8}  {:<12} {:>7} {:>8} {:>7} {:>5}",
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
        "judged",
        "hops"
    );
    for kind in KINDS.iter().filter(|kind| kind.name.contains(&arguments.kind)) {
        for one_in in ONE_IN {
            measure(&mut bench, &arguments, &asked, (kind, one_in))?;
        }
    }
    Ok(())
}
