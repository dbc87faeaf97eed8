//! The three ways to spread, behind one face.

use super::{How, Pools, Spreading};
use crate::episode::Refusal;
use crate::space::Associations;
use crate::spread::activations::Step;
use crate::spread::exact::{Exact, Mass};
use crate::spread::graph::{Graph, UNLAID, Visit};
use crate::spread::push::{Progress, Push, Work};
use crate::spread::state::{Packed, Traced};

/// Nodes of an exact answer that are gone through for each edge that a step was to have.
const NODES_PER_EDGE: u64 = 4;
/// Nodes that an exact answer is given for, at most: it takes 48 bytes for each.
const EXACT_NODES_MAX: u32 = 16 << 20;

/// How far an iteration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Passing,
    Settling,
}

/// An exact answer under way.
#[derive(Debug)]
pub(super) struct Iterating {
    pub(super) exact: Exact,
    phase: Phase,
    /// Mass for nodes that other shards have.
    remote: Vec<(u32, Mass)>,
    /// No more iterations are wanted.
    is_over: bool,
}

#[derive(Debug)]
pub(super) enum Run {
    /// Nothing has been given to any node yet. For an exact answer links are laid out, from this
    /// node on.
    Preparing {
        node: u32,
    },
    Packed(Push<Packed>),
    Traced(Push<Traced>),
    Exact(Iterating),
}

impl Iterating {
    fn step(&mut self, graph: &mut Associations<'_>, nodes: u32, is_alone: bool) -> bool {
        let Self { exact, phase, remote, is_over } = self;
        if *is_over {
            return true;
        }
        match phase {
            Phase::Passing => {
                if exact.pass(graph, nodes) {
                    *phase = Phase::Settling;
                }
                false
            }
            Phase::Settling => {
                if !exact.settle(graph, nodes, |node, mass| remote.push((node, mass))) {
                    return false;
                }
                *phase = Phase::Passing;
                !is_alone || exact.is_over(exact.on_its_way())
            }
        }
    }
}

impl Default for Run {
    fn default() -> Self {
        Self::Preparing { node: 0 }
    }
}

impl Run {
    pub(super) fn grant(&mut self, edges: u64) {
        match self {
            Self::Packed(push) => push.grant(edges),
            Self::Traced(push) => push.grant(edges),
            Self::Preparing { .. } | Self::Exact(_) => {}
        }
    }

    /// Allows no more than so many edges from here on.
    pub(super) fn limit(&mut self, edges: u64) {
        match self {
            Self::Packed(push) => push.limit(edges),
            Self::Traced(push) => push.limit(edges),
            Self::Preparing { .. } | Self::Exact(_) => {}
        }
    }

    /// The work of a push so far.
    pub(super) fn work(&self) -> Option<Work> {
        match self {
            Self::Packed(push) => Some(push.work_so_far()),
            Self::Traced(push) => Some(push.work_so_far()),
            Self::Preparing { .. } | Self::Exact(_) => None,
        }
    }

    /// Bounds how far an exchange goes.
    pub(super) fn set_rounds(&mut self, rounds: Option<u32>) {
        let Some(rounds) = rounds else { return };
        match self {
            Self::Packed(push) => push.set_rounds(rounds),
            Self::Traced(push) => push.set_rounds(rounds),
            Self::Exact(iterating) => iterating.is_over = rounds == 0,
            Self::Preparing { .. } => {}
        }
    }

    /// Puts mass on a node. What is too little to tell is left out.
    pub(super) fn receive(&mut self, graph: &Associations<'_>, node: u32, mass: Mass) {
        match self {
            Self::Packed(push) => _ = push.receive(graph, node, mass.get() as f32),
            Self::Traced(push) => _ = push.receive(graph, node, mass.get() as f32),
            Self::Exact(iterating) => iterating.exact.receive(node, mass),
            Self::Preparing { .. } => unreachable!("it is prepared before it is given anything"),
        }
    }

    /// Goes on for about so many edges; whether the exchange is over. Alone, an exact answer takes
    /// no more than one.
    pub(super) fn step(
        &mut self,
        graph: &mut Associations<'_>,
        edges: u64,
        is_alone: bool,
    ) -> bool {
        match self {
            Self::Preparing { .. } => false,
            Self::Packed(push) => push.step(graph, edges) != Progress::Working,
            Self::Traced(push) => push.step(graph, edges) != Progress::Working,
            Self::Exact(iterating) => {
                let nodes = u32::try_from(edges.saturating_mul(NODES_PER_EDGE));
                iterating.step(graph, nodes.unwrap_or(u32::MAX), is_alone)
            }
        }
    }

    /// Mass for nodes that other shards have.
    pub(super) fn take_remote(&mut self, graph: &mut Associations<'_>) -> Vec<(u32, Mass)> {
        let mut taken = Vec::new();
        let put = |node, mass| taken.push((node, Mass::new(f64::from(mass))));
        match self {
            Self::Preparing { .. } => {}
            Self::Packed(push) => push.hand_over(graph, put),
            Self::Traced(push) => push.hand_over(graph, put),
            Self::Exact(iterating) => return std::mem::take(&mut iterating.remote),
        }
        taken
    }

    /// The strongest way to a node from where mass was put, if ways are noted.
    pub(super) fn path(&self, node: u32) -> Option<Vec<Step>> {
        match self {
            Self::Packed(push) => push.path(node),
            Self::Traced(push) => push.path(node),
            Self::Preparing { .. } | Self::Exact(_) => None,
        }
    }

    pub(super) fn edges(&self) -> u64 {
        match self {
            Self::Packed(push) => push.work_so_far().edges,
            Self::Traced(push) => push.work_so_far().edges,
            Self::Exact(iterating) => iterating.exact.edges(),
            Self::Preparing { .. } => 0,
        }
    }

    pub(super) fn on_its_way(&self) -> Mass {
        match self {
            Self::Exact(iterating) => iterating.exact.on_its_way(),
            _ => Mass::default(),
        }
    }

    /// Gives its memory back.
    pub(super) fn release(self, pools: &mut Pools) {
        match self {
            Self::Packed(push) => pools.packed.release(push.into_workspace()),
            Self::Traced(push) => pools.traced.release(push.into_workspace()),
            Self::Exact(iterating) => pools.release_exact(iterating.exact.bytes()),
            Self::Preparing { .. } => {}
        }
    }
}

impl Spreading {
    pub(super) fn is_preparing(&self) -> bool {
        matches!(self.run, Run::Preparing { .. })
    }

    /// Gets what it takes to begin; whether that is all.
    pub(super) fn prepare(
        &mut self,
        graph: &mut Associations<'_>,
        pools: &mut Pools,
        edges: u64,
    ) -> Result<bool, Refusal> {
        let Run::Preparing { node } = &mut self.run else { return Ok(true) };
        let operator = self.request.operator;
        match self.request.how {
            How::Push { is_traced } => {
                let nodes = graph.nodes();
                self.run = match is_traced {
                    true => {
                        let at = pools.traced.acquire(nodes)?;
                        Run::Traced(Push::new(operator, self.edges_max, at))
                    }
                    false => {
                        let at = pools.packed.acquire(nodes)?;
                        Run::Packed(Push::new(operator, self.edges_max, at))
                    }
                };
                Ok(true)
            }
            How::Exact => {
                if !lay_all_out(graph, node, edges)? {
                    return Ok(false);
                }
                pools.take_exact(Exact::bytes_for(graph.nodes()))?;
                let exact = Exact::new(operator, graph.nodes());
                let (phase, remote, is_over) = (Phase::Passing, Vec::new(), false);
                self.run = Run::Exact(Iterating { exact, phase, remote, is_over });
                Ok(true)
            }
        }
    }
}

/// Lays links out for about so many edges; whether all are, and so all numbers given.
fn lay_all_out(graph: &mut Associations<'_>, node: &mut u32, edges: u64) -> Result<bool, Refusal> {
    let nodes = graph.nodes();
    if nodes > EXACT_NODES_MAX {
        let (what, got) = ("the graph of an exact answer", nodes as usize);
        return Err(Refusal::TooBig { what, got, max: EXACT_NODES_MAX as usize });
    }
    let mut left = edges.saturating_mul(NODES_PER_EDGE);
    while *node < nodes && left > 0 {
        left -= 1;
        if let Visit::Here { start: UNLAID, scale } = graph.visit(*node) {
            graph.lay_out(*node);
            left = left.saturating_sub(u64::from(scale.fan) * NODES_PER_EDGE);
        }
        *node += 1;
    }
    Ok(*node >= nodes)
}
