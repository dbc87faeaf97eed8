//! Spreading on one shard: from ids with mass to the episodes where it gathers.
//!
//! A spread goes in *exchanges*. In each, ids get mass: the seeds at first, later what other shards
//! hand over. It spreads here as far as it matters ([`step`](Spreading::step), in slices), and what
//! is to go on elsewhere is [taken](Spreading::take). Whoever drives it ends it with
//! [`finish`](Spreading::finish), which reads the episodes.
//!
//! A push goes on in one exchange until nothing has enough mass waiting, and a few exchanges find
//! nearly all; or it goes one round in each, so that a depth is one wherever the links lead. The
//! exact answer takes an exchange for each iteration, and has the same bits on any number of
//! shards.
//!
//! Nodes have numbers only until rows move to another part. If that happens meanwhile, everything
//! that was given is spread again from the beginning, and of what comes out for others only what
//! they have not had yet is handed over.

mod collect;
mod outgoing;
mod run;
mod ways;

use bytes::Bytes;

use crate::arena::Arena;
use crate::episode::{PathStep, Refusal, SpaceNumber};
use crate::space::{Associations, FreshUser, Home, Space};
use crate::spread::exact::Mass;
use crate::spread::operator::Operator;
use crate::spread::outlook::Known;
use crate::spread::predictor::Prediction;
use crate::spread::state::{Packed, Traced};
use crate::spread::workspace::{Pool, PoolError};
use outgoing::{Leaving, Outgoing};
use run::Run;
use ways::Ways;

pub use collect::{Asked, Collected, Recalled};

/// The hint that goes with a refusal for want of memory to spread in.
const RETRY_SPREAD_MS: u32 = 5;
/// The same of exact answers.
const RETRY_EXACT_MS: u32 = 500;

/// What is to be spread on one shard.
#[derive(Debug, Clone, PartialEq)]
pub struct SpreadRequest {
    pub space: SpaceNumber,
    pub home: Home,
    pub operator: Operator,
    pub how: How,
    /// Whether a seed without an episode is an error; otherwise it is none.
    pub is_strict: bool,
}

/// How it is spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Push {
        /// Whether ways are noted.
        is_traced: bool,
    },
    Exact,
}

impl How {
    /// The exact answer, or a push that notes ways or does not.
    pub fn of(is_exact: bool, is_traced: bool) -> Self {
        if is_exact { Self::Exact } else { Self::Push { is_traced } }
    }
}

/// An episode that gets mass.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    pub id: Bytes,
    /// As a part of all that the seeds have together.
    pub mass: Mass,
    /// The strongest way from a seed to it, where ways are noted.
    pub path: Vec<PathStep>,
}

impl Given {
    pub fn seed(id: Bytes, mass: Mass) -> Self {
        Self { id, mass, path: Vec::new() }
    }

    /// Takes in what goes to the same episode, and the way by which more comes.
    fn add(&mut self, other: &mut Self) {
        if other.mass > self.mass {
            std::mem::swap(&mut self.path, &mut other.path);
        }
        self.mass.add(other.mass);
    }
}

/// What an exchange begins with.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Exchange {
    pub masses: Vec<Given>,
    /// Whether these are the seeds; else it is what other shards have handed over.
    pub are_seeds: bool,
    /// Edges that may be visited in it, besides those that were left.
    pub edges: u64,
    /// Links that mass may go along in it; as the operator says unless given.
    pub rounds: Option<u32>,
    /// Of seeds: the time that there is. No more edges are visited than it is predicted to be
    /// enough for.
    pub within_ns: Option<u64>,
}

/// What came of an exchange.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Exchanged {
    /// What other shards are to be given.
    pub handed_over: Vec<Given>,
    /// Edges visited in all exchanges so far.
    pub edges: u64,
    /// Of an exact answer: the mass that is still on its way here.
    pub on_its_way: Mass,
    /// Whether it was ended before mass had gone as far as it was to go in it.
    pub was_cut: bool,
}

/// Memory for spreads of a shard.
#[derive(Debug)]
pub struct Pools {
    pub packed: Pool<Packed>,
    pub traced: Pool<Traced>,
    /// Of exact answers under way, and the most they may have together.
    exact_bytes: usize,
    exact_bytes_max: usize,
}

impl Pools {
    pub fn new(bytes_max: usize) -> Self {
        Self {
            packed: Pool::new(bytes_max / 2),
            traced: Pool::new(bytes_max / 2),
            exact_bytes: 0,
            exact_bytes_max: bytes_max,
        }
    }

    /// Counts the memory of an exact answer. One always finds room, many at once do not.
    fn take_exact(&mut self, bytes: usize) -> Result<(), Refusal> {
        if self.exact_bytes > 0 && self.exact_bytes + bytes > self.exact_bytes_max {
            let what = "the memory for exact answers";
            return Err(Refusal::Busy { what, retry_after_ms: RETRY_EXACT_MS });
        }
        self.exact_bytes += bytes;
        Ok(())
    }

    fn release_exact(&mut self, bytes: usize) {
        self.exact_bytes -= bytes;
    }

    /// Gives back what nobody uses.
    pub fn shrink(&mut self) {
        self.packed.shrink(0);
        self.traced.shrink(0);
    }

    pub fn figures(&self) -> PoolFigures {
        let (packed, traced) = (self.packed.counters(), self.traced.counters());
        let bytes = self.packed.bytes() + self.traced.bytes() + self.exact_bytes;
        PoolFigures {
            hits: packed.hits + traced.hits,
            misses: packed.misses + traced.misses,
            refused: packed.refused + traced.refused,
            dropped: packed.dropped + traced.dropped,
            bytes: bytes as u64,
            bytes_high_water: (self.packed.bytes_high_water() + self.traced.bytes_high_water())
                as u64,
        }
    }
}

/// What the pools of a shard have done and hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolFigures {
    /// Workspaces that were there, that had to be made, that there was no room for, and that were
    /// let go.
    pub hits: u64,
    pub misses: u64,
    pub refused: u64,
    pub dropped: u64,
    /// With exact answers.
    pub bytes: u64,
    /// The most it ever was, without these.
    pub bytes_high_water: u64,
}

impl From<PoolError> for Refusal {
    fn from(_: PoolError) -> Self {
        Self::Busy { what: "the memory for spreading", retry_after_ms: RETRY_SPREAD_MS }
    }
}

/// How far an exchange is.
///
/// Looking ids up and handing masses over take steps of their own. So the others show what an edge
/// costs, from which the length of a step is learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Over,
    Spreading,
    HandingOver,
}

/// A spread under way. Its memory goes back with [`end`](Self::end).
#[derive(Debug)]
pub struct Spreading {
    request: SpreadRequest,
    epoch: u64,
    _user: FreshUser,
    exchanges: Vec<Exchange>,
    /// How many of them have begun, and how far the last of those is.
    begun: usize,
    stage: Stage,
    edges_max: u64,
    /// Edges visited before it had to begin again.
    edges_before: u64,
    /// Seeds, by their numbers, with their masses.
    seeds: Vec<(u32, f32)>,
    /// What was known before the first exchange, where it will be learned from.
    known: Option<Known>,
    /// Fewer edges are visited than there might be, for there is no time for more.
    is_limited: bool,
    ways: Ways,
    outgoing: Outgoing,
    run: Run,
}

impl Spreading {
    pub fn new(request: SpreadRequest, space: &mut Space) -> Self {
        Self {
            epoch: space.epoch(),
            _user: space.begin_spread(),
            exchanges: Vec::new(),
            begun: 0,
            stage: Stage::Over,
            edges_max: 0,
            edges_before: 0,
            seeds: Vec::new(),
            known: None,
            is_limited: false,
            ways: Ways::default(),
            outgoing: Outgoing::default(),
            run: Run::default(),
            request,
        }
    }

    pub fn request(&self) -> &SpreadRequest {
        &self.request
    }

    /// Begins an exchange.
    pub fn give(&mut self, exchange: Exchange) {
        self.edges_max = self.edges_max.saturating_add(exchange.edges);
        self.run.grant(exchange.edges);
        self.exchanges.push(exchange);
    }

    /// Goes on for about so many edges; whether the exchange is over.
    pub fn step(
        &mut self,
        space: &mut Space,
        arena: &Arena,
        pools: &mut Pools,
        edges: u64,
    ) -> Result<bool, Refusal> {
        if self.epoch != space.epoch() {
            self.begin_again(space, pools);
        }
        if self.is_preparing() && space.try_links() {
            return Ok(false);
        }
        let home = self.request.home;
        space.with_associations(arena, home, |graph| {
            if !self.prepare(graph, pools, edges)? {
                return Ok(false);
            }
            match self.stage {
                Stage::Over if self.begun < self.exchanges.len() => {
                    self.begin_exchange(graph)?;
                    self.stage = Stage::Spreading;
                }
                Stage::Over => {}
                Stage::Spreading => {
                    let is_alone = home.span == 1;
                    if !self.run.step(graph, edges, is_alone) {
                        return Ok(false);
                    }
                    if graph.was_full() {
                        let what = "the memory for links that are not consolidated";
                        return Err(Refusal::Busy { what, retry_after_ms: RETRY_SPREAD_MS });
                    }
                    self.stage = if is_alone { Stage::Over } else { Stage::HandingOver };
                }
                Stage::HandingOver => {
                    self.hand_over(graph);
                    self.stage = Stage::Over;
                }
            }
            // More than one are left when it has begun again.
            Ok(self.stage == Stage::Over && self.begun == self.exchanges.len())
        })
    }

    /// What came of the exchange that is over.
    pub fn take(&mut self) -> Exchanged {
        Exchanged {
            handed_over: self.outgoing.take(),
            edges: self.edges(),
            on_its_way: self.run.on_its_way(),
            was_cut: false,
        }
    }

    /// Whether there would have been more to do in the exchange that is over, but no time for it.
    pub fn was_limited(&self) -> bool {
        self.is_limited && self.run.work().is_some_and(|work| work.was_spent)
    }

    /// Exchanges that have begun since it last had to begin again.
    pub fn exchanges_begun(&self) -> usize {
        self.begun
    }

    /// Edges visited so far.
    pub fn edges(&self) -> u64 {
        self.edges_before + self.run.edges()
    }

    /// Learns from how long the exchange took that is over, if it was the first; what had been
    /// predicted of it, if anything.
    pub fn note_elapsed(&mut self, space: &mut Space, elapsed_ns: u64) -> Option<Prediction> {
        let known = self.known.take().filter(|_| self.edges_before == 0)?;
        Some(space.note_push(&known, &self.run.work()?, elapsed_ns))
    }

    /// Rows have moved to other parts: all numbers are others.
    fn begin_again(&mut self, space: &mut Space, pools: &mut Pools) {
        self.edges_before += self.run.edges();
        std::mem::take(&mut self.run).release(pools);
        self.epoch = space.epoch();
        (self.begun, self.stage) = (0, Stage::Over);
        self.seeds.clear();
        self.ways = Ways::default();
        self.outgoing.begin_again();
    }

    /// Puts the mass of the next exchange where it belongs.
    fn begin_exchange(&mut self, graph: &mut Associations<'_>) -> Result<(), Refusal> {
        let Exchange { masses, are_seeds, rounds, within_ns, .. } = &self.exchanges[self.begun];
        self.run.set_rounds(*rounds);
        let is_traced = matches!(self.request.how, How::Push { is_traced: true });
        let ids: Vec<&[u8]> = masses.iter().map(|given| &given.id[..]).collect();
        let nodes = graph.find_all(&ids);
        for (Given { id, mass, path }, node) in masses.iter().zip(nodes) {
            let Some(node) = node else {
                if *are_seeds && self.request.is_strict {
                    return Err(Refusal::NoEpisode(String::from_utf8_lossy(id).into_owned()));
                }
                continue;
            };
            if *are_seeds {
                self.seeds.push((node, mass.get() as f32));
            }
            // What comes back to a seed has come a longer way than from itself.
            if is_traced && (*are_seeds || !path.is_empty()) {
                self.ways.note(node, *mass, path);
            }
            self.run.receive(graph, node, *mass);
        }
        if *are_seeds && matches!(self.request.how, How::Push { .. }) {
            let operator = &self.request.operator;
            let known = graph.look_ahead(operator, &self.seeds, self.edges_max, *within_ns);
            if let Some((_, edges)) = known {
                self.is_limited = edges < self.edges_max;
                self.run.limit(edges);
            }
            self.known = known.map(|(known, _)| known).filter(|_| self.begun == 0);
        }
        self.begun += 1;
        Ok(())
    }

    fn hand_over(&mut self, graph: &mut Associations<'_>) {
        let remote = self.run.take_remote(graph);
        let graph = &*graph;
        let mut leaving = Vec::with_capacity(remote.len());
        let named = |(node, mass)| Some(Leaving::new(graph.id(node)?, node, mass));
        leaving.extend(remote.into_iter().filter_map(named));
        let Self { run, ways, outgoing, .. } = self;
        outgoing.put(leaving, |node| {
            let path = run.path(node).map(|steps| ways.path(graph, node, &steps));
            path.unwrap_or_default()
        });
    }

    /// Mass that was given and did not begin to spread, and what others were to be given.
    fn waiting(&self) -> f64 {
        let given = self.exchanges[self.begun..].iter().flat_map(|exchange| &exchange.masses);
        given.chain(self.outgoing.waiting()).map(|given| given.mass.get()).sum()
    }

    /// Gives its memory back.
    pub fn end(self, pools: &mut Pools) {
        self.run.release(pools);
    }
}
