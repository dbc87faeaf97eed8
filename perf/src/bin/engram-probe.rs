//! What this machine's memory and disk do with no engine in the way.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use engram_perf::commit::{CommitFigures, CommitProbe, RECORD_BYTES, reference_loads};
use engram_perf::huge_pages::{HugeFloats, huge_page_bytes};
use engram_perf::memory::{SequentialRead, sequential_read};
use serde::Serialize;

/// Measures sequential memory reads, and direct writes with flush, of this machine.
#[derive(Debug, Parser)]
struct Arguments {
    /// Directory for the file that is written to; it should be on the disk of the data directory.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    /// Mebibytes of memory to read; well above the caches.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    memory_mib: u32,
    /// Seconds for each load of commits.
    #[arg(long, default_value_t = 2)]
    commit_seconds: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    memory_bytes: usize,
    huge_page_bytes: u64,
    sequential_read: SequentialRead,
    record_bytes: usize,
    buffers_registered: bool,
    commits: Vec<CommitFigures>,
}

const READ_PASSES: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let report = measure(&arguments)?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print_text(&report);
    }
    Ok(())
}

fn measure(arguments: &Arguments) -> Result<Report, Box<dyn Error>> {
    let memory = HugeFloats::random((arguments.memory_mib as usize) << 18)?;
    let memory_bytes = memory.as_bytes().len();
    let huge_page_bytes = huge_page_bytes()?;
    let sequential_read = sequential_read(memory.as_bytes(), READ_PASSES);
    drop(memory);

    let mut probe = CommitProbe::new(&arguments.dir)?;
    let duration = Duration::from_secs(arguments.commit_seconds);
    let commits =
        reference_loads().map(|load| probe.run(load, duration)).collect::<Result<_, _>>()?;
    Ok(Report {
        memory_bytes,
        huge_page_bytes,
        sequential_read,
        record_bytes: RECORD_BYTES,
        buffers_registered: probe.buffers_registered(),
        commits,
    })
}

fn print_text(report: &Report) {
    let SequentialRead { gb_per_s, reader } = report.sequential_read;
    println!(
        "sequential read, one thread: {gb_per_s:.1} GB/s ({} MiB, {} MiB of it on huge pages; \
         fastest loop: {}, prefetch {} bytes ahead)\n",
        report.memory_bytes >> 20,
        report.huge_page_bytes >> 20,
        reader.instruction_set,
        reader.prefetch_bytes,
    );
    println!(
        "direct write linked to fdatasync, records of {} bytes, buffers {}:",
        report.record_bytes,
        if report.buffers_registered { "registered" } else { "not registered (RLIMIT_MEMLOCK)" },
    );
    println!("records/commit  in flight  commits/s  records/s    MB/s  p50 us  p99 us");
    for figures in &report.commits {
        println!(
            "{:>14} {:>10} {:>10.0} {:>10.0} {:>7.0} {:>7.0} {:>7.0}",
            figures.records_per_commit,
            figures.commits_in_flight,
            figures.commits_per_s,
            figures.records_per_s,
            figures.mb_per_s,
            figures.commit_latency_us_p50,
            figures.commit_latency_us_p99,
        );
    }
}
