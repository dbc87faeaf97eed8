//! Which processors the daemon may use, how they share memory and caches, and where each shard
//! runs.
//!
//! * [`Topology`] is a plain description: memory nodes, cores with their allowed processors,
//!   caches. It is read once at start (8 to 190 ms), from hwloc with the cargo feature `numa`
//!   and from the scheduler alone without it, or built from a synthetic description in tests.
//!   A processor that `sched_getaffinity` does not name is not in it.
//! * [`place`] is a pure function from a topology and a number of shards to a [`Placement`]:
//!   the same machine and the same number always give the same seats.
//! * [`Topology::bind_memory`] binds a fresh mapping to the node of the shard that will use it.
//! * [`Topology::map`] renders both for `engram topology`.

mod binding;
#[cfg(feature = "numa")]
mod hwloc;
mod map;
mod model;
mod placement;
mod scheduler;

pub use binding::{BindError, Binding, Unbound};
pub use map::Map;
pub use model::{Cache, CacheLevel, Core, Node, Origin, Topology, TopologyError};
pub use placement::{Placement, Seat, place};
