//! Remembers that a connection was lost, which a socket reports once.
//!
//! Linux keeps what came before a RST: it is read first, and then the error. But whichever call
//! comes first takes the error, be it a write that has nothing to do with what is still to be read,
//! and then the last read says 0, as after a FIN.

use super::Leg;
use crate::end::{LegError, exhausted};
use eyesplice_sys::socket::{self, Address};
use std::io;
use std::os::fd::AsFd;

impl Leg {
    /// Keeps an error that the socket reported. A broken pipe is none: it says that the peer takes
    /// no more, and leaves to the reads how the peer's own direction ended.
    pub(crate) fn gone(&self, error: io::Error) -> LegError {
        if error.kind() != io::ErrorKind::BrokenPipe && !exhausted(&error) {
            self.state
                .lost
                .set(self.state.lost.get().or(error.raw_os_error()));
        }
        LegError::Gone(error)
    }

    /// Whether a read that met the end met one. Otherwise the error that was reported before.
    pub(crate) fn not_lost(&self) -> Result<(), LegError> {
        match self.state.lost.get() {
            None => Ok(()),
            Some(error) => Err(LegError::Gone(io::Error::from_raw_os_error(error))),
        }
    }

    /// What an error of a session in the kernel is, which takes the end of a lost socket for a FIN.
    pub(super) fn truth(&self, error: LegError) -> LegError {
        match error {
            LegError::Gone(error) => self.gone(error),
            LegError::Truncated => self.not_lost().err().unwrap_or(LegError::Truncated),
            error => error,
        }
    }

    /// What the peer's kernel has not acknowledged of what was sent, and a reset would destroy;
    /// nothing on a UNIX socket, whose peer has it as soon as it is sent, and on one that is gone.
    pub(crate) fn unacknowledged(&self) -> usize {
        if self.state.lost.get().is_some() || self.is_unix() {
            return 0;
        }
        match socket::take_error(self.fd.as_fd()) {
            Ok(None) => socket::unacknowledged(self.fd.as_fd()).unwrap_or(0),
            Ok(Some(error)) => {
                drop(self.gone(error));
                0
            }
            Err(_) => 0,
        }
    }

    /// Whether it is a UNIX socket, which knows no reset.
    pub(crate) fn is_unix(&self) -> bool {
        matches!(socket::local_address(self.fd.as_fd()), Ok(Address::Unix))
    }

    /// Whether the peer of a socket that is closed now will find an error behind what it was sent:
    /// TCP sends RST, a UNIX socket reports input that nobody read.
    pub(crate) fn shows_a_cut(&self) -> bool {
        !self.is_bare() || !self.is_unix() || self.has_input()
    }

    /// Whether the socket holds something that nobody read.
    pub(crate) fn has_input(&self) -> bool {
        socket::unread(self.fd.as_fd()).is_ok_and(|bytes| bytes > 0)
    }
}
