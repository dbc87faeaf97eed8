//! Spreading activation, in four tables.
//!
//! *Spread*: time and work of pushes by edges and threshold, with and without noting paths, and
//! what they find of the exact best. *Layouts*: the same push over three layouts of nodes and
//! states. *Pool*: what a push's memory costs, and whether it grows over very many pushes.
//! *Predict*: how well the time of a push is known before, over four workloads. With `--seeds` it
//! answers rows of seeds that another program chose, for comparisons.

use std::error::Error;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use engram_perf::graphs::{GraphArguments, Links, draw_seeds, read_seeds};
use engram_perf::spread_layouts::{self, LayoutPoint};
use engram_perf::spread_pool::{self, Endurance, PoolPoint};
use engram_perf::spread_predictions::{self, PredictionPoint};
use engram_perf::spreads::{self, Answer, BEST, Point};
use engram_shards::spread::operator::Settings;
use engram_shards::spread::state::Packed;
use serde::Serialize;

/// Measures spreading activation.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    graph: GraphArguments,
    /// What to measure.
    #[arg(long, value_delimiter = ',', default_value = "spread,layouts,pool,predict")]
    tables: Vec<Table>,
    /// Rows of seeds.
    #[arg(long, default_value_t = 1000)]
    queries: usize,
    /// Rows that are judged by the exact answer.
    #[arg(long, default_value_t = 20)]
    judged: usize,
    /// Seeds of a row.
    #[arg(long, default_value_t = 20)]
    seeds_per_row: usize,
    /// The share of its mass that a node passes on.
    #[arg(long, default_value_t = 0.5)]
    decay: f32,
    /// Edges that may be visited; the layouts take the first.
    #[arg(long, value_delimiter = ',', default_value = "4096,1024,16384")]
    budgets: Vec<u64>,
    /// Mass for each link from which on a node passes it on; the layouts take the first.
    #[arg(long, value_delimiter = ',', default_value = "1e-4,3e-4,5e-5,3e-5,1e-5")]
    thresholds: Vec<f32>,
    /// Pushes that have to find room in one pool.
    #[arg(long, default_value_t = 1_000_000)]
    spreads: u64,
    /// Answer these rows with the first budget and threshold, and print JSON: u32 in little-endian
    /// order.
    #[arg(long, value_name = "FILE")]
    seeds: Option<PathBuf>,
    /// Write the links: source and target as u32, weight as f32, in little-endian order.
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Table {
    Spread,
    Layouts,
    Pool,
    Predict,
}

#[derive(Debug, Serialize)]
struct Report {
    graph: String,
    nodes: u32,
    edges: usize,
    queries: usize,
    spread: Vec<Point>,
    layouts: Vec<LayoutPoint>,
    pool: Vec<PoolPoint>,
    endurance: Option<Endurance>,
    predict: Vec<PredictionPoint>,
}

/// Rows of seeds that were answered for another program.
#[derive(Debug, Serialize)]
struct Answers {
    nodes: u32,
    edges: usize,
    answers: Vec<Answer>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let links = arguments.graph.read()?;
    if let Some(path) = &arguments.export {
        links.export(path)?;
    }
    if let Some(path) = &arguments.seeds {
        let rows = read_seeds(path, arguments.seeds_per_row)?;
        let answers =
            spreads::ask::<Packed>(&links, settings(&arguments), arguments.budgets[0], &rows);
        let (nodes, edges) = (links.nodes(), links.edges());
        println!("{}", serde_json::to_string(&Answers { nodes, edges, answers })?);
        return Ok(());
    }
    let report = measure(&arguments, &links)?;
    match arguments.json {
        true => println!("{}", serde_json::to_string_pretty(&report)?),
        false => print_text(&report),
    }
    Ok(())
}

/// With the first threshold.
fn settings(arguments: &Arguments) -> Settings {
    let (decay, threshold) = (arguments.decay, arguments.thresholds[0]);
    Settings { decay, threshold, ..Settings::default() }
}

fn measure(arguments: &Arguments, links: &Links) -> Result<Report, Box<dyn Error>> {
    let Arguments { tables, queries, budgets, thresholds, .. } = arguments;
    let rows = draw_seeds(links, *queries, arguments.seeds_per_row);
    let settings = settings(arguments);
    let mut report = Report {
        graph: links.name.clone(),
        nodes: links.nodes(),
        edges: links.edges(),
        queries: rows.len(),
        spread: Vec::new(),
        layouts: Vec::new(),
        pool: Vec::new(),
        endurance: None,
        predict: Vec::new(),
    };
    if tables.contains(&Table::Spread) {
        let truth = spreads::truth(links, settings, &rows[..arguments.judged.min(rows.len())]);
        let points = budgets.iter().flat_map(|&edges_max| {
            thresholds.iter().map(move |&threshold| (edges_max, Settings { threshold, ..settings }))
        });
        for (edges_max, settings) in points {
            report.spread.extend(
                [false, true].map(|traced| {
                    spreads::measure(links, settings, edges_max, traced, &rows, &truth)
                }),
            );
        }
    }
    if tables.contains(&Table::Layouts) {
        let edges_max = budgets[0] as usize;
        report.layouts = spread_layouts::compare(links, &rows, settings.threshold, edges_max);
    }
    if tables.contains(&Table::Pool) {
        report.pool = [1_000, 100_000, 1_000_000].map(spread_pool::measure).into();
        report.endurance = Some(spread_pool::endure(links, arguments.spreads));
    }
    if tables.contains(&Table::Predict) {
        report.predict = spread_predictions::measure(links, settings, *queries)?;
    }
    Ok(report)
}

fn print_text(report: &Report) {
    let Report { graph, nodes, edges, queries, spread, layouts, pool, endurance, predict } = report;
    println!("{graph}: {nodes} nodes, {edges} edges; {queries} queries, the best {BEST}");
    if !spread.is_empty() {
        println!();
        println!(
            "budget  threshold  paths     p50 us   p95 us   p99 us   edges  turns  nodes  ns/edge  \
             overlap"
        );
    }
    for point in spread {
        let Point { edges_max, threshold, traced, p50_us, p95_us, p99_us, .. } = point;
        let Point { edges, turns, nodes_touched, ns_per_edge, overlap, .. } = point;
        let paths = if *traced { "noted" } else { "" };
        println!(
            "{edges_max:6} {threshold:10e}  {paths:6} {p50_us:9.1} {p95_us:8.1} {p99_us:8.1} \
             {edges:7.0} {turns:6.0} {nodes_touched:6.0} {ns_per_edge:8.1} {overlap:8.4}"
        );
    }
    if !layouts.is_empty() {
        println!();
        println!("layout               bytes/node  /link   p50 us   p95 us  ns/edge  plain : this");
    }
    for point in layouts {
        let LayoutPoint { layout, bytes_per_node, bytes_per_link, .. } = point;
        let LayoutPoint { p50_us, p95_us, ns_per_edge, times_plain, .. } = point;
        println!(
            "{layout:20} {bytes_per_node:10} {bytes_per_link:6} {p50_us:8.1} {p95_us:8.1} \
             {ns_per_edge:8.1} {times_plain:13.2}"
        );
    }
    print_pool(pool, endurance.as_ref());
    print_predictions(predict);
}

fn print_pool(pool: &[PoolPoint], endurance: Option<&Endurance>) {
    if !pool.is_empty() {
        println!();
        println!(
            "memory for a push, ns           pool  allocator   per record: pool  allocator  boxes"
        );
    }
    for point in pool {
        let PoolPoint { nodes, pool_ns, allocator_ns, .. } = point;
        let PoolPoint { pool_ns_per_record, allocator_ns_per_record, .. } = point;
        let boxes = point.boxes_ns_per_record;
        println!(
            "{nodes:8} nodes {pool_ns:22.1} {allocator_ns:10.0} {pool_ns_per_record:18.2} \
             {allocator_ns_per_record:10.2} {boxes:6.2}"
        );
    }
    if let Some(endurance) = endurance {
        let Endurance { spreads, pressures, hits, misses, dropped, .. } = endurance;
        println!();
        println!(
            "{spreads} pushes from one pool, {pressures} times under pressure: {hits} hits, \
             {misses} misses, {dropped} dropped"
        );
        println!(
            "most bytes after a tenth {}, at the end {}; bytes at the end {}",
            endurance.bytes_after_a_tenth, endurance.bytes_high_water, endurance.bytes_at_the_end
        );
    }
}

fn print_predictions(predict: &[PredictionPoint]) {
    if predict.is_empty() {
        return;
    }
    println!();
    println!("predictions                 edges   p50 us   p95 us  known us  alone us  learn ns");
    for point in predict {
        let PredictionPoint { workload, edges, p50_us, p95_us, .. } = point;
        let PredictionPoint { known_us_p50, alone_us_p50, learning_ns, .. } = point;
        println!(
            "{workload:24} {edges:8.0} {p50_us:8.1} {p95_us:8.1} {known_us_p50:9.1} \
             {alone_us_p50:9.1} {learning_ns:9.0}"
        );
    }
    println!();
    println!(
        "within 20 %              limit    own  edges   off: p50 %   p95 %  by turns  again after  \
         in time  used"
    );
    for point in predict {
        let PredictionPoint { workload, limit_share, share, edges_share, .. } = point;
        let PredictionPoint { error_percent_p50, error_percent_p95, switched_share, .. } = point;
        let PredictionPoint { in_time_share, used_share, .. } = point;
        let again = point.recovered_after.map_or("never".to_owned(), |after| after.to_string());
        println!(
            "{workload:24} {limit_share:5.3} {share:6.3} {edges_share:6.3} \
             {error_percent_p50:12.1} {error_percent_p95:7.1} {switched_share:9.3} {again:>12} \
             {in_time_share:8.3} {used_share:5.2}"
        );
    }
}
