//! Which shard runs on which processor.
//!
//! Seats are handed out in one fixed order. The first hardware thread of every core comes before
//! any second one, since two shards on one core share its execution units and its L1 and L2. Among
//! cores the order goes round the memory nodes, and inside a node round the L3 caches, so that a
//! few shards get all the memory channels and all the cache there is. When the seats run out the
//! order starts again and shards share processors.

use super::{CacheLevel, Core, Topology};

/// The seat of one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    pub shard: usize,
    /// The processor to pin to, as the kernel numbers it.
    pub cpu: usize,
    /// [`Core::index`].
    pub core: usize,
    /// [`super::Node::index`] to bind memory to.
    pub node: usize,
}

/// Where every shard runs, and what is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// One seat for each shard, in shard order.
    pub seats: Vec<Seat>,
    /// Processors of the cores that carry no shard, ascending: for flush workers, the acceptor and
    /// other threads. Empty when every core has a shard.
    pub spare_cpus: Vec<usize>,
    /// Cores of the topology.
    pub cores: usize,
}

impl Placement {
    /// The largest number of shards on one core.
    pub fn shards_per_core_max(&self) -> usize {
        let on_core = |core| self.seats.iter().filter(|seat| seat.core == core).count();
        self.seats.iter().map(|seat| on_core(seat.core)).max().unwrap_or(0)
    }

    /// One sentence for the log when shards have to share a core.
    pub fn sharing(&self) -> Option<String> {
        let per_core = self.shards_per_core_max();
        (per_core > 1).then(|| {
            format!(
                "{} shards on {}: up to {per_core} shards share a core and slow each other down",
                self.seats.len(),
                super::map::counted(self.cores, "allowed core"),
            )
        })
    }
}

/// Gives each shard a seat. The same topology and number give the same placement.
pub fn place(topology: &Topology, shard_count: usize) -> Placement {
    let order = seat_order(topology);
    let seats: Vec<Seat> = order
        .iter()
        .cycle()
        .take(shard_count)
        .enumerate()
        .map(|(shard, &(core, cpu))| Seat { shard, cpu, core: core.index, node: core.node })
        .collect();
    let mut spare_cpus: Vec<usize> = topology
        .cores()
        .iter()
        .filter(|core| !seats.iter().any(|seat| seat.core == core.index))
        .flat_map(|core| core.cpus.iter().copied())
        .collect();
    spare_cpus.sort_unstable();
    Placement { seats, spare_cpus, cores: topology.cores().len() }
}

/// Every allowed processor with its core, in the order in which seats are given.
fn seat_order(topology: &Topology) -> Vec<(&Core, usize)> {
    let by_node: Vec<Vec<&Core>> = topology
        .nodes()
        .iter()
        .map(|node| {
            let on_node = topology.cores().iter().filter(|core| core.node == node.index);
            round_robin(&group_by_l3(topology, on_node))
        })
        .collect();
    let cores = round_robin(&by_node);
    let threads_max = cores.iter().map(|core| core.cpus.len()).max().unwrap_or(0);
    (0..threads_max)
        .flat_map(|thread| {
            cores.iter().filter_map(move |&core| Some((core, *core.cpus.get(thread)?)))
        })
        .collect()
}

/// Cores in groups that share an L3 cache; cores of which no L3 is known form one group.
fn group_by_l3<'a>(
    topology: &Topology,
    cores: impl Iterator<Item = &'a Core>,
) -> Vec<Vec<&'a Core>> {
    let mut groups: Vec<(Option<usize>, Vec<&Core>)> = Vec::new();
    for core in cores {
        let l3 = topology.cache_of(core.cpus[0], CacheLevel::L3).map(|cache| cache.cpus[0]);
        match groups.iter_mut().find(|(key, _)| *key == l3) {
            Some((_, members)) => members.push(core),
            None => groups.push((l3, vec![core])),
        }
    }
    groups.into_iter().map(|(_, members)| members).collect()
}

/// The first of each group, then the second of each, and so on.
fn round_robin<T: Copy>(groups: &[Vec<T>]) -> Vec<T> {
    let rounds = groups.iter().map(Vec::len).max().unwrap_or(0);
    (0..rounds)
        .flat_map(|round| groups.iter().filter_map(move |group| group.get(round).copied()))
        .collect()
}
