//! A client's socket as hyper sees it: what was read before comes first, and a client that takes
//! nothing for too long is cut.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::bounds::STALL_TIMEOUT;

/// See the top of the file.
#[derive(Debug)]
pub struct Socket<S> {
    inner: S,
    /// What was read before.
    first: Bytes,
    /// Until when something has to be taken; there while nothing is.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Socket<S> {
    pub fn new(inner: S, first: Bytes) -> Self {
        Self { inner, first, stalled: None }
    }

    /// What a write came to, or that the client has taken nothing for too long.
    fn judge<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(STALL_TIMEOUT)));
        ready!(stalled.as_mut().poll(context));
        // Asked again, it goes on as if it had begun to stall now.
        stalled.as_mut().reset(Instant::now() + STALL_TIMEOUT);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.inner).poll_read(context, buffer);
        }
        let bytes = self.first.len().min(buffer.remaining());
        buffer.put_slice(&self.first[..bytes]);
        self.first.advance(bytes);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.judge(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.judge(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// A client that never takes anything.
    struct Deaf;

    impl AsyncWrite for Deaf {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    fn in_virtual_time<T>(task: impl Future<Output = T>) -> T {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().unwrap().block_on(task)
    }

    #[test]
    fn what_was_read_before_comes_first_however_small_the_buffer() {
        in_virtual_time(async {
            let mut socket = Socket::new(&b"world"[..], Bytes::from_static(b"hello "));
            let mut read = Vec::new();
            loop {
                let mut room = [0; 4];
                let mut buffer = ReadBuf::new(&mut room);
                poll_fn(|context| Pin::new(&mut socket).poll_read(context, &mut buffer))
                    .await
                    .unwrap();
                if buffer.filled().is_empty() {
                    break;
                }
                read.extend_from_slice(buffer.filled());
            }
            assert_eq!(read, b"hello world");
        });
    }

    #[test]
    fn who_takes_nothing_is_cut() {
        in_virtual_time(async {
            let began = Instant::now();
            let mut socket = Socket::new(Deaf, Bytes::new());
            let written = poll_fn(|context| Pin::new(&mut socket).poll_write(context, b"x")).await;
            assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
            assert!(began.elapsed() >= STALL_TIMEOUT);
        });
    }
}
