//! An event counter without a kernel.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::{Event, current};

/// Raised by somebody, now or later; waited for by one task.
#[derive(Debug, Clone, Default)]
pub struct Signal(Rc<State>);

#[derive(Debug, Default)]
struct State {
    is_raised: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl Signal {
    pub fn raise(&self) {
        self.0.is_raised.set(true);
        if let Some(waker) = self.0.waiting.take() {
            waker.wake();
        }
    }

    /// Raises it when the time has come.
    pub fn raise_at(&self, at_ns: u64) {
        current().set_timer(at_ns, Event::Raise(self.clone()));
    }

    /// Waits until it is raised and lowers it.
    pub async fn wait(&self) {
        poll_fn(|context| {
            if self.0.is_raised.replace(false) {
                return Poll::Ready(());
            }
            *self.0.waiting.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
