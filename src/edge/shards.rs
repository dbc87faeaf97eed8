//! The edge's side of calls to shards.
//!
//! Calls are dealt to the shards in turn: any shard can carry out any command, and finds the owners
//! itself. The channel to a shard is bounded; when it is full the client is told to come again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::answers::{self, Answered};
use super::bounds::{HEALTH_TIMEOUT, RESULTS_AHEAD_MAX};
use super::operations::Operation;
use super::problem::Problem;
use super::requests::Asked;
use crate::server::{Call, Conversation, Peer, Report};

/// The ways to all shards.
#[derive(Debug, Clone)]
pub struct Shards {
    calls: Arc<[flume::Sender<Call>]>,
    next: Arc<AtomicUsize>,
}

/// The edge's side of a conversation. Dropped, it is hung up.
#[derive(Debug)]
pub struct Line {
    /// Hung up when no more commands will come.
    pub commands: Option<flume::Sender<Vec<Bytes>>>,
    pub replies: flume::Receiver<Bytes>,
}

impl Shards {
    pub fn new(calls: Vec<flume::Sender<Call>>) -> Self {
        Self { calls: calls.into(), next: Arc::default() }
    }

    /// Hands a call to the next shard.
    fn call(&self, call: Call) -> Result<(), Problem> {
        let nth = self.next.fetch_add(1, Ordering::Relaxed) % self.calls.len();
        self.calls[nth].try_send(call).map_err(|refused| match refused {
            flume::TrySendError::Full(_) => {
                Problem::busy("the lane from the edge to a shard is full")
            }
            flume::TrySendError::Disconnected(_) => Problem::stopping(),
        })
    }

    /// Begins a conversation.
    pub fn converse(&self, peer: Peer) -> Result<Line, Problem> {
        let (commands, taken) = flume::bounded(RESULTS_AHEAD_MAX);
        let (replies, told) = flume::bounded(0);
        self.call(Call::Converse(Conversation { peer, commands: taken, replies }))?;
        Ok(Line { commands: Some(commands), replies: told })
    }

    /// Begins a conversation with these words: its first chunk of replies.
    pub async fn begin(&self, peer: Peer, words: Vec<Bytes>) -> Result<(Line, Bytes), Problem> {
        let line = self.converse(peer)?;
        let sent = line.commands.as_ref().map(|commands| commands.try_send(words));
        if !matches!(sent, Some(Ok(()))) {
            return Err(Problem::stopping());
        }
        let chunk = line.replies.recv_async().await.map_err(|_| Problem::stopping())?;
        if chunk.is_empty() {
            return Err(Problem::stopping());
        }
        Ok((line, chunk))
    }

    /// Asks for one thing. The line is to be kept until the answer is written: what it holds of the
    /// shard's bound on replies is given back with it.
    pub async fn ask(
        &self,
        peer: Peer,
        operation: &Operation,
        asked: Asked,
    ) -> Result<(Answered, Line), Problem> {
        let Asked { words, form } = asked;
        let (mut line, chunk) = self.begin(peer, words).await?;
        // Nothing more will be asked.
        line.commands = None;
        let answered = answers::take(&mut &chunk[..], operation.shape, form)?;
        Ok((answered, line))
    }

    /// The figures of all shards that have time to report.
    pub async fn reports(&self) -> Result<Vec<Report>, Problem> {
        let (answer, reports) = flume::bounded(1);
        self.call(Call::Report(answer))?;
        reports.recv_async().await.map_err(|_| Problem::stopping())
    }

    /// Why a shard does not serve everything, of the first that does not.
    pub async fn ailment(&self) -> Option<Ailment> {
        for (shard, calls) in self.calls.iter().enumerate() {
            let (answer, health) = flume::bounded(1);
            if calls.try_send(Call::Health(answer)).is_err() {
                return Some(Ailment::Stuck { shard });
            }
            match tokio::time::timeout(HEALTH_TIMEOUT, health.recv_async()).await {
                Ok(Ok(None)) => {}
                Ok(Ok(Some(reason))) => return Some(Ailment::ReadOnly { shard, reason }),
                Ok(Err(_)) | Err(_) => return Some(Ailment::Stuck { shard }),
            }
        }
        None
    }
}

/// Why a shard does not serve everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ailment {
    ReadOnly { shard: usize, reason: String },
    Stuck { shard: usize },
}
