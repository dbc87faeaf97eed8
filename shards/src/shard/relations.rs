//! Writes about what episodes are to each other: links, and what supersedes what.

use bytes::Bytes;

use super::pending::{About, Admission, Owner};
use super::{Io, Shard, Ticket};
use crate::dream::{self, Change, RelearnRequest};
use crate::episode::{
    BindRequest, Durability, LinkRequest, Refusal, Sequence, SpaceNumber, SupersedeRequest,
    UnlinkRequest,
};
use crate::format::{
    Operation, SupersedePayload, encode_link, encode_supersede, encode_unlink, link_bytes,
    supersede_bytes, unlink_bytes,
};
use crate::keys::KeyHash;
use crate::links::GIST_KIND;

impl<I: Io> Shard<I> {
    /// Admits a link. Whether there is an episode whose it is, and room for it, is found out in its
    /// turn.
    pub fn link(&mut self, ticket: Ticket, request: &LinkRequest) -> Result<(), Refusal> {
        self.open_space(request.space)?;
        self.check_memory()?;
        let head = self.head(Operation::Link, request.writer_uid);
        let how = Admission::of(Owner::Caller(ticket), request.durability).patient(true);
        self.append(how, &head, link_bytes(request), |out| encode_link(request, out))?;
        Ok(())
    }

    /// Admits the removal of links. How many there are is found out in its turn.
    pub fn unlink(&mut self, ticket: Ticket, request: &UnlinkRequest) -> Result<(), Refusal> {
        self.memory.space(request.space)?;
        let head = self.head(Operation::Unlink, request.writer_uid);
        let how =
            Admission::of(Owner::Caller(ticket), request.durability).using_reserve().patient(true);
        self.append(how, &head, unlink_bytes(request), |out| encode_unlink(request, out))?;
        Ok(())
    }

    /// Admits a change of what holds a gist together, of an episode that [stays](Self::staying).
    pub fn bind(&mut self, ticket: Ticket, request: &BindRequest) -> Result<(), Refusal> {
        let BindRequest { space, stored, link, is_bound } = *request;
        let from = self.staying(space, stored)?;
        let to = link.target().to_vec().into();
        self.set_link(ticket, space, (from, to, GIST_KIND), is_bound.then_some(1.0))
    }

    /// Admits what a replay makes of a link, of an episode that [stays](Self::staying).
    pub fn relearn(&mut self, ticket: Ticket, request: &RelearnRequest) -> Result<(), Refusal> {
        let RelearnRequest { space, stored, change: Change { target, weight } } = request;
        let from = self.staying(*space, *stored)?;
        self.set_link(ticket, *space, (from, target.clone(), dream::KIND), *weight)
    }

    /// The id of an episode that is there and that nothing on its way to the log is about. So no
    /// frame behind an erase has the id of what it erased, for which nobody would look any more.
    fn staying(&mut self, number: SpaceNumber, stored: Sequence) -> Result<Bytes, Refusal> {
        self.expire();
        let space = self.open_space(number)?;
        let gone = || Refusal::NoEpisode(format!("of sequence {}", stored.0));
        let at = space.find_stored(&self.memory.arena, stored.0).ok_or_else(gone)?;
        let part = space.part(&self.memory.arena, at.part).expect("just found");
        let id = Bytes::copy_from_slice(part.body(at.row)?.id);
        let episode = KeyHash::of_episode(number, &id);
        let is_about = |about: About| about.episode == episode;
        match self.pending.iter().any(|pending| pending.about.is_some_and(is_about)) {
            true => Err(gone()),
            false => Ok(id),
        }
    }

    /// Admits a link of the shard's own making, or its removal when it has no weight.
    fn set_link(
        &mut self,
        ticket: Ticket,
        space: SpaceNumber,
        (from, to, kind): (Bytes, Bytes, &'static [u8]),
        weight: Option<f32>,
    ) -> Result<(), Refusal> {
        let (kind, durability, writer_uid) = (Bytes::from_static(kind), Durability::Disk, 0);
        match weight {
            Some(weight) => {
                let link = LinkRequest { space, from, to, kind, weight, durability, writer_uid };
                self.link(ticket, &link)
            }
            None => {
                let unlink = UnlinkRequest { space, from, to, kind, durability, writer_uid };
                self.unlink(ticket, &unlink)
            }
        }
    }

    /// Admits a supersession. Whether there is an episode that it ends is found out in its turn.
    pub fn supersede(&mut self, ticket: Ticket, request: &SupersedeRequest) -> Result<(), Refusal> {
        self.open_space(request.space)?;
        self.check_memory()?;
        let head = self.head(Operation::Supersede, request.writer_uid);
        let SupersedeRequest { space, ref id, ref by, valid_until_us, durability, .. } = *request;
        let recorded_at_us = request.recorded_at_us.unwrap_or(head.recorded_at_us);
        let payload = SupersedePayload { space, id, by, valid_until_us, recorded_at_us };
        let how = Admission::of(Owner::Caller(ticket), durability).patient(true).about(space, id);
        let bytes = supersede_bytes(&payload);
        self.append(how, &head, bytes, |out| encode_supersede(&payload, durability, out))?;
        Ok(())
    }
}
