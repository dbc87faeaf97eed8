//! The fan experiment of Anderson (1974) with a daemon in the place of people: how long it would
//! take to recognise each kind of sentence, by what spreading answers. `perf/src/fan.rs` says how.

use std::error::Error;
use std::path::PathBuf;

use clap::Parser;
use engram_perf::daemon::{self, Daemon, DaemonSettings};
use engram_perf::fan::{self, ANDERSON_FOILS, ANDERSON_TARGETS, Fan, Latencies, Report, Table};

/// Asks for the latencies of Anderson's person-location experiment.
#[derive(Debug, Parser)]
struct Arguments {
    /// The daemon's program; beside this one unless given.
    #[arg(long)]
    engramd: Option<PathBuf>,
    #[arg(long, default_value_t = 1)]
    shards: u32,
    /// Directory for the data.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    #[arg(long)]
    json: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir_in(&arguments.dir)?;
    let daemon = Daemon::start(&DaemonSettings {
        engramd: daemon::program(arguments.engramd.as_ref())?,
        folder: folder.path().to_owned(),
        data: folder.path().join("data"),
        shards: arguments.shards,
    })?;
    let mut control = daemon.control()?;
    let reports = [Fan::Strength, Fan::Degree]
        .into_iter()
        .map(|fan| fan::run(&mut control, fan))
        .collect::<Result<Vec<Report>, _>>()?;
    daemon.stop()?;
    match arguments.json {
        true => println!("{}", serde_json::to_string_pretty(&reports)?),
        false => reports.iter().for_each(print_text),
    }
    Ok(())
}

fn print_text(report: &Report) {
    println!("FAN {}, seconds (Anderson 1974 in brackets)", report.fan.setting());
    print_table("targets", &report.targets, &ANDERSON_TARGETS);
    print_table("foils", &report.foils, &ANDERSON_FOILS);
    println!();
}

fn print_table(name: &str, latencies: &Latencies, paper: &Table) {
    println!("{name:9}  person fan 1            2            3         mean");
    let line = |what: String, own: &[f64], paper: &[f64]| {
        print!("{what:16}");
        own.iter().zip(paper).for_each(|(own, paper)| print!("  {own:.3} ({paper:.2})"));
        println!();
    };
    let with_mean = |row: &[f64; 3]| [row[0], row[1], row[2], row.iter().sum::<f64>() / 3.0];
    for (nth, (own, paper)) in latencies.table.iter().zip(paper).enumerate() {
        line(format!("place fan {}", nth + 1), &with_mean(own), &with_mean(paper));
    }
    let means = with_mean(&latencies.by_person);
    line("mean".to_owned(), &means, &with_mean(&fan::by_person(paper)));
    println!("r = {:.3}, RMSE = {:.3} s", latencies.correlation, latencies.rmse_s);
}
