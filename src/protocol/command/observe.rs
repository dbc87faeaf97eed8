//! Streams of stores that are acknowledged in ranges: `EG.OBSERVE`.
//!
//! An observation has no reply that could be an error. What is wrong with one is therefore part of
//! the command, once it is known which stream it belongs to.

use bytes::Bytes;
use engram_shards::episode::{Durability, Priority, Refusal};

use super::Command;
use super::arguments::{Arguments, durability, is_keyword, set_once, shown};
use super::checks;
use super::store::{self, priority};

pub use super::store::Observation;

/// Observations of a stream that may be unacknowledged.
pub const OBSERVE_CREDIT_MAX: usize = 4096;
/// The same when `CREDIT` is not given.
const OBSERVE_CREDIT_DEFAULT: usize = 1024;

/// `EG.OBSERVE OPEN`: what its observations have that do not say otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObserveOpen {
    pub space: String,
    pub priority: Priority,
    pub durability: Durability,
    /// 1 to [`OBSERVE_CREDIT_MAX`].
    pub credit: usize,
}

pub(super) fn observe(arguments: &mut Arguments) -> Result<Command, Refusal> {
    let first = arguments.value("EG.OBSERVE")?;
    if is_keyword(&first, "OPEN") {
        return open(arguments);
    }
    if is_keyword(&first, "CLOSE") {
        let stream = number(&arguments.value("CLOSE")?)?;
        return Ok(Command::ObserveClose { stream });
    }
    let stream = number(&first).map_err(|_| {
        let got = shown(&first);
        arguments.misuse(format_args!("expected OPEN, CLOSE or the number of a stream, got {got}"))
    })?;
    arguments.show_usage(false);
    let observation = store::observation(arguments).map(Box::new);
    // Behind an error they are of no use.
    while arguments.next().is_some() {}
    Ok(Command::Observe { stream, observation })
}

fn open(arguments: &mut Arguments) -> Result<Command, Refusal> {
    let space = checks::space(&arguments.value("OPEN")?)?;
    let (mut prio, mut dur, mut credit) = (None, None, None);
    while let Some(token) = arguments.next() {
        if is_keyword(&token, "PRIO") {
            set_once(&mut prio, "PRIO", priority(&arguments.value("PRIO")?))?;
        } else if is_keyword(&token, "DUR") {
            set_once(&mut dur, "DUR", durability(&arguments.value("DUR")?))?;
        } else if is_keyword(&token, "CREDIT") {
            let range = 1..=OBSERVE_CREDIT_MAX;
            let value = checks::whole("CREDIT", &arguments.value("CREDIT")?, &range);
            set_once(&mut credit, "CREDIT", value)?;
        } else {
            return Err(arguments.unknown(&token));
        }
    }
    Ok(Command::ObserveOpen(ObserveOpen {
        space,
        priority: prio.unwrap_or_default(),
        durability: dur.unwrap_or_default(),
        credit: credit.unwrap_or(OBSERVE_CREDIT_DEFAULT),
    }))
}

fn number(value: &Bytes) -> Result<u64, Refusal> {
    checks::whole("stream", value, &(1..=u64::MAX))
}
