//! A leg between two workers: taken apart into what may cross threads, and put together again.
//!
//! A leg lives on one worker, whose ring works on its socket and whose sweep watches its peer. The
//! rest of it belongs to nobody: the socket, the TLS sessions with their keys, every byte that was
//! read or sealed and has not gone on, and what is known of both ends. Where the kernel carries a
//! session it keeps the keys and the records that have come, whole or in part: they go where the
//! socket goes.

use super::{Leg, State};
use eyesplice_proto::stream::Side;
use eyesplice_sys::uring::Fd;
use std::cell::OnceCell;
use std::os::fd::OwnedFd;

/// A leg that is on no worker. Its peer finds no difference.
pub(crate) struct Parts {
    fd: OwnedFd,
    side: Side,
    state: State,
}

/// A leg that cannot leave its worker now, and why. Its peer is no longer watched.
pub(crate) struct Bound {
    pub(crate) leg: Box<Leg>,
    pub(crate) by: Holder,
}

/// What holds a leg on its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, derive_more::Display)]
pub(crate) enum Holder {
    /// An operation in flight, be it one whose cancellation is on its way, or a watch of arrivals.
    #[display("an operation holds its socket")]
    Operation,
    /// A write that was given up between two parts of a record: nothing can follow on this leg.
    #[display("a write to it was given up within a record")]
    Write,
}

impl Parts {
    /// A plain leg on a socket that nobody has read.
    pub(crate) fn new(fd: OwnedFd, side: Side) -> Self {
        let state = State::default();
        Self { fd, side, state }
    }

    /// The same as the other leg of a stream.
    pub(crate) fn turned(self, side: Side) -> Self {
        Self { side, ..self }
    }
}

impl Leg {
    /// Takes the leg off its worker. What was sealed for it and is not sent yet
    /// ([`Wire`](super::Wire)) is its writer's to send before.
    ///
    /// # Errors
    /// As [`Holder`] says; the leg goes on where it is.
    pub(crate) fn into_parts(self: Box<Self>) -> Result<Parts, Bound> {
        if self.state.writing.get() {
            let by = Holder::Write;
            return Err(Bound { leg: self, by });
        }
        let Self {
            fd,
            side,
            state,
            pulse,
        } = *self;
        drop(pulse);
        match fd.try_into_owned() {
            Ok(fd) => Ok(Parts { fd, side, state }),
            Err(fd) => {
                let leg = Leg {
                    fd,
                    side,
                    state,
                    pulse: OnceCell::new(),
                };
                Err(Bound {
                    leg: Box::new(leg),
                    by: Holder::Operation,
                })
            }
        }
    }

    /// Puts a leg together on this worker. Nobody watches its peer yet.
    pub(crate) fn from_parts(Parts { fd, side, state }: Parts) -> Self {
        Self {
            fd: Fd::from(fd),
            side,
            state,
            pulse: OnceCell::new(),
        }
    }
}

#[cfg(test)]
mod tests;
