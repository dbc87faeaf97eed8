//! The commands of clients that supersede, and what was believed at other times.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{By, Change, Promise};
use crate::wire::{Command, Connection, Value};
use crate::workload::{Client, Model, Sent, Store, is_refused};

/// Episodes that one store supersedes.
const TARGETS_MAX: u64 = 4;

/// The writes of a store that supersedes others: their numbers and ids, and what it is to them.
pub struct Superseding {
    pub store: Store,
    pub targets: Vec<(u64, String)>,
}

impl Client {
    /// One episode by another, which need not be there.
    pub fn supersede(&mut self) -> (Command, Sent) {
        let (write, id) = (self.next_write(), self.id());
        let (promise, durability) = self.durability();
        let mut by = self.id();
        if by == id || self.random.chance(200_000) {
            // So that it is seen where it is left.
            by = format!("write {write};");
        }
        let valid_until = write.cast_signed() - 50;
        let (space, shown) = (self.space_name(), valid_until.to_string());
        let words = ["EG.SUPERSEDE", &space, &id, "BY", &by, "AT", &shown, "DUR", durability];
        let command = Command::new(&words);
        let change = Change::Supersede(By { id: by, valid_until });
        self.model.borrow_mut().history(self.space, &id).send_link(write, change);
        (command, Sent::Supersede { write, id, promise })
    }

    /// A store of an episode that supersedes others. Nothing is to be sent behind it before it is
    /// answered: what it does to them comes when it is durable.
    pub fn superseding(&mut self) -> (Command, Sent) {
        let (mut words, store) = self.store(None);
        let valid_until = {
            let mut model = self.model.borrow_mut();
            let own = model.history(self.space, &store.id).last();
            own.episode().expect("just sent").happened_at
        };
        let mut targets: Vec<(u64, String)> = Vec::new();
        for _ in 0..self.random.between(1, TARGETS_MAX) {
            let (write, id) = (self.next_write(), self.id());
            if id == store.id || targets.iter().any(|(_, other)| *other == id) {
                continue;
            }
            words.extend(["SUPERSEDES", &id].map(Into::into));
            let change = Change::Supersede(By { id: store.id.clone(), valid_until });
            self.model.borrow_mut().history(self.space, &id).send_link(write, change);
            targets.push((write, id));
        }
        (Command::new(&words), Sent::Superseding(Superseding { store, targets }))
    }

    pub fn check_supersede(
        &self,
        model: &mut Model,
        (write, id, promise): (u64, &str, Promise),
        reply: &Value,
    ) {
        let history = model.history(self.space, id);
        if is_refused(reply, history, write) {
            return;
        }
        let before = history.before(write).cloned();
        if *reply == Value::Nil {
            let was = before.is_some_and(|before| before.episode().is_some());
            assert!(!was, "{id} in {} is there: {reply:?}", self.space);
            return history.take_back(write);
        }
        let outcome = reply.get("outcome").and_then(Value::text);
        if let Some(before) = before {
            assert!(before.episode().is_some(), "supersede {id} in {}: {reply:?}", self.space);
            let own = history.all().find(|version| version.write == write).expect("it was sent");
            let Change::Supersede(by) = &own.change else { panic!("{:?}", own.change) };
            let first = before.state().superseded.as_ref().unwrap_or(by);
            let expected = if first.id == by.id { "superseded" } else { "unchanged" };
            assert_eq!(outcome, Some(expected), "{id} in {}", self.space);
        }
        history.acknowledge(write, Some(reply.count("seq")), promise);
    }

    /// An error may come of the store or of what follows it: then all of it is open.
    pub fn check_superseding(&self, model: &mut Model, sent: &Superseding, reply: &Value) {
        let Superseding { store, targets } = sent;
        if let Value::Error(text) = reply {
            return assert!(text.starts_with("READONLY") || text.starts_with("BUSY"), "{text}");
        }
        self.check_store(model, store, reply);
        if targets.is_empty() {
            return;
        }
        let named = reply.get("superseded").expect("it was asked for").list();
        let named: Vec<&str> = named.iter().filter_map(Value::text).collect();
        for (write, id) in targets {
            let history = model.history(self.space, id);
            let is_named = named.contains(&&**id);
            if let Some(before) = history.before(*write) {
                let by = before.state().superseded.as_ref();
                let is_free = by.is_none_or(|by| by.id == store.id);
                let expected = before.episode().is_some() && is_free;
                assert_eq!(is_named, expected, "{id} in {} by {}", self.space, store.id);
            }
            match is_named {
                true => history.acknowledge(*write, None, store.promise),
                false => history.take_back(*write),
            }
        }
    }
}

/// Checks that a recall as of a time finds what single reads as of it say was believed, and that
/// these go together with when things were recorded. Nothing is written meanwhile.
pub async fn check_as_of(
    connection: &mut Connection,
    space: &str,
    dimensions: usize,
) -> Option<()> {
    let now = everything(connection, space).await?;
    let number = |reply: &Value, key| reply.get(key).and_then(Value::number).expect("a number");
    let mut times: Vec<i64> =
        now.values().map(|reply| number(reply, "recorded_at") as i64).collect();
    times.sort_unstable();
    times.dedup();
    // Before everything, somewhere, at the end.
    let picked = [times.first().map(|first| first - 1), times.get(times.len() / 2).copied()];
    let mut superseded = BTreeSet::new();
    for time in picked.into_iter().flatten().chain([i64::MAX]) {
        let mut expected = Vec::new();
        for (id, reply) in &now {
            let line = format!("EG.GET {space} {id} ASOF {time}");
            let then = connection.call(&Command::of(&line)).await?;
            let is_recorded = number(reply, "recorded_at") as i64 <= time;
            assert_eq!(then != Value::Nil, is_recorded, "{id} in {space} as of {time}");
            let (by, by_then) = (By::of(reply), By::of(&then));
            assert!(by_then.is_none() || by_then == by, "{id} in {space} as of {time}: {then:?}");
            let is_superseded = by_then.is_some();
            assert!(is_superseded || !superseded.contains(id), "{id} in {space} as of {time}");
            if is_superseded {
                superseded.insert(id);
            }
            assert!(time < i64::MAX || by_then == by, "{id} in {space} at the end");
            if is_recorded && !is_superseded {
                expected.push(id.clone());
            }
        }
        let vector = "1 ".repeat(dimensions);
        let line =
            format!("EG.RECALL {space} K 4096 VALUES {dimensions} {vector}ASOF {time} NOREINFORCE");
        let hits = connection.call(&Command::of(&line)).await?;
        let mut found: Vec<String> = hits.list().iter().map(|hit| hit.id().to_owned()).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "what was believed in {space} as of {time}");
    }
    Some(())
}

async fn everything(connection: &mut Connection, space: &str) -> Option<BTreeMap<String, Value>> {
    let (mut found, mut cursor) = (BTreeMap::new(), "0".to_owned());
    loop {
        let line = format!("EG.SCAN {space} CURSOR {cursor} COUNT 4096");
        let reply = connection.call(&Command::of(&line)).await?;
        let [next, episodes] = reply.list() else { panic!("a scan is answered: {reply:?}") };
        found.extend(episodes.list().iter().map(|own| (own.id().to_owned(), own.clone())));
        cursor = next.text().expect("a cursor").to_owned();
        if cursor == "0" {
            return Some(found);
        }
    }
}
