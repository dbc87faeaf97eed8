//! What the edge gets of a shard's time, and when.
//!
//! Commands that came over HTTP are carried out behind those of the sockets: in short slices, after
//! each of which the sockets are looked at; and not while a recall is under way, unless that goes
//! on for long. So a recall waits for a part of a slice at most. Figures take many times as long as
//! a slice in one piece. They are told so rarely that fewer than one recall in a hundred meets one.

use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;

use super::core::Core;
use super::gate::Gate;
use crate::runtime;

/// How long commands of the edge are carried out between two looks at the sockets.
const SLICE_NS: u64 = 10_000;
/// How long they wait for recalls.
const WAIT_NS_MAX: u64 = 300_000;
/// How often figures are told in a second, whichever shard is asked. The histograms of all stages
/// take about 100 µs.
const FIGURES_PER_S: u64 = 40;
/// Commands that ask all shards for figures.
const FIGURES: [&[u8]; 4] = [b"EG.STATS", b"EG.LATENCY", b"EG.SLOWLOG", b"INFO"];

/// The account of one shard; see the top of the file.
#[derive(Debug)]
pub(super) struct EdgeShare {
    /// What the present slice has taken, and when the sockets were looked at before it.
    spent_ns: Cell<u64>,
    looked_ns: Cell<u64>,
    /// It was waited for: it goes on beside recalls.
    is_granted: Cell<bool>,
    /// Whoever waits for the next slice.
    next_slice: Gate,
    figures_interval_ns: u64,
    /// When figures may be told again.
    figures_ns: Cell<u64>,
}

impl EdgeShare {
    /// Of one of so many shards. All of them are asked in turn.
    pub(super) fn new(shards: usize) -> Self {
        Self {
            spent_ns: Cell::new(0),
            looked_ns: Cell::new(0),
            is_granted: Cell::new(false),
            next_slice: Gate::new(1),
            figures_interval_ns: 1_000_000_000 * shards as u64 / FIGURES_PER_S,
            figures_ns: Cell::new(0),
        }
    }

    /// Waits for the next slice if the present one is over.
    pub(super) async fn slice(&self, core: &Core) {
        if !self.is_over(core) {
            return;
        }
        let _turn = self.next_slice.enter().await;
        // Whoever was before may have begun one.
        if !self.is_over(core) {
            return;
        }
        core.turn();
        core.breathe().await;
        let until_ns = core.now_ns() + WAIT_NS_MAX;
        while core.is_computing() && core.now_ns() < until_ns {
            core.breathe().await;
        }
        self.begin(core, true);
    }

    fn begin(&self, core: &Core, is_granted: bool) {
        self.looked_ns.set(core.breathed_ns());
        self.spent_ns.set(0);
        self.is_granted.set(is_granted);
    }

    /// Whether the slice is used up, or a recall has come. Each look at the sockets begins another.
    fn is_over(&self, core: &Core) -> bool {
        if self.looked_ns.get() != core.breathed_ns() {
            self.begin(core, false);
        }
        self.spent_ns.get() >= SLICE_NS || (core.is_computing() && !self.is_granted.get())
    }

    /// Takes account of work that began then.
    pub(super) fn spend(&self, core: &Core, began_ns: u64) {
        // A breath in between began another slice.
        let began_ns = began_ns.max(core.breathed_ns());
        self.spent_ns.set(self.spent_ns.get() + core.now_ns().saturating_sub(began_ns));
    }

    /// Waits until figures may be told, if that is what such a command asks for.
    pub(super) async fn figures_of(&self, core: &Core, arguments: &[Bytes]) {
        let is_of_a_space = |name: &Bytes| &name[..] == b"EG.STATS" && arguments.len() > 1;
        let is_about_figures = |name: &&Bytes| FIGURES.contains(&&name[..]) && !is_of_a_space(name);
        if arguments.first().filter(is_about_figures).is_some() {
            self.figures(core).await;
        }
    }

    /// Waits until figures may be told. Those who wait are told in the order in which they came.
    pub(super) async fn figures(&self, core: &Core) {
        let now_ns = core.now_ns();
        let at_ns = now_ns.max(self.figures_ns.get());
        self.figures_ns.set(at_ns + self.figures_interval_ns);
        if at_ns > now_ns {
            runtime::sleep(Duration::from_nanos(at_ns - now_ns)).await;
        }
    }
}
