//! Both directions of a connected Unix socket, each for a task of its own.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::net::UnixStream;

/// The reading direction.
#[derive(Debug)]
pub struct SocketReader {
    stream: UnixStream,
}

/// The writing direction.
#[derive(Debug)]
pub struct SocketWriter {
    stream: UnixStream,
}

/// Takes a connected socket apart. Each half keeps it open.
pub fn split(socket: OwnedFd) -> io::Result<(SocketReader, SocketWriter)> {
    let other = socket.try_clone()?;
    Ok((SocketReader { stream: adopt(socket) }, SocketWriter { stream: adopt(other) }))
}

fn adopt(socket: OwnedFd) -> UnixStream {
    // SAFETY: the descriptor is a connected Unix stream socket that nobody else owns.
    unsafe { UnixStream::from_raw_fd(socket.into_raw_fd()) }
}

impl SocketReader {
    /// Reads what is there, at most the buffer; waits when nothing is; 0 at the end.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer).await
    }
}

impl SocketWriter {
    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }
}
