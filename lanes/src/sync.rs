//! What threads share, from the standard library and well-kept crates, or for the model checker
//! from loom. Of the queue loom checks the use that is made of it, not its inside.

#[cfg(not(loom))]
pub(crate) use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

#[cfg(not(loom))]
pub(crate) use {atomic_waker::AtomicWaker, crossbeam_queue::ArrayQueue};

#[cfg(loom)]
pub(crate) use loom::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

#[cfg(loom)]
pub(crate) use modelled::{ArrayQueue, AtomicWaker};

#[cfg(loom)]
mod modelled {
    use std::collections::VecDeque;
    use std::task::Waker;

    use loom::sync::Mutex;

    #[derive(Debug)]
    pub(crate) struct ArrayQueue<T> {
        items: Mutex<VecDeque<T>>,
        slots: usize,
    }

    impl<T> ArrayQueue<T> {
        pub(crate) fn new(slots: usize) -> Self {
            Self { items: Mutex::default(), slots }
        }

        pub(crate) fn push(&self, item: T) -> Result<(), T> {
            let mut items = self.items.lock().unwrap();
            if items.len() == self.slots {
                return Err(item);
            }
            items.push_back(item);
            Ok(())
        }

        pub(crate) fn pop(&self) -> Option<T> {
            self.items.lock().unwrap().pop_front()
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.items.lock().unwrap().is_empty()
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct AtomicWaker(loom::future::AtomicWaker);

    impl AtomicWaker {
        pub(crate) fn new() -> Self {
            Self::default()
        }

        pub(crate) fn register(&self, waker: &Waker) {
            self.0.register_by_ref(waker);
        }

        pub(crate) fn wake(&self) {
            self.0.wake();
        }
    }
}
