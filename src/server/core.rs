//! The heart of a shard's thread: the engine, the lanes, and who waits for which answer.
//!
//! Whoever has work calls [`Core::submit`] and, when its turn is over, [`Core::turn`]: that takes
//! what came over the lanes, what the log has finished, hands the log's next batch to the disk and
//! wakes the peers something was sent to. Nothing in here waits; the tasks around it do.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engram_lanes::inbox::{Rank, Taken, Waits};
use engram_lanes::mesh::{self, Full};
use engram_shards::episode::{Refusal, SpaceNumber, SpaceSettings};
use engram_shards::io::{Clock, Io};
use engram_shards::shard::{Advanced, Effect, Reply, Shard, Ticket};
use engram_shards::spread::batching::Machine;
use slab::Slab;

use super::batch::Batch;
use super::budget::{Held, ReplyBudget};
use super::gate::Gate;
use super::jobs::Jobs;
use super::journal::{Journal, JournalSettings};
use super::news::Followers;
use super::notify::Notify;
use super::origin::{CommandOf, Origin, Promise};
use super::pace::{STRETCH_NS_MAX, work_stretch_ns};
use super::request::{Answer, Answered, Asked, OwnAsked, Request, SpreadKey};
use super::route::{IdMaker, Route};
use super::snapshots::Snapshots;
use super::stamps::Stamps;
use crate::metrics::Metrics;
use crate::recovery::Recovery;
use crate::runtime::{self, Breath};

/// How long recalls compute between two breaths at least. A breath costs about 9 µs.
const COMPUTE_NS: u64 = 50_000;
/// What each recall that waits adds to a stretch: where many wait, breaths hold all of them up.
const COMPUTE_QUEUED_NS: u64 = 12_500;
/// Of the time that the rest took since, recalls compute for one part in so many: under a flood of
/// stores, whose breaths are long, they would starve otherwise.
const COMPUTE_SHARE: u64 = 2;
/// The work that nobody waits for is done in so many units at most.
const WORK_UNITS_MAX: usize = 256;
/// While recalls are under way it is done one unit at a time, so long apart.
const WORK_PAUSE_NS: u64 = 300_000;
/// Requests between two ticks up to which a shard is taken for quiet.
const QUIET_REQUESTS: u64 = 50;
/// Requests served in one turn, and answers taken; the rest waits for the next.
const TURN_MESSAGES_MAX: usize = 1024;
/// Units of each lane: what waits in one takes no more than 64 MiB.
pub const LANE_UNITS: u32 = 4096;
/// How long the shard may go on without looking at its sockets.
const BREATH_NS: u64 = 100_000;
/// Spreads over several shards that are driven at once, from all shards together.
const SPREADS_DRIVEN_MAX: usize = 64;
/// The hint that goes with a refusal for want of room in a lane.
const RETRY_LANE_MS: u32 = 2;

/// The lanes of a shard, and what they are before its thread has begun.
type Lanes = mesh::Lanes<Asked, Answered, OwnAsked>;
pub type LaneEnds = mesh::Ends<Asked, Answered>;

/// See the top of the file.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) number: usize,
    pub(super) clock: Clock,
    /// For episodes that are stored without a time.
    pub(super) stamps: Stamps,
    recovery: Arc<Recovery>,
    snapshots: Arc<Snapshots>,
    patience: Duration,
    pub(super) inner: RefCell<Inner>,
    pub(super) journal: Rc<Journal>,
    /// Which command is carried out by the task that runs now, if one is.
    command: RefCell<Option<CommandOf>>,
    /// For spreads over several shards: each holds memory on all of them while it is driven.
    pub(super) spreads: Gate,
    breath: Breath,
    breathed_ns: Cell<u64>,
    /// Requests so far: recalls compute in longer stretches while it stands still.
    pub(super) activity: Cell<u64>,
    compute: Notify,
    /// There may be work that nobody waits for.
    background: Notify,
    /// When a lingering batch is to be looked at again, and the task that does it.
    ripe_ns: Cell<u64>,
    linger: Notify,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) number: usize,
    pub(super) clock: Clock,
    pub(super) shard: Shard<Box<dyn Io>>,
    pub(super) lanes: Lanes,
    /// Who waits for the log, by ticket.
    waiting: Slab<Origin>,
    /// Who waits for a peer, by call.
    called: Slab<Origin>,
    pub(super) jobs: Jobs,
    /// When the work that nobody waits for was last done.
    worked_ns: u64,
    /// Few requests came between the last two ticks.
    is_quiet: bool,
    /// Requests there had been at the last tick.
    activity_ticked: u64,
    /// The work that nobody waits for may have more to do at the end of the turn.
    may_work: bool,
    effects: Vec<Effect>,
    pub(super) metrics: Metrics,
    ids: IdMaker,
    replies: ReplyBudget,
    /// Episodes of other shards that answers told, by shard.
    pub(super) told: Vec<Vec<(SpaceNumber, u64)>>,
    pub(super) followers: Followers,
    /// Episodes that were erased, on all shards, while this one serves.
    pub(super) erasures: u64,
    /// Whether anything is done offline.
    pub(super) works_offline: bool,
    pub(super) journal: Rc<Journal>,
}

impl Core {
    pub(super) fn new(
        number: usize,
        clock: Clock,
        shard: Shard<Box<dyn Io>>,
        lanes: LaneEnds,
        (seed, machine): (u64, Machine),
        recovery: Arc<Recovery>,
        (snapshots, patience, journal): (Arc<Snapshots>, Duration, JournalSettings),
    ) -> std::io::Result<Self> {
        let lanes: Lanes = lanes.serve();
        let shards = lanes.shards();
        let journal = Rc::new(Journal::new((number, shards), clock, journal));
        let inner = Inner {
            number,
            clock,
            shard,
            lanes,
            waiting: Slab::new(),
            called: Slab::new(),
            jobs: Jobs::new(machine),
            worked_ns: 0,
            is_quiet: false,
            activity_ticked: 0,
            may_work: false,
            effects: Vec::new(),
            metrics: Metrics::default(),
            ids: IdMaker::new(seed),
            replies: ReplyBudget::default(),
            told: vec![Vec::new(); shards],
            followers: Followers::default(),
            erasures: 0,
            works_offline: false,
            journal: Rc::clone(&journal),
        };
        Ok(Self {
            number,
            clock,
            stamps: Stamps::default(),
            recovery,
            snapshots,
            patience,
            inner: RefCell::new(inner),
            journal,
            command: RefCell::default(),
            spreads: Gate::new((SPREADS_DRIVEN_MAX / shards).max(1)),
            breath: Breath::new()?,
            breathed_ns: Cell::new(0),
            activity: Cell::new(0),
            compute: Notify::default(),
            background: Notify::default(),
            ripe_ns: Cell::new(0),
            linger: Notify::default(),
        })
    }

    /// µs since 1970-01-01 UTC.
    pub(super) fn wall_us(&self) -> i64 {
        (self.clock.wall_us)()
    }

    pub(super) fn now_ns(&self) -> u64 {
        (self.clock.monotonic_ns)()
    }

    /// How the start went.
    pub(super) fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    pub(super) fn snapshots(&self) -> &Arc<Snapshots> {
        &self.snapshots
    }

    /// How long a client may leave a watch waiting.
    pub(super) fn patience_ns(&self) -> u64 {
        u64::try_from(self.patience.as_nanos()).unwrap_or(u64::MAX)
    }

    pub(super) fn shards(&self) -> usize {
        self.inner.borrow().lanes.shards()
    }

    /// Changes the cells of this shard.
    pub(super) fn measure(&self, change: impl FnOnce(&mut Metrics)) {
        change(&mut self.inner.borrow_mut().metrics);
    }

    /// The number, settings and route of a space.
    pub(super) fn space(&self, name: &str) -> Result<(SpaceNumber, SpaceSettings, Route), Refusal> {
        let inner = self.inner.borrow();
        let (number, settings) = inner.shard.space_named(name)?;
        Ok((number, settings.clone(), Route::new(number, settings, inner.lanes.shards())))
    }

    /// The number and route of a space.
    pub(super) fn route(&self, name: &str) -> Result<Route, Refusal> {
        let inner = self.inner.borrow();
        let (number, settings) = inner.shard.space_named(name)?;
        Ok(Route::new(number, settings, inner.lanes.shards()))
    }

    pub(super) fn space_names(&self) -> Vec<String> {
        let inner = self.inner.borrow();
        let mut names: Vec<_> =
            inner.shard.spaces().map(|(_, settings)| settings.name.clone()).collect();
        names.sort_unstable();
        names
    }

    /// An id for an episode that came without one.
    pub(super) fn make_id(&self) -> Bytes {
        self.inner.borrow_mut().ids.make(self.wall_us())
    }

    /// A name for a spread that is driven from here.
    pub(super) fn make_spread_key(&self) -> SpreadKey {
        self.inner.borrow_mut().jobs.make_key(self.number)
    }

    /// Holds the bytes of a reply against the bound on all replies of this shard.
    pub(super) fn hold_reply(&self, bytes: usize) -> Result<Held, Refusal> {
        self.inner.borrow().replies.hold(bytes)
    }

    /// Answers an item that needs no shard.
    pub(super) fn fulfil_item(&self, batch: &Batch, index: usize, answer: Answer) {
        batch.fulfil(&self.inner.borrow().replies, index, answer);
    }

    /// Hands a request to its owner; the answer goes to `origin`, possibly at once.
    pub(super) fn submit(
        &self,
        owner: usize,
        request: Request,
        rank: Rank,
        at_ns: u64,
        origin: Origin,
    ) {
        let mut inner = self.inner.borrow_mut();
        let asked = Asked { request, at_ns };
        match owner == self.number {
            true => inner.send_own(rank, asked, origin),
            false => inner.send(owner, rank, asked, origin),
        }
    }

    /// Hands a request to its owner and keeps a promise of the answer. The caller ends its turn.
    pub(super) fn ask(&self, owner: usize, request: Request) -> Rc<Promise> {
        let command = self.command.borrow().clone();
        let promise = Promise::new(command);
        let (rank, origin) = (request.rank(), Origin::Task(Rc::clone(&promise)));
        self.submit(owner, request, rank, self.now_ns(), origin);
        promise
    }

    /// Has a task carry out a command: what it asks for is asked for that.
    pub(super) async fn carry_out<T>(
        &self,
        command: CommandOf,
        task: impl Future<Output = T>,
    ) -> T {
        let mut task = std::pin::pin!(task);
        std::future::poll_fn(|context| {
            let before = self.command.replace(Some(command.clone()));
            let polled = task.as_mut().poll(context);
            self.command.replace(before);
            polled
        })
        .await
    }

    /// Asks one shard and waits.
    pub(super) async fn call(&self, owner: usize, request: Request) -> Answer {
        let promise = self.ask(owner, request);
        self.turn();
        promise.wait().await
    }

    /// Asks several shards at once and waits for all, in their order.
    pub(super) async fn call_all(
        &self,
        owners: impl Iterator<Item = usize>,
        request: impl Fn() -> Request,
    ) -> Vec<Answer> {
        let promises: Vec<_> = owners.map(|owner| self.ask(owner, request())).collect();
        self.turn();
        let mut answers = Vec::with_capacity(promises.len());
        for promise in promises {
            answers.push(promise.wait().await);
        }
        answers
    }

    /// The end of a stretch of work; see the top of the file.
    pub(super) fn turn(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.take_answers();
        loop {
            let served = inner.serve();
            self.activity.set(self.activity.get() + served);
            if let Some(ripe_ns) = inner.poll_log() {
                self.ripe_ns.set(ripe_ns);
                self.linger.notify();
            }
            // What stalled goes on as soon as the disk has taken what was before it.
            if !inner.may_resume() {
                break;
            }
            inner.lanes.inbox.resume();
        }
        inner.lanes.wake_peers();
        if std::mem::take(&mut inner.may_work) {
            self.background.notify();
        }
        if !inner.jobs.is_empty() {
            self.compute.notify();
        }
    }

    /// Whether nothing waits, and every write that was taken is answered.
    pub(super) fn is_idle(&self) -> bool {
        let inner = self.inner.borrow();
        inner.shard.is_idle() && inner.lanes.inbox.is_empty()
    }

    /// Why this shard takes no writes, if it does not.
    pub(super) fn read_only_reason(&self) -> Option<String> {
        self.inner.borrow().shard.read_only_reason().map(str::to_owned)
    }

    /// Has the log note where it ends, once it is idle.
    pub(super) fn close(&self) {
        self.inner.borrow_mut().shard.close();
    }

    /// Housekeeping, a few times a second.
    pub(super) fn tick(&self) {
        (0..self.shards()).for_each(|shard| self.tell_recalled(shard));
        {
            let mut inner = self.inner.borrow_mut();
            inner.shard.tick();
            inner.end_parking();
            let activity = self.activity.get();
            inner.is_quiet = activity - inner.activity_ticked <= QUIET_REQUESTS;
            inner.activity_ticked = activity;
            inner.may_work = true;
        }
        self.turn();
    }

    /// Takes a breath if the last one was too long ago.
    pub(super) async fn breathe_if_due(&self) {
        if self.now_ns() - self.breathed_ns.get() >= BREATH_NS {
            self.breathe().await;
        }
    }

    /// Lets the shard look at its sockets.
    pub(super) async fn breathe(&self) {
        self.breath.breathe().await;
        self.breathed_ns.set(self.now_ns());
    }

    /// When the last breath was.
    pub(super) fn breathed_ns(&self) -> u64 {
        self.breathed_ns.get()
    }

    /// Whether recalls or spreads are under way.
    pub(super) fn is_computing(&self) -> bool {
        !self.inner.borrow().jobs.is_empty()
    }

    /// The task that computes recalls, slice by slice, round and round.
    pub(super) async fn compute(self: Rc<Self>) {
        let mut stretch_ns = COMPUTE_NS;
        let (mut seen, mut ended_ns) = (0, self.now_ns());
        loop {
            let began_ns = self.now_ns();
            let away_ns = began_ns - ended_ns;
            let mut has_more = true;
            while has_more && self.now_ns() - began_ns < stretch_ns {
                has_more = self.inner.borrow_mut().compute_slice();
            }
            self.turn();
            if !has_more {
                self.compute.wait().await;
                ended_ns = self.now_ns();
                continue;
            }
            ended_ns = self.now_ns();
            self.breathe().await;
            let activity = self.activity.get();
            stretch_ns = match activity == seen {
                true => (stretch_ns * 2).min(STRETCH_NS_MAX),
                false => {
                    let queued_ns = self.inner.borrow().jobs.len() as u64 * COMPUTE_QUEUED_NS;
                    (away_ns / COMPUTE_SHARE).max(queued_ns).clamp(COMPUTE_NS, STRETCH_NS_MAX)
                }
            };
            seen = activity;
        }
    }

    /// The task that does what nobody waits for, in small pieces between everything else.
    pub(super) async fn work(self: Rc<Self>) {
        loop {
            let advanced = self.inner.borrow_mut().work(|| self.now_ns());
            self.turn();
            match advanced {
                Advanced::Worked => self.breathe().await,
                Advanced::Waits => {
                    // Said behind the own turn: the next one, which a completion or a recall
                    // brings, notifies. Said before it, this would go round and round.
                    self.inner.borrow_mut().may_work = true;
                    self.background.wait().await;
                }
                Advanced::Idle => self.background.wait().await,
            }
        }
    }

    /// The task that wakes up for a batch that lingers.
    pub(super) async fn serve_linger(self: Rc<Self>) {
        loop {
            self.linger.wait().await;
            let wait_ns = self.ripe_ns.get().saturating_sub(self.now_ns());
            runtime::sleep(Duration::from_nanos(wait_ns)).await;
            self.turn();
        }
    }

    /// The task that serves the lanes.
    pub(super) async fn serve_lanes(self: Rc<Self>) {
        loop {
            std::future::poll_fn(|context| self.inner.borrow().lanes.poll_ready(context)).await;
            self.turn();
            self.breathe_if_due().await;
        }
    }

    /// The task that serves the log's completions.
    pub(super) async fn serve_log(self: Rc<Self>, completions: runtime::Event) {
        loop {
            completions.wait().await.expect("the log's event counter can be read");
            self.turn();
        }
    }
}

impl Inner {
    /// Puts a request to another shard into a lane of it.
    fn send(&mut self, owner: usize, rank: Rank, asked: Asked, origin: Origin) {
        let entry = self.called.vacant_entry();
        let call = u32::try_from(entry.key()).expect("open calls are bounded");
        match self.lanes.request(owner, call, rank, asked) {
            Ok(_) => {
                entry.insert(origin);
            }
            Err((full, asked)) => self.refuse_full(rank, full, &asked.request, origin),
        }
    }

    /// Puts a request to this shard into a lane.
    fn send_own(&mut self, rank: Rank, asked: Asked, origin: Origin) {
        if let Err(OwnAsked { asked, origin }) =
            self.lanes.inbox.send_own(rank, OwnAsked { asked, origin })
        {
            self.refuse_full(rank, Full::Lane, &asked.request, origin);
        }
    }

    fn refuse_full(&mut self, rank: Rank, full: Full, request: &Request, origin: Origin) {
        self.metrics.lanes[rank as usize].refused += 1;
        self.metrics.count_refusal("BUSY");
        let what = match (full, rank) {
            (Full::Open, _) => "the queue of calls to another shard",
            (Full::Lane, Rank::High) => "the high lane of the shard",
            (Full::Lane, Rank::Normal) => "the lane of the shard",
            (Full::Lane, Rank::Low) => "the low lane of the shard",
        };
        let refusal = Refusal::Busy { what, retry_after_ms: RETRY_LANE_MS };
        self.deliver(origin, request.refused(refusal));
    }

    fn take_answers(&mut self) {
        for _ in 0..TURN_MESSAGES_MAX {
            let Some((call, answered)) = self.lanes.take_answer() else { return };
            let Answered { answer, queued_us } = answered;
            let mut origin = self.called.remove(call as usize);
            origin.waited(queued_us);
            self.deliver(origin, answer);
        }
    }

    /// Serves what waits in the lanes, and finds out what does not go now; how much that was.
    fn serve(&mut self) -> u64 {
        let now_ns = (self.clock.monotonic_ns)();
        self.note_crowd();
        for served in 0..TURN_MESSAGES_MAX {
            let Some((rank, taken)) = self.lanes.take_request(now_ns) else { return served as u64 };
            let (asked, mut origin) = match taken {
                Taken::Own(OwnAsked { asked, origin }) => (asked, origin),
                Taken::Sent(mesh::Asked { from, call, request }) => {
                    (request, Origin::Peer { shard: from, call, queued_us: 0 })
                }
            };
            let (at_ns, units) = (asked.at_ns, asked.units());
            let wait_ns = now_ns.saturating_sub(at_ns);
            origin.waited(u32::try_from(wait_ns / 1000).unwrap_or(u32::MAX));
            match self.execute(asked, origin) {
                Ok(()) => {
                    self.lanes.inbox.served(rank, units);
                    self.metrics.queue_wait.record(wait_ns);
                    self.metrics.lanes[rank as usize].wait.record(wait_ns);
                }
                Err(back) => {
                    let (asked, origin) = *back;
                    let taken = match origin {
                        Origin::Peer { shard: from, call, .. } => {
                            Taken::Sent(mesh::Asked { from, call, request: asked })
                        }
                        origin => Taken::Own(OwnAsked { asked, origin }),
                    };
                    self.lanes.inbox.put_back(rank, taken);
                }
            }
        }
        TURN_MESSAGES_MAX as u64
    }

    /// Whether a lane stalled that can go on.
    fn may_resume(&self) -> bool {
        self.lanes.inbox.is_stalled() && !self.shard.is_backed_up()
    }

    /// Has the shard count lanes that are crowded to its pressure.
    fn note_crowd(&mut self) {
        let depths = Rank::ALL.map(|rank| self.lanes.inbox.depth(rank));
        for (lane, depth) in self.metrics.lanes.iter_mut().zip(depths) {
            lane.depth_max = lane.depth_max.max(depth.units);
        }
        let crowded = depths.iter().filter(|depth| depth.is_crowded());
        self.shard.set_crowd(crowded.map(|depth| depth.share()).fold(0.0, f32::max));
    }

    /// Does what was asked for, or begins with it. A write is given back when the log has no room
    /// for it now.
    fn execute(&mut self, asked: Asked, origin: Origin) -> Result<(), Box<(Asked, Origin)>> {
        match asked.request {
            Request::Erased => {
                self.erasures += 1;
                self.deliver(origin, Answer::Done(Ok(())));
            }
            Request::Get { space, id, fields, belief } => {
                self.metrics.reads += 1;
                let found = self.shard.get(space, &id, fields);
                let found = found.map(|found| found?.as_of(belief).map(Box::new));
                self.deliver(origin, Answer::Episode(found));
            }
            Request::GetStored(request) => {
                self.metrics.reads += 1;
                let found = self.shard.get_stored(&request);
                self.deliver(origin, Answer::Episodes(found));
            }
            Request::Scan { space, from, count, bytes_max, fields } => {
                let scanned = self.shard.scan(space, from, count, bytes_max, fields);
                self.deliver(origin, Answer::Scanned(scanned));
            }
            Request::News(request) => self.take_news(request, origin),
            Request::SpaceStats { space } => {
                let stats = self.shard.space_stats(space);
                self.deliver(origin, Answer::SpaceStats(stats));
            }
            Request::Report => {
                let report = self.report();
                self.deliver(origin, Answer::Report(Box::new(report)));
            }
            Request::Journal(query) => {
                let told = self.tell_journal(&query);
                self.deliver(origin, Answer::Journal(Ok(told)));
            }
            Request::ResetMetrics => {
                self.metrics.reset();
                self.journal.reset_latencies(&[]);
                self.deliver(origin, Answer::Done(Ok(())));
            }
            Request::Recalled(told) => {
                told.into_iter()
                    .for_each(|(space, stored)| self.shard.note_recalled(space, stored));
                self.deliver(origin, Answer::Done(Ok(())));
            }
            Request::Recall(request) => self.take_recall(*request, asked.at_ns, origin),
            Request::Inquire(request) => self.take_inquiry(*request, asked.at_ns, origin),
            Request::LookAround(request) => self.take_around(*request, asked.at_ns, origin),
            Request::Spread(order) => self.take_order(*order, asked.at_ns, origin),
            Request::EndSpread(key) => {
                self.end_spread(key);
                self.deliver(origin, Answer::Done(Ok(())));
            }
            _ => return self.write(asked, origin),
        }
        Ok(())
    }

    /// Admits a write. Its answer comes later, or at once when it is known or is a refusal.
    fn write(&mut self, asked: Asked, origin: Origin) -> Result<(), Box<(Asked, Origin)>> {
        let ticket = self.waiting.insert(origin);
        match self.admit(Ticket(ticket as u64), &asked.request) {
            Ok(None) => {}
            Ok(Some(reply)) => self.resolve(ticket, Answer::Write(Ok(reply))),
            Err(Refusal::LogFull { .. }) => {
                return Err(Box::new((asked, self.waiting.remove(ticket))));
            }
            Err(refusal) => {
                self.metrics.count_refusal(refusal.code());
                self.resolve(ticket, Answer::Write(Err(refusal)));
            }
        }
        match asked.request {
            Request::Store(_) => self.metrics.stores += 1,
            Request::Link(_) | Request::Unlink(_) => self.metrics.links += 1,
            Request::Consolidate => self.may_work = true,
            _ => {}
        }
        Ok(())
    }

    fn admit(&mut self, ticket: Ticket, request: &Request) -> Result<Option<Reply>, Refusal> {
        let shard = &mut self.shard;
        match request {
            Request::Store(request) => return shard.store(ticket, request),
            Request::CreateSpace { number, settings, writer_uid } => {
                return shard.create_space(ticket, *number, settings, *writer_uid);
            }
            Request::DropSnapshot => {
                shard.drop_snapshot();
                return Ok(Some(Reply::SnapshotDropped));
            }
            Request::Link(request) => shard.link(ticket, request)?,
            Request::Unlink(request) => shard.unlink(ticket, request)?,
            Request::Bind(request) => shard.bind(ticket, request)?,
            Request::Relearn(relearn) => relearn.admit(shard, ticket, self.erasures)?,
            Request::Supersede(request) => shard.supersede(ticket, request)?,
            Request::Reinforce(request) => shard.reinforce(ticket, request)?,
            Request::Forget { space, id, durability, writer_uid } => {
                shard.forget(ticket, *space, id, *durability, *writer_uid)?;
            }
            Request::Erase { space, id, writer_uid } => {
                shard.erase(ticket, *space, id, *writer_uid)?;
            }
            Request::DropSpace { space, writer_uid } => {
                shard.drop_space(ticket, *space, *writer_uid)?;
            }
            Request::Consolidate => shard.consolidate(ticket, true)?,
            Request::CutSnapshot => shard.cut_snapshot(ticket)?,
            Request::CopySnapshot { into } => shard.copy_snapshot(ticket, into.clone()),
            Request::Get { .. }
            | Request::Erased
            | Request::GetStored(_)
            | Request::Scan { .. }
            | Request::News(_)
            | Request::SpaceStats { .. }
            | Request::Report
            | Request::ResetMetrics
            | Request::Journal(_)
            | Request::Recalled(_)
            | Request::Recall(_)
            | Request::Inquire(_)
            | Request::LookAround(_)
            | Request::Spread(_)
            | Request::EndSpread(_) => unreachable!("no write: {request:?}"),
        }
        Ok(None)
    }

    fn resolve(&mut self, ticket: usize, answer: Answer) {
        let origin = self.waiting.remove(ticket);
        self.deliver(origin, answer);
    }

    pub(super) fn deliver(&mut self, origin: Origin, answer: Answer) {
        match origin {
            Origin::Reply { connection, slot, assigned } => {
                connection.fulfil_with(slot, assigned, answer);
            }
            Origin::Item { batch, index } => batch.fulfil(&self.replies, index, answer),
            Origin::Task(promise) => {
                promise.fulfil(answer);
            }
            Origin::News(call) => call.fulfil(answer),
            Origin::Observation { stream, number, noted } => {
                stream.fulfil(number, noted, answer);
            }
            Origin::Peer { shard, call, queued_us } => {
                self.lanes.answer(shard, call, Answered { answer, queued_us });
            }
        }
    }

    /// Takes what the log has finished and gives it more to do. Answers when a batch that lingers
    /// is ripe.
    fn poll_log(&mut self) -> Option<u64> {
        let mut effects = std::mem::take(&mut self.effects);
        self.shard.poll(&mut effects);
        self.take_effects(&mut effects);
        self.effects = effects;
        self.may_work |= self.wake_followers();
        self.shard.pump()
    }

    fn take_effects(&mut self, effects: &mut Vec<Effect>) {
        for effect in effects.drain(..) {
            match effect {
                Effect::Answer { ticket, result } => {
                    let ticket = usize::try_from(ticket.0).expect("tickets are slab keys");
                    self.resolve(ticket, Answer::Write(result));
                }
                Effect::Noticed(notice) => tracing::warn!(shard = self.number, "{notice}"),
                Effect::Committed { frames, times, .. } => {
                    let metrics = &mut self.metrics;
                    let commit_ns = times.durable_ns - times.opened_ns;
                    metrics.commit.record_many(commit_ns, u64::from(frames));
                    metrics.commit_wait.record(times.submitted_ns - times.opened_ns);
                    metrics.commit_write.record(times.written_ns - times.submitted_ns);
                    metrics.commit_flush.record(times.durable_ns - times.written_ns);
                }
            }
        }
    }

    /// Does some of the work that nobody waits for; little of it while somebody waits for a recall.
    fn work(&mut self, now_ns: impl Fn() -> u64) -> Advanced {
        let began_ns = now_ns();
        let away_ns = began_ns - self.worked_ns;
        if !self.jobs.is_empty() && away_ns < WORK_PAUSE_NS {
            return Advanced::Waits;
        }
        let stretch_ns = work_stretch_ns(away_ns, self.shard.memory_share());
        self.may_work = false;
        let mut effects = std::mem::take(&mut self.effects);
        let (mut advanced, mut unit_ns) = (Advanced::Worked, began_ns);
        for _ in 0..WORK_UNITS_MAX {
            advanced = self.shard.advance(self.is_quiet, &mut effects);
            let ended_ns = now_ns();
            self.metrics.work.record(ended_ns - unit_ns);
            unit_ns = ended_ns;
            let is_over = !self.jobs.is_empty() || ended_ns - began_ns >= stretch_ns;
            if advanced != Advanced::Worked || is_over {
                break;
            }
        }
        self.take_effects(&mut effects);
        self.effects = effects;
        self.worked_ns = unit_ns;
        advanced
    }
}
