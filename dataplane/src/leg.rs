//! A leg: an owned socket, and how bytes pass it.
//!
//! A leg has a stack of TLS sessions, none for plain text, one for TLS, two for the API server's TLS
//! inside of a CONNECT that itself came over TLS. All socket calls are inline and non-blocking; the
//! only waits are [`Leg::readable`] and [`Leg::writable`], during which the leg holds no buffer.

use crate::failure::LegError;
use crate::ktls::{FromKernel, KernelTls};
use crate::limits::{BUFFER, CHUNK};
use crate::pool::{Buffer, Pools};
use eyesplice_proto::stream::Side;
use eyesplice_proto::tls::{RECORD_HEADER, Session, TlsError, missing_to_record_end};
use eyesplice_sys::ktls;
use eyesplice_sys::ring::{self, Fd, Interest, Op, Readiness};
use eyesplice_sys::socket;
use rustls::pki_types::CertificateDer;
use smallvec::SmallVec;
use std::cell::{Cell, RefCell};
use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Instant;

/// One leg of a stream.
pub(crate) struct Leg {
    fd: Fd,
    side: Side,
    /// From the socket outwards: `[0]` makes the bytes on the wire.
    layers: RefCell<SmallVec<[Session; 1]>>,
    /// TLS below all layers, in the kernel.
    kernel: RefCell<Option<Box<KernelTls>>>,
    /// Payload that was read past a head: delivered before anything else.
    unread: RefCell<Vec<u8>>,
    /// Wire bytes that rustls wanted out (alerts) while the socket took no more.
    owed: RefCell<Vec<u8>>,
    /// A writer is between two parts of one record: nobody else may write.
    writing: Cell<bool>,
    /// The write side was shut cleanly; the socket must not be reset any more.
    shut: Cell<bool>,
    /// The peer ended cleanly; the FIN that follows a close_notify is no truncation.
    ended: Cell<bool>,
}

/// What one read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadStep {
    /// Payload bytes at the front of the buffer.
    pub(crate) payload: usize,
    /// What to do next.
    pub(crate) next: Next,
}

/// What follows a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// There is probably more.
    Read,
    /// The socket was emptied: wait.
    Wait,
    /// The peer ended cleanly.
    End,
}

/// Sealed bytes on their way out.
pub(crate) struct Wire {
    buffer: Buffer,
    len: usize,
}

impl Leg {
    pub(crate) fn new(fd: Fd, side: Side) -> Self {
        Self {
            fd,
            side,
            layers: RefCell::default(),
            kernel: RefCell::default(),
            unread: RefCell::default(),
            owed: RefCell::default(),
            writing: Cell::new(false),
            shut: Cell::new(false),
            ended: Cell::new(false),
        }
    }

    pub(crate) fn fd(&self) -> &Fd {
        &self.fd
    }

    pub(crate) fn side(&self) -> Side {
        self.side
    }

    /// Adds a TLS session on top.
    pub(crate) fn push(&self, session: Session) {
        self.layers.borrow_mut().push(session);
    }

    /// Lets `look` see the topmost session.
    pub(crate) fn with_top<T>(&self, look: impl FnOnce(&mut Session) -> T) -> Option<T> {
        self.layers.borrow_mut().last_mut().map(look)
    }

    /// The certificate chain that the peer of the topmost session presented.
    pub(crate) fn peer_chain(&self) -> Option<Vec<CertificateDer<'static>>> {
        match self.layers.borrow().last() {
            Some(top) => top.peer_certificates().map(<[_]>::to_vec),
            None => self
                .kernel
                .borrow()
                .as_ref()
                .and_then(|kernel| kernel.peer_certificates()),
        }
    }

    /// Puts a session below all layers that the kernel carries.
    pub(crate) fn set_kernel(&self, kernel: KernelTls) {
        *self.kernel.borrow_mut() = Some(Box::new(kernel));
    }

    /// Whether the kernel carries TLS on this socket.
    pub(crate) fn is_kernel(&self) -> bool {
        self.kernel.borrow().is_some()
    }

    /// After a splice from this leg: `Ok(true)` when it should be tried again rather than waited for.
    pub(crate) fn after_splice(&self, moved: bool) -> Result<bool, LegError> {
        match self.kernel.borrow().as_ref() {
            None => Ok(false),
            Some(kernel) if moved => kernel.progressed(&self.fd).map(|()| false),
            Some(kernel) => kernel.blocked(&self.fd),
        }
    }

    /// Whether there is no TLS at all.
    pub(crate) fn is_bare(&self) -> bool {
        self.is_plain() && !self.is_kernel()
    }

    /// Whether payload is what the socket gives and takes, so that it can be spliced.
    pub(crate) fn is_plain(&self) -> bool {
        self.layers.borrow().is_empty()
    }

    /// Puts payload back that was read too far.
    pub(crate) fn unread(&self, payload: &[u8]) {
        let mut unread = self.unread.borrow_mut();
        unread.splice(0..0, payload.iter().copied());
    }

    /// Whether payload waits that was read before.
    pub(crate) fn has_unread(&self) -> bool {
        !self.unread.borrow().is_empty()
    }

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
            [only] => {
                let mut wire = pools.buffer();
                self.read_tls(only, &mut wire, out, 0)
            }
            [outer, inner] => {
                let mut wire = pools.buffer();
                let mut middle = pools.buffer();
                self.read_nested(outer, inner, &mut wire, &mut middle, out)
            }
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

    fn read_plain(&self, out: &mut [u8]) -> Result<ReadStep, LegError> {
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

    /// Reads ciphertext into `wire` and payload into `out`, behind `offset` bytes of room.
    fn read_tls(
        &self,
        session: &mut Session,
        wire: &mut [u8],
        out: &mut [u8],
        offset: usize,
    ) -> Result<ReadStep, LegError> {
        let kept = session.pending_len();
        let end = BUFFER.min(CHUNK.max(kept + 1)).min(BUFFER - offset);
        let room = wire.get_mut(kept..end).unwrap_or_default();
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
        let ciphertext = wire.get_mut(..kept + received).unwrap_or_default();
        let plaintext = out.get_mut(offset..).unwrap_or_default();
        let got = session.receive(ciphertext, plaintext)?;
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

    fn read_nested(
        &self,
        outer: &mut Session,
        inner: &mut Session,
        wire: &mut [u8],
        middle: &mut [u8],
        out: &mut [u8],
    ) -> Result<ReadStep, LegError> {
        let kept = inner.pending_len();
        let step = self.read_tls(outer, wire, middle, kept)?;
        if step.payload == 0 {
            return match step.next {
                Next::End => Err(LegError::Truncated),
                next => Ok(ReadStep { payload: 0, next }),
            };
        }
        let ciphertext = middle.get_mut(..kept + step.payload).unwrap_or_default();
        let got = inner.receive(ciphertext, out)?;
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

    /// Makes `payload` bytes at the front of `buffer` ready to be sent: sealed by every layer.
    pub(crate) fn seal(
        &self,
        pools: &Rc<Pools>,
        buffer: Buffer,
        payload: usize,
    ) -> Result<Wire, LegError> {
        let mut wire = Wire {
            buffer,
            len: payload,
        };
        for session in self.layers.borrow_mut().iter_mut().rev() {
            let mut sealed = pools.buffer();
            let plaintext = wire.buffer.get(..wire.len).unwrap_or_default();
            let len = session.seal(plaintext, &mut sealed)?;
            wire = Wire {
                buffer: sealed,
                len,
            };
        }
        Ok(wire)
    }

    /// Sends all of `wire`, waiting as often as the socket is full.
    ///
    /// What is owed was sealed before `wire` or, when it comes up meanwhile, after it: it goes out
    /// around `wire`, never inside of a record.
    pub(crate) async fn send(&self, wire: Wire) -> Result<(), LegError> {
        self.writing.set(true);
        let result = self.send_in_order(&wire).await;
        self.writing.set(false);
        result
    }

    async fn send_in_order(&self, wire: &Wire) -> Result<(), LegError> {
        self.send_owed().await?;
        let mut rest = wire.buffer.get(..wire.len).unwrap_or_default();
        while !rest.is_empty() {
            match socket::send(self.fd.as_fd(), rest) {
                Ok(sent) => {
                    rest = rest.get(sent..).unwrap_or_default();
                    self.count_sealed(sent)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.writable().await?;
                }
                Err(error) => return Err(LegError::Gone(error)),
            }
        }
        self.send_owed().await
    }

    /// Counts what the kernel sealed, if it does.
    pub(crate) fn count_sealed(&self, bytes: usize) -> Result<(), LegError> {
        self.kernel
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
            let wire = self.seal(pools, buffer, piece.len())?;
            self.send(wire).await?;
        }
        Ok(())
    }

    /// Sends handshake output and alerts, or keeps them for the next writer.
    pub(crate) fn send_outgoing(&self, pools: &Rc<Pools>) {
        let mut out = Vec::new();
        {
            let mut layers = self.layers.borrow_mut();
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
        let mut owed = self.owed.borrow_mut();
        owed.extend_from_slice(&out);
        if !self.writing.get() && !owed.is_empty() {
            // What does not go out now goes out ahead of the next write; on errors the next read
            // or write meets them too.
            if let Ok(sent) = socket::send(self.fd.as_fd(), &owed) {
                owed.drain(..sent);
            }
        }
    }

    /// Sends what is owed, waiting for the socket.
    pub(crate) async fn send_owed(&self) -> Result<(), LegError> {
        loop {
            let result = {
                let mut owed = self.owed.borrow_mut();
                if owed.is_empty() {
                    return Ok(());
                }
                socket::send(self.fd.as_fd(), &owed).map(|sent| drop(owed.drain(..sent)))
            };
            match result {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.writable().await?;
                }
                Err(error) => return Err(LegError::Gone(error)),
            }
        }
    }

    /// Ends this leg's write side cleanly: close_notify of every layer, then FIN.
    pub(crate) async fn shut_write(&self, pools: &Rc<Pools>) -> Result<(), LegError> {
        let mut out = Vec::new();
        {
            let mut layers = self.layers.borrow_mut();
            for index in (0..layers.len()).rev() {
                let Some((session, below)) = split_layer(&mut layers, index) else {
                    continue;
                };
                let mut buffer = pools.buffer();
                let len = session.close(&mut buffer)?;
                let mut bytes = buffer.get(..len).unwrap_or_default().to_vec();
                for lower in below.iter_mut().rev() {
                    bytes = seal_small(lower, pools, &bytes);
                }
                out.extend_from_slice(&bytes);
            }
        }
        self.owed.borrow_mut().extend_from_slice(&out);
        self.send_owed().await?;
        if self.is_kernel() {
            self.kernel_close().await?;
        }
        self.shut.set(true);
        match socket::shutdown(self.fd.as_fd(), Shutdown::Write) {
            Ok(()) => Ok(()),
            // The peer is gone already; the other direction will say so.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            Err(error) => Err(LegError::Gone(error)),
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
                Err(error) => return Err(LegError::Gone(error)),
            }
        }
    }

    /// Makes the coming close a cut: TCP sends RST, so that no peer takes it for an end.
    pub(crate) fn cut(&self) {
        if !self.shut.get() {
            // A socket that cannot linger (UNIX) is closed without close_notify, which is a cut too.
            let _ = socket::linger_zero(self.fd.as_fd());
        }
    }

    pub(crate) fn readable(&self) -> Op<io::Result<Readiness>> {
        ring::poll(&self.fd, Interest::READ)
    }

    pub(crate) fn writable(&self) -> Op<io::Result<Readiness>> {
        ring::poll(&self.fd, Interest::WRITE)
    }

    pub(crate) fn hangup(&self) -> Op<io::Result<Readiness>> {
        ring::poll(&self.fd, Interest::HANGUP)
    }

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
        self.with_top(|top| top.receive(&mut [], &mut []))
            .transpose()?;
        self.send_outgoing(pools);
        loop {
            self.flush_until(deadline).await?;
            if self.with_top(|top| !top.is_handshaking()).unwrap_or(true) {
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
                    self.unread
                        .borrow_mut()
                        .extend_from_slice(out.get(..step.payload).unwrap_or_default());
                    drop(out);
                    match step.next {
                        Next::Read => {}
                        Next::End => return Err(LegError::Truncated),
                        Next::Wait => {
                            if self.with_top(|top| top.is_handshaking()).unwrap_or(false)
                                && self.owed.borrow().is_empty()
                            {
                                ring::until(self.readable(), Some(deadline)).await?;
                            }
                        }
                    }
                }
                Err(error) => {
                    // The alert that says why is on its way already if the socket took it.
                    self.send_outgoing(pools);
                    return Err(error);
                }
            }
        }
    }

    /// Reads the rest of one record of the only session, and no byte more.
    fn read_record(&self, pools: &Rc<Pools>, out: &mut Buffer) -> Result<ReadStep, LegError> {
        let mut layers = self.layers.borrow_mut();
        let [session] = layers.as_mut_slice() else {
            return Err(LegError::Gone(io::ErrorKind::Unsupported.into()));
        };
        let mut wire = pools.buffer();
        let kept = session.pending_len();
        let missing = match missing_to_record_end(session.pending()) {
            0 => RECORD_HEADER,
            missing => missing,
        };
        let room = wire.get_mut(kept..kept + missing).unwrap_or_default();
        let received = match socket::recv(self.fd.as_fd(), room) {
            Ok(0) => return Err(LegError::Truncated),
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(ReadStep {
                    payload: 0,
                    next: Next::Wait,
                });
            }
            Err(error) => return Err(LegError::Gone(error)),
        };
        let result = session
            .receive(wire.get_mut(..kept + received).unwrap_or_default(), out)
            .map(|got| ReadStep {
                payload: got.plaintext,
                next: Next::Read,
            });
        drop(layers);
        self.send_outgoing(pools);
        Ok(result?)
    }

    async fn flush_until(&self, deadline: Instant) -> Result<(), LegError> {
        loop {
            {
                let mut owed = self.owed.borrow_mut();
                if owed.is_empty() {
                    return Ok(());
                }
                match socket::send(self.fd.as_fd(), &owed) {
                    Ok(sent) => {
                        owed.drain(..sent);
                        continue;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(LegError::Gone(error)),
                }
            }
            ring::until(self.writable(), Some(deadline)).await?;
        }
    }

    /// Takes the only session off a leg, for the hand-over to the kernel.
    pub(crate) fn pop(&self) -> Option<Session> {
        self.layers.borrow_mut().pop()
    }
}

fn split_layer(layers: &mut [Session], index: usize) -> Option<(&mut Session, &mut [Session])> {
    let (below, from) = layers.split_at_mut_checked(index)?;
    from.first_mut().map(|session| (session, below))
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
