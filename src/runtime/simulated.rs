//! An executor in virtual time, for simulations: one thread, no kernel, the same run for the same
//! seed.
//!
//! Inside [`run`] the functions of `runtime` work on this executor instead of the daemon's, so the
//! code of a shard runs unchanged. Nothing here waits: when no task can run, time jumps to the next
//! timer. Time also passes while tasks run, a little at every look at the clock, because code that
//! measures itself expects it to. Which of several runnable tasks goes next is drawn from the seed,
//! in half of the runs; in the others they take turns.
//!
//! Tasks belong to a [`Group`], which stands for a process: [`kill`] drops all of it at once, as
//! SIGKILL does. A panic in a task ends the run.

mod pipe;
mod signal;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BinaryHeap};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use engram_shards::io::{Clock, Random};

pub(super) use pipe::PipeEnd;
pub use pipe::pipe;
pub use signal::Signal;

/// The clocks of a simulation.
pub const CLOCK: Clock = Clock { wall_us, monotonic_ns };

/// The wall clock at the beginning of a run: 2026-01-01 UTC.
const EPOCH_US: i64 = 1_767_225_600_000_000;
/// What a look at the clock and a poll of a task take at most.
const STEP_NS_MAX: u64 = 2_000;
/// A run that polls more often than this goes round in circles.
const POLLS_MAX: u64 = 50_000_000;

/// Tasks that live and die together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group(u64);

/// What the test itself runs in.
const TEST: Group = Group(0);
/// The name of the main future among the tasks.
const MAIN: u64 = 0;

type Boxed = Pin<Box<dyn Future<Output = ()>>>;

struct Task {
    group: Group,
    /// Away while it is polled.
    future: Option<Boxed>,
    waker: Arc<TaskWaker>,
}

/// Puts a task into the list of those that can run.
struct TaskWaker {
    task: u64,
    is_queued: AtomicBool,
    ready: Arc<Mutex<Vec<u64>>>,
}

impl TaskWaker {
    fn new(task: u64, ready: &Arc<Mutex<Vec<u64>>>) -> Arc<Self> {
        Arc::new(Self { task, is_queued: AtomicBool::new(false), ready: Arc::clone(ready) })
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        if !self.is_queued.swap(true, Ordering::Relaxed) {
            self.ready.lock().unwrap_or_else(PoisonError::into_inner).push(self.task);
        }
    }
}

/// What happens at a point in time.
enum Event {
    Wake(Waker),
    Raise(Signal),
}

struct Timer {
    at_ns: u64,
    /// Timers of the same time go off in the order in which they were set.
    nth: u64,
    event: Event,
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        (self.at_ns, self.nth) == (other.at_ns, other.nth)
    }
}

impl Eq for Timer {}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timer {
    /// The earliest is the greatest: what a heap gives first.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at_ns, other.nth).cmp(&(self.at_ns, self.nth))
    }
}

struct Executor {
    now_ns: Cell<u64>,
    wall_offset_us: Cell<i64>,
    random: RefCell<Random>,
    shuffles: bool,
    tasks: RefCell<BTreeMap<u64, Task>>,
    ready: Arc<Mutex<Vec<u64>>>,
    timers: RefCell<BinaryHeap<Timer>>,
    /// Counts tasks, groups and timers.
    last: Cell<u64>,
    /// Whose task is being polled.
    group: Cell<Group>,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Executor>>> = const { RefCell::new(None) };
}

/// Uninstalls the executor, also when the test panics.
struct Installed(Rc<Executor>);

impl Drop for Installed {
    fn drop(&mut self) {
        // Tasks may look at the clock while they are dropped.
        let tasks = self.0.tasks.take();
        drop(tasks);
        self.0.timers.take();
        CURRENT.set(None);
    }
}

fn try_current() -> Option<Rc<Executor>> {
    CURRENT.with_borrow(Clone::clone)
}

fn current() -> Rc<Executor> {
    try_current().expect("inside `simulated::run`")
}

/// Whether this thread runs a simulation.
pub fn is_installed() -> bool {
    CURRENT.with_borrow(Option::is_some)
}

/// Runs `main` and whatever it starts until `main` ends.
///
/// # Panics
/// When a task panics, and when `main` waits for what never comes.
pub fn run<T>(seed: u64, main: impl Future<Output = T>) -> T {
    assert!(!is_installed(), "one simulation per thread at a time");
    let mut random = Random::new(seed);
    let executor = Rc::new(Executor {
        now_ns: Cell::new(1),
        wall_offset_us: Cell::new(0),
        shuffles: random.chance(500_000),
        random: RefCell::new(random),
        tasks: RefCell::default(),
        ready: Arc::default(),
        timers: RefCell::default(),
        last: Cell::new(MAIN),
        group: Cell::new(TEST),
    });
    CURRENT.set(Some(Rc::clone(&executor)));
    let installed = Installed(executor);
    let result = installed.0.drive(main);
    drop(installed);
    result
}

impl Executor {
    fn drive<T>(&self, main: impl Future<Output = T>) -> T {
        let mut main = pin!(main);
        let waker = TaskWaker::new(MAIN, &self.ready);
        Arc::clone(&waker).wake();
        for _ in 0..POLLS_MAX {
            self.raise_due();
            let Some(task) = self.next_ready() else {
                self.jump();
                continue;
            };
            self.pass();
            if task != MAIN {
                self.poll(task);
                continue;
            }
            waker.is_queued.store(false, Ordering::Relaxed);
            self.group.set(TEST);
            let own = Waker::from(Arc::clone(&waker));
            if let Poll::Ready(result) = main.as_mut().poll(&mut Context::from_waker(&own)) {
                return result;
            }
        }
        panic!("the simulation goes round in circles: {POLLS_MAX} polls");
    }

    /// Time passes a little.
    fn pass(&self) -> u64 {
        let now_ns = self.now_ns.get() + 1 + self.random.borrow_mut().below(STEP_NS_MAX);
        self.now_ns.set(now_ns);
        now_ns
    }

    fn next_ready(&self) -> Option<u64> {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        match ready.len() {
            0 => None,
            length if self.shuffles => {
                Some(ready.swap_remove(self.random.borrow_mut().index(length)))
            }
            _ => Some(ready.remove(0)),
        }
    }

    /// Nothing can run: goes to the next timer.
    fn jump(&self) {
        let next_ns = self.timers.borrow().peek().map(|timer| timer.at_ns);
        let next_ns = next_ns.expect("somebody waits for what never comes");
        self.now_ns.set(self.now_ns.get().max(next_ns));
    }

    fn raise_due(&self) {
        loop {
            let mut timers = self.timers.borrow_mut();
            if timers.peek().is_none_or(|timer| timer.at_ns > self.now_ns.get()) {
                return;
            }
            let event = timers.pop().map(|timer| timer.event).expect("just seen");
            drop(timers);
            match event {
                Event::Wake(waker) => waker.wake(),
                Event::Raise(signal) => signal.raise(),
            }
        }
    }

    fn poll(&self, number: u64) {
        let (mut future, waker) = {
            let mut tasks = self.tasks.borrow_mut();
            // It has ended, or was killed.
            let Some(task) = tasks.get_mut(&number) else { return };
            task.waker.is_queued.store(false, Ordering::Relaxed);
            self.group.set(task.group);
            let future = task.future.take().expect("a task is polled by nobody else");
            (future, Waker::from(Arc::clone(&task.waker)))
        };
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        let mut tasks = self.tasks.borrow_mut();
        match (polled, tasks.get_mut(&number)) {
            (Poll::Pending, Some(task)) => task.future = Some(future),
            _ => drop(tasks.remove(&number)),
        }
    }

    fn number(&self) -> u64 {
        self.last.set(self.last.get() + 1);
        self.last.get()
    }

    fn set_timer(&self, at_ns: u64, event: Event) {
        let nth = self.number();
        self.timers.borrow_mut().push(Timer { at_ns, nth, event });
    }

    fn spawn(&self, group: Group, future: Boxed) {
        let number = self.number();
        let waker = TaskWaker::new(number, &self.ready);
        Arc::clone(&waker).wake();
        self.tasks.borrow_mut().insert(number, Task { group, future: Some(future), waker });
    }
}

/// Starts a task in the group of the task that calls.
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    let executor = current();
    executor.spawn(executor.group.get(), Box::pin(future));
}

/// A group of its own: a process.
pub fn group() -> Group {
    Group(current().number())
}

/// Starts a task in a group.
pub fn spawn_in(group: Group, future: impl Future<Output = ()> + 'static) {
    current().spawn(group, Box::pin(future));
}

/// Drops every task of a group, as they are.
///
/// # Panics
/// When the caller is one of them.
pub fn kill(group: Group) {
    let executor = current();
    assert_ne!(executor.group.get(), group, "a process is killed from outside");
    let mut tasks = executor.tasks.borrow_mut();
    let numbers: Vec<u64> =
        tasks.iter().filter(|(_, task)| task.group == group).map(|(number, _)| *number).collect();
    let killed: Vec<_> = numbers.iter().map(|number| tasks.remove(number)).collect();
    // Dropping a task may wake others.
    drop(tasks);
    drop(killed);
}

/// Waits for a point in virtual time.
pub async fn sleep(duration: Duration) {
    let until_ns = now_ns() + u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 2);
    let mut is_set = false;
    poll_fn(|context| {
        if now_ns() >= until_ns {
            return Poll::Ready(());
        }
        if !std::mem::replace(&mut is_set, true) {
            current().set_timer(until_ns, Event::Wake(context.waker().clone()));
        }
        Poll::Pending
    })
    .await;
}

/// Lets everything else have its turn.
pub async fn breathe() {
    sleep(Duration::from_nanos(1)).await;
}

/// Now, without letting time pass.
pub fn now_ns() -> u64 {
    current().now_ns.get()
}

/// Someone blocks this thread until then.
pub fn advance_to(ns: u64) {
    let executor = current();
    executor.now_ns.set(executor.now_ns.get().max(ns));
}

/// Sets the wall clock forward or back.
pub fn shift_wall_clock(us: i64) {
    let executor = current();
    executor.wall_offset_us.set(executor.wall_offset_us.get() + us);
}

fn wall_us() -> i64 {
    let executor = current();
    EPOCH_US + executor.wall_offset_us.get() + (executor.pass() / 1000).cast_signed()
}

fn monotonic_ns() -> u64 {
    current().pass()
}

#[cfg(test)]
mod tests;
