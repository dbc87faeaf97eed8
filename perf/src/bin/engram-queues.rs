//! The table that chose the queue in front of a shard, and what our lanes do with it.
//!
//! *Queues*: how many items a second, and how long an item is under way, at 1 to 8 producers and
//! one consumer, as fast as they go and at a rate. *Wakes*: how soon a consumer that sleeps has an
//! item. *Waits*: how long our lanes keep an item while one of them never runs dry, beside the
//! bound that they give. *Observations*: how many a shard takes out of them, with no device below.
//! *Shards*: how many two of them keep beside each other, and how many one alone.

use std::error::Error;

use clap::{Parser, ValueEnum};
use engram_perf::queue_lanes::{self, CASES, Case, DIMENSIONS, SERVICE_NS, SideBySide, Sink, Wait};
use engram_perf::queue_loads::{self, Figures, Load, run, run_runtime_channel};
use engram_perf::queue_wakes::{SLEEPERS, Sleeper};
use engram_perf::queues::{Array, Flume, Item, Lanes, Locked, Rings, SLOTS, Segments, Std};
use serde::Serialize;

/// Measures queues between threads, and the lanes of a shard.
#[derive(Debug, Parser)]
struct Arguments {
    /// What to measure.
    #[arg(long, value_delimiter = ',', default_value = "queues,wakes,waits,observations,shards")]
    tables: Vec<Table>,
    /// Runs of each figure, which is their median; queues take turns.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Producers, which share a processor.
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8")]
    producers: Vec<usize>,
    /// Items of a run as fast as it goes.
    #[arg(long, default_value_t = 500_000)]
    items: u64,
    /// Observations of a run.
    #[arg(long, default_value_t = 300_000)]
    observations: u64,
    /// The rate, all producers together.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1..))]
    items_per_s: u32,
    /// Times that a consumer is woken in a run.
    #[arg(long, default_value_t = 2000)]
    wakes: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Table {
    Queues,
    Wakes,
    Waits,
    Observations,
    Shards,
}

#[derive(Debug, Serialize)]
struct Report {
    item_bytes: usize,
    slots: usize,
    consumer_cpu: usize,
    producer_cpu: usize,
    runs: u32,
    items_per_s: u32,
    queues: Vec<QueuePoint>,
    wakes: Vec<WakePoint>,
    waits: Vec<Wait>,
    observations: Vec<ObservationPoint>,
    /// One shard and two beside each other, in each run.
    shards: Vec<[SideBySide; 2]>,
}

#[derive(Debug, Serialize)]
struct QueuePoint {
    queue: &'static str,
    producers: usize,
    as_fast_as_it_goes: Figures,
    at_the_rate: Figures,
}

#[derive(Debug, Serialize)]
struct WakePoint {
    queue: &'static str,
    sleeps_on: &'static str,
    figures: Figures,
}

#[derive(Debug, Serialize)]
struct ObservationPoint {
    sink: Sink,
    producers: u64,
    figures: Figures,
}

type Runner = fn(Load) -> Figures;

const QUEUES: [(&str, Runner); 8] = [
    ("SegQueue, bounded", run::<Segments>),
    ("ArrayQueue", run::<Array>),
    ("flume", run::<Flume>),
    ("Mutex<VecDeque>", run::<Locked>),
    ("std sync_channel", run::<Std>),
    ("runtime's channels", run_runtime_channel),
    ("rtrb rings", run::<Rings>),
    ("ours", run::<Lanes>),
];

/// So many runs at the rate take a second.
const PACED_RUNS_PER_S: u64 = 4;
const OBSERVERS: [u64; 2] = [1, 4];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let report = measure(&arguments);
    match arguments.json {
        true => println!("{}", serde_json::to_string_pretty(&report)?),
        false => print_text(&report),
    }
    Ok(())
}

/// Runs all in turn, so often; the median of each.
fn medians<T: Copy>(runs: u32, all: &[T], run: impl Fn(T) -> Figures) -> Vec<(T, Figures)> {
    let mut figures = vec![Vec::new(); all.len()];
    for _ in 0..runs {
        for (one, figures) in all.iter().zip(&mut figures) {
            figures.push(run(*one));
        }
    }
    all.iter().zip(figures).map(|(one, runs)| (*one, Figures::median(&runs))).collect()
}

fn measure(arguments: &Arguments) -> Report {
    let Arguments { tables, runs, wakes, observations, .. } = arguments;
    let [consumer_cpu, producer_cpu] = queue_loads::cpus();
    let mut report = Report {
        item_bytes: size_of::<Item>(),
        slots: SLOTS,
        consumer_cpu,
        producer_cpu,
        runs: *runs,
        items_per_s: arguments.items_per_s,
        queues: Vec::new(),
        wakes: Vec::new(),
        waits: Vec::new(),
        observations: Vec::new(),
        shards: Vec::new(),
    };
    if tables.contains(&Table::Queues) {
        report.queues = arguments.producers.iter().flat_map(|p| queues(arguments, *p)).collect();
    }
    if tables.contains(&Table::Wakes) {
        let measured = medians(*runs, &SLEEPERS, |sleeper| (sleeper.run)(*wakes));
        let point = |(sleeper, figures): (Sleeper, Figures)| WakePoint {
            queue: sleeper.name,
            sleeps_on: sleeper.on,
            figures,
        };
        report.wakes = measured.into_iter().map(point).collect();
    }
    if tables.contains(&Table::Waits) {
        report.waits = CASES.map(Case::run).into();
    }
    if tables.contains(&Table::Observations) {
        let sinks = [Sink::Nowhere, Sink::Memory];
        let all = sinks.map(|sink| OBSERVERS.map(|producers| (sink, producers))).concat();
        let run = |(sink, producers)| queue_lanes::observe(sink, producers, *observations);
        let point = |((sink, producers), figures)| ObservationPoint { sink, producers, figures };
        report.observations = medians(*runs, &all, run).into_iter().map(point).collect();
    }
    if tables.contains(&Table::Shards) {
        let pair = |_| [1, 2].map(|shards| queue_lanes::store_side_by_side(shards, *observations));
        report.shards = (0..*runs).map(pair).collect();
        let growth = |[one, two]: &[SideBySide; 2]| two.cpu_ns_each / one.cpu_ns_each;
        report.shards.sort_by(|a, b| growth(a).total_cmp(&growth(b)));
    }
    report
}

fn queues(arguments: &Arguments, producers: usize) -> Vec<QueuePoint> {
    let Arguments { items, items_per_s, runs, .. } = *arguments;
    let fast = Load { producers, items, items_per_s: None };
    let paced = Load {
        items: u64::from(items_per_s) / PACED_RUNS_PER_S,
        items_per_s: Some(items_per_s),
        ..fast
    };
    let fast = medians(runs, &QUEUES, |(_, run)| run(fast));
    let paced = medians(runs, &QUEUES, |(_, run)| run(paced));
    let point = |(((queue, _), fast), (_, paced))| QueuePoint {
        queue,
        producers,
        as_fast_as_it_goes: fast,
        at_the_rate: paced,
    };
    fast.into_iter().zip(paced).map(point).collect()
}

fn print_text(report: &Report) {
    let Report { item_bytes, slots, consumer_cpu, producer_cpu, runs, .. } = report;
    println!(
        "items of {item_bytes} bytes, {slots} slots; the consumer on processor {consumer_cpu}, all \
         producers on processor {producer_cpu}; medians of {runs}"
    );
    if !report.queues.is_empty() {
        println!();
        let rate = report.items_per_s;
        println!("{:33} as fast as it goes{:13}at {rate} items/s", "", "");
        let quantiles = "   p50 us   p99 us p99.9 us";
        println!("{:20} producers  M items/s {quantiles}{quantiles}", "queue");
    }
    for point in &report.queues {
        let QueuePoint { queue, producers, as_fast_as_it_goes: fast, at_the_rate, .. } = point;
        println!(
            "{queue:20} {producers:9} {:10.2} {}{}",
            fast.items_per_s / 1e6,
            latency(fast),
            latency(at_the_rate)
        );
    }
    if !report.wakes.is_empty() {
        println!();
        println!("{:24} sleeps on    p50 us   p99 us p99.9 us", "wakes");
    }
    for WakePoint { queue, sleeps_on, figures } in &report.wakes {
        println!("{queue:24} {sleeps_on:10} {}", latency(figures));
    }
    print_waits(&report.waits);
    if !report.observations.is_empty() {
        println!();
        println!(
            "observations, {DIMENSIONS} dims  producers  items/s   p50 us   p99 us p99.9 us \
             waited"
        );
    }
    for ObservationPoint { sink, producers, figures } in &report.observations {
        let sink = match sink {
            Sink::Nowhere => "dropped",
            Sink::Memory => "into a shard",
        };
        println!("{sink:22} {producers:9} {:9.0}{}", figures.items_per_s, latency(figures));
    }
    if let Some([one, two]) = report.shards.get(report.shards.len() / 2) {
        println!();
        println!("shards beside each other   items/s   times   CPU ns each   times");
        for (shards, figures) in [(1, one), (2, two)] {
            let SideBySide { items_per_s, cpu_ns_each } = figures;
            println!(
                "{shards:<23}{items_per_s:11.0}{:8.2}{cpu_ns_each:14.0}{:8.2}",
                items_per_s / one.items_per_s,
                cpu_ns_each / one.cpu_ns_each,
            );
        }
    }
}

fn latency(figures: &Figures) -> String {
    let queue_loads::Latency { p50_us, p99_us, p999_us } = figures.latency;
    format!("{p50_us:9.1}{p99_us:9.1}{p999_us:9.1}")
}

fn print_waits(waits: &[Wait]) {
    if waits.is_empty() {
        return;
    }
    println!();
    println!(
        "waits, {SERVICE_NS} ns each{:17}p50 us   p99 us p99.9 us bound us   p99.9      max    \
         bound turns",
        ""
    );
    for wait in waits {
        let Wait { measured, full, turns_p999, turns_max, turns_bound, bound_us, .. } = wait;
        let queue_loads::Latency { p50_us, p99_us, p999_us } = wait.latency;
        println!(
            "{measured:5}while full: {:17}{p50_us:9.1}{p99_us:9.1}{p999_us:9.1}{bound_us:9.0}\
             {turns_p999:8}{turns_max:9}{turns_bound:9}",
            full.join(", ")
        );
    }
}
