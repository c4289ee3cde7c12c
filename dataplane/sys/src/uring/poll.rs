//! Waits for a descriptor's readiness with a one-shot POLL_ADD.

use std::io;

use super::fd::Fd;
use super::op::{Op, submit_poll};

/// What to wait for. Errors and a full hang-up always end the wait.
#[derive(Clone, Copy, PartialEq, Eq, derive_more::Debug)]
#[debug("Interest({_0:#x})")]
pub struct Interest(u32);

impl Interest {
    /// Bytes, an end or an error to read: `POLLIN` and `POLLRDHUP`.
    pub const READ: Interest = Interest(bits(libc::POLLIN | libc::POLLRDHUP));
    /// Room to write: `POLLOUT`.
    pub const WRITE: Interest = Interest(bits(libc::POLLOUT));
    /// The peer sent FIN or RST; waits on while there is only data: `POLLRDHUP`, which io_uring adds
    /// to every interest anyway.
    pub const HANGUP: Interest = Interest(bits(libc::POLLRDHUP));
}

/// What a descriptor was ready for.
#[derive(Clone, Copy, PartialEq, Eq, derive_more::Debug)]
#[debug("Readiness({_0:#x})")]
pub struct Readiness(u32);

impl Readiness {
    /// A read will return bytes, an end or an error.
    #[must_use]
    pub fn readable(self) -> bool {
        self.any(libc::POLLIN | libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR)
    }

    /// A write will take bytes or return an error.
    #[must_use]
    pub fn writable(self) -> bool {
        self.any(libc::POLLOUT | libc::POLLHUP | libc::POLLERR)
    }

    /// The peer sent FIN or RST: it writes no more. There may be bytes to read before it.
    #[must_use]
    pub fn hangup(self) -> bool {
        self.any(libc::POLLRDHUP | libc::POLLHUP)
    }

    /// Both directions are over, or the socket has an error: more than a FIN of the peer.
    #[must_use]
    pub fn gone(self) -> bool {
        self.any(libc::POLLHUP | libc::POLLERR)
    }

    /// The socket has an error; [`crate::socket::take_error`] says which.
    #[must_use]
    pub fn error(self) -> bool {
        self.any(libc::POLLERR)
    }

    fn any(self, events: libc::c_short) -> bool {
        self.0 & bits(events) != 0
    }
}

/// Widens poll(2)'s event bits, which are small and positive.
const fn bits(events: libc::c_short) -> u32 {
    events as u32
}

/// Waits until `fd` is ready for any of `interest`; completes at once if it is already.
///
/// Safe to drop, and several may wait on one descriptor.
pub fn poll(fd: &Fd, interest: Interest) -> Op<io::Result<Readiness>> {
    submit_poll(fd, interest.0, |result| result.map(Readiness))
}
