//! The executor of a shard, and the only folder that names the crate behind it (glommio).
//!
//! One executor runs on one pinned thread. Rules that the rest of the daemon keeps, each with what
//! happens otherwise:
//!
//! 1. **Yield through the reactor.** An executor with runnable tasks looks at its sockets only when
//!    its preemption timer fires, every 100 ms. Whoever computes or could go on without waiting
//!    works in slices and awaits [`Breath::breathe`] in between: for a moment nothing is runnable,
//!    and the reactor polls everything. The crate's own `yield_*` do not do that.
//! 2. **Detach what foreign threads wake.** [`spawn`] always does: a task whose handle is kept can
//!    be freed under the feet of a waker that is dropped on another thread.
//! 3. **Be woken now and then.** Under CPU contention an executor can park although tasks are
//!    runnable. The supervisor's heartbeat, which feeds the watchdog, also ends that.
//! 4. **One task per connection and direction**, not per request: a spawn takes a lock that all
//!    executors share.
//! 5. **Little locked memory.** Nothing here uses the executor's own direct I/O buffers.
//!
//! With the feature `simulation`, which only tests turn on, a thread may run all this in virtual
//! time instead, on an executor of ours: see `simulated.rs`.

mod event;
mod executor;
#[cfg(feature = "simulation")]
pub mod simulated;
mod socket;

pub use event::{Breath, Event};
pub use executor::{Pinned, RuntimeError, blocking, sleep, spawn, spawn_pinned};
pub use socket::{Socket, SocketReader, SocketShutdown, SocketWriter};
