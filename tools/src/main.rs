//! `engram`: the command-line client of the Engram memory daemon.
//!
//! The order of life: read the command line, run one command, answer with an exit code. Exit codes:
//! 0 done, 1 refused by the daemon, 2 the command line or a local file is wrong, 3 the daemon
//! cannot be reached.

mod acked_log;
mod audit;
mod changes;
mod cli;
mod client;
mod commands;
mod document;
mod error;
mod eval;
mod export;
mod import;
mod inspect;
mod load;
mod npy;
mod pack;
mod render;
mod reply;
mod restore;
mod scan;
mod time;
mod vectors;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    match arguments.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_output() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("engram: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
