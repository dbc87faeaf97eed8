//! What took long: `EG.SLOWLOG` and `EG.LATENCY`.

use engram_shards::episode::Refusal;

use super::Command;
use super::arguments::Arguments;
use super::checks;

/// Entries that `EG.SLOWLOG GET` answers at most, and when no number is given.
pub const SLOWLOG_GET_MAX: usize = 16_384;
const SLOWLOG_GET_DEFAULT: usize = 10;
/// Bytes of the name of a command or a stage, and how many one request names.
const NAME_BYTES_MAX: usize = 64;
const NAMES_MAX: usize = 256;

/// `EG.SLOWLOG`: the commands that took longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlowlogCommand {
    /// The newest, at most so many.
    Get(usize),
    Len,
    Reset,
}

/// `EG.LATENCY`: of commands and stages, by names in lower case; of all when there are none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LatencyCommand {
    Get(Vec<String>),
    Histogram(Vec<String>),
    /// Of commands alone.
    Reset(Vec<String>),
}

pub(super) fn slowlog_get(arguments: &mut Arguments) -> Result<Command, Refusal> {
    let count = match arguments.next() {
        Some(count) => checks::whole("count", &count, &(1..=SLOWLOG_GET_MAX))?,
        None => SLOWLOG_GET_DEFAULT,
    };
    Ok(Command::Slowlog(SlowlogCommand::Get(count)))
}

pub(super) fn slowlog_len(_: &mut Arguments) -> Result<Command, Refusal> {
    Ok(Command::Slowlog(SlowlogCommand::Len))
}

pub(super) fn slowlog_reset(_: &mut Arguments) -> Result<Command, Refusal> {
    Ok(Command::Slowlog(SlowlogCommand::Reset))
}

pub(super) fn latency_get(arguments: &mut Arguments) -> Result<Command, Refusal> {
    Ok(Command::Latency(LatencyCommand::Get(names(arguments)?)))
}

pub(super) fn latency_histogram(arguments: &mut Arguments) -> Result<Command, Refusal> {
    Ok(Command::Latency(LatencyCommand::Histogram(names(arguments)?)))
}

pub(super) fn latency_reset(arguments: &mut Arguments) -> Result<Command, Refusal> {
    Ok(Command::Latency(LatencyCommand::Reset(names(arguments)?)))
}

fn names(arguments: &mut Arguments) -> Result<Vec<String>, Refusal> {
    let what = "name of a command or stage";
    checks::within("the list of names", arguments.left(), NAMES_MAX)?;
    let mut names = Vec::with_capacity(arguments.left());
    while let Some(name) = arguments.next() {
        names.push(checks::name(what, &name, NAME_BYTES_MAX)?.to_ascii_lowercase());
    }
    Ok(names)
}
