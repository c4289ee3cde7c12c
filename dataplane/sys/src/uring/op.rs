//! One op in flight, whatever does the work on this thread: a ring, or epoll in its place.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::epoll::{Reactor, Wait};
use super::fd::Fd;
use super::flight::Listeners;
use super::ring::{Ring, RingOp, poll_add};

thread_local! {
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

/// What does this thread's ops.
#[derive(Clone)]
pub(super) enum Current {
    Ring(Rc<Ring>),
    Epoll(Rc<Reactor>),
}

impl Current {
    pub(super) fn ops(&self) -> usize {
        match self {
            Self::Ring(ring) => ring.ops(),
            Self::Epoll(reactor) => reactor.ops(),
        }
    }

    fn listeners(&self) -> &Listeners {
        match self {
            Self::Ring(ring) => &ring.listeners,
            Self::Epoll(reactor) => &reactor.listeners,
        }
    }

    pub(super) fn poll_drained(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.listeners().poll_drained(self.ops(), cx)
    }
}

pub(super) fn current() -> Option<Current> {
    CURRENT.with_borrow(Clone::clone)
}

/// Makes something this thread's current one; closes it when dropped, also by a panic.
pub(super) struct Opened(Current);

impl Opened {
    /// The thread must not have one yet.
    pub(super) fn new(current: Current) -> Self {
        CURRENT.set(Some(current.clone()));
        Self(current)
    }

    pub(super) fn ops(&self) -> usize {
        self.0.ops()
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        match &self.0 {
            Current::Ring(ring) => ring.close(),
            Current::Epoll(reactor) => reactor.close(),
        }
        CURRENT.set(None);
    }
}

/// Counts the ops that are not completed yet on this thread; 0 outside of [`super::run`].
///
/// A completion that arrived but was not awaited yet still counts. On a ring a dropped op counts
/// until its completion arrived, and the op of a cancellation counts itself.
#[must_use]
pub fn ops_in_flight() -> usize {
    current().map_or(0, |current| current.ops())
}

/// Calls `gauge` with the number of ops in flight now, and whenever it changes on this thread; a
/// later call replaces the earlier one. Does nothing outside of [`super::run`].
///
/// `gauge` may only note the number. It is called while the ring is at work, so it must not make,
/// cancel or drop an op, nor panic.
pub fn watch_ops(gauge: impl Fn(usize) + 'static) {
    if let Some(current) = current() {
        gauge(current.ops());
        current.listeners().set_gauge(Box::new(gauge));
    }
}

/// How a completion becomes the op's output: a plain function, so that `Op` has one parameter.
pub(super) type Finish<T> = fn(io::Result<u32>) -> T;

/// An op that the kernel works on; a future of its outcome.
///
/// Queued when made, not when first polled. Dropping it cancels it: see [`crate::uring`].
#[must_use = "dropping an op cancels it"]
pub struct Op<T: 'static>(Kind<T>);

enum Kind<T: 'static> {
    Ring(RingOp<T>),
    Epoll(Wait, Finish<T>),
}

impl<T> Op<T> {
    /// Asks the kernel to stop this op, and no other; await it to learn what happened.
    ///
    /// It completes with `ECANCELED` ([`is_cancelled`]), or with its real outcome if that
    /// was faster. Does nothing when it was asked before.
    pub fn cancel(&mut self) {
        match &mut self.0 {
            Kind::Ring(op) => op.cancel(),
            Kind::Epoll(wait, _) => wait.cancel(),
        }
    }
}

impl<T> Future for Op<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match &mut self.get_mut().0 {
            Kind::Ring(op) => Pin::new(op).poll(cx),
            Kind::Epoll(wait, finish) => Pin::new(wait).poll(cx).map(*finish),
        }
    }
}

impl<T> std::fmt::Debug for Op<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Op").finish_non_exhaustive()
    }
}

/// Queues a one-shot poll of `fd` for poll(2)'s event bits.
///
/// # Panics
///
/// Outside of [`super::run`].
pub(super) fn submit_poll<T>(fd: &Fd, wanted: u32, finish: Finish<T>) -> Op<T> {
    Op(match current().expect("ops are made inside uring::run") {
        Current::Ring(ring) => Kind::Ring(poll_add(ring, fd, wanted, finish)),
        Current::Epoll(reactor) => Kind::Epoll(reactor.wait(fd, wanted), finish),
    })
}

/// Says whether an op ended because it was cancelled.
#[must_use]
pub fn is_cancelled(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ECANCELED)
}
