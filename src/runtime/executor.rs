//! Executors and tasks.

use std::future::Future;
use std::time::Duration;

use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use thiserror::Error;

#[cfg(feature = "simulation")]
use super::simulated;

/// Memory that the executor registers with the kernel for direct I/O, which nothing here uses: the
/// least it accepts, because it counts against the limit on locked memory.
const IO_MEMORY_BYTES: usize = 64 << 10;

/// Why an executor did not start or did not end well.
#[derive(Debug, Error)]
#[error(
    "the executor of {name} on processor {cpu} failed: {reason}; it needs io_uring (sysctl \
     kernel.io_uring_disabled=0) and at least 512 KiB of lockable memory (ulimit -l, LimitMEMLOCK=)"
)]
pub struct RuntimeError {
    name: String,
    cpu: usize,
    reason: String,
}

/// A running executor.
#[derive(Debug)]
pub struct Pinned<T: Send + 'static> {
    handle: ExecutorJoinHandle<T>,
    name: String,
    cpu: usize,
}

impl<T: Send + 'static> Pinned<T> {
    /// Waits for the executor's main future.
    pub fn join(self) -> Result<T, RuntimeError> {
        let Self { handle, name, cpu } = self;
        handle.join().map_err(|error| RuntimeError { name, cpu, reason: error.to_string() })
    }
}

/// Starts an executor on a thread pinned to `cpu`, with the future that `main` makes there.
pub fn spawn_pinned<F, T, M>(name: &str, cpu: usize, main: M) -> Result<Pinned<T>, RuntimeError>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let handle = LocalExecutorBuilder::new(Placement::Fixed(cpu))
        .name(name)
        .io_memory(IO_MEMORY_BYTES)
        .spawn(main)
        .map_err(|error| RuntimeError { name: name.into(), cpu, reason: error.to_string() })?;
    Ok(Pinned { handle, name: name.into(), cpu })
}

/// Runs a future beside the others of this executor.
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    #[cfg(feature = "simulation")]
    if simulated::is_installed() {
        return simulated::spawn(future);
    }
    glommio::spawn_local(future).detach();
}

/// Waits without holding anything up.
pub async fn sleep(duration: Duration) {
    #[cfg(feature = "simulation")]
    if simulated::is_installed() {
        return simulated::sleep(duration).await;
    }
    glommio::timer::sleep(duration).await;
}

/// Does on a thread of its own what blocks for nobody knows how long, and is asked for rarely.
///
/// # Panics
/// When no thread can be started.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    #[cfg(feature = "simulation")]
    if simulated::is_installed() {
        return work();
    }
    let (sender, receiver) = flume::bounded(1);
    let thread = std::thread::Builder::new().name("blocking".into());
    // Whoever waited may be gone when it is done.
    let started = thread.spawn(move || drop(sender.send(work())));
    started.expect("a thread can be started");
    receiver.recv_async().await.expect("the thread sends what it did, or the process has ended")
}
