//! Episodes that answers told, on their way to their owners, for whom that is a presentation.
//!
//! Nobody waits for it. Those of other shards are told many at once, after a tenth of a second at
//! most.

use engram_shards::episode::Hit;

use super::core::Core;
use super::request::Request;
use super::route::Route;

/// Episodes of another shard that it is told of at once.
const TOLD_MAX: usize = 256;

impl Core {
    /// Takes note of episodes that an answer told, each with its owner.
    pub(super) fn note_recalled(&self, route: &Route, hits: &[Hit]) {
        for hit in hits {
            let owner = route.owner(&hit.episode.id);
            let (space, stored) = (route.space(), hit.episode.sequence.0);
            let mut inner = self.inner.borrow_mut();
            if owner == self.number {
                inner.shard.note_recalled(space, stored);
                continue;
            }
            inner.told[owner].push((space, stored));
            let is_full = inner.told[owner].len() >= TOLD_MAX;
            drop(inner);
            if is_full {
                self.tell_recalled(owner);
            }
        }
    }

    /// Tells another shard which of its episodes answers told.
    pub(super) fn tell_recalled(&self, shard: usize) {
        let told = std::mem::take(&mut self.inner.borrow_mut().told[shard]);
        if !told.is_empty() {
            self.ask(shard, Request::Recalled(told));
        }
    }
}
