//! The commands of clients that link and unlink, and what they make of the replies.

use crate::model::{Change, Promise};
use crate::wire::{Command, Value};
use crate::workload::{Client, Model, Sent, is_refused};

impl Client {
    /// To an id, or to something that names the write, so that it is seen where it is left.
    pub fn link(&mut self) -> (Command, Sent) {
        let (write, id) = (self.next_write(), self.id());
        let (promise, durability) = self.durability();
        let ((mut to, kind), weight) = self.some_link();
        if self.random.chance(300_000) {
            to = format!("write {write};");
        }
        let (space, shown) = (self.space_name(), weight.to_string());
        let mut words = vec!["EG.LINK", &space, &id, &to, &shown, "DUR", durability];
        if !kind.is_empty() {
            words.extend(["KIND", &kind]);
        }
        let command = Command::new(&words);
        let change = Change::Link { to, kind, weight };
        self.model.borrow_mut().history(self.space, &id).send_link(write, change);
        (command, Sent::Link { write, id, promise })
    }

    pub fn unlink(&mut self) -> (Command, Sent) {
        let (write, id) = (self.next_write(), self.id());
        let (promise, durability) = self.durability();
        let ((mut to, mut kind), _) = self.some_link();
        let mut model = self.model.borrow_mut();
        let history = model.history(self.space, &id);
        let links = &history.last().state().links;
        // Mostly one that is there.
        if !links.is_empty() && self.random.chance(800_000) {
            let own = links.keys().nth(self.random.index(links.len())).expect("just counted");
            to.clone_from(&own.0);
            if self.random.chance(500_000) {
                kind.clone_from(&own.1);
            }
        }
        let space = model.spaces[self.space].name.clone();
        let mut words = vec!["EG.UNLINK", &space, &id, &to, "DUR", durability];
        if !kind.is_empty() {
            words.extend(["KIND", &kind]);
        }
        let command = Command::new(&words);
        let change = Change::Unlink { to, kind };
        model.history(self.space, &id).send_link(write, change);
        (command, Sent::Link { write, id, promise })
    }

    /// A link each way between two ids, or the removal of what is there.
    pub fn mutual(&mut self) -> (Command, Sent) {
        let writes = [self.next_write(), self.next_write()];
        let (promise, durability) = self.durability();
        let ((to, kind), weight) = self.some_link();
        let mut from = self.id();
        while from == to {
            from = self.id();
        }
        let (space, shown) = (self.space_name(), weight.to_string());
        let is_link = self.random.chance(700_000);
        let mut words = match is_link {
            true => vec!["EG.LINK", &space, &from, &to, &shown],
            false => vec!["EG.UNLINK", &space, &from, &to],
        };
        words.extend(["MUTUAL", "DUR", durability]);
        if !kind.is_empty() {
            words.extend(["KIND", &kind]);
        }
        let command = Command::new(&words);
        let mut model = self.model.borrow_mut();
        for (write, id, other) in [(writes[0], &from, &to), (writes[1], &to, &from)] {
            let (to, kind) = (other.clone(), kind.clone());
            let change = match is_link {
                true => Change::Link { to, kind, weight },
                false => Change::Unlink { to, kind },
            };
            model.history(self.space, id).send_link(write, change);
        }
        (command, Sent::Mutual { writes, ids: [from, to], promise })
    }

    pub fn check_link(
        &self,
        model: &mut Model,
        (write, id, promise): (u64, &str, Promise),
        reply: &Value,
    ) {
        let dreams = model.spaces[self.space].dreams;
        let history = model.history(self.space, id);
        let own = history.all().find(|version| version.write == write).expect("it was sent");
        let (change, after) = (own.change.clone(), own.state().links.len());
        let before = history.before(write).cloned();
        let is_unknown = match reply {
            Value::Nil => true,
            Value::Error(text) => text.starts_with("NOEPISODE"),
            _ => false,
        };
        if is_unknown {
            let was = before.is_some_and(|before| before.episode().is_some());
            assert!(!was, "{id} in {} is there: {reply:?}", self.space);
            return history.take_back(write);
        }
        if is_refused(reply, history, write) {
            return;
        }
        if let Some(before) = before {
            assert!(before.episode().is_some(), "link {id} in {}: {reply:?}", self.space);
            match &change {
                Change::Link { to, kind, .. } => {
                    let was = before.state().links.contains_key(&(to.clone(), kind.clone()));
                    let expected = if was { "replaced" } else { "created" };
                    let outcome = reply.get("outcome").and_then(Value::text);
                    assert_eq!(outcome, Some(expected));
                    assert!(is_count(dreams, reply.count("links"), after), "{reply:?}");
                }
                _ => {
                    let removed = before.state().links.len() - after;
                    assert!(is_count(dreams, reply.count("removed"), removed), "{reply:?}");
                }
            }
        }
        history.acknowledge(write, Some(reply.count("seq")), promise);
    }

    /// Of each way what [`check_link`](Self::check_link) asks. An error may come of either, so what
    /// became of the other is open.
    pub fn check_mutual(
        &self,
        model: &mut Model,
        (writes, ids, promise): ([u64; 2], &[String; 2], Promise),
        reply: &Value,
    ) {
        let dreams = model.spaces[self.space].dreams;
        let ways = [0, 1].map(|way| {
            let history = model.history(self.space, &ids[way]);
            let own = history.all().find(|version| version.write == writes[way]).expect("sent");
            let is_link = matches!(own.change, Change::Link { .. });
            let before = history.before(writes[way]).cloned();
            let was = before.as_ref().map(|before| before.episode().is_some());
            let links = before.map(|before| before.state().links.len());
            (is_link, was, links, own.state().links.len())
        });
        let [(is_link, was, links, after), (_, was_back, links_back, after_back)] = ways;
        let is_unknown = match reply {
            Value::Nil => !is_link,
            Value::Error(text) => is_link && text.starts_with("NOEPISODE"),
            _ => false,
        };
        if is_unknown {
            let both = was == Some(true) && was_back == Some(true);
            let either = was == Some(true) || was_back == Some(true);
            assert!(if is_link { !both } else { !either }, "{ids:?} are there: {reply:?}");
            (0..2).for_each(|way| model.history(self.space, &ids[way]).take_back(writes[way]));
            return;
        }
        if let Value::Error(text) = reply {
            return assert!(text.starts_with("READONLY") || text.starts_with("BUSY"), "{text}");
        }
        let sequence = Some(reply.count("seq"));
        let sequences = match (is_link, was) {
            (true, _) => {
                assert!(was != Some(false) && was_back != Some(false), "{ids:?}: {reply:?}");
                let expected = |links: Option<usize>, after| {
                    links.map(|links| if links == after { "replaced" } else { "created" })
                };
                for (name, expected) in [
                    ("outcome", expected(links, after)),
                    ("back_outcome", expected(links_back, after_back)),
                ] {
                    let outcome = reply.get(name).and_then(Value::text);
                    assert!(expected.is_none() || outcome == expected, "{ids:?}: {reply:?}");
                }
                let is_so = links.is_none() || is_count(dreams, reply.count("links"), after);
                assert!(is_so, "{reply:?}");
                [sequence, Some(reply.count("back_seq"))]
            }
            // The sequence is that of the first of both that is known.
            (false, Some(true)) => [sequence, None],
            (false, Some(false)) => [None, sequence],
            (false, None) => [None, None],
        };
        if let (false, Some(links), Some(links_back)) = (is_link, links, links_back) {
            let removed = links + links_back - after - after_back;
            assert!(is_count(dreams, reply.count("removed"), removed), "{ids:?}: {reply:?}");
        }
        for way in 0..2 {
            let history = model.history(self.space, &ids[way]);
            history.acknowledge(writes[way], sequences[way], promise);
        }
    }
}

/// Whether so many links are told as there are; where replays make some, there may be more.
fn is_count(dreams: bool, told: u64, own: usize) -> bool {
    told == own as u64 || dreams && told > own as u64
}
