//! Takes payload from a leg: through no, one or two TLS sessions, or one in the kernel.

use super::{Leg, Next, ReadStep, Unused};
use crate::end::LegError;
use crate::ktls::FromKernel;
use crate::limits::{CHUNK, CIPHERTEXT, DISCARDS, QUIET_READS};
use crate::pool::{Buffer, Pools};
use eyesplice_proto::tls::{Layout, RECORD_MAX, Session, TlsError};
use eyesplice_sys::socket;
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;

impl Leg {
    /// Reads once without waiting, payload in one piece; `out` must hold [`BUFFER`] bytes.
    pub(crate) fn read(&self, pools: &Rc<Pools>, out: &mut Buffer) -> Result<ReadStep, LegError> {
        self.read_as(Layout::Dense, pools, out)
    }

    /// As [`Leg::read`], with payload in the `wanted` layout if it comes so.
    pub(crate) fn read_as(
        &self,
        wanted: Layout,
        pools: &Rc<Pools>,
        out: &mut Buffer,
    ) -> Result<ReadStep, LegError> {
        let unread = std::mem::take(&mut *self.state.unread.borrow_mut());
        if !unread.is_empty() {
            let now = unread.len().min(CHUNK);
            let (first, rest) = unread.split_at(now);
            if let Some(room) = out.get_mut(..now) {
                room.copy_from_slice(first);
            }
            *self.state.unread.borrow_mut() = rest.to_vec();
            return Ok(ReadStep::dense(now, Next::Read));
        }
        if self.state.ended.get() {
            return Ok(ReadStep::nothing(Next::End));
        }
        let mut layers = self.state.layers.borrow_mut();
        let step = match layers.as_mut_slice() {
            [] => self.read_plain(out),
            [only] => self.read_tls(only, wanted, out),
            [outer, inner] => self.read_nested(outer, inner, wanted, out),
            _ => Err(LegError::Gone(io::ErrorKind::Unsupported.into())),
        };
        let wants_out = layers.iter().any(Session::has_outgoing);
        drop(layers);
        if wants_out && let (Err(error), Ok(_)) = (self.send_outgoing(pools), &step) {
            return Err(error);
        }
        if matches!(
            step,
            Ok(ReadStep {
                next: Next::End,
                ..
            })
        ) {
            self.state.ended.set(true);
        }
        step
    }

    /// After the end of a session inside of another: takes what the outer one still says, its
    /// close_notify, until the socket ends. To close before that would reset the connection under
    /// what the peer has yet to receive.
    pub(crate) async fn drain(&self, pools: &Rc<Pools>) {
        if self.state.layers.borrow().len() + usize::from(self.is_kernel()) < 2 {
            return;
        }
        loop {
            let step = self.receive(&mut pools.buffer());
            match step {
                Ok(ReadStep {
                    next: Next::Read, ..
                }) => {}
                Ok(ReadStep {
                    next: Next::Wait, ..
                }) if self.readable().await.is_ok() => {}
                _ => return,
            }
        }
    }

    /// Whether the peer of an unused connection has neither ended it nor said anything.
    pub(crate) fn is_quiet(&self, pools: &Rc<Pools>) -> bool {
        self.unused(pools) == Unused::Quiet
    }

    /// Whether nothing has come from the peer, and no end: one call of the kernel, which takes
    /// nothing.
    pub(crate) fn is_still(&self) -> bool {
        let peeked = socket::peek(self.fd.as_fd(), &mut [0]);
        !self.has_unread() && peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// What the peer of an unused connection has done: what TLS says after a handshake, session
    /// tickets above all, is taken and is no payload.
    pub(crate) fn unused(&self, pools: &Rc<Pools>) -> Unused {
        let mut buffer = pools.buffer();
        for _ in 0..QUIET_READS {
            match self.read(pools, &mut buffer) {
                Ok(ReadStep {
                    payload: 0,
                    next: Next::Read | Next::Wait,
                    ..
                }) => {}
                Ok(ReadStep { payload: 1.., .. }) => return Unused::Spoke,
                Ok(_) => return Unused::Ended,
                Err(_) => return Unused::Cut,
            }
            // A read that brought a ticket does not say what follows it.
            match socket::peek(self.fd.as_fd(), &mut [0]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Unused::Quiet,
                Ok(1..) => {}
                _ => return Unused::Cut,
            }
        }
        Unused::Spoke
    }

    /// Takes and drops what the peer has sent so far, so that closing the socket does not reset it
    /// under the alert that tells why.
    pub(crate) fn discard(&self, pools: &Rc<Pools>) {
        let mut buffer = pools.buffer();
        for _ in 0..DISCARDS {
            match socket::recv(self.fd.as_fd(), &mut buffer) {
                Ok(taken) if taken > 0 => {}
                _ => return,
            }
        }
    }

    pub(super) fn read_plain(&self, out: &mut [u8]) -> Result<ReadStep, LegError> {
        self.receive(out.get_mut(..CHUNK).unwrap_or_default())
    }

    /// Takes from the socket what is below all layers.
    fn receive(&self, room: &mut [u8]) -> Result<ReadStep, LegError> {
        let asked = room.len();
        if let Some(kernel) = self.state.kernel.borrow().as_ref() {
            let read = kernel.read(&self.fd, room);
            return Ok(match read.map_err(|error| self.truth(error))? {
                // The kernel gives what whole records it has, so a short read says nothing.
                FromKernel::Payload(payload) => ReadStep::dense(payload, Next::Read),
                FromKernel::Wait => ReadStep::nothing(Next::Wait),
                FromKernel::End => ReadStep::nothing(Next::End),
            });
        }
        match socket::recv(self.fd.as_fd(), room) {
            Ok(0) => self.not_lost().map(|()| ReadStep::nothing(Next::End)),
            Ok(payload) if payload == asked => Ok(ReadStep::dense(payload, Next::Read)),
            Ok(payload) => Ok(ReadStep::dense(payload, Next::Wait)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Ok(ReadStep::nothing(Next::Wait))
            }
            Err(error) => Err(self.gone(error)),
        }
    }

    /// Reads ciphertext into `buffer` and opens it there.
    fn read_tls(
        &self,
        session: &mut Session,
        wanted: Layout,
        buffer: &mut [u8],
    ) -> Result<ReadStep, LegError> {
        let kept = session.pending_len();
        let end = CIPHERTEXT.max(kept + RECORD_MAX).min(buffer.len());
        let room = buffer.get_mut(kept..end).unwrap_or_default();
        if room.is_empty() {
            return Err(LegError::Tls(TlsError::PendingOverflow));
        }
        let below = self.receive(room)?;
        let received = match (below.payload, below.next) {
            (0, Next::Wait) => return Ok(below),
            // An end without close_notify may be an attacker's (RFC 8446 section 6.1).
            (0, _) => return Err(LegError::Truncated),
            (received, _) => received,
        };
        let wire = buffer.get_mut(..kept + received).unwrap_or_default();
        let got = session.receive_as(wanted, wire)?;
        Ok(ReadStep {
            payload: got.plaintext,
            layout: got.layout,
            next: if got.peer_closed {
                Next::End
            } else {
                below.next
            },
        })
    }

    /// Opens the outer session's records behind the room that the inner one needs for what it
    /// keeps.
    fn read_nested(
        &self,
        outer: &mut Session,
        inner: &mut Session,
        wanted: Layout,
        buffer: &mut [u8],
    ) -> Result<ReadStep, LegError> {
        let kept = inner.pending_len();
        let behind = buffer.get_mut(kept..).unwrap_or_default();
        let below = self.read_tls(outer, Layout::Dense, behind)?;
        if below.payload == 0 {
            return match below.next {
                Next::End => Err(LegError::Truncated),
                _ => Ok(below),
            };
        }
        let wire = buffer.get_mut(..kept + below.payload).unwrap_or_default();
        let got = inner.receive_as(wanted, wire)?;
        Ok(ReadStep {
            payload: got.plaintext,
            layout: got.layout,
            next: match (got.peer_closed, below.next) {
                (true, _) => Next::End,
                // The tunnel was closed under a session that was not: the end comes with the next
                // read, after what is here was delivered.
                (false, Next::End) => Next::Wait,
                (false, next) => next,
            },
        })
    }
}
