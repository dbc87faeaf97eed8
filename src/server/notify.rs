//! Waking one task from another on the same executor.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// A flag that one task waits for and others raise.
#[derive(Debug, Default)]
pub(super) struct Notify {
    is_raised: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl Notify {
    /// Raises the flag and wakes who waits.
    pub(super) fn notify(&self) {
        self.is_raised.set(true);
        if let Some(waker) = self.waiting.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Waits until the flag is raised and lowers it.
    pub(super) async fn wait(&self) {
        poll_fn(|context| {
            if self.is_raised.replace(false) {
                return Poll::Ready(());
            }
            *self.waiting.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
