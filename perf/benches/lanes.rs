//! Messages between two shards: the daemon's lanes against flume and the standard library's bounded
//! channel, with messages as large as the daemon's own.
//!
//! * `round-trip`: a request and its answer, so many of them under way at once; both ends spin on
//!   a processor of their own, as shards with work to do.
//! * `one-way`: as fast as the other end takes them. A lane answers every request, because that is
//!   what bounds it; channels carry nothing back, so they do half the work.
//! * `parked`: a round trip between executors that sleep until they are woken. The standard channel
//!   cannot wake an executor; it blocks its threads.

use std::future::poll_fn;
use std::hint::{black_box, spin_loop};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group};
use engram_lanes::inbox::{Rank, Taken, Waits};
use engram_lanes::mesh::{self, Asked, Ends, OPEN_MAX};
use engramd::runtime::spawn_pinned;
use engramd::server;
use engramd::topology::{Topology, place};
use flume::{Receiver as FlumeReceiver, Sender as FlumeSender};

/// As large as what the daemon's shards ask and answer.
type Request = Filler<{ size_of::<server::Asked>() }>;
type Answer = Filler<{ size_of::<server::Answer>() }>;

#[derive(Debug, Clone, Copy)]
struct Filler<const BYTES: usize>([u8; BYTES]);

const REQUEST: Request = Filler([1; size_of::<server::Asked>()]);
const ANSWER: Answer = Filler([2; size_of::<server::Answer>()]);

impl Waits for Request {
    fn at_ns(&self) -> u64 {
        0
    }

    fn units(&self) -> u32 {
        1
    }
}

/// The lanes of one end.
type Lanes = mesh::Lanes<Request, Answer, Request>;

/// The next request, served at once.
fn serve(lanes: &mut Lanes) -> Option<Asked<Request>> {
    let (rank, taken) = lanes.take_request(0)?;
    let Taken::Sent(asked) = taken else { unreachable!("nothing is asked of oneself") };
    lanes.inbox.served(rank, 1);
    Some(asked)
}

/// The end that asks.
trait Asker: Send + 'static {
    /// Whether there was room.
    fn ask(&mut self, request: Request) -> bool;
    fn answer(&mut self) -> Option<Answer>;
    /// Called after a round of requests.
    fn flush(&mut self) {}
}

/// The end that answers.
trait Answerer: Send + 'static {
    /// The next request, if there is one. If `wanted`, it gets an answer.
    fn serve(&mut self, wanted: bool) -> Option<Request>;
    fn flush(&mut self) {}
}

impl Asker for Lanes {
    fn ask(&mut self, request: Request) -> bool {
        self.request(1, 0, Rank::Normal, request).is_ok()
    }

    fn answer(&mut self) -> Option<Answer> {
        self.take_answer().map(|(_, answer)| answer)
    }

    fn flush(&mut self) {
        self.wake_peers();
    }
}

impl Answerer for Lanes {
    fn serve(&mut self, _wanted: bool) -> Option<Request> {
        let Asked { from, call, request } = serve(self)?;
        self.answer(from, call, ANSWER);
        Some(request)
    }

    fn flush(&mut self) {
        self.wake_peers();
    }
}

type FlumeAsker = (FlumeSender<Request>, FlumeReceiver<Answer>);
type FlumeAnswerer = (FlumeSender<Answer>, FlumeReceiver<Request>);
type StdAsker = (SyncSender<Request>, Receiver<Answer>);
type StdAnswerer = (SyncSender<Answer>, Receiver<Request>);

/// Two bounded channels, one each way.
macro_rules! channels {
    ($asker:ty, $answerer:ty) => {
        impl Asker for $asker {
            fn ask(&mut self, request: Request) -> bool {
                self.0.try_send(request).is_ok()
            }

            fn answer(&mut self) -> Option<Answer> {
                self.1.try_recv().ok()
            }
        }

        impl Answerer for $answerer {
            fn serve(&mut self, wanted: bool) -> Option<Request> {
                let request = self.1.try_recv().ok()?;
                if wanted {
                    self.0.try_send(ANSWER).expect("room for every request under way");
                }
                Some(request)
            }
        }
    };
}

channels!(FlumeAsker, FlumeAnswerer);
channels!(StdAsker, StdAnswerer);

fn lane_ends() -> (Lanes, Lanes) {
    let mut ends = mesh::connect(2, OPEN_MAX as u32).into_iter().map(Ends::serve);
    let mut end = || ends.next().expect("two shards were connected");
    (end(), end())
}

fn flume_ends() -> (FlumeAsker, FlumeAnswerer) {
    let (requests, requests_in) = flume::bounded(OPEN_MAX);
    let (answers, answers_in) = flume::bounded(OPEN_MAX);
    ((requests, answers_in), (answers, requests_in))
}

fn std_ends() -> (StdAsker, StdAnswerer) {
    let (requests, requests_in) = sync_channel(OPEN_MAX);
    let (answers, answers_in) = sync_channel(OPEN_MAX);
    ((requests, answers_in), (answers, requests_in))
}

/// A processor for the asking end and one for the answering end, as the daemon would choose.
fn cpus() -> [usize; 2] {
    let topology = Topology::of_this_machine().expect("a machine to run on");
    let placement = place(&topology, 2);
    [placement.seats[0].cpu, placement.seats[1].cpu]
}

/// Which requests are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answers {
    All,
    Last,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    count: u64,
    under_way_max: u64,
    answers: Answers,
}

/// Runs both ends, each pinned and spinning; the time of the asking one.
fn spin<A: Asker, B: Answerer>(run: Run, ends: (A, B)) -> Duration {
    let Run { count, under_way_max, answers } = run;
    let [asking, answering] = cpus();
    let (mut asker, mut answerer) = ends;
    let answerer = spawn_pinned("answerer", answering, move || async move {
        let mut served = 0;
        while served < count {
            let wanted = answers == Answers::All || served + 1 == count;
            if let Some(request) = answerer.serve(wanted) {
                black_box(request);
                served += 1;
            } else {
                answerer.flush();
                spin_loop();
            }
        }
        answerer.flush();
    });
    let asker = spawn_pinned("asker", asking, move || async move {
        let expected = if answers == Answers::All { count } else { 1 };
        let (mut sent, mut answered) = (0, 0);
        let start = Instant::now();
        while sent < count || answered < expected {
            while sent < count && sent - answered < under_way_max && asker.ask(REQUEST) {
                sent += 1;
            }
            asker.flush();
            while let Some(answer) = asker.answer() {
                black_box(answer);
                answered += 1;
            }
        }
        start.elapsed()
    });
    let elapsed = asker.expect("an executor").join().expect("the asker ends");
    answerer.expect("an executor").join().expect("the answerer ends");
    elapsed
}

fn round_trips(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("round-trip");
    configure(&mut group);
    for under_way_max in [1, 64, 1024] {
        let run = |count| Run { count, under_way_max, answers: Answers::All };
        let id = |name| BenchmarkId::new(name, format!("{under_way_max}-under-way"));
        group.bench_function(id("lanes"), |bencher| {
            bencher.iter_custom(|count| spin(run(count), lane_ends()));
        });
        group.bench_function(id("flume"), |bencher| {
            bencher.iter_custom(|count| spin(run(count), flume_ends()));
        });
        group.bench_function(id("std-sync-channel"), |bencher| {
            bencher.iter_custom(|count| spin(run(count), std_ends()));
        });
    }
}

fn one_way(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one-way");
    configure(&mut group);
    let run = |count, answers| Run { count, under_way_max: u64::MAX, answers };
    group.bench_function("lanes-with-answers", |bencher| {
        bencher.iter_custom(|count| spin(run(count, Answers::All), lane_ends()));
    });
    group.bench_function("flume", |bencher| {
        bencher.iter_custom(|count| spin(run(count, Answers::Last), flume_ends()));
    });
    group.bench_function("std-sync-channel", |bencher| {
        bencher.iter_custom(|count| spin(run(count, Answers::Last), std_ends()));
    });
}

/// Both ends on executors that park while they wait.
fn park<A, B, AskFuture, AnswerFuture>(
    (asker, answerer): (A, B),
    ask: fn(A, u64) -> AskFuture,
    answer: fn(B, u64) -> AnswerFuture,
    count: u64,
) -> Duration
where
    A: Send + 'static,
    B: Send + 'static,
    AskFuture: Future<Output = ()> + 'static,
    AnswerFuture: Future<Output = ()> + 'static,
{
    let [asking, answering] = cpus();
    let answerer = spawn_pinned("answerer", answering, move || answer(answerer, count));
    let asker = spawn_pinned("asker", asking, move || async move {
        let start = Instant::now();
        ask(asker, count).await;
        start.elapsed()
    });
    let elapsed = asker.expect("an executor").join().expect("the asker ends");
    answerer.expect("an executor").join().expect("the answerer ends");
    elapsed
}

/// What comes next of the kind that is taken.
async fn next<T>(lanes: &mut Lanes, take: impl Fn(&mut Lanes) -> Option<T>) -> T {
    loop {
        if let Some(taken) = take(lanes) {
            return taken;
        }
        poll_fn(|context| lanes.poll_ready(context)).await;
    }
}

async fn ask_by_lane(mut lanes: Lanes, count: u64) {
    for _ in 0..count {
        lanes.request(1, 0, Rank::Normal, REQUEST).expect("one request is under way");
        lanes.wake_peers();
        black_box(next(&mut lanes, Lanes::take_answer).await);
    }
}

async fn answer_by_lane(mut lanes: Lanes, count: u64) {
    for _ in 0..count {
        let Asked { from, call, request } = next(&mut lanes, serve).await;
        black_box(request);
        lanes.answer(from, call, ANSWER);
        lanes.wake_peers();
    }
}

async fn ask_by_flume(ends: FlumeAsker, count: u64) {
    for _ in 0..count {
        ends.0.try_send(REQUEST).expect("one request is under way");
        black_box(ends.1.recv_async().await.expect("the answerer is there"));
    }
}

async fn answer_by_flume(ends: FlumeAnswerer, count: u64) {
    for _ in 0..count {
        black_box(ends.1.recv_async().await.expect("the asker is there"));
        ends.0.try_send(ANSWER).expect("one request is under way");
    }
}

/// The same between threads that block.
fn block(count: u64) -> Duration {
    let (asker, answerer) = std_ends();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..count {
                black_box(answerer.1.recv().expect("the asker is there"));
                answerer.0.send(ANSWER).expect("the asker is there");
            }
        });
        let start = Instant::now();
        for _ in 0..count {
            asker.0.send(REQUEST).expect("the answerer is there");
            black_box(asker.1.recv().expect("the answerer is there"));
        }
        start.elapsed()
    })
}

fn parked(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parked");
    configure(&mut group);
    group.bench_function("lanes", |bencher| {
        bencher.iter_custom(|count| park(lane_ends(), ask_by_lane, answer_by_lane, count));
    });
    group.bench_function("flume", |bencher| {
        bencher.iter_custom(|count| park(flume_ends(), ask_by_flume, answer_by_flume, count));
    });
    group.bench_function("std-sync-channel-threads", |bencher| bencher.iter_custom(block));
}

fn configure(group: &mut BenchmarkGroup<'_, WallTime>) {
    group.sample_size(10).throughput(Throughput::Elements(1));
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
}

criterion_group!(benches, round_trips, one_way, parked);

fn main() {
    println!(
        "a request has {} bytes, an answer {} bytes",
        size_of::<Request>(),
        size_of::<Answer>()
    );
    benches();
    Criterion::default().configure_from_args().final_summary();
}
