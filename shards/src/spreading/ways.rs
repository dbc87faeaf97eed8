//! By which links mass has come, from a seed on any shard.
//!
//! A push knows the way from where mass was put on this shard. What another shard has handed over
//! came with the way until there, of the most that came at once; both together lead from a seed.

use std::collections::HashMap;

use bytes::Bytes;

use crate::episode::PathStep;
use crate::space::Associations;
use crate::spread::activations::Step;
use crate::spread::exact::Mass;

/// See the top of the file.
#[derive(Debug, Default)]
pub(super) struct Ways {
    /// By node.
    until_here: HashMap<u32, (Mass, Vec<PathStep>)>,
}

impl Ways {
    /// Notes the way of mass that was handed over.
    pub(super) fn note(&mut self, node: u32, mass: Mass, path: &[PathStep]) {
        let way = self.until_here.entry(node).or_default();
        if mass > way.0 {
            *way = (mass, path.to_vec());
        }
    }

    /// The whole way to a node, of which these are the links on this shard.
    pub(super) fn path(
        &self,
        graph: &Associations<'_>,
        node: u32,
        steps: &[Step],
    ) -> Vec<PathStep> {
        let first = steps.first().map_or(node, |step| step.source);
        let until_here = self.until_here.get(&first).map(|(_, path)| &path[..]);
        let id = |node| graph.id(node).map(Bytes::copy_from_slice).unwrap_or_default();
        let step = |step: &Step| PathStep {
            from: id(step.source),
            to: id(step.target),
            kind: Bytes::copy_from_slice(graph.kind(step.source, step.kind)),
        };
        until_here.unwrap_or_default().iter().cloned().chain(steps.iter().map(step)).collect()
    }
}
