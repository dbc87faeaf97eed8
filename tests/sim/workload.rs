// tidy: long because each command stands beside how its reply is judged.
//! What clients do: bursts of commands down a pipe, and a look at every reply.

use std::collections::BTreeSet;
use std::rc::Rc;

use engram_shards::io::Random;
use engram_shards::io::simulated::SimulatedDisk;
use engramd::runtime;
use std::time::Duration;

use crate::machine::{Shared, trace};
use crate::model::{
    Change, Episode, Existence, History, Links, Measure, Promise, Space, THREAD_FIELD, writes_in,
};
use crate::plan::{Plan, Trouble};
use crate::spreading::Asked;
use crate::superseding::Superseding;
use crate::trusting::{SOURCES, WRITERS};
use crate::wire::{Command, Connection, Value, short};

const BURST_MAX: u64 = 10;

/// Everything that was asked for, and what came of it.
pub struct Model {
    pub spaces: Vec<Space>,
    pub keyed: Vec<Keyed>,
    /// The number of the last write.
    pub write: u64,
    pub ids: u64,
    /// Whether a disk holds the bytes of a text only where the daemon put them.
    pub may_search_disks: bool,
    /// Writes whose texts were erased for good.
    pub erased: BTreeSet<u64>,
}

/// The space that is created and dropped again and again; the others belong to a client each.
pub const SHELF: usize = 0;

/// A store with an idempotency key.
#[derive(Clone)]
pub struct Keyed {
    pub space: usize,
    pub id: String,
    pub key: String,
    pub episode: Rc<Episode>,
    /// Sequence of the first answer, if the daemon must know it.
    pub sequence: Option<u64>,
    /// The last erase of the id that was sent: a key goes with its episode.
    pub erased: u64,
}

impl Model {
    pub fn new(random: &mut Random, plan: &Plan) -> Self {
        let Plan { shards, clients, ids, has_graphs, dreams, .. } = *plan;
        let space = |nth: usize| Space {
            name: if nth == SHELF { "shelf".into() } else { format!("client-{nth}") },
            dimensions: match has_graphs {
                true => random.between(64, 80),
                false => random.between(1, 12),
            } as usize,
            code_bits: [4, 1, 2][nth % 3],
            fan: ["1.57", "degree"][nth % 2],
            fan_cap: nth as u32 + 1,
            dreams,
            measure: [Measure::Cosine, Measure::Dot, Measure::L2][random.index(3)],
            span: random.between(1, shards as u64) as usize,
            recalls_count: nth.is_multiple_of(2),
            existence: Existence::No,
            ids: Default::default(),
        };
        Self {
            spaces: (0..=clients).map(space).collect(),
            keyed: Vec::new(),
            write: 0,
            ids,
            may_search_disks: matches!(plan.trouble, Trouble::Crashes | Trouble::Errors),
            erased: BTreeSet::new(),
        }
    }

    /// What was erased is in no file, unless it was sent again.
    pub fn check_erased(&self, disks: &[SimulatedDisk]) {
        if self.erased.is_empty() {
            return;
        }
        for (shard, disk) in disks.iter().enumerate() {
            disk.look(|file, bytes| {
                let left = writes_in(bytes).find(|write| self.erased.contains(write));
                assert_eq!(left, None, "erased, and in {file} of shard {shard}");
            });
        }
    }

    pub fn history(&mut self, space: usize, id: &str) -> &mut History {
        self.spaces[space].ids.entry(id.to_owned()).or_default()
    }
}

/// A command that was sent and not answered.
pub enum Sent {
    Store(Store),
    Many(Vec<Store>),
    Forget {
        write: u64,
        id: String,
        promise: Promise,
    },
    /// A link, or the removal of some.
    Link {
        write: u64,
        id: String,
        promise: Promise,
    },
    /// A reinforcement, or a pin or its removal.
    Reinforce {
        write: u64,
        id: String,
        promise: Promise,
    },
    /// A link each way, or the removal of some; the first and the last of two writes.
    Mutual {
        writes: [u64; 2],
        ids: [String; 2],
        promise: Promise,
    },
    Supersede {
        write: u64,
        id: String,
        promise: Promise,
    },
    Superseding(Superseding),
    Get {
        write: u64,
        id: String,
    },
    Spread(Asked),
    Recall {
        write: u64,
        cue: Vec<f32>,
        k: usize,
    },
    Ping,
    Erase {
        write: u64,
        id: String,
    },
    Consolidate,
    /// A store into the space that others create and drop.
    Intrude {
        write: u64,
        id: String,
    },
}

pub struct Store {
    pub write: u64,
    pub id: String,
    pub promise: Promise,
    keyed: Option<usize>,
    /// Whether the same content is to be left as it is.
    dedup: bool,
}

pub struct Client {
    pub space: usize,
    pub model: Shared<Model>,
    pub random: Random,
    pub disks: Vec<SimulatedDisk>,
}

impl Client {
    /// Sends bursts until the daemon is gone or the work is done.
    pub async fn work(mut self, mut connection: Connection, bursts: u64) {
        for _ in 0..bursts {
            if self.random.chance(300_000) {
                runtime::sleep(Duration::from_micros(self.random.between(1, 5_000))).await;
            }
            let commands = self.random.between(1, BURST_MAX);
            let (mut bytes, mut sent) = (Vec::new(), Vec::new());
            for _ in 0..commands {
                let (command, expects) = self.draw();
                bytes.extend_from_slice(&command.0);
                sent.push(expects);
            }
            if self.random.chance(150_000) {
                let (command, expects) = self.superseding();
                bytes.extend_from_slice(&command.0);
                sent.push(expects);
            }
            if !connection.send(&bytes).await {
                return;
            }
            for sent in sent {
                let Some(reply) = connection.receive().await else { return };
                self.check(sent, &reply);
            }
        }
    }

    fn draw(&mut self) -> (Command, Sent) {
        match self.random.below(100) {
            0..24 => {
                let (words, store) = self.store(None);
                (Command::new(&words), Sent::Store(store))
            }
            24..28 => {
                let (words, store) = self.same_store();
                (Command::new(&words), Sent::Store(store))
            }
            28..32 => self.supersede(),
            32..41 => {
                let (words, store) = self.keyed_store();
                (Command::new(&words), Sent::Store(store))
            }
            41..48 => self.many(),
            48..55 => self.forget(),
            55..58 => self.erase(),
            58..65 => self.link(),
            65..68 => self.unlink(),
            68..72 => self.mutual(),
            72..75 => (Command::of("EG.CONSOLIDATE"), Sent::Consolidate),
            75..79 => self.reinforce(),
            79..85 => self.get(),
            85..91 => self.recall(),
            91..94 => self.spread(),
            94..97 => self.intrude(),
            _ => (Command::of("PING"), Sent::Ping),
        }
    }

    pub fn next_write(&mut self) -> u64 {
        let mut model = self.model.borrow_mut();
        model.write += 1;
        model.write
    }

    pub fn id(&mut self) -> String {
        let ids = self.model.borrow().ids;
        format!("id-{}", self.random.below(ids))
    }

    fn episode(&mut self, write: u64, dimensions: usize) -> Rc<Episode> {
        let padding = if self.random.chance(100_000) { self.random.below(1500) } else { 0 };
        let vector = (0..dimensions).map(|_| self.random.between(1, 9) as f32 - 4.5);
        Rc::new(Episode {
            text: format!("write {write};{}", ".".repeat(padding as usize)),
            vector: vector.collect(),
            happened_at: write.cast_signed() * 1000 - 5000,
            metadata: self.metadata(write),
            confidence: self.confidence(),
            links: match self.random.chance(250_000) {
                true => (0..self.random.between(1, 4)).map(|_| self.some_link()).collect(),
                false => Links::new(),
            },
        })
    }

    /// Mostly with whom it goes back to.
    fn metadata(&mut self, write: u64) -> String {
        let mut fields = Vec::new();
        if self.random.chance(500_000) {
            fields.push(format!("\"{THREAD_FIELD}\":{write}"));
        }
        for (field, names) in [("writer", &WRITERS[..]), ("source", &SOURCES[..])] {
            if self.random.chance(400_000) {
                let name = names[self.random.index(names.len())];
                fields.push(format!("\"{field}\":\"{name}\""));
            }
        }
        if fields.is_empty() { String::new() } else { format!("{{{}}}", fields.join(",")) }
    }

    fn confidence(&mut self) -> [f32; 3] {
        let [low, more, beyond] = [5, 3, 3].map(|below| self.random.below(below) as f32 / 8.0);
        [low + more, low, low + more + beyond]
    }

    pub fn some_link(&mut self) -> ((String, String), f32) {
        let kind = ["", "near", "far"][self.random.index(3)];
        ((self.id(), kind.into()), self.random.between(1, 40) as f32 / 7.0)
    }

    pub fn durability(&mut self) -> (Promise, &'static str) {
        if self.random.chance(300_000) { (Promise::Os, "os") } else { (Promise::Disk, "disk") }
    }

    /// The words of a store behind the command's name, and what it is.
    pub fn store(&mut self, keyed: Option<usize>) -> (Vec<Vec<u8>>, Store) {
        let again = keyed.map(|nth| self.model.borrow().keyed[nth].clone());
        let known = again.as_ref().map(|keyed| (keyed.id.clone(), Rc::clone(&keyed.episode)));
        let (mut words, mut store) = self.store_of(known);
        if let Some(keyed) = again {
            words.extend([b"KEY".to_vec(), keyed.key.into_bytes()]);
        }
        store.keyed = keyed;
        (words, store)
    }

    /// A store that is to leave what has its content as it is: mostly of what the id has.
    fn same_store(&mut self) -> (Vec<Vec<u8>>, Store) {
        let id = self.id();
        let last = self.model.borrow_mut().history(self.space, &id).last().episode().cloned();
        let last = last.filter(|_| self.random.chance(800_000));
        let (mut words, mut store) = self.store_of(last.map(|episode| (id, episode)));
        words.push(b"DEDUP".to_vec());
        store.dedup = true;
        (words, store)
    }

    /// A store of this, or of something new.
    fn store_of(&mut self, known: Option<(String, Rc<Episode>)>) -> (Vec<Vec<u8>>, Store) {
        let write = self.next_write();
        let dimensions = self.model.borrow().spaces[self.space].dimensions;
        let (id, episode) = known.unwrap_or_else(|| (self.id(), self.episode(write, dimensions)));
        let (promise, durability) = self.durability();
        let mut model = self.model.borrow_mut();
        let name = model.spaces[self.space].name.clone();
        let words = store_words(&name, &id, &episode, durability);
        model.erased.remove(&episode.first_write());
        model.history(self.space, &id).send(write, Some(episode));
        (words, Store { write, id, promise, keyed: None, dedup: false })
    }

    /// A store with a new key, or with one that was used before.
    fn keyed_store(&mut self) -> (Vec<Vec<u8>>, Store) {
        let own: Vec<usize> = {
            let model = self.model.borrow();
            let own = model.keyed.iter().enumerate().filter(|(_, keyed)| keyed.space == self.space);
            own.map(|(nth, _)| nth).collect()
        };
        if !own.is_empty() && self.random.chance(600_000) {
            let nth = own[self.random.index(own.len())];
            return self.store(Some(nth));
        }
        let id = self.id();
        let number = self.next_write();
        let dimensions = self.model.borrow().spaces[self.space].dimensions;
        let episode = self.episode(number, dimensions);
        let key = format!("key-{number}");
        let keyed = Keyed { space: self.space, id, key, episode, sequence: None, erased: 0 };
        let nth = {
            let mut model = self.model.borrow_mut();
            model.keyed.push(keyed);
            model.keyed.len() - 1
        };
        self.store(Some(nth))
    }

    fn many(&mut self) -> (Command, Sent) {
        let items = self.random.between(1, 12);
        let mut words =
            vec![b"EG.MSTORE".to_vec(), self.space_name().into_bytes(), items.to_string().into()];
        let mut stores = Vec::new();
        for _ in 0..items {
            let (item, store) = self.store(None);
            words.push(b"ITEM".to_vec());
            words.extend_from_slice(&item[2..]);
            stores.push(store);
        }
        (Command::new(&words), Sent::Many(stores))
    }

    pub fn space_name(&self) -> String {
        self.model.borrow().spaces[self.space].name.clone()
    }

    fn forget(&mut self) -> (Command, Sent) {
        let (write, id) = (self.next_write(), self.id());
        let (promise, durability) = self.durability();
        let command =
            Command::of(&format!("EG.FORGET {} {id} DUR {durability}", self.space_name()));
        self.model.borrow_mut().history(self.space, &id).send(write, None);
        (command, Sent::Forget { write, id, promise })
    }

    fn erase(&mut self) -> (Command, Sent) {
        let (write, id) = (self.next_write(), self.id());
        let command = Command::of(&format!("EG.ERASE {} {id}", self.space_name()));
        let mut model = self.model.borrow_mut();
        model.history(self.space, &id).send_erase(write);
        for keyed in model.keyed.iter_mut().filter(|it| it.space == self.space && it.id == id) {
            (keyed.sequence, keyed.erased) = (None, write);
        }
        (command, Sent::Erase { write, id })
    }

    fn reinforce(&mut self) -> (Command, Sent) {
        let (write, id) = (self.next_write(), self.id());
        let (promise, durability) = self.durability();
        let (name, change) = match self.random.below(4) {
            0 => ("EG.PIN", Change::Pin(true)),
            1 => ("EG.UNPIN", Change::Pin(false)),
            _ => ("EG.REINFORCE", Change::Reinforce),
        };
        let line = format!("{name} {} {id} DUR {durability}", self.space_name());
        self.model.borrow_mut().history(self.space, &id).send_link(write, change);
        (Command::of(&line), Sent::Reinforce { write, id, promise })
    }

    fn get(&mut self) -> (Command, Sent) {
        let id = self.id();
        let with = "WITH text WITH vec WITH meta WITH links WITH strength";
        let line = format!("EG.GET {} {id} {with}", self.space_name());
        (Command::of(&line), Sent::Get { write: self.model.borrow().write, id })
    }

    fn recall(&mut self) -> (Command, Sent) {
        let model = self.model.borrow();
        let space = &model.spaces[self.space];
        let (write, name, dimensions) = (model.write, space.name.clone(), space.dimensions);
        let recalls_count = space.recalls_count;
        drop(model);
        let k = self.random.between(1, self.model.borrow().ids + 2) as usize;
        let cue = self.episode(0, dimensions).vector.clone();
        (recall_command((&name, recalls_count), k, &cue), Sent::Recall { write, cue, k })
    }

    fn spread(&mut self) -> (Command, Sent) {
        let (write, ids) = (self.model.borrow().write, self.model.borrow().ids);
        let id = |random: &mut Random| format!("id-{}", random.below(ids));
        let asked = Asked::draw(&mut self.random, write, id);
        (asked.command(&self.space_name()), Sent::Spread(asked))
    }

    fn intrude(&mut self) -> (Command, Sent) {
        let write = self.next_write();
        let dimensions = self.model.borrow().spaces[SHELF].dimensions;
        let episode = self.episode(write, dimensions);
        let (_, durability) = self.durability();
        let id = format!("intruder-{write}");
        let mut model = self.model.borrow_mut();
        let words = store_words(&model.spaces[SHELF].name, &id, &episode, durability);
        model.history(SHELF, &id).send_floating(write, episode);
        (Command::new(&words), Sent::Intrude { write, id })
    }

    fn check(&self, sent: Sent, reply: &Value) {
        let model = &mut *self.model.borrow_mut();
        match sent {
            Sent::Store(store) => self.check_store(model, &store, reply),
            Sent::Many(stores) => match reply {
                Value::List(replies) => {
                    assert_eq!(replies.len(), stores.len());
                    for (store, reply) in stores.iter().zip(replies) {
                        self.check_store(model, store, reply);
                    }
                }
                refused => panic!("a batch is answered item by item: {refused:?}"),
            },
            Sent::Forget { write, id, promise } => {
                trace(format_args!("{} forget {id} ({write}): {}", self.space, short(reply)));
                let history = model.history(self.space, &id);
                if is_refused(reply, history, write) {
                    return;
                }
                if let Some(before) = history.before(write) {
                    let existed = reply.get("seq").is_some();
                    assert_eq!(
                        existed,
                        before.episode().is_some(),
                        "forget {id} in {}",
                        self.space
                    );
                }
                let sequence = reply.get("seq").map(|_| reply.count("seq"));
                history.acknowledge(write, sequence, promise);
            }
            Sent::Link { write, id, promise } => {
                trace(format_args!("{} link {id} ({write}): {}", self.space, short(reply)));
                self.check_link(model, (write, &id, promise), reply);
            }
            Sent::Reinforce { write, id, promise } => {
                trace(format_args!("{} reinforce {id} ({write}): {}", self.space, short(reply)));
                let history = model.history(self.space, &id);
                let before = history.before(write).map(|before| before.episode().is_some());
                if matches!(reply, Value::Nil) {
                    assert!(before != Some(true), "{id} in {} is there", self.space);
                    history.take_back(write);
                } else if !is_refused(reply, history, write) {
                    assert!(before != Some(false), "{id} in {}: {reply:?}", self.space);
                    history.acknowledge(write, Some(reply.count("seq")), promise);
                }
            }
            Sent::Mutual { writes, ids, promise } => {
                let [from, to] = &ids;
                trace(format_args!(
                    "{} {from} and {to} ({writes:?}): {}",
                    self.space,
                    short(reply)
                ));
                self.check_mutual(model, (writes, &ids, promise), reply);
            }
            Sent::Supersede { write, id, promise } => {
                trace(format_args!("{} supersede {id} ({write}): {}", self.space, short(reply)));
                self.check_supersede(model, (write, &id, promise), reply);
            }
            Sent::Superseding(sent) => {
                let (id, reply_text) = (&sent.store.id, short(reply));
                trace(format_args!("{} {id} supersedes: {reply_text}", self.space));
                self.check_superseding(model, &sent, reply);
            }
            Sent::Erase { write, id } => {
                trace(format_args!("{} erase {id} ({write}): {}", self.space, short(reply)));
                let history = model.history(self.space, &id);
                if let Value::Error(text) = reply {
                    // What was given up later was forgotten first.
                    return match text.as_str() {
                        text if text.contains("given up") || text.starts_with("CORRUPT") => {
                            history.acknowledge(write, None, Promise::Disk);
                        }
                        text if text.starts_with("BUSY") => history.take_back(write),
                        text => assert!(text.starts_with("READONLY"), "{text}"),
                    };
                }
                let was = history.before(write).is_some_and(|before| before.episode().is_some());
                assert!(!was || reply.get("seq").is_some(), "erase {id} in {}", self.space);
                let sequence = reply.get("seq").map(|_| reply.count("seq"));
                history.acknowledge(write, sequence, Promise::Disk);
                let contents: Vec<u64> = history.contents_before(write).collect();
                if model.may_search_disks {
                    model.erased.extend(contents);
                    model.check_erased(&self.disks);
                }
            }
            Sent::Consolidate => {
                trace(format_args!("consolidate: {}", short(reply)));
                match reply {
                    Value::Error(text) => {
                        assert!(text.starts_with("READONLY") || text.starts_with("BUSY"), "{text}");
                    }
                    done => assert_eq!(done.text(), Some("OK")),
                }
            }
            Sent::Get { write, id } => {
                trace(format_args!("{} get {id}: {}", self.space, short(reply)));
                let recalls_count = model.spaces[self.space].recalls_count;
                let history = model.history(self.space, &id);
                let mut possible = history.possible(write);
                let seen = possible.any(|version| shows(version, reply, recalls_count));
                assert!(seen, "get {id} in {}: {reply:?}, possible {history:#?}", self.space);
            }
            Sent::Recall { write, cue, k } => {
                if !matches!(reply, Value::Error(_)) {
                    model.spaces[self.space].check_recall(write, &cue, k, reply);
                }
            }
            Sent::Spread(asked) => {
                trace(format_args!("{} spread: {}", self.space, short(reply)));
                model.spaces[self.space].check_spread(&asked, reply);
            }
            Sent::Ping => assert_eq!(reply.text(), Some("PONG")),
            Sent::Intrude { write, id } => {
                trace(format_args!("{} intrudes {id}: {}", self.space, short(reply)));
                let gone = matches!(reply, Value::Error(text) if text.starts_with("NOSPACE"));
                let history = model.history(SHELF, &id);
                if gone {
                    history.take_back(write);
                } else if !is_refused(reply, history, write) {
                    history.land(write);
                }
            }
        }
    }

    pub fn check_store(&self, model: &mut Model, store: &Store, reply: &Value) {
        let Store { write, ref id, promise, keyed, dedup } = *store;
        let durability = if promise == Promise::Os { "os" } else { "disk" };
        trace(format_args!(
            "{} store {id} ({write}, {durability}, key {keyed:?}): {}",
            self.space,
            short(reply)
        ));
        let known = keyed.and_then(|nth| model.keyed[nth].sequence);
        let history = model.history(self.space, id);
        if is_refused(reply, history, write) {
            return;
        }
        let sequence = reply.count("seq");
        let outcome = reply.get("outcome").and_then(Value::text).expect("an outcome");
        if let Some(known) = known {
            assert_eq!((outcome, sequence), ("existing", known), "key {keyed:?} of {id} repeats");
        }
        // One that was recognised may have been so before an erase whose turn came later.
        if let Some(keyed) = keyed.map(|nth| &mut model.keyed[nth])
            && (keyed.erased == 0 || write > keyed.erased && outcome != "existing")
        {
            keyed.sequence = Some(sequence);
        }
        let history = model.history(self.space, id);
        if dedup && let Some(before) = history.before(write) {
            let own = history.all().find(|version| version.write == write).expect("it was sent");
            let content = |episode: &Rc<Episode>| (episode.text.clone(), episode.vector.clone());
            let is_same = before.believed().map(content) == own.episode().map(content);
            // What is under way itself and came without DEDUP is not known yet.
            assert!(is_same || outcome != "existing", "not the same {id} in {}", self.space);
        }
        if outcome == "existing" {
            assert!(keyed.is_some() || dedup, "{id} has no key and exists already");
            history.take_back(write);
            return history.confirm(sequence, promise);
        }
        if let Some(before) = history.before(write) {
            let expected = if before.episode().is_some() { "replaced" } else { "created" };
            assert_eq!(outcome, expected, "store {id} in {}", self.space);
        }
        history.acknowledge(write, Some(sequence), promise);
    }
}

/// Whether a write was refused; what that leaves open is taken note of.
pub fn is_refused(reply: &Value, history: &mut History, write: u64) -> bool {
    let Value::Error(text) = reply else { return false };
    // A latched log says so; whether the write is there shows after a restart.
    let is_open = text.starts_with("READONLY") && !text.contains("cannot be made");
    assert!(is_open || text.starts_with("READONLY") || text.starts_with("BUSY"), "{text}");
    if !is_open {
        history.take_back(write);
    } else {
        history.land(write);
    }
    true
}

/// Whether a reply to a get is this version.
fn shows(version: &crate::model::Version, reply: &Value, recalls_count: bool) -> bool {
    version.states.iter().any(|state| state.is_shown(reply, recalls_count))
}

pub fn store_words(space: &str, id: &str, episode: &Episode, durability: &str) -> Vec<Vec<u8>> {
    let happened_at = episode.happened_at.to_string();
    let mut words: Vec<Vec<u8>> = ["EG.STORE", space, id, "VEC"].map(Into::into).into();
    words.push(episode.blob());
    words.extend(["TEXT", &episode.text, "AT", &happened_at, "DUR", durability].map(Into::into));
    let (metadata, names) = episode.provenance();
    if !metadata.is_empty() {
        let closing = if metadata.ends_with('}') { "" } else { "}" };
        words.extend(["META".into(), format!("{metadata}{closing}").into_bytes()]);
    }
    for (keyword, name) in ["WRITER", "SOURCE"].into_iter().zip(names) {
        words.extend(name.into_iter().flat_map(|name| [keyword, name].map(Into::into)));
    }
    words.push(b"CONF".to_vec());
    words.extend(episode.confidence.map(|part| part.to_string().into_bytes()));
    for ((to, kind), weight) in &episode.links {
        words.extend(["LINK", to, &weight.to_string()].map(Into::into));
        if !kind.is_empty() {
            words.extend(["KIND", kind].map(Into::into));
        }
    }
    words
}

pub fn recall_command((space, counts): (&str, bool), k: usize, cue: &[f32]) -> Command {
    let blob: Vec<u8> = cue.iter().flat_map(|value| value.to_le_bytes()).collect();
    let k = k.to_string();
    let words: Vec<&[u8]> = vec![b"EG.RECALL", space.as_bytes(), b"K", k.as_bytes(), b"VEC", &blob];
    let parts = ["text", "vec", "meta", "links", "strength"];
    let with = parts.into_iter().flat_map(|part| [&b"WITH"[..], part.as_bytes()]);
    let looks: &[&[u8]] = if counts { &[] } else { &[b"NOREINFORCE"] };
    Command::new(&[words, with.collect(), looks.to_vec()].concat())
}

/// Creates, fills and drops the shelf, again and again.
pub struct Keeper {
    pub model: Shared<Model>,
    pub random: Random,
}

impl Keeper {
    pub async fn work(mut self, mut connection: Connection, bursts: u64) {
        for _ in 0..bursts {
            let existence = self.model.borrow().spaces[SHELF].existence;
            let went_on = match existence {
                Existence::No => create(&self.model, SHELF, &mut connection).await,
                Existence::Yes => self.fill_and_drop(&mut connection).await,
                Existence::Open => return,
            };
            if went_on.is_none() {
                return;
            }
        }
    }

    /// Some stores, and in half of the cases a drop right behind them.
    async fn fill_and_drop(&mut self, connection: &mut Connection) -> Option<()> {
        let mut bytes = Vec::new();
        let mut stores = Vec::new();
        for _ in 0..self.random.below(5) {
            let mut model = self.model.borrow_mut();
            model.write += 1;
            let write = model.write;
            let Space { name, dimensions, .. } = &model.spaces[SHELF];
            let episode = Rc::new(Episode {
                text: format!("write {write};"),
                vector: (0..*dimensions).map(|nth| 1.0 + nth as f32).collect(),
                happened_at: 0,
                metadata: String::new(),
                confidence: [1.0; 3],
                links: Links::new(),
            });
            let id = format!("shelved-{write}");
            bytes.extend(Command::new(&store_words(name, &id, &episode, "disk")).0);
            model.history(SHELF, &id).send(write, Some(episode));
            stores.push((write, id));
        }
        let drops = self.random.chance(500_000).then(|| {
            let mut model = self.model.borrow_mut();
            model.write += 1;
            let write = model.write;
            bytes.extend(Command::of("EG.SPACE DROP shelf").0);
            model.spaces[SHELF].send_drop(write);
            write
        });
        connection.send(&bytes).await.then_some(())?;
        for (write, id) in stores {
            let reply = connection.receive().await?;
            trace(format_args!("shelve {id}: {}", short(&reply)));
            let mut model = self.model.borrow_mut();
            let history = model.history(SHELF, &id);
            if !is_refused(&reply, history, write) {
                history.acknowledge(write, Some(reply.count("seq")), Promise::Disk);
            }
        }
        if let Some(write) = drops {
            let reply = connection.receive().await?;
            trace(format_args!("drop the shelf: {reply:?}"));
            let mut model = self.model.borrow_mut();
            match &reply {
                Value::Error(text) => {
                    assert!(text.starts_with("READONLY") || text.starts_with("BUSY"), "{text}");
                }
                _ => model.spaces[SHELF].acknowledge_drop(write),
            }
        }
        Some(())
    }
}

/// Creates a space of the model; `None` when the daemon is gone.
pub async fn create(
    model: &Shared<Model>,
    space: usize,
    connection: &mut Connection,
) -> Option<()> {
    let line = {
        let Space { name, dimensions, code_bits, fan, fan_cap, measure, span, .. } =
            &model.borrow().spaces[space];
        let metric = measure.name();
        format!(
            "EG.SPACE CREATE {name} DIM {dimensions} METRIC {metric} CODES {code_bits} FAN \
             {fan} FANCAP {fan_cap} SHARDS {span} THREAD {THREAD_FIELD}"
        )
    };
    model.borrow_mut().spaces[space].existence = Existence::Open;
    let reply = connection.call(&Command::of(&line)).await?;
    trace(format_args!("{line}: {reply:?}"));
    match &reply {
        Value::Error(text) => {
            assert!(text.starts_with("READONLY") || text.starts_with("BUSY"), "{text}");
        }
        _ => model.borrow_mut().spaces[space].existence = Existence::Yes,
    }
    Some(())
}
