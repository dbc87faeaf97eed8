//! A connected pair of sockets in memory. What is read comes in pieces of random size.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::current;
use crate::runtime::Socket;

/// Bytes that a direction holds, at least and at most; a seed draws from this.
const CAPACITY_BYTES_MIN: u64 = 512;
const CAPACITY_BYTES_MAX: u64 = 256 << 10;
/// How often a read gets only a part of what is there.
const PARTIAL_PER_MILLION: u32 = 300_000;

/// Both ends of a new connection.
pub fn pipe() -> (Socket, Socket) {
    let (there, back) = (Way::new(), Way::new());
    let near =
        PipeEnd(Arc::new(Ways { incoming: Arc::clone(&back), outgoing: Arc::clone(&there) }));
    let far = PipeEnd(Arc::new(Ways { incoming: there, outgoing: back }));
    (near.into(), far.into())
}

/// One direction.
#[derive(Debug)]
struct Way {
    bytes: VecDeque<u8>,
    capacity_bytes: usize,
    /// Nothing goes in any more.
    is_closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Way {
    fn new() -> Arc<Mutex<Self>> {
        let executor = current();
        let capacity_bytes =
            executor.random.borrow_mut().between(CAPACITY_BYTES_MIN, CAPACITY_BYTES_MAX) as usize;
        Arc::new(Mutex::new(Self {
            bytes: VecDeque::new(),
            capacity_bytes,
            is_closed: false,
            reader: None,
            writer: None,
        }))
    }

    fn close(&mut self) {
        self.is_closed = true;
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }
}

/// The two directions as one end sees them. Closed when the last handle of the end goes.
#[derive(Debug)]
struct Ways {
    incoming: Arc<Mutex<Way>>,
    outgoing: Arc<Mutex<Way>>,
}

impl Drop for Ways {
    fn drop(&mut self) {
        lock(&self.incoming).close();
        lock(&self.outgoing).close();
    }
}

/// A handle of one end.
#[derive(Debug, Clone)]
pub struct PipeEnd(Arc<Ways>);

fn lock(way: &Mutex<Way>) -> MutexGuard<'_, Way> {
    way.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PipeEnd {
    pub async fn read(&self, buffer: &mut [u8]) -> usize {
        poll_fn(|context| self.poll_read(context, buffer)).await
    }

    fn poll_read(&self, context: &Context<'_>, buffer: &mut [u8]) -> Poll<usize> {
        let mut way = lock(&self.0.incoming);
        if way.bytes.is_empty() {
            if way.is_closed {
                return Poll::Ready(0);
            }
            way.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let mut bytes = way.bytes.len().min(buffer.len());
        let executor = current();
        let mut random = executor.random.borrow_mut();
        if random.chance(PARTIAL_PER_MILLION) {
            bytes = 1 + random.index(bytes);
        }
        for (to, from) in buffer.iter_mut().zip(way.bytes.drain(..bytes)) {
            *to = from;
        }
        way.writer.take().into_iter().for_each(Waker::wake);
        Poll::Ready(bytes)
    }

    pub async fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        let mut left = bytes;
        poll_fn(|context| {
            let mut way = lock(&self.0.outgoing);
            if way.is_closed {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let room = way.capacity_bytes.saturating_sub(way.bytes.len()).min(left.len());
            way.bytes.extend(&left[..room]);
            left = &left[room..];
            if room > 0 {
                way.reader.take().into_iter().for_each(Waker::wake);
            }
            if left.is_empty() {
                return Poll::Ready(Ok(()));
            }
            way.writer = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// No more is taken in; what has arrived can still be read.
    pub fn stop_reading(&self) {
        lock(&self.0.incoming).close();
    }

    pub fn close(&self) {
        self.stop_reading();
        lock(&self.0.outgoing).close();
    }
}
