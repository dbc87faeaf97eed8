//! Spreading mass along links, as far as it matters and no further.
//!
//! This is the forward push of Andersen, Chung and Lang ("Local graph partitioning using PageRank
//! vectors", 2006), which computes personalised PageRank around some nodes without looking at the
//! rest. Each node has an activation and a residual: mass that has arrived and waits. A push of a
//! node keeps a share of its residual as activation and passes the rest on along its links
//! (`operator.rs`). What is left waiting when it ends bounds the error.
//!
//! **Rounds.** A push goes in rounds. At the beginning of one the nodes in the queue, first come
//! first served, have their residual taken; then each passes on what was taken. So in round r goes
//! what has come over r links, or had to wait, and a bound on the depth is one on the rounds. With
//! no threshold this is the power iteration, term by term. Rejected: passing on also what comes in
//! during the round, which visits some fewer edges for the same error, but lets mass go further
//! than the depth.
//!
//! **The threshold is for each link.** A node with 600 links has to have 600 times as much waiting
//! as one with a single link before it is its turn: visiting it costs 600 times as much. On the
//! relations of WordNet, with 20 seeds, 1,400 edges so chosen find as much of the exact answer as
//! 4,000 with a threshold for each node. A node is asked whether it has enough when its turn comes;
//! if not, it leaves the queue and what waits stays. A seed that would carry too little on each
//! link still gets its turn, once everything else is done: whoever names a hub gets its links as
//! far as the budget goes.
//!
//! **Scores.** A node's score is its activation and (1 − decay) of its residual: what it would keep
//! if it had one more turn. This is the exact answer of the same operator but for what would have
//! been passed on. It ranks better than the activation alone, or than any other share that was
//! tried.
//!
//! **Order.** Nodes take turns in the order in which they came to be queued, links go by key, and
//! arithmetic is in single precision in that order. The same links, seeds and settings give the
//! same bits, in however many steps.
//!
//! **Other numbers.** A node may turn out to stand for another, which the episode it was has become
//! meanwhile (`graph.rs`). When its turn comes, what it has goes there at once, at no cost and
//! without a link in between; what came too late for a turn follows at the end. Mass for nodes that
//! another shard has waits until somebody takes it there.
//!
//! **Caches.** Nearly all the time goes into misses: the head of a node, its first edges, and the
//! states of its targets, of which each is known only when the one before has been read. So they
//! are asked for ahead: heads and states of the queue when a round begins, edges as soon as the
//! head has said where, and the states of the targets some turns before they are written.

use thiserror::Error;

use super::activations::{Activations, Step};
use super::graph::{EDGES_AHEAD, Graph, Links, SIMILAR_MAX, UNLAID, Visit};
use super::link::{Edge, KIND_SIMILAR};
use super::list::List;
use super::operator::{DEPTH_UNLIMITED, Operator, Settings};
use super::prefetch::prefetch;
use super::state::{NONE, State};
use super::workspace::{Arrival, Lent, Parts, Turn};

/// Mass that one seed may have, and the least.
pub const MASS_MAX: f32 = 1e12;
pub const MASS_MIN: f32 = 1e-12;
/// Nodes of the queue whose heads and states are asked for ahead.
const HEADS_AHEAD: usize = 12;
/// Turns whose targets' states are asked for ahead.
const TURNS_AHEAD: usize = 2;
/// Links for which the lists have room at a time.
const CHUNK_EDGES: usize = 256;

/// Why mass can't be put on a node.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum SeedError {
    #[error("node {node} does not exist: there are {nodes}")]
    Node { node: u32, nodes: u32 },
    #[error("the mass of a seed must be from {MASS_MIN} to {MASS_MAX}, but is {0}")]
    Mass(f32),
}

/// How far a push is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// There is more to do.
    Working,
    /// There would be, but the edges are used up.
    Spent,
    /// Nothing has enough mass waiting, or the depth is reached.
    Done,
}

/// The work of a push.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Work {
    pub edges: u64,
    /// Turns in which mass was passed on.
    pub turns: u64,
    /// Of these, those whose targets had been asked for before it was their turn.
    pub turns_ahead: u64,
    pub rounds: u32,
    pub nodes_touched: u64,
    /// Whether it ended because its edges were used up.
    pub was_spent: bool,
}

/// Where all mass is; in [`Fan::Degree`](super::operator::Fan::Degree) it adds up to what was put
/// in.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Ledger {
    pub activation: f64,
    /// Waiting.
    pub residual: f64,
    /// Handed over for remote nodes.
    pub handed_over: f64,
    /// Kept back by hubs.
    pub inhibited: f64,
    /// What was left of the last turn when the edges were used up.
    pub cut_off: f64,
}

/// A push under way. It can be driven in steps, be given mass in between, and go on after mass has
/// been handed over.
#[derive(Debug)]
pub struct Push<S: State> {
    operator: Operator,
    work: Work,
    edges_left: u64,
    rounds_left: u32,
    /// Whose turn it is, and how many of its links have had theirs.
    turn: usize,
    from: usize,
    /// What this turn has passed on already, if it had to stop within its links.
    passed: f64,
    /// Only the parts that are not in the states.
    ledger: Ledger,
    at: Lent<S>,
}

impl<S: State> Push<S> {
    /// Nothing spread yet. At most `edges_max` edges will be visited; with 0 there are the seeds
    /// alone.
    pub fn new(operator: Operator, edges_max: u64, at: Lent<S>) -> Self {
        Self {
            operator,
            work: Work::default(),
            edges_left: edges_max,
            rounds_left: operator.settings().depth_max,
            turn: 0,
            from: 0,
            passed: 0.0,
            ledger: Ledger::default(),
            at,
        }
    }

    /// Takes the mass of a seed, or what another shard hands over. All of a node adds up.
    pub fn receive(&mut self, graph: &impl Graph, node: u32, mass: f32) -> Result<(), SeedError> {
        if !(MASS_MIN..=MASS_MAX).contains(&mass) {
            return Err(SeedError::Mass(mass));
        }
        let nodes = graph.nodes().min(self.at.nodes());
        if node >= nodes {
            return Err(SeedError::Node { node, nodes });
        }
        let Parts { states, touched, queue, .. } = self.at.parts();
        let state = &mut states[node as usize];
        if !state.amounts().is_touched() {
            touched.push(node);
        }
        state.amounts_mut().add(mass);
        state.note(mass, NONE);
        if !state.amounts().is_queued() {
            state.amounts_mut().set_queued(true);
            queue.push(node);
        }
        Ok(())
    }

    /// Tells the mass that waits for remote nodes, once for each number, and forgets it.
    pub fn hand_over(&mut self, graph: &mut impl Graph, mut to: impl FnMut(u32, f32)) {
        let Parts { states, touched, .. } = self.at.parts();
        for &node in touched.iter() {
            let amounts = states[node as usize].amounts_mut();
            let is_candidate = !graph.is_here(node) && amounts.has_waiting();
            if is_candidate && graph.visit(node) == Visit::Remote {
                let mass = amounts.take_all();
                self.ledger.handed_over += f64::from(mass);
                to(node, mass);
            }
        }
    }

    /// Allows more edges.
    pub fn grant(&mut self, edges: u64) {
        self.edges_left = self.edges_left.saturating_add(edges);
    }

    /// Allows so many more rounds.
    pub fn set_rounds(&mut self, rounds: u32) {
        self.rounds_left = rounds;
    }

    /// Allows no more than so many edges from here on.
    pub fn limit(&mut self, edges: u64) {
        self.edges_left = self.edges_left.min(edges);
    }

    /// The strongest way to a node so far; see [`Activations::path`].
    pub fn path(&self, node: u32) -> Option<Vec<Step>> {
        self.at.path(node)
    }

    /// The work so far.
    pub fn work_so_far(&self) -> Work {
        let was_spent = self.edges_left == 0 && !self.is_over();
        let nodes_touched = self.at.touched.len() as u64;
        Work { was_spent, nodes_touched, ..self.work }
    }

    /// Gives it up.
    pub fn into_workspace(self) -> Lent<S> {
        self.at
    }

    /// Goes on for so many edges.
    pub fn step(&mut self, graph: &mut impl Graph, edges_max: u64) -> Progress {
        let mut edges = edges_max;
        loop {
            if self.is_over() {
                return Progress::Done;
            }
            if self.edges_left == 0 {
                return Progress::Spent;
            }
            if edges == 0 {
                return Progress::Working;
            }
            if self.turn == self.at.turns.len() {
                self.begin_round(graph);
                continue;
            }
            let visited = self.take_turns(graph, edges.min(self.edges_left));
            edges -= visited;
            self.edges_left -= visited;
            self.work.edges += visited;
        }
    }

    /// Whether nothing is left to do, however many edges there are.
    fn is_over(&self) -> bool {
        let is_queued = !self.at.queue.is_empty() || !self.at.late.is_empty();
        self.turn == self.at.turns.len() && (!is_queued || self.rounds_left == 0)
    }

    /// Goes on until the edges are used up or nothing is left to do.
    pub fn run(&mut self, graph: &mut impl Graph) -> Progress {
        self.step(graph, u64::MAX)
    }

    /// Takes the mass of the nodes whose turn it will be. Seeds that had to wait come when nothing
    /// else does.
    fn begin_round(&mut self, graph: &mut impl Graph) {
        self.at.turns.clear();
        self.turn = 0;
        let is_last = self.at.queue.is_empty();
        let workspace = &mut *self.at;
        std::mem::swap(&mut workspace.queue, &mut workspace.queue_before);
        if is_last {
            workspace.late.drain(..).for_each(|node| workspace.queue_before.push(node));
        }
        let mut queue = std::mem::take(&mut workspace.queue_before);
        let Parts { states, touched, turns, late, .. } = self.at.parts();
        let mut planning = Planning {
            operator: self.operator,
            is_first: self.work.rounds == 0,
            is_last,
            graph,
            states,
            touched,
            turns: turns.room(queue.len()),
            turns_count: 0,
            late,
            inhibited: 0.0,
            beyond: 0.0,
        };
        for (at, &node) in queue.iter().enumerate() {
            if let Some(&ahead) = queue.get(at + HEADS_AHEAD) {
                planning.graph.prefetch(ahead);
                prefetch(planning.states, ahead as usize);
            }
            planning.plan(node);
        }
        self.ledger.inhibited += planning.inhibited;
        self.ledger.cut_off += planning.beyond;
        let turns_count = planning.turns_count;
        let nodes = planning.graph.nodes();
        self.at.turns.advance(turns_count);
        self.work.turns_ahead += turns_count.saturating_sub(TURNS_AHEAD) as u64;
        self.at.grow(nodes);
        queue.clear();
        self.at.queue_before = queue;
        if self.rounds_left != DEPTH_UNLIMITED {
            self.rounds_left -= 1;
        }
        self.work.rounds += 1;
    }

    /// Takes turns until the round is over or so many edges were visited; how many were.
    fn take_turns(&mut self, graph: &impl Graph, edges_max: u64) -> u64 {
        let keep = 1.0 - self.operator.settings().decay;
        let Parts { states, touched, queue, turns, arrivals, .. } = self.at.parts();
        let mass_min = self.operator.mass_min();
        let mut passing = Passing { mass_min, states, touched, queue, arrivals, beyond: 0.0 };
        let mut edges_left = edges_max;
        while edges_left > 0
            && let Some(turn) = turns.get(self.turn)
        {
            if let Some(ahead) = turns.get(self.turn + TURNS_AHEAD) {
                passing.prefetch_targets(graph, ahead);
            }
            let visited = passing.along(graph, turn, self.from, edges_left);
            edges_left -= visited.edges;
            if let Some(passed) = visited.passed_of_some {
                self.passed += passed;
                self.from += visited.edges as usize;
                break;
            }
            if turn.similar > 0.0 {
                edges_left -= passing.along_similar(graph, turn, edges_left);
            }
            passing.states[turn.node as usize].amounts_mut().keep(keep * turn.mass);
            self.from = 0;
            self.passed = 0.0;
            self.turn += 1;
            self.work.turns += 1;
        }
        self.ledger.cut_off += passing.beyond;
        edges_max - edges_left
    }

    /// Ends the push where it is. Mass that was taken for turns that did not come waits again.
    pub fn finish(mut self, graph: &mut impl Graph) -> Activations<S> {
        self.work.was_spent = self.edges_left == 0 && !self.is_over();
        let decay = self.operator.settings().decay;
        let Parts { states, turns, .. } = self.at.parts();
        let mut rest = turns[self.turn..].iter();
        if self.from > 0
            && let Some(turn) = rest.next()
        {
            self.ledger.cut_off += f64::from(turn.leaves) - self.passed;
            states[turn.node as usize].amounts_mut().keep((1.0 - decay) * turn.mass);
        }
        for turn in rest {
            states[turn.node as usize].amounts_mut().add(turn.mass);
            self.ledger.inhibited -= f64::from(decay * turn.mass - turn.leaves);
        }
        self.settle(graph);
        self.work.nodes_touched = self.at.touched.len() as u64;
        Activations::new(self.operator, self.work, self.ledger, self.at)
    }

    /// Brings what waits at other numbers of a node to it.
    fn settle(&mut self, graph: &mut impl Graph) {
        let Parts { states, touched, .. } = self.at.parts();
        let mut at = 0;
        while let Some(&node) = touched.get(at) {
            at += 1;
            if graph.is_here(node) {
                continue;
            }
            if let Visit::Elsewhere(to) = graph.visit(node) {
                self.ledger.cut_off += forward(states, touched, node, to);
            }
        }
    }
}

/// Moves what waits at one number of a node to another, and with it by which link most of it came;
/// what is lost, because the other number is younger than the push.
#[cold]
fn forward<S: State>(states: &mut [S], touched: &mut List, node: u32, to: u32) -> f64 {
    let from = &mut states[node as usize];
    let (mass, arrival) = (from.amounts_mut().take_all(), from.arrival());
    let Some(state) = states.get_mut(to as usize) else { return f64::from(mass) };
    if !state.amounts().is_touched() {
        touched.push(to);
    }
    state.amounts_mut().add(mass);
    state.note(mass, arrival);
    0.0
}

/// Deciding whose turn it will be.
struct Planning<'a, S, G> {
    operator: Operator,
    is_first: bool,
    /// Whether nothing is left but seeds that would carry too little.
    is_last: bool,
    graph: &'a mut G,
    states: &'a mut [S],
    touched: &'a mut List,
    /// As many as there could be, of which the first so many are.
    turns: &'a mut [Turn],
    turns_count: usize,
    late: &'a mut Vec<u32>,
    inhibited: f64,
    beyond: f64,
}

impl<S: State, G: Graph> Planning<'_, S, G> {
    #[inline(always)]
    fn plan(&mut self, node: u32) {
        let Settings { decay, threshold, .. } = *self.operator.settings();
        let Visit::Here { mut scale, mut start } = self.graph.visit(node) else {
            return self.leave(node);
        };
        let mut outflow = if scale.fan == 0 { 0.0 } else { self.operator.outflow(scale) };
        let fan = scale.fan;
        let (mut similar, mut links) = (0.0, fan);
        if self.operator.settings().similar > 0.0 && self.graph.has_similar(node) {
            (outflow, similar) = self.operator.shares(outflow, true);
            links += SIMILAR_MAX as u32;
        }
        if outflow + similar == 0.0 {
            return self.end(node, fan, decay);
        }
        let amounts = self.states[node as usize].amounts_mut();
        let residual = amounts.residual();
        let is_enough = residual * (outflow + similar) >= threshold * links as f32;
        // A seed that had to wait may have had its turn since, after more had come to it.
        let is_turn = is_enough | (self.is_last & (residual >= MASS_MIN));
        let mass = amounts.take_if(is_turn);
        let along = decay * mass * outflow;
        let similar = decay * mass * similar;
        if start == UNLAID && is_turn {
            (scale, start) = self.graph.lay_out(node);
        }
        self.graph.prefetch_links(node, start, fan);
        // Written in any case, as nobody foresees whether it counts.
        let per_weight = along * scale.inverse_sum;
        let leaves = along + similar;
        self.turns[self.turns_count] = Turn { node, mass, leaves, per_weight, similar, start, fan };
        self.turns_count += usize::from(is_turn);
        self.inhibited += f64::from(if is_turn { decay * mass - leaves } else { 0.0 });
        if self.is_first && !is_turn {
            self.late.push(node);
        }
    }

    /// Nothing goes on from a node without links, or from a hub that passes nothing on.
    #[cold]
    fn end(&mut self, node: u32, fan: u32, decay: f32) {
        let kept = if fan == 0 { 1.0 } else { 1.0 - decay };
        let amounts = self.states[node as usize].amounts_mut();
        let mass = amounts.take_all();
        amounts.keep(kept * mass);
        self.inhibited += f64::from(mass - kept * mass);
    }

    /// Another number of a node gives all it has to it, and that has a turn, perhaps a second one.
    /// What another shard has waits.
    #[cold]
    fn leave(&mut self, node: u32) {
        let Visit::Elsewhere(to) = self.graph.visit(node) else {
            self.states[node as usize].amounts_mut().take_if(false);
            return;
        };
        self.beyond += forward(self.states, self.touched, node, to);
        if (to as usize) < self.states.len() {
            self.plan(to);
        }
    }
}

/// Passing mass on.
struct Passing<'a, S> {
    mass_min: f32,
    states: &'a mut [S],
    touched: &'a mut List,
    queue: &'a mut List,
    arrivals: &'a mut Vec<Arrival>,
    /// Mass for nodes that are younger than the push.
    beyond: f64,
}

/// What came of the links of a turn.
#[derive(Default)]
struct Visited {
    edges: u64,
    /// What was passed along these, if there were no edges left for the others.
    passed_of_some: Option<f64>,
}

impl<S: State> Passing<'_, S> {
    /// Asks for the states of the first targets of a turn to come.
    #[inline]
    fn prefetch_targets(&self, graph: &impl Graph, turn: &Turn) {
        let links = graph.links(turn.node, turn.start, turn.fan.min(EDGES_AHEAD as u32));
        for edge in links.edges {
            prefetch(self.states, links.target(*edge) as usize);
        }
    }

    /// Passes on what a turn has, along its links from one on.
    #[inline]
    fn along(&mut self, graph: &impl Graph, turn: &Turn, from: usize, edges_max: u64) -> Visited {
        let links = graph.links(turn.node, turn.start, turn.fan);
        let fan = links.edges.len();
        if from == 0 && (1..=EDGES_AHEAD).contains(&fan) && fan as u64 <= edges_max {
            // Nearly all lists are so short, and were asked for some turns ago.
            self.pass(turn, links, &[]);
            return Visited { edges: fan as u64, ..Visited::default() };
        }
        self.along_many(turn, links, from, edges_max)
    }

    /// Passes on what goes to those similar, as far as there are edges left; how many that took.
    #[cold]
    fn along_similar(&mut self, graph: &impl Graph, turn: &Turn, edges_max: u64) -> u64 {
        let similar = graph.similar(turn.node);
        let before = match S::TRACED {
            true => self.states[turn.node as usize].arrival(),
            false => NONE,
        };
        let edges = (similar.len() as u64).min(edges_max);
        let mut passed = 0.0;
        for (target, share) in similar.shares().take(edges as usize) {
            let mass = (turn.similar * share).max(f32::MIN_POSITIVE);
            passed += f64::from(mass);
            let Some(state) = self.states.get_mut(target as usize) else {
                self.beyond += f64::from(mass);
                continue;
            };
            let amounts = state.amounts_mut();
            if !amounts.is_touched() {
                self.touched.push(target);
            }
            if amounts.add_and_queue(mass, self.mass_min) {
                self.queue.push(target);
            }
            if S::TRACED && state.note(mass, self.arrivals.len() as u32) {
                let kind = KIND_SIMILAR;
                self.arrivals.push(Arrival { source: turn.node, kind, before });
            }
        }
        self.beyond += f64::from(turn.similar) - passed;
        edges
    }

    #[inline(never)]
    fn along_many(
        &mut self,
        turn: &Turn,
        Links { edges, offset }: Links<'_>,
        from: usize,
        edges_max: u64,
    ) -> Visited {
        let left = edges.get(from..).unwrap_or_default();
        let now = &left[..left.len().min(edges_max as usize)];
        for (nth, edges) in now.chunks(CHUNK_EDGES).enumerate() {
            let ahead = &now[(nth * CHUNK_EDGES + EDGES_AHEAD).min(now.len())..];
            self.pass(turn, Links { edges, offset }, ahead);
        }
        let passed = || now.iter().map(|edge| f64::from(turn.per_weight * edge.weight.get())).sum();
        Visited { edges: now.len() as u64, passed_of_some: (now.len() < left.len()).then(passed) }
    }

    /// Passes mass along some links, and asks for the states of those ahead.
    #[inline(always)]
    fn pass(&mut self, turn: &Turn, links: Links<'_>, ahead: &[Edge]) {
        let touched = self.touched.room(links.edges.len());
        let queue = self.queue.room(links.edges.len());
        let (mut touched_count, mut queued_count) = (0, 0);
        let before = match S::TRACED {
            true => self.states[turn.node as usize].arrival(),
            false => NONE,
        };
        for (at, edge) in links.edges.iter().enumerate() {
            if let Some(ahead) = ahead.get(at) {
                prefetch(self.states, links.target(*ahead) as usize);
            }
            // A node that gets mass has to be told from one that never did, however little it is.
            let mass = (turn.per_weight * edge.weight.get()).max(f32::MIN_POSITIVE);
            let target = links.target(*edge);
            let Some(state) = self.states.get_mut(target as usize) else {
                self.beyond += f64::from(mass);
                continue;
            };
            let amounts = state.amounts_mut();
            touched[touched_count] = target;
            touched_count += usize::from(!amounts.is_touched());
            queue[queued_count] = target;
            queued_count += usize::from(amounts.add_and_queue(mass, self.mass_min));
            if S::TRACED && state.note(mass, self.arrivals.len() as u32) {
                self.arrivals.push(Arrival { source: turn.node, kind: edge.kind, before });
            }
        }
        self.touched.advance(touched_count);
        self.queue.advance(queued_count);
    }
}
