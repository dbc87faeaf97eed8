//! Spreading activation: time, work and what of the exact answer is found, by edges and threshold.

use std::error::Error;

use clap::Parser;
use engram_perf::graphs::{GraphArguments, draw_seeds};
use engram_perf::spreads::{self, BEST, Point};
use engram_shards::spread::operator::Settings;
use serde::Serialize;

/// Measures spreading activation.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    graph: GraphArguments,
    /// Rows of seeds.
    #[arg(long, default_value_t = 500)]
    queries: usize,
    /// Rows that are judged by the exact answer.
    #[arg(long, default_value_t = 20)]
    judged: usize,
    /// Seeds of a row.
    #[arg(long, default_value_t = 20)]
    seeds: usize,
    /// The share of its mass that a node passes on.
    #[arg(long, default_value_t = 0.5)]
    decay: f32,
    /// Edges that may be visited.
    #[arg(long, value_delimiter = ',', default_value = "1024,4096,16384")]
    budgets: Vec<u64>,
    /// Mass for each link from which on a node passes it on.
    #[arg(long, value_delimiter = ',', default_value = "3e-4,1e-4,3e-5,1e-5")]
    thresholds: Vec<f32>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    graph: String,
    nodes: u32,
    edges: usize,
    queries: usize,
    points: Vec<Point>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let links = arguments.graph.read()?;
    let rows = draw_seeds(&links, arguments.queries, arguments.seeds);
    let settings = Settings { decay: arguments.decay, ..Settings::default() };
    let truth = spreads::truth(&links, settings, &rows[..arguments.judged.min(rows.len())]);
    let mut points = Vec::new();
    for &edges_max in &arguments.budgets {
        for &threshold in &arguments.thresholds {
            let settings = Settings { threshold, ..settings };
            for traced in [false, true] {
                points.push(spreads::measure(&links, settings, edges_max, traced, &rows, &truth));
            }
        }
    }
    let report = Report {
        graph: links.name.clone(),
        nodes: links.nodes(),
        edges: links.edges(),
        queries: rows.len(),
        points,
    };
    match arguments.json {
        true => println!("{}", serde_json::to_string_pretty(&report)?),
        false => print_text(&report),
    }
    Ok(())
}

fn print_text(report: &Report) {
    let Report { graph, nodes, edges, queries, points } = report;
    println!("{graph}: {nodes} nodes, {edges} edges; {queries} queries, the best {BEST}");
    println!(
        "budget  threshold  traced    p50 us   p95 us   p99 us   edges  turns  nodes  ns/edge  overlap"
    );
    for point in points {
        let Point { edges_max, threshold, traced, p50_us, p95_us, p99_us, .. } = point;
        let Point { edges, turns, nodes_touched, ns_per_edge, overlap, .. } = point;
        let traced = if *traced { "yes" } else { "no" };
        println!(
            "{edges_max:6} {threshold:10e}  {traced:6} {p50_us:9.1} {p95_us:8.1} {p99_us:8.1} \
             {edges:7.0} {turns:6.0} {nodes_touched:6.0} {ns_per_edge:8.1} {overlap:8.4}"
        );
    }
}
