//! Reading an episode that a command needs before it goes on.

use bytes::Bytes;
use engram_shards::episode::{Belief, Fields, Refusal, StoredEpisode};

use super::core::Core;
use super::request::{Answer, Request};
use super::route::Route;

impl Core {
    /// The episode with an id, from its owner.
    pub(super) async fn get(
        &self,
        route: &Route,
        id: &Bytes,
        fields: Fields,
    ) -> Result<Option<Box<StoredEpisode>>, Refusal> {
        let (space, belief) = (route.space(), Belief::Now);
        let request = Request::Get { space, id: id.clone(), fields, belief };
        match self.call(route.owner(id), request).await {
            Answer::Episode(found) => found,
            other => unreachable!("a get was answered with {other:?}"),
        }
    }
}
