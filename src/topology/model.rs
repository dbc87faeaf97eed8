//! The plain description of a machine, and the rules that make one valid.

use std::collections::BTreeSet;

use super::binding::Binder;
use super::{Map, Placement};

/// What a machine offers to this process.
#[derive(Debug, Clone)]
pub struct Topology {
    /// Memory nodes, ascending by index; also those without an allowed core.
    nodes: Vec<Node>,
    /// Cores with at least one allowed processor, ascending by node, then by first processor.
    cores: Vec<Core>,
    /// Caches of the allowed cores, largest level first, then ascending by first processor.
    caches: Vec<Cache>,
    origin: Origin,
    pub(super) binder: Binder,
}

/// A memory node, called a NUMA node by the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The kernel's number of the node.
    pub index: usize,
    pub memory_bytes: u64,
}

/// A physical core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Core {
    /// Position among all cores of the machine, allowed or not.
    pub index: usize,
    /// [`Node::index`] of the memory that is nearest.
    pub node: usize,
    /// The kernel's numbers of the allowed hardware threads, in the core's order; never empty.
    pub cpus: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CacheLevel {
    L1d,
    L2,
    L3,
}

impl CacheLevel {
    pub fn name(self) -> &'static str {
        match self {
            Self::L1d => "L1d",
            Self::L2 => "L2",
            Self::L3 => "L3",
        }
    }
}

/// A data or unified cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    pub level: CacheLevel,
    /// Zero when the machine does not say.
    pub size_bytes: u64,
    /// The allowed processors that share it, ascending; never empty.
    pub cpus: Vec<usize>,
}

/// Where a description came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Hwloc,
    /// The affinity mask alone: every processor counts as a core of one node. The text says why
    /// nothing better was available.
    Scheduler(String),
    Synthetic(String),
}

#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    #[error(
        "the scheduler allows this process no processor that the machine has (allowed: \
         {allowed:?}); widen AllowedCPUs= or the taskset mask it was started with"
    )]
    NoProcessor { allowed: Vec<usize> },
    #[error("the scheduler did not tell which processors this process may use")]
    AffinityUnknown,
    #[error("hwloc could not read the topology: {reason}")]
    Hwloc { reason: String },
    #[error("the topology contradicts itself: {reason}")]
    Contradiction { reason: String },
}

impl Topology {
    /// Reads this machine, restricted to the processors the calling thread may use. Call it once
    /// and before any thread is pinned.
    ///
    /// When hwloc is missing or fails, the scheduler's affinity mask is all that is known, and
    /// [`Topology::origin`] says so.
    pub fn of_this_machine() -> Result<Self, TopologyError> {
        let allowed = super::scheduler::allowed_cpus()?;
        #[cfg(feature = "numa")]
        let why = match super::hwloc::of_this_machine() {
            Ok(topology) => return topology.restricted_to(&allowed),
            Err(error) => error.to_string(),
        };
        #[cfg(not(feature = "numa"))]
        let why = "built without the feature `numa`".to_owned();
        super::scheduler::from_affinity(&allowed, why)
    }

    /// A machine that does not exist, in hwloc's notation (`"numa:2 core:4 pu:1"`), for tests and
    /// for planning a placement ahead of the hardware.
    #[cfg(feature = "numa")]
    pub fn synthetic(description: &str) -> Result<Self, TopologyError> {
        super::hwloc::synthetic(description)
    }

    /// Builds a description from its parts, which may come in any order.
    pub fn from_parts(
        mut nodes: Vec<Node>,
        mut cores: Vec<Core>,
        mut caches: Vec<Cache>,
        origin: Origin,
    ) -> Result<Self, TopologyError> {
        let contradiction = |reason: String| Err(TopologyError::Contradiction { reason });
        nodes.sort_by_key(|node| node.index);
        if let Some(pair) = nodes.windows(2).find(|pair| pair[0].index == pair[1].index) {
            return contradiction(format!("memory node {} is listed twice", pair[0].index));
        }
        let mut seen = BTreeSet::new();
        for core in &cores {
            if core.cpus.is_empty() {
                return contradiction(format!("core {} has no processor", core.index));
            }
            if !nodes.iter().any(|node| node.index == core.node) {
                return contradiction(format!(
                    "core {} is on memory node {}, which is not listed",
                    core.index, core.node
                ));
            }
            if cores.iter().filter(|other| other.index == core.index).count() > 1 {
                return contradiction(format!("core {} is listed twice", core.index));
            }
            if let Some(cpu) = core.cpus.iter().find(|&&cpu| !seen.insert(cpu)) {
                return contradiction(format!("processor {cpu} is in two cores"));
            }
        }
        if cores.is_empty() {
            return Err(TopologyError::NoProcessor { allowed: Vec::new() });
        }
        cores.sort_by_key(|core| (core.node, core.cpus[0]));
        for cache in &mut caches {
            cache.cpus.sort_unstable();
        }
        caches.retain(|cache| !cache.cpus.is_empty());
        caches.sort_by_key(|cache| (std::cmp::Reverse(cache.level), cache.cpus[0]));
        let binder = Binder::absent(&origin);
        Ok(Self { nodes, cores, caches, origin, binder })
    }

    /// The same machine as a process sees it that may use only these processors.
    pub fn restricted_to(&self, allowed: &[usize]) -> Result<Self, TopologyError> {
        let keep = |cpus: &[usize]| -> Vec<usize> {
            cpus.iter().copied().filter(|cpu| allowed.contains(cpu)).collect()
        };
        let mut restricted = self.clone();
        for core in &mut restricted.cores {
            core.cpus = keep(&core.cpus);
        }
        restricted.cores.retain(|core| !core.cpus.is_empty());
        for cache in &mut restricted.caches {
            cache.cpus = keep(&cache.cpus);
        }
        restricted.caches.retain(|cache| !cache.cpus.is_empty());
        if restricted.cores.is_empty() {
            return Err(TopologyError::NoProcessor { allowed: allowed.to_vec() });
        }
        // A core whose first hardware thread fell away sorts by what is left.
        restricted.cores.sort_by_key(|core| (core.node, core.cpus[0]));
        Ok(restricted)
    }

    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub fn cores(&self) -> &[Core] {
        &self.cores
    }

    pub fn caches(&self) -> &[Cache] {
        &self.caches
    }

    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Every allowed processor, ascending.
    pub fn cpus(&self) -> Vec<usize> {
        let mut cpus: Vec<usize> =
            self.cores.iter().flat_map(|core| core.cpus.iter().copied()).collect();
        cpus.sort_unstable();
        cpus
    }

    /// The cache of a level that serves a processor.
    pub fn cache_of(&self, cpu: usize, level: CacheLevel) -> Option<&Cache> {
        self.caches.iter().find(|cache| cache.level == level && cache.cpus.contains(&cpu))
    }

    /// The machine and the shards on it as text, one line for each core.
    pub fn map<'a>(&'a self, placement: &'a Placement) -> Map<'a> {
        Map::new(self, placement)
    }
}
