//! A client that follows a space with `EG.WATCH` over all lives of the daemon: it goes on where it
//! was, whatever ended the watch.
//!
//! What comes is judged as it comes: each shard's sequences only ever grow, over restarts too, so
//! nothing comes twice and nothing out of order; and what came is never lost. In the end, when
//! nothing fails any more, it must have got every episode that is there, in the version that is
//! there: each write that was acknowledged and that no other took the place of.

use std::collections::BTreeMap;
use std::time::Duration;

use engram_shards::io::Random;
use engramd::runtime;

use crate::machine::{Shared, trace};
use crate::wire::{Command, Connection, Value};

/// Where it is.
#[derive(Debug, Default)]
pub struct Follower {
    /// Behind which sequence it goes on, on each shard that it knows of.
    from: BTreeMap<u64, u64>,
    /// The last that came of each id: the sequence and the text.
    latest: BTreeMap<String, (u64, Vec<u8>)>,
}

/// What ended a watch.
enum Ended {
    /// The client did, and may begin again.
    Unwatched,
    /// The daemon did, or is gone.
    Cut,
}

impl Follower {
    /// The store has lost something, and said so: everything is told again.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// What came is durable: it is below what was recovered.
    pub fn check_recovered(&self, reached: &[u64]) {
        for (shard, seq) in &self.from {
            let reached = reached[*shard as usize];
            assert!(*seq <= reached, "shard {shard} told of {seq} and has up to {reached}");
        }
    }

    /// Whether everything came that is there now.
    pub fn has_all(&self, found: &BTreeMap<String, Value>) -> bool {
        found.iter().all(|(id, episode)| {
            let text = episode.get("text").and_then(Value::bytes).unwrap_or_default();
            let latest = self.latest.get(id);
            latest.is_some_and(|(seq, told)| *seq == episode.count("seq") && told == text)
        })
    }

    fn take(&mut self, watch: u64, message: &[Value], ids: &dyn Fn(&str) -> bool) {
        let number = |at: usize| message[at].number().expect("a number") as u64;
        assert_eq!(number(1), watch, "no message comes behind the end of its watch");
        let (shard, seq, episode) = (number(2), number(3), &message[4]);
        let id = episode.id();
        assert!(ids(id), "{id} was never stored");
        assert_eq!(episode.count("seq"), seq, "the message and its episode");
        let before = self.from.insert(shard, seq);
        assert!(before < Some(seq), "{seq} of shard {shard} comes behind {before:?}");
        let text = episode.get("text").and_then(Value::bytes).unwrap_or_default();
        self.latest.insert(id.to_owned(), (seq, text.to_vec()));
    }
}

/// Follows a space until the daemon ends it.
pub async fn follow(
    space: &str,
    follower: &Shared<Follower>,
    ids: &dyn Fn(&str) -> bool,
    random: &mut Random,
    connection: &mut Connection,
) -> Option<()> {
    connection.call(&Command::of("HELLO 3")).await?;
    while let Ended::Unwatched = watch(space, follower, ids, random, connection).await? {}
    Some(())
}

async fn watch(
    space: &str,
    follower: &Shared<Follower>,
    ids: &dyn Fn(&str) -> bool,
    random: &mut Random,
    connection: &mut Connection,
) -> Option<Ended> {
    let credit = random.between(1, 20);
    let mut line = format!("EG.WATCH {space}");
    let from = follower.borrow().from.clone();
    if from.is_empty() {
        line.push_str(" FROM 0 0");
    }
    for (shard, seq) in &from {
        line.push_str(&format!(" FROM {shard} {seq}"));
    }
    line.push_str(&format!(" CREDIT {credit} WITH text"));
    trace(format_args!("{line}"));
    let reply = connection.call(&Command::of(&line)).await?;
    if let Value::Error(error) = &reply {
        // Not there yet, or there is no room.
        assert!(["NOSPACE", "BUSY"].iter().any(|code| error.starts_with(code)), "{error}");
        return Some(Ended::Cut);
    }
    let number = reply.count("watch");
    let begins = places(reply.get("from").expect("where it begins"));
    for (shard, seq) in &from {
        assert_eq!(begins.get(shard), Some(seq), "it goes on where it was told to");
    }
    let (mut left, mut until_end) = (credit, random.between(5, 200));
    loop {
        let message = connection.receive().await?;
        match message.list().first().and_then(Value::text) {
            Some("eg.watch") => {}
            Some("eg.cut") => {
                trace(format_args!("cut: {:?}", message.list()[2]));
                check_places(&message.list()[3], &follower.borrow());
                return Some(Ended::Cut);
            }
            _ => panic!("nothing else was asked for: {message:?}"),
        }
        follower.borrow_mut().take(number, message.list(), ids);
        left = left.checked_sub(1).expect("no more comes than there is credit for");
        until_end -= 1;
        if random.chance(50_000) {
            runtime::sleep(Duration::from_millis(random.between(1, 20))).await;
        }
        let command = match (until_end, left) {
            (0, _) => format!("EG.UNWATCH {number}"),
            (_, 0) => {
                left = random.between(1, 20);
                format!("EG.WATCH MORE {number} {left}")
            }
            _ => continue,
        };
        if !connection.send(&Command::of(&command).0).await {
            return None;
        }
        // What was on its way before the reply.
        let reply = loop {
            let reply = connection.receive().await?;
            match &reply {
                Value::List(items) if is_message(items, "eg.watch") => {
                    follower.borrow_mut().take(number, items, ids);
                    left = left.saturating_sub(1);
                }
                Value::List(items) if is_message(items, "eg.cut") => {
                    check_places(&items[3], &follower.borrow());
                    return Some(Ended::Cut);
                }
                _ => break reply,
            }
        };
        if until_end == 0 {
            check_places(&reply, &follower.borrow());
            return Some(Ended::Unwatched);
        }
    }
}

fn is_message(items: &[Value], name: &str) -> bool {
    items.first().and_then(Value::text) == Some(name)
}

/// An array of shards and sequences.
fn places(from: &Value) -> BTreeMap<u64, u64> {
    let numbers: Vec<u64> =
        from.list().iter().map(|item| item.number().expect("a number") as u64).collect();
    numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
}

/// Where the daemon says to go on is behind everything that came, and before all that did not.
fn check_places(from: &Value, follower: &Follower) {
    let places = places(from);
    for (shard, seq) in &follower.from {
        let place = places.get(shard);
        assert!(place.is_some_and(|place| place >= seq), "{places:?} of {follower:?}");
    }
}
