//! What group commit is worth and what checksums cost it: the raw ring, the engine's log, the log
//! without group commit, and the raw ring with frames made for each commit, on the same disk in the
//! same run.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use engram_perf::commit::{CommitFigures, CommitLoad, CommitProbe, RECORD_BYTES, reference_loads};
use engram_perf::engine_log::{EngineLog, EngineLogFigures, GroupCommit};
use engram_perf::frames::Framing;
use engram_perf::spread::Spread;
use serde::Serialize;

/// Compares the engine's log with the bare ring, with itself without group commit, and commits with
/// checksums with commits without.
#[derive(Debug, Parser)]
struct Arguments {
    /// Directory to write in; it should be on the disk of the data directory.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    /// Milliseconds for each figure.
    #[arg(long, default_value_t = 800, value_parser = clap::value_parser!(u64).range(1..))]
    milliseconds: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Pairs of runs that checksums are judged by; they share the time of one figure.
const PAIRS: u32 = 6;

#[derive(Debug, Serialize)]
struct Row {
    /// Whole batches, written and flushed by a ring with nothing around it.
    raw: CommitFigures,
    engine: EngineLogFigures,
    /// As many writers as for `engine`, each record with its own write and flush.
    engine_without_group_commit: EngineLogFigures,
    /// Throughput of the engine's log over that of the raw ring.
    share_of_raw: f64,
    /// Throughput with group commit over that without.
    group_commit_gain: f64,
    checksums: Checksums,
}

/// The same commits on the raw ring, their frames made right before each write, with checksums and
/// without, in turn.
#[derive(Debug, Serialize)]
struct Checksums {
    without_records_per_s: Spread,
    with_records_per_s: Spread,
    /// Throughput with checksums over that without, pair by pair.
    ratio: Spread,
    /// Processor time to make the frames of a commit.
    without_framing_us: Spread,
    with_framing_us: Spread,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let duration = Duration::from_millis(arguments.milliseconds);
    let mut probe = CommitProbe::new(&arguments.dir)?;
    let mut rows = Vec::new();
    for load in reference_loads() {
        let raw = probe.run(load, duration)?;
        let [engine, engine_without_group_commit] = [
            measure(&arguments.dir, load, GroupCommit::On, duration)?,
            measure(&arguments.dir, load, GroupCommit::Off, duration)?,
        ];
        rows.push(Row {
            share_of_raw: engine.records_per_s / raw.records_per_s,
            group_commit_gain: engine.records_per_s / engine_without_group_commit.records_per_s,
            checksums: checksums(&mut probe, load, duration / PAIRS)?,
            raw,
            engine,
            engine_without_group_commit,
        });
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        print_text(&rows);
    }
    Ok(())
}

fn measure(
    dir: &Path,
    load: CommitLoad,
    group_commit: GroupCommit,
    duration: Duration,
) -> Result<EngineLogFigures, Box<dyn Error>> {
    Ok(EngineLog::new(dir, load, group_commit)?.run(duration)?)
}

fn checksums(
    probe: &mut CommitProbe,
    load: CommitLoad,
    duration: Duration,
) -> Result<Checksums, Box<dyn Error>> {
    let mut pairs = Vec::new();
    for pair in 0..PAIRS {
        // Either goes first as often as the other.
        let mut order = [Framing::Copied, Framing::Checksummed];
        if pair % 2 == 1 {
            order.reverse();
        }
        let mut figures = order
            .map(|framing| Ok((framing, probe.run_framed(load, Some(framing), duration)?)))
            .into_iter()
            .collect::<Result<Vec<_>, Box<dyn Error>>>()?;
        figures.sort_by_key(|(framing, _)| *framing == Framing::Checksummed);
        pairs.push(figures);
    }
    let spread = |nth: usize, of: fn(&CommitFigures) -> f64| {
        Spread::of(pairs.iter().map(|pair| of(&pair[nth].1)))
    };
    let ratios = pairs.iter().map(|pair| pair[1].1.records_per_s / pair[0].1.records_per_s);
    Ok(Checksums {
        without_records_per_s: spread(0, |figures| figures.records_per_s),
        with_records_per_s: spread(1, |figures| figures.records_per_s),
        ratio: Spread::of(ratios),
        without_framing_us: spread(0, |figures| figures.framing_us_per_commit),
        with_framing_us: spread(1, |figures| figures.framing_us_per_commit),
    })
}

fn print_text(rows: &[Row]) {
    println!(
        "records of {RECORD_BYTES} bytes, durable; records × flights writers in a closed loop\n\n\
         {:<16}{:<25}{:<47}without group commit\n\
         records flights  records/s     p50    p99  records/s of raw     p50    p99  \
         per flush  saved  records/s    p99    gain",
        "", "raw ring, us", "engine log, us",
    );
    for Row {
        raw,
        engine,
        engine_without_group_commit: alone,
        share_of_raw,
        group_commit_gain,
        ..
    } in rows
    {
        println!(
            "{:>7}{:>8}{:>11.0}{:>8.0}{:>7.0}{:>11.0}{:>5.0} %{:>8.0}{:>7.0}{:>11.1}{:>5.1} %\
             {:>11.0}{:>7.0}{:>6.1} ×",
            raw.records_per_commit,
            raw.commits_in_flight,
            raw.records_per_s,
            raw.commit_latency_us_p50,
            raw.commit_latency_us_p99,
            engine.records_per_s,
            share_of_raw * 100.0,
            engine.commit_latency_us_p50,
            engine.commit_latency_us_p99,
            engine.records_per_flush,
            engine.flushes_saved * 100.0,
            alone.records_per_s,
            alone.commit_latency_us_p99,
            group_commit_gain,
        );
    }
    print_checksums(rows);
}

fn print_checksums(rows: &[Row]) {
    println!(
        "\nchecksums: frames made right before each write of the raw ring, as the log makes them \
         and only copied,\nthe same bytes otherwise, in {PAIRS} pairs: median (min–max); framing \
         is processor time\n\n\
         {:<16}{:>48}{:>48}{:>23}\n\
         records flights{:>26}{:>22}{:>26}{:>22}{:>23}",
        "",
        "only copied",
        "with checksums",
        "throughput",
        "records/s",
        "framing, us",
        "records/s",
        "framing, us",
        "with / without",
    );
    for Row { raw, checksums, .. } in rows {
        println!(
            "{:>7}{:>8}{:>26.0}{:>22.1}{:>26.0}{:>22.1}{:>23.3}",
            raw.records_per_commit,
            raw.commits_in_flight,
            checksums.without_records_per_s,
            checksums.without_framing_us,
            checksums.with_records_per_s,
            checksums.with_framing_us,
            checksums.ratio,
        );
    }
}
