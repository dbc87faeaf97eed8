//! Both directions of a connected Unix socket, each for a task of its own.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::net::UnixStream;
use rustix::net::Shutdown;

#[cfg(feature = "simulation")]
use super::simulated::PipeEnd;

/// A connected socket that no executor knows yet.
#[derive(Debug)]
pub struct Socket(Kind<OwnedFd>);

/// The reading direction.
#[derive(Debug)]
pub struct SocketReader(Kind<UnixStream>);

/// The writing direction.
#[derive(Debug)]
pub struct SocketWriter(Kind<UnixStream>);

/// Shuts a socket down while others read and write it.
#[derive(Debug)]
pub struct SocketShutdown(Kind<OwnedFd>);

/// The kernel's socket, or one end of a pipe in a simulation.
#[derive(Debug)]
enum Kind<K> {
    Kernel(K),
    #[cfg(feature = "simulation")]
    Pipe(PipeEnd),
}

impl From<OwnedFd> for Socket {
    fn from(socket: OwnedFd) -> Self {
        Self(Kind::Kernel(socket))
    }
}

#[cfg(feature = "simulation")]
impl From<PipeEnd> for Socket {
    fn from(end: PipeEnd) -> Self {
        Self(Kind::Pipe(end))
    }
}

impl Socket {
    /// Takes the socket apart. Each part keeps it open.
    pub fn split(self) -> io::Result<(SocketReader, SocketWriter, SocketShutdown)> {
        match self.0 {
            Kind::Kernel(socket) => {
                let (reader, writer) = (adopt(socket.try_clone()?), adopt(socket.try_clone()?));
                Ok((
                    SocketReader(Kind::Kernel(reader)),
                    SocketWriter(Kind::Kernel(writer)),
                    SocketShutdown(Kind::Kernel(socket)),
                ))
            }
            #[cfg(feature = "simulation")]
            Kind::Pipe(end) => Ok((
                SocketReader(Kind::Pipe(end.clone())),
                SocketWriter(Kind::Pipe(end.clone())),
                SocketShutdown(Kind::Pipe(end)),
            )),
        }
    }
}

fn adopt(socket: OwnedFd) -> UnixStream {
    // SAFETY: the descriptor is a connected Unix stream socket that nobody else owns.
    unsafe { UnixStream::from_raw_fd(socket.into_raw_fd()) }
}

impl SocketReader {
    /// Reads what is there, at most the buffer; waits when nothing is; 0 at the end.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Kind::Kernel(stream) => stream.read(buffer).await,
            #[cfg(feature = "simulation")]
            Kind::Pipe(end) => Ok(end.read(buffer).await),
        }
    }
}

impl SocketWriter {
    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.0 {
            Kind::Kernel(stream) => stream.write_all(bytes).await,
            #[cfg(feature = "simulation")]
            Kind::Pipe(end) => end.write_all(bytes).await,
        }
    }
}

impl SocketShutdown {
    /// Nothing more is taken in; what has arrived can still be read.
    pub fn reading(&self) {
        match &self.0 {
            Kind::Kernel(socket) => shut(socket, Shutdown::Read),
            #[cfg(feature = "simulation")]
            Kind::Pipe(end) => end.stop_reading(),
        }
    }

    /// The socket for somebody who is no part of this executor. Whoever gets it is alone with it
    /// when the other parts are dropped.
    pub fn share(&self) -> io::Result<OwnedFd> {
        match &self.0 {
            Kind::Kernel(socket) => socket.try_clone(),
            #[cfg(feature = "simulation")]
            Kind::Pipe(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    pub fn both(&self) {
        match &self.0 {
            Kind::Kernel(socket) => shut(socket, Shutdown::Both),
            #[cfg(feature = "simulation")]
            Kind::Pipe(end) => end.close(),
        }
    }
}

fn shut(socket: &OwnedFd, how: Shutdown) {
    // The peer may be gone already.
    let _ = rustix::net::shutdown(socket, how);
}
