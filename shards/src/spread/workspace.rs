//! The memory of one push, and the pool that it comes from.
//!
//! A push needs the state of every node, zero at first, and some lists. Zeroing the states of a
//! million nodes takes longer than the push, so a workspace is used again and again: a push notes
//! which nodes it touched, and only those are cleared. What it has grown to, it keeps. So in the
//! steady state nothing is allocated.
//!
//! A pool belongs to a shard. It bounds the memory of all its workspaces, those at work included:
//! over the bound there is none to be had, and the caller answers without spreading or not at all.
//! Under pressure the pool is told to shrink, and lets idle workspaces go. Nothing is shared
//! between threads, so there is no lock and no list without one: taking a workspace is taking a
//! pointer off a vector.

use std::io;
use std::ops::{Deref, DerefMut};

use thiserror::Error;

use super::list::List;
use super::state::State;
use crate::arena::Zeroed;

/// From so many bytes on states are in huge pages.
const HUGE_BYTES: usize = 512 << 10;

/// Why there is no memory for a push.
#[derive(Debug, Error)]
pub enum PoolError {
    #[error(
        "a spread over {nodes} nodes needs {bytes} bytes and {bytes_in_use} of {bytes_max} are in \
         use: try again, or raise the memory for spreading"
    )]
    Full { nodes: u32, bytes: usize, bytes_in_use: usize, bytes_max: usize },
    #[error("no memory for a spread over {nodes} nodes: {source}")]
    Memory { nodes: u32, source: io::Error },
}

/// The states of all nodes.
#[derive(Debug)]
enum States<S> {
    Small(Vec<S>),
    Huge(Zeroed<S>),
}

impl<S: State> States<S> {
    fn new(nodes: usize) -> io::Result<Self> {
        Ok(match Self::bytes_for(nodes) < HUGE_BYTES {
            true => Self::Small(vec![S::default(); nodes]),
            false => Self::Huge(Zeroed::new(nodes)?),
        })
    }

    fn bytes_for(nodes: usize) -> usize {
        nodes * size_of::<S>()
    }
}

impl<S: State> Deref for States<S> {
    type Target = [S];

    #[inline]
    fn deref(&self) -> &[S] {
        match self {
            Self::Small(states) => states,
            Self::Huge(states) => states,
        }
    }
}

impl<S: State> DerefMut for States<S> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [S] {
        match self {
            Self::Small(states) => states,
            Self::Huge(states) => states,
        }
    }
}

/// A node whose turn it is, and the mass it had when its round began.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Turn {
    pub node: u32,
    pub mass: f32,
    /// What leaves it, what of that each unit of weight carries, and what goes to those similar.
    pub leaves: f32,
    pub per_weight: f32,
    pub similar: f32,
    /// What the graph finds its links by.
    pub start: u32,
    pub fan: u32,
}

/// The most of a node's mass that came at once: from where, by what kind of link, and by which
/// arrival that node had got its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub source: u32,
    pub kind: u16,
    pub before: u32,
}

/// What one push works with.
#[derive(Debug)]
pub struct Workspace<S> {
    states: States<S>,
    /// Nodes whose state is not zero, in the order in which mass came to them.
    pub(super) touched: List,
    /// Nodes for the next round, and those that a round begins with.
    pub(super) queue: List,
    pub(super) queue_before: List,
    /// Nodes of this round.
    pub(super) turns: List<Turn>,
    /// Seeds whose links would carry too little to come first.
    pub(super) late: Vec<u32>,
    pub(super) arrivals: Vec<Arrival>,
}

impl<S: State> Workspace<S> {
    pub fn new(nodes: u32) -> io::Result<Self> {
        Ok(Self {
            states: States::new(nodes as usize)?,
            touched: List::default(),
            queue: List::default(),
            queue_before: List::default(),
            turns: List::default(),
            late: Vec::new(),
            arrivals: Vec::new(),
        })
    }

    /// Nodes that there are states for.
    pub fn nodes(&self) -> u32 {
        self.states.len() as u32
    }

    /// Makes room for nodes that have come up, a quarter more than there are. Without memory for
    /// them they take nothing.
    pub(super) fn grow(&mut self, nodes: u32) {
        if nodes <= self.nodes() {
            return;
        }
        if let Ok(mut states) = States::new(nodes as usize + nodes as usize / 4) {
            for &node in self.touched.iter() {
                states[node as usize] = self.states[node as usize];
            }
            self.states = states;
        }
    }

    pub fn bytes(&self) -> usize {
        let lists = [&self.touched, &self.queue, &self.queue_before];
        States::<S>::bytes_for(self.states.len())
            + lists.map(List::bytes).iter().sum::<usize>()
            + self.late.capacity() * size_of::<u32>()
            + self.turns.bytes()
            + self.arrivals.capacity() * size_of::<Arrival>()
    }

    /// Whoever reads many takes the slice once: finding it costs more than reading one.
    pub(super) fn states(&self) -> &[S] {
        &self.states
    }

    /// The states and the lists, apart.
    #[inline]
    pub(super) fn parts(&mut self) -> Parts<'_, S> {
        Parts {
            states: &mut self.states,
            touched: &mut self.touched,
            queue: &mut self.queue,
            turns: &mut self.turns,
            late: &mut self.late,
            arrivals: &mut self.arrivals,
        }
    }

    fn clear(&mut self) {
        let states = &mut *self.states;
        self.touched.iter().for_each(|node| states[*node as usize] = S::default());
        self.touched.clear();
        self.queue.clear();
        self.turns.clear();
        self.late.clear();
        self.arrivals.clear();
    }
}

/// What the inner loop of a push writes to.
pub(super) struct Parts<'a, S> {
    pub states: &'a mut [S],
    pub touched: &'a mut List,
    pub queue: &'a mut List,
    pub turns: &'a mut List<Turn>,
    pub late: &'a mut Vec<u32>,
    pub arrivals: &'a mut Vec<Arrival>,
}

/// What a pool has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolCounters {
    /// Workspaces that were there.
    pub hits: u64,
    /// Workspaces that had to be made.
    pub misses: u64,
    /// Requests refused at the bound.
    pub refused: u64,
    /// Workspaces let go: for a larger one, at the bound, under pressure.
    pub dropped: u64,
}

/// Workspaces to be used again.
#[derive(Debug)]
pub struct Pool<S> {
    /// With their bytes.
    idle: Vec<(usize, Box<Workspace<S>>)>,
    bytes_idle: usize,
    /// Of those at work, as they were when they were taken.
    bytes_lent: usize,
    bytes_max: usize,
    bytes_high_water: usize,
    counters: PoolCounters,
}

/// A workspace at work. It goes back with [`Pool::release`].
#[derive(Debug)]
pub struct Lent<S> {
    workspace: Box<Workspace<S>>,
    bytes: usize,
}

impl<S> Deref for Lent<S> {
    type Target = Workspace<S>;

    #[inline]
    fn deref(&self) -> &Workspace<S> {
        &self.workspace
    }
}

impl<S> DerefMut for Lent<S> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Workspace<S> {
        &mut self.workspace
    }
}

impl<S: State> Pool<S> {
    pub fn new(bytes_max: usize) -> Self {
        Self {
            idle: Vec::new(),
            bytes_idle: 0,
            bytes_lent: 0,
            bytes_max,
            bytes_high_water: 0,
            counters: PoolCounters::default(),
        }
    }

    pub fn counters(&self) -> PoolCounters {
        self.counters
    }

    /// Bytes of all workspaces, those at work included.
    pub fn bytes(&self) -> usize {
        self.bytes_idle + self.bytes_lent
    }

    /// The most that it ever was.
    pub fn bytes_high_water(&self) -> usize {
        self.bytes_high_water
    }

    /// A workspace for so many nodes, all of them untouched.
    #[inline]
    pub fn acquire(&mut self, nodes: u32) -> Result<Lent<S>, PoolError> {
        match self.idle.pop_if(|(_, workspace)| workspace.nodes() >= nodes) {
            Some(idle) => Ok(self.lend(idle)),
            None => self.acquire_slowly(nodes),
        }
    }

    #[inline]
    fn lend(&mut self, (bytes, workspace): (usize, Box<Workspace<S>>)) -> Lent<S> {
        self.bytes_idle -= bytes;
        self.bytes_lent += bytes;
        self.counters.hits += 1;
        Lent { workspace, bytes }
    }

    /// Looks further down, and makes one if there is none.
    #[cold]
    fn acquire_slowly(&mut self, nodes: u32) -> Result<Lent<S>, PoolError> {
        if let Some(at) = self.idle.iter().rposition(|(_, idle)| idle.nodes() >= nodes) {
            let idle = self.idle.remove(at);
            return Ok(self.lend(idle));
        }
        // A space grows node by node; a quarter more saves making one for each.
        let roomy = nodes.saturating_add(nodes / 4);
        let bytes = States::<S>::bytes_for(roomy as usize);
        self.shrink(self.bytes_max.saturating_sub(self.bytes_lent + bytes));
        if self.bytes() + bytes > self.bytes_max {
            self.counters.refused += 1;
            let (bytes_in_use, bytes_max) = (self.bytes_lent, self.bytes_max);
            return Err(PoolError::Full { nodes, bytes, bytes_in_use, bytes_max });
        }
        let workspace = Workspace::new(roomy);
        let workspace = workspace.map_err(|source| PoolError::Memory { nodes, source })?;
        self.counters.misses += 1;
        self.bytes_lent += bytes;
        self.bytes_high_water = self.bytes_high_water.max(self.bytes());
        Ok(Lent { workspace: Box::new(workspace), bytes })
    }

    /// Takes a workspace back and clears what was touched.
    #[inline]
    pub fn release(&mut self, lent: Lent<S>) {
        let Lent { mut workspace, bytes } = lent;
        self.bytes_lent -= bytes;
        let bytes = workspace.bytes();
        workspace.clear();
        self.bytes_idle += bytes;
        self.idle.push((bytes, workspace));
        if self.bytes() > self.bytes_high_water {
            self.bytes_high_water = self.bytes();
        }
        if self.bytes() > self.bytes_max {
            self.shrink(self.bytes_max.saturating_sub(self.bytes_lent));
        }
    }

    /// Lets idle workspaces go until they have no more than so many bytes, the longest idle first.
    pub fn shrink(&mut self, bytes_idle_max: usize) {
        let mut drop = 0;
        while self.bytes_idle > bytes_idle_max {
            self.bytes_idle -= self.idle[drop].0;
            drop += 1;
        }
        self.idle.drain(..drop);
        self.counters.dropped += drop as u64;
    }

    /// Sets the bound; what is idle above it goes at once.
    pub fn set_bytes_max(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
        self.shrink(bytes_max.saturating_sub(self.bytes_lent));
    }
}
