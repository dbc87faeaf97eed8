//! Stores of what is there already.

use super::{Io, Reply, Shard, Ticket};
use crate::episode::{Episode, Refusal, StoreRequest};
use crate::keys::{FirstAnswer, KeyHash};

impl<I: Io> Shard<I> {
    /// Whether an episode has the text and vector of a store already, or will: then its answer, or
    /// that it follows. One that is superseded is none: to store it again says that it is valid.
    pub(super) fn find_same(
        &mut self,
        ticket: Ticket,
        request: &StoreRequest,
    ) -> Result<Option<Option<Reply>>, Refusal> {
        let Episode { id, vector, text, .. } = &request.episode;
        let episode = KeyHash::of_episode(request.space, id);
        let mut pending = self.pending.iter_mut().rev();
        let last = pending.find_map(|pending| {
            let about = pending.about.filter(|about| about.episode == episode)?;
            Some((pending, about.content))
        });
        if let Some((last, content)) = last {
            let content = content.map(|(content, _)| content);
            if content != Some(KeyHash::of_content(vector, text)) {
                return Ok(None);
            }
            last.followers.push(ticket);
            return Ok(Some(None));
        }
        let space = self.memory.space(request.space)?;
        let Some(at) = space.find(&self.memory.arena, id) else { return Ok(None) };
        let part = space.part(&self.memory.arena, at.part).expect("just found");
        let (record, body) = (part.record(at.row), part.body(at.row)?);
        let floats = part.vector(at.row)[..space.dimensions()].iter();
        let is_same = body.text == &text[..]
            && floats.flat_map(|float| float.to_le_bytes()).eq(vector.iter().copied())
            && part.superseded(at.row, u64::MAX).is_none()
            // What is neither pending nor durable came before the log latched.
            && record.sequence <= self.log.durable();
        let confidence = part.confidence(at.row);
        let first = FirstAnswer { sequence: record.sequence, confidence };
        let reply = || Some(Reply::Stored(first.again(self.memory.pressure())));
        Ok(is_same.then(reply))
    }
}
