//! Spreads of a shard.

use super::{Io, Shard};
use crate::episode::{Refusal, SpaceNumber};
use crate::memory::{Memory, gone};
use crate::spread::predictor::Prediction;
use crate::spreading::{Asked, Collected, Pools, SpreadRequest, Spreading};

/// The share of a shard's memory that spreads may have besides, and the least.
const SPREAD_SHARE: u64 = 16;
const SPREAD_BYTES_MIN: u64 = 64 << 20;

/// Memory for the spreads of a shard whose episodes may have so much.
pub(super) fn pools(memory_bytes_max: u64) -> Pools {
    let bytes = (memory_bytes_max / SPREAD_SHARE).max(SPREAD_BYTES_MIN);
    Pools::new(usize::try_from(bytes).unwrap_or(usize::MAX))
}

impl<I: Io> Shard<I> {
    /// Begins a spread; it is to be [given](Spreading::give) something, gone on with by
    /// [`spread_step`](Self::spread_step), and ended in one way or the other.
    pub fn spread(&mut self, request: SpreadRequest) -> Result<Spreading, Refusal> {
        self.expire();
        let number = request.space;
        let space = self.memory.spaces.get_mut(&number).ok_or_else(|| gone(number))?;
        Ok(Spreading::new(request, space))
    }

    /// Goes on for about so many edges; whether the exchange is over.
    pub fn spread_step(&mut self, spreading: &mut Spreading, edges: u64) -> Result<bool, Refusal> {
        let Memory { spaces, arena, .. } = &mut self.memory;
        let number = spreading.request().space;
        let space = spaces.get_mut(&number).ok_or_else(|| gone(number))?;
        spreading.step(space, arena, &mut self.pools, edges)
    }

    /// Learns from how long the steps of an exchange took that is over; what had been predicted of
    /// it, if anything.
    pub fn spread_note(
        &mut self,
        spreading: &mut Spreading,
        elapsed_ns: u64,
    ) -> Option<Prediction> {
        let space = self.memory.spaces.get_mut(&spreading.request().space)?;
        spreading.note_elapsed(space, elapsed_ns)
    }

    /// The result of a spread whose last step, just now, said so.
    pub fn spread_finish(
        &mut self,
        spreading: Spreading,
        mut asked: Asked,
    ) -> Result<Collected, Refusal> {
        asked.fields = self.as_of_now(asked.fields);
        let now_us = self.log.io().wall_us();
        let Memory { spaces, arena, .. } = &mut self.memory;
        let number = spreading.request().space;
        match spaces.get_mut(&number) {
            Some(space) => spreading.finish((space, arena, now_us), &mut self.pools, &asked),
            None => {
                spreading.end(&mut self.pools);
                Err(gone(number))
            }
        }
    }

    /// Ends a spread that nobody waits for.
    pub fn spread_end(&mut self, spreading: Spreading) {
        spreading.end(&mut self.pools);
    }

    /// Memory for spreads.
    pub fn spread_pools(&self) -> &Pools {
        &self.pools
    }

    /// Memory of links of a space that spreads have laid out.
    pub fn spread_fresh_bytes(&self, space: SpaceNumber) -> Result<u64, Refusal> {
        Ok(self.memory.space(space)?.fresh_bytes() as u64)
    }
}
