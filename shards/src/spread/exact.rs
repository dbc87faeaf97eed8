//! The truth that a push is judged by: power iteration over every link, in double precision.
//!
//! The operator is the very same, down to the scales as they are stored; only the arithmetic is
//! wider, and nothing is left waiting. The answer of a depth is what scores are with no threshold
//! and edges without end: mass that has gone so many links keeps its share and goes no further.

use super::graph::Graph;
use super::operator::Operator;

/// With less mass left on its way than this part of what there was, the answer is exact enough.
const REST: f64 = 1e-12;
/// Iterations after which it ends in any case.
const ITERATIONS_MAX: u32 = 10_000;

/// Power iteration under way.
#[derive(Debug)]
pub struct Exact {
    operator: Operator,
    mass_begun: f64,
    iterations: u32,
    at: u32,
    now: Vec<f64>,
    next: Vec<f64>,
    scores: Vec<f64>,
}

impl Exact {
    /// # Panics
    /// When a seed is not among the nodes.
    pub fn new(operator: Operator, nodes: u32, seeds: &[(u32, f32)]) -> Self {
        let zeros = vec![0.0; nodes as usize];
        let mut now = zeros.clone();
        seeds.iter().for_each(|(node, mass)| now[*node as usize] += f64::from(*mass));
        let mass_begun = now.iter().sum();
        let (next, scores) = (zeros.clone(), zeros);
        Self { operator, mass_begun, iterations: 0, at: 0, now, next, scores }
    }

    /// Goes on for so many nodes; whether it is over. The links must not change in between.
    pub fn step(&mut self, graph: &Graph<'_>, nodes_max: u32) -> bool {
        let nodes = self.now.len() as u32;
        let until = self.at.saturating_add(nodes_max).min(nodes);
        let is_last = self.iterations == self.operator.settings().depth_max;
        for node in self.at..until {
            self.pass_on(graph, node, is_last);
        }
        self.at = until;
        if until < nodes {
            return false;
        }
        let left: f64 = self.next.iter().sum();
        std::mem::swap(&mut self.now, &mut self.next);
        self.next.fill(0.0);
        self.at = 0;
        self.iterations += 1;
        is_last || left <= REST * self.mass_begun || self.iterations == ITERATIONS_MAX
    }

    fn pass_on(&mut self, graph: &Graph<'_>, node: u32, is_last: bool) {
        let mass = self.now[node as usize];
        if mass == 0.0 {
            return;
        }
        let decay = f64::from(self.operator.settings().decay);
        let scale = graph.scale(node);
        if scale.fan == 0 && !is_last {
            self.scores[node as usize] += mass;
            return;
        }
        self.scores[node as usize] += (1.0 - decay) * mass;
        if is_last {
            return;
        }
        let outflow = f64::from(self.operator.outflow(scale));
        let per_weight = decay * mass * outflow * f64::from(scale.inverse_sum);
        for edge in graph.links(node) {
            if let Some(next) = self.next.get_mut(edge.target as usize) {
                *next += per_weight * f64::from(edge.weight.get());
            }
        }
    }

    /// The score of every node.
    pub fn into_scores(self) -> Vec<f64> {
        self.scores
    }

    /// Everything at once.
    pub fn scores(operator: Operator, graph: &Graph<'_>, seeds: &[(u32, f32)]) -> Vec<f64> {
        let mut exact = Self::new(operator, graph.nodes(), seeds);
        while !exact.step(graph, u32::MAX) {}
        exact.into_scores()
    }
}
