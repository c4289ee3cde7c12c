//! Accepts a connection.

use std::io;
use std::os::fd::AsFd;

use super::fd::Fd;
use super::poll::{Interest, poll};
use crate::socket::{self, Accepted};

/// Waits for a connection on a non-blocking `listener`; the socket is non-blocking, close-on-exec.
///
/// Polls and then calls accept4(2), not IORING_OP_ACCEPT: a dropped ACCEPT that the kernel
/// completes leaves a connection that nobody owns. So this is safe to drop. It waits first, which
/// lets other tasks run when connections arrive without a pause; call [`socket::accept`] after it
/// to take a few more.
///
/// # Errors
///
/// `EMFILE`, `ENFILE`, `ENOBUFS` and `ENOMEM` when descriptors or memory ran out: the connection
/// stays queued, so wait before the next call. `ECONNABORTED` when the peer left meanwhile. The
/// listener's error otherwise.
pub async fn accept(listener: &Fd) -> io::Result<Accepted> {
    loop {
        poll(listener, Interest::READ).await?;
        match socket::accept(listener.as_fd()) {
            // Somebody else who shares the listener was faster.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            outcome => return outcome,
        }
    }
}
