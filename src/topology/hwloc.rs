//! The machine as the system's hwloc library sees it, copied into our own description.

use std::num::NonZeroU64;
use std::sync::Arc;

use hwlocality::Topology as Machine;
use hwlocality::object::TopologyObject;
use hwlocality::object::attributes::ObjectAttributes;
use hwlocality::object::types::ObjectType;

use super::binding::Binder;
use super::{Cache, CacheLevel, Core, Node, Origin, Topology, TopologyError};
use crate::config::Host;

pub(super) fn of_this_machine() -> Result<Topology, TopologyError> {
    let machine = Machine::new().map_err(failed)?;
    let mut nodes = nodes(&machine);
    if let [only] = nodes.as_mut_slice() {
        // On virtual machines whose memory grows, the kernel's count of a node lags behind its
        // total.
        only.memory_bytes = only.memory_bytes.max(Host::physical_memory_bytes());
    }
    let mut topology = describe(&machine, nodes, Origin::Hwloc)?;
    topology.binder = Binder::Hwloc(Arc::new(machine));
    Ok(topology)
}

/// hwloc accepts binding calls on a synthetic machine and ignores them, so the description gets
/// no binder at all and says so when asked to bind.
pub(super) fn synthetic(description: &str) -> Result<Topology, TopologyError> {
    let machine =
        Machine::builder().from_synthetic(description).map_err(failed)?.build().map_err(failed)?;
    describe(&machine, nodes(&machine), Origin::Synthetic(description.to_owned()))
}

fn failed(error: impl std::fmt::Display) -> TopologyError {
    TopologyError::Hwloc { reason: error.to_string() }
}

fn nodes(machine: &Machine) -> Vec<Node> {
    machine
        .objects_with_type(ObjectType::NUMANode)
        .filter_map(|node| {
            Some(Node { index: node.os_index()?, memory_bytes: node.total_memory() })
        })
        .collect()
}

fn describe(
    machine: &Machine,
    nodes: Vec<Node>,
    origin: Origin,
) -> Result<Topology, TopologyError> {
    // A core without a memory node of its own (a machine whose firmware names none for it) is
    // counted to the first node: somewhere its memory must be.
    let first_node = nodes.iter().map(|node| node.index).min().unwrap_or(0);
    let cores = machine
        .objects_with_type(ObjectType::Core)
        .map(|core| Core {
            index: core.logical_index(),
            node: core.nodeset().and_then(|set| set.first_set()).map_or(first_node, usize::from),
            cpus: cpus(core),
        })
        .filter(|core| !core.cpus.is_empty())
        .collect();
    let levels = [
        (ObjectType::L1Cache, CacheLevel::L1d),
        (ObjectType::L2Cache, CacheLevel::L2),
        (ObjectType::L3Cache, CacheLevel::L3),
    ];
    let caches = levels
        .into_iter()
        .flat_map(|(kind, level)| {
            machine.objects_with_type(kind).map(move |cache| Cache {
                level,
                size_bytes: cache_bytes(cache),
                cpus: cpus(cache),
            })
        })
        .collect();
    Topology::from_parts(nodes, cores, caches, origin)
}

fn cpus(object: &TopologyObject) -> Vec<usize> {
    object.cpuset().map_or_else(Vec::new, |set| set.iter_set().map(usize::from).collect())
}

fn cache_bytes(object: &TopologyObject) -> u64 {
    match object.attributes() {
        Some(ObjectAttributes::Cache(cache)) => cache.size().map_or(0, NonZeroU64::get),
        _ => 0,
    }
}
