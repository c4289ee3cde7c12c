//! Tells of all that arrives at a descriptor, through the epoll that the runtime waits in.

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use tokio::io::Interest as Events;
use tokio::io::unix::AsyncFd;

use super::fd::Fd;

/// Waits again and again for bytes, an end or an error at one descriptor.
///
/// Unlike [`super::poll`] it is not armed for each wait: the descriptor is registered once, edge-triggered, with
/// the epoll that this thread sleeps in anyway, so an arrival costs no work of the ring. A wait ends when
/// something **arrived** since the last one ended, and after an end or an error at once. So wait only
/// after a read that took all there was: one that said `WouldBlock`, or brought less than it had room
/// for. (A read also stops before urgent data of TCP: what is behind comes with the next arrival.) What
/// arrived may have been read already, so the next read may bring nothing.
///
/// Nothing is lost when a wait is dropped. There may be one watch of a descriptor.
#[derive(Debug)]
#[must_use = "dropping a watch ends it"]
pub struct Watch(AsyncFd<Held>);

/// Keeps a descriptor open while it is registered.
#[derive(Debug)]
struct Held(Fd);

impl AsRawFd for Held {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Watch {
    /// Watches `fd`, inside of [`super::run`].
    ///
    /// # Errors
    ///
    /// The kernel's, which leave a [`super::poll`] as the way to wait: `ENOSPC` where this user has
    /// fs.epoll.max_user_watches, `EEXIST` for a descriptor that is watched already, `ENOMEM`.
    pub fn new(fd: &Fd) -> io::Result<Watch> {
        let held = Held(fd.clone());
        // SAFETY: `register_with_interest` requires that the descriptor stays open and the same until it is
        // dropped: a `Held` keeps its `Fd`, whose number never changes.
        let registered = unsafe { AsyncFd::register_with_interest(held, Events::READABLE) };
        Ok(Watch(registered?))
    }

    /// Waits for the next arrival.
    ///
    /// # Errors
    ///
    /// When the runtime ends.
    pub async fn readable(&mut self) -> io::Result<()> {
        // Ends stay set.
        poll_fn(|cx| self.0.poll_read_ready(cx))
            .await?
            .clear_ready();
        Ok(())
    }
}
