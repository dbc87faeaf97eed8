//! Pushes against the exact answer, and everything a push must never do.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::activations::{Activations, Step};
use super::csr::{Csr, CsrBuf};
use super::exact::{Exact, Mass};
use super::graph::{Graph, Links, Similar, Visit};
use super::link::{KIND_SIMILAR, Link};
use super::operator::{DEPTH_UNLIMITED, Fan, Operator, Settings};
use super::push::{Progress, Push, SeedError};
use super::state::{Packed, State, Traced};
use super::workspace::Pool;

/// Links, and nodes that are not what they were.
struct World {
    base: CsrBuf,
    elsewhere: BTreeMap<u32, u32>,
    remote: BTreeSet<u32>,
    /// Those most similar to some nodes, the nearest first.
    similar: BTreeMap<u32, Vec<u32>>,
}

impl World {
    fn new(nodes: u32, links: &[(u32, u32, f32)]) -> Self {
        let links = links.iter().map(|(source, target, weight)| link(*source, *target, *weight));
        let base = CsrBuf::build(nodes, links.collect()).unwrap();
        Self { base, elsewhere: BTreeMap::new(), remote: BTreeSet::new(), similar: BTreeMap::new() }
    }

    fn graph(&self) -> View<'_> {
        let Self { base, elsewhere, remote, similar } = self;
        View { csr: base.view(), elsewhere, remote, similar }
    }
}

#[derive(Clone, Copy)]
struct View<'a> {
    csr: Csr<'a>,
    elsewhere: &'a BTreeMap<u32, u32>,
    remote: &'a BTreeSet<u32>,
    similar: &'a BTreeMap<u32, Vec<u32>>,
}

impl Graph for View<'_> {
    fn has_similar(&self, node: u32) -> bool {
        self.similar.contains_key(&node)
    }

    fn similar(&self, node: u32) -> Similar {
        let mut similar = Similar::default();
        self.similar.get(&node).into_iter().flatten().for_each(|node| similar.push(*node));
        similar
    }

    fn nodes(&self) -> u32 {
        Graph::nodes(&self.csr)
    }

    fn visit(&mut self, node: u32) -> Visit {
        match self.elsewhere.get(&node) {
            Some(to) => Visit::Elsewhere(*to),
            None if self.remote.contains(&node) => Visit::Remote,
            None => self.csr.visit(node),
        }
    }

    fn is_here(&self, node: u32) -> bool {
        !self.elsewhere.contains_key(&node) && !self.remote.contains(&node)
    }

    fn links(&self, node: u32, start: u32, fan: u32) -> Links<'_> {
        self.csr.links(node, start, fan)
    }

    fn prefetch(&self, node: u32) {
        self.csr.prefetch(node);
    }

    fn prefetch_links(&self, node: u32, start: u32, fan: u32) {
        self.csr.prefetch_links(node, start, fan);
    }
}

fn link(source: u32, target: u32, weight: f32) -> Link {
    Link::new(source, target, 0, weight).unwrap()
}

fn operator(change: impl Fn(&mut Settings)) -> Operator {
    let mut settings = Settings { threshold: 1e-9, ..Settings::default() };
    change(&mut settings);
    Operator::new(settings).unwrap()
}

fn begin<S: State>(
    world: &World,
    operator: Operator,
    edges_max: u64,
    seeds: &[(u32, f32)],
) -> Push<S> {
    let mut pool = Pool::new(1 << 30);
    let mut push = Push::new(operator, edges_max, pool.acquire(world.graph().nodes()).unwrap());
    for (node, mass) in seeds {
        push.receive(&world.graph(), *node, *mass).unwrap();
    }
    push
}

fn spread(
    world: &World,
    operator: Operator,
    edges_max: u64,
    seeds: &[(u32, f32)],
) -> Activations<Packed> {
    let mut push = begin(world, operator, edges_max, seeds);
    push.run(&mut world.graph());
    push.finish(&mut world.graph())
}

fn bits<S: State>(activations: &Activations<S>, nodes: u32) -> Vec<u32> {
    (0..nodes).map(|node| activations.score(node).to_bits()).collect()
}

// ---- Small worlds --------------------------------------------------------------------------

#[test]
fn mass_halves_along_a_chain() {
    let world = World::new(4, &[(0, 1, 1.0), (1, 2, 3.0), (2, 3, 0.5)]);
    let got = spread(&world, operator(|_| ()), 100, &[(0, 1.0)]);
    assert_eq!([0, 1, 2, 3].map(|node| got.score(node)), [0.5, 0.25, 0.125, 0.125]);
    let work = got.work();
    assert_eq!((work.edges, work.turns, work.nodes_touched, work.was_spent), (3, 3, 4, false));
}

#[test]
fn weights_divide_what_leaves_a_node() {
    let world = World::new(3, &[(0, 1, 3.0), (0, 2, 1.0)]);
    let got = spread(&world, operator(|of| of.decay = 0.8), 100, &[(0, 1.0)]);
    let scores = [1, 2].map(|node| got.score(node));
    assert!((scores[0] - 0.6).abs() < 1e-6 && (scores[1] - 0.2).abs() < 1e-6, "{scores:?}");
}

#[test]
fn with_no_edges_or_no_depth_there_are_the_seeds_alone() {
    let world = World::new(3, &[(0, 1, 1.0), (1, 2, 1.0)]);
    let seeds = [(0, 0.5), (1, 0.25), (0, 0.25)];
    let none = operator(|of| of.depth_max = 0);
    for got in [spread(&world, operator(|_| ()), 0, &seeds), spread(&world, none, 100, &seeds)] {
        assert_eq!([0, 1, 2].map(|node| got.score(node)), [0.375, 0.125, 0.0]);
        assert_eq!((got.work().edges, got.touched()), (0, &[0, 1][..]));
    }
}

#[test]
fn a_depth_is_how_far_mass_goes() {
    let world = World::new(5, &[(0, 1, 1.0), (1, 2, 1.0), (2, 3, 1.0), (3, 4, 1.0), (1, 0, 1.0)]);
    for depth_max in 0..4 {
        let got = spread(&world, operator(|of| of.depth_max = depth_max), 100, &[(0, 1.0)]);
        let reached = got.touched().iter().max().copied();
        assert_eq!(reached, Some(depth_max));
        assert_eq!(got.work().rounds, depth_max);
    }
}

#[test]
fn a_self_link_brings_mass_back() {
    // Half stays, half of the rest comes back: 1/2 + 1/8 + 1/32 … is two thirds.
    let world = World::new(2, &[(0, 0, 1.0), (0, 1, 1.0)]);
    let got = spread(&world, operator(|_| ()), 1000, &[(0, 1.0)]);
    assert!((got.score(0) - 2.0 / 3.0).abs() < 1e-6, "{}", got.score(0));
    assert!((got.score(1) - 1.0 / 3.0).abs() < 1e-6, "{}", got.score(1));
}

#[test]
fn a_cycle_ends() {
    let world = World::new(3, &[(0, 1, 1.0), (1, 2, 1.0), (2, 0, 1.0)]);
    let hold = operator(|of| (of.decay, of.threshold) = (0.99, 1e-6));
    let got = spread(&world, hold, 1_000_000, &[(0, 1.0)]);
    // The bound on edges that a threshold sets.
    assert!(!got.work().was_spent && got.work().edges <= 100_000_000, "{:?}", got.work());
    assert!(got.work().edges > 1000);
    assert!((0..3).map(|node| got.score(node)).sum::<f32>() > 0.99);
}

#[test]
fn mass_that_is_none_and_nodes_that_are_not_there_are_refused() {
    let world = World::new(2, &[(0, 1, 1.0)]);
    let mut push: Push<Packed> = begin(&world, operator(|_| ()), 10, &[]);
    for mass in [f32::NAN, -1.0, 0.0, f32::INFINITY, 2e12, 1e-13] {
        let refused = push.receive(&world.graph(), 0, mass).unwrap_err();
        assert!(refused.to_string().contains(&mass.to_string()), "{refused}");
    }
    let refused = push.receive(&world.graph(), 2, 1.0).unwrap_err();
    assert_eq!(refused, SeedError::Node { node: 2, nodes: 2 });
    assert_eq!(push.run(&mut world.graph()), Progress::Done);
    assert!(push.finish(&mut world.graph()).touched().is_empty());
}

#[test]
fn a_million_links_on_a_node_cost_no_more_than_the_edges_allowed() {
    let nodes = 1_000_001;
    let mut links: Vec<_> = (1..nodes).map(|target| (0, target, 1.0)).collect();
    links.push((1, 0, 1.0));
    let world = World::new(nodes, &links);
    // The hub waits until the other seed is done, and then gets what is left.
    let eager = operator(|of| of.threshold = 1e-3);
    let got = spread(&world, eager, 4096, &[(0, 0.5), (1, 0.5)]);
    let (work, ledger) = (got.work(), got.ledger());
    assert_eq!((work.edges, work.was_spent), (4096, true));
    assert!(got.score(4000) > 0.0 && got.score(4097) == 0.0);
    let sum = ledger.activation + ledger.residual + ledger.cut_off;
    assert!(ledger.cut_off > 0.3 && (sum - 1.0).abs() < 1e-6, "{ledger:?}");
    // In steps of a few, the same.
    let mut push: Push<Packed> = begin(&world, eager, 4096, &[(0, 0.5), (1, 0.5)]);
    while push.step(&mut world.graph(), 100) == Progress::Working {}
    assert_eq!(bits(&push.finish(&mut world.graph()), nodes), bits(&got, nodes));
}

#[test]
fn a_seed_that_waited_and_had_its_turn_after_all_gets_no_second() {
    // The hub has too little for its links at first, and enough when the other seed has given.
    let mut links: Vec<_> = (2..102).map(|target| (0, target, 1.0)).collect();
    links.push((1, 0, 1.0));
    let world = World::new(102, &links);
    let hasty = operator(|of| of.threshold = 3e-3);
    let got = spread(&world, hasty, 10_000, &[(0, 0.1), (1, 0.9)]);
    assert_eq!((got.work().edges, got.work().turns), (101, 2));
    let alone = spread(&world, hasty, 10_000, &[(0, 0.1)]);
    assert_eq!((alone.work().edges, alone.work().turns), (100, 1));
}

#[test]
fn hubs_keep_back_what_the_cap_says() {
    let links: Vec<_> = (1..=40).map(|target| (0, target, 1.0)).collect();
    let world = World::new(41, &links);
    let got = spread(&world, operator(|of| of.fan_cap = 10), 100, &[(0, 1.0)]);
    assert!((got.score(7) - 0.5 * 0.25 / 40.0).abs() < 1e-7);
    assert!((got.ledger().inhibited - 0.375).abs() < 1e-6);
    // A hub whose turn does not come keeps nothing back.
    let two = World::new(6, &[(0, 2, 1.0), (0, 3, 1.0), (1, 4, 1.0), (1, 5, 1.0)]);
    let got = spread(&two, operator(|of| of.fan_cap = 1), 2, &[(0, 0.5), (1, 0.5)]);
    assert!((got.ledger().inhibited - 0.125).abs() < 1e-6, "{:?}", got.ledger());
    let strength = operator(|of| (of.fan, of.depth_max) = (Fan::Strength(2.0), 3));
    let got = spread(&world, strength, 100, &[(0, 1.0)]);
    assert_eq!((got.score(0), got.work().edges), (0.5, 0));
    assert_eq!(got.touched(), [0]);
}

#[test]
fn mass_for_remote_nodes_is_handed_over_once_for_each() {
    let mut world = World::new(4, &[(0, 2, 1.0), (0, 3, 1.0), (1, 2, 1.0)]);
    world.remote.insert(2);
    let mut push: Push<Packed> = begin(&world, operator(|_| ()), 100, &[(0, 0.5), (1, 0.5)]);
    assert_eq!(push.run(&mut world.graph()), Progress::Done);
    let mut handed = Vec::new();
    push.hand_over(&mut world.graph(), |node, mass| handed.push((node, mass)));
    assert_eq!(handed, [(2, 0.375)]);
    push.hand_over(&mut world.graph(), |_, _| panic!("handed over twice"));
    // What comes back goes on from where it is put.
    push.receive(&world.graph(), 1, 0.375).unwrap();
    assert_eq!(push.run(&mut world.graph()), Progress::Done);
    push.hand_over(&mut world.graph(), |node, mass| assert_eq!((node, mass), (2, 0.1875)));
    let got = push.finish(&mut world.graph());
    let ledger = got.ledger();
    assert!((ledger.handed_over - 0.5625).abs() < 1e-6);
    assert!((ledger.activation - (1.375 - 0.5625)).abs() < 1e-6);
    assert_eq!(got.touched(), [0, 1, 2, 3]);
    let mut best = Vec::new();
    got.best(9, |_| true, &mut best);
    assert_eq!(best.iter().map(|(node, _)| *node).collect::<Vec<_>>(), [1, 0, 3]);
}

#[test]
fn more_edges_let_a_push_go_on() {
    let world = World::new(4, &[(0, 1, 1.0), (1, 2, 1.0), (2, 3, 1.0)]);
    let mut push: Push<Packed> = begin(&world, operator(|_| ()), 1, &[(0, 1.0)]);
    assert_eq!(push.run(&mut world.graph()), Progress::Spent);
    push.grant(10);
    assert_eq!(push.run(&mut world.graph()), Progress::Done);
    let whole = spread(&world, operator(|_| ()), 100, &[(0, 1.0)]);
    assert_eq!(bits(&push.finish(&mut world.graph()), 4), bits(&whole, 4));
}

#[test]
fn the_path_is_the_way_by_which_most_came() {
    let links = [(0, 1, 3.0), (0, 2, 1.0), (1, 3, 1.0), (2, 3, 1.0), (3, 1, 1.0)];
    let world = World::new(5, &links);
    let mut push: Push<Traced> = begin(&world, operator(|_| ()), 1000, &[(0, 1.0)]);
    push.run(&mut world.graph());
    let got = push.finish(&mut world.graph());
    let step = |source, target| Step { source, target, kind: 0 };
    assert_eq!(got.path(3).unwrap(), [step(0, 1), step(1, 3)]);
    assert_eq!(got.path(2).unwrap(), [step(0, 2)]);
    assert_eq!((got.path(0), got.path(4)), (Some(vec![]), Some(vec![])));
    let packed = spread(&world, operator(|_| ()), 1000, &[(0, 1.0)]);
    assert_eq!(bits(&packed, 5), bits(&got, 5));
    assert_eq!(packed.path(3), None);
}

#[test]
fn the_best_come_in_order_and_the_lower_node_first() {
    let links: Vec<_> = (1..100).map(|target| (0, target, 1.0 + (target % 7) as f32)).collect();
    let world = World::new(100, &links);
    let got = spread(&world, operator(|_| ()), 1000, &[(0, 1.0)]);
    let mut all: Vec<u32> = (1..100).filter(|node| node % 2 == 0).collect();
    all.sort_by_key(|node| (std::cmp::Reverse(node % 7), *node));
    for count in [0, 1, 5, 20, 49, 60] {
        let mut best = vec![(9, 9.0)];
        got.best(count, |node| node % 2 == 0 && node != 0, &mut best);
        let best: Vec<u32> = best.iter().map(|(node, _)| *node).collect();
        assert_eq!(best, all[..count.min(all.len())]);
    }
}

#[test]
fn nodes_that_come_up_while_a_push_is_under_way_find_room() {
    let mut world = World::new(300, &[(0, 1, 1.0), (0, 140, 3.0), (0, 2, 4.0)]);
    world.elsewhere.insert(2, 299);
    let mut pool: Pool<Packed> = Pool::new(1 << 20);
    let mut push = Push::new(operator(|_| ()), 100, pool.acquire(8).unwrap());
    push.receive(&world.graph(), 0, 1.0).unwrap();
    push.run(&mut world.graph());
    let got = push.finish(&mut world.graph());
    let scores = [0, 1, 140, 299].map(|node| got.score(node));
    assert_eq!((scores, got.ledger().cut_off), ([0.5, 0.0625, 0.1875, 0.25], 0.0));
    pool.release(got.into_workspace());
    assert!(pool.bytes() >= 300 * size_of::<Packed>());
}

#[test]
fn mass_for_a_node_that_is_elsewhere_goes_on_from_there() {
    // Two numbers of node 3, of which one is named twice; a chain of one number.
    let mut world = World::new(7, &[(0, 1, 1.0), (0, 2, 1.0), (3, 4, 1.0), (4, 5, 1.0)]);
    world.elsewhere = BTreeMap::from([(1, 3), (2, 6), (6, 3)]);
    let mut push: Push<Traced> = begin(&world, operator(|of| of.depth_max = 2), 100, &[(0, 1.0)]);
    push.run(&mut world.graph());
    let got = push.finish(&mut world.graph());
    // A trace of what was taken stays.
    let scores = [0, 1, 2, 3, 4, 5, 6].map(|node| got.score(node)).map(|of| of.max(1e-30));
    assert_eq!(scores, [0.5, 1e-30, 1e-30, 0.25, 0.125, 1e-30, 1e-30]);
    let step = |source, target| Step { source, target, kind: 0 };
    assert_eq!(got.path(4).unwrap(), [step(0, 3), step(3, 4)]);
    let exact = operator(|of| of.depth_max = 2);
    let exact = Exact::all(exact, &mut world.graph(), &[(0, 1.0)]);
    assert_eq!(exact, [0.5, 0.0, 0.0, 0.25, 0.125, 0.0, 0.0]);
}

#[test]
fn what_is_similar_gets_its_share_by_rank() {
    let mut world = World::new(6, &[(0, 1, 1.0), (0, 2, 3.0)]);
    world.similar = BTreeMap::from([(0, vec![3, 4]), (3, vec![5])]);
    let half = operator(|of| of.similar = 0.5);
    let mut push: Push<Traced> = begin(&world, half, 100, &[(0, 1.0)]);
    push.run(&mut world.graph());
    let got = push.finish(&mut world.graph());
    let scores = [0, 1, 2, 3, 4, 5].map(|node| f64::from(got.score(node)));
    // A half leaves, half of it along links; of the rest two thirds go to the nearest, which has no
    // links and passes all of it on to what is similar to it.
    let wanted = [0.5, 0.0625, 0.1875, 1.0 / 12.0, 1.0 / 12.0, 1.0 / 12.0];
    for (got, wanted) in scores.iter().zip(wanted) {
        assert!((got - wanted).abs() < 1e-6, "{scores:?}");
    }
    let step = |source, target| Step { source, target, kind: KIND_SIMILAR };
    assert_eq!(got.path(5).unwrap(), [step(0, 3), step(3, 5)]);
    let exact = Exact::all(half, &mut world.graph(), &[(0, 1.0)]);
    for (got, wanted) in exact.iter().zip(wanted) {
        assert!((got - wanted).abs() < 1e-7, "{exact:?}");
    }
    // Whoever does not ask for it has links alone; and the budget counts it.
    let none = spread(&world, operator(|_| ()), 100, &[(0, 1.0)]);
    assert_eq!((none.score(3), none.score(1)), (0.0, 0.125));
    let few = spread(&world, half, 3, &[(0, 1.0)]);
    assert_eq!((few.work().edges, few.score(4)), (3, 0.0));
    assert!((few.ledger().cut_off - 1.0 / 12.0).abs() < 1e-6);
}

#[test]
fn mass_too_little_for_a_turn_follows_at_the_end() {
    let mut world = World::new(4, &[(0, 1, 1.0)]);
    world.elsewhere.insert(1, 3);
    let got = spread(&world, operator(|of| of.threshold = 0.6), 100, &[(0, 1.0)]);
    assert_eq!((got.score(3), got.touched()), (0.25, &[0, 1, 3][..]));
}

// ---- Any world -----------------------------------------------------------------------------

const NODES: u32 = 40;

fn any_links() -> impl Strategy<Value = Vec<(u32, u32, f32)>> {
    let hub = (0..3_u32, 0..NODES, 0.01_f32..100.0);
    let other = (0..NODES, 0..NODES, 0.01_f32..100.0);
    proptest::collection::vec(prop_oneof![hub, other], 0..250)
}

fn any_seeds() -> impl Strategy<Value = Vec<(u32, f32)>> {
    proptest::collection::vec((0..NODES, 0.01_f32..1.0), 1..6)
}

fn any_operator() -> impl Strategy<Value = Operator> {
    let fan = prop_oneof![Just(Fan::Degree), (0.3_f32..3.0).prop_map(Fan::Strength)];
    let cap = prop_oneof![Just(u32::MAX), 1..8_u32];
    (0.0_f32..0.9, 0..6_u32, any::<bool>(), fan, cap).prop_map(|(decay, depth, deep, fan, cap)| {
        let unlimited = deep && fan == Fan::Degree;
        operator(|of| {
            of.depth_max = if unlimited { DEPTH_UNLIMITED } else { depth };
            (of.decay, of.fan, of.fan_cap) = (decay, fan, cap);
        })
    })
}

fn total(seeds: &[(u32, f32)]) -> f64 {
    seeds.iter().map(|(_, mass)| f64::from(*mass)).sum()
}

/// The scores of nodes are the exact ones, if edges and depth were enough: the threshold of
/// [`operator`] leaves next to nothing, the rest is rounding.
fn check_scores(got: &Activations<Packed>, exact: &[f64]) -> Result<(), TestCaseError> {
    let scale = exact.iter().sum::<f64>().max(1.0);
    for (node, exact) in (0..).zip(exact) {
        let score = f64::from(got.score(node));
        prop_assert!((score - exact).abs() < 2e-5 * scale, "{node}: {score} and {exact}");
    }
    Ok(())
}

proptest! {
    #[test]
    fn with_edges_enough_a_push_is_the_exact_answer(
        links in any_links(), seeds in any_seeds(), operator in any_operator(),
    ) {
        let world = World::new(NODES, &links);
        let got = spread(&world, operator, u64::MAX, &seeds);
        let exact = Exact::all(operator, &mut world.graph(), &seeds);
        check_scores(&got, &exact)?;
    }

    #[test]
    fn similar_nodes_are_the_same_to_a_push_and_to_the_exact_answer(
        links in any_links(), seeds in any_seeds(), operator in any_operator(),
        share in 0.0_f32..=1.0,
        similar in proptest::collection::btree_map(
            0..NODES, proptest::collection::vec(0..NODES, 1..12), 0..20,
        ),
    ) {
        let mut world = World::new(NODES, &links);
        world.similar = similar;
        let settings = Settings { similar: share, ..*operator.settings() };
        let operator = Operator::new(settings).unwrap();
        let got = spread(&world, operator, u64::MAX, &seeds);
        let exact = Exact::all(operator, &mut world.graph(), &seeds);
        check_scores(&got, &exact)?;
        // Where mass only divides none is lost, also when edges run out.
        if operator.settings().fan == Fan::Degree {
            let few = spread(&world, operator, 50, &seeds);
            let ledger = few.ledger();
            let sum = ledger.activation + ledger.residual + ledger.inhibited + ledger.cut_off;
            prop_assert!((sum - total(&seeds)).abs() < 1e-4, "{sum} {ledger:?}");
            prop_assert!(few.work().edges <= 50);
        }
    }

    #[test]
    fn what_the_scores_lack_is_known(
        links in any_links(), seeds in any_seeds(), edges_max in 0..200_u64,
        threshold in 1e-4_f32..0.1,
    ) {
        let world = World::new(NODES, &links);
        let hasty = operator(|of| of.threshold = threshold);
        let got = spread(&world, hasty, edges_max, &seeds);
        let exact = Exact::all(hasty, &mut world.graph(), &seeds);
        let lacking: f64 = (0..)
            .zip(&exact)
            .map(|(node, exact)| (exact - f64::from(got.score(node))).abs())
            .sum();
        prop_assert!(lacking <= got.missing_max() + 1e-5, "{lacking} {}", got.missing_max());
        for (node, exact) in (0..).zip(&exact) {
            prop_assert!(f64::from(got.score(node)) <= exact + 1e-5);
        }
    }

    #[test]
    fn mass_is_neither_made_nor_lost(
        links in any_links(), seeds in any_seeds(), edges_max in 0..300_u64,
        threshold in 1e-6_f32..0.1, fan_cap in 1..60_u32, remote in 0..NODES,
    ) {
        let mut world = World::new(NODES, &links);
        world.remote.insert(remote);
        let hasty = operator(|of| (of.threshold, of.fan_cap) = (threshold, fan_cap));
        let mut push: Push<Packed> = begin(&world, hasty, edges_max, &seeds);
        push.run(&mut world.graph());
        push.hand_over(&mut world.graph(), |_, _| ());
        let ledger = push.finish(&mut world.graph()).ledger();
        let sum = ledger.activation + ledger.residual + ledger.handed_over
            + ledger.inhibited + ledger.cut_off;
        prop_assert!((sum - total(&seeds)).abs() < 1e-5, "{sum} {ledger:?}");
    }

    #[test]
    fn steps_of_any_size_give_the_same_bits(
        links in any_links(), seeds in any_seeds(), operator in any_operator(),
        edges_max in 0..400_u64, step in 1..50_u64,
    ) {
        let world = World::new(NODES, &links);
        let whole = spread(&world, operator, edges_max, &seeds);
        let mut push: Push<Packed> = begin(&world, operator, edges_max, &seeds);
        while push.step(&mut world.graph(), step) == Progress::Working {}
        let stepped = push.finish(&mut world.graph());
        prop_assert_eq!(bits(&whole, NODES), bits(&stepped, NODES));
        prop_assert_eq!(whole.work(), stepped.work());
        prop_assert!(whole.work().edges <= edges_max);
    }

    #[test]
    fn numbers_for_the_same_node_change_nothing(
        links in any_links(), seeds in any_seeds(), operator in any_operator(),
        renamed in proptest::collection::btree_map(0..250_usize, 0..2_u32, 0..40),
    ) {
        let world = World::new(NODES, &links);
        // Some links lead to other numbers of their targets.
        let mut other = links.clone();
        let mut elsewhere = BTreeMap::new();
        for (nth, which) in renamed.iter().filter(|(nth, _)| **nth < links.len()) {
            let target = links[*nth].1;
            let alias = NODES + 2 * target + which;
            let is_only = links.iter().enumerate().all(|(other, link)| {
                other == *nth || (link.0, link.1) != (links[*nth].0, target)
            });
            if is_only {
                elsewhere.insert(alias, target);
                other[*nth].1 = alias;
            }
        }
        let mut renamed = World::new(3 * NODES, &other);
        renamed.elsewhere = elsewhere;
        let plain = Exact::all(operator, &mut world.graph(), &seeds);
        let exact = Exact::all(operator, &mut renamed.graph(), &seeds);
        prop_assert_eq!(&plain[..], &exact[..NODES as usize]);
        let got = spread(&renamed, operator, u64::MAX, &seeds);
        check_scores(&got, &exact[..NODES as usize])?;
    }

    #[test]
    fn the_exact_answer_of_two_halves_has_the_same_bits_as_that_of_the_whole(
        links in any_links(), seeds in any_seeds(), operator in any_operator(),
        halves in any::<u64>(),
    ) {
        let whole = World::new(NODES, &links);
        let all = Exact::all(operator, &mut whole.graph(), &seeds);
        let is_of = |half: usize, node: u32| (halves >> (node % 64) & 1) as usize == half;
        let worlds = [0, 1].map(|half| {
            let own = links.iter().filter(|link| is_of(half, link.0)).copied();
            let mut world = World::new(NODES, &own.collect::<Vec<_>>());
            world.remote = (0..NODES).filter(|node| !is_of(half, *node)).collect();
            world
        });
        let mut parts = [0, 1].map(|_| Exact::new(operator, NODES));
        for (node, mass) in &seeds {
            let half = usize::from(is_of(1, *node));
            parts[half].receive(*node, Mass::new(f64::from(*mass)));
        }
        let on_its_way = |parts: &[Exact; 2]| {
            let mut sum = parts[0].on_its_way();
            sum.add(parts[1].on_its_way());
            sum
        };
        while !parts[0].is_over(on_its_way(&parts)) {
            for half in 0..2 {
                let mut handed = Vec::new();
                let graph = &mut worlds[half].graph();
                while !parts[half].settle(graph, 7, |node, mass| handed.push((node, mass))) {}
                handed.into_iter().for_each(|(node, mass)| parts[1 - half].receive(node, mass));
            }
            for half in 0..2 {
                while !parts[half].pass(&mut worlds[half].graph(), 9) {}
            }
        }
        for (node, both) in (0..NODES).zip(parts[0].scores().zip(parts[1].scores())) {
            let (own, other) = if is_of(0, node) { both } else { (both.1, both.0) };
            prop_assert_eq!((own.to_bits(), other), (all[node as usize].to_bits(), 0.0));
        }
    }

    #[test]
    fn more_edges_never_lack_more(
        links in any_links(), seeds in any_seeds(), few in 0..200_u64, more in 0..200_u64,
    ) {
        let world = World::new(NODES, &links);
        let less = spread(&world, operator(|_| ()), few, &seeds);
        let most = spread(&world, operator(|_| ()), few + more, &seeds);
        prop_assert!(most.missing_max() <= less.missing_max() + 1e-5);
        for node in 0..NODES {
            prop_assert!(most.score(node) >= less.score(node) - 1e-5);
        }
    }

    #[test]
    fn paths_lead_along_links_from_a_seed(
        links in any_links(), seeds in any_seeds(), edges_max in 0..400_u64,
    ) {
        let world = World::new(NODES, &links);
        let mut push: Push<Traced> = begin(&world, operator(|_| ()), edges_max, &seeds);
        push.run(&mut world.graph());
        let got = push.finish(&mut world.graph());
        let packed = spread(&world, operator(|_| ()), edges_max, &seeds);
        prop_assert_eq!(bits(&got, NODES), bits(&packed, NODES));
        for &node in got.touched() {
            let path = got.path(node).unwrap();
            let begins = path.first().map_or(node, |step| step.source);
            prop_assert!(seeds.iter().any(|(seed, _)| *seed == begins));
            prop_assert_eq!(path.last().map_or(node, |step| step.target), node);
            for pair in path.windows(2) {
                prop_assert_eq!(pair[0].target, pair[1].source);
            }
            for step in path {
                let mut among = world.base.view().edges_of(step.source).iter();
                prop_assert!(among.any(|edge| edge.target == step.target));
            }
        }
    }

    #[test]
    fn a_used_workspace_is_as_good_as_new(
        links in any_links(), first in any_seeds(), second in any_seeds(), edges_max in 0..300_u64,
    ) {
        let world = World::new(NODES, &links);
        let mut pool: Pool<Packed> = Pool::new(1 << 20);
        let mut last = Vec::new();
        for seeds in [&first, &second] {
            let at = pool.acquire(NODES).unwrap();
            let mut push = Push::new(operator(|_| ()), edges_max, at);
            for (node, mass) in seeds {
                push.receive(&world.graph(), *node, *mass).unwrap();
            }
            push.run(&mut world.graph());
            let got = push.finish(&mut world.graph());
            last = bits(&got, NODES);
            pool.release(got.into_workspace());
        }
        let fresh = spread(&world, operator(|_| ()), edges_max, &second);
        prop_assert_eq!(last, bits(&fresh, NODES));
        prop_assert_eq!((pool.counters().hits, pool.counters().misses), (1, 1));
    }
}

// ---- The pool ------------------------------------------------------------------------------

#[test]
fn a_pool_has_a_bound_and_counts() {
    // Ten nodes and a quarter more, eight bytes each.
    let mut pool: Pool<Packed> = Pool::new(2 * 96);
    let first = pool.acquire(10).unwrap();
    let second = pool.acquire(10).unwrap();
    let refused = pool.acquire(10).unwrap_err().to_string();
    assert!(refused.contains("needs 96 bytes and 192 of 192"), "{refused}");
    pool.release(first);
    let third = pool.acquire(12).unwrap();
    pool.release(second);
    pool.release(third);
    let counters = pool.counters();
    assert_eq!((counters.hits, counters.misses, counters.refused), (1, 2, 1));
    assert_eq!((pool.bytes(), pool.bytes_high_water()), (192, 192));
    // A larger one takes the place of the idle.
    let large = pool.acquire(19).unwrap();
    assert_eq!((large.nodes(), pool.counters().dropped), (23, 2));
    pool.set_bytes_max(100);
    pool.release(large);
    assert_eq!((pool.bytes(), pool.counters().dropped), (0, 3));
}
