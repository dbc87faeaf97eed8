//! `engramd`: reads its configuration, and lives as `engramd::daemon` says.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use engramd::config::{Args, Config, LogLevel};
use tracing::level_filters::LevelFilter;

fn main() -> ExitCode {
    let args = Args::parse();
    let loaded = match Config::load(&args) {
        Ok(loaded) => loaded,
        Err(error) => return fail(&error),
    };
    if let Some(answer) = loaded.answer(&args) {
        print!("{answer}");
        return ExitCode::SUCCESS;
    }
    log_to_stderr(loaded.config.log_level);
    abort_on_panic();
    if !engramd::heap::settle() {
        tracing::warn!("the allocator keeps its own ways; some requests take milliseconds longer");
    }
    match engramd::daemon::run(loaded.config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("engramd: {error}");
    ExitCode::FAILURE
}

fn log_to_stderr(level: LogLevel) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .with_writer(std::io::stderr)
        .init();
}

/// A broken invariant ends the process: its supervisor starts it again, and the log brings back
/// everything that was acknowledged. Going on without one shard would answer wrongly.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}
