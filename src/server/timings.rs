//! `EG.SLOWLOG` and `EG.LATENCY`: what the journals of all shards have, as one answer.
//!
//! Each shard has timed the commands of its own connections, so a command is in one journal. Stages
//! are timed by the shard that went through them: what of a shard is told beside its commands.

use std::rc::Rc;

use engram_shards::episode::Refusal;

use super::commands::Encoded;
use super::core::{Core, Inner};
use super::info::encode_latency;
use super::journal::{Slow, is_wanted};
use super::outgoing::EncodedReply;
use super::request::{Answer, Request};
use crate::metrics::Latency;
use crate::protocol::Encoder;
use crate::protocol::command::{LatencyCommand, SlowlogCommand};

/// Ends of the buckets of a histogram: powers of two, in microseconds. The last holds ten minutes.
const BUCKETS: usize = 31;

/// What one journal is asked for.
#[derive(Debug, Clone)]
pub enum JournalQuery {
    /// The newest slow commands, at most so many.
    Slow(usize),
    SlowLen,
    ForgetSlow,
    /// Of commands and stages of these names, or of all.
    Latencies(Vec<String>),
    /// Of commands alone.
    ResetLatencies(Vec<String>),
}

/// What it answers.
#[derive(Debug)]
pub enum JournalTold {
    Slow(Vec<Slow>),
    SlowLen(usize),
    SlowForgotten,
    Latencies(Vec<(String, Latency)>),
    /// Whose histograms began anew.
    LatenciesReset(Vec<String>),
}

impl Inner {
    pub(super) fn tell_journal(&self, query: &JournalQuery) -> JournalTold {
        match query {
            JournalQuery::Slow(count) => JournalTold::Slow(self.journal.slowest(*count)),
            JournalQuery::SlowLen => JournalTold::SlowLen(self.journal.slow_len()),
            JournalQuery::ForgetSlow => {
                self.journal.forget_slow();
                JournalTold::SlowForgotten
            }
            JournalQuery::Latencies(names) => {
                let mut latencies = self.journal.latencies(names);
                let stages = self.metrics.latencies().into_iter();
                let stages = stages.filter(|(name, _)| is_wanted(name, names));
                latencies.extend(stages.map(|(name, stage)| (name.to_owned(), stage.clone())));
                JournalTold::Latencies(latencies)
            }
            JournalQuery::ResetLatencies(names) => {
                JournalTold::LatenciesReset(self.journal.reset_latencies(names))
            }
        }
    }
}

/// Asks all journals.
async fn ask(core: &Rc<Core>, query: JournalQuery) -> Result<Vec<JournalTold>, Refusal> {
    let answers = core.call_all(0..core.shards(), || Request::Journal(query.clone())).await;
    let told = answers.into_iter().map(|answer| match answer {
        Answer::Journal(told) => told,
        other => unreachable!("a journal answered with {other:?}"),
    });
    told.collect()
}

/// `EG.SLOWLOG`.
pub(super) async fn slowlog(core: &Rc<Core>, command: SlowlogCommand) -> Encoded {
    match command {
        SlowlogCommand::Get(count) => {
            let mut slow = Vec::new();
            for told in ask(core, JournalQuery::Slow(count)).await? {
                if let JournalTold::Slow(own) = told {
                    slow.extend(own);
                }
            }
            slow.sort_by_key(|slow| std::cmp::Reverse((slow.at_us, slow.id)));
            slow.truncate(count);
            let bytes = slow.len() * size_of::<Slow>();
            let reply = EncodedReply::new(move |encoder| {
                encoder.array(slow.len());
                slow.iter().for_each(|slow| encode_slow(encoder, slow));
            });
            Ok(reply.weighing(bytes))
        }
        SlowlogCommand::Len => {
            let lengths =
                ask(core, JournalQuery::SlowLen).await?.into_iter().map(|told| match told {
                    JournalTold::SlowLen(length) => length as u64,
                    _ => 0,
                });
            let length = lengths.sum();
            Ok(EncodedReply::new(move |encoder| encoder.count(length)))
        }
        SlowlogCommand::Reset => {
            ask(core, JournalQuery::ForgetSlow).await?;
            Ok(EncodedReply::new(|encoder| encoder.simple("OK")))
        }
    }
}

fn encode_slow(encoder: &mut Encoder<'_>, slow: &Slow) {
    encoder.map(9);
    count(encoder, "id", slow.id);
    encoder.bulk(b"at");
    encoder.integer(slow.at_us);
    encoder.bulk(b"name");
    encoder.bulk(slow.command.to_ascii_lowercase().as_bytes());
    encoder.bulk(b"command");
    encoder.array(slow.words.len());
    slow.words.iter().for_each(|word| encoder.bulk(word.as_bytes()));
    count(encoder, "duration_us", slow.spent.total_us);
    count(encoder, "queued_us", slow.spent.queued_us);
    count(encoder, "worked_us", slow.spent.worked_us);
    count(encoder, "log_us", slow.spent.log_us);
    encoder.bulk(b"client");
    encoder.map(3);
    count(encoder, "connection", slow.connection);
    encoder.bulk(b"name");
    encoder.bulk(slow.client_name.as_bytes());
    count(encoder, "uid", slow.uid.into());
}

/// `EG.LATENCY`.
pub(super) async fn latency(core: &Rc<Core>, command: LatencyCommand) -> Encoded {
    match command {
        LatencyCommand::Get(names) => {
            let latencies = latencies(core, names).await?;
            Ok(EncodedReply::new(move |encoder| {
                encoder.map(latencies.len());
                for (name, latency) in &latencies {
                    encoder.bulk(name.as_bytes());
                    encode_latency(encoder, latency);
                }
            }))
        }
        LatencyCommand::Histogram(names) => {
            let latencies = latencies(core, names).await?;
            Ok(EncodedReply::new(move |encoder| {
                encoder.map(latencies.len());
                for (name, latency) in &latencies {
                    encoder.bulk(name.as_bytes());
                    encode_histogram(encoder, latency);
                }
            }))
        }
        LatencyCommand::Reset(names) => {
            let mut reset = Vec::new();
            for told in ask(core, JournalQuery::ResetLatencies(names)).await? {
                if let JournalTold::LatenciesReset(own) = told {
                    reset.extend(own);
                }
            }
            reset.sort_unstable();
            reset.dedup();
            let commands = reset.len() as u64;
            Ok(EncodedReply::new(move |encoder| encoder.count(commands)))
        }
    }
}

/// Histograms over all shards, by name. What never happened is not among them.
async fn latencies(core: &Rc<Core>, names: Vec<String>) -> Result<Vec<(String, Latency)>, Refusal> {
    let mut all: Vec<(String, Latency)> = Vec::new();
    for told in ask(core, JournalQuery::Latencies(names)).await? {
        let JournalTold::Latencies(own) = told else { continue };
        for (name, latency) in own {
            match all.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => sum.add(&latency),
                None => all.push((name, latency)),
            }
        }
    }
    all.retain(|(_, latency)| latency.count() > 0);
    all.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(all)
}

/// How many took at most so long, for powers of two; as in Redis, only where there are more than
/// took less.
fn encode_histogram(encoder: &mut Encoder<'_>, latency: &Latency) {
    let ends_us: [u64; BUCKETS] = std::array::from_fn(|nth| 1 << nth);
    let counts = latency.count_up_to(&ends_us.map(|end| end * 1000));
    let mut before = 0;
    let mut buckets = Vec::new();
    for (end, up_to) in ends_us.into_iter().zip(counts) {
        if up_to > before {
            buckets.push((end, up_to));
        }
        before = up_to;
    }
    encoder.map(2);
    count(encoder, "calls", latency.count());
    encoder.bulk(b"histogram_usec");
    encoder.map(buckets.len());
    for (end, up_to) in buckets {
        count(encoder, &end.to_string(), up_to);
    }
}

fn count(encoder: &mut Encoder<'_>, name: &str, value: u64) {
    encoder.bulk(name.as_bytes());
    encoder.count(value);
}
