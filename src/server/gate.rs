//! So many at once, the others in the order in which they came.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use super::notify::Notify;

/// See the top of the file.
#[derive(Debug)]
pub(super) struct Gate {
    left: Cell<usize>,
    waiting: RefCell<VecDeque<Rc<Notify>>>,
}

/// The right to be inside, until it is dropped.
#[derive(Debug)]
pub(super) struct Pass<'a>(&'a Gate);

impl Gate {
    pub(super) fn new(passes: usize) -> Self {
        Self { left: Cell::new(passes), waiting: RefCell::default() }
    }

    pub(super) async fn enter(&self) -> Pass<'_> {
        match self.left.get().checked_sub(1) {
            Some(left) => self.left.set(left),
            None => {
                // Who leaves hands the right over.
                let turn = Rc::new(Notify::default());
                self.waiting.borrow_mut().push_back(Rc::clone(&turn));
                turn.wait().await;
            }
        }
        Pass(self)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        match self.0.waiting.borrow_mut().pop_front() {
            Some(next) => next.notify(),
            None => self.0.left.set(self.0.left.get() + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn who_comes_when_all_are_inside_waits_for_one_to_leave() {
        let gate = Gate::new(2);
        let mut context = Context::from_waker(Waker::noop());
        let [mut a, mut b, mut c, mut d] = [(); 4].map(|()| Box::pin(gate.enter()));
        let Poll::Ready(first) = a.as_mut().poll(&mut context) else { panic!("the gate is open") };
        let Poll::Ready(second) = b.as_mut().poll(&mut context) else { panic!("for two") };
        assert!(c.as_mut().poll(&mut context).is_pending());
        assert!(d.as_mut().poll(&mut context).is_pending());
        drop(first);
        assert!(d.as_mut().poll(&mut context).is_pending(), "it is not its turn");
        let Poll::Ready(third) = c.as_mut().poll(&mut context) else { panic!("its turn") };
        drop((second, third));
        assert!(d.as_mut().poll(&mut context).is_ready());
        let again = pin!(gate.enter()).poll(&mut context).is_ready();
        assert!(again, "all have left");
    }
}
