//! Reading episodes of a shard by their ids, and all of them, and what is new.

use super::{Io, Shard};
use crate::episode::{Fields, Refusal, SpaceNumber, StoredEpisode, StoredRequest};
use crate::space::{News, NewsLimits, Page};

impl<I: Io> Shard<I> {
    pub(super) fn as_of_now(&self, fields: Fields) -> Fields {
        fields.as_of(self.log.io().wall_us())
    }

    /// The episode with this id, if there is one.
    pub fn get(
        &self,
        space: SpaceNumber,
        id: &[u8],
        fields: Fields,
    ) -> Result<Option<StoredEpisode>, Refusal> {
        let (space, fields) = (self.memory.space(space)?, self.as_of_now(fields));
        let at = space.find(&self.memory.arena, id);
        let found = at.map(|at| space.read(&self.memory.arena, at, fields)).transpose()?;
        Ok(found.filter(|episode| self.is_in_time(episode)))
    }

    /// The live ones among the episodes that were stored with these sequences and fulfil the
    /// conditions. From the first whose parts go beyond the byte bound on, those are left out.
    pub fn get_stored(&self, request: &StoredRequest) -> Result<Vec<StoredEpisode>, Refusal> {
        let StoredRequest { space, sequences, conditions, fields, bytes_max } = request;
        let (space, fields) = (self.memory.space(*space)?, self.as_of_now(*fields));
        let standing = space.standing(conditions, u64::MAX, self.log.io().wall_us());
        let arena = &self.memory.arena;
        let mut rows = Vec::with_capacity(sequences.len());
        for at in sequences.iter().filter_map(|stored| space.find_stored(arena, *stored)) {
            let part = space.part(arena, at.part).expect("just found");
            if conditions.admit(part, at.row, standing)? {
                rows.push(at);
            }
        }
        let mut episodes = space.read_all(arena, rows.into_iter(), fields, *bytes_max)?;
        episodes.retain(|episode| self.is_in_time(episode));
        Ok(episodes)
    }

    /// The live episodes from a position on, up to `count` and roughly `bytes_max` bytes, and the
    /// position of the next call. The order is that of the hashes of ids: an episode that lives
    /// throughout is seen, once, whatever else changes meanwhile.
    pub fn scan(
        &self,
        space: SpaceNumber,
        from: u64,
        count: usize,
        bytes_max: usize,
        fields: Fields,
    ) -> Result<Page, Refusal> {
        let (space, fields) = (self.memory.space(space)?, self.as_of_now(fields));
        let mut page = space.scan(&self.memory.arena, from, (count, bytes_max), fields)?;
        page.episodes.retain(|episode| self.is_in_time(episode));
        Ok(page)
    }

    /// The last sequence that is durable: what follows may be lost yet.
    pub fn durable(&self) -> u64 {
        self.log.durable()
    }

    /// The sequence of the last episode that was stored in a space since the shard opened, durable
    /// or not.
    pub fn newest(&self, space: SpaceNumber) -> Result<u64, Refusal> {
        Ok(self.memory.space(space)?.newest())
    }

    /// What was stored in a space behind the sequence `after` and is durable, in that order, each
    /// episode in the version that is durable now. A replaced or forgotten one is not there.
    pub fn news(
        &self,
        space: SpaceNumber,
        after: u64,
        limits: NewsLimits,
        fields: Fields,
    ) -> Result<News, Refusal> {
        let (space, fields) = (self.memory.space(space)?, self.as_of_now(fields));
        let durable = self.log.durable();
        let mut news = space.news(&self.memory.arena, (after, durable), limits, fields)?;
        news.episodes.retain(|episode| self.is_in_time(episode));
        Ok(news)
    }
}
