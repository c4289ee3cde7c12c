//! Counts the ops in flight on one thread, and tells of every change.

use std::cell::RefCell;
use std::mem;
use std::task::{Context, Poll, Waker};

/// Takes the number of ops in flight.
pub(super) type Gauge = Box<dyn Fn(usize)>;

/// Those who are told how many ops are in flight.
#[derive(Default)]
pub(super) struct Listeners {
    /// Wakes who waits for the last op.
    drain_waiters: RefCell<Vec<Waker>>,
    /// Told of every change of the number of ops.
    gauge: RefCell<Option<Gauge>>,
}

impl Listeners {
    pub(super) fn set_gauge(&self, gauge: Gauge) {
        self.gauge.replace(Some(gauge));
    }

    /// Tells that so many are in flight now.
    pub(super) fn changed(&self, ops: usize) {
        if let Some(gauge) = &*self.gauge.borrow() {
            gauge(ops);
        }
        if ops == 0 {
            let waiters = mem::take(&mut *self.drain_waiters.borrow_mut());
            waiters.into_iter().for_each(Waker::wake);
        }
    }

    /// Waits for the last of so many.
    pub(super) fn poll_drained(&self, ops: usize, cx: &mut Context<'_>) -> Poll<()> {
        if ops == 0 {
            return Poll::Ready(());
        }
        let mut waiters = self.drain_waiters.borrow_mut();
        if !waiters.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiters.push(cx.waker().clone());
        }
        Poll::Pending
    }
}
