//! Stores: `EG.STORE` and `EG.MSTORE`.
//!
//! Both read an episode as a run of fields, each a keyword and its values. A field's values are
//! taken before they are checked, so after a bad value the cursor stands at the next field all the
//! same. `EG.MSTORE` relies on that: it keeps the first error of an item, walks on to the next
//! `ITEM`, and the other items are stored. A word that is no keyword is stepped over; should it
//! have been part of a value, so that an `ITEM` inside a value is taken for a boundary, the number
//! of items no longer agrees with the announced one and the whole batch is refused.

use bytes::Bytes;
use engram_shards::episode::{
    Confidence, Durability, Episode, Link, Priority, Refusal, SpaceNumber, StoreRequest, Ttl,
};
use engram_shards::limits::{
    DIMENSIONS_MAX, KEY_BYTES_MAX, LINKS_MAX, SUPERSEDES_MAX, TEXT_BYTES_MAX, THREAD_BYTES_MAX,
};
use engram_shards::trust::{Role, with_provenance};

use super::Command;
use super::arguments::{Arguments, choice, durability, is_keyword, set_once, shown};
use super::{checks, link};

/// Items of one `EG.MSTORE`.
pub const MSTORE_ITEMS_MAX: usize = 65_536;
/// The arguments that the shortest item takes: `ITEM id VEC blob`.
const ITEM_ARGUMENTS_MIN: usize = 4;

/// An episode to store, checked but for what its memory space decides.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreCommand {
    /// `None` when the daemon is to assign one.
    pub id: Option<Bytes>,
    /// Little-endian f32, 1 to [`DIMENSIONS_MAX`] of them, in no particular alignment. They may be
    /// NaN or infinite when they came as a blob.
    pub vector: Bytes,
    /// Empty when none was given, as are `metadata`, `thread`, `links` and `key`.
    pub text: Bytes,
    pub happened_at_us: Option<i64>,
    pub confidence: Confidence,
    /// A valid JSON object, with the writer and the source if they were given.
    pub metadata: Bytes,
    pub thread: Bytes,
    pub links: Vec<Link>,
    /// Episodes whose interval of validity it ends, [`SUPERSEDES_MAX`] at most, none twice.
    pub supersedes: Vec<Bytes>,
    /// Idempotency key.
    pub key: Bytes,
    /// Whether an episode of the same text and vector is to be left as it is.
    pub dedup: bool,
    pub ttl: Ttl,
    /// From which similarity on the nearest other episode is told of.
    pub near: Option<f32>,
    pub priority: Priority,
    pub durability: Durability,
}

impl StoreCommand {
    /// The request to the engine. `id` is the client's or the one assigned.
    pub fn into_request(self, space: SpaceNumber, id: Bytes, writer_uid: u32) -> StoreRequest {
        let episode = Episode {
            id,
            vector: self.vector,
            text: self.text,
            happened_at_us: self.happened_at_us,
            confidence: self.confidence,
            metadata: self.metadata,
            thread: self.thread,
            links: self.links,
        };
        StoreRequest {
            space,
            episode,
            key: self.key,
            dedup: self.dedup,
            ttl: self.ttl,
            priority: self.priority,
            durability: self.durability,
            writer_uid,
        }
    }
}

/// What `EG.OBSERVE` stores.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    store: StoreCommand,
    has_priority: bool,
    has_durability: bool,
}

impl Observation {
    /// `None` when that of its stream is meant.
    pub fn own_priority(&self) -> Option<Priority> {
        self.has_priority.then_some(self.store.priority)
    }

    /// With what its stream has where it does not say otherwise.
    pub fn into_store(self, priority: Priority, durability: Durability) -> StoreCommand {
        let own = self.store;
        StoreCommand {
            priority: if self.has_priority { own.priority } else { priority },
            durability: if self.has_durability { own.durability } else { durability },
            ..own
        }
    }
}

pub(super) fn observation(arguments: &mut Arguments) -> Result<Observation, Refusal> {
    let id = store_id(arguments.value("EG.OBSERVE")?)?;
    let mut fields = StoreFields::default();
    while let Some(token) = arguments.next() {
        fields.read(&token, arguments)?;
    }
    let (has_priority, has_durability) = (fields.priority.is_some(), fields.durability.is_some());
    let store = fields.into_store(id, arguments)?;
    Ok(Observation { store, has_priority, has_durability })
}

pub(super) fn store(arguments: &mut Arguments) -> Result<Command, Refusal> {
    let space = checks::space(&arguments.value("EG.STORE")?)?;
    let id = store_id(arguments.value("EG.STORE")?)?;
    let mut fields = StoreFields::default();
    while let Some(token) = arguments.next() {
        fields.read(&token, arguments)?;
    }
    Ok(Command::Store { space, store: fields.into_store(id, arguments)? })
}

pub(super) fn store_many(arguments: &mut Arguments) -> Result<Command, Refusal> {
    let space = checks::space(&arguments.value("EG.MSTORE")?)?;
    let announced = checks::whole("n", &arguments.value("n")?, &(1..=MSTORE_ITEMS_MAX))?;
    let mut items = Vec::with_capacity(announced.min(arguments.left() / ITEM_ARGUMENTS_MIN + 1));
    while let Some(token) = arguments.next() {
        // Only the first token can be anything else: an item ends where the next begins.
        if !is_keyword(&token, "ITEM") {
            return Err(arguments.misuse(format_args!("expected ITEM, got {}", shown(&token))));
        }
        arguments.show_usage(false);
        items.push(item(arguments));
        arguments.show_usage(true);
    }
    if items.len() != announced {
        return Err(arguments.misuse(format_args!(
            "n is {announced} and there are {} items, each begins with ITEM; nothing was stored",
            items.len()
        )));
    }
    Ok(Command::StoreMany { space, items })
}

/// Reads an item up to the next `ITEM` or the end, whatever is wrong with it.
fn item(arguments: &mut Arguments) -> Result<StoreCommand, Refusal> {
    let id = arguments.value("ITEM").and_then(store_id);
    let mut fields = StoreFields::default();
    let mut outcome = Ok(());
    while arguments.peek().is_some_and(|next| !is_keyword(next, "ITEM")) {
        let token = arguments.value("ITEM")?;
        let field = fields.read(&token, arguments);
        outcome = outcome.and(field);
    }
    let id = id?;
    outcome?;
    fields.into_store(id, arguments)
}

/// `*` is `None`.
fn store_id(value: Bytes) -> Result<Option<Bytes>, Refusal> {
    if &value[..] == b"*" { Ok(None) } else { checks::id(value).map(Some) }
}

/// The fields of an episode by their keywords.
#[derive(Debug, Clone, Copy)]
enum Field {
    Vec,
    Values,
    Text,
    At,
    Conf,
    Meta,
    Writer,
    Source,
    Thread,
    Link,
    Supersedes,
    Key,
    Dedup,
    Near,
    Ttl,
    Prio,
    Dur,
}

impl Field {
    fn of(token: &[u8]) -> Option<Self> {
        const LONGEST: usize = 10;
        let mut upper = [0; LONGEST];
        let upper = upper.get_mut(..token.len())?;
        upper.copy_from_slice(token);
        upper.make_ascii_uppercase();
        Some(match &*upper {
            b"VEC" => Self::Vec,
            b"VALUES" => Self::Values,
            b"TEXT" => Self::Text,
            b"AT" => Self::At,
            b"CONF" => Self::Conf,
            b"META" => Self::Meta,
            b"WRITER" => Self::Writer,
            b"SOURCE" => Self::Source,
            b"THREAD" => Self::Thread,
            b"LINK" => Self::Link,
            b"SUPERSEDES" => Self::Supersedes,
            b"KEY" => Self::Key,
            b"DEDUP" => Self::Dedup,
            b"NEAR" => Self::Near,
            b"TTL" => Self::Ttl,
            b"PRIO" => Self::Prio,
            b"DUR" => Self::Dur,
            _ => return None,
        })
    }
}

/// The fields read so far.
#[derive(Debug, Default)]
struct StoreFields {
    vector: Option<Bytes>,
    text: Option<Bytes>,
    happened_at_us: Option<i64>,
    confidence: Option<Confidence>,
    metadata: Option<Bytes>,
    writer: Option<String>,
    source: Option<String>,
    thread: Option<Bytes>,
    links: Vec<Link>,
    /// How often `LINK` came.
    links_given: usize,
    supersedes: Vec<Bytes>,
    key: Option<Bytes>,
    dedup: Option<()>,
    near: Option<f32>,
    ttl: Option<Ttl>,
    priority: Option<Priority>,
    durability: Option<Durability>,
}

impl StoreFields {
    /// Reads the values behind the keyword `token`: first takes all of them, then checks them.
    fn read(&mut self, token: &[u8], arguments: &mut Arguments) -> Result<(), Refusal> {
        let Some(field) = Field::of(token) else {
            return Err(arguments.unknown(token));
        };
        match field {
            Field::Vec => {
                let value = checks::vector_blob(arguments.value("VEC")?);
                set_once(&mut self.vector, "the vector", value)
            }
            Field::Values => set_once(&mut self.vector, "the vector", values(arguments)),
            Field::Text => {
                let value = checks::text("TEXT", arguments.value("TEXT")?, TEXT_BYTES_MAX);
                set_once(&mut self.text, "TEXT", value)
            }
            Field::At => {
                let value = checks::time_us("AT", &arguments.value("AT")?);
                set_once(&mut self.happened_at_us, "AT", value)
            }
            Field::Conf => set_once(&mut self.confidence, "CONF", confidence(arguments)),
            Field::Meta => {
                let value = checks::metadata(arguments.value("META")?);
                set_once(&mut self.metadata, "META", value)
            }
            Field::Writer => {
                let value = checks::provenance("WRITER", &arguments.value("WRITER")?);
                set_once(&mut self.writer, "WRITER", value)
            }
            Field::Source => {
                let value = checks::provenance("SOURCE", &arguments.value("SOURCE")?);
                set_once(&mut self.source, "SOURCE", value)
            }
            Field::Thread => {
                let value = arguments.value("THREAD")?;
                let value = checks::nonempty("THREAD", value, THREAD_BYTES_MAX);
                set_once(&mut self.thread, "THREAD", value)
            }
            Field::Link => {
                let link = link::of_store(arguments)?;
                self.links_given += 1;
                checks::within("LINK", self.links_given, LINKS_MAX)?;
                link::add(&mut self.links, link);
                Ok(())
            }
            Field::Supersedes => {
                let id = checks::id(arguments.value("SUPERSEDES")?)?;
                checks::within("SUPERSEDES", self.supersedes.len() + 1, SUPERSEDES_MAX)?;
                match self.supersedes.contains(&id) {
                    true => Err(Refusal::Syntax(format!(
                        "SUPERSEDES names {} twice; name it once",
                        shown(&id)
                    ))),
                    false => {
                        self.supersedes.push(id);
                        Ok(())
                    }
                }
            }
            Field::Dedup => set_once(&mut self.dedup, "DEDUP", Ok(())),
            Field::Near => {
                let value = checks::finite("NEAR", &arguments.value("NEAR")?);
                set_once(&mut self.near, "NEAR", value)
            }
            Field::Ttl => {
                let value = checks::ttl(&arguments.value("TTL")?);
                set_once(&mut self.ttl, "TTL", value)
            }
            Field::Key => {
                let value = arguments.value("KEY")?;
                set_once(&mut self.key, "KEY", key(value))
            }
            Field::Prio => {
                let value = priority(&arguments.value("PRIO")?);
                set_once(&mut self.priority, "PRIO", value)
            }
            Field::Dur => {
                let value = durability(&arguments.value("DUR")?);
                set_once(&mut self.durability, "DUR", value)
            }
        }
    }

    fn into_store(self, id: Option<Bytes>, arguments: &Arguments) -> Result<StoreCommand, Refusal> {
        let Some(vector) = self.vector else {
            return Err(arguments.misuse(format_args!("the vector is missing")));
        };
        if let Some(id) = id.as_ref().filter(|id| self.supersedes.contains(id)) {
            return Err(Refusal::Syntax(format!(
                "{} cannot supersede itself; a store of a known id replaces the episode",
                shown(id)
            )));
        }
        let mut metadata = self.metadata.unwrap_or_default();
        for (role, name) in [(Role::Writer, self.writer), (Role::Source, self.source)] {
            if let Some(name) = name {
                metadata = with_provenance(metadata, role, &name)?;
            }
        }
        Ok(StoreCommand {
            id,
            vector,
            text: self.text.unwrap_or_default(),
            happened_at_us: self.happened_at_us,
            confidence: self.confidence.unwrap_or(Confidence::CERTAIN),
            metadata,
            thread: self.thread.unwrap_or_default(),
            links: self.links,
            supersedes: self.supersedes,
            key: self.key.unwrap_or_default(),
            dedup: self.dedup.is_some(),
            ttl: self.ttl.unwrap_or_default(),
            near: self.near,
            priority: self.priority.unwrap_or_default(),
            durability: self.durability.unwrap_or_default(),
        })
    }
}

/// `VALUES n f…` as the blob that `VEC` would have been.
pub(super) fn values(arguments: &mut Arguments) -> Result<Bytes, Refusal> {
    let count = checks::whole("n of VALUES", &arguments.value("VALUES")?, &(1..=usize::MAX))?;
    checks::within("VALUES", count, DIMENSIONS_MAX)?;
    if arguments.left() < count {
        return Err(arguments.misuse(format_args!(
            "VALUES announces {count} components and {} are there",
            arguments.left()
        )));
    }
    let mut blob = Vec::with_capacity(count * size_of::<f32>());
    let mut outcome = Ok(());
    for position in 0..count {
        match checks::component(position, &arguments.value("VALUES")?) {
            Ok(component) => blob.extend_from_slice(&component.to_le_bytes()),
            Err(refusal) => outcome = outcome.and(Err(refusal)),
        }
    }
    outcome.map(|()| Bytes::from(blob))
}

/// `CONF p` or `CONF p low high`: the interval is there when no field follows.
fn confidence(arguments: &mut Arguments) -> Result<Confidence, Refusal> {
    let point = arguments.value("CONF")?;
    let ends = |next: &Bytes| Field::of(next).is_some() || is_keyword(next, "ITEM");
    if arguments.peek().is_none_or(ends) {
        return Confidence::point(checks::finite("CONF", &point)?);
    }
    let low = arguments.value("CONF p low")?;
    let high = arguments.value("CONF p low high")?;
    Confidence::interval(
        checks::finite("CONF", &point)?,
        checks::finite("low of CONF", &low)?,
        checks::finite("high of CONF", &high)?,
    )
}

pub(super) fn priority(token: &[u8]) -> Result<Priority, Refusal> {
    let priorities =
        [("high", Priority::High), ("normal", Priority::Normal), ("low", Priority::Low)];
    choice("PRIO", token, &priorities)
}

/// Any 1 to [`KEY_BYTES_MAX`] bytes.
fn key(value: Bytes) -> Result<Bytes, Refusal> {
    if value.is_empty() {
        return Err(Refusal::Syntax(format!("KEY must have 1 to {KEY_BYTES_MAX} bytes, got none")));
    }
    checks::within("KEY", value.len(), KEY_BYTES_MAX)?;
    Ok(value)
}
