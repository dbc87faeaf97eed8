//! One connection of an import: keeps its window full, settles replies, survives restarts.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use redis::Value;

use super::Import;
use super::batch::{BadLine, Batch, Item};
use super::ledger::Ledger;
use super::linking::{self, Daemon, Linking};
use super::progress::Counters;
use super::source::Source;
use crate::acked_log::AckedLog;
use crate::client::Client;
use crate::error::ToolError;
use crate::npy::NpyReader;
use crate::reply;
use crate::time;

/// Pauses between attempts to connect again: doubled from the first to the last.
const RECONNECT_PAUSE_FIRST: Duration = Duration::from_millis(50);
const RECONNECT_PAUSE_LAST: Duration = Duration::from_secs(2);
/// Bounds of the pause before busy episodes are sent again; the daemon's hint lies between them.
pub(super) const BUSY_PAUSE_MIN: Duration = Duration::from_millis(1);
const BUSY_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Bad lines that are reported one by one.
const BAD_LINES_SHOWN: u64 = 20;

/// What all connections of an import share.
#[derive(Debug)]
pub(super) struct Shared<'a> {
    pub(super) import: &'a Import,
    pub(super) socket: &'a Path,
    pub(super) timeout: Duration,
    pub(super) source: Mutex<Source>,
    pub(super) vectors: Option<NpyReader>,
    pub(super) ledger: Mutex<Ledger>,
    pub(super) counters: Counters,
    pub(super) acked_log: Option<AckedLog>,
    /// The first failure; set, it stops every worker after what it has in flight.
    pub(super) failure: Mutex<Option<ToolError>>,
}

impl Shared<'_> {
    pub(super) fn fail(&self, error: ToolError) {
        self.failure.lock().expect("no worker panics").get_or_insert(error);
    }

    fn has_failed(&self) -> bool {
        self.failure.lock().expect("no worker panics").is_some()
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(self.import.patience_seconds)
    }

    /// Reports a bad line; stops the import unless bad lines are to be skipped.
    fn bad_line(&self, bad: BadLine) -> Result<(), ToolError> {
        let path = self.source.lock().expect("no worker panics").path().to_owned();
        let error = ToolError::Line { path, line: bad.line, reason: bad.reason };
        if !self.import.skip_bad {
            return Err(error);
        }
        match self.counters.add_skipped() {
            before if before < BAD_LINES_SHOWN => eprintln!("engram: skipped {error}"),
            BAD_LINES_SHOWN => eprintln!("engram: further bad lines are only counted"),
            _ => {}
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct Worker<'a> {
    shared: &'a Shared<'a>,
    client: Option<Client>,
    in_flight: VecDeque<Batch>,
    linking: Linking,
    /// Since when every answer was busy.
    busy_since: Option<Instant>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(shared: &'a Shared<'a>) -> Self {
        let (in_flight, linking) = (VecDeque::new(), Linking::default());
        Self { shared, client: None, in_flight, linking, busy_since: None }
    }

    /// Stores batches until the input is used up or the import has failed.
    pub(super) fn run(mut self) {
        if let Err(error) = self.connect().and_then(|()| self.store_all()) {
            self.shared.fail(error);
        }
    }

    fn connect(&mut self) -> Result<(), ToolError> {
        self.client = Some(Client::connect(self.shared.socket, self.shared.timeout)?);
        Ok(())
    }

    fn client(&mut self) -> &mut Client {
        self.client.as_mut().expect("connected before the first batch is sent")
    }

    fn store_all(&mut self) -> Result<(), ToolError> {
        loop {
            while (self.in_flight.len() as u64) < self.shared.import.window {
                let Some(batch) = self.next_batch()? else { break };
                self.submit(batch)?;
            }
            if self.in_flight.is_empty() {
                return Ok(());
            }
            match self.client().receive() {
                Ok(reply) => self.settle(reply)?,
                Err(ToolError::Refused { code, message }) if code == "BUSY" => {
                    let batch = self.in_flight.pop_front().expect("a reply belongs to a batch");
                    self.retry(batch, retry_hint(&message), false)?;
                }
                Err(error) if error.is_disconnect() => self.reconnect(error)?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Packs the next lines outside of the lock on the input.
    fn next_batch(&self) -> Result<Option<Batch>, ToolError> {
        while !self.shared.has_failed() {
            let raw = {
                let mut source = self.shared.source.lock().expect("no worker panics");
                source.next_batch(self.shared.import.batch)?
            };
            let Some(raw) = raw else { return Ok(None) };
            let vectors = self.shared.vectors.as_ref();
            let how = (self.shared.import.normalize, time::now_us());
            let (batch, bad) = Batch::pack(raw, vectors, how)?;
            for line in bad {
                self.shared.bad_line(line)?;
            }
            if !batch.items.is_empty() {
                return Ok(Some(batch));
            }
            self.complete(&batch);
        }
        Ok(None)
    }

    fn submit(&mut self, batch: Batch) -> Result<(), ToolError> {
        let command = batch.command(&self.shared.import.space);
        self.in_flight.push_back(batch);
        match self.client().send(&command) {
            Err(error) if error.is_disconnect() => self.reconnect(error),
            sent => sent,
        }
    }

    /// Takes the oldest batch and its reply apart, item by item.
    fn settle(&mut self, reply: Value) -> Result<(), ToolError> {
        let mut batch = self.in_flight.pop_front().expect("a reply belongs to a batch");
        let outcomes = reply::array(reply, "EG.MSTORE")?;
        if outcomes.len() != batch.items.len() {
            let (got, expected) = (outcomes.len(), batch.items.len());
            let reason = format!("{got} answers to {expected} episodes");
            return Err(ToolError::Reply { command: "EG.MSTORE", reason });
        }
        let items = std::mem::take(&mut batch.items);
        let mut acked = Vec::new();
        let mut busy_pause = None;
        let mut failure = None;
        for (item, value) in items.into_iter().zip(outcomes) {
            match reply::outcome(value) {
                Ok(outcome) => {
                    self.follow(&item)?;
                    self.shared.counters.add_outcome(outcome);
                    acked.extend_from_slice(item.id.as_bytes());
                    acked.push(b'\n');
                }
                Err(ToolError::Refused { code, message }) if code == "BUSY" => {
                    busy_pause = busy_pause.max(Some(retry_hint(&message)));
                    batch.items.push(item);
                }
                Err(error) => {
                    if let Err(error) = self.refused(&item, error) {
                        failure.get_or_insert(error);
                    }
                }
            }
        }
        if let Some(log) = &self.shared.acked_log {
            log.append(&acked)?;
        }
        if let Some(error) = failure {
            return Err(error);
        }
        match busy_pause {
            None => {
                self.busy_since = None;
                self.complete(&batch);
                Ok(())
            }
            Some(pause) => self.retry(batch, pause, !acked.is_empty()),
        }
    }

    /// Says what the store of an item had no room for.
    fn follow(&mut self, item: &Item) -> Result<(), ToolError> {
        if item.links.is_empty() && item.superseded.is_none() {
            return Ok(());
        }
        let Shared { import, socket, timeout, .. } = self.shared;
        let daemon = Daemon { socket, timeout: *timeout, patience: self.shared.patience() };
        let (space, id) = (&import.space, &item.id);
        let links = item.links.iter().map(|link| linking::link(space, id, link));
        let superseded = item.superseded.iter();
        let superseded = superseded.map(|own| linking::supersede(space, id, own));
        let commands: Vec<_> = links.chain(superseded).collect();
        self.linking.follow(daemon, &commands)
    }

    /// An episode that the daemon refused for what is in it is a bad line; any other refusal ends
    /// the import.
    fn refused(&self, item: &Item, error: ToolError) -> Result<(), ToolError> {
        match &error {
            ToolError::Refused { code, message }
                if ["DIM", "BADVEC", "TOOBIG", "SYNTAX"].contains(&code.as_str()) =>
            {
                let reason = format!("'{}' was refused: {message} ({code})", item.id);
                self.shared.bad_line(BadLine { line: item.line, reason })
            }
            _ => Err(error),
        }
    }

    /// Sends again what was refused as busy, after the pause that the daemon asked for.
    fn retry(&mut self, batch: Batch, pause: Duration, progress: bool) -> Result<(), ToolError> {
        self.shared.counters.add_busy(batch.items.len() as u64);
        if progress {
            self.busy_since = None;
        }
        let since = *self.busy_since.get_or_insert_with(Instant::now);
        if since.elapsed() > self.shared.patience() {
            return Err(ToolError::Refused {
                code: "BUSY".into(),
                message: format!(
                    "the daemon stayed busy for {} s; see engram stats for what is full, or raise \
                     --patience-seconds",
                    self.shared.import.patience_seconds
                ),
            });
        }
        thread::sleep(pause);
        self.submit(batch)
    }

    fn complete(&self, batch: &Batch) {
        self.shared.counters.add_bytes(batch.source_bytes);
        self.shared.ledger.lock().expect("no worker panics").complete(batch.number, batch.end);
    }

    /// Connects again within the import's patience and sends what was in flight.
    fn reconnect(&mut self, lost: ToolError) -> Result<(), ToolError> {
        let start = Instant::now();
        let mut pause = RECONNECT_PAUSE_FIRST;
        let mut last = lost;
        loop {
            if start.elapsed() + pause > self.shared.patience() || self.shared.has_failed() {
                return Err(last);
            }
            thread::sleep(pause);
            pause = (pause * 2).min(RECONNECT_PAUSE_LAST);
            match self.connect().and_then(|()| self.send_in_flight()) {
                Err(error) if error.is_disconnect() => last = error,
                result => {
                    self.shared.counters.add_reconnect();
                    return result;
                }
            }
        }
    }

    fn send_in_flight(&mut self) -> Result<(), ToolError> {
        let space = &self.shared.import.space;
        let commands: Vec<_> = self.in_flight.iter().map(|batch| batch.command(space)).collect();
        commands.iter().try_for_each(|command| self.client().send(command))
    }
}

/// The pause that a busy reply asks for: the number in front of `ms`.
pub(crate) fn retry_hint(message: &str) -> Duration {
    let words: Vec<&str> = message.split_whitespace().collect();
    let unit = words.iter().position(|word| word.trim_end_matches(['.', ';', ',']) == "ms");
    let hint = unit.and_then(|at| words[..at].last()?.parse().ok());
    let pause = hint.map_or(Duration::from_millis(10), Duration::from_millis);
    pause.clamp(BUSY_PAUSE_MIN, BUSY_PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busy_hint_is_read_and_bounded() {
        let cases = [
            ("the normal lane is full; retry in 25 ms", 25),
            ("memory is full; retry in 60000 ms", 1000),
            ("no lane 7 is free; retry in 0 ms.", 1),
            ("try later", 10),
        ];
        for (message, expected_ms) in cases {
            assert_eq!(retry_hint(message), Duration::from_millis(expected_ms), "{message}");
        }
    }
}
