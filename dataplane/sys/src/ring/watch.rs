//! Tells of all that arrives at a descriptor, with one multishot POLL_ADD for its life.
//!
//! tokio-uring takes only ops that complete once, so watches have a ring of their own beside its. That
//! ring has DEFER_TASKRUN: an arrival costs the worker nothing until it asks, and no signal cuts a
//! system call of its short. The kernel tells of deferred work through an eventfd, which is in the
//! runtime's epoll; the ring's own descriptor stays silent.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use io_uring::opcode::{AsyncCancel, PollAdd};
use io_uring::{IoUring, cqueue, squeue};
use nix::sys::eventfd::{EfdFlags, EventFd};
use slab::Slab;
use tokio::io::unix::AsyncFd;

use super::fd::Fd;
use super::op::{Ring, current, number};
use super::poll::{Interest, poll};
use super::run::RingConfig;

/// Submit what is queued and run deferred work, without waiting (io_uring_enter(2)).
const IORING_ENTER_GETEVENTS: u32 = 1;

/// The number of a cancellation, whose own outcome says nothing that the watch's does not.
const CANCELLATION: u64 = u64::MAX;

/// How much deferred work the kernel runs in one call (io_uring/io_uring.h: IO_LOCAL_TW_DEFAULT_MAX, Linux
/// 6.13; all of it before).
const WORK_PER_TURN: usize = 20;

/// The watches of one ring.
pub(super) struct Watches {
    ring: RefCell<IoUring>,
    /// Signalled when the ring has deferred work or completions.
    eventfd: AsyncFd<EventFd>,
    slots: RefCell<Slab<Slot>>,
    /// What the submission queue has yet to take.
    queued: RefCell<VecDeque<squeue::Entry>>,
    armed: Cell<usize>,
    /// Of the task that drives them.
    driver: RefCell<Option<Waker>>,
}

struct Slot {
    fd: Fd,
    /// The kernel has the poll.
    armed: bool,
    /// Nobody waits any more: the poll is being cancelled.
    dropped: bool,
    /// Something arrived since the last wait.
    arrived: bool,
    /// What is there may stay there without another arrival: an end, an error.
    level: bool,
    waiter: Option<Waker>,
}

/// Waits again and again for bytes, an end or an error at one descriptor.
///
/// Unlike [`poll`] it is not armed for each wait: a wait ends when something **arrived** since the
/// last one ended, and after an end or an error whenever there is something to read. So wait only
/// after a read that took all there was: one that said `WouldBlock`, or brought less than it had room
/// for. (A read also stops before urgent data of TCP: what is behind comes with the next arrival.) What
/// arrived may have been read already, so the next read may bring nothing.
///
/// Nothing is lost when a wait is dropped. Without DEFER_TASKRUN (Linux 6.1) each wait is a [`poll`].
#[must_use = "dropping a watch ends it"]
pub struct Watch {
    fd: Fd,
    /// The ring, and the key among its watches.
    at: Option<(Rc<Ring>, usize)>,
}

impl Watch {
    /// Watches `fd`; begins with the first wait.
    pub fn new(fd: &Fd) -> Watch {
        let ring = current().filter(|ring| ring.watches().is_some());
        let at = ring.and_then(|ring| {
            let key = ring.watches()?.slots.borrow_mut().insert(Slot {
                fd: fd.clone(),
                armed: false,
                dropped: false,
                arrived: false,
                level: false,
                waiter: None,
            });
            Some((ring, key))
        });
        Watch { fd: fd.clone(), at }
    }

    /// Waits for the next arrival.
    ///
    /// # Errors
    ///
    /// The poll's, which the next read would tell too.
    pub async fn readable(&mut self) -> io::Result<()> {
        let arrived = match &self.at {
            Some((ring, key)) => poll_fn(|cx| poll_arrival(ring, *key, cx)).await,
            None => false,
        };
        if !arrived {
            poll(&self.fd, Interest::READ).await?;
        }
        Ok(())
    }
}

/// Ready with `false` when a poll has to tell.
fn poll_arrival(ring: &Ring, key: usize, cx: &mut Context<'_>) -> Poll<bool> {
    let Some(watches) = ring.watches() else {
        return Poll::Ready(false);
    };
    let mut slots = watches.slots.borrow_mut();
    let Some(slot) = slots.get_mut(key) else {
        return Poll::Ready(false);
    };
    if std::mem::take(&mut slot.arrived) {
        return Poll::Ready(true);
    }
    if slot.level {
        return Poll::Ready(false);
    }
    if !slot.armed {
        let sqe = PollAdd::new(number(&slot.fd), Interest::READ.bits())
            .multi(true)
            .build();
        watches.queue(sqe.user_data(key as u64));
        slot.armed = true;
        watches.armed.set(watches.armed.get() + 1);
        ring.changed();
    }
    match &mut slot.waiter {
        Some(waiter) => waiter.clone_from(cx.waker()),
        None => slot.waiter = Some(cx.waker().clone()),
    }
    Poll::Pending
}

impl Drop for Watch {
    fn drop(&mut self) {
        let Some((ring, key)) = self.at.take() else {
            return;
        };
        let Some(watches) = ring.watches() else {
            return;
        };
        let mut slots = watches.slots.borrow_mut();
        let Some(slot) = slots.get_mut(key) else {
            return;
        };
        let waiter = slot.waiter.take();
        if slot.armed {
            slot.dropped = true;
            let cancel = AsyncCancel::new(key as u64).build();
            watches.queue(cancel.user_data(CANCELLATION));
        } else {
            slots.remove(key);
        }
        drop(slots);
        drop(waiter);
    }
}

impl Watches {
    /// `None` where the kernel has no DEFER_TASKRUN (before 6.1).
    pub(super) fn new(config: &RingConfig) -> io::Result<Option<Watches>> {
        let mut builder = IoUring::builder();
        builder
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_cqsize(config.cq_entries);
        let ring = match builder.build(config.entries) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(None),
            outcome => outcome?,
        };
        let eventfd = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        ring.submitter()
            .register_eventfd(eventfd.as_fd().as_raw_fd())?;
        // SAFETY: `register` requires that the descriptor stays open and the same: an `EventFd` owns its.
        let eventfd = unsafe { AsyncFd::register(eventfd) }?;
        Ok(Some(Watches {
            ring: RefCell::new(ring),
            eventfd,
            slots: RefCell::default(),
            queued: RefCell::default(),
            armed: Cell::new(0),
            driver: RefCell::default(),
        }))
    }

    /// Polls that the kernel has.
    pub(super) fn armed(&self) -> usize {
        self.armed.get()
    }

    /// Queues an entry that the driver submits before the thread sleeps.
    fn queue(&self, sqe: squeue::Entry) {
        self.queued.borrow_mut().push_back(sqe);
        if let Some(driver) = self.driver.borrow().as_ref() {
            driver.wake_by_ref();
        }
    }

    /// Submits what is queued, as far as there is room, and takes what arrived; returns how many
    /// completions that were. Fails when the kernel has no memory for the moment; what is queued stays so.
    fn turn(&self, woken: &mut Vec<Waker>) -> io::Result<usize> {
        let mut ring = self.ring.borrow_mut();
        let mut queued = self.queued.borrow_mut();
        while let Some(sqe) = queued.front() {
            // SAFETY: `push` requires that what the entry refers to stays valid until its last completion.
            // A poll refers to no memory, and its slot holds the descriptor until then; a cancellation
            // refers to nothing.
            if unsafe { ring.submission().push(sqe) }.is_err() {
                break;
            }
            queued.pop_front();
        }
        drop(queued);
        let submitted = u32::try_from(ring.submission().len()).unwrap_or(u32::MAX);
        // SAFETY: `enter` requires arguments that io_uring_enter(2) takes: nothing is pointed to.
        let entered = unsafe {
            ring.submitter()
                .enter::<libc::sigset_t>(submitted, 0, IORING_ENTER_GETEVENTS, None)
        };
        let mut slots = self.slots.borrow_mut();
        let mut taken = 0;
        for completion in ring.completion() {
            self.take(&mut slots, &completion, woken);
            taken += 1;
        }
        match entered {
            // Completions were in the way, and have been taken.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && taken > 0 => Ok(taken),
            outcome => outcome.map(|_| taken),
        }
    }

    fn take(&self, slots: &mut Slab<Slot>, completion: &cqueue::Entry, woken: &mut Vec<Waker>) {
        if completion.user_data() == CANCELLATION {
            return;
        }
        let key = completion.user_data() as usize;
        let Some(slot) = slots.get_mut(key) else {
            return;
        };
        let ended = !cqueue::more(completion.flags());
        if ended {
            slot.armed = false;
            self.armed.set(self.armed.get() - 1);
            if slot.dropped {
                slots.remove(key);
                return;
            }
        }
        slot.arrived = true;
        slot.level |= completion.result() != libc::c_int::from(libc::POLLIN);
        woken.extend(slot.waiter.take());
    }

    /// Whether there is something to submit.
    fn has_queued(&self) -> bool {
        !self.queued.borrow().is_empty() || !self.ring.borrow_mut().submission().is_empty()
    }

    /// Whether there is something to take; perhaps not, since the kernel may say that there is deferred
    /// work after it ran it.
    fn has_arrivals(&self) -> bool {
        let mut ring = self.ring.borrow_mut();
        let (_, submission, completion) = ring.split();
        submission.taskrun() || submission.cq_overflow() || !completion.is_empty()
    }
}

/// Drives the watches of `ring` until its runtime ends.
pub(super) async fn drive(ring: Rc<Ring>) {
    if let Some(watches) = ring.watches() {
        let mut woken = Vec::new();
        poll_fn(|cx| poll_drive(&ring, watches, &mut woken, cx)).await;
    }
}

fn poll_drive(
    ring: &Ring,
    watches: &Watches,
    woken: &mut Vec<Waker>,
    cx: &mut Context<'_>,
) -> Poll<()> {
    watches.driver.replace(Some(cx.waker().clone()));
    // Turns in a row that took nothing. Work need not end in a completion; but there is no more of it than
    // watches.
    let mut idle = 0;
    loop {
        match watches.eventfd.poll_read_ready(cx) {
            Poll::Ready(Ok(mut guard)) => guard.clear_ready(),
            Poll::Ready(Err(_)) => return Poll::Ready(()),
            Poll::Pending if watches.has_queued() => {}
            Poll::Pending if watches.has_arrivals() && idle <= watches.armed() / WORK_PER_TURN => {}
            Poll::Pending => return Poll::Pending,
        }
        let before = watches.armed();
        let turned = watches.turn(woken);
        idle = if matches!(turned, Ok(0)) { idle + 1 } else { 0 };
        if idle == 0 {
            // It was signalled for what was taken, too, which must not end the next sleep. What came since
            // then is seen above; after a turn that took nothing the signal for it is still there.
            let _ = watches.eventfd.get_ref().read();
        }
        woken.drain(..).for_each(Waker::wake);
        if watches.armed() != before {
            ring.changed();
        }
        if turned.is_err() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
    }
}
