//! Runs the handshake of a leg's topmost session.

use super::{Leg, Next, ReadStep};
use crate::end::LegError;
use crate::pool::{Buffer, Pools};
use eyesplice_proto::tls::{RECORD_HEADER, RECORD_MAX};
use eyesplice_sys::{socket, uring};
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Instant;

impl Leg {
    /// Runs the handshake of the topmost session; payload that came with it is kept as unread.
    ///
    /// `exactly` reads no byte past a record, so that the kernel can take over.
    pub(crate) async fn handshake(
        &self,
        pools: &Rc<Pools>,
        deadline: Instant,
        exactly: bool,
    ) -> Result<(), LegError> {
        // Lets a client write its first flight.
        self.with_top(|top| top.receive(&mut [])).transpose()?;
        self.send_outgoing(pools)?;
        self.feed_early(pools)?;
        loop {
            self.flush_until(deadline).await?;
            if self.with_top(|top| !top.is_handshaking()).unwrap_or(true) {
                if exactly {
                    // It cannot wait for the first record, which the kernel makes.
                    self.owe_tickets(pools)?;
                    self.flush_until(deadline).await?;
                }
                return Ok(());
            }
            let mut out = pools.buffer();
            let step = if exactly {
                self.read_record(pools, &mut out)
            } else {
                self.read(pools, &mut out)
            };
            match step {
                Ok(step) => {
                    self.state
                        .unread
                        .borrow_mut()
                        .extend_from_slice(out.get(..step.payload).unwrap_or_default());
                    drop(out);
                    match step.next {
                        Next::Read => {}
                        Next::End if self.with_top(|top| top.is_handshaking()).unwrap_or(true) => {
                            return Err(LegError::Truncated);
                        }
                        // It said all it had to say along with its last flight.
                        Next::End => {}
                        Next::Wait => {
                            if self.with_top(|top| top.is_handshaking()).unwrap_or(false)
                                && self.state.owed.borrow().is_empty()
                            {
                                uring::until(self.readable(), Some(deadline)).await?;
                            }
                        }
                    }
                }
                Err(error) => {
                    // The alert that says why is on its way already if the socket took it.
                    let _ = self.send_outgoing(pools);
                    if matches!(error, LegError::Tls(_)) {
                        self.discard(pools);
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Gives the session what came before it was there: the ClientHello behind a CONNECT, say. It
    /// is the handshake's, and never payload.
    fn feed_early(&self, pools: &Rc<Pools>) -> Result<(), LegError> {
        let early = std::mem::take(&mut *self.state.unread.borrow_mut());
        for piece in early.chunks(RECORD_MAX) {
            let mut out = pools.buffer();
            let fed = self.with_top(|top| {
                let kept = top.pending_len();
                let wire = out.get_mut(..kept + piece.len()).unwrap_or_default();
                if let Some(room) = wire.get_mut(kept..) {
                    room.copy_from_slice(piece);
                }
                top.receive(wire).map(|got| got.plaintext)
            });
            let sent = self.send_outgoing(pools);
            let payload = fed.transpose()?.unwrap_or(0);
            self.state
                .unread
                .borrow_mut()
                .extend_from_slice(out.get(..payload).unwrap_or_default());
            sent?;
        }
        Ok(())
    }

    /// Reads the rest of one record of the only session, and no byte more.
    fn read_record(&self, pools: &Rc<Pools>, out: &mut Buffer) -> Result<ReadStep, LegError> {
        let mut layers = self.state.layers.borrow_mut();
        let [session] = layers.as_mut_slice() else {
            return Err(LegError::Gone(io::ErrorKind::Unsupported.into()));
        };
        let kept = session.pending_len();
        let missing = match session.missing_to_record_end() {
            0 => RECORD_HEADER,
            missing => missing,
        };
        let room = out.get_mut(kept..kept + missing).unwrap_or_default();
        let received = match socket::recv(self.fd.as_fd(), room) {
            Ok(0) => return Err(LegError::Truncated),
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(ReadStep::nothing(Next::Wait));
            }
            Err(error) => return Err(self.gone(error)),
        };
        let result = session
            .receive(out.get_mut(..kept + received).unwrap_or_default())
            .map(|got| ReadStep::dense(got.plaintext, Next::Read));
        drop(layers);
        let sent = self.send_outgoing(pools);
        let step = result?;
        sent.map(|()| step)
    }
}
