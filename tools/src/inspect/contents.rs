//! What a frame says, decoded, and whether it can be said after all that came before.

use std::collections::BTreeMap;
use std::str;

use engram_shards::episode::{Lapse, Reinforcement, SpaceNumber, SpaceSettings};
use engram_shards::format::{
    ErasePayload, ForgetPayload, Frame, Gap, GapReason, LapsePayload, LinkPayload, LinkRecords,
    Operation, RecalledPayload, ReinforcePayload, SpacePayload, StorePayload, SupersedePayload,
    UnlinkPayload,
};
use engram_shards::links::{GistLink, is_association};
use serde::Serialize;
use serde::de::IgnoredAny;

/// A payload that decodes.
#[derive(Debug)]
pub(crate) enum Contents<'a> {
    Store(StorePayload<'a>),
    Forget(ForgetPayload<'a>),
    Link(LinkPayload<'a>),
    Unlink(UnlinkPayload<'a>),
    Supersede(SupersedePayload<'a>),
    Reinforce(ReinforcePayload<'a>),
    Recalled(RecalledPayload<'a>),
    Lapse(LapsePayload<'a>),
    SpaceCreate(SpacePayload),
    SpaceDrop(SpacePayload),
    Erase(ErasePayload),
    Gap(Gap),
}

impl<'a> Contents<'a> {
    /// Decodes a payload down to its last part.
    pub(crate) fn decode(frame: &Frame<'a>) -> Result<Self, String> {
        let operation = frame.head.operation;
        let payload = frame.payload;
        let decoded = match Operation::from_u16(operation) {
            Some(Operation::Store) => StorePayload::decode(payload).map(Self::Store),
            Some(Operation::Forget) => ForgetPayload::decode(payload).map(Self::Forget),
            Some(Operation::Link) => LinkPayload::decode(payload).map(Self::Link),
            Some(Operation::Unlink) => UnlinkPayload::decode(payload).map(Self::Unlink),
            Some(Operation::Supersede) => SupersedePayload::decode(payload).map(Self::Supersede),
            Some(Operation::Reinforce) => ReinforcePayload::decode(payload).map(Self::Reinforce),
            Some(Operation::Recalled) => RecalledPayload::decode(payload).map(Self::Recalled),
            Some(Operation::Lapse) => LapsePayload::decode(payload).map(Self::Lapse),
            Some(Operation::SpaceCreate) => SpacePayload::decode(payload).map(Self::SpaceCreate),
            Some(Operation::SpaceDrop) => SpacePayload::decode(payload).map(Self::SpaceDrop),
            Some(Operation::Erase) => ErasePayload::decode(payload).map(Self::Erase),
            Some(Operation::Gap) => Gap::decode(frame).map(Self::Gap),
            None => return Err(format!("operation {operation} is unknown to this version")),
        };
        let contents = decoded.map_err(|error| error.to_string())?;
        match &contents {
            Self::Store(store) => check_body(store)?,
            Self::Link(LinkPayload { from, to, kind, .. })
            | Self::Unlink(UnlinkPayload { from, to, kind, .. }) => check_ends(from, to, kind)?,
            Self::Supersede(SupersedePayload { id, by, .. }) => check_ends(id, by, &[])?,
            _ => {}
        }
        Ok(contents)
    }

    pub(crate) fn operation(&self) -> &'static str {
        match self {
            Self::Store(_) => "store",
            Self::Forget(_) => "forget",
            Self::Link(_) => "link",
            Self::Unlink(_) => "unlink",
            Self::Supersede(_) => "supersede",
            Self::Reinforce(reinforce) => match reinforce.what {
                Reinforcement::Present => "reinforce",
                Reinforcement::Pin => "pin",
                Reinforcement::Unpin => "unpin",
            },
            Self::Recalled(_) => "recalled",
            Self::Lapse(lapse) => match lapse.why {
                Lapse::Expired => "expired",
                Lapse::Faded => "faded",
            },
            Self::SpaceCreate(_) => "create",
            Self::SpaceDrop(_) => "drop",
            Self::Erase(_) => "erase",
            Self::Gap(Gap { reason: GapReason::Erased, .. }) => "erased",
            Self::Gap(Gap { reason: GapReason::Lost, .. }) => "lost",
            Self::Gap(Gap { reason: GapReason::Skipped, .. }) => "skipped",
        }
    }

    /// The space it is about; a gap does not say.
    pub(crate) fn space(&self) -> Option<SpaceNumber> {
        match self {
            Self::Store(store) => Some(store.space),
            Self::Forget(forget) => Some(forget.space),
            Self::Link(link) => Some(link.space),
            Self::Unlink(unlink) => Some(unlink.space),
            Self::Supersede(supersede) => Some(supersede.space),
            Self::Reinforce(reinforce) => Some(reinforce.space),
            Self::Recalled(recalled) => Some(recalled.space),
            Self::Lapse(lapse) => Some(lapse.space),
            Self::SpaceCreate(space) | Self::SpaceDrop(space) => Some(space.space),
            Self::Erase(erase) => Some(erase.space),
            Self::Gap(_) => None,
        }
    }

    /// The episode's id, the space's name, or which sequences are meant.
    pub(crate) fn id(&self) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match self {
            Self::Store(store) => text(store.id()),
            Self::Forget(forget) => text(forget.id),
            Self::Link(link) => format!("{} → {}", text(link.from), target(link.to)),
            Self::Unlink(unlink) => format!("{} → {}", text(unlink.from), target(unlink.to)),
            Self::Supersede(supersede) => {
                format!("{} by {}", text(supersede.id), text(supersede.by))
            }
            Self::SpaceCreate(space) | Self::SpaceDrop(space) => space.settings.name.clone(),
            Self::Reinforce(reinforce) => text(reinforce.id),
            Self::Recalled(recalled) => numbers(recalled.sequences()),
            Self::Lapse(lapse) => numbers(lapse.sequences()),
            Self::Erase(erase) => numbers(erase.sequences.iter().copied()),
            Self::Gap(gap) => format!("through {}", gap.through),
        }
    }
}

/// What a link leads to: an id, or the place of an episode in a gist.
fn target(bytes: &[u8]) -> String {
    match GistLink::of(bytes) {
        Some(GistLink::ToMember(at)) => format!("member {}:{}", at.shard, at.sequence),
        Some(GistLink::ToHead(at)) => format!("head {}:{}", at.shard, at.sequence),
        None => String::from_utf8_lossy(bytes).into_owned(),
    }
}

fn numbers(sequences: impl Iterator<Item = u64>) -> String {
    let sequences: Vec<_> = sequences.map(|sequence| sequence.to_string()).collect();
    sequences.join(" ")
}

/// The variable parts of a stored episode, its key aside.
#[derive(Debug)]
pub(crate) struct Body<'a> {
    pub(crate) id: &'a [u8],
    pub(crate) thread: &'a [u8],
    pub(crate) text: &'a [u8],
    pub(crate) metadata: &'a [u8],
    pub(crate) links: LinkRecords<'a>,
}

impl<'a> Body<'a> {
    pub(crate) fn of(store: &StorePayload<'a>) -> Self {
        let sizes = &store.sizes;
        let mut rest = store.body;
        let mut part = |bytes: usize| rest.split_off(..bytes).expect("decoding added the parts up");
        let (id, thread) = (part(sizes.id.into()), part(sizes.thread.into()));
        part(sizes.key.into());
        let (text, metadata) = (part(sizes.text as usize), part(sizes.metadata as usize));
        Self { id, thread, text, metadata, links: LinkRecords(part(sizes.links_bytes as usize)) }
    }
}

/// Checks the variable parts of a store: id, thread, key, text, metadata, links.
fn check_body(store: &StorePayload<'_>) -> Result<(), String> {
    let Body { id, thread, text, metadata, links } = Body::of(store);
    if id.is_empty() {
        return Err("its id is empty".to_owned());
    }
    for (name, part) in [("id", id), ("thread", thread), ("text", text)] {
        str::from_utf8(part).map_err(|error| format!("its {name} is not UTF-8: {error}"))?;
    }
    if !metadata.is_empty() {
        serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(metadata)
            .map_err(|error| format!("its metadata is not a JSON object: {error}"))?;
    }
    check_links(links, store.sizes.links.into())
}

/// Checks the ids and the kind of a frame about links.
fn check_ends(from: &[u8], to: &[u8], kind: &[u8]) -> Result<(), String> {
    if from.is_empty() || to.is_empty() {
        return Err("an id in it is empty".to_owned());
    }
    // What holds a gist together leads to no id.
    let to = if is_association(to) { to } else { b"-" };
    for (name, part) in [("from", from), ("to", to), ("kind", kind)] {
        str::from_utf8(part).map_err(|error| format!("its {name} is not UTF-8: {error}"))?;
    }
    Ok(())
}

fn check_links(mut links: LinkRecords<'_>, count: usize) -> Result<(), String> {
    let mut found = 0;
    for (_, target, kind) in links.by_ref() {
        found += 1;
        let is_readable = !is_association(target) || str::from_utf8(target).is_ok();
        if !is_readable || str::from_utf8(kind).is_err() {
            return Err(format!("link {found} of it is not UTF-8"));
        }
    }
    if found == count && links.0.is_empty() {
        return Ok(());
    }
    Err(format!("it has {found} of {count} links, and {} bytes behind them", links.0.len()))
}

/// Frames by what they say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct OperationCounts {
    pub(crate) store: u64,
    pub(crate) forget: u64,
    pub(crate) link: u64,
    pub(crate) unlink: u64,
    pub(crate) supersede: u64,
    pub(crate) reinforce: u64,
    pub(crate) recalled: u64,
    pub(crate) lapse: u64,
    pub(crate) space_create: u64,
    pub(crate) space_drop: u64,
    pub(crate) erase: u64,
    pub(crate) gap: u64,
}

/// A memory space as the log knows it.
#[derive(Debug)]
pub(crate) struct KnownSpace {
    pub(crate) settings: SpaceSettings,
    /// Stores into it since its creation.
    pub(crate) stores: u64,
}

/// What the frames have said so far.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) counts: OperationCounts,
    pub(crate) spaces: BTreeMap<SpaceNumber, KnownSpace>,
}

impl Ledger {
    /// Takes the next frame down, or says what is wrong with it.
    pub(crate) fn enter(&mut self, frame: &Frame<'_>) -> Result<(), String> {
        match Contents::decode(frame)? {
            Contents::Store(store) => {
                self.counts.store += 1;
                let number = store.space.0;
                let space = self.spaces.get_mut(&store.space);
                let space =
                    space.ok_or_else(|| format!("it stores into unknown space {number}"))?;
                space.stores += 1;
                let (got, expected) = (store.vector.len() / 4, space.settings.dimensions as usize);
                if got != expected {
                    let name = &space.settings.name;
                    return Err(format!("{got} dimensions in space '{name}' of {expected}"));
                }
            }
            // A drop may overtake them, so their space may be gone.
            Contents::Forget(_) => self.counts.forget += 1,
            Contents::Link(_) => self.counts.link += 1,
            Contents::Unlink(_) => self.counts.unlink += 1,
            Contents::Supersede(_) => self.counts.supersede += 1,
            Contents::Reinforce(_) => self.counts.reinforce += 1,
            Contents::Recalled(_) => self.counts.recalled += 1,
            Contents::Lapse(_) => self.counts.lapse += 1,
            Contents::Erase(_) => self.counts.erase += 1,
            Contents::Gap(_) => self.counts.gap += 1,
            Contents::SpaceCreate(payload) => {
                self.counts.space_create += 1;
                let known = KnownSpace { settings: payload.settings, stores: 0 };
                if let Some(other) = self.spaces.insert(payload.space, known) {
                    let (number, name) = (payload.space.0, other.settings.name);
                    return Err(format!("it creates space {number}, which is '{name}' already"));
                }
            }
            Contents::SpaceDrop(payload) => {
                self.counts.space_drop += 1;
                let number = payload.space.0;
                self.spaces
                    .remove(&payload.space)
                    .ok_or_else(|| format!("it drops unknown space {number}"))?;
            }
        }
        Ok(())
    }
}
