//! Keeps what the kernel touches alive from an op's submission to its completion.
//!
//! tokio-uring numbers ops by their key in a slab of its own and does not tell the number, which is
//! what a cancellation needs. But it is the same for a slab of the same crate that sees the same
//! inserts and removals in the same order, so each ring keeps such a mirror. It is exact because
//! every op of the ring goes through [`submit`]: the mirror inserts just before tokio-uring does,
//! and removes when tokio-uring drops or returns the op's data, which is when it removes. Every
//! completion compares the two numbers. The mirror's length is the number of ops in flight.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::mem;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use io_uring::opcode::AsyncCancel;
use io_uring::{cqueue, squeue};
use slab::Slab;
use socket2::SockAddr;
use tokio_uring::{InFlightOneshot, OneshotOutputTransform, UnsubmittedOneshot};

use super::fd::Fd;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Ring>>> = const { RefCell::new(None) };
}

/// Counts the ops that the kernel has not completed yet on this thread's ring; 0 without a ring.
///
/// A completion that arrived but was not awaited yet still counts, a dropped op counts until its
/// completion arrived. The op of a cancellation counts itself.
#[must_use]
pub fn ops_in_flight() -> usize {
    current().map_or(0, |ring| ring.ops())
}

/// Calls `gauge` with the number of ops in flight now, and whenever it changes on this thread's
/// ring; a later call replaces the earlier one. Does nothing without a ring.
///
/// `gauge` may only note the number. It is called while the ring is at work, so it must not make,
/// cancel or drop an op, nor panic.
pub fn watch_ops(gauge: impl Fn(usize) + 'static) {
    if let Some(ring) = current() {
        gauge(ring.ops());
        ring.gauge.replace(Some(Box::new(gauge)));
    }
}

pub(super) fn current() -> Option<Rc<Ring>> {
    CURRENT.with_borrow(Clone::clone)
}

/// Takes the number of ops in flight.
type Gauge = Box<dyn Fn(usize)>;

/// The ops of one ring.
pub(super) struct Ring {
    /// Mirrors the slab of tokio-uring's driver, key for key.
    keys: RefCell<Slab<()>>,
    /// Ops may be submitted, and a dropped op's data means that its completion arrived.
    open: Cell<bool>,
    /// Wakes who waits for the last op.
    drain_waiters: RefCell<Vec<Waker>>,
    /// Told of every change of the number of ops.
    gauge: RefCell<Option<Gauge>>,
}

impl Ring {
    pub(super) fn ops(&self) -> usize {
        self.keys.borrow().len()
    }

    /// Takes the next key; [`Ring::changed`] comes after tokio-uring took the same.
    fn insert(&self) -> usize {
        self.keys.borrow_mut().insert(())
    }

    fn remove(&self, key: usize) {
        self.keys.borrow_mut().remove(key);
        self.changed();
    }

    pub(super) fn changed(&self) {
        if let Some(gauge) = &*self.gauge.borrow() {
            gauge(self.ops());
        }
        if self.ops() == 0 {
            let waiters = mem::take(&mut *self.drain_waiters.borrow_mut());
            waiters.into_iter().for_each(Waker::wake);
        }
    }

    pub(super) fn poll_drained(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.ops() == 0 {
            return Poll::Ready(());
        }
        let mut waiters = self.drain_waiters.borrow_mut();
        if !waiters.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiters.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// Makes a ring this thread's current one; closes it when dropped, also by a panic.
pub(super) struct Opened(Rc<Ring>);

impl Opened {
    /// The thread must not have a ring yet.
    pub(super) fn new() -> Self {
        let ring = Rc::new(Ring {
            keys: RefCell::new(Slab::new()),
            open: Cell::new(true),
            drain_waiters: RefCell::new(Vec::new()),
            gauge: RefCell::new(None),
        });
        CURRENT.set(Some(Rc::clone(&ring)));
        Opened(ring)
    }

    pub(super) fn ops(&self) -> usize {
        self.0.ops()
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.open.set(false);
        CURRENT.set(None);
    }
}

/// What the kernel reads besides an op's descriptor, at a place that does not move with the op.
pub(super) type Address = Option<Box<SockAddr>>;

/// Everything that an op owns while it is in flight.
struct Held {
    key: usize,
    ring: Rc<Ring>,
    address: Address,
    _fd: Option<Fd>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.ring.remove(self.key);
        if !self.ring.open.get() {
            // The runtime goes down and drops the data of ops whose completion it did not see. The
            // kernel may still read: leak what it may touch.
            mem::forget(self.address.take());
        }
    }
}

/// How a completion becomes the op's output: a plain function, so that `Op` has one parameter.
type Finish<T> = fn(io::Result<u32>) -> T;

struct Transform<T>(Finish<T>);

impl<T> OneshotOutputTransform for Transform<T> {
    type Output = T;
    type StoredData = Held;

    fn transform_oneshot_output(self, held: Held, completion: cqueue::Entry) -> T {
        assert_eq!(
            completion.user_data(),
            held.key as u64,
            "an op that did not go through eyesplice-sys is on this ring"
        );
        drop(held);
        let result = completion.result();
        (self.0)(u32::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result)))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    InFlight,
    Cancelling,
    Finished,
}

/// An op that the kernel works on; a future of its outcome.
///
/// Queued when made, not when first polled. Dropping it cancels it: see [`crate::ring`].
#[must_use = "dropping an op cancels it"]
pub struct Op<T: 'static> {
    inner: InFlightOneshot<Held, Transform<T>>,
    ring: Rc<Ring>,
    key: usize,
    state: State,
}

impl<T> Op<T> {
    /// Asks the kernel to stop this op, and no other; await it to learn what happened.
    ///
    /// It completes with `ECANCELED` ([`is_cancelled`]), or with its real outcome if that
    /// was faster. Does nothing when it was asked before.
    pub fn cancel(&mut self) {
        if self.state != State::InFlight {
            return;
        }
        self.state = State::Cancelling;
        if !self.ring.open.get() {
            return;
        }
        let sqe = AsyncCancel::new(self.key as u64).build();
        // SAFETY: `submit` requires that the kernel touches nothing but what the op owns; a
        // cancellation by number touches nothing.
        let mut cancellation: Op<()> =
            unsafe { submit_on(Rc::clone(&self.ring), sqe, None, None, drop) };
        // Its outcome says nothing that the op's own completion does not.
        cancellation.state = State::Finished;
    }
}

impl<T> Future for Op<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let this = self.get_mut();
        let output = Pin::new(&mut this.inner).poll(cx);
        if output.is_ready() {
            this.state = State::Finished;
        }
        output
    }
}

impl<T> Drop for Op<T> {
    fn drop(&mut self) {
        // Before `inner` hands what it owns to the driver, which keeps it until the completion.
        self.cancel();
    }
}

impl<T> std::fmt::Debug for Op<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Op")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// Queues an op on this thread's ring.
///
/// # Safety
///
/// Every address in `sqe` must point into the heap memory of `address`, with at least the length
/// that `sqe` says, and the descriptor in `sqe` must be `fd`'s. `sqe` must complete exactly once
/// (no multishot, no zero-copy send) and without linking to another.
///
/// # Panics
///
/// Outside [`super::run`].
pub(super) unsafe fn submit<T>(
    sqe: squeue::Entry,
    fd: &Fd,
    address: Address,
    finish: Finish<T>,
) -> Op<T> {
    let ring = current().expect("ring ops are made inside ring::run");
    // SAFETY: the caller's promise.
    unsafe { submit_on(ring, sqe, Some(fd.clone()), address, finish) }
}

/// # Safety
///
/// As for [`submit`].
unsafe fn submit_on<T>(
    ring: Rc<Ring>,
    sqe: squeue::Entry,
    fd: Option<Fd>,
    address: Address,
    finish: Finish<T>,
) -> Op<T> {
    let key = ring.insert();
    let held = Held {
        key,
        ring: Rc::clone(&ring),
        address,
        _fd: fd,
    };
    // `submit` is a safe function over an unsafe contract, the one that our caller vouches for:
    // tokio-uring keeps `held` until the completion, and after a drop of the future too.
    let inner = UnsubmittedOneshot::new(held, Transform(finish), sqe).submit();
    ring.changed();
    Op {
        inner,
        ring,
        key,
        state: State::InFlight,
    }
}

/// Says whether an op ended because it was cancelled.
#[must_use]
pub fn is_cancelled(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ECANCELED)
}

/// The number for an SQE; valid as long as the op holds a clone of `fd`.
pub(super) fn number(fd: &Fd) -> io_uring::types::Fd {
    use std::os::fd::AsRawFd;
    io_uring::types::Fd(fd.as_fd().as_raw_fd())
}
