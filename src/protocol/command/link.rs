//! Links: `EG.LINK` and `EG.UNLINK`, and what `EG.STORE` shares with them.

use bytes::Bytes;
use engram_shards::episode::{Durability, Link, LinkRequest, Refusal, SpaceNumber, UnlinkRequest};
use engram_shards::limits::LINK_KIND_BYTES_MAX;

use super::Command;
use super::arguments::{Arguments, durability, is_keyword, set_once, shown};
use super::checks;

/// A link to make, or those to remove.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkCommand {
    pub space: String,
    pub from: Bytes,
    pub to: Bytes,
    /// Empty when none was given.
    pub kind: Bytes,
    /// `None` when links are to be removed.
    pub weight: Option<f32>,
    /// The same the other way round.
    pub is_mutual: bool,
    pub durability: Durability,
}

impl LinkCommand {
    /// The request to the owner of `from`, if a link is to be made.
    pub fn link(&self, space: SpaceNumber, writer_uid: u32) -> Option<LinkRequest> {
        let Self { from, to, kind, weight, durability, .. } = self.clone();
        Some(LinkRequest { space, from, to, kind, weight: weight?, durability, writer_uid })
    }

    /// The request to the owner of `from`, if links are to be removed.
    pub fn unlink(&self, space: SpaceNumber, writer_uid: u32) -> UnlinkRequest {
        let Self { from, to, kind, durability, .. } = self.clone();
        UnlinkRequest { space, from, to, kind, durability, writer_uid }
    }

    /// The other way round.
    pub fn back(&self) -> Self {
        let (from, to) = (self.to.clone(), self.from.clone());
        Self { from, to, is_mutual: false, ..self.clone() }
    }
}

pub(super) fn link(arguments: &mut Arguments) -> Result<Command, Refusal> {
    let ends = ends("EG.LINK", arguments)?;
    let weight = Some(weight(&arguments.value("EG.LINK")?)?);
    options(LinkCommand { weight, ..ends }, arguments)
}

pub(super) fn unlink(arguments: &mut Arguments) -> Result<Command, Refusal> {
    let ends = ends("EG.UNLINK", arguments)?;
    options(ends, arguments)
}

/// What both commands begin with: the space, the episode that is left and the one that is led to.
fn ends(name: &'static str, arguments: &mut Arguments) -> Result<LinkCommand, Refusal> {
    Ok(LinkCommand {
        space: checks::space(&arguments.value(name)?)?,
        from: checks::id(arguments.value(name)?)?,
        to: checks::id(arguments.value(name)?)?,
        kind: Bytes::new(),
        weight: None,
        is_mutual: false,
        durability: Durability::default(),
    })
}

/// `[KIND k] [MUTUAL] [DUR disk|os]`, in any order.
fn options(mut command: LinkCommand, arguments: &mut Arguments) -> Result<Command, Refusal> {
    let (mut given_kind, mut given_mutual, mut given_durability) = (None, None, None);
    while let Some(token) = arguments.next() {
        if is_keyword(&token, "KIND") {
            let value = arguments.value("KIND")?;
            set_once(&mut given_kind, "KIND", kind(value))?;
        } else if is_keyword(&token, "MUTUAL") {
            set_once(&mut given_mutual, "MUTUAL", Ok(()))?;
        } else if is_keyword(&token, "DUR") {
            let value = arguments.value("DUR")?;
            set_once(&mut given_durability, "DUR", durability(&value))?;
        } else {
            return Err(arguments.unknown(&token));
        }
    }
    command.kind = given_kind.unwrap_or_default();
    command.is_mutual = given_mutual.is_some();
    command.durability = given_durability.unwrap_or_default();
    Ok(Command::Link(command))
}

/// Finite and greater than 0, as f32.
fn weight(value: &[u8]) -> Result<f32, Refusal> {
    let weight = checks::finite("weight of a link", value)?;
    if weight > 0.0 {
        return Ok(weight);
    }
    Err(Refusal::Syntax(format!(
        "weight of a link must be finite and greater than 0, got {}",
        shown(value)
    )))
}

fn kind(value: Bytes) -> Result<Bytes, Refusal> {
    checks::nonempty("KIND", value, LINK_KIND_BYTES_MAX)
}

/// `LINK id w [KIND k]` of a store: first takes all values, then checks them.
pub(super) fn of_store(arguments: &mut Arguments) -> Result<Link, Refusal> {
    let target = arguments.value("LINK")?;
    let given_weight = arguments.value("LINK id")?;
    let given_kind =
        if arguments.take_keyword("KIND") { Some(arguments.value("KIND")?) } else { None };
    let weight = weight(&given_weight)?;
    let kind = given_kind.map_or(Ok(Bytes::new()), kind)?;
    Ok(Link { target: checks::id(target)?, weight, kind })
}

/// Adds a link of a store. Of several with the same target and kind the last counts.
pub(super) fn add(links: &mut Vec<Link>, link: Link) {
    let is_same = |own: &&mut Link| (&own.target, &own.kind) == (&link.target, &link.kind);
    match links.iter_mut().find(is_same) {
        Some(own) => own.weight = link.weight,
        None => links.push(link),
    }
}
