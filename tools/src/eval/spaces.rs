//! The memory spaces of an evaluation: made for it, filled, asked, and dropped behind it.
//!
//! Each conversation is stored twice, since what is stored decides whether neighbours can help:
//! once with its sessions as threads and each turn linked with the ones right before and behind it
//! in its session, which matters where associations take part, and once without. Questions leave no
//! trace.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use redis::Value;

use super::calibration::Told;
use super::corpus::{Conversation, Question, Turn};
use super::embeddings::Embeddings;
use super::ways::{Asked, Part};
use crate::client::Client;
use crate::document::{Episode, Link};
use crate::error::ToolError;
use crate::import::retry_hint;
use crate::pack::{Arguments, push_mstore_head};
use crate::reply::{self, EpisodeReply};

/// A batch is closed when it has so many episodes, or so many bytes.
const BATCH_EPISODES: usize = 64;
const BATCH_BYTES: usize = 512 << 10;

/// How spaces are made.
#[derive(Debug)]
pub(super) struct Making<'a> {
    /// In front of the names of all.
    pub(super) prefix: &'a str,
    pub(super) shards: Option<u32>,
    pub(super) dimensions: usize,
    /// How long the daemon may stay busy.
    pub(super) patience: Duration,
}

/// What was made, by a connection to the daemon.
#[derive(Debug)]
pub(super) struct Spaces<'a> {
    client: Client,
    making: Making<'a>,
    made: Vec<String>,
}

impl<'a> Spaces<'a> {
    pub(super) fn new(client: Client, making: Making<'a>) -> Self {
        Self { client, making, made: Vec::new() }
    }

    /// The name of the space of a conversation.
    pub(super) fn name(&self, conversation: &Conversation, is_threaded: bool) -> String {
        let kind = if is_threaded { "" } else { ".unthreaded" };
        format!("{}{}{kind}", self.making.prefix, conversation.name)
    }

    /// Makes a space that must not be there yet: what others keep there is not ours to drop.
    fn create(&mut self, name: &str) -> Result<(), ToolError> {
        match self.client.call(redis::cmd("EG.SPACE").arg("INFO").arg(name)) {
            Err(ToolError::Refused { code, .. }) if code == "NOSPACE" => {}
            Err(error) => return Err(error),
            Ok(_) => {
                return Err(ToolError::usage(format!(
                    "the memory space '{name}' is there already: choose another --prefix, or drop \
                     it if an earlier evaluation left it (engram space drop {name} --yes)"
                )));
            }
        }
        let mut command = redis::cmd("EG.SPACE");
        command.arg("CREATE").arg(name).arg("DIM").arg(self.making.dimensions);
        if let Some(shards) = self.making.shards {
            command.arg("SHARDS").arg(shards);
        }
        self.client.call(&command)?;
        self.made.push(name.to_owned());
        Ok(())
    }

    /// Stores every turn of a conversation in a space of its own.
    pub(super) fn fill(
        &mut self,
        conversation: &Conversation,
        vectors: &Embeddings,
        is_threaded: bool,
    ) -> Result<(), ToolError> {
        let space = self.name(conversation, is_threaded);
        self.create(&space)?;
        let mut batch = Vec::new();
        let beside = if is_threaded { beside(&conversation.turns) } else { Vec::new() };
        for (nth, turn) in conversation.turns.iter().enumerate() {
            let mut item = Arguments::default();
            let mut episode = episode(turn, vectors, is_threaded)?;
            let links = beside.get(nth).into_iter().flatten();
            episode.links.extend(links.map(|other| link(&conversation.turns[*other])));
            item.push(b"ITEM").push_episode(&episode);
            batch.push(item);
            let bytes: usize = batch.iter().map(|item| item.bytes.len()).sum();
            if batch.len() == BATCH_EPISODES || bytes >= BATCH_BYTES {
                self.store(&space, std::mem::take(&mut batch))?;
            }
        }
        self.store(&space, batch)
    }

    /// Stores a batch; what the daemon is too busy for is sent again.
    fn store(&mut self, space: &str, mut batch: Vec<Arguments>) -> Result<(), ToolError> {
        const COMMAND: &str = "EG.MSTORE";
        let begun = Instant::now();
        while !batch.is_empty() {
            let mut command = Vec::new();
            let arguments = batch.iter().map(|item| item.count).sum();
            push_mstore_head(&mut command, space, batch.len(), arguments);
            batch.iter().for_each(|item| command.extend_from_slice(&item.bytes));
            self.client.send(&command)?;
            let (mut left, mut busy) = (Vec::new(), None);
            match self.client.receive() {
                Err(ToolError::Refused { code, message }) if code == "BUSY" => {
                    (left, busy) = (batch, Some(message));
                }
                reply => {
                    for (item, outcome) in batch.into_iter().zip(reply::array(reply?, COMMAND)?) {
                        match reply::outcome(outcome) {
                            Err(ToolError::Refused { code, message }) if code == "BUSY" => {
                                busy = Some(message);
                                left.push(item);
                            }
                            outcome => drop(outcome?),
                        }
                    }
                }
            }
            if let Some(message) = busy {
                if begun.elapsed() > self.making.patience {
                    return Err(ToolError::Refused { code: "BUSY".into(), message });
                }
                thread::sleep(retry_hint(&message));
            }
            batch = left;
        }
        Ok(())
    }

    /// Moves what was stored into columns files with an index.
    pub(super) fn consolidate(&mut self) -> Result<(), ToolError> {
        for space in &self.made {
            self.client.call(redis::cmd("EG.CONSOLIDATE").arg(space))?;
        }
        Ok(())
    }

    /// The turns that a question finds in one way, best first, by their number in the conversation,
    /// and what they came with.
    pub(super) fn ask(
        &mut self,
        (conversation, turns): (&Conversation, &HashMap<&str, usize>),
        (question, cue): (&Question, &[f32]),
        way: &Asked,
        k: usize,
    ) -> Result<(Vec<usize>, Vec<Told>), ToolError> {
        const COMMAND: &str = "EG.RECALL";
        let mut arguments = Arguments::default();
        let space = self.name(conversation, way.is_threaded);
        arguments.push(COMMAND.as_bytes()).push(space.as_bytes());
        arguments.push(b"K").push_display(k);
        for part in &way.parts {
            match part {
                Part::Vector => arguments.push(b"VEC").push_vector(cue),
                Part::Text => arguments.push(b"TEXT").push(question.text.as_bytes()),
                Part::Word(word) => arguments.push(word.as_bytes()),
            };
        }
        arguments.push(b"NOREINFORCE");
        self.client.send(&arguments.into_command())?;
        let reply: Value = self.client.receive()?;
        let turn = |hit| {
            let EpisodeReply { id, score, confidence, .. } = EpisodeReply::read(hit, COMMAND)?;
            let told = Told {
                score: score.unwrap_or_default(),
                confidence: confidence.unwrap_or_default().map(f64::from),
            };
            turns.get(id.as_str()).map(|turn| (*turn, told)).ok_or_else(|| {
                let reason = format!("'{id}' was not stored in '{space}'; did someone else?");
                ToolError::Reply { command: COMMAND, reason }
            })
        };
        reply::array(reply, COMMAND)?.into_iter().map(turn).collect()
    }

    /// Drops every space that was made.
    pub(super) fn drop_all(&mut self) -> Result<(), ToolError> {
        while let Some(name) = self.made.pop() {
            self.client.call(redis::cmd("EG.SPACE").arg("DROP").arg(name))?;
        }
        Ok(())
    }
}

/// For each turn those right before and behind it in its session.
fn beside(turns: &[Turn]) -> Vec<Vec<usize>> {
    let (mut last, mut beside) = (HashMap::new(), vec![Vec::new(); turns.len()]);
    for (nth, turn) in turns.iter().enumerate().filter(|(_, turn)| !turn.session.is_empty()) {
        if let Some(before) = last.insert(&turn.session, nth) {
            beside[nth].push(before);
            beside[before].push(nth);
        }
    }
    beside
}

fn link(to: &Turn) -> Link {
    Link { id: to.id.clone(), weight: 1.0, kind: "beside".into() }
}

fn episode(turn: &Turn, vectors: &Embeddings, is_threaded: bool) -> Result<Episode, ToolError> {
    let speaker = (!turn.speaker.is_empty())
        .then(|| serde_json::value::to_raw_value(&serde_json::json!({ "speaker": turn.speaker })))
        .transpose()
        .map_err(|error| ToolError::usage(format!("turn '{}': {error}", turn.id)))?;
    Ok(Episode {
        id: Some(turn.id.clone()),
        text: turn.text.clone(),
        at_us: turn.at_us,
        confidence: None,
        meta: speaker,
        thread: if is_threaded { turn.session.clone() } else { String::new() },
        links: Vec::new(),
        supersedes: Vec::new(),
        expires_at_us: None,
        vector: vectors.row(turn.row).to_vec(),
    })
}
