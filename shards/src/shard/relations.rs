//! Writes about what episodes are to each other: links, and what supersedes what.

use super::pending::{Admission, Owner};
use super::{Io, Shard, Ticket};
use crate::episode::{LinkRequest, Refusal, SupersedeRequest, UnlinkRequest};
use crate::format::{
    Operation, SupersedePayload, encode_link, encode_supersede, encode_unlink, link_bytes,
    supersede_bytes, unlink_bytes,
};

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
