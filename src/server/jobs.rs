//! What a shard computes for others: recalls and spreads, slice by slice and in turn.
//!
//! One task works on the first job of the queue. It gets a few slices in turn, as most end within
//! them and find what they had in the caches; then it is the next one's turn. A spread leaves the
//! queue when an exchange is over, and waits beside it until its driver gives it more or ends it.

use std::collections::{HashMap, VecDeque};

use engram_shards::episode::{RecallRequest, Refusal};
use engram_shards::inquiry::{Around, AroundRequest, Inquiry, InquiryRequest};
use engram_shards::recall::Recall;
use engram_shards::spread::batching::{Batcher, Machine};
use engram_shards::spreading::{Asked, Collected, Exchanged, Spreading};

use super::core::Inner;
use super::origin::Origin;
use super::request::{Answer, SpreadKey, SpreadOrder};

/// Bytes of vectors that a recall compares before others get their turn: about 20 µs.
const RECALL_SLICE_BYTES: usize = 512 << 10;
/// How long a slice of a spread shall take.
const SPREAD_SLICE_NS: u64 = 25_000;
/// Slices of a job in turn, before the next one has its own.
const SLICES_IN_TURN: u32 = 4;
/// Jobs in the queue at once; each gets its slices in turn.
const JOBS_MAX: usize = 256;
/// The hint that goes with a refusal for too many.
const RETRY_JOB_MS: u32 = 20;

/// See the top of the file.
#[derive(Debug)]
pub(super) struct Jobs {
    queue: VecDeque<Active>,
    /// Spreads between two exchanges.
    idle: HashMap<SpreadKey, Box<Spreading>>,
    /// Spreads that were driven from here so far.
    driven: u64,
    /// Edges of a slice.
    batcher: Batcher,
}

#[derive(Debug)]
struct Active {
    job: Job,
    origin: Origin,
    began_ns: u64,
    /// Slices it has had.
    slices: u32,
}

#[derive(Debug)]
enum Job {
    Recall(Box<Recall>),
    Inquiry(Box<Inquiry>),
    Around(Box<Around>),
    Spread(Ordered),
}

/// An exchange of a spread.
#[derive(Debug)]
struct Ordered {
    key: SpreadKey,
    spreading: Box<Spreading>,
    until_ns: Option<u64>,
    /// What its slices took so far.
    elapsed_ns: u64,
    finish: Option<Box<Asked>>,
}

impl Jobs {
    pub(super) fn new(machine: Machine) -> Self {
        let (queue, idle, driven) = (VecDeque::new(), HashMap::new(), 0);
        Self { queue, idle, driven, batcher: Batcher::new(machine, SPREAD_SLICE_NS) }
    }

    /// Edges of a slice as they are now.
    pub(super) fn batch_edges(&self) -> u64 {
        self.batcher.edges()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn make_key(&mut self, driver: usize) -> SpreadKey {
        self.driven += 1;
        SpreadKey { driver, number: self.driven }
    }

    fn push(&mut self, job: Job, began_ns: u64, origin: Origin) {
        self.queue.push_back(Active { job, origin, began_ns, slices: 0 });
    }

    fn check_room(&self) -> Result<(), Refusal> {
        match self.queue.len() < JOBS_MAX {
            true => Ok(()),
            false => {
                let what = "the shard's queue of recalls";
                Err(Refusal::Busy { what, retry_after_ms: RETRY_JOB_MS })
            }
        }
    }
}

impl Inner {
    pub(super) fn take_recall(&mut self, request: RecallRequest, at_ns: u64, origin: Origin) {
        self.metrics.recalls += 1;
        match self.jobs.check_room().and_then(|()| self.shard.recall(request)) {
            Ok(recall) => self.jobs.push(Job::Recall(Box::new(recall)), at_ns, origin),
            Err(refusal) => self.deliver(origin, Answer::Hits(Err(refusal))),
        }
    }

    pub(super) fn take_inquiry(&mut self, request: InquiryRequest, at_ns: u64, origin: Origin) {
        self.metrics.recalls += 1;
        match self.jobs.check_room().and_then(|()| self.shard.inquiry(request)) {
            Ok(inquiry) => self.jobs.push(Job::Inquiry(Box::new(inquiry)), at_ns, origin),
            Err(refusal) => self.deliver(origin, Answer::Found(Err(refusal))),
        }
    }

    pub(super) fn take_around(&mut self, request: AroundRequest, at_ns: u64, origin: Origin) {
        match self.shard.around(request) {
            Ok(around) => self.jobs.push(Job::Around(Box::new(around)), at_ns, origin),
            Err(refusal) => self.deliver(origin, Answer::Found(Err(refusal))),
        }
    }

    pub(super) fn take_order(&mut self, order: SpreadOrder, at_ns: u64, origin: Origin) {
        let is_last = order.finish.is_some();
        match self.begin_exchange(order) {
            Ok(ordered) => self.jobs.push(Job::Spread(ordered), at_ns, origin),
            Err(refusal) => self.deliver(origin, spread_refused(is_last, refusal)),
        }
    }

    /// A spread that begins, or that goes on.
    fn begin_exchange(&mut self, order: SpreadOrder) -> Result<Ordered, Refusal> {
        let SpreadOrder { key, begin, exchange, until_ns, finish } = order;
        let mut spreading = match begin {
            Some(request) => {
                self.metrics.spreads += 1;
                self.jobs.check_room()?;
                Box::new(self.shard.spread(request)?)
            }
            None => self.jobs.idle.remove(&key).expect("its driver goes on with what it began"),
        };
        spreading.give(exchange);
        let (elapsed_ns, finish) = (0, finish.map(Box::new));
        Ok(Ordered { key, spreading, until_ns, elapsed_ns, finish })
    }

    /// Lets go of a spread, be it in the queue or beside it.
    pub(super) fn end_spread(&mut self, key: SpreadKey) {
        let is_it =
            |active: &Active| matches!(&active.job, Job::Spread(ordered) if ordered.key == key);
        let queued = self.jobs.queue.iter().position(is_it);
        let queued = queued.and_then(|nth| self.jobs.queue.remove(nth));
        if let Some(Active {
            job: Job::Spread(Ordered { spreading, finish, .. }), origin, ..
        }) = queued
        {
            self.shard.spread_end(*spreading);
            let refusal = Refusal::Busy { what: "the time for a spread", retry_after_ms: 0 };
            self.deliver(origin, spread_refused(finish.is_some(), refusal));
        }
        if let Some(idle) = self.jobs.idle.remove(&key) {
            self.shard.spread_end(*idle);
        }
    }

    /// Works on the first job, and sends it to the back of the queue when it had its slices in
    /// turn; whether there is more.
    pub(super) fn compute_slice(&mut self) -> bool {
        let Some(Active { job, origin, began_ns, slices }) = self.jobs.queue.pop_front() else {
            return false;
        };
        let unfinished = match job {
            Job::Recall(recall) => self.compute_recall(recall, origin, began_ns),
            Job::Inquiry(inquiry) => self.compute_inquiry(inquiry, origin, began_ns),
            Job::Around(around) => self.compute_around(around, origin),
            Job::Spread(ordered) => self.compute_spread(ordered, origin, began_ns),
        };
        if let Some((job, origin)) = unfinished {
            let slices = slices + 1;
            let active = Active { job, origin, began_ns, slices };
            match slices % SLICES_IN_TURN {
                0 => self.jobs.queue.push_back(active),
                _ => self.jobs.queue.push_front(active),
            }
        }
        !self.jobs.is_empty()
    }

    fn compute_recall(
        &mut self,
        mut recall: Box<Recall>,
        origin: Origin,
        began_ns: u64,
    ) -> Option<(Job, Origin)> {
        let hits = match self.shard.recall_step(&mut recall, RECALL_SLICE_BYTES) {
            Ok(false) => return Some((Job::Recall(recall), origin)),
            Ok(true) => {
                let hits = self.shard.recall_finish(*recall);
                let now = (self.clock.monotonic_ns)();
                self.metrics.recall.record(now.saturating_sub(began_ns));
                hits
            }
            Err(refusal) => Err(refusal),
        };
        self.deliver(origin, Answer::Hits(hits));
        None
    }

    fn compute_inquiry(
        &mut self,
        mut inquiry: Box<Inquiry>,
        origin: Origin,
        began_ns: u64,
    ) -> Option<(Job, Origin)> {
        let found = match self.shard.inquiry_step(&mut inquiry, RECALL_SLICE_BYTES) {
            Ok(false) => return Some((Job::Inquiry(inquiry), origin)),
            Ok(true) => {
                let found = self.shard.inquiry_finish(*inquiry);
                let now = (self.clock.monotonic_ns)();
                self.metrics.recall.record(now.saturating_sub(began_ns));
                found
            }
            Err(refusal) => Err(refusal),
        };
        self.deliver(origin, Answer::Found(found.map(Box::new)));
        None
    }

    fn compute_around(&mut self, mut around: Box<Around>, origin: Origin) -> Option<(Job, Origin)> {
        let found = match self.shard.around_step(&mut around) {
            Ok(false) => return Some((Job::Around(around), origin)),
            Ok(true) => self.shard.around_finish(*around),
            Err(refusal) => Err(refusal),
        };
        self.deliver(origin, Answer::Found(found.map(Box::new)));
        None
    }

    fn compute_spread(
        &mut self,
        mut ordered: Ordered,
        origin: Origin,
        began_ns: u64,
    ) -> Option<(Job, Origin)> {
        let now_ns = || (self.clock.monotonic_ns)();
        let (slice_ns, batch, edges) =
            (now_ns(), self.jobs.batcher.edges(), ordered.spreading.edges());
        let is_late = ordered.until_ns.is_some_and(|until| slice_ns >= until);
        let begun = ordered.spreading.exchanges_begun();
        let stepped = self.shard.spread_step(&mut ordered.spreading, batch);
        let elapsed_ns = now_ns() - slice_ns;
        ordered.elapsed_ns += elapsed_ns;
        let visited = ordered.spreading.edges().saturating_sub(edges);
        self.jobs.batcher.note(visited, elapsed_ns);
        self.metrics.spreading.note_slice(visited, batch);
        match stepped {
            // What has just begun gets one slice, however late it is.
            Ok(false) if !is_late || ordered.spreading.exchanges_begun() > begun => {
                return Some((Job::Spread(ordered), origin));
            }
            Ok(is_over) => {
                let elapsed_ns = ordered.elapsed_ns;
                let predicted = self.shard.spread_note(&mut ordered.spreading, elapsed_ns);
                if let Some(predicted) = predicted {
                    self.metrics.spreading.note_prediction(predicted.ns, elapsed_ns);
                }
                let answer = self.end_exchange(ordered, !is_over);
                let now = (self.clock.monotonic_ns)();
                self.metrics.spread.record(now.saturating_sub(began_ns));
                self.deliver(origin, answer);
            }
            Err(refusal) => {
                self.shard.spread_end(*ordered.spreading);
                self.deliver(origin, spread_refused(ordered.finish.is_some(), refusal));
            }
        }
        None
    }

    /// The answer to an exchange that is over, or was cut; with the last one, to the spread.
    fn end_exchange(&mut self, ordered: Ordered, was_cut: bool) -> Answer {
        let Ordered { key, mut spreading, finish, .. } = ordered;
        let was_cut = was_cut || spreading.was_limited();
        let Some(asked) = finish else {
            let exchanged = Exchanged { was_cut, ..spreading.take() };
            self.jobs.idle.insert(key, spreading);
            return Answer::Exchanged(Ok(exchanged));
        };
        let collected = self.shard.spread_finish(*spreading, *asked);
        Answer::Collected(collected.map(|mut collected| {
            collected.was_cut = was_cut;
            let Collected { edges, nodes, turns, turns_ahead, .. } = collected;
            self.metrics.spreading.note_work(edges, nodes, turns, turns_ahead);
            Box::new(collected)
        }))
    }
}

/// A refusal in the shape of the answer to an exchange.
pub(super) fn spread_refused(is_last: bool, refusal: Refusal) -> Answer {
    match is_last {
        true => Answer::Collected(Err(refusal)),
        false => Answer::Exchanged(Err(refusal)),
    }
}
