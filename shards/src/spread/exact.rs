//! The truth that a push is judged by: power iteration over every link.
//!
//! The operator is the very same, down to the scales as they are stored, and nothing is left
//! waiting. The answer of a depth is what scores are with no threshold and edges without end: mass
//! that has gone so many links keeps its share and goes no further.
//!
//! **The same bits whatever the order.** Mass is counted in whole units of 2⁻⁶⁴. What goes along a
//! link depends on nothing but the mass of its source and the link; sums of integers do not depend
//! on the order of what is added. So it makes no difference how nodes are numbered, in which order
//! links lie, or on how many shards the nodes are, as long as whoever drives them takes what one
//! [hands over](Exact::settle) to the other before it [passes](Exact::pass) on.

use super::graph::{Graph, UNLAID, Visit};
use super::operator::Operator;

/// Iterations after which it ends in any case.
const ITERATIONS_MAX: u32 = 10_000;
/// With less on its way, the answer is exact enough: 10⁻¹² of a mass of 1.
const REST: Mass = Mass(1 << 24);

/// Mass in units of 2⁻⁶⁴.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mass(u128);

impl Mass {
    const UNITS: f64 = (1_u128 << 64) as f64;

    /// Of a number from 0 up to [`GROWTH_MAX`](super::operator::GROWTH_MAX).
    pub fn new(mass: f64) -> Self {
        Self((mass * Self::UNITS) as u128)
    }

    pub fn get(self) -> f64 {
        self.0 as f64 / Self::UNITS
    }

    /// A share of it, or a multiple.
    fn times(self, share: f64) -> Self {
        Self((self.0 as f64 * share) as u128)
    }

    /// Pays as much of a mass as there is; what is left of it.
    pub fn settle(&mut self, mass: Self) -> Self {
        let paid = self.0.min(mass.0);
        self.0 -= paid;
        Self(mass.0 - paid)
    }

    pub fn add(&mut self, other: Self) {
        self.0 = self.0.saturating_add(other.0);
    }
}

/// Power iteration under way. An iteration is settled, then passed.
#[derive(Debug)]
pub struct Exact {
    operator: Operator,
    iterations: u32,
    edges: u64,
    /// The next node to settle or to pass.
    at: u32,
    now: Vec<Mass>,
    next: Vec<Mass>,
    scores: Vec<Mass>,
}

impl Exact {
    /// Without any mass yet.
    pub fn new(operator: Operator, nodes: u32) -> Self {
        let zeros = vec![Mass::default(); nodes as usize];
        let (now, next, scores) = (zeros.clone(), zeros.clone(), zeros);
        Self { operator, iterations: 0, edges: 0, at: 0, now, next, scores }
    }

    /// Bytes that so many nodes take.
    pub fn bytes_for(nodes: u32) -> usize {
        3 * nodes as usize * size_of::<Mass>()
    }

    pub fn bytes(&self) -> usize {
        Self::bytes_for(self.now.len() as u32)
    }

    /// Takes the mass of a seed, or what another shard has handed over in this iteration. A node
    /// that is not there takes none.
    pub fn receive(&mut self, node: u32, mass: Mass) {
        self.now.get_mut(node as usize).into_iter().for_each(|now| now.add(mass));
    }

    /// Goes through so many nodes that stand for others: theirs gets what they have, and what other
    /// shards have is handed over. Whether all are settled.
    pub fn settle(
        &mut self,
        graph: &mut impl Graph,
        nodes_max: u32,
        mut hand_over: impl FnMut(u32, Mass),
    ) -> bool {
        let until = self.until(nodes_max);
        for node in self.at..until {
            if graph.is_here(node) || self.now[node as usize] == Mass::default() {
                continue;
            }
            match graph.visit(node) {
                Visit::Here { .. } => {}
                Visit::Elsewhere(to) => {
                    let mass = std::mem::take(&mut self.now[node as usize]);
                    self.receive(to, mass);
                }
                Visit::Remote => hand_over(node, std::mem::take(&mut self.now[node as usize])),
            }
        }
        self.went_to(until)
    }

    /// Passes on what so many nodes have; whether the iteration is over. The links must not change
    /// while one is under way.
    pub fn pass(&mut self, graph: &mut impl Graph, nodes_max: u32) -> bool {
        let until = self.until(nodes_max);
        let is_last = self.iterations == self.operator.settings().depth_max;
        for node in self.at..until {
            self.pass_on(graph, node, is_last);
        }
        if !self.went_to(until) {
            return false;
        }
        std::mem::swap(&mut self.now, &mut self.next);
        self.next.fill(Mass::default());
        self.iterations += 1;
        true
    }

    fn until(&self, nodes_max: u32) -> u32 {
        self.at.saturating_add(nodes_max).min(self.now.len() as u32)
    }

    fn went_to(&mut self, until: u32) -> bool {
        let is_all = until as usize == self.now.len();
        self.at = if is_all { 0 } else { until };
        is_all
    }

    fn pass_on(&mut self, graph: &mut impl Graph, node: u32, is_last: bool) {
        let mass = self.now[node as usize];
        if mass == Mass::default() {
            return;
        }
        let score = &mut self.scores[node as usize];
        let settings = self.operator.settings();
        let decay = f64::from(settings.decay);
        let Visit::Here { mut scale, mut start } = graph.visit(node) else {
            // From here it goes nowhere.
            return score.add(mass);
        };
        let outflow = if scale.fan == 0 { 0.0 } else { self.operator.outflow(scale) };
        let has_similar = settings.similar > 0.0 && graph.has_similar(node);
        let (outflow, similar) = self.operator.shares(outflow, has_similar);
        if scale.fan == 0 && !has_similar && !is_last {
            return score.add(mass);
        }
        score.add(mass.times(1.0 - decay));
        if is_last {
            return;
        }
        if start == UNLAID {
            (scale, start) = graph.lay_out(node);
        }
        let per_weight = decay * f64::from(outflow) * f64::from(scale.inverse_sum);
        let links = graph.links(node, start, scale.fan);
        self.edges += links.edges.len() as u64;
        for edge in links.edges {
            if let Some(next) = self.next.get_mut(links.target(*edge) as usize) {
                next.add(mass.times(per_weight * f64::from(edge.weight.get())));
            }
        }
        if similar > 0.0 {
            for (target, share) in graph.similar(node).shares() {
                if let Some(next) = self.next.get_mut(target as usize) {
                    next.add(mass.times(decay * f64::from(similar) * f64::from(share)));
                }
            }
        }
    }

    /// The mass that is on its way, between two iterations.
    pub fn on_its_way(&self) -> Mass {
        let mut sum = Mass::default();
        self.now.iter().for_each(|mass| sum.add(*mass));
        sum
    }

    /// Whether the answer is there, when so much is on its way on all shards together.
    pub fn is_over(&self, on_its_way: Mass) -> bool {
        Self::is_enough(self.operator, self.iterations, on_its_way)
    }

    /// Whether so many iterations give the answer, when so much is on its way then.
    pub fn is_enough(operator: Operator, iterations: u32, on_its_way: Mass) -> bool {
        let depth_max = operator.settings().depth_max;
        on_its_way <= REST || iterations > depth_max || iterations == ITERATIONS_MAX
    }

    /// Edges visited, each as often as it was.
    pub fn edges(&self) -> u64 {
        self.edges
    }

    /// Nodes that mass came to.
    pub fn nodes_touched(&self) -> u64 {
        self.scores.iter().filter(|mass| **mass > Mass::default()).count() as u64
    }

    pub fn score(&self, node: u32) -> f64 {
        self.scores.get(node as usize).map_or(0.0, |mass| mass.get())
    }

    /// The score of every node.
    pub fn scores(&self) -> impl Iterator<Item = f64> {
        self.scores.iter().map(|mass| mass.get())
    }

    /// Everything at once, where nothing is remote.
    pub fn all(operator: Operator, graph: &mut impl Graph, seeds: &[(u32, f32)]) -> Vec<f64> {
        let mut exact = Self::new(operator, graph.nodes());
        seeds.iter().for_each(|(node, mass)| exact.receive(*node, Mass::new(f64::from(*mass))));
        while !exact.is_over(exact.on_its_way()) {
            exact.settle(graph, u32::MAX, |_, _| ());
            exact.pass(graph, u32::MAX);
        }
        exact.scores().collect()
    }
}
