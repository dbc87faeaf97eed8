//! Bodies on their way in and out, and what bounds them.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};
use hyper::body::{Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::bounds::{BODIES_BYTES_MAX, PIECE_BYTES, STALL_TIMEOUT};
use super::problem::Problem;

/// The room for all bodies that are kept.
#[derive(Debug, Clone, Default)]
pub struct Room {
    bytes: Arc<AtomicUsize>,
}

/// Room for one body, until it is dropped.
#[derive(Debug)]
pub struct Taken {
    room: Room,
    bytes: usize,
}

impl Room {
    pub fn take(&self) -> Taken {
        Taken { room: self.clone(), bytes: 0 }
    }

    /// That are taken.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Taken {
    /// Holds so many bytes more.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Problem> {
        let before = self.room.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        match before + bytes > BODIES_BYTES_MAX {
            true => Err(Problem::busy("the room for bodies of requests is full")),
            false => Ok(()),
        }
    }

    /// Holds so many bytes less.
    pub fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.room.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

/// The next bytes of a body; `None` at its end.
pub async fn next(body: &mut Body) -> Result<Option<Bytes>, Problem> {
    loop {
        let frame = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context));
        let Ok(frame) = timeout(STALL_TIMEOUT, frame).await else {
            let seconds = STALL_TIMEOUT.as_secs();
            let detail = format!("nothing of the body came for {seconds} s; send it faster");
            return Err(Problem::new("TIMEOUT", detail));
        };
        match frame {
            None => return Ok(None),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Ok(Some(data)),
                // Trailers say nothing here.
                Err(_) => {}
            },
            Some(Err(_)) => {
                let detail = "the body ended before it was complete; send all of it";
                return Err(Problem::new("LENGTH", detail));
            }
        }
    }
}

/// A whole body of at most so many bytes.
pub async fn read(body: &mut Body, max: usize, taken: &mut Taken) -> Result<Bytes, Problem> {
    if body.size_hint().lower() > max as u64 {
        return Err(Problem::too_big("the body", max));
    }
    let mut whole = BytesMut::new();
    while let Some(data) = next(body).await? {
        if whole.len() + data.len() > max {
            return Err(Problem::too_big("the body", max));
        }
        taken.grow(data.len())?;
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// An answer that is handed out in pieces, so that what it holds is held until nearly all of it is
/// written.
#[derive(Debug)]
pub struct Pieces<H> {
    left: Bytes,
    _held: H,
}

impl<H: Send + Unpin + 'static> Pieces<H> {
    pub fn body(bytes: Vec<u8>, held: H) -> Body {
        Body::new(Self { left: bytes.into(), _held: held })
    }
}

impl<H: Unpin> HttpBody for Pieces<H> {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let bytes = self.left.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.left.split_to(bytes)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

/// An answer that is made while it is written.
#[derive(Debug)]
pub struct Stream(mpsc::Receiver<Bytes>);

impl Stream {
    pub fn body(frames: mpsc::Receiver<Bytes>) -> Body {
        Body::new(Self(frames))
    }
}

impl HttpBody for Stream {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|frame| frame.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// A body that holds something as long as it lives.
#[derive(Debug)]
pub struct Holding<H> {
    body: Body,
    _held: H,
}

impl<H: Send + Unpin + 'static> Holding<H> {
    pub fn body(body: Body, held: H) -> Body {
        Body::new(Self { body, _held: held })
    }
}

impl<H: Unpin> HttpBody for Holding<H> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_stands_still_is_given_up() {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (sender, receiver) = mpsc::channel(1);
            let mut body = Stream::body(receiver);
            sender.send(Bytes::from_static(b"some")).await.unwrap();
            assert_eq!(next(&mut body).await.unwrap().unwrap(), "some");
            let began = tokio::time::Instant::now();
            assert_eq!(next(&mut body).await.unwrap_err().code, "TIMEOUT");
            assert!(began.elapsed() >= STALL_TIMEOUT);
            drop(sender);
            assert_eq!(next(&mut body).await.unwrap(), None);
        });
    }

    #[test]
    fn the_room_for_bodies_is_bounded_and_given_back() {
        let room = Room::default();
        let mut one = room.take();
        one.grow(BODIES_BYTES_MAX).unwrap();
        let mut other = room.take();
        assert_eq!(other.grow(1).unwrap_err().code, "BUSY");
        drop(other);
        one.shrink(1);
        let mut other = room.take();
        other.grow(1).unwrap();
        drop((one, other));
        room.take().grow(BODIES_BYTES_MAX).unwrap();
    }
}
