//! Has a runtime watch a descriptor.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

/// Registers a descriptor, which must not wait, with the runtime of the caller. For few connections
/// of control; streams have [`crate::uring`].
///
/// # Errors
///
/// Of epoll: `ENOMEM`, `ENOSPC`, or `EPERM` for what cannot be waited for.
pub fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` gives the same open descriptor for as long as it exists, and the
    // `AsyncFd` has it to itself: it gives out shared borrows alone until it is deregistered.
    let watched = unsafe { AsyncFd::register(fd) };
    watched.map_err(io::Error::from)
}
