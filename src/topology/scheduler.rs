//! What the scheduler knows: the processors this process may use, and nothing about their
//! neighbourhood.

use super::{Core, Node, Origin, Topology, TopologyError};
use crate::config::Host;

/// The processors in the affinity mask of the calling thread, ascending.
pub(super) fn allowed_cpus() -> Result<Vec<usize>, TopologyError> {
    let cores = core_affinity::get_core_ids().ok_or(TopologyError::AffinityUnknown)?;
    Ok(cores.iter().map(|core| core.id).collect())
}

/// One node that holds all memory; each processor counts as a core of its own.
pub(super) fn from_affinity(allowed: &[usize], why: String) -> Result<Topology, TopologyError> {
    let node = Node { index: 0, memory_bytes: Host::physical_memory_bytes() };
    let cores = allowed.iter().map(|&cpu| Core { index: cpu, node: 0, cpus: vec![cpu] }).collect();
    Topology::from_parts(vec![node], cores, Vec::new(), Origin::Scheduler(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_allowed_processor_is_a_core_of_one_node_with_all_memory() {
        let topology = from_affinity(&[1, 3], "no hwloc here".to_owned()).unwrap();
        let seen: Vec<_> =
            topology.cores().iter().map(|core| (core.node, core.cpus.clone())).collect();
        assert_eq!(seen, [(0, vec![1]), (0, vec![3])]);
        assert!(topology.nodes()[0].memory_bytes > 16 << 20);
        assert_eq!(*topology.origin(), Origin::Scheduler("no hwloc here".to_owned()));
    }

    #[test]
    fn an_empty_mask_is_an_error_with_a_remedy() {
        let error = from_affinity(&[], String::new()).unwrap_err().to_string();
        assert!(error.contains("AllowedCPUs="), "{error}");
    }
}
