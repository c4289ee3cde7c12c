//! Puts payload on a leg: sealed by every session, in order, and ended cleanly.

use super::{Leg, Wire};
use crate::end::LegError;
use crate::limits::{CHUNK, OWED};
use crate::pool::{Buffer, Pools};
use eyesplice_proto::tls::{Layout, Session, TlsError};
use eyesplice_sys::{ktls, socket, uring};
use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Instant;

impl Leg {
    /// Makes `payload` bytes in `buffer` ready to be sent: sealed by every layer, where they stand
    /// if their layout allows that.
    pub(crate) fn seal(
        &self,
        pools: &Rc<Pools>,
        mut buffer: Buffer,
        payload: usize,
        layout: Layout,
    ) -> Result<Wire, LegError> {
        self.owe_tickets(pools)?;
        let mut layers = self.state.layers.borrow_mut();
        if let (Layout::Slots, Some(top)) = (layout, layers.last_mut())
            && let Some(len) = top.seal_slots(payload, &mut buffer)?
        {
            // Only a leg with this one layer asks for slots.
            return Ok(Wire::new(buffer, len));
        }
        let mut wire = Wire::new(buffer, payload);
        for session in layers.iter_mut().rev() {
            let mut sealed = pools.buffer();
            let len = session.seal(wire.rest(), &mut sealed)?;
            wire = Wire::new(sealed, len);
        }
        Ok(wire)
    }

    /// Sends what the socket takes of `wire` at once; returns whether that was all. Otherwise
    /// [`Leg::send`] sends the rest.
    pub(crate) fn send_now(&self, wire: &mut Wire) -> Result<bool, LegError> {
        if !self.state.owed.borrow().is_empty() {
            return Ok(false);
        }
        match socket::send(self.fd.as_fd(), wire.rest()) {
            Ok(sent) => {
                wire.sent += sent;
                self.count_sealed(sent)?;
                Ok(wire.rest().is_empty())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(self.gone(error)),
        }
    }

    /// Sends all of `wire` that [`Leg::send_now`] did not, waiting as often as the socket is full.
    ///
    /// What is owed was sealed before `wire` or, when it comes up meanwhile, after it: it goes out
    /// around `wire`, never inside of a record.
    pub(crate) async fn send(&self, wire: &mut Wire) -> Result<(), LegError> {
        self.state.writing.set(true);
        let result = self.send_in_order(wire).await;
        self.state.writing.set(false);
        result
    }

    pub(super) async fn send_in_order(&self, wire: &mut Wire) -> Result<(), LegError> {
        if wire.sent == 0 {
            let ahead = std::mem::take(&mut *self.state.owed.borrow_mut());
            self.send_all(&ahead).await?;
        }
        while !self.send_some(wire)? {
            wire.settle();
            self.writable().await?;
        }
        self.send_owed().await
    }

    /// Sends until the socket is full; returns whether that was all.
    fn send_some(&self, wire: &mut Wire) -> Result<bool, LegError> {
        while !wire.rest().is_empty() {
            match socket::send(self.fd.as_fd(), wire.rest()) {
                Ok(sent) => {
                    wire.sent += sent;
                    self.count_sealed(sent)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(self.gone(error)),
            }
        }
        Ok(true)
    }

    async fn send_all(&self, mut rest: &[u8]) -> Result<(), LegError> {
        while !rest.is_empty() {
            match socket::send(self.fd.as_fd(), rest) {
                Ok(sent) => {
                    rest = rest.get(sent..).unwrap_or_default();
                    self.count_sealed(sent)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.writable().await?;
                }
                Err(error) => return Err(self.gone(error)),
            }
        }
        Ok(())
    }

    /// Takes note of what went out: for the watch over the peer, and for the key of a session in
    /// the kernel.
    pub(crate) fn count_sealed(&self, bytes: usize) -> Result<(), LegError> {
        self.sent();
        self.state
            .kernel
            .borrow()
            .as_ref()
            .map_or(Ok(()), |kernel| kernel.count(bytes))
    }

    /// Seals and sends a slice of at most [`CHUNK`] bytes.
    pub(crate) async fn write(&self, pools: &Rc<Pools>, payload: &[u8]) -> Result<(), LegError> {
        for piece in payload.chunks(CHUNK) {
            let mut buffer = pools.buffer();
            if let Some(room) = buffer.get_mut(..piece.len()) {
                room.copy_from_slice(piece);
            }
            let mut wire = self.seal(pools, buffer, piece.len(), Layout::Dense)?;
            self.send(&mut wire).await?;
        }
        Ok(())
    }

    /// Owes the tickets that waited for payload: it goes out behind them.
    pub(super) fn owe_tickets(&self, pools: &Rc<Pools>) -> Result<(), LegError> {
        let mut waited = false;
        for session in self.state.layers.borrow_mut().iter_mut() {
            waited |= session.release_ticket();
        }
        if waited {
            self.owe_outgoing(pools)
        } else {
            Ok(())
        }
    }

    /// Sends handshake output, alerts and answers to key updates, or keeps them for the next
    /// writer.
    ///
    /// While the peer has not taken what it is owed, an answer stays due in its session: what a
    /// peer can ask for without reading is one.
    pub(crate) fn send_outgoing(&self, pools: &Rc<Pools>) -> Result<(), LegError> {
        if self.state.owed.borrow().is_empty() && !self.state.writing.get() {
            for session in self.state.layers.borrow_mut().iter_mut() {
                session.answer()?;
            }
        }
        self.owe_outgoing(pools)?;
        let mut owed = self.state.owed.borrow_mut();
        if !self.state.writing.get() && !owed.is_empty() {
            // What does not go out now goes out ahead of the next write; on errors the next read
            // or write meets them too.
            match socket::send(self.fd.as_fd(), &owed) {
                Ok(sent) => {
                    owed.drain(..sent);
                    self.sent();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => drop(self.gone(error)),
            }
        }
        Ok(())
    }

    /// Takes handshake output and alerts of all layers, sealed by those below.
    fn owe_outgoing(&self, pools: &Rc<Pools>) -> Result<(), LegError> {
        let mut out = Vec::new();
        {
            let mut layers = self.state.layers.borrow_mut();
            for index in (0..layers.len()).rev() {
                let Some((session, below)) = split_layer(&mut layers, index) else {
                    continue;
                };
                let mut bytes = session.take_outgoing();
                for lower in below.iter_mut().rev() {
                    bytes = seal_small(lower, pools, &bytes);
                }
                out.extend_from_slice(&bytes);
            }
        }
        self.owe(&out)
    }

    pub(super) fn owe(&self, bytes: &[u8]) -> Result<(), LegError> {
        let mut owed = self.state.owed.borrow_mut();
        if owed.len() + bytes.len() > OWED {
            return Err(LegError::Tls(TlsError::OutgoingOverflow));
        }
        owed.extend_from_slice(bytes);
        Ok(())
    }

    /// Sends what is owed, waiting for the socket.
    pub(crate) async fn send_owed(&self) -> Result<(), LegError> {
        loop {
            let result = {
                let mut owed = self.state.owed.borrow_mut();
                if owed.is_empty() {
                    return Ok(());
                }
                socket::send(self.fd.as_fd(), &owed).map(|sent| drop(owed.drain(..sent)))
            };
            match result {
                Ok(()) => self.sent(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.writable().await?;
                }
                Err(error) => return Err(self.gone(error)),
            }
        }
    }

    /// Ends this leg's write side cleanly: close_notify of every layer, then FIN.
    pub(crate) async fn shut_write(&self, pools: &Rc<Pools>) -> Result<(), LegError> {
        let mut out = Vec::new();
        {
            let mut layers = self.state.layers.borrow_mut();
            for index in (0..layers.len()).rev() {
                let Some((session, below)) = split_layer(&mut layers, index) else {
                    continue;
                };
                out.extend_from_slice(&sealed_close(session, below, pools)?);
            }
        }
        self.owe(&out)?;
        self.send_owed().await?;
        if self.is_kernel() {
            self.kernel_close().await?;
        }
        self.state.shut.set(true);
        match socket::shutdown(self.fd.as_fd(), Shutdown::Write) {
            Ok(()) => {
                self.sent();
                Ok(())
            }
            // The peer is gone already; the other direction will say so.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            Err(error) => Err(self.gone(error)),
        }
    }

    /// close_notify of the session in the kernel, which neither close nor shutdown sends.
    async fn kernel_close(&self) -> Result<(), LegError> {
        loop {
            match ktls::close_notify(self.fd.as_fd()) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.writable().await?;
                }
                Err(error) => return Err(self.gone(error)),
            }
        }
    }

    pub(super) async fn flush_until(&self, deadline: Instant) -> Result<(), LegError> {
        loop {
            {
                let mut owed = self.state.owed.borrow_mut();
                if owed.is_empty() {
                    // A flight is not kept for the life of the stream.
                    *owed = Vec::new();
                    return Ok(());
                }
                match socket::send(self.fd.as_fd(), &owed) {
                    Ok(sent) => {
                        owed.drain(..sent);
                        continue;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(self.gone(error)),
                }
            }
            uring::until(self.writable(), Some(deadline)).await?;
        }
    }
}

pub(super) fn split_layer(
    layers: &mut [Session],
    index: usize,
) -> Option<(&mut Session, &mut [Session])> {
    let (below, from) = layers.split_at_mut_checked(index)?;
    from.first_mut().map(|session| (session, below))
}

/// The close_notify of a session, sealed by those below it.
pub(super) fn sealed_close(
    session: &mut Session,
    below: &mut [Session],
    pools: &Rc<Pools>,
) -> Result<Vec<u8>, LegError> {
    let mut buffer = pools.buffer();
    let len = session.close(&mut buffer)?;
    let mut bytes = buffer.get(..len).unwrap_or_default().to_vec();
    for lower in below.iter_mut().rev() {
        bytes = seal_small(lower, pools, &bytes);
    }
    Ok(bytes)
}

/// Seals a control message through a lower layer; what that layer refuses is lost, and with it the
/// connection, as the next read or write finds.
fn seal_small(lower: &mut Session, pools: &Rc<Pools>, bytes: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::new();
    for piece in bytes.chunks(CHUNK) {
        let mut buffer = pools.buffer();
        if let Ok(len) = lower.seal(piece, &mut buffer) {
            sealed.extend_from_slice(buffer.get(..len).unwrap_or_default());
        }
    }
    sealed
}
