//! What is known of the peer of a leg: whether it takes what is sent, and whether it is there.

use super::Leg;
use crate::liveness::Pulse;
use crate::seam::Counted;
use eyesplice_sys::socket;
use std::os::fd::AsFd;
use std::rc::Rc;

impl Leg {
    /// Has the peer watched from now on.
    pub(crate) fn set_pulse(&self, pulse: Rc<Pulse>) {
        // A leg is watched once.
        let _ = self.pulse.set(pulse);
    }

    /// Counts it among the connections of its server for as long as it lives.
    pub(crate) fn set_counted(&self, counted: Counted) {
        // A leg has one server.
        let _ = self.state.counted.set(counted);
    }

    /// Tells the watch that bytes went out.
    pub(crate) fn sent(&self) {
        if let Some(pulse) = self.pulse.get() {
            pulse.sent();
        }
    }

    /// Whether the peer has not taken all that was sent: its kernel over TCP, itself over UNIX.
    pub(crate) fn owes(&self) -> bool {
        socket::unacknowledged(self.fd.as_fd()).is_ok_and(|bytes| bytes > 0) && !self.is_over()
    }

    /// Whether bytes wait for the window of a peer that is watched: they would be the kernel's alone
    /// after a close, and it gives up on a reader that stalls. A UNIX peer keeps what it has not read.
    pub(crate) fn has_unsent(&self) -> bool {
        self.pulse.get().is_some()
            && socket::unsent(self.fd.as_fd()).is_ok_and(|bytes| bytes > 0)
            && !self.is_over()
    }

    /// Whether a TCP connection is over for both sides: a peer that reset it takes nothing more.
    fn is_over(&self) -> bool {
        socket::progress(self.fd.as_fd()).is_ok_and(|progress| progress.closed)
    }

    /// Whether the peer closed for good, as far as it shows without a read or a write.
    pub(crate) fn is_abandoned(&self) -> bool {
        !self.is_shut() && socket::is_abandoned(self.fd.as_fd()).unwrap_or(false)
    }

    /// Resets the connection at its close although its write side was ended: the peer has all that was
    /// sent, and must learn that nobody takes what it still may send.
    pub(crate) fn abandon(&self) {
        if !self.owes() {
            // A UNIX peer sees the close itself.
            let _ = socket::linger_zero(self.fd.as_fd());
        }
    }
}
