//! Recall against latency of one shard, in process: as a tail in memory, and consolidated.
//!
//! The engine is the daemon's own, over a folder on a real disk; only sockets and the executor are
//! left out. What is timed is a recall from its request to its hits.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use engram_perf::vectors::{VectorArguments, Vectors};
use engram_shards::episode::{
    CodeBits, Conditions, Confidence, Durability, Effort, Episode, Fields, Hit, Priority,
    RecallRequest, SpaceNumber, SpaceSettings, StoreRequest, Ttl,
};
use engram_shards::io::{UringIo, UringSettings};
use engram_shards::log::{LogIdentity, LogSettings, RecoverySettings};
use engram_shards::recall::cue;
use engram_shards::shard::{
    Advanced, ConsolidationSettings, Effect, Reply, Shard, ShardSettings, Ticket,
};
use engramd::clock::CLOCK;
use serde::Serialize;

/// Measures what the index finds, and how fast.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    vectors: VectorArguments,
    /// Directory for the shard's folder; it should be on the disk of the data directory.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    /// Beams to walk with.
    #[arg(long, value_delimiter = ',', default_value = "24,32,48,64,80,96,128,192,256")]
    beams: Vec<usize>,
    /// Bits of each coordinate in the codes of the memory space: 1, 2 or 4.
    #[arg(long, default_value = "1", value_parser = code_bits)]
    codes: CodeBits,
    /// Recalls to aim at.
    #[arg(long, value_delimiter = ',', default_value = "0.9,0.95,0.98,0.99,0.995")]
    targets: Vec<f32>,
    /// Results of a recall.
    #[arg(long, short, default_value_t = 10)]
    k: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    rows: usize,
    dimensions: usize,
    code_bits: u32,
    queries: usize,
    k: usize,
    stored_per_s: f64,
    indexed_per_s: f64,
    exact_us_p50: f64,
    units: BTreeMap<&'static str, Units>,
    points: Vec<Point>,
}

/// One way to ask.
#[derive(Debug, Serialize)]
struct Point {
    what: String,
    recall: f64,
    p50_us: f64,
    p99_us: f64,
    rows_compared: f64,
    rows_estimated: f64,
    hops: f64,
}

/// Bytes of work between two requests, as in the daemon.
const STEP_BYTES: usize = 512 << 10;
/// Times that every query is asked; the fastest counts, the others wait for other guests.
const ROUNDS: usize = 3;

/// How long the disk is given before it is asked again.
const WAIT: Duration = Duration::from_micros(50);

struct Bench {
    shard: Shard<UringIo>,
    space: SpaceNumber,
    settings: SpaceSettings,
    effects: Vec<Effect>,
    k: usize,
    units: BTreeMap<&'static str, Units>,
}

/// Units of work of a stage of consolidations: a recall may have to wait for one.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Units {
    count: u64,
    seconds: f64,
    longest_us: f64,
    above_200_us: u64,
}

impl Bench {
    fn open(
        dir: &Path,
        dimensions: usize,
        codes: CodeBits,
        rows: usize,
    ) -> Result<Self, Box<dyn Error>> {
        let folder = dir.join("shard-000");
        std::fs::create_dir_all(&folder)?;
        let io = UringIo::new(&UringSettings { folder, worker_cpus: vec![], clock: CLOCK })?;
        let identity = LogIdentity {
            store_id: [7; 16],
            shard: 0,
            segment_bytes: 256 << 20,
            may_be_empty: true,
        };
        let shard_settings = ShardSettings {
            identity,
            log: LogSettings::default(),
            recovery: RecoverySettings::default(),
            memory_bytes_max: (rows * (dimensions * 4 + 2048)) as u64 * 3 + (64 << 20),
            memory_prefault_bytes: 0,
            consolidation: ConsolidationSettings::when_asked(),
        };
        let (mut shard, _) = Shard::open(io, &shard_settings, &|_| {})?;
        let settings =
            SpaceSettings { codes, ..SpaceSettings::usual("vectors", u32::try_from(dimensions)?) };
        shard.create_space(Ticket(0), None, &settings, 0)?;
        let mut bench = Self {
            shard,
            space: SpaceNumber(1),
            settings,
            effects: Vec::new(),
            k: 10,
            units: BTreeMap::new(),
        };
        bench.settle(1)?;
        Ok(bench)
    }

    /// Waits for so many answers.
    fn settle(&mut self, mut answers: usize) -> Result<(), Box<dyn Error>> {
        while answers > 0 {
            answers -= self.turn()?.min(answers);
            if answers > 0 {
                self.shard.wait()?;
            }
        }
        Ok(())
    }

    fn turn(&mut self) -> Result<usize, Box<dyn Error>> {
        self.shard.pump();
        self.shard.poll(&mut self.effects);
        self.shard.pump();
        let mut answers = 0;
        for effect in self.effects.drain(..) {
            if let Effect::Answer { result, .. } = effect {
                if let Reply::Erased { .. } = result? {
                    unreachable!("nothing is erased");
                }
                answers += 1;
            }
        }
        Ok(answers)
    }

    fn store(&mut self, vectors: &Vectors) -> Result<f64, Box<dyn Error>> {
        let began = Instant::now();
        let (mut nth, mut open) = (0, 0);
        while nth < vectors.count() {
            let request = StoreRequest {
                space: self.space,
                episode: Episode {
                    id: nth.to_string().into(),
                    vector: blob(vectors.row(nth)),
                    text: Bytes::new(),
                    happened_at_us: Some(i64::try_from(nth)?),
                    confidence: Confidence::CERTAIN,
                    metadata: Bytes::new(),
                    thread: Bytes::new(),
                    links: vec![],
                },
                key: Bytes::new(),
                dedup: false,
                ttl: Ttl::Space,
                priority: Priority::Normal,
                durability: Durability::Disk,
                writer_uid: 0,
            };
            match self.shard.store(Ticket(nth as u64), &request) {
                Ok(_) => (nth, open) = (nth + 1, open + 1),
                Err(_) => match self.turn()? {
                    0 => self.shard.wait()?,
                    answers => open -= answers,
                },
            }
            if nth.is_multiple_of(32) {
                open -= self.turn()?;
            }
        }
        self.settle(open)?;
        Ok(vectors.count() as f64 / began.elapsed().as_secs_f64())
    }

    /// Works until nothing is left to do and so many answers have come.
    fn work(&mut self, mut answers: usize) -> Result<(), Box<dyn Error>> {
        loop {
            let stage = self.shard.consolidation().0.stage.unwrap_or("others");
            let began = Instant::now();
            let advanced = self.shard.advance(true, &mut self.effects);
            let unit_us = began.elapsed().as_secs_f64() * 1e6;
            let units = self.units.entry(stage).or_default();
            units.count += 1;
            units.seconds += unit_us / 1e6;
            units.longest_us = units.longest_us.max(unit_us);
            units.above_200_us += u64::from(unit_us > 200.0);
            answers -= self.turn()?.min(answers);
            match advanced {
                Advanced::Idle if answers == 0 => return Ok(()),
                Advanced::Worked | Advanced::Idle => {}
                // What it waits for may have come in this turn.
                Advanced::Waits => std::thread::sleep(WAIT),
            }
        }
    }

    fn recall(&mut self, query: &[f32], effort: Effort) -> Result<Vec<Hit>, Box<dyn Error>> {
        let request = RecallRequest {
            space: self.space,
            k: self.k,
            cue: cue(&self.settings, &[blob(query)])?,
            conditions: Conditions::default(),
            effort,
            fields: Fields { why: true, ..Fields::default() },
            bytes_max: 1 << 20,
        };
        let mut recall = self.shard.recall(request)?;
        while !self.shard.recall_step(&mut recall, STEP_BYTES)? {}
        Ok(self.shard.recall_finish(recall)?)
    }

    fn measure(
        &mut self,
        what: String,
        queries: &Vectors,
        truth: &[Vec<Bytes>],
        effort: Effort,
    ) -> Result<Point, Box<dyn Error>> {
        let mut best_us = vec![f64::INFINITY; queries.count()];
        let (mut found, mut compared, mut estimated, mut hops) = (0, 0, 0, 0);
        for round in 0..ROUNDS {
            for (nth, best_us) in best_us.iter_mut().enumerate() {
                let began = Instant::now();
                let hits = self.recall(queries.row(nth), effort)?;
                *best_us = best_us.min(began.elapsed().as_secs_f64() * 1e6);
                if round == 0 {
                    found += hits.iter().filter(|hit| truth[nth].contains(&hit.episode.id)).count();
                    let why = hits.first().and_then(|hit| hit.why).ok_or("nothing was found")?;
                    compared += why.rows_compared;
                    estimated += why.rows_estimated;
                    hops += why.hops;
                }
            }
        }
        best_us.sort_by(f64::total_cmp);
        let count = queries.count() as f64;
        Ok(Point {
            what,
            recall: found as f64 / (count * self.k as f64),
            p50_us: best_us[best_us.len() / 2],
            p99_us: best_us[best_us.len() * 99 / 100],
            rows_compared: compared as f64 / count,
            rows_estimated: estimated as f64 / count,
            hops: hops as f64 / count,
        })
    }
}

fn code_bits(text: &str) -> Result<CodeBits, String> {
    let bits = text.parse().ok().and_then(CodeBits::of);
    bits.ok_or_else(|| format!("codes have 1, 2 or 4 bits, got '{text}'"))
}

fn blob(vector: &[f32]) -> Bytes {
    vector.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into()
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let (base, queries) = arguments.vectors.read()?;
    let dir = tempfile::tempdir_in(&arguments.dir)?;
    let mut bench = Bench::open(dir.path(), base.dimensions, arguments.codes, base.count())?;
    bench.k = arguments.k;
    let stored_per_s = bench.store(&base)?;
    bench.work(0)?;
    let (mut truth, mut exact_us) = (Vec::new(), Vec::new());
    for nth in 0..queries.count() {
        let began = Instant::now();
        let hits = bench.recall(queries.row(nth), Effort::Exact)?;
        exact_us.push(began.elapsed().as_secs_f64() * 1e6);
        truth.push(hits.into_iter().map(|hit| hit.episode.id).collect::<Vec<_>>());
    }
    exact_us.sort_by(f64::total_cmp);
    let exact_us_p50 = exact_us[exact_us.len() / 2];
    let mut points = vec![bench.measure("tail, codes".into(), &queries, &truth, Effort::Usual)?];
    let began = Instant::now();
    bench.shard.consolidate(Ticket(u64::MAX), true)?;
    bench.work(1)?;
    let indexed_per_s = base.count() as f64 / began.elapsed().as_secs_f64();
    for &beam in &arguments.beams {
        let what = format!("graph, beam {beam}");
        points.push(bench.measure(what, &queries, &truth, Effort::Beam(beam))?);
    }
    points.push(bench.measure("graph, usual".into(), &queries, &truth, Effort::Usual)?);
    for &target in &arguments.targets {
        let what = format!("graph, target {target}");
        points.push(bench.measure(what, &queries, &truth, Effort::Target(target))?);
    }
    let report = Report {
        rows: base.count(),
        dimensions: base.dimensions,
        code_bits: arguments.codes as u32,
        queries: queries.count(),
        k: arguments.k,
        stored_per_s,
        indexed_per_s,
        exact_us_p50,
        units: bench.units,
        points,
    };
    match arguments.json {
        true => println!("{}", serde_json::to_string_pretty(&report)?),
        false => print_text(&report),
    }
    Ok(())
}

fn print_text(report: &Report) {
    let Report { rows, dimensions, code_bits, queries, k, points, .. } = report;
    let Report { stored_per_s, indexed_per_s, exact_us_p50, .. } = report;
    println!(
        "{rows} rows of {dimensions}, codes of {code_bits} bits, {queries} queries, the {k} nearest"
    );
    println!("stored {stored_per_s:.0}/s, indexed {indexed_per_s:.0}/s");
    println!("compared one by one, while in memory: {exact_us_p50:.0} us p50");
    println!("{:16}    units  seconds  longest us  above 200 us", "stage");
    for (stage, Units { count, seconds, longest_us, above_200_us }) in &report.units {
        println!("{stage:16} {count:8} {seconds:8.2} {longest_us:11.0} {above_200_us:13}");
    }
    println!("{:16} recall   p50 us   p99 us  compared estimated   hops", "");
    for point in points {
        let Point { what, recall, p50_us, p99_us, rows_compared, rows_estimated, hops } = point;
        println!(
            "{what:16} {recall:.4} {p50_us:8.1} {p99_us:8.1} {rows_compared:9.0} \
             {rows_estimated:9.0} {hops:6.1}"
        );
    }
}
