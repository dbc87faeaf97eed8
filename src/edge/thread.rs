//! The edge's thread: one runtime, beside the shards and behind them.
//!
//! It is nicer than the shards, and runs where no shard does if there is such a place. It owns no
//! state of the store: when it is busy its clients wait, and nobody else.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::unix::net::UnixStream as StdStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use rustix::process::setpriority_process;
use rustix::thread::{CpuSet, sched_setaffinity};
use thiserror::Error;
use tokio::net::{TcpListener, UnixStream};
use tokio::runtime::Builder;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{sleep, timeout};

use super::bounds::TCP_CONNECTIONS_MAX;
use super::connection::{self, Caller};
use super::service::{self, Service, Shared};
use super::shards::Shards;
use super::token::{Token, TokenError};
use crate::config::Config;
use crate::recovery::Recovery;
use crate::server::{CALLS_WAITING_MAX, Call, EdgeDoor, EdgeEnd, Peer, Visitor};

/// Where niceness goes from 0, for shards, to 19.
const NICENESS: i32 = 10;
/// How long answers may take to get to their clients when the shards have ended.
const END_TIMEOUT: Duration = Duration::from_secs(1);
/// How long to wait when the kernel has no descriptor left for a connection.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(100);
/// The user that the kernel names where it knows none: who comes over TCP is nobody.
const NOBODY: u32 = 65_534;

/// Why there is no edge.
#[derive(Debug, Error)]
pub enum EdgeError {
    #[error(
        "edge_listen {address} cannot be listened on: {error}; choose another port, or let the \
         service have a network (docs/HTTP.md)"
    )]
    Listen { address: SocketAddr, error: std::io::Error },
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("the thread of the edge cannot be started: {0}")]
    Thread(std::io::Error),
}

/// How far the edge is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Serving,
    /// Takes no requests and finishes those that were taken.
    Draining,
    Ended,
}

/// The running edge, or none where it is switched off.
#[derive(Debug)]
pub struct Edge {
    running: Option<Running>,
    door: EdgeDoor,
}

#[derive(Debug)]
struct Running {
    phase: watch::Sender<Phase>,
    thread: thread::JoinHandle<()>,
}

impl Edge {
    /// Starts the thread, with what each shard has to do with it. `spare_cpus` are those that no
    /// shard runs on.
    pub fn start(
        config: &Config,
        shards: usize,
        spare_cpus: &[usize],
        recovery: Arc<Recovery>,
    ) -> Result<(Self, Vec<EdgeEnd>), EdgeError> {
        if !config.edge {
            let ends = (0..shards).map(|_| EdgeEnd::off()).collect();
            return Ok((Self { running: None, door: None }, ends));
        }
        let tcp = match &config.edge_tcp {
            None => None,
            Some(tcp) => {
                let (address, token) = (tcp.address, Token::read(&tcp.token_file)?);
                let failed = |error| EdgeError::Listen { address, error };
                let listener = StdListener::bind(address).map_err(failed)?;
                listener.set_nonblocking(true).map_err(failed)?;
                let bound = listener.local_addr().map_err(failed)?;
                tracing::info!(address = %bound, "HTTP with a token");
                Some((listener, Arc::new(token)))
            }
        };
        let (door, visitors) = flume::unbounded();
        let (calls, taken): (Vec<flume::Sender<Call>>, Vec<_>) =
            (0..shards).map(|_| flume::bounded(CALLS_WAITING_MAX)).unzip();
        let end = |calls| EdgeEnd { door: Some(door.clone()), calls };
        let ends = taken.into_iter().map(end).collect();
        let (phase, seen) = watch::channel(Phase::Serving);
        let service = Service::new(Shards::new(calls), recovery, seen);
        let runtime = Builder::new_current_thread().enable_io().enable_time().build();
        let runtime = runtime.map_err(EdgeError::Thread)?;
        let cpus = spare_cpus.to_vec();
        let thread = thread::Builder::new().name("edge".into()).spawn(move || {
            give_way(&cpus);
            runtime.block_on(live(service, &visitors, tcp));
        });
        let running = Running { phase, thread: thread.map_err(EdgeError::Thread)? };
        Ok((Self { running: Some(running), door: Some(door) }, ends))
    }

    /// Where connections go that speak HTTP.
    pub fn door(&self) -> EdgeDoor {
        self.door.clone()
    }

    /// Takes no more requests; those that were taken go on.
    pub fn drain(&self) {
        if let Some(running) = &self.running {
            running.phase.send_replace(Phase::Draining);
        }
    }

    /// Ends the thread; what has not got to its client soon is cut.
    pub fn end(self) {
        if let Some(Running { phase, thread }) = self.running {
            phase.send_replace(Phase::Ended);
            // A panic has ended the process.
            let _ = thread.join();
        }
    }
}

/// Makes this thread yield to the shards.
fn give_way(spare_cpus: &[usize]) {
    if let Err(error) = setpriority_process(None, NICENESS) {
        tracing::warn!(%error, "the edge runs as eagerly as the shards");
    }
    if spare_cpus.is_empty() {
        return;
    }
    let mut cpus = CpuSet::new();
    spare_cpus.iter().for_each(|cpu| cpus.set(*cpu));
    if let Err(error) = sched_setaffinity(None, &cpus) {
        tracing::warn!(%error, "the edge may run on the shards' processors");
    }
}

type Tcp = (StdListener, Arc<Token>);

/// The life of the edge.
async fn live(service: Shared, visitors: &flume::Receiver<Visitor>, tcp: Option<Tcp>) {
    let mut phase = service.phase.clone();
    let router = service::router(&service);
    // Each connection holds the sender, so that its end can be waited for.
    let (alive, mut all_gone) = mpsc::channel::<()>(1);
    if let Some((listener, token)) = tcp {
        let (service, router, alive) = (Arc::clone(&service), router.clone(), alive.clone());
        tokio::spawn(async move {
            let mut phase = service.phase.clone();
            let accepted = accept(listener, token, service, router, alive);
            let stopped = async { drop(phase.wait_for(|phase| *phase != Phase::Serving).await) };
            futures_lite::future::or(accepted, stopped).await;
        });
    }
    let served = async {
        while let Ok(visitor) = visitors.recv_async().await {
            receive(visitor, &service, &router, &alive);
        }
    };
    let stopped = async { drop(phase.wait_for(|phase| *phase == Phase::Ended).await) };
    futures_lite::future::or(served, stopped).await;
    drop(alive);
    let _ = timeout(END_TIMEOUT, all_gone.recv()).await;
}

/// Serves who came over the Unix socket.
fn receive(visitor: Visitor, service: &Shared, router: &Router, alive: &mpsc::Sender<()>) {
    let Visitor { socket, bytes, peer, permit } = visitor;
    let stream = StdStream::from(socket);
    let adopted = stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream));
    let socket = match adopted {
        Ok(socket) => socket,
        Err(error) => {
            tracing::warn!(%error, "a connection could not be taken over");
            return;
        }
    };
    let (service, router, alive) = (Arc::clone(service), router.clone(), alive.clone());
    tokio::spawn(async move {
        connection::serve(socket, bytes, Caller { peer, token: None }, service, router).await;
        drop((permit, alive));
    });
}

/// Serves who comes over TCP.
async fn accept(
    listener: StdListener,
    token: Arc<Token>,
    service: Shared,
    router: Router,
    alive: mpsc::Sender<()>,
) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "nobody can come over TCP"),
    };
    let permits = Arc::new(Semaphore::new(TCP_CONNECTIONS_MAX));
    let numbers = AtomicU64::new(0);
    loop {
        // Who comes when all are taken waits in the kernel's queue.
        let permit = Arc::clone(&permits).acquire_owned().await;
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(OUT_OF_DESCRIPTORS).await;
                continue;
            }
        };
        // Small answers are not held back for more to come.
        let _ = socket.set_nodelay(true);
        let connection = numbers.fetch_add(1, Ordering::Relaxed) + 1;
        let peer = Peer { connection, uid: NOBODY, gid: NOBODY, pid: 0 };
        let caller = Caller { peer, token: Some(Arc::clone(&token)) };
        let (service, router, alive) = (Arc::clone(&service), router.clone(), alive.clone());
        tokio::spawn(async move {
            connection::serve(socket, Bytes::new(), caller, service, router).await;
            drop((permit, alive));
        });
    }
}
