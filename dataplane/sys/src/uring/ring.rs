//! Keeps what the kernel touches alive from an op's submission to its completion.
//!
//! tokio-uring numbers ops by their key in a slab of its own and does not tell the number, which is
//! what a cancellation needs. But it is the same for a slab of the same crate that sees the same
//! inserts and removals in the same order, so each ring keeps such a mirror. It is exact because
//! every op of the ring goes through [`submit_on`]: the mirror inserts just before tokio-uring
//! does, and removes when tokio-uring drops or returns the op's data, which is when it removes.
//! Every completion compares the two numbers. The mirror's length is the number of ops in flight.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use io_uring::opcode::{AsyncCancel, PollAdd};
use io_uring::{cqueue, squeue};
use slab::Slab;
use tokio_uring::{InFlightOneshot, OneshotOutputTransform, UnsubmittedOneshot};

use super::fd::Fd;
use super::flight::Listeners;
use super::op::Finish;

/// The ops of one ring.
pub(super) struct Ring {
    /// Mirrors the slab of tokio-uring's driver, key for key.
    keys: RefCell<Slab<()>>,
    /// Ops may be submitted, and a dropped op's data means that its completion arrived.
    open: Cell<bool>,
    pub(super) listeners: Listeners,
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

    fn changed(&self) {
        self.listeners.changed(self.ops());
    }

    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            keys: RefCell::new(Slab::new()),
            open: Cell::new(true),
            listeners: Listeners::default(),
        })
    }

    /// Takes no more ops.
    pub(super) fn close(&self) {
        self.open.set(false);
    }
}

/// Everything that an op owns while it is in flight.
struct Held {
    key: usize,
    ring: Rc<Ring>,
    _fd: Option<Fd>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.ring.remove(self.key);
    }
}

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

/// An op that the ring works on.
pub(super) struct RingOp<T: 'static> {
    inner: InFlightOneshot<Held, Transform<T>>,
    ring: Rc<Ring>,
    key: usize,
    state: State,
}

impl<T> RingOp<T> {
    /// Asks the kernel to stop this op, and no other; await it to learn what happened.
    ///
    /// It completes with `ECANCELED` ([`is_cancelled`]), or with its real outcome if that
    /// was faster. Does nothing when it was asked before.
    pub(super) fn cancel(&mut self) {
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
        let mut cancellation: RingOp<()> =
            unsafe { submit_on(Rc::clone(&self.ring), sqe, None, drop) };
        // Its outcome says nothing that the op's own completion does not.
        cancellation.state = State::Finished;
    }
}

impl<T> Future for RingOp<T> {
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

impl<T> Drop for RingOp<T> {
    fn drop(&mut self) {
        // Before `inner` hands what it owns to the driver, which keeps it until the completion.
        self.cancel();
    }
}

/// Queues an op on a ring.
///
/// # Safety
///
/// `sqe` must hold no address, its descriptor must be `fd`'s, and it must complete exactly once (no
/// multishot, no zero-copy send) and without linking to another.
unsafe fn submit_on<T>(
    ring: Rc<Ring>,
    sqe: squeue::Entry,
    fd: Option<Fd>,
    finish: Finish<T>,
) -> RingOp<T> {
    let key = ring.insert();
    let held = Held {
        key,
        ring: Rc::clone(&ring),
        _fd: fd,
    };
    // `submit` is a safe function over an unsafe contract, the one that our caller vouches for:
    // tokio-uring keeps `held` until the completion, and after a drop of the future too.
    let inner = UnsubmittedOneshot::new(held, Transform(finish), sqe).submit();
    ring.changed();
    RingOp {
        inner,
        ring,
        key,
        state: State::InFlight,
    }
}

/// Queues a one-shot poll.
pub(super) fn poll_add<T>(ring: Rc<Ring>, fd: &Fd, wanted: u32, finish: Finish<T>) -> RingOp<T> {
    let sqe = PollAdd::new(number(fd), wanted).build();
    // SAFETY: `submit_on` requires that `sqe` holds no address (POLL_ADD has none), names `fd` and
    // completes once (the multishot flag is not set).
    unsafe { submit_on(ring, sqe, Some(fd.clone()), finish) }
}

/// The number for an SQE; valid as long as the op holds a clone of `fd`.
fn number(fd: &Fd) -> io_uring::types::Fd {
    use std::os::fd::AsRawFd;
    io_uring::types::Fd(fd.as_fd().as_raw_fd())
}
