//! What is known about a push before it runs.
//!
//! How long a push takes depends on how many edges it visits, and where its budget does not end it,
//! the threshold does: somewhere, and nobody knows where without going there. But much is known
//! from its seeds. Count mass in thresholds. A seed of mass m and n links has its turn if m ≥ n,
//! and then each of its links carries decay · m / n; it is the same for each node that mass comes
//! to afterwards. So what one link leads to depends on what it carries and on the graph behind it,
//! and on nothing else:
//!
//! ```text
//! edges = Σ over seeds  n + Σ over their links  G(carried)
//! ```
//!
//! G(c) is 0 below 1, as then nobody has a turn. Where mass only divides it is at most c / (1 −
//! decay), and it grows a little more slowly than c, or a little faster, by how the degrees of the
//! graph are distributed. So it is taken as c · s(log c), where s is made of straight pieces
//! between the [`KNOTS`]. The values of s at the knots belong to the graph and are learned
//! (`predictor.rs`); what a push adds up at each knot is here.
//!
//! **Looking ahead.** Applied at the seeds this leaves their neighbours unknown, and a neighbour
//! with thousands of links makes a push something else. So up to [`LOOKS_MAX`] neighbours are asked
//! how many links they have, and the same sum begins one link further on. Wu, Chi, Zhu, Tatemura,
//! Hacıgümüş and Naughton ("Predicting query execution time: are optimizer cost models really
//! unusable?", 2013) found of databases that once costs are calibrated, nearly all that remains of
//! the error is in how many rows there will be, and that it pays to look at some data before.
//!
//! It also tells what edges do not. When a round begins, all nodes that wait are asked whether they
//! have enough, and most have not: with hubs around, the third round asks thousands for the sake of
//! the few edges that are left. Whether it comes to that is decided by what the neighbours have.
//! Without looking a push of 4,096 edges on a power-law graph is predicted within a fifth in 85 of
//! 100 cases, with it in 97. The lines that were looked at are those that the push begins with, so
//! most of what it costs the push does not pay again: together they take 0 to 8 % longer than the
//! push alone (`perf/src/spread_predictions.rs`).

use super::graph::{Graph, UNLAID, Visit};
use super::link::Scale;
use super::operator::{DEPTH_UNLIMITED, Operator, Settings};
use super::push::{MASS_MAX, MASS_MIN};

/// Places between which s is straight: a link that carries 1 threshold, 8, 64, 512, and 4,096.
/// Beyond the last it is constant.
pub const KNOTS: usize = 5;
const LOG2_BETWEEN_KNOTS: f64 = 3.0;
/// Neighbours that are looked at, of all seeds together and of one.
pub const LOOKS_MAX: u32 = 512;
pub const LOOKS_PER_SEED_MAX: u32 = 32;
/// By how much one more link divides what mass is left at least, where the depth is bounded.
const DIVIDED_BY_HOP: f64 = 16.0;

/// What is known about a push before it runs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Known {
    /// Edges that it may visit.
    pub edges_max: u64,
    /// Edges that it visits for certain if it may.
    pub(super) certain: f64,
    /// Mass that goes on beyond what was looked at, in thresholds, by the knots that it is near.
    pub(super) beyond: [f64; KNOTS],
    /// Nodes that are asked whether they have enough: seeds and their neighbours, and those that
    /// come after if edges are left for them.
    pub(super) asked: f64,
    pub(super) asked_next: f64,
}

impl Known {
    /// Looks at seeds, with their masses, and at their neighbours. What a push would refuse is
    /// passed over, and links that are not laid out are only counted.
    pub fn new(
        graph: &mut impl Graph,
        operator: &Operator,
        seeds: &[(u32, f32)],
        edges_max: u64,
    ) -> Self {
        seeds.iter().for_each(|(node, _)| graph.prefetch(*node));
        let known = Self { edges_max, ..Self::default() };
        let mut looking = Looking { graph, operator, looks_left: LOOKS_MAX, known };
        let seeds: Vec<Seed> = seeds.iter().filter_map(|seed| looking.count(*seed)).collect();
        let Known { certain, .. } = looking.known;
        if operator.settings().depth_max < 2 || certain >= edges_max as f64 {
            return looking.known;
        }
        looking.ask_for_neighbours(&seeds);
        seeds.iter().for_each(|seed| looking.look(seed));
        looking.known
    }

    /// Nodes asked, if so many edges are visited. Beyond what was looked at each edge leads to a
    /// node that is asked.
    pub(super) fn asked_with(&self, edges: f64) -> f64 {
        let next = if self.edges_max as f64 > self.certain { self.asked_next } else { 0.0 };
        self.asked + next + (edges - self.certain).max(0.0)
    }
}

/// Finding out.
struct Looking<'a, G> {
    graph: &'a mut G,
    operator: &'a Operator,
    looks_left: u32,
    known: Known,
}

/// A seed that passes something on.
struct Seed {
    node: u32,
    scale: Scale,
    start: u32,
    /// How many times it has what its turn takes.
    wealth: f64,
}

impl Seed {
    /// Links of it that are looked at, at most.
    fn looks(&self) -> u32 {
        if self.start == UNLAID { 0 } else { self.scale.fan.min(LOOKS_PER_SEED_MAX) }
    }
}

impl<G: Graph> Looking<'_, G> {
    /// What holds for the links of a node, and where they are.
    fn visit(&mut self, node: u32) -> Option<(Scale, u32)> {
        match self.graph.visit(node) {
            Visit::Here { scale, start } => Some((scale, start)),
            Visit::Elsewhere(_) | Visit::Remote => None,
        }
    }

    /// Counts the links of a seed. One that has too little comes last, and nobody after it.
    fn count(&mut self, (node, mass): (u32, f32)) -> Option<Seed> {
        self.known.asked += 1.0;
        if !(MASS_MIN..=MASS_MAX).contains(&mass) {
            return None;
        }
        let Settings { threshold, depth_max, .. } = *self.operator.settings();
        let (scale, start) = self.visit(node)?;
        let wealth = self.wealth(scale, f64::from(mass) / f64::from(threshold));
        if depth_max == 0 || wealth <= 0.0 {
            return None;
        }
        self.known.certain += f64::from(scale.fan);
        let seed = Seed { node, scale, start, wealth };
        if seed.looks() > 0 {
            self.graph.prefetch_links(node, start, scale.fan);
        }
        Some(seed)
    }

    /// Asks the caches for the heads of those that will be looked at.
    fn ask_for_neighbours(&self, seeds: &[Seed]) {
        let mut left = LOOKS_MAX as usize;
        for seed in seeds {
            let links = self.graph.links(seed.node, seed.start, seed.looks());
            for edge in links.edges.iter().take(left) {
                self.graph.prefetch(links.target(*edge));
            }
            left = left.saturating_sub(links.edges.len());
        }
    }

    /// Looks at the neighbours of a seed, as many as are left to be looked at. Each stands for as
    /// many as were not.
    fn look(&mut self, seed: &Seed) {
        let Seed { node, scale, start, wealth } = *seed;
        let carried = self.carried(wealth);
        if wealth < 1.0 || carried < 1.0 {
            return;
        }
        let links = f64::from(scale.fan);
        self.known.asked += links;
        let depth_max = self.operator.settings().depth_max;
        let looks = seed.looks().min(self.looks_left);
        if looks == 0 {
            return self.go_on(carried, depth_max - 1, links);
        }
        self.looks_left -= looks;
        let stands_for = links / f64::from(looks);
        let per_weight = carried * links * f64::from(scale.inverse_sum);
        for nth in 0..looks as usize {
            let own = self.graph.links(node, start, looks);
            let Some(edge) = own.edges.get(nth) else { break };
            let (target, weight) = (own.target(*edge), f64::from(edge.weight.get()));
            let Some((next, _)) = self.visit(target) else { continue };
            let wealth = self.wealth(next, per_weight * weight);
            if wealth >= 1.0 {
                let links = stands_for * f64::from(next.fan);
                self.known.certain += links;
                let carried = self.carried(wealth);
                if carried >= 1.0 {
                    self.known.asked_next += links;
                    self.go_on(carried, depth_max - 2, links);
                }
            }
        }
    }

    /// How many times a node has what its turn takes; 0 if it passes nothing on.
    fn wealth(&self, scale: Scale, thresholds: f64) -> f64 {
        match scale.fan {
            0 => 0.0,
            fan => thresholds * f64::from(self.operator.outflow(scale)) / f64::from(fan),
        }
    }

    /// What each link of a node then carries, in thresholds.
    fn carried(&self, wealth: f64) -> f64 {
        f64::from(self.operator.settings().decay) * wealth
    }

    /// Adds up what goes on along some links that carry a threshold or more each.
    fn go_on(&mut self, carried: f64, hops_left: u32, links: f64) {
        if hops_left == 0 {
            return;
        }
        let reaches = match self.operator.settings().depth_max {
            DEPTH_UNLIMITED => carried,
            _ => carried.min(DIVIDED_BY_HOP.powi(hops_left.min(16) as i32)),
        };
        let at = (log2(reaches) / LOG2_BETWEEN_KNOTS).min((KNOTS - 1) as f64);
        let below = (at as usize).min(KNOTS - 2);
        let above_by = at - below as f64;
        self.known.beyond[below] += links * reaches * (1.0 - above_by);
        self.known.beyond[below + 1] += links * reaches * above_by;
    }
}

/// The logarithm to base 2 of a number from 1 on, straight between powers of 2: exact enough for
/// where a knot is, and ten times as fast.
fn log2(number: f64) -> f64 {
    const FRACTION_BITS: u32 = f64::MANTISSA_DIGITS - 1;
    let (bits, one) = (number.to_bits(), 1.0_f64.to_bits());
    (bits - one) as f64 / (1_u64 << FRACTION_BITS) as f64
}

#[cfg(test)]
mod tests {
    use super::super::csr::CsrBuf;
    use super::super::link::Link;
    use super::super::operator::Fan;
    use super::super::push::Push;
    use super::super::state::Packed;
    use super::super::workspace::Pool;
    use super::*;

    /// A node with `fan` links to others that each link back.
    fn star(fan: u32) -> CsrBuf {
        let both = |node| [(0, node), (node, 0)];
        let links = (1..=fan).flat_map(both);
        let links = links.map(|(source, target)| Link::new(source, target, 0, 1.0).unwrap());
        CsrBuf::build(fan + 1, links.collect()).unwrap()
    }

    fn known(of: &CsrBuf, settings: Settings, seeds: &[(u32, f32)], edges_max: u64) -> Known {
        Known::new(&mut of.view(), &Operator::new(settings).unwrap(), seeds, edges_max)
    }

    /// What one push visits that may do so without bound.
    fn visited(of: &CsrBuf, settings: Settings, seeds: &[(u32, f32)]) -> u64 {
        let mut graph = of.view();
        let mut pool: Pool<Packed> = Pool::new(1 << 24);
        let operator = Operator::new(settings).unwrap();
        let mut push = Push::new(operator, u64::MAX, pool.acquire(graph.nodes()).unwrap());
        seeds.iter().for_each(|(node, mass)| push.receive(&graph, *node, *mass).unwrap());
        push.run(&mut graph);
        push.finish(&mut graph).work().edges
    }

    #[test]
    fn neighbours_are_looked_at_as_far_as_depth_and_budget_go() {
        let of = star(16);
        let depth = |depth_max| Settings { depth_max, threshold: 5e-5, ..Settings::default() };
        let seeds = [(0, 1.0)];
        // 20,000 thresholds: 16 links carry 625 each, and those that come back half of it.
        let far = known(&of, depth(DEPTH_UNLIMITED), &seeds, 1 << 20);
        assert_eq!((far.certain, far.asked, far.asked_next), (32.0, 17.0, 16.0));
        assert!((far.beyond.iter().sum::<f64>() - 5000.0).abs() < 1.0, "{far:?}");
        let two = known(&of, depth(2), &seeds, 1 << 20);
        assert_eq!((two.certain, two.beyond), (32.0, [0.0; KNOTS]));
        let one = known(&of, depth(1), &seeds, 1 << 20);
        assert_eq!((one.certain, one.asked, one.asked_next), (16.0, 1.0, 0.0));
        assert_eq!(known(&of, depth(0), &seeds, 1 << 20).certain, 0.0);
        // Seeds that use up the budget spare their neighbours.
        let short = known(&of, depth(DEPTH_UNLIMITED), &seeds, 16);
        assert_eq!((short.certain, short.asked, short.asked_next), (16.0, 1.0, 0.0));
    }

    #[test]
    fn with_a_depth_of_two_a_push_visits_what_is_certain() {
        let settings = Settings { depth_max: 2, ..Settings::default() };
        let strong = Settings { fan: Fan::Strength(3.0), ..settings };
        let capped = Settings { fan_cap: 4, ..settings };
        for settings in [settings, strong, capped] {
            for seeds in [&[(0, 1.0)][..], &[(3, 1.0)], &[(0, 0.5), (7, 0.5)]] {
                let of = star(12);
                let known = known(&of, settings, seeds, 1 << 20);
                assert_eq!(known.certain, visited(&of, settings, seeds) as f64, "{settings:?}");
            }
        }
    }

    #[test]
    fn of_a_hub_some_neighbours_stand_for_all() {
        let of = star(10 * LOOKS_PER_SEED_MAX);
        let settings = Settings { threshold: 1e-6, ..Settings::default() };
        let known = known(&of, settings, &[(0, 1.0)], 1 << 20);
        assert_eq!((known.certain, known.asked), (640.0, 321.0));
    }

    #[test]
    fn a_poor_seed_visits_its_own_links_and_leads_nowhere() {
        let known = known(&star(100), Settings::default(), &[(0, 1e-3)], 1 << 20);
        assert_eq!((known.certain, known.asked), (100.0, 1.0));
        assert_eq!((known.asked_next, known.beyond), (0.0, [0.0; KNOTS]));
    }

    #[test]
    fn seeds_that_a_push_would_refuse_are_passed_over() {
        let seeds = [0.0, -1.0, f32::NAN, f32::INFINITY].map(|mass| (0, mass));
        let known = known(&star(3), Settings::default(), &[&seeds[..], &[(99, 1.0)]].concat(), 9);
        assert_eq!((known.certain, known.beyond), (0.0, [0.0; KNOTS]));
    }
}
