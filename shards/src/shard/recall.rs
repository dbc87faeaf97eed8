//! Recalls and inquiries of a shard.

use super::{Io, Shard};
use crate::episode::{Effort, Hit, RecallRequest, Refusal, SpaceNumber};
use crate::inquiry::{Around, AroundRequest, Found, Inquiry, InquiryRequest};
use crate::memory::{Memory, gone};
use crate::recall::Recall;
use crate::space::Part;

/// Rows whose texts one slice of an inquiry, or one unit of work, reads.
const READ_ROWS: u32 = 8;

impl<I: Io> Shard<I> {
    /// Begins a recall; go on with [`recall_step`](Self::recall_step).
    pub fn recall(&mut self, mut request: RecallRequest) -> Result<Recall, Refusal> {
        self.expire();
        let space = self.memory.space(request.space)?;
        request.fields = self.as_of_now(request.fields);
        let of = (self.memory.applied, self.log.io().wall_us());
        Ok(Recall::new(request, space, &self.memory.arena, of))
    }

    /// Does about as much more as reading so many bytes is; whether that was all.
    pub fn recall_step(&mut self, recall: &mut Recall, bytes: usize) -> Result<bool, Refusal> {
        let Memory { spaces, arena, applied, .. } = &mut self.memory;
        let number = recall.request().space;
        let space = spaces.get_mut(&number).ok_or_else(|| gone(number))?;
        let is_done = recall.step(space, arena, &mut self.scratch, *applied, bytes);
        if is_done && recall.request().effort != Effort::Exact {
            space.note_asked(&recall.request().cue);
        }
        Ok(is_done)
    }

    /// The result of a recall whose last step, just now, said so.
    pub fn recall_finish(&self, recall: Recall) -> Result<Vec<Hit>, Refusal> {
        let space = self.memory.space(recall.request().space)?;
        Ok(recall.finish(space, &self.memory.arena)?)
    }

    /// Begins an inquiry; it is to be gone on with by [`inquiry_step`](Self::inquiry_step).
    pub fn inquiry(&mut self, request: InquiryRequest) -> Result<Inquiry, Refusal> {
        self.expire();
        let now_us = self.log.io().wall_us();
        let Memory { spaces, arena, applied, .. } = &mut self.memory;
        let number = request.space;
        let space = spaces.get_mut(&number).ok_or_else(|| gone(number))?;
        space.note_asked_for_words();
        Ok(Inquiry::new(request, space, arena, (*applied, now_us)))
    }

    /// Does about as much more as reading so many bytes is; whether that was all.
    pub fn inquiry_step(&mut self, inquiry: &mut Inquiry, bytes: usize) -> Result<bool, Refusal> {
        let number = inquiry.request().space;
        if !self.read_text(number, |part| inquiry.wanted_texts(part))? {
            return Ok(false);
        }
        let Memory { spaces, arena, applied, .. } = &self.memory;
        let space = spaces.get(&number).ok_or_else(|| gone(number))?;
        Ok(inquiry.step(space, arena, &mut self.scratch, *applied, bytes))
    }

    /// Reads some texts of a space, of as many rows of each part as are wanted; whether all those
    /// are read.
    pub(super) fn read_text(
        &mut self,
        number: SpaceNumber,
        wanted: impl Fn(Part<'_>) -> u32,
    ) -> Result<bool, Refusal> {
        self.memory
            .with_text(number, |space, arena| space.read_text(arena, wanted, READ_ROWS))
            .ok_or_else(|| gone(number))
    }

    /// The result of an inquiry whose last step, just now, said so.
    pub fn inquiry_finish(&self, inquiry: Inquiry) -> Result<Found, Refusal> {
        let space = self.memory.space(inquiry.request().space)?;
        Ok(inquiry.finish(space, &self.memory.arena)?)
    }

    /// Begins to look around some places of threads.
    pub fn around(&mut self, request: AroundRequest) -> Result<Around, Refusal> {
        self.expire();
        let space = self.memory.space(request.space)?;
        Ok(Around::new(request, space, &self.memory.arena, self.log.io().wall_us()))
    }

    /// Looks around some more; whether that was all.
    pub fn around_step(&mut self, around: &mut Around) -> Result<bool, Refusal> {
        let number = around.request().space;
        let is_read = self.read_text(number, |part| around.wanted_texts(part))?;
        let space = self.memory.space(number)?;
        Ok(is_read && around.step(space, &self.memory.arena))
    }

    /// The result of looking around whose last step, just now, was the last.
    pub fn around_finish(&self, around: Around) -> Result<Found, Refusal> {
        Ok(around.finish()?)
    }
}
