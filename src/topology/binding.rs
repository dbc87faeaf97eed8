//! Binding of memory to a node: by hwloc on a machine with several, not at all elsewhere.

use std::fmt;
#[cfg(feature = "numa")]
use std::sync::Arc;

#[cfg(feature = "numa")]
use hwlocality::memory::binding::{MemoryBindingFlags, MemoryBindingPolicy};
#[cfg(feature = "numa")]
use hwlocality::memory::nodeset::NodeSet;

use super::{Origin, Topology};

/// The means to bind memory that came with a description.
#[derive(Debug, Clone)]
pub(super) enum Binder {
    #[cfg(feature = "numa")]
    Hwloc(Arc<hwlocality::Topology>),
    Absent(Unbound),
}

impl Binder {
    pub(super) fn absent(origin: &Origin) -> Self {
        Self::Absent(match origin {
            Origin::Synthetic(_) => Unbound::Synthetic,
            Origin::Hwloc | Origin::Scheduler(_) => Unbound::NoHwloc,
        })
    }
}

/// What became of a request to bind memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// The pages will come from this node as long as it has any.
    Bound {
        node: usize,
    },
    Unbound(Unbound),
}

/// Why memory was left where the kernel puts it: on the node of the thread that touches it first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unbound {
    Empty,
    OneNode,
    Synthetic,
    NoHwloc,
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bound { node } => write!(f, "bound to memory node {node}"),
            Self::Unbound(Unbound::Empty) => f.write_str("not bound: the region has no bytes"),
            Self::Unbound(Unbound::OneNode) => f.write_str("not bound: there is one memory node"),
            Self::Unbound(Unbound::Synthetic) => {
                f.write_str("not bound: the topology is synthetic")
            }
            Self::Unbound(Unbound::NoHwloc) => {
                f.write_str("not bound: hwloc is not available, placed by first touch")
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("there is no memory node {node}; the machine has the nodes {nodes:?}")]
    NoSuchNode { node: usize, nodes: Vec<usize> },
    #[error(
        "{bytes} bytes could not be bound to memory node {node}: {reason}; allow the system call \
         mbind or build without the feature `numa`"
    )]
    Refused { node: usize, bytes: usize, reason: String },
}

impl Topology {
    /// Asks the kernel to take the pages of `region` from a node. Call it on a fresh mapping
    /// before the first touch: pages that exist stay where they are. A node that runs full gives
    /// way to its neighbours rather than failing.
    ///
    /// Nothing is done, and the answer says why, on a machine with one memory node, on a
    /// synthetic topology and without hwloc; first touch by the pinned thread places the pages
    /// then.
    pub fn bind_memory(&self, region: &mut [u8], node: usize) -> Result<Binding, BindError> {
        if !self.nodes().iter().any(|known| known.index == node) {
            let nodes = self.nodes().iter().map(|known| known.index).collect();
            return Err(BindError::NoSuchNode { node, nodes });
        }
        match &self.binder {
            _ if region.is_empty() => Ok(Binding::Unbound(Unbound::Empty)),
            Binder::Absent(why) => Ok(Binding::Unbound(*why)),
            #[cfg(feature = "numa")]
            Binder::Hwloc(_) if self.nodes().len() == 1 => Ok(Binding::Unbound(Unbound::OneNode)),
            #[cfg(feature = "numa")]
            Binder::Hwloc(machine) => bind_by_hwloc(machine, region, node),
        }
    }
}

#[cfg(feature = "numa")]
fn bind_by_hwloc(
    machine: &hwlocality::Topology,
    region: &mut [u8],
    node: usize,
) -> Result<Binding, BindError> {
    let refused = |reason: String| BindError::Refused { node, bytes: region.len(), reason };
    let index = hwlocality::bitmap::BitmapIndex::try_from(node)
        .map_err(|error| refused(error.to_string()))?;
    machine
        .bind_memory_area::<[u8], _>(
            region,
            &NodeSet::from(index),
            MemoryBindingPolicy::Bind,
            // MIGRATE is refused for areas; without STRICT a full node falls back to others.
            MemoryBindingFlags::empty(),
        )
        .map_err(|error| refused(error.to_string()))?;
    Ok(Binding::Bound { node })
}

#[cfg(all(test, feature = "numa"))]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_region_is_accepted_by_the_kernel() {
        let topology = Topology::of_this_machine().unwrap();
        let Binder::Hwloc(machine) = &topology.binder else {
            panic!("hwloc should read this machine, got {:?}", topology.origin());
        };
        let mut region = vec![0_u8; 1 << 20];
        let node = topology.nodes()[0].index;
        match bind_by_hwloc(machine, &mut region, node) {
            Ok(binding) => assert_eq!(binding, Binding::Bound { node }),
            // Container runtimes filter mbind; then the error has to name it.
            Err(error) => assert!(error.to_string().contains("mbind"), "{error}"),
        }
    }
}
