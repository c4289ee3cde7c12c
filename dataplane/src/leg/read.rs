//! Takes payload from a leg: through no, one or two TLS sessions, or one in the kernel.

use super::{Leg, Next, ReadStep};
use crate::failure::LegError;
use crate::ktls::FromKernel;
use crate::limits::CHUNK;
use crate::pool::{Buffer, Pools};
use eyesplice_proto::tls::{RECORD_MAX, Session, TlsError};
use eyesplice_sys::socket;
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;

impl Leg {
    /// Reads once without waiting; `out` must hold [`BUFFER`] bytes.
    pub(crate) fn read(&self, pools: &Rc<Pools>, out: &mut Buffer) -> Result<ReadStep, LegError> {
        let unread = std::mem::take(&mut *self.unread.borrow_mut());
        if !unread.is_empty() {
            let now = unread.len().min(CHUNK);
            let (first, rest) = unread.split_at(now);
            if let Some(room) = out.get_mut(..now) {
                room.copy_from_slice(first);
            }
            *self.unread.borrow_mut() = rest.to_vec();
            return Ok(ReadStep {
                payload: now,
                next: Next::Read,
            });
        }
        if self.ended.get() {
            return Ok(ReadStep {
                payload: 0,
                next: Next::End,
            });
        }
        let mut layers = self.layers.borrow_mut();
        let step = match layers.as_mut_slice() {
            [] => self.read_plain(out),
            [only] => self.read_tls(only, out),
            [outer, inner] => self.read_nested(outer, inner, out),
            _ => Err(LegError::Gone(io::ErrorKind::Unsupported.into())),
        };
        let wants_out = layers.iter().any(Session::has_outgoing);
        drop(layers);
        if wants_out {
            self.send_outgoing(pools);
        }
        if matches!(
            step,
            Ok(ReadStep {
                next: Next::End,
                ..
            })
        ) {
            self.ended.set(true);
        }
        step
    }

    /// After the end of a session inside of another: takes what the outer one still says, its
    /// close_notify, until the socket ends. To close before that would reset the connection under
    /// what the peer has yet to receive.
    pub(crate) async fn drain(&self, pools: &Rc<Pools>) {
        if self.layers.borrow().len() + usize::from(self.is_kernel()) < 2 {
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

    pub(super) fn read_plain(&self, out: &mut [u8]) -> Result<ReadStep, LegError> {
        self.receive(out.get_mut(..CHUNK).unwrap_or_default())
    }

    /// Takes from the socket what is below all layers.
    fn receive(&self, room: &mut [u8]) -> Result<ReadStep, LegError> {
        let asked = room.len();
        if let Some(kernel) = self.kernel.borrow().as_ref() {
            return Ok(match kernel.read(&self.fd, room)? {
                // The kernel gives what whole records it has, so a short read says nothing.
                FromKernel::Payload(payload) => ReadStep {
                    payload,
                    next: Next::Read,
                },
                FromKernel::Wait => ReadStep {
                    payload: 0,
                    next: Next::Wait,
                },
                FromKernel::End => ReadStep {
                    payload: 0,
                    next: Next::End,
                },
            });
        }
        match socket::recv(self.fd.as_fd(), room) {
            Ok(0) => Ok(ReadStep {
                payload: 0,
                next: Next::End,
            }),
            Ok(payload) => {
                let next = if payload == asked {
                    Next::Read
                } else {
                    Next::Wait
                };
                Ok(ReadStep { payload, next })
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(ReadStep {
                payload: 0,
                next: Next::Wait,
            }),
            Err(error) => Err(LegError::Gone(error)),
        }
    }

    /// Reads ciphertext into `buffer` and opens it there.
    fn read_tls(&self, session: &mut Session, buffer: &mut [u8]) -> Result<ReadStep, LegError> {
        let kept = session.pending_len();
        let end = CHUNK.max(kept + RECORD_MAX).min(buffer.len());
        let room = buffer.get_mut(kept..end).unwrap_or_default();
        if room.is_empty() {
            return Err(LegError::Tls(TlsError::PendingOverflow));
        }
        let below = self.receive(room)?;
        let received = match below {
            ReadStep {
                payload: 0,
                next: Next::Wait,
            } => return Ok(below),
            // An end without close_notify may be an attacker's (RFC 8446 section 6.1).
            ReadStep { payload: 0, .. } => return Err(LegError::Truncated),
            ReadStep { payload, .. } => payload,
        };
        let got = session.receive(buffer.get_mut(..kept + received).unwrap_or_default())?;
        let next = if got.peer_closed {
            Next::End
        } else {
            below.next
        };
        Ok(ReadStep {
            payload: got.plaintext,
            next,
        })
    }

    /// Opens the outer session's records behind the room that the inner one needs for what it keeps.
    fn read_nested(
        &self,
        outer: &mut Session,
        inner: &mut Session,
        buffer: &mut [u8],
    ) -> Result<ReadStep, LegError> {
        let kept = inner.pending_len();
        let behind = buffer.get_mut(kept..).unwrap_or_default();
        let step = self.read_tls(outer, behind)?;
        if step.payload == 0 {
            return match step.next {
                Next::End => Err(LegError::Truncated),
                next => Ok(ReadStep { payload: 0, next }),
            };
        }
        let got = inner.receive(buffer.get_mut(..kept + step.payload).unwrap_or_default())?;
        match (got.peer_closed, step.next) {
            (true, _) => Ok(ReadStep {
                payload: got.plaintext,
                next: Next::End,
            }),
            // The tunnel was closed under a session that was not: the end comes with the next read,
            // after what is here was delivered.
            (false, next) => Ok(ReadStep {
                payload: got.plaintext,
                next: if next == Next::End { Next::Wait } else { next },
            }),
        }
    }
}
