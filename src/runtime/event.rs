//! Waiting on event counters, and breathing.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, FromRawFd, IntoRawFd, OwnedFd};

use glommio::io::BufferedFile;
use rustix::event::{EventfdFlags, eventfd};

#[cfg(feature = "simulation")]
use super::simulated;

/// An event counter that someone else signals, for example the kernel for a ring.
#[derive(Debug)]
pub struct Event(Counter);

#[derive(Debug)]
enum Counter {
    Kernel(BufferedFile),
    #[cfg(feature = "simulation")]
    Simulated(simulated::Signal),
}

#[cfg(feature = "simulation")]
impl From<simulated::Signal> for Event {
    fn from(signal: simulated::Signal) -> Self {
        Self(Counter::Simulated(signal))
    }
}

impl Event {
    pub fn new(counter: impl AsFd) -> io::Result<Self> {
        let own: OwnedFd = counter.as_fd().try_clone_to_owned()?;
        // SAFETY: the descriptor is open and owned by nobody else.
        let file = unsafe { BufferedFile::from_raw_fd(own.into_raw_fd()) };
        Ok(Self(Counter::Kernel(file)))
    }

    /// Waits until the counter is not zero and takes it: all of it, or one if it counts in ones.
    pub async fn wait(&self) -> io::Result<()> {
        match &self.0 {
            Counter::Kernel(file) => {
                file.read_at(0, 8).await.map_err(io::Error::from)?;
            }
            #[cfg(feature = "simulation")]
            Counter::Simulated(signal) => signal.wait().await,
        }
        Ok(())
    }
}

/// Lets the reactor look at everything once.
///
/// The read of a counter that is already signalled completes at once, but through the reactor:
/// while it is under way this task is not runnable. The counter counts in ones and starts out with
/// more than any process will take, so a breath costs no write.
#[derive(Debug)]
pub struct Breath(Air);

#[derive(Debug)]
enum Air {
    Kernel(Event),
    #[cfg(feature = "simulation")]
    Simulated,
}

impl Breath {
    pub fn new() -> io::Result<Self> {
        #[cfg(feature = "simulation")]
        if simulated::is_installed() {
            return Ok(Self(Air::Simulated));
        }
        let counter = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::SEMAPHORE)?;
        rustix::io::write(&counter, &(1_u64 << 62).to_ne_bytes())?;
        Ok(Self(Air::Kernel(Event::new(&counter)?)))
    }

    /// See the type. Costs about 9 µs.
    pub async fn breathe(&self) {
        match &self.0 {
            Air::Kernel(event) => {
                event.wait().await.expect("a signalled event counter can be read");
            }
            #[cfg(feature = "simulation")]
            Air::Simulated => simulated::breathe().await,
        }
    }
}
