//! One connection that changes things: a pipeline is noted, sent, and its replies are noted.
//!
//! Episodes and spaces are dealt to the connections by number, so that each is changed by one
//! connection only, whose order is the daemon's. Stores into a space come from every connection,
//! also while the one that owns the space drops it.

use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use engram_shards::episode::SpaceFan;
use fastrand::Rng;

use super::contents;
use super::journal::{Action, Answer, Change, Entry, Journal};
use super::mix::{Kind, Mix};
use crate::client::Client;
use crate::error::ToolError;
use crate::pack::Arguments;
use crate::reply::{self, Outcome};

/// Of ten episodes so many are in the first space, which is never dropped.
const FIRST_SPACE_OF_TEN: u64 = 7;
/// Every so many versions, one in the first space carries an idempotency key …
const KEYED_EVERY: u64 = 3;
/// … and one of any space is stored with `DUR os`, unless the run has a durability of its own.
const OS_EVERY: u64 = 4;
/// An old id is one of the last so many half of the time, so that changes of one episode meet.
const RECENT_IDS: u64 = 64;
/// Keyed stores that a connection may repeat.
pub(super) const KEYED_MAX: usize = 4096;

/// What all connections of a run share.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) space: String,
    pub(super) dimensions: usize,
    pub(super) connections: u64,
    pub(super) window: usize,
    pub(super) mix: Mix,
    /// `disk` or `os`; both when not given.
    pub(super) durability: Option<&'static str>,
    pub(super) stop: Instant,
    pub(super) journal: Journal,
    pub(super) next_change: AtomicU64,
}

impl Run {
    /// The space of a number of an episode: the first, or one per connection.
    fn space_of(&self, number: u64) -> usize {
        if number % 10 < FIRST_SPACE_OF_TEN {
            0
        } else {
            (1 + number / 10 % self.connections) as usize
        }
    }

    /// `EG.SPACE CREATE`: how follows from the change that creates it.
    pub(super) fn create_command(&self, space: usize, change: Change) -> Vec<u8> {
        let Settings { metric, model, spans_all, fan, fan_cap } = settings(change);
        let mut command = Arguments::default();
        command.push(b"EG.SPACE").push(b"CREATE").push(space_name(&self.space, space).as_bytes());
        command.push(b"DIM").push_display(self.dimensions);
        command.push(b"METRIC").push(metric.as_bytes()).push(b"MODEL").push(model.as_bytes());
        command.push(b"FAN").push(fan.to_string().as_bytes());
        if let Some(links) = fan_cap {
            command.push(b"FANCAP").push_display(links);
        }
        command.push(b"SHARDS").push(if spans_all { b"all".as_slice() } else { b"1" });
        command.into_command()
    }
}

/// What a space is created with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) metric: &'static str,
    pub(super) model: String,
    pub(super) spans_all: bool,
    pub(super) fan: SpaceFan,
    pub(super) fan_cap: Option<u32>,
}

pub(super) fn settings(change: Change) -> Settings {
    let metric = ["cosine", "dot", "l2"][(change % 3) as usize];
    let fan = match (change % 5) as u16 {
        0 => SpaceFan::Degree,
        rest => SpaceFan::Strength { hundredths: 157 * rest },
    };
    Settings {
        metric,
        model: format!("change-{change}"),
        spans_all: change.is_multiple_of(2),
        fan,
        fan_cap: NonZero::new((change % 7) as u32 * 50).map(NonZero::get),
    }
}

/// The name of space number `space`.
pub(super) fn space_name(first: &str, space: usize) -> String {
    if space == 0 { first.to_owned() } else { format!("{first}-{space}") }
}

/// A connection at work.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    pub(super) run: &'a Run,
    pub(super) client: Client,
    /// Among the connections, from 0.
    pub(super) index: u64,
    pub(super) rng: Rng,
    /// The next unused number that is this connection's.
    pub(super) next_number: u64,
    /// Whether its own space is there; it is dropped when in doubt.
    pub(super) space_is_there: bool,
    /// Stores with a key that may be repeated: change and number.
    pub(super) keyed: Vec<(Change, u64)>,
}

/// Changes that are sent together, and their bytes.
#[derive(Debug, Default)]
struct Pipeline {
    changes: Vec<(Change, Action)>,
    packed: Vec<u8>,
}

impl Writer<'_> {
    /// Changes things until the run is over or the daemon is gone; at least one pipeline.
    pub(super) fn run(mut self) -> Result<(), ToolError> {
        loop {
            let pipeline = self.make_up();
            let sent = |(change, action): &(Change, Action)| Entry::Sent(*change, *action);
            self.run.journal.append(&pipeline.changes.iter().map(sent).collect::<Vec<_>>())?;
            let mut answered = Vec::with_capacity(pipeline.changes.len());
            let result = self.exchange(&pipeline, &mut answered);
            self.run.journal.append(&answered)?;
            result?;
            if Instant::now() >= self.run.stop {
                return Ok(());
            }
        }
    }

    fn exchange(
        &mut self,
        pipeline: &Pipeline,
        answered: &mut Vec<Entry>,
    ) -> Result<(), ToolError> {
        self.client.send(&pipeline.packed)?;
        for (change, action) in &pipeline.changes {
            let answer = self.receive(*action)?;
            if let Action::Create { .. } | Action::Drop { .. } = action {
                let is_created = matches!(action, Action::Create { .. });
                self.space_is_there = is_created || matches!(answer, Answer::Unsure(_));
            }
            answered.push(Entry::Answered(*change, answer));
        }
        Ok(())
    }

    /// The next pipeline. One change of a space is in it at most, because the next depends on it.
    fn make_up(&mut self) -> Pipeline {
        let window = self.run.window as u64;
        let first = self.run.next_change.fetch_add(window, Relaxed);
        let mut pipeline = Pipeline::default();
        let mut has_space = false;
        for change in first..first + window {
            let kind = self.run.mix.draw(&mut self.rng);
            let (action, packed) = match kind {
                Kind::Space if !has_space => {
                    has_space = true;
                    self.change_space(change)
                }
                Kind::Repeat if !self.keyed.is_empty() => {
                    let (of, number) = self.keyed[self.rng.usize(..self.keyed.len())];
                    (Action::Repeat { of }, self.pack_store(0, number, of, true))
                }
                Kind::Forget => {
                    let number = self.old_number();
                    self.forget(change, number)
                }
                Kind::Replace => {
                    let number = self.old_number();
                    self.store(change, number)
                }
                Kind::Store | Kind::Repeat | Kind::Space => {
                    let number = self.next_number;
                    self.next_number += self.run.connections;
                    self.store(change, number)
                }
            };
            pipeline.changes.push((change, action));
            pipeline.packed.extend_from_slice(&packed);
        }
        pipeline
    }

    fn change_space(&self, change: Change) -> (Action, Vec<u8>) {
        let space = 1 + self.index as usize;
        if !self.space_is_there {
            return (Action::Create { space }, self.run.create_command(space, change));
        }
        let mut command = Arguments::default();
        command.push(b"EG.SPACE").push(b"DROP");
        command.push(space_name(&self.run.space, space).as_bytes());
        (Action::Drop { space }, command.into_command())
    }

    fn forget(&self, change: Change, number: u64) -> (Action, Vec<u8>) {
        let space = self.run.space_of(number);
        let mut command = Arguments::default();
        command.push(b"EG.FORGET").push(space_name(&self.run.space, space).as_bytes());
        command.push(contents::id(number).as_bytes());
        command.push(b"DUR").push(self.durability(change).as_bytes());
        (Action::Forget { space, number }, command.into_command())
    }

    fn store(&mut self, change: Change, number: u64) -> (Action, Vec<u8>) {
        let space = self.run.space_of(number);
        let keyed = space == 0 && change.is_multiple_of(KEYED_EVERY);
        if keyed {
            if self.keyed.len() >= KEYED_MAX {
                self.keyed.swap_remove(self.rng.usize(..self.keyed.len()));
            }
            self.keyed.push((change, number));
        }
        let packed = self.pack_store(space, number, change, keyed);
        (Action::Store { space, number, keyed }, packed)
    }

    /// A number of this connection's that was used before; a new one when none was.
    fn old_number(&mut self) -> u64 {
        let Run { connections, .. } = *self.run;
        let used = (self.next_number - self.index) / connections;
        if used == 0 {
            self.next_number += connections;
            return self.index;
        }
        let recent = if self.rng.bool() { used.min(RECENT_IDS) } else { used };
        self.next_number - (1 + self.rng.u64(..recent)) * connections
    }

    fn pack_store(&self, space: usize, number: u64, version: u64, keyed: bool) -> Vec<u8> {
        let mut command = Arguments::default();
        command.push(b"EG.STORE").push(space_name(&self.run.space, space).as_bytes());
        command.push_episode(&contents::episode(number, version, self.run.dimensions));
        if keyed {
            command.push(b"KEY").push(contents::key(version).as_bytes());
        }
        command.push(b"DUR").push(self.durability(version).as_bytes());
        command.into_command()
    }

    fn durability(&self, version: u64) -> &'static str {
        let both = if version.is_multiple_of(OS_EVERY) { "os" } else { "disk" };
        self.run.durability.unwrap_or(both)
    }

    /// The answer to the oldest open change.
    fn receive(&mut self, action: Action) -> Result<Answer, ToolError> {
        let reply = match self.client.receive() {
            // Its flush failed: the change may be there after a restart. So may half of a space.
            Err(ToolError::Refused { code, .. })
                if code == "READONLY"
                    || code != "NOSPACE"
                        && matches!(action, Action::Create { .. } | Action::Drop { .. }) =>
            {
                return Ok(Answer::Unsure(code));
            }
            Err(ToolError::Refused { code, .. }) => return Ok(Answer::Refused(code)),
            other => other?,
        };
        let unreadable = |command| ToolError::Reply { command, reason: "it has no seq".into() };
        match action {
            Action::Store { .. } | Action::Repeat { .. } => {
                let sequence = reply::written_sequence(&reply);
                let sequence = sequence.ok_or_else(|| unreadable("EG.STORE"))?;
                Ok(match reply::outcome(reply)? {
                    Outcome::Created => Answer::Created(sequence),
                    Outcome::Replaced => Answer::Replaced(sequence),
                    Outcome::Existing => Answer::Existing(sequence),
                })
            }
            Action::Forget { .. } if reply == redis::Value::Nil => Ok(Answer::Unknown),
            Action::Forget { .. } => {
                let sequence = reply::written_sequence(&reply);
                sequence.map(Answer::Forgotten).ok_or_else(|| unreadable("EG.FORGET"))
            }
            Action::Create { .. } | Action::Drop { .. } => Ok(Answer::Done),
        }
    }
}
