//! Does a ring's work with epoll, where a sandbox denies io_uring.
//!
//! A poll is a waiter of its descriptor. The descriptor is registered with an epoll of this thread
//! for all that its waiters want, once (EPOLLONESHOT), and again for those that are left. This
//! epoll stands in the one that the runtime sleeps in.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use tokio::io::Interest as Events;
use tokio::io::unix::AsyncFd;

use super::fd::Fd;
use super::flight::Listeners;
use slab::Slab;

/// What one call takes from the epoll.
const BATCH: usize = 128;

/// What io_uring adds to every poll, and epoll does not.
const ALWAYS: u32 = (EpollFlags::EPOLLERR.bits()
    | EpollFlags::EPOLLHUP.bits()
    | EpollFlags::EPOLLRDHUP.bits()) as u32;

/// The polls of one thread.
pub(super) struct Reactor {
    epoll: Epoll,
    waiters: RefCell<Slab<Waiter>>,
    /// By number. An entry stays when nobody waits: the next poll finds the descriptor registered,
    /// or learns that this number is another one by now.
    registered: RefCell<HashMap<RawFd, Vec<usize>>>,
    /// Polls may be made.
    open: Cell<bool>,
    pub(super) listeners: Listeners,
}

/// One that waits for its descriptor.
struct Waiter {
    fd: Fd,
    wanted: u32,
    /// Known, and not taken yet.
    outcome: Option<io::Result<u32>>,
    waker: Option<Waker>,
}

impl Reactor {
    pub(super) fn new() -> io::Result<Rc<Self>> {
        Ok(Rc::new(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            waiters: RefCell::default(),
            registered: RefCell::default(),
            open: Cell::new(true),
            listeners: Listeners::default(),
        }))
    }

    pub(super) fn ops(&self) -> usize {
        self.waiters.borrow().len()
    }

    /// Lets nobody wait any more.
    pub(super) fn close(&self) {
        self.open.set(false);
    }

    /// Begins to wait for a descriptor.
    pub(super) fn wait(self: &Rc<Self>, fd: &Fd, wanted: u32) -> Wait {
        let key = self.waiters.borrow_mut().insert(Waiter {
            fd: fd.clone(),
            wanted: wanted | ALWAYS,
            outcome: None,
            waker: None,
        });
        let number = fd.as_fd().as_raw_fd();
        if self.open.get() {
            let mut registered = self.registered.borrow_mut();
            let known = registered.contains_key(&number);
            registered.entry(number).or_default().push(key);
            drop(registered);
            self.arm(number, known);
        }
        self.listeners.changed(self.ops());
        Wait {
            reactor: Rc::clone(self),
            key: Some(key),
        }
    }

    /// Registers a descriptor for what its waiters want; those that cannot wait learn why.
    fn arm(&self, number: RawFd, known: bool) {
        let registered = self.registered.borrow();
        let Some(keys) = registered.get(&number) else {
            return;
        };
        let mut waiters = self.waiters.borrow_mut();
        let Some(fd) = keys.first().and_then(|key| waiters.get(*key)) else {
            return;
        };
        let fd = fd.fd.clone();
        let wanted = keys.iter().filter_map(|key| waiters.get(*key));
        let wanted = wanted.fold(0, |all, waiter| all | waiter.wanted);
        let Err(error) = self.control(&fd, number, wanted, known) else {
            return;
        };
        for key in keys {
            if let Some(waiter) = waiters.get_mut(*key) {
                settle(waiter, Err(error.into()));
            }
        }
        drop((registered, waiters));
        self.registered.borrow_mut().remove(&number);
    }

    fn control(&self, fd: &Fd, number: RawFd, wanted: u32, known: bool) -> Result<(), Errno> {
        let flags = EpollFlags::from_bits_retain(wanted.cast_signed()) | EpollFlags::EPOLLONESHOT;
        let event = EpollEvent::new(flags, u64::from(number.cast_unsigned()));
        let add = || self.epoll.add(fd.as_fd(), event);
        let change = || self.epoll.modify(fd.as_fd(), &mut event.clone());
        // The kernel forgets a descriptor that is closed, and we do not hear of it.
        if known {
            change().or_else(|error| match error {
                Errno::ENOENT => add(),
                error => Err(error),
            })
        } else {
            add().or_else(|error| match error {
                Errno::EEXIST => change(),
                error => Err(error),
            })
        }
    }

    /// Settles the waiters of what is ready. Returns whether there may be more.
    fn dispatch(&self) -> io::Result<bool> {
        let mut events = [EpollEvent::empty(); BATCH];
        let count = self.epoll.wait(&mut events, EpollTimeout::ZERO)?;
        for event in events.get(..count).unwrap_or_default() {
            let Ok(number) = u32::try_from(event.data()) else {
                continue;
            };
            self.ready(number.cast_signed(), event.events().bits().cast_unsigned());
        }
        Ok(count == BATCH)
    }

    fn ready(&self, number: RawFd, found: u32) {
        let left = {
            let mut registered = self.registered.borrow_mut();
            let Some(keys) = registered.get_mut(&number) else {
                return;
            };
            let mut waiters = self.waiters.borrow_mut();
            keys.retain(|key| match waiters.get_mut(*key) {
                Some(waiter) if waiter.wanted & found != 0 => {
                    let found = waiter.wanted & found;
                    settle(waiter, Ok(found));
                    false
                }
                Some(_) => true,
                None => false,
            });
            !keys.is_empty()
        };
        if left {
            self.arm(number, true);
        }
    }

    /// Runs until the runtime ends.
    pub(super) async fn drive(self: Rc<Self>) -> io::Result<()> {
        let epoll = self.epoll.0.try_clone()?;
        // SAFETY: `register_with_interest` requires that the descriptor stays open and the same
        // until it is dropped: it owns this one.
        let epoll = unsafe { AsyncFd::register_with_interest(epoll, Events::READABLE) }?;
        loop {
            epoll.readable().await?.clear_ready();
            while self.dispatch()? {}
        }
    }

    fn cancel(&self, key: usize) {
        let mut waiters = self.waiters.borrow_mut();
        if let Some(waiter) = waiters.get_mut(key)
            && waiter.outcome.is_none()
        {
            let number = waiter.fd.as_fd().as_raw_fd();
            settle(waiter, Err(Errno::ECANCELED.into()));
            drop(waiters);
            self.forget(number, key);
        }
    }

    /// Takes a waiter off its descriptor, which stays armed for it: an arrival finds nobody.
    fn forget(&self, number: RawFd, key: usize) {
        if let Some(keys) = self.registered.borrow_mut().get_mut(&number) {
            keys.retain(|known| *known != key);
        }
    }
}

fn settle(waiter: &mut Waiter, outcome: io::Result<u32>) {
    waiter.outcome = Some(outcome);
    if let Some(waker) = waiter.waker.take() {
        waker.wake();
    }
}

/// One poll by epoll; dropped, it waits no more.
pub(super) struct Wait {
    reactor: Rc<Reactor>,
    /// Nothing, once its outcome was taken.
    key: Option<usize>,
}

impl Wait {
    pub(super) fn cancel(&self) {
        if let Some(key) = self.key {
            self.reactor.cancel(key);
        }
    }

    /// Takes the waiter off the books, with its outcome if that is known.
    fn take(&mut self) -> Option<io::Result<u32>> {
        let key = self.key.take()?;
        // It may hold the last clone of a descriptor, whose close needs no borrow of ours.
        let waiter = self.reactor.waiters.borrow_mut().try_remove(key);
        self.reactor.listeners.changed(self.reactor.ops());
        waiter?.outcome
    }
}

impl Future for Wait {
    type Output = io::Result<u32>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u32>> {
        let this = self.get_mut();
        if let Some(key) = this.key
            && let Some(waiter) = this.reactor.waiters.borrow_mut().get_mut(key)
            && waiter.outcome.is_none()
        {
            match &mut waiter.waker {
                Some(known) => known.clone_from(cx.waker()),
                nobody => *nobody = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        Poll::Ready(this.take().unwrap_or(Err(Errno::ECANCELED.into())))
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.cancel();
        drop(self.take());
    }
}
